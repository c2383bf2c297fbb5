//! What is in a data folder when a restore begins that keeps nothing of it: what comes later is nobody's to delete.
//!
//! Invariant: nothing is changed, and no symbolic link is followed.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::folder::{names_in, show};
use crate::error::{Error, Result};

/// What tells a thing from another, or from itself before it was written to: device, inode number, time of change. A folder's
/// time is that of what lies in it, which is listed itself.
type Identity = (u64, u64, i64, i64);

/// Everything in a folder, at any depth.
pub(super) struct Listing(HashMap<PathBuf, Identity>);

impl Listing {
    /// Lists a folder.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let mut found = HashMap::new();
        visit(folder, &mut |path, identity| {
            found.insert(path, identity);
            true
        })?;
        Ok(Self(found))
    }

    /// Something that is there now and was not, or was changed since.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub(super) fn first_new(&self, folder: &Path) -> Result<Option<PathBuf>> {
        let mut new = None;
        visit(folder, &mut |path, identity| {
            let is_known = self.0.get(&path) == Some(&identity);
            if !is_known {
                new = Some(path);
            }
            is_known
        })?;
        Ok(new)
    }
}

/// Visits all that is in a folder, but for what restores left there, until `each` has seen enough.
fn visit(folder: &Path, each: &mut dyn FnMut(PathBuf, Identity) -> bool) -> Result<()> {
    let failed = |path: &Path, error| Error::io(format!("cannot look at {}", show(path)), error);
    let mut paths: Vec<PathBuf> = names_in(folder)?.into_iter().map(|name| folder.join(name)).collect();
    while let Some(path) = paths.pop() {
        let metadata = match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            found => found.map_err(|error| failed(&path, error))?,
        };
        if metadata.is_dir() {
            let names = list(&path).map_err(|error| failed(&path, error))?;
            paths.extend(names.into_iter().map(|name| path.join(name)));
        }
        if !each(path, identity(&metadata)) {
            break;
        }
    }
    Ok(())
}

/// The names in a folder. One that is gone, or that this user may not read, holds nothing that could be told; the latter
/// cannot be deleted either.
fn list(folder: &Path) -> io::Result<Vec<OsString>> {
    match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            Ok(Vec::new())
        }
        entries => entries?.map(|entry| entry.map(|entry| entry.file_name())).collect(),
    }
}

fn identity(metadata: &Metadata) -> Identity {
    let changed = if metadata.is_dir() { (0, 0) } else { (metadata.ctime(), metadata.ctime_nsec()) };
    (metadata.dev(), metadata.ino(), changed.0, changed.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_at_any_depth_is_found() {
        let scratch = crate::source::sqlite::Scratch::create(&std::env::temp_dir()).unwrap();
        let folder = scratch.path().join("data");
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::write(folder.join("a/b/file"), "1").unwrap();
        let listing = Listing::of(&folder).unwrap();
        assert_eq!(listing.first_new(&folder).unwrap(), None);
        // What goes is no loss that this restore brings, and what a restore works in is its own.
        fs::create_dir(folder.join(".strongroom-restoring")).unwrap();
        fs::remove_file(folder.join("a/b/file")).unwrap();
        assert_eq!(listing.first_new(&folder).unwrap(), None);
        fs::write(folder.join("a/b/file"), "22").unwrap();
        assert_eq!(listing.first_new(&folder).unwrap(), Some(folder.join("a/b/file")));
        let listing = Listing::of(&folder).unwrap();
        fs::create_dir(folder.join("a/b/c")).unwrap();
        assert_eq!(listing.first_new(&folder).unwrap(), Some(folder.join("a/b/c")));
    }
}
