//! Where so much seems to be gone or damaged that something else explains it better: a disk that is not mounted, a wrong
//! path, faulty memory. Nothing is given up then unless a person says so.
//!
//! Invariant: what was added since does not vouch for what was there before: neither a backup into an empty folder lifts a
//! doubt, nor what is left of a snapshot that was stored anew.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::format::blob::Class;
use crate::format::node::Timestamp;
use crate::id::Id;
use crate::operation::recommit::Draft;
use crate::repository::Repository;
use crate::repository::index::{PackInfo, ReadObjects};
use crate::repository::snapshot::Snapshot;

/// Fewer packs than this may be gone for good, whatever part of a small repository they are, as long as any is there.
const GONE_FEW: usize = 4;
/// Fewer packs than this may be damaged by the store, whatever part of a small repository they are.
const DAMAGED_FEW: usize = 4;

/// What explains better than damage that much seems to be gone.
const NOT_MOUNTED: &str = "which a wrong path or a disk that is not mounted explains better";

/// How many packs are gone, and how many are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Absent {
    /// Named by the index, and not there.
    pub(super) gone: usize,
    /// Of those, the ones that were named together and are gone together: by index objects at least half of whose packs
    /// are gone. Such an object lists what one run stored, or what a prune put together of older ones, and nothing that
    /// came later: however much has been stored since, half of what it tells of is gone.
    pub(super) together: usize,
    /// There, by the listing.
    pub(super) there: usize,
}

impl Absent {
    /// Counts packs that are gone, by the packs that each index object names.
    pub(super) fn count<'i, Packs: Iterator<Item = &'i Id> + Clone>(
        objects: impl Iterator<Item = Packs>,
        is_gone: &dyn Fn(&Id) -> bool,
        there: usize,
    ) -> Self {
        let (mut gone, mut together): (HashSet<Id>, HashSet<Id>) = Default::default();
        for packs in objects {
            let gone_here: HashSet<Id> = packs.clone().filter(|pack| is_gone(pack)).copied().collect();
            let there_here = packs.filter(|pack| !is_gone(pack)).collect::<HashSet<_>>().len();
            if gone_here.len() >= there_here {
                together.extend(&gone_here);
            }
            gone.extend(gone_here);
        }
        Self { gone: gone.len(), together: together.len(), there }
    }

    /// The same by an index that was read.
    pub(super) fn of(read: &ReadObjects, gone: &HashSet<Id>, there: usize) -> Self {
        if gone.is_empty() {
            return Self { there, ..Self::default() };
        }
        let objects: HashMap<Id, Vec<Id>> = read.packs_by_object();
        Self::count(objects.values().map(|packs| packs.iter()), &|pack| gone.contains(pack), there)
    }

    /// Whether it is so much that it is doubted.
    pub(super) fn is_doubted(self) -> bool {
        self.is_most() || self.together >= GONE_FEW
    }

    /// Whether most of all is gone, or all.
    pub(super) fn is_most(self) -> bool {
        self.gone > 0 && self.there == 0 || self.gone >= GONE_FEW && self.gone > self.there
    }

    /// What is said of it.
    pub(super) fn in_words(self) -> String {
        let Self { gone, there, .. } = self;
        if there == 0 {
            return format!("the store has no pack at all, {NOT_MOUNTED}");
        }
        let together = if self.is_most() { "" } else { ", half or more of what was stored with them" };
        format!(
            "the store has {there} packs, and {gone} more that the index names are gone{together}, {NOT_MOUNTED}"
        )
    }

    /// Refuses to go on where it is doubted.
    ///
    /// # Errors
    /// `Refused` then.
    pub(super) fn refuse_if_doubted(self) -> Result<()> {
        if !self.is_doubted() {
            return Ok(());
        }
        Err(Error::refused(format!("{}: nothing was changed", self.in_words())).hint(
            "look at the store, and run this again once its packs are there; where they are gone for good, \
             `strongroom repair --from OTHER` brings back what another repository has, and `strongroom repair index \
             --packs-are-gone` takes out their names",
        ))
    }
}

