//! SQLite databases met on a walk: consistent under writes, checked, cheap the next night, and never stored in
//! silence when something is wrong with them.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use strongroom::service::vaultwarden::generator::{Options, Server, generate};

use crate::services::{
    Backup, DEADLINE, ReadOnly, Site, all_rows, assert_sound, beside, names, number, open, state,
};
use crate::support::{Rng, SmallDisk};

/// Says to the writer process which database to write.
const WRITER: &str = "STRONGROOM_TEST_SUITE_WRITER";

/// Makes a database of two tables whose amounts come to nothing together, and a counter.
fn ledger(path: &Path, journal_mode: &str, rows: u32) {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", journal_mode).unwrap();
    connection
        .execute_batch(&format!(
            "CREATE TABLE debit (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, padding TEXT NOT NULL);
             CREATE TABLE credit (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, padding TEXT NOT NULL);
             CREATE TABLE counter (commits INTEGER NOT NULL);
             INSERT INTO counter VALUES (0);
             WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {rows})
             INSERT INTO debit SELECT n, n * 17 % 1000, hex(n * 7919) || hex(zeroblob(180)) FROM number;
             INSERT INTO credit SELECT id, -amount, padding FROM debit;"
        ))
        .unwrap();
    connection.close().unwrap();
}

/// What holds between any two transactions of the writer.
fn assert_balanced(connection: &Connection) {
    assert_sound(connection);
    let sum = "SELECT (SELECT sum(amount) FROM debit) + (SELECT sum(amount) FROM credit)";
    assert_eq!(number(connection, sum), 0);
    // Each of the two tables says how many commits there were, too.
    let moved = "SELECT (SELECT amount FROM debit WHERE id = 0) + (SELECT commits FROM counter)";
    assert_eq!(number(connection, moved), 0);
}

fn commits(connection: &Connection) -> i64 {
    number(connection, "SELECT commits FROM counter")
}

/// Another process that writes as fast as it can until this is dropped.
struct Writer(Child);

impl Writer {
    fn start(database: &Path) -> Self {
        let connection = Connection::open(database).unwrap();
        connection.busy_timeout(Duration::from_mins(1)).unwrap();
        connection
            .execute_batch(
                "INSERT INTO debit VALUES (0, 0, ''); INSERT INTO credit VALUES (0, 0, '');
                 UPDATE counter SET commits = 0;",
            )
            .unwrap();
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "sqlite::the_process_that_writes", "--nocapture", "--test-threads=1"])
            .env(WRITER, database)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let writer = Self(child);
        wait_until("the writer commits", || commits(&connection) > 0);
        writer
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

/// Waits for something, with a deadline and no measuring.
#[track_caller]
fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(2);
    while !happened() {
        assert!(Instant::now() < deadline, "it never came that {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Not a test of its own: what the other process does.
#[test]
fn the_process_that_writes() {
    let Some(database) = env::var_os(WRITER) else { return };
    let connection = Connection::open(database).unwrap();
    connection.busy_timeout(Duration::from_mins(1)).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        ended.send(()).unwrap();
    });
    let last = number(&connection, "SELECT max(id) FROM debit").cast_unsigned();
    let mut debit = connection.prepare("UPDATE debit SET amount = amount - ?1 WHERE id = ?2").unwrap();
    let mut credit = connection.prepare("UPDATE credit SET amount = amount + ?1 WHERE id = ?2").unwrap();
    let mut counter = connection.prepare("UPDATE counter SET commits = commits + 1").unwrap();
    let mut rng = Rng::new(11);
    while end.try_recv().is_err() {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut below = |end| rng.below(end).cast_signed();
        let (amount, one, other) = (below(1000), below(last) + 1, below(last) + 1);
        debit.execute((amount, one)).unwrap();
        credit.execute((amount, other)).unwrap();
        debit.execute((1, 0)).unwrap();
        credit.execute((1, 0)).unwrap();
        counter.execute([]).unwrap();
        connection.execute_batch("COMMIT").unwrap();
    }
}

