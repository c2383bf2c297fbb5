//! What is refused, and what fails: nothing is changed then.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use strongroom::service::vaultwarden::generator::{Options, Server, generate};

use super::{RESTORE, contents, restored, wrecked};
use crate::services::{Site, names, open};
use crate::support::SmallDisk;

/// Asserts that a folder is as it was, and that nothing lies beside it.
#[track_caller]
pub(super) fn assert_untouched(site: &Site, data: &Path, before: &super::Contents) {
    assert_eq!(&contents(data), before);
    let left = |name: &String| name.contains(".before-restore-") || name.contains("strongroom-restoring");
    let found: Vec<_> = names(site.folder.path()).into_iter().chain(names(data)).filter(left).collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_running_server_is_not_robbed_of_its_database() {
    let site = Site::new();
    let data = site.join("data");
    generate(&data, &Options::small()).unwrap();
    site.backup(["--vaultwarden", "data"], 0);
    let mut server = Server::open(&data, 40).unwrap();
    server.act().unwrap();
    let before = contents(&data);
    let outcome = site.run(RESTORE, 11);
    assert!(outcome.err().contains("docker compose stop vaultwarden"), "{}", outcome.err());
    assert!(outcome.err().contains(&format!("process {}", std::process::id())), "{}", outcome.err());
    let planned = site.run([&RESTORE[..], &["--dry-run"]].concat(), 3);
    assert!(planned.err().contains("stop the server"), "{}", planned.err());
    assert_untouched(&site, &data, &before);
    server.act().unwrap();
    drop(server);
    // One without a log holds no lock while it rests.
    let resting = open(&data.join("db.sqlite3"));
    resting.pragma_update(None, "journal_mode", "delete").unwrap();
    let before = contents(&data);
    site.run(RESTORE, 11);
    assert_untouched(&site, &data, &before);
    drop(resting);
    restored(&site, &[], 0);
}

#[test]
fn what_is_no_vaultwarden_is_refused() {
    let (site, data) = wrecked();
    let before = contents(&data);
    site.folder.write("home-of-somebody/letters/one", "dear");
    let refused = |target: &str, snapshot: &str, words: &str| {
        let outcome = site.run(["restore", "--vaultwarden", snapshot, "--target", target], 1);
        assert!(outcome.err().contains(words), "{words}: {}", outcome.err());
        outcome.err()
    };
    refused("home-of-somebody", "latest", "not a data folder of Vaultwarden");
    refused("home-of-somebody/letters/one", "latest", "is not a folder");
    refused("/", "latest", "not a data folder of Vaultwarden");
    refused("nowhere/data", "latest", "make the folder above it first");
    let vault = site.newest()["short_id"].as_str().unwrap_or("latest").to_owned();
    site.backup(["home-of-somebody"], 0);
    let said = refused("data", "latest", "holds no Vaultwarden");
    assert!(vault == "latest" || said.contains(&vault), "{said}");
    assert_untouched(&site, &data, &before);
    assert_eq!(fs::read(site.join("home-of-somebody/letters/one")).unwrap(), b"dear");
    // A repository in what is replaced would be gone.
    fs::write(site.join("repository/db.sqlite3"), "").unwrap();
    refused("repository", "latest~1", "which is to be replaced");
}

#[test]
fn a_vault_backed_up_as_plain_files_is_named_by_its_folder() {
    let (site, data) = wrecked();
    fs::remove_dir_all(&data).unwrap();
    generate(&data, &Options::small()).unwrap();
    site.backup(["data"], 0);
    let said = site.run(RESTORE, 1).err();
    assert!(said.contains(":/data"), "{said}");
    let before = contents(&data);
    super::wreck(&data);
    let target = ["--target", "data"];
    let outcome = site.run([&["restore", "--vaultwarden", "latest:/data"][..], &target].concat(), 0);
    assert!(outcome.err().contains("nothing to compare it with"), "{}", outcome.err());
    assert_eq!(contents(&data).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert_eq!(
        site.run(["--json", "restore", "--no-keep-previous", "latest", "--target", "x"], 2).code,
        Some(2)
    );
}

#[test]
fn a_damaged_repository_changes_nothing() {
    let (site, data) = wrecked();
    let before = contents(&data);
    damage_an_attachment(&site);
    let outcome = site.run(RESTORE, 1);
    assert!(outcome.err().contains("--accept-problems"), "{}", outcome.err());
    assert!(outcome.err().contains("is as it was"), "{}", outcome.err());
    assert_untouched(&site, &data, &before);
    let done = restored(&site, &["--accept-problems"], 3);
    assert!(done["problems"].as_u64().unwrap() > 0);
    let previous = done["previous"].as_str().unwrap();
    assert_eq!(contents(Path::new(previous)), before);
}

/// The packs, the largest first.
fn packs(site: &Site) -> Vec<PathBuf> {
    let mut packs: Vec<_> = names(&site.join("repository/packs"))
        .iter()
        .map(|folder| site.join("repository/packs").join(folder))
        .flat_map(|folder| names(&folder).into_iter().map(move |name| folder.join(name)))
        .collect();
    packs.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    packs
}

/// Turns some bytes of a pack, from so many eighths of it on; again, and they are as they were.
fn turn(path: &Path, eighths: usize) {
    let mut bytes = fs::read(path).unwrap();
    let from = bytes.len() / 8 * eighths;
    bytes[from..from + 64].iter_mut().for_each(|byte| *byte ^= 1);
    let mut permissions = fs::metadata(path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    fs::set_permissions(path, permissions).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Turns some bytes in the middle of the largest pack.
pub(super) fn damage_largest_pack(site: &Site) {
    turn(&packs(site)[0], 4);
}

/// Turns bytes of an attachment, and of nothing else: what lies where in the packs is another every time.
fn damage_an_attachment(site: &Site) {
    for pack in packs(site) {
        for eighths in 1..8 {
            turn(&pack, eighths);
            let said = site.run(["check", "--read-data"], 1).err();
            let hurt: Vec<&str> = said.lines().filter(|line| line.starts_with("    ")).collect();
            if !hurt.is_empty() && hurt.iter().all(|line| line.contains("attachments/")) {
                return;
            }
            turn(&pack, eighths);
        }
    }
    panic!("no place of any pack hurts an attachment alone");
}

#[test]
fn a_full_disk_changes_nothing() {
    let site = Site::new();
    let disk = site.join("disk");
    fs::create_dir(&disk).unwrap();
    let Some(_disk) = SmallDisk::mount(&disk, 16 << 20, "a restore onto a full disk") else { return };
    let data = disk.join("data");
    generate(&data, &Options::small()).unwrap();
    // Each takes a page of the disk, which their sizes do not tell.
    for number in 0..300 {
        fs::create_dir_all(data.join("attachments/tiny")).unwrap();
        fs::write(data.join(format!("attachments/tiny/{number}")), "x").unwrap();
    }
    let stored = site.backup(["--vaultwarden", "disk/data"], 0).number("total_bytes_processed");
    let before = contents(&data);
    let target = ["restore", "--vaultwarden", "latest", "--target", "disk/data"];
    for (left, words) in [(stored / 2, "are needed"), (stored + (200 << 10), "No space left")] {
        fill(&disk, left);
        let outcome = site.run(target, 1);
        assert!(
            outcome.err().to_lowercase().contains(&words.to_lowercase())
                || outcome.err().contains("no storage space"),
            "{words}: {}",
            outcome.err()
        );
        assert_eq!(contents(&data), before);
        assert_eq!(names(&disk), ["data", "filler"]);
        fs::remove_file(disk.join("filler")).unwrap();
    }
    site.run(target, 0);
}

/// Fills a disk until only so many bytes are left.
fn fill(disk: &Path, left: u64) {
    let found = rustix::fs::statvfs(disk).unwrap();
    let free = found.f_bavail * found.f_frsize;
    fs::write(disk.join("filler"), vec![1; (free - left) as usize]).unwrap();
}

#[test]
fn a_vault_without_users_is_not_put_in_place() {
    let site = Site::new();
    let data = site.join("data");
    generate(&data, &Options::small()).unwrap();
    let connection = Connection::open(data.join("db.sqlite3")).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM users").unwrap();
    drop(connection);
    site.backup(["data"], 0);
    let before = contents(&data);
    let outcome = site.run(["restore", "--vaultwarden", "latest:/data", "--target", "data"], 1);
    assert!(outcome.err().contains("has no users"), "{}", outcome.err());
    assert_untouched(&site, &data, &before);
}
