//! Prune and unlock, from the outside: what goes, what stays, what waits, and when nothing is touched.

mod waiting;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use strongroom::backend::{Backend, LocalBackend};
use strongroom::format::pack::padded_length;
use strongroom::id::Id;
use strongroom::repository::Repository;
use strongroom::repository::cache::Cache;
use strongroom::repository::key_file::parse_key_file;
use strongroom::repository::keys::Credential;
use strongroom::repository::session::{Commit, Session};
use strongroom::repository::writer::BlobWriter;

use crate::site::{DEADLINE, Site, assert_same, last, number, objects, see};
use crate::support::{Rng, run};

const FILE: usize = 60_000;

/// A repository, and a folder `data` whose files change from night to night.
struct Nights {
    site: Site,
    rng: Rng,
}

impl Nights {
    fn new(seed: u64) -> Self {
        let mut nights = Self { site: Site::new(), rng: Rng::new(seed) };
        nights.change(0..24);
        nights
    }

    fn change(&mut self, files: std::ops::Range<u64>) {
        for number in files {
            self.site.folder.write(format!("data/folder{}/file{number}", number % 3), self.rng.bytes(FILE));
        }
    }

    /// Writes some files anew, backs up, and gives the snapshot's id.
    fn night(&mut self, files: u64) -> String {
        self.change(0..files);
        self.backup()
    }

    fn backup(&self) -> String {
        self.site.backup(["data"])["snapshot_id"].as_str().unwrap().to_owned()
    }

    fn forget(&self, id: &str) {
        let id = Id::from_hex(id).unwrap();
        let repository = open(&self.site);
        let number = repository.read_snapshot(&id).unwrap().used_number();
        repository.put_forgotten(&id, Some(number)).unwrap();
    }

    fn prune(&self, code: i32, flags: &[&str]) -> Value {
        last(&self.site.json(code, [&["prune"], flags].concat()))
    }

    /// What a refused prune says; nothing in the repository has changed.
    fn refused(&self, flags: &[&str], says: &str) {
        let before = self.site.objects();
        let outcome = self.site.run(1, [&["prune"], flags].concat());
        assert!(outcome.err().contains(says), "{}", outcome.err());
        assert_eq!(self.site.objects(), before);
    }

    fn assert_restores(&self, snapshot: &str, expected: &Path, target: &str) {
        assert_same(&see(expected), &see(&self.site.restore(snapshot, target).join("data")));
    }

    fn objects_in(&self, folder: &str) -> Vec<(PathBuf, u64)> {
        let top = self.site.join("repo").join(folder);
        self.site.objects().into_iter().filter(|(path, _)| path.starts_with(&top)).collect()
    }
}

fn open(site: &Site) -> Repository {
    let text = fs::read_to_string(site.join("full.key")).unwrap();
    let backend: Arc<dyn Backend> = Arc::new(LocalBackend::open(&site.join("repo")).unwrap());
    Repository::open(backend, &Credential::KeyFile(parse_key_file(&text).unwrap())).unwrap()
}

#[test]
fn what_no_snapshot_needs_goes_and_the_rest_restores() {
    let mut nights = Nights::new(4001);
    let ids: Vec<String> = (0..5).map(|_| nights.night(6)).collect();
    let before = nights.site.pack_bytes();
    ids[..4].iter().for_each(|id| nights.forget(id));
    let unchanged = nights.site.objects();
    let plan = nights.prune(0, &["--dry-run", "--max-unused", "0"]);
    assert_eq!(nights.site.objects(), unchanged, "a dry run changes nothing");
    let done = nights.prune(0, &["--max-unused", "0"]);
    for field in ["used_blobs", "used_bytes", "unused_bytes", "moved_bytes", "to_be_freed_bytes"] {
        assert_eq!(plan[field], done[field], "{field}");
    }
    assert!(number(&done, "unused_bytes") > 20 * FILE as u64, "four nights of six files are nobody's");
    let after = nights.site.pack_bytes();
    let packs_written = after + number(&done["deleted"], "bytes") - before;
    assert!(packs_written >= number(&done, "moved_bytes"), "{packs_written} {done}");
    assert!(packs_written <= number(&done, "written_bytes"), "{packs_written} {done}");
    assert_eq!(nights.site.count("gc") + nights.site.count("sessions"), 0);
    assert_eq!((nights.site.count("snapshots"), nights.site.count("forgotten")), (1, 4));
    nights.site.assert_sound();
    nights.assert_restores(&ids[4], &nights.site.join("data"), "out");
    // As small as one written afresh, but for what a pack may carry of padding.
    let fresh = Site::new();
    fresh.backup([nights.site.join("data")]);
    assert!(after * 100 <= fresh.pack_bytes() * 106, "{after} {}", fresh.pack_bytes());
    let sizes = nights.objects_in("packs");
    assert!(sizes.iter().all(|(_, size)| padded_length(*size) == *size), "padding is kept: {sizes:?}");
    let again = nights.prune(0, &["--max-unused", "0"]);
    assert_eq!((number(&again, "unused_bytes"), number(&again["deleted"], "packs")), (0, 0), "{again}");
    nights.night(3);
    nights.site.assert_sound();
}

