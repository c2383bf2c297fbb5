//! Asks the server of a Vaultwarden's live database again about single rows.
//!
//! Invariant: only plain names become part of a question.

use super::contents::{Kind, is_plain_name, send_file};
use super::live::{Rows, unreadable_row};
use crate::error::Result;
use crate::source::server::Row;

/// Asks one question of the live database.
pub type Ask<'a> = dyn Fn(&str) -> Result<Vec<Row>> + 'a;

/// The rows of a database on a server.
pub(super) struct ServerRows<'a>(pub(super) &'a Ask<'a>);

impl Rows for ServerRows<'_> {
    fn current_size(&mut self, kind: Kind, owner: &str, file: &str) -> Result<Option<u64>> {
        if !is_plain_name(owner) || !is_plain_name(file) {
            return Ok(None);
        }
        match kind {
            Kind::Attachment => {
                let question = format!(
                    "SELECT file_size FROM attachments WHERE id = '{file}' AND cipher_uuid = '{owner}'"
                );
                let rows = (self.0)(&question)?;
                rows.first().map(|row| number(row).ok_or_else(unreadable_row)).transpose()
            }
            Kind::Send => {
                let question = format!("SELECT data FROM sends WHERE uuid = '{owner}' AND atype = 1");
                let rows = (self.0)(&question)?;
                let Some(row) = rows.first() else { return Ok(None) };
                match row.first().and_then(Option::as_deref).map(send_file) {
                    Some((Some(named), Some(size))) if named == file => Ok(Some(size)),
                    // A row that names another file is not this file's row.
                    Some((Some(_), Some(_))) => Ok(None),
                    // A row that cannot be read is not gone.
                    _ => Err(unreadable_row()),
                }
            }
        }
    }
}

fn number(row: &Row) -> Option<u64> {
    row.first()?.as_ref()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn rows_are_asked_for_one_by_one() {
        let asked = RefCell::new(Vec::new());
        let ask = |question: &str| {
            asked.borrow_mut().push(question.to_owned());
            let row = |text: &str| vec![vec![Some(text.to_owned())]];
            Ok(match question {
                question if question.contains("'gone'") => Vec::new(),
                question if question.contains("FROM attachments") => row("65"),
                question if question.contains("'odd'") => row("{}"),
                _ => row(r#"{"Id":"f","Size":"7"}"#),
            })
        };
        let mut rows = ServerRows(&ask);
        assert_eq!(rows.current_size(Kind::Attachment, "c", "a").unwrap(), Some(65));
        assert_eq!(rows.current_size(Kind::Attachment, "c", "gone").unwrap(), None);
        assert_eq!(rows.current_size(Kind::Send, "s", "f").unwrap(), Some(7));
        assert_eq!(rows.current_size(Kind::Send, "s", "other").unwrap(), None);
        assert!(rows.current_size(Kind::Send, "odd", "f").is_err());
        let before = asked.borrow().len();
        assert_eq!(rows.current_size(Kind::Attachment, "c", "' OR '1'='1").unwrap(), None);
        assert_eq!(asked.borrow().len(), before, "what is no plain name is not asked for");
    }
}
