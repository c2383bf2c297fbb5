//! A Vaultwarden put back in the place of the one that is gone or broken.
//!
//! Everything is restored into a folder of its own beside the data folder, proved there, and swapped in only when it is
//! whole. What was there before is kept aside.
//!
//! Invariants: until the swap the data folder is not touched, and nothing is swapped while a server has the database
//! open. Killed at any step, the next run finishes or cleans up. What was there is deleted only where that was asked for
//! and what takes its place is whole; what earlier restores kept in it, and what came while this one ran, never is.

mod arrivals;
mod before;
mod folder;
mod in_use;
mod make;
mod mounts;
mod moved;
mod owners;
mod prove;
mod recover;
mod stored;
mod swap;
mod work;

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::format::key_slot::Role;
use crate::interrupt::Interrupt;
use crate::operation::aside;
use crate::operation::needed::{Needed, refuse_needed_inside};
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::source::sqlite;

use arrivals::Listing;
use before::{databases, warn_of_unseen};
use folder::{Folder, Found, show};
use in_use::{refuse_if_in_use, take_guards};
use recover::Recovery;
use stored::Stored;
use work::Work;

pub(in crate::operation) use folder::is_mount_point;
pub use moved::MovedPart;
pub use owners::{Owner, Owners};
pub use prove::{Proved, prove_files};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder.
    pub target: PathBuf,
    /// The folder in the snapshot; empty for its top.
    pub place: Vec<u8>,
    /// Keep aside what is there; it is kept in any case beside a state that is not whole.
    pub keep_previous: bool,
    /// Put it in place although its proof failed.
    pub accept_problems: bool,
    /// Make every client fetch its vault anew.
    pub resync_clients: bool,
    /// Give the files their owner at the backup, whoever owns what is there.
    pub owner_from_snapshot: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// What must not lie in what is replaced.
    pub needed: Vec<Needed>,
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
    /// Where what earlier restores had kept in the folder is, or would be, now that it is replaced.
    pub kept_before: Vec<PathBuf>,
    /// Whether there was anything before.
    pub replaced: bool,
    /// What is in the folder is replaced and not the folder itself: a mount point, or one that may not be renamed.
    pub within: bool,
    /// Whose the files are.
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
    refuse_needed_inside(&folder.path, &options.needed)?;
    let report = stored::report(snapshot, &options.place);
    let mut problems = 0;
    if options.dry_run {
        problems = recover::look(&folder, snapshot.id, reporter);
    } else {
        let databases = databases(report, &folder);
        refuse_if_in_use(&databases)?;
        warn_of_unseen(&databases, reporter);
        finish_earlier(
            &Recovery { folder: &folder, databases: &databases, discard: !options.keep_previous, reporter },
            snapshot,
        )?;
        folder = Folder::open(&options.target)?;
    }
    let databases = databases(report, &folder);
    let reader = BlobReader::with_kept_metadata(repository, reporter)?;
    let stored = Stored::find(repository, &reader, snapshot, &options.place, &options.interrupt)?;
    let restoring = Restoring { repository, snapshot, stored, options, reporter, problems };
    restoring.warn_if_not_whole();
    if options.dry_run {
        return restoring.plan(&folder, &databases);
    }
    restoring.warn_of_what_goes(&folder)?;
    restoring.run(&folder, &databases)
}

/// Finishes what a killed run began. Where that was another snapshot this ends here: `latest` may have become a backup of
/// what was in place half-way, and nobody should lose the whole state to that unseen. Where it was this one, it is done
/// anew all the same, for what is in place was proved then, and a server may have worked on it since.
fn finish_earlier(recovery: &Recovery<'_>, asked: &Snapshot) -> Result<()> {
    let Some(finished) = recovery.run()?.filter(|finished| *finished != asked.id) else { return Ok(()) };
    let (finished, asked) = (finished.short(), asked.id.short());
    Err(Error::refused(format!(
        "finished the earlier restore of snapshot {finished}, which is in place now; snapshot {asked} was not restored"
    ))
    .hint(format!(
        "if it is snapshot {asked} that you want, and not what an unfinished restore had left, run the command again"
    )))
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
    fn summary(&self, folder: &Folder) -> Summary {
        Summary {
            ending: Ending::Restored,
            target: folder.path.clone(),
            files: self.stored.files,
            bytes: self.stored.bytes,
            proved: None,
            previous: None,
            kept_before: Vec::new(),
            replaced: folder.found == Found::Vaultwarden,
            within: folder.within,
            owners: None,
            moved: Vec::new(),
            resynced: None,
            problems: self.problems,
        }
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
        let goes = !self.options.keep_previous && folder.found == Found::Vaultwarden;
        let listing = goes.then(|| Listing::of(&folder.path)).transpose()?;
        let owners = owners::choose(folder, &self.stored.database, self.options.owner_from_snapshot);
        let mut work = Work::open(folder.work_place())?;
        let made = self.make(folder, &work, owners).map_err(|error| {
            error.context(format!("nothing was restored, and {} is as it was", show(&folder.path)))
        })?;
        owners::report(owners, folder, self.reporter);
        // From here on it takes a moment, and is not to be interrupted.
        self.options.interrupt.check()?;
        refuse_if_in_use(databases)?;
        let time = aside::time();
        self.warn_if_kept_all_the_same(folder);
        refuse_if_changed(folder)?;
        let keep = self.keeps(folder);
        if let Some(listing) = listing.filter(|_| !keep) {
            refuse_arrivals(folder, &listing)?;
        }
        let note = swap::prepare(folder, &work, self.snapshot.id, keep, &time)?;
        let guards = take_guards(databases)?;
        let discard = !keep && folder.found == Found::Vaultwarden;
        let kept = swap::run(folder, &mut work, &note, discard)?;
        drop(guards);
        self.look_for_late_comers(folder, databases, kept.previous.as_deref())?;
        Ok(Summary {
            files: made.files,
            bytes: made.bytes,
            proved: Some(made.proved),
            previous: kept.previous,
            kept_before: kept.from_before,
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
                let cause =
                    format!("{} was started meanwhile, and works on what was put aside", holder.describe());
                let finding = Finding::problem(show(previous), cause);
                self.problem(finding.with_hint("start it again, and what it wrote since is lost"));
            }
        }
        Ok(())
    }
}

/// Refuses where the folder is not what it was when the restore began: nobody was asked about what came since.
fn refuse_if_changed(before: &Folder) -> Result<()> {
    let place = show(&before.path);
    let now = Folder::open(&before.path).map_err(|error| error.context(format!("{place} is as it was")))?;
    if (now.found, now.within) == (before.found, before.within) {
        return Ok(());
    }
    let what = if before.found == Found::Vaultwarden {
        format!("{place} was changed while the restore ran; nothing was changed by it")
    } else {
        format!("{place}, or what is in it, came while the restore ran; nothing was changed")
    };
    Err(Error::refused(what).hint("look at what is there now, and run the command again"))
}

/// Refuses where something came into a folder, or was changed in it, of which nothing is to be kept.
fn refuse_arrivals(folder: &Folder, before: &Listing) -> Result<()> {
    let Some(new) = before.first_new(&folder.path)? else { return Ok(()) };
    Err(Error::refused(format!(
        "{} came while the restore ran, or was changed; nothing was changed",
        show(&new)
    ))
    .hint("look at it, and run the command again; without --no-keep-previous what is there is kept"))
}
