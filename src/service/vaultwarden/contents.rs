//! What a Vaultwarden database holds, read from a copy or from a server's answers: row counts, and every file that must
//! exist beside it.
//!
//! Invariants: a connection is to a private copy, which is only read. The database is not trusted: a name in
//! it becomes part of a place only if it is a plain name, and the places of [`Contents::expected`] are
//! sorted and differ from each other. What cannot be used is listed as damage, never passed over.

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::Value;

use super::timestamp;
use crate::error::{Error, Result};
use crate::report::{Finding, printable};
use crate::source::server::Row;

/// The longest name of a file or its folder; Vaultwarden's have 64 letters at most.
const MAXIMUM_NAME: usize = 128;

/// The longest description of a sent file that is parsed; real ones have some hundred bytes.
const MAXIMUM_SEND_DATA: usize = 1 << 16;

/// The most letters of an unusable name that are shown.
const SHOWN_NAME: usize = 80;

/// The most tables that are counted; Vaultwarden has about thirty.
const MAXIMUM_TABLES: usize = 1000;

/// Which kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A file attached to an entry of a vault.
    Attachment,
    /// A file sent.
    Send,
}

impl Kind {
    /// The folder of such files.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Attachment => "attachments",
            Self::Send => "sends",
        }
    }

    /// What such a file is called in a sentence.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Attachment => "attachment",
            Self::Send => "sent file",
        }
    }
}

/// A file that a row of the database needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Where it is stored: `attachments/<cipher>/<id>` or `sends/<id of the send>/<id of the file>`.
    pub place: Vec<u8>,
    /// Its size in bytes.
    pub size: u64,
    /// Which kind of file it is.
    pub kind: Kind,
    /// The primary key of its row.
    pub row_id: String,
    /// When the row was last changed, as far as is known, in seconds since the Unix epoch.
    pub changed: Option<i64>,
}

/// A row that names its file in a way that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Which kind of file it is.
    pub kind: Kind,
    /// The row, made safe to show.
    pub row: String,
    /// What is wrong with it.
    pub cause: &'static str,
}

/// What a database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The last step of the schema that was applied.
    pub schema_version: Option<String>,
    /// Every table and how many rows it has, sorted by name.
    pub tables: Vec<(String, u64)>,
    /// How many users there are.
    pub users: u64,
    /// Every file that must exist, sorted by place.
    pub expected: Vec<Expected>,
    /// Rows whose file cannot be told; a [`super::Proof`] counts them as damage.
    pub unusable: Vec<Unusable>,
    /// What is odd about the database as a whole.
    pub findings: Vec<Finding>,
}

impl Contents {
    /// Whether there is a table of this name.
    fn has(&self, table: &str) -> bool {
        self.rows(table).is_some()
    }

    /// How many rows a table has, if there is one.
    pub fn rows(&self, table: &str) -> Option<u64> {
        let position = self.tables.binary_search_by(|(name, _)| name.as_str().cmp(table)).ok()?;
        self.tables.get(position).map(|(_, rows)| *rows)
    }
}

/// Reads a copy of the database.
///
/// # Errors
/// `Corrupt` if a table cannot be read to its end.
pub fn read(connection: &Connection) -> Result<Contents> {
    // A schema may hold code; what is not built in and harmless shall not run.
    connection
        .pragma_update(None, "trusted_schema", false)
        .map_err(|error| cannot_read("the schema", error))?;
    let mut contents = Contents { tables: count_tables(connection)?, ..Contents::default() };
    contents.users = contents.rows("users").unwrap_or(0);
    if contents.has("__diesel_schema_migrations") {
        contents.schema_version = schema_version(connection)?;
    }
    report_oddities(&mut contents);
    if contents.has("attachments") {
        read_attachments(connection, &mut contents)?;
    }
    if contents.has("sends") {
        read_sends(connection, &mut contents)?;
    }
    Ok(settled(contents))
}

/// What is asked of a database on a server, in its dump's own view: [`from_answers`] takes the answers.
pub const QUESTIONS: [&str; 3] = [
    "SELECT max(version) FROM __diesel_schema_migrations",
    "SELECT a.id, a.cipher_uuid, a.file_size, c.updated_at FROM attachments AS a LEFT JOIN ciphers AS c \
     ON c.uuid = a.cipher_uuid",
    "SELECT uuid, data, revision_date FROM sends WHERE atype = 1",
];

