//! What is there and may be relied on: `gc/`, **then** `index/`, **then** `packs/` (`session::usable`).
//!
//! A backup looks so in its step 2, a pruner in its steps 1 and 5.
//!
//! An index object that vanishes between its listing and its reading makes the actor list anew: that is the same as
//! having listed later, so LIST and GET are one step here. A gc record that vanished is passed over, so that its GET
//! is a step of its own.

use super::Protocol;
use super::mutations::Mutation;
use super::set::Set;
use super::state::{Remembered, Store};

/// Where in a look an actor is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum LookStep {
    /// LIST `gc/`.
    #[default]
    ListGc,
    /// GET each gc record that was listed.
    GetGc,
    /// LIST `index/`, and GET every object; where listings take time, the beginning of the listing.
    ListIndex,
    /// The end of a listing of `index/` that takes time.
    EndListIndex,
    /// LIST `packs/`; where listings take time, the beginning of the listing.
    ListPacks,
    /// The end of a listing of `packs/` that takes time.
    EndListPacks,
    /// It has looked.
    Finished,
}

/// Whose look this is: the mutations alter one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looker {
    Backup,
    Pruner,
}

/// One call of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Glance {
    /// The LIST that is next.
    List,
    /// The end of a listing, which shows these objects.
    Shown(Set),
    /// GET of this gc record: it is read, or has vanished.
    Gc(u8),
    /// GET of this gc record: it cannot be read, and the actor goes on.
    UnreadableGc(u8),
}

/// What an actor has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Look {
    pub(super) step: LookStep,
    /// Gc records listed and not read yet.
    unread: Set,
    /// Gc records that were read.
    pub(super) records: Set,
    /// What they condemn.
    pub(super) condemned: Set,
    /// Index objects, or packs, that were there when their listing began.
    listing: Set,
    /// Packs that an index object names.
    pub(super) named: Set,
    /// Packs that were listed.
    pub(super) listed: Set,
}

impl Look {
    pub(super) fn begin(looker: Looker, mutation: Mutation) -> Self {
        let step = match (looker, mutation) {
            (Looker::Backup, Mutation::BackupListsGcLast) | (Looker::Pruner, Mutation::PrunerListsGcLast) => {
                LookStep::ListIndex
            }
            _ => LookStep::ListGc,
        };
        Self { step, ..Self::default() }
    }

    fn after_gc(looker: Looker, mutation: Mutation) -> LookStep {
        match (looker, mutation) {
            (Looker::Backup, Mutation::BackupListsGcLast) | (Looker::Pruner, Mutation::PrunerListsGcLast) => {
                LookStep::Finished
            }
            (_, Mutation::PacksListedBeforeIndex) => LookStep::ListPacks,
            _ => LookStep::ListIndex,
        }
    }

    fn after_packs(looker: Looker, mutation: Mutation) -> LookStep {
        match (looker, mutation) {
            (Looker::Backup, Mutation::BackupListsGcLast) | (Looker::Pruner, Mutation::PrunerListsGcLast) => {
                LookStep::ListGc
            }
            (_, Mutation::PacksListedBeforeIndex) => LookStep::ListIndex,
            _ => LookStep::Finished,
        }
    }

    /// The calls that may come next.
    pub(super) fn glances(&self, store: &Store, mutation: Mutation, out: &mut Vec<Glance>) {
        match self.step {
            LookStep::Finished => {}
            LookStep::EndListIndex => out.extend(store.index_shown(self.listing).map(Glance::Shown)),
            LookStep::EndListPacks => out.extend(store.packs_shown(self.listing).map(Glance::Shown)),
            LookStep::GetGc => {
                out.extend(self.unread.iter().map(Glance::Gc));
                if mutation == Mutation::UnreadableGcPassedOver {
                    out.extend(self.unread.iter().map(Glance::UnreadableGc));
                }
            }
            _ => out.push(Glance::List),
        }
    }

    fn read_index(&mut self, store: &Store, index: Set, mutation: Mutation) {
        self.listing = Set::EMPTY;
        self.named = store.named_by(index);
        let last = mutation == Mutation::PacksListedBeforeIndex;
        self.step = if last { LookStep::Finished } else { LookStep::ListPacks };
    }

    fn list_packs(&mut self, packs: Set, looker: Looker, mutation: Mutation) {
        self.listing = Set::EMPTY;
        self.listed = packs;
        self.step = Self::after_packs(looker, mutation);
    }

    /// Makes one call, and goes on to the next.
    pub(super) fn glance(&mut self, protocol: &Protocol, store: &Store, looker: Looker, glance: Glance) {
        let mutation = protocol.mutation;
        match (self.step, glance) {
            (LookStep::ListGc, _) => {
                self.unread = store.gc;
                self.step =
                    if store.gc.is_empty() { Self::after_gc(looker, mutation) } else { LookStep::GetGc };
            }
            (_, Glance::Gc(record) | Glance::UnreadableGc(record)) => {
                self.unread.remove(record);
                if store.gc.contains(record) && glance == Glance::Gc(record) {
                    self.records.insert(record);
                    self.condemned |= store.condemned_by(Set::of(&[record]));
                }
                if self.unread.is_empty() {
                    self.step = Self::after_gc(looker, mutation);
                }
            }
            (LookStep::ListIndex, _) if protocol.slow_listings => {
                self.listing = store.index;
                self.step = LookStep::EndListIndex;
            }
            (LookStep::ListIndex, _) => self.read_index(store, store.index, mutation),
            (LookStep::EndListIndex, Glance::Shown(index)) => self.read_index(store, index, mutation),
            (LookStep::ListPacks, _) if protocol.slow_listings => {
                self.listing = store.packs;
                self.step = LookStep::EndListPacks;
            }
            (LookStep::ListPacks, _) => self.list_packs(store.packs, looker, mutation),
            (LookStep::EndListPacks, Glance::Shown(packs)) => self.list_packs(packs, looker, mutation),
            _ => unreachable!("nothing to list"),
        }
    }

    /// Packs that may be relied on: an index names them, they are there, and nobody condemned them.
    pub(super) fn counting(&self) -> Set {
        (self.named & self.listed) - self.condemned
    }

    /// Packs that were listed, that no index object names, and that nobody condemned.
    pub(super) fn orphans(&self) -> Set {
        self.listed - self.named - self.condemned
    }

    pub(super) fn remembers(&self) -> Remembered {
        let mut all = Remembered { gc: self.unread | self.records, ..Remembered::default() };
        all.packs = self.condemned | self.named | self.listed;
        match self.step {
            LookStep::EndListPacks => all.packs |= self.listing,
            _ => all.index = self.listing,
        }
        all
    }
}
