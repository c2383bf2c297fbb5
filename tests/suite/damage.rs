//! Every byte of every object of a small repository, damaged one at a time: a check finds it, and what is read
//! back is right or an error.
//!
//! This goes through the library, with the repository in memory: the executable would take hours. A run that is not long
//! flips the bytes at the ends of each object, and one in five between, drawn by a seed; all else is always done.

mod renamed;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use strongroom::backend::{MemoryBackend, ObjectKind, ObjectName};
use strongroom::id::Id;
use strongroom::interrupt::Interrupt;
use strongroom::operation::{check, dump, restore};
use strongroom::report::Collector;
use strongroom::repository::Repository;
use strongroom::repository::cache::Cache;
use strongroom::repository::key_file::parse_key_file;
use strongroom::repository::keys::Credential;
use strongroom::repository::session::{Session, give_up_own_dead};

use crate::site::{Site, each_file};
use crate::support::{Rng, TempFolder, long};

type Objects = BTreeMap<ObjectName, Vec<u8>>;
/// Files by path, with their contents.
type Files = BTreeMap<Vec<u8>, Vec<u8>>;

/// A sound repository, the key to it, and what its snapshots hold.
struct Sound {
    site: Site,
    objects: Objects,
    key_text: String,
    /// Of each snapshot: its files with their contents.
    snapshots: Vec<(Id, Files)>,
}

impl Sound {
    fn new(seed: u64) -> Self {
        let site = Site::new();
        site.run(0, ["key", "add", "--role", "backup", "--label", "server", "--new-key-file", "backup.key"]);
        let mut rng = Rng::new(seed);
        let text = |rng: &mut Rng| {
            let words =
                std::iter::repeat_with(|| rng.pick(&["one ", "two ", "three ", "four\n"]).to_string());
            words.take(1500).collect::<String>()
        };
        let mut snapshots = Vec::new();
        for night in 0..2 {
            for name in ["text", "sub/text", "sub/deep/text"] {
                site.folder.write(format!("data/{name}-{night}"), text(&mut rng));
            }
            site.folder.write("data/changes", rng.bytes(9000));
            site.folder.write(format!("data/random-{night}"), rng.bytes(5000));
            site.folder.write("data/empty", "");
            let summary = site.backup(["data"]);
            let id = Id::from_hex(summary["snapshot_id"].as_str().unwrap()).unwrap();
            let mut files = BTreeMap::new();
            each_file(&site.join("data"), &mut |path, _| {
                let name = path.strip_prefix(site.folder.path()).unwrap().as_os_str().as_bytes().to_vec();
                files.insert(name, fs::read(path).unwrap());
            });
            snapshots.push((id, files));
        }
        let mut objects = Objects::new();
        each_file(&site.join("repo"), &mut |path, _| {
            objects.insert(name_of(path), fs::read(path).unwrap());
        });
        let key_text = fs::read_to_string(site.join("full.key")).unwrap();
        let mut sound = Self { site, objects, key_text, snapshots };
        sound.add_sessions();
        sound
    }

    /// Sessions that died: one of them given up, two not.
    fn add_sessions(&mut self) {
        let backend = backend(&self.objects);
        let repository = self.open(&backend).unwrap();
        let folder = self.site.join("another cache");
        fs::create_dir(&folder).unwrap();
        let cache = Cache::open(&folder, repository.id()).unwrap();
        drop(Session::begin(&repository, Some(&cache), "host").unwrap());
        assert_eq!(give_up_own_dead(&repository, &cache, "host").unwrap().len(), 1);
        for _ in 0..2 {
            drop(Session::begin(&repository, None, "host").unwrap());
        }
        // Marks and records of what is gone: a snapshot that was forgotten, and packs that were condemned.
        for number in [1, 2] {
            repository.put_forgotten(&Id([number; 32]), None).unwrap();
            repository.put_condemned(vec![Id([number + 100; 32]), Id([number + 107; 32])]).unwrap();
        }
        self.objects = backend.snapshot();
    }

    fn open(&self, backend: &MemoryBackend) -> strongroom::error::Result<Repository> {
        let credential = Credential::KeyFile(parse_key_file(&self.key_text).unwrap());
        Repository::open(Arc::new(backend.clone()), &credential)
    }

