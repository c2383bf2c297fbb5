//! What a restore will do: every folder, file and link, and for every chunk where it lies and where it goes.

use std::collections::HashMap;
use std::sync::Arc;

use super::relative;
use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::node::{Content, Hole, Node, NodeKind};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::repository::content::visit_chunks;
use crate::repository::index::Index;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::TreeReader;

/// A link, pipe, socket, device or folder.
pub(super) struct Other {
    pub(super) path: Vec<u8>,
    pub(super) node: Node,
}

/// A file.
pub(super) struct FilePlan {
    pub(super) path: Vec<u8>,
    pub(super) node: Node,
    /// How many pieces it needs.
    pub(super) pieces: u32,
    /// Why it cannot be restored, where that is known already.
    pub(super) lost: Option<Error>,
}

/// A chunk on its way from a pack to a file.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    /// Its place, by number in the index.
    pub(super) place: u32,
    /// The file, by number in the plan.
    pub(super) file: u32,
    /// Where in the stream of the file's data it begins.
    pub(super) stream_offset: u64,
}

/// Everything that a restore will do.
#[derive(Default)]
pub(super) struct Plan {
    /// The index whose places the pieces name.
    pub(super) index: Arc<Index>,
    pub(super) directories: Vec<Other>,
    pub(super) files: Vec<FilePlan>,
    pub(super) others: Vec<Other>,
    /// New name and existing name.
    pub(super) hard_links: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) pieces: Vec<Piece>,
    /// Chunks that the index did not name when it was read, and that a newer one does: a prune may move them.
    pub(super) strays: Vec<Stray>,
}

/// A chunk to be looked up again.
pub(super) struct Stray {
    pub(super) id: Id,
    pub(super) file: u32,
    pub(super) stream_offset: u64,
}

impl Plan {
    pub(super) fn make(
        reader: &BlobReader<'_>,
        snapshot: &Snapshot,
        place: &[u8],
        top: Option<&Node>,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let mut plan = Self::default();
        let index = reader.index()?;
        let mut names: HashMap<(u64, u64, NodeKind), Vec<u8>> = HashMap::new();
        let mut tree = TreeReader::below(reader, snapshot.root(), place);
        while let Some(entry) = tree.next_entry()? {
            interrupt.check()?;
            let Some(path) = relative(&entry.path, place, top) else { continue };
            let node = entry.node;
            if let Some(identity) = identity(&node) {
                if let Some(existing) = names.get(&identity) {
                    plan.hard_links.push((path, existing.clone()));
                    continue;
                }
                names.insert(identity, path.clone());
            }
            match node.kind {
                NodeKind::Directory => plan.directories.push(Other { path, node }),
                NodeKind::File => plan.add_file(reader, &index, path, node)?,
                _ => plan.others.push(Other { path, node }),
            }
        }
        // Each is looked up once: a place may have to be read from a file.
        plan.pieces.sort_by_cached_key(|piece| {
            let place = index.place(piece.place).ok();
            place.map_or((u32::MAX, u32::MAX), |place| (place.pack, place.offset))
        });
        plan.index = index;
        Ok(plan)
    }

    fn add_file(
        &mut self,
        reader: &BlobReader<'_>,
        index: &Index,
        path: Vec<u8>,
        mut node: Node,
    ) -> Result<()> {
        let file =
            u32::try_from(self.files.len()).map_err(|_| Error::refused("too many files for one restore"))?;
        let (start, strays) = (self.pieces.len(), self.strays.len());
        let planned = self.add_pieces(reader, index, &node, file);
        let lost = planned.err();
        if lost.is_some() {
            self.pieces.truncate(start);
            self.strays.truncate(strays);
        }
        let added = self.pieces.len().saturating_sub(start);
        let pieces = u32::try_from(added.saturating_add(self.strays.len().saturating_sub(strays)))
            .map_err(|_| Error::refused("a file has too many chunks"))?;
        // The pieces say it all; a plan of many files must stay small.
        node.content = None;
        self.files.push(FilePlan { path, node, pieces, lost });
        Ok(())
    }

