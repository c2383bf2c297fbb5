//! What `--delete` and a restore in place must not harm: what the restore needs itself, what was left out of the backup,
//! other disks, the logs of databases; and what is said where nothing can come of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use rusqlite::Connection;

use crate::site::{DEADLINE, Site, last, number};
use crate::strikes::{Strike, can_strike, struck};
use crate::support::{Outcome, SmallDisk, has_tool, is_root, run};

pub(super) const DELETE: [&str; 7] =
    ["restore", "latest", "--target", ".", "--overwrite", "if-changed", "--delete"];

/// Runs the program in a folder of the site.
pub(super) fn within(site: &Site, folder: &str, code: i32, arguments: &[&str]) -> Outcome {
    let mut command = site.command_at(folder, arguments);
    run(&mut command, DEADLINE).expect_code(code)
}

#[test]
fn the_repository_and_the_key_in_use_stay() {
    let site = Site::new();
    site.folder.write("w/docs/a", "a");
    within(&site, "w", 0, &["backup", "docs"]);
    site.folder.write("w/docs/backup/old", "goes");
    for (name, to) in [("repo", "w/docs/backup/repo"), ("full.key", "w/docs/full.key")] {
        fs::rename(site.join(name), site.join(to)).unwrap();
        symlink(to, site.join(name)).unwrap();
    }
    for dry in [true, false] {
        let mut arguments = DELETE.to_vec();
        arguments.extend(dry.then_some("--dry-run"));
        let said = within(&site, "w", 0, &arguments);
        for what in ["the repository", "the key file"] {
            assert_eq!(said.err().matches(what).count(), 1, "{}", said.err());
        }
        assert_eq!(site.join("w/docs/backup/old").exists(), dry);
    }
    site.run(0, ["snapshots"]);
    let refused = within(&site, "w/docs/backup/repo", 1, &DELETE);
    assert!(refused.err().contains("lies in the repository"), "{}", refused.err());
    site.assert_sound();
}

