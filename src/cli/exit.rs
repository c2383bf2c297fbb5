//! How the process ends.

use std::io::Write;
use std::process::ExitCode;

use super::output::Output;
use crate::error::{Error, ErrorKind, Result};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const INCOMPLETE: u8 = 3;
const NO_REPOSITORY: u8 = 10;
const BUSY: u8 = 11;
const WRONG_KEY: u8 = 12;
/// Also after SIGTERM and SIGHUP: whoever sent it knows which it was.
pub(super) const INTERRUPTED: u8 = 130;

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of it is done.
    Done,
    /// Done, but something could not be read or failed its check.
    Incomplete,
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
fn code(kind: ErrorKind) -> u8 {
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
        | ErrorKind::Io => FAILED,
    }
}

/// Ends after clap refused the arguments, or showed help or version as asked.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    let asked_for = !error.use_stderr();
    if !asked_for && std::env::args_os().any(|argument| argument == "--json") {
        return wrong_usage(error);
    }
    if error.print().is_err() {
        // Nobody reads; the exit code still tells.
    }
    ExitCode::from(if asked_for { 0 } else { USAGE })
}

/// Tells a program what is wrong with its arguments. That it wants to be told is one of them, so it is looked for by itself.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    let output = Output::with(true, false, false);
    // What it would have written there is no list of objects.
    if std::env::args_os().any(|argument| argument == "dump") {
        output.keep_stdout_for_data();
    }
    let text = error.render().to_string();
    let (what, more) = text.split_once("\n\n").unwrap_or((&text, ""));
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let what = one_line(what.trim_start_matches("error: "));
    let error = Error::refused(what);
    let more = one_line(more);
    output.failure(&if more.is_empty() { error } else { error.hint(more) }, USAGE);
    ExitCode::from(USAGE)
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
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Incomplete) => ExitCode::from(INCOMPLETE),
        Ok(Outcome::Unread) => ExitCode::from(FAILED),
        Err(error) => {
            let code = code(error.kind());
            output.failure(&error, code);
            ExitCode::from(code)
        }
    }
}
