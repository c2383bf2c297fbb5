//! What the restore of a service did, or would do, as lines and as objects.

use std::time::Duration;

use serde_json::{Value, json};

use super::runbook;
use crate::cli::output::{Output, human};
use crate::cli::restore::runbook::{Step, list, objects};
use crate::cli::restore::vaultwarden::{describe, proof, show};
use crate::error::Result;
use crate::operation::restore_service::{Plan, RestoredDatabase, Summary, Way};
use crate::report::printable;
use crate::service::authentik::NAME as AUTHENTIK;

/// A dry run: what would be done, step by step.
pub(super) fn plan(plan: &Plan<'_>, output: &Output) -> Result<()> {
    let steps = runbook::by_hand(plan);
    let next = runbook::next(plan, None);
    if output.json {
        let databases: Vec<Value> = plan
            .databases
            .iter()
            .map(|step| {
                json!({
                    "server": step.target.about().name,
                    "database": step.database,
                    "path": format!("/{}", String::from_utf8_lossy(&step.dump.place)),
                    "way": match step.way {
                        Way::Create => "create",
                        Way::Fill => "fill",
                        Way::Replace(_) => "replace",
                    },
                    "size": step.dump.bytes,
                })
            })
            .collect();
        return output.object(&json!({
            "message_type": "summary",
            "snapshot_id": plan.snapshot.id.to_hex(),
            "dry_run": true,
            "databases": databases,
            "redis": plan.redis.as_ref().map(|step| step.folder.display().to_string()),
            "target": plan.folder.as_ref().map(|folder| folder.path.display().to_string()),
            "steps": objects(&steps),
            "next_steps": objects(&next),
        }));
    }
    output.say(&format!(
        "dry run: nothing was changed. What would be done with snapshot {} of {}, by hand:",
        plan.snapshot.id.short(),
        human::local(plan.snapshot.manifest.time)
    ))?;
    list(&steps, output)?;
    output.say("\nWhat comes next:")?;
    list(&next, output)
}

/// The end of a restore.
pub(super) fn ended(plan: &Plan<'_>, summary: &Summary, took: Duration, output: &Output) -> Result<()> {
    let next = runbook::next(plan, Some(summary));
    if output.json {
        return output.object(&object(plan, summary, &next, took));
    }
    output.say(&format!(
        "restored from snapshot {} of {} in {}",
        plan.snapshot.id.short(),
        human::local(plan.snapshot.manifest.time),
        human::duration(took)
    ))?;
    if !summary.roles.is_empty() {
        let names = summary.roles.iter().map(|name| printable(name.as_bytes()));
        output.say(&format!("made the roles {}", names.collect::<Vec<_>>().join(", ")))?;
    }
    for database in &summary.databases {
        lines(database).iter().try_for_each(|line| output.say(line))?;
    }
    if let Some(redis) = &summary.redis {
        output.say(&format!("{} ({})", show(&redis.path), human::bytes(redis.bytes)))?;
        for aside in &redis.aside {
            output.say(&format!("what was there before is kept in {}", show(aside)))?;
        }
    }
    if let Some(folder) = plan.folder.as_ref().filter(|_| !plan.files.is_empty()) {
        let files = human::counted(summary.files, "file");
        output.say(&format!("{}: {files} ({})", show(&folder.path), human::bytes(summary.bytes)))?;
    }
    if let Some(aside) = &summary.folder_aside {
        output.say(&format!("what was there before is kept in {}", show(aside)))?;
    }
    if let Some(proved) = &summary.proved {
        let which = match plan.service() {
            Some(report) if report.name == AUTHENTIK => "that rows name",
            _ => "of attachments and Sends",
        };
        output.say(&describe(proved, which))?;
    }
    if summary.problems > 0 {
        output.say(&format!("{}: see above; exit code 3", human::counted(summary.problems, "problem")))?;
    }
    output.say("\nWhat comes next:")?;
    list(&next, output)
}

fn lines(database: &RestoredDatabase) -> Vec<String> {
    let name = printable(database.database.as_bytes());
    let made = if database.created { " (made)" } else { "" };
    let mut lines = vec![format!(
        "the database {name}{made} of {}: {}, {} as in the dump of {}, in {}",
        database.server,
        human::counted(database.tables, "table"),
        human::counted(database.rows, "row"),
        human::bytes(database.bytes),
        human::duration(database.took)
    )];
    if database.uncounted > 0 {
        let tables = human::counted(database.uncounted, "table");
        lines.push(format!("{tables} more, of which the backup had not counted the rows"));
    }
    lines.extend(
        database
            .aside
            .iter()
            .map(|aside| format!("what was there before is kept as {}", printable(aside.as_bytes()))),
    );
    lines
}

fn object(plan: &Plan<'_>, summary: &Summary, next: &[Step], took: Duration) -> Value {
    let databases: Vec<Value> = summary
        .databases
        .iter()
        .map(|database| {
            json!({
                "server": database.server,
                "database": database.database,
                "path": format!("/{}", String::from_utf8_lossy(&database.place)),
                "created": database.created,
                "previous": database.aside,
                "tables": database.tables,
                "rows": database.rows,
                "tables_not_counted": database.uncounted,
                "size": database.bytes,
                "duration": database.took.as_secs_f64(),
            })
        })
        .collect();
    let redis = summary.redis.as_ref().map(|redis| {
        json!({
            "path": redis.path.display().to_string(),
            "size": redis.bytes,
            "previous": redis.aside.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        })
    });
    json!({
        "message_type": "summary",
        "snapshot_id": plan.snapshot.id.to_hex(),
        "dry_run": false,
        "databases": databases,
        "roles_made": summary.roles,
        "redis": redis,
        "target": plan.folder.as_ref().map(|folder| folder.path.display().to_string()),
        "previous": summary.folder_aside.as_deref().map(|path| path.display().to_string()),
        "files_restored": summary.files,
        "bytes_restored": summary.bytes,
        "proof": summary.proved.as_ref().map(proof),
        "problems": summary.problems,
        "next_steps": objects(next),
        "total_duration": took.as_secs_f64(),
    })
}
