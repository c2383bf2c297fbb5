//! Counts the problems that are found where a service is looked for.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::report::{Finding, Progress, Reporter, Severity};

/// Counts problems on their way to the reporter.
pub(super) struct Counting<'a> {
    inner: &'a dyn Reporter,
    problems: AtomicU64,
}

impl<'a> Counting<'a> {
    /// Counts from zero.
    pub(super) fn new(inner: &'a dyn Reporter) -> Self {
        Self { inner, problems: AtomicU64::new(0) }
    }

    /// How many there were.
    pub(super) fn problems(&self) -> u64 {
        self.problems.load(Ordering::Relaxed)
    }
}

impl Reporter for Counting<'_> {
    fn report(&self, finding: Finding) {
        if finding.severity == Severity::Problem {
            self.problems.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.report(finding);
    }

    fn progress(&self) -> &Progress {
        self.inner.progress()
    }
}
