//! A tar archive as POSIX.1-2001 has it: a pax header stands before what the old header cannot hold.
//!
//! Names and values are bytes as they are, as GNU tar writes them. Extended attributes are records `SCHILY.xattr.NAME`, and
//! access control lists are attributes. Holes are zeros: every reader takes them.
//!
//! Invariant: the mark of the end is written by [`Tar::finish`] only; without it, and within a file, readers complain.

use std::io::{self, Write};

use super::contents::{cannot_write, write_zeros};
use crate::error::Result;
use crate::format::node::{Node, NodeKind, Timestamp};

/// Length of the old header.
const HEADER_LEN: usize = 512;
/// What headers and contents are padded to.
const BLOCK: u64 = HEADER_LEN as u64;
/// What an archive is padded to: readers of tapes want it.
const RECORD: u64 = 10 << 10;
/// Longest name in the old header.
const NAME_MAX: usize = 100;
/// Longest name of an owner in the old header.
const OWNER_MAX: usize = 31;
/// Largest number in eight octal digits, one of them the end.
const NUMBER_MAX: u64 = 0o777_7777;
/// Largest number in twelve octal digits, one of them the end.
const LARGE_MAX: u64 = 0o777_7777_7777;

/// An archive that is being written.
pub(super) struct Tar<'o> {
    out: &'o mut dyn Write,
    written: u64,
}

impl<'o> Tar<'o> {
    pub(super) fn new(out: &'o mut dyn Write) -> Self {
        Self { out, written: 0 }
    }

    /// Starts something. A file's contents come next, unless it is a link to an earlier name.
    pub(super) fn start(&mut self, path: &[u8], node: &Node, link: Option<&[u8]>) -> Result<()> {
        let mut name = path.to_vec();
        if node.kind == NodeKind::Directory {
            name.push(b'/');
        }
        let target = link.or(node.link_target.as_deref().filter(|_| node.kind == NodeKind::Symlink));
        let size = if node.kind == NodeKind::File && link.is_none() { node.size } else { 0 };
        let mut header = Header::new(&name, node);
        header.put(156, &[if link.is_some() { b'1' } else { kind(node.kind) }]);
        header.number(124, 12, size, LARGE_MAX, "size");
        header.text(157, NAME_MAX, target.unwrap_or_default(), "linkpath");
        for attribute in node.attributes.iter().flatten().filter(|_| link.is_none()) {
            let key = [b"SCHILY.xattr.".as_slice(), &escaped(&attribute.name)].concat();
            header.records.record(&key, &attribute.value);
        }
        let records = std::mem::take(&mut header.records).0;
        if !records.is_empty() {
            self.data(&extension(&name, records.len() as u64).finish()).map_err(cannot_write)?;
            self.data(&records).map_err(cannot_write)?;
            self.pad(BLOCK)?;
        }
        self.data(&header.finish()).map_err(cannot_write)
    }

    /// Writes a part of a file's contents.
    pub(super) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written = self.written.saturating_add(bytes.len() as u64);
        self.out.write_all(bytes)
    }

    /// Ends a file.
    pub(super) fn end(&mut self) -> Result<()> {
        self.pad(BLOCK)
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Result<()> {
        write_zeros(self.out, 2 * BLOCK)?;
        self.written = self.written.saturating_add(2 * BLOCK);
        self.pad(RECORD)
    }

    fn pad(&mut self, unit: u64) -> Result<()> {
        let missing = self.written.next_multiple_of(unit).saturating_sub(self.written);
        self.written = self.written.saturating_add(missing);
        write_zeros(self.out, missing)
    }
}

/// Records of a pax header.
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    /// Adds a record; its length, in front, counts its own digits.
    fn record(&mut self, key: &[u8], value: &[u8]) {
        let bare = key.len().saturating_add(value.len()).saturating_add(3);
        let mut length = bare;
        while length != bare.saturating_add(length.to_string().len()) {
            length = bare.saturating_add(length.to_string().len());
        }
        self.0.extend_from_slice(length.to_string().as_bytes());
        for part in [b" ".as_slice(), key, b"=", value, b"\n"] {
            self.0.extend_from_slice(part);
        }
    }
}

/// The old header, and records for what does not fit in it.
struct Header {
    block: [u8; HEADER_LEN],
    records: Records,
}

