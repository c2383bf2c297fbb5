//! Reading blobs back, from whichever copy still is whole.
//!
//! Follows `format-spec/11-ordering.md#read`: every copy of a blob is tried, and the index is read afresh until
//! it no longer changes, before a loss is reported, for a prune may have moved the blob meanwhile.
//!
//! Invariant: single blobs are read in aligned blocks, so that a store does not learn where chunks start and end.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, RwLock};

use super::Repository;
use super::blob::{OpenBuffers, open_frame};
use super::index::{Index, Place, ReadObjects};
use crate::backend::{ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::id::Id;
use crate::report::{Finding, Reporter};

/// Alignment and unit of reads of single blobs, in bytes.
pub const BLOCK: u64 = 256 << 10;
/// Bytes of blocks that a reader keeps, and the block read last whatever its length.
const KEPT_BYTES: usize = 32 << 20;
/// How often the index may change under a reader before it gives up.
const REFRESHES_MAX: usize = 10;

/// Something that gives blobs of trees and lists.
pub trait BlobSource: Sync {
    /// The plaintext of a blob.
    fn fetch(&self, kind: BlobKind, id: &Id) -> Result<Vec<u8>>;
}

/// Reads blobs.
pub struct BlobReader<'a> {
    repository: &'a Repository,
    index: RwLock<Arc<Index>>,
    blocks: Mutex<Vec<Block>>,
}

struct Block {
    pack: Id,
    start: u64,
    bytes: Arc<Vec<u8>>,
}

thread_local! {
    static BUFFERS: RefCell<OpenBuffers> = RefCell::default();
}

impl<'a> BlobReader<'a> {
    /// Loads the index and reads through it. Index objects that are damaged are reported and passed over: what
    /// they name may lie elsewhere too.
    pub fn new(repository: &'a Repository, reporter: &dyn Reporter) -> Result<Self> {
        let read = ReadObjects::read(repository)?;
        for (id, error) in &read.damaged {
            let finding = Finding::warning(format!("index/{}", id.short()), error.chain());
            reporter.report(finding.with_hint("run `strongroom check` to see what it affects"));
        }
        let index = Index::build(&read, &|_| true)?;
        index.report_troubles(reporter);
        Ok(Self::with_index(repository, index))
    }

    /// Reads through an index at hand.
    pub fn with_index(repository: &'a Repository, index: Index) -> Self {
        Self { repository, index: RwLock::new(Arc::new(index)), blocks: Mutex::default() }
    }

    /// The index as it is now.
    pub fn index(&self) -> Result<Arc<Index>> {
        Ok(Arc::clone(
            &*self.index.read().map_err(|_| Error::refused("another thread failed while reading"))?,
        ))
    }

