//! Temporary files: made by whoever writes an object, and removed where he died before it had its name.
//!
//! Invariant: a file is locked while it is written, and removed only by who holds its lock: a living writer never loses
//! his. Between making and locking he may; he finds that out and makes another.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock};
use rustix::io::{Errno, retry_on_intr};

use super::{LocalBackend, entries, is_file, open_folder, random_name, size_of};
use crate::backend::ObjectKind;

/// How the names of temporary files begin.
const TEMPORARY: &str = ".tmp-";
/// How often a writer may lose a file before it is locked.
const ATTEMPTS: usize = 8;

/// Makes a temporary file and locks it, where the file system has locks.
pub(super) fn create_locked(folder: &OwnedFd, mode: Mode) -> Result<(String, OwnedFd), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..ATTEMPTS {
        let name = random_name(TEMPORARY)?;
        let file = retry_on_intr(|| rustix::fs::openat(folder, &name, flags, mode))?;
        // Whoever removes leftovers may hold it for a moment. Without locks nobody removes anything.
        if flock(&file, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK)
            && rustix::fs::fstat(&file)?.st_nlink > 0
        {
            return Ok((name, file));
        }
    }
    Err(Errno::AGAIN)
}

impl LocalBackend {
    /// Removes temporary files that nobody has locked; gives how many, and their bytes.
    pub(super) fn remove_temporary_files(&self) -> Result<(u64, u64), Errno> {
        let mut removed = (0u64, 0u64);
        let mut clear = |folder: &OwnedFd| -> Result<(), Errno> {
            for name in entries(folder)?.iter().filter(|name| name.starts_with(TEMPORARY.as_bytes())) {
                if let Some(bytes) = remove_if_dead(folder, name)? {
                    removed = (removed.0.saturating_add(1), removed.1.saturating_add(bytes));
                }
            }
            Ok(())
        };
        clear(&self.root)?;
        for kind in ObjectKind::ALL.iter().filter(|kind| **kind != ObjectKind::Config) {
            let top = match open_folder(&self.root, kind.folder()) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            clear(&top)?;
            for number in (0..=u8::MAX).filter(|_| *kind == ObjectKind::Pack) {
                match open_folder(&top, &format!("{number:02x}")) {
                    Err(Errno::NOENT) => {}
                    other => clear(&other?)?,
                }
            }
        }
        Ok(removed)
    }
}

fn remove_if_dead(folder: &OwnedFd, name: &[u8]) -> Result<Option<u64>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match retry_on_intr(|| rustix::fs::openat(folder, name, flags, Mode::empty())) {
        // It got its name, or somebody else removed it; what cannot be looked into is left alone.
        Err(Errno::NOENT | Errno::LOOP | Errno::ACCESS | Errno::PERM) => return Ok(None),
        other => other?,
    };
    let stat = rustix::fs::fstat(&file)?;
    if !is_file(&stat) || flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(None);
    }
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(None),
        other => other.map(|()| Some(size_of(&stat))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::open_top;
    use super::*;
    use crate::backend::conformance::Folder;
    use crate::backend::{Backend, ObjectName};
    use crate::id::Id;

    #[test]
    fn what_a_living_writer_holds_stays_and_the_rest_goes() {
        let folder = Folder::new();
        let backend = LocalBackend::create(&folder.path("repository")).unwrap();
        let name = ObjectName::new(ObjectKind::Pack, Id([0x3f; 32]));
        backend.put(&name, b"pack").unwrap();
        let packs = open_top(&folder.path("repository/packs/3f")).unwrap();
        let (held, file) = create_locked(&packs, Mode::RUSR).unwrap();
        let dead = [".tmp-0123", "packs/.tmp-x", "packs/00/.tmp-y", "index/.tmp-z", "keys/.tmp-"];
        for name in dead {
            fs::write(folder.path("repository").join(name), b"12345").unwrap();
        }
        assert_eq!(backend.remove_leftovers().unwrap(), (5, 25));
        assert_eq!(backend.remove_leftovers().unwrap(), (0, 0));
        assert!(folder.path("repository/packs/3f").join(&held).exists());
        drop(file);
        assert_eq!(backend.remove_leftovers().unwrap(), (1, 0));
        assert_eq!(backend.get(&name, 100).unwrap(), b"pack");
    }
}
