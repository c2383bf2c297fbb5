//! The index against a naive one, and against whatever may befall its copies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use super::record::Digest;
use super::run::Run;
use super::{Index, IndexFolders, PackInfo, ReadObjects, folders};
use crate::backend::{MemoryBackend, ObjectKind, ObjectName};
use crate::crypto::derive::{self, Purpose};
use crate::crypto::kdf::Cost;
use crate::crypto::secret::Secret;
use crate::error::{Error, ErrorKind};
use crate::format::blob::{BlobKind, Class};
use crate::format::index::{IndexObject, IndexedPack, encode};
use crate::format::node::Timestamp;
use crate::format::pack::{ENVELOPE_LEN, Entry, Envelope};
use crate::format::tests::Random;
use crate::id::Id;
use crate::report::{Collector, Reporter};
use crate::repository::Repository;
use crate::repository::keys::{Credential, NewKey};

/// A folder that is removed with this handle.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("strongroom-test-{}", crate::crypto::random::id().unwrap().short());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn copies(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.join("index")).into_iter().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }

    /// These sizes are tiny: every way through files is taken.
    fn folders(&self, memory_places: usize, copy_worth: usize) -> IndexFolders {
        IndexFolders::new(Some(self.0.join("index")), Some(self.0.join("temporary"))).with_sizes(
            memory_places,
            copy_worth,
            3000,
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn repository() -> (MemoryBackend, Repository) {
    let backend = MemoryBackend::new();
    let credential = Credential::KeyFile(Secret::new([1; 32]));
    let new = NewKey { credential: &credential, cost: Cost::LEAST, label: "", time: Timestamp::default() };
    let repository = Repository::create(Arc::new(backend.clone()), &new).unwrap();
    (backend, repository)
}

fn put(repository: &Repository, object: &IndexObject) -> Id {
    repository.put_hashed(ObjectKind::Index, &encode(object).unwrap()).unwrap().0
}

fn remove(backend: &MemoryBackend, object: &Id) {
    backend.remove(&ObjectName::new(ObjectKind::Index, *object)).unwrap();
}

fn number_id(what: &str, number: u64) -> Id {
    derive::hash(format!("{what} {number}").as_bytes())
}

fn envelope(number: u64) -> Envelope {
    let mut envelope = [0; ENVELOPE_LEN];
    envelope[..8].copy_from_slice(&number.to_le_bytes());
    envelope
}

/// A pack's id, size and class.
type PackFact = (Id, u64, Class);
/// What is known of one place, in words that do not depend on numbers.
type Fact = (PackFact, u32, u32, u32, Digest);

/// The naive index: all objects as they are.
#[derive(Default)]
struct Model {
    objects: BTreeMap<Id, IndexObject>,
    condemned: BTreeSet<Id>,
}

impl Model {
    fn facts(&self) -> BTreeMap<(Id, BlobKind), BTreeSet<Fact>> {
        let mut facts: BTreeMap<(Id, BlobKind), BTreeSet<Fact>> = BTreeMap::new();
        for object in self.objects.values() {
            for pack in object.packs.iter().filter(|pack| !self.condemned.contains(&pack.id)) {
                let mut offset = 16;
                for entry in &pack.entries {
                    let digest = (pack.class, derive::hash(&object.envelopes[usize::from(entry.envelope)]).0);
                    let info = (pack.id, pack.size, pack.class);
                    let fact = (info, offset, entry.stored_length, entry.plain_length, digest);
                    facts.entry((entry.id, entry.kind)).or_default().insert(fact);
                    offset += entry.stored_length;
                }
            }
        }
        facts
    }
}

fn fact(index: &Index, place: &super::Place) -> Fact {
    let PackInfo { id, size, class } = *index.pack(place).unwrap();
    let digest = index.envelopes[place.envelope as usize].digest;
    ((id, size, class), place.offset, place.stored_length, place.plain_length, digest)
}

/// Holds everything that an index says against the model.
fn compare(index: &Index, model: &Model, what: &str) {
    let facts = model.facts();
    let mut listed: BTreeMap<(Id, BlobKind), BTreeSet<Fact>> = BTreeMap::new();
    let mut last = Id::default();
    for place in index.all() {
        let (number, place) = place.unwrap();
        assert!(last <= place.id && number < index.numbers(), "{what}");
        assert_eq!(index.place(number).unwrap(), place, "{what}");
        last = place.id;
        let new = listed.entry((place.id, place.kind)).or_default().insert(fact(index, &place));
        assert!(new, "{what}: listed twice");
    }
    assert_eq!(listed, facts, "{what}");
    for ((id, kind), known) in &facts {
        let places = index.places(*kind, id).unwrap();
        assert_eq!(places.len(), known.len(), "{what}");
        assert_eq!(&places.iter().map(|place| fact(index, place)).collect::<BTreeSet<_>>(), known, "{what}");
        let number = index.first_place(*kind, id).unwrap().unwrap();
        let place = index.place(number).unwrap();
        assert!(places.contains(&place), "{what}");
        assert_eq!(index.plain_length(*kind, id).unwrap(), Some(place.plain_length), "{what}");
        let other = if *kind == BlobKind::Chunk { BlobKind::List } else { BlobKind::Chunk };
        assert_eq!(index.contains(other, id).unwrap(), facts.contains_key(&(*id, other)), "{what}");
    }
    assert!(!index.contains(BlobKind::Chunk, &number_id("absent", 1)).unwrap());
    assert!(!index.contains(BlobKind::Chunk, &Id([0; 32])).unwrap());
    assert!(!index.contains(BlobKind::Chunk, &Id([0xff; 32])).unwrap());
    let named = model.objects.values().flat_map(|object| &object.packs);
    let named: BTreeSet<Id> =
        named.map(|pack| pack.id).filter(|pack| !model.condemned.contains(pack)).collect();
    assert_eq!(index.packs().iter().map(|pack| pack.id).collect::<BTreeSet<_>>(), named, "{what}");
    assert!(index.objects().iter().eq(model.objects.keys()), "{what}");
}

/// An object of a few packs over few ids, so that blobs and packs are named more than once.
fn random_object(random: &mut Random, known: &Model) -> IndexObject {
    let envelopes = (0..=random.below(2)).map(|_| envelope(random.below(4) as u64)).collect::<Vec<_>>();
    let mut packs = Vec::new();
    for _ in 0..random.below(4) {
        let before: Vec<&IndexedPack> = known.objects.values().flat_map(|object| &object.packs).collect();
        if !before.is_empty() && random.below(4) == 0 {
            let mut again = before[random.below(before.len())].clone();
            again.entries.iter_mut().for_each(|entry| entry.envelope = 0);
            packs.push(again);
            continue;
        }
        let class = if random.below(3) == 0 { Class::Metadata } else { Class::Data };
        let entry = |random: &mut Random| {
            let plain_length = 1 + random.below(100) as u32;
            Entry {
                id: number_id("blob", random.below(60) as u64),
                kind: match class {
                    Class::Data => BlobKind::Chunk,
                    Class::Metadata => [BlobKind::List, BlobKind::Leaf][random.below(2)],
                },
                envelope: random.below(envelopes.len()) as u16,
                stored_length: plain_length + 17,
                plain_length,
            }
        };
        let entries: Vec<Entry> = (0..random.below(12)).map(|_| entry(random)).collect();
        let frames: u32 = entries.iter().map(|entry| entry.stored_length).sum();
        let id = number_id("pack", random.next());
        packs.push(IndexedPack { id, size: u64::from(frames) + 1000, class, entries });
    }
    IndexObject { envelopes, packs }
}

fn open(repository: &Repository, model: &Model) -> Index {
    let read = ReadObjects::read(repository).unwrap();
    let named: BTreeSet<Id> = read.packs().collect();
    let expected: BTreeSet<Id> =
        model.objects.values().flat_map(|object| object.packs.iter().map(|pack| pack.id)).collect();
    assert_eq!(named, expected);
    Index::build(&read, &|pack| !model.condemned.contains(pack)).unwrap()
}

#[test]
fn the_index_is_what_a_naive_one_is() {
    let (backend, bare) = repository();
    let mut copies_seen = 0;
    for seed in 1..=1000 {
        let mut random = Random::new(seed);
        let folder = Folder::new();
        let folders = folder.folders([5, 30, 1000][random.below(3)], [1, 4000][random.below(2)]);
        let cached = bare.clone().with_index_folders(folders.clone());
        let uncached = bare.clone().with_index_folders(folders.without_cache());
        let mut model = Model::default();
        let mut held: Option<Index> = None;
        for step in 0..2 + random.below(6) {
            let what = format!("seed {seed}, step {step}");
            for _ in 0..random.below(5) {
                let object = random_object(&mut random, &model);
                model.objects.insert(put(&bare, &object), object);
            }
            if random.below(3) == 0 {
                let gone = random.below(1 + model.objects.len());
                let gone: Vec<Id> = model.objects.keys().take(gone).copied().collect();
                for id in gone {
                    remove(&backend, &id);
                    model.objects.remove(&id);
                }
            }
            if random.below(3) == 0 {
                let packs = model.objects.values().flat_map(|object| &object.packs);
                let condemned: Vec<Id> = packs.map(|pack| pack.id).filter(|_| random.below(4) == 0).collect();
                model.condemned.extend(condemned);
            }
            let which = [&cached, &cached, &uncached, &bare][random.below(4)];
            let index = open(which, &model);
            compare(&index, &model, &what);
            assert!(index.troubles.lock().unwrap().is_empty(), "{what}");
            copies_seen += folder.copies().len();
            // One that was opened before others merged its files and removed them still answers.
            if let Some(held) = &held {
                assert!(held.all().all(|place| place.is_ok()), "{what}");
            }
            held = Some(index);
        }
        for id in model.objects.keys() {
            remove(&backend, id);
        }
    }
    assert!(copies_seen > 1000, "the cases went through copies: {copies_seen}");
}

#[test]
fn packs_that_no_index_names_are_added() {
    let (_, repository) = repository();
    let mut random = Random::new(7);
    let mut model = Model::default();
    for _ in 0..4 {
        let object = random_object(&mut random, &model);
        model.objects.insert(put(&repository, &object), object);
    }
    let mut index = open(&repository, &model);
    let objects = index.objects.clone();
    let orphan = random_object(&mut Random::new(8), &model);
    assert!(!orphan.packs.is_empty());
    let packs: Vec<_> = orphan.packs.iter().map(|pack| (pack.clone(), orphan.envelopes.clone())).collect();
    index.extend(&packs).unwrap();
    model.objects.insert(Id([0xff; 32]), orphan);
    assert_eq!(index.objects, objects);
    index.objects.push(Id([0xff; 32]));
    compare(&index, &model, "extended");
}

/// An object of one pack of thirty chunks.
fn plain_object(object: u64) -> IndexObject {
    let entry = |number: u64| Entry {
        id: number_id("blob", object * 30 + number),
        kind: BlobKind::Chunk,
        envelope: 0,
        stored_length: 100,
        plain_length: 83,
    };
    let entries: Vec<Entry> = (0..30).map(entry).collect();
    let pack = IndexedPack { id: number_id("pack", object), size: 9000, class: Class::Data, entries };
    IndexObject { envelopes: vec![envelope(object)], packs: vec![pack] }
}

/// A repository of three index objects whose copy has some blocks, and the model of it.
fn copied() -> (Folder, MemoryBackend, Repository, Model, PathBuf) {
    let (backend, bare) = repository();
    let folder = Folder::new();
    let repository = bare.with_index_folders(folder.folders(20, 1));
    let mut model = Model::default();
    for number in 0..3 {
        let object = plain_object(number);
        model.objects.insert(put(&repository, &object), object);
    }
    compare(&open(&repository, &model), &model, "first");
    let copies = folder.copies();
    assert_eq!(copies.len(), 1);
    let path = copies[0].clone();
    (folder, backend, repository, model, path)
}

/// Asks for every blob; gives what was told of troubles.
fn ask_for_all(index: &Index, model: &Model) -> Vec<Error> {
    for (id, kind) in model.facts().keys() {
        assert!(index.contains(*kind, id).unwrap());
    }
    for place in index.all() {
        let (number, place) = place.unwrap();
        assert_eq!(index.place(number).unwrap(), place);
    }
    std::mem::take(&mut *index.troubles.lock().unwrap())
}

#[test]
fn a_copy_with_any_byte_changed_does_not_read() {
    let (_folder, _, repository, _, path) = copied();
    let key = repository.keyring().key(Purpose::Cache);
    let read_all = || {
        let run = Run::open(folders::open(&path).unwrap(), &key)?;
        let mut cursor = run.cursor(0);
        while cursor.next_place()?.is_some() {}
        (0..3).try_for_each(|number| run.envelope(number).map(|_| ()))
    };
    read_all().unwrap();
    let sound = fs::read(&path).unwrap();
    assert!(sound.len() >= 8 * 4096);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for (byte, value) in sound.iter().enumerate() {
        file.write_all_at(&[value ^ 1 << (byte % 8)], byte as u64).unwrap();
        assert!(read_all().is_err(), "byte {byte}");
        file.write_all_at(&[*value], byte as u64).unwrap();
    }
    read_all().unwrap();
}

#[test]
fn a_changed_copy_is_discarded_and_leads_nobody_astray() {
    let (folder, _, repository, model, path) = copied();
    let sound = fs::read(&path).unwrap();
    let ids: Vec<(Id, BlobKind)> = model.facts().into_keys().collect();
    let expected: Vec<super::Place> = open(&repository, &model).all().map(|place| place.unwrap().1).collect();
    let mut unnoticed = BTreeSet::new();
    for byte in (0..sound.len()).step_by(61) {
        // Made anew each time: what a look-up discards is gone.
        for copy in folder.copies() {
            fs::remove_file(copy).unwrap();
        }
        let mut damaged = sound.clone();
        damaged[byte] ^= 1 << (byte % 8);
        fs::write(&path, &damaged).unwrap();
        let index = Index::build(&ReadObjects::read(&repository).unwrap(), &|_| true).unwrap();
        let (id, kind) = ids[byte % ids.len()];
        assert!(index.contains(kind, &id).unwrap(), "byte {byte}");
        let all: Vec<super::Place> = index.all().map(|place| place.unwrap().1).collect();
        assert_eq!(all, expected, "byte {byte}");
        if index.troubles.lock().unwrap().is_empty() {
            unnoticed.insert(byte / 4096);
        } else {
            assert!(!path.exists(), "byte {byte}");
        }
    }
    // Two blocks of places, then the one of envelopes, for which nobody asked.
    assert_eq!(unnoticed, BTreeSet::from([3]));
}

#[test]
fn a_copy_that_is_cut_short_or_put_together_from_others_is_discarded() {
    let (folder, _, repository, model, path) = copied();
    let sound = fs::read(&path).unwrap();
    // The same index once more, as another process has it: other nonce, other MACs.
    fs::remove_file(&path).unwrap();
    open(&repository, &model);
    let other = fs::read(&folder.copies()[0]).unwrap();
    assert!(other.len() == sound.len() && other != sound);
    let mut wrong: Vec<Vec<u8>> = Vec::new();
    for block in 0..=sound.len() / 4096 {
        for length in [block * 4096, block * 4096 + 1, (block * 4096).saturating_sub(1)] {
            if length < sound.len() {
                wrong.push(sound[..length].to_vec());
            }
        }
    }
    wrong.push([sound.as_slice(), &[0]].concat());
    wrong.push([sound.as_slice(), &[0; 4096]].concat());
    wrong.push([sound.as_slice(), &sound[sound.len() - 4096..]].concat());
    for block in 0..sound.len() / 4096 {
        let range = block * 4096..(block + 1) * 4096;
        let mut mixed = sound.clone();
        mixed[range.clone()].copy_from_slice(&other[range.clone()]);
        wrong.push(mixed);
        let mut moved = sound.clone();
        let next = (block + 1) % (sound.len() / 4096);
        moved[range].copy_from_slice(&sound[next * 4096..(next + 1) * 4096]);
        wrong.push(moved);
    }
    let total = wrong.len();
    let mut noticed = 0;
    for bytes in wrong {
        for copy in folder.copies() {
            fs::remove_file(copy).unwrap();
        }
        fs::write(&path, bytes).unwrap();
        let index = open(&repository, &model);
        noticed += usize::from(!ask_for_all(&index, &model).is_empty());
        compare(&index, &model, "put together");
    }
    // Two of them change only the block of envelopes, which nobody asks for.
    assert_eq!(noticed, total - 2);
}

#[test]
fn a_copy_that_is_damaged_while_it_is_searched_is_made_again_with_the_same_numbers() {
    let (folder, backend, repository, model, path) = copied();
    let damage = |path: &Path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        for block in 1..4 {
            file.write_all_at(b"rot", block * 4096 + 100).unwrap();
        }
    };
    let (id, kind) = model.facts().into_keys().next().unwrap();
    let index = open(&repository, &model);
    let number = index.first_place(kind, &number_id("blob", 40)).unwrap().unwrap();
    let place = index.place(number).unwrap();
    // Another thread has no block of it yet.
    damage(&path);
    std::thread::scope(|scope| {
        let looked = scope.spawn(|| (index.contains(kind, &id).unwrap(), index.place(number).unwrap()));
        assert_eq!(looked.join().unwrap(), (true, place));
    });
    compare(&index, &model, "healed");
    assert!(!path.exists());
    let collector = Collector::default();
    index.report_troubles(&collector as &dyn Reporter);
    assert_eq!(collector.findings().len(), 1);
    index.report_troubles(&collector as &dyn Reporter);
    assert_eq!(collector.findings().len(), 1, "told once");
    // The next start makes a new copy.
    compare(&open(&repository, &model), &model, "again");
    assert_eq!(folder.copies().len(), 1);

    // Where what it covered has changed meanwhile, the numbers would be others: the command fails, and the next
    // one is right.
    let index = open(&repository, &model);
    damage(&folder.copies()[0]);
    let gone = *model.objects.keys().next().unwrap();
    remove(&backend, &gone);
    std::thread::scope(|scope| {
        let looked = scope.spawn(|| index.contains(kind, &id).map_err(|error| error.kind()));
        assert_eq!(looked.join().unwrap(), Err(ErrorKind::Missing));
    });
    let mut model = model;
    model.objects.remove(&gone);
    compare(&open(&repository, &model), &model, "after the failure");
}

#[test]
fn a_damaged_copy_is_not_merged() {
    let (folder, _, repository, mut model, path) = copied();
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096 + 100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let object = plain_object(3);
    model.objects.insert(put(&repository, &object), object);
    let index = open(&repository, &model);
    assert_eq!(index.troubles.lock().unwrap().len(), 1);
    compare(&index, &model, "merged without it");
    assert!(!path.exists());
    assert_eq!(folder.copies().len(), 1);
}

#[test]
fn copies_are_the_owners_alone_and_of_no_use_to_a_stranger() {
    let (folder, _, _, _, path) = copied();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    // Another repository's key finds nothing in it that it believes.
    let (_, stranger) = repository();
    let stranger = stranger.with_index_folders(folder.folders(20, 1));
    let index = open(&stranger, &Model::default());
    assert_eq!((index.all().count(), index.troubles.lock().unwrap().len()), (0, 1));
}

#[test]
fn a_small_index_is_never_written_down_and_check_believes_no_copy() {
    let (folder, _, repository, model, path) = copied();
    let read = ReadObjects::read_afresh(&repository).unwrap();
    assert!(read.runs.iter().all(|covered| covered.path.is_none()));
    compare(&Index::build(&read, &|_| true).unwrap(), &model, "afresh");
    fs::remove_file(&path).unwrap();
    let repository = repository.with_index_folders(folder.folders(1000, 1 << 15));
    compare(&open(&repository, &model), &model, "small");
    assert!(folder.copies().is_empty());
}

#[test]
fn a_cache_that_cannot_be_written_costs_time_only() {
    let (folder, _, repository, model, _) = copied();
    let blocked = folder.0.join("blocked");
    fs::write(&blocked, b"a file, no folder").unwrap();
    let here = |cache: &Path, temporary: &Path| {
        let folders = IndexFolders::new(Some(cache.to_owned()), Some(temporary.to_owned()));
        repository.clone().with_index_folders(folders.with_sizes(20, 1, 3000))
    };
    for temporary in [folder.0.join("temporary"), blocked.join("temporary")] {
        let index = open(&here(&blocked.join("index"), &temporary), &model);
        compare(&index, &model, "blocked");
        assert!(!index.troubles.lock().unwrap().is_empty());
    }
}

#[test]
fn what_killed_runs_left_is_removed_and_what_living_ones_write_is_not() {
    let (folder, _, repository, model, path) = copied();
    let left = path.with_file_name("new-left");
    let living = path.with_file_name("new-living");
    for path in [&left, &living] {
        fs::write(path, b"half").unwrap();
    }
    let file = fs::File::open(&living).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    compare(&open(&repository, &model), &model, "leftovers");
    assert!(!left.exists() && living.exists() && path.exists());
    assert_eq!(folder.copies().len(), 2);
}

#[test]
fn many_at_once_share_a_cache() {
    let (backend, bare) = repository();
    let folder = Folder::new();
    let model = std::sync::Mutex::new(Model::default());
    for round in 0..20 {
        let mut random = Random::new(100 + round);
        {
            let mut model = model.lock().unwrap();
            for _ in 0..3 {
                let object = random_object(&mut random, &model);
                model.objects.insert(put(&bare, &object), object);
            }
        }
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let repository = bare.clone().with_index_folders(folder.folders(10, 1));
                let model = &model;
                scope.spawn(move || {
                    let read = ReadObjects::read(&repository).unwrap();
                    let index = Index::build(&read, &|_| true).unwrap();
                    compare(&index, &model.lock().unwrap(), "shared");
                });
            }
        });
    }
    assert!(backend.objects().len() > 20);
    // Whoever comes last leaves one that covers all, or few.
    open(&bare.with_index_folders(folder.folders(10, 1)), &model.into_inner().unwrap());
    assert!(folder.copies().len() <= 8, "{}", folder.copies().len());
}

