//! A consistent copy of a database in the scratch folder.
//!
//! Invariant: complete in its one file, without log or journal; nobody writes it; deleted when dropped.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::at_rest::{check_at_rest, open_at_rest};
use super::check::Check;
use super::error::TakeError;
use super::scratch::Folder;
use super::{HEADER, page_size};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::interrupt::Interrupt;

/// A consistent copy of a database, deleted when dropped.
#[derive(Debug)]
pub struct Copy {
    path: PathBuf,
    page_size: u32,
    size: u64,
    fingerprint: Id,
    interrupt: Interrupt,
    /// Goes, with all in it, when this is dropped.
    _folder: Folder,
}

impl Copy {
    /// Takes over a finished copy.
    pub(super) fn new(folder: Folder, fingerprint: Id, interrupt: Interrupt) -> Result<Self, TakeError> {
        let path = folder.database();
        let unreadable = |error| TakeError::Other(Error::io("cannot read the copy of the database", error));
        let file = File::open(&path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let mut header = [0; HEADER];
        (&file).read_exact(&mut header).map_err(unreadable)?;
        let Some(page_size) = page_size(&header) else {
            return Err(TakeError::NotADatabase { detail: "its page size is impossible".into() });
        };
        Ok(Self { path, page_size, size, fingerprint, interrupt, _folder: folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it for reading.
    pub fn open(&self) -> Result<File> {
        File::open(&self.path).map_err(|error| Error::io("cannot open the copy of the database", error))
    }

    /// Bytes in a page.
    pub fn page_size(&self) -> u32 {
        self.page_size
    }

    /// Number of pages; a damaged database may end with a part of one, which counts.
    pub fn pages(&self) -> u64 {
        self.size.div_ceil(u64::from(self.page_size))
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the source looked like before it was copied, so that the next run looks again if it changed
    /// meanwhile.
    pub fn fingerprint(&self) -> Id {
        self.fingerprint
    }

    /// Looks for damage, and for rows that refer to rows that are not there.
    pub fn check(&self) -> Result<Check> {
        check_at_rest(&self.path, &self.interrupt)
    }

    /// Opens it for queries, read-only, with nothing in its schema trusted.
    pub fn connect(&self) -> Result<Connection> {
        open_at_rest(&self.path)
    }
}
