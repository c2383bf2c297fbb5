//! `strongroom diff`

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::exit::Outcome;
use super::filter::Filter;
use super::global::Global;
use super::ls::split;
use super::output::{Output, human, json};
use crate::error::{Error, Result};
use crate::format::key_slot::Role;
use crate::format::node::NodeKind;
use crate::format::path;
use crate::operation::diff::{self, Change, Counts, Statistics, folder};
use crate::operation::restore::find;
use crate::report::printable;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;

/// Arguments of `diff`.
#[derive(clap::Args)]
#[command(after_help = "Each line is a change and a path; the path of a folder ends with a slash.\n  \
    +   is new\n  -   is gone\n  M   its contents changed\n  M?  its contents changed, but neither its size nor its\n      time of modification: a bad disk, or somebody set it back\n  \
    T   is something else now, such as a folder in the place of a file\n  \
    U   mode, owner, times or attributes changed (with --metadata)\n\n\
    With --folder, what is in the folder only is new. A file counts as changed if its size or time differs; with \
    --contents it is read, and its contents alone decide. A database beside which a log lies differs from its copy in \
    the snapshot, which has the log in it.\n\n\
    Examples:\n  strongroom diff latest~1 latest\n  strongroom diff 1a2b3c4d:/etc latest:/etc --metadata\n  \
    strongroom diff latest:/srv/data --folder /srv/data --contents")]
pub(super) struct Arguments {
    /// Snapshot: a prefix of its id, `latest`, `latest~1`; and perhaps `:` and a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    old: String,
    /// Snapshot that is compared with it
    #[arg(value_name = "SNAPSHOT[:PATH]", required_unless_present = "folder", conflicts_with = "folder")]
    new: Option<String>,
    /// Compare with this folder on disk
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Read the files on disk, and compare what is in them, whatever their times say
    #[arg(long, requires = "folder", conflicts_with = "new")]
    contents: bool,
    /// Print changes of mode, owner, times and attributes too
    #[arg(long)]
    metadata: bool,
    #[command(flatten)]
    filter: Filter,
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let filter = arguments.filter.get()?;
    let repository = global.open(output)?;
    repository.keyring().require(Role::Maintain, "comparing snapshots")?;
    let snapshots = repository.snapshots()?;
    snapshots.report_damaged(output);
    repository.tell_vanished(&snapshots, output);
    let named = |text: &str| -> Result<(Snapshot, Vec<u8>)> {
        let (name, place) = split(text)?;
        Ok((snapshots.find(&filter, name)?, place))
    };
    let (old, old_place) = named(&arguments.old)?;
    let new = arguments.new.as_deref().map(named).transpose()?;
    let reader = BlobReader::with_kept_metadata(&repository, output)?;
    find(&reader, &old, &old_place)?;
    if let Some((new, place)) = &new {
        find(&reader, new, place)?;
    }
    // Paths are those of the snapshot, unless the two sides name different ones.
    let same_place = new.as_ref().is_none_or(|(_, place)| *place == old_place);
    let print = Print { output, top: if same_place { &old_place } else { b"" } };
    let progress = output.start_progress("comparing");
    let interrupt = output.signals.in_good_order();
    let mut visit = |change: &Change| print.change(change);
    let statistics = match (&new, &arguments.folder) {
        (Some((new, place)), _) => {
            let sides = [(old.root(), old_place.as_slice()), (new.root(), place.as_slice())];
            let index = reader.index()?;
            diff::between(&reader, &index, sides, arguments.metadata, output, &interrupt, &mut visit)
        }
        (None, Some(folder)) => {
            let options = folder::Options { metadata: arguments.metadata, contents: arguments.contents };
            let side = (old.root(), old_place.as_slice());
            folder::compare(&reader, side, folder, options, output, &interrupt, &mut visit)
        }
        (None, None) => Err(Error::refused("there is nothing to compare with").hint("name two snapshots")),
    };
    drop(progress);
    let statistics = statistics?;
    let sides = Sides {
        old: &old,
        new: new.as_ref().map(|(new, _)| new),
        folder: arguments.folder.as_deref().map(AsRef::as_ref),
    };
    print.statistics(&sides, &statistics)?;
    Ok(Outcome::of(statistics.problems))
}

struct Sides<'a> {
    old: &'a Snapshot,
    new: Option<&'a Snapshot>,
    folder: Option<&'a OsStr>,
}

struct Print<'a> {
    output: &'a Output,
    /// The folder that the paths lie in.
    top: &'a [u8],
}

impl Print<'_> {
    fn change(&self, change: &Change) -> Result<()> {
        let mut whole = self.top.to_vec();
        change
            .path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .for_each(|name| path::push(&mut whole, name));
        if change.kind == NodeKind::Directory && !whole.is_empty() {
            whole.push(b'/');
        }
        let letter = change.modifier.letter();
        if !self.output.json {
            return self.output.line(&format!("{letter:<5}/{}", printable(&whole)));
        }
        let mut object = Map::new();
        object.insert("message_type".into(), "change".into());
        json::path_fields(&mut object, "path", &whole);
        object.insert("modifier".into(), letter.into());
        self.output.object(&object.into())
    }

    fn statistics(&self, sides: &Sides<'_>, statistics: &Statistics) -> Result<()> {
        if self.output.json {
            return self.output.object(&object(sides, statistics));
        }
        let Statistics { added, removed, .. } = statistics;
        let row = |name: &str, new: u64, gone: u64, changed: Option<u64>| {
            let changed = changed.map(|count| format!(", {:>7} changed", human::count(count)));
            format!(
                "{name:<9}{:>7} new, {:>7} removed{}",
                human::count(new),
                human::count(gone),
                changed.unwrap_or_default()
            )
        };
        let mut lines = vec![
            String::new(),
            row("Files:", added.files, removed.files, Some(statistics.changed_files)),
            row("Dirs:", added.directories, removed.directories, None),
            row("Others:", added.others, removed.others, Some(statistics.changed_others)),
        ];
        lines.extend(sides.folder.is_none().then(|| row("Chunks:", added.chunks, removed.chunks, None)));
        lines.push(format!("  Added:   {}", human::bytes(added.bytes)));
        lines.push(format!("  Removed: {}", human::bytes(removed.bytes)));
        lines.iter().try_for_each(|line| self.output.say(line))
    }
}

/// restic's names where the meaning is the same.
fn object(sides: &Sides<'_>, statistics: &Statistics) -> Value {
    let counts = |counts: &Counts| {
        json!({
            "files": counts.files,
            "dirs": counts.directories,
            "others": counts.others,
            "data_blobs": counts.chunks,
            "bytes": counts.bytes,
        })
    };
    let mut object = Map::new();
    object.insert("message_type".into(), "statistics".into());
    object.insert("source_snapshot".into(), sides.old.id.to_hex().into());
    if let Some(new) = sides.new {
        object.insert("target_snapshot".into(), new.id.to_hex().into());
    }
    if let Some(folder) = sides.folder {
        object.insert("target_folder".into(), String::from_utf8_lossy(folder.as_bytes()).into());
    }
    object.insert("changed_files".into(), statistics.changed_files.into());
    object.insert("changed_others".into(), statistics.changed_others.into());
    object.insert("changed_metadata".into(), statistics.changed_metadata.into());
    object.insert("added".into(), counts(&statistics.added));
    object.insert("removed".into(), counts(&statistics.removed));
    object.insert("problems".into(), statistics.problems.into());
    object.into()
}
