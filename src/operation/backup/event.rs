//! What the scanning thread tells the storing thread, in the order of paths.

use std::fs::File;

use crate::format::node::{DatabaseState, Hole, Node};
use crate::source::files::Entry;

/// How many bytes of content a batch gathers before it is handed over.
pub(super) const BATCH_BYTES: usize = 8 << 20;
/// How many events a batch gathers at most: each may hold an open file.
pub(super) const BATCH_EVENTS: usize = 256;

/// Where a node stands beside the previous snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It was not there.
    New,
    /// It was there and is different, or was read again to see.
    Compare,
    /// It is as it was.
    Unmodified,
}

/// One step on the way to a snapshot.
pub(super) enum Event {
    /// A node that is complete.
    Node { path: Vec<u8>, node: Node, change: Change },
    /// A small file, to be read whole.
    Small { entry: Entry, file: File, before: Option<Box<Node>> },
    /// Chunks of the file that the next [`Event::End`] completes: the cuts are ends of chunks in `bytes`.
    Data { bytes: Vec<u8>, cuts: Vec<usize> },
    /// A file whose chunks came before.
    End(Box<Finished>),
    /// The file whose chunks came before cannot be stored after all.
    Failed,
}

/// A large file or a database, read to its end.
pub(super) struct Finished {
    pub(super) path: Vec<u8>,
    pub(super) node: Node,
    pub(super) before: Option<Box<Node>>,
    pub(super) holes: Vec<Hole>,
    pub(super) database: Option<DatabaseState>,
}
