//! The specification against the code: every marked table of `format-spec/` is read, held against its own
//! grammar, and compared with constants, encoded bytes and the source. Neither can change alone.

mod algorithms;
mod cbor;
mod numbers;
mod pack;
mod recovery;
mod refusals;
mod samples;
mod source;
mod tables;

pub(crate) use algorithms::cut as naive_cut;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cbor::Value;
use tables::{Field, Table};

/// Where each record is declared.
const RECORDS: &[(&str, &str, &str)] = &[
    ("abandoned", "marks.rs", "Abandoned"),
    ("attribute", "node.rs", "Attribute"),
    ("bundle", "key_slot.rs", "Bundle"),
    ("chunk-sizes", "config.rs", "ChunkSizes"),
    ("condemned", "marks.rs", "Condemned"),
    ("config", "config.rs", "Config"),
    ("content-inline", "node.rs", "Content::Inline"),
    ("content-list", "node.rs", "Content::List"),
    ("damage", "snapshot.rs", "Damage"),
    ("database-report", "snapshot.rs", "DatabaseReport"),
    ("database-state", "node.rs", "DatabaseState"),
    ("dump-report", "snapshot.rs", "DumpReport"),
    ("extension", "node.rs", "Extension"),
    ("forgotten", "marks.rs", "Forgotten"),
    ("hole", "node.rs", "Hole"),
    ("inner-entry", "tree.rs", "StoredInnerEntry"),
    ("inner-node", "tree.rs", "StoredInner"),
    ("label", "key_slot.rs", "Label"),
    ("leaf-entry", "tree.rs", "StoredLeafEntry"),
    ("lock", "key_slot.rs", "Lock"),
    ("manifest", "snapshot.rs", "Manifest"),
    ("method-key-file", "key_slot.rs", "Method::KeyFile"),
    ("method-password", "key_slot.rs", "Method::Password"),
    ("node", "node.rs", "Node"),
    ("origin", "snapshot.rs", "Origin"),
    ("original", "snapshot.rs", "Original"),
    ("service-report", "snapshot.rs", "ServiceReport"),
    ("session", "marks.rs", "Session"),
    ("signed", "marks.rs", "Signed"),
    ("signed-manifest", "snapshot.rs", "SignedManifest"),
    ("statistics", "snapshot.rs", "Statistics"),
    ("table-rows", "snapshot.rs", "TableRows"),
    ("timestamp", "node.rs", "Timestamp"),
    ("used-number", "marks.rs", "UsedNumber"),
];

