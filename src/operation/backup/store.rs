//! The storing side: hashes, compresses and seals the chunks of each batch in parallel, and builds the tree in
//! the order of paths.
//!
//! Invariant: nodes enter the tree in the order in which the scanner sent them, and only with all their chunks
//! stored or known.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::event::{Change, Event, Finished};
use super::finding::{changed, deleted, unreadable};
use super::held::Held;
use super::service::Proof;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::node::{Content, Hole, Node, NodeKind};
use crate::format::snapshot::Statistics;
use crate::id::Id;
use crate::report::{Finding, Reporter, printable};
use crate::repository::cached_tree::RecordingSink;
use crate::repository::content::ContentBuilder;
use crate::repository::tree::TreeBuilder;
use crate::repository::writer::BlobWriter;
use crate::source::files::{self, Entry, Stamp};

/// What the storing side works with.
pub(super) struct Store<'a> {
    pub(super) writer: &'a BlobWriter<'a>,
    pub(super) sink: &'a RecordingSink<'a>,
    pub(super) tree: TreeBuilder<'a>,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) problems: &'a AtomicU64,
    pub(super) proof: Option<Proof>,
    pub(super) statistics: Statistics,
    /// What there is of the large file at hand.
    pub(super) content: ContentBuilder,
    pub(super) held: Held,
    pub(super) buffers: Sender<Vec<u8>>,
}

enum Task<'e> {
    Chunk(&'e [u8]),
    Small(&'e Entry, &'e File),
}

enum Stored {
    Chunk(Id, u64),
    Small(Option<Box<Node>>),
}

