//! A PostgreSQL server as a target: `pg_restore` takes an archive in one transaction.
//!
//! Invariants: a database that holds something is never filled. What fails leaves the database as it was.

use std::collections::BTreeSet;
use std::io;
use std::thread;

use super::archive::{Archive, Listed};
use super::roles::Roles;
use super::sql::{identifier, literal};
use super::version::Major;
use super::{MAINTENANCE, Postgres, check, remedy, strange, version};
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::{DumpKind, TableRows};
use crate::report::{Finding, printable};
use crate::source::server::Row;
use crate::source::server::client::Client;
use crate::source::server::target::{
    About, ByHand, Content, Found, LOOKS, PAUSE, Shape, State, Swap, Target, Wanted,
};
use crate::source::stream::Patience;

/// Longest name of a database that is not cut, in bytes.
const NAME_MAX: usize = 63;
/// Since this version, a database is removed although somebody is connected.
const FORCE_SINCE: u32 = 130_000;

const FACTS: &str = "SELECT pg_catalog.current_setting('server_version_num'), \
    pg_catalog.current_setting('server_version'), pg_catalog.pg_is_in_recovery(), current_user";
const TABLES: &str = "SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') \
    AND n.nspname <> 'information_schema' AND pg_catalog.left(n.nspname::text, 3) <> 'pg_' ORDER BY 1";
/// How a database was made. What older versions do not have is asked for by its name.
const MADE: &str = "SELECT pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_encoding_to_char(d.encoding), \
    pg_catalog.to_jsonb(d) ->> 'datcollate', pg_catalog.to_jsonb(d) ->> 'datctype', \
    COALESCE(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c'), \
    d.datacl IS NOT NULL OR EXISTS (SELECT 1 FROM pg_catalog.pg_db_role_setting s WHERE s.setdatabase = d.oid) \
    FROM pg_catalog.pg_database d WHERE d.datname = ";
/// Whoever else is connected.
const CONNECTED: &str = "SELECT COALESCE(NULLIF(application_name, ''), 'a program') || ' as ' || usename, count(*) \
    FROM pg_catalog.pg_stat_activity WHERE pid <> pg_catalog.pg_backend_pid() AND usename IS NOT NULL AND datname = ";

