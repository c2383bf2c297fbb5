//! What a computer remembers of the snapshots that it saw, so that whoever holds the store cannot delete one unnoticed.
//!
//! Every listing of snapshots is held against what was seen before: one that is neither listed nor forgotten by a mark
//! that verifies has vanished. A mark ends that, for it says that somebody with a maintain key agrees.
//!
//! The same memory tells what is dated back: a snapshot that comes to be listed, and says that it was finished long before
//! the last time that all of them were listed from here, was not there then. Only what a key of role backup wrote is
//! looked at so: whoever copies or tags with another key brings old snapshots in good faith.
//!
//! Invariants: what was seen is only ever added to, and what is forgotten taken out; a listing that fails changes nothing.
//! The memory lies in the cache, sealed, and no error of the cache is an error of the command.

use std::collections::{BTreeSet, HashMap, HashSet};

use minicbor::{Decode, Encode};

use super::Repository;
use super::cache::Cache;
use super::kept::Kept;
use super::snapshot::{Snapshot, Snapshots};
use crate::backend::ObjectKind;
use crate::crypto::derive::{self, Purpose};
use crate::format::cbor;
use crate::format::key_slot::Role;
use crate::format::node::Timestamp;
use crate::format::snapshot::Manifest;
use crate::id::Id;
use crate::report::{Finding, Reporter, printable};

/// So many snapshots are remembered. Those seen first stay, so that nobody makes a computer forget them by adding more.
const SEEN_MAX: usize = 1 << 17;

/// So many bytes of a host's name are remembered.
const HOST_MAX: usize = 64;

/// So many seconds before the last listing a snapshot may say that it was finished, for clocks differ and stores are slow.
const SLACK: i64 = 86_400;

/// So many seconds after a listing the next one is noted: each note is written whole.
const NOTED_AFTER: i64 = 3_600;

/// So many vanished snapshots are named one by one.
const NAMED_MAX: usize = 20;

/// A snapshot that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
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
    /// Whether it was not there when it should have been.
    #[n(4)]
    unseen: Option<bool>,
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Memory {
    #[n(0)]
    seen: Vec<Seen>,
    /// When the snapshots were last listed and could all be read.
    #[n(1)]
    listed: Option<Timestamp>,
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

    /// What of these was not there when it should have been, by what was known before they were listed.
    pub(super) fn unseen(&self, snapshots: &[Snapshot], now: Timestamp) -> BTreeSet<Id> {
        let known: HashMap<&Id, bool> =
            self.seen.iter().map(|seen| (&seen.id, seen.unseen == Some(true))).collect();
        // A clock that was turned back since says nothing of what came meanwhile; nor does a memory that is full.
        let edge = self.listed.filter(|listed| *listed <= now && self.seen.len() < SEEN_MAX);
        let is_late = |snapshot: &&Snapshot| match (known.get(&snapshot.id), edge) {
            (Some(unseen), _) => *unseen,
            (None, Some(edge)) => {
                let least = edge.seconds.saturating_sub(SLACK);
                snapshot.writer_role < Role::Maintain && snapshot.manifest.finished.seconds < least
            }
            (None, None) => false,
        };
        snapshots.iter().filter(is_late).map(|snapshot| snapshot.id).collect()
    }

    /// Takes note of when a listing began in which everything could be read.
    fn note_listing(&mut self, began: Timestamp) {
        let known = self.listed.map(|listed| began.seconds.saturating_sub(listed.seconds));
        if known.is_none_or(|passed| !(0..NOTED_AFTER).contains(&passed)) {
            self.listed = Some(began);
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
    Seen { id: *id, time: manifest.time, host, told: false, unseen: None }
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

    /// Remembers what a listing found that began at this time.
    pub(super) fn remember(&self, found: &Snapshots, forgotten: &HashSet<Id>, began: Timestamp) {
        self.update(|memory| {
            memory.seen.retain(|seen| !forgotten.contains(&seen.id));
            // What was noted of one stays: this computer may have made it while it was listed.
            let noted: HashMap<Id, Option<bool>> =
                memory.seen.iter().map(|seen| (seen.id, seen.unseen)).collect();
            memory.add(found.snapshots.iter().map(|snapshot| {
                let now = found.unseen.contains(&snapshot.id).then_some(true);
                let unseen = noted.get(&snapshot.id).copied().unwrap_or(now);
                Seen { unseen, ..seen(&snapshot.id, &snapshot.manifest) }
            }));
            // One that cannot be read now may come to be read later, and was there all the same.
            if found.damaged.iter().all(|(kind, ..)| *kind != ObjectKind::Snapshot) {
                memory.note_listing(began);
            }
        });
    }

    /// Remembers a snapshot that this command made.
    pub(super) fn remember_one(&self, id: &Id, manifest: &Manifest) {
        self.update(|memory| memory.add(std::iter::once(seen(id, manifest))));
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

    fn memory_name(&self) -> Id {
        derive::keyed_hash(&self.keyring.key(Purpose::Cache), b"snapshots that were seen")
    }
}
