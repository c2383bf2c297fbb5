//! The module as a whole: real databases, real writers, real obstacles.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::scratch::Folder;
use super::take::{Job, Patience, Pinned};
use super::*;
use crate::error::ErrorKind;
use crate::id::Id;
use crate::interrupt::Interrupt;

/// Says to the writer process which database to write.
const WRITER: &str = "STRONGROOM_TEST_WRITER";

/// A folder of its own for a test, and a scratch folder beside.
struct Place {
    scratch: Scratch,
    folder: Folder,
}

impl Place {
    fn new() -> Self {
        let scratch = Scratch::create(&std::env::temp_dir()).unwrap();
        let folder = scratch.folder().unwrap();
        Self { scratch, folder }
    }

    fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.folder.path().join(Path::new(name.as_ref()))
    }

    fn take(&self, database: &Path) -> Result<Copy, TakeError> {
        take(database, &self.scratch, &Options::default(), &mut |_, _| {})
    }
}

/// All files of a folder with name and content.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Id> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let hash = blake3::hash(&fs::read(&path).unwrap());
            found.insert(path, Id(*hash.as_bytes()));
        }
    }
    found
}

fn create(path: &Path, journal_mode: &str) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", journal_mode).unwrap();
    connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE debit (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, note TEXT);
             CREATE TABLE credit (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL);
             CREATE INDEX debit_note ON debit (note);",
        )
        .unwrap();
    connection
}

fn add(connection: &Connection, rows: i64) {
    connection.execute_batch("BEGIN").unwrap();
    for number in 0..rows {
        connection
            .execute("INSERT INTO debit (amount, note) VALUES (?1, hex(zeroblob(200)) || ?1)", [number])
            .unwrap();
        connection.execute("INSERT INTO credit (amount) VALUES (?1)", [number]).unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
}

fn count(connection: &Connection, table: &str) -> i64 {
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn rows(copy: &Copy) -> i64 {
    assert!(copy.check().unwrap().passed());
    count(&copy.connect().unwrap(), "debit")
}

/// Copies a database as a killed server leaves it: `keep` companions, and no others.
fn abandoned(place: &Place, from: &Path, folder: &str, keep: &[&str]) -> PathBuf {
    fs::create_dir(place.path(folder)).unwrap();
    let database = place.path(folder).join("app.db");
    fs::copy(from, &database).unwrap();
    for suffix in keep {
        fs::copy(companion(from, suffix), companion(&database, suffix)).unwrap();
    }
    database
}

/// Starts this test binary again as a process that writes.
fn writer(database: &Path, mode: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "source::sqlite::tests::writer_process", "--nocapture", "--test-threads=1"])
        .env(WRITER, database)
        .env("STRONGROOM_TEST_MODE", mode)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until the writer has done its part, without measuring time.
fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_mins(1), "{} never came", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Not a test of its own: what the other process does. It ends when its standard input does.
#[test]
fn writer_process() {
    let Some(database) = std::env::var_os(WRITER) else { return };
    let database = Path::new(&database);
    let mode = std::env::var("STRONGROOM_TEST_MODE").unwrap();
    let connection = Connection::open(database).unwrap();
    connection.busy_timeout(Duration::from_mins(1)).unwrap();
    // Ends this process even if the test that started it was killed.
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        ended.send(()).unwrap();
    });
    match mode.as_str() {
        "invariant" => {
            connection.pragma_update(None, "wal_autocheckpoint", 50).unwrap();
            let mut number = 0;
            while end.try_recv().is_err() {
                number += 1;
                connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                for table in ["debit", "credit"] {
                    let sign = if table == "debit" { 1 } else { -1 };
                    let sql = format!("INSERT INTO {table} (amount) VALUES (?1)");
                    connection.execute(&sql, [number * sign]).unwrap();
                    let sql = format!(
                        "UPDATE {table} SET amount = amount + ?1 WHERE id = 1 + abs(random() % 1000)"
                    );
                    while connection.execute(&sql, [sign]).unwrap() == 0 {}
                }
                connection.execute_batch("COMMIT").unwrap();
                fs::write(companion(database, ".count"), number.to_string()).unwrap();
                fs::write(companion(database, ".ready"), b"").unwrap();
            }
        }
        "exclusive" => {
            connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
            fs::write(companion(database, ".ready"), b"").unwrap();
            end.recv().unwrap();
        }
        // A transaction that spilled into the main file, and a process that dies in it.
        "killed" => {
            connection.execute_batch("PRAGMA cache_size = 5; BEGIN; UPDATE debit SET amount = -7;").unwrap();
            fs::write(companion(database, ".ready"), b"").unwrap();
            end.recv().unwrap();
        }
        other => assert_eq!(other, "", "unknown mode"),
    }
}

