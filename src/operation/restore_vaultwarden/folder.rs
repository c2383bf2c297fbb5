//! The data folder that is to be put back: what is there, and how it can be replaced.
//!
//! Invariant: nothing here changes anything.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind as IoErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, StatxAttributes, StatxFlags};

use super::mounts;
use crate::error::{Error, Result};
use crate::report::printable;
use crate::service::vaultwarden;
use crate::source::files;

/// What every disk of some file systems has at its top.
const LOST_AND_FOUND: &str = "lost+found";

/// What is at the place now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// An empty folder, but for what earlier restores kept there.
    Empty,
    /// A Vaultwarden.
    Vaultwarden,
}

/// A data folder, or where one is to be.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    /// Absolute and free of symbolic links.
    pub(super) path: PathBuf,
    /// The folder it lies in.
    pub(super) parent: PathBuf,
    /// What is there now.
    pub(super) found: Found,
    /// What earlier restores kept in it. It is nobody's to delete but its owner's.
    pub(super) kept_inside: Vec<OsString>,
    /// The folder itself must stay, for it is a mount point or the one above is not ours to change: what is in it
    /// is replaced instead.
    pub(super) within: bool,
}

/// A path for a person.
pub(super) fn show(path: &Path) -> String {
    printable(path.as_os_str().as_bytes())
}

impl Folder {
    /// Looks at the folder.
    ///
    /// # Errors
    /// `Refused` where it is none, or somebody else's, or cannot be replaced as a whole; `Missing` where the folder
    /// above it is not there.
    pub(super) fn open(given: &Path) -> Result<Self> {
        let path = resolve(given)?;
        let (Some(parent), Some(_)) = (path.parent().map(Path::to_path_buf), path.file_name()) else {
            return Err(not_one(&path));
        };
        let absent = match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => false,
            Ok(_) => return Err(Error::refused(format!("{} is not a folder", show(&path)))),
            Err(error) if error.kind() == IoErrorKind::NotFound => true,
            Err(error) => return Err(Error::io(format!("cannot look at {}", show(&path)), error)),
        };
        if absent {
            return Ok(Self { path, parent, found: Found::Absent, kept_inside: Vec::new(), within: false });
        }
        let names = names_in(&path)?;
        let is_one = vaultwarden::looks_like_one(&names);
        let found = if names.is_empty() { Found::Empty } else { Found::Vaultwarden };
        let of_its_own = names.iter().map(|name| path.join(name)).find(|inner| is_mount_point(inner));
        if let Some(mount) = of_its_own.or_else(|| mounts::below(&path).into_iter().next()) {
            return Err(Error::refused(format!("{} is a mount point of its own", show(&mount))).hint(
                "restore into a new folder with `strongroom restore SNAPSHOT --target FOLDER`, and copy its parts \
                 to where they are mounted",
            ));
        }
        let within = is_mount_point(&path) || !may_rename_in(&parent, &path);
        let kept_inside = kept_in(&path)?;
        let folder = Self { path, parent, found, kept_inside, within };
        // What a killed run left may look like nothing at all.
        if found == Found::Vaultwarden && !is_one && !folder.was_interrupted() {
            return Err(not_one(&folder.path));
        }
        Ok(folder)
    }

    /// Whether an earlier restore into it was killed, and left something to tidy up.
    pub(super) fn was_interrupted(&self) -> bool {
        self.work_places().iter().any(|place| place.symlink_metadata().is_ok())
    }

    /// Where a restore gathers what it is about to put in place, replacing the folder or what is in it.
    pub(super) fn work_places(&self) -> [PathBuf; 2] {
        [self.work_beside(), self.path.join(vaultwarden::RESTORING)]
    }

    /// The one of these that this restore uses.
    pub(super) fn work_place(&self) -> PathBuf {
        if self.within { self.path.join(vaultwarden::RESTORING) } else { self.work_beside() }
    }

    fn work_beside(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default();
        self.parent.join([OsStr::new("."), name, OsStr::new(vaultwarden::RESTORING)].join(OsStr::new("")))
    }

    /// A name that is free for what is there now, telling what it is and when it was put aside.
    pub(super) fn aside(&self, within: bool, time: &str) -> PathBuf {
        self.free(within, OsStr::new(&format!("{}{time}", vaultwarden::ASIDE)))
    }

    /// A name that is free beside the folder, for what an earlier restore kept in it.
    pub(super) fn beside(&self, kept: &OsStr) -> PathBuf {
        self.free(false, kept)
    }

    /// Where what earlier restores kept in it comes, if the folder itself is replaced.
    pub(super) fn moved_beside(&self) -> Vec<PathBuf> {
        let kept = self.kept_inside.iter().filter(|_| !self.within);
        kept.map(|name| self.beside(name)).collect()
    }

    fn free(&self, within: bool, ending: &OsStr) -> PathBuf {
        let (above, before) = match self.path.file_name() {
            Some(name) if !within => (&self.parent, name),
            _ => (&self.path, OsStr::new("")),
        };
        let candidate = |number: u32| {
            let mut name = before.to_owned();
            name.push(ending);
            if number > 0 {
                name.push(format!("-{number}"));
            }
            above.join(name)
        };
        let free = |path: &PathBuf| path.symlink_metadata().is_err();
        (0..1000).map(candidate).find(free).unwrap_or_else(|| candidate(1000))
    }
}

