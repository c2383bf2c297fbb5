//! A zip archive, written in one go: contents as they are, not compressed, zip64 where sizes need it.
//!
//! Times are UTC, and to the second in an extra field, as are owners. Attributes, access control lists and hard links do not
//! exist there. Invariant: the directory of the archive comes last; without it no reader takes the archive for whole.

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use crc32fast::Hasher;

use super::contents::cannot_write;
use crate::error::{Error, Result};
use crate::format::node::{Node, NodeKind};
use crate::repository::Repository;

/// Sizes and offsets from here on need zip64.
const LARGE: u64 = 0xffff_ffff;
/// Numbers of entries from here on need zip64.
const MANY: u64 = 0xffff;
/// Bytes of the directory that are kept in memory; more go to a file without a name.
const DIRECTORY_IN_MEMORY: usize = 8 << 20;
/// A reader needs so much for files up to 4 GiB, and for larger ones.
const VERSION: u16 = 20;
const VERSION_LARGE: u16 = 45;
/// Made on Unix, by the rules of version 4.5.
const MADE_BY: u16 = (3 << 8) + VERSION_LARGE;
/// The flag that says that the sum comes behind the contents.
const SUM_BEHIND: u16 = 1 << 3;
/// The flag that says that the name is UTF-8.
const UTF_8: u16 = 1 << 11;
/// Longest name, in bytes.
const NAME_MAX: usize = 65_535;

/// An archive that is being written.
pub(super) struct Zip<'o> {
    out: &'o mut dyn Write,
    written: u64,
    entries: u64,
    directory: Directory<'o>,
    open: Option<Entry>,
}

/// What the directory says of an entry.
struct Entry {
    name: Vec<u8>,
    offset: u64,
    size: u64,
    /// DOS's time and date.
    stamp: (u16, u16),
    /// Type and mode as Unix has them, and a flag of DOS for folders.
    attributes: u32,
    extra: Vec<u8>,
    sum: Hasher,
    /// Whether the sum was known before the contents.
    summed: bool,
}

/// Why a zip archive does not hold something; nothing where it does.
pub(super) fn obstacle(path: &[u8], node: &Node) -> Option<&'static str> {
    if !matches!(node.kind, NodeKind::File | NodeKind::Directory | NodeKind::Symlink) {
        return Some("zip holds files, folders and links only");
    }
    if std::str::from_utf8(path).is_err() {
        return Some("its name is not UTF-8, and zip holds no others");
    }
    // Those who unpack it on Windows take either for the way to another folder.
    if path.contains(&b'\\') || matches!(path, [drive, b':', ..] if drive.is_ascii_alphabetic()) {
        return Some("its name is a path of Windows, which those who unpack a zip may follow");
    }
    (path.len() >= NAME_MAX).then_some("its name is too long for zip")
}

impl<'o> Zip<'o> {
    pub(super) fn new(out: &'o mut dyn Write, repository: &'o Repository) -> Self {
        let directory = Directory { repository, memory: Vec::new(), file: None, bytes: 0 };
        Self { out, written: 0, entries: 0, directory, open: None }
    }

    /// Starts something; a file's contents come next. `sum` is the sum of a file's contents, where it is known.
    pub(super) fn start(&mut self, path: &[u8], node: &Node, sum: Option<Hasher>) -> Result<()> {
        let mut name = path.to_vec();
        let (kind, dos) = match node.kind {
            NodeKind::Directory => (0o040_000, 0x10),
            NodeKind::Symlink => (0o120_000, 0),
            _ => (0o100_000, 0),
        };
        if node.kind == NodeKind::Directory {
            name.push(b'/');
        }
        let target =
            node.link_target.as_deref().filter(|_| node.kind == NodeKind::Symlink).unwrap_or_default();
        let size = if node.kind == NodeKind::File { node.size } else { target.len() as u64 };
        let summed = sum.is_some() || node.kind != NodeKind::File;
        let mut sum = sum.unwrap_or_default();
        sum.update(target);
        let attributes = (kind | node.mode & 0o7777) << 16 | dos;
        let (stamp, extra) = (dos_stamp(node), extra(node));
        let entry = Entry { name, offset: self.written, size, stamp, attributes, extra, sum, summed };
        let header = entry.local();
        self.open = Some(entry);
        self.put(&header)?;
        self.put(target)
    }

