//! An open folder: a handle, and the path it was reached by.
//!
//! Invariant: from the handle on, one name at a time is opened and no link followed, so that nothing outside is
//! reached even if somebody swaps a folder for a link meanwhile.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, Statx, StatxFlags, openat, readlinkat, statx};
use rustix::io::{Errno, Result};

use super::metadata;

/// Many names at a time: a folder of 200,000 takes some two hundred calls.
const LIST_BUFFER: usize = 64 * 1024;

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    handle: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// Opens a host path, links followed, only to reach names in it: that needs no permission to list it.
    pub(super) fn reach(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { handle: openat(CWD, path, flags, Mode::empty())?, path: path.to_path_buf() })
    }

    /// Opens a name in this folder to list it. `path` is how to call it.
    pub(super) fn open_folder(&self, name: &[u8], path: PathBuf) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
        Ok(Self { handle: open_quietly(self.handle(), name, flags)?, path })
    }

    /// Opens a name in this folder, `..` among them, only to reach names in it.
    pub(super) fn reach_folder(&self, name: &[u8], path: PathBuf) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { handle: openat(self.handle(), name, flags, Mode::empty())?, path })
    }

    /// Opens a name in this folder to read it.
    pub(super) fn open_file(&self, name: &[u8]) -> Result<OwnedFd> {
        open_quietly(self.handle(), name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    /// The metadata of the folder itself.
    pub(super) fn stat_self(&self) -> Result<Statx> {
        statx(self.handle(), c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
    }

    /// The metadata of a name in this folder.
    pub(super) fn stat(&self, name: &[u8]) -> Result<Statx> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        statx(self.handle(), name, flags, StatxFlags::BASIC_STATS)
    }

    /// Where a symbolic link in this folder points.
    pub(super) fn link_target(&self, name: &[u8]) -> Result<Vec<u8>> {
        Ok(readlinkat(self.handle(), name, Vec::new())?.into_bytes())
    }

    /// Adds all names in this folder, unsorted; what was read before an error stays.
    pub(super) fn list(&self, names: &mut Vec<Box<[u8]>>) -> Result<()> {
        let mut buffer = Vec::with_capacity(LIST_BUFFER);
        let mut entries = RawDir::new(self.handle(), buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.into());
            }
        }
        Ok(())
    }

    /// What tells this folder from every other: file system and inode.
    pub(super) fn identity(&self) -> Result<(u64, u64)> {
        let stat = self.stat_self()?;
        Ok((metadata::device(&stat), stat.stx_ino))
    }

    /// The handle.
    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// The path by which it was reached.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The host path of a name in it.
    pub(super) fn path_of(&self, name: &[u8]) -> PathBuf {
        if name == b"." { self.path.clone() } else { self.path.join(OsStr::from_bytes(name)) }
    }
}

/// Opens without following a link and without touching the access time, where that is allowed.
fn open_quietly(folder: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(folder, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner and root may leave the access time alone.
        Err(Errno::PERM) => openat(folder, name, flags, Mode::empty()),
        result => result,
    }
}
