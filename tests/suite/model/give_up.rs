//! Giving up a dead session: write the mark, **then** look for the manifest.
//!
//! A pruner does it in its step 4 (`settle`), and whoever holds the maintain key does it by `unlock`. A backup host
//! does it for its own dead sessions (`session::give_up_own_dead`), and can only mark them. Nobody here knows whether
//! the session is really dead, so each may give up any session at any time.

use super::Protocol;
use super::mutations::Mutation;
use super::prune::PruneStep;
use super::state::State;

/// The steps of `format-spec/11-ordering.md`, "Giving up", as a backup host takes them. The name is the call that
/// comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum HostStep {
    /// It has given nobody up: PUT `abandoned/S`.
    #[default]
    PutAbandoned,
    /// LIST `snapshots/`.
    LookForSnapshot,
    /// It is there: DELETE `sessions/S`.
    DeleteSession,
    /// Done.
    Finished,
}

/// A backup host that gives up a session of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Host {
    pub(super) step: HostStep,
    session: u8,
}

impl Protocol {
    /// Giving up, as a pruner does it.
    pub(super) fn give_up(&self, state: &mut State, which: usize) {
        let State { store, onlooker, pruners, .. } = state;
        let pruner = &mut pruners[which];
        match pruner.step {
            PruneStep::PutAbandoned => {
                store.abandoned |= pruner.subject;
                let looked = self.mutation == Mutation::GiverLooksBeforeWriting;
                pruner.step = if looked { PruneStep::PutForgotten } else { PruneStep::LookForSnapshot };
            }
            PruneStep::LookForSnapshot if store.snapshots.covers(pruner.subject) => {
                self.given_up(state, which)
            }
            PruneStep::LookForSnapshot => {
                onlooker.dead |= pruner.subject;
                pruner.step = match self.mutation {
                    Mutation::GiverLooksBeforeWriting => PruneStep::PutAbandoned,
                    _ => PruneStep::PutForgotten,
                };
                if self.mutation == Mutation::DeadSessionNotForgotten {
                    self.given_up(state, which);
                }
            }
            _ => {
                store.forgotten |= pruner.subject;
                self.given_up(state, which);
            }
        }
    }

    /// The sessions that the host may give up now.
    pub(super) fn host_moves(&self, state: &State, out: &mut Vec<u8>) {
        match state.host.step {
            HostStep::PutAbandoned if self.host_gives_up => out.extend(state.store.sessions.iter()),
            HostStep::PutAbandoned | HostStep::Finished => {}
            _ => out.push(state.host.session),
        }
    }

    /// Giving up, as a backup host does it.
    pub(super) fn host_step(&self, state: &mut State, session: u8) {
        let State { store, host, .. } = state;
        host.step = match host.step {
            HostStep::PutAbandoned => {
                host.session = session;
                store.abandoned.insert(session);
                HostStep::LookForSnapshot
            }
            HostStep::LookForSnapshot if store.snapshots.contains(session) => HostStep::DeleteSession,
            HostStep::DeleteSession => {
                store.sessions.remove(session);
                HostStep::Finished
            }
            HostStep::LookForSnapshot | HostStep::Finished => HostStep::Finished,
        };
        if host.step == HostStep::Finished {
            host.session = 0;
        }
    }
}