/// Backs a database up again and again while another process writes, and checks every copy. Returns the
/// numbers of commits that fell inside each backup.
fn back_up_under_writes(journal_mode: &str, rows: u32, times: usize) -> Vec<i64> {
    let site = Site::new();
    let database = site.join("app.db");
    ledger(&database, journal_mode, rows);
    let writer = Writer::start(&database);
    let reader = Connection::open(&database).unwrap();
    reader.busy_timeout(Duration::from_mins(1)).unwrap();
    let mut inside = Vec::new();
    for round in 0..times {
        let before = commits(&reader);
        let backup = site.backup(["app.db"], 0);
        let after = commits(&reader);
        assert_eq!(backup.database()["outcome"], "checked", "round {round}");
        let copy = site.dump_database("app.db");
        assert_balanced(&copy);
        let copied = commits(&copy);
        assert!(before <= copied && copied <= after, "round {round}: {before} {copied} {after}");
        inside.push(after - before);
    }
    drop(writer);
    inside.sort_unstable();
    inside
}

#[test]
fn fifty_copies_of_a_database_that_is_written_all_the_time() {
    let inside = back_up_under_writes("wal", 4000, 50);
    assert!(inside[0] >= 100, "{inside:?}");
}

#[test]
fn with_a_rollback_journal_too() {
    let inside = back_up_under_writes("delete", 4000, 5);
    // Its writer waits while the copy is made, and the copy is current all the same.
    assert!(inside[0] > 0, "{inside:?}");
}

/// A small database and a file beside it.
fn small_site(journal_mode: &str) -> (Site, PathBuf) {
    let site = Site::new();
    site.folder.write("data/other.txt", "other");
    let database = site.join("data/app.db");
    ledger(&database, journal_mode, 2000);
    (site, database)
}

/// Leaves a database as a killed server does: with a log that holds the last commit. The `-shm` stays if asked.
fn hot_log(database: &Path, with_index: bool) {
    let aside = database.with_file_name("aside.tmp");
    let connection = Connection::open(database).unwrap();
    connection.execute_batch("PRAGMA wal_autocheckpoint = 0; UPDATE counter SET commits = 77;").unwrap();
    let copies: Vec<_> = ["-wal", "-shm"].map(|suffix| fs::read(beside(database, suffix)).unwrap()).into();
    fs::copy(database, &aside).unwrap();
    connection.close().unwrap();
    fs::rename(&aside, database).unwrap();
    fs::write(beside(database, "-wal"), &copies[0]).unwrap();
    if with_index {
        fs::write(beside(database, "-shm"), &copies[1]).unwrap();
    }
    assert!(copies[0].len() > 4096, "the log holds something");
}

#[test]
fn a_locked_database_is_named_and_not_stored() {
    let (site, database) = small_site("delete");
    let holder = Connection::open(&database).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE; UPDATE counter SET commits = 5;").unwrap();
    let backup = site.backup(["data", "--lock-timeout", "1"], 3);
    backup.names("data/app.db", "locked for 1 second");
    assert_eq!(backup.database()["outcome"], "not_stored");
    assert_eq!(site.list(), ["/data", "/data/other.txt"]);
    assert_eq!(site.dump("data/other.txt"), b"other");
    holder.execute_batch("ROLLBACK").unwrap();
    site.backup(["data", "--lock-timeout", "1"], 0);
    assert_balanced_but_for_the_first(&site.dump_database("data/app.db"));
}

/// Where the writer has not been at work.
fn assert_balanced_but_for_the_first(connection: &Connection) {
    assert_sound(connection);
    let sum = "SELECT (SELECT sum(amount) FROM debit) + (SELECT sum(amount) FROM credit)";
    assert_eq!(number(connection, sum), 0);
}

#[test]
fn a_server_that_keeps_its_database_to_itself_is_copied_from_its_files() {
    let (site, database) = small_site("wal");
    let server = Connection::open(&database).unwrap();
    server.execute_batch("PRAGMA locking_mode = EXCLUSIVE; UPDATE counter SET commits = 9;").unwrap();
    assert!(!beside(&database, "-shm").exists(), "it shares no index");
    let before = state(&site.join("data"));
    site.backup(["data"], 0);
    assert_eq!(state(&site.join("data")), before);
    assert_eq!(commits(&site.dump_database("data/app.db")), 9);
    drop(server);
}

#[test]
fn damage_is_named_and_the_database_stored_as_it_is() {
    let (site, database) = small_site("delete");
    let file = OpenOptions::new().write(true).open(&database).unwrap();
    file.write_all_at(&[0xff; 4096], 4096 * 40).unwrap();
    drop(file);
    for night in 0..2 {
        let backup = site.backup(["data"], 3);
        backup.names("data/app.db", "damaged");
        assert_eq!(backup.database()["outcome"], "failed_check", "night {night}");
        assert_eq!(site.newest()["databases"][0]["outcome"], "failed_check");
        assert!(site.newest()["summary"]["problems"].as_u64().unwrap() > 0);
        let stored = site.dump("data/app.db");
        assert_eq!(stored.len() as u64, fs::metadata(&database).unwrap().len());
        // SQLite counts changes in the header of its copies; all else is the same.
        assert!(stored[100..] == fs::read(&database).unwrap()[100..]);
    }
}

