//! List blobs: the chunks of a large file, as a tree of content-defined height.
//!
//! Follows `format-spec/08-tree.md#lists`. A list of level 0 names chunks; one of level n names lists of level
//! n - 1 and how many bytes of the file lie below each. Its first byte is its level.
//!
//! Invariant: where a list ends depends on the ids in it alone, so that equal runs give equal lists.

use super::bytes::Fields;
use crate::error::{Error, Result};
use crate::id::{ID_LEN, Id};
use crate::limits;

/// Fewest entries of a list that is not the last of its level.
pub const LIST_MIN: usize = 256;
/// Most entries of a list.
pub const LIST_MAX: usize = 4096;
/// A list ends behind an entry whose id's last four bytes, as a little-endian number, divide by this.
pub const LIST_DIVISOR: u32 = 1024;
/// Length of an entry of a list of level 1 or more.
pub const LIST_ENTRY_LEN: usize = ID_LEN + 8;

/// An entry of a list of level 1 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// The list below.
    pub id: Id,
    /// How many bytes of the file it covers.
    pub bytes: u64,
}

/// What a list blob holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum List {
    /// Level 0.
    Chunks(Vec<Id>),
    /// Level 1 or more.
    Lists {
        /// Its level.
        level: u8,
        /// The lists below.
        entries: Vec<ListEntry>,
    },
}

/// Whether a list with this many entries, the last of which has this id, ends here.
pub fn ends_after(entries: usize, last: &Id) -> bool {
    let [.., a, b, c, d] = last.0;
    entries >= LIST_MAX
        || entries >= LIST_MIN && u32::from_le_bytes([a, b, c, d]).is_multiple_of(LIST_DIVISOR)
}

/// Writes a list of chunks.
pub fn encode_chunks(ids: &[Id]) -> Vec<u8> {
    let mut bytes = vec![0];
    for id in ids {
        bytes.extend_from_slice(id.as_bytes());
    }
    bytes
}

/// Writes a list of lists.
pub fn encode_lists(level: u8, entries: &[ListEntry]) -> Vec<u8> {
    let mut bytes = vec![level];
    for entry in entries {
        bytes.extend_from_slice(entry.id.as_bytes());
        bytes.extend_from_slice(&entry.bytes.to_le_bytes());
    }
    bytes
}

/// Reads a list, which must be of the level that its parent says.
pub fn decode(bytes: &[u8], level: u8) -> Result<List> {
    let mut fields = Fields::new(bytes, "list");
    if level > limits::LEVEL_MAX || fields.u8()? != level {
        return Err(Error::corrupt("list: it is not of the level that its parent says"));
    }
    let width = if level == 0 { ID_LEN } else { LIST_ENTRY_LEN };
    let count = fields.left().checked_div(width).unwrap_or(0);
    if count == 0 || count > LIST_MAX {
        return Err(Error::corrupt("list: it has no entries, or too many"));
    }
    let list = if level == 0 {
        List::Chunks((0..count).map(|_| fields.id()).collect::<Result<_>>()?)
    } else {
        let entries = (0..count)
            .map(|_| Ok(ListEntry { id: fields.id()?, bytes: fields.u64()? }))
            .collect::<Result<_>>()?;
        List::Lists { level, entries }
    };
    fields.end()?;
    Ok(list)
}
