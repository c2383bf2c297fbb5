//! What is dumped before any file: the one place where flags and the tables of a job become sources.

use std::ffi::OsString;
use std::path::PathBuf;

use super::databases::{self, Databases, Kind, Words};
use crate::cli::config::{CommandSource, Job};
use crate::cli::global::variable;
use crate::cli::output::Output;
use crate::cli::stream::{Streams, command_line};
use crate::error::{Error, Result};
use crate::service::authentik::{self, Layout, TRANSIENT};
use crate::source::server::address::Address;
use crate::source::server::stream::{Origin, StreamSource};
use crate::source::server::{Options, Server};

/// The sources that flags ask for; `words` are the command of `--stdin-from-command`.
pub(super) fn of_flags(
    stream: &Streams,
    databases: &Databases,
    words: &[PathBuf],
) -> Result<Vec<Box<dyn Server>>> {
    let mut servers = databases.servers()?;
    servers.extend(stream.source(words)?.map(|source| Box::new(source) as Box<dyn Server>));
    Ok(servers)
}

/// What is asked for of an authentik's databases.
pub(super) struct Wanted {
    pub(super) options: Databases,
    /// What runs Docker Compose.
    pub(super) compose: Words,
    pub(super) no_redis: bool,
    pub(super) without_transient: bool,
}

/// The databases of an authentik: as its compose file says, or where somebody says that they are reached from here, each at most
/// once.
pub(super) fn of_authentik(
    layout: &Layout,
    wanted: &Wanted,
    named: Vec<(Kind, Address)>,
) -> Result<Vec<Box<dyn Server>>> {
    let named = named.into_iter().map(|(kind, address)| (kind, address, wanted.options.options(Vec::new())));
    of_authentik_at(layout, wanted, named.collect())
}

fn of_authentik_at(
    layout: &Layout,
    wanted: &Wanted,
    named: Vec<(Kind, Address, Options)>,
) -> Result<Vec<Box<dyn Server>>> {
    let (mut postgres, mut redis) = (None, None);
    for (kind, address, options) in named {
        let place = if kind == Kind::Redis { &mut redis } else { &mut postgres };
        if place.replace((address, options)).is_some() {
            return Err(Error::refused("an authentik has one database of each kind, and more are named")
                .hint("name the one that authentik uses; back others up by a job of their own"));
        }
    }
    let known = &layout.database;
    let (address, mut options) = match postgres {
        Some((address, options)) => (completed(address, &known.address), options),
        None => reached(layout, Kind::Postgres, known, wanted),
    };
    options.generated = authentik::questions();
    if wanted.without_transient {
        options.transient = TRANSIENT.map(str::to_owned).to_vec();
    }
    // First: it is the one that is asked about single rows.
    let mut servers = vec![Kind::Postgres.server(address, options)?];
    let redis = match (redis, &layout.redis) {
        (Some(named), _) => Some(named),
        (None, Some(known)) if !wanted.no_redis => Some(reached(layout, Kind::Redis, known, wanted)),
        _ => None,
    };
    if let Some((address, options)) = redis {
        let options = Options { without_rows: Vec::new(), dispensable: true, ..options };
        servers.push(Kind::Redis.server(address, options)?);
    }
    Ok(servers)
}

/// An address with what it leaves out, as authentik itself has it.
fn completed(mut address: Address, known: &Address) -> Address {
    address.database = address.database.or_else(|| known.database.clone());
    let same_user = address.user.is_none() || address.user == known.user;
    address.user = address.user.or_else(|| known.user.clone());
    // The user's own environment is stronger, and another user has another password.
    if !address.has_password() && same_user && variable(Kind::Postgres.variable()).is_none() {
        address.password.clone_from(&known.password);
    }
    address
}

/// How a server is reached whose host is as the containers know it.
fn reached(layout: &Layout, kind: Kind, known: &authentik::Server, wanted: &Wanted) -> (Address, Options) {
    // The prefix that somebody gives leads to the database; Redis has a container of its own.
    let is_prefixed = kind == Kind::Postgres && wanted.options.has_prefix();
    let mut options = wanted.options.options(Vec::new());
    let mut address = known.address.clone();
    if variable(kind.variable()).is_some() {
        address.password = None;
    }
    let Some(service) = &known.service else {
        if !is_prefixed {
            options.prefix.clear();
        }
        return (address, options);
    };
    // Its name means something among the containers alone: the clients run in its own, where it is the local one.
    (address.host, address.port) = (None, None);
    address.parameters.clear();
    if !is_prefixed {
        options.prefix = wanted.compose.0.iter().map(OsString::from).collect();
        options.prefix.extend(["--project-directory".into(), layout.folder.clone().into_os_string()]);
        options.prefix.extend(["exec", "-T", service].map(OsString::from));
    }
    (address, options)
}

/// The databases of a job's authentik.
pub(super) fn of_job_of_authentik(
    job: &Job,
    layout: &Layout,
    wanted: &Wanted,
    output: &Output,
) -> Result<Vec<Box<dyn Server>>> {
    let named = job.database_sources().map(|(kind, source)| {
        databases::address_of(source, output).map(|(address, options)| (kind, address, options))
    });
    let mut servers = of_authentik_at(layout, wanted, named.collect::<Result<_>>()?)?;
    for source in &job.commands {
        servers.push(Box::new(command(source)?));
    }
    Ok(servers)
}

/// The sources that a job names.
pub(in crate::cli) fn of_job(job: &Job, output: &Output) -> Result<Vec<Box<dyn Server>>> {
    let databases = job.database_sources().map(|(kind, source)| databases::of_source(kind, source, output));
    let commands = job.commands.iter().map(|source| Ok(Box::new(command(source)?) as Box<dyn Server>));
    databases.chain(commands).collect()
}

fn command(source: &CommandSource) -> Result<StreamSource> {
    let words: Vec<PathBuf> = source.command.iter().map(PathBuf::from).collect();
    Ok(StreamSource {
        place: source.name.clone().unwrap_or_default(),
        origin: Origin::Command(command_line(&words)?),
        may_be_empty: source.allow_empty,
        silence: source.timeout,
    })
}
