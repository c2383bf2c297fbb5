//! A Vaultwarden at work: its connection, and the transactions that happen over it.
//!
//! Invariants: every change to the database is one short transaction that begins with the write lock
//! in hand, waits up to five seconds for it as the server does, and raises [`Server::commits`] by one.
//! Choices follow the seed; the times written into rows come from the clock, so that a checker that
//! tells recent rows from old ones sees what it would see on a real server.

use std::cell::Cell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior};

use crate::error::{Error, ErrorKind, Result};

use super::random::Random;
use super::rows::signed;
use super::{database_path, ledger, sqlite};

/// A server with a data folder open; it acts only when told to.
pub struct Server {
    pub(super) folder: PathBuf,
    pub(super) seed: u64,
    pub(super) connection: Connection,
    random: Random,
    logs_events: bool,
    ledger: Cell<bool>,
    commits: u64,
}

/// What one transaction works with.
pub(super) struct Work<'server> {
    pub connection: &'server Connection,
    pub random: &'server mut Random,
    pub logs_events: bool,
    pub now: i64,
}

impl Server {
    /// Opens a data folder as the server does: write-ahead log, synchronous NORMAL, 5 s of patience.
    ///
    /// The server logs events if the folder holds some already.
    pub fn open(folder: &Path, seed: u64) -> Result<Self> {
        let path = database_path(folder);
        let opened = open_connection(&path)
            .map_err(|error| sqlite(format!("cannot open the database {}", path.display()), error))?;
        let (connection, logs_events, has_ledger) = opened;
        Ok(Self {
            folder: folder.to_owned(),
            seed,
            connection,
            random: Random::new(seed, "server"),
            logs_events,
            ledger: Cell::new(has_ledger),
            commits: 0,
        })
    }

    /// Adds tables that let a test tell whether a copy holds whole transactions only.
    ///
    /// `strongroom_ledger_a` and `strongroom_ledger_b` hold 100 rows with an `amount` each, spread over
    /// some pages, whose sum over both tables is always [`Server::LEDGER_SUM`]; the one row of
    /// `strongroom_ledger_counter` rises in `commits` by one with every commit from here on.
    pub fn enable_ledger(&self) -> Result<()> {
        if !self.ledger.get() {
            ledger::create(&self.connection).map_err(|error| sqlite("cannot create the ledger", error))?;
            self.ledger.set(true);
        }
        Ok(())
    }

    /// What the two ledgers come to together, in every state between two commits.
    pub const LEDGER_SUM: i64 = ledger::SUM;

    /// Does one small thing in one transaction: a token refresh, a login, an edit, a Send.
    pub fn act(&mut self) -> Result<()> {
        self.transact(|mut work| work.act())
    }

    /// Commits since this server was opened.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// Lives through a day: seven users in ten come by with each of their devices, one cipher in 300
    /// is edited, and where events are logged these are.
    pub fn day(&mut self) -> Result<()> {
        let (users, ciphers) = self.transact(|mut work| work.begin_day())?;
        for user in users {
            self.transact(|mut work| work.visit(&user))?;
        }
        for _ in 0..ciphers.div_ceil(300) {
            self.transact(|mut work| work.edit_cipher())?;
        }
        Ok(())
    }

    /// Moves everything in the log into the database and cuts the log to nothing.
    ///
    /// # Errors
    /// Busy when a reader held on to the log for five seconds.
    pub fn checkpoint(&self) -> Result<()> {
        let busy: i64 = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|error| sqlite("cannot checkpoint the database", error))?;
        if busy != 0 {
            return Err(Error::new(ErrorKind::Busy, "a reader keeps the log from being checkpointed"));
        }
        Ok(())
    }

    /// Runs one transaction.
    pub(super) fn transact<T>(&mut self, work: impl FnOnce(Work<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let value = self.try_transact(work).map_err(|error| sqlite("the server cannot write", error))?;
        self.commits += 1;
        Ok(value)
    }

    /// Reads, or draws, without a transaction.
    pub(super) fn look<T>(&mut self, work: impl FnOnce(Work<'_>) -> rusqlite::Result<T>) -> Result<T> {
        work(Work {
            connection: &self.connection,
            random: &mut self.random,
            logs_events: self.logs_events,
            now: now(),
        })
        .map_err(|error| sqlite("the server cannot read", error))
    }

    fn try_transact<T>(&mut self, work: impl FnOnce(Work<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let value = work(Work {
            connection: &transaction,
            random: &mut self.random,
            logs_events: self.logs_events,
            now: now(),
        })?;
        if self.ledger.get() {
            ledger::turn(&transaction, &mut self.random)?;
        }
        transaction.commit()?;
        Ok(value)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("folder", &self.folder)
            .field("commits", &self.commits)
            .finish()
    }
}

impl Work<'_> {
    /// Picks a row of a table that meets a condition; none where no row does.
    ///
    /// A row behind a gap in the rowids is likelier, which is to say one written lately.
    pub(super) fn pick<T>(
        &mut self,
        table: &str,
        columns: &str,
        condition: &str,
        read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        let last: i64 = self
            .connection
            .prepare_cached(&format!("SELECT coalesce(max(rowid), 0) FROM {table}"))?
            .query_row([], |row| row.get(0))?;
        let from = signed(self.random.below(u64::try_from(last).unwrap_or(0))) + 1;
        let sql =
            format!("SELECT {columns} FROM {table} WHERE rowid >= ?1 AND {condition} ORDER BY rowid LIMIT 1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        match statement.query_row([from], &read).optional()? {
            Some(found) => Ok(Some(found)),
            None => statement.query_row([0], &read).optional(),
        }
    }
}

fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0)
}

fn open_connection(path: &Path) -> rusqlite::Result<(Connection, bool, bool)> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")?;
    let logs_events = connection.query_row("SELECT EXISTS (SELECT 1 FROM event)", [], |row| row.get(0))?;
    let has_ledger = ledger::exists(&connection)?;
    Ok((connection, logs_events, has_ledger))
}
