//! Keeping out of the way of a server that runs, and keeping one that starts out of ours.

use std::path::{Path, PathBuf};

use super::folder::show;
use crate::error::{Error, ErrorKind, Result};
use crate::source::sqlite;

/// Refuses while anybody has one of these databases open.
pub(super) fn refuse_if_in_use(databases: &[PathBuf]) -> Result<()> {
    for database in databases {
        if let Some(holder) = sqlite::holder(database)? {
            return Err(in_use(database, &holder.describe()));
        }
    }
    Ok(())
}

fn in_use(database: &Path, who: &str) -> Error {
    Error::new(ErrorKind::Busy, format!("{} is open in {who}", show(database)))
        .hint("stop the server first, such as with `docker compose stop vaultwarden`; nothing was changed")
}

/// Keeps servers that start now from reading what is about to go.
pub(super) fn take_guards(databases: &[PathBuf]) -> Result<Vec<sqlite::Guard>> {
    let mut guards = Vec::new();
    for database in databases {
        let guard =
            sqlite::Guard::take(database).map_err(|_| in_use(database, "a process that came just now"))?;
        guards.extend(guard);
    }
    Ok(guards)
}
