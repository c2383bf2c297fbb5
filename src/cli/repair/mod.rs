//! `strongroom repair`: making the best of a repository that lost something.

mod from;
mod index;
mod packs;
mod snapshots;

use clap::Subcommand;

use super::exit::Outcome;
use super::global::Global;
use super::output::Output;
use crate::error::Result;

/// Arguments of `repair`.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  strongroom repair index\n  strongroom repair packs\n  \
    strongroom repair --from /mnt/second --from-key-file second.key\n  \
    strongroom repair snapshots --dry-run\n\n\
    What is lost and still lies on the host comes back with the next backup. First `strongroom check\n\
    --read-data` tells what is wrong; then, in this order: `repair index`, `repair packs`, a backup,\n\
    `repair --from`, and for what is lost for good `repair snapshots`.\n\n\
    Where most packs are gone, or seem to be damaged, look at the store first: a disk that is not mounted, a\n\
    wrong path or faulty memory explains it better, and nothing is changed. Packs that are gone for good go\n\
    by `repair index --packs-are-gone`, those that are damaged indeed by `repair packs --packs-are-damaged`."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    from: from::FromArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Rebuild the index from the packs
    Index(index::Arguments),
    /// Save what is still whole in damaged packs
    Packs(packs::Arguments),
    /// Store snapshots anew without the files that are lost
    Snapshots(snapshots::Arguments),
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    match &arguments.command {
        Some(Command::Index(arguments)) => index::run(global, arguments, output),
        Some(Command::Packs(arguments)) => packs::run(global, arguments, output),
        Some(Command::Snapshots(arguments)) => snapshots::run(global, arguments, output),
        None => from::run(global, &arguments.from, output),
    }
}
