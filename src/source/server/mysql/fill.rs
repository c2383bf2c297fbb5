//! A MariaDB or MySQL server as a target: its own client runs the SQL of a dump.
//!
//! Invariants: a database that holds something is never filled. This kind of server takes no part of a definition back:
//! what fails leaves a part in the new database, and nowhere else.

use std::thread;

use super::programs::Programs;
use super::session::{self, Session};
use super::version::{Family, Version};
use super::{Mysql, remedy, tables};
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::{DumpKind, TableRows};
use crate::report::{Finding, printable};
use crate::source::server::Row;
use crate::source::server::client::Client;
use crate::source::server::target::{
    About, ByHand, Content, Found, LOOKS, PAUSE, Shape, State, Swap, Target, Wanted,
};
use crate::source::stream::Patience;

/// Longest name of a database: so many letters, which are never fewer than bytes may be.
const NAME_MAX: usize = 64;
/// How the client is to take a dump: nothing in it is a command to the client itself, or reads a file beside it.
const OPTIONS: [&str; 6] = [
    "--batch",
    "--binary-mode",
    "--local-infile=0",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
    "--connect-timeout=30",
];
/// The client that is named to people, who know which one they have.
const BY_HAND: (&str, Family) = ("mariadb", Family::MariaDb);
/// Seconds after which a lock that somebody holds on a table is not waited for: the server itself would wait for a day.
const WAIT_SECONDS: u32 = 10;
/// The encoding of a new database.
const ENCODING: &str = "utf8mb4";

impl Mysql {
    fn programs(&self, patience: &Patience) -> Result<(Programs, super::Said)> {
        let found = Programs::find(&self.options, patience)?;
        let said = self.facts(&found, patience)?;
        let (programs, _) = Programs::choose(&found, &said.server)?;
        Ok((programs, said))
    }

    /// Asks, in a database where one is named.
    fn asked(&self, database: Option<&str>, sql: &str, patience: &Patience) -> Result<Vec<Vec<Row>>> {
        let (programs, _) = self.programs(patience)?;
        let mut session = self.session(&programs, database, patience)?;
        let answer = session.ask(sql)?;
        session.close()?;
        Ok(answer)
    }

    fn looked(&self, wanted: &Wanted<'_>, patience: &Patience) -> Result<Found> {
        let (programs, said) = self.programs(patience)?;
        let shape = Shape { encoding: Some(ENCODING.to_owned()), ..Shape::default() };
        let findings = self.fits(wanted, &said.server);
        let mut found = Found { state: State::Absent, shape, connected: None, roles: Vec::new(), findings };
        if !said.databases.iter().any(|name| name == wanted.database) {
            return Ok(found);
        }
        let mut session = self.session(&programs, Some(wanted.database), patience)?;
        let tables = tables::ask(&mut session, wanted.database, &[])?;
        let others = others(&mut session, wanted.database)?;
        found.state = if tables.is_empty() && others.is_empty() {
            State::Empty
        } else {
            State::Holds(tables.into_iter().map(|table| table.name).collect())
        };
        if wanted.in_place && matches!(found.state, State::Holds(_)) {
            refuse_what_cannot_move(&others)?;
            found.connected = connected(&mut session, wanted.database, patience)?;
            found.shape = made(&mut session, wanted.database)?;
            if said.grants.surely_lack("", &["PROCESS"]) {
                let cause =
                    "this user does not see who else is connected (GRANT PROCESS ON *.*): stop the service";
                found.findings.push(Finding::warning(self.shown(), cause));
            }
        }
        session.close()?;
        Ok(found)
    }

    /// What is worth knowing where the server is not what the dump came from.
    fn fits(&self, wanted: &Wanted<'_>, server: &Version) -> Vec<Finding> {
        let Some(of) = wanted.dump.server.as_deref() else { return Vec::new() };
        let kind = server.family.name();
        let is_older = Version::of_shown(of).is_some_and(|dumped| dumped.is_newer(server));
        if of.starts_with(kind) && !is_older {
            return Vec::new();
        }
        let of = printable(of.as_bytes());
        let cause = format!("is {}, and the dump is of {of}: it may not know all of it", server.shown());
        vec![Finding::warning(self.shown(), cause)]
    }

    fn client_of(&self, (program, family): (&str, Family), database: Option<&str>) -> Client {
        let mut client = self.connection.client(program, family);
        client.arguments.extend(database.map(|name| format!("--database={name}").into()));
        client
    }

    fn failed(&self, error: Error, database: &str, verb: &str) -> Error {
        let database = printable(database.as_bytes());
        remedy::explain_fill(error, format!("the database {database} of {} cannot be {verb}", self.shown()))
    }

    fn patience(&self, patience: &Patience) -> Patience {
        Patience { silence: self.options.silence.or(patience.silence), ..patience.clone() }
    }

