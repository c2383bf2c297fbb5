//! Copy: snapshots of one repository, stored in another that has other keys.
//!
//! Ids and cuts hang on a repository's keys, so that nothing can be taken over as it lies there: each file is read, every
//! chunk proved by its id, and cut, named and sealed as the destination does it. The destination sees a backup like any
//! other, one session for each snapshot, in the order of `format-spec/11-ordering.md`.
//!
//! Invariants: the source is only read. A snapshot is copied whole or not at all. The copy says in `original` which
//! backup it stands for.

mod attempt;
pub(super) mod content;
mod earlier;
pub(super) mod tree;

use crate::error::{Error, ErrorKind, Result};
use crate::format::key_slot::Role;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::{Finding, Reporter, report_all};
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::reader::BlobReader;
use crate::repository::session;
use crate::repository::snapshot::{Snapshot, Snapshots};
use crate::repository::writer::{BlobWriter, Written};

use super::announce::{self, ATTEMPTS};
use attempt::{Attempt, Made};
use content::{Recutter, Trouble};
use earlier::{Presence, Present};

/// How to copy.
pub struct Options {
    /// Name of this host, for the sessions.
    pub host: String,
    /// Store nothing; tell what would be.
    pub dry_run: bool,
    /// Whether to stop: what is stored by then is published, and the snapshot at hand is not made.
    pub interrupt: Interrupt,
}

/// What became of one snapshot.
#[derive(Clone, Debug)]
pub struct Copied {
    /// The snapshot in the source.
    pub source: Id,
    /// Its copy; none in a dry run.
    pub copy: Option<Id>,
    /// Bytes of files that were read.
    pub read_bytes: u64,
    /// What was stored.
    pub written: Written,
}

/// How a copy went.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Snapshots copied.
    pub copied: u64,
    /// Snapshots that the destination has already.
    pub present: u64,
    /// Snapshots that could not be copied whole, and were not.
    pub failed: u64,
    /// Bytes of files that were read.
    pub read_bytes: u64,
    /// What was stored.
    pub written: Written,
}

impl Summary {
    fn add(&mut self, copied: &Copied) {
        let (sum, one) = (&mut self.written, &copied.written);
        self.copied = self.copied.saturating_add(1);
        self.read_bytes = self.read_bytes.saturating_add(copied.read_bytes);
        sum.data_blobs = sum.data_blobs.saturating_add(one.data_blobs);
        sum.tree_blobs = sum.tree_blobs.saturating_add(one.tree_blobs);
        sum.plain_bytes = sum.plain_bytes.saturating_add(one.plain_bytes);
        sum.stored_bytes = sum.stored_bytes.saturating_add(one.stored_bytes);
    }
}

/// Refuses two repositories that are one, or keys that do not allow it.
fn check_pair(source: &Repository, destination: &Repository) -> Result<()> {
    if source.id() == destination.id() {
        return Err(Error::refused(format!(
            "{} and {} are the same repository, or one is a copy of the other's files: both have the id {}",
            source.backend().location(),
            destination.backend().location(),
            source.id().short()
        ))
        .hint("make the destination with `strongroom init`; what one lacks of the other, `strongroom repair --from` brings back"));
    }
    source.keyring().require(Role::Full, "reading the snapshots to copy")
}

/// Copies snapshots, in the order given; `told` hears of each that is done.
///
/// # Errors
/// Whatever keeps the destination from being written. A snapshot that cannot be read whole goes to `reporter`, and the
/// others are copied.
pub fn run(
    source: &Repository,
    destination: &Repository,
    cache: Option<&Cache>,
    snapshots: &[Snapshot],
    options: &Options,
    reporter: &dyn Reporter,
    told: &mut dyn FnMut(&Copied) -> Result<()>,
) -> Result<Summary> {
    check_pair(source, destination)?;
    if !options.dry_run {
        announce::give_up_own_dead(destination, cache, &options.host, reporter);
    }
    let reader = BlobReader::new(source, reporter)?;
    let recutter = Recutter::new(&reader, destination, &options.interrupt)?;
    let sources = source.snapshots()?;
    let copy = Copy { recutter: &recutter, destination, cache, sources: &sources, options, reporter };
    let wanted = copy.wanted(snapshots)?;
    let skipped = snapshots.len().saturating_sub(wanted.len()) as u64;
    let mut summary = Summary { present: skipped, ..Summary::default() };
    let dry = if options.dry_run { Some(session::usable(destination)?) } else { None };
    let dry = dry.as_ref().map(|usable| BlobWriter::dry(destination, &usable.index)).transpose()?;
    for snapshot in wanted {
        options.interrupt.check()?;
        reporter.progress().set_stage(format!("snapshot {}", snapshot.id.short()));
        let copied = match &dry {
            Some(writer) => copy.dry(writer, snapshot),
            None => copy.snapshot(snapshot),
        };
        match copied {
            Ok(copied) => {
                summary.add(&copied);
                told(&copied)?;
            }
            Err(trouble) => {
                pass_over(snapshot, trouble, reporter)?;
                summary.failed = summary.failed.saturating_add(1);
            }
        }
    }
    if let Some(writer) = dry {
        summary.written = writer.finish(Vec::new())?;
    }
    Ok(summary)
}

