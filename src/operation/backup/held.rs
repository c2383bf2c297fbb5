//! Nodes that were made before the walk and wait for their places in it: dumps, and the folders above them.
//!
//! Invariant: nodes leave in the order of paths, each before the first that stands behind it.

use std::cmp::Ordering;
use std::collections::VecDeque;

use super::event::Change;
use crate::error::{Error, Result};
use crate::format::node::{Node, NodeKind};
use crate::format::path;
use crate::report::printable;

/// A node that waits.
pub(super) struct Waiting {
    pub(super) path: Vec<u8>,
    pub(super) node: Node,
    pub(super) change: Change,
}

/// All that wait, in the order of paths.
#[derive(Default)]
pub(super) struct Held(VecDeque<Waiting>);

impl Held {
    /// Takes a node in.
    ///
    /// # Errors
    /// Where another than a folder has the same path.
    pub(super) fn insert(&mut self, waiting: Waiting) -> Result<()> {
        match self.0.binary_search_by(|other| path::compare(&other.path, &waiting.path)) {
            Err(at) => self.0.insert(at, waiting),
            Ok(at) => {
                let both = [self.0.get(at).map(|other| other.node.kind), Some(waiting.node.kind)];
                if both != [Some(NodeKind::Directory); 2] {
                    return Err(two_of_one_name(&waiting.path));
                }
            }
        }
        Ok(())
    }

    /// The next node that stands before a path, or any at all where none is given. A folder that the walk has as well
    /// gives way to that.
    ///
    /// # Errors
    /// Where the walk has a dump's path as well.
    pub(super) fn next_before(&mut self, path: Option<(&[u8], NodeKind)>) -> Result<Option<Waiting>> {
        while let Some(first) = self.0.front() {
            let order = path.map_or(Ordering::Less, |(path, _)| path::compare(&first.path, path));
            match order {
                Ordering::Less => return Ok(self.0.pop_front()),
                Ordering::Greater => return Ok(None),
                Ordering::Equal => {
                    let both = [Some(first.node.kind), path.map(|(_, kind)| kind)];
                    if both != [Some(NodeKind::Directory); 2] {
                        return Err(two_of_one_name(&first.path));
                    }
                    self.0.pop_front();
                }
            }
        }
        Ok(None)
    }
}

fn two_of_one_name(path: &[u8]) -> Error {
    Error::refused(format!("two sources of this backup have the same name: /{}", printable(path)))
        .hint("back up one of them by itself, or under another name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::Timestamp;
    use crate::source::stream;

    fn waiting(path: &str, folder: bool) -> Waiting {
        let node = if folder { stream::folder_node() } else { stream::node(Timestamp::default()) };
        Waiting { path: path.as_bytes().to_vec(), node, change: Change::New }
    }

    fn next(held: &mut Held, path: &str, kind: NodeKind) -> Option<String> {
        let next = held.next_before(Some((path.as_bytes(), kind))).unwrap();
        next.map(|waiting| String::from_utf8(waiting.path).unwrap())
    }

    #[test]
    fn nodes_leave_in_the_order_of_paths() {
        let mut held = Held::default();
        for (path, folder) in
            [("b/x", false), ("b", true), ("a-b", false), ("a/z", false), ("a", true), ("b", true)]
        {
            held.insert(waiting(path, folder)).unwrap();
        }
        assert_eq!(next(&mut held, "a", NodeKind::Directory), None, "the walk has that folder");
        assert_eq!(next(&mut held, "a/y", NodeKind::File), None);
        assert_eq!(next(&mut held, "a-a", NodeKind::File).as_deref(), Some("a/z"));
        assert_eq!(next(&mut held, "b", NodeKind::Directory).as_deref(), Some("a-b"));
        assert_eq!(next(&mut held, "b", NodeKind::Directory), None);
        assert_eq!(held.next_before(None).unwrap().unwrap().path, b"b/x");
        assert!(held.next_before(None).unwrap().is_none());
    }

    #[test]
    fn two_of_one_name_are_refused() {
        for (held_folder, kind) in
            [(false, NodeKind::File), (false, NodeKind::Directory), (true, NodeKind::Symlink)]
        {
            let mut held = Held::default();
            held.insert(waiting("postgres", held_folder)).unwrap();
            let error = held.next_before(Some((b"postgres", kind))).err().unwrap();
            assert!(error.chain().contains("/postgres"), "{}", error.chain());
            assert!(held.insert(waiting("postgres", !held_folder)).is_err());
        }
    }
}