#[test]
fn a_database_cut_short_is_named_and_stored_as_found() {
    let (site, database) = small_site("delete");
    OpenOptions::new().write(true).open(&database).unwrap().set_len(50_000).unwrap();
    for _ in 0..2 {
        let backup = site.backup(["data"], 3);
        backup.names("data/app.db", "damaged");
        assert!(site.dump("data/app.db") == fs::read(&database).unwrap());
    }
}

#[test]
fn what_only_begins_like_a_database_is_stored_as_found_with_its_log() {
    let site = Site::new();
    let mut rng = Rng::new(12);
    let garbage = [b"SQLite format 3\0".to_vec(), rng.bytes(40_960)].concat();
    let log = rng.bytes(9000);
    site.folder.write("data/app.db", &garbage);
    site.folder.write("data/app.db-wal", &log);
    // Old enough that the second night believes that nothing changed, and wrong all the same.
    thread::sleep(Duration::from_secs(4));
    for night in 0..3 {
        let backup = site.backup(["data"], 3);
        backup.names("data/app.db", "not a SQLite database, or is an encrypted one");
        assert_eq!(backup.database()["outcome"], "stored_as_found", "night {night}");
        assert!(site.dump("data/app.db") == garbage);
        assert!(site.dump("data/app.db-wal") == log);
    }
}

/// Sets the time of a file back, so that the next backup believes it.
fn age(path: &Path) {
    let long_ago = std::time::SystemTime::now() - Duration::from_hours(2);
    File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
}

#[test]
fn a_log_without_its_index_in_a_folder_nobody_can_write() {
    let what = "a database on a read-only file system";
    for with_index in [false, true] {
        let (site, database) = small_site("wal");
        hot_log(&database, with_index);
        let before = state(&site.join("data"));
        let Some(mounted) = ReadOnly::mount(&site.join("data"), &site.join("seen"), what) else { return };
        let backup = site.backup(["seen"], 0);
        assert_eq!(backup.database()["outcome"], "checked");
        drop(mounted);
        assert_eq!(state(&site.join("data")), before);
        assert_eq!(commits(&site.dump_database("seen/app.db")), 77);
        assert_eq!(site.list(), ["/seen", "/seen/app.db", "/seen/other.txt"]);
    }
}

#[test]
fn a_hot_log_is_read_and_left_as_it_is() {
    for with_index in [false, true] {
        let (site, database) = small_site("wal");
        hot_log(&database, with_index);
        let before = state(&site.join("data"));
        for _ in 0..2 {
            site.backup(["data"], 0);
            assert_eq!(state(&site.join("data")), before);
            assert_eq!(commits(&site.dump_database("data/app.db")), 77);
        }
    }
}

#[test]
fn a_hot_journal_is_rolled_back_in_the_copy_only() {
    let (site, database) = small_site("delete");
    let writer = Connection::open(&database).unwrap();
    writer.execute_batch("PRAGMA cache_size = 5; BEGIN; UPDATE debit SET amount = -7;").unwrap();
    let killed: Vec<_> = ["", "-journal"].map(|suffix| fs::read(beside(&database, suffix)).unwrap()).into();
    writer.execute_batch("ROLLBACK").unwrap();
    writer.close().unwrap();
    for (bytes, suffix) in killed.iter().zip(["", "-journal"]) {
        fs::write(beside(&database, suffix), bytes).unwrap();
    }
    let before = state(&site.join("data"));
    site.backup(["data"], 0);
    assert_eq!(state(&site.join("data")), before);
    assert_eq!(site.list(), ["/data", "/data/app.db", "/data/other.txt"]);
    assert_balanced_but_for_the_first(&site.dump_database("data/app.db"));
}

#[test]
fn a_full_temporary_disk_is_named_with_a_way_out() {
    let (site, _) = small_site("wal");
    fs::create_dir(site.join("small")).unwrap();
    let Some(disk) = SmallDisk::mount(&site.join("small"), 256 << 10, "a full temporary disk") else {
        return;
    };
    let backup = site.backup(["data", "--temporary-folder", "small"], 3);
    backup.names("data/app.db", "no room for a copy");
    let step = backup.about("problem", "data/app.db")[0]["next_step"].as_str().unwrap().to_owned();
    assert!(step.contains("another folder for temporary files"), "{step}");
    assert_eq!(backup.database()["outcome"], "not_stored");
    assert_eq!(site.list(), ["/data", "/data/other.txt"]);
    assert_eq!(names(&site.join("small")), [""; 0]);
    drop(disk);
}

