//! Gathering index objects into runs, in bounded memory: what gets too much for it is sorted into a file.

use std::collections::HashMap;
use std::sync::Arc;

use super::covered::Covered;
use super::folders::IndexFolders;
use super::merge::merge;
use super::record::{Digest, PackRecord, too_many};
use super::run::{Directory, Run};
use super::{PackInfo, Place};
use crate::crypto::derive;
use crate::crypto::secret::Secret;
use crate::error::{Error, Result};
use crate::format::header::HEADER_LEN;
use crate::format::index::{IndexObject, IndexedPack};
use crate::format::pack::Envelope;
use crate::id::Id;

/// Index objects on their way into runs; they come sorted by id.
pub(super) struct Gatherer {
    folders: Arc<IndexFolders>,
    cache_key: Secret,
    parts: Vec<Run>,
    directory: Directory,
    places: Vec<Place>,
    envelopes: Vec<Envelope>,
    numbers: HashMap<Digest, u32>,
    /// Set where no file can be had: all then stays in memory.
    pub(super) trouble: Option<Error>,
}

impl Gatherer {
    pub(super) fn new(folders: Arc<IndexFolders>, cache_key: Secret) -> Self {
        Self {
            folders,
            cache_key,
            parts: Vec::new(),
            directory: Directory::default(),
            places: Vec::new(),
            envelopes: Vec::new(),
            numbers: HashMap::new(),
            trouble: None,
        }
    }

    /// Adds an object, also where another named its packs before: one of the two may be wrong, and a reader tries
    /// both.
    pub(super) fn add(&mut self, id: Id, object: &IndexObject) -> Result<()> {
        let more: usize = object.packs.iter().map(|pack| pack.entries.len()).sum();
        let full = self.places.len().saturating_add(more) > self.folders.memory_places;
        if full && !self.places.is_empty() && self.trouble.is_none() && self.folders.has_room() {
            self.spill()?;
        }
        let number = u32::try_from(self.directory.objects.len()).map_err(|_| too_many())?;
        self.directory.objects.push(id);
        object.packs.iter().try_for_each(|pack| self.add_pack(number, pack, &object.envelopes))
    }

    fn add_pack(&mut self, object: u32, pack: &IndexedPack, envelopes: &[Envelope]) -> Result<()> {
        let number = u32::try_from(self.directory.packs.len()).map_err(|_| too_many())?;
        let info = PackInfo { id: pack.id, size: pack.size, class: pack.class };
        self.directory.packs.push(PackRecord { info, object });
        let mut local = HashMap::new();
        let mut offset = HEADER_LEN as u64;
        for entry in &pack.entries {
            let envelope = match local.get(&entry.envelope) {
                Some(envelope) => *envelope,
                None => {
                    let bytes = envelopes
                        .get(usize::from(entry.envelope))
                        .ok_or_else(|| Error::corrupt("the index names an envelope that it does not have"))?;
                    let envelope = self.envelope((pack.class, derive::hash(bytes).0), bytes)?;
                    local.insert(entry.envelope, envelope);
                    envelope
                }
            };
            self.places.push(Place {
                id: entry.id,
                pack: number,
                offset: u32::try_from(offset).map_err(|_| too_many())?,
                stored_length: entry.stored_length,
                plain_length: entry.plain_length,
                envelope,
                kind: entry.kind,
            });
            offset = offset.saturating_add(u64::from(entry.stored_length));
        }
        Ok(())
    }

    fn envelope(&mut self, digest: Digest, bytes: &Envelope) -> Result<u32> {
        if let Some(number) = self.numbers.get(&digest) {
            return Ok(*number);
        }
        let number = u32::try_from(self.envelopes.len()).map_err(|_| too_many())?;
        self.envelopes.push(*bytes);
        self.directory.digests.push(digest);
        self.numbers.insert(digest, number);
        Ok(number)
    }

    fn take(&mut self) -> Result<Run> {
        self.numbers.clear();
        let directory = std::mem::take(&mut self.directory);
        Run::in_memory(directory, std::mem::take(&mut self.places), std::mem::take(&mut self.envelopes))
    }

    /// Puts what was gathered into a file.
    fn spill(&mut self) -> Result<()> {
        let run = Covered::whole(self.take()?);
        let written = self
            .folders
            .temporary_file()
            .and_then(|file| merge(std::slice::from_ref(&run), file, &self.cache_key));
        match written {
            Ok(part) => self.parts.push(part),
            Err(error) => {
                self.trouble = Some(error);
                self.parts.extend(Arc::into_inner(run.run));
            }
        }
        Ok(())
    }

    /// The runs, none of them empty.
    pub(super) fn finish(mut self) -> Result<(Vec<Covered>, Option<Error>)> {
        if !self.directory.objects.is_empty() {
            let rest = self.take()?;
            self.parts.push(rest);
        }
        Ok((self.parts.into_iter().map(Covered::whole).collect(), self.trouble))
    }
}
