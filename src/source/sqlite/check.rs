//! Whether a copy is whole: its structure, its constraints, its references.
//!
//! Invariant: damage is a result, not an error; an error means that nothing was found out.

use std::collections::BTreeMap;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::error::{Error, ErrorKind, Result};
use crate::report::printable;

/// What was found in a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Damage that SQLite's `integrity_check` reports, at most a hundred lines of it; empty means none.
    pub integrity: Vec<String>,
    /// Rows that refer to rows that are not there, one line for each pair of tables. Services live with some,
    /// for SQLite enforces references only where asked to: a warning, not damage.
    pub foreign_keys: Vec<String>,
    /// Tables that could not be checked, each with the reason: they need something that only their own
    /// program brings, such as a collation.
    pub unchecked: Vec<String>,
}

impl Check {
    /// Says whether no damage was found. Broken references and unchecked tables do not count.
    pub fn passed(&self) -> bool {
        self.integrity.is_empty()
    }
}

pub(super) fn check(connection: &Connection) -> Result<Check> {
    let mut found = Check::default();
    match integrity(connection, None) {
        Ok(messages) => found.integrity = messages,
        Err(error) if is_damage(&error) => found.integrity.push(error.to_string()),
        Err(error) if is_unknown(&error) => check_each_table(connection, &mut found)?,
        Err(error) => return Err(failed(error)),
    }
    match foreign_keys(connection) {
        Ok(lines) => found.foreign_keys = lines,
        // Where damage ends the search, it may be the first to notice it.
        Err(error) if is_damage(&error) => {
            if found.integrity.is_empty() {
                found.integrity.push(error.to_string());
            }
        }
        Err(error) if is_unknown(&error) => found.foreign_keys.push(error.to_string()),
        Err(error) => return Err(failed(error)),
    }
    Ok(found)
}

/// Checks what can be checked where the schema uses something unknown to us.
fn check_each_table(connection: &Connection, found: &mut Check) -> Result<()> {
    let mut statement = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0")
        .map_err(failed)?;
    let tables = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
    for table in tables {
        let table = table.map_err(failed)?;
        match integrity(connection, Some(&table)) {
            Ok(messages) => found.integrity.extend(messages),
            Err(error) if is_damage(&error) => found.integrity.push(format!("table {table}: {error}")),
            Err(error) => found.unchecked.push(format!("table {}: {error}", printable(table.as_bytes()))),
        }
    }
    Ok(())
}

fn integrity(connection: &Connection, table: Option<&str>) -> rusqlite::Result<Vec<String>> {
    let mut messages = Vec::new();
    let take = |row: &rusqlite::Row<'_>| {
        let message = text(row.get_ref(0)?);
        if message != "ok" {
            messages.push(message);
        }
        Ok(())
    };
    match table {
        None => connection.pragma_query(None, "integrity_check", take)?,
        Some(table) => connection.pragma(None, "integrity_check", table, take)?,
    }
    Ok(messages)
}

fn foreign_keys(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut broken = BTreeMap::<(String, String), u64>::new();
    connection.pragma_query(None, "foreign_key_check", |row| {
        *broken.entry((text(row.get_ref(0)?), text(row.get_ref(2)?))).or_default() += 1;
        Ok(())
    })?;
    let line = |((table, parent), rows): (_, u64)| {
        let rows = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
        format!("{rows} of table {table} without the row of table {parent} that they refer to")
    };
    Ok(broken.into_iter().map(line).collect())
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => printable(bytes),
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// A statement that cannot be prepared here: an unknown collation, function or module, a parent table
/// without the key referred to.
fn is_unknown(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown)
}

pub(super) fn failed(error: rusqlite::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot check the copy of the database").caused_by(error)
}
