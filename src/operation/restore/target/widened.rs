//! Folders that their owner may not write in, and whose modes are widened for as long as something is made in them.
//!
//! Invariant: each ends with the mode that it had, unless the restore gives it another: however the restore ends, short of
//! a kill.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::Mode;
use rustix::io::Errno;

use super::{Shared, metadata};

/// What tells a folder from others: device and inode number.
type Identity = (u64, u64);

/// The folders that were widened: where each is, and the mode that it had.
#[derive(Default)]
pub(super) struct Widened(Mutex<HashMap<Identity, (Vec<u8>, u32)>>);

impl Widened {
    fn note(&self, identity: Identity, folder: &[u8], mode: u32) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(identity).or_insert_with(|| (folder.to_vec(), mode));
    }

    /// Takes note that a folder gets a mode of its own.
    pub(super) fn forget(&self, identity: Identity) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&identity);
    }
}

impl Shared {
    /// Makes something in the folder of this path, or removes it; where its mode forbids that to its own owner, the
    /// mode is widened until the end of the restore.
    pub(super) fn permitted<T>(
        &self,
        parent: &Arc<OwnedFd>,
        path: &[u8],
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match make() {
            Err(Errno::ACCESS) if !self.privileged => {
                let stat = rustix::fs::fstat(&**parent)?;
                let mode = stat.st_mode & 0o7777;
                let wider = mode | 0o700;
                if mode == wider {
                    return Err(Errno::ACCESS);
                }
                rustix::fs::chmod(metadata::through_handle(parent), Mode::from_raw_mode(wider))
                    .map_err(|_| Errno::ACCESS)?;
                let folder = super::checked(path).map(|(folder, _)| folder).unwrap_or_default();
                self.widened.note((stat.st_dev, stat.st_ino), folder, mode);
                make()
            }
            outcome => outcome,
        }
    }

    /// Gives the folders that were widened the modes that they had. Of those that are not where they were, somebody else
    /// takes care. The deepest come first: what lies above them may have to be entered.
    pub(super) fn narrow(&self) {
        let widened = std::mem::take(&mut *self.widened.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut widened: Vec<(Identity, (Vec<u8>, u32))> = widened.into_iter().collect();
        widened.sort_by_key(|(_, (folder, _))| std::cmp::Reverse(folder.len()));
        for (identity, (folder, mode)) in widened {
            let Ok(handle) = self.open_beneath(&folder) else { continue };
            let is_it = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino) == identity;
            if rustix::fs::fstat(&handle).is_ok_and(is_it) {
                // Nobody is left to tell of a failure; the folder is its owner's as before.
                rustix::fs::chmod(metadata::through_handle(&handle), Mode::from_raw_mode(mode)).ok();
            }
        }
    }
}
