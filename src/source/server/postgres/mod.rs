//! PostgreSQL: each database as an archive of `pg_dump`, roles as SQL of `pg_dumpall`.
//!
//! A dump goes through these steps: a session of `psql` opens a view of the data and lends it to `pg_dump`; the archive
//! is read while it passes; once `pg_dump` has its locks, the session takes the same; at the end the server counts, in
//! that view, the rows of every table in the archive, and answers what a service asks.
//!
//! Invariants: the server is only read. No argument of a program bears a secret. A dump whose rows are not those that
//! the server counts is an error.

pub mod archive;
mod check;
mod connection;
mod dump;
mod fill;
mod globals;
mod look;
mod pattern;
mod place;
mod remedy;
mod roles;
mod session;
mod sql;
mod transient;
mod version;

use std::ffi::OsString;

use super::address::Address;
use super::client::Client;
use super::{Dump, Options, Row, Server};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Finding, Reporter, printable};
use crate::source::stream::Patience;
use connection::Connection;
use dump::DatabaseDump;
use globals::GlobalsDump;
pub use pattern::{identifier, literal};
use session::Session;
use version::Major;

/// The database that a server has for those who only want to connect, and the one that is always there.
const MAINTENANCE: [&str; 2] = ["postgres", "template1"];
/// Longest answer of a client to `--version`.
const VERSION_MAX: usize = 4096;

const FACTS: &str = "SELECT pg_catalog.current_setting('server_version_num'), \
    pg_catalog.current_setting('server_version'), pg_catalog.pg_is_in_recovery(), \
    pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
const DATABASES: &str = "SELECT datname, pg_catalog.has_database_privilege(oid, 'CONNECT') \
    FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname";
/// Whether the database at hand holds anything that a user made and that holds data.
const IN_USE: &str = "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f', 'S') AND n.nspname <> 'information_schema' \
    AND pg_catalog.left(n.nspname::text, 3) <> 'pg_' LIMIT 1";

/// A PostgreSQL server.
pub struct Postgres {
    connection: Connection,
    options: Options,
}

/// What every dump of a server has to know of it.
#[derive(Clone)]
struct Facts {
    server: String,
    /// Its version as a number.
    number: String,
    client: String,
    major: Major,
    in_recovery: bool,
    reads_passwords: bool,
    /// The database to connect to where it matters not.
    maintenance: String,
}

impl Postgres {
    /// A server at an address.
    ///
    /// # Errors
    /// `Refused` where it is no address of such a server.
    pub fn new(address: Address, options: Options) -> Result<Self> {
        let connection = Connection::new(address, options.silence)?;
        Ok(Self { connection, options })
    }

    fn shown(&self) -> String {
        format!("PostgreSQL at {}", self.connection.shown())
    }

    /// The databases that the user named.
    fn named(&self) -> Vec<String> {
        if self.options.databases.is_empty() {
            self.connection.database().map(str::to_owned).into_iter().collect()
        } else {
            self.options.databases.clone()
        }
    }

    fn session(&self, database: &str, patience: &Patience) -> Result<Session> {
        let mut session = Session::open(self.connection.client("psql", database), &self.options, patience)?;
        session.ask("SET client_encoding = 'UTF8';")?;
        Ok(session)
    }

    /// A session to ask about the server, and its database: the first that was named, or one that is always there.
    fn any_session(&self, named: &[String], patience: &Patience) -> Result<(Session, String)> {
        let [usual, always] = MAINTENANCE;
        let first = named.first().map_or(usual, String::as_str);
        let (opened, database) = match self.session(first, patience) {
            Err(error) if named.is_empty() && error.chain().contains("does not exist") => {
                (self.session(always, patience), always)
            }
            opened => (opened, first),
        };
        Ok((opened?, database.to_owned()))
    }

    /// What a client says of its version.
    fn version(&self, program: &'static str, patience: &Patience) -> Result<String> {
        let client = Client { arguments: vec![OsString::from("--version")], ..Client::new(program) };
        let answer = client.start(&self.options, patience).and_then(|mut running| {
            running.told_all();
            let mut buffer = vec![0; VERSION_MAX];
            let read = running.fill(&mut buffer)?;
            running.finish()?;
            Ok(String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).trim().to_owned())
        });
        answer.map_err(|error| self.lacks(program, error))
    }

    /// What to do where a client cannot be started.
    fn lacks(&self, program: &str, error: Error) -> Error {
        if !self.options.prefix.is_empty() || error.kind() != ErrorKind::Missing {
            return error;
        }
        error.context(format!("{program} is not installed here")).hint(
            "install PostgreSQL's clients of the server's version (Debian: postgresql-client), or run those in the \
             server's container with --prefix 'docker exec -i NAME'",
        )
    }

    fn look(&self, patience: &Patience) -> Result<(Facts, Vec<String>)> {
        let client = self.version("pg_dump", patience)?;
        self.version("psql", patience)?;
        let named = self.named();
        let (mut session, maintenance) = self.any_session(&named, patience)?;
        let facts = facts(&session.rows(FACTS)?, client, maintenance)?;
        let databases = databases(&mut session, &facts.maintenance, named)?;
        session.close()?;
        Ok((facts, databases))
    }
}

