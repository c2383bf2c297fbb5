//! A session with the server: its command-line client, told SQL, its answers read as they come.
//!
//! Invariants: an answer is whole or an error: it ends with a result that was asked for behind it. After an error of the
//! server the client ends, so nothing is ever asked in a transaction that failed.

use std::ffi::OsString;
use std::fmt::Write;

use super::xml;
pub(super) use super::xml::Row;
use crate::error::{Error, ErrorKind, Result};
use crate::source::command::Running;
use crate::source::server::Options;
use crate::source::server::client::Client;
use crate::source::stream::Patience;

/// Longest answer that is read, in bytes: rows that a service asks for.
const ANSWER_MAX: usize = 256 << 20;
/// What is read at once.
const PIECE: usize = 64 << 10;
/// How the client is to behave: answers at once, in a form in which NULL is told from the word, and an end at the first
/// error. A host that does not answer is given up.
const MANNERS: [&str; 9] = [
    "--batch",
    "--xml",
    "--unbuffered",
    "--silent",
    "--skip-reconnect",
    "--default-character-set=utf8mb4",
    "--connect-timeout=30",
    "--skip-safe-updates",
    "--loose-skip-print-query-on-error",
];

/// An open session; dropped, it ends, and with it its transaction and its locks.
pub(super) struct Session {
    /// Nothing once it has ended.
    client: Option<Running>,
    asked: u64,
}

impl Session {
    /// Opens one, in a database where one is named.
    pub(super) fn open(
        mut client: Client,
        database: Option<&str>,
        options: &Options,
        patience: &Patience,
    ) -> Result<Self> {
        client.arguments.extend(MANNERS.map(OsString::from));
        client.arguments.extend(database.map(|name| OsString::from(format!("--database={name}"))));
        Ok(Self { client: Some(client.start(options, patience)?), asked: 0 })
    }

    /// Tells it statements and gives the results of those that have some. An error ends the session.
    pub(super) fn ask(&mut self, sql: &str) -> Result<Vec<Vec<Row>>> {
        self.asked = self.asked.saturating_add(1);
        let number = self.asked;
        let client = self.client.as_mut().ok_or_else(ended)?;
        let sql = sql.trim().trim_end_matches(';');
        // Where it reads no more, how it ended tells why.
        let told = client.tell(format!("{sql};\nSELECT {number} AS strongroom_end;\n").as_bytes()).is_ok();
        let end = format!("<field name=\"strongroom_end\">{number}</field>\n  </row>\n</resultset>\n");
        let answer = if told { self.read_until(end.as_bytes())? } else { None };
        let answer = answer.ok_or_else(|| self.close().err().unwrap_or_else(ended))?;
        let mut sets = xml::parse(&String::from_utf8_lossy(&answer))?;
        sets.pop();
        Ok(sets)
    }

    /// The same for one query.
    pub(super) fn rows(&mut self, query: &str) -> Result<Vec<Row>> {
        let mut sets = self.ask(query)?.into_iter();
        match (sets.next(), sets.next()) {
            (Some(rows), None) => Ok(rows),
            _ => Err(Error::refused("a question to the server is to have just one result")),
        }
    }

    /// Ends it.
    pub(super) fn close(&mut self) -> Result<()> {
        self.client.take().map_or(Ok(()), Running::finish)
    }

    /// What comes up to the end mark, behind which nothing comes before the next question; nothing where the client
    /// ends before that.
    fn read_until(&mut self, end: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut answer = Vec::new();
        let mut piece = vec![0; PIECE];
        while !answer.ends_with(end) {
            if answer.len() > ANSWER_MAX {
                return Err(Error::new(ErrorKind::Unsupported, "the server's answer is longer than 256 MiB"));
            }
            match self.client.as_mut().ok_or_else(ended)?.read(&mut piece)? {
                0 => return Ok(None),
                read => answer.extend_from_slice(piece.get(..read).unwrap_or_default()),
            }
        }
        Ok(Some(answer))
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Io, "the server's client ended without an answer")
}

/// A name as SQL takes it for what it is.
pub(super) fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as SQL takes it for what it is, whatever its mode makes of a backslash.
pub(super) fn text(text: &str) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    let mut digits = String::new();
    for byte in text.bytes() {
        // Writing to a text does not fail.
        write!(digits, "{byte:02x}").ok();
    }
    format!("CONVERT(X'{digits}' USING utf8mb4)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(name("a`b;"), "`a``b;`");
        assert_eq!(text("a'"), "CONVERT(X'6127' USING utf8mb4)");
        assert_eq!(text(""), "''");
    }
}
