//! What is dumped before any file: the one place where flags and the tables of a job become sources.

use std::path::PathBuf;

use super::databases::{self, Databases};
use crate::cli::config::{CommandSource, Job};
use crate::cli::output::Output;
use crate::cli::stream::{Streams, command_line};
use crate::error::Result;
use crate::source::server::Server;
use crate::source::server::stream::{Origin, StreamSource};

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
