//! The SQL that `mariadb-dump` and `mysqldump` write, read while it passes: which tables it makes, and how many rows it
//! puts into each.
//!
//! Invariants: memory does not grow with the script, but for the names of its tables. A script is whole only where its
//! last line says so and nothing is open there: no string, no comment, no statement. What stands in a string, in a
//! comment or in the text of a routine is never taken for a statement.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, ErrorKind, Result};

/// Longest name of a table, in bytes: 64 characters, and room.
const NAME_MAX: usize = 512;
/// Tables of one script; more are nobody's.
const TABLES_MAX: usize = 1 << 20;
/// Bytes kept of a statement's beginning, of a line and of a delimiter: enough to tell what they are.
const HEAD_MAX: usize = 32;
/// The line that ends a script; without `--skip-dump-date` the time follows.
const END: &[u8] = b"-- Dump completed";
/// The line after which statements end with a semicolon again.
const PLAIN_DELIMITER: &[u8] = b"DELIMITER ;";

/// What a whole script holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Tables that it makes.
    pub made: BTreeSet<String>,
    /// Rows that it puts into tables; a table without a row has no entry.
    pub rows: BTreeMap<String, u64>,
}

/// A script being read.
#[derive(Debug, Default)]
pub struct Script {
    place: Place,
    statement: Statement,
    reading: Reading,
    /// A word, or a line: at most as much of it as tells what it is.
    word: Vec<u8>,
    /// The byte before, where it may begin something with the next.
    before: u8,
    /// What ends a statement of a routine.
    delimiter: Vec<u8>,
    /// Whether the line before ended with it.
    delimited: bool,
    /// Whether a statement has ended.
    underway: bool,
    begun: bool,
    completed: bool,
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Between tokens.
    #[default]
    Code,
    /// In a string or a quoted name.
    Quoted { quote: u8, escaped: bool },
    /// Behind what closed a name, unless it is doubled.
    NameEnd,
    /// Behind `/*`: is it a comment, or code for some versions?
    Opening,
    /// In a comment up to `*/`.
    Comment,
    /// In a comment up to the line's end.
    Line,
    /// In what `DELIMITER` names.
    Delimiter,
    /// In the text of triggers, routines and events.
    Section,
}

/// The statement at hand.
#[derive(Debug, Default)]
struct Statement {
    /// Its words before the first name.
    head: Vec<u8>,
    kind: Kind,
    name: Vec<u8>,
    depth: u32,
    rows: u64,
    /// Whether `VALUES` was seen.
    values: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// Not known before its first name.
    #[default]
    Open,
    Make,
    Insert,
    Other,
}

