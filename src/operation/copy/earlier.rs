//! What was copied before: which snapshots need not be copied, and which of a snapshot's files are stored already.
//!
//! Invariants: only a copy that this very key wrote, or one of role maintain or full, is believed about either: another
//! host's key must not be able to make a copy skip a snapshot or a file. A file counts as stored only if every chunk of
//! it still is.

use std::collections::{HashMap, HashSet};

use super::tree::Reuse;
use crate::error::Error;
use crate::format::key_slot::Role;
use crate::format::node::{Content, Node, NodeKind};
use crate::format::snapshot::{Change, Original};
use crate::id::Id;
use crate::operation::backup::parent::Parent;
use crate::operation::backup::scan::still_stored;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::cached_tree::TreeRecorder;
use crate::repository::index::Index;
use crate::repository::reader::BlobSource;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::TreeReader;

/// What a snapshot of the destination says that it was made from, where it is believed.
fn made_from<'s>(destination: &Repository, snapshot: &'s Snapshot) -> Option<&'s Original> {
    let believed = snapshot.writer == destination.own_writer() || snapshot.writer_role >= Role::Maintain;
    snapshot.manifest.original.as_ref().filter(|_| believed)
}

/// The backups that the destination has already.
pub(super) struct Present {
    /// The snapshots of the source that its copies were made from.
    copied: HashSet<Id>,
    /// The snapshots that its backups themselves wrote.
    origins: HashSet<Id>,
}

impl Present {
    pub(super) fn new(destination: &Repository, snapshots: &[Snapshot]) -> Self {
        let (mut copied, mut origins) = (HashSet::new(), HashSet::new());
        for snapshot in snapshots {
            let original = made_from(destination, snapshot);
            copied.extend(
                original
                    .filter(|original| original.change == Change::Copied)
                    .map(|original| original.made_from),
            );
            origins.insert(original.map_or(snapshot.id, |original| original.snapshot));
        }
        Self { copied, origins }
    }

    /// Whether a snapshot need not be copied. One from which something was taken out is another than the backup that it
    /// goes back to.
    pub(super) fn has(&self, snapshot: &Snapshot) -> bool {
        let original = snapshot.manifest.original.as_ref();
        let altered =
            original.is_some_and(|original| matches!(original.change, Change::Rewritten | Change::Repaired));
        self.copied.contains(&snapshot.id) || !altered && self.origins.contains(&snapshot.origin().snapshot)
    }
}

/// Copies of earlier snapshots of the same host and paths, newest first, each with what it was made from.
pub(super) fn candidates<'s>(
    destination: &Repository,
    copies: &'s [Snapshot],
    sources: &'s [Snapshot],
    snapshot: &Snapshot,
) -> Vec<(&'s Snapshot, &'s Snapshot)> {
    let by_id: HashMap<Id, &Snapshot> = sources.iter().map(|source| (source.id, source)).collect();
    let manifest = &snapshot.manifest;
    let mut found: Vec<(&Snapshot, &Snapshot)> = copies
        .iter()
        .filter(|copy| copy.manifest.host == manifest.host && copy.manifest.paths == manifest.paths)
        .filter_map(|copy| {
            let original = made_from(destination, copy)?;
            let copied = original.change == Change::Copied;
            copied.then(|| by_id.get(&original.made_from).map(|source| (copy, *source))).flatten()
        })
        .collect();
    found.reverse();
    found
}

/// Walks an earlier snapshot and its copy in step with the one being copied.
pub(super) struct Earlier<'a> {
    before: Parent<'a>,
    copy: Parent<'a>,
    blobs: &'a dyn BlobSource,
    index: &'a Index,
    recorder: Option<&'a TreeRecorder<'a>>,
    reporter: &'a dyn Reporter,
}

impl<'a> Earlier<'a> {
    /// `source` and `blobs` give the trees of the earlier snapshot and of its copy; `index` says what counts.
    pub(super) fn new(
        source: &'a dyn BlobSource,
        blobs: &'a dyn BlobSource,
        (copy, before): (&Snapshot, &Snapshot),
        index: &'a Index,
        recorder: Option<&'a TreeRecorder<'a>>,
        reporter: &'a dyn Reporter,
    ) -> Self {
        Self {
            before: Parent::new(Some(TreeReader::new(source, before.root()))),
            copy: Parent::new(Some(TreeReader::new(blobs, copy.root()))),
            blobs,
            index,
            recorder,
            reporter,
        }
    }

    fn give_up(&mut self, error: &Error) {
        let cause = format!("cannot be compared with: {}; every file is read", error.chain());
        self.reporter.report(Finding::warning("an earlier copy", cause));
        self.before.give_up();
        self.copy.give_up();
    }
}

impl Reuse for Earlier<'_> {
    fn content(&mut self, place: &[u8], node: &Node) -> Option<Content> {
        let found = self.before.at(place).and_then(|before| Ok((before, self.copy.at(place)?)));
        let (before, copy) = match found {
            Ok((before, copy)) => (before?, copy?),
            Err(error) => {
                self.give_up(&error);
                return None;
            }
        };
        let is_file = before.kind == NodeKind::File && copy.kind == NodeKind::File;
        let same = is_file
            && before.content == node.content
            && before.size == node.size
            && copy.size == node.size
            && before.holes == node.holes
            && cut(&before) == cut(node)
            && cut(&copy) == cut(node);
        (same && still_stored(self.blobs, self.index, self.recorder, &copy))
            .then(|| copy.content.unwrap_or_default())
    }
}

/// How a database is cut.
fn cut(node: &Node) -> Option<(u32, u32)> {
    node.database.as_ref().map(|state| (state.page_size, state.run_pages))
}
