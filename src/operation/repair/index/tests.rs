//! Repairing an index that lies, beside others who write, on a store that leaves things out.

use std::sync::{Arc, Mutex};

use super::{Options, Summary, run};
use crate::backend::{Backend, Listed, MemoryBackend, ObjectKind, ObjectName};
use crate::crypto::kdf::Cost;
use crate::crypto::secret::Secret;
use crate::error::{ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::index as format;
use crate::format::node::Timestamp;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::Collector;
use crate::repository::Repository;
use crate::repository::index::{Index, read_index_object};
use crate::repository::keys::{Credential, NewKey};
use crate::repository::writer::BlobWriter;

type Step = Box<dyn FnOnce() + Send>;

/// A store that hides a pack from listings, and lets a test step in before packs are listed.
#[derive(Clone, Default)]
struct Odd {
    memory: MemoryBackend,
    hidden: Arc<Mutex<Option<Id>>>,
    before_packs: Arc<Mutex<Option<Step>>>,
}

impl Backend for Odd {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.memory.put(name, bytes)
    }

    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>> {
        self.memory.get(name, limit)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.memory.get_range(name, offset, length)
    }

    fn size(&self, name: &ObjectName) -> Result<u64> {
        self.memory.size(name)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        if kind == ObjectKind::Pack
            && let Some(step) = self.before_packs.lock().unwrap().take()
        {
            step();
        }
        let mut listed = self.memory.list(kind)?;
        listed.retain(|object| Some(object.id) != *self.hidden.lock().unwrap());
        Ok(listed)
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

/// Stores some chunks, and names them in an index object of their own.
fn store(repository: &Repository, seed: u8) {
    let index = Index::default();
    let writer = BlobWriter::new(repository, &index).unwrap();
    for number in 0..5 {
        writer.store_blob(BlobKind::Chunk, &[seed, number, 7].repeat(50)).unwrap();
    }
    writer.finish(Vec::new()).unwrap();
}

fn repair(repository: &Repository, read_all_packs: bool) -> Summary {
    let options = Options { read_all_packs, ..Options::default() };
    run(repository, options, &Collector::default(), &Interrupt::default()).unwrap()
}

fn objects(repository: &Repository) -> Vec<Id> {
    repository.list_ids(ObjectKind::Index).unwrap()
}

#[test]
fn a_wrong_record_is_put_right_where_every_pack_is_read() {
    let (_, repository) = create();
    store(&repository, 1);
    let [good] = objects(&repository)[..] else { panic!("one object") };
    let right = read_index_object(&repository, &good).unwrap();
    let mut wrong = right.clone();
    wrong.packs[0].entries[2].id = Id([9; 32]);
    repository.put_hashed(ObjectKind::Index, &format::encode(&wrong).unwrap()).unwrap();
    repository.backend().delete(&ObjectName::new(ObjectKind::Index, good)).unwrap();

    assert_eq!(repair(&repository, false), Summary { packs: 1, ..Summary::default() });
    let repaired = repair(&repository, true);
    assert_eq!((repaired.packs_corrected, repaired.packs_added, repaired.objects_deleted), (1, 0, 1));
    let [now] = objects(&repository)[..] else { panic!("one object") };
    assert_eq!(read_index_object(&repository, &now).unwrap(), right);
    let again = repair(&repository, true);
    assert_eq!((again.packs_corrected, again.objects_written), (0, 0));
}

#[test]
fn what_a_backup_adds_meanwhile_is_untouched() {
    let (odd, repository) = create();
    store(&repository, 1);
    let before = objects(&repository);
    odd.memory.delete(&ObjectName::new(ObjectKind::Index, before[0])).unwrap();
    let other = repository.clone();
    *odd.before_packs.lock().unwrap() = Some(Box::new(move || store(&other, 2)));
    let repaired = repair(&repository, false);
    assert_eq!(repaired.objects_deleted, 0);
    // Its pack was not yet named when the index was read: it is named twice now, which does no harm.
    assert_eq!((repaired.packs, repaired.packs_added), (2, 2));
    assert_eq!(objects(&repository).len(), 2);
}

#[test]
fn a_pack_that_a_listing_leaves_out_stays_named() {
    let (odd, repository) = create();
    store(&repository, 1);
    let before = objects(&repository);
    let pack = repository.list_ids(ObjectKind::Pack).unwrap()[0];
    *odd.hidden.lock().unwrap() = Some(pack);
    assert_eq!(repair(&repository, false), Summary { packs: 1, ..Summary::default() });
    assert_eq!(objects(&repository), before);
    // One that is gone indeed is not.
    odd.memory.delete(&ObjectName::new(ObjectKind::Pack, pack)).unwrap();
    let repaired = |packs_are_gone| {
        let options = Options { packs_are_gone, ..Options::default() };
        run(&repository, options, &Collector::default(), &Interrupt::default())
    };
    // It is the only one: somebody has to say that it is.
    assert_eq!(repaired(false).unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(objects(&repository), before);
    let repaired = repaired(true).unwrap();
    assert_eq!((repaired.packs_dropped, repaired.objects_deleted, repaired.objects_written), (1, 1, 0));
    assert!(objects(&repository).is_empty());
}
