//! What a server has beside its databases: roles, what they may, tablespaces; as SQL of `pg_dumpall`.
//!
//! Invariant: it is whole only where its last line says so.

use super::{Facts, Postgres, place, remedy};
use crate::error::{Error, Result};
use crate::format::snapshot::{DumpKind, DumpReport};
use crate::source::command::Running;
use crate::source::server::{Dump, Finished};
use crate::source::stream::Patience;

const BEGINNING: &[u8] = b"--\n-- PostgreSQL database cluster dump\n--\n";
const END: &[u8] = b"--\n-- PostgreSQL database cluster dump complete\n--";
/// Bytes kept of the end: the mark, and room for empty lines.
const KEPT: usize = 256;

/// The dump of a server's globals.
pub(super) struct GlobalsDump<'a> {
    server: &'a Postgres,
    facts: Facts,
    patience: Patience,
    running: Option<Running>,
    beginning: Vec<u8>,
    end: Vec<u8>,
    bytes: u64,
}

impl<'a> GlobalsDump<'a> {
    pub(super) fn new(server: &'a Postgres, facts: Facts, patience: Patience) -> Self {
        Self { server, facts, patience, running: None, beginning: Vec::new(), end: Vec::new(), bytes: 0 }
    }

    fn explain(&self, error: Error) -> Error {
        remedy::explain(error, format!("the roles of {} cannot be dumped", self.server.shown()))
    }

    fn start(&self) -> Result<Running> {
        let mut client = self.server.connection.client("pg_dumpall", &self.facts.maintenance);
        client.arguments.push("--globals-only".into());
        client.arguments.push(format!("--database={}", self.facts.maintenance).into());
        if !self.facts.reads_passwords {
            client.arguments.push("--no-role-passwords".into());
        }
        let mut running = client.start(&self.server.options, &self.patience)?;
        running.told_all();
        Ok(running)
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut running = match self.running.take() {
            Some(running) => running,
            None => self.start()?,
        };
        let read = running.fill(buffer)?;
        self.running = Some(running);
        let piece = buffer.get(..read).unwrap_or_default();
        let wanted = BEGINNING.len().saturating_sub(self.beginning.len());
        self.beginning.extend(piece.iter().take(wanted));
        self.end.extend_from_slice(piece.get(read.saturating_sub(KEPT)..).unwrap_or_default());
        self.end.drain(..self.end.len().saturating_sub(KEPT));
        self.bytes = self.bytes.saturating_add(read as u64);
        Ok(read)
    }

    fn judge(&mut self) -> Result<()> {
        self.running.take().map_or(Ok(()), Running::finish)?;
        if self.beginning != BEGINNING || !self.end.trim_ascii_end().ends_with(END) {
            return Err(Error::corrupt("what pg_dumpall wrote has not its first or its last line")
                .hint("run the backup again; if it happens again, run `pg_dumpall --globals-only` by hand"));
        }
        Ok(())
    }
}

impl Dump for GlobalsDump<'_> {
    fn place(&self) -> &[u8] {
        place::GLOBALS.as_bytes()
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.take(buffer).map_err(|error| self.explain(error))
    }

    fn finish(mut self: Box<Self>) -> Result<Finished> {
        self.judge().map_err(|error| self.explain(error))?;
        let mut messages = Vec::new();
        if !self.facts.reads_passwords {
            messages.push("the roles are without their passwords, which this user may not read".to_owned());
        }
        let report = DumpReport {
            place: place::GLOBALS.as_bytes().to_vec(),
            kind: DumpKind::PostgresGlobals,
            database: None,
            server: Some(self.facts.server),
            client: Some(self.facts.client),
            bytes: self.bytes,
            tables: Vec::new(),
            without_rows: Vec::new(),
            messages,
        };
        Ok(Finished { report, answers: Vec::new() })
    }
}
