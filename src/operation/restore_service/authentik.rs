//! What the restore of an authentik asks besides: whether the release that last ran on a database lets it give way, and
//! whether every uploaded file that a row names was restored.
//!
//! Invariant: a file counts only where it lies in the restored folder itself, behind no link.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::plan::Plan;
use crate::error::{Error, Result};
use crate::format::snapshot::{DumpKind, DumpReport, ServiceReport};
use crate::operation::restore_vaultwarden::Proved;
use crate::report::{Finding, Reporter, Severity, printable};
use crate::service::authentik::{self, Outcome, Proof};
use crate::source::server::Row;
use crate::source::server::target::Target;
use crate::source::stream::Patience;

/// Whether a dump is that of the authentik of which a report tells.
pub(super) fn is_its(report: &ServiceReport, dump: &DumpReport) -> bool {
    report.name == authentik::NAME
        && dump.kind == DumpKind::Postgres
        && report.origins.iter().any(|origin| origin.place == dump.place)
}

/// Refuses a database on which a release last ran under which the snapshot must not go back.
pub(super) fn fitting_release(
    report: &ServiceReport,
    target: &dyn Target,
    database: &str,
    patience: &Patience,
) -> Result<()> {
    let ask = |question: &str| target.ask_in(database, question, patience);
    let rows = rows_of_all(&authentik::question_of_release(), &ask)?;
    let there = rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
    authentik::refusal(report.release.as_deref(), there).map_or(Ok(()), |refusal| {
        Err(Error::refused(refusal.cause)
            .hint(format!("name a database that does not exist yet, without --in-place: {}", refusal.hint)))
    })
}

/// Proves the uploaded files by the database that was filled; nothing where that is not among what is restored.
pub(super) fn prove(
    plan: &Plan<'_>,
    report: &ServiceReport,
    folder: &Path,
    reporter: &dyn Reporter,
) -> Result<Option<Proved>> {
    let Some(step) = plan.databases.iter().find(|step| is_its(report, step.dump)) else { return Ok(None) };
    reporter.progress().set_stage("proving that every uploaded file is there");
    let patience = plan.patience();
    let ask = |question: &str| step.target.ask_in(step.filled(), question, &patience);
    let questions = authentik::questions();
    let answers = questions.iter().map(|question| rows_of_all(question, &ask)).collect::<Result<Vec<_>>>()?;
    let counted = step.target.count(step.filled(), &patience)?;
    let tables = counted.into_iter().map(|table| (table.table, table.rows)).collect();
    let contents = authentik::from_answers(tables, &answers)?;
    let mut proved = Proved {
        users: contents.users,
        tables: contents.tables.len() as u64,
        rows: contents.tables.iter().fold(0, |sum, (_, rows)| sum.saturating_add(*rows)),
        schema: contents.schema.clone(),
        is_readable: true,
        ..Proved::default()
    };
    // The rows are those of the dump, and the backup told the same of them.
    for finding in &contents.findings {
        count(finding, &mut proved.known_problems);
        reporter.report(finding.clone());
    }
    let uploads = report.origins.iter().filter(|origin| origin.setting == authentik::UPLOADS);
    let uploads: Vec<Vec<u8>> = uploads.map(|origin| origin.place.clone()).collect();
    if uploads.is_empty() {
        // They are kept elsewhere, or the backup told that nobody stores them.
        proved.known_problems = proved.known_problems.saturating_add(report.damaged.len() as u64);
    } else {
        let mut proof = Proof::new(&contents, uploads);
        look(&mut proof, folder, plan)?;
        // The rows were read a moment ago, and nobody uses the database yet: it still names what it named.
        let outcome = proof.finish(&|_| Ok(vec![Row::new()]));
        tell(outcome, report, &mut proved, reporter);
    }
    reporter.progress().set_stage("");
    Ok(Some(proved))
}

/// The rows of all queries that a question gives.
fn rows_of_all(question: &str, ask: &dyn Fn(&str) -> Result<Vec<Row>>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for query in ask(question)?.into_iter().flatten().flatten() {
        rows.extend(ask(&query)?);
    }
    Ok(rows)
}

