//! A file's bytes in order: its chunks, with the holes between them as zeros.
//!
//! Invariant: what is written is as long as the file, or an error.

use std::io::Write;

use crate::error::{Error, Result};
use crate::format::node::Hole;

/// A file on its way out.
pub(in crate::operation) struct Contents {
    size: u64,
    holes: Vec<Hole>,
    position: u64,
    hole: usize,
}

impl Contents {
    /// A file of this size and with these holes, from its start.
    pub(in crate::operation) fn new(size: u64, holes: Option<&[Hole]>) -> Self {
        Self { size, holes: holes.unwrap_or_default().to_vec(), position: 0, hole: 0 }
    }

    /// Writes the next chunk, and the holes before and in it.
    pub(in crate::operation) fn write(&mut self, out: &mut dyn Write, mut plain: &[u8]) -> Result<()> {
        if self.position.saturating_add(plain.len() as u64) > self.size {
            return Err(longer());
        }
        while !plain.is_empty() {
            self.pass_holes(out)?;
            let until =
                self.holes.get(self.hole).map_or(u64::MAX, |hole| hole.offset.saturating_sub(self.position));
            let length = plain.len().min(usize::try_from(until).unwrap_or(usize::MAX));
            let (part, rest) = plain.split_at_checked(length).unwrap_or((plain, &[]));
            out.write_all(part).map_err(cannot_write)?;
            self.position = self.position.saturating_add(part.len() as u64);
            plain = rest;
        }
        Ok(())
    }

    /// Writes the holes behind the last chunk.
    pub(in crate::operation) fn finish(mut self, out: &mut dyn Write) -> Result<()> {
        self.pass_holes(out)?;
        if self.position == self.size { Ok(()) } else { Err(longer()) }
    }

    fn pass_holes(&mut self, out: &mut dyn Write) -> Result<()> {
        while let Some(hole) = self.holes.get(self.hole).filter(|hole| hole.offset == self.position) {
            write_zeros(out, hole.length)?;
            self.position = self.position.saturating_add(hole.length);
            self.hole = self.hole.saturating_add(1);
        }
        Ok(())
    }
}

/// Writes so many zeros.
pub(super) fn write_zeros(out: &mut dyn Write, mut left: u64) -> Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
        out.write_all(ZEROS.get(..length).unwrap_or_default()).map_err(cannot_write)?;
        left = left.saturating_sub(length as u64);
    }
    Ok(())
}

/// An error of whatever takes the output.
pub(super) fn cannot_write(error: std::io::Error) -> Error {
    Error::io("cannot write the output", error)
}

/// What is wrong with a file whose chunks do not fill it, or more than that.
pub(super) fn longer() -> Error {
    Error::corrupt("its chunks are not as long as the file")
}