#[test]
fn logs_are_left_out_of_the_snapshot() {
    let (site, database) = small_site("wal");
    let server = Connection::open(&database).unwrap();
    server.execute_batch("UPDATE counter SET commits = 3").unwrap();
    site.folder.write("data/app.db-journal", "");
    assert!(beside(&database, "-wal").exists() && beside(&database, "-shm").exists());
    // What a log might be mistaken for is stored.
    site.folder.write("data/notes-wal", "a file");
    site.folder.write("data/app.db-walrus", "a file");
    site.folder.write("data/sub/app.db-wal", "a file");
    // Sorted between a database and its log: they still belong together.
    site.folder.write("data/app.db-backups/old", "a file");
    site.folder.write("data/app.db-copies/deep/old", "a file");
    site.backup(["data"], 0);
    assert_eq!(
        site.list(),
        [
            "/data",
            "/data/app.db",
            "/data/app.db-backups",
            "/data/app.db-backups/old",
            "/data/app.db-copies",
            "/data/app.db-copies/deep",
            "/data/app.db-copies/deep/old",
            "/data/app.db-walrus",
            "/data/notes-wal",
            "/data/other.txt",
            "/data/sub",
            "/data/sub/app.db-wal",
        ]
    );
    drop(server);
}

#[test]
fn the_second_night_of_an_unchanged_database_stores_nothing() {
    for journal_mode in ["delete", "wal"] {
        let (site, database) = small_site(journal_mode);
        let server = Connection::open(&database).unwrap();
        server.execute_batch("UPDATE counter SET commits = 3").unwrap();
        let first = site.backup(["data"], 0);
        assert!(first.number("data_added") > 500_000);
        for night in 0..2 {
            let next = site.backup(["data"], 0);
            assert_eq!(next.number("data_added"), 0, "{journal_mode}, night {night}: {}", next.summary);
            assert_eq!(next.number("files_unmodified"), 2, "{}", next.summary);
            assert_eq!(next.database()["outcome"], "checked");
            assert_eq!(next.summary["tree"], first.summary["tree"]);
        }
        // Neither is anything lost where the cache is.
        fs::remove_dir_all(site.join("home/.cache")).unwrap();
        assert_eq!(site.backup(["data"], 0).number("data_blobs"), 0);
        drop(server);
    }
}

#[test]
fn a_commit_that_lives_only_in_the_log_is_a_change() {
    let (site, database) = small_site("wal");
    let server = Connection::open(&database).unwrap();
    server.execute_batch("PRAGMA wal_autocheckpoint = 0; UPDATE counter SET commits = 3;").unwrap();
    age(&database);
    let stamp = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.len(), metadata.modified().unwrap(), metadata.ctime(), metadata.ctime_nsec())
    };
    let before = stamp(&database);
    for round in 10..15 {
        site.backup(["data"], 0);
        server.execute("UPDATE counter SET commits = ?1", [round]).unwrap();
        assert_eq!(stamp(&database), before, "the main file shows nothing");
        site.backup(["data"], 0);
        assert_eq!(commits(&site.dump_database("data/app.db")), round);
        if round == 12 {
            // From here on the log starts over and keeps its size.
            age(&database);
            server.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
            return a_commit_into_a_log_that_started_over(&site, &server, &database);
        }
    }
}

fn a_commit_into_a_log_that_started_over(site: &Site, server: &Connection, database: &Path) {
    server.execute("UPDATE counter SET commits = 50", []).unwrap();
    let length = fs::metadata(beside(database, "-wal")).unwrap().len();
    for round in 51..54 {
        site.backup(["data"], 0);
        server.execute("UPDATE counter SET commits = ?1", [round]).unwrap();
        assert_eq!(fs::metadata(beside(database, "-wal")).unwrap().len(), length);
        site.backup(["data"], 0);
        assert_eq!(commits(&site.dump_database("data/app.db")), round);
    }
}

/// A database as a Vaultwarden has it, alone in a folder.
fn generated(site: &Site, bytes: u64) -> PathBuf {
    let data = site.join("generated");
    let options = Options { seed: 21, attachments: 0, sends: 0, database_bytes: bytes, ..Options::small() };
    generate(&data, &options).unwrap();
    data
}

