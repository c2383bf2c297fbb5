//! Opening the folder that a restore fills, and refusing one that cannot be filled.
//!
//! Invariant: a folder that is only looked at is refused for the same causes, and nothing is made.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};

use rustix::fd::OwnedFd;
use rustix::fs::{Access, AtFlags, CWD, FlockOperation, Mode, OFlags, RawDir, StatVfsMountFlags};
use rustix::io::{Errno, retry_on_intr};

use super::widened::Widened;
use super::{LISTING_BUFFER, Shared, TOP, Target, metadata};
use crate::error::{Error, ErrorKind, Result};
use crate::operation::restore::own::Identities;
use crate::report::printable;

/// A folder that a person named: links to it are followed.
const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What may be done in a folder, and how.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// Whether it may hold something already.
    pub may_hold_something: bool,
    /// Whether owners are restored.
    pub owner: bool,
    /// Whether zeros are left out where a file is a hole anyway.
    pub sparse: bool,
    /// What is in use, and never removed or replaced.
    pub own: Identities,
}

impl Target {
    /// Opens a folder that is empty or not there yet; the one above it must be.
    ///
    /// # Errors
    /// `Refused` where the folder holds anything.
    pub fn create(path: &Path) -> Result<Self> {
        Self::open(path, &Opening { owner: true, ..Opening::default() })
    }

    /// Opens a folder, which is made if it is not there; the one above it must be.
    ///
    /// # Errors
    /// `Refused` where it holds anything and may not; `Busy` where another restore is at work in it; `Denied` where
    /// nothing can be written there.
    pub fn open(path: &Path, opening: &Opening) -> Result<Self> {
        let failed = |errno| cannot(path, errno);
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => return Err(failed(Errno::NOENT).hint("make the folder above it first")),
            Err(errno) => match rustix::fs::stat(path) {
                // The top of a file system that is read-only is there, whatever making it gives.
                Ok(_) => {}
                Err(_) => return Err(failed(errno)),
            },
        }
        Self::look_at(path, opening)?
            .ok_or_else(|| Error::refused(format!("{} was removed just now", shown(path))))
    }

    /// Opens a folder to look at what is in it; none where it is not there. Nothing is changed.
    ///
    /// # Errors
    /// As [`Target::open`].
    pub fn look_at(path: &Path, opening: &Opening) -> Result<Option<Self>> {
        let failed = |errno| cannot(path, errno);
        let root = match retry_on_intr(|| rustix::fs::openat(CWD, path, TOP, Mode::empty())) {
            Ok(root) => root,
            Err(Errno::NOENT) if rustix::fs::lstat(path).is_ok() => {
                let message = format!("{} is a symbolic link that leads nowhere", shown(path));
                return Err(Error::refused(message).hint("make the folder it leads to, or name another"));
            }
            Err(Errno::NOENT) => return refuse_unmakeable(path).map(|()| None),
            Err(errno) => return Err(failed(errno)),
        };
        refuse_read_only(path, &root)?;
        let is_empty = is_empty(&root).map_err(failed)?;
        if !is_empty && !opening.may_hold_something {
            return Err(Error::refused(format!("{} is not empty", shown(path))).hint(
                "name a new folder, or say with --overwrite what may be replaced in this one: \
                 `--overwrite if-changed` also goes on with a restore that was interrupted",
            ));
        }
        let locked = match rustix::fs::flock(&root, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                let busy = format!("another restore is at work in {}", shown(path));
                return Err(Error::new(ErrorKind::Busy, busy).hint("wait until it has ended"));
            }
            outcome => outcome.is_ok(),
        };
        let hands_on_lists = !is_empty || rustix::fs::fgetxattr_query(&root, metadata::DEFAULT_LIST).is_ok();
        let shared = Shared {
            root,
            location: shown(path),
            privileged: rustix::process::geteuid().is_root(),
            hands_on_lists,
            owner: opening.owner,
            clearable: OnceLock::new(),
            widened: Widened::default(),
            sparse: opening.sparse,
            own: opening.own.clone(),
            locked,
            resolves_beneath: AtomicBool::new(true),
            parents: Mutex::default(),
            noted: Mutex::default(),
        };
        Ok(Some(Self { shared: Arc::new(shared), is_empty }))
    }
}

fn shown(path: &Path) -> String {
    printable(path.as_os_str().as_bytes())
}

fn cannot(path: &Path, errno: Errno) -> Error {
    Error::io(format!("cannot restore into {}", shown(path)), errno)
}

fn refuse_read_only(path: &Path, folder: &OwnedFd) -> Result<()> {
    let status = rustix::fs::fstatvfs(folder).map_err(|errno| cannot(path, errno))?;
    if status.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(cannot(path, Errno::ROFS).hint("mount it writable, or name another folder"));
    }
    Ok(())
}

/// Refuses a folder that is not there and could not be made, as making it would.
fn refuse_unmakeable(path: &Path) -> Result<()> {
    let failed = |errno| cannot(path, errno);
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    let above = match retry_on_intr(|| rustix::fs::openat(CWD, above, PLACE, Mode::empty())) {
        Ok(above) => above,
        Err(Errno::NOENT) => return Err(failed(Errno::NOENT).hint("make the folder above it first")),
        Err(errno) => return Err(failed(errno)),
    };
    refuse_read_only(path, &above)?;
    rustix::fs::accessat(&above, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).map_err(failed)
}

/// Whether a folder holds nothing but what a fresh file system has at its top.
fn is_empty(folder: &OwnedFd) -> Result<bool, Errno> {
    let mut buffer = Vec::with_capacity(LISTING_BUFFER);
    let mut reader = RawDir::new(folder, buffer.spare_capacity_mut());
    while let Some(entry) = reader.next() {
        if ![&b"."[..], b"..", b"lost+found"].contains(&entry?.file_name().to_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}
