//! Stores that turn the order of the protocol round, each at one place, to prove that the oracle would see it.
//!
//! The code under test stays as it is: what it asks in the right order is answered as if it had asked in a wrong one.

use strongroom::backend::{Backend, Listed, MemoryBackend, ObjectKind, ObjectName};

use super::steps::{Role, Steps};
use crate::stores::Call;

/// What is turned round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// A backup sees no gc record.
    GcUnseen,
    /// A backup's session is gone as soon as it has looked, and it is told otherwise.
    SessionRemovedEarly,
    /// A prune lists the sessions before its gc record is written.
    SessionsBeforeGc,
    /// A prune does not list the snapshots again.
    SnapshotsNotAgain,
}

impl Mutation {
    /// Every one.
    pub(crate) const ALL: [Self; 4] =
        [Self::GcUnseen, Self::SessionRemovedEarly, Self::SessionsBeforeGc, Self::SnapshotsNotAgain];
}

/// The mutation, and what it remembers.
pub(crate) struct Mutated {
    mutation: Option<Mutation>,
    actors: Vec<Memory>,
}

/// What is remembered of an actor.
#[derive(Clone, Default)]
struct Memory {
    /// Its own session.
    session: Option<ObjectName>,
    /// What there was when its command began.
    snapshots: Option<Vec<Listed>>,
    sessions: Option<Vec<Listed>>,
}

impl Mutated {
    pub(crate) fn new(mutation: Option<Mutation>, actors: usize) -> Self {
        Self { mutation, actors: vec![Memory::default(); actors] }
    }

    /// An actor begins a command.
    pub(crate) fn begins(&mut self, memory: &MemoryBackend, actor: usize) {
        let list = |kind| Some(memory.list(kind).expect("memory can be listed"));
        self.actors[actor] = Memory {
            snapshots: list(ObjectKind::Snapshot),
            sessions: list(ObjectKind::Session),
            ..Memory::default()
        };
    }

    /// An actor did something.
    pub(crate) fn after(&mut self, memory: &MemoryBackend, actor: usize, call: Call, steps: &Steps) {
        let Some(mutation) = self.mutation else { return };
        let host = steps.role(actor) == Role::Host;
        let seen = &mut self.actors[actor];
        match (mutation, call, call.kind()) {
            (Mutation::SessionRemovedEarly, Call::Put(name), ObjectKind::Session) if host => {
                seen.session = Some(name);
            }
            (Mutation::SessionRemovedEarly, Call::List(_), ObjectKind::Pack) if host => {
                if let Some(name) = seen.session.take() {
                    memory.delete(&name).expect("memory can be deleted from");
                }
            }
            _ => {}
        }
    }

    /// Whether an actor is told that an object is there which is not.
    pub(crate) fn pretends(&self, role: Role, name: &ObjectName) -> bool {
        self.mutation == Some(Mutation::SessionRemovedEarly)
            && role == Role::Host
            && name.kind == ObjectKind::Session
    }

    /// What an actor is shown of a listing.
    pub(crate) fn listing(&mut self, role: Role, actor: usize, kind: ObjectKind, listed: &mut Vec<Listed>) {
        let Some(mutation) = self.mutation else { return };
        let seen = &mut self.actors[actor];
        let instead = match (mutation, role, kind) {
            (Mutation::GcUnseen, Role::Host, ObjectKind::Gc) => Some(Vec::new()),
            (Mutation::SessionsBeforeGc, Role::Pruner, ObjectKind::Session) => seen.sessions.clone(),
            (Mutation::SnapshotsNotAgain, Role::Pruner, ObjectKind::Snapshot) => seen.snapshots.clone(),
            _ => None,
        };
        if let Some(instead) = instead {
            *listed = instead;
        }
    }
}
