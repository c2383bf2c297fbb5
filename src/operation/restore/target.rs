//! The only code that writes into the folder a restore fills, and that never writes outside it.
//!
//! Invariants: paths of a snapshot are taken for hostile. Every name is checked, every parent is found beneath
//! the handle on the top folder without following a symbolic link, and nothing that exists is replaced unless the
//! caller says so of this very name. A file has its final name only once it is whole, and what it replaces is
//! there until then. Nothing that exists is written to. Until a folder made here is finished nobody else may enter it.

mod existing;
mod make;
mod metadata;
mod mounts;
mod opening;
mod partial;
mod remove;
mod sweep;
mod widened;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};

use self::widened::Widened;
use super::own::Identities;
use crate::error::{Error, ErrorKind, Result};
use crate::format::node::{Node, NodeKind};
use crate::format::path as place_path;
use crate::report::{Finding, Severity, printable};

pub use existing::Seen;
pub(in crate::operation) use mounts::Mount;
pub use opening::Opening;
pub use partial::PartialFile;
pub use remove::{Removed, Stays};
pub use sweep::{Sweep, is_leftover};

/// Paths of this many bytes the kernel refuses to resolve in one go.
const PATH_MAX: usize = 4096;

/// Handles on parents that are kept: enough for the threads of a restore, few beside any limit on open files.
const PARENTS_KEPT: usize = 32;

const LISTING_BUFFER: usize = 4 << 10;

/// What is enough to make names in a folder; it needs no permission to read it.
const PARENT: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

const TOP: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A folder being filled. Paths are those of the snapshot: names joined by `/`, relative to the folder.
pub struct Target {
    shared: Arc<Shared>,
    is_empty: bool,
}

/// What the target and its unfinished files have in common.
struct Shared {
    root: OwnedFd,
    location: String,
    /// Only root can give files to somebody else.
    privileged: bool,
    /// A folder may hand an access control list on to what is made inside, where no snapshot knows of it: the top where
    /// it has one, and any that was there before.
    hands_on_lists: bool,
    /// Whether owners are restored.
    owner: bool,
    /// Folders with something in them that may be removed where something else has to be, with all that may go with
    /// them.
    clearable: OnceLock<HashSet<Vec<u8>>>,
    /// Folders whose modes were widened, and that have no other yet.
    widened: Widened,
    /// Whether zeros are left out where a file is a hole anyway.
    sparse: bool,
    /// What is in use, and never removed or replaced.
    own: Identities,
    /// Whether no other restore into this folder is at work, as far as can be known.
    locked: bool,
    resolves_beneath: AtomicBool,
    /// The parents used last, the latest at the end.
    parents: Mutex<Vec<(Vec<u8>, Arc<OwnedFd>)>>,
    /// How often each matter was found, as a warning or as a problem.
    noted: Mutex<BTreeMap<(&'static str, bool), u64>>,
}

impl Target {
    /// Whether nothing was in the folder when it was opened.
    pub fn was_empty(&self) -> bool {
        self.is_empty
    }

    /// Says which folders may be removed where something else has to be: their paths, and those of all in them that may
    /// go. It is said once; nothing that is not named goes.
    pub fn allow_clearing(&self, paths: HashSet<Vec<u8>>) {
        self.shared.clearable.set(paths).ok();
    }

    /// Makes a file of this length aside, all of it a hole, under a name of its own.
    pub fn create_file(&self, path: &[u8], size: u64) -> Result<PartialFile> {
        PartialFile::create(Arc::clone(&self.shared), path, size)
    }

