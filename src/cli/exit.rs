//! How the process ends.

use std::io::Write;
use std::process::ExitCode;

use super::output::Output;
use crate::error::{Error, ErrorKind, Result};

pub(super) const FAILED: u8 = 1;
const USAGE: u8 = 2;
pub(super) const INCOMPLETE: u8 = 3;
pub(super) const NO_REPOSITORY: u8 = 10;
pub(super) const BUSY: u8 = 11;
pub(super) const WRONG_KEY: u8 = 12;
/// Also after SIGTERM and SIGHUP: whoever sent it knows which it was.
pub(super) const INTERRUPTED: u8 = 130;

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of it is done.
    Done,
    /// Done, but something could not be read or failed its check.
    Incomplete,
    /// As the worst of several parts did, each of which has told why.
    Ended(u8),
    /// Whoever read the output went before its end: no word is lost on it, but not all was written.
    Unread,
}

impl Outcome {
    /// From a number of problems.
    pub(super) fn of(problems: u64) -> Self {
        if problems == 0 { Self::Done } else { Self::Incomplete }
    }
}

/// The exit code of a class of errors.
pub(super) fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::NoRepository => NO_REPOSITORY,
        ErrorKind::Busy => BUSY,
        ErrorKind::WrongKey | ErrorKind::RoleNotAllowed => WRONG_KEY,
        ErrorKind::Interrupted => INTERRUPTED,
        ErrorKind::Missing
        | ErrorKind::Corrupt
        | ErrorKind::Unsupported
        | ErrorKind::Refused
        | ErrorKind::NoSpace
        | ErrorKind::Denied
        | ErrorKind::Abandoned
        | ErrorKind::Unread
        | ErrorKind::Io => FAILED,
    }
}

/// Adds what most often helps with errors of a class, where nothing better is known.
pub(super) fn with_next_step(error: Error) -> Error {
    if error.next_step().is_some() {
        return error;
    }
    let next = match error.kind() {
        _ if is_of(&error, std::io::ErrorKind::NotADirectory) => {
            "a file stands where a folder is wanted: name another path"
        }
        _ if is_of(&error, std::io::ErrorKind::IsADirectory) => {
            "a folder stands where a file is wanted: name another path"
        }
        ErrorKind::NoRepository => "check the path, or make a repository with `strongroom init`",
        ErrorKind::WrongKey | ErrorKind::RoleNotAllowed => {
            "name another key by --key-file or --password-file"
        }
        ErrorKind::Missing => "check how it is spelled, and that its disk is mounted",
        ErrorKind::Corrupt => {
            "`strongroom check` tells what is damaged, `strongroom repair --help` what can be done"
        }
        ErrorKind::Unsupported => "use a newer strongroom",
        ErrorKind::Busy => "try again in a while",
        ErrorKind::NoSpace => "free some space on that disk",
        ErrorKind::Denied => "check who may read and write there, or run it as somebody who may",
        ErrorKind::Abandoned => "run it again: what was stored is reused",
        ErrorKind::Unread | ErrorKind::Io => {
            "check the disk and what the system log says of it, and try again"
        }
        ErrorKind::Refused | ErrorKind::Interrupted => return error,
    };
    error.hint(next)
}

/// Whether an error of the system of this kind is among the causes.
fn is_of(error: &Error, kind: std::io::ErrorKind) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == kind) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Ends after clap refused the arguments, or showed help or version as asked. A program that asked for objects gets one.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    let asked_for = !error.use_stderr();
    let for_programs = std::env::args_os().take_while(|word| word != "--").any(|word| word == "--json");
    if for_programs && !asked_for {
        let text = error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let ends = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|end| text.find(end));
        let text = text.get(..ends.min().unwrap_or(text.len())).unwrap_or(text).trim_end();
        let failure =
            Error::refused(text.to_owned()).hint("`strongroom COMMAND --help` tells what may be given");
        let output = Output::with(true, false, false);
        // What it would have written there is no list of objects.
        if std::env::args_os().any(|argument| argument == "dump") {
            output.keep_stdout_for_data();
        }
        output.failure(&failure, USAGE);
        return ExitCode::from(USAGE);
    }
    if error.print().is_err() {
        // Nobody reads; the exit code still tells.
    }
    ExitCode::from(if asked_for { 0 } else { USAGE })
}

/// Ends after a command.
pub(super) fn finish(result: Result<Outcome>, output: &Output) -> ExitCode {
    let flushed = match std::io::stdout().flush() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("cannot write the output", error))
        }
        _ => Ok(()),
    };
    match result.and_then(|outcome| flushed.map(|()| outcome)) {
        Ok(Outcome::Done) if output.passed_over_unread() => ExitCode::from(INCOMPLETE),
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Incomplete) => ExitCode::from(INCOMPLETE),
        Ok(Outcome::Ended(code)) => ExitCode::from(code),
        Ok(Outcome::Unread) => ExitCode::from(FAILED),
        Err(error) => {
            let code = code(error.kind());
            let error = with_next_step(error);
            output.failure(&error, code);
            ExitCode::from(code)
        }
    }
}
