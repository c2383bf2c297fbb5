//! Building a snapshot's tree from sorted nodes, and reading it: all of it, a part, or one path.
//!
//! Follows `format-spec/08-tree.md`. Invariant: where a blob ends depends on the paths and nodes in it alone,
//! so that equal contents give an equal root.

use std::cmp::Ordering;

use super::keyring::Keyring;
use super::reader::BlobSource;
use super::writer::BlobSink;
use crate::crypto::derive::{self, Purpose};
use crate::crypto::secret::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::node::Node;
use crate::format::path;
use crate::format::tree::{
    self as format, Folders, INNER_WEIGHT, InnerEntry, LeafEntry, LeafWriter, TREE_AVERAGE, TREE_MAX,
    TREE_MIN,
};
use crate::id::Id;
use crate::limits;

/// A tree's top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Root {
    /// The blob.
    pub id: Id,
    /// Its level: 0 is a leaf.
    pub level: u8,
}

/// A part of another tree that lies in one blob and the blobs below it.
#[derive(Clone, Copy, Debug)]
pub struct Subtree<'s> {
    /// The blob at its top: its id, its first path, its number of nodes.
    pub entry: &'s InnerEntry,
    /// The blob's level.
    pub level: u8,
    /// How many blobs lie directly below it; none below a leaf.
    pub children: usize,
    /// Its last path.
    pub last: &'s [u8],
    /// Whether a folder lies there.
    pub last_is_folder: bool,
}

/// Builds a tree from nodes that come in order.
pub struct TreeBuilder<'a> {
    sink: &'a dyn BlobSink,
    key: Secret,
    leaf: LeafWriter,
    weight: u64,
    last: Option<Vec<u8>>,
    folders: Folders,
    levels: Vec<Level>,
}

#[derive(Default)]
struct Level {
    entries: Vec<InnerEntry>,
    weight: u64,
    closed: bool,
}

impl<'a> TreeBuilder<'a> {
    /// An empty tree.
    pub fn new(sink: &'a dyn BlobSink, keyring: &Keyring) -> Self {
        let key = keyring.key(Purpose::TreeBoundaries);
        let (leaf, folders) = (LeafWriter::default(), Folders::default());
        Self { sink, key, leaf, weight: 0, last: None, folders, levels: Vec::new() }
    }

    /// Adds the next node.
    ///
    /// # Errors
    /// `Refused` where its path does not come behind the one before; `Corrupt` where no reader would take path
    /// or node.
    pub fn push(&mut self, place: &[u8], node: &Node) -> Result<()> {
        path::validate(place)?;
        format::validate_entry(place, node)?;
        if self.last.as_deref().is_some_and(|last| path::compare(last, place) != Ordering::Less) {
            return Err(Error::refused("the nodes of a tree did not come in order"));
        }
        self.folders.enter(b"", place, node.kind)?;
        let weight = self.leaf.push(place, node)?;
        self.weight = self.weight.saturating_add(weight);
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(place);
        if self.ends(0, place, weight, self.weight) {
            self.close_leaf()?;
        }
        Ok(())
    }

    /// Takes a part of another tree over as it is, if it would be stored in the same blobs were its nodes pushed one
    /// by one; says whether it did. Nothing may follow that did not follow in the other tree.
    ///
    /// Where a blob ends depends on what is in it alone: that leaves it to start where one of this tree starts.
    pub fn adopt(&mut self, part: &Subtree<'_>) -> Result<bool> {
        let number = usize::from(part.level);
        let first = &part.entry.path;
        let between =
            self.leaf.count() == 0 && self.levels.iter().take(number).all(|level| level.entries.is_empty());
        // A blob of one child was closed because its tree ended; alone in this tree, it would not be there.
        let stays = part.entry.nodes > 0 && (number == 0 || part.children > 1);
        let follows = self.last.as_deref().is_none_or(|last| path::compare(last, first) == Ordering::Less);
        if !between || !stays || !follows || !self.folders.lead_to(first) {
            return Ok(false);
        }
        if number >= usize::from(limits::LEVEL_MAX) {
            return Err(Error::refused("the tree is too high"));
        }
        if self.levels.len() < number {
            self.levels.resize_with(number, Level::default);
        }
        for below in self.levels.iter_mut().take(number) {
            below.closed = true;
        }
        self.folders.skip_to(part.last, part.last_is_folder);
        self.last = Some(part.last.to_vec());
        self.add_child(number, part.entry.clone())?;
        Ok(true)
    }

    /// Whether all folders above a path were pushed.
    pub fn has_folders_of(&self, place: &[u8]) -> bool {
        self.folders.lead_to(place)
    }

    /// Closes everything and gives the top.
    pub fn finish(mut self) -> Result<Root> {
        if self.leaf.count() > 0 || self.levels.is_empty() {
            self.close_leaf()?;
        }
        let mut number = 0;
        loop {
            let level = u8::try_from(number + 1).map_err(|_| Error::refused("the tree is too high"))?;
            let Some(current) = self.levels.get(number) else {
                return Err(Error::refused("the tree has no top"));
            };
            if let ([only], false) = (current.entries.as_slice(), current.closed) {
                return Ok(Root { id: only.id, level: level - 1 });
            }
            if !current.entries.is_empty() {
                self.close_inner(number)?;
            }
            number += 1;
        }
    }

