//! Reading: every copy is tried, the index is read afresh, and a loss has a name.

use super::support::{Call, Watched, backup, create, load, noise, places};
use crate::backend::{BLOCK, Backend, ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind};
use crate::format::blob::{BlobKind, Class};
use crate::id::Id;
use crate::repository::Repository;
use crate::repository::index::{Index, ReadObjects};
use crate::repository::reader::{BlobReader, BlobSource};
use crate::repository::writer::BlobWriter;

/// Stores blobs without regard to what is there, in packs of their own.
fn store(repository: &Repository, blobs: &[Vec<u8>]) -> Vec<Id> {
    let index = Index::default();
    let writer = BlobWriter::new(repository, &index).unwrap();
    let ids = blobs.iter().map(|plain| writer.store_blob(BlobKind::Chunk, plain).unwrap()).collect();
    writer.finish(Vec::new()).unwrap();
    ids
}

fn flip_frames(store: &Watched, name: &ObjectName) {
    let mut bytes = store.memory.get(name, u64::MAX).unwrap();
    for byte in bytes.iter_mut().skip(16).take(100) {
        *byte ^= 0x10;
    }
    store.memory.replace(name, bytes);
}

#[test]
fn a_second_copy_is_used_where_the_first_is_damaged() {
    let (watched, repository) = create();
    let plain = noise(1, 10_000);
    let id = store(&repository, std::slice::from_ref(&plain))[0];
    assert_eq!(store(&repository, std::slice::from_ref(&plain)), [id]);
    let packs = watched.names(ObjectKind::Pack);
    assert_eq!(packs.len(), 2);
    let fetch = || {
        BlobReader::new(&repository, &crate::report::Collector::default())
            .unwrap()
            .fetch(BlobKind::Chunk, &id)
    };
    let whole = watched.memory.snapshot();
    for (damaged, other) in [(packs[0], packs[1]), (packs[1], packs[0])] {
        flip_frames(&watched, &damaged);
        assert_eq!(fetch().unwrap(), plain);
        watched.memory.remove(&damaged);
        assert_eq!(fetch().unwrap(), plain);
        watched.memory.replace(&damaged, whole[&damaged][..50].to_vec());
        assert_eq!(fetch().unwrap(), plain);

        flip_frames(&watched, &other);
        let error = fetch().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.to_string(), format!("the chunk {} cannot be read from any pack", id.short()));
        for name in [damaged, other] {
            watched.memory.replace(&name, whole[&name].clone());
        }
    }
    for pack in &packs {
        watched.memory.remove(pack);
    }
    assert_eq!(fetch().unwrap_err().kind(), ErrorKind::Missing);
}

#[test]
fn a_copy_that_could_not_be_reached_is_not_reported_as_lost() {
    let (watched, repository) = create();
    let plain = noise(1, 10_000);
    let id = store(&repository, std::slice::from_ref(&plain))[0];
    store(&repository, std::slice::from_ref(&plain));
    for (gone, unreachable) in [(0, 1), (1, 0)] {
        let packs = watched.names(ObjectKind::Pack);
        let bytes = watched.memory.remove(&packs[gone]).unwrap();
        let down = packs[unreachable];
        watched.step_in(move |call| match call {
            Call::Range(name) if name == down => Err(Error::new(ErrorKind::Io, "the line is down")),
            _ => Ok(()),
        });
        let error = BlobReader::new(&repository, &crate::report::Collector::default())
            .unwrap()
            .fetch(BlobKind::Chunk, &id)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
        watched.stand_back();
        watched.memory.replace(&packs[gone], bytes);
    }
}

#[test]
fn a_blob_that_was_never_there_is_named() {
    let (_, repository) = create();
    let id = Id([0xab; 32]);
    let error = BlobReader::new(&repository, &crate::report::Collector::default())
        .unwrap()
        .fetch(BlobKind::Leaf, &id)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert_eq!(error.to_string(), "the tree leaf abababab lies in no pack that the index names");
    assert!(error.next_step().is_some());
}

