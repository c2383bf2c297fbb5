//! All caches on this computer: what they hold, when they were used, and making room.
//!
//! Of a cache two parts are told apart. *Copies* (`trees/`, `index/`, `kept/`) only save time. The *memory* (`host-id`, `sessions/`,
//! `notes/`) also saves time, and guards: by it a killed backup is recognized as this computer's, and a snapshot that vanished
//! from the store is noticed. Copies of a cache that was not used for [`UNUSED_MAX`] go by themselves; the memory goes
//! only when somebody says so. What a cache that is used holds is bounded by its repository: the trees of the snapshots that the
//! next backups compare with, 256 MiB of what was read, and the index, of which copies go that no listing names any more.
//!
//! Invariants: nothing is removed that is in use, nor anything whose name is not one that a cache gives; no symbolic link is
//! followed.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, OFlags};

use super::cache::{LOCK, open_private};
use crate::backend::ObjectKind;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;

/// Copies of caches that were not used for so long go by themselves.
pub const UNUSED_MAX: Duration = Duration::from_hours(24 * 90);
/// So often it is looked for such.
const SWEEP_EVERY: Duration = Duration::from_hours(24);
/// The file that names the repository's place; its time is when the cache was used.
const PLACE: &str = "place";
/// Longest place that is read, in bytes.
const PLACE_MAX: u64 = 64 << 10;

/// The cache of one repository.
#[derive(Clone, Debug)]
pub struct CacheState {
    /// The repository.
    pub id: Id,
    /// Where the repository was when the cache was used last, if that is known.
    pub place: Option<Vec<u8>>,
    /// Bytes of what only saves time.
    pub copies_bytes: u64,
    /// Bytes of what is remembered.
    pub memory_bytes: u64,
    /// When it was used last.
    pub used: SystemTime,
    /// Whether a command uses it now.
    pub in_use: bool,
    folder: PathBuf,
}

/// What is removed of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What only saves time.
    Copies,
    /// What is remembered, too.
    All,
}

impl CacheState {
    /// Bytes of all of it.
    pub fn bytes(&self) -> u64 {
        self.copies_bytes.saturating_add(self.memory_bytes)
    }

    /// Bytes of a part.
    pub fn bytes_of(&self, part: Part) -> u64 {
        if part == Part::All { self.bytes() } else { self.copies_bytes }
    }
}

/// The caches below a folder, sorted by id. What is no cache is passed over; where there is no folder, there are none.
///
/// # Errors
/// Where the folder cannot be listed.
pub fn list(parent: &Path) -> Result<Vec<CacheState>> {
    let fail = |error| Error::io(format!("cannot list {}", parent.display()), error);
    let entries = match std::fs::read_dir(parent) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    let mut caches = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        let id = entry.file_name().to_str().and_then(Id::from_hex);
        // Asked of the entry itself: a link to a folder is none.
        if let Some(id) = id
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
        {
            caches.extend(state(&entry.path(), id)?);
        }
    }
    caches.sort_by_key(|cache| cache.id);
    Ok(caches)
}

/// Looks at one cache; nothing where it has just gone.
fn state(folder: &Path, id: Id) -> Result<Option<CacheState>> {
    let Ok(metadata) = std::fs::symlink_metadata(folder) else { return Ok(None) };
    let mut used = SystemTime::UNIX_EPOCH;
    let (mut copies_bytes, mut memory_bytes) = (0u64, 0u64);
    let files = files(folder)?;
    if files.is_empty() {
        // A folder of another program's, whatever it is called.
        return Ok(None);
    }
    for (file, part) in files {
        let bytes = if part == Part::Copies { &mut copies_bytes } else { &mut memory_bytes };
        *bytes = bytes.saturating_add(file.metadata.len());
        used = used.max(file.metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH));
    }
    if used == SystemTime::UNIX_EPOCH {
        used = metadata.modified().unwrap_or(used);
    }
    // Every command that opens the repository touches this file.
    let touched = std::fs::symlink_metadata(folder.join(PLACE)).and_then(|file| file.modified());
    let used = touched.unwrap_or(used);
    let in_use = is_locked(&folder.join(LOCK)) || is_written(folder);
    let place = read_place(folder);
    Ok(Some(CacheState { id, place, copies_bytes, memory_bytes, used, in_use, folder: folder.to_owned() }))
}

/// Whether this is the name of an object, or of a block of a pack, that is kept as it lies in the store.
fn is_kept(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = name.split('-').collect();
    match parts.as_slice() {
        [kind, id] => {
            ObjectKind::ALL.iter().any(|known| known.folder() == *kind) && Id::from_hex(id).is_some()
        }
        [pack, start, length] => Id::from_hex(pack).is_some() && is_number(start) && is_number(length),
        _ => false,
    }
}

/// A file whose name is one that a cache gives.
struct CacheFile {
    path: PathBuf,
    metadata: Metadata,
}

/// All files of a cache, and the part they belong to.
fn files(folder: &Path) -> Result<Vec<(CacheFile, Part)>> {
    let is_id = |name: &str| Id::from_hex(name).is_some();
    let is_new = |name: &str| name.strip_prefix("new-").is_some_and(is_id);
    let mut found = Vec::new();
    let parts = [
        ("trees", Part::Copies),
        ("index", Part::Copies),
        ("kept", Part::Copies),
        ("notes", Part::All),
        ("sessions", Part::All),
    ];
    for (below, part) in parts {
        let known = |name: &str| match below {
            "trees" => is_id(name) || is_new(name),
            "kept" => is_new(name) || is_kept(name),
            "index" => is_new(name) || name.strip_prefix("run-").is_some_and(is_id),
            "notes" => is_id(name.strip_suffix(".new").unwrap_or(name)),
            _ => is_id(name),
        };
        let below = folder.join(below);
        if !std::fs::symlink_metadata(&below).is_ok_and(|metadata| metadata.is_dir()) {
            continue;
        }
        let fail = |error| Error::io(format!("cannot list {}", below.display()), error);
        for entry in std::fs::read_dir(&below).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if known(name) {
                found.extend(cache_file(path).map(|file| (file, part)));
            }
        }
    }
    for name in ["host-id", "notes.lock", PLACE, LOCK] {
        found.extend(cache_file(folder.join(name)).map(|file| (file, Part::All)));
    }
    Ok(found)
}

