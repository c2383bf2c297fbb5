//! What an authentik's database says of itself and of the files that belong to it, asked in the view of its dump.
//!
//! Every schema is looked at, for each tenant has one of its own, and its files in a folder of that name.
//!
//! Invariant: nothing out of the database becomes a path unless each part of it is a plain name.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::report::{Finding, printable};
use crate::source::server::Row;

/// Columns that name uploaded files; not every release has all of them.
const COLUMNS: [(&str, &str); 8] = [
    ("authentik_core_application", "meta_icon"),
    ("authentik_core_source", "icon"),
    ("authentik_flows_flow", "background"),
    ("authentik_brands_brand", "branding_logo"),
    ("authentik_brands_brand", "branding_favicon"),
    ("authentik_brands_brand", "branding_default_flow_background"),
    ("authentik_tenants_tenant", "branding_logo"),
    ("authentik_tenants_tenant", "branding_favicon"),
];
/// What a name holds that stands for a file for each theme.
const THEME: &str = "%(theme)s";
const THEMES: [&str; 2] = ["light", "dark"];
/// The table without whose rows nobody can log in.
const USERS: &str = "authentik_core_user";

/// Questions whose answers are queries in turn, so that what a release does not have is not asked for: which files rows name,
/// the newest migration, and the release that last ran.
pub fn questions() -> Vec<String> {
    let columns: Vec<String> =
        COLUMNS.iter().map(|(table, column)| format!("('{table}', '{column}')")).collect();
    let files = format!(
        "SELECT pg_catalog.format('SELECT %L, %L, %L, %I FROM %I.%I WHERE %I <> ''''', n.nspname, c.relname, a.attname, \
         a.attname, n.nspname, c.relname, a.attname) FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND NOT a.attisdropped AND (c.relname, a.attname) IN ({}) ORDER BY 1",
        columns.join(", ")
    );
    let migration = newest(
        "django_migrations",
        &["id", "app", "name", "applied"],
        "app || ''.'' || name",
        "applied DESC, id DESC",
    );
    vec![files, migration, question_of_release()]
}

/// The last of [`questions`]: which release last ran.
pub fn question_of_release() -> String {
    let columns = ["id", "version", "timestamp"];
    newest("authentik_version_history", &columns, "version", "\"timestamp\" DESC, id DESC")
}

/// A question whose answer asks for the newest row of a table, if that is there with these columns.
fn newest(table: &str, columns: &[&str], value: &str, order: &str) -> String {
    let has = |column: &&str| {
        format!(
            "EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = '{column}' \
             AND NOT a.attisdropped)"
        )
    };
    format!(
        "SELECT pg_catalog.format('SELECT {value} FROM %I.{table} ORDER BY {order} LIMIT 1', n.nspname) \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND c.relname = '{table}' AND {} \
         ORDER BY n.nspname <> 'public', n.nspname LIMIT 1",
        columns.iter().map(has).collect::<Vec<_>>().join(" AND ")
    )
}

/// A file that a row names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    /// The row's schema, table and column, and the value as it stands there.
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) column: String,
    pub(super) value: String,
    /// The file below a folder of uploaded files.
    pub(super) file: String,
}

/// What a database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Tables and their rows, by name; those outside the schema `public` with their schema before them.
    pub tables: Vec<(String, u64)>,
    /// How many may log in.
    pub users: u64,
    /// The newest migration.
    pub schema: Option<String>,
    /// The release that last ran.
    pub release: Option<String>,
    /// What does not look as it should.
    pub findings: Vec<Finding>,
    pub(super) named: BTreeSet<Named>,
}

/// What a dump and the answers to [`questions`] say.
///
/// # Errors
/// `Corrupt` where answers are missing, or where this is no database of authentik's.
pub fn from_answers(tables: Vec<(String, u64)>, answers: &[Vec<Row>]) -> Result<Contents> {
    let [files, migrations, versions] = answers else {
        return Err(Error::corrupt("the server left questions about authentik's tables unanswered"));
    };
    let of_users = |table: &str| table.rsplit_once('.').map_or(table, |(_, name)| name) == USERS;
    if !tables.iter().any(|(table, _)| of_users(table)) {
        return Err(Error::corrupt(format!("the database has no table {USERS}: it is not authentik's"))
            .hint("check AUTHENTIK_POSTGRESQL__NAME, or the address given with --postgres"));
    }
    let users = tables
        .iter()
        .filter(|(table, _)| of_users(table))
        .fold(0u64, |sum, (_, rows)| sum.saturating_add(*rows));
    let first =
        |rows: &[Row]| rows.first().and_then(|row| column(row, 0)).map(|text| printable(text.as_bytes()));
    let plain = |table: String| table.strip_prefix("public.").map(str::to_owned).unwrap_or(table);
    let mut contents = Contents {
        tables: tables.into_iter().map(|(table, rows)| (plain(table), rows)).collect(),
        users,
        schema: first(migrations),
        release: first(versions),
        ..Contents::default()
    };
    contents.tables.sort();
    if users == 0 {
        let cause = "authentik's database has no user: nobody could log in";
        contents
            .findings
            .push(Finding::problem(USERS, cause).with_hint("check that this is the database in use"));
    }
    for row in files {
        contents.note(row);
    }
    Ok(contents)
}

