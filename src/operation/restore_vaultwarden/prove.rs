//! The proof that what was restored is a whole Vaultwarden, as it was when it was backed up.
//!
//! Invariant: what the backup already knew to be missing is said again, and does not stand in the way; whatever is worse
//! than that does.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::folder::show;
use super::stored::Stored;
use crate::error::{Error, Result};
use crate::format::snapshot::ServiceReport;
use crate::interrupt::Interrupt;
use crate::report::{Finding, Reporter, Severity, printable};
use crate::service::vaultwarden::{
    self, Contents, DATABASE_PLACE, Expected, FileNow, Kind, Outcome, Proof, Recheck,
};
use crate::source::sqlite;

/// The most files, or lines of one check, that are named one by one.
const NAMED_MAX: usize = 20;

/// What was proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proved {
    /// Accounts.
    pub users: u64,
    /// Tables of the database.
    pub tables: u64,
    /// Rows in them.
    pub rows: u64,
    /// Files of attachments and Sends that are there with their size.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether all of it was compared with what the backup had counted.
    pub compared: bool,
    /// Version of the database's schema.
    pub schema: Option<String>,
    /// Whether the database could be read at all.
    pub is_readable: bool,
    /// What the backup already knew to be missing or damaged.
    pub known_problems: u64,
    /// What is worse than at the backup, or was never proved.
    pub new_problems: u64,
}

/// Where findings go, and how many problems there were.
struct Prover<'a> {
    reporter: &'a dyn Reporter,
    proved: Proved,
}

/// Proves what lies in a folder: a database with nothing beside it, and its files. People are told of it by the name of
/// the target.
pub(super) fn prove(
    folder: &Path,
    target: &Path,
    stored: &Stored<'_>,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<Proved> {
    let mut prover = Prover { reporter, proved: Proved::default() };
    let database = folder.join(DATABASE_PLACE);
    reporter.progress().set_stage("checking the database");
    let say = |error: &Error| named_for_people(error, folder, target);
    prover.check(&database, stored, &say, interrupt)?;
    let contents = sqlite::open_at_rest(&database).and_then(|connection| vaultwarden::read(&connection));
    reporter.progress().set_stage("proving that every attachment is there");
    match contents {
        Ok(contents) => {
            prover.proved.is_readable = true;
            prover.compare_rows(&contents, stored.report);
            prover.compare_files(folder, &contents, stored.report, interrupt)?;
        }
        Err(error) => prover.problem("database", say(&error)),
    }
    reporter.progress().set_stage("");
    Ok(prover.proved)
}

