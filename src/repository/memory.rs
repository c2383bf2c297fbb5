//! What a computer remembers of the snapshots that it saw, so that whoever holds the store cannot delete one unnoticed.
//!
//! Every listing of snapshots is held against what was seen before: one that is neither listed nor forgotten by a mark
//! that verifies has vanished. A mark ends that, for it says that somebody with a maintain key agrees.
//!
//! The same memory tells what is [`dated`] back.
//!
//! Invariants: what was seen is only ever added to, and what is forgotten taken out; a listing that fails changes nothing.
//! The memory lies in the cache, sealed, and no error of the cache is an error of the command.

mod dated;

use std::collections::{BTreeSet, HashMap, HashSet};

use minicbor::{Decode, Encode};

use super::Repository;
use super::cache::Cache;
use super::host;
use super::kept::Kept;
use super::snapshot::{Snapshot, Snapshots};
use crate::backend::ObjectKind;
use crate::crypto::derive::{self, Purpose};
use crate::format::cbor;
use crate::format::node::Timestamp;
use crate::format::snapshot::Manifest;
use crate::id::Id;
use crate::report::{Finding, Reporter, printable};
use dated::{Listing, Unread};

/// So many snapshots are remembered. Those seen first stay, so that nobody makes a computer forget them by adding more.
const SEEN_MAX: usize = 1 << 17;

/// So many bytes of a host's name are remembered.
const HOST_MAX: usize = 64;

/// So many seconds before the last listing a snapshot may say that it was finished, for clocks differ and stores are slow.
const SLACK: i64 = 86_400;

/// So many objects that cannot be read are remembered of one listing: whoever may write to a store can fill it with junk.
const UNREAD_MAX: usize = 1 << 10;

/// So many vanished snapshots are named one by one.
const NAMED_MAX: usize = 20;

/// A snapshot that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct Seen {
    #[n(0)]
    id: Id,
    #[n(1)]
    time: Timestamp,
    #[n(2)]
    host: String,
    /// Whether it is told that it vanished.
    #[n(3)]
    told: bool,
    /// Whether it was not there when it should have been; nothing where that is not known yet.
    #[n(4)]
    unseen: Option<bool>,
    /// The listing that it was not in.
    #[n(5)]
    against: Option<Timestamp>,
    /// Since when it is there and cannot be read.
    #[n(6)]
    unread: Option<Unread>,
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Memory {
    #[n(0)]
    seen: Vec<Seen>,
    /// When each location was last listed.
    #[n(2)]
    listings: Vec<Listing>,
    /// The keys of which snapshots were seen.
    #[n(3)]
    writers: Vec<Id>,
}

/// A snapshot that was there and is not, though nobody forgot it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vanished {
    /// Its id.
    pub id: Id,
    /// When its backup began.
    pub time: Timestamp,
    /// The host that it was of.
    pub host: String,
    /// Whether a command has told it before.
    pub told: bool,
}

impl Vanished {
    /// What to tell of it.
    pub fn finding(&self) -> Finding {
        let nanoseconds = i32::try_from(self.time.nanoseconds).unwrap_or(0);
        let date = jiff::Timestamp::new(self.time.seconds, nanoseconds)
            .map_or_else(|_| self.time.seconds.to_string(), |time| time.strftime("%Y-%m-%d").to_string());
        let of = if self.host.is_empty() {
            String::new()
        } else {
            format!(" of {} of {date}", printable(self.host.as_bytes()))
        };
        let short = self.id.short();
        let cause = "vanished without having been forgotten; whoever holds the store deleted it";
        Finding::problem(format!("snapshot {short}{of}"), cause).with_hint(format!(
            "restore the object snapshots/{} from a copy of the repository, or accept the loss by `strongroom forget {short}`",
            self.id
        ))
    }
}

impl Memory {
    /// What was seen and is neither listed nor forgotten.
    pub(super) fn vanished(&self, listed: &[Id], forgotten: &HashSet<Id>) -> Vec<Vanished> {
        let listed: HashSet<&Id> = listed.iter().collect();
        let gone =
            self.seen.iter().filter(|seen| !listed.contains(&seen.id) && !forgotten.contains(&seen.id));
        gone.map(|seen| {
            let Seen { id, time, host, told, .. } = seen.clone();
            Vanished { id, time, host, told }
        })
        .collect()
    }

    /// Takes in what a listing of a location found that began at this time.
    pub(super) fn listed(
        &mut self,
        found: &Snapshots,
        forgotten: &HashSet<Id>,
        location: &Id,
        began: Timestamp,
    ) {
        self.seen.retain(|seen| !forgotten.contains(&seen.id));
        let edge = self.edge(location, began);
        let noted: HashMap<Id, Seen> = self.seen.iter().map(|seen| (seen.id, seen.clone())).collect();
        let read = found.snapshots.iter().map(|snapshot| {
            let noted = noted.get(&snapshot.id);
            let new = found.unseen.contains(&snapshot.id);
            // What was noted of one stays: this computer may have made it while it was listed.
            let (unseen, against) = match noted.and_then(|noted| noted.verdict(began)) {
                Some(unseen) => (unseen, noted.and_then(|noted| noted.against)),
                None => (new, edge.filter(|_| new)),
            };
            Seen { unseen: Some(unseen), against, ..seen(&snapshot.id, &snapshot.manifest) }
        });
        let unread = found.damaged.iter().filter(|(kind, id, _)| {
            *kind == ObjectKind::Snapshot && !forgotten.contains(id) && !noted.contains_key(id)
        });
        let unread: Vec<Seen> =
            unread.take(UNREAD_MAX).map(|(_, id, _)| self.unread(id, location, began)).collect();
        self.add(read.chain(unread));
        self.note_writers(&found.snapshots);
        if !found.snapshots.is_empty() {
            self.note_listing(location, began);
        }
    }

