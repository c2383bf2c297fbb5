//! SQLite databases met on the walk: copied consistently, checked while they are cut by page, each with its
//! outcome.
//!
//! Invariants: a database that cannot be copied is reported and counted. One that is no readable database is
//! stored byte for byte with its logs, as found; one that is merely locked, or has no room to be copied, is not
//! stored at all, for a torn copy would look like a good one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use super::event::{Event, Finished};
use super::finding::unreadable;
use super::read::{Cutter, ReadOutcome};
use super::scan::Scanner;
use super::vaultwarden::PreparedDatabase;
use crate::chunker::page::run_pages;
use crate::error::{Error, Result};
use crate::format::node::{DatabaseState, Node};
use crate::format::snapshot::{DatabaseOutcome, DatabaseReport};
use crate::report::{Finding, Reporter, printable};
use crate::source::files::Entry;
use crate::source::sqlite::{self, Check, Copy, Scratch, TakeError};

/// Most messages of one check that a manifest keeps.
const MESSAGES_MAX: usize = 20;

/// The private folder for temporary copies, made when the first database is met: a backup without one needs no
/// temporary folder.
pub(super) struct LazyScratch {
    parent: PathBuf,
    made: OnceLock<Result<Scratch>>,
}

impl LazyScratch {
    pub(super) fn new(parent: &Path) -> Self {
        Self { parent: parent.to_owned(), made: OnceLock::new() }
    }

    pub(super) fn get(&self) -> std::result::Result<&Scratch, TakeError> {
        self.made.get_or_init(|| Scratch::create(&self.parent)).as_ref().map_err(|error| {
            let repeated = Error::new(error.kind(), error.chain());
            TakeError::Other(repeated.hint("choose another folder by --temporary-folder, or in TMPDIR"))
        })
    }
}

/// A copy, and its check, which begins at once and reads the same pages as the cutting does.
pub(super) struct TakenDatabase {
    pub(super) copy: Arc<Copy>,
    check: Option<JoinHandle<Result<Check>>>,
}

impl TakenDatabase {
    pub(super) fn new(copy: Copy) -> std::result::Result<Self, TakeError> {
        let copy = Arc::new(copy);
        let checked = Arc::clone(&copy);
        let check = std::thread::Builder::new()
            .name("database check".into())
            .spawn(move || checked.check())
            .map_err(|error| TakeError::Other(Error::io("cannot start a thread", error)))?;
        Ok(Self { copy, check: Some(check) })
    }

    /// Waits for the check.
    fn check(&mut self) -> Result<Check> {
        let failed = || Error::refused("the thread that checked a database failed");
        self.check.take().ok_or_else(failed)?.join().map_err(|_| failed())?
    }
}

impl Drop for TakenDatabase {
    /// The copy is deleted by whoever holds it last; that must not be a thread which the program leaves behind.
    fn drop(&mut self) {
        if self.check.take().is_some_and(|check| check.join().is_err()) {
            // Its panic was reported where it happened; nobody needs the check any more.
        }
    }
}

/// Takes a copy and begins to check it.
pub(super) fn take(
    host: &Path,
    scratch: &LazyScratch,
    options: &sqlite::Options,
    reporter: &dyn Reporter,
) -> std::result::Result<TakenDatabase, TakeError> {
    let name = printable(host.as_os_str().as_encoded_bytes());
    let progress = reporter.progress();
    let copy = sqlite::take(host, scratch.get()?, options, &mut |done, total| {
        progress.set_stage(format!("copying {name}: page {done} of {total}"));
    });
    progress.set_stage("");
    TakenDatabase::new(copy?)
}

