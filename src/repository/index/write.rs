//! Writing a run to a file.

use std::fs::File;

use super::Place;
use super::blocks::BlockWriter;
use super::record::{encode_pack, encode_place, fence};
use super::run::{Directory, Run, Tables};
use crate::crypto::secret::Secret;
use crate::error::Result;
use crate::format::pack::Envelope;

/// Writes a run to a file; the places come in order.
pub(super) struct RunWriter {
    blocks: BlockWriter,
    fences: Vec<u64>,
    places: u64,
    per_block: u64,
}

impl RunWriter {
    pub(super) fn create(file: File, cache_key: &Secret) -> Result<Self> {
        let per_block = Tables::new([0; 4]).places.per_block();
        Ok(Self { blocks: BlockWriter::create(file, cache_key)?, fences: Vec::new(), places: 0, per_block })
    }

    pub(super) fn push(&mut self, place: &Place) -> Result<()> {
        if self.places.is_multiple_of(self.per_block) {
            self.fences.push(fence(&place.id));
        }
        self.places = self.places.saturating_add(1);
        self.blocks.push(&encode_place(place))
    }

    /// Adds all else, and opens what was written; `envelopes` gives one by its number.
    pub(super) fn finish(
        mut self,
        directory: &Directory,
        envelopes: &dyn Fn(usize) -> Result<Envelope>,
        cache_key: &Secret,
    ) -> Result<Run> {
        self.blocks.end_table()?;
        for number in 0..directory.digests.len() {
            self.blocks.push(&envelopes(number)?)?;
        }
        self.blocks.end_table()?;
        for (class, digest) in &directory.digests {
            self.blocks.push(&[[class.code()].as_slice(), digest].concat())?;
        }
        self.blocks.end_table()?;
        for pack in &directory.packs {
            self.blocks.push(&encode_pack(pack))?;
        }
        self.blocks.end_table()?;
        for object in &directory.objects {
            self.blocks.push(object.as_bytes())?;
        }
        self.blocks.end_table()?;
        for fence in &self.fences {
            self.blocks.push(&fence.to_le_bytes())?;
        }
        let counts = [
            self.places,
            directory.digests.len() as u64,
            directory.packs.len() as u64,
            directory.objects.len() as u64,
        ];
        let footer: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
        let file = self.blocks.finish(&footer, cache_key)?;
        Run::from_blocks(file, &footer)
    }
}