/// Reports a snapshot that cannot be read whole. Any other trouble ends the copy.
fn pass_over(snapshot: &Snapshot, trouble: Trouble, reporter: &dyn Reporter) -> Result<()> {
    let error = match trouble {
        Trouble::Store(error) => return Err(error),
        Trouble::Source(error) => error,
    };
    match error.kind() {
        ErrorKind::Missing | ErrorKind::Corrupt | ErrorKind::Unsupported => {
            let subject = format!("snapshot {}", snapshot.id.short());
            let finding = Finding::problem(subject, format!("is not copied: {}", error.chain()));
            reporter.report(finding.with_hint(
                "run `strongroom check` on the source; `strongroom repair --help` says what can be done",
            ));
            Ok(())
        }
        ErrorKind::Interrupted => Err(error),
        _ => Err(error.context("the source cannot be read")),
    }
}

/// Tells of a snapshot that is whole in the source, and in the destination is not, for somebody wanted it so.
fn stays_out(id: &Id, left: &Id) -> Finding {
    let left = left.short();
    let cause = format!("is not copied: in the destination paths were taken out of it, as {left}");
    Finding::warning(format!("snapshot {}", id.short()), cause).with_hint(format!(
        "`strongroom rewrite` takes them out of the source as well; to have the whole one in the destination, forget {left} there"
    ))
}

/// What all snapshots share.
struct Copy<'a> {
    recutter: &'a Recutter<'a>,
    destination: &'a Repository,
    cache: Option<&'a Cache>,
    sources: &'a Snapshots,
    options: &'a Options,
    reporter: &'a dyn Reporter,
}

impl Copy<'_> {
    /// The snapshots that the destination does not have.
    fn wanted<'s>(&self, snapshots: &'s [Snapshot]) -> Result<Vec<&'s Snapshot>> {
        let present = Present::new(self.destination, &self.copies()?, self.sources);
        let (mut wanted, mut taken_out) = (Vec::new(), Vec::new());
        for snapshot in snapshots {
            match present.of(snapshot) {
                Presence::Absent => wanted.push(snapshot),
                Presence::Whole => {}
                Presence::TakenOut(left) => taken_out.push((snapshot.id, left)),
            }
        }
        let findings = taken_out.iter().map(|(id, left)| stays_out(id, left));
        report_all(self.reporter, "snapshots that are not copied", findings);
        let bytes = |snapshot: &&Snapshot| snapshot.manifest.statistics.bytes_processed;
        let total = wanted.iter().map(bytes).fold(0u64, u64::saturating_add);
        self.reporter.progress().set_total(wanted.len() as u64, total);
        Ok(wanted)
    }

    /// The snapshots of the destination that count.
    fn copies(&self) -> Result<Vec<Snapshot>> {
        let found = self.destination.snapshots()?;
        let findings = found.damaged.iter().map(|(kind, id, error)| {
            Finding::warning(format!("the destination's {}/{}", kind.folder(), id.short()), error.chain())
        });
        report_all(self.reporter, "the destination's snapshots and marks", findings);
        Ok(found.snapshots)
    }

    fn snapshot(&self, snapshot: &Snapshot) -> Result<Copied, Trouble> {
        for _ in 0..ATTEMPTS {
            if let Some(copied) = Attempt::run(self, snapshot)? {
                return Ok(copied);
            }
            let cause = "was given up by somebody else before it could commit; it starts again";
            self.reporter.report(Finding::warning("this copy's session", cause));
        }
        let error =
            Error::new(ErrorKind::Abandoned, "this copy was given up by somebody else, again and again");
        Err(Trouble::Store(error.hint("find out who unlocks the repository while this host copies")))
    }

    /// Counts what a copy would store; one writer for all, so that nothing is counted twice.
    fn dry(&self, writer: &BlobWriter<'_>, snapshot: &Snapshot) -> Result<Copied, Trouble> {
        let made: Made<'_> = Attempt::build(self, writer, snapshot, true)?;
        Ok(Copied {
            source: snapshot.id,
            copy: None,
            read_bytes: made.read_bytes,
            written: Written::default(),
        })
    }
}
