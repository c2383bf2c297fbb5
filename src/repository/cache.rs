//! The local cache: the host's id, locks of running sessions, and the metadata of the last snapshots, sealed.
//!
//! Deleting it costs time, never correctness. Everything in it that came from a snapshot is sealed under a key
//! derived from the write secret; folders are 0700 and files 0600. Layout, below `<cache>/<repository id>/`:
//! `host-id`, `sessions/<id>`, `trees/<snapshot id>`.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::FlockOperation;

use super::Repository;
use super::objects::associated;
use super::reader::BlobSource;
use super::writer::BlobSink;
use crate::compress;
use crate::crypto::derive::Purpose;
use crate::crypto::secret::Secret;
use crate::crypto::{random, seal};
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::{BlobKind, ENCODING_RAW, ENCODING_ZSTD};
use crate::format::header::{self, HEADER_LEN, HeaderKind};
use crate::id::{ID_LEN, Id};
use crate::limits;

/// Length of what stands before each sealed blob in a cached tree: id, kind, plain length, sealed length.
const RECORD_LEN: usize = ID_LEN + 1 + 4 + 4;

/// How the name of a tree begins that is being written.
const NEW_TREE: &str = "new-";

/// The cache of one repository on this host.
pub struct Cache {
    pub(super) folder: PathBuf,
    host_id: Id,
}

/// The lock of a session that runs, or ran, on this host; free once its process is gone.
pub struct SessionLock {
    path: PathBuf,
    _file: File,
}

impl SessionLock {
    /// Removes the lock for good: the session is settled.
    pub fn remove(self) {
        if std::fs::remove_file(&self.path).is_err() {
            // A leftover lock file is looked at again while its session is there, and is a name in a folder after.
        }
    }
}

impl Cache {
    /// Opens or makes the cache of a repository below `parent`.
    pub fn open(parent: &Path, repository: &Id) -> Result<Self> {
        let folder = parent.join(repository.to_hex());
        for folder in [&folder, &folder.join("sessions"), &folder.join("trees")] {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
                Error::io(format!("cannot make the cache folder {}", folder.display()), error)
                    .hint("choose another by --cache-dir, or do without by --no-cache")
            })?;
        }
        let host_id = read_or_make_host_id(&folder)?;
        let cache = Self { folder, host_id };
        cache.remove_leftovers()?;
        Ok(cache)
    }

    /// Removes what killed runs began to write; what living ones write is locked.
    fn remove_leftovers(&self) -> Result<()> {
        let folder = self.folder.join("trees");
        let fail = |error| Error::io(format!("cannot list {}", folder.display()), error);
        for entry in std::fs::read_dir(&folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let begun =
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(NEW_TREE.as_bytes()));
            let Some(file) = begun.then(|| File::open(&path).ok()).flatten() else { continue };
            let dead = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            if dead && std::fs::remove_file(&path).is_err() {
                // Only space is lost, until the next run tries again.
            }
        }
        Ok(())
    }

    /// This host's random id.
    pub fn host_id(&self) -> &Id {
        &self.host_id
    }

    /// Makes the lock of a session that begins.
    pub(crate) fn lock_session(&self, id: &Id) -> Result<SessionLock> {
        let path = self.folder.join("sessions").join(id.to_hex());
        let file = open_private(&path, true)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| Error::io(format!("cannot lock {}", path.display()), error))?;
        Ok(SessionLock { path, _file: file })
    }

    /// Takes the lock of a session that began on this host and whose process is gone.
    pub(crate) fn take_dead_lock(&self, id: &Id) -> Result<Option<SessionLock>> {
        let path = self.folder.join("sessions").join(id.to_hex());
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(format!("cannot open {}", path.display()), error)),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(SessionLock { path, _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::io(format!("cannot lock {}", path.display()), error)),
        }
    }

    fn tree_path(&self, snapshot: &Id) -> PathBuf {
        self.folder.join("trees").join(snapshot.to_hex())
    }

    /// Opens the cached metadata of a snapshot, where there is some.
    pub fn open_tree<'a>(&self, repository: &'a Repository, snapshot: &Id) -> Result<Option<CachedTree<'a>>> {
        CachedTree::open(repository, &self.tree_path(snapshot))
    }

    /// Starts writing the metadata of a new snapshot.
    pub fn write_tree<'a>(&self, repository: &'a Repository) -> Result<TreeRecorder<'a>> {
        TreeRecorder::create(repository, self.folder.join("trees"))
    }

    /// Removes the cached metadata of a snapshot.
    pub fn remove_tree(&self, snapshot: &Id) {
        if std::fs::remove_file(self.tree_path(snapshot)).is_err() {
            // Only space is lost, until the next run tries again.
        }
    }

    /// The snapshots whose metadata is cached.
    pub fn trees(&self) -> Result<Vec<Id>> {
        let folder = self.folder.join("trees");
        let fail = |error| Error::io(format!("cannot list {}", folder.display()), error);
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(fail)? {
            ids.extend(entry.map_err(fail)?.file_name().to_str().and_then(Id::from_hex));
        }
        Ok(ids)
    }
}