impl Postgres {
    /// Whether a database is there, and what it holds.
    fn state(&self, database: &str, patience: &Patience) -> Result<State> {
        let mut session = match self.session(database, patience) {
            Err(error) if is_absent(&error) => return Ok(State::Absent),
            opened => opened?,
        };
        let tables = session.rows(TABLES)?;
        let state = if !tables.is_empty() {
            State::Holds(tables.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
        } else if session.rows(super::IN_USE)?.is_empty() {
            State::Empty
        } else {
            State::Holds(Vec::new())
        };
        session.close()?;
        Ok(state)
    }

    /// A session in a database that is not touched: the server's own, or else this one.
    fn beside(&self, database: &str, patience: &Patience) -> Result<super::Session> {
        let [usual, always] = MAINTENANCE;
        let mut failed = None;
        for name in [usual, always] {
            if name == database {
                continue;
            }
            match self.session(name, patience) {
                Ok(session) => return Ok(session),
                Err(error) => failed.get_or_insert(error),
            };
        }
        Err(failed.unwrap_or_else(strange))
    }

    fn run_beside(&self, database: &str, sql: &str, patience: &Patience) -> Result<()> {
        let mut session = self.beside(database, patience)?;
        session.ask(sql)?;
        session.close()
    }

    /// Who is connected to a database, and stays so: a session that has just ended takes a moment to go.
    fn connected(&self, database: &str, patience: &Patience) -> Result<Option<String>> {
        let mut session = self.beside(database, patience)?;
        let question = format!("{CONNECTED}{} GROUP BY 1 ORDER BY 1", literal(database));
        let mut rows = session.rows(&question)?;
        for _ in 0..LOOKS {
            if rows.is_empty() {
                break;
            }
            patience.interrupt.check()?;
            thread::sleep(PAUSE);
            rows = session.rows(&question)?;
        }
        session.close()?;
        let who = rows.iter().filter_map(|row| match row.as_slice() {
            [Some(who), Some(count)] => Some(format!("{} ({count})", printable(who.as_bytes()))),
            _ => None,
        });
        let who: Vec<String> = who.collect();
        Ok(Some(who.join(", ")).filter(|who| !who.is_empty()))
    }

    /// How a database that is there was made, for one that takes its place.
    fn made(&self, database: &str, patience: &Patience, findings: &mut Vec<Finding>) -> Result<Shape> {
        let mut session = self.beside(database, patience)?;
        let rows = session.rows(&format!("{MADE}{}", literal(database)))?;
        session.close()?;
        let [row] = rows.as_slice() else { return Err(strange()) };
        let [owner, encoding, collation, types, Some(provider), Some(has_own)] = row.as_slice() else {
            return Err(strange());
        };
        if provider != "c" {
            return Err(Error::refused("the database sorts by rules that are not the system's (ICU)").hint(
                "make an empty database as it is to be, restore into that without --in-place, and rename both",
            ));
        }
        if has_own == "t" {
            let cause = "has settings or grants of its own, which the database that takes its place has not: \
                psql's \\drds and \\l show them";
            findings.push(Finding::warning(printable(database.as_bytes()), cause));
        }
        Ok(Shape {
            owner: owner.clone(),
            encoding: encoding.clone(),
            collation: collation.clone(),
            character_types: types.clone(),
            without_owners: false,
        })
    }

    /// Compares the programs and the server with those of the dump.
    fn fits(&self, wanted: &Wanted<'_>, facts: &Row, patience: &Patience) -> Result<Vec<Finding>> {
        let [Some(number), Some(version), Some(in_recovery), _] = facts.as_slice() else {
            return Err(strange());
        };
        let client = self.version("pg_restore", patience)?;
        let server = version::check("pg_restore", version, number, &client, "restore into it")?;
        if in_recovery == "t" {
            return Err(Error::refused("the server is a standby, which takes nothing")
                .hint("name the primary server"));
        }
        let of_dump = |text: Option<&String>| text.and_then(|text| Major::of_client(text));
        if of_dump(wanted.dump.client.as_ref()) > Major::of_client(&client) {
            let of = wanted.dump.client.as_deref().unwrap_or_default();
            let what = format!(
                "the dump was written by {}, and pg_restore here is older: {}",
                printable(of.as_bytes()),
                printable(client.as_bytes())
            );
            return Err(Error::new(ErrorKind::Unsupported, what).hint(
                "install PostgreSQL's clients of that version, or run those in the server's container with --prefix \
                 'docker exec -i NAME'",
            ));
        }
        let of = wanted.dump.server.as_ref();
        if of_dump(of) > Some(server) {
            let cause = format!(
                "is older than the {} that was dumped: it may not know all of it",
                printable(of.map(String::as_str).unwrap_or_default().as_bytes())
            );
            return Ok(vec![Finding::warning(self.shown(), cause)]);
        }
        Ok(Vec::new())
    }

    fn roles_there(&self, database: &str, patience: &Patience) -> Result<BTreeSet<String>> {
        let mut session = self.beside(database, patience)?;
        let rows = session.rows("SELECT rolname FROM pg_catalog.pg_roles")?;
        session.close()?;
        Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
    }

    fn roles_made(&self, globals: &Content<'_>, patience: &Patience) -> Result<Vec<String>> {
        let roles = read_roles(globals)?;
        let there = self.roles_there("", patience)?;
        let missing = roles.missing(&there);
        if !missing.is_empty() {
            self.run_beside("", &roles.making(&missing, &there), patience)?;
        }
        Ok(missing)
    }

    /// Which of these roles are not there, or not ours to give something to.
    fn strangers(
        &self,
        listed: &Listed,
        beside: &str,
        patience: &Patience,
    ) -> Result<(Vec<String>, Vec<String>)> {
        let mut session = self.beside(beside, patience)?;
        let rows = session.rows(
            "SELECT rolname, pg_catalog.pg_has_role(current_user, oid, 'MEMBER') FROM pg_catalog.pg_roles",
        )?;
        session.close()?;
        let may = |name: &str| {
            rows.iter().find_map(|row| match row.as_slice() {
                [Some(role), Some(member)] if role == name => Some(member == "t"),
                _ => None,
            })
        };
        let all = listed.owners.iter().chain(&listed.database_owner);
        let missing = all.clone().filter(|name| may(name).is_none()).cloned();
        let foreign = all.clone().filter(|name| may(name) == Some(false)).cloned();
        Ok((missing.collect(), foreign.collect()))
    }

    /// Whom things will belong to, and what to say where that is not as it was.
    fn owners(
        &self,
        listed: &Listed,
        wanted: &Wanted<'_>,
        patience: &Patience,
        found: &mut Found,
    ) -> Result<()> {
        let (missing, foreign) = self.strangers(listed, wanted.database, patience)?;
        let missing: Vec<String> = missing.into_iter().filter(|name| !found.roles.contains(name)).collect();
        let is_strange = |name: &String| missing.contains(name) || foreign.contains(name);
        if found.shape.owner.is_none() {
            found.shape.owner = listed.database_owner.clone().filter(|owner| !is_strange(owner));
        }
        found.shape.without_owners = listed.owners.iter().any(is_strange);
        if found.shape.without_owners {
            let named = |names: &[String]| {
                let names = names.iter().take(5).map(|name| printable(name.as_bytes()));
                names.collect::<Vec<_>>().join(", ")
            };
            let (who, next) = if missing.is_empty() {
                (
                    format!("may not give anything to {}", named(&foreign)),
                    "log in as a superuser to keep owners and rights",
                )
            } else {
                (
                    format!("has no role {}", named(&missing)),
                    "make the role first (createuser NAME), or add --with-roles where the snapshot has postgres/globals.sql",
                )
            };
            let cause =
                format!("{who}: all of it belongs to who logs in, without the rights that others had");
            found.findings.push(Finding::warning(self.shown(), cause).with_hint(next));
        }
        Ok(())
    }

    /// A call of `pg_restore`.
    fn pg_restore(&self, database: &str, without_owners: bool, without_rights: bool) -> Client {
        let mut client = self.connection.client("pg_restore", database);
        client
            .arguments
            .extend(["--format=custom", "--single-transaction", "--exit-on-error"].map(Into::into));
        client.arguments.extend(without_owners.then(|| "--no-owner".into()));
        client.arguments.extend(without_rights.then(|| "--no-privileges".into()));
        client
    }

    fn failed(&self, error: Error, database: &str, verb: &str) -> Error {
        let database = printable(database.as_bytes());
        remedy::explain_fill(error, format!("the database {database} of {} cannot be {verb}", self.shown()))
    }

    fn patience(&self, patience: &Patience) -> Patience {
        Patience { interrupt: patience.interrupt.clone(), silence: self.options.silence.or(patience.silence) }
    }

    fn looked(&self, wanted: &Wanted<'_>, patience: &Patience) -> Result<Found> {
        self.version("psql", patience)?;
        let state = self.state(wanted.database, patience)?;
        let mut session = match state {
            State::Absent => self.beside(wanted.database, patience)?,
            _ => self.session(wanted.database, patience)?,
        };
        let facts = session.rows(FACTS)?;
        session.close()?;
        let findings = self.fits(wanted, facts.first().ok_or_else(strange)?, patience)?;
        let listed = read_list(wanted.content)?;
        let mut found =
            Found { state, shape: Shape::default(), connected: None, roles: Vec::new(), findings };
        if let Some(globals) = wanted.globals {
            let there = self.roles_there(wanted.database, patience)?;
            found.roles = read_roles(globals)?.missing(&there);
        }
        if wanted.in_place && matches!(found.state, State::Holds(_)) {
            found.connected = self.connected(wanted.database, patience)?;
            found.shape = self.made(wanted.database, patience, &mut found.findings)?;
        } else {
            found.shape.encoding.clone_from(&listed.encoding);
        }
        self.owners(&listed, wanted, patience, &mut found)?;
        Ok(found)
    }

    fn swapped(&self, swap: &Swap, patience: &Patience) -> Result<()> {
        if let Some(who) = self.connected(&swap.database, patience)? {
            let error = Error::new(ErrorKind::Busy, format!("somebody connected to it meanwhile: {who}"));
            return Err(error.hint("stop what uses the database, and run the same command again"));
        }
        self.run_beside(&swap.database, &renames(swap), patience)
    }
}

impl Target for Postgres {
    fn about(&self) -> About {
        About {
            name: self.shown(),
            kind: DumpKind::Postgres,
            database: self.connection.database().map(str::to_owned),
            name_max: NAME_MAX,
            transactional: true,
        }
    }

