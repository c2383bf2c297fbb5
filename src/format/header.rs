//! The sixteen bytes that every object starts with.
//!
//! Follows `format-spec/10-repository.md#header`.

use super::bytes::Fields;
use crate::error::{Error, ErrorKind, Result};

/// First bytes of every object.
pub const MAGIC: [u8; 8] = *b"strongrm";
/// The version of the format that this program writes, and the only one it reads.
pub const FORMAT_VERSION: u16 = 1;
/// Length of a header in bytes.
pub const HEADER_LEN: usize = 16;

/// Which object a header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderKind {
    /// `config`
    Config,
    /// `keys/<id>`
    Key,
    /// `packs/<2 hex>/<id>`
    Pack,
    /// `index/<id>`
    Index,
    /// `snapshots/<id>`
    Snapshot,
    /// `abandoned/<id>`
    Abandoned,
    /// `forgotten/<id>`
    Forgotten,
    /// `sessions/<id>`
    Session,
    /// `gc/<id>`
    Gc,
    /// A file of the local cache; never in a repository.
    Cache,
}

impl HeaderKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Config,
        Self::Key,
        Self::Pack,
        Self::Index,
        Self::Snapshot,
        Self::Abandoned,
        Self::Forgotten,
        Self::Session,
        Self::Gc,
        Self::Cache,
    ];

    /// The four bytes that stand for it.
    pub const fn code(self) -> [u8; 4] {
        match self {
            Self::Config => *b"conf",
            Self::Key => *b"keys",
            Self::Pack => *b"pack",
            Self::Index => *b"indx",
            Self::Snapshot => *b"snap",
            Self::Abandoned => *b"aban",
            Self::Forgotten => *b"forg",
            Self::Session => *b"sess",
            Self::Gc => *b"gcol",
            Self::Cache => *b"cach",
        }
    }

    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "key slot",
            Self::Pack => "pack",
            Self::Index => "index",
            Self::Snapshot => "snapshot",
            Self::Abandoned => "abandoned mark",
            Self::Forgotten => "forgotten mark",
            Self::Session => "session",
            Self::Gc => "gc record",
            Self::Cache => "cache file",
        }
    }
}

/// The header of an object of this kind.
pub const fn header(kind: HeaderKind) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    let (magic, rest) = bytes.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    let (code, rest) = rest.split_at_mut(4);
    code.copy_from_slice(&kind.code());
    let (version, _reserved) = rest.split_at_mut(2);
    version.copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes
}

/// Checks the header of an object and gives what follows it.
pub fn strip(kind: HeaderKind, bytes: &[u8]) -> Result<&[u8]> {
    let name = kind.name();
    let (found, rest) = bytes
        .split_first_chunk::<HEADER_LEN>()
        .ok_or_else(|| Error::corrupt(format!("{name}: it ends within its header")))?;
    if *found == header(kind) {
        return Ok(rest);
    }
    let mut fields = Fields::new(found, name);
    if fields.array()? != MAGIC {
        return Err(Error::corrupt(format!("{name}: it does not start as a Strongroom object does")));
    }
    if fields.array()? != kind.code() {
        return Err(Error::corrupt(format!("{name}: another kind of object lies under this name")));
    }
    let version = fields.u16()?;
    if version != FORMAT_VERSION {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("{name}: format version {version}; this program reads version {FORMAT_VERSION}"),
        )
        .hint("use a newer strongroom"));
    }
    Err(Error::corrupt(format!("{name}: a reserved field is not zero")))
}
