//! The folder for the files of a service: a new or an empty one, or one that gives way and is kept aside.
//!
//! Invariants: a folder that holds something is never written to. What takes its place is made beside it, on the same file
//! system, and both change their names in one step where the file system can do that.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::Options;
use crate::error::{Error, Result};
use crate::format::path;
use crate::operation::aside;
use crate::operation::needed::refuse_needed_inside;
use crate::operation::restore_vaultwarden::is_mount_point;
use crate::report::printable;

/// Bits of a mode that are kept.
const MODE_BITS: u32 = 0o7777;

/// Where the files go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderStep {
    /// The folder that holds them in the end.
    pub path: PathBuf,
    /// Where they are restored, and where what is there is kept, if it gives way.
    pub swap: Option<FolderSwap>,
}

/// A folder that takes the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderSwap {
    /// What is made.
    pub new: PathBuf,
    /// Where what was there is kept.
    pub aside: PathBuf,
}

impl FolderStep {
    /// The folder that is written to.
    pub fn filled(&self) -> &Path {
        self.swap.as_ref().map_or(&self.path, |swap| &swap.new)
    }

    /// Puts it into its place; gives where what was there is kept.
    pub(super) fn put_in_place(&self) -> Result<Option<PathBuf>> {
        let Some(FolderSwap { new, aside }) = &self.swap else { return Ok(None) };
        keep_top(&self.path, new)?;
        exchange(new, &self.path)?;
        if let Err(errno) = rustix::fs::renameat_with(CWD, new, CWD, aside, RenameFlags::NOREPLACE) {
            exchange(new, &self.path)?;
            return Err(failed(&self.path, errno));
        }
        Ok(Some(aside.clone()))
    }

    /// Takes that back.
    pub(super) fn take_back(&self) -> Result<()> {
        let Some(FolderSwap { new, aside }) = &self.swap else { return Ok(()) };
        exchange(aside, &self.path)?;
        fs::rename(aside, new).map_err(|error| Error::io(format!("cannot rename {}", show(aside)), error))
    }

    /// Removes what was made beside the folder.
    pub(super) fn forget(&self) -> Result<()> {
        let Some(FolderSwap { new, .. }) = &self.swap else { return Ok(()) };
        match fs::remove_dir_all(new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("cannot remove {}", show(new)), error))
            }
            _ => Ok(()),
        }
    }
}

/// Looks at the folder. `files` are the paths of the snapshot that go into it.
pub(super) fn plan(options: &Options, files: &[Vec<u8>]) -> Result<Option<FolderStep>> {
    let Some(given) = &options.folder else { return Ok(None) };
    let step = FolderStep { path: given.clone(), swap: None };
    let shown = show(given);
    let mut names = Vec::new();
    match fs::read_dir(given) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some(step)),
        Err(error) => return Err(Error::io(format!("cannot look into {shown}"), error)),
        Ok(entries) => {
            for entry in entries {
                let entry = entry.map_err(|error| Error::io(format!("cannot look into {shown}"), error))?;
                names.push(entry.file_name());
            }
        }
    }
    if names.is_empty() {
        return Ok(Some(step));
    }
    if !options.in_place {
        return Err(Error::refused(format!("{shown} is not empty")).hint(
            "name a new or an empty folder; with --in-place the new one takes its place, and what is there is kept beside it",
        ));
    }
    let is_known = |name: &[u8]| files.iter().any(|file| path::is_below(file, name));
    if !names.iter().any(|name| is_known(name.as_encoded_bytes())) {
        return Err(Error::refused(format!("nothing in {shown} is of this service"))
            .hint("check the folder's name; `strongroom ls` shows what the snapshot holds"));
    }
    let path = given.canonicalize().map_err(|error| Error::io(format!("cannot look at {shown}"), error))?;
    refuse_needed_inside(&path, &options.needed)?;
    let (Some(parent), Some(name), false) = (path.parent(), path.file_name(), is_mount_point(&path)) else {
        return Err(Error::refused(format!("{shown} is a mount point, which cannot be renamed"))
            .hint("restore into another folder without --in-place, and move what is in both by hand"));
    };
    let time = aside::time();
    let beside = |what: &str| {
        let mut name = name.to_owned();
        name.push(format!(".{what}-{time}"));
        parent.join(name)
    };
    let swap = FolderSwap { new: beside("restoring"), aside: beside("before-restore") };
    Ok(Some(FolderStep { path, swap: Some(swap) }))
}

/// Gives the new folder mode and owner of the one that is there.
fn keep_top(there: &Path, new: &Path) -> Result<()> {
    let failed = |error| Error::io(format!("cannot give {} its mode and owner", show(new)), error);
    let was = fs::metadata(there).map_err(failed)?;
    let is = fs::metadata(new).map_err(failed)?;
    if (is.uid(), is.gid()) != (was.uid(), was.gid()) && rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(new, Some(was.uid()), Some(was.gid())).map_err(failed)?;
    }
    fs::set_permissions(new, Permissions::from_mode(was.mode() & MODE_BITS)).map_err(failed)
}

/// Exchanges the names of two folders.
fn exchange(one: &Path, other: &Path) -> Result<()> {
    match rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            let mut third = one.as_os_str().to_owned();
            third.push("-third");
            let steps = [(other, Path::new(&third)), (one, other), (Path::new(&third), one)];
            for (from, to) in steps {
                rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::empty())
                    .map_err(|errno| failed(from, errno))?;
            }
            Ok(())
        }
        exchanged => exchanged.map_err(|errno| failed(other, errno)),
    }
}

fn failed(folder: &Path, errno: Errno) -> Error {
    Error::io(format!("cannot rename {}", show(folder)), std::io::Error::from(errno))
}

fn show(path: &Path) -> String {
    printable(path.as_os_str().as_encoded_bytes())
}
