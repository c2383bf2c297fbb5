//! Copying snapshots to a repository with other keys: what comes back from the copy is what came back from the first,
//! nothing is read or stored twice, and a copy that was killed is taken up by the next.

mod again;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use strongroom::backend::LocalBackend;
use strongroom::repository::Repository;
use strongroom::repository::key_file::parse_key_file;
use strongroom::repository::keys::Credential;
use strongroom::service::vaultwarden::generator::{Options, generate};

use crate::folders::zoo;
use crate::site::{DEADLINE, Site, assert_same, last, number, objects, see};
use crate::support::{Outcome, Rng, long, run, run_with_input, strongroom};

/// A site with a second repository, `second`, and its full key `second.key`.
fn pair() -> Site {
    let site = Site::new();
    let mut init = strongroom(&site.folder);
    init.args(["-q", "-r", "second", "init", "--new-key-file", "second.key"]);
    run(&mut init, DEADLINE).expect_code(0);
    site
}

/// The program on the second repository.
fn second(site: &Site, key: &str, arguments: &[&str]) -> Command {
    let mut command = strongroom(&site.folder);
    command.args(["-r", "second", "--key-file", key]).args(arguments);
    command
}

fn copy_command(site: &Site, key: &str, arguments: &[&str]) -> Command {
    let mut command =
        second(site, key, &["--json", "copy", "--from-repo", "repo", "--from-key-file", "full.key"]);
    command.args(arguments);
    command
}

/// Copies; gives the summary.
#[track_caller]
fn copy(site: &Site, arguments: &[&str]) -> Value {
    last(&objects(&run(&mut copy_command(site, "second.key", arguments), DEADLINE).expect_code(0)))
}

#[track_caller]
fn in_second(site: &Site, code: i32, arguments: &[&str]) -> Outcome {
    run(&mut second(site, "second.key", arguments), DEADLINE).expect_code(code)
}

fn listed(site: &Site, repository: &str, key: &str) -> Vec<Value> {
    let mut command = strongroom(&site.folder);
    command.args(["-r", repository, "--key-file", key, "--json", "snapshots"]);
    objects(&run(&mut command, DEADLINE).expect_code(0))
}

/// Restores every snapshot of both repositories, in the order of time, and compares them.
#[track_caller]
fn assert_copied(site: &Site) {
    in_second(site, 0, &["check", "--read-data"]);
    let (ours, theirs) = (listed(site, "repo", "full.key"), listed(site, "second", "second.key"));
    assert_eq!(ours.len(), theirs.len());
    for (number, (one, other)) in ours.iter().zip(&theirs).enumerate() {
        for field in ["time", "finished", "hostname", "tags", "paths", "excludes", "databases", "service"] {
            assert_eq!(one[field], other[field], "{field}");
        }
        assert_ne!(one["tree"], other["tree"], "two repositories name nothing alike");
        let (here, there) = (format!("ours-{number}"), format!("theirs-{number}"));
        site.restore(one["id"].as_str().unwrap(), &here);
        in_second(site, 0, &["-q", "restore", other["id"].as_str().unwrap(), "--target", &there]);
        // The folder that was restored into has a time of its own.
        let [mut one, mut other] = [&here, &there].map(|folder| see(&site.join(folder)));
        one.remove(&b""[..]);
        other.remove(&b""[..]);
        assert_same(&one, &other);
        fs::remove_dir_all(site.join(&here)).unwrap();
        fs::remove_dir_all(site.join(&there)).unwrap();
    }
}

fn packs(site: &Site, repository: &str) -> u64 {
    fn sum(folder: &Path) -> u64 {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        entries
            .map(|entry| match entry.metadata().unwrap() {
                metadata if metadata.is_dir() => sum(&entry.path()),
                // What a killed run began to write.
                _ if entry.file_name().as_encoded_bytes().starts_with(b".") => 0,
                metadata => metadata.len(),
            })
            .sum()
    }
    sum(&site.join(repository).join("packs"))
}

