//! What changed from one snapshot to another, or between a snapshot and a folder.
//!
//! Two snapshots are compared by their trees, of which equal parts are passed over unread. Invariant: no contents are read
//! of snapshots; which chunks a file has says whether it changed.

pub mod folder;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::node::{Content, Node, NodeKind};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::{Finding, Reporter, printable};
use crate::repository::compare::{Comparison, Difference};
use crate::repository::content::compare_chunks;
use crate::repository::index::Index;
use crate::repository::reader::BlobSource;
use crate::repository::tree::Root;

/// How a path changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modifier {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its contents changed: what is in the file, where the link leads, which device it is.
    Modified,
    /// Its contents changed, and neither its size nor its time of modification. Somebody set that back, or the disk lies.
    Unexplained,
    /// Mode, owner, times or attributes changed, and no contents.
    Metadata,
    /// It is something else now, such as a folder in the place of a file.
    Type,
}

impl Modifier {
    /// The letter that stands for it, restic's where it has one.
    pub fn letter(self) -> &'static str {
        match self {
            Self::Added => "+",
            Self::Removed => "-",
            Self::Modified => "M",
            Self::Unexplained => "M?",
            Self::Metadata => "U",
            Self::Type => "T",
        }
    }
}

/// One path that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path, below what is compared.
    pub path: Vec<u8>,
    /// How it changed.
    pub modifier: Modifier,
    /// What lies there now; what lay there where it is gone.
    pub kind: NodeKind,
}

/// Counts of what is on one side only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files.
    pub files: u64,
    /// Folders.
    pub directories: u64,
    /// Links, pipes, sockets and devices.
    pub others: u64,
    /// Chunks that some file gained and none lost, or the other way round; zero where a folder is compared.
    pub chunks: u64,
    /// Bytes of these chunks; where a folder is compared, bytes of the files that differ.
    pub bytes: u64,
}

impl Counts {
    fn count(&mut self, kind: NodeKind) {
        let field = match kind {
            NodeKind::File => &mut self.files,
            NodeKind::Directory => &mut self.directories,
            _ => &mut self.others,
        };
        *field = field.saturating_add(1);
    }
}

/// What a comparison came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Files whose contents changed.
    pub changed_files: u64,
    /// Links and devices that changed.
    pub changed_others: u64,
    /// Paths of which nothing but metadata changed; counted only if that was asked for.
    pub changed_metadata: u64,
    /// What is new. What changed its type counts as gone and as new.
    pub added: Counts,
    /// What is gone.
    pub removed: Counts,
    /// What could not be read.
    pub problems: u64,
}

impl Statistics {
    fn count(&mut self, modifier: Modifier, old: Option<&Node>, new: Option<&Node>) {
        let field = match modifier {
            Modifier::Added | Modifier::Removed | Modifier::Type => {
                if let Some(node) = old {
                    self.removed.count(node.kind);
                }
                if let Some(node) = new {
                    self.added.count(node.kind);
                }
                return;
            }
            Modifier::Metadata => &mut self.changed_metadata,
            _ if new.is_some_and(|node| node.kind == NodeKind::File) => &mut self.changed_files,
            _ => &mut self.changed_others,
        };
        *field = field.saturating_add(1);
    }
}

