//! What goes wrong on a walk, on its way to the reporter.
//!
//! Invariant: every problem reported is counted.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::Errno;

use crate::report::{Finding, Reporter, printable};

/// Counts problems on their way to the reporter.
pub(super) struct Problems<'a> {
    reporter: &'a dyn Reporter,
    count: u64,
}

impl<'a> Problems<'a> {
    pub(super) fn new(reporter: &'a dyn Reporter) -> Self {
        Self { reporter, count: 0 }
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Something that is wrong.
    pub(super) fn add(&mut self, host: &Path, cause: impl Into<String>) {
        self.count = self.count.saturating_add(1);
        self.reporter.report(Finding::problem(shown(host), cause));
    }

    /// The same, with what to do about it.
    pub(super) fn add_with_hint(&mut self, host: &Path, cause: &'static str, hint: &'static str) {
        self.count = self.count.saturating_add(1);
        self.reporter.report(Finding::problem(shown(host), cause).with_hint(hint));
    }

    /// Vanishing has a name of its own, for nothing is wrong with the disk then.
    pub(super) fn add_errno(&mut self, host: &Path, error: Errno) {
        match error {
            Errno::NOENT => self.add(host, "vanished while being read"),
            Errno::NOTDIR | Errno::LOOP => self.add(host, "was replaced while being read"),
            error => self.add(host, std::io::Error::from(error).to_string()),
        }
    }

    /// Something that is worth a line and no problem.
    pub(super) fn warn(&self, finding: Finding) {
        self.reporter.report(finding);
    }
}

/// A host path for messages.
pub(super) fn shown(host: &Path) -> String {
    printable(host.as_os_str().as_bytes())
}
