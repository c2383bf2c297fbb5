//! What a restore will do: every folder, file and link, and for every chunk where it lies and where it goes.
//!
//! Invariant: a file takes about 200 bytes and each of its chunks 16, beside their names.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::lean::Lean;
use super::target::{Removed, Seen};
use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::node::{Content, Hole, Node};
use crate::format::path;
use crate::id::Id;
use crate::repository::content::visit_chunks;
use crate::repository::index::Index;
use crate::repository::reader::BlobReader;

/// How something stands beside what is in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing is there.
    Absent,
    /// A file is there, and its contents are to be compared.
    Compare,
    /// A file is there, and its length and time say that its contents are right.
    Same,
    /// A file is there, and its contents were read and are right.
    Equal,
    /// Something else is there, and is replaced.
    Other,
}

/// A folder.
pub(super) struct FolderPlan {
    pub(super) path: Box<[u8]>,
    pub(super) lean: Lean,
    pub(super) standing: Standing,
    /// Whether its metadata are set in the end, also where it is there already.
    pub(super) mend: bool,
}

/// A link, pipe, socket or device.
pub(super) struct OtherPlan {
    pub(super) path: Box<[u8]>,
    pub(super) lean: Lean,
    /// What is in its place.
    pub(super) seen: Option<Seen>,
    /// Why it cannot be restored, where that is known already.
    pub(super) lost: Option<Error>,
}

/// A further name of a file or another thing.
pub(super) struct HardLink {
    pub(super) path: Box<[u8]>,
    pub(super) first: Box<[u8]>,
    pub(super) seen: Option<Seen>,
    /// Why it cannot be restored, where that is known already.
    pub(super) lost: Option<Error>,
}

/// A file.
pub(super) struct FilePlan {
    pub(super) path: Box<[u8]>,
    pub(super) lean: Lean,
    /// How many pieces it needs from the repository.
    pub(super) pieces: u32,
    pub(super) standing: Standing,
    /// Why it cannot be restored, where that is known already.
    pub(super) lost: Option<Error>,
}

/// A chunk on its way from a pack to a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Its place, by number in the index.
    pub(super) place: u32,
    /// The file, by number in the plan.
    pub(super) file: u32,
    /// Where in the stream of the file's data it begins.
    pub(super) stream_offset: u64,
}

/// A chunk to be looked up again.
pub(super) struct Stray {
    pub(super) id: Id,
    pub(super) file: u32,
    pub(super) stream_offset: u64,
}

/// Everything that a restore will do.
#[derive(Default)]
pub(super) struct Plan {
    /// The index whose places the pieces name.
    pub(super) index: Arc<Index>,
    pub(super) folders: Vec<FolderPlan>,
    pub(super) files: Vec<FilePlan>,
    pub(super) others: Vec<OtherPlan>,
    pub(super) hard_links: Vec<HardLink>,
    pub(super) pieces: Vec<Piece>,
    /// Chunks that the index did not name when it was read, and that a newer one does: a prune may move them.
    pub(super) strays: Vec<Stray>,
    /// The files to be compared, each with the number of its first piece.
    pub(super) compared: Vec<(u32, usize)>,
    /// The chunks of a file that are right where they lie in the target.
    pub(super) reused: HashMap<u32, Box<[Piece]>>,
    /// How many things are selected.
    pub(super) selected: u64,
    /// How many of them are not mere ways to what the backup named.
    pub(super) named: u64,
    /// Whether the folder that becomes the target is selected itself.
    pub(super) top_selected: bool,
    /// What could not be planned, and was reported.
    pub(super) problems: u64,
    /// Whether a part of the snapshot cannot be read, so that nobody knows all it holds.
    pub(super) has_gaps: bool,
    /// Things that stay though the snapshot holds something else, and the bytes of the files among them.
    pub(super) kept: (u64, u64),
    /// What the snapshot holds whose name looks like that of something unfinished.
    pub(super) odd_names: HashSet<Box<[u8]>>,
    /// Why nothing is removed though it was asked for.
    pub(super) doubt: Option<String>,
    /// Folders in the place of something else that go, each with all that goes with it.
    pub(super) cleared: BTreeMap<Box<[u8]>, Vec<Removed>>,
    /// What the snapshot holds, where the rest is to be removed.
    pub(super) held: Held,
    /// The folders from which it is to be removed.
    pub(super) listed: Vec<Box<[u8]>>,
    /// Folders that a backup found on another file system, and did not look into.
    pub(super) unentered: HashSet<Box<[u8]>>,
    /// The databases that the snapshot holds, and where those that are restored lie in it.
    pub(super) databases: BTreeMap<Box<[u8]>, Option<Box<[u8]>>>,
}

/// Paths by their hash. A path that only seems to be held is not removed, which does no harm.
#[derive(Default)]
pub(super) struct Held {
    state: RandomState,
    hashes: HashSet<u64>,
}

impl Held {
    pub(super) fn insert(&mut self, path: &[u8]) {
        self.hashes.insert(self.state.hash_one(path));
    }

    pub(super) fn contains(&self, path: &[u8]) -> bool {
        self.hashes.contains(&self.state.hash_one(path))
    }
}

