//! Which snapshots are in order, and so may be the reason that another goes.
//!
//! Follows `format-spec/11-ordering.md#retention`. Numbers of one key rise, and with them the times at which its
//! snapshots were finished; within a group the times at which they began rise as well, while backups of two groups may
//! overlap. Who steals a key can only add numbers above those that are there: a lower one is known to be used, by a
//! snapshot or by the mark of one that is forgotten. So the lowest numbers come first, and whatever contradicts them
//! is the one that is out of order.
//!
//! Invariant: no answer is the reason to forget anything. Out of order means kept, and not counted. An answer does not
//! change because others were forgotten: their marks say when they were finished, so that a forged snapshot does not come
//! into order once those are gone that it contradicts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::group::{GroupBy, GroupKey};
use crate::format::key_slot::Role;
use crate::format::marks::UsedNumber;
use crate::format::node::Timestamp;
use crate::id::Id;
use crate::repository::snapshot::{Origin, Snapshot};

/// How a snapshot stands to the others of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In order.
    InOrder,
    /// Its time lies ahead of now.
    Future,
    /// Its number is higher than that of one that is not older.
    Late {
        /// Its number.
        number: u64,
        /// The number of the one that is in order.
        after: u64,
    },
    /// This computer listed the snapshots long after it says that it was finished, and it was not there.
    Unseen,
    /// Another snapshot of its key has its number.
    Shared {
        /// The number.
        number: u64,
    },
    /// Its number was that of another snapshot, which is forgotten.
    Used {
        /// The number.
        number: u64,
    },
}

/// Where a snapshot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// How it stands to the others of its key.
    pub standing: Standing,
    /// The point in time for which it stands: when it began, but with a key of role backup not before the one before it
    /// was finished. Who stole such a key could else say of a backup of now that it began a year ago, and have it take
    /// the place of one of then.
    pub moment: Timestamp,
}

/// The last snapshot in order, of a key or of a group.
#[derive(Clone, Copy)]
struct Last {
    number: u64,
    time: Timestamp,
}

/// Says of each snapshot where it stands; `used` are the numbers that forgotten snapshots had, and `unseen` were not there
/// when they should have been.
pub fn judge(
    snapshots: &[Snapshot],
    used: &[UsedNumber],
    unseen: &BTreeSet<Id>,
    now: Timestamp,
) -> Vec<Place> {
    let mut order: Vec<Place> = snapshots
        .iter()
        .map(|snapshot| Place { standing: Standing::InOrder, moment: snapshot.manifest.time })
        .collect();
    let mut keys: HashMap<[u8; 32], BTreeMap<u64, Bearers<'_>>> = HashMap::new();
    for (place, snapshot) in snapshots.iter().enumerate() {
        let Origin { writer, sequence, .. } = snapshot.origin();
        let numbers = keys.entry(writer).or_default();
        numbers.entry(sequence).or_default().live.push((place, snapshot));
    }
    for number in used {
        // A key of which nothing is left has nothing to be judged.
        if let Some(numbers) = keys.get_mut(&number.writer) {
            numbers.entry(number.sequence).or_default().forgotten.push(number);
        }
    }
    let trusted = trusted(snapshots);
    for (writer, numbers) in &keys {
        let trusted = trusted.contains(writer);
        let mut key = Key { now, trusted, unseen, finished: None, begun: HashMap::new() };
        for (number, bearers) in numbers {
            key.judge(*number, bearers, &mut order);
        }
    }
    order
}

/// The keys that are known to have another role than backup. Only a backup key lies where it is easily stolen, and whoever
/// has another can forget by himself.
pub(super) fn trusted(snapshots: &[Snapshot]) -> HashSet<[u8; 32]> {
    let higher = snapshots.iter().filter(|snapshot| snapshot.writer_role >= Role::Maintain);
    higher.map(|snapshot| snapshot.writer).collect()
}

/// The snapshots that bear one number, or bore it.
#[derive(Default)]
struct Bearers<'a> {
    live: Vec<(usize, &'a Snapshot)>,
    forgotten: Vec<&'a UsedNumber>,
}

impl Bearers<'_> {
    /// How they stand if nothing but their number is looked at. Copies of one backup share its number.
    fn conflict(&self, number: u64) -> Option<Standing> {
        let origins: Vec<Id> = self.live.iter().map(|(_, snapshot)| snapshot.origin().snapshot).collect();
        let is_all = |id: &Id| origins.iter().all(|origin| origin == id);
        if !origins.first().is_none_or(is_all) {
            return Some(Standing::Shared { number });
        }
        let used = self.forgotten.iter().any(|mark| !is_all(&mark.snapshot));
        used.then_some(Standing::Used { number })
    }
}

/// The snapshots of one key, looked at in the order of their numbers.
struct Key<'a> {
    now: Timestamp,
    /// What was not there when it should have been.
    unseen: &'a BTreeSet<Id>,
    /// Whether it is believed about the past.
    trusted: bool,
    /// The last one in order.
    finished: Option<Last>,
    /// The last one in order of each group.
    begun: HashMap<GroupKey, Last>,
}

impl Key<'_> {
    /// Judges those that bear one number, all of them by what came before.
    fn judge(&mut self, number: u64, bearers: &Bearers<'_>, order: &mut [Place]) {
        let conflict = bearers.conflict(number);
        let mut bounds = Vec::new();
        for (place, snapshot) in &bearers.live {
            let standing = self.standing(snapshot, number, conflict);
            // One of those that share a number may be honest: so what follows has to be later than all of them.
            if matches!(standing, Standing::InOrder | Standing::Shared { .. }) {
                bounds.push(*snapshot);
            }
            if let Some(slot) = order.get_mut(*place) {
                let begun = snapshot.manifest.time;
                let bound = self.finished.filter(|_| standing == Standing::InOrder && !self.trusted);
                *slot = Place { standing, moment: bound.map_or(begun, |last| last.time.max(begun)) };
            }
        }
        for snapshot in bounds {
            self.finished = later(self.finished, number, snapshot.manifest.finished);
            let group = GroupBy::default().key(snapshot);
            let begun = later(self.begun.get(&group).copied(), number, snapshot.manifest.time);
            self.begun.extend(begun.map(|last| (group, last)));
        }
        for time in bearers.forgotten.iter().filter_map(|mark| mark.finished) {
            self.finished = later(self.finished, number, time);
        }
    }

    fn standing(&self, snapshot: &Snapshot, number: u64, conflict: Option<Standing>) -> Standing {
        let manifest = &snapshot.manifest;
        if manifest.time > self.now || manifest.finished > self.now {
            return Standing::Future;
        }
        if let Some(conflict) = conflict {
            return conflict;
        }
        if self.unseen.contains(&snapshot.id) {
            return Standing::Unseen;
        }
        let not_later = |last: Option<&Last>, time: Timestamp| last.filter(|last| time <= last.time).copied();
        not_later(self.finished.as_ref(), manifest.finished)
            .or_else(|| not_later(self.begun.get(&GroupBy::default().key(snapshot)), manifest.time))
            .map_or(Standing::InOrder, |last| Standing::Late { number, after: last.number })
    }
}

/// The later of two.
fn later(last: Option<Last>, number: u64, time: Timestamp) -> Option<Last> {
    last.filter(|last| last.time > time).or(Some(Last { number, time }))
}

/// What a snapshot is told apart by among those of its key.
pub(super) fn number_of(snapshot: &Snapshot) -> u64 {
    let Origin { sequence, .. } = snapshot.origin();
    sequence
}
