//! What a run comes to: a few lines a job, fit for a mail, what failed first; or an object for a program.

use serde_json::{Value, json};

use super::job::Report;
use crate::cli::output::{human, json as objects};
use crate::id::Id;
use crate::operation::backup::Summary;

/// How an exit code is called.
fn word(code: u8) -> &'static str {
    match code {
        0 => "done",
        3 => "done, with problems",
        10 => "FAILED: no repository",
        11 => "NOT RUN: it runs already",
        12 => "FAILED: wrong key",
        130 => "INTERRUPTED",
        _ => "FAILED",
    }
}

/// A job in a few lines.
pub(super) fn text(report: &Report, dry_run: bool) -> String {
    let code = report.code();
    let note = if dry_run { " (dry run)" } else { "" };
    let mut lines =
        vec![format!("{}: {}{note}, in {}", report.job, word(code), human::duration(report.took))];
    for (step, error) in &report.failures {
        lines.push(format!("  {step}: {}", error.chain()));
        lines.extend(
            error.next_step().map(|next| format!("    {}", next.lines().collect::<Vec<_>>().join(" "))),
        );
    }
    if report.problems > 0 {
        lines.push(format!("  {}:", human::counted(report.problems, "problem")));
        lines.extend(report.told.iter().map(|told| format!("    {told}")));
        let more = report.problems.saturating_sub(report.told.len() as u64);
        lines.extend(
            (more > 0 && !report.told.is_empty()).then(|| format!("    and {more} more, told above")),
        );
    }
    lines.extend(report.backup.as_ref().map(|summary| format!("  {}", backed_up(summary))));
    lines.extend(maintained(report, dry_run).map(|line| format!("  {line}")));
    lines.join("\n")
}

fn backed_up(summary: &Summary) -> String {
    let counts = &summary.statistics;
    let files = counts.files_new.saturating_add(counts.files_changed).saturating_add(counts.files_unmodified);
    let amount = format!(
        "{} with {}, {} new or changed, {} stored",
        human::counted(files, "file"),
        human::bytes(counts.bytes_processed),
        human::count(counts.files_new.saturating_add(counts.files_changed)),
        human::bytes(counts.data_added_packed)
    );
    match (&summary.snapshot, &summary.unchanged_since) {
        (Some(id), _) => format!("snapshot {}: {amount}{}", id.short(), proved(summary)),
        (None, Some(same)) => format!("nothing changed since snapshot {}", same.short()),
        (None, None) => format!("nothing was stored: {amount}"),
    }
}

fn proved(summary: &Summary) -> &'static str {
    match &summary.service {
        Some(service) if service.whole => ", the service is whole",
        Some(_) => ", the service is NOT proved whole",
        None => "",
    }
}

fn maintained(report: &Report, dry_run: bool) -> Option<String> {
    let would = if dry_run { "would be " } else { "" };
    let mut parts = Vec::new();
    if let Some((gone, stay)) = report.forgotten {
        parts.push(format!(
            "{} {would}forgotten, {} kept",
            human::counted(gone, "snapshot"),
            human::count(stay)
        ));
    }
    if let Some(pruned) = &report.pruned {
        let freed = pruned.deleted.bytes.saturating_sub(pruned.written_bytes);
        let freed = if dry_run { pruned.plan.freed_bytes } else { freed };
        parts.push(format!("{} {would}freed", human::bytes(freed)));
    }
    if let Some(checked) = &report.checked {
        let read = if checked.packs_read > 0 {
            format!(", {} read", human::bytes(checked.bytes_read))
        } else {
            String::new()
        };
        parts.push(format!("{} checked{read}", human::counted(checked.packs, "pack")));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// A job as an object.
pub(super) fn object(report: &Report) -> Value {
    let mut backup = report.backup.as_ref().map(|summary| objects::summary(summary, report.took));
    if let Some(object) = backup.as_mut().and_then(Value::as_object_mut) {
        object.shift_remove("message_type");
    }
    let failures = report.failures.iter().map(
        |(step, error)| json!({ "step": step, "message": error.chain(), "next_step": error.next_step() }),
    );
    json!({
        "message_type": "job",
        "job": report.job,
        "exit_code": report.code(),
        "snapshot_id": report.backup.as_ref().and_then(|summary| summary.snapshot).map(|id: Id| id.to_hex()),
        "problems": report.problems,
        "failures": failures.collect::<Vec<_>>(),
        "snapshots_removed": report.forgotten.map(|(gone, _)| gone),
        "snapshots_kept": report.forgotten.map(|(_, stay)| stay),
        "bytes_freed": report.pruned.as_ref().map(|pruned| pruned.deleted.bytes.saturating_sub(pruned.written_bytes)),
        "packs_checked": report.checked.as_ref().map(|checked| checked.packs),
        "bytes_read": report.checked.as_ref().map(|checked| checked.bytes_read),
        "backup": backup,
        "total_duration": report.took.as_secs_f64(),
    })
}