/// Where each enumeration that records use is declared.
const ENUMERATIONS: &[(&str, &str, &str)] = &[
    ("change", "snapshot.rs", "Change"),
    ("content", "node.rs", "Content"),
    ("database-outcome", "snapshot.rs", "DatabaseOutcome"),
    ("dump-kind", "snapshot.rs", "DumpKind"),
    ("method", "key_slot.rs", "Method"),
    ("node-kind", "node.rs", "NodeKind"),
    ("role", "key_slot.rs", "Role"),
];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = top().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file with this ending below a folder.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![top().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("read the folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// All marked tables, by marker and name.
pub(crate) struct Specification(BTreeMap<(String, String), Table>);

impl Specification {
    pub(crate) fn read() -> Self {
        let mut all = BTreeMap::new();
        for path in files("format-spec", "md") {
            let found = tables::parse(&read(&path)).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            for table in found {
                let name = (table.marker.clone(), table.name.clone());
                assert!(all.insert(name.clone(), table).is_none(), "{name:?} stands twice");
            }
        }
        Self(all)
    }

    pub(crate) fn table(&self, marker: &str, name: &str) -> &Table {
        let key = (marker.to_owned(), name.to_owned());
        self.0.get(&key).unwrap_or_else(|| panic!("there is no {marker} {name:?}"))
    }

    pub(crate) fn names(&self, marker: &str) -> BTreeSet<&str> {
        self.0.values().filter(|table| table.marker == marker).map(|table| table.name.as_str()).collect()
    }

    fn total(&self, layout: &str) -> usize {
        self.table("layout", layout).total().unwrap_or_else(|why| panic!("{why}"))
    }

    /// The bytes of a field within an encoded layout.
    fn field<'a>(&self, layout: &str, field: &str, bytes: &'a [u8]) -> &'a [u8] {
        let fields = self.table("layout", layout).layout().unwrap_or_else(|why| panic!("{why}"));
        let place = fields.get(field).unwrap_or_else(|| panic!("{layout} has no field {field}"));
        &bytes[place.clone()]
    }

    /// Compares codes and names of a table with those of the program.
    fn expect_codes(&self, name: &str, codes: impl IntoIterator<Item = (String, String)>) {
        let expected: Vec<_> = codes.into_iter().collect();
        let found: Vec<_> = self.table("codes", name).pairs();
        let found: Vec<_> =
            found.into_iter().map(|(code, name)| (code.to_owned(), name.to_owned())).collect();
        assert_eq!(found, expected, "codes {name}");
    }

    /// Compares a value with a type, and notes which records were met.
    fn check(&self, value: &Value, kind: &str, met: &mut BTreeSet<String>) -> Result<(), String> {
        let fail = || Err(format!("{value:?} is not of type {kind}"));
        let (word, rest) = kind.split_once(' ').unwrap_or((kind, ""));
        match (word, value) {
            ("u8" | "u16" | "u32" | "u64", Value::Unsigned(_))
            | ("i64", Value::Unsigned(_) | Value::Negative)
            | ("bool", Value::Bool)
            | ("text", Value::Text)
            | ("id", Value::Bytes(32)) => Ok(()),
            ("bytes", Value::Bytes(length)) if rest.is_empty() || rest == length.to_string() => Ok(()),
            ("array", Value::Array(items)) => {
                let kind = rest.strip_prefix("of ").ok_or("an array of what?")?;
                items.iter().try_for_each(|item| self.check(item, kind, met))
            }
            ("code", Value::Unsigned(code)) => self.row(rest, *code).map(|_| ()),
            ("choice", Value::Array(items)) => {
                let [Value::Unsigned(code), fields] = items.as_slice() else { return fail() };
                self.check(fields, &format!("record {}", self.row(rest, *code)?[2]), met)
            }
            ("record", _) => self.check_record(value, rest, met),
            _ => fail(),
        }
    }

    pub(crate) fn row(&self, codes: &str, code: u64) -> Result<&Vec<String>, String> {
        let rows = &self.table("codes", codes).rows;
        rows.iter().find(|row| row[0] == code.to_string()).ok_or_else(|| format!("{codes} has no {code}"))
    }

    /// A record of the samples must have every field of its table, and no other.
    fn check_record(&self, value: &Value, name: &str, met: &mut BTreeSet<String>) -> Result<(), String> {
        let table = self.table("record", name);
        let fields = table.fields()?;
        met.insert(name.to_owned());
        let entries: Vec<(u64, &Value)> = match value {
            Value::Map(entries) if table.is_map()? => {
                entries.iter().map(|(key, value)| (*key, value)).collect()
            }
            Value::Array(items) if !table.is_map()? => (0..).zip(items).collect(),
            _ => return Err(format!("{name} has another form than {value:?}")),
        };
        if !entries.iter().map(|(key, _)| *key).eq(fields.iter().map(|field| field.key)) {
            return Err(format!("{name}: the keys are {:?}", entries.iter().map(|entry| entry.0)));
        }
        for (field, (_, value)) in fields.iter().zip(entries) {
            self.check(value, &field.kind, met).map_err(|why| format!("{name}.{}: {why}", field.name))?;
        }
        Ok(())
    }
}

