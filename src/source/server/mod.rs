//! Database servers as sources: what their own clients write, looked at while it passes; and any other command.
//!
//! Invariants: a dump flows through and is held nowhere. Its end is an end only where the client said so, the dump
//! itself said so, and the rows in it are those that the server counted in the same view of its data. Passwords stand
//! in no argument and in no message.

pub mod address;
pub mod client;
mod file_name;
pub mod mysql;
pub mod postgres;
pub mod redis;
mod remedy;
pub mod stream;
pub mod target;

use std::time::Duration;

use super::stream::Patience;
use crate::error::{Error, Result};
use crate::format::snapshot::DumpReport;
use crate::report::Reporter;

/// A server that can be dumped, again and again.
pub trait Server: Send + Sync {
    /// What it is, for messages: `PostgreSQL at db.example:5432`. Errors of its dumps say it themselves.
    fn name(&self) -> String;

    /// Where the dumps will lie in the snapshot, as far as that is known without asking the server: the files, or the
    /// folder above them. The same every night, for the manifest's paths.
    fn roots(&self) -> Vec<Vec<u8>>;

    /// Looks at the server: compares versions, finds the databases, tries what the dumps need. Gives the dumps in the
    /// order in which they are to be taken; none of them has begun.
    ///
    /// # Errors
    /// Whatever would keep a dump from being whole, with what to do about it.
    fn dumps<'a>(
        &'a self,
        patience: &Patience,
        reporter: &'a dyn Reporter,
    ) -> Result<Vec<Box<dyn Dump + 'a>>>;

    /// Whether a backup goes on without it where it cannot be dumped.
    fn dispensable(&self) -> bool {
        false
    }

    /// Asks the one database that is dumped about the present, in SQL.
    ///
    /// # Errors
    /// Where it cannot be asked.
    fn ask(&self, question: &str, patience: &Patience) -> Result<Vec<Row>> {
        let _ = (question, patience);
        Err(Error::refused(format!("{} answers no questions", self.name())))
    }
}

/// A row of an answer: its columns as text, NULL being nothing.
pub type Row = Vec<Option<String>>;

/// One file that a client writes.
pub trait Dump: Send {
    /// Its place in the snapshot, such as `postgres/authentik.dump`.
    fn place(&self) -> &[u8];

    /// Fills a buffer with what comes next, beginning at the first call; gives less than all of it only at the end.
    ///
    /// # Errors
    /// Where the client fails, the server is silent too long, or the bytes are not what they must be. After an error
    /// it is not called again.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize>;

    /// Ends it, once `fill` gave all: judges how the client ended and what came.
    ///
    /// # Errors
    /// Where this is no whole dump.
    fn finish(self: Box<Self>) -> Result<Finished>;
}

/// A dump that was taken whole.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What the manifest says of it.
    pub report: DumpReport,
    /// What the questions of a service were answered in the dump's own view of the data, in the order of the questions:
    /// rows of columns, NULL being nothing.
    pub answers: Vec<Vec<Row>>,
}

/// How to go about a server, whatever its kind.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What stands before the command line of each client, such as `docker exec -i db`; empty where it runs here.
    pub prefix: Vec<std::ffi::OsString>,
    /// Variables of our environment that are not for the clients.
    pub hidden: Vec<std::ffi::OsString>,
    /// Databases to take; all that are not the server's own where none is named, neither here nor in the address.
    pub databases: Vec<String>,
    /// Tables whose rows are left out, as the clients take them: their definitions are kept.
    pub without_rows: Vec<String>,
    /// Questions of a service, in SQL, one result each; asked of the one database that is dumped.
    pub questions: Vec<String>,
    /// Questions whose answers are queries, one a row: those are asked in turn, and their rows together are the answer. They
    /// come behind `questions`. PostgreSQL alone takes them.
    pub generated: Vec<String>,
    /// Plain names of tables whose rows are left out too, in whatever schema, unless a table that is kept refers to them.
    /// PostgreSQL alone takes them.
    pub transient: Vec<String>,
    /// Whether a backup goes on without this server where it cannot be dumped: that is then a problem, and no error.
    pub dispensable: bool,
    /// How long the server may say nothing.
    pub silence: Option<Duration>,
}
