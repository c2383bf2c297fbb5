//! Opening a database so that nothing about it changes and nothing in it runs.
//!
//! Invariant: `immutable=1` is used for our own copies only: on a source it would ignore the log.
//!
//! Names need no detour: SQLite takes bytes, so a URI with every byte escaped that means something in one
//! (`?`, `#`, `%`, and all that is not ASCII) names any file, and companions are found beside it.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

/// Memory for pages of a copy, in KiB: a check looks up rows of tables by their indexes, in no order.
const COPY_CACHE_KIB: i64 = 8_000;

/// Opens a source, named by its absolute path, read-only. Unless `may_write_index`, the log's index is read-only
/// as well: an ordinary read-only connection truncates and rewrites it if it is the first to come.
pub fn open_source(database: &Path, may_write_index: bool) -> rusqlite::Result<Connection> {
    let parameters = if may_write_index { "mode=ro" } else { "mode=ro&readonly_shm=1" };
    let connection = open(database, parameters, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    // Waiting is done by the caller, who knows the deadline.
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

/// Whether an error says that somebody has the source open, and that its index needs a new mark for us.
pub fn needs_index(error: &rusqlite::Error) -> bool {
    let codes = [ffi::SQLITE_READONLY_CANTLOCK, ffi::SQLITE_READONLY_RECOVERY];
    error.sqlite_error().is_some_and(|error| codes.contains(&error.extended_code))
}

/// Opens a copy that nobody writes, read-only and without any companion.
pub(super) fn open_copy(copy: &Path) -> rusqlite::Result<Connection> {
    let connection = open(copy, "mode=ro&immutable=1", OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    if connection.pragma_update(None, "cache_size", -COPY_CACHE_KIB).is_err() {
        // This reads the schema; where that is damaged, whoever looks into the copy finds out.
    }
    Ok(connection)
}

/// Opens a database that nobody else has open for writing. Its log's index stays in memory, and its log goes when the
/// connection is closed.
pub(super) fn open_alone(database: &Path) -> rusqlite::Result<Connection> {
    let connection = open(database, "mode=rw", OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL;")?;
    Ok(connection)
}

/// Opens a file in the scratch folder for writing, creating it if need be. Not flushed to the disk: after
/// a crash nobody looks at it.
pub(super) fn open_scratch(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = open(file, "mode=rwc", flags)?;
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;")?;
    Ok(connection)
}

fn open(path: &Path, parameters: &str, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri(path, parameters), flags)?;
    // A schema may come from a stranger: no view or trigger in it may call functions with side effects,
    // and no statement may write the file's inner tables. Loading extensions is off unless enabled.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;")?;
    Ok(connection)
}

/// The URI of an absolute path.
fn uri(path: &Path, parameters: &str) -> String {
    let mut uri = String::from("file://");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push('%');
            for digit in [byte >> 4, byte & 15] {
                uri.extend(char::from_digit(u32::from(digit), 16).map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    uri.push('?');
    uri.push_str(parameters);
    uri
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_uri_escapes_what_would_mean_something() {
        let path = Path::new(OsStr::from_bytes(b"/a b/50%?#&=\xff.db"));
        assert_eq!(uri(path, "mode=ro"), "file:///a%20b/50%25%3F%23%26%3D%FF.db?mode=ro");
    }
}
