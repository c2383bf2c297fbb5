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

/// Copies every needed blob that lies in condemned packs only, until there is none.
pub(super) fn rescue(
    repository: &Repository,
    before: Survey,
    records: &Records,
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Moved> {
    let mut all = Moved::default();
    if nothing_changed(repository, &before, records)? {
        return Ok(all);
    }
    drop(before);
    for _ in 0..ROUNDS_MAX {
        options.interrupt.check()?;
        let survey = Survey::take(repository, options, reporter)?;
        if survey.homeless.is_empty() {
            return Ok(all);
        }
        let moves = Moves { places: survey.homeless.clone(), ..Moves::default() };
        let moved = repack::repack(repository, &survey, &moves, options, reporter)?;
        all.blobs = all.blobs.saturating_add(moved.blobs);
        all.stored_bytes = all.stored_bytes.saturating_add(moved.stored_bytes);
        all.packs.extend(moved.packs);
    }
    Err(Error::new(ErrorKind::Busy, "other prunes keep condemning what this one copies")
        .hint("run one prune at a time"))
}

/// Whether there is no snapshot and no record but those that the plan knew: then every needed blob was given a place
/// that counts when the plan was made, or was moved to one, and only somebody's record could have taken it.
fn nothing_changed(repository: &Repository, before: &Survey, records: &Records) -> Result<bool> {
    let ids = |kind| -> Result<HashSet<Id>> {
        Ok(repository.list_agreed(kind)?.into_iter().map(|listed| listed.id).collect())
    };
    let known: HashSet<Id> = records.iter().map(|(id, _)| *id).collect();
    Ok(ids(ObjectKind::Snapshot)?.is_subset(&before.listed_snapshots)
        && ids(ObjectKind::Gc)?.is_subset(&known))
}
