//! What SQLite kept beside a database that is restored in place. A log of other contents would be played into it.
//!
//! Invariants: a database that somebody has open is not replaced. What lies beside one is put aside before the database
//! changes, and never removed; where the database is not restored after all, it goes back.

use std::collections::HashSet;
use std::path::Path;

use super::Context;
use super::plan::{Plan, Standing};
use super::target::Target;
use crate::error::{Error, ErrorKind, Result};
use crate::operation::aside;
use crate::report::{Finding, printable};
use crate::repository::tree::lookup;
use crate::service::vaultwarden::{ASIDE, DATABASE_PLACE};
use crate::source::sqlite::{self, COMPANIONS, companion_base};

/// Something beside a database.
pub(super) struct Log {
    database: Vec<u8>,
    /// What the database was before.
    was: Option<(u64, u64)>,
    from: Vec<u8>,
    to: Vec<u8>,
}

/// The database that a path belongs to, as its log or as one that was put aside.
pub(super) fn database_of(place: &[u8]) -> Option<&[u8]> {
    let aside = place.windows(ASIDE.len()).rposition(|part| part == ASIDE.as_bytes());
    let log = aside.and_then(|end| place.get(..end)).unwrap_or(place);
    companion_base(log)
}

/// Finds what lies beside the databases that are restored, and that the snapshot does not hold.
///
/// # Errors
/// `Busy` where somebody has one of them open that is to change.
pub(super) fn find(
    context: &Context<'_>,
    target: &Target,
    folder: &Path,
    plan: &mut Plan,
) -> Result<Vec<Log>> {
    let mut logs = Vec::new();
    if target.was_empty() {
        return Ok(logs);
    }
    let right: HashSet<&[u8]> = plan
        .files
        .iter()
        .filter(|file| matches!(file.standing, Standing::Same | Standing::Equal))
        .map(|file| &*file.path)
        .collect();
    let lost: HashSet<&[u8]> =
        plan.files.iter().filter(|file| file.lost.is_some()).map(|file| &*file.path).collect();
    let time = aside::time();
    for (place, stored) in &plan.databases {
        context.interrupt.check()?;
        let Some(stored) = stored.as_ref().filter(|_| !lost.contains(&**place)) else { continue };
        let before = logs.len();
        for suffix in COMPANIONS {
            let beside = |place: &[u8]| [place, suffix.as_bytes()].concat();
            let is_stored = lookup(context.reader, context.snapshot.root(), &beside(stored))?.is_some();
            let from = beside(place);
            if !is_stored && target.look(&from)?.is_some() {
                let to = free_name(target, &[&from, ASIDE.as_bytes(), time.as_bytes()].concat())?;
                let was = target.look(place)?.map(|seen| seen.identity);
                logs.push(Log { database: place.to_vec(), was, from, to });
            }
        }
        if logs.len() > before || !right.contains(&**place) {
            refuse_open(context, &folder.join(aside::path_of(place)))?;
        }
    }
    for log in &logs {
        plan.held.insert(&log.to);
    }
    Ok(logs)
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

/// Puts aside what was found, or says that it would be; gives what was.
pub(super) fn put_aside<'l>(context: &Context<'_>, target: &Target, logs: &'l [Log]) -> Result<Vec<&'l Log>> {
    let mut moved = Vec::new();
    for log in logs {
        if !context.request.dry_run {
            if let Err(error) = target.rename(&log.from, &log.to) {
                put_back(target, &moved, None)?;
                return Err(error);
            }
            moved.push(log);
        }
        let would = if context.request.dry_run { "would be" } else { "is" };
        let name = printable(crate::format::path::name(&log.to));
        let cause = format!("belongs to other contents of its database, and {would} kept as {name}");
        let finding = Finding::warning(format!("/{}", printable(&log.from)), cause);
        let is_vault = context.snapshot.manifest.service.is_some()
            && context.in_snapshot(&log.database) == DATABASE_PLACE.as_bytes();
        context.reporter.report(if is_vault {
            finding
                .with_hint("`restore --vaultwarden` puts a Vaultwarden back as a whole, and proves it first")
        } else {
            finding
        });
    }
    Ok(moved)
}

/// Puts back what belongs to databases that were not restored: those that are lost, or where the restore ended before
/// its time those that are what they were.
pub(super) fn put_back(target: &Target, moved: &[&Log], lost: Option<&HashSet<&[u8]>>) -> Result<()> {
    for log in moved {
        let is_as_before = match lost {
            Some(lost) => lost.contains(log.database.as_slice()),
            None => target.look(&log.database)?.map(|seen| seen.identity) == log.was,
        };
        if is_as_before {
            target.rename(&log.to, &log.from)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_known_by_its_name_also_where_it_was_put_aside() {
        assert_eq!(database_of(b"a/db-wal"), Some(&b"a/db"[..]));
        assert_eq!(database_of(b"a/db-journal.before-restore-2026-11-21T190500Z"), Some(&b"a/db"[..]));
        assert_eq!(database_of(b"a/db"), None);
        assert_eq!(database_of(b"a/db.before-restore-1"), None);
    }
}
