//! Checks of indexes that lie, and what is said to mend them.

use std::sync::Arc;

use super::*;
use crate::backend::{MemoryBackend, ObjectName};
use crate::crypto::kdf::Cost;
use crate::crypto::secret::Secret;
use crate::format::index::{self, IndexObject};
use crate::format::snapshot::Manifest;
use crate::format::tests::{Random, file_node, manifest};
use crate::operation::repair::index as repair;
use crate::report::Collector;
use crate::repository::index::read_index_object;
use crate::repository::keys::{Credential, NewKey};
use crate::repository::session::Session;
use crate::repository::tree::TreeBuilder;
use crate::repository::writer::BlobWriter;

/// A repository with one snapshot of a few files.
fn create() -> (MemoryBackend, Repository) {
    let store = MemoryBackend::new();
    let credential = Credential::KeyFile(Secret::new([7; 32]));
    let new = NewKey { credential: &credential, cost: Cost::LEAST, label: "key", time: host::now() };
    let repository = Repository::create(Arc::new(store.clone()), &new).unwrap();
    let session = Session::begin(&repository, None, "server").unwrap();
    let usable = session.usable().unwrap();
    let writer = BlobWriter::new(&repository, &usable.index).unwrap();
    let mut tree = TreeBuilder::new(&writer, repository.keyring());
    for number in 0..8u64 {
        let plain = Random::new(number).bytes(5000);
        let id = crate::repository::writer::BlobSink::store(&writer, BlobKind::Chunk, &plain).unwrap();
        tree.push(format!("file{number}").as_bytes(), &file_node(&[id], 5000)).unwrap();
    }
    let root = tree.finish().unwrap();
    writer.finish(usable.adopted).unwrap();
    let manifest = Manifest { root: root.id, level: root.level, ..manifest() };
    session.commit(&manifest).unwrap();
    (store, repository)
}

/// Puts other words in the place of all index objects.
fn lie(store: &MemoryBackend, repository: &Repository, change: impl Fn(&mut IndexObject)) {
    for id in repository.list_ids(ObjectKind::Index).unwrap() {
        let mut object = read_index_object(repository, &id).unwrap();
        change(&mut object);
        store.remove(&ObjectName::new(ObjectKind::Index, id));
        repository.put_hashed(ObjectKind::Index, &index::encode(&object).unwrap()).unwrap();
    }
}

fn check(repository: &Repository, read_data: bool) -> (Summary, Vec<Damage>) {
    let reporter = Collector::default();
    let summary = run(repository, read_data, &reporter, &Interrupt::default()).unwrap();
    (summary, reporter.damages())
}

/// What becomes of an index object.
type Lie = &'static dyn Fn(&mut IndexObject);

#[test]
fn an_index_that_lies_about_whole_packs_is_what_is_mended() {
    let lies: [(Lie, bool); 4] = [
        // The sizes, which every listing shows; the order of blobs, their lengths, and one that is not there.
        (&|object| object.packs.iter_mut().for_each(|pack| pack.size += 1), false),
        (&|object| object.packs.iter_mut().for_each(|pack| pack.entries.reverse()), true),
        (&|object| object.packs.iter_mut().for_each(|pack| pack.entries[0].plain_length -= 1), true),
        (
            &|object| object.packs.iter_mut().for_each(|pack| pack.entries.truncate(pack.entries.len() - 1)),
            true,
        ),
    ];
    for (number, (change, read_data)) in lies.into_iter().enumerate() {
        let (store, repository) = create();
        assert_eq!(check(&repository, true).0.problems, 0);
        lie(&store, &repository, change);
        let (summary, damages) = check(&repository, read_data);
        assert!(summary.problems > 0 && summary.broken_packs.is_empty(), "{number}: {damages:?}");
        assert!(!summary.suffering.is_empty(), "{number}: {damages:?}");
        // A length that no frame can have is refused with the whole object: its packs are named anew.
        let read_all_packs = match summary.mend.first().map(String::as_str) {
            Some("strongroom repair index --read-all-packs") => true,
            Some("strongroom repair index") => false,
            other => panic!("{number}: {other:?}"),
        };
        assert_eq!(read_all_packs, number != 2);
        let options = repair::Options { read_all_packs, ..repair::Options::default() };
        repair::run(&repository, options, &Collector::default(), &Interrupt::default()).unwrap();
        let (summary, damages) = check(&repository, true);
        assert_eq!(summary.problems, 0, "{number}: {damages:?}");
    }
}

#[test]
fn the_time_of_a_check_is_what_is_remembered_and_only_of_what_is_whole() {
    let (store, repository) = create();
    let caches = std::env::temp_dir().join(format!("strongroom-check-{}", std::process::id()));
    let repository = repository.with_memory(&caches);
    let at = |seconds| Options { read: Some(Subset::All), now: Timestamp { seconds, nanoseconds: 0 } };
    let run = |seconds| {
        run_with(&repository, &at(seconds), &Collector::default(), &Interrupt::default())
            .unwrap()
            .read
            .unwrap()
    };
    assert_eq!(run(1000).complete_since(), Some(1000));
    assert_eq!(run(5000).complete_since(), Some(5000));
    let pack = store.objects().into_iter().find(|name| name.kind == ObjectKind::Pack).unwrap();
    let whole = store.snapshot().remove(&pack).unwrap();
    let mut damaged = whole.clone();
    damaged[40] ^= 1;
    store.replace(&pack, damaged);
    assert_eq!(run(9000).remembered.unwrap().never, 1);
    store.replace(&pack, whole);
    assert_eq!(run(9500).complete_since(), Some(9500));
    std::fs::remove_dir_all(caches).unwrap();
}
