//! Looking for files in many snapshots at once.
//!
//! All trees are walked together, in the order of their paths: what several of them have in common is met at one place,
//! and read once. Memory holds the blobs that are known and not read yet, each once, and the matches that lie behind
//! them. Invariant: a blob is read once, however many snapshots need it.

mod snapshots;
#[cfg(test)]
mod tests;
mod wanted;

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::node::Node;
use crate::format::path;
use crate::format::tree::LeafEntry;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::operation::versions::{Version, same_version};
use crate::report::{Finding, Reporter, printable};
use crate::repository::reader::BlobSource;
use crate::repository::tree::{Root, TreeBlob, children_below, read_blob};

use snapshots::SnapshotSet;
pub use wanted::{Query, WantedBlobs};

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hit {
    /// A path, and each of its versions that is as asked for, the newest first.
    Path {
        /// The path.
        path: Vec<u8>,
        /// Its versions; the snapshots are counted as in the list given.
        versions: Vec<Version>,
    },
    /// A blob of a tree that was asked for by its id.
    Tree {
        /// Its kind.
        kind: BlobKind,
        /// Its id.
        id: Id,
        /// The first path in it.
        path: Vec<u8>,
        /// The snapshots that need it, rising.
        snapshots: Vec<usize>,
    },
}

/// What a search came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Paths that were found.
    pub paths: u64,
    /// Their versions.
    pub versions: u64,
    /// Blobs of trees that were found.
    pub tree_blobs: u64,
    /// Blobs of trees that were read.
    pub blobs_read: u64,
    /// Blobs that could not be read: what lies in them was not looked through.
    pub problems: u64,
}

/// Looks through the trees of snapshots, given in the order of their times, and hands out what is as asked for in the
/// order of the paths, until `visit` has seen enough.
///
/// # Errors
/// Where the store cannot be read; blobs that are lost or damaged are reported.
pub fn run(
    source: &dyn BlobSource,
    roots: &[Root],
    query: Query,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
    visit: &mut dyn FnMut(Hit) -> Result<ControlFlow<()>>,
) -> Result<Summary> {
    let mut search = Search {
        source,
        query,
        reporter,
        waiting: BTreeMap::new(),
        matches: BTreeMap::new(),
        summary: Summary::default(),
    };
    for (index, root) in roots.iter().enumerate() {
        let blob = Blob { path: Place(Vec::new()), level: Reverse(root.level), id: root.id };
        search.waiting.entry(blob).or_default().snapshots.insert(index);
    }
    while let Some((blob, known)) = search.waiting.pop_first() {
        interrupt.check()?;
        // What lies before everything that is still to be read is complete.
        while search.matches.first_key_value().is_some_and(|(place, _)| *place < blob.path) {
            if search.hand_out(visit)?.is_break() {
                return Ok(search.summary);
            }
        }
        if search.tell_of_blob(&blob, &known, visit)?.is_break() {
            return Ok(search.summary);
        }
        search.read(&blob, &known)?;
    }
    while !search.matches.is_empty() {
        if search.hand_out(visit)?.is_break() {
            break;
        }
    }
    Ok(search.summary)
}

struct Search<'a> {
    source: &'a dyn BlobSource,
    query: Query,
    reporter: &'a dyn Reporter,
    /// Blobs that are still to be read.
    waiting: BTreeMap<Blob, Known>,
    /// Versions found of paths of which more may be found.
    matches: BTreeMap<Place, Vec<(Node, SnapshotSet)>>,
    summary: Summary,
}

/// A blob of a tree, ordered so that it comes behind every blob that names it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Blob {
    /// Its first path; empty for one at the top, of which nothing is known.
    path: Place,
    level: Reverse<u8>,
    id: Id,
}

/// What is known of a blob before it is read.
#[derive(Default)]
struct Known {
    /// How many nodes lie below it, as its parent says; the topmost has none.
    nodes: Option<u64>,
    snapshots: SnapshotSet,
}

