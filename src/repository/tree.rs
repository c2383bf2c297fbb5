//! Building a snapshot's tree from sorted nodes.
//!
//! Follows `format-spec/08-tree.md`. Invariant: where a blob ends depends on the paths and nodes in it alone,
//! so that equal contents give an equal root.

mod read;

use std::cmp::Ordering;

use super::keyring::Keyring;
use super::writer::BlobSink;
use crate::crypto::derive::{self, Purpose};
use crate::crypto::secret::Secret;
use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::node::Node;
use crate::format::path;
use crate::format::tree::{
    self as format, Folders, INNER_WEIGHT, InnerEntry, LeafWriter, TREE_AVERAGE, TREE_MAX, TREE_MIN,
};
use crate::id::Id;
use crate::limits;

pub(super) use read::Next;
pub use read::{LostPart, TreeBlob, TreeReader, children_below, lookup, read_blob};

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
