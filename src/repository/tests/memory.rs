//! What is remembered of snapshots: one that vanishes is told, and nothing else is.

use super::support::{Folder, Watched, as_role, create, manifest};
use crate::backend::{Backend, ObjectKind, ObjectName};
use crate::error::Error;
use crate::format::key_slot::Role;
use crate::format::node::Timestamp;
use crate::format::snapshot::Manifest;
use crate::id::Id;
use crate::report::{Collector, Severity};
use crate::repository::Repository;
use crate::repository::host;
use crate::repository::snapshot::Snapshots;
use crate::repository::tree::Root;

fn put(repository: &Repository, byte: u8) -> Id {
    let id = Id([byte; 32]);
    let manifest = manifest(Root { id: Id([1; 32]), level: 0 }, 1_790_000_000);
    repository.put_snapshot(&id, &manifest).unwrap();
    id
}

fn remove(store: &Watched, kind: ObjectKind, id: Id) {
    store.memory.delete(&ObjectName::new(kind, id)).unwrap();
}

fn vanished(repository: &Repository) -> Vec<(Id, bool)> {
    let found = repository.snapshots().unwrap();
    found.vanished.iter().map(|vanished| (vanished.id, vanished.told)).collect()
}

#[test]
fn what_vanishes_without_a_mark_is_told_once_and_known_until_there_is_one() {
    let (store, repository) = create();
    let folder = Folder::new();
    let remembering = repository.clone().with_memory(folder.path());
    let [first, second, third] = [1, 2, 3].map(|byte| put(&repository, byte));
    assert_eq!(vanished(&remembering), []);
    // Forgotten and pruned is not vanished.
    repository.put_forgotten(&first, None).unwrap();
    remove(&store, ObjectKind::Snapshot, first);
    assert_eq!(vanished(&remembering), []);
    remove(&store, ObjectKind::Snapshot, second);
    assert_eq!(vanished(&remembering), [(second, false)]);
    let told = || {
        let reporter = Collector::default();
        remembering.tell_vanished(&remembering.snapshots().unwrap(), &reporter);
        reporter.findings()
    };
    let findings = told();
    assert_eq!((findings.len(), findings[0].severity), (1, Severity::Problem));
    assert_eq!(findings[0].subject, format!("snapshot {} of server of 2026-09-21", second.short()));
    assert!(findings[0].cause.contains("vanished without having been forgotten"), "{findings:?}");
    assert!(told().is_empty());
    assert_eq!(vanished(&remembering), [(second, true)]);
    // It is back, and vanishes again.
    put(&repository, 2);
    assert_eq!(vanished(&remembering), []);
    remove(&store, ObjectKind::Snapshot, second);
    assert_eq!(told().len(), 1);
    // Somebody who may says that it may be gone.
    repository.put_forgotten(&second, None).unwrap();
    assert_eq!(vanished(&remembering), []);
    // Who has no memory, or another, knows nothing of it.
    remove(&store, ObjectKind::Snapshot, third);
    assert_eq!(vanished(&repository), []);
    assert_eq!(vanished(&repository.clone().with_memory(Folder::new().path())), []);
    assert_eq!(vanished(&remembering), [(third, false)]);
}

#[test]
fn neither_a_store_that_fails_nor_one_that_cannot_be_read_loses_the_memory() {
    let (store, repository) = create();
    let folder = Folder::new();
    let remembering = repository.clone().with_memory(folder.path());
    let id = put(&repository, 1);
    assert_eq!(vanished(&remembering), []);
    for kind in [ObjectKind::Snapshot, ObjectKind::Forgotten] {
        store.step_in(move |call| match call {
            super::support::Call::List(listed) if listed == kind => Err(Error::refused("no answer")),
            _ => Ok(()),
        });
        assert!(remembering.snapshots().is_err());
        store.stand_back();
    }
    // Damaged is there.
    store.memory.replace(&ObjectName::new(ObjectKind::Snapshot, id), vec![0; 100]);
    let found = remembering.snapshots().unwrap();
    assert_eq!((found.damaged.len(), found.vanished.len()), (1, 0));
    // A mark that does not verify accepts nothing.
    remove(&store, ObjectKind::Snapshot, id);
    store.memory.replace(&ObjectName::new(ObjectKind::Forgotten, id), vec![0; 100]);
    assert_eq!(vanished(&remembering), [(id, false)]);
}

