//! Merging runs into one: what no listed object says any more is left out.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap};
use std::fs::File;

use super::Place;
use super::covered::Covered;
use super::record::{Digest, PackRecord, sort_key, too_many};
use super::run::{Cursor, Directory, Run};
use super::write::RunWriter;
use crate::crypto::secret::Secret;
use crate::error::{Error, Result};

/// What stands for nothing in a list of new numbers.
const NONE: u32 = u32::MAX;

/// A source of a merge: its next place, with its new pack number, and what its numbers become.
struct Source<'a> {
    cursor: Cursor<'a>,
    next: Option<Place>,
    /// New number of each pack record.
    packs: Vec<u32>,
    /// New number of each envelope, given when it is first met.
    envelopes: Vec<u32>,
}

impl Source<'_> {
    /// Moves on to the next place that counts.
    fn step(&mut self) -> Result<()> {
        loop {
            self.next = self.cursor.next_place()?;
            let Some(place) = &mut self.next else { return Ok(()) };
            let pack = *at(&self.packs, place.pack)?;
            if pack != NONE {
                place.pack = pack;
                return Ok(());
            }
        }
    }

    /// The new number of an envelope; `make` gives it when it is first met.
    fn envelope(&mut self, old: u32, make: impl FnOnce(u32) -> Result<u32>) -> Result<u32> {
        let slot = usize::try_from(old).ok().and_then(|old| self.envelopes.get_mut(old));
        let slot = slot.ok_or_else(nowhere)?;
        if *slot == NONE {
            *slot = make(old)?;
        }
        Ok(*slot)
    }
}

/// The envelopes of a merged run, in the order in which they are met.
#[derive(Default)]
struct Envelopes {
    numbers: HashMap<Digest, u32>,
    digests: Vec<Digest>,
    /// For each a source that has it, and its number there.
    origins: Vec<(usize, u32)>,
}

impl Envelopes {
    fn number(&mut self, digest: Digest, origin: (usize, u32)) -> Result<u32> {
        if let Some(number) = self.numbers.get(&digest) {
            return Ok(*number);
        }
        let number = u32::try_from(self.digests.len()).map_err(|_| too_many())?;
        self.digests.push(digest);
        self.origins.push(origin);
        self.numbers.insert(digest, number);
        Ok(number)
    }
}

/// Merges runs into a file. An object may be counted in one of them only.
pub(super) fn merge(runs: &[Covered], file: File, cache_key: &Secret) -> Result<Run> {
    let (mut directory, numbers) = join(runs)?;
    let mut sources = Vec::new();
    let mut heap = BinaryHeap::new();
    for (covered, packs) in runs.iter().zip(numbers) {
        let envelopes = vec![NONE; covered.run.directory.digests.len()];
        let mut source = Source { cursor: covered.run.cursor(0), next: None, packs, envelopes };
        source.step()?;
        heap.extend(source.next.as_ref().map(|place| Reverse((sort_key(place), sources.len()))));
        sources.push(source);
    }
    let mut writer = RunWriter::create(file, cache_key)?;
    let mut envelopes = Envelopes::default();
    while let Some(mut top) = heap.peek_mut() {
        let Reverse((_, number)) = *top;
        let (Some(source), Some(covered)) = (sources.get_mut(number), runs.get(number)) else { break };
        if let Some(mut place) = source.next.take() {
            place.envelope = source.envelope(place.envelope, |old| {
                envelopes.number(*at(&covered.run.directory.digests, old)?, (number, old))
            })?;
            directory.places = directory.places.checked_add(1).ok_or_else(too_many)?;
            writer.push(&place)?;
        }
        source.step()?;
        match &source.next {
            Some(place) => *top = Reverse((sort_key(place), number)),
            None => drop(PeekMut::pop(top)),
        }
    }
    let Envelopes { digests, origins, .. } = envelopes;
    directory.digests = digests;
    let envelope = |number: usize| {
        let origin = origins.get(number).and_then(|(source, old)| Some((runs.get(*source)?, *old)));
        let (covered, old) = origin.ok_or_else(|| Error::corrupt("an envelope came from nowhere"))?;
        covered.run.envelope(old)
    };
    writer.finish(&directory, &envelope, cache_key)
}

fn nowhere() -> Error {
    Error::corrupt("copy of the index: a number points nowhere")
}

fn at<T>(list: &[T], number: u32) -> Result<&T> {
    usize::try_from(number).ok().and_then(|number| list.get(number)).ok_or_else(nowhere)
}

/// The objects and packs of all runs in their order, and for each run what its packs' numbers become.
fn join(runs: &[Covered]) -> Result<(Directory, Vec<Vec<u32>>)> {
    let mut objects = Vec::new();
    for (source, covered) in runs.iter().enumerate() {
        let listed = covered.run.directory.objects.iter().zip(&covered.live).zip(0u32..);
        objects.extend(listed.filter(|((_, live), _)| **live).map(|((id, _), number)| (*id, source, number)));
    }
    objects.sort_unstable();
    let mut numbers: Vec<Vec<u32>> =
        runs.iter().map(|covered| vec![NONE; covered.run.directory.packs.len()]).collect();
    let mut directory = Directory::default();
    for (id, source, old) in objects {
        let object = u32::try_from(directory.objects.len()).map_err(|_| too_many())?;
        directory.objects.push(id);
        let (Some(covered), Some(numbers)) = (runs.get(source), numbers.get_mut(source)) else { continue };
        let packs = &covered.run.directory.packs;
        // They stand in the order of their objects.
        let first = packs.partition_point(|pack| pack.object < old);
        let own = packs.iter().zip(numbers).skip(first).take_while(|(pack, _)| pack.object == old);
        for (pack, number) in own {
            *number =
                u32::try_from(directory.packs.len()).ok().filter(|new| *new != NONE).ok_or_else(too_many)?;
            directory.packs.push(PackRecord { object, ..*pack });
        }
    }
    Ok((directory, numbers))
}
