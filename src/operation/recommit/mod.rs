//! Storing snapshots anew under new ids: with other tags, without some paths, without what is lost, or brought back.
//!
//! Follows `format-spec/11-ordering.md` as a backup does: a session for each, one look at what is stored, new blobs,
//! their index, the manifests; and only behind each manifest the mark that forgets the one it replaces.
//!
//! Invariants: whenever this is killed, the old snapshot, the new one or both are there. A new one is committed only
//! where each of its blobs may be referred to, by a look that came after its session.

mod contents;
mod look;
mod manifest;
mod opened;
mod rebuild;
mod rescue;
mod survey;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::key_slot::Role;
use crate::format::snapshot::{Change, Manifest};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::keyring::Keyring;
use crate::repository::session::{self, Commit, Session, Usable};
use crate::repository::snapshot::Snapshot;
use crate::repository::writer::{BlobSink, BlobWriter};
use crate::source::files::Excludes;

use super::announce::{self, ATTEMPTS};
use look::Look;
use survey::Survey;

pub use rebuild::{Draft, LostRange};
pub use survey::{Gone, Totals};

/// How many snapshots are stored anew after one look: each has a session, and a lock file that is held open.
const BATCH: usize = 128;

/// What is to be done with snapshots.
pub struct Order<'o> {
    /// What the new ones say was done. What is lost is left out where they are repaired; where any of it is lost
    /// otherwise, there is no new one.
    pub change: Change,
    /// What is left out.
    pub leave_out: Option<&'o Excludes>,
    /// Whether the old ones are forgotten.
    pub forget: bool,
    /// Whether every pack is read, to see what of it is lost.
    pub read_data: bool,
    /// What else is changed in the manifest.
    pub edit: &'o dyn Fn(&mut Manifest),
}

/// What the work needs beside the repository.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// The cache, for the locks of sessions.
    pub cache: Option<&'a Cache>,
    /// Name of this host.
    pub host: &'a str,
    /// Where findings go.
    pub reporter: &'a dyn Reporter,
    /// Whether to stop.
    pub interrupt: &'a Interrupt,
}

/// What became of a snapshot.
#[derive(Clone, Debug)]
pub enum Made {
    /// It was stored anew under this id.
    New(Id, Draft),
    /// There was nothing to leave out.
    Same,
    /// Some of it is lost, so nothing was stored.
    Unsound(Draft),
    /// Nothing of its tree is left, so nothing was stored.
    Ruined(Draft),
    /// No file would be left, so nothing was stored.
    Emptied,
    /// Somebody forgot it, brought it back or deleted it meanwhile.
    Vanished,
}

/// Says what would become of the trees of snapshots. Stores nothing.
pub fn plan(
    repository: &Repository,
    order: &Order<'_>,
    snapshots: &[Snapshot],
    around: Around<'_>,
) -> Result<Vec<Draft>> {
    require(repository)?;
    again_while_busy(|| {
        let usable = match order.change {
            // What a prune has condemned can still be copied.
            Change::Unforgotten => rescue::usable_with_condemned(repository)?,
            _ => session::usable(repository)?,
        };
        let (look, _) = look_at(repository, usable, order, around)?;
        let mut survey = Survey::new(&look, order.leave_out, around.interrupt);
        let sink = IdsOnly(repository.keyring());
        let draft = |snapshot: &Snapshot| draft(&look, &mut survey, &sink, snapshot);
        snapshots.iter().map(draft).collect()
    })
}

