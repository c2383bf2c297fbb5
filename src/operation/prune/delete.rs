//! Steps 6 and 7: taking condemned packs out of the index, deleting them and their records, and clearing up.
//!
//! Invariants: the new index object is stored and read back before the old one goes; no pack goes while an index object
//! names it; no record goes while one of its packs is there. Marks stay for good, those of forgetting and those of giving
//! up: whoever commits late has to find them, and nobody knows that he has looked.

use std::collections::HashSet;

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use super::sound::read_index;
use super::{Amount, Options};
use crate::backend::{ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::format::index::{IndexObject, stored_bytes};
use crate::id::Id;
use crate::operation::repair::index::records::{digest, narrow};
use crate::report::{Finding, Reporter, report_all};
use crate::repository::Repository;
use crate::repository::index::{publish_packs, read_index_object};
use crate::repository::listing::left_out;
use crate::repository::session::{self, SessionState};

/// How often the index may change while it is rewritten.
const ROUNDS_MAX: usize = 10;
/// An index object that names fewer packs than this is small.
const SMALL_PACKS: usize = 8;
/// So many small index objects are put together, when the index is rewritten anyway.
const SMALL_OBJECTS: usize = 16;
/// Bytes of index objects that are held in memory while the index is rewritten, but for what the last one adds.
const BATCH_BYTES: u64 = 24 << 20;

/// What was cleared up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Sessions that had ended.
    pub sessions: u64,
    /// Manifests of forgotten snapshots.
    pub snapshots: u64,
    /// Temporary files of crashed runs.
    pub temporary_files: u64,
    /// Their bytes.
    pub temporary_bytes: u64,
}

/// What deletes.
pub(super) struct Deletion<'a> {
    pub(super) repository: &'a Repository,
    pub(super) options: &'a Options,
    pub(super) reporter: &'a dyn Reporter,
}

impl Deletion<'_> {
    /// Writes the index objects that name any of these packs anew, without them, until none is left; gives the bytes
    /// written. Small objects are put together on the way.
    pub(super) fn rewrite_index(&self, packs: &HashSet<Id>) -> Result<u64> {
        let mut written = 0u64;
        if packs.is_empty() {
            return Ok(written);
        }
        for _ in 0..ROUNDS_MAX {
            // By two listings that agree: an object that one leaves out would go on naming packs that are gone.
            let naming = read_index(self.repository)?.naming(packs);
            let mut objects: Vec<Id> =
                naming.iter().filter(|(_, (_, names))| *names).map(|(id, _)| *id).collect();
            if objects.is_empty() {
                return Ok(written);
            }
            let small = naming.iter().filter(|(_, (count, names))| !names && *count < SMALL_PACKS);
            let small: Vec<Id> = small.map(|(id, _)| *id).collect();
            if small.len().saturating_add(objects.len()) >= SMALL_OBJECTS {
                objects.extend(small);
            }
            objects.sort_unstable();
            written = written.saturating_add(self.rewrite(&objects, packs)?);
        }
        Err(Error::new(ErrorKind::Busy, "the repository's index keeps changing").hint("try again in a while"))
    }

    /// Writes these objects anew, some at a time.
    fn rewrite(&self, objects: &[Id], packs: &HashSet<Id>) -> Result<u64> {
        let mut written = 0u64;
        let mut batch = Vec::new();
        let mut bytes = 0u64;
        for (number, id) in objects.iter().enumerate() {
            self.options.interrupt.check()?;
            match read_index_object(self.repository, id) {
                Ok(object) => {
                    let entries =
                        object.packs.iter().fold(0usize, |sum, pack| sum.saturating_add(pack.entries.len()));
                    let size = stored_bytes(object.envelopes.len(), object.packs.len(), entries);
                    bytes = bytes.saturating_add(size);
                    batch.push((*id, object));
                }
                // Another prune wrote it anew.
                Err(error) if error.kind() == ErrorKind::Missing => {}
                Err(error) => return Err(error),
            }
            if bytes >= BATCH_BYTES || number.saturating_add(1) == objects.len() {
                written = written.saturating_add(self.replace(std::mem::take(&mut batch), packs)?);
                bytes = 0;
            }
        }
        Ok(written)
    }

    /// Puts new objects in the place of these.
    fn replace(&self, batch: Vec<(Id, IndexObject)>, packs: &HashSet<Id>) -> Result<u64> {
        let old: Vec<Id> = batch.iter().map(|(id, _)| *id).collect();
        let mut seen = HashSet::new();
        let mut kept = Vec::new();
        for (_, object) in batch {
            for pack in object.packs.into_iter().filter(|pack| !packs.contains(&pack.id)) {
                let (pack, envelopes) = narrow(pack, &object.envelopes)?;
                // Two objects may say different things of one pack; a reader tries both.
                if seen.insert((pack.id, digest(&pack, &envelopes))) {
                    kept.push((pack, envelopes));
                }
            }
        }
        let published = publish_packs(self.repository, kept.into_iter())?;
        let mut found = HashSet::new();
        for id in &published.objects {
            let object = read_index_object(self.repository, id)?;
            for pack in object.packs {
                let (pack, envelopes) = narrow(pack, &object.envelopes)?;
                found.insert((pack.id, digest(&pack, &envelopes)));
            }
        }
        if found != seen {
            return Err(Error::corrupt("the index that was written anew is not the one that was meant")
                .hint("nothing was deleted; this machine's memory may be faulty"));
        }
        // An object that was written anew as it was before keeps its name.
        for id in old.iter().filter(|id| !published.objects.contains(id)) {
            self.repository.backend().delete(&ObjectName::new(ObjectKind::Index, *id))?;
        }
        Ok(published.bytes)
    }

    /// Deletes these packs.
    pub(super) fn delete_packs(&self, packs: &HashSet<Id>) -> Result<Amount> {
        if packs.is_empty() {
            return Ok(Amount::default());
        }
        // A pack that a listing leaves out would outlive its record, and come to be used again.
        let listed = self.repository.list_agreed(ObjectKind::Pack)?;
        let doomed: Vec<_> = listed.into_iter().filter(|pack| packs.contains(&pack.id)).collect();
        self.reporter.progress().set_total(doomed.len() as u64, 0);
        doomed
            .into_par_iter()
            .map(|pack| {
                self.options.interrupt.check()?;
                self.repository.backend().delete(&ObjectName::new(ObjectKind::Pack, pack.id))?;
                self.reporter.progress().add_files(1);
                Ok(Amount { packs: 1, bytes: pack.size })
            })
            .try_reduce(Amount::default, |one, other| Ok(one.plus(other)))
    }

    /// Takes packs out of the index that are gone: another prune, which wrote the same index object anew at the same time
    /// as this one or as one that died, may have named what had been taken out, or named a pack of its own that others
    /// had deleted by then. Only of use where nothing that is needed is lost. Gives the bytes written.
    pub(super) fn unname(&self, deleted: &HashSet<Id>) -> Result<u64> {
        let condemned = session::condemned(self.repository)?;
        let named: HashSet<Id> = read_index(self.repository)?.packs().collect();
        // Listed last: what an index object names was there before it.
        let listed = self.repository.list_agreed(ObjectKind::Pack)?;
        let listed: HashSet<Id> = listed.into_iter().map(|listed| listed.id).collect();
        // What others have condemned is theirs to take out.
        let theirs = |pack: &Id| condemned.contains(pack) && !deleted.contains(pack);
        let mut gone = HashSet::new();
        for pack in named.into_iter().filter(|pack| !listed.contains(pack) && !theirs(pack)) {
            match self.repository.backend().size(&ObjectName::new(ObjectKind::Pack, pack)) {
                Err(error) if error.kind() == ErrorKind::Missing => {
                    gone.insert(pack);
                }
                Err(error) => return Err(error),
                Ok(_) => return Err(left_out(ObjectKind::Pack)),
            }
        }
        self.rewrite_index(&gone)
    }

    /// Deletes these records, whose packs are gone.
    pub(super) fn delete_gc(&self, records: &HashSet<Id>) -> Result<()> {
        let mut records: Vec<&Id> = records.iter().collect();
        records.sort_unstable();
        records
            .into_iter()
            .try_for_each(|id| self.repository.backend().delete(&ObjectName::new(ObjectKind::Gc, *id)))
    }
}

