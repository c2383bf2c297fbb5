//! Which packs are damaged, and saving what is still whole in them.
//!
//! Invariants: a blob is saved only if it opens and is what its id names. A pack counts as damaged only if its own bytes
//! are at fault: one that cannot be had is trouble, and is left alone.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::backend::{ObjectKind, ObjectName};
use crate::crypto::secret::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::pack::{Envelope, frame_offsets};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::limits;
use crate::operation::check::pack::{PackReading, frame};
use crate::operation::check::places::PlacesByPack;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::blob::{OpenBuffers, open_envelope, open_frame};
use crate::repository::index::{Index, Place, ReadObjects, table_of_damaged};
use crate::repository::mover::{BlobMover, SealedBlob};
use crate::repository::session;

/// The packs of a repository, and which of them are what state.
pub(super) struct Packs {
    read: ReadObjects,
    /// The index over every pack that is listed.
    pub(super) index: Index,
    /// Packs that are listed, with their sizes; of those that are condemned only what the index still names.
    pub(super) present: HashMap<Id, u64>,
    /// Packs that somebody condemned.
    pub(super) condemned: HashSet<Id>,
    /// Packs that the index names and that are gone, though nobody condemned them.
    pub(super) missing: Vec<Id>,
    by_pack: PlacesByPack,
    numbers: HashMap<Id, Vec<usize>>,
}

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// Damaged packs.
    pub(super) damaged: Vec<Id>,
    /// Packs that could not be had.
    pub(super) trouble: u64,
    /// Whole packs that no index names.
    pub(super) unnamed: Vec<Id>,
}

/// What was saved of damaged packs.
#[derive(Default)]
pub(super) struct Saved {
    /// Blobs saved.
    pub(super) blobs: HashSet<(BlobKind, Id)>,
    /// Blobs that are lost there.
    pub(super) lost: HashSet<(BlobKind, Id)>,
}

impl Packs {
    /// Reads gc records, index and listing, in this order.
    pub(super) fn survey(repository: &Repository) -> Result<Self> {
        let condemned = session::condemned(repository)?;
        let read = ReadObjects::read_afresh(repository)?;
        let listed = repository.backend().list(ObjectKind::Pack)?;
        let named: HashSet<Id> = read.packs().collect();
        let present: HashMap<Id, u64> = listed
            .into_iter()
            .filter(|pack| named.contains(&pack.id) || !condemned.contains(&pack.id))
            .map(|pack| (pack.id, pack.size))
            .collect();
        let index = Index::build(&read, &|pack| present.contains_key(pack))?;
        let gone = |pack: &&Id| !present.contains_key(*pack) && !condemned.contains(*pack);
        let missing = named.iter().filter(gone).copied().collect();
        let by_pack = PlacesByPack::new(&index)?;
        let mut numbers: HashMap<Id, Vec<usize>> = HashMap::new();
        for (number, pack) in index.packs().iter().enumerate() {
            numbers.entry(pack.id).or_default().push(number);
        }
        Ok(Self { read, index, present, condemned, missing, by_pack, numbers })
    }

    /// The index over the packs that are known to be good.
    pub(super) fn index_without(&self, damaged: &[Id]) -> Result<Index> {
        let damaged: HashSet<&Id> = damaged.iter().collect();
        let counts = |pack: &Id| {
            self.present.contains_key(pack) && !self.condemned.contains(pack) && !damaged.contains(pack)
        };
        Index::build(&self.read, &counts)
    }

    /// Whether every object of the index could be read.
    pub(super) fn index_is_whole(&self) -> bool {
        self.read.damaged.is_empty()
    }

    /// All places in a pack. It has several numbers where index objects do not agree on its size.
    fn places(&self, pack: &Id) -> Result<Vec<Place>> {
        let numbers = self.numbers.get(pack).into_iter().flatten();
        let places = numbers.flat_map(|number| self.by_pack.of(*number));
        places.map(|number| self.index.place(*number)).collect()
    }

    /// Reads packs whole, and finds those that are damaged.
    pub(super) fn find_damaged(
        &self,
        repository: &Repository,
        packs: &[Id],
        reporter: &dyn Reporter,
        interrupt: &Interrupt,
    ) -> Result<Found> {
        let size = |pack: &Id| self.present.get(pack).copied().unwrap_or(0);
        let total = packs.iter().map(size).fold(0u64, u64::saturating_add);
        reporter.progress().set_stage("reading packs");
        reporter.progress().set_total(packs.len() as u64, total);
        let found = Mutex::new(Found::default());
        packs.par_iter().try_for_each(|pack| {
            interrupt.check()?;
            let read = PackReading::read(repository, &self.index, pack, &self.places(pack)?);
            reporter.progress().add_files(1);
            reporter.progress().add_bytes(size(pack));
            let mut found = found.lock().map_err(|_| failed())?;
            self.judge(pack, read, &mut found, reporter);
            Ok::<(), Error>(())
        })?;
        let mut found = found.into_inner().map_err(|_| failed())?;
        found.damaged.sort_unstable();
        found.unnamed.sort_unstable();
        Ok(found)
    }

