//! The proof that what was restored is what was backed up: rows by table, and a service's files beside its rows.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::fit::plain;
use super::plan::{DatabaseStep, Plan};
use super::{RestoredDatabase, authentik};
use crate::error::{Error, Result};
use crate::format::snapshot::{DumpReport, ServiceReport, TableRows};
use crate::operation::restore_vaultwarden::{self, Proved};
use crate::report::{Finding, Reporter, printable, report_all};
use crate::service::authentik::NAME as AUTHENTIK;
use crate::service::vaultwarden::{self, QUESTIONS};

/// Only the server may read the key that signs sessions.
const KEY_MODE: u32 = 0o600;
/// Vaultwarden's name in a manifest.
const VAULTWARDEN: &str = "vaultwarden";

/// Compares rows with those of the dump; gives how many tables differ.
pub(super) fn compare(
    dump: &DumpReport,
    counted: &[TableRows],
    restored: &mut RestoredDatabase,
    reporter: &dyn Reporter,
) -> u64 {
    let mut findings = Vec::new();
    for was in &dump.tables {
        let now = counted.iter().find(|now| now.table == was.table).map(|now| now.rows);
        if now == Some(was.rows) {
            restored.tables = restored.tables.saturating_add(1);
            restored.rows = restored.rows.saturating_add(was.rows);
            continue;
        }
        let now = now.map_or_else(|| "is not there".to_owned(), |rows| format!("has {rows} rows"));
        let table = printable(was.table.as_bytes());
        let cause = format!("table {table} {now}, and had {} in the dump", was.rows);
        findings.push(Finding::problem(printable(restored.database.as_bytes()), cause));
    }
    let known: BTreeSet<&str> = dump.tables.iter().map(|table| table.table.as_str()).collect();
    let left_out = |table: &str| dump.without_rows.iter().any(|name| name == table);
    let more = counted.iter().filter(|now| !known.contains(now.table.as_str()) && !left_out(&now.table));
    restored.uncounted = more.count() as u64;
    let problems = findings.len() as u64;
    report_all(reporter, "tables", findings);
    problems
}

/// Proves a service's files by the database that was filled with its rows; nothing where there is nothing to prove.
pub(super) fn service(plan: &Plan<'_>, folder: &Path, reporter: &dyn Reporter) -> Result<Option<Proved>> {
    match plan.service() {
        Some(report) if report.name == VAULTWARDEN => prove_vaultwarden(plan, report, folder, reporter),
        Some(report) if report.name == AUTHENTIK => authentik::prove(plan, report, folder, reporter),
        _ => Ok(None),
    }
}

fn prove_vaultwarden(
    plan: &Plan<'_>,
    report: &ServiceReport,
    folder: &Path,
    reporter: &dyn Reporter,
) -> Result<Option<Proved>> {
    protect_keys(folder)?;
    let is_its =
        |step: &&DatabaseStep<'_>| report.origins.iter().any(|origin| origin.place == step.dump.place);
    let Some(step) = plan.databases.iter().find(is_its) else { return Ok(None) };
    reporter.progress().set_stage("proving that every attachment is there");
    let patience = plan.patience();
    let ask = |question: &&str| step.target.ask_in(step.filled(), question, &patience);
    let answers = QUESTIONS.iter().map(ask).collect::<Result<Vec<_>>>()?;
    let counted = step.target.count(step.filled(), &patience)?;
    let was = |name: &str| report.tables.iter().any(|table| table.table == name);
    let tables = counted.iter().map(|table| (plain(&table.table).to_owned(), table.rows));
    let contents = vaultwarden::from_answers(tables.filter(|(name, _)| was(name)).collect(), &answers)?;
    let proved =
        restore_vaultwarden::prove_files(folder, &contents, report, reporter, &plan.options.interrupt);
    reporter.progress().set_stage("");
    proved.map(Some)
}

/// Vaultwarden makes its key readable for all; a restore need not.
fn protect_keys(folder: &Path) -> Result<()> {
    let entries =
        fs::read_dir(folder).map_err(|error| Error::io("cannot read the restored folder", error))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && name.as_encoded_bytes().starts_with(b"rsa_key") {
            fs::set_permissions(entry.path(), Permissions::from_mode(KEY_MODE))
                .map_err(|error| Error::io("cannot protect the key of the service", error))?;
        }
    }
    Ok(())
}