/// A path, in the order of a tree.
#[derive(PartialEq, Eq)]
struct Place(Vec<u8>);

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        path::compare(&self.0, &other.0)
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Search<'_> {
    fn tell_of_blob(
        &mut self,
        blob: &Blob,
        known: &Known,
        visit: &mut dyn FnMut(Hit) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        if !self.query.blobs.as_ref().is_some_and(|blobs| blobs.contains(&blob.id)) {
            return Ok(ControlFlow::Continue(()));
        }
        self.summary.tree_blobs = self.summary.tree_blobs.saturating_add(1);
        let kind = if blob.level.0 == 0 { BlobKind::Leaf } else { BlobKind::Inner };
        let snapshots = known.snapshots.indices();
        visit(Hit::Tree { kind, id: blob.id, path: blob.path.0.clone(), snapshots })
    }

    /// Reads a blob: what it names is to be read, and what is as asked for is kept.
    fn read(&mut self, blob: &Blob, known: &Known) -> Result<()> {
        self.summary.blobs_read = self.summary.blobs_read.saturating_add(1);
        let said = known.nodes.map(|nodes| (blob.path.0.as_slice(), nodes));
        match read_blob(self.source, &blob.id, blob.level.0, said) {
            Ok(TreeBlob::Inner(entries)) => {
                let level = Reverse(blob.level.0.saturating_sub(1));
                for entry in children_below(entries, self.query.patterns.folder()) {
                    let below = Blob { path: Place(entry.path), level, id: entry.id };
                    let waiting = self.waiting.entry(below).or_default();
                    waiting.nodes = Some(entry.nodes);
                    waiting.snapshots.add(&known.snapshots);
                }
                Ok(())
            }
            Ok(TreeBlob::Leaf(entries)) => {
                self.reporter.progress().add_files(entries.len() as u64);
                entries.into_iter().try_for_each(|entry| self.look_at(entry, &known.snapshots))
            }
            Err(error) => self.missed(&blob.path.0, error),
        }
    }

    fn look_at(&mut self, entry: LeafEntry, snapshots: &SnapshotSet) -> Result<()> {
        let LeafEntry { path, node } = entry;
        if !self.query.matches(&path, &node) {
            return Ok(());
        }
        if let Some(blobs) = &mut self.query.blobs {
            let needed = match &node.content {
                Some(content) => blobs.needed_by(self.source, content),
                None => Ok(false),
            };
            match needed {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => return self.missed(&path, error),
            }
        }
        let versions = self.matches.entry(Place(path)).or_default();
        match versions.iter_mut().rev().find(|(known, _)| same_version(known, &node)) {
            Some((known, holders)) => {
                if holders.last() < snapshots.last() {
                    *known = node;
                }
                holders.add(snapshots);
            }
            None => versions.push((node, snapshots.clone())),
        }
        Ok(())
    }

    /// Reports what is lost or damaged; the rest is worth looking through all the same.
    fn missed(&mut self, path: &[u8], error: Error) -> Result<()> {
        if !matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt) {
            return Err(error);
        }
        self.summary.problems = self.summary.problems.saturating_add(1);
        let cause = format!("what lies here, or from here on, was not looked through: {}", error.chain());
        let finding = Finding::problem(format!("/{}", printable(path)), cause);
        self.reporter.report(match error.next_step() {
            Some(step) => finding.with_hint(step),
            None => finding,
        });
        Ok(())
    }

    /// Hands out the first path.
    fn hand_out(&mut self, visit: &mut dyn FnMut(Hit) -> Result<ControlFlow<()>>) -> Result<ControlFlow<()>> {
        let Some((Place(path), mut versions)) = self.matches.pop_first() else {
            return Ok(ControlFlow::Continue(()));
        };
        versions.sort_by_key(|(_, holders)| Reverse(holders.last()));
        let versions: Vec<Version> = versions
            .into_iter()
            .map(|(node, holders)| Version { node, snapshots: holders.indices() })
            .collect();
        self.summary.paths = self.summary.paths.saturating_add(1);
        self.summary.versions = self.summary.versions.saturating_add(versions.len() as u64);
        visit(Hit::Path { path, versions })
    }
}
