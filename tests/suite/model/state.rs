//! The store, what is known about it from outside, and the actors: one state of the model.
//!
//! Invariant: an object's number is given to another only when nothing in the store and nobody's memory names it any
//! more. Numbers thus stand for random names: nobody can meet a name that was used before.

use std::hash::{Hash, Hasher};

use super::backup::Backup;
use super::give_up::Host;
use super::prune::Pruner;
use super::reader::Reader;
use super::repair::Repair;
use super::set::Set;

/// How many packs, index objects and gc records there can be at once.
const SLOTS: usize = 8;

/// The objects of a repository. A manifest needs what its backup needs; a mark says all by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Store {
    pub(super) packs: Set,
    /// The chunks in each pack ever stored, for as long as anybody remembers it.
    pub(super) held: [Set; SLOTS],
    pub(super) index: Set,
    /// The packs that each index object names.
    pub(super) named: [Set; SLOTS],
    pub(super) gc: Set,
    /// The packs that each gc record condemns.
    pub(super) condemned: [Set; SLOTS],
    pub(super) sessions: Set,
    pub(super) snapshots: Set,
    pub(super) abandoned: Set,
    pub(super) forgotten: Set,
    /// Manifests whose PUT was not answered: each may land at any moment, or never.
    pub(super) in_flight: Set,
}

/// What an onlooker knows who sees everything. No actor reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Onlooker {
    /// Backups that reported success.
    pub(super) succeeded: Set,
    /// Sessions that a pruner found to be dead: it wrote the mark and saw no manifest.
    pub(super) dead: Set,
    /// Snapshots that somebody asked to forget.
    pub(super) asked_to_forget: Set,
    /// Packs that some gc record condemned.
    pub(super) condemned: Set,
    /// Packs that some index object named.
    pub(super) published: Set,
    /// A pack was condemned before its live chunks had been published elsewhere.
    pub(super) condemned_too_early: bool,
    /// A reader reported the loss of a chunk of a snapshot that nobody forgot.
    pub(super) false_loss: bool,
}

/// One state: the store, the onlooker, and where each actor is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) onlooker: Onlooker,
    pub(super) backups: [Backup; 2],
    pub(super) pruners: [Pruner; 2],
    pub(super) host: Host,
    pub(super) reader: Reader,
    pub(super) repair: Repair,
    /// How many snapshots may still be forgotten.
    pub(super) forgets: u8,
}

/// What actors remember by number.
#[derive(Clone, Copy, Default)]
pub(super) struct Remembered {
    pub(super) packs: Set,
    pub(super) index: Set,
    pub(super) gc: Set,
}

fn union(of: Set, each: &[Set]) -> Set {
    of.iter().fold(Set::EMPTY, |all, number| all | each[usize::from(number)])
}

fn free(taken: Set, kind: &str) -> u8 {
    let free = (0..8).find(|number| !taken.contains(*number));
    free.unwrap_or_else(|| panic!("this configuration needs more {kind}"))
}

impl Store {
    /// The chunks that these packs hold.
    pub(super) fn chunks(&self, packs: Set) -> Set {
        union(packs, &self.held)
    }

    /// The packs that these index objects name.
    pub(super) fn named_by(&self, index: Set) -> Set {
        union(index, &self.named)
    }

    /// The packs that these gc records condemn.
    pub(super) fn condemned_by(&self, gc: Set) -> Set {
        union(gc, &self.condemned)
    }

    /// What a listing of `index/` may show that began when `before` were there and ends now: whatever was there all
    /// the time, and any of what came meanwhile. Whoever was shown an object that is gone when it is read lists anew.
    pub(super) fn index_shown(&self, before: Set) -> impl Iterator<Item = Set> {
        let stayed = before & self.index;
        (self.index - before).subsets().map(move |new| stayed | new)
    }

    /// What such a listing of `packs/` may show: any of what went meanwhile as well.
    pub(super) fn packs_shown(&self, before: Set) -> impl Iterator<Item = Set> {
        let stayed = before & self.packs;
        ((self.packs | before) - stayed).subsets().map(move |others| stayed | others)
    }

    /// Snapshots that are there and not forgotten.
    pub(super) fn live(&self) -> Set {
        self.snapshots - self.forgotten
    }
}

impl State {
    fn remembered(&self) -> Remembered {
        let mut all = Remembered::default();
        let backups = self.backups.iter().map(Backup::remembers);
        let others = [self.reader.remembers(), self.repair.remembers()];
        for one in backups.chain(self.pruners.iter().map(Pruner::remembers)).chain(others) {
            all.packs |= one.packs;
            all.index |= one.index;
            all.gc |= one.gc;
        }
        all
    }

    /// Which numbers are taken.
    fn taken(&self) -> Remembered {
        let mut taken = self.remembered();
        taken.index |= self.store.index;
        taken.gc |= self.store.gc;
        let named = self.store.named_by(taken.index) | self.store.condemned_by(taken.gc);
        taken.packs |= self.store.packs | named;
        taken
    }

    /// PUT packs/…
    pub(super) fn put_pack(&mut self, chunks: Set) -> u8 {
        let pack = free(self.taken().packs, "packs");
        self.store.packs.insert(pack);
        self.store.held[usize::from(pack)] = chunks;
        pack
    }

    /// PUT index/…
    pub(super) fn put_index(&mut self, packs: Set) -> u8 {
        let index = free(self.taken().index, "index objects");
        self.store.index.insert(index);
        self.store.named[usize::from(index)] = packs;
        self.onlooker.published |= packs;
        index
    }

    /// PUT gc/…
    pub(super) fn put_gc(&mut self, packs: Set) -> u8 {
        let gc = free(self.taken().gc, "gc records");
        self.store.gc.insert(gc);
        self.store.condemned[usize::from(gc)] = packs;
        self.onlooker.condemned |= packs;
        gc
    }

    /// Forgets what was in objects that are gone and that nobody remembers, so that equal states are equal.
    pub(super) fn collect(&mut self) {
        let taken = self.taken();
        for number in 0..8 {
            let slot = usize::from(number);
            if !taken.packs.contains(number) {
                self.store.held[slot] = Set::EMPTY;
            }
            if !taken.index.contains(number) {
                self.store.named[slot] = Set::EMPTY;
            }
            if !taken.gc.contains(number) {
                self.store.condemned[slot] = Set::EMPTY;
            }
        }
        self.onlooker.condemned = self.onlooker.condemned & taken.packs;
        self.onlooker.published = self.onlooker.published & taken.packs;
    }
}

/// Gathers what is hashed, so that the hasher runs over some eighty bytes once, not over as many single ones.
struct Bytes([u8; 160], usize);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.0[self.1] = byte;
        self.1 += 1;
    }

    /// Lengths of arrays, which never differ.
    fn write_usize(&mut self, _: usize) {}

    /// Which variant of an enum: always small.
    fn write_isize(&mut self, variant: isize) {
        self.write_u8(variant as u8);
    }

    fn finish(&self) -> u64 {
        unreachable!("these bytes go to another hasher")
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self { store, onlooker, backups, pruners, host, reader, repair, forgets } = self;
        let mut bytes = Bytes([0; 160], 0);
        (store, onlooker, backups, pruners).hash(&mut bytes);
        (host, reader, repair, forgets).hash(&mut bytes);
        hasher.write(&bytes.0[..bytes.1]);
    }
}