impl Scanner<'_> {
    pub(super) fn visit_database(&mut self, entry: Entry, before: Option<Box<Node>>) -> Result<()> {
        let host = entry.host_path();
        let prepared = self.prepared.remove(&entry.path);
        if prepared.is_none()
            && let Some(before) = before.as_deref().filter(|before| self.database_unchanged(&host, before))
        {
            self.taken.push(entry.path.clone());
            self.report_unchanged(&entry, before);
            return self.push_as_before(&entry, before);
        }
        let taken = match prepared {
            Some(PreparedDatabase::Unchanged(node)) => {
                self.taken.push(entry.path.clone());
                self.report_unchanged(&entry, &node);
                return self.push_as_before(&entry, &node);
            }
            Some(PreparedDatabase::Taken(taken)) => taken,
            None => self.take(&host),
        };
        self.interrupt.check()?;
        match taken {
            Ok(mut taken) => self.store_copy(&entry, &host, &mut taken, before),
            Err(error @ (TakeError::NotADatabase { .. } | TakeError::Corrupt { .. })) => {
                self.problem(error.finding(&host));
                self.report_outcome(&entry, DatabaseOutcome::StoredAsFound, &error);
                self.store_as_found(entry, before)
            }
            Err(error) => {
                self.taken.push(entry.path.clone());
                self.problem(error.finding(&host));
                self.report_outcome(&entry, DatabaseOutcome::NotStored, &error);
                Ok(())
            }
        }
    }

    fn take(&self, host: &Path) -> std::result::Result<TakenDatabase, TakeError> {
        take(host, self.scratch, &self.sqlite, self.reporter)
    }

    /// Whether a database is as it was: main file, log and the salts in the log's header.
    fn database_unchanged(&self, host: &Path, before: &Node) -> bool {
        let Some(state) = before.database.as_ref().filter(|state| state.checked) else { return false };
        // One that cannot be looked at is taken, and taking it says what is wrong.
        let unchanged = sqlite::fingerprint(host).is_ok_and(|fingerprint| fingerprint == state.fingerprint);
        unchanged && self.still_stored(before)
    }

    fn store_copy(
        &mut self,
        entry: &Entry,
        host: &Path,
        taken: &mut TakenDatabase,
        before: Option<Box<Node>>,
    ) -> Result<()> {
        let copy = Arc::clone(&taken.copy);
        self.taken.push(entry.path.clone());
        let pages_before = self.run_pages.get(&entry.path).copied();
        let run = run_pages(copy.page_size(), copy.pages(), pages_before);
        let run_bytes =
            usize::try_from(u64::from(run).saturating_mul(u64::from(copy.page_size()))).unwrap_or(usize::MAX);
        let file = copy.open()?;
        match self.stream(&file, copy.size(), &[], &Cutter::Runs(run_bytes))? {
            ReadOutcome::Whole => {}
            ReadOutcome::Short(_) => {
                return self.lose_copy(entry, Error::corrupt("its temporary copy was cut short"));
            }
            ReadOutcome::Unreadable(error) => return self.lose_copy(entry, error),
        }
        let check = taken.check();
        self.interrupt.check()?;
        let passed = self.report_check(entry, host, &copy, run, check);
        let mut node = entry.node.clone();
        node.size = copy.size();
        node.attributes = self.attributes(entry);
        let database = DatabaseState {
            page_size: copy.page_size(),
            run_pages: run,
            fingerprint: copy.fingerprint(),
            checked: passed,
        };
        let finished =
            Finished { path: entry.path.clone(), node, before, holes: Vec::new(), database: Some(database) };
        self.push(Event::End(Box::new(finished)), 0)
    }

    /// A copy that cannot be read to its end is not stored, and the snapshot says so.
    fn lose_copy(&mut self, entry: &Entry, error: Error) -> Result<()> {
        self.problem(unreadable(entry, &error));
        self.report_outcome(entry, DatabaseOutcome::NotStored, &TakeError::Other(error));
        self.push(Event::Failed, 0)
    }

    fn report_check(&self, entry: &Entry, host: &Path, copy: &Copy, run: u32, check: Result<Check>) -> bool {
        let name = printable(host.as_os_str().as_encoded_bytes());
        let mut messages = Vec::new();
        let passed = match check {
            Ok(check) => {
                if let Some(first) = check.integrity.first() {
                    let count = check.integrity.len();
                    let cause =
                        format!("the database is damaged: {first} ({count} findings); it is stored as it is");
                    self.problem(Finding::problem(&name, cause).with_hint(
                        "restore it from an older snapshot, or try sqlite3's `.recover`, before it gets worse",
                    ));
                }
                if let Some(first) = check.foreign_keys.first() {
                    let cause = format!("rows refer to rows that are not there: {first}");
                    self.reporter.report(Finding::warning(&name, cause));
                }
                messages.extend(check.integrity.iter().cloned());
                messages.extend(check.foreign_keys.iter().cloned());
                messages.extend(check.unchecked.iter().map(|table| format!("not checked: {table}")));
                check.integrity.is_empty()
            }
            Err(error) => {
                self.problem(Finding::problem(
                    &name,
                    format!("its copy cannot be checked: {}", error.chain()),
                ));
                messages.push(error.chain());
                false
            }
        };
        messages.truncate(MESSAGES_MAX);
        self.add_report(DatabaseReport {
            place: entry.path.clone(),
            outcome: if passed { DatabaseOutcome::Checked } else { DatabaseOutcome::FailedCheck },
            page_size: copy.page_size(),
            run_pages: run,
            pages: copy.pages(),
            messages,
        });
        passed
    }

    fn store_as_found(&mut self, entry: Entry, before: Option<Box<Node>>) -> Result<()> {
        match entry.open() {
            Ok(file) => self.visit_content(entry, file, before),
            Err(error) => {
                self.problem(unreadable(&entry, &error));
                Ok(())
            }
        }
    }

    fn report_unchanged(&self, entry: &Entry, before: &Node) {
        let Some(state) = &before.database else { return };
        self.add_report(DatabaseReport {
            place: entry.path.clone(),
            outcome: DatabaseOutcome::Checked,
            page_size: state.page_size,
            run_pages: state.run_pages,
            pages: before.size.checked_div(u64::from(state.page_size)).unwrap_or(0),
            messages: Vec::new(),
        });
    }

    fn report_outcome(&self, entry: &Entry, outcome: DatabaseOutcome, error: &TakeError) {
        self.add_report(DatabaseReport {
            place: entry.path.clone(),
            outcome,
            page_size: 0,
            run_pages: 0,
            pages: 0,
            messages: vec![error.to_string()],
        });
    }

    fn add_report(&self, report: DatabaseReport) {
        if let Ok(mut databases) = self.databases.lock() {
            databases.push(report);
        }
    }
}

/// Whether a file begins as a database does.
pub(super) fn starts_as_database(file: &File, size: u64) -> Result<bool> {
    if size < sqlite::MAGIC.len() as u64 {
        return Ok(false);
    }
    let mut first = [0; 16];
    match file.read_exact_at(&mut first, 0) {
        Ok(()) => Ok(sqlite::is_database(&first)),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(Error::io("cannot be read", error)),
    }
}
