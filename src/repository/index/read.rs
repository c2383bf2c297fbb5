//! Reading the index objects of a repository, or this computer's copies of what they say.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::covered::Covered;
use super::folders::{self, IndexFolders, OBJECT_WORTH};
use super::gather::Gatherer;
use super::merge::merge;
use super::run::Run;
use crate::backend::{Listed, ObjectKind, ObjectName};
use crate::crypto::derive::Purpose;
use crate::crypto::secret::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::format::index::{self as format, IndexObject};
use crate::id::Id;
use crate::repository::Repository;
use crate::repository::kept::Kept;
use crate::repository::unread::is_passed_over;

/// How often the index may change while it is read.
const READS_MAX: usize = 10;

/// A copy is merged with what is new once that is more than one part in this many of it.
const GROWTH: usize = 4;

/// Longest index object that is kept by itself, in bytes: copies take in longer ones soon.
const KEPT_OBJECT_MAX: u64 = 256 << 10;

/// What every index object says, as one listing showed them.
#[derive(Default)]
pub struct ReadObjects {
    pub(super) listed: Vec<Id>,
    pub(super) runs: Vec<Covered>,
    /// Objects that are damaged or forged, or that alone cannot be had, and why. Their packs are in the store all the same: a backup finds
    /// them by their tables.
    pub damaged: Vec<(Id, Error)>,
    pub(super) troubles: Vec<Error>,
    pub(super) source: Option<Repository>,
}

impl ReadObjects {
    /// Every pack that they name, each once for each object that names it.
    pub fn packs(&self) -> impl Iterator<Item = Id> {
        self.runs.iter().flat_map(|covered| covered.packs().map(|pack| pack.info.id))
    }

    /// The objects that were listed.
    pub fn listed(&self) -> &[Id] {
        &self.listed
    }

    /// The packs that each object names.
    pub(crate) fn packs_by_object(&self) -> HashMap<Id, Vec<Id>> {
        let mut objects: HashMap<Id, Vec<Id>> = HashMap::new();
        for covered in &self.runs {
            let directory = &covered.run.directory;
            for (object, _) in directory.objects.iter().zip(&covered.live).filter(|(_, live)| **live) {
                objects.entry(*object).or_default();
            }
            for pack in covered.packs() {
                let object = usize::try_from(pack.object).ok().and_then(|at| directory.objects.get(at));
                let Some(object) = object else { continue };
                objects.entry(*object).or_default().push(pack.info.id);
            }
        }
        objects
    }

    /// How many packs each object names, and whether one of these packs is among them.
    pub(crate) fn naming(&self, packs: &HashSet<Id>) -> HashMap<Id, (usize, bool)> {
        let named = self.packs_by_object().into_iter();
        let count = |named: Vec<Id>| (named.len(), named.iter().any(|pack| packs.contains(pack)));
        named.map(|(object, named)| (object, count(named))).collect()
    }

    /// Lists them, and reads those that no copy on this computer covers; again where one vanished meanwhile, as a
    /// prune makes them vanish.
    ///
    /// # Errors
    /// Where the store does not answer: trouble is not emptiness.
    pub fn read(repository: &Repository) -> Result<Self> {
        Self::read_with(repository, repository.index_folders(), None)
    }

    /// The same, with what the cache keeps of single objects: for a command that gives something back.
    pub(in crate::repository) fn read_kept(repository: &Repository, kept: Option<&Kept>) -> Result<Self> {
        Self::read_with(repository, repository.index_folders(), kept)
    }

    /// The same without believing any copy: every object is opened.
    pub fn read_afresh(repository: &Repository) -> Result<Self> {
        Self::read_with(repository, &Arc::new(repository.index_folders().without_cache()), None)
    }

