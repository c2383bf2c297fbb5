//! Steps 1 and 2: what is live, what is to go, copies of what is worth moving, and the record that condemns.

use super::super::Protocol;
use super::super::look::{Look, LookStep, Looker};
use super::super::mutations::Mutation;
use super::super::set::Set;
use super::super::state::{State, Store};
use super::{PruneHow, PruneStep, deletes_orphans_at_once};

/// Packs that hold nothing of what is needed that a pack before them does not hold too.
fn superfluous(store: &Store, counting: Set, needed: Set) -> Set {
    let (mut have, mut superfluous) = (Set::EMPTY, Set::EMPTY);
    for pack in counting.iter() {
        let adds = (store.chunks(Set::of(&[pack])) & needed) - have;
        if adds.is_empty() {
            superfluous.insert(pack);
        }
        have |= adds;
    }
    superfluous
}

impl Protocol {
    /// 1, `Survey::take`: the chunks of live snapshots.
    pub(super) fn list_live(&self, state: &mut State, which: usize) {
        let State { store, pruners, .. } = state;
        let pruner = &mut pruners[which];
        if pruner.step == PruneStep::ListSnapshots {
            pruner.snapshots = store.snapshots;
            pruner.known = if self.checks_first { store.snapshots } else { Set::EMPTY };
            pruner.step = PruneStep::ListForgotten;
        } else {
            let live = std::mem::take(&mut pruner.snapshots) - store.forgotten;
            pruner.needed = self.needs(live);
            pruner.look = Look::begin(Looker::Pruner, self.mutation);
            pruner.step = PruneStep::Look;
        }
    }

    /// Whether this look is done and there are live chunks in packs that could be moved.
    pub(super) fn worth_repacking(&self, state: &State, needed: Set, look: &Look) -> bool {
        let live = state.store.chunks(look.counting());
        self.repacks && look.step == LookStep::Finished && needed.meets(live)
    }

    /// 1, `Survey::take`: `gc/`, `index/`, `packs/`; and what follows from them.
    pub(super) fn look(&self, state: &mut State, which: usize, how: PruneHow) {
        let (PruneHow::Look(glance) | PruneHow::Repack(glance)) = how else { unreachable!("this is a look") };
        let State { store, pruners, .. } = state;
        let pruner = &mut pruners[which];
        pruner.look.glance(self, store, Looker::Pruner, glance);
        if pruner.look.step != LookStep::Finished {
            return;
        }
        let look = std::mem::take(&mut pruner.look);
        if deletes_orphans_at_once(self.mutation) && !look.orphans().is_empty() {
            pruner.doomed = look.orphans();
            pruner.step = PruneStep::DeletePack;
            return;
        }
        pruner.records = look.records;
        pruner.doomed = look.condemned;
        let repacks = matches!(how, PruneHow::Repack(_));
        if repacks {
            pruner.copy = pruner.needed & store.chunks(look.counting());
            if !store.chunks(look.counting() & store.packs).covers(pruner.copy) {
                // A pack that was listed is gone when it is read.
                return pruner.stop(false);
            }
            pruner.condemning = look.listed - look.condemned;
        } else {
            let superfluous = superfluous(store, look.counting(), pruner.needed);
            pruner.condemning = look.orphans() | superfluous;
            pruner.keeping = look.counting() - superfluous;
        }
        pruner.moving = pruner.needed & store.chunks(look.counting() & pruner.condemning);
        let step = match (repacks, self.mutation) {
            (true, Mutation::CondemnedBeforeCopying) | (false, _) => self.after_copying(state, which),
            (true, _) => PruneStep::PutCopies,
        };
        state.pruners[which].step = step;
    }

    /// What comes after step 1: to condemn, to take up what others condemned, or nothing.
    fn after_copying(&self, state: &mut State, which: usize) -> PruneStep {
        let State { store, pruners, .. } = state;
        let pruner = &mut pruners[which];
        let whole = store.chunks(pruner.keeping).covers(pruner.needed);
        pruner.basis = (self.checks_first && whole).then_some(pruner.keeping);
        if pruner.condemning.is_empty() && self.mutation != Mutation::SnapshotsNotListedAgain {
            pruner.needed = Set::EMPTY;
        }
        if pruner.condemning.is_empty() {
            (pruner.moving, pruner.keeping) = (Set::EMPTY, Set::EMPTY);
        }
        match (pruner.condemning.is_empty(), pruner.records.is_empty()) {
            (false, _) if self.mutation == Mutation::SessionsListedBeforeGc => PruneStep::ListSessions,
            (false, _) => PruneStep::PutGc,
            (true, false) => PruneStep::ListSessions,
            (true, true) => {
                pruner.tidy();
                PruneStep::Tidy
            }
        }
    }

    /// 1, `repack`. What is read here was there when the packs were listed, so that the copy may come at any time.
    pub(super) fn repack(&self, state: &mut State, which: usize) {
        let copy = state.pruners[which].copy;
        if state.pruners[which].step == PruneStep::PutCopies {
            let pack = state.put_pack(copy);
            let pruner = &mut state.pruners[which];
            pruner.keeping.insert(pack);
            pruner.copy = Set::EMPTY;
            pruner.step = PruneStep::PublishCopies;
            return;
        }
        let copies = state.pruners[which].keeping;
        state.put_index(copies);
        let step = match self.mutation {
            Mutation::CondemnedBeforeCopying => PruneStep::ListSessions,
            _ => self.after_copying(state, which),
        };
        state.pruners[which].step = step;
    }

    /// 2, `condemn`.
    pub(super) fn condemn(&self, state: &mut State, which: usize) {
        let condemning = std::mem::take(&mut state.pruners[which].condemning);
        // I4, as an onlooker sees it: what is live in packs that counted has been published in one that stays.
        let (store, pruner) = (&state.store, &state.pruners[which]);
        let live = pruner.moving & self.needs(store.live());
        let elsewhere = store.chunks(pruner.keeping & state.onlooker.published);
        state.onlooker.condemned_too_early |= !elsewhere.covers(live);
        let record = state.put_gc(condemning);
        let pruner = &mut state.pruners[which];
        pruner.records.insert(record);
        pruner.doomed |= condemning;
        (pruner.moving, pruner.keeping) = (Set::EMPTY, Set::EMPTY);
        if self.mutation != Mutation::SnapshotsNotListedAgain {
            pruner.needed = Set::EMPTY;
        }
        pruner.step = match self.mutation {
            Mutation::SessionsListedBeforeGc => PruneStep::Settle,
            Mutation::CondemnedBeforeCopying if !pruner.copy.is_empty() => PruneStep::PutCopies,
            _ => PruneStep::ListSessions,
        };
    }
}
