//! `config`: what everybody must know of a repository before a key is opened.
//!
//! Follows `format-spec/10-repository.md#config`. The object is a header, the length of the record, the
//! record, and a MAC under the write secret over all before it.

use minicbor::{Decode, Encode};

use super::bytes::Fields;
use super::cbor;
use super::header::{self, HeaderKind};
use super::node::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;
use crate::limits;

/// Length of the MAC at the end.
pub const MAC_LEN: usize = 32;
/// The one chunker so far: gear hash over a keyed table, normalized as FastCDC's version of 2020.
pub const CHUNKER_KEYED_GEAR: u32 = 1;

/// Sizes of one profile of the chunker, in bytes; all even.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ChunkSizes {
    /// Least length of a chunk, the last of a file excepted.
    #[n(0)]
    pub minimum: u32,
    /// Length aimed at; a power of two.
    #[n(1)]
    pub average: u32,
    /// Greatest length.
    #[n(2)]
    pub maximum: u32,
}

/// The record in `config`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Config {
    /// The repository's random name.
    #[n(0)]
    pub repository: Id,
    /// Features without which nothing here can be read or written rightly.
    #[n(1)]
    pub required_features: Vec<String>,
    /// Features that may be ignored.
    #[n(2)]
    pub optional_features: Vec<String>,
    /// Which chunker: [`CHUNKER_KEYED_GEAR`].
    #[n(3)]
    pub chunker: u32,
    /// Sizes of the profile `file`.
    #[n(4)]
    pub file_chunks: ChunkSizes,
    /// Sizes of the profile `dump`.
    #[n(5)]
    pub dump_chunks: ChunkSizes,
    /// When the repository was made.
    #[n(6)]
    pub created: Timestamp,
}

impl ChunkSizes {
    /// Refuses sizes that the chunker cannot work with or that no reader could hold.
    pub fn validate(self) -> Result<()> {
        let even = [self.minimum, self.average, self.maximum].iter().all(|size| size.is_multiple_of(2));
        let ordered = self.minimum >= 64 && self.minimum <= self.average && self.average <= self.maximum;
        let fits = usize::try_from(self.maximum).is_ok_and(|maximum| maximum <= limits::BLOB_PLAIN_MAX);
        let power = self.average.is_power_of_two();
        if even && ordered && fits && power {
            return Ok(());
        }
        Err(Error::corrupt("config: the chunk sizes are not usable"))
    }
}

/// Everything of the object but the MAC, which is computed over it.
pub fn encode(config: &Config) -> Result<Vec<u8>> {
    let record = cbor::encode(config)?;
    let length = u32::try_from(record.len()).map_err(|_| Error::refused("config: too long"))?;
    let mut bytes = header::header(HeaderKind::Config).to_vec();
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&record);
    Ok(bytes)
}

/// Splits the object into the record, the bytes that the MAC covers, and the MAC.
pub fn decode(bytes: &[u8]) -> Result<(Config, &[u8], [u8; MAC_LEN])> {
    let mut fields = Fields::new(header::strip(HeaderKind::Config, bytes)?, "config");
    let length = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
    let record = fields.take(length)?;
    let mac = fields.array::<MAC_LEN>()?;
    fields.end()?;
    let config: Config = cbor::decode(record, "config")?;
    let covered = bytes
        .len()
        .checked_sub(MAC_LEN)
        .and_then(|end| bytes.get(..end))
        .ok_or_else(|| Error::corrupt("config: it ends too early"))?;
    validate(&config)?;
    Ok((config, covered, mac))
}

fn validate(config: &Config) -> Result<()> {
    if let Some(feature) = config.required_features.first() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the repository's config requires the feature {feature:?}, which this program does not know"
            ),
        )
        .hint("use a newer strongroom"));
    }
    if config.chunker != CHUNKER_KEYED_GEAR {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the repository's config names chunker {}, which this program does not know",
                config.chunker
            ),
        )
        .hint("use a newer strongroom"));
    }
    config.file_chunks.validate()?;
    config.dump_chunks.validate()
}