#[test]
fn everything_that_a_folder_can_hold_is_in_the_copy() {
    let site = pair();
    zoo(&site.join("data"));
    let mut rng = Rng::new(1);
    // Holes, and a file whose chunks need lists.
    let sparse = fs::File::create_new(site.join("data/sparse")).unwrap();
    sparse.set_len(80 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &rng.bytes(3 << 20), 40 << 20).unwrap();
    drop(sparse);
    site.folder.write("data/large", rng.bytes(50 << 20));
    site.backup(["data", "--tag", "zoo", "--host", "ark"]);
    let summary = copy(&site, &[]);
    assert_eq!((number(&summary, "snapshots_copied"), number(&summary, "snapshots_present")), (1, 0));
    assert_copied(&site);
    let again = copy(&site, &[]);
    assert_eq!((number(&again, "snapshots_copied"), number(&again, "snapshots_present")), (0, 1));
    assert_eq!(number(&again, "bytes_read"), 0);
}

#[test]
fn databases_and_streams_are_cut_as_they_were() {
    let site = pair();
    fs::create_dir(site.join("data")).unwrap();
    let database = Connection::open(site.join("data/app.db")).unwrap();
    database.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY, text BLOB)").unwrap();
    let mut rng = Rng::new(2);
    for number in 0..3000 {
        database.execute("INSERT INTO t VALUES (?1, ?2)", (number, rng.bytes(900))).unwrap();
    }
    site.backup(["data"]);
    let lines: Vec<u8> = (0..200_000u64).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
    let mut dump = site.command(["backup", "--stdin", "--stdin-filename", "app.sql"]);
    run_with_input(&mut dump, &lines, DEADLINE).expect_code(0);
    copy(&site, &[]);
    // A few rows, a line in the middle: both cost little in the copy, as they do in the first repository.
    for number in (0..3000).step_by(500) {
        database.execute("UPDATE t SET text = ?2 WHERE n = ?1", (number, rng.bytes(900))).unwrap();
    }
    site.backup(["data"]);
    let mut changed = lines.clone();
    changed.splice(1_000_000..1_000_000, b"a new line\n".iter().copied());
    let mut dump = site.command(["backup", "--stdin", "--stdin-filename", "app.sql"]);
    run_with_input(&mut dump, &changed, DEADLINE).expect_code(0);
    let summary = copy(&site, &[]);
    assert_eq!(number(&summary, "snapshots_copied"), 2);
    assert!(number(&summary, "data_added") < 600_000, "{summary}");
    assert_copied(&site);
    let dumped = in_second(&site, 0, &["dump", "latest", "/app.sql"]).stdout;
    assert!(dumped == changed);
}

#[test]
fn what_did_not_change_is_not_read_again() {
    let site = pair();
    let mut rng = Rng::new(3);
    for number in 0..40 {
        site.folder.write(format!("data/file-{number}"), rng.bytes(300_000));
    }
    site.folder.write("data/large", rng.bytes(20 << 20));
    for night in 0..3 {
        site.folder.write("data/changes", rng.bytes(100_000 + night));
        site.backup(["data"]);
    }
    // All three in one run: the first is read, of the others only what changed.
    let summary = copy(&site, &[]);
    assert_eq!(number(&summary, "snapshots_copied"), 3);
    let all = 40 * 300_000 + (20 << 20) + 100_000;
    assert!(number(&summary, "bytes_read") < all + 300_000, "{summary}");
    // And in a run of its own, also where the cache is gone, and with a key that opens nothing but has its cache.
    site.folder.write("data/changes", rng.bytes(70_000));
    site.backup(["data"]);
    let summary = copy(&site, &["--no-cache"]);
    assert_eq!((number(&summary, "snapshots_copied"), number(&summary, "bytes_read")), (1, 70_000));
    let stored = number(&summary, "data_added_packed");
    assert!(stored < 200_000, "{summary}");
    assert_copied(&site);
}

