//! The proof that a copy of the database and the files stored after it belong together.
//!
//! The database is copied first and the server goes on working, so not every difference is damage. Each one is
//! asked of the live server twice, with a pause between: Vaultwarden deletes an attachment's row before its
//! file, but a Send's file before its row, and writes most rows before their files.
//!
//! Invariant: a difference is excused only by evidence of what happened meanwhile: a row that is gone, a row or
//! a file that changed shortly before the copy or after it. Where the live database cannot be asked, the
//! copy's word holds. A file that is on disk and was not stored is never excused because it is there.

use std::ops::RangeInclusive;

use super::contents::{Contents, Expected, Kind, Unusable};
use super::live::Recheck;
use crate::report::{Finding, printable};

/// How long before the copy an upload may have begun that is still going on.
const UPLOAD_SECONDS: i64 = 15 * 60;

/// How far a server's clock may be ahead of ours.
const CLOCK_SECONDS: i64 = 15 * 60;
/// How coarse the times of files may be.
const FILE_TIME_SECONDS: i64 = 2;

/// The most findings of one class; the lists of an [`Outcome`] hold all.
const MAXIMUM_FINDINGS: usize = 100;

/// Compares the files of a snapshot with what its database needs.
#[derive(Debug)]
pub struct Proof {
    entries: Vec<Entry>,
    /// Files that no row of the copy names.
    strangers: Vec<Vec<u8>>,
    unusable: Vec<Unusable>,
    with_sends: bool,
}

#[derive(Debug)]
struct Entry {
    expected: Expected,
    found: Option<u64>,
}

/// Rows and files of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows that need a file.
    pub expected: u64,
    /// Those whose file is stored with its size.
    pub checked: u64,
    /// The bytes of these files.
    pub bytes: u64,
}

/// What the comparison found. Every place is in one list at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Attachments.
    pub attachments: Tally,
    /// Files sent; all zero if they are not stored.
    pub sends: Tally,
    /// Damage: files that are not there.
    pub missing: Vec<Expected>,
    /// Damage: files of another size, with the size found.
    pub wrong_size: Vec<(Expected, u64)>,
    /// Files that are on disk, whole and not new, and yet are not in the snapshot: excluded, or unreadable.
    pub not_stored: Vec<Expected>,
    /// Damage: rows whose file cannot be told.
    pub unusable: Vec<Unusable>,
    /// Files that belong to no row.
    pub orphans: Vec<Vec<u8>>,
    /// Files or rows that were deleted while the backup ran.
    pub deleted_meanwhile: Vec<Vec<u8>>,
    /// Files that were being uploaded while the backup ran, or came after the copy.
    pub uploading: Vec<Vec<u8>>,
    /// Why the live database could not be asked about what did not fit, where it could not.
    pub unknowable: Option<String>,
}

impl Proof {
    /// Starts with what a database's copy needs.
    pub fn new(contents: &Contents, with_sends: bool) -> Self {
        let wanted = |kind| with_sends || kind != Kind::Send;
        let mut entries: Vec<Entry> = contents
            .expected
            .iter()
            .filter(|expected| wanted(expected.kind))
            .map(|expected| Entry { expected: expected.clone(), found: None })
            .collect();
        entries.sort_by(|left, right| left.expected.place.cmp(&right.expected.place));
        let unusable = contents.unusable.iter().filter(|row| wanted(row.kind)).cloned().collect();
        Self { entries, strangers: Vec::new(), unusable, with_sends }
    }

    /// Takes note of a regular file of the snapshot. They may come in any order.
    pub fn observe(&mut self, place: &[u8], size: u64) {
        let in_folder = |folder: &[u8]| place.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/"));
        if !(in_folder(b"attachments") || self.with_sends && in_folder(b"sends")) {
            return;
        }
        match self.entries.binary_search_by(|entry| entry.expected.place.as_slice().cmp(place)) {
            Ok(position) => {
                if let Some(entry) = self.entries.get_mut(position) {
                    entry.found = Some(size);
                }
            }
            Err(_) => self.strangers.push(place.to_vec()),
        }
    }

