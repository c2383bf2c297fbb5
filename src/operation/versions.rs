//! The versions of one path through time: what lay there, in which snapshots.
//!
//! Invariant: a snapshot's tree is searched once for each different root, however many snapshots have it.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::format::node::Node;
use crate::repository::reader::BlobSource;
use crate::repository::tree::{Root, lookup};

/// A state of a path, different from all others in what [`same_version`] compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The node, as the newest of these snapshots holds it.
    pub node: Node,
    /// Where the snapshots that hold it stand in the list given, rising; never empty. They need not follow each other:
    /// what is brought back as it was is the version that it was before.
    pub snapshots: Vec<usize>,
}

/// What lay at a path in each of some snapshots.
#[derive(Debug, Default)]
pub struct Versions {
    /// The different states, that of the newest snapshot first.
    pub versions: Vec<Version>,
    /// The snapshots that hold nothing there, rising.
    pub absent: Vec<usize>,
    /// The snapshots in which the path could not be looked up, for something of their trees is lost or damaged, and why.
    pub unreadable: Vec<(usize, String)>,
}

/// Whether two nodes of one path count as the same version: kind, size, time of the last change of its content, link
/// target, device number, chunks and holes. Mode, owner, attributes and inode do not count.
pub fn same_version(one: &Node, other: &Node) -> bool {
    one.kind == other.kind
        && one.size == other.size
        && one.mtime == other.mtime
        && one.link_target == other.link_target
        && one.device_number == other.device_number
        && one.content == other.content
        && one.holes == other.holes
}

/// Looks a path up in snapshots, given by their trees in the order of their times.
///
/// # Errors
/// Where the store cannot be read; what is merely lost or damaged is in the result.
pub fn find(source: &dyn BlobSource, roots: &[Root], place: &[u8]) -> Result<Versions> {
    let mut found = Versions::default();
    let mut outcomes: HashMap<Root, Outcome> = HashMap::new();
    // From the newest on, so that versions come in their order, and each has the newest node.
    for (index, root) in roots.iter().enumerate().rev() {
        let known = match outcomes.get(root) {
            Some(outcome) => outcome.clone(),
            None => {
                let outcome = found.look(source, *root, place)?;
                outcomes.insert(*root, outcome.clone());
                outcome
            }
        };
        match known {
            Outcome::Version(version) => {
                if let Some(version) = found.versions.get_mut(version) {
                    version.snapshots.push(index);
                }
            }
            Outcome::Absent => found.absent.push(index),
            Outcome::Unreadable(why) => found.unreadable.push((index, why)),
        }
    }
    for version in &mut found.versions {
        version.snapshots.reverse();
    }
    found.absent.reverse();
    found.unreadable.reverse();
    Ok(found)
}

/// What a tree says of the path.
#[derive(Clone)]
enum Outcome {
    /// Where its version stands.
    Version(usize),
    Absent,
    Unreadable(String),
}

impl Versions {
    fn look(&mut self, source: &dyn BlobSource, root: Root, place: &[u8]) -> Result<Outcome> {
        let node = match lookup(source, root, place) {
            Ok(Some(node)) => node,
            Ok(None) => return Ok(Outcome::Absent),
            Err(error) if is_loss(&error) => return Ok(Outcome::Unreadable(error.chain())),
            Err(error) => return Err(error),
        };
        let known = self.versions.iter().rposition(|version| same_version(&version.node, &node));
        let number = known.unwrap_or(self.versions.len());
        if known.is_none() {
            self.versions.push(Version { node, snapshots: Vec::new() });
        }
        Ok(Outcome::Version(number))
    }
}

/// Whether an error says that something in the repository is lost or damaged, rather than that it could not be had.
fn is_loss(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::format::blob::BlobKind;
    use crate::format::node::Timestamp;
    use crate::id::Id;
    use crate::repository::Repository;
    use crate::repository::tests::support::{Blobs, Counting, create, file_node, folder_node};
    use crate::repository::tree::TreeBuilder;

    /// A tree of a folder, perhaps with one file in it.
    fn tree(repository: &Repository, blobs: &Blobs<'_>, file: Option<&Node>, other: u64) -> Root {
        let mut builder = TreeBuilder::new(blobs, repository.keyring());
        builder.push(b"", &folder_node()).unwrap();
        builder.push(b"a", &folder_node()).unwrap();
        if let Some(file) = file {
            builder.push(b"a/file", file).unwrap();
        }
        builder.push(b"b", &file_node(&[], other)).unwrap();
        builder.finish().unwrap()
    }

    #[test]
    fn each_state_is_there_once_newest_first_and_each_root_is_searched_once() {
        let (_, repository) = create();
        let blobs = Blobs::new(&repository);
        let old = file_node(&[Id([1; 32])], 5);
        let owned = Node { uid: 77, mode: 0o600, ..old.clone() };
        let new = file_node(&[Id([2; 32])], 5);
        let touched = Node { mtime: Timestamp { seconds: 9, nanoseconds: 0 }, ..new.clone() };
        let nights =
            [None, Some(&old), Some(&old), Some(&new), None, Some(&touched), Some(&owned), Some(&owned)];
        let mut roots: Vec<Root> = nights.iter().map(|file| tree(&repository, &blobs, *file, 0)).collect();
        // Another root with the same version.
        roots.push(tree(&repository, &blobs, Some(&new), 1));
        let counting = Counting::new(&blobs);
        let found = find(&counting, &roots, b"a/file").unwrap();
        assert_eq!(counting.count(), 6, "one blob of each different tree");
        let expected = [(&new, vec![3, 8]), (&owned, vec![1, 2, 6, 7]), (&touched, vec![5])];
        let expected: Vec<Version> =
            expected.into_iter().map(|(node, snapshots)| Version { node: node.clone(), snapshots }).collect();
        assert_eq!(found.versions, expected);
        assert_eq!((found.absent, found.unreadable.len()), (vec![0, 4], 0));
        assert_eq!(find(&blobs, &roots, b"a").unwrap().versions.len(), 1);
        assert_eq!(find(&blobs, &roots, b"c").unwrap().absent.len(), 9);
        assert!(find(&blobs, &[], b"a").unwrap().versions.is_empty());
    }

    #[test]
    fn a_damaged_tree_hides_no_other() {
        let (_, repository) = create();
        let blobs = Blobs::new(&repository);
        let file = file_node(&[], 5);
        let whole = tree(&repository, &blobs, Some(&file), 0);
        let lost = Root { id: Id([9; 32]), level: 0 };
        let found = find(&blobs, &[whole, lost, whole, lost], b"a/file").unwrap();
        assert_eq!(found.versions, [Version { node: file, snapshots: vec![0, 2] }]);
        let unreadable: Vec<usize> = found.unreadable.iter().map(|(index, _)| *index).collect();
        assert_eq!(unreadable, [1, 3]);
    }

    struct Unreachable;

    impl BlobSource for Unreachable {
        fn fetch(&self, _: BlobKind, _: &Id) -> Result<Vec<u8>> {
            Err(Error::new(ErrorKind::Io, "the store is away"))
        }
    }

    #[test]
    fn a_store_that_is_away_is_no_damage() {
        let root = Root { id: Id([9; 32]), level: 0 };
        assert_eq!(find(&Unreachable, &[root], b"a").unwrap_err().kind(), ErrorKind::Io);
    }
}