#[test]
fn a_key_that_only_adds_backups_is_enough_for_the_destination() {
    let site = pair();
    let mut rng = Rng::new(4);
    site.folder.write("data/file", rng.bytes(3 << 20));
    site.backup(["data"]);
    in_second(&site, 0, &["key", "add", "--role", "backup", "--label", "x", "--new-key-file", "add.key"]);
    let by = |arguments: &[&str], code| {
        last(&objects(&run(&mut copy_command(&site, "add.key", arguments), DEADLINE).expect_code(code)))
    };
    by(&[], 0);
    // It reads nothing back, and knows from its cache what is there.
    site.folder.write("data/new", rng.bytes(1000));
    site.backup(["data"]);
    let summary = by(&[], 0);
    assert_eq!((number(&summary, "snapshots_copied"), number(&summary, "bytes_read")), (1, 1000));
    assert_eq!(number(&by(&[], 0), "snapshots_present"), 2);
    assert_copied(&site);
    // The source is read with a full key or not at all.
    site.run(0, ["key", "add", "--role", "backup", "--label", "x", "--new-key-file", "blind.key"]);
    let mut blind =
        second(&site, "second.key", &["copy", "--from-repo", "repo", "--from-key-file", "blind.key"]);
    let outcome = run(&mut blind, DEADLINE).expect_code(12);
    assert!(outcome.err().contains("role full"), "{}", outcome.err());
}

#[test]
fn the_same_repository_is_refused_and_so_is_a_copy_of_its_files() {
    let site = pair();
    site.folder.write("data/file", "x");
    site.backup(["data"]);
    let outcome = site.run(1, ["copy", "--from-repo", "repo", "--from-key-file", "full.key"]);
    assert!(outcome.err().contains("same repository"), "{}", outcome.err());
    assert!(
        Command::new("cp")
            .args(["-a", "repo", "twin"])
            .current_dir(site.folder.path())
            .status()
            .unwrap()
            .success()
    );
    let outcome = site.run(1, ["copy", "--from-repo", "twin", "--from-key-file", "full.key"]);
    assert!(outcome.err().contains("repair --from"), "{}", outcome.err());
    let nothing = site.run(2, ["copy"]);
    assert!(nothing.err().contains("give its folder by --from-repo"), "{}", nothing.err());
    site.run(10, ["copy", "--from-repo", "nowhere", "--from-key-file", "full.key"]);
    let mut wrong =
        second(&site, "second.key", &["copy", "--from-repo", "repo", "--from-key-file", "second.key"]);
    run(&mut wrong, DEADLINE).expect_code(12);
}

#[test]
fn snapshots_are_chosen_by_name_host_path_and_tag() {
    let site = pair();
    site.folder.write("data/file", "x");
    site.folder.write("more/file", "y");
    site.backup(["data", "--host", "one", "--tag", "a"]);
    site.backup(["data", "--host", "two", "--tag", "b"]);
    site.backup(["more", "--host", "two"]);
    let dry = copy(&site, &["--dry-run"]);
    assert_eq!(number(&dry, "snapshots_copied"), 3);
    assert!(number(&dry, "data_added") > 0 && listed(&site, "second", "second.key").is_empty());
    assert_eq!(number(&copy(&site, &["--tag", "a"]), "snapshots_copied"), 1);
    assert_eq!(listed(&site, "second", "second.key")[0]["hostname"], "one");
    assert_eq!(number(&copy(&site, &["--host", "two", "--path", "data"]), "snapshots_copied"), 1);
    assert_eq!(number(&copy(&site, &["latest"]), "snapshots_copied"), 1);
    assert_copied(&site);
    // By the environment alone.
    let mut command = second(&site, "second.key", &["copy"]);
    command.env("STRONGROOM_FROM_REPOSITORY", "repo").env("STRONGROOM_FROM_KEY_FILE", "full.key");
    let outcome = run(&mut command, DEADLINE).expect_code(0);
    assert!(outcome.out().contains("3 there already"), "{}", outcome.out());
    // What was copied back is there as well: it goes back to a snapshot of this repository.
    let mut back = site.command(["--json", "copy", "--from-repo", "second", "--from-key-file", "second.key"]);
    let summary = last(&objects(&run(&mut back, DEADLINE).expect_code(0)));
    assert_eq!((number(&summary, "snapshots_copied"), number(&summary, "snapshots_present")), (0, 3));
}