    fn swapped(&self, swap: &Swap, patience: &Patience) -> Result<()> {
        let (programs, _) = self.programs(patience)?;
        let mut session = self.session(&programs, None, patience)?;
        if let Some(who) = connected(&mut session, &swap.database, patience)? {
            let error = Error::new(ErrorKind::Busy, format!("somebody connected to it meanwhile: {who}"));
            return Err(error.hint("stop what uses the database, and run the same command again"));
        }
        for database in [&swap.database, &swap.new] {
            refuse_what_cannot_move(&others(&mut session, database)?)?;
        }
        let old = tables::ask(&mut session, &swap.database, &[])?;
        let new = tables::ask(&mut session, &swap.new, &[])?;
        let shape = made(&mut session, &swap.database)?;
        session.ask(&create(&swap.aside, &shape))?;
        let moved = session
            .ask(&format!("SET SESSION lock_wait_timeout = {WAIT_SECONDS};\n{}", renames(swap, &old, &new)));
        if let Err(error) = moved {
            let mut session = self.session(&programs, None, patience)?;
            drop_if_empty(&mut session, &swap.aside)?;
            session.close()?;
            return Err(error);
        }
        drop_if_empty(&mut session, &swap.new)?;
        session.close()
    }
}

impl Target for Mysql {
    fn about(&self) -> About {
        About {
            name: self.shown(),
            kind: DumpKind::Mysql,
            database: self.connection.database().map(str::to_owned),
            name_max: NAME_MAX,
            transactional: false,
        }
    }

    fn look(&self, wanted: &Wanted<'_>, patience: &Patience) -> Result<Found> {
        self.looked(wanted, &self.patience(patience))
            .map_err(|error| self.failed(error, wanted.database, "restored"))
    }

    fn create(&self, database: &str, shape: &Shape, patience: &Patience) -> Result<()> {
        self.asked(None, &create(database, shape), &self.patience(patience))
            .map(|_| ())
            .map_err(|error| self.failed(error, database, "made"))
    }

    fn fill(
        &self,
        database: &str,
        _: &Shape,
        content: &Content<'_>,
        patience: &Patience,
    ) -> Result<Vec<Finding>> {
        let patience = self.patience(patience);
        let filled = self.programs(&patience).and_then(|(programs, _)| {
            let mut client = self.client_of((&programs.ask, programs.family()), Some(database));
            client.arguments.extend(OPTIONS.map(Into::into));
            client.feed(&self.options, &patience, content)
        });
        filled.map(|()| Vec::new()).map_err(|error| self.failed(error, database, "filled"))
    }

    fn count(&self, database: &str, patience: &Patience) -> Result<Vec<TableRows>> {
        let patience = self.patience(patience);
        let counted = self.programs(&patience).and_then(|(programs, _)| {
            let mut session = self.session(&programs, Some(database), &patience)?;
            let tables = tables::ask(&mut session, database, &[])?;
            let counts = tables::count(&mut session, database, &tables)?;
            session.close()?;
            Ok(counts.into_iter().map(|(table, rows)| TableRows { table, rows }).collect())
        });
        counted.map_err(|error| self.failed(error, database, "counted"))
    }

    fn ask_in(&self, database: &str, question: &str, patience: &Patience) -> Result<Vec<Row>> {
        let answer = self.asked(Some(database), question, &self.patience(patience));
        answer
            .map(|sets| sets.into_iter().next().unwrap_or_default())
            .map_err(|error| self.failed(error, database, "asked"))
    }

    fn remove(&self, database: &str, patience: &Patience) -> Result<()> {
        self.asked(None, &format!("DROP DATABASE {}", session::name(database)), patience)
            .map(|_| ())
            .map_err(|error| self.failed(error, database, "removed"))
    }

    fn swap(&self, swap: &Swap, patience: &Patience) -> Result<()> {
        self.swapped(swap, &self.patience(patience))
            .map_err(|error| self.failed(error, &swap.database, "swapped"))
    }

    fn by_hand(&self, step: &ByHand<'_>) -> Vec<String> {
        let sql = |sql: &str| {
            let mut client = self.client_of(BY_HAND, None);
            client.arguments.push(format!("--execute={sql}").into());
            client.by_hand(&self.options)
        };
        match step {
            ByHand::Create(database, shape) => vec![sql(&create(database, shape))],
            ByHand::Fill(database, _) => {
                let mut client = self.client_of(BY_HAND, Some(database));
                client.arguments.extend(OPTIONS.map(Into::into));
                vec![client.by_hand(&self.options)]
            }
            ByHand::Swap(swap) => {
                let [database, new, aside] =
                    [&swap.database, &swap.new, &swap.aside].map(|name| session::name(name));
                vec![
                    sql(&format!("CREATE DATABASE {aside}")),
                    format!(
                        "# then every table in one statement: RENAME TABLE {database}.t TO {aside}.t, {new}.t TO {database}.t, ..."
                    ),
                ]
            }
        }
    }
}