thread_local! {
    static CONTENT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Store<'_> {
    /// Works off every batch.
    pub(super) fn run(&mut self, batches: &Receiver<Vec<Event>>) -> Result<()> {
        for batch in batches {
            self.batch(batch)?;
        }
        while let Some(waiting) = self.held.next_before(None)? {
            self.place(&waiting.path, &waiting.node, waiting.change)?;
        }
        Ok(())
    }

    fn batch(&mut self, batch: Vec<Event>) -> Result<()> {
        let mut tasks = Vec::new();
        for event in &batch {
            match event {
                Event::Data { bytes, cuts } => {
                    let mut start = 0;
                    for end in cuts {
                        tasks.push(Task::Chunk(bytes.get(start..*end).unwrap_or_default()));
                        start = *end;
                    }
                }
                Event::Small { entry, file, .. } => tasks.push(Task::Small(entry, file)),
                Event::Node { .. } | Event::End(_) | Event::Failed => {}
            }
        }
        let stored: Vec<Stored> = tasks.par_iter().map(|task| self.task(task)).collect::<Result<_>>()?;
        drop(tasks);
        let mut stored = stored.into_iter();
        for event in batch {
            self.event(event, &mut stored)?;
        }
        Ok(())
    }

    fn task(&self, task: &Task<'_>) -> Result<Stored> {
        match task {
            Task::Chunk(bytes) => {
                let id = self.writer.store_blob(BlobKind::Chunk, bytes)?;
                self.reporter.progress().add_bytes(bytes.len() as u64);
                Ok(Stored::Chunk(id, bytes.len() as u64))
            }
            Task::Small(entry, file) => self.small(entry, file).map(Stored::Small),
        }
    }

    /// Reads and stores a small file; nothing if it cannot be read.
    fn small(&self, entry: &Entry, file: &File) -> Result<Option<Box<Node>>> {
        CONTENT.with_borrow_mut(|content| {
            let mut node = entry.node.clone();
            if let Err(error) = read_small(file, node.size, content) {
                self.problem(unreadable(entry, &error));
                return Ok(None);
            }
            node.size = content.len() as u64;
            let holes = files::holes(file, node.size).unwrap_or_default();
            for hole in holes.iter().rev() {
                remove_hole(content, hole);
            }
            node.holes = if holes.is_empty() { None } else { Some(holes) };
            match entry.attributes() {
                Ok(attributes) => node.attributes = attributes,
                // Reported below, if only its name is gone.
                Err(error) if error.kind() == ErrorKind::Missing => {}
                Err(error) => {
                    let subject = printable(entry.host_path().as_os_str().as_encoded_bytes());
                    self.problem(Finding::problem(subject, format!("its attributes: {}", error.chain())));
                }
            }
            if files::stat_file(file).ok() != Some(Stamp::of(&entry.node)) {
                if files::deleted_unchanged(file, &entry.node) {
                    self.reporter.report(deleted(entry));
                } else {
                    self.problem(changed(entry));
                }
            }
            let ids = if content.is_empty() {
                Vec::new()
            } else {
                vec![self.writer.store_blob(BlobKind::Chunk, content)?]
            };
            node.content = Some(Content::Inline(ids));
            self.reporter.progress().add_bytes(node.size);
            Ok(Some(Box::new(node)))
        })
    }

    fn event(&mut self, event: Event, stored: &mut impl Iterator<Item = Stored>) -> Result<()> {
        match event {
            Event::Node { path, node, change } => self.push(&path, &node, change),
            Event::Small { entry, before, .. } => match stored.next() {
                Some(Stored::Small(Some(node))) => {
                    let change = compare(before.as_deref(), &node);
                    self.push(&entry.path, &node, change)
                }
                Some(Stored::Small(None)) => Ok(()),
                _ => Err(out_of_step()),
            },
            Event::Data { bytes, cuts } => {
                for _ in &cuts {
                    let Some(Stored::Chunk(id, length)) = stored.next() else { return Err(out_of_step()) };
                    self.content.push(self.sink, id, length)?;
                }
                // The scanner may be gone already; then nobody needs the buffer.
                self.buffers.send(bytes).or(Ok(()))
            }
            Event::End(finished) => self.finish_file(*finished),
            Event::Failed => {
                self.content = ContentBuilder::default();
                Ok(())
            }
        }
    }

    fn finish_file(&mut self, finished: Finished) -> Result<()> {
        let Finished { path, mut node, before, holes, database } = finished;
        node.content = Some(std::mem::take(&mut self.content).finish(self.sink)?);
        node.holes = if holes.is_empty() { None } else { Some(holes) };
        node.database = database;
        let change = compare(before.as_deref(), &node);
        self.push(&path, &node, change)
    }

    /// Puts a node into the tree, behind what waited for a place before it.
    fn push(&mut self, path: &[u8], node: &Node, change: Change) -> Result<()> {
        while let Some(waiting) = self.held.next_before(Some((path, node.kind)))? {
            self.place(&waiting.path, &waiting.node, waiting.change)?;
        }
        self.place(path, node, change)
    }

    fn place(&mut self, path: &[u8], node: &Node, change: Change) -> Result<()> {
        let counts = &mut self.statistics;
        let count = match (node.kind, change) {
            (NodeKind::File, Change::New) => &mut counts.files_new,
            (NodeKind::File, Change::Compare) => &mut counts.files_changed,
            (NodeKind::File, Change::Unmodified) => &mut counts.files_unmodified,
            (NodeKind::Directory, Change::New) => &mut counts.directories_new,
            (NodeKind::Directory, Change::Compare) => &mut counts.directories_changed,
            (NodeKind::Directory, Change::Unmodified) => &mut counts.directories_unmodified,
            _ => &mut counts.others,
        };
        *count = count.saturating_add(1);
        if node.kind == NodeKind::File {
            counts.bytes_processed = counts.bytes_processed.saturating_add(node.size);
            let progress = self.reporter.progress();
            progress.add_files(1);
            if change == Change::Unmodified {
                progress.add_bytes(node.size);
            }
            if let Some(proof) = &mut self.proof {
                proof.observe(path, node.size);
            }
        }
        self.tree.push(path, node)
    }

    fn problem(&self, finding: Finding) {
        self.problems.fetch_add(1, Ordering::Relaxed);
        self.reporter.report(finding);
    }
}

fn compare(before: Option<&Node>, node: &Node) -> Change {
    match before {
        None => Change::New,
        Some(before) if before == node => Change::Unmodified,
        Some(_) => Change::Compare,
    }
}

/// Reads at most `size` bytes: a file that grows meanwhile is stored as the walk saw it.
fn read_small(file: &File, size: u64, content: &mut Vec<u8>) -> Result<()> {
    content.resize(usize::try_from(size).unwrap_or(0), 0);
    let mut filled = 0;
    while let Some(room) = content.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read_at(room, filled as u64) {
            Ok(0) => break,
            Ok(read) => filled = filled.saturating_add(read),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("cannot be read", error)),
        }
    }
    content.truncate(filled);
    Ok(())
}

fn remove_hole(content: &mut Vec<u8>, hole: &Hole) {
    let start = usize::try_from(hole.offset).unwrap_or(usize::MAX).min(content.len());
    let length = usize::try_from(hole.length).unwrap_or(usize::MAX);
    content.drain(start..start.saturating_add(length).min(content.len()));
}

fn out_of_step() -> Error {
    Error::refused("the storing threads fell out of step")
}
