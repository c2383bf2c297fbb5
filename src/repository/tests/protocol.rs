//! The protocol of `format-spec/11-ordering.md`: order of calls, interrupted runs, condemned packs, marks.

use super::support::{Call, Folder, as_role, backup, create, manifest, noise, places, store_tree};
use crate::backend::{Backend, ObjectKind, ObjectName};
use crate::crypto::secret::Secret;
use crate::crypto::sign::{self, SignaturePurpose};
use crate::error::{Error, ErrorKind};
use crate::format::blob::BlobKind;
use crate::format::cbor;
use crate::format::key_slot::Role;
use crate::format::marks::{Abandoned, Condemned, Forgotten, Signed};
use crate::format::node::Timestamp;
use crate::id::Id;
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::reader::{BlobReader, BlobSource};
use crate::repository::session::{self, Commit, Session, give_up_own_dead};
use crate::repository::tree::Root;
use crate::repository::writer::BlobWriter;

const NOW: Timestamp = Timestamp { seconds: 1_790_000_000, nanoseconds: 0 };

fn files(seeds: std::ops::Range<u64>) -> Vec<(&'static str, Vec<u8>)> {
    let names = ["a", "b/b", "c", "d/e", "f", "g", "h", "i"];
    seeds.map(|seed| (names[seed as usize % names.len()], noise(seed, 20_000))).collect()
}

fn condemn(repository: &Repository, packs: Vec<Id>) -> Id {
    let record = Condemned { packs, time: NOW };
    let signed = repository.sign_record(&Id::default(), SignaturePurpose::Gc, &record, "pruning").unwrap();
    repository.put_hashed(ObjectKind::Gc, &signed).unwrap().0
}

fn forget(repository: &Repository, id: &Id, names: &Id) {
    let record = Forgotten { snapshot: *names, time: NOW, number: None };
    let signed = repository.sign_record(id, SignaturePurpose::Forgotten, &record, "forgetting").unwrap();
    repository.put_named(ObjectKind::Forgotten, id, &signed).unwrap();
}

/// A record as somebody would sign it who has the write secret and not the maintain key.
fn forged<T: minicbor::Encode<()>>(
    repository: &Repository,
    bound: &Id,
    purpose: SignaturePurpose,
    record: &T,
) -> Vec<u8> {
    let record = cbor::encode(record).unwrap();
    let parts: [&[u8]; 3] = [repository.id().as_bytes(), bound.as_bytes(), &record];
    let signature = sign::sign(&Secret::new([66; 32]), purpose, &parts);
    cbor::encode(&Signed { record, signature }).unwrap()
}

fn abandon(repository: &Repository, id: &Id) {
    let mark = cbor::encode(&Abandoned { host: "another".into(), time: NOW }).unwrap();
    repository.put_named(ObjectKind::Abandoned, id, &mark).unwrap();
}

#[test]
fn a_backup_whose_session_was_taken_away_does_not_commit() {
    let (_, repository) = create();
    let session = Session::begin(&repository, None, "server").unwrap();
    let name = ObjectName::new(ObjectKind::Session, *session.id());
    repository.backend().delete(&name).unwrap();
    let manifest = crate::format::tests::manifest();
    assert_eq!(session.commit(&manifest).unwrap(), Commit::Abandoned);
    assert!(repository.snapshots().unwrap().snapshots.is_empty());
}

