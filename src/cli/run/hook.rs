//! Commands before and after a job: started, waited for, and ended when their time is over.
//!
//! Invariants: a hook gets the variables that `docs/configuration.md` lists, and nothing else that begins with STRONGROOM_:
//! no password of ours. It gets a process group of its own, and all of that ends with it when its time is over. Its arguments
//! stand in no message.

use std::io::{PipeReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::cli::config::{Hook, Words};
use crate::cli::output::human;
use crate::error::{Error, ErrorKind, Result};
use crate::interrupt::Interrupt;
use crate::report::printable;

/// How long a hook may take unless it says otherwise.
const TIMEOUT: Duration = Duration::from_hours(1);
/// How long one that is asked to end may take before it is ended by force.
const GRACE: Duration = Duration::from_secs(5);
/// Pause between two looks whether it has ended.
const PAUSE: Duration = Duration::from_millis(20);
/// How long its last words are waited for: what it started may keep the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How much is kept of what it says, in bytes.
const WORDS_MAX: usize = 2048;

/// What a hook is told by its environment.
pub(super) type Variables = Vec<(&'static str, String)>;

/// Runs a hook to its end; gives what it said, for whoever wants to see it.
///
/// # Errors
/// Where it cannot be started, fails, takes too long, or somebody asks to stop.
pub(super) fn run(hook: &Hook, variables: &Variables, interrupt: &Interrupt) -> Result<String> {
    let name = printable(hook.command.name().as_bytes());
    let timeout = hook.timeout.unwrap_or(TIMEOUT);
    let (mut child, words) = start(hook, variables).map_err(|error| {
        Error::io(format!("cannot start the command {name}"), error)
            .hint("give a program on the search path, or its path; a line for the shell is a text")
    })?;
    let status = wait(&mut child, timeout, interrupt)
        .map_err(|error| error.context(format!("cannot tell how the command {name} ended")))?;
    let said = words.take();
    let cause = match status {
        Ended::By(status) if status.success() => return Ok(said),
        Ended::By(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("failed with exit code {code}"),
            (None, signal) => format!("was killed by signal {}", signal.unwrap_or(0)),
        },
        Ended::TooLate => format!("took longer than {}, and was ended", human::duration(timeout)),
        Ended::Interrupted => return Err(Error::new(ErrorKind::Interrupted, "interrupted")),
    };
    let error = Error::new(ErrorKind::Io, format!("the command {name} {cause}"));
    let error = error.hint("run it by hand to see why; a longer time is given by `timeout`");
    Err(if said.is_empty() { error } else { error.caused_by(Said(said)) })
}

/// What a hook said of its own failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

enum Ended {
    By(ExitStatus),
    TooLate,
    Interrupted,
}

/// The end of what a command says, read beside it.
struct LastWords(Arc<Mutex<Vec<u8>>>, thread::JoinHandle<()>);

fn start(hook: &Hook, variables: &Variables) -> std::io::Result<(Child, LastWords)> {
    let mut command = match &hook.command {
        Words::Plain(words) => {
            let mut words = words.iter();
            let mut command = Command::new(words.next().map_or("", String::as_str));
            command.args(words);
            command
        }
        Words::Shell(line) => {
            let mut command = Command::new("sh");
            command.arg("-c").arg(line);
            command
        }
    };
    let own = std::env::vars_os().map(|(name, _)| name);
    own.filter(|name| name.as_encoded_bytes().starts_with(b"STRONGROOM_")).for_each(|name| {
        command.env_remove(name);
    });
    let (reader, writer) = std::io::pipe()?;
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let child = command.spawn()?;
    // The command holds the pipe's other end; were it kept here, the words would have no end.
    drop(command);
    Ok((child, LastWords::listen(reader)))
}

impl LastWords {
    fn listen(mut pipe: PipeReader) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let words = Arc::clone(&kept);
        let listener = thread::spawn(move || {
            let mut buffer = [0; WORDS_MAX];
            while let Ok(read @ 1..) = pipe.read(&mut buffer) {
                let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
                words.extend_from_slice(buffer.get(..read).unwrap_or_default());
                let surplus = words.len().saturating_sub(WORDS_MAX);
                words.drain(..surplus);
            }
        });
        Self(kept, listener)
    }

    /// What it said last, as it may be shown, in one line.
    fn take(self) -> String {
        let since = Instant::now();
        while !self.1.is_finished() && since.elapsed() < LAST_WORDS {
            thread::sleep(PAUSE);
        }
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines =
            words.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        lines.map(printable).collect::<Vec<_>>().join("; ")
    }
}

fn wait(child: &mut Child, timeout: Duration, interrupt: &Interrupt) -> Result<Ended> {
    let since = Instant::now();
    loop {
        let ended = child.try_wait().map_err(|error| Error::io("the system does not say", error))?;
        match ended {
            Some(status) => return Ok(Ended::By(status)),
            None if interrupt.requested() => {
                stop(child);
                return Ok(Ended::Interrupted);
            }
            None if since.elapsed() >= timeout => {
                stop(child);
                return Ok(Ended::TooLate);
            }
            None => thread::sleep(PAUSE),
        }
    }
}

/// Asks it and all it started to end, and ends them by force if they do not.
fn stop(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let send = |signal| group.is_some_and(|group| kill_process_group(group, signal).is_ok());
    send(Signal::TERM);
    let since = Instant::now();
    while since.elapsed() < GRACE && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(PAUSE);
    }
    // What it started may have stayed.
    send(Signal::KILL);
    if child.wait().is_err() {
        // Then somebody else has waited for it.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(line: &str, timeout: u64) -> Hook {
        Hook { command: Words::Shell(line.to_owned()), timeout: Some(Duration::from_secs(timeout)) }
    }

    #[test]
    fn a_hook_ends_with_what_it_started_when_its_time_is_over() {
        let started = Instant::now();
        let late = run(&hook("sleep 60 & sleep 60", 1), &Vec::new(), &Interrupt::default()).unwrap_err();
        assert!(late.to_string().contains("took longer than 1.00 s") && started.elapsed().as_secs() < 30);
    }

    #[test]
    fn one_that_leaves_something_behind_is_not_waited_for() {
        let started = Instant::now();
        let said = run(&hook("echo started; sleep 20 &", 60), &Vec::new(), &Interrupt::default()).unwrap();
        assert!(said == "started" && started.elapsed().as_secs() < 15);
    }

    #[test]
    fn what_it_said_stands_in_the_error_and_its_arguments_do_not() {
        let hook = Hook {
            command: Words::Plain(["sh", "-c", "echo no >&2; exit 7", "secret"].map(str::to_owned).to_vec()),
            timeout: None,
        };
        let error = run(&hook, &Vec::new(), &Interrupt::default()).unwrap_err().chain();
        assert_eq!(error, "the command sh failed with exit code 7: no");
    }
}
