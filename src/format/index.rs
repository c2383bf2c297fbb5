//! Index objects: which blob lies in which pack.
//!
//! Follows `format-spec/07-index.md`. The plaintext is a head, the envelopes, and for each pack a record
//! followed by its entries in the order of their frames.

use super::blob::Class;
use super::bytes::Fields;
use super::header::HEADER_LEN;
use super::pack::{ENTRY_LEN, ENVELOPE_LEN, Entry, Envelope, decode_entry, encode_entry, padded_length};
use crate::error::{Error, Result};
use crate::id::{ID_LEN, Id};
use crate::limits;

/// Length of the head: number of envelopes, number of packs.
pub const INDEX_HEAD_LEN: usize = 8;
/// Length of the record that announces a pack.
pub const PACK_RECORD_LEN: usize = ID_LEN + 8 + 1 + 3 + 4;

/// What surrounds the plaintext in the stored object: header, salt, tag.
const AROUND_PLAINTEXT: u64 = HEADER_LEN as u64 + 32 + 16;

/// One pack and what lies in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedPack {
    /// Its id.
    pub id: Id,
    /// Its size in bytes.
    pub size: u64,
    /// The class of its blobs.
    pub class: Class,
    /// Its blobs in the order of their frames.
    pub entries: Vec<Entry>,
}

/// An index object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexObject {
    /// The content keys that the entries refer to.
    pub envelopes: Vec<Envelope>,
    /// The packs.
    pub packs: Vec<IndexedPack>,
}

/// Bytes of the stored object with so many envelopes, packs and entries.
pub fn stored_bytes(envelopes: usize, packs: usize, entries: usize) -> u64 {
    let parts =
        [(envelopes, ENVELOPE_LEN), (packs, PACK_RECORD_LEN), (entries, ENTRY_LEN), (1, INDEX_HEAD_LEN)];
    let bytes = |(number, each): (usize, usize)| (number as u64).saturating_mul(each as u64);
    padded_length(parts.into_iter().map(bytes).fold(AROUND_PLAINTEXT, u64::saturating_add))
}

/// Writes the plaintext, padded with zeros so that the sealed object has a Padmé length.
pub fn encode(index: &IndexObject) -> Result<Vec<u8>> {
    let too_many = |_| Error::refused("an index object has too many records");
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&u32::try_from(index.envelopes.len()).map_err(too_many)?.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(index.packs.len()).map_err(too_many)?.to_le_bytes());
    for envelope in &index.envelopes {
        bytes.extend_from_slice(envelope);
    }
    for pack in &index.packs {
        bytes.extend_from_slice(pack.id.as_bytes());
        bytes.extend_from_slice(&pack.size.to_le_bytes());
        bytes.extend_from_slice(&[pack.class.code(), 0, 0, 0]);
        bytes.extend_from_slice(&u32::try_from(pack.entries.len()).map_err(too_many)?.to_le_bytes());
        for entry in &pack.entries {
            encode_entry(entry, &mut bytes);
        }
    }
    let bare = (bytes.len() as u64).saturating_add(AROUND_PLAINTEXT);
    let padding = padded_length(bare).saturating_sub(bare);
    let padding = usize::try_from(padding).map_err(too_many)?;
    bytes.resize(bytes.len().saturating_add(padding), 0);
    Ok(bytes)
}

/// Reads the plaintext.
pub fn decode(bytes: &[u8]) -> Result<IndexObject> {
    let mut fields = Fields::new(bytes, "index");
    let envelope_count = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
    let pack_count = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
    let room =
        |count: usize, length: usize, left: usize| count.checked_mul(length).is_some_and(|need| need <= left);
    if envelope_count > limits::ENVELOPES_MAX || !room(envelope_count, ENVELOPE_LEN, fields.left()) {
        return Err(Error::corrupt("index: it announces more envelopes than it holds"));
    }
    let envelopes = (0..envelope_count).map(|_| fields.array()).collect::<Result<Vec<Envelope>>>()?;
    if !room(pack_count, PACK_RECORD_LEN, fields.left()) {
        return Err(Error::corrupt("index: it announces more packs than it holds"));
    }
    let mut packs = Vec::with_capacity(pack_count);
    for _ in 0..pack_count {
        packs.push(decode_pack(&mut fields, envelope_count)?);
    }
    fields.zeros(fields.left())?;
    Ok(IndexObject { envelopes, packs })
}

fn decode_pack(fields: &mut Fields<'_>, envelopes: usize) -> Result<IndexedPack> {
    let id = fields.id()?;
    let size = fields.u64()?;
    let class = Class::from_code(fields.u8()?)
        .ok_or_else(|| Error::corrupt("index: a pack's class does not exist"))?;
    fields.zeros(3)?;
    let count = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
    if count.checked_mul(ENTRY_LEN).is_none_or(|need| need > fields.left()) {
        return Err(Error::corrupt("index: it announces more blobs than it holds"));
    }
    let entries = (0..count).map(|_| decode_entry(fields, class, envelopes)).collect::<Result<Vec<_>>>()?;
    let frames: u64 = entries.iter().map(|entry| u64::from(entry.stored_length)).sum();
    if size > limits::PACK_MAX || frames.saturating_add(HEADER_LEN as u64) > size {
        return Err(Error::corrupt("index: a pack is too small for what it holds"));
    }
    Ok(IndexedPack { id, size, class, entries })
}
