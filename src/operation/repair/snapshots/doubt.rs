//! Why what snapshots seem to have lost may be there, and what to do then.
//!
//! Invariant: each doubt names what ends it, and a command that is named does.

use std::collections::{HashMap, HashSet};

use crate::backend::ObjectKind;
use crate::error::{ErrorKind, Result};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::operation::doubt::{gone_in_words, mostly_gone};
use crate::operation::repair::buried;
use crate::repository::Repository;
use crate::repository::session;

/// Why nothing is to be given up, and what to do. Where nothing is forgotten, only what a prune would take away then is a
/// reason: once a snapshot is repaired, prunes go on past what it lacked.
pub(super) fn doubt(
    repository: &Repository,
    forgets: bool,
    interrupt: &Interrupt,
) -> Result<Option<(String, String)>> {
    if forgets && let Some(doubt) = doubt_packs_and_index(repository)? {
        return Ok(Some(doubt));
    }
    let buried = buried::find(repository, interrupt)?;
    Ok(buried.may_hold_any().then(|| {
        doubts(
            "some of what is lost lies whole in condemned packs, or may",
            "run `strongroom repair packs` with a full key, then this again",
        )
    }))
}

fn doubts(cause: &str, step: &str) -> (String, String) {
    (cause.to_owned(), step.to_owned())
}

fn doubt_packs_and_index(repository: &Repository) -> Result<Option<(String, String)>> {
    let session::Usable { index, missing, unreadable, .. } = session::usable(repository)?;
    let sizes: HashMap<Id, u64> =
        repository.backend().list(ObjectKind::Pack)?.into_iter().map(|pack| (pack.id, pack.size)).collect();
    let gone = missing.iter().collect::<HashSet<_>>().len();
    if sizes.is_empty() || mostly_gone(gone, sizes.len()) {
        let step = if sizes.is_empty() {
            "look at the store; `strongroom forget --forget-newest-good SNAPSHOT` gives a snapshot up all the same"
        } else {
            "look at the store; where they are gone for good, run `strongroom repair index --packs-are-gone`, then this again"
        };
        return Ok(Some((gone_in_words(gone, sizes.len()), step.to_owned())));
    }
    if index.packs().iter().any(|pack| sizes.get(&pack.id).is_some_and(|size| *size != pack.size)) {
        return Ok(Some(doubts(
            "a pack has another size than the index says, and what seems lost may be whole in it",
            "run `strongroom check --read-data`, and what it names, then this again",
        )));
    }
    if unreadable.iter().any(|(kind, ..)| *kind == ObjectKind::Index) {
        return Ok(Some(doubts(
            "what is lost may be named by index objects that cannot be read",
            "run `strongroom repair index`, then this again; where that leaves one, `strongroom check` says why",
        )));
    }
    let is_bad = |kind: &ObjectKind, error: &crate::error::Error| {
        *kind == ObjectKind::Pack && error.kind() == ErrorKind::Corrupt
    };
    Ok(unreadable.iter().any(|(kind, _, error)| is_bad(kind, error)).then(|| {
        doubts(
            "what is lost may lie in a damaged pack that no index object names",
            "run `strongroom repair packs`, then this again",
        )
    }))
}
