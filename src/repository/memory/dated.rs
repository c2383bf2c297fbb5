//! What is dated back: a snapshot that comes to be listed, and says that it was finished long before the last time that
//! all of them were listed from here, was not there then.
//!
//! Only what a key of role backup wrote is held against a listing: whoever copies with another key brings old snapshots in
//! good faith. What was made from a snapshot that is dated back is dated back as well, whoever made it: tags make nothing
//! true. Of a key of which nothing was seen before, everything is new, and it takes no other's place.
//!
//! Invariants: a listing is held only against what comes from the same location, for a mirror may be behind. One that was
//! noted by a clock that ran ahead says nothing any more once the clock shows an earlier time.

use std::collections::{BTreeSet, HashMap, HashSet};

use minicbor::{Decode, Encode};

use super::{Memory, SEEN_MAX, SLACK, Seen};
use crate::format::key_slot::Role;
use crate::format::node::Timestamp;
use crate::format::snapshot::Original;
use crate::id::Id;
use crate::repository::snapshot::Snapshot;

/// So many seconds after a listing the next one is noted: each note is written whole.
const NOTED_AFTER: i64 = 3_600;
/// So many locations are remembered, those last listed.
const LOCATIONS_MAX: usize = 16;
/// So many keys are remembered.
const WRITERS_MAX: usize = 1 << 12;

/// When the snapshots of a location were last listed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Listing {
    /// A keyed hash of the location.
    #[n(0)]
    location: Id,
    #[n(1)]
    began: Timestamp,
}

/// Between which listings an object came that could not be read: it was there all the same.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Unread {
    /// The last one without it.
    #[n(0)]
    after: Option<Timestamp>,
    /// The first one with it.
    #[n(1)]
    by: Timestamp,
}

impl Seen {
    /// Whether it was not there when it should have been, by a listing that still says something.
    fn is_unseen(&self, now: Timestamp) -> bool {
        self.unseen == Some(true) && self.against.is_none_or(|against| against <= now)
    }

    /// What is noted of it for good.
    pub(super) fn verdict(&self, now: Timestamp) -> Option<bool> {
        self.unseen.filter(|unseen| !unseen || self.is_unseen(now))
    }
}

impl Memory {
    /// When this location was last listed. A clock that was turned back since says nothing of what came meanwhile; nor
    /// does a memory that is full.
    pub(super) fn edge(&self, location: &Id, now: Timestamp) -> Option<Timestamp> {
        let listing = self.listings.iter().find(|listing| listing.location == *location)?;
        Some(listing.began).filter(|began| *began <= now && self.seen.len() < SEEN_MAX)
    }

    /// What of these was not there when it should have been, by what was known before they were listed.
    pub(in crate::repository) fn unseen(
        &self,
        snapshots: &[Snapshot],
        location: &Id,
        now: Timestamp,
    ) -> BTreeSet<Id> {
        let known: HashMap<&Id, &Seen> = self.seen.iter().map(|seen| (&seen.id, seen)).collect();
        let writers: HashSet<&Id> = self.writers.iter().collect();
        let edge = self.edge(location, now);
        let is_late = |snapshot: &&Snapshot| {
            let known_one = known.get(&snapshot.id);
            if let Some(unseen) = known_one.and_then(|seen| seen.unseen) {
                return unseen && known_one.is_some_and(|seen| seen.is_unseen(now));
            }
            if self.inherits(snapshot.original(), now) {
                return true;
            }
            let is_held = snapshot.writer_role < Role::Maintain && writers.contains(&Id(snapshot.writer));
            let finished = snapshot.manifest.finished.seconds;
            let before = |edge: Timestamp| finished < edge.seconds.saturating_sub(SLACK);
            let (after, by) = match known_one {
                None => (edge, None),
                Some(seen) => {
                    let unread = seen.unread.as_ref();
                    (unread.and_then(|unread| unread.after), unread.map(|unread| unread.by))
                }
            };
            // What lay there before it says that it was finished is another than what lies there now.
            let beyond = |by: Timestamp| finished > by.seconds.saturating_add(SLACK);
            is_held && (after.is_some_and(before) || by.is_some_and(beyond))
        };
        snapshots.iter().filter(is_late).map(|snapshot| snapshot.id).collect()
    }

    /// Whether what it was made from was dated back.
    pub(super) fn inherits(&self, original: Option<&Original>, now: Timestamp) -> bool {
        original.is_some_and(|original| {
            let made_from = |seen: &&Seen| seen.id == original.made_from || seen.id == original.snapshot;
            self.seen.iter().filter(made_from).any(|seen| seen.is_unseen(now))
        })
    }

    /// Takes note of when a listing began that found something.
    pub(super) fn note_listing(&mut self, location: &Id, began: Timestamp) {
        let known = self.listings.iter().find(|listing| listing.location == *location);
        let passed = known.map(|listing| began.seconds.saturating_sub(listing.began.seconds));
        if passed.is_some_and(|passed| (0..NOTED_AFTER).contains(&passed)) {
            return;
        }
        self.listings.retain(|listing| listing.location != *location);
        let more = self.listings.len().saturating_add(1).saturating_sub(LOCATIONS_MAX);
        self.listings.drain(..more);
        self.listings.push(Listing { location: *location, began });
    }

    /// Takes note of the keys that wrote these.
    pub(super) fn note_writers(&mut self, snapshots: &[Snapshot]) {
        let mut known: HashSet<Id> = self.writers.iter().copied().collect();
        for snapshot in snapshots {
            if self.writers.len() < WRITERS_MAX && known.insert(Id(snapshot.writer)) {
                self.writers.push(Id(snapshot.writer));
            }
        }
    }

    /// An object that cannot be read, seen for the first time.
    pub(super) fn unread(&self, id: &Id, location: &Id, began: Timestamp) -> Seen {
        let unread = Unread { after: self.edge(location, began), by: began };
        Seen { id: *id, unread: Some(unread), ..Seen::default() }
    }
}
