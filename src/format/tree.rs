//! The tree of a snapshot: one map from path to node, sorted component by component, stored as a
//! content-defined B-tree.
//!
//! Follows `format-spec/08-tree.md`. Paths within a blob are shortened by what they share with the path
//! before. Invariants: paths rise strictly within a blob; decoding refuses anything else. Written out in full they
//! have a bounded length, so that a small blob does not become gigabytes of paths.

use std::cmp::Ordering;

use minicbor::{Decode, Encode};

use super::node::{Content, NANOSECONDS_MAX, Node, NodeKind};
use super::{cbor, path};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::limits;

/// Weight in bytes at which a blob of the tree ends on average.
pub const TREE_AVERAGE: u64 = 32 << 10;
/// Weight below which it does not end, unless nothing follows.
pub const TREE_MIN: u64 = 8 << 10;
/// Weight at which it ends in any case.
pub const TREE_MAX: u64 = 256 << 10;
/// Most bytes that the paths in one blob may have in all: those before the last entry weigh less than
/// [`TREE_MAX`].
pub const PATHS_MAX: u64 = TREE_MAX + path::MAX_LENGTH as u64;
/// What an entry of an inner node weighs beside its path.
pub const INNER_WEIGHT: u64 = 48;

/// One path and its node, in a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafEntry {
    /// The path; empty for the root folder itself.
    pub path: Vec<u8>,
    /// What is there.
    pub node: Node,
}

/// One child, in an inner node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerEntry {
    /// The first path below it.
    pub path: Vec<u8>,
    /// The blob: a leaf below level 1, else an inner node.
    pub id: Id,
    /// How many nodes lie below it.
    pub nodes: u64,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct StoredLeafEntry {
    #[n(0)]
    shared: u32,
    #[cbor(n(1), with = "minicbor::bytes")]
    suffix: Vec<u8>,
    #[n(2)]
    node: Node,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct StoredInnerEntry {
    #[n(0)]
    shared: u32,
    #[cbor(n(1), with = "minicbor::bytes")]
    suffix: Vec<u8>,
    #[n(2)]
    id: Id,
    #[n(3)]
    nodes: u64,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct StoredInner {
    #[n(0)]
    level: u8,
    #[n(1)]
    entries: Vec<StoredInnerEntry>,
}

/// Writes a leaf, entry by entry, each node encoded once.
#[derive(Debug, Default)]
pub struct LeafWriter {
    entries: Vec<u8>,
    count: u64,
    first: Vec<u8>,
    last: Vec<u8>,
}

impl LeafWriter {
    /// Adds an entry; gives what it weighs.
    pub fn push(&mut self, path: &[u8], node: &Node) -> Result<u64> {
        let (shared, suffix) = shorten(&self.last, path);
        let mut encoder = minicbor::Encoder::new(&mut self.entries);
        let head = encoder.array(3).and_then(|encoder| encoder.u32(shared)?.bytes(suffix));
        head.map_err(|error| Error::refused(format!("cannot encode: {error}")))?;
        let start = self.entries.len();
        cbor::append(node, &mut self.entries)?;
        let weight = self.entries.len().saturating_sub(start).saturating_add(path.len());
        if self.count == 0 {
            self.first = path.to_vec();
        }
        self.count = self.count.saturating_add(1);
        self.last.clear();
        self.last.extend_from_slice(path);
        Ok(weight as u64)
    }

    /// How many entries there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Ends the leaf: its bytes, and its first path. The writer is then empty.
    pub fn take(&mut self) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut bytes = Vec::with_capacity(self.entries.len().saturating_add(9));
        let head = minicbor::Encoder::new(&mut bytes).array(self.count).map(|_| ());
        head.map_err(|error| Error::refused(format!("cannot encode: {error}")))?;
        bytes.append(&mut self.entries);
        self.count = 0;
        self.last.clear();
        Ok((bytes, std::mem::take(&mut self.first)))
    }
}

/// Writes a leaf of entries at hand.
pub fn encode_leaf(entries: &[LeafEntry]) -> Result<Vec<u8>> {
    let mut writer = LeafWriter::default();
    for entry in entries {
        writer.push(&entry.path, &entry.node)?;
    }
    Ok(writer.take()?.0)
}

/// Reads a leaf.
pub fn decode_leaf(bytes: &[u8]) -> Result<Vec<LeafEntry>> {
    let stored: Vec<StoredLeafEntry> = cbor::decode(bytes, "tree leaf")?;
    let mut entries: Vec<LeafEntry> = Vec::with_capacity(stored.len());
    let mut room = PATHS_MAX;
    for entry in stored {
        let before = entries.last().map(|last| last.path.as_slice());
        let path = lengthen(before, entry.shared, &entry.suffix, &mut room)?;
        validate_entry(&path, &entry.node)?;
        entries.push(LeafEntry { path, node: entry.node });
    }
    Ok(entries)
}

/// Writes an inner node.
pub fn encode_inner(level: u8, entries: &[InnerEntry]) -> Result<Vec<u8>> {
    let mut previous: &[u8] = &[];
    let mut stored = Vec::with_capacity(entries.len());
    for entry in entries {
        let (shared, suffix) = shorten(previous, &entry.path);
        stored.push(StoredInnerEntry { shared, suffix: suffix.to_vec(), id: entry.id, nodes: entry.nodes });
        previous = &entry.path;
    }
    cbor::encode(&StoredInner { level, entries: stored })
}

/// Reads an inner node, which must be of the level that its parent says.
pub fn decode_inner(bytes: &[u8], level: u8) -> Result<Vec<InnerEntry>> {
    let stored: StoredInner = cbor::decode(bytes, "tree node")?;
    if stored.level != level || level == 0 || level > limits::LEVEL_MAX {
        return Err(Error::corrupt("tree node: it is not of the level that its parent says"));
    }
    if stored.entries.is_empty() {
        return Err(Error::corrupt("tree node: it has no children"));
    }
    let mut entries: Vec<InnerEntry> = Vec::with_capacity(stored.entries.len());
    let mut room = PATHS_MAX;
    for entry in stored.entries {
        let before = entries.last().map(|last| last.path.as_slice());
        let path = lengthen(before, entry.shared, &entry.suffix, &mut room)?;
        entries.push(InnerEntry { path, id: entry.id, nodes: entry.nodes });
    }
    Ok(entries)
}

fn shorten<'p>(previous: &[u8], path: &'p [u8]) -> (u32, &'p [u8]) {
    let shared = previous.iter().zip(path).take_while(|(a, b)| a == b).count();
    let suffix = path.get(shared..).unwrap_or_default();
    (u32::try_from(shared).unwrap_or(u32::MAX), suffix)
}