    /// Writes a part of a file's contents.
    pub(super) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(entry) = self.open.as_mut().filter(|entry| !entry.summed) {
            entry.sum.update(bytes);
        }
        self.written = self.written.saturating_add(bytes.len() as u64);
        self.out.write_all(bytes)
    }

    /// Ends what was started.
    pub(super) fn end(&mut self) -> Result<()> {
        let Some(entry) = self.open.take() else { return Ok(()) };
        if !entry.summed {
            self.put(&entry.descriptor())?;
        }
        self.entries = self.entries.saturating_add(1);
        self.directory.add(&entry.central())
    }

    /// Writes the directory, and ends the archive.
    pub(super) fn finish(mut self) -> Result<()> {
        let (start, bytes) = (self.written, self.directory.bytes);
        self.directory.copy_to(self.out)?;
        let mut end = Vec::new();
        let at = start.saturating_add(bytes);
        if self.entries >= MANY || start >= LARGE || bytes >= LARGE {
            end.extend_from_slice(b"PK\x06\x06");
            end.extend_from_slice(&44u64.to_le_bytes());
            end.extend([MADE_BY, VERSION_LARGE].iter().flat_map(|number| number.to_le_bytes()));
            end.extend_from_slice(&[0; 8]);
            end.extend(
                [self.entries, self.entries, bytes, start].iter().flat_map(|number| number.to_le_bytes()),
            );
            end.extend_from_slice(b"PK\x06\x07\0\0\0\0");
            end.extend_from_slice(&at.to_le_bytes());
            end.extend_from_slice(&1u32.to_le_bytes());
        }
        let entries = u16::try_from(self.entries).unwrap_or(u16::MAX).to_le_bytes();
        end.extend_from_slice(b"PK\x05\x06\0\0\0\0");
        end.extend([entries, entries].concat());
        end.extend([short(bytes), short(start)].concat());
        end.extend_from_slice(&[0; 2]);
        self.put(&end)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(cannot_write)?;
        self.written = self.written.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

impl Entry {
    fn is_large(&self) -> bool {
        self.size >= LARGE
    }

    /// From the version that a reader needs to the sum, as both headers have it.
    fn common(&self, large: bool, sum: u32) -> Vec<u8> {
        let flags = UTF_8 | if self.summed { 0 } else { SUM_BEHIND };
        let numbers = [if large { VERSION_LARGE } else { VERSION }, flags, 0, self.stamp.0, self.stamp.1];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.extend([short(self.size), short(self.size)].concat());
        bytes
    }

    fn local(&self) -> Vec<u8> {
        let sum = if self.summed { self.sum.clone().finalize() } else { 0 };
        let sizes = [self.size, self.size];
        let extra = [zip64(if self.is_large() { &sizes } else { &[] }), self.extra.clone()].concat();
        let mut bytes = [b"PK\x03\x04".to_vec(), self.common(self.is_large(), sum)].concat();
        bytes.extend([length(&self.name), length(&extra)].concat());
        bytes.extend([self.name.clone(), extra].concat());
        bytes
    }

    fn descriptor(&self) -> Vec<u8> {
        let mut bytes = b"PK\x07\x08".to_vec();
        bytes.extend_from_slice(&self.sum.clone().finalize().to_le_bytes());
        for _ in 0..2 {
            if self.is_large() {
                bytes.extend_from_slice(&self.size.to_le_bytes());
            } else {
                bytes.extend_from_slice(&short(self.size));
            }
        }
        bytes
    }

    fn central(&self) -> Vec<u8> {
        let mut large = if self.is_large() { vec![self.size, self.size] } else { Vec::new() };
        large.extend((self.offset >= LARGE).then_some(self.offset));
        let extra = [zip64(&large), self.extra.clone()].concat();
        let mut bytes = [b"PK\x01\x02".to_vec(), MADE_BY.to_le_bytes().to_vec()].concat();
        bytes.extend(self.common(!large.is_empty(), self.sum.clone().finalize()));
        bytes.extend([length(&self.name), length(&extra)].concat());
        // No comment, the first disk, no internal attributes.
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(&self.attributes.to_le_bytes());
        bytes.extend_from_slice(&short(self.offset));
        bytes.extend([self.name.clone(), extra].concat());
        bytes
    }
}

/// The directory of the archive, until it is written.
struct Directory<'o> {
    repository: &'o Repository,
    memory: Vec<u8>,
    file: Option<File>,
    bytes: u64,
}