#[test]
fn a_snapshot_that_is_damaged_is_not_copied_and_the_others_are() {
    let site = pair();
    let mut rng = Rng::new(5);
    site.folder.write("data/good", rng.bytes(200_000));
    site.backup(["data", "--tag", "good"]);
    let before: Vec<_> = site.objects().into_keys().collect();
    site.folder.write("data/bad", rng.bytes(700_000));
    site.backup(["data", "--tag", "bad"]);
    let new = site.objects().into_iter().filter(|(path, _)| !before.contains(path));
    let (pack, _) = new
        .filter(|(path, _)| path.starts_with(site.join("repo/packs")))
        .max_by_key(|(_, size)| *size)
        .unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[300_000] ^= 1;
    fs::remove_file(&pack).unwrap();
    fs::File::create_new(&pack).unwrap().write_all(&bytes).unwrap();
    let outcome = run(&mut copy_command(&site, "second.key", &[]), DEADLINE).expect_code(3);
    let said = objects(&outcome);
    let problem = said.iter().find(|object| object["severity"] == "problem").unwrap();
    assert!(problem["message"].as_str().unwrap().contains("/data/bad"), "{problem}");
    let summary = last(&said);
    assert_eq!((number(&summary, "snapshots_copied"), number(&summary, "snapshots_failed")), (1, 1));
    let copies = listed(&site, "second", "second.key");
    assert_eq!((copies.len(), &copies[0]["tags"][0]), (1, &Value::from("good")));
    in_second(&site, 0, &["check", "--read-data"]);
}

#[test]
fn a_killed_copy_is_taken_up_by_the_next() {
    let mut rng = Rng::new(6);
    let site = pair();
    for number in 0..6 {
        site.folder.write(format!("data/file-{number}"), rng.bytes(12 << 20));
    }
    site.backup(["data"]);
    site.folder.write("data/more", rng.bytes(9 << 20));
    site.backup(["data"]);
    copy(&site, &[]);
    let once = packs(&site, "second");
    for round in 0..if long() { 40 } else { 4 } {
        fs::remove_dir_all(site.join("second")).unwrap();
        fs::remove_file(site.join("second.key")).unwrap();
        let mut init = strongroom(&site.folder);
        init.args(["-q", "-r", "second", "init", "--new-key-file", "second.key"]);
        run(&mut init, DEADLINE).expect_code(0);
        let mut kills = 0;
        for _ in 0..5 {
            let mut command = copy_command(&site, "second.key", &[]);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let target = packs(&site, "second") + rng.below(once / 3);
            while child.try_wait().unwrap().is_none() && bytes_of_packs(&site) < target {
                thread::sleep(Duration::from_millis(1));
            }
            child.kill().unwrap();
            kills += usize::from(!child.wait().unwrap().success());
            in_second(&site, 0, &["check"]);
        }
        println!("round {round}: {kills} of 5 killed before the end");
        copy(&site, &[]);
        let stored = packs(&site, "second");
        assert!(stored < once + once / 10 + (2 << 20), "{stored} bytes of packs instead of {once}");
        assert_copied(&site);
    }
}

/// The same while somebody writes: what vanishes meanwhile does not count.
fn bytes_of_packs(site: &Site) -> u64 {
    let folders = fs::read_dir(site.join("second/packs")).unwrap().flatten();
    let files = folders.filter_map(|folder| fs::read_dir(folder.path()).ok()).flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}

#[test]
fn a_service_stays_proved_in_the_copy() {
    let site = pair();
    generate(&site.join("vault"), &Options::small()).unwrap();
    site.backup(["--vaultwarden", "vault"]);
    copy(&site, &[]);
    let copies = listed(&site, "second", "second.key");
    assert_eq!(copies[0]["service"]["whole"], true, "{}", copies[0]);
    assert_copied(&site);
}

#[test]
fn a_copy_draws_a_number_that_no_other_run_of_this_computer_has() {
    let site = pair();
    site.folder.write("data/file", "one");
    site.backup(["data"]);
    let numbers = || -> Vec<u64> {
        let key = fs::read_to_string(site.join("second.key")).unwrap();
        let credential = Credential::KeyFile(parse_key_file(&key).unwrap());
        let backend = LocalBackend::open(&site.join("second")).unwrap();
        let repository = Repository::open(Arc::new(backend), &credential).unwrap();
        let snapshots = repository.snapshots().unwrap().snapshots;
        snapshots.iter().map(|snapshot| snapshot.manifest.sequence).collect()
    };
    copy(&site, &[]);
    assert_eq!(numbers(), [1]);
    // As if two ran at once: this one does not see what the other has stored.
    for entry in fs::read_dir(site.join("second/snapshots")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    copy(&site, &[]);
    assert_eq!(numbers(), [2]);
}
