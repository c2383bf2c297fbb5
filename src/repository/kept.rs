//! Bytes of the store that are kept in the cache as they lie there, sealed: manifests, short index objects, and blocks of
//! packs of metadata.
//!
//! Invariants: only commands that give something back look here; whoever checks, repairs or deletes reads the store
//! itself. What lies under a name in the store never changes, so that a copy stays right; what this computer's disk
//! made of it is noticed where it is opened, and the store is asked. The folder is bounded, and no error of the cache
//! is an error of the command.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::backend::ObjectKind;
use crate::crypto::random;
use crate::id::Id;

/// So many bytes are kept in all; beyond them the oldest go.
const KEPT_MAX: u64 = 256 << 20;

/// Kept bytes of one repository.
pub(super) struct Kept {
    folder: PathBuf,
    limit: u64,
    /// Bytes in the folder, once they were counted; what other commands add meanwhile they count themselves.
    bytes: Mutex<Option<u64>>,
}

impl Kept {
    /// Opens or makes the folder `kept` in a repository's cache; nothing where that cannot be.
    pub(super) fn open(cache: &Path) -> Option<Self> {
        Self::with_limit(cache, KEPT_MAX)
    }

    fn with_limit(cache: &Path, limit: u64) -> Option<Self> {
        let folder = cache.join("kept");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok()?;
        Some(Self { folder, limit, bytes: Mutex::new(None) })
    }

    /// The name of a block of a pack.
    pub(super) fn block_name(pack: &Id, start: u64, length: u64) -> String {
        format!("{pack}-{start}-{length}")
    }

    /// The name of an object.
    pub(super) fn object_name(kind: ObjectKind, id: &Id) -> String {
        format!("{}-{id}", kind.folder())
    }

    /// The bytes kept under a name, at most so many.
    pub(super) fn get(&self, name: &str, limit: u64) -> Option<Vec<u8>> {
        let file = OpenOptions::new().read(true).open(self.folder.join(name)).ok()?;
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= limit).then_some(bytes)
    }

    /// Keeps bytes under a name. They appear whole; a power cut may damage them, which is noticed when they are opened.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        let Ok(random) = random::id() else { return };
        let new = self.folder.join(format!("new-{random}"));
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
        let written = written.and_then(|mut file| file.write_all(bytes));
        if written.and_then(|()| fs::rename(&new, self.folder.join(name))).is_err() {
            // A full disk: what is half there goes, or goes with the oldest.
            drop(fs::remove_file(&new));
            return;
        }
        self.bound(bytes.len() as u64);
    }

    /// Removes what turned out to be damaged.
    pub(super) fn remove(&self, name: &str) {
        if fs::remove_file(self.folder.join(name)).is_err() {
            // It is read and found damaged again, which costs a request.
        }
    }

    /// Removes the oldest where there is too much, down to three quarters.
    fn bound(&self, added: u64) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = match *bytes {
            Some(before) => before.saturating_add(added),
            None => self.files().iter().fold(0u64, |sum, file| sum.saturating_add(file.bytes)),
        };
        *bytes = Some(counted);
        if counted <= self.limit {
            return;
        }
        let mut files = self.files();
        files.sort_by_key(|file| file.written);
        let mut left = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.bytes));
        for file in files {
            if left <= self.limit / 4 * 3 {
                break;
            }
            if fs::remove_file(&file.path).is_ok() {
                left = left.saturating_sub(file.bytes);
            }
        }
        *bytes = Some(left);
    }

    fn files(&self) -> Vec<KeptFile> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let file = |entry: fs::DirEntry| {
            let metadata = entry.metadata().ok()?;
            Some(KeptFile { path: entry.path(), bytes: metadata.len(), written: metadata.modified().ok()? })
        };
        entries.filter_map(file).collect()
    }
}

struct KeptFile {
    path: PathBuf,
    bytes: u64,
    written: SystemTime,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::tests::support::Folder;

    #[test]
    fn what_was_put_is_there_until_it_is_too_much() {
        let folder = Folder::new();
        let kept = Kept::with_limit(folder.path(), 1000).unwrap();
        assert_eq!(kept.get("0", 100), None);
        for number in 0..50u8 {
            kept.put(&number.to_string(), &[number; 100]);
            assert_eq!(kept.get(&number.to_string(), 100), Some(vec![number; 100]));
            assert!(kept.files().len() <= 10, "at most 1000 bytes");
        }
        assert_eq!(kept.get("0", 100), None);
        assert_eq!(kept.get("49", 99), None, "longer than asked for");
        kept.remove("49");
        assert_eq!(kept.get("49", 100), None);
        let again = Kept::with_limit(folder.path(), 1000).unwrap();
        let before = again.files().len();
        again.put("x", &[1; 900]);
        assert!(again.files().len() < before, "another command's are counted");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_no_error() {
        let folder = Folder::new();
        fs::write(folder.path().join("kept"), "in the way").unwrap();
        assert!(Kept::open(folder.path()).is_none());
    }
}