#[test]
fn a_key_that_reads_no_contents_prunes_and_a_backup_key_does_not() {
    let mut nights = Nights::new(4002);
    for role in ["maintain", "backup"] {
        let file = format!("{role}.key");
        nights.site.run(0, ["key", "add", "--role", role, "--label", role, "--new-key-file", &file]);
    }
    let first = nights.night(9);
    let second = nights.night(9);
    nights.forget(&first);
    let before = nights.site.objects();
    let refused = run(&mut nights.site.command_with("backup.key", ["prune"]), DEADLINE).expect_code(12);
    assert!(refused.err().contains("needs a key of role maintain or full"), "{}", refused.err());
    assert_eq!(nights.site.objects(), before);
    let mut prune = nights.site.command_with("maintain.key", ["--json", "prune", "--max-unused", "0"]);
    let done = last(&objects(&run(&mut prune, DEADLINE).expect_code(0)));
    assert!(number(&done, "moved_bytes") > 0, "sealed blobs were moved: {done}");
    nights.site.assert_sound();
    nights.assert_restores(&second, &nights.site.join("data"), "out");
}

#[test]
fn what_may_stay_unused_stays_and_what_may_not_be_copied_is_not() {
    let mut nights = Nights::new(4003);
    let first = nights.night(9);
    nights.night(12);
    nights.forget(&first);
    let lazy = nights.prune(0, &["--dry-run", "--max-unused", "unlimited"]);
    assert_eq!((number(&lazy["repacked"], "packs"), number(&lazy, "moved_bytes")), (0, 0), "{lazy}");
    let little = nights.prune(0, &["--dry-run", "--max-unused", "0", "--max-repack-size", "1"]);
    assert_eq!(number(&little["repacked"], "packs"), 0, "{little}");
    assert!(number(&little, "left_unused_bytes") > 0, "{little}");
    let all = nights.prune(0, &["--dry-run", "--max-unused", "0"]);
    assert!(number(&all["repacked"], "packs") > 0, "{all}");
    for _ in 0..4 {
        nights.night(1);
    }
    let packs = nights.site.count("packs");
    nights.prune(0, &["--repack-small"]);
    assert!(nights.site.count("packs") <= 2, "{packs} small packs became one of each class");
    nights.site.assert_sound();
    assert_eq!(nights.site.count("index"), 1, "and their index objects one");
}

/// A session as a host on another computer opens it, with what it saw of the store.
fn begin<'a>(repository: &'a Repository, cache: &Cache) -> Session<'a> {
    Session::begin(repository, Some(cache), "elsewhere").unwrap()
}

#[test]
fn a_prune_leaves_what_a_running_backup_may_refer_to_to_the_next_one() {
    let mut nights = Nights::new(4004);
    let first = nights.night(24);
    let second = nights.night(24);
    nights.forget(&first);
    let repository = open(&nights.site);
    let cache = Cache::open(&nights.site.join("other-cache"), repository.id()).unwrap();
    let old = repository.read_snapshot(&Id::from_hex(&first).unwrap()).unwrap();
    // It finds all of the first night, and is about to refer to it.
    let session = begin(&repository, &cache);
    let id = *session.id();
    let usable = session.usable().unwrap();
    let outcome = nights.site.run(0, ["prune"]);
    assert!(
        outcome.err().contains(&format!("wait for the end of session {}", id.short())),
        "{}",
        outcome.err()
    );
    assert_eq!(nights.site.count("gc"), 1);
    let blocked = nights.prune(3, &[]);
    assert_eq!(blocked["waits_again"], true);
    assert_eq!(blocked["open_sessions"], serde_json::json!([id.to_hex()]));
    assert_eq!(number(&blocked["deleted"], "packs"), 0);
    let listed = nights.site.json(0, ["unlock", "--dry-run"]);
    assert_eq!((&listed[0]["id"], &listed[0]["state"]), (&id.to_hex().into(), &"open".into()));
    assert_eq!((&listed[0]["host"], &listed[0]["runs_here"]), (&"elsewhere".into(), &Value::Null));
    // Now it commits the first night once more.
    let writer = BlobWriter::new(&repository, &usable.index).unwrap();
    writer.finish(usable.adopted).unwrap();
    assert_eq!(session.commit(&old.manifest).unwrap(), Commit::Done);
    let done = nights.prune(0, &[]);
    assert!(number(&done, "moved_bytes") > 0, "what was condemned is needed again, and copied: {done}");
    assert_eq!((nights.site.count("gc"), nights.site.count("sessions")), (0, 0));
    nights.site.assert_sound();
    nights.assert_restores(&second, &nights.site.join("data"), "out");
    nights.site.restore(id.to_hex(), "first");
}