    /// Whether somebody who checks a repository of these objects learns that something is wrong. Whatever is
    /// read from it is right, or an error: everything where `all` is wanted, else one file by turns.
    fn is_noticed(&self, objects: &Objects, what: &str, turn: usize, all: bool) -> bool {
        let repository = match self.open(&backend(objects)) {
            Ok(repository) => repository,
            Err(error) => {
                assert!(!error.chain().is_empty());
                return true;
            }
        };
        let reporter = Collector::default();
        let noticed = match check::run(&repository, true, &reporter, &Interrupt::default()) {
            Ok(summary) => {
                assert!(summary.problems == 0 || !reporter.findings().is_empty(), "{what}: unnamed");
                summary.problems > 0
            }
            Err(_) => true,
        };
        for (number, (id, files)) in self.snapshots.iter().enumerate() {
            if !all && turn % self.snapshots.len() != number {
                continue;
            }
            let Ok(snapshot) = repository.find_snapshot(&id.to_hex(), &Collector::default()) else {
                continue;
            };
            assert_eq!(snapshot.id, *id, "{what}");
            let some = files.iter().skip(if all { 0 } else { turn / self.snapshots.len() % files.len() });
            for (path, content) in some.take(if all { files.len() } else { 1 }) {
                let mut out = Vec::new();
                if dump::run(&repository, &snapshot, path, &mut out, &Collector::default()).is_ok() {
                    assert!(out == *content, "{what}: wrong bytes of {}", path.escape_ascii());
                } else {
                    assert!(content.starts_with(&out), "{what}: bytes were made up");
                }
            }
            if all {
                restored_is_right(&repository, &snapshot, files, what);
            }
        }
        noticed
    }
}

fn restored_is_right(
    repository: &Repository,
    snapshot: &strongroom::repository::snapshot::Snapshot,
    files: &Files,
    what: &str,
) {
    let target = TempFolder::new();
    let reporter = Collector::default();
    let outcome = restore::run(
        repository,
        snapshot,
        &restore::Request::of(b""),
        target.path(),
        &reporter,
        &Interrupt::default(),
    );
    let mut found = 0;
    each_file(target.path(), &mut |path, _| {
        let name = path.strip_prefix(target.path()).unwrap().as_os_str().as_bytes();
        let content = files.get(name).unwrap_or_else(|| panic!("{what}: {} was made up", path.display()));
        assert!(fs::read(path).unwrap() == *content, "{what}: {} is wrong", path.display());
        found += 1;
    });
    if let Ok(summary) = outcome {
        let whole = found == files.len();
        assert!(whole || summary.problems > 0, "{what}: files are missing and nothing was said");
        assert!(summary.problems == 0 || !reporter.findings().is_empty(), "{what}: unnamed");
    }
}

/// The bytes of an object that are flipped: all of them in a long run, else those at its ends and one in so many.
fn places(length: usize, one_in: usize, rng: &mut Rng) -> Vec<usize> {
    const ENDS: usize = 24;
    let is_end = |at: &usize| *at < ENDS || *at + ENDS >= length;
    (0..length).filter(|at| long() || is_end(at) || rng.below(one_in as u64) == 0).collect()
}

fn name_of(path: &Path) -> ObjectName {
    let kind = |folder: &str| ObjectKind::ALL.into_iter().find(|kind| kind.folder() == folder).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    if name == "config" {
        return ObjectName::CONFIG;
    }
    let mut folder = path.parent().unwrap();
    if folder.file_name().unwrap().len() == 2 {
        folder = folder.parent().unwrap();
    }
    ObjectName::new(kind(folder.file_name().unwrap().to_str().unwrap()), Id::from_hex(name).unwrap())
}

fn backend(objects: &Objects) -> MemoryBackend {
    let backend = MemoryBackend::new();
    for (name, bytes) in objects {
        backend.replace(name, bytes.clone());
    }
    backend
}

