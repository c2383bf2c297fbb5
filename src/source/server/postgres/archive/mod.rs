//! The custom archive of `pg_dump`, read while it passes: is it whole, and how many rows are in it?
//!
//! A header is followed by a list of entries, and that by the data of those entries that have some, each in chunks with
//! their lengths before them, ended by a chunk of length 0. What a chunk holds is COPY's text: a row is a line.
//!
//! Invariants: of an archive of any length no more is held than a few bytes for each entry with data, and of those there
//! are at most [`DATA_ENTRIES_MAX`]. However the bytes are cut into pieces, the outcome is the same.

mod field;
mod layout;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, ErrorKind, Result};
use field::{Field, Kind, Value};
use layout::{ENTRY, EntryField, HEAD, HeadField};
use rows::Rows;

/// Most entries of an archive.
pub const ENTRIES_MAX: i64 = 16 << 20;
/// Most entries that have data: tables, and groups of large objects.
pub const DATA_ENTRIES_MAX: usize = 1 << 20;
/// The oldest and the newest layout that is known, by its second number: PostgreSQL 9.0 to 18.
const KNOWN: std::ops::RangeInclusive<u8> = 12..=16;
/// Custom among the formats, and what stands for no compression.
const CUSTOM: u8 = 1;

/// Most owners that are kept.
const OWNERS_MAX: usize = 10_000;

/// What the list of an archive says of its database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Whom what is in it belongs to.
    pub owners: BTreeSet<String>,
    /// Whom the database itself belonged to.
    pub database_owner: Option<String>,
    /// How its texts are encoded.
    pub encoding: Option<String>,
}

/// What an archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Rows by the object id that the table has on its server.
    pub tables: BTreeMap<u32, u64>,
    /// Number of large objects.
    pub large_objects: u64,
}

/// An entry that has data.
#[derive(Clone, Copy)]
struct DataEntry {
    /// The table's object id; nothing where it is large objects.
    table: Option<u32>,
    /// Where its data begin, if the list says so: it does where the archive was written into a file.
    position: Option<u64>,
}

/// What the list says of the entry that is being read.
#[derive(Clone, Copy, Default)]
struct Entry {
    number: i64,
    has_data: bool,
    object: u32,
    table_data: bool,
    large_objects: bool,
    database: bool,
    encoding: bool,
}

/// Where the reader stands.
#[derive(Clone, Copy)]
enum Stage {
    Head(usize),
    Count,
    Entry(usize),
    BlockKind,
    BlockNumber { large: bool, position: u64 },
    TableChunk { table: u32 },
    LargeObject,
    LargeObjectChunk,
}

/// Reads an archive from the pieces in which it comes.
pub struct Archive {
    stage: Stage,
    field: Field,
    /// Bytes of the current chunk that are still to come.
    chunk: u64,
    rows: Rows,
    offset: u64,
    layout: u8,
    offset_bytes: u8,
    entries_left: i64,
    entry: Entry,
    awaited: BTreeMap<i64, DataEntry>,
    reading: Reading,
    listed: bool,
    list: Listed,
    tables: Vec<u32>,
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            stage: Stage::Head(0),
            field: Field::new(Kind::Byte),
            chunk: 0,
            rows: Rows::default(),
            offset: 0,
            layout: 0,
            offset_bytes: 0,
            entries_left: 0,
            entry: Entry::default(),
            awaited: BTreeMap::new(),
            reading: Reading::default(),
            listed: false,
            list: Listed::default(),
            tables: Vec::new(),
        }
    }
}