#[test]
fn what_waited_for_one_session_does_not_wait_for_a_later_one() {
    let mut nights = Nights::new(4005);
    let first = nights.night(24);
    nights.night(24);
    nights.forget(&first);
    let repository = open(&nights.site);
    let cache = Cache::open(&nights.site.join("other-cache"), repository.id()).unwrap();
    let mut early = begin(&repository, &cache);
    let blocked = nights.prune(0, &[]);
    assert!(number(&blocked["pending"], "packs") > 0);
    // One that begins now looks at the record: nobody needs to wait for it.
    let late = begin(&repository, &cache);
    early.end();
    let done = nights.prune(0, &[]);
    assert_eq!(done["pending"], blocked["deleted"], "{done}");
    assert_eq!(done["deleted"], blocked["pending"], "{done}");
    assert_eq!((nights.site.count("gc"), nights.site.count("sessions")), (0, 1));
    drop(late);
}

#[test]
fn a_dead_session_is_given_up_by_whoever_knows_and_never_one_that_runs() {
    let mut nights = Nights::new(4006);
    let first = nights.night(24);
    nights.night(24);
    nights.forget(&first);
    let repository = open(&nights.site);
    let other = Cache::open(&nights.site.join("other-cache"), repository.id()).unwrap();
    let session = begin(&repository, &other);
    let id = *session.id();
    let mut there = nights.site.command(["--cache-dir", "other-cache", "unlock", &id.to_hex()]);
    let refused = run(&mut there, DEADLINE).expect_code(1);
    assert!(refused.err().contains("is at work on this computer"), "{}", refused.err());
    nights.prune(0, &[]);
    let given_up = nights.site.run(0, ["unlock", &id.to_hex()[..8]]);
    assert!(given_up.out().contains("is given up"), "{}", given_up.out());
    nights.site.run(1, ["unlock", "0000"]);
    let done = nights.prune(0, &[]);
    assert!(number(&done["deleted"], "packs") > 0, "{done}");
    assert_eq!((nights.site.count("gc"), nights.site.count("sessions")), (0, 0));
    // It lived after all: it learns of it, and its snapshot is nobody's.
    let old = repository.snapshots().unwrap().snapshots.pop().unwrap();
    assert_eq!(session.commit(&old.manifest).unwrap(), Commit::Abandoned);
    assert_eq!(nights.site.json(0, ["snapshots"]).len(), 1);
    nights.prune(0, &[]);
    nights.site.assert_sound();
}

#[test]
fn leftovers_of_crashed_runs_go() {
    let mut nights = Nights::new(4007);
    nights.night(1);
    let id = nights.night(4);
    // A pack that no index names, and a file that was never finished.
    let index: Vec<PathBuf> = nights.objects_in("index").into_iter().map(|(path, _)| path).collect();
    nights.forget(&id);
    let stray = nights.site.join("repo/packs/5a/.tmp-0123456789abcdef");
    fs::write(&stray, b"half of it").unwrap();
    assert!(index.len() >= 2);
    let done = nights.prune(0, &["--max-unused", "0"]);
    assert_eq!((number(&done, "temporary_files_removed"), number(&done, "temporary_bytes_removed")), (1, 10));
    assert!(!stray.exists());
    nights.site.assert_sound();
}