/// Proves the files in a folder by what a database elsewhere holds, and that by what it held at the backup.
///
/// # Errors
/// Where the folder cannot be read.
pub fn prove_files(
    folder: &Path,
    contents: &Contents,
    report: &ServiceReport,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<Proved> {
    let mut prover = Prover { reporter, proved: Proved { is_readable: true, ..Proved::default() } };
    prover.compare_rows(contents, Some(report));
    prover.compare_files(folder, contents, Some(report), interrupt)?;
    Ok(prover.proved)
}

impl Prover<'_> {
    /// Something that stands in the way.
    fn problem(&mut self, subject: &str, cause: String) {
        self.add(Finding::problem(subject, cause));
    }

    fn add(&mut self, finding: Finding) {
        if finding.severity == Severity::Problem {
            self.proved.new_problems = self.proved.new_problems.saturating_add(1);
        }
        self.reporter.report(finding);
    }

    fn check(
        &mut self,
        database: &Path,
        stored: &Stored<'_>,
        say: &dyn Fn(&Error) -> String,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let check = match sqlite::check_at_rest(database, interrupt) {
            Ok(check) => check,
            Err(error) => {
                interrupt.check()?;
                self.problem("database", say(&error));
                return Ok(());
            }
        };
        for line in check.integrity.iter().take(NAMED_MAX) {
            self.problem("database", format!("is damaged: {line}"));
        }
        let said = |line: &String| stored.taken.is_some_and(|taken| taken.messages.contains(line));
        for line in &check.foreign_keys {
            if said(line) {
                self.add(Finding::warning("database", format!("{line}, as at the backup")));
            } else {
                self.problem("database", line.clone());
            }
        }
        for line in &check.unchecked {
            self.add(Finding::warning("database", format!("not checked: {line}")));
        }
        Ok(())
    }

    fn compare_rows(&mut self, contents: &Contents, report: Option<&ServiceReport>) {
        for finding in contents.findings.iter().cloned() {
            self.add(finding);
        }
        self.proved.users = contents.users;
        self.proved.tables = contents.tables.len() as u64;
        self.proved.rows = contents.tables.iter().fold(0, |sum, (_, rows)| sum.saturating_add(*rows));
        self.proved.schema.clone_from(&contents.schema_version);
        let Some(report) = report.filter(|report| !report.tables.is_empty()) else {
            if contents.users == 0 {
                self.problem("database", "has no users, and nothing says that it had none".to_owned());
            }
            let cause =
                "was not backed up with --vaultwarden, or not read then: there is nothing to compare it with";
            self.add(Finding::warning("snapshot", cause));
            return;
        };
        self.proved.compared = true;
        for was in &report.tables {
            let now = contents.rows(&was.table);
            if now != Some(was.rows) {
                let now = now.map_or_else(|| "is not there".to_owned(), |rows| format!("has {rows} rows"));
                let table = printable(was.table.as_bytes());
                self.problem("database", format!("table {table} {now}, and had {} at the backup", was.rows));
            }
        }
        if contents.tables.len() > report.tables.len() {
            self.problem("database", "has tables that it had not at the backup".to_owned());
        }
    }

    fn compare_files(
        &mut self,
        folder: &Path,
        contents: &Contents,
        report: Option<&ServiceReport>,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let mut proof = Proof::new(contents, true);
        each(folder, interrupt, &mut |place, _, metadata| {
            if metadata.is_file() {
                proof.observe(place, metadata.size());
            }
            Ok(())
        })?;
        let outcome = proof.finish(&mut NoServer { folder: folder.to_path_buf() }, 0, 0);
        self.proved.files = outcome.attachments.checked.saturating_add(outcome.sends.checked);
        self.proved.bytes = outcome.attachments.bytes.saturating_add(outcome.sends.bytes);
        for row in outcome.unusable.iter().take(NAMED_MAX) {
            // Their number is the same as at the backup where the rows are.
            let cause = format!("the row of {} {}", row.row, row.cause);
            self.missing(report.is_some(), "database", cause);
        }
        self.judge(&outcome, report);
        Ok(())
    }

    /// Tells what the backup knew to be missing from what is missing only now.
    fn judge(&mut self, outcome: &Outcome, report: Option<&ServiceReport>) {
        let lost = report.is_none_or(|report| self.proved.files < report.files_proved);
        let mut named = 0usize;
        let mut excused = 0u64;
        let missing = outcome.missing.iter().map(|expected| (expected, None));
        let wrong = outcome.wrong_size.iter().map(|(expected, found)| (expected, Some(*found)));
        for (expected, found) in missing.chain(wrong) {
            let known = report.is_some_and(|report| knows(report, expected));
            if !known && !lost {
                excused = excused.saturating_add(1);
                continue;
            }
            named = named.saturating_add(1);
            let cause = describe(expected, found, known);
            if named <= NAMED_MAX {
                self.missing(known, &printable(&expected.place), cause);
            } else {
                self.count(known);
            }
        }
        if named > NAMED_MAX {
            let rest = named.saturating_sub(NAMED_MAX);
            self.reporter.report(Finding::warning("files", format!("{rest} more like those")));
        }
        if excused > 0 {
            let cause = format!(
                "{excused} that the database names are not in the snapshot: they came or went while the backup ran, \
                 or it left out Sends"
            );
            self.add(Finding::warning("files", cause));
        }
    }

    fn missing(&mut self, known: bool, subject: &str, cause: String) {
        self.count(known);
        let hint = "an older snapshot may have it: strongroom dump SNAPSHOT PATH";
        self.reporter.report(Finding::problem(subject, cause).with_hint(hint));
    }

    fn count(&mut self, known: bool) {
        let counter = if known { &mut self.proved.known_problems } else { &mut self.proved.new_problems };
        *counter = counter.saturating_add(1);
    }
}

/// What an error says, with the names of the target and not those by which this program reaches what it made.
pub(super) fn named_for_people(error: &Error, folder: &Path, target: &Path) -> String {
    let said = error.chain().replace(&show(folder), &show(target));
    // SQLite adds how a database was opened to its name.
    match said.split_once("?mode=") {
        Some((before, after)) => {
            let end = after.find(|letter: char| !(letter.is_ascii_alphanumeric() || "=&".contains(letter)));
            format!("{before}{}", after.get(end.unwrap_or(after.len())..).unwrap_or_default())
        }
        None => said,
    }
}

fn knows(report: &ServiceReport, expected: &Expected) -> bool {
    report.damaged.binary_search_by(|damage| damage.place.as_slice().cmp(&expected.place)).is_ok()
}

fn describe(expected: &Expected, found: Option<u64>, known: bool) -> String {
    let what = found.map_or_else(
        || "is missing".to_owned(),
        |found| format!("has {found} bytes and must have {}", expected.size),
    );
    format!("{what}{}", if known { ", as it was at the backup" } else { "" })
}

/// Nobody to ask: what is there is all there is.
struct NoServer {
    folder: PathBuf,
}

impl Recheck for NoServer {
    fn current_size(&mut self, _: Kind, _: &str, _: &str) -> Result<Option<u64>> {
        Err(Error::missing("no server runs"))
    }

