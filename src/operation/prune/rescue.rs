//! Step 5: looking once more, now that every backup that could not see the record has ended.
//!
//! Such a backup may have committed a snapshot that needs a condemned blob. Condemned is for good, so the blob is copied
//! into a new pack. Invariant: this returns only when every blob of every snapshot that is there and not forgotten lies
//! in a pack that nobody condemned and that the index names.

use std::collections::HashSet;

use super::condemn::Records;
use super::plan::Moves;
use super::survey::Survey;
use super::{Options, repack};
use crate::backend::ObjectKind;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;
use crate::report::Reporter;
use crate::repository::Repository;
use crate::repository::mover::Moved;

/// How often others may condemn what this prune copied.
const ROUNDS_MAX: usize = 10;

/// What the plan counts on: as long as it is so, every needed blob has a place.
pub(super) struct Basis {
    snapshots: HashSet<Id>,
    records: HashSet<Id>,
    packs: HashSet<Id>,
}

impl Basis {
    /// The snapshots that were walked, the records that were known or stored, and the packs in which needed blobs were
    /// left or to which they were moved.
    pub(super) fn new(survey: Survey, moves: &Moves, moved: &Moved, records: &Records) -> Self {
        let homes = survey.index.packs().iter().zip(&survey.uses).enumerate();
        let homes = homes.filter(|(number, (_, uses))| {
            uses.kept_blobs > 0 && !uses.condemned && !moves.emptied.contains(number)
        });
        Self {
            packs: homes.map(|(_, (pack, _))| pack.id).chain(moved.packs.iter().copied()).collect(),
            records: records.iter().map(|(id, _)| *id).collect(),
            snapshots: survey.listed_snapshots,
        }
    }

    /// Whether it is still so. Others may have condemned and deleted a new pack before its index object was there, and
    /// their record with it: so the packs are looked for as well, last.
    fn holds(&self, repository: &Repository) -> Result<bool> {
        let ids = |kind| -> Result<HashSet<Id>> {
            Ok(repository.list_agreed(kind)?.into_iter().map(|listed| listed.id).collect())
        };
        Ok(ids(ObjectKind::Snapshot)?.is_subset(&self.snapshots)
            && ids(ObjectKind::Gc)?.is_subset(&self.records)
            && self.packs.is_subset(&ids(ObjectKind::Pack)?))
    }
}

/// Copies every needed blob that lies in condemned packs only, until there is none.
pub(super) fn rescue(
    repository: &Repository,
    basis: &Basis,
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Moved> {
    let mut all = Moved::default();
    if basis.holds(repository)? {
        return Ok(all);
    }
    for _ in 0..ROUNDS_MAX {
        options.interrupt.check()?;
        let survey = Survey::take(repository, options, reporter)?;
        if survey.homeless.is_empty() {
            return Ok(all);
        }
        let moves = Moves { places: survey.homeless.clone(), ..Moves::default() };
        let moved = match repack::repack(repository, &survey, &moves, options, reporter) {
            // Another prune rescued it already, and deleted the pack it lay in.
            Err(error) if error.kind() == ErrorKind::Busy => continue,
            moved => moved?,
        };
        all.blobs = all.blobs.saturating_add(moved.blobs);
        all.stored_bytes = all.stored_bytes.saturating_add(moved.stored_bytes);
        all.packs.extend(moved.packs);
    }
    Err(Error::new(ErrorKind::Busy, "other prunes keep condemning what this one copies")
        .hint("run one prune at a time"))
}
