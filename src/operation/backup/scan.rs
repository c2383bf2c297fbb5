//! The scanning thread: walks the files beside the previous snapshot, decides what is unchanged, and reads and
//! cuts what is large.
//!
//! Invariants: a file counts as unchanged only if size, times and inode are as before, its times are not so
//! close to the previous scan that a later write could hide in them, and every chunk of it is still stored.
//! Trouble with a source is reported and never ends the backup; trouble with the store always does.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::Mutex;

use crossbeam_channel::Sender;

use super::database::{LazyScratch, starts_as_database};
use super::event::{BATCH_BYTES, BATCH_EVENTS, Change, Event, Finished};
use super::finding::{changed, deleted, unreadable, vanished};
use super::parent::Parent;
use super::read::{Cutter, Pool, ReadOutcome, read_chunks};
use super::vaultwarden::PreparedDatabase;
use crate::chunker::gear::GearChunker;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::node::{Content, Node, NodeKind, Timestamp};
use crate::format::path;
use crate::format::snapshot::DatabaseReport;
use crate::interrupt::Interrupt;
use crate::report::{Finding, Reporter, printable};
use crate::repository::cached_tree::TreeRecorder;
use crate::repository::content::visit_chunks;
use crate::repository::index::Index;
use crate::repository::reader::BlobSource;
use crate::source::files::{self, Entry, Excludes, Plan, Stamp};
use crate::source::sqlite;

/// Times this close to the start of a scan, or later, prove nothing: file systems keep times as coarse as
/// two seconds.
const DISTRUST_SECONDS: i64 = 2;

/// What the scanner works with.
pub(super) struct Scanner<'a> {
    pub(super) plan: &'a Plan,
    pub(super) interrupt: &'a Interrupt,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) index: &'a Index,
    pub(super) chunker: &'a GearChunker,
    pub(super) parent: Parent<'a>,
    pub(super) parent_source: Option<&'a dyn BlobSource>,
    /// When the previous snapshot's scan began.
    pub(super) parent_time: Option<Timestamp>,
    /// Pages in a run by place, from the previous snapshot's manifest.
    pub(super) run_pages: HashMap<Vec<u8>, u32>,
    /// What called itself a database and was none the last time: looked at again, for it must not pass for a
    /// good file because nobody touched it.
    pub(super) stored_as_found: HashSet<Vec<u8>>,
    pub(super) recorder: Option<&'a TreeRecorder<'a>>,
    pub(super) scratch: &'a LazyScratch,
    pub(super) sqlite: sqlite::Options,
    /// Whether databases are stored as the plain files they are.
    pub(super) databases_as_files: bool,
    /// Whether the previous snapshot took them so: then a file that did not change may be one all the same.
    pub(super) databases_were_files: bool,
    /// Databases that were taken before the walk, by place.
    pub(super) prepared: HashMap<Vec<u8>, PreparedDatabase>,
    pub(super) databases: &'a Mutex<Vec<DatabaseReport>>,
    pub(super) problems: &'a std::sync::atomic::AtomicU64,
    pub(super) pool: Pool,
    pub(super) batch: Vec<Event>,
    pub(super) batch_bytes: usize,
    pub(super) out: Sender<Vec<Event>>,
    /// Databases met in the folder at hand and in those above it, whose logs are left out.
    pub(super) taken: Vec<Vec<u8>>,
}

/// The receiving thread is gone; its own error tells why.
pub(super) fn hung_up() -> Error {
    Error::new(ErrorKind::Io, "the storing thread stopped")
}

