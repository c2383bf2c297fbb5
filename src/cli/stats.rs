//! `strongroom stats`

mod tables;

use serde_json::{Map, Value, json};

use super::exit::Outcome;
use super::filter::Filter;
use super::global::Global;
use super::output::{Output, human, json as objects};
use crate::backend::ObjectKind;
use crate::error::Result;
use crate::operation::stats::{self, Amount, Grouping, Kind, Options, Stats};
use crate::repository::Repository;
use crate::repository::snapshot::Snapshot;

/// Arguments of `stats`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  strongroom stats\n  strongroom stats --by night\n  strongroom stats --by path --depth 3 latest\n  \
    strongroom stats --mode raw-data latest\n\n\
    What several snapshots or folders need counts for the first of them: snapshots by their times, paths by \
    their order. Stored means compressed and encrypted, in packs. What is forgotten and not yet pruned counts \
    as unused. A maintain key is enough."
)]
pub(super) struct Arguments {
    /// Snapshots: prefixes of their ids, `latest`, `latest~1`; all of them if none is named
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// Count one thing, as restic does
    #[arg(long, value_name = "MODE", value_enum, conflicts_with_all = ["by", "depth"])]
    mode: Option<Mode>,
    /// Break down what is stored
    #[arg(long, value_name = "WHAT", value_enum)]
    by: Option<By>,
    /// With `--by path`: how many folders deep
    #[arg(long, value_name = "N", default_value_t = 2)]
    depth: u16,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// Bytes that a restore of each of them would write
    RestoreSize,
    /// Files that differ in what is in them
    FilesByContents,
    /// Blobs as they are stored
    RawData,
    /// Blobs of each path, each once
    BlobsPerFile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// Each snapshot: what it restores, what it added, what it alone needs
    Snapshot,
    /// The folders that take most room
    Path,
    /// Databases, attachments, other files
    Kind,
    /// What each backup added, in the order of time
    Night,
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let repository = global.open(output)?;
    let found = repository.snapshots()?;
    found.report_damaged(output);
    repository.tell_vanished(&found, output);
    let filter = arguments.filter.get()?;
    let chosen = found.find_all(&filter, &arguments.snapshots)?;
    let all = arguments.snapshots.is_empty() && filter.is_empty();
    let grouping = match arguments.by {
        Some(By::Path) => Grouping::Folders { depth: usize::from(arguments.depth) },
        Some(By::Kind) => Grouping::Kinds,
        _ => Grouping::None,
    };
    if let Some(Mode::FilesByContents | Mode::BlobsPerFile) = arguments.mode {
        return distinct(&repository, &chosen, arguments.mode == Some(Mode::BlobsPerFile), output);
    }
    let options = Options {
        grouping,
        alone: arguments.by == Some(By::Snapshot),
        all: all && arguments.mode.is_none(),
        interrupt: output.signals.in_good_order(),
    };
    let progress = output.start_progress("counting");
    let stats = stats::run(&repository, &chosen, &options, output);
    drop(progress);
    let stats = stats?;
    if let Some(mode) = arguments.mode {
        one_mode(mode, &stats, output)?;
    } else if output.json {
        rows(arguments.by, &stats, output)?;
        output.object(&summary(&stats))?;
    } else {
        match arguments.by {
            None => tables::overview(&stats, output)?,
            Some(By::Snapshot) => tables::snapshots(&stats, output)?,
            Some(By::Path) => tables::folders(&stats, output)?,
            Some(By::Kind) => tables::kinds(&stats, output)?,
            Some(By::Night) => tables::nights(&stats, output)?,
        }
    }
    Ok(Outcome::of(stats.lost.saturating_add(found.damaged.len() as u64)))
}

/// The modes that tell files apart.
fn distinct(
    repository: &Repository,
    snapshots: &[Snapshot],
    by_path: bool,
    output: &Output,
) -> Result<Outcome> {
    let interrupt = output.signals.in_good_order();
    let progress = output.start_progress("counting");
    let counted = stats::distinct_files(repository, snapshots, by_path, &interrupt, output);
    drop(progress);
    let counted = counted?;
    if output.json {
        let mut object = Map::new();
        object.insert("message_type".into(), "summary".into());
        object.insert("total_size".into(), counted.bytes.into());
        object.insert("total_file_count".into(), counted.files.into());
        if by_path {
            object.insert("total_blob_count".into(), counted.blobs.into());
        }
        object.insert("snapshots_count".into(), snapshots.len().into());
        output.object(&object.into())?;
    } else {
        let mut rows = vec![
            pair("Snapshots", human::count(snapshots.len() as u64)),
            pair("Files", human::count(counted.files)),
        ];
        rows.extend(by_path.then(|| pair("Blobs", human::count(counted.blobs))));
        rows.push(pair("Size", human::bytes(counted.bytes)));
        human::table(&rows).iter().try_for_each(|line| output.line(line))?;
    }
    Ok(Outcome::of(counted.lost))
}

