//! `strongroom restore --service`
//!
//! Invariant: no password stands in an argument, where every user of the computer could read it.

mod runbook;
mod show;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Arguments;
use crate::cli::backup::databases::{Kind, Words, options, parse_words};
use crate::cli::exit::Outcome;
use crate::cli::global::Global;
use crate::cli::ls::split;
use crate::cli::output::Output;
use crate::error::{Error, ErrorKind, Result};
use crate::operation::restore_service::{self, Options, Plan, RedisFolder, Way};
use crate::report::printable;

/// How long a server may say nothing, in seconds: making the indexes of a large table takes long.
const SILENCE: u64 = 3600;

/// Options that put a service back.
#[derive(clap::Args)]
#[command(next_help_heading = "A service on database servers")]
pub(super) struct ServiceFlags {
    /// Restore a service: its databases into servers, its files into the target. A database must be empty or not exist yet
    #[arg(long, conflicts_with_all = [
        "vaultwarden", "paths", "include", "iinclude", "include_file", "iinclude_file", "exclude", "iexclude",
        "exclude_file", "iexclude_file", "overwrite", "delete", "verify", "sparse", "no_owner",
    ])]
    pub(super) service: bool,
    /// Restore into a PostgreSQL server: postgresql://USER@HOST/DATABASE; without a database each dump goes into one of
    /// the name that it had
    #[arg(long, value_name = "URL", requires = "service")]
    postgres: Option<String>,
    /// Restore into a MariaDB or MySQL server likewise: mysql://USER@HOST/DATABASE
    #[arg(long, value_name = "URL", requires = "service")]
    mysql: Option<String>,
    /// Put the dump of Redis into this folder, where a server that does not run finds it when it starts
    #[arg(long, value_name = "FOLDER", requires = "service")]
    redis_folder: Option<PathBuf>,
    /// Where that server answers when it runs, to be sure that it does not: redis://HOST
    #[arg(long, value_name = "URL", requires = "redis_folder")]
    redis: Option<String>,
    /// Restore only this database of the snapshot, by the name that it had; may be repeated
    #[arg(long, value_name = "NAME", requires = "service")]
    database: Vec<String>,
    /// Run the database clients through this command, such as 'docker exec -i NAME' or 'ssh HOST': its words are divided
    /// at spaces, and no shell sees them
    #[arg(long, value_name = "COMMAND", requires = "service", value_parser = parse_words)]
    prefix: Option<Words>,
    /// Seconds that a database server may say nothing
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "service",
        default_value_t = SILENCE,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    database_timeout: u64,
    /// Make the roles first that a PostgreSQL server has not and the snapshot has (postgres/globals.sql), with their
    /// passwords; those that are there stay as they are
    #[arg(long, requires = "postgres")]
    with_roles: bool,
    /// Where a database or the target holds something, make a new one, prove it, and put it into the place of that, which
    /// is kept under another name; asks before
    #[arg(long, requires = "service")]
    in_place: bool,
    /// Do not ask
    #[arg(long, requires = "in_place")]
    yes: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let flags = &arguments.service;
    let started = Instant::now();
    let (name, place) = split(&arguments.snapshot)?;
    if !place.is_empty() {
        return Err(Error::refused("a service is restored from a whole snapshot").hint(
            "leave out what stands behind the colon; `strongroom restore` without --service restores a part",
        ));
    }
    let options = options_of(global, arguments, output)?;
    let repository = global.open(output)?;
    let snapshot = repository.find_snapshot_among(&arguments.filter.get()?, name, output)?;
    let progress = output.start_progress("restoring");
    let plan = Plan::make(&repository, &snapshot, &options, output);
    drop(progress);
    let plan = plan?;
    if arguments.dry_run {
        show::plan(&plan, output)?;
        return Ok(Outcome::Done);
    }
    if !flags.yes && !agreed(&plan, output)? {
        return Err(Error::refused("nothing was restored: it was not agreed to")
            .hint("answer y, or say --yes; --dry-run shows the steps"));
    }
    let progress = output.start_progress("restoring");
    let summary = restore_service::run(&plan, output);
    drop(progress);
    let summary = summary?;
    show::ended(&plan, &summary, started.elapsed(), output)?;
    Ok(Outcome::of(summary.problems))
}

fn options_of(global: &Global, arguments: &Arguments, output: &Output) -> Result<Options> {
    let flags = &arguments.service;
    let client = || {
        let silence = Duration::from_secs(flags.database_timeout);
        options(flags.prefix.as_ref(), Some(silence))
    };
    let mut targets = Vec::new();
    for (kind, url) in [(Kind::Postgres, &flags.postgres), (Kind::Mysql, &flags.mysql)] {
        targets.extend(
            url.iter()
                .map(|url| kind.target(url, client()))
                .collect::<Result<Vec<_>>>()?
                .into_iter()
                .flatten(),
        );
    }
    let redis = flags.redis_folder.as_ref().map(|path| {
        let server = flags.redis.as_ref().map(|url| Kind::redis(url, client())).transpose()?;
        Ok::<_, Error>(RedisFolder { path: path.clone(), server })
    });
    Ok(Options {
        targets,
        databases: flags.database.clone(),
        folder: arguments.target.clone(),
        redis: redis.transpose()?,
        in_place: flags.in_place,
        with_roles: flags.with_roles,
        needed: global.needed(),
        interrupt: output.signals.in_good_order(),
    })
}

/// Asks before something that is there gives way.
fn agreed(plan: &Plan<'_>, output: &Output) -> Result<bool> {
    let replaced = plan.databases.iter().filter_map(|step| match &step.way {
        Way::Replace(swap) => Some(format!(
            "the database {} of {} (kept as {})",
            printable(step.database.as_bytes()),
            step.target.about().name,
            printable(swap.aside.as_bytes())
        )),
        Way::Create | Way::Fill => None,
    });
    let redis = plan.redis.iter().filter(|step| !step.gives_way.is_empty()).map(|step| {
        format!("{} in {}", step.gives_way.join(" and "), super::vaultwarden::show(&step.folder))
    });
    let folder = plan.folder.iter().filter_map(|step| {
        let aside = super::vaultwarden::show(&step.swap.as_ref()?.aside);
        Some(format!("{} (kept as {aside})", super::vaultwarden::show(&step.path)))
    });
    let replaced: Vec<String> = replaced.chain(redis).chain(folder).collect();
    if replaced.is_empty() {
        return Ok(true);
    }
    if output.json || output.quiet || !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        return Err(Error::refused(format!(
            "{} would give way, and nobody is there to agree",
            replaced.join(", ")
        ))
        .hint("say --yes; --dry-run shows the steps"));
    }
    let question = format!("put what was backed up into the place of {}? [y/N] ", replaced.join(", "));
    output.pause_progress();
    let mut line = String::new();
    let read = output.signals.question(|| {
        use std::io::Write;
        let mut err = std::io::stderr().lock();
        err.write_all(question.as_bytes())?;
        err.flush()?;
        std::io::stdin().read_line(&mut line)
    });
    match read {
        Ok(_) => Ok(matches!(line.trim(), "y" | "Y" | "yes")),
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
            Err(Error::new(ErrorKind::Interrupted, "interrupted"))
        }
        Err(error) => Err(Error::io("cannot ask", error)),
    }
}
