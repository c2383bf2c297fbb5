//! Why what snapshots seem to have lost may be there, and what to do then.
//!
//! Invariant: each doubt names what ends it, and a command that is named does.

use std::collections::{HashMap, HashSet};

use crate::backend::ObjectKind;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::operation::doubt::gone_of;
use crate::operation::repair::buried;
use crate::repository::Repository;
use crate::repository::index::{Index, PackInfo};
use crate::repository::session;

/// Why nothing is to be given up, and what to do. Where nothing is forgotten, a reason is only what a prune would take
/// away then, for prunes go on past what a repaired snapshot lacked, or a pack that is read wrongly.
pub(super) fn doubt(
    repository: &Repository,
    forgets: bool,
    interrupt: &Interrupt,
) -> Result<Option<(String, String)>> {
    let doubt = if forgets { doubt_packs_and_index(repository)? } else { doubt_sizes_alone(repository)? };
    if doubt.is_some() {
        return Ok(doubt);
    }
    let buried = buried::find(repository, interrupt)?;
    if !buried.blobs.is_empty() {
        return Ok(Some(doubts(
            "some of what is lost lies whole in condemned packs",
            "run `strongroom repair packs` with a full key, then this again",
        )));
    }
    Ok(buried.unsure.first().map(|(pack, error)| {
        let cause =
            format!("some of what is lost may lie in the condemned pack {}: {}", pack.short(), error.chain());
        let again = "run `strongroom repair packs` with a full key, then this again";
        (cause, error.next_step().unwrap_or(again).to_owned())
    }))
}

fn doubts(cause: &str, step: &str) -> (String, String) {
    (cause.to_owned(), step.to_owned())
}

/// A copy without what is whole in a pack that was cut, or is named wrongly, would be one more to put right.
fn doubt_sizes_alone(repository: &Repository) -> Result<Option<(String, String)>> {
    let index = session::usable(repository)?.index;
    Ok(doubt_sizes(&index, &sizes(repository)?))
}

fn sizes(repository: &Repository) -> Result<HashMap<Id, u64>> {
    let packs = repository.backend().list(ObjectKind::Pack)?;
    Ok(packs.into_iter().map(|pack| (pack.id, pack.size)).collect())
}

fn doubt_sizes(index: &Index, sizes: &HashMap<Id, u64>) -> Option<(String, String)> {
    let other = |pack: &PackInfo| sizes.get(&pack.id).is_some_and(|size| *size != pack.size);
    index.packs().iter().any(other).then(|| {
        doubts(
            "a pack has another size than the index says, and what seems lost may be whole in it",
            "run `strongroom check --read-data`, and what it names, then this again",
        )
    })
}

fn doubt_packs_and_index(repository: &Repository) -> Result<Option<(String, String)>> {
    let session::Usable { index, missing, unreadable, .. } = session::usable(repository)?;
    let sizes = sizes(repository)?;
    let gone = gone_of(repository, &missing.into_iter().collect::<HashSet<_>>(), sizes.len())?;
    if sizes.is_empty() || gone.is_doubted() {
        let step = if sizes.is_empty() {
            "look at the store; `strongroom forget --forget-newest-good SNAPSHOT` gives a snapshot up all the same"
        } else {
            "look at the store; where they are gone for good, run `strongroom repair index --packs-are-gone`, then this again"
        };
        return Ok(Some((gone.in_words(), step.to_owned())));
    }
    if let Some(doubt) = doubt_sizes(&index, &sizes) {
        return Ok(Some(doubt));
    }
    if unreadable.iter().any(|(kind, ..)| *kind == ObjectKind::Index) {
        return Ok(Some(doubts(
            "what is lost may be named by index objects that cannot be read",
            "run `strongroom repair index`, then this again; where that leaves one, `strongroom check` says why",
        )));
    }
    let bad = |(kind, _, error): &&(ObjectKind, Id, Error)| {
        *kind == ObjectKind::Pack && error.kind() != ErrorKind::Missing
    };
    // One that was read and is damaged has a command that always works; it comes first.
    let damaged = unreadable.iter().filter(bad).find(|(_, _, error)| error.kind() == ErrorKind::Corrupt);
    Ok(damaged.or_else(|| unreadable.iter().find(bad)).map(|(_, pack, error)| doubt_unnamed(pack, error)))
}

/// What a pack that no index object names, and that cannot be used, leaves in doubt.
fn doubt_unnamed(pack: &Id, error: &Error) -> (String, String) {
    if error.kind() == ErrorKind::Corrupt {
        return doubts(
            "what is lost may lie in a damaged pack that no index object names",
            "run `strongroom repair packs`, then this again",
        );
    }
    let cause = format!(
        "what is lost may lie in pack {}, which no index object names and which cannot be had: {}",
        pack.short(),
        error.chain()
    );
    let step = error.next_step().unwrap_or("look at the store, then run this again");
    (cause, step.to_owned())
}
