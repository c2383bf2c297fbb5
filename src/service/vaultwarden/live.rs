//! Asks the running Vaultwarden again about what did not fit: its database, and its files on disk.
//!
//! Invariants: the live database is opened read-only, and only where this makes no file beside it: a log
//! without its index (`-shm`), or neither of them, means that no server has it open, and the copy is current.
//! Nor is an index that a killed server left rewritten: it is opened for writing only while a server shares it.
//! Every question is a transaction of its own, so that each sees the newest state.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::contents::{Kind, send_file};
use super::live_server::{Ask, ServerRows};
use crate::error::{Error, Result};
use crate::source::sqlite;

/// How long a server that is writing is waited for; Vaultwarden's own connections wait as long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A file as it is on disk now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileNow {
    /// Its size in bytes.
    pub size: u64,
    /// When its inode last changed, in seconds since the Unix epoch. Unlike the time of its content, nobody
    /// can set this back.
    pub changed: i64,
}

/// Answers about the present, after the copy was made.
pub trait Recheck {
    /// The size that the row of this file has now; nothing if there is no such row any more. An error means
    /// that it cannot be known.
    fn current_size(&mut self, kind: Kind, owner: &str, file: &str) -> Result<Option<u64>>;

    /// The regular file that is stored at a place, as it is on disk now.
    fn file_now(&mut self, place: &[u8]) -> Option<FileNow>;

    /// Whether a file that is not in the snapshot cannot be one that is being uploaded: this very run was told to
    /// leave it out, or the snapshot before has it.
    fn is_no_upload(&mut self, place: &[u8]) -> bool;

    /// Lets some time go by between two questions.
    fn pause(&mut self);
}

/// The rows of a live database.
pub(super) trait Rows {
    /// As [`Recheck::current_size`].
    fn current_size(&mut self, kind: Kind, owner: &str, file: &str) -> Result<Option<u64>>;
}

/// The live database and the live folders.
pub struct LiveDatabase<'a, F> {
    rows: Box<dyn Rows + 'a>,
    host_of: F,
    is_no_upload: &'a dyn Fn(&[u8]) -> bool,
    pause: Duration,
}

impl<'a, F: Fn(&[u8]) -> PathBuf> LiveDatabase<'a, F> {
    /// A database of SQLite; nothing is opened until something is asked. `is_no_upload` answers
    /// [`Recheck::is_no_upload`].
    pub fn new(
        database: impl Into<PathBuf>,
        host_of: F,
        is_no_upload: &'a dyn Fn(&[u8]) -> bool,
        pause: Duration,
    ) -> Self {
        let rows = Box::new(SqliteRows { database: database.into(), connection: None });
        Self { rows, host_of, is_no_upload, pause }
    }

    /// A database on a server.
    pub fn of_server(
        ask: &'a Ask<'a>,
        host_of: F,
        is_no_upload: &'a dyn Fn(&[u8]) -> bool,
        pause: Duration,
    ) -> Self {
        Self { rows: Box::new(ServerRows(ask)), host_of, is_no_upload, pause }
    }
}

/// The rows of a database of SQLite.
struct SqliteRows {
    database: PathBuf,
    connection: Option<Connection>,
}

impl SqliteRows {
    /// The connection, with a transaction begun that sees the newest state.
    fn connection(&mut self) -> Result<&Connection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => open(&self.database, false)?,
        };
        let connection = match begin(&connection) {
            Ok(()) => connection,
            Err(error) if sqlite::needs_index(&error) => {
                // Closed first: whoever opens the file again must not drop locks that are still held.
                drop(connection);
                let connection = open(&self.database, true)?;
                begin(&connection).map_err(cannot_read)?;
                connection
            }
            Err(error) => return Err(cannot_read(error)),
        };
        Ok(self.connection.insert(connection))
    }
}

impl Rows for SqliteRows {
    fn current_size(&mut self, kind: Kind, owner: &str, file: &str) -> Result<Option<u64>> {
        let connection = self.connection()?;
        let size = match kind {
            Kind::Attachment => attachment_size(connection, owner, file),
            Kind::Send => send_size(connection, owner, file),
        };
        connection.execute_batch("ROLLBACK").map_err(cannot_read)?;
        size
    }
}