#[test]
fn a_backup_makes_its_calls_in_the_order_of_the_protocol() {
    let (store, repository) = create();
    // With objects of every kind there, so that what is read lies between the listings.
    backup(&repository, None, &files(0..2)).unwrap();
    condemn(&repository, vec![Id([1; 32])]);
    store.calls();
    backup(&repository, None, &files(2..4)).unwrap();
    let steps: Vec<String> = store
        .calls()
        .into_iter()
        .map(|call| match call {
            Call::Put(name) => format!("put {:?}", name.kind),
            Call::Get(name) | Call::Range(name) => format!("read {:?}", name.kind),
            Call::Size(name) => format!("size {:?}", name.kind),
            Call::List(kind) => format!("list {kind:?}"),
            Call::Delete(name) => format!("delete {:?}", name.kind),
        })
        .collect();
    let expected = [
        "put Session",
        "list Gc",
        "read Gc",
        "list Index",
        "read Index",
        "list Pack",
        "put Pack",
        "put Pack",
        "put Index",
        "size Session",
        "put Snapshot",
        "list Abandoned",
        "delete Session",
    ];
    assert_eq!(steps, expected);
}

#[test]
fn an_entry_for_an_absent_pack_does_not_count_and_the_index_is_not_listed_again() {
    let (store, repository) = create();
    backup(&repository, None, &files(0..3)).unwrap();
    let data = *session::usable(&repository)
        .unwrap()
        .index
        .packs()
        .iter()
        .find(|pack| pack.class == BlobKind::Chunk.class())
        .unwrap();
    store.memory.remove(&ObjectName::new(ObjectKind::Pack, data.id)).unwrap();
    store.calls();
    let usable = session::usable(&repository).unwrap();
    assert_eq!(store.calls().iter().filter(|call| **call == Call::List(ObjectKind::Index)).count(), 1);
    let all = places(&usable.index);
    let chunks = all.iter().filter(|place| place.kind == BlobKind::Chunk).count();
    assert_eq!((chunks, usable.index.packs().len()), (0, 1));
    // What is left has the right numbers: the tree can be read through it.
    for place in &all {
        assert_eq!(usable.index.pack(place).unwrap().class, place.kind.class());
    }
    // The next backup stores the chunks again, and the old snapshot is whole again with it.
    let (id, written, _) = backup(&repository, None, &files(0..3)).unwrap();
    assert_eq!((written.data_blobs, written.tree_blobs), (3, 0));
    let snapshot = repository.read_snapshot(&id).unwrap();
    let reader = BlobReader::new(&repository, &crate::report::Collector::default()).unwrap();
    assert!(reader.fetch(BlobKind::Leaf, &snapshot.root().id).is_ok());
}

#[test]
fn packs_of_an_interrupted_backup_are_adopted_and_not_stored_again() {
    let (store, repository) = create();
    let writer_role = as_role(&store, &repository, Role::Backup);
    store.step_in(|call| match call {
        Call::Put(name) if name.kind == ObjectKind::Index => Err(Error::new(ErrorKind::Io, "killed")),
        _ => Ok(()),
    });
    assert!(backup(&writer_role, None, &files(0..6)).is_err());
    store.stand_back();
    let packs = store.names(ObjectKind::Pack);
    assert_eq!((packs.len(), store.names(ObjectKind::Index).len()), (2, 0));

    let (id, written, commit) = backup(&writer_role, None, &files(0..6)).unwrap();
    assert_eq!((commit, written.data_blobs, written.tree_blobs), (Commit::Done, 0, 0));
    assert_eq!(store.names(ObjectKind::Pack), packs);
    // Published: the run after it finds nothing to adopt.
    let usable = session::usable(&writer_role).unwrap();
    assert!(usable.adopted.is_empty() && usable.unreadable.is_empty());
    let snapshot = repository.read_snapshot(&id).unwrap();
    let reader = BlobReader::new(&repository, &crate::report::Collector::default()).unwrap();
    assert!(reader.fetch(BlobKind::Leaf, &snapshot.root().id).is_ok());
    for (_, bytes) in files(0..6) {
        let chunk = repository.keyring().blob_id(BlobKind::Chunk, &bytes);
        assert_eq!(reader.fetch(BlobKind::Chunk, &chunk).unwrap(), bytes);
    }
}