#[test]
fn every_flipped_byte_is_noticed() {
    let sound = Sound::new(1);
    assert!(!sound.is_noticed(&sound.objects, "nothing", 0, true), "a sound repository is called damaged");
    let mut rng = Rng::new(11);
    let mut flipped: Vec<(&ObjectName, usize)> = Vec::new();
    for (name, bytes) in &sound.objects {
        flipped.extend(places(bytes.len(), 5, &mut rng).into_iter().map(|at| (name, at)));
    }
    let places = flipped;
    let kinds: Vec<String> = ObjectKind::ALL
        .iter()
        .map(|kind| format!("{} {kind:?}", sound.objects.keys().filter(|name| name.kind == *kind).count()))
        .collect();
    println!("{} places in {} objects: {}", places.len(), sound.objects.len(), kinds.join(", "));
    let missed = AtomicUsize::new(0);
    places.par_iter().for_each(|(name, at)| {
        let mut objects = sound.objects.clone();
        // Another bit at each place, so that all of them have their turn.
        objects.get_mut(*name).unwrap()[*at] ^= 1 << (at / 7 % 8);
        let what = format!("{name}, byte {at}");
        if !sound.is_noticed(&objects, &what, *at, at % 499 == 0) {
            missed.fetch_add(1, Ordering::Relaxed);
            println!("not noticed: {what}");
        }
    });
    let missed = missed.into_inner();
    println!("{} bytes flipped, one at a time; {missed} not noticed", places.len());
    assert_eq!(missed, 0);
}

#[test]
fn every_object_cut_short_or_made_longer_is_noticed() {
    let sound = Sound::new(2);
    let mut cases: Vec<(String, ObjectName, Vec<u8>)> = Vec::new();
    for (name, bytes) in &sound.objects {
        let length = bytes.len();
        let mut lengths = vec![0, 1, 7, 8, 9, 16, 31, 32, 33, 64, length / 3, length / 2];
        lengths.extend((1..=64).filter_map(|less| length.checked_sub(less)));
        for shorter in lengths.into_iter().filter(|shorter| *shorter < length) {
            cases.push((format!("{name} cut to {shorter}"), *name, bytes[..shorter].to_vec()));
        }
        for more in [1, 4, 16, 100, 5000] {
            let longer = [bytes.as_slice(), &vec![0; more]].concat();
            cases.push((format!("{name} with {more} zeros more"), *name, longer));
        }
        cases.push((format!("{name} all zeros"), *name, vec![0; length]));
        cases.push((format!("{name} all ones"), *name, vec![0xff; length]));
        cases.push((format!("{name} twice"), *name, bytes.repeat(2)));
    }
    println!("{} cases", cases.len());
    cases.par_iter().enumerate().for_each(|(number, (what, name, bytes))| {
        let mut objects = sound.objects.clone();
        objects.insert(*name, bytes.clone());
        assert!(sound.is_noticed(&objects, what, number, number % 29 == 0), "not noticed: {what}");
    });
}

#[test]
fn every_lost_or_exchanged_object_is_noticed() {
    let sound = Sound::new(3);
    let mine = {
        let repository = sound.open(&backend(&sound.objects)).unwrap();
        *repository.keyring().slot()
    };
    let names: Vec<ObjectName> = sound.objects.keys().copied().collect();
    for name in &names {
        let mut objects = sound.objects.clone();
        objects.remove(name);
        // That a snapshot, a key nobody uses, or a session is gone can be told only by whoever remembers it.
        let must = match name.kind {
            ObjectKind::Config | ObjectKind::Pack | ObjectKind::Index => true,
            ObjectKind::Key => name.id == mine,
            _ => false,
        };
        let noticed = sound.is_noticed(&objects, &format!("{name} lost"), 0, true);
        assert_eq!(noticed, must, "{name} lost");
    }
    let mut exchanged = 0;
    for (at, one) in names.iter().enumerate() {
        for other in &names[at + 1..] {
            let mut objects = sound.objects.clone();
            objects.insert(*one, sound.objects[other].clone());
            objects.insert(*other, sound.objects[one].clone());
            let what = format!("{one} and {other} exchanged");
            assert!(sound.is_noticed(&objects, &what, 0, true), "not noticed: {what}");
            exchanged += 1;
            // And one of them under both names.
            objects.insert(*other, sound.objects[other].clone());
            let what = format!("{other} also under the name {one}");
            assert!(sound.is_noticed(&objects, &what, 0, false), "not noticed: {what}");
        }
    }
    println!("{} objects lost, {exchanged} pairs exchanged", names.len());
}

