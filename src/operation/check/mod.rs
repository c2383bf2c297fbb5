//! Check: is everything there that the snapshots need, and is it what it should be?
//!
//! Without reading data: every small object opens, every pack that an index names is listed with its size, every
//! tree can be walked, and every chunk has a place. With it: packs are read whole, and name, table and each blob are
//! checked. Whatever is damaged is told with the snapshots and files that suffer, and with the commands that mend it.
//!
//! Invariants: nothing in the store is changed. Damage is a finding, never the end of the check. A pack is called lost
//! only by an index that was read after it was missed: a prune may have moved what was in it.

mod doubts;
mod faults;
pub mod keyless;
mod look;
mod losses;
mod outcome;
pub(crate) mod pack;
pub(crate) mod places;
mod reading;
mod small;
mod subset;
mod suffer;
mod telling;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::backend::ObjectKind;
use crate::error::Result;
use crate::format::blob::{BlobKind, Class};
use crate::format::key_slot::Role;
use crate::format::node::Timestamp;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::{Damage, Finding, Reporter, Severity};
use crate::repository::Repository;
use crate::repository::host;
use crate::repository::index::{Index, ReadObjects};
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::repository::verified::JustRead;

use faults::{Fault, Mend};
use look::{Look, Unnamed};
use losses::{Holder, Losses};
use places::{at, without_good_copy};
use reading::{Reading, State};

pub use outcome::{Read, Remembered, Summary};
pub use subset::Subset;

/// How often it is looked again where packs vanish meanwhile.
const LOOKS_MAX: usize = 5;

/// What to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Which packs are read; none where nothing is said.
    pub read: Option<Subset>,
    /// The time at which this is; for what is remembered of packs.
    pub now: Timestamp,
}