#[test]
fn chunks_in_condemned_packs_do_not_count_and_are_stored_again() {
    let (store, repository) = create();
    backup(&repository, None, &files(0..5)).unwrap();
    let old: Vec<Id> = store.names(ObjectKind::Pack).iter().map(|name| name.id).collect();
    condemn(&repository, old.clone());
    assert!(places(&session::usable(&repository).unwrap().index).is_empty());
    let (_, written, _) = backup(&repository, None, &files(0..5)).unwrap();
    assert_eq!(written.data_blobs, 5);
    assert_eq!(store.names(ObjectKind::Pack).len(), 2 * old.len());

    // Nor are condemned packs adopted once no index names them.
    for name in store.names(ObjectKind::Index) {
        store.memory.remove(&name);
    }
    let usable = session::usable(&repository).unwrap();
    assert_eq!(usable.adopted.len(), old.len());
    assert!(usable.adopted.iter().all(|(pack, _)| !old.contains(&pack.id)));
}

#[test]
fn a_gc_record_that_cannot_be_read_stops_the_backup() {
    let (store, repository) = create();
    backup(&repository, None, &files(0..2)).unwrap();
    let stops = |why: &str| {
        let error = session::usable(&repository).err().unwrap();
        assert_eq!(error.to_string(), "a prune's record cannot be read, so no chunk is safe to reuse");
        assert!(error.chain().contains(why), "{}", error.chain());
        let before = store.names(ObjectKind::Pack);
        assert!(backup(&repository, None, &files(2..4)).is_err());
        assert_eq!(store.names(ObjectKind::Pack), before);
        for name in store.names(ObjectKind::Gc) {
            store.memory.remove(&name);
        }
        session::usable(&repository).unwrap();
    };
    let garbage = ObjectName::new(ObjectKind::Gc, crate::crypto::derive::hash(b"garbage"));
    store.memory.replace(&garbage, b"garbage".to_vec());
    stops("it ends within its header");

    let id = condemn(&repository, vec![Id([1; 32])]);
    let name = ObjectName::new(ObjectKind::Gc, id);
    let mut bytes = store.memory.remove(&name).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    store.memory.replace(&name, bytes);
    stops("its bytes are not the ones its name says");

    let record = Condemned { packs: vec![Id([1; 32])], time: NOW };
    let signed = forged(&repository, &Id::default(), SignaturePurpose::Gc, &record);
    repository.put_hashed(ObjectKind::Gc, &signed).unwrap();
    stops("was not signed by the maintain key");

    // A signature of the maintain key for another purpose is none for this one.
    let mark = repository.sign_record(&Id::default(), SignaturePurpose::Forgotten, &record, "x").unwrap();
    repository.put_hashed(ObjectKind::Gc, &mark).unwrap();
    stops("was not signed by the maintain key");

    condemn(&repository, vec![Id([1; 32])]);
    store.step_in(|call| match call {
        Call::Get(name) if name.kind == ObjectKind::Gc => Err(Error::new(ErrorKind::Io, "the line is down")),
        _ => Ok(()),
    });
    stops("the line is down");
}

#[test]
fn listings_that_fail_are_not_empty() {
    for kind in [ObjectKind::Gc, ObjectKind::Index, ObjectKind::Pack] {
        let (store, repository) = create();
        backup(&repository, None, &files(0..2)).unwrap();
        store.step_in(move |call| match call {
            Call::List(listed) if listed == kind => Err(Error::new(ErrorKind::Io, "the line is down")),
            _ => Ok(()),
        });
        assert!(session::usable(&repository).is_err());
        assert!(backup(&repository, None, &files(0..2)).is_err());
    }
    for kind in [ObjectKind::Snapshot, ObjectKind::Forgotten] {
        let (store, repository) = create();
        store.step_in(move |call| match call {
            Call::List(listed) if listed == kind => Err(Error::new(ErrorKind::Io, "the line is down")),
            _ => Ok(()),
        });
        assert!(repository.snapshots().is_err());
    }
    // Nor is an object damaged that could not be had because the store does not answer.
    for kind in [ObjectKind::Snapshot, ObjectKind::Forgotten, ObjectKind::Index] {
        let (store, repository) = create();
        let (id, ..) = backup(&repository, None, &files(0..2)).unwrap();
        forget(&repository, &id, &id);
        backup(&repository, None, &files(0..2)).unwrap();
        store.step_in(move |call| match call {
            Call::Get(name) if name.kind == kind || name == ObjectName::CONFIG => {
                Err(Error::new(ErrorKind::Io, "the line is down"))
            }
            _ => Ok(()),
        });
        let error = if kind == ObjectKind::Index {
            session::usable(&repository).err().unwrap()
        } else {
            repository.snapshots().unwrap_err()
        };
        assert_eq!(error.kind(), ErrorKind::Io);
    }
}

