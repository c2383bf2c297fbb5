//! Repairing from another repository: what is lost here and whole there.
//!
//! Two cases. A repository of the same id is a copy of this one's files: blobs have the same names, and are fetched by them.
//! Any other has names of its own: a file of a damaged snapshot is looked up in the snapshots there, read, and cut as it
//! was cut here; where that gives the names that are missing, they are stored.
//!
//! Invariants: whatever comes from the other repository is stored only under the id that its plaintext has here, and
//! only if a snapshot here needs that id. It is stored in new packs: a pack that is gone is never put back under its
//! name, for a prune may be about to take that name out of the index. Damaged packs are condemned once everything is stored
//! and named.

mod heal;
mod match_files;

use std::collections::BTreeMap;

use super::damage::{Found, Packs};
use super::packs::{condemn, refuse_if_most, save_all};
use super::{buried, index};
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_slot::Role;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::operation::announce;
use crate::operation::check::name_losses;
use crate::report::Reporter;
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::index::{indexed, read_unindexed_pack};
use crate::repository::mover::BlobMover;
use crate::repository::reader::BlobReader;
use crate::repository::session::{Adopted, Session};
use crate::repository::writer::BlobWriter;

use heal::Healer;

/// How to repair.
pub struct Options {
    /// Name of this host, for the session.
    pub host: String,
    /// Go on also where most packs seem to be damaged.
    pub packs_are_damaged: bool,
    /// Change nothing; tell what is damaged.
    pub dry_run: bool,
    /// Whether to stop.
    pub interrupt: Interrupt,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Whether the other repository is a copy of this one's files.
    pub same: bool,
    /// Packs read here.
    pub packs_read: u64,
    /// Packs that the index named and that were missing here.
    pub packs_missing: u64,
    /// Damaged packs that were condemned.
    pub packs_damaged: Vec<Id>,
    /// Packs that could not be had, or not be repaired, and are as they were.
    pub packs_left: u64,
    /// Blobs saved from damaged packs.
    pub blobs_saved: u64,
    /// Blobs that snapshots lacked and condemned packs here still held.
    pub blobs_rescued: u64,
    /// Blobs that came from the other repository, by kind.
    pub blobs_found: BTreeMap<&'static str, u64>,
    /// Files and trees that still lack something.
    pub losses: u64,
}

/// Repairs from another repository.
///
/// # Errors
/// `Refused` where most packs seem to be damaged; whatever keeps this repository from being listed or written, or the other
/// from being opened.
pub fn run(
    repository: &Repository,
    other: &Repository,
    cache: Option<&Cache>,
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Summary> {
    repository.keyring().require(Role::Full, "repairing from another repository")?;
    other.keyring().require(Role::Full, "reading the other repository")?;
    if repository.backend().location() == other.backend().location() {
        return Err(Error::refused("the other repository is this one").hint("name one that lies elsewhere"));
    }
    let mut summary = Summary { same: repository.id() == other.id(), ..Summary::default() };
    if options.dry_run {
        let packs = Packs::survey(repository)?;
        let found = find(repository, &packs, options, reporter, &mut summary)?;
        summary.packs_missing = packs.missing.len() as u64;
        summary.packs_damaged = found.damaged;
        summary.losses = name_losses(repository, reporter, &options.interrupt)?;
        return Ok(summary);
    }
    announce::give_up_own_dead(repository, cache, &options.host, reporter);
    // A prune that begins now waits for this session before it deletes what is counted on here.
    let mut session = announce::begin(repository, cache, &options.host, reporter)?;
    let repaired = repair(repository, &session, other, options, reporter, &mut summary);
    session.end();
    repaired?;
    summary.losses = name_losses(repository, reporter, &options.interrupt)?;
    if summary.losses == 0 && summary.packs_missing > 0 {
        // Nothing waits any more for the packs that are gone. Not to be interrupted: all else is done.
        let options = index::Options { packs_are_gone: true, ..index::Options::default() };
        index::run(repository, options, reporter, &Interrupt::default())?;
    }
    Ok(summary)
}

fn find(
    repository: &Repository,
    packs: &Packs,
    options: &Options,
    reporter: &dyn Reporter,
    summary: &mut Summary,
) -> Result<Found> {
    let all: Vec<Id> = packs.present.keys().copied().collect();
    let found = packs.find_damaged(repository, &all, reporter, &options.interrupt)?;
    summary.packs_read = all.len() as u64;
    summary.packs_left = found.trouble;
    Ok(found)
}

fn repair(
    repository: &Repository,
    session: &Session<'_>,
    other: &Repository,
    options: &Options,
    reporter: &dyn Reporter,
    summary: &mut Summary,
) -> Result<()> {
    let rescued = buried::rescue(repository, reporter, &options.interrupt)?;
    summary.blobs_rescued = rescued.blobs.len() as u64;
    let packs = Packs::survey(repository)?;
    summary.packs_missing = packs.missing.len() as u64;
    let found = find(repository, &packs, options, reporter, summary)?;
    if !options.packs_are_damaged {
        refuse_if_most(&packs, &found)?;
    }
    reporter.progress().set_stage("saving blobs");
    let mover = BlobMover::new(repository);
    let (saved, condemned) =
        save_all(repository, &packs, &found, false, &mover, &options.interrupt, reporter)?;
    mover.finish()?;
    summary.blobs_saved = saved.blobs.len() as u64;
    let mut good = packs.index_without_damaged(&found)?;
    let adopted = adopt(repository, &packs, &found.unnamed)?;
    good.extend(&adopted)?;
    let writer = BlobWriter::new(repository, &good)?;
    let local = BlobReader::new(repository, reporter)?;
    let foreign = BlobReader::new(other, reporter)?;
    reporter.progress().set_stage("looking for what is lost");
    let healer = Healer::new(&local, &foreign, &writer, saved.blobs, options, reporter)?;
    let healed = healer.run(summary.same);
    summary.blobs_found = healer.found();
    // Whatever ended it: what was stored is named, so that the next run need not fetch it again.
    let written = writer.finish(adopted);
    healed?;
    written?;
    condemn(repository, session, &packs, &condemned, reporter)?;
    if !condemned.is_empty() {
        // What was bad there may be whole in a pack that was condemned before.
        let rescued = buried::rescue(repository, reporter, &options.interrupt)?;
        summary.blobs_rescued = summary.blobs_rescued.saturating_add(rescued.blobs.len() as u64);
    }
    let left = found.damaged.len().saturating_sub(condemned.len()) as u64;
    summary.packs_left = summary.packs_left.saturating_add(left);
    summary.packs_damaged = condemned;
    Ok(())
}

/// Whole packs that no index names, as an interrupted run leaves them.
fn adopt(repository: &Repository, packs: &Packs, unnamed: &[Id]) -> Result<Adopted> {
    let mut adopted = Vec::new();
    for pack in unnamed {
        let size = packs.present.get(pack).copied().unwrap_or(0);
        match read_unindexed_pack(repository, pack) {
            Ok(table) => adopted.push(indexed(*pack, size, table)),
            Err(error) if error.kind() == ErrorKind::Missing => {}
            Err(error) => return Err(error),
        }
    }
    Ok(adopted)
}
