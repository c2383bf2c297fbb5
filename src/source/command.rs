//! What a command writes to its standard output, as a stream.
//!
//! The command is started without a shell. Its standard error is ours, for its own words tell best what it lacks, or is
//! kept for the message that tells how it failed.
//!
//! Invariants: a command that fails, is killed or cannot be started gives an error and never an end of the
//! stream. The command itself never outlives its reader; what it started may. Its arguments and its environment stand
//! in no message: they may hold a password.

mod feed;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use zeroize::Zeroizing;

pub use feed::Feed;

use super::stream::{LOOK_INTERVAL, Patience, Stream, shown};
use crate::error::{Error, ErrorKind, Result};
use crate::report::printable;

/// How long a command that is asked to end may take before it is ended by force.
const GRACE: Duration = Duration::from_secs(5);
/// Pauses between two looks whether a command has ended: short at first, for most end with their output.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// How much is kept of what a command says on its standard error, in bytes: the end of it, where the cause stands.
const WORDS_MAX: usize = 4096;

/// What a command finds on its standard input, and where its standard error goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// Nothing; and its words are for whoever started us.
    #[default]
    Alone,
    /// What [`Running::tell`] gives it; and its words are kept for the message that tells how it failed.
    Guided,
    /// The same, by [`Running::feed`] as well; what it writes is let go.
    Fed,
}

/// A command to run.
#[derive(Clone, Default)]
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
    /// Variables of its environment beside ours: passwords too.
    pub environment: Vec<(OsString, Zeroizing<String>)>,
    /// What it reads and where it complains.
    pub manner: Manner,
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CommandLine({})", shown(Path::new(&self.program)))
    }
}

impl CommandLine {
    /// Starts it.
    ///
    /// # Errors
    /// `Missing`, `Denied` and others where it cannot be started.
    pub fn start(&self, patience: &Patience) -> Result<Running> {
        let name = shown(Path::new(&self.program));
        let mut command = Command::new(&self.program);
        let (stdin, stdout, stderr) = match self.manner {
            Manner::Alone => (Stdio::null(), Stdio::piped(), Stdio::inherit()),
            Manner::Guided => (Stdio::piped(), Stdio::piped(), Stdio::piped()),
            Manner::Fed => (Stdio::piped(), Stdio::null(), Stdio::piped()),
        };
        command.args(&self.arguments).stdin(stdin).stdout(stdout).stderr(stderr);
        self.hidden.iter().for_each(|name| {
            command.env_remove(name);
        });
        self.environment.iter().for_each(|(name, value)| {
            command.env(name, value.as_str());
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
        let input = child.stdin.take();
        let words = child.stderr.take().map(|stderr| thread::spawn(move || last_words(stderr)));
        Ok(Running {
            child,
            name,
            own_group: self.own_group,
            input,
            output,
            words,
            patience: patience.clone(),
        })
    }
}

/// A command that runs; dropped before its end, it is ended.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    own_group: bool,
    input: Option<ChildStdin>,
    output: Option<Stream>,
    words: Option<JoinHandle<Vec<u8>>>,
    patience: Patience,
}

impl Running {
    /// Writes to its standard input. Meant for less than a pipe holds: it waits for as long as nobody reads.
    ///
    /// # Errors
    /// Where it reads no more; how it ended tells why.
    pub fn tell(&mut self, bytes: &[u8]) -> Result<()> {
        let told =
            self.input.as_mut().map_or(Ok(()), |input| input.write_all(bytes).and_then(|()| input.flush()));
        told.map_err(|error| Error::io(format!("the command {} reads no more", self.name), error))
    }

    /// Its standard input, for as much as there is. To go on without its end, drop the command before this.
    ///
    /// # Errors
    /// Where it has none any more.
    pub fn feed(&mut self) -> Result<Feed> {
        let input = self.input.take();
        let input =
            input.ok_or_else(|| Error::refused(format!("the command {} takes no input", self.name)))?;
        Feed::new(input, self.patience.clone())
    }

    /// Ends its standard input.
    pub fn told_all(&mut self) {
        self.input = None;
    }

    /// Fills a buffer with what it writes; gives less than all of it only at the end of its output, which says
    /// nothing yet about how it ended.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match &mut self.output {
            Some(output) => output.fill(buffer).map_err(|error| self.explain(error)),
            None => Ok(0),
        }
    }

    /// Reads what it has written, waiting only where there is nothing: for one that answers before it ends. Gives
    /// nothing only at the end of its output.
    pub fn read(&mut self, room: &mut [u8]) -> Result<usize> {
        match &mut self.output {
            Some(output) => output.read(room).map_err(|error| self.explain(error)),
            None => Ok(0),
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Where it did not end with success, or does not end.
    pub fn finish(mut self) -> Result<()> {
        self.told_all();
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

    fn failed(&mut self, status: ExitStatus) -> Error {
        let cause = match (status.code(), status.signal()) {
            (Some(code), _) => format!("failed with exit code {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "failed".to_owned(),
        };
        let error = Error::new(ErrorKind::Io, format!("the command {} {cause}", self.name));
        match self.words() {
            Some(words) => error.caused_by(Words(words)),
            None => error.hint("what it wrote until then may be incomplete; its own messages stand above"),
        }
    }

    /// The end of what it said on its standard error, once it has ended, as it may be shown; nothing where it said
    /// nothing, or said it to whoever started us.
    pub fn words(&mut self) -> Option<String> {
        let words = self.words.take()?.join().ok()?;
        let lines =
            words.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        let text = lines.map(printable).collect::<Vec<_>>().join("; ");
        Some(text).filter(|text| !text.is_empty())
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
        self.told_all();
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

/// What a command said of its own failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Words(String);

/// Reads to the end, so that nobody waits for room in the pipe, and keeps the last of it.
fn last_words(mut stderr: ChildStderr) -> Vec<u8> {
    let mut words = Vec::new();
    let mut buffer = [0; WORDS_MAX];
    while let Ok(read @ 1..) = stderr.read(&mut buffer) {
        words.extend_from_slice(buffer.get(..read).unwrap_or_default());
        words.drain(..words.len().saturating_sub(WORDS_MAX));
    }
    words
}
