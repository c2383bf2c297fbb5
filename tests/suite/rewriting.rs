//! Snapshots stored anew under new ids: `tag`, `rewrite`, `unforget`, `repair snapshots`, through the executable.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use strongroom::backend::LocalBackend;
use strongroom::format::blob::{BlobKind, Class};
use strongroom::format::node::Content;
use strongroom::report::Collector;
use strongroom::repository::Repository;
use strongroom::repository::key_file::parse_key_file;
use strongroom::repository::keys::Credential;
use strongroom::repository::reader::{BlobReader, BlobSource};
use strongroom::repository::session;
use strongroom::repository::tree::lookup;

use crate::site::{DEADLINE, Seen, Site, assert_same, last, let_times_settle, number, objects, see};
use crate::support::{Rng, run};

/// A folder with something of everything: hard links, an empty folder, links, large and small files.
fn fill(site: &Site) {
    let mut rng = Rng::new(1);
    site.folder.write("data/big", rng.bytes(3 << 20));
    fs::hard_link(site.join("data/big"), site.join("data/zz-the-same")).unwrap();
    for number in 0..200 {
        site.folder.write(format!("data/many/file-{number}.txt"), rng.bytes(3000));
    }
    site.folder.write("data/logs/a.log", "one");
    site.folder.write("data/logs/deep/B.LOG", "two");
    site.folder.write("data/logs/kept", "three");
    fs::create_dir(site.join("data/empty")).unwrap();
    std::os::unix::fs::symlink("big", site.join("data/link")).unwrap();
}

fn id(summary: &Value) -> String {
    summary["snapshot_id"].as_str().expect("a snapshot was made").to_owned()
}

/// What became of which: old ids and new ones.
fn changed(objects: &[Value]) -> BTreeMap<String, String> {
    let changed = objects.iter().filter(|object| object["message_type"] == "changed");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    changed.map(|object| (text(&object["old_snapshot_id"]), text(&object["new_snapshot_id"]))).collect()
}

fn snapshots(site: &Site) -> Vec<Value> {
    site.json(0, ["snapshots"])
}

/// The snapshot with this id.
fn snapshot(site: &Site, id: &str) -> Value {
    let mut all = snapshots(site).into_iter();
    all.find(|snapshot| snapshot["id"] == id).unwrap_or_else(|| panic!("{id} is not there"))
}

fn add_key(site: &Site, role: &str) -> String {
    let file = format!("{role}.key");
    site.run(0, ["key", "add", "--role", role, "--label", role, "--new-key-file", &file]);
    file
}

/// Asserts that a snapshot restores to what was seen.
#[track_caller]
fn assert_restores(site: &Site, id: &str, target: &str, expected: &BTreeMap<Vec<u8>, Seen>) {
    let restored = site.restore(id, target);
    assert_same(expected, &see(&restored.join("data")));
    fs::remove_dir_all(restored).unwrap();
}

