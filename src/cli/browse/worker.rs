//! The thread that reads the repository, so that keys are answered meanwhile.
//!
//! Invariant: it writes nothing but what is asked for by a restore or a save.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender};

use super::request::{Answer, Choice, Failure, Job, Known, Reply, Request};
use crate::cli::private_file::PrivateFile;
use crate::cli::snapshots;
use crate::error::{Error, ErrorKind, Result};
use crate::interrupt::Interrupt;
use crate::operation::repair::snapshots::known_damaged;
use crate::operation::{browse, dump, restore, versions};
use crate::report::{Finding, Progress, Reporter};
use crate::repository::Repository;
use crate::repository::find::SnapshotFilter;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::{Snapshot, Snapshots};
use crate::repository::tree::Root;

/// Bytes of a file that a preview reads.
const PREVIEW_BYTES: usize = 64 << 10;
/// Findings of one request that are kept.
const FINDINGS_MAX: usize = 1000;

/// What is found during a request, and how far it is.
#[derive(Debug, Default)]
pub(super) struct Notes {
    findings: Mutex<Vec<Finding>>,
    progress: Progress,
}

impl Notes {
    fn take(&self) -> Vec<Finding> {
        self.findings.lock().map(|mut findings| std::mem::take(&mut *findings)).unwrap_or_default()
    }
}

impl Reporter for Notes {
    fn report(&self, finding: Finding) {
        if let Ok(mut findings) = self.findings.lock()
            && findings.len() < FINDINGS_MAX
        {
            findings.push(finding);
        }
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }
}

/// The snapshots to choose from, out of all.
pub(super) fn choice(found: &Snapshots, filter: &SnapshotFilter) -> Choice {
    let damaged = known_damaged(found);
    let wanted = found.snapshots.iter().filter(|snapshot| filter.matches(&snapshot.manifest));
    let known: Vec<Known> = wanted
        .map(|snapshot| Known {
            state: snapshots::state(snapshot, damaged.get(&snapshot.id)),
            snapshot: Arc::new(snapshot.clone()),
        })
        .collect();
    Choice {
        others: found.snapshots.len().saturating_sub(known.len()),
        known,
        damaged: found.damaged.iter().map(|(_, id, error)| (*id, error.chain())).collect(),
    }
}

/// What the thread works with.
pub(super) struct Worker<'a> {
    pub(super) repository: &'a Repository,
    pub(super) filter: &'a SnapshotFilter,
    pub(super) notes: &'a Notes,
    pub(super) replies: Sender<Reply>,
}

/// What one request works with.
struct Task<'w> {
    worker: &'w Worker<'w>,
    number: u64,
    interrupt: Interrupt,
}

impl Worker<'_> {
    /// Works until nobody asks or nobody listens any more.
    pub(super) fn run(&self, jobs: &Receiver<Job>) {
        // The index is loaded once, at the first request that needs it; the reader notices when it changes.
        let mut reader: Option<BlobReader<'_>> = None;
        for job in jobs {
            if self.work(job, &mut reader).is_err() {
                return;
            }
        }
    }

    /// Does one piece of work.
    ///
    /// # Errors
    /// Where nobody listens any more.
    pub(super) fn work<'r>(&'r self, job: Job, reader: &mut Option<BlobReader<'r>>) -> Result<()> {
        let Job { number, interrupt, request } = job;
        let task = Task { worker: self, number, interrupt };
        let answer = match task.run(request, reader) {
            Ok(answer) => answer,
            Err(error) => Answer::Failed(Failure::from(&error)),
        };
        task.send(answer)
    }
}

impl<'w> Task<'w> {
    fn send(&self, answer: Answer) -> Result<()> {
        let ends = !matches!(answer, Answer::Page(_) | Answer::Sums(_) | Answer::Counted(_));
        let findings = if ends { self.worker.notes.take() } else { Vec::new() };
        let reply = Reply { number: self.number, answer, findings };
        self.worker
            .replies
            .send(reply)
            .map_err(|_| Error::new(ErrorKind::Interrupted, "nobody looks any more"))
    }