/// Removes sessions that ended, manifests of forgotten snapshots where no packs wait, and what crashed runs left
/// half-written. All else is done by then: trouble here is told, and leaves things for the next run.
pub(super) fn tidy(repository: &Repository, all_settled: bool, tidied: &mut Tidied, reporter: &dyn Reporter) {
    let steps = [
        ("ended sessions", remove_sessions(repository, tidied)),
        ("manifests of forgotten snapshots", remove_manifests(repository, all_settled, tidied, reporter)),
        ("what crashed runs left", remove_leftovers(repository, tidied)),
    ];
    for (what, step) in steps {
        if let Err(error) = step {
            let mut finding = Finding::warning(what, format!("cannot be cleared up: {}", error.chain()));
            finding.hint = error.next_step().map(str::to_owned);
            reporter.report(finding);
        }
    }
}

fn remove_sessions(repository: &Repository, tidied: &mut Tidied) -> Result<()> {
    for (id, state) in session::session_states(repository)? {
        match state {
            SessionState::Open => continue,
            SessionState::Committed => {}
            SessionState::GivenUp => match repository.put_forgotten(&id, None) {
                // Junk under the name of its mark: it stays open.
                Err(error) if error.kind() == ErrorKind::Corrupt => continue,
                stored => stored?,
            },
        }
        repository.backend().delete(&ObjectName::new(ObjectKind::Session, id))?;
        tidied.sessions = tidied.sessions.saturating_add(1);
    }
    Ok(())
}

fn remove_manifests(
    repository: &Repository,
    all_settled: bool,
    tidied: &mut Tidied,
    reporter: &dyn Reporter,
) -> Result<()> {
    if !all_settled {
        return Ok(());
    }
    let mut damaged = Vec::new();
    let listed = repository.list_agreed(ObjectKind::Snapshot)?;
    let listed: HashSet<Id> = listed.into_iter().map(|listed| listed.id).collect();
    for mark in repository.forgotten(&mut damaged)?.iter().filter(|mark| listed.contains(&mark.snapshot)) {
        repository.backend().delete(&ObjectName::new(ObjectKind::Snapshot, mark.snapshot))?;
        tidied.snapshots = tidied.snapshots.saturating_add(1);
    }
    let findings = damaged.iter().map(|(kind, id, error)| {
        Finding::warning(format!("{}/{}", kind.folder(), id.short()), error.chain())
    });
    report_all(reporter, "marks", findings);
    Ok(())
}

fn remove_leftovers(repository: &Repository, tidied: &mut Tidied) -> Result<()> {
    (tidied.temporary_files, tidied.temporary_bytes) = repository.backend().remove_leftovers()?;
    Ok(())
}
