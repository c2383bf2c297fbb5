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
use crate::limits;
use crate::report::{Finding, Severity};

/// The attribute that holds the access control list of whatever is made in a folder.
pub(super) const DEFAULT_LIST: &str = "system.posix_acl_default";
const ACCESS_LIST: &str = "system.posix_acl_access";
/// The attribute that gives a program rights of its own.
const CAPABILITIES: &str = "security.capability";

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

    fn attribute(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        grow(|buffer| match self {
            Self::Open(handle) => rustix::fs::fgetxattr(handle, name, buffer),
            Self::Named { handle, .. } => rustix::fs::getxattr(through_handle(handle), name, buffer),
        })
    }

    /// The names of all attributes, each ended by a zero byte.
    fn attribute_names(&self) -> Result<Vec<u8>, Errno> {
        grow(|buffer| match self {
            Self::Open(handle) => rustix::fs::flistxattr(handle, buffer),
            Self::Named { handle, .. } => rustix::fs::listxattr(through_handle(handle), buffer),
        })
    }

    fn remove_attribute(&self, name: &[u8]) -> Result<(), Errno> {
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

/// Calls with a growing buffer until the answer fits.
fn grow(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < limits::ATTRIBUTES_MAX => {
                buffer.resize(buffer.len().saturating_mul(4), 0);
            }
            Err(errno) => return Err(errno),
        }
    }
}

/// The name by which calls that know no handle reach the very thing it is on, not what its name leads to now.
pub(super) fn through_handle(handle: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

/// What setting them came to.
pub(super) struct Applied {
    pub(super) findings: Vec<Finding>,
    pub(super) changed: bool,
}

/// Sets all of them as far as possible, and tells what was not. What is right already is not touched, so that
/// nothing changes its time; what `was_there` before loses the attributes that its node does not name.
pub(super) fn apply(
    shared: &Shared,
    object: &Object<'_>,
    path: &[u8],
    node: &Node,
    was_there: bool,
) -> Applied {
    let mut notes = Notes { shared, path, findings: Vec::new(), changed: false };
    let owned = set_owner(&mut notes, object, node);
    set_attributes(&mut notes, object, node, was_there);
    let stat = object.stat();
    if node.kind != NodeKind::Symlink {
        set_mode(&mut notes, object, node, owned, stat.as_ref().ok());
    }
    set_times(&mut notes, object, node, stat.as_ref().ok());
    Applied { findings: notes.findings, changed: notes.changed }
}

/// Whether [`apply`] would set anything on something that was there before.
pub(super) fn differs(shared: &Shared, object: &Object<'_>, node: &Node) -> bool {
    let Ok(stat) = object.stat() else { return true };
    let owned = stat.st_uid == node.uid && stat.st_gid == node.gid;
    let mode = bits(node, owned);
    let times = (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(u32::MAX));
    let named = node.uid != u32::MAX && node.gid != u32::MAX;
    // Nobody but root can change it, so that for all others it is no difference to mend.
    let may_own = shared.owner && named && (shared.privileged || stat.st_uid == node.uid);
    let right_attributes = node
        .attributes
        .iter()
        .flatten()
        .all(|attribute| object.attribute(&attribute.name).is_ok_and(|value| value == attribute.value));
    (may_own && !owned)
        || (node.kind != NodeKind::Symlink && stat.st_mode & 0o7777 != mode)
        || times != (node.mtime.seconds, node.mtime.nanoseconds)
        || !right_attributes
        || !surplus(shared, object, node).is_empty()
}

/// Whether owner and group are now what they were.
fn set_owner(notes: &mut Notes<'_>, object: &Object<'_>, node: &Node) -> bool {
    const MATTER: &str = "the owner could not be restored";
    let is_right = |stat: &Stat| stat.st_uid == node.uid && stat.st_gid == node.gid;
    match object.stat() {
        Ok(stat) if is_right(&stat) => return true,
        Ok(_) if !notes.shared.owner => return false,
        Ok(_) => {}
        Err(errno) => notes.add(MATTER, errno),
    }
    // This number means "as it is" to the system, and nobody has it.
    if node.uid == u32::MAX || node.gid == u32::MAX {
        notes.warn(MATTER, "the snapshot names nobody");
        return false;
    }
    let user = notes.shared.privileged.then(|| Uid::from_raw(node.uid));
    // Asking for the group that it has would change nothing but its time.
    let group = Some(Gid::from_raw(node.gid))
        .filter(|_| user.is_some() || object.stat().is_ok_and(|stat| stat.st_gid != node.gid));
    if user.is_some() || group.is_some() {
        if let Err(errno) = object.set_owner(user, group) {
            notes.add(MATTER, errno);
            return false;
        }
        notes.changed = true;
    }
    let owned = object.stat().is_ok_and(|stat| is_right(&stat));
    if !owned {
        notes.warn(MATTER, "only root can give it to somebody else");
    }
    owned
}

fn set_attributes(notes: &mut Notes<'_>, object: &Object<'_>, node: &Node, was_there: bool) {
    let inherited = [ACCESS_LIST, DEFAULT_LIST].map(|name| name.as_bytes().to_vec());
    let removable = if was_there {
        surplus(notes.shared, object, node)
    } else if notes.shared.hands_on_lists && node.kind != NodeKind::Symlink {
        inherited.to_vec()
    } else {
        Vec::new()
    };
    for name in removable {
        match object.remove_attribute(&name) {
            Ok(()) => notes.changed = true,
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) if inherited.contains(&name) => {
                notes.add("an inherited access control list could not be removed", errno);
            }
            Err(errno) => notes.add("an extended attribute could not be removed", errno),
        }
    }
    for attribute in node.attributes.iter().flatten() {
        if was_there && object.attribute(&attribute.name).is_ok_and(|value| value == attribute.value) {
            continue;
        }
        notes.changed = true;
        if let Err(errno) = object.set_attribute(&attribute.name, &attribute.value) {
            notes.add("an extended attribute could not be restored", errno);
        }
    }
}

