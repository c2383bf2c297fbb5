//! `repair index`: one new index object that names every pack listed, then the old ones go.

use super::Protocol;
use super::mutations::Mutation;
use super::set::Set;
use super::state::{Remembered, State};

/// The steps of `repair index`. The name is the call that comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum RepairStep {
    /// LIST `index/`: what is to be replaced.
    #[default]
    ListIndex,
    /// LIST `packs/`, and GET the table of each.
    ListPacks,
    /// PUT an index object that names them all.
    PutIndex,
    /// DELETE each index object that was listed.
    DeleteIndex,
    /// Done.
    Finished,
}

/// A repair, with what it remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Repair {
    pub(super) step: RepairStep,
    old: Set,
    packs: Set,
}

impl Repair {
    pub(super) fn remembers(&self) -> Remembered {
        Remembered { packs: self.packs, index: self.old, gc: Set::EMPTY }
    }
}

impl Protocol {
    /// Whether `repair index` can go on.
    pub(super) fn repair_moves(&self, state: &State) -> bool {
        self.repair && state.repair.step != RepairStep::Finished
    }

    /// A repair before its first call.
    pub(super) fn fresh_repair(&self) -> Repair {
        let packs_first = self.mutation == Mutation::PacksListedBeforeIndex;
        let step = if packs_first { RepairStep::ListPacks } else { RepairStep::ListIndex };
        Repair { step, ..Repair::default() }
    }

    pub(super) fn repair_step(&self, state: &mut State) {
        let packs_first = self.mutation == Mutation::PacksListedBeforeIndex;
        let State { store, repair, .. } = state;
        match repair.step {
            RepairStep::ListIndex => {
                repair.old = store.index;
                repair.step = if packs_first { RepairStep::PutIndex } else { RepairStep::ListPacks };
            }
            RepairStep::ListPacks => {
                repair.packs = store.packs;
                repair.step = if packs_first { RepairStep::ListIndex } else { RepairStep::PutIndex };
            }
            RepairStep::PutIndex => {
                let packs = std::mem::take(&mut repair.packs);
                state.put_index(packs);
                state.repair.step = RepairStep::DeleteIndex;
                self.skip_replaced(state);
            }
            RepairStep::DeleteIndex | RepairStep::Finished => {
                if let Some(object) = repair.old.first() {
                    store.index.remove(object);
                    repair.old.remove(object);
                }
                self.skip_replaced(state);
            }
        }
    }

    /// What somebody else deleted meanwhile needs no call.
    fn skip_replaced(&self, state: &mut State) {
        let State { store, repair, .. } = state;
        repair.old = repair.old & store.index;
        if repair.old.is_empty() {
            repair.step = RepairStep::Finished;
        }
    }
}
