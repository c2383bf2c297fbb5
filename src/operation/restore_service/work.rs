//! Doing what was planned: databases first, then files, then the proof, and last what takes the place of something.

use std::io::Write;
use std::time::{Duration, Instant};

use super::folder::FolderStep;
use super::plan::{DatabaseStep, Plan, Way};
use super::{RestoredDatabase, Summary, fit, prove, redis};
use crate::error::{Error, Result};
use crate::operation::restore::{self, Request};
use crate::report::{Finding, Reporter, printable};
use crate::source::server::target::{State, Target};
use crate::source::stream::Patience;

/// How long a server may say nothing while something is taken back, whatever it may do otherwise.
const CLEARING: Duration = Duration::from_mins(1);

/// How long a server may say nothing while it puts something in place, unless it may do so longer.
const SWAPPING: Duration = Duration::from_mins(10);

/// What was made and goes again where something fails.
#[derive(Default)]
struct Made<'a> {
    databases: Vec<(&'a dyn Target, String)>,
    /// Databases that were there, and empty, and may not be so any more.
    begun: Vec<(&'a dyn Target, String)>,
    /// Roles, which stay.
    roles: Vec<String>,
}

/// Restores what was planned.
///
/// # Errors
/// Where something fails: then no database was made, none that holds something was touched, and nothing was put in place.
pub fn run(plan: &Plan<'_>, reporter: &dyn Reporter) -> Result<Summary> {
    let mut made = Made::default();
    let mut summary = Summary::default();
    let outcome = fill_all(plan, &mut made, &mut summary, reporter);
    if let Err(error) = outcome {
        made.clear(reporter);
        forget_files(plan, reporter);
        return Err(error);
    }
    if let Err(error) = put_in_place(plan, &mut made, &mut summary) {
        // What is in its place by now stays there.
        made.clear(reporter);
        forget_files(plan, reporter);
        return Err(error);
    }
    Ok(summary)
}

/// All that can fail without anything having been changed that was there.
fn fill_all<'a>(
    plan: &Plan<'a>,
    made: &mut Made<'a>,
    summary: &mut Summary,
    reporter: &dyn Reporter,
) -> Result<()> {
    make_roles(plan, made, summary, reporter)?;
    for step in &plan.databases {
        let (restored, problems) = fill(plan, step, made, reporter)?;
        summary.databases.push(restored);
        summary.problems = summary.problems.saturating_add(problems);
        if let (Way::Replace(_), State::Holds(tables)) = (&step.way, &step.found.state) {
            fit::no_step_more(step.target, &step.database, tables, step.filled(), &plan.patience())?;
        }
    }
    if let Some(step) = &plan.redis {
        reporter.progress().set_stage("writing the file for Redis");
        redis::fill(plan, step, reporter)?;
    }
    restore_files(plan, summary, reporter)?;
    let replaces = plan.databases.iter().any(|step| matches!(step.way, Way::Replace(_)))
        || plan.folder.as_ref().is_some_and(|step| step.swap.is_some());
    if replaces && summary.problems > 0 {
        return Err(Error::corrupt(
            "what was restored is not what was backed up, as told above: what is there stays in its place",
        )
        .hint("restore into a new database without --in-place to look at it, or take an older snapshot"));
    }
    plan.options.interrupt.check()
}

/// Makes the roles that servers have not.
fn make_roles<'a>(
    plan: &Plan<'a>,
    made: &mut Made<'a>,
    summary: &mut Summary,
    reporter: &dyn Reporter,
) -> Result<()> {
    // What one of its databases lacks, the server lacks.
    for step in plan.databases.iter().filter(|step| !step.found.roles.is_empty()) {
        let roles = plan.globals(step.target)?;
        let content = |out: &mut dyn Write| plan.write(roles, reporter, out);
        let names = step.target.make_roles(&content, &plan.patience())?;
        made.roles.extend(names.iter().cloned());
        summary.roles.extend(names);
    }
    Ok(())
}

fn fill<'a>(
    plan: &Plan<'a>,
    step: &DatabaseStep<'a>,
    made: &mut Made<'a>,
    reporter: &dyn Reporter,
) -> Result<(RestoredDatabase, u64)> {
    let started = Instant::now();
    let (target, database, patience) = (step.target, step.filled(), plan.patience());
    let about = target.about();
    let created = step.way != Way::Fill;
    if created {
        target.create(database, &step.found.shape, &patience)?;
        made.databases.push((target, database.to_owned()));
    } else if !about.transactional {
        made.begun.push((target, database.to_owned()));
    }
    reporter.progress().set_stage(format!("filling {}", printable(database.as_bytes())));
    reporter.progress().set_total(1, step.dump.bytes);
    let content = |out: &mut dyn Write| plan.write(step.dump, reporter, out);
    let findings = target.fill(database, &step.found.shape, &content, &patience)?;
    for finding in findings {
        reporter.report(finding);
    }
    reporter.progress().set_stage(format!("counting the rows of {}", printable(database.as_bytes())));
    let counted = target.count(database, &patience)?;
    let mut restored = RestoredDatabase {
        server: about.name,
        database: step.database.clone(),
        place: step.dump.place.clone(),
        created: step.way == Way::Create,
        aside: None,
        tables: 0,
        rows: 0,
        uncounted: 0,
        bytes: step.dump.bytes,
        took: Duration::ZERO,
    };
    let problems = prove::compare(step.dump, &counted, &mut restored, reporter);
    restored.took = started.elapsed();
    reporter.progress().set_stage("");
    Ok((restored, problems))
}

