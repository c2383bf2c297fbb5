//! Repairing snapshots: each that lost something is stored anew without it.
//!
//! Invariants: what is merely not to be had now is never taken for lost. The old snapshot stays unless it is told
//! otherwise. Nothing is forgotten where what seems to be lost may be there: in packs that are not mounted, cut short, named
//! by index objects that cannot be read, or condemned and whole. One of which nothing is left is forgotten only where a second
//! look, taken just before, finds the same. Where nothing or little is left of most of them, these are given up only by their
//! names. A copy that holds no file is stored only to forget the old one, or for one that was named.

mod doubt;

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::format::snapshot::Change;
use crate::id::Id;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::snapshot::{Snapshot, Snapshots};

use crate::operation::doubt::{is_ruined, mostly_ruined, ruined_in_words};
use crate::operation::recommit::{self, Around, Draft, Made, Order};

/// How to repair.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether every pack is read, to see what of it is lost.
    pub read_data: bool,
    /// Whether the damaged snapshots are forgotten.
    pub forget: bool,
    /// Whether somebody named the snapshots, each by itself.
    pub named: bool,
}

impl Options {
    fn order(self) -> Order<'static> {
        Order {
            change: Change::Repaired,
            leave_out: None,
            forget: self.forget,
            read_data: self.read_data,
            edit: &|_| {},
        }
    }
}

/// A snapshot that lost something.
#[derive(Clone, Debug)]
pub struct Damaged {
    /// It.
    pub snapshot: Snapshot,
    /// What it lost, and what is left.
    pub draft: Draft,
    /// The snapshot that holds what is left of it, where it was repaired before.
    pub repaired_as: Option<Id>,
}

/// Which snapshots are known to be damaged, because a live one says that it was repaired from them, itself or by
/// way of others; each with the live one.
pub fn known_damaged(snapshots: &Snapshots) -> HashMap<Id, Id> {
    let all = snapshots.snapshots.iter().chain(&snapshots.forgotten);
    let by_id: HashMap<Id, &Snapshot> = all.map(|snapshot| (snapshot.id, snapshot)).collect();
    let mut damaged = HashMap::new();
    for live in &snapshots.snapshots {
        let mut original = live.original();
        // Whoever may sign them could write manifests that name each other.
        for _ in 0..by_id.len() {
            let Some(said) = original else { break };
            if said.change == Change::Repaired {
                damaged.insert(said.made_from, live.id);
            }
            original = by_id.get(&said.made_from).and_then(|before| before.original());
        }
    }
    damaged
}

/// Finds which of the snapshots lost something. Stores nothing.
pub fn find(
    repository: &Repository,
    all: &Snapshots,
    wanted: &[Snapshot],
    options: Options,
    around: Around<'_>,
) -> Result<Vec<Damaged>> {
    around.reporter.progress().set_stage("walking the trees of snapshots");
    // What a snapshot was repaired as may have lost something since, whether it is wanted or not.
    let looked_at: Vec<Snapshot> = if wanted.is_empty() { Vec::new() } else { all.snapshots.clone() };
    let drafts = recommit::plan(repository, &options.order(), &looked_at, around)?;
    let drafts: HashMap<Id, Draft> = looked_at.iter().map(|snapshot| snapshot.id).zip(drafts).collect();
    let draft_of = |id: &Id| drafts.get(id);
    let is_wanted: HashSet<Id> = wanted.iter().map(|snapshot| snapshot.id).collect();
    let mut found = Vec::new();
    for snapshot in wanted {
        let Some(draft) = draft_of(&snapshot.id).filter(|draft| !draft.is_same()) else { continue };
        let holds_the_rest = |other: &&Snapshot| {
            let was_made_of_it = || {
                let original = other.original().map(|original| (original.change, original.made_from));
                original == Some((Change::Repaired, snapshot.id))
            };
            // One that lost something as well is stored anew itself, if it is wanted.
            let will_be = || is_wanted.contains(&other.id) && was_made_of_it();
            other.id != snapshot.id
                && other.origin().snapshot == snapshot.origin().snapshot
                && draft_of(&other.id)
                    .is_some_and(|rest| rest.root == draft.root && (rest.is_same() || will_be()))
        };
        let repaired = all.snapshots.iter().filter(|_| draft.root.is_some()).find(holds_the_rest);
        let repaired_as = repaired.map(|other| other.id);
        found.push(Damaged { snapshot: snapshot.clone(), draft: draft.clone(), repaired_as });
    }
    Ok(found)
}

