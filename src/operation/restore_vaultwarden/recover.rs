//! What an earlier run left that was killed: told of, or finished and tidied up.
//!
//! Invariants: what does not look as such a run leaves it is not touched. A previous state is deleted only where this run,
//! too, was told not to keep one, and a vault that can be read is in place.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::folder::{Folder, show};
use super::in_use::{refuse_if_in_use, take_guards};
use super::swap::{self, HALF_WAY, aside_of};
use super::work::{Note, Work, same};
use crate::error::{Error, Result};
use crate::format::path;
use crate::id::Id;
use crate::report::{Finding, Reporter, Severity};
use crate::service::vaultwarden;
use crate::source::sqlite;

/// What is needed to go on.
pub(super) struct Recovery<'a> {
    pub(super) folder: &'a Folder,
    /// The databases that a server may have open.
    pub(super) databases: &'a [PathBuf],
    /// This run was told not to keep what is there.
    pub(super) discard: bool,
    pub(super) reporter: &'a dyn Reporter,
}

/// Says what an earlier run left, and changes nothing; how many problems a restore of a snapshot would meet there.
pub(super) fn look(folder: &Folder, snapshot: Id, reporter: &dyn Reporter) -> u64 {
    let mut problems = 0u64;
    for place in folder.work_places().into_iter().filter(|place| place.symlink_metadata().is_ok()) {
        let subject = show(&folder.path);
        let left = Work::take_over(place).and_then(|mut work| {
            work.leave = true;
            swap_begun(folder, &work)
        });
        let finding = match left {
            Ok(Some(note)) => {
                let earlier = note.snapshot.short();
                let cause = format!(
                    "an earlier restore of snapshot {earlier} was stopped half-way; would be finished first"
                );
                if note.snapshot == snapshot {
                    Finding::warning(subject, cause)
                } else {
                    let asked = snapshot.short();
                    let hint =
                        format!("the restore then ends; run it again to put snapshot {asked} in place");
                    Finding::problem(subject, cause).with_hint(hint)
                }
            }
            Ok(None) => {
                let cause = "an earlier restore was stopped before or after it changed anything; what it left \
                             would be removed first";
                Finding::warning(subject, cause)
            }
            Err(error) => {
                let finding = Finding::problem(subject, error.chain());
                match error.next_step() {
                    Some(hint) => finding.with_hint(hint.to_owned()),
                    None => finding,
                }
            }
        };
        problems = problems.saturating_add(u64::from(finding.severity == Severity::Problem));
        reporter.report(finding);
    }
    problems
}

/// The note of a swap that had begun.
fn swap_begun(folder: &Folder, work: &Work) -> Result<Option<Note>> {
    match work.note()? {
        Some(note) if begun(folder, work, &note)? => Ok(Some(note)),
        _ => Ok(None),
    }
}

