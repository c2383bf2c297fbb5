//! Whether a database changed since it was last taken, without reading it.
//!
//! In WAL mode a commit alters neither size nor time of the main file, so the log counts as well: its
//! stamp, and its header, whose salts change whenever the log starts over.
//!
//! Invariant: opening, reading and closing a database does not alter its fingerprint. An empty log or
//! journal therefore equals an absent one: connections create empty logs, and neither holds anything.
//! The log's index does not count at all: it is rebuilt at will and says nothing that the log does not.
//! Nor does the time at which anything about a log or journal changed (`ctime`): SQLite run by root gives
//! a log that it opens to the owner of the database, even where that owner has it already.
//!
//! Invariant: equal fingerprints mean that nothing changed. The converse does not hold: a full checkpoint or a
//! change of permissions makes a new fingerprint, which costs one needless copy.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

use super::error::shown;
use super::{HEADER, JOURNAL, LOG, companion};
use crate::error::{Error, Result};
use crate::id::Id;

/// Sets these hashes apart from all others.
const DOMAIN: &[u8] = b"strongroom 1 sqlite fingerprint\0";

/// How much of a log's or journal's start is looked at: magic, salts or nonce, checksums.
const COMPANION_HEADER: usize = 32;

/// Longest step of the clock by which Linux stamps files.
const TICK: Duration = Duration::from_millis(20);

/// The same where a file system keeps no fractions of seconds.
const COARSE_TICK: Duration = Duration::from_secs(2);

/// Identifies the present state of a database: equal means unchanged.
///
/// Must not run while this process has the database open elsewhere (see the module's invariants).
pub fn fingerprint(database: &Path) -> Result<Id> {
    let unreadable = |error| Error::io(format!("cannot read {}", shown(database)), error);
    let database = fs::canonicalize(database).map_err(unreadable)?;
    Ok(look(&database).map_err(unreadable)?.0)
}

/// The fingerprint, taken so that whatever is written after this returns will alter it: files written within
/// one tick of the clock carry the same time, so this waits until the youngest stamp is past.
pub(super) fn settled(database: &Path) -> io::Result<Id> {
    let (id, safe_after) = look(database)?;
    // A stamp from the future (a skewed clock, a network file system) must not hold us for long.
    if let Ok(wait) = safe_after.duration_since(SystemTime::now()) {
        thread::sleep(wait.min(COARSE_TICK));
    }
    Ok(id)
}

/// The fingerprint, and when a new change is sure to get a new time.
fn look(database: &Path) -> io::Result<(Id, SystemTime)> {
    let mut state = State { hasher: blake3::Hasher::new(), safe_after: SystemTime::UNIX_EPOCH };
    state.hasher.update(DOMAIN);
    let main = open_regular(database)?;
    let metadata = state.add(&main, HEADER)?;
    for number in [metadata.ctime(), metadata.ctime_nsec()] {
        state.hasher.update(&number.to_le_bytes());
    }
    for suffix in [LOG, JOURNAL] {
        match open_filled(&companion(database, suffix))? {
            Some(file) => {
                state.hasher.update(&[1]);
                state.add(&file, COMPANION_HEADER)?;
            }
            None => {
                state.hasher.update(&[0]);
            }
        }
    }
    Ok((Id(*state.hasher.finalize().as_bytes()), state.safe_after))
}

struct State {
    hasher: blake3::Hasher,
    safe_after: SystemTime,
}

impl State {
    fn add(&mut self, file: &File, header: usize) -> io::Result<Metadata> {
        let metadata = file.metadata()?;
        for number in [metadata.size(), metadata.ino(), metadata.dev()] {
            self.hasher.update(&number.to_le_bytes());
        }
        for number in [metadata.mtime(), metadata.mtime_nsec()] {
            self.hasher.update(&number.to_le_bytes());
        }
        self.safe_after = self.safe_after.max(safe_after(&metadata));

        let mut bytes = Vec::with_capacity(header);
        let length = u64::try_from(header).unwrap_or(u64::MAX);
        file.take(length).read_to_end(&mut bytes)?;
        self.hasher.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        self.hasher.update(&bytes);
        Ok(metadata)
    }
}

fn safe_after(metadata: &Metadata) -> SystemTime {
    let tick = if metadata.mtime_nsec() == 0 { COARSE_TICK } else { TICK };
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH) + tick
}

/// Opens a regular file for reading, never a link, and never waiting for the other end of a pipe.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// The same for a companion; nothing if it is absent or empty.
pub(super) fn open_filled(path: &Path) -> io::Result<Option<File>> {
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok((file.metadata()?.len() > 0).then_some(file))
}
