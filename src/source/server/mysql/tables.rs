//! Is in the dump what the server has? Its tables are asked for before the dump begins, and their rows are counted in
//! the dump's own view of the data, or before it and behind it where there is none to share.
//!
//! Invariant: a table whose rows were not counted is named in a message, and never among those that agree.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::script::Reading;
use super::session::{self, Session};
use super::xml::Row;
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::TableRows;
use crate::report::printable;

/// Tables that are counted with one question.
const AT_ONCE: usize = 200;
/// Tables that a message names before the rest is only counted.
const NAMED_MAX: usize = 5;
/// Engines whose rows lie elsewhere: the clients dump no row of their tables.
const ELSEWHERE: [&str; 7] = ["MRG_MYISAM", "MRG_ISAM", "FEDERATED", "CONNECT", "SPIDER", "OQGRAPH", "VP"];

/// A table that holds rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    /// Whether a transaction sees its rows as they were when it began.
    pub(super) transactional: bool,
    /// Whether the clients leave its rows out by themselves.
    pub(super) elsewhere: bool,
    /// Whether they are told to leave them out.
    pub(super) without_rows: bool,
}

/// Rows as the server counts them, by table.
pub(super) type Counts = BTreeMap<String, u64>;

/// How often the server counted.
pub(super) enum Counted {
    /// Once, in the dump's own view of transactional tables.
    Exactly(Counts),
    /// Before the dump's view was taken and after that.
    Around(Counts, Counts),
}

/// How the comparison went.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) tables: Vec<TableRows>,
    pub(super) without_rows: Vec<String>,
    pub(super) messages: Vec<String>,
}

/// Asks for a database's tables. `without_rows` are names, with their database before a dot or without.
pub(super) fn ask(session: &mut Session, database: &str, without_rows: &[String]) -> Result<Vec<Table>> {
    let rows = session.rows(&format!(
        "SELECT t.TABLE_NAME, t.ENGINE, e.TRANSACTIONS FROM information_schema.TABLES t \
         LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE \
         WHERE t.TABLE_SCHEMA = {} AND t.TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY t.TABLE_NAME",
        session::text(database)
    ))?;
    rows.iter().map(|row| table(row, database, without_rows).ok_or_else(strange)).collect()
}

fn table(row: &Row, database: &str, without_rows: &[String]) -> Option<Table> {
    let [Some(name), engine, transactions] = row.as_slice() else { return None };
    let engine = engine.as_deref().unwrap_or_default().to_ascii_uppercase();
    Some(Table {
        transactional: transactions.as_deref() == Some("YES"),
        elsewhere: ELSEWHERE.contains(&engine.as_str()),
        without_rows: without_rows.iter().any(|wanted| is_meant(wanted, database, name)),
        name: name.clone(),
    })
}

/// Whether somebody who wrote `wanted` means this table.
pub(super) fn is_meant(wanted: &str, database: &str, table: &str) -> bool {
    let behind = wanted.strip_prefix(database).and_then(|rest| rest.strip_prefix('.'));
    wanted == table || behind == Some(table)
}

/// Counts the rows of tables in a session's view of the data.
pub(super) fn count(session: &mut Session, database: &str, tables: &[Table]) -> Result<Counts> {
    let wanted: Vec<&Table> = tables.iter().filter(|table| !table.elsewhere && !table.without_rows).collect();
    let mut counts = Counts::new();
    for tables in wanted.chunks(AT_ONCE) {
        let from = session::name(database);
        let questions: Vec<String> = tables
            .iter()
            .map(|table| format!("SELECT count(*) FROM {from}.{};\n", session::name(&table.name)))
            .collect();
        let answers = session.ask(&questions.concat())?;
        if answers.len() != tables.len() {
            return Err(strange());
        }
        for (table, answer) in tables.iter().zip(&answers) {
            let number =
                answer.first().and_then(|row| row.first()).and_then(|value| value.as_deref()?.parse().ok());
            counts.insert(table.name.clone(), number.ok_or_else(strange)?);
        }
    }
    Ok(counts)
}

/// Compares what came with what the server has.
pub(super) fn compare(tables: &[Table], reading: &Reading, counted: &Counted) -> Result<Verdict> {
    let missing: Vec<&str> =
        tables.iter().map(|table| table.name.as_str()).filter(|name| !reading.made.contains(*name)).collect();
    if !missing.is_empty() {
        return Err(incomplete(format!("the dump lacks the definition of {}", some_of(&missing))));
    }
    let mut verdict = Verdict::default();
    let (mut changed, mut elsewhere) = (Vec::new(), Vec::new());
    for table in tables {
        let name = table.name.as_str();
        let in_dump = reading.rows.get(name).copied().unwrap_or_default();
        if table.without_rows || table.elsewhere {
            if in_dump != 0 {
                return Err(incomplete(format!(
                    "the dump holds rows of {}, which were to be left out",
                    shown(name)
                )));
            }
            if table.without_rows {
                verdict.without_rows.push(name.to_owned());
            } else {
                elsewhere.push(name);
            }
            continue;
        }
        match expected(table, counted)? {
            Some(rows) if rows == in_dump => {
                verdict.tables.push(TableRows { table: name.to_owned(), rows: in_dump });
            }
            Some(rows) => return Err(differs(name, in_dump, rows)),
            None => changed.push(name),
        }
    }
    verdict.tables.sort_by(|one, other| one.table.cmp(&other.table));
    verdict.without_rows.sort();
    let own = |name: &str| tables.iter().any(|table| table.name == name);
    let unknown: Vec<&str> = reading.rows.keys().map(String::as_str).filter(|name| !own(name)).collect();
    let loose: Vec<&str> = tables
        .iter()
        .filter(|table| !table.transactional && !table.elsewhere && !table.without_rows)
        .map(|table| table.name.as_str())
        .collect();
    for (names, what) in [
        (changed, "their rows changed while the dump began, so the dump's could not be compared"),
        (unknown, "they were made while the dump began, so their rows were not counted"),
        (elsewhere, "their rows lie elsewhere and are not in the dump"),
        (loose, "their engine has no transactions, so they are of another moment than the others"),
    ] {
        if !names.is_empty() {
            verdict.messages.push(format!("{}: {what}", some_of(&names)));
        }
    }
    Ok(verdict)
}

