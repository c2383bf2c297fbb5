//! Steps 3 and 4: which backups were at work when packs were condemned, and whether all of them have ended.
//!
//! A backup that looked at the store before a record was there may refer to packs that it condemns. Sessions are listed
//! **after** the record was stored: a backup that is not in that list looks later, and sees the record. Invariant: a
//! record is ready only when every session of such a list has ended: its snapshot is there, it was given up and its
//! snapshot is forgotten for good, or its owner took it away.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::condemn::Records;
use super::{Options, memory, packs_of};
use crate::error::{ErrorKind, Result};
use crate::id::Id;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::session::{self, SessionState};

/// How often sessions are looked for while a prune waits.
const PAUSE: Duration = Duration::from_secs(2);
/// How often a pause looks whether to stop.
const STEPS: u32 = 20;

/// What may be deleted, and what waits.
#[derive(Default)]
pub(super) struct Settled {
    /// Records for which every session has ended.
    pub(super) ready: HashSet<Id>,
    /// The packs they condemn.
    pub(super) ready_packs: HashSet<Id>,
    /// Records that wait.
    pub(super) waiting_records: HashSet<Id>,
    /// The packs that only those condemn.
    pub(super) pending: HashSet<Id>,
    /// Sessions that are open and that some record waits for.
    pub(super) open: Vec<Id>,
    /// For each record that waits the sessions it waits for.
    pub(super) waits: HashMap<Id, Vec<Id>>,
}

/// Looks which sessions are open; waits for them where that is asked for.
pub(super) fn settle(
    repository: &Repository,
    cache: Option<&Cache>,
    records: &Records,
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Settled> {
    let known = memory::waits(repository, cache);
    let mut settled = look(repository, records, &known, reporter)?;
    if options.wait && !settled.open.is_empty() {
        reporter.progress().set_stage("waiting for running backups");
    }
    while options.wait && !settled.open.is_empty() {
        for _ in 0..STEPS {
            options.interrupt.check()?;
            std::thread::sleep(PAUSE.checked_div(STEPS).unwrap_or(PAUSE));
        }
        let mut known = settled.waits.clone();
        // What was ready stays ready, whoever began since.
        known.extend(settled.ready.iter().map(|record| (*record, Vec::new())));
        settled = look(repository, records, &known, reporter)?;
    }
    Ok(settled)
}

fn look(
    repository: &Repository,
    records: &Records,
    known: &HashMap<Id, Vec<Id>>,
    reporter: &dyn Reporter,
) -> Result<Settled> {
    let mut open = Vec::new();
    for (id, state) in session::session_states(repository)? {
        match state {
            SessionState::Committed => {}
            // Whoever gave it up may have died before he stored this mark.
            SessionState::GivenUp => match repository.put_forgotten(&id, None) {
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let finding = Finding::warning(format!("forgotten/{}", id.short()), error.chain());
                    reporter.report(
                        finding.with_hint("it forgets nothing: remove it from the store, and prune again"),
                    );
                    open.push(id);
                }
                stored => stored?,
            },
            SessionState::Open => open.push(id),
        }
    }
    let mut settled = Settled::default();
    for (record, _) in records {
        // Sessions that began after a list was made saw the record: where that list is known, only those in it count.
        let waits: Vec<Id> = match known.get(record) {
            Some(listed) => open.iter().filter(|id| listed.contains(id)).copied().collect(),
            None => open.clone(),
        };
        if waits.is_empty() {
            settled.ready.insert(*record);
        } else {
            settled.waiting_records.insert(*record);
            settled.waits.insert(*record, waits);
        }
    }
    settled.ready_packs = packs_of(records, &settled.ready);
    settled.pending = packs_of(records, &settled.waiting_records);
    settled.pending.retain(|pack| !settled.ready_packs.contains(pack));
    let waited: HashSet<Id> = settled.waits.values().flatten().copied().collect();
    settled.open = open.into_iter().filter(|id| waited.contains(id)).collect();
    Ok(settled)
}