fn lengthen(previous: Option<&[u8]>, shared: u32, suffix: &[u8], room: &mut u64) -> Result<Vec<u8>> {
    let before = previous.unwrap_or_default();
    let shared = usize::try_from(shared).unwrap_or(usize::MAX);
    let prefix =
        before.get(..shared).ok_or_else(|| Error::corrupt("tree: a path shares more than there is"))?;
    let rest = before.get(shared..).unwrap_or_default();
    if previous.is_some() && rest.first().zip(suffix.first()).is_some_and(|(a, b)| a == b) {
        return Err(Error::corrupt("tree: a path is not shortened as far as it can be"));
    }
    let length = (prefix.len() as u64).saturating_add(suffix.len() as u64);
    *room =
        room.checked_sub(length).ok_or_else(|| Error::corrupt("tree: the paths of a blob are too long"))?;
    let path = [prefix, suffix].concat();
    path::validate(&path)?;
    if previous.is_some() && path::compare(before, &path) != Ordering::Less {
        return Err(Error::corrupt("tree: its paths do not rise"));
    }
    Ok(path)
}

/// The folders above the path that a walk is at. What a hostile tree puts below a link, a file or nothing would
/// otherwise be written wherever that leads.
#[derive(Debug, Default)]
pub struct Folders {
    /// The path before. All folders above it start it, so that their lengths are enough.
    path: Vec<u8>,
    lengths: Vec<usize>,
}

