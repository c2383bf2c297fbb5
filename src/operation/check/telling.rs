//! Telling what is wrong, each thing with whom it hurts and what mends it.

use std::collections::{HashMap, HashSet};

use super::Check;
use super::faults::{Fault, Mend, REPAIR_INDEX, REPAIR_PACKS, advice, give_up};
use super::losses::{Holder, Losses};
use super::suffer::is_trouble;
use crate::backend::ObjectKind;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::report::{Damage, Finding, Hurt, PathRange};
use crate::repository::index::ReadObjects;
use crate::repository::snapshot::Snapshot;

impl Check<'_> {
    /// The snapshots; tells what is wrong with their objects.
    pub(super) fn snapshots(&mut self) -> Result<Vec<Snapshot>> {
        let found = self.repository.snapshots()?;
        let there: HashSet<Id> = self.repository.list_ids(ObjectKind::Snapshot)?.into_iter().collect();
        for (kind, id, error) in &found.damaged {
            if *kind == ObjectKind::Forgotten && !there.contains(id) {
                self.mark_of_nothing(id, error);
            } else {
                self.small_damage(*kind, id, error);
            }
        }
        for vanished in &found.vanished {
            let (object, give_up) = (format!("snapshots/{}", vanished.id), vec![forget(&vanished.id)]);
            let hurts = vec![whole_snapshot(&vanished.id)];
            let damage = Damage { object, kind: "snapshot", hurts, give_up, ..Damage::default() };
            self.summary.suffering.insert(vanished.id);
            self.damage(vanished.finding(), damage);
        }
        self.summary.snapshots = found.snapshots.len() as u64;
        Ok(found.snapshots)
    }

    /// Tells of a damaged mark whose snapshot a prune has taken away: it brings nothing back.
    fn mark_of_nothing(&mut self, id: &Id, error: &Error) {
        let object = format!("forgotten/{id}");
        // What is damaged holds nobody up; what cannot be had might say more than a damaged one does.
        let suffers = if is_trouble(error) {
            "no prune goes on past it, and nothing is forgotten by rules"
        } else {
            "nothing suffers by it"
        };
        let hint = format!(
            "{suffers}; no snapshot is there that it forgot: bring back {object} from a copy of the repository; \
             or, once no backup runs anywhere, move the file away"
        );
        let finding = Finding::problem(format!("forgotten/{}", id.short()), error.chain()).with_hint(hint);
        self.damage(finding, Damage { object, kind: "forgotten", ..Damage::default() });
    }

    /// Tells of index objects that are damaged, and of packs that none names.
    pub(super) fn tell_index(&mut self, read: &ReadObjects, hurts: Option<&Vec<Hurt>>, unnamed: u64) {
        let mend = if self.doubted { Vec::new() } else { vec![REPAIR_INDEX.to_owned()] };
        let hurts = hurts.cloned().unwrap_or_default();
        let packs = if unnamed == 1 { "1 pack".to_owned() } else { format!("{unnamed} packs") };
        let damaged = &read.damaged;
        for (number, (id, error)) in damaged.iter().enumerate() {
            // What cannot be had is not to be made anew before somebody has looked at the disk.
            let mend = if is_trouble(error) { Vec::new() } else { mend.clone() };
            let cause = error.chain();
            let hurts = if number == 0 { hurts.clone() } else { Vec::new() };
            let object = format!("index/{id}");
            let damage = Damage { object, kind: "index", hurts, mend, ..Damage::default() };
            let heard = if damage.hurts.is_empty() && number == 0 { "; nothing suffers by it" } else { "" };
            let finding = Finding::problem(format!("index/{}", id.short()), format!("{cause}{heard}"));
            let finding = match error.next_step().filter(|_| is_trouble(error)) {
                Some(step) => finding.with_hint(step.to_owned()),
                None => advised(finding, &damage.mend, &[]),
            };
            self.damage(finding, damage);
        }
        if unnamed == 0 {
            return;
        }
        if hurts.is_empty() {
            let cause = "in no index, as a backup leaves them that was interrupted or still runs; the next backup uses them";
            self.problem(Finding::warning(packs, cause));
        } else if damaged.is_empty() {
            let cause =
                format!("no index object names {packs} that snapshots need: index objects are missing");
            let damage = Damage { kind: "index", hurts, mend, ..Damage::default() };
            let finding = advised(Finding::problem("the index", cause), &damage.mend, &[]);
            self.damage(finding, damage);
        }
    }

    /// Tells of packs at fault where it is not known yet whom they hurt.
    pub(super) fn tell_unfinished(&mut self, faults: Vec<Fault>, condemned: &HashSet<Id>) {
        for fault in faults {
            let condemned = condemned.contains(&fault.pack);
            let (finding, damage) = fault.told(None, 0, condemned);
            self.damage(finding, damage);
        }
    }

    /// Tells of every pack that is at fault whom it hurts, and of what is lost besides.
    pub(super) fn tell_losses(
        &mut self,
        mut losses: Losses,
        faults: Vec<Fault>,
        lost: &HashMap<Id, u64>,
        condemned: &HashSet<Id>,
    ) {
        for fault in faults {
            let hurts = losses.hurts.remove(&Holder::Pack(fault.pack)).unwrap_or_default();
            let blobs_lost = lost.get(&fault.pack).copied().unwrap_or(0);
            let condemned = condemned.contains(&fault.pack);
            if fault.mend != Mend::Index && fault.mend != Mend::IndexByPacks && !condemned {
                self.summary.broken_packs.push(fault.pack);
            }
            let (finding, damage) = fault.told(Some(hurts), blobs_lost, condemned);
            self.damage(finding, damage);
        }
        for (holder, hurts) in std::mem::take(&mut losses.hurts) {
            match holder {
                // Told with the index.
                Holder::Unnamed => {}
                Holder::Pack(pack) => {
                    let cause = "is damaged: a blob of a tree or of a list cannot be read from it".to_owned();
                    let mend = if self.doubted { Mend::None } else { Mend::Pack };
                    let fault = Fault { pack, cause, hint: None, mend, unknown: false };
                    self.summary.broken_packs.push(pack);
                    let (finding, damage) = fault.told(Some(hurts), 1, false);
                    self.damage(finding, damage);
                }
                Holder::Condemned => {
                    let cause = "lie in condemned packs that no index object names, and snapshots need them";
                    let mend = if self.doubted { Vec::new() } else { vec![REPAIR_PACKS.to_owned()] };
                    let finding = advised(Finding::problem("blobs", cause), &mend, &[]);
                    self.damage(finding, Damage { kind: "blobs", hurts, mend, ..Damage::default() });
                }
                Holder::Nowhere => {
                    let cause = "are in no pack, and snapshots need them";
                    let give_up = if self.doubted { Vec::new() } else { give_up(&hurts) };
                    let finding = advised(Finding::problem("blobs", cause), &[], &give_up);
                    self.damage(finding, Damage { kind: "blobs", hurts, give_up, ..Damage::default() });
                }
            }
        }
        for fault in losses.faults {
            let names: Vec<String> = fault.hurt.snapshots.iter().map(Id::short).collect();
            let subject = format!("snapshot {}", names.join(", "));
            let finding = Finding::problem(
                subject,
                format!("its tree is not what it must be: {}", fault.error.chain()),
            );
            let trouble = is_trouble(&fault.error);
            let object = fault.hurt.snapshots.first().map(|id| format!("snapshots/{id}")).unwrap_or_default();
            let hurts = vec![fault.hurt];
            let give_up = if trouble || self.doubted { Vec::new() } else { give_up(&hurts) };
            let finding = match fault.error.next_step().filter(|_| trouble) {
                Some(step) => finding.with_hint(step.to_owned()),
                None => advised(finding, &[], &give_up),
            };
            self.damage(finding, Damage { object, kind: "snapshot", hurts, give_up, ..Damage::default() });
        }
    }
}

fn advised(finding: Finding, first: &[String], give_up: &[String]) -> Finding {
    match advice(first, give_up) {
        Some(said) => finding.with_hint(said),
        None => finding,
    }
}

/// What gives a snapshot up.
pub(super) fn forget(id: &Id) -> String {
    format!("strongroom forget {}", id.short())
}

/// That nothing of a snapshot can be had.
pub(super) fn whole_snapshot(id: &Id) -> Hurt {
    Hurt { snapshots: vec![*id], ranges: vec![PathRange::default()], ..Hurt::default() }
}
