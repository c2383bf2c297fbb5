//! Random SQLite databases, edited at random between two backups and left as a closed server or a killed one leaves
//! them: what is restored holds the rows that SQLite finds in the source, the source is untouched, and a night
//! without a change stores nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use strongroom::format::snapshot::DatabaseOutcome;
use strongroom::operation::backup::Summary;
use strongroom::repository::Repository;

use crate::seeds::{SMALL_CHUNKS, back_up, cases, hold, repository, restore};
use crate::services::{all_rows, assert_sound, state};
use crate::support::{Rng, TempFolder};

const NAME: &str = "app.db";

/// Every file in a folder: name and content.
type Files = BTreeMap<OsString, Vec<u8>>;

fn read_all(folder: &Path) -> Files {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect()
}

/// Makes a folder hold these files and no others.
fn write_all(folder: &Path, files: &Files) {
    for name in read_all(folder).keys().filter(|name| !files.contains_key(*name)) {
        fs::remove_file(folder.join(name)).unwrap();
    }
    for (name, content) in files {
        fs::write(folder.join(name), content).unwrap();
    }
}

/// A service that works on its database at random.
struct Service {
    folder: PathBuf,
    rng: Rng,
}

impl Service {
    fn open(&self) -> Connection {
        let connection = Connection::open(self.folder.join(NAME)).unwrap();
        connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
        connection
    }

    fn below(&mut self, end: u64) -> i64 {
        self.rng.below(end).cast_signed()
    }

    /// Sets what a new database keeps for good, or until it is vacuumed.
    fn found(&mut self) {
        let connection = self.open();
        let page = *self.rng.pick(&[512, 1024, 4096, 4096, 8192, 65_536]);
        let vacuum = self.rng.below(3);
        connection
            .execute_batch(&format!("PRAGMA page_size = {page}; PRAGMA auto_vacuum = {vacuum};"))
            .unwrap();
        self.set_journal(&connection);
        for table in 0..3 {
            let rowid = if table == 2 { "WITHOUT ROWID" } else { "" };
            connection
                .execute_batch(&format!(
                    "CREATE TABLE t{table} (id INTEGER PRIMARY KEY, body BLOB, number REAL) {rowid};
                     CREATE INDEX i{table} ON t{table} (number);"
                ))
                .unwrap();
        }
        self.work(&connection, 8);
        connection.close().unwrap();
    }

