//! Everything that is printed: lines for a person, objects for a program, progress for whoever waits.

mod damage;
pub(super) mod human;
pub(super) mod json;
pub(super) mod node;
pub(super) mod paragraph;
mod progress;

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use self::paragraph::filled;
use super::global::Global;
use super::signals::Signals;
use crate::error::{Error, Result};
use crate::report::{Damage, Finding, Progress, Reporter, Severity};

pub(super) use progress::ProgressDisplay;

/// Where a command's words go.
pub(super) struct Output {
    /// Whether a program reads.
    pub(super) json: bool,
    /// Whether only problems are to be printed.
    pub(super) quiet: bool,
    /// Whether more is to be printed.
    pub(super) verbose: bool,
    /// What becomes of signals.
    pub(super) signals: Signals,
    progress: Arc<Progress>,
    bar: Mutex<Option<indicatif::ProgressBar>>,
    /// Whoever read standard output has seen enough, such as `head`.
    reader_gone: AtomicBool,
    /// Something in the store could not be had, and was passed over.
    unread: AtomicBool,
    /// Standard output carries a file's contents, so that everything else goes to standard error.
    stdout_is_data: AtomicBool,
    /// Standard input carries a file's contents, so that nobody else may read from it.
    stdin_is_data: AtomicBool,
}

impl Output {
    pub(super) fn new(global: &Global, signals: Signals) -> Self {
        Self { signals, ..Self::with(global.json, global.quiet, global.verbose) }
    }

    pub(super) fn with(json: bool, quiet: bool, verbose: bool) -> Self {
        Self {
            json,
            quiet,
            verbose,
            signals: Signals::default(),
            progress: Arc::default(),
            bar: Mutex::default(),
            reader_gone: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            stdout_is_data: AtomicBool::new(false),
            stdin_is_data: AtomicBool::new(false),
        }
    }