#[test]
fn tags_change_and_nothing_else_does() {
    let site = Site::new();
    fill(&site);
    let (maintain, backup) = (add_key(&site, "maintain"), add_key(&site, "backup"));
    let mut command = site.command_with(&backup, ["--json", "backup", "data", "--tag", "first,"]);
    run(&mut command, DEADLINE).expect_code(2);
    let mut command = site.command_with(&backup, ["--json", "backup", "data", "--tag", "first"]);
    let first = id(&last(&objects(&run(&mut command, DEADLINE).expect_code(0))));
    let before = snapshot(&site, &first);
    let expected = see(&site.join("data"));

    let stored = site.objects();
    let planned = site.json(0, ["tag", "--add", "second", "-n"]);
    assert_eq!(number(&last(&planned), "changed_snapshots"), 1);
    assert_eq!(site.objects(), stored, "a dry run stored something");
    // With a key that lists and deletes, and reads no contents.
    let mut command = site.command_with(&maintain, ["--json", "tag", "--add", "second,third", "latest"]);
    let tagged = changed(&objects(&run(&mut command, DEADLINE).expect_code(0)));
    let second = tagged[&first].clone();
    let now = snapshot(&site, &second);
    assert_eq!(now["tags"], serde_json::json!(["first", "second", "third"]));
    for field in
        ["time", "finished", "hostname", "paths", "tree", "parent", "excludes", "summary", "databases"]
    {
        assert_eq!(now[field], before[field], "{field}");
    }
    let original = &now["original"];
    assert_eq!((&original["snapshot"], &original["made_from"]), (&before["id"], &before["id"]));
    assert_eq!((original["change"].as_str(), original["sequence"].as_u64()), (Some("tagged"), Some(1)));
    assert_eq!(snapshots(&site).len(), 1);
    assert_restores(&site, &second, "restored", &expected);

    // The second time the first of all of them is still the origin.
    let third = changed(&site.json(0, ["tag", "--remove", "third", "--tag", "third"]))[&second].clone();
    let now = snapshot(&site, &third);
    assert_eq!(
        (&now["original"]["snapshot"], &now["original"]["made_from"]),
        (&before["id"], &Value::from(second))
    );
    assert_eq!(now["original"]["writer"], original["writer"], "the server's key, not ours");
    let stored = site.objects();
    let same = site.json(0, ["tag", "--add", "first", "latest"]);
    assert_eq!(number(&last(&same), "changed_snapshots"), 0);
    assert_eq!(site.objects(), stored, "nothing changed, and something was stored");
    site.run(0, ["tag", "--set", ""]);
    assert_eq!(snapshots(&site)[0]["tags"], serde_json::json!([]));

    site.run(2, ["tag", "latest"]);
    site.run(2, ["tag", "--set", "a", "--add", "b"]);
    site.run(1, ["tag", "--add", "a", "ffffffff"]);
    let refused = run(&mut site.command_with(&backup, ["tag", "--add", "a"]), DEADLINE).expect_code(12);
    assert!(refused.err().contains("maintain or full"), "{}", refused.err());
    assert!(site.run(1, ["ls", &first]).err().contains("unforget"));
    assert_eq!(site.count("sessions"), 0);
    site.assert_sound();

    // The server's own snapshot is forgotten; it tells what did not change all the same.
    let_times_settle();
    run(&mut site.command_with(&backup, ["backup", "data"]), DEADLINE).expect_code(0);
    site.run(0, ["tag", "--add", "a", "latest"]);
    let mut command = site.command_with(&backup, ["--json", "backup", "data"]);
    let summary = last(&objects(&run(&mut command, DEADLINE).expect_code(0)));
    assert_eq!((number(&summary, "files_unmodified"), number(&summary, "files_new")), (205, 0), "{summary}");
}

