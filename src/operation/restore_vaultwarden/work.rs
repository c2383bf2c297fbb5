//! The folder in which a restore gathers what it is about to put in place, and what it notes there for the next run,
//! should it be killed.
//!
//! Invariants: without a note, all that lies here may go. The note is on the disk before the first step of the swap,
//! and is gone from it before anything else here goes, so that no run takes what is being removed for a swap half-way.
//! What was in the data folder is deleted only where its previous state is not to be kept and the new one is in place:
//! it lies in `previous` then, and never in `data`, which holds nothing but a copy once the note is gone.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use rustix::fs::{AtFlags, CWD, FlockOperation, StatxFlags};

use super::folder::{Folder, show};
use super::mounts;
use crate::error::{Error, ErrorKind, Result};
use crate::format::cbor;
use crate::id::Id;
use crate::service::vaultwarden::RESTORING_NOTE as NOTE;

const NOTE_UNFINISHED: &str = ".state";
const NOTE_MAX: u64 = 16 << 20;

/// What a swap is about to do.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Note {
    /// The snapshot.
    #[n(0)]
    pub(super) snapshot: Id,
    /// The name under which what was there before is kept, in the folder or beside it; none if it is not kept.
    #[n(1)]
    pub(super) aside: Option<ByteVec>,
    /// The new folder.
    #[n(2)]
    pub(super) new: Identity,
    /// The previous one, where there was one.
    #[n(3)]
    pub(super) old: Option<Identity>,
    /// Whether what is in the folder is replaced, and not the folder.
    #[n(4)]
    pub(super) within: bool,
    /// Then what goes out.
    #[n(5)]
    pub(super) old_names: Vec<ByteVec>,
    /// And what comes in.
    #[n(6)]
    pub(super) new_names: Vec<ByteVec>,
}

/// By what a folder is known again, also after a reboot that gives disks other numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Identity {
    #[n(0)]
    inode: u64,
    /// Whether it lies on the disk of the work folder.
    #[n(1)]
    on_the_same_disk: bool,
    /// When it was made, where the file system knows: the numbers of what is gone are given again.
    #[n(2)]
    born: Option<(i64, u32)>,
}

/// Whether both are there, and the same; or neither is there.
pub(super) fn same(one: Option<Identity>, other: Option<Identity>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one == other };
    let born_alike = one.born.is_none() || other.born.is_none() || one.born == other.born;
    one.inode == other.inode && one.on_the_same_disk == other.on_the_same_disk && born_alike
}

fn born(path: &Path) -> Option<(i64, u32)> {
    let found = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BTIME).ok()?;
    let tells = found.stx_mask & StatxFlags::BTIME.bits() != 0;
    tells.then_some((found.stx_btime.tv_sec, found.stx_btime.tv_nsec))
}

/// A work folder, locked; removed when dropped, unless a swap has begun and did not end.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) path: PathBuf,
    /// Kept open, for the lock goes with it.
    lock: File,
    /// The swap is under way: only the next run may tidy up.
    pub(super) leave: bool,
}

impl Work {
    /// Makes one, or takes over what a killed run left.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let failed = |error| Error::io(format!("cannot make {}", show(&path)), error);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(|error| match failed(error) {
                error if error.kind() == ErrorKind::Denied => {
                    error.hint("run this as a user who may write there, such as root")
                }
                error => error,
            })?,
        }
        Self::take_over(path)
    }

    /// Locks one that is there.
    pub(super) fn take_over(path: PathBuf) -> Result<Self> {
        let failed = |error| Error::io(format!("cannot open {}", show(&path)), error);
        let metadata = path.symlink_metadata().map_err(failed)?;
        if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(Error::refused(format!("{} is not a folder of this user", show(&path)))
                .hint("look into it; if it is an earlier restore of somebody else, let them run it again"));
        }
        let lock = File::open(&path).map_err(failed)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, lock, leave: false }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(Error::new(ErrorKind::Busy, "another restore into this folder is running"))
            }
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Where the new folder is made.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// The same through the handle on this folder, where the system has names for handles. Whoever owns the folder that
    /// this one lies in may rename it, and put another in its place; nobody else may do so in here.
    pub(super) fn held_data(&self) -> PathBuf {
        let held = PathBuf::from(format!("/proc/self/fd/{}/data", self.lock.as_raw_fd()));
        if held.symlink_metadata().is_ok() { held } else { self.data() }
    }

    /// Where the previous state goes if it is not kept.
    pub(super) fn discarded(&self) -> PathBuf {
        self.path.join("previous")
    }

    /// Writes the note, and brings it to the disk.
    pub(super) fn write_note(&self, note: &Note) -> Result<()> {
        let failed = |error| Error::io(format!("cannot write in {}", show(&self.path)), error);
        let written = self.path.join(NOTE_UNFINISHED);
        let bytes = cbor::encode(note)?;
        let write = || {
            let mut file = File::create(&written)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&written, self.path.join(NOTE))?;
            sync(&self.path)
        };
        write().map_err(failed)
    }

    /// The note of a run that was killed, if it had got so far.
    pub(super) fn note(&self) -> Result<Option<Note>> {
        let path = self.path.join(NOTE);
        let failed = |error| Error::io(format!("cannot read {}", show(&path)), error);
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_file() && metadata.len() <= NOTE_MAX => {
                let bytes = fs::read(&path).map_err(failed)?;
                cbor::decode(&bytes, "the note of an earlier restore").map(Some)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
            Ok(_) => Err(Error::corrupt(format!("{} is no note of a restore", show(&path)))),
        }
    }

    /// What is at a path; nothing where nothing is.
    pub(super) fn identity(&self, path: &Path) -> Option<Identity> {
        let (found, here) = (path.symlink_metadata().ok()?, self.lock.metadata().ok()?);
        Some(Identity { inode: found.ino(), on_the_same_disk: found.dev() == here.dev(), born: born(path) })
    }

    /// Whether it lies in the data folder, and not beside it.
    pub(super) fn is_within(&self, folder: &Folder) -> bool {
        self.path.parent() == Some(&folder.path)
    }

    /// Removes all of it, the note first; a previous state that is in it only if that is asked for.
    pub(super) fn remove(&self, with_previous: bool) -> Result<()> {
        let remove = || {
            for file in [NOTE, NOTE_UNFINISHED] {
                match fs::remove_file(self.path.join(file)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            // A disk may forget the last steps, but never this one alone.
            sync(&self.path)?;
            let previous = with_previous.then(|| self.discarded());
            for folder in [self.data()].into_iter().chain(previous) {
                if folder.symlink_metadata().is_ok() {
                    mounts::remove_all(&folder)?;
                }
            }
            fs::remove_dir(&self.path)
        };
        remove().map_err(|error| Error::io(format!("cannot remove {}", show(&self.path)), error))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.leave && self.path.exists() {
            // What remains, the next run removes.
            self.remove(false).ok();
        }
    }
}

/// Brings the names in a folder to the disk.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A name as the note keeps it.
pub(super) fn bytes_of(name: &OsStr) -> ByteVec {
    ByteVec::from(name.as_bytes().to_vec())
}
