//! The other screens: the snapshots, the versions of a file, the beginning of a file.

use std::sync::Arc;

use super::list::List;
use crate::cli::browse::request::{Choice, Known};
use crate::format::node::Node;
use crate::operation::versions::{Version, Versions as Found};
use crate::report::printable;
use crate::repository::snapshot::Snapshot;
use crate::source::sqlite;

/// Bytes in a line of a hex dump.
const HEX_BYTES: usize = 16;
/// Columns between two stops of a tabulator.
const TAB: usize = 8;

/// The snapshots, newest first.
#[derive(Clone, Debug, Default)]
pub(in crate::cli::browse) struct Snapshots {
    pub(in crate::cli::browse) list: List,
    pub(in crate::cli::browse) choice: Choice,
}

impl Snapshots {
    pub(in crate::cli::browse) fn new(choice: Choice) -> Self {
        Self { list: List::of(choice.known.len()), choice }
    }

    /// The snapshot in a line.
    pub(in crate::cli::browse) fn at(&self, position: usize) -> Option<&Known> {
        let index = self.choice.known.len().checked_sub(position.saturating_add(1))?;
        self.choice.known.get(index)
    }

    pub(in crate::cli::browse) fn selected(&self) -> Option<&Known> {
        self.at(self.list.position())
    }

    /// Takes what was read anew; the cursor stays on its snapshot.
    pub(in crate::cli::browse) fn replace(&mut self, choice: Choice) {
        let id = self.selected().map(|known| known.snapshot.id);
        let index = choice.known.iter().position(|known| Some(known.snapshot.id) == id);
        let position = index.and_then(|index| choice.known.len().checked_sub(index.saturating_add(1)));
        self.choice = choice;
        self.list.set_length(self.choice.known.len());
        self.list.go_to(position.unwrap_or(0));
    }
}

/// The states of one path.
#[derive(Debug)]
pub(in crate::cli::browse) struct Versions {
    pub(in crate::cli::browse) place: Vec<u8>,
    /// Those that were looked through, oldest first.
    pub(in crate::cli::browse) snapshots: Vec<Arc<Snapshot>>,
    pub(in crate::cli::browse) found: Option<Found>,
    pub(in crate::cli::browse) list: List,
}

impl Versions {
    pub(in crate::cli::browse) fn new(place: Vec<u8>, snapshots: Vec<Arc<Snapshot>>) -> Self {
        Self { place, snapshots, found: None, list: List::default() }
    }

    pub(in crate::cli::browse) fn take(&mut self, found: Found) {
        self.list = List::of(found.versions.len());
        self.found = Some(found);
    }

    pub(in crate::cli::browse) fn version(&self, position: usize) -> Option<&Version> {
        self.found.as_ref()?.versions.get(position)
    }

    /// The snapshots that hold a version, newest first.
    pub(in crate::cli::browse) fn holders(&self, version: &Version) -> Vec<&Arc<Snapshot>> {
        version.snapshots.iter().rev().filter_map(|index| self.snapshots.get(*index)).collect()
    }

    /// The version under the cursor, and the newest snapshot that holds it.
    pub(in crate::cli::browse) fn selected(&self) -> Option<(&Version, Arc<Snapshot>)> {
        let version = self.version(self.list.position())?;
        let newest = self.holders(version).first().map(|snapshot| Arc::clone(snapshot))?;
        Some((version, newest))
    }
}

/// What a file looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli::browse) enum Look {
    Text,
    Binary,
    Database,
    /// No file, and nothing to be read of it.
    NoFile,
}

/// The beginning of a file.
#[derive(Clone, Debug)]
pub(in crate::cli::browse) struct Preview {
    pub(in crate::cli::browse) snapshot: Arc<Snapshot>,
    pub(in crate::cli::browse) place: Vec<u8>,
    pub(in crate::cli::browse) list: List,
    /// The first column that is seen.
    pub(in crate::cli::browse) column: usize,
    pub(in crate::cli::browse) shown: Option<Shown>,
}

/// What was read of a file.
#[derive(Clone, Debug)]
pub(in crate::cli::browse) struct Shown {
    pub(in crate::cli::browse) node: Node,
    pub(in crate::cli::browse) look: Look,
    /// How many bytes were read.
    pub(in crate::cli::browse) bytes: usize,
    lines: Vec<String>,
}

