//! A store that does wrong once, at any call and in any way: whatever a command then says is true, and nothing that was
//! whole before is less whole after it.
//!
//! Every command is run once over a store that does right, to count its calls; then once for each call and each way in
//! which that call can go wrong. Afterwards, over the same objects and with nothing wrong any more: every snapshot that
//! was reported and not forgotten is restored and compared, a check reads every byte, and the next backup works.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use strongroom::backend::{Backend, MemoryBackend, ObjectKind};
use strongroom::id::Id;
use strongroom::repository::Repository;
use strongroom::repository::cache::Cache;

use crate::stores::fault::{Fault, FaultStore};
use crate::stores::small::{
    Folders, Small, Who, assert_sound, back_up, forget, prune, restored, thorough, unlock,
};
use crate::stores::{Call, Image, store_of};
use crate::support::TempFolder;

/// Cases at work at once.
const WORKERS: usize = 2;

/// Where every case begins: snapshots of the folders 0, 1 and 2, and folders to come.
struct Start {
    folders: Folders,
    image: Image,
    snapshots: Vec<(Id, usize)>,
}

impl Start {
    fn new() -> Self {
        let (small, folders) = (Small::new(), Folders::new(5));
        let store = store_of(&small.empty);
        let host = Small::open(Arc::new(store.clone()), Who::Host(0));
        let snapshots = (0..3).map(|folder| (snapshot(&host, &folders, folder), folder)).collect();
        Self { folders, image: store.snapshot(), snapshots }
    }

    /// The same with what crashed runs leave: packs that no index names and a session that was given up, a gc record and
    /// some of the packs that it condemns.
    fn littered() -> Self {
        let mut start = Self::new();
        let store = store_of(&start.image);
        let forgotten = start.snapshots.remove(0).0;
        let maintainer = Small::open(Arc::new(store.clone()), Who::Maintainer);
        forget(&maintainer, &[forgotten]).expect("it is forgotten");
        start.dies_at(
            &store,
            |call| matches!(call, Call::Delete(name) if name.kind == ObjectKind::Pack),
            |faulty| prune(&faulty.open(Who::Maintainer), None, &thorough()).0.is_err(),
        );
        start.dies_at(
            &store,
            |call| matches!(call, Call::Put(name) if name.kind == ObjectKind::Index),
            |faulty| back_up(&faulty.open(Who::Host(2)), None, "host", &start.folders.path(3)).0.is_err(),
        );
        unlock(&maintainer).expect("the session is given up");
        let kinds = [ObjectKind::Gc, ObjectKind::Session, ObjectKind::Abandoned, ObjectKind::Forgotten];
        assert!(kinds.into_iter().all(|kind| !store.list(kind).unwrap().is_empty()), "all of that is there");
        start.image = store.snapshot();
        start
    }

    /// Runs a command that dies when it comes to such a call.
    fn dies_at(
        &self,
        store: &MemoryBackend,
        when: impl Fn(&Call) -> bool,
        command: impl Fn(&Arc<FaultStore>) -> bool,
    ) {
        let tried = Arc::new(FaultStore::new(store_of(&store.snapshot()), None));
        command(&tried);
        let at = tried.calls().iter().position(|(call, _)| when(call)).expect("it comes to that");
        let faulty = Arc::new(FaultStore::new(store.clone(), Some((at, Fault::Down))));
        assert!(command(&faulty), "it died");
    }
}

/// A backup with which nothing is wrong.
#[track_caller]
fn snapshot(repository: &Repository, folders: &Folders, folder: usize) -> Id {
    let (outcome, findings) = back_up(repository, None, "host", &folders.path(folder));
    assert_eq!(findings, [], "nothing is amiss");
    outcome.expect("a backup").snapshot.expect("a snapshot")
}

/// What a command came to, and what must be true from then on.
struct Claim {
    /// What it said, for a failure's message.
    said: String,
    /// Snapshots that must be there.
    snapshots: Vec<(Id, usize)>,
}

/// Asserts, over the same objects and with nothing wrong any more, that what was claimed is true.
fn hold(start: &Start, store: &MemoryBackend, claim: &Claim) {
    let repository = Small::full(store);
    for (id, folder) in &claim.snapshots {
        assert_eq!(restored(&repository, id, &start.folders), Ok(*folder), "snapshots/{}", id.short());
    }
    assert_sound(&repository);
    let host = Small::open(Arc::new(store.clone()), Who::Host(1));
    let (next, _) = back_up(&host, None, "host", &start.folders.path(4));
    let next = next.expect("the next backup").snapshot.expect("a snapshot");
    assert_eq!(restored(&repository, &next, &start.folders), Ok(4), "the next backup");
    assert_sound(&repository);
    let maintainer = Small::open(Arc::new(store.clone()), Who::Maintainer);
    unlock(&maintainer).expect("what is left of it is unlocked");
    let (pruned, _) = prune(&maintainer, None, &thorough());
    assert_eq!(pruned.expect("the next prune").open_sessions, []);
    for (id, folder) in claim.snapshots.iter().chain(&[(next, 4)]) {
        assert_eq!(
            restored(&repository, id, &start.folders),
            Ok(*folder),
            "snapshots/{}, pruned",
            id.short()
        );
    }
    assert_sound(&repository);
}

