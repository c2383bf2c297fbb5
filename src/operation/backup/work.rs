//! One attempt at a snapshot: previous tree, walk, storing, proof and manifest, put together.
//!
//! Invariant: when a snapshot is made here, its packs and its index are stored and its manifest is not; the caller
//! commits it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::bounded;
use minicbor::bytes::ByteVec;

use crate::error::{Error, Result};
use crate::format::node::{NodeKind, Timestamp};
use crate::format::snapshot::{
    DatabaseOutcome, DatabaseReport, DumpReport, Manifest, ServiceReport, Statistics,
};
use crate::id::Id;
use crate::report::{Collector, Finding, Reporter};
use crate::repository::cache::Cache;
use crate::repository::cached_tree::{CachedTree, RecordingSink, TreeRecorder};
use crate::repository::content::ContentBuilder;
use crate::repository::session::{self, Adopted, Session, Usable};
use crate::repository::snapshot::{Snapshot, Snapshots};
use crate::repository::tree::{Root, TreeBuilder, TreeReader, lookup};
use crate::repository::unread::report_passed_over;
use crate::repository::writer::{BlobWriter, Written};
use crate::repository::{Repository, host};
use crate::source::files::{self, Excludes};

use super::database::LazyScratch;
use super::parent::{self, Parent, ParentSource};
use super::read::Pool;
use super::scan::{Scanner, still_stored};
use super::store::Store;
use super::{Options, ParentChoice, Summary, service, unchanged};

/// How a manifest tells that databases were taken for plain files.
const AS_FILES: &str = "--no-sqlite";

/// What all parts of an attempt share.
pub(super) struct Work<'a> {
    pub(super) repository: &'a Repository,
    pub(super) cache: Option<&'a Cache>,
    pub(super) options: &'a Options,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) excludes: Excludes,
    pub(super) scratch: LazyScratch,
}

/// A snapshot whose packs and index are stored, and whose manifest is not.
pub(super) struct Made<'a> {
    pub(super) manifest: Manifest,
    pub(super) root: Root,
    pub(super) recorder: Option<TreeRecorder<'a>>,
    pub(super) outdated: Vec<Id>,
    /// The snapshot that makes this one needless.
    pub(super) unchanged_since: Option<Id>,
    pub(super) packs_missing: u64,
}

impl Made<'_> {
    pub(super) fn summary(&self, snapshot: Option<Id>, dry_run: bool) -> Summary {
        let manifest = &self.manifest;
        Summary {
            snapshot,
            dry_run,
            unchanged_since: self.unchanged_since,
            parent: manifest.parent,
            statistics: manifest.statistics.clone(),
            databases: manifest.databases.clone(),
            dumps: manifest.dumps.clone().unwrap_or_default(),
            service: manifest.service.clone(),
            time: (manifest.time, manifest.finished),
            root: self.root,
            packs_missing: self.packs_missing,
        }
    }
}

