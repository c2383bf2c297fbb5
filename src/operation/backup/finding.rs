//! What a backup says about single files.

use crate::error::{Error, ErrorKind};
use crate::report::{Finding, printable};
use crate::source::files::Entry;

/// A file that could not be read.
pub(super) fn unreadable(entry: &Entry, error: &Error) -> Finding {
    let finding =
        Finding::problem(printable(entry.host_path().as_os_str().as_encoded_bytes()), error.chain());
    match (error.next_step(), error.kind()) {
        (Some(hint), _) => finding.with_hint(hint),
        (None, ErrorKind::Denied) => {
            finding.with_hint("back up as somebody who may read it, or leave it out by --exclude")
        }
        (None, _) => finding,
    }
}

/// A file that was gone before it could be opened.
pub(super) fn vanished(entry: &Entry) -> Finding {
    Finding::warning(
        printable(entry.host_path().as_os_str().as_encoded_bytes()),
        "vanished before it could be read",
    )
}

/// A file that was deleted after it was opened: it is stored as it was, and nothing is wrong with it.
pub(super) fn deleted(entry: &Entry) -> Finding {
    Finding::warning(
        printable(entry.host_path().as_os_str().as_encoded_bytes()),
        "was deleted while it was read; it is stored as it was",
    )
}

/// A file that changed while it was read.
pub(super) fn changed(entry: &Entry) -> Finding {
    Finding::problem(
        printable(entry.host_path().as_os_str().as_encoded_bytes()),
        "changed while it was read; what is stored may mix old and new",
    )
    .with_hint("the next backup reads it again; to take it at rest, stop what writes it")
}
