//! Packs: sealed blobs of one class, one after another, and the table that names them.
//!
//! Follows `format-spec/06-pack.md`. Layout: header, frames, sealed table, trailer. The table's plaintext
//! carries the padding, so that a pack's length tells only its Padmé class and every byte is authenticated.
//!
//! Invariant: frames touch each other; the first starts right behind the header and the last ends where the
//! sealed table starts. Offsets are therefore not stored.

use super::blob::{BlobKind, Class, FRAME_OVERHEAD};
use super::bytes::Fields;
use super::header::{self, HEADER_LEN, HeaderKind};
use crate::error::{Error, Result};
use crate::id::{ID_LEN, Id};
use crate::limits;

/// Length of the encapsulated key of X-Wing plus the sealed content key.
pub const ENVELOPE_LEN: usize = 1120 + 32 + 16;
/// Length of the fields before the envelopes in a table.
pub const TABLE_HEAD_LEN: usize = 12 + ID_LEN;
/// Length of one entry of a table.
pub const ENTRY_LEN: usize = ID_LEN + 1 + 1 + 2 + 4 + 4;
/// Length of the trailer's plaintext: the sealed table's length.
pub const TRAILER_PLAIN_LEN: usize = 4;
/// Length of the trailer: salt, ciphertext, tag. In the clear it would tell how much of a pack is padding.
pub const TRAILER_LEN: usize = 32 + TRAILER_PLAIN_LEN + 16;

/// One blob in a pack table or an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The blob's id.
    pub id: Id,
    /// What it holds.
    pub kind: BlobKind,
    /// Which envelope of this object holds its content key.
    pub envelope: u16,
    /// Length of its frame in the pack: ciphertext, tag.
    pub stored_length: u32,
    /// Length of its plaintext.
    pub plain_length: u32,
}

/// A content key sealed to a class's public key.
pub type Envelope = [u8; ENVELOPE_LEN];

/// The table of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The class of all its blobs.
    pub class: Class,
    /// BLAKE3 of everything before the table: whoever holds no key could else put a table from elsewhere behind
    /// frames of its own making.
    pub frames_hash: Id,
    /// The content keys that its blobs need.
    pub envelopes: Vec<Envelope>,
    /// The blobs in the order of their frames.
    pub entries: Vec<Entry>,
}

/// Writes one entry.
pub(crate) fn encode_entry(entry: &Entry, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(entry.id.as_bytes());
    bytes.push(entry.kind.code());
    bytes.push(0);
    bytes.extend_from_slice(&entry.envelope.to_le_bytes());
    bytes.extend_from_slice(&entry.stored_length.to_le_bytes());
    bytes.extend_from_slice(&entry.plain_length.to_le_bytes());
}

/// Reads one entry and holds it against the limits.
pub(crate) fn decode_entry(fields: &mut Fields<'_>, class: Class, envelopes: usize) -> Result<Entry> {
    let id = fields.id()?;
    let kind = BlobKind::from_code(fields.u8()?)
        .ok_or_else(|| Error::corrupt("a table names a blob of a kind that does not exist"))?;
    fields.zeros(1)?;
    let envelope = fields.u16()?;
    let stored_length = fields.u32()?;
    let plain_length = fields.u32()?;
    if kind.class() != class {
        return Err(Error::corrupt("a table names a blob of another class than its pack's"));
    }
    if usize::from(envelope) >= envelopes {
        return Err(Error::corrupt("a table names an envelope that it does not have"));
    }
    let stored = usize::try_from(stored_length).unwrap_or(usize::MAX);
    let plain = usize::try_from(plain_length).unwrap_or(usize::MAX);
    if plain > limits::BLOB_PLAIN_MAX
        || stored < FRAME_OVERHEAD
        || stored > plain.saturating_add(FRAME_OVERHEAD)
    {
        return Err(Error::corrupt("a table names a blob of a length that is not possible"));
    }
    Ok(Entry { id, kind, envelope, stored_length, plain_length })
}