/// The attributes of something that its node does not name, and that a person or an access control list gave it:
/// what the system itself gives is left. Only root can take the rights of a program away.
fn surplus(shared: &Shared, object: &Object<'_>, node: &Node) -> Vec<Vec<u8>> {
    let names = object.attribute_names().unwrap_or_default();
    let named = |name: &[u8]| node.attributes.iter().flatten().any(|attribute| attribute.name == name);
    let lists = [ACCESS_LIST.as_bytes(), DEFAULT_LIST.as_bytes()];
    let removable = |name: &&[u8]| {
        name.starts_with(b"user.")
            || lists.contains(name)
            || (shared.privileged && *name == CAPABILITIES.as_bytes())
    };
    names.split(|byte| *byte == 0).filter(removable).filter(|name| !named(name)).map(<[u8]>::to_vec).collect()
}

/// The mode to be set. A program that ran as its owner must not run as whoever restored it. On a folder the bits do
/// no harm.
fn bits(node: &Node, owned: bool) -> u32 {
    let bits = node.mode & 0o7777;
    if !owned && node.kind != NodeKind::Directory { bits & !SET_ID_BITS } else { bits }
}

fn set_mode(notes: &mut Notes<'_>, object: &Object<'_>, node: &Node, owned: bool, stat: Option<&Stat>) {
    let bits = bits(node, owned);
    if bits != node.mode & 0o7777 {
        notes.warn("the set-id bits were left out", "they would act for another owner than the one they had");
    }
    if stat.is_some_and(|stat| stat.st_mode & 0o7777 == bits) {
        return;
    }
    notes.changed = true;
    if let Err(errno) = object.set_mode(Mode::from_raw_mode(bits)) {
        notes.add("the mode could not be restored", errno);
    } else if bits & SET_ID_BITS != 0 && object.stat().is_ok_and(|stat| stat.st_mode & 0o7777 != bits) {
        notes.warn("the set-id bits were left out", "the system did not accept them");
    }
}

fn set_times(notes: &mut Notes<'_>, object: &Object<'_>, node: &Node, stat: Option<&Stat>) {
    const MATTER: &str = "the time of change could not be restored";
    // Some numbers beyond a second have a meaning to the system.
    if node.mtime.nanoseconds >= NANOSECONDS {
        return notes.warn(MATTER, "the snapshot names a time that does not exist");
    }
    let (seconds, nanoseconds) = (node.mtime.seconds, i64::from(node.mtime.nanoseconds));
    let is_right = |stat: &Stat| {
        stat.st_mtime == seconds && i64::try_from(stat.st_mtime_nsec).is_ok_and(|now| now == nanoseconds)
    };
    if stat.is_some_and(is_right) {
        return;
    }
    notes.changed = true;
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: node.mtime.nanoseconds.into() },
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
    changed: bool,
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
