//! Reading many blobs at once: those that lie near each other in a pack are read together.
//!
//! Invariant: where the copy at hand is bad, every other copy is tried before a blob counts as lost.

use std::cell::RefCell;

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::blob::{OpenBuffers, open_frame};
use super::index::{Index, Place};
use super::reader::BlobReader;
use crate::backend::{ObjectKind, ObjectName, aligned};
use crate::error::Result;

/// Longest stretch of a pack that is read at once, in bytes.
const STRETCH_MAX: u64 = 4 << 20;
/// Widest gap that is read over rather than skipped, in bytes.
const GAP_MAX: u64 = 256 << 10;

thread_local! {
    static BUFFERS: RefCell<OpenBuffers> = RefCell::default();
}

/// Places of one pack that are read together.
struct Stretch {
    places: Vec<(u32, Place)>,
    start: u64,
    end: u64,
}

impl BlobReader<'_> {
    /// Reads the blobs at these places of an index, each once; gives each with the number of its place, or why it cannot
    /// be had.
    ///
    /// # Errors
    /// Where the index itself cannot be searched.
    pub fn read_many(&self, index: &Index, mut numbers: Vec<u32>) -> Result<Vec<(u32, Result<Vec<u8>>)>> {
        numbers.sort_unstable();
        numbers.dedup();
        let places = numbers.into_iter().map(|number| Ok((number, index.place(number)?)));
        let mut places = places.collect::<Result<Vec<_>>>()?;
        places.sort_unstable_by_key(|(_, place)| (place.pack, place.offset));
        let read: Vec<Vec<(u32, Result<Vec<u8>>)>> =
            stretches(places).par_iter().map(|stretch| self.read_stretch(index, stretch)).collect();
        Ok(read.into_iter().flatten().collect())
    }

    fn read_stretch(&self, index: &Index, stretch: &Stretch) -> Vec<(u32, Result<Vec<u8>>)> {
        let backend = self.repository().backend();
        let read = stretch.places.first().and_then(|(_, first)| {
            let pack = index.pack(first).ok()?;
            let (start, length) = aligned(stretch.start, stretch.end, backend.alignment(), pack.size);
            let name = ObjectName::new(ObjectKind::Pack, pack.id);
            // Why this copy cannot be read does not matter: the reader tells it where no other can be.
            Some((start, backend.get_range(&name, start, length).ok()?))
        });
        let open = |place: &Place| {
            let frame = read.as_ref().and_then(|(start, bytes)| {
                let start = *start;
                let from = usize::try_from(u64::from(place.offset).checked_sub(start)?).ok()?;
                bytes.get(from..from.checked_add(usize::try_from(place.stored_length).ok()?)?)
            });
            match frame.map(|frame| self.open_at(index, place, frame)) {
                Some(Ok(plain)) => Ok(plain),
                _ => self.with_blob(place.kind, &place.id, |plain| Ok(plain.to_vec())),
            }
        };
        stretch.places.iter().map(|(number, place)| (*number, open(place))).collect()
    }

    fn open_at(&self, index: &Index, place: &Place, frame: &[u8]) -> Result<Vec<u8>> {
        let repository = self.repository();
        let key = index.content_key(repository, place)?;
        BUFFERS.with_borrow_mut(|buffers| {
            let (kind, length) = (place.kind, place.plain_length);
            open_frame(repository.keyring(), key, kind, &place.id, length, frame, buffers).map(<[u8]>::to_vec)
        })
    }
}

/// Puts places that lie near each other together.
fn stretches(places: Vec<(u32, Place)>) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (number, place) in places {
        let start = u64::from(place.offset);
        let end = start.saturating_add(u64::from(place.stored_length));
        match stretches.last_mut() {
            Some(open)
                if open.places.first().is_some_and(|(_, first)| first.pack == place.pack)
                    && start <= open.end.saturating_add(GAP_MAX)
                    && end.saturating_sub(open.start) <= STRETCH_MAX =>
            {
                open.end = open.end.max(end);
                open.places.push((number, place));
            }
            _ => stretches.push(Stretch { places: vec![(number, place)], start, end }),
        }
    }
    stretches
}