#[test]
fn the_index_is_read_afresh_where_a_prune_moved_a_blob() {
    let (watched, repository) = create();
    let plain = noise(1, 10_000);
    let id = store(&repository, std::slice::from_ref(&plain))[0];
    let reader = BlobReader::new(&repository, &crate::report::Collector::default()).unwrap();
    for _ in 0..3 {
        let old = [watched.names(ObjectKind::Pack), watched.names(ObjectKind::Index)].concat();
        store(&repository, std::slice::from_ref(&plain));
        for name in old {
            watched.memory.remove(&name);
        }
        assert_eq!(reader.fetch(BlobKind::Chunk, &id).unwrap(), plain);
    }
}

#[test]
fn a_loss_costs_a_listing_and_not_the_whole_index() {
    let (watched, repository) = create();
    store(&repository, &[noise(1, 100)]);
    let reader = BlobReader::new(&repository, &crate::report::Collector::default()).unwrap();
    watched.calls();
    assert!(reader.fetch(BlobKind::Chunk, &Id([1; 32])).is_err());
    assert_eq!(watched.calls(), [Call::List(ObjectKind::Index)]);
}

#[test]
fn ranges_tell_the_store_nothing_but_blocks() {
    let (watched, repository) = create();
    let blobs: Vec<Vec<u8>> =
        (0..40).map(|seed| noise(seed, 1000 + 30_000 * seed as usize % 400_000)).collect();
    let ids = store(&repository, &blobs);
    let reader = BlobReader::new(&repository, &crate::report::Collector::default()).unwrap();
    let size = watched.memory.size(&watched.names(ObjectKind::Pack)[0]).unwrap();
    let recorded = RangeLog::over(&watched);
    let through =
        Repository::open(std::sync::Arc::new(recorded.clone()), &super::support::key_file(1)).unwrap();
    let reader_through = BlobReader::with_index(&through, load(&repository));
    for (id, plain) in ids.iter().zip(&blobs) {
        assert!(reader.fetch(BlobKind::Chunk, id).unwrap() == *plain);
        assert!(reader_through.fetch(BlobKind::Chunk, id).unwrap() == *plain);
    }
    let index = load(&repository);
    for number in 0..ids.len() as u32 {
        reader_through.read_many(&index, vec![number]).unwrap();
    }
    let ranges = recorded.ranges.lock().unwrap();
    assert!(ranges.len() > 5);
    for (offset, length) in ranges.iter() {
        let end = offset + length;
        assert!(offset % BLOCK == 0 && (end % BLOCK == 0 || end == size), "{offset}..{end}");
    }
}

#[test]
fn chunks_are_read_as_they_lie_where_nobody_sees_it() {
    let (watched, repository) = create();
    let blobs: Vec<Vec<u8>> = (0..40).map(|seed| noise(seed, 1000)).collect();
    store(&repository, &blobs);
    let recorded = RangeLog { alignment: 1, ..RangeLog::over(&watched) };
    let through =
        Repository::open(std::sync::Arc::new(recorded.clone()), &super::support::key_file(1)).unwrap();
    let index = load(&repository);
    let reader = BlobReader::with_index(&through, load(&repository));
    for number in [7, 31] {
        let place = index.place(number).unwrap();
        let read = reader.read_many(&index, vec![number]).unwrap();
        assert_eq!(read[0].1.as_ref().unwrap().len(), 1000);
        let asked = recorded.ranges.lock().unwrap().pop();
        assert_eq!(asked, Some((u64::from(place.offset), u64::from(place.stored_length))));
    }
}

/// A store that notes which ranges are asked for.
#[derive(Clone)]
struct RangeLog {
    inner: Watched,
    alignment: u64,
    ranges: std::sync::Arc<std::sync::Mutex<Vec<(u64, u64)>>>,
}

impl RangeLog {
    fn over(inner: &Watched) -> Self {
        Self { inner: inner.clone(), alignment: BLOCK, ranges: std::sync::Arc::default() }
    }
}

impl Backend for RangeLog {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> crate::error::Result<()> {
        self.inner.put(name, bytes)
    }

