//! A YAML document as a tree of texts, lists and maps: as much of YAML as a compose file needs.
//!
//! What a tag says, such as `!reset`, is not looked at. Of two equal keys the last holds. `<<` takes the keys of another map
//! in.
//!
//! Invariants: whatever the text holds, the tree has at most [`NODES_MAX`] nodes and [`BYTES_MAX`] bytes of text, copies that
//! aliases make included, and is at most [`DEPTH_MAX`] deep; nothing recurses on the text. An error tells a line and never what
//! stands in it, for that may be a secret.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::report::printable;

/// The most nodes of a tree: a compose file of a hundred services has a few thousand.
const NODES_MAX: usize = 50_000;
/// The most bytes of its texts.
const BYTES_MAX: usize = 4 << 20;
/// How deep it may be.
const DEPTH_MAX: usize = 64;

/// What stands at one place of a document.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing at all.
    Null,
    /// A text, or what YAML takes for a number or a truth: as it is written.
    Text(Zeroizing<String>),
    /// Several in their order.
    List(Vec<Value>),
    /// Several by name, in their order.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// What stands under a name of a map.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let Self::Map(entries) = self else { return None };
        entries.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The text, where it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entries of a map; none where it is no map.
    pub(super) fn entries(&self) -> &[(String, Value)] {
        match self {
            Self::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; what is no list and not nothing counts as the only item.
    pub(super) fn items(&self) -> &[Value] {
        match self {
            Self::List(items) => items,
            Self::Null => &[],
            one => std::slice::from_ref(one),
        }
    }

    /// Nodes, bytes of text, and depth. The depth bounds how far this recurses.
    fn measure(&self) -> Measure {
        let mut whole = Measure { nodes: 1, bytes: 0, depth: 1 };
        let mut add = |bytes: usize, inner: Measure| {
            whole.nodes = whole.nodes.saturating_add(inner.nodes);
            whole.bytes = whole.bytes.saturating_add(bytes).saturating_add(inner.bytes);
            whole.depth = whole.depth.max(inner.depth.saturating_add(1));
        };
        match self {
            Self::Null => {}
            Self::Text(text) => whole.bytes = text.len(),
            Self::List(items) => items.iter().for_each(|item| add(0, item.measure())),
            Self::Map(entries) => entries.iter().for_each(|(key, value)| add(key.len(), value.measure())),
        }
        whole
    }
}

/// How large a value is.
#[derive(Clone, Copy)]
struct Measure {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

/// A list or a map that is not at its end.
enum Open {
    List { anchor: usize, items: Vec<Value> },
    Map { anchor: usize, entries: Vec<(String, Value)>, key: Option<String> },
}

/// Reads the first document of a text.
///
/// # Errors
/// `Corrupt` where it is no YAML; `Refused` where it is larger or deeper than anything a person writes.
pub(super) fn parse(text: &str) -> Result<Value> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| malformed(&error))?;
        if builder.take(event).map_err(|error| error.context(format!("line {}", span.start.line())))? {
            break;
        }
    }
    Ok(builder.root.unwrap_or(Value::Null))
}

fn malformed(error: &ScanError) -> Error {
    // Its own words name what it expected; of what it found, one character at most.
    let why = printable(error.info().as_bytes());
    Error::corrupt(format!("line {}: this is no YAML: {why}", error.marker().line()))
}

/// Puts a tree together.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Value>,
    root: Option<Value>,
    nodes: usize,
    bytes: usize,
}

