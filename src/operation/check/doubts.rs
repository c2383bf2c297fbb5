//! Damage so great that something else explains it better: it is told as what it may be, and no command is named that would
//! give up what is merely not mounted, or misread.
//!
//! Invariant: where there is a doubt, nothing is said to mend anything, by this finding or another.

use std::collections::HashSet;

use super::Check;
use super::faults::{Fault, Mend};
use super::look::Look;
use super::losses::{Holder, Losses};
use crate::id::Id;
use crate::operation::doubt;
use crate::report::{Damage, Finding, PathRange};
use crate::repository::snapshot::Snapshot;

/// What to do where packs seem to be gone.
const LOOK: &str = "look whether the disk is mounted and whether this is the right folder, and check again once the packs are \
                    there; where they are gone for good, `strongroom repair --help` tells what can be done";

impl Check<'_> {
    /// Tells of a store most of whose packs are gone, or seem to be damaged; what is told of packs after that names no command.
    pub(super) fn tell_doubts(
        &mut self,
        look: &Look,
        faults: &mut Vec<Fault>,
        losses: &mut Losses,
        found: &[Snapshot],
    ) {
        let (gone, there) = (look.gone(), look.listed.len());
        // A wrong index, or a pack that is damaged, may be all that is wrong, and what mends it is named with it.
        let explained = !faults.is_empty() || !look.read.damaged.is_empty();
        let nothing_at_all = there == 0 && !found.is_empty();
        let damaged: HashSet<Id> =
            faults.iter().filter(|fault| seems_damaged(fault)).map(|fault| fault.pack).collect();
        if doubt::mostly_gone(gone.len(), there) || nothing_at_all {
            faults.retain(|fault| !gone.contains(&fault.pack));
            // It is one thing that is wrong, and it hurts whatever is stored.
            losses.hurts.clear();
            losses.faults.clear();
            self.doubt(doubt::gone_in_words(gone.len(), there), LOOK);
        } else if doubt::mostly_damaged(damaged.len(), there) {
            let hint = "look at this machine and at the store, and check from another machine; `strongroom repair packs --help` \
                        tells what can be done where they are damaged indeed";
            self.doubt(doubt::damaged_in_words(damaged.len(), there), hint);
        } else if !explained && doubt::mostly_ruined(&ruined(losses), found) {
            let (lost, all) = (ruined(losses), found.len());
            let better = "which a wrong path or a disk that is not mounted explains better";
            let mut names: Vec<String> = lost.iter().map(Id::short).collect();
            names.sort();
            let hint = format!(
                "{LOOK}; `strongroom repair snapshots --forget {}` gives them up by name",
                names.join(" ")
            );
            self.doubt(format!("nothing is left of {} of {all} snapshots, {better}", lost.len()), &hint);
        }
        if self.doubted {
            for fault in faults.iter_mut() {
                (fault.mend, fault.hint) = (Mend::None, None);
            }
        }
    }

    fn doubt(&mut self, cause: String, hint: &str) {
        self.doubted = true;
        let finding = Finding::problem("the store", cause).with_hint(hint);
        self.damage(finding, Damage { kind: "pack", ..Damage::default() });
    }
}

fn seems_damaged(fault: &Fault) -> bool {
    matches!(fault.mend, Mend::Pack | Mend::UnreadPack)
}

/// Snapshots the top of whose tree is in no pack that is known.
fn ruined(losses: &Losses) -> HashSet<Id> {
    let hurts = losses.hurts.get(&Holder::Nowhere).into_iter().flatten();
    let whole = hurts.filter(|hurt| hurt.ranges.contains(&PathRange::default()));
    whole.flat_map(|hurt| hurt.snapshots.iter().copied()).collect()
}
