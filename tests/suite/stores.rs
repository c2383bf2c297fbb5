//! Stores for tests, all over one in memory: what they do to the calls that go through them, and a repository small
//! enough for thousands of cases.

pub(crate) mod fault;
pub(crate) mod small;

use std::collections::BTreeMap;
use std::fmt;

use strongroom::backend::{MemoryBackend, ObjectKind, ObjectName};

/// Everything in a store.
pub(crate) type Image = BTreeMap<ObjectName, Vec<u8>>;

/// One call of a backend.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Call {
    Put(ObjectName),
    Get(ObjectName),
    Range(ObjectName),
    Size(ObjectName),
    List(ObjectKind),
    Delete(ObjectName),
}

impl Call {
    /// What it does, as a word.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Self::Put(_) => "PUT",
            Self::Get(_) => "GET",
            Self::Range(_) => "RANGE",
            Self::Size(_) => "SIZE",
            Self::List(_) => "LIST",
            Self::Delete(_) => "DELETE",
        }
    }

    /// The kind of object it is about.
    pub(crate) fn kind(&self) -> ObjectKind {
        match self {
            Self::List(kind) => *kind,
            Self::Put(name) | Self::Get(name) | Self::Range(name) | Self::Size(name) | Self::Delete(name) => {
                name.kind
            }
        }
    }

    /// Whether it can change the store.
    pub(crate) fn changes(&self) -> bool {
        matches!(self, Self::Put(_) | Self::Delete(_))
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = match self.kind() {
            ObjectKind::Config => "config",
            kind => kind.folder(),
        };
        match self {
            Self::List(_) => write!(formatter, "{} {folder}/", self.verb()),
            Self::Put(name) | Self::Get(name) | Self::Range(name) | Self::Size(name) | Self::Delete(name) => {
                write!(formatter, "{} {folder}/{}", self.verb(), name.id.short())
            }
        }
    }
}

/// A store of its own that holds this.
pub(crate) fn store_of(image: &Image) -> MemoryBackend {
    let store = MemoryBackend::new();
    for (name, bytes) in image {
        store.replace(name, bytes.clone());
    }
    store
}
