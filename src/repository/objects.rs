//! Reading and writing whole sealed objects.
//!
//! Follows `format-spec/03-cryptography.md#objects`. What an object's seal binds: its header, the repository's
//! id, and its own id where that is not the hash of its bytes.

use super::Repository;
use super::kept::Kept;
use crate::backend::{ObjectKind, ObjectName};
use crate::crypto::derive::{self, Purpose};
use crate::crypto::seal;
use crate::error::{Error, Result};
use crate::format::header::{self, HEADER_LEN, HeaderKind};
use crate::id::{ID_LEN, Id};
use crate::limits;

struct Sealing {
    header: HeaderKind,
    purpose: Purpose,
    limit: u64,
    named_by_hash: bool,
}

fn sealing(kind: ObjectKind) -> Result<Sealing> {
    let (header, purpose, limit, named_by_hash) = match kind {
        ObjectKind::Index => (HeaderKind::Index, Purpose::Index, limits::INDEX_MAX, true),
        ObjectKind::Snapshot => (HeaderKind::Snapshot, Purpose::Snapshots, limits::SNAPSHOT_MAX, false),
        ObjectKind::Abandoned => (HeaderKind::Abandoned, Purpose::Abandoned, limits::SMALL_OBJECT_MAX, false),
        ObjectKind::Forgotten => (HeaderKind::Forgotten, Purpose::Forgotten, limits::SMALL_OBJECT_MAX, false),
        ObjectKind::Session => (HeaderKind::Session, Purpose::Sessions, limits::SMALL_OBJECT_MAX, false),
        ObjectKind::Gc => (HeaderKind::Gc, Purpose::Gc, limits::GC_MAX, true),
        ObjectKind::Config | ObjectKind::Key | ObjectKind::Pack => {
            return Err(Error::refused("objects of this kind are not sealed as a whole"));
        }
    };
    Ok(Sealing { header, purpose, limit, named_by_hash })
}

/// What the seal of an object binds; `id` is zero where the object is named by its hash.
pub(crate) fn associated(kind: HeaderKind, repository: &Id, id: &Id) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN.saturating_add(ID_LEN).saturating_add(ID_LEN));
    bytes.extend_from_slice(&header::header(kind));
    bytes.extend_from_slice(repository.as_bytes());
    bytes.extend_from_slice(id.as_bytes());
    bytes
}

impl Repository {
    /// Seals and stores an object that is named by its hash.
    pub(crate) fn put_hashed(&self, kind: ObjectKind, plaintext: &[u8]) -> Result<(Id, u64)> {
        let bytes = self.seal_object(kind, &Id::default(), plaintext)?;
        let id = derive::hash(&bytes);
        self.backend.put(&ObjectName::new(kind, id), &bytes)?;
        Ok((id, bytes.len() as u64))
    }

    /// Seals and stores an object under an id of its own.
    pub(crate) fn put_named(&self, kind: ObjectKind, id: &Id, plaintext: &[u8]) -> Result<u64> {
        let bytes = self.seal_object(kind, id, plaintext)?;
        self.backend.put(&ObjectName::new(kind, *id), &bytes)?;
        Ok(bytes.len() as u64)
    }

    /// Reads an object, checks its name and its seal, and gives its plaintext.
    pub(crate) fn get_object(&self, kind: ObjectKind, id: &Id) -> Result<Vec<u8>> {
        let bytes = self.backend.get(&ObjectName::new(kind, *id), sealing(kind)?.limit)?;
        self.open_object(kind, id, &bytes)
    }

    /// The same, from the bytes that are kept of it, where there are some and they open.
    pub(super) fn get_kept_object(&self, kept: Option<&Kept>, kind: ObjectKind, id: &Id) -> Result<Vec<u8>> {
        let Some(kept) = kept else { return self.get_object(kind, id) };
        let (name, limit) = (Kept::object_name(kind, id), sealing(kind)?.limit);
        let opened = kept.get(&name, limit).and_then(|bytes| self.open_object(kind, id, &bytes).ok());
        if let Some(plaintext) = opened {
            return Ok(plaintext);
        }
        let bytes = self.backend.get(&ObjectName::new(kind, *id), limit)?;
        let plaintext = self.open_object(kind, id, &bytes)?;
        kept.put(&name, &bytes);
        Ok(plaintext)
    }

    fn open_object(&self, kind: ObjectKind, id: &Id, bytes: &[u8]) -> Result<Vec<u8>> {
        let sealing = sealing(kind)?;
        let opened = if sealing.named_by_hash && derive::hash(bytes) != *id {
            Err(Error::corrupt("its bytes are not the ones its name says"))
        } else {
            header::strip(sealing.header, bytes).and_then(|sealed| {
                let bound = if sealing.named_by_hash { Id::default() } else { *id };
                let associated = associated(sealing.header, self.id(), &bound);
                seal::open_object(&self.keyring.key(sealing.purpose), &associated, sealed)
            })
        };
        opened.map_err(|error| error.context(format!("{} cannot be read", ObjectName::new(kind, *id))))
    }

    fn seal_object(&self, kind: ObjectKind, id: &Id, plaintext: &[u8]) -> Result<Vec<u8>> {
        let sealing = sealing(kind)?;
        let associated = associated(sealing.header, self.id(), id);
        let mut bytes = header::header(sealing.header).to_vec();
        bytes.extend(seal::seal_object(&self.keyring.key(sealing.purpose), &associated, plaintext)?);
        // What no reader would take is refused here, while the backup that wrote it can still fail.
        let size = bytes.len() as u64;
        if size > sealing.limit {
            return Err(Error::refused(format!(
                "a {} of {size} bytes is longer than the {} it may have",
                sealing.header.name(),
                sealing.limit
            )));
        }
        Ok(bytes)
    }
}
