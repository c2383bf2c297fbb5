//! Where a repository lies: named objects that are written once, read, listed and deleted.
//!
//! Invariants: a backend sees names and bytes, nothing else. An object is there whole or not at all, and is
//! never overwritten. A listing is complete or an error, never silently short.

pub(crate) mod local;
mod memory;

#[cfg(test)]
mod conformance;

use std::fmt;

use crate::error::{Error, Result};
use crate::id::Id;

pub use local::{LocalBackend, Strangers, is_same_store};
pub use memory::MemoryBackend;

/// What memory and length of an object are multiples of that a store may take without a copy between: no file system
/// asks for more than a page. It is a hint: objects that lie elsewhere are stored just as well.
pub(crate) const DIRECT_ALIGNMENT: usize = 4096;

/// Alignment and unit of ranges that others may watch, in bytes. format-spec/11-ordering.md, "Finding a blob".
pub const BLOCK: u64 = 256 << 10;

/// The stretch of an object of `size` bytes that is asked for where its bytes from `start` to `end` are wanted: out to
/// multiples of `alignment`, and no further than the object goes. Gives where it starts and its length.
pub fn aligned(start: u64, end: u64, alignment: u64, size: u64) -> (u64, u64) {
    let alignment = alignment.max(1);
    let from = start.saturating_sub(start.checked_rem(alignment).unwrap_or(0));
    let to = end.checked_next_multiple_of(alignment).unwrap_or(end).min(size);
    (from, to.saturating_sub(from))
}

/// What an object is for; each kind but the configuration has a folder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// What holds for the whole repository; there is one.
    Config,
    /// A key slot.
    Key,
    /// A pack of blobs.
    Pack,
    /// Which blob lies where in which pack.
    Index,
    /// A snapshot's manifest.
    Snapshot,
    /// The mark that a session was given up.
    Abandoned,
    /// The mark that a snapshot is forgotten.
    Forgotten,
    /// A backup now running.
    Session,
    /// Packs condemned by a prune.
    Gc,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Config,
        Self::Key,
        Self::Pack,
        Self::Index,
        Self::Snapshot,
        Self::Abandoned,
        Self::Forgotten,
        Self::Session,
        Self::Gc,
    ];

    /// The folder of this kind; empty for the configuration, which lies at the top.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Config => "",
            Self::Key => "keys",
            Self::Pack => "packs",
            Self::Index => "index",
            Self::Snapshot => "snapshots",
            Self::Abandoned => "abandoned",
            Self::Forgotten => "forgotten",
            Self::Session => "sessions",
            Self::Gc => "gc",
        }
    }
}

/// The name of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// What it is for.
    pub kind: ObjectKind,
    /// Its id; zero for the configuration.
    pub id: Id,
}

impl ObjectName {
    /// The configuration.
    pub const CONFIG: Self = Self { kind: ObjectKind::Config, id: Id([0; 32]) };

    /// Names an object; the configuration has no id, so that any given for it is dropped.
    pub fn new(kind: ObjectKind, id: Id) -> Self {
        if kind == ObjectKind::Config { Self::CONFIG } else { Self { kind, id } }
    }

    /// Where it lies below the top of a repository, such as `packs/3f/3f…`.
    pub fn path(&self) -> String {
        let folder = self.kind.folder();
        match self.kind {
            ObjectKind::Config => "config".into(),
            ObjectKind::Pack => format!("{folder}/{}/{}", first_two_digits(&self.id), self.id),
            _ => format!("{folder}/{}", self.id),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.path())
    }
}

/// The folder of a pack within `packs/`: no folder then grows to a size that some file systems handle badly.
fn first_two_digits(id: &Id) -> String {
    let [first, ..] = id.0;
    format!("{first:02x}")
}

/// One line of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The object's id.
    pub id: Id,
    /// Its length in bytes.
    pub size: u64,
}

/// A place that keeps objects. All calls may come from many threads at once.
pub trait Backend: Send + Sync {
    /// Stores a new object whole and durably before it returns. Nobody ever sees it in part, and nothing is
    /// overwritten: where an object of this name is already there with the same bytes, that is success.
    ///
    /// # Errors
    /// `Corrupt` where an object of this name holds other bytes; `NoSpace` where the store is full. After any
    /// other error the object may be there, whole, or not.
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()>;

    /// Reads a whole object.
    ///
    /// # Errors
    /// `Missing` where there is none; `Corrupt`, before anything is allocated, where it is larger than `limit`.
    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>>;

    /// Reads exactly `length` bytes from `offset` on.
    ///
    /// # Errors
    /// `Missing` where there is no such object; `Corrupt`, before anything is allocated, where it is shorter
    /// than that.
    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>>;

    /// What the stretches that are asked for are multiples of, so that whoever sees the requests does not learn where
    /// frames start and end. One byte where nobody sees them.
    fn alignment(&self) -> u64 {
        BLOCK
    }

    /// The length of an object in bytes.
    ///
    /// # Errors
    /// `Missing` where there is none.
    fn size(&self, name: &ObjectName) -> Result<u64>;

    /// All objects of a kind, sorted by id. Files that are no objects are left out.
    ///
    /// # Errors
    /// Whatever keeps the listing from being complete; an error is never an empty list.
    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>>;

    /// Deletes an object; that there is none is success. Should the power fail, nothing deleted is back while
    /// a later put or delete of another kind holds.
    fn delete(&self, name: &ObjectName) -> Result<()>;

    /// Removes what crashed writers left half-written, and nothing that a living one writes; gives how many files
    /// and how many bytes.
    fn remove_leftovers(&self) -> Result<(u64, u64)> {
        Ok((0, 0))
    }

    /// The place, in words for a person.
    fn location(&self) -> String;
}

/// The words that all backends share, so that a person meets one message for one fault.
fn missing(name: &ObjectName) -> Error {
    Error::missing(format!("{name} is not in the repository"))
}

fn holds_other_bytes(name: &ObjectName) -> Error {
    Error::corrupt(format!("{name} is already stored with other bytes")).hint("run `strongroom check`")
}

fn too_large(name: &ObjectName, size: u64, limit: u64) -> Error {
    Error::corrupt(format!("{name} has {size} bytes, which is more than the {limit} it may have"))
}

fn too_short(name: &ObjectName, size: u64, offset: u64, length: u64) -> Error {
    Error::corrupt(format!(
        "{name} has {size} bytes, which is shorter than what is sought: {length} from {offset} on"
    ))
}
