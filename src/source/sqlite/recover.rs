//! Making one whole file of copied files: the log moved into the main file, or the journal rolled back.
//!
//! Invariant: only files in the scratch folder are written or removed, whatever the copied ones say.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::connection::{open_copy, open_scratch};
use super::error::TakeError;
use super::take::Job;
use super::{INDEX, JOURNAL, LOG, companion};
use crate::error::{Error, ErrorKind};

/// Last bytes of a journal that takes part in a transaction over several databases.
const SUPER_JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Longest path that SQLite could have written there.
const LONGEST_NAME: u64 = 4096;

/// Recovers the copied database in the job's folder.
pub(super) fn recover(job: &Job<'_>) -> Result<(), TakeError> {
    let copy = job.folder.database();
    let log = companion(&copy, LOG);
    let journal = companion(&copy, JOURNAL);
    let failed = |error| TakeError::scratch(job.folder.scratch(), 0, error);

    settle_super_journal(&journal).map_err(failed)?;
    let has_log = log.try_exists().map_err(failed)?;
    if has_log || journal.try_exists().map_err(failed)? {
        replay(&copy, has_log).map_err(|error| job.scratch_error(0, error))?;
        if fs::metadata(&log).is_ok_and(|metadata| metadata.len() > 0) {
            let message = "the log of the copied database could not be moved into it";
            return Err(TakeError::Other(Error::new(ErrorKind::Io, message)));
        }
    }
    for path in [log, companion(&copy, INDEX), journal] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    // Says now, and not only in the check, that it is encrypted or cut off.
    open_copy(&copy)
        .and_then(|connection| schema_version(&connection))
        .map_err(|error| TakeError::sqlite("cannot read the copy of the database", error))
}

/// Opens the copy for writing and reads it, which rolls back a journal, then empties the log.
fn replay(copy: &Path, has_log: bool) -> rusqlite::Result<()> {
    let connection = open_scratch(copy)?;
    schema_version(&connection)?;
    if has_log {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    connection.close().map_err(|(_, error)| error)
}

fn schema_version(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    connection.pragma_query_value(None, "schema_version", |_| Ok(()))
}

/// Decides about a transaction over several databases before SQLite sees the journal: if the super-journal
/// it names is gone, it was committed and the journal is stale; if not, it is rolled back without
/// that name. Left to SQLite, rolling back deletes the file named, which a stranger may have chosen.
fn settle_super_journal(journal: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().read(true).write(true).open(journal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let size = file.metadata()?.len();
    let Some(trailer) = size.checked_sub(16) else { return Ok(()) };
    let (mut length, mut checksum, mut magic) = ([0; 4], [0; 4], [0; 8]);
    file.read_exact_at(&mut length, trailer)?;
    file.read_exact_at(&mut checksum, trailer + 4)?;
    file.read_exact_at(&mut magic, trailer + 8)?;
    if magic != SUPER_JOURNAL_MAGIC {
        return Ok(());
    }
    let length = u64::from(number(length));
    let start = trailer.checked_sub(length).filter(|_| (1..=LONGEST_NAME).contains(&length));
    if let Some(start) = start {
        file.seek(SeekFrom::Start(start))?;
        let mut name = Vec::new();
        (&file).take(length).read_to_end(&mut name)?;
        let sum = name.iter().fold(0, |sum: u32, byte| sum.wrapping_add(u32::from(*byte)));
        let name = Path::new(OsStr::from_bytes(&name));
        let gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        // SQLite, too, takes a name with a wrong checksum for none and rolls back. (It adds up signed
        // characters on some machines, so that a name that is not ASCII may be rolled back here: a
        // transaction less, but never half of one.)
        if sum == number(checksum) && name.is_absolute() && fs::symlink_metadata(name).is_err_and(gone) {
            return fs::remove_file(journal);
        }
    }
    file.write_all_at(&[0; 8], trailer + 8)
}

#[expect(clippy::big_endian_bytes, reason = "SQLite's journals are big-endian")]
fn number(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::source::sqlite::Scratch;

    #[test]
    fn a_journal_is_stale_once_its_super_journal_is_gone() {
        let scratch = Scratch::create(&std::env::temp_dir()).unwrap();
        let journal = scratch.path().join("journal");
        let name = scratch.path().join("both-mj000000000");
        let name = name.as_os_str().as_bytes();
        let sum: u32 = name.iter().map(|byte| u32::from(*byte)).sum();
        let write = |sum: u32| {
            let mut bytes = vec![7; 600];
            bytes.extend_from_slice(name);
            for number in [u32::try_from(name.len()).unwrap(), sum] {
                bytes.extend(number.to_le_bytes().iter().rev());
            }
            bytes.extend_from_slice(&SUPER_JOURNAL_MAGIC);
            fs::write(&journal, bytes).unwrap();
        };
        write(sum);
        settle_super_journal(&journal).unwrap();
        assert!(!journal.exists());
        settle_super_journal(&journal).unwrap();
        // Where the checksum is wrong there is no name, and the journal counts.
        write(sum + 1);
        settle_super_journal(&journal).unwrap();
        assert!(fs::read(&journal).unwrap().ends_with(&[0; 8]));
    }
}
