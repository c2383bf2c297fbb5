//! What must be true at every moment, by the naivest means: a list of what each folder's snapshot needs.
//!
//! Invariant: what a snapshot needs is known from a backup of the same folder, alone, into an empty repository. Nothing
//! that runs in the simulation has a say in it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom::backend::{Backend, MemoryBackend, ObjectKind, ObjectName};
use strongroom::format::blob::BlobKind;
use strongroom::id::Id;
use strongroom::repository::Repository;
use strongroom::repository::index::{Index, ReadObjects};

use super::LOST;
use crate::stores::small::{Folders, Small, Who, back_up};
use crate::stores::{Call, Image, store_of};

/// A blob, as an index names it.
type Blob = (BlobKind, Id);

/// What each folder's snapshot needs, by the root of its tree.
pub(crate) struct Needs(HashMap<Id, (usize, Vec<Blob>)>);

impl Needs {
    /// Backs each folder up alone, into a repository that is empty but for that.
    pub(crate) fn new(small: &Small, folders: &Folders) -> Self {
        let needs = (0..folders.count()).map(|folder| {
            let store = store_of(&small.empty);
            let repository = Small::open(Arc::new(store), Who::Host(0));
            let (summary, _) = back_up(&repository, None, "host", &folders.path(folder));
            let blobs = named(&repository).into_values().flatten().collect();
            (summary.expect("a backup").root.id, (folder, blobs))
        });
        Self(needs.collect())
    }

    /// Which folder has this root.
    pub(crate) fn folder(&self, root: &Id) -> Option<usize> {
        self.0.get(root).map(|(folder, _)| *folder)
    }
}

/// The packs that the index objects of a store name, and the blobs in them.
fn named(repository: &Repository) -> HashMap<Id, Vec<Blob>> {
    let read = ReadObjects::read(repository).expect("an index");
    assert!(read.damaged.is_empty(), "an index object that cannot be read: {:?}", read.damaged);
    let index = Index::build(&read, &|_| true).expect("an index");
    let mut packs: HashMap<Id, Vec<Blob>> = index.packs().iter().map(|pack| (pack.id, Vec::new())).collect();
    for place in index.all() {
        let (_, place) = place.expect("a place");
        let pack = index.pack(&place).expect("a pack").id;
        packs.get_mut(&pack).expect("it is one of them").push((place.kind, place.id));
    }
    packs
}

/// A repository that stays open, over a store whose objects are exchanged: to open one anew takes longer than a run.
pub(crate) struct Desk {
    memory: MemoryBackend,
    repository: Repository,
}

impl Desk {
    pub(crate) fn new(empty: &Image) -> Self {
        let memory = store_of(empty);
        Self { repository: Small::full(&memory), memory }
    }

    /// Does something with the repository as it is in another store; what is done to it changes that one too.
    pub(crate) fn with<T>(&self, store: &MemoryBackend, work: impl FnOnce(&Repository) -> T) -> T {
        for (name, bytes) in store.snapshot() {
            self.memory.replace(&name, bytes);
        }
        let outcome = work(&self.repository);
        let after = self.memory.snapshot();
        for name in store.objects().into_iter().filter(|name| !after.contains_key(name)) {
            store.remove(&name);
        }
        for (name, bytes) in after {
            if !matches!(name.kind, ObjectKind::Config | ObjectKind::Key) {
                self.memory.remove(&name);
                store.replace(&name, bytes);
            }
        }
        outcome
    }

    /// Reads one object where there is nothing else.
    fn read<T>(&self, name: &ObjectName, bytes: Vec<u8>, read: impl FnOnce(&Repository) -> T) -> T {
        self.memory.replace(name, bytes);
        let outcome = read(&self.repository);
        self.memory.remove(name);
        outcome
    }
}

#[derive(Default)]
struct Known {
    /// What each index object names.
    indexes: HashMap<Id, Arc<HashMap<Id, Vec<Blob>>>>,
    /// The root of each snapshot ever seen, and when it was seen first.
    snapshots: HashMap<Id, (usize, Id)>,
    /// The folder of each snapshot that was reported.
    reported: BTreeMap<Id, usize>,
    /// Snapshots that somebody was told to forget.
    forgettable: HashSet<Id>,
}

/// Watches a store.
pub(crate) struct Oracle {
    needs: Arc<Needs>,
    desk: Arc<Desk>,
    known: Mutex<Known>,
}