/// Who is connected to a database and stays so, as far as this user may see: a session that has just ended takes a moment
/// to go.
fn connected(session: &mut Session, database: &str, patience: &Patience) -> Result<Option<String>> {
    let question = format!(
        "SELECT CONCAT(USER, ' (', COUNT(*), ')') FROM information_schema.PROCESSLIST \
         WHERE DB = {} AND ID <> CONNECTION_ID() GROUP BY USER ORDER BY USER",
        session::text(database)
    );
    let mut rows = session.rows(&question)?;
    for _ in 0..LOOKS {
        if rows.is_empty() {
            break;
        }
        patience.interrupt.check()?;
        thread::sleep(PAUSE);
        rows = session.rows(&question)?;
    }
    let who: Vec<String> = super::texts(&rows).iter().map(|who| printable(who.as_bytes())).collect();
    Ok(Some(who.join(", ")).filter(|who| !who.is_empty()))
}

/// How a database that is there was made.
fn made(session: &mut Session, database: &str) -> Result<Shape> {
    let rows = session.rows(&format!(
        "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA \
         WHERE SCHEMA_NAME = {}",
        session::text(database)
    ))?;
    Ok(match rows.first().map(Vec::as_slice) {
        Some([encoding, collation]) => {
            Shape { encoding: encoding.clone(), collation: collation.clone(), ..Shape::default() }
        }
        _ => Shape::default(),
    })
}

/// What a database has beside its tables, and how many of each.
fn others(session: &mut Session, database: &str) -> Result<Vec<(&'static str, u64)>> {
    let name = session::text(database);
    let mut found = Vec::new();
    for (what, table, column) in [
        ("triggers", "TRIGGERS", "TRIGGER_SCHEMA"),
        ("views", "VIEWS", "TABLE_SCHEMA"),
        ("stored procedures or functions", "ROUTINES", "ROUTINE_SCHEMA"),
        ("events", "EVENTS", "EVENT_SCHEMA"),
    ] {
        let rows = session
            .rows(&format!("SELECT COUNT(*) FROM information_schema.{table} WHERE {column} = {name}"))?;
        let count = super::texts(&rows).first().and_then(|count| count.parse().ok()).unwrap_or(0);
        if count > 0 {
            found.push((what, count));
        }
    }
    Ok(found)
}

/// Tables can change their database in one statement; what else there is cannot.
fn refuse_what_cannot_move(others: &[(&'static str, u64)]) -> Result<()> {
    let Some((what, count)) = others.first() else { return Ok(()) };
    Err(Error::refused(format!(
        "the database has {what} ({count}), which this kind of server cannot move to another database: it cannot be \
         put in place at once"
    ))
    .hint(
        "restore into a new database without --in-place, and let the service use that one; what is there stays as it is",
    ))
}

fn renames(swap: &Swap, old: &[tables::Table], new: &[tables::Table]) -> String {
    let [database, made, aside] = [&swap.database, &swap.new, &swap.aside].map(|name| session::name(name));
    let moved = |tables: &[tables::Table], from: &str, to: &str| -> Vec<String> {
        let names = tables.iter().map(|table| session::name(&table.name));
        names.map(|table| format!("{from}.{table} TO {to}.{table}")).collect()
    };
    let all = [moved(old, &database, &aside), moved(new, &made, &database)].concat();
    format!("RENAME TABLE {}", all.join(", "))
}

/// Removes a database unless something is in it, whatever came of moving its tables.
fn drop_if_empty(session: &mut Session, database: &str) -> Result<()> {
    let name = session::text(database);
    let rows = session
        .rows(&format!("SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = {name} LIMIT 1"))?;
    if rows.is_empty() {
        session.ask(&format!("DROP DATABASE {}", session::name(database)))?;
    }
    Ok(())
}

fn create(database: &str, shape: &Shape) -> String {
    let mut sql = format!("CREATE DATABASE {}", session::name(database));
    let is_name = |text: &&String| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    for (what, value) in [("CHARACTER SET", &shape.encoding), ("COLLATE", &shape.collation)] {
        sql.extend(value.iter().filter(is_name).map(|value| format!(" {what} {value}")));
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tables_move_in_one_statement() {
        let table = |name: &str| tables::Table {
            name: name.to_owned(),
            transactional: true,
            elsewhere: false,
            without_rows: false,
        };
        let swap = Swap { database: "v".to_owned(), new: "n".to_owned(), aside: "a`".to_owned() };
        assert_eq!(
            renames(&swap, &[table("t")], &[table("t"), table("u")]),
            "RENAME TABLE `v`.`t` TO `a```.`t`, `n`.`t` TO `v`.`t`, `n`.`u` TO `v`.`u`"
        );
    }

    #[test]
    fn a_database_is_made_as_the_other_was() {
        let shape = Shape {
            encoding: Some("utf8mb4".to_owned()),
            collation: Some("utf8mb4_bin; DROP".to_owned()),
            ..Shape::default()
        };
        assert_eq!(create("v", &shape), "CREATE DATABASE `v` CHARACTER SET utf8mb4");
    }

    #[test]
    fn what_cannot_be_moved_is_refused() {
        assert!(refuse_what_cannot_move(&[]).is_ok());
        let error = refuse_what_cannot_move(&[("triggers", 2)]).unwrap_err();
        assert!(error.to_string().contains("triggers (2)"), "{error}");
    }
}
