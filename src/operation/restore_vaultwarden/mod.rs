//! A Vaultwarden put back in the place of the one that is gone or broken.
//!
//! Everything is restored into a folder of its own beside the data folder, proved there, and swapped in only when it is
//! whole. What was there before is kept aside.
//!
//! Invariants: until the swap the data folder is not touched, and nothing is swapped while a server has the database
//! open. Killed at any step, the next run finishes or cleans up.

mod folder;
mod in_use;
mod make;
mod moved;
mod owners;
mod prove;
mod stored;
mod swap;
mod work;

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use crate::error::{Error, ErrorKind, Result};
use crate::format::key_slot::Role;
use crate::format::node::Timestamp;
use crate::interrupt::Interrupt;
use crate::report::{Collector, Finding, Reporter};
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::repository::{Repository, host};
use crate::service::vaultwarden::{self, DATABASE_PLACE};
use crate::source::sqlite;

use folder::{Folder, Found, show};
use in_use::{refuse_if_in_use, take_guards};
use stored::Stored;
use swap::Earlier;
use work::Work;

pub use moved::MovedPart;
pub use owners::{Owner, Owners};
pub use prove::Proved;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder.
    pub target: PathBuf,
    /// The folder in the snapshot; empty for its top.
    pub place: Vec<u8>,
    /// Keep aside what is there.
    pub keep_previous: bool,
    /// Put it in place although its proof failed.
    pub accept_problems: bool,
    /// Make every client fetch its vault anew.
    pub resync_clients: bool,
    /// Give the files their owner at the backup, whoever owns what is there.
    pub owner_from_snapshot: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// Where the repository is, which must not lie in what is replaced.
    pub repository: Option<PathBuf>,
    /// Asked whether to stop, until the swap.
    pub interrupt: Interrupt,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing was changed, as asked.
    Planned,
    /// The snapshot is in place.
    Restored,
    /// An earlier run had put it in place and was stopped before it could tidy up, which is done now.
    FinishedEarlier,
}

/// What was done, or would be.
#[derive(Clone, Debug)]
pub struct Summary {
    /// How it ended.
    pub ending: Ending,
    /// The data folder.
    pub target: PathBuf,
    /// Files, and their bytes.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was proved; nothing in a dry run.
    pub proved: Option<Proved>,
    /// Where what was there before is, or would be, if it is kept.
    pub previous: Option<PathBuf>,
    /// Whether there was anything before.
    pub replaced: bool,
    /// What is in the folder is replaced and not the folder itself: a mount point, or one that may not be renamed.
    pub within: bool,
    /// Whose the files are; not known of what an earlier run did.
    pub owners: Option<Owners>,
    /// Parts that settings had moved when it was backed up.
    pub moved: Vec<MovedPart>,
    /// Accounts whose clients fetch everything anew, where that was asked for.
    pub resynced: Option<u64>,
    /// What is missing, damaged or not as it should be.
    pub problems: u64,
}

/// Puts the Vaultwarden of a snapshot in place.
///
/// # Errors
/// `Refused` where the snapshot or the target is none; `Busy` where a server has the database open; `Corrupt` where what
/// was restored did not pass its proof. Nothing is changed then.
pub fn run(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Summary> {
    repository.keyring().require(Role::Full, "restoring files")?;
    let mut folder = Folder::open(&options.target)?;
    refuse_repository_inside(&folder, options)?;
    let reader = BlobReader::new(repository, reporter)?;
    let stored = Stored::find(repository, &reader, snapshot, &options.place, &options.interrupt)?;
    let restoring = Restoring { repository, snapshot, stored, options, reporter, problems: 0 };
    restoring.warn_if_not_whole();
    let databases = restoring.databases(&folder);
    if options.dry_run {
        return restoring.plan(&folder, &databases);
    }
    refuse_if_in_use(&databases)?;
    if let Earlier::Finished { snapshot: earlier, previous } = swap::recover(&folder, reporter)?
        && earlier == snapshot.id
    {
        return Ok(restoring.finished(&folder, previous));
    }
    folder = Folder::open(&options.target)?;
    restoring.run(&folder, &databases)
}

/// A repository in what is put aside would be gone at the next backup.
fn refuse_repository_inside(folder: &Folder, options: &Options) -> Result<()> {
    let repository = options.repository.as_deref().and_then(|path| path.canonicalize().ok());
    let Some(repository) = repository else { return Ok(()) };
    if repository.starts_with(&folder.path) || folder.path.starts_with(&repository) {
        let message = format!("the repository and {} lie within each other", show(&folder.path));
        return Err(
            Error::refused(message).hint("move the repository elsewhere first: its files may be copied")
        );
    }
    Ok(())
}

/// One restore and what it found.
struct Restoring<'a> {
    repository: &'a Repository,
    snapshot: &'a Snapshot,
    stored: Stored<'a>,
    options: &'a Options,
    reporter: &'a dyn Reporter,
    problems: u64,
}