/// What a database on a server holds: its tables with their rows, and the answers to [`QUESTIONS`].
///
/// # Errors
/// `Corrupt` where answers are missing.
pub fn from_answers(mut tables: Vec<(String, u64)>, answers: &[Vec<Row>]) -> Result<Contents> {
    let [versions, attachments, sends] = answers else {
        return Err(Error::corrupt("the server left questions about Vaultwarden's tables unanswered"));
    };
    tables.sort();
    let mut contents = Contents { tables, ..Contents::default() };
    contents.users = contents.rows("users").unwrap_or(0);
    let version = versions.first().and_then(|row| column(row, 0));
    contents.schema_version = version.map(|version| shown(version.as_bytes()));
    report_oddities(&mut contents);
    for row in attachments {
        let size = column(row, 2).and_then(|size| size.trim().parse().ok());
        let row = FileRow {
            kind: Kind::Attachment,
            row: column(row, 0),
            owner: column(row, 1),
            id: column(row, 0).map(str::to_owned),
            size,
            changed: column(row, 3).and_then(timestamp::seconds),
        };
        row.note(&mut contents);
    }
    for row in sends {
        let (id, size) = column(row, 1).map_or((None, None), send_file);
        let changed = column(row, 2).and_then(timestamp::seconds);
        let (row, owner) = (column(row, 0), column(row, 0));
        FileRow { kind: Kind::Send, row, owner, id, size, changed }.note(&mut contents);
    }
    Ok(settled(contents))
}

/// A column's text; what a server fills up a CHAR with is none of it.
fn column(row: &Row, number: usize) -> Option<&str> {
    row.get(number)?.as_deref().map(|text| text.trim_end_matches(' '))
}

/// A row that needs a file.
struct FileRow<'a> {
    kind: Kind,
    /// The row's own name.
    row: Option<&'a str>,
    owner: Option<&'a str>,
    id: Option<String>,
    size: Option<u64>,
    changed: Option<i64>,
}

impl FileRow<'_> {
    fn note(self, contents: &mut Contents) {
        let Self { kind, row, owner, id, size, changed } = self;
        match expect(kind, owner, id.as_deref(), size) {
            Ok((place, size)) => {
                let row_id = row.unwrap_or_default().to_owned();
                contents.expected.push(Expected { place, size, kind, row_id, changed });
            }
            Err(cause) => {
                let row = row.map_or_else(|| "without a name".to_owned(), |row| shown(row.as_bytes()));
                contents.unusable.push(Unusable { kind, row, cause });
            }
        }
    }
}

/// Sorts what must exist, and finds rows that name one file.
fn settled(mut contents: Contents) -> Contents {
    contents.expected.sort_by(|left, right| left.place.cmp(&right.place));
    let mut doubles = Vec::new();
    contents.expected.dedup_by(|later, earlier| {
        let double = later.place == earlier.place;
        if double {
            let cause = "names the same file as another row";
            doubles.push(Unusable { kind: later.kind, row: later.row_id.clone(), cause });
        }
        double
    });
    contents.unusable.append(&mut doubles);
    contents
}

fn cannot_read(what: &str, error: rusqlite::Error) -> Error {
    Error::corrupt(format!("cannot read {what} of Vaultwarden's database")).caused_by(error)
}

/// Counts the rows of real tables. Virtual tables are not counted: to read them runs their module's code.
fn count_tables(connection: &Connection) -> Result<Vec<(String, u64)>> {
    let failed = |error| cannot_read("the list of tables", error);
    let query = "SELECT name FROM pragma_table_list \
                 WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    let mut statement = connection.prepare(query).map_err(failed)?;
    let names = statement.query_map([], |row| row.get(0)).map_err(failed)?;
    let mut names = names.collect::<Result<Vec<String>, _>>().map_err(failed)?;
    if names.len() > MAXIMUM_TABLES {
        return Err(Error::corrupt(format!("the database has more than {MAXIMUM_TABLES} tables")));
    }
    names.sort();
    let mut tables = Vec::with_capacity(names.len());
    for name in names {
        let query = format!("SELECT count(*) FROM \"{}\"", name.replace('"', "\"\""));
        let rows: i64 = connection
            .query_row(&query, [], |row| row.get(0))
            .map_err(|error| cannot_read(&format!("the table {}", shown(name.as_bytes())), error))?;
        // A count is never negative.
        tables.push((name, u64::try_from(rows).unwrap_or(0)));
    }
    Ok(tables)
}

