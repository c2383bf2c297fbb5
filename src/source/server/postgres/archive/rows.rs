//! Rows of COPY's text format, counted while they pass: a row is a line, and `\.` alone on one is the end.

/// Where in a line the counter stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Start,
    Backslash,
    Dot,
    Inside,
    /// Behind the end mark, where only empty lines may follow.
    Ended,
}

/// A count that goes on from one piece to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rows {
    at: At,
    rows: u64,
}

impl Rows {
    /// Counts; false where something follows the end mark.
    pub(super) fn count(&mut self, mut piece: &[u8]) -> bool {
        while let Some((byte, rest)) = piece.split_first() {
            if self.at == At::Inside {
                let Some(end) = piece.iter().position(|byte| *byte == b'\n') else { return true };
                piece = piece.get(end..).and_then(|from| from.get(1..)).unwrap_or_default();
                self.row();
                continue;
            }
            match (self.at, byte) {
                (At::Ended, b'\n') => {}
                (At::Ended, _) => return false,
                (At::Dot, b'\n') => self.at = At::Ended,
                (_, b'\n') => self.row(),
                (At::Start, b'\\') => self.at = At::Backslash,
                (At::Backslash, b'.') => self.at = At::Dot,
                _ => self.at = At::Inside,
            }
            piece = rest;
        }
        true
    }

    /// How many there were, once the end mark was read.
    pub(super) fn ended(&self) -> Option<u64> {
        (self.at == At::Ended).then_some(self.rows)
    }

    fn row(&mut self) {
        self.rows = self.rows.saturating_add(1);
        self.at = At::Start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_lines_up_to_the_end_mark_however_they_are_cut() {
        let cases: [(&[u8], Option<u64>); 10] = [
            (b"\\.\n", Some(0)),
            (b"\\.\n\n\n", Some(0)),
            (b"a\tb\n\\N\t\\\\.\n\\.\n\n\n", Some(2)),
            (b"\n\n\\.\n", Some(2)),
            (b"\\.x\n\\.\n", Some(1)),
            (b"a\\.\n\\.\n", Some(1)),
            (b"a\n", None),
            (b"a\n\\.", None),
            (b"", None),
            (b"a", None),
        ];
        for (text, expected) in cases {
            for cut in 0..=text.len() {
                let mut rows = Rows::default();
                assert!(rows.count(&text[..cut]) && rows.count(&text[cut..]));
                assert_eq!(rows.ended(), expected, "{text:?} cut at {cut}");
            }
        }
        assert!(!Rows::default().count(b"\\.\nrow\n"));
    }
}
