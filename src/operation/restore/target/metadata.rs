//! Owner, extended attributes, mode and times of what was restored.
//!
//! Invariants: in that order, for changing the owner takes the set-id bits and the capabilities away, and
//! everything changes the times. Nothing here is fatal. A set-id bit is never given to somebody else's file.

use std::io;

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::Shared;
use crate::format::node::{Node, NodeKind};
use crate::report::{Finding, Severity};

/// The attribute that holds the access control list of whatever is made in a folder.
pub(super) const DEFAULT_LIST: &str = "system.posix_acl_default";
const ACCESS_LIST: &str = "system.posix_acl_access";

const SET_ID_BITS: u32 = 0o6000;
const NANOSECONDS: u32 = 1_000_000_000;

/// What to set them on.
pub(super) enum Object<'a> {
    /// A file or folder that is open.
    Open(&'a OwnedFd),
    /// Something that cannot be opened without effects: a handle on its name alone, and where that name is.
    Named { handle: &'a OwnedFd, parent: &'a OwnedFd, name: &'a [u8] },
}

impl Object<'_> {
    fn stat(&self) -> Result<Stat, Errno> {
        match self {
            Self::Open(handle) | Self::Named { handle, .. } => rustix::fs::fstat(handle),
        }
    }

    fn set_owner(&self, user: Option<Uid>, group: Option<Gid>) -> Result<(), Errno> {
        match self {
            Self::Open(handle) => rustix::fs::fchown(handle, user, group),
            Self::Named { handle, .. } => rustix::fs::chownat(handle, "", user, group, AtFlags::EMPTY_PATH),
        }
    }

    fn set_mode(&self, mode: Mode) -> Result<(), Errno> {
        match self {
            Self::Open(handle) => rustix::fs::fchmod(handle, mode),
            Self::Named { handle, .. } => rustix::fs::chmod(through_handle(handle), mode),
        }
    }

    fn set_attribute(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        let flags = XattrFlags::empty();
        match self {
            Self::Open(handle) => rustix::fs::fsetxattr(handle, name, value, flags),
            Self::Named { handle, .. } => rustix::fs::setxattr(through_handle(handle), name, value, flags),
        }
    }

    fn remove_attribute(&self, name: &str) -> Result<(), Errno> {
        match self {
            Self::Open(handle) => rustix::fs::fremovexattr(handle, name),
            Self::Named { handle, .. } => rustix::fs::removexattr(through_handle(handle), name),
        }
    }

    fn set_times(&self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            Self::Open(handle) => rustix::fs::futimens(handle, times),
            Self::Named { parent, name, .. } => {
                rustix::fs::utimensat(parent, *name, times, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }
}

/// The name by which calls that know no handle reach the very thing it is on, not what its name leads to now.
fn through_handle(handle: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

/// Sets all of them as far as possible, and tells what was not.
pub(super) fn apply(shared: &Shared, object: &Object<'_>, path: &[u8], node: &Node) -> Vec<Finding> {
    let mut notes = Notes { shared, path, findings: Vec::new() };
    let owned = set_owner(&mut notes, object, node);
    set_attributes(&mut notes, object, node);
    if node.kind != NodeKind::Symlink {
        set_mode(&mut notes, object, node, owned);
    }
    set_times(&mut notes, object, node);
    notes.findings
}

/// Whether owner and group are now what they were.
fn set_owner(notes: &mut Notes<'_>, object: &Object<'_>, node: &Node) -> bool {
    const MATTER: &str = "the owner could not be restored";
    let is_right = |stat: &Stat| stat.st_uid == node.uid && stat.st_gid == node.gid;
    match object.stat() {
        Ok(stat) if is_right(&stat) => return true,
        Ok(_) => {}
        Err(errno) => notes.add(MATTER, errno),
    }
    // This number means "as it is" to the system, and nobody has it.
    if node.uid == u32::MAX || node.gid == u32::MAX {
        notes.warn(MATTER, "the snapshot names nobody");
        return false;
    }
    let user = notes.shared.privileged.then(|| Uid::from_raw(node.uid));
    if let Err(errno) = object.set_owner(user, Some(Gid::from_raw(node.gid))) {
        notes.add(MATTER, errno);
        return false;
    }
    let owned = object.stat().is_ok_and(|stat| is_right(&stat));
    if !owned {
        notes.warn(MATTER, "only root can give it to somebody else");
    }
    owned
}

fn set_attributes(notes: &mut Notes<'_>, object: &Object<'_>, node: &Node) {
    if notes.shared.hands_on_lists && node.kind != NodeKind::Symlink {
        for name in [ACCESS_LIST, DEFAULT_LIST] {
            match object.remove_attribute(name) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(errno) => notes.add("an inherited access control list could not be removed", errno),
            }
        }
    }
    for attribute in node.attributes.iter().flatten() {
        if let Err(errno) = object.set_attribute(&attribute.name, &attribute.value) {
            notes.add("an extended attribute could not be restored", errno);
        }
    }
}

fn set_mode(notes: &mut Notes<'_>, object: &Object<'_>, node: &Node, owned: bool) {
    let mut bits = node.mode & 0o7777;
    // A program that ran as its owner must not run as whoever restored it. On a folder the bits do no harm.
    if !owned && node.kind != NodeKind::Directory && bits & SET_ID_BITS != 0 {
        bits &= !SET_ID_BITS;
        notes.warn("the set-id bits were left out", "they would act for another owner than the one they had");
    }
    if let Err(errno) = object.set_mode(Mode::from_raw_mode(bits)) {
        notes.add("the mode could not be restored", errno);
    } else if bits & SET_ID_BITS != 0 && object.stat().is_ok_and(|stat| stat.st_mode & 0o7777 != bits) {
        notes.warn("the set-id bits were left out", "the system did not accept them");
    }
}

fn set_times(notes: &mut Notes<'_>, object: &Object<'_>, node: &Node) {
    const MATTER: &str = "the time of change could not be restored";
    // Some numbers beyond a second have a meaning to the system.
    if node.mtime.nanoseconds >= NANOSECONDS {
        return notes.warn(MATTER, "the snapshot names a time that does not exist");
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: node.mtime.seconds, tv_nsec: node.mtime.nanoseconds.into() },
    };
    if let Err(errno) = object.set_times(&times) {
        notes.add(MATTER, errno);
    }
}

/// What could not be set on one object.
struct Notes<'a> {
    shared: &'a Shared,
    path: &'a [u8],
    findings: Vec<Finding>,
}

impl Notes<'_> {
    fn warn(&mut self, matter: &'static str, cause: &str) {
        self.findings.extend(self.shared.note(matter, Severity::Warning, self.path, cause));
    }

    /// What is not permitted, or unknown to the file system, is worth a warning; any other failure is not to be
    /// expected and makes the restore incomplete.
    fn add(&mut self, matter: &'static str, errno: Errno) {
        let expected = [Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP, Errno::INVAL, Errno::NOSYS];
        let severity = if expected.contains(&errno) { Severity::Warning } else { Severity::Problem };
        let cause = io::Error::from(errno).to_string();
        self.findings.extend(self.shared.note(matter, severity, self.path, &cause));
    }
}
