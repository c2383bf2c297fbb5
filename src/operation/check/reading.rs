//! Reading packs whole, and what is known of each then.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::faults::{Fault, Mend};
use super::pack::PackReading;
use super::places::PlacesByPack;
use super::suffer::Blob;
use crate::backend::Listed;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::Reporter;
use crate::repository::Repository;
use crate::repository::index::{Index, Place};

/// What reading a pack showed.
#[derive(Debug)]
pub(super) enum State {
    /// All of it is whole.
    Whole,
    /// These blobs of it are not.
    Without(HashSet<Blob>),
    /// Nothing of it can be had.
    Nothing,
}

/// The packs that were read.
pub(super) struct Reading<'a> {
    repository: &'a Repository,
    reporter: &'a dyn Reporter,
    interrupt: &'a Interrupt,
    pub(super) states: HashMap<Id, State>,
    pub(super) faults: Vec<Fault>,
    pub(super) bytes: u64,
}

/// Which of the index's packs one is, and how long it is.
#[derive(Default)]
struct Numbers {
    size: u64,
    /// Of those that it is long enough for.
    fitting: Vec<usize>,
    /// Of those that say that it is longer.
    beyond: Vec<usize>,
}

/// What one reading came to.
enum Came {
    State(Id, State, Option<Fault>),
    Vanished(Id),
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        reporter: &'a dyn Reporter,
        interrupt: &'a Interrupt,
    ) -> Self {
        Self { repository, reporter, interrupt, states: HashMap::new(), faults: Vec::new(), bytes: 0 }
    }

    /// The packs that were found whole, and those that were not.
    pub(super) fn verdicts(&self) -> (Vec<Id>, Vec<Id>) {
        let (whole, other): (Vec<_>, Vec<_>) =
            self.states.iter().partition(|(_, state)| matches!(state, State::Whole));
        let ids = |states: Vec<(&Id, &State)>| states.into_iter().map(|(id, _)| *id).collect();
        (ids(whole), ids(other))
    }

    /// Reads those packs of an index that are wanted, are listed and were not read before; gives those that vanished. What
    /// was read is known also where this ends early.
    pub(super) fn read(
        &mut self,
        index: &Index,
        listed: &[Listed],
        wanted: &dyn Fn(&Id) -> bool,
    ) -> Result<Vec<Id>> {
        let sizes: HashMap<Id, u64> = listed.iter().map(|pack| (pack.id, pack.size)).collect();
        let mut numbers: HashMap<Id, Numbers> = HashMap::new();
        for (number, pack) in index.packs().iter().enumerate() {
            let there = sizes.get(&pack.id).filter(|_| !self.states.contains_key(&pack.id));
            if let Some(size) = there.filter(|_| wanted(&pack.id)) {
                let entry =
                    numbers.entry(pack.id).or_insert_with(|| Numbers { size: *size, ..Numbers::default() });
                // A record that says more than there is may be wrong itself, or the pack was cut.
                let list = if *size >= pack.size { &mut entry.fitting } else { &mut entry.beyond };
                list.push(number);
            }
        }
        let total = numbers.values().fold(0u64, |sum, pack| sum.saturating_add(pack.size));
        let progress = self.reporter.progress();
        progress.set_stage("reading packs");
        progress.set_total(numbers.len() as u64, total);
        let by_pack = PlacesByPack::new(index)?;
        let bytes = AtomicU64::new(0);
        let came = Mutex::new(Vec::new());
        let mut order: Vec<(Id, Numbers)> = numbers.into_iter().collect();
        order.sort_unstable_by_key(|(id, _)| *id);
        let places = |numbers: &[usize]| {
            let numbers = numbers.iter().flat_map(|number| by_pack.of(*number));
            numbers.map(|number| index.place(*number)).collect::<Result<Vec<Place>>>()
        };
        let ended = order.par_iter().try_for_each(|(id, pack)| {
            self.interrupt.check()?;
            let read = self.read_one(index, id, places(&pack.fitting)?, &places(&pack.beyond)?, &bytes);
            progress.add_files(1);
            progress.add_bytes(pack.size);
            came.lock().map_err(|_| Error::refused("another thread failed while it read a pack"))?.push(read);
            Ok::<(), Error>(())
        });
        self.bytes = self.bytes.saturating_add(bytes.into_inner());
        let mut vanished = Vec::new();
        for read in
            came.into_inner().map_err(|_| Error::refused("another thread failed while it read a pack"))?
        {
            match read {
                Came::Vanished(id) => vanished.push(id),
                Came::State(id, state, fault) => {
                    self.states.insert(id, state);
                    self.faults.extend(fault);
                }
            }
        }
        ended.map(|()| vanished)
    }

    fn read_one(
        &self,
        index: &Index,
        id: &Id,
        mut places: Vec<Place>,
        beyond: &[Place],
        bytes: &AtomicU64,
    ) -> Came {
        let mut reading = match PackReading::read(self.repository, index, id, &places) {
            Ok(reading) => reading,
            Err(error) if error.kind() == ErrorKind::Missing => return Came::Vanished(*id),
            Err(error) => {
                let mend = Mend::of_pack(&error);
                return Came::State(*id, State::Nothing, Some(Fault::new(id, &error, mend)));
            }
        };
        bytes.fetch_add(reading.bytes.len() as u64, Ordering::Relaxed);
        // Where its own table is right, the record is wrong; where it was cut, what lies in front of the cut is there.
        if reading.is_damaged() {
            reading.judge(self.repository, index, beyond);
            places.extend_from_slice(beyond);
        }
        let bad: HashSet<Blob> = places
            .iter()
            .zip(&reading.whole)
            .filter(|(_, whole)| !**whole)
            .map(|(place, _)| (place.kind, place.id))
            .collect();
        let mend = if reading.hides_losses() {
            Mend::PackByFullKey
        } else if reading.is_damaged() {
            Mend::Pack
        } else if reading.agrees {
            Mend::None
        } else {
            Mend::IndexByPacks
        };
        // Where every record of the index has another size, there is nothing to hold the pack against.
        let fault = match reading.verdict_beside(!places.is_empty()) {
            Ok(()) => None,
            Err(error) => Some(Fault::new(id, &error, mend)),
        };
        let state = if fault.is_none() { State::Whole } else { State::Without(bad) };
        Came::State(*id, state, fault)
    }
}
