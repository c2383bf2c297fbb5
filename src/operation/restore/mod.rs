//! Bringing a snapshot back: into a new folder, or over what is there, as far as is asked for.
//!
//! First the whole plan: what is selected, how it stands beside what is in the target, and each file's chunks by
//! where they lie, so that each pack is read once. Files that are there are compared chunk by chunk, and what is right
//! is taken from them. Then the packs are read in parallel; a file gets its name when its last chunk is written. Links
//! and devices come after the files, then what is to be deleted goes, and the times of folders are set last.
//!
//! Invariants: nothing is written outside the target, and nothing that is there is changed unless it was asked for. A
//! file is there whole, with contents that its ids prove, or it is as it was before and reported.

mod compare;
mod delete;
mod dry;
mod fill;
mod lean;
mod left_out;
mod logs;
mod lone_logs;
mod named;
mod obstacles;
mod others;
pub mod own;
mod plan;
mod planner;
mod request;
mod reuse;
mod select;
pub mod target;
mod verify;
mod walk;

use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::Path;

use crate::error::{Error, Result};
use crate::format::key_slot::Role;
use crate::format::node::{Node, NodeKind};
use crate::format::path;
use crate::interrupt::Interrupt;
use crate::report::{Finding, Reporter, printable};
use crate::repository::Repository;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::{TreeReader, lookup};

use logs::Logs;
use named::Named;
use others::Others;
use plan::Plan;
pub use request::{Action, Event, Overwrite, Request, Summary};
pub use select::Selection;
use target::{Opening, Seen, Target};

/// What all parts of a restore ask.
struct Context<'a> {
    reader: &'a BlobReader<'a>,
    snapshot: &'a Snapshot,
    request: &'a Request<'a>,
    /// What lies at the place that is restored; none for the root of a snapshot that stores no root.
    top: Option<&'a Node>,
    target: Option<&'a Target>,
    /// What the backup named; nothing where nothing in the target is changed.
    named: &'a Named,
    reporter: &'a dyn Reporter,
    interrupt: &'a Interrupt,
}