/// Stores snapshots anew; `told` is told of each what became of it, also of those before an error.
///
/// # Errors
/// Whatever keeps any of them from being stored, but for what [`Made`] says.
pub fn commit(
    repository: &Repository,
    order: &Order<'_>,
    mut snapshots: Vec<Snapshot>,
    around: Around<'_>,
    told: &mut dyn FnMut(&Snapshot, Made),
) -> Result<()> {
    require(repository)?;
    if snapshots.is_empty() {
        return Ok(());
    }
    announce::give_up_own_dead(repository, around.cache, around.host, around.reporter);
    // Numbers rise with time.
    snapshots.sort_by_key(|snapshot| snapshot.manifest.time);
    for batch in snapshots.chunks(BATCH) {
        let mut waiting = batch.to_vec();
        for attempt in 1.. {
            let work = Work { repository, order, around };
            waiting = work.attempt(&waiting, told)?;
            if waiting.is_empty() {
                break;
            }
            if attempt == ATTEMPTS {
                return Err(Error::new(
                    ErrorKind::Abandoned,
                    "this run was given up by somebody else, again and again",
                )
                .hint("find out who unlocks the repository while this host works on it"));
            }
            let cause = "was given up by somebody else before it could commit; it starts again";
            around.reporter.report(Finding::warning("this run's session", cause));
        }
    }
    Ok(())
}

fn require(repository: &Repository) -> Result<()> {
    repository.keyring().require(Role::Maintain, "storing a snapshot anew")
}

/// Works again where the repository changed meanwhile: what one look does not show, the next one may.
fn again_while_busy<T>(mut work: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..ATTEMPTS {
        match work() {
            Err(error) if error.kind() == ErrorKind::Busy => {}
            done => return done,
        }
    }
    work()
}

fn look_at<'a>(
    repository: &'a Repository,
    usable: Usable,
    order: &Order<'_>,
    around: Around<'_>,
) -> Result<(Look<'a>, session::Adopted)> {
    let unreadable = usable.unreadable.iter().map(|(kind, id, error)| (*kind, *id, error.chain()));
    for (kind, id, cause) in unreadable {
        let subject = format!("{}/{}", kind.folder(), id.short());
        around.reporter.report(Finding::warning(subject, format!("is not usable: {cause}")));
    }
    Look::take(repository, usable, order.read_data, around.reporter, around.interrupt)
}

fn draft(look: &Look<'_>, survey: &mut Survey<'_>, sink: &dyn BlobSink, old: &Snapshot) -> Result<Draft> {
    let seen = survey.tree(old.root())?;
    let named = |error: Error| {
        error.context(format!("the tree of snapshot {} cannot be gone through", old.id.short()))
    };
    rebuild::rebuild(look, sink, look.repository().keyring(), &seen).map_err(named)
}

/// Names blobs as if they were stored.
struct IdsOnly<'a>(&'a Keyring);

impl BlobSink for IdsOnly<'_> {
    fn store(&self, kind: BlobKind, plain: &[u8]) -> Result<Id> {
        Ok(self.0.blob_id(kind, plain))
    }
}

/// Sessions that have sent no manifest; those that are left end with this.
struct Sessions<'a>(Vec<Option<Session<'a>>>);

impl<'a> Sessions<'a> {
    fn begin(repository: &'a Repository, around: Around<'_>, count: usize) -> Result<Self> {
        let mut sessions = Self(Vec::new());
        for _ in 0..count {
            around.interrupt.check()?;
            let session = announce::begin(repository, around.cache, around.host, around.reporter)?;
            sessions.0.push(Some(session));
        }
        Ok(sessions)
    }

    fn first(&self) -> Result<&Session<'a>> {
        let first = self.0.first().and_then(Option::as_ref);
        first.ok_or_else(|| Error::refused("nothing is to be stored"))
    }

    fn take(&mut self, number: usize) -> Result<Session<'a>> {
        let session = self.0.get_mut(number).and_then(Option::take);
        session.ok_or_else(|| Error::refused("a session was used twice"))
    }
}

impl Drop for Sessions<'_> {
    fn drop(&mut self) {
        for session in self.0.iter_mut().flatten() {
            // It sent no manifest, so none can land late.
            session.end();
        }
    }
}

struct Work<'a, 'o> {
    repository: &'a Repository,
    order: &'a Order<'o>,
    around: Around<'a>,
}

