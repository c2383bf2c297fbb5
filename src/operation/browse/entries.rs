//! The entries of one folder, kept small: a folder of a million files fits into some 50 MB.
//!
//! Invariant: an entry takes 32 bytes and its name, and names lie one behind the other.

use crate::format::node::{Node, NodeKind, Timestamp};

/// One entry of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'e> {
    /// Its name, without the folder's.
    pub name: &'e [u8],
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits.
    pub mode: u32,
    /// Length in bytes: that of a file, or of all files below a folder where they were summed.
    pub bytes: Option<u64>,
    /// Time of its last change, to the second.
    pub mtime: Timestamp,
}

/// Entries in the order of their names.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    names: Vec<u8>,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    name: u64,
    bytes: u64,
    mtime_seconds: i64,
    name_length: u16,
    mode: u16,
    kind: NodeKind,
    has_bytes: bool,
}

impl Entries {
    /// Adds what comes next.
    pub fn push(&mut self, name: &[u8], node: &Node) {
        let file = node.kind == NodeKind::File;
        self.push_row(name, node.kind, node.mode, file.then_some(node.size), node.mtime);
    }

    /// Adds a folder of which no more is known than that something lies in it.
    pub fn push_lost_folder(&mut self, name: &[u8]) {
        self.push_row(name, NodeKind::Directory, 0, None, Timestamp::default());
    }

    fn push_row(&mut self, name: &[u8], kind: NodeKind, mode: u32, bytes: Option<u64>, mtime: Timestamp) {
        // No name of a snapshot is longer than 1,024 bytes.
        let name_length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        self.rows.push(Row {
            name: self.names.len() as u64,
            bytes: bytes.unwrap_or(0),
            mtime_seconds: mtime.seconds,
            name_length,
            mode: u16::try_from(mode & 0o7777).unwrap_or(0),
            kind,
            has_bytes: bytes.is_some(),
        });
        self.names.extend_from_slice(name.get(..usize::from(name_length)).unwrap_or(name));
    }

    /// Adds more at the end.
    pub fn append(&mut self, more: Self) {
        if self.rows.is_empty() {
            *self = more;
            return;
        }
        let before = self.names.len() as u64;
        self.names.extend_from_slice(&more.names);
        self.rows
            .extend(more.rows.into_iter().map(|row| Row { name: row.name.saturating_add(before), ..row }));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of the names.
    pub fn name_bytes(&self) -> usize {
        self.names.len()
    }

    /// The entry of this number.
    pub fn get(&self, number: usize) -> Option<Entry<'_>> {
        let row = self.rows.get(number)?;
        let start = usize::try_from(row.name).ok()?;
        let name = self.names.get(start..start.checked_add(usize::from(row.name_length))?)?;
        Some(Entry {
            name,
            kind: row.kind,
            mode: u32::from(row.mode),
            bytes: row.has_bytes.then_some(row.bytes),
            mtime: Timestamp { seconds: row.mtime_seconds, nanoseconds: 0 },
        })
    }

    /// The number of the entry of this name.
    pub fn position(&self, name: &[u8]) -> Option<usize> {
        let found = self.rows.binary_search_by(|row| {
            let start = usize::try_from(row.name).unwrap_or(usize::MAX);
            let end = start.saturating_add(usize::from(row.name_length));
            self.names.get(start..end).unwrap_or_default().cmp(name)
        });
        found.ok()
    }

    /// Notes what was summed of a folder.
    pub fn set_bytes(&mut self, name: &[u8], bytes: u64) {
        let row = self.position(name).and_then(|number| self.rows.get_mut(number));
        if let Some(row) = row.filter(|row| row.kind == NodeKind::Directory) {
            row.bytes = bytes;
            row.has_bytes = true;
        }
    }
}
