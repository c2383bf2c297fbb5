//! Going through all places of an index without holding them in memory.

use super::Bad;
use crate::error::Result;
use crate::format::blob::BlobKind;
use crate::id::Id;
use crate::repository::index::{Index, Place};

/// What a list has at a number.
pub(crate) fn at<T>(list: &[T], number: u32) -> Option<&T> {
    usize::try_from(number).ok().and_then(|number| list.get(number))
}

/// Blobs of which no place is good, and how many places there are.
pub(crate) fn without_good_copy(index: &Index, good: &dyn Fn(u32, &Place) -> bool) -> Result<(Bad, u64)> {
    let mut bad = Bad::new();
    let mut count = 0u64;
    // The places of one id follow each other.
    let mut found: Vec<(BlobKind, Id, bool)> = Vec::new();
    let mut settle = |found: &mut Vec<(BlobKind, Id, bool)>| {
        let lost = |kind| !found.iter().any(|(other, _, good)| *other == kind && *good);
        bad.extend(found.iter().filter(|(kind, ..)| lost(*kind)).map(|(kind, id, _)| (*kind, *id)));
        found.clear();
    };
    for place in index.all() {
        let (number, place) = place?;
        count = count.saturating_add(1);
        if found.first().is_some_and(|(_, id, _)| *id != place.id) {
            settle(&mut found);
        }
        found.push((place.kind, place.id, good(number, &place)));
    }
    settle(&mut found);
    Ok((bad, count))
}

/// The numbers of all places, sorted by pack.
pub(crate) struct PlacesByPack {
    numbers: Vec<u32>,
    ends: Vec<usize>,
}

impl PlacesByPack {
    /// Counts first, then sorts: four bytes a place are all it takes.
    pub(crate) fn new(index: &Index) -> Result<Self> {
        let mut ends = vec![0usize; index.packs().len()];
        let slot = |place: &Place| usize::try_from(place.pack).unwrap_or(usize::MAX);
        for place in index.all() {
            if let Some(count) = ends.get_mut(slot(&place?.1)) {
                *count = count.saturating_add(1);
            }
        }
        let mut sum = 0usize;
        for end in &mut ends {
            // The start at first; filling moves it to the end.
            sum = sum.saturating_add(std::mem::replace(end, sum));
        }
        let mut numbers = vec![0; sum];
        for place in index.all() {
            let (number, place) = place?;
            let Some(next) = ends.get_mut(slot(&place)) else { continue };
            if let Some(slot) = numbers.get_mut(*next) {
                *slot = number;
            }
            *next = next.saturating_add(1);
        }
        Ok(Self { numbers, ends })
    }

    /// The numbers of the places in a pack.
    pub(crate) fn of(&self, pack: usize) -> &[u32] {
        let start = pack.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(pack).copied().unwrap_or(start);
        self.numbers.get(start..end).unwrap_or_default()
    }
}
