//! Reading ahead: the tree in order, in windows of files whose chunks are read together.
//!
//! Memory holds two windows, one that is written and one that is read. Invariants: a file that fits into a window lies in one
//! whole, so that its damage is known before a byte of it is written. A file whose chunks no pack holds is known to be lost
//! before it starts, whatever its size.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::node::{Content, Node, NodeKind};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::repository::content::visit_chunks;
use crate::repository::index::Index;
use crate::repository::reader::BlobReader;
use crate::repository::tree::TreeReader;

use super::contents::longer;

/// Bytes of chunks in a window.
const WINDOW: u64 = 32 << 20;
/// What an entry weighs in a window beside its chunks and its attributes.
const ENTRY_WEIGHT: u64 = 1 << 10;
/// How often the index may change while one file is looked up.
const LOOKUPS_MAX: usize = 10;

/// A thing that starts in a window.
pub(super) struct Start {
    pub(super) path: Vec<u8>,
    pub(super) node: Node,
    /// An earlier path that is the same file.
    pub(super) link: Option<Vec<u8>>,
    /// Why it cannot be had, where that is known already.
    pub(super) lost: Option<Error>,
}

/// A thing, or a part of a file that is longer than a window.
pub(super) struct Step {
    /// What starts here; nothing where a file goes on.
    pub(super) start: Option<Start>,
    /// Its chunks, by number in the window's blobs.
    pub(super) chunks: Vec<u32>,
    /// Whether the file ends here.
    pub(super) ends: bool,
}

/// Chunks by number, or why they cannot be had.
pub(super) type Blobs = HashMap<u32, Result<Vec<u8>>>;

/// Things in the order of the tree, and the chunks that they need.
pub(super) struct Window {
    pub(super) steps: Vec<Step>,
    pub(super) blobs: Blobs,
}

/// Walks a tree and hands windows over.
pub(super) struct Ahead<'a> {
    reader: &'a BlobReader<'a>,
    index: Arc<Index>,
    interrupt: &'a Interrupt,
    /// Whether the second name of a file is a link to the first.
    links: bool,
    names: HashMap<(u64, u64, NodeKind), Vec<u8>>,
    steps: Vec<Step>,
    weight: u64,
    windows: SyncSender<Result<Window>>,
}

impl<'a> Ahead<'a> {
    pub(super) fn new(
        reader: &'a BlobReader<'a>,
        interrupt: &'a Interrupt,
        links: bool,
        windows: SyncSender<Result<Window>>,
    ) -> Result<Self> {
        let (index, names) = (reader.index()?, HashMap::new());
        Ok(Self { reader, index, interrupt, links, names, steps: Vec::new(), weight: 0, windows })
    }

    /// Walks to the end, to an error, or until nobody takes windows any more.
    pub(super) fn run(mut self, mut tree: TreeReader<'_>) {
        if let Err(Some(error)) = self.walk(&mut tree) {
            // Whoever takes windows knows why it went away.
            self.windows.send(Err(error)).ok();
        }
    }

    fn walk(&mut self, tree: &mut TreeReader<'_>) -> Result<(), Option<Error>> {
        loop {
            let entry = tree.next_entry();
            if self.interrupt.requested() {
                return Err(self.interrupt.check().err());
            }
            let Some(entry) = entry? else { break };
            self.add(entry.path, entry.node)?;
        }
        self.hand_over()
    }

    fn add(&mut self, path: Vec<u8>, mut node: Node) -> Result<(), Option<Error>> {
        let identity = (node.device, node.inode, node.kind);
        if self.links && node.links > 1 && node.kind != NodeKind::Directory {
            if let Some(first) = self.names.get(&identity) {
                let start = Start { path, node, link: Some(first.clone()), lost: None };
                self.enter(Step { start: Some(start), chunks: Vec::new(), ends: true });
                return Ok(());
            }
            self.names.insert(identity, path.clone());
        }
        let planned = if node.kind == NodeKind::File { self.plan(&node) } else { Ok(VecDeque::new()) };
        node.content = None;
        let (mut chunks, lost) = match planned {
            Ok(chunks) => (chunks, None),
            Err(error) if stops(&error) => return Err(Some(error)),
            Err(error) => (VecDeque::new(), Some(error)),
        };
        let bytes = chunks.iter().fold(0u64, |sum, (_, length)| sum.saturating_add(u64::from(*length)));
        if self.weight.saturating_add(bytes) > WINDOW {
            self.hand_over()?;
        }
        let mut start = Some(Start { path, node, link: None, lost });
        loop {
            let mut taken = Vec::new();
            while self.weight < WINDOW
                && let Some((number, length)) = chunks.pop_front()
            {
                self.weight = self.weight.saturating_add(u64::from(length));
                taken.push(number);
            }
            let ends = chunks.is_empty();
            self.enter(Step { start: start.take(), chunks: taken, ends });
            if self.weight >= WINDOW {
                self.hand_over()?;
            }
            if ends {
                return Ok(());
            }
        }
    }

