//! What lies in a folder of a repository.
//!
//! Invariant: a folder that cannot be read to its end is an error, never an empty one.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, RawDir};
use rustix::io::Errno;

use super::{is_file, open_folder, size_of};
use crate::backend::Listed;
use crate::id::Id;

/// Bytes of a folder that one system call reads.
const LISTING_BUFFER: usize = 32 << 10;

/// Adds the objects of a folder: regular files with an id for a name that begins with these digits.
pub(super) fn collect(folder: &OwnedFd, digits: &str, listed: &mut Vec<Listed>) -> Result<(), Errno> {
    for name in entries(folder)? {
        let text = std::str::from_utf8(&name).unwrap_or_default();
        let Some(id) = Id::from_hex(text).filter(|_| text.starts_with(digits)) else { continue };
        if let Some(size) = size_at(folder, &name)? {
            listed.push(Listed { id, size });
        }
    }
    Ok(())
}

/// The names in a folder, in no order. (`rustix::fs::Dir` would show a folder removed meanwhile as empty.)
pub(super) fn entries(folder: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut buffer = Vec::with_capacity(LISTING_BUFFER);
    let mut reader = RawDir::new(open_folder(folder, ".")?, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = reader.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// The length of a regular file; nothing where there is none, or something else.
pub(super) fn size_at(folder: &OwnedFd, name: &[u8]) -> Result<Option<u64>, Errno> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(is_file(&stat).then(|| size_of(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}