impl Scanner<'_> {
    /// Walks and reads everything and hands over events until the end.
    pub(super) fn run(mut self, excludes: &Excludes) -> Result<()> {
        self.walk(excludes)?;
        self.hand_over()
    }

    fn walk(&mut self, excludes: &Excludes) -> Result<()> {
        let reporter = self.reporter;
        let summary = files::walk(self.plan, excludes, reporter, &mut |entry| self.visit(entry))?;
        self.problems.fetch_add(summary.problems, std::sync::atomic::Ordering::Relaxed);
        for place in self.prepared.keys() {
            // Excluded by a pattern, or gone since: either way the snapshot lacks what it is made for.
            let finding = Finding::problem(
                format!("/{}", printable(place)),
                "the database is not stored: it is excluded, or was moved away meanwhile",
            );
            self.problem(finding.with_hint("leave it out of --exclude, and back up again"));
        }
        Ok(())
    }

    pub(super) fn problem(&self, finding: Finding) {
        self.problems.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.reporter.report(finding);
    }

    fn visit(&mut self, entry: Entry) -> Result<()> {
        self.interrupt.check()?;
        let before = self.before(&entry.path);
        if entry.node.kind == NodeKind::File {
            self.visit_file(entry, before)
        } else {
            self.visit_other(entry, before.as_deref())
        }
    }

    /// What stood at this place in the previous snapshot; places come in rising order.
    pub(super) fn before(&mut self, place: &[u8]) -> Option<Box<Node>> {
        match self.parent.at(place) {
            Ok(before) => before.map(Box::new),
            Err(error) => {
                let cause = format!("cannot be compared with: {}; every file is read again", error.chain());
                self.reporter.report(Finding::warning("the previous snapshot", cause));
                self.parent.give_up();
                None
            }
        }
    }

    fn visit_other(&mut self, entry: Entry, before: Option<&Node>) -> Result<()> {
        let mut node = entry.node.clone();
        node.attributes = match before.filter(|before| self.same_stamp(before, &node)) {
            Some(before) => before.attributes.clone(),
            None => self.attributes(&entry),
        };
        let change = match before {
            None => Change::New,
            Some(before) if *before == node => Change::Unmodified,
            Some(_) => Change::Compare,
        };
        self.push(Event::Node { path: entry.path, node, change }, 0)
    }

    fn visit_file(&mut self, entry: Entry, before: Option<Box<Node>>) -> Result<()> {
        if self.is_log_of_taken(&entry.path) {
            return Ok(());
        }
        if self.prepared.contains_key(&entry.path) {
            return self.visit_database(entry, before);
        }
        let file_before = before.as_deref().filter(|before| before.kind == NodeKind::File);
        let unmodified = file_before.filter(|before| {
            before.database.is_none()
                && !self.stored_as_found.contains(&entry.path)
                && self.same_stamp(before, &entry.node)
                && self.still_stored(before)
        });
        let look_again = self.databases_were_files && !self.databases_as_files;
        if let Some(before) = unmodified.filter(|_| !look_again) {
            return self.push_unmodified(entry, before);
        }
        let file = match entry.open() {
            Ok(file) => file,
            Err(error) => {
                self.cannot_open(&entry, &error);
                return Ok(());
            }
        };
        let is_database =
            if self.databases_as_files { Ok(false) } else { starts_as_database(&file, entry.node.size) };
        match is_database {
            Ok(true) => {
                // SQLite's locks are the process's: an own handle closed later would drop them.
                drop(file);
                self.visit_database(entry, before)
            }
            Ok(false) => match unmodified {
                Some(before) => self.push_unmodified(entry, before),
                None => self.visit_content(entry, file, before),
            },
            Err(error) => {
                self.problem(unreadable(&entry, &error));
                Ok(())
            }
        }
    }

    pub(super) fn visit_content(
        &mut self,
        entry: Entry,
        file: File,
        before: Option<Box<Node>>,
    ) -> Result<()> {
        let small = self.chunker.sizes().minimum as u64;
        if entry.node.size <= small {
            let bytes = usize::try_from(entry.node.size).unwrap_or(0);
            return self.push(Event::Small { entry, file, before }, bytes);
        }
        self.read_large(&entry, &file, before)
    }

    fn read_large(&mut self, entry: &Entry, file: &File, before: Option<Box<Node>>) -> Result<()> {
        let mut node = entry.node.clone();
        node.attributes = self.attributes(entry);
        let mut holes = match files::holes(file, node.size) {
            Ok(holes) => holes,
            Err(error) => {
                self.problem(unreadable(entry, &error));
                return Ok(());
            }
        };
        let chunker = self.chunker;
        let outcome = self.stream(file, node.size, &holes, &Cutter::Gear(chunker))?;
        match outcome {
            ReadOutcome::Unreadable(error) => {
                self.problem(unreadable(entry, &error));
                return self.push(Event::Failed, 0);
            }
            ReadOutcome::Short(length) => {
                node.size = length;
                holes.retain(|hole| hole.offset.saturating_add(hole.length) <= length);
            }
            ReadOutcome::Whole => {}
        }
        if files::stat_file(file).ok() != Some(Stamp::of(&entry.node)) {
            if files::deleted_unchanged(file, &entry.node) {
                self.reporter.report(deleted(entry));
            } else {
                self.problem(changed(entry));
            }
        }
        self.push(
            Event::End(Box::new(Finished { path: entry.path.clone(), node, before, holes, database: None })),
            0,
        )
    }

    /// Reads and cuts a stream into the batches.
    pub(super) fn stream(
        &mut self,
        file: &File,
        size: u64,
        holes: &[crate::format::node::Hole],
        cutter: &Cutter<'_>,
    ) -> Result<ReadOutcome> {
        let pool = std::mem::replace(&mut self.pool, Pool::new());
        let outcome = read_chunks(file, size, holes, cutter, &pool, &mut |bytes, cuts| {
            let length = cuts.last().copied().unwrap_or(0);
            self.push(Event::Data { bytes, cuts }, length)
        });
        self.pool = pool;
        outcome
    }

    fn push_unmodified(&mut self, entry: Entry, before: &Node) -> Result<()> {
        let mut node = entry.node;
        node.attributes.clone_from(&before.attributes);
        node.content.clone_from(&before.content);
        node.holes.clone_from(&before.holes);
        node.database.clone_from(&before.database);
        self.push(Event::Node { path: entry.path, node, change: Change::Unmodified }, 0)
    }

    /// Takes over the contents of a file or database that did not change.
    pub(super) fn push_as_before(&mut self, entry: &Entry, before: &Node) -> Result<()> {
        let mut node = entry.node.clone();
        node.size = before.size;
        node.attributes = if self.same_stamp(before, &entry.node) {
            before.attributes.clone()
        } else {
            self.attributes(entry)
        };
        node.content.clone_from(&before.content);
        node.holes.clone_from(&before.holes);
        node.database.clone_from(&before.database);
        self.push(Event::Node { path: entry.path.clone(), node, change: Change::Unmodified }, 0)
    }

    fn same_stamp(&self, before: &Node, now: &Node) -> bool {
        let equal = before.kind == now.kind
            && before.size == now.size
            && before.mtime == now.mtime
            && before.ctime == now.ctime
            && before.inode == now.inode;
        equal && self.trusted(now)
    }

    /// Whether a time stamp lies far enough before the previous scan to prove that nothing was written since.
    fn trusted(&self, now: &Node) -> bool {
        self.parent_time.is_some_and(|scan| {
            let limit = scan.seconds.saturating_sub(DISTRUST_SECONDS);
            now.mtime.seconds < limit && now.ctime.seconds < limit
        })
    }

    /// Whether every chunk of a file is still stored; notes its lists for the cache on the way.
    pub(super) fn still_stored(&self, before: &Node) -> bool {
        self.parent_source.is_some_and(|source| still_stored(source, self.index, self.recorder, before))
    }

    /// Extended attributes; trouble with them is a problem of the file, not its end.
    pub(super) fn attributes(&self, entry: &Entry) -> Option<Vec<crate::format::node::Attribute>> {
        match entry.attributes() {
            Ok(attributes) => attributes,
            Err(error) if error.kind() == ErrorKind::Missing => {
                self.reporter.report(deleted(entry));
                None
            }
            Err(error) => {
                let subject = printable(entry.host_path().as_os_str().as_encoded_bytes());
                self.problem(Finding::problem(subject, format!("its attributes: {}", error.chain())));
                None
            }
        }
    }

    fn cannot_open(&self, entry: &Entry, error: &Error) {
        if error.kind() == ErrorKind::Missing && self.plan.may_vanish(&entry.path) {
            self.reporter.report(vanished(entry));
        } else {
            self.problem(unreadable(entry, error));
        }
    }

    fn is_log_of_taken(&mut self, place: &[u8]) -> bool {
        let folder = path::parent(place).unwrap_or_default();
        // A folder named like the database and sorted before its log lies between them.
        self.taken.retain(|taken| path::is_below(folder, path::parent(taken).unwrap_or_default()));
        let Some(base) = sqlite::companion_base(path::name(place)) else { return false };
        self.taken
            .iter()
            .any(|taken| path::name(taken) == base && path::parent(taken).unwrap_or_default() == folder)
    }

    pub(super) fn push(&mut self, event: Event, bytes: usize) -> Result<()> {
        self.batch.push(event);
        self.batch_bytes = self.batch_bytes.saturating_add(bytes);
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_EVENTS {
            self.hand_over()?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<()> {
        self.interrupt.check()?;
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.out.send(batch).map_err(|_| hung_up())
    }
}

/// Whether every chunk and list of a node is still stored; notes its lists for the cache on the way.
pub(in crate::operation) fn still_stored(
    source: &dyn BlobSource,
    index: &Index,
    recorder: Option<&TreeRecorder<'_>>,
    before: &Node,
) -> bool {
    let empty = Content::default();
    let content = before.content.as_ref().unwrap_or(&empty);
    let stored = std::cell::Cell::new(true);
    let visited = visit_chunks(
        source,
        content,
        &mut |id, plain| {
            stored.set(stored.get() && index.contains(BlobKind::List, id)?);
            if let Some(recorder) = recorder {
                recorder.record(BlobKind::List, id, plain);
            }
            Ok(())
        },
        &mut |id| {
            let length = index.plain_length(BlobKind::Chunk, id)?;
            length.map(u64::from).ok_or_else(|| Error::missing("a chunk is no longer stored"))
        },
    );
    // Lists that cannot be read make the file one that is read again.
    visited.is_ok() && stored.get()
}