/// The rows that the dump must hold; nothing where nobody knows.
fn expected(table: &Table, counted: &Counted) -> Result<Option<u64>> {
    let of = |counts: &Counts| counts.get(&table.name).copied().ok_or_else(strange);
    match counted {
        // Whoever writes to it while the dump is made is seen by each of the two at another moment.
        Counted::Exactly(counts) if table.transactional => of(counts).map(Some),
        Counted::Exactly(_) => Ok(None),
        Counted::Around(before, after) => {
            let (before, after) = (of(before)?, of(after)?);
            Ok((before == after).then_some(before))
        }
    }
}

fn shown(name: &str) -> String {
    printable(name.as_bytes())
}

fn some_of(names: &[&str]) -> String {
    let mut text = names.iter().take(NAMED_MAX).map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = names.len().checked_sub(NAMED_MAX) {
        // Writing to a text does not fail.
        write!(text, " and {more} more").ok();
    }
    text
}

fn differs(table: &str, in_dump: u64, on_server: u64) -> Error {
    incomplete(format!(
        "the dump holds {in_dump} rows of {}, and the server counts {on_server} in the same view of its data",
        shown(table)
    ))
}

fn incomplete(what: String) -> Error {
    Error::corrupt(what).hint(
        "run the backup again, not while tables are made or dropped; if it happens again, look for damage (CHECK \
         TABLE) and for option files that change what the clients dump, and keep older snapshots",
    )
}

fn strange() -> Error {
    Error::new(ErrorKind::Io, "the server gave another answer than was asked for")
        .hint("run the backup again; if it happens again, look whether a proxy stands in between")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(name: &str) -> Table {
        Table { name: name.to_owned(), transactional: true, elsewhere: false, without_rows: false }
    }

    fn counts(pairs: &[(&str, u64)]) -> Counts {
        pairs.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect()
    }

    fn reading(pairs: &[(&str, u64)]) -> Reading {
        let made = pairs.iter().map(|(name, _)| (*name).to_owned()).collect();
        Reading { made, rows: counts(pairs).into_iter().filter(|(_, rows)| *rows > 0).collect() }
    }

    #[test]
    fn rows_that_differ_are_refused() {
        let tables = [base("a"), base("b")];
        let exactly = Counted::Exactly(counts(&[("a", 1), ("b", 0)]));
        let verdict = compare(&tables, &reading(&[("a", 1), ("b", 0)]), &exactly).unwrap();
        assert_eq!(verdict.tables.len(), 2);
        assert!(verdict.messages.is_empty());
        for other in [&[("a", 2), ("b", 0)][..], &[("a", 1), ("b", 1)], &[("a", 0), ("b", 0)], &[("a", 1)]] {
            assert_eq!(compare(&tables, &reading(other), &exactly).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        let unknown = compare(&tables, &reading(&[("a", 1), ("b", 0), ("c", 1)]), &exactly).unwrap();
        assert!(unknown.messages[0].starts_with("c: they were made"));
    }

    #[test]
    fn without_a_view_in_common_only_what_stood_still_is_compared() {
        let tables = [base("a"), base("b")];
        let around = Counted::Around(counts(&[("a", 1), ("b", 5)]), counts(&[("a", 1), ("b", 7)]));
        let verdict = compare(&tables, &reading(&[("a", 1), ("b", 6)]), &around).unwrap();
        assert_eq!(verdict.tables, [TableRows { table: "a".to_owned(), rows: 1 }]);
        assert!(verdict.messages[0].starts_with("b: their rows changed"));
        assert!(compare(&tables, &reading(&[("a", 2), ("b", 6)]), &around).is_err());
    }

    #[test]
    fn rows_that_are_left_out_must_be() {
        let tables = [
            Table { without_rows: true, ..base("a") },
            Table { elsewhere: true, transactional: false, ..base("b") },
            Table { transactional: false, ..base("c") },
        ];
        let exactly = Counted::Exactly(counts(&[("c", 3)]));
        let verdict = compare(&tables, &reading(&[("a", 0), ("b", 0), ("c", 4)]), &exactly).unwrap();
        assert_eq!(verdict.without_rows, ["a"]);
        assert_eq!(verdict.messages.len(), 3, "{:?}", verdict.messages);
        assert!(compare(&tables, &reading(&[("a", 1), ("b", 0), ("c", 4)]), &exactly).is_err());
        assert!(is_meant("d.t", "d", "t") && is_meant("t", "d", "t") && is_meant("d.t", "x", "d.t"));
        assert!(!is_meant("x.t", "d", "t") && !is_meant("t", "d", "tt"));
    }
}
