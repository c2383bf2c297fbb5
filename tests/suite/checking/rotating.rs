//! Parts of the packs, night after night.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use strongroom::backend::{Backend, Listed, MemoryBackend, ObjectKind, ObjectName};
use strongroom::error::Result;
use strongroom::format::blob::Class;
use strongroom::format::node::Timestamp;
use strongroom::id::Id;
use strongroom::interrupt::Interrupt;
use strongroom::operation::check::{self, Options, Subset};
use strongroom::report::Collector;

use super::{checked, flip, of_kind, packs_of};
use crate::site::{Site, number};
use crate::stores::small::{Small, Who, back_up, forget, prune, thorough};
use crate::stores::store_of;
use crate::support::{Rng, TempFolder};

/// A store that notes which packs are read whole.
struct Noting {
    store: MemoryBackend,
    read: Arc<Mutex<Vec<Id>>>,
}

impl Backend for Noting {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.store.put(name, bytes)
    }
    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>> {
        if name.kind == ObjectKind::Pack {
            self.read.lock().unwrap().push(name.id);
        }
        self.store.get(name, limit)
    }
    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.store.get_range(name, offset, length)
    }
    fn size(&self, name: &ObjectName) -> Result<u64> {
        self.store.size(name)
    }
    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        self.store.list(kind)
    }
    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.store.delete(name)
    }
    fn location(&self) -> String {
        self.store.location()
    }
}

/// Nights of a backup, now and then a prune, and a check of a part; gives in how many nights each pack that is there was
/// read at the latest, and what the last check said.
fn nights(subset: Subset, count: i64, lost_caches: &[i64]) -> (i64, check::Summary) {
    let store = store_of(&Small::new().empty);
    let caches = TempFolder::in_memory();
    let data = TempFolder::in_memory();
    let mut rng = Rng::new(77);
    let (mut last_read, mut snapshots, mut summary) =
        (BTreeMap::new(), Vec::new(), check::Summary::default());
    let mut longest = 0;
    for night in 0..count {
        data.write(format!("night-{}", night % 12), rng.bytes(3000));
        let (made, _) = back_up(&Small::full(&store), None, "host", data.path());
        snapshots.push(made.unwrap().snapshot.unwrap());
        if night % 5 == 4 {
            forget(&Small::full(&store), &[snapshots.remove(0), snapshots.remove(0)]).unwrap();
            prune(&Small::full(&store), None, &thorough()).0.unwrap();
        }
        if lost_caches.contains(&night) {
            fs::remove_dir_all(caches.path()).unwrap();
            fs::create_dir(caches.path()).unwrap();
        }
        let read = Arc::default();
        let noting = Noting { store: store.clone(), read: Arc::clone(&read) };
        let repository = Small::open(Arc::new(noting), Who::Full).with_memory(caches.path());
        let now = Timestamp { seconds: 1_800_000_000 + night * 86_400, nanoseconds: 0 };
        let options = Options { read: Some(subset), now };
        summary =
            check::run_with(&repository, &options, &Collector::default(), &Interrupt::default()).unwrap();
        assert_eq!(summary.problems, 0);
        let read = read.lock().unwrap();
        assert_eq!(summary.packs_read, read.len() as u64, "each is read once");
        let there: Vec<Id> = store.list(ObjectKind::Pack).unwrap().iter().map(|pack| pack.id).collect();
        last_read.retain(|pack, _| there.contains(pack));
        for pack in &there {
            let since = last_read.entry(*pack).or_insert(night);
            if read.contains(pack) {
                *since = night;
            }
            longest = longest.max(night - *since);
        }
    }
    (longest, summary)
}

#[test]
fn every_pack_is_read_in_time_with_packs_added_and_pruned() {
    for (subset, within) in
        [(Subset::Millionths(250_000), 8), (Subset::Millionths(100_000), 20), (Subset::Bytes(40_000), 14)]
    {
        let (longest, summary) = nights(subset, 60, &[]);
        println!(
            "{subset:?}: {} packs in the end, none unread for more than {longest} nights",
            summary.packs
        );
        assert!(longest <= within, "{subset:?}: {longest} nights");
        let read = summary.read.unwrap();
        assert!(summary.packs_read < summary.packs, "it is a part");
        let since = read.remembered.unwrap().oldest.unwrap();
        assert!((1_800_000_000 + 59 * 86_400 - since) / 86_400 <= longest, "what is said is what was done");
    }
}

#[test]
fn a_cache_that_is_lost_costs_one_round() {
    let (longest, summary) = nights(Subset::Millionths(250_000), 40, &[13, 14]);
    assert!(longest <= 17, "{longest} nights");
    assert!(summary.read.unwrap().remembered.unwrap().never <= 2);
}

fn site() -> Site {
    let site = Site::new();
    let mut rng = Rng::new(12);
    for night in 0..5 {
        site.folder.write(format!("data/night-{night}"), rng.bytes(40_000));
        site.backup(["data"]);
    }
    site
}