fn cache_file(path: PathBuf) -> Option<CacheFile> {
    let metadata = std::fs::symlink_metadata(&path).ok().filter(Metadata::is_file)?;
    Some(CacheFile { path, metadata })
}

/// Takes a cache for oneself; nothing where another command uses it.
fn exclusive(folder: &Path) -> Result<Option<File>> {
    let file = open_private(&folder.join(LOCK), true)?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(None);
    }
    Ok((!is_written(folder)).then_some(file))
}

/// Whether a session runs, or a copy is being written: these are locked by themselves.
fn is_written(folder: &Path) -> bool {
    let is_folder = |path: &PathBuf| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let below = ["sessions", "trees", "index"].map(|below| folder.join(below));
    let entries = below.iter().filter(|path| is_folder(path)).filter_map(|path| std::fs::read_dir(path).ok());
    entries.flatten().flatten().any(|entry| {
        let begun = entry.file_name().as_encoded_bytes().starts_with(b"new-");
        (begun || entry.path().parent().is_some_and(|parent| parent.ends_with("sessions")))
            && is_locked(&entry.path())
    })
}

fn is_locked(path: &Path) -> bool {
    open_itself(path)
        .is_ok_and(|file| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err())
}

/// Opens a file that is no link, without waiting for a pipe's other end.
fn open_itself(path: &Path) -> std::io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Removes a part of a cache, and gives how many bytes that freed. What is no file of a cache stays.
///
/// # Errors
/// `Busy` where a command uses it.
pub fn clear(cache: &CacheState, part: Part) -> Result<u64> {
    let folder = &cache.folder;
    let in_use = || {
        Error::new(ErrorKind::Busy, format!("the cache {} is in use", cache.id.short()))
            .hint("try again when no backup runs")
    };
    let lock = exclusive(folder)?.ok_or_else(in_use)?;
    let mut freed = 0u64;
    for (file, of) in files(folder)? {
        // The lock goes last: until then nobody else opens what is half gone.
        if (of == Part::Copies || part == Part::All) && !file.path.ends_with(LOCK) {
            remove(&file)?;
            freed = freed.saturating_add(file.metadata.len());
        }
    }
    if part == Part::All {
        for below in ["trees", "index", "kept", "notes", "sessions"] {
            // What is not empty, or is no folder, is none of a cache's doing.
            std::fs::remove_dir(folder.join(below)).ok();
        }
        if let Some(file) = cache_file(folder.join(LOCK)) {
            remove(&file)?;
        }
        std::fs::remove_dir(folder).map_err(|error| {
            Error::io(
                format!("something of another program's lies in {}, and stays", folder.display()),
                error,
            )
        })?;
    }
    drop(lock);
    Ok(freed)
}

fn remove(file: &CacheFile) -> Result<()> {
    match std::fs::remove_file(&file.path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("cannot remove {}", file.path.display()), error))
        }
        _ => Ok(()),
    }
}

/// Notes that the cache of a repository is used, and where the repository is; once a day it is looked for caches whose copies
/// nobody used for long. Trouble with caches is no trouble of the command.
pub fn note_use(parent: &Path, id: &Id, place: &[u8]) {
    let folder = parent.join(id.to_hex());
    let before = std::fs::symlink_metadata(folder.join(PLACE)).and_then(|file| file.modified());
    let now = SystemTime::now();
    if write_place(&folder, place, now).is_err() {
        // Then it is not known, and the times of what is in the cache have to do.
    }
    if before.is_ok_and(|before| now.duration_since(before).is_ok_and(|age| age < SWEEP_EVERY)) {
        return;
    }
    for cache in list(parent).unwrap_or_default() {
        let unused = now.duration_since(cache.used).is_ok_and(|age| age > UNUSED_MAX);
        if unused && cache.id != *id && cache.copies_bytes > 0 && clear(&cache, Part::Copies).is_err() {
            // The next day tries again.
        }
    }
}

fn write_place(folder: &Path, place: &[u8], now: SystemTime) -> Result<()> {
    let path = folder.join(PLACE);
    if !folder.is_dir() {
        // No command has kept anything there yet; the next one comes upon the folder.
        return Ok(());
    }
    if std::fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(Error::refused(format!("{} is no file", path.display())));
    }
    let fail = |error| Error::io(format!("cannot write {}", path.display()), error);
    let mut file = open_private(&path, true)?;
    if read_place(folder).as_deref() != Some(place) {
        file.set_len(0).and_then(|()| file.write_all(place)).map_err(fail)?;
    }
    file.set_modified(now).map_err(fail)
}

fn read_place(folder: &Path) -> Option<Vec<u8>> {
    let file = open_itself(&folder.join(PLACE)).ok()?;
    let mut place = Vec::new();
    file.take(PLACE_MAX).read_to_end(&mut place).ok()?;
    Some(place).filter(|place| !place.is_empty())
}

/// Whether two handles are one file.
pub(super) fn is_same_file(file: &File, path: &Path) -> bool {
    let one = file.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
    let other = std::fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    one.ok().zip(other.ok()).is_some_and(|(one, other)| one == other)
}
