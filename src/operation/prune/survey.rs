//! Step 1 and step 5: what there is, what of it is needed, and where the needed blobs lie.
//!
//! Invariants: snapshots are read before the index, so that what they need was named by it; gc records before the packs
//! are listed. Of a blob that lies in several packs that count, one copy is chosen to be kept. A repository that is
//! damaged gives an error, never a survey.

use std::collections::{HashMap, HashSet};

use super::sound::{gc_records, losses, read_index, readable_snapshots};
use super::{Options, confirm};
use crate::backend::ObjectKind;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;
use crate::operation::check::places::at;
use crate::operation::repair::snapshots::known_damaged;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::index::{Index, Place};
use crate::repository::reach::Reach;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::{Snapshot, Snapshots};

/// How often the index may change while it is surveyed.
const SURVEYS_MAX: usize = 5;

/// What there is and what of it is needed.
pub(super) struct Survey {
    /// Every snapshot that was listed, forgotten ones included.
    pub(super) listed_snapshots: HashSet<Id>,
    /// The gc records and the packs they condemn.
    pub(super) records: Vec<(Id, Vec<Id>)>,
    /// Every pack that any of them condemns.
    pub(super) condemned: HashSet<Id>,
    /// Every pack that is listed, and its size.
    pub(super) packs: HashMap<Id, u64>,
    /// Packs that are listed and that no index object names.
    pub(super) unnamed: Vec<Id>,
    /// The index over every pack that is listed, condemned or not.
    pub(super) index: Index,
    /// For each pack of the index what lies in it.
    pub(super) uses: Vec<PackUse>,
    /// The places that are kept: one of each blob that is needed, by number.
    pub(super) kept: Bits,
    /// Where needed blobs lie that lie in condemned packs only: they have to be copied out. Of a blob that lies in several,
    /// the places that [`confirm`] says may not be given up.
    pub(super) homeless: Vec<u32>,
    /// Whether something that a repaired snapshot needs is lost.
    pub(super) has_losses: bool,
}

/// What lies in a pack.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PackUse {
    /// Bytes of the blobs that are kept here.
    pub(super) kept_bytes: u64,
    /// Bytes of the blobs that nothing needs, or that are kept elsewhere.
    pub(super) unused_bytes: u64,
    /// Blobs that are kept here.
    pub(super) kept_blobs: u64,
    /// Blobs that are not.
    pub(super) unused_blobs: u64,
    /// Whether it is condemned.
    pub(super) condemned: bool,
}

/// One bit for each number.
pub(super) struct Bits(Vec<u64>);

impl Bits {
    fn new(numbers: u32) -> Self {
        Self(vec![0; usize::try_from(numbers.div_ceil(64)).unwrap_or(usize::MAX)])
    }

    fn set(&mut self, number: u32) {
        let word = usize::try_from(number / 64).ok().and_then(|word| self.0.get_mut(word));
        if let Some(word) = word {
            *word |= 1 << (number % 64);
        }
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        let word = usize::try_from(number / 64).ok().and_then(|word| self.0.get(word));
        word.is_some_and(|word| word & (1 << (number % 64)) != 0)
    }
}

impl Survey {
    /// Looks at everything; again where something seemed to be missing and the store changed meanwhile.
    pub(super) fn take(repository: &Repository, options: &Options, reporter: &dyn Reporter) -> Result<Self> {
        for _ in 0..SURVEYS_MAX {
            match Self::look(repository, options, reporter) {
                Err((error, true)) if is_loss(&error) => {}
                looked => return looked.map_err(|(error, _)| error),
            }
        }
        // Nothing says that it is lost: it may have been moved each time.
        Err(Error::new(ErrorKind::Busy, "the repository keeps changing while it is looked at")
            .hint("other prunes are at work; run this one again when they are done"))
    }

