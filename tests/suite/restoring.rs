//! Restoring over what is there: only what differs is fetched and changed, nothing beside it is touched, and whatever
//! stops it leaves whole files.

mod borders;
mod details;
mod library;
mod logs;
mod model;
mod spared;
mod strangers;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::site::{DEADLINE, Site, assert_same, each_file, last, number, see, set_mtime};
use crate::support::{Rng, SmallDisk, has_tool, is_root, long, run};

const OVER: [&str; 2] = ["--overwrite", "if-changed"];

fn site() -> Site {
    let site = Site::new();
    let mut rng = Rng::new(11);
    site.folder.write("data/large", rng.bytes(9 << 20));
    site.folder.write("data/sub/one.txt", "one");
    site.folder.write("data/sub/two.bin", "two");
    site.folder.write("data/other/three.txt", "three");
    site.backup(["data"]);
    site
}

fn restore<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["restore", "latest", "--target", "to"], arguments].concat()
}

fn names(folder: &Path) -> Vec<String> {
    see(folder)
        .into_keys()
        .map(|name| String::from_utf8(name).unwrap())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn patterns_and_paths_choose() {
    let site = site();
    let chosen = |arguments: &[&str]| {
        drop(fs::remove_dir_all(site.join("to")));
        site.run(0, restore(arguments));
        names(&site.join("to"))
    };
    let texts = ["data", "data/other", "data/other/three.txt", "data/sub", "data/sub/one.txt"];
    assert_eq!(chosen(&["--include", "*.txt"]), texts);
    assert_eq!(
        chosen(&["--iinclude", "*.TXT", "--exclude", "/data/other"]),
        ["data", "data/sub", "data/sub/one.txt"]
    );
    assert_eq!(
        chosen(&["--exclude", "large", "--iexclude", "SUB"]),
        ["data", "data/other", "data/other/three.txt"]
    );
    site.folder.write("list", "# texts\n*.txt\n");
    assert_eq!(chosen(&["--include-file", "list"]), texts);
    assert_eq!(
        chosen(&["/data/sub/two.bin", "data/other"]),
        ["data", "data/other", "data/other/three.txt", "data/sub", "data/sub/two.bin"]
    );
    // The folders on the way have their metadata.
    let mode = |path: &str| fs::metadata(site.join(path)).unwrap().mtime_nsec();
    assert_eq!(mode("to/data"), mode("data"));
    site.folder.write("list", "# nothing\n");
    let none = site.run(1, restore(&["--include-file", "list"]));
    assert!(none.err().contains("no pattern"), "{}", none.err());
    let missing = site.run(1, ["restore", "latest", "data/none", "--target", "new"]);
    assert!(missing.err().contains("holds nothing at /data/none") && !site.join("new").exists());
    let beside = site.run(1, ["restore", "latest:/data/sub", "/data/other", "--target", "new"]);
    assert!(beside.err().contains("does not lie in"), "{}", beside.err());
    site.run(1, ["restore", "latest", "--include", "[", "--target", "new"]);
    assert!(!site.join("new").exists());
}

#[test]
fn without_a_word_nothing_is_replaced_and_a_dry_run_says_what_would_be() {
    let site = site();
    let told = site.run(0, ["-v", "restore", "latest", "--target", "to", "--dry-run"]).out();
    assert!(told.contains("would restore 4 files, 3 folders") && told.contains("restored"), "{told}");
    assert!(!site.join("to").exists());
    site.run(0, restore(&[]));
    let refused = site.run(1, restore(&[]));
    assert!(
        refused.err().contains("is not empty") && refused.err().contains("--overwrite"),
        "{}",
        refused.err()
    );

    fs::write(site.join("to/data/sub/one.txt"), "other").unwrap();
    fs::remove_file(site.join("to/data/other/three.txt")).unwrap();
    site.folder.write("to/data/mine", "mine");
    site.folder.write("to/data/gone/deep/file", "12345");
    let before = see(&site.join("to"));
    let objects =
        site.json(0, [&["-v"][..], &restore(&["--overwrite", "always", "--delete", "-n"])].concat());
    assert_same(&before, &see(&site.join("to")));
    let mut said: Vec<(&str, &str)> = objects
        .iter()
        .filter(|object| object["message_type"] == "verbose_status")
        .map(|object| (object["action"].as_str().unwrap(), object["item"].as_str().unwrap()))
        .collect();
    said.sort_unstable();
    assert_eq!(
        said,
        [
            ("deleted", "/data/gone"),
            ("deleted", "/data/gone/deep"),
            ("deleted", "/data/gone/deep/file"),
            ("deleted", "/data/mine"),
            ("restored", "/data/other/three.txt"),
            ("unchanged", "/data/large"),
            ("unchanged", "/data/sub/two.bin"),
            ("updated", "/data/sub/one.txt"),
        ]
    );
    let plan = last(&objects);
    let done = last(&site.json(0, restore(&["--overwrite", "always", "--delete"])));
    for field in [
        "total_files",
        "files_restored",
        "files_skipped",
        "files_deleted",
        "total_bytes",
        "bytes_restored",
        "bytes_skipped",
        "bytes_fetched",
        "bytes_deleted",
        "dirs_restored",
        "problems",
    ] {
        assert_eq!(number(&plan, field), number(&done, field), "{field}");
    }
    assert_eq!((number(&done, "files_restored"), number(&done, "files_skipped")), (2, 2));
    assert_eq!((number(&done, "files_deleted"), number(&done, "bytes_deleted")), (4, 9));
    assert_same(&see(&site.join("data")), &see(&site.join("to/data")));
}

#[test]
fn a_backup_of_a_part_deletes_nothing_beside_it() {
    let site = site();
    site.run(0, restore(&[]));
    site.folder.write("to/beside", "stays");
    site.folder.write("to/data/inside", "goes");
    let outcome = site.run(0, restore(&["--overwrite", "always", "--delete"]));
    assert!(site.join("to/beside").exists() && !site.join("to/data/inside").exists());
    // By its absolute path, which is how one restores in place.
    let data = site.join("data");
    site.backup([data.as_path()]);
    site.folder.write("mine", "stays");
    site.folder.write("data/stray", "goes");
    fs::write(site.join("data/sub/one.txt"), "changed").unwrap();
    let place = ["restore", "latest", "--target", "/", "--overwrite", "always", "--delete"];
    let dry = last(&site.json(0, [&place[..], &["-n"]].concat()));
    assert_eq!((number(&dry, "files_deleted"), number(&dry, "files_restored")), (1, 1), "{}", outcome.out());
    let done = last(&site.json(0, place));
    assert_eq!((number(&done, "files_deleted"), number(&done, "files_restored")), (1, 1));
    assert!(site.join("mine").exists() && !site.join("data/stray").exists());
    assert_eq!(fs::read(site.join("data/sub/one.txt")).unwrap(), b"one");
    let refused = site.run(1, restore(&["--overwrite", "always", "--delete", "--include", "nothing-of-it"]));
    assert!(refused.err().contains("nothing of the snapshot is selected"), "{}", refused.err());
    assert!(site.join("to/data/large").exists());
}

#[test]
fn an_unchanged_target_is_not_touched_and_needs_no_pack_of_data() {
    let site = site();
    symlink("nowhere", site.join("data/link")).unwrap();
    fs::hard_link(site.join("data/large"), site.join("data/large-too")).unwrap();
    site.backup(["data"]);
    site.run(0, restore(&[]));
    let stamps = || {
        let mut all = Vec::new();
        each_file(&site.join("to"), &mut |path, metadata| {
            all.push((path.to_owned(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()));
        });
        for folder in ["to", "to/data", "to/data/sub"] {
            let metadata = fs::metadata(site.join(folder)).unwrap();
            all.push((site.join(folder), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()));
        }
        all.sort();
        all
    };
    let before = stamps();
    for when in ["always", "if-changed", "if-newer", "never"] {
        let done = last(&site.json(0, restore(&["--overwrite", when, "--verify"])));
        assert_eq!((number(&done, "files_restored"), number(&done, "bytes_fetched")), (0, 0), "{when}");
        assert_eq!(stamps(), before, "{when}");
    }
    // Metadata alone are mended where they stand.
    let file = site.join("to/data/sub/one.txt");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let inode = fs::metadata(&file).unwrap().ino();
    let done = last(&site.json(0, restore(&["--overwrite", "always"])));
    assert_eq!((number(&done, "files_mended"), number(&done, "files_restored")), (1, 0));
    assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
    assert_same(&see(&site.join("data")), &see(&site.join("to/data")));
    // As the system sees it: no pack is opened for the contents of a file that is there.
    assert_eq!(number(&done, "bytes_fetched"), 0);
}

#[test]
fn a_file_with_names_elsewhere_is_not_changed_under_them() {
    let site = site();
    site.run(0, restore(&[]));
    fs::hard_link(site.join("to/data/sub/one.txt"), site.join("elsewhere")).unwrap();
    fs::hard_link(site.join("to/data/large"), site.join("copy")).unwrap();
    fs::set_permissions(site.join("copy"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(site.join("elsewhere"), "new here").unwrap();
    let before = fs::metadata(site.join("copy")).unwrap();
    let done = last(&site.json(0, restore(&["--overwrite", "if-changed"])));
    assert_eq!(number(&done, "bytes_fetched"), 3, "what is right is copied from the file that was there");
    assert_eq!(fs::read(site.join("elsewhere")).unwrap(), b"new here");
    let after = fs::metadata(site.join("copy")).unwrap();
    assert_eq!((before.mode(), before.ino(), before.mtime()), (after.mode(), after.ino(), after.mtime()));
    assert_same(&see(&site.join("data")), &see(&site.join("to/data")));
}

#[test]
fn zeros_become_holes_where_that_is_asked_for() {
    let site = Site::new();
    let mut content = vec![0; 12 << 20];
    content[5 << 20] = 1;
    site.folder.write("data/zeros", &content);
    site.backup(["data"]);
    site.run(0, restore(&["--sparse", "--verify"]));
    assert_eq!(fs::read(site.join("to/data/zeros")).unwrap(), content);
    assert!(fs::metadata(site.join("to/data/zeros")).unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn a_killed_restore_is_taken_up_by_the_next() {
    let mut rng = Rng::new(3);
    let wanted = if long() { 200 } else { 12 };
    let site = Site::new();
    for number in 0..40 {
        site.folder.write(format!("data/{}/file-{number}", number % 5), rng.bytes(1 << 20));
    }
    site.backup(["data"]);
    let expected = see(&site.join("data"));
    let (mut kills, mut leftovers, mut rounds) = (0, 0, 0);
    while kills < wanted {
        rounds += 1;
        assert!(rounds < 20 * wanted, "it ends before it can be killed");
        let mut whole: Vec<(std::path::PathBuf, u64)> = Vec::new();
        for _ in 0..4 {
            let mut child = site
                .command(restore(&OVER))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            thread::sleep(Duration::from_millis(rng.below(400)));
            child.kill().unwrap();
            kills += usize::from(!child.wait().unwrap().success());
            let mut now = Vec::new();
            if site.join("to").exists() {
                each_file(&site.join("to"), &mut |path, metadata| {
                    if path.file_name().unwrap().to_str().unwrap().starts_with(".strongroom-") {
                        leftovers += 1;
                    } else {
                        now.push((path.to_owned(), metadata.ino()));
                    }
                });
            }
            assert!(whole.iter().all(|file| now.contains(file)), "what was complete is not written again");
            whole = now;
        }
        let done = last(&site.json(0, restore(&OVER)));
        assert_eq!(number(&done, "files_restored") + number(&done, "files_unchanged"), 40);
        assert!(number(&done, "files_unchanged") >= whole.len() as u64);
        assert_same(&expected, &see(&site.join("to/data")));
        fs::remove_dir_all(site.join("to")).unwrap();
    }
    println!("{kills} kills, {leftovers} unfinished files seen and removed");
}

#[test]
fn what_a_living_restore_writes_is_not_swept() {
    let site = site();
    site.run(0, restore(&[]));
    let leftover =
        |folder: &str| site.folder.write(format!("to/data/{folder}/.strongroom-{}", "0a".repeat(16)), "x");
    let (here, there) = (leftover("sub"), leftover("other"));
    let not_ours = site.folder.write("to/data/sub/.strongroom-notes", "mine");
    // As a restore into this folder would hold it.
    let held = fs::File::open(site.join("to/data/sub")).unwrap();
    held.lock().unwrap();
    site.run(0, restore(&OVER));
    assert!(here.exists() && !there.exists() && not_ours.exists());
    let top = fs::File::open(site.join("to")).unwrap();
    top.lock().unwrap();
    let busy = site.run(11, restore(&OVER));
    assert!(busy.err().contains("another restore"), "{}", busy.err());
    drop((held, top));
    site.run(0, restore(&OVER));
    assert!(!here.exists() && not_ours.exists());
}

#[test]
fn a_full_disk_and_one_that_is_read_only_leave_what_was_there() {
    let site = site();
    let to = site.join("to");
    fs::create_dir(&to).unwrap();
    let Some(disk) = SmallDisk::mount(&to, 12 << 20, "a restore onto a full disk") else { return };
    site.folder.write("to/data/large", vec![7; 5 << 20]);
    site.folder.write("to/data/sub/one.txt", "old");
    let full = site.run(1, restore(&["--overwrite", "always"]));
    assert!(
        full.err().contains("No space left") || full.err().contains("no storage space"),
        "{}",
        full.err()
    );
    assert_eq!(fs::read(to.join("data/large")).unwrap(), vec![7; 5 << 20]);
    assert!(names(&to).iter().all(|name| !name.contains(".strongroom-")), "{:?}", names(&to));
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&to).output().unwrap();
    assert!(remounted.status.success());
    let refused = site.run(1, restore(&["--overwrite", "always"]));
    assert!(refused.err().contains("Read-only") || refused.err().contains("read-only"), "{}", refused.err());
    drop(disk);
}

#[test]
fn somebody_else_is_told_once_what_he_cannot_restore() {
    let what = "a restore by somebody who is not root";
    if !is_root(what) || !has_tool("setpriv", what) {
        return;
    }
    let site = site();
    site.folder.write("data/sub/locked/file", "locked");
    fs::set_permissions(site.join("data/sub/locked"), fs::Permissions::from_mode(0o500)).unwrap();
    set_mtime(&site.join("data/sub/locked"), 1_000_000_000, 0);
    site.backup(["data"]);
    let folder = site.folder.path().to_owned();
    let mut open = Command::new("chown");
    open.args(["-R", "65534:65534"]).arg(&folder);
    run(&mut open, DEADLINE).expect_code(0);
    // The owners in the snapshot are root's all the same.
    let as_nobody = |arguments: &[&str]| {
        let inner = site.command(arguments);
        let mut command = Command::new("setpriv");
        command.env_clear().current_dir(&folder);
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(inner.get_program());
        command.args(inner.get_args());
        run(&mut command, DEADLINE)
    };
    let first = as_nobody(&restore(&[])).expect_code(0);
    assert_eq!(first.err().matches("the owner could not be restored").count(), 2, "{}", first.err());
    fs::write(site.join("to/data/sub/locked/file"), "LOCKED").unwrap();
    fs::remove_file(site.join("to/data/sub/one.txt")).unwrap();
    as_nobody(&restore(&["--overwrite", "always"])).expect_code(0);
    assert_eq!(fs::read(site.join("to/data/sub/locked/file")).unwrap(), b"locked");
    let metadata = fs::metadata(site.join("to/data/sub/locked")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o500, 1_000_000_000));
    let quiet = as_nobody(&restore(&["--overwrite", "always", "--no-owner"])).expect_code(0);
    assert!(!quiet.err().contains("owner"), "{}", quiet.err());
}