    fn look(&self, wanted: &Wanted<'_>, patience: &Patience) -> Result<Found> {
        let patience = self.patience(patience);
        self.looked(wanted, &patience).map_err(|error| self.failed(error, wanted.database, "restored"))
    }

    fn create(&self, database: &str, shape: &Shape, patience: &Patience) -> Result<()> {
        self.run_beside(database, &format!("{};", create(database, shape)), &self.patience(patience))
            .map_err(|error| self.failed(error, database, "made"))
    }

    fn fill(
        &self,
        database: &str,
        shape: &Shape,
        content: &Content<'_>,
        patience: &Patience,
    ) -> Result<Vec<Finding>> {
        let patience = self.patience(patience);
        let run = |without_rights| {
            let client = self.pg_restore(database, shape.without_owners, without_rights);
            client.feed(&self.options, &patience, content)
        };
        let filled = match run(shape.without_owners) {
            // Nothing of it is there. Rights of roles that are not there come last, and are no reason to go without all.
            Err(error) if !shape.without_owners && lacks_role(&error) => run(true).map(|()| {
                let cause = format!("the rights that others had are left out: {}", error.chain());
                vec![
                    Finding::warning(printable(database.as_bytes()), cause)
                        .with_hint("make the role (createuser NAME), and GRANT what it needs"),
                ]
            }),
            filled => filled.map(|()| Vec::new()),
        };
        filled.map_err(|error| self.failed(error, database, "filled"))
    }