/// The packs of a repository, and how many of them are at fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AtFault {
    damaged: usize,
    gone: usize,
    known: usize,
    /// Whether all packs of a class are at fault, and those are no few.
    whole_class: bool,
}

impl AtFault {
    /// Counts packs at fault: `damaged` are, and `gone` are, of those that are `there` or gone; `named` says of which class
    /// each is that an index names.
    pub(super) fn count<'p>(
        damaged: &HashSet<Id>,
        gone: &HashSet<Id>,
        there: &HashSet<Id>,
        named: impl Iterator<Item = &'p PackInfo>,
    ) -> Self {
        let known = there.union(gone).count();
        let mut classes: HashMap<Class, HashSet<Id>> = HashMap::new();
        for pack in named.filter(|pack| there.contains(&pack.id) || gone.contains(&pack.id)) {
            classes.entry(pack.class).or_default().insert(pack.id);
        }
        let is_at_fault = |pack: &Id| damaged.contains(pack) || gone.contains(pack);
        let whole_class =
            classes.values().any(|packs| packs.len() >= DAMAGED_FEW && packs.iter().all(is_at_fault));
        let damaged = damaged.difference(gone).count();
        Self { damaged, gone: gone.len(), known, whole_class }
    }

    /// Whether it is so much that it is doubted: at least half of all, or all of a class. What is merely gone is not doubted
    /// here.
    pub(super) fn is_doubted(self) -> bool {
        let at_fault = self.damaged.saturating_add(self.gone);
        let half = at_fault >= DAMAGED_FEW && at_fault >= self.known.saturating_sub(at_fault);
        self.damaged > 0 && (half || self.whole_class)
    }

    /// What is said of it.
    pub(super) fn in_words(self) -> String {
        let Self { damaged, gone, known, .. } = self;
        let class = if self.whole_class { ", all of one class among them" } else { "" };
        let gone = if gone == 0 { String::new() } else { format!(", and {gone} are gone") };
        format!(
            "{damaged} of {known} packs seem to be damaged{class}{gone}, which faulty memory or a wrong path explains \
             better"
        )
    }
}

/// Whether what is left of a snapshot is so little that it is as good as lost: nothing, no file, or less than half of its
/// bytes.
pub(super) fn is_ruined(snapshot: &Snapshot, draft: &Draft) -> bool {
    let lost = draft.gone().filter(|gone| gone.lost.is_some());
    let known = lost.fold(draft.kept.bytes, |sum, gone| sum.saturating_add(gone.size));
    // Of what is lost without a name, only the manifest says how much it was.
    let bytes =
        if draft.ranges.is_empty() { known } else { known.max(snapshot.manifest.statistics.bytes_processed) };
    let kept = draft.kept;
    !draft.is_sound()
        && (draft.root.is_none() || kept.files == 0 || kept.bytes < bytes.saturating_sub(kept.bytes))
}

/// Whether too many snapshots seem to be lost to give them up together: most of all, or most of those that are no newer. A
/// single old one among newer ones is as many: what was stored since says nothing for what is gone. Those that stand for the
/// same backup are one.
pub(super) fn mostly_ruined(ruined: &HashSet<Id>, live: &[Snapshot]) -> bool {
    let mut backups: HashMap<Id, (Timestamp, bool)> = HashMap::new();
    for snapshot in live {
        let time = snapshot.manifest.time;
        let backup = backups.entry(snapshot.origin().snapshot).or_insert((time, false));
        *backup = (backup.0.max(time), backup.1 || ruined.contains(&snapshot.id));
    }
    let lost = backups.values().filter(|(_, is_ruined)| *is_ruined).count();
    let newest = backups.values().filter(|(_, is_ruined)| *is_ruined).map(|(time, _)| *time).max();
    let older = backups.values().filter(|(time, _)| Some(*time) <= newest).count();
    lost > backups.len() / 2 || lost > 0 && lost > older / 2
}

