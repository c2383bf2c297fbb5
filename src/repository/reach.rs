//! Which blobs snapshots need: their trees, the lists of chunks of their files, and the chunks.
//!
//! Follows `format-spec/08-tree.md`. A blob that many snapshots share is met once, so that no tree can lead round in a
//! circle, and levels fall with each step. Memory is one bit for each place of the index, and what waits to be read.
//! Invariant: trouble with the store is an error; only what is damaged, of another level than its parent says, or named by
//! no pack counts as lost.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use super::index::{Index, Place};
use super::reader::BlobSource;
use super::tree::Root;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::list::{self, List};
use crate::format::node::Content;
use crate::format::tree;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::limits;

/// So many lost blobs are told of.
const LOST_MAX: usize = 10_000;

/// A blob that a snapshot needs and that cannot be had.
#[derive(Debug)]
pub struct Lost {
    /// What it held.
    pub kind: BlobKind,
    /// Its id.
    pub id: Id,
    /// Why it cannot be had.
    pub cause: Error,
}

/// The blobs that are needed, by the number of their first place in an index.
pub struct Reach<'a> {
    index: &'a Index,
    bits: Vec<AtomicU64>,
}

/// A blob to be read, for it names others.
struct Wanted {
    kind: BlobKind,
    id: Id,
    level: u8,
    place: Place,
}

/// What naming a blob comes to.
enum Met {
    First(Place),
    Again,
    Unknown,
}

