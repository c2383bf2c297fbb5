//! Removing what a restore that was killed left unfinished.
//!
//! Invariants: only names that a restore gives, and none of a restore that may still be at work. One holds a lock on
//! its folder for as long as it lives, so the folders from the root down to a leftover are asked.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode};
use rustix::io::{Errno, retry_on_intr};

use super::make::ASIDE;
use super::{Shared, TOP, Target};
use crate::format::path as place_path;

/// Most folders that lie above one another.
const ABOVE_MAX: usize = 4096;

/// Whether a name is one that a restore gives to what is not finished.
pub fn is_leftover(name: &[u8]) -> bool {
    let digits = name.strip_prefix(ASIDE.as_bytes()).unwrap_or_default();
    digits.len() == 32 && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What may be swept, found out once for a restore.
pub struct Sweep<'t> {
    shared: &'t Shared,
}

impl Target {
    /// A sweep, unless another restore may be at work around this folder.
    pub fn sweep(&self) -> Option<Sweep<'_>> {
        let shared = &*self.shared;
        (shared.locked && !is_in_work_above(&shared.root)).then_some(Sweep { shared })
    }
}

impl Sweep<'_> {
    /// Removes what was left unfinished in a folder, given the names in it; gives how many there were. What cannot
    /// be removed stays, and does no harm.
    pub fn folder(&self, path: &[u8], names: &[Vec<u8>], kept: &dyn Fn(&[u8]) -> bool) -> u64 {
        let mut leftovers = names.iter().filter(|name| is_leftover(name)).peekable();
        if leftovers.peek().is_none() || self.is_in_work(path) {
            return 0;
        }
        let user = rustix::process::geteuid().as_raw();
        let mut removed = 0u64;
        for name in leftovers {
            let mut below = path.to_vec();
            place_path::push(&mut below, name);
            let Ok((parent, _)) = self.shared.parent_of(&below) else { continue };
            let Ok(stat) = rustix::fs::statat(&*parent, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            // As root we may have given it to its owner already.
            let ours = stat.st_uid == user || self.shared.privileged;
            if is_folder || !ours || kept(&below) {
                continue;
            }
            if rustix::fs::unlinkat(&*parent, name.as_slice(), AtFlags::empty()).is_ok() {
                removed = removed.saturating_add(1);
            }
        }
        removed
    }

    /// Whether a restore is at work in a folder below the top, or in one above it.
    fn is_in_work(&self, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        let ends = ends.chain((!path.is_empty()).then_some(path.len()));
        ends.filter_map(|end| path.get(..end))
            .any(|folder| self.shared.open_to_list(folder).is_ok_and(|folder| is_locked(&folder)))
    }
}

fn is_locked(folder: &OwnedFd) -> bool {
    // The lock goes with the handle.
    rustix::fs::flock(folder, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
}

fn is_in_work_above(root: &OwnedFd) -> bool {
    let identity = |folder: &OwnedFd| rustix::fs::fstat(folder).map(|stat| (stat.st_dev, stat.st_ino));
    let Ok(mut here) = rustix::fs::openat(root, ".", TOP, Mode::empty()) else { return true };
    for _ in 0..ABOVE_MAX {
        let Ok(above) = retry_on_intr(|| rustix::fs::openat(&here, "..", TOP, Mode::empty())) else {
            // What we may not open, no restore of ours works in.
            return false;
        };
        if identity(&above) == identity(&here) {
            return false;
        }
        if is_locked(&above) {
            return true;
        }
        here = above;
    }
    true
}
