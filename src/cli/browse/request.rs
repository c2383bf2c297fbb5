//! What the screen asks of the thread that reads the repository, and what that answers.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::format::node::Node;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::operation::browse::{Found, Page, Summed};
use crate::operation::restore::Summary;
use crate::operation::versions::Versions;
use crate::report::Finding;
use crate::repository::snapshot::Snapshot;

/// Something to be read, or to be brought back.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// All snapshots that the filter lets through.
    Snapshots,
    /// The entries of a folder, page by page.
    Folder { snapshot: Arc<Snapshot>, place: Vec<u8> },
    /// What lies below the folders of a folder in all.
    Sizes { snapshot: Arc<Snapshot>, place: Vec<u8> },
    /// The beginning of a file.
    Preview { snapshot: Arc<Snapshot>, place: Vec<u8> },
    /// The states of a path in these snapshots, oldest first.
    Versions { snapshots: Vec<Arc<Snapshot>>, place: Vec<u8> },
    /// Places of a snapshot, into a new or empty folder.
    Restore { snapshot: Arc<Snapshot>, places: Vec<Vec<u8>>, folder: PathBuf },
    /// One file, under a name that is free.
    Save { snapshot: Arc<Snapshot>, place: Vec<u8>, file: PathBuf },
}

/// A request, its number, and the wish that it stop.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) interrupt: Interrupt,
    pub(super) request: Request,
}

/// A snapshot and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) snapshot: Arc<Snapshot>,
    /// Whether its checks passed, in a few words.
    pub(super) state: String,
}

/// The snapshots to choose from.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    /// Oldest first.
    pub(super) known: Vec<Known>,
    /// How many others the filter keeps back.
    pub(super) others: usize,
    /// Those that cannot be read, and why.
    pub(super) damaged: Vec<(Id, String)>,
}

/// Why something was not done.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) text: String,
    pub(super) next_step: Option<String>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), text: error.chain(), next_step: error.next_step().map(str::to_owned) }
    }
}

/// What came of a request; only the last of these ends it.
#[derive(Debug)]
pub(super) enum Answer {
    /// Some entries; more follows.
    Page(Page),
    /// The folder is read.
    Listed(Found),
    /// Sums of some folders; more follows.
    Sums(Vec<(Vec<u8>, u64)>),
    /// How far the sums are; more follows.
    Counted(Summed),
    /// All is summed.
    Summed(Summed),
    Snapshots(Choice),
    Preview(Box<Node>, Vec<u8>),
    Versions(Versions),
    Restored(Summary),
    /// The bytes of a file that was saved.
    Saved(u64),
    Failed(Failure),
}

/// An answer, and what was found on the way to it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) number: u64,
    pub(super) answer: Answer,
    pub(super) findings: Vec<Finding>,
}
