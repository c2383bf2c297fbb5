//! Putting the new folder in the place of the old one, and finishing what a killed run began.
//!
//! Beside the folder the swap is one exchange of two names, where the file system can do that, so that the old state
//! or the new one is in place at any moment. Within a mount point everything old is moved out, then everything new
//! in; a run that is killed between leaves parts in either place, all of them whole, and the next run goes on.
//!
//! Invariants: nothing that exists is replaced by a rename. A step that fails is taken back. Whatever does not look as
//! this program leaves it is not touched.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::folder::{Folder, names_in, show};
use super::in_use::{refuse_if_in_use, take_guards};
use super::work::{Note, Work, bytes_of, sync};
use crate::error::{Error, Result};
use crate::format::path;
use crate::id::Id;
use crate::report::{Finding, Reporter};
use crate::service::vaultwarden::DATABASE_PLACE;
use crate::source::sqlite;

/// What is put before the names of what somebody made in a folder half-way, and before a number.
const HALF_WAY: &str = "half-way-";

/// Notes what the swap of a finished work folder will do.
pub(super) fn prepare(folder: &Folder, work: &Work, snapshot: Id, keep: bool, time: &str) -> Result<Note> {
    let missing = || Error::missing(format!("{} is gone", show(&work.data())));
    let aside = keep.then(|| folder.aside(folder.within, time));
    let bytes =
        |names: Vec<std::ffi::OsString>| -> Vec<_> { names.iter().map(|name| bytes_of(name)).collect() };
    let (mut old_names, mut new_names) = (Vec::new(), Vec::new());
    if folder.within {
        // Looked at anew: a log may have come since.
        old_names = bytes(names_in(&folder.path)?);
        old_names.sort_by_key(|name| name.as_slice() == DATABASE_PLACE.as_bytes());
        new_names = bytes(names_in(&work.data())?);
    }
    let note = Note {
        snapshot,
        aside: aside.as_deref().and_then(Path::file_name).map(bytes_of),
        new: work.identity(&work.data()).ok_or_else(missing)?,
        old: work.identity(&folder.path),
        within: folder.within,
        old_names,
        new_names,
    };
    work.write_note(&note)?;
    Ok(note)
}

/// Swaps as noted; gives where the previous state is, if it is kept.
pub(super) fn run(folder: &Folder, work: &mut Work, note: &Note) -> Result<Option<PathBuf>> {
    work.leave = true;
    let swapped = if note.within { swap_within(folder, work, note) } else { swap_beside(folder, work, note) };
    match swapped {
        Ok(()) => finish(folder, work, note),
        Err(error) => {
            // Where all steps were taken back, what lies in the work folder is but the copy again.
            work.leave = begun(folder, work, note).unwrap_or(true);
            let place = show(&folder.path);
            Err(if work.leave {
                error.context(format!(
                    "{place} is half-way between old and new; all of both is in it and beside it"
                ))
            } else {
                error.context(format!("could not put the new folder in place; {place} is as it was"))
            })
        }
    }
}

fn swap_beside(folder: &Folder, work: &Work, note: &Note) -> Result<()> {
    let (new, place) = (work.data(), &folder.path);
    let failed = |errno: Errno| Error::io(format!("cannot replace {}", show(place)), errno);
    if note.old.is_none() {
        return rename(&new, place).map_err(failed);
    }
    match rustix::fs::renameat_with(CWD, &new, CWD, place, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        outcome => return outcome.map_err(failed),
    }
    // A moment without the folder; the next run would go on from there.
    let aside = aside_of(folder, work, note);
    rename(place, &aside).map_err(failed)?;
    rename(&new, place).map_err(|errno| {
        rename(&aside, place).ok();
        failed(errno)
    })
}

fn swap_within(folder: &Folder, work: &Work, note: &Note) -> Result<()> {
    let mut done: Vec<(PathBuf, PathBuf)> = Vec::new();
    let outcome = move_all(folder, work, note, &mut done);
    if outcome.is_err() {
        for (from, to) in done.iter().rev() {
            rename(to, from).ok();
        }
        fs::remove_dir(aside_of(folder, work, note)).ok();
    }
    outcome
}