    fn file_now(&mut self, place: &[u8]) -> Option<FileNow> {
        let path = self.folder.join(std::ffi::OsStr::from_bytes(place));
        path.symlink_metadata().ok().map(|found| FileNow { size: found.size(), changed: 0 })
    }

    fn is_no_upload(&mut self, _: &[u8]) -> bool {
        true
    }

    fn pause(&mut self) {}
}

/// Sees one thing: its place, where it is, and what it is.
type Visit<'a> = dyn FnMut(&[u8], &Path, &Metadata) -> Result<()> + 'a;

/// Visits everything below a folder, links not followed, with its place in it.
pub(super) fn each(folder: &Path, interrupt: &Interrupt, visit: &mut Visit<'_>) -> Result<()> {
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        interrupt.check()?;
        let failed = |error| Error::io(format!("cannot read {}", show(&next)), error);
        for entry in fs::read_dir(&next).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let metadata = path.symlink_metadata().map_err(failed)?;
            let place = path.strip_prefix(folder).unwrap_or(&path).as_os_str().as_bytes().to_vec();
            visit(&place, &path, &metadata)?;
            if metadata.is_dir() {
                open.push(path);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::snapshot::{Damage, TableRows};
    use crate::report::Collector;

    fn report(users: u64, files_proved: u64, damaged: &[&str]) -> ServiceReport {
        let damage = |place: &&str| Damage { place: place.as_bytes().to_vec(), expected: 5, found: None };
        ServiceReport {
            name: "vaultwarden".into(),
            origins: Vec::new(),
            schema: None,
            tables: vec![TableRows { table: "users".into(), rows: users }],
            files_proved,
            bytes_proved: 0,
            damaged: damaged.iter().map(damage).collect(),
            orphans: Vec::new(),
            deleted_meanwhile: 0,
            being_uploaded: 0,
            whole: damaged.is_empty(),
            release: None,
        }
    }

    fn contents(users: u64) -> Contents {
        Contents { tables: vec![("users".into(), users)], users, ..Contents::default() }
    }

    fn missing(place: &str) -> Outcome {
        let place = place.as_bytes().to_vec();
        let expected = Expected { place, size: 5, kind: Kind::Attachment, row_id: "r".into(), changed: None };
        Outcome { missing: vec![expected], ..Outcome::default() }
    }

    /// New and known problems of a proof.
    fn problems(prove: impl FnOnce(&mut Prover<'_>)) -> (u64, u64) {
        let reporter = Collector::default();
        let mut prover = Prover { reporter: &reporter, proved: Proved::default() };
        prove(&mut prover);
        (prover.proved.new_problems, prover.proved.known_problems)
    }

    #[test]
    fn rows_are_as_many_as_at_the_backup() {
        assert_eq!(problems(|prover| prover.compare_rows(&contents(4), Some(&report(4, 0, &[])))), (0, 0));
        assert_eq!(problems(|prover| prover.compare_rows(&contents(3), Some(&report(4, 0, &[])))), (1, 0));
        let more = Contents { tables: vec![("more".into(), 1), ("users".into(), 4)], ..contents(4) };
        assert_eq!(problems(|prover| prover.compare_rows(&more, Some(&report(4, 0, &[])))), (1, 0));
        assert_eq!(problems(|prover| prover.compare_rows(&contents(0), None)), (1, 0));
        assert_eq!(problems(|prover| prover.compare_rows(&contents(0), Some(&report(0, 0, &[])))), (0, 0));
    }

    #[test]
    fn people_are_told_of_the_target() {
        let (held, target) = (Path::new("/proc/self/fd/6/data"), Path::new("/srv/data"));
        let said = |text: &'static str| named_for_people(&Error::corrupt(text), held, target);
        let uri = "cannot open: /proc/self/fd/6/data/db.sqlite3?mode=ro&immutable=1: no such file";
        assert_eq!(said(uri), "cannot open: /srv/data/db.sqlite3: no such file");
        assert_eq!(said("/proc/self/fd/6/data/a?mode=rw"), "/srv/data/a");
        assert_eq!(said("nothing"), "nothing");
    }

    #[test]
    fn what_the_backup_knew_does_not_stand_in_the_way() {
        let judge = |report: Option<&ServiceReport>| {
            problems(|prover| {
                prover.proved.files = 3;
                prover.judge(&missing("attachments/a/b"), report);
            })
        };
        assert_eq!(judge(Some(&report(1, 3, &["attachments/a/b"]))), (0, 1), "known");
        assert_eq!(judge(Some(&report(1, 4, &[]))), (1, 0), "one that was proved is gone");
        assert_eq!(judge(Some(&report(1, 3, &[]))), (0, 0), "it came while the backup ran");
        assert_eq!(judge(None), (1, 0), "nobody knows");
    }
}
