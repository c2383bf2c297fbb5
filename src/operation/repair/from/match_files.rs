//! Finding in a repository with other keys what is lost in this one: by the backup that a snapshot stands for, or by a
//! file's path, size and time.
//!
//! Invariant: a file found there is stored only once it is known to be cut into what the file here names.

use super::heal::Healer;
use crate::error::Result;
use crate::format::blob::BlobKind;
use crate::format::node::{Content, Node, NodeKind};
use crate::id::Id;
use crate::operation::backup::parent::Parent;
use crate::operation::copy::content::{Profile, Recutter, Trouble};
use crate::operation::copy::tree::{Reuse, TreeCopy};
use crate::report::{Finding, printable, report_all};
use crate::repository::keyring::Keyring;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::{TreeReader, lookup};
use crate::repository::writer::BlobSink;

/// Looks things up in the other repository.
pub(super) struct Matcher<'a> {
    healer: &'a Healer<'a>,
    recutter: Recutter<'a>,
    /// Its snapshots, newest first.
    theirs: Vec<Snapshot>,
}

/// Names blobs and stores none.
struct Names<'a>(&'a Keyring);

impl BlobSink for Names<'_> {
    fn store(&self, kind: BlobKind, plain: &[u8]) -> Result<Id> {
        Ok(self.0.blob_id(kind, plain))
    }
}

/// The snapshot that a backup itself wrote. Nobody is harmed by a wrong one: what is found is proved by its ids.
fn origin(snapshot: &Snapshot) -> Id {
    snapshot.manifest.original.as_ref().map_or(snapshot.id, |original| original.snapshot)
}

impl<'a> Matcher<'a> {
    pub(super) fn new(healer: &'a Healer<'a>) -> Result<Self> {
        let found = healer.foreign.repository().snapshots()?;
        let findings = found.damaged.iter().map(|(kind, id, error)| {
            let subject = format!("the other repository's {}/{}", kind.folder(), id.short());
            Finding::warning(subject, error.chain())
        });
        report_all(healer.reporter, "the other repository's snapshots and marks", findings);
        let mut theirs = found.snapshots;
        theirs.reverse();
        let recutter = Recutter::new(healer.foreign, healer.repository(), &healer.options.interrupt)?;
        Ok(Self { healer, recutter, theirs })
    }

    /// Heals a snapshot: file by file, or as a whole where its tree is damaged.
    pub(super) fn snapshot(&self, snapshot: &Snapshot) -> Result<()> {
        let mut tree = TreeReader::new(self.healer.local, snapshot.root());
        loop {
            self.healer.options.interrupt.check()?;
            let entry = match tree.next_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => {
                    self.healer.go_on_after(&error)?;
                    return self.rebuild(snapshot);
                }
            };
            if entry.node.kind == NodeKind::File && !self.healer.is_whole(&entry.node)? {
                self.file(&entry.path, &entry.node, snapshot)?;
            }
        }
        Ok(())
    }

    /// Looks for a file in the snapshots of the other repository, that of the same backup first.
    fn file(&self, place: &[u8], ours: &Node, snapshot: &Snapshot) -> Result<()> {
        let wanted = origin(snapshot);
        let (same, others): (Vec<&Snapshot>, Vec<&Snapshot>) =
            self.theirs.iter().partition(|theirs| origin(theirs) == wanted);
        let mut tried: Vec<Option<Content>> = Vec::new();
        for theirs in same.into_iter().chain(others) {
            self.healer.options.interrupt.check()?;
            let node = match lookup(self.healer.foreign, theirs.root(), place) {
                Ok(node) => node,
                Err(error) => {
                    self.healer.go_on_after(&error)?;
                    continue;
                }
            };
            let alike = |node: &Node| {
                node.kind == NodeKind::File && node.size == ours.size && node.mtime == ours.mtime
            };
            let Some(node) = node.filter(alike).filter(|node| !tried.contains(&node.content)) else {
                continue;
            };
            if self.take(ours, &node)? {
                return Ok(());
            }
            tried.push(node.content);
        }
        let subject = format!("snapshot {}: /{}", snapshot.id.short(), printable(place));
        self.healer
            .reporter
            .report(Finding::warning(subject, "is not in the other repository as it was here"));
        Ok(())
    }

    /// Stores what the file here lacks, if the one there is the same.
    fn take(&self, ours: &Node, theirs: &Node) -> Result<bool> {
        // Their contents, cut as they were here.
        let node = Node { content: theirs.content.clone(), holes: theirs.holes.clone(), ..ours.clone() };
        for profile in [Profile::AsItWas, Profile::File, Profile::Dump] {
            let named = self.recutter.recut_as(&node, &Names(self.healer.repository().keyring()), profile);
            let Some(content) = self.settle(named)? else { return Ok(false) };
            if ours.content.as_ref() == Some(&content) {
                let stored = self.recutter.recut_as(&node, self.healer, profile);
                return Ok(self.settle(stored)?.is_some());
            }
        }
        Ok(false)
    }

    /// Passes over what cannot be read there.
    fn settle<T>(&self, result: std::result::Result<T, Trouble>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Trouble::Source(error)) => self.healer.go_on_after(&error).map(|()| None),
            Err(Trouble::Store(error)) => {
                self.healer.go_on_after(&error)?;
                Err(error)
            }
        }
    }

    /// Builds the tree of a snapshot anew from what the other repository has of the same backup.
    fn rebuild(&self, snapshot: &Snapshot) -> Result<()> {
        let wanted = origin(snapshot);
        let healer = self.healer;
        for theirs in self.theirs.iter().filter(|theirs| origin(theirs) == wanted) {
            let mut ours =
                Ours { healer, tree: Parent::new(Some(TreeReader::new(healer.local, snapshot.root()))) };
            let mut tree = TreeCopy::new(&self.recutter, healer, healer.reporter, &healer.options.interrupt);
            let built = tree.run(healer.repository(), theirs.root(), &mut ours);
            if self.settle(built)? == Some(snapshot.root()) {
                return Ok(());
            }
        }
        let subject = format!("snapshot {}", snapshot.id.short());
        let cause = "its tree is damaged, and the other repository has no whole copy of this snapshot";
        healer.reporter.report(Finding::warning(subject, cause));
        Ok(())
    }
}

/// What is whole here of a snapshot that is built anew.
struct Ours<'a> {
    healer: &'a Healer<'a>,
    tree: Parent<'a>,
}

impl Reuse for Ours<'_> {
    fn content(&mut self, place: &[u8], node: &Node) -> Option<Content> {
        let ours = match self.tree.at(place) {
            Ok(ours) => ours?,
            Err(_) => {
                self.tree.give_up();
                return None;
            }
        };
        let same = ours.kind == NodeKind::File && ours.size == node.size && ours.mtime == node.mtime;
        let whole = same && self.healer.is_whole(&ours).unwrap_or(false);
        whole.then(|| ours.content.unwrap_or_default())
    }
}
