//! Taking a copy: through SQLite where that leaves the source untouched, else by reading its files.
//!
//! Through SQLite, one read transaction pins what is copied. In WAL mode others keep committing meanwhile,
//! and none of their commits restarts the copy. With a rollback journal they wait for us with
//! their commits, as they would for any reader.
//!
//! Invariant: every wait has a deadline, which starts anew whenever there was progress.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode};

use super::connection::{needs_index, open_scratch, open_source};
use super::copy::Copy;
use super::error::TakeError;
use super::fingerprint::{open_regular, settled};
use super::read::read_until_agreed_once;
use super::recover::recover;
use super::scratch::{Folder, Scratch};
use super::{HEADER, INDEX, LOG, companion, is_database, page_size};
use crate::interrupt::Interrupt;

/// How much is copied between two looks at the clock.
const STEP_BYTES: u32 = 4 << 20;

/// Shortest and longest pause before trying again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// How often files are read before the deadline counts: large ones take longer than it.
const LEAST_TRIES: u32 = 3;

/// How to take a copy.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long to wait for whoever has locked the database.
    pub busy_deadline: Duration,
    /// Asked between two steps of a copy and in the midst of its check.
    pub interrupt: Interrupt,
}

impl Default for Options {
    fn default() -> Self {
        Self { busy_deadline: Duration::from_secs(30), interrupt: Interrupt::default() }
    }
}

/// Takes a consistent copy of a database that may be in use, and leaves no trace beside it.
///
/// `pages_done` hears how many pages of how many are copied; it may start again from zero.
pub fn take(
    database: &Path,
    scratch: &Scratch,
    options: &Options,
    pages_done: &mut dyn FnMut(u64, u64),
) -> Result<Copy, TakeError> {
    // SQLite looks for companions beside the file that a link leads to, and so must we.
    let database = fs::canonicalize(database).map_err(|error| TakeError::source(database, error))?;
    let fingerprint = settled(&database).map_err(|error| TakeError::source(&database, error))?;
    let folder = scratch.folder().map_err(|error| TakeError::scratch(scratch.path(), 0, error))?;
    let interrupt = options.interrupt.clone();
    let patience = Patience::new(options.busy_deadline);
    let mut job = Job { database, folder, patience, interrupt, page_size: 0, pages_done };
    job.run()?;
    Copy::new(job.folder, fingerprint, job.interrupt)
}

/// One copy being taken.
pub(super) struct Job<'a> {
    pub(super) database: PathBuf,
    pub(super) folder: Folder,
    pub(super) patience: Patience,
    pub(super) interrupt: Interrupt,
    pub(super) page_size: u32,
    pub(super) pages_done: &'a mut dyn FnMut(u64, u64),
}

