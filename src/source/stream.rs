//! Reading what another program writes, from a pipe, a file or a socket whose length nobody knows.
//!
//! Invariant: no read waits longer than it takes to notice that somebody asked to stop, or that the deadline for
//! the other side's silence is past.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::format::node::{Node, NodeKind, Timestamp};
use crate::interrupt::Interrupt;
use crate::report::printable;

/// How long one wait for bytes lasts before the wish to stop is looked for.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Room asked for in a pipe, in bytes: with the usual 64 KiB two programs mostly wait for each other.
const PIPE_BYTES: usize = 1 << 20;

/// What a reader of streams waits for, and for how long.
#[derive(Clone, Debug, Default)]
pub struct Patience {
    /// Whether it is to stop.
    pub interrupt: Interrupt,
    /// How long the other side may say nothing; no limit where none is given.
    pub silence: Option<Duration>,
}

impl Patience {
    /// Goes on unless somebody asked to stop, or nothing came since this moment for too long.
    ///
    /// # Errors
    /// `Interrupted`; `Io` past the deadline.
    pub(super) fn check(&self, since: Instant) -> Result<()> {
        self.interrupt.check()?;
        match self.silence {
            Some(limit) if since.elapsed() >= limit => {
                Err(Error::new(ErrorKind::Io, format!("nothing came for {} s", limit.as_secs())))
            }
            _ => Ok(()),
        }
    }
}

/// A stream that is read once.
#[derive(Debug)]
pub struct Stream {
    file: File,
    patience: Patience,
}

impl Stream {
    /// Reads from an open file; a pipe gets more room, where the system grants it.
    pub fn new(file: File, patience: Patience) -> Self {
        if rustix::pipe::fcntl_getpipe_size(&file).is_ok_and(|bytes| bytes < PIPE_BYTES) {
            // Only slower without.
            rustix::pipe::fcntl_setpipe_size(&file, PIPE_BYTES).ok();
        }
        Self { file, patience }
    }

    /// Fills a buffer, waiting as often as it takes; gives less than all of it only at the stream's end.
    ///
    /// # Errors
    /// `Interrupted`; whatever the system says to a read.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.read(room)? {
                0 => break,
                read => filled = filled.saturating_add(read),
            }
        }
        Ok(filled)
    }

    /// Reads what there is, waiting only where there is nothing; gives nothing only at the stream's end.
    ///
    /// # Errors
    /// As [`Stream::fill`].
    pub fn read(&mut self, room: &mut [u8]) -> Result<usize> {
        let failed = |error: io::Error| Error::io("cannot be read", error);
        let since = Instant::now();
        loop {
            self.patience.check(since)?;
            if !self.wait().map_err(|errno| failed(errno.into()))? {
                continue;
            }
            match self.file.read(room) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                read => return read.map_err(failed),
            }
        }
    }

    /// Whether there is something to read now, or within a moment; an end and an error count.
    fn wait(&self) -> rustix::io::Result<bool> {
        let interval = Timespec::try_from(LOOK_INTERVAL).map_err(|_| Errno::INVAL)?;
        match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&interval)) {
            Err(Errno::INTR) => Ok(false),
            polled => polled.map(|ready| ready > 0),
        }
    }
}

/// The node of a file that exists in the snapshot only: a stream's contents as this user would have written them,
/// for nobody else to read.
pub fn node(now: Timestamp) -> Node {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    Node {
        uid,
        gid,
        user: uzers::get_user_by_uid(uid).map(|user| user.name().as_bytes().to_vec()).unwrap_or_default(),
        group: uzers::get_group_by_gid(gid).map(|group| group.name().as_bytes().to_vec()).unwrap_or_default(),
        mtime: now,
        ctime: now,
        ..Node::bare(NodeKind::File, 0o600)
    }
}

/// The node of a folder above such a file.
pub fn folder_node() -> Node {
    // Without a time of its own, so that it is unchanged from one snapshot to the next.
    Node { kind: NodeKind::Directory, mode: 0o700, ..node(Timestamp::default()) }
}

/// A program's name as it may be shown. Its arguments are not: they may hold a password.
pub(super) fn shown(program: &Path) -> String {
    printable(program.as_os_str().as_bytes())
}
