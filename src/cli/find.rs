//! `strongroom find`

use std::io::Write;
use std::ops::ControlFlow;

use clap::ArgGroup;
use serde_json::{Value, json};

use super::exit::Outcome;
use super::filter::Filter;
use super::global::Global;
use super::output::{Output, human, json, node};
use super::size::parse_size;
use super::time::parse_moment;
use crate::error::Result;
use crate::format::key_slot::Role;
use crate::format::node::{NodeKind, Timestamp};
use crate::operation::find::{self, Hit, Query, Summary, WantedBlobs};
use crate::operation::versions::Version;
use crate::report::printable;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::Root;
use crate::source::files::PathPatterns;

/// Arguments of `find`.
#[derive(clap::Args)]
#[command(
    override_usage = "strongroom find [OPTIONS] [PATTERN]...",
    group = ArgGroup::new("what").required(true).multiple(true).args([
        "patterns", "oldest", "newest", "larger", "smaller", "kinds", "blob", "pack",
    ]),
    after_help = "A pattern without a slash names files by their names; one that begins with a slash, by their whole \
    paths; one with a slash elsewhere, by the end of their paths. `*` and `?` stay within a name, `**` crosses \
    folders; a pattern after `!` takes back what those before it match.\n\n\
    Each path is printed once, and below it each of its versions, the newest first, with the oldest and the newest \
    snapshot that hold it. That nothing is found is no failure: the exit code is 0.\n\n\
    Examples:\n  strongroom find 'attachments/8a0f*/*'\n  strongroom find -l '*.conf' --oldest 30d --host server\n  \
    strongroom find --larger 100M --type f\n  strongroom find --blob 1a2b3c4d"
)]
pub(super) struct Arguments {
    /// What the paths look like
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Capital and small letters are equal
    #[arg(short, long)]
    ignore_case: bool,
    /// Print mode and owner too, and every snapshot that holds a version
    #[arg(short, long)]
    long: bool,
    /// Print nothing but the paths, each ended by a zero byte
    #[arg(short = '0', long, conflicts_with_all = ["long", "json"])]
    print0: bool,
    /// Only what was changed at this time or later: 2026-11-21, or with 03:15:00 behind it, or 7d for seven days ago
    #[arg(short = 'O', long, value_name = "TIME", visible_alias = "newer", value_parser = parse_moment, help_heading = "Which files")]
    oldest: Option<Timestamp>,
    /// Only what was changed at this time or earlier
    #[arg(short = 'N', long, value_name = "TIME", visible_alias = "older", value_parser = parse_moment, help_heading = "Which files")]
    newest: Option<Timestamp>,
    /// Only files of at least so many bytes; k, M, G and T mean 1024 and its powers
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Which files")]
    larger: Option<u64>,
    /// Only files of at most so many bytes
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Which files")]
    smaller: Option<u64>,
    /// Only these: f files, d folders, l links, p pipes, s sockets, c and b devices
    #[arg(long = "type", value_name = "LETTER", value_delimiter = ',', value_parser = parse_kind, help_heading = "Which files")]
    kinds: Vec<NodeKind>,
    /// Only files that need this blob, named by the beginning of its id; also the blob of a tree itself
    #[arg(long, value_name = "ID", help_heading = "Which files")]
    blob: Vec<String>,
    /// The same for all blobs in this pack
    #[arg(long, value_name = "ID", help_heading = "Which files")]
    pack: Vec<String>,
    /// Look in this snapshot, instead of in all; may be repeated
    #[arg(short, long, value_name = "SNAPSHOT", help_heading = "Which snapshots")]
    snapshot: Vec<String>,
    #[command(flatten)]
    filter: Filter,
}

fn parse_kind(text: &str) -> std::result::Result<NodeKind, String> {
    match text {
        "f" | "file" => Ok(NodeKind::File),
        "d" | "dir" => Ok(NodeKind::Directory),
        "l" | "symlink" => Ok(NodeKind::Symlink),
        "p" | "fifo" => Ok(NodeKind::Fifo),
        "s" | "socket" => Ok(NodeKind::Socket),
        "c" | "chardev" => Ok(NodeKind::CharacterDevice),
        "b" | "dev" => Ok(NodeKind::BlockDevice),
        _ => Err("give f, d, l, p, s, c or b".to_owned()),
    }
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let patterns = PathPatterns::new(&arguments.patterns, arguments.ignore_case)?;
    let repository = global.open(output)?;
    repository.keyring().require(Role::Maintain, "looking for files in snapshots")?;
    let found = repository.snapshots()?;
    found.report_damaged(output);
    repository.tell_vanished(&found, output);
    let snapshots = found.find_all(&arguments.filter.get()?, &arguments.snapshot)?;
    let reader = BlobReader::with_kept_metadata(&repository, output)?;
    let query = Query {
        patterns,
        oldest: arguments.oldest,
        newest: arguments.newest,
        larger: arguments.larger,
        smaller: arguments.smaller,
        kinds: arguments.kinds.clone(),
        blobs: blobs(arguments, &reader)?,
    };
    let roots: Vec<Root> = snapshots.iter().map(Snapshot::root).collect();
    let print = Print { arguments, output, snapshots: &snapshots };
    let progress = output.start_progress("searching");
    let interrupt = output.signals.in_good_order();
    let summary = find::run(&reader, &roots, query, output, &interrupt, &mut |hit| print.hit(&hit));
    drop(progress);
    let summary = summary?;
    print.summary(&summary)?;
    Ok(Outcome::of(summary.problems))
}