impl Script {
    /// Takes what comes next.
    ///
    /// # Errors
    /// `Corrupt` where it is none of such a script, `Unsupported` beyond the limits.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        while let Some(first) = bytes.first() {
            let passed = self.passed(bytes);
            if passed > 0 {
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            self.take(*first)?;
            bytes = bytes.get(1..).unwrap_or_default();
        }
        Ok(())
    }

    /// Whether what describes tables has begun: then the client's transaction has as well.
    pub fn begun(&self) -> bool {
        self.begun
    }

    /// Ends it.
    ///
    /// # Errors
    /// `Corrupt` where it is not whole.
    pub fn finish(self) -> Result<Reading> {
        let nothing_open = self.place == Place::Code && self.statement.is_blank();
        if !self.completed || !nothing_open {
            return Err(cut());
        }
        Ok(self.reading)
    }

    /// How many of these bytes tell nothing where they stand.
    fn passed(&self, bytes: &[u8]) -> usize {
        let end = match self.place {
            Place::Quoted { quote, escaped: false } if quote != b'`' => {
                bytes.iter().position(|byte| *byte == quote || *byte == b'\\')
            }
            Place::Code if self.statement.values && self.statement.depth > 0 && self.before == 0 => {
                bytes.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b',')
            }
            _ => Some(0),
        };
        end.unwrap_or(bytes.len())
    }

    fn take(&mut self, byte: u8) -> Result<()> {
        if self.completed && byte != b'\n' {
            return Err(Error::corrupt("something stands behind the end of the script"));
        }
        match self.place {
            Place::Code => self.code(byte)?,
            Place::Quoted { quote, escaped } => self.quoted(quote, escaped, byte)?,
            Place::NameEnd => {
                if byte == b'`' {
                    self.place = Place::Quoted { quote: b'`', escaped: false };
                    return self.name_byte(byte);
                }
                self.place = Place::Code;
                self.named();
                self.code(byte)?;
            }
            Place::Opening => self.opening(byte)?,
            Place::Comment => {
                if (self.before, byte) == (b'*', b'/') {
                    self.place = Place::Code;
                    self.before = 0;
                } else {
                    self.before = byte;
                }
            }
            Place::Line => self.line(byte),
            Place::Delimiter => self.delimiter(byte)?,
            Place::Section => self.section(byte),
        }
        Ok(())
    }

    fn code(&mut self, byte: u8) -> Result<()> {
        let before = std::mem::take(&mut self.before);
        match (before, byte) {
            (b'/', b'*') => {
                self.statement.head.pop();
                self.word.clear();
                self.place = Place::Opening;
                return Ok(());
            }
            // The end of code for some versions: the statement goes on.
            (b'*', b'/') => {
                self.statement.head.pop();
                return Ok(());
            }
            (_, b'-' | b'#') if self.statement.is_blank() => {
                self.word.clear();
                self.word.push(byte);
                self.place = Place::Line;
                return Ok(());
            }
            (_, b'\'' | b'"' | b'`') => {
                self.end_of_word();
                self.place = Place::Quoted { quote: byte, escaped: false };
                if byte != b'`' && self.statement.kind == Kind::Open {
                    self.statement.kind = Kind::Other;
                }
                return Ok(());
            }
            (_, b'/' | b'*') => self.before = byte,
            (_, b';') if self.statement.head == b"DELIMITER" => {
                self.delimiter = vec![byte];
                self.place = Place::Delimiter;
                return Ok(());
            }
            (_, b';') => return self.end_of_statement(),
            (_, b'(') => self.opened(),
            (_, b')') => self.closed()?,
            _ => {}
        }
        self.letter(byte);
        Ok(())
    }

    /// A byte that belongs to a word, or ends one.
    fn letter(&mut self, byte: u8) {
        if self.statement.kind == Kind::Open {
            let head = &mut self.statement.head;
            match byte {
                byte if byte.is_ascii_whitespace() => {
                    if head.last().is_some_and(|last| *last != b' ')
                        && head.as_slice() != b"DELIMITER"
                        && head.len() < HEAD_MAX
                    {
                        head.push(b' ');
                    }
                }
                byte if head.len() < HEAD_MAX => head.push(byte.to_ascii_uppercase()),
                _ => self.statement.kind = Kind::Other,
            }
        } else if self.statement.kind == Kind::Insert && self.statement.depth == 0 && !self.statement.values {
            if byte.is_ascii_alphanumeric() {
                if self.word.len() < HEAD_MAX {
                    self.word.push(byte.to_ascii_uppercase());
                }
            } else {
                self.end_of_word();
            }
        }
    }

    fn end_of_word(&mut self) {
        if self.statement.kind == Kind::Insert && self.word == b"VALUES" {
            self.statement.values = true;
        }
        self.word.clear();
    }

    fn opened(&mut self) {
        self.end_of_word();
        let statement = &mut self.statement;
        if statement.values && statement.depth == 0 {
            statement.rows = statement.rows.saturating_add(1);
        }
        statement.depth = statement.depth.saturating_add(1);
    }

    fn closed(&mut self) -> Result<()> {
        let depth = self.statement.depth.checked_sub(1);
        match (depth, self.statement.kind) {
            (Some(depth), _) => self.statement.depth = depth,
            (None, Kind::Insert) => return Err(unbalanced()),
            (None, _) => {}
        }
        Ok(())
    }

    fn quoted(&mut self, quote: u8, escaped: bool, byte: u8) -> Result<()> {
        if quote == b'`' {
            if byte != quote {
                return self.name_byte(byte);
            }
            self.place = Place::NameEnd;
        } else if escaped {
            self.place = Place::Quoted { quote, escaped: false };
        } else if byte == b'\\' {
            self.place = Place::Quoted { quote, escaped: true };
        } else if byte == quote {
            self.place = Place::Code;
        }
        Ok(())
    }

    fn name_byte(&mut self, byte: u8) -> Result<()> {
        if self.statement.kind == Kind::Open {
            self.statement.name.push(byte);
            if self.statement.name.len() > NAME_MAX {
                return Err(Error::corrupt("a name in the script is longer than any may be"));
            }
        }
        Ok(())
    }

    /// The first name of a statement tells what it is about.
    fn named(&mut self) {
        if self.statement.kind == Kind::Open {
            self.statement.kind = match self.statement.head.trim_ascii_end() {
                b"INSERT INTO" => Kind::Insert,
                b"CREATE TABLE" | b"CREATE TABLE IF NOT EXISTS" => Kind::Make,
                _ => Kind::Other,
            };
            self.word.clear();
        }
    }

    fn end_of_statement(&mut self) -> Result<()> {
        self.underway = true;
        self.word.clear();
        let Statement { kind, name, depth, rows, .. } = std::mem::take(&mut self.statement);
        if !matches!(kind, Kind::Make | Kind::Insert) {
            return Ok(());
        }
        if depth != 0 {
            return Err(unbalanced());
        }
        let name = String::from_utf8(name)
            .map_err(|_| Error::corrupt("a table's name in the script is not UTF-8"))?;
        if self.reading.made.len().max(self.reading.rows.len()) >= TABLES_MAX {
            return Err(Error::new(ErrorKind::Unsupported, "the script has more than a million tables"));
        }
        if kind == Kind::Make {
            self.reading.made.insert(name);
        } else {
            let all = self.reading.rows.entry(name).or_default();
            *all = all.saturating_add(rows);
        }
        Ok(())
    }

    /// `/*!40101 ` and `/*M!100100 ` open code for versions of that number and above, so their inside is code here. No
    /// version has the number 999999: a client reads that as a command to itself.
    fn opening(&mut self, byte: u8) -> Result<()> {
        match (self.word.as_slice(), byte) {
            (b"", b'!' | b'M') | (b"M", b'!') => self.word.push(byte),
            (b"" | b"M", _) => {
                self.place = Place::Comment;
                self.before = byte;
            }
            (_, b'0'..=b'9') if self.word.len() < HEAD_MAX => self.word.push(byte),
            (word, _) if word.ends_with(b"!999999") => {
                self.place = Place::Comment;
                self.before = byte;
            }
            _ => {
                self.place = Place::Code;
                self.word.clear();
                self.code(byte)?;
            }
        }
        Ok(())
    }

    fn line(&mut self, byte: u8) {
        if byte != b'\n' {
            if self.word.len() < HEAD_MAX {
                self.word.push(byte);
            }
            return;
        }
        self.begun |= self.underway;
        let rest = self.word.strip_prefix(END);
        self.completed = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b" on "));
        self.word.clear();
        self.place = Place::Code;
    }

    fn delimiter(&mut self, byte: u8) -> Result<()> {
        if byte != b'\n' {
            self.delimiter.push(byte);
            if self.delimiter.len() > HEAD_MAX {
                return Err(Error::corrupt("a delimiter in the script is longer than any is"));
            }
            return Ok(());
        }
        self.statement = Statement::default();
        self.word.clear();
        self.delimited = false;
        self.before = 0;
        self.place = if self.delimiter == b";" { Place::Code } else { Place::Section };
        Ok(())
    }

    /// The text of routines may hold anything, and whoever wrote it had their own rules for strings. A client puts the
    /// delimiter at the end of the line before it goes back to the semicolon.
    fn section(&mut self, byte: u8) {
        if byte != b'\n' {
            if self.word.len() >= HEAD_MAX {
                // The end of a long line is enough to tell whether the delimiter stands there.
                self.word.drain(..HEAD_MAX / 2);
                self.before = b'+';
            }
            self.word.push(byte);
            return;
        }
        let long = std::mem::take(&mut self.before) != 0;
        let line = std::mem::take(&mut self.word);
        if self.delimited && !long && line == PLAIN_DELIMITER {
            self.place = Place::Code;
        }
        self.delimited = line.ends_with(&self.delimiter);
    }
}

impl Statement {
    fn is_blank(&self) -> bool {
        self.kind == Kind::Open && self.head.is_empty() && self.name.is_empty() && self.depth == 0
    }
}

fn cut() -> Error {
    Error::corrupt("the script is cut: its last line is not that of a dump that was completed")
}

fn unbalanced() -> Error {
    Error::corrupt("a statement of the script has brackets that do not match")
}

#[cfg(test)]
mod tests;
