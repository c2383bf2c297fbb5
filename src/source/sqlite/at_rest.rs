//! Databases that lie still, such as restored ones: no server has them open, and nobody else may.

use std::path::Path;

use rusqlite::Connection;

use super::check::{self, Check};
use super::connection::{open_alone, open_copy};
use super::error::TakeError;
use crate::error::Result;
use crate::interrupt::Interrupt;

/// Steps of SQLite's machine after which a check looks whether it is to stop: some milliseconds of them.
const STEPS_BETWEEN_LOOKS: i32 = 100_000;

/// Opens one, named by its absolute path, for queries: read-only, nothing in its schema trusted, and no file made
/// beside it. A log beside it is not read.
pub fn open_at_rest(database: &Path) -> Result<Connection> {
    open_copy(database)
        .map_err(|error| TakeError::sqlite("cannot open the copy of the database", error).into())
}

/// Looks for damage, and for rows that refer to rows that are not there.
pub fn check_at_rest(database: &Path, interrupt: &Interrupt) -> Result<Check> {
    let mut connection = open_at_rest(database)?;
    let asked = interrupt.clone();
    let stop = move || asked.requested();
    connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(stop)).map_err(check::failed)?;
    check::check(&connection).map_err(|error| interrupt.check().err().unwrap_or(error))
}

/// Does something to one in a transaction, and brings it to the disk with nothing left beside it. A log or journal
/// that is there is taken for its own, and taken in.
pub fn alter_at_rest<T>(
    database: &Path,
    alter: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T> {
    let failed = |error| TakeError::sqlite("cannot write the database", error);
    let mut connection = open_alone(database).map_err(failed)?;
    let transaction = connection.transaction().map_err(failed)?;
    let done = alter(&transaction).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    Ok(done)
}
