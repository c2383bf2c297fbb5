//! What a command writes to its standard output, as a stream.
//!
//! The command is started without a shell. Its standard input is empty, and its standard error is ours, for its own
//! words tell best what it lacks.
//!
//! Invariants: a command that fails, is killed or cannot be started gives an error and never an end of the
//! stream. The command itself never outlives its reader; what it started may. Its arguments stand in no message: they may hold a password.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::stream::{LOOK_INTERVAL, Patience, Stream, shown};
use crate::error::{Error, ErrorKind, Result};

/// How long a command that is asked to end may take before it is ended by force.
const GRACE: Duration = Duration::from_secs(5);
/// Pauses between two looks whether a command has ended: short at first, for most end with their output.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// A command to run.
#[derive(Clone, Debug)]
pub struct CommandLine {
    /// The program: a path, or a name on the search path.
    pub program: OsString,
    /// Its arguments, as they are.
    pub arguments: Vec<OsString>,
    /// Variables of our environment that are not for it.
    pub hidden: Vec<OsString>,
    /// Whether it gets a process group of its own, so that what it starts ends with it. At a terminal it must
    /// not: it could not ask for a password there, and Ctrl-C reaches all of them anyway.
    pub own_group: bool,
}

impl CommandLine {
    /// Starts it.
    ///
    /// # Errors
    /// `Missing`, `Denied` and others where it cannot be started.
    pub fn start(&self, patience: &Patience) -> Result<Running> {
        let name = shown(Path::new(&self.program));
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        self.hidden.iter().for_each(|name| {
            command.env_remove(name);
        });
        if self.own_group {
            command.process_group(0);
        }
        let mut child = command.spawn().map_err(|error| {
            Error::io(format!("cannot start the command {name}"), error)
                .hint("give a program on the search path, or its path; it is started without a shell")
        })?;
        let output = child.stdout.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        let output = output.map(|file| Stream::new(file, patience.clone()));
        Ok(Running { child, name, own_group: self.own_group, output, patience: patience.clone() })
    }
}

/// A command that runs; dropped before its end, it is ended.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    own_group: bool,
    output: Option<Stream>,
    patience: Patience,
}

impl Running {
    /// Fills a buffer with what it writes; gives less than all of it only at the end of its output, which says
    /// nothing yet about how it ended.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match &mut self.output {
            Some(output) => output.fill(buffer).map_err(|error| self.explain(error)),
            None => Ok(0),
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Where it did not end with success, or does not end.
    pub fn finish(mut self) -> Result<()> {
        let since = Instant::now();
        let mut pause = PAUSES.0;
        let status = loop {
            if let Some(status) = self.status()? {
                break status;
            }
            self.patience.check(since).map_err(|error| self.explain(error))?;
            thread::sleep(pause);
            pause = pause.saturating_mul(2).min(PAUSES.1);
        };
        if status.success() {
            return Ok(());
        }
        if status.signal().is_some() {
            // A terminal sends Ctrl-C to both of us, and the command may be the first to act on it.
            thread::sleep(LOOK_INTERVAL);
        }
        self.patience.interrupt.check()?;
        Err(self.failed(status))
    }

    fn failed(&self, status: ExitStatus) -> Error {
        let cause = match (status.code(), status.signal()) {
            (Some(code), _) => format!("failed with exit code {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "failed".to_owned(),
        };
        Error::new(ErrorKind::Io, format!("the command {} {cause}", self.name))
            .hint("what it wrote until then may be incomplete; its own messages stand above")
    }

    fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .map_err(|error| Error::io(format!("cannot tell how the command {} ended", self.name), error))
    }

    /// Names the command in an error; an interruption is not its fault.
    fn explain(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::Interrupted {
            return error;
        }
        error.context(format!("the output of the command {}", self.name))
    }

    fn send(&self, signal: Signal) {
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        let sent = if self.own_group {
            rustix::process::kill_process_group(pid, signal)
        } else {
            rustix::process::kill_process(pid, signal)
        };
        // It may have ended by itself.
        sent.ok();
    }

    /// Asks it to end, and ends it by force if it does not.
    fn stop(&mut self) {
        // Whatever else holds the other end of the pipe finds nobody reading.
        self.output = None;
        self.send(Signal::TERM);
        let since = Instant::now();
        while since.elapsed() < GRACE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(PAUSES.1);
        }
        self.send(Signal::KILL);
        self.child.wait().ok();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}
