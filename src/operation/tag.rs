//! Tags: adding, removing and replacing them.
//!
//! Invariant: only a snapshot whose tags change is stored anew.

use crate::error::{Error, Result};
use crate::format::snapshot::{Change, Manifest};
use crate::limits;
use crate::repository::Repository;
use crate::repository::snapshot::Snapshot;

use super::recommit::{self, Around, Made, Order};

/// What is to become of tags.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// The tags to have instead of those that there are.
    pub set: Option<Vec<String>>,
    /// Tags to be added.
    pub add: Vec<String>,
    /// Tags to be removed.
    pub remove: Vec<String>,
}

impl Edit {
    /// The tags that come of tags: sorted, each once.
    pub fn apply(&self, tags: &[String]) -> Vec<String> {
        let mut tags = self.set.as_deref().unwrap_or(tags).to_vec();
        tags.extend_from_slice(&self.add);
        tags.retain(|tag| !self.remove.contains(tag));
        tags.sort();
        tags.dedup();
        tags
    }

    fn check(&self) -> Result<()> {
        let too_long = |tag: &&String| tag.len() > limits::TEXT_MAX;
        match self.set.iter().flatten().chain(&self.add).find(too_long) {
            Some(_) => Err(Error::refused(format!("a tag has more than {} bytes", limits::TEXT_MAX))),
            None => Ok(()),
        }
    }
}

/// Those of the snapshots whose tags would change.
pub fn changing<'s>(snapshots: &'s [Snapshot], edit: &Edit) -> Vec<&'s Snapshot> {
    snapshots
        .iter()
        .filter(|snapshot| edit.apply(&snapshot.manifest.tags) != snapshot.manifest.tags)
        .collect()
}

/// Gives snapshots other tags: each is stored anew, and the old one is forgotten.
pub fn run(
    repository: &Repository,
    snapshots: &[Snapshot],
    edit: &Edit,
    around: Around<'_>,
    told: &mut dyn FnMut(&Snapshot, Made),
) -> Result<()> {
    edit.check()?;
    let change_tags = |manifest: &mut Manifest| manifest.tags = edit.apply(&manifest.tags);
    let order =
        Order { change: Change::Tagged, leave_out: None, forget: true, read_data: false, edit: &change_tags };
    let changing = changing(snapshots, edit).into_iter().cloned().collect();
    recommit::commit(repository, &order, changing, around, told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_set_then_added_then_removed() {
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<String>>();
        for (before, set, add, remove, after) in [
            ("a b", None, "c a", "", "a b c"),
            ("a b", None, "", "a x", "b"),
            ("a b", Some("z y"), "", "", "y z"),
            ("a b", Some(""), "", "", ""),
            ("b", None, "a", "a", "b"),
        ] {
            let edit = Edit { set: set.map(list), add: list(add), remove: list(remove) };
            assert_eq!(edit.apply(&list(before)), list(after), "{before} {set:?} {add} {remove}");
        }
    }
}
