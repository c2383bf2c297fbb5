//! Where copies of the index lie on this computer: in the cache, and in the folder for temporary files.
//!
//! Files are 0600 in folders of 0700, and no symbolic link is followed. A copy is written under another name and
//! renamed when it is whole; what a killed run left half-written is locked by nobody and goes with the next run. Nothing is
//! flushed to the disk: a copy that a power failure tore is found out by its MACs.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};

use crate::crypto::random;
use crate::error::{Error, Result};

/// How the name of a copy begins that is being written.
const NEW: &str = "new-";
/// How the name of a copy begins.
const RUN: &str = "run-";

/// Where copies of the index may lie, and from which size on.
#[derive(Clone, Debug)]
pub struct IndexFolders {
    cache: Option<PathBuf>,
    temporary: Option<PathBuf>,
    /// Places that are gathered in memory before they go to a file.
    pub(super) memory_places: usize,
    /// Places of copies that are read into memory when they are opened: searching there is a hundred times faster.
    pub(super) loaded_places: usize,
    /// From how much work on a copy is kept: places, and [`OBJECT_WORTH`] for each object.
    pub(super) copy_worth: usize,
    /// Bytes of index objects that are read at once.
    pub(super) read_bytes: u64,
}

/// What not having to fetch one index object is worth, in places.
pub(super) const OBJECT_WORTH: usize = 1024;

impl Default for IndexFolders {
    /// No folders: all stays in memory.
    fn default() -> Self {
        Self {
            cache: None,
            temporary: None,
            memory_places: 1 << 18,
            loaded_places: 1 << 19,
            copy_worth: 1 << 13,
            read_bytes: 4 << 20,
        }
    }
}

impl IndexFolders {
    /// Copies are kept in `cache`, where one is wanted, and a large index is sorted there or in `temporary`.
    pub fn new(cache: Option<PathBuf>, temporary: Option<PathBuf>) -> Self {
        Self { cache, temporary, ..Self::default() }
    }

    /// Changes from which size on files are used and searched, so that tests need no large index.
    #[must_use]
    pub fn with_sizes(mut self, memory_places: usize, copy_worth: usize, read_bytes: u64) -> Self {
        self.memory_places = memory_places;
        self.loaded_places = 0;
        self.copy_worth = copy_worth;
        self.read_bytes = read_bytes;
        self
    }

    /// Without the cache: for whoever must see every index object himself.
    pub(super) fn without_cache(&self) -> Self {
        let temporary = self.temporary.clone().or_else(|| self.cache.clone());
        Self { cache: None, temporary, ..self.clone() }
    }

    /// Whether there is any folder.
    pub(super) fn has_room(&self) -> bool {
        self.cache.is_some() || self.temporary.is_some()
    }

    /// Whether copies are kept.
    pub(super) fn keeps_copies(&self) -> bool {
        self.cache.is_some()
    }

    /// A file without a name, gone when it is closed.
    pub(crate) fn temporary_file(&self) -> Result<File> {
        let mut last = Error::refused("there is no folder for temporary files");
        for folder in self.cache.iter().chain(&self.temporary) {
            match create(folder) {
                Ok((path, file)) => {
                    remove(&path);
                    return Ok(file);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A new file in the cache, to be named by [`keep`] when it is whole.
    pub(super) fn new_copy(&self) -> Result<(PathBuf, File)> {
        let folder = self.cache.as_ref().ok_or_else(|| Error::refused("no cache is wanted"))?;
        let (path, file) = create(folder)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| Error::io(format!("cannot lock {}", path.display()), error))?;
        Ok((path, file))
    }

    /// The copies in the cache; removes what killed runs left.
    pub(super) fn copies(&self) -> Vec<PathBuf> {
        let entries = self.cache.as_ref().and_then(|folder| std::fs::read_dir(folder).ok());
        let mut copies = Vec::new();
        for path in entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            if name.starts_with(RUN.as_bytes()) {
                copies.push(path);
            } else if name.starts_with(NEW.as_bytes())
                && let Ok(file) = open(&path)
                && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            {
                remove(&path);
            }
        }
        copies.sort();
        copies
    }
}

/// Opens a copy.
pub(super) fn open(path: &Path) -> Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    opened.map_err(|error| failed("open", path, error))
}

/// Gives a new copy its name.
pub(super) fn keep(path: &Path) -> Result<PathBuf> {
    let name = path.with_file_name(format!("{RUN}{}", random::id()?));
    std::fs::rename(path, &name).map_err(|error| failed("rename", path, error))?;
    Ok(name)
}

/// Removes a copy that is of no use any more.
pub(super) fn remove(path: &Path) {
    if std::fs::remove_file(path).is_err() {
        // Only space is lost, until the next run tries again.
    }
}

fn create(folder: &Path) -> Result<(PathBuf, File)> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| failed("make", folder, error))?;
    let path = folder.join(format!("{NEW}{}", random::id()?));
    let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
    let file = made.map_err(|error| failed("make", &path, error))?;
    Ok((path, file))
}

fn failed(verb: &str, path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("cannot {verb} {}", path.display()), error)
}
