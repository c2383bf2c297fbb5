//! A private place for temporary copies, which the next run clears if this one is killed.
//!
//! Invariant: a folder is removed by somebody else only while its lock is free. Its first file is the lock, so a
//! folder without one is either empty, and its maker will notice and make another, or left behind by a
//! removal that was killed.
//!
//! Invariant: nothing is ever removed that belongs to another user, and no symbolic link is followed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::error::shown;
use crate::error::{Error, ErrorKind, Result};

/// Name of the lock file in the folder.
const LOCK: &str = "lock";

/// How often to try another name.
const TRIES: u32 = 16;

/// A private folder for temporary copies, removed when dropped, or when the last copy in it is.
#[derive(Clone, Debug)]
pub struct Scratch {
    held: Arc<Held>,
}

/// The folder and the lock that says it is in use.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    copies: AtomicU64,
    /// Kept open, for the lock goes with it.
    _lock: File,
}

impl Scratch {
    /// Makes a folder `strongroom-<uid>-<random>` below `parent` that only this user can enter, and removes what
    /// killed runs of this user left there.
    pub fn create(parent: &Path) -> Result<Self> {
        let failed = |error| Error::io(format!("cannot use {} for temporary files", shown(parent)), error);
        let hint = "choose another folder for temporary files";
        let parent = fs::canonicalize(parent).map_err(|error| failed(error).hint(hint))?;
        let mode = fs::metadata(&parent).map_err(|error| failed(error).hint(hint))?.permissions().mode();
        if mode & 0o1002 == 0o002 {
            // Anybody could rename our folder and put theirs in its place.
            let message =
                format!("{} lets every user rename what others put into it (mode {mode:o})", shown(&parent));
            return Err(
                Error::refused(message).hint("choose another folder, or set its sticky bit (chmod +t)")
            );
        }
        let prefix = format!("strongroom-{}-", rustix::process::geteuid().as_raw());
        sweep(&parent, &prefix);
        for _ in 0..TRIES {
            let mut random = [0; 8];
            getrandom::fill(&mut random)
                .map_err(|error| Error::new(ErrorKind::Io, "no random numbers").caused_by(error))?;
            let path = parent.join(format!("{prefix}{:016x}", u64::from_le_bytes(random)));
            if let Some(lock) = occupy(&path).map_err(|error| failed(error).hint(hint))? {
                return Ok(Self { held: Arc::new(Held { path, copies: AtomicU64::new(0), _lock: lock }) });
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            format!("each new folder in {} vanished while it was made", shown(&parent)),
        )
        .hint(hint))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.held.path
    }

    /// Makes a folder for one copy.
    pub(super) fn folder(&self) -> io::Result<Folder> {
        let number = self.held.copies.fetch_add(1, Ordering::Relaxed);
        let path = self.held.path.join(number.to_string());
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder { path, scratch: self.clone() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What remains, the next run removes.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// A folder for one copy, removed when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    scratch: Scratch,
}

impl Folder {
    #[cfg(test)]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Where the copy goes.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join("database")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Makes and locks a folder; nothing if somebody was in the way.
fn occupy(path: &Path) -> io::Result<Option<File>> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        made => made?,
    }
    let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path.join(LOCK));
    let lock = match lock {
        // A run that started at the same moment took our folder for a leftover.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        lock => lock?,
    };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        locked => locked?,
    }
    Ok((lock.metadata()?.nlink() > 0).then_some(lock))
}

/// Removes this user's leftovers. What cannot be removed harms nobody and is left to the next run.
fn sweep(parent: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_bytes().starts_with(prefix.as_bytes()) {
            drop(remove_leftover(&entry.path()));
        }
    }
}

fn remove_leftover(path: &Path) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty())?;
    if rustix::fs::fstat(&folder)?.st_uid != rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open_lock = || rustix::fs::openat(&folder, LOCK, flags, Mode::empty());
    let lock = match open_lock() {
        Err(rustix::io::Errno::NOENT) => match fs::remove_dir(path) {
            // Not empty after all: either its lock has just been made, or it is what a killed removal left.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => match open_lock() {
                Err(rustix::io::Errno::NOENT) => return fs::remove_dir_all(path),
                lock => lock?,
            },
            removed => return removed,
        },
        lock => lock?,
    };
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    // The lock is held until all is gone.
    fs::remove_dir_all(path)
}

#[cfg(test)]
mod tests {

    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn leftovers_go_and_living_folders_stay() {
        let parent = Scratch::create(&std::env::temp_dir()).unwrap();
        let root = parent.folder().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let name = |rest: &str| root.path().join(format!("strongroom-{uid}-{rest}"));

        let living = Scratch::create(root.path()).unwrap();
        assert_eq!(fs::metadata(living.path()).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(living.path().join("copy"), b"secret").unwrap();
        for (leftover, with_lock) in [("killed", true), ("halfway", false)] {
            fs::create_dir_all(name(leftover).join("0")).unwrap();
            fs::write(name(leftover).join("0/database"), b"secret").unwrap();
            if with_lock {
                fs::write(name(leftover).join(LOCK), b"").unwrap();
            }
        }
        fs::create_dir(name("empty")).unwrap();
        let precious = root.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join(LOCK), b"").unwrap();
        symlink(&precious, name("link")).unwrap();
        fs::create_dir(name("link-inside")).unwrap();
        symlink(&precious, name("link-inside").join("away")).unwrap();

        let second = Scratch::create(root.path()).unwrap();
        for gone in ["killed", "halfway", "empty", "link-inside"] {
            assert!(!name(gone).exists(), "{gone}");
        }
        assert!(precious.join(LOCK).exists());
        assert!(fs::symlink_metadata(name("link")).is_ok());
        assert!(living.path().join("copy").exists());
        let path = second.path().to_path_buf();
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn others_folders_are_left_alone_and_open_parents_refused() {
        let parent = Scratch::create(&std::env::temp_dir()).unwrap();
        let root = parent.folder().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        if uid == 0 {
            let foreign = root.path().join("strongroom-0-foreign");
            fs::create_dir(&foreign).unwrap();
            std::os::unix::fs::chown(&foreign, Some(12345), None).unwrap();
            drop(Scratch::create(root.path()).unwrap());
            assert!(foreign.exists());
        }
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(Scratch::create(root.path()).unwrap_err().kind(), ErrorKind::Refused);
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(Scratch::create(root.path()).is_ok());
        assert_eq!(Scratch::create(&root.path().join("none")).unwrap_err().kind(), ErrorKind::Missing);
    }
}
