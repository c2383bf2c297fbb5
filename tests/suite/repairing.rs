//! What is lost or damaged is made good: by the index that is rebuilt, by blobs saved from damaged packs, by the next
//! backup, and by another repository.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::site::{DEADLINE, Seen, Site, assert_same, last, let_times_settle, number, objects, see};
use crate::support::{Rng, long, run, strongroom};

/// A site with a few nights of files: some small, one that needs several packs, one that needs lists.
fn site(seed: u64) -> Site {
    nights(seed, 3)
}

fn nights(seed: u64, nights: u64) -> Site {
    let site = Site::new();
    let mut rng = Rng::new(seed);
    site.folder.write("data/large", rng.bytes(21 << 20));
    site.folder.write("data/listed", rng.bytes(42 << 20));
    for night in 0..nights {
        for name in 0..20 {
            site.folder.write(format!("data/{night}/file-{name}"), rng.bytes(9000));
        }
        site.backup(["data"]);
    }
    site
}

fn expected(site: &Site) -> BTreeMap<Vec<u8>, Seen> {
    see(&site.join("data"))
}

/// Asserts that the newest snapshot comes back as it was.
#[track_caller]
fn assert_comes_back(site: &Site, expected: &BTreeMap<Vec<u8>, Seen>) {
    let restored = site.restore("latest", "restored");
    assert_same(expected, &see(&restored.join("data")));
    fs::remove_dir_all(restored).unwrap();
}

