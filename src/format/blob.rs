//! Blobs: what is cut, named, compressed and sealed on its own.
//!
//! Follows `format-spec/05-blob.md`. A frame is ciphertext and tag and nothing else: whatever stood in the clear
//! between frames, a counter for one, would show a store where each begins and how long it is.

use super::header::FORMAT_VERSION;
use crate::id::{ID_LEN, Id};

/// Length of the tag behind a sealed blob.
pub const TAG_LEN: usize = 16;
/// What sealing adds to a payload: encoding byte, tag.
pub const FRAME_OVERHEAD: usize = 1 + TAG_LEN;
/// Length of the associated data of a blob.
pub const ASSOCIATED_LEN: usize = 2 + ID_LEN + 1 + 1 + ID_LEN + 4;
/// Encoding byte: the payload is the plaintext itself.
pub const ENCODING_RAW: u8 = 0;
/// Encoding byte: the payload is one zstd frame.
pub const ENCODING_ZSTD: u8 = 1;

/// Who may open a blob: each class has its own key pair, and packs never mix classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Contents of files.
    Data,
    /// Names, attributes and lists of chunks.
    Metadata,
}

impl Class {
    /// Its number on disk.
    pub const fn code(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Metadata => 2,
        }
    }

    /// The class with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Data),
            2 => Some(Self::Metadata),
            _ => None,
        }
    }
}

/// What a blob holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlobKind {
    /// A chunk of a file.
    Chunk,
    /// A list of chunks, or of lists.
    List,
    /// A leaf of a snapshot's tree.
    Leaf,
    /// An inner node of a snapshot's tree.
    Inner,
}

impl BlobKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Chunk, Self::List, Self::Leaf, Self::Inner];

    /// Its number on disk.
    pub const fn code(self) -> u8 {
        match self {
            Self::Chunk => 1,
            Self::List => 2,
            Self::Leaf => 3,
            Self::Inner => 4,
        }
    }

    /// The kind with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Chunk),
            2 => Some(Self::List),
            3 => Some(Self::Leaf),
            4 => Some(Self::Inner),
            _ => None,
        }
    }

    /// The class it belongs to.
    pub const fn class(self) -> Class {
        match self {
            Self::Chunk => Class::Data,
            Self::List | Self::Leaf | Self::Inner => Class::Metadata,
        }
    }

    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chunk => "chunk",
            Self::List => "list",
            Self::Leaf => "tree leaf",
            Self::Inner => "tree node",
        }
    }
}

/// What a blob's seal binds: format version, repository, class, kind, id and plaintext length.
pub fn associated_data(repository: &Id, kind: BlobKind, id: &Id, plain_length: u32) -> [u8; ASSOCIATED_LEN] {
    let mut bytes = [0; ASSOCIATED_LEN];
    let parts: [&[u8]; 6] = [
        &FORMAT_VERSION.to_le_bytes(),
        repository.as_bytes(),
        &[kind.class().code()],
        &[kind.code()],
        id.as_bytes(),
        &plain_length.to_le_bytes(),
    ];
    for (slot, byte) in bytes.iter_mut().zip(parts.iter().flat_map(|part| part.iter())) {
        *slot = *byte;
    }
    bytes
}