#[test]
fn packs_in_no_index_go_but_not_while_a_backup_may_be_filling_them() {
    let mut nights = Nights::new(4008);
    nights.night(1);
    let known: Vec<PathBuf> = nights.objects_in("index").into_iter().map(|(path, _)| path).collect();
    let second = nights.night(24);
    nights.forget(&second);
    for (path, _) in nights.objects_in("index") {
        if !known.contains(&path) {
            fs::remove_file(path).unwrap();
        }
    }
    let repository = open(&nights.site);
    let cache = Cache::open(&nights.site.join("other-cache"), repository.id()).unwrap();
    let mut session = begin(&repository, &cache);
    let busy = nights.prune(0, &["--dry-run"]);
    assert!(number(&busy["unindexed_packs_kept"], "packs") > 0, "{busy}");
    assert_eq!(number(&busy["unindexed_packs"], "packs"), 0);
    session.end();
    let done = nights.prune(0, &[]);
    assert_eq!(done["unindexed_packs"], busy["unindexed_packs_kept"]);
    assert_eq!(done["deleted"], done["unindexed_packs"]);
    nights.site.assert_sound();
}

#[test]
fn a_damaged_repository_is_not_pruned() {
    let mut nights = Nights::new(4009);
    let first = nights.night(6);
    let second = nights.night(6);
    nights.forget(&first);
    let damage = |path: &Path| {
        let whole = fs::read(path).unwrap();
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        fs::remove_file(path).unwrap();
        fs::write(path, damaged).unwrap();
        whole
    };
    let put_back = |path: &Path, whole: Vec<u8>| {
        fs::remove_file(path).ok();
        fs::write(path, whole).unwrap();
    };
    for (path, _) in nights.objects_in("index") {
        let whole = damage(&path);
        nights.refused(&[], "repair index");
        put_back(&path, whole);
    }
    let manifest = nights.site.join("repo/snapshots").join(&second);
    let whole = damage(&manifest);
    nights.refused(&[], "cannot be known");
    put_back(&manifest, whole);
    // A manifest that this computer has seen, and that is gone.
    let whole = fs::read(&manifest).unwrap();
    fs::remove_file(&manifest).unwrap();
    nights.refused(&[], "vanished without having been forgotten");
    put_back(&manifest, whole);
    // An index object that is gone: what it named is missing, and lies in packs that seem to be nobody's.
    for (path, _) in nights.objects_in("index") {
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        nights.refused(&[], "repair index");
        put_back(&path, whole);
    }
    let largest = nights.objects_in("packs").into_iter().max_by_key(|(_, size)| *size).unwrap().0;
    let whole = fs::read(&largest).unwrap();
    fs::remove_file(&largest).unwrap();
    nights.refused(&[], "are missing");
    put_back(&largest, whole);
    // A record that nobody can read condemns nobody knows what.
    fs::write(nights.site.join("repo/gc").join("ab".repeat(32)), b"junk").unwrap();
    nights.refused(&[], "another prune's record cannot be read");
    fs::remove_file(nights.site.join("repo/gc").join("ab".repeat(32))).unwrap();
    nights.prune(0, &[]);
    nights.site.assert_sound();
}

#[test]
fn a_damaged_pack_keeps_what_was_to_be_copied_out_of_it() {
    let mut nights = Nights::new(4010);
    let first = nights.night(6);
    nights.night(6);
    nights.forget(&first);
    let largest = nights.objects_in("packs").into_iter().max_by_key(|(_, size)| *size).unwrap().0;
    let mut bytes = fs::read(&largest).unwrap();
    bytes[5000] ^= 1;
    fs::remove_file(&largest).unwrap();
    fs::write(&largest, bytes).unwrap();
    let outcome = nights.site.run(1, ["prune", "--max-unused", "0"]);
    assert!(outcome.err().contains("repair packs"), "{}", outcome.err());
    assert!(largest.exists());
    assert_eq!(nights.site.count("gc"), 0, "nothing is condemned");
}

#[test]
fn most_packs_gone_since_the_last_prune_is_a_reason_to_stop() {
    let mut nights = Nights::new(4011);
    let ids: Vec<String> = (0..12).map(|_| nights.night(2)).collect();
    nights.prune(0, &[]);
    // Another host forgets and prunes nearly all of it.
    ids[..11].iter().for_each(|id| nights.forget(id));
    let mut other =
        nights.site.command(["--cache-dir", "other-cache", "prune", "--max-unused", "0", "--repack-small"]);
    run(&mut other, DEADLINE).expect_code(0);
    nights.refused(&[], "--allow-fewer-packs");
    nights.prune(0, &["--allow-fewer-packs"]);
    nights.prune(0, &[]);
    nights.site.assert_sound();
}
