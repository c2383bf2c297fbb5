//! Which objects of a run count.

use std::path::PathBuf;
use std::sync::Arc;

use super::folders;
use super::record::PackRecord;
use super::run::Run;

/// A run, and which of the objects it covers still count.
#[derive(Clone)]
pub(super) struct Covered {
    pub(super) run: Arc<Run>,
    pub(super) live: Vec<bool>,
    /// The copy in the cache that it is.
    pub(super) path: Option<PathBuf>,
}

impl Covered {
    /// All of it counts.
    pub(super) fn whole(run: Run) -> Self {
        let live = vec![true; run.directory.objects.len()];
        Self { run: Arc::new(run), live, path: None }
    }

    /// Whether an object that a pack record names counts.
    pub(super) fn counts(&self, pack: &PackRecord) -> bool {
        usize::try_from(pack.object).ok().and_then(|object| self.live.get(object)).copied().unwrap_or(false)
    }

    /// The pack records that count.
    pub(super) fn packs(&self) -> impl Iterator<Item = &PackRecord> {
        self.run.directory.packs.iter().filter(|pack| self.counts(pack))
    }

    /// About how many of its places count.
    pub(super) fn places(&self) -> usize {
        let directory = &self.run.directory;
        let share = self.packs().count() as u64;
        let places = u64::from(directory.places).saturating_mul(share);
        usize::try_from(places.checked_div(directory.packs.len() as u64).unwrap_or(0)).unwrap_or(usize::MAX)
    }

    /// How many of its objects count.
    pub(super) fn objects(&self) -> usize {
        self.live.iter().filter(|live| **live).count()
    }

    /// Removes the copy in the cache that it is.
    pub(super) fn discard(&self) {
        if let Some(path) = &self.path {
            folders::remove(path);
        }
    }
}
