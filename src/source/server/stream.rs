//! What a command writes, or whoever holds the other end of a pipe, as a dump of which nothing more is known.
//!
//! Invariants: the stream is never held whole, in memory or on disk. Its end counts only once it ended well: a command
//! that failed, or a stream without a byte, is no dump.

use std::fs::File;
use std::sync::Mutex;

use super::{Dump, Finished, Server};
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::{DumpKind, DumpReport};
use crate::report::{Reporter, printable};
use crate::source::command::{CommandLine, Running};
use crate::source::stream::{Patience, Stream};

/// A stream that becomes a file.
pub struct StreamSource {
    /// Its place in the snapshot.
    pub place: Vec<u8>,
    /// Who writes it.
    pub origin: Origin,
    /// Whether a stream without a byte is a file without one, rather than a failure.
    pub may_be_empty: bool,
    /// How long the other side may say nothing.
    pub silence: Option<std::time::Duration>,
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
                    // Not `Abandoned`: that would make the backup start again, and this fail again.
                    Error::refused("standard input cannot be read a second time")
                        .hint("run the backup again: what it stored is reused")
                })?;
                Ok(Opened::File(Stream::new(file, patience.clone())))
            }
            Self::Command(line) => line.start(patience).map(|running| Opened::Command(Box::new(running))),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::File(_) => "standard input".to_owned(),
            Self::Command(line) => format!("the command {}", printable(line.program.as_encoded_bytes())),
        }
    }
}

/// A stream being read.
enum Opened {
    File(Stream),
    Command(Box<Running>),
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

impl Server for StreamSource {
    fn name(&self) -> String {
        self.origin.name()
    }

    fn roots(&self) -> Vec<Vec<u8>> {
        vec![self.place.clone()]
    }

    fn dumps<'a>(&'a self, patience: &Patience, _: &'a dyn Reporter) -> Result<Vec<Box<dyn Dump + 'a>>> {
        let patience = Patience { silence: self.silence.or(patience.silence), ..patience.clone() };
        Ok(vec![Box::new(StreamDump { source: self, patience, opened: None, bytes: 0 })])
    }
}

/// The one dump of a stream.
struct StreamDump<'a> {
    source: &'a StreamSource,
    patience: Patience,
    opened: Option<Opened>,
    bytes: u64,
}

impl Dump for StreamDump<'_> {
    fn place(&self) -> &[u8] {
        &self.source.place
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let opened = match &mut self.opened {
            Some(opened) => opened,
            none => none.insert(self.source.origin.open(&self.patience)?),
        };
        let read = opened.fill(buffer)?;
        self.bytes = self.bytes.saturating_add(read as u64);
        Ok(read)
    }

    fn finish(self: Box<Self>) -> Result<Finished> {
        self.opened.map_or(Ok(()), Opened::finish)?;
        if self.bytes == 0 && !self.source.may_be_empty {
            return Err(nothing_came(&self.source.origin));
        }
        let report = DumpReport {
            place: self.source.place.clone(),
            kind: DumpKind::Command,
            database: None,
            server: None,
            client: None,
            bytes: self.bytes,
            tables: Vec::new(),
            without_rows: Vec::new(),
            messages: Vec::new(),
        };
        Ok(Finished { report, answers: Vec::new() })
    }
}

fn nothing_came(origin: &Origin) -> Error {
    Error::refused(format!("{} gave not one byte, and an empty file is no backup", origin.name()))
        .hint("look why nothing came; if that is right, say --stdin-allow-empty, or `allow-empty = true` in a configuration")
}