/// One command over a store that may do wrong; the plain store below it is at hand too.
type Command = dyn Fn(&Start, Arc<FaultStore>, &MemoryBackend) -> Claim + Sync;

/// Runs a command with every fault at every call, and prints how many cases there were of each kind.
fn with_every_fault(start: &Start, what: &str, command: &Command) {
    let run = |plan| {
        let store = store_of(&start.image);
        let faulty = Arc::new(FaultStore::new(store.clone(), plan));
        let claim = command(start, Arc::clone(&faulty), &store);
        (store, faulty, claim)
    };
    let (store, faulty, claim) = run(None);
    hold(start, &store, &claim);
    let cases: Vec<(usize, Call, Fault)> = faulty
        .calls()
        .into_iter()
        .enumerate()
        .flat_map(|(number, (call, entries))| {
            Fault::of(&call, entries).into_iter().map(move |fault| (number, call, fault))
        })
        .collect();
    let (next, hits) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<&str, usize>::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((number, call, fault)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let case = format!("{what}, call {number} ({call:?}): {fault:?}");
                    let running = Telling(&case);
                    let (store, faulty, claim) = run(Some((*number, *fault)));
                    drop(running);
                    let said = format!("{case}; it said: {}", claim.said);
                    let told = Telling(&said);
                    hold(start, &store, &claim);
                    drop(told);
                    if faulty.hit() {
                        *hits.lock().unwrap().entry(fault.name()).or_default() += 1;
                    }
                }
            });
        }
    });
    let hits = hits.into_inner().unwrap();
    let all: usize = hits.values().sum();
    println!("{what}: {} calls, {all} cases: {hits:?}", faulty.calls().len());
    // Nothing is drawn at random that decides how many calls a command makes, but for packs that are found by chance in
    // another order.
    assert!(all * 100 >= cases.len() * 98, "{all} of {} faults were met", cases.len());
}

/// Tells which case it was, should it fail.
struct Telling<'a>(&'a str);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("this was {}", self.0);
        }
    }
}

#[test]
fn a_backup_over_a_store_that_does_wrong_once() {
    let start = Start::new();
    with_every_fault(&start, "backup", &|start, faulty, _| {
        let caches = TempFolder::in_memory();
        let host = faulty.open(Who::Host(0));
        let cache = Cache::open(caches.path(), host.id()).unwrap();
        let (outcome, findings) = back_up(&host, Some(&cache), "host", &start.folders.path(3));
        let mut snapshots = start.snapshots.clone();
        if let Ok(summary) = &outcome {
            snapshots.push((summary.snapshot.expect("a snapshot"), 3));
        }
        Claim { said: format!("{outcome:?} {findings:?}"), snapshots }
    });
}

#[test]
fn a_prune_over_a_store_that_does_wrong_once() {
    let start = Start::new();
    with_every_fault(&start, "forget and prune", &|start, faulty, _| {
        let maintainer = faulty.open(Who::Maintainer);
        let outcome = forget(&maintainer, &[start.snapshots[0].0])
            .and_then(|()| prune(&maintainer, None, &thorough()).0);
        Claim { said: format!("{outcome:?}"), snapshots: start.snapshots[1..].to_vec() }
    });
}

#[test]
fn a_prune_after_crashes_over_a_store_that_does_wrong_once() {
    let start = Start::littered();
    with_every_fault(&start, "prune after crashes", &|start, faulty, _| {
        let (outcome, findings) = prune(&faulty.open(Who::Maintainer), None, &thorough());
        Claim { said: format!("{outcome:?} {findings:?}"), snapshots: start.snapshots.clone() }
    });
}

#[test]
fn a_backup_after_crashes_over_a_store_that_does_wrong_once() {
    let start = Start::littered();
    with_every_fault(&start, "backup after crashes", &|start, faulty, _| {
        let (outcome, findings) = back_up(&faulty.open(Who::Host(0)), None, "host", &start.folders.path(3));
        let mut snapshots = start.snapshots.clone();
        if let Ok(summary) = &outcome {
            snapshots.push((summary.snapshot.expect("a snapshot"), 3));
        }
        Claim { said: format!("{outcome:?} {findings:?}"), snapshots }
    });
}

#[test]
fn a_restore_over_a_store_that_does_wrong_once() {
    let start = Start::new();
    with_every_fault(&start, "restore", &|start, faulty, _| {
        let repository = faulty.open(Who::Full);
        let (id, folder) = start.snapshots[1];
        let outcome = restored(&repository, &id, &start.folders);
        if let Ok(found) = &outcome {
            assert_eq!(*found, folder, "what is called whole is what was backed up");
        }
        Claim { said: format!("{outcome:?}"), snapshots: start.snapshots.clone() }
    });
}
