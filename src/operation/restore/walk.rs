//! What a restore meets in a snapshot, in the order of paths: all below a place, or below some paths of it.

use std::collections::VecDeque;

use crate::error::Result;
use crate::format::node::Node;
use crate::format::path;
use crate::repository::reader::BlobReader;
use crate::repository::tree::{LostPart, Root, TreeReader, lookup};

/// Something in the snapshot.
pub(super) struct Step {
    pub(super) path: Vec<u8>,
    pub(super) node: Node,
    /// Whether it is met only because something asked for lies below it.
    pub(super) is_way: bool,
}

/// Meets one thing after the other.
pub(super) struct Walk<'a> {
    reader: &'a BlobReader<'a>,
    root: Root,
    place: Vec<u8>,
    /// What is asked for, sorted, none below another.
    paths: VecDeque<Vec<u8>>,
    before: Option<Vec<u8>>,
    ways: VecDeque<Step>,
    tree: Option<TreeReader<'a>>,
}

impl<'a> Walk<'a> {
    /// All at and below a place, or at and below some paths that lie there.
    pub(super) fn new(reader: &'a BlobReader<'a>, root: Root, place: &[u8], paths: &[Vec<u8>]) -> Self {
        let mut sorted = if paths.is_empty() { vec![place.to_vec()] } else { paths.to_vec() };
        sorted.sort_by(|one, other| path::compare(one, other));
        sorted.dedup_by(|later, earlier| path::is_below(later, earlier));
        Self {
            reader,
            root,
            place: place.to_vec(),
            paths: sorted.into(),
            before: None,
            ways: VecDeque::new(),
            tree: None,
        }
    }

    /// The next thing; `lost` is told of what cannot be read.
    pub(super) fn next(&mut self, lost: &mut dyn FnMut(LostPart)) -> Result<Option<Step>> {
        loop {
            if let Some(way) = self.ways.pop_front() {
                return Ok(Some(way));
            }
            if let Some(tree) = &mut self.tree
                && let Some(entry) = tree.next_surviving(lost)?
            {
                return Ok(Some(Step { path: entry.path, node: entry.node, is_way: false }));
            }
            let Some(next) = self.paths.pop_front() else { return Ok(None) };
            self.find_ways(&next)?;
            self.tree = Some(TreeReader::below(self.reader, self.root, &next));
            self.before = Some(next);
        }
    }

    /// The folders between the place and a path that were not met on the way to the path before.
    fn find_ways(&mut self, next: &[u8]) -> Result<()> {
        for (end, _) in next.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let folder = next.get(..end).unwrap_or_default();
            let is_between = folder.len() > self.place.len() && path::is_below(folder, &self.place);
            let is_met = self.before.as_deref().is_some_and(|before| path::is_below(before, folder));
            if is_between
                && !is_met
                && let Some(node) = lookup(self.reader, self.root, folder)?
            {
                self.ways.push_back(Step { path: folder.to_vec(), node, is_way: true });
            }
        }
        Ok(())
    }
}
