//! `strongroom ls`

use super::exit::Outcome;
use super::filter::Filter;
use super::global::Global;
use super::output::{Output, human, json};
use crate::error::Result;
use crate::format::key_slot::Role;
use crate::format::node::{Node, NodeKind};
use crate::format::path;
use crate::operation::restore;
use crate::report::printable;
use crate::repository::reader::BlobReader;
use crate::repository::tree::TreeReader;

/// Arguments of `ls`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  strongroom ls latest\n  strongroom ls -l latest:/attachments\n  strongroom ls --json 1a2b3c4d"
)]
pub(super) struct Arguments {
    /// Snapshot: a prefix of its id, `latest`, `latest~1`; and perhaps `:` and a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: String,
    /// Print mode, owner, size and time too
    #[arg(short, long)]
    long: bool,
    #[command(flatten)]
    filter: Filter,
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
    let reader = BlobReader::new(&repository, output)?.with_kept_metadata();
    restore::find(&reader, &snapshot, &place)?;
    let mut tree = TreeReader::below(&reader, snapshot.root(), &place);
    while let Some(entry) = tree.next_entry()? {
        if output.reader_gone() {
            break;
        }
        if output.json {
            output.object(&json::node(&entry.path, &entry.node))?;
        } else if arguments.long {
            output.line(&long(&entry.path, &entry.node))?;
        } else {
            output.line(&format!("/{}", printable(&entry.path)))?;
        }
    }
    Ok(Outcome::Done)
}

fn long(path: &[u8], node: &Node) -> String {
    let name = |name: &[u8], number: u32| if name.is_empty() { number.to_string() } else { printable(name) };
    let target =
        node.link_target.as_deref().map(|target| format!(" -> {}", printable(target))).unwrap_or_default();
    format!(
        "{}  {:<8} {:<8} {:>12}  {}  /{}{target}",
        mode(node),
        name(&node.user, node.uid),
        name(&node.group, node.gid),
        node.size,
        human::local(node.mtime),
        printable(path)
    )
}

/// The mode as `ls -l` shows it.
fn mode(node: &Node) -> String {
    let kind = match node.kind {
        NodeKind::Directory => 'd',
        NodeKind::File => '-',
        NodeKind::Symlink => 'l',
        NodeKind::Fifo => 'p',
        NodeKind::Socket => 's',
        NodeKind::CharacterDevice => 'c',
        NodeKind::BlockDevice => 'b',
    };
    let bit = |bit: u32, letter: char| if node.mode & bit != 0 { letter } else { '-' };
    let run = |bit: u32, special: u32, both: char, alone: char| match (
        node.mode & bit != 0,
        node.mode & special != 0,
    ) {
        (true, true) => both,
        (false, true) => alone,
        (true, false) => 'x',
        (false, false) => '-',
    };
    [
        kind,
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        run(0o100, 0o4000, 's', 'S'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        run(0o010, 0o2000, 's', 'S'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        run(0o001, 0o1000, 't', 'T'),
    ]
    .iter()
    .collect()
}