/// Where what was there before goes: its own folder, or one in the work folder if it is not kept.
fn aside_of(folder: &Folder, work: &Work, note: &Note) -> PathBuf {
    match note.aside.as_ref().map(|name| OsStr::from_bytes(name)) {
        None => work.discarded(),
        Some(name) if note.within => folder.path.join(name),
        Some(name) => folder.parent.join(name),
    }
}

/// Takes every step that is not taken yet: first all old names go out, then all new ones come in.
fn move_all(folder: &Folder, work: &Work, note: &Note, done: &mut Vec<(PathBuf, PathBuf)>) -> Result<()> {
    let aside = aside_of(folder, work, note);
    let failed = |what: &Path, error: io::Error| Error::io(format!("cannot move {}", show(what)), error);
    match DirBuilder::new().mode(0o700).create(&aside) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&aside, error)),
        _ => {}
    }
    let mut step = |from: PathBuf, to: PathBuf| -> Result<()> {
        rename(&from, &to).map_err(|errno| failed(&from, errno.into()))?;
        done.push((from, to));
        Ok(())
    };
    for name in note.old_names.iter().map(|name| OsStr::from_bytes(name)) {
        let (from, to) = (folder.path.join(name), aside.join(name));
        // One that is out already made room for a new one of its name.
        if from.symlink_metadata().is_ok() && to.symlink_metadata().is_err() {
            step(from, to)?;
        }
    }
    for (from, to) in in_the_way(folder, work, note, &aside) {
        step(from, to)?;
    }
    sync(&aside).and_then(|()| sync(&folder.path)).map_err(|error| failed(&aside, error))?;
    for name in note.new_names.iter().map(|name| OsStr::from_bytes(name)) {
        let (from, to) = (work.data().join(name), folder.path.join(name));
        if from.symlink_metadata().is_ok() {
            step(from, to)?;
        }
    }
    sync(&folder.path).map_err(|error| failed(&aside, error))
}

/// What a server made since the old names went out, where a new one is to come in: it would be in the way, and a log
/// would be taken for that of the new database. It goes out too, all under one addition to its names that is free.
fn in_the_way(folder: &Folder, work: &Work, note: &Note, aside: &Path) -> Vec<(PathBuf, PathBuf)> {
    let waiting = note.new_names.iter().map(|name| Path::new(OsStr::from_bytes(name)));
    let waiting = waiting.filter(|name| work.data().join(name).symlink_metadata().is_ok());
    let with_companions = |name: &Path| {
        let companions = sqlite::COMPANIONS.map(|ending| sqlite::companion(name, ending));
        let comes_in = |name: &PathBuf| note.new_names.contains(&bytes_of(name.as_os_str()));
        let mut names = vec![name.to_path_buf()];
        names.extend(companions.into_iter().filter(|name| !comes_in(name)));
        names
    };
    let mut names: Vec<PathBuf> = waiting.flat_map(with_companions).collect();
    names.retain(|name| folder.path.join(name).symlink_metadata().is_ok());
    let added = |number: u32, name: &Path| {
        let mut added = OsString::from(format!("{HALF_WAY}{number}."));
        added.push(name);
        aside.join(added)
    };
    let is_free = |number: &u32| names.iter().all(|name| added(*number, name).symlink_metadata().is_err());
    let number = (1..1000).find(is_free).unwrap_or(1000);
    names.iter().map(|name| (folder.path.join(name), added(number, name))).collect()
}

/// After the swap: brings the previous state to its place, and removes what is left.
fn finish(folder: &Folder, work: &mut Work, note: &Note) -> Result<Option<PathBuf>> {
    let aside = note.aside.is_some().then(|| aside_of(folder, work, note));
    let failed = |error: io::Error| {
        Error::io(format!("the snapshot is in place, but {} cannot be tidied up", show(&work.path)), error)
            .hint("the previous state is whole in there; run the same command again to finish")
    };
    if !note.within {
        sync(&folder.parent).map_err(failed)?;
        let exchanged = note.old.is_some() && work.identity(&work.data()) == note.old;
        if let Some(aside) = aside.as_deref().filter(|_| exchanged) {
            rename(&work.data(), aside).map_err(|errno| failed(errno.into()))?;
        }
        sync(&folder.parent).map_err(failed)?;
    }
    work.remove()?;
    work.leave = false;
    Ok(aside)
}