impl Recovery<'_> {
    /// Cleans up after a run that was killed, or finishes what it had begun; gives the snapshot that is in place by that.
    ///
    /// # Errors
    /// `Refused` where what is there is not what such a run leaves; `Busy` where a server works on it.
    pub(super) fn run(&self) -> Result<Option<Id>> {
        let mut finished = None;
        for place in self.folder.work_places() {
            if place.symlink_metadata().is_err() {
                continue;
            }
            let mut work = Work::take_over(place)?;
            work.leave = true;
            match swap_begun(self.folder, &work)? {
                Some(note) => {
                    self.go_on(&mut work, &note)?;
                    if self.is_in_place() {
                        finished = Some(note.snapshot);
                    }
                }
                None => self.clear(&work)?,
            }
        }
        Ok(finished)
    }

    /// Removes a copy that was not put in place, and what a run was deleting when it was killed.
    fn clear(&self, work: &Work) -> Result<()> {
        let discard = self.may_discard();
        if !discard {
            let failed = |error| Error::io(format!("cannot tidy up {}", show(&work.path)), error);
            if let Some(aside) = swap::put_aside(self.folder, work).map_err(failed)? {
                let cause = "an earlier restore was stopped while it deleted what had been there before";
                let hint = format!("what was left of that is kept in {}", show(&aside));
                self.reporter.report(Finding::warning(show(&self.folder.path), cause).with_hint(hint));
            }
        }
        work.remove(discard)
    }

    fn may_discard(&self) -> bool {
        self.discard && self.is_in_place()
    }

    /// Whether a vault that can be read is in the folder.
    fn is_in_place(&self) -> bool {
        let inside = self.databases.iter().filter(|database| database.starts_with(&self.folder.path));
        inside.filter(|database| database.symlink_metadata().is_ok_and(|found| found.is_file())).any(
            |database| {
                let contents =
                    sqlite::open_at_rest(database).and_then(|connection| vaultwarden::read(&connection));
                contents.is_ok_and(|contents| contents.users > 0)
            },
        )
    }

    /// Takes the steps of a swap that are left.
    fn go_on(&self, work: &mut Work, note: &Note) -> Result<()> {
        let folder = self.folder;
        if note.within {
            self.move_what_is_left(work, note)?;
        } else if work.identity(&folder.path).is_none() {
            swap::rename(&work.data(), &folder.path)
                .map_err(|errno| Error::io(format!("cannot make {}", show(&folder.path)), errno))?;
        }
        let kept = swap::finish(folder, work, note, self.may_discard())?;
        let snapshot = note.snapshot.short();
        let cause = if self.is_in_place() {
            format!("an earlier restore of snapshot {snapshot} was stopped half-way; finished it")
        } else {
            format!(
                "an earlier restore of snapshot {snapshot} was stopped, and no vault that can be read is there now"
            )
        };
        let finding = Finding::warning(show(&folder.path), cause);
        let places: Vec<String> =
            kept.previous.iter().chain(&kept.from_before).map(|path| show(path)).collect();
        self.reporter.report(if places.is_empty() {
            finding
        } else {
            finding.with_hint(format!("what was there before it is kept in {}", places.join(", ")))
        });
        Ok(())
    }

    fn move_what_is_left(&self, work: &Work, note: &Note) -> Result<()> {
        let folder = self.folder;
        // A server that was started half-way may work on what is there, and one from before on what is out.
        let aside = aside_of(folder, work, note);
        let out = self.databases.iter().filter_map(|database| database.strip_prefix(&folder.path).ok());
        let out: Vec<PathBuf> = out.map(|database| aside.join(database)).collect();
        refuse_if_in_use(&out)?;
        let guards = take_guards(self.databases)?;
        let mut done = Vec::new();
        swap::move_all(folder, work, note, &mut done)
            .map_err(|error| error.hint("move away what is in the way, and run the command again"))?;
        if let Some((from, to)) = done.iter().find(|(_, to)| is_from_half_way(to)) {
            let cause = "was made by a server that ran while the folder was half-way between old and new";
            let finding = Finding::warning(show(from), cause);
            let kept = format!("it is with what was there before, as {}", show(to));
            let goes = "it goes, or stays, with what was there before";
            let hint = if note.aside.is_some() { kept } else { goes.to_owned() };
            self.reporter.report(finding.with_hint(hint));
        }
        drop(guards);
        Ok(())
    }
}

fn is_from_half_way(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().starts_with(HALF_WAY.as_bytes()))
}

/// Whether a swap had begun; refuses what no swap leaves.
pub(super) fn begun(folder: &Folder, work: &Work, note: &Note) -> Result<bool> {
    let (data, place) = (work.identity(&work.data()), work.identity(&folder.path));
    let new = Some(note.new);
    let odd = || {
        Error::refused(format!(
            "an earlier restore was stopped half-way, and what it left in {} is not as it left it",
            show(&work.path)
        ))
        .hint(
            "look into that folder: it may hold the previous state; move it away, and run the command again",
        )
    };
    if note.aside.as_ref().is_some_and(|name| path::fault(name).is_some() || name.contains(&b'/')) {
        return Err(odd());
    }
    if note.within {
        let is_at =
            |folder: &Path, name: &[u8]| folder.join(OsStr::from_bytes(name)).symlink_metadata().is_ok();
        let came = |name: &[u8]| !is_at(&work.data(), name) && is_at(&folder.path, name);
        let out = aside_of(folder, work, note).symlink_metadata().is_ok();
        let any = out || note.new_names.iter().any(|name| came(name));
        return if same(place, note.old) && same(data, new) { Ok(any) } else { Err(odd()) };
    }
    if same(place, new) {
        return Ok(true);
    }
    if !same(data, new) {
        return Err(odd());
    }
    match place {
        None if note.old.is_some() => Ok(true),
        place if same(place, note.old) => Ok(false),
        _ => Err(odd()),
    }
}
