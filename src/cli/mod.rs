//! The command line: the only part that prints, reads the environment, and decides how the process ends.
//!
//! Invariants: data goes to standard output, everything else to standard error. The exit codes are those of the
//! README. No secret comes from an argument.

mod backup;
mod browse;
mod cache;
mod changed;
mod check;
mod completions;
mod config;
mod copy;
mod demo;
mod diff;
mod dump;
mod exit;
mod filter;
mod find;
mod forget;
mod global;
mod init;
mod key;
mod ls;
mod man;
mod other;
mod output;
mod password;
mod private_file;
mod prune;
mod recovery_key;
mod repair;
mod restore;
mod rewrite;
mod run;
mod signals;
mod size;
mod snapshots;
mod stats;
mod status;
mod stream;
mod tag;
mod time;
mod unforget;
mod unlock;
mod zone;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use serde_json::json;

use crate::error::Result;
use crate::source::files::raise_open_file_limit;
use exit::Outcome;
use global::Global;
use output::Output;
use signals::Signals;

/// Backups for people who run their own services: deduplicated, encrypted, proved whole.
#[derive(Parser)]
#[command(
    name = "strongroom",
    version,
    about,
    disable_help_subcommand = true,
    after_help = "Example:\n  strongroom demo"
)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a repository and its first key, of role full
    Init(init::Arguments),
    /// Make a snapshot of files, folders, databases, or a whole Vaultwarden
    Backup(Box<backup::Arguments>),
    /// Run the jobs of the configuration: back up, forget, prune, check, tell
    Run(run::Arguments),
    /// Tell of each job when it last made a good snapshot, and whether that is too long ago
    Status(status::Arguments),
    /// Check a configuration, begin one, or make systemd units of it
    Config(config::Arguments),
    /// List the snapshots
    Snapshots(snapshots::Arguments),
    /// List what a snapshot holds
    Ls(ls::Arguments),
    /// Look for files in all snapshots
    Find(Box<find::Arguments>),
    /// Show what changed from one snapshot to another, or to a folder
    Diff(diff::Arguments),
    /// Tell how much is stored, and what takes the room
    Stats(stats::Arguments),
    /// Look through snapshots, folders and files on the terminal
    Browse(browse::Arguments),
    /// Write a file of a snapshot to standard output, or a folder as an archive
    Dump(dump::Arguments),
    /// Bring a snapshot, or a part of it, back into a new folder, or a service back in its place
    Restore(Box<restore::Arguments>),
    /// Forget snapshots, by rules or by name
    Forget(Box<forget::Arguments>),
    /// Change the tags of snapshots
    Tag(tag::Arguments),
    /// Take paths out of snapshots
    Rewrite(rewrite::Arguments),
    /// Bring forgotten snapshots back
    Unforget(unforget::Arguments),
    /// Check that everything the snapshots need is there and whole
    Check(check::Arguments),
    /// Delete what no snapshot needs any more, while backups go on
    Prune(prune::Arguments),
    /// List backups that run or died, and give up the dead
    Unlock(unlock::Arguments),
    /// Bring back what was lost, and make the best of what cannot be
    Repair(repair::Arguments),
    /// Copy snapshots from another repository, which may have other keys
    Copy(copy::Arguments),
    /// List what is cached on this computer, and make room
    Cache(cache::Arguments),
    /// Add, list, change and remove keys
    Key(key::Arguments),
    /// Show the main job for real, in a temporary folder
    Demo(demo::Arguments),
    /// Print what a shell needs to complete commands and options
    Completions(completions::Arguments),
    /// Print a manual page, or write all of them
    Man(man::Arguments),
    /// Print the version
    #[command(after_help = "Example:\n  strongroom version")]
    Version,
}

/// What every command's help ends with.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 usage, 3 done but something could not be read or failed its check,\n\
    10 no repository, 11 busy, 12 wrong key or a key whose role does not allow it, 130 interrupted.";

/// The commands, each with the exit codes at the end of its help.
pub fn command() -> clap::Command {
    with_exit_codes(Arguments::command())
}

fn with_exit_codes(command: clap::Command) -> clap::Command {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    command.after_long_help(format!("{help}\n\n{EXIT_CODES}")).mut_subcommands(with_exit_codes)
}

/// Runs the program on its arguments.
pub fn run() -> ExitCode {
    let signals = Signals::watch();
    let parsed = command().try_get_matches().and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => return exit::usage(&error),
    };
    if let Command::Copy(copy) = &arguments.command
        && !copy.names_the_source()
    {
        let kind = clap::error::ErrorKind::MissingRequiredArgument;
        let cause = "no repository to copy from is named: give its folder by --from-repo, or in STRONGROOM_FROM_REPOSITORY\n";
        return exit::usage(&self::command().error(kind, cause));
    }
    raise_open_file_limit();
    let output = Output::new(&arguments.global, signals);
    let result = dispatch(&arguments.global, arguments.command, &output);
    exit::finish(result, &output)
}

fn dispatch(global: &Global, command: Command, output: &Output) -> Result<Outcome> {
    match command {
        Command::Init(arguments) => init::run(global, &arguments, output),
        Command::Backup(arguments) => backup::run(global, &arguments, output),
        Command::Run(arguments) => run::run(global, &arguments, output),
        Command::Status(arguments) => status::run(global, &arguments, output),
        Command::Config(arguments) => config::run(global, &arguments, output),
        Command::Snapshots(arguments) => snapshots::run(global, &arguments, output),
        Command::Ls(arguments) => ls::run(global, &arguments, output),
        Command::Find(arguments) => find::run(global, &arguments, output),
        Command::Diff(arguments) => diff::run(global, &arguments, output),
        Command::Stats(arguments) => stats::run(global, &arguments, output),
        Command::Browse(arguments) => browse::run(global, &arguments, output),
        Command::Dump(arguments) => dump::run(global, &arguments, output),
        Command::Restore(arguments) => restore::run(global, &arguments, output),
        Command::Forget(arguments) => forget::run(global, &arguments, output),
        Command::Tag(arguments) => tag::run(global, &arguments, output),
        Command::Rewrite(arguments) => rewrite::run(global, &arguments, output),
        Command::Unforget(arguments) => unforget::run(global, &arguments, output),
        Command::Check(arguments) => check::run(global, &arguments, output),
        Command::Prune(arguments) => prune::run(global, &arguments, output),
        Command::Unlock(arguments) => unlock::run(global, &arguments, output),
        Command::Repair(arguments) => repair::run(global, &arguments, output),
        Command::Copy(arguments) => copy::run(global, &arguments, output),
        Command::Cache(arguments) => cache::run(global, &arguments, output),
        Command::Key(arguments) => key::run(global, &arguments, output),
        Command::Demo(arguments) => demo::run(&arguments, output),
        Command::Completions(arguments) => completions::run(&arguments, self::command(), output),
        Command::Man(arguments) => man::run(&arguments, self::command(), output),
        Command::Version => version(output),
    }
}

fn version(output: &Output) -> Result<Outcome> {
    let version = env!("CARGO_PKG_VERSION");
    if output.json {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let object = json!({ "message_type": "version", "version": version, "os": os, "arch": arch });
        return output.object(&object).map(|()| Outcome::Done);
    }
    output.line(&format!("strongroom {version}")).map(|()| Outcome::Done)
}