/// What is said where most snapshots seem to be lost.
pub(super) fn ruined_in_words(lost: usize, all: usize) -> String {
    format!("of {lost} of {all} snapshots nothing is left, or less than half, {NOT_MOUNTED}")
}

/// How many packs are gone of what is named.
///
/// # Errors
/// Whatever keeps the index from being read.
pub(super) fn gone_of(repository: &Repository, missing: &HashSet<Id>, there: usize) -> Result<Absent> {
    if missing.is_empty() {
        return Ok(Absent { there, ..Absent::default() });
    }
    Ok(Absent::of(&ReadObjects::read(repository)?, missing, there))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::key_slot::Role;
    use crate::format::node::NodeKind;
    use crate::format::snapshot::{Change, Manifest, Original};
    use crate::format::tests::manifest;
    use crate::operation::recommit::{Gone, LostRange, Totals};
    use crate::repository::tree::Root;

    fn snapshot(number: u8) -> Snapshot {
        let time = Timestamp { seconds: number.into(), nanoseconds: 0 };
        let manifest = Manifest { time, ..manifest() };
        Snapshot { id: Id([number; 32]), manifest, writer: [0; 32], writer_role: Role::Full }
    }

    fn ids(numbers: std::ops::Range<u8>) -> HashSet<Id> {
        numbers.map(|number| Id([number; 32])).collect()
    }

    #[test]
    fn what_was_stored_since_vouches_for_no_snapshot_that_is_gone() {
        let mut live: Vec<Snapshot> = (0..4).map(snapshot).collect();
        // What is left of each was stored anew once before.
        for part in [false, true] {
            if part {
                live.extend((0..4).map(|number| {
                    let mut copy = snapshot(number);
                    let (writer, sequence) = (copy.writer, copy.manifest.sequence);
                    let (snapshot, made_from, change) = (copy.id, copy.id, Change::Repaired);
                    copy.manifest.original = Some(Original { snapshot, writer, sequence, made_from, change });
                    Snapshot { id: Id([number + 100; 32]), ..copy }
                }));
            }
            for (gone, expected) in
                [(vec![], false), (vec![0], true), (vec![1], false), (vec![3], false), (vec![1, 2], true)]
            {
                let ruined: HashSet<Id> = gone.iter().map(|number| Id([*number; 32])).collect();
                assert_eq!(mostly_ruined(&ruined, &live), expected, "{gone:?}, {part}");
            }
        }
    }

    #[test]
    fn a_snapshot_without_files_or_most_of_its_bytes_is_ruined() {
        let lost = |size| {
            let gone = Gone { path: b"f".to_vec(), kind: NodeKind::File, size, lost: Some("lost".into()) };
            vec![std::sync::Arc::from(vec![gone])]
        };
        let range = || vec![LostRange { from: None, until: None, nodes: None, cause: "lost".into() }];
        let root = Some(Root { id: Id::default(), level: 0 });
        let draft = |files, bytes, parts, ranges, root| Draft {
            root,
            kept: Totals { files, bytes, ..Totals::default() },
            parts,
            ranges,
            made_up: Vec::new(),
        };
        let mut of = snapshot(1);
        of.manifest.statistics.bytes_processed = 1000;
        for (draft, expected) in [
            (draft(0, 0, vec![], vec![], root), false),
            (draft(1, 500, lost(500), vec![], root), false),
            (draft(1, 499, lost(500), vec![], root), true),
            (draft(0, 0, lost(0), vec![], root), true),
            // How much lay in a stretch that is lost the manifest says.
            (draft(3, 500, vec![], range(), root), false),
            (draft(3, 499, vec![], range(), root), true),
            (draft(3, 900, vec![], range(), None), true),
        ] {
            assert_eq!(is_ruined(&of, &draft), expected, "{draft:?}");
        }
    }

    #[test]
    fn most_packs_or_half_of_those_of_one_time_may_not_be_gone() {
        // The packs of each index object, and which of them are gone.
        let nights = |count: u8, packs: u8| -> Vec<Vec<Id>> {
            (0..count).map(|night| (0..packs).map(|pack| Id([night * packs + pack; 32])).collect()).collect()
        };
        let newer = || (100..200).map(|pack| vec![Id([pack; 32])]).collect::<Vec<_>>();
        let doubted = |objects: &[Vec<Id>], gone: &HashSet<Id>| {
            let all: HashSet<&Id> = objects.iter().flatten().collect();
            let there = all.iter().filter(|pack| !gone.contains(**pack)).count();
            let gone =
                Absent::count(objects.iter().map(|packs| packs.iter()), &|pack| gone.contains(pack), there);
            assert_eq!(gone.there + gone.gone, all.len());
            gone.is_doubted()
        };
        // A few, and all of few.
        assert!(!doubted(&[], &HashSet::new()));
        assert!(doubted(&nights(1, 1), &ids(0..1)));
        assert!(!doubted(&nights(2, 2), &ids(0..3)));
        assert!(doubted(&nights(4, 2), &ids(0..5)));
        for (objects, gone, expected) in [
            // All of the older ones, and half of them, whole nights or a pack of each.
            (nights(4, 2), ids(0..8), true),
            (nights(4, 2), ids(0..4), true),
            (nights(4, 2), [0, 2, 4, 6].map(|pack| Id([pack; 32])).into(), true),
            // Three packs are few; and one of three in each night is not half.
            (nights(4, 2), ids(0..3), false),
            (nights(8, 3), [0, 3, 6, 9, 12, 15].map(|pack| Id([pack; 32])).into(), false),
            // A prune put all older ones together.
            (nights(1, 20), ids(0..9), false),
            (nights(1, 20), ids(0..10), true),
            // One that a large object names hides no four of small ones.
            ([nights(1, 50), nights(60, 1)[50..].to_vec()].concat(), ids(49..54), true),
        ] {
            assert_eq!(doubted(&objects, &gone), expected, "{} of {objects:?}", gone.len());
            assert_eq!(doubted(&[objects, newer()].concat(), &gone), expected, "beside newer ones");
        }
        // What two objects name is counted once.
        assert!(!doubted(&[nights(2, 1), nights(2, 1), newer()].concat(), &ids(0..2)));
    }

    #[test]
    fn half_of_the_packs_or_a_whole_class_may_not_be_damaged_unless_they_are_few() {
        let pack = |number: u8, class| PackInfo { id: Id([number; 32]), size: 1, class };
        let class = |number| if number < 5 { Class::Data } else { Class::Metadata };
        for (damaged, gone, there, expected) in [
            (ids(0..3), ids(0..0), ids(0..3), false),
            (ids(1..5), ids(0..0), ids(0..8), true),
            (ids(1..5), ids(0..0), ids(0..9), false),
            (ids(2..7), ids(0..0), ids(0..10), true),
            // All of one class, and all but one.
            (ids(0..5), ids(0..0), ids(0..40), true),
            (ids(1..5), ids(0..0), ids(0..40), false),
            (ids(5..40), ids(0..0), ids(0..40), true),
            // What is gone is at fault as well, and is no doubt about what is damaged where nothing is.
            (ids(2..4), ids(4..6), ids(0..4), true),
            (ids(2..4), ids(4..5), ids(0..4), false),
            (ids(0..0), ids(4..9), ids(0..4), false),
        ] {
            let named: Vec<PackInfo> =
                there.union(&gone).map(|id| pack(id.as_bytes()[0], class(id.as_bytes()[0]))).collect();
            let at_fault = AtFault::count(&damaged, &gone, &there, named.iter());
            assert_eq!(at_fault.is_doubted(), expected, "{at_fault:?}");
        }
    }
}
