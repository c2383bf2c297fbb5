//! The previous snapshot: which one it is, and walking through its tree beside the walk through the files.
//!
//! Invariants: only a snapshot that this very key wrote, of the same host and paths, is believed about what
//! did not change: another host's key must not be able to make this one skip a file. A previous tree that
//! cannot be read costs time, not correctness.

use std::cmp::Ordering;
use std::sync::Arc;

use super::ParentChoice;
use crate::error::{Error, Result};
use crate::format::blob::Class;
use crate::format::node::Node;
use crate::format::path;
use crate::format::tree::LeafEntry;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::cached_tree::CachedTree;
use crate::repository::reader::{BlobReader, BlobSource};
use crate::repository::snapshot::{Snapshot, Snapshots};
use crate::repository::tree::TreeReader;

/// Snapshots that a backup of this host and these paths may be compared with, newest first. A forgotten one is among
/// them as long as another was made from it.
pub(super) fn candidates<'s>(
    repository: &Repository,
    snapshots: &'s Snapshots,
    host: &str,
    paths: &[Vec<u8>],
) -> Vec<&'s Snapshot> {
    let writer = repository.own_writer();
    let same_paths = |snapshot: &Snapshot| {
        snapshot.manifest.paths.iter().map(|path| path.as_slice()).eq(paths.iter().map(Vec::as_slice))
    };
    // One that was replaced, as when its tags were changed, tells as well as before what did not change.
    let stands_for = |snapshot: &Snapshot| {
        snapshots.snapshots.iter().any(|live| live.id != snapshot.id && live.origin().snapshot == snapshot.id)
    };
    let replaced = snapshots.forgotten.iter().filter(|snapshot| stands_for(snapshot));
    // Reversed, the live ones come before those that they replaced.
    let mut candidates: Vec<&Snapshot> = replaced
        .chain(&snapshots.snapshots)
        .filter(|snapshot| {
            snapshot.writer == writer && snapshot.manifest.host == host && same_paths(snapshot)
        })
        .collect();
    candidates.sort_by_key(|snapshot| snapshot.manifest.time);
    candidates.reverse();
    candidates
}

/// Those that a backup is compared with: of the candidates, or the one that a person named.
///
/// # Errors
/// The one named was written by another key, or is gone.
pub(super) fn chosen<'s>(
    repository: &Repository,
    snapshots: &'s Snapshots,
    candidates: &[&'s Snapshot],
    choice: ParentChoice,
) -> Result<Vec<&'s Snapshot>> {
    let id = match choice {
        ParentChoice::Newest => return Ok(candidates.to_vec()),
        ParentChoice::Nothing => return Ok(Vec::new()),
        ParentChoice::Named(id) => id,
    };
    let named = snapshots.snapshots.iter().find(|snapshot| snapshot.id == id);
    let named = named.ok_or_else(|| Error::missing(format!("the snapshot {} is gone", id.short())))?;
    if named.writer != repository.own_writer() {
        let short = id.short();
        return Err(Error::refused(format!("snapshot {short} was written by another key than this one"))
            .hint(
                "a key believes only its own snapshots about what did not change: name one of those, or none",
            ));
    }
    Ok(vec![named])
}

/// Where the previous tree's blobs come from.
pub(in crate::operation) enum ParentSource<'a> {
    /// The sealed cache.
    Cache(Arc<CachedTree<'a>>),
    /// The repository itself, where the key opens metadata.
    Repository(BlobReader<'a>),
}

impl<'a> ParentSource<'a> {
    /// Opens the newest candidate that can be read: from the cache, else, where the key allows, from the
    /// repository.
    pub(in crate::operation) fn open<'s>(
        repository: &'a Repository,
        cache: Option<&Cache>,
        candidates: &[&'s Snapshot],
        reporter: &dyn Reporter,
    ) -> Result<Option<(Self, &'s Snapshot)>> {
        if let Some(cache) = cache {
            for snapshot in candidates {
                match cache.open_tree(repository, &snapshot.id) {
                    Ok(Some(tree)) => return Ok(Some((Self::Cache(Arc::new(tree)), snapshot))),
                    Ok(None) => {}
                    Err(error) => reporter.report(Finding::warning("the cache", error.chain())),
                }
            }
        }
        let Some(newest) = candidates.first() else { return Ok(None) };
        if !repository.keyring().opens(Class::Metadata) {
            return Ok(None);
        }
        Ok(Some((Self::Repository(BlobReader::new(repository, reporter)?), newest)))
    }

    /// The cached tree, where that is the source.
    pub(in crate::operation) fn cached(&self) -> Option<Arc<CachedTree<'a>>> {
        match self {
            Self::Cache(tree) => Some(Arc::clone(tree)),
            Self::Repository(_) => None,
        }
    }

    /// The source to read from.
    pub(in crate::operation) fn source(&self) -> &dyn BlobSource {
        match self {
            Self::Cache(tree) => tree.as_ref(),
            Self::Repository(reader) => reader,
        }
    }
}

/// Walks the previous tree in step with the files.
pub(in crate::operation) struct Parent<'a> {
    reader: Option<TreeReader<'a>>,
    next: Option<LeafEntry>,
    started: bool,
}

impl<'a> Parent<'a> {
    /// A parent, or none.
    pub(in crate::operation) fn new(reader: Option<TreeReader<'a>>) -> Self {
        Self { reader, next: None, started: false }
    }

    /// The node that stood at this path; paths come in rising order.
    pub(in crate::operation) fn at(&mut self, place: &[u8]) -> Result<Option<Node>> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        if !self.started {
            self.started = true;
            self.next = reader.next_entry()?;
        }
        while let Some(entry) = &self.next {
            match path::compare(&entry.path, place) {
                Ordering::Less => self.next = reader.next_entry()?,
                Ordering::Equal => {
                    return Ok(self.next.take().map(|entry| entry.node)).and_then(|node| {
                        self.next = reader.next_entry()?;
                        Ok(node)
                    });
                }
                Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Stops looking: what comes is new.
    pub(in crate::operation) fn give_up(&mut self) {
        self.reader = None;
        self.next = None;
    }
}
