//! The local cache: the host's id, locks of running sessions, and the metadata of the last snapshots, sealed.
//!
//! Deleting it costs time, never correctness. Everything in it that came from a snapshot is sealed under a key
//! derived from the write secret; folders are 0700 and files 0600. Layout, below `<cache>/<repository id>/`:
//! `lock`, held by every command that uses the cache, `place`, where the repository was found, `host-id`, `sessions/<id>`,
//! `trees/<snapshot id>`, `notes/<id>`, `notes.lock`, `kept/` ([`super::kept`]), and `index/`, whose files
//! [`super::index`] describes: they are not sealed, for they are searched where they lie, and hold no more than keyed ids
//! and places.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::Repository;
use super::cached_tree::{CachedTree, NEW_TREE, TreeRecorder};
use super::caches::is_same_file;
use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;

/// How often a lock is asked for, and the pause between.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The file that is locked, shared with others, while a cache is used.
pub(super) const LOCK: &str = "lock";

/// The cache of one repository on this host.
#[derive(Clone, Debug)]
pub struct Cache {
    pub(super) folder: PathBuf,
    host_id: Id,
    /// Keeps the cache from being cleared; none where the file system knows no locks.
    _used: Option<Arc<File>>,
}

/// The lock of a session that runs, or ran, on this host; free once its process is gone.
pub struct SessionLock {
    path: PathBuf,
    _file: File,
}

impl SessionLock {
    /// Removes the lock for good: the session is settled.
    pub fn remove(self) {
        if std::fs::remove_file(&self.path).is_err() {
            // A leftover lock file is looked at again while its session is there, and is a name in a folder after.
        }
    }
}

impl Cache {
    /// Opens or makes the cache of a repository below `parent`.
    pub fn open(parent: &Path, repository: &Id) -> Result<Self> {
        let folder = parent.join(repository.to_hex());
        let used = hold(&folder)?;
        for folder in [&folder.join("sessions"), &folder.join("trees")] {
            make(folder)?;
        }
        let host_id = read_or_make_host_id(&folder)?;
        let cache = Self { folder, host_id, _used: used };
        cache.remove_leftovers()?;
        Ok(cache)
    }

    /// The folder below `parent` for copies of a repository's index.
    pub fn index_folder(parent: &Path, repository: &Id) -> PathBuf {
        parent.join(repository.to_hex()).join("index")
    }

