//! `strongroom config`: check a configuration, print its schema, begin one, and make systemd units of it.

mod check;
mod fault;
mod file;
mod init;
mod schema;
mod systemd;
mod types;
mod value;

use super::exit::Outcome;
use super::global::Global;
use super::output::Output;
use crate::error::Result;

pub(super) use file::{Config, ConfigFile};
pub(super) use types::{
    Checking, CommandSource, DatabaseSource, Job, Ping, Pruning, RepositoryTable, Retention,
};
pub(super) use value::{Address, Hook, Words, parse_duration};

/// Arguments of `config`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom config check")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Tell whether the configuration can be used, and what would run
    Check(check::Arguments),
    /// Print the JSON schema of the configuration, for editors
    #[command(after_help = "Example:\n  strongroom config schema > strongroom.schema.json")]
    Schema,
    /// Print a configuration for what is found, with comments, or write it to a new file
    Init(init::Arguments),
    /// Print a systemd service and timer that run the jobs every night, or write them into a folder
    Systemd(systemd::Arguments),
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    match &arguments.command {
        Command::Check(arguments) => check::run(global, arguments, output),
        Command::Schema => schema::print(output),
        Command::Init(arguments) => init::run(global, arguments, output),
        Command::Systemd(arguments) => systemd::run(global, arguments, output),
    }
}
