//! `strongroom copy`

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::exit::Outcome;
use super::filter::Filter;
use super::global::Global;
use super::other::{OtherKey, location};
use super::output::{Output, human};
use crate::backend::ObjectKind;
use crate::error::Result;
use crate::operation::copy::{self, Copied, Summary};
use crate::report::{Finding, report_all};
use crate::repository::snapshot::Snapshot;
use crate::repository::{Repository, host};

/// Arguments of `copy`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  strongroom -r /mnt/second --key-file second.key copy --from-repo /srv/backup --from-key-file full.key\n  \
    strongroom copy --from-repo /srv/backup --host server latest\n\n\
    The repository given by -r is the one that is written to; a key of role backup is enough for it. The\n\
    one copied from is only read, with a full key. The two have keys of their own: whoever opens one does\n\
    not open the other. A snapshot that is there already, and holds as much, is not copied again.\n\n\
    A key of role backup is not believed about the past. With one, copy everything once and then the new\n\
    snapshots soon after they are made: what is copied after a newer one, or days after it was made, counts\n\
    as out of order in the repository that it is written to, and the rules of `forget` keep it there. With\n\
    a maintain or full key a copy stands for its backup, whenever it is made."
)]
pub(super) struct Arguments {
    /// Snapshots: prefixes of their ids, `latest`, `latest~1`; all of them if none is named
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// Folder of the repository to copy from [environment: STRONGROOM_FROM_REPOSITORY]
    #[arg(long, value_name = "FOLDER", help_heading = "The other repository")]
    from_repo: Option<PathBuf>,
    #[command(flatten)]
    key: OtherKey,
    #[command(flatten)]
    filter: Filter,
    /// Store nothing; tell what would be copied
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Arguments {
    /// Whether it is said, by a flag or in the environment, where the snapshots come from.
    pub(super) fn names_the_source(&self) -> bool {
        location(self.from_repo.as_ref(), "--from-repo").is_ok()
    }
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let started = Instant::now();
    let folder = location(arguments.from_repo.as_ref(), "--from-repo")?;
    let destination = global.open(output)?;
    let source = arguments.key.open(global, &folder, output)?;
    let (snapshots, unreadable) = chosen(&source, arguments, output)?;
    let cache = global.cache(&destination, output);
    let options = copy::Options {
        host: host::name(),
        dry_run: arguments.dry_run,
        interrupt: output.signals.in_good_order(),
    };
    let progress = output.start_progress("copying");
    let summary =
        copy::run(&source, &destination, cache.as_ref(), &snapshots, &options, output, &mut |copied| {
            tell(copied, output)
        });
    drop(progress);
    let summary = summary?;
    finish(&summary, arguments.dry_run, started, output)?;
    Ok(Outcome::of(summary.failed.saturating_add(unreadable)))
}

/// The snapshots that are meant, the first that was finished first, and how many more there are that cannot be read.
fn chosen(source: &Repository, arguments: &Arguments, output: &Output) -> Result<(Vec<Snapshot>, u64)> {
    let filter = arguments.filter.get()?;
    let found = source.snapshots()?;
    if arguments.snapshots.is_empty() {
        let damaged = found.damaged.iter().filter(|(kind, ..)| *kind == ObjectKind::Snapshot);
        let unreadable = damaged.clone().count() as u64;
        let findings = damaged.map(|(_, id, error)| {
            let subject = format!("snapshots/{}", id.short());
            Finding::problem(subject, format!("is not copied: {}", error.chain()))
        });
        report_all(output, "snapshots", findings);
        let matching = found.snapshots.into_iter().filter(|snapshot| filter.matches(&snapshot.manifest));
        return Ok((in_order(matching.collect()), unreadable));
    }
    let mut named = Vec::new();
    for name in &arguments.snapshots {
        named.push(source.find_snapshot_among(&filter, name, output)?);
    }
    let mut named = in_order(named);
    named.dedup_by_key(|snapshot| snapshot.id);
    Ok((named, 0))
}

/// The order in which they were finished: the numbers that the copies get rise with it, as they do where backups are made.
fn in_order(mut snapshots: Vec<Snapshot>) -> Vec<Snapshot> {
    snapshots.sort_by_key(|snapshot| (snapshot.manifest.finished, snapshot.manifest.time, snapshot.id));
    snapshots
}

fn tell(copied: &Copied, output: &Output) -> Result<()> {
    if output.json {
        return output.object(&json!({
            "message_type": "copied",
            "source_id": copied.source.to_hex(),
            "snapshot_id": copied.copy.map(|id| id.to_hex()),
            "bytes_read": copied.read_bytes,
            "data_added": copied.written.plain_bytes,
            "data_added_packed": copied.written.stored_bytes,
        }));
    }
    let source = copied.source.short();
    match copied.copy {
        Some(copy) => output.say(&format!(
            "snapshot {source} copied as {}: {} read, {} stored",
            copy.short(),
            human::bytes(copied.read_bytes),
            human::bytes(copied.written.stored_bytes)
        )),
        None => output
            .say(&format!("snapshot {source} would be copied: {} to read", human::bytes(copied.read_bytes))),
    }
}

fn finish(summary: &Summary, dry_run: bool, started: Instant, output: &Output) -> Result<()> {
    let took = started.elapsed();
    if output.json {
        return output.object(&json!({
            "message_type": "summary",
            "dry_run": dry_run,
            "snapshots_copied": summary.copied,
            "snapshots_present": summary.present,
            "snapshots_failed": summary.failed,
            "bytes_read": summary.read_bytes,
            "data_blobs": summary.written.data_blobs,
            "tree_blobs": summary.written.tree_blobs,
            "data_added": summary.written.plain_bytes,
            "data_added_packed": summary.written.stored_bytes,
            "total_duration": took.as_secs_f64(),
        }));
    }
    let (done, verb) = if dry_run { ("would be copied", "would store") } else { ("copied", "stored") };
    let failed = match summary.failed {
        0 => String::new(),
        failed => format!(", {} NOT copied", human::count(failed)),
    };
    output.say(&format!(
        "{} {done}, {} there already{failed}; read {}, {verb} {} of new data as {}, in {}",
        human::counted(summary.copied, "snapshot"),
        human::count(summary.present),
        human::bytes(summary.read_bytes),
        human::bytes(summary.written.plain_bytes),
        human::bytes(summary.written.stored_bytes),
        human::duration(took)
    ))
}