#[test]
fn what_another_repository_or_nobody_wrote_is_noticed() {
    let sound = Sound::new(4);
    let other = Sound::new(5);
    for (name, bytes) in other.objects.iter().filter(|(name, _)| name.kind != ObjectKind::Config) {
        let mut objects = sound.objects.clone();
        objects.insert(*name, bytes.clone());
        let what = format!("{name} of another repository");
        assert!(sound.is_noticed(&objects, &what, 0, true), "not noticed: {what}");
    }
    let mut objects = sound.objects.clone();
    objects.insert(ObjectName::CONFIG, other.objects[&ObjectName::CONFIG].clone());
    assert!(sound.is_noticed(&objects, "the config of another repository", 0, true));
    let mut rng = Rng::new(6);
    for kind in ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Config) {
        for length in [0, 10, 200] {
            let bytes = rng.bytes(length);
            // Named as what is named by its bytes must be, and at random.
            for id in [Id(*blake3::hash(&bytes).as_bytes()), Id([7; 32])] {
                let mut objects = sound.objects.clone();
                objects.insert(ObjectName::new(kind, id), bytes.clone());
                let what = format!("{length} random bytes as {kind:?} {}", id.short());
                assert!(sound.is_noticed(&objects, &what, 0, true), "not noticed: {what}");
            }
        }
    }
    // One kind of object under the name of another, where the names are chosen freely.
    for (name, bytes) in &sound.objects {
        for kind in
            ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Config && *kind != name.kind)
        {
            let replayed = ObjectName::new(kind, name.id);
            // What is forgotten may be anything: nobody reads it any more.
            let is_forgotten = kind == ObjectKind::Snapshot && name.kind == ObjectKind::Forgotten;
            if is_forgotten || sound.objects.contains_key(&replayed) {
                continue;
            }
            let mut objects = sound.objects.clone();
            objects.insert(replayed, bytes.clone());
            let what = format!("{name} also as {replayed}");
            assert!(sound.is_noticed(&objects, &what, 0, false), "not noticed: {what}");
        }
    }
}

#[test]
fn damage_is_told_by_exit_code_and_name() {
    let sound = Sound::new(7);
    let site = &sound.site;
    let mut worst = 0;
    for (name, bytes) in &sound.objects {
        let path = site.join("repo").join(name.path());
        if !path.exists() {
            continue;
        }
        let mut damaged = bytes.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x10;
        fs::remove_file(&path).unwrap();
        fs::write(&path, damaged).unwrap();
        let checked = site.run_any(["check", "--read-data"]);
        // A damaged key slot may be the one that was needed: then the key is called wrong.
        let code = checked.code.unwrap();
        assert!(
            code == 1 || (code == 12 && name.kind == ObjectKind::Key),
            "{name}: {code}: {}",
            checked.err()
        );
        let said = checked.err();
        assert!(!said.contains("panicked"), "{said}");
        let id = name.id.short();
        let named = match name.kind {
            ObjectKind::Config => said.contains("config"),
            ObjectKind::Key => said.contains("key"),
            ObjectKind::Index => said.contains("index"),
            _ => said.contains(&id),
        };
        assert!(named, "{name} is not named: {said}");
        if name.kind == ObjectKind::Pack {
            let outcome = site.run_any(["restore", "latest", "--target", "restored"]);
            assert!(!outcome.err().contains("panicked"), "{}", outcome.err());
            worst += usize::from(outcome.code != Some(0));
            each_file_if_there(&site.join("restored"), &sound.snapshots[1].1);
            drop(fs::remove_dir_all(site.join("restored")));
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    assert!(worst > 0, "no damage to a pack mattered to the latest snapshot");
    site.assert_sound();
}

fn each_file_if_there(folder: &Path, expected: &Files) {
    if folder.exists() {
        each_file(folder, &mut |path, _| {
            let name = path.strip_prefix(folder).unwrap().as_os_str().as_bytes();
            assert!(fs::read(path).unwrap() == expected[name], "{}", path.display());
        });
    }
}