    fn read_with(repository: &Repository, folders: &Arc<IndexFolders>, kept: Option<&Kept>) -> Result<Self> {
        let key = repository.keyring().key(Purpose::Cache);
        let mut all = Self { source: Some(repository.clone()), ..Self::default() };
        let mut copies = all.open_copies(folders, &key);
        let mut gathered = Vec::new();
        for _ in 0..READS_MAX {
            let listed = repository.backend().list(ObjectKind::Index)?;
            let mut unread: HashSet<Id> = listed.iter().map(|object| object.id).collect();
            for covered in copies.iter_mut().chain(&mut gathered) {
                cover(covered, &mut unread);
            }
            all.damaged.retain(|(id, _)| unread.remove(id));
            let missing: Vec<Listed> =
                listed.iter().filter(|object| unread.contains(&object.id)).copied().collect();
            all.listed = listed.into_iter().map(|object| object.id).collect();
            let mut gatherer = Gatherer::new(Arc::clone(folders), key.clone());
            let vanished = all.gather(repository, kept, folders.read_bytes, &missing, &mut gatherer)?;
            let (more, trouble) = gatherer.finish()?;
            gathered.extend(more);
            all.troubles.extend(trouble);
            if vanished {
                continue;
            }
            let settling = Settling { folders, key: &key, troubles: &mut all.troubles };
            if settling.settle(&mut copies, &mut gathered) {
                all.runs = copies;
                all.runs.append(&mut gathered);
                all.load(folders.loaded_places);
                return Ok(all);
            }
        }
        Err(Error::new(ErrorKind::Busy, "the repository's index keeps changing").hint("try again in a while"))
    }

    /// Reads copies into memory, the smallest first, as long as there is room for so many places.
    fn load(&mut self, mut room: usize) {
        self.runs.sort_by_key(Covered::places);
        for covered in self.runs.iter_mut().filter(|covered| !covered.run.is_in_memory()) {
            let places = usize::try_from(covered.run.directory.places).unwrap_or(usize::MAX);
            let Some(left) = room.checked_sub(places) else { break };
            // One that is damaged is made again when it is searched.
            if let Ok(run) = covered.run.loaded() {
                covered.run = Arc::new(run);
                room = left;
            }
        }
    }

