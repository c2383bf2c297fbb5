//! `cache`: what lies there, what goes, what never goes, and that it does not grow for ever.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use serde_json::Value;

use crate::site::{DEADLINE, Site, number};
use crate::support::{Outcome, run, strongroom};

const DAY: Duration = Duration::from_hours(24);

/// A repository with two snapshots, and the folder of its cache.
fn used() -> (Site, PathBuf) {
    let site = Site::new();
    for round in 0..2 {
        site.folder.write("data/file", format!("content {round}"));
        site.backup(["data"]);
    }
    let folder = fs::read_dir(site.join("home/.cache/strongroom")).unwrap().next().unwrap().unwrap().path();
    (site, folder)
}

/// `cache` needs neither repository nor key.
#[track_caller]
fn cache(site: &Site, code: i32, arguments: &[&str]) -> Outcome {
    run(strongroom(&site.folder).arg("cache").args(arguments), DEADLINE).expect_code(code)
}

#[track_caller]
fn listed(site: &Site) -> Vec<Value> {
    let said = run(strongroom(&site.folder).args(["--json", "cache", "list"]), DEADLINE).expect_code(0).out();
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Makes a cache look as if it was used so many days ago.
fn age(folder: &std::path::Path, days: u32) {
    let time = SystemTime::now() - DAY * days;
    fs::File::open(folder.join("place")).unwrap().set_modified(time).unwrap();
}

#[test]
fn caches_are_listed_with_their_places() {
    let (site, folder) = used();
    let all = listed(&site);
    assert_eq!(all.len(), 2);
    assert_eq!(all[0]["id"], folder.file_name().unwrap().to_str().unwrap());
    assert_eq!(all[0]["place"], site.join("repo").to_str().unwrap());
    assert_eq!(all[0]["in_use"], false);
    let mut bytes = 0;
    crate::site::each_file(&folder, &mut |_, metadata| bytes += metadata.len());
    assert_eq!(number(&all[0], "size"), bytes);
    assert_eq!(number(&all[0], "copies_bytes") + number(&all[0], "memory_bytes"), bytes);
    assert!(number(&all[0], "copies_bytes") > 0, "{}", all[0]);
    let said = cache(&site, 0, &[]).out();
    assert!(said.contains("Last used") && said.contains("1 cache in "), "{said}");
    // Where there is none, there is none; and nothing is made.
    let empty = run(strongroom(&site.folder).args(["--cache-dir", "none", "cache"]), DEADLINE).expect_code(0);
    assert!(empty.out().starts_with("0 caches"), "{}", empty.out());
    assert!(!site.join("none").exists());
}

#[test]
fn copies_go_and_what_is_remembered_stays() {
    let (site, folder) = used();
    let host = fs::read(folder.join("host-id")).unwrap();
    let before = number(&listed(&site)[0], "copies_bytes");
    let said = cache(&site, 0, &["clear", "--dry-run"]).out();
    assert!(said.contains("dry run: "), "{said}");
    assert_eq!(number(&listed(&site)[0], "copies_bytes"), before);
    cache(&site, 0, &["clear", "--older-than", "30d"]);
    assert_eq!(number(&listed(&site)[0], "copies_bytes"), before);
    cache(&site, 0, &["clear"]);
    assert_eq!(number(&listed(&site)[0], "copies_bytes"), 0);
    assert_eq!(fs::read(folder.join("host-id")).unwrap(), host);
    // A snapshot that vanishes is noticed all the same.
    let gone = fs::read_dir(site.join("repo/snapshots")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(gone).unwrap();
    let said = site.run(0, ["snapshots"]).err();
    assert!(said.contains("vanished"), "{said}");
    site.backup(["data"]);
    assert!(number(&listed(&site)[0], "copies_bytes") > 0);
    // With --all nothing stays, and all works as on a new computer.
    let id = folder.file_name().unwrap().to_str().unwrap().to_owned();
    cache(&site, 0, &["clear", "--all", &id[..6]]);
    assert!(!folder.exists());
    site.backup(["data"]);
    assert_ne!(fs::read(folder.join("host-id")).unwrap(), host);
    site.assert_sound();
    cache(&site, 1, &["clear", "0000000000"]);
    cache(&site, 1, &["clear", "xyz"]);
    cache(&site, 2, &["clear", "--older-than", "soon"]);
}

#[test]
fn what_is_in_use_stays() {
    let (site, folder) = used();
    let lock = fs::File::open(folder.join("lock")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).unwrap();
    for arguments in [&["clear"][..], &["clear", "--all"], &["clear", "-n"]] {
        let said = cache(&site, 3, arguments).err();
        assert!(said.contains("in use"), "{said}");
    }
    assert_eq!(listed(&site)[0]["in_use"], true);
    assert!(folder.join("host-id").exists());
    drop(lock);
    // A backup that runs holds it.
    let mut command = site.command(["backup", "--stdin-filename", "x", "--stdin"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while listed(&site)[0]["in_use"] == false && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    cache(&site, 3, &["clear", "--all"]);
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"content").unwrap();
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    cache(&site, 0, &["clear", "--all"]);
    assert!(!folder.exists());
}

#[test]
fn what_is_none_of_ours_stays() {
    let (site, folder) = used();
    let parent = folder.parent().unwrap();
    let other = site.folder.write("other/file", "precious");
    symlink(site.join("other"), parent.join("a".repeat(64))).unwrap();
    fs::create_dir(parent.join("b".repeat(64))).unwrap();
    fs::write(parent.join("b".repeat(64)).join("mine"), "mine").unwrap();
    fs::write(parent.join("notes.txt"), "mine").unwrap();
    // Within a cache, too; and a folder of it that leads elsewhere is not followed.
    fs::write(folder.join("trees/mine"), "mine").unwrap();
    fs::remove_dir_all(folder.join("index")).ok();
    symlink(site.join("other"), folder.join("index")).unwrap();
    let linked = format!("run-{}", "c".repeat(64));
    fs::write(site.join("other").join(&linked), "precious").unwrap();
    assert_eq!(listed(&site).len(), 2);
    let said = cache(&site, 3, &["clear", "--all"]).err();
    assert!(said.contains("stays"), "{said}");
    assert_eq!(fs::read(other).unwrap(), b"precious");
    assert!(site.join("other").join(linked).exists());
    assert!(folder.join("trees/mine").exists() && !folder.join("host-id").exists());
    assert!(parent.join("notes.txt").exists() && parent.join("b".repeat(64)).join("mine").exists());
    assert!(!parent.join("b".repeat(64)).join("lock").exists());
}

#[test]
fn unused_copies_go_by_themselves() {
    let (site, folder) = used();
    let init = ["-q", "-r", "second", "init", "--new-key-file", "second.key"];
    run(strongroom(&site.folder).args(init), DEADLINE).expect_code(0);
    let second = |arguments: &[&str]| {
        let mut command = strongroom(&site.folder);
        run(command.args(["-q", "-r", "second", "--key-file", "second.key"]).args(arguments), DEADLINE)
    };
    let trees = || fs::read_dir(folder.join("trees")).unwrap().count();
    assert!(trees() > 0);
    for (days, stays) in [(89, true), (91, false)] {
        age(&folder, days);
        // Once a day: what the second cache was used by lies back.
        second(&["backup", "data"]).expect_code(0);
        for entry in fs::read_dir(folder.parent().unwrap()).unwrap() {
            let path = entry.unwrap().path();
            if path != folder && path.join("place").exists() {
                age(&path, 2);
            }
        }
        second(&["snapshots"]).expect_code(0);
        assert_eq!(trees() > 0, stays, "{days} days");
    }
    assert!(folder.join("host-id").exists());
    // A cache that is used every night holds the trees of the last snapshots, and no more.
    for round in 0..12 {
        site.folder.write("data/file", format!("night {round}"));
        site.backup(["data"]);
        assert!(trees() <= 2, "{} trees after {round} nights", trees());
    }
}
