//! Repairing damaged packs: what is still whole in them goes into new packs.
//!
//! Invariants: the new packs and the index that names them are acknowledged before a damaged pack is condemned; it is
//! then named by the index no more, and a prune deletes it by its protocol. Before its names go, the mark that gives up
//! this run's session is looked for: a prune may have deleted what was counted on. A pack whose bytes cannot be had is
//! left alone, unless it is named and its disk alone is to blame. One of which nobody can say what it held is condemned
//! only where no index object can say so either, where no snapshot lacks anything, or where it was named. Where most packs
//! seem to be damaged, or are gone, none is touched.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use super::damage::{Found, Packs, Salvage, Saved};
use super::{buried, index};
use crate::backend::ObjectKind;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::key_slot::Role;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::operation::announce;
use crate::operation::check::name_losses;
use crate::report::{Collector, Finding, Reporter};
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::mover::BlobMover;
use crate::repository::session::Session;

/// How to repair.
pub struct Options {
    /// The packs to look at, by the beginning of their ids; all of them if none is named.
    pub packs: Vec<String>,
    /// Go on also where most packs seem to be damaged.
    pub packs_are_damaged: bool,
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
    /// Blobs that snapshots lacked and condemned packs still held.
    pub blobs_rescued: u64,
    /// Condemned packs that cannot be had whole, and may hold what snapshots lack.
    pub packs_unsure: u64,
    /// Damaged packs of which nobody can say what they held.
    pub packs_unknown: u64,
    /// Blobs of which no whole copy is left, by kind.
    pub blobs_lost: BTreeMap<&'static str, u64>,
    /// Files and trees that need them.
    pub losses: u64,
}

