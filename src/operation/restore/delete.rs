//! Removing what is in the target and not in the snapshot.
//!
//! Invariants: only what is selected, and only in what was named in a backup, which its snapshot holds in full: never beside
//! that, for nobody said that there is nothing else; never what the backup was told to leave out, what is in
//! use, or what lies on another file system. Nothing at all where the snapshot may lack what was there.

use super::Context;
use super::left_out::{self, Spared};
use super::plan::Plan;
use super::request::{Action, Summary};
use super::target::{Removed, Target};
use crate::error::{Error, Result};
use crate::format::node::NodeKind;
use crate::format::path;
use crate::report::{Finding, printable};
use crate::repository::tree::lookup;

/// Refuses to remove everything where nothing is selected.
pub(super) fn refuse_nothing_selected(context: &Context<'_>, plan: &Plan) -> Result<()> {
    if context.request.delete && plan.named == 0 {
        return Err(Error::refused(
            "nothing of the snapshot is selected, and --delete would remove all the rest",
        )
        .hint("look at what the snapshot holds with `strongroom ls`, and at the patterns"));
    }
    Ok(())
}

/// Why nothing may be removed, where the snapshot may lack what was there.
pub(super) fn doubt(context: &Context<'_>, plan: &Plan) -> Result<Option<String>> {
    if plan.has_gaps {
        return Ok(Some("a part of the snapshot cannot be read".to_owned()));
    }
    if let Some(doubt) = left_out::doubt(&context.snapshot.manifest) {
        return Ok(Some(doubt));
    }
    let root = context.snapshot.root();
    context.named.doubt(&|place| Ok(lookup(context.reader, root, place)?.is_some()))
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
    if let Some(doubt) = &plan.doubt {
        summary.problems = summary.problems.saturating_add(1);
        let finding = Finding::problem("--delete", format!("nothing is deleted: {doubt}"));
        let hint = "`strongroom diff` with a folder shows what the snapshot does not hold";
        context.reporter.report(finding.with_hint(hint));
        return Ok(());
    }
    context.reporter.progress().set_stage("deleting");
    let spared = Spared::new(context, target, plan)?;
    for folder in &plan.listed {
        context.interrupt.check()?;
        clean(context, target, plan, folder, &spared, summary);
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
    if !context.named.is_whole(&context.in_snapshot(folder)) {
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
        target.remove_all(&place, context.request.dry_run, &|place| spared.stays(place), &mut |removed| {
            match removed {
                Ok(removed) => count(context, &removed, summary),
                Err(error) => {
                    summary.problems = summary.problems.saturating_add(1);
                    context.reporter.report(Finding::problem("--delete", error.chain()));
                }
            }
        });
    }
}

pub(super) fn count(context: &Context<'_>, removed: &Removed, summary: &mut Summary) {
    let counter =
        if removed.is_folder { &mut summary.directories_deleted } else { &mut summary.files_deleted };
    *counter = counter.saturating_add(1);
    summary.bytes_deleted = summary.bytes_deleted.saturating_add(removed.size);
    context.request.tell(Action::Deleted, &removed.path, removed.size, removed.is_folder);
}

impl Context<'_> {
    /// The path in the snapshot of what is at a path below the target.
    pub(super) fn in_snapshot(&self, place: &[u8]) -> Vec<u8> {
        let mut full = match self.top {
            // A single file lies in the target under its name.
            Some(node) if node.kind != NodeKind::Directory => {
                path::parent(&self.request.place).unwrap_or_default().to_vec()
            }
            _ => self.request.place.clone(),
        };
        if !place.is_empty() {
            path::push(&mut full, place);
        }
        full
    }
}