fn of_kind(site: &Site, repository: &str, kind: &str) -> Vec<PathBuf> {
    fn find(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_dir() {
                find(&entry.path(), found);
            } else if !entry.file_name().as_bytes().starts_with(b".") {
                found.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    find(&site.join(repository).join(kind), &mut found);
    found.sort();
    found
}

fn packs(site: &Site) -> Vec<PathBuf> {
    of_kind(site, "repo", "packs")
}

fn write_over(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Flips a bit at a place that is counted from the start, or from the end where it is negative.
fn flip(path: &Path, place: i64) {
    let mut bytes = fs::read(path).unwrap();
    let place = if place < 0 { bytes.len() as i64 + place } else { place };
    bytes[place as usize] ^= 16;
    write_over(path, &bytes);
}

/// Runs with `--json` and gives the summary.
#[track_caller]
fn summary(site: &Site, code: i32, arguments: &[&str]) -> Value {
    last(&site.json(code, arguments))
}

fn copy_folder(site: &Site, from: &str, to: &str) {
    drop(fs::remove_dir_all(site.join(to)));
    let mut command = Command::new("cp");
    command.args(["-a", from, to]).current_dir(site.folder.path());
    assert!(command.status().unwrap().success());
}

fn remove_all(site: &Site, kind: &str) {
    for path in of_kind(site, "repo", kind) {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn an_index_that_is_gone_is_rebuilt_from_the_packs() {
    let site = site(1);
    let files = expected(&site);
    remove_all(&site, "index");
    let before = site.objects();
    let dry = summary(&site, 0, &["repair", "index", "--dry-run"]);
    assert_eq!(number(&dry, "packs_added") as usize, packs(&site).len());
    assert_eq!(site.objects(), before);
    let repaired = summary(&site, 0, &["repair", "index"]);
    assert_eq!(number(&repaired, "packs_added") as usize, packs(&site).len());
    assert!(number(&repaired, "objects_written") > 0);
    site.assert_sound();
    assert_comes_back(&site, &files);
    let again = site.run(0, ["repair", "index"]).out();
    assert!(again.contains("the index needed no repair"), "{again}");
    assert!(again.contains(" 0 read"), "{again}");
    // With every pack read, it is found to be right, and left as it is.
    let all = summary(&site, 0, &["repair", "index", "--read-all-packs"]);
    assert_eq!(number(&all, "packs_read") as usize, packs(&site).len());
    assert_eq!((number(&all, "objects_written"), number(&all, "packs_corrected")), (0, 0));
    assert_eq!(number(&site.backup(["data"]), "data_blobs"), 0);
    // Whoever may only add backups may not.
    site.run(0, ["key", "add", "--role", "backup", "--label", "x", "--new-key-file", "add.key"]);
    run(&mut site.command_with("add.key", ["repair", "index"]), DEADLINE).expect_code(12);
    site.run(0, ["key", "add", "--role", "maintain", "--label", "x", "--new-key-file", "maintain.key"]);
    run(&mut site.command_with("maintain.key", ["repair", "index"]), DEADLINE).expect_code(0);
}

#[test]
fn a_damaged_index_object_is_replaced_and_one_of_another_version_is_not_touched() {
    let site = site(2);
    let files = expected(&site);
    let index = of_kind(&site, "repo", "index");
    flip(&index[0], 200);
    site.run(1, ["check"]);
    let repaired = summary(&site, 0, &["repair", "index"]);
    assert!(!index[0].exists() && number(&repaired, "objects_deleted") == 1, "{repaired}");
    site.assert_sound();
    // A version from the future stands in the clear; its name is the hash of its bytes, as it has to be.
    let index = of_kind(&site, "repo", "index");
    let mut bytes = fs::read(&index[0]).unwrap();
    let version = u16::from_le_bytes([bytes[12], bytes[13]]);
    assert_eq!(version, 1, "the version stands behind magic and kind");
    bytes[12] = 9;
    fs::remove_file(&index[0]).unwrap();
    let future = index[0].with_file_name(blake3::hash(&bytes).to_hex().as_str());
    fs::write(&future, &bytes).unwrap();
    let outcome = site.run(3, ["repair", "index"]);
    assert!(outcome.err().contains("is left as it is"), "{}", outcome.err());
    assert!(future.exists());
    assert_comes_back(&site, &files);
}

#[test]
fn a_pack_that_cannot_be_read_is_named_and_what_may_name_it_stays() {
    let site = site(3);
    let index = of_kind(&site, "repo", "index");
    index.iter().for_each(|object| flip(object, 200));
    let pack = packs(&site).remove(0);
    flip(&pack, 400);
    let outcome = site.run(3, ["repair", "index"]);
    let short = &pack.file_name().unwrap().to_str().unwrap()[..8];
    assert!(outcome.err().contains(short), "{}", outcome.err());
    assert!(outcome.err().contains("repair packs"), "{}", outcome.err());
    // All the others are named; the damaged objects may be the only ones that name this one.
    assert!(index.iter().all(|object| object.exists()));
    let again = summary(&site, 3, &["repair", "index"]);
    assert_eq!((number(&again, "packs_added"), number(&again, "packs_unreadable")), (0, 1));
}

#[test]
fn packs_that_are_gone_are_named_no_more() {
    let site = site(4);
    let pack = packs(&site).remove(0);
    fs::remove_file(&pack).unwrap();
    let outcome = site.run(1, ["check"]);
    assert!(outcome.err().contains("is missing, and the index names blobs in it"), "{}", outcome.err());
    let repaired = summary(&site, 0, &["repair", "index"]);
    assert_eq!(number(&repaired, "packs_dropped"), 1);
    let outcome = site.run(1, ["check"]);
    assert!(!outcome.err().contains("is missing, and the index"), "{}", outcome.err());
    // What is still there comes back with a backup.
    let files = expected(&site);
    site.backup(["data"]);
    assert_comes_back(&site, &files);
}

#[test]
fn the_next_backup_stores_what_a_lost_pack_held() {
    let site = site(5);
    // Old enough to be believed unchanged, but for what is lost.
    let_times_settle();
    site.backup(["data"]);
    let files = expected(&site);
    site.run(0, ["key", "add", "--role", "backup", "--label", "x", "--new-key-file", "add.key"]);
    let count = packs(&site).len();
    assert!(count > 5, "{count} packs");
    for (turn, key) in ["full.key", "add.key"].into_iter().enumerate() {
        // The cache that the key compares with, filled.
        run(&mut site.command_with(key, ["backup", "data"]), DEADLINE).expect_code(0);
        copy_folder(&site, "repo", "whole");
        // Every pack in turn; by turns with either key, and with both where there is time.
        for victim in (0..packs(&site).len()).filter(|victim| long() || victim % 2 == turn) {
            copy_folder(&site, "whole", "repo");
            fs::remove_file(&packs(&site)[victim]).unwrap();
            // It says that something was lost, and the snapshot it makes is whole.
            run(&mut site.command_with(key, ["backup", "data"]), DEADLINE).expect_code(3);
            assert_comes_back(&site, &files);
        }
        copy_folder(&site, "whole", "repo");
        remove_all(&site, "packs");
        run(&mut site.command_with(key, ["backup", "data"]), DEADLINE).expect_code(3);
        assert_comes_back(&site, &files);
        copy_folder(&site, "whole", "repo");
    }
}

#[test]
fn of_two_copies_of_a_blob_either_will_do() {
    let site = nights(6, 1);
    let files = expected(&site);
    copy_folder(&site, "repo", "first");
    remove_all(&site, "packs");
    remove_all(&site, "index");
    // The same blobs once more, sealed with other keys into other packs.
    site.run(0, ["backup", "data", "--force", "--no-cache"]);
    let second = packs(&site);
    for kind in ["packs", "index"] {
        for path in of_kind(&site, "first", kind) {
            let back = site.join("repo").join(path.strip_prefix(site.join("first")).unwrap());
            fs::create_dir_all(back.parent().unwrap()).unwrap();
            fs::copy(path, back).unwrap();
        }
    }
    site.assert_sound();
    let first: Vec<PathBuf> = packs(&site).into_iter().filter(|pack| !second.contains(pack)).collect();
    assert!(first.len() > 3 && second.len() > 3);
    for half in [&first, &second] {
        copy_folder(&site, "repo", "both");
        for pack in half {
            // Every blob: nothing of these packs is left but their lengths.
            write_over(pack, &vec![0; fs::metadata(pack).unwrap().len() as usize]);
        }
        assert_comes_back(&site, &files);
        let dumped = site.run(0, ["dump", "latest", "/data/listed"]).stdout;
        assert_eq!(blake3::hash(&dumped).as_bytes(), files[&b"listed"[..]].content.as_slice());
        // And repairing loses nothing: the other copy is there. That so many are damaged indeed a person has to say.
        let refused = site.run(1, ["repair", "packs"]);
        assert!(refused.err().contains("--packs-are-damaged"), "{}", refused.err());
        let repaired = summary(&site, 0, &["repair", "packs", "--packs-are-damaged"]);
        assert_eq!(repaired["blobs_lost"], serde_json::json!({}), "{repaired}");
        site.assert_sound();
        assert_comes_back(&site, &files);
        copy_folder(&site, "both", "repo");
    }
}

#[test]
fn what_is_whole_in_damaged_packs_is_saved() {
    let site = site(7);
    let files = expected(&site);
    copy_folder(&site, "repo", "whole");
    let all = packs(&site);
    // The seal of the table, the seal of the trailer, a header: no blob is hurt.
    for (victim, place) in [(0, -60), (1, -5), (2, 3), (3, -60)] {
        copy_folder(&site, "whole", "repo");
        let pack = &all[victim];
        flip(pack, place);
        site.run(1, ["check", "--read-data"]);
        let before = site.objects();
        let dry = summary(&site, 3, &["repair", "packs", "--dry-run"]);
        assert_eq!(dry["packs_damaged"].as_array().unwrap().len(), 1);
        assert_eq!(site.objects(), before);
        let repaired = summary(&site, 0, &["repair", "packs"]);
        assert_eq!(repaired["blobs_lost"], serde_json::json!({}), "{repaired}");
        assert!(number(&repaired, "blobs_saved") > 0);
        // Nothing is deleted here: the pack waits for a prune, and concerns nobody.
        assert!(pack.exists());
        site.assert_sound();
        assert_comes_back(&site, &files);
        let again = summary(&site, 0, &["repair", "packs"]);
        assert_eq!(again["packs_damaged"].as_array().unwrap().len(), 0);
        site.run(0, ["prune"]);
        assert!(!pack.exists());
        site.assert_sound();
        assert_comes_back(&site, &files);
    }
}

#[test]
fn what_is_lost_is_named_and_comes_back_with_a_backup() {
    let site = site(8);
    let files = expected(&site);
    copy_folder(&site, "repo", "whole");
    for victim in 0..packs(&site).len() {
        copy_folder(&site, "whole", "repo");
        let pack = packs(&site).swap_remove(victim);
        match victim % 2 {
            0 => flip(&pack, 400),
            _ => {
                let bytes = fs::read(&pack).unwrap();
                write_over(&pack, &bytes[..bytes.len() / 3]);
            }
        }
        let name = pack.file_name().unwrap().to_str().unwrap();
        let outcome = site.run(3, ["repair", "packs", &name[..12]]);
        assert!(outcome.out().contains("lost: "), "{}", outcome.out());
        assert!(outcome.err().contains("hurts snapshot"), "{}", outcome.err());
        assert!(outcome.out().contains("strongroom backup"), "{}", outcome.out());
        site.run(1, ["check"]);
        site.backup(["data", "--force"]);
        assert_comes_back(&site, &files);
    }
    // A pack that nobody knows.
    site.run(1, ["repair", "packs", "00000000"]);
    site.run(1, ["repair", "packs", "x"]);
}

#[test]
fn of_a_pack_whose_table_is_unreadable_nobody_says_that_nothing_was_lost() {
    let site = nights(17, 1);
    let pack = packs(&site).into_iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    let bytes = [fs::read(&pack).unwrap(), vec![0]].concat();
    fs::remove_file(&pack).unwrap();
    let name = blake3::hash(&bytes).to_hex().to_string();
    let folder = site.join("repo/packs").join(&name[..2]);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(&name), bytes).unwrap();
    site.run_any(["repair", "index"]);
    let said = site.run(1, ["check", "--read-data"]).err();
    assert!(said.contains("; what is in it is not known"), "{said}");
    assert!(!said.contains("every blob in it is whole"), "{said}");
    let outcome = site.run(3, ["repair", "packs", &name[..12]]);
    let (out, err) = (outcome.out(), outcome.err());
    assert!(err.contains("its table cannot be read: what was in it is not known"), "{err}");
    assert!(err.contains("are in no pack"), "{err}");
    assert!(!out.contains("nothing was lost") && out.contains("is not known"), "{out}");
    assert!(out.contains("strongroom backup"), "{out}");
}

#[test]
fn a_damaged_pack_in_no_index_is_saved_by_its_own_table() {
    let site = site(9);
    let files = expected(&site);
    let pack = packs(&site).into_iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    remove_all(&site, "index");
    flip(&pack, 2);
    site.run(3, ["repair", "index"]);
    let repaired = summary(&site, 0, &["repair", "packs"]);
    assert_eq!(repaired["packs_damaged"].as_array().unwrap().len(), 1, "{repaired}");
    assert_eq!(repaired["blobs_lost"], serde_json::json!({}), "{repaired}");
    site.assert_sound();
    assert_comes_back(&site, &files);
}

#[test]
fn a_key_that_reads_no_contents_repairs_names_and_lists_alone() {
    let site = site(10);
    let files = expected(&site);
    site.run(0, ["key", "add", "--role", "maintain", "--label", "x", "--new-key-file", "maintain.key"]);
    let mut all = packs(&site);
    all.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    let (metadata, data) = (all[0].clone(), all.pop().unwrap());
    flip(&metadata, -5);
    flip(&data, -5);
    let outcome = run(&mut site.command_with("maintain.key", ["repair", "packs"]), DEADLINE).expect_code(1);
    assert!(outcome.err().contains("full"), "{}", outcome.err());
    let left = summary(&site, 0, &["repair", "packs"]);
    let name = data.file_name().unwrap().to_str().unwrap();
    assert_eq!(left["packs_damaged"], serde_json::json!([name]), "the other one is repaired");
    site.assert_sound();
    assert_comes_back(&site, &files);
}

/// Damages every pack in one of several ways, by its number.
fn wreck(site: &Site, seed: u64) {
    let mut rng = Rng::new(seed);
    for pack in packs(site) {
        let length = fs::metadata(&pack).unwrap().len();
        match rng.below(4) {
            0 => {}
            1 => fs::remove_file(&pack).unwrap(),
            2 => flip(&pack, rng.below(length) as i64),
            _ => {
                let bytes = fs::read(&pack).unwrap();
                write_over(&pack, &bytes[..rng.below(length) as usize]);
            }
        }
    }
}

#[track_caller]
fn assert_all_come_back(site: &Site) {
    for snapshot in site.json(0, ["snapshots"]) {
        let restored = site.restore(snapshot["id"].as_str().unwrap(), "restored");
        let restored_files = see(&restored.join("data"));
        let now = expected(site);
        for (name, seen) in restored_files.iter().filter(|(_, seen)| seen.kind == 'f') {
            assert_eq!(seen, &now[name], "{}", name.escape_ascii());
        }
        fs::remove_dir_all(restored).unwrap();
    }
}

#[test]
fn a_copy_of_the_files_gives_back_whatever_is_lost() {
    let site = site(11);
    copy_folder(&site, "repo", "twin");
    for seed in 0..if long() { 30 } else { 5 } {
        copy_folder(&site, "twin", "repo");
        wreck(&site, seed);
        if seed % 2 == 1 {
            remove_all(&site, "index");
        }
        // The keys of the one open the other.
        let repaired = summary(&site, 0, &["repair", "--from", "twin", "--packs-are-damaged"]);
        assert_eq!((number(&repaired, "losses"), repaired["same_repository"].as_bool()), (0, Some(true)));
        site.assert_sound();
        assert_all_come_back(&site);
        let again = summary(&site, 0, &["repair", "--from", "twin", "--from-key-file", "full.key"]);
        assert_eq!(again["blobs_found"], serde_json::json!({}), "{again}");
        site.run(0, ["prune"]);
        site.assert_sound();
    }
    // A repository that lost every pack gets back what they held, in new ones: no name is used again.
    copy_folder(&site, "twin", "repo");
    remove_all(&site, "packs");
    let dry = summary(&site, 3, &["repair", "--from", "twin", "--dry-run"]);
    assert!(number(&dry, "packs_missing") > 4 && packs(&site).is_empty());
    let repaired = summary(&site, 0, &["repair", "--from", "twin"]);
    assert!(number(&repaired, "packs_missing") > 4, "{repaired}");
    assert!(
        packs(&site)
            .iter()
            .all(|pack| !site.join("twin").join(pack.strip_prefix(site.join("repo")).unwrap()).exists())
    );
    site.assert_sound();
    let refused = site.run(1, ["repair", "--from", "repo"]);
    assert!(refused.err().contains("is this one"), "{}", refused.err());
}

#[test]
fn a_repository_with_other_keys_gives_back_what_is_lost() {
    let site = site(12);
    // A database and a stream are cut in ways of their own.
    let database = rusqlite::Connection::open(site.join("data/app.db")).unwrap();
    database.execute_batch("CREATE TABLE t (text BLOB)").unwrap();
    let mut rng = Rng::new(13);
    for _ in 0..500 {
        database.execute("INSERT INTO t VALUES (?1)", [rng.bytes(2000)]).unwrap();
    }
    drop(database);
    site.backup(["data"]);
    let text: Vec<u8> = (0..90_000u64).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
    let mut stream = site.command(["backup", "--stdin", "--stdin-filename", "dump.sql"]);
    crate::support::run_with_input(&mut stream, &text, DEADLINE).expect_code(0);
    let mut init = strongroom(&site.folder);
    init.args(["-q", "-r", "second", "init", "--new-key-file", "second.key"]);
    run(&mut init, DEADLINE).expect_code(0);
    let mut copy = strongroom(&site.folder);
    copy.args(["-q", "-r", "second", "--key-file", "second.key", "copy"]);
    copy.args(["--from-repo", "repo", "--from-key-file", "full.key"]);
    run(&mut copy, DEADLINE).expect_code(0);
    copy_folder(&site, "repo", "whole");
    copy_folder(&site, "second", "second-whole");
    let from = ["repair", "--from", "second", "--from-key-file", "second.key", "--packs-are-damaged"];
    for seed in 0..if long() { 30 } else { 5 } {
        copy_folder(&site, "whole", "repo");
        wreck(&site, 100 + seed);
        if seed % 2 == 1 {
            remove_all(&site, "index");
        }
        let repaired = summary(&site, 0, &from);
        assert_eq!((number(&repaired, "losses"), repaired["same_repository"].as_bool()), (0, Some(false)));
        // What the index still names of packs that are gone, it names elsewhere now.
        site.run(0, ["repair", "index"]);
        site.assert_sound();
        let dumped = site.run(0, ["dump", "latest", "/dump.sql"]).stdout;
        assert!(dumped == text);
        for snapshot in site.json(0, ["snapshots"]) {
            let id = snapshot["id"].as_str().unwrap();
            let now = site.restore(id, "now");
            let mut before = strongroom(&site.folder);
            before.args(["-q", "-r", "whole", "--key-file", "full.key", "restore", id, "--target", "before"]);
            run(&mut before, DEADLINE).expect_code(0);
            let [mut now_seen, mut was] = [now.clone(), site.join("before")].map(|folder| see(&folder));
            now_seen.remove(&b""[..]);
            was.remove(&b""[..]);
            assert_same(&was, &now_seen);
            fs::remove_dir_all(now).unwrap();
            fs::remove_dir_all(site.join("before")).unwrap();
        }
    }
    // The other way round: the copy heals from what it was made from.
    for pack in of_kind(&site, "second", "packs") {
        fs::remove_file(pack).unwrap();
    }
    copy_folder(&site, "whole", "repo");
    for arguments in [
        &["repair", "--from", "repo", "--from-key-file", "full.key"][..],
        &["repair", "index"],
        &["check", "--read-data"],
    ] {
        let mut command = strongroom(&site.folder);
        command.args(["-q", "-r", "second", "--key-file", "second.key"]).args(arguments);
        run(&mut command, DEADLINE).expect_code(0);
    }
    // What came after the copy is nowhere else.
    site.folder.write("data/newest", Rng::new(14).bytes(600_000));
    site.backup(["data"]);
    remove_all(&site, "packs");
    let outcome = site.run(3, from);
    assert!(outcome.err().contains("hurts snapshot"), "{}", outcome.err());
    let older = site.restore("latest~2", "older");
    assert!(older.join("data/large").exists() && !older.join("data/newest").exists());
}

#[test]
fn a_killed_repair_is_taken_up_by_the_next() {
    let site = site(15);
    let files = expected(&site);
    copy_folder(&site, "repo", "twin");
    let mut rng = Rng::new(16);
    let commands: [&[&str]; 3] = [
        &["repair", "index", "--read-all-packs"],
        &["repair", "packs", "--packs-are-damaged"],
        &["repair", "--from", "twin", "--packs-are-damaged"],
    ];
    for round in 0..if long() { 60 } else { 6 } {
        copy_folder(&site, "twin", "repo");
        // The round before made a snapshot that is gone now, and this computer would remember it.
        drop(fs::remove_dir_all(site.join("home/.cache")));
        let command = commands[round % 3];
        let all = packs(&site);
        match round % 3 {
            0 => remove_all(&site, "index"),
            1 => all.iter().step_by(2).for_each(|pack| flip(pack, -5)),
            _ => wreck(&site, 200 + round as u64),
        }
        let mut kills = 0;
        for _ in 0..6 {
            let mut child =
                site.command(command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(Duration::from_millis(5 + rng.below(400)));
            child.kill().unwrap();
            kills += usize::from(!child.wait().unwrap().success());
        }
        println!("{command:?}: {kills} of 6 killed before the end");
        run(&mut site.command(command), DEADLINE).expect_code(0);
        site.assert_sound();
        assert_comes_back(&site, &files);
        // What died left sessions at most, and the next backup gives them up.
        site.backup(["data"]);
    }
}

#[test]
fn a_backup_that_runs_beside_a_repair_keeps_what_it_stored() {
    let site = site(17);
    remove_all(&site, "index");
    let mut rng = Rng::new(18);
    for round in 0..4 {
        site.folder.write(format!("data/beside-{round}"), rng.bytes(5 << 20));
        let mut backup = site.command(["-q", "backup", "data"]).stdout(Stdio::null()).spawn().unwrap();
        let mut repair = site.command(["-q", "repair", "index"]).stdout(Stdio::null()).spawn().unwrap();
        assert!(backup.wait().unwrap().success());
        assert!(repair.wait().unwrap().success());
        site.assert_sound();
        if round == 1 {
            for object in of_kind(&site, "repo", "index") {
                flip(&object, 100);
            }
        }
    }
    let files = expected(&site);
    site.backup(["data"]);
    assert_comes_back(&site, &files);
    let said = objects(&site.run(0, ["--json", "check"]));
    assert_eq!(number(&last(&said), "problems"), 0);
}
