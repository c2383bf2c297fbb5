//! Extended attributes of an entry, access control lists among them.
//!
//! Invariant: read by the handle of the folder and one name, through `/proc/self/fd`, never following a link;
//! so neither a long path nor a folder swapped meanwhile matters.

use std::os::fd::AsRawFd;

use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;

use super::folder::Folder;
use crate::format::node::Attribute;
use crate::limits;

/// The kernel allows 64 KiB for a value and for the list of names; file systems of other makers allow more.
const MOST: usize = 1024 * 1024;

/// Reads all attributes of a name in a folder, sorted by name; none where the file system knows none.
pub(super) fn read(folder: &Folder, name: &[u8]) -> rustix::io::Result<Vec<Attribute>> {
    let mut path = format!("/proc/self/fd/{}/", folder.handle().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let names = match grow(|buffer| llistxattr(path.as_slice(), buffer)) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut attributes = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match grow(|buffer| lgetxattr(path.as_slice(), name, buffer)) {
            Ok(value) => attributes.push(Attribute { name: name.to_vec(), value }),
            // Taken away since the names were listed, or listed by a file system that does not hand it out.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(Errno::PERM | Errno::ACCESS) if name.starts_with(b"trusted.") => {}
            Err(error) => return Err(error),
        }
    }
    let bytes: usize = attributes.iter().map(|one| one.name.len().saturating_add(one.value.len())).sum();
    if bytes > limits::ATTRIBUTES_MAX {
        return Err(Errno::TOOBIG);
    }
    attributes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(attributes)
}

/// Calls with a growing buffer until the answer fits, for it may grow between asking its size and reading it.
fn grow(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < MOST => buffer.resize(buffer.len().saturating_mul(4), 0),
            Err(error) => return Err(error),
        }
    }
}
