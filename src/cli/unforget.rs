//! `strongroom unforget`

use super::changed::Changes;
use super::exit::Outcome;
use super::global::Global;
use super::output::{Output, human, json};
use crate::error::Result;
use crate::format::key_slot::Role;
use crate::format::snapshot::Change;
use crate::operation::recommit::{Around, Made};
use crate::operation::unforget;
use crate::report::printable;
use crate::repository::host;
use crate::repository::snapshot::{Snapshot, Snapshots};

/// Arguments of `unforget`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom unforget\n  strongroom unforget 1a2b3c4d\n\n\
    Without an id it lists the forgotten snapshots that are still there. A snapshot that comes back has a\n\
    new id. Once a prune has taken what it held, it cannot come back, and the exit code is 1. While a prune\n\
    waits for a running backup, what it is about to delete is copied first.")]
pub(super) struct Arguments {
    /// Forgotten snapshots: prefixes of their ids
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// List the forgotten snapshots that are still there
    #[arg(long, conflicts_with = "ids")]
    list: bool,
    /// Store nothing; tell whether they could come back
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let repository = global.open(output)?;
    let found = repository.snapshots()?;
    found.report_damaged(output);
    if arguments.list || arguments.ids.is_empty() {
        return list(&found, output);
    }
    repository.keyring().require(Role::Maintain, "bringing a snapshot back")?;
    let forgotten = meant(&found, &arguments.ids, output)?;
    let (cache, host) = (global.cache(&repository, output), host::name());
    let interrupt = output.signals.in_good_order();
    let around = Around { cache: cache.as_ref(), host: &host, reporter: output, interrupt: &interrupt };
    let mut changes = Changes::new(output, Change::Unforgotten, false, arguments.dry_run);
    let progress = output.start_progress("looking for what they hold");
    let mut made_of = Vec::new();
    let mut told = |old: &Snapshot, made: Made| made_of.push((old.clone(), made));
    let done = unforget::run(&repository, &forgotten, arguments.dry_run, around, &mut told);
    drop(progress);
    for (old, made) in &made_of {
        // One of which something is lost is the error.
        if !matches!(made, Made::Unsound(_)) {
            changes.told(old, made, &old.manifest.tags);
        }
    }
    done?;
    if arguments.dry_run {
        for old in &forgotten {
            changes.planned(old, None, &old.manifest.tags);
        }
    }
    changes.finish()
}

/// The forgotten snapshots that are named, each once, but for those that something stands for.
fn meant(found: &Snapshots, ids: &[String], output: &Output) -> Result<Vec<Snapshot>> {
    let mut meant: Vec<Snapshot> = Vec::new();
    for name in ids {
        let forgotten = found.find_forgotten(name)?;
        if let Some(standing) = unforget::standing(found, &forgotten) {
            let text =
                format!("snapshot {} is there already, as {}", forgotten.id.short(), standing.id.short());
            output.warn(&text, None);
        } else if meant.iter().all(|other| other.id != forgotten.id) {
            meant.push(forgotten);
        }
    }
    Ok(meant)
}

fn list(found: &Snapshots, output: &Output) -> Result<Outcome> {
    let candidates = unforget::candidates(found);
    if output.json {
        for snapshot in &candidates {
            let mut object = json::snapshot(snapshot);
            if let Some(object) = object.as_object_mut() {
                object.insert("forgotten".into(), true.into());
            }
            output.object(&object)?;
        }
        return Ok(Outcome::Done);
    }
    let mut rows = vec![["Id", "Time", "Host", "Tags", "Paths"].map(str::to_owned).to_vec()];
    rows.extend(candidates.iter().map(|snapshot| {
        let manifest = &snapshot.manifest;
        let paths: Vec<String> = manifest.paths.iter().map(|path| printable(path)).collect();
        vec![
            snapshot.id.short(),
            human::local(manifest.time),
            printable(manifest.host.as_bytes()),
            printable(manifest.tags.join(",").as_bytes()),
            paths.join(" "),
        ]
    }));
    human::table(&rows).iter().try_for_each(|line| output.line(line))?;
    output.say(&human::counted(candidates.len() as u64, "forgotten snapshot"))?;
    Ok(Outcome::Done)
}