    fn add_pieces(&mut self, reader: &BlobReader<'_>, index: &Index, node: &Node, file: u32) -> Result<()> {
        let empty = Content::default();
        let longer = || Error::corrupt("its chunks are not as long as the file");
        let mut offset = 0u64;
        visit_chunks(reader, node.content.as_ref().unwrap_or(&empty), &mut |_, _| Ok(()), &mut |id| {
            let length = match index.first(BlobKind::Chunk, id)? {
                Some((number, place)) => {
                    self.pieces.push(Piece { place: number, file, stream_offset: offset });
                    u64::from(place.plain_length)
                }
                None => {
                    // The reader looks into the index afresh before it calls a chunk lost.
                    let length = reader.with_blob(BlobKind::Chunk, id, |plain| Ok(plain.len() as u64))?;
                    self.strays.push(Stray { id: *id, file, stream_offset: offset });
                    length
                }
            };
            offset = offset.saturating_add(length);
            // Not only at the end: a hostile list can go on for billions of chunks.
            if offset > node.size { Err(longer()) } else { Ok(length) }
        })?;
        let holes: u64 = node.holes.iter().flatten().fold(0, |sum, hole| sum.saturating_add(hole.length));
        if offset.saturating_add(holes) != node.size {
            return Err(longer());
        }
        Ok(())
    }
}

/// What tells the names of one file from those of others. A number that was used again while the backup ran names
/// two kinds of things, which are no one file.
fn identity(node: &Node) -> Option<(u64, u64, NodeKind)> {
    let linked = node.links > 1 && node.kind != NodeKind::Directory;
    linked.then_some((node.device, node.inode, node.kind))
}

/// Splits a chunk where holes interrupt it: for each part, where in the file it goes and its length.
pub(super) fn spread(holes: &[Hole], stream_offset: u64, length: u64) -> Vec<(u64, u64)> {
    let mut parts = Vec::new();
    let end = stream_offset.saturating_add(length);
    let mut stream = 0u64;
    let mut file = 0u64;
    let extents = holes.iter().map(|hole| (hole.offset, hole.length)).chain([(u64::MAX, 0)]);
    for (hole_offset, hole_length) in extents {
        // The data before this hole is [file, hole_offset) in the file and [stream, stop) in the stream.
        let stop = stream.saturating_add(hole_offset.saturating_sub(file));
        let from = stream_offset.max(stream);
        let to = end.min(stop);
        if from < to {
            parts.push((file.saturating_add(from.saturating_sub(stream)), to.saturating_sub(from)));
        }
        if stop >= end {
            break;
        }
        stream = stop;
        file = hole_offset.saturating_add(hole_length);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_file_are_of_one_kind() {
        let file = Node { links: 2, ..crate::format::tests::file_node(&[], 5) };
        assert!(identity(&file).is_some());
        assert_eq!(identity(&file), identity(&Node { size: 6, ..file.clone() }));
        assert_ne!(identity(&file), identity(&Node { kind: NodeKind::Fifo, ..file.clone() }));
        assert_ne!(identity(&file), identity(&Node { device: 1, ..file.clone() }));
        assert_eq!(identity(&Node { kind: NodeKind::Directory, ..file.clone() }), None);
        assert_eq!(identity(&Node { links: 1, ..file }), None);
    }

    #[test]
    fn chunks_are_spread_around_holes() {
        let holes = [Hole { offset: 10, length: 5 }, Hole { offset: 20, length: 100 }];
        assert_eq!(spread(&holes, 0, 10), [(0, 10)]);
        assert_eq!(spread(&holes, 0, 12), [(0, 10), (15, 2)]);
        assert_eq!(spread(&holes, 10, 5), [(15, 5)]);
        assert_eq!(spread(&holes, 12, 10), [(17, 3), (120, 7)]);
        assert_eq!(spread(&[], 7, 3), [(7, 3)]);
        assert_eq!(spread(&[Hole { offset: 0, length: 8 }], 0, 3), [(8, 3)]);
    }
}