    fn count(&self, database: &str, patience: &Patience) -> Result<Vec<TableRows>> {
        let patience = self.patience(patience);
        let counted = self.session(database, &patience).and_then(|mut session| {
            let counted = check::count_all(&mut session)?;
            session.close()?;
            Ok(counted)
        });
        counted.map_err(|error| self.failed(error, database, "counted"))
    }

    fn ask_in(&self, database: &str, question: &str, patience: &Patience) -> Result<Vec<Row>> {
        let asked = self.session(database, &self.patience(patience)).and_then(|mut session| {
            let rows = session.rows(question)?;
            session.close()?;
            Ok(rows)
        });
        asked.map_err(|error| self.failed(error, database, "asked"))
    }

    fn remove(&self, database: &str, patience: &Patience) -> Result<()> {
        let removed = self.beside(database, patience).and_then(|mut session| {
            let number = session.ask("SELECT pg_catalog.current_setting('server_version_num');")?;
            let number = number.first().and_then(|number| number.parse::<u32>().ok());
            let force = if number >= Some(FORCE_SINCE) { " WITH (FORCE)" } else { "" };
            session.ask(&format!("DROP DATABASE {}{force};", identifier(database)))?;
            session.close()
        });
        removed.map_err(|error| self.failed(error, database, "removed"))
    }

    fn swap(&self, swap: &Swap, patience: &Patience) -> Result<()> {
        self.swapped(swap, &self.patience(patience))
            .map_err(|error| self.failed(error, &swap.database, "swapped"))
    }

    fn make_roles(&self, globals: &Content<'_>, patience: &Patience) -> Result<Vec<String>> {
        let what = || format!("the roles cannot be made at {}", self.shown());
        self.roles_made(globals, &self.patience(patience))
            .map_err(|error| remedy::explain_fill(error, what()))
    }

