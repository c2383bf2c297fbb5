//! A run: what some index objects say, sorted by blob id, in memory or in a file.
//!
//! The file holds five tables (places, envelopes, digests of the envelopes, packs, objects) and the fences: the first
//! eight bytes of the first id in each block of places. All but places and envelopes are read when it is opened.
//! Invariants: the objects are sorted; packs stand in the order of the objects that name them; places are sorted by id,
//! then pack, then offset. So a run is a function of the objects it covers, and so are the numbers of its places.

use std::fs::File;

use super::Place;
use super::blocks::{BlockFile, Table, TableReader};
use super::record::{
    DIGEST_LEN, Digest, FENCE_LEN, PACK_LEN, PLACE_LEN, PackRecord, decode_class, decode_fence,
    decode_object, decode_pack, decode_place, fence, place, sort_key, too_many,
};
use crate::crypto::secret::Secret;
use crate::error::{Error, Result};
use crate::format::bytes::Fields;
use crate::format::pack::{ENVELOPE_LEN, Envelope};
use crate::id::{ID_LEN, Id};

/// What is known of a run without looking for anything in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) objects: Vec<Id>,
    pub(super) packs: Vec<PackRecord>,
    pub(super) digests: Vec<Digest>,
    /// Number of places.
    pub(super) places: u32,
}

/// A run.
pub(super) struct Run {
    pub(super) directory: Directory,
    body: Body,
}

enum Body {
    Memory { places: Vec<Place>, envelopes: Vec<Envelope> },
    File { file: BlockFile, tables: Tables, fences: Vec<u64> },
}

/// Where everything lies in the file of a run.
#[derive(Clone, Copy)]
pub(super) struct Tables {
    pub(super) places: Table,
    envelopes: Table,
    digests: Table,
    packs: Table,
    objects: Table,
    fences: Table,
}

impl Tables {
    /// Where everything lies, from how much there is of it: the tables follow each other.
    pub(super) fn new([places, envelopes, packs, objects]: [u64; 4]) -> Self {
        let table = |start, count, length| Table { start, count, length };
        let places = table(1, places, PLACE_LEN);
        let envelopes = table(places.end(), envelopes, ENVELOPE_LEN);
        let digests = table(envelopes.end(), envelopes.count, DIGEST_LEN);
        let packs = table(digests.end(), packs, PACK_LEN);
        let objects = table(packs.end(), objects, ID_LEN);
        let fences = table(objects.end(), places.end().saturating_sub(places.start), FENCE_LEN);
        Self { places, envelopes, digests, packs, objects, fences }
    }
}

impl Run {
    /// A run in memory; sorts the places.
    pub(super) fn in_memory(
        mut directory: Directory,
        mut places: Vec<Place>,
        envelopes: Vec<Envelope>,
    ) -> Result<Self> {
        directory.places = count(places.len())?;
        // On this thread alone: a copy is made anew under a lock that the pool's other threads may be waiting for.
        places.sort_unstable_by_key(sort_key);
        Ok(Self { directory, body: Body::Memory { places, envelopes } })
    }

    /// Opens a run in a file.
    pub(super) fn open(file: File, cache_key: &Secret) -> Result<Self> {
        BlockFile::open(file, cache_key).and_then(|(file, footer)| Self::from_blocks(file, &footer))
    }

    pub(super) fn from_blocks(file: BlockFile, footer: &[u8]) -> Result<Self> {
        let mut fields = Fields::new(footer, "copy of the index");
        let tables = Tables::new([fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?]);
        if tables.fences.end().saturating_add(1) != file.blocks() {
            return Err(Error::corrupt("this computer's copy of the index is damaged"));
        }
        let places = u32::try_from(tables.places.count).map_err(|_| too_many())?;
        let directory = Directory {
            objects: read_table(&file, tables.objects, decode_object)?,
            packs: read_table(&file, tables.packs, decode_pack)?,
            digests: read_table(&file, tables.digests, |fields| {
                Ok((decode_class(fields)?, fields.array()?))
            })?,
            places,
        };
        let fences = read_table(&file, tables.fences, decode_fence)?;
        Ok(Self { directory, body: Body::File { file, tables, fences } })
    }

    /// The same run in memory.
    pub(super) fn loaded(&self) -> Result<Self> {
        let body = match &self.body {
            Body::Memory { places, envelopes } => {
                Body::Memory { places: places.clone(), envelopes: envelopes.clone() }
            }
            Body::File { file, tables, .. } => Body::Memory {
                places: read_table(file, tables.places, place)?,
                envelopes: read_table(file, tables.envelopes, envelope)?,
            },
        };
        Ok(Self { directory: self.directory.clone(), body })
    }

    /// Whether it lies in memory.
    pub(super) fn is_in_memory(&self) -> bool {
        matches!(self.body, Body::Memory { .. })
    }