#[test]
fn a_snapshot_is_remembered_by_the_computer_that_made_it() {
    let (store, repository) = create();
    let folder = Folder::new();
    let remembering = repository.with_memory(folder.path());
    let cache = crate::repository::cache::Cache::open(folder.path(), remembering.id()).unwrap();
    let (id, ..) = super::support::backup(&remembering, Some(&cache), &[("a", vec![1])]).unwrap();
    remove(&store, ObjectKind::Snapshot, id);
    assert_eq!(vanished(&remembering), [(id, false)]);
}

/// Stores a snapshot that says it was finished so many hours ago.
fn put_finished(repository: &Repository, byte: u8, hours_ago: i64) -> Id {
    let finished = Timestamp { seconds: host::now().seconds - hours_ago * 3600, nanoseconds: 0 };
    let manifest = manifest(Root { id: Id([1; 32]), level: 0 }, finished.seconds);
    let id = Id([byte; 32]);
    repository.put_snapshot(&id, &Manifest { finished, ..manifest }).unwrap();
    id
}

fn unseen(repository: &Repository) -> Vec<Id> {
    repository.snapshots().unwrap().unseen.into_iter().collect()
}

#[test]
fn what_is_dated_before_the_last_listing_and_was_not_in_it_is_told_from_the_rest() {
    let (store, repository) = create();
    let (folder, newcomer) = (Folder::new(), Folder::new());
    let remembering = repository.clone().with_memory(folder.path());
    let stolen = as_role(&store, &repository, Role::Backup);
    put_finished(&stolen, 1, 24 * 9);
    // Who never listed anything knows nothing of what was there.
    assert_eq!(unseen(&remembering), []);
    put_finished(&stolen, 2, 1);
    let [third, fourth] = [3, 4].map(|byte| put_finished(&stolen, byte, 24 * i64::from(byte)));
    // Who may forget by himself copies and tags in good faith.
    put_finished(&repository, 5, 24 * 30);
    for _ in 0..2 {
        assert_eq!(unseen(&remembering), [third, fourth], "also when it is seen again");
    }
    assert_eq!(unseen(&repository.clone().with_memory(newcomer.path())), []);
    // What this computer makes itself it need not have seen.
    let id = Id([6; 32]);
    let finished = Timestamp { seconds: host::now().seconds - 86_400 * 50, nanoseconds: 0 };
    let own = Manifest { finished, ..manifest(Root { id: Id([1; 32]), level: 0 }, finished.seconds) };
    stolen.put_snapshot(&id, &own).unwrap();
    stolen.clone().with_memory(folder.path()).remember_one(&id, &own);
    assert_eq!(unseen(&remembering), [third, fourth]);
    repository.put_forgotten(&third, None).unwrap();
    assert_eq!(unseen(&remembering), [fourth]);
}

#[test]
fn what_is_accepted_counts_and_what_it_is_made_into_with_it() {
    let (store, repository) = create();
    let folder = Folder::new();
    let remembering = repository.clone().with_memory(folder.path());
    let stolen = as_role(&store, &repository, Role::Backup);
    put_finished(&stolen, 1, 24 * 9);
    assert_eq!(unseen(&remembering), []);
    let late = [2, 3].map(|byte| put_finished(&stolen, byte, 24 * 7));
    assert_eq!(unseen(&remembering), late);
    assert!(remembering.accept_dated_back(&late[..1]));
    assert_eq!(unseen(&remembering), late[1..]);
    // Who remembers nothing accepts nothing.
    assert!(!repository.accept_dated_back(&late[1..]));
    let tagged = |byte: u8, of: Id| {
        let found = repository.read_snapshot(&of).unwrap();
        let original = Some(crate::format::snapshot::Original {
            snapshot: of,
            writer: found.writer,
            sequence: found.manifest.sequence,
            made_from: of,
            change: crate::format::snapshot::Change::Tagged,
        });
        let manifest = Manifest { original, ..found.manifest };
        repository.put_snapshot(&Id([byte; 32]), &manifest).unwrap();
        repository.put_forgotten(&of, None).unwrap();
        (Id([byte; 32]), manifest)
    };
    // Tagged elsewhere, or here: what it was made from is gone by the next listing.
    tagged(4, late[0]);
    let (fifth, _) = tagged(5, late[1]);
    for _ in 0..2 {
        assert_eq!(unseen(&remembering), [fifth]);
    }
    let (sixth, manifest) = tagged(6, fifth);
    remembering.remember_one(&sixth, &manifest);
    for _ in 0..2 {
        assert_eq!(unseen(&remembering), [sixth]);
    }
}