/// Compares what lies at and below a path of one tree with what lies at and below a path of another, and hands out the
/// changes in the order of their paths; with `metadata` also those of nothing else.
///
/// # Errors
/// Where a part of a tree that differs cannot be read; whatever `visit` says.
pub fn between(
    source: &dyn BlobSource,
    index: &Index,
    [old, new]: [(Root, &[u8]); 2],
    metadata: bool,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
    visit: &mut dyn FnMut(&Change) -> Result<()>,
) -> Result<Statistics> {
    let mut comparison = Comparison::new(source, old, new);
    let mut statistics = Statistics::default();
    let mut chunks = Chunks::default();
    while let Some(Difference { path, old, new }) = comparison.next_difference()? {
        interrupt.check()?;
        reporter.progress().add_files(1);
        let (old, new) = (old.as_ref(), new.as_ref());
        let (Some(modifier), Some(shown)) = (modifier(old, new, metadata), new.or(old)) else { continue };
        if modifier != Modifier::Metadata
            && let Err(error) = chunks.compare(source, old, new)
        {
            if !matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt) {
                return Err(error);
            }
            statistics.problems = statistics.problems.saturating_add(1);
            reporter.report(not_counted(&path, &error));
        }
        statistics.count(modifier, old, new);
        visit(&Change { path, modifier, kind: shown.kind })?;
    }
    chunks.count(index, &mut statistics)?;
    Ok(statistics)
}

fn not_counted(path: &[u8], error: &Error) -> Finding {
    let cause = format!("how much of it changed is not counted: {}", error.chain());
    Finding::problem(format!("/{}", printable(path)), cause)
        .with_hint("run `strongroom check` to see what else is affected")
}

/// How two nodes of one path differ; nothing if they do not in what is asked for.
fn modifier(old: Option<&Node>, new: Option<&Node>, metadata: bool) -> Option<Modifier> {
    let (old, new) = match (old, new) {
        (None, None) => return None,
        (None, Some(_)) => return Some(Modifier::Added),
        (Some(_), None) => return Some(Modifier::Removed),
        (Some(old), Some(new)) => (old, new),
    };
    let contents = old.size != new.size
        || old.content != new.content
        || old.holes != new.holes
        || old.link_target != new.link_target
        || old.device_number != new.device_number;
    if old.kind != new.kind {
        Some(Modifier::Type)
    } else if contents {
        Some(modified(old, new))
    } else if metadata && metadata_differs(old, new) {
        Some(Modifier::Metadata)
    } else {
        None
    }
}

/// How contents changed that differ. A restored file has another time of change: that of modification is what counts.
fn modified(old: &Node, new: &Node) -> Modifier {
    // A database is written without a change of its file's times while it keeps a log.
    let database = new.database.is_some() || old.database.is_some();
    if (old.size, old.mtime) == (new.size, new.mtime) && !database {
        Modifier::Unexplained
    } else {
        Modifier::Modified
    }
}

/// Whether anything differs that a restore brings back beside the contents.
fn metadata_differs(old: &Node, new: &Node) -> bool {
    (old.mode, old.uid, old.gid, old.mtime) != (new.mode, new.uid, new.gid, new.mtime)
        || old.attributes != new.attributes
}

/// The chunks that files gained and lost.
#[derive(Default)]
struct Chunks {
    gained: HashSet<Id>,
    lost: HashSet<Id>,
}

impl Chunks {
    fn compare(&mut self, source: &dyn BlobSource, old: Option<&Node>, new: Option<&Node>) -> Result<()> {
        let nothing = Content::default();
        let content = |node: Option<&Node>| node.and_then(|node| node.content.clone());
        let (old, new) = (content(old), content(new));
        if old == new {
            return Ok(());
        }
        let (old, new) = (old.as_ref().unwrap_or(&nothing), new.as_ref().unwrap_or(&nothing));
        let (lost, gained) = compare_chunks(source, old, new)?;
        self.lost.extend(lost);
        self.gained.extend(gained);
        Ok(())
    }

    /// What moved from one file to another is neither new nor gone.
    fn count(&self, index: &Index, statistics: &mut Statistics) -> Result<()> {
        let sides = [
            (&self.gained, &self.lost, &mut statistics.added),
            (&self.lost, &self.gained, &mut statistics.removed),
        ];
        for (here, there, counts) in sides {
            for id in here.difference(there) {
                counts.chunks = counts.chunks.saturating_add(1);
                let length = index.plain_length(BlobKind::Chunk, id)?.unwrap_or(0);
                counts.bytes = counts.bytes.saturating_add(u64::from(length));
            }
        }
        Ok(())
    }
}
