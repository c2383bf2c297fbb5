//! How whatever commits snapshots begins: its own dead sessions first, then a new one.
//!
//! Invariant: trouble with the cache is no reason not to work: a session without a lock is as safe, and a prune waits
//! for it.

use crate::error::Result;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::session::{self, Session};

/// How often work starts again because somebody gave its session up.
pub(super) const ATTEMPTS: usize = 3;

/// Gives up the sessions that this host began and that died.
pub(super) fn give_up_own_dead(
    repository: &Repository,
    cache: Option<&Cache>,
    host: &str,
    reporter: &dyn Reporter,
) {
    let Some(cache) = cache else { return };
    let subject = "an earlier run of this host";
    match session::give_up_own_dead(repository, cache, host) {
        Ok(given_up) if given_up.is_empty() => {}
        Ok(_) => {
            let cause = "did not end, and is given up; what it stored is not lost";
            reporter.report(Finding::warning(subject, cause));
        }
        // Its session stays, which is safe: a prune waits for it.
        Err(error) => {
            let cause = format!("did not end, and cannot be given up: {}", error.chain());
            reporter.report(Finding::warning(subject, cause));
        }
    }
}

/// Announces a session. A cache that cannot hold its lock is no reason not to work: it goes without, as where no
/// cache is wanted.
pub(super) fn begin<'a>(
    repository: &'a Repository,
    cache: Option<&Cache>,
    host: &str,
    reporter: &dyn Reporter,
) -> Result<Session<'a>> {
    let failed = match Session::begin(repository, cache, host) {
        Err(error) if cache.is_some() => error,
        begun => return begun,
    };
    // Where it was the store that failed, it fails again.
    let session = Session::begin(repository, None, host)?;
    let cause = format!("cannot be used to tell whether this run ended: {}", failed.chain());
    reporter.report(Finding::warning("the cache", cause));
    Ok(session)
}
