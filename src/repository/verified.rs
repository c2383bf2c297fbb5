//! When each pack was last read whole on this computer, so that nightly checks of a part come round to all of them.
//!
//! Invariants: only a pack that was found whole counts as read, and one found damaged does not until it is found whole; that it
//! was damaged is remembered, so that it takes nobody's turn. The memory lies in the cache, sealed; losing it costs reading, and no error of the cache is an error of the command.

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
    /// Packs that were not whole when they were read last; nothing where there are none.
    #[n(1)]
    damaged: Option<Vec<Id>>,
}

/// What is remembered of packs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdicts {
    /// When each pack was last read whole, in seconds.
    pub(crate) whole: HashMap<Id, i64>,
    /// Packs that were not whole when they were read last.
    pub(crate) damaged: HashSet<Id>,
}

/// What a check found of the packs that it read.
pub(crate) struct JustRead<'a> {
    /// Whole ones.
    pub(crate) whole: &'a [Id],
    /// Damaged ones.
    pub(crate) damaged: &'a [Id],
    /// The packs that are listed, or that the index names: the others need no memory. In a night in which a disk is not
    /// mounted, or an index object cannot be read, one of the two is short.
    pub(crate) known: &'a HashSet<Id>,
    /// The second in which they were read.
    pub(crate) now: i64,
}

impl Repository {
    /// What reading packs came to here; nothing where nothing is to be remembered.
    pub(crate) fn verified(&self) -> Option<Verdicts> {
        self.memory_cache().map(|cache| self.read_verified(&cache))
    }

    /// Remembers what was read; says whether that is kept.
    pub(crate) fn remember_verified(&self, read: &JustRead<'_>) -> bool {
        let Some(cache) = self.memory_cache() else { return false };
        let Ok(_lock) = cache.lock(LOCK) else { return false };
        let Verdicts { mut whole, mut damaged } = self.read_verified(&cache);
        whole.extend(read.whole.iter().map(|pack| (*pack, read.now)));
        let just_whole: HashSet<&Id> = read.whole.iter().collect();
        damaged.extend(read.damaged);
        damaged.retain(|pack| read.known.contains(pack) && !just_whole.contains(pack));
        whole.retain(|pack, _| read.known.contains(pack) && !damaged.contains(pack));
        let mut packs: Vec<(Id, i64)> = whole.into_iter().collect();
        packs.sort_unstable();
        let mut damaged: Vec<Id> = damaged.into_iter().collect();
        damaged.sort_unstable();
        let note =
            cbor::encode(&Verified { packs, damaged: Some(damaged).filter(|packs| !packs.is_empty()) });
        note.and_then(|note| cache.keep_note(self, &self.verified_name(), &note)).is_ok()
    }

    fn read_verified(&self, cache: &Cache) -> Verdicts {
        let note = cache.note(self, &self.verified_name());
        let read = note.and_then(|note| cbor::decode::<Verified>(&note, "memory of packs").ok());
        let Verified { packs, damaged } = read.unwrap_or_default();
        Verdicts { whole: packs.into_iter().collect(), damaged: damaged.into_iter().flatten().collect() }
    }

    fn verified_name(&self) -> Id {
        derive::keyed_hash(&self.keyring.key(Purpose::Cache), b"packs that were read whole")
    }
}