    /// Compares, and asks again about what does not fit. `copied_at` is when the copy of the database was
    /// begun and `now` is now, both in seconds since the Unix epoch.
    pub fn finish(self, recheck: &mut dyn Recheck, copied_at: i64, now: i64) -> Outcome {
        let mut outcome = Outcome { unusable: self.unusable, ..Outcome::default() };
        let mut doubtful = Vec::new();
        for Entry { expected, found } in self.entries {
            let tally = match expected.kind {
                Kind::Attachment => &mut outcome.attachments,
                Kind::Send => &mut outcome.sends,
            };
            tally.expected += 1;
            if found == Some(expected.size) {
                tally.checked += 1;
                tally.bytes = tally.bytes.saturating_add(expected.size);
            } else {
                doubtful.push(Doubt { row: Row::default(), expected, found });
            }
        }
        let mut strangers: Vec<(Vec<u8>, Row)> =
            self.strangers.into_iter().map(|place| (place, Row::default())).collect();
        strangers.sort_by(|left, right| left.0.cmp(&right.0));
        strangers.dedup_by(|left, right| left.0 == right.0);
        if doubtful.is_empty() && strangers.is_empty() {
            return outcome;
        }

        let mut questions = Questions { recheck, failed: None };
        for round in 0..2 {
            if round > 0 {
                questions.recheck.pause();
            }
            for doubt in &mut doubtful {
                questions.ask(&doubt.expected.place, &mut doubt.row);
            }
            for (place, row) in &mut strangers {
                questions.ask(place, row);
            }
        }
        outcome.unknowable = questions.failed;
        let window = copied_at.saturating_sub(UPLOAD_SECONDS)..=now.saturating_add(CLOCK_SECONDS);
        for doubt in doubtful {
            outcome.judge(doubt, recheck, &window, copied_at);
        }
        for (place, row) in strangers {
            if row.size.is_some() {
                outcome.uploading.push(place);
            } else if recheck.file_now(&place).is_none() {
                // An attachment's row goes before its file.
                outcome.deleted_meanwhile.push(place);
            } else {
                outcome.orphans.push(place);
            }
        }
        outcome
    }
}

/// What the live database said of a row.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// Whether it was gone at one of the questions.
    gone: bool,
    /// Its size when it was last seen.
    size: Option<u64>,
}

/// A row whose file does not fit.
struct Doubt {
    expected: Expected,
    found: Option<u64>,
    row: Row,
}

/// Asks until the first failure: a database that cannot be opened is not waited for thirty thousand times.
struct Questions<'a> {
    recheck: &'a mut dyn Recheck,
    failed: Option<String>,
}

impl Questions<'_> {
    fn ask(&mut self, place: &[u8], row: &mut Row) {
        if self.failed.is_some() {
            return;
        }
        let Some((kind, owner, file)) = split(place) else { return };
        match self.recheck.current_size(kind, owner, file) {
            Ok(Some(size)) => row.size = Some(size),
            Ok(None) => row.gone = true,
            Err(error) => self.failed = Some(error.chain()),
        }
    }
}

/// The names that a place is made of, if it is made like one of Vaultwarden's.
fn split(place: &[u8]) -> Option<(Kind, &str, &str)> {
    let mut parts = str::from_utf8(place).ok()?.split('/');
    let kind = match parts.next()? {
        "attachments" => Kind::Attachment,
        "sends" => Kind::Send,
        _ => return None,
    };
    let (owner, file) = (parts.next()?, parts.next()?);
    parts.next().is_none().then_some((kind, owner, file))
}

