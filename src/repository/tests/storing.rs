//! Storing blobs: every size and kind comes back, none is stored twice, and packs tell nothing.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use super::support::{Call, Watched, as_role, backup, create, noise, places};
use crate::backend::{Backend, ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind};
use crate::format::blob::{BlobKind, Class};
use crate::format::pack::{self, Table};
use crate::id::Id;
use crate::limits;
use crate::repository::Repository;
use crate::repository::index::{Index, IndexBuilder, open_pack};
use crate::repository::packer::PACK_TARGET;
use crate::repository::reader::{BlobReader, BlobSource};
use crate::repository::session;
use crate::repository::writer::BlobWriter;

/// Every pack: its bytes and its table.
fn packs(store: &Watched, repository: &Repository) -> Vec<(Vec<u8>, Table)> {
    let read = |name: ObjectName| {
        let bytes = store.memory.get(&name, u64::MAX).unwrap();
        let table = open_pack(repository, &name.id, &bytes).unwrap();
        (bytes, table)
    };
    store.names(ObjectKind::Pack).into_iter().map(read).collect()
}

fn store(repository: &Repository, blobs: &[(BlobKind, Vec<u8>)]) -> (Vec<Id>, session::Usable) {
    let usable = session::usable(repository).unwrap();
    let writer = BlobWriter::new(repository, &usable.index).unwrap();
    let ids = blobs.iter().map(|(kind, plain)| writer.store_blob(*kind, plain).unwrap()).collect();
    writer.finish(Vec::new()).unwrap();
    (ids, session::usable(repository).unwrap())
}

#[test]
fn every_size_and_kind_comes_back() {
    let (watched, repository) = create();
    let mut blobs = Vec::new();
    for kind in BlobKind::ALL {
        for length in [0, 1, 28, 29, 4096, 4097, 300_000, limits::BLOB_PLAIN_MAX] {
            blobs.push((kind, noise(length as u64, length)));
            blobs.push((kind, vec![kind.code(); length]));
        }
    }
    let (ids, _) = store(&repository, &blobs);
    let backup = as_role(&watched, &repository, crate::format::key_slot::Role::Backup);
    let reader = BlobReader::new(&repository, &crate::report::Collector::default()).unwrap();
    let blind = BlobReader::new(&backup, &crate::report::Collector::default()).unwrap();
    for ((kind, plain), id) in blobs.iter().zip(&ids) {
        assert!(reader.fetch(*kind, id).unwrap() == *plain, "{kind:?} of {} bytes", plain.len());
        assert_eq!(reader.index().unwrap().plain_length(*kind, id).unwrap(), Some(plain.len() as u32));
        assert_eq!(blind.fetch(*kind, id).unwrap_err().kind(), ErrorKind::RoleNotAllowed);
    }
    for kind in BlobKind::ALL {
        assert_eq!(reader.fetch(kind, &Id([7; 32])).unwrap_err().kind(), ErrorKind::Missing);
    }
    let usable = session::usable(&repository).unwrap();
    let writer = BlobWriter::new(&repository, &usable.index).unwrap();
    let long = vec![0; limits::BLOB_PLAIN_MAX + 1];
    assert_eq!(writer.store_blob(BlobKind::Chunk, &long).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn one_content_has_an_id_for_each_kind() {
    let (_, repository) = create();
    let ids: HashSet<Id> = BlobKind::ALL.map(|kind| repository.keyring().blob_id(kind, b"the same")).into();
    assert_eq!(ids.len(), BlobKind::ALL.len());
}

#[test]
fn nothing_is_stored_twice() {
    let (watched, repository) = create();
    let chunk = |seed| (BlobKind::Chunk, noise(seed, 5000));
    let (first, _) = store(&repository, &[chunk(1), chunk(2), chunk(1), chunk(1)]);
    assert_eq!(first[0], first[2]);
    let entries = || packs(&watched, &repository).iter().map(|pack| pack.1.entries.len()).sum::<usize>();
    assert_eq!(entries(), 2);
    let (second, _) = store(&repository, &[chunk(2), chunk(3)]);
    assert_eq!((second[0], entries()), (first[1], 3));
    let before = watched.memory.snapshot();
    store(&repository, &[chunk(1), chunk(2), chunk(3)]);
    assert_eq!(watched.memory.snapshot(), before);
}

#[test]
fn threads_that_store_the_same_blobs_store_each_once() {
    let (watched, repository) = create();
    let index = Index::default();
    let writer = BlobWriter::new(&repository, &index).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for seed in 0..100 {
                    writer.store_blob(BlobKind::Chunk, &noise(seed, 100)).unwrap();
                }
            });
        }
    });
    let written = writer.finish(Vec::new()).unwrap();
    assert_eq!((written.data_blobs, written.plain_bytes), (100, 10_000));
    assert_eq!(packs(&watched, &repository).iter().map(|pack| pack.1.entries.len()).sum::<usize>(), 100);
}

