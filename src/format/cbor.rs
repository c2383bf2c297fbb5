//! Deterministic CBOR, as `format-spec/00-conventions.md#cbor` narrows RFC 8949 section 4.2.
//!
//! Invariant: one value has one encoding. Decoding encodes again and compares, so that unknown or doubled
//! keys, long forms of integers, indefinite lengths and trailing bytes are all refused by one rule.

use minicbor::{Decode, Encode};

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