    /// One look. An error comes with whether the index, or what is forgotten, has changed since it was read.
    fn look(
        repository: &Repository,
        options: &Options,
        reporter: &dyn Reporter,
    ) -> Result<Self, (Error, bool)> {
        let early = |error| (error, false);
        let marks = repository.list_ids(ObjectKind::Forgotten).map_err(early)?;
        let snapshots = readable_snapshots(repository, reporter).map_err(early)?;
        let records = gc_records(repository).map_err(early)?;
        let read = read_index(repository).map_err(early)?;
        let changed = |error| {
            // Another prune may have deleted what only snapshots needed that somebody forgot since they were read.
            let indexes = repository.list_ids(ObjectKind::Index).is_ok_and(|now| now != read.listed());
            let forgotten = repository.list_ids(ObjectKind::Forgotten).is_ok_and(|now| now != marks);
            (error, indexes || forgotten)
        };
        let listed = repository.list_agreed(ObjectKind::Pack).map_err(early)?;
        let packs: HashMap<Id, u64> = listed.into_iter().map(|listed| (listed.id, listed.size)).collect();
        let condemned: HashSet<Id> = records.iter().flat_map(|(_, packs)| packs.iter().copied()).collect();
        let named: HashSet<Id> = read.packs().collect();
        let mut unnamed: Vec<Id> = packs
            .keys()
            .filter(|pack| !named.contains(*pack) && !condemned.contains(*pack))
            .copied()
            .collect();
        unnamed.sort_unstable();
        let index = Index::build(&read, &|pack| packs.contains_key(pack)).map_err(early)?;
        index.report_troubles(reporter);
        let listed_snapshots =
            snapshots.snapshots.iter().chain(&snapshots.forgotten).map(|one| one.id).collect();
        let mut survey = Self {
            listed_snapshots,
            records,
            condemned,
            packs,
            unnamed,
            uses: Vec::new(),
            kept: Bits::new(index.numbers()),
            homeless: Vec::new(),
            has_losses: false,
            index,
        };
        let fetched = Index::build(&read, &|pack| survey.packs.contains_key(pack)).map_err(early)?;
        let reader = BlobReader::with_index(repository, fetched);
        survey.reach(&reader, &snapshots, options, reporter).map_err(changed)?;
        Ok(survey)
    }

    /// Walks the trees and chooses a copy of each blob.
    fn reach(
        &mut self,
        reader: &BlobReader<'_>,
        snapshots: &Snapshots,
        options: &Options,
        reporter: &dyn Reporter,
    ) -> Result<()> {
        let index = std::mem::take(&mut self.index);
        let reach = Reach::new(&index);
        let repaired = known_damaged(snapshots);
        let (old, whole): (Vec<&Snapshot>, Vec<&Snapshot>) =
            snapshots.snapshots.iter().partition(|snapshot| repaired.contains_key(&snapshot.id));
        let lost = reach.walk(reader, whole.iter().map(|snapshot| snapshot.root()), &options.interrupt)?;
        if let Some(first) = lost.first() {
            return Err(losses(&lost, first, !self.unnamed.is_empty()));
        }
        // What is lost of these is known, and a repaired snapshot stands in for each.
        let known = reach.walk(reader, old.iter().map(|snapshot| snapshot.root()), &options.interrupt)?;
        self.has_losses = !known.is_empty();
        if self.has_losses {
            let cause = format!("need {} blobs that are lost; the rest of them is kept", known.len());
            reporter.report(Finding::warning("snapshots that were repaired", cause));
        }
        self.choose(reader.repository(), &index, &reach, options)?;
        drop(reach);
        self.index = index;
        Ok(())
    }

    /// Chooses, of each needed blob, the copy in the pack that is used most; only packs that count have one. Where there
    /// are several, [`confirm`] says which of them can be given up.
    fn choose(
        &mut self,
        repository: &Repository,
        index: &Index,
        reach: &Reach<'_>,
        options: &Options,
    ) -> Result<()> {
        let condemned = index.packs().iter().map(|pack| self.condemned.contains(&pack.id));
        self.uses = condemned.map(|condemned| PackUse { condemned, ..PackUse::default() }).collect();
        let mut needed_bytes = vec![0u64; index.packs().len()];
        each_blob(index, |places| {
            if places.iter().any(|(number, _)| reach.contains(*number)) {
                for (_, place) in places {
                    if let Some(bytes) = slot(&mut needed_bytes, place.pack) {
                        *bytes = bytes.saturating_add(u64::from(place.stored_length));
                    }
                }
            }
        })?;
        let share = |place: &Place| {
            let size = index.pack(place).map_or(1, |pack| pack.size.max(1));
            let needed = at(&needed_bytes, place.pack).copied().unwrap_or(0);
            // In thousandths, so that the choice is the same on every machine.
            needed.saturating_mul(1000).checked_div(size).unwrap_or(0)
        };
        let (mut contested, mut homeless) = (Vec::new(), Vec::new());
        each_blob(index, |places| {
            let needed = places.iter().any(|(number, _)| reach.contains(*number));
            let mut homes: Vec<(u32, Place)> =
                places.iter().filter(|(_, place)| needed && self.counts(index, place)).copied().collect();
            homes.sort_by_key(|(number, place)| (std::cmp::Reverse(share(place)), *number));
            if needed && homes.is_empty() {
                homeless.push(places.to_vec());
            }
            let home = match homes.as_slice() {
                [(number, _)] => Some(*number),
                _ => None,
            };
            if homes.len() > 1 {
                contested.push(homes);
            }
            for (number, place) in places {
                self.enter(*number, place, home == Some(*number));
            }
        })?;
        let kept = confirm::keep(repository, index, &contested, options)?;
        for (number, place) in contested
            .iter()
            .zip(&kept)
            .flat_map(|(places, kept)| places.iter().filter(|(number, _)| kept.contains(number)))
        {
            self.move_to_kept(*number, place);
        }
        self.homeless = leave(repository, index, homeless, options)?;
        Ok(())
    }

