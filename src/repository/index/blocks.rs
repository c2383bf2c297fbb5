//! Files of authenticated blocks: fixed-width records that are searched where they lie.
//!
//! A block is 4096 bytes: records, zeros to fill, its role, its number, and a MAC over all that. No record
//! crosses a block. The key of the MAC is derived from that of the cache and from the file's first bytes, which
//! hold a random nonce: a block counts only in its own file and at its own place. The last block is the footer:
//! a file that was cut short has none.
//!
//! Invariant: nothing of a block is handed out before its MAC was found to fit the very bytes handed out; they
//! are a private copy, which nobody can change in between, as somebody could in a mapped file.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::crypto::secret::Secret;
use crate::crypto::{derive, random};
use crate::error::{Error, ErrorKind, Result};
use crate::format::header::{self, HEADER_LEN, HeaderKind};
use crate::id::ID_LEN;

/// Length of a block.
pub(super) const BLOCK_LEN: usize = 4096;
const MAC_LEN: usize = 32;
/// What the MAC covers.
const COVERED_LEN: usize = BLOCK_LEN - MAC_LEN;
/// What a block has for records.
pub(super) const PAYLOAD_LEN: usize = COVERED_LEN - 1 - 8;
/// Header and nonce, at the start of the first block.
const START_LEN: usize = HEADER_LEN + ID_LEN;
/// Blocks that are read at once by whoever reads one after another.
const AHEAD: u64 = 16;
/// Blocks that each thread keeps.
const KEPT: usize = 8;

const ROLE_START: u8 = 1;
const ROLE_RECORDS: u8 = 2;
const ROLE_FOOTER: u8 = 3;

/// The key of one file. What it hashes is longer than the salts that the cache's key hashes elsewhere.
fn file_key(cache_key: &Secret, start: &[u8]) -> Secret {
    let bound = [b"strongroom copy of the index", start].concat();
    Secret::new(derive::keyed_hash(cache_key, &bound).0)
}

fn damaged() -> Error {
    Error::corrupt("this computer's copy of the index is damaged")
}

fn cannot_read(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => damaged().caused_by(error),
        _ => Error::new(ErrorKind::Io, "cannot read this computer's copy of the index").caused_by(error),
    }
}

fn cannot_write(error: std::io::Error) -> Error {
    Error::io("cannot write a copy of the index", error)
}

/// Writes a file of blocks.
pub(super) struct BlockWriter {
    file: BufWriter<File>,
    key: Secret,
    number: u64,
    payload: Vec<u8>,
}

impl BlockWriter {
    pub(super) fn create(file: File, cache_key: &Secret) -> Result<Self> {
        let mut start = header::header(HeaderKind::Cache).to_vec();
        start.extend_from_slice(random::id()?.as_bytes());
        let mut writer = Self {
            key: file_key(cache_key, &start),
            file: BufWriter::with_capacity(64 * BLOCK_LEN, file),
            number: 0,
            payload: start,
        };
        writer.flush(ROLE_START)?;
        Ok(writer)
    }

    /// Adds a record; those of one table are equally long.
    pub(super) fn push(&mut self, record: &[u8]) -> Result<()> {
        if self.payload.len().saturating_add(record.len()) > PAYLOAD_LEN {
            self.flush(ROLE_RECORDS)?;
        }
        self.payload.extend_from_slice(record);
        Ok(())
    }

    /// Ends a table: the next one starts in a block of its own.
    pub(super) fn end_table(&mut self) -> Result<()> {
        if self.payload.is_empty() { Ok(()) } else { self.flush(ROLE_RECORDS) }
    }

    /// Ends the file with a record of what it holds.
    pub(super) fn finish(mut self, footer: &[u8], cache_key: &Secret) -> Result<BlockFile> {
        self.end_table()?;
        self.payload.extend_from_slice(footer);
        self.flush(ROLE_FOOTER)?;
        let file = self.file.into_inner().map_err(|error| cannot_write(error.into_error()))?;
        BlockFile::open(file, cache_key).map(|(file, _)| file)
    }

    fn flush(&mut self, role: u8) -> Result<()> {
        self.payload.resize(PAYLOAD_LEN, 0);
        self.payload.push(role);
        self.payload.extend_from_slice(&self.number.to_le_bytes());
        let mac = derive::keyed_hash(&self.key, &self.payload);
        self.payload.extend_from_slice(mac.as_bytes());
        self.file.write_all(&self.payload).map_err(cannot_write)?;
        self.payload.clear();
        self.number = self.number.saturating_add(1);
        Ok(())
    }
}

/// A file of blocks, open for reading.
pub(super) struct BlockFile {
    file: File,
    key: Secret,
    blocks: u64,
    /// Tells this file's blocks from those of others where they are kept.
    serial: u64,
}

thread_local! {
    static RECENT: RefCell<Vec<Recent>> = const { RefCell::new(Vec::new()) };
}

struct Recent {
    serial: u64,
    number: u64,
    bytes: Box<[u8]>,
}

