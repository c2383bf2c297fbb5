//! Small records in the local cache that spare the next run some work, sealed like everything there.
//!
//! Layout: `<cache>/<repository id>/notes/<id>`. Invariant: a note that is torn, damaged or of another repository is
//! no note; deleting all of them costs time, never correctness.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;

use super::Repository;
use super::cache::{Cache, open_private};
use super::objects::associated;
use crate::crypto::derive::Purpose;
use crate::crypto::seal;
use crate::error::{Error, Result};
use crate::format::header::{self, HEADER_LEN, HeaderKind};
use crate::id::Id;

/// Longest note in bytes; a longer one is not kept.
const NOTE_MAX: u64 = 64 << 20;

impl Cache {
    /// Keeps a record, unless it is too long, under a name of the caller's, in place of the one that was there.
    pub fn keep_note(&self, repository: &Repository, name: &Id, plain: &[u8]) -> Result<()> {
        if plain.len() as u64 > NOTE_MAX {
            return Ok(());
        }
        let folder = self.folder.join("notes");
        let fail = |error| Error::io(format!("cannot write to {}", folder.display()), error);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(fail)?;
        let bound = associated(HeaderKind::Cache, repository.id(), name);
        let sealed = seal::seal_object(&repository.keyring().key(Purpose::Cache), &bound, plain)?;
        // The same name every time: what a killed run leaves, the next one writes over. Two that write at once make
        // a note that does not open.
        let temporary = folder.join(format!("{name}.new"));
        let written = open_private(&temporary, true).and_then(|mut file| {
            file.set_len(0)
                .and_then(|()| file.write_all(&header::header(HeaderKind::Cache)))
                .and_then(|()| file.write_all(&sealed))
                .and_then(|()| std::fs::rename(&temporary, folder.join(name.to_hex())))
                .map_err(fail)
        });
        if written.is_err() && std::fs::remove_file(&temporary).is_err() {
            // It was not even made; what could be left of it is of no harm.
        }
        written
    }

    /// The record kept under a name, where there is one that opens.
    pub fn note(&self, repository: &Repository, name: &Id) -> Option<Vec<u8>> {
        let path = self.folder.join("notes").join(name.to_hex());
        if std::fs::metadata(&path).ok()?.len() > NOTE_MAX.saturating_add(1 << 10) {
            return None;
        }
        let bytes = std::fs::read(&path).ok()?;
        let (start, sealed) = bytes.split_at_checked(HEADER_LEN)?;
        header::strip(HeaderKind::Cache, start).ok()?;
        let bound = associated(HeaderKind::Cache, repository.id(), name);
        seal::open_object(&repository.keyring().key(Purpose::Cache), &bound, sealed).ok()
    }
}