impl<'a> Reach<'a> {
    /// Nothing is needed yet.
    pub fn new(index: &'a Index) -> Self {
        let words = usize::try_from(index.numbers().div_ceil(64)).unwrap_or(usize::MAX);
        Self { index, bits: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Whether the blob whose first place has this number is needed.
    pub fn contains(&self, number: u32) -> bool {
        let (word, mask) = word_and_mask(number);
        self.bits.get(word).is_some_and(|word| word.load(Ordering::Relaxed) & mask != 0)
    }

    /// Adds all that these trees need, and gives what of it is lost. What an earlier call met is not read again.
    pub fn walk(
        &self,
        source: &dyn BlobSource,
        roots: impl Iterator<Item = Root>,
        interrupt: &Interrupt,
    ) -> Result<Vec<Lost>> {
        let lost = Mutex::new(Vec::new());
        let mut wanted = Vec::new();
        for root in roots {
            let kind = if root.level == 0 { BlobKind::Leaf } else { BlobKind::Inner };
            self.want(kind, root.id, root.level, &mut wanted, &lost)?;
        }
        while !wanted.is_empty() {
            interrupt.check()?;
            // In the order in which they lie in the packs, which are read in blocks.
            wanted.sort_unstable_by_key(|wanted| (wanted.place.pack, wanted.place.offset));
            let below: Vec<Vec<Wanted>> = std::mem::take(&mut wanted)
                .into_par_iter()
                .map(|wanted| self.read(source, &wanted, &lost))
                .collect::<Result<_>>()?;
            wanted.extend(below.into_iter().flatten());
        }
        lost.into_inner().map_err(|_| Error::refused("another thread failed while it walked the trees"))
    }

    /// Reads one blob and gives those that it names and that name others.
    fn read(&self, source: &dyn BlobSource, wanted: &Wanted, lost: &Mutex<Vec<Lost>>) -> Result<Vec<Wanted>> {
        let mut below = Vec::new();
        let read = source.fetch(wanted.kind, &wanted.id).and_then(|plain| {
            let named = self.name(wanted, &plain, &mut below, lost);
            if named.as_ref().is_err_and(|error| error.kind() == ErrorKind::Corrupt) {
                self.name_at_its_level(wanted, &plain, &mut below, lost)?;
            }
            named
        });
        match read {
            Err(cause) if matches!(cause.kind(), ErrorKind::Corrupt | ErrorKind::Missing) => {
                tell(lost, wanted.kind, wanted.id, cause)?;
                Ok(below)
            }
            read => read.map(|()| below),
        }
    }

    /// Names what a blob names that is of another level than its parent says. A blob is read once, so that whoever writes a
    /// tree could else hide from this walk what another tree needs, by naming its blobs first and wrongly.
    fn name_at_its_level(
        &self,
        wanted: &Wanted,
        plain: &[u8],
        below: &mut Vec<Wanted>,
        lost: &Mutex<Vec<Lost>>,
    ) -> Result<()> {
        for level in (0..=limits::LEVEL_MAX).filter(|level| *level != wanted.level) {
            match self.name(&Wanted { level, ..*wanted }, plain, below, lost) {
                Err(error) if error.kind() == ErrorKind::Corrupt => {}
                named => return named,
            }
        }
        Ok(())
    }

    fn name(
        &self,
        wanted: &Wanted,
        plain: &[u8],
        below: &mut Vec<Wanted>,
        lost: &Mutex<Vec<Lost>>,
    ) -> Result<()> {
        let lower = || {
            let level = wanted.level.checked_sub(1);
            level.ok_or_else(|| Error::corrupt(format!("a {} is of an impossible level", wanted.kind.name())))
        };
        match wanted.kind {
            BlobKind::Inner => {
                let level = lower()?;
                let kind = if level == 0 { BlobKind::Leaf } else { BlobKind::Inner };
                for entry in tree::decode_inner(plain, wanted.level)? {
                    self.want(kind, entry.id, level, below, lost)?;
                }
            }
            BlobKind::Leaf => {
                for entry in tree::decode_leaf(plain)? {
                    match entry.node.content {
                        None => {}
                        Some(Content::Inline(chunks)) => self.chunks(&chunks, lost)?,
                        Some(Content::List { root, level }) => {
                            self.want(BlobKind::List, root, level, below, lost)?;
                        }
                    }
                }
            }
            BlobKind::List => match list::decode(plain, wanted.level)? {
                List::Chunks(chunks) => self.chunks(&chunks, lost)?,
                List::Lists { entries, .. } => {
                    let level = lower()?;
                    for entry in entries {
                        self.want(BlobKind::List, entry.id, level, below, lost)?;
                    }
                }
            },
            BlobKind::Chunk => {}
        }
        Ok(())
    }

    fn chunks(&self, chunks: &[Id], lost: &Mutex<Vec<Lost>>) -> Result<()> {
        for id in chunks {
            if let Met::Unknown = self.meet(BlobKind::Chunk, id)? {
                tell(lost, BlobKind::Chunk, *id, unknown())?;
            }
        }
        Ok(())
    }

    fn want(
        &self,
        kind: BlobKind,
        id: Id,
        level: u8,
        wanted: &mut Vec<Wanted>,
        lost: &Mutex<Vec<Lost>>,
    ) -> Result<()> {
        match self.meet(kind, &id)? {
            Met::First(place) => wanted.push(Wanted { kind, id, level, place }),
            Met::Again => {}
            Met::Unknown => tell(lost, kind, id, unknown())?,
        }
        Ok(())
    }

    fn meet(&self, kind: BlobKind, id: &Id) -> Result<Met> {
        let Some((number, place)) = self.index.first(kind, id)? else { return Ok(Met::Unknown) };
        let (word, mask) = word_and_mask(number);
        let outside = || Error::refused("a place lies outside the index");
        let before = self.bits.get(word).ok_or_else(outside)?.fetch_or(mask, Ordering::Relaxed);
        Ok(if before & mask == 0 { Met::First(place) } else { Met::Again })
    }
}

fn word_and_mask(number: u32) -> (usize, u64) {
    (usize::try_from(number / 64).unwrap_or(usize::MAX), 1 << (number % 64))
}

fn unknown() -> Error {
    Error::missing("lies in no pack that the index names")
}

fn tell(lost: &Mutex<Vec<Lost>>, kind: BlobKind, id: Id, cause: Error) -> Result<()> {
    let mut lost =
        lost.lock().map_err(|_| Error::refused("another thread failed while it walked the trees"))?;
    // Whoever writes a tree can name what is not there over and over.
    if lost.len() < LOST_MAX {
        lost.push(Lost { kind, id, cause });
    }
    Ok(())
}
