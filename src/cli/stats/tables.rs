//! What `stats` tells a person.

use super::{kind_words, ratio};
use crate::backend::ObjectKind;
use crate::cli::output::{Output, human};
use crate::error::Result;
use crate::operation::stats::{Amount, Kind, Objects, Stats, Stored};
use crate::report::printable;
use crate::repository::snapshot::Snapshot;

/// So many folders are shown, unless more is asked for.
const FOLDERS_SHOWN: usize = 20;
/// Longest bar, in characters.
const BAR: u64 = 16;

/// How many times the one is as large as the other, such as `3.20x`.
pub(super) fn times(large: u64, small: u64) -> String {
    if small == 0 { "-".to_owned() } else { format!("{:.2}x", ratio(large, small)) }
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { String::new() } else { format!("{:.1} %", ratio(part, whole) * 100.0) }
}

fn lines(rows: &[Vec<String>], output: &Output) -> Result<()> {
    human::table(rows).iter().try_for_each(|line| output.line(line))
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

pub(super) fn overview(stats: &Stats, output: &Output) -> Result<()> {
    let (files, stored) = (stats.files(), stats.data.plus(stats.metadata));
    let (data, metadata) = (stats.data, stats.metadata);
    let count = human::counted(stats.snapshots.len() as u64, "snapshot");
    let mut rows = vec![
        vec![
            "Restore size".to_owned(),
            human::bytes(files.bytes),
            format!("{count}, {}", human::counted(files.files, "file")),
        ],
        vec![
            "Deduplicated".to_owned(),
            human::bytes(data.plain_bytes),
            format!("{}, {} less", human::counted(data.blobs, "chunk"), times(files.bytes, data.plain_bytes)),
        ],
        vec![
            "Stored".to_owned(),
            human::bytes(data.stored_bytes),
            format!(
                "compressed {}, {} in all",
                times(data.plain_bytes, data.stored_bytes),
                times(files.bytes, stored.stored_bytes)
            ),
        ],
        vec![
            "Names, trees".to_owned(),
            human::bytes(metadata.stored_bytes),
            format!(
                "{}, compressed {}",
                human::counted(metadata.blobs, "blob"),
                times(metadata.plain_bytes, metadata.stored_bytes)
            ),
        ],
    ];
    if let (Some(store), Some(unused)) = (&stats.objects, stats.unused()) {
        rows.push(row(["", "", ""]));
        rows.extend(parts(store, unused));
    }
    lines(&rows, output)
}

/// What the repository is made of.
fn parts(store: &Objects, unused: Stored) -> Vec<Vec<String>> {
    let whole = store.bytes();
    let packs = store.kind(ObjectKind::Pack);
    let line = |name: &str, bytes: u64, what: String| vec![name.to_owned(), human::bytes(bytes), what];
    let part = |name: &str, bytes: u64, what: &str| {
        let share = share(bytes, whole);
        line(name, bytes, if what.is_empty() { share } else { format!("{share}, {what}") })
    };
    let mut rows = vec![
        line("Repository", whole, String::new()),
        line(
            "  Packs",
            packs.bytes,
            format!("{}, {}", share(packs.bytes, whole), human::counted(packs.count, "pack")),
        ),
        part("    Used", store.blobs.bytes.saturating_sub(unused.bytes), ""),
        part("    Unused", unused.bytes, if unused.bytes > 0 { "no snapshot needs it: prune" } else { "" }),
        part("    Tables", store.tables_bytes, ""),
        part("    Padding", store.padding_bytes, "hides sizes"),
    ];
    if store.unindexed.count > 0 {
        let what = format!("{}: running or dead backups", human::counted(store.unindexed.count, "pack"));
        rows.push(part("    In no index", store.unindexed.bytes, &what));
    }
    let index = store.kind(ObjectKind::Index);
    rows.push(part("  Index", index.bytes, &human::counted(index.count, "object")));
    let snapshots = store.kind(ObjectKind::Snapshot);
    rows.push(part("  Snapshots", snapshots.bytes, &human::counted(snapshots.count, "object")));
    let others = store
        .kinds
        .iter()
        .filter(|(kind, _)| !matches!(kind, ObjectKind::Pack | ObjectKind::Index | ObjectKind::Snapshot));
    let others = others.fold(Stored::default(), |sum, (_, stored)| Stored {
        count: sum.count.saturating_add(stored.count),
        bytes: sum.bytes.saturating_add(stored.bytes),
    });
    rows.push(part("  Keys and marks", others.bytes, &human::counted(others.count, "object")));
    rows
}

fn name(snapshot: &Snapshot) -> [String; 3] {
    let manifest = &snapshot.manifest;
    [snapshot.id.short(), human::local(manifest.time), printable(manifest.host.as_bytes())]
}

pub(super) fn snapshots(stats: &Stats, output: &Output) -> Result<()> {
    let mut rows = vec![row(["Id", "Time", "Restores", "Added", "Alone", "Host"])];
    for one in &stats.snapshots {
        let [id, time, host] = name(&one.snapshot);
        let [restores, added, alone] =
            [one.files.bytes, one.added.stored_bytes, one.alone.stored_bytes].map(human::bytes);
        rows.push(vec![id, time, restores, added, alone, host]);
    }
    lines(&rows, output)?;
    let sum = human::bytes(stats.data.plus(stats.metadata).stored_bytes);
    let count = human::counted(stats.snapshots.len() as u64, "snapshot");
    output.say(&format!("{count}, {sum} stored; alone is what nothing but this snapshot needs"))
}

pub(super) fn nights(stats: &Stats, output: &Output) -> Result<()> {
    let most = stats.snapshots.iter().map(|one| one.added.stored_bytes).max().unwrap_or(0);
    let (mut sum, zone) = (0u64, jiff::tz::TimeZone::system());
    let mut rows = vec![row(["Time", "Id", "Added", "In all", "", "Host"])];
    for one in &stats.snapshots {
        let [id, _, host] = name(&one.snapshot);
        let time = human::minute(one.snapshot.manifest.time, &zone);
        let added = one.added.stored_bytes;
        sum = sum.saturating_add(added);
        rows.push(vec![time, id, human::bytes(added), human::bytes(sum), bar(added, most), host]);
    }
    lines(&rows, output)?;
    let count = human::counted(stats.snapshots.len() as u64, "snapshot");
    output.say(&format!("{count}, {} stored", human::bytes(sum)))
}

/// A bar as long as a part of the most; never nothing for something.
fn bar(bytes: u64, most: u64) -> String {
    let length = u128::from(bytes).saturating_mul(u128::from(BAR)).checked_div(u128::from(most)).unwrap_or(0);
    let length = usize::try_from(length).unwrap_or(0).max(usize::from(bytes > 0));
    "#".repeat(length)
}

fn amounts(
    head: &str,
    rows: impl Iterator<Item = (String, Amount)>,
    whole: u64,
    output: &Output,
) -> Result<()> {
    let mut table = vec![row(["Stored", "Share", "Before", "Chunks", head])];
    table.extend(rows.map(|(name, amount)| {
        let [stored, before] = [amount.stored_bytes, amount.plain_bytes].map(human::bytes);
        vec![stored, share(amount.stored_bytes, whole), before, human::count(amount.blobs), name]
    }));
    lines(&table, output)
}

pub(super) fn folders(stats: &Stats, output: &Output) -> Result<()> {
    let shown = if output.verbose { usize::MAX } else { FOLDERS_SHOWN };
    let rows =
        stats.folders.iter().take(shown).map(|(path, amount)| (format!("/{}", printable(path)), *amount));
    amounts("Folder", rows, stats.data.stored_bytes, output)?;
    let more = stats.folders.len().saturating_sub(shown);
    let more = if more > 0 {
        format!(", {} more folders (-v shows all)", human::count(more as u64))
    } else {
        String::new()
    };
    output.say(&format!("{} of files stored{more}", human::bytes(stats.data.stored_bytes)))
}

pub(super) fn kinds(stats: &Stats, output: &Output) -> Result<()> {
    let whole = stats.data.plus(stats.metadata).stored_bytes;
    let rows = stats.kinds.iter().map(|(kind, amount)| (kind_words(*kind).to_owned(), *amount));
    amounts("Kind", rows, whole, output)?;
    output.say(&format!("{} stored", human::bytes(whole)))
}

/// A kind's name for programs.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Databases => "sqlite",
        Kind::Attachments => "attachments",
        Kind::Sends => "sends",
        Kind::Others => "other",
        Kind::Metadata => "metadata",
    }
}
