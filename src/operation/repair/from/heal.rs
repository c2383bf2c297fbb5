//! What is lost here and needed, and storing it.
//!
//! Invariant: what is stored has the id that a snapshot here needs. Trouble with the store ends the work; what the other
//! repository does not have, or has damaged, is passed over and named afterwards.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;

use super::Options;
use super::match_files::Matcher;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::list::{self, List};
use crate::format::node::{Content, Node, NodeKind};
use crate::id::Id;
use crate::limits;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::content::visit_chunks;
use crate::repository::reader::{BlobReader, BlobSource};
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::TreeReader;
use crate::repository::writer::{BlobSink, BlobWriter};

/// Stores what is lost.
pub(super) struct Healer<'a> {
    pub(super) local: &'a BlobReader<'a>,
    pub(super) foreign: &'a BlobReader<'a>,
    writer: &'a BlobWriter<'a>,
    /// Blobs that have a good place though the writer's index does not say so.
    stored: Mutex<HashSet<(BlobKind, Id)>>,
    found: Mutex<BTreeMap<&'static str, u64>>,
    not_stored: Mutex<Option<Error>>,
    pub(super) options: &'a Options,
    pub(super) reporter: &'a dyn Reporter,
}

impl<'a> Healer<'a> {
    pub(super) fn new(
        local: &'a BlobReader<'a>,
        foreign: &'a BlobReader<'a>,
        writer: &'a BlobWriter<'a>,
        saved: HashSet<(BlobKind, Id)>,
        options: &'a Options,
        reporter: &'a dyn Reporter,
    ) -> Result<Self> {
        for reader in [local, foreign] {
            reader.repository().keyring().require(crate::format::key_slot::Role::Full, "reading blobs")?;
        }
        let (stored, found, not_stored) = (Mutex::new(saved), Mutex::default(), Mutex::default());
        Ok(Self { local, foreign, writer, stored, found, not_stored, options, reporter })
    }

