//! `strongroom restore --vaultwarden`

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Arguments;
use super::runbook::{Step, list, objects, steps};
use crate::cli::exit::Outcome;
use crate::cli::global::Global;
use crate::cli::ls::split;
use crate::cli::output::{Output, human};
use crate::error::{Error, ErrorKind, Result};
use crate::operation::restore_vaultwarden::{self, Ending, Options, Proved, Summary};
use crate::report::printable;
use crate::repository::snapshot::Snapshot;

/// Options that put a Vaultwarden back in place.
#[derive(clap::Args)]
#[command(next_help_heading = "A Vaultwarden, back in place")]
pub(super) struct Flags {
    /// Put a Vaultwarden back: the target is its data folder; what is there is replaced once the new one is proved
    /// whole, and kept aside
    #[arg(long, conflicts_with_all = [
        "paths", "include", "iinclude", "include_file", "iinclude_file", "exclude", "iexclude", "exclude_file",
        "iexclude_file", "overwrite", "delete", "verify", "sparse", "no_owner",
    ])]
    pub(super) vaultwarden: bool,
    /// Do not keep what was in the data folder before, unless what is restored is not whole
    #[arg(long, requires = "vaultwarden")]
    no_keep_previous: bool,
    /// Make every client fetch its vault anew, as the admin page does with "Force clients to resync"
    #[arg(long, requires = "vaultwarden")]
    resync_clients: bool,
    /// Give the files the owner they had at the backup, and not the owner of the data folder that is there
    #[arg(long, requires = "vaultwarden")]
    owner_from_snapshot: bool,
    /// Put it in place even if it does not pass its proof, as long as its database can be read
    #[arg(long, requires = "vaultwarden")]
    accept_problems: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let Arguments { snapshot: name, filter, dry_run, vaultwarden: flags, .. } = arguments;
    let target = arguments.target()?;
    let started = Instant::now();
    let (name, place) = split(name)?;
    let repository = global.open(output)?;
    let snapshot = repository.find_snapshot_among(&filter.get()?, name, output)?;
    let options = Options {
        target: target.to_owned(),
        place,
        keep_previous: !flags.no_keep_previous,
        accept_problems: flags.accept_problems,
        resync_clients: flags.resync_clients,
        owner_from_snapshot: flags.owner_from_snapshot,
        dry_run: *dry_run,
        needed: global.needed(),
        interrupt: output.signals.in_good_order(),
    };
    let progress = output.start_progress("restoring");
    let summary = restore_vaultwarden::run(&repository, &snapshot, &options, output);
    drop(progress);
    let summary = summary.map_err(explain)?;
    let steps = steps(&summary, &snapshot);
    if output.json {
        output.object(&object(&summary, &snapshot, &steps, started.elapsed()))?;
    } else {
        print(&summary, &snapshot, &steps, started.elapsed(), output)?;
    }
    Ok(Outcome::of(summary.problems))
}

fn explain(error: Error) -> Error {
    if error.kind() == ErrorKind::Interrupted { error.hint("run the same command again") } else { error }
}

/// A path as text for a person.
pub(super) fn show(path: &Path) -> String {
    printable(path.as_os_str().as_encoded_bytes())
}

fn print(
    summary: &Summary,
    snapshot: &Snapshot,
    steps: &[Step],
    took: Duration,
    output: &Output,
) -> Result<()> {
    let what = format!("{} ({})", human::counted(summary.files, "file"), human::bytes(summary.bytes));
    let of = format!("snapshot {} of {}", snapshot.id.short(), human::local(snapshot.manifest.time));
    let target = show(&summary.target);
    output.say(&match summary.ending {
        Ending::Planned => format!("dry run: {what} of {of} would go to {target}"),
        Ending::Restored => format!("restored {what} of {of} to {target} in {}", human::duration(took)),
    })?;
    if let Some(proved) = &summary.proved {
        output.say(&describe(proved, "of attachments and Sends"))?;
    }
    if let Some(users) = summary.resynced {
        let users = human::counted(users, "account");
        output.say(&format!("the clients of {users} fetch everything anew at their next visit"))?;
    }
    match (&summary.previous, summary.ending) {
        (Some(previous), Ending::Planned) => {
            output.say(&format!("what is there would be kept in {}", show(previous)))?;
        }
        (Some(previous), _) => output.say(&format!("what was there before is kept in {}", show(previous)))?,
        (None, Ending::Planned) if summary.replaced => output.say("what is there would be deleted")?,
        (None, _) => {}
    }
    for kept in &summary.kept_before {
        let verb = if summary.ending == Ending::Planned { "would be moved" } else { "was moved" };
        output.say(&format!("what an earlier restore kept in it {verb} to {}", show(kept)))?;
    }
    if summary.within && summary.ending == Ending::Planned {
        output.say("the folder itself stays (a mount point, or in a folder you may not write to): what is in it is replaced")?;
    }
    if summary.problems > 0 {
        output.say(&format!("{}: see above; exit code 3", human::counted(summary.problems, "problem")))?;
    }
    output.say("\nWhat comes next:")?;
    list(steps, output)
}

/// What was proved, for people; `which` says what files these are.
pub(super) fn describe(proved: &Proved, which: &str) -> String {
    let worse = proved.new_problems.saturating_add(proved.known_problems) > 0;
    format!(
        "{}: {}, {} in {}, {} {which} ({}){}",
        if worse { "found" } else { "proved" },
        human::counted(proved.users, "user"),
        human::counted(proved.rows, "row"),
        human::counted(proved.tables, "table"),
        human::counted(proved.files, "file"),
        human::bytes(proved.bytes),
        if proved.compared && !worse { ", as at the backup" } else { "" }
    )
}

/// What was proved, for programs.
pub(super) fn proof(proved: &Proved) -> Value {
    json!({
        "users": proved.users,
        "tables": proved.tables,
        "rows": proved.rows,
        "files_proved": proved.files,
        "bytes_proved": proved.bytes,
        "compared_with_backup": proved.compared,
        "schema_version": proved.schema,
        "problems_known_at_backup": proved.known_problems,
    })
}

fn object(summary: &Summary, snapshot: &Snapshot, steps: &[Step], took: Duration) -> Value {
    let path = |path: &Path| path.display().to_string();
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let moved: Vec<Value> = summary
        .moved
        .iter()
        .map(|part| {
            json!({
                "setting": part.setting,
                "path": format!("/{}", lossy(&part.now_at)),
                "origin": lossy(&part.was_at),
                "in_place": part.is_in_place(),
            })
        })
        .collect();
    let owner = summary.owners.map(|owners| json!({ "uid": owners.used.0, "gid": owners.used.1 }));
    json!({
        "message_type": "summary",
        "snapshot_id": snapshot.id.to_hex(),
        "target": path(&summary.target),
        "dry_run": summary.ending == Ending::Planned,
        "files_restored": summary.files,
        "bytes_restored": summary.bytes,
        "previous": summary.previous.as_deref().map(path),
        "kept_before": summary.kept_before.iter().map(|kept| path(kept)).collect::<Vec<_>>(),
        "contents_replaced": summary.within,
        "owner": owner,
        "proof": summary.proved.as_ref().map(proof),
        "moved_parts": moved,
        "clients_resynced": summary.resynced,
        "problems": summary.problems,
        "next_steps": objects(steps),
        "total_duration": took.as_secs_f64(),
    })
}
