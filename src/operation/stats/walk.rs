//! Going through the trees of snapshots, one after another, each blob of them once.
//!
//! Memory holds one bit for each place of the index and a record for each blob of a tree. Within a snapshot all comes in the order of
//! its paths, so that what is attributed to whoever needs it first is so by a rule. Invariant: trouble with the store is an
//! error; what is damaged or named by no pack is counted as lost, and the rest goes on.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::node::{Content, NodeKind};
use crate::format::tree::{self, LeafEntry};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::repository::content::visit_chunks;
use crate::repository::index::{Index, Place};
use crate::repository::reader::{BlobReader, BlobSource};
use crate::repository::tree::Root;

/// So many blobs of a tree are read at once.
const BATCH: usize = 256;

/// What is met on the way.
pub(super) trait Visitor {
    /// A blob for the first time. A chunk or a list comes with the first file that needs it.
    fn blob(&mut self, number: u32, place: &Place, of: Option<&LeafEntry>);

    /// Something in a leaf that was not met before.
    fn entry(&mut self, _entry: &LeafEntry) {}

    /// A chunk of a file in such a leaf, whether it was met before or not; only for those who want every chunk.
    fn chunk(&mut self, _entry: &LeafEntry, _id: &Id, _plain_bytes: u64) {}
}

/// Files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// How many names files have.
    pub files: u64,
    /// Bytes, those of a file with several names once.
    pub bytes: u64,
}

/// A blob of a tree that was read.
struct Known {
    children: Box<[u32]>,
    /// What lies below, but for files with several names.
    below: Files,
    /// Files with several names in this leaf: device, inode, bytes.
    links: Box<[(u64, u64, u64)]>,
    /// Whether there are such anywhere below.
    has_links: bool,
}