/// Cleans up after a run that was killed, or finishes what it had begun.
///
/// # Errors
/// `Refused` where what is there is not what such a run leaves; `Busy` where a server works on it.
pub(super) fn recover(folder: &Folder, databases: &[PathBuf], reporter: &dyn Reporter) -> Result<()> {
    for place in folder.work_places() {
        if place.symlink_metadata().is_err() {
            continue;
        }
        let mut work = Work::take_over(place)?;
        work.leave = true;
        match work.note()? {
            Some(note) if begun(folder, &work, &note)? => {
                go_on(folder, &mut work, &note, databases, reporter)?;
            }
            _ => work.remove()?,
        }
    }
    Ok(())
}

/// Takes the steps of a swap that are left.
fn go_on(
    folder: &Folder,
    work: &mut Work,
    note: &Note,
    databases: &[PathBuf],
    reporter: &dyn Reporter,
) -> Result<()> {
    if note.within {
        // A server that was started half-way may work on what is there, and one from before on what is out.
        let aside = aside_of(folder, work, note);
        let out = databases.iter().filter_map(|database| database.strip_prefix(&folder.path).ok());
        let out: Vec<PathBuf> = out.map(|database| aside.join(database)).collect();
        refuse_if_in_use(&out)?;
        let guards = take_guards(databases)?;
        let mut done = Vec::new();
        move_all(folder, work, note, &mut done)
            .map_err(|error| error.hint("move away what is in the way, and run the command again"))?;
        if let Some((from, to)) = done.iter().find(|(_, to)| is_from_half_way(to)) {
            let cause = "was made by a server that ran while the folder was half-way between old and new";
            let finding = Finding::warning(show(from), cause);
            let kept = format!("it is with what was there before, as {}", show(to));
            let gone = "it goes with what was there before";
            let hint = if note.aside.is_some() { kept } else { gone.to_owned() };
            reporter.report(finding.with_hint(hint));
        }
        drop(guards);
    } else if work.identity(&folder.path).is_none() {
        rename(&work.data(), &folder.path)
            .map_err(|errno| Error::io(format!("cannot make {}", show(&folder.path)), errno))?;
    }
    let previous = finish(folder, work, note)?;
    let cause =
        format!("an earlier restore of snapshot {} was stopped half-way; finished it", note.snapshot.short());
    let finding = Finding::warning(show(&folder.path), cause);
    reporter.report(match previous {
        Some(previous) => {
            finding.with_hint(format!("what was there before it is kept in {}", show(&previous)))
        }
        None => finding,
    });
    Ok(())
}

fn is_from_half_way(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_bytes().starts_with(HALF_WAY.as_bytes()))
}

/// Whether a swap had begun; refuses what no swap leaves.
fn begun(folder: &Folder, work: &Work, note: &Note) -> Result<bool> {
    let (data, place) = (work.identity(&work.data()), work.identity(&folder.path));
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
        return if place == note.old && data == Some(note.new) { Ok(any) } else { Err(odd()) };
    }
    match (place, data) {
        (place, _) if place == Some(note.new) => Ok(true),
        (None, data) if data == Some(note.new) && note.old.is_some() => Ok(true),
        (place, data) if data == Some(note.new) && place == note.old => Ok(false),
        _ => Err(odd()),
    }
}

/// Renames what must not replace anything.
fn rename(from: &Path, to: &Path) -> std::result::Result<(), Errno> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match to.symlink_metadata() {
            Ok(_) => Err(Errno::EXIST),
            Err(_) => rustix::fs::rename(from, to),
        },
        outcome => outcome,
    }
}