    /// Whether a blob of this level ends behind an entry: likely by the entry's weight, decided by its path.
    fn ends(&self, level: u8, place: &[u8], entry_weight: u64, blob_weight: u64) -> bool {
        if blob_weight < TREE_MIN {
            return false;
        }
        if blob_weight >= TREE_MAX {
            return true;
        }
        let hash = derive::keyed_hash(&self.key, &[&[level], place].concat());
        let hash = u64::from_le_bytes(hash.0.first_chunk().copied().unwrap_or_default());
        hash < entry_weight.saturating_mul(u64::MAX / TREE_AVERAGE)
    }

    fn close_leaf(&mut self) -> Result<()> {
        let nodes = self.leaf.count();
        let (leaf, first) = self.leaf.take()?;
        self.weight = 0;
        let id = self.sink.store(BlobKind::Leaf, &leaf)?;
        self.add_child(0, InnerEntry { path: first, id, nodes })
    }

    fn add_child(&mut self, number: usize, entry: InnerEntry) -> Result<()> {
        if number >= usize::from(limits::LEVEL_MAX) {
            return Err(Error::refused("the tree is too high"));
        }
        if self.levels.len() <= number {
            self.levels.push(Level::default());
        }
        let weight = (entry.path.len() as u64).saturating_add(INNER_WEIGHT);
        let place = entry.path.clone();
        let level = u8::try_from(number + 1).map_err(|_| Error::refused("the tree is too high"))?;
        let Some(current) = self.levels.get_mut(number) else {
            return Err(Error::refused("the tree has no such level"));
        };
        current.entries.push(entry);
        current.weight = current.weight.saturating_add(weight);
        let (count, total) = (current.entries.len(), current.weight);
        if count > 1 && self.ends(level, &place, weight, total) {
            self.close_inner(number)?;
        }
        Ok(())
    }

    fn close_inner(&mut self, number: usize) -> Result<()> {
        let level = u8::try_from(number + 1).map_err(|_| Error::refused("the tree is too high"))?;
        let Some(current) = self.levels.get_mut(number) else { return Ok(()) };
        let entries = std::mem::take(&mut current.entries);
        current.weight = 0;
        current.closed = true;
        let id = self.sink.store(BlobKind::Inner, &format::encode_inner(level, &entries)?)?;
        let first = entries.first().map(|entry| entry.path.clone()).unwrap_or_default();
        let nodes = entries.iter().fold(0u64, |sum, entry| sum.saturating_add(entry.nodes));
        self.add_child(number + 1, InnerEntry { path: first, id, nodes })
    }
}

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
<<<<<<< HEAD
            if let Some(entry) = self.take_entry()? {
                self.folders.enter(&self.folder, &entry.path, entry.node.kind)?;
                return Ok(Some(entry));
            }
            if self.waiting.is_empty() {
                return Ok(None);
            }
            self.enter()?;
=======
            while let Some(entry) = self.leaf.next() {
                if self.last.as_deref().is_some_and(|last| path::compare(last, &entry.path) != Ordering::Less)
                {
                    return Err(Error::corrupt("the paths of a tree do not rise"));
                }
                self.last = Some(entry.path.clone());
                if path::is_below(&entry.path, &self.folder) {
                    if self.gap && !self.folders.lead_to(&entry.path) {
                        self.folders.skip_to(path::parent(&entry.path).unwrap_or_default(), true);
                    }
                    self.folders.enter(&self.folder, &entry.path, entry.node.kind)?;
                    return Ok(Some(entry));
                }
                if path::compare(&entry.path, &self.folder) == Ordering::Greater {
                    self.waiting.clear();
                    self.leaf = Vec::new().into_iter();
                    return Ok(None);
                }
            }
            let Some(waiting) = self.waiting.pop() else { return Ok(None) };
            if let Err(error) = self.descend(&waiting) {
                failed(&waiting, error)?;
                self.gap = true;
            }
>>>>>>> 3a4dc07090c4fb3fff04970bb96d6f5218dd952b
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
                [.., first] if inside(first) => self.enter()?,
                _ => return Ok(()),
            }
        }
    }

    /// What comes next, read or not.
    pub(super) fn peek(&self) -> Option<Next<'_>> {
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
    pub(super) fn take_entry(&mut self) -> Result<Option<LeafEntry>> {
        let Some(entry) = self.leaf.next() else { return Ok(None) };
        if self.last.as_deref().is_some_and(|last| path::compare(last, &entry.path) != Ordering::Less) {
            return Err(Error::corrupt("the paths of a tree do not rise"));
        }
        self.last = Some(entry.path.clone());
        Ok(Some(entry))
    }

    /// Passes over the blob that comes next, and all below it.
    pub(super) fn pass(&mut self) {
        self.waiting.pop();
    }

    /// Reads the blob that comes next. Since every blob starts where its parent says, and paths rise, no blob is met
    /// twice: a hostile tree that refers to one blob over and over ends here and not in the night.
    pub(super) fn enter(&mut self) -> Result<()> {
        let Some(Waiting { id, level, said }) = self.waiting.pop() else { return Ok(()) };
        let said = said.as_ref().map(|(first, nodes)| (first.as_slice(), *nodes));
        match read_blob(self.source, &id, level, said)? {
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
pub(super) enum Next<'t> {
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