/// Writes a table's plaintext, padded with zeros by `padding` bytes.
pub fn encode_table(table: &Table, padding: usize) -> Result<Vec<u8>> {
    let envelopes =
        u16::try_from(table.envelopes.len()).map_err(|_| Error::refused("a pack has too many envelopes"))?;
    let entries =
        u32::try_from(table.entries.len()).map_err(|_| Error::refused("a pack has too many blobs"))?;
    let mut bytes = Vec::with_capacity(table_length(table).saturating_add(padding));
    bytes.extend_from_slice(&[table.class.code(), 0, 0, 0]);
    bytes.extend_from_slice(&envelopes.to_le_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&entries.to_le_bytes());
    bytes.extend_from_slice(table.frames_hash.as_bytes());
    for envelope in &table.envelopes {
        bytes.extend_from_slice(envelope);
    }
    for entry in &table.entries {
        encode_entry(entry, &mut bytes);
    }
    bytes.resize(bytes.len().saturating_add(padding), 0);
    Ok(bytes)
}

/// Length of a table's plaintext without padding.
pub fn table_length(table: &Table) -> usize {
    TABLE_HEAD_LEN
        .saturating_add(table.envelopes.len().saturating_mul(ENVELOPE_LEN))
        .saturating_add(table.entries.len().saturating_mul(ENTRY_LEN))
}

/// Reads a table's plaintext.
pub fn decode_table(bytes: &[u8]) -> Result<Table> {
    let mut fields = Fields::new(bytes, "pack table");
    let class = Class::from_code(fields.u8()?)
        .ok_or_else(|| Error::corrupt("pack table: its class does not exist"))?;
    fields.zeros(3)?;
    let envelope_count = usize::from(fields.u16()?);
    fields.zeros(2)?;
    let entry_count = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
    let frames_hash = fields.id()?;
    let needed = envelope_count
        .checked_mul(ENVELOPE_LEN)
        .zip(entry_count.checked_mul(ENTRY_LEN))
        .and_then(|(envelopes, entries)| envelopes.checked_add(entries))
        .filter(|needed| *needed <= fields.left())
        .ok_or_else(|| Error::corrupt("pack table: it announces more than it holds"))?;
    let padding = fields.left().saturating_sub(needed);
    let envelopes = (0..envelope_count).map(|_| fields.array()).collect::<Result<Vec<Envelope>>>()?;
    let entries = (0..entry_count)
        .map(|_| decode_entry(&mut fields, class, envelope_count))
        .collect::<Result<Vec<_>>>()?;
    fields.zeros(padding)?;
    fields.end()?;
    Ok(Table { class, frames_hash, envelopes, entries })
}

/// Where the frames of a table's entries lie, in order; refuses frames that do not fill their room exactly.
pub fn frame_offsets(entries: &[Entry], frames_end: u64) -> Result<Vec<u64>> {
    let mut offset = HEADER_LEN as u64;
    let mut offsets = Vec::with_capacity(entries.len());
    for entry in entries {
        offsets.push(offset);
        offset = offset.saturating_add(u64::from(entry.stored_length));
    }
    if offset != frames_end {
        return Err(Error::corrupt("pack: its frames and its table do not fit together"));
    }
    Ok(offsets)
}

/// Where a pack of this size keeps its sealed table, by the plaintext of its trailer: offset and length.
pub fn table_place(pack_size: u64, trailer: &[u8]) -> Result<(u64, u64)> {
    let mut fields = Fields::new(trailer, "pack trailer");
    let length = u64::from(fields.u32()?);
    fields.end()?;
    let offset = pack_size
        .checked_sub(TRAILER_LEN as u64)
        .and_then(|end| end.checked_sub(length))
        .filter(|offset| *offset >= HEADER_LEN as u64 && pack_size <= limits::PACK_MAX)
        .ok_or_else(|| Error::corrupt("pack: its trailer points outside"))?;
    Ok((offset, length))
}

/// Checks a whole pack's header.
pub fn check_header(pack: &[u8]) -> Result<()> {
    header::strip(HeaderKind::Pack, pack).map(|_| ())
}

/// The Padmé length: the least length not below this one that leaks only O(log log) bits of it.
///
/// Follows Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", 2019.
pub fn padded_length(length: u64) -> u64 {
    if length < 2 {
        return length;
    }
    let exponent = length.ilog2();
    let bits = exponent.max(1).ilog2().saturating_add(1);
    let low = exponent.saturating_sub(bits);
    let mask = 1u64.checked_shl(low).unwrap_or(1).saturating_sub(1);
    length.saturating_add(mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_follows_the_paper() {
        assert_eq!(padded_length(9), 10);
        assert_eq!(padded_length(1_000_000), 1_015_808);
        for length in [1u64, 2, 3, 100, 4096, 32 << 20, (32 << 20) + 1] {
            let padded = padded_length(length);
            assert!(padded >= length && padded - length <= length / 8);
            assert_eq!(padded_length(padded), padded);
        }
    }
}
