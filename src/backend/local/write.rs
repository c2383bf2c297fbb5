//! Writing the bytes of a new object: past the page cache where they are many and lie well in memory.
//!
//! A pack is written once and not read again soon. Copying it into the page cache costs a first backup a third of
//! its processor time, and pushes out what the machine's services keep there. Invariant: whether a file system
//! takes writes past the cache or not, the same bytes reach it; every doubt ends in ordinary writes.

use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::io::{Errno, retry_on_intr};

use crate::backend::DIRECT_ALIGNMENT;

/// Shorter objects are not worth a second way of writing.
const DIRECT_MIN: usize = 1 << 20;

/// Writes all bytes to a new file; the caller flushes it.
pub(super) fn write(file: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    if bytes.len() >= DIRECT_MIN && bytes.as_ptr().addr().is_multiple_of(DIRECT_ALIGNMENT) {
        write_directly(file, bytes)
    } else {
        write_all(file, bytes)
    }
}

/// Writes the whole pages past the cache, and the rest as ever.
fn write_directly(file: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    let ordinary = rustix::fs::fcntl_getfl(file)?;
    let whole = bytes.len().saturating_sub(bytes.len() % DIRECT_ALIGNMENT);
    let mut done = 0;
    if rustix::fs::fcntl_setfl(file, ordinary | OFlags::DIRECT).is_ok() {
        while let Some(rest) = bytes.get(done..whole).filter(|rest| !rest.is_empty()) {
            match retry_on_intr(|| rustix::io::write(file, rest)) {
                Ok(written) if written > 0 => done = done.saturating_add(written),
                // A file system may take the flag and refuse the write; it says why to an ordinary one.
                _ => break,
            }
            if !done.is_multiple_of(DIRECT_ALIGNMENT) {
                break;
            }
        }
        rustix::fs::fcntl_setfl(file, ordinary)?;
    }
    write_all(file, bytes.get(done..).unwrap_or_default())
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let written = retry_on_intr(|| rustix::io::write(file, bytes))?;
        bytes = bytes.get(written..).filter(|_| written > 0).ok_or(Errno::IO)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::Mode;

    use super::super::leftovers::create_locked;
    use super::super::open_top;
    use super::*;
    use crate::backend::conformance::Folder;

    /// Bytes that begin at a multiple of a page, and `ahead` behind one.
    fn bytes_at(room: &mut Vec<u8>, ahead: usize, length: usize) -> &[u8] {
        room.resize(length + 2 * DIRECT_ALIGNMENT, 0);
        let start = room.as_ptr().align_offset(DIRECT_ALIGNMENT) + ahead;
        for (number, byte) in room.iter_mut().enumerate() {
            *byte = (number % 251) as u8;
        }
        &room[start..start + length]
    }

    #[test]
    fn every_length_and_place_in_memory_gives_the_same_file() {
        let folder = Folder::new();
        let handle = open_top(&folder.path("")).unwrap();
        let mut room = Vec::new();
        for ahead in [0, 1, 512] {
            for length in [0, 1, 4096, DIRECT_MIN - 1, DIRECT_MIN, DIRECT_MIN + 1, DIRECT_MIN + 4096 + 7] {
                let bytes = bytes_at(&mut room, ahead, length);
                let (name, file) = create_locked(&handle, Mode::RUSR).unwrap();
                write(&file, bytes).unwrap();
                fs::rename(folder.path(&name), folder.path("object")).unwrap();
                assert!(fs::read(folder.path("object")).unwrap() == bytes, "{ahead} {length}");
                fs::remove_file(folder.path("object")).unwrap();
            }
        }
    }
}