impl Plan {
    /// The bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.lean.size))
    }

    /// Whether a file at this path is restored, as far as is known.
    pub(super) fn restores(&self, place: &[u8]) -> bool {
        let is_planned = |place: &[u8]| {
            let file = self.files.binary_search_by(|file| path::compare(&file.path, place));
            file.ok().and_then(|at| self.files.get(at)).is_some_and(|file| file.lost.is_none())
        };
        let link = self.hard_links.binary_search_by(|link| path::compare(&link.path, place));
        let link = link.ok().and_then(|at| self.hard_links.get(at)).filter(|link| link.lost.is_none());
        is_planned(place) || link.is_some_and(|link| is_planned(&link.first))
    }

    /// Whether anything is made directly in the target, and not in a folder that is there.
    pub(super) fn makes_in_top(&self) -> bool {
        let is_in_top = |path: &[u8]| !path.contains(&b'/');
        let changes = |standing| !matches!(standing, Standing::Same | Standing::Equal);
        self.folders.iter().any(|folder| is_in_top(&folder.path) && changes(folder.standing))
            || self.files.iter().any(|file| is_in_top(&file.path) && changes(file.standing))
            || self.others.iter().any(|other| is_in_top(&other.path) && other.seen.is_none())
            || self.hard_links.iter().any(|link| is_in_top(&link.path) && link.seen.is_none())
    }

    /// Sorts the pieces by where they lie; each is looked up once, for a place may have to be read from a file.
    pub(super) fn sort(&mut self) {
        let index = Arc::clone(&self.index);
        self.pieces.sort_by_cached_key(|piece| {
            let place = index.place(piece.place).ok();
            place.map_or((u32::MAX, u32::MAX), |place| (place.pack, place.offset))
        });
    }

    /// Adds a file; its contents are looked up unless they are right already.
    pub(super) fn add_file(
        &mut self,
        reader: &BlobReader<'_>,
        path: Box<[u8]>,
        mut node: Node,
        standing: Standing,
    ) -> Result<()> {
        let file =
            u32::try_from(self.files.len()).map_err(|_| Error::refused("too many files for one restore"))?;
        let (start, strays) = (self.pieces.len(), self.strays.len());
        let content = node.content.take();
        let planned = if standing == Standing::Same {
            Ok(())
        } else {
            self.add_pieces(reader, &node, content.as_ref(), file)
        };
        let lost = planned.err();
        if lost.is_some() {
            self.pieces.truncate(start);
            self.strays.truncate(strays);
        }
        let strays = self.strays.len().saturating_sub(strays);
        if standing == Standing::Compare && strays == 0 && lost.is_none() {
            self.compared.push((file, start));
        }
        let added = self.pieces.len().saturating_sub(start).saturating_add(strays);
        let pieces = u32::try_from(added).map_err(|_| Error::refused("a file has too many chunks"))?;
        self.files.push(FilePlan { path, lean: Lean::of(node), pieces, standing, lost });
        Ok(())
    }

    fn add_pieces(
        &mut self,
        reader: &BlobReader<'_>,
        node: &Node,
        content: Option<&Content>,
        file: u32,
    ) -> Result<()> {
        let index = Arc::clone(&self.index);
        each_chunk(reader, node, content, &mut |id, offset| {
            // Where this computer's copy is damaged and a prune took what it was made from, the reader looks into
            // the index afresh, as it does before it calls a chunk lost.
            if let Ok(Some((number, place))) = index.first(BlobKind::Chunk, id) {
                self.pieces.push(Piece { place: number, file, stream_offset: offset });
                return Ok(u64::from(place.plain_length));
            }
            let length = reader.with_blob(BlobKind::Chunk, id, |plain| Ok(plain.len() as u64))?;
            self.strays.push(Stray { id: *id, file, stream_offset: offset });
            Ok(length)
        })
    }
}

/// Visits the chunks of a file, each with the offset at which it begins in the stream of the file's data; `visit` gives
/// its length.
///
/// # Errors
/// `Corrupt` where they are not as long as the file; whatever `visit` says.
pub(super) fn each_chunk(
    reader: &BlobReader<'_>,
    node: &Node,
    content: Option<&Content>,
    visit: &mut dyn FnMut(&Id, u64) -> Result<u64>,
) -> Result<()> {
    let empty = Content::default();
    let longer = || Error::corrupt("its chunks are not as long as the file");
    let mut offset = 0u64;
    visit_chunks(reader, content.unwrap_or(&empty), &mut |_, _| Ok(()), &mut |id| {
        let length = visit(id, offset)?;
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
    fn chunks_are_spread_around_holes() {
        let holes = [Hole { offset: 10, length: 5 }, Hole { offset: 20, length: 100 }];
        assert_eq!(spread(&holes, 0, 10), [(0, 10)]);
        assert_eq!(spread(&holes, 0, 12), [(0, 10), (15, 2)]);
        assert_eq!(spread(&holes, 10, 5), [(15, 5)]);
        assert_eq!(spread(&holes, 12, 10), [(17, 3), (120, 7)]);
        assert_eq!(spread(&[], 7, 3), [(7, 3)]);
        assert_eq!(spread(&[Hole { offset: 0, length: 8 }], 0, 3), [(8, 3)]);
    }

    #[test]
    fn a_plan_stays_small() {
        let file = size_of::<FilePlan>();
        assert!(file <= 112, "{file}");
        assert_eq!(size_of::<Piece>(), 16);
    }
}
