//! What a restore would do, counted and told without doing it.

use std::collections::{HashMap, HashSet};

use super::Context;
use super::delete;
use super::fill::OTHER_SNAPSHOT;
use super::obstacles;
use super::others::{first_is_lost, is_same};
use super::plan::{Plan, Standing};
use super::request::{Action, Summary};
use super::target::Target;
use crate::error::{Error, Result};
use crate::format::node::NodeKind;
use crate::report::{Finding, printable};

/// Tells what the plan would do in a target, which need not be there.
pub(super) fn tell(
    context: &Context<'_>,
    target: Option<&Target>,
    plan: &Plan,
    summary: &mut Summary,
) -> Result<()> {
    let request = context.request;
    for folder in plan.folders.iter().filter(|folder| folder.standing != Standing::Same) {
        let action = if folder.standing == Standing::Other { Action::Updated } else { Action::Restored };
        request.tell(action, &folder.path, 0, true);
        summary.directories = summary.directories.saturating_add(1);
    }
    let mut stays: HashSet<&[u8]> = HashSet::new();
    for file in &plan.files {
        let action = match file.standing {
            _ if file.lost.is_some() => {
                let cause = file.lost.as_ref().map(Error::chain).unwrap_or_default();
                let finding = Finding::problem(printable(&file.path), format!("cannot be restored: {cause}"));
                let hint = file.lost.as_ref().and_then(Error::next_step);
                context.reporter.report(finding.with_hint(hint.unwrap_or(OTHER_SNAPSHOT)));
                summary.problems = summary.problems.saturating_add(1);
                continue;
            }
            Standing::Same | Standing::Equal => {
                summary.files_unchanged = summary.files_unchanged.saturating_add(1);
                summary.bytes_unchanged = summary.bytes_unchanged.saturating_add(file.lean.size);
                stays.insert(&file.path);
                let open =
                    target.and_then(|target| Some((target, target.open_existing(&file.path).ok()??.0)));
                let differs = open.is_some_and(|(target, open)| target.differs(&open, &file.lean.node()));
                if differs {
                    summary.mended = summary.mended.saturating_add(1);
                }
                request.tell(
                    if differs { Action::Mended } else { Action::Unchanged },
                    &file.path,
                    file.lean.size,
                    false,
                );
                continue;
            }
            Standing::Absent => Action::Restored,
            Standing::Compare | Standing::Other => Action::Updated,
        };
        request.tell(action, &file.path, file.lean.size, false);
        summary.files = summary.files.saturating_add(1);
        summary.bytes = summary.bytes.saturating_add(file.lean.size);
    }
    fetched(plan, summary);
    for other in &plan.others {
        if let Some(error) = &other.lost {
            missed(context, &other.path, error, summary);
            continue;
        }
        let same = match (target, &other.seen) {
            (Some(target), Some(seen)) => is_same(target, &other.path, &other.lean, seen)?,
            _ => false,
        };
        let action = match (same, &other.seen) {
            (true, _) => Action::Unchanged,
            (false, Some(_)) => Action::Updated,
            (false, None) => Action::Restored,
        };
        if same {
            stays.insert(&other.path);
        } else {
            summary.others = summary.others.saturating_add(1);
        }
        request.tell(action, &other.path, 0, false);
    }
    links(context, target, plan, &stays, summary)?;
    let Some(target) = target else { return Ok(()) };
    obstacles::count(context, target, plan, summary)?;
    delete::delete(context, target, plan, summary)
}

fn missed(context: &Context<'_>, path: &[u8], error: &Error, summary: &mut Summary) {
    let mut finding = Finding::problem(printable(path), format!("cannot be restored: {}", error.chain()));
    finding.hint = error.next_step().map(str::to_owned);
    context.reporter.report(finding);
    summary.problems = summary.problems.saturating_add(1);
}

fn fetched(plan: &Plan, summary: &mut Summary) {
    let mut bytes = 0u64;
    for piece in &plan.pieces {
        let length = plan.index.place(piece.place).map(|place| u64::from(place.plain_length));
        bytes = bytes.saturating_add(length.unwrap_or_default());
    }
    summary.bytes_fetched = bytes;
}

fn links(
    context: &Context<'_>,
    target: Option<&Target>,
    plan: &Plan,
    stays: &HashSet<&[u8]>,
    summary: &mut Summary,
) -> Result<()> {
    let mut identities: HashMap<&[u8], (u64, u64)> = HashMap::new();
    let lost = |lost: &Option<Error>| lost.is_some();
    let files = plan.files.iter().filter(|file| lost(&file.lost)).map(|file| &*file.path);
    let others = plan.others.iter().filter(|other| lost(&other.lost)).map(|other| &*other.path);
    let lost: HashSet<&[u8]> = files.chain(others).collect();
    for link in &plan.hard_links {
        let first_lost = lost.contains(&*link.first).then(|| first_is_lost(&link.first));
        if let Some(error) = first_lost.as_ref().or(link.lost.as_ref()) {
            missed(context, &link.path, error, summary);
            continue;
        }
        if let Some(target) = target
            && stays.contains(&*link.first)
            && let Some(seen) = target.look(&link.first)?
        {
            identities.insert(&link.first, seen.identity);
        }
        let same = link.seen.is_some_and(|seen| identities.get(&*link.first) == Some(&seen.identity));
        let is_folder = link.seen.is_some_and(|seen| seen.kind == Some(NodeKind::Directory));
        let action = match (same, link.seen.is_some()) {
            (true, _) => Action::Unchanged,
            (false, true) => Action::Updated,
            (false, false) => Action::Restored,
        };
        let counter = if same { &mut summary.files_unchanged } else { &mut summary.files };
        *counter = counter.saturating_add(1);
        context.request.tell(action, &link.path, 0, is_folder && same);
    }
    Ok(())
}