    fn enter(&mut self, step: Step) {
        let attributes = step.start.iter().flat_map(|start| start.node.attributes.iter().flatten());
        let bytes = attributes.map(|attribute| attribute.name.len().saturating_add(attribute.value.len()));
        let path = step.start.as_ref().map_or(0, |start| start.path.len());
        self.weight = bytes
            .chain([path])
            .fold(self.weight.saturating_add(ENTRY_WEIGHT), |sum, bytes| sum.saturating_add(bytes as u64));
        self.steps.push(step);
    }

    /// Reads the window's chunks, and waits until somebody takes it.
    fn hand_over(&mut self) -> Result<(), Option<Error>> {
        self.weight = 0;
        let steps = std::mem::take(&mut self.steps);
        if steps.is_empty() {
            return Ok(());
        }
        let numbers = steps.iter().flat_map(|step| step.chunks.iter().copied()).collect();
        let blobs = self.reader.read_many(&self.index, numbers)?.into_iter().collect();
        // Nobody takes windows any more: whoever did knows why.
        self.windows.send(Ok(Window { steps, blobs })).map_err(|_| None)
    }

    /// Looks up a file's chunks, in a newer index where this one does not know them.
    fn plan(&mut self, node: &Node) -> Result<VecDeque<(u32, u32)>> {
        for _ in 0..LOOKUPS_MAX {
            let mut unknown = None;
            let planned = look_up(self.reader, &self.index, node, &mut unknown);
            let Some(id) = unknown else { return planned };
            // The reader reads the index afresh before it calls a chunk lost.
            self.reader.with_blob(BlobKind::Chunk, &id, |_| Ok(()))?;
            let fresh = self.reader.index()?;
            if Arc::ptr_eq(&fresh, &self.index) {
                return planned;
            }
            // What waits is numbered by the old one.
            self.hand_over()
                .map_err(|error| error.unwrap_or_else(|| Error::refused("nobody takes the archive")))?;
            self.index = fresh;
        }
        Err(Error::new(ErrorKind::Busy, "the repository's index keeps changing").hint("try again in a while"))
    }
}

fn look_up(
    reader: &BlobReader<'_>,
    index: &Index,
    node: &Node,
    unknown: &mut Option<Id>,
) -> Result<VecDeque<(u32, u32)>> {
    let empty = Content::default();
    let mut chunks = VecDeque::new();
    let holes = node.holes.iter().flatten().fold(0u64, |sum, hole| sum.saturating_add(hole.length));
    let mut bytes = holes;
    visit_chunks(reader, node.content.as_ref().unwrap_or(&empty), &mut |_, _| Ok(()), &mut |id| {
        let Some((number, place)) = index.first(BlobKind::Chunk, id)? else {
            *unknown = Some(*id);
            return Err(Error::missing(format!(
                "the chunk {} lies in no pack that the index names",
                id.short()
            )));
        };
        chunks.push_back((number, place.plain_length));
        bytes = bytes.saturating_add(u64::from(place.plain_length));
        // Not only at the end: a hostile list can go on for billions of chunks.
        if bytes > node.size { Err(longer()) } else { Ok(u64::from(place.plain_length)) }
    })?;
    if bytes == node.size { Ok(chunks) } else { Err(longer()) }
}

/// Whether an error is no fault of the one file: where the store cannot be had, another snapshot is no better.
pub(super) fn stops(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing | ErrorKind::Unsupported)
}