pub(super) fn open_private(path: &Path, create: bool) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| Error::io(format!("cannot open {}", path.display()), error))
}

fn read_or_make_host_id(folder: &Path) -> Result<Id> {
    let path = folder.join("host-id");
    for _ in 0..2 {
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                if let Some(id) = Id::from_hex(text.trim()) {
                    return Ok(id);
                }
                // Torn by a crash: sessions begun under the old id are nobody's now, which is safe.
                std::fs::remove_file(&path)
                    .map_err(|error| Error::io("cannot renew the host's id", error))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(format!("cannot read {}", path.display()), error)),
        }
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made.and_then(|mut file| random_line(&mut file)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io(format!("cannot write {}", path.display()), error)),
        }
    }
    let text =
        std::fs::read_to_string(&path).map_err(|error| Error::io("cannot read the host's id", error))?;
    Id::from_hex(text.trim())
        .ok_or_else(|| Error::corrupt(format!("{} is damaged", path.display())).hint("remove it"))
}

fn random_line(file: &mut File) -> std::io::Result<()> {
    let id = random::id().map_err(std::io::Error::other)?;
    file.write_all(format!("{id}\n").as_bytes())
}

/// Writes blobs of trees and lists to the cache while they are stored; kept only if the backup commits.
pub struct TreeRecorder<'a> {
    repository: &'a Repository,
    key: Secret,
    folder: PathBuf,
    temporary: PathBuf,
    state: Mutex<RecorderState>,
}

struct RecorderState {
    file: BufWriter<File>,
    seen: std::collections::HashSet<Id>,
    failed: Option<Error>,
}

impl<'a> TreeRecorder<'a> {
    fn create(repository: &'a Repository, folder: PathBuf) -> Result<Self> {
        let temporary = folder.join(format!("{NEW_TREE}{}", random::id()?));
        let file = open_private(&temporary, true)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| Error::io(format!("cannot lock {}", temporary.display()), error))?;
        let mut file = BufWriter::with_capacity(256 << 10, file);
        file.write_all(&header::header(HeaderKind::Cache))
            .map_err(|error| Error::io("cannot write the cache", error))?;
        let state = RecorderState { file, seen: std::collections::HashSet::new(), failed: None };
        let key = repository.keyring().key(Purpose::Cache);
        Ok(Self { repository, key, folder, temporary, state: Mutex::new(state) })
    }

    /// Keeps a blob. A cache that cannot be written is not a reason for a backup to fail: the first error is
    /// kept for [`Self::keep_as`].
    pub fn record(&self, kind: BlobKind, id: &Id, plain: &[u8]) {
        let Ok(mut state) = self.state.lock() else { return };
        if state.failed.is_some() || !state.seen.insert(*id) {
            return;
        }
        if let Err(error) = write_record(&mut state.file, &self.key, self.repository.id(), kind, id, plain) {
            state.failed = Some(error);
        }
    }

    /// Names what was recorded after the snapshot that committed.
    pub fn keep_as(&self, snapshot: &Id) -> Result<()> {
        let mut state =
            self.state.lock().map_err(|_| Error::refused("another thread failed while caching"))?;
        if let Some(error) = state.failed.take() {
            return Err(error);
        }
        let fail = |error| Error::io("cannot write the cache", error);
        state.file.flush().map_err(fail)?;
        std::fs::rename(&self.temporary, self.folder.join(snapshot.to_hex())).map_err(fail)
    }
}

impl Drop for TreeRecorder<'_> {
    fn drop(&mut self) {
        if std::fs::remove_file(&self.temporary).is_err() {
            // Renamed to its final name, as it should be.
        }
    }
}

fn write_record(
    file: &mut BufWriter<File>,
    key: &Secret,
    repository: &Id,
    kind: BlobKind,
    id: &Id,
    plain: &[u8],
) -> Result<()> {
    let too_long = |_| Error::refused("a blob is too long for the cache");
    let mut payload = vec![ENCODING_ZSTD];
    if !compress::compress(plain, &mut payload)? {
        payload = [&[ENCODING_RAW], plain].concat();
    }
    let sealed = seal::seal_object(key, &record_bound(repository, kind, id), &payload)?;
    let mut record = Vec::with_capacity(RECORD_LEN);
    record.extend_from_slice(id.as_bytes());
    record.push(kind.code());
    record.extend_from_slice(&u32::try_from(plain.len()).map_err(too_long)?.to_le_bytes());
    record.extend_from_slice(&u32::try_from(sealed.len()).map_err(too_long)?.to_le_bytes());
    file.write_all(&record)
        .and_then(|()| file.write_all(&sealed))
        .map_err(|error| Error::io("cannot write the cache", error))
}

