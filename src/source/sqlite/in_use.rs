//! Whether somebody has a database open, and keeping them out for a moment.
//!
//! A connection to a database with a log holds shared locks on the file and on the log's index for as long as it is
//! open, which the kernel shows across containers. One with a rollback journal holds none while it rests: then the
//! open files of other processes tell, as far as this user may see them. Neither shows a server on another computer.
//!
//! Invariant: to look changes nothing. A process that closes any descriptor of a file drops all its locks on it, so
//! nothing may look at a database while a [`Guard`] on it is held.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType};

use super::error::shown;
use super::{HEADER, INDEX, LOG, companion};
use crate::error::{Error, ErrorKind, Result};
use crate::report::printable;

/// Somebody who has a database open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The process, where the system tells: not where it runs in a container that this one cannot see into.
    pub process: Option<u32>,
    /// Its name, safe to show.
    pub name: Option<String>,
}

impl Holder {
    fn of(process: Option<u32>) -> Self {
        let name = process.and_then(|process| fs::read(format!("/proc/{process}/comm")).ok());
        Self { process, name: name.map(|name| printable(name.trim_ascii())) }
    }

    /// Who it is, in words.
    pub fn describe(&self) -> String {
        match (self.process, &self.name) {
            (Some(process), Some(name)) => format!("process {process} ({name})"),
            (Some(process), None) => format!("process {process}"),
            (None, _) => "a process in another container".to_owned(),
        }
    }
}

/// Somebody other than this process who has the database open; nobody where there is no such file.
pub fn holder(database: &Path) -> Result<Option<Holder>> {
    let failed = |error| Error::io(format!("cannot find out who has {} open", shown(database)), error);
    let mut files = Vec::new();
    for suffix in ["", INDEX, LOG] {
        let Some(file) = open(&companion(database, suffix), false).map_err(failed)? else { continue };
        let lock = rustix::process::fcntl_getlk(&file, &Flock::from(FlockType::WriteLock));
        // Some network file systems know no locks; then the open files have to do.
        if let Ok(Some(lock)) = lock {
            let process = lock.pid.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
            return Ok(Some(Holder::of(process)));
        }
        let metadata = file.metadata().map_err(failed)?;
        files.push((metadata.dev(), metadata.ino()));
    }
    Ok(if files.is_empty() { None } else { who_opened(&files) })
}

/// Whether somebody else may have a database open without a trace that this user may see: one that keeps no log, and
/// processes that do not show their open files.
pub fn may_be_open_unseen(database: &Path) -> bool {
    let mut header = [0; HEADER];
    let read = match open(database, false) {
        Ok(Some(file)) => file.read_exact_at(&mut header, 0),
        Ok(None) => return false,
        Err(error) => Err(error),
    };
    // An empty one keeps no log yet.
    let keeps_log = read.is_ok() && header.get(18..20) == Some(&[2, 2]);
    !keeps_log && !shows_every_process()
}

fn shows_every_process() -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut hidden = numbers.filter(|number| {
        let handles = fs::read_dir(format!("/proc/{number}/fd"));
        handles.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    });
    hidden.next().is_none()
}

/// Opens a regular file; nothing where there is none. What is no regular file is no database either.
fn open(path: &Path, to_write: bool) -> io::Result<Option<File>> {
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    match OpenOptions::new().read(true).write(to_write).custom_flags(flags).open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Another process that has one of these files open, by device and inode.
fn who_opened(files: &[(u64, u64)]) -> Option<Holder> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut others = numbers.filter(|number| *number != std::process::id());
    others.find(|number| has_open(*number, files)).map(|number| Holder::of(Some(number)))
}

fn has_open(process: u32, files: &[(u64, u64)]) -> bool {
    let Ok(handles) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    handles.flatten().map(|handle| handle.path()).any(|handle| {
        is_path(&handle)
            && fs::metadata(&handle).is_ok_and(|found| files.contains(&(found.dev(), found.ino())))
    })
}

/// Whether a handle is on a file, and not on a pipe or a socket.
fn is_path(handle: &PathBuf) -> bool {
    fs::read_link(handle).is_ok_and(|target| target.is_absolute())
}

/// Keeps every connection from reading or writing a database while it is held: they find it busy, and wait.
#[derive(Debug)]
pub struct Guard {
    _locked: File,
}

impl Guard {
    /// Locks a database; nothing where there is none, or where this user or its file system allows no lock.
    ///
    /// # Errors
    /// `Busy` where somebody else has it open.
    pub fn take(database: &Path) -> Result<Option<Self>> {
        let Ok(Some(file)) = open(database, true) else { return Ok(None) };
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _locked: file })),
            Err(Errno::AGAIN | Errno::ACCESS) => {
                Err(Error::new(ErrorKind::Busy, format!("somebody has {} open", shown(database))))
            }
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::source::sqlite::Scratch;

    #[test]
    fn our_own_connections_are_nobody_and_nothing_is_no_database() {
        let scratch = Scratch::create(&std::env::temp_dir()).unwrap();
        let path = scratch.path().join("db");
        assert_eq!(holder(&path).unwrap(), None);
        assert!(Guard::take(&path).unwrap().is_none());
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a)").unwrap();
        assert_eq!(holder(&path).unwrap(), None);
        drop(connection);
        assert!(Guard::take(&path).unwrap().is_some());
    }

    #[test]
    fn a_holder_is_named() {
        let holder = Holder { process: Some(7), name: Some("vaultwarden".into()) };
        assert_eq!(holder.describe(), "process 7 (vaultwarden)");
        assert_eq!(Holder::default().describe(), "a process in another container");
    }
}