fn blobs(arguments: &Arguments, reader: &BlobReader<'_>) -> Result<Option<WantedBlobs>> {
    if arguments.blob.is_empty() && arguments.pack.is_empty() {
        return Ok(None);
    }
    let mut blobs = WantedBlobs::default();
    let index = reader.index()?;
    arguments.blob.iter().try_for_each(|digits| blobs.add_blob(digits))?;
    arguments.pack.iter().try_for_each(|digits| blobs.add_pack(&index, digits))?;
    Ok(Some(blobs))
}

struct Print<'a> {
    arguments: &'a Arguments,
    output: &'a Output,
    snapshots: &'a [Snapshot],
}

impl Print<'_> {
    fn hit(&self, hit: &Hit) -> Result<ControlFlow<()>> {
        match hit {
            Hit::Path { path, .. } if self.arguments.print0 => {
                self.output.text(&[b"/", path.as_slice(), b"\0"].concat())?;
            }
            Hit::Path { path, versions } if self.output.json => {
                versions.iter().try_for_each(|version| self.output.object(&self.object(path, version)))?;
            }
            Hit::Path { path, versions } => {
                self.output.line(&format!("/{}", printable(path)))?;
                versions.iter().try_for_each(|version| self.version(version))?;
            }
            Hit::Tree { .. } if self.arguments.print0 => {}
            Hit::Tree { kind, id, path, snapshots } if self.output.json => {
                let mut object = serde_json::Map::new();
                object.insert("message_type".into(), "blob".into());
                object.insert("id".into(), id.to_hex().into());
                object.insert("type".into(), kind.name().into());
                json::path_fields(&mut object, "path", path);
                object.insert("snapshots".into(), self.ids(snapshots));
                self.output.object(&object.into())?;
            }
            Hit::Tree { kind, id, path, snapshots } => {
                let (name, path) = (kind.name(), printable(path));
                let held = self.held_by(snapshots);
                self.output.line(&format!("{name} {} from /{path} on\n  {held}", id.short()))?;
            }
        }
        Ok(if self.output.reader_gone() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn object(&self, path: &[u8], version: &Version) -> Value {
        let mut object = json::node_fields("match", path, &version.node);
        object.insert("snapshots".into(), self.ids(&version.snapshots));
        object.into()
    }

    fn ids(&self, snapshots: &[usize]) -> Value {
        let ids = snapshots.iter().filter_map(|index| self.snapshots.get(*index));
        ids.map(|snapshot| Value::from(snapshot.id.to_hex())).collect::<Vec<_>>().into()
    }

    fn version(&self, version: &Version) -> Result<()> {
        let Version { node, snapshots } = version;
        if !self.arguments.long {
            let size = match node.kind {
                NodeKind::File => human::bytes(node.size),
                kind => json::kind(kind).to_owned(),
            };
            let time = human::local(node.mtime);
            return self.output.line(&format!("  {time}  {size:>11}  {}", self.held_by(snapshots)));
        }
        self.output.line(&format!("  {}{}", node::columns(node, true), node::target(node)))?;
        for snapshot in snapshots.iter().rev().filter_map(|index| self.snapshots.get(*index)) {
            let host = printable(snapshot.manifest.host.as_bytes());
            let (id, time) = (snapshot.id.short(), human::local(snapshot.manifest.time));
            self.output.line(&format!("    in {id} of {time}, {host}"))?;
        }
        Ok(())
    }

    /// Which snapshots these are, in a few words.
    fn held_by(&self, snapshots: &[usize]) -> String {
        let id = |index: Option<&usize>| {
            index
                .and_then(|index| self.snapshots.get(*index))
                .map(|snapshot| snapshot.id.short())
                .unwrap_or_default()
        };
        let (first, last) = (id(snapshots.first()), id(snapshots.last()));
        match snapshots.len() {
            1 => format!("in {first}"),
            count => format!("in {} snapshots, {first} to {last}", human::count(count as u64)),
        }
    }

    fn summary(&self, summary: &Summary) -> Result<()> {
        if self.output.json {
            return self.output.object(&json!({
                "message_type": "summary",
                "paths": summary.paths,
                "versions": summary.versions,
                "tree_blobs": summary.tree_blobs,
                "snapshots_searched": self.snapshots.len(),
                "blobs_read": summary.blobs_read,
                "problems": summary.problems,
            }));
        }
        if self.arguments.print0 {
            return std::io::stdout().flush().or(Ok(()));
        }
        let trees = match summary.tree_blobs {
            0 => String::new(),
            count => format!(", and {},", human::counted(count, "tree blob")),
        };
        self.output.say(&format!(
            "{} with {}{trees} in {}",
            human::counted(summary.paths, "path"),
            human::counted(summary.versions, "version"),
            human::counted(self.snapshots.len() as u64, "snapshot")
        ))
    }
}
