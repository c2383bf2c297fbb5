//! A session with the server: `psql`, told SQL line by line, its answers read as they come.
//!
//! Invariants: an answer is whole or an error: it ends with a line that COPY's text format cannot write. After an error
//! of the server `psql` ends, so nothing is ever asked in a transaction that failed.

use std::ffi::OsString;

use crate::error::{Error, ErrorKind, Result};
use crate::source::command::Running;
use crate::source::server::client::Client;
use crate::source::server::{Options, Row};
use crate::source::stream::Patience;

/// Longest answer that is read, in bytes: rows that a service asks for.
const ANSWER_MAX: usize = 256 << 20;
/// What is read at once.
const PIECE: usize = 64 << 10;
/// How `psql` is to behave: no settings of the user's, nothing but values, and an end at the first error.
const MANNERS: [&str; 6] =
    ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--field-separator=|", "--set=ON_ERROR_STOP=1"];

/// An open session; dropped, it ends, and its transaction with it.
pub(super) struct Session {
    /// Nothing once it has ended.
    psql: Option<Running>,
    unread: Vec<u8>,
    asked: u64,
}

impl Session {
    /// Opens one.
    pub(super) fn open(mut client: Client, options: &Options, patience: &Patience) -> Result<Self> {
        client.arguments.extend(MANNERS.map(OsString::from));
        Ok(Self { psql: Some(client.start(options, patience)?), unread: Vec::new(), asked: 0 })
    }

    /// Tells it SQL or `psql`'s own commands, and gives the lines of its answer. An error ends the session.
    pub(super) fn ask(&mut self, sql: &str) -> Result<Vec<String>> {
        self.asked = self.asked.saturating_add(1);
        let end = format!("\\# {}", self.asked);
        let psql = self.psql.as_mut().ok_or_else(ended)?;
        // Where it reads no more, how it ended tells why.
        let told = psql.tell(format!("{sql}\n\\echo '\\{end}'\n").as_bytes()).is_ok();
        let lines = if told { self.read_until(end.as_bytes())? } else { None };
        lines.ok_or_else(|| self.close().err().unwrap_or_else(ended))
    }

    /// The same for a query, as rows.
    pub(super) fn rows(&mut self, query: &str) -> Result<Vec<Row>> {
        let query = query.trim().trim_end_matches(';');
        let lines = self.ask(&format!("COPY (\n{query}\n) TO STDOUT;"))?;
        Ok(lines.iter().map(|line| columns(line)).collect())
    }

    /// The same for a query whose rows are queries: the rows of all of them.
    pub(super) fn rows_of_all(&mut self, query: &str) -> Result<Vec<Row>> {
        let lines =
            self.ask(&format!("SELECT 'COPY (' || q || ') TO STDOUT' FROM (\n{query}\n) AS t(q) \\gexec"))?;
        Ok(lines.iter().map(|line| columns(line)).collect())
    }

    /// Ends it.
    pub(super) fn close(&mut self) -> Result<()> {
        self.psql.take().map_or(Ok(()), Running::finish)
    }

    /// The lines before the end mark; nothing where it ends before that.
    fn read_until(&mut self, end: &[u8]) -> Result<Option<Vec<String>>> {
        let mut lines = Vec::new();
        let mut bytes = 0usize;
        let mut piece = vec![0; PIECE];
        loop {
            let mut rest = self.unread.as_slice();
            while let Some((line, behind)) = split_line(rest) {
                rest = behind;
                if line == end {
                    self.unread = rest.to_vec();
                    return Ok(Some(lines));
                }
                bytes = bytes.saturating_add(line.len());
                lines.push(String::from_utf8_lossy(line).into_owned());
            }
            self.unread = rest.to_vec();
            if bytes.saturating_add(self.unread.len()) > ANSWER_MAX {
                return Err(Error::new(ErrorKind::Unsupported, "the server's answer is longer than 256 MiB"));
            }
            match self.psql.as_mut().ok_or_else(ended)?.read(&mut piece)? {
                0 => return Ok(None),
                read => self.unread.extend_from_slice(piece.get(..read).unwrap_or_default()),
            }
        }
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Io, "the command psql ended without an answer")
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(at)?;
    Some((line, rest.get(1..)?))
}

/// The columns of a line of COPY's text format.
fn columns(line: &str) -> Row {
    line.split('\t').map(|column| (column != "\\N").then(|| plain(column))).collect()
}

/// A value without its escapes.
fn plain(column: &str) -> String {
    let mut text = String::with_capacity(column.len());
    let mut characters = column.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => match characters.next() {
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('v') => '\u{b}',
                Some(other) => other,
                None => '\\',
            },
            character => character,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_as_copy_writes_them() {
        assert_eq!(columns("a\t\\N\t"), [Some("a".to_owned()), None, Some(String::new())]);
        assert_eq!(columns("\\\\N\tx\\ty\\n\\\\"), [Some("\\N".to_owned()), Some("x\ty\n\\".to_owned())]);
        assert_eq!(columns(""), [Some(String::new())]);
    }

    #[test]
    fn lines_are_split_one_by_one() {
        assert_eq!(split_line(b"a\nb"), Some((&b"a"[..], &b"b"[..])));
        assert_eq!(split_line(b"\n"), Some((&b""[..], &b""[..])));
        assert_eq!(split_line(b"ab"), None);
    }
}