impl Outcome {
    /// Decides what became of a file that does not fit.
    fn judge(
        &mut self,
        doubt: Doubt,
        recheck: &mut dyn Recheck,
        recent: &RangeInclusive<i64>,
        copied_at: i64,
    ) {
        let Doubt { expected, found, row } = doubt;
        if row.gone {
            self.deleted_meanwhile.push(expected.place);
            return;
        }
        // The row of an upload is written with the size promised, and corrected when the file has come.
        let size = row.size.unwrap_or(expected.size);
        let on_disk = recheck.file_now(&expected.place);
        let row_is_recent = expected.changed.is_some_and(|changed| recent.contains(&changed));
        // A file that lay there before the copy was begun was there to be read: only one that came, or was
        // still written, since then is excused by being there.
        let came_since =
            on_disk.is_some_and(|file| file.changed >= copied_at.saturating_sub(FILE_TIME_SECONDS));
        let has_come = came_since && on_disk.is_some_and(|file| file.size == size);
        let is_coming = row_is_recent && (came_since || on_disk.is_none() && found.is_none());
        let excused = (has_come || is_coming) && !recheck.is_no_upload(&expected.place);
        if found == Some(size) || excused {
            self.uploading.push(expected.place);
        } else if let Some(found) = found {
            self.wrong_size.push((expected, found));
        } else if on_disk.is_some_and(|file| file.size == size) {
            self.not_stored.push(expected);
        } else {
            self.missing.push(expected);
        }
    }

    /// Whether every row that needs a file has it in the snapshot.
    pub fn whole(&self) -> bool {
        self.missing.is_empty()
            && self.wrong_size.is_empty()
            && self.not_stored.is_empty()
            && self.unusable.is_empty()
    }

    /// What to tell a person: damage as problems, orphans as warnings. What changed while the backup ran is
    /// nothing to tell.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let orphan = "belongs to no row of the database: Vaultwarden does not use it";
        let hint =
            "look for the file in an older snapshot and restore it, or delete the entry in Vaultwarden";
        add(&mut findings, "missing files", &self.missing, |expected| {
            let cause = format!("is missing: {} {} needs it", expected.kind.noun(), expected.row_id);
            Finding::problem(printable(&expected.place), cause).with_hint(hint)
        });
        add(&mut findings, "files of a wrong size", &self.wrong_size, |(expected, found)| {
            let cause = format!(
                "has {found} bytes and must have {}: {} {} is damaged",
                expected.size,
                expected.kind.noun(),
                expected.row_id
            );
            Finding::problem(printable(&expected.place), cause).with_hint(hint)
        });
        add(&mut findings, "files not stored", &self.not_stored, |expected| {
            let cause = "is on disk and whole, and yet is not in this snapshot";
            Finding::problem(printable(&expected.place), cause)
                .with_hint("check the exclude patterns, and that this user may read the file")
        });
        add(&mut findings, "unusable rows", &self.unusable, |row| {
            Finding::problem(format!("{} {}", row.kind.noun(), row.row), format!("its row {}", row.cause))
                .with_hint("the database was damaged or tampered with; compare it with an older snapshot")
        });
        add(&mut findings, "orphans", &self.orphans, |place| Finding::warning(printable(place), orphan));
        let damaged = !(self.missing.is_empty() && self.wrong_size.is_empty() && self.orphans.is_empty());
        if let Some(cause) = self.unknowable.as_ref().filter(|_| damaged) {
            findings.push(Finding::warning(
                "live database",
                format!("could not be asked about what does not fit, so the copy's word holds: {cause}"),
            ));
        }
        findings
    }
}

/// Adds a finding for each, and where there are too many, one for the rest.
fn add<T>(findings: &mut Vec<Finding>, noun: &str, all: &[T], finding: impl Fn(&T) -> Finding) {
    findings.extend(all.iter().take(MAXIMUM_FINDINGS).map(&finding));
    if let Some(next) = all.get(MAXIMUM_FINDINGS) {
        let rest = all.len() - MAXIMUM_FINDINGS;
        findings.push(Finding {
            subject: format!("{rest} more {noun}"),
            cause: "as those before".to_owned(),
            ..finding(next)
        });
    }
}

#[cfg(test)]
mod tests {

