//! Whom damage hurts: the files and the stretches of trees that need a blob of which no whole copy is left.
//!
//! Invariants: a tree is gone through to its end, whatever of it is lost. A leaf and a list in which nothing is wrong are read
//! once, however many snapshots share them. A tree that refers to a blob over and over ends: each blob starts where its
//! parent says, and paths rise.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Bad;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::list::{self, List};
use crate::format::node::{Content, Node, NodeKind};
use crate::format::tree;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::limits;
use crate::report::PathRange;
use crate::repository::content::bound_lists;
use crate::repository::index::{Index, Place as IndexPlace};
use crate::repository::reader::{BlobReader, BlobSource};
use crate::repository::tree::Root;

/// A blob.
pub(crate) type Blob = (BlobKind, Id);

/// What of a tree is hurt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file.
    File(Vec<u8>),
    /// All that a blob of the tree covers.
    Range(PathRange),
}

/// Something that cannot be had whole.
#[derive(Debug)]
pub(crate) struct Loss {
    /// What.
    pub(crate) place: Place,
    /// The blobs that it lacks.
    pub(crate) blobs: Vec<Blob>,
    /// What is wrong with it besides.
    pub(crate) fault: Option<String>,
}

/// A walk through trees that suffer.
pub(crate) struct Sufferers<'a> {
    reader: &'a BlobReader<'a>,
    index: Arc<Index>,
    /// Packs that no index object names: what lies in them alone cannot be restored as it is.
    unnamed: &'a HashSet<Id>,
    bad: &'a Bad,
    interrupt: &'a Interrupt,
    whole_leaves: HashSet<Id>,
    whole_lists: HashMap<Id, u64>,
}

/// A blob of a tree that waits to be read.
struct Waiting {
    id: Id,
    level: u8,
    range: PathRange,
    /// Whether its parent says where it starts.
    said: bool,
    /// Whether a blob above it lies in unnamed packs only: that the same is true of it need not be told.
    covered: bool,
}

/// What going through the chunks of a file came to.
#[derive(Default)]
struct Contents {
    lost: Vec<Blob>,
    bytes: u64,
    fault: Option<String>,
}

impl<'a> Sufferers<'a> {
    /// Walks by what `reader` finds; `bad` has no whole copy.
    pub(crate) fn new(
        reader: &'a BlobReader<'a>,
        unnamed: &'a HashSet<Id>,
        bad: &'a Bad,
        interrupt: &'a Interrupt,
    ) -> Result<Self> {
        let index = reader.index()?;
        let (whole_leaves, whole_lists) = (HashSet::new(), HashMap::new());
        Ok(Self { reader, index, unnamed, bad, interrupt, whole_leaves, whole_lists })
    }

    /// The packs of a blob, all of which are damaged, missing or unnamed; none where no pack holds it.
    pub(crate) fn packs(&self, (kind, id): &Blob) -> Result<Vec<Id>> {
        let places = self.index.places(*kind, id)?;
        let mut packs =
            places.iter().map(|place| Ok(self.index.pack(place)?.id)).collect::<Result<Vec<_>>>()?;
        packs.sort_unstable();
        packs.dedup();
        // Where it is whole in a pack that is merely not named, that is what it takes.
        if !self.bad.contains(&(*kind, *id)) && packs.iter().any(|pack| self.unnamed.contains(pack)) {
            packs.retain(|pack| self.unnamed.contains(pack));
        }
        Ok(packs)
    }

    /// Whether no copy of a blob is whole.
    pub(crate) fn is_lost(&self, blob: &Blob) -> bool {
        self.bad.contains(blob)
    }

    /// Whether no index object names a pack.
    pub(crate) fn is_unnamed_pack(&self, pack: &Id) -> bool {
        self.unnamed.contains(pack)
    }