    /// How many blobs came from the other repository, by kind.
    pub(super) fn found(&self) -> BTreeMap<&'static str, u64> {
        self.found.lock().map(|found| found.clone()).unwrap_or_default()
    }

    /// Goes through every snapshot; `same` says whether the other repository names things as this one does.
    pub(super) fn run(&self, same: bool) -> Result<()> {
        let snapshots = self.repository().snapshots()?.snapshots;
        let matcher = if same { None } else { Some(Matcher::new(self)?) };
        let mut roots = HashSet::new();
        for snapshot in snapshots.iter().filter(|snapshot| roots.insert(snapshot.root().id)) {
            self.options.interrupt.check()?;
            match &matcher {
                None => self.fetch_lost(snapshot)?,
                Some(matcher) => matcher.snapshot(snapshot)?,
            }
        }
        Ok(())
    }

    pub(super) fn repository(&self) -> &'a Repository {
        self.local.repository()
    }

    /// Whether a blob has a good place.
    pub(super) fn has(&self, kind: BlobKind, id: &Id) -> Result<bool> {
        if self.writer.index().contains(kind, id)? {
            return Ok(true);
        }
        Ok(self.stored.lock().map_err(|_| failed())?.contains(&(kind, *id)))
    }

    /// Stores a blob that has no good place.
    fn store_lost(&self, kind: BlobKind, id: &Id, plain: &[u8]) -> Result<()> {
        let stored = self.writer.store_blob(kind, plain).and_then(|stored| {
            if stored == *id { Ok(()) } else { Err(Error::refused("a blob has another id here than there")) }
        });
        if let Err(error) = stored {
            if let Ok(mut slot) = self.not_stored.lock() {
                *slot = Some(error);
            }
            return Err(Error::refused("a blob could not be stored"));
        }
        if self.stored.lock().map_err(|_| failed())?.insert((kind, *id)) {
            let mut found = self.found.lock().map_err(|_| failed())?;
            let count = found.entry(kind.name()).or_default();
            *count = count.saturating_add(1);
        }
        Ok(())
    }

    /// Ends the work where an error is more than a loss.
    pub(super) fn go_on_after(&self, error: &Error) -> Result<()> {
        self.options.interrupt.check()?;
        if let Some(error) = self.not_stored.lock().map_err(|_| failed())?.take() {
            return Err(error);
        }
        match error.kind() {
            ErrorKind::Missing | ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Unread => Ok(()),
            // Of either: where both answer, the disk under one pack is to blame.
            ErrorKind::Io if self.repository().answers() && self.foreign.repository().answers() => Ok(()),
            kind => Err(Error::new(kind, error.chain())),
        }
    }

    /// Whether all that a file's content names has a good place.
    pub(super) fn is_whole(&self, node: &Node) -> Result<bool> {
        let empty = Content::default();
        let index = self.local.index()?;
        let whole = std::cell::Cell::new(true);
        let visited = visit_chunks(
            self.local,
            node.content.as_ref().unwrap_or(&empty),
            &mut |id, _| {
                whole.set(whole.get() && self.has(BlobKind::List, id)?);
                Ok(())
            },
            &mut |id| {
                whole.set(whole.get() && self.has(BlobKind::Chunk, id)?);
                let length = index.plain_length(BlobKind::Chunk, id)?.filter(|_| whole.get());
                length.map(u64::from).ok_or_else(|| Error::missing("a chunk is lost"))
            },
        );
        match visited {
            Ok(()) => Ok(whole.get()),
            Err(error) => self.go_on_after(&error).map(|()| false),
        }
    }

    /// Fetches what a snapshot lacks from a repository that names it alike.
    fn fetch_lost(&self, snapshot: &Snapshot) -> Result<()> {
        let mut tree = TreeReader::new(self, snapshot.root());
        loop {
            self.options.interrupt.check()?;
            match tree.next_entry() {
                Ok(None) => return Ok(()),
                Ok(Some(entry)) if entry.node.kind == NodeKind::File => self.fetch_content(&entry.node)?,
                Ok(Some(_)) => {}
                Err(error) => {
                    self.go_on_after(&error)?;
                    let subject = format!("snapshot {}", snapshot.id.short());
                    let cause = format!("is not whole in the other repository either: {}", error.chain());
                    self.reporter.report(Finding::warning(subject, cause));
                    return Ok(());
                }
            }
        }
    }

    /// Fetches what a file lacks. What the other repository lacks as well is passed over: the rest is worth having, for
    /// other files and for a repair from a third repository.
    fn fetch_content(&self, node: &Node) -> Result<()> {
        let (root, level) = match &node.content {
            None => return Ok(()),
            Some(Content::Inline(ids)) => return self.fetch_chunks(ids),
            Some(Content::List { root, level }) => (*root, *level),
        };
        // Not with the walk that reads files: it ends where a length is not known. Levels fall with each step.
        let mut waiting = vec![(root, level)];
        let mut visited = 0usize;
        while let Some((id, level)) = waiting.pop() {
            visited = visited.saturating_add(1);
            if level > limits::LEVEL_MAX || visited > limits::LISTS_MAX {
                return Ok(());
            }
            let decoded = self.fetch(BlobKind::List, &id).and_then(|plain| list::decode(&plain, level));
            match (decoded, level.checked_sub(1)) {
                (Ok(List::Chunks(ids)), _) => self.fetch_chunks(&ids)?,
                (Ok(List::Lists { entries, .. }), Some(below)) => {
                    waiting.extend(entries.iter().rev().map(|entry| (entry.id, below)));
                }
                (Ok(List::Lists { .. }), None) => {}
                (Err(error), _) => self.go_on_after(&error)?,
            }
        }
        Ok(())
    }

    fn fetch_chunks(&self, ids: &[Id]) -> Result<()> {
        for id in ids {
            self.options.interrupt.check()?;
            if self.has(BlobKind::Chunk, id)? {
                continue;
            }
            let store = |plain: &[u8]| self.store_lost(BlobKind::Chunk, id, plain);
            if let Err(error) = self.foreign.with_blob(BlobKind::Chunk, id, store) {
                self.go_on_after(&error)?;
            }
        }
        Ok(())
    }
}

/// Blobs of this repository, or else of the one that names them alike.
impl BlobSource for Healer<'_> {
    fn fetch(&self, kind: BlobKind, id: &Id) -> Result<Vec<u8>> {
        if self.has(kind, id)?
            && let Ok(plain) = self.local.fetch(kind, id)
        {
            return Ok(plain);
        }
        match self.foreign.fetch(kind, id) {
            Ok(plain) => self.store_lost(kind, id, &plain).map(|()| plain),
            // A damaged pack that could not be repaired may still give it.
            Err(error) => self.local.fetch(kind, id).map_err(|_| error),
        }
    }
}

/// Takes blobs by their plaintext, and stores those that are lost.
impl BlobSink for Healer<'_> {
    fn store(&self, kind: BlobKind, plain: &[u8]) -> Result<Id> {
        let id = self.repository().keyring().blob_id(kind, plain);
        if !self.has(kind, &id)? {
            self.store_lost(kind, &id, plain)?;
        }
        Ok(id)
    }
}

fn failed() -> Error {
    Error::refused("another thread failed while it stored blobs")
}