    use std::collections::HashMap;
    use std::time::Duration;

    use rusqlite::Connection;

    use super::*;
    use crate::error::{Error, Result};
    use crate::report::Severity;
    use crate::service::vaultwarden::live::{FileNow, LiveDatabase};
    use crate::service::vaultwarden::testing::Folder;

    const COPIED: i64 = 1_000_000;
    const OLD: i64 = COPIED - 100_000;
    const NOW: i64 = COPIED + 60;

    /// A server that answers as told: first and second answer by place.
    #[derive(Default)]
    struct Told {
        rows: HashMap<String, [Option<u64>; 2]>,
        files: HashMap<Vec<u8>, FileNow>,
        round: usize,
        fails: bool,
        no_upload: bool,
        questions: usize,
    }

    impl Told {
        fn row(mut self, owner: &str, file: &str, answers: [Option<u64>; 2]) -> Self {
            self.rows.insert(format!("{owner}/{file}"), answers);
            self
        }

        fn file(mut self, place: &str, size: u64, changed: i64) -> Self {
            self.files.insert(place.as_bytes().to_vec(), FileNow { size, changed });
            self
        }
    }

    impl Recheck for Told {
        fn current_size(&mut self, _: Kind, owner: &str, file: &str) -> Result<Option<u64>> {
            self.questions += 1;
            if self.fails {
                return Err(Error::missing("not to be opened"));
            }
            Ok(self.rows.get(&format!("{owner}/{file}")).and_then(|answers| answers[self.round]))
        }

        fn file_now(&mut self, place: &[u8]) -> Option<FileNow> {
            self.files.get(place).copied()
        }

        fn is_no_upload(&mut self, _: &[u8]) -> bool {
            self.no_upload
        }

        fn pause(&mut self) {
            self.round += 1;
        }
    }

    fn expected(kind: Kind, changed: Option<i64>) -> Expected {
        let place = format!("{}/o/f", kind.folder()).into_bytes();
        Expected { place, size: 10, kind, row_id: "f".to_owned(), changed }
    }

    fn outcome(kind: Kind, changed: Option<i64>, found: Option<u64>, mut live: Told) -> Outcome {
        let contents = Contents { expected: vec![expected(kind, changed)], ..Contents::default() };
        let mut proof = Proof::new(&contents, true);
        if let Some(size) = found {
            proof.observe(&contents.expected[0].place, size);
        }
        proof.finish(&mut live, COPIED, NOW)
    }

    fn attachment(changed: i64, found: Option<u64>, live: Told) -> Outcome {
        outcome(Kind::Attachment, Some(changed), found, live)
    }

    #[test]
    fn what_fits_asks_nothing() {
        let contents = Contents { expected: vec![expected(Kind::Send, None)], ..Contents::default() };
        let mut proof = Proof::new(&contents, true);
        proof.observe(b"db.sqlite3", 1);
        proof.observe(b"sends/o/f", 10);
        let mut live = Told::default();
        let outcome = proof.finish(&mut live, COPIED, NOW);
        assert_eq!(live.questions, 0);
        assert_eq!(outcome.sends, Tally { expected: 1, checked: 1, bytes: 10 });
        assert!(outcome.whole());
        assert_eq!(outcome.findings(), []);
    }