    /// Sets owner, extended attributes, mode and times of a folder, symbolic link, device, pipe or socket; of a
    /// folder once nothing more is made in it. (A file gets its own in [`PartialFile::finish`].)
    ///
    /// What could not be set is a finding, the first of each matter; [`Self::further_findings`] counts the rest.
    ///
    /// # Errors
    /// Where what is there is not what the node says.
    pub fn apply_metadata(&self, path: &[u8], node: &Node) -> Result<Vec<Finding>> {
        let (parent, name) = self.shared.parent_of(path)?;
        let expected = match node.kind {
            NodeKind::Directory => FileType::Directory,
            NodeKind::Symlink => FileType::Symlink,
            NodeKind::Fifo => FileType::Fifo,
            NodeKind::Socket => FileType::Socket,
            NodeKind::CharacterDevice => FileType::CharacterDevice,
            NodeKind::BlockDevice => FileType::BlockDevice,
            NodeKind::File => {
                return Err(Error::refused(format!(
                    "{} is a file, which has its metadata from its finish",
                    printable(path)
                )));
            }
        };
        // Opening a device or a pipe would have effects; a handle on its name alone has none.
        let access = if node.kind == NodeKind::Directory { OFlags::RDONLY } else { OFlags::PATH };
        let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (handle, stat) = retry_on_intr(|| rustix::fs::openat(&*parent, name, flags, Mode::empty()))
            .and_then(|handle| rustix::fs::fstat(&handle).map(|stat| (handle, stat)))
            .map_err(|errno| self.shared.failed("finish", path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != expected {
            return Err(Error::refused(format!("{} was replaced during the restore", printable(path))));
        }
        let object = match node.kind {
            NodeKind::Directory => metadata::Object::Open(&handle),
            _ => metadata::Object::Named { handle: &handle, parent: &parent, name },
        };
        self.shared.widened.forget((stat.st_dev, stat.st_ino));
        Ok(metadata::apply(&self.shared, &object, path, node, !self.is_empty).findings)
    }

    /// Gives the folder itself the metadata of a folder in the snapshot; once nothing more is made in it.
    pub fn apply_metadata_to_top(&self, node: &Node) -> Vec<Finding> {
        let object = metadata::Object::Open(&self.shared.root);
        if let Ok(stat) = rustix::fs::fstat(&self.shared.root) {
            self.shared.widened.forget((stat.st_dev, stat.st_ino));
        }
        metadata::apply(&self.shared, &object, b"", node, !self.is_empty).findings
    }

    /// One finding for each matter that was found more than once, with how often.
    pub fn further_findings(&self) -> Vec<Finding> {
        let noted = self.shared.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let more = noted.iter().filter(|(_, times)| **times > 1);
        more.map(|((matter, is_problem), times)| {
            let subject = self.shared.location.clone();
            let cause = format!("{matter}: {} more like the one reported", times - 1);
            if *is_problem { Finding::problem(subject, cause) } else { Finding::warning(subject, cause) }
        })
        .collect()
    }

    /// Brings everything to the disk, and tells of writes that failed after they were accepted.
    pub fn sync(&self) -> Result<()> {
        retry_on_intr(|| rustix::fs::syncfs(&self.shared.root))
            .map_err(|errno| self.shared.failed("bring to the disk what was restored", b"", errno))
    }
}

impl Drop for Shared {
    /// Gives folders their modes back, and the lock at once: a program that is being started may hold a copy of the
    /// handle for a moment.
    fn drop(&mut self) {
        self.narrow();
        if self.locked {
            rustix::fs::flock(&self.root, FlockOperation::Unlock).ok();
        }
    }
}

impl Shared {
    /// The folder in which a path lies, and its last name. Handles are kept, so that many files of one folder
    /// cost one search for it.
    fn parent_of<'path>(&self, path: &'path [u8]) -> Result<(Arc<OwnedFd>, &'path [u8])> {
        let (parent, name) = checked(path)?;
        if let Some(handle) = self.kept(parent) {
            return Ok((handle, name));
        }
        let opened = self.open_beneath(parent).map_err(|errno| match errno {
            Errno::LOOP | Errno::NOTDIR => Error::refused(format!(
                "cannot restore {}: something above it is not a folder of this restore",
                printable(path)
            )),
            errno => self.failed("open the folder of", path, errno),
        })?;
        Ok((self.keep(parent, opened), name))
    }

    fn keep(&self, parent: &[u8], opened: OwnedFd) -> Arc<OwnedFd> {
        let handle = Arc::new(opened);
        let mut parents = self.parents.lock().unwrap_or_else(PoisonError::into_inner);
        if parents.len() >= PARENTS_KEPT {
            parents.remove(0);
        }
        parents.push((parent.to_vec(), Arc::clone(&handle)));
        handle
    }

    /// Keeps no handle on a folder that was removed, nor on any in it.
    fn forget(&self, folder: &[u8]) {
        let mut parents = self.parents.lock().unwrap_or_else(PoisonError::into_inner);
        parents.retain(|(path, _)| !place_path::is_below(path, folder));
    }

    fn kept(&self, parent: &[u8]) -> Option<Arc<OwnedFd>> {
        let mut parents = self.parents.lock().unwrap_or_else(PoisonError::into_inner);
        let position = parents.iter().rposition(|(path, _)| path == parent)?;
        let entry = parents.remove(position);
        let handle = Arc::clone(&entry.1);
        parents.push(entry);
        Some(handle)
    }

    /// Opens a folder below the top, following no symbolic link: in one go where the kernel can, else name by
    /// name.
    fn open_beneath(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        if !path.is_empty() && path.len() < PATH_MAX && self.resolves_beneath.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match retry_on_intr(|| rustix::fs::openat2(&self.root, path, PARENT, Mode::empty(), resolve)) {
                // Old kernels do not know the call; filters of containers forbid it.
                Err(Errno::NOSYS | Errno::PERM) => self.resolves_beneath.store(false, Ordering::Relaxed),
                // Something was renamed meanwhile.
                Err(Errno::AGAIN) => {}
                outcome => return outcome,
            }
        }
        let open =
            |at: &OwnedFd, name: &[u8]| retry_on_intr(|| rustix::fs::openat(at, name, PARENT, Mode::empty()));
        let mut folder = open(&self.root, b".")?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            folder = open(&folder, name)?;
        }
        Ok(folder)
    }

