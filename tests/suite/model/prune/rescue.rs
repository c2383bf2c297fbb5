//! Step 5: whatever a snapshot refers to, and only condemned packs hold, is copied before they go.

use super::super::Protocol;
use super::super::look::{Look, LookStep, Looker};
use super::super::mutations::Mutation;
use super::super::set::Set;
use super::super::state::State;
use super::{PruneHow, PruneStep};

impl Protocol {
    /// Every session of W has ended, and step 5 would begin.
    pub(super) fn skip_what_a_mutation_skips(&self, state: &mut State, which: usize) {
        let pruner = &mut state.pruners[which];
        match self.mutation {
            Mutation::NothingRescued => self.rescued(state, which),
            Mutation::SnapshotsNotListedAgain => {
                pruner.step = PruneStep::LookAgain;
                pruner.look = Look::begin(Looker::Pruner, self.mutation);
            }
            _ => {}
        }
    }

    /// 5, `rescue`: where nothing has changed on which the plan was built, there is nothing to look for. The packs come
    /// last: a prune that condemned one of them, and deleted it and its record, is known by nothing else.
    pub(super) fn check_basis(&self, state: &mut State, which: usize) {
        let State { store, pruners, .. } = state;
        let pruner = &mut pruners[which];
        let (holds, next) = match pruner.step {
            PruneStep::CheckSnapshots => (pruner.known.covers(store.snapshots), Some(PruneStep::CheckGc)),
            PruneStep::CheckGc if self.mutation == Mutation::BasisWithoutPacks => {
                (pruner.records.covers(store.gc), None)
            }
            PruneStep::CheckGc => (pruner.records.covers(store.gc), Some(PruneStep::CheckPacks)),
            _ => (store.packs.covers(pruner.basis.unwrap_or_default()), None),
        };
        match (holds, next) {
            (true, Some(next)) => pruner.step = next,
            (true, None) => self.rescued(state, which),
            (false, _) => {
                (pruner.known, pruner.basis) = (Set::EMPTY, None);
                pruner.step = PruneStep::ListSnapshotsAgain;
            }
        }
    }

    /// 5, `rescue`: the chunks of live snapshots, once more.
    pub(super) fn list_live_again(&self, state: &mut State, which: usize) {
        let State { store, pruners, .. } = state;
        let pruner = &mut pruners[which];
        if pruner.step == PruneStep::ListSnapshotsAgain {
            pruner.snapshots = store.snapshots;
            pruner.step = PruneStep::ListForgottenAgain;
        } else {
            let live = std::mem::take(&mut pruner.snapshots) - store.forgotten;
            pruner.needed = self.needs(live);
            pruner.look = Look::begin(Looker::Pruner, self.mutation);
            pruner.step = PruneStep::LookAgain;
        }
    }

    /// 5, `rescue`: who survives, and what has no survivor.
    pub(super) fn look_again(&self, state: &mut State, which: usize, how: PruneHow) {
        let PruneHow::Look(glance) = how else { unreachable!("this is a look") };
        let State { store, pruners, .. } = state;
        let pruner = &mut pruners[which];
        pruner.look.glance(self, store, Looker::Pruner, glance);
        if pruner.look.step != LookStep::Finished {
            return;
        }
        let mut look = std::mem::take(&mut pruner.look);
        if self.mutation == Mutation::CondemnedByOthersSurvive {
            look.condemned = Set::EMPTY;
        }
        let survivors = look.counting() - pruner.doomed;
        let without = pruner.needed - store.chunks(survivors);
        if without.is_empty() {
            return self.rescued(state, which);
        }
        if !store.chunks(look.listed & store.packs).covers(without) {
            // Something is lost already, or was moved meanwhile: not the moment to delete.
            return pruner.stop(self.keeps_sessions);
        }
        pruner.copy = without;
        pruner.step = PruneStep::PutRescued;
    }

    /// 5, `rescue`: copies what has no survivor, publishes it, and looks again.
    pub(super) fn rescue(&self, state: &mut State, which: usize) {
        if self.mutation == Mutation::UncondemnedAsRescue {
            return self.uncondemn(state, which);
        }
        if state.pruners[which].step == PruneStep::PutRescued {
            let copy = std::mem::take(&mut state.pruners[which].copy);
            let pack = state.put_pack(copy);
            state.pruners[which].keeping.insert(pack);
            state.pruners[which].step = PruneStep::PublishRescued;
        } else {
            let copies = std::mem::take(&mut state.pruners[which].keeping);
            state.put_index(copies);
            state.pruners[which].step = PruneStep::ListSnapshotsAgain;
        }
    }

    /// A mutation: the packs that hold what is needed are taken out of the record.
    fn uncondemn(&self, state: &mut State, which: usize) {
        let pruner = &mut state.pruners[which];
        let (doomed, copy) = (pruner.doomed, pruner.copy);
        if pruner.step == PruneStep::PutRescued {
            let spared = doomed.iter().filter(|pack| state.store.chunks(Set::of(&[*pack])).meets(copy));
            let rest = spared.fold(doomed, |rest, pack| rest - Set::of(&[pack]));
            pruner.doomed = rest;
            pruner.step = PruneStep::PublishRescued;
            return;
        }
        let old = std::mem::take(&mut pruner.records);
        pruner.copy = Set::EMPTY;
        pruner.step = PruneStep::ListSnapshotsAgain;
        if !doomed.is_empty() {
            let record = state.put_gc(doomed);
            state.pruners[which].records.insert(record);
        }
        state.store.gc -= old;
    }

    /// Everything referred to has a survivor: on to step 6.
    fn rescued(&self, state: &mut State, which: usize) {
        let pruner = &mut state.pruners[which];
        (pruner.needed, pruner.copy) = (Set::EMPTY, Set::EMPTY);
        (pruner.known, pruner.basis) = (Set::EMPTY, None);
        pruner.step = match self.mutation {
            Mutation::GcRemovedFirst => PruneStep::DeleteGc,
            _ => PruneStep::ListNaming,
        };
        if pruner.records.is_empty() {
            pruner.tidy();
        }
    }
}
