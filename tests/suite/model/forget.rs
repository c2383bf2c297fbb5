//! `forget`, `unforget` where it goes wrong, and manifests that arrive late.
//!
//! `unforget` as it should be is a backup that has nothing to store: see `backup.rs`.

use super::mutations::Mutation;
use super::state::State;
use super::{Action, Protocol};

impl Protocol {
    pub(super) fn bystander_moves(&self, state: &State, out: &mut Vec<Action>) {
        let store = &state.store;
        if state.forgets > 0 {
            out.extend(store.live().iter().map(Action::Forget));
        }
        out.extend(store.in_flight.iter().map(Action::Land));
        if self.mutation == Mutation::UnforgetDeletesMark {
            out.extend(
                (state.onlooker.asked_to_forget & store.forgotten).iter().map(Action::DeleteForgotten),
            );
        }
    }

    /// PUT `forgotten/S`, for a snapshot that somebody saw.
    pub(super) fn forget(state: &mut State, snapshot: u8) {
        state.store.forgotten.insert(snapshot);
        state.onlooker.asked_to_forget.insert(snapshot);
        state.forgets -= 1;
    }

    /// A PUT of a manifest takes effect whose writer gave up waiting for an answer.
    pub(super) fn land(state: &mut State, snapshot: u8) {
        state.store.in_flight.remove(snapshot);
        state.store.snapshots.insert(snapshot);
    }

    /// A mutation: `unforget` deletes the mark.
    pub(super) fn delete_forgotten(state: &mut State, snapshot: u8) {
        state.store.forgotten.remove(snapshot);
        state.onlooker.asked_to_forget.remove(snapshot);
    }
}
