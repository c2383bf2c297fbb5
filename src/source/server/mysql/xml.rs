//! What `mariadb --xml` and `mysql --xml` answer: the one form in which NULL is told from the word.
//!
//! Invariant: an answer of another form is an error, never fewer rows.

use crate::error::{Error, ErrorKind, Result};

/// A row: columns, NULL being nothing.
pub(super) use crate::source::server::Row;

const FIELD: &str = "<field name=\"";
const NOTHING: &str = "\" xsi:nil=\"true\" />";

/// The result sets of an answer, in their order.
pub(super) fn parse(text: &str) -> Result<Vec<Vec<Row>>> {
    let mut sets: Vec<Vec<Row>> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = rest.get(at..).unwrap_or_default();
        let behind = if let Some(behind) = rest.strip_prefix(FIELD) {
            let row = sets.last_mut().and_then(|set| set.last_mut()).ok_or_else(strange)?;
            let (value, behind) = field(behind).ok_or_else(strange)?;
            row.push(value);
            behind
        } else if let Some(behind) = rest.strip_prefix("<row>") {
            sets.last_mut().ok_or_else(strange)?.push(Row::new());
            behind
        } else if let Some(behind) = rest.strip_prefix("<resultset ") {
            sets.push(Vec::new());
            behind
        } else {
            let known = ["<?xml ", "</row>", "</resultset>"].iter().find_map(|tag| rest.strip_prefix(tag));
            known.ok_or_else(strange)?
        };
        rest = behind;
    }
    Ok(sets)
}

/// A value, and what stands behind its field.
fn field(text: &str) -> Option<(Option<String>, &str)> {
    let name_ends = text.find('"')?;
    let rest = text.get(name_ends..)?;
    if let Some(behind) = rest.strip_prefix(NOTHING) {
        return Some((None, behind));
    }
    let (value, behind) = rest.strip_prefix("\">")?.split_once("</field>")?;
    if value.contains('<') {
        return None;
    }
    Some((Some(plain(value)), behind))
}

/// A value without its escapes. What they yield is not looked at again.
fn plain(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut parts = value.split('&');
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let known = [("lt;", '<'), ("gt;", '>'), ("quot;", '"'), ("amp;", '&'), ("apos;", '\'')];
        match known.iter().find_map(|(escape, sign)| Some((sign, part.strip_prefix(escape)?))) {
            Some((sign, rest)) => {
                text.push(*sign);
                text.push_str(rest);
            }
            None => {
                text.push('&');
                text.push_str(part);
            }
        }
    }
    text
}

fn strange() -> Error {
    Error::new(ErrorKind::Io, "the client gave an answer of another form than was asked for")
        .hint("use the clients of MariaDB 10.3, MySQL 5.7 or newer, and look whether their option files change what they print")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "<?xml version=\"1.0\"?>\n\n<resultset statement=\"select &apos;a&lt;b\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n  <row>\n\t<field name=\"a&lt;b &quot;\">a&lt;b&amp;lt;</field>\n\t<field name=\"NULL\" xsi:nil=\"true\" />\n\t<field name=\"x\">NULL</field>\n\t<field name=\"y\">x\ny&</field>\n  </row>\n\n  <row>\n\t<field name=\"a\"></field>\n  </row>\n</resultset>\n<?xml version=\"1.0\"?>\n\n<resultset statement=\"select 1 from dual where 0\" xmlns:xsi=\"x\"></resultset>\n";

    #[test]
    fn values_come_back() {
        let sets = parse(ANSWER).unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(sets[0][0], [text("a<b&lt;"), None, text("NULL"), text("x\ny&")]);
        assert_eq!(sets[0][1], [text("")]);
        assert!(sets[1].is_empty() && sets.len() == 2);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn another_form_is_refused() {
        for text in [
            "<row>",
            "<html>",
            "<field name=\"x\">1</field>",
            "<resultset x><row><field name=\"x\">1",
            "<resultset x><row><field name=\"x\"",
            "<resultset x><row><field name=\"x\"><y></field>",
        ] {
            assert_eq!(parse(text).unwrap_err().kind(), ErrorKind::Io, "{text}");
        }
    }
}
