//! Storing blobs: deduplicate, seal, pack, upload, and publish the index.
//!
//! Invariants: a blob that the index knows, or that this writer took already, is not stored again. An index
//! object is written only after every pack it names was acknowledged by the backend. After a failure nothing
//! more is published, whoever saw the failure and whatever he made of it. Nor is anything published for a session that
//! was given up.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Repository;
use super::blob::{ContentKey, OpenBuffers};
use super::index::{Index, publish_packs};
use super::packer::{OpenPack, PACK_TARGET, Packer};
use super::session::{Adopted, Announced, Session};
use crate::backend::{ObjectKind, ObjectName};
use crate::error::{Error, Result};
use crate::format::blob::{BlobKind, Class};
use crate::format::index::IndexedPack;
use crate::id::Id;

/// Threads that close packs and upload them: while one waits for the disk, another looks into its pack.
const UPLOADERS: usize = 2;
/// Packs after which an index object is written, also in the middle of a backup.
pub(super) const INDEX_OBJECT_PACKS: usize = 64;
/// Parts of the set of blobs taken, each behind its own lock.
const SHARDS: usize = 64;

/// What a writer stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// New chunks.
    pub data_blobs: u64,
    /// New blobs of trees and lists.
    pub tree_blobs: u64,
    /// Their plain bytes.
    pub plain_bytes: u64,
    /// Bytes of packs and index objects written; in a dry run, of frames that would be.
    pub stored_bytes: u64,
}

/// Something that takes blobs of trees and lists.
pub trait BlobSink: Sync {
    /// Stores a blob unless it is there, and gives its id.
    fn store(&self, kind: BlobKind, plain: &[u8]) -> Result<Id>;
}

/// Stores blobs in a repository.
pub struct BlobWriter<'a> {
    repository: &'a Repository,
    index: &'a Index,
    announced: Option<Announced>,
    taken: Vec<Mutex<HashSet<Id>>>,
    packers: Arc<[Packer; 2]>,
    upload: Option<Upload>,
    dry_key: Option<ContentKey>,
    /// Set for good by the first failure: blobs that were taken may lie in no pack.
    broken: AtomicBool,
    data_blobs: AtomicU64,
    tree_blobs: AtomicU64,
    plain_bytes: AtomicU64,
    frame_bytes: AtomicU64,
}

struct Upload {
    packs: Sender<OpenPack>,
    workers: Vec<JoinHandle<()>>,
    done: Arc<Mutex<Uploaded>>,
}

#[derive(Default)]
struct Uploaded {
    packs: Vec<IndexedPack>,
    bytes: u64,
    error: Option<Error>,
}

impl<'a> BlobWriter<'a> {
    /// A writer that deduplicates against `index`.
    pub fn new(repository: &'a Repository, index: &'a Index) -> Result<Self> {
        Self::build(repository, index, false, None)
    }

    /// The same, that publishes nothing once its session was given up.
    pub fn announced(repository: &'a Repository, index: &'a Index, session: &Session<'_>) -> Result<Self> {
        Self::build(repository, index, false, Some(session.announced()))
    }

    /// A writer that stores nothing and counts what it would.
    pub fn dry(repository: &'a Repository, index: &'a Index) -> Result<Self> {
        Self::build(repository, index, true, None)
    }

    fn build(
        repository: &'a Repository,
        index: &'a Index,
        dry: bool,
        announced: Option<Announced>,
    ) -> Result<Self> {
        let packers = Arc::new([
            Packer::new(repository, Class::Data, PACK_TARGET)?,
            Packer::new(repository, Class::Metadata, PACK_TARGET)?,
        ]);
        Ok(Self {
            repository,
            index,
            taken: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            upload: if dry { None } else { Some(start_upload(repository, &packers, announced.as_ref())?) },
            announced,
            packers,
            dry_key: if dry { Some(ContentKey::new(repository.keyring(), Class::Data)?) } else { None },
            broken: AtomicBool::new(false),
            data_blobs: AtomicU64::new(0),
            tree_blobs: AtomicU64::new(0),
            plain_bytes: AtomicU64::new(0),
            frame_bytes: AtomicU64::new(0),
        })
    }