    /// Removes what killed runs began to write; what living ones write is locked.
    fn remove_leftovers(&self) -> Result<()> {
        let folder = self.folder.join("trees");
        let fail = |error| Error::io(format!("cannot list {}", folder.display()), error);
        for entry in std::fs::read_dir(&folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let begun =
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(NEW_TREE.as_bytes()));
            let Some(file) = begun.then(|| File::open(&path).ok()).flatten() else { continue };
            let dead = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            if dead && std::fs::remove_file(&path).is_err() {
                // Only space is lost, until the next run tries again.
            }
        }
        Ok(())
    }

    /// This host's random id.
    pub fn host_id(&self) -> &Id {
        &self.host_id
    }

    /// Makes the lock of a session that begins.
    pub(crate) fn lock_session(&self, id: &Id) -> Result<SessionLock> {
        let path = self.folder.join("sessions").join(id.to_hex());
        let file = open_private(&path, true)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| Error::io(format!("cannot lock {}", path.display()), error))?;
        Ok(SessionLock { path, _file: file })
    }

    /// Takes a lock that commands of this host hold for moments only; waits for it some seconds and no longer, for
    /// whoever holds it may have been stopped, and a backup waits for nobody.
    ///
    /// # Errors
    /// `Busy` where somebody else keeps it.
    pub(super) fn lock(&self, name: &str) -> Result<File> {
        let path = self.folder.join(name);
        let file = open_private(&path, true)?;
        for _ in 0..LOCK_ATTEMPTS {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(error) => return Err(Error::io(format!("cannot lock {}", path.display()), error)),
            }
        }
        Err(Error::new(ErrorKind::Busy, format!("another command keeps {} locked", path.display())))
    }

    /// Takes the lock of a session that began on this host and whose process is gone.
    pub(crate) fn take_dead_lock(&self, id: &Id) -> Result<Option<SessionLock>> {
        let path = self.folder.join("sessions").join(id.to_hex());
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(format!("cannot open {}", path.display()), error)),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(SessionLock { path, _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::io(format!("cannot lock {}", path.display()), error)),
        }
    }

    /// Whether a session that began on this host still runs here; nothing where it did not begin here.
    pub fn session_runs(&self, id: &Id) -> Result<Option<bool>> {
        if !self.folder.join("sessions").join(id.to_hex()).exists() {
            return Ok(None);
        }
        Ok(Some(self.take_dead_lock(id)?.is_none()))
    }

    fn tree_path(&self, snapshot: &Id) -> PathBuf {
        self.folder.join("trees").join(snapshot.to_hex())
    }

    /// Opens the cached metadata of a snapshot, where there is some.
    pub fn open_tree<'a>(&self, repository: &'a Repository, snapshot: &Id) -> Result<Option<CachedTree<'a>>> {
        CachedTree::open(repository, &self.tree_path(snapshot))
    }

    /// Starts writing the metadata of a new snapshot; `previous` is what was read of the one before.
    pub fn write_tree<'a>(
        &self,
        repository: &'a Repository,
        previous: Option<Arc<CachedTree<'a>>>,
    ) -> Result<TreeRecorder<'a>> {
        TreeRecorder::create(repository, self.folder.join("trees"), previous)
    }

    /// Removes the cached metadata of a snapshot.
    pub fn remove_tree(&self, snapshot: &Id) {
        if std::fs::remove_file(self.tree_path(snapshot)).is_err() {
            // Only space is lost, until the next run tries again.
        }
    }

    /// The snapshots whose metadata is cached.
    pub fn trees(&self) -> Result<Vec<Id>> {
        let folder = self.folder.join("trees");
        let fail = |error| Error::io(format!("cannot list {}", folder.display()), error);
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(fail)? {
            ids.extend(entry.map_err(fail)?.file_name().to_str().and_then(Id::from_hex));
        }
        Ok(ids)
    }
}

fn make(folder: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
        Error::io(format!("cannot make the cache folder {}", folder.display()), error)
            .hint("choose another by --cache-dir, or do without by --no-cache")
    })
}

/// Makes a cache's folder and keeps it from being cleared; waits for whoever clears it as long as for a lock.
fn hold(folder: &Path) -> Result<Option<Arc<File>>> {
    let path = folder.join(LOCK);
    for _ in 0..LOCK_ATTEMPTS {
        make(folder)?;
        let file = match open_private(&path, true) {
            // It was cleared between the two.
            Err(error) if error.kind() == ErrorKind::Missing => continue,
            file => file?,
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) if is_same_file(&file, &path) => return Ok(Some(Arc::new(file))),
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => std::thread::sleep(LOCK_PAUSE),
            Err(_) => return Ok(None),
        }
    }
    Err(Error::new(ErrorKind::Busy, format!("another command keeps {} locked", path.display())))
}

pub(super) fn open_private(path: &Path, create: bool) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| Error::io(format!("cannot open {}", path.display()), error))
}

fn read_or_make_host_id(folder: &Path) -> Result<Id> {
    let path = folder.join("host-id");
    for _ in 0..2 {
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                if let Some(id) = Id::from_hex(text.trim()) {
                    return Ok(id);
                }
                // Torn by a crash: sessions begun under the old id are nobody's now, which is safe.
                std::fs::remove_file(&path)
                    .map_err(|error| Error::io("cannot renew the host's id", error))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(format!("cannot read {}", path.display()), error)),
        }
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made.and_then(|mut file| random_line(&mut file)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io(format!("cannot write {}", path.display()), error)),
        }
    }
    let text =
        std::fs::read_to_string(&path).map_err(|error| Error::io("cannot read the host's id", error))?;
    Id::from_hex(text.trim())
        .ok_or_else(|| Error::corrupt(format!("{} is damaged", path.display())).hint("remove it"))
}

fn random_line(file: &mut File) -> std::io::Result<()> {
    let id = random::id().map_err(std::io::Error::other)?;
    file.write_all(format!("{id}\n").as_bytes())
}
