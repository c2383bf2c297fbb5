//! Databases that a backup took as files, and their logs: a restore brings back the state that the snapshot holds, or leaves
//! the one that is there, and never a mixture.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rusqlite::Connection;

use super::spared::{DELETE, as_nobody, database, leave_log, within};
use crate::site::{DEADLINE, Site};
use crate::support::{has_tool, is_root, run};

const ALWAYS: [&str; 6] = ["restore", "latest", "--target", ".", "--overwrite", "always"];
const NEVER: [&str; 6] = ["restore", "latest", "--target", ".", "--overwrite", "never"];

/// The rows of a database that is whole.
#[track_caller]
fn rows(path: &Path) -> i64 {
    let connection = Connection::open(path).unwrap();
    let sound = connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(sound.unwrap(), "ok");
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

/// A database of seven rows at rest, as it is, and a log in which all of them are deleted.
fn at_rest(path: &Path) -> (Vec<u8>, Vec<u8>) {
    database(path, 7);
    let original = fs::read(path).unwrap();
    leave_log(path);
    fs::write(path, &original).unwrap();
    let kept = format!("{}-kept", path.display());
    let log = fs::read(&kept).unwrap();
    fs::remove_file(kept).unwrap();
    (original, log)
}

fn is_put_aside(folder: &Path, log: &str) -> bool {
    let begins = format!("{log}.before-restore-");
    let mut names = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().starts_with(&begins))
}

