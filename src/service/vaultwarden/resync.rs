//! Making every client fetch its vault anew, as the admin page's "Force clients to resync" does.
//!
//! A client compares the time of its account's last change with that of its own last visit; after a restore the first
//! is older, and it would go on showing what it had.

use std::path::Path;

use super::timestamp;
use crate::error::{Error, Result};
use crate::format::node::Timestamp;
use crate::source::sqlite;

/// Dates the last change of every account to `now`, in a database that no server has open; gives how many there are.
pub fn resync_clients(database: &Path, now: Timestamp) -> Result<u64> {
    let now =
        timestamp::text(now).ok_or_else(|| Error::refused("this computer's clock is out of all bounds"))?;
    let changed = sqlite::alter_at_rest(database, |connection| {
        connection.execute("UPDATE users SET updated_at = ?1", [&now])
    })?;
    Ok(changed as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::vaultwarden::testing::Folder;

    #[test]
    fn every_account_is_dated_anew_and_nothing_stays_beside_the_database() {
        let folder = Folder::new();
        let path = folder.path().join("db.sqlite3");
        let server = rusqlite::Connection::open(&path).unwrap();
        let schema = "PRAGMA journal_mode = WAL; CREATE TABLE users (uuid TEXT, updated_at TEXT);
            INSERT INTO users VALUES ('a', '2020-01-01 00:00:00'), ('b', '2021-01-01 00:00:00')";
        server.execute_batch(schema).unwrap();
        server.close().unwrap();
        let now = Timestamp { seconds: 1_714_564_800, nanoseconds: 0 };
        assert_eq!(resync_clients(&path, now).unwrap(), 2);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let server = rusqlite::Connection::open(&path).unwrap();
        let dated = "SELECT count(*) FROM users WHERE updated_at = '2024-05-01 12:00:00.000000000'";
        assert_eq!(server.query_row(dated, [], |row| row.get::<_, i64>(0)).unwrap(), 2);
        let mode: String = server.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }
}