#[test]
fn an_index_object_that_a_prune_replaces_while_it_is_read_is_no_error() {
    let (store, repository) = create();
    backup(&repository, None, &files(0..2)).unwrap();
    let before = places(&session::usable(&repository).unwrap().index);
    let old = store.names(ObjectKind::Index)[0];
    let plaintext = repository.get_object(ObjectKind::Index, &old.id).unwrap();
    // The new object is published before the old is deleted, as a prune does.
    let memory = store.memory.clone();
    let (new, _) = repository.put_hashed(ObjectKind::Index, &plaintext).unwrap();
    let new_bytes = memory.remove(&ObjectName::new(ObjectKind::Index, new)).unwrap();
    let mut first = true;
    store.step_in(move |call| {
        if call == Call::Get(old) && std::mem::take(&mut first) {
            memory.replace(&ObjectName::new(ObjectKind::Index, new), new_bytes.clone());
            memory.remove(&old);
        }
        Ok(())
    });
    assert_eq!(places(&session::usable(&repository).unwrap().index), before);
    // An object that is listed for ever and never there is one.
    store.step_in(|call| match call {
        Call::Get(name) if name.kind == ObjectKind::Index => Err(Error::missing("not there")),
        _ => Ok(()),
    });
    assert_eq!(session::usable(&repository).err().unwrap().kind(), ErrorKind::Busy);
}

#[test]
fn a_session_given_up_before_it_commits_is_abandoned() {
    let (store, repository) = create();
    let session = Session::begin(&repository, None, "server").unwrap();
    let usable = session.usable().unwrap();
    let writer = BlobWriter::new(&repository, &usable.index).unwrap();
    let root = store_tree(&repository, &writer, &writer, &files(0..2)).unwrap();
    writer.finish(Vec::new()).unwrap();
    let id = *session.id();
    abandon(&repository, &id);
    assert_eq!(session.commit(&manifest(root, 1)).unwrap(), Commit::Abandoned);
    // The session stays, for the one who gave it up to see.
    assert_eq!(store.names(ObjectKind::Session), [ObjectName::new(ObjectKind::Session, id)]);
    // Under a new id nearly everything is found stored.
    let (again, written, commit) = backup(&repository, None, &files(0..2)).unwrap();
    assert_eq!((commit, written.data_blobs, written.tree_blobs), (Commit::Done, 0, 0));
    assert_ne!(again, id);
}

#[test]
fn a_commit_that_fails_or_is_not_sure_leaves_its_session() {
    for failing in [Call::Put(ObjectName::CONFIG), Call::List(ObjectKind::Abandoned)] {
        let (store, repository) = create();
        store.step_in(move |call| match (call, failing) {
            (Call::Put(name), Call::Put(_)) if name.kind == ObjectKind::Snapshot => {
                Err(Error::new(ErrorKind::Io, "timed out"))
            }
            (Call::List(kind), Call::List(fails)) if kind == fails => {
                Err(Error::new(ErrorKind::Io, "timed out"))
            }
            _ => Ok(()),
        });
        assert!(backup(&repository, None, &files(0..1)).is_err());
        assert_eq!(store.names(ObjectKind::Session).len(), 1);
    }
}