impl<'a> Work<'a, '_> {
    /// Stores snapshots anew; gives those whose session was given up.
    fn attempt(&self, old: &[Snapshot], told: &mut dyn FnMut(&Snapshot, Made)) -> Result<Vec<Snapshot>> {
        let around = self.around;
        let (mut sessions, drafts) = match again_while_busy(|| self.prepare(old)) {
            Err(error) if error.kind() == ErrorKind::Abandoned => return Ok(old.to_vec()),
            prepared => prepared?,
        };
        let (there, mut sequence) = self.there()?;
        let mut given_up = Vec::new();
        for (number, (old, draft)) in old.iter().zip(drafts).enumerate() {
            around.interrupt.check()?;
            let mut manifest = match self.manifest(old, &draft, &there, sequence) {
                Ok(manifest) => manifest,
                Err(made) => {
                    told(old, made(draft));
                    continue;
                }
            };
            let session = sessions.take(number)?;
            let id = *session.id();
            match session.commit_for_another(&mut manifest)? {
                Commit::Abandoned => given_up.push(old.clone()),
                Commit::Done => {
                    told(old, Made::New(id, draft));
                    self.forget(old, &id)?;
                }
            }
            sequence = manifest.sequence.saturating_add(1);
        }
        Ok(given_up)
    }

    /// Announces sessions, looks, and stores and publishes what the new trees need.
    fn prepare(&self, old: &[Snapshot]) -> Result<(Sessions<'a>, Vec<Draft>)> {
        let Self { repository, order, around } = *self;
        let sessions = Sessions::begin(repository, around, old.len())?;
        // One that lives keeps a prune waiting, so one is looked at for all.
        let first = sessions.first()?;
        if order.change == Change::Unforgotten {
            rescue::rescue(repository, &first.announced(), old, around.interrupt)?;
        }
        let usable = session::usable(repository)?;
        let (look, adopted) = look_at(repository, usable, order, around)?;
        let mut survey = Survey::new(&look, order.leave_out, around.interrupt);
        let writer = BlobWriter::announced(repository, look.index(), first)?;
        let draft = |old: &Snapshot| draft(&look, &mut survey, &writer, old);
        let drafts = old.iter().map(draft).collect::<Result<_>>()?;
        writer.finish(adopted)?;
        Ok((sessions, drafts))
    }

    /// The snapshots that may be stored anew, and the next number.
    fn there(&self) -> Result<(HashSet<Id>, u64)> {
        let snapshots = self.repository.snapshots()?;
        let wanted = match self.order.change {
            Change::Unforgotten => &snapshots.forgotten,
            _ => &snapshots.snapshots,
        };
        let there = wanted.iter().map(|snapshot| snapshot.id).collect();
        Ok((there, session::next_sequence(self.repository, &snapshots)))
    }

    /// The manifest to be committed, or what becomes of the snapshot without one.
    fn manifest(
        &self,
        old: &Snapshot,
        draft: &Draft,
        there: &HashSet<Id>,
        sequence: u64,
    ) -> std::result::Result<Manifest, fn(Draft) -> Made> {
        let takes_out = matches!(self.order.change, Change::Rewritten | Change::Repaired);
        if !there.contains(&old.id) {
            return Err(|_| Made::Vanished);
        }
        if !draft.is_sound() && self.order.change != Change::Repaired {
            return Err(Made::Unsound);
        }
        if draft.is_same() && takes_out {
            return Err(|_| Made::Same);
        }
        if self.order.change == Change::Rewritten && draft.leaves_nothing() {
            return Err(|_| Made::Emptied);
        }
        let manifest = manifest::manifest(old, draft, self.order.change, sequence);
        let mut manifest = manifest.ok_or(Made::Ruined as fn(Draft) -> Made)?;
        (self.order.edit)(&mut manifest);
        Ok(manifest)
    }

    fn forget(&self, old: &Snapshot, new: &Id) -> Result<()> {
        if !self.order.forget {
            return Ok(());
        }
        self.repository.put_forgotten(&old.id, Some(old.used_number())).map_err(|error| {
            let (old, new) = (old.id.short(), new.short());
            error.context(format!("snapshot {old} was stored anew as {new}, and cannot be forgotten itself"))
        })
    }
}