/// Checks a repository; with `read_data`, all of its bytes.
pub fn run(
    repository: &Repository,
    read_data: bool,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<Summary> {
    let options = Options { read: read_data.then_some(Subset::All), now: host::now() };
    run_with(repository, &options, reporter, interrupt)
}

/// Checks a repository as the options say.
pub fn run_with(
    repository: &Repository,
    options: &Options,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<Summary> {
    repository.keyring().require(Role::Maintain, "checking a repository")?;
    let mut check = Check {
        repository,
        reporter,
        interrupt,
        damages: Vec::new(),
        doubted: false,
        summary: Summary::default(),
    };
    check.small_objects()?;
    check.everything_else(options)?;
    check.summary.finish(&check.damages, check.doubted);
    Ok(check.summary)
}

/// Names the files that have lost something, as far as the index and the listing of packs tell; gives how many
/// there are.
pub(crate) fn name_losses(
    repository: &Repository,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<u64> {
    let mut check = Check {
        repository,
        reporter,
        interrupt,
        damages: Vec::new(),
        doubted: false,
        summary: Summary::default(),
    };
    let read = ReadObjects::read(repository)?;
    let listed = repository.backend().list(ObjectKind::Pack)?;
    let present: HashSet<Id> = listed.into_iter().map(|pack| pack.id).collect();
    let reader = BlobReader::with_index(repository, Index::build(&read, &|pack| present.contains(pack))?);
    let (unnamed, bad) = (HashSet::new(), Bad::new());
    let look = losses::Look {
        reader: &reader,
        wide: None,
        unnamed: &unnamed,
        condemned: &unnamed,
        bad: &bad,
        interrupt,
    };
    let found = check.losses(&look, &repository.snapshots()?.snapshots)?;
    let places = found.places;
    check.tell_losses(found, Vec::new(), &HashMap::new(), &HashSet::new());
    Ok(places)
}

struct Check<'a> {
    repository: &'a Repository,
    reporter: &'a dyn Reporter,
    interrupt: &'a Interrupt,
    damages: Vec<Damage>,
    /// Whether so much seems to be gone or damaged that nothing is to be mended before somebody has looked at the store.
    doubted: bool,
    summary: Summary,
}

/// What is known before packs without an index are taken into account.
#[derive(Clone, Copy)]
struct Known<'a> {
    look: &'a Look,
    reading: &'a Reading<'a>,
    bad: &'a Bad,
    found: &'a [Snapshot],
}

/// Blobs of which no whole copy is known.
pub(crate) type Bad = HashSet<(BlobKind, Id)>;

impl<'a> Check<'a> {
    /// Tells of something damaged.
    fn damage(&mut self, finding: Finding, damage: Damage) {
        self.count(&finding);
        self.reporter.report_damage(finding, &damage);
        self.damages.push(damage);
    }

    fn problem(&mut self, finding: Finding) {
        self.count(&finding);
        self.reporter.report(finding);
    }

    fn count(&mut self, finding: &Finding) {
        if finding.severity == Severity::Problem {
            self.summary.problems = self.summary.problems.saturating_add(1);
        }
    }

    fn everything_else(&mut self, options: &Options) -> Result<()> {
        let mut reading = Reading::new(self.repository, self.reporter, self.interrupt);
        let look = match self.settled_look(options, &mut reading) {
            Ok(look) => look,
            Err(error) => {
                // Nobody knows yet whom it hurts; what was found is told all the same.
                self.tell_unfinished(reading.faults, &HashSet::new());
                return Err(error);
            }
        };
        self.summary.suggest_prune = look.listed.iter().any(|pack| look.condemned.contains(&pack.id));
        self.summary.packs = look.listed.len() as u64;
        self.summary.snapshots = 0;
        let found = self.snapshots()?;
        let mut faults = pack_faults(&look, &mut reading);
        let mut unnamed = look.unnamed(self.repository, false, self.interrupt)?;
        let (bad, blobs) = bad_blobs(&look.index, &look, &reading)?;
        self.summary.blobs = blobs;
        let known = Known { look: &look, reading: &reading, bad: &bad, found: &found };
        let mut losses = self.losses_of(&known, &mut unnamed);
        if look.has_buried()
            && losses.as_ref().is_ok_and(|losses| losses.hurts.contains_key(&Holder::Nowhere))
        {
            // What is in no pack that counts may lie in one that was condemned while it could not be read.
            unnamed = look.unnamed(self.repository, true, self.interrupt)?;
            let without = unnamed.not_whole.drain().map(|(pack, blobs)| (pack, State::Without(blobs)));
            reading.states.extend(without);
            let known = Known { look: &look, reading: &reading, bad: &bad, found: &found };
            losses = self.losses_of(&known, &mut unnamed);
        }
        faults.append(&mut unnamed.faults);
        let mut losses = match losses {
            Ok(losses) => losses,
            Err(error) => {
                self.tell_doubts_of_packs(&look, &mut faults, &mut Losses::default(), &found);
                self.tell_unfinished(faults, &look.condemned);
                return Err(error);
            }
        };
        let wide_bad = unnamed.bad.as_ref().unwrap_or(&bad);
        let lost = lost_of(&look.index, &faults, wide_bad)?;
        self.tell_doubts(&look, &mut faults, &mut losses, &found)?;
        self.tell_index(&look.read, losses.hurts.get(&Holder::Unnamed), unnamed.whole.len() as u64);
        self.tell_losses(losses, faults, &lost, &look.condemned);
        Ok(())
    }

    /// What snapshots lose, by what the index and packs without one say.
    fn losses_of(&mut self, known: &Known<'_>, unnamed: &mut Unnamed) -> Result<Losses> {
        let Known { look, reading, bad, found } = *known;
        unnamed.bad = match &unnamed.index {
            Some(index) => Some(bad_blobs(index, look, reading)?.0),
            None => None,
        };
        let reader = BlobReader::with_index(self.repository, Index::build(&look.read, &|_| true)?);
        let wide = unnamed.index.take().map(|index| BlobReader::with_index(self.repository, index));
        let all: HashSet<Id> = unnamed.whole.union(&unnamed.condemned).copied().collect();
        let trees = losses::Look {
            reader: &reader,
            wide: wide.as_ref(),
            unnamed: &all,
            condemned: &unnamed.condemned,
            bad: unnamed.bad.as_ref().unwrap_or(bad),
            interrupt: self.interrupt,
        };
        self.losses(&trees, found)
    }

    /// Looks, and reads what is wanted, until nothing vanishes any more while it is read.
    fn settled_look(&mut self, options: &Options, reading: &mut Reading<'a>) -> Result<Look> {
        let mut chosen: Option<HashSet<Id>> = None;
        let mut look = Look::take(self.repository)?;
        if let Some(subset) = options.read {
            self.warn_of_sealed();
            chosen = self.choose(subset, &look, options.now)?;
        }
        for _ in 0..LOOKS_MAX {
            let suspect: HashSet<Id> = look.other_sizes().into_iter().map(|(pack, ..)| pack).collect();
            let wanted = |pack: &Id| {
                let asked =
                    options.read.is_some() && chosen.as_ref().is_none_or(|chosen| chosen.contains(pack));
                asked || suspect.contains(pack)
            };
            let vanished = reading.read(&look.index, &look.listed, &wanted);
            if options.read.is_some() {
                self.remember(reading, &look, options.now);
            }
            let vanished = vanished?;
            if vanished.is_empty() && look.missing.is_empty() {
                break;
            }
            // A prune may have moved what lay there, and named it anew before it deleted the pack.
            let again = Look::take(self.repository)?;
            let same = again.read.listed() == look.read.listed() && again.missing == look.missing;
            look = again;
            if same {
                break;
            }
        }
        if look.condemned_fault.is_some() {
            self.records_of_prunes()?;
        }
        Ok(look)
    }

    fn warn_of_sealed(&mut self) {
        let opens = [Class::Metadata, Class::Data].map(|class| self.repository.keyring().opens(class));
        if opens.contains(&false) {
            let cause = "are checked by name and table only: opening them needs a full key";
            self.problem(Finding::warning("the contents of files", cause));
        }
    }

    /// The packs to be read; nothing where that is all.
    fn choose(&mut self, subset: Subset, look: &Look, now: Timestamp) -> Result<Option<HashSet<Id>>> {
        if subset == Subset::All {
            return Ok(None);
        }
        let named: HashSet<Id> = look.index.packs().iter().map(|pack| pack.id).collect();
        let packs: Vec<(Id, u64)> = look
            .listed
            .iter()
            .filter(|pack| named.contains(&pack.id))
            .map(|pack| (pack.id, pack.size))
            .collect();
        let verified = self.repository.verified();
        subset::choose(subset, &packs, verified.as_ref(), now.seconds)
            .map(|chosen| Some(chosen.into_iter().collect()))
    }

    /// Keeps which packs were read, and says how far all of them have been.
    fn remember(&mut self, reading: &Reading<'_>, look: &Look, now: Timestamp) {
        let named: HashSet<Id> = look.index.packs().iter().map(|pack| pack.id).collect();
        let present: HashSet<Id> =
            look.listed.iter().map(|pack| pack.id).filter(|pack| named.contains(pack)).collect();
        let known: HashSet<Id> =
            named.iter().copied().chain(look.listed.iter().map(|pack| pack.id)).collect();
        let (whole, damaged) = reading.verdicts();
        let read = JustRead { whole: &whole, damaged: &damaged, known: &known, now: now.seconds };
        let kept = self.repository.remember_verified(&read);
        let verified = self.repository.verified().filter(|_| kept).map(|verdicts| verdicts.whole);
        let bytes_of = |packs: &HashSet<Id>| {
            let sizes = look.listed.iter().filter(|pack| packs.contains(&pack.id)).map(|pack| pack.size);
            sizes.fold(0u64, u64::saturating_add)
        };
        self.summary.bytes_read = reading.bytes;
        self.summary.packs_read = reading.states.len() as u64;
        self.summary.read = Some(Read::of(&present, bytes_of(&present), verified.as_ref()));
    }

    fn losses(&mut self, look: &losses::Look<'_>, snapshots: &[Snapshot]) -> Result<Losses> {
        self.reporter.progress().set_stage("walking the trees of snapshots");
        let losses = look.losses(snapshots)?;
        self.summary.suffering.extend(&losses.suffering);
        Ok(losses)
    }
}

/// Everything that is wrong with packs that an index names.
fn pack_faults(look: &Look, reading: &mut Reading<'_>) -> Vec<Fault> {
    let mut faults = std::mem::take(&mut reading.faults);
    let known: HashSet<Id> = faults.iter().map(|fault| fault.pack).collect();
    for pack in &look.missing {
        let cause = "is missing, and the index names blobs in it".to_owned();
        faults.push(Fault { pack: *pack, cause, hint: None, mend: Mend::Index, unknown: false });
    }
    let mut told = HashSet::new();
    for (pack, size, said) in look.other_sizes() {
        // It was read, so that it is known which of the two is wrong.
        let wrong = format!("has {size} bytes where the index says {said}");
        if let Some(fault) = faults.iter_mut().find(|fault| fault.pack == pack) {
            if told.insert(pack) && known.contains(&pack) {
                fault.cause = format!("{wrong}, and {}", fault.cause);
            }
        } else if told.insert(pack) {
            let cause = format!("{wrong}; the pack is whole, and the index wrong");
            faults.push(Fault { pack, cause, hint: None, mend: Mend::IndexByPacks, unknown: false });
        }
    }
    faults.sort_by_key(|fault| fault.pack);
    faults
}

/// Blobs of an index of which no place is good, as far as packs were read, and how many places there are.
fn bad_blobs(index: &Index, look: &Look, reading: &Reading<'_>) -> Result<(Bad, u64)> {
    let sizes = look.sizes();
    let missing: BTreeSet<&Id> = look.missing.iter().collect();
    let usable: Vec<bool> = index
        .packs()
        .iter()
        .map(|pack| {
            // Of a pack that is damaged each blob was looked at, also where it is shorter than it was.
            let judged = matches!(reading.states.get(&pack.id), Some(State::Without(_)));
            let fits = judged || sizes.get(&pack.id).is_none_or(|size| *size >= pack.size);
            !missing.contains(&pack.id) && fits
        })
        .collect();
    let states: Vec<Option<&State>> = index.packs().iter().map(|pack| reading.states.get(&pack.id)).collect();
    without_good_copy(index, &|_, place| {
        let usable = at(&usable, place.pack).is_some_and(|usable| *usable);
        usable
            && match at(&states, place.pack).copied().flatten() {
                None | Some(State::Whole) => true,
                Some(State::Without(bad)) => !bad.contains(&(place.kind, place.id)),
                Some(State::Nothing) => false,
            }
    })
}

/// How many blobs of each pack at fault have no whole copy.
fn lost_of(index: &Index, faults: &[Fault], bad: &Bad) -> Result<HashMap<Id, u64>> {
    let mut lost: HashMap<Id, u64> = faults.iter().map(|fault| (fault.pack, 0)).collect();
    if lost.is_empty() || bad.is_empty() {
        return Ok(lost);
    }
    for place in index.all() {
        let (_, place) = place?;
        if bad.contains(&(place.kind, place.id))
            && let Some(count) = lost.get_mut(&index.pack(&place)?.id)
        {
            *count = count.saturating_add(1);
        }
    }
    Ok(lost)
}
