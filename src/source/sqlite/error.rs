//! Why no copy of a database could be taken: what happened, and what to do next.
//!
//! Invariant: a message describes its own layer and does not repeat its source.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::report::{Finding, printable};

/// Why no copy of a database could be taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// Somebody held the database for themselves until the deadline.
    #[error("another program kept the database locked for {} seconds", waited.as_secs())]
    Locked {
        /// How long this waited.
        waited: Duration,
    },
    /// Its files had to be read without a lock, and never were the same twice.
    #[error("the files of the database changed during each of {tries} attempts to read them")]
    KeepsChanging {
        /// How often they were read.
        tries: u32,
    },
    /// Encrypted, or not a database in spite of its first bytes.
    #[error("the file is not a SQLite database, or is an encrypted one: {detail}")]
    NotADatabase {
        /// What SQLite says.
        detail: String,
    },
    /// So damaged that SQLite cannot copy it.
    #[error("the database is damaged: {detail}")]
    Corrupt {
        /// What SQLite says.
        detail: String,
    },
    /// The copy does not fit.
    #[error("no room for a copy of {needed} bytes in the temporary folder {}", shown(folder))]
    ScratchFull {
        /// The folder for temporary copies.
        folder: PathBuf,
        /// About how much was needed.
        needed: u64,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The operating system does not let this user read it.
    #[error("cannot read {}", shown(path))]
    Denied {
        /// The file that could not be opened.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// Any other failure.
    #[error("{0}")]
    Other(Error),
}

impl TakeError {
    /// What the reader can do next.
    pub fn next_step(&self) -> Option<&str> {
        match self {
            Self::Locked { .. } => {
                Some("run the backup again when that program has finished, or raise the deadline")
            }
            Self::KeepsChanging { .. } => Some(
                "no server with a shared index has it open, and yet something writes: \
                 stop that program, or let it use SQLite's usual locking, and run the backup again",
            ),
            Self::NotADatabase { .. } => {
                Some("have its program write an export, and back that up; or exclude the file")
            }
            Self::Corrupt { .. } => {
                Some("restore it from an older snapshot, or rescue what is left with `sqlite3 FILE .recover`")
            }
            Self::ScratchFull { .. } => {
                Some("free some space there, or choose another folder for temporary files")
            }
            Self::Denied { .. } => {
                Some("run the backup as a user who may read the database and its -wal file")
            }
            Self::Other(error) => error.next_step(),
        }
    }

    /// The class it belongs to.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Locked { .. } | Self::KeepsChanging { .. } => ErrorKind::Busy,
            Self::NotADatabase { .. } | Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::ScratchFull { .. } => ErrorKind::NoSpace,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Other(error) => error.kind(),
        }
    }

    /// What to tell the person about the database named.
    pub fn finding(&self, database: &Path) -> Finding {
        let cause = match self {
            Self::ScratchFull { error, .. } | Self::Denied { error, .. } => format!("{self}: {error}"),
            Self::Other(error) => error.chain(),
            _ => self.to_string(),
        };
        let finding = Finding::problem(shown(database), cause);
        match self.next_step() {
            Some(step) => finding.with_hint(step),
            None => finding,
        }
    }

    /// An error in reading a file of the source.
    pub(super) fn source(path: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { path: path.to_path_buf(), error },
            _ => Self::Other(Error::io(format!("cannot read {}", shown(path)), error)),
        }
    }

    /// An error in writing into the folder for temporary copies.
    pub(super) fn scratch(folder: &Path, needed: u64, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::ScratchFull { folder: folder.to_path_buf(), needed, error }
            }
            _ => Self::Other(
                Error::io(format!("cannot write into the temporary folder {}", shown(folder)), error)
                    .hint("choose another folder for temporary files"),
            ),
        }
    }

    /// An error that SQLite reports, where nothing better is known about it.
    pub(super) fn sqlite(message: &'static str, error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => Self::NotADatabase { detail: error.to_string() },
            Some(rusqlite::ErrorCode::DatabaseCorrupt) => Self::Corrupt { detail: error.to_string() },
            _ => Self::Other(Error::new(ErrorKind::Io, message).caused_by(error)),
        }
    }
}

impl From<TakeError> for Error {
    fn from(error: TakeError) -> Self {
        if let TakeError::Other(error) = error {
            return error;
        }
        let mut outer = Self::new(error.kind(), error.to_string());
        if let Some(step) = error.next_step() {
            outer = outer.hint(step.to_owned());
        }
        match error {
            TakeError::ScratchFull { error, .. } | TakeError::Denied { error, .. } => outer.caused_by(error),
            _ => outer,
        }
    }
}

/// A path for a message.
pub(super) fn shown(path: &Path) -> String {
    printable(path.as_os_str().as_bytes())
}
