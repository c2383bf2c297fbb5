//! Taking snapshots that are dated back for what they say, where a person knows why they came late.
//!
//! Invariant: nothing is accepted that is not named, and in the repository nothing changes: it is remembered by this
//! computer alone.

use serde_json::json;

use super::super::output::{Output, human};
use super::Arguments;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::repository::Repository;
use crate::repository::find::SnapshotFilter;
use crate::repository::snapshot::Snapshots;

/// Accepts what is named; from now on it counts, also for the rules of this very run.
pub(super) fn run(
    repository: &Repository,
    found: &mut Snapshots,
    arguments: &Arguments,
    output: &Output,
) -> Result<()> {
    let ids = named(found, &arguments.accept_dated_back)?;
    if !arguments.dry_run && !repository.accept_dated_back(&ids) {
        return Err(Error::refused("what is accepted cannot be remembered, for the cache cannot be written")
            .hint("run it without --no-cache, and look whether the cache's folder can be written"));
    }
    found.unseen.retain(|id| !ids.contains(id));
    if output.json {
        return output.object(&json!({
            "message_type": "accepted",
            "dry_run": arguments.dry_run,
            "snapshot_ids": ids.iter().map(Id::to_hex).collect::<Vec<_>>(),
        }));
    }
    let verb = if arguments.dry_run { "would be taken" } else { "taken" };
    output.say(&format!("{} {verb} for what it says", human::counted(ids.len() as u64, "snapshot")))
}

fn named(found: &Snapshots, names: &[String]) -> Result<Vec<Id>> {
    if names.iter().any(|name| name == "all") {
        return Ok(found.unseen.iter().copied().collect());
    }
    let mut ids = Vec::new();
    for name in names {
        let id = found.find(&SnapshotFilter::default(), name)?.id;
        if !found.unseen.contains(&id) {
            return Err(Error::refused(format!(
                "{} is not dated back, so there is nothing to accept",
                id.short()
            ))
            .hint("`strongroom forget --keep-last 1 --dry-run` shows how each snapshot stands"));
        }
        ids.push(id);
    }
    Ok(ids)
}
