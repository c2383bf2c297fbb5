//! A PostgreSQL server as a target: `pg_restore` takes an archive in one transaction.
//!
//! Invariants: a database that holds something is never filled. What fails leaves the database as it was.

use super::sql::{identifier, literal};
use super::{MAINTENANCE, Postgres, check, remedy};
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::{DumpKind, TableRows};
use crate::report::{Finding, printable};
use crate::source::server::Row;
use crate::source::server::client::Client;
use crate::source::server::target::{About, ByHand, Content, Found, Shape, Swap, Target, Wanted};
use crate::source::stream::Patience;

/// Longest name of a database that is not cut, in bytes.
const NAME_MAX: usize = 63;
/// Since this version, a database is removed although somebody is connected.
const FORCE_SINCE: u32 = 130_000;

impl Postgres {
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

fn lacks_role(error: &Error) -> bool {
    let words = error.chain();
    words.contains("role \"") && words.contains("does not exist")
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
    fn a_role_that_is_missing_is_known() {
        let error = |words: &'static str| Error::new(ErrorKind::Io, words);
        assert!(!lacks_role(&error("FATAL:  database \"x\" does not exist")));
        assert!(lacks_role(&error("ERROR:  role \"x\" does not exist")));
    }
}