impl<'a> Work<'a> {
    /// Makes a snapshot in the name of a session; without one, tells what it would be.
    pub(super) fn make(&self, usable: Usable, session: Option<&Session<'_>>) -> Result<Made<'a>> {
        let dry = session.is_none();
        let time = self.options.time.unwrap_or_else(host::now);
        let Usable { index, adopted, missing, unreadable } = usable;
        self.options.interrupt.check()?;
        if !missing.is_empty() {
            let packs = if missing.len() == 1 { "pack" } else { "packs" };
            let cause = format!("lacks {} {packs} that its index names; files may be lost", missing.len());
            let finding = Finding::problem("the repository", cause);
            self.reporter.report(finding.with_hint("`strongroom check` names what is affected"));
        }
        let objects = unreadable.iter().map(|(kind, id, error)| {
            let subject = format!("{}/{}", kind.folder(), id.short());
            (subject, format!("is not usable: {}", error.chain()), error)
        });
        let hint = "`strongroom check` tells what it affects";
        report_passed_over(self.reporter, "index and packs", hint, objects);
        let snapshots = self.repository.snapshots()?;
        snapshots.report_damaged(self.reporter);
        self.repository.tell_vanished(&snapshots, self.reporter);
        let candidates =
            parent::candidates(self.repository, &snapshots, &self.options.host, &self.options.paths);
        let choice = self.options.parent;
        let compared = parent::chosen(self.repository, &snapshots, &candidates, choice)?;
        let opened = ParentSource::open(self.repository, self.cache, &compared, self.reporter)?;
        if opened.is_none() && matches!(choice, ParentChoice::Named(_)) {
            let cause = "is not in the cache, and this key does not open it: every file is read";
            self.reporter.report(Finding::warning("the snapshot to compare with", cause));
        }
        let (source, parent) = opened.map_or((None, None), |(source, parent)| (Some(source), Some(parent)));
        let earlier = [compared.as_slice(), candidates.as_slice()].concat();
        self.expect(parent);
        let recorder = self.cache.filter(|_| !dry).and_then(|cache| {
            let previous = source.as_ref().and_then(ParentSource::cached);
            self.recorder(cache, previous)
        });
        let writer = match session {
            None => BlobWriter::dry(self.repository, &index)?,
            Some(session) => BlobWriter::announced(self.repository, &index, session)?,
        };
        let gathered = {
            let sink = RecordingSink { sink: &writer, recorder: recorder.as_ref() };
            self.gather(&writer, &sink, source.as_ref(), parent, &earlier)
        };
        // From here on it is too late to stop: the snapshot is as good as made.
        let gathered = match gathered.and_then(|gathered| self.options.interrupt.check().map(|()| gathered)) {
            Ok(gathered) => gathered,
            Err(error) => return Err(publish_all_the_same(writer, adopted, dry, error)),
        };
        let written = writer.finish(adopted)?;
        index.report_troubles(self.reporter);
        let outdated = outdated(&candidates);
        let manifest = self.manifest(time, gathered.root, &snapshots, parent, gathered, written);
        let root = Root { id: manifest.root, level: manifest.level };
        // Whatever it was compared with: the newest of this host and paths is what `latest` goes on to mean.
        let before = candidates.first().copied().filter(|_| self.options.skip_if_unchanged);
        let unchanged_since = unchanged::same_as(self.repository, before, &manifest)?;
        let packs_missing = missing.len() as u64;
        Ok(Made { manifest, root, recorder, outdated, unchanged_since, packs_missing })
    }

    /// What the previous backup saw is what this one expects.
    fn expect(&self, parent: Option<&Snapshot>) {
        if let Some(parent) = parent {
            let counts = &parent.manifest.statistics;
            let files =
                counts.files_new.saturating_add(counts.files_changed).saturating_add(counts.files_unmodified);
            self.reporter.progress().set_total(files, counts.bytes_processed);
        }
    }

    /// Counts what there is to store, unless that is done before. What is wrong with it, the real walk reports.
    fn count(&self, done: &AtomicBool) {
        let (mut files, mut bytes) = (0u64, 0u64);
        let counted = files::walk(&self.options.plan, &self.excludes, &Collector::default(), &mut |entry| {
            if entry.node.kind == NodeKind::File {
                files = files.saturating_add(1);
                bytes = bytes.saturating_add(entry.node.size);
            }
            if done.load(Ordering::Relaxed) { Err(Error::refused("too late to count")) } else { Ok(()) }
        });
        if counted.is_ok() {
            self.reporter.progress().set_total(files, bytes);
        }
    }

    fn recorder(&self, cache: &Cache, previous: Option<Arc<CachedTree<'a>>>) -> Option<TreeRecorder<'a>> {
        match cache.write_tree(self.repository, previous) {
            Ok(recorder) => Some(recorder),
            Err(error) => {
                let cause = format!(
                    "cannot be written, so the next backup reads every file again: {}",
                    error.chain()
                );
                self.reporter.report(Finding::warning("the cache", cause));
                None
            }
        }
    }

    fn gather(
        &self,
        writer: &BlobWriter<'_>,
        sink: &RecordingSink<'_>,
        source: Option<&ParentSource<'_>>,
        parent: Option<&Snapshot>,
        earlier: &[&Snapshot],
    ) -> Result<Gathered> {
        let options = self.options;
        let unchanged = |place: &[u8], fingerprint: Id| {
            let (source, parent) = source.zip(parent)?;
            let node = lookup(source.source(), parent.root(), place).ok()??;
            let state = node.database.as_ref()?;
            let same = state.checked && state.fingerprint == fingerprint;
            (same && still_stored(source.source(), writer.index(), sink.recorder, &node))
                .then(|| Box::new(node))
        };
        let before = |place: &[u8]| {
            let (source, parent) = source.zip(parent)?;
            lookup(source.source(), parent.root(), place).ok()?
        };
        let dumped = self.dump(writer, sink, &before, earlier)?;
        let (service, proof, prepared) = service::prepare(self, &unchanged, &dumped).part();
        // What was amiss where the service was looked for counts as much as what is amiss on the walk.
        let problems = service::problems(options);
        let problems = problems.saturating_add(options.problems).saturating_add(dumped.problems);
        let problems = AtomicU64::new(problems);
        let databases = Mutex::new(Vec::new());
        let chunker = self.repository.file_chunker();
        let pool = Pool::new();
        let buffers = pool.returns();
        let (out, batches) = bounded(1);
        let tree_reader =
            source.zip(parent).map(|(source, parent)| TreeReader::new(source.source(), parent.root()));
        let scanner = Scanner {
            plan: &options.plan,
            interrupt: &options.interrupt,
            reporter: self.reporter,
            index: writer.index(),
            chunker: &chunker,
            parent: Parent::new(tree_reader),
            parent_source: source.map(ParentSource::source),
            parent_time: parent.map(|parent| parent.manifest.time),
            run_pages: run_pages(earlier),
            stored_as_found: parent.map(stored_as_found).unwrap_or_default(),
            recorder: sink.recorder,
            scratch: &self.scratch,
            sqlite: options.sqlite.clone(),
            databases_as_files: options.databases_as_files,
            databases_were_files: parent.is_some_and(databases_were_files),
            prepared,
            databases: &databases,
            problems: &problems,
            pool,
            batch: Vec::new(),
            batch_bytes: 0,
            out,
            taken: Vec::new(),
        };
        let mut store = Store {
            writer,
            sink,
            tree: TreeBuilder::new(sink, self.repository.keyring()),
            reporter: self.reporter,
            problems: &problems,
            proof,
            statistics: Statistics::default(),
            content: ContentBuilder::default(),
            held: dumped.held,
            buffers,
        };
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            if parent.is_none() && options.count_first && options.walks() {
                scope.spawn(|| self.count(&done));
            }
            let scan = scope.spawn(|| if options.walks() { scanner.run(&self.excludes) } else { Ok(()) });
            let stored = store.run(&batches);
            done.store(true, Ordering::Relaxed);
            // The scanner notices that nobody listens any more.
            drop(batches);
            let scanned = scan.join().map_err(|_| Error::refused("the scanning thread failed"))?;
            stored.and(scanned)
        })?;
        let Store { tree, proof, mut statistics, .. } = store;
        let root = tree.finish()?;
        statistics.problems = problems.load(Ordering::Relaxed);
        let mut databases = databases.into_inner().unwrap_or_default();
        databases.sort_by(|one: &DatabaseReport, other| one.place.cmp(&other.place));
        let is_known = |place: &[u8]| before(place).is_some();
        let reported = service.report(proof, statistics.problems, &is_known, self);
        let service = reported.map(|(report, found)| {
            statistics.problems = statistics.problems.saturating_add(found);
            report
        });
        Ok(Gathered { root, statistics, databases, dumps: dumped.reports, service })
    }

