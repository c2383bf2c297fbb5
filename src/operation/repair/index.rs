//! Repairing the index from what it is made of: the tables of the packs.
//!
//! Invariants: new objects are stored, seen in a listing and read back before an old one is deleted. Deleted are only objects that
//! were listed before the packs were, and that are damaged or whose every sound record stands in a new one. An object of
//! a format version that is not known is never touched, nor is one that a backup adds meanwhile. Memory holds the names
//! of packs and never all of their tables.

pub(in crate::operation) mod records;
mod survey;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::backend::{ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_slot::Role;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::index::{publish_packs, read_index_object};
use crate::repository::session;

use records::{Records, digest, narrow, read_table};
use survey::Survey;

/// How often it is repaired before somebody must be undoing it.
const ROUNDS_MAX: usize = 5;

/// How to repair.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Take out the names of packs that are gone also where most of them are.
    pub packs_are_gone: bool,
    /// Hold what the index says of every pack against the pack, not only of those that it does not name.
    pub read_all_packs: bool,
    /// Change nothing; tell what would be.
    pub dry_run: bool,
}

/// What was done, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Packs listed.
    pub packs: u64,
    /// Packs read.
    pub packs_read: u64,
    /// Packs named that were in no index.
    pub packs_added: u64,
    /// Packs of which the index said something else than they do.
    pub packs_corrected: u64,
    /// Names of packs that are gone, taken out.
    pub packs_dropped: u64,
    /// Index objects written.
    pub objects_written: u64,
    /// Index objects deleted.
    pub objects_deleted: u64,
    /// Index objects left alone that cannot be read.
    pub objects_unreadable: u64,
    /// Packs that could not be read.
    pub packs_unreadable: u64,
}

