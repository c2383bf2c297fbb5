//! Repairing packs on a store that reads wrongly, beside others who condemn and give up.

use std::sync::{Arc, Mutex};

use super::{Options, Summary, run};
use crate::backend::{Backend, Listed, MemoryBackend, ObjectKind, ObjectName};
use crate::crypto::kdf::Cost;
use crate::crypto::secret::Secret;
use crate::error::{ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::node::Timestamp;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::limits;
use crate::report::Collector;
use crate::repository::Repository;
use crate::repository::index::{Index, Place, ReadObjects};
use crate::repository::keys::{Credential, NewKey};
use crate::repository::reader::{BlobReader, BlobSource};
use crate::repository::session;
use crate::repository::writer::BlobWriter;

type AfterGet = Box<dyn FnMut(&MemoryBackend, &ObjectName, Result<Vec<u8>>) -> Result<Vec<u8>> + Send>;
type AfterPut = Box<dyn FnMut(&MemoryBackend, &ObjectName) + Send>;

/// A store in which a test may alter what whole objects read as, and step in behind each that is stored.
#[derive(Clone, Default)]
struct Odd {
    memory: MemoryBackend,
    after_get: Arc<Mutex<Option<AfterGet>>>,
    after_put: Arc<Mutex<Option<AfterPut>>>,
}

impl Backend for Odd {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.memory.put(name, bytes)?;
        if let Some(step) = self.after_put.lock().unwrap().as_mut() {
            step(&self.memory, name);
        }
        Ok(())
    }

    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>> {
        let read = self.memory.get(name, limit);
        match self.after_get.lock().unwrap().as_mut() {
            Some(step) if name.kind == ObjectKind::Pack => step(&self.memory, name, read),
            _ => read,
        }
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.memory.get_range(name, offset, length)
    }

    fn size(&self, name: &ObjectName) -> Result<u64> {
        self.memory.size(name)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        self.memory.list(kind)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.memory.delete(name)
    }

    fn location(&self) -> String {
        "an odd store".into()
    }
}

fn create() -> (Odd, Repository) {
    let store = Odd::default();
    let credential = Credential::KeyFile(Secret::new([1; 32]));
    let new = NewKey { credential: &credential, cost: Cost::LEAST, label: "x", time: Timestamp::default() };
    let repository = Repository::create(Arc::new(store.clone()), &new).unwrap();
    (store, repository)
}

/// A chunk of its own for each seed.
fn chunk(seed: u8) -> Vec<u8> {
    vec![seed; 1000]
}

fn id(repository: &Repository, seed: u8) -> Id {
    repository.keyring().blob_id(BlobKind::Chunk, &chunk(seed))
}

/// Stores chunks in a pack of their own, whether they are there or not.
fn store(repository: &Repository, seeds: &[u8]) -> Id {
    let before = repository.list_ids(ObjectKind::Pack).unwrap();
    let index = Index::default();
    let writer = BlobWriter::new(repository, &index).unwrap();
    for seed in seeds {
        writer.store_blob(BlobKind::Chunk, &chunk(*seed)).unwrap();
    }
    writer.finish(Vec::new()).unwrap();
    let mut new = repository.list_ids(ObjectKind::Pack).unwrap();
    new.retain(|pack| !before.contains(pack));
    assert_eq!(new.len(), 1);
    new[0]
}

fn index(repository: &Repository) -> Index {
    Index::build(&ReadObjects::read(repository).unwrap(), &|_| true).unwrap()
}

fn names(repository: &Repository, pack: &Id) -> bool {
    index(repository).packs().iter().any(|named| named.id == *pack)
}

/// Damages a chunk in a pack.
fn hurt(store: &Odd, repository: &Repository, pack: &Id, seed: u8) {
    let index = index(repository);
    let places = index.places(BlobKind::Chunk, &id(repository, seed)).unwrap();
    let lies_there = |place: &&Place| index.pack(place).unwrap().id == *pack;
    let place = places.iter().find(lies_there).unwrap();
    let name = ObjectName::new(ObjectKind::Pack, *pack);
    let mut bytes = store.memory.get(&name, limits::PACK_MAX).unwrap();
    bytes[place.offset as usize] ^= 1;
    store.memory.replace(&name, bytes);
}

