//! Which packs are damaged, and saving what is still whole in them.
//!
//! Invariants: a blob is saved only if it opens and is what its id names. A pack counts as damaged only if its own bytes
//! are at fault, and are again when it is read a second time: one that cannot be had is trouble, and is left alone, unless
//! somebody names it and its disk alone is to blame: then what the disk gives of it is looked at, blob by blob. A
//! pack counts as good only if this run read it and found it whole.

mod saving;
pub(super) mod unread;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::backend::{ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::limits;
use crate::operation::check::pack::PackReading;
use crate::operation::check::places::PlacesByPack;
use crate::operation::doubt::{Absent, AtFault};
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::index::{Index, Place, ReadObjects};
use crate::repository::mover::BlobMover;
use crate::repository::session;

use saving::Saving;

/// The packs of a repository, and which of them are what state.
pub(super) struct Packs {
    read: ReadObjects,
    /// The index over every pack that is listed.
    pub(super) index: Index,
    /// Packs that are listed, with their sizes; of those that are condemned only what the index still names.
    pub(super) present: HashMap<Id, u64>,
    /// How many packs are listed, condemned ones included: whoever condemned them knows that they are there.
    listed: usize,
    /// Packs that somebody condemned.
    pub(super) condemned: HashSet<Id>,
    /// Packs that the index names and that are gone, though nobody condemned them.
    pub(super) missing: HashSet<Id>,
    by_pack: PlacesByPack,
    numbers: HashMap<Id, Vec<usize>>,
}

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// Damaged packs.
    pub(super) damaged: Vec<Id>,
    /// Packs that are whole, and of which the index says what they say themselves.
    pub(super) whole: HashSet<Id>,
    /// Packs that could not be had.
    pub(super) trouble: u64,
    /// Those of them of which only the disk under them is to blame.
    pub(super) unread: Vec<Id>,
    /// Whole packs that no index names.
    pub(super) unnamed: Vec<Id>,
}

/// How saving what is whole in a damaged pack ended.
pub(super) enum Salvage {
    /// Each blob that it held was saved, lies elsewhere or is lost.
    Done,
    /// Nobody can say what it held.
    Unknown,
    /// It is not to be condemned, for this reason.
    Left(String),
}

/// What was saved of damaged packs.
#[derive(Default)]
pub(super) struct Saved {
    /// Blobs saved.
    pub(super) blobs: HashSet<(BlobKind, Id)>,
    /// Blobs that are lost there.
    pub(super) lost: HashSet<(BlobKind, Id)>,
    /// Packs of which nobody can say what they held.
    pub(super) unknown: u64,
}

impl Packs {
    /// Reads gc records, index and listing, in this order.
    pub(super) fn survey(repository: &Repository) -> Result<Self> {
        let condemned = session::condemned(repository)?;
        let read = ReadObjects::read_afresh(repository)?;
        let listed = repository.backend().list(ObjectKind::Pack)?;
        let (named, count): (HashSet<Id>, usize) = (read.packs().collect(), listed.len());
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
        Ok(Self { read, index, present, listed: count, condemned, missing, by_pack, numbers })
    }

    /// The index over packs that this run read and found whole.
    fn index_of_good(&self, found: &Found) -> Result<Index> {
        Index::build(&self.read, &|pack| found.whole.contains(pack) && !self.condemned.contains(pack))
    }

    /// The index over packs that are not known to be bad, read or not.
    pub(super) fn index_without_damaged(&self, found: &Found) -> Result<Index> {
        let damaged: HashSet<&Id> = found.damaged.iter().chain(&found.unread).collect();
        let counts = |pack: &Id| {
            self.present.contains_key(pack) && !self.condemned.contains(pack) && !damaged.contains(pack)
        };
        Index::build(&self.read, &counts)
    }

    /// Whether every object of the index could be read.
    pub(super) fn index_is_whole(&self) -> bool {
        self.read.damaged.is_empty()
    }

    /// Refuses to go on where so many packs are gone that it is doubted: what is damaged in the others is the least of it.
    pub(super) fn refuse_if_most_are_gone(&self, repository: &Repository) -> Result<()> {
        let mut gone = Absent::of(&self.read, &self.missing, self.listed);
        if gone.there == 0 && gone.gone == 0 {
            // Every snapshot needs a pack, whatever has become of the index.
            gone.gone = repository.snapshots()?.snapshots.len();
        }
        gone.refuse_if_doubted()
    }

    /// How many packs are at fault, of those that an index names or nobody condemned.
    pub(super) fn at_fault(&self, found: &Found) -> AtFault {
        let damaged: HashSet<Id> = found.damaged.iter().chain(&found.unread).copied().collect();
        let there: HashSet<Id> = self.present.keys().copied().collect();
        AtFault::count(&damaged, &self.missing, &there, self.index.packs().iter())
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
        found.unread.sort_unstable();
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
                let unread = error.kind() == ErrorKind::Unread;
                let said = if unread { "cannot be had whole" } else { "cannot be had, and is left as it is" };
                let cause = format!("{said}: {}", error.chain());
                let finding = Finding::problem(name, cause);
                reporter.report(match error.next_step() {
                    Some(step) => finding.with_hint(step),
                    None => finding,
                });
                if unread {
                    found.unread.push(*pack);
                }
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
        } else {
            found.whole.insert(*pack);
        }
    }

    /// What it takes to save blobs of damaged packs with `mover`, but for those that a pack has which was found good.
    pub(super) fn saving<'a>(
        &'a self,
        repository: &'a Repository,
        found: &Found,
        mover: &'a BlobMover<'a>,
        reporter: &'a dyn Reporter,
    ) -> Result<Saving<'a>> {
        Ok(Saving::new(repository, self, self.index_of_good(found)?, mover, reporter))
    }

    /// Reads a damaged pack again, and gives its bytes, or why it is not to be condemned.
    fn read_again(
        &self,
        repository: &Repository,
        pack: &Id,
        places: &[Place],
    ) -> std::result::Result<Vec<u8>, String> {
        let error = match PackReading::read(repository, &self.index, pack, places) {
            Ok(reading) if reading.is_damaged() => return Ok(reading.bytes),
            Ok(_) => {
                return Err(
                    "was damaged when it was read first and is not now: this machine's memory, or the \
                            way to the store, may be faulty"
                        .into(),
                );
            }
            // Longer than any pack may be: what it held lies in front.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let name = ObjectName::new(ObjectKind::Pack, *pack);
                match repository.backend().get_range(&name, 0, limits::PACK_MAX) {
                    Ok(bytes) => return Ok(bytes),
                    Err(error) => error,
                }
            }
            // Whoever is asked to save it has been told that the disk does not give it.
            Err(error) if error.kind() == ErrorKind::Unread => {
                let size = self.present.get(pack).copied().unwrap_or(0);
                return unread::what_there_is(repository, pack, size).map_err(|error| error.chain());
            }
            Err(error) => error,
        };
        Err(format!("cannot be had a second time: {}", error.chain()))
    }
}

fn failed() -> Error {
    Error::refused("another thread failed while it read a pack")
}
