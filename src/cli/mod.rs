//! The command line: the only part that prints, reads the environment, and decides how the process ends.
//!
//! Invariants: data goes to standard output, everything else to standard error. The exit codes are those of the
//! README. No secret comes from an argument.

mod backup;
mod check;
mod demo;
mod dump;
mod exit;
mod filter;
mod global;
mod init;
mod key;
mod ls;
mod output;
mod password;
mod private_file;
mod recovery_key;
mod restore;
mod snapshots;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Result;
use crate::source::files::raise_open_file_limit;
use exit::Outcome;
use global::Global;
use output::Output;

/// Backups for people who run their own services: deduplicated, encrypted, proved whole.
#[derive(Parser)]
#[command(
    name = "strongroom",
    version,
    about,
    disable_help_subcommand = true,
    after_help = "Example:\n  strongroom demo\n\nExit codes: 0 done, 1 failed, 2 usage, 3 done but something could not be read or failed its check,\n\
                  10 no repository, 11 busy, 12 wrong key or a key whose role does not allow it, 130 interrupted."
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
    /// List the snapshots
    Snapshots(snapshots::Arguments),
    /// List what a snapshot holds
    Ls(ls::Arguments),
    /// Write one file of a snapshot to standard output
    Dump(dump::Arguments),
    /// Bring a snapshot, or a part of it, back into a new folder
    Restore(restore::Arguments),
    /// Check that everything the snapshots need is there and whole
    Check(check::Arguments),
    /// Add, list, change and remove keys
    Key(key::Arguments),
    /// Show the main job for real, in a temporary folder
    Demo(demo::Arguments),
    /// Print the version
    #[command(after_help = "Example:\n  strongroom version")]
    Version,
}

/// Runs the program on its arguments.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return exit::usage(&error),
    };
    raise_open_file_limit();
    let output = Output::new(&arguments.global);
    let result = dispatch(&arguments.global, arguments.command, &output);
    exit::finish(result, &output)
}

fn dispatch(global: &Global, command: Command, output: &Output) -> Result<Outcome> {
    match command {
        Command::Init(arguments) => init::run(global, &arguments, output),
        Command::Backup(arguments) => backup::run(global, &arguments, output),
        Command::Snapshots(arguments) => snapshots::run(global, &arguments, output),
        Command::Ls(arguments) => ls::run(global, &arguments, output),
        Command::Dump(arguments) => dump::run(global, &arguments, output),
        Command::Restore(arguments) => restore::run(global, &arguments, output),
        Command::Check(arguments) => check::run(global, &arguments, output),
        Command::Key(arguments) => key::run(global, &arguments, output),
        Command::Demo(arguments) => demo::run(&arguments, output),
        Command::Version => {
            output.line(&format!("strongroom {}", env!("CARGO_PKG_VERSION"))).map(|()| Outcome::Done)
        }
    }
}
