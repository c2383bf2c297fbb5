//! Building the tree that is left of another one, taking over what is whole as it is.
//!
//! Invariants: what is left out of a tree is left out with all that lies below it. A folder that was lost, while
//! something in it was not, is made up: it belongs to whom the first of its contents belongs, and nobody else may
//! enter it.

use std::rc::Rc;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::node::{Node, NodeKind};
use crate::format::path;
use crate::format::tree::{self, LeafEntry};
use crate::repository::keyring::Keyring;
use crate::repository::tree::{Root, Subtree, TreeBuilder};
use crate::repository::writer::BlobSink;

use super::look::Look;
use super::survey::{Gone, Seen, Totals};

/// Paths that cannot be named, because the blob that held them is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRange {
    /// The first of them; nothing where even that is not known.
    pub from: Option<Vec<u8>>,
    /// The path that comes behind the last of them; nothing where none comes.
    pub until: Option<Vec<u8>>,
    /// How many; nothing where that is not known.
    pub nodes: Option<u64>,
    /// Why they are lost.
    pub cause: String,
}

/// A tree made from another one, and how they differ.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The new tree; none where the old one's top is lost.
    pub root: Option<Root>,
    /// What it holds.
    pub kept: Totals,
    /// What of the old one it does not hold, in order; trees that share a leaf share what is gone of it.
    pub parts: Vec<Arc<[Gone]>>,
    /// What of the old one is lost without a name.
    pub ranges: Vec<LostRange>,
    /// Folders that were made up.
    pub made_up: Vec<Vec<u8>>,
}

impl Draft {
    /// What of the old tree it does not hold, in order.
    pub fn gone(&self) -> impl Iterator<Item = &Gone> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// What of the old tree it does not hold at a path.
    pub fn gone_at(&self, place: &[u8]) -> Option<&Gone> {
        let begins_behind = |part: &Arc<[Gone]>| {
            part.first().is_some_and(|first| path::compare(&first.path, place) == std::cmp::Ordering::Greater)
        };
        let behind = self.parts.partition_point(|part| !begins_behind(part));
        let part = self.parts.get(behind.checked_sub(1)?)?;
        part.get(part.binary_search_by(|gone| path::compare(&gone.path, place)).ok()?)
    }

    /// Whether the new tree is the old one.
    pub fn is_same(&self) -> bool {
        self.parts.is_empty() && self.ranges.is_empty()
    }

    /// Whether all that is not taken over was left out, and nothing is lost.
    pub fn is_sound(&self) -> bool {
        self.losses() == 0
    }

    /// Whether no file is left, nor anything else but folders.
    pub fn leaves_nothing(&self) -> bool {
        self.root.is_none() || self.kept.files == 0 && self.kept.others == 0
    }

    /// How many things are lost or made up; a range counts once.
    pub fn losses(&self) -> u64 {
        let files = self.gone().filter(|gone| gone.lost.is_some()).count();
        files.saturating_add(self.ranges.len()).saturating_add(self.made_up.len()) as u64
    }
}

/// Builds what is left of a tree.
pub(super) fn rebuild(
    look: &Look<'_>,
    sink: &dyn BlobSink,
    keyring: &Keyring,
    top: &Rc<Seen>,
) -> Result<Draft> {
    let mut draft = Draft {
        root: Some(Root { id: top.id, level: top.level }),
        kept: top.kept,
        parts: Vec::new(),
        ranges: Vec::new(),
        made_up: Vec::new(),
    };
    if top.whole {
        return Ok(draft);
    }
    let mut builder = Rebuild { look, tree: TreeBuilder::new(sink, keyring), draft: &mut draft };
    let mut waiting = vec![Rc::clone(top)];
    while let Some(seen) = waiting.pop() {
        if let Some(cause) = &seen.lost {
            let until = waiting.last().map(|next| next.first.clone());
            builder.draft.ranges.push(range(&seen, until, cause.clone()));
        } else if !(seen.whole && builder.adopt(&seen)?) {
            if seen.level == 0 {
                builder.leaf(&seen)?;
            } else {
                waiting.extend(seen.children.iter().rev().map(Rc::clone));
            }
        }
    }
    let root = builder.tree.finish()?;
    draft.root = top.lost.is_none().then_some(root);
    Ok(draft)
}

fn range(seen: &Seen, until: Option<Vec<u8>>, cause: String) -> LostRange {
    // Of a tree's top no parent says anything.
    let known = seen.nodes > 0;
    LostRange { from: known.then(|| seen.first.clone()), until, nodes: known.then_some(seen.nodes), cause }
}

struct Rebuild<'a, 'd> {
    look: &'a Look<'a>,
    tree: TreeBuilder<'a>,
    draft: &'d mut Draft,
}

impl Rebuild<'_, '_> {
    fn adopt(&mut self, seen: &Seen) -> Result<bool> {
        let Seen { level, last, last_is_folder, .. } = seen;
        self.tree.adopt(&Subtree {
            entry: &seen.entry(),
            level: *level,
            children: seen.children.len(),
            last,
            last_is_folder: *last_is_folder,
        })
    }

    /// Takes over what is kept of a leaf.
    fn leaf(&mut self, seen: &Seen) -> Result<()> {
        if !seen.gone.is_empty() {
            self.draft.parts.push(Arc::clone(&seen.gone));
        }
        if seen.gone.len() as u64 == seen.nodes {
            return Ok(());
        }
        let plain = self.look.fetch(BlobKind::Leaf, &seen.id)?;
        let plain =
            plain.map_err(|cause| Error::corrupt(format!("a leaf that was read before is lost: {cause}")))?;
        let mut gone = seen.gone.iter().map(|gone| gone.path.as_slice()).peekable();
        for LeafEntry { path, node } in tree::decode_leaf(&plain)? {
            if gone.next_if_eq(&path.as_slice()).is_some() {
                continue;
            }
            self.make_up_folders(&path, &node)?;
            self.tree.push(&path, &node)?;
        }
        Ok(())
    }

    /// Puts folders above a path that were lost with a leaf.
    fn make_up_folders(&mut self, place: &[u8], node: &Node) -> Result<()> {
        if self.draft.ranges.is_empty() || self.tree.has_folders_of(place) {
            return Ok(());
        }
        let ends = place.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        for folder in ends.filter_map(|end| place.get(..end)) {
            let inside = [folder, b"/x"].concat();
            if !self.tree.has_folders_of(&inside) {
                self.tree.push(folder, &made_up(node))?;
                self.draft.kept.add(NodeKind::Directory, 0);
                self.draft.made_up.push(folder.to_vec());
            }
        }
        Ok(())
    }
}

/// A folder of which nothing is known but that it held this node.
fn made_up(node: &Node) -> Node {
    Node {
        uid: node.uid,
        gid: node.gid,
        user: node.user.clone(),
        group: node.group.clone(),
        mtime: node.mtime,
        ctime: node.mtime,
        device: node.device,
        ..Node::bare(NodeKind::Directory, 0o700)
    }
}
