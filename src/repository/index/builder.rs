//! Index objects on their way into a repository.

use std::collections::HashMap;

use crate::backend::ObjectKind;
use crate::crypto::derive;
use crate::error::{Error, Result};
use crate::format::index::{self as format, IndexObject, IndexedPack};
use crate::format::pack::Envelope;
use crate::id::Id;
use crate::limits;
use crate::repository::Repository;

/// Entries after which an index object is written and the next begun.
pub(super) const INDEX_OBJECT_ENTRIES: usize = 1 << 18;

/// Index objects that were written.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Their ids.
    pub(crate) objects: Vec<Id>,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// Names packs, each with the envelopes that its entries refer to, in as many index objects as they need. All of the
/// packs must have been acknowledged before.
pub(crate) fn publish_packs<E: AsRef<[Envelope]>>(
    repository: &Repository,
    packs: impl Iterator<Item = (IndexedPack, E)>,
) -> Result<Published> {
    let mut published = Published::default();
    let mut builder = IndexBuilder::default();
    for (pack, envelopes) in packs {
        let envelopes = envelopes.as_ref();
        if builder.len() >= INDEX_OBJECT_ENTRIES || !builder.has_room(&pack, envelopes.len()) {
            published.write(repository, std::mem::take(&mut builder))?;
        }
        builder.add(pack, envelopes)?;
    }
    if !builder.is_empty() {
        published.write(repository, builder)?;
    }
    Ok(published)
}

impl Published {
    fn write(&mut self, repository: &Repository, builder: IndexBuilder) -> Result<()> {
        let (id, size) = repository.put_hashed(ObjectKind::Index, &builder.encode()?)?;
        self.objects.push(id);
        self.bytes = self.bytes.saturating_add(size);
        Ok(())
    }
}

/// Collects packs for an index object that is to be written.
#[derive(Default)]
pub(crate) struct IndexBuilder {
    object: IndexObject,
    envelopes: HashMap<[u8; 32], u16>,
    entries: usize,
}

impl IndexBuilder {
    /// Adds a pack whose entries name envelopes by their numbers in `envelopes`.
    pub(crate) fn add(&mut self, mut pack: IndexedPack, envelopes: &[Envelope]) -> Result<()> {
        for entry in &mut pack.entries {
            let envelope = envelopes
                .get(usize::from(entry.envelope))
                .ok_or_else(|| Error::corrupt("a pack names an envelope that it does not have"))?;
            entry.envelope = self.number(envelope)?;
        }
        self.entries = self.entries.saturating_add(pack.entries.len());
        self.object.packs.push(pack);
        Ok(())
    }

    fn number(&mut self, envelope: &Envelope) -> Result<u16> {
        let key = derive::hash(envelope).0;
        if let Some(number) = self.envelopes.get(&key) {
            return Ok(*number);
        }
        let number = u16::try_from(self.object.envelopes.len())
            .ok()
            .filter(|number| usize::from(*number) < limits::ENVELOPES_MAX)
            .ok_or_else(|| Error::refused("an index object has too many envelopes"))?;
        self.object.envelopes.push(*envelope);
        self.envelopes.insert(key, number);
        Ok(number)
    }

    /// Whether a pack with this many envelopes still fits, were none of them known; one alone always does.
    pub(crate) fn has_room(&self, pack: &IndexedPack, envelopes: usize) -> bool {
        let envelopes = self.object.envelopes.len().saturating_add(envelopes);
        let entries = self.entries.saturating_add(pack.entries.len());
        let packs = self.object.packs.len().saturating_add(1);
        self.is_empty()
            || envelopes <= limits::ENVELOPES_MAX
                && format::stored_bytes(envelopes, packs, entries) <= limits::INDEX_MAX
    }

    /// Number of entries so far.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.object.packs.is_empty()
    }

    /// The plaintext of the index object.
    pub(crate) fn encode(mut self) -> Result<Vec<u8>> {
        self.object.packs.sort_by_key(|pack| pack.id);
        format::encode(&self.object)
    }
}