#[test]
fn a_part_fails_on_what_is_in_it_and_the_rest_does_not() {
    let site = site();
    flip(&packs_of(&site, Class::Data)[2], 60);
    site.run(0, ["check"]);
    let parts: Vec<i32> = (1..=4)
        .map(|part| site.run_any(["check", "--read-data-subset", &format!("{part}/4")]).code.unwrap())
        .collect();
    assert_eq!(parts.iter().filter(|code| **code == 1).count(), 1, "{parts:?}");
    assert_eq!(parts.iter().filter(|code| **code == 0).count(), 3, "{parts:?}");
    // The same part is the same part for anybody, with or without a cache.
    let again: Vec<i32> = (1..=4)
        .map(|part| {
            site.run_any(["--no-cache", "check", "--read-data-subset", &format!("{part}/4")]).code.unwrap()
        })
        .collect();
    assert_eq!(parts, again);
    // A share as small as the damaged pack gets on with the others all the same.
    let nights = of_kind(&site, "packs").len();
    let mut never = 0;
    for _ in 0..=nights {
        let outcome = site.run_any(["--json", "check", "--read-data-subset", "1b"]);
        let summary = outcome.out().lines().find(|line| line.contains("packs_never_read")).map(str::to_owned);
        let summary: serde_json::Value = serde_json::from_str(&summary.unwrap()).unwrap();
        never = number(&summary, "packs_never_read");
    }
    assert_eq!(never, 1, "all but the damaged one");
    each_note(&site.join("home/.cache/strongroom"), &mut |path| fs::remove_file(path).unwrap());
    // Shares come round to it, and once it is found it is told every time, for it was never found whole.
    let shares: Vec<i32> =
        (0..6).map(|_| site.run_any(["check", "--read-data-subset", "25%"]).code.unwrap()).collect();
    let first = shares.iter().position(|code| *code == 1).expect("it is found");
    assert!(first <= 4 && shares[first..].iter().all(|code| *code == 1), "{shares:?}");
}

#[test]
fn a_check_says_how_far_it_has_come() {
    let site = site();
    let packs = of_kind(&site, "packs").len() as u64;
    assert!(packs >= 10, "{packs}");
    let said = site.run(0, ["check", "--read-data-subset", "20%"]).out();
    assert!(said.contains(&format!("of {packs} packs never read whole from here")), "{said}");
    let mut before = packs;
    for _ in 0..6 {
        let (_, summary) = checked(&site, 0, &["--read-data-subset", "20%"]);
        let never = number(&summary, "packs_never_read");
        assert!(never == 0 || never < before, "{summary}");
        assert_eq!(summary["last_complete_read"].is_null(), never > 0, "{summary}");
        before = never;
    }
    assert_eq!(before, 0, "five parts and one more are all of it");
    let said = site.run(0, ["check", "--read-data-subset", "1M"]).out();
    assert!(said.contains("every pack was read within the last day"), "{said}");
    // One that is new is not among them.
    site.folder.write("data/new", Rng::new(5).bytes(3000));
    site.backup(["data"]);
    let (_, summary) = checked(&site, 0, &["--read-data-subset", "1b"]);
    assert_eq!(number(&summary, "packs_read"), 1);
    assert_eq!(number(&summary, "packs_never_read"), 1, "{summary}");
    assert!(
        site.run(0, ["--no-cache", "check", "--read-data-subset", "5%"]).out().contains("without a cache")
    );
    // What is remembered is sealed and for nobody else; damaged, it is nothing.
    let notes = site.join("home/.cache/strongroom");
    let mut damaged = 0;
    each_note(&notes, &mut |path| {
        flip(path, -3);
        damaged += 1;
    });
    assert!(damaged > 0);
    let (_, summary) = checked(&site, 0, &["--read-data-subset", "1b"]);
    assert_eq!(number(&summary, "packs_never_read"), of_kind(&site, "packs").len() as u64 - 1);
}

fn each_note(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            each_note(&entry.path(), visit);
        } else if entry.path().parent().unwrap().ends_with("notes") {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0);
            visit(&entry.path());
        }
    }
}

#[test]
fn what_is_no_subset_is_refused() {
    let site = site();
    for text in ["0/4", "5/4", "0%", "101%", "x", "", "1/2/3", "0"] {
        let said = site.run(2, ["check", "--read-data-subset", text]).err();
        assert!(said.contains("read-data-subset"), "{said}");
    }
    site.run(2, ["check", "--read-data", "--read-data-subset", "5%"]);
}

#[test]
fn a_night_without_packs_or_index_forgets_no_reading() {
    let site = Site::new();
    let mut rng = Rng::new(5);
    for night in 0..3 {
        site.folder.write(format!("data/{night}"), rng.bytes(100_000));
        site.backup(["data"]);
    }
    checked(&site, 0, &["--read-data"]);
    let never_read =
        |code| number(&checked(&site, code, &["--read-data-subset", "5%"]).1, "packs_never_read");
    fs::rename(site.join("repo/packs"), site.join("away")).unwrap();
    fs::create_dir(site.join("repo/packs")).unwrap();
    never_read(1);
    fs::remove_dir(site.join("repo/packs")).unwrap();
    fs::rename(site.join("away"), site.join("repo/packs")).unwrap();
    assert_eq!(never_read(0), 0);
    for index in of_kind(&site, "index") {
        flip(&index, 100);
        never_read(1);
        flip(&index, 100);
        assert_eq!(never_read(0), 0);
    }
}
