//! Step 2: saying which packs go, signed, before anything goes.
//!
//! Invariant: condemned is for good. A record is complete in itself: whoever holds the maintain key can take up the work
//! of a prune that died behind it.

use super::survey::Survey;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;
use crate::repository::Repository;

/// Packs that one record condemns at most, so that every reader takes it.
const PACKS_PER_RECORD: usize = 1 << 20;

/// The gc records, and the packs that each condemns.
pub(super) type Records = Vec<(Id, Vec<Id>)>;

/// Condemns these packs; gives the records that there are now, those of earlier runs among them.
pub(super) fn condemn(repository: &Repository, survey: &Survey, packs: &[Id]) -> Result<Records> {
    let mut records = survey.records.clone();
    for packs in packs.chunks(PACKS_PER_RECORD) {
        let stored = match repository.put_condemned(packs.to_vec()) {
            // What writers left that died may go at any time, and may be room enough where there is none.
            Err(error)
                if error.kind() == ErrorKind::NoSpace && repository.backend().remove_leftovers()?.0 > 0 =>
            {
                repository.put_condemned(packs.to_vec())
            }
            stored => stored,
        };
        records.push((stored.map_err(no_room)?, packs.to_vec()));
    }
    Ok(records)
}

fn no_room(error: Error) -> Error {
    if error.kind() != ErrorKind::NoSpace {
        return error;
    }
    error.context("nothing was deleted, for what is to go has to be written down first").hint(
        "free some space: a few KiB are enough for that record and for the index; then run \
         `strongroom prune --max-unused unlimited`, which copies nothing",
    )
}