fn record_bound(repository: &Id, kind: BlobKind, id: &Id) -> Vec<u8> {
    let mut bound = associated(HeaderKind::Cache, repository, id);
    bound.push(kind.code());
    bound
}

/// The cached metadata of one snapshot.
pub struct CachedTree<'a> {
    repository: &'a Repository,
    key: Secret,
    file: File,
    records: HashMap<Id, Record>,
}

#[derive(Clone, Copy)]
struct Record {
    kind: BlobKind,
    plain_length: u32,
    offset: u64,
    sealed_length: u32,
}

impl<'a> CachedTree<'a> {
    fn open(repository: &'a Repository, path: &Path) -> Result<Option<Self>> {
        let fail = |error| Error::io(format!("cannot read {}", path.display()), error);
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let size = file.metadata().map_err(fail)?.len();
        let mut start = [0; HEADER_LEN];
        if file.read_exact(&mut start).is_err() || header::strip(HeaderKind::Cache, &start).is_err() {
            return Ok(None);
        }
        let records = scan_records(&file, size).map_err(fail)?;
        Ok(Some(Self { repository, key: repository.keyring().key(Purpose::Cache), file, records }))
    }
}

/// Finds where each record lies; a torn end is left out, and its blobs are then missing.
fn scan_records(file: &File, size: u64) -> std::io::Result<HashMap<Id, Record>> {
    let mut records = HashMap::new();
    let mut offset = HEADER_LEN as u64;
    let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
    let mut head = [0; RECORD_LEN];
    while offset.saturating_add(RECORD_LEN as u64) <= size {
        reader.read_exact(&mut head)?;
        let Some((id, rest)) = head.split_first_chunk::<ID_LEN>() else { break };
        let Some((code, lengths)) = rest.split_first() else { break };
        let Some(kind) = BlobKind::from_code(*code) else { break };
        let ([plain_length, sealed_length], []) = lengths.as_chunks() else { break };
        let plain_length = u32::from_le_bytes(*plain_length);
        let sealed_length = u32::from_le_bytes(*sealed_length);
        offset = offset.saturating_add(RECORD_LEN as u64);
        let end = offset.saturating_add(u64::from(sealed_length));
        if end > size {
            break;
        }
        records.insert(Id(*id), Record { kind, plain_length, offset, sealed_length });
        reader.seek_relative(i64::from(sealed_length))?;
        offset = end;
    }
    Ok(records)
}

impl BlobSource for CachedTree<'_> {
    fn fetch(&self, kind: BlobKind, id: &Id) -> Result<Vec<u8>> {
        let missing = || Error::missing(format!("the {} {} is not in the cache", kind.name(), id.short()));
        let record = self.records.get(id).filter(|record| record.kind == kind).ok_or_else(missing)?;
        let mut sealed = vec![0; usize::try_from(record.sealed_length).unwrap_or(0)];
        self.file
            .read_exact_at(&mut sealed, record.offset)
            .map_err(|error| Error::io("cannot read the cache", error))?;
        let payload = seal::open_object(&self.key, &record_bound(self.repository.id(), kind, id), &sealed)?;
        let (encoding, body) = payload.split_first().ok_or_else(missing)?;
        let length = usize::try_from(record.plain_length).unwrap_or(usize::MAX);
        let plain = match *encoding {
            ENCODING_RAW => body.to_vec(),
            ENCODING_ZSTD if length <= limits::BLOB_PLAIN_MAX => {
                let mut plain = Vec::new();
                compress::decompress(body, length, &mut plain)?;
                plain
            }
            _ => return Err(Error::corrupt("a cached blob has an impossible length")),
        };
        if self.repository.keyring().blob_id(kind, &plain) != *id {
            return Err(Error::new(ErrorKind::Corrupt, "a cached blob is not the one its id names"));
        }
        Ok(plain)
    }
}

/// Stores blobs and records them for the cache on the way.
pub struct RecordingSink<'a> {
    /// Where they are stored.
    pub sink: &'a dyn BlobSink,
    /// Where they are recorded.
    pub recorder: Option<&'a TreeRecorder<'a>>,
}

impl BlobSink for RecordingSink<'_> {
    fn store(&self, kind: BlobKind, plain: &[u8]) -> Result<Id> {
        let id = self.sink.store(kind, plain)?;
        if let Some(recorder) = self.recorder {
            recorder.record(kind, &id, plain);
        }
        Ok(id)
    }
}