/// Repairs the index.
///
/// # Errors
/// `Refused` where most packs are gone and nobody said that they are; whatever keeps the repository from being listed or
/// written. A pack that cannot be read goes to `reporter`.
pub fn run(
    repository: &Repository,
    options: Options,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<Summary> {
    work(repository, None, options, reporter, interrupt)
}

/// The same, and takes packs out of the index that are there and condemned; the names of those that are gone stay.
pub(super) fn run_without(
    repository: &Repository,
    without: &HashSet<Id>,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<Summary> {
    work(repository, Some(without), Options::default(), reporter, interrupt)
}

fn work(
    repository: &Repository,
    without: Option<&HashSet<Id>>,
    options: Options,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<Summary> {
    repository.keyring().require(Role::Maintain, "repairing the index")?;
    let condemned = session::condemned(repository).unwrap_or_else(|error| {
        // Naming a condemned pack does no harm: whoever reads the index looks for the record himself.
        reporter.report(Finding::warning("a prune's record", error.chain()));
        HashSet::new()
    });
    let mut repair = Repair {
        repository,
        options,
        reporter,
        interrupt,
        condemned,
        without,
        tables: HashMap::new(),
        unreadable: HashMap::new(),
        summary: Summary::default(),
    };
    for _ in 0..ROUNDS_MAX {
        interrupt.check()?;
        let survey = Survey::read(repository)?;
        if without.is_none() && !options.packs_are_gone {
            survey.refuse_if_most_are_gone(&repair.condemned)?;
        }
        let plan = repair.plan(&survey)?;
        if options.dry_run || plan.is_empty(&repair) {
            return Ok(repair.finish(&survey, &plan));
        }
        repair.carry_out(&survey, &plan)?;
    }
    Err(Error::new(ErrorKind::Busy, "the repository's index keeps changing").hint("try again in a while"))
}

/// What is to be done.
#[derive(Default)]
struct Plan {
    /// Objects to be written anew, without these packs.
    rewrite: HashMap<Id, HashSet<Id>>,
    /// Packs to be named by what their own tables say.
    name: Vec<Id>,
    /// Of those, the ones that the index named, and wrongly.
    corrected: u64,
    /// Names of packs that are gone.
    dropped: u64,
    /// Damaged objects to be deleted.
    damaged: Vec<Id>,
}

impl Plan {
    fn is_empty(&self, repair: &Repair<'_>) -> bool {
        self.rewrite.is_empty()
            && self.damaged.is_empty()
            && self.name.iter().all(|pack| repair.unreadable.contains_key(pack))
    }
}

struct Repair<'a> {
    repository: &'a Repository,
    options: Options,
    reporter: &'a dyn Reporter,
    interrupt: &'a Interrupt,
    condemned: HashSet<Id>,
    /// Packs that are to be named no more; where nothing is said, those that are gone.
    without: Option<&'a HashSet<Id>>,
    /// What the tables that were read say, as hashes.
    tables: HashMap<Id, Id>,
    /// Packs that cannot be read, and whether it may be their own fault.
    unreadable: HashMap<Id, ErrorKind>,
    summary: Summary,
}

impl Repair<'_> {
    fn plan(&mut self, survey: &Survey) -> Result<Plan> {
        let mut plan = Plan::default();
        let mut named: HashSet<Id> = HashSet::new();
        let mut wrong: HashSet<Id> = HashSet::new();
        for (object, packs) in &survey.objects {
            self.interrupt.check()?;
            let without = |pack: &Id| self.without.is_some_and(|without| without.contains(pack));
            let goes = |pack: &Id| match self.without {
                Some(without) => without.contains(pack),
                None => !survey.present.contains_key(pack),
            };
            let mut leave_out: HashSet<Id> = packs.iter().map(|(pack, _)| *pack).filter(goes).collect();
            plan.dropped = plan.dropped.saturating_add(leave_out.len() as u64);
            let doubtful = |(pack, size): &&(Id, u64)| {
                self.options.read_all_packs && !without(pack)
                    || survey.present.get(pack).is_some_and(|other| other != size)
            };
            if packs.iter().any(|pack| doubtful(&pack)) {
                let wrong_here = self.wrong_records(object, &survey.present)?;
                wrong.extend(&wrong_here);
                leave_out.extend(wrong_here);
            }
            named.extend(packs.iter().map(|(pack, _)| *pack).filter(|pack| !leave_out.contains(pack)));
            if !leave_out.is_empty() {
                plan.rewrite.insert(*object, leave_out);
            }
        }
        let unnamed = survey.present.keys().filter(|pack| !named.contains(*pack));
        plan.name = unnamed
            .filter(|pack| !self.condemned.contains(*pack) || wrong.contains(*pack))
            .copied()
            .collect();
        plan.name.sort_unstable();
        plan.corrected = plan.name.iter().filter(|pack| wrong.contains(*pack)).count() as u64;
        self.read_tables(&plan.name)?;
        // As long as a pack cannot be read, an object that cannot be read may be the one that would name it.
        let all_named = plan.name.iter().all(|pack| !self.unreadable.contains_key(pack));
        if all_named {
            plan.damaged = survey.damaged.iter().map(|(id, _)| *id).collect();
        }
        Ok(plan)
    }

    /// The packs of which an object says something else than they do themselves.
    fn wrong_records(&mut self, object: &Id, present: &HashMap<Id, u64>) -> Result<Vec<Id>> {
        let read = read_index_object(self.repository, object)?;
        let packs: Vec<Id> =
            read.packs.iter().map(|pack| pack.id).filter(|pack| present.contains_key(pack)).collect();
        self.read_tables(&packs)?;
        let mut wrong = Vec::new();
        for pack in read.packs {
            let Some(table) = self.tables.get(&pack.id).copied() else { continue };
            let id = pack.id;
            let (pack, envelopes) = narrow(pack, &read.envelopes)?;
            if digest(&pack, &envelopes) != table {
                wrong.push(id);
            }
        }
        Ok(wrong)
    }

    /// Reads packs that were not read before, to know what their tables say.
    fn read_tables(&mut self, packs: &[Id]) -> Result<()> {
        let unread: Vec<Id> = packs
            .iter()
            .filter(|pack| !self.tables.contains_key(*pack) && !self.unreadable.contains_key(*pack))
            .copied()
            .collect();
        let progress = self.reporter.progress();
        progress.set_stage("reading packs");
        let read: Vec<(Id, Result<Id>)> = unread
            .par_iter()
            .map(|pack| {
                let read = self.interrupt.check().and_then(|()| read_table(self.repository, pack));
                progress.add_files(1);
                (*pack, read.map(|(pack, envelopes)| digest(&pack, &envelopes)))
            })
            .collect();
        for (pack, read) in read {
            match read {
                Ok(table) => {
                    self.summary.packs_read = self.summary.packs_read.saturating_add(1);
                    self.tables.insert(pack, table);
                }
                Err(error) => self.passed_over(pack, error)?,
            }
        }
        Ok(())
    }

    fn passed_over(&mut self, pack: Id, error: Error) -> Result<()> {
        match error.kind() {
            ErrorKind::Interrupted | ErrorKind::RoleNotAllowed => return Err(error),
            // A prune removed it since it was listed.
            ErrorKind::Missing => {}
            kind => {
                let finding = Finding::problem(format!("pack {}", pack.short()), error.chain());
                let next = "`strongroom repair packs` saves what is still whole in it";
                self.reporter.report(if kind == ErrorKind::Corrupt {
                    finding.with_hint(next)
                } else {
                    finding
                });
            }
        }
        self.unreadable.insert(pack, error.kind());
        Ok(())
    }

    /// Stores the new objects, sees that they are listed, and deletes the old ones.
    fn carry_out(&mut self, survey: &Survey, plan: &Plan) -> Result<()> {
        self.reporter.progress().set_stage("writing the index");
        let readable = plan.name.iter().filter(|pack| self.tables.contains_key(*pack)).copied();
        let mut records = Records::new(self.repository, self.interrupt, &plan.rewrite, readable.collect());
        let published = publish_packs(self.repository, &mut records)?;
        records.finish()?;
        self.count(plan);
        let objects = published.objects.len() as u64;
        self.summary.objects_written = self.summary.objects_written.saturating_add(objects);
        let listed: HashSet<Id> = self.repository.list_ids(ObjectKind::Index)?.into_iter().collect();
        if published.objects.iter().any(|object| !listed.contains(object)) {
            // Somebody replaced it already: the next round sees by what.
            return Ok(());
        }
        published
            .objects
            .iter()
            .try_for_each(|object| read_index_object(self.repository, object).map(|_| ()))?;
        for object in plan.rewrite.keys().filter(|object| survey.objects.contains_key(*object)) {
            self.delete(object)?;
        }
        for object in &plan.damaged {
            // What could not be read once may have been misread.
            if read_index_object(self.repository, object)
                .is_err_and(|error| error.kind() == ErrorKind::Corrupt)
            {
                self.delete(object)?;
            }
        }
        Ok(())
    }

    fn delete(&mut self, object: &Id) -> Result<()> {
        self.repository.backend().delete(&ObjectName::new(ObjectKind::Index, *object))?;
        self.summary.objects_deleted = self.summary.objects_deleted.saturating_add(1);
        Ok(())
    }

    fn count(&mut self, plan: &Plan) {
        let named = plan.name.iter().filter(|pack| self.tables.contains_key(*pack)).count() as u64;
        let summary = &mut self.summary;
        summary.packs_added = summary.packs_added.saturating_add(named.saturating_sub(plan.corrected));
        summary.packs_corrected = summary.packs_corrected.saturating_add(plan.corrected);
        summary.packs_dropped = summary.packs_dropped.saturating_add(plan.dropped);
    }

    fn finish(mut self, survey: &Survey, plan: &Plan) -> Summary {
        for (id, error) in &survey.unknown {
            let cause = format!("is left as it is: {}", error.chain());
            let finding = Finding::warning(format!("index/{}", id.short()), cause);
            self.reporter.report(match error.next_step() {
                Some(step) => finding.with_hint(step),
                None => finding,
            });
        }
        if self.options.dry_run {
            self.count(plan);
            self.summary.objects_deleted = plan.rewrite.len().saturating_add(plan.damaged.len()) as u64;
        }
        let kept = survey.damaged.len().saturating_sub(plan.damaged.len());
        self.summary.objects_unreadable = survey.unknown.len().saturating_add(kept) as u64;
        let present = self.unreadable.iter().filter(|(pack, _)| survey.present.contains_key(*pack));
        self.summary.packs_unreadable = present.count() as u64;
        self.summary.packs = survey.present.len() as u64;
        self.summary
    }
}