    /// The repository.
    pub fn repository(&self) -> &'a Repository {
        self.repository
    }

    /// Hands the plaintext of a blob to `use_plain`.
    pub fn with_blob<T>(
        &self,
        kind: BlobKind,
        id: &Id,
        use_plain: impl FnOnce(&[u8]) -> Result<T>,
    ) -> Result<T> {
        // Refused before anything is read where the key does not open this class.
        self.repository.keyring().secret_key(kind.class())?;
        let mut use_plain = Some(use_plain);
        for _ in 0..REFRESHES_MAX {
            let index = self.index()?;
            let (places, mut last) = match index.places(kind, id) {
                Ok(places) => (places, None),
                // This computer's copy is damaged and a prune took what it was made from: the index is read afresh.
                Err(error) => (Vec::new(), Some(error)),
            };
            for place in places {
                match self.read_frame(&index, &place) {
                    Ok(frame) => match self.open(&index, &place, &frame, &mut use_plain) {
                        Ok(value) => return value,
                        Err(error) => last = Some(graver(last, error)),
                    },
                    Err(error) => last = Some(graver(last, error)),
                }
            }
            if !self.refresh(&index)? {
                return Err(lost(kind, id, last));
            }
        }
        Err(Error::new(ErrorKind::Busy, "the repository's index keeps changing").hint("try again in a while"))
    }

    fn open<T>(
        &self,
        index: &Index,
        place: &Place,
        frame: &[u8],
        use_plain: &mut Option<impl FnOnce(&[u8]) -> Result<T>>,
    ) -> Result<Result<T>> {
        let key = index.content_key(self.repository, place)?;
        // Taken out, not borrowed: whoever uses the plaintext may read another blob meanwhile.
        let mut buffers = BUFFERS.take();
        let keyring = self.repository.keyring();
        let opened = open_frame(keyring, key, place.kind, &place.id, place.plain_length, frame, &mut buffers);
        let used = opened.and_then(|plain| {
            let use_plain = use_plain.take().ok_or_else(|| Error::refused("a blob was used twice"))?;
            Ok(use_plain(plain))
        });
        BUFFERS.set(buffers);
        used
    }

    /// Loads the index again if it changed; says whether it had.
    fn refresh(&self, seen: &Arc<Index>) -> Result<bool> {
        // Index objects are named by their bytes and never overwritten: equal names are an equal index. A
        // repository that lost many blobs would otherwise have its index read again for each of them.
        if self.repository.list_ids(ObjectKind::Index)? == seen.objects() {
            return Ok(false);
        }
        let fresh = Index::build(&ReadObjects::read(self.repository)?, &|_| true)?;
        let changed = fresh.objects() != seen.objects();
        if changed {
            *self.index.write().map_err(|_| Error::refused("another thread failed while reading"))? =
                Arc::new(fresh);
        }
        Ok(changed)
    }

    fn read_frame(&self, index: &Index, place: &Place) -> Result<Vec<u8>> {
        let pack = index.pack(place)?;
        let offset = u64::from(place.offset);
        let end = offset.saturating_add(u64::from(place.stored_length));
        let start = offset - offset % BLOCK;
        let stop = end.next_multiple_of(BLOCK).min(pack.size);
        let length = stop.checked_sub(start).filter(|_| end <= stop);
        let length = length.ok_or_else(|| Error::corrupt("the index points behind a pack's end"))?;
        let block = self.block(&pack.id, start, length)?;
        let from = usize::try_from(offset - start).unwrap_or(usize::MAX);
        let to = usize::try_from(end - start).unwrap_or(usize::MAX);
        block
            .get(from..to)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| Error::corrupt("a pack is shorter than the index says"))
    }

    fn block(&self, pack: &Id, start: u64, length: u64) -> Result<Arc<Vec<u8>>> {
        let lock = || self.blocks.lock().map_err(|_| Error::refused("another thread failed while reading"));
        {
            let mut blocks = lock()?;
            let found = blocks.iter().position(|block| {
                block.pack == *pack && block.start == start && block.bytes.len() as u64 == length
            });
            if let Some(position) = found {
                let block = blocks.remove(position);
                let bytes = Arc::clone(&block.bytes);
                blocks.push(block);
                return Ok(bytes);
            }
        }
        let name = ObjectName::new(ObjectKind::Pack, *pack);
        let bytes = Arc::new(self.repository.backend().get_range(&name, start, length)?);
        let mut blocks = lock()?;
        let mut kept = blocks.iter().fold(bytes.len(), |sum, block| sum.saturating_add(block.bytes.len()));
        while kept > KEPT_BYTES && !blocks.is_empty() {
            kept -= blocks.remove(0).bytes.len();
        }
        blocks.push(Block { pack: *pack, start, bytes: Arc::clone(&bytes) });
        Ok(bytes)
    }
}

impl BlobSource for BlobReader<'_> {
    fn fetch(&self, kind: BlobKind, id: &Id) -> Result<Vec<u8>> {
        self.with_blob(kind, id, |plain| Ok(plain.to_vec()))
    }
}

/// Of two copies' errors the one to tell. A copy that could not be reached may be whole: a loss that is none
/// must not be reported because another copy is damaged.
fn graver(before: Option<Error>, error: Error) -> Error {
    let reached = |error: &Error| matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt);
    match before {
        Some(before) if !reached(&before) => before,
        _ => error,
    }
}

fn lost(kind: BlobKind, id: &Id, last: Option<Error>) -> Error {
    let name = kind.name();
    match last {
        Some(error) => error.context(format!("the {name} {} cannot be read from any pack", id.short())),
        None => Error::missing(format!("the {name} {} lies in no pack that the index names", id.short())),
    }
    .hint("run `strongroom check --read-data` to see what else is affected")
}
