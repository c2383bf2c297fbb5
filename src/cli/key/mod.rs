//! `strongroom key`: adding, listing, changing and removing keys.

mod add;
mod change;
mod html;
mod list;
mod sheet;

use clap::Subcommand;

use super::exit::Outcome;
use super::global::Global;
use super::output::Output;
use crate::error::Result;

/// Arguments of `key`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  strongroom key add --role backup --label server --new-key-file /etc/strongroom/backup.key\n  \
    strongroom key add --recovery > sheet.txt\n  strongroom key list"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add a key: a key file, a password, or a recovery sheet
    Add(add::Arguments),
    /// List the keys
    List(list::Arguments),
    /// Change the password, or the key file, of the key in use
    Passwd(change::PasswdArguments),
    /// Remove a key
    Remove(change::RemoveArguments),
}

/// A label that a key slot can hold.
pub(super) fn parse_label(text: &str) -> std::result::Result<String, String> {
    if text.is_empty() || text.len() > 255 {
        return Err("a label has 1 to 255 characters".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    match &arguments.command {
        Command::Add(arguments) => add::run(global, arguments, output),
        Command::List(arguments) => list::run(global, arguments, output),
        Command::Passwd(arguments) => change::passwd(global, arguments, output),
        Command::Remove(arguments) => change::remove(global, arguments, output),
    }
}