    fn by_hand(&self, step: &ByHand<'_>) -> Vec<String> {
        let psql = |sql: &str| {
            let [usual, _] = MAINTENANCE;
            let mut client = self.connection.client("psql", usual);
            client.arguments.extend(["--set=ON_ERROR_STOP=1".into(), format!("--command={sql}").into()]);
            client.by_hand(&self.options)
        };
        match step {
            ByHand::Create(database, shape) => vec![psql(&create(database, shape))],
            ByHand::Fill(database, shape) => {
                let client = self.pg_restore(database, shape.without_owners, shape.without_owners);
                vec![client.by_hand(&self.options)]
            }
            ByHand::Swap(swap) => vec![psql(&renames(swap))],
        }
    }
}

/// Both names change at once, or none.
fn renames(swap: &Swap) -> String {
    let [database, new, aside] = [&swap.database, &swap.new, &swap.aside].map(|name| identifier(name));
    format!(
        "BEGIN; ALTER DATABASE {database} RENAME TO {aside}; ALTER DATABASE {new} RENAME TO {database}; COMMIT;"
    )
}

fn create(database: &str, shape: &Shape) -> String {
    let mut sql = format!("CREATE DATABASE {} TEMPLATE template0", identifier(database));
    for (what, value) in [
        ("ENCODING", &shape.encoding),
        ("LC_COLLATE", &shape.collation),
        ("LC_CTYPE", &shape.character_types),
    ] {
        sql.extend(value.iter().map(|value| format!(" {what} {}", literal(value))));
    }
    sql.extend(shape.owner.iter().map(|owner| format!(" OWNER {}", identifier(owner))));
    sql
}

fn is_absent(error: &Error) -> bool {
    let words = error.chain();
    words.contains("database \"") && words.contains("does not exist")
}

fn lacks_role(error: &Error) -> bool {
    let words = error.chain();
    words.contains("role \"") && words.contains("does not exist")
}

/// Reads the SQL of `pg_dumpall`.
fn read_roles(globals: &Content<'_>) -> Result<Roles> {
    let mut sql = Vec::new();
    globals(&mut sql)?;
    Ok(Roles::parse(&String::from_utf8_lossy(&sql)))
}

/// Reads an archive up to the end of its list.
fn read_list(content: &Content<'_>) -> Result<Listed> {
    struct Reader(Archive, Option<Error>);
    impl io::Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.list().is_some() {
                return Err(io::Error::other("enough"));
            }
            self.0.feed(bytes).map_err(|error| {
                let told = io::Error::other(error.chain());
                self.1 = Some(error);
                told
            })?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut reader = Reader(Archive::default(), None);
    let written = content(&mut reader);
    match (reader.0.list(), reader.1, written) {
        (Some(listed), ..) => Ok(listed.clone()),
        (None, Some(error), _) | (None, None, Err(error)) => Err(error),
        (None, None, Ok(())) => Err(Error::corrupt("the archive ends within its list of contents")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_made_as_the_other_was() {
        let shape = Shape {
            owner: Some("it's \"me\"".to_owned()),
            encoding: Some("UTF8".to_owned()),
            collation: Some("C".to_owned()),
            ..Shape::default()
        };
        assert_eq!(
            create("va\"ult", &shape),
            "CREATE DATABASE \"va\"\"ult\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' OWNER \"it's \"\"me\"\"\""
        );
        assert_eq!(create("v", &Shape::default()), "CREATE DATABASE \"v\" TEMPLATE template0");
    }

    #[test]
    fn a_missing_database_is_told_from_a_missing_role() {
        let error = |words: &'static str| Error::new(ErrorKind::Io, words);
        assert!(is_absent(&error("FATAL:  database \"x\" does not exist")));
        assert!(!is_absent(&error("FATAL:  role \"x\" does not exist")));
        assert!(lacks_role(&error("ERROR:  role \"x\" does not exist")));
    }
}