/// How the source writes the type of a field.
fn rust_type(kind: &str) -> String {
    let declared = |name: &str| {
        let mut all = RECORDS.iter().chain(ENUMERATIONS);
        all.find(|(known, ..)| *known == name).map_or("?", |(_, _, rust)| *rust).to_owned()
    };
    let (word, rest) = kind.split_once(' ').unwrap_or((kind, ""));
    match (word, rest) {
        ("text", "") => "String".into(),
        ("bytes", "") => "Vec<u8>".into(),
        ("bytes", length) => format!("[u8; {length}]"),
        ("id", "") => "Id".into(),
        ("array", of) => format!("Vec<{}>", rust_type(of.trim_start_matches("of "))),
        ("record" | "code" | "choice", name) => declared(name),
        (number, _) => number.into(),
    }
}

/// What differs between the fields of a table and those of the source.
fn differences(fields: &[Field], items: &[source::Item]) -> Vec<String> {
    let written = fields.iter().map(|field| {
        let kind = rust_type(&field.kind);
        let kind = if field.optional { format!("Option<{kind}>") } else { kind };
        format!("{} {} {kind}", field.key, field.name)
    });
    let coded =
        items.iter().zip(fields.iter().map(Some).chain(std::iter::repeat(None))).map(|(item, field)| {
            let (key, name, kind) = item;
            let name = match field {
                // A field of a tuple has no name in the source.
                Some(field) if name.is_empty() => &field.name,
                _ => name,
            };
            format!("{key} {name} {}", kind.replace("super::key_slot::", "").replace("ByteVec", "Vec<u8>"))
        });
    let (written, coded): (BTreeSet<_>, BTreeSet<_>) = (written.collect(), coded.collect());
    written.symmetric_difference(&coded).cloned().collect()
}

#[test]
fn every_table_keeps_to_its_grammar() {
    for table in Specification::read().0.values() {
        let outcome = match table.marker.as_str() {
            "layout" => table.layout().map(|_| ()),
            "record" => table.fields().map(|_| ()),
            _ => Ok(()),
        };
        assert_eq!(outcome, Ok(()));
    }
}

#[test]
fn records_are_encoded_as_the_tables_say() {
    let specification = Specification::read();
    let mut met = BTreeSet::new();
    for (name, bytes) in samples::encoded() {
        let kind =
            if name == "leaf-entry" { "array of record leaf-entry" } else { &format!("record {name}") };
        let value = cbor::read(&bytes).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(specification.check(&value, kind, &mut met), Ok(()), "{name}");
    }
    let met: BTreeSet<&str> = met.iter().map(String::as_str).collect();
    assert_eq!(met, specification.names("record"), "every record has a sample");
}

#[test]
fn a_record_that_differs_from_its_table_is_caught() {
    let specification = Specification::read();
    let (_, bytes) = samples::encoded().into_iter().find(|(name, _)| *name == "abandoned").expect("a sample");
    let check = |value: &Value| specification.check(value, "record abandoned", &mut BTreeSet::new());
    let right = cbor::read(&bytes).expect("a record");
    let Value::Map(entries) = &right else { panic!("a map") };
    let altered = |change: fn(&mut Vec<(u64, Value)>)| {
        let mut entries = entries.clone();
        change(&mut entries);
        check(&Value::Map(entries))
    };
    assert_eq!(altered(|_| {}), Ok(()));
    assert!(altered(|entries| entries.push((2, Value::Text))).is_err());
    assert!(altered(|entries| drop(entries.pop())).is_err());
    assert!(altered(|entries| entries[1].0 = 3).is_err());
    assert!(altered(|entries| entries[0].1 = Value::Bytes(4)).is_err());
    assert!(altered(|entries| entries[1].1 = Value::Array(vec![Value::Unsigned(1)])).is_err());
    assert!(check(&Value::Array(vec![Value::Text])).is_err());
}