impl<F: Fn(&[u8]) -> PathBuf> Recheck for LiveDatabase<'_, F> {
    fn current_size(&mut self, kind: Kind, owner: &str, file: &str) -> Result<Option<u64>> {
        self.rows.current_size(kind, owner, file)
    }

    fn file_now(&mut self, place: &[u8]) -> Option<FileNow> {
        let meta = (self.host_of)(place).symlink_metadata().ok()?;
        meta.is_file().then(|| FileNow { size: meta.size(), changed: meta.ctime() })
    }

    fn is_no_upload(&mut self, place: &[u8]) -> bool {
        (self.is_no_upload)(place)
    }

    fn pause(&mut self) {
        thread::sleep(self.pause);
    }
}

fn attachment_size(connection: &Connection, cipher: &str, id: &str) -> Result<Option<u64>> {
    let query = "SELECT file_size FROM attachments WHERE id = ?1 AND cipher_uuid = ?2";
    let size: Option<i64> = connection
        .prepare_cached(query)
        .and_then(|mut statement| statement.query_row([id, cipher], |row| row.get(0)).optional())
        .map_err(cannot_read)?;
    size.map(|size| u64::try_from(size).map_err(|_| unreadable_row())).transpose()
}

fn send_size(connection: &Connection, send: &str, id: &str) -> Result<Option<u64>> {
    let query = "SELECT data FROM sends WHERE uuid = ?1 AND atype = 1";
    let data: Option<String> = connection
        .prepare_cached(query)
        .and_then(|mut statement| statement.query_row([send], |row| row.get(0)).optional())
        .map_err(cannot_read)?;
    let Some(data) = data else { return Ok(None) };
    match send_file(&data) {
        (Some(named), Some(size)) if named == id => Ok(Some(size)),
        // A row that names another file is not this file's row.
        (Some(_), Some(_)) => Ok(None),
        // A row that cannot be read is not gone.
        _ => Err(unreadable_row()),
    }
}

fn cannot_read(error: rusqlite::Error) -> Error {
    Error::corrupt("cannot read the live database").caused_by(error)
}

pub(super) fn unreadable_row() -> Error {
    Error::corrupt("a row of the live database makes no sense")
}

/// Starts a transaction, and pins the state it sees.
fn begin(connection: &Connection) -> rusqlite::Result<()> {
    if !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    connection.execute_batch("BEGIN")?;
    connection.pragma_query_value(None, "schema_version", |_| Ok(()))
}

/// Opens a live database for reading, if this leaves nothing behind.
fn open(path: &Path, may_write_index: bool) -> Result<Connection> {
    if has_log(path)? && !beside(path, "-shm").exists() {
        return Err(Error::missing("the live database has no -shm file, so no server has it open"));
    }
    let cannot_open = |error| Error::missing("cannot open the live database for reading").caused_by(error);
    let connection = sqlite::open_source(path, may_write_index).map_err(cannot_open)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(cannot_open)?;
    Ok(connection)
}

