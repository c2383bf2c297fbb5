//! Saving the blobs of damaged packs, one by one.
//!
//! Invariants: a blob is handed on only if it opens and is what its id names. It is passed over only where a pack has it
//! that this run read and found whole. It counts as lost only where no pack that can be had holds it, be that one
//! damaged, condemned or never read.

use super::{Packs, Salvage, Saved};
use crate::backend::{ObjectKind, ObjectName};
use crate::crypto::secret::Secret;
use crate::error::{ErrorKind, Result};
use crate::format::pack::{Envelope, frame_offsets};
use crate::id::Id;
use crate::operation::check::pack::frame;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::blob::{OpenBuffers, open_envelope, open_frame};
use crate::repository::index::{Index, Place, table_of_damaged};
use crate::repository::mover::{BlobMover, SealedBlob};

/// What saving needs, and what was saved.
pub(in crate::operation::repair) struct Saving<'a> {
    repository: &'a Repository,
    packs: &'a Packs,
    /// Over packs that are good.
    good: Index,
    mover: &'a BlobMover<'a>,
    reporter: &'a dyn Reporter,
    saved: Saved,
    buffers: OpenBuffers,
}

impl<'a> Saving<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        packs: &'a Packs,
        good: Index,
        mover: &'a BlobMover<'a>,
        reporter: &'a dyn Reporter,
    ) -> Self {
        let (saved, buffers) = (Saved::default(), OpenBuffers::default());
        Self { repository, packs, good, mover, reporter, saved, buffers }
    }

    /// What was saved, and what is lost.
    pub(in crate::operation::repair) fn saved(mut self) -> Saved {
        let saved = &self.saved.blobs;
        self.saved.lost.retain(|blob| !saved.contains(blob));
        self.saved
    }

    /// Saves what a damaged pack held.
    pub(in crate::operation::repair) fn pack(&mut self, pack: &Id) -> Result<Salvage> {
        let packs = self.packs;
        let places = packs.places(pack)?;
        let bytes = match packs.read_again(self.repository, pack, &places) {
            Ok(bytes) => bytes,
            Err(cause) => return Ok(Salvage::Left(cause)),
        };
        if !packs.numbers.contains_key(pack) {
            return self.by_table(pack, &bytes);
        }
        for place in places {
            let key = packs.index.content_key(self.repository, &place)?;
            let envelope = packs.index.envelope(&place)?;
            self.one(pack, &place, frame(&place, &bytes).ok(), key, &envelope)?;
        }
        Ok(Salvage::Done)
    }

    fn by_table(&mut self, pack: &Id, bytes: &[u8]) -> Result<Salvage> {
        // No index names it. Its own table does, where that still opens; what it says is proved frame by frame.
        let Ok((table, end)) = table_of_damaged(self.repository, bytes) else { return Ok(Salvage::Unknown) };
        let keys = table
            .envelopes
            .iter()
            .map(|envelope| open_envelope(self.repository.keyring(), table.class, envelope))
            .collect::<Result<Vec<_>>>()?;
        for (entry, offset) in table.entries.iter().zip(frame_offsets(&table.entries, end)?) {
            let number = usize::from(entry.envelope);
            let (Some(key), Some(envelope)) = (keys.get(number), table.envelopes.get(number)) else {
                continue;
            };
            let place = Place {
                id: entry.id,
                pack: 0,
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
                stored_length: entry.stored_length,
                plain_length: entry.plain_length,
                envelope: 0,
                kind: entry.kind,
            };
            self.one(pack, &place, frame(&place, bytes).ok(), key, envelope)?;
        }
        Ok(Salvage::Done)
    }

    fn one(
        &mut self,
        pack: &Id,
        place: &Place,
        frame: Option<&[u8]>,
        key: &Secret,
        envelope: &Envelope,
    ) -> Result<()> {
        let blob = (place.kind, place.id);
        if self.saved.blobs.contains(&blob) || self.good.contains(place.kind, &place.id)? {
            return Ok(());
        }
        match frame {
            Some(frame) if self.opens(place, frame, key) => self.keep(place, frame, envelope),
            _ => self.save_elsewhere(pack, place),
        }
    }

    fn opens(&mut self, place: &Place, frame: &[u8], key: &Secret) -> bool {
        let (keyring, length) = (self.repository.keyring(), place.plain_length);
        open_frame(keyring, key, place.kind, &place.id, length, frame, &mut self.buffers).is_ok()
    }

    fn keep(&mut self, place: &Place, frame: &[u8], envelope: &Envelope) -> Result<()> {
        let (kind, id, plain_length) = (place.kind, place.id, place.plain_length);
        self.mover.add(&SealedBlob { kind, id, plain_length, envelope, frame })?;
        self.saved.blobs.insert((kind, id));
        Ok(())
    }

    /// Takes a blob that is bad in `pack` from any other place: a pack that was not read, or that is condemned and not
    /// deleted yet.
    fn save_elsewhere(&mut self, pack: &Id, bad: &Place) -> Result<()> {
        let index = &self.packs.index;
        let mut maybe_there = false;
        for place in index.places(bad.kind, &bad.id)? {
            let other = index.pack(&place)?.id;
            if other == *pack {
                continue;
            }
            let name = ObjectName::new(ObjectKind::Pack, other);
            let (offset, length) = (place.offset.into(), place.stored_length.into());
            let frame = match self.repository.backend().get_range(&name, offset, length) {
                Ok(frame) => frame,
                Err(error) if matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt) => continue,
                Err(error) => {
                    maybe_there = true;
                    let subject = format!("{} {}", bad.kind.name(), bad.id.short());
                    let (pack, other) = (pack.short(), other.short());
                    let cause = format!(
                        "is damaged in pack {pack}, and its copy in pack {other} cannot be had: {}",
                        error.chain()
                    );
                    self.reporter.report(Finding::problem(subject, cause));
                    continue;
                }
            };
            let Ok(key) = index.content_key(self.repository, &place) else { continue };
            if self.opens(&place, &frame, key) {
                return self.keep(&place, &frame, &index.envelope(&place)?);
            }
        }
        if !maybe_there {
            self.saved.lost.insert((bad.kind, bad.id));
        }
        Ok(())
    }
}