#[test]
fn forgotten_snapshots_are_not_listed() {
    let (_, repository) = create();
    let (first, ..) = backup(&repository, None, &files(0..1)).unwrap();
    let (second, ..) = backup(&repository, None, &files(0..2)).unwrap();
    let listed = || {
        let snapshots = repository.snapshots().unwrap();
        assert!(snapshots.damaged.is_empty());
        let mut ids: Vec<Id> = snapshots.snapshots.iter().map(|snapshot| snapshot.id).collect();
        ids.sort_unstable();
        ids
    };
    let mut both = [first, second];
    both.sort_unstable();
    assert_eq!(listed(), both);
    forget(&repository, &first, &first);
    assert_eq!(listed(), [second]);
    assert_eq!(
        repository.find_snapshot(&first.to_hex(), &crate::report::Collector::default()).unwrap_err().kind(),
        ErrorKind::Missing
    );
    assert_eq!(repository.snapshots().unwrap().forgotten[0].id, first);
    // A mark for a snapshot that is not there yet keeps a late write dead.
    forget(&repository, &Id([5; 32]), &Id([5; 32]));
    assert_eq!(listed(), [second]);
}

#[test]
fn a_forgotten_mark_that_is_forged_is_reported_and_forgets_nothing() {
    let (store, repository) = create();
    let (id, ..) = backup(&repository, None, &files(0..1)).unwrap();
    let name = ObjectName::new(ObjectKind::Forgotten, id);
    let refused = |why: &str| {
        let snapshots = repository.snapshots().unwrap();
        assert_eq!((snapshots.snapshots.len(), snapshots.forgotten.len()), (1, 0));
        let [(kind, found, error)] = snapshots.damaged.as_slice() else { panic!("{snapshots:?}") };
        assert_eq!((*kind, *found, error.kind()), (ObjectKind::Forgotten, id, ErrorKind::Corrupt));
        assert!(error.chain().contains(why), "{}", error.chain());
        store.memory.remove(&name).unwrap();
    };
    let record = Forgotten { snapshot: id, time: NOW, number: None };
    let signed = forged(&repository, &id, SignaturePurpose::Forgotten, &record);
    repository.put_named(ObjectKind::Forgotten, &id, &signed).unwrap();
    refused("was not signed by the maintain key");

    forget(&repository, &id, &Id([9; 32]));
    refused("names another snapshot");

    store.memory.replace(&name, b"garbage".to_vec());
    refused("forgotten mark");

    // A sound mark of one snapshot, put under the name of another.
    let other = Id([9; 32]);
    forget(&repository, &other, &other);
    let bytes = store.memory.remove(&ObjectName::new(ObjectKind::Forgotten, other)).unwrap();
    store.memory.replace(&name, bytes);
    refused("does not open");

    let backup_key = as_role(&store, &repository, Role::Backup);
    let error = backup_key.sign_record(&id, SignaturePurpose::Forgotten, &record, "forgetting").unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (
            ErrorKind::RoleNotAllowed,
            "forgetting needs a key of role maintain or full; this key's role is backup"
        )
    );
}

