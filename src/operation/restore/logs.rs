//! What SQLite kept beside a database that is restored in place. A log of other contents would be played into it.
//!
//! Invariants: a database that somebody has open is not replaced. What lies beside one is put aside directly before the
//! database changes, also where only its log does, and never removed; where the database is not restored after all, it goes
//! back. A restore that is killed between these two renames leaves the old database, and its log under the other name.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use super::Context;
use super::plan::{FilePlan, Plan, Standing};
use super::target::Target;
use crate::error::{Error, ErrorKind, Result};
use crate::format::node::NodeKind;
use crate::format::path;
use crate::operation::aside;
use crate::report::{Finding, printable};
use crate::service::vaultwarden::{ASIDE, DATABASE_PLACE};
use crate::source::sqlite::{self, COMPANIONS, INDEX, LOG, companion_base};

/// How a log, and how a journal that is to be played back, begins; the last bit of a log says how it counts.
const LOG_MAGIC: [u8; 4] = [0x37, 0x7f, 0x06, 0x82];
const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Something beside a database, and what it will be called.
struct Log {
    from: Vec<u8>,
    to: Vec<u8>,
}

/// What lies beside the databases that are restored, by the paths of these.
#[derive(Default)]
pub(super) struct Logs(BTreeMap<Vec<u8>, Vec<Log>>);

/// The database that a path belongs to, as its log or as one that was put aside.
pub(super) fn database_of(place: &[u8]) -> Option<&[u8]> {
    let aside = place.windows(ASIDE.len()).rposition(|part| part == ASIDE.as_bytes());
    let log = aside.and_then(|end| place.get(..end)).unwrap_or(place);
    companion_base(log)
}

/// Finds what lies beside the databases that are restored, and that is not restored itself. A backup that takes
/// databases as files does not say which of them are any: beside those files, what lies there shows it.
///
/// # Errors
/// `Busy` where somebody has one of them open that is to change.
pub(super) fn find(context: &Context<'_>, target: &Target, folder: &Path, plan: &mut Plan) -> Result<Logs> {
    let mut logs = Logs::default();
    if target.was_empty() {
        return Ok(logs);
    }
    let is_right = |file: &&FilePlan| matches!(file.standing, Standing::Same | Standing::Equal);
    let right: HashSet<&[u8]> = plan.files.iter().filter(is_right).map(|file| &*file.path).collect();
    let lost: HashSet<&[u8]> =
        plan.files.iter().filter(|file| file.lost.is_some()).map(|file| &*file.path).collect();
    let search = Search { target, plan, time: aside::time() };
    for (place, stored) in &plan.databases {
        context.interrupt.check()?;
        if stored.is_none() || lost.contains(&**place) {
            continue;
        }
        let found = search.beside(place, false)?;
        if !found.is_empty() || !right.contains(&**place) {
            refuse_open(context, &folder.join(aside::path_of(place)))?;
        }
        logs.add(place, found);
    }
    // What is right itself is read with its log all the same.
    let files = plan.files.iter().filter(|file| file.lost.is_none()).map(|file| &*file.path);
    let links = plan.hard_links.iter().filter(|link| link.lost.is_none()).map(|link| &*link.path);
    let neighbours = Neighbours::look(context, target, plan)?;
    for place in files.chain(links) {
        if plan.databases.contains_key(place) || !neighbours.may_be_beside(place) {
            continue;
        }
        let found = search.beside(place, true)?;
        if !found.is_empty() {
            refuse_open(context, &folder.join(aside::path_of(place)))?;
        }
        logs.add(place, found);
    }
    for log in logs.0.values().flatten() {
        plan.held.insert(&log.to);
    }
    Ok(logs)
}

/// The files beside which something lies that is called like a log of theirs: one listing of a folder costs less than
/// three questions about each file in it.
struct Neighbours<'p> {
    bases: BTreeSet<Vec<u8>>,
    /// Folders that cannot be listed.
    unlisted: HashSet<&'p [u8]>,
}