impl Archive {
    /// Takes the next piece.
    ///
    /// # Errors
    /// `Corrupt` or `Unsupported` where it cannot be what `pg_dump` writes.
    pub fn feed(&mut self, mut piece: &[u8]) -> Result<()> {
        while !piece.is_empty() {
            let taken = if self.chunk > 0 { self.take_chunk(piece)? } else { self.take_field(piece)? };
            self.offset = self.offset.saturating_add(taken as u64);
            piece = piece.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// The tables with data, once the list was read: from then on `pg_dump` holds its locks on all of them.
    pub fn listed(&self) -> Option<&[u32]> {
        self.listed.then_some(self.tables.as_slice())
    }

    /// What the list says, once it was read.
    pub fn list(&self) -> Option<&Listed> {
        self.listed.then_some(&self.list)
    }

    /// Ends it.
    ///
    /// # Errors
    /// `Corrupt` where more must follow.
    pub fn finish(self) -> Result<Reading> {
        let at_rest = matches!(self.stage, Stage::BlockKind) && self.field.is_untouched();
        if at_rest && self.awaited.is_empty() {
            return Ok(self.reading);
        }
        let what = if !self.listed {
            "it breaks off in its list of contents".to_owned()
        } else if at_rest {
            format!("the data of {} of its entries are missing", self.awaited.len())
        } else {
            "it breaks off within data".to_owned()
        };
        Err(self.wrong(&what))
    }

    fn wrong(&self, what: &str) -> Error {
        Error::corrupt(format!("the archive is not whole: {what}, at byte {}", self.offset))
            .hint("run the backup again; if it happens again, try the pg_dump of the server's own version")
    }

    fn take_chunk(&mut self, piece: &[u8]) -> Result<usize> {
        let length = usize::try_from(self.chunk).unwrap_or(usize::MAX).min(piece.len());
        if matches!(self.stage, Stage::TableChunk { .. }) {
            let part = piece.get(..length).unwrap_or_default();
            if !self.rows.count(part) {
                return Err(self.wrong("something stands behind the last row of a table"));
            }
        }
        self.chunk = self.chunk.saturating_sub(length as u64);
        Ok(length)
    }

    fn take_field(&mut self, piece: &[u8]) -> Result<usize> {
        if matches!(self.stage, Stage::BlockKind) && self.awaited.is_empty() {
            return Err(self.wrong("bytes stand behind its end"));
        }
        let taken = self.field.take(piece).ok_or_else(|| self.wrong("a number is malformed"))?;
        if let Some(value) = self.field.value() {
            self.stage = self.took(value, taken as u64)?;
            self.field = Field::new(self.kind());
        }
        Ok(taken)
    }

    /// What comes next.
    fn kind(&self) -> Kind {
        match self.stage {
            Stage::Head(at) => HEAD.get(at).map_or(Kind::Byte, |field| field.kind(self.layout)),
            Stage::Entry(at) => ENTRY.get(at).map_or(Kind::Byte, |field| field.kind(self.offset_bytes)),
            Stage::BlockKind => Kind::Byte,
            Stage::Count
            | Stage::BlockNumber { .. }
            | Stage::TableChunk { .. }
            | Stage::LargeObject
            | Stage::LargeObjectChunk => Kind::Int,
        }
    }

    /// Takes a value, of which the piece at hand held so many bytes, and says what follows.
    fn took(&mut self, value: Value, taken: u64) -> Result<Stage> {
        match (self.stage, value) {
            (Stage::Head(at), value) => self.took_head(at, &value),
            (Stage::Count, Value::Int(count @ 1..=ENTRIES_MAX)) => {
                self.entries_left = count;
                Ok(Stage::Entry(0))
            }
            (Stage::Count, Value::Int(count)) if count > ENTRIES_MAX => Err(Error::new(
                ErrorKind::Unsupported,
                format!("the archive has {count} entries: too many to read"),
            )),
            (Stage::Entry(at), value) => self.took_entry(at, &value),
            (Stage::BlockKind, Value::Byte(kind @ (1 | 3))) => {
                let position = self.offset.saturating_add(taken).saturating_sub(1);
                Ok(Stage::BlockNumber { large: kind == 3, position })
            }
            (Stage::BlockNumber { large, position }, Value::Int(number)) => {
                self.begin_block(number, large, position)
            }
            (stage @ Stage::TableChunk { table }, Value::Int(length @ 0..)) => {
                self.took_chunk_length(stage, table, length)
            }
            (Stage::LargeObject, Value::Int(0)) => Ok(Stage::BlockKind),
            (Stage::LargeObject, Value::Int(_)) => {
                self.reading.large_objects = self.reading.large_objects.saturating_add(1);
                Ok(Stage::LargeObjectChunk)
            }
            (Stage::LargeObjectChunk, Value::Int(0)) => Ok(Stage::LargeObject),
            (Stage::LargeObjectChunk, Value::Int(length @ 1..)) => {
                self.chunk = length.unsigned_abs();
                Ok(Stage::LargeObjectChunk)
            }
            _ => Err(self.wrong("a number is out of range")),
        }
    }

    fn took_head(&mut self, at: usize, value: &Value) -> Result<Stage> {
        let field = HEAD.get(at).copied().unwrap_or(HeadField::Other(Kind::Byte));
        match (field, value) {
            (HeadField::Constant(expected), Value::Byte(byte)) if *byte != expected => {
                return Err(self.wrong("it does not begin as an archive of pg_dump does"));
            }
            (HeadField::Layout, Value::Byte(layout)) => {
                if !KNOWN.contains(layout) {
                    let what = format!(
                        "pg_dump writes archives of version 1.{layout}, which this version of Strongroom does not know"
                    );
                    return Err(Error::new(ErrorKind::Unsupported, what)
                        .hint("use a pg_dump of PostgreSQL 9.0 to 18, or a newer Strongroom"));
                }
                self.layout = *layout;
            }
            (HeadField::OffsetBytes, Value::Byte(bytes @ (4 | 8))) => self.offset_bytes = *bytes,
            (HeadField::Format, Value::Byte(CUSTOM))
            | (HeadField::Compression, Value::Byte(0) | Value::Int(0))
            | (HeadField::Constant(_) | HeadField::Other(_), _) => {}
            (HeadField::Compression, _) => {
                return Err(self.wrong("it is compressed, though -Z0 was asked for"));
            }
            _ => return Err(self.wrong("its header is malformed")),
        }
        let next = at.saturating_add(1);
        Ok(if next < HEAD.len() { Stage::Head(next) } else { Stage::Count })
    }

    fn took_entry(&mut self, at: usize, value: &Value) -> Result<Stage> {
        let field = ENTRY.get(at).copied().unwrap_or(EntryField::Text);
        match (field, value) {
            (EntryField::Number, Value::Int(number @ 1..)) => {
                self.entry = Entry { number: *number, ..Entry::default() };
            }
            (EntryField::HasData, Value::Int(flag @ 0..=1)) => self.entry.has_data = *flag == 1,
            (EntryField::Object, Value::Text(Some(text))) => {
                let object = text.as_str().and_then(|text| text.parse().ok());
                self.entry.object = object.ok_or_else(|| self.wrong("an object id is no number"))?;
            }
            (EntryField::Class, Value::Text(Some(text))) => {
                let class = text.as_str().unwrap_or_default();
                self.entry.table_data = class == "TABLE DATA";
                self.entry.large_objects = class == "BLOBS";
                self.entry.database = class == "DATABASE";
                self.entry.encoding = class == "ENCODING";
            }
            (EntryField::Definition, Value::Text(Some(text))) if self.entry.encoding => {
                // `SET client_encoding = 'UTF8';`
                let name = text.as_str().and_then(|text| text.split('\'').nth(1));
                self.list.encoding = name.map(str::to_owned);
            }
            (EntryField::Owner, Value::Text(Some(text))) => self.took_owner(text.as_str()),
            (EntryField::Dependency, Value::Text(Some(_))) => return Ok(Stage::Entry(at)),
            (EntryField::Offset, Value::Offset { state, position }) => {
                return self.end_entry(*state, *position);
            }
            (
                EntryField::Definition
                | EntryField::Owner
                | EntryField::Text
                | EntryField::AccessMethod
                | EntryField::Dependency,
                Value::Text(_),
            )
            | (EntryField::Int | EntryField::RelationKind, Value::Int(_)) => {}
            _ => return Err(self.wrong("an entry is malformed")),
        }
        let mut next = at.saturating_add(1);
        while ENTRY.get(next).is_some_and(|field| !field.is_in(self.layout)) {
            next = next.saturating_add(1);
        }
        Ok(Stage::Entry(next))
    }

    fn took_owner(&mut self, owner: Option<&str>) {
        let Some(owner) = owner.filter(|owner| !owner.is_empty()) else { return };
        if self.entry.database {
            self.list.database_owner = Some(owner.to_owned());
        } else if self.list.owners.len() < OWNERS_MAX {
            self.list.owners.insert(owner.to_owned());
        }
    }

    fn end_entry(&mut self, state: u8, position: u64) -> Result<Stage> {
        let place = match (self.entry.has_data, state, position) {
            (true, 1, 0) => Some(None),
            (true, 2, position) => Some(Some(position)),
            (false, 3, 0) => None,
            _ => return Err(self.wrong("an entry is of two minds whether it has data")),
        };
        if let Some(position) = place {
            self.await_data(position)?;
        }
        self.entries_left = self.entries_left.saturating_sub(1);
        if self.entries_left > 0 {
            return Ok(Stage::Entry(0));
        }
        self.listed = true;
        Ok(Stage::BlockKind)
    }

    fn await_data(&mut self, position: Option<u64>) -> Result<()> {
        let entry = self.entry;
        if !entry.table_data && !entry.large_objects {
            let what = "the archive holds data of a kind that this version of Strongroom does not know";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        if self.awaited.len() >= DATA_ENTRIES_MAX {
            let what = format!(
                "the archive holds the data of more than {DATA_ENTRIES_MAX} tables: too many to check"
            );
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        let table = entry.table_data.then_some(entry.object);
        self.tables.extend(table);
        if self.awaited.insert(entry.number, DataEntry { table, position }).is_some() {
            return Err(self.wrong("two entries bear the same number"));
        }
        Ok(())
    }

    fn begin_block(&mut self, number: i64, large: bool, position: u64) -> Result<Stage> {
        let entry = self.awaited.remove(&number).filter(|entry| entry.table.is_none() == large);
        let entry =
            entry.ok_or_else(|| self.wrong("data come that no entry announced, or for the second time"))?;
        if entry.position.is_some_and(|announced| announced != position) {
            return Err(self.wrong("data do not lie where the list says"));
        }
        self.rows = Rows::default();
        Ok(entry.table.map_or(Stage::LargeObject, |table| Stage::TableChunk { table }))
    }

    fn took_chunk_length(&mut self, stage: Stage, table: u32, length: i64) -> Result<Stage> {
        if length > 0 {
            self.chunk = length.unsigned_abs();
            return Ok(stage);
        }
        let rows = self.rows.ended().ok_or_else(|| self.wrong("the rows of a table have no end mark"))?;
        if self.reading.tables.insert(table, rows).is_some() {
            return Err(self.wrong("it holds the rows of a table twice"));
        }
        Ok(Stage::BlockKind)
    }
}

#[cfg(test)]
mod tests;