    /// Hands every loss of a tree to `lost`, in order.
    ///
    /// # Errors
    /// What merely cannot be had now, and whatever `lost` says.
    pub(crate) fn tree(&mut self, root: Root, lost: &mut dyn FnMut(Loss) -> Result<()>) -> Result<()> {
        let range = PathRange::default();
        let mut waiting =
            vec![Waiting { id: root.id, level: root.level, range, said: false, covered: false }];
        while let Some(mut next) = waiting.pop() {
            self.interrupt.check()?;
            if next.level == 0 && self.whole_leaves.contains(&next.id) {
                continue;
            }
            let kind = if next.level == 0 { BlobKind::Leaf } else { BlobKind::Inner };
            let range = next.range.clone();
            let (blob, fault) = match self.fetch(kind, &next.id)? {
                None => (Some((kind, next.id)), None),
                Some(plain) => {
                    if !next.covered && self.is_unnamed(&(kind, next.id))? {
                        next.covered = true;
                        let (place, blobs) = (Place::Range(range.clone()), vec![(kind, next.id)]);
                        lost(Loss { place, blobs, fault: None })?;
                    }
                    match self.enter(&next, &plain, &mut waiting, lost)? {
                        Ok(()) => continue,
                        Err(fault) => (None, Some(fault)),
                    }
                }
            };
            lost(Loss { place: Place::Range(range), blobs: blob.into_iter().collect(), fault })?;
        }
        Ok(())
    }

    /// Goes through what a blob of a tree says, or gives what is wrong with it.
    fn enter(
        &mut self,
        next: &Waiting,
        plain: &[u8],
        waiting: &mut Vec<Waiting>,
        lost: &mut dyn FnMut(Loss) -> Result<()>,
    ) -> Result<std::result::Result<(), String>> {
        let misplaced = |first: Option<&[u8]>| next.said && first != Some(next.range.from.as_slice());
        let elsewhere = || "a blob of the tree does not start where its parent says".to_owned();
        if next.level > 0 {
            let entries = match tree::decode_inner(plain, next.level) {
                Ok(entries) => entries,
                Err(error) => return Ok(Err(error.chain())),
            };
            if misplaced(entries.first().map(|entry| entry.path.as_slice())) {
                return Ok(Err(elsewhere()));
            }
            let ends = entries.iter().skip(1).map(|entry| Some(entry.path.clone()));
            let ends: Vec<_> = ends.chain([next.range.until.clone()]).collect();
            let level = next.level.saturating_sub(1);
            let children = entries.into_iter().zip(ends).map(|(entry, until)| {
                let range = PathRange { from: entry.path, until };
                Waiting { id: entry.id, level, range, said: true, covered: next.covered }
            });
            waiting.extend(children.collect::<Vec<_>>().into_iter().rev());
            return Ok(Ok(()));
        }
        let entries = match tree::decode_leaf(plain) {
            Ok(entries) => entries,
            Err(error) => return Ok(Err(error.chain())),
        };
        if misplaced(entries.first().map(|entry| entry.path.as_slice())) {
            return Ok(Err(elsewhere()));
        }
        let mut whole = !self.is_unnamed(&(BlobKind::Leaf, next.id))?;
        for entry in entries.into_iter().filter(|entry| entry.node.kind == NodeKind::File) {
            let Contents { lost: mut blobs, fault, .. } = self.contents(&entry.node)?;
            whole &= blobs.is_empty();
            if next.covered {
                blobs = blobs
                    .into_iter()
                    .filter_map(|blob| self.if_named(blob).transpose())
                    .collect::<Result<_>>()?;
            }
            if !blobs.is_empty() || fault.is_some() {
                whole = false;
                lost(Loss { place: Place::File(entry.path), blobs, fault })?;
            }
        }
        if whole {
            self.whole_leaves.insert(next.id);
        }
        Ok(Ok(()))
    }