#[test]
fn what_a_backup_was_told_to_leave_out_stays() {
    let site = Site::new();
    let write = |name: &str| site.folder.write(format!("ex/{name}"), "content");
    let left_out = [
        "film.mkv",
        "sub/film.mkv",
        "sub/Private.KEY",
        "anchored/file",
        "cache/data",
        "marked/file",
        "big",
        "new/film.mkv",
        "new/cache/data",
    ];
    let kept = ["text", "sub/text", "marked/.nobackup"];
    left_out.iter().take(6).chain(&kept).for_each(|name| drop(write(name)));
    site.folder.write("ex/cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    site.folder.write("ex/big", vec![1; 5000]);
    let anchored = site.join("ex/anchored");
    let arguments = [
        "backup",
        ".",
        "--exclude",
        "*.mkv",
        "--iexclude",
        "*.key",
        "--exclude",
        anchored.to_str().unwrap(),
        "--exclude-caches",
        "--exclude-if-present",
        ".nobackup",
        "--exclude-larger-than",
        "4000",
    ];
    within(&site, "ex", 0, &arguments);
    for name in ["new/film.mkv", "new/stray", "new/cache/data", "sub/stray", "stray"] {
        write(name);
    }
    site.folder.write("ex/new/cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    let dry = within(&site, "ex", 0, &[&DELETE[..], &["--dry-run"]].concat());
    assert!(dry.out().contains("would delete 3 files, 0 folders"), "{}", dry.out());
    let said = within(&site, "ex", 0, &DELETE);
    assert!(said.out().contains("deleted 3 files, 0 folders"), "{}", said.out());
    for name in left_out.iter().chain(&kept) {
        assert!(site.join("ex").join(name).exists(), "{name}: {}", said.err());
    }
    assert_eq!(said.err().matches("told to leave it out").count(), 1, "{}", said.err());
}

#[test]
fn a_backup_that_was_not_whole_deletes_nothing() {
    let what = "a backup of what may not be read";
    if !is_root(what) || !has_tool("setpriv", what) {
        return;
    }
    let site = Site::new();
    site.folder.write("data/closed/file", "secret");
    site.folder.write("data/open", "open");
    let folder = site.folder.path().to_owned();
    run(Command::new("chown").args(["-R", "65534:65534"]).arg(&folder), DEADLINE).expect_code(0);
    fs::set_permissions(site.join("data/closed"), fs::Permissions::from_mode(0o000)).unwrap();
    run(&mut as_nobody(&site, &["backup", "data"]), DEADLINE).expect_code(3);
    let arguments = ["restore", "latest", "--target", ".", "--overwrite", "always", "--delete"];
    let said = site.run(3, arguments);
    assert!(said.err().contains("nothing is deleted"), "{}", said.err());
    assert!(site.join("data/closed/file").exists());
}

pub(super) fn as_nobody(site: &Site, arguments: &[&str]) -> Command {
    let inner = site.command(arguments);
    let mut command = Command::new("setpriv");
    command.env_clear().current_dir(site.folder.path());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(inner.get_program());
    command.args(inner.get_args());
    command
}

#[test]
fn other_disks_are_not_cleaned() {
    let site = Site::new();
    site.folder.write("host/file", "file");
    fs::create_dir_all(site.join("host/mnt/disk")).unwrap();
    let disk = site.join("host/mnt/disk");
    let Some(mounted) = SmallDisk::mount(&disk, 1 << 20, "a disk in a restored folder") else { return };
    fs::write(disk.join("photos"), "p").unwrap();
    within(&site, "host", 0, &["backup", ".", "-x"]);
    site.folder.write("host/stray", "goes");
    let said = within(&site, "host", 0, &DELETE);
    assert!(disk.join("photos").exists() && !site.join("host/stray").exists());
    assert!(said.err().contains("mnt/disk: is not deleted: another file system"), "{}", said.err());
    // A disk whose contents the snapshot holds, and one that is not mounted any more.
    within(&site, "host", 0, &["backup", "."]);
    fs::write(disk.join("later"), "p").unwrap();
    within(&site, "host", 0, &DELETE);
    assert!(disk.join("later").exists());
    within(&site, "host", 0, &["backup", ".", "-x"]);
    drop(mounted);
    fs::write(disk.join("beneath"), "p").unwrap();
    let said = within(&site, "host", 0, &DELETE);
    assert!(disk.join("beneath").exists() && said.err().contains("did not look into"), "{}", said.err());
}

/// A database in the mode of a log, of this many rows.
pub(super) fn database(path: &Path, rows: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.execute_batch("CREATE TABLE t (a)").unwrap();
    for row in 0..rows {
        connection.execute("INSERT INTO t VALUES (?1)", [row]).unwrap();
    }
}

/// Leaves a log beside a database in which all of its rows are deleted.
pub(super) fn leave_log(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    connection.execute("DELETE FROM t", []).unwrap();
    let suffixed = |suffix: &str| format!("{}{suffix}", path.display());
    fs::copy(suffixed("-wal"), suffixed("-kept")).unwrap();
    drop(connection);
}

#[test]
fn a_log_is_not_played_into_a_database_restored_over_it() {
    let site = Site::new();
    let path = site.join("data/db");
    database(&path, 7);
    site.backup(["data"]);
    let original = fs::read(&path).unwrap();
    for always in [true, false] {
        leave_log(&path);
        fs::write(&path, &original).unwrap();
        fs::rename(site.join("data/db-kept"), site.join("data/db-wal")).unwrap();
        if always {
            fs::write(&path, "broken").unwrap();
        }
        let arguments =
            ["restore", "latest", "--target", ".", "--overwrite", "always", "--delete", "--verify"];
        let dry = site.run(0, [&arguments[..], &["--dry-run"]].concat());
        assert!(dry.err().contains("would be kept as db-wal.before-restore-"), "{}", dry.err());
        assert!(site.join("data/db-wal").exists());
        let said = site.run(0, arguments);
        assert!(said.err().contains("is kept as db-wal.before-restore-"), "{}", said.err());
        assert!(!site.join("data/db-wal").exists());
        let aside = |name: &str| name.starts_with("db-wal.before-restore-");
        let names = fs::read_dir(site.join("data")).unwrap();
        assert!(names.flatten().any(|entry| aside(&entry.file_name().to_string_lossy())));
        let connection = Connection::open(&path).unwrap();
        let rows = connection.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(rows, 7);
        drop(connection);
        fs::write(&path, &original).unwrap();
    }
}

#[test]
fn a_log_is_not_played_into_a_database_that_was_stored_as_a_file() {
    let site = Site::new();
    let path = site.join("data/db");
    database(&path, 7);
    site.folder.write("data/notes", "text");
    site.backup(["data", "--no-sqlite"]);
    leave_log(&path);
    fs::write(&path, "broken").unwrap();
    fs::rename(site.join("data/db-kept"), site.join("data/db-wal")).unwrap();
    site.folder.write("data/notes", "changed");
    site.folder.write("data/notes-journal", "of a person");
    let arguments = ["restore", "latest", "--target", ".", "--overwrite", "always", "--delete"];
    let dry = site.run(0, [&arguments[..], &["--dry-run"]].concat());
    assert!(dry.err().contains("would be kept as db-wal.before-restore-"), "{}", dry.err());
    let said = site.run(0, arguments);
    assert!(said.err().contains("is kept as db-wal.before-restore-"), "{}", said.err());
    assert!(!site.join("data/db-wal").exists() && !site.join("data/notes-journal").exists());
    let rows = || {
        let connection = Connection::open(&path).unwrap();
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(rows(), 7);
    // What was put aside is not removed later either.
    site.run(0, arguments);
    let aside = |name: &str| name.starts_with("db-wal.before-restore-");
    let names = fs::read_dir(site.join("data")).unwrap();
    assert!(names.flatten().any(|entry| aside(&entry.file_name().to_string_lossy())));
}

#[test]
fn a_restore_killed_while_it_writes_leaves_the_old_database_its_log() {
    if !can_strike("a restore killed while it writes a database") {
        return;
    }
    let site = Site::new();
    let path = site.join("data/db");
    database(&path, 7);
    site.backup(["data"]);
    leave_log(&path);
    fs::rename(site.join("data/db-kept"), site.join("data/db-wal")).unwrap();
    fs::write(&path, "changed").unwrap();
    let restore = ["--no-cache", "restore", "latest", "--target", ".", "--overwrite", "always"];
    let strike = Strike { signal: "KILL", call: "pwrite64", when: 1 };
    let killed = run(&mut struck(&site, &site.command(restore), &[], &[strike]), DEADLINE);
    assert_ne!(killed.code, Some(0), "{}", killed.err());
    let names = || fs::read_dir(site.join("data")).unwrap().flatten().map(|entry| entry.file_name());
    let leftover = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(".strongroom-");
    assert!(names().any(|name| leftover(&name)), "it was at work");
    assert!(site.join("data/db-wal").exists() && fs::read(&path).unwrap() == b"changed");
    site.run(0, restore);
    assert!(!site.join("data/db-wal").exists() && !names().any(|name| leftover(&name)));
}

#[test]
fn a_log_that_the_snapshot_holds_and_that_is_not_selected_is_put_aside() {
    let site = Site::new();
    let path = site.join("data/db");
    database(&path, 7);
    leave_log(&path);
    fs::rename(site.join("data/db-kept"), site.join("data/db-wal")).unwrap();
    let log = fs::read(site.join("data/db-wal")).unwrap();
    site.backup(["data", "--no-sqlite"]);
    assert!(site.run(0, ["ls", "latest"]).out().contains("db-wal"));
    fs::write(&path, "broken").unwrap();
    fs::write(site.join("data/db-wal"), &log).unwrap();
    let arguments = ["restore", "latest", "--target", ".", "--overwrite", "always"];
    site.run(0, [&arguments[..], &["--exclude", "*-wal"]].concat());
    assert!(!site.join("data/db-wal").exists());
    // Both are restored together where both are selected.
    let said = site.run(0, arguments);
    assert!(site.join("data/db-wal").exists() && !said.err().contains("kept as"), "{}", said.err());
}

#[test]
fn a_database_that_somebody_has_open_is_not_replaced() {
    let site = Site::new();
    let path = site.join("data/db");
    database(&path, 7);
    site.folder.write("data/file", "as it was");
    site.backup(["data"]);
    site.folder.write("data/file", "changed");
    let open = Connection::open(&path).unwrap();
    open.execute("INSERT INTO t VALUES (8)", []).unwrap();
    let busy = site.run(11, ["restore", "latest", "--target", ".", "--overwrite", "always"]);
    assert!(busy.err().contains("is open in process"), "{}", busy.err());
    assert_eq!(fs::read(site.join("data/file")).unwrap(), b"changed");
    // What stays keeps its log, whatever is deleted.
    let never = ["restore", "latest", "--target", ".", "--overwrite", "never", "--delete"];
    let said = site.run(0, never);
    assert!(
        site.join("data/db-wal").exists() && said.out().contains("kept, not compared: 2"),
        "{}",
        said.out()
    );
    drop(open);
}

#[test]
fn where_nothing_matches_that_is_a_problem() {
    let site = Site::new();
    site.folder.write("data/file", "content");
    site.backup(["data"]);
    let host = site.join("data/file");
    for pattern in ["*.none", host.to_str().unwrap()] {
        let said = site.run(3, ["restore", "latest", "--target", "to", "-i", pattern]);
        assert!(said.err().contains("nothing in the snapshot matches"), "{}", said.err());
    }
    fs::create_dir(site.join("empty")).unwrap();
    let mut command = site.command_at("empty", ["backup", "."]);
    run(&mut command, DEADLINE).expect_code(0);
    site.run(0, ["restore", "latest", "--target", "none"]);
}

#[test]
fn a_target_that_may_not_be_written_is_told_once() {
    let site = Site::new();
    symlink("nowhere", site.join("dangling")).unwrap();
    site.folder.write("data/file", "content");
    site.folder.write("data/sub/closed/one", "1");
    site.folder.write("data/sub/closed/two", "2");
    site.backup(["data"]);
    for dry in [&["-n"][..], &[]] {
        let said = site.run(1, [&["restore", "latest", "--target", "dangling"], dry].concat());
        assert!(said.err().contains("leads nowhere"), "{}", said.err());
    }
    let what = "a target that may not be written";
    if !is_root(what) || !has_tool("setpriv", what) {
        return;
    }
    run(Command::new("chown").args(["-R", "65534:65534"]).arg(site.folder.path()), DEADLINE).expect_code(0);
    fs::create_dir(site.join("to")).unwrap();
    let to = ["restore", "latest", "--target", "to", "--overwrite", "always", "--no-owner"];
    for dry in [&["-n"][..], &[]] {
        let said = run(&mut as_nobody(&site, &[&to[..], dry].concat()), DEADLINE).expect_code(1);
        assert!(said.err().contains("may make nothing in to"), "{}", said.err());
        assert_eq!(said.err().lines().count(), 2, "one error and its hint: {}", said.err());
    }
    // A folder in it, with all that lies in that.
    fs::create_dir_all(site.join("to/data/sub")).unwrap();
    let chown = ["65534:65534", "to/data"];
    run(Command::new("chown").current_dir(site.folder.path()).args(chown), DEADLINE).expect_code(0);
    let mut json = vec!["--json"];
    json.extend(to);
    let said = run(&mut as_nobody(&site, &json), DEADLINE).expect_code(3);
    let problems = said.out().lines().filter(|line| line.contains("\"severity\":\"problem\"")).count();
    assert!(said.out().contains("nor what lies in it") && problems == 1, "{}", said.out());
    assert_eq!(number(&last(&crate::site::objects(&said)), "files_restored"), 1);
}
