//! What is added up on the way through the snapshots.

use std::collections::{HashMap, HashSet};

use super::walk::Visitor;
use super::{Amount, Grouping, Kind};
use crate::crypto::derive;
use crate::format::blob::Class;
use crate::format::node::{Content, Node, NodeKind};
use crate::format::path;
use crate::format::tree::LeafEntry;
use crate::id::Id;
use crate::repository::index::Place;
use crate::repository::snapshot::Snapshot;

/// So many folders are told apart; what lies in more is attributed to the root.
const FOLDERS_MAX: usize = 100_000;

/// What is counted by name: folders or kinds.
pub(super) struct Count<'s> {
    grouping: Grouping,
    snapshot: Option<&'s Snapshot>,
    pub(super) data: Amount,
    pub(super) metadata: Amount,
    /// What the snapshot at hand was the first to need.
    pub(super) added: Amount,
    pub(super) folders: HashMap<Vec<u8>, Amount>,
    pub(super) kinds: HashMap<Kind, Amount>,
    /// For each place the number of the snapshot that needed its blob first; only where that is wanted.
    pub(super) first: Vec<u32>,
    /// That number for the snapshot at hand.
    turn: u32,
}

impl<'s> Count<'s> {
    /// Nothing is counted. `places` is how many numbers places may have, where it is wanted who needed them first.
    pub(super) fn new(grouping: Grouping, places: u32) -> Self {
        let places = usize::try_from(places).unwrap_or(usize::MAX);
        Self {
            grouping,
            snapshot: None,
            data: Amount::default(),
            metadata: Amount::default(),
            added: Amount::default(),
            folders: HashMap::new(),
            kinds: HashMap::new(),
            first: vec![u32::MAX; places],
            turn: 0,
        }
    }

    /// What comes is of this snapshot.
    pub(super) fn begin(&mut self, snapshot: &'s Snapshot, turn: u32) {
        self.snapshot = Some(snapshot);
        self.turn = turn;
        self.added = Amount::default();
    }
}

impl Visitor for Count<'_> {
    fn blob(&mut self, number: u32, place: &Place, of: Option<&LeafEntry>) {
        let one = Amount::of(place);
        self.added.add(one);
        let is_data = place.kind.class() == Class::Data;
        if is_data { &mut self.data } else { &mut self.metadata }.add(one);
        if let Some(first) = usize::try_from(number).ok().and_then(|number| self.first.get_mut(number)) {
            *first = self.turn;
        }
        let of = of.filter(|_| is_data);
        match self.grouping {
            Grouping::Folders { depth } => {
                let Some(entry) = of else { return };
                let mut folder = folder(&entry.path, depth);
                if self.folders.len() >= FOLDERS_MAX && !self.folders.contains_key(folder) {
                    folder = b"";
                }
                match self.folders.get_mut(folder) {
                    Some(amount) => amount.add(one),
                    None => drop(self.folders.insert(folder.to_vec(), one)),
                }
            }
            Grouping::Kinds => {
                let kind = of.map_or(Kind::Metadata, |entry| kind(entry, self.snapshot));
                self.kinds.entry(kind).or_default().add(one);
            }
            Grouping::None => {}
        }
    }
}

/// The folder that a file lies in, not deeper than so many names.
fn folder(file: &[u8], depth: usize) -> &[u8] {
    if depth == 0 {
        return b"";
    }
    let parent = path::parent(file).unwrap_or_default();
    let slashes = parent.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let end = slashes.map(|(at, _)| at).nth(depth.saturating_sub(1));
    end.and_then(|end| parent.get(..end)).unwrap_or(parent)
}

fn kind(entry: &LeafEntry, snapshot: Option<&Snapshot>) -> Kind {
    if entry.node.database.is_some() {
        return Kind::Databases;
    }
    let is_service = snapshot.is_some_and(|snapshot| snapshot.manifest.service.is_some());
    match entry.path.split(|byte| *byte == b'/').next() {
        Some(b"attachments") if is_service => Kind::Attachments,
        Some(b"sends") if is_service => Kind::Sends,
        _ => Kind::Others,
    }
}

/// Finds out what a snapshot alone needs: it is the first and, on the way back, the last to need it.
pub(super) struct Alone<'f> {
    first: &'f [u32],
    turn: u32,
    pub(super) amount: Amount,
}

impl<'f> Alone<'f> {
    pub(super) fn new(first: &'f [u32], turn: u32) -> Self {
        Self { first, turn, amount: Amount::default() }
    }
}

impl Visitor for Alone<'_> {
    fn blob(&mut self, number: u32, place: &Place, _: Option<&LeafEntry>) {
        if usize::try_from(number).ok().and_then(|number| self.first.get(number)) == Some(&self.turn) {
            self.amount.add(Amount::of(place));
        }
    }
}

/// Files by what is in them, or files by path and the chunks that each needs; as restic counts.
#[derive(Default)]
pub(super) struct Distinct {
    /// Whether a file's path counts.
    by_path: bool,
    seen: HashSet<u128>,
    pairs: HashSet<u128>,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) blobs: u64,
}

impl Distinct {
    /// Nothing is counted; says whether a file's path counts.
    pub(super) fn new(by_path: bool) -> Self {
        Self { by_path, ..Self::default() }
    }
}

impl Visitor for Distinct {
    fn blob(&mut self, _: u32, _: &Place, _: Option<&LeafEntry>) {}

    fn entry(&mut self, entry: &LeafEntry) {
        if entry.node.kind != NodeKind::File {
            return;
        }
        let path: &[u8] = if self.by_path { &entry.path } else { b"" };
        if self.seen.insert(short(&[path, b"\0", &identity(&entry.node)].concat())) {
            self.files = self.files.saturating_add(1);
            if !self.by_path {
                self.bytes = self.bytes.saturating_add(entry.node.size);
            }
        }
    }

    fn chunk(&mut self, entry: &LeafEntry, id: &Id, plain_bytes: u64) {
        if self.by_path && self.pairs.insert(short(&[&entry.path, b"\0".as_slice(), id.as_bytes()].concat()))
        {
            self.blobs = self.blobs.saturating_add(1);
            self.bytes = self.bytes.saturating_add(plain_bytes);
        }
    }
}

/// What tells the contents of a file from others: its chunks and its holes.
fn identity(node: &Node) -> Vec<u8> {
    let mut bytes = node.size.to_le_bytes().to_vec();
    match &node.content {
        None => {}
        Some(Content::Inline(ids)) => ids.iter().for_each(|id| bytes.extend_from_slice(id.as_bytes())),
        Some(Content::List { root, .. }) => bytes.extend_from_slice(root.as_bytes()),
    }
    for hole in node.holes.iter().flatten() {
        bytes.extend([hole.offset.to_le_bytes(), hole.length.to_le_bytes()].concat());
    }
    bytes
}

/// Half a hash: enough to tell files apart, and half the memory.
fn short(bytes: &[u8]) -> u128 {
    u128::from_le_bytes(derive::hash(bytes).0.first_chunk().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_cut_at_its_depth() {
        for (file, depth, expected) in [
            ("a/b/c/d", 1, "a"),
            ("a/b/c/d", 2, "a/b"),
            ("a/b/c/d", 3, "a/b/c"),
            ("a/b/c/d", 9, "a/b/c"),
            ("a/b/c/d", 0, ""),
            ("a/b", 2, "a"),
            ("a", 1, ""),
        ] {
            assert_eq!(folder(file.as_bytes(), depth), expected.as_bytes(), "{file} {depth}");
        }
    }
}
