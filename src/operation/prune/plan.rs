//! What is worth doing: which packs go as they are, which are emptied first, and what stays unused.
//!
//! Invariant: a plan names only packs that count; of a pack that is emptied, every kept blob is moved.

use std::collections::{HashMap, HashSet};

use super::Options;
use super::survey::Survey;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::repository::packer::PACK_TARGET;

/// Packs smaller than this part of a full one are small.
const SMALL_PART: u64 = 4;

/// How much may stay in the store that nothing needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Hundredths of a per cent of the store.
    Part(u32),
    /// Bytes.
    Bytes(u64),
    /// All of it: only packs go of which nothing is needed.
    Unlimited,
}

/// A number of packs and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Packs.
    pub packs: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Amount {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { packs: self.packs.saturating_add(other.packs), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// What a prune found and means to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// All packs in the store.
    pub total: Amount,
    /// Bytes of blobs that snapshots need, each counted once.
    pub used_bytes: u64,
    /// Blobs that snapshots need.
    pub used_blobs: u64,
    /// Bytes of blobs that nothing needs, second copies among them.
    pub unused_bytes: u64,
    /// Blobs that nothing needs.
    pub unused_blobs: u64,
    /// Packs of which nothing is needed.
    pub unused_packs: Amount,
    /// Packs that no index names, as crashed runs leave them.
    pub unnamed_packs: Amount,
    /// Packs that no index names and that stay, for a running backup may be filling them.
    pub unnamed_kept: Amount,
    /// Packs that are emptied and then go.
    pub repacked: Amount,
    /// Bytes that are copied out of them, and out of packs that were condemned earlier.
    pub moved_bytes: u64,
    /// Packs that earlier runs condemned and that are still there.
    pub condemned_earlier: Amount,
    /// Bytes that will be free, once all of this is done.
    pub freed_bytes: u64,
    /// Bytes that nothing needs and that stay, for the packs they lie in are not worth emptying.
    pub left_bytes: u64,
}

/// What the plan takes.
#[derive(Default)]
pub(super) struct Work {
    /// Packs to condemn.
    pub(super) condemned: Vec<Id>,
    /// Packs to be emptied, by their number in the index, and the places outside of them to be moved as well.
    pub(super) moves: Moves,
}

/// What is to be moved.
#[derive(Default)]
pub(super) struct Moves {
    /// Packs whose kept blobs are moved, by their number in the index.
    pub(super) emptied: HashSet<usize>,
    /// Single places.
    pub(super) places: Vec<u32>,
}

/// Makes the plan; `running` says whether a backup may be filling packs that no index names yet.
pub(super) fn make(survey: &Survey, options: &Options, running: bool) -> Result<(Plan, Work)> {
    let mut plan = Plan::default();
    let mut work = Work::default();
    for size in survey.packs.values() {
        plan.total = plan.total.plus(one(*size));
    }
    take_unnamed(survey, running, &mut plan, &mut work);
    let mut candidates = Vec::new();
    let kept = kept_by_pack(survey);
    for (number, (pack, uses)) in survey.index.packs().iter().zip(&survey.uses).enumerate() {
        plan.used_bytes = plan.used_bytes.saturating_add(uses.kept_bytes);
        plan.used_blobs = plan.used_blobs.saturating_add(uses.kept_blobs);
        if uses.condemned {
            plan.condemned_earlier = plan.condemned_earlier.plus(one(pack.size));
            continue;
        }
        plan.unused_bytes = plan.unused_bytes.saturating_add(uses.unused_bytes);
        plan.unused_blobs = plan.unused_blobs.saturating_add(uses.unused_blobs);
        if kept.get(&pack.id).copied().unwrap_or(0) == 0 {
            plan.unused_packs = plan.unused_packs.plus(one(pack.size));
            work.condemned.push(pack.id);
        } else if kept.get(&pack.id) == Some(&uses.kept_blobs) {
            candidates.push(number);
        }
    }
    for number in &survey.homeless {
        let bytes = u64::from(survey.index.place(*number)?.stored_length);
        plan.used_bytes = plan.used_bytes.saturating_add(bytes);
        plan.used_blobs = plan.used_blobs.saturating_add(1);
        plan.moved_bytes = plan.moved_bytes.saturating_add(bytes);
    }
    work.moves.places.clone_from(&survey.homeless);
    take_partly_used(survey, options, candidates, &mut plan, &mut work);
    let gone = plan.unused_packs.plus(plan.unnamed_packs).plus(plan.repacked).plus(plan.condemned_earlier);
    plan.freed_bytes = gone.bytes.saturating_sub(plan.moved_bytes);
    refuse_contradiction(survey, &work)?;
    Ok((plan, work))
}

/// Blobs that are kept in each pack, whatever index objects say of its size: it may have several numbers.
fn kept_by_pack(survey: &Survey) -> HashMap<Id, u64> {
    let mut kept: HashMap<Id, u64> = HashMap::new();
    for (pack, uses) in survey.index.packs().iter().zip(&survey.uses) {
        let blobs = kept.entry(pack.id).or_default();
        *blobs = blobs.saturating_add(uses.kept_blobs);
    }
    kept
}

/// No pack goes in which a blob is kept that is not moved: looked at once more, for all depends on it.
fn refuse_contradiction(survey: &Survey, work: &Work) -> Result<()> {
    let condemned: HashSet<&Id> = work.condemned.iter().collect();
    let packs = survey.index.packs().iter().zip(&survey.uses).enumerate();
    let mut homes = packs.filter(|(number, (_, uses))| {
        uses.kept_blobs > 0 && !uses.condemned && !work.moves.emptied.contains(number)
    });
    match homes.find(|(_, (pack, _))| condemned.contains(&pack.id)) {
        None => Ok(()),
        Some((_, (pack, _))) => Err(Error::corrupt(format!(
            "nothing is pruned: index objects contradict each other about pack {}",
            pack.id.short()
        ))
        .hint("run `strongroom repair index --read-all-packs`")),
    }
}

fn one(bytes: u64) -> Amount {
    Amount { packs: 1, bytes }
}

/// Packs in no index. Where something is lost, they may hold it.
fn take_unnamed(survey: &Survey, running: bool, plan: &mut Plan, work: &mut Work) {
    for pack in &survey.unnamed {
        let amount = one(survey.packs.get(pack).copied().unwrap_or(0));
        if running || survey.has_losses {
            plan.unnamed_kept = plan.unnamed_kept.plus(amount);
        } else {
            plan.unnamed_packs = plan.unnamed_packs.plus(amount);
            work.condemned.push(*pack);
        }
    }
}

/// Packs that are partly used: those of which least is needed first, until little enough stays unused.
fn take_partly_used(
    survey: &Survey,
    options: &Options,
    mut candidates: Vec<usize>,
    plan: &mut Plan,
    work: &mut Work,
) {
    let size = |number: &usize| survey.index.packs().get(*number).map_or(0, |pack| pack.size);
    let uses = |number: &usize| survey.uses.get(*number).copied().unwrap_or_default();
    // All that is no kept blob is waste: tables and padding grow with each small pack.
    let waste = |number: &usize| size(number).saturating_sub(uses(number).kept_bytes);
    let part = |number: &usize| waste(number).saturating_mul(10_000).checked_div(size(number)).unwrap_or(0);
    candidates.sort_by_key(|number| (std::cmp::Reverse(part(number)), *number));
    let unused = |number: &usize| uses(number).unused_bytes;
    let mut left = candidates.iter().fold(0u64, |sum, number| sum.saturating_add(unused(number)));
    let allowed = allowed(options.max_unused, plan.used_bytes);
    let small = (PACK_TARGET as u64).checked_div(SMALL_PART).unwrap_or(0);
    let mut room = options.max_repack.unwrap_or(u64::MAX);
    let class = |number: &usize| survey.index.packs().get(*number).map(|pack| pack.class);
    let is_small = |number: &usize| options.repack_small && size(number) < small;
    let together: Vec<_> = candidates.iter().filter(|number| is_small(number)).map(class).collect();
    for number in candidates {
        let others = together.iter().filter(|other| **other == class(&number)).count();
        let wanted = unused(&number) > 0 && left > allowed || is_small(&number) && others > 1;
        let bytes = uses(&number).kept_bytes;
        let Some(rest) = room.checked_sub(bytes).filter(|_| wanted) else { continue };
        room = rest;
        left = left.saturating_sub(unused(&number));
        plan.repacked = plan.repacked.plus(one(size(&number)));
        plan.moved_bytes = plan.moved_bytes.saturating_add(bytes);
        work.condemned.extend(survey.index.packs().get(number).map(|pack| pack.id));
        work.moves.emptied.insert(number);
    }
    plan.left_bytes = left;
}

/// Bytes that may stay unused.
fn allowed(limit: Limit, used_bytes: u64) -> u64 {
    match limit {
        Limit::Unlimited => u64::MAX,
        Limit::Bytes(bytes) => bytes,
        Limit::Part(part) => {
            let rest = u64::from(10_000u32.saturating_sub(part)).max(1);
            let bytes = u128::from(used_bytes) * u128::from(part) / u128::from(rest);
            u64::try_from(bytes).unwrap_or(u64::MAX)
        }
    }
}
