//! A stream as a source: one file of a snapshot, and the folders above it.
//!
//! Invariants: the stream is never held whole, in memory or on disk. The file enters the tree only once the stream
//! ended well: a command that failed, or a stream without a byte, makes no snapshot that looks good.

use std::fs::File;
use std::sync::Mutex;

use super::event::{Change, Event, Finished};
use super::read::{Cutter, Pool, cut_stream};
use super::scan::Scanner;
use crate::error::{Error, ErrorKind, Result};
use crate::report::printable;
use crate::repository::host;
use crate::source::command::{CommandLine, Running};
use crate::source::stream::{self, Patience, Stream};

/// A stream that becomes a file.
pub struct StreamSource {
    /// Its place in the snapshot.
    pub place: Vec<u8>,
    /// Who writes it.
    pub origin: Origin,
    /// Whether a stream without a byte is a file without one, rather than a failure.
    pub may_be_empty: bool,
    /// What the reading waits for, and for how long.
    pub patience: Patience,
}

/// Who writes a stream.
pub enum Origin {
    /// Whoever holds the other end of an open file; taken by the first attempt, for nobody writes it again.
    File(Mutex<Option<File>>),
    /// A command.
    Command(CommandLine),
}

impl Origin {
    /// A stream from an open file, such as standard input.
    pub fn file(file: File) -> Self {
        Self::File(Mutex::new(Some(file)))
    }

    fn open(&self, patience: &Patience) -> Result<Opened> {
        match self {
            Self::File(file) => {
                let file = file.lock().ok().and_then(|mut file| file.take());
                let file = file.ok_or_else(|| {
                    Error::new(ErrorKind::Abandoned, "standard input cannot be read a second time")
                        .hint("run the backup again: what it stored is reused")
                })?;
                Ok(Opened::File(Stream::new(file, patience.clone())))
            }
            Self::Command(line) => line.start(patience).map(Opened::Command),
        }
    }
}

/// A stream being read.
enum Opened {
    File(Stream),
    Command(Running),
}

impl Opened {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::File(stream) => stream.fill(buffer).map_err(|error| match error.kind() {
                ErrorKind::Interrupted => error,
                _ => error.context("standard input"),
            }),
            Self::Command(running) => running.fill(buffer),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::File(_) => Ok(()),
            Self::Command(running) => running.finish(),
        }
    }
}

impl Scanner<'_> {
    /// Reads a stream to its end and makes a file of it.
    pub(super) fn visit_stream(&mut self, source: &StreamSource) -> Result<()> {
        self.push_folders_above(&source.place)?;
        let before = self.before(&source.place);
        let mut node = stream::node(host::now());
        let mut opened = source.origin.open(&source.patience)?;
        let pool = std::mem::replace(&mut self.pool, Pool::new());
        let chunker = self.dump_chunker;
        let size = &mut node.size;
        let mut fill = |buffer: &mut [u8], filled: &mut usize| {
            let room = buffer.get_mut(*filled..).unwrap_or_default();
            let wanted = room.len();
            let read = opened.fill(room)?;
            *size = size.saturating_add(read as u64);
            *filled = filled.saturating_add(read);
            Ok(read < wanted)
        };
        let first = pool.buffer(u64::MAX);
        let failed = cut_stream(&mut fill, first, &Cutter::Gear(chunker), &pool, &mut |bytes, cuts| {
            let length = cuts.last().copied().unwrap_or(0);
            self.push(Event::Data { bytes, cuts }, length)
        })?;
        self.pool = pool;
        failed.map_or(Ok(()), Err)?;
        opened.finish()?;
        if node.size == 0 && !source.may_be_empty {
            return Err(nothing_came(source));
        }
        let path = source.place.clone();
        let finished = Finished { path, node, before, holes: Vec::new(), database: None };
        self.push(Event::End(Box::new(finished)), 0)
    }

    fn push_folders_above(&mut self, place: &[u8]) -> Result<()> {
        let ends = place.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        for end in ends.collect::<Vec<_>>() {
            let path = place.get(..end).unwrap_or_default().to_vec();
            let node = stream::folder_node();
            let change = match self.before(&path) {
                None => Change::New,
                Some(before) if *before == node => Change::Unmodified,
                Some(_) => Change::Compare,
            };
            self.push(Event::Node { path, node, change }, 0)?;
        }
        Ok(())
    }
}

fn nothing_came(source: &StreamSource) -> Error {
    let who = match &source.origin {
        Origin::File(_) => "standard input".to_owned(),
        Origin::Command(line) => {
            format!("the command {}", printable(line.program.as_encoded_bytes()))
        }
    };
    Error::refused(format!("{who} gave not one byte, and an empty file is no backup"))
        .hint("look why nothing came; if that is right, say --stdin-allow-empty")
}
