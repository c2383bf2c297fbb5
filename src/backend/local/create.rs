//! Making the folders of a repository.
//!
//! Invariant: a folder that holds anything else is left as it is.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::Mode;
use rustix::io::Errno;

use super::{LocalBackend, entries, is_unsupported, open_folder, open_top, parent_of, sync_folder};
use crate::backend::ObjectKind;
use crate::error::{Error, Result};
use crate::report::printable;

/// What every fresh ext4 file system has at its top.
const LOST_AND_FOUND: &[u8] = b"lost+found";

impl LocalBackend {
    /// Makes the folders of a new repository. The folder itself may exist if it is empty; the one above it must.
    ///
    /// # Errors
    /// `Refused` where the folder holds anything, a repository or not.
    pub fn create(path: &Path) -> Result<Self> {
        let location = printable(path.as_os_str().as_bytes());
        let failed = |errno: Errno| Error::io(format!("cannot make a repository in {location}"), errno);
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) => sync_folder(&open_top(&parent_of(path)).map_err(failed)?).map_err(failed)?,
            Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => {
                return Err(failed(Errno::NOENT).hint(format!(
                    "make the folder {} first, or mount the disk that holds it",
                    printable(parent_of(path).as_os_str().as_bytes())
                )));
            }
            Err(errno) => return Err(failed(errno)),
        }
        let backend = Self::at(path, location.clone()).map_err(failed)?;
        backend.refuse_unless_empty()?;
        backend.make_folders().map_err(failed)?;
        Ok(backend)
    }

    /// A folder that holds something else must not be mixed with a repository. Empty folders of ours may be
    /// there: they are what an interrupted `create` leaves.
    fn refuse_unless_empty(&self) -> Result<()> {
        let failed = |errno: Errno| Error::io(format!("cannot list {}", self.location), errno);
        for name in entries(&self.root).map_err(failed)? {
            if name == b"config" {
                return Err(Error::refused(format!("{} already holds a repository", self.location))
                    .hint("use it as it is, or name another folder"));
            }
            let ours = ObjectKind::ALL.iter().any(|kind| kind.folder().as_bytes() == name.as_slice());
            if !ours && name != LOST_AND_FOUND {
                return Err(Error::refused(format!(
                    "{} is not empty and holds no repository",
                    self.location
                ))
                .hint("name a new folder, or an empty one"));
            }
        }
        for kind in ObjectKind::ALL {
            match self.entries_of(kind) {
                Ok(objects) if objects.is_empty() => {}
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno)),
                Ok(_) => {
                    return Err(Error::refused(format!(
                        "{} holds parts of a repository, but no `config`",
                        self.location
                    ))
                    .hint(
                        "if an `init` was interrupted here, remove the folder and start again; if a \
                         repository was here before, bring back its `config`",
                    ));
                }
            }
        }
        Ok(())
    }

    /// All folders are made at once, for then two flushes are enough for all of them, and a put needs only
    /// the one of its own folder.
    fn make_folders(&self) -> Result<(), Errno> {
        for kind in ObjectKind::ALL.iter().filter(|kind| **kind != ObjectKind::Config) {
            self.make_folder(&self.root, kind.folder())?;
        }
        let packs = open_folder(&self.root, ObjectKind::Pack.folder())?;
        for number in 0..=u8::MAX {
            self.make_folder(&packs, &format!("{number:02x}"))?;
        }
        sync_folder(&packs)?;
        sync_folder(&self.root)
    }

    pub(super) fn make_folder(&self, parent: &OwnedFd, name: &str) -> Result<(), Errno> {
        match rustix::fs::mkdirat(parent, name, self.folder_mode) {
            Ok(()) if self.folder_mode == Mode::RWXU => Ok(()),
            // The umask may have taken from the group what the top folder gives it.
            Ok(()) => match rustix::fs::fchmod(open_folder(parent, name)?, self.folder_mode) {
                Err(errno) if !is_unsupported(errno) && errno != Errno::PERM => Err(errno),
                _ => Ok(()),
            },
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