fn repair(repository: &Repository, packs: &[Id]) -> (Result<Summary>, String) {
    repair_as(repository, packs, false)
}

fn repair_as(repository: &Repository, packs: &[Id], packs_are_damaged: bool) -> (Result<Summary>, String) {
    let options = Options {
        packs: packs.iter().map(Id::to_hex).collect(),
        packs_are_damaged,
        dry_run: false,
        host: "server".into(),
        interrupt: Interrupt::default(),
    };
    let collector = Collector::default();
    let done = run(repository, None, &options, &collector);
    (done, format!("{:?}", collector.findings()))
}

/// Whether a chunk can be read by whoever leaves condemned packs alone.
fn is_there(repository: &Repository, seed: u8) -> bool {
    let known = session::usable(repository).unwrap().index.contains(BlobKind::Chunk, &id(repository, seed));
    let collector = Collector::default();
    let reader = BlobReader::new(repository, &collector).unwrap();
    known.unwrap()
        && reader.fetch(BlobKind::Chunk, &id(repository, seed)).is_ok_and(|read| read == chunk(seed))
}

#[test]
fn a_pack_that_was_not_read_does_not_count_as_good() {
    let (store_of, repository) = create();
    let one = store(&repository, &[1, 2]);
    let other = store(&repository, &[1, 3]);
    hurt(&store_of, &repository, &one, 2);
    hurt(&store_of, &repository, &other, 1);
    let (done, told) = repair(&repository, &[one]);
    let done = done.unwrap();
    assert_eq!((done.packs_damaged, done.blobs_saved), (vec![one], 1), "{told}");
    assert_eq!(done.blobs_lost.get("chunk"), Some(&1), "{told}");
    assert!(is_there(&repository, 1));
    let done = repair(&repository, &[]).0.unwrap();
    assert_eq!((done.packs_damaged, done.blobs_lost.len()), (vec![other], 0));
    assert!(is_there(&repository, 1) && is_there(&repository, 3));
}

#[test]
fn what_is_bad_in_one_pack_comes_from_a_condemned_one() {
    let (store_of, repository) = create();
    let damaged = store(&repository, &[1, 2]);
    let condemned = store(&repository, &[1]);
    repository.put_condemned(vec![condemned]).unwrap();
    hurt(&store_of, &repository, &damaged, 1);
    let (done, told) = repair(&repository, &[]);
    let done = done.unwrap();
    assert_eq!((done.blobs_saved, done.blobs_lost.len()), (2, 0), "{told}");
    store_of.memory.remove(&ObjectName::new(ObjectKind::Pack, condemned));
    assert!(is_there(&repository, 1) && is_there(&repository, 2));
}

#[test]
fn a_pack_that_is_damaged_at_the_first_reading_alone_is_left() {
    for gone in [false, true] {
        let (store_of, repository) = create();
        store(&repository, &[1, 2]);
        let mut reads = 0;
        *store_of.after_get.lock().unwrap() = Some(Box::new(move |_, name, read| {
            reads += 1;
            let mut bytes = read?;
            match reads {
                1 => bytes[40] ^= 1,
                _ if gone => return Err(crate::error::Error::missing(format!("{} is gone", name.path()))),
                _ => {}
            }
            Ok(bytes)
        }));
        let (done, told) = repair(&repository, &[]);
        let done = done.unwrap();
        assert_eq!((done.packs_damaged, done.packs_left), (Vec::new(), 1), "{told}");
        assert!(done.blobs_lost.is_empty(), "{told}");
        assert_eq!(told.contains("memory"), !gone, "{told}");
        assert!(repository.list_ids(ObjectKind::Gc).unwrap().is_empty());
        *store_of.after_get.lock().unwrap() = None;
        assert!(is_there(&repository, 1) && is_there(&repository, 2));
    }
}

