//! Going through the trees of many snapshots, each blob once: what of them is to be left out, what of them is lost.
//!
//! Invariants: what is found in a blob depends on the blob, on the patterns and on the look, on nothing else, so that
//! it holds for every tree that shares the blob. A blob that cannot be read, or that contradicts its parent, is lost
//! with all that lies below it.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::node::{Node, NodeKind};
use crate::format::path;
use crate::format::tree::{self, InnerEntry, LeafEntry};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::repository::tree::Root;
use crate::source::files::Excludes;

use super::contents::Contents;
use super::look::Look;

/// How much there is of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Files, each name counted.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Links, pipes, sockets and devices.
    pub others: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

impl Totals {
    /// Counts a node.
    pub fn add(&mut self, kind: NodeKind, size: u64) {
        let count = match kind {
            NodeKind::File => &mut self.files,
            NodeKind::Directory => &mut self.folders,
            _ => &mut self.others,
        };
        *count = count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size);
    }

    fn add_all(&mut self, other: &Self) {
        self.files = self.files.saturating_add(other.files);
        self.folders = self.folders.saturating_add(other.folders);
        self.others = self.others.saturating_add(other.others);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Something that a new snapshot does not take over from the old one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Where it lay.
    pub path: Vec<u8>,
    /// What it was.
    pub kind: NodeKind,
    /// Its size.
    pub size: u64,
    /// Why it is lost; nothing where it was left out.
    pub lost: Option<String>,
}

/// What is known of a blob of a tree and of all below it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) id: Id,
    pub(super) level: u8,
    /// How many nodes there are; where the blob is lost, as many as its parent says.
    pub(super) nodes: u64,
    pub(super) first: Vec<u8>,
    pub(super) last: Vec<u8>,
    pub(super) last_is_folder: bool,
    /// Whether all of it is kept.
    pub(super) whole: bool,
    /// Why the blob is lost.
    pub(super) lost: Option<String>,
    pub(super) kept: Totals,
    /// What of a leaf is not kept, in order.
    pub(super) gone: Arc<[Gone]>,
    /// The blobs below.
    pub(super) children: Vec<Rc<Seen>>,
}

/// What a parent says of a blob: its first path, and how many nodes lie below it.
type Said<'s> = Option<(&'s [u8], u64)>;

impl Seen {
    fn lost(id: Id, level: u8, said: Said<'_>, cause: String) -> Rc<Self> {
        let (first, nodes) = said.map(|(first, nodes)| (first.to_vec(), nodes)).unwrap_or_default();
        Rc::new(Self { id, level, nodes, last: first.clone(), first, lost: Some(cause), ..Self::default() })
    }

    fn fits(&self, said: Said<'_>) -> bool {
        said.is_none_or(|(first, nodes)| self.first == first && self.nodes == nodes)
    }

    /// The entry of a parent that names it.
    pub(super) fn entry(&self) -> InnerEntry {
        InnerEntry { path: self.first.clone(), id: self.id, nodes: self.nodes }
    }
}

/// A walk through trees.
pub(super) struct Survey<'a> {
    look: &'a Look<'a>,
    leave_out: Option<&'a Excludes>,
    interrupt: &'a Interrupt,
    contents: Contents,
    seen: HashMap<(Id, u8), Rc<Seen>>,
}

/// An inner blob whose children are being gone through.
struct Frame {
    seen: Seen,
    entries: std::vec::IntoIter<InnerEntry>,
}

impl<'a> Survey<'a> {
    pub(super) fn new(look: &'a Look<'a>, leave_out: Option<&'a Excludes>, interrupt: &'a Interrupt) -> Self {
        Self { look, leave_out, interrupt, contents: Contents::default(), seen: HashMap::new() }
    }

    /// What is known of a tree. It is gone through on a stack of its own: what comes from a store never recurses.
    pub(super) fn tree(&mut self, root: Root) -> Result<Rc<Seen>> {
        let mut stack: Vec<Frame> = Vec::new();
        let mut found = self.enter(root.id, root.level, None, &mut stack)?;
        loop {
            self.interrupt.check()?;
            let Some(frame) = stack.last_mut() else {
                return found.ok_or_else(|| Error::refused("a tree has no end"));
            };
            if let Some(child) = found.take() {
                frame.add(child);
            }
            if let Some(InnerEntry { path, id, nodes }) = frame.entries.next() {
                let level = frame.seen.level.saturating_sub(1);
                found = self.enter(id, level, Some((&path, nodes)), &mut stack)?;
            } else if let Some(Frame { seen, .. }) = stack.pop() {
                found = Some(self.note(seen));
            }
        }
    }

    fn note(&mut self, seen: Seen) -> Rc<Seen> {
        let seen = Rc::new(seen);
        self.seen.insert((seen.id, seen.level), Rc::clone(&seen));
        seen
    }

