//! Is in the archive what the server has? Each table's rows are counted by the server in the very view of its data that
//! the dump was made of.
//!
//! Invariants: a table whose rows were not counted is named in a message, and never among those that agree. Tables are
//! told apart by the ids that they have on the server; what they are called is for people.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::Reading;
use super::session::Session;
use super::{pattern, strange};
use crate::error::{Error, Result};
use crate::format::snapshot::TableRows;
use crate::report::printable;
use crate::source::server::Row;

/// Tables of one statement: few enough that a pipe holds it.
const AT_ONCE: usize = 400;
/// Tables that a message names before the rest is only counted.
const NAMED_MAX: usize = 5;

/// Tables whose rows every dump must hold: ordinary ones outside the system's schemas that belong to no extension.
const OWN_TABLES: &str = "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
AND pg_catalog.left(n.nspname::text, 3) <> 'pg_' AND n.nspname <> 'information_schema'
AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.deptype = 'e' AND (
    (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid) OR
    (d.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.objid = n.oid)))";

/// A table's rows and what limits them: of an extension's tables only what its users added is dumped.
const WITH_CONDITIONS: &str =
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN (SELECT x.extconfig[i] AS id, NULLIF(x.extcondition[i], '') AS condition
    FROM pg_catalog.pg_extension x, pg_catalog.generate_subscripts(x.extconfig, 1) AS i) e ON e.id = c.oid";

/// What the server has, asked before the dump begins.
#[derive(Default)]
pub(super) struct Expected {
    /// Names by ids.
    tables: BTreeMap<u32, String>,
    /// Those whose rows are left out.
    without_rows: BTreeSet<u32>,
    /// Patterns that no table fits.
    idle: Vec<String>,
}

/// How the comparison went.
#[derive(Default)]
pub(super) struct Verdict {
    pub(super) tables: Vec<TableRows>,
    pub(super) without_rows: Vec<String>,
    pub(super) messages: Vec<String>,
}

impl Expected {
    /// Asks the server for its tables, and which of them the patterns mean.
    pub(super) fn ask(session: &mut Session, patterns: &[String]) -> Result<Self> {
        let query = format!("SELECT c.oid, n.nspname || '.' || c.relname {OWN_TABLES}");
        let mut expected = Self { tables: names(&session.rows(&query)?)?, ..Self::default() };
        for pattern in patterns {
            let query = format!("SELECT c.oid, '' {OWN_TABLES} AND {}", pattern::condition(pattern));
            let fitting = names(&session.rows(&query)?)?;
            if fitting.is_empty() {
                expected.idle.push(pattern.clone());
            }
            expected.without_rows.extend(fitting.into_keys());
        }
        Ok(expected)
    }

    /// Compares what came with what the server counts. Of tables that could not be locked, the server may have changed
    /// the rows since: they are not counted.
    pub(super) fn compare(
        self,
        session: &mut Session,
        reading: &Reading,
        locked: &BTreeSet<u32>,
    ) -> Result<Verdict> {
        let missing = self
            .tables
            .iter()
            .filter(|(id, _)| !reading.tables.contains_key(id) && !self.without_rows.contains(id));
        let missing: Vec<&str> = missing.map(|(_, name)| name.as_str()).collect();
        if !missing.is_empty() {
            return Err(incomplete(format!("the dump lacks the rows of {}", some_of(&missing))));
        }
        let ids: Vec<u32> = reading.tables.keys().copied().collect();
        let mut verdict = Verdict::default();
        let mut uncounted = Vec::new();
        for ids in ids.chunks(AT_ONCE) {
            let names = names_of(session, ids)?;
            let wanted: Vec<u32> = ids.iter().copied().filter(|id| locked.contains(id)).collect();
            let counted = count(session, &wanted)?;
            for id in ids {
                let name = names.get(id).ok_or_else(|| {
                    incomplete(format!(
                        "the dump holds a table of the id {id}, which the server does not have"
                    ))
                })?;
                let in_dump = reading.tables.get(id).copied().unwrap_or_default();
                match counted.get(id) {
                    Some(rows) if *rows == in_dump => {
                        verdict.tables.push(TableRows { table: name.clone(), rows: in_dump });
                    }
                    Some(rows) => return Err(differs(name, in_dump, *rows)),
                    None => uncounted.push(name.clone()),
                }
            }
        }
        compare_large_objects(session, reading.large_objects)?;
        verdict.tables.sort_by(|one, other| one.table.cmp(&other.table));
        let left_out = self.without_rows.iter().filter(|id| !reading.tables.contains_key(id));
        verdict.without_rows = left_out.filter_map(|id| self.tables.get(id).cloned()).collect();
        verdict.without_rows.sort();
        verdict.messages = self
            .idle
            .iter()
            .map(|pattern| format!("no table fits the pattern {pattern} of those whose rows are left out"))
            .collect();
        if !uncounted.is_empty() {
            let names: Vec<&str> = uncounted.iter().map(String::as_str).collect();
            verdict.messages.push(format!(
                "the server did not count the rows of these, for somebody was about to change their tables: {}",
                some_of(&names)
            ));
        }
        Ok(verdict)
    }
}