fn stop(mut child: Child) {
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn names_are_told_apart() {
    assert!(is_database(b"SQLite format 3\0and more"));
    assert!(!is_database(b"SQLite format 3"));
    assert_eq!(companion_base(b"db.sqlite3-wal"), Some(&b"db.sqlite3"[..]));
    assert_eq!(companion_base(b"db.sqlite3-shm"), Some(&b"db.sqlite3"[..]));
    assert_eq!(companion_base(b"db.sqlite3-journal"), Some(&b"db.sqlite3"[..]));
    assert_eq!(companion_base(b"db.sqlite3"), None);
    assert_eq!(companion_base(b"-wal"), None);
}

#[test]
fn a_real_folder_of_vaultwarden_stays_as_it_is() {
    let Some(fixture) = sample_vault() else { return };
    let place = Place::new();
    for name in ["db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm"] {
        fs::copy(fixture.join(name), place.path(name)).unwrap();
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let database = place.path("db.sqlite3");
    let before = contents(place.folder.path());
    let copy = place.take(&database).unwrap();
    assert_eq!(contents(place.folder.path()), before);
    let check = copy.check().unwrap();
    assert_eq!(check, Check::default());

    // The log deletes one of the two rows of `sends`.
    let alone = place.path("alone.db");
    fs::copy(&database, &alone).unwrap();
    let alone = counts(&place.take(&alone).unwrap().connect().unwrap());
    let whole = counts(&copy.connect().unwrap());
    assert_eq!((alone.get("sends"), whole.get("sends")), (Some(&2), Some(&1)));
    assert_eq!((alone.values().sum::<i64>(), whole.values().sum::<i64>()), (48, 47));
    assert_eq!(copy.size(), copy.pages() * u64::from(copy.page_size()));
    let header = fs::read(copy.path()).unwrap();
    assert_eq!(header.get(18..20), Some(&[2, 2][..]), "the copy keeps WAL mode");
    assert_eq!(header.get(40..44), Some(&[0, 0, 0, 0x4e][..]), "and the schema's version");
    let path = copy.path().to_path_buf();
    drop(copy);
    assert!(!path.exists());
}

/// A real data folder: the one that STRONGROOM_SAMPLE_VAULT names, else the one beside the checkout. Where there
/// is none, `tests/run` hears of it; with CI=true that is a failure.
fn sample_vault() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/vaultwarden");
    let folder = variable("STRONGROOM_SAMPLE_VAULT").map_or_else(beside, PathBuf::from);
    if folder.join("db.sqlite3").is_file() {
        return Some(folder);
    }
    assert!(variable("CI").is_none_or(|value| value != "true"), "no sample vault at {}", folder.display());
    if let Some(list) = variable("STRONGROOM_UNTESTED") {
        let mut list = fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
        list.write_all(b"not tested here: a real Vaultwarden folder (no sample vault here)\n").unwrap();
    }
    None
}

fn counts(connection: &Connection) -> BTreeMap<String, i64> {
    let mut statement = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let names = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    names.map(Result::unwrap).map(|name| (name.clone(), count(connection, &name))).collect()
}

fn copies_are_consistent_while_a_process_writes(journal_mode: &str) {
    let place = Place::new();
    let database = place.path("live.db");
    let connection = create(&database, journal_mode);
    add(&connection, 2000);
    // Balanced, so that the sum of both tables must stay zero.
    connection.execute("UPDATE credit SET amount = -amount", []).unwrap();
    connection.close().unwrap();
    let writer = writer(&database, "invariant");
    wait_for(&companion(&database, ".ready"));
    let committed = || -> u64 {
        // Empty for a moment while it is written.
        let text = fs::read_to_string(companion(&database, ".count")).unwrap();
        text.parse().unwrap_or(0)
    };
    let mut during = 0;
    let mut last_rows = 0;
    for _ in 0..20 {
        let before = committed();
        let copy = place.take(&database).unwrap();
        if committed() > before {
            during += 1;
        }
        let rows_now = rows(&copy);
        assert!(rows_now >= last_rows);
        last_rows = rows_now;
        let copy = copy.connect().unwrap();
        assert_eq!(count(&copy, "debit"), count(&copy, "credit"));
        let sum: i64 = copy
            .query_row(
                "SELECT (SELECT sum(amount) FROM debit) + (SELECT sum(amount) FROM credit)",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(sum, 0);
    }
    stop(writer);
    println!("{journal_mode}: commits fell into {during} of 20 copies, {last_rows} rows at the end");
    assert!(last_rows > 2000);
}

#[test]
fn copies_are_consistent_while_a_process_writes_its_log() {
    copies_are_consistent_while_a_process_writes("wal");
}

#[test]
fn copies_are_consistent_while_a_process_writes_with_a_journal() {
    copies_are_consistent_while_a_process_writes("delete");
}

#[test]
fn commits_during_a_copy_neither_wait_nor_restart_it() {
    let place = Place::new();
    let database = place.path("live.db");
    let server = create(&database, "wal");
    server.busy_timeout(Duration::ZERO).unwrap();
    add(&server, 20_000);
    let mut reports = Vec::new();
    let copy = take(&database, &place.scratch, &Options::default(), &mut |done, total| {
        reports.push((done, total));
        add(&server, 1);
        server.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
    })
    .unwrap();
    assert!(reports.len() > 3, "{reports:?}");
    assert!(reports.is_sorted(), "never restarts: {reports:?}");
    assert_eq!(reports.last(), Some(&(copy.pages(), copy.pages())));
    assert_eq!(rows(&copy), 20_000);
    assert!(count(&server, "debit") > 20_000);
    // What was committed during the copy is seen by the next run.
    assert_ne!(copy.fingerprint(), fingerprint(&database).unwrap());
}

#[test]
fn what_a_killed_server_left_is_recovered_beside() {
    let place = Place::new();
    let database = place.path("live.db");
    let server = create(&database, "wal");
    add(&server, 500);
    for (folder, keep) in [("with-index", &["-wal", "-shm"][..]), ("without-index", &["-wal"])] {
        let left = abandoned(&place, &database, folder, keep);
        let before = contents(&place.path(folder));
        let copy = place.take(&left).unwrap();
        assert_eq!(rows(&copy), 500, "{folder}");
        assert_eq!(contents(&place.path(folder)), before, "{folder}");
        assert_eq!(copy.fingerprint(), fingerprint(&left).unwrap());
        assert!(!companion(copy.path(), "-wal").exists() && !companion(copy.path(), "-shm").exists());
    }
    // An index of nonsense, which a server would rebuild.
    let left = abandoned(&place, &database, "broken-index", &["-wal", "-shm"]);
    fs::write(companion(&left, "-shm"), vec![0x5a; 32768]).unwrap();
    let before = contents(&place.path("broken-index"));
    assert_eq!(rows(&place.take(&left).unwrap()), 500);
    assert_eq!(contents(&place.path("broken-index")), before);

    // The header asks for a log, and there is none: opening would create one.
    server.close().unwrap();
    let left = abandoned(&place, &database, "closed", &[]);
    let before = contents(&place.path("closed"));
    assert_eq!(before.len(), 1);
    let copy = place.take(&left).unwrap();
    assert_eq!(rows(&copy), 500);
    assert_eq!(fs::read(copy.path()).unwrap(), fs::read(&left).unwrap());
    assert_eq!(contents(&place.path("closed")), before);
}

#[test]
fn a_hot_journal_is_rolled_back_in_the_copy() {
    let place = Place::new();
    let database = place.path("live.db");
    let connection = create(&database, "delete");
    add(&connection, 2000);
    connection.close().unwrap();
    let mut child = writer(&database, "killed");
    wait_for(&companion(&database, ".ready"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(fs::metadata(companion(&database, "-journal")).unwrap().len() > 512);
    let before = contents(place.folder.path());
    let copy = place.take(&database).unwrap();
    assert_eq!(contents(place.folder.path()), before);
    assert_eq!(rows(&copy), 2000);
    let changed = "SELECT count(*) FROM debit WHERE amount = -7";
    let copy = copy.connect().unwrap();
    assert_eq!(copy.query_row(changed, [], |row| row.get::<_, i64>(0)).unwrap(), 0);

    // A journal that names a file to delete after rolling back: the file stays, the journal counts.
    let victim = place.path("victim-mj0123456789");
    fs::write(&victim, b"precious").unwrap();
    super_journal(&database, &victim);
    let copy = place.take(&database).unwrap().connect().unwrap();
    assert_eq!(copy.query_row(changed, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

/// Appends the name of a super-journal to a hot journal.
fn super_journal(database: &Path, name: &Path) {
    let name = name.as_os_str().as_bytes();
    let mut file = fs::OpenOptions::new().append(true).open(companion(database, "-journal")).unwrap();
    // The number of the page that holds the lock bytes of a database of 4,096 byte pages.
    file.write_all(&[0, 4, 0, 1]).unwrap();
    file.write_all(name).unwrap();
    let length = u32::try_from(name.len()).unwrap();
    let sum: u32 = name.iter().map(|byte| u32::from(*byte)).sum();
    for number in [length, sum] {
        let mut bytes = number.to_le_bytes();
        bytes.reverse();
        file.write_all(&bytes).unwrap();
    }
    file.write_all(&[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]).unwrap();
}

#[test]
fn a_read_only_folder_will_do() {
    let place = Place::new();
    let database = place.path("live.db");
    let server = create(&database, "wal");
    add(&server, 300);
    let left = abandoned(&place, &database, "sealed", &["-wal"]);
    // Root may write anywhere, so the file system itself is made read-only where that can be done.
    fs::set_permissions(place.path("sealed"), fs::Permissions::from_mode(0o555)).unwrap();
    let mounted = mount(&place.path("sealed"), &["--bind"], Some(&place.path("sealed")))
        && mount(&place.path("sealed"), &["-o", "remount,bind,ro"], None);
    println!("mounted read-only: {mounted}");
    let copy = place.take(&left);
    if mounted {
        assert!(fs::write(place.path("sealed").join("x"), b"").is_err());
    }
    unmount(&place.path("sealed"));
    fs::set_permissions(place.path("sealed"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(rows(&copy.unwrap()), 300);
}

#[test]
fn a_live_database_in_a_folder_mounted_read_only_will_do() {
    let place = Place::new();
    let (live, seen) = (place.path("live"), place.path("seen"));
    fs::create_dir(&live).unwrap();
    fs::create_dir(&seen).unwrap();
    let database = live.join("app.db");
    let connection = create(&database, "wal");
    add(&connection, 2000);
    connection.close().unwrap();
    if !mount(&seen, &["--bind"], Some(&live)) || !mount(&seen, &["-o", "remount,bind,ro"], None) {
        println!("skipped: cannot mount a folder read-only");
        return;
    }
    let writer = writer(&database, "invariant");
    wait_for(&companion(&database, ".ready"));
    let copies: Vec<_> = (0..5).map(|_| place.take(&seen.join("app.db"))).collect();
    stop(writer);
    unmount(&seen);
    for copy in copies {
        let copy = copy.unwrap();
        assert!(rows(&copy) > 2000);
        let copy = copy.connect().unwrap();
        assert_eq!(count(&copy, "debit"), count(&copy, "credit"));
    }
}

fn mount(at: &Path, arguments: &[&str], device: Option<&Path>) -> bool {
    let mut command = Command::new("mount");
    command.args(arguments).args(device).arg(at).stderr(Stdio::null());
    rustix::process::geteuid().is_root() && command.status().is_ok_and(|status| status.success())
}

fn unmount(at: &Path) {
    drop(Command::new("umount").arg(at).stderr(Stdio::null()).status());
}

#[test]
fn a_locked_database_is_given_up_at_the_deadline() {
    let place = Place::new();
    let database = place.path("live.db");
    create(&database, "delete").close().unwrap();
    let child = writer(&database, "exclusive");
    wait_for(&companion(&database, ".ready"));
    let options = Options { busy_deadline: Duration::from_millis(200), ..Options::default() };
    let error = take(&database, &place.scratch, &options, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, TakeError::Locked { .. }), "{error:?}");
    let finding = error.finding(&database);
    assert!(finding.cause.contains("locked") && finding.hint.is_some());
    stop(child);
    assert_eq!(rows(&place.take(&database).unwrap()), 0);
}

#[test]
fn damage_is_found_and_garbage_refused() {
    let place = Place::new();
    let database = place.path("app.db");
    let connection = create(&database, "delete");
    add(&connection, 3000);
    connection.close().unwrap();

    let damaged = place.path("damaged.db");
    fs::copy(&database, &damaged).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&damaged).unwrap();
    file.write_all_at(&[0xff; 4096], 4096 * 40).unwrap();
    let check = place.take(&damaged).unwrap().check().unwrap();
    assert!(!check.passed(), "{check:?}");

    let cut = place.path("cut.db");
    fs::write(&cut, fs::read(&database).unwrap().get(..50_000).unwrap()).unwrap();
    let error = place.take(&cut).unwrap_err();
    assert!(matches!(error, TakeError::Corrupt { .. }), "{error:?}");

    // Damage in the schema does not keep us from copying, so that the bytes are kept at least.
    let headless = place.path("headless.db");
    fs::copy(&database, &headless).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&headless).unwrap();
    file.write_all_at(&[0xff; 3000], 100).unwrap();
    assert!(!place.take(&headless).unwrap().check().unwrap().passed());

    let mut garbage = MAGIC.to_vec();
    let mut random = blake3::Hasher::new().update(b"seed 1").finalize_xof();
    garbage.resize(16 + 40_960, 0);
    random.fill(garbage.get_mut(16..).unwrap());
    let encrypted = place.path("encrypted.db");
    fs::write(&encrypted, &garbage).unwrap();
    let error = place.take(&encrypted).unwrap_err();
    assert!(matches!(error, TakeError::NotADatabase { .. }), "{error:?}");
    // The same with a possible page size, and with a header that asks for a log.
    for versions in [[1, 1], [2, 2]] {
        garbage.get_mut(16..20).unwrap().copy_from_slice(&[16, 0, versions[0], versions[1]]);
        fs::write(&encrypted, &garbage).unwrap();
        let error = place.take(&encrypted).unwrap_err();
        assert!(matches!(error, TakeError::NotADatabase { .. }), "{error:?}");
        assert_eq!(crate::error::Error::from(error).kind(), ErrorKind::Corrupt);
    }
    fs::write(&encrypted, MAGIC).unwrap();
    assert!(matches!(place.take(&encrypted).unwrap_err(), TakeError::NotADatabase { .. }));
    let missing = place.take(&place.path("none.db")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Missing);
}

#[test]
fn broken_references_and_unknown_collations_are_no_damage() {
    let place = Place::new();
    let database = place.path("app.db");
    let connection = create(&database, "wal");
    connection
        .execute_batch(
            "PRAGMA foreign_keys = OFF;
             CREATE TABLE cipher (id INTEGER PRIMARY KEY);
             CREATE TABLE attachment (id INTEGER PRIMARY KEY, cipher INTEGER REFERENCES cipher (id));
             INSERT INTO attachment VALUES (1, 5), (2, 6);",
        )
        .unwrap();
    let check = place.take(&database).unwrap().check().unwrap();
    assert!(check.passed());
    assert_eq!(
        check.foreign_keys,
        ["2 rows of table attachment without the row of table cipher that they refer to"]
    );
    // As if its program had brought a collation.
    connection
        .execute_batch(
            "CREATE TABLE named (name TEXT COLLATE nocase); CREATE INDEX by_name ON named (name);
             PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(sql, 'nocase', 'klingon') WHERE name = 'named';",
        )
        .unwrap();
    connection.close().unwrap();
    let check = place.take(&database).unwrap().check().unwrap();
    assert!(check.passed(), "{check:?}");
    assert!(check.unchecked.iter().any(|line| line.contains("klingon")), "{check:?}");
    assert_eq!(check.foreign_keys.len(), 1);
}

#[test]
fn a_full_disk_is_named() {
    let place = Place::new();
    let database = place.path("live.db");
    let server = create(&database, "wal");
    add(&server, 4000);
    let left = abandoned(&place, &database, "left", &["-wal"]);
    let small = place.path("small");
    fs::create_dir(&small).unwrap();
    if !mount(&small, &["-t", "tmpfs", "-o", "size=512k,mode=700"], Some(Path::new("small"))) {
        println!("skipped: cannot mount a small file system");
        return;
    }
    let scratch = Scratch::create(&small).unwrap();
    let mut errors = Vec::new();
    for source in [&database, &left] {
        errors.push(take(source, &scratch, &Options::default(), &mut |_, _| {}).unwrap_err());
    }
    // The same where there seemed to be room.
    let folder = scratch.folder().unwrap();
    fs::write(small.join("ballast"), vec![1; 400 << 10]).unwrap();
    let few = place.path("few.db");
    let connection = create(&few, "delete");
    add(&connection, 300);
    connection.close().unwrap();
    let mut job = Job {
        database: few.clone(),
        folder,
        patience: Patience::new(Duration::from_secs(1)),
        interrupt: Interrupt::default(),
        page_size: 4096,
        pages_done: &mut |_, _| fs::write(small.join("ballast"), vec![1; 500 << 10]).unwrap(),
    };
    fs::write(small.join("ballast"), b"").unwrap();
    errors.push(job.copy_pages(&Pinned::new(&few, false).unwrap()).unwrap_err());
    drop(job);
    drop(scratch);
    unmount(&small);
    for error in errors {
        assert!(matches!(error, TakeError::ScratchFull { .. }), "{error:?}");
        let finding = error.finding(&database);
        assert!(finding.cause.contains("small") && finding.hint.is_some(), "{finding:?}");
    }
}

#[test]
fn odd_names_work() {
    let place = Place::new();
    let names: [&[u8]; 6] = [
        b"a b?mode=rwc",
        b"50%41#x",
        b"file:x.db?immutable=1",
        b"\xff\xfe.db",
        "ä&=;\n".as_bytes(),
        b"'\"\\",
    ];
    for (number, name) in names.into_iter().enumerate() {
        let folder = place.path(format!("dir {number}?#%"));
        fs::create_dir(&folder).unwrap();
        let model = place.path(format!("model{number}"));
        let server = create(&model, "wal");
        add(&server, 7);
        let database = folder.join(OsStr::from_bytes(name));
        for suffix in ["", "-wal", "-shm"] {
            fs::copy(companion(&model, suffix), companion(&database, suffix)).unwrap();
        }
        let before = contents(&folder);
        assert_eq!(rows(&place.take(&database).unwrap()), 7);
        fs::remove_file(companion(&database, "-shm")).unwrap();
        assert_eq!(rows(&place.take(&database).unwrap()), 7);
        let mut after = contents(&folder);
        after.insert(companion(&database, "-shm"), *before.get(&companion(&database, "-shm")).unwrap());
        assert_eq!(after, before);
    }
    // Longer than SQLite's longest name: nobody can have it open, and reading works.
    let mut folder = place.folder.path().to_path_buf();
    for _ in 0..4 {
        folder.push("n".repeat(200));
        fs::create_dir(&folder).unwrap();
    }
    let model = place.path("model");
    let connection = create(&model, "delete");
    add(&connection, 7);
    fs::copy(&model, folder.join("x.db")).unwrap();
    assert_eq!(rows(&place.take(&folder.join("x.db")).unwrap()), 7);
    // A link: log and index are beside what it leads to.
    let server = create(&place.path("linked.db"), "wal");
    add(&server, 9);
    std::os::unix::fs::symlink(place.path("linked.db"), place.path("link.db")).unwrap();
    assert_eq!(rows(&place.take(&place.path("link.db")).unwrap()), 9);
}

#[test]
fn files_that_keep_changing_are_given_up() {
    let place = Place::new();
    let database = place.path("live.db");
    let server = create(&database, "wal");
    add(&server, 100);
    let left = abandoned(&place, &database, "left", &["-wal"]);
    let log = fs::OpenOptions::new().append(true).open(companion(&left, "-wal")).unwrap();
    let options = Options { busy_deadline: Duration::from_millis(50), ..Options::default() };
    let error = take(&left, &place.scratch, &options, &mut |_, _| (&log).write_all(b"more").unwrap());
    assert!(matches!(error, Err(TakeError::KeepsChanging { tries: 3.. })), "{error:?}");
}

#[test]
fn a_fingerprint_alters_with_each_commit_and_with_nothing_else() {
    let place = Place::new();
    let database = place.path("live.db");
    let server = create(&database, "wal");
    add(&server, 10);
    let mut seen = vec![fingerprint(&database).unwrap()];
    let reads = || {
        let reader = Connection::open(&database).unwrap();
        assert!(count(&reader, "debit") > 0);
        reader.close().unwrap();
        drop(place.take(&database).unwrap());
    };
    reads();
    assert_eq!(seen, [fingerprint(&database).unwrap()]);
    for round in 0..10 {
        if round == 5 {
            // The log starts over: from here on its size stays.
            server.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        }
        // The fingerprint of a copy tells from it whatever comes after, however soon.
        let taken = place.take(&database).unwrap().fingerprint();
        let (size, main) = (fs::metadata(&database).unwrap().len(), fs::read(&database).unwrap());
        add(&server, 1);
        let now = fingerprint(&database).unwrap();
        assert_ne!(taken, now);
        assert_eq!((size, main), (fs::metadata(&database).unwrap().len(), fs::read(&database).unwrap()));
        assert!(!seen.contains(&now));
        reads();
        assert_eq!(now, fingerprint(&database).unwrap());
        seen.push(now);
    }
    server.close().unwrap();
    // An empty log says as much as none.
    let closed = fingerprint(&database).unwrap();
    let server = Connection::open(&database).unwrap();
    assert_eq!(count(&server, "debit"), 20);
    assert!(companion(&database, "-wal").exists());
    assert_eq!(fingerprint(&database).unwrap(), closed);
    server.close().unwrap();
    assert_eq!(fingerprint(&database).unwrap(), closed);

    let database = place.path("journal.db");
    let server = create(&database, "delete");
    let before = place.take(&database).unwrap().fingerprint();
    assert_eq!(before, fingerprint(&database).unwrap());
    add(&server, 1);
    assert_ne!(before, fingerprint(&database).unwrap());
}

/// `cargo test -- --ignored --nocapture sqlite::tests::measure` says how long 280 MB take.
#[test]
#[ignore = "a measurement, not a test"]
fn measure() {
    let place = Place::new();
    let database = place.path("large.db");
    let server = create(&database, "wal");
    while fs::metadata(&database).unwrap().len() < 280_000_000 {
        add(&server, 50_000);
        server.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
    }
    for round in 0..3 {
        let start = Instant::now();
        let copy = place.take(&database).unwrap();
        let taken = start.elapsed();
        assert!(copy.check().unwrap().passed());
        let checked = start.elapsed().saturating_sub(taken);
        println!("round {round}: {} bytes, copy {taken:?}, check {checked:?}", copy.size());
    }
    server.close().unwrap();
    let start = Instant::now();
    let copy = place.take(&database).unwrap();
    println!("by reading twice: {} bytes, {:?}", copy.size(), start.elapsed());
}
