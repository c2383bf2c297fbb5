//! The tree of a snapshot on its way to another repository: the same nodes in the same order, with contents named as
//! that one names them.
//!
//! Invariant: a node enters the new tree with all its chunks stored or known, or not at all.

use std::collections::HashMap;
use std::sync::Mutex;

use rayon::prelude::{IntoParallelRefMutIterator, ParallelIterator};

use super::content::{Recutter, Trouble};
use crate::crypto::derive;
use crate::error::Error;
use crate::format::node::{Content, Node, NodeKind};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::{Reporter, printable};
use crate::repository::Repository;
use crate::repository::tree::{Root, TreeBuilder, TreeReader};
use crate::repository::writer::BlobSink;

/// Bytes of files after which a batch is worked off.
const BATCH_BYTES: u64 = 32 << 20;
/// Nodes after which it is.
const BATCH_NODES: usize = 1024;
/// Contents that are remembered, so that a file of many names is read once.
const KNOWN_MAX: usize = 1 << 16;

/// Tells what is stored already.
pub(in crate::operation) trait Reuse {
    /// The contents of the file at a place, where all of them are stored; places come in rising order.
    fn content(&mut self, place: &[u8], node: &Node) -> Option<Content>;
}

/// Nothing is known to be stored.
pub(in crate::operation) struct Afresh;

impl Reuse for Afresh {
    fn content(&mut self, _: &[u8], _: &Node) -> Option<Content> {
        None
    }
}

/// Builds the tree of a snapshot in another repository.
pub(in crate::operation) struct TreeCopy<'a> {
    recutter: &'a Recutter<'a>,
    sink: &'a dyn BlobSink,
    reporter: &'a dyn Reporter,
    interrupt: &'a Interrupt,
    known: Mutex<HashMap<Id, Content>>,
    /// Bytes of files whose contents were read.
    pub(in crate::operation) read_bytes: u64,
}

struct Item {
    place: Vec<u8>,
    node: Node,
    wanted: bool,
}

impl<'a> TreeCopy<'a> {
    pub(in crate::operation) fn new(
        recutter: &'a Recutter<'a>,
        sink: &'a dyn BlobSink,
        reporter: &'a dyn Reporter,
        interrupt: &'a Interrupt,
    ) -> Self {
        Self { recutter, sink, reporter, interrupt, known: Mutex::default(), read_bytes: 0 }
    }

    /// Builds it and gives its top.
    pub(in crate::operation) fn run(
        &mut self,
        destination: &Repository,
        root: Root,
        reuse: &mut dyn Reuse,
    ) -> Result<Root, Trouble> {
        let mut reader = TreeReader::new(self.recutter.source(), root);
        let mut tree = TreeBuilder::new(self.sink, destination.keyring());
        let (mut batch, mut bytes) = (Vec::new(), 0u64);
        loop {
            self.interrupt.check().map_err(Trouble::Store)?;
            let entry = reader.next_entry().map_err(Trouble::Source)?;
            let ended = entry.is_none();
            if let Some(entry) = entry {
                let item = self.item(entry.path, entry.node, reuse);
                bytes = bytes.saturating_add(if item.wanted { item.node.size } else { 0 });
                batch.push(item);
            }
            if ended || bytes >= BATCH_BYTES || batch.len() >= BATCH_NODES {
                self.read_bytes = self.read_bytes.saturating_add(bytes);
                self.work_off(std::mem::take(&mut batch), &mut tree)?;
                bytes = 0;
            }
            if ended {
                return tree.finish().map_err(Trouble::Store);
            }
        }
    }

    fn item(&self, place: Vec<u8>, mut node: Node, reuse: &mut dyn Reuse) -> Item {
        if node.kind != NodeKind::File {
            return Item { place, node, wanted: false };
        }
        if let Some(content) = reuse.content(&place, &node) {
            node.content = Some(content);
            self.reporter.progress().add_bytes(node.size);
            return Item { place, node, wanted: false };
        }
        Item { place, node, wanted: true }
    }

    fn work_off(&self, mut batch: Vec<Item>, tree: &mut TreeBuilder<'_>) -> Result<(), Trouble> {
        batch.par_iter_mut().filter(|item| item.wanted).try_for_each(|item| {
            let content = self.content(&item.node).map_err(|trouble| match trouble {
                Trouble::Source(error) => {
                    Trouble::Source(error.context(format!("/{} cannot be read", printable(&item.place))))
                }
                trouble @ Trouble::Store(_) => trouble,
            })?;
            item.node.content = Some(content);
            self.reporter.progress().add_bytes(item.node.size);
            Ok(())
        })?;
        for item in &batch {
            if item.node.kind == NodeKind::File {
                self.reporter.progress().add_files(1);
            }
            tree.push(&item.place, &item.node).map_err(Trouble::Store)?;
        }
        Ok(())
    }

    /// Stores a file's contents, unless another with the same ones came before it.
    fn content(&self, node: &Node) -> Result<Content, Trouble> {
        let lock = || self.known.lock().map_err(|_| Trouble::Store(failed()));
        let key = key(node);
        if let Some(content) = lock()?.get(&key) {
            return Ok(content.clone());
        }
        let content = self.recutter.recut(node, self.sink)?;
        let mut known = lock()?;
        if known.len() < KNOWN_MAX {
            known.insert(key, content.clone());
        }
        Ok(content)
    }
}

/// What contents are remembered by: what they are, and how they are cut.
fn key(node: &Node) -> Id {
    let mut bytes = Vec::new();
    match &node.content {
        Some(Content::Inline(ids)) => ids.iter().for_each(|id| bytes.extend_from_slice(id.as_bytes())),
        Some(Content::List { root, level }) => {
            bytes.push(*level);
            bytes.extend_from_slice(root.as_bytes());
        }
        None => {}
    }
    let cut = node.database.as_ref().map_or((0, 0), |state| (state.page_size, state.run_pages));
    for number in [u64::from(cut.0), u64::from(cut.1), node.size, u64::from(node.inode == 0)] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    derive::hash(&bytes)
}

fn failed() -> Error {
    Error::refused("another thread failed while it copied a file")
}
