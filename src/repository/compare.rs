//! What differs between two trees: one merge of both in order, passing over every blob that both hold.
//!
//! Invariant: a blob is read only where the other tree holds another one, or none, at the same place. Equal blobs hold
//! equal paths, and where a blob ends depends on what is in it alone, so that two trees of which little differs have
//! nearly all blobs in common.

use std::cmp::Ordering;

use super::reader::BlobSource;
use super::tree::{Next, Root, TreeReader};
use crate::error::Result;
use crate::format::node::Node;
use crate::format::path;
use crate::format::tree::LeafEntry;
use crate::id::Id;

/// A path at which two trees differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path below the two folders that are compared; empty for these themselves.
    pub path: Vec<u8>,
    /// What lies there in the first tree.
    pub old: Option<Node>,
    /// What lies there in the second tree.
    pub new: Option<Node>,
}

/// A merge of two trees, or of a part of each.
pub struct Comparison<'a> {
    old: Side<'a>,
    new: Side<'a>,
}

struct Side<'a> {
    reader: TreeReader<'a>,
    folder: Vec<u8>,
}

/// What comes next on a side: where, and what blob if it is one.
struct Front {
    path: Vec<u8>,
    blob: Option<(u8, Id)>,
}

impl<'a> Comparison<'a> {
    /// Compares what lies at and below a path of one tree with what lies at and below a path of another.
    pub fn new(source: &'a dyn BlobSource, old: (Root, &[u8]), new: (Root, &[u8])) -> Self {
        let side = |(root, folder): (Root, &[u8])| Side {
            reader: TreeReader::below(source, root, folder),
            folder: folder.to_vec(),
        };
        Self { old: side(old), new: side(new) }
    }

    /// The next path at which anything differs, or none at the end.
    pub fn next_difference(&mut self) -> Result<Option<Difference>> {
        loop {
            let (old, new) = (self.old.front(), self.new.front());
            let order = match (&old, &new) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => path::compare(&old.path, &new.path),
            };
            let [old, new] = [old, new].map(|front| front.and_then(|front| front.blob));
            if old.is_some() && old == new && self.old.folder == self.new.folder {
                self.old.reader.pass();
                self.new.reader.pass();
                continue;
            }
            // At one place the higher blob first: the other may be found in it.
            let old_first = match (order, old, new) {
                (Ordering::Equal, Some((one, _)), Some((other, _))) => one >= other,
                (Ordering::Equal, old, _) => old.is_some(),
                (order, ..) => order == Ordering::Less,
            };
            match (order, old, new) {
                (Ordering::Less | Ordering::Equal, Some(_), _) if old_first => self.old.reader.enter()?,
                (Ordering::Greater | Ordering::Equal, _, Some(_)) => self.new.reader.enter()?,
                _ => {
                    let found = self.take(order)?;
                    if found.old != found.new {
                        return Ok(Some(found));
                    }
                }
            }
        }
    }

    /// Takes the entry that comes first, from both sides where it is on both.
    fn take(&mut self, order: Ordering) -> Result<Difference> {
        let mut found = Difference { path: Vec::new(), old: None, new: None };
        if order != Ordering::Greater
            && let Some((path, node)) = self.old.take()?
        {
            (found.path, found.old) = (path, Some(node));
        }
        if order != Ordering::Less
            && let Some((path, node)) = self.new.take()?
        {
            (found.path, found.new) = (path, Some(node));
        }
        Ok(found)
    }
}

impl Side<'_> {
    fn front(&self) -> Option<Front> {
        self.reader.peek().map(|next| match next {
            Next::Blob { id, level, path } => Front { path: self.relative(path), blob: Some((level, id)) },
            Next::Entry(path) => Front { path: self.relative(path), blob: None },
        })
    }

    fn take(&mut self) -> Result<Option<(Vec<u8>, Node)>> {
        let entry = self.reader.take_entry()?;
        Ok(entry.map(|LeafEntry { path, node }| (self.relative(&path), node)))
    }

    /// A path below the folder; a blob that starts before it counts as one that starts with it.
    fn relative(&self, path: &[u8]) -> Vec<u8> {
        if self.folder.is_empty() {
            return path.to_vec();
        }
        let rest = path.strip_prefix(self.folder.as_slice()).unwrap_or_default();
        rest.strip_prefix(b"/").unwrap_or_default().to_vec()
    }
}