/// Repairs damaged packs.
///
/// # Errors
/// `Refused` where most packs are gone, or seem to be damaged; whatever keeps the repository from being listed or written.
pub fn run(
    repository: &Repository,
    cache: Option<&Cache>,
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Summary> {
    repository.keyring().require(Role::Maintain, "repairing packs")?;
    if options.dry_run {
        let packs = Packs::survey(repository)?;
        packs.refuse_if_most_are_gone(repository)?;
        let Chosen { wanted, absent } = chosen(&packs, &options.packs, reporter)?;
        let found = find(repository, &packs, &wanted, options, reporter)?;
        let buried = buried::find(repository, &options.interrupt)?;
        return Ok(Summary {
            packs_read: wanted.len() as u64,
            packs_damaged: found.damaged,
            packs_left: found.trouble.saturating_add(absent),
            blobs_rescued: buried.blobs.len() as u64,
            packs_unsure: buried.unsure.len() as u64,
            ..Summary::default()
        });
    }
    announce::give_up_own_dead(repository, cache, &options.host, reporter);
    // A prune that begins now waits for this session before it deletes what is counted on here.
    let mut session = announce::begin(repository, cache, &options.host, reporter)?;
    let repaired = repair(repository, &session, options, reporter);
    session.end();
    let mut summary = repaired?;
    if !summary.packs_damaged.is_empty() || summary.blobs_rescued > 0 {
        summary.losses = name_losses(repository, reporter, &options.interrupt)?;
    }
    Ok(summary)
}

fn repair(
    repository: &Repository,
    session: &Session<'_>,
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Summary> {
    let packs = Packs::survey(repository)?;
    packs.refuse_if_most_are_gone(repository)?;
    let Chosen { wanted, absent } = chosen(&packs, &options.packs, reporter)?;
    let found = find(repository, &packs, &wanted, options, reporter)?;
    let (packs_read, packs_left) = (wanted.len() as u64, found.trouble.saturating_add(absent));
    let mut summary = Summary { packs_read, packs_left, ..Summary::default() };
    let mut lost = HashSet::new();
    if !found.damaged.is_empty() {
        if !options.packs_are_damaged {
            refuse_if_most(&packs, &found)?;
        }
        reporter.progress().set_stage("saving blobs");
        let mover = BlobMover::new(repository);
        let named = !options.packs.is_empty();
        let (saved, condemned) =
            save_all(repository, &packs, &found, named, &mover, &options.interrupt, reporter)?;
        mover.finish()?;
        condemn(repository, session, &packs, &condemned, reporter)?;
        let left = found.damaged.len().saturating_sub(condemned.len()) as u64;
        summary.packs_left = summary.packs_left.saturating_add(left);
        summary.packs_damaged = condemned;
        summary.blobs_saved = saved.blobs.len() as u64;
        summary.packs_unknown = saved.unknown;
        lost = saved.lost;
    }
    reporter.progress().set_stage("looking for what is lost");
    let rescued = buried::rescue(repository, reporter, &options.interrupt)?;
    summary.blobs_rescued = rescued.blobs.len() as u64;
    summary.packs_unsure = rescued.left;
    let lost = lost.iter().filter(|blob| !rescued.blobs.contains(*blob));
    summary.blobs_lost = by_kind(lost.map(|(kind, _)| *kind));
    Ok(summary)
}

fn find(
    repository: &Repository,
    packs: &Packs,
    wanted: &[Id],
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Found> {
    let mut found = packs.find_damaged(repository, wanted, reporter, &options.interrupt)?;
    if !options.packs.is_empty() {
        // Whoever names a pack that its disk does not give wants what can be read of it.
        found.trouble = found.trouble.saturating_sub(found.unread.len() as u64);
        found.damaged.append(&mut found.unread);
        found.damaged.sort_unstable();
    }
    Ok(found)
}

/// Refuses to repair where so many packs seem to be damaged that it is doubted.
pub(super) fn refuse_if_most(packs: &Packs, found: &Found) -> Result<()> {
    let at_fault = packs.at_fault(found);
    if found.damaged.is_empty() || !at_fault.is_doubted() {
        return Ok(());
    }
    Err(Error::refused(format!("{}: nothing was changed", at_fault.in_words())).hint(
        "look at this machine and at the store, and try from another one; packs that are damaged indeed, as \
         `strongroom repair packs --dry-run --json` lists them, are repaired by `strongroom repair packs \
         --packs-are-damaged`, or with the same flag by `strongroom repair --from OTHER`",
    ))
}

/// Saves what can be saved from damaged packs; gives those that may be condemned then. `named` says whether somebody chose
/// them one by one.
pub(super) fn save_all(
    repository: &Repository,
    packs: &Packs,
    found: &Found,
    named: bool,
    mover: &BlobMover<'_>,
    interrupt: &Interrupt,
    reporter: &dyn Reporter,
) -> Result<(Saved, Vec<Id>)> {
    let mut saving = packs.saving(repository, found, mover, reporter)?;
    let (mut condemned, mut unknown) = (Vec::new(), 0u64);
    for pack in &found.damaged {
        interrupt.check()?;
        let name = format!("pack {}", pack.short());
        let finding = match saving.pack(pack) {
            Ok(Salvage::Done) => {
                condemned.push(*pack);
                continue;
            }
            // An index object that cannot be read now may be the one that names it, and may be brought back.
            Ok(Salvage::Unknown)
                if packs.index_is_whole() || named || nothing_is_lacking(repository, interrupt)? =>
            {
                condemned.push(*pack);
                unknown = unknown.saturating_add(1);
                Finding::warning(name, "its table cannot be read: what was in it is not known")
            }
            Ok(Salvage::Unknown) => {
                let cause =
                    "is in no index that can be read, and its own table is damaged: it is left as it is";
                let gives_up = format!("`strongroom repair packs {}` gives up what was in it", pack.short());
                Finding::problem(name, cause).with_hint(format!(
                    "run `strongroom repair index` first, a backup, or `strongroom repair --from OTHER`; then {gives_up}"
                ))
            }
            Ok(Salvage::Left(cause)) => Finding::problem(name, format!("{cause}; it is left as it is")),
            Err(error) if error.kind() == ErrorKind::RoleNotAllowed => left_by_role(name, &error),
            Err(error) => return Err(error),
        };
        reporter.report(finding);
    }
    Ok((Saved { unknown, ..saving.saved() }, condemned))
}

/// Whether every snapshot has all that it needs, by what the index says that can be read.
fn nothing_is_lacking(repository: &Repository, interrupt: &Interrupt) -> Result<bool> {
    Ok(name_losses(repository, &Collector::default(), interrupt)? == 0)
}

fn left_by_role(name: String, error: &Error) -> Finding {
    let finding = Finding::problem(name, format!("is damaged and left as it is: {}", error.chain()));
    match error.next_step() {
        Some(step) => finding.with_hint(step),
        None => finding,
    }
}

/// Condemns packs, and takes them out of the index: what they lost then counts as lost, and what they held has new
/// places.
pub(super) fn condemn(
    repository: &Repository,
    session: &Session<'_>,
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
    // Where the session was given up, a prune did not wait for it. The packs are condemned now and still named: the next
    // run takes from them what that prune deleted elsewhere.
    if repository.list_ids(ObjectKind::Abandoned)?.contains(session.id()) {
        let cause =
            "this repair was given up by somebody else before it could take damaged packs out of the index";
        return Err(Error::new(ErrorKind::Abandoned, cause).hint(
            "run it again before the next `strongroom prune`, and do not unlock the repository meanwhile",
        ));
    }
    let without: HashSet<Id> = damaged.iter().copied().collect();
    // Not to be interrupted: it is as good as done, and a run that dies here is finished by the next.
    index::run_without(repository, &without, reporter, &Interrupt::default())?;
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
struct Chosen {
    wanted: Vec<Id>,
    /// How many were named and are not there.
    absent: u64,
}

/// Finds the packs that are meant. One that is not there keeps no other from being repaired.
fn chosen(packs: &Packs, names: &[String], reporter: &dyn Reporter) -> Result<Chosen> {
    let mut all: Vec<Id> = packs.present.keys().copied().collect();
    all.sort_unstable();
    if names.is_empty() {
        return Ok(Chosen { wanted: all, absent: 0 });
    }
    let (mut wanted, mut absent) = (Vec::new(), Vec::new());
    for name in names {
        let prefix = name.to_ascii_lowercase();
        if prefix.len() < 4 {
            return Err(Error::refused(format!("{name:?} names no pack"))
                .hint("give at least four digits of its id, as `strongroom check` shows them"));
        }
        let named: Vec<Id> = all.iter().filter(|pack| pack.to_hex().starts_with(&prefix)).copied().collect();
        match named.as_slice() {
            [pack] => wanted.push(*pack),
            [] if packs.condemned.iter().any(|pack| pack.to_hex().starts_with(&prefix)) => {
                let cause = "is condemned already: the next `strongroom prune` deletes it";
                reporter.report(Finding::warning(format!("pack {name}"), cause));
            }
            [] => absent.push(name),
            _ => return Err(Error::refused(format!("{name} names several packs")).hint("give more digits")),
        }
    }
    let hint =
        "a pack that is missing cannot be repaired: `strongroom repair --from` may bring back what it held";
    if let ([name, ..], true) = (absent.as_slice(), absent.len() == names.len()) {
        return Err(Error::missing(format!("there is no pack {name}")).hint(hint));
    }
    for name in &absent {
        reporter.report(Finding::problem(format!("pack {name}"), "is not there").with_hint(hint));
    }
    wanted.sort_unstable();
    wanted.dedup();
    Ok(Chosen { wanted, absent: absent.len() as u64 })
}