/// Restores what a request names of a snapshot into `folder`.
///
/// # Errors
/// `Interrupted` where it was to stop: the files that have their names are whole, and nothing else is left of it.
/// `Refused` where the folder holds something and the request does not say what becomes of it, or where all would be
/// deleted; `Busy` where another restore is at work there; `NoSpace` where the disk is full.
pub fn run(
    repository: &Repository,
    snapshot: &Snapshot,
    request: &Request<'_>,
    folder: &Path,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<Summary> {
    repository.keyring().require(Role::Full, "restoring files")?;
    let reader = BlobReader::with_kept_metadata(repository, reporter)?;
    let found = match find(&reader, snapshot, &request.place) {
        // The rest of the tree may be whole: what is lost is told once the plan is made.
        Err(error) if request.place.is_empty() && TreeReader::is_damage(&error) => None,
        found => Some(found?),
    };
    check_paths(&reader, snapshot, request)?;
    let opening = Opening {
        may_hold_something: request.overwrite.is_some(),
        owner: !request.no_owner,
        sparse: request.sparse,
        own: own::identities(&request.own),
    };
    if request.overwrite.is_some() {
        own::refuse_within(&request.own, folder)?;
    }
    let target = if request.dry_run {
        Target::look_at(folder, &opening)?
    } else {
        Some(Target::open(folder, &opening)?)
    };
    let (reader, target, again) = (&reader, target.as_ref(), OnceCell::new());
    let top = found.as_ref().and_then(Option::as_ref);
    let named = if request.overwrite.is_some() { Named::of(reader, snapshot)? } else { Named::default() };
    let mut context = Context { reader, snapshot, request, top, target, named: &named, reporter, interrupt };
    let before = target.filter(|target| !target.was_empty()).map(Target::look_at_top).transpose()?;
    reporter.progress().set_stage("planning");
    let mut plan = planner::make(&context)?;
    if found.is_none() {
        // A store that failed once may answer now; else it is one of the gaps that were told.
        context.top = match find(reader, snapshot, &request.place) {
            Err(error) if plan.has_gaps && TreeReader::is_damage(&error) => None,
            found => {
                let found = found?;
                again.get_or_init(|| found).as_ref()
            }
        };
    }
    delete::refuse_nothing_selected(&context, &plan)?;
    let mut summary = begun(&plan);
    reporter.progress().set_total(plan.files.len() as u64, plan.bytes());
    if let Some(target) = target {
        reporter.progress().set_stage("comparing");
        compare::compare(&context, target, &mut plan)?;
    }
    plan.sort();
    reporter.progress().set_stage("");
    let logs = prepare(&context, folder, &mut plan, &mut summary)?;
    match target {
        Some(target) if !request.dry_run => {
            restore(&context, target, &plan, &logs, before.as_ref(), &mut summary)?;
        }
        _ => dry::tell(&context, target, &plan, &mut summary)?,
    }
    plan.index.report_troubles(reporter);
    Ok(summary)
}

/// The summary of a plan that nothing was done of yet.
fn begun(plan: &Plan) -> Summary {
    let files = plan.files.len().saturating_add(plan.hard_links.len()) as u64;
    Summary {
        total_files: files.saturating_add(plan.kept.0),
        total_bytes: plan.bytes().saturating_add(plan.kept.1),
        kept: plan.kept.0,
        bytes_kept: plan.kept.1,
        problems: plan.problems,
        ..Summary::default()
    }
}

/// What has to be known before anything is changed.
fn prepare(context: &Context<'_>, folder: &Path, plan: &mut Plan, summary: &mut Summary) -> Result<Logs> {
    if plan.selected == 0 && !plan.top_selected && !plan.has_gaps && plan.problems == 0 {
        summary.problems = summary.problems.saturating_add(1);
        let finding = Finding::problem("", "nothing in the snapshot matches the patterns");
        context
            .reporter
            .report(finding.with_hint("`strongroom ls` shows the paths that they are held against"));
    }
    let Some(target) = context.target else { return Ok(Logs::default()) };
    if plan.makes_in_top() {
        target.refuse_unwritable()?;
    }
    if context.request.delete && !target.was_empty() {
        plan.doubt = delete::doubt(context, plan)?;
    }
    obstacles::find(context, target, plan)?;
    lone_logs::refuse(context, target, plan)?;
    let logs = logs::find(context, target, folder, plan)?;
    if context.request.dry_run {
        logs.tell(context);
    }
    Ok(logs)
}

fn restore(
    context: &Context<'_>,
    target: &Target,
    plan: &Plan,
    logs: &Logs,
    before: Option<&Seen>,
    summary: &mut Summary,
) -> Result<()> {
    let mut others = Others { context, target, summary };
    others.sweep(plan);
    let unmade = others.make_folders(plan)?;
    let filled = fill::fill(context, target, plan, logs, &unmade)?;
    filled.count(others.summary);
    let lost: HashSet<&[u8]> = filled
        .lost
        .iter()
        .filter_map(|number| plan.files.get(usize::try_from(*number).ok()?))
        .map(|file| &*file.path)
        .collect();
    others.make_others(plan, logs, &lost, &unmade)?;
    obstacles::count(context, target, plan, others.summary)?;
    delete::delete(context, target, plan, others.summary)?;
    others.finish_folders(plan, &unmade);
    others.finish_top(plan, before);
    target.sync()?;
    if context.request.verify {
        let verified = verify::verify(context, target, plan, &lost)?;
        let summary = &mut *others.summary;
        summary.files_verified = verified.files;
        summary.bytes_verified = verified.bytes;
        summary.problems = summary.problems.saturating_add(verified.problems);
    }
    for finding in target.further_findings() {
        others.report(finding);
    }
    Ok(())
}

/// The node at a place; none for the root of a snapshot that stores no root.
///
/// # Errors
/// `Missing` where the snapshot holds nothing there.
pub fn find(reader: &BlobReader<'_>, snapshot: &Snapshot, place: &[u8]) -> Result<Option<Node>> {
    let node = lookup(reader, snapshot.root(), place)?;
    if node.is_none() && !place.is_empty() {
        let id = snapshot.id.short();
        return Err(Error::missing(format!("snapshot {id} holds nothing at /{}", printable(place)))
            .hint(format!("`strongroom ls {id}` lists what it holds")));
    }
    Ok(node)
}

/// Refuses paths that the snapshot does not hold, or that lie beside the place.
fn check_paths(reader: &BlobReader<'_>, snapshot: &Snapshot, request: &Request<'_>) -> Result<()> {
    for place in &request.paths {
        if !path::is_below(place, &request.place) {
            let (place, top) = (printable(place), printable(&request.place));
            return Err(Error::refused(format!("/{place} does not lie in /{top}"))
                .hint("name paths from the root of the snapshot, as `strongroom ls` shows them"));
        }
        find(reader, snapshot, place)?;
    }
    Ok(())
}

/// Where something at `path` goes when what lies at `place` is restored: below a folder without that folder's
/// own name, a single file under its name. Nothing for the folder itself.
fn relative(path: &[u8], place: &[u8], top: Option<&Node>) -> Option<Vec<u8>> {
    if top.is_some_and(|node| node.kind != NodeKind::Directory) {
        return Some(path::name(path).to_vec());
    }
    let rest = path.strip_prefix(place)?;
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    if rest.is_empty() { None } else { Some(rest.to_vec()) }
}