#[test]
fn a_dry_run_counts_and_stores_nothing() {
    let (watched, repository) = create();
    let before = watched.memory.snapshot();
    let index = Index::default();
    let writer = BlobWriter::dry(&repository, &index).unwrap();
    writer.store_blob(BlobKind::Chunk, &noise(1, 1000)).unwrap();
    writer.store_blob(BlobKind::Leaf, &noise(2, 10)).unwrap();
    let written = writer.finish(Vec::new()).unwrap();
    assert_eq!((written.data_blobs, written.tree_blobs, written.plain_bytes), (1, 1, 1010));
    assert!(written.stored_bytes > 1010);
    assert_eq!(watched.memory.snapshot(), before);
}

#[test]
fn sizes_of_packs_tell_only_their_class() {
    let (watched, repository) = create();
    for count in 1..40 {
        let blobs: Vec<_> =
            (0..count).map(|number| (BlobKind::Chunk, noise(count * 100 + number, 777))).collect();
        store(&repository, &blobs);
    }
    let packs = packs(&watched, &repository);
    assert!(packs.len() >= 39);
    for (bytes, _) in packs {
        let size = bytes.len() as u64;
        assert_eq!(pack::padded_length(size), size);
    }
}

/// The nonce is zeros, so that the key, which is drawn from content key, kind and id, must seal but once.
#[test]
fn a_session_seals_a_blob_once_and_classes_share_no_key() {
    let (watched, repository) = create();
    for _ in 0..2 {
        let index = Index::default();
        let writer = BlobWriter::new(&repository, &index).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let writer = &writer;
                scope.spawn(move || {
                    for number in 0..300 {
                        let kind = BlobKind::ALL[(number % 4) as usize];
                        // Half of them are other threads' blobs too, and the kinds share contents.
                        let seed = (number / 4) << 8 | if number % 8 < 4 { 0 } else { thread };
                        writer.store_blob(kind, &noise(seed, 60)).unwrap();
                    }
                });
            }
        });
        writer.finish(Vec::new()).unwrap();
    }
    let mut sealed: HashMap<pack::Envelope, HashSet<(BlobKind, Id)>> = HashMap::new();
    let mut classes: HashMap<pack::Envelope, Class> = HashMap::new();
    for (_, table) in packs(&watched, &repository) {
        for entry in &table.entries {
            assert_eq!(entry.kind.class(), table.class);
            let envelope = table.envelopes[usize::from(entry.envelope)];
            assert_eq!(*classes.entry(envelope).or_insert(table.class), table.class);
            assert!(sealed.entry(envelope).or_default().insert((entry.kind, entry.id)), "sealed twice");
        }
    }
    // Two sessions, two classes: four content keys.
    assert_eq!(sealed.len(), 4);
    assert!(sealed.values().map(HashSet::len).sum::<usize>() > 2 * 300);
}

