//! How long work speaks to whoever started it: findings that do not stop it, and progress.
//!
//! Invariant: nothing here prints; only `cli/` does. Counters only rise.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::Id;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Worth a line; the result is whole.
    Warning,
    /// Something could not be read, or failed its check: the command ends with exit code 3.
    Problem,
}

/// One thing found on the way: what, why, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its weight.
    pub severity: Severity,
    /// What it is about, usually a path.
    pub subject: String,
    /// Why.
    pub cause: String,
    /// The next step, where one is known.
    pub hint: Option<String>,
}

impl Finding {
    /// Something that makes the result incomplete.
    pub fn problem(subject: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, subject: subject.into(), cause: cause.into(), hint: None }
    }

    /// Something worth knowing.
    pub fn warning(subject: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, subject: subject.into(), cause: cause.into(), hint: None }
    }

    /// Adds the next step.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Something in the store that is damaged or missing: whom it hurts, and what mends it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// The object, as `packs/3f/3f…`; empty where it is what no object holds any more.
    pub object: String,
    /// What it is: `pack`, `index`, `snapshot`, `key`, and so on; `blobs` for what no pack holds.
    pub kind: &'static str,
    /// Blobs that it held and of which no whole copy is left.
    pub blobs_lost: u64,
    /// The snapshots that suffer, each tree once.
    pub hurts: Vec<Hurt>,
    /// The commands that mend it and lose nothing, in this order; none where no command does.
    pub mend: Vec<String>,
    /// The commands that give up what cannot be brought back: the last resort.
    pub give_up: Vec<String>,
}

/// What snapshots lose by damage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hurt {
    /// Snapshots of one and the same tree.
    pub snapshots: Vec<Id>,
    /// Paths of files that cannot be restored whole.
    pub files: Vec<Vec<u8>>,
    /// Stretches of the tree of which nothing is known any more.
    pub ranges: Vec<PathRange>,
    /// Files and stretches beyond those named here.
    pub more: u64,
}

/// All paths of a tree from one on, up to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PathRange {
    /// The first; empty where the tree begins.
    pub from: Vec<u8>,
    /// The first that is not in it; nothing where the tree ends.
    pub until: Option<Vec<u8>>,
}

/// A path or name as text for a terminal: what is not printable UTF-8 is escaped, so that no file name can
/// send control sequences.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        for character in part.valid().chars() {
            if character.is_control() || turns_text(character) {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in part.invalid() {
            text.extend(['\\', 'x']);
            text.extend(
                [byte >> 4, byte & 15].map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('?')),
            );
        }
    }
    text
}

/// Whether a character changes the direction in which the text around it is shown.
fn turns_text(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Where findings and progress go.
pub trait Reporter: Send + Sync {
    /// Takes a finding.
    fn report(&self, finding: Finding);

    /// Takes a finding about something that is damaged.
    fn report_damage(&self, finding: Finding, damage: &Damage) {
        let _ = damage;
        self.report(finding);
    }

    /// Takes a finding about something in the store that cannot be had and is passed over: what was done is not all.
    fn report_unread(&self, finding: Finding) {
        self.report(finding);
    }

    /// The counters that long work advances.
    fn progress(&self) -> &Progress;
}

/// Findings of one matter that are told one by one before the rest is only counted: whoever may write to a store can
/// fill it with junk, and a person stops reading long before.
const TOLD_MAX: usize = 20;

/// Reports findings of one matter: the first of them, and how many more there are of `what`.
pub fn report_all(reporter: &dyn Reporter, what: &str, findings: impl IntoIterator<Item = Finding>) {
    let mut findings = findings.into_iter();
    findings.by_ref().take(TOLD_MAX).for_each(|finding| reporter.report(finding));
    if let Some(Finding { severity, hint, .. }) = findings.next() {
        let more = findings.fold(1u64, |more, _| more.saturating_add(1));
        let cause = format!("{more} more of them, not named here");
        reporter.report(Finding { severity, subject: what.to_owned(), cause, hint });
    }
}

/// Counters of long work, read by whoever draws them.
#[derive(Debug, Default)]
pub struct Progress {
    files_done: AtomicU64,
    files_total: AtomicU64,
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    stage: Mutex<String>,
}

impl Progress {
    /// Counts finished files.
    pub fn add_files(&self, files: u64) {
        self.files_done.fetch_add(files, Ordering::Relaxed);
    }

    /// Counts finished bytes.
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Says how much there is in all, as far as it is known; zero means unknown.
    pub fn set_total(&self, files: u64, bytes: u64) {
        self.files_total.store(files, Ordering::Relaxed);
        self.bytes_total.store(bytes, Ordering::Relaxed);
    }

    /// Says what is being done, in words for a person.
    pub fn set_stage(&self, stage: impl Into<String>) {
        if let Ok(mut current) = self.stage.lock() {
            *current = stage.into();
        }
    }

    /// Files done and in all.
    pub fn files(&self) -> (u64, u64) {
        (self.files_done.load(Ordering::Relaxed), self.files_total.load(Ordering::Relaxed))
    }

    /// Bytes done and in all.
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes_done.load(Ordering::Relaxed), self.bytes_total.load(Ordering::Relaxed))
    }

    /// What is being done.
    pub fn stage(&self) -> String {
        self.stage.lock().map(|stage| stage.clone()).unwrap_or_default()
    }
}

/// A reporter that keeps its findings: for tests, and for callers that print at the end.
#[derive(Debug, Default)]
pub struct Collector {
    findings: Mutex<Vec<Finding>>,
    damages: Mutex<Vec<Damage>>,
    progress: Progress,
}

impl Collector {
    /// What was found so far, in order.
    pub fn findings(&self) -> Vec<Finding> {
        self.findings.lock().map(|findings| findings.clone()).unwrap_or_default()
    }

    /// What of it is about something that is damaged.
    pub fn damages(&self) -> Vec<Damage> {
        self.damages.lock().map(|damages| damages.clone()).unwrap_or_default()
    }
}

impl Reporter for Collector {
    fn report(&self, finding: Finding) {
        if let Ok(mut findings) = self.findings.lock() {
            findings.push(finding);
        }
    }

    fn report_damage(&self, finding: Finding, damage: &Damage) {
        if let Ok(mut damages) = self.damages.lock() {
            damages.push(damage.clone());
        }
        self.report(finding);
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_findings_the_first_are_told_and_the_rest_is_counted() {
        for (number, told) in [(0, 0), (1, 1), (20, 20), (21, 21), (5000, 21)] {
            let collector = Collector::default();
            let findings = (0..number).map(|number| Finding::problem(format!("object {number}"), "is junk"));
            report_all(&collector, "objects", findings);
            let found = collector.findings();
            assert_eq!(found.len(), told);
            if number > 20 {
                let last = found.last().unwrap();
                let more = format!("{} more of them, not named here", number - 20);
                assert_eq!((&last.subject, &last.cause), (&"objects".to_owned(), &more));
                assert_eq!(last.severity, Severity::Problem);
            }
        }
    }
}