impl Job<'_> {
    fn run(&mut self) -> Result<(), TakeError> {
        let mut tries = 0;
        let mut connection_failed = false;
        loop {
            self.go_on()?;
            if self.can_connect()? && !connection_failed {
                match self.pin()? {
                    Some(pinned) => return self.copy_pages(&pinned),
                    None => connection_failed = true,
                }
            } else {
                tries += 1;
                if read_until_agreed_once(self)? {
                    return recover(self);
                }
                // Perhaps a server has started.
                connection_failed = false;
                if !self.patience.wait() && tries >= LEAST_TRIES {
                    return Err(TakeError::KeepsChanging { tries });
                }
            }
        }
    }

    /// Says whether SQLite can open the source without creating a file: with a log there must be an index, and
    /// without one the header must not ask for it.
    fn can_connect(&mut self) -> Result<bool, TakeError> {
        let failed = |error| TakeError::source(&self.database, error);
        let mut header = Vec::with_capacity(HEADER);
        let length = u64::try_from(HEADER).unwrap_or(u64::MAX);
        open_regular(&self.database)
            .map_err(failed)?
            .take(length)
            .read_to_end(&mut header)
            .map_err(failed)?;
        if !is_database(&header) || header.len() < HEADER {
            return Err(TakeError::NotADatabase { detail: "it does not begin with SQLite's header".into() });
        }
        let Some(page_size) = page_size(&header) else {
            return Err(TakeError::NotADatabase { detail: "its page size is impossible".into() });
        };
        self.page_size = page_size;
        let log = exists(&companion(&self.database, LOG)).map_err(failed)?;
        let index = exists(&companion(&self.database, INDEX)).map_err(failed)?;
        let asks_for_log = header.get(18..20).is_some_and(|versions| versions.contains(&2));
        Ok(if log { index } else { !asks_for_log })
    }

    /// Opens the source and starts reading it; nothing if SQLite cannot do so without writing.
    fn pin(&mut self) -> Result<Option<Pinned>, TakeError> {
        let mut may_write_index = false;
        loop {
            self.go_on()?;
            let error = match Pinned::new(&self.database, may_write_index) {
                Ok(pinned) => return Ok(Some(pinned)),
                Err(error) => error,
            };
            match obstacle(&error) {
                Obstacle::Busy if self.patience.wait() => {}
                Obstacle::Busy => return Err(self.patience.locked()),
                // Somebody has it open, and the index needs a new mark for us: that is how readers share it.
                Obstacle::Index if !may_write_index => may_write_index = true,
                Obstacle::Index | Obstacle::Files => return Ok(None),
                Obstacle::Final => return Err(TakeError::sqlite("cannot read the database", error)),
            }
        }
    }

    /// Copies what is pinned, page by page to the same places.
    pub(super) fn copy_pages(&mut self, pinned: &Pinned) -> Result<(), TakeError> {
        let target = self.folder.database();
        let mut copy = open_scratch(&target).map_err(|error| self.scratch_error(0, error))?;
        // A copy that fails is thrown away: there is nothing to roll back.
        copy.execute_batch("PRAGMA journal_mode = OFF").map_err(|error| self.scratch_error(0, error))?;
        self.step_through(pinned, &mut copy)?;
        copy.close().map_err(|(_, error)| self.scratch_error(0, error))?;

        // The backup interface counts the schema's version up from its target's, which was nothing.
        #[expect(clippy::big_endian_bytes, reason = "SQLite's header is big-endian")]
        let cookie = pinned.schema_cookie.to_be_bytes();
        OpenOptions::new()
            .write(true)
            .open(&target)
            .and_then(|file| file.write_all_at(&cookie, 40))
            .map_err(|error| TakeError::scratch(self.folder.scratch(), 0, error))
    }

    fn step_through(&mut self, pinned: &Pinned, copy: &mut Connection) -> Result<(), TakeError> {
        let backup = Backup::new(&pinned.connection, copy)
            .map_err(|error| TakeError::sqlite("cannot start to copy the database", error))?;
        let step = i32::try_from(STEP_BYTES / self.page_size).unwrap_or(1).max(1);
        let mut needed = 0;
        loop {
            self.go_on()?;
            // The first step copies nothing and tells how much there is.
            let pages = if needed == 0 { 0 } else { step };
            let stepped = backup.step(pages).map_err(|error| self.scratch_error(needed, error))?;
            match stepped {
                StepResult::Busy | StepResult::Locked => {
                    if !self.patience.wait() {
                        return Err(self.patience.locked());
                    }
                    continue;
                }
                StepResult::Done => {}
                _ => self.patience.progressed(),
            }
            let progress = backup.progress();
            let total = u64::try_from(progress.pagecount).unwrap_or(0);
            let remaining = u64::try_from(progress.remaining).unwrap_or(0);
            (self.pages_done)(total.saturating_sub(remaining), total);
            if stepped == StepResult::Done {
                return Ok(());
            }
            if needed == 0 {
                needed = total.max(1) * u64::from(self.page_size);
                self.make_sure_of_room(needed)?;
            }
        }
    }

    /// Goes on unless somebody asked to stop.
    pub(super) fn go_on(&self) -> Result<(), TakeError> {
        self.interrupt.check().map_err(TakeError::Other)
    }

    /// Refuses to fill a disk to the last byte only to find that it was too small: others need it too.
    pub(super) fn make_sure_of_room(&self, needed: u64) -> Result<(), TakeError> {
        let folder = self.folder.scratch();
        let room =
            rustix::fs::statvfs(folder).map_err(|error| TakeError::scratch(folder, needed, error.into()))?;
        let blocks = if rustix::process::geteuid().is_root() { room.f_bfree } else { room.f_bavail };
        if blocks.saturating_mul(room.f_frsize) < needed {
            return Err(TakeError::scratch(folder, needed, io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    /// What an error of SQLite means that came up while the copy was written.
    pub(super) fn scratch_error(&self, needed: u64, error: rusqlite::Error) -> TakeError {
        if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
            return TakeError::scratch(self.folder.scratch(), needed, io::ErrorKind::StorageFull.into());
        }
        TakeError::sqlite("cannot write the copy of the database", error)
    }
}

/// A source with a read transaction on it.
pub(super) struct Pinned {
    connection: Connection,
    /// Version of the schema, as the header has it.
    schema_cookie: u32,
}

impl Pinned {
    /// Starts a transaction and reads the header, which pins the state seen. The schema is not parsed, so that
    /// a damaged one can still be copied.
    pub(super) fn new(database: &Path, may_write_index: bool) -> rusqlite::Result<Self> {
        let connection = open_source(database, may_write_index)?;
        connection.execute_batch("BEGIN")?;
        let version = connection.pragma_query_value(None, "schema_version", |row| row.get::<_, i32>(0))?;
        Ok(Self { connection, schema_cookie: version.cast_unsigned() })
    }
}

/// What stands in the way of reading a source through SQLite.
enum Obstacle {
    /// A lock that will go.
    Busy,
    /// The index in use cannot be read without writing to it.
    Index,
    /// Only the files as such can be read.
    Files,
    /// Nothing will help.
    Final,
}

fn obstacle(error: &rusqlite::Error) -> Obstacle {
    if needs_index(error) {
        return Obstacle::Index;
    }
    let Some(error) = error.sqlite_error() else { return Obstacle::Final };
    match error.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            Obstacle::Busy
        }
        // A hot journal; an index that vanished, or whose file system has no shared memory or no locks; a
        // path longer than SQLite's 512 bytes. In none of these cases does a server use it through SQLite.
        ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::SystemIoFailure => Obstacle::Files,
        _ => Obstacle::Final,
    }
}

fn exists(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Waiting with a deadline.
pub(super) struct Patience {
    limit: Duration,
    since: Option<Instant>,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, since: None, pause: PAUSES.0 }
    }

    /// Waits a moment; false once the deadline is past.
    fn wait(&mut self) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        let Some(left) = self.limit.checked_sub(since.elapsed()) else { return false };
        thread::sleep(self.pause.min(left));
        self.pause = (self.pause * 2).min(PAUSES.1);
        true
    }

    fn progressed(&mut self) {
        *self = Self::new(self.limit);
    }

    fn locked(&self) -> TakeError {
        TakeError::Locked { waited: self.limit }
    }
}
