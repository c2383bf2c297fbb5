//! An RDB file as `redis-cli --rdb -` writes it, checked while it passes: its magic, its end, its checksum; without the
//! mark that the client leaves behind it where the server sent the file before it knew its length.
//!
//! Invariants: memory does not grow with the file: only what may be its end is held back. Of what is let through, not a
//! byte is behind the file's end, and where the file has a checksum it fits.

use crate::error::{Error, ErrorKind, Result};
use crate::report::printable;

/// Bytes of a magic: `REDIS` and four digits, or `VALKEY` and three.
const MAGIC_LEN: usize = 9;
/// The checksum at the end, as little-endian number.
const SUM_LEN: usize = 8;
/// The mark behind a file whose length the server did not know: so many hexadecimal digits.
const MARK_LEN: usize = 40;
/// Says that the checksum follows.
const END: u8 = 0xff;
/// What is held back: the end, its checksum, the mark.
const HELD: usize = 1 + SUM_LEN + MARK_LEN;
/// The first version with a checksum.
const VERSION_MIN: u32 = 5;
/// Bytes shown of what is no such file.
const SHOWN_MAX: usize = 400;
/// CRC-64 of Jones, reflected.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
const TABLE: [u64; 256] = table();

/// A file being read.
#[derive(Debug, Default)]
pub struct Rdb {
    held: Vec<u8>,
    sum: u64,
    begun: bool,
    ended: bool,
}

/// What a file was checked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// By its checksum.
    Sum,
    /// By its beginning and its end alone: the server is told to write no checksums.
    Form,
}

impl Rdb {
    /// Takes what comes next.
    ///
    /// # Errors
    /// `Corrupt` or `Unsupported` where it does not begin as such a file does.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.held.extend_from_slice(bytes);
        if !self.begun && self.held.len() >= MAGIC_LEN {
            check_magic(&self.held)?;
            self.begun = true;
        }
        Ok(())
    }

    /// Moves what is surely of the file to the front of a buffer; gives how much that is.
    pub fn release(&mut self, buffer: &mut [u8]) -> usize {
        let kept = if self.ended { 0 } else { HELD };
        let length = self.held.len().saturating_sub(kept).min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(self.held.drain(..length)) {
            *to = from;
        }
        if !self.ended {
            self.sum = summed(self.sum, buffer.get(..length).unwrap_or_default());
        }
        length
    }

    /// Takes note that nothing comes any more: finds the file's end and checks it. What is left of the file can be
    /// released then.
    ///
    /// # Errors
    /// `Corrupt` where it is cut, goes on, or does not fit its checksum.
    pub fn end(&mut self) -> Result<Checked> {
        if !self.begun {
            check_magic(&self.held)?;
        }
        // The end is no hexadecimal digit, so that only one of the two can be true.
        let at = |behind: usize| {
            let at = self.held.len().checked_sub(SUM_LEN.saturating_add(behind).saturating_add(1))?;
            self.held.get(at).filter(|byte| **byte == END)?;
            at.checked_add(1)
        };
        let mark = self.held.len().checked_sub(MARK_LEN).and_then(|at| self.held.get(at..));
        let marked = mark.is_some_and(|mark| mark.iter().all(u8::is_ascii_hexdigit));
        let end = at(0).or_else(|| if marked { at(MARK_LEN) } else { None }).ok_or_else(cut)?;
        let (body, rest) = self.held.split_at_checked(end).ok_or_else(cut)?;
        let stored = rest.first_chunk::<SUM_LEN>().map(|bytes| u64::from_le_bytes(*bytes)).ok_or_else(cut)?;
        let sum = summed(self.sum, body);
        self.held.truncate(end.saturating_add(SUM_LEN));
        self.ended = true;
        match stored {
            0 => Ok(Checked::Form),
            stored if stored == sum => Ok(Checked::Sum),
            _ => Err(Error::corrupt("the RDB file does not fit its checksum").hint(
                "run the backup again; if it happens again, look for damage in memory and in the network between, and \
                 keep older snapshots",
            )),
        }
    }
}

fn check_magic(bytes: &[u8]) -> Result<()> {
    let digits = bytes.strip_prefix(b"REDIS").or(bytes.strip_prefix(b"VALKEY")).unwrap_or_default();
    let digits = bytes
        .len()
        .min(MAGIC_LEN)
        .checked_sub(bytes.len().saturating_sub(digits.len()))
        .and_then(|length| digits.get(..length));
    let text = digits.and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default();
    let version = Some(text)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse::<u32>().ok());
    match version {
        _ if bytes.len() < MAGIC_LEN && bytes.is_empty() => Err(cut()),
        Some(VERSION_MIN..) if bytes.len() >= MAGIC_LEN => Ok(()),
        Some(version) if bytes.len() >= MAGIC_LEN => Err(Error::new(
            ErrorKind::Unsupported,
            format!("this is an RDB file of version {version}, which has no checksum"),
        )
        .hint("update the server to Redis 2.6 or newer")),
        // Older clients write here what the server said.
        _ => {
            let shown = printable(bytes.get(..bytes.len().min(SHOWN_MAX)).unwrap_or_default().trim_ascii());
            Err(Error::corrupt(format!("what came is no RDB file: {shown}")))
        }
    }
}

