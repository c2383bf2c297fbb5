//! Which tables' rows may be left out because they are of no use after a restore.
//!
//! Invariant: rows to which a row of a kept table may refer are kept, or the restored foreign key would lead nowhere.

use std::collections::{BTreeMap, BTreeSet};

use super::pattern::{identifier, literal};
use super::session::Session;
use super::strange;
use crate::error::Result;
use crate::report::printable;

/// Tables by id: schema and name.
type Tables = BTreeMap<u32, (String, String)>;

/// Tables of the names that were given.
#[derive(Default)]
pub(super) struct Transient {
    /// Those whose rows are left out.
    left_out: Tables,
    /// Those that others refer to, with one that does.
    kept: Vec<(String, String)>,
}

impl Transient {
    /// Asks the server which of these there are, and who refers to them.
    pub(super) fn ask(session: &mut Session, names: &[String]) -> Result<Self> {
        if names.is_empty() {
            return Ok(Self::default());
        }
        let listed: Vec<String> = names.iter().map(|name| literal(name)).collect();
        let query = format!(
            "SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c \
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
            WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.relname IN ({})",
            listed.join(", ")
        );
        let tables =
            session.rows(&query)?.into_iter().map(|row| match <[Option<String>; 3]>::try_from(row) {
                Ok([Some(id), Some(schema), Some(name)]) => Some((id.parse().ok()?, (schema, name))),
                _ => None,
            });
        let tables: Tables = tables.collect::<Option<_>>().ok_or_else(strange)?;
        if tables.is_empty() {
            return Ok(Self::default());
        }
        let ids: Vec<String> = tables.keys().map(u32::to_string).collect();
        let query = format!(
            "SELECT k.confrelid, k.conrelid, c.relname FROM pg_catalog.pg_constraint k \
            JOIN pg_catalog.pg_class c ON c.oid = k.conrelid WHERE k.contype = 'f' AND k.confrelid IN ({}) \
            ORDER BY k.confrelid, c.relname",
            ids.join(", ")
        );
        let keys = session.rows(&query)?.into_iter().map(|row| match <[Option<String>; 3]>::try_from(row) {
            Ok([Some(to), Some(from), Some(name)]) => Some((to.parse().ok()?, from.parse().ok()?, name)),
            _ => None,
        });
        let keys: Vec<(u32, u32, String)> = keys.collect::<Option<_>>().ok_or_else(strange)?;
        Ok(Self::settle(tables, &keys))
    }

    /// Keeps what is referred to, until nothing that is left out is.
    fn settle(mut tables: Tables, keys: &[(u32, u32, String)]) -> Self {
        let mut kept = Vec::new();
        loop {
            let held =
                keys.iter().find(|(to, from, _)| tables.contains_key(to) && !tables.contains_key(from));
            let Some((to, _, by)) = held else { break };
            if let Some((_, name)) = tables.remove(to) {
                kept.push((name, by.clone()));
            }
        }
        Self { left_out: tables, kept }
    }

    /// The tables as patterns that mean them alone.
    pub(super) fn patterns(&self) -> Vec<String> {
        let quoted =
            |(schema, name): &(String, String)| format!("{}.{}", identifier(schema), identifier(name));
        let patterns: BTreeSet<String> = self.left_out.values().map(quoted).collect();
        patterns.into_iter().collect()
    }

    /// What is worth knowing.
    pub(super) fn messages(&self) -> Vec<String> {
        let told = self.kept.iter().map(|(name, by)| {
            let [name, by] = [name, by].map(|text| printable(text.as_bytes()));
            format!("the rows of {name} are kept, for {by} refers to them")
        });
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kept_table_refers_to_is_kept() {
        let table = |id: u32, name: &str| (id, ("public".to_owned(), name.to_owned()));
        let tables =
            || Tables::from([table(1, "session"), table(2, "login"), table(3, "token"), table(4, "cache")]);
        let key = |to, from, by: &str| (to, from, by.to_owned());
        // A token belongs to a login, and a login to a session; a session may follow another.
        let inner = [key(1, 1, "session"), key(1, 2, "login"), key(2, 3, "token")];
        let all = Transient::settle(tables(), &inner);
        assert_eq!(
            all.patterns(),
            ["cache", "login", "session", "token"].map(|name| format!("\"public\".\"{name}\""))
        );
        assert!(all.messages().is_empty());

        let outer = [inner.as_slice(), &[key(2, 9, "order")]].concat();
        let some = Transient::settle(tables(), &outer);
        assert_eq!(some.patterns(), ["cache", "token"].map(|name| format!("\"public\".\"{name}\"")));
        assert_eq!(
            some.messages(),
            [
                "the rows of login are kept, for order refers to them",
                "the rows of session are kept, for login refers to them"
            ]
        );
    }
}