#[test]
fn one_object_that_cannot_be_read_does_not_end_the_watch() {
    let (store, repository) = create();
    let folder = Folder::new();
    let remembering = repository.clone().with_memory(folder.path());
    let stolen = as_role(&store, &repository, Role::Backup);
    put_finished(&stolen, 1, 24 * 20);
    let damaged = put_finished(&stolen, 2, 24 * 19);
    let name = ObjectName::new(ObjectKind::Snapshot, damaged);
    let bytes = store.memory.get(&name, 1 << 20).unwrap();
    store.memory.replace(&name, vec![0; 100]);
    assert_eq!(unseen(&remembering), []);
    let forged = put_finished(&stolen, 3, 24 * 10);
    assert_eq!(unseen(&remembering), [forged]);
    // It was there, and is no worse for being read again; another in its place is.
    store.memory.replace(&name, bytes);
    assert_eq!(unseen(&remembering), [forged]);
    let junk = ObjectName::new(ObjectKind::Snapshot, Id([4; 32]));
    store.memory.replace(&junk, vec![0; 100]);
    assert_eq!(unseen(&remembering), [forged]);
    let second = put_finished(&stolen, 5, 24 * 10);
    store.memory.replace(&junk, vec![0; 100]);
    store.memory.delete(&junk).unwrap();
    assert_eq!(put_finished(&stolen, 4, 24 * 10), Id([4; 32]));
    assert_eq!(unseen(&remembering), [forged, Id([4; 32]), second]);
    // What could not be read and is gone has vanished.
    let gone = ObjectName::new(ObjectKind::Snapshot, Id([6; 32]));
    store.memory.replace(&gone, vec![0; 100]);
    assert_eq!(vanished(&remembering), []);
    store.memory.delete(&gone).unwrap();
    assert_eq!(vanished(&remembering), [(Id([6; 32]), false)]);
}

#[test]
fn what_comes_late_for_an_honest_reason_is_not_dated_back() {
    let (store, repository) = create();
    let folder = Folder::new();
    let remembering = repository.clone().with_memory(folder.path());
    // A repository that was listed while nothing was in it, and one that another key had written to.
    assert_eq!(unseen(&remembering), []);
    let copying = as_role(&store, &repository, Role::Backup);
    for byte in 1..4 {
        put_finished(&copying, byte, 24 * 90);
    }
    assert_eq!(unseen(&remembering), []);
    let other = as_role(&store, &repository, Role::Backup);
    for byte in 10..13 {
        put_finished(&other, byte, 24 * 80);
    }
    assert_eq!(unseen(&remembering), []);
    let late = put_finished(&other, 13, 24 * 79);
    assert_eq!(unseen(&remembering), [late]);
}

#[test]
fn neither_a_mirror_nor_a_clock_that_ran_ahead_accuses_anybody() {
    use super::super::memory::Memory;
    let (store, repository) = create();
    let stolen = as_role(&store, &repository, Role::Backup);
    put_finished(&stolen, 1, 24 * 20);
    put_finished(&stolen, 2, 24 * 5);
    let snapshots = repository.snapshots().unwrap().snapshots;
    let at = |days: i64| Timestamp { seconds: host::now().seconds + days * 86_400, nanoseconds: 0 };
    let [here, mirror] = [1, 2].map(|byte| Id([byte; 32]));
    let listed = |memory: &mut Memory, location: &Id, count: usize, began: Timestamp| {
        let found = Snapshots {
            unseen: memory.unseen(&snapshots[..count], location, began),
            snapshots: snapshots[..count].to_vec(),
            ..Snapshots::default()
        };
        memory.listed(&found, &std::collections::HashSet::new(), location, began);
        found.unseen.len()
    };
    // The mirror was behind when it was listed; the repository itself was not looked at for long.
    let mut memory = Memory::default();
    assert_eq!(listed(&mut memory, &here, 1, at(-19)), 0);
    assert_eq!(listed(&mut memory, &mirror, 1, at(0)), 0);
    assert_eq!(listed(&mut memory, &here, 2, at(0)), 0);
    // Twice listed by a clock ten days ahead: the second time a night is accused, until the clock is right again.
    let mut memory = Memory::default();
    assert_eq!(listed(&mut memory, &here, 1, at(10)), 0);
    assert_eq!(listed(&mut memory, &here, 2, at(11)), 1);
    assert_eq!(listed(&mut memory, &here, 2, at(1)), 0);
    assert_eq!(listed(&mut memory, &here, 2, at(12)), 0);
}