impl Preview {
    pub(in crate::cli::browse) fn new(snapshot: Arc<Snapshot>, place: Vec<u8>) -> Self {
        Self { snapshot, place, list: List::default(), column: 0, shown: None }
    }

    pub(in crate::cli::browse) fn take(&mut self, node: Node, bytes: &[u8]) {
        let look = look(&node, bytes);
        let lines = match look {
            Look::Text => text_lines(bytes),
            Look::Binary | Look::Database => hex_lines(bytes),
            Look::NoFile => Vec::new(),
        };
        self.list = List::of(lines.len());
        self.shown = Some(Shown { node, look, bytes: bytes.len(), lines });
    }

    pub(in crate::cli::browse) fn line(&self, number: usize) -> Option<&str> {
        self.shown.as_ref()?.lines.get(number).map(String::as_str)
    }
}

fn look(node: &Node, bytes: &[u8]) -> Look {
    if node.content.is_none() {
        return Look::NoFile;
    }
    if sqlite::is_database(bytes) {
        return Look::Database;
    }
    // The last character may have been cut; bytes that are no UTF-8 may be an older encoding, if they are few.
    let strange =
        bytes.iter().filter(|byte| byte.is_ascii_control() && !b"\t\n\r\x0c\x1b".contains(byte)).count();
    let invalid = bytes.utf8_chunks().filter(|part| !part.invalid().is_empty()).count();
    let few = bytes.len() / 20;
    if bytes.contains(&0) || strange > few || invalid > few.max(1) { Look::Binary } else { Look::Text }
}

/// Lines without a character that a terminal would act upon.
fn text_lines(bytes: &[u8]) -> Vec<String> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let line = |line: &&[u8]| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut text = String::new();
        for (number, part) in line.split(|byte| *byte == b'\t').enumerate() {
            if number > 0 {
                let column = text.chars().count();
                text.extend(std::iter::repeat_n(' ', TAB.saturating_sub(column % TAB)));
            }
            text.push_str(&printable(part));
        }
        text
    };
    lines.iter().map(line).collect()
}

fn hex_lines(bytes: &[u8]) -> Vec<String> {
    let line = |(number, part): (usize, &[u8])| {
        let digit = |(index, byte): (usize, &u8)| {
            format!("{}{byte:02x}", if index == HEX_BYTES / 2 { "  " } else { " " })
        };
        let digits: Vec<String> = part.iter().enumerate().map(digit).collect();
        let digits = digits.concat();
        let letter =
            |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        let letters: String = part.iter().map(letter).collect();
        format!("{:08x} {digits:<49} |{letters}|", number.saturating_mul(HEX_BYTES))
    };
    bytes.chunks(HEX_BYTES).enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tests::file_node;

    #[test]
    fn a_file_is_shown_as_what_it_looks_like() {
        let node = file_node(&[], 5);
        for (bytes, expected) in [
            (&b"one\ntwo"[..], Look::Text),
            (b"", Look::Text),
            ("h\u{e4}".as_bytes(), Look::Text),
            (b"cut \xc3", Look::Text),
            (b"\x1b[31mred\x1b[0m and text", Look::Text),
            (b"a\0b", Look::Binary),
            (b"\xff\xd8\xff\xe0\x10JFIF", Look::Binary),
            (b"\x01\x02\x03", Look::Binary),
            (b"SQLite format 3\0\x10\0", Look::Database),
        ] {
            assert_eq!(look(&node, bytes), expected, "{bytes:?}");
        }
        let folder = Node { content: None, ..node };
        assert_eq!(look(&folder, b""), Look::NoFile);
    }

    #[test]
    fn lines_hold_nothing_that_a_terminal_acts_upon() {
        assert_eq!(text_lines(b"a\tb\r\n\x1b[2Jx\xff\n\n"), ["a       b", "\\u{1b}[2Jx\\xff", ""]);
        assert_eq!(
            hex_lines(b"0123456789abcdef\x00"),
            [
                "00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66 |0123456789abcdef|",
                "00000010  00                                               |.|"
            ]
        );
        assert!(hex_lines(&[0x1b; 40]).iter().all(|line| line.chars().all(|letter| !letter.is_control())));
    }
}
