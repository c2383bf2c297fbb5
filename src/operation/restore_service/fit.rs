//! Whether a database may give way to a dump: it is of the same service, and not newer.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::format::snapshot::DumpReport;
use crate::report::printable;
use crate::source::server::Row;
use crate::source::server::target::Target;
use crate::source::stream::Patience;

/// Where services write down which steps their schema has taken: the table, and what names a step.
const STEPS: [(&str, &str); 4] = [
    ("__diesel_schema_migrations", "SELECT version FROM __diesel_schema_migrations"),
    ("django_migrations", "SELECT app, name FROM django_migrations"),
    ("schema_migrations", "SELECT version FROM schema_migrations"),
    ("flyway_schema_history", "SELECT version, script FROM flyway_schema_history"),
];
/// Steps that a message names before the rest is only counted.
const NAMED_MAX: usize = 3;

/// A table's name without its schema.
pub(super) fn plain(table: &str) -> &str {
    table.rsplit('.').next().unwrap_or(table)
}

/// Refuses a database most of whose tables are not in the dump.
pub(super) fn same_service(tables: &[String], dump: &DumpReport) -> Result<()> {
    let counted = dump.tables.iter().map(|table| table.table.as_str());
    let of_dump: BTreeSet<&str> = counted.chain(dump.without_rows.iter().map(String::as_str)).collect();
    let common = tables.iter().filter(|table| of_dump.contains(table.as_str())).count();
    if common.saturating_mul(2) >= tables.len() && common > 0 {
        return Ok(());
    }
    let stranger = tables.iter().find(|table| !of_dump.contains(table.as_str()));
    let named = stranger.map(|table| format!(", such as {}", printable(table.as_bytes())));
    Err(Error::refused(format!(
        "the database is of another service: of its {} tables the dump has {common}{}",
        tables.len(),
        named.unwrap_or_default()
    ))
    .hint("check the address; to restore beside it, name a database that does not exist yet, without --in-place"))
}

/// Refuses a database that has taken more steps than the dump has rows of them.
pub(super) fn not_newer(
    target: &dyn Target,
    database: &str,
    tables: &[String],
    dump: &DumpReport,
    patience: &Patience,
) -> Result<()> {
    for (table, question) in STEPS {
        let there = tables.iter().any(|name| plain(name) == table);
        let Some(was) = dump.tables.iter().find(|rows| plain(&rows.table) == table).filter(|_| there) else {
            continue;
        };
        let steps = target.ask_in(database, question, patience)?.len() as u64;
        if steps > was.rows {
            return Err(newer(&format!("{table} has {steps} steps, and the dump {}", was.rows)));
        }
    }
    Ok(())
}

/// Refuses a database that has taken steps that the one filled from the dump has not.
pub(super) fn no_step_more(
    target: &dyn Target,
    database: &str,
    tables: &[String],
    new: &str,
    patience: &Patience,
) -> Result<()> {
    for (table, question) in STEPS {
        if !tables.iter().any(|name| plain(name) == table) {
            continue;
        }
        let old = target.ask_in(database, question, patience)?;
        let known: BTreeSet<Row> = target.ask_in(new, question, patience)?.into_iter().collect();
        let more: Vec<String> = old.iter().filter(|row| !known.contains(*row)).map(shown).collect();
        if !more.is_empty() {
            let named = more.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
            let rest = more.len().saturating_sub(NAMED_MAX);
            let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            return Err(newer(&format!("{table} has {named}{rest}, which the dump has not")));
        }
    }
    Ok(())
}

fn shown(row: &Row) -> String {
    let columns = row.iter().flatten().map(|column| printable(column.as_bytes()));
    columns.collect::<Vec<_>>().join(" ")
}

fn newer(what: &str) -> Error {
    Error::refused(format!("the schema of the database is newer than that of the dump: {what}")).hint(
        "to go back to the older release of the service, restore into a database that does not exist yet, without \
         --in-place, and start that release on it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::snapshot::{DumpKind, TableRows};

    fn dump(tables: &[&str]) -> DumpReport {
        let tables = tables.iter().map(|table| TableRows { table: (*table).to_owned(), rows: 1 }).collect();
        DumpReport {
            place: b"postgres/v.dump".to_vec(),
            kind: DumpKind::Postgres,
            database: None,
            server: None,
            client: None,
            bytes: 0,
            tables,
            without_rows: vec!["public.event".to_owned()],
            messages: Vec::new(),
        }
    }

    #[test]
    fn another_service_is_known_by_its_tables() {
        let names = |tables: &[&str]| tables.iter().map(|table| (*table).to_owned()).collect::<Vec<_>>();
        let dump = dump(&["public.users", "public.ciphers"]);
        for fitting in [&["public.users"][..], &["public.users", "public.event", "public.new"]] {
            assert!(same_service(&names(fitting), &dump).is_ok(), "{fitting:?}");
        }
        for other in [&["public.users", "public.x", "public.y"][..], &["app.users"], &[]] {
            assert!(same_service(&names(other), &dump).is_err(), "{other:?}");
        }
    }
}