fn add_rows(path: &Path, count: u32) {
    let mut connection = Connection::open(path).unwrap();
    let transaction = connection.transaction().unwrap();
    for row in 0..count {
        transaction.execute("INSERT INTO t VALUES (?1)", [row]).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn an_old_log_is_not_put_beside_a_newer_database_that_stays() {
    let site = Site::new();
    let path = site.join("data/db");
    let (_, log) = at_rest(&path);
    fs::write(site.join("data/db-wal"), &log).unwrap();
    site.folder.write("data/notes", "text");
    site.folder.write("data/notes-journal", "of a person");
    site.backup(["data", "--no-sqlite"]);
    fs::remove_file(site.join("data/notes-journal")).unwrap();
    add_rows(&path, 2000);
    assert!(!site.join("data/db-wal").exists());
    let newer = ["restore", "latest", "--target", ".", "--overwrite", "if-newer"];
    let alone = [&ALWAYS[..], &["-i", "db-wal"]].concat();
    let other = [&ALWAYS[..], &["--exclude", "/data/db"]].concat();
    let one = ["restore", "latest:data/db-wal", "--target", "data", "--overwrite", "never"];
    let one_dry = [&one[..], &["--dry-run"]].concat();
    for arguments in [&NEVER[..], &newer, &alone, &other, &one, &one_dry] {
        let said = site.run(3, arguments);
        assert!(said.err().contains("is the log of"), "{arguments:?}: {}", said.err());
        assert!(!site.join("data/db-wal").exists(), "{arguments:?}");
        assert_eq!(rows(&path), 2000);
    }
    assert!(site.join("data/notes-journal").exists());
    // Both together are what was stored, and a log beside nothing harms nothing.
    site.run(0, ALWAYS);
    assert_eq!(rows(&path), 0);
    site.run(0, ["restore", "latest", "--target", "fresh", "-i", "db-wal"]);
    assert!(site.join("fresh/data/db-wal").exists());
}

#[test]
fn a_log_whose_database_cannot_be_read_stays_out() {
    let site = Site::new();
    let path = site.join("data/db");
    let (_, log) = at_rest(&path);
    site.backup(["data", "--no-sqlite"]);
    let packs = |site: &Site| {
        let packs = site.objects().into_keys().filter(|path| path.to_string_lossy().contains("packs/"));
        packs.collect::<Vec<_>>()
    };
    let first = packs(&site);
    fs::write(site.join("data/db-wal"), &log).unwrap();
    site.backup(["data", "--no-sqlite"]);
    for pack in &first {
        fs::remove_file(site.join("repo").join(pack)).unwrap();
    }
    add_rows(&path, 2000);
    let said = site.run(3, ALWAYS);
    assert!(said.err().contains("is the log of"), "{}", said.err());
    assert!(!site.join("data/db-wal").exists());
    assert_eq!(rows(&path), 2000);
}

#[test]
fn a_newer_log_beside_a_database_that_is_right_is_put_aside() {
    let site = Site::new();
    let path = site.join("data/db");
    let (_, log) = at_rest(&path);
    site.backup(["data", "--no-sqlite"]);
    let if_changed = ["restore", "latest", "--target", ".", "--overwrite", "if-changed"];
    let cases: [&[&str]; 4] = [&["--verify"], &["--delete", "--verify"], &["--delete"], &[]];
    for (number, more) in cases.into_iter().enumerate() {
        fs::write(site.join("data/db-wal"), &log).unwrap();
        let overwrite = if number < 2 { &ALWAYS[..] } else { &if_changed };
        let said = site.run(0, [overwrite, more].concat());
        assert!(said.err().contains("is kept as db-wal.before-restore-"), "{more:?}: {}", said.err());
        assert!(!site.join("data/db-wal").exists() && is_put_aside(&site.join("data"), "db-wal"));
        assert_eq!(rows(&path), 7, "{more:?}");
    }
    // What is not to be replaced keeps its log.
    fs::write(site.join("data/db-wal"), &log).unwrap();
    site.run(0, NEVER);
    assert!(site.join("data/db-wal").exists());
}

#[test]
fn the_log_of_a_second_name_is_put_aside() {
    let site = Site::new();
    let path = site.join("data/db");
    let (original, log) = at_rest(&path);
    let second = site.join("data/db2");
    fs::hard_link(&path, &second).unwrap();
    site.backup(["data", "--no-sqlite"]);
    fs::remove_file(&second).unwrap();
    fs::write(&second, &original).unwrap();
    fs::write(site.join("data/db2-wal"), &log).unwrap();
    let dry = site.run(0, [&ALWAYS[..], &["--dry-run"]].concat());
    assert!(dry.err().contains("would be kept as db2-wal.before-restore-"), "{}", dry.err());
    site.run(0, ALWAYS);
    assert!(!site.join("data/db2-wal").exists() && is_put_aside(&site.join("data"), "db2-wal"));
    assert_eq!(rows(&second), 7);
}

#[test]
fn a_log_that_may_not_be_read_is_put_aside() {
    let what = "a log that may not be read";
    if !is_root(what) || !has_tool("setpriv", what) {
        return;
    }
    let site = Site::new();
    let path = site.join("data/db");
    let (_, log) = at_rest(&path);
    site.backup(["data", "--no-sqlite"]);
    fs::write(&path, "broken").unwrap();
    let folder = site.folder.path().to_owned();
    run(Command::new("chown").args(["-R", "65534:65534"]).arg(&folder), DEADLINE).expect_code(0);
    fs::write(site.join("data/db-wal"), &log).unwrap();
    fs::set_permissions(site.join("data/db-wal"), fs::Permissions::from_mode(0o600)).unwrap();
    let said = run(&mut as_nobody(&site, &[&ALWAYS[..], &["--no-owner"]].concat()), DEADLINE).expect_code(0);
    assert!(
        !site.join("data/db-wal").exists() && is_put_aside(&site.join("data"), "db-wal"),
        "{}",
        said.err()
    );
    assert_eq!(rows(&path), 7);
}

#[test]
fn what_is_only_called_like_a_log_is_deleted() {
    let site = Site::new();
    site.folder.write("data/trip/photo", "p");
    site.folder.write("data/notes", "text");
    database(&site.join("data/db"), 7);
    site.backup(["data", "--no-sqlite"]);
    site.folder.write("data/trip-journal/page", "1");
    site.folder.write("data/notes-shm", "s");
    // As a program has it that has the database open and wrote nothing yet.
    site.folder.write("data/db-wal", "");
    let said = within(&site, ".", 0, &DELETE);
    assert!(
        !site.join("data/trip-journal").exists() && !site.join("data/notes-shm").exists(),
        "{}",
        said.err()
    );
    assert!(
        site.join("data/db-wal").exists() && said.err().contains("belongs to a database"),
        "{}",
        said.err()
    );
}

#[test]
fn a_folder_in_the_place_of_a_file_goes_if_the_patterns_take_all_in_it() {
    let site = Site::new();
    site.folder.write("data/file", "content");
    site.backup(["data"]);
    fs::remove_file(site.join("data/file")).unwrap();
    site.folder.write("data/file/film.mkv", "film");
    let spared = site.run(3, [&ALWAYS[..], &["--delete", "--exclude", "*.mkv"]].concat());
    assert!(spared.err().contains("the patterns leave out something in it"), "{}", spared.err());
    assert!(site.join("data/file/film.mkv").exists());
    site.run(0, [&ALWAYS[..], &["--delete", "--include", "/data"]].concat());
    assert_eq!(fs::read(site.join("data/file")).unwrap(), b"content");
}

#[test]
fn a_key_in_use_that_is_as_it_was_is_not_told() {
    let site = Site::new();
    fs::create_dir(site.join("keys")).unwrap();
    fs::copy(site.join("full.key"), site.join("keys/key")).unwrap();
    site.backup(["keys"]);
    site.folder.write("keys/key", "another");
    site.backup(["keys"]);
    fs::rename(site.join("full.key"), site.join("keys/key")).unwrap();
    std::os::unix::fs::symlink("keys/key", site.join("full.key")).unwrap();
    for overwrite in ["if-changed", "always"] {
        let said = site.run(0, ["restore", "latest~1", "--target", ".", "--overwrite", overwrite]);
        assert!(!said.err().contains("in use"), "{}", said.err());
    }
    let said = site.run(0, ALWAYS);
    assert!(said.err().contains("it is the key file, which is in use"), "{}", said.err());
}
