//! MariaDB and MySQL: each database as SQL of `mariadb-dump` or `mysqldump`, users as SQL.
//!
//! A dump goes through these steps: a session asks for the tables; another locks them against changes, for the moment in
//! which the first and the client open their views of the data; the SQL is read while it passes, and the lock goes with
//! its first table; at the end the session counts the rows of every table in that view, and answers what a service asks.
//! Where there is no lock to be had, rows are counted in a view before the dump's and in one behind it, and compared
//! where both agree.
//!
//! Invariants: the server is only read. No argument of a program bears a secret. A dump whose rows are not those that
//! the server counts is an error.

mod connection;
mod dump;
mod fill;
mod globals;
mod grants;
mod place;
mod programs;
mod remedy;
pub mod script;
mod session;
mod tables;
mod version;
mod view;
mod xml;

use super::address::Address;
use super::{Dump, Options, Row, Server};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Reporter, printable};
use crate::source::stream::Patience;
use connection::Connection;
use dump::DatabaseDump;
use globals::GlobalsDump;
use grants::Grants;
use programs::Programs;
use session::Session;
use version::Version;

/// Databases that are the server's own.
const OWN: [&str; 4] = ["information_schema", "performance_schema", "sys", "mysql"];
const FACTS: &str = "SELECT VERSION();\nSHOW SESSION STATUS LIKE 'Ssl_cipher';\n\
    SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY SCHEMA_NAME;\nSHOW GRANTS";

/// A MariaDB or MySQL server.
pub struct Mysql {
    connection: Connection,
    options: Options,
}

/// What every dump of a server has to know of it.
#[derive(Clone)]
struct Facts {
    server: Version,
    programs: Programs,
    /// What is worth knowing of each dump.
    messages: Vec<String>,
}

/// What a server says at first.
struct Said {
    server: Version,
    databases: Vec<String>,
    grants: Grants,
}

impl Mysql {
    /// A server at an address.
    ///
    /// # Errors
    /// `Refused` where it is no address of such a server.
    pub fn new(address: Address, options: Options) -> Result<Self> {
        let connection = Connection::new(address)?;
        if let Some(name) = options.databases.iter().find(|name| name.is_empty()) {
            return Err(Error::refused(format!("`{name}` is no name of a database")).hint("leave it out"));
        }
        Ok(Self { connection, options })
    }

    fn shown(&self) -> String {
        format!("MariaDB or MySQL at {}", self.connection.shown())
    }

    /// The databases that the user named.
    fn named(&self) -> Vec<String> {
        if self.options.databases.is_empty() {
            self.connection.database().map(str::to_owned).into_iter().collect()
        } else {
            let mut named = self.options.databases.clone();
            named.sort();
            named.dedup();
            named
        }
    }

    fn session(&self, programs: &Programs, database: Option<&str>, patience: &Patience) -> Result<Session> {
        let client = self.connection.client(&programs.ask, programs.family());
        Session::open(client, database, &self.options, patience)
    }

