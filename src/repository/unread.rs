//! One object that cannot be had, told from a store that does not answer.
//!
//! Follows `format-spec/11-ordering.md#unread`. Invariants: an object counts as unread only if the system below failed twice to
//! read it and the store gave another object after that; any other trouble stays what it is. Whoever deletes by what he did
//! not read treats it as trouble, as every class of errors is but damage.

use super::Repository;
use crate::backend::{ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::report::{Finding, Reporter, report_all};

impl Repository {
    /// Reads an object that a listing showed.
    ///
    /// # Errors
    /// `Unread` where the store answers and does not give it, with what can be done then; whatever `read` says otherwise.
    pub(crate) fn read_listed_object<T>(&self, name: &ObjectName, read: impl Fn() -> Result<T>) -> Result<T> {
        let failed = |error: &Error| error.kind() == ErrorKind::Io;
        match read() {
            Err(error) if failed(&error) => {}
            read => return read,
        }
        match read() {
            Err(error) if failed(&error) && self.answers() => {
                Err(error.of_kind(ErrorKind::Unread).hint(way_out(name)))
            }
            read => read,
        }
    }

    /// Whether the store gives anything.
    pub(crate) fn answers(&self) -> bool {
        self.backend.get(&ObjectName::CONFIG, limits::SMALL_OBJECT_MAX).is_ok()
    }
}

/// Whether an error says that an object is damaged, or that it alone cannot be had: what goes on without it says so.
pub(crate) fn is_passed_over(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Unread)
}

/// Tells of objects that are passed over; what cannot be had makes what a command does incomplete.
pub(crate) fn report_passed_over<'a>(
    reporter: &dyn Reporter,
    what: &str,
    hint: &str,
    objects: impl Iterator<Item = (String, String, &'a Error)>,
) {
    let mut damaged = Vec::new();
    for (subject, cause, error) in objects {
        let hint = error.next_step().unwrap_or(hint);
        if error.kind() == ErrorKind::Unread {
            reporter.report_unread(Finding::problem(subject, cause).with_hint(hint));
        } else {
            damaged.push(Finding::warning(subject, cause).with_hint(hint));
        }
    }
    report_all(reporter, what, damaged);
}

/// What can be done about an object that its disk does not give.
fn way_out(name: &ObjectName) -> String {
    let short = name.id.short();
    let copy = format!(
        "put a copy in its place, made with ddrescue or taken from a copy of the repository, or move {name} out of the repository"
    );
    match name.kind {
        ObjectKind::Index => format!("{copy} and run `strongroom repair index`"),
        ObjectKind::Snapshot => format!(
            "put a copy in its place, made with ddrescue or taken from a copy of the repository, or give the snapshot up: \
             `strongroom forget {short}`"
        ),
        ObjectKind::Forgotten => format!(
            "{copy} while no backup runs, and if its snapshot is there, run `strongroom forget {short}` again"
        ),
        ObjectKind::Pack => format!(
            "put a copy in its place, made with ddrescue or taken from a copy of the repository; `strongroom repair packs {short}` \
             saves what can be read of it, and what is lost comes back with a backup, or `strongroom repair --from OTHER`"
        ),
        ObjectKind::Config
        | ObjectKind::Key
        | ObjectKind::Abandoned
        | ObjectKind::Session
        | ObjectKind::Gc => {
            "put a copy in its place, made with ddrescue or taken from a copy of the repository".to_owned()
        }
    }
}