fn schema_version(connection: &Connection) -> Result<Option<String>> {
    let query = "SELECT max(version) FROM __diesel_schema_migrations";
    connection
        .query_row(query, [], |row| Ok(text(row, 0).map(|version| shown(version.as_bytes()))))
        .map_err(|error| cannot_read("the schema's version", error))
}

/// Says what a whole database of Vaultwarden has and this one has not.
fn report_oddities(contents: &mut Contents) {
    let mut findings = Vec::new();
    for table in ["users", "ciphers"] {
        if !contents.has(table) {
            findings.push(
                Finding::problem(
                    "database",
                    format!("has no table {table}, so it is not Vaultwarden's, or not whole"),
                )
                .with_hint("check that this is the database of the server"),
            );
        }
    }
    for table in ["attachments", "sends"] {
        if !contents.has(table) {
            let cause = format!("has no table {table}, as an old Vaultwarden; its files cannot be checked");
            findings.push(Finding::warning("database", cause));
        }
    }
    if contents.schema_version.is_none() {
        findings.push(Finding::warning("database", "does not say which version its schema has"));
    }
    if contents.users == 0 && contents.has("users") {
        findings.push(
            Finding::warning("database", "has no users")
                .with_hint("if there should be some, this is not the database of the server"),
        );
    }
    contents.findings = findings;
}

fn read_attachments(connection: &Connection, contents: &mut Contents) -> Result<()> {
    let failed = |error| cannot_read("the table attachments", error);
    let query = if contents.has("ciphers") {
        "SELECT a.id, a.cipher_uuid, a.file_size, c.updated_at \
         FROM attachments AS a LEFT JOIN ciphers AS c ON c.uuid = a.cipher_uuid"
    } else {
        "SELECT id, cipher_uuid, file_size, NULL FROM attachments"
    };
    let mut statement = connection.prepare(query).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let kind = Kind::Attachment;
        let (id, owner) = (text(row, 0), text(row, 1));
        let size = match row.get_ref(2) {
            Ok(ValueRef::Integer(size)) => u64::try_from(size).ok(),
            _ => None,
        };
        let changed = text(row, 3).as_deref().and_then(timestamp::seconds);
        match expect(kind, owner.as_deref(), id.as_deref(), size) {
            Ok((place, size)) => {
                let row_id = id.unwrap_or_default();
                contents.expected.push(Expected { place, size, kind, row_id, changed });
            }
            Err(cause) => contents.unusable.push(Unusable { kind, row: shown_value(row, 0), cause }),
        }
    }
    Ok(())
}

fn read_sends(connection: &Connection, contents: &mut Contents) -> Result<()> {
    let failed = |error| cannot_read("the table sends", error);
    let query = "SELECT uuid, data, revision_date FROM sends WHERE atype = 1";
    let mut statement = connection.prepare(query).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let kind = Kind::Send;
        let owner = text(row, 0);
        let (id, size) = text(row, 1).map_or((None, None), |data| send_file(&data));
        let changed = text(row, 2).as_deref().and_then(timestamp::seconds);
        match expect(kind, owner.as_deref(), id.as_deref(), size) {
            Ok((place, size)) => {
                let row_id = owner.unwrap_or_default();
                contents.expected.push(Expected { place, size, kind, row_id, changed });
            }
            Err(cause) => contents.unusable.push(Unusable { kind, row: shown_value(row, 0), cause }),
        }
    }
    Ok(())
}

