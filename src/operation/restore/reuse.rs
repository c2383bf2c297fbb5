//! Beginning a file: with what is right in the file that it replaces, and anew where the index let it down.
//!
//! Invariant: what is taken from the old file is proved while it is taken, for it may have changed since it was
//! compared.

use std::collections::{BTreeSet, HashMap};
use std::sync::PoisonError;

use super::compare::with_chunk;
use super::fill::{Filler, State, write_chunk};
use super::plan::{FilePlan, Stray, each_chunk};
use super::relative;
use super::target::PartialFile;
use crate::error::{Error, Result};
use crate::format::blob::BlobKind;

impl Filler<'_, '_> {
    /// Makes a file aside, with what the old one has.
    pub(super) fn begin(&self, number: usize, file: &FilePlan) -> Result<Box<PartialFile>> {
        let partial = Box::new(self.target.create_file(&file.path, file.lean.size)?);
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let is_broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).contains(&number);
        let Some(reused) = self.plan.reused.get(&number).filter(|_| !is_broken) else { return Ok(partial) };
        let old = self.target.open_existing(&file.path)?;
        let reader = self.context.reader;
        let keyring = reader.repository().keyring();
        for piece in reused {
            self.context.interrupt.check()?;
            let place = self.plan.index.place(piece.place)?;
            let (offset, length) = (piece.stream_offset, u64::from(place.plain_length));
            let taken = old.as_ref().and_then(|(old, _)| {
                with_chunk(keyring, old, file.lean.holes(), offset, length, &place.id, |chunk| {
                    write_chunk(&partial, file, offset, chunk)
                })
            });
            match taken {
                Some(written) => written?,
                None => reader.with_blob(BlobKind::Chunk, &place.id, |plain| {
                    write_chunk(&partial, file, offset, plain)
                })?,
            }
            self.context.reporter.progress().add_bytes(length);
        }
        Ok(partial)
    }

    /// Files whose chunks could no longer be looked up, for this computer's copy of the index is damaged and a prune
    /// took what it was made from: their chunks are looked up in the index as it is now.
    pub(super) fn begin_again(&self) -> Result<()> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if broken.is_empty() {
            return Ok(());
        }
        for (number, strays) in self.look_up_again(&broken)? {
            {
                let mut state = self.state(usize::try_from(number).unwrap_or(usize::MAX))?;
                if state.ended {
                    continue;
                }
                let left =
                    u32::try_from(strays.len()).map_err(|_| Error::refused("a file has too many chunks"))?;
                *state = State { left, partial: None, ended: false };
            }
            strays.iter().try_for_each(|stray| self.stray(stray))?;
        }
        Ok(())
    }

    fn look_up_again(&self, broken: &BTreeSet<u32>) -> Result<Vec<(u32, Vec<Stray>)>> {
        let file_of =
            |number: &u32| Some((&*self.plan.files.get(usize::try_from(*number).ok()?)?.path, *number));
        let wanted: HashMap<&[u8], u32> = broken.iter().filter_map(file_of).collect();
        let context = self.context;
        let mut found = Vec::new();
        let mut walk = context.walk();
        while let Some(step) = walk.next(&mut |_| ())? {
            context.interrupt.check()?;
            let place = relative(&step.path, &context.request.place, context.top);
            let Some(number) = place.and_then(|place| wanted.get(place.as_slice()).copied()) else {
                continue;
            };
            let mut strays = Vec::new();
            each_chunk(context.reader, &step.node, step.node.content.as_ref(), &mut |id, stream_offset| {
                strays.push(Stray { id: *id, file: number, stream_offset });
                context.reader.with_blob(BlobKind::Chunk, id, |plain| Ok(plain.len() as u64))
            })?;
            found.push((number, strays));
        }
        Ok(found)
    }
}
