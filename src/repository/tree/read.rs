//! Reading a tree: all of it, a part, what is left of it, or one path.
//!
//! Follows `format-spec/08-tree.md`. Invariant: a blob starts where its parent says, and paths rise, so that no tree is
//! longer than it says.

use std::cmp::Ordering;

use super::Root;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::node::Node;
use crate::format::path;
use crate::format::tree::{self as format, Folders, InnerEntry, LeafEntry};
use crate::id::Id;
use crate::repository::reader::BlobSource;

/// Reads a tree in order, one blob at a time.
pub struct TreeReader<'a> {
    source: &'a dyn BlobSource,
    /// Blobs to be read, the next one last.
    waiting: Vec<Waiting>,
    leaf: std::vec::IntoIter<LeafEntry>,
    last: Option<Vec<u8>>,
    folder: Vec<u8>,
    folders: Folders,
    /// Whether a part was lost, so that folders may be missing above what follows.
    gap: bool,
}

/// A part of a tree that cannot be read.
#[derive(Debug)]
pub struct LostPart {
    /// The path it begins with.
    pub first: Vec<u8>,
    /// How many nodes lie in it.
    pub nodes: u64,
    /// Why.
    pub error: Error,
}

/// A blob to be read.
struct Waiting {
    id: Id,
    level: u8,
    /// What its parent says of it: the path that it starts with, and how many nodes lie below. The topmost has
    /// no parent.
    said: Option<(Vec<u8>, u64)>,
}

impl<'a> TreeReader<'a> {
    /// All nodes.
    pub fn new(source: &'a dyn BlobSource, root: Root) -> Self {
        Self::below(source, root, b"")
    }

    /// The node at `folder` and all below it.
    pub fn below(source: &'a dyn BlobSource, root: Root, folder: &[u8]) -> Self {
        Self {
            source,
            waiting: vec![Waiting { id: root.id, level: root.level, said: None }],
            leaf: Vec::new().into_iter(),
            last: None,
            folder: folder.to_vec(),
            folders: Folders::default(),
            gap: false,
        }
    }

    /// The next node, or none at the end.
    pub fn next_entry(&mut self) -> Result<Option<LeafEntry>> {
        self.advance(&mut |_, error| Err(error))
    }

    /// The next node that can be read, or none at the end. `lost` is told of each part that cannot be, and what
    /// lies behind it follows all the same: above a node there may then be folders that did not come.
    ///
    /// # Errors
    /// Where the topmost blob cannot be read, a key does not allow it, or paths do not rise.
    pub fn next_surviving(&mut self, lost: &mut dyn FnMut(LostPart)) -> Result<Option<LeafEntry>> {
        self.advance(&mut |waiting, error| match &waiting.said {
            Some((first, nodes)) if Self::is_damage(&error) => {
                lost(LostPart { first: first.clone(), nodes: *nodes, error });
                Ok(())
            }
            _ => Err(error),
        })
    }

