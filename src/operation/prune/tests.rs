//! Prune against index objects that lie: whoever holds a backup key can write them.

use std::sync::Arc;

use super::*;
use crate::backend::{MemoryBackend, ObjectKind};
use crate::crypto::kdf::Cost;
use crate::crypto::secret::Secret;
use crate::format::blob::BlobKind;
use crate::format::index::{self, IndexObject, IndexedPack};
use crate::format::snapshot::Manifest;
use crate::format::tests::{Random, file_node, manifest};
use crate::operation::check;
use crate::report::Collector;
use crate::repository::host;
use crate::repository::index::{ReadObjects, read_index_object};
use crate::repository::keys::{Credential, NewKey};
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
    let credential = Credential::KeyFile(Secret::new([7; 32]));
    let new = NewKey { credential: &credential, cost: Cost::LEAST, label: "key", time: host::now() };
    Repository::create(Arc::new(MemoryBackend::default()), &new).unwrap()
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
