//! What a prune remembers on this computer: how many packs there were, and which sessions a record waits for.
//!
//! Kept sealed in the cache. Losing it costs a guard and some waiting, never data.

use std::collections::{HashMap, HashSet};

use minicbor::{Decode, Encode};

use super::Options;
use super::survey::Survey;
use crate::backend::ObjectKind;
use crate::crypto::derive;
use crate::error::{Error, Result};
use crate::format::cbor;
use crate::id::Id;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::cache::Cache;

/// Fewer packs than this are no number to fall sharply.
const FEW_PACKS: u64 = 8;

#[derive(Default, Encode, Decode)]
#[cbor(array)]
struct Remembered {
    #[n(0)]
    packs: u64,
    #[n(1)]
    waits: Vec<(Id, Vec<Id>)>,
}

fn name() -> Id {
    derive::hash(b"what a prune remembers")
}

fn load(repository: &Repository, cache: Option<&Cache>) -> Option<Remembered> {
    cbor::decode(&cache?.note(repository, &name())?, "note of a prune").ok()
}

/// The sessions that earlier runs found open after they had stored these records.
pub(super) fn waits(repository: &Repository, cache: Option<&Cache>) -> HashMap<Id, Vec<Id>> {
    load(repository, cache).unwrap_or_default().waits.into_iter().collect()
}

/// Refuses where most packs vanished since the last run: a store that shows half of what it holds, or one that lost it,
/// is no store to delete from.
pub(super) fn refuse_sharp_drop(
    repository: &Repository,
    cache: Option<&Cache>,
    survey: &Survey,
    options: &Options,
) -> Result<()> {
    let before = load(repository, cache).unwrap_or_default().packs;
    let now = survey.packs.len() as u64;
    if options.allow_fewer_packs || before < FEW_PACKS || now.saturating_mul(2) >= before {
        return Ok(());
    }
    Err(Error::refused(format!("{now} packs are there, where the last prune on this computer left {before}"))
        .hint(
            "nothing was deleted. Look whether the store shows all it holds, and run `strongroom check`; if another \
             prune freed that much, add --allow-fewer-packs",
        ))
}

/// Keeps what the next run should know; before anything is deleted, for this run may die in the middle of it.
pub(super) fn remember(
    repository: &Repository,
    cache: Option<&Cache>,
    waits: &HashMap<Id, Vec<Id>>,
    going: &HashSet<Id>,
    reporter: &dyn Reporter,
) -> Result<()> {
    let Some(cache) = cache else { return Ok(()) };
    let listed = repository.list_agreed(ObjectKind::Pack)?;
    let packs = listed.iter().filter(|pack| !going.contains(&pack.id)).count() as u64;
    let mut waits: Vec<(Id, Vec<Id>)> = waits.iter().map(|(id, open)| (*id, open.clone())).collect();
    waits.sort_unstable();
    let bytes = cbor::encode(&Remembered { packs, waits })?;
    if let Err(error) = cache.keep_note(repository, &name(), &bytes) {
        let cause = format!("cannot keep what the next prune should know: {}", error.chain());
        reporter.report(Finding::warning("the cache", cause));
    }
    Ok(())
}
