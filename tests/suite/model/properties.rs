//! The invariants of `format-spec/11-ordering.md`, held in every state, and what has to happen in some state for the
//! model to say anything.
//!
//! A snapshot counts from the moment its manifest is there until the moment its forgotten mark is. That is stricter
//! than need be: a manifest that lands while its session is being given up counts too, until the pruner that saw no
//! manifest has put the mark.

use stateright::Property;

use super::Protocol;
use super::backup::BackupStep;
use super::give_up::HostStep;
use super::prune::PruneStep;
use super::reader::ReaderStep;
use super::repair::RepairStep;
use super::set::Set;
use super::state::State;

pub(super) const I1: &str = "I1: every chunk of a live snapshot lies in an indexed pack";
pub(super) const I2: &str = "I2: a condemned pack stays condemned";
pub(super) const I3: &str = "I3: of committing and giving up, one wins";
pub(super) const I4: &str = "I4: copies are published before packs are condemned";
pub(super) const I5: &str = "I5: a backup that succeeded is a live snapshot until it is forgotten";
pub(super) const READING: &str = "reading: no false report of a loss";

/// The rules, which hold in every state.
pub(super) fn rules() -> Vec<Property<Protocol>> {
    vec![
        Property::always(I1, |protocol: &Protocol, state: &State| {
            let store = &state.store;
            let there = store.named_by(store.index) & store.packs;
            store.chunks(there).covers(protocol.needs(store.live()))
        }),
        Property::always(I2, |_, state: &State| {
            let store = &state.store;
            store.condemned_by(store.gc).covers(store.packs & state.onlooker.condemned)
        }),
        Property::always(I3, |_, state: &State| {
            // Of a snapshot that was forgotten since, the manifest may be gone.
            let onlooker = &state.onlooker;
            !(onlooker.succeeded - onlooker.asked_to_forget).meets(onlooker.dead)
        }),
        Property::always(I4, |_, state: &State| !state.onlooker.condemned_too_early),
        Property::always(I5, |_, state: &State| {
            let onlooker = &state.onlooker;
            (state.store.live() | onlooker.asked_to_forget).covers(onlooker.succeeded)
        }),
        Property::always(READING, |_, state: &State| !state.onlooker.false_loss),
    ]
}

fn pruner_at(state: &State, step: PruneStep) -> bool {
    state.pruners.iter().any(|pruner| pruner.step == step)
}

fn backups_at(state: &State, step: BackupStep) -> usize {
    state.backups.iter().filter(|backup| backup.step == step).count()
}

/// What happens in some state of this configuration: without it the rules would hold for want of anything to do.
pub(super) fn events(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut events = vec![
        Property::sometimes("a prune deletes a pack that was condemned", |_, state: &State| {
            pruner_at(state, PruneStep::DeleteGc) && !state.store.packs.contains(0)
        }),
        Property::sometimes("a prune ends", |_, state: &State| {
            pruner_at(state, PruneStep::Tidy) && !state.store.packs.contains(0) && state.store.gc.is_empty()
        }),
        Property::sometimes("a chunk is rescued", |_, state: &State| {
            pruner_at(state, PruneStep::PublishRescued)
        }),
    ];
    if protocol.backups.len() == 2 {
        events.push(Property::sometimes("both backups commit", |_, state: &State| {
            backups_at(state, BackupStep::Succeeded) == 2
        }));
    }
    if protocol.pruners == 2 {
        events.push(Property::sometimes("both prunes end", |_, state: &State| {
            state.pruners.iter().all(|pruner| pruner.step == PruneStep::Tidy)
        }));
        events.push(Property::sometimes("two prunes wait to delete the same pack", |_, state: &State| {
            state.pruners.iter().all(|pruner| pruner.step == PruneStep::DeletePack)
                && state.pruners[0].doomed.meets(state.pruners[1].doomed)
        }));
    }
    if protocol.checks_first {
        events.push(Property::sometimes("a pruner finds that its plan still holds", |_, state: &State| {
            pruner_at(state, PruneStep::CheckPacks)
        }));
    }
    if protocol.pruners_give_up {
        events.push(Property::sometimes(
            "a session is taken over that would have committed",
            |_, state: &State| state.onlooker.dead.meets(state.store.snapshots),
        ));
        events.push(Property::sometimes("a pruner loses against a commit", |_, state: &State| {
            state.onlooker.succeeded.meets(state.store.abandoned)
        }));
    }
    if protocol.timeouts {
        events.push(Property::sometimes("a commit that was not answered lands late", |_, state: &State| {
            let explained = state.onlooker.succeeded | state.store.abandoned | Set::of(&[0]);
            backups_at(state, BackupStep::Failed) > 0 && !(state.store.live() - explained).is_empty()
        }));
    }
    if protocol.runs > 1 {
        events.push(Property::sometimes(
            "a run takes up what another left and finishes it",
            |_, state: &State| {
                let finished =
                    |pruner: &&super::prune::Pruner| pruner.step == PruneStep::Tidy && pruner.run > 0;
                state.pruners.iter().any(|pruner| finished(&pruner)) && !state.store.packs.contains(0)
            },
        ));
    }
    if protocol.reader {
        events.push(Property::sometimes("a reader has to read the index again", |_, state: &State| {
            state.reader.step == ReaderStep::ListIndexAgain
        }));
    }
    if protocol.repair {
        events.push(Property::sometimes("the index is repaired while a prune runs", |_, state: &State| {
            state.repair.step == RepairStep::Finished && pruner_at(state, PruneStep::DeletePack)
        }));
    }
    if protocol.host_gives_up {
        events.push(Property::sometimes("a host finds its session committed", |_, state: &State| {
            state.host.step == HostStep::DeleteSession
        }));
    }
    if protocol.backups.contains(&super::Task::Unforget) {
        events.push(Property::sometimes("a snapshot comes back under a new id", |_, state: &State| {
            state.store.forgotten.contains(0) && backups_at(state, BackupStep::Succeeded) > 0
        }));
    }
    events
}