/// What would be left of snapshots that were repaired, by what the index says. Stores nothing.
pub(in crate::operation) fn drafts(
    repository: &Repository,
    snapshots: &[Snapshot],
    around: Around<'_>,
) -> Result<Vec<Draft>> {
    recommit::plan(repository, &Options::default().order(), snapshots, around)
}

/// What is not done to snapshots unless somebody names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldBack {
    /// Left as they are: so little is left of so many, or no file is left.
    pub held: HashSet<Id>,
    /// Stored anew, and forgotten afterwards only by their names: little is left of them.
    pub by_name: HashSet<Id>,
}

/// What became of those that were not stored anew, or are not to be forgotten without being named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Forgotten, because nothing is left of them.
    pub forgotten: HashSet<Id>,
    /// What was not done.
    pub held_back: HeldBack,
}

/// Stores what is left of damaged snapshots anew, but for those that were repaired before.
///
/// # Errors
/// `Refused` where what seems to be lost may be there; whatever keeps the repository from being listed or written.
pub fn run(
    repository: &Repository,
    damaged: &[Damaged],
    options: Options,
    around: Around<'_>,
    told: &mut dyn FnMut(&Snapshot, Made),
) -> Result<Ended> {
    if damaged.is_empty() {
        return Ok(Ended::default());
    }
    if let Some((cause, step)) = doubt::doubt(repository, options.forget, around.interrupt)? {
        return Err(Error::refused(format!("nothing was stored or forgotten: {cause}")).hint(step));
    }
    let held_back = held_back(repository, damaged, options, around.reporter)?;
    let is_held = |damaged: &Damaged| held_back.held.contains(&damaged.snapshot.id);
    let fresh = damaged
        .iter()
        .filter(|damaged| damaged.repaired_as.is_none() && damaged.draft.root.is_some() && !is_held(damaged));
    let fresh = fresh.map(|damaged| damaged.snapshot.clone()).collect();
    let mut made_anew: HashMap<Id, Id> = HashMap::new();
    let mut told_too = |old: &Snapshot, made: Made| {
        if let Made::New(id, _) = &made {
            made_anew.insert(old.id, *id);
        }
        told(old, made);
    };
    recommit::commit(repository, &options.order(), fresh, around, &mut told_too)?;
    if !options.forget {
        return Ok(Ended { held_back, ..Ended::default() });
    }
    forget_repaired(repository, damaged, &held_back.held, &made_anew, around)?;
    let topless = damaged.iter().filter(|damaged| damaged.draft.root.is_none() && !is_held(damaged));
    let topless = topless.map(|damaged| damaged.snapshot.id).collect();
    let forgotten = forget_ruined(repository, &topless, options, around)?;
    Ok(Ended { forgotten, held_back })
}

/// What is not done, or would not be, without names: so little is left of so many that it is doubted, or no file is left of
/// one that is not to be forgotten. Where it keeps them from being forgotten, it is told.
///
/// # Errors
/// Whatever keeps the snapshots from being listed.
pub fn held_back(
    repository: &Repository,
    damaged: &[Damaged],
    options: Options,
    reporter: &dyn Reporter,
) -> Result<HeldBack> {
    let ruined: Vec<&Damaged> =
        damaged.iter().filter(|damaged| is_ruined(&damaged.snapshot, &damaged.draft)).collect();
    let ids: HashSet<Id> = ruined.iter().map(|damaged| damaged.snapshot.id).collect();
    if ids.is_empty() || options.named && options.forget {
        return Ok(HeldBack::default());
    }
    let live = repository.snapshots()?.snapshots;
    let is_doubted = mostly_ruined(&ids, &live);
    if options.forget {
        if !is_doubted {
            return Ok(HeldBack::default());
        }
        let (cause, step) = doubted(ids.len(), live.len());
        reporter.report(kept(ids.len(), &cause, step));
        return Ok(HeldBack { held: ids, ..HeldBack::default() });
    }
    // A copy without a file is worth nothing, and would be one more to forget.
    let without_files = |damaged: &&&Damaged| {
        !options.named && damaged.draft.kept.files == 0 && damaged.repaired_as.is_none()
    };
    let held: HashSet<Id> = ruined.iter().filter(without_files).map(|damaged| damaged.snapshot.id).collect();
    // Who named some may forget all later, of which these are a part.
    let needs_name = options.named || is_doubted;
    let by_name = ids.difference(&held).filter(|_| needs_name).copied().collect();
    Ok(HeldBack { held, by_name })
}