impl Folders {
    /// Takes the next path of a walk that started at `top`, and refuses one whose folder is no folder that came
    /// before. The root needs no node of its own.
    pub fn enter(&mut self, top: &[u8], path: &[u8], kind: NodeKind) -> Result<()> {
        while let Some(length) = self.lengths.last() {
            if path::is_below(path, self.path.get(..*length).unwrap_or_default()) {
                break;
            }
            self.lengths.pop();
        }
        let above = path::parent(path).unwrap_or_default();
        if path != top && !above.is_empty() && self.lengths.last() != Some(&above.len()) {
            return Err(Error::corrupt("tree: a path lies in no folder that comes before it"));
        }
        if kind == NodeKind::Directory {
            self.lengths.push(path.len());
        }
        path.clone_into(&mut self.path);
        Ok(())
    }

    /// Whether all folders above a path came before, so that [`Folders::enter`] would take it.
    pub fn lead_to(&self, path: &[u8]) -> bool {
        let above = path::parent(path).unwrap_or_default();
        let is_known = |length: &usize| {
            *length == above.len() && self.path.get(..*length).is_some_and(|known| known == above)
        };
        above.is_empty() || self.lengths.iter().any(is_known)
    }

    /// Goes on behind a path that was not walked to, and whose folders are known to have come before.
    pub fn skip_to(&mut self, path: &[u8], is_folder: bool) {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        self.lengths = slashes.map(|(length, _)| length).collect();
        self.lengths.extend(is_folder.then_some(path.len()));
        path.clone_into(&mut self.path);
    }
}

/// Refuses a node whose fields contradict each other or are out of range, and a root that is no folder: called
/// before one is written, and behind reading.
pub fn validate_entry(path: &[u8], node: &Node) -> Result<()> {
    if path.is_empty() && node.kind != NodeKind::Directory {
        return Err(Error::corrupt("tree: its root is no folder"));
    }
    validate_node(node)
}

fn validate_node(node: &Node) -> Result<()> {
    let times = [node.mtime, node.ctime].iter().all(|time| time.nanoseconds <= NANOSECONDS_MAX);
    let file = node.kind == NodeKind::File;
    let fits_kind = file == node.content.is_some()
        && (file || node.holes.is_none() && node.database.is_none() && node.size == 0)
        && (node.kind == NodeKind::Symlink) == node.link_target.is_some()
        && matches!(node.kind, NodeKind::CharacterDevice | NodeKind::BlockDevice)
            == node.device_number.is_some();
    let inline = match &node.content {
        Some(Content::Inline(ids)) => ids.len() <= limits::INLINE_CHUNKS_MAX,
        Some(Content::List { level, .. }) => *level <= limits::LEVEL_MAX,
        None => true,
    };
    if !times || !fits_kind || !inline || node.mode > 0o7777 {
        return Err(Error::corrupt("tree: a node's fields are out of range or do not fit its kind"));
    }
    validate_holes(node)?;
    validate_attributes(node)
}

fn validate_holes(node: &Node) -> Result<()> {
    let Some(holes) = &node.holes else { return Ok(()) };
    let mut end: Option<u64> = None;
    for hole in holes {
        let stop = hole.offset.checked_add(hole.length).filter(|stop| *stop <= node.size && hole.length > 0);
        let apart = end.is_none_or(|end| hole.offset > end);
        let Some(stop) = stop.filter(|_| apart) else {
            return Err(Error::corrupt(
                "tree: a node's holes lie outside its file or not apart from each other",
            ));
        };
        end = Some(stop);
    }
    if holes.is_empty() || holes.len() > limits::HOLES_MAX {
        return Err(Error::corrupt("tree: a node has an impossible number of holes"));
    }
    Ok(())
}

fn validate_attributes(node: &Node) -> Result<()> {
    let Some(attributes) = &node.attributes else { return Ok(()) };
    let bytes = attributes.iter().fold(0usize, |sum, attribute| {
        sum.saturating_add(attribute.name.len()).saturating_add(attribute.value.len())
    });
    let rising = attributes.is_sorted_by(|one, other| one.name < other.name);
    if attributes.is_empty() || !rising || bytes > limits::ATTRIBUTES_MAX {
        return Err(Error::corrupt("tree: a node's attributes are out of order or too many"));
    }
    Ok(())
}
