//! Prune: finds what no snapshot needs, and deletes it, while backups, restores and other prunes go on.
//!
//! Follows `format-spec/11-ordering.md#prune`; the steps stand in one file each, in this order: [`survey`] looks,
//! [`plan`] decides, [`repack`] copies what is still needed out of packs worth emptying, [`condemn`] announces which packs
//! go, [`settle`] waits for no one but asks which backups might still refer to them, [`rescue`] copies what somebody came
//! to need meanwhile, and [`delete`] takes the rest away. `tests/suite/model/` is the same without bytes, searched
//! exhaustively.
//!
//! Invariants: nothing is deleted that was not condemned before, and nothing that is condemned before every session that
//! was open then has ended. A repository with damage in its index or its manifests is not pruned: what seems unused may
//! be what is missing. Interrupted anywhere, the next run takes up what is there.

mod condemn;
pub(super) mod confirm;
mod delete;
mod memory;
mod plan;
mod repack;
mod rescue;
mod settle;
mod sound;
pub(super) mod survey;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use crate::error::{ErrorKind, Result};
use crate::format::key_slot::Role;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::operation::announce;
use crate::report::Reporter;
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::mover::Moved;
use crate::repository::session::{self, SessionState};

pub use delete::Tidied;
pub use plan::{Amount, Limit, Plan};

use condemn::Records;
use plan::Work;
use rescue::Basis;
use survey::Survey;

/// How often a prune looks anew because another took away what it was about to copy.
const ATTEMPTS: usize = 5;

/// What to prune, and how.
pub struct Options {
    /// Only tell what would be done.
    pub dry_run: bool,
    /// How much may stay that nothing needs.
    pub max_unused: Limit,
    /// Most bytes that are copied out of packs that are partly used.
    pub max_repack: Option<u64>,
    /// Also put small packs together.
    pub repack_small: bool,
    /// Wait for running backups instead of leaving the rest to the next run.
    pub wait: bool,
    /// Go on though many packs vanished since the last run on this computer.
    pub allow_fewer_packs: bool,
    /// Name of this host, for marks.
    pub host: String,
    /// Whether to stop.
    pub interrupt: Interrupt,
}

/// How a prune went.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What was planned.
    pub plan: Plan,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Bytes of new packs and index objects that hold what was copied.
    pub written_bytes: u64,
    /// Packs that were deleted.
    pub deleted: Amount,
    /// Packs that are condemned and wait for the sessions below to end.
    pub pending: Amount,
    /// Sessions that are open, and for which condemned packs wait.
    pub open_sessions: Vec<Id>,
    /// Whether what waits now had waited when this run began.
    pub waits_again: bool,
    /// Blobs that somebody came to need while the prune ran.
    pub rescued_blobs: u64,
    /// What crashed runs and settled sessions had left.
    pub tidied: Tidied,
}

/// Prunes a repository.
///
/// # Errors
/// `RoleNotAllowed` for a key of role backup; `Corrupt` or `Missing` where the repository is damaged, before anything
/// is condemned or deleted; whatever the store says.
pub fn run(
    repository: &Repository,
    cache: Option<&Cache>,
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Summary> {
    repository.keyring().require(Role::Maintain, "pruning")?;
    let stage = |text: &str| reporter.progress().set_stage(text);
    stage("looking for what is needed");
    if !options.dry_run {
        // A host's own dead sessions keep no prune waiting. Where they cannot be given up, they do.
        announce::give_up_own_dead(repository, cache, &options.host, reporter);
    }
    let mut summary = Summary { dry_run: options.dry_run, ..Summary::default() };
    let Some((survey, work, moved)) = prepare(repository, cache, options, reporter, &mut summary)? else {
        return Ok(summary);
    };
    summary.written_bytes = moved.stored_bytes;
    options.interrupt.check()?;
    let before: HashSet<Id> = survey.records.iter().map(|(id, _)| *id).collect();
    let records = condemn::condemn(repository, &survey, &work.condemned)?;
    let settled = settle::settle(repository, cache, &records, options, reporter)?;
    summary.pending = amount(&survey, &settled.pending);
    let has_losses = survey.has_losses;
    let basis = Basis::new(survey, &work.moves, &moved, &records);
    // Where nothing is left to be deleted, nothing waits.
    summary.waits_again =
        summary.pending.packs > 0 && settled.waiting_records.iter().any(|id| before.contains(id));
    summary.open_sessions = settled.open;
    let deletion = delete::Deletion { repository, options, reporter };
    if !settled.ready.is_empty() {
        stage("looking for what somebody came to need meanwhile");
        let rescued = rescue::rescue(repository, &basis, options, reporter)?;
        summary.rescued_blobs = rescued.blobs;
        summary.written_bytes = summary.written_bytes.saturating_add(rescued.stored_bytes);
        stage("deleting");
        memory::remember(repository, cache, &settled.waits, &settled.ready_packs, reporter)?;
        summary.written_bytes =
            summary.written_bytes.saturating_add(deletion.rewrite_index(&settled.ready_packs)?);
        summary.deleted = deletion.delete_packs(&settled.ready_packs)?;
    }
    if settled.ready.is_empty() {
        memory::remember(repository, cache, &settled.waits, &settled.ready_packs, reporter)?;
    }
    if !has_losses {
        // Where something is lost, whoever finds it again finds its place in the index as well.
        let written = deletion.unname(&settled.ready_packs)?;
        summary.written_bytes = summary.written_bytes.saturating_add(written);
    }
    deletion.delete_gc(&settled.ready)?;
    delete::tidy(repository, settled.waiting_records.is_empty(), &mut summary.tidied, reporter);
    Ok(summary)
}

/// Looks, plans, and copies what is still needed out of packs that go; nothing after a dry run. Again where another
/// prune takes away meanwhile what was to be copied.
fn prepare(
    repository: &Repository,
    cache: Option<&Cache>,
    options: &Options,
    reporter: &dyn Reporter,
    summary: &mut Summary,
) -> Result<Option<(Survey, Work, Moved)>> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        // Looked for first: what lies in no index then belongs to nobody who was at work before.
        let states = session::session_states(repository)?;
        let running = states.iter().any(|(_, state)| *state == SessionState::Open);
        let survey = Survey::take(repository, options, reporter)?;
        memory::refuse_sharp_drop(repository, cache, &survey, options)?;
        let (plan, work) = plan::make(&survey, options, running)?;
        summary.plan = plan;
        if options.dry_run {
            return Ok(None);
        }
        reporter.progress().set_stage("copying what is still needed");
        match repack::repack(repository, &survey, &work.moves, options, reporter) {
            Err(error) if error.kind() == ErrorKind::Busy && attempt < ATTEMPTS => {}
            moved => return Ok(Some((survey, work, moved?))),
        }
    }
}

fn amount(survey: &Survey, packs: &HashSet<Id>) -> Amount {
    let sizes = packs.iter().filter_map(|pack| survey.packs.get(pack));
    sizes.fold(Amount::default(), |sum, size| sum.plus(Amount { packs: 1, bytes: *size }))
}

/// The packs that these records condemn.
fn packs_of(records: &Records, which: &HashSet<Id>) -> HashSet<Id> {
    let chosen = records.iter().filter(|(id, _)| which.contains(id));
    chosen.flat_map(|(_, packs)| packs.iter().copied()).collect()
}
