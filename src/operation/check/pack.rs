//! Reading one pack whole: its name, its table, and each blob in it.
//!
//! Invariant: a pack is damaged where its bytes are not what its name and its seals say. That they cannot be had, or are
//! of a version that is not known, is no damage.

use crate::backend::{ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::header::HEADER_LEN;
use crate::format::pack::Table;
use crate::id::Id;
use crate::limits;
use crate::repository::Repository;
use crate::repository::blob::{OpenBuffers, open_frame};
use crate::repository::index::{Index, Place, open_pack};

/// What reading a pack came to.
pub(crate) struct PackReading {
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Of each place whether the blob there is whole. Where the key does not open it, it is if the pack is.
    pub(crate) whole: Vec<bool>,
    /// What is wrong with name, header, frames or table.
    pub(crate) fault: Option<Error>,
    /// Whether table and index say the same.
    pub(crate) agrees: bool,
    /// The first blob's error.
    blob: Option<Error>,
    /// Whether it holds blobs that the key does not open.
    sealed: bool,
}

impl PackReading {
    /// Reads a pack, `places` being all that the index says of it.
    ///
    /// # Errors
    /// Where it cannot be had.
    pub(crate) fn read(repository: &Repository, index: &Index, id: &Id, places: &[Place]) -> Result<Self> {
        let name = ObjectName::new(ObjectKind::Pack, *id);
        let bytes =
            repository.read_listed_object(&name, || repository.backend().get(&name, limits::PACK_MAX))?;
        let (fault, agrees) = match open_pack(repository, id, &bytes) {
            Ok(table) => {
                (None, sorted(said_by_table(&table)) == sorted(places.iter().map(said_by_index).collect()))
            }
            Err(error) => (Some(error), true),
        };
        let mut reading = Self { bytes, whole: Vec::new(), fault, agrees, blob: None, sealed: false };
        reading.judge(repository, index, places);
        Ok(reading)
    }

    /// Looks at more places, of which nothing is held against the table.
    pub(crate) fn judge(&mut self, repository: &Repository, index: &Index, places: &[Place]) {
        let mut buffers = OpenBuffers::default();
        for place in places {
            let whole = if repository.keyring().opens(place.kind.class()) {
                let opened = open(repository, index, place, &self.bytes, &mut buffers);
                let whole = opened.is_ok();
                self.blob = self.blob.take().or(opened.err());
                whole
            } else {
                self.sealed = true;
                self.fault.is_none() && self.agrees
            };
            self.whole.push(whole);
        }
    }

    /// Whether its own bytes are at fault.
    pub(crate) fn is_damaged(&self) -> bool {
        let corrupt = |error: &Error| error.kind() == ErrorKind::Corrupt;
        match &self.fault {
            Some(fault) => corrupt(fault),
            // The table and the name are right: where the index is too, the blobs were never what their ids say.
            None => self.agrees && self.blob.as_ref().is_some_and(corrupt),
        }
    }

    /// Whether it is damaged, and what that cost only another key tells.
    pub(crate) fn hides_losses(&self) -> bool {
        self.sealed && self.is_damaged()
    }

    /// Blobs that are not whole.
    pub(crate) fn lost(&self) -> u64 {
        self.whole.iter().filter(|whole| !**whole).count() as u64
    }

    /// What is wrong with it, if anything is; `indexed` says whether there is anything to hold it against.
    pub(crate) fn verdict_beside(mut self, indexed: bool) -> Result<()> {
        self.agrees |= !indexed;
        self.verdict()
    }

    /// What is wrong with it, if anything is.
    pub(crate) fn verdict(mut self) -> Result<()> {
        let hidden = self.hides_losses();
        let lost = if self.blob.is_some() { self.lost() } else { 0 };
        let disagrees = || Error::corrupt("its table and the index do not agree");
        let first = self.fault.take().or_else(|| (!self.agrees).then(disagrees)).or(self.blob.take());
        match first {
            None => Ok(()),
            Some(error) if self.whole.is_empty() => {
                Err(error.context("is damaged, and what is in it is not known"))
            }
            Some(error) if hidden => {
                Err(error.context("is damaged, and what is lost in it only a full key tells"))
            }
            Some(error) if lost == 0 => Err(error.context("is damaged, though every blob in it is whole")),
            Some(error) => {
                let are = if lost == 1 { "is" } else { "are" };
                Err(error.context(format!("is damaged: {lost} of its {} blobs {are} lost", self.whole.len())))
            }
        }
    }
}

/// What is said of a blob: kind, id, where its frame starts, lengths of frame and plaintext.
type Said = (BlobKind, Id, u64, u32, u32);

fn said_by_table(table: &Table) -> Vec<Said> {
    let mut offset = HEADER_LEN as u64;
    let said = table.entries.iter().map(|entry| {
        let start = offset;
        offset = offset.saturating_add(entry.stored_length.into());
        (entry.kind, entry.id, start, entry.stored_length, entry.plain_length)
    });
    said.collect()
}

fn said_by_index(place: &Place) -> Said {
    (place.kind, place.id, place.offset.into(), place.stored_length, place.plain_length)
}

fn sorted(mut records: Vec<Said>) -> Vec<Said> {
    records.sort_unstable();
    records
}

/// The frame of a place, as it lies in its pack.
pub(crate) fn frame<'b>(place: &Place, bytes: &'b [u8]) -> Result<&'b [u8]> {
    let start = usize::try_from(place.offset).unwrap_or(usize::MAX);
    let length = usize::try_from(place.stored_length).unwrap_or(usize::MAX);
    bytes
        .get(start..start.saturating_add(length))
        .ok_or_else(|| Error::corrupt("the pack is shorter than the index says"))
}

fn open(
    repository: &Repository,
    index: &Index,
    place: &Place,
    bytes: &[u8],
    buffers: &mut OpenBuffers,
) -> Result<()> {
    let frame = frame(place, bytes)?;
    let key = index.content_key(repository, place)?;
    let keyring = repository.keyring();
    open_frame(keyring, key, place.kind, &place.id, place.plain_length, frame, buffers).map(|_| ())
}
