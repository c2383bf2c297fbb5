//! SQLite databases met on the walk: copied consistently, checked while they are cut by page, each with its
//! outcome.
//!
//! Invariants: a database that cannot be copied is reported and counted. One that is no readable database is
//! stored byte for byte with its logs, as found; one that is merely locked, or has no room to be copied, is not
//! stored at all, for a torn copy would look like a good one.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::event::{Event, Finished};
use super::read::{Cutter, ReadOutcome};
use super::scan::{Scanner, unreadable};
use super::vaultwarden::PreparedDatabase;
use crate::chunker::page::run_pages;
use crate::error::{Error, Result};
use crate::format::node::{DatabaseState, Node};
use crate::format::snapshot::{DatabaseOutcome, DatabaseReport};
use crate::report::{Finding, printable};
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
            Some(PreparedDatabase { taken }) => taken,
            None => self.take(&host),
        };
        match taken {
            Ok(copy) => self.store_copy(&entry, &host, &copy, before),
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

    fn take(&self, host: &Path) -> std::result::Result<Copy, TakeError> {
        let name = printable(host.as_os_str().as_encoded_bytes());
        let progress = self.reporter.progress();
        sqlite::take(host, self.scratch.get()?, &self.sqlite, &mut |done, total| {
            progress.set_stage(format!("copying {name}: page {done} of {total}"));
        })
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
        copy: &Copy,
        before: Option<Box<Node>>,
    ) -> Result<()> {
        self.taken.push(entry.path.clone());
        self.reporter.progress().set_stage("");
        let pages_before = self.run_pages.get(&entry.path).copied();
        let run = run_pages(copy.page_size(), copy.pages(), pages_before);
        let run_bytes =
            usize::try_from(u64::from(run).saturating_mul(u64::from(copy.page_size()))).unwrap_or(usize::MAX);
        let file = copy.open()?;
        // The check reads the same pages as the cutting does: side by side, they are read from disk once.
        let (outcome, check) = std::thread::scope(|scope| {
            let check = scope.spawn(|| copy.check());
            let outcome = self.stream(&file, copy.size(), &[], &Cutter::Runs(run_bytes));
            (outcome, check.join())
        });
        match outcome? {
            ReadOutcome::Whole => {}
            ReadOutcome::Short(_) => {
                self.problem(unreadable(entry, &Error::corrupt("its temporary copy was cut short")));
                return self.push(Event::Failed, 0);
            }
            ReadOutcome::Unreadable(error) => {
                self.problem(unreadable(entry, &error));
                return self.push(Event::Failed, 0);
            }
        }
        let check = check.map_err(|_| Error::refused("the thread that checked a database failed"))?;
        let passed = self.report_check(entry, host, copy, run, check);
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
