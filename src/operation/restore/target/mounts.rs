//! What of the target lies on its own file system.
//!
//! Invariant: a folder is asked by the handle through which it is then listed.

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, RawDir, StatxFlags};
use rustix::io::{Errno, retry_on_intr};

use super::{LISTING_BUFFER, Seen, Target};
use crate::error::Result;

/// A file system, and how it is mounted where the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::operation) struct Mount {
    device: (u32, u32),
    number: Option<u64>,
}

impl Mount {
    /// Where an open file or folder lies.
    pub(in crate::operation) fn of(open: impl AsFd) -> Result<Self, Errno> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        match retry_on_intr(|| rustix::fs::statx(&open, "", AtFlags::EMPTY_PATH, wanted)) {
            Ok(found) => {
                let tells = found.stx_mask & StatxFlags::MNT_ID.bits() != 0;
                let device = (found.stx_dev_major, found.stx_dev_minor);
                Ok(Self { device, number: tells.then_some(found.stx_mnt_id) })
            }
            // Old kernels do not know the call; filters of containers forbid it.
            Err(Errno::NOSYS | Errno::PERM) => {
                let device = rustix::fs::fstat(&open)?.st_dev;
                let device = (rustix::fs::major(device), rustix::fs::minor(device));
                Ok(Self { device, number: None })
            }
            Err(errno) => Err(errno),
        }
    }
}

impl Target {
    /// The names in a folder; nothing where another file system than that of the top is mounted there, or above.
    pub fn names_on_same_mount(&self, path: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        let failed = |errno| self.shared.failed("list", path, errno);
        let folder = self.shared.open_to_list(path).map_err(failed)?;
        let here = Mount::of(&folder).map_err(failed)?;
        if here != Mount::of(&self.shared.root).map_err(failed)? {
            return Ok(None);
        }
        names_in(&folder).map(Some).map_err(failed)
    }

    /// What something in the target is to this restore, where it is in use.
    pub fn in_use(&self, path: &[u8]) -> Option<&'static str> {
        if self.shared.own.is_empty() {
            return None;
        }
        self.own(&self.look(path).ok().flatten()?)
    }

    /// The same of what was looked at.
    pub fn own(&self, seen: &Seen) -> Option<&'static str> {
        self.shared.own.get(&seen.identity).copied()
    }
}

/// The names in an open folder, but for those of itself and the one above.
pub(super) fn names_in(folder: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut buffer = Vec::with_capacity(LISTING_BUFFER);
    let mut reader = RawDir::new(folder, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = reader.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}