    /// The index that this writer deduplicates against.
    pub fn index(&self) -> &'a Index {
        self.index
    }

    /// Goes on unless a pack could not be stored: for whoever has nothing to store just now.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self) -> Result<()> {
        let done = self.upload.as_ref().map(|upload| upload.done.lock().map_err(|_| failed())).transpose()?;
        let failed = done.is_some_and(|done| done.error.is_some());
        if failed { Err(self.cause()) } else { Ok(()) }
    }

    /// Stores a blob unless it is there; may be called from many threads.
    pub fn store_blob(&self, kind: BlobKind, plain: &[u8]) -> Result<Id> {
        let id = self.repository.keyring().blob_id(kind, plain);
        if self.index.contains(kind, &id)? || !self.take(&id)? {
            return Ok(id);
        }
        // The blob counts as taken from here on: if it is not stored, nothing may be published.
        if let Err(error) = self.seal_and_send(kind, &id, plain) {
            self.broken.store(true, Ordering::Release);
            return Err(error);
        }
        Ok(id)
    }

    fn seal_and_send(&self, kind: BlobKind, id: &Id, plain: &[u8]) -> Result<()> {
        let blobs = if kind.class() == Class::Data { &self.data_blobs } else { &self.tree_blobs };
        blobs.fetch_add(1, Ordering::Relaxed);
        self.plain_bytes.fetch_add(plain.len() as u64, Ordering::Relaxed);
        if let Some(key) = &self.dry_key {
            let mut frame = Vec::new();
            key.seal(self.repository.id(), kind, id, plain, &mut frame)?;
            self.frame_bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
            return Ok(());
        }
        let hand_over = |pack| self.send(pack);
        let length = self.packer(kind.class()).add(self.repository, kind, id, plain, &hand_over)?;
        self.frame_bytes.fetch_add(length, Ordering::Relaxed);
        Ok(())
    }

    fn packer(&self, class: Class) -> &Packer {
        packer(&self.packers, class)
    }

    fn take(&self, id: &Id) -> Result<bool> {
        let [first, ..] = id.0;
        let shard = self.taken.get(usize::from(first) % SHARDS).ok_or_else(failed)?;
        Ok(shard.lock().map_err(|_| failed())?.insert(*id))
    }

    fn send(&self, pack: OpenPack) -> Result<()> {
        let Some(upload) = &self.upload else { return Ok(()) };
        if upload.packs.send(pack).is_ok() {
            return Ok(());
        }
        // The workers stop only with an error.
        Err(self.cause())
    }

    /// Why nothing more is stored. Every thread that asks gets the cause, for only one of them is heard.
    fn cause(&self) -> Error {
        let done = self.upload.as_ref().and_then(|upload| upload.done.lock().ok());
        let Some(error) = done.as_ref().and_then(|done| done.error.as_ref()) else { return failed() };
        let repeated = Error::new(error.kind(), error.chain());
        match error.next_step() {
            Some(step) => repeated.hint(step.to_owned()),
            None => repeated,
        }
    }

    /// Closes the open packs, waits for every upload, and publishes the index, `adopted` packs included.
    ///
    /// # Errors
    /// Also where any blob given to this writer before could not be stored.
    pub fn finish(mut self, adopted: Adopted) -> Result<Written> {
        if self.broken.load(Ordering::Acquire) {
            return Err(self.cause());
        }
        let mut written = Written {
            data_blobs: self.data_blobs.load(Ordering::Relaxed),
            tree_blobs: self.tree_blobs.load(Ordering::Relaxed),
            plain_bytes: self.plain_bytes.load(Ordering::Relaxed),
            stored_bytes: self.frame_bytes.load(Ordering::Relaxed),
        };
        if self.upload.is_none() {
            return Ok(written);
        }
        for packer in self.packers.iter() {
            for pack in packer.rest()? {
                self.send(pack)?;
            }
        }
        let Some(Upload { packs, workers, done }) = self.upload.take() else { return Ok(written) };
        drop(packs);
        for worker in workers {
            worker.join().map_err(|_| failed())?;
        }
        let mut done = done.lock().map_err(|_| failed())?;
        if let Some(error) = done.error.take() {
            return Err(error);
        }
        written.stored_bytes = done.bytes;
        let packs = std::mem::take(&mut done.packs);
        let publisher = Publisher::new(self.repository, &self.packers, self.announced.as_ref());
        written.stored_bytes = written.stored_bytes.saturating_add(publisher.publish(packs, adopted)?);
        Ok(written)
    }
}