#[test]
fn a_pack_that_is_longer_than_any_may_be_is_saved_whole() {
    let (store_of, repository) = create();
    let pack = store(&repository, &[1, 2]);
    let name = ObjectName::new(ObjectKind::Pack, pack);
    let mut bytes = store_of.memory.get(&name, limits::PACK_MAX).unwrap();
    bytes.resize(limits::PACK_MAX as usize + 1, 0);
    store_of.memory.replace(&name, bytes);
    let (done, told) = repair(&repository, &[]);
    let done = done.unwrap();
    assert_eq!((done.packs_damaged, done.blobs_saved), (vec![pack], 2), "{told}");
    assert!(done.blobs_lost.is_empty(), "{told}");
    store_of.memory.remove(&name);
    assert!(is_there(&repository, 1) && is_there(&repository, 2));
}

#[test]
fn where_most_packs_seem_damaged_none_is_condemned_but_by_a_flag() {
    let (store_of, repository) = create();
    let packs: Vec<Id> = (0..8).map(|seed| store(&repository, &[seed, seed + 100])).collect();
    for (pack, seed) in packs.iter().zip(0..4) {
        hurt(&store_of, &repository, pack, seed);
    }
    let before = store_of.memory.snapshot();
    // Whoever names them may have them from a check that read as wrongly.
    for named in [&[][..], &packs[..4]] {
        let error = repair(&repository, named).0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{}", error.chain());
        assert!(error.chain().contains("4 of 8 packs"), "{}", error.chain());
        assert_eq!(store_of.memory.snapshot(), before);
    }
    let done = repair_as(&repository, &packs[..4], true).0.unwrap();
    assert_eq!((done.packs_damaged.len(), done.blobs_saved), (4, 4));
    assert!((100..108).all(|seed| is_there(&repository, seed)));
    // Three are few.
    let more: Vec<Id> = (10..13).map(|seed| store(&repository, &[seed])).collect();
    for (pack, seed) in more.iter().zip(10..13) {
        hurt(&store_of, &repository, pack, seed);
    }
    assert_eq!(repair(&repository, &[]).0.unwrap().packs_damaged.len(), 3);
}

#[test]
fn one_that_is_not_there_keeps_no_other_from_being_repaired() {
    let (store_of, repository) = create();
    let damaged = store(&repository, &[1, 2]);
    let gone = store(&repository, &[3]);
    let condemned = store(&repository, &[4]);
    store(&repository, &[5]);
    hurt(&store_of, &repository, &damaged, 2);
    hurt(&store_of, &repository, &condemned, 4);
    assert_eq!(repair(&repository, &[condemned]).0.unwrap().packs_damaged, vec![condemned]);
    store_of.memory.remove(&ObjectName::new(ObjectKind::Pack, gone));
    let (done, told) = repair(&repository, &[gone, condemned, damaged]);
    let done = done.unwrap();
    assert_eq!((done.packs_damaged, done.packs_left), (vec![damaged], 1), "{told}");
    assert!(told.contains("is not there") && told.contains("is condemned already"), "{told}");
    assert_eq!(repair(&repository, &[gone]).0.unwrap_err().kind(), ErrorKind::Missing);
}

#[test]
fn a_repair_that_was_given_up_leaves_the_names_of_damaged_packs() {
    let (store_of, repository) = create();
    let damaged = store(&repository, &[1, 2]);
    let good = store(&repository, &[1]);
    hurt(&store_of, &repository, &damaged, 2);
    // Somebody gives the session up, and deletes what it counted on, just when the pack was condemned.
    *store_of.after_put.lock().unwrap() = Some(Box::new(move |memory, name| {
        if name.kind == ObjectKind::Gc {
            for session in memory.list(ObjectKind::Session).unwrap() {
                memory.put(&ObjectName::new(ObjectKind::Abandoned, session.id), b"given up").unwrap();
            }
            memory.remove(&ObjectName::new(ObjectKind::Pack, good));
        }
    }));
    let error = repair(&repository, &[]).0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Abandoned, "{}", error.chain());
    assert!(error.next_step().is_some_and(|step| step.contains("run it again")));
    assert!(names(&repository, &damaged) && !is_there(&repository, 1));
    *store_of.after_put.lock().unwrap() = None;
    let (done, told) = repair(&repository, &[]);
    let done = done.unwrap();
    assert_eq!((done.packs_damaged, done.blobs_saved), (vec![damaged], 1), "{told}");
    assert!(!names(&repository, &damaged) && is_there(&repository, 1));
}
