//! The beginning of a file.

use std::io::{self, Write};

use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::key_slot::Role;
use crate::format::node::{Content, Node, NodeKind};
use crate::operation::dump::contents::Contents;
use crate::report::printable;
use crate::repository::content::visit_chunks;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::lookup;

/// Takes so many bytes, and fails when it gets more.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let room = self.limit.saturating_sub(self.bytes.len());
        if room == 0 && !more.is_empty() {
            self.full = true;
            return Err(io::Error::other("that is enough"));
        }
        let taken = more.get(..room.min(more.len())).unwrap_or_default();
        self.bytes.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives a node, and where it is a file its first bytes, at most `limit`. Chunks behind them are not read.
///
/// # Errors
/// `Missing` where there is nothing, `RoleNotAllowed` where the key reads no contents, and where these are lost.
pub fn head(
    reader: &BlobReader<'_>,
    snapshot: &Snapshot,
    place: &[u8],
    limit: usize,
) -> Result<(Node, Vec<u8>)> {
    let node = lookup(reader, snapshot.root(), place)?
        .ok_or_else(|| Error::missing(format!("the snapshot holds nothing at /{}", printable(place))))?;
    if node.kind != NodeKind::File {
        return Ok((node, Vec::new()));
    }
    reader.repository().keyring().require(Role::Full, "reading a file")?;
    let mut out = Bounded { bytes: Vec::new(), limit, full: false };
    match write(reader, &node, &mut out) {
        Err(_) if out.full => {}
        outcome => outcome?,
    }
    Ok((node, out.bytes))
}

fn write(reader: &BlobReader<'_>, node: &Node, out: &mut Bounded) -> Result<()> {
    let empty = Content::default();
    let mut contents = Contents::new(node.size, node.holes.as_deref());
    visit_chunks(reader, node.content.as_ref().unwrap_or(&empty), &mut |_, _| Ok(()), &mut |id| {
        reader.with_blob(BlobKind::Chunk, id, |plain| contents.write(out, plain).map(|()| plain.len() as u64))
    })?;
    contents.finish(out)
}
