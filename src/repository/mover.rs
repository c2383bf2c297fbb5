//! Moving sealed blobs into new packs, without the keys that open them.
//!
//! Follows `format-spec/06-pack.md`: what seals a blob binds neither its pack nor its place there, and a pack's table
//! lists the sealed content keys that its blobs need. Invariants: blobs are dealt at random to two open packs and the
//! packs are padded, as when they were written first; before a pack is stored, each frame in it is compared with the
//! hash that it had where it came from; an index object is written only after the packs it names were acknowledged.

use std::collections::HashMap;
use std::sync::Mutex;

use super::Repository;
use super::index::publish_packs;
use super::packer::{PACK_ROOM, PACK_TARGET, PackBytes, deal_first, seal_pack};
use super::writer::INDEX_OBJECT_PACKS;
use crate::backend::{ObjectKind, ObjectName};
use crate::crypto::derive;
use crate::error::{Error, Result};
use crate::format::blob::{BlobKind, Class};
use crate::format::index::IndexedPack;
use crate::format::pack::{self, Entry, Envelope};
use crate::id::Id;
use crate::limits;

/// Sealed content keys after which a pack is closed, full or not: each takes more than a kilobyte.
const PACK_ENVELOPES: usize = 4096;

/// A sealed blob where it lies now.
#[derive(Clone, Copy, Debug)]
pub struct SealedBlob<'a> {
    /// What it holds.
    pub kind: BlobKind,
    /// Its id.
    pub id: Id,
    /// Length of its plaintext.
    pub plain_length: u32,
    /// The content key that it needs, sealed.
    pub envelope: &'a Envelope,
    /// Its ciphertext and tag.
    pub frame: &'a [u8],
}

/// What was moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Blobs.
    pub blobs: u64,
    /// New packs.
    pub packs: Vec<Id>,
    /// Bytes of the new packs and of the index objects that name them.
    pub stored_bytes: u64,
}

/// Puts sealed blobs into new packs; may be called from many threads.
pub struct BlobMover<'a> {
    repository: &'a Repository,
    open: [[Mutex<MovedPack>; 2]; 2],
    done: Mutex<Done>,
}

#[derive(Default)]
struct MovedPack {
    bytes: PackBytes,
    entries: Vec<Entry>,
    /// The hash of each frame where it came from.
    hashes: Vec<Id>,
    envelopes: Vec<Envelope>,
    numbers: HashMap<Id, u16>,
}

#[derive(Default)]
struct Done {
    moved: Moved,
    /// Packs that are stored and that no index object names yet.
    unnamed: Vec<(IndexedPack, Vec<Envelope>)>,
}

impl<'a> BlobMover<'a> {
    /// Moves blobs within a repository, or into it.
    pub fn new(repository: &'a Repository) -> Self {
        Self { repository, open: Default::default(), done: Mutex::default() }
    }

    /// Takes a blob. It is safe in its new place only after [`BlobMover::finish`].
    pub fn add(&self, blob: &SealedBlob<'_>) -> Result<()> {
        let [data, metadata] = &self.open;
        let class = blob.kind.class();
        let [first, second] = if class == Class::Data { data } else { metadata };
        let full = {
            let mut open = if deal_first()? { first } else { second }.lock().map_err(|_| failed())?;
            open.push(blob)?;
            let full = open.bytes.len() >= PACK_TARGET || open.envelopes.len() >= PACK_ENVELOPES;
            full.then(|| std::mem::take(&mut *open))
        };
        full.map_or(Ok(()), |pack| self.store(class, pack))
    }

    /// Stores what is still open, and publishes the index of all.
    pub fn finish(self) -> Result<Moved> {
        let [data, metadata] = &self.open;
        for (class, open) in [(Class::Data, data), (Class::Metadata, metadata)] {
            for pack in rest(open)? {
                self.store(class, pack)?;
            }
        }
        let unnamed = std::mem::take(&mut self.lock()?.unnamed);
        self.publish(unnamed)?;
        Ok(std::mem::take(&mut self.lock()?.moved))
    }

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, Done>> {
        self.done.lock().map_err(|_| failed())
    }

