//! What is dumped before any file: the one place where flags and the tables of a job become sources.

use std::path::PathBuf;

use crate::cli::config::CommandSource;
use crate::cli::stream::{Streams, command_line};
use crate::error::Result;
use crate::source::server::Server;
use crate::source::server::stream::{Origin, StreamSource};

/// The sources that flags ask for; `words` are the command of `--stdin-from-command`.
pub(in crate::cli) fn of_flags(stream: &Streams, words: &[PathBuf]) -> Result<Vec<Box<dyn Server>>> {
    Ok(stream.source(words)?.map(|source| Box::new(source) as Box<dyn Server>).into_iter().collect())
}

/// The sources that a job names.
pub(in crate::cli) fn of_job(commands: &[CommandSource]) -> Result<Vec<Box<dyn Server>>> {
    commands.iter().map(|source| Ok(Box::new(command(source)?) as Box<dyn Server>)).collect()
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