/// The path without links; the last name need not be there yet.
fn resolve(given: &Path) -> Result<PathBuf> {
    let path = files::absolute(given)?;
    let failed = |error| Error::io(format!("cannot find {}", show(given)), error);
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == IoErrorKind::NotFound && path.symlink_metadata().is_err() => {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(failed(error));
            };
            let parent = parent
                .canonicalize()
                .map_err(|error| failed(error).hint("make the folder above it first"))?;
            Ok(parent.join(name))
        }
        Err(error) => Err(failed(error)),
    }
}

fn not_one(path: &Path) -> Error {
    Error::refused(format!("{} is not a data folder of Vaultwarden, and is not empty", show(path)))
        .hint("name the folder that is mounted at /data in Vaultwarden's container, or a new one")
}

/// What is in a folder, but for what restores left there.
pub(super) fn names_in(path: &Path) -> Result<Vec<OsString>> {
    let mut names = all_names_in(path)?;
    names.retain(|name| !vaultwarden::is_ours(name.as_bytes()) && name != LOST_AND_FOUND);
    Ok(names)
}

/// What restores kept in a folder.
pub(super) fn kept_in(path: &Path) -> Result<Vec<OsString>> {
    let mut names = all_names_in(path)?;
    names.retain(|name| name.as_bytes().starts_with(vaultwarden::ASIDE.as_bytes()));
    Ok(names)
}

fn all_names_in(path: &Path) -> Result<Vec<OsString>> {
    let failed = |error| Error::io(format!("cannot list {}", show(path)), error);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name());
    }
    names.sort();
    Ok(names)
}

/// Whether a file system, or a folder of one, is mounted at a path.
pub(in crate::operation) fn is_mount_point(path: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    if let Ok(found) = rustix::fs::statx(CWD, path, flags, StatxFlags::BASIC_STATS)
        && found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
    {
        return found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    }
    // Before Linux 5.8: a folder mounted from the same disk is not seen, and renaming it fails.
    let device = |path: &Path| path.symlink_metadata().map(|found| found.dev()).ok();
    path.parent().is_some_and(|parent| device(parent) != device(path))
}

/// Whether this user may rename a folder that lies in another.
fn may_rename_in(parent: &Path, child: &Path) -> bool {
    const STICKY: u32 = 0o1000;
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    if rustix::fs::accessat(CWD, parent, wanted, AtFlags::EACCESS).is_err() {
        return false;
    }
    let me = rustix::process::geteuid();
    let owner = |path: &Path| path.symlink_metadata().map(|found| found.uid()).ok();
    let sticky = parent.symlink_metadata().is_ok_and(|found| found.mode() & STICKY != 0);
    !sticky || me.is_root() || [owner(parent), owner(child)].contains(&Some(me.as_raw()))
}

/// Bytes that this user may still write on the disk of a folder, where the system says.
pub(super) fn room_at(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}