    /// Writes a line of data. Once nobody reads any more, nothing is written, and how the command ends is
    /// decided by its work alone.
    pub(super) fn line(&self, text: &str) -> Result<()> {
        if self.reader_gone() {
            return Ok(());
        }
        if self.stdout_is_data.load(Ordering::Relaxed) {
            self.note(text, None);
            return Ok(());
        }
        match self.suspended(|| writeln!(std::io::stdout().lock(), "{text}")) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                self.reader_gone.store(true, Ordering::Relaxed);
                Ok(())
            }
            written => written.map_err(|error| Error::io("cannot write the output", error)),
        }
    }

    /// Writes a text of many lines as it is.
    pub(super) fn text(&self, text: &[u8]) -> Result<()> {
        if self.reader_gone() {
            return Ok(());
        }
        match self.suspended(|| std::io::stdout().lock().write_all(text)) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                self.reader_gone.store(true, Ordering::Relaxed);
                Ok(())
            }
            written => written.map_err(|error| Error::io("cannot write the output", error)),
        }
    }

    /// How many columns standard output has; none where it is no terminal.
    pub(super) fn columns() -> Option<usize> {
        let out = std::io::stdout();
        let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten()?;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    }

    /// Whether something in the store could not be had, and was passed over.
    pub(super) fn passed_over_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Whether nobody reads standard output any more.
    pub(super) fn reader_gone(&self) -> bool {
        self.reader_gone.load(Ordering::Relaxed)
    }

    /// Keeps standard output for the contents of a file.
    pub(super) fn keep_stdout_for_data(&self) {
        self.stdout_is_data.store(true, Ordering::Relaxed);
    }

    /// Keeps standard input for the contents of a file.
    pub(super) fn keep_stdin_for_data(&self) {
        self.stdin_is_data.store(true, Ordering::Relaxed);
    }

    /// Whether standard input is kept.
    pub(super) fn stdin_is_data(&self) -> bool {
        self.stdin_is_data.load(Ordering::Relaxed)
    }

    /// Writes a line for a person, unless a program reads or quiet is asked for.
    pub(super) fn say(&self, text: &str) -> Result<()> {
        if self.json || self.quiet { Ok(()) } else { self.line(text) }
    }

    /// Writes an object for a program.
    pub(super) fn object(&self, object: &Value) -> Result<()> {
        self.line(&object.to_string())
    }

    /// Writes a warning.
    pub(super) fn warn(&self, text: &str, next_step: Option<&str>) {
        let mut finding = Finding::warning("", text);
        finding.hint = next_step.map(str::to_owned);
        self.report(finding);
    }

    /// Writes the error that ended the command.
    pub(super) fn failure(&self, error: &Error, code: u8) {
        if self.json {
            let object = json!({
                "message_type": "exit_error",
                "code": code,
                "message": error.chain(),
                "next_step": error.next_step(),
            });
            if self.object(&object).is_ok() {
                return;
            }
        }
        self.note(&format!("{}: {}", Self::paint("error", "31;1"), error.chain()), error.next_step());
    }

    /// Starts drawing progress.
    pub(super) fn start_progress(&self, verb: &'static str) -> ProgressDisplay {
        let display = ProgressDisplay::start(verb, self, Arc::clone(&self.progress));
        if let Ok(mut bar) = self.bar.lock() {
            bar.clone_from(&display.bar);
        }
        display
    }

    /// Keeps the progress bar from writing over a question.
    pub(super) fn pause_progress(&self) {
        if let Ok(bar) = self.bar.lock()
            && let Some(bar) = bar.as_ref()
        {
            bar.finish_and_clear();
        }
    }

    fn note(&self, text: &str, next_step: Option<&str>) {
        let written = self.suspended(|| {
            let mut err = std::io::stderr().lock();
            writeln!(err, "{text}")?;
            let is_terminal = err.is_terminal();
            next_step.into_iter().flat_map(str::lines).try_for_each(|line| {
                if is_terminal { write!(err, "{}", filled(line, "  ")) } else { writeln!(err, "  {line}") }
            })
        });
        if written.is_err() {
            // There is nowhere left to say so; the exit code still tells.
        }
    }

    fn suspended<T>(&self, write: impl FnOnce() -> T) -> T {
        match self.bar.lock() {
            Ok(bar) => match bar.as_ref() {
                Some(bar) => bar.suspend(write),
                None => write(),
            },
            Err(_) => write(),
        }
    }

    fn paint(text: &str, color: &str) -> String {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if !plain && std::io::stderr().is_terminal() {
            format!("\u{1b}[{color}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

impl Reporter for Output {
    fn report(&self, finding: Finding) {
        if self.json {
            let object = json!({
                "message_type": "error",
                "severity": if finding.severity == Severity::Problem { "problem" } else { "warning" },
                "item": finding.subject,
                "message": finding.cause,
                "next_step": finding.hint,
            });
            if self.object(&object).is_err() {
                // Whoever read is gone; the exit code still tells.
            }
            return;
        }
        let word = match finding.severity {
            Severity::Problem => Self::paint("problem", "31;1"),
            Severity::Warning if self.quiet => return,
            Severity::Warning => Self::paint("warning", "33;1"),
        };
        let subject =
            if finding.subject.is_empty() { String::new() } else { format!("{}: ", finding.subject) };
        self.note(&format!("{word}: {subject}{}", finding.cause), finding.hint.as_deref());
    }

    fn report_unread(&self, finding: Finding) {
        self.unread.store(true, Ordering::Relaxed);
        self.report(finding);
    }

    fn report_damage(&self, finding: Finding, damage: &Damage) {
        if self.json {
            if self.object(&damage::object(&finding, damage)).is_err() {
                // Whoever read is gone; the exit code still tells.
            }
            return;
        }
        if finding.severity == Severity::Warning && self.quiet {
            return;
        }
        let hint = finding.hint.clone();
        self.report(Finding { hint: None, ..finding });
        for line in damage::lines(damage) {
            self.note(&line, None);
        }
        if let Some(hint) = hint {
            self.note(&format!("  {hint}"), None);
        }
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }
}
