//! `strongroom repair`: making the best of a repository that lost something.

mod snapshots;

use clap::Subcommand;

use super::exit::Outcome;
use super::global::Global;
use super::output::Output;
use crate::error::Result;

/// Arguments of `repair`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom repair snapshots --dry-run")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Store snapshots anew without the files that are lost
    Snapshots(snapshots::Arguments),
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    match &arguments.command {
        Command::Snapshots(arguments) => snapshots::run(global, arguments, output),
    }
}