    fn get(&self, name: &ObjectName, limit: u64) -> crate::error::Result<Vec<u8>> {
        self.inner.get(name, limit)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> crate::error::Result<Vec<u8>> {
        self.ranges.lock().unwrap().push((offset, length));
        self.inner.get_range(name, offset, length)
    }

    fn alignment(&self) -> u64 {
        self.alignment
    }

    fn size(&self, name: &ObjectName) -> crate::error::Result<u64> {
        self.inner.size(name)
    }

    fn list(&self, kind: ObjectKind) -> crate::error::Result<Vec<crate::backend::Listed>> {
        self.inner.list(kind)
    }

    fn delete(&self, name: &ObjectName) -> crate::error::Result<()> {
        self.inner.delete(name)
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

#[test]
fn whoever_uses_a_blob_may_read_another_meanwhile() {
    let (_, repository) = create();
    let blobs = [noise(1, 100), noise(2, 200), noise(3, 300)];
    let ids = store(&repository, &blobs);
    let reader = BlobReader::new(&repository, &crate::report::Collector::default()).unwrap();
    let length = reader.with_blob(BlobKind::Chunk, &ids[0], |outer| {
        let inner = reader.with_blob(BlobKind::Chunk, &ids[1], |middle| {
            let innermost = reader.fetch(BlobKind::Chunk, &ids[2])?;
            Ok(middle.len() + innermost.len())
        })?;
        Ok(outer.len() + inner)
    });
    assert_eq!(length.unwrap(), 600);
}

#[test]
fn every_damaged_byte_of_a_pack_is_noticed() {
    let (watched, repository) = create();
    let blobs: Vec<Vec<u8>> = (0..5).map(|seed| noise(seed, 150)).chain([vec![7; 3000]]).collect();
    let ids = store(&repository, &blobs);
    let name = watched.names(ObjectKind::Pack)[0];
    let sound = watched.memory.get(&name, u64::MAX).unwrap();
    let frames: usize = places(&load(&repository)).iter().map(|place| place.stored_length as usize).sum();
    for index in 16..16 + frames {
        let mut damaged = sound.clone();
        damaged[index] ^= 1 << (index % 8);
        watched.memory.replace(&name, damaged);
        let reader = BlobReader::new(&repository, &crate::report::Collector::default()).unwrap();
        let mut lost = 0;
        for (id, plain) in ids.iter().zip(&blobs) {
            match reader.fetch(BlobKind::Chunk, id) {
                Ok(read) => assert_eq!(read, *plain),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt);
                    lost += 1;
                }
            }
        }
        assert_eq!(lost, 1, "byte {index}");
    }
}

#[test]
fn an_index_object_with_any_byte_changed_counts_for_nothing() {
    let (watched, repository) = create();
    store(&repository, &[noise(1, 100)]);
    let name = watched.names(ObjectKind::Index)[0];
    let sound = watched.memory.get(&name, u64::MAX).unwrap();
    for index in 0..sound.len() {
        let mut damaged = sound.clone();
        damaged[index] ^= 1 << (index % 8);
        // Under its own name, as a failing disk has it, and under the name of its bytes, as a hostile store would.
        let renamed = ObjectName::new(ObjectKind::Index, crate::crypto::derive::hash(&damaged));
        watched.memory.remove(&name);
        for name in [name, renamed] {
            watched.memory.replace(&name, damaged.clone());
            let read = ReadObjects::read(&repository);
            let read = read.unwrap();
            assert_eq!((read.damaged.len(), read.damaged[0].0), (1, name.id), "byte {index}");
            assert!(places(&Index::build(&read, &|_| true).unwrap()).is_empty());
            watched.memory.remove(&name);
        }
    }
}

#[test]
fn a_hostile_index_leads_to_an_error_and_not_astray() {
    let (watched, repository) = create();
    let ids = store(&repository, &[noise(1, 5000), noise(2, 5000)]);
    let name = watched.names(ObjectKind::Index)[0];
    let object = crate::repository::index::read_index_object(&repository, &name.id).unwrap();
    watched.memory.remove(&name);
    let put = |change: &dyn Fn(&mut crate::format::index::IndexObject)| {
        let mut object = object.clone();
        change(&mut object);
        let bytes = crate::format::index::encode(&object).unwrap();
        let (id, _) = repository.put_hashed(ObjectKind::Index, &bytes).unwrap();
        let read = BlobReader::with_index(&repository, load(&repository)).fetch(BlobKind::Chunk, &ids[0]);
        watched.memory.remove(&ObjectName::new(ObjectKind::Index, id));
        read
    };
    assert_eq!(put(&|_| {}).unwrap(), noise(1, 5000));
    // Ids exchanged, lengths that lie, a size that lies, a class that lies, an envelope of another.
    assert!(
        put(&|object| {
            let [one, two] = object.packs[0].entries.as_mut_slice() else { panic!() };
            std::mem::swap(&mut one.id, &mut two.id);
        })
        .is_err()
    );
    assert!(
        put(&|object| object.packs[0].entries.iter_mut().for_each(|entry| entry.plain_length += 1)).is_err()
    );
    assert!(
        put(&|object| object.packs[0].entries.iter_mut().for_each(|entry| entry.stored_length -= 1)).is_err()
    );
    assert!(put(&|object| object.packs[0].size = 256 << 20).is_err());
    assert!(put(&|object| object.packs[0].size = u64::MAX).is_err());
    assert!(put(&|object| object.packs[0].class = Class::Metadata).is_err());
    assert!(put(&|object| object.envelopes[0][0] ^= 1).is_err());
}

#[test]
fn a_snapshot_is_read_back_whole() {
    let (_, repository) = create();
    let files: Vec<(String, Vec<u8>)> =
        (0..50).map(|number| (format!("{number:03}"), noise(number, 2000))).collect();
    let files: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
    let (id, ..) = backup(&repository, None, &files).unwrap();
    let snapshot = repository.read_snapshot(&id).unwrap();
    let reader = BlobReader::new(&repository, &crate::report::Collector::default()).unwrap();
    let mut tree = crate::repository::tree::TreeReader::new(&reader, snapshot.root());
    assert_eq!(tree.next_entry().unwrap().unwrap().path, b"");
    for (path, bytes) in &files {
        let entry = tree.next_entry().unwrap().unwrap();
        assert_eq!(entry.path, path.as_bytes());
        let mut read = Vec::new();
        let content = entry.node.content.unwrap();
        crate::repository::content::visit_chunks(&reader, &content, &mut |_, _| Ok(()), &mut |chunk| {
            let plain = reader.fetch(BlobKind::Chunk, chunk)?;
            read.extend_from_slice(&plain);
            Ok(plain.len() as u64)
        })
        .unwrap();
        assert!(read == *bytes);
    }
    assert!(tree.next_entry().unwrap().is_none());
}

#[test]
fn one_object_that_is_not_given_is_told_from_a_store_that_does_not_answer() {
    let (watched, repository) = create();
    backup(&repository, None, &[("file", noise(1, 5000))]).unwrap();
    let trouble = || Err(Error::new(ErrorKind::Io, "it is not given"));
    for kind in [ObjectKind::Index, ObjectKind::Snapshot] {
        let one = watched.names(kind)[0];
        let read = |repository: &Repository| match kind {
            ObjectKind::Index => ReadObjects::read_afresh(repository).map(|read| read.damaged.len()),
            _ => repository.snapshots().map(|found| found.damaged.len()),
        };
        // Once is a hiccup.
        let mut times = 0;
        watched.step_in(move |call| {
            times += u32::from(call == Call::Get(one));
            if call == Call::Get(one) && times == 1 { trouble() } else { Ok(()) }
        });
        assert_eq!(read(&repository).unwrap(), 0);
        watched.step_in(move |call| if call == Call::Get(one) { trouble() } else { Ok(()) });
        assert_eq!(read(&repository).unwrap(), 1);
        watched.step_in(move |call| if matches!(call, Call::Get(_)) { trouble() } else { Ok(()) });
        assert_eq!(read(&repository).unwrap_err().kind(), ErrorKind::Io);
        watched.step_in(move |call| if call == Call::List(kind) { trouble() } else { Ok(()) });
        assert_eq!(read(&repository).unwrap_err().kind(), ErrorKind::Io);
        watched.stand_back();
    }
}
