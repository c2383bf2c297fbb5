//! Reading blobs back, from whichever copy still is whole.
//!
//! Follows `format-spec/11-ordering.md#read`: every copy of a blob is tried, and the index is read afresh until
//! it no longer changes, before a loss is reported, for a prune may have moved the blob meanwhile.
//!
//! Invariant: single blobs are read in aligned blocks, so that a store does not learn where chunks start and end.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use super::Repository;
use super::blob::{OpenBuffers, open_frame};
use super::index::{Index, Place, ReadObjects};
use super::kept::Kept;
use super::unread::report_passed_over;
use crate::backend::{BLOCK, ObjectKind, ObjectName, aligned};
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::{BlobKind, Class};
use crate::id::Id;
use crate::report::Reporter;

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
    /// Blocks of metadata on this computer's disk, for commands that give something back.
    kept: Option<Kept>,
}

struct Block {
    extent: Extent,
    bytes: Arc<Vec<u8>>,
    from_cache: bool,
}

thread_local! {
    static BUFFERS: RefCell<OpenBuffers> = RefCell::default();
}

impl<'a> BlobReader<'a> {
    /// Loads the index and reads through it. Index objects that are damaged are reported and passed over: what
    /// they name may lie elsewhere too.
    pub fn new(repository: &'a Repository, reporter: &dyn Reporter) -> Result<Self> {
        Self::through(repository, &ReadObjects::read(repository)?, reporter)
    }

    /// Reads metadata from this computer's cache too, and keeps what it reads there: for a command that gives
    /// something back. A check would find the copy whole, whatever became of the store's.
    pub fn with_kept_metadata(repository: &'a Repository, reporter: &dyn Reporter) -> Result<Self> {
        let kept = repository.kept();
        let reader =
            Self::through(repository, &ReadObjects::read_kept(repository, kept.as_ref())?, reporter)?;
        Ok(Self { kept, ..reader })
    }

    fn through(repository: &'a Repository, read: &ReadObjects, reporter: &dyn Reporter) -> Result<Self> {
        let objects = read.damaged.iter();
        let objects = objects.map(|(id, error)| (format!("index/{}", id.short()), error.chain(), error));
        let hint = "run `strongroom check` to see what it affects";
        report_passed_over(reporter, "the index", hint, objects);
        let index = Index::build(read, &|_| true)?;
        index.report_troubles(reporter);
        Ok(Self::with_index(repository, index))
    }

