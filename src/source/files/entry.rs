//! One thing met on a walk: its place in the snapshot, its node, and the way back to it.
//!
//! Invariant: what is opened is the inode that the walk saw, or the opening fails. An entry holds a handle on its
//! folder; entries waiting in a queue are held against the limit of open files.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use super::folder::Folder;
use super::{attributes, metadata};
use crate::error::{Error, ErrorKind, Result};
use crate::format::node::{Attribute, Node, NodeKind};
use crate::report::printable;

/// One thing met on a walk.
pub struct Entry {
    /// Its path in the snapshot.
    pub path: Vec<u8>,
    /// What is known of it without reading it.
    pub node: Node,
    location: Location,
}

/// Where an entry is on the host.
#[derive(Clone)]
pub(super) enum Location {
    /// A name in an open folder.
    In(Arc<Folder>, Box<[u8]>),
    /// It is a folder of the snapshot only.
    Nowhere,
}

impl Entry {
    pub(super) fn new(path: Vec<u8>, node: Node, location: Location) -> Self {
        Self { path, node, location }
    }

    /// Where it is on the host, for messages and for those who need a path; for a folder that exists in the
    /// snapshot only, its path there.
    pub fn host_path(&self) -> PathBuf {
        match &self.location {
            Location::In(folder, name) => folder.path_of(name),
            Location::Nowhere => PathBuf::from(OsStr::from_bytes(&self.path)),
        }
    }

    /// Opens it for reading: it must still be the regular file that the walk saw.
    pub fn open(&self) -> Result<File> {
        let Location::In(folder, name) = &self.location else {
            return Err(self.not_a_file());
        };
        if self.node.kind != NodeKind::File {
            return Err(self.not_a_file());
        }
        let file = match folder.open_file(name) {
            Ok(handle) => File::from(handle),
            // A link, a socket or a pipe stands there now.
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Err(self.changed()),
            Err(error) => return Err(Error::io(format!("cannot open {}", self.printable()), error)),
        };
        let stat = metadata::stat_open(&file)?;
        // The content may have changed: whoever compares the whole stamp after reading finds that out.
        let same = (metadata::device(&stat), stat.stx_ino) == (self.node.device, self.node.inode);
        if !same || metadata::kind(&stat) != Some(NodeKind::File) {
            return Err(self.changed());
        }
        Ok(file)
    }

    /// Reads its extended attributes, sorted by name, access control lists among them.
    ///
    /// Attributes in `trusted.` come along only where they are readable, which takes root.
    pub fn attributes(&self) -> Result<Option<Vec<Attribute>>> {
        let Location::In(folder, name) = &self.location else {
            return Ok(None);
        };
        let attributes = attributes::read(folder, name).map_err(|error| {
            Error::io(format!("cannot read the extended attributes of {}", self.printable()), error)
        })?;
        Ok(if attributes.is_empty() { None } else { Some(attributes) })
    }

    fn printable(&self) -> String {
        printable(self.host_path().as_os_str().as_bytes())
    }

    fn not_a_file(&self) -> Error {
        Error::refused(format!("{} is not a regular file", self.printable()))
    }

    fn changed(&self) -> Error {
        Error::new(ErrorKind::Io, format!("{} changed while being read", self.printable()))
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} {}", self.node.kind, printable(&self.path))
    }
}
