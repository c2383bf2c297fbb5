//! Where so much seems to be gone or damaged that something else explains it better: a disk that is not mounted, a wrong
//! path, faulty memory. Nothing is given up then unless a person says so.
//!
//! Invariant: what was added since does not vouch for what was there before: a backup into an empty folder lifts no doubt.

use std::collections::HashSet;

use crate::error::Error;
use crate::format::node::Timestamp;
use crate::id::Id;
use crate::repository::snapshot::Snapshot;

/// Fewer packs than this may be gone for good, whatever part of a small repository they are, as long as any is there.
const GONE_FEW: usize = 4;
/// Fewer damaged packs than this may be the store's own, whatever part of a small repository they are.
const DAMAGED_FEW: usize = 64;

/// Whether most packs are gone: `gone` are named and not there, `there` are.
pub(super) fn mostly_gone(gone: usize, there: usize) -> bool {
    gone > 0 && there == 0 || gone >= GONE_FEW && gone > there
}

/// What is said of a store most of whose packs are gone.
pub(super) fn gone_in_words(gone: usize, there: usize) -> String {
    let better = "which a wrong path or a disk that is not mounted explains better";
    if there == 0 {
        return format!("the store has no pack at all, {better}");
    }
    format!("the store has {there} packs, and {gone} more that the index names are gone, {better}")
}

/// The refusal to go on where most packs are gone.
pub(super) fn refuse_gone(gone: usize, there: usize) -> Error {
    Error::refused(format!("{}: nothing was changed", gone_in_words(gone, there))).hint(
        "look at the store, and run this again once its packs are there; where they are gone for good, \
         `strongroom repair --from OTHER` brings back what another repository has, and `strongroom repair index \
         --packs-are-gone` takes out their names",
    )
}

/// Whether most of the packs that are there seem to be damaged.
pub(super) fn mostly_damaged(damaged: usize, there: usize) -> bool {
    damaged >= DAMAGED_FEW && damaged > there / 2
}

/// What is said of a store most of whose packs seem to be damaged.
pub(super) fn damaged_in_words(damaged: usize, there: usize) -> String {
    format!(
        "{damaged} of {there} packs seem to be damaged, which faulty memory or a wrong path explains better"
    )
}

/// Whether too many snapshots seem to be lost whole to give them up together: most of all, or most of those that are no
/// newer. A single old one among newer ones is as many: what was stored since says nothing for what is gone.
pub(super) fn mostly_ruined(ruined: &HashSet<Id>, live: &[Snapshot]) -> bool {
    let is_ruined = |snapshot: &&Snapshot| ruined.contains(&snapshot.id);
    let lost = live.iter().filter(is_ruined).count();
    let newest: Option<Timestamp> =
        live.iter().filter(is_ruined).map(|snapshot| snapshot.manifest.time).max();
    let older = live.iter().filter(|snapshot| Some(snapshot.manifest.time) <= newest).count();
    lost > live.len() / 2 || lost > 0 && lost > older / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::key_slot::Role;
    use crate::format::snapshot::Manifest;
    use crate::format::tests::manifest;

    #[test]
    fn what_was_stored_since_vouches_for_no_snapshot_that_is_gone() {
        let live: Vec<Snapshot> = (0..4)
            .map(|number: u8| {
                let time = Timestamp { seconds: number.into(), nanoseconds: 0 };
                let manifest = Manifest { time, ..manifest() };
                Snapshot { id: Id([number; 32]), manifest, writer: [0; 32], writer_role: Role::Full }
            })
            .collect();
        for (gone, expected) in
            [(vec![], false), (vec![0], true), (vec![1], false), (vec![3], false), (vec![1, 2], true)]
        {
            let ruined: HashSet<Id> = gone.iter().map(|number| Id([*number; 32])).collect();
            assert_eq!(mostly_ruined(&ruined, &live), expected, "{gone:?}");
        }
    }

    #[test]
    fn a_few_packs_may_be_gone_or_damaged_and_most_may_not() {
        for (gone, there, expected) in [
            (0, 0, false),
            (1, 0, true),
            (3, 1, false),
            (4, 1, true),
            (4, 4, false),
            (8, 2, true),
            (5, 9, false),
        ] {
            assert_eq!(mostly_gone(gone, there), expected, "{gone} gone, {there} there");
        }
        for (damaged, there, expected) in [(63, 63, false), (64, 64, true), (64, 128, false), (65, 128, true)]
        {
            assert_eq!(mostly_damaged(damaged, there), expected, "{damaged} of {there}");
        }
    }
}
