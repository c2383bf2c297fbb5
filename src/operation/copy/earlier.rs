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
use crate::repository::snapshot::{Snapshot, Snapshots};
use crate::repository::tree::{Root, TreeReader};

/// What a snapshot of the destination says that it was made from, where it is believed.
fn made_from<'s>(destination: &Repository, snapshot: &'s Snapshot) -> Option<&'s Original> {
    let believed = snapshot.writer == destination.own_writer() || snapshot.writer_role >= Role::Maintain;
    snapshot.manifest.original.as_ref().filter(|_| believed)
}

/// The backups that the destination has already.
pub(super) struct Present {
    /// The snapshots of the source that its copies were made from.
    copied: HashSet<Id>,
    /// Of each backup the trees in the source that its copies were made from.
    trees: HashSet<(Id, Root)>,
    /// Of each backup what its other snapshots hold, as far as two repositories can be compared.
    held: HashSet<(Id, Held)>,
    /// Of each backup what was taken out of it in the destination, and the snapshot that is left of it there.
    taken_out: HashMap<Id, Vec<(HashSet<String>, Id)>>,
}

/// What a snapshot of the source is to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is not there.
    Absent,
    /// It is there.
    Whole,
    /// This is there: something was taken out of it there, and is not to come back.
    TakenOut(Id),
}

/// How much a snapshot holds, and what was left out of it. Trees of two repositories have nothing in common that could be
/// compared, but whatever takes something out of one changes this.
#[derive(PartialEq, Eq, Hash)]
struct Held {
    files: u64,
    folders: u64,
    others: u64,
    bytes: u64,
    problems: u64,
    excludes: Vec<String>,
}

impl Held {
    fn by(snapshot: &Snapshot) -> Self {
        let counts = &snapshot.manifest.statistics;
        let sum = |parts: [u64; 3]| parts.into_iter().fold(0, u64::saturating_add);
        Self {
            files: sum([counts.files_new, counts.files_changed, counts.files_unmodified]),
            folders: sum([counts.directories_new, counts.directories_changed, counts.directories_unmodified]),
            others: counts.others,
            bytes: counts.bytes_processed,
            problems: counts.problems,
            excludes: snapshot.manifest.excludes.clone(),
        }
    }
}

impl Present {
    /// `sources` are the snapshots of the source, forgotten ones included: what is known there of a copy's original tells
    /// for certain what the copy holds.
    pub(super) fn new(destination: &Repository, snapshots: &[Snapshot], sources: &Snapshots) -> Self {
        let known = sources.snapshots.iter().chain(&sources.forgotten);
        let roots: HashMap<Id, Root> = known.map(|source| (source.id, source.root())).collect();
        let mut present = Self {
            copied: HashSet::new(),
            trees: HashSet::new(),
            held: HashSet::new(),
            taken_out: HashMap::new(),
        };
        let in_source: HashSet<(Id, &[String])> = sources
            .snapshots
            .iter()
            .chain(&sources.forgotten)
            .map(|source| (source.origin().snapshot, source.manifest.excludes.as_slice()))
            .collect();
        for snapshot in snapshots {
            let original = made_from(destination, snapshot);
            let backup = original.map_or(snapshot.id, |original| original.snapshot);
            let copied = original.filter(|original| original.change == Change::Copied);
            let root = copied.and_then(|original| roots.get(&original.made_from));
            present.copied.extend(copied.map(|original| original.made_from));
            let excludes = &snapshot.manifest.excludes;
            let is_taken_out = original.is_some_and(|original| match original.change {
                Change::Rewritten => true,
                // Made from one that was rewritten, unless what it leaves out was left out in the source.
                Change::Tagged | Change::Unforgotten => !in_source.contains(&(backup, excludes.as_slice())),
                Change::Repaired | Change::Copied => false,
            });
            if is_taken_out {
                let left_out = (excludes.iter().cloned().collect(), snapshot.id);
                present.taken_out.entry(backup).or_default().push(left_out);
            }
            match root {
                Some(root) => present.trees.insert((backup, *root)),
                None => present.held.insert((backup, Held::by(snapshot))),
            };
        }
        present
    }

    /// Whether a snapshot need not be copied: it was, or one that stands for the same backup and holds the same, or one
    /// out of which somebody took something in the destination.
    pub(super) fn of(&self, snapshot: &Snapshot) -> Presence {
        let backup = snapshot.origin().snapshot;
        let whole = self.copied.contains(&snapshot.id)
            || self.trees.contains(&(backup, snapshot.root()))
            || self.held.contains(&(backup, Held::by(snapshot)));
        if whole {
            return Presence::Whole;
        }
        let excludes = &snapshot.manifest.excludes;
        let taken_out = self.taken_out.get(&backup).map(Vec::as_slice).unwrap_or_default();
        let found =
            taken_out.iter().find(|(left_out, _)| excludes.iter().all(|exclude| left_out.contains(exclude)));
        found.map_or(Presence::Absent, |(_, id)| Presence::TakenOut(*id))
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
