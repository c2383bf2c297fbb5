//! Giving a command more on its standard input than a pipe holds.
//!
//! Invariant: no write waits longer than it takes to notice that somebody asked to stop, or that the command has taken
//! nothing for too long.

use std::io::{self, Write};
use std::process::ChildStdin;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::source::stream::{LOOK_INTERVAL, Patience};

/// Room asked for in the pipe, in bytes.
const PIPE_BYTES: usize = 1 << 20;

/// The standard input of a command; dropped, it ends.
#[derive(Debug)]
pub struct Feed {
    input: ChildStdin,
    patience: Patience,
    refused: bool,
}

impl Feed {
    pub(super) fn new(input: ChildStdin, patience: Patience) -> Result<Self> {
        let failed =
            |errno: Errno| Error::io("cannot prepare the input of a command", io::Error::from(errno));
        let flags = fcntl_getfl(&input).map_err(failed)?;
        fcntl_setfl(&input, flags | OFlags::NONBLOCK).map_err(failed)?;
        // Only slower without.
        rustix::pipe::fcntl_setpipe_size(&input, PIPE_BYTES).ok();
        Ok(Self { input, patience, refused: false })
    }

    /// Whether the command took no more: how it ended tells why.
    pub fn refused(&self) -> bool {
        self.refused
    }

    /// Whether there is room now, or within a moment; an error counts.
    fn wait(&self) -> io::Result<bool> {
        let interval = Timespec::try_from(LOOK_INTERVAL).map_err(|_| Errno::INVAL)?;
        match poll(&mut [PollFd::new(&self.input, PollFlags::OUT)], Some(&interval)) {
            Err(Errno::INTR) => Ok(false),
            polled => Ok(polled? > 0),
        }
    }
}

impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let since = Instant::now();
        loop {
            self.patience.check(since).map_err(|error| io::Error::other(error.chain()))?;
            if !self.wait()? {
                continue;
            }
            match self.input.write(bytes) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => {
                    self.refused = true;
                    return Err(error);
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorKind;
    use crate::source::command::{CommandLine, Manner};

    fn shell(script: &str, patience: &Patience) -> crate::source::command::Running {
        let line = CommandLine {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            own_group: true,
            manner: Manner::Fed,
            ..CommandLine::default()
        };
        line.start(patience).unwrap()
    }

    #[test]
    fn more_than_a_pipe_holds_is_taken() {
        let mut running = shell("test $(wc -c) = 5000000", &Patience::default());
        let mut feed = running.feed().unwrap();
        feed.write_all(&vec![7; 5_000_000]).unwrap();
        drop(feed);
        running.finish().unwrap();
    }

    #[test]
    fn whoever_takes_no_more_is_told_from_who_is_slow() {
        let mut running = shell("echo no room >&2; exit 3", &Patience::default());
        let mut feed = running.feed().unwrap();
        assert!(feed.write_all(&vec![7; 5_000_000]).is_err() && feed.refused());
        let error = running.finish().unwrap_err();
        assert!(error.chain().contains("exit code 3: no room"), "{}", error.chain());

        let patience = Patience { silence: Some(Duration::from_millis(200)), ..Patience::default() };
        let mut running = shell("sleep 60", &patience);
        let mut feed = running.feed().unwrap();
        assert!(feed.write_all(&vec![7; 5_000_000]).is_err() && !feed.refused());

        let patience = Patience::default();
        patience.interrupt.request();
        let mut running = shell("sleep 60", &patience);
        let mut feed = running.feed().unwrap();
        assert!(feed.write_all(&[7]).is_err());
        assert_eq!(patience.interrupt.check().unwrap_err().kind(), ErrorKind::Interrupted);
    }
}