    fn run<'r>(&self, request: Request, reader: &mut Option<BlobReader<'r>>) -> Result<Answer>
    where
        'w: 'r,
    {
        self.interrupt.check()?;
        let Worker { repository, filter, notes, .. } = self.worker;
        let repository: &'w Repository = repository;
        if let Request::Snapshots = request {
            return Ok(Answer::Snapshots(choice(&repository.snapshots()?, filter)));
        }
        if let Request::Restore { snapshot, places, folder } = &request {
            return self.restore(snapshot, places, folder).map(Answer::Restored);
        }
        if let Request::Save { snapshot, place, file } = &request {
            return self.save(snapshot, place, file).map(Answer::Saved);
        }
        let reader = match reader {
            Some(reader) => reader,
            None => reader.insert(BlobReader::with_kept_metadata(repository, *notes)?),
        };
        match request {
            Request::Folder { snapshot, place } => {
                let mut take = |page| self.send(Answer::Page(page));
                browse::folder(reader, snapshot.root(), &place, &self.interrupt, &mut take)
                    .map(Answer::Listed)
            }
            Request::Sizes { snapshot, place } => {
                // Whoever does not listen is noticed at the next sums.
                let told = |summed| drop(self.send(Answer::Counted(summed)));
                let mut take = |sums| self.send(Answer::Sums(sums));
                browse::sizes(reader, snapshot.root(), &place, &self.interrupt, &told, &mut take)
                    .map(Answer::Summed)
            }
            Request::Preview { snapshot, place } => browse::head(reader, &snapshot, &place, PREVIEW_BYTES)
                .map(|(node, bytes)| Answer::Preview(Box::new(node), bytes)),
            Request::Versions { snapshots, place } => {
                let roots: Vec<Root> = snapshots.iter().map(|snapshot| snapshot.root()).collect();
                versions::find(reader, &roots, &place).map(Answer::Versions)
            }
            Request::Snapshots | Request::Restore { .. } | Request::Save { .. } => {
                Err(Error::refused("a request was taken for another"))
            }
        }
    }

    /// Restores places of a snapshot into a new or empty folder, each under its path.
    fn restore(&self, snapshot: &Snapshot, places: &[Vec<u8>], folder: &Path) -> Result<restore::Summary> {
        let Worker { repository, notes, .. } = self.worker;
        let is_all = places.iter().any(Vec::is_empty);
        let paths = if is_all { Vec::new() } else { places.to_vec() };
        let request = restore::Request { paths, ..restore::Request::default() };
        restore::run(repository, snapshot, &request, folder, *notes, &self.interrupt)
    }

    /// Writes a file under a name that is free; one that was not written whole goes again.
    fn save(&self, snapshot: &Snapshot, place: &[u8], path: &Path) -> Result<u64> {
        let Worker { repository, notes, .. } = self.worker;
        let file = PrivateFile::create(path, "file")?;
        let watched = Watched { file: &file, progress: notes.progress() };
        let mut out = BufWriter::with_capacity(256 << 10, watched);
        let request = dump::Request { snapshot, place, base: b"", format: dump::Format::Tar };
        let dump = dump::Dump::find(repository, request, *notes)?;
        if !dump.is_file() {
            return Err(Error::refused("only a file can be written"));
        }
        let written = dump.run(&mut out, *notes, &self.interrupt);
        // What is still in memory is not written where the file is not whole.
        let (_, _) = out.into_parts();
        self.interrupt.check()?;
        let written = written?.bytes;
        file.sync()?;
        file.keep();
        Ok(written)
    }
}

/// A file that is being written, which counts.
struct Watched<'a> {
    file: &'a PrivateFile,
    progress: &'a Progress,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.file().write(bytes)?;
        self.progress.add_bytes(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.file().flush()
    }
}
