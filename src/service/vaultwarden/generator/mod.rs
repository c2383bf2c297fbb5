//! Makes Vaultwarden data folders, and plays a Vaultwarden at work on them.
//!
//! The `demo` command, tests and benchmarks need a service to back up. What is made here has the
//! tables, the row shapes, the files and the manner of writing of the server, none of its secrets.
//!
//! Invariants: [`generate`] reads no clock, and equal options make equal folders to the byte. The
//! [`Server`] does read the clock, for the times it writes into rows; its choices follow its seed.

mod activity;
mod acts;
mod files;
mod ledger;
mod pages;
mod people;
mod population;
mod random;
mod rows;
mod running;
mod schema;
mod uploads;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

use crate::error::{Error, ErrorKind, Result};

pub use activity::Server;
pub use running::{Handle, start};

/// How large an installation to make.
#[derive(Clone, Debug)]
pub struct Options {
    /// Determines every byte, together with the numbers below.
    pub seed: u64,
    /// Accounts; at least one is made.
    pub users: u32,
    /// Vault entries.
    pub ciphers: u32,
    /// Files attached to ciphers.
    pub attachments: u32,
    /// The bytes of all attachments together, about.
    pub attachment_bytes_total: u64,
    /// Sends, about half of them with a file.
    pub sends: u32,
    /// Rows of the event log; none means that the server logs no events later either.
    pub events: u64,
    /// Adds ciphers and events until the database has at least this many bytes; 0 leaves it as it comes.
    pub database_bytes: u64,
}

impl Options {
    /// Ten people: a database of about 5 MB, 50 attachments of 150 KB in the middle.
    pub fn family() -> Self {
        Self {
            seed: 1,
            users: 10,
            ciphers: 2600,
            attachments: 50,
            attachment_bytes_total: 10_500_000,
            sends: 6,
            events: 0,
            database_bytes: 0,
        }
    }

    /// Two hundred people with an event log: 30 to 40 MB, and 1,500 attachments of 350 MB together.
    pub fn company() -> Self {
        Self {
            seed: 2,
            users: 200,
            ciphers: 15_000,
            attachments: 1500,
            attachment_bytes_total: 350_000_000,
            sends: 60,
            events: 15_000,
            database_bytes: 0,
        }
    }

    /// The least that has some of everything, for tests: a few hundred KB, attachments of 1 to 60 KB.
    pub fn small() -> Self {
        Self {
            seed: 3,
            users: 4,
            ciphers: 150,
            attachments: 12,
            attachment_bytes_total: 180_000,
            sends: 8,
            events: 40,
            database_bytes: 0,
        }
    }
}

/// What [`generate`] made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Accounts.
    pub users: u64,
    /// Devices of these accounts.
    pub devices: u64,
    /// Organizations.
    pub organizations: u64,
    /// Vault entries, those added for size included.
    pub ciphers: u64,
    /// Rows of the event log.
    pub events: u64,
    /// Attachments; each has its file.
    pub attachments: u64,
    /// Bytes of these files.
    pub attachment_bytes: u64,
    /// Sends of both kinds.
    pub sends: u64,
    /// Sends with a file.
    pub file_sends: u64,
    /// Bytes of these files.
    pub send_bytes: u64,
    /// Bytes of the database, which is closed and has no log beside it.
    pub database_bytes: u64,
}

/// Writes a data folder: database, attachments, Sends, settings, key, icons.
///
/// # Errors
/// Refuses a folder in which there already is a database. A folder left by a failure is of no use:
/// for speed the database is written without a journal.
pub fn generate(folder: &Path, options: &Options) -> Result<Summary> {
    let database = database_path(folder);
    if database.exists() {
        return Err(Error::refused(format!("there is a database already: {}", database.display()))
            .hint("name an empty folder"));
    }
    files::make_folder(folder)?;
    files::write_common(folder, options.seed)?;
    let (population, database_bytes) = write_database(&database, options)
        .map_err(|error| sqlite(format!("cannot make the database {}", database.display()), error))?;
    for file in population.attachments.iter().chain(&population.file_sends) {
        files::write_sealed(folder, &file.path, file.length, options.seed)?;
    }
    let bytes = |files: &[population::Promised]| files.iter().map(|file| file.length).sum();
    let count = |files: &[population::Promised]| u64::try_from(files.len()).unwrap_or(u64::MAX);
    Ok(Summary {
        users: u64::from(options.users.max(1)),
        devices: population.devices,
        organizations: population.organizations,
        ciphers: population.ciphers,
        events: population.events,
        attachments: count(&population.attachments),
        attachment_bytes: bytes(&population.attachments),
        sends: population.sends,
        file_sends: count(&population.file_sends),
        send_bytes: bytes(&population.file_sends),
        database_bytes,
    })
}

fn write_database(path: &Path, options: &Options) -> rusqlite::Result<(population::Population, u64)> {
    let connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Nobody needs a database that was generated by half, so nothing is written twice.
    connection.execute_batch(
        "PRAGMA page_size = 4096; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
         PRAGMA cache_size = -65536; BEGIN",
    )?;
    schema::create(&connection, "2026-02-01 08:00:00")?;
    let population = population::populate(&connection, options)?;
    connection.execute_batch("COMMIT; PRAGMA journal_mode = WAL;")?;
    let bytes = population::database_bytes(&connection)?;
    connection.flush_prepared_statement_cache();
    connection.close().map_err(|(_, error)| error)?;
    Ok((population, bytes))
}

fn database_path(folder: &Path) -> PathBuf {
    folder.join("db.sqlite3")
}

/// Wraps an error of SQLite, its class derived from its code.
fn sqlite(message: impl Into<std::borrow::Cow<'static, str>>, error: rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Busy,
        Some(ErrorCode::CannotOpen) => ErrorKind::Missing,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorKind::Corrupt,
        Some(ErrorCode::DiskFull) => ErrorKind::NoSpace,
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => ErrorKind::Denied,
        _ => ErrorKind::Io,
    };
    Error::new(kind, message).caused_by(error)
}

#[cfg(test)]
mod tests;
