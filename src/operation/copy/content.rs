//! The contents of one file on their way from one repository to another: read by the chunks of the one, cut and named
//! anew as the other does it.
//!
//! Invariants: what is stored was proved by the id that the source names it by. Of a file there are never more than a
//! window of chunks and one chunk to come in memory.

use std::sync::Arc;

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::chunker::dump::DumpChunker;
use crate::chunker::gear::GearChunker;
use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::node::{Content, Node};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::operation::backup::read::Cutter;
use crate::repository::Repository;
use crate::repository::content::{store_content, visit_chunks};
use crate::repository::index::Index;
use crate::repository::reader::{BlobReader, BlobSource};
use crate::repository::writer::BlobSink;

/// Bytes of a file that are read at once.
const WINDOW: u64 = 8 << 20;

/// Whose fault it is: what cannot be read may be reported and passed over, what cannot be stored never.
pub(in crate::operation) enum Trouble {
    /// The repository that is read.
    Source(Error),
    /// The repository that is written.
    Store(Error),
}

/// How a file that is no database is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::operation) enum Profile {
    /// As the source cut it.
    AsItWas,
    /// As a file.
    File,
    /// As a dump.
    Dump,
}

/// Reads files of one repository and cuts them for another.
pub(in crate::operation) struct Recutter<'a> {
    source: &'a BlobReader<'a>,
    index: Arc<Index>,
    /// Longest chunk of a dump in the source: chunks of other files are longer, but for the last.
    dump_maximum: u64,
    file: GearChunker,
    dump: DumpChunker,
    interrupt: &'a Interrupt,
}

impl<'a> Recutter<'a> {
    pub(in crate::operation) fn new(
        source: &'a BlobReader<'a>,
        destination: &Repository,
        interrupt: &'a Interrupt,
    ) -> Result<Self> {
        Ok(Self {
            source,
            index: source.index()?,
            dump_maximum: u64::from(source.repository().config().dump_chunks.maximum),
            file: destination.file_chunker(),
            dump: destination.dump_chunker(),
            interrupt,
        })
    }

    /// Where the files come from.
    pub(in crate::operation) fn source(&self) -> &'a BlobReader<'a> {
        self.source
    }

    /// Stores the contents of a file and gives what its node is to say of them.
    pub(in crate::operation) fn recut(
        &self,
        node: &Node,
        sink: &dyn BlobSink,
    ) -> std::result::Result<Content, Trouble> {
        self.recut_as(node, sink, Profile::AsItWas)
    }

    /// The same, cut in a way that is known.
    pub(in crate::operation) fn recut_as(
        &self,
        node: &Node,
        sink: &dyn BlobSink,
        profile: Profile,
    ) -> std::result::Result<Content, Trouble> {
        let empty = Content::default();
        let content = node.content.as_ref().unwrap_or(&empty);
        let mut cutting = Cutting {
            recutter: self,
            node,
            sink,
            profile,
            cutter: None,
            waiting: Vec::new(),
            waiting_bytes: 0,
            buffer: Vec::new(),
            chunks: Vec::new(),
            read_bytes: 0,
            cut_bytes: 0,
            not_stored: None,
        };
        let visited = visit_chunks(self.source, content, &mut |_, _| Ok(()), &mut |id| cutting.take(id))
            .and_then(|()| cutting.flush(true));
        if let Some(error) = cutting.not_stored.take() {
            return Err(Trouble::Store(error));
        }
        visited.and_then(|()| cutting.check_length()).map_err(Trouble::Source)?;
        let chunks = std::mem::take(&mut cutting.chunks);
        store_content(sink, &chunks).map_err(Trouble::Store)
    }
}

/// One file being cut.
struct Cutting<'a> {
    recutter: &'a Recutter<'a>,
    node: &'a Node,
    sink: &'a dyn BlobSink,
    profile: Profile,
    cutter: Option<Cutter<'a>>,
    waiting: Vec<(Id, u64)>,
    waiting_bytes: u64,
    buffer: Vec<u8>,
    chunks: Vec<(Id, u64)>,
    read_bytes: u64,
    cut_bytes: u64,
    not_stored: Option<Error>,
}

