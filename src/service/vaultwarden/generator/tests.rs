//! The generator held against what it promises.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{ErrorKind, Options, Server, generate, start};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("strongroom-generator-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn read(folder: &Path) -> Connection {
    Connection::open_with_flags(folder.join("db.sqlite3"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

fn number(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn assert_whole(connection: &Connection) {
    let integrity: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
    assert_eq!(number(connection, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
}

/// Every file a row promises is there with its size, and there is no other.
fn assert_files_match(folder: &Path) {
    let connection = read(folder);
    let mut promised = BTreeMap::new();
    for sql in [
        "SELECT 'attachments/' || cipher_uuid || '/' || id, file_size FROM attachments",
        "SELECT 'sends/' || uuid || '/' || coalesce(data ->> 'id', data ->> 'Id'),
         coalesce(data ->> 'size', data ->> 'Size') FROM sends WHERE atype = 1",
    ] {
        let mut statement = connection.prepare(sql).unwrap();
        let rows =
            statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).unwrap();
        promised.extend(rows.map(Result::unwrap));
    }
    let found: BTreeMap<String, i64> = contents(folder)
        .into_iter()
        .filter(|(path, _)| path.starts_with("attachments/") || path.starts_with("sends/"))
        .map(|(path, bytes)| (path, i64::try_from(bytes.len()).unwrap()))
        .collect();
    assert_eq!(promised, found);
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_small_installation_is_whole_and_its_files_match_its_rows() {
    let folder = Folder::new();
    let options = Options::small();
    let summary = generate(&folder.0, &options).unwrap();
    assert!(!folder.0.join("db.sqlite3-wal").exists(), "the database is closed");
    assert!((200_000..900_000).contains(&summary.database_bytes), "{summary:?}");
    assert_eq!((summary.attachments, summary.file_sends, summary.ciphers), (12, 4, 150));
    for (path, bytes) in contents(&folder.0) {
        if path.starts_with("attachments/") {
            assert!((1000..60_000).contains(&bytes.len()), "{path} has {} bytes", bytes.len());
            assert_eq!((bytes.first(), bytes.len() % 16), (Some(&2), 1));
        }
    }
    let settings = fs::read(folder.0.join("config.json")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&settings).unwrap();
    assert_files_match(&folder.0);
    let connection = read(&folder.0);
    assert_whole(&connection);
    assert_eq!(number(&connection, "SELECT count(*) FROM users"), 4);
    assert_eq!(number(&connection, "SELECT count(*) FROM ciphers WHERE NOT json_valid(data)"), 0);
    assert_eq!(number(&connection, "PRAGMA page_size"), 4096);
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn rows_have_the_lengths_of_real_ones() {
    let folder = Folder::new();
    generate(&folder.0, &Options::small()).unwrap();
    let connection = read(&folder.0);
    for (sql, expected) in [
        ("SELECT length(akey) FROM users", 180),
        ("SELECT length(private_key) FROM users", 1716),
        ("SELECT length(public_key) FROM users", 392),
        ("SELECT length(password_hash) FROM users", 32),
        ("SELECT length(salt) FROM users", 64),
        ("SELECT length(refresh_token) FROM devices", 88),
        ("SELECT length(updated_at) FROM ciphers", 29),
    ] {
        assert_eq!(number(&connection, sql), expected, "{sql}");
    }
}

#[test]
fn equal_options_make_equal_folders() {
    let (first, second, third) = (Folder::new(), Folder::new(), Folder::new());
    let options = Options::small();
    assert_eq!(generate(&first.0, &options).unwrap(), generate(&second.0, &options).unwrap());
    assert!(contents(&first.0) == contents(&second.0));
    generate(&third.0, &Options { seed: 99, ..options }).unwrap();
    assert!(contents(&first.0) != contents(&third.0));
}

#[test]
fn a_database_grows_to_the_size_asked_for() {
    let folder = Folder::new();
    let options = Options { database_bytes: 3_000_000, ..Options::small() };
    let summary = generate(&folder.0, &options).unwrap();
    assert!((3_000_000..3_200_000).contains(&summary.database_bytes), "{summary:?}");
    assert_eq!(fs::metadata(folder.0.join("db.sqlite3")).unwrap().len(), summary.database_bytes);
}

#[test]
fn a_second_installation_in_one_folder_is_refused() {
    let folder = Folder::new();
    generate(&folder.0, &Options::small()).unwrap();
    assert_eq!(generate(&folder.0, &Options::small()).unwrap_err().kind(), ErrorKind::Refused);
    let elsewhere = Folder::new();
    assert_eq!(Server::open(&elsewhere.0, 1).unwrap_err().kind(), ErrorKind::Missing);
}

#[test]
fn acts_keep_the_ledger_and_the_database_whole() {
    let folder = Folder::new();
    generate(&folder.0, &Options::small()).unwrap();
    let mut server = Server::open(&folder.0, 5).unwrap();
    server.enable_ledger().unwrap();
    server.enable_ledger().unwrap();
    let reader = read(&folder.0);
    for _ in 0..300 {
        server.act().unwrap();
        let sum = "SELECT sum(amount) FROM (SELECT amount FROM strongroom_ledger_a
                   UNION ALL SELECT amount FROM strongroom_ledger_b)";
        assert_eq!(number(&reader, sum), Server::LEDGER_SUM);
        let counted = number(&reader, "SELECT commits FROM strongroom_ledger_counter");
        assert_eq!(u64::try_from(counted).unwrap(), server.commits());
    }
    server.day().unwrap();
    assert_whole(&reader);
    assert!(number(&reader, "SELECT max(rowid) - count(*) FROM ciphers") > 50, "edits move rows to the end");
    assert_eq!(number(&reader, "SELECT max(rowid) - count(*) FROM users"), 0);
    assert_files_match(&folder.0);
}

#[test]
fn equal_seeds_make_equal_choices() {
    let pick = |folder: &Folder| {
        generate(&folder.0, &Options::small()).unwrap();
        let mut server = Server::open(&folder.0, 5).unwrap();
        (0..50).for_each(|_| server.act().unwrap());
        let connection = read(&folder.0);
        let mut statement =
            connection.prepare("SELECT uuid || name || data FROM ciphers ORDER BY rowid").unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>()
    };
    assert_eq!(pick(&Folder::new()), pick(&Folder::new()));
}

#[test]
fn files_come_and_go_with_their_rows() {
    let folder = Folder::new();
    generate(&folder.0, &Options::small()).unwrap();
    let mut server = Server::open(&folder.0, 6).unwrap();
    let path = server.upload_attachment(5000).unwrap();
    assert_eq!(fs::metadata(folder.0.join(path)).unwrap().len() % 16, 1);
    server.upload_send(100_000).unwrap();
    assert_files_match(&folder.0);
    for left in (0..13).rev() {
        let path = server.delete_attachment().unwrap().unwrap();
        assert!(!folder.0.join(path).exists());
        assert_eq!(number(&read(&folder.0), "SELECT count(*) FROM attachments"), left);
    }
    assert_eq!(server.delete_attachment().unwrap(), None);
    while server.delete_send().unwrap().is_some() {}
    assert_files_match(&folder.0);
    assert_whole(&read(&folder.0));
}

#[test]
fn the_share_of_pages_asked_for_changes() {
    let folder = Folder::new();
    let options = Options { database_bytes: 4_000_000, ..Options::small() };
    let summary = generate(&folder.0, &options).unwrap();
    let pages = summary.database_bytes / 4096;
    let mut server = Server::open(&folder.0, 7).unwrap();
    let changed = server.change_pages(0.06).unwrap();
    assert!((pages * 5 / 100..=pages * 7 / 100).contains(&changed), "{changed} of {pages}");
    assert_eq!(server.change_pages(0.0).unwrap(), 0);
    assert_whole(&read(&folder.0));
}

#[test]
fn a_server_in_its_own_thread_stops_when_told() {
    let folder = Folder::new();
    generate(&folder.0, &Options::small()).unwrap();
    let handle = start(&folder.0, 8, Duration::from_millis(1)).unwrap();
    while handle.is_running() && handle.commits() < 20 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(handle.stop().unwrap() >= 20);
    assert_whole(&read(&folder.0));
    let unhurried = start(&folder.0, 8, Duration::from_hours(1)).unwrap();
    assert_eq!(unhurried.stop().unwrap(), 1);
}

/// Run by hand, in a release build: `cargo test --release --lib -- --ignored --nocapture measures`.
#[test]
#[ignore = "measures, and takes long"]
fn measures_the_presets() {
    let large = Options { attachments: 10, database_bytes: 280_000_000, ..Options::company() };
    for options in [Options::small(), Options::family(), Options::company(), large] {
        let folder = Folder::new();
        let began = std::time::Instant::now();
        let summary = generate(&folder.0, &options).unwrap();
        let took = began.elapsed();
        let database = fs::read(folder.0.join("db.sqlite3")).unwrap();
        let packed = zstd::bulk::compress(&database, 3).unwrap().len();
        let ratio = packed * 1000 / database.len();
        let mut lengths: Vec<usize> = contents(&folder.0)
            .into_iter()
            .filter_map(|(path, bytes)| path.starts_with("attachments/").then_some(bytes.len()))
            .collect();
        lengths.sort_unstable();
        let median = lengths.get(lengths.len() / 2);
        eprintln!("{summary:?}");
        eprintln!("took {took:?}, zstd -3 ratio {ratio} per mille, median attachment {median:?}");
        let mut server = Server::open(&folder.0, 1).unwrap();
        let hashes = |bytes: &[u8]| bytes.chunks(4096).map(blake3::hash).collect::<Vec<_>>();
        let began = std::time::Instant::now();
        server.day().unwrap();
        let day = began.elapsed();
        server.checkpoint().unwrap();
        let after = hashes(&fs::read(folder.0.join("db.sqlite3")).unwrap());
        let kept = hashes(&database).iter().zip(&after).filter(|(old, new)| old == new).count();
        let began = std::time::Instant::now();
        let changed = server.change_pages(0.06).unwrap();
        eprintln!(
            "a day changes {} of {} pages in {day:?}; change_pages(0.06) changed {changed} in {:?}",
            after.len() - kept,
            after.len(),
            began.elapsed()
        );
    }
}
