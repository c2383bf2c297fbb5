//! Records and their annotated bytes, written by the tables of the specification and by nothing else.
//!
//! A record is given as JSON: an object with a member for each field, by name. Bytes and ids are hexadecimal,
//! codes are names, a choice is an object with one member, named by its code.

use std::sync::OnceLock;

use serde_json::Value as Json;

use super::cbor::{Cbor, head};
use super::{from_hex, hex};
use crate::spec::Specification;

pub(crate) fn specification() -> &'static Specification {
    static READ: OnceLock<Specification> = OnceLock::new();
    READ.get_or_init(Specification::read)
}

/// A record by the table of this name.
pub(crate) fn record(name: &str, value: &Json) -> Cbor {
    let table = specification().table("record", name);
    let members = value.as_object().unwrap_or_else(|| panic!("{name}: {value}"));
    let fields = table.fields().expect("fields");
    for member in members.keys() {
        assert!(fields.iter().any(|field| field.name == *member), "{name} has no field {member}");
    }
    let written = fields.iter().filter_map(|field| {
        let Some(value) = members.get(&field.name) else {
            assert!(field.optional, "{name}.{} is missing", field.name);
            return None;
        };
        Some((field.key, typed(&field.kind, value)))
    });
    if table.is_map().expect("a form") {
        Cbor::Map(written.collect())
    } else {
        Cbor::Array(written.map(|(_, value)| value).collect())
    }
}

/// A value of a type of the tables.
pub(crate) fn typed(kind: &str, value: &Json) -> Cbor {
    written(kind, value).unwrap_or_else(|| panic!("{value} is no {kind}"))
}

fn written(kind: &str, value: &Json) -> Option<Cbor> {
    let (word, rest) = kind.split_once(' ').unwrap_or((kind, ""));
    Some(match word {
        "u8" | "u16" | "u32" | "u64" => Cbor::Unsigned(value.as_u64()?),
        "i64" => match value.as_i64()? {
            number if number < 0 => Cbor::Negative((-1 - number) as u64),
            number => Cbor::Unsigned(number as u64),
        },
        "bool" => Cbor::Bool(value.as_bool()?),
        "text" => Cbor::Text(value.as_str()?.to_owned()),
        "bytes" | "id" => Cbor::Bytes(from_hex(value.as_str()?)),
        "array" => {
            let of = rest.strip_prefix("of ")?;
            Cbor::Array(value.as_array()?.iter().map(|item| typed(of, item)).collect())
        }
        "code" => Cbor::Unsigned(code(rest, value.as_str()?)),
        "record" => record(rest, value),
        "choice" => {
            let (name, fields) = value.as_object().filter(|all| all.len() == 1)?.iter().next()?;
            let number = code(rest, name);
            let row = specification().row(rest, number).expect("the code");
            Cbor::Array(vec![Cbor::Unsigned(number), record(&row[2], fields)])
        }
        _ => return None,
    })
}

/// The number of a name in a table of codes.
pub(crate) fn code(table: &str, name: &str) -> u64 {
    let rows = specification().table("codes", table).pairs();
    let row = rows.into_iter().find(|(_, known)| *known == name);
    row.unwrap_or_else(|| panic!("{table} has no {name}")).0.parse().expect("a number")
}

/// Some bytes and what they are, one or more levels below what they belong to.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) bytes: Vec<u8>,
    pub(crate) label: String,
    pub(crate) depth: usize,
}

pub(crate) fn line(bytes: impl Into<Vec<u8>>, label: impl Into<String>) -> Line {
    Line { bytes: bytes.into(), label: label.into(), depth: 0 }
}

/// The bytes of a value of this type, each with what it is.
pub(crate) fn annotated(kind: &str, value: &Cbor, label: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    annotate(kind, value, Vec::new(), label, 0, &mut lines);
    lines
}

fn annotate(kind: &str, value: &Cbor, before: Vec<u8>, label: &str, depth: usize, lines: &mut Vec<Line>) {
    let (word, rest) = kind.split_once(' ').unwrap_or((kind, ""));
    let mut push = |bytes: Vec<u8>, shown: String| {
        lines.push(Line {
            bytes: [before.clone(), bytes].concat(),
            label: format!("{label}: {shown}"),
            depth,
        });
    };
    match value {
        Cbor::Map(entries) => {
            push(head(5, entries.len() as u64), format!("map of {}", entries.len()));
            let fields = specification().table("record", rest).fields().expect("fields");
            for (key, value) in entries {
                let field = fields.iter().find(|field| field.key == *key).expect("a field");
                let name = format!("{key} {}", field.name);
                annotate(&field.kind, value, head(0, *key), &name, depth + 1, lines);
            }
        }
        Cbor::Array(items) => {
            push(head(4, items.len() as u64), format!("array of {}", items.len()));
            let kinds: Vec<(String, String)> = match word {
                "array" => items.iter().map(|_| (rest[3..].to_owned(), "item".to_owned())).collect(),
                "choice" => {
                    let Cbor::Unsigned(number) = items[0] else { panic!("a code") };
                    let row = specification().row(rest, number).expect("the code");
                    vec![
                        (format!("code {rest}"), rest.to_owned()),
                        (format!("record {}", row[2]), row[1].clone()),
                    ]
                }
                _ => {
                    let fields = specification().table("record", rest).fields().expect("fields");
                    fields.into_iter().map(|field| (field.kind, field.name)).collect()
                }
            };
            for (item, (kind, name)) in items.iter().zip(kinds) {
                annotate(&kind, item, Vec::new(), &name, depth + 1, lines);
            }
        }
        Cbor::Unsigned(number) if word == "code" => {
            let name = specification().row(rest, *number).expect("the code")[1].clone();
            push(value.encode(), format!("{number} ({name})"));
        }
        Cbor::Unsigned(number) => push(value.encode(), number.to_string()),
        Cbor::Negative(number) => push(value.encode(), format!("-{}", u128::from(*number) + 1)),
        Cbor::Bool(truth) => push(value.encode(), truth.to_string()),
        Cbor::Text(text) => push(value.encode(), format!("{text:?}")),
        Cbor::Bytes(bytes) => {
            let printable = !bytes.is_empty() && bytes.iter().all(|byte| (0x20..0x7f).contains(byte));
            let shown = if printable && bytes.len() < 40 {
                format!("{:?}", String::from_utf8_lossy(bytes))
            } else {
                format!("{} bytes", bytes.len())
            };
            push(value.encode(), shown);
        }
        Cbor::Raw(bytes) => push(bytes.clone(), "as it is".to_owned()),
    }
}

/// The bytes of several lines.
pub(crate) fn bytes_of(lines: &[Line]) -> Vec<u8> {
    lines.iter().flat_map(|line| line.bytes.clone()).collect()
}

/// Bytes a line shows before it says how many there are.
const SHOWN: usize = 12;

/// Offsets, bytes and what they are, one below the other.
pub(crate) fn render(lines: &[Line]) -> String {
    let mut offset = 0;
    let mut text = String::new();
    for line in lines {
        let mut shown: String = line.bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x} ")).collect();
        if line.bytes.len() > SHOWN {
            shown.push_str("..");
        }
        let indent = "  ".repeat(line.depth);
        text.push_str(format!("{offset:5}  {shown:<39}{indent}{}", line.label).trim_end());
        text.push('\n');
        offset += line.bytes.len();
    }
    text
}

/// A few digits, to name something in a text.
pub(crate) fn short(bytes: &[u8]) -> String {
    hex(&bytes[..4])
}
