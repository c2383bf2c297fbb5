//! `strongroom snapshots`

use super::exit::Outcome;
use super::filter::Filter;
use super::global::Global;
use super::output::{Output, human, json};
use crate::error::Result;
use crate::id::Id;
use crate::operation::repair::snapshots as repair;
use crate::report::{Finding, printable, report_all};
use crate::repository::snapshot::Snapshot;

/// So many paths are shown of a snapshot: a list of files may have named thousands. `--json` gives them all.
const PATHS_SHOWN: usize = 5;

/// Arguments of `snapshots`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom snapshots --host server --tag nightly\n  \
    strongroom snapshots --tag before,update --tag monthly\n\n\
    Exit code 3 if a snapshot or a mark cannot be read. One that vanished from the store, though nobody\n\
    forgot it, is told once and leaves the exit code at 0, for all that is there was listed; `check` tells it\n\
    each time, with exit code 1.\n\n\
    \"was damaged, repaired as ID\" says that `repair snapshots` stored what was left of it. Whether something\n\
    is lost of it now, after `repair --from` or another backup, tells `check`.")]
pub(super) struct Arguments {
    #[command(flatten)]
    filter: Filter,
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let repository = global.open(output)?;
    let found = repository.snapshots()?;
    let filter = arguments.filter.get()?;
    let snapshots: Vec<&Snapshot> =
        found.snapshots.iter().filter(|snapshot| filter.matches(&snapshot.manifest)).collect();
    let damaged = repair::known_damaged(&found);
    if output.json {
        for snapshot in &snapshots {
            let mut object = json::snapshot(snapshot);
            if let (Some(object), Some(repaired)) = (object.as_object_mut(), damaged.get(&snapshot.id)) {
                object.insert("repaired_as".into(), repaired.to_hex().into());
            }
            output.object(&object)?;
        }
    } else {
        let mut rows = vec![
            ["Id", "Time", "Host", "Files", "Size", "Added", "State", "Tags", "Paths"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(snapshots.iter().map(|snapshot| row(snapshot, damaged.get(&snapshot.id))));
        human::table(&rows).iter().try_for_each(|line| output.line(line))?;
        let others = found.snapshots.len().saturating_sub(snapshots.len());
        let others = if filter.is_empty() { String::new() } else { format!(", {others} others not shown") };
        output.say(&format!("{}{others}", human::counted(snapshots.len() as u64, "snapshot")))?;
    }
    let findings = found.damaged.iter().map(|(kind, id, error)| {
        let cause = found.cause(*kind, id, error);
        Finding::problem(format!("{}/{}", kind.folder(), id.short()), cause).with_hint(
            error.next_step().unwrap_or(
                "bring it back from a copy of the repository; `strongroom check` tells what else is damaged",
            ),
        )
    });
    report_all(output, "snapshots and marks", findings);
    repository.tell_vanished(&found, output);
    Ok(Outcome::of(found.damaged.len() as u64))
}

fn row(snapshot: &Snapshot, repaired: Option<&Id>) -> Vec<String> {
    let manifest = &snapshot.manifest;
    let counts = &manifest.statistics;
    let files = counts.files_new.saturating_add(counts.files_changed).saturating_add(counts.files_unmodified);
    let state = state(snapshot, repaired);
    let mut paths: Vec<String> =
        manifest.paths.iter().take(PATHS_SHOWN).map(|path| printable(path)).collect();
    let more = manifest.paths.len().saturating_sub(PATHS_SHOWN);
    paths.extend((more > 0).then(|| format!("and {} more", human::count(more as u64))));
    vec![
        snapshot.id.short(),
        human::local(manifest.time),
        printable(manifest.host.as_bytes()),
        human::count(files),
        human::bytes(counts.bytes_processed),
        human::bytes(counts.data_added_packed),
        state,
        printable(manifest.tags.join(",").as_bytes()),
        paths.join(" "),
    ]
}

/// Whether its checks passed, and what it was made from, in a few words.
pub(super) fn state(snapshot: &Snapshot, repaired: Option<&Id>) -> String {
    let manifest = &snapshot.manifest;
    let state = match (&manifest.service, manifest.statistics.problems) {
        (Some(service), 0) if service.whole => "proved".to_owned(),
        (Some(_), 0) => "not proved".to_owned(),
        (None, 0) => "ok".to_owned(),
        (_, problems) => human::counted(problems, "problem"),
    };
    match (repaired, snapshot.original()) {
        // Whether it still is, only a check knows: what was lost may have been found since.
        (Some(id), _) => format!("was damaged, repaired as {}", id.short()),
        (None, Some(original)) => {
            format!("{state}, {} from {}", json::change(original.change), original.made_from.short())
        }
        (None, None) => state,
    }
}
