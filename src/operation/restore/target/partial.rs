//! A file that is being restored: written aside by many threads, then given its name.
//!
//! Invariants: until it is finished it has a name nobody else uses, and only we may read it. Dropped before
//! that, it is gone. Opened again, it is the same file or an error.

use std::sync::{Arc, Mutex, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::make::ASIDE;
use super::{Shared, metadata};
use crate::backend::local::{random_name, rename_without_replacing};
use crate::error::{Error, Result};
use crate::format::node::{Node, NodeKind};
use crate::report::{Finding, printable};

/// What a file system leaves out at least, in bytes.
const BLOCK: u64 = 4096;

/// A file that has not got its name yet.
pub struct PartialFile {
    shared: Arc<Shared>,
    path: Vec<u8>,
    temporary: String,
    size: u64,
    /// Device and inode number: what tells this file from one put in its place.
    identity: (u64, u64),
    handle: Mutex<Option<Arc<OwnedFd>>>,
    finished: bool,
}

impl PartialFile {
    pub(super) fn create(shared: Arc<Shared>, path: &[u8], size: u64) -> Result<Self> {
        let failed = |errno: Errno| shared.failed("make the file", path, errno);
        let (parent, _) = shared.parent_of(path)?;
        let temporary = random_name(ASIDE).map_err(failed)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let handle = retry_on_intr(|| {
            shared.permitted(&parent, path, || rustix::fs::openat(&*parent, &temporary, flags, mode))
        })
        .map_err(failed)?;
        let prepared = retry_on_intr(|| rustix::fs::ftruncate(&handle, size))
            .and_then(|()| rustix::fs::fstat(&handle))
            .map_err(failed);
        let stat = match prepared {
            Ok(stat) => stat,
            Err(error) => {
                rustix::fs::unlinkat(&*parent, &temporary, AtFlags::empty()).ok();
                return Err(error);
            }
        };
        let handle = Mutex::new(Some(Arc::new(handle)));
        let identity = identity_of(&stat);
        Ok(Self { shared, path: path.to_vec(), temporary, size, identity, handle, finished: false })
    }

    /// Writes a stretch. What is never written stays a hole.
    ///
    /// # Errors
    /// `Corrupt` where it runs past the end of the file.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.size) {
            return Err(Error::corrupt(format!(
                "the data of {} run past its {} bytes",
                printable(&self.path),
                self.size
            )));
        }
        let handle = self.open()?;
        if !self.shared.sparse {
            return self.write_all(&handle, offset, bytes);
        }
        runs(offset, bytes).try_for_each(|(offset, bytes)| self.write_all(&handle, offset, bytes))
    }

    fn write_all(&self, handle: &OwnedFd, offset: u64, mut bytes: &[u8]) -> Result<()> {
        let mut position = offset;
        while !bytes.is_empty() {
            let written = retry_on_intr(|| rustix::io::pwrite(handle, bytes, position))
                .and_then(|written| if written == 0 { Err(Errno::IO) } else { Ok(written) })
                .map_err(|errno| self.shared.failed("write", &self.path, errno))?;
            position = position.saturating_add(written as u64);
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Gives back the descriptor, of which a process has few; the next write opens the file again.
    pub fn release_handle(&self) {
        drop(self.handle.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Sets owner, extended attributes, mode and times, and gives the file its name.
    ///
    /// What could not be set is a finding, as with [`super::Target::apply_metadata`].
    ///
    /// # Errors
    /// `Refused` where the name is taken. The file is then gone.
    pub fn finish(self, node: &Node) -> Result<Vec<Finding>> {
        self.finish_over(node, false)
    }

    /// The same in the place of what has the name, if it may be replaced.
    pub fn finish_over(mut self, node: &Node, replace: bool) -> Result<Vec<Finding>> {
        if node.kind != NodeKind::File {
            return Err(Error::corrupt(format!("{} is not a file in the snapshot", printable(&self.path))));
        }
        let handle = self.open()?;
        let object = metadata::Object::Open(&handle);
        let applied = metadata::apply(&self.shared, &object, &self.path, node, false);
        let (parent, name) = self.shared.parent_of(&self.path)?;
        if replace {
            self.shared.rename_over(&parent, self.temporary.as_bytes(), name, &self.path)?;
        } else {
            rename_without_replacing(&parent, self.temporary.as_bytes(), name)
                .map_err(|errno| self.shared.failed("name the file", &self.path, errno))?;
        }
        self.finished = true;
        Ok(applied.findings)
    }

    fn open(&self) -> Result<Arc<OwnedFd>> {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &*handle {
            return Ok(Arc::clone(handle));
        }
        let (parent, _) = self.shared.parent_of(&self.path)?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let (opened, stat) =
            retry_on_intr(|| rustix::fs::openat(&*parent, &self.temporary, flags, Mode::empty()))
                .and_then(|opened| rustix::fs::fstat(&opened).map(|stat| (opened, stat)))
                .map_err(|errno| self.shared.failed("open the file", &self.path, errno))?;
        if identity_of(&stat) != self.identity {
            return Err(Error::refused(format!("{} was replaced during the restore", printable(&self.path))));
        }
        let opened = Arc::new(opened);
        *handle = Some(Arc::clone(&opened));
        Ok(opened)
    }
}

impl Drop for PartialFile {
    /// Nobody is left to tell of a failure; its name shows what such a file is.
    fn drop(&mut self) {
        if !self.finished
            && let Ok((parent, _)) = self.shared.parent_of(&self.path)
        {
            rustix::fs::unlinkat(&*parent, &self.temporary, AtFlags::empty()).ok();
        }
    }
}

/// The parts of what is written that are not zeros, by blocks of the file.
fn runs(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = bytes;
    let mut position = offset;
    std::iter::from_fn(move || {
        let mut length = 0usize;
        loop {
            let at = position.saturating_add(length as u64);
            let tail = rest.get(length..).unwrap_or_default();
            let block = usize::try_from(BLOCK - at % BLOCK).unwrap_or(usize::MAX).min(tail.len());
            if tail.get(..block).unwrap_or_default().iter().any(|byte| *byte != 0) {
                length = length.saturating_add(block);
            } else if length > 0 || block == 0 {
                break;
            } else {
                position = at.saturating_add(block as u64);
                rest = tail.get(block..).unwrap_or_default();
            }
        }
        let run = (position, rest.get(..length).unwrap_or_default());
        position = position.saturating_add(length as u64);
        rest = rest.get(length..).unwrap_or_default();
        (length > 0).then_some(run)
    })
}

fn identity_of(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl std::fmt::Debug for PartialFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PartialFile({})", printable(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_left_out_by_blocks() {
        let mut bytes = vec![0; 20_000];
        let of =
            |bytes: &[u8], offset| runs(offset, bytes).map(|(at, run)| (at, run.len())).collect::<Vec<_>>();
        assert_eq!(of(&bytes, 100), []);
        assert_eq!(of(&[], 0), []);
        bytes[0] = 1;
        assert_eq!(of(&bytes, 0), [(0, 4096)]);
        assert_eq!(of(&bytes, 4000), [(4000, 96)]);
        bytes[19_999] = 1;
        assert_eq!(of(&bytes, 0), [(0, 4096), (16_384, 3616)]);
        bytes[5000] = 1;
        assert_eq!(of(&bytes, 0), [(0, 8192), (16_384, 3616)]);
        bytes.fill(1);
        assert_eq!(of(&bytes, 7), [(7, 20_000)]);
    }
}