    fn manifest(
        &self,
        time: Timestamp,
        root: Root,
        snapshots: &Snapshots,
        parent: Option<&Snapshot>,
        gathered: Gathered,
        written: Written,
    ) -> Manifest {
        let mut tags = self.options.tags.clone();
        tags.sort();
        tags.dedup();
        let mut statistics = gathered.statistics;
        statistics.data_blobs = written.data_blobs;
        statistics.tree_blobs = written.tree_blobs;
        statistics.data_added = written.plain_bytes;
        statistics.data_added_packed = written.stored_bytes;
        Manifest {
            time,
            finished: host::now(),
            host: self.options.host.clone(),
            job: self.options.job.clone(),
            tags,
            paths: self.options.paths.iter().map(|path| ByteVec::from(path.clone())).collect(),
            root: root.id,
            level: root.level,
            sequence: session::next_sequence(self.repository, snapshots),
            parent: parent.map(|parent| parent.id),
            excludes: self.left_out(),
            databases: gathered.databases,
            service: gathered.service,
            statistics,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: None,
            original: None,
            dumps: Some(gathered.dumps).filter(|dumps| !dumps.is_empty()),
        }
    }

    /// What was left out, as the manifest tells it.
    fn left_out(&self) -> Vec<String> {
        let mut left_out = self.options.excludes.describe();
        left_out.extend(self.options.databases_as_files.then(|| AS_FILES.to_owned()));
        left_out
    }

