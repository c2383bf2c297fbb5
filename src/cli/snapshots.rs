//! `strongroom snapshots`

use super::exit::Outcome;
use super::global::Global;
use super::output::{Output, human, json};
use crate::error::Result;
use crate::report::{Finding, Reporter, printable};
use crate::repository::snapshot::Snapshot;

/// Arguments of `snapshots`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom snapshots --host server --tag nightly")]
pub(super) struct Arguments {
    /// Only snapshots of this host
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Only snapshots with this tag; given more than once, with all of them
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let repository = global.open(output)?;
    let found = repository.snapshots()?;
    let wanted = |snapshot: &&Snapshot| {
        let manifest = &snapshot.manifest;
        arguments.host.as_ref().is_none_or(|host| *host == manifest.host)
            && arguments.tag.iter().all(|tag| manifest.tags.contains(tag))
    };
    let snapshots: Vec<&Snapshot> = found.snapshots.iter().filter(wanted).collect();
    if output.json {
        snapshots.iter().try_for_each(|snapshot| output.object(&json::snapshot(snapshot)))?;
    } else {
        let mut rows = vec![
            ["Id", "Time", "Host", "Files", "Size", "Added", "State", "Tags", "Paths"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(snapshots.iter().map(|snapshot| row(snapshot)));
        human::table(&rows).iter().try_for_each(|line| output.line(line))?;
        output.say(&human::counted(snapshots.len() as u64, "snapshot"))?;
    }
    for (kind, id, error) in &found.damaged {
        output.report(Finding::problem(format!("{}/{}", kind.folder(), id.short()), error.chain()));
    }
    Ok(Outcome::of(found.damaged.len() as u64))
}

fn row(snapshot: &Snapshot) -> Vec<String> {
    let manifest = &snapshot.manifest;
    let counts = &manifest.statistics;
    let files = counts.files_new.saturating_add(counts.files_changed).saturating_add(counts.files_unmodified);
    let state = match (&manifest.service, counts.problems) {
        (Some(service), 0) if service.whole => "proved".to_owned(),
        (_, 0) => "ok".to_owned(),
        (_, problems) => human::counted(problems, "problem"),
    };
    let paths: Vec<String> = manifest.paths.iter().map(|path| printable(path)).collect();
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