/// The place and size of a file, or what is wrong with its row.
fn expect(
    kind: Kind,
    owner: Option<&str>,
    id: Option<&str>,
    size: Option<u64>,
) -> Result<(Vec<u8>, u64), &'static str> {
    let owner = owner.filter(|name| is_plain_name(name)).ok_or("names a folder that is not a plain name")?;
    let id = id.filter(|name| is_plain_name(name)).ok_or("names a file that is not a plain name")?;
    let size = size.ok_or("has a size that is not a number")?;
    Ok((format!("{}/{owner}/{id}", kind.folder()).into_bytes(), size))
}

/// Whether a name is safe to be one component of a path. Vaultwarden's are UUIDs and hexadecimal digits.
pub(super) fn is_plain_name(name: &str) -> bool {
    (1..=MAXIMUM_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The id and size in a sent file's description. Old rows spell `Id` and `Size`, and some a size as text.
pub(super) fn send_file(data: &str) -> (Option<String>, Option<u64>) {
    if data.len() > MAXIMUM_SEND_DATA {
        return (None, None);
    }
    let Ok(Value::Object(data)) = serde_json::from_str(data) else { return (None, None) };
    let field = |wanted: &str| {
        data.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    };
    let id = field("id").and_then(Value::as_str).map(str::to_owned);
    let size = match field("size") {
        Some(Value::String(size)) => size.trim().parse().ok(),
        Some(size) => size.as_u64(),
        None => None,
    };
    (id, size)
}

/// A column's text, if it is text.
fn text(row: &rusqlite::Row<'_>, column: usize) -> Option<String> {
    match row.get_ref(column) {
        Ok(ValueRef::Text(bytes)) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        _ => None,
    }
}

/// A column's value for a person, whatever it is.
fn shown_value(row: &rusqlite::Row<'_>, column: usize) -> String {
    match row.get_ref(column) {
        Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => shown(bytes),
        Ok(ValueRef::Integer(number)) => number.to_string(),
        Ok(ValueRef::Real(number)) => number.to_string(),
        Ok(ValueRef::Null) | Err(_) => "without a name".to_owned(),
    }
}

/// A name out of the database, short and safe for a terminal.
fn shown(bytes: &[u8]) -> String {
    let start = bytes.get(..SHOWN_NAME).unwrap_or(bytes);
    let more = if start.len() < bytes.len() { "..." } else { "" };
    printable(start) + more
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::report::Severity;
    use crate::service::vaultwarden::testing::{Folder, small_database};

    #[test]
    fn the_real_folder_is_read_with_its_log() {
        let folder = Folder::new();
        let Some(data) = folder.real("data") else { return };
        let alone = folder.path().join("alone.sqlite3");
        std::fs::copy(data.join("db.sqlite3"), &alone).unwrap();
        let with_log = read(&Connection::open(data.join("db.sqlite3")).unwrap()).unwrap();
        let without = read(&Connection::open(&alone).unwrap()).unwrap();
        let total = |contents: &Contents| contents.tables.iter().map(|(_, rows)| rows).sum::<u64>();
        // The log deletes one Send that the main file alone still shows.
        assert_eq!((total(&with_log), total(&without)), (47, 48));
        assert_eq!((with_log.rows("sends"), without.rows("sends")), (Some(1), Some(2)));
        assert_eq!(with_log.tables.len(), 25);
        assert_eq!(with_log.users, 1);
        assert_eq!(with_log.schema_version.as_deref(), Some("20240112210182"));
        assert_eq!(with_log.findings, []);
        assert_eq!(with_log.unusable, []);
        let expected = [
            Expected {
                place: b"attachments/31ba771a-dde9-4b5c-aced-9c5688017f4e/c45510b00a849da3dd9e".to_vec(),
                size: 65,
                kind: Kind::Attachment,
                row_id: "c45510b00a849da3dd9e".to_owned(),
                changed: Some(1_715_609_493),
            },
            Expected {
                place: b"sends/d48d0c9a-5711-40d9-b7a5-e0706c5cecce/\
                         473c1e5667b047fd26bf16bd060769a525299deaff3989a85e5637758a74f2bd"
                    .to_vec(),
                size: 65,
                kind: Kind::Send,
                row_id: "d48d0c9a-5711-40d9-b7a5-e0706c5cecce".to_owned(),
                changed: Some(1_715_609_902),
            },
        ];
        assert_eq!(with_log.expected, expected);
    }

    #[test]
    fn hostile_names_are_damage_and_no_paths() {
        let connection = small_database();
        for (id, owner) in [
            ("..", "c"),
            ("a/b", "c"),
            ("", "c"),
            ("x", "../.."),
            ("x\u{1b}[2J", "c"),
            (".hidden", "c"),
            ("nul\0", "c"),
        ] {
            connection
                .execute("INSERT INTO attachments VALUES (?1, ?2, 'name', 1, NULL)", (id, owner))
                .unwrap();
        }
        connection
            .execute_batch(
                "INSERT INTO attachments VALUES ('negative', 'c', 'name', -1, NULL);
                 INSERT INTO attachments VALUES (x'ff', 'c', 'name', 1, NULL);
                 INSERT INTO attachments VALUES ('text', 'c', 'name', 'many', NULL);
                 INSERT INTO sends VALUES ('s', 1, '{\"id\": \"../x\", \"size\": 1}', '');
                 INSERT INTO sends VALUES ('t', 1, 'no json', '');
                 INSERT INTO sends VALUES ('u', 1, NULL, '');",
            )
            .unwrap();
        let contents = read(&connection).unwrap();
        assert_eq!(contents.expected, []);
        assert_eq!(contents.unusable.len(), 13);
        assert!(contents.unusable.iter().all(|row| !row.row.contains(['\u{1b}', '\0'])));
    }

    #[test]
    fn sends_spell_their_fields_in_many_ways() {
        assert_eq!(send_file(r#"{"Id": "a", "Size": 3}"#), (Some("a".to_owned()), Some(3)));
        assert_eq!(
            send_file(r#"{"id": "a", "size": "3", "sizeName": "3 bytes"}"#),
            (Some("a".to_owned()), Some(3))
        );
        assert_eq!(send_file(r#"{"ID": 7, "size": -3}"#), (None, None));
        assert_eq!(send_file(r#"{"size": 3.5}"#), (None, None));
        assert_eq!(send_file("[]"), (None, None));
        assert_eq!(send_file(&"[".repeat(10_000)), (None, None));
        assert_eq!(send_file(&format!("{{\"id\": \"{}\"}}", "x".repeat(1 << 16))), (None, None));
    }

    #[test]
    fn texts_are_not_files_and_doubles_are_damage() {
        let connection = small_database();
        connection
            .execute_batch(
                "INSERT INTO ciphers VALUES ('c', '2024-05-01 12:00:00.5');
                 INSERT INTO attachments VALUES ('a', 'c', 'name', 5, NULL);
                 INSERT INTO attachments VALUES ('a', 'c', 'name', 6, NULL);
                 INSERT INTO sends VALUES ('s', 0, '{\"text\": \"x\"}', '');
                 INSERT INTO sends VALUES ('t', 1, '{\"Id\": \"f\", \"Size\": \"9\"}', '2024-05-01 12:00:00');",
            )
            .unwrap();
        let contents = read(&connection).unwrap();
        assert_eq!(contents.expected.len(), 2);
        assert_eq!(contents.expected[0].changed, Some(1_714_564_800));
        assert_eq!(contents.expected[1].place, b"sends/t/f");
        assert_eq!(contents.expected[1].size, 9);
        assert_eq!(contents.unusable.len(), 1);
    }

    #[test]
    fn missing_tables_are_told_and_views_are_none() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE users (uuid TEXT); CREATE TABLE \"odd \"\" name\" (x);
                 CREATE VIEW attachments AS SELECT 1 AS id;",
            )
            .unwrap();
        let contents = read(&connection).unwrap();
        assert_eq!(contents.tables, [("odd \" name".to_owned(), 0), ("users".to_owned(), 0)]);
        assert_eq!(contents.schema_version, None);
        assert_eq!(contents.findings.len(), 5);
        let problems = contents.findings.iter().filter(|finding| finding.severity == Severity::Problem);
        assert_eq!(problems.count(), 1);
    }

    #[test]
    fn a_table_without_its_columns_is_corrupt() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE attachments (x)").unwrap();
        assert_eq!(read(&connection).unwrap_err().kind(), crate::error::ErrorKind::Corrupt);
    }
}
