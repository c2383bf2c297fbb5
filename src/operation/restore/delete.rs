//! Removing what is in the target and not in the snapshot.
//!
//! Invariants: only what is selected, and only from folders that the snapshot holds in full: never beside what was
//! named in a backup, for nobody said that there is nothing else; never what the backup was told to leave out, what is in
//! use, or what lies on another file system. Nothing at all where the snapshot may lack what was there.

use std::collections::BTreeSet;

use super::Context;
use super::left_out::{self, Spared};
use super::plan::Plan;
use super::request::{Action, Summary};
use super::select::Fate;
use super::target::{Removed, Stays, Target};
use crate::error::{Error, Result};
use crate::format::path;
use crate::report::{Finding, printable};
use crate::repository::tree::lookup;

/// Refuses to remove everything where nothing is selected.
pub(super) fn refuse_nothing_selected(context: &Context<'_>, plan: &Plan) -> Result<()> {
    if context.request.delete && plan.selected == 0 {
        return Err(Error::refused(
            "nothing of the snapshot is selected, and --delete would remove all the rest",
        )
        .hint("look at what the snapshot holds with `strongroom ls`, and at the patterns"));
    }
    Ok(())
}

/// Removes what the snapshot does not hold, or only tells of it in a dry run.
pub(super) fn delete(
    context: &Context<'_>,
    target: &Target,
    plan: &Plan,
    summary: &mut Summary,
) -> Result<()> {
    if !context.request.delete || target.was_empty() {
        return Ok(());
    }
    let gaps = plan.has_gaps.then(|| "a part of the snapshot cannot be read".to_owned());
    if let Some(doubt) = gaps.or_else(|| left_out::doubt(&context.snapshot.manifest)) {
        summary.problems = summary.problems.saturating_add(1);
        let finding = Finding::problem("--delete", format!("nothing is deleted: {doubt}"));
        let hint = "`strongroom diff` with a folder shows what the snapshot does not hold";
        context.reporter.report(finding.with_hint(hint));
        return Ok(());
    }
    context.reporter.progress().set_stage("deleting");
    let partial = known_in_part(context)?;
    let spared = Spared::new(context, target, plan)?;
    for folder in &plan.listed {
        context.interrupt.check()?;
        clean(context, target, plan, folder, &partial, &spared, summary);
    }
    spared.tell();
    context.reporter.progress().set_stage("");
    Ok(())
}

fn clean(
    context: &Context<'_>,
    target: &Target,
    plan: &Plan,
    folder: &[u8],
    partial: &BTreeSet<Vec<u8>>,
    spared: &Spared<'_, '_>,
    summary: &mut Summary,
) {
    let names = match target.names_on_same_mount(folder) {
        Ok(Some(names)) => names,
        Ok(None) => return spared.note(left_out::ELSEWHERE, folder),
        Err(error) => {
            summary.problems = summary.problems.saturating_add(1);
            context.reporter.report(Finding::problem(printable(folder), error.chain()));
            return;
        }
    };
    let stays = |place: &[u8]| match context.request.selection.fate(&context.in_snapshot(place)) {
        _ if plan.held.contains(place) => Stays::All,
        Fate::Out => Stays::All,
        fate => match spared.why(place) {
            Some(why) => {
                spared.note(why, place);
                Stays::All
            }
            None if fate == Fate::Way => Stays::Itself,
            None => Stays::Nothing,
        },
    };
    let mut stray: Vec<Vec<u8>> = Vec::new();
    for name in names {
        let mut place = folder.to_vec();
        path::push(&mut place, &name);
        // A mount point's own folder belongs to whoever mounts there.
        let is_lost_and_found = folder.is_empty() && name == b"lost+found";
        if !plan.held.contains(&place) && !is_lost_and_found {
            stray.push(place);
        }
    }
    stray.sort();
    if partial.contains(&context.in_snapshot(folder)) {
        if !stray.is_empty() {
            let cause =
                "nothing is deleted directly in it, for the backup was told to take only a part of it";
            context.reporter.report(Finding::warning(format!("/{}", printable(folder)), cause));
        }
        return;
    }
    if let (Some(first), Some(why)) = (stray.first(), spared.folder(folder)) {
        return spared.note(why, first);
    }
    for place in stray {
        target.remove_all(&place, context.request.dry_run, &stays, &mut |removed| match removed {
            Ok(removed) => count(context, &removed, summary),
            Err(error) => {
                summary.problems = summary.problems.saturating_add(1);
                context.reporter.report(Finding::problem("--delete", error.chain()));
            }
        });
    }
}

fn count(context: &Context<'_>, removed: &Removed, summary: &mut Summary) {
    let counter =
        if removed.is_folder { &mut summary.directories_deleted } else { &mut summary.files_deleted };
    *counter = counter.saturating_add(1);
    summary.bytes_deleted = summary.bytes_deleted.saturating_add(removed.size);
    context.request.tell(Action::Deleted, &removed.path, removed.size, removed.is_folder);
}

/// The folders of which a backup was told to take only a part: those above what was named. A path stands in the
/// snapshot as it was named, so that any end of it may be its place.
fn known_in_part(context: &Context<'_>) -> Result<BTreeSet<Vec<u8>>> {
    let mut partial = BTreeSet::new();
    let root = context.snapshot.root();
    if lookup(context.reader, root, b"")?.is_some() {
        return Ok(partial);
    }
    for host in &context.snapshot.manifest.paths {
        let Ok(host) = path::parse(host) else { continue };
        let starts =
            host.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at.saturating_add(1));
        for start in std::iter::once(0).chain(starts) {
            let place = host.get(start..).unwrap_or_default();
            if lookup(context.reader, root, place)?.is_none() {
                continue;
            }
            let mut above = path::parent(place);
            while let Some(folder) = above {
                partial.insert(folder.to_vec());
                above = path::parent(folder);
            }
        }
    }
    Ok(partial)
}

impl Context<'_> {
    /// The path in the snapshot of what is at a path below the target.
    pub(super) fn in_snapshot(&self, place: &[u8]) -> Vec<u8> {
        let mut full = self.request.place.clone();
        if !place.is_empty() {
            path::push(&mut full, place);
        }
        full
    }
}