#[test]
fn fields_are_named_and_typed_as_in_the_source() {
    let specification = Specification::read();
    let known: BTreeSet<&str> = RECORDS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(known, specification.names("record"));
    for (name, file, container) in RECORDS {
        let fields = specification.table("record", name).fields().unwrap_or_else(|why| panic!("{why}"));
        let items = source::items(&read(Path::new("src/format").join(file)), container)
            .unwrap_or_else(|why| panic!("{file}: {why}"));
        assert_eq!(differences(&fields, &items), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn every_encoded_struct_has_a_table() {
    for path in files("src/format", "rs") {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let Some(name) = line.trim_start_matches("pub ").strip_prefix("struct ") else { continue };
            let name = name.trim_end_matches(" {");
            let attributes = lines[..number].iter().rev().take_while(|line| line.starts_with("#["));
            if attributes.into_iter().any(|line| line.contains("Encode")) {
                assert!(RECORDS.iter().any(|(.., known)| *known == name), "{name} has no table");
            }
        }
    }
}

#[test]
fn a_field_that_differs_from_the_source_is_caught() {
    let field =
        |name: &str, kind: &str| Field { key: 1, name: name.into(), kind: kind.into(), optional: true };
    let items = |name: &str, kind: &str| vec![(1, name.to_owned(), kind.to_owned())];
    assert!(differences(&[field("a", "bytes 32")], &items("a", "Option<[u8; 32]>")).is_empty());
    assert!(differences(&[field("a", "code role")], &items("a", "Option<super::key_slot::Role>")).is_empty());
    assert!(!differences(&[field("a", "u32")], &items("a", "Option<u64>")).is_empty());
    assert!(!differences(&[field("a", "u32")], &items("b", "Option<u32>")).is_empty());
    assert!(!differences(&[field("a", "u32")], &items("a", "u32")).is_empty());
    assert!(!differences(&[field("a", "u32")], &[]).is_empty());
    assert!(!differences(&[], &items("a", "u32")).is_empty());
}

/// Anchors of a chapter: those set by hand, and those that its headings make.
fn anchors(text: &str) -> BTreeSet<String> {
    let set = text.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned);
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    });
    set.chain(headings).collect()
}

/// Says what is wrong with a reference such as `03-cryptography.md#slots`.
fn unresolved(chapters: &BTreeMap<String, BTreeSet<String>>, reference: &str) -> bool {
    let (chapter, anchor) = reference.split_once('#').unwrap_or((reference, ""));
    !chapters.get(chapter).is_some_and(|anchors| anchor.is_empty() || anchors.contains(anchor))
}

#[test]
fn every_reference_into_the_specification_leads_somewhere() {
    let chapters: BTreeMap<String, BTreeSet<String>> = files("format-spec", "md")
        .iter()
        .map(|path| {
            let below = path.strip_prefix(top().join("format-spec")).expect("a chapter");
            (below.to_string_lossy().into_owned(), anchors(&read(path)))
        })
        .collect();
    assert!(unresolved(&chapters, "03-cryptography.md#nowhere") && unresolved(&chapters, "99-none.md"));
    let mut cited = 0;
    for path in files("src", "rs") {
        let text = read(&path);
        for rest in text.split("format-spec/").skip(1) {
            let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || "-_.#".contains(letter)));
            let reference = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
            if reference.contains(".md") {
                cited += 1;
                assert!(!unresolved(&chapters, reference), "{}: {reference}", path.display());
            }
        }
    }
    assert!(cited > 20, "the source cites the specification");
    for (chapter, text) in chapters.keys().map(|name| (name, read(Path::new("format-spec").join(name)))) {
        for rest in text.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            // Those of the vectors lie one folder below the others.
            let (folder, below) = chapter.rsplit_once('/').unwrap_or(("", chapter));
            let target = match target.strip_prefix("../") {
                Some(above) => above.to_owned(),
                None if target.starts_with('#') => format!("{folder}/{below}{target}"),
                None => format!("{folder}/{target}"),
            };
            let target = target.trim_start_matches('/');
            assert!(target.contains("://") || !unresolved(&chapters, target), "{chapter}: {target}");
        }
    }
}