impl Directory<'_> {
    fn add(&mut self, record: &[u8]) -> Result<()> {
        self.memory.extend_from_slice(record);
        self.bytes = self.bytes.saturating_add(record.len() as u64);
        if self.memory.len() < DIRECTORY_IN_MEMORY {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(self.repository.index_folders().temporary_file()?),
        };
        file.write_all(&self.memory).map_err(set_aside)?;
        self.memory.clear();
        Ok(())
    }

    fn copy_to(&mut self, out: &mut dyn Write) -> Result<()> {
        if let Some(file) = &mut self.file {
            file.rewind().map_err(set_aside)?;
            let mut buffer = vec![0; 256 << 10];
            loop {
                let read = file.read(&mut buffer).map_err(set_aside)?;
                let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
                out.write_all(part).map_err(cannot_write)?;
            }
        }
        out.write_all(&self.memory).map_err(cannot_write)
    }
}

fn set_aside(error: io::Error) -> Error {
    Error::io("cannot set the directory of the archive aside", error)
        .hint("set TMPDIR to a folder with more room, or use --archive tar")
}

/// Four bytes, all ones where the number needs zip64.
fn short(number: u64) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes()
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes()
}

/// The extra field with the numbers that need eight bytes; nothing where there are none.
fn zip64(numbers: &[u64]) -> Vec<u8> {
    if numbers.is_empty() {
        return Vec::new();
    }
    let values: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    [1u16.to_le_bytes().as_slice(), &length(&values), &values].concat()
}

/// Extra fields: the time as Unix has it, where it fits, and the owner.
fn extra(node: &Node) -> Vec<u8> {
    let mut extra = Vec::new();
    if let Ok(seconds) = i32::try_from(node.mtime.seconds) {
        extra.extend_from_slice(b"UT\x05\0\x01");
        extra.extend_from_slice(&seconds.to_le_bytes());
    }
    extra.extend_from_slice(b"ux\x0b\0\x01\x04");
    extra.extend_from_slice(&node.uid.to_le_bytes());
    extra.push(4);
    extra.extend_from_slice(&node.gid.to_le_bytes());
    extra
}

/// Time and date as DOS has them, between 1980 and 2107, in UTC.
fn dos_stamp(node: &Node) -> (u16, u16) {
    const FIRST: (u16, u16) = (0, (1 << 5) + 1);
    const LAST: (u16, u16) = ((23 << 11) + (59 << 5) + 29, (127 << 9) + (12 << 5) + 31);
    let Ok(time) = jiff::Timestamp::from_second(node.mtime.seconds) else { return FIRST };
    let time = time.to_zoned(jiff::tz::TimeZone::UTC);
    let number = |number: i8| u16::try_from(number).unwrap_or(0);
    match u16::try_from(time.year().saturating_sub(1980)) {
        Err(_) => FIRST,
        Ok(year) if year > 127 => LAST,
        Ok(year) => (
            number(time.hour()) << 11 | number(time.minute()) << 5 | (number(time.second()) / 2),
            year << 9 | number(time.month()) << 5 | number(time.day()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(text: &str) -> (u16, u16) {
        let mut node = crate::format::tests::file_node(&[], 5);
        node.mtime.seconds = text.parse::<jiff::Timestamp>().unwrap().as_second();
        dos_stamp(&node)
    }

    #[test]
    fn names_that_lead_elsewhere_on_windows_are_left_out() {
        let node = crate::format::tests::file_node(&[], 5);
        for bad in [&b"..\\..\\evil"[..], b"folder/a\\b", b"C:evil", b"c:/evil"] {
            assert!(obstacle(bad, &node).is_some_and(|cause| cause.contains("Windows")), "{bad:?}");
        }
        for fine in [&b"plain"[..], b"folder/C:x", b"12:30", b":", b"a"] {
            assert_eq!(obstacle(fine, &node), None, "{fine:?}");
        }
    }

    #[test]
    fn times_are_those_of_dos_within_its_years() {
        assert_eq!(stamp("1980-01-01T00:00:00Z"), (0, 33));
        assert_eq!(stamp("1969-01-01T00:00:00Z"), (0, 33));
        let (time, date) = ((13 << 11) + (14 << 5) + 7, (46 << 9) + (11 << 5) + 21);
        assert_eq!(stamp("2026-11-21T13:14:15Z"), (time, date));
        assert_eq!(stamp("2107-12-31T23:59:59Z"), stamp("2300-01-01T00:00:00Z"));
    }

    #[test]
    fn what_is_large_is_said_in_eight_bytes() {
        assert_eq!(short(LARGE - 1), [0xfe, 0xff, 0xff, 0xff]);
        assert_eq!([short(LARGE), short(LARGE + 1), short(u64::MAX)], [[0xff; 4]; 3]);
        assert_eq!(zip64(&[]), b"");
        assert_eq!(zip64(&[1, 2]), b"\x01\0\x10\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0");
    }
}