    /// Closes a pack, compares it with what it was made from, and stores it.
    fn store(&self, class: Class, pack: MovedPack) -> Result<()> {
        let MovedPack { mut bytes, entries, hashes, envelopes, .. } = pack;
        let sealed = seal_pack(self.repository, &mut bytes, class, envelopes, entries)?;
        let offsets = pack::frame_offsets(&sealed.table.entries, sealed.frames_end as u64)?;
        for ((entry, offset), hash) in sealed.table.entries.iter().zip(offsets).zip(&hashes) {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let length = usize::try_from(entry.stored_length).unwrap_or(usize::MAX);
            let frame = bytes.as_slice().get(start..start.saturating_add(length));
            if frame.map(derive::hash).as_ref() != Some(hash) {
                return Err(Error::corrupt(
                    "a blob did not survive being moved: this machine's memory may be faulty",
                ));
            }
        }
        self.repository.backend().put(&ObjectName::new(ObjectKind::Pack, sealed.id), bytes.as_slice())?;
        let size = bytes.len() as u64;
        let blobs = sealed.table.entries.len() as u64;
        let indexed = IndexedPack { id: sealed.id, size, class, entries: sealed.table.entries };
        let gathered = {
            let mut done = self.lock()?;
            done.moved.blobs = done.moved.blobs.saturating_add(blobs);
            done.moved.packs.push(sealed.id);
            done.moved.stored_bytes = done.moved.stored_bytes.saturating_add(size);
            done.unnamed.push((indexed, sealed.table.envelopes));
            if done.unnamed.len() < INDEX_OBJECT_PACKS {
                return Ok(());
            }
            std::mem::take(&mut done.unnamed)
        };
        self.publish(gathered)
    }

    fn publish(&self, packs: Vec<(IndexedPack, Vec<Envelope>)>) -> Result<()> {
        let published = publish_packs(self.repository, packs.into_iter())?;
        let mut done = self.lock()?;
        done.moved.stored_bytes = done.moved.stored_bytes.saturating_add(published.bytes);
        Ok(())
    }
}

impl MovedPack {
    fn push(&mut self, blob: &SealedBlob<'_>) -> Result<()> {
        let too_long = || Error::refused("a blob is too long");
        if self.entries.is_empty() {
            self.bytes.begin(if blob.frame.len() > 64 << 10 { PACK_ROOM } else { 0 });
        }
        let stored_length = u32::try_from(blob.frame.len()).map_err(|_| too_long())?;
        if usize::try_from(blob.plain_length).map_or(true, |length| length > limits::BLOB_PLAIN_MAX) {
            return Err(too_long());
        }
        let digest = derive::hash(blob.envelope);
        let envelope = match self.numbers.get(&digest) {
            Some(number) => *number,
            None => {
                let number = u16::try_from(self.envelopes.len())
                    .map_err(|_| Error::refused("a pack has too many envelopes"))?;
                self.envelopes.push(*blob.envelope);
                self.numbers.insert(digest, number);
                number
            }
        };
        let (id, kind, plain_length) = (blob.id, blob.kind, blob.plain_length);
        self.bytes.append(blob.frame);
        self.hashes.push(derive::hash(blob.frame));
        self.entries.push(Entry { id, kind, envelope, stored_length, plain_length });
        Ok(())
    }
}

impl MovedPack {
    /// Takes all blobs of another pack.
    fn append(&mut self, other: &Self) -> Result<()> {
        let outside = || Error::refused("a blob lies outside its pack");
        let offsets = pack::frame_offsets(&other.entries, other.bytes.len() as u64)?;
        for ((entry, offset), hash) in other.entries.iter().zip(offsets).zip(&other.hashes) {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let length = usize::try_from(entry.stored_length).unwrap_or(usize::MAX);
            let frame = other.bytes.as_slice().get(start..start.saturating_add(length));
            self.push(&SealedBlob {
                kind: entry.kind,
                id: entry.id,
                plain_length: entry.plain_length,
                envelope: other.envelopes.get(usize::from(entry.envelope)).ok_or_else(outside)?,
                frame: frame.ok_or_else(outside)?,
            })?;
            if let Some(last) = self.hashes.last_mut() {
                // The hash from where it came first, not the one of this copy.
                *last = *hash;
            }
        }
        Ok(())
    }
}

/// What is still open: one pack where both fit into it.
fn rest(open: &[Mutex<MovedPack>; 2]) -> Result<Vec<MovedPack>> {
    let mut rest = Vec::new();
    for open in open {
        rest.push(std::mem::take(&mut *open.lock().map_err(|_| failed())?));
    }
    if let [first, second] = rest.as_mut_slice()
        && !first.entries.is_empty()
        && !second.entries.is_empty()
        && first.bytes.len().saturating_add(second.bytes.len()) <= PACK_TARGET
    {
        first.append(&std::mem::take(second))?;
    }
    rest.retain(|pack| !pack.entries.is_empty());
    Ok(rest)
}

fn failed() -> Error {
    Error::refused("another thread failed while it moved blobs")
}
