//! One file from a snapshot, as a stream.
//!
//! Invariant: every byte that is written was proved by its chunk's id; where a chunk is lost, the stream ends
//! with an error and nothing made up.

use std::io::Write;

use super::restore::find;
use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::key_slot::Role;
use crate::format::node::{Content, Node, NodeKind};
use crate::report::{Reporter, printable};
use crate::repository::Repository;
use crate::repository::content::visit_chunks;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;

/// Writes the contents of a file, holes as zeros; gives its length in bytes.
pub fn run(
    repository: &Repository,
    snapshot: &Snapshot,
    place: &[u8],
    out: &mut dyn Write,
    reporter: &dyn Reporter,
) -> Result<u64> {
    repository.keyring().require(Role::Full, "reading a file")?;
    let reader = BlobReader::new(repository, reporter)?.with_kept_metadata();
    let node =
        find(&reader, snapshot, place)?.filter(|node| node.kind == NodeKind::File).ok_or_else(|| {
            Error::refused(format!("/{} is not a file", printable(place)))
                .hint("`strongroom restore SNAPSHOT:PATH --target DIR` brings folders back")
        })?;
    let mut stream = Stream { out, position: 0, hole: 0, node: &node };
    let empty = Content::default();
    visit_chunks(&reader, node.content.as_ref().unwrap_or(&empty), &mut |_, _| Ok(()), &mut |id| {
        reader.with_blob(BlobKind::Chunk, id, |plain| stream.write(plain).map(|()| plain.len() as u64))
    })?;
    stream.finish()
}

struct Stream<'a> {
    out: &'a mut dyn Write,
    position: u64,
    hole: usize,
    node: &'a Node,
}

impl Stream<'_> {
    fn write(&mut self, mut plain: &[u8]) -> Result<()> {
        // Not only at the end: a hostile list can go on for billions of chunks.
        if self.position.saturating_add(plain.len() as u64) > self.node.size {
            return Err(longer());
        }
        while !plain.is_empty() {
            self.pass_hole()?;
            let holes = self.node.holes.as_deref().unwrap_or_default();
            let until =
                holes.get(self.hole).map_or(u64::MAX, |hole| hole.offset.saturating_sub(self.position));
            let length = plain.len().min(usize::try_from(until).unwrap_or(usize::MAX));
            let (part, rest) = plain.split_at_checked(length).unwrap_or((plain, &[]));
            self.out.write_all(part).map_err(|error| Error::io("cannot write the output", error))?;
            self.position = self.position.saturating_add(part.len() as u64);
            plain = rest;
        }
        Ok(())
    }

    fn pass_hole(&mut self) -> Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let holes = self.node.holes.as_deref().unwrap_or_default();
        while let Some(hole) = holes.get(self.hole).filter(|hole| hole.offset == self.position) {
            let mut left = hole.length;
            while left > 0 {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
                let zeros = ZEROS.get(..length).unwrap_or_default();
                self.out.write_all(zeros).map_err(|error| Error::io("cannot write the output", error))?;
                left = left.saturating_sub(length as u64);
            }
            self.position = self.position.saturating_add(hole.length);
            self.hole = self.hole.saturating_add(1);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<u64> {
        self.pass_hole()?;
        if self.position != self.node.size {
            return Err(longer());
        }
        self.out.flush().map_err(|error| Error::io("cannot write the output", error))?;
        Ok(self.position)
    }
}

fn longer() -> Error {
    Error::corrupt("the file's chunks are not as long as the file")
}
