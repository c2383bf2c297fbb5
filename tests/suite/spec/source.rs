//! Reads from the program's source what a compiled struct no longer tells: names of fields and their types.

use super::tables::number;

/// A field or variant: number, name (empty in a tuple), type (empty for a variant).
pub(crate) type Item = (u64, String, String);

/// The numbered items of a struct, an enumeration, or of one variant (`Enum::Variant`).
pub(crate) fn items(text: &str, container: &str) -> Result<Vec<Item>, String> {
    let (outer, variant) = container.split_once("::").map_or((container, None), |(a, b)| (a, Some(b)));
    let starts = [format!("struct {outer} {{"), format!("enum {outer} {{")];
    let mut lines = text
        .lines()
        .skip_while(|line| !starts.iter().any(|start| line.trim_start_matches("pub ") == start))
        .skip(1)
        .take_while(|line| *line != "}");
    if let Some(variant) = variant {
        let head = lines
            .by_ref()
            .map(str::trim)
            .find(|line| line.strip_prefix(variant).is_some_and(|rest| rest.starts_with([' ', '(', ','])))
            .ok_or_else(|| format!("{container} is not in the source"))?;
        if !head.ends_with('{') {
            return tuple(head);
        }
        return numbered(lines.map(str::trim).take_while(|line| *line != "},"));
    }
    let depth_one = lines.filter(|line| line.starts_with("    ") && !line.starts_with("     "));
    let found = numbered(depth_one.map(str::trim))?;
    if found.is_empty() { Err(format!("{container} is not in the source")) } else { Ok(found) }
}

/// The fields of a variant on one line: `Name(#[n(0)] Type),`, or `Name,`.
fn tuple(head: &str) -> Result<Vec<Item>, String> {
    let Some((_, inside)) = head.split_once("(#[n(") else { return Ok(Vec::new()) };
    let (key, kind) = inside.split_once(")] ").ok_or("a tuple without a type")?;
    let kind = kind.strip_suffix("),").ok_or("a tuple of several fields")?;
    Ok(vec![(number(key)?, String::new(), kind.to_owned())])
}

fn numbered<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Vec<Item>, String> {
    let mut found = Vec::new();
    let mut pending = None;
    for line in lines {
        let attribute = line.strip_prefix("#[n(").or_else(|| line.strip_prefix("#[cbor(n("));
        if let Some((key, _)) = attribute.and_then(|rest| rest.split_once(')')) {
            pending = Some(number(key)?);
            continue;
        }
        if line.starts_with("#[") || line.starts_with("//") || line.is_empty() || line.starts_with('}') {
            continue;
        }
        let key = pending.take().ok_or_else(|| format!("{line:?} has no number"))?;
        let declaration = line.trim_start_matches("pub ").trim_end_matches([',', '{', ' ']);
        let (name, kind) = match declaration.split_once(": ") {
            Some((name, kind)) => (name, kind),
            None => (declaration.split('(').next().unwrap_or_default(), ""),
        };
        found.push((key, name.to_owned(), kind.to_owned()));
    }
    Ok(found)
}

/// Every `pub const` of a text, where its value is a number or one number shifted by another.
pub(crate) fn constants(text: &str) -> Result<Vec<(String, u64)>, String> {
    let mut found = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("pub const ")) {
        let (name, rest) = line.split_once(": ").ok_or_else(|| format!("cannot read {line:?}"))?;
        let (_, value) = rest.split_once(" = ").ok_or_else(|| format!("cannot read {line:?}"))?;
        let value = value.trim_end_matches(';').replace('_', "");
        let value = match value.split_once(" << ") {
            Some((value, shift)) => number(value)? << number(shift)?,
            None => number(&value)?,
        };
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

/// `StoredAsFound` as the tables write it: `stored-as-found`.
pub(crate) fn kebab(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[test]
fn names_numbers_and_types_are_read() {
    let text = "pub struct One {\n    /// Text.\n    #[n(0)]\n    pub first: u32,\n    #[cbor(n(3), with = \"x\")]\n    \
                #[zeroize(skip)]\n    pub second: Option<Vec<u8>>,\n}\n\
                pub enum Two {\n    #[n(1)]\n    Some {\n        #[n(0)]\n        inner: u8,\n    },\n    #[n(2)]\n    \
                Empty,\n    #[n(3)]\n    Pair(#[n(0)] Vec<Id>),\n}\n";
    let named = |key, name: &str, kind: &str| (key, name.to_owned(), kind.to_owned());
    assert_eq!(items(text, "One"), Ok(vec![named(0, "first", "u32"), named(3, "second", "Option<Vec<u8>>")]));
    assert_eq!(
        items(text, "Two"),
        Ok(vec![named(1, "Some", ""), named(2, "Empty", ""), named(3, "Pair", "")])
    );
    assert_eq!(items(text, "Two::Some"), Ok(vec![named(0, "inner", "u8")]));
    assert_eq!(items(text, "Two::Empty"), Ok(vec![]));
    assert_eq!(items(text, "Two::Pair"), Ok(vec![named(0, "", "Vec<Id>")]));
    assert!(items(text, "Three").is_err() && items(text, "Two::None").is_err());
    assert!(items(&text.replace("    #[n(0)]\n", ""), "One").is_err());
    assert_eq!(constants("pub const A: u8 = 3 << 2;\n"), Ok(vec![("A".to_owned(), 12)]));
    assert_eq!(kebab("StoredAsFound"), "stored-as-found");
}