    fn add(&mut self, new: impl Iterator<Item = Seen>) {
        let places: HashMap<Id, usize> =
            self.seen.iter().enumerate().map(|(place, seen)| (seen.id, place)).collect();
        for new in new {
            let place = places.get(&new.id).copied().unwrap_or(usize::MAX);
            if let Some(seen) = self.seen.get_mut(place) {
                *seen = new;
            } else if self.seen.len() < SEEN_MAX {
                self.seen.push(new);
            }
        }
    }
}

fn seen(id: &Id, manifest: &Manifest) -> Seen {
    let end = manifest.host.floor_char_boundary(HOST_MAX);
    let host = manifest.host.get(..end).unwrap_or_default().to_owned();
    Seen { id: *id, time: manifest.time, host, ..Seen::default() }
}

impl Repository {
    /// Tells of each vanished snapshot once. A check tells all of them every time.
    pub fn tell_vanished(&self, found: &Snapshots, reporter: &dyn Reporter) {
        let new: Vec<&Vanished> = found.vanished.iter().filter(|vanished| !vanished.told).collect();
        for vanished in new.iter().take(NAMED_MAX) {
            reporter.report(vanished.finding());
        }
        if let Some(more) = new.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
            let cause = "vanished as well; `strongroom check` names all of them";
            reporter.report(Finding::problem(format!("{more} more snapshots"), cause));
        }
        let told: HashSet<Id> = new.iter().map(|vanished| vanished.id).collect();
        if !told.is_empty() {
            self.update(|memory| {
                for seen in memory.seen.iter_mut().filter(|seen| told.contains(&seen.id)) {
                    seen.told = true;
                }
            });
        }
    }

    /// What was seen before; nothing where nothing is to be remembered.
    pub(super) fn seen(&self) -> Memory {
        self.memory_cache().map(|cache| self.read_memory(&cache)).unwrap_or_default()
    }

    /// What was dated back when it came to be listed, by what was known before.
    pub(super) fn unseen(&self, seen: &Memory, snapshots: &[Snapshot], began: Timestamp) -> BTreeSet<Id> {
        seen.unseen(snapshots, &self.location_name(), began)
    }

    /// Remembers what a listing found that began at this time.
    pub(super) fn remember(&self, found: &Snapshots, forgotten: &HashSet<Id>, began: Timestamp) {
        let location = self.location_name();
        self.update(|memory| memory.listed(found, forgotten, &location, began));
    }

    /// Remembers a snapshot that this command made.
    pub(super) fn remember_one(&self, id: &Id, manifest: &Manifest) {
        self.update(|memory| {
            let unseen = Some(memory.inherits(manifest.original.as_ref(), host::now()));
            memory.add(std::iter::once(Seen { unseen, ..seen(id, manifest) }));
        });
    }

    /// Takes snapshots that are dated back for what they say: from now on they count. Gives whether that is remembered.
    pub fn accept_dated_back(&self, ids: &[Id]) -> bool {
        self.update(|memory| {
            for seen in memory.seen.iter_mut().filter(|seen| ids.contains(&seen.id)) {
                (seen.unseen, seen.against) = (Some(false), None);
            }
        });
        let accepted = |seen: &Seen| seen.unseen == Some(false);
        let memory = self.seen();
        ids.iter().all(|id| memory.seen.iter().any(|seen| seen.id == *id && accepted(seen)))
    }

    /// Changes what is remembered, while no other command does.
    fn update(&self, change: impl FnOnce(&mut Memory)) {
        let Some(cache) = self.memory_cache() else { return };
        let Ok(_lock) = cache.lock("notes.lock") else { return };
        let before = self.read_memory(&cache);
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return;
        }
        let kept = cbor::encode(&after).and_then(|note| cache.keep_note(self, &self.memory_name(), &note));
        if kept.is_err() {
            // The next listing tries again; until then less is noticed.
        }
    }

    fn read_memory(&self, cache: &Cache) -> Memory {
        let note = cache.note(self, &self.memory_name());
        note.and_then(|note| cbor::decode(&note, "memory of snapshots").ok()).unwrap_or_default()
    }

    pub(super) fn memory_cache(&self) -> Option<Cache> {
        Cache::open(self.memory.as_ref()?, self.id()).ok()
    }

    /// Where bytes of the store are kept; nothing where nothing is to be remembered.
    pub(super) fn kept(&self) -> Option<Kept> {
        Kept::open(&self.memory_cache()?.folder)
    }

    /// What a location is remembered by.
    fn location_name(&self) -> Id {
        derive::keyed_hash(&self.keyring.key(Purpose::Cache), self.backend.location().as_bytes())
    }

    fn memory_name(&self) -> Id {
        derive::keyed_hash(&self.keyring.key(Purpose::Cache), b"snapshots that were seen")
    }
}