    /// Reads through an index at hand.
    pub fn with_index(repository: &'a Repository, index: Index) -> Self {
        Self { repository, index: RwLock::new(Arc::new(index)), blocks: Mutex::default(), kept: None }
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
                match self.read_place(&index, &place, &mut use_plain) {
                    Ok(value) => return value,
                    Err(error) => last = Some(graver(last, error)),
                }
            }
            if !self.refresh(&index)? {
                return Err(lost(kind, id, last));
            }
        }
        Err(Error::new(ErrorKind::Busy, "the repository's index keeps changing").hint("try again in a while"))
    }

    /// Reads one copy; where this computer's disk damaged what it kept of it, from the store.
    fn read_place<T>(
        &self,
        index: &Index,
        place: &Place,
        use_plain: &mut Option<impl FnOnce(&[u8]) -> Result<T>>,
    ) -> Result<Result<T>> {
        let kept = self.kept.as_ref().filter(|_| place.kind.class() == Class::Metadata);
        let extent = Extent::around(index, place)?;
        let (bytes, from_cache) = self.block(&extent, kept)?;
        match self.open(index, place, extent.frame(&bytes)?, use_plain) {
            Err(_) if from_cache && use_plain.is_some() => {
                self.drop_block(&extent, kept)?;
                let (bytes, _) = self.block(&extent, None)?;
                kept.inspect(|kept| kept.put(&extent.name(), &bytes));
                self.open(index, place, extent.frame(&bytes)?, use_plain)
            }
            opened => opened,
        }
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

    /// A block's bytes: those read last, those kept on disk, or the store's; and whether the disk may have damaged them.
    fn block(&self, extent: &Extent, kept: Option<&Kept>) -> Result<(Arc<Vec<u8>>, bool)> {
        {
            let mut blocks = self.lock_blocks()?;
            if let Some(position) = blocks.iter().position(|block| block.extent.is_same_block(extent)) {
                let block = blocks.remove(position);
                let found = (Arc::clone(&block.bytes), block.from_cache);
                blocks.push(block);
                return Ok(found);
            }
        }
        let (name, length) = (extent.name(), extent.length);
        let on_disk =
            kept.and_then(|kept| kept.get(&name, length)).filter(|bytes| bytes.len() as u64 == length);
        let from_cache = on_disk.is_some();
        let bytes = match on_disk {
            Some(bytes) => bytes,
            None => {
                let bytes = self.read_block(extent)?;
                kept.filter(|_| bytes.len() as u64 == length).inspect(|kept| kept.put(&name, &bytes));
                bytes
            }
        };
        let bytes = Arc::new(bytes);
        let mut blocks = self.lock_blocks()?;
        let mut held = blocks.iter().fold(bytes.len(), |sum, block| sum.saturating_add(block.bytes.len()));
        while held > KEPT_BYTES && !blocks.is_empty() {
            held -= blocks.remove(0).bytes.len();
        }
        blocks.push(Block { extent: *extent, bytes: Arc::clone(&bytes), from_cache });
        Ok((bytes, from_cache))
    }

    /// A block from the store; of a pack that was cut, what is there of it: each blob in front of the cut is proved by its own
    /// seal.
    fn read_block(&self, extent: &Extent) -> Result<Vec<u8>> {
        let (backend, name) = (self.repository.backend(), ObjectName::new(ObjectKind::Pack, extent.pack));
        let cut = match backend.get_range(&name, extent.start, extent.length) {
            Err(error) if error.kind() == ErrorKind::Corrupt => error,
            read => return read,
        };
        match backend.size(&name).map(|size| size.saturating_sub(extent.start)) {
            Ok(there) if (1..extent.length).contains(&there) => backend.get_range(&name, extent.start, there),
            _ => Err(cut),
        }
    }

    fn drop_block(&self, extent: &Extent, kept: Option<&Kept>) -> Result<()> {
        self.lock_blocks()?.retain(|block| !block.extent.is_same_block(extent));
        kept.inspect(|kept| kept.remove(&extent.name()));
        Ok(())
    }

    fn lock_blocks(&self) -> Result<MutexGuard<'_, Vec<Block>>> {
        self.blocks.lock().map_err(|_| Error::refused("another thread failed while reading"))
    }
}

/// Where a frame lies, and the aligned block around it.
#[derive(Clone, Copy)]
struct Extent {
    pack: Id,
    start: u64,
    length: u64,
    /// Where in the block the frame is.
    from: u64,
    to: u64,
}

impl Extent {
    fn around(index: &Index, place: &Place) -> Result<Self> {
        let pack = index.pack(place)?;
        let offset = u64::from(place.offset);
        let end = offset.saturating_add(u64::from(place.stored_length));
        if end > pack.size {
            return Err(Error::corrupt("the index points behind a pack's end"));
        }
        // Whole blocks whoever watches: what is wanted next often lies in the same.
        let (start, length) = aligned(offset, end, BLOCK, pack.size);
        Ok(Self { pack: pack.id, start, length, from: offset - start, to: end - start })
    }

    /// The block's name in the cache.
    fn name(&self) -> String {
        Kept::block_name(&self.pack, self.start, self.length)
    }

    fn is_same_block(&self, other: &Self) -> bool {
        self.pack == other.pack && self.start == other.start && self.length == other.length
    }

    fn frame<'a>(&self, block: &'a [u8]) -> Result<&'a [u8]> {
        let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
        block
            .get(at(self.from)..at(self.to))
            .ok_or_else(|| Error::corrupt("a pack is shorter than the index says"))
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
        // What is to be done is known where a copy could not be reached.
        Some(error) if error.next_step().is_some() => {
            return error.context(format!("the {name} {} cannot be read from any pack", id.short()));
        }
        Some(error) => error.context(format!("the {name} {} cannot be read from any pack", id.short())),
        None => Error::missing(format!("the {name} {} lies in no pack that the index names", id.short())),
    }
    .hint("run `strongroom check --read-data` to see what else is affected")
}