impl BlobSink for BlobWriter<'_> {
    fn store(&self, kind: BlobKind, plain: &[u8]) -> Result<Id> {
        self.store_blob(kind, plain)
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        if let Some(Upload { packs, workers, .. }) = self.upload.take() {
            drop(packs);
            for worker in workers {
                if worker.join().is_err() {
                    // Its own panic was reported where it happened; there is nothing left to undo.
                }
            }
        }
    }
}

fn packer(packers: &[Packer; 2], class: Class) -> &Packer {
    let [data, metadata] = packers;
    match class {
        Class::Data => data,
        Class::Metadata => metadata,
    }
}

fn start_upload(
    repository: &Repository,
    packers: &Arc<[Packer; 2]>,
    announced: Option<&Announced>,
) -> Result<Upload> {
    // No queue: packs wait where they were filled, which bounds memory.
    let (packs, incoming) = bounded::<OpenPack>(0);
    let done = Arc::new(Mutex::new(Uploaded::default()));
    let mut workers = Vec::new();
    for _ in 0..UPLOADERS {
        let publisher = Publisher::new(repository, packers, announced);
        let (incoming, done) = (incoming.clone(), Arc::clone(&done));
        let worker = std::thread::Builder::new()
            .name("upload".into())
            .spawn(move || upload(&publisher, &incoming, &done))
            .map_err(|error| Error::io("cannot start a thread", error))?;
        workers.push(worker);
    }
    Ok(Upload { packs, workers, done })
}

/// Stores packs and names them in index objects.
struct Publisher {
    repository: Repository,
    packers: Arc<[Packer; 2]>,
    announced: Option<Announced>,
}

impl Publisher {
    fn new(repository: &Repository, packers: &Arc<[Packer; 2]>, announced: Option<&Announced>) -> Self {
        let (repository, packers) = (repository.clone(), Arc::clone(packers));
        Self { repository, packers, announced: announced.cloned() }
    }

    /// Names packs that the backend acknowledged in index objects; gives their bytes.
    fn publish(&self, packs: Vec<IndexedPack>, adopted: Adopted) -> Result<u64> {
        if packs.is_empty() && adopted.is_empty() {
            return Ok(0);
        }
        self.announced.as_ref().map_or(Ok(()), Announced::check)?;
        let own = packs.into_iter().map(|pack| {
            let envelope = packer(&self.packers, pack.class).envelope();
            (pack, vec![envelope])
        });
        Ok(publish_packs(&self.repository, adopted.into_iter().chain(own))?.bytes)
    }

    /// Takes note of a pack that is stored, and names what gathered in an index object: what a long first backup
    /// stored is then known to the next one, should this one be interrupted.
    fn note_stored(&self, done: &Mutex<Uploaded>, pack: IndexedPack) -> Result<()> {
        let gathered = {
            let mut done = done.lock().map_err(|_| failed())?;
            if done.error.is_some() {
                return Err(failed());
            }
            done.bytes = done.bytes.saturating_add(pack.size);
            done.packs.push(pack);
            if done.packs.len() < INDEX_OBJECT_PACKS {
                return Ok(());
            }
            std::mem::take(&mut done.packs)
        };
        let size = self.publish(gathered, Vec::new())?;
        let mut done = done.lock().map_err(|_| failed())?;
        done.bytes = done.bytes.saturating_add(size);
        Ok(())
    }
}

/// Closes and stores packs until there are no more, or one fails.
fn upload(publisher: &Publisher, incoming: &Receiver<OpenPack>, done: &Mutex<Uploaded>) {
    let mut buffers = OpenBuffers::default();
    for pack in incoming {
        let packer = packer(&publisher.packers, pack.class());
        let stored = packer.close(&publisher.repository, pack, &mut buffers).and_then(|pack| {
            let name = ObjectName::new(ObjectKind::Pack, pack.indexed.id);
            publisher.repository.backend().put(&name, pack.bytes.as_slice())?;
            packer.recycle(pack.bytes);
            publisher.note_stored(done, pack.indexed)
        });
        if let Err(error) = stored {
            // Where another pack failed before, that is the error to tell: this session will not be committed.
            if let Ok(mut done) = done.lock() {
                done.error.get_or_insert(error.context("a pack cannot be stored"));
            }
            return;
        }
    }
}

fn failed() -> Error {
    Error::refused("another thread failed while it stored blobs")
}