#[test]
fn what_is_left_out_takes_what_lies_in_it_and_leaves_the_rest() {
    let site = Site::new();
    fill(&site);
    let old = id(&site.backup(["data", "--exclude", "*.tmp"]));
    site.folder.write("other/file", "nothing of the kind");
    let other = id(&site.backup(["other"]));
    let before = see(&site.join("data"));
    let stored = site.objects();
    site.folder.write("patterns", "# what is not wanted\nmany\n");
    let arguments = ["rewrite", "--exclude-file", "patterns", "--iexclude", "*.log", "-e", "/data/big"];
    let planned = site.json(0, arguments.iter().chain(&["--dry-run"]));
    assert_eq!(site.objects(), stored, "a dry run stored something");
    let gone: BTreeSet<String> = planned
        .iter()
        .filter(|object| object["message_type"] == "gone")
        .map(|object| object["path"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        gone.contains("/data/big") && gone.contains("/data/many") && gone.contains("/data/logs/deep/B.LOG")
    );
    assert_eq!(gone.len(), 1 + 201 + 2);
    let said = site.run(0, arguments.iter().chain(&["-n"])).out();
    assert!(said.contains("204 paths") && said.contains("and 194 more"), "{said}");

    let new = changed(&site.json(0, arguments));
    assert_eq!(new.keys().collect::<Vec<_>>(), [&old]);
    let now = snapshot(&site, &new[&old]);
    assert_eq!(now["original"]["change"], "rewritten");
    assert_eq!(now["excludes"], serde_json::json!(["*.tmp", "/data/big", "many", "--iexclude=*.log"]));
    let kept: BTreeMap<Vec<u8>, Seen> = before
        .iter()
        .filter(|(name, _)| {
            let name = String::from_utf8_lossy(name);
            !(name == "big" || name.starts_with("many") || name.to_lowercase().ends_with(".log"))
        })
        .map(|(name, seen)| {
            let first_name = if name == b"zz-the-same" { name.clone() } else { seen.first_name.clone() };
            (name.clone(), Seen { first_name, ..seen.clone() })
        })
        .collect();
    assert_eq!(kept.len(), before.len() - gone.len());
    assert_restores(&site, &new[&old], "new", &kept);
    assert_restores(&site, &old, "old", &before);
    // The sums are those of the tree.
    let files = kept.values().filter(|seen| seen.kind == 'f');
    let bytes: u64 = files.clone().map(|seen| seen.size).sum();
    assert_eq!(number(&now["summary"], "total_files_processed"), files.count() as u64);
    assert_eq!(number(&now["summary"], "total_bytes_processed"), bytes);
    assert_eq!(snapshots(&site).len(), 3);

    // Of two of the same time the newer one is the latest.
    let listed = site.json(0, ["ls", "latest", "--path", "data"]);
    assert_eq!(listed.len(), kept.len());
    // One that would hold nothing is no snapshot: they stay, and say how to get rid of them.
    for more in [&["--forget"][..], &["--dry-run"], &[]] {
        let emptied = site.run(3, ["rewrite", "--exclude", "*"].iter().chain(more));
        assert_eq!(emptied.err().matches("would hold no file any more").count(), 3, "{}", emptied.err());
        assert!(emptied.err().contains("strongroom forget"), "{}", emptied.err());
    }
    assert_eq!(snapshots(&site).len(), 3);
    assert!(snapshots(&site).iter().any(|snapshot| snapshot["id"] == other.as_str()));
    site.assert_sound();
    site.run(2, ["rewrite", "latest"]);
    site.run(1, ["rewrite", "--exclude", "a["]);
}

#[test]
fn a_forgotten_snapshot_comes_back_as_long_as_all_of_it_is_there() {
    let site = Site::new();
    fill(&site);
    let maintain = add_key(&site, "maintain");
    let old = id(&site.backup(["data"]));
    let expected = see(&site.join("data"));
    let rewritten = changed(&site.json(0, ["rewrite", "-e", "big", "-e", "many", "--forget"]))[&old].clone();
    let listed = site.json(0, ["unforget", "--list"]);
    assert_eq!(listed.iter().map(|object| &object["id"]).collect::<Vec<_>>(), [&Value::from(old.clone())]);
    let stored = site.objects();
    site.json(0, ["unforget", "--dry-run", &old[..8]]);
    assert_eq!(site.objects(), stored, "a dry run stored something");
    let mut command = site.command_with(&maintain, ["--json", "unforget", &old[..8]]);
    let new = changed(&objects(&run(&mut command, DEADLINE).expect_code(0)))[&old].clone();
    assert_ne!(new, old);
    assert!(site.join("repo/forgotten").join(&old).exists(), "the mark stays");
    assert_restores(&site, &new, "restored", &expected);
    // Twice is once; and what stands for it already is no candidate.
    let stored = site.objects();
    let again = site.run(0, ["unforget", &old]);
    assert!(again.err().contains(&format!("there already, as {}", &new[..8])), "{}", again.err());
    assert_eq!(site.objects(), stored);
    assert!(site.run(0, ["unforget"]).out().contains("0 forgotten snapshots"));
    site.run(1, ["unforget", &rewritten[..8]]);

    // Forgotten again, and a pack of it is gone.
    site.run(0, ["rewrite", "-e", "big", "-e", "many", "--forget", &new]);
    let pack = packs(&site).into_iter().find(|(class, ..)| *class == Class::Data).unwrap().1;
    let bytes = fs::read(&pack).unwrap();
    fs::remove_file(&pack).unwrap();
    let before = snapshots(&site);
    let refused = site.run(1, ["unforget", &new]);
    assert!(refused.err().contains("of its files are gone"), "{}", refused.err());
    assert_eq!(snapshots(&site), before);
    fs::write(&pack, bytes).unwrap();
    // A prune takes what nobody needs, and with it the way back.
    site.run(0, ["prune", "--max-unused", "0"]);
    let said = site.run(1, ["unforget", &new]).err();
    assert!(said.contains("gone") || said.contains("any more"), "{said}");
    assert_eq!(snapshots(&site), before);
    site.assert_sound();
}

/// The packs that the index names: class, file, and how many bytes.
fn packs(site: &Site) -> Vec<(Class, PathBuf, u64)> {
    let repository = open(site);
    let usable = session::usable(&repository).unwrap();
    let file = |id: &strongroom::id::Id| {
        let name = id.to_hex();
        site.join("repo/packs").join(&name[..2]).join(&name)
    };
    usable.index.packs().iter().map(|pack| (pack.class, file(&pack.id), pack.size)).collect()
}

fn open(site: &Site) -> Repository {
    let key = fs::read_to_string(site.join("full.key")).unwrap();
    let backend = LocalBackend::open(&site.join("repo")).unwrap();
    Repository::open(Arc::new(backend), &Credential::KeyFile(parse_key_file(&key).unwrap())).unwrap()
}

/// Which files of a snapshot can be read whole; all of them are small.
fn readable(site: &Site, id: &str, names: &[Vec<u8>]) -> BTreeSet<Vec<u8>> {
    let repository = open(site);
    let snapshot = repository.find_snapshot(id, &Collector::default()).unwrap();
    let reader = BlobReader::new(&repository, &Collector::default()).unwrap();
    let can_be_read = |name: &&Vec<u8>| {
        let place = [b"data/".as_slice(), name].concat();
        match lookup(&reader, snapshot.root(), &place).ok().flatten().and_then(|node| node.content) {
            Some(Content::Inline(chunks)) => {
                chunks.iter().all(|chunk| reader.fetch(BlobKind::Chunk, chunk).is_ok())
            }
            Some(Content::List { .. }) => panic!("a small file with a list"),
            None => false,
        }
    };
    names.iter().filter(can_be_read).cloned().collect()
}

/// Damages all packs of a class that the first of two nights made, and has the snapshots repaired.
fn repair(damage: impl Fn(&Path), class: Class, options: &[&str]) {
    let site = Site::new();
    let mut rng = Rng::new(3);
    // Enough names for a tree of many leaves, most of which the second night shares.
    for number in 0..4000 {
        site.folder.write(format!("data/many/{number}"), rng.bytes(60));
    }
    let first = id(&site.backup(["data"]));
    let lost: Vec<PathBuf> =
        packs(&site).into_iter().filter(|(other, ..)| *other == class).map(|(_, pack, _)| pack).collect();
    for number in 0..100 {
        site.folder.write(format!("data/second/{number}"), rng.bytes(100));
    }
    let second = id(&site.backup(["data"]));
    let expected = see(&site.join("data"));
    lost.iter().for_each(|pack| damage(pack));
    let checked = site.run(1, ["check", "--read-data"]).err();
    assert!(checked.contains("repair snapshots"), "{checked}");
    let files: Vec<Vec<u8>> =
        expected.iter().filter(|(_, seen)| seen.kind == 'f').map(|(name, _)| name.clone()).collect();
    let whole = [readable(&site, &first, &files), readable(&site, &second, &files)];
    assert!(whole[1].len() >= 100 && whole[1].len() < 4100);

    let command = [&["repair", "snapshots"], options].concat();
    let stored = site.objects();
    // A snapshot that has lost the top of its tree, or keeps no file, is left as it is.
    let code = if class == Class::Metadata || whole[0].is_empty() { 3 } else { 0 };
    let planned = site.json(code, command.iter().chain(&["-n"]));
    assert_eq!(site.objects(), stored, "a dry run stored something");
    let named: BTreeSet<String> = planned
        .iter()
        .filter(|object| object["message_type"] == "gone")
        .map(|object| object["path"].as_str().unwrap().to_owned())
        .collect();
    if class == Class::Data {
        let lost = files.iter().filter(|name| !whole[1].contains(*name));
        let lost: BTreeSet<String> =
            lost.map(|name| format!("/data/{}", String::from_utf8_lossy(name))).collect();
        assert!(!lost.is_empty());
        assert_eq!(named, lost);
    }
    let new = changed(&site.json(code, &command));
    for (old, whole) in [&first, &second].into_iter().zip(&whole) {
        let Some(new) = new.get(old) else {
            // The first night lost the top of its tree, or all of its files.
            assert!(*old == first && whole.is_empty());
            continue;
        };
        let restored = site.restore(new, "restored");
        let now = see(&restored.join("data"));
        let files: BTreeSet<Vec<u8>> =
            now.iter().filter(|(_, seen)| seen.kind == 'f').map(|(name, _)| name.clone()).collect();
        assert_eq!(files, *whole);
        assert!(files.iter().all(|name| now[name].content == expected[name].content));
        fs::remove_dir_all(restored).unwrap();
        let listed = snapshot(&site, new);
        assert_eq!(listed["original"]["change"], "repaired");
        assert!(number(&listed["summary"], "problems") > 0);
        assert_eq!(snapshot(&site, old)["repaired_as"], Value::from(new.clone()));
        let table = site.run(0, ["snapshots"]).out();
        assert!(table.contains(&format!("damaged, repaired as {}", &new[..8])), "{table}");
        assert!(table.contains(&format!("repaired from {}", &old[..8])), "{table}");
    }

    // Once more there is nothing to do; and then the old ones go: by their names, for little may be left of them.
    let stored = site.objects();
    site.run_any(&command);
    assert_eq!(site.objects(), stored, "what was repaired was repaired again");
    site.run_any(command.iter().chain(&["--forget", first.as_str(), second.as_str()]));
    let left: BTreeSet<String> =
        snapshots(&site).iter().map(|snapshot| snapshot["id"].as_str().unwrap().to_owned()).collect();
    assert!(new.iter().all(|(old, new)| !left.contains(old) && left.contains(new)));
    if class == Class::Data {
        let said = site.run_any(["check"]).err();
        assert!(!said.contains("hurts"), "{said}");
    }
}

#[test]
fn what_a_lost_pack_of_data_held_is_taken_out() {
    repair(|pack| fs::remove_file(pack).unwrap(), Class::Data, &[]);
}

#[test]
fn what_a_cut_pack_held_is_not_given_up_before_it_was_looked_into() {
    let site = Site::new();
    fill(&site);
    site.backup(["data"]);
    let pack = packs(&site).into_iter().find(|(class, ..)| *class == Class::Data).unwrap().1;
    let length = fs::metadata(&pack).unwrap().len();
    fs::OpenOptions::new().write(true).open(&pack).unwrap().set_len(length - 7).unwrap();
    for options in [&["--read-data"][..], &["--forget"], &[]] {
        let refused = site.run(1, [&["repair", "snapshots"], options].concat());
        assert!(refused.err().contains("strongroom check --read-data"), "{}", refused.err());
    }
    assert_eq!(snapshots(&site).len(), 1);
}

#[test]
fn what_a_damaged_pack_of_data_held_is_found_by_reading() {
    let flip = |pack: &Path| {
        let mut bytes = fs::read(pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(pack).unwrap();
        fs::write(pack, bytes).unwrap();
    };
    repair(flip, Class::Data, &["--read-data"]);
}

#[test]
fn what_a_lost_pack_of_names_held_is_taken_out() {
    repair(|pack| fs::remove_file(pack).unwrap(), Class::Metadata, &[]);
}

#[test]
fn reading_all_data_needs_a_full_key() {
    let site = Site::new();
    fill(&site);
    site.backup(["data"]);
    for (role, plain, reading) in [("maintain", 0, 12), ("backup", 12, 12)] {
        let key = add_key(&site, role);
        run(&mut site.command_with(&key, ["repair", "snapshots"]), DEADLINE).expect_code(plain);
        run(&mut site.command_with(&key, ["repair", "snapshots", "--read-data"]), DEADLINE)
            .expect_code(reading);
        run(&mut site.command_with(&key, ["rewrite", "-e", "nothing"]), DEADLINE).expect_code(plain);
        run(&mut site.command_with(&key, ["unforget", "--list"]), DEADLINE).expect_code(0);
    }
    assert_eq!(snapshots(&site).len(), 1);
}

/// Starts the program, and kills it once a folder of the repository holds one object more, or fewer.
fn kill(site: &Site, arguments: &[&str], kind: &str) -> bool {
    let count = || fs::read_dir(site.join("repo").join(kind)).map_or(0, Iterator::count);
    let before = count();
    let mut command = site.command(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let started = Instant::now();
    while count() == before && child.try_wait().unwrap().is_none() && started.elapsed().as_secs() < DEADLINE {
        thread::sleep(Duration::from_micros(100));
    }
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

#[test]
fn killed_at_any_step_old_or_new_is_there() {
    let site = Site::new();
    fill(&site);
    let mut origins = BTreeSet::new();
    let mut expected = BTreeMap::new();
    for night in 0..6 {
        site.folder.write(format!("data/night-{night}"), night.to_string());
        let id = id(&site.backup(["data"]));
        expected.insert(id.clone(), see(&site.join("data")));
        origins.insert(id);
    }
    let mut kills = 0;
    for (round, kind) in
        ["sessions", "packs", "index", "snapshots", "forgotten"].iter().cycle().take(15).enumerate()
    {
        let tag = format!("round-{round}");
        let pattern = format!("file-{round}.txt");
        let arguments: &[&str] =
            if round % 3 == 0 { &["rewrite", "--forget", "-e", &pattern] } else { &["tag", "--add", &tag] };
        kills += usize::from(kill(&site, arguments, kind));
        let now: BTreeSet<String> = snapshots(&site)
            .iter()
            .map(|snapshot| {
                let original = snapshot["original"]["snapshot"].as_str();
                original.unwrap_or_else(|| snapshot["id"].as_str().unwrap()).to_owned()
            })
            .collect();
        assert_eq!(now, origins, "after a kill at {kind}");
        site.run(0, ["check"]);
    }
    println!("{kills} of 15 killed before the end");
    assert!(kills > 3);
    // Whatever came of it, each night is there with all that no round took out.
    for found in snapshots(&site) {
        let id = found["id"].as_str().unwrap();
        let origin = found["original"]["snapshot"].as_str().unwrap_or(id);
        let restored = site.restore(id, "restored");
        let now = see(&restored.join("data"));
        for (name, seen) in &expected[origin] {
            let may_go = name.starts_with(b"many") || name.is_empty();
            assert!(may_go || now.get(name).is_some_and(|other| other.content == seen.content));
        }
        fs::remove_dir_all(restored).unwrap();
    }
    // The next run gives up what died.
    site.run(0, ["tag", "--add", "end"]);
    site.assert_sound();
}
