//! Step 6 and tidying: index objects, packs, records, and at last what has ended.

use super::super::Protocol;
use super::super::mutations::Mutation;
use super::super::set::Set;
use super::super::state::State;
use super::{PruneHow, PruneStep};

impl Protocol {
    /// 6, `rewrite_index`: which index objects name a condemned pack.
    pub(super) fn list_naming(&self, state: &mut State, which: usize, how: PruneHow) {
        let State { store, pruners, .. } = state;
        let pruner = &mut pruners[which];
        let shown = match how {
            PruneHow::Shown(index) => index,
            _ if self.slow_listings => {
                pruner.naming = store.index;
                pruner.step = PruneStep::EndListNaming;
                return;
            }
            _ => store.index,
        };
        let naming = |object: &u8| store.named_by(Set::of(&[*object])).meets(pruner.doomed);
        let naming = shown.iter().filter(naming).fold(Set::EMPTY, |all, one| all | Set::of(&[one]));
        pruner.naming = naming;
        pruner.keeping = store.named_by(naming) - pruner.doomed;
        pruner.step = match (naming.is_empty(), pruner.keeping.is_empty(), self.mutation) {
            (true, ..) => return self.packs_unnamed(state, which),
            (_, false, Mutation::IndexDeletedBeforeRewritten) | (_, true, _) => PruneStep::DeleteNaming,
            (_, false, _) => PruneStep::PutRewritten,
        };
    }

    /// 6, `rewrite_index`: PUT the new, then DELETE the old.
    pub(super) fn rewrite_index(&self, state: &mut State, which: usize) {
        let State { store, pruners, .. } = state;
        let pruner = &mut pruners[which];
        if pruner.step == PruneStep::PutRewritten {
            let packs = std::mem::take(&mut pruner.keeping);
            let more = !pruner.naming.is_empty();
            pruner.step = if more { PruneStep::DeleteNaming } else { PruneStep::ListNaming };
            state.put_index(packs);
            return;
        }
        if let Some(object) = pruner.naming.first() {
            store.index.remove(object);
        }
        // What somebody else deleted meanwhile needs no call.
        pruner.naming = pruner.naming & store.index;
        if pruner.naming.is_empty() {
            let put_last = !pruner.keeping.is_empty();
            pruner.step = if put_last { PruneStep::PutRewritten } else { PruneStep::ListNaming };
        }
    }

    /// 6: no index object names a condemned pack any more.
    fn packs_unnamed(&self, state: &mut State, which: usize) {
        state.pruners[which].step = PruneStep::DeletePack;
        self.skip_deleted(state, which);
    }

    /// What another pruner deleted meanwhile needs no call.
    fn skip_deleted(&self, state: &mut State, which: usize) {
        let State { store, pruners, .. } = state;
        let pruner = &mut pruners[which];
        if pruner.step == PruneStep::DeletePack {
            pruner.doomed = pruner.doomed & store.packs;
            if pruner.doomed.is_empty() {
                pruner.step = PruneStep::DeleteGc;
            }
        }
        if pruner.step == PruneStep::DeleteGc {
            pruner.records = pruner.records & store.gc;
            if pruner.records.is_empty() {
                match self.mutation {
                    Mutation::GcRemovedFirst if !pruner.doomed.is_empty() => {
                        pruner.step = PruneStep::ListNaming
                    }
                    _ => pruner.tidy(),
                }
            }
        }
    }

    /// 6, `delete_packs`.
    pub(super) fn delete_packs(&self, state: &mut State, which: usize) {
        if let Some(pack) = state.pruners[which].doomed.first() {
            state.store.packs.remove(pack);
        }
        self.skip_deleted(state, which);
    }

    /// 6, `delete_gc`.
    pub(super) fn delete_gc(&self, state: &mut State, which: usize) {
        if let Some(record) = state.pruners[which].records.first() {
            state.store.gc.remove(record);
        }
        self.skip_deleted(state, which);
    }

    /// 7, `tidy`. That a session ended, and that a snapshot is forgotten, stays true once it was seen, so that the
    /// listings need no steps of their own.
    pub(super) fn tidy_moves(&self, state: &State, out: &mut Vec<PruneHow>) {
        let store = &state.store;
        let ended = store.sessions & (store.snapshots | store.forgotten);
        let manifests = store.snapshots & store.forgotten;
        out.extend(ended.iter().map(PruneHow::TidySession));
        if self.tidies_manifests {
            out.extend(manifests.iter().map(PruneHow::TidyManifest));
        }
        let marks = match self.mutation {
            Mutation::MarkOfCommittedTidied => store.abandoned & store.live(),
            Mutation::MarkOfDeadTidied => store.abandoned & store.forgotten,
            _ => Set::EMPTY,
        };
        out.extend(marks.iter().map(PruneHow::TidyAbandoned));
    }

    pub(super) fn tidy(state: &mut State, how: PruneHow, mutation: Mutation) {
        let store = &mut state.store;
        match how {
            PruneHow::TidySession(session) => store.sessions.remove(session),
            PruneHow::TidyManifest(snapshot) => {
                store.snapshots.remove(snapshot);
                if mutation == Mutation::ForgottenDroppedWithManifest {
                    store.forgotten.remove(snapshot);
                }
            }
            PruneHow::TidyAbandoned(session) => store.abandoned.remove(session),
            _ => unreachable!("this is no tidying"),
        }
    }
}