#[test]
fn a_manifest_that_no_certified_key_signed_is_damage() {
    let (store, repository) = create();
    let (id, ..) = backup(&repository, None, &files(0..1)).unwrap();
    let name = ObjectName::new(ObjectKind::Snapshot, id);
    let bytes = store.memory.get(&name, u64::MAX).unwrap();
    let damaged = |bytes: Vec<u8>, name: ObjectName, why: &str| {
        store.memory.replace(&name, bytes);
        let snapshots = repository.snapshots().unwrap();
        let error = &snapshots.damaged.iter().find(|(_, id, _)| *id == name.id).unwrap().2;
        assert!(error.chain().contains(why), "{}", error.chain());
    };
    for index in (0..bytes.len()).step_by(11) {
        let mut flipped = bytes.clone();
        flipped[index] ^= 1;
        damaged(flipped, name, "");
    }
    // Under another name: a replay as a newer snapshot.
    damaged(bytes.clone(), ObjectName::new(ObjectKind::Snapshot, Id([3; 32])), "does not open");
    store.memory.remove(&ObjectName::new(ObjectKind::Snapshot, Id([3; 32])));
    // Signed by a key that whoever has the write secret made up, with a certificate of another slot.
    let mut signed = crate::format::snapshot::decode_signed(&{
        store.memory.replace(&name, bytes.clone());
        repository.get_object(ObjectKind::Snapshot, &id).unwrap()
    })
    .unwrap();
    let forger = Secret::new([44; 32]);
    signed.verifying_key = sign::verifying_key(&forger);
    let parts: [&[u8]; 3] = [repository.id().as_bytes(), id.as_bytes(), &signed.manifest];
    signed.signature = sign::sign(&forger, SignaturePurpose::Manifest, &parts);
    store.memory.remove(&name);
    let plaintext = crate::format::snapshot::encode_signed(&signed).unwrap();
    repository.put_named(ObjectKind::Snapshot, &id, &plaintext).unwrap();
    let sealed = store.memory.get(&name, u64::MAX).unwrap();
    damaged(sealed, name, "was not written by a key of this repository");
}

#[test]
fn what_is_longer_than_readers_take_is_not_committed() {
    let (store, repository) = create();
    let session = Session::begin(&repository, None, "server").unwrap();
    let mut manifest = manifest(Root { id: Id([1; 32]), level: 0 }, 1);
    manifest.excludes = vec!["x".repeat(1 << 20); 17];
    let error = session.commit(&manifest).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(store.names(ObjectKind::Snapshot).is_empty());
}

#[test]
fn a_dead_session_of_this_host_is_given_up_and_no_other() {
    let (store, repository) = create();
    let (here, there) = (Folder::new(), Folder::new());
    let cache = Cache::open(here.path(), repository.id()).unwrap();
    let other = Cache::open(there.path(), repository.id()).unwrap();
    assert_ne!(cache.host_id(), other.host_id());
    let give_up = || give_up_own_dead(&repository, &cache, "server").unwrap();

    let dead = Session::begin(&repository, Some(&cache), "server").unwrap();
    let dead_id = *dead.id();
    let living = Session::begin(&repository, Some(&cache), "server").unwrap();
    let elsewhere = Session::begin(&repository, Some(&other), "another").unwrap();
    let elsewhere_id = *elsewhere.id();
    let uncached = Session::begin(&repository, None, "server").unwrap();
    assert!(give_up().is_empty());
    drop(dead);
    drop(elsewhere);
    drop(uncached);
    assert_eq!(give_up(), [dead_id]);
    assert_eq!(store.names(ObjectKind::Abandoned), [ObjectName::new(ObjectKind::Abandoned, dead_id)]);
    assert!(give_up().is_empty());
    // The session stays until a pruner settles it: only the maintain key can see to it that it stays dead.
    assert!(store.names(ObjectKind::Session).contains(&ObjectName::new(ObjectKind::Session, dead_id)));

    // A lock file that came here with a copied cache makes nobody else's session ours.
    let lock = |folder: &Folder, id: &Id| {
        folder.path().join(repository.id().to_hex()).join("sessions").join(id.to_hex())
    };
    std::fs::copy(lock(&there, &elsewhere_id), lock(&here, &elsewhere_id)).unwrap();
    assert!(give_up().is_empty());
    drop(living);
    assert_eq!(give_up().len(), 1);
}

#[test]
fn giving_up_writes_before_it_looks() {
    let (store, repository) = create();
    let folder = Folder::new();
    let cache = Cache::open(folder.path(), repository.id()).unwrap();
    drop(Session::begin(&repository, Some(&cache), "server").unwrap());
    store.calls();
    give_up_own_dead(&repository, &cache, "server").unwrap();
    let calls = store.calls();
    let mark = calls.iter().position(|call| matches!(call, Call::Put(_))).unwrap();
    assert!(calls[mark + 1..].contains(&Call::List(ObjectKind::Snapshot)));
}

