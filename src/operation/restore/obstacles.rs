//! Folders that stand in the place of a file, a link or the like.
//!
//! Invariants: one with something in it goes only with --delete, and only if all in it may go; that is found out before
//! anything is changed. Else nothing in it is touched, and what the snapshot has there is not restored, which is told.

use std::collections::HashSet;

use super::Context;
use super::delete;
use super::left_out::{ELSEWHERE, Spared};
use super::plan::{Plan, Standing};
use super::request::Summary;
use super::target::{Removed, Stays, Target};
use crate::error::{Error, Result};
use crate::format::node::NodeKind;
use crate::format::path;
use crate::report::printable;

/// Finds them, and what goes with each or why it cannot go.
pub(super) fn find(context: &Context<'_>, target: &Target, plan: &mut Plan) -> Result<()> {
    let mut outcomes = Vec::new();
    {
        let plan = &*plan;
        let mut spared = None;
        for place in candidates(target, plan)? {
            context.interrupt.check()?;
            if let Some(outcome) = one(context, target, plan, &mut spared, place)? {
                outcomes.push((place.to_vec().into_boxed_slice(), outcome));
            }
        }
    }
    let mut clearable = HashSet::new();
    for (place, outcome) in outcomes {
        match outcome {
            Ok(removed) => {
                clearable.insert(place.to_vec());
                clearable.extend(removed.iter().map(|removed| removed.path.clone()));
                plan.cleared.insert(place, removed);
            }
            Err(error) => lose(plan, &place, error),
        }
    }
    target.allow_clearing(clearable);
    Ok(())
}

/// Everything planned in whose place a folder is.
fn candidates<'p>(target: &Target, plan: &'p Plan) -> Result<Vec<&'p [u8]>> {
    let mut found: Vec<&[u8]> = Vec::new();
    for file in plan.files.iter().filter(|file| file.standing == Standing::Other && file.lost.is_none()) {
        if target.look(&file.path)?.is_some_and(|seen| seen.kind == Some(NodeKind::Directory)) {
            found.push(&file.path);
        }
    }
    let others = plan.others.iter().map(|other| (&other.path, &other.seen));
    let links = plan.hard_links.iter().map(|link| (&link.path, &link.seen));
    let is_folder = |seen: &Option<super::target::Seen>| {
        seen.as_ref().is_some_and(|seen| seen.kind == Some(NodeKind::Directory))
    };
    found.extend(others.chain(links).filter(|(_, seen)| is_folder(seen)).map(|(place, _)| &**place));
    Ok(found)
}

/// What goes with a folder, or why it stays; none for one that is empty.
fn one<'p, 'c>(
    context: &'p Context<'c>,
    target: &'p Target,
    plan: &'p Plan,
    spared: &mut Option<Spared<'p, 'c>>,
    place: &[u8],
) -> Result<Option<Result<Vec<Removed>>>> {
    let refused = |cause: &str, hint: &str| {
        let message = format!("a folder with something in it is in its place, and stays{cause}");
        Some(Err(Error::refused(message).hint(hint.to_owned())))
    };
    let away = "move the folder away, then restore again";
    match target.names_on_same_mount(place) {
        Ok(Some(names)) if names.is_empty() => return Ok(None),
        Ok(Some(_)) => {}
        Ok(None) => return Ok(refused(&format!(": {ELSEWHERE}"), away)),
        Err(error) => return Ok(Some(Err(error))),
    }
    if !context.request.delete {
        return Ok(refused("", "move it away, or let --delete remove it"));
    }
    if let Some(doubt) = &plan.doubt {
        return Ok(refused(&format!(": nothing is deleted, for {doubt}"), away));
    }
    if !context.named.is_whole(&context.in_snapshot(place)) {
        return Ok(refused(": the backup did not name it", away));
    }
    if spared.is_none() {
        *spared = Some(Spared::new(context, target, plan)?);
    }
    let Some(spared) = spared.as_ref() else { return Ok(None) };
    let folder = path::parent(place).unwrap_or_default();
    if let Some(why) = spared.folder(folder).or_else(|| spared.why(place)) {
        return Ok(refused(&format!(": {why}"), away));
    }
    let stays = |below: &[u8]| if below == place { Stays::Nothing } else { spared.stays(below) };
    let (mut gone, mut first, mut is_whole) = (Vec::new(), None, false);
    target.remove_all(place, true, &stays, &mut |removed| match removed {
        Ok(removed) if removed.path == place => is_whole = true,
        Ok(removed) => gone.push(removed),
        Err(error) => first = first.take().or(Some(error)),
    });
    if let Some(error) = first {
        return Ok(refused(&format!(": {}", error.chain()), away));
    }
    if !is_whole {
        let cause = match spared.first_noted() {
            Some((why, first)) => {
                format!(": of what lies in it, {} is not deleted: {why}", printable(&first))
            }
            // Each was asked whether it is selected, too.
            None => ": the patterns leave out something in it, which is not to be deleted".to_owned(),
        };
        return Ok(refused(&cause, away));
    }
    Ok(Some(Ok(gone)))
}

/// Notes why something planned is not restored.
pub(super) fn lose(plan: &mut Plan, place: &[u8], error: Error) {
    let file = plan.files.binary_search_by(|file| path::compare(&file.path, place));
    if let Some(file) = file.ok().and_then(|at| plan.files.get_mut(at)) {
        file.lost = Some(error);
    } else if let Some(other) = plan.others.iter_mut().find(|other| *other.path == *place) {
        other.lost = Some(error);
    } else if let Some(link) = plan.hard_links.iter_mut().find(|link| *link.path == *place) {
        link.lost = Some(error);
    }
}

/// Counts and tells what went with folders in the place of something else, or would go.
pub(super) fn count(
    context: &Context<'_>,
    target: &Target,
    plan: &Plan,
    summary: &mut Summary,
) -> Result<()> {
    for (place, removed) in &plan.cleared {
        let is_there = || {
            let seen = target.look(place)?;
            Ok::<_, Error>(seen.is_some_and(|seen| seen.kind == Some(NodeKind::Directory)))
        };
        if context.request.dry_run || !is_there()? {
            for removed in removed {
                delete::count(context, removed, summary);
            }
        }
    }
    Ok(())
}
