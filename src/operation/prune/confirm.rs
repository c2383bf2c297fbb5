//! Which copies of a blob may be believed where the index names several.
//!
//! Whoever holds a backup key can write index objects, and say of any pack that it holds any blob anywhere. Where only
//! one place is named, nothing is lost by believing it, for nothing is given up for its sake. Where there are several,
//! a copy is given up only for one that the pack's own table confirms, and that either opens with the key at hand or is
//! the same byte for byte. Invariant: of every blob at least one honest copy stays, whatever the index says besides.

use std::collections::{BTreeMap, HashMap, HashSet};

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use super::Options;
use crate::backend::{ObjectKind, ObjectName};
use crate::crypto::derive;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::pack::{self, Envelope};
use crate::id::Id;
use crate::limits;
use crate::repository::Repository;
use crate::repository::blob::{OpenBuffers, open_frame};
use crate::repository::index::{Index, Place, open_pack};

/// A pack that was read whole: it is the one that its name says, and its own table says what lies in it.
pub(in crate::operation) struct OpenedPack {
    bytes: Vec<u8>,
    /// Length of the frame, length of the plaintext, and the envelope's hash, by kind, id and offset.
    entries: HashMap<(BlobKind, Id, u64), (u32, u32, Id)>,
}

impl OpenedPack {
    pub(in crate::operation) fn read(repository: &Repository, id: &Id) -> Result<Self> {
        let bytes = repository.backend().get(&ObjectName::new(ObjectKind::Pack, *id), limits::PACK_MAX)?;
        let table = open_pack(repository, id, &bytes)?;
        let end =
            table.entries.iter().fold(0u64, |sum, entry| sum.saturating_add(u64::from(entry.stored_length)));
        let end = end.saturating_add(crate::format::header::HEADER_LEN as u64);
        let digests: Vec<Id> = table.envelopes.iter().map(|envelope| derive::hash(envelope)).collect();
        let offsets = pack::frame_offsets(&table.entries, end)?;
        let described = table.entries.iter().zip(offsets).filter_map(|(entry, offset)| {
            let digest = digests.get(usize::from(entry.envelope))?;
            Some(((entry.kind, entry.id, offset), (entry.stored_length, entry.plain_length, *digest)))
        });
        let entries = described.collect();
        Ok(Self { bytes, entries })
    }

    /// The frame at a place, where the table says the same of it.
    pub(in crate::operation) fn frame(&self, place: &Place, envelope: &Envelope) -> Option<&[u8]> {
        let said = (place.stored_length, place.plain_length, derive::hash(envelope));
        let found = self.entries.get(&(place.kind, place.id, u64::from(place.offset)))?;
        let start = usize::try_from(place.offset).ok()?;
        let end = start.checked_add(usize::try_from(place.stored_length).ok()?)?;
        self.bytes.get(start..end).filter(|_| *found == said)
    }
}

/// What is known of a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copy {
    /// Its pack does not say so, or cannot be read.
    Unconfirmed,
    /// Its pack says so; the frame's hash.
    Confirmed(Id),
    /// It was opened, and is the blob.
    Opened,
}

/// Of each of these blobs, given by places in the order of preference, the places to keep.
pub(super) fn keep(
    repository: &Repository,
    index: &Index,
    blobs: &[Vec<(u32, Place)>],
    options: &Options,
) -> Result<Vec<HashSet<u32>>> {
    let mut by_pack: BTreeMap<Id, Vec<(u32, Place)>> = BTreeMap::new();
    for (number, place) in blobs.iter().flatten() {
        by_pack.entry(index.pack(place)?.id).or_default().push((*number, *place));
    }
    let looked: Vec<Vec<(u32, Copy)>> = by_pack
        .into_par_iter()
        .map(|(id, places)| {
            options.interrupt.check()?;
            look(repository, index, &id, &places)
        })
        .collect::<Result<_>>()?;
    let copies: HashMap<u32, Copy> = looked.into_iter().flatten().collect();
    Ok(blobs.iter().map(|places| chosen(places, &copies)).collect())
}

fn look(
    repository: &Repository,
    index: &Index,
    id: &Id,
    places: &[(u32, Place)],
) -> Result<Vec<(u32, Copy)>> {
    let opened = match OpenedPack::read(repository, id) {
        Ok(opened) => opened,
        Err(error)
            if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing | ErrorKind::Unsupported) =>
        {
            return Ok(places.iter().map(|(number, _)| (*number, Copy::Unconfirmed)).collect());
        }
        Err(error) => return Err(error),
    };
    let mut buffers = OpenBuffers::default();
    places
        .iter()
        .map(|(number, place)| {
            let envelope = index.envelope(place)?;
            let Some(frame) = opened.frame(place, &envelope) else { return Ok((*number, Copy::Unconfirmed)) };
            let keyring = repository.keyring();
            if !keyring.opens(place.kind.class()) {
                return Ok((*number, Copy::Confirmed(derive::hash(frame))));
            }
            let blob = index.content_key(repository, place).and_then(|key| {
                open_frame(keyring, key, place.kind, &place.id, place.plain_length, frame, &mut buffers)
                    .map(|_| ())
            });
            Ok((*number, if blob.is_ok() { Copy::Opened } else { Copy::Unconfirmed }))
        })
        .collect()
}

fn chosen(places: &[(u32, Place)], copies: &HashMap<u32, Copy>) -> HashSet<u32> {
    let copy = |number: &u32| copies.get(number).copied().unwrap_or(Copy::Unconfirmed);
    if let Some((number, _)) = places.iter().find(|(number, _)| copy(number) == Copy::Opened) {
        return HashSet::from([*number]);
    }
    let mut frames = HashSet::new();
    let different: HashSet<u32> = places
        .iter()
        .map(|(number, _)| *number)
        .filter(|number| matches!(copy(number), Copy::Confirmed(frame) if frames.insert(frame)))
        .collect();
    // Where nothing is confirmed, nothing is given up.
    if different.is_empty() { places.iter().map(|(number, _)| *number).collect() } else { different }
}

/// The error of a pack that a needed blob has to be copied out of, and does not hold it.
pub(super) fn not_there() -> Error {
    Error::corrupt("its own table does not say what the index says of it")
}
