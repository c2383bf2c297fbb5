//! What a PostgreSQL server has where a dump is to go, asked before anything is changed.

use std::collections::BTreeSet;
use std::io;
use std::thread;

use super::archive::{Archive, Listed};
use super::roles::Roles;
use super::session::Session;
use super::sql::literal;
use super::version::Major;
use super::{MAINTENANCE, Postgres, strange, version};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Finding, printable};
use crate::source::server::Row;
use crate::source::server::target::{Content, Found, LOOKS, PAUSE, Shape, State, Wanted};
use crate::source::stream::Patience;

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
    pub(super) fn looked(&self, wanted: &Wanted<'_>, patience: &Patience) -> Result<Found> {
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
    pub(super) fn beside(&self, database: &str, patience: &Patience) -> Result<Session> {
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

    pub(super) fn run_beside(&self, database: &str, sql: &str, patience: &Patience) -> Result<()> {
        let mut session = self.beside(database, patience)?;
        session.ask(sql)?;
        session.close()
    }

    /// Who is connected to a database, and stays so: a session that has just ended takes a moment to go.
    pub(super) fn connected(&self, database: &str, patience: &Patience) -> Result<Option<String>> {
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

    pub(super) fn roles_made(&self, globals: &Content<'_>, patience: &Patience) -> Result<Vec<String>> {
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
}

fn is_absent(error: &Error) -> bool {
    let words = error.chain();
    words.contains("database \"") && words.contains("does not exist")
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
    use crate::error::ErrorKind;

    #[test]
    fn a_missing_database_is_told_from_a_missing_role() {
        let error = |words: &'static str| Error::new(ErrorKind::Io, words);
        assert!(is_absent(&error("FATAL:  database \"x\" does not exist")));
        assert!(!is_absent(&error("FATAL:  role \"x\" does not exist")));
    }
}