#[test]
fn a_store_that_lets_nothing_be_deleted_does_not_stop_the_next_backup() {
    let (store, repository) = create();
    let folder = Folder::new();
    let cache = Cache::open(folder.path(), repository.id()).unwrap();
    store.step_in(|call| match call {
        Call::Delete(_) => Err(Error::new(ErrorKind::Denied, "no right to delete")),
        _ => Ok(()),
    });
    for _ in 0..3 {
        assert!(give_up_own_dead(&repository, &cache, "server").unwrap().is_empty());
        assert_eq!(backup(&repository, Some(&cache), &files(0..1)).unwrap().2, Commit::Done);
    }
    assert_eq!(store.names(ObjectKind::Session).len(), 3);
    assert!(store.names(ObjectKind::Abandoned).is_empty());
    // With the right to delete, the next run clears away what it can still tell is its own.
    store.stand_back();
    give_up_own_dead(&repository, &cache, "server").unwrap();
    assert_eq!(store.names(ObjectKind::Session).len(), 2);
    assert_eq!(repository.snapshots().unwrap().snapshots.len(), 3);
}

#[test]
fn a_session_killed_behind_its_commit_is_no_longer_there_after_the_next() {
    let (store, repository) = create();
    let folder = Folder::new();
    let cache = Cache::open(folder.path(), repository.id()).unwrap();
    let session = Session::begin(&repository, Some(&cache), "server").unwrap();
    let id = *session.id();
    repository.put_snapshot(&id, &manifest(Root { id: Id([1; 32]), level: 0 }, 1)).unwrap();
    drop(session);
    assert!(give_up_own_dead(&repository, &cache, "server").unwrap().is_empty());
    assert!(store.names(ObjectKind::Session).is_empty() && store.names(ObjectKind::Abandoned).is_empty());
    assert_eq!(repository.snapshots().unwrap().snapshots[0].id, id);
}

#[test]
fn the_numbers_of_one_key_rise_and_are_its_own() {
    let (store, repository) = create();
    let other = as_role(&store, &repository, Role::Backup);
    let put = |repository: &Repository| {
        let snapshots = repository.snapshots().unwrap();
        let sequence = session::next_sequence(repository, &snapshots);
        let mut manifest = manifest(Root { id: Id([1; 32]), level: 0 }, 1);
        manifest.sequence = sequence;
        repository.put_snapshot(&crate::crypto::random::id().unwrap(), &manifest).unwrap();
        sequence
    };
    assert_eq!([put(&repository), put(&repository), put(&other), put(&repository)], [1, 2, 1, 3]);
    // A mark keeps the number of a snapshot that is gone.
    let newest = repository.snapshots().unwrap().snapshots.into_iter();
    let newest = newest.max_by_key(|snapshot| snapshot.manifest.sequence).unwrap();
    repository.put_forgotten(&newest.id, Some(newest.used_number())).unwrap();
    store.memory.delete(&ObjectName::new(ObjectKind::Snapshot, newest.id)).unwrap();
    assert_eq!([put(&repository), put(&other)], [4, 2]);
}

#[test]
fn backups_that_end_at_once_draw_numbers_of_their_own_and_times_that_rise_with_them() {
    let (_, repository) = create();
    let folder = Folder::new();
    let cache = Cache::open(folder.path(), repository.id()).unwrap();
    let draw = || {
        // None of them has seen the manifest of another.
        let session = Session::begin(&repository, Some(&cache), "server").unwrap();
        let mut manifest = manifest(Root { id: Id([1; 32]), level: 0 }, 1);
        manifest.sequence = 1;
        assert_eq!(session.commit_next(&mut manifest).unwrap(), Commit::Done);
        (manifest.sequence, manifest.finished)
    };
    let mut drawn: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..8).map(|_| scope.spawn(draw)).collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    });
    drawn.sort_unstable();
    assert!(drawn.iter().map(|(number, _)| *number).eq(1..=8), "{drawn:?}");
    assert!(drawn.is_sorted_by(|(_, one), (_, other)| one < other), "{drawn:?}");
    // Without a cache the repository alone tells the number.
    assert_eq!(session::draw_number(&repository, None, 5).0, 5);
    assert_eq!(session::draw_number(&repository, Some(&cache), 50).0, 50);
    assert_eq!(session::draw_number(&repository, Some(&cache), 1).0, 51);
}