    /// Hands every place of an id with its number to `visit`, until that says false.
    pub(super) fn find(&self, id: &Id, visit: &mut dyn FnMut(u32, &Place) -> bool) -> Result<()> {
        match &self.body {
            Body::Memory { places, .. } => {
                let start = places.partition_point(|place| place.id < *id);
                let numbers = count(start)?..;
                for (place, number) in places.get(start..).unwrap_or_default().iter().zip(numbers) {
                    if place.id != *id || !visit(number, place) {
                        break;
                    }
                }
                Ok(())
            }
            Body::File { file, tables, fences } => {
                let wanted = fence(id);
                // The block before may end with ids that begin as this one does.
                let first = fences.partition_point(|fence| *fence < wanted).saturating_sub(1);
                let blocks = tables.places.start.saturating_add(first as u64)..;
                for (start, block) in fences.get(first..).unwrap_or_default().iter().zip(blocks) {
                    if *start > wanted {
                        break;
                    }
                    let look = |records: &[u8]| find_in_block(records, &tables.places, block, id, visit);
                    if file.with_block(block, look)?? {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// A place by its number.
    pub(super) fn place(&self, number: u32) -> Result<Place> {
        let none = || Error::refused("there is no such place in the index");
        match &self.body {
            Body::Memory { places, .. } => {
                usize::try_from(number).ok().and_then(|number| places.get(number)).copied().ok_or_else(none)
            }
            Body::File { file, tables, .. } => {
                let (block, range) = tables.places.place(u64::from(number));
                if number >= self.directory.places {
                    return Err(none());
                }
                file.with_block(block, |records| decode_place(records.get(range).unwrap_or_default()))?
            }
        }
    }

    /// An envelope by its number.
    pub(super) fn envelope(&self, number: u32) -> Result<Envelope> {
        let none = || Error::corrupt("a place names an envelope that is not in the index");
        match &self.body {
            Body::Memory { envelopes, .. } => usize::try_from(number)
                .ok()
                .and_then(|number| envelopes.get(number))
                .copied()
                .ok_or_else(none),
            Body::File { file, tables, .. } => {
                if u64::from(number) >= tables.envelopes.count {
                    return Err(none());
                }
                let (block, range) = tables.envelopes.place(u64::from(number));
                let copy = |records: &[u8]| records.get(range).and_then(|bytes| bytes.try_into().ok());
                file.with_block(block, copy)?.ok_or_else(none)
            }
        }
    }

    /// Its places in order, from a number on.
    pub(super) fn cursor(&self, from: u32) -> Cursor<'_> {
        match &self.body {
            Body::Memory { places, .. } => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                Cursor::Memory(places.get(from..).unwrap_or_default().iter())
            }
            Body::File { file, tables, .. } => {
                Cursor::File(Box::new(file.table(tables.places, u64::from(from))))
            }
        }
    }
}

/// Looks for an id in one block, and says whether the search ends there.
fn find_in_block(
    records: &[u8],
    table: &Table,
    block: u64,
    id: &Id,
    visit: &mut dyn FnMut(u32, &Place) -> bool,
) -> Result<bool> {
    let before = block.saturating_sub(table.start).saturating_mul(table.per_block());
    let here = table.count.saturating_sub(before).min(table.per_block());
    let here = usize::try_from(here).unwrap_or(usize::MAX);
    let (records, _) = records.as_chunks::<PLACE_LEN>();
    let records = records.get(..here).unwrap_or_default();
    let first = records.partition_point(|record| record.first_chunk().is_some_and(|start| *start < id.0));
    for (record, number) in records.iter().zip(before..).skip(first) {
        let place = decode_place(record)?;
        let number = u32::try_from(number).map_err(|_| too_many())?;
        if place.id != *id || !visit(number, &place) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Walks through the places of a run.
pub(super) enum Cursor<'a> {
    Memory(std::slice::Iter<'a, Place>),
    File(Box<TableReader<'a>>),
}

impl Cursor<'_> {
    pub(super) fn next_place(&mut self) -> Result<Option<Place>> {
        match self {
            Self::Memory(places) => Ok(places.next().copied()),
            Self::File(table) => table.next_record()?.map(decode_place).transpose(),
        }
    }
}

fn read_table<T>(
    file: &BlockFile,
    table: Table,
    decode: impl Fn(&mut Fields<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut reader = file.table(table, 0);
    // What the file has room for bounds what its footer may announce.
    let mut read = Vec::with_capacity(usize::try_from(table.count).map_err(|_| too_many())?);
    while let Some(record) = reader.next_record()? {
        read.push(decode(&mut Fields::new(record, "copy of the index"))?);
    }
    Ok(read)
}

fn envelope(fields: &mut Fields<'_>) -> Result<Envelope> {
    fields.array()
}

fn count(places: usize) -> Result<u32> {
    u32::try_from(places).map_err(|_| too_many())
}
