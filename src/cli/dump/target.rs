//! The file that a dump is written to.
//!
//! Invariants: it gets its name when it is whole, never in the place of another, and until then it has a name that nobody
//! else uses. It is its owner's alone: what was backed up may have been as private. Dropped before, it is gone.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::backend::local::{random_name, rename_without_replacing};
use crate::error::{Error, Result};

/// A file on its way.
pub(super) struct Target {
    path: PathBuf,
    file: File,
    /// The folder and the name for now; none for a pipe or device, which is written as it is.
    aside: Option<(OwnedFd, String)>,
}

impl Target {
    /// Makes it.
    ///
    /// # Errors
    /// `Refused` where the name is taken by a file or folder.
    pub(super) fn create(path: &Path) -> Result<Self> {
        if let Ok(metadata) = std::fs::metadata(path) {
            let kind = metadata.file_type();
            if !(kind.is_fifo() || kind.is_char_device()) {
                return Err(taken(path));
            }
            let file = OpenOptions::new().write(true).open(path).map_err(|error| failed(path, error))?;
            return Ok(Self { path: path.to_owned(), file, aside: None });
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = i32::try_from((OFlags::DIRECTORY | OFlags::CLOEXEC).bits()).unwrap_or(0);
        let folder = OpenOptions::new().read(true).custom_flags(flags).open(parent);
        let folder = OwnedFd::from(folder.map_err(|error| failed(path, error))?);
        if path.file_name().is_none() {
            return Err(taken(path));
        }
        let name = random_name(".strongroom-").map_err(|errno| failed(path, errno.into()))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, &name, flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(file.map_err(|errno| failed(path, errno.into()))?);
        Ok(Self { path: path.to_owned(), file, aside: Some((folder, name)) })
    }

    /// Where to write.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// All of it is there: it gets its name.
    pub(super) fn keep(mut self) -> Result<()> {
        let Some((folder, name)) = &self.aside else { return Ok(()) };
        self.file.sync_all().map_err(|error| failed(&self.path, error))?;
        let to = self.path.file_name().unwrap_or_default();
        match rename_without_replacing(folder, name.as_bytes(), to.as_bytes()) {
            Err(rustix::io::Errno::EXIST) => return Err(taken(&self.path)),
            renamed => renamed.map_err(|errno| failed(&self.path, errno.into()))?,
        }
        rustix::fs::fsync(folder).map_err(|errno| failed(&self.path, errno.into()))?;
        self.aside = None;
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some((folder, name)) = &self.aside {
            // Nobody is left to tell of a failure; its name shows what such a file is.
            rustix::fs::unlinkat(folder, name, AtFlags::empty()).ok();
        }
    }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("cannot write {}", path.display()), error)
}

fn taken(path: &Path) -> Error {
    Error::refused(format!("{} is there already", path.display()))
        .hint("name another file; a dump is never written over anything")
}