    /// Asks the server what it is.
    fn facts(&self, found: &[Programs], patience: &Patience) -> Result<Said> {
        let mut failed = None;
        for programs in found {
            let asked = self.session(programs, None, patience).and_then(|mut session| {
                let answer = session.ask(FACTS)?;
                session.close()?;
                Ok(answer)
            });
            match asked {
                Ok(answer) => return self.said(&answer),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                // A client of the other kind may not know how this user logs in.
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        Err(failed.unwrap_or_else(|| Error::missing("there is no client")))
    }

    fn said(&self, answer: &[Vec<Row>]) -> Result<Said> {
        let [version, cipher, databases, grants] = answer else {
            return Err(Error::new(ErrorKind::Io, "the server gave another answer than was asked for"));
        };
        if self.connection.must_be_encrypted() && texts(cipher).iter().all(String::is_empty) {
            return Err(Error::refused(
                "the connection is not encrypted, and the address says that it must be",
            )
            .hint("turn TLS on in the server, or take ssl-mode out of the address"));
        }
        let server = Version::of_server(texts(version).first().map(String::as_str).unwrap_or_default())?;
        let grants = Grants::parse(texts(grants).iter().map(String::as_str));
        Ok(Said { server, databases: texts(databases), grants })
    }

    /// The databases to dump.
    fn databases(&self, said: &Said) -> Result<Vec<String>> {
        let named = self.named();
        if named.is_empty() {
            let own = |name: &String| OWN.iter().any(|own| own.eq_ignore_ascii_case(name));
            return Ok(said.databases.iter().filter(|name| !own(name)).cloned().collect());
        }
        for name in &named {
            if !said.databases.iter().any(|there| there.eq_ignore_ascii_case(name)) {
                let shown = printable(name.as_bytes());
                return Err(Error::missing(format!("Unknown database `{shown}`")));
            }
        }
        Ok(named)
    }

    /// Looks whether something would be missing without a word.
    fn check_rights(&self, said: &Said, facts: &Facts, patience: &Patience) -> Result<Option<String>> {
        for database in self.databases(said)? {
            let shown = printable(database.as_bytes());
            if said.grants.surely_lack(&database, &["TRIGGER"]) {
                let why = format!(
                    "this user does not see the triggers of `{shown}`, which would be missing without a word"
                );
                let step = format!(
                    "as an administrator: GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES ON `{shown}`.* TO USER"
                );
                return Err(Error::new(ErrorKind::Denied, why).hint(step));
            }
            let routines = ["EXECUTE", "CREATE ROUTINE", "ALTER ROUTINE", "SHOW ROUTINE", "SHOW_ROUTINE"];
            if said.grants.surely_lack(&database, &routines)
                && !self.may(facts, "SELECT 1 FROM mysql.proc LIMIT 1", patience)?
            {
                return Ok(Some(
                    "this user does not see stored procedures and functions: where there are some, they are not in \
                     the dump (GRANT EXECUTE ON the database, or SELECT ON mysql.proc, shows them)"
                        .to_owned(),
                ));
            }
        }
        Ok(None)
    }

    /// Whether the server answers a question. Any failure but an interruption is a no: what does not work at all fails
    /// where it is needed.
    fn may(&self, facts: &Facts, question: &str, patience: &Patience) -> Result<bool> {
        let asked =
            self.session(&facts.programs, None, patience).and_then(|mut session| session.rows(question));
        match asked {
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            asked => Ok(asked.is_ok()),
        }
    }

    fn look<'a>(&'a self, patience: &Patience) -> Result<Vec<Box<dyn Dump + 'a>>> {
        let found = Programs::find(&self.options, patience)?;
        let said = self.facts(&found, patience)?;
        let (programs, note) = Programs::choose(&found, &said.server)?;
        let mut facts = Facts { server: said.server.clone(), programs, messages: note.into_iter().collect() };
        let hidden = self.check_rights(&said, &facts, patience)?;
        facts.messages.extend(hidden);
        let users = self.named().is_empty();
        let readable = users && self.may(&facts, "SELECT 1 FROM mysql.user LIMIT 1", patience)?;
        if users && !readable {
            facts.messages.push(
                "users and grants are not in this backup, for this user may not read them (GRANT SELECT ON mysql.*)"
                    .to_owned(),
            );
        }
        let mut dumps: Vec<Box<dyn Dump + 'a>> = Vec::new();
        for database in self.databases(&said)? {
            dumps.push(Box::new(DatabaseDump::new(self, facts.clone(), patience.clone(), database)));
        }
        if readable {
            dumps.push(Box::new(GlobalsDump::new(self, facts, patience.clone())));
        }
        if dumps.is_empty() {
            return Err(Error::missing("this user sees no database on the server")
                .hint("name the database in the address, and check what the user may see: SHOW DATABASES"));
        }
        Ok(dumps)
    }
}

impl Server for Mysql {
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

    fn dumps<'a>(&'a self, patience: &Patience, _: &'a dyn Reporter) -> Result<Vec<Box<dyn Dump + 'a>>> {
        let patience = Patience { silence: self.options.silence.or(patience.silence), ..patience.clone() };
        self.look(&patience)
            .map_err(|error| remedy::explain(error, format!("{} cannot be dumped", self.shown())))
    }

    fn ask(&self, question: &str, patience: &Patience) -> Result<Vec<Row>> {
        let patience = Patience { silence: self.options.silence.or(patience.silence), ..patience.clone() };
        let named = self.named();
        let asked = Programs::find(&self.options, &patience).and_then(|found| {
            let programs = found.first().ok_or_else(|| Error::missing("there is no client"))?;
            let mut session = self.session(programs, named.first().map(String::as_str), &patience)?;
            let rows = session.rows(question)?;
            session.close()?;
            Ok(rows)
        });
        asked.map_err(|error| remedy::explain(error, format!("{} cannot be asked", self.shown())))
    }
}

/// The last column of each row.
fn texts(rows: &[Row]) -> Vec<String> {
    rows.iter().filter_map(|row| row.last().cloned().flatten()).collect()
}
