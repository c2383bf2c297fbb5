//! The dump of one database, and the sessions beside it that know what must be in it.
//!
//! Invariant: whatever fails, dropping this ends the client, the sessions, their transactions and the lock.

use super::script::Script;
use super::session::{Row, Session};
use super::tables::{self, Counted, Table, Verdict};
use super::version::Family;
use super::view::{self, Lock};
use super::{Facts, Mysql, place, remedy};
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::{DumpKind, DumpReport};
use crate::report::printable;
use crate::source::command::Running;
use crate::source::server::client::Client;
use crate::source::server::{Dump, Finished};
use crate::source::stream::Patience;

/// What makes a dump whole, the same every night, and cut so that what did not change is found again.
const OPTIONS: [&str; 12] = [
    "--single-transaction",
    "--quick",
    "--routines",
    "--events",
    "--triggers",
    "--hex-blob",
    "--skip-dump-date",
    "--order-by-primary",
    "--no-tablespaces",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
    // One transaction for the rows of a table, without which restoring waits for the disk at each statement.
    "--no-autocommit",
];
/// Rows of one statement, in bytes: each statement ends elsewhere once a row before it was added, and the chunks around
/// its end are new. The fewer the better, but servers take no more than 16 MiB at once by default. (138 of 40,000 rows
/// changed, 18.8 MB, chunks of 64 KiB: 6.7 MB are new with the clients' 1 MiB, 6.4 with these 8, 6.6 with a statement for each
/// row.)
const STATEMENT: &str = "--net-buffer-length=8M";
/// What only MySQL's clients have, for they ask servers for more than is needed here.
const MYSQL_OPTIONS: [&str; 2] = ["--loose-set-gtid-purged=OFF", "--loose-column-statistics=0"];
/// Read at once until the lock is gone.
const FIRST_PIECE: usize = 64 << 10;

/// The dump of a database.
pub(super) struct DatabaseDump<'a> {
    server: &'a Mysql,
    facts: Facts,
    patience: Patience,
    database: String,
    place: Vec<u8>,
    bytes: u64,
    work: Option<Work>,
}

/// What runs while a dump passes.
struct Work {
    client: Running,
    script: Script,
    tables: Vec<Table>,
    /// Opened its view before the client did.
    before: Session,
    /// Opened its view after the client had, where the lock did not hold until then.
    after: Option<Session>,
    lock: Option<Lock>,
    /// Whether the client's transaction has begun.
    begun: bool,
    messages: Vec<String>,
}

impl<'a> DatabaseDump<'a> {
    pub(super) fn new(server: &'a Mysql, facts: Facts, patience: Patience, database: String) -> Self {
        let place = place::of_database(&database);
        Self { server, facts, patience, database, place, bytes: 0, work: None }
    }

    fn explain(&self, error: Error) -> Error {
        let database = printable(self.database.as_bytes());
        remedy::explain(error, format!("the database {database} of {} cannot be dumped", self.server.shown()))
    }

    fn session(&self) -> Result<Session> {
        self.server.session(&self.facts.programs, Some(&self.database), &self.patience)
    }