    /// What is known of a leaf, or of a blob that was met before; another goes onto the stack.
    fn enter(
        &mut self,
        id: Id,
        level: u8,
        said: Said<'_>,
        stack: &mut Vec<Frame>,
    ) -> Result<Option<Rc<Seen>>> {
        let contradicts =
            || Seen::lost(id, level, said, "a blob of the tree is not what its parent says".into());
        if let Some(seen) = self.seen.get(&(id, level)) {
            return Ok(Some(if seen.fits(said) { Rc::clone(seen) } else { contradicts() }));
        }
        let kind = if level == 0 { BlobKind::Leaf } else { BlobKind::Inner };
        let plain = match self.look.fetch(kind, &id)? {
            Ok(plain) => plain,
            Err(cause) => return Ok(Some(Seen::lost(id, level, said, cause))),
        };
        if level > 0 {
            return Ok(match tree::decode_inner(&plain, level) {
                Err(error) => Some(Seen::lost(id, level, said, error.chain())),
                Ok(entries) => {
                    let seen = Seen { id, level, whole: true, ..Seen::default() };
                    let seen = Seen { nodes: nodes_of(&entries), first: first_of(&entries), ..seen };
                    if seen.fits(said) {
                        stack.push(Frame { seen, entries: entries.into_iter() });
                        None
                    } else {
                        Some(contradicts())
                    }
                }
            });
        }
        match tree::decode_leaf(&plain) {
            Err(error) => Ok(Some(Seen::lost(id, level, said, error.chain()))),
            Ok(entries) => {
                let seen = self.leaf(id, &entries)?;
                Ok(Some(if seen.fits(said) { self.note(seen) } else { contradicts() }))
            }
        }
    }

    fn leaf(&mut self, id: Id, entries: &[LeafEntry]) -> Result<Seen> {
        let losses = self.contents.losses(self.look, entries, self.interrupt)?;
        let mut seen = Seen { id, nodes: entries.len() as u64, ..Seen::default() };
        let mut gone = Vec::new();
        let mut out = entries.first().and_then(|first| self.left_out_above(&first.path));
        for (entry, lost) in entries.iter().zip(losses) {
            let Node { kind, size, .. } = entry.node;
            if out.as_deref().is_none_or(|folder| !path::is_below(&entry.path, folder)) {
                out = self.leaves_out(&entry.path).then(|| entry.path.clone());
            }
            if out.is_some() {
                gone.push(Gone { path: entry.path.clone(), kind, size, lost: None });
            } else if lost.is_some() {
                gone.push(Gone { path: entry.path.clone(), kind, size, lost });
            } else {
                seen.kept.add(kind, size);
            }
        }
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            seen.first.clone_from(&first.path);
            seen.last.clone_from(&last.path);
            seen.last_is_folder = last.node.kind == NodeKind::Directory;
        }
        seen.whole = gone.is_empty();
        seen.gone = gone.into();
        Ok(seen)
    }

    /// The folder above a path that is left out. What lies above other paths of a leaf lies in it, or above its first.
    fn left_out_above(&self, place: &[u8]) -> Option<Vec<u8>> {
        let slashes = place.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut above = slashes.filter_map(|(end, _)| place.get(..end));
        above.find(|folder| self.leaves_out(folder)).map(<[u8]>::to_vec)
    }

    /// Whether a pattern matches a path of the snapshot; the root stays.
    fn leaves_out(&self, place: &[u8]) -> bool {
        let matches = |excludes: &Excludes| excludes.matches(&[b"/", place].concat());
        !place.is_empty() && self.leave_out.is_some_and(matches)
    }
}

impl Frame {
    fn add(&mut self, child: Rc<Seen>) {
        let seen = &mut self.seen;
        let before = seen.children.last().map(|before| before.last.as_slice());
        let rises = before.is_none_or(|before| path::compare(before, &child.first) == Ordering::Less);
        let child = if rises {
            child
        } else {
            let said = Some((child.first.as_slice(), child.nodes));
            Seen::lost(child.id, child.level, said, "the paths of a tree do not rise".into())
        };
        seen.whole &= child.whole;
        seen.kept.add_all(&child.kept);
        seen.last.clone_from(&child.last);
        seen.last_is_folder = child.last_is_folder;
        seen.children.push(child);
    }
}

fn nodes_of(entries: &[InnerEntry]) -> u64 {
    // A sum beyond all numbers fits no parent and no leaf.
    entries.iter().fold(0, |sum: u64, entry| sum.saturating_add(entry.nodes))
}

fn first_of(entries: &[InnerEntry]) -> Vec<u8> {
    entries.first().map(|entry| entry.path.clone()).unwrap_or_default()
}
