//! Prune against index objects that lie: whoever holds a backup key can write them.

use std::sync::Arc;

use super::*;
use crate::backend::{Backend, MemoryBackend, ObjectKind, ObjectName};
use crate::crypto::kdf::Cost;
use crate::crypto::secret::Secret;
use crate::format::blob::{BlobKind, Class};
use crate::format::index::{self, IndexObject, IndexedPack};
use crate::format::snapshot::Manifest;
use crate::format::tests::{Random, file_node, manifest};
use crate::operation::check;
use crate::report::Collector;
use crate::repository::host;
use crate::repository::index::{Index, ReadObjects, read_index_object};
use crate::repository::keys::{Credential, NewKey};
use crate::repository::mover::{BlobMover, SealedBlob};
use crate::repository::reader::{BlobReader, BlobSource};
use crate::repository::session::{Commit, Session};
use crate::repository::tree::TreeBuilder;
use crate::repository::writer::BlobWriter;

fn options() -> Options {
    Options {
        dry_run: false,
        max_unused: Limit::Part(0),
        max_repack: None,
        repack_small: false,
        wait: false,
        allow_fewer_packs: true,
        host: "tests".into(),
        interrupt: Interrupt::default(),
    }
}

fn create() -> Repository {
    create_in(Arc::new(MemoryBackend::default()))
}

fn create_in(store: Arc<dyn Backend>) -> Repository {
    let credential = Credential::KeyFile(Secret::new([7; 32]));
    let new = NewKey { credential: &credential, cost: Cost::LEAST, label: "key", time: host::now() };
    Repository::create(store, &new).unwrap()
}

/// A snapshot of files of one chunk each; gives the chunks.
fn night(repository: &Repository, seeds: std::ops::Range<u64>) -> Vec<Id> {
    let session = Session::begin(repository, None, "server").unwrap();
    let usable = session.usable().unwrap();
    let writer = BlobWriter::new(repository, &usable.index).unwrap();
    let mut tree = TreeBuilder::new(&writer, repository.keyring());
    let mut chunks = Vec::new();
    for (number, seed) in seeds.enumerate() {
        let plain = Random::new(seed).bytes(20_000);
        let id = writer.store_blob(BlobKind::Chunk, &plain).unwrap();
        let node = file_node(&[id], 20_000);
        tree.push(format!("file{number:03}").as_bytes(), &node).unwrap();
        chunks.push(id);
    }
    let root = tree.finish().unwrap();
    writer.finish(usable.adopted).unwrap();
    let manifest = Manifest { root: root.id, level: root.level, ..manifest() };
    assert_eq!(session.commit(&manifest).unwrap(), Commit::Done);
    chunks
}

/// All that honest index objects say.
fn said(repository: &Repository) -> Vec<IndexObject> {
    let read = ReadObjects::read(repository).unwrap();
    read.listed().iter().map(|id| read_index_object(repository, id).unwrap()).collect()
}

fn lie(repository: &Repository, object: &IndexObject) {
    repository.put_hashed(ObjectKind::Index, &index::encode(object).unwrap()).unwrap();
}

#[track_caller]
fn assert_whole(repository: &Repository, chunks: &[Id]) {
    let reader = BlobReader::new(repository, &Collector::default()).unwrap();
    for id in chunks {
        reader.fetch(BlobKind::Chunk, id).unwrap();
    }
    let reporter = Collector::default();
    check::run(repository, false, &reporter, &Interrupt::default()).unwrap();
    assert!(
        reporter.findings().iter().all(|finding| !finding.subject.contains("snapshot")),
        "{:?}",
        reporter.findings()
    );
}

/// Prunes beside each of these lies; whatever it does, nothing that is needed goes.
#[track_caller]
fn survives(lies: impl Fn(&[IndexObject]) -> Vec<IndexObject>) {
    let repository = create();
    night(&repository, 0..12);
    let old = repository.snapshots().unwrap().snapshots.remove(0);
    let mut kept = night(&repository, 6..18);
    repository.put_forgotten(&old.id, Some(old.used_number())).unwrap();
    for object in lies(&said(&repository)) {
        lie(&repository, &object);
    }
    kept.extend(night(&repository, 0..3));
    for _ in 0..3 {
        if let Err(error) = run(&repository, None, &options(), &Collector::default()) {
            assert!(error.next_step().is_some(), "{}", error.chain());
        }
        assert_whole(&repository, &kept);
    }
}

#[test]
fn packs_of_another_size_take_none_with_them() {
    survives(|said| {
        let packs = said.iter().flat_map(|object| &object.packs);
        let packs =
            packs.map(|pack| IndexedPack { size: pack.size + 1, entries: Vec::new(), ..pack.clone() });
        vec![IndexObject { envelopes: Vec::new(), packs: packs.collect() }]
    });
}

#[test]
fn blobs_at_other_places_of_their_pack_are_not_believed() {
    survives(|said| {
        let shifted = |object: &IndexObject| {
            let mut object = object.clone();
            for pack in &mut object.packs {
                pack.entries.reverse();
            }
            object
        };
        said.iter().map(shifted).collect()
    });
}