    fn begin(&self) -> Result<Work> {
        let mut before = self.session()?;
        let tables = tables::ask(&mut before, &self.database, &self.server.options.without_rows)?;
        let mut messages = self.idle(&tables);
        let lock = match self.session().and_then(|session| Lock::take(session, &self.database, &tables)) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                messages.push(unlocked(&error));
                None
            }
        };
        view::open(&mut before)?;
        let client = self.client(&tables)?.start(&self.server.options, &self.patience);
        let mut client = client?;
        client.told_all();
        Ok(Work {
            client,
            script: Script::default(),
            tables,
            before,
            after: None,
            lock,
            begun: false,
            messages,
        })
    }

    fn client(&self, tables: &[Table]) -> Result<Client> {
        let family = self.facts.programs.family();
        let mut client = self.server.connection.client(&self.facts.programs.dump, family);
        client.arguments.extend(OPTIONS.map(Into::into));
        if self.facts.server.takes_long_statements() {
            client.arguments.push(STATEMENT.into());
        }
        let without = || tables.iter().filter(|table| table.without_rows);
        if family == Family::MySql {
            client.arguments.extend(MYSQL_OPTIONS.map(Into::into));
            if without().next().is_some() {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "mysqldump of MySQL cannot leave out the rows of a table and keep its definition",
                )
                .hint("dump all rows"));
            }
        }
        client.arguments.extend(
            without().map(|table| format!("--ignore-table-data={}.{}", self.database, table.name).into()),
        );
        client.arguments.extend(["--".into(), self.database.clone().into()]);
        Ok(client)
    }

    /// Names among those without rows that no table has.
    fn idle(&self, tables: &[Table]) -> Vec<String> {
        let wanted = self.server.options.without_rows.iter();
        let idle = wanted.filter(|wanted| {
            !tables.iter().any(|table| tables::is_meant(wanted, &self.database, &table.name))
        });
        idle.map(|wanted| {
            format!("no table is called {}, whose rows are to be left out", printable(wanted.as_bytes()))
        })
        .collect()
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut work = match self.work.take() {
            Some(work) => work,
            None => self.begin()?,
        };
        let mut filled = 0;
        // Until the lock is gone, every piece is looked at as soon as it comes.
        while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty() && !work.begun) {
            let length = room.len().min(FIRST_PIECE);
            let read = work.client.read(room.get_mut(..length).unwrap_or_default())?;
            work.script.feed(room.get(..read).unwrap_or_default())?;
            filled = filled.saturating_add(read);
            // At its end as well: nothing is left locked while it is judged.
            if work.script.begun() || read == 0 {
                self.client_began(&mut work)?;
            }
        }
        let room = buffer.get_mut(filled..).unwrap_or_default();
        let read = work.client.fill(room)?;
        work.script.feed(room.get(..read).unwrap_or_default())?;
        let filled = filled.saturating_add(read);
        self.bytes = self.bytes.saturating_add(filled as u64);
        self.work = Some(work);
        Ok(filled)
    }

    /// The client has opened its view: whoever waits to write goes on.
    fn client_began(&self, work: &mut Work) -> Result<()> {
        work.begun = true;
        let had_lock = work.lock.is_some();
        if work.lock.take().is_some_and(Lock::release) {
            return Ok(());
        }
        if had_lock {
            work.messages.push(
                "the tables could not stay locked until the dump had begun: only rows of tables that nobody changed \
                 meanwhile were compared"
                    .to_owned(),
            );
        }
        let mut after = self.session()?;
        view::open(&mut after)?;
        work.after = Some(after);
        Ok(())
    }

    fn judge(&mut self) -> Result<(Verdict, Vec<Vec<Row>>)> {
        let work = self.work.take().ok_or_else(|| Error::new(ErrorKind::Io, "nothing of it was read"))?;
        let Work { client, script, tables, mut before, after, lock, mut messages, .. } = work;
        drop(lock);
        client.finish()?;
        let reading = script.finish().map_err(|error| error.hint("run the backup again"))?;
        let counts = tables::count(&mut before, &self.database, &tables)?;
        let counted = match after {
            None => Counted::Exactly(counts),
            Some(mut after) => {
                let later = tables::count(&mut after, &self.database, &tables)?;
                after.close()?;
                Counted::Around(counts, later)
            }
        };
        let mut verdict = tables::compare(&tables, &reading, &counted)?;
        let questions = self.server.options.questions.iter();
        let answers = questions.map(|question| before.rows(question)).collect::<Result<_>>()?;
        before.close()?;
        messages.append(&mut verdict.messages);
        verdict.messages = messages;
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
        let mut messages = self.facts.messages;
        messages.extend(verdict.messages);
        let report = DumpReport {
            place: self.place,
            kind: DumpKind::Mysql,
            database: Some(self.database),
            server: Some(self.facts.server.shown()),
            client: Some(self.facts.programs.version.shown()),
            bytes: self.bytes,
            tables: verdict.tables,
            without_rows: verdict.without_rows,
            messages,
        };
        Ok(Finished { report, answers })
    }
}

/// What is said where the tables could not be locked.
fn unlocked(error: &Error) -> String {
    let words = error.chain();
    let lowered = words.to_lowercase();
    let why = if lowered.contains("lock wait timeout") {
        "somebody was writing to them for long".to_owned()
    } else if lowered.contains("denied") {
        "the user lacks GRANT LOCK TABLES".to_owned()
    } else {
        words
    };
    format!(
        "the tables could not be locked for the moment in which the dump begins ({why}): only rows of tables that \
         nobody changed meanwhile were compared"
    )
}
