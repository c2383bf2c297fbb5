//! `strongroom ls`

use std::cmp::Reverse;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::exit::Outcome;
use super::filter::Filter;
use super::global::Global;
use super::output::{Output, json, node};
use crate::error::Result;
use crate::format::key_slot::Role;
use crate::format::node::NodeKind;
use crate::format::path;
use crate::format::tree::LeafEntry;
use crate::operation::restore;
use crate::report::printable;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::TreeReader;

/// Arguments of `ls`.
#[derive(clap::Args)]
#[command(
    after_help = "Without PATH everything is listed, and with SNAPSHOT:PATH everything below that. A PATH lists \
    what lies directly in it.\n\nExamples:\n  strongroom ls latest\n  strongroom ls -l latest:/attachments\n  \
    strongroom ls -l --human-readable --sort size latest\n  strongroom ls latest /attachments /sends\n  \
    strongroom ls --json 1a2b3c4d"
)]
pub(super) struct Arguments {
    /// Snapshot: a prefix of its id, `latest`, `latest~1`; and perhaps `:` and a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: String,
    /// List these paths only, and of folders what lies directly in them
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// Print mode, owner, size and time too
    #[arg(short, long)]
    long: bool,
    /// List all that lies below each PATH
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Print sizes such as 1.46 GiB
    #[arg(long)]
    human_readable: bool,
    /// Order by this: the largest, or the newest, comes first
    #[arg(long, value_enum, default_value_t = Sort::Name)]
    sort: Sort,
    /// Turn the order around
    #[arg(long)]
    reverse: bool,
    #[command(flatten)]
    filter: Filter,
}

/// Orders of a listing.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    /// By path, component by component
    Name,
    /// By size, the largest first
    Size,
    /// By the time of the last change of the content, the newest first
    #[value(alias = "mtime")]
    Time,
    /// By what follows the last dot of the name
    #[value(alias = "ext")]
    Extension,
}

/// Splits `SNAPSHOT:PATH`.
pub(super) fn split(text: &str) -> Result<(&str, Vec<u8>)> {
    match text.split_once(':') {
        Some((snapshot, place)) => Ok((snapshot, path::parse(place.as_bytes())?)),
        None => Ok((text, Vec::new())),
    }
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let (name, place) = split(&arguments.snapshot)?;
    let repository = global.open(output)?;
    repository.keyring().require(Role::Maintain, "listing the files of a snapshot")?;
    let snapshot = repository.find_snapshot_among(&arguments.filter.get()?, name, output)?;
    let reader = BlobReader::with_kept_metadata(&repository, output)?;
    let mut listing = Listing { arguments, output, sorted: Vec::new() };
    if arguments.paths.is_empty() {
        listing.below(&reader, &snapshot, &place, true)?;
    }
    for text in &arguments.paths {
        let mut path = place.clone();
        let below = path::parse(text.as_bytes())?;
        below
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .for_each(|name| path::push(&mut path, name));
        listing.below(&reader, &snapshot, &path, arguments.recursive)?;
    }
    listing.finish()?;
    Ok(Outcome::Done)
}

struct Listing<'a> {
    arguments: &'a Arguments,
    output: &'a Output,
    /// What is to be printed in another order than that of the paths.
    sorted: Vec<LeafEntry>,
}

impl Listing<'_> {
    /// Lists a path, and what lies in it.
    fn below(
        &mut self,
        reader: &BlobReader<'_>,
        snapshot: &Snapshot,
        place: &[u8],
        recursive: bool,
    ) -> Result<()> {
        restore::find(reader, snapshot, place)?;
        let in_order = self.arguments.sort == Sort::Name && !self.arguments.reverse;
        let mut tree = TreeReader::below(reader, snapshot.root(), place);
        while let Some(entry) = tree.next_entry()? {
            if self.output.reader_gone() {
                break;
            }
            if !recursive && entry.node.kind == NodeKind::Directory && entry.path != place {
                tree.skip_below(&entry.path)?;
            }
            if in_order {
                self.print(&entry)?;
            } else {
                self.sorted.push(entry);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        let mut sorted = std::mem::take(&mut self.sorted);
        let extension = |entry: &LeafEntry| {
            let name = path::name(&entry.path);
            let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0);
            dot.and_then(|dot| name.get(dot..)).unwrap_or_default().to_vec()
        };
        // Each order keeps that of the paths where it says nothing.
        match self.arguments.sort {
            Sort::Name => {}
            Sort::Size => sorted.sort_by_key(|entry| Reverse(entry.node.size)),
            Sort::Time => sorted.sort_by_key(|entry| Reverse(entry.node.mtime)),
            Sort::Extension => sorted.sort_by_cached_key(extension),
        }
        if self.arguments.reverse {
            sorted.reverse();
        }
        for entry in &sorted {
            if self.output.reader_gone() {
                break;
            }
            self.print(entry)?;
        }
        Ok(())
    }

    fn print(&self, entry: &LeafEntry) -> Result<()> {
        let LeafEntry { path, node } = entry;
        let human_readable = self.arguments.human_readable;
        if self.output.json {
            self.output.object(&json::node(path, node))
        } else if self.arguments.long {
            let columns = node::columns(node, human_readable);
            self.output.line(&format!("{columns}  /{}{}", printable(path), node::target(node)))
        } else if human_readable {
            self.output.line(&format!("{:>11}  /{}", node::size(node, true), printable(path)))
        } else {
            self.output.line(&format!("/{}", printable(path)))
        }
    }
}