    /// Keeps the new tree for the next backup and drops what it replaces. The snapshot is committed: trouble
    /// here costs the next run time, no more.
    pub(super) fn keep_cache(&self, made: &Made<'_>, id: &Id) {
        let (Some(cache), Some(recorder)) = (self.cache, &made.recorder) else { return };
        if let Err(error) = recorder.keep_as(id) {
            let cause = format!("was not kept, so the next backup reads every file again: {}", error.chain());
            self.reporter.report(Finding::warning("the cache", cause));
            return;
        }
        let known = cache.trees().unwrap_or_default();
        for tree in known.iter().filter(|tree| made.outdated.contains(tree) && *tree != id) {
            cache.remove_tree(tree);
        }
    }
}

/// Ends an attempt that makes no snapshot: what it stored is published all the same, so that the next one need not
/// store it again. Gives the error to tell.
fn publish_all_the_same(writer: BlobWriter<'_>, adopted: Adopted, dry: bool, error: Error) -> Error {
    if dry {
        return error;
    }
    // Where the store is what failed, this fails as well, and the first error is the one to tell.
    let Ok(written) = writer.finish(adopted) else { return error };
    match written.plain_bytes {
        0 => error.context("no snapshot was made"),
        bytes if bytes < 1 << 20 => error.context("no snapshot was made; the little that was stored is kept"),
        bytes => error.context(format!(
            "no snapshot was made; the {} MiB of new data stored so far are kept for the next backup",
            bytes >> 20
        )),
    }
}

struct Gathered {
    root: Root,
    statistics: Statistics,
    databases: Vec<DatabaseReport>,
    dumps: Vec<DumpReport>,
    service: Option<ServiceReport>,
}

/// Cached trees that the new one replaces: those of earlier snapshots of the same host and paths.
fn outdated(candidates: &[&Snapshot]) -> Vec<Id> {
    candidates.iter().map(|snapshot| snapshot.id).collect()
}

/// Whether a snapshot took databases for plain files.
fn databases_were_files(snapshot: &Snapshot) -> bool {
    snapshot.manifest.excludes.iter().any(|text| text == AS_FILES)
}

/// Places of what called itself a database in a snapshot and was stored as a plain file.
fn stored_as_found(snapshot: &Snapshot) -> HashSet<Vec<u8>> {
    let found = |report: &&DatabaseReport| report.outcome == DatabaseOutcome::StoredAsFound;
    snapshot.manifest.databases.iter().filter(found).map(|report| report.place.clone()).collect()
}

/// Pages in a run by place, as the newest snapshot that says so cut them: kept, so that a database is not all
/// new because the cache is empty.
fn run_pages(earlier: &[&Snapshot]) -> HashMap<Vec<u8>, u32> {
    let mut runs = HashMap::new();
    for snapshot in earlier.iter().rev() {
        for database in snapshot.manifest.databases.iter().filter(|database| database.run_pages > 0) {
            runs.insert(database.place.clone(), database.run_pages);
        }
    }
    runs
}