#[test]
fn one_pack_that_is_said_to_hold_everything_does_not() {
    for which in 0..4 {
        survives(|said| {
            let packs: Vec<&IndexedPack> = said.iter().flat_map(|object| &object.packs).collect();
            let Some(holder) = packs.get(which) else { return Vec::new() };
            let mut object = IndexObject { envelopes: said[0].envelopes.clone(), packs: Vec::new() };
            let same = packs.iter().filter(|pack| pack.class == holder.class);
            let mut entries: Vec<_> = same.flat_map(|pack| pack.entries.clone()).collect();
            let mut room = holder.size - 1000;
            entries.retain(|entry| {
                let fits = u64::from(entry.stored_length) <= room;
                room -= if fits { u64::from(entry.stored_length) } else { 0 };
                fits
            });
            for entry in &mut entries {
                entry.envelope = 0;
            }
            object.packs.push(IndexedPack { entries, ..(*holder).clone() });
            vec![object]
        });
    }
}

#[test]
fn what_lies_in_condemned_packs_alone_is_taken_from_one_that_is_whole() {
    for damaged in 0..2 {
        let store = Arc::new(MemoryBackend::default());
        let repository = create_in(store.clone());
        let chunks = night(&repository, 0..3);
        let first = data_packs(&repository);
        // A second copy of each chunk, and both packs condemned, as two prunes at once may leave them.
        let index = Index::build(&ReadObjects::read(&repository).unwrap(), &|_| true).unwrap();
        let mover = BlobMover::new(&repository);
        for (_, place) in index.all().map(Result::unwrap).filter(|(_, place)| place.kind == BlobKind::Chunk) {
            let opened = confirm::OpenedPack::read(&repository, &index.pack(&place).unwrap().id).unwrap();
            let envelope = index.envelope(&place).unwrap();
            let frame = opened.frame(&place, &envelope).unwrap();
            let (kind, id, plain_length) = (place.kind, place.id, place.plain_length);
            mover.add(&SealedBlob { kind, id, plain_length, envelope: &envelope, frame }).unwrap();
        }
        mover.finish().unwrap();
        let mut packs = data_packs(&repository);
        packs.retain(|pack| !first.contains(pack));
        let both = [first, packs].concat();
        assert_eq!(both.len(), 2);
        repository.put_condemned(both.clone()).unwrap();
        let name = ObjectName::new(ObjectKind::Pack, both[damaged]);
        let mut bytes = store.get(&name, u64::MAX).unwrap();
        bytes[100] ^= 1;
        store.replace(&name, bytes);
        run(&repository, None, &options(), &Collector::default()).unwrap();
        assert_whole(&repository, &chunks);
        assert!(data_packs(&repository).iter().all(|pack| !both.contains(pack)));
    }
}

fn data_packs(repository: &Repository) -> Vec<Id> {
    let said = said(repository);
    let packs = said.iter().flat_map(|object| &object.packs).filter(|pack| pack.class == Class::Data);
    let mut packs: Vec<Id> = packs.map(|pack| pack.id).collect();
    packs.sort_unstable();
    packs.dedup();
    packs
}

/// A store in which an index object is added with every listing of packs.
struct Restless(MemoryBackend, std::sync::Mutex<Vec<Vec<u8>>>);

impl Backend for Restless {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.0.put(name, bytes)
    }
    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>> {
        self.0.get(name, limit)
    }
    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.0.get_range(name, offset, length)
    }
    fn size(&self, name: &ObjectName) -> Result<u64> {
        self.0.size(name)
    }
    fn list(&self, kind: ObjectKind) -> Result<Vec<crate::backend::Listed>> {
        if kind == ObjectKind::Pack
            && let Some(bytes) = self.1.lock().unwrap().pop()
        {
            self.0.put(&ObjectName::new(ObjectKind::Index, crate::crypto::derive::hash(&bytes)), &bytes)?;
        }
        self.0.list(kind)
    }
    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.0.delete(name)
    }
    fn location(&self) -> String {
        self.0.location()
    }
}

#[test]
fn what_is_missing_while_the_index_changes_is_no_loss() {
    let store = Arc::new(Restless(MemoryBackend::default(), std::sync::Mutex::default()));
    let repository = create_in(store.clone());
    let chunks = night(&repository, 0..3);
    // Index objects that say nothing, made before and taken out again.
    let mut spare = Vec::new();
    for _ in 0..40 {
        let (id, _) = repository
            .put_hashed(ObjectKind::Index, &index::encode(&IndexObject::default()).unwrap())
            .unwrap();
        spare.extend(store.0.remove(&ObjectName::new(ObjectKind::Index, id)));
    }
    let pack = ObjectName::new(ObjectKind::Pack, data_packs(&repository)[0]);
    let bytes = store.0.remove(&pack).unwrap();
    let error = run(&repository, None, &options(), &Collector::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing, "nothing changes: {}", error.chain());
    *store.1.lock().unwrap() = spare;
    let error = run(&repository, None, &options(), &Collector::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{}", error.chain());
    store.1.lock().unwrap().clear();
    store.0.replace(&pack, bytes);
    run(&repository, None, &options(), &Collector::default()).unwrap();
    assert_whole(&repository, &chunks);
}
