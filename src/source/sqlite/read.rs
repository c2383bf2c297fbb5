//! Copying a database's files where no server shares it: main file, log and rollback journal.
//!
//! Invariant: what is kept was there at one moment. Two complete readings that agree, byte for byte and in
//! every stamp, mean that nothing changed between the end of the first and the start of the second; what
//! SQLite's files hold at any moment is what it could recover from after a crash at that moment.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::error::TakeError;
use super::fingerprint::{open_filled, settled};
use super::take::Job;
use super::{JOURNAL, LOG, companion};
use crate::id::Id;

/// How much is read at a time.
const BUFFER: usize = 1 << 20;

/// What one reading found: the hash of each file, where it is there.
type Seen = [Option<blake3::Hash>; 3];

/// Copies the files and reads them again; false if they changed meanwhile.
pub(super) fn read_until_agreed_once(job: &mut Job<'_>) -> Result<bool, TakeError> {
    let before = stamp(&job.database)?;
    let mut needed = 0;
    for suffix in ["", LOG, JOURNAL] {
        let path = companion(&job.database, suffix);
        if let Ok(metadata) = fs::symlink_metadata(path) {
            needed += metadata.len();
        }
    }
    job.make_sure_of_room(needed)?;
    let first = read(job, needed, true)?;
    let second = read(job, needed, false)?;
    Ok(first == second && before == stamp(&job.database)?)
}

fn stamp(database: &Path) -> Result<Id, TakeError> {
    settled(database).map_err(|error| TakeError::source(database, error))
}

/// Reads all files, and copies them if asked to.
fn read(job: &mut Job<'_>, needed: u64, copy: bool) -> Result<Seen, TakeError> {
    let mut seen = [None; 3];
    for (hash, suffix) in seen.iter_mut().zip(["", LOG, JOURNAL]) {
        *hash = read_file(job, suffix, needed, copy)?;
    }
    Ok(seen)
}

fn read_file(
    job: &mut Job<'_>,
    suffix: &str,
    needed: u64,
    copy: bool,
) -> Result<Option<blake3::Hash>, TakeError> {
    let path = companion(&job.database, suffix);
    let target = companion(&job.folder.database(), suffix);
    let in_scratch = |error| TakeError::scratch(job.folder.scratch(), needed, error);
    if copy {
        // An earlier attempt may have left one that is gone by now.
        match fs::remove_file(&target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(in_scratch(error)),
            _ => {}
        }
    }
    let unreadable = |error| TakeError::source(&path, error);
    let Some(mut file) = open_filled(&path).map_err(unreadable)? else { return Ok(None) };
    let mut output = if copy {
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target);
        Some(created.map_err(in_scratch)?)
    } else {
        None
    };
    let total = file.metadata().map_err(unreadable)?.len().div_ceil(u64::from(job.page_size));

    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        job.go_on()?;
        let length = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        let bytes = buffer.get(..length).unwrap_or_default();
        hasher.update(bytes);
        if let Some(output) = &mut output {
            output.write_all(bytes).map_err(in_scratch)?;
            if suffix.is_empty() {
                let done = hasher.count().div_ceil(u64::from(job.page_size));
                (job.pages_done)(done, total.max(done));
            }
        }
    }
    Ok(Some(hasher.finalize()))
}