impl BlockFile {
    /// Opens a file, and gives its footer.
    pub(super) fn open(file: File, cache_key: &Secret) -> Result<(Self, Vec<u8>)> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let length = file.metadata().map_err(cannot_read)?.len();
        let blocks = length / BLOCK_LEN as u64;
        let mut start = [0; START_LEN];
        file.read_exact_at(&mut start, 0).map_err(cannot_read)?;
        header::strip(HeaderKind::Cache, &start)?;
        let key = file_key(cache_key, &start);
        let opened = Self { file, key, blocks, serial: NEXT.fetch_add(1, Ordering::Relaxed) };
        if length % BLOCK_LEN as u64 != 0 {
            return Err(damaged());
        }
        let mut block = vec![0; BLOCK_LEN];
        opened.read(0, ROLE_START, &mut block)?;
        opened.read(blocks.saturating_sub(1), ROLE_FOOTER, &mut block)?;
        block.truncate(PAYLOAD_LEN);
        Ok((opened, block))
    }

    /// How many blocks it has.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Reads blocks that follow each other, and checks each.
    fn read(&self, first: u64, role: u8, into: &mut [u8]) -> Result<()> {
        let offset = first.checked_mul(BLOCK_LEN as u64).ok_or_else(damaged)?;
        self.file.read_exact_at(into, offset).map_err(cannot_read)?;
        for (block, number) in into.chunks_exact(BLOCK_LEN).zip(first..) {
            let (covered, mac) = block.split_last_chunk::<MAC_LEN>().ok_or_else(damaged)?;
            let (rest, place) = covered.split_last_chunk::<8>().ok_or_else(damaged)?;
            let sound = derive::equal(&derive::keyed_hash(&self.key, covered).0, mac)
                && u64::from_le_bytes(*place) == number
                && rest.last() == Some(&role);
            if !sound {
                return Err(damaged());
            }
        }
        Ok(())
    }

    /// Hands the records of a block to `look`.
    pub(super) fn with_block<T>(&self, number: u64, look: impl FnOnce(&[u8]) -> T) -> Result<T> {
        RECENT.with_borrow_mut(|kept| {
            let at = match kept.iter().position(|one| one.serial == self.serial && one.number == number) {
                Some(at) => at,
                None => self.keep(kept, number)?,
            };
            let block = kept.get(at).ok_or_else(damaged)?;
            Ok(look(block.bytes.get(..PAYLOAD_LEN).unwrap_or_default()))
        })
    }

    /// Reads a block in the place of the one read longest ago, and says where it is kept.
    fn keep(&self, kept: &mut Vec<Recent>, number: u64) -> Result<usize> {
        let mut bytes =
            if kept.len() < KEPT { vec![0; BLOCK_LEN].into_boxed_slice() } else { kept.remove(0).bytes };
        self.read(number, ROLE_RECORDS, &mut bytes)?;
        kept.push(Recent { serial: self.serial, number, bytes });
        Ok(kept.len().saturating_sub(1))
    }

    /// The records of a table, one after another, from a number on.
    pub(super) fn table(&self, table: Table, from: u64) -> TableReader<'_> {
        TableReader { file: self, table, next: from, bytes: Vec::new(), first: 0 }
    }
}

/// Where equally long records lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// Number of the first block.
    pub(super) start: u64,
    /// Number of records.
    pub(super) count: u64,
    /// Length of each.
    pub(super) length: usize,
}

impl Table {
    /// Records in a block.
    pub(super) fn per_block(&self) -> u64 {
        (PAYLOAD_LEN / self.length.max(1)).max(1) as u64
    }

    /// The number of the block behind its last.
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(self.count.div_ceil(self.per_block()))
    }

    /// Block and range within it of a record.
    pub(super) fn place(&self, record: u64) -> (u64, std::ops::Range<usize>) {
        let block = self.start.saturating_add(record / self.per_block());
        let within = usize::try_from(record % self.per_block()).unwrap_or(usize::MAX);
        let from = within.saturating_mul(self.length);
        (block, from..from.saturating_add(self.length))
    }
}

/// Reads a table from its start to its end.
pub(super) struct TableReader<'a> {
    file: &'a BlockFile,
    table: Table,
    next: u64,
    bytes: Vec<u8>,
    first: u64,
}

impl TableReader<'_> {
    /// The next record, until there are no more.
    pub(super) fn next_record(&mut self) -> Result<Option<&[u8]>> {
        if self.next >= self.table.count {
            return Ok(None);
        }
        let (block, range) = self.table.place(self.next);
        let held = self.bytes.len() as u64 / BLOCK_LEN as u64;
        if self.bytes.is_empty() || block >= self.first.saturating_add(held) {
            let count = self.table.end().saturating_sub(block).min(AHEAD);
            let length = usize::try_from(count.saturating_mul(BLOCK_LEN as u64)).map_err(|_| damaged())?;
            self.bytes.resize(length, 0);
            self.first = block;
            self.file.read(block, ROLE_RECORDS, &mut self.bytes)?;
        }
        self.next = self.next.saturating_add(1);
        let skipped = usize::try_from(block.saturating_sub(self.first)).map_err(|_| damaged())?;
        let from = skipped.saturating_mul(BLOCK_LEN).saturating_add(range.start);
        self.bytes.get(from..from.saturating_add(self.table.length)).ok_or_else(damaged).map(Some)
    }
}
