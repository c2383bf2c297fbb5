//! The metadata of the last snapshots in the local cache: written while it is stored, read by the next backup.
//!
//! Each blob of a tree or list stands behind its id, kind and lengths, sealed under a key derived from the write
//! secret. Invariant: what is read is the blob that its id names; anything else is an error, and costs the next
//! backup time only.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::FlockOperation;

use super::Repository;
use super::cache::open_private;
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

/// Length of what stands before each sealed blob: id, kind, plain length, sealed length.
const RECORD_LEN: usize = ID_LEN + 1 + 4 + 4;

/// How the name of a tree begins that is being written.
pub(super) const NEW_TREE: &str = "new-";

/// Writes blobs of trees and lists to the cache while they are stored; kept only if the backup commits.
pub struct TreeRecorder<'a> {
    repository: &'a Repository,
    key: Secret,
    folder: PathBuf,
    temporary: PathBuf,
    /// The tree that was recorded before: what is still in it is taken over as it is sealed there.
    previous: Option<Arc<CachedTree<'a>>>,
    state: Mutex<RecorderState>,
}

struct RecorderState {
    file: BufWriter<File>,
    seen: HashSet<Id>,
    failed: Option<Error>,
}

impl<'a> TreeRecorder<'a> {
    pub(super) fn create(
        repository: &'a Repository,
        folder: PathBuf,
        previous: Option<Arc<CachedTree<'a>>>,
    ) -> Result<Self> {
        let temporary = folder.join(format!("{NEW_TREE}{}", random::id()?));
        let file = open_private(&temporary, true)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| Error::io(format!("cannot lock {}", temporary.display()), error))?;
        let mut file = BufWriter::with_capacity(256 << 10, file);
        file.write_all(&header::header(HeaderKind::Cache))
            .map_err(|error| Error::io("cannot write the cache", error))?;
        let state = RecorderState { file, seen: HashSet::new(), failed: None };
        let key = repository.keyring().key(Purpose::Cache);
        Ok(Self { repository, key, folder, temporary, previous, state: Mutex::new(state) })
    }

    /// Keeps a blob. A cache that cannot be written is not a reason for a backup to fail: the first error is
    /// kept for [`Self::keep_as`].
    pub fn record(&self, kind: BlobKind, id: &Id, plain: &[u8]) {
        let Ok(mut state) = self.state.lock() else { return };
        if state.failed.is_some() || !state.seen.insert(*id) {
            return;
        }
        let before = self.previous.as_ref().and_then(|previous| previous.sealed(kind, id));
        let sealed = match before {
            Some(sealed) => Ok(sealed),
            None => seal_record(&self.key, self.repository.id(), kind, id, plain),
        };
        let written = sealed.and_then(|sealed| write_record(&mut state.file, kind, id, plain.len(), &sealed));
        state.failed = written.err();
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

fn seal_record(key: &Secret, repository: &Id, kind: BlobKind, id: &Id, plain: &[u8]) -> Result<Vec<u8>> {
    let mut payload = vec![ENCODING_ZSTD];
    if !compress::compress(plain, &mut payload)? {
        payload = [&[ENCODING_RAW], plain].concat();
    }
    seal::seal_object(key, &record_bound(repository, kind, id), &payload)
}

fn write_record(
    file: &mut BufWriter<File>,
    kind: BlobKind,
    id: &Id,
    plain_length: usize,
    sealed: &[u8],
) -> Result<()> {
    let too_long = |_| Error::refused("a blob is too long for the cache");
    let mut record = Vec::with_capacity(RECORD_LEN);
    record.extend_from_slice(id.as_bytes());
    record.push(kind.code());
    record.extend_from_slice(&u32::try_from(plain_length).map_err(too_long)?.to_le_bytes());
    record.extend_from_slice(&u32::try_from(sealed.len()).map_err(too_long)?.to_le_bytes());
    file.write_all(&record)
        .and_then(|()| file.write_all(sealed))
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
    /// What was read and found whole since this was opened.
    whole: Mutex<HashSet<Id>>,
}

#[derive(Clone, Copy)]
struct Record {
    kind: BlobKind,
    plain_length: u32,
    offset: u64,
    sealed_length: u32,
}

impl<'a> CachedTree<'a> {
    pub(super) fn open(repository: &'a Repository, path: &Path) -> Result<Option<Self>> {
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
        Ok(Some(Self {
            repository,
            key: repository.keyring().key(Purpose::Cache),
            file,
            records,
            whole: Mutex::default(),
        }))
    }
}

impl CachedTree<'_> {
    fn read(&self, record: &Record) -> std::io::Result<Vec<u8>> {
        let mut sealed = vec![0; usize::try_from(record.sealed_length).unwrap_or(0)];
        self.file.read_exact_at(&mut sealed, record.offset)?;
        Ok(sealed)
    }

    /// A blob as it is sealed here. Only one that was read before, and was whole: damage must not be handed on
    /// from one cache to the next.
    fn sealed(&self, kind: BlobKind, id: &Id) -> Option<Vec<u8>> {
        let record = self.records.get(id).filter(|record| record.kind == kind)?;
        if !self.whole.lock().ok()?.contains(id) {
            return None;
        }
        self.read(record).ok()
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
        let sealed = self.read(record).map_err(|error| Error::io("cannot read the cache", error))?;
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
        if let Ok(mut whole) = self.whole.lock() {
            whole.insert(*id);
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
