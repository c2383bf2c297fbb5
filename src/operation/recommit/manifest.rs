//! The manifest of a snapshot that is made from another one.
//!
//! Invariants: when the backup was made, of what, and by which host is never changed. What the manifest claims of
//! databases and services is true of the new tree; where that is not sure, it is not claimed.

use std::cmp::Ordering;

use crate::format::node::NodeKind;
use crate::format::path;
use crate::format::snapshot::{Change, DatabaseOutcome, Manifest, Original, Statistics};
use crate::repository::snapshot::Snapshot;
use crate::service::vaultwarden;

use super::rebuild::{Draft, LostRange};
use super::survey::Totals;

/// The manifest of `draft`, which was made from `old`; nothing where nothing is left of its tree.
pub(super) fn manifest(old: &Snapshot, draft: &Draft, change: Change, sequence: u64) -> Option<Manifest> {
    let root = draft.root?;
    let origin = old.origin();
    let mut manifest = Manifest {
        root: root.id,
        level: root.level,
        sequence,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        original: Some(Original {
            snapshot: origin.snapshot,
            writer: origin.writer,
            sequence: origin.sequence,
            made_from: old.id,
            change,
        }),
        ..old.manifest.clone()
    };
    if !draft.is_same() {
        recount(&mut manifest.statistics, &draft.kept);
        manifest.statistics.problems = manifest.statistics.problems.saturating_add(draft.losses());
        take_out_databases(&mut manifest, draft);
        take_out_dumps(&mut manifest, draft);
        take_out_of_service(&mut manifest, draft);
    }
    Some(manifest)
}

/// Makes the sums those of the new tree. Which of the files that are gone were new is not known: they are taken off
/// those that were unmodified first.
fn recount(counts: &mut Statistics, kept: &Totals) {
    let files = [&mut counts.files_unmodified, &mut counts.files_changed, &mut counts.files_new];
    reduce(files, kept.files);
    let folders =
        [&mut counts.directories_unmodified, &mut counts.directories_changed, &mut counts.directories_new];
    reduce(folders, kept.folders);
    counts.others = kept.others;
    counts.bytes_processed = kept.bytes;
}

fn reduce(counts: [&mut u64; 3], sum: u64) {
    let all = counts.iter().fold(0u64, |all, count| all.saturating_add(**count));
    let mut surplus = all.saturating_sub(sum);
    let mut missing = sum.saturating_sub(all);
    for count in counts {
        let taken = surplus.min(*count);
        *count = count.saturating_sub(taken).saturating_add(missing);
        surplus = surplus.saturating_sub(taken);
        missing = 0;
    }
}

fn take_out_databases(manifest: &mut Manifest, draft: &Draft) {
    let gone = |place: &[u8]| draft.gone_at(place);
    manifest.databases.retain(|report| gone(&report.place).is_none_or(|gone| gone.lost.is_some()));
    for report in &mut manifest.databases {
        if gone(&report.place).is_some() || draft.ranges.iter().any(|range| holds(range, &report.place)) {
            report.outcome = DatabaseOutcome::NotStored;
            report.messages = vec!["was stored, and is lost from the repository".to_owned()];
        }
    }
}

/// A dump that is no longer there, or not whole, has no report.
fn take_out_dumps(manifest: &mut Manifest, draft: &Draft) {
    let is_gone =
        |place: &[u8]| draft.gone_at(place).is_some() || draft.ranges.iter().any(|range| holds(range, place));
    if let Some(dumps) = &mut manifest.dumps {
        dumps.retain(|report| !is_gone(&report.place));
    }
    manifest.dumps = manifest.dumps.take().filter(|dumps| !dumps.is_empty());
}

fn take_out_of_service(manifest: &mut Manifest, draft: &Draft) {
    let Some(service) = &mut manifest.service else { return };
    if !draft.is_sound() || service.name != "vaultwarden" {
        service.whole = false;
    }
    if service.name == "vaultwarden" {
        let files = draft.gone().filter(|gone| gone.kind == NodeKind::File);
        for gone in files {
            vaultwarden::take_out(service, &gone.path, gone.size, gone.lost.is_some());
        }
    }
}

fn holds(range: &LostRange, place: &[u8]) -> bool {
    let from = range.from.as_deref().unwrap_or_default();
    let until = range.until.as_deref();
    path::compare(from, place) != Ordering::Greater
        && until.is_none_or(|until| path::compare(place, until) == Ordering::Less)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_become_those_of_the_new_tree() {
        for (counts, sum, expected) in [
            ([5, 3, 2], 10, [5, 3, 2]),
            ([5, 3, 2], 6, [1, 3, 2]),
            ([5, 3, 2], 1, [0, 0, 1]),
            ([5, 3, 2], 0, [0, 0, 0]),
            ([0, 3, 2], 6, [1, 3, 2]),
        ] {
            let [mut unmodified, mut changed, mut new] = counts;
            reduce([&mut unmodified, &mut changed, &mut new], sum);
            assert_eq!([unmodified, changed, new], expected, "{counts:?} {sum}");
        }
    }

    #[test]
    fn a_range_ends_before_the_path_behind_it() {
        let range = |from: Option<&str>, until: Option<&str>| LostRange {
            from: from.map(|path| path.as_bytes().to_vec()),
            until: until.map(|path| path.as_bytes().to_vec()),
            nodes: None,
            cause: String::new(),
        };
        let some = range(Some("a/b"), Some("a-b"));
        assert!(holds(&some, b"a/b") && holds(&some, b"a/b/c") && holds(&some, b"a/z"));
        assert!(!holds(&some, b"a") && !holds(&some, b"a-b") && !holds(&some, b"a/a"));
        assert!(holds(&range(None, None), b"any") && !holds(&range(None, Some("a")), b"b"));
    }
}
