//! `strongroom config check`: whether a configuration can be used, and what would run.
//!
//! Invariant: nothing is changed, no hook runs, and no source is asked for more than whether it is there.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use super::{Config, ConfigFile, Hook, Job, RepositoryTable, Words};
use crate::cli::backup;
use crate::cli::exit::{self, Outcome};
use crate::cli::global::{Global, variable};
use crate::cli::output::{Output, human};
use crate::cli::run::opened::{self, Purpose};
use crate::cli::run::worst;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Finding, Reporter, printable};

/// Arguments of `config check`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  strongroom config check\n  strongroom config check --config ./strongroom.toml\n\n\
    It reads the configuration, opens each repository with each of its keys, looks whether what is to be\n\
    backed up and the programs of commands and hooks are there, and tells what would run. Nothing is\n\
    changed and no hook runs. Exit code 1 where the configuration cannot be read, 10 and 12 where a\n\
    repository or its key cannot be had, 3 where something else is missing."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    global.refuse_repository()?;
    let config = arguments.config.read()?;
    let mut codes = Vec::new();
    for (name, table) in &config.file.repositories.0 {
        codes.extend(repository(global, name.get_ref(), table, output)?);
    }
    for (name, job) in config.jobs(&[])? {
        codes.extend(check_job(global, &config, name, job, output)?);
    }
    let code = worst(codes.iter().copied());
    let jobs = config.file.jobs.0.len() as u64;
    if output.json {
        output.object(&json!({
            "message_type": "summary",
            "config": config.path.display().to_string(),
            "jobs": jobs,
            "problems": codes.len(),
            "exit_code": code,
        }))?;
    } else if code == 0 {
        output.say(&format!("{} can run", human::counted(jobs, "job")))?;
    } else {
        output.say(&format!("{}; exit code {code}", human::counted(codes.len() as u64, "problem")))?;
    }
    Ok(if code == 0 { Outcome::Done } else { Outcome::Ended(code) })
}

/// Tells of something that would keep a job from running; gives the exit code.
fn trouble(output: &Output, subject: &str, error: &Error) -> u8 {
    let finding = Finding::problem(subject, error.chain());
    let next = error.next_step().map(str::to_owned);
    output.report(Finding { hint: next, ..finding });
    match exit::code(error.kind()) {
        code @ (exit::NO_REPOSITORY | exit::WRONG_KEY) => code,
        _ => exit::INCOMPLETE,
    }
}

fn repository(global: &Global, name: &str, table: &RepositoryTable, output: &Output) -> Result<Vec<u8>> {
    let subject = format!("repository {}", printable(name.as_bytes()));
    let mut codes = Vec::new();
    let files =
        [&table.key_file, &table.password_file, &table.maintain_key_file, &table.maintain_password_file];
    codes.extend(
        files
            .into_iter()
            .flatten()
            .filter_map(|file| readable_by_others(file))
            .map(|error| trouble(output, &subject, &error)),
    );
    let mut purposes = vec![Purpose::Backup];
    purposes.extend(opened::has_maintain_key(table).then_some(Purpose::Maintain));
    for purpose in purposes {
        match opened::open(global, table, purpose, output) {
            Ok(repository) => {
                let what = if purpose == Purpose::Backup { "its key" } else { "its key for maintenance" };
                let role = repository.keyring().role().name();
                let path = table.path.as_deref().unwrap_or(Path::new(""));
                output.say(&format!("{subject}: {}; {what} has role {role}", path.display()))?;
            }
            Err(error) => codes.push(trouble(output, &subject, &error)),
        }
    }
    Ok(codes)
}

/// What opens a repository is nobody else's business.
fn readable_by_others(file: &Path) -> Option<Error> {
    let mode = file.metadata().ok()?.permissions().mode();
    (mode & 0o077 != 0).then(|| {
        Error::refused(format!("others have rights on {}", file.display()))
            .hint(format!("`chmod 600 {}`", file.display()))
    })
}

