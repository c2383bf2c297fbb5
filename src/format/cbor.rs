//! Deterministic CBOR, as `format-spec/00-conventions.md#cbor` narrows RFC 8949 section 4.2.
//!
//! Invariant: one value has one encoding. Decoding encodes again and compares, so that unknown or doubled
//! keys, long forms of integers, indefinite lengths and trailing bytes are all refused by one rule.

use minicbor::data::Type;
use minicbor::{Decode, Decoder, Encode};

use crate::error::{Error, ErrorKind, Result};

/// Encodes a value.
pub fn encode<T: Encode<()>>(value: &T) -> Result<Vec<u8>> {
    minicbor::to_vec(value).map_err(|error| Error::new(ErrorKind::Refused, format!("cannot encode: {error}")))
}

/// Encodes a value behind what stands in `bytes`.
pub fn append<T: Encode<()>>(value: &T, bytes: &mut Vec<u8>) -> Result<()> {
    minicbor::encode(value, bytes)
        .map_err(|error| Error::new(ErrorKind::Refused, format!("cannot encode: {error}")))
}

/// Refuses an encoding of more than so many items, before any of them takes memory: an array of empty texts is dozens of
/// times as large decoded as it is encoded.
pub fn bound_items(bytes: &[u8], most: usize, object: &'static str) -> Result<()> {
    let count = |decoder: &mut Decoder<'_>| match decoder.datatype()? {
        Type::Array => decoder.array().map(drop),
        Type::Map => decoder.map().map(drop),
        // Nothing in it could be counted; what is of indefinite length is refused later.
        _ => decoder.skip(),
    };
    let mut decoder = Decoder::new(bytes);
    let mut items = 0usize;
    while decoder.position() < bytes.len() {
        count(&mut decoder).map_err(|error| Error::corrupt(format!("{object}: {error}")))?;
        items = items.saturating_add(1);
        if items > most {
            return Err(Error::corrupt(format!("{object}: it has more than {most} items")));
        }
    }
    Ok(())
}

/// Decodes a value and refuses every encoding but the one that [`encode`] gives.
pub fn decode<'b, T: Encode<()> + Decode<'b, ()>>(bytes: &'b [u8], object: &'static str) -> Result<T> {
    let value: T = minicbor::decode(bytes).map_err(|error| Error::corrupt(format!("{object}: {error}")))?;
    if encode(&value)? != bytes {
        return Err(Error::corrupt(format!("{object}: its encoding is not the deterministic one")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_counted_without_being_built() {
        // A map of one: a text of two bytes, and an array of three numbers in each form, one of 300 bytes in all.
        let mut bytes =
            vec![0xa1, 0x62, b'h', b'i', 0x84, 0x17, 0x18, 24, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0, 0x59, 1, 44];
        bytes.extend([0x80; 300]);
        assert!(bound_items(&bytes, 7, "it").is_ok());
        assert!(bound_items(&bytes, 6, "it").unwrap_err().to_string().contains("more than 6 items"));
        let many = [&[0x9b, 0, 0, 0, 0, 0, 1, 0, 0][..], &vec![0x60; 1 << 16]].concat();
        assert!(bound_items(&many, 1 << 16, "it").is_err());
        assert!(bound_items(&many, (1 << 16) + 1, "it").is_ok());
        for cut in 0..bytes.len() {
            drop(bound_items(&bytes[..cut], 100, "it"));
        }
    }
}
