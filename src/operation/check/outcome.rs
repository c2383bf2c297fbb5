//! What a check came to.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::faults::{REPAIR_INDEX, in_order};
use crate::id::Id;
use crate::report::Damage;

/// What a check came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Snapshots checked.
    pub snapshots: u64,
    /// Packs listed.
    pub packs: u64,
    /// Blobs that the index names.
    pub blobs: u64,
    /// Packs read whole.
    pub packs_read: u64,
    /// Bytes read from packs.
    pub bytes_read: u64,
    /// How far all packs have been read, where any were read.
    pub read: Option<Read>,
    /// What is wrong.
    pub problems: u64,
    /// Packs that are damaged.
    pub broken_packs: Vec<Id>,
    /// Objects that are damaged or missing.
    pub damaged: Vec<String>,
    /// Snapshots that suffer.
    pub suffering: BTreeSet<Id>,
    /// Whether `repair index` mends something.
    pub suggest_repair_index: bool,
    /// Whether a prune has something to delete that it began to.
    pub suggest_prune: bool,
    /// The commands that mend what they can without losing anything, in this order.
    pub mend: Vec<String>,
    /// The commands that give up the rest, in this order: the last resort, behind the others.
    pub give_up: Vec<String>,
}

/// How far the packs that the index names have been read, by this check and by earlier ones of this computer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// How many there are.
    pub packs: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// What is remembered of them; nothing where nothing can be.
    pub remembered: Option<Remembered>,
}

/// What is remembered of earlier readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Packs that were never read whole.
    pub never: u64,
    /// When the pack was read, of all that were, that was read longest ago; in seconds.
    pub oldest: Option<i64>,
}

impl Read {
    pub(super) fn of(present: &HashSet<Id>, bytes: u64, verified: Option<&HashMap<Id, i64>>) -> Self {
        let remembered = verified.map(|verified| Remembered {
            never: present.iter().filter(|pack| !verified.contains_key(*pack)).count() as u64,
            oldest: present.iter().filter_map(|pack| verified.get(pack)).min().copied(),
        });
        Self { packs: present.len() as u64, bytes, remembered }
    }

    /// Since when every pack has been read whole, in seconds.
    pub fn complete_since(&self) -> Option<i64> {
        self.remembered.filter(|remembered| remembered.never == 0)?.oldest
    }
}

impl Summary {
    /// Where it is doubted that all of it is damage, nothing is said to mend it.
    pub(super) fn finish(&mut self, damages: &[Damage], doubted: bool) {
        self.broken_packs.sort_unstable();
        self.broken_packs.dedup();
        let objects = damages.iter().map(|damage| damage.object.clone()).filter(|object| !object.is_empty());
        self.damaged = objects.collect();
        if !doubted {
            (self.mend, self.give_up) = in_order(damages);
        }
        self.suggest_repair_index = self.mend.iter().any(|command| command.starts_with(REPAIR_INDEX));
    }
}
