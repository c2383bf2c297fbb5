//! `strongroom backup --stdin` and `--stdin-from-command`: the options, and what they come to.

use std::ffi::OsString;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::path;
use crate::source::command::CommandLine;
use crate::source::server::stream::{Origin, StreamSource};

/// What of `backup` is about streams.
#[derive(clap::Args, Default)]
pub(super) struct Streams {
    /// Store what comes on standard input, as one file
    #[arg(long, help_heading = "Streams", group = "stream", conflicts_with_all = ["paths", "service"])]
    pub(super) stdin: bool,
    /// Store what a command writes, as one file: the command stands after `--`, and is started without a shell
    #[arg(long, help_heading = "Streams", group = "stream", requires = "paths", conflicts_with = "service")]
    stdin_from_command: bool,
    /// Name of the file in the snapshot, with folders above it if it has slashes [default: stdin]
    #[arg(long, value_name = "NAME", help_heading = "Streams", requires = "stream", value_parser = parse_name)]
    stdin_filename: Option<Place>,
    /// Store an empty file where not one byte comes, rather than fail
    #[arg(long, help_heading = "Streams", requires = "stream")]
    stdin_allow_empty: bool,
    /// Give up if nothing comes for so many seconds
    #[arg(long, value_name = "SECONDS", help_heading = "Streams", requires = "stream", value_parser = parse_timeout)]
    stdin_timeout: Option<u64>,
}

/// A place in a snapshot.
#[derive(Clone, Debug)]
struct Place(Vec<u8>);

fn parse_timeout(text: &str) -> std::result::Result<u64, String> {
    super::backup::parse_seconds(text).and_then(|seconds| match seconds {
        0 => Err("nothing comes within no time: give at least one second".to_owned()),
        _ => Ok(seconds),
    })
}

fn parse_name(text: &str) -> std::result::Result<Place, String> {
    parse_place(text).map(Place)
}

/// A place in a snapshot for a file that exists nowhere else.
pub(super) fn parse_place(text: &str) -> std::result::Result<Vec<u8>, String> {
    match path::parse(text.as_bytes()) {
        Ok(place) if place.is_empty() => Err("a file needs a name".to_owned()),
        // Kept, it could be restored nowhere.
        Ok(place) if place.split(|byte| *byte == b'/').any(|name| name.len() > 255) => {
            Err("no file system takes a name of more than 255 bytes".to_owned())
        }
        Ok(place) => Ok(place),
        Err(error) => Err(error.chain()),
    }
}

impl Streams {
    /// Whether a stream is asked for, so that the words given are no paths.
    pub(super) fn asked_for(&self) -> bool {
        self.stdin || self.stdin_from_command
    }

    /// The stream that is asked for, if one is; `words` are the command and its arguments.
    pub(super) fn source(&self, words: &[PathBuf]) -> Result<Option<StreamSource>> {
        let origin = match (self.stdin, self.stdin_from_command) {
            (true, _) => Origin::file(standard_input()?),
            (false, true) => Origin::Command(command_line(words)?),
            (false, false) => return Ok(None),
        };
        Ok(Some(StreamSource {
            place: self.stdin_filename.as_ref().map_or_else(|| b"stdin".to_vec(), |place| place.0.clone()),
            origin,
            may_be_empty: self.stdin_allow_empty,
            silence: self.stdin_timeout.map(Duration::from_secs),
        }))
    }
}

fn standard_input() -> Result<File> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Error::refused("standard input is a terminal: there is nothing to store")
            .hint("let a program write into the pipe, or use --stdin-from-command -- COMMAND"));
    }
    let file = stdin.as_fd().try_clone_to_owned();
    file.map(File::from).map_err(|error| Error::io("cannot read standard input", error))
}

/// A command and its arguments, to be run without a shell.
pub(super) fn command_line(words: &[PathBuf]) -> Result<CommandLine> {
    let mut words = words.iter().map(|word| word.as_os_str().to_owned());
    let program = words.next().filter(|program| !program.as_bytes().is_empty());
    let program = program.ok_or_else(|| Error::refused("no command is given").hint("give it after `--`"))?;
    let arguments: Vec<OsString> = words.collect();
    // Whoever has a terminal can be asked for a password by the command; whoever has none cannot be stopped by it.
    let own_group = File::open("/dev/tty").is_err();
    // What opens the repository is nothing for it: `env` would put it into the snapshot.
    let hidden = std::env::vars_os().map(|(name, _)| name);
    let hidden = hidden.filter(|name| name.as_encoded_bytes().starts_with(b"STRONGROOM_")).collect();
    Ok(CommandLine { program, arguments, hidden, own_group, ..CommandLine::default() })
}
