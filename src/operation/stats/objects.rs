//! What lies in the store, part by part.
//!
//! Invariant: the parts of the packs add up to the packs, and all kinds to the store.

use std::collections::{HashMap, HashSet};

use crate::backend::{ObjectKind, ObjectName};
use crate::crypto::seal::OBJECT_OVERHEAD;
use crate::error::Result;
use crate::format::header::HEADER_LEN;
use crate::format::pack::{ENTRY_LEN, ENVELOPE_LEN, TABLE_HEAD_LEN, TRAILER_LEN};
use crate::id::Id;
use crate::repository::Repository;
use crate::repository::index::Index;

/// A number of objects or blobs, and their bytes in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// How many.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Stored {
    pub(super) fn add(&mut self, bytes: u64) {
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What lies in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Objects of each kind.
    pub kinds: Vec<(ObjectKind, Stored)>,
    /// All blobs in packs that the index names.
    pub blobs: Stored,
    /// Headers, tables and trailers of packs.
    pub tables_bytes: u64,
    /// What packs are filled up with.
    pub padding_bytes: u64,
    /// Packs that no index names.
    pub unindexed: Stored,
}

impl Objects {
    /// All of it, in bytes.
    pub fn bytes(&self) -> u64 {
        self.kinds.iter().fold(0, |sum, (_, stored)| sum.saturating_add(stored.bytes))
    }

    /// Objects of a kind.
    pub fn kind(&self, kind: ObjectKind) -> Stored {
        let found = self.kinds.iter().find(|(other, _)| *other == kind);
        found.map_or_else(Stored::default, |(_, stored)| *stored)
    }

    /// Counts; the index has to be one over `packs`.
    pub(super) fn count(repository: &Repository, packs: &HashMap<Id, u64>, index: &Index) -> Result<Self> {
        let mut objects = Self::default();
        for kind in ObjectKind::ALL {
            let mut stored = Stored::default();
            match kind {
                ObjectKind::Config => stored.add(repository.backend().size(&ObjectName::CONFIG)?),
                ObjectKind::Pack => packs.values().for_each(|size| stored.add(*size)),
                kind => repository.backend().list(kind)?.iter().for_each(|listed| stored.add(listed.size)),
            }
            objects.kinds.push((kind, stored));
        }
        let named: HashSet<&Id> = index.packs().iter().map(|pack| &pack.id).collect();
        for (_, size) in packs.iter().filter(|(id, _)| !named.contains(id)) {
            objects.unindexed.add(*size);
        }
        let mut envelopes = HashSet::new();
        for place in index.all() {
            let (_, place) = place?;
            objects.blobs.add(u64::from(place.stored_length));
            envelopes.insert((place.pack, place.envelope));
        }
        let around = HEADER_LEN
            .saturating_add(OBJECT_OVERHEAD)
            .saturating_add(TABLE_HEAD_LEN)
            .saturating_add(TRAILER_LEN);
        let parts = [(named.len(), around), (envelopes.len(), ENVELOPE_LEN)];
        let tables = parts.iter().map(|(count, length)| (*count as u64).saturating_mul(*length as u64));
        let entries = objects.blobs.count.saturating_mul(ENTRY_LEN as u64);
        objects.tables_bytes = tables.fold(entries, u64::saturating_add);
        let indexed = objects.kind(ObjectKind::Pack).bytes.saturating_sub(objects.unindexed.bytes);
        objects.padding_bytes =
            indexed.saturating_sub(objects.blobs.bytes).saturating_sub(objects.tables_bytes);
        Ok(objects)
    }
}
