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

/// Decodes a value and refuses every encoding but the one that [`encode`] gives.
pub fn decode<'b, T: Encode<()> + Decode<'b, ()>>(bytes: &'b [u8], object: &'static str) -> Result<T> {
    let value: T = minicbor::decode(bytes).map_err(|error| Error::corrupt(format!("{object}: {error}")))?;
    if encode(&value)? != bytes {
        return Err(Error::corrupt(format!("{object}: its encoding is not the deterministic one")));
    }
    Ok(value)
}

/// Refuses bytes in which an array says that it has more than so many items, before anything is made of them.
pub fn refuse_long_arrays(bytes: &[u8], most: u64, object: &'static str) -> Result<()> {
    let longest = longest_array(bytes).map_err(|error| Error::corrupt(format!("{object}: {error}")))?;
    if longest > most {
        return Err(Error::corrupt(format!("{object}: a list has {longest} items, and may have {most}")));
    }
    Ok(())
}

/// Goes through the items as they follow each other, whatever lies in what.
fn longest_array(bytes: &[u8]) -> std::result::Result<u64, minicbor::decode::Error> {
    let mut decoder = Decoder::new(bytes);
    let mut longest = 0;
    while decoder.position() < bytes.len() {
        match decoder.datatype()? {
            Type::Array => longest = decoder.array()?.unwrap_or(u64::MAX).max(longest),
            Type::Map => {
                decoder.map()?;
            }
            // One item, with nothing in it that could be counted; of indefinite length it is refused later.
            _ => decoder.skip()?,
        }
    }
    Ok(longest)
}
