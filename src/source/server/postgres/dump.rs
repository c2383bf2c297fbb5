//! The dump of one database: `pg_dump` in a view of the data that a session of ours holds open, so that the server can
//! be asked about that view once the dump has passed.
//!
//! Invariant: whatever fails, dropping this ends `pg_dump`, the session and its transaction.

use std::collections::BTreeSet;
use std::time::Duration;

use super::archive::Archive;
use super::check::{self, Expected, Verdict};
use super::session::Session;
use super::transient::Transient;
use super::{Facts, Postgres, place, remedy};
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::{DumpKind, DumpReport};
use crate::report::printable;
use crate::source::command::Running;
use crate::source::server::Row;
use crate::source::server::{Dump, Finished};
use crate::source::stream::Patience;

/// Opens the view. Limits of time that the server or a role has are not for backups; a table whose rows are not all
/// ours to see is an error instead of fewer rows.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT pg_catalog.set_config(name, '0', true) FROM pg_catalog.pg_settings WHERE name IN ('statement_timeout',
'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout', 'idle_session_timeout');
SELECT pg_catalog.set_config(name, '10s', true) FROM pg_catalog.pg_settings
WHERE name = 'client_connection_check_interval';
SELECT pg_catalog.set_config('row_security', 'off', true), pg_catalog.set_config('client_encoding', 'UTF8', true);";
const EXPORT: &str = "SELECT pg_catalog.pg_export_snapshot();";

/// The dump of a database.
pub(super) struct DatabaseDump<'a> {
    server: &'a Postgres,
    facts: Facts,
    patience: Patience,
    database: String,
    place: Vec<u8>,
    bytes: u64,
    work: Option<Work>,
}

/// What runs while a dump passes.
struct Work {
    pg_dump: Running,
    session: Session,
    archive: Archive,
    expected: Expected,
    /// Whether the dump is of the session's own view of the data.
    shared: bool,
    /// Tables that nobody can change behind the view, once that was tried.
    locked: Option<BTreeSet<u32>>,
    /// What is worth knowing before anything came.
    messages: Vec<String>,
}

impl Work {
    /// Fills a buffer, looking at each piece as it comes: the locks are wanted as soon as `pg_dump` has its own.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0usize;
        while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
            let read = self.pg_dump.read(room)?;
            if read == 0 {
                break;
            }
            self.archive.feed(room.get(..read).unwrap_or_default())?;
            filled = filled.saturating_add(read);
            if self.shared
                && self.locked.is_none()
                && let Some(tables) = self.archive.listed()
            {
                self.locked = Some(check::lock(&mut self.session, tables)?);
            }
        }
        Ok(filled)
    }
}

impl<'a> DatabaseDump<'a> {
    pub(super) fn new(server: &'a Postgres, facts: Facts, patience: Patience, database: String) -> Self {
        let place = place::of_database(&database);
        Self { server, facts, patience, database, place, bytes: 0, work: None }
    }

    fn explain(&self, error: Error) -> Error {
        let database = printable(self.database.as_bytes());
        remedy::explain(error, format!("the database {database} of {} cannot be dumped", self.server.shown()))
    }

    fn begin(&self) -> Result<Work> {
        let client = self.server.connection.client("psql", &self.database);
        let mut session = Session::open(client, &self.server.options, &self.patience)?;
        session.ask(BEGIN)?;
        let shared = !self.facts.in_recovery || self.facts.major.standby_exports();
        let view = if shared { Some(exported(&session.ask(EXPORT)?)?) } else { None };
        let transient = Transient::ask(&mut session, &self.server.options.transient)?;
        let without = [self.server.options.without_rows.clone(), transient.patterns()].concat();
        let expected = Expected::ask(&mut session, &without)?;
        let pg_dump = self.start(view.as_deref(), &without)?;
        let messages = transient.messages();
        Ok(Work { pg_dump, session, archive: Archive::default(), expected, shared, locked: None, messages })
    }

    fn start(&self, view: Option<&str>, without: &[String]) -> Result<Running> {
        let mut client = self.server.connection.client("pg_dump", &self.database);
        client.arguments.extend(["--format=custom", "--compress=0"].map(Into::into));
        client.arguments.extend(view.map(|view| format!("--snapshot={view}").into()));
        client.arguments.extend(self.patience.silence.map(|limit| {
            // The server's words about a lock tell more than that nothing came.
            let limit = limit.saturating_sub(limit / 5).max(Duration::from_millis(1));
            format!("--lock-wait-timeout={}", limit.as_millis()).into()
        }));
        client
            .arguments
            .extend(without.iter().map(|pattern| format!("--exclude-table-data={pattern}").into()));
        let mut running = client.start(&self.server.options, &self.patience)?;
        running.told_all();
        Ok(running)
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut work = match self.work.take() {
            Some(work) => work,
            None => self.begin()?,
        };
        let read = work.fill(buffer)?;
        self.bytes = self.bytes.saturating_add(read as u64);
        self.work = Some(work);
        Ok(read)
    }

    fn judge(&mut self) -> Result<(Verdict, Vec<Vec<Row>>)> {
        let work = self.work.take().ok_or_else(|| Error::new(ErrorKind::Io, "nothing of it was read"))?;
        let Work { pg_dump, mut session, archive, expected, shared, locked, messages } = work;
        pg_dump.finish()?;
        let reading = archive.finish()?;
        let mut verdict = Verdict::default();
        if shared {
            verdict = expected.compare(&mut session, &reading, &locked.unwrap_or_default())?;
        } else {
            verdict.messages.push(
                "a standby of this version lends its view of the data to nobody: its rows were not counted"
                    .to_owned(),
            );
        }
        verdict.messages.extend(messages);
        let options = &self.server.options;
        let mut answers =
            options.questions.iter().map(|question| session.rows(question)).collect::<Result<Vec<_>>>()?;
        for question in &options.generated {
            answers.push(session.rows_of_all(question)?);
        }
        session.ask("ROLLBACK;")?;
        session.close()?;
        Ok((verdict, answers))
    }
}

impl Dump for DatabaseDump<'_> {
    fn place(&self) -> &[u8] {
        &self.place
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.take(buffer).map_err(|error| self.explain(error))
    }

    fn finish(mut self: Box<Self>) -> Result<Finished> {
        let (verdict, answers) = self.judge().map_err(|error| self.explain(error))?;
        let report = DumpReport {
            place: self.place,
            kind: DumpKind::Postgres,
            database: Some(self.database),
            server: Some(self.facts.server),
            client: Some(self.facts.client),
            bytes: self.bytes,
            tables: verdict.tables,
            without_rows: verdict.without_rows,
            messages: verdict.messages,
        };
        Ok(Finished { report, answers })
    }
}

/// The name of the view that the server lends, which becomes an argument.
fn exported(lines: &[String]) -> Result<String> {
    let name = lines
        .last()
        .filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'));
    name.cloned().ok_or_else(|| Error::new(ErrorKind::Io, "the server did not lend its view of the data"))
}
