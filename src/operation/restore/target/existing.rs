//! What is in the target already: looked at, read, and given other metadata, never written to.
//!
//! Invariant: nothing is opened in a way that waits or has effects, and no symbolic link is followed.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, StatxFlags};
use rustix::io::{Errno, retry_on_intr};

use super::mounts::names_in;
use super::{Shared, TOP, Target, metadata};
use crate::error::{Error, Result};
use crate::format::node::{Node, NodeKind, Timestamp};
use crate::report::{Finding, printable};
use crate::source::files;

/// What is under a name in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What kind of thing; none of those that a snapshot knows is impossible on Linux.
    pub kind: Option<NodeKind>,
    /// Its length in bytes.
    pub size: u64,
    /// Time of the last change of its content.
    pub mtime: Timestamp,
    /// Mode bits, owner, group.
    pub rights: (u32, u32, u32),
    /// Device and inode number.
    pub identity: (u64, u64),
    /// Number of its names.
    pub links: u64,
}

impl Seen {
    pub(super) fn of(stat: &Stat) -> Self {
        let kind = files::kind_of(FileType::from_raw_mode(stat.st_mode));
        let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
        Self {
            kind,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            mtime: Timestamp { seconds: stat.st_mtime, nanoseconds },
            rights: (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid),
            identity: (stat.st_dev, stat.st_ino),
            #[allow(clippy::useless_conversion, reason = "its width differs from machine to machine")]
            links: stat.st_nlink.into(),
        }
    }
}

/// Whether nothing is there, or nothing that could be reached without following a link.
fn is_absent(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

impl Target {
    /// Looks at what is under a name; none where nothing is.
    pub fn look(&self, path: &[u8]) -> Result<Option<Seen>> {
        let (folder, name) = super::checked(path)?;
        let parent = match self.shared.kept(folder) {
            Some(parent) => parent,
            None => match self.shared.open_beneath(folder) {
                Ok(opened) => self.shared.keep(folder, opened),
                Err(errno) if is_absent(errno) => return Ok(None),
                Err(errno) => return Err(self.shared.failed("look at", path, errno)),
            },
        };
        match rustix::fs::statat(&*parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Seen::of(&stat))),
            Err(errno) if is_absent(errno) => Ok(None),
            Err(errno) => Err(self.shared.failed("look at", path, errno)),
        }
    }

    /// What the folder itself is.
    pub fn look_at_top(&self) -> Result<Seen> {
        let stat = rustix::fs::fstat(&self.shared.root);
        stat.map(|stat| Seen::of(&stat)).map_err(|errno| self.shared.failed("look at", b"", errno))
    }

    /// When something was made; none where the file system does not tell.
    pub fn born(&self, path: &[u8]) -> Result<Option<Timestamp>> {
        let (parent, name) = self.shared.parent_of(path)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::statx(&*parent, name, flags, StatxFlags::BTIME) {
            Ok(found) if found.stx_mask & StatxFlags::BTIME.bits() != 0 => {
                let (seconds, nanoseconds) = (found.stx_btime.tv_sec, found.stx_btime.tv_nsec);
                Ok(Some(Timestamp { seconds, nanoseconds }))
            }
            Ok(_) | Err(Errno::NOSYS | Errno::PERM) => Ok(None),
            Err(errno) => Err(self.shared.failed("look at", path, errno)),
        }
    }

    /// Opens a file to read it; none where something else is there, or it may not be read.
    pub fn open_existing(&self, path: &[u8]) -> Result<Option<(OwnedFd, Seen)>> {
        let Ok((parent, name)) = self.shared.parent_of(path) else { return Ok(None) };
        // Looked at first: opening a device may have effects, whatever the flags. What is exchanged in between is
        // opened without waiting, and is then found out.
        let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        match rustix::fs::statat(&*parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_file(&stat) => {}
            _ => return Ok(None),
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| rustix::fs::openat(&*parent, name, flags, Mode::empty()))
            .and_then(|opened| rustix::fs::fstat(&opened).map(|stat| (opened, stat)));
        match opened {
            Ok((opened, stat)) if is_file(&stat) => Ok(Some((opened, Seen::of(&stat)))),
            Ok(_) | Err(Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::LOOP | Errno::NXIO) => Ok(None),
            Err(errno) => Err(self.shared.failed("read", path, errno)),
        }
    }

    /// Where a symbolic link leads.
    pub fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        let (parent, name) = self.shared.parent_of(path)?;
        let read = rustix::fs::readlinkat(&*parent, name, Vec::new());
        read.map(std::ffi::CString::into_bytes).map_err(|errno| self.shared.failed("read", path, errno))
    }

    /// The device number of something, as a node has it.
    pub fn device_number(&self, path: &[u8]) -> Result<u64> {
        let (parent, name) = self.shared.parent_of(path)?;
        let stat = rustix::fs::statat(&*parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.shared.failed("look at", path, errno))?;
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        Ok(u64::from(major) << 32 | u64::from(minor))
    }

    /// Whether the metadata of a file at hand are other than a node says.
    pub fn differs(&self, file: &OwnedFd, node: &Node) -> bool {
        metadata::differs(&self.shared, &metadata::Object::Open(file), node)
    }

    /// Gives a file whose contents are right the metadata of its node; says whether anything changed. Where nothing
    /// differs, nothing is touched.
    ///
    /// # Errors
    /// `Refused` where the file has other names, for what they lead to is not to change.
    pub fn mend_file(&self, path: &[u8], node: &Node) -> Result<(bool, Vec<Finding>)> {
        let refused = |why: &str| Error::refused(format!("{} {why}", printable(path)));
        let Some((file, seen)) = self.open_existing(path)? else {
            return Err(refused("cannot be opened, and its metadata are left as they are"));
        };
        if !self.differs(&file, node) {
            return Ok((false, Vec::new()));
        }
        if seen.links > 1 {
            return Err(refused("has other names, and its metadata are left as they are")
                .hint("`--overwrite always` gives it a file of its own"));
        }
        let applied = metadata::apply(&self.shared, &metadata::Object::Open(&file), path, node, true);
        Ok((applied.changed, applied.findings))
    }

    /// The names in a folder, but for those of itself and the one above. The empty path is the top.
    pub fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let failed = |errno| self.shared.failed("list", path, errno);
        let folder = self.shared.open_to_list(path).map_err(failed)?;
        names_in(&folder).map_err(failed)
    }
}

impl Shared {
    /// A folder below the top, to be listed.
    pub(super) fn open_to_list(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let folder = self.open_beneath(path)?;
        retry_on_intr(|| rustix::fs::openat(&folder, ".", TOP, Mode::empty()))
    }
}