impl Contents {
    fn note(&mut self, row: &Row) {
        let [Some(schema), Some(table), Some(column), Some(value)] = row.as_slice() else { return };
        let variants: Vec<String> = if value.contains(THEME) {
            THEMES.iter().map(|theme| value.replace(THEME, theme)).collect()
        } else {
            vec![value.clone()]
        };
        for variant in variants {
            match file_of(schema, &variant) {
                Reference::Elsewhere => {}
                Reference::File(file) => {
                    let own = |text: &str| text.to_owned();
                    self.named.insert(Named {
                        schema: own(schema),
                        table: own(table),
                        column: own(column),
                        value: own(value),
                        file,
                    });
                }
                Reference::Unusable => {
                    let subject = format!("{table}.{column}");
                    let cause =
                        format!("a row names {}, which can be no uploaded file", printable(value.as_bytes()));
                    self.findings.push(
                        Finding::problem(subject, cause).with_hint("choose another file there, in authentik"),
                    );
                }
            }
        }
    }
}

/// What a value names.
#[derive(Debug, PartialEq, Eq)]
enum Reference {
    /// What is no uploaded file: an address, an icon of a font, a file of authentik's own image.
    Elsewhere,
    /// A file below a folder of uploaded files.
    File(String),
    /// Nothing that could be there.
    Unusable,
}

/// Which file a value names.
fn file_of(schema: &str, value: &str) -> Reference {
    let scheme = value.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|part| part.is_ascii_alphanumeric() || "+-.".contains(part))
    });
    // Releases before 2025.12 also take an address below their own /media, with the schema in it.
    let (folder, name) = match value.strip_prefix("/media/") {
        Some(name) => (None, name),
        None => (Some(schema), value),
    };
    if scheme || name.starts_with('/') || name.starts_with("web/dist/") || name.starts_with("static/") {
        return Reference::Elsewhere;
    }
    let name = name.split(['?', '#']).next().unwrap_or(name);
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    if !(is_plain(schema) && !schema.contains('/') && name.split('/').all(is_plain)) {
        return Reference::Unusable;
    }
    Reference::File(folder.map_or_else(|| name.to_owned(), |folder| format!("{folder}/{name}")))
}

fn column(row: &Row, number: usize) -> Option<&str> {
    row.get(number)?.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[&str]) -> Row {
        columns.iter().map(|column| Some((*column).to_owned())).collect()
    }

    #[test]
    fn only_uploaded_files_are_looked_for() {
        for value in [
            "https://example.com/icon.png",
            "http://x/y",
            "fa://fa-home",
            "data:image/png;base64,xx",
            "/static/dist/assets/icons/icon.svg",
            "web/dist/assets/icons/icon.svg",
        ] {
            assert_eq!(file_of("public", value), Reference::Elsewhere, "{value}");
        }
        for (value, file) in [
            ("application-icons/a b.png", "public/application-icons/a b.png"),
            ("logo.svg", "public/logo.svg"),
            ("/media/public/logo.svg", "public/logo.svg"),
            ("/media/custom/logo.svg?v=2", "custom/logo.svg"),
        ] {
            assert_eq!(file_of("public", value), Reference::File(file.to_owned()), "{value}");
        }
        for value in ["../../etc/passwd", "a//b", "a/../b", "/media/../x", "a\0b", "."] {
            assert_eq!(file_of("public", value), Reference::Unusable, "{value}");
        }
        assert_eq!(file_of("..", "a"), Reference::Unusable);
    }

    #[test]
    fn answers_are_read_for_every_schema() {
        let tables =
            vec![("t_one.authentik_core_user".to_owned(), 2), ("public.authentik_core_user".to_owned(), 3)];
        let files = vec![
            row(&["public", "authentik_flows_flow", "background", "bg-%(theme)s.jpg"]),
            row(&["t_one", "authentik_core_application", "meta_icon", "icon.png"]),
            row(&["public", "authentik_core_application", "meta_icon", "../icon.png"]),
        ];
        let answers = [files, vec![row(&["authentik_core.0050_x"])], vec![row(&["2025.12.1"])]];
        let contents = from_answers(tables.clone(), &answers).unwrap();
        assert_eq!(contents.users, 5);
        assert_eq!(contents.tables[0].0, "authentik_core_user");
        assert_eq!(contents.schema.as_deref(), Some("authentik_core.0050_x"));
        assert_eq!(contents.release.as_deref(), Some("2025.12.1"));
        let files: Vec<&str> = contents.named.iter().map(|named| named.file.as_str()).collect();
        assert_eq!(files, ["public/bg-dark.jpg", "public/bg-light.jpg", "t_one/icon.png"]);
        assert_eq!(contents.findings.len(), 1, "{:?}", contents.findings);

        let nothing = [Vec::new(), Vec::new(), Vec::new()];
        let empty = from_answers(vec![("public.authentik_core_user".to_owned(), 0)], &nothing).unwrap();
        assert!(empty.findings[0].cause.contains("no user") && empty.schema.is_none());
        assert!(from_answers(vec![("public.users".to_owned(), 1)], &nothing).is_err());
        assert!(from_answers(tables, &[]).is_err());
    }
}