impl Cutting<'_> {
    /// Takes the next chunk of the source and gives its length.
    fn take(&mut self, id: &Id) -> Result<u64> {
        self.recutter.interrupt.check()?;
        let length = self.recutter.index.plain_length(BlobKind::Chunk, id)?;
        let length = length.map(u64::from).ok_or_else(|| {
            Error::missing(format!("the chunk {} lies in no pack that the index names", id.short()))
        })?;
        self.waiting.push((*id, length));
        self.waiting_bytes = self.waiting_bytes.saturating_add(length);
        // A hostile list can go on for billions of chunks.
        if self.read_bytes.saturating_add(self.waiting_bytes) > self.node.size {
            return Err(not_as_long());
        }
        if self.waiting_bytes >= WINDOW {
            self.flush(false)?;
        }
        Ok(length)
    }

    /// Reads what waits, and stores every chunk whose end is certain.
    fn flush(&mut self, ended: bool) -> Result<()> {
        let source = self.recutter.source;
        self.cutter.get_or_insert_with(|| cutter(self.recutter, self.node, self.profile, &self.waiting));
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let plains: Vec<Vec<u8>> =
            waiting.par_iter().map(|(id, _)| source.fetch(BlobKind::Chunk, id)).collect::<Result<_>>()?;
        for plain in &plains {
            self.read_bytes = self.read_bytes.saturating_add(plain.len() as u64);
            self.buffer.extend_from_slice(plain);
        }
        drop(plains);
        let stored = self.store(ended);
        if let Err(error) = stored {
            self.not_stored = Some(error);
            return Err(Error::refused("a chunk could not be stored"));
        }
        Ok(())
    }

    fn store(&mut self, ended: bool) -> Result<()> {
        let Some(cutter) = &self.cutter else { return Ok(()) };
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut start = 0usize;
        while let Some(rest) = self.buffer.get(start..).filter(|rest| !rest.is_empty()) {
            if !ended && rest.len() < cutter.reach() {
                break;
            }
            let length = cutter.cut(rest, self.cut_bytes).max(1);
            let (piece, _) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            start = start.saturating_add(piece.len());
            self.cut_bytes = self.cut_bytes.saturating_add(piece.len() as u64);
            pieces.push(piece);
        }
        let sink = self.sink;
        let stored: Vec<(Id, u64)> = pieces
            .par_iter()
            .map(|piece| Ok((sink.store(BlobKind::Chunk, piece)?, piece.len() as u64)))
            .collect::<Result<_>>()?;
        self.chunks.extend(stored);
        self.buffer.drain(..start);
        Ok(())
    }

    fn check_length(&self) -> Result<()> {
        let holes = self.node.holes.iter().flatten();
        let holes = holes.fold(0u64, |sum, hole| sum.saturating_add(hole.length));
        if self.read_bytes.saturating_add(holes) == self.node.size { Ok(()) } else { Err(not_as_long()) }
    }
}

/// How a file is cut: a database by page, as it was; else by content. Nothing says which profile cut a file, but the
/// length of its first chunk tells, where there is another behind it. What was a stream has no inode.
fn cutter<'a>(recutter: &'a Recutter<'_>, node: &Node, profile: Profile, first: &[(Id, u64)]) -> Cutter<'a> {
    if let Some(database) = &node.database {
        let bytes = u64::from(database.page_size).saturating_mul(u64::from(database.run_pages));
        if bytes > 0 && bytes <= crate::chunker::page::RUN_MAX_BYTES {
            return Cutter::Runs(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
    }
    let is_dump = match (profile, first) {
        (Profile::File, _) => false,
        (Profile::Dump, _) => true,
        (Profile::AsItWas, [(_, length), _, ..]) => *length <= recutter.dump_maximum,
        (Profile::AsItWas, _) => node.inode == 0,
    };
    if is_dump { Cutter::Dump(&recutter.dump) } else { Cutter::Gear(&recutter.file) }
}

fn not_as_long() -> Error {
    Error::corrupt("its chunks are not as long as the file")
}