/// The files, and the proof that they belong to what is in the databases.
fn restore_files(plan: &Plan<'_>, summary: &mut Summary, reporter: &dyn Reporter) -> Result<()> {
    let Some(step) = plan.folder.as_ref().filter(|_| !plan.files.is_empty()) else { return Ok(()) };
    let folder = step.filled();
    let request =
        Request { paths: plan.files.clone(), own: plan.options.needed.clone(), ..Request::default() };
    let interrupt = &plan.options.interrupt;
    let shown = printable(folder.as_os_str().as_encoded_bytes());
    let restored = restore::run(plan.repository, plan.snapshot, &request, folder, reporter, interrupt);
    let failed = |error: Error| match step.swap {
        Some(_) => error,
        None => error.hint(format!("remove what is in {shown}, and run the same command again")),
    };
    let restored = restored.map_err(failed)?;
    summary.files = restored.files;
    summary.bytes = restored.bytes;
    summary.problems = summary.problems.saturating_add(restored.problems);
    summary.proved = prove::service(plan, folder, reporter).map_err(failed)?;
    if let Some(proved) = &summary.proved {
        let problems = proved.new_problems.saturating_add(proved.known_problems);
        summary.problems = summary.problems.saturating_add(problems);
    }
    Ok(())
}

/// Puts in place what takes the place of something, once all of it is whole.
fn put_in_place<'a>(plan: &Plan<'a>, made: &mut Made<'a>, summary: &mut Summary) -> Result<()> {
    let folder = plan.folder.as_ref().filter(|_| !plan.files.is_empty());
    summary.folder_aside = folder.map(FolderStep::put_in_place).transpose()?.flatten();
    // To stop here would leave nobody knowing which of two is in place.
    let patience = Patience { silence: Some(SWAPPING), ..Patience::default() };
    let mut is_first = true;
    for (step, restored) in plan.databases.iter().zip(&mut summary.databases) {
        let Way::Replace(swap) = &step.way else { continue };
        if let Err(error) = step.target.swap(swap, &patience) {
            // Without any of its databases, the folder is as it was.
            if let Some(folder) = folder.filter(|_| is_first && summary.folder_aside.is_some()) {
                folder.take_back()?;
            }
            return Err(error);
        }
        is_first = false;
        made.databases.retain(|(_, name)| *name != swap.new);
        restored.aside = Some(swap.aside.clone());
    }
    if let Some(step) = &plan.redis {
        summary.redis = Some(redis::put_in_place(step)?);
    }
    Ok(())
}

/// Removes files that did not get into their place.
fn forget_files(plan: &Plan<'_>, reporter: &dyn Reporter) {
    if let Some(step) = &plan.redis {
        redis::forget(step);
    }
    let forgotten = plan.folder.as_ref().map_or(Ok(()), FolderStep::forget);
    if let Err(error) = forgotten {
        reporter.report(Finding::warning("files", error.chain()).with_hint("remove them by hand"));
    }
}

impl Made<'_> {
    /// Removes what was made, and says what may be left.
    fn clear(&mut self, reporter: &dyn Reporter) {
        let patience = Patience { silence: Some(CLEARING), ..Patience::default() };
        for (target, database) in self.databases.drain(..) {
            if let Err(error) = target.remove(&database, &patience) {
                let cause = format!("was made by this restore and is not removed: {}", error.chain());
                let finding = Finding::warning(printable(database.as_bytes()), cause);
                reporter.report(finding.with_hint("drop it by hand"));
            }
        }
        for role in self.roles.drain(..) {
            let finding = Finding::warning(printable(role.as_bytes()), "is a role that was made, and stays");
            reporter.report(finding.with_hint("the next try uses it; `dropuser NAME` removes it"));
        }
        for (target, database) in self.begun.drain(..) {
            let cause = format!("of {} was empty, and may hold a part of the dump now", target.about().name);
            let finding = Finding::warning(printable(database.as_bytes()), cause);
            reporter.report(finding.with_hint("drop it and make it anew before the next try"));
        }
    }
}
