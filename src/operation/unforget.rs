//! Unforget: bringing a forgotten snapshot back, as long as all that it needs is there.
//!
//! Invariant: the mark stays. The same tree is committed under a new id, and only where every blob of it may be
//! referred to. What lies in packs that a prune has condemned is copied into new ones first.

use crate::error::{Error, ErrorKind, Result};
use crate::format::node::NodeKind;
use crate::format::snapshot::Change;
use crate::repository::Repository;
use crate::repository::snapshot::{Snapshot, Snapshots};

use super::recommit::{self, Around, Draft, Made, Order};

const ORDER: Order<'static> =
    Order { change: Change::Unforgotten, leave_out: None, forget: false, read_data: false, edit: &|_| {} };

/// The snapshot that stands for a forgotten one: of the same backup, and with the same tree.
pub fn standing<'s>(snapshots: &'s Snapshots, forgotten: &Snapshot) -> Option<&'s Snapshot> {
    let stands = |snapshot: &&Snapshot| {
        snapshot.origin().snapshot == forgotten.origin().snapshot && snapshot.root() == forgotten.root()
    };
    snapshots.snapshots.iter().find(stands)
}

/// Forgotten snapshots that may be brought back, oldest first: their manifests are there, and nothing stands for them.
pub fn candidates(snapshots: &Snapshots) -> Vec<&Snapshot> {
    let mut candidates: Vec<&Snapshot> =
        snapshots.forgotten.iter().filter(|forgotten| standing(snapshots, forgotten).is_none()).collect();
    candidates.sort_by_key(|snapshot| (snapshot.manifest.time, snapshot.id));
    candidates
}

/// Brings snapshots back.
///
/// # Errors
/// `Missing` where anything of any of them is gone: then none is brought back.
pub fn run(
    repository: &Repository,
    forgotten: &[Snapshot],
    dry_run: bool,
    around: Around<'_>,
    told: &mut dyn FnMut(&Snapshot, Made),
) -> Result<()> {
    let drafts = recommit::plan(repository, &ORDER, forgotten, around).map_err(before_the_prune)?;
    if let Some((snapshot, draft)) = forgotten.iter().zip(&drafts).find(|(_, draft)| !draft.is_sound()) {
        return Err(gone(snapshot, draft));
    }
    if dry_run {
        return Ok(());
    }
    let mut refused = None;
    let mut tell = |snapshot: &Snapshot, made: Made| {
        if let Made::Unsound(draft) = &made {
            refused = Some(gone(snapshot, draft));
        }
        told(snapshot, made);
    };
    recommit::commit(repository, &ORDER, forgotten.to_vec(), around, &mut tell).map_err(before_the_prune)?;
    refused.map_or(Ok(()), Err)
}

/// Who waits for the prune to end waits for what he wants back to be deleted.
fn before_the_prune(error: Error) -> Error {
    if error.kind() != ErrorKind::Busy {
        return error;
    }
    error.hint(
        "run this again before the next prune, which deletes what nothing needs; copy the repository's files first, \
         if that may come in between",
    )
}

fn gone(snapshot: &Snapshot, draft: &Draft) -> Error {
    let short = snapshot.id.short();
    let files = draft.gone().filter(|gone| gone.kind == NodeKind::File).count() as u64;
    let unnamed = draft.ranges.iter().try_fold(0u64, |sum, range| sum.checked_add(range.nodes?));
    let names = match unnamed {
        None => "the names of its files are gone".to_owned(),
        Some(0) => format!("{files} of its files are gone, in part or whole"),
        Some(unnamed) => format!("{files} of its files are gone, in part or whole, and {unnamed} names more"),
    };
    let cause = format!("snapshot {short} cannot be brought back: {names}, as a prune leaves it");
    Error::missing(cause).hint("`strongroom unforget --list` lists what is forgotten")
}