    #[test]
    fn a_missing_file_is_damage() {
        let outcome = attachment(OLD, None, Told::default().row("o", "f", [Some(10), Some(10)]));
        assert_eq!(outcome.missing.len(), 1);
        assert!(!outcome.whole());
        let findings = outcome.findings();
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Problem);
        assert_eq!(findings[0].subject, "attachments/o/f");
        assert!(findings[0].hint.is_some());
    }

    #[test]
    fn a_wrong_size_is_damage() {
        for found in [0, 9, 11] {
            let outcome = attachment(OLD, Some(found), Told::default().row("o", "f", [Some(10), Some(10)]));
            assert_eq!(outcome.wrong_size, [(expected(Kind::Attachment, Some(OLD)), found)]);
            assert!(!outcome.whole());
        }
    }

    #[test]
    fn a_row_that_is_gone_at_either_question_excuses_its_file() {
        for answers in [[None, None], [Some(10), None], [None, Some(10)]] {
            for kind in [Kind::Attachment, Kind::Send] {
                let outcome = outcome(kind, Some(OLD), None, Told::default().row("o", "f", answers));
                assert_eq!(outcome.deleted_meanwhile.len(), 1);
                assert!(outcome.whole());
                assert_eq!(outcome.findings(), []);
            }
        }
    }

    #[test]
    fn an_upload_is_known_by_its_row_or_its_file() {
        let rows = || Told::default().row("o", "f", [Some(10), Some(10)]);
        for changed in [COPIED - UPLOAD_SECONDS, COPIED, NOW + CLOCK_SECONDS] {
            assert_eq!(attachment(changed, None, rows()).uploading.len(), 1, "{changed}");
        }
        // Beyond the window, before or in a future that would excuse it for ever, it is damage.
        for changed in [COPIED - UPLOAD_SECONDS - 1, NOW + CLOCK_SECONDS + 1, i64::MAX] {
            assert_eq!(attachment(changed, None, rows()).missing.len(), 1, "{changed}");
        }
        let arrived = attachment(OLD, None, rows().file("attachments/o/f", 10, COPIED + 1));
        assert_eq!(arrived.uploading.len(), 1);
        let arrived = attachment(OLD, Some(4), rows().file("attachments/o/f", 10, COPIED + 1));
        assert_eq!(arrived.uploading.len(), 1);
        let partly = attachment(OLD, None, rows().file("attachments/o/f", 4, COPIED + 1));
        assert_eq!(partly.missing.len(), 1);
    }

    #[test]
    fn what_was_left_out_or_stored_before_is_no_upload() {
        let rows = || Told { no_upload: true, ..Told::default() }.row("o", "f", [Some(10), Some(10)]);
        assert_eq!(attachment(COPIED, None, rows()).missing.len(), 1);
        let left_out = attachment(OLD, None, rows().file("attachments/o/f", 10, COPIED + 1));
        assert_eq!(left_out.not_stored.len(), 1);
        assert!(!left_out.whole());
    }

    #[test]
    fn a_size_that_the_server_corrected_is_no_damage() {
        let outcome = attachment(OLD, Some(12), Told::default().row("o", "f", [Some(10), Some(12)]));
        assert_eq!(outcome.uploading.len(), 1);
        assert!(outcome.whole());
    }

    #[test]
    fn an_old_file_that_was_not_stored_is_not_excused() {
        let live = Told::default().row("o", "f", [Some(10), Some(10)]).file("attachments/o/f", 10, OLD);
        let outcome = attachment(OLD, None, live);
        assert_eq!(outcome.not_stored.len(), 1);
        assert!(!outcome.whole());
    }

    #[test]
    fn where_the_server_cannot_be_asked_the_copy_holds() {
        let mut live = Told { fails: true, ..Told::default() }.file("attachments/x/y", 1, OLD);
        let contents = Contents { expected: vec![expected(Kind::Send, Some(OLD))], ..Contents::default() };
        let mut proof = Proof::new(&contents, true);
        proof.observe(b"attachments/x/y", 1);
        let outcome = proof.finish(&mut live, COPIED, NOW);
        assert_eq!(live.questions, 1);
        assert_eq!(outcome.missing.len(), 1);
        assert_eq!(outcome.orphans, [b"attachments/x/y".to_vec()]);
        assert!(outcome.unknowable.as_ref().unwrap().contains("not to be opened"));
        assert_eq!(outcome.findings().len(), 3);
    }

    #[test]
    fn orphans_are_warned_of_unless_they_came_or_went() {
        let contents = Contents::default();
        let mut proof = Proof::new(&contents, true);
        for place in
            ["attachments/o/new", "attachments/o/old", "attachments/o/going", "sends/x", "sends/a/b/c"]
        {
            proof.observe(place.as_bytes(), 1);
            proof.observe(place.as_bytes(), 1);
        }
        proof.observe(b"attachments\xff", 1);
        proof.observe(b"attachments/\xff/\x1b", 1);
        let mut live = Told::default()
            .row("o", "new", [None, Some(1)])
            .file("attachments/o/new", 1, NOW)
            .file("attachments/o/old", 1, OLD)
            .file("sends/x", 1, OLD)
            .file("sends/a/b/c", 1, OLD);
        live.files.insert(b"attachments/\xff/\x1b".to_vec(), FileNow { size: 1, changed: OLD });
        let outcome = proof.finish(&mut live, COPIED, NOW);
        assert_eq!(outcome.uploading, [b"attachments/o/new".to_vec()]);
        assert_eq!(outcome.deleted_meanwhile, [b"attachments/o/going".to_vec()]);
        assert_eq!(outcome.orphans.len(), 4);
        assert!(outcome.whole());
        let findings = outcome.findings();
        assert!(findings.iter().all(|finding| finding.severity == Severity::Warning));
        assert!(findings.iter().all(|finding| !finding.subject.contains('\x1b')));
    }

    #[test]
    fn without_sends_their_rows_and_files_do_not_count() {
        let unusable = Unusable { kind: Kind::Send, row: "s".to_owned(), cause: "is odd" };
        let contents = Contents {
            expected: vec![expected(Kind::Send, None)],
            unusable: vec![unusable],
            ..Contents::default()
        };
        let mut proof = Proof::new(&contents, false);
        proof.observe(b"sends/x/y", 1);
        let outcome = proof.finish(&mut Told::default(), COPIED, NOW);
        assert_eq!(outcome, Outcome::default());
        let outcome = Proof::new(&contents, true).finish(&mut Told::default(), COPIED, NOW);
        assert!(!outcome.whole());
        assert_eq!(outcome.unusable.len(), 1);
    }

    #[test]
    fn a_flood_of_damage_is_cut_short() {
        let missing = vec![expected(Kind::Attachment, None); 250];
        let outcome = Outcome { missing, ..Outcome::default() };
        let findings = outcome.findings();
        assert_eq!(findings.len(), MAXIMUM_FINDINGS + 1);
        assert_eq!(findings[MAXIMUM_FINDINGS].subject, "150 more missing files");
    }

    #[test]
    fn the_real_folder_is_whole_until_a_file_is_taken_away() {
        let folder = Folder::new();
        let Some(data) = folder.real("data") else { return };
        let database = data.join("db.sqlite3");
        // Keeping it open is what a server does.
        let server = Connection::open(&database).unwrap();
        let contents = super::super::read(&server).unwrap();
        let send = contents.expected[1].clone();
        let mut whole = Proof::new(&contents, true);
        let mut lacking = Proof::new(&contents, true);
        for expected in &contents.expected {
            let size = std::fs::metadata(data.join(str::from_utf8(&expected.place).unwrap())).unwrap().len();
            whole.observe(&expected.place, size);
            if *expected != send {
                lacking.observe(&expected.place, size);
            }
        }
        let host_of = |place: &[u8]| data.join(str::from_utf8(place).unwrap());
        let mut live = LiveDatabase::new(&database, host_of, &|_| false, Duration::ZERO);
        let now = 1_800_000_000;
        let outcome = whole.finish(&mut live, now, now);
        assert!(outcome.whole());
        assert_eq!(outcome.attachments, Tally { expected: 1, checked: 1, bytes: 65 });
        assert_eq!(outcome.sends, Tally { expected: 1, checked: 1, bytes: 65 });
        std::fs::remove_file(host_of(&send.place)).unwrap();
        let outcome = lacking.finish(&mut live, now, now);
        assert_eq!(outcome.missing, [send]);
        assert_eq!(outcome.unknowable, None);
        drop(server);
    }
}