fn cut() -> Error {
    Error::corrupt("the RDB file is cut: its end is missing").hint("run the backup again")
}

fn summed(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        TABLE.get(usize::from(low ^ byte)).copied().unwrap_or_default() ^ (sum >> 8)
    })
}

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    let mut value = 0u64;
    while at < 256 {
        let mut sum = value;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        #[expect(
            clippy::indexing_slicing,
            reason = "the loop ends with the table, when the program is built"
        )]
        {
            table[at] = sum;
        }
        at += 1;
        value += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Redis 7.0.15 sends for one key.
    const FILE: &str = "524544495330303130fa0972656469732d76657206372e302e3135fa0a72656469732d62697473c040fa056374696d65\
        c2da28026bfa08757365642d6d656dc208b70e00fa0e7265706c2d73747265616d2d6462c000fa077265706c2d69642837666461366664\
        64393362643435613237336161653164643933356137363562313536393261616\
        4fa0b7265706c2d6f6666736574c000fa08616f662d62617365c000fe00fb01000001610162ff9afa5bd0778eb789";
    const MARK: &[u8] = b"c25c41437eeb6023548f99706379c0df934daea2";

    fn file() -> Vec<u8> {
        let digits: Vec<u8> = FILE
            .bytes()
            .map(|digit| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap())
            .collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn read(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Checked)> {
        let mut rdb = Rdb::default();
        let mut out = Vec::new();
        let mut buffer = [0; 7];
        for piece in bytes.chunks(piece) {
            rdb.feed(piece)?;
            while let length @ 1.. = rdb.release(&mut buffer) {
                out.extend_from_slice(&buffer[..length]);
            }
            assert!(rdb.held.len() <= HELD);
        }
        let checked = rdb.end()?;
        while let length @ 1.. = rdb.release(&mut buffer) {
            out.extend_from_slice(&buffer[..length]);
        }
        Ok((out, checked))
    }

    #[test]
    fn a_file_passes_without_its_mark() {
        // The catalogue's check value of CRC-64/Redis.
        assert_eq!(summed(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        let file = file();
        for piece in [1, 8, 49, 50, 1000] {
            assert_eq!(read(&file, piece).unwrap(), (file.clone(), Checked::Sum));
            assert_eq!(read(&[&file[..], MARK].concat(), piece).unwrap(), (file.clone(), Checked::Sum));
        }
    }

    #[test]
    fn a_file_without_a_checksum_is_checked_by_its_form() {
        let mut file = file();
        let end = file.len() - SUM_LEN;
        file[end..].fill(0);
        assert_eq!(read(&file, 10).unwrap(), (file.clone(), Checked::Form));
        assert_eq!(read(&[&file[..], MARK].concat(), 10).unwrap(), (file, Checked::Form));
    }

    #[test]
    fn whatever_is_cut_or_changed_is_refused() {
        let file = file();
        let marked = [&file[..], MARK].concat();
        for length in 0..file.len() {
            assert!(read(&file[..length], 10).is_err(), "{length}");
        }
        for length in file.len() + 1..marked.len() {
            assert!(read(&marked[..length], 10).is_err(), "{length}");
        }
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut changed = file.clone();
                changed[at] ^= 1 << bit;
                assert!(read(&changed, 10).is_err(), "{at} {bit}");
            }
        }
        assert!(read(&[&marked[..], b"0"].concat(), 10).is_err());
        assert!(read(&[&file[..], &[b'x'; 40]].concat(), 10).is_err());
    }

    #[test]
    fn what_is_no_such_file_is_told() {
        let error = read(b"SYNC with master failed: -NOPERM this user has no permissions", 1000).unwrap_err();
        assert!(error.to_string().contains("-NOPERM"), "{error}");
        assert_eq!(read(b"REDIS0004xxxxxxxxx", 100).unwrap_err().kind(), ErrorKind::Unsupported);
        for text in [&b""[..], b"x", b"REDIS", b"REDISabcd", b"VALKEY08"] {
            assert_eq!(read(text, 100).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        assert!(check_magic(b"VALKEY080").is_ok() && check_magic(b"REDIS0011").is_ok());
    }
}