#[test]
fn snapshots_are_found_by_what_people_type() {
    let (_, repository) = create();
    let put = |first: u8, seconds: u8| {
        let mut id = [first; 32];
        id[31] = seconds;
        let seconds = i64::from(seconds);
        repository.put_snapshot(&Id(id), &manifest(Root { id: Id([1; 32]), level: 0 }, seconds)).unwrap();
        Id(id)
    };
    let (newest, oldest, middle) = (put(0xaa, 3), put(0xaa, 1), put(0xbb, 2));
    let find = |name: &str| {
        repository.find_snapshot(name, &crate::report::Collector::default()).map(|snapshot| snapshot.id)
    };
    assert_eq!(find("latest").unwrap(), newest);
    assert_eq!(find("latest~1").unwrap(), middle);
    assert_eq!(find("latest~2").unwrap(), oldest);
    assert_eq!(find("latest~3").unwrap_err().kind(), ErrorKind::Missing);
    assert_eq!(find("BBBB").unwrap(), middle);
    assert_eq!(find(&oldest.to_hex()).unwrap(), oldest);
    assert_eq!(find("aaaa").unwrap_err().to_string(), "aaaa names several snapshots");
    assert_eq!(find("cccc").unwrap_err().kind(), ErrorKind::Missing);
    for name in ["", "aaa", "latest~", "latest~-1", "zzzz", "latest~99999999999999999999"] {
        assert_eq!(find(name).unwrap_err().kind(), ErrorKind::Refused, "{name}");
    }
}

#[test]
fn two_repositories_on_one_store_of_bytes_do_not_mix() {
    let (store, repository) = create();
    let (other_store, other) = create();
    let (id, ..) = backup(&other, None, &files(0..1)).unwrap();
    // Every object of the other repository, replayed into this one.
    for name in other_store.memory.objects() {
        if !matches!(name.kind, ObjectKind::Config | ObjectKind::Key) {
            store.memory.replace(&name, other_store.memory.get(&name, u64::MAX).unwrap());
        }
    }
    let snapshots = repository.snapshots().unwrap();
    assert_eq!((snapshots.snapshots.len(), snapshots.damaged[0].1), (0, id));
    let usable = session::usable(&repository).unwrap();
    assert!(usable.adopted.is_empty() && places(&usable.index).is_empty());
    let mut kinds: Vec<ObjectKind> = usable.unreadable.iter().map(|(kind, ..)| *kind).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [ObjectKind::Pack, ObjectKind::Pack, ObjectKind::Index]);
}

#[test]
fn who_was_given_up_names_no_packs() {
    for is_gone in [false, true] {
        let (store, repository) = create();
        let session = Session::begin(&repository, None, "server").unwrap();
        let usable = session.usable().unwrap();
        let writer = BlobWriter::announced(&repository, &usable.index, &session).unwrap();
        store_tree(&repository, &writer, &writer, &files(0..2)).unwrap();
        if is_gone {
            store.memory.delete(&ObjectName::new(ObjectKind::Session, *session.id())).unwrap();
        } else {
            abandon(&repository, session.id());
        }
        assert_eq!(writer.finish(Vec::new()).unwrap_err().kind(), ErrorKind::Abandoned);
        assert_eq!(store.names(ObjectKind::Index), []);
    }
}