    /// Opens the copies in the cache. One that does not open is discarded.
    fn open_copies(&mut self, folders: &IndexFolders, key: &Secret) -> Vec<Covered> {
        let mut copies = Vec::new();
        for path in folders.copies() {
            match folders::open(&path).and_then(|file| Run::open(file, key)) {
                Ok(run) => copies.push(Covered { path: Some(path), ..Covered::whole(run) }),
                // Another process merged it with others.
                Err(error) if error.kind() == ErrorKind::Missing => {}
                Err(error) => {
                    // Trouble may pass; damage does not.
                    if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) {
                        folders::remove(&path);
                    }
                    self.troubles.push(error);
                }
            }
        }
        // An object that two of them cover counts in the larger one.
        copies.sort_by_key(|copy| std::cmp::Reverse(copy.run.directory.places));
        copies
    }

    /// Reads objects, some at a time, and says whether one of them has vanished.
    fn gather(
        &mut self,
        repository: &Repository,
        kept: Option<&Kept>,
        read_bytes: u64,
        objects: &[Listed],
        gatherer: &mut Gatherer,
    ) -> Result<bool> {
        let mut vanished = false;
        let mut rest = objects;
        while !rest.is_empty() {
            let mut bytes = 0u64;
            let fits = rest.iter().take_while(|object| {
                bytes = bytes.saturating_add(object.size);
                bytes <= read_bytes
            });
            let (now, behind) = rest.split_at_checked(fits.count().max(1)).unwrap_or((rest, &[]));
            rest = behind;
            let read = |object: &Listed| {
                let kept = kept.filter(|_| object.size <= KEPT_OBJECT_MAX);
                (object.id, read_listed_or_kept(repository, kept, &object.id))
            };
            let read: Vec<(Id, Result<IndexObject>)> = now.par_iter().map(read).collect();
            for (id, object) in read {
                match object {
                    Ok(object) => gatherer.add(id, &object)?,
                    Err(error) if error.kind() == ErrorKind::Missing => vanished = true,
                    Err(error) if is_passed_over(&error) => {
                        self.damaged.push((id, error));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(vanished)
    }
}

/// Says which of a run's objects count: those that are listed, each in one run. What is found is taken from
/// `unread`.
fn cover(covered: &mut Covered, unread: &mut HashSet<Id>) {
    let objects = &covered.run.directory.objects;
    covered.live = objects.iter().map(|object| unread.remove(object)).collect();
}

/// What becomes of copies and of what was read besides.
struct Settling<'a> {
    folders: &'a IndexFolders,
    key: &'a Secret,
    troubles: &'a mut Vec<Error>,
}

impl Settling<'_> {
    /// Removes copies that nothing needs, keeps what was read where that pays, and merges what lies in many runs.
    /// Says false where a copy turned out to be damaged: what it held has to be read.
    fn settle(self, copies: &mut Vec<Covered>, gathered: &mut Vec<Covered>) -> bool {
        for copy in copies.extract_if(.., |copy| !copy.live.contains(&true)) {
            copy.discard();
        }
        let work = gathered.iter().map(|covered| covered.places() + covered.objects() * OBJECT_WORTH);
        if self.folders.keeps_copies() && work.sum::<usize>() >= self.folders.copy_worth {
            let (mut merged, rest) = overtaken(std::mem::take(copies), gathered);
            *copies = rest;
            let old = merged.len();
            merged.append(gathered);
            match self.merge_to_copy(&merged) {
                Ok(copy) => {
                    merged.iter().for_each(Covered::discard);
                    copies.push(copy);
                    return true;
                }
                Err(error) => {
                    let damaged = old > 0 && error.kind() == ErrorKind::Corrupt;
                    self.troubles.push(error);
                    *gathered = merged.split_off(old);
                    if damaged {
                        merged.iter().for_each(Covered::discard);
                        return false;
                    }
                    copies.append(&mut merged);
                }
            }
        }
        if gathered.len() > 1 && self.folders.has_room() {
            match self.folders.temporary_file().and_then(|file| merge(gathered, file, self.key)) {
                Ok(run) => *gathered = vec![Covered::whole(run)],
                // Looking through all of them is slower, no more.
                Err(error) => self.troubles.push(error),
            }
        }
        true
    }

    fn merge_to_copy(&self, runs: &[Covered]) -> Result<Covered> {
        let (path, file) = self.folders.new_copy()?;
        let named = merge(runs, file, self.key).and_then(|run| Ok((run, folders::keep(&path)?)));
        if named.is_err() {
            folders::remove(&path);
        }
        named.map(|(run, path)| Covered { path: Some(path), ..Covered::whole(run) })
    }
}

/// Parts the copies into those to be merged with what was read, and the rest: small ones, so that their number
/// grows with the logarithm of the index only, and those of which little counts any more.
fn overtaken(mut copies: Vec<Covered>, gathered: &[Covered]) -> (Vec<Covered>, Vec<Covered>) {
    copies.sort_by_key(Covered::places);
    let mut sum: usize = gathered.iter().map(Covered::places).sum();
    copies.into_iter().partition(|copy| {
        let places = copy.places();
        let all = usize::try_from(copy.run.directory.places).unwrap_or(usize::MAX);
        let merges = places < sum.saturating_mul(GROWTH) || places.saturating_mul(2) < all;
        if merges {
            sum = sum.saturating_add(places);
        }
        merges
    })
}

/// Reads one index object that a listing showed.
pub(crate) fn read_listed(repository: &Repository, id: &Id) -> Result<IndexObject> {
    read_listed_or_kept(repository, None, id)
}

fn read_listed_or_kept(repository: &Repository, kept: Option<&Kept>, id: &Id) -> Result<IndexObject> {
    let name = ObjectName::new(ObjectKind::Index, *id);
    repository
        .read_listed_object(&name, || decode(id, &repository.get_kept_object(kept, ObjectKind::Index, id)?))
}

/// Reads one index object.
pub(crate) fn read_index_object(repository: &Repository, id: &Id) -> Result<IndexObject> {
    decode(id, &repository.get_object(ObjectKind::Index, id)?)
}

fn decode(id: &Id, plaintext: &[u8]) -> Result<IndexObject> {
    format::decode(plaintext).map_err(|error| error.context(format!("index/{id} cannot be read")))
}

/// Reads again what a run covers whose file is damaged.
///
/// # Errors
/// Where an object is not there any more, or what they say has other numbers than it had.
pub(super) fn read_again(repository: &Repository, damaged: &Run) -> Result<Run> {
    let folders = Arc::new(repository.index_folders().without_cache());
    let key = repository.keyring().key(Purpose::Cache);
    let mut gatherer = Gatherer::new(Arc::clone(&folders), key.clone());
    for id in &damaged.directory.objects {
        gatherer.add(*id, &read_index_object(repository, id)?)?;
    }
    let (parts, trouble) = gatherer.finish()?;
    let run = match <[Covered; 1]>::try_from(parts) {
        Ok([covered]) => Arc::into_inner(covered.run),
        Err(parts) => match trouble {
            Some(error) => return Err(error),
            None => Some(merge(&parts, folders.temporary_file()?, &key)?),
        },
    };
    let (new, old) = (run.as_ref().map(|run| &run.directory), &damaged.directory);
    let same = new
        .is_some_and(|new| new.objects == old.objects && new.packs == old.packs && new.places == old.places);
    run.filter(|_| same).ok_or_else(|| {
        Error::new(ErrorKind::Busy, "what the index objects say is not what this computer's copy held")
            .hint("run the command again: the copy is made anew")
    })
}
