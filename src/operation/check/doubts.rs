//! Damage so great that something else explains it better: it is told as what it may be, and no command is named that would
//! give up what is merely not mounted, or misread.
//!
//! Invariant: where there is a doubt, nothing is said to mend anything, by this finding or another.

use std::collections::{HashMap, HashSet};

use super::Check;
use super::faults::{Fault, Mend};
use super::look::Look;
use super::losses::{Holder, Losses};
use crate::error::{ErrorKind, Result};
use crate::id::Id;
use crate::operation::doubt::{Absent, AtFault, is_ruined, mostly_ruined, ruined_in_words};
use crate::operation::recommit::Around;
use crate::operation::repair::snapshots as repair;
use crate::report::{Collector, Damage, Finding, Hurt, PathRange};
use crate::repository::host;
use crate::repository::snapshot::Snapshot;

/// What to do where packs seem to be gone.
const LOOK: &str = "look whether the disk is mounted and whether this is the right folder, and check again once the packs are \
                    there; where they are gone for good, `strongroom repair --help` tells what can be done";
/// What to do where packs seem to be damaged.
const LOOK_ELSEWHERE: &str = "look at this machine and at the store, and check from another machine; `strongroom repair packs \
                              --help` tells what can be done where they are damaged indeed";

impl Check<'_> {
    /// Tells of a store in which too much seems to be gone or damaged; what is told of packs after that names no command.
    pub(super) fn tell_doubts(
        &mut self,
        look: &Look,
        faults: &mut Vec<Fault>,
        losses: &mut Losses,
        found: &[Snapshot],
    ) -> Result<()> {
        // A wrong index, or a pack that is damaged, may be all that is wrong, and what mends it is named with it; so are
        // packs that no index object names, or that were condemned too early.
        let lie_elsewhere = [Holder::Unnamed, Holder::Condemned];
        let explained = !faults.is_empty()
            || !look.read.damaged.is_empty()
            || lie_elsewhere.iter().any(|holder| losses.hurts.contains_key(holder));
        self.tell_doubts_of_packs(look, faults, losses, found);
        if self.doubted || explained {
            return Ok(());
        }
        let ruined = self.ruined(losses, found)?;
        if mostly_ruined(&ruined, found) {
            let mut names: Vec<String> = ruined.iter().map(Id::short).collect();
            names.sort();
            let hint = format!(
                "{LOOK}; `strongroom repair snapshots --forget {}` gives them up by name",
                names.join(" ")
            );
            self.doubt(ruined_in_words(ruined.len(), found.len()), &hint, Vec::new());
        }
        Ok(())
    }

    /// The same by the packs alone. Whom it hurts that packs are gone is told with the doubt, or not at all where that is
    /// whatever is stored.
    pub(super) fn tell_doubts_of_packs(
        &mut self,
        look: &Look,
        faults: &mut Vec<Fault>,
        losses: &mut Losses,
        found: &[Snapshot],
    ) {
        let (gone_packs, there) = (look.gone(), look.counted());
        let gone = Absent::of(&look.read, &gone_packs, look.listed.len());
        let mut damaged: HashSet<Id> =
            faults.iter().filter(|fault| seems_damaged(fault)).map(|fault| fault.pack).collect();
        damaged.extend(found_by_walk(look, faults, losses));
        let at_fault = AtFault::count(&damaged, &gone_packs, &there, look.index.packs().iter());
        if gone.is_doubted() || gone.there == 0 && !found.is_empty() {
            faults.retain(|fault| !gone_packs.contains(&fault.pack));
            let hurts = if gone.is_most() || gone.there == 0 {
                losses.hurts.clear();
                losses.faults.clear();
                Vec::new()
            } else {
                take_hurts(losses, &gone_packs)
            };
            self.doubt(gone.in_words(), LOOK, hurts);
        } else if at_fault.is_doubted() {
            self.doubt(at_fault.in_words(), LOOK_ELSEWHERE, Vec::new());
        }
        if self.doubted {
            for fault in faults.iter_mut() {
                (fault.mend, fault.hint) = (Mend::None, None);
            }
        }
    }

    /// Snapshots that lack something which is in no pack that is known, and of which little is left without it.
    fn ruined(&self, losses: &Losses, found: &[Snapshot]) -> Result<HashSet<Id>> {
        let hurts = losses.hurts.get(&Holder::Nowhere).into_iter().flatten();
        let lacking: HashSet<Id> = hurts.flat_map(|hurt| hurt.snapshots.iter().copied()).collect();
        if lacking.is_empty() {
            return Ok(lacking);
        }
        let wanted: Vec<Snapshot> =
            found.iter().filter(|snapshot| lacking.contains(&snapshot.id)).cloned().collect();
        // What is worth telling of it is told already.
        let (quiet, host) = (Collector::default(), host::name());
        let around = Around { cache: None, host: &host, reporter: &quiet, interrupt: self.interrupt };
        match repair::drafts(self.repository, &wanted, around) {
            Ok(drafts) => {
                let drafts = wanted.iter().zip(&drafts);
                let ruined = drafts.filter(|(snapshot, draft)| is_ruined(snapshot, draft));
                Ok(ruined.map(|(snapshot, _)| snapshot.id).collect())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            // Something changes meanwhile, or cannot be had: what is certain are those that lost the top of their tree.
            Err(_) => Ok(topless(losses)),
        }
    }

    fn doubt(&mut self, cause: String, hint: &str, hurts: Vec<Hurt>) {
        self.doubted = true;
        let finding = Finding::problem("the store", cause).with_hint(hint);
        self.damage(finding, Damage { kind: "pack", hurts, ..Damage::default() });
    }
}

