//! Reads the marked tables of the specification and holds each against its own grammar, which
//! `format-spec/00-conventions.md` describes.

use std::collections::BTreeMap;
use std::ops::Range;

/// One marked table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// `layout`, `record`, `codes`, `constants`, `contexts` or `limits`.
    pub(crate) marker: String,
    /// Its name; empty for `limits`.
    pub(crate) name: String,
    /// The rest of the marker: `total=44`, `form=map`.
    options: BTreeMap<String, String>,
    /// The cells below the head, without quotes of code.
    pub(crate) rows: Vec<Vec<String>>,
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) key: u64,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) optional: bool,
}

/// The columns that a table of each marker starts with.
const COLUMNS: [(&str, &[&str]); 6] = [
    ("layout", &["offset", "length", "field", "type"]),
    ("record", &["key", "field", "type", "presence", "meaning"]),
    ("codes", &["code", "name"]),
    ("constants", &["name", "value", "meaning"]),
    ("contexts", &["purpose", "context"]),
    ("limits", &["name", "value", "meaning"]),
];

/// Types of fixed layouts whose length is given.
const FIXED: [(&str, usize); 5] = [("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8), ("id", 32)];

/// Every marked table in a text.
pub(crate) fn parse(text: &str) -> Result<Vec<Table>, String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(marker) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) else {
            continue;
        };
        let (kind, rest) = marker.split_once(':').unwrap_or((marker, ""));
        let (_, columns) = COLUMNS
            .iter()
            .find(|(known, _)| *known == kind)
            .ok_or_else(|| format!("unknown marker {marker:?}"))?;
        let mut words = rest.split_whitespace().peekable();
        let name = words.next_if(|word| !word.contains('=')).unwrap_or_default().to_owned();
        let options = words
            .map(|word| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
            .collect::<Option<_>>()
            .ok_or_else(|| format!("{marker:?}: an option without a value"))?;
        let head = cells(lines.next().unwrap_or_default()).ok_or_else(|| format!("no table: {marker}"))?;
        if !head.iter().map(String::as_str).take(columns.len()).eq(columns.iter().copied()) {
            return Err(format!("{marker}: its columns are {head:?}"));
        }
        if !lines.next().is_some_and(|line| line.starts_with("|---")) {
            return Err(format!("{marker}: no line below its head"));
        }
        let rows: Vec<_> = lines.by_ref().map_while(cells).collect();
        if rows.iter().any(|row| row.len() != head.len()) {
            return Err(format!("{marker}: a row has more or fewer cells than the head"));
        }
        found.push(Table { marker: kind.to_owned(), name, options, rows });
    }
    Ok(found)
}

fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect())
}

/// A number as the tables write it.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    text.replace(',', "").parse().map_err(|_| format!("{text:?} is no number"))
}

impl Table {
    fn complain(&self, what: &str) -> String {
        format!("{} {}: {what}", self.marker, self.name)
    }