impl Oracle {
    pub(crate) fn new(needs: Arc<Needs>, desk: Arc<Desk>) -> Self {
        Self { needs, desk, known: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that somebody is told to forget a snapshot.
    pub(crate) fn may_forget(&self, id: &Id) {
        self.lock().forgettable.insert(*id);
    }

    /// Whether somebody was told to forget a snapshot.
    pub(crate) fn is_forgettable(&self, id: &Id) -> bool {
        self.lock().forgettable.contains(id)
    }

    /// A backup reported success: I5 holds from now on.
    pub(crate) fn reported(&self, memory: &MemoryBackend, id: &Id, folder: usize) -> Result<(), String> {
        let mut known = self.lock();
        known.reported.insert(*id, folder);
        let root = self.root(&mut known, memory, id)?;
        if self.needs.folder(&root) != Some(folder) {
            return Err(format!("snapshots/{} has the tree of another folder", id.short()));
        }
        self.kept(&known, memory)
    }

    /// After a call that changed something.
    pub(crate) fn after(&self, memory: &MemoryBackend, call: Call) -> Result<(), String> {
        let mut known = self.lock();
        match (call, call.kind()) {
            (Call::Put(_), ObjectKind::Snapshot)
            | (Call::Delete(_), ObjectKind::Pack | ObjectKind::Index) => self.whole(&mut known, memory),
            (Call::Put(_) | Call::Delete(_), ObjectKind::Forgotten)
            | (Call::Delete(_), ObjectKind::Snapshot) => {
                self.kept(&known, memory).and_then(|()| self.whole(&mut known, memory))
            }
            _ => Ok(()),
        }
    }

    /// Everything at once, when all is over.
    pub(crate) fn at_the_end(&self, memory: &MemoryBackend) -> Result<(), String> {
        let mut known = self.lock();
        self.kept(&known, memory).and_then(|()| self.whole(&mut known, memory))
    }

    /// The snapshots that are there and not forgotten, in the order in which they came, and the folder of each.
    pub(crate) fn live(&self, memory: &MemoryBackend) -> Vec<(Id, usize)> {
        let mut known = self.lock();
        let mut live: Vec<(usize, Id, usize)> = Vec::new();
        for id in present(memory, ObjectKind::Snapshot) {
            let Ok(root) = self.root(&mut known, memory, &id) else { continue };
            if let (false, Some(folder)) = (is_forgotten(memory, &id), self.needs.folder(&root)) {
                live.push((known.snapshots[&id].0, id, folder));
            }
        }
        live.sort_unstable();
        live.into_iter().map(|(_, id, folder)| (id, folder)).collect()
    }

    /// I5: a backup that reported success is a live snapshot until somebody forgets it.
    fn kept(&self, known: &Known, memory: &MemoryBackend) -> Result<(), String> {
        for id in known.reported.keys().filter(|id| !known.forgettable.contains(*id)) {
            let name = ObjectName::new(ObjectKind::Snapshot, *id);
            if memory.size(&name).is_err() {
                return Err(format!("{name} was reported and is gone"));
            }
            if is_forgotten(memory, id) {
                return Err(format!("{name} was reported and is forgotten, though nobody was told to"));
            }
        }
        Ok(())
    }

    /// I1: every blob of a committed, unforgotten snapshot lies in an existing, indexed pack.
    fn whole(&self, known: &mut Known, memory: &MemoryBackend) -> Result<(), String> {
        let packs: HashSet<Id> = present(memory, ObjectKind::Pack).into_iter().collect();
        let mut indexes = Vec::new();
        for id in present(memory, ObjectKind::Index) {
            let name = ObjectName::new(ObjectKind::Index, id);
            let read = || {
                let bytes = memory.get(&name, u64::MAX).expect("it is there");
                Arc::new(self.desk.read(&name, bytes, named))
            };
            indexes.push(Arc::clone(known.indexes.entry(id).or_insert_with(read)));
        }
        let there: HashSet<Blob> = indexes
            .iter()
            .flat_map(|index| index.iter().filter(|(pack, _)| packs.contains(*pack)))
            .flat_map(|(_, blobs)| blobs.iter().copied())
            .collect();
        for id in present(memory, ObjectKind::Snapshot) {
            let root = self.root(known, memory, &id)?;
            if is_forgotten(memory, &id) {
                continue;
            }
            let Some((folder, blobs)) = self.needs.0.get(&root) else {
                return Err(format!("snapshots/{} has a tree that nobody backed up", id.short()));
            };
            if let Some((kind, blob)) = blobs.iter().find(|blob| !there.contains(*blob)) {
                return Err(format!(
                    "snapshots/{} of folder {folder}{LOST}{} {}",
                    id.short(),
                    kind.name(),
                    blob.short()
                ));
            }
        }
        Ok(())
    }

    fn root(&self, known: &mut Known, memory: &MemoryBackend, id: &Id) -> Result<Id, String> {
        if let Some((_, root)) = known.snapshots.get(id) {
            return Ok(*root);
        }
        let name = ObjectName::new(ObjectKind::Snapshot, *id);
        let bytes = memory.get(&name, u64::MAX).map_err(|error| error.chain())?;
        let snapshot = self.desk.read(&name, bytes, |repository| repository.read_snapshot(id));
        let root = snapshot.map_err(|error| error.chain())?.manifest.root;
        known.snapshots.insert(*id, (known.snapshots.len(), root));
        Ok(root)
    }
}

fn present(memory: &MemoryBackend, kind: ObjectKind) -> Vec<Id> {
    memory.list(kind).expect("memory can be listed").into_iter().map(|listed| listed.id).collect()
}

fn is_forgotten(memory: &MemoryBackend, id: &Id) -> bool {
    memory.size(&ObjectName::new(ObjectKind::Forgotten, *id)).is_ok()
}