#[test]
fn many_threads_that_meet_damage_at_once_wait_for_no_one_of_each_other() {
    let (_, bare) = repository();
    let folder = Folder::new();
    let repository = bare.with_index_folders(folder.folders(100_000, 1));
    for number in 0..200 {
        put(&repository, &plain_object(number));
    }
    let build = || Index::build(&ReadObjects::read(&repository).unwrap(), &|_| true).unwrap();
    drop(build());
    let index = Arc::new(build());
    let copy = fs::OpenOptions::new().write(true).open(&folder.copies()[0]).unwrap();
    for block in 1..80 {
        copy.write_all_at(b"rot", block * 4096 + 100).unwrap();
    }
    let (done, waiting) = std::sync::mpsc::channel();
    let ask = |index: &Index, number: u64| {
        let id = number_id("blob", number * 7919 % 6000);
        assert!(index.contains(BlobKind::Chunk, &id).unwrap());
    };
    let (first, second) = (Arc::clone(&index), index);
    let finished = done.clone();
    std::thread::spawn(move || {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        pool.install(|| (0..6000).into_par_iter().for_each(|number| ask(&first, number)));
        finished.send(()).unwrap();
    });
    std::thread::spawn(move || {
        (0..6000).for_each(|number| ask(&second, number));
        done.send(()).unwrap();
    });
    for _ in 0..2 {
        waiting.recv_timeout(std::time::Duration::from_mins(1)).expect("both come to an end");
    }
}