/// Locks tables against changes that do not keep to a view of the data, such as TRUNCATE, as `pg_dump` does; but waits
/// for nobody, for whoever waits for `pg_dump` would wait for us as well. Gives those that it got and that nobody had
/// changed in such a way since the view was opened: they still lie in the same files.
pub(super) fn lock(session: &mut Session, tables: &[u32]) -> Result<BTreeSet<u32>> {
    let mut locked = BTreeSet::new();
    for ids in tables.chunks(AT_ONCE) {
        let lines = session.ask(&format!(
            "\\set ON_ERROR_STOP off\nSAVEPOINT strongroom;\n\
            SELECT 'LOCK TABLE ' || pg_catalog.string_agg(pg_catalog.format('ONLY %I.%I', n.nspname, c.relname), ', ') || ' IN ACCESS SHARE MODE NOWAIT' \
            {WITH_CONDITIONS} WHERE c.oid IN ({}) \\gexec\n\
            \\set failed :ERROR\n\\if :failed\nROLLBACK TO SAVEPOINT strongroom;\n\\endif\n\
            RELEASE SAVEPOINT strongroom;\n\\set ON_ERROR_STOP on\n\\echo :failed",
            listed(ids)
        ))?;
        if lines.last().is_some_and(|line| line == "false") {
            let query = format!(
                "SELECT c.oid, '' {WITH_CONDITIONS} WHERE c.oid IN ({}) \
                AND c.relfilenode = pg_catalog.pg_relation_filenode(c.oid)",
                listed(ids)
            );
            locked.extend(names(&session.rows(&query)?)?.into_keys());
        }
    }
    Ok(locked)
}

/// Counts the rows of tables.
fn count(session: &mut Session, ids: &[u32]) -> Result<BTreeMap<u32, u64>> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let lines = session.ask(&format!(
        "SELECT pg_catalog.format('SELECT %s, pg_catalog.count(*) FROM %s%I.%I %s', c.oid, \
        CASE WHEN e.condition IS NULL THEN 'ONLY ' ELSE '' END, n.nspname, c.relname, e.condition) \
        {WITH_CONDITIONS} WHERE c.oid IN ({}) \\gexec",
        listed(ids)
    ))?;
    let pairs = lines.iter().map(|line| {
        let (id, rows) = line.split_once('|')?;
        Some((id.parse().ok()?, rows.parse().ok()?))
    });
    pairs.collect::<Option<_>>().ok_or_else(strange)
}

/// Counts the rows of every table that a dump would hold rows of, as it would hold them; sorted by name.
pub(super) fn count_all(session: &mut Session) -> Result<Vec<TableRows>> {
    let query = format!(
        "SELECT c.oid, n.nspname || '.' || c.relname {WITH_CONDITIONS} WHERE c.relkind = 'r' \
        AND c.relpersistence <> 't' AND pg_catalog.left(n.nspname::text, 3) <> 'pg_' \
        AND n.nspname <> 'information_schema'"
    );
    let names = names(&session.rows(&query)?)?;
    let mut tables = Vec::with_capacity(names.len());
    let ids: Vec<u32> = names.keys().copied().collect();
    for ids in ids.chunks(AT_ONCE) {
        for (id, rows) in count(session, ids)? {
            let table = names.get(&id).ok_or_else(strange)?;
            tables.push(TableRows { table: table.clone(), rows });
        }
    }
    tables.sort_by(|one, other| one.table.cmp(&other.table));
    Ok(tables)
}

fn names_of(session: &mut Session, ids: &[u32]) -> Result<BTreeMap<u32, String>> {
    let query = format!(
        "SELECT c.oid, n.nspname || '.' || c.relname {WITH_CONDITIONS} WHERE c.oid IN ({})",
        listed(ids)
    );
    names(&session.rows(&query)?)
}

fn names(rows: &[Row]) -> Result<BTreeMap<u32, String>> {
    let pairs = rows.iter().map(|row| match row.as_slice() {
        [Some(id), Some(name)] => Some((id.parse().ok()?, name.clone())),
        _ => None,
    });
    pairs.collect::<Option<_>>().ok_or_else(strange)
}

fn compare_large_objects(session: &mut Session, in_dump: u64) -> Result<()> {
    let lines = session.ask("SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata;")?;
    let counted = lines.first().and_then(|line| line.parse::<u64>().ok()).ok_or_else(strange)?;
    if counted == in_dump {
        Ok(())
    } else {
        Err(incomplete(format!(
            "the dump holds {in_dump} large objects, and the server has {counted} in the same view of its data"
        )))
    }
}

fn listed(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

fn some_of(names: &[&str]) -> String {
    let mut text =
        names.iter().take(NAMED_MAX).map(|name| printable(name.as_bytes())).collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = names.len().checked_sub(NAMED_MAX) {
        text.extend([" and ", &more.to_string(), " more"]);
    }
    text
}

fn differs(table: &str, in_dump: u64, on_server: u64) -> Error {
    let table = printable(table.as_bytes());
    incomplete(format!(
        "the dump holds {in_dump} rows of {table}, and the server counts {on_server} in the same view of its data"
    ))
}

fn incomplete(what: String) -> Error {
    Error::corrupt(what).hint("run the backup again; if it happens again, look for damage in the database (pg_amcheck) and keep older snapshots")
}