impl Builder {
    /// Takes an event; tells whether the document is at its end.
    fn take(&mut self, event: Event<'_>) -> Result<bool> {
        match event {
            Event::DocumentEnd | Event::StreamEnd => return Ok(true),
            Event::Scalar(text, style, anchor, _) => {
                let plain = matches!(style, ScalarStyle::Plain);
                let value = if plain && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL") {
                    Value::Null
                } else {
                    Value::Text(Zeroizing::new(text.into_owned()))
                };
                self.put(value, anchor)?;
            }
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned();
                self.put(value.ok_or_else(|| Error::corrupt("an alias names what is not yet there"))?, 0)?;
            }
            Event::SequenceStart(anchor, _) => self.enter(Open::List { anchor, items: Vec::new() })?,
            Event::MappingStart(anchor, _) => {
                self.enter(Open::Map { anchor, entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { anchor, items }) => self.close(Value::List(items), anchor)?,
                Some(Open::Map { anchor, entries, .. }) => self.close(Value::Map(merged(entries)), anchor)?,
                None => return Err(Error::corrupt("something ends that did not begin")),
            },
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => {}
        }
        Ok(false)
    }

    fn enter(&mut self, open: Open) -> Result<()> {
        self.open.push(open);
        if self.open.len() >= DEPTH_MAX { Err(too_large("deeper")) } else { Ok(()) }
    }

    /// Takes in what was not counted before.
    fn put(&mut self, value: Value, anchor: usize) -> Result<()> {
        let measure = value.measure();
        if self.open.len().saturating_add(measure.depth) > DEPTH_MAX {
            return Err(too_large("deeper"));
        }
        self.count(measure.nodes, measure.bytes)?;
        self.place(value, anchor)
    }

    /// Takes in a list or map whose parts were counted.
    fn close(&mut self, value: Value, anchor: usize) -> Result<()> {
        // What `<<` took in was counted once, and may stand here several times.
        let measure = value.measure();
        if measure.nodes > NODES_MAX || measure.bytes > BYTES_MAX {
            return Err(too_large("larger"));
        }
        self.count(1, 0)?;
        self.place(value, anchor)
    }

    fn count(&mut self, nodes: usize, bytes: usize) -> Result<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > NODES_MAX || self.bytes > BYTES_MAX { Err(too_large("larger")) } else { Ok(()) }
    }

    fn place(&mut self, value: Value, anchor: usize) -> Result<()> {
        if anchor != 0 {
            // A copy that is kept costs as much as one that an alias makes.
            let measure = value.measure();
            self.count(measure.nodes, measure.bytes)?;
            self.anchors.insert(anchor, value.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Open::List { items, .. }) => items.push(value),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some(key) => entries.push((key, value)),
                None => *key = Some(name(value)?),
            },
        }
        Ok(())
    }
}

/// A value as the name of another.
fn name(value: Value) -> Result<String> {
    match value {
        Value::Text(text) => Ok(text.to_string()),
        Value::Null => Ok(String::new()),
        Value::List(_) | Value::Map(_) => Err(Error::corrupt("a list or a map stands where a name must")),
    }
}

/// Takes in the maps that `<<` names, behind the map's own keys.
fn merged(entries: Vec<(String, Value)>) -> Vec<(String, Value)> {
    if entries.iter().all(|(key, _)| key != "<<") {
        return entries;
    }
    let (others, own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| key == "<<");
    let others = others.iter().flat_map(|(_, value)| value.items());
    // The last of two equal keys holds, and of several maps the first is the strongest.
    let mut all: Vec<(String, Value)> =
        others.rev().flat_map(|value| value.entries().iter().cloned()).collect();
    all.extend(own);
    all
}