impl<'p> Neighbours<'p> {
    fn look(context: &Context<'_>, target: &Target, plan: &'p Plan) -> Result<Self> {
        let mut found = Self { bases: BTreeSet::new(), unlisted: HashSet::new() };
        let there = plan.folders.iter().filter(|folder| folder.standing == Standing::Same);
        for folder in std::iter::once(&[][..]).chain(there.map(|folder| &*folder.path)) {
            context.interrupt.check()?;
            let Ok(names) = target.names(folder) else {
                found.unlisted.insert(folder);
                continue;
            };
            for base in names.iter().filter_map(|name| companion_base(name)) {
                let mut place = folder.to_vec();
                path::push(&mut place, base);
                found.bases.insert(place);
            }
        }
        Ok(found)
    }

    fn may_be_beside(&self, place: &[u8]) -> bool {
        self.bases.contains(place) || self.unlisted.contains(path::parent(place).unwrap_or_default())
    }
}

/// Looking beside databases.
struct Search<'a> {
    target: &'a Target,
    plan: &'a Plan,
    time: String,
}

impl Search<'_> {
    /// What lies beside a file and is not restored itself; with `only_certain`, what a database would be changed by.
    fn beside(&self, place: &[u8], only_certain: bool) -> Result<Vec<Log>> {
        let mut found: Vec<Log> = Vec::new();
        for suffix in COMPANIONS {
            let from = [place, suffix.as_bytes()].concat();
            let is_file = self.target.look(&from)?.is_some_and(|seen| seen.kind != Some(NodeKind::Directory));
            if !is_file || self.plan.restores(&from) {
                continue;
            }
            // An index of a log is worth nothing without it.
            let has_log = suffix == INDEX && !found.is_empty();
            if only_certain && !has_log && !is_log(self.target, &from) {
                continue;
            }
            let name = [&from, ASIDE.as_bytes(), self.time.as_bytes()].concat();
            found.push(Log { to: free_name(self.target, &name)?, from });
        }
        Ok(found)
    }
}

/// How a file in the target begins.
enum Start {
    /// It is no file, or has fewer bytes than a log.
    Nothing,
    Bytes([u8; 8]),
    /// It may not be read.
    Unknown,
}

fn start_of(target: &Target, place: &[u8]) -> Start {
    match target.look(place) {
        Ok(Some(seen)) if seen.kind == Some(NodeKind::File) && seen.size >= 8 => {}
        Ok(_) => return Start::Nothing,
        Err(_) => return Start::Unknown,
    }
    let Ok(Some((file, _))) = target.open_existing(place) else { return Start::Unknown };
    let mut begins = [0; 8];
    let read = std::os::unix::fs::FileExt::read_exact_at(&std::fs::File::from(file), &mut begins, 0);
    if read.is_ok() { Start::Bytes(begins) } else { Start::Unknown }
}

/// Whether a file in the target would be played into a database; one that cannot be read may be.
fn is_log(target: &Target, place: &[u8]) -> bool {
    match start_of(target, place) {
        Start::Nothing => false,
        Start::Bytes(begins) => is_magic(begins),
        Start::Unknown => true,
    }
}

/// Whether a file in the target calls itself a database; one that cannot be read may be one.
pub(super) fn is_database(target: &Target, place: &[u8]) -> bool {
    match start_of(target, place) {
        Start::Nothing => false,
        Start::Bytes(begins) => begins == *b"SQLite f",
        Start::Unknown => true,
    }
}

/// Whether what is called like the log of a file, or like one that was put aside, is one: a file beside a file, and one of
/// the two begins like what it is called.
pub(super) fn belongs_to(target: &Target, place: &[u8], base: &[u8]) -> bool {
    let is_file = |place: &[u8]| {
        target.look(place).is_ok_and(|seen| seen.is_some_and(|seen| seen.kind == Some(NodeKind::File)))
    };
    if !is_file(place) || !is_file(base) {
        return false;
    }
    let ending = place.get(base.len()..).unwrap_or_default();
    let log = ending.strip_prefix(INDEX.as_bytes()).map(|end| [base, LOG.as_bytes(), end].concat());
    is_database(target, base) || is_log(target, log.as_deref().unwrap_or(place))
}