impl Server for Postgres {
    fn name(&self) -> String {
        self.shown()
    }

    fn roots(&self) -> Vec<Vec<u8>> {
        let named = self.named();
        if named.is_empty() {
            return vec![place::FOLDER.as_bytes().to_vec()];
        }
        named.iter().map(|name| place::of_database(name)).collect()
    }

    fn dumps<'a>(
        &'a self,
        patience: &Patience,
        reporter: &'a dyn Reporter,
    ) -> Result<Vec<Box<dyn Dump + 'a>>> {
        let silence = self.options.silence.or(patience.silence);
        let patience = Patience { interrupt: patience.interrupt.clone(), silence };
        let failed = |error| remedy::explain(error, format!("{} cannot be dumped", self.shown()));
        let (facts, databases) = self.look(&patience).map_err(failed)?;
        let all = self.named().is_empty();
        if databases.is_empty() {
            reporter.report(Finding::warning(self.shown(), "it has no database but its own"));
        }
        let mut dumps: Vec<Box<dyn Dump + 'a>> = Vec::new();
        for database in databases {
            dumps.push(Box::new(DatabaseDump::new(self, facts.clone(), patience.clone(), database)));
        }
        if all {
            // Last, so that no role is missing that a database names.
            let client = self.version("pg_dumpall", &patience).map_err(failed)?;
            version::check("pg_dumpall", &facts.server, &facts.number, &client, "dump it").map_err(failed)?;
            dumps.push(Box::new(GlobalsDump::new(self, Facts { client, ..facts }, patience)));
        }
        Ok(dumps)
    }

    fn ask(&self, question: &str, patience: &Patience) -> Result<Vec<Row>> {
        let silence = self.options.silence.or(patience.silence);
        let patience = Patience { interrupt: patience.interrupt.clone(), silence };
        let named = self.named();
        let asked = self.any_session(&named, &patience).and_then(|(mut session, _)| {
            let rows = session.rows(question)?;
            session.close()?;
            Ok(rows)
        });
        asked.map_err(|error| remedy::explain(error, format!("{} cannot be asked", self.shown())))
    }
}

/// Reads what the server says of itself.
fn facts(rows: &[Row], client: String, maintenance: String) -> Result<Facts> {
    let [row] = rows else { return Err(strange()) };
    let [Some(number), Some(version), Some(in_recovery), Some(reads_passwords)] = row.as_slice() else {
        return Err(strange());
    };
    let major = version::check("pg_dump", version, number, &client, "dump it")?;
    Ok(Facts {
        server: format!("PostgreSQL {version}"),
        number: number.clone(),
        client,
        major,
        in_recovery: in_recovery == "t",
        reads_passwords: reads_passwords == "t",
        maintenance,
    })
}

/// The databases to dump: those that were named, or all that are in use.
fn databases(session: &mut Session, maintenance: &str, named: Vec<String>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for row in session.rows(DATABASES)? {
        let [Some(name), Some(may_connect)] = row.as_slice() else { return Err(strange()) };
        found.push((name.clone(), may_connect == "t"));
    }
    let [usual, _] = MAINTENANCE;
    let mut wanted = named;
    if wanted.is_empty() {
        let in_use = maintenance != usual || !session.rows(IN_USE)?.is_empty();
        wanted = found.iter().map(|(name, _)| name.clone()).filter(|name| in_use || name != usual).collect();
    }
    for database in &wanted {
        // One that was named may be a template, or closed to most: connecting will tell.
        if found.iter().any(|(name, may_connect)| name == database && !may_connect) {
            let name = printable(database.as_bytes());
            return Err(Error::new(ErrorKind::Denied, format!("permission denied for database {name}")));
        }
    }
    Ok(wanted)
}

fn strange() -> Error {
    Error::new(ErrorKind::Io, "psql gave an answer of another form than was asked for")
        .hint("use psql of PostgreSQL 11 or newer")
}
