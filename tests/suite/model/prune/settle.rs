//! Steps 3 and 4: which sessions may know condemned packs as good ones, and that each has ended.

use super::super::Protocol;
use super::super::mutations::Mutation;
use super::super::set::Set;
use super::super::state::State;
use super::{PruneHow, PruneStep};

impl Protocol {
    /// Whether the set W that a run before kept will do: it was listed after the records that this one finishes.
    fn kept_sessions_do(&self, state: &State, which: usize) -> bool {
        let pruner = &state.pruners[which];
        let of_old_records = pruner.kept_records.covers(pruner.records);
        let any = !pruner.kept_records.is_empty();
        of_old_records || (any && self.mutation == Mutation::KeptSessionsForNewRecord)
    }

    pub(super) fn list_sessions_moves(&self, state: &State, which: usize, out: &mut Vec<PruneHow>) {
        out.push(PruneHow::Done);
        if self.keeps_sessions && self.kept_sessions_do(state, which) {
            out.push(PruneHow::KeptSessions);
        }
    }

    /// 3, `settle`.
    pub(super) fn list_sessions(&self, state: &mut State, which: usize, how: PruneHow) {
        let pruner = &mut state.pruners[which];
        pruner.waiting =
            if how == PruneHow::KeptSessions { pruner.kept_waiting } else { state.store.sessions };
        (pruner.kept_records, pruner.kept_waiting) = (Set::EMPTY, Set::EMPTY);
        if self.mutation == Mutation::SessionsNotWaitedFor {
            pruner.waiting = Set::EMPTY;
        }
        let still_to_condemn = !pruner.condemning.is_empty();
        pruner.step = if still_to_condemn { PruneStep::PutGc } else { PruneStep::Settle };
        self.go_on_when_settled(state, which);
    }

    fn go_on_when_settled(&self, state: &mut State, which: usize) {
        let pruner = &mut state.pruners[which];
        if pruner.step == PruneStep::Settle && pruner.waiting.is_empty() {
            let checks = pruner.basis.is_some();
            pruner.step = if checks { PruneStep::CheckSnapshots } else { PruneStep::ListSnapshotsAgain };
            self.skip_what_a_mutation_skips(state, which);
        }
    }

    pub(super) fn settle_moves(&self, state: &State, which: usize, out: &mut Vec<PruneHow>) {
        let (store, waiting) = (&state.store, state.pruners[which].waiting);
        if waiting.is_empty() {
            // A mutation listed sessions before it condemned, and there were none.
            return out.push(PruneHow::SawSessions);
        }
        for (how, ended) in [
            (PruneHow::SawSnapshots, store.snapshots),
            (PruneHow::SawForgotten, store.forgotten),
            (PruneHow::SawSessions, Set(!store.sessions.0)),
        ] {
            if waiting.meets(ended) {
                out.push(how);
            }
        }
        if self.pruners_give_up {
            out.extend(waiting.iter().map(PruneHow::GiveUp));
        }
        if self.may_run_again(which, &state.pruners[which]) {
            out.push(PruneHow::Stop);
        }
    }

    /// 4, `settle`: looks who has ended, or stops, or begins to give somebody up.
    pub(super) fn settle(&self, state: &mut State, which: usize, how: PruneHow) {
        let State { store, pruners, .. } = state;
        let pruner = &mut pruners[which];
        match how {
            PruneHow::SawSnapshots => pruner.waiting -= store.snapshots,
            PruneHow::SawForgotten => pruner.waiting -= store.forgotten,
            PruneHow::SawSessions => pruner.waiting = pruner.waiting & store.sessions,
            PruneHow::GiveUp(session) => {
                pruner.subject = Set::of(&[session]);
                let first_look = self.mutation == Mutation::GiverLooksBeforeWriting;
                pruner.step = if first_look { PruneStep::LookForSnapshot } else { PruneStep::PutAbandoned };
            }
            _ => return pruner.stop(self.keeps_sessions),
        }
        self.go_on_when_settled(state, which);
    }

    /// The session given up has ended, one way or the other.
    pub(in super::super) fn given_up(&self, state: &mut State, which: usize) {
        let pruner = &mut state.pruners[which];
        pruner.waiting -= std::mem::take(&mut pruner.subject);
        pruner.step = PruneStep::Settle;
        self.go_on_when_settled(state, which);
    }
}