fn too_large(how: &'static str) -> Error {
    Error::refused(format!("it is {how} than a compose file can be"))
        .hint("check that this is a compose file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::format::tests::each_seed;

    fn text<'v>(value: &'v Value, path: &[&str]) -> Option<&'v str> {
        path.iter().try_fold(value, |value, name| value.get(name)).and_then(Value::text)
    }

    #[test]
    fn a_document_is_a_tree() {
        let value = parse(
            "---\na: &x {k: v, n: 8080, off: no}\nb:\n  - one # two\n  - 'two'\n  - \"th\\nree\"\nc: |\n  x\n  y\n\
             d: *x\ne: {<<: *x, k: w}\nf: ~\ng: '~'\nh: !reset 5\nb2: 1\nb2: 2\n...\n--- ignored: [",
        )
        .unwrap();
        assert_eq!(text(&value, &["a", "n"]), Some("8080"));
        assert_eq!(text(&value, &["a", "off"]), Some("no"));
        assert_eq!(text(&value, &["d", "k"]), Some("v"));
        assert_eq!((text(&value, &["e", "k"]), text(&value, &["e", "n"])), (Some("w"), Some("8080")));
        let items: Vec<_> = value.get("b").unwrap().items().iter().filter_map(Value::text).collect();
        assert_eq!(items, ["one", "two", "th\nree"]);
        assert_eq!(text(&value, &["c"]), Some("x\ny\n"));
        assert!(value.get("f") == Some(&Value::Null) && text(&value, &["g"]) == Some("~"));
        assert_eq!((text(&value, &["h"]), text(&value, &["b2"])), (Some("5"), Some("2")));
        assert!(parse("").unwrap() == Value::Null && parse("# nothing\n").unwrap() == Value::Null);
    }

    #[test]
    fn what_is_no_yaml_is_told_by_its_line_alone() {
        for hostile in [
            "a: hunter2\nb: [hunter2\n",
            "a: 'hunter2\n",
            "hunter2: *hunter2\n",
            "a:\n\t- hunter2: {\n",
            "? {hunter2: 1}\n: 2\n",
            "a: &x [hunter2, *x]\n",
            "%YAML 9.9 hunter2\n---\na: b\n",
            "a: \"\\xhunter2\"\n",
        ] {
            let error = parse(hostile).err().unwrap_or_else(|| panic!("{hostile}"));
            assert!(error.chain().contains("line "), "{}", error.chain());
            assert!(!error.chain().contains("hunter2"), "{}", error.chain());
        }
    }

    #[test]
    fn any_text_gives_a_bounded_tree_or_an_error() {
        let seeds = [
            "services:\n  server: &a\n    image: \"x:${TAG:-1}\"\n    volumes: [./data:/data, {type: bind}]\n  worker: {<<: *a}\n",
            "- |\n  text\n- >-\n  more\n- 'it''s'\n- \"\\u00e9\"\n- ? k\n  : v\n- !tag &b [*b, ~]\n%YAML 1.2\n---\n...\n",
        ];
        each_seed(|seed| {
            let mut state = seed;
            let mut draw = |below: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % below
            };
            let mut text: Vec<char> = seeds[draw(seeds.len())].chars().collect();
            for _ in 0..=draw(8) {
                let (at, from) = (draw(text.len()), draw(text.len()));
                match draw(4) {
                    0 => {
                        text[at] =
                            ['{', '[', '&', '*', ':', '-', '\n', '\'', '|', '\u{0}', '\t', '<'][draw(12)];
                    }
                    1 => {
                        text.remove(at);
                    }
                    2 => text.insert(at, text[from]),
                    _ => text.extend_from_within(at..),
                }
                if text.is_empty() {
                    return;
                }
            }
            let text: String = text.into_iter().collect();
            if let Ok(value) = parse(&text) {
                let measure = value.measure();
                assert!(measure.depth <= DEPTH_MAX && measure.nodes <= NODES_MAX, "{text:?}");
            }
        });
    }

    #[test]
    fn bombs_are_refused() {
        let deep = |open: &str, close: &str| format!("{}x{}", open.repeat(100_000), close.repeat(100_000));
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            laughs = format!("{laughs}a{level}: &a{level} [{aliases}]\n");
        }
        let mut merges = "a0: &a0 {k: v}\n".to_owned();
        for level in 1..40 {
            let before = level - 1;
            merges = format!("{merges}a{level}: &a{level} {{<<: [*a{before}, *a{before}]}}\n");
        }
        let mut chain = "a0: &a0 [x]\n".to_owned();
        for level in 1..200 {
            chain = format!("{chain}a{level}: &a{level} [*a{}]\n", level - 1);
        }
        let wide = "- x\n".repeat(200_000);
        for bomb in [deep("[", "]"), deep("{a: ", "}"), deep("- ", ""), laughs, merges, chain, wide] {
            let error = parse(&bomb).err().unwrap();
            assert!(matches!(error.kind(), ErrorKind::Refused | ErrorKind::Corrupt), "{}", error.chain());
        }
    }
}
