//! Putting the new folder in the place of the old one.
//!
//! Beside the folder the swap is one exchange of two names, where the file system can do that, so that the old state
//! or the new one is in place at any moment. Within a mount point everything old is moved out, then everything new
//! in; a run that is killed between leaves parts in either place, all of them whole, and the next run goes on.
//!
//! Invariants: nothing that exists is replaced by a rename. A step that fails is taken back. Whatever does not look as
//! this program leaves it is not touched. What earlier restores kept in a folder outlives it; and of what was in place only
//! that is deleted which was there when somebody asked for it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::folder::{Folder, Found, kept_in, names_in, show};
use super::recover::begun;
use super::work::{Note, Work, bytes_of, same, sync};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::operation::aside;
use crate::service::vaultwarden::DATABASE_PLACE;
use crate::source::sqlite;

/// What is put before the names of what somebody made in a folder half-way, and before a number.
pub(super) const HALF_WAY: &str = "half-way-";

/// Notes what the swap of a finished work folder will do.
pub(super) fn prepare(folder: &Folder, work: &Work, snapshot: Id, keep: bool, time: &str) -> Result<Note> {
    let missing = || Error::missing(format!("{} is gone", show(&work.data())));
    // Looked at anew: a log may have come since, or what nobody was asked about.
    let there = match folder.path.symlink_metadata() {
        Ok(_) => names_in(&folder.path)?,
        Err(_) => Vec::new(),
    };
    let unasked = folder.found != Found::Vaultwarden && !there.is_empty();
    let aside = (keep || unasked).then(|| folder.aside(folder.within, time));
    let bytes =
        |names: Vec<std::ffi::OsString>| -> Vec<_> { names.iter().map(|name| bytes_of(name)).collect() };
    let (mut old_names, mut new_names) = (Vec::new(), Vec::new());
    if folder.within {
        old_names = bytes(there);
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

/// Where what was in the folder is now.
pub(super) struct Kept {
    /// The previous state, if it is kept.
    pub(super) previous: Option<PathBuf>,
    /// What earlier restores had kept in the folder that is gone from there.
    pub(super) from_before: Vec<PathBuf>,
}

/// Swaps as noted; the previous state is deleted only if it is to be discarded.
pub(super) fn run(folder: &Folder, work: &mut Work, note: &Note, discard: bool) -> Result<Kept> {
    work.leave = true;
    let swapped = if note.within { swap_within(folder, work, note) } else { swap_beside(folder, work, note) };
    match swapped {
        Ok(()) => finish(folder, work, note, discard),
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
pub(super) fn aside_of(folder: &Folder, work: &Work, note: &Note) -> PathBuf {
    match note.aside.as_ref().map(|name| OsStr::from_bytes(name)) {
        None => work.discarded(),
        Some(name) if note.within => folder.path.join(name),
        Some(name) => folder.parent.join(name),
    }
}

/// Takes every step that is not taken yet: first all old names go out, then all new ones come in.
pub(super) fn move_all(
    folder: &Folder,
    work: &Work,
    note: &Note,
    done: &mut Vec<(PathBuf, PathBuf)>,
) -> Result<()> {
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
pub(super) fn finish(folder: &Folder, work: &mut Work, note: &Note, discard: bool) -> Result<Kept> {
    let failed = |error: io::Error| {
        Error::io(format!("the snapshot is in place, but {} cannot be tidied up", show(&work.path)), error)
            .hint("the previous state is whole in there; run the same command again to finish")
    };
    let old = aside_of(folder, work, note);
    let mut from_before = Vec::new();
    if !note.within {
        let is_old = |path: &Path| note.old.is_some() && same(work.identity(path), note.old);
        sync(&folder.parent).map_err(failed)?;
        if is_old(&work.data()) {
            rename(&work.data(), &old).map_err(|errno| failed(errno.into()))?;
        }
        if is_old(&old) {
            from_before = move_out_kept(folder, &old)?;
        }
        sync(&folder.parent).map_err(failed)?;
    }
    let previous = match note.aside {
        Some(_) => Some(old),
        None if discard => None,
        None => put_aside(folder, work).map_err(failed)?,
    };
    let kept = previous.as_deref().map(|path| format!(" (what was there before is kept in {})", show(path)));
    work.remove(discard).map_err(|error| {
        error
            .context(format!(
                "the snapshot is in place{}, but not all that is left in {} could be removed",
                kept.unwrap_or_default(),
                show(&work.path)
            ))
            .hint("run the same command again, which removes it, or remove that folder")
    })?;
    work.leave = false;
    Ok(Kept { previous, from_before })
}

/// What earlier restores kept in a folder that goes, or that somebody will remove one day, comes beside it.
fn move_out_kept(folder: &Folder, old: &Path) -> Result<Vec<PathBuf>> {
    let mut moved = Vec::new();
    for name in kept_in(old)? {
        let (from, to) = (old.join(&name), folder.beside(&name));
        rename(&from, &to).map_err(|errno| {
            Error::io(format!("the snapshot is in place, but {} cannot be moved", show(&from)), errno)
                .hint("an earlier restore kept it; move it elsewhere, and run the same command again")
        })?;
        moved.push(to);
    }
    Ok(moved)
}

/// Puts aside a previous state that was not to be kept, unless it is an empty folder.
pub(super) fn put_aside(folder: &Folder, work: &Work) -> io::Result<Option<PathBuf>> {
    let previous = work.discarded();
    match fs::remove_dir(&previous) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => return Err(error),
        Ok(()) => return Ok(None),
        Err(_) => {}
    }
    let aside = folder.aside(work.is_within(folder), &aside::time());
    rename(&previous, &aside)?;
    sync(aside.parent().unwrap_or(&folder.parent))?;
    Ok(Some(aside))
}

/// Renames what must not replace anything.
pub(super) fn rename(from: &Path, to: &Path) -> std::result::Result<(), Errno> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match to.symlink_metadata() {
            Ok(_) => Err(Errno::EXIST),
            Err(_) => rustix::fs::rename(from, to),
        },
        outcome => outcome,
    }
}