    fn set_journal(&mut self, connection: &Connection) {
        let mode = *self.rng.pick(&["DELETE", "WAL", "WAL", "TRUNCATE", "PERSIST"]);
        // It answers with the mode; a database in use by others would answer with the old one.
        let set: String =
            connection.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| row.get(0)).unwrap();
        assert_eq!(set, mode.to_lowercase());
    }

    fn write(&mut self, connection: &Connection) {
        let table = self.rng.below(3);
        match self.rng.below(6) {
            0..=2 => {
                let sql = format!("INSERT OR REPLACE INTO t{table} VALUES (?1, ?2, ?3)");
                let mut insert = connection.prepare_cached(&sql).unwrap();
                for _ in 0..self.rng.below(30) {
                    let length = *self.rng.pick(&[0, 10, 300, 9000]);
                    let length = self.rng.below(length + 1) as usize;
                    insert.execute((self.below(500), self.rng.bytes(length), self.below(1000))).unwrap();
                }
            }
            3 => {
                let sql =
                    format!("UPDATE t{table} SET number = number + 1, body = body || 'x' WHERE id % 7 = ?1");
                connection.execute(&sql, [self.below(7)]).unwrap();
            }
            4 => {
                let sql = format!("DELETE FROM t{table} WHERE id % 5 = ?1");
                connection.execute(&sql, [self.below(5)]).unwrap();
            }
            _ => {
                let other = self.below(4);
                connection
                    .execute_batch(&format!(
                        "DROP TABLE IF EXISTS e{other};
                         CREATE TABLE e{other} AS SELECT id, number FROM t{table} WHERE id % 2 = 0;"
                    ))
                    .unwrap();
            }
        }
    }

    /// Some transactions and what goes on between them.
    fn work(&mut self, connection: &Connection, most: u64) {
        for _ in 0..self.rng.below(most + 1) {
            match self.rng.below(9) {
                0 => connection.execute_batch("VACUUM").unwrap(),
                1 => {
                    let page = *self.rng.pick(&[512, 2048, 4096]);
                    // Has no effect in WAL mode.
                    connection.execute_batch(&format!("PRAGMA page_size = {page}; VACUUM;")).unwrap();
                }
                2 => self.set_journal(connection),
                3 => {
                    // Answers with a row; nothing to do outside WAL mode.
                    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
                }
                end => {
                    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                    for _ in 0..self.rng.below(4) {
                        self.write(connection);
                    }
                    connection.execute_batch(if end == 4 { "ROLLBACK" } else { "COMMIT" }).unwrap();
                }
            }
        }
    }

    /// Leaves the files as they were at some moment of the work, as a killed service does.
    fn be_killed(&mut self) {
        let connection = self.open();
        // Changes reach the files before they are committed.
        connection.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 3;").unwrap();
        self.work(&connection, 4);
        if self.rng.below(2) == 0 {
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            for _ in 0..4 {
                self.write(&connection);
            }
        }
        let mut left = read_all(&self.folder);
        if self.rng.below(2) == 0 {
            left.remove(OsString::from(format!("{NAME}-shm")).as_os_str());
        }
        drop(connection);
        write_all(&self.folder, &left);
    }

    fn night(&mut self) {
        if self.rng.below(2) == 0 {
            self.be_killed();
        } else {
            let connection = self.open();
            if self.rng.below(4) == 0 {
                // Only for who ends well: a service that is killed with its journal in memory has damaged its database.
                connection.query_row("PRAGMA journal_mode = MEMORY", [], |_| Ok(())).unwrap();
            }
            self.work(&connection, 6);
            connection.close().unwrap();
        }
    }
}

/// What SQLite reads from these files: schema and rows. It may recover what it likes, for they are copies.
fn rows_of(files: &Files) -> Vec<String> {
    let place = TempFolder::in_memory();
    write_all(place.path(), files);
    let connection = Connection::open(place.join(NAME)).unwrap();
    assert_sound(&connection);
    let mut all = all_rows(&connection);
    let mut schema = connection.prepare("SELECT sql FROM sqlite_schema ORDER BY name").unwrap();
    let found = schema.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
    all.extend(found.map(|sql| format!("{:?}", sql.unwrap())));
    all
}

fn back_up_and_look(repository: &Repository, place: &TempFolder, source: &Path, number: u64) -> Summary {
    let expected = rows_of(&read_all(source));
    let before = state(source);
    let summary = back_up(repository, None, "host", source, place.path());
    assert_eq!(state(source), before, "the source is untouched");
    let outcomes: Vec<_> = summary.databases.iter().map(|database| database.outcome).collect();
    assert_eq!(outcomes, [DatabaseOutcome::Checked]);

    let target = place.join(format!("restored-{number}"));
    restore(repository, &summary, &target);
    let restored = read_all(&target);
    assert_eq!(restored.keys().collect::<Vec<_>>(), [NAME], "its log is in it");
    assert_eq!(rows_of(&restored), expected);
    summary
}

#[test]
fn random_databases_come_back_with_the_rows_that_sqlite_saw() {
    hold(cases(), |seed| {
        let place = TempFolder::in_memory();
        let folder = place.join("data");
        fs::create_dir(&folder).unwrap();
        let repository = repository(SMALL_CHUNKS);
        let mut service = Service { folder: folder.clone(), rng: Rng::new(0x6461_7461 ^ seed << 20) };
        service.found();
        service.night();
        back_up_and_look(&repository, &place, &folder, 1);
        service.night();
        let second = back_up_and_look(&repository, &place, &folder, 2);
        let unchanged = back_up(&repository, None, "host", &folder, place.path());
        assert_eq!(unchanged.root, second.root);
        let counts = &unchanged.statistics;
        assert_eq!((counts.data_blobs, counts.tree_blobs, counts.files_unmodified), (0, 0, 1));
    });
}