/// Looks for the named files in the restored folder.
fn look(proof: &mut Proof, folder: &Path, plan: &Plan<'_>) -> Result<()> {
    let folder =
        folder.canonicalize().map_err(|error| Error::io("cannot look into the restored folder", error))?;
    for place in proof.places() {
        plan.options.interrupt.check()?;
        let path = folder.join(OsStr::from_bytes(&place));
        let is_itself = path.canonicalize().is_ok_and(|led_to| led_to == path);
        if let Some(meta) = path.symlink_metadata().ok().filter(|meta| is_itself && meta.is_file()) {
            proof.observe(&place, meta.len());
        }
    }
    Ok(())
}

/// Tells what is missing, and whether the backup knew it.
fn tell(outcome: Outcome, report: &ServiceReport, proved: &mut Proved, reporter: &dyn Reporter) {
    proved.files = outcome.proved;
    proved.bytes = outcome.bytes;
    proved.compared = true;
    let damaged: BTreeSet<&[u8]> = report.damaged.iter().map(|damage| damage.place.as_slice()).collect();
    let is_known = |place: &&Vec<u8>| damaged.contains(place.as_slice());
    let known = outcome.missing.iter().filter(is_known).count() as u64;
    let others = (outcome.missing.len() as u64).saturating_sub(known);
    // Their rows are in the dump still.
    let deleted = others <= report.deleted_meanwhile;
    proved.known_problems = proved.known_problems.saturating_add(known);
    proved.new_problems = proved.new_problems.saturating_add(if deleted { 0 } else { others });
    let shown: BTreeSet<String> = damaged.iter().map(|place| format!("/{}", printable(place))).collect();
    for mut finding in outcome.findings {
        if shown.contains(&finding.subject) {
            finding.cause.push_str(", as it was at the backup");
        } else if deleted {
            finding.cause.push_str(", as it was deleted while the backup ran");
            finding.severity = Severity::Warning;
        }
        reporter.report(finding);
    }
}

fn count(finding: &Finding, problems: &mut u64) {
    *problems = problems.saturating_add(u64::from(finding.severity == Severity::Problem));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::snapshot::Damage;
    use crate::report::Collector;

    fn told(damaged: &[&str], deleted_meanwhile: u64) -> (Proved, Vec<Finding>) {
        let damage = |place: &&str| Damage { place: place.as_bytes().to_vec(), expected: 0, found: None };
        let report = ServiceReport {
            name: authentik::NAME.into(),
            origins: Vec::new(),
            schema: None,
            tables: Vec::new(),
            files_proved: 0,
            bytes_proved: 0,
            damaged: damaged.iter().map(damage).collect(),
            orphans: Vec::new(),
            deleted_meanwhile,
            being_uploaded: 0,
            whole: false,
            release: None,
        };
        let missing = ["media/a", "media/b"];
        let outcome = Outcome {
            missing: missing.iter().map(|place| place.as_bytes().to_vec()).collect(),
            findings: missing.iter().map(|place| Finding::problem(format!("/{place}"), "gone")).collect(),
            ..Outcome::default()
        };
        let (mut proved, reporter) = (Proved::default(), Collector::default());
        tell(outcome, &report, &mut proved, &reporter);
        (proved, reporter.findings())
    }

    #[test]
    fn what_the_backup_knew_is_told_apart() {
        let (proved, findings) = told(&["media/a"], 0);
        assert_eq!((proved.known_problems, proved.new_problems), (1, 1));
        assert_eq!(findings[0].cause, "gone, as it was at the backup");
        assert_eq!(findings[1].cause, "gone");

        let (proved, findings) = told(&["media/a"], 1);
        assert_eq!((proved.known_problems, proved.new_problems), (1, 0));
        assert_eq!(findings[0].severity, Severity::Problem);
        assert_eq!(findings[1].severity, Severity::Warning);

        // One file more than were deleted is lost.
        let (proved, findings) = told(&[], 1);
        assert_eq!((proved.known_problems, proved.new_problems), (0, 2));
        assert!(findings.iter().all(|finding| finding.severity == Severity::Problem));
    }
}