#[test]
fn a_night_costs_what_changed() {
    let site = Site::new();
    let data = generated(&site, 24 << 20);
    let first = site.backup(["generated/db.sqlite3"], 0);
    let stored = first.number("data_added_packed");
    let mut server = Server::open(&data, 22).unwrap();
    for _ in 0..2 {
        let pages = server.change_pages(0.06).unwrap();
        let total = fs::metadata(data.join("db.sqlite3")).unwrap().len() / 4096;
        assert!(pages * 100 >= total * 5, "{pages} of {total} pages changed");
        let next = site.backup(["generated/db.sqlite3"], 0);
        let added = next.number("data_added_packed");
        assert!(added * 10 <= stored, "{added} of {stored} bytes added");
        assert!(added > 0);
        let copy = site.dump_database("generated/db.sqlite3");
        assert_sound(&copy);
        assert_eq!(all_rows(&copy), all_rows(&open(&data.join("db.sqlite3"))));
    }
}

#[test]
fn a_database_that_grows_costs_its_growth() {
    let site = Site::new();
    let database = site.join("app.db");
    ledger(&database, "delete", 20_000);
    site.backup(["app.db"], 0);
    let before = fs::metadata(&database).unwrap().len();
    let connection = Connection::open(&database).unwrap();
    // At the end of one table only: the other lies before it.
    let grow = "INSERT INTO credit SELECT NULL, amount, padding FROM debit WHERE id <= 4000";
    connection.execute_batch(grow).unwrap();
    connection.close().unwrap();
    let grown = fs::metadata(&database).unwrap().len() - before;
    let next = site.backup(["app.db"], 0);
    let added = next.number("data_added");
    assert!(added >= grown && added <= grown + before / 20, "{grown} grown, {added} added");
    // It shrinks again.
    let connection = Connection::open(&database).unwrap();
    connection.execute_batch("DELETE FROM credit WHERE id > 5000; VACUUM;").unwrap();
    let rows = all_rows(&connection);
    connection.close().unwrap();
    site.backup(["app.db"], 0);
    let copy = site.dump_database("app.db");
    assert_sound(&copy);
    assert_eq!(all_rows(&copy), rows);
}