impl Header {
    fn new(name: &[u8], node: &Node) -> Self {
        let mut header = Self { block: [0; HEADER_LEN], records: Records::default() };
        header.text(0, NAME_MAX, name, "path");
        header.number(100, 8, u64::from(node.mode & 0o7777), NUMBER_MAX, "mode");
        header.number(108, 8, u64::from(node.uid), NUMBER_MAX, "uid");
        header.number(116, 8, u64::from(node.gid), NUMBER_MAX, "gid");
        header.time(node.mtime);
        header.put(257, b"ustar\x0000");
        header.text(265, OWNER_MAX, &node.user, "uname");
        header.text(297, OWNER_MAX, &node.group, "gname");
        if let (NodeKind::CharacterDevice | NodeKind::BlockDevice, Some(device)) =
            (node.kind, node.device_number)
        {
            header.number(329, 8, device >> 32, NUMBER_MAX, "SCHILY.devmajor");
            header.number(337, 8, device & u64::from(u32::MAX), NUMBER_MAX, "SCHILY.devminor");
        }
        header
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (slot, byte) in self.block.iter_mut().skip(at).zip(bytes) {
            *slot = *byte;
        }
    }

    fn text(&mut self, at: usize, room: usize, text: &[u8], key: &str) {
        self.put(at, text.get(..room).unwrap_or(text));
        if text.len() > room {
            self.records.record(key.as_bytes(), text);
        }
    }

    fn number(&mut self, at: usize, room: usize, number: u64, most: u64, key: &str) {
        let digits = room.saturating_sub(1);
        self.put(at, format!("{:0digits$o}", if number > most { 0 } else { number }).as_bytes());
        if number > most {
            self.records.record(key.as_bytes(), number.to_string().as_bytes());
        }
    }

    fn time(&mut self, time: Timestamp) {
        let whole = u64::try_from(time.seconds).ok().filter(|seconds| *seconds <= LARGE_MAX);
        self.number(136, 12, whole.unwrap_or(0), LARGE_MAX, "mtime");
        if whole.is_none() || time.nanoseconds > 0 {
            self.records.record(b"mtime", decimal(time).as_bytes());
        }
    }

    /// The header with its sum, for which it counts as blanks.
    fn finish(mut self) -> [u8; HEADER_LEN] {
        self.put(148, b"        ");
        let sum = self.block.iter().fold(0u32, |sum, byte| sum.saturating_add(u32::from(*byte)));
        self.put(148, format!("{sum:06o}\0 ").as_bytes());
        self.block
    }
}

/// The header of the records of what is called `name`.
fn extension(name: &[u8], length: u64) -> Header {
    let mut header = Header { block: [0; HEADER_LEN], records: Records::default() };
    let last =
        name.strip_suffix(b"/").unwrap_or(name).rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    header.put(0, b"PaxHeaders/");
    header.put(11, last.get(..NAME_MAX.saturating_sub(11)).unwrap_or(last));
    for at in [108, 116] {
        header.number(at, 8, 0, NUMBER_MAX, "");
    }
    header.number(100, 8, 0o600, NUMBER_MAX, "");
    header.number(124, 12, length, LARGE_MAX, "size");
    header.number(136, 12, 0, LARGE_MAX, "");
    header.put(156, b"x");
    header.put(257, b"ustar\x0000");
    header
}

/// Seconds since 1970 with their fraction, negative before.
fn decimal(time: Timestamp) -> String {
    let nanoseconds =
        i128::from(time.seconds).saturating_mul(1_000_000_000).saturating_add(i128::from(time.nanoseconds));
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let size = nanoseconds.unsigned_abs();
    format!("{sign}{}.{:09}", size / 1_000_000_000, size % 1_000_000_000)
}

/// The name of an attribute without `=`, which ends a key: as GNU tar does it.
fn escaped(name: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b'%' => b"%25".to_vec(),
        b'=' => b"%3D".to_vec(),
        byte => vec![*byte],
    };
    name.iter().flat_map(escape).collect()
}

fn kind(kind: NodeKind) -> u8 {
    match kind {
        NodeKind::File | NodeKind::Socket => b'0',
        NodeKind::Symlink => b'2',
        NodeKind::CharacterDevice => b'3',
        NodeKind::BlockDevice => b'4',
        NodeKind::Directory => b'5',
        NodeKind::Fifo => b'6',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_digits() {
        for length in 0..2000 {
            let mut records = Records::default();
            records.record(b"path", &vec![b'x'; length]);
            let text = String::from_utf8(records.0).unwrap();
            assert_eq!(text.split_once(' ').unwrap().0.parse::<usize>().unwrap(), text.len());
        }
    }

    #[test]
    fn times_before_1970_are_negative() {
        let time = |seconds, nanoseconds| decimal(Timestamp { seconds, nanoseconds });
        assert_eq!(time(1, 5), "1.000000005");
        assert_eq!(time(-1, 0), "-1.000000000");
        assert_eq!(time(-1, 300_000_000), "-0.700000000");
        assert_eq!(time(-5, 300_000_000), "-4.700000000");
    }
}
