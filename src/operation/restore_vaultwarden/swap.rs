//! Putting the new folder in the place of the old one, and finishing what a killed run began.
//!
//! Beside the folder the swap is one exchange of two names, where the file system can do that, so that the old state
//! or the new one is in place at any moment. Within a mount point everything old is moved out, then everything new
//! in; a run that is killed between leaves parts in either place, all of them whole, and the next run goes on.
//!
//! Invariants: nothing that exists is replaced by a rename. A step that fails is taken back. Whatever does not look as
//! this program leaves it is not touched.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::folder::{Folder, Found, names_in, show};
use super::work::{Note, Work, bytes_of, identity, sync};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::report::{Finding, Reporter};
use crate::service::vaultwarden::DATABASE_PLACE;

/// What a run that was killed had done.
#[derive(Debug)]
pub(super) enum Earlier {
    /// Nothing is left of it.
    Nothing,
    /// It had begun to put this snapshot in place, which is now done.
    Finished { snapshot: Id, previous: Option<PathBuf> },
}

/// Notes what the swap of a finished work folder will do.
pub(super) fn prepare(folder: &Folder, work: &Work, snapshot: Id, keep: bool, time: &str) -> Result<Note> {
    let missing = || Error::missing(format!("{} is gone", show(&work.data())));
    let keep = keep && folder.found == Found::Vaultwarden;
    let aside = if keep { folder.aside(folder.within, time) } else { work.discarded() };
    let bytes = |names: Vec<std::ffi::OsString>| -> Vec<_> {
        names.iter().map(|name| bytes_of(Path::new(name))).collect()
    };
    let (mut old_names, mut new_names) = (Vec::new(), Vec::new());
    if folder.within {
        // Looked at anew: a log may have come since.
        old_names = bytes(names_in(&folder.path)?);
        old_names.sort_by_key(|name| name.as_slice() == DATABASE_PLACE.as_bytes());
        new_names = bytes(names_in(&work.data())?);
    }
    let note = Note {
        snapshot,
        aside: bytes_of(&aside),
        keep,
        new: identity(&work.data()).ok_or_else(missing)?,
        old: identity(&folder.path),
        within: folder.within,
        old_names,
        new_names,
        done: false,
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
    let aside = Path::new(OsStr::from_bytes(&note.aside));
    rename(place, aside).map_err(failed)?;
    rename(&new, place).map_err(|errno| {
        rename(aside, place).ok();
        failed(errno)
    })
}

fn swap_within(folder: &Folder, work: &Work, note: &Note) -> Result<()> {
    let aside = Path::new(OsStr::from_bytes(&note.aside));
    let mut done: Vec<(PathBuf, PathBuf)> = Vec::new();
    let outcome = move_all(folder, work, note, aside, &mut done);
    if outcome.is_err() {
        for (from, to) in done.iter().rev() {
            rename(to, from).ok();
        }
        fs::remove_dir(aside).ok();
    }
    outcome
}

/// Takes every step that is not taken yet: first all old names go out, then all new ones come in.
fn move_all(
    folder: &Folder,
    work: &Work,
    note: &Note,
    aside: &Path,
    done: &mut Vec<(PathBuf, PathBuf)>,
) -> Result<()> {
    let failed = |what: &Path, error: io::Error| Error::io(format!("cannot move {}", show(what)), error);
    match DirBuilder::new().mode(0o700).create(aside) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(aside, error)),
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
    sync(aside).and_then(|()| sync(&folder.path)).map_err(|error| failed(aside, error))?;
    for name in note.new_names.iter().map(|name| OsStr::from_bytes(name)) {
        let (from, to) = (work.data().join(name), folder.path.join(name));
        if from.symlink_metadata().is_ok() {
            step(from, to)?;
        }
    }
    sync(&folder.path).map_err(|error| failed(aside, error))
}

/// After the swap: brings the previous state to its place, and removes what is left.
fn finish(folder: &Folder, work: &mut Work, note: &Note) -> Result<Option<PathBuf>> {
    let aside = PathBuf::from(OsStr::from_bytes(&note.aside));
    let failed = |error: io::Error| {
        Error::io(format!("the snapshot is in place, but {} cannot be tidied up", show(&work.path)), error)
            .hint("the previous state is whole in there; run the same command again to finish")
    };
    if !note.within {
        sync(&folder.parent).map_err(failed)?;
        let exchanged = note.old.is_some() && identity(&work.data()) == note.old;
        if exchanged && note.keep {
            rename(&work.data(), &aside).map_err(|errno| failed(errno.into()))?;
        }
        sync(&folder.parent).map_err(failed)?;
    }
    // Where the old state is not kept, its going must never be taken for that of the new one.
    work.write_note(&Note { done: true, ..note.clone() })?;
    work.remove()?;
    work.leave = false;
    Ok(note.keep.then_some(aside))
}

/// Cleans up after a run that was killed, or finishes what it had begun.
///
/// # Errors
/// `Refused` where what is there is not what such a run leaves.
pub(super) fn recover(folder: &Folder, reporter: &dyn Reporter) -> Result<Earlier> {
    for place in folder.work_places() {
        if place.symlink_metadata().is_err() {
            continue;
        }
        let mut work = Work::take_over(place)?;
        work.leave = true;
        let Some(note) = work.note()?.filter(|note| !note.done) else {
            work.remove()?;
            continue;
        };
        if begun(folder, &work, &note)? {
            if note.within {
                let aside = Path::new(OsStr::from_bytes(&note.aside));
                move_all(folder, &work, &note, aside, &mut Vec::new()).map_err(|error| {
                    error.hint(
                        "move away what is in the way, such as a file that a server made since, and run the \
                                command again",
                    )
                })?;
            } else if identity(&folder.path).is_none() {
                rename(&work.data(), &folder.path)
                    .map_err(|errno| Error::io(format!("cannot make {}", show(&folder.path)), errno))?;
            }
            let snapshot = note.snapshot;
            let previous = finish(folder, &mut work, &note)?;
            let cause = format!(
                "an earlier restore of snapshot {} was stopped half-way; finished it",
                snapshot.short()
            );
            reporter.report(Finding::warning(show(&folder.path), cause));
            return Ok(Earlier::Finished { snapshot, previous });
        }
        work.remove()?;
    }
    Ok(Earlier::Nothing)
}

/// Whether a swap had begun; refuses what no swap leaves.
fn begun(folder: &Folder, work: &Work, note: &Note) -> Result<bool> {
    let (data, place) = (identity(&work.data()), identity(&folder.path));
    let aside = Path::new(OsStr::from_bytes(&note.aside));
    let odd = || {
        Error::refused(format!(
            "an earlier restore was stopped half-way, and what it left in {} is not as it left it",
            show(&work.path)
        ))
        .hint(
            "look into that folder: it may hold the previous state; move it away, and run the command again",
        )
    };
    if note.within {
        let came = |name: &[u8]| work.data().join(OsStr::from_bytes(name)).symlink_metadata().is_err();
        let any = aside.symlink_metadata().is_ok() || note.new_names.iter().any(|name| came(name));
        return if place == note.old { Ok(any) } else { Err(odd()) };
    }
    match (place, data) {
        (place, _) if place == Some(note.new) => Ok(true),
        (None, data) if data == Some(note.new) && note.old.is_some() => Ok(true),
        (place, data) if data == Some(note.new) && place == note.old => Ok(false),
        // It was killed while it removed its copy.
        (place, None) if place == note.old && note.old.is_some() => Ok(false),
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