#[test]
fn odd_page_sizes() {
    let site = Site::new();
    for size in [512, 1024, 8192, 65_536] {
        let database = site.join(format!("data/{size}.db"));
        fs::create_dir_all(site.join("data")).unwrap();
        let connection = Connection::open(&database).unwrap();
        connection.pragma_update(None, "page_size", size).unwrap();
        connection.execute_batch("CREATE TABLE first (value)").unwrap();
        connection.close().unwrap();
        ledger(&database, if size == 8192 { "wal" } else { "delete" }, 3000);
        assert_eq!(number(&open(&database), "PRAGMA page_size"), size);
    }
    site.backup(["data"], 0);
    let expected: Vec<u64> = vec![1024, 512, 65_536, 8192];
    let summary = site.newest();
    let sizes: Vec<u64> = summary["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|database| database["page_size"].as_u64().unwrap())
        .collect();
    assert_eq!(sizes, expected);
    let restored = site.restore("latest:/data");
    for size in expected {
        let name = format!("{size}.db");
        let copy = open(&restored.join(&name));
        assert_balanced_but_for_the_first(&copy);
        assert_eq!(all_rows(&copy), all_rows(&open(&site.join("data").join(&name))));
        drop(copy);
        // A change of one row costs little, whatever the page.
        let connection = open(&site.join("data").join(&name));
        connection.execute_batch("UPDATE debit SET amount = amount + 0 WHERE id = 1500").unwrap();
        connection.execute_batch("UPDATE debit SET amount = 3 WHERE id = 1500").unwrap();
        connection.close().unwrap();
        let next = site.backup(["data"], 0);
        assert!(next.number("data_added") <= 3 * 65_536 + 20_000, "{size}: {}", next.summary);
    }
}

#[test]
fn odd_names() {
    let site = Site::new();
    let folder = site.join("data");
    fs::create_dir(&folder).unwrap();
    let odd: [&[u8]; 9] = [
        b"a b.db",
        b"50%41.db",
        b"what?mode=rwc",
        b"x#y.db",
        b"file:z.db?immutable=1",
        b"\xff\xfe.db",
        "\u{e4}\u{1f512}&=;\n.db".as_bytes(),
        b"'\"\\$(touch pwned).db",
        b"-wal",
    ];
    let mut servers = Vec::new();
    for (number, name) in (1_i64..).zip(odd) {
        let database = folder.join(OsStr::from_bytes(name));
        ledger(&database, "wal", 100);
        let server = Connection::open(Path::new("/").join(&database)).unwrap();
        server.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
        server.execute("UPDATE counter SET commits = ?1", [number]).unwrap();
        servers.push(server);
    }
    let before = state(&folder);
    let backup = site.backup(["data"], 0);
    assert_eq!(state(&folder), before);
    assert_eq!(backup.summary["databases"].as_array().unwrap().len(), odd.len());
    let restored = site.restore("latest:/data");
    assert_eq!(fs::read_dir(&restored).unwrap().count(), odd.len());
    for (number, name) in (1_i64..).zip(odd) {
        let place = [b"data/", name].concat();
        let bytes = site.dump(OsStr::from_bytes(&place));
        let database = restored.join(OsStr::from_bytes(name));
        assert!(fs::read(&database).unwrap() == bytes);
        let copy = Connection::open(&database).unwrap();
        assert_sound(&copy);
        assert_eq!(commits(&copy), number);
    }
    drop(servers);
}

#[test]
fn a_killed_backup_leaves_copies_that_nobody_else_reads_and_the_next_one_removes() {
    let site = Site::new();
    generated(&site, 16 << 20);
    fs::create_dir(site.join("copies")).unwrap();
    let arguments = ["backup", "generated/db.sqlite3", "--temporary-folder", "copies"];
    let mut child = site.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let found = || {
        let folders = names(&site.join("copies"));
        let private = site.join("copies").join(folders.first()?);
        let copy = private.join("0/database");
        (fs::metadata(&copy).ok()?.len() > 0).then_some((private, copy))
    };
    wait_until("there is a copy", || found().is_some() || child.try_wait().unwrap().is_some());
    let (private, copy) = found().expect("the copy was there while the backup ran");
    let mode = fs::metadata(&private).unwrap().permissions().mode();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(mode & 0o777, 0o700);
    assert!(copy.exists(), "a kill leaves it");
    assert_eq!(fs::metadata(private.join("0")).unwrap().permissions().mode() & 0o077, 0);

    site.backup(&arguments[1..], 0);
    assert_eq!(names(&site.join("copies")), [""; 0]);
    assert_sound(&site.dump_database("generated/db.sqlite3"));
}

#[test]
fn copies_of_a_backup_that_still_runs_are_left_alone() {
    let (site, database) = small_site("delete");
    fs::create_dir(site.join("copies")).unwrap();
    let holder = Connection::open(&database).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let arguments = ["--json", "backup", "data", "--temporary-folder", "copies", "--lock-timeout", "100"];
    let mut waits = site.command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the first one waits", || !names(&site.join("copies")).is_empty());
    let folders = names(&site.join("copies"));
    site.backup(["data/other.txt", "--temporary-folder", "copies"], 0);
    assert_eq!(names(&site.join("copies")), folders);
    holder.execute_batch("ROLLBACK").unwrap();
    let deadline = Instant::now() + Duration::from_secs(DEADLINE);
    let status = loop {
        if let Some(status) = waits.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            waits.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(5));
    };
    let mut said = String::new();
    waits.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success(), "{said}");
    assert_eq!(names(&site.join("copies")), [""; 0]);
    let said: Vec<&str> = said.lines().collect();
    let backup = serde_json::from_str(said.last().unwrap()).unwrap();
    let backup: serde_json::Value = backup;
    assert_eq!(backup["databases"][0]["outcome"], "checked");
}

#[test]
fn a_file_that_becomes_a_database_and_one_that_ceases_to_be() {
    let site = Site::new();
    site.folder.write("data/one", "text for now");
    ledger(&site.join("data/two"), "delete", 100);
    site.backup(["data"], 0);
    fs::remove_file(site.join("data/one")).unwrap();
    ledger(&site.join("data/one"), "delete", 50);
    site.folder.write("data/two", "text by now");
    let backup: Backup = site.backup(["data"], 0);
    assert_eq!(backup.database()["path"], "/data/one");
    assert_sound(&site.dump_database("data/one"));
    assert_eq!(site.dump("data/two"), b"text by now");
    // An empty file that SQLite would take for an empty database is a file.
    site.folder.write("data/two", "");
    site.backup(["data"], 0);
    assert_eq!(site.dump("data/two"), b"");
}
