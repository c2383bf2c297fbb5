//! Repairing damaged packs: what is still whole in them goes into new packs.
//!
//! Invariants: the new packs and the index that names them are acknowledged before a damaged pack is condemned; it is
//! then named by the index no more, and a prune deletes it by its protocol. A pack whose bytes cannot be had is left
//! alone, and so is one of which nobody can say what it held.

use std::collections::{BTreeMap, HashSet};

use super::damage::{Found, Packs, Saved};
use super::index;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::key_slot::Role;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::operation::check::name_losses;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::mover::BlobMover;
use crate::repository::session::{self, Session};

/// How to repair.
pub struct Options {
    /// The packs to look at, by the beginning of their ids; all of them if none is named.
    pub packs: Vec<String>,
    /// Change nothing; tell what would be.
    pub dry_run: bool,
    /// Name of this host, for the session.
    pub host: String,
    /// Whether to stop.
    pub interrupt: Interrupt,
}

/// What was done, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Packs read.
    pub packs_read: u64,
    /// Damaged packs that were condemned.
    pub packs_damaged: Vec<Id>,
    /// Packs that could not be had, or not be repaired, and are as they were.
    pub packs_left: u64,
    /// Blobs saved from damaged packs.
    pub blobs_saved: u64,
    /// Blobs of which no whole copy is left, by kind.
    pub blobs_lost: BTreeMap<&'static str, u64>,
    /// Files and trees that need them.
    pub losses: u64,
}

/// Repairs damaged packs.
///
/// # Errors
/// Whatever keeps the repository from being listed or written.
pub fn run(
    repository: &Repository,
    cache: Option<&Cache>,
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Summary> {
    repository.keyring().require(Role::Maintain, "repairing packs")?;
    if options.dry_run {
        let packs = Packs::survey(repository)?;
        let wanted = chosen(&packs, &options.packs)?;
        let found = packs.find_damaged(repository, &wanted, reporter, &options.interrupt)?;
        let packs_read = wanted.len() as u64;
        return Ok(Summary {
            packs_read,
            packs_damaged: found.damaged,
            packs_left: found.trouble,
            ..Summary::default()
        });
    }
    if let Some(cache) = cache {
        session::give_up_own_dead(repository, cache, &options.host)?;
    }
    // A prune that begins now waits for this session before it deletes what is counted on here.
    let mut session = Session::begin(repository, cache, &options.host)?;
    let repaired = repair(repository, options, reporter);
    session.end();
    let mut summary = repaired?;
    if !summary.packs_damaged.is_empty() {
        summary.losses = name_losses(repository, reporter, &options.interrupt)?;
    }
    Ok(summary)
}

fn repair(repository: &Repository, options: &Options, reporter: &dyn Reporter) -> Result<Summary> {
    let packs = Packs::survey(repository)?;
    let wanted = chosen(&packs, &options.packs)?;
    let Found { damaged, trouble, .. } =
        packs.find_damaged(repository, &wanted, reporter, &options.interrupt)?;
    let mut summary = Summary { packs_read: wanted.len() as u64, packs_left: trouble, ..Summary::default() };
    if damaged.is_empty() {
        return Ok(summary);
    }
    reporter.progress().set_stage("saving blobs");
    let mover = BlobMover::new(repository);
    let (saved, condemned) = save_all(repository, &packs, &damaged, &mover, &options.interrupt, reporter)?;
    mover.finish()?;
    condemn(repository, &packs, &condemned, reporter)?;
    summary.packs_left =
        summary.packs_left.saturating_add(damaged.len().saturating_sub(condemned.len()) as u64);
    summary.packs_damaged = condemned;
    summary.blobs_saved = saved.blobs.len() as u64;
    summary.blobs_lost = by_kind(saved.lost.iter().map(|(kind, _)| *kind));
    Ok(summary)
}

/// Saves what can be saved from damaged packs; gives those that may be condemned then.
pub(super) fn save_all(
    repository: &Repository,
    packs: &Packs,
    damaged: &[Id],
    mover: &BlobMover<'_>,
    interrupt: &Interrupt,
    reporter: &dyn Reporter,
) -> Result<(Saved, Vec<Id>)> {
    let good = packs.index_without(damaged)?;
    let (mut saved, mut condemned) = (Saved::default(), Vec::new());
    for pack in damaged {
        interrupt.check()?;
        let name = format!("pack {}", pack.short());
        match packs.save(repository, pack, &good, mover, &mut saved) {
            // An index object that cannot be read now may be the one that names it.
            Ok(known) if known || packs.index_is_whole() => condemned.push(*pack),
            Ok(_) => {
                let cause =
                    "is in no index that can be read, and its own table is damaged: it is left as it is";
                reporter
                    .report(Finding::problem(name, cause).with_hint("run `strongroom repair index` first"));
            }
            Err(error) if error.kind() == ErrorKind::RoleNotAllowed => {
                let cause = format!("is damaged and left as it is: {}", error.chain());
                let finding = Finding::problem(name, cause);
                reporter.report(match error.next_step() {
                    Some(step) => finding.with_hint(step),
                    None => finding,
                });
            }
            Err(error) => return Err(error),
        }
    }
    saved.lost.retain(|blob| !saved.blobs.contains(blob));
    Ok((saved, condemned))
}

/// Condemns packs, and takes them out of the index: what they lost then counts as lost, and what they held has new
/// places.
pub(super) fn condemn(
    repository: &Repository,
    packs: &Packs,
    damaged: &[Id],
    reporter: &dyn Reporter,
) -> Result<()> {
    if damaged.is_empty() {
        return Ok(());
    }
    let new: Vec<Id> = damaged.iter().filter(|pack| !packs.condemned.contains(*pack)).copied().collect();
    if !new.is_empty() {
        repository.put_condemned(new)?;
    }
    let without: HashSet<Id> = damaged.iter().copied().collect();
    // Not to be interrupted: it is as good as done, and a run that dies here is finished by the next.
    index::run_without(repository, &without, index::Options::default(), reporter, &Interrupt::default())?;
    Ok(())
}

/// How many there are of each kind.
pub(super) fn by_kind(kinds: impl Iterator<Item = BlobKind>) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for kind in kinds {
        let count: &mut u64 = counts.entry(kind.name()).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

/// The packs that are meant.
fn chosen(packs: &Packs, names: &[String]) -> Result<Vec<Id>> {
    let mut all: Vec<Id> = packs.present.keys().copied().collect();
    all.sort_unstable();
    if names.is_empty() {
        return Ok(all);
    }
    let mut chosen = Vec::new();
    for name in names {
        let wanted = name.to_ascii_lowercase();
        let named: Vec<Id> = all.iter().filter(|pack| pack.to_hex().starts_with(&wanted)).copied().collect();
        match named.as_slice() {
            _ if wanted.len() < 4 => {
                return Err(Error::refused(format!("{name:?} names no pack"))
                    .hint("give at least four digits of its id, as `strongroom check` shows them"));
            }
            [pack] => chosen.push(*pack),
            [] => {
                return Err(Error::missing(format!("there is no pack {name}, or it is condemned already"))
                    .hint("a pack that is missing cannot be repaired: `strongroom repair --from` may bring it back"));
            }
            _ => return Err(Error::refused(format!("{name} names several packs")).hint("give more digits")),
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}