impl Restoring<'_> {
    /// Says where the backup itself was not whole, and which one was.
    fn warn_if_not_whole(&self) {
        if self.stored.report.is_none_or(|report| report.whole) {
            return;
        }
        let subject = format!("snapshot {}", self.snapshot.id.short());
        let finding = Finding::warning(subject, "was not proved whole when it was made");
        self.reporter.report(match stored::newest_whole(self.repository) {
            Some(whole) => finding.with_hint(format!("the newest that was is {whole}")),
            None => finding.with_hint("`strongroom snapshots` shows which were"),
        });
    }

    /// The databases that a server of this folder may have open.
    fn databases(&self, folder: &Folder) -> Vec<PathBuf> {
        let mut databases = vec![folder.path.join(DATABASE_PLACE)];
        let moved = moved::parts(self.stored.report);
        let moved = moved.iter().find(|part| part.place == DATABASE_PLACE.as_bytes());
        databases.extend(moved.map(|part| folder.path.join(path_of(&part.now_at))));
        // What the settings that are there say; where they say nothing, the names above have to do.
        let found = vaultwarden::discover(&vaultwarden::Options::new(&folder.path), &Collector::default());
        databases.extend(found.ok().map(|layout| layout.database));
        databases.sort();
        databases.dedup();
        databases
    }

    fn plan(mut self, folder: &Folder, databases: &[PathBuf]) -> Result<Summary> {
        for database in databases {
            if let Some(holder) = sqlite::holder(database)? {
                let cause = format!("is open in {}: stop the server before the restore", holder.describe());
                self.reporter.report(Finding::warning(show(database), cause));
            }
        }
        if let Err(error) = self.make_sure_of_room(folder) {
            self.problems = self.problems.saturating_add(1);
            self.reporter.report(Finding::problem(show(&folder.path), error.chain()));
        }
        let previous = self.keeps(folder).then(|| folder.aside(folder.within, &file_time(host::now())));
        let owners = owners::choose(folder, &self.stored.database, self.options.owner_from_snapshot);
        owners::report(owners, folder, self.reporter);
        Ok(Summary {
            ending: Ending::Planned,
            previous,
            owners: Some(owners),
            moved: moved::parts(self.stored.report),
            ..self.summary(folder)
        })
    }

    fn finished(&self, folder: &Folder, previous: Option<PathBuf>) -> Summary {
        Summary { ending: Ending::FinishedEarlier, previous, replaced: true, ..self.summary(folder) }
    }

    fn summary(&self, folder: &Folder) -> Summary {
        Summary {
            ending: Ending::Restored,
            target: folder.path.clone(),
            files: self.stored.files,
            bytes: self.stored.bytes,
            proved: None,
            previous: None,
            replaced: folder.found == Found::Vaultwarden,
            within: folder.within,
            owners: None,
            moved: Vec::new(),
            resynced: None,
            problems: self.problems,
        }
    }

    fn keeps(&self, folder: &Folder) -> bool {
        self.options.keep_previous && folder.found == Found::Vaultwarden
    }

    /// Refuses before anything is read where it cannot fit.
    fn make_sure_of_room(&self, folder: &Folder) -> Result<()> {
        let place = if folder.within { &folder.path } else { &folder.parent };
        let needed = self.stored.bytes;
        match folder::room_at(place) {
            Some(room) if room < needed => Err(Error::new(
                ErrorKind::NoSpace,
                format!(
                    "{needed} bytes are needed beside what is there, and {} has {room} left",
                    show(place)
                ),
            )
            .hint("free some space on that disk; nothing was changed")),
            _ => Ok(()),
        }
    }

    fn run(mut self, folder: &Folder, databases: &[PathBuf]) -> Result<Summary> {
        self.make_sure_of_room(folder)?;
        let owners = owners::choose(folder, &self.stored.database, self.options.owner_from_snapshot);
        let mut work = Work::open(folder.work_place())?;
        let made = self.make(folder, &work, owners).map_err(|error| {
            error.context(format!("nothing was restored, and {} is as it was", show(&folder.path)))
        })?;
        owners::report(owners, folder, self.reporter);
        // From here on it takes a moment, and is not to be interrupted.
        self.options.interrupt.check()?;
        refuse_if_in_use(databases)?;
        let time = file_time(host::now());
        let note = swap::prepare(folder, &work, self.snapshot.id, self.options.keep_previous, &time)?;
        let guards = take_guards(databases)?;
        let previous = swap::run(folder, &mut work, &note)?;
        drop(guards);
        self.look_for_late_comers(folder, databases, previous.as_deref())?;
        Ok(Summary {
            files: made.files,
            bytes: made.bytes,
            proved: Some(made.proved),
            previous,
            owners: Some(owners),
            moved: made.moved,
            resynced: made.resynced,
            ..self.summary(folder)
        })
    }

    /// A server that was started in the moment of the swap may have the old database open.
    fn look_for_late_comers(
        &mut self,
        folder: &Folder,
        databases: &[PathBuf],
        previous: Option<&Path>,
    ) -> Result<()> {
        let Some(previous) = previous else { return Ok(()) };
        for database in databases.iter().filter_map(|database| database.strip_prefix(&folder.path).ok()) {
            if let Some(holder) = sqlite::holder(&previous.join(database))? {
                self.problems = self.problems.saturating_add(1);
                let cause =
                    format!("{} was started meanwhile, and works on what was put aside", holder.describe());
                let finding = Finding::problem(show(previous), cause);
                self.reporter.report(finding.with_hint("start it again, and what it wrote since is lost"));
            }
        }
        Ok(())
    }
}

fn path_of(place: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(place))
}

/// A time as part of a file name, in UTC: `2026-11-21T190500Z`.
fn file_time(time: Timestamp) -> String {
    let instant = jiff::Timestamp::from_second(time.seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    instant.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H%M%SZ").to_string()
}