    /// What is wrong with the contents of a file.
    fn contents(&mut self, node: &Node) -> Result<Contents> {
        let mut found = Contents::default();
        let known = match &node.content {
            None => Some(0),
            Some(Content::Inline(ids)) => {
                self.chunks(ids, node.size, &mut found)?;
                None
            }
            Some(Content::List { root, level }) => match self.whole_lists.get(root).copied() {
                Some(bytes) => Some(bytes),
                None => {
                    self.lists(*root, *level, node.size, &mut found)?;
                    if found.lost.is_empty() && found.fault.is_none() {
                        self.whole_lists.insert(*root, found.bytes);
                    }
                    None
                }
            },
        };
        let bytes = known.unwrap_or(found.bytes);
        let holes: u64 = node.holes.iter().flatten().fold(0, |sum, hole| sum.saturating_add(hole.length));
        if found.lost.is_empty() && found.fault.is_none() && bytes.saturating_add(holes) != node.size {
            found.fault = Some("its chunks are not as long as the file".to_owned());
        }
        found.lost.sort_unstable();
        found.lost.dedup();
        Ok(found)
    }

    fn lists(&self, root: Id, level: u8, size: u64, found: &mut Contents) -> Result<()> {
        let level = level.min(limits::LEVEL_MAX);
        match bound_lists(self.reader, root, level) {
            Err(error) if is_trouble(&error) => return Err(error),
            Err(error) => found.fault = Some(error.chain()),
            Ok(()) => {}
        }
        let mut waiting = vec![(root, level)];
        while let Some((id, level)) = waiting.pop() {
            if found.fault.is_some() {
                return Ok(());
            }
            let Some(plain) = self.fetch(BlobKind::List, &id)? else {
                found.lost.push((BlobKind::List, id));
                continue;
            };
            if self.is_unnamed(&(BlobKind::List, id))? {
                found.lost.push((BlobKind::List, id));
            }
            match list::decode(&plain, level) {
                Err(error) => found.fault = Some(error.chain()),
                Ok(List::Chunks(ids)) => self.chunks(&ids, size, found)?,
                Ok(List::Lists { entries, .. }) => {
                    let below = level.saturating_sub(1);
                    waiting.extend(entries.iter().rev().map(|entry| (entry.id, below)));
                }
            }
        }
        Ok(())
    }

    fn chunks(&self, ids: &[Id], size: u64, found: &mut Contents) -> Result<()> {
        for id in ids {
            // A hostile list can go on for billions of chunks.
            self.interrupt.check()?;
            let blob = (BlobKind::Chunk, *id);
            let length = self.index.plain_length(BlobKind::Chunk, id)?;
            if length.is_none() || self.bad.contains(&blob) || self.is_unnamed(&blob)? {
                found.lost.push(blob);
            }
            if length == Some(0) {
                found.fault = Some("a chunk is empty".to_owned());
            }
            found.bytes = found.bytes.saturating_add(length.map_or(1, u64::from));
            if found.bytes > size {
                found.fault = Some("its chunks are not as long as the file".to_owned());
            }
            if found.fault.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// The plaintext of a blob; nothing where it is lost.
    fn fetch(&self, kind: BlobKind, id: &Id) -> Result<Option<Vec<u8>>> {
        if self.bad.contains(&(kind, *id)) || !self.index.contains(kind, id)? {
            return Ok(None);
        }
        match self.reader.fetch(kind, id) {
            Ok(plain) => Ok(Some(plain)),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing) => Ok(None),
            // Its pack lies where the disk is bad, and the rest of the tree elsewhere.
            Err(error) if error.kind() == ErrorKind::Io && self.reader.repository().answers() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn if_named(&self, blob: Blob) -> Result<Option<Blob>> {
        Ok(if self.is_unnamed(&blob)? { None } else { Some(blob) })
    }

    /// Whether a blob lies in packs only that no index object names.
    fn is_unnamed(&self, (kind, id): &Blob) -> Result<bool> {
        if self.unnamed.is_empty() {
            return Ok(false);
        }
        let places = self.index.places(*kind, id)?;
        let unnamed =
            |place: &IndexPlace| self.index.pack(place).is_ok_and(|pack| self.unnamed.contains(&pack.id));
        Ok(!places.is_empty() && places.iter().all(unnamed))
    }
}

/// Whether an error is no damage but trouble that may pass.
pub(crate) fn is_trouble(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing | ErrorKind::Unsupported)
}