/// A walk through snapshots.
pub(super) struct Walk<'a> {
    reader: &'a BlobReader<'a>,
    index: Arc<Index>,
    interrupt: &'a Interrupt,
    /// Whether all chunks of each file are wanted.
    every_chunk: bool,
    met: Vec<u64>,
    known: HashMap<u32, Known>,
    /// Blobs that are lost.
    pub(super) lost: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        reader: &'a BlobReader<'a>,
        index: Arc<Index>,
        every_chunk: bool,
        interrupt: &'a Interrupt,
    ) -> Self {
        let words = usize::try_from(index.numbers().div_ceil(64)).unwrap_or(usize::MAX);
        Self { reader, index, interrupt, every_chunk, met: vec![0; words], known: HashMap::new(), lost: 0 }
    }

    /// Goes through the tree of a snapshot, and gives what it restores.
    pub(super) fn snapshot(&mut self, root: Root, visitor: &mut dyn Visitor) -> Result<Files> {
        let mut level = root.level;
        let mut rows = Vec::new();
        let mut row = Vec::new();
        let top = self.child(level, &root.id)?;
        row.extend(top);
        loop {
            let new = self.unknown(row);
            row = self.read_row(level, &new, visitor)?;
            rows.push(new);
            match level.checked_sub(1) {
                Some(below) => level = below,
                None => break,
            }
        }
        // From the leaves up: whatever a blob names is known or lies in a row behind.
        for number in rows.iter().rev().flatten() {
            self.add_up(*number);
        }
        Ok(top.map_or_else(Files::default, |top| self.files(top)))
    }

    /// The blob of a tree that an id names; it counts as lost where no pack holds it.
    fn child(&mut self, level: u8, id: &Id) -> Result<Option<u32>> {
        let found = self.index.first(kind_of(level), id)?.map(|(number, _)| number);
        self.lost = self.lost.saturating_add(u64::from(found.is_none()));
        Ok(found)
    }

    /// Those that were not read before, each once, in their order.
    fn unknown(&self, row: Vec<u32>) -> Vec<u32> {
        let mut seen = HashSet::new();
        row.into_iter().filter(|number| !self.known.contains_key(number) && seen.insert(*number)).collect()
    }

    /// Reads blobs of one level, and gives those that they name.
    fn read_row(&mut self, level: u8, row: &[u32], visitor: &mut dyn Visitor) -> Result<Vec<u32>> {
        let mut below = Vec::new();
        for batch in row.chunks(BATCH) {
            self.interrupt.check()?;
            let (index, reader) = (Arc::clone(&self.index), self.reader);
            let read = |number: &u32| {
                let place = index.place(*number)?;
                Ok((*number, place, reader.fetch(place.kind, &place.id)))
            };
            let read: Vec<(u32, Place, Result<Vec<u8>>)> =
                batch.par_iter().map(read).collect::<Result<_>>()?;
            for (number, place, plain) in read {
                self.mark(number);
                visitor.blob(number, &place, None);
                let known = plain.and_then(|plain| self.take(level, &plain, visitor));
                let known = match known {
                    Err(error) if is_loss(&error) => {
                        self.lost = self.lost.saturating_add(1);
                        Known {
                            children: Box::default(),
                            below: Files::default(),
                            links: Box::default(),
                            has_links: false,
                        }
                    }
                    known => known?,
                };
                below.extend(known.children.iter().copied());
                self.known.insert(number, known);
            }
        }
        Ok(below)
    }

    fn take(&mut self, level: u8, plain: &[u8], visitor: &mut dyn Visitor) -> Result<Known> {
        let mut below = Files::default();
        let (mut children, mut links) = (Vec::new(), Vec::new());
        if let Some(lower) = level.checked_sub(1) {
            for entry in tree::decode_inner(plain, level)? {
                children.extend(self.child(lower, &entry.id)?);
            }
        } else {
            for entry in tree::decode_leaf(plain)? {
                visitor.entry(&entry);
                let node = &entry.node;
                if node.kind == NodeKind::File {
                    below.files = below.files.saturating_add(1);
                    if node.links > 1 {
                        links.push((node.device, node.inode, node.size));
                    } else {
                        below.bytes = below.bytes.saturating_add(node.size);
                    }
                }
                self.content(&entry, visitor)?;
            }
        }
        let has_links = !links.is_empty();
        Ok(Known { children: children.into(), below, links: links.into(), has_links })
    }

    fn content(&mut self, entry: &LeafEntry, visitor: &mut dyn Visitor) -> Result<()> {
        let Some(content) = &entry.node.content else { return Ok(()) };
        if let (Content::List { root, .. }, false) = (content, self.every_chunk) {
            match self.index.first(BlobKind::List, root)? {
                Some((number, _)) if self.is_met(number) => return Ok(()),
                _ => {}
            }
        }
        let (reader, every_chunk) = (self.reader, self.every_chunk);
        let both = RefCell::new((self, visitor));
        let meet = |kind: BlobKind, id: &Id| {
            let (walk, visitor) = &mut *both.borrow_mut();
            let Some((number, place)) = walk.index.first(kind, id)? else {
                return Err(Error::missing("a chunk lies in no pack that the index names"));
            };
            if walk.mark(number) {
                visitor.blob(number, &place, Some(entry));
            }
            let length = u64::from(place.plain_length);
            if every_chunk && kind == BlobKind::Chunk {
                visitor.chunk(entry, id, length);
            }
            Ok(length)
        };
        let mut lost = 0u64;
        let visited =
            visit_chunks(reader, content, &mut |id, _| meet(BlobKind::List, id).map(|_| ()), &mut |id| {
                match meet(BlobKind::Chunk, id) {
                    Err(error) if is_loss(&error) => {
                        lost = lost.saturating_add(1);
                        // Any length will do: a list that does not fit is lost as well.
                        Ok(1)
                    }
                    met => met,
                }
            });
        let (walk, _) = both.into_inner();
        walk.lost = walk.lost.saturating_add(lost);
        match visited {
            Err(error) if is_loss(&error) => {
                walk.lost = walk.lost.saturating_add(u64::from(lost == 0));
                Ok(())
            }
            visited => visited,
        }
    }

    fn add_up(&mut self, number: u32) {
        let Some(known) = self.known.get(&number) else { return };
        let (mut below, mut has_links) = (known.below, known.has_links);
        for child in known.children.iter().filter_map(|child| self.known.get(child)) {
            below.files = below.files.saturating_add(child.below.files);
            below.bytes = below.bytes.saturating_add(child.below.bytes);
            has_links |= child.has_links;
        }
        if let Some(known) = self.known.get_mut(&number) {
            (known.below, known.has_links) = (below, has_links);
        }
    }

    /// What a tree restores: files with several names are looked for in it.
    fn files(&self, top: u32) -> Files {
        let mut files = self.known.get(&top).map_or_else(Files::default, |known| known.below);
        let (mut waiting, mut visited, mut counted) = (vec![top], HashSet::new(), HashSet::new());
        while let Some(number) = waiting.pop() {
            let Some(known) =
                self.known.get(&number).filter(|known| known.has_links && visited.insert(number))
            else {
                continue;
            };
            waiting.extend(known.children.iter().copied());
            for (device, inode, bytes) in &known.links {
                if counted.insert((*device, *inode)) {
                    files.bytes = files.bytes.saturating_add(*bytes);
                }
            }
        }
        files
    }

    fn is_met(&self, number: u32) -> bool {
        let (word, mask) = word_and_mask(number);
        self.met.get(word).is_some_and(|word| word & mask != 0)
    }

    /// Notes that a blob was met; says whether that was the first time.
    fn mark(&mut self, number: u32) -> bool {
        let (word, mask) = word_and_mask(number);
        let Some(word) = self.met.get_mut(word) else { return false };
        let first = *word & mask == 0;
        *word |= mask;
        first
    }
}

fn word_and_mask(number: u32) -> (usize, u64) {
    (usize::try_from(number / 64).unwrap_or(usize::MAX), 1 << (number % 64))
}

fn kind_of(level: u8) -> BlobKind {
    if level == 0 { BlobKind::Leaf } else { BlobKind::Inner }
}

fn is_loss(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing)
}
