//! A real data folder of Vaultwarden with a hot write-ahead log: untouched by a backup, and complete after a
//! restore.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::services::{
    ReadOnly, Site, assert_sound, copy_folder, names, number, open, rows, sample_vault, state,
};

const WHAT: &str = "the backup of a real Vaultwarden folder";

/// A site with a copy of the sample in `data`, times preserved, writable as a server's would be.
fn with_sample(what: &str) -> Option<(Site, PathBuf)> {
    let sample = sample_vault(what)?;
    let site = Site::new();
    let data = site.join("data");
    copy_folder(&sample, &data);
    make_writable(&data);
    Some((site, data))
}

fn make_writable(path: &Path) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let mode = metadata.permissions().mode();
    fs::set_permissions(path, Permissions::from_mode(mode | 0o200)).unwrap();
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            make_writable(&entry.unwrap().path());
        }
    }
}

/// What the sample must be after a restore.
fn assert_restored(site: &Site, data: &Path) {
    let restored = site.restore("latest");
    assert_eq!(names(&restored), ["attachments", "config.json", "db.sqlite3", "sends"]);
    for part in ["attachments", "sends", "config.json"] {
        assert_eq!(state(&restored.join(part)), state(&data.join(part)), "{part}");
    }
    let database = open(&restored.join("db.sqlite3"));
    assert_sound(&database);
    // The log deletes one of the two Sends.
    assert_eq!(total(&database), 47);
    assert_eq!(number(&database, "SELECT count(*) FROM sends"), 1);
    // And the server can go on from there.
    let mode: String = database.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    database.execute("UPDATE users SET updated_at = updated_at", []).unwrap();
}

fn total(database: &Connection) -> i64 {
    rows(database).iter().map(|(_, count)| count).sum()
}

#[test]
fn a_real_folder_is_untouched_and_comes_back_whole() {
    let Some((site, data)) = with_sample(WHAT) else { return };
    // The test is worth something only if the log matters.
    let alone = site.folder.write("alone.db", fs::read(data.join("db.sqlite3")).unwrap());
    let alone = open(&alone);
    assert_eq!((total(&alone), number(&alone, "SELECT count(*) FROM sends")), (48, 2));

    let before = state(&data);
    for night in 0..2 {
        let backup = site.backup(["--vaultwarden", "data"], 0);
        assert_eq!(state(&data), before, "night {night}");
        assert!(backup.whole());
        assert_eq!(backup.service()["files_proved"], 2);
        assert_eq!(backup.database()["outcome"], "checked");
        let tables = backup.service()["tables"].as_object().unwrap();
        assert_eq!(tables.values().map(|rows| rows.as_u64().unwrap()).sum::<u64>(), 47);
        assert_eq!(tables["sends"], 1);
        if night == 1 {
            assert_eq!(backup.number("data_added"), 0, "{}", backup.summary);
        }
    }
    assert_restored(&site, &data);
    site.run(["check", "--read-data"], 0);
}

#[test]
fn without_the_index_of_its_log_too() {
    let Some((site, data)) = with_sample(WHAT) else { return };
    fs::remove_file(data.join("db.sqlite3-shm")).unwrap();
    let before = state(&data);
    let backup = site.backup(["--vaultwarden", "data"], 0);
    assert!(backup.whole());
    assert_eq!(state(&data), before);
    assert_restored(&site, &data);
}

#[test]
fn where_nobody_can_write() {
    let what = "a Vaultwarden on a read-only file system";
    for with_index in [true, false] {
        let Some((site, data)) = with_sample(what) else { return };
        if !with_index {
            fs::remove_file(data.join("db.sqlite3-shm")).unwrap();
        }
        let before = state(&data);
        let Some(mounted) = ReadOnly::mount(&data, &site.join("seen"), what) else { return };
        assert!(fs::write(site.join("seen/new"), "").is_err(), "it is read-only");
        let backup = site.backup(["--vaultwarden", "seen"], 0);
        assert!(backup.whole());
        drop(mounted);
        assert_eq!(state(&data), before);
        assert_restored(&site, &data);
    }
}

#[test]
fn nothing_is_touched_where_something_is_missing_either() {
    for with_index in [true, false] {
        let Some((site, data)) = with_sample(WHAT) else { return };
        fs::remove_dir_all(data.join("attachments")).unwrap();
        fs::create_dir(data.join("attachments")).unwrap();
        if !with_index {
            fs::remove_file(data.join("db.sqlite3-shm")).unwrap();
        }
        let before = state(&data);
        let backup = site.backup(["--vaultwarden", "data"], 3);
        // The database is asked again about the attachment, which must leave no trace either.
        assert_eq!(state(&data), before);
        assert!(!backup.whole());
        assert_eq!(backup.service()["damaged"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn as_a_plain_path_the_database_is_taken_as_well() {
    let Some((site, data)) = with_sample(WHAT) else { return };
    let before = state(&data);
    site.backup(["data"], 0);
    assert_eq!(state(&data), before);
    let restored = site.restore("latest:/data");
    assert_eq!(names(&restored), ["attachments", "config.json", "db.sqlite3", "sends"]);
    let database = open(&restored.join("db.sqlite3"));
    assert_sound(&database);
    assert_eq!(total(&database), 47);
}