    fn judge(&self, pack: &Id, read: Result<PackReading>, found: &mut Found, reporter: &dyn Reporter) {
        let name = format!("pack {}", pack.short());
        let reading = match read {
            Ok(reading) => reading,
            // A prune removed it since it was listed.
            Err(error) if error.kind() == ErrorKind::Missing => return,
            // Longer than any pack may be.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                reporter.report(Finding::warning(name, error.chain()));
                found.damaged.push(*pack);
                return;
            }
            Err(error) => {
                found.trouble = found.trouble.saturating_add(1);
                let cause = format!("cannot be had, and is left as it is: {}", error.chain());
                reporter.report(Finding::problem(name, cause));
                return;
            }
        };
        let damaged = reading.is_damaged();
        if reading.fault.is_none() && !self.numbers.contains_key(pack) {
            found.unnamed.push(*pack);
        } else if let Err(error) = reading.verdict() {
            let finding = if damaged {
                found.damaged.push(*pack);
                Finding::warning(name, error.chain())
            } else {
                found.trouble = found.trouble.saturating_add(1);
                Finding::problem(name, format!("is left as it is: {}", error.chain())).with_hint(
                    "where index and pack do not agree, run `strongroom repair index --read-all-packs`",
                )
            };
            reporter.report(finding);
        }
    }

    /// Hands what is still whole in a damaged pack to `mover`, but for blobs that `good` knows elsewhere. Says whether
    /// all that the pack held is known.
    pub(super) fn save(
        &self,
        repository: &Repository,
        pack: &Id,
        good: &Index,
        mover: &BlobMover<'_>,
        saved: &mut Saved,
    ) -> Result<bool> {
        let name = ObjectName::new(ObjectKind::Pack, *pack);
        let bytes = match repository.backend().get(&name, limits::PACK_MAX) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing) => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut saving = Saving { repository, good, mover, saved, buffers: OpenBuffers::default() };
        if self.numbers.contains_key(pack) {
            for place in self.places(pack)? {
                let key = self.index.content_key(repository, &place)?.clone();
                let envelope = self.index.envelope(&place)?;
                saving.one(&place, frame(&place, &bytes).ok(), &key, &envelope)?;
            }
            return Ok(true);
        }
        saving.by_table(&bytes)
    }
}

/// One damaged pack, blob by blob.
struct Saving<'a> {
    repository: &'a Repository,
    good: &'a Index,
    mover: &'a BlobMover<'a>,
    saved: &'a mut Saved,
    buffers: OpenBuffers,
}

impl Saving<'_> {
    /// Says whether the pack's own table opens.
    fn by_table(&mut self, bytes: &[u8]) -> Result<bool> {
        // No index names it. Its own table does, where that still opens; what it says is proved frame by frame.
        let Ok((table, end)) = table_of_damaged(self.repository, bytes) else { return Ok(false) };
        let keys = table
            .envelopes
            .iter()
            .map(|envelope| open_envelope(self.repository.keyring(), table.class, envelope))
            .collect::<Result<Vec<_>>>()?;
        for (entry, offset) in table.entries.iter().zip(frame_offsets(&table.entries, end)?) {
            let number = usize::from(entry.envelope);
            let (Some(key), Some(envelope)) = (keys.get(number), table.envelopes.get(number)) else {
                continue;
            };
            let place = Place {
                id: entry.id,
                pack: 0,
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
                stored_length: entry.stored_length,
                plain_length: entry.plain_length,
                envelope: 0,
                kind: entry.kind,
            };
            self.one(&place, frame(&place, bytes).ok(), key, envelope)?;
        }
        Ok(true)
    }

    fn one(&mut self, place: &Place, frame: Option<&[u8]>, key: &Secret, envelope: &Envelope) -> Result<()> {
        let blob = (place.kind, place.id);
        if self.saved.blobs.contains(&blob) || self.good.contains(place.kind, &place.id)? {
            return Ok(());
        }
        let keyring = self.repository.keyring();
        let whole = frame.filter(|frame| {
            let length = place.plain_length;
            open_frame(keyring, key, place.kind, &place.id, length, frame, &mut self.buffers).is_ok()
        });
        let Some(frame) = whole else {
            self.saved.lost.insert(blob);
            return Ok(());
        };
        let (kind, id, plain_length) = (place.kind, place.id, place.plain_length);
        self.mover.add(&SealedBlob { kind, id, plain_length, envelope, frame })?;
        self.saved.lost.remove(&blob);
        self.saved.blobs.insert(blob);
        Ok(())
    }
}

fn failed() -> Error {
    Error::refused("another thread failed while it read a pack")
}