#[test]
fn packs_fill_from_a_parallel_loop_whose_tasks_hold_buffers() {
    thread_local! {
        static HELD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let (watched, repository) = create();
    let index = Index::default();
    let writer = BlobWriter::new(&repository, &index).unwrap();
    // More threads than this machine may have, so that they take work from each other.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build().unwrap();
    let ids: Vec<Id> = pool.install(|| {
        let store = |seed| {
            HELD.with_borrow_mut(|held| {
                *held = noise(seed, 256 << 10);
                writer.store_blob(BlobKind::Chunk, held).unwrap()
            })
        };
        (0..1000_u64).into_par_iter().map(store).collect()
    });
    writer.finish(Vec::new()).unwrap();
    let packs = packs(&watched, &repository);
    assert!(packs.len() > 3);
    for (bytes, _) in &packs {
        assert!(bytes.len() < PACK_TARGET + (8 << 20));
    }
    let reader = BlobReader::new(&repository, &crate::report::Collector::default()).unwrap();
    for (seed, id) in (0..).zip(&ids).step_by(17) {
        assert!(reader.fetch(BlobKind::Chunk, id).unwrap() == noise(seed, 256 << 10));
    }
}

#[test]
fn after_a_failed_upload_nothing_is_published_whoever_saw_it() {
    let (watched, repository) = create();
    watched.step_in(|call| match call {
        Call::Put(name) if name.kind == ObjectKind::Pack => {
            Err(Error::new(ErrorKind::NoSpace, "the store is full").hint("make room"))
        }
        _ => Ok(()),
    });
    let index = Index::default();
    let writer = BlobWriter::new(&repository, &index).unwrap();
    let mut failures = 0;
    // A caller that takes the error for that of one file, and goes on.
    for seed in 0..200 {
        if let Err(error) = writer.store_blob(BlobKind::Chunk, &noise(seed, 1 << 20)) {
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
            assert_eq!(error.next_step(), Some("make room"));
            failures += 1;
        }
    }
    assert!(failures > 0);
    watched.stand_back();
    let error = writer.finish(Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(watched.names(ObjectKind::Index).is_empty());
}

#[test]
fn a_failure_at_any_write_of_a_backup_leaves_no_snapshot_or_a_whole_one() {
    let files: Vec<(String, Vec<u8>)> =
        (0..20).map(|number| (format!("{number:02}"), noise(number, 3000))).collect();
    let files: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
    for fail_at in 0.. {
        let (watched, repository) = create();
        let mut puts = 0;
        watched.step_in(move |call| {
            let Call::Put(_) = call else { return Ok(()) };
            puts += 1;
            if puts == fail_at + 1 { Err(Error::new(ErrorKind::Io, "the line is down")) } else { Ok(()) }
        });
        let done = backup(&repository, None, &files);
        watched.stand_back();
        let snapshots = repository.snapshots().unwrap();
        assert_eq!(snapshots.snapshots.len(), usize::from(done.is_ok()));
        // What a failed run left is taken over by the next.
        backup(&repository, None, &files).unwrap();
        let entries: usize = packs(&watched, &repository).iter().map(|pack| pack.1.entries.len()).sum();
        assert!(entries <= 2 * 21, "{entries}");
        if done.is_ok() {
            assert!(fail_at >= 4);
            break;
        }
    }
}

#[test]
fn an_index_object_has_no_more_envelopes_than_readers_take() {
    let pack = |number: u32, envelopes: u16| {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_le_bytes());
        let entry = |envelope| pack::Entry {
            id: Id([1; 32]),
            kind: BlobKind::Chunk,
            envelope,
            stored_length: 17,
            plain_length: 0,
        };
        crate::format::index::IndexedPack {
            id: Id(id),
            size: 4 << 20,
            class: Class::Data,
            entries: (0..envelopes).map(entry).collect(),
        }
    };
    let envelopes = |from: u32, count: u32| -> Vec<pack::Envelope> {
        (from..from + count)
            .map(|number| {
                let mut envelope = [0; pack::ENVELOPE_LEN];
                envelope[..4].copy_from_slice(&number.to_le_bytes());
                envelope
            })
            .collect()
    };
    let mut builder = IndexBuilder::default();
    builder.add(pack(1, u16::MAX - 1), &envelopes(0, 65_534)).unwrap();
    assert!(builder.has_room(&pack(2, 1), 1) && !builder.has_room(&pack(2, 2), 2));
    // Not so many entries either as make the object longer than one may be.
    let long = |entries| {
        let mut long = pack(2, 1);
        long.entries = vec![long.entries[0]; entries];
        builder.has_room(&long, 1)
    };
    assert!(long(300_000) && !long(500_000));
    builder.add(pack(2, 1), &envelopes(70_000, 1)).unwrap();
    assert!(builder.add(pack(3, 1), &envelopes(70_001, 1)).is_err());
    assert!(crate::format::index::decode(&builder.encode().unwrap()).is_ok());
}

#[test]
fn packs_whose_contents_the_store_changed_are_not_adopted() {
    let (watched, repository) = create();
    store(&repository, &[(BlobKind::Chunk, noise(1, 5000))]);
    for name in watched.names(ObjectKind::Index) {
        watched.memory.remove(&name);
    }
    let name = watched.names(ObjectKind::Pack)[0];
    let sound = watched.memory.get(&name, u64::MAX).unwrap();
    for index in (0..sound.len()).step_by(3).chain(sound.len() - 60..sound.len()) {
        let mut damaged = sound.clone();
        damaged[index] ^= 1 << (index % 8);
        watched.memory.replace(&name, damaged);
        let usable = session::usable(&repository).unwrap();
        assert_eq!((usable.adopted.len(), usable.unreadable.len()), (0, 1), "byte {index}");
        assert!(places(&usable.index).is_empty());
    }
    for length in [0, 3, 4, 16, 20, 100, sound.len() - 1] {
        watched.memory.replace(&name, sound[..length].to_vec());
        assert_eq!(session::usable(&repository).unwrap().unreadable.len(), 1);
    }
    watched.memory.replace(&name, sound);
    assert_eq!(session::usable(&repository).unwrap().adopted.len(), 1);
}

#[test]
fn a_writer_that_is_dropped_leaves_no_thread() {
    // The writer's own thread holds the backend: it is gone once the writer is.
    let (_, repository) = create();
    let before = Arc::strong_count(repository.backend());
    let index = Index::default();
    let writer = BlobWriter::new(&repository, &index).unwrap();
    writer.store_blob(BlobKind::Chunk, b"lost").unwrap();
    drop(writer);
    assert_eq!(Arc::strong_count(repository.backend()), before);
}
