//! Removing what is in the way, and what a snapshot does not hold.
//!
//! Invariants: no symbolic link is followed, no other file system is entered, and what the caller wants kept stays,
//! with the folders it lies in.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType};
use rustix::io::{Errno, retry_on_intr};

use super::{Shared, Target, kind_at};
use crate::error::{Error, Result};
use crate::format::node::NodeKind;
use crate::format::path as place_path;
use crate::report::printable;

/// Something that goes, or would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its path.
    pub path: Vec<u8>,
    /// Its length in bytes; zero unless a file.
    pub size: u64,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// What of something stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// It, with all that lies in it.
    All,
    /// It alone: of what lies in it, each is asked for.
    Itself,
    /// Nothing of it.
    Nothing,
}

/// One step of a removal.
enum Step {
    Look(Vec<u8>),
    Leave(Vec<u8>),
}

impl Target {
    /// Removes what is at a path, with all that lies in it but for what stays; `removed` is told of each, and
    /// of all that cannot be removed. With `only_tell` nothing is removed.
    pub fn remove_all(
        &self,
        path: &[u8],
        only_tell: bool,
        stays: &dyn Fn(&[u8]) -> Stays,
        removed: &mut dyn FnMut(Result<Removed>),
    ) {
        // A stack of our own: what is in the target may be as deep as it likes.
        let mut steps = vec![Step::Look(path.to_vec())];
        let mut stay: Vec<Vec<u8>> = Vec::new();
        while let Some(step) = steps.pop() {
            let outcome = match step {
                Step::Look(path) => {
                    let staying = stays(&path);
                    if staying != Stays::Nothing {
                        stay.push(path.clone());
                        if staying == Stays::All || !self.is_folder(&path) {
                            continue;
                        }
                    }
                    self.remove_or_descend(path, only_tell, &mut steps)
                }
                Step::Leave(path) if stay.iter().any(|kept| place_path::is_below(kept, &path)) => {
                    stay.push(path);
                    continue;
                }
                Step::Leave(path) => self.remove_folder(path, only_tell).map(Some),
            };
            match outcome {
                Ok(Some(gone)) => removed(Ok(gone)),
                Ok(None) => {}
                Err((path, error)) => {
                    stay.push(path);
                    removed(Err(error));
                }
            }
        }
    }

    fn is_folder(&self, path: &[u8]) -> bool {
        self.look(path).ok().flatten().is_some_and(|seen| seen.kind == Some(NodeKind::Directory))
    }

    fn remove_or_descend(
        &self,
        path: Vec<u8>,
        only_tell: bool,
        steps: &mut Vec<Step>,
    ) -> Result<Option<Removed>, (Vec<u8>, Error)> {
        let look = || {
            let (parent, name) = self.shared.parent_of(&path)?;
            let failed = |errno| self.shared.failed("remove", &path, errno);
            let stat = rustix::fs::statat(&*parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            if let Some(what) = self.shared.own.get(&(stat.st_dev, stat.st_ino)) {
                let message = format!("{} is not removed: it is {what}, which is in use", printable(&path));
                return Err(Error::refused(message));
            }
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                return Ok(Err(self.names_on_same_mount(&path)?.ok_or_else(|| {
                    Error::refused(format!(
                        "{} is not removed: another file system is mounted there",
                        printable(&path)
                    ))
                })?));
            }
            if !only_tell {
                let unlink = || rustix::fs::unlinkat(&*parent, name, AtFlags::empty());
                self.shared.permitted(&parent, &path, unlink).map_err(failed)?;
            }
            let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            Ok(Ok(if is_file { u64::try_from(stat.st_size).unwrap_or_default() } else { 0 }))
        };
        match look() {
            Ok(Ok(size)) => Ok(Some(Removed { path, size, is_folder: false })),
            Ok(Err(names)) => {
                steps.push(Step::Leave(path.clone()));
                for name in names {
                    let mut below = path.clone();
                    place_path::push(&mut below, &name);
                    steps.push(Step::Look(below));
                }
                Ok(None)
            }
            Err(error) => Err((path, error)),
        }
    }

    fn remove_folder(&self, path: Vec<u8>, only_tell: bool) -> Result<Removed, (Vec<u8>, Error)> {
        let removed = (|| {
            let (parent, name) = self.shared.parent_of(&path)?;
            if !only_tell {
                let remove = || rustix::fs::unlinkat(&*parent, name, AtFlags::REMOVEDIR);
                self.shared
                    .permitted(&parent, &path, remove)
                    .map_err(|errno| self.shared.failed("remove", &path, errno))?;
                self.shared.forget(&path);
            }
            Ok(())
        })();
        match removed {
            Ok(()) => Ok(Removed { path, size: 0, is_folder: true }),
            Err(error) => Err((path, error)),
        }
    }
}

impl Shared {
    /// Refuses to replace what this program needs itself.
    pub(super) fn refuse_own(&self, parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<()> {
        if self.own.is_empty() {
            return Ok(());
        }
        let Ok(stat) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
        match self.own.get(&(stat.st_dev, stat.st_ino)) {
            Some(what) => {
                let message =
                    format!("{} is not replaced: it is the {what}, which is in use", printable(path));
                Err(Error::refused(message).hint("restore it under another folder, and compare the two"))
            }
            None => Ok(()),
        }
    }

    /// Gives something that was made aside its name, in the place of what has it. A folder goes if it is empty, or if
    /// all that lies in it may go.
    pub(super) fn rename_over(
        self: &std::sync::Arc<Self>,
        parent: &OwnedFd,
        aside: &[u8],
        name: &[u8],
        path: &[u8],
    ) -> Result<()> {
        let rename = || retry_on_intr(|| rustix::fs::renameat(parent, aside, parent, name));
        let failed = |errno| self.failed("name", path, errno);
        self.refuse_own(parent, name, path)?;
        match rename() {
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => {}
            outcome => return outcome.map_err(failed),
        }
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) => self.forget(path),
            Err(Errno::NOTEMPTY | Errno::EXIST) => self.clear(path)?,
            Err(errno) => return Err(failed(errno)),
        }
        if kind_at(parent, name) == Some(FileType::Directory) {
            return Err(failed(Errno::EXIST));
        }
        rename().map_err(failed)
    }

    /// Removes a folder with something in it, if it may go with all of that.
    fn clear(self: &std::sync::Arc<Self>, path: &[u8]) -> Result<()> {
        let may_go = |place: &[u8]| self.clearable.get().is_some_and(|all| all.contains(place));
        let in_the_way = || {
            let message = format!("a folder with something in it is in the place of {}", printable(path));
            Error::refused(message).hint("move it away, or let --delete remove it")
        };
        if !may_go(path) {
            return Err(in_the_way());
        }
        let target = Target { shared: std::sync::Arc::clone(self), is_empty: false };
        let stays = |place: &[u8]| if may_go(place) { Stays::Nothing } else { Stays::All };
        // Asked once more before anything goes: something may have been made in it meanwhile.
        for only_tell in [true, false] {
            let (mut first, mut is_whole) = (None, false);
            target.remove_all(path, only_tell, &stays, &mut |removed| match removed {
                Ok(removed) => is_whole |= removed.path == path,
                Err(error) => first = first.take().or(Some(error)),
            });
            match first {
                Some(error) => return Err(error),
                None if !is_whole => return Err(in_the_way()),
                None => {}
            }
        }
        Ok(())
    }
}