fn check_job(global: &Global, config: &Config, name: &str, job: &Job, output: &Output) -> Result<Vec<u8>> {
    let subject = format!("job {name}");
    let mut codes = Vec::new();
    match backup::job::of_job(name, job, true, (output, output)) {
        Ok(options) => {
            if options.problems > 0
                || options.vaultwarden.as_ref().is_some_and(|(layout, _)| layout.problems > 0)
                || options.authentik.as_ref().is_some_and(|layout| layout.problems > 0)
            {
                codes.push(exit::INCOMPLETE);
            }
            for (_, path) in options.plan.hosts() {
                if let Err(error) = path.symlink_metadata() {
                    let error = Error::io(
                        format!("cannot find {}", printable(path.as_os_str().as_encoded_bytes())),
                        error,
                    );
                    codes.push(trouble(output, &subject, &exit::with_next_step(error)));
                }
            }
        }
        Err(error) => codes.push(trouble(output, &subject, &error)),
    }
    let hooks = [&job.before, &job.after_backup, &job.after, &job.on_failure];
    let programs = hooks.into_iter().flatten().filter_map(program);
    let sources = job.commands.iter().filter_map(|source| source.command.first());
    for program in programs.chain(sources).filter(|program| !is_there(program)) {
        let error = Error::missing(format!("there is no program {}", printable(program.as_bytes())))
            .hint("install it, or give its path: cron and systemd search few folders");
        codes.push(trouble(output, &subject, &error));
    }
    let (_, table) = config.repository(job)?;
    // A key of its own for it was tried already.
    if wants_maintenance(config, job) && !opened::has_maintain_key(table) {
        let opened = opened::open(global, table, Purpose::Maintain, output);
        let role = opened.err().filter(|error| error.kind() == ErrorKind::RoleNotAllowed);
        codes.extend(role.map(|error| trouble(output, &subject, &error)));
    }
    output.say(&format!("{subject}: {}", plan(config, job)))?;
    Ok(codes)
}

fn program(hook: &Hook) -> Option<&String> {
    match &hook.command {
        Words::Plain(words) => words.first(),
        Words::Shell(_) => None,
    }
}

fn is_there(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    let path = variable("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn wants_maintenance(config: &Config, job: &Job) -> bool {
    config.retention(job).is_some() || config.pruning(job).is_some() || config.checking(job).is_some()
}

/// What a job does, in one line.
fn plan(config: &Config, job: &Job) -> String {
    let mut steps = Vec::new();
    let hooks = |steps: &mut Vec<String>, name: &str, hooks: &[Hook]| {
        let names: Vec<&str> = hooks.iter().map(|hook| hook.command.name()).collect();
        steps.extend((!names.is_empty()).then(|| format!("{name} ({})", names.join(", "))));
    };
    hooks(&mut steps, "before", &job.before);
    let sources = job.vaultwarden.iter().map(|folder| format!("Vaultwarden {}", folder.display()));
    let sources = sources.chain(job.authentik.iter().map(|folder| format!("authentik {}", folder.display())));
    let sources = sources.chain(job.paths.iter().map(|path| path.display().to_string()));
    let lists = job.files_from.iter().chain(&job.files_from_verbatim).chain(&job.files_from_raw);
    let sources = sources.chain(lists.map(|list| format!("what {} lists", list.display())));
    let servers = job.database_sources().filter_map(|(kind, source)| {
        source.url.as_ref().map(|url| format!("{} at {}", kind.key(), url.shown()))
    });
    let sources = sources.chain(servers);
    let names = job.commands.iter().filter_map(|source| source.name.as_deref()).map(printable);
    let sources = sources.chain(names.map(|name| format!("{name} from a command")));
    steps.push(format!("backup of {}", sources.collect::<Vec<_>>().join(", ")));
    hooks(&mut steps, "after-backup", &job.after_backup);
    let on = [
        (config.retention(job).is_some(), "forget"),
        (config.pruning(job).is_some(), "prune"),
        (config.checking(job).is_some(), "check"),
    ];
    steps.extend(on.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.to_owned()));
    hooks(&mut steps, "after", &job.after);
    hooks(&mut steps, "on-failure", &job.on_failure);
    steps.extend(job.ping.is_some().then(|| "ping".to_owned()));
    steps.join(", ")
}
