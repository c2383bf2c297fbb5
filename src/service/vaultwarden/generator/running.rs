//! A server that acts by itself, in a thread of its own, until it is stopped.
//!
//! Invariants: the thread has ended once the handle is stopped or dropped, which waits for the act it is
//! in; the first error ends it too and is returned by [`Handle::stop`], never printed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

use super::activity::Server;

/// A server at work. Dropped without [`Handle::stop`], it ends as well, and nobody hears how.
#[derive(Debug)]
pub struct Handle {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
    commits: Arc<AtomicU64>,
}

/// Opens a data folder and acts on it, with a pause after each act.
///
/// # Errors
/// What keeps the folder from being opened is returned here, what comes later by [`Handle::stop`].
pub fn start(folder: &Path, seed: u64, pause: Duration) -> Result<Handle> {
    let mut server = Server::open(folder, seed)?;
    let (stop, stopped) = mpsc::channel();
    let commits = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&commits);
    let thread = thread::Builder::new()
        .name("vaultwarden".to_owned())
        .spawn(move || {
            loop {
                server.act()?;
                counter.store(server.commits(), Ordering::Relaxed);
                match stopped.recv_timeout(pause) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
            }
        })
        .map_err(|error| Error::io("cannot start the server's thread", error))?;
    Ok(Handle { stop: Some(stop), thread: Some(thread), commits })
}

impl Handle {
    /// Commits so far.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Tells whether the server is still at work; where it is not, [`Handle::stop`] tells why.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops the server, waits for it to close its database, and returns its number of commits.
    pub fn stop(mut self) -> Result<u64> {
        self.end()?;
        Ok(self.commits.load(Ordering::Relaxed))
    }

    fn end(&mut self) -> Result<()> {
        drop(self.stop.take());
        let Some(thread) = self.thread.take() else { return Ok(()) };
        match thread.join() {
            Ok(done) => done,
            Err(_) => Err(Error::new(ErrorKind::Io, "the server's thread died")),
        }
    }
}

impl Drop for Handle {
    /// Waits: whoever removes the folder next must not meet the thread there.
    fn drop(&mut self) {
        self.end().ok();
    }
}
