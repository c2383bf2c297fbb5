//! Rewrite: snapshots without some of their paths.

use crate::error::{Error, Result};
use crate::format::snapshot::{Change, Manifest};
use crate::repository::Repository;
use crate::repository::snapshot::Snapshot;
use crate::source::files::{ExcludeOptions, Excludes};

use super::recommit::{self, Around, Draft, Made, Order};

/// What is to be left out of snapshots, ready to be held against their paths.
pub struct Rewrite {
    excludes: Excludes,
    described: Vec<String>,
    forget: bool,
}

impl Rewrite {
    /// Takes patterns; with `forget` the old snapshots are forgotten.
    ///
    /// # Errors
    /// Where there is no pattern, or one cannot be.
    pub fn new(options: &ExcludeOptions, forget: bool) -> Result<Self> {
        let described = options.describe();
        if described.is_empty() {
            return Err(Error::refused("nothing is to be left out").hint("name it by --exclude PATTERN"));
        }
        Ok(Self { excludes: Excludes::new(options)?, described, forget })
    }

    /// What would become of snapshots.
    pub fn plan(
        &self,
        repository: &Repository,
        snapshots: &[Snapshot],
        around: Around<'_>,
    ) -> Result<Vec<Draft>> {
        self.with_order(|order| recommit::plan(repository, order, snapshots, around))
    }

    /// Stores without these paths those of the snapshots that hold any.
    pub fn run(
        &self,
        repository: &Repository,
        snapshots: &[Snapshot],
        around: Around<'_>,
        told: &mut dyn FnMut(&Snapshot, Made),
    ) -> Result<()> {
        // Which of them change is known before any session begins.
        let drafts = self.plan(repository, snapshots, around)?;
        let changing = snapshots.iter().zip(&drafts).filter(|(_, draft)| !draft.is_same());
        let changing = changing.map(|(snapshot, _)| snapshot.clone()).collect();
        self.with_order(|order| recommit::commit(repository, order, changing, around, told))
    }

    fn with_order<T>(&self, work: impl FnOnce(&Order<'_>) -> T) -> T {
        let edit = |manifest: &mut Manifest| add_excludes(&mut manifest.excludes, &self.described);
        work(&Order {
            change: Change::Rewritten,
            leave_out: Some(&self.excludes),
            forget: self.forget,
            read_data: false,
            edit: &edit,
        })
    }
}

/// Puts patterns behind the patterns that there are, and before what the backup left out otherwise.
fn add_excludes(excludes: &mut Vec<String>, patterns: &[String]) {
    let is_pattern = |text: &&String| {
        !text.starts_with("--") || text.starts_with("--exclude=") || text.starts_with("--iexclude=")
    };
    let end = excludes.iter().take_while(is_pattern).count();
    let new: Vec<String> = patterns.iter().filter(|pattern| !excludes.contains(pattern)).cloned().collect();
    excludes.splice(end..end, new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_together() {
        let text = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let mut excludes = text(&["*.tmp", "--exclude=--odd", "--exclude-caches", "--no-sqlite"]);
        add_excludes(&mut excludes, &text(&["*.log", "*.tmp", "--iexclude=X"]));
        let expected =
            ["*.tmp", "--exclude=--odd", "*.log", "--iexclude=X", "--exclude-caches", "--no-sqlite"];
        assert_eq!(excludes, expected);
    }
}