/// Whether a database writes a log, by the version numbers in its header. To open such a database makes its
/// log and index, even read-only.
///
/// No connection of this process may have the database open: closing the file drops its locks.
fn has_log(path: &Path) -> Result<bool> {
    let mut header = [0; 20];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut header))
        .map_err(|error| Error::io("cannot read the live database", error))?;
    Ok(matches!(header, [.., 2, _] | [.., 2]))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::service::vaultwarden::testing::{Folder, SMALL_SCHEMA};

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn each_question_sees_what_the_server_wrote() {
        let folder = Folder::new();
        let path = folder.path().join("db.sqlite3");
        let server = Connection::open(&path).unwrap();
        server.pragma_update(None, "journal_mode", "wal").unwrap();
        server.execute_batch(SMALL_SCHEMA).unwrap();
        server.execute_batch("INSERT INTO attachments VALUES ('a', 'c', 'n', 5, NULL)").unwrap();
        server
            .execute_batch("INSERT INTO sends VALUES ('s', 1, '{\"Id\":\"f\",\"Size\":\"7\"}', '')")
            .unwrap();
        let root = folder.path().to_path_buf();
        let mut live = LiveDatabase::new(
            &path,
            |place: &[u8]| root.join(str::from_utf8(place).unwrap()),
            &|_| false,
            Duration::ZERO,
        );
        assert_eq!(live.current_size(Kind::Attachment, "c", "a").unwrap(), Some(5));
        assert_eq!(live.current_size(Kind::Attachment, "other", "a").unwrap(), None);
        assert_eq!(live.current_size(Kind::Send, "s", "f").unwrap(), Some(7));
        assert_eq!(live.current_size(Kind::Send, "s", "g").unwrap(), None);
        server
            .execute_batch("DELETE FROM attachments; UPDATE sends SET data = '{\"id\":\"f\",\"size\":8}'")
            .unwrap();
        assert_eq!(live.current_size(Kind::Attachment, "c", "a").unwrap(), None);
        assert_eq!(live.current_size(Kind::Send, "s", "f").unwrap(), Some(8));
        server.execute_batch("UPDATE sends SET data = 'no json'").unwrap();
        assert!(live.current_size(Kind::Send, "s", "f").is_err());
        let mut rows = SqliteRows { database: path.clone(), connection: None };
        assert!(rows.connection().unwrap().execute_batch("DELETE FROM sends").is_err());
        folder.write("attachments/c/a", b"12345");
        assert_eq!(live.file_now(b"attachments/c/a").unwrap().size, 5);
        assert_eq!(live.file_now(b"attachments/c"), None);
        assert_eq!(live.file_now(b"attachments/c/b"), None);
        live.pause();
    }

    #[test]
    fn a_database_that_no_server_has_open_is_left_alone() {
        let folder = Folder::new();
        let path = folder.path().join("db.sqlite3");
        let server = Connection::open(&path).unwrap();
        server.pragma_update(None, "journal_mode", "wal").unwrap();
        server.execute_batch(SMALL_SCHEMA).unwrap();
        drop(server);
        let before = names(folder.path());
        assert_eq!(before, ["db.sqlite3"]);
        let mut live = LiveDatabase::new(&path, |_: &[u8]| PathBuf::new(), &|_| false, Duration::ZERO);
        assert!(live.current_size(Kind::Attachment, "c", "a").is_err());
        assert_eq!(names(folder.path()), before);
    }

    #[test]
    fn a_log_without_its_index_cannot_be_asked() {
        let folder = Folder::new();
        let Some(data) = folder.real("data") else { return };
        std::fs::remove_file(data.join("db.sqlite3-shm")).unwrap();
        let before = names(&data);
        let mut live =
            LiveDatabase::new(data.join("db.sqlite3"), |_: &[u8]| PathBuf::new(), &|_| false, Duration::ZERO);
        assert!(live.current_size(Kind::Attachment, "c", "a").is_err());
        assert_eq!(names(&data), before);
    }

    #[test]
    fn the_log_of_a_server_that_crashed_is_left_as_it_is() {
        let folder = Folder::new();
        let Some(data) = folder.real("data") else { return };
        let read = |name: &str| std::fs::read(data.join(name)).unwrap();
        let state = || (names(&data), ["db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm"].map(read));
        let before = state();
        let mut live =
            LiveDatabase::new(data.join("db.sqlite3"), |_: &[u8]| PathBuf::new(), &|_| false, Duration::ZERO);
        let (cipher, id) = ("31ba771a-dde9-4b5c-aced-9c5688017f4e", "c45510b00a849da3dd9e");
        assert_eq!(live.current_size(Kind::Attachment, cipher, id).unwrap(), Some(65));
        drop(live);
        assert_eq!(state(), before);
    }

    #[test]
    fn a_database_without_a_log_can_be_asked() {
        let folder = Folder::new();
        let path = folder.path().join("db.sqlite3");
        Connection::open(&path).unwrap().execute_batch(SMALL_SCHEMA).unwrap();
        let mut live = LiveDatabase::new(&path, |_: &[u8]| PathBuf::new(), &|_| false, Duration::ZERO);
        assert_eq!(live.current_size(Kind::Attachment, "c", "a").unwrap(), None);
        assert_eq!(names(folder.path()), ["db.sqlite3"]);
    }
}