    /// Counts what was found; only the first of each matter becomes a finding, for a restore by somebody who
    /// is not root would else say the same of every file.
    fn note(&self, matter: &'static str, severity: Severity, path: &[u8], cause: &str) -> Option<Finding> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let times = noted.entry((matter, severity == Severity::Problem)).or_default();
        *times = times.saturating_add(1);
        (*times == 1).then(|| Finding {
            severity,
            subject: printable(path),
            cause: format!("{matter}: {cause}"),
            hint: None,
        })
    }

    fn failed(&self, verb: &str, path: &[u8], errno: Errno) -> Error {
        let subject = printable(path);
        if errno == Errno::EXIST {
            return Error::refused(format!(
                "cannot {verb} {subject}: something of this name is already there"
            ));
        }
        let message = format!("cannot {verb} {subject} in {}", self.location);
        let error = Error::io(message, errno);
        match error.kind() {
            ErrorKind::NoSpace => error.hint(format!("free some space on the disk of {}", self.location)),
            _ => error,
        }
    }
}

/// Splits a path into that of its folder and its last name, or refuses it.
fn checked(path: &[u8]) -> Result<(&[u8], &[u8])> {
    for name in path.split(|byte| *byte == b'/') {
        if name.is_empty() || name == b"." || name == b".." || name.contains(&0) {
            return Err(Error::corrupt(format!(
                "the snapshot holds the path `{}`, which leads nowhere safe",
                printable(path)
            )));
        }
    }
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => {
            let (parent, name) = path.split_at(slash);
            Ok((parent, name.get(1..).unwrap_or_default()))
        }
        None => Ok((b"", path)),
    }
}

fn kind_at(parent: &OwnedFd, name: &[u8]) -> Option<FileType> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

impl std::fmt::Debug for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Target({})", self.shared.location)
    }
}

#[cfg(test)]
mod tests;