fn pair(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

/// The modes that need no more than the sums.
fn one_mode(mode: Mode, stats: &Stats, output: &Output) -> Result<()> {
    let (files, stored) = (stats.files(), stats.data.plus(stats.metadata));
    if output.json {
        let mut object = Map::new();
        object.insert("message_type".into(), "summary".into());
        if mode == Mode::RestoreSize {
            object.insert("total_size".into(), files.bytes.into());
            object.insert("total_file_count".into(), files.files.into());
        } else {
            object.insert("total_size".into(), stored.stored_bytes.into());
            object.insert("total_uncompressed_size".into(), stored.plain_bytes.into());
            object.insert("compression_ratio".into(), ratio(stored.plain_bytes, stored.stored_bytes).into());
            object.insert("total_blob_count".into(), stored.blobs.into());
        }
        object.insert("snapshots_count".into(), stats.snapshots.len().into());
        return output.object(&object.into());
    }
    let mut rows = vec![pair("Snapshots", human::count(stats.snapshots.len() as u64))];
    if mode == Mode::RestoreSize {
        rows.extend([pair("Files", human::count(files.files)), pair("Size", human::bytes(files.bytes))]);
    } else {
        rows.extend([
            pair("Blobs", human::count(stored.blobs)),
            pair("Uncompressed", human::bytes(stored.plain_bytes)),
            pair("Stored", human::bytes(stored.stored_bytes)),
            pair("Ratio", tables::times(stored.plain_bytes, stored.stored_bytes)),
        ]);
    }
    human::table(&rows).iter().try_for_each(|line| output.line(line))
}

fn rows(by: Option<By>, stats: &Stats, output: &Output) -> Result<()> {
    match by {
        None => {}
        Some(By::Snapshot | By::Night) => {
            for row in &stats.snapshots {
                let mut object = Map::new();
                object.insert("message_type".into(), "snapshot_stats".into());
                object.insert("id".into(), row.snapshot.id.to_hex().into());
                object.insert("time".into(), human::utc(row.snapshot.manifest.time).into());
                object.insert("hostname".into(), row.snapshot.manifest.host.clone().into());
                object.insert("total_file_count".into(), row.files.files.into());
                object.insert("restore_size".into(), row.files.bytes.into());
                object.insert("added".into(), amount(row.added));
                if by == Some(By::Snapshot) {
                    object.insert("unique".into(), amount(row.alone));
                }
                output.object(&object.into())?;
            }
        }
        Some(By::Path) => {
            for (folder, stored) in &stats.folders {
                let mut object = Map::new();
                object.insert("message_type".into(), "path_stats".into());
                objects::path_fields(&mut object, "path", folder);
                object.insert("stored".into(), amount(*stored));
                output.object(&object.into())?;
            }
        }
        Some(By::Kind) => {
            for (kind, stored) in &stats.kinds {
                output.object(&json!({
                    "message_type": "kind_stats",
                    "kind": tables::kind_name(*kind),
                    "stored": amount(*stored),
                }))?;
            }
        }
    }
    Ok(())
}

fn amount(amount: Amount) -> Value {
    json!({ "blobs": amount.blobs, "uncompressed_size": amount.plain_bytes, "size": amount.stored_bytes })
}

/// How many times the one is as large as the other; zero where there is nothing.
#[expect(clippy::cast_precision_loss, reason = "a ratio for a person")]
fn ratio(large: u64, small: u64) -> f64 {
    if small == 0 { 0.0 } else { large as f64 / small as f64 }
}

fn summary(stats: &Stats) -> Value {
    let (files, stored) = (stats.files(), stats.data.plus(stats.metadata));
    let mut object = Map::new();
    object.insert("message_type".into(), "summary".into());
    object.insert("snapshots_count".into(), stats.snapshots.len().into());
    object.insert("total_file_count".into(), files.files.into());
    object.insert("total_restore_size".into(), files.bytes.into());
    object.insert("total_uncompressed_size".into(), stored.plain_bytes.into());
    object.insert("total_size".into(), stored.stored_bytes.into());
    object.insert("compression_ratio".into(), ratio(stored.plain_bytes, stored.stored_bytes).into());
    object.insert("deduplication_ratio".into(), ratio(files.bytes, stats.data.plain_bytes).into());
    object.insert("total_blob_count".into(), stored.blobs.into());
    object.insert("data".into(), amount(stats.data));
    object.insert("metadata".into(), amount(stats.metadata));
    object.insert("lost_blobs".into(), stats.lost.into());
    if let (Some(store), Some(unused)) = (&stats.objects, stats.unused()) {
        object.insert("unused".into(), json!({ "blobs": unused.count, "size": unused.bytes }));
        object.insert("pack_tables_size".into(), store.tables_bytes.into());
        object.insert("pack_padding_size".into(), store.padding_bytes.into());
        let unindexed = json!({ "packs": store.unindexed.count, "size": store.unindexed.bytes });
        object.insert("unindexed_packs".into(), unindexed);
        let kinds: Map<String, Value> = store
            .kinds
            .iter()
            .map(|(kind, stored)| {
                let name = if *kind == ObjectKind::Config { "config" } else { kind.folder() };
                (name.to_owned(), json!({ "count": stored.count, "size": stored.bytes }))
            })
            .collect();
        object.insert("objects".into(), kinds.into());
        object.insert("repository_size".into(), store.bytes().into());
    }
    object.into()
}

/// Kinds, as a person reads them.
fn kind_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Databases => "SQLite databases",
        Kind::Attachments => "Attachments",
        Kind::Sends => "Sends",
        Kind::Others => "Other files",
        Kind::Metadata => "Names, trees",
    }
}
