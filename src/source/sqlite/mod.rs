//! SQLite databases, taken whole while their service runs.
//!
//! [`take`] makes a consistent copy in a private [`Scratch`] folder, [`fingerprint()`] says whether there is
//! anything new to take, and [`Copy::check`] proves the copy.
//!
//! Invariant: no byte beside the source changes. It is opened read-only, its log's index too; where
//! SQLite could not open it without creating or rewriting a file, the files are copied and the copy is
//! recovered instead. (Run by root, SQLite does set the owner of a log that it opens to that of the
//! database, as it would for any reader; mostly that is what it was.)
//!
//! Invariant: POSIX forgets all locks of a process on a file when that process closes *any* descriptor of
//! it. While [`take`] runs, nothing else in this process may open and close that database or its companions.

mod at_rest;
mod check;
mod connection;
mod copy;
mod error;
mod fingerprint;
mod in_use;
mod read;
mod recover;
mod scratch;
mod take;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use at_rest::{alter_at_rest, check_at_rest, open_at_rest};
pub use check::Check;
pub use connection::{needs_index, open_source};
pub use copy::Copy;
pub use error::TakeError;
pub use fingerprint::fingerprint;
pub use in_use::{Guard, Holder, holder, may_be_open_unseen};
pub use scratch::Scratch;
pub use take::{Options, take};

/// First bytes of a file that say "SQLite database".
pub const MAGIC: [u8; 16] = *b"SQLite format 3\0";

/// Length of a database's header in bytes.
const HEADER: usize = 100;

/// What SQLite appends to a database's name for the log, the log's index and the rollback journal.
pub const LOG: &str = "-wal";
/// What it appends for the log's index.
pub const INDEX: &str = "-shm";
const JOURNAL: &str = "-journal";

/// What SQLite may keep beside a database: the endings of the names.
pub const COMPANIONS: [&str; 3] = [LOG, INDEX, JOURNAL];

/// Says whether a file that begins with these bytes calls itself a SQLite database.
pub fn is_database(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(&MAGIC)
}

/// Names the database that a file of this name would accompany: `db.sqlite3` for `db.sqlite3-wal`, `-shm` or
/// `-journal`.
pub fn companion_base(name: &[u8]) -> Option<&[u8]> {
    COMPANIONS
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix.as_bytes()))
        .filter(|base| !base.is_empty() && base.last() != Some(&b'/'))
}

/// The companion of a database with this ending, one of [`COMPANIONS`].
pub fn companion(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The page size that a header states, if it is a possible one.
fn page_size(header: &[u8]) -> Option<u32> {
    let [high, low] = *header.get(16..18)? else { return None };
    // 65,536 does not fit into two bytes and is written as 1.
    let size = match (u32::from(high) << 8) | u32::from(low) {
        1 => 65_536,
        size => size,
    };
    (size.is_power_of_two() && size >= 512).then_some(size)
}
