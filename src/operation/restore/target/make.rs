//! Making folders, links, pipes, sockets and devices: beside nothing, or in the place of something else.
//!
//! Invariant: what is replaced is there until what replaces it is whole, but for what is in the place of a folder.

use rustix::fs::{Access, AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::{Target, checked, kind_at};
use crate::backend::local::{random_name, rename_without_replacing};
use crate::error::{Error, Result};
use crate::format::node::{Node, NodeKind};
use crate::report::printable;

/// What unfinished things are called until they have their names, before a random number.
pub(super) const ASIDE: &str = ".strongroom-";

impl Target {
    /// Makes a folder that only we may enter until its metadata is set; one that is there already will do.
    pub fn make_directory(&self, path: &[u8]) -> Result<()> {
        self.make_directory_over(path, false).map(drop)
    }

    /// The same in the place of whatever is no folder, if it may be replaced; says whether it was made.
    pub fn make_directory_over(&self, path: &[u8], replace: bool) -> Result<bool> {
        let (parent, name) = self.shared.parent_of(path)?;
        let failed = |errno| self.shared.failed("make the folder", path, errno);
        let make =
            || self.shared.permitted(&parent, path, || rustix::fs::mkdirat(&*parent, name, Mode::RWXU));
        match make() {
            Ok(()) => return Ok(true),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        if kind_at(&parent, name) == Some(FileType::Directory) {
            return Ok(false);
        }
        if !replace {
            return Err(failed(Errno::EXIST));
        }
        self.shared.refuse_own(&parent, name, path)?;
        rustix::fs::unlinkat(&*parent, name, AtFlags::empty()).and_then(|()| make()).map_err(failed)?;
        Ok(true)
    }

    /// Makes something under a name of its own by `make`, and gives it its name in the place of what is there.
    pub fn replace_by(&self, path: &[u8], make: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
        let (parent, name) = self.shared.parent_of(path)?;
        let failed = |errno| self.shared.failed("replace", path, errno);
        let aside = random_name(ASIDE).map_err(failed)?;
        let mut beside = path.strip_suffix(name).unwrap_or_default().to_vec();
        beside.extend_from_slice(aside.as_bytes());
        let made =
            make(&beside).and_then(|()| self.shared.rename_over(&parent, aside.as_bytes(), name, path));
        if made.is_err() {
            // Nobody is left to tell of a failure; the next restore finds it by its name.
            rustix::fs::unlinkat(&*parent, &aside, AtFlags::empty()).ok();
        }
        made
    }

    /// Gives something another name in the same folder, which must be free.
    pub fn rename(&self, from: &[u8], to: &[u8]) -> Result<()> {
        let (parent, name) = self.shared.parent_of(from)?;
        let (folder, wanted) = checked(to)?;
        if checked(from)?.0 != folder {
            return Err(self.shared.failed("rename", from, Errno::XDEV));
        }
        let rename = || rename_without_replacing(&parent, name, wanted);
        self.shared
            .permitted(&parent, from, rename)
            .map_err(|errno| self.shared.failed("rename", from, errno))
    }

    /// Refuses a folder in which this user can make nothing.
    ///
    /// # Errors
    /// `Denied` where that is so.
    pub fn refuse_unwritable(&self) -> Result<()> {
        let failed = |errno| self.shared.failed("make anything", b"", errno);
        let writable = rustix::fs::accessat(
            &self.shared.root,
            ".",
            Access::WRITE_OK | Access::EXEC_OK,
            AtFlags::EACCESS,
        );
        if writable != Err(Errno::ACCESS) {
            return Ok(());
        }
        let stat = rustix::fs::fstat(&self.shared.root).map_err(failed)?;
        // Its owner may widen its mode, and does.
        if stat.st_uid == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        let message = format!("this user may make nothing in {}", self.shared.location);
        Err(Error::io(message, Errno::ACCESS))
    }

    /// Makes a symbolic link. Where it leads does not matter: nothing here follows it.
    pub fn make_symlink(&self, path: &[u8], node: &Node) -> Result<()> {
        let (parent, name) = self.shared.parent_of(path)?;
        let target = node.link_target.as_deref().unwrap_or_default();
        if node.kind != NodeKind::Symlink || target.is_empty() || target.contains(&0) {
            return Err(Error::corrupt(format!(
                "the snapshot does not say where the symbolic link {} leads",
                printable(path)
            )));
        }
        rustix::fs::symlinkat(target, &*parent, name)
            .map_err(|errno| self.shared.failed("make the symbolic link", path, errno))
    }

    /// Makes a named pipe, a socket or a device, which only we may use until its metadata is set.
    pub fn make_special(&self, path: &[u8], node: &Node) -> Result<()> {
        let (parent, name) = self.shared.parent_of(path)?;
        let kind = match node.kind {
            NodeKind::Fifo => FileType::Fifo,
            NodeKind::Socket => FileType::Socket,
            NodeKind::CharacterDevice => FileType::CharacterDevice,
            NodeKind::BlockDevice => FileType::BlockDevice,
            NodeKind::Directory | NodeKind::File | NodeKind::Symlink => {
                return Err(Error::corrupt(format!("{} is no device, pipe or socket", printable(path))));
            }
        };
        let device = match (kind, node.device_number) {
            (FileType::Fifo | FileType::Socket, _) => 0,
            (_, Some(number)) => {
                let half = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or_default();
                rustix::fs::makedev(half(number >> 32), half(number))
            }
            (_, None) => {
                return Err(Error::corrupt(format!(
                    "the snapshot does not say which device {} is",
                    printable(path)
                )));
            }
        };
        rustix::fs::mknodat(&*parent, name, kind, Mode::RUSR | Mode::WUSR, device)
            .map_err(|errno| self.shared.failed("make the device, pipe or socket", path, errno))
    }

    /// Gives something restored a second name.
    pub fn hard_link(&self, existing: &[u8], path: &[u8]) -> Result<()> {
        let (from, from_name) = self.shared.parent_of(existing)?;
        let (to, to_name) = self.shared.parent_of(path)?;
        if kind_at(&from, from_name) == Some(FileType::Directory) {
            return Err(Error::corrupt(format!("{} would be a second name of a folder", printable(path))));
        }
        rustix::fs::linkat(&*from, from_name, &*to, to_name, AtFlags::empty())
            .map_err(|errno| self.shared.failed("make the hard link", path, errno))
    }
}