    /// Whether a place is one that may be kept: its pack is not condemned, and as large as the index says.
    fn counts(&self, index: &Index, place: &Place) -> bool {
        let sized = index.pack(place).is_ok_and(|pack| self.packs.get(&pack.id) == Some(&pack.size));
        sized && at(&self.uses, place.pack).is_some_and(|pack| !pack.condemned)
    }

    fn enter(&mut self, number: u32, place: &Place, kept: bool) {
        if kept {
            self.kept.set(number);
        }
        if let Some(pack) = slot(&mut self.uses, place.pack) {
            pack.count(kept, u64::from(place.stored_length));
        }
    }

    /// A place that was taken for one that is not kept is kept after all.
    fn move_to_kept(&mut self, number: u32, place: &Place) {
        if let Some(pack) = slot(&mut self.uses, place.pack) {
            pack.unused_bytes = pack.unused_bytes.saturating_sub(u64::from(place.stored_length));
            pack.unused_blobs = pack.unused_blobs.saturating_sub(1);
        }
        self.enter(number, place, true);
    }
}

impl PackUse {
    fn count(&mut self, kept: bool, bytes: u64) {
        let (sum, blobs) = if kept {
            (&mut self.kept_bytes, &mut self.kept_blobs)
        } else {
            (&mut self.unused_bytes, &mut self.unused_blobs)
        };
        *sum = sum.saturating_add(bytes);
        *blobs = blobs.saturating_add(1);
    }
}

/// The places from which needed blobs are copied out of condemned packs. Nobody knows which of several copies is whole
/// before it has been looked at.
fn leave(
    repository: &Repository,
    index: &Index,
    homeless: Vec<Vec<(u32, Place)>>,
    options: &Options,
) -> Result<Vec<u32>> {
    let (single, several): (Vec<_>, Vec<_>) = homeless.into_iter().partition(|places| places.len() == 1);
    let single = single.into_iter().flatten().map(|(number, _)| number);
    let kept = confirm::keep(repository, index, &several, options)?;
    let mut left: Vec<u32> = single.chain(kept.into_iter().flatten()).collect();
    left.sort_unstable();
    Ok(left)
}

fn slot<T>(list: &mut [T], number: u32) -> Option<&mut T> {
    usize::try_from(number).ok().and_then(|number| list.get_mut(number))
}

/// Hands over all places of each blob together.
pub(in crate::operation) fn each_blob(index: &Index, mut take: impl FnMut(&[(u32, Place)])) -> Result<()> {
    let mut places: Vec<(u32, Place)> = Vec::new();
    let mut hand_over = |places: &mut Vec<(u32, Place)>| {
        // One id stands for one kind, but for whoever finds a collision: two kinds are two blobs.
        places.sort_by_key(|(_, place)| place.kind.code());
        for blob in places.chunk_by(|(_, one), (_, other)| one.kind == other.kind) {
            take(blob);
        }
        places.clear();
    };
    for found in index.all() {
        let found = found?;
        if places.first().is_some_and(|(_, place)| place.id != found.1.id) {
            hand_over(&mut places);
        }
        places.push(found);
    }
    hand_over(&mut places);
    Ok(())
}

fn is_loss(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt)
}
