//! File systems that are mounted below a data folder: found before anything is done, and never deleted from.

use std::ffi::{CStr, CString, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::operation::restore::target::Mount;

/// All that is mounted in this process's view.
const TABLE: &str = "/proc/self/mountinfo";

/// Which field of a line there is the place.
const PLACE_FIELD: usize = 4;

/// Where something is mounted below a folder, at any depth; nothing where the system does not tell.
pub(super) fn below(folder: &Path) -> Vec<PathBuf> {
    let mut places = fs::read(TABLE).map(|table| listed_below(&table, folder)).unwrap_or_default();
    places.retain(|place| is_shown(place));
    places
}

/// Whether a mount is what a path leads to, as far as the system tells: another may lie over it, or over a folder above.
fn is_shown(place: &Path) -> bool {
    // A server that does not answer is not waited for.
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    match rustix::fs::statx(CWD, place, flags, StatxFlags::empty()) {
        Ok(found) => {
            !found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
                || found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
        }
        Err(errno) => !matches!(errno, Errno::NOENT | Errno::NOTDIR),
    }
}

fn listed_below(table: &[u8], folder: &Path) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    let places = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(PLACE_FIELD)).map(unescaped);
    places.filter(|place| place != folder && place.starts_with(folder)).collect()
}

/// A place as it is; the table has `\040` for a space, and the like.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let code = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        bytes.push(code.unwrap_or(*first));
        rest = code.and_then(|_| after.get(3..)).unwrap_or(after);
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// A folder that is being emptied, and what is still in it.
struct Level {
    folder: OwnedFd,
    name: CString,
    names: Vec<(CString, FileType)>,
}

/// Removes a folder and all in it, and stops where another file system is mounted.
pub(super) fn remove_all(folder: &Path) -> io::Result<()> {
    let top = open(CWD, folder)?;
    let mount = Mount::of(&top)?;
    let mut levels = vec![Level { names: names_in(&top)?, folder: top, name: CString::default() }];
    while let Some(level) = levels.last_mut() {
        let Some((name, kind)) = level.names.pop() else {
            let done = levels.pop();
            if let Some((above, done)) = levels.last().zip(done) {
                gone(rustix::fs::unlinkat(&above.folder, &done.name, AtFlags::REMOVEDIR))?;
            }
            continue;
        };
        if kind != FileType::Directory {
            gone(rustix::fs::unlinkat(&level.folder, &name, AtFlags::empty()))?;
            continue;
        }
        let inner = open(&level.folder, &name)?;
        if Mount::of(&inner)? != mount {
            let name = name.to_string_lossy();
            return Err(io::Error::other(format!("another file system is mounted in it, at {name}")));
        }
        levels.push(Level { names: names_in(&inner)?, folder: inner, name });
    }
    fs::remove_dir(folder)
}

fn open(above: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(above, name, flags, Mode::empty())
}

fn names_in(folder: &OwnedFd) -> Result<Vec<(CString, FileType)>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if [c".", c".."].contains(&entry.file_name()) {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => kind_of(folder, entry.file_name())?,
            kind => kind,
        };
        names.push((entry.file_name().to_owned(), kind));
    }
    Ok(names)
}

fn kind_of(folder: &OwnedFd, name: &CStr) -> Result<FileType, Errno> {
    let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(found.st_mode))
}

/// Somebody else may have removed it.
fn gone(removed: Result<(), Errno>) -> Result<(), Errno> {
    match removed {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_below_is_found_at_any_depth() {
        let table = b"25 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            36 25 8:2 / /srv/data rw - ext4 /dev/sdb rw\n\
            37 36 0:9 / /srv/data/backups/my\\040nas rw shared:1 - nfs4 nas:/ rw\n\
            38 25 0:9 / /srv/data2 rw - nfs4 nas:/ rw\nshort line\n";
        assert_eq!(listed_below(table, Path::new("/srv/data")), [PathBuf::from("/srv/data/backups/my nas")]);
        assert_eq!(unescaped(b"a\\134b\\9"), PathBuf::from("a\\b\\9"));
        assert_eq!(listed_below(b"", Path::new("/")), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_folder_goes_with_all_in_it_and_nothing_outside() {
        let scratch = crate::source::sqlite::Scratch::create(&std::env::temp_dir()).unwrap();
        let folder = scratch.path().join("folder");
        fs::create_dir_all(folder.join("a/b/c")).unwrap();
        fs::write(folder.join("a/b/file"), "1").unwrap();
        fs::write(scratch.path().join("outside"), "2").unwrap();
        fs::create_dir(scratch.path().join("other")).unwrap();
        fs::write(scratch.path().join("other/file"), "3").unwrap();
        std::os::unix::fs::symlink(scratch.path().join("other"), folder.join("a/link")).unwrap();
        remove_all(&folder).unwrap();
        assert!(!folder.exists());
        assert!(scratch.path().join("outside").exists() && scratch.path().join("other/file").exists());
        assert!(remove_all(&scratch.path().join("outside")).is_err());
    }
}