fn doubted(lost: usize, all: usize) -> (String, String) {
    let step =
        "look at the store; `strongroom repair snapshots --forget SNAPSHOT...` gives up those that are named";
    (ruined_in_words(lost, all), step.to_owned())
}

fn kept(count: usize, cause: &str, step: String) -> Finding {
    let subject = if count == 1 { "the ruined snapshot" } else { "the ruined snapshots" };
    Finding::problem(subject, format!("not forgotten: {cause}")).with_hint(step)
}

/// Forgets those of which nothing is left; gives them.
fn forget_ruined(
    repository: &Repository,
    ruined: &HashSet<Id>,
    options: Options,
    around: Around<'_>,
) -> Result<HashSet<Id>> {
    if ruined.is_empty() {
        return Ok(HashSet::new());
    }
    let kept = |cause: &str, step: String| {
        around.reporter.report(kept(ruined.len(), cause, step));
        Ok(HashSet::new())
    };
    if let Some((cause, step)) = doubt::doubt(repository, options.forget, around.interrupt)? {
        return kept(&cause, step);
    }
    // Somebody may have stored what was lost, or forgotten one of them, since they were looked at.
    let all = repository.snapshots()?.snapshots;
    let live: Vec<Snapshot> = all.iter().filter(|snapshot| ruined.contains(&snapshot.id)).cloned().collect();
    let drafts = recommit::plan(repository, &options.order(), &live, around)?;
    let lost: Vec<&Snapshot> = live
        .iter()
        .zip(drafts)
        .filter(|(_, draft)| draft.root.is_none())
        .map(|(snapshot, _)| snapshot)
        .collect();
    let ids: HashSet<Id> = lost.iter().map(|snapshot| snapshot.id).collect();
    if !options.named && mostly_ruined(&ids, &all) {
        let (cause, step) = doubted(lost.len(), all.len());
        return kept(&cause, step);
    }
    let mut forgotten = HashSet::new();
    for snapshot in lost {
        around.interrupt.check()?;
        repository.put_forgotten(&snapshot.id, Some(snapshot.used_number()))?;
        forgotten.insert(snapshot.id);
    }
    Ok(forgotten)
}

/// Forgets what was repaired before, where that which holds the rest of it is still there.
fn forget_repaired(
    repository: &Repository,
    damaged: &[Damaged],
    held: &HashSet<Id>,
    made_anew: &HashMap<Id, Id>,
    around: Around<'_>,
) -> Result<()> {
    let repaired: HashMap<Id, Id> =
        damaged.iter().filter_map(|damaged| Some((damaged.snapshot.id, damaged.repaired_as?))).collect();
    for done in damaged.iter().filter(|done| !held.contains(&done.snapshot.id)) {
        let Some(mut rest) = done.repaired_as else { continue };
        around.interrupt.check()?;
        // That one may have lost something since, and have been repaired in turn.
        for _ in 0..damaged.len() {
            let Some(next) = repaired.get(&rest).or_else(|| made_anew.get(&rest)) else { break };
            rest = *next;
        }
        // Somebody may have forgotten it since it was looked for, and then this one is the last. Or it lost something
        // as well, and could not be stored anew.
        let is_whole = damaged.iter().all(|damaged| damaged.snapshot.id != rest);
        if is_whole && repository.snapshots()?.snapshots.iter().any(|live| live.id == rest) {
            repository.put_forgotten(&done.snapshot.id, Some(done.snapshot.used_number()))?;
        } else {
            let subject = format!("snapshot {}", done.snapshot.id.short());
            let rest = rest.short();
            let cause =
                format!("is kept: {rest}, which held what is left of it, is gone or not whole any more");
            let finding = Finding::problem(subject, cause);
            around.reporter.report(finding.with_hint("run `strongroom repair snapshots` again"));
        }
    }
    Ok(())
}