/// Whom it hurts that packs are gone: taken out of what is told later.
fn take_hurts(losses: &mut Losses, gone: &HashSet<Id>) -> Vec<Hurt> {
    let of_gone = |holder: &Holder| matches!(holder, Holder::Pack(pack) if gone.contains(pack));
    let taken = losses.hurts.extract_if(.., |holder, _| of_gone(holder)).flat_map(|(_, hurts)| hurts);
    // A file may lack something of several packs.
    let mut together: HashMap<Vec<Id>, Hurt> = HashMap::new();
    for hurt in taken {
        let same = together.entry(hurt.snapshots.clone()).or_default();
        same.snapshots.clone_from(&hurt.snapshots);
        same.files.extend(hurt.files);
        same.ranges.extend(hurt.ranges);
        same.more = same.more.max(hurt.more);
    }
    let mut hurts: Vec<Hurt> = together.into_values().collect();
    for hurt in &mut hurts {
        hurt.files.sort();
        hurt.files.dedup();
        hurt.ranges.sort_by(|one, other| (&one.from, &one.until).cmp(&(&other.from, &other.until)));
        hurt.ranges.dedup();
    }
    hurts.sort_by(|one, other| one.snapshots.cmp(&other.snapshots));
    hurts
}

/// Packs of which only the walk through trees found that they are damaged: they are told as faults as well, later.
fn found_by_walk(look: &Look, faults: &[Fault], losses: &Losses) -> HashSet<Id> {
    let known: HashSet<Id> = faults.iter().map(|fault| fault.pack).collect();
    let packs = losses.hurts.keys().filter_map(|holder| match holder {
        Holder::Pack(pack) => Some(*pack),
        Holder::Unnamed | Holder::Condemned | Holder::Nowhere => None,
    });
    let (gone, condemned) = (look.gone(), &look.condemned);
    packs.filter(|pack| !(known.contains(pack) || gone.contains(pack) || condemned.contains(pack))).collect()
}

fn seems_damaged(fault: &Fault) -> bool {
    matches!(fault.mend, Mend::Pack | Mend::UnreadPack | Mend::PackByFullKey | Mend::GiveUpPack)
}

/// Snapshots the top of whose tree is in no pack that is known.
fn topless(losses: &Losses) -> HashSet<Id> {
    let hurts = losses.hurts.get(&Holder::Nowhere).into_iter().flatten();
    let whole = hurts.filter(|hurt| hurt.ranges.contains(&PathRange::default()));
    whole.flat_map(|hurt| hurt.snapshots.iter().copied()).collect()
}
