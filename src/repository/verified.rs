//! When each pack was last read whole on this computer, so that nightly checks of a part come round to all of them.
//!
//! Invariants: only a pack that was found whole is remembered, and one found damaged is forgotten. The memory lies in the
//! cache, sealed; losing it costs reading, and no error of the cache is an error of the command.

use std::collections::{HashMap, HashSet};

use minicbor::{Decode, Encode};

use super::Repository;
use super::cache::Cache;
use crate::crypto::derive::{self, Purpose};
use crate::format::cbor;
use crate::id::Id;

/// The name of the lock that whoever changes a note of the cache takes.
const LOCK: &str = "notes.lock";

#[derive(Default, Encode, Decode)]
#[cbor(array)]
struct Verified {
    /// Packs, and the second in which each was read.
    #[n(0)]
    packs: Vec<(Id, i64)>,
}

/// What a check found of the packs that it read.
pub(crate) struct JustRead<'a> {
    /// Whole ones.
    pub(crate) whole: &'a [Id],
    /// Damaged ones.
    pub(crate) damaged: &'a [Id],
    /// The packs that are there: the others need no memory.
    pub(crate) present: &'a HashSet<Id>,
    /// The second in which they were read.
    pub(crate) now: i64,
}

impl Repository {
    /// When packs were last read whole here, in seconds; nothing where nothing is to be remembered.
    pub(crate) fn verified(&self) -> Option<HashMap<Id, i64>> {
        self.memory_cache().map(|cache| self.read_verified(&cache))
    }

    /// Remembers what was read; says whether that is kept.
    pub(crate) fn remember_verified(&self, read: &JustRead<'_>) -> bool {
        let Some(cache) = self.memory_cache() else { return false };
        let Ok(_lock) = cache.lock(LOCK) else { return false };
        let mut packs = self.read_verified(&cache);
        packs.extend(read.whole.iter().map(|pack| (*pack, read.now)));
        let damaged: HashSet<&Id> = read.damaged.iter().collect();
        packs.retain(|pack, _| read.present.contains(pack) && !damaged.contains(pack));
        let mut packs: Vec<(Id, i64)> = packs.into_iter().collect();
        packs.sort_unstable();
        let note = cbor::encode(&Verified { packs });
        note.and_then(|note| cache.keep_note(self, &self.verified_name(), &note)).is_ok()
    }

    fn read_verified(&self, cache: &Cache) -> HashMap<Id, i64> {
        let note = cache.note(self, &self.verified_name());
        let read = note.and_then(|note| cbor::decode::<Verified>(&note, "memory of packs").ok());
        read.unwrap_or_default().packs.into_iter().collect()
    }

    fn verified_name(&self) -> Id {
        derive::keyed_hash(&self.keyring.key(Purpose::Cache), b"packs that were read whole")
    }
}