/// Whether a file that begins so is played into a database.
pub(super) fn is_magic(begins: [u8; 8]) -> bool {
    let [one, two, three, four, ..] = begins;
    [one, two, three, four & 0xfe] == LOG_MAGIC || begins == JOURNAL_MAGIC
}

/// A name that nothing has, for somebody may restore twice in a second.
fn free_name(target: &Target, name: &[u8]) -> Result<Vec<u8>> {
    let mut free = name.to_vec();
    for number in 2u32.. {
        if target.look(&free)?.is_none() {
            break;
        }
        free = [name, format!("-{number}").as_bytes()].concat();
    }
    Ok(free)
}

/// Refuses a database that somebody has open; a dry run only says so.
fn refuse_open(context: &Context<'_>, database: &Path) -> Result<()> {
    // Who may not read it cannot find out.
    let Ok(Some(holder)) = sqlite::holder(database) else { return Ok(()) };
    let shown = printable(database.as_os_str().as_encoded_bytes());
    let cause = format!("is open in {}", holder.describe());
    let hint = "stop that program before its database is restored, or leave the database out with --exclude";
    if context.request.dry_run {
        context.reporter.report(Finding::warning(shown, cause).with_hint(hint));
        return Ok(());
    }
    Err(Error::new(ErrorKind::Busy, format!("{shown} {cause}; nothing was changed")).hint(hint))
}

impl Logs {
    fn add(&mut self, place: &[u8], found: Vec<Log>) {
        if !found.is_empty() {
            self.0.insert(place.to_vec(), found);
        }
    }

    /// Says what would be put aside.
    pub(super) fn tell(&self, context: &Context<'_>) {
        for (database, logs) in &self.0 {
            for log in logs {
                tell(context, database, log);
            }
        }
    }

    /// Changes a database once what lies beside it is put aside, and puts that back where nothing comes of it.
    ///
    /// # Errors
    /// Whatever `change` says.
    pub(super) fn aside<T>(
        &self,
        context: &Context<'_>,
        target: &Target,
        database: &[u8],
        change: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let Some(logs) = self.0.get(database) else { return change() };
        let mut moved = Vec::new();
        let put_aside = logs.iter().try_for_each(|log| {
            target.rename(&log.from, &log.to)?;
            moved.push(log);
            Ok(())
        });
        let changed = put_aside.and_then(|()| change());
        match changed {
            Ok(changed) => {
                for log in moved {
                    tell(context, database, log);
                }
                Ok(changed)
            }
            Err(error) => {
                moved.into_iter().try_for_each(|log| target.rename(&log.to, &log.from))?;
                Err(error)
            }
        }
    }
}

fn tell(context: &Context<'_>, database: &[u8], log: &Log) {
    let would = if context.request.dry_run { "would be" } else { "is" };
    let name = printable(path::name(&log.to));
    let cause = format!("belongs to other contents of its database, and {would} kept as {name}");
    let finding = Finding::warning(format!("/{}", printable(&log.from)), cause);
    let is_vault = context.snapshot.manifest.service.is_some()
        && context.in_snapshot(database) == DATABASE_PLACE.as_bytes();
    context.reporter.report(if is_vault {
        finding.with_hint("`restore --vaultwarden` puts a Vaultwarden back as a whole, and proves it first")
    } else {
        finding
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_known_by_its_name_also_where_it_was_put_aside() {
        assert_eq!(database_of(b"a/db-wal"), Some(&b"a/db"[..]));
        assert_eq!(database_of(b"a/db-journal.before-restore-2026-11-21T190500Z"), Some(&b"a/db"[..]));
        assert_eq!(database_of(b"a/db"), None);
        assert!(is_magic(*b"\x37\x7f\x06\x82\0\0\0\0") && is_magic(*b"\x37\x7f\x06\x83\0\0\0\0"));
        assert!(is_magic(JOURNAL_MAGIC) && !is_magic(*b"\0\0\0\0\0\0\0\0") && !is_magic(*b"SQLite f"));
        assert_eq!(database_of(b"a/db.before-restore-1"), None);
    }
}