    /// Whether an error says that a part is lost, and not that nobody may read it or that somebody wants to stop.
    pub fn is_damage(error: &Error) -> bool {
        matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt | ErrorKind::Io)
    }

    fn advance(
        &mut self,
        failed: &mut dyn FnMut(&Waiting, Error) -> Result<()>,
    ) -> Result<Option<LeafEntry>> {
        loop {
            if let Some(entry) = self.take_entry()? {
                if self.gap && !self.folders.lead_to(&entry.path) {
                    self.folders.skip_to(path::parent(&entry.path).unwrap_or_default(), true);
                }
                self.folders.enter(&self.folder, &entry.path, entry.node.kind)?;
                return Ok(Some(entry));
            }
            let Some(waiting) = self.waiting.pop() else { return Ok(None) };
            if let Err(error) = self.open(&waiting) {
                failed(&waiting, error)?;
                self.gap = true;
            }
        }
    }

    /// Passes over all that lies below a folder, and reads no blob that holds nothing else.
    pub fn skip_below(&mut self, folder: &[u8]) -> Result<()> {
        let below = |path: &[u8]| path::is_below(path, folder);
        let inside = |waiting: &Waiting| waiting.said.as_ref().is_some_and(|(first, _)| below(first));
        loop {
            while self.leaf.as_slice().first().is_some_and(|entry| below(&entry.path)) {
                self.take_entry()?;
            }
            match self.waiting.as_slice() {
                _ if !self.leaf.as_slice().is_empty() => return Ok(()),
                // What comes before something inside lies inside as a whole.
                [.., next, first] if inside(first) && inside(next) => self.pass(),
                [.., first] if inside(first) => {
                    let entered = self.enter();
                    // It may have held the folders above what follows.
                    self.gap |= entered.is_err();
                    entered?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// What comes next, read or not.
    pub(in crate::repository) fn peek(&self) -> Option<Next<'_>> {
        if let Some(entry) = self.leaf.as_slice().first() {
            return Some(Next::Entry(&entry.path));
        }
        self.waiting.last().map(|waiting| {
            let path = waiting.said.as_ref().map_or(&b""[..], |(first, _)| first);
            Next::Blob { id: waiting.id, level: waiting.level, path }
        })
    }

    /// Takes the entry that comes next, if it was read. Whether a folder leads to it is not looked at: parts of the tree
    /// may have been passed over.
    pub(in crate::repository) fn take_entry(&mut self) -> Result<Option<LeafEntry>> {
        let Some(entry) = self.leaf.next() else { return Ok(None) };
        if self.last.as_deref().is_some_and(|last| path::compare(last, &entry.path) != Ordering::Less) {
            return Err(Error::corrupt("the paths of a tree do not rise"));
        }
        self.last = Some(entry.path.clone());
        Ok(Some(entry))
    }

    /// Passes over the blob that comes next, and all below it.
    pub(in crate::repository) fn pass(&mut self) {
        self.waiting.pop();
    }

    /// Reads the blob that comes next.
    pub(in crate::repository) fn enter(&mut self) -> Result<()> {
        self.waiting.pop().map_or(Ok(()), |waiting| self.open(&waiting))
    }

    /// Reads a blob. Since every blob starts where its parent says, and paths rise, no blob is met twice: a hostile
    /// tree that refers to one blob over and over ends here and not in the night.
    fn open(&mut self, waiting: &Waiting) -> Result<()> {
        let level = waiting.level;
        let said = waiting.said.as_ref().map(|(first, nodes)| (first.as_slice(), *nodes));
        match read_blob(self.source, &waiting.id, level, said)? {
            TreeBlob::Leaf(mut entries) => {
                if !self.folder.is_empty() {
                    let behind = |entry: &LeafEntry| is_behind(&entry.path, &self.folder);
                    if entries.last().is_some_and(behind) {
                        self.waiting.clear();
                    }
                    entries.retain(|entry| path::is_below(&entry.path, &self.folder));
                }
                self.leaf = entries.into_iter();
            }
            TreeBlob::Inner(entries) => {
                let below = level.saturating_sub(1);
                let wanted = children_below(entries, &self.folder).into_iter().rev();
                self.waiting.extend(wanted.map(|entry| Waiting {
                    id: entry.id,
                    level: below,
                    said: Some((entry.path, entry.nodes)),
                }));
            }
        }
        Ok(())
    }
}

/// What comes next in a tree.
pub(in crate::repository) enum Next<'t> {
    /// A blob that is not read yet, and its first path; empty at the top, of which nothing is known.
    Blob { id: Id, level: u8, path: &'t [u8] },
    /// The path of an entry.
    Entry(&'t [u8]),
}

/// A blob of a tree.
pub enum TreeBlob {
    /// Nodes by their paths.
    Leaf(Vec<LeafEntry>),
    /// Blobs of the level below.
    Inner(Vec<InnerEntry>),
}

/// Reads a blob of a tree, and holds it against what its parent says: its first path, and how many nodes lie below.
pub fn read_blob(
    source: &dyn BlobSource,
    id: &Id,
    level: u8,
    said: Option<(&[u8], u64)>,
) -> Result<TreeBlob> {
    let kind = if level == 0 { BlobKind::Leaf } else { BlobKind::Inner };
    let plain = source.fetch(kind, id)?;
    let fits = |start: Option<&[u8]>, nodes: Option<u64>| match said {
        Some((first, _)) if start != Some(first) => {
            Err(Error::corrupt(format!("a {} does not start where its parent says", kind.name())))
        }
        Some((_, below)) if nodes != Some(below) => {
            Err(Error::corrupt(format!("a {} has not as many nodes as its parent says", kind.name())))
        }
        _ => Ok(()),
    };
    if level == 0 {
        let entries = format::decode_leaf(&plain)?;
        fits(entries.first().map(|entry| entry.path.as_slice()), Some(entries.len() as u64))?;
        return Ok(TreeBlob::Leaf(entries));
    }
    let entries = format::decode_inner(&plain, level)?;
    let nodes = entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.nodes));
    fits(entries.first().map(|entry| entry.path.as_slice()), nodes)?;
    Ok(TreeBlob::Inner(entries))
}

/// Of the children of a blob those that may hold a folder or something in it.
pub fn children_below(entries: Vec<InnerEntry>, folder: &[u8]) -> Vec<InnerEntry> {
    if folder.is_empty() {
        return entries;
    }
    let mut wanted = Vec::new();
    let mut entries = entries.into_iter().peekable();
    while let Some(entry) = entries.next() {
        let before =
            entries.peek().is_some_and(|next| path::compare(&next.path, folder) != Ordering::Greater);
        if is_behind(&entry.path, folder) {
            break;
        }
        if !before {
            wanted.push(entry);
        }
    }
    wanted
}

/// Whether a path comes behind a folder and all that lies in it.
fn is_behind(path: &[u8], folder: &[u8]) -> bool {
    path::compare(path, folder) == Ordering::Greater && !path::is_below(path, folder)
}

/// Finds the node at one path.
pub fn lookup(source: &dyn BlobSource, root: Root, place: &[u8]) -> Result<Option<Node>> {
    let mut reader = TreeReader::below(source, root, place);
    Ok(reader.next_entry()?.filter(|entry| entry.path == place).map(|entry| entry.node))
}