    /// Two columns as pairs.
    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        self.rows.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect()
    }

    /// The fields of a fixed layout by name, after their offsets and lengths were seen to chain and to add up.
    /// Fields behind one of variable length have no place.
    pub(crate) fn layout(&self) -> Result<BTreeMap<&str, Range<usize>>, String> {
        let mut end = Some(0);
        let mut fields = BTreeMap::new();
        for row in &self.rows {
            let [offset, length, name, kind] = &row[..4] else { return Err(self.complain("too few cells")) };
            let offset = if offset == "-" { None } else { Some(number(offset)? as usize) };
            if offset != end {
                return Err(self.complain(&format!("{name} does not start where the field before ends")));
            }
            let length = length.parse::<usize>().ok();
            match FIXED.iter().find(|(fixed, _)| fixed == kind) {
                Some((_, fixed)) if length != Some(*fixed) => {
                    return Err(self.complain(&format!("{name} is not as long as its type")));
                }
                None if !["bytes", "zero"].contains(&kind.as_str()) => {
                    return Err(self.complain(&format!("{kind} is no type")));
                }
                _ => {}
            }
            end = offset.zip(length).map(|(offset, length)| offset + length);
            if let Some((offset, end)) = offset.zip(end) {
                fields.insert(name.as_str(), offset..end);
            }
        }
        let total = self.options.get("total").ok_or_else(|| self.complain("no total"))?;
        let sum = end.map_or_else(|| "variable".to_owned(), |end| end.to_string());
        if *total != sum {
            return Err(self.complain(&format!("its lengths add up to {sum}, and not to {total}")));
        }
        Ok(fields)
    }

    /// The total of a fixed layout.
    pub(crate) fn total(&self) -> Result<usize, String> {
        self.layout()?;
        self.options["total"].parse().map_err(|_| self.complain("its total is variable"))
    }

    /// Whether a record is a map; else it is an array.
    pub(crate) fn is_map(&self) -> Result<bool, String> {
        match self.options.get("form").map(String::as_str) {
            Some("map") => Ok(true),
            Some("array") => Ok(false),
            _ => Err(self.complain("neither map nor array")),
        }
    }

    /// The fields of a record, whose keys rise, and in an array count from zero.
    pub(crate) fn fields(&self) -> Result<Vec<Field>, String> {
        let is_map = self.is_map()?;
        let mut fields: Vec<Field> = Vec::new();
        for (position, row) in self.rows.iter().enumerate() {
            let key = number(&row[0])?;
            if fields.last().is_some_and(|last| last.key >= key) || !is_map && key != position as u64 {
                return Err(self.complain("its keys do not rise, or leave a gap in an array"));
            }
            let optional = match row[3].as_str() {
                "always" => false,
                "optional" if is_map => true,
                _ => return Err(self.complain("presence is always, or in a map optional")),
            };
            fields.push(Field { key, name: row[1].clone(), kind: row[2].clone(), optional });
        }
        Ok(fields)
    }
}

#[test]
fn a_right_layout_is_taken() {
    let text = "<!-- layout: x total=7 -->\n| offset | length | field | type |\n|---|---|---|---|\n\
                | 0 | 4 | a | u32 |\n| 4 | 3 | `b` | zero |\n\n| not | of | the | table |\n";
    let tables = parse(text).expect("a table");
    assert_eq!(tables[0].layout().expect("it chains")["b"], 4..7);
    assert_eq!(tables[0].total(), Ok(7));
    let open = text.replace("| 4 | 3 |", "| 4 | n |").replace("total=7", "total=variable");
    assert!(parse(&open).expect("a table")[0].layout().is_ok());
    for (right, wrong) in [
        ("| 4 | 3 |", "| 5 | 3 |"),
        ("| 4 | 3 |", "| 4 | 2 |"),
        ("| 4 | 3 |", "| - | 3 |"),
        ("| 4 | 3 |", "| 4 | n |"),
        ("u32", "u16"),
        ("u32", "u33"),
        ("total=7", "total=variable"),
        ("total=7", "size=7"),
    ] {
        let wrong = text.replace(right, wrong);
        assert!(parse(&wrong).expect("a table")[0].layout().is_err(), "{wrong}");
    }
    for (right, wrong) in
        [("layout", "layuot"), ("offset", "start"), ("|---|---|---|---|", ""), ("a | u32 |", "u32 |")]
    {
        let wrong = text.replace(right, wrong);
        assert!(parse(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_fields_of_a_record_rise() {
    let text = "<!-- record: x form=map -->\n| key | field | type | presence | meaning |\n|---|---|---|---|---|\n\
                | 0 | a | u8 | always | - |\n| 2 | b | id | optional | - |\n";
    assert_eq!(parse(text).expect("a table")[0].fields().expect("fields").len(), 2);
    for (right, wrong) in
        [("| 2 |", "| 0 |"), ("form=map", "form=array"), ("optional", "sometimes"), ("form=map", "form=list")]
    {
        let wrong = text.replace(right, wrong);
        assert!(parse(&wrong).expect("a table")[0].fields().is_err(), "{wrong}");
    }
}
