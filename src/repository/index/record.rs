//! The records of a run's file, as bytes: fixed-width, little-endian.

use super::{PackInfo, Place};
use crate::error::{Error, Result};
use crate::format::blob::{BlobKind, Class};
use crate::format::bytes::Fields;
use crate::id::{ID_LEN, Id};

pub(super) const PLACE_LEN: usize = ID_LEN + 5 * 4 + 1;
pub(super) const DIGEST_LEN: usize = 1 + ID_LEN;
pub(super) const PACK_LEN: usize = ID_LEN + 8 + 4 + 1;
pub(super) const FENCE_LEN: usize = 8;

/// A pack, as one index object names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackRecord {
    pub(super) info: PackInfo,
    /// The object, by its number in the run.
    pub(super) object: u32,
}

/// An envelope's class and hash.
pub(super) type Digest = (Class, [u8; 32]);

/// How places are sorted within a run.
pub(super) fn sort_key(place: &Place) -> (Id, u32, u32) {
    (place.id, place.pack, place.offset)
}

/// The first bytes of an id, as a number that sorts as they do.
pub(super) fn fence(id: &Id) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = id.0;
    u64::from_le_bytes([h, g, f, e, d, c, b, a])
}

pub(super) fn encode_place(place: &Place) -> [u8; PLACE_LEN] {
    let mut record = [0; PLACE_LEN];
    let numbers = [place.pack, place.offset, place.stored_length, place.plain_length, place.envelope];
    let (id, rest) = record.split_at_mut(ID_LEN);
    id.copy_from_slice(place.id.as_bytes());
    for (field, number) in rest.chunks_mut(4).zip(numbers) {
        field.copy_from_slice(&number.to_le_bytes());
    }
    if let Some(last) = record.last_mut() {
        *last = place.kind.code();
    }
    record
}

pub(super) fn decode_place(record: &[u8]) -> Result<Place> {
    place(&mut Fields::new(record, "copy of the index"))
}

pub(super) fn place(fields: &mut Fields<'_>) -> Result<Place> {
    Ok(Place {
        id: fields.id()?,
        pack: fields.u32()?,
        offset: fields.u32()?,
        stored_length: fields.u32()?,
        plain_length: fields.u32()?,
        envelope: fields.u32()?,
        kind: BlobKind::from_code(fields.u8()?)
            .ok_or_else(|| Error::corrupt("copy of the index: a kind of blob does not exist"))?,
    })
}

pub(super) fn decode_object(fields: &mut Fields<'_>) -> Result<Id> {
    fields.id()
}

pub(super) fn decode_fence(fields: &mut Fields<'_>) -> Result<u64> {
    fields.u64()
}

pub(super) fn encode_pack(pack: &PackRecord) -> Vec<u8> {
    let mut record = Vec::with_capacity(PACK_LEN);
    record.extend_from_slice(pack.info.id.as_bytes());
    record.extend_from_slice(&pack.info.size.to_le_bytes());
    record.extend_from_slice(&pack.object.to_le_bytes());
    record.push(pack.info.class.code());
    record
}

pub(super) fn decode_pack(fields: &mut Fields<'_>) -> Result<PackRecord> {
    let (id, size, object) = (fields.id()?, fields.u64()?, fields.u32()?);
    Ok(PackRecord { info: PackInfo { id, size, class: decode_class(fields)? }, object })
}

pub(super) fn decode_class(fields: &mut Fields<'_>) -> Result<Class> {
    Class::from_code(fields.u8()?).ok_or_else(|| Error::corrupt("copy of the index: a class does not exist"))
}

pub(super) fn too_many() -> Error {
    Error::refused("the index names more blobs than this program can count")
}
