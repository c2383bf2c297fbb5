//! What a terminal sends when keys are pressed, or a text is pasted, as keys and texts.
//!
//! Of the sequences of escape those are known that xterm, the console and what imitates them send; others are passed over.
//! Invariant: whatever comes, in whatever pieces, memory is bounded and nothing that was pasted is taken for keys.

use super::keys::Key;

const ESCAPE: u8 = 0x1b;
/// Longest sequence that is waited for.
const SEQUENCE_MAX: usize = 64;
/// Longest text that is pasted.
const PASTE_MAX: usize = 64 << 10;
/// What a terminal sends behind a pasted text.
const PASTE_END: &[u8] = b"\x1b[201~";

/// A key that was pressed, or a text that was pasted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Key(Key),
    Paste(String),
}

/// Takes bytes as they come.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// What is not complete yet.
    bytes: Vec<u8>,
    /// The text that is being pasted.
    paste: Option<Vec<u8>>,
}

/// What the first bytes are.
enum Piece {
    /// So many bytes, and the key that they stand for, if any.
    Key(usize, Option<Key>),
    /// So many bytes, behind which a pasted text begins.
    Paste(usize),
    /// More has to come.
    Incomplete,
}

impl Parser {
    /// Takes some bytes; gives what they complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Input> {
        self.bytes.extend_from_slice(bytes);
        let mut inputs = Vec::new();
        loop {
            if self.paste.is_some() {
                let Some(text) = self.take_paste() else { break };
                inputs.push(Input::Paste(text));
                continue;
            }
            match first(&self.bytes) {
                Piece::Incomplete => break,
                Piece::Key(length, key) => {
                    self.bytes.drain(..length.min(self.bytes.len()));
                    inputs.extend(key.map(Input::Key));
                }
                Piece::Paste(length) => {
                    self.bytes.drain(..length.min(self.bytes.len()));
                    self.paste = Some(Vec::new());
                }
            }
        }
        inputs
    }

    /// Whether something is not complete, which may be an Escape and nothing more.
    pub(super) fn is_waiting(&self) -> bool {
        self.paste.is_none() && !self.bytes.is_empty()
    }

    /// Nothing follows: an Escape that stands alone is one; what else is not complete never will be.
    pub(super) fn give_up(&mut self) -> Option<Input> {
        let bytes = std::mem::take(&mut self.bytes);
        (bytes == [ESCAPE]).then_some(Input::Key(Key::Escape))
    }

    /// Takes what is there of a pasted text; gives it once it is complete.
    fn take_paste(&mut self) -> Option<String> {
        let end = self.bytes.windows(PASTE_END.len()).position(|part| part == PASTE_END);
        // The end itself may have come in part only.
        let length = end.unwrap_or(self.bytes.len().saturating_sub(PASTE_END.len()));
        let text = self.paste.get_or_insert_default();
        let room = PASTE_MAX.saturating_sub(text.len());
        text.extend(self.bytes.drain(..length).take(room));
        end?;
        self.bytes.drain(..PASTE_END.len().min(self.bytes.len()));
        self.paste.take().map(|text| String::from_utf8_lossy(&text).into_owned())
    }
}

/// What the first bytes are.
fn first(bytes: &[u8]) -> Piece {
    match bytes {
        [] | [ESCAPE] => Piece::Incomplete,
        [ESCAPE, b'[', rest @ ..] => control_sequence(rest),
        [ESCAPE, b'O', rest @ ..] => match rest {
            [] => Piece::Incomplete,
            [b'M', ..] => Piece::Key(3, Some(Key::Enter)),
            [letter, ..] => Piece::Key(3, by_letter(*letter)),
        },
        // Before anything else it was pressed alone, or with Alt, which is the same.
        [ESCAPE, ..] => Piece::Key(1, Some(Key::Escape)),
        [b'\r' | b'\n', ..] => Piece::Key(1, Some(Key::Enter)),
        [0x08 | 0x7f, ..] => Piece::Key(1, Some(Key::Backspace)),
        [byte @ 0x01..=0x1a, ..] if *byte != b'\t' => {
            Piece::Key(1, Some(Key::Control(char::from(byte.saturating_add(b'a' - 1)))))
        }
        [byte, ..] if byte.is_ascii_control() => Piece::Key(1, None),
        bytes => character(bytes),
    }
}

/// What follows `ESC [`: parameters, and a letter that ends it.
fn control_sequence(rest: &[u8]) -> Piece {
    // What is no parameter ends it there and then, so that it does not matter how much has come.
    let is_last = |byte: &u8| !(0x20..=0x3f).contains(byte);
    let end = match rest.iter().take(SEQUENCE_MAX).position(is_last) {
        Some(end) if rest.get(end).is_some_and(|byte| (0x40..=0x7e).contains(byte)) => end,
        None if rest.len() < SEQUENCE_MAX => return Piece::Incomplete,
        _ => return Piece::Key(2, None),
    };
    let (parameters, last) = (rest.get(..end).unwrap_or_default(), rest.get(end).copied().unwrap_or(0));
    let length = end.saturating_add(3);
    let number = parameters.split(|byte| *byte == b';').next().unwrap_or_default();
    match (last, number) {
        // The console's function keys have one more letter.
        (b'[', _) if rest.len() == 1 => Piece::Incomplete,
        (b'[', _) if end == 0 => Piece::Key(length.saturating_add(1), None),
        (b'~', b"1" | b"7") => Piece::Key(length, Some(Key::Home)),
        (b'~', b"4" | b"8") => Piece::Key(length, Some(Key::End)),
        (b'~', b"3") => Piece::Key(length, Some(Key::Delete)),
        (b'~', b"5") => Piece::Key(length, Some(Key::PageUp)),
        (b'~', b"6") => Piece::Key(length, Some(Key::PageDown)),
        (b'~', b"200") => Piece::Paste(length),
        (letter, _) => Piece::Key(length, by_letter(letter)),
    }
}

fn by_letter(letter: u8) -> Option<Key> {
    Some(match letter {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        _ => return None,
    })
}

/// A character in UTF-8; a byte that begins none is passed over.
fn character(bytes: &[u8]) -> Piece {
    let Some(part) = bytes.utf8_chunks().next() else { return Piece::Incomplete };
    if let Some(letter) = part.valid().chars().next() {
        return Piece::Key(letter.len_utf8(), Some(Key::Char(letter)));
    }
    let wanted = match bytes.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => 1,
    };
    // Invalid because it is cut, or because it is wrong.
    let cut = bytes.len() < wanted && part.invalid().len() == bytes.len();
    if cut { Piece::Incomplete } else { Piece::Key(part.invalid().len().max(1), None) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tests::{Random, each_seed};

    fn keys(bytes: &[u8]) -> Vec<Input> {
        let mut parser = Parser::default();
        let mut inputs = parser.take(bytes);
        inputs.extend(parser.give_up());
        inputs
    }

    #[test]
    fn what_terminals_send_is_known() {
        for (bytes, expected) in [
            (&b"q"[..], &[Key::Char('q')][..]),
            ("ü€😀".as_bytes(), &[Key::Char('ü'), Key::Char('€'), Key::Char('😀')]),
            (b"\r\n", &[Key::Enter, Key::Enter]),
            (b"\x7f\x08", &[Key::Backspace, Key::Backspace]),
            (b"\x03\x1a\x0c", &[Key::Control('c'), Key::Control('z'), Key::Control('l')]),
            (b"\t\0\x1c", &[]),
            (b"\x1b[A\x1b[B\x1b[C\x1b[D", &[Key::Up, Key::Down, Key::Right, Key::Left]),
            (b"\x1bOA\x1bOB\x1bOH\x1bOF\x1bOM", &[Key::Up, Key::Down, Key::Home, Key::End, Key::Enter]),
            (b"\x1b[1;5A", &[Key::Up]),
            (
                b"\x1b[H\x1b[F\x1b[1~\x1b[4~\x1b[7~\x1b[8~",
                &[Key::Home, Key::End, Key::Home, Key::End, Key::Home, Key::End],
            ),
            (b"\x1b[3~\x1b[5~\x1b[6~", &[Key::Delete, Key::PageUp, Key::PageDown]),
            (b"\x1b[15~\x1b[[Aq\x1b[?1;2c", &[Key::Char('q')]),
            (b"\x1b", &[Key::Escape]),
            (b"\x1bq", &[Key::Escape, Key::Char('q')]),
            (b"\x1b\x1b[A", &[Key::Escape, Key::Up]),
            (b"\x1b[", &[]),
            (b"\xffa\xc3\xc3\xa4", &[Key::Char('a'), Key::Char('ä')]),
        ] {
            let expected: Vec<Input> = expected.iter().map(|key| Input::Key(*key)).collect();
            assert_eq!(keys(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_pasted_is_no_key() {
        let pasted = |text: &str| Input::Paste(text.to_owned());
        let sent = b"a\x1b[200~q\r\x1b[A\x03 \xc3\xa4\x1b[201~b";
        let expected = [Input::Key(Key::Char('a')), pasted("q\r\x1b[A\x03 ä"), Input::Key(Key::Char('b'))];
        assert_eq!(keys(sent), expected);
        for cut in 0..sent.len() {
            let mut parser = Parser::default();
            let mut inputs = parser.take(&sent[..cut]);
            inputs.extend(parser.take(&sent[cut..]));
            assert_eq!(inputs, expected, "cut at {cut}");
        }
        let mut parser = Parser::default();
        assert!(parser.take(b"\x1b[200~").is_empty());
        for _ in 0..100 {
            assert!(parser.take(&[b'x'; 4096]).is_empty() && parser.bytes.len() <= PASTE_END.len());
        }
        assert_eq!(parser.take(PASTE_END), [pasted(&"x".repeat(PASTE_MAX))]);
    }

    #[test]
    fn bytes_mean_the_same_in_whatever_pieces_they_come() {
        each_seed(|seed| {
            let mut random = Random::new((seed << 20) + 5);
            let some = b"\x1b\x1b\x1b[[O~;0123AHq\r\x7f\xc3\xa4\xf0\xff";
            let sent: Vec<u8> = (0..random.below(60)).map(|_| some[random.below(some.len())]).collect();
            let whole = keys(&sent);
            let mut parser = Parser::default();
            let mut inputs = Vec::new();
            for byte in &sent {
                inputs.extend(parser.take(&[*byte]));
                assert!(parser.bytes.len() <= SEQUENCE_MAX + 4);
            }
            inputs.extend(parser.give_up());
            assert_eq!(inputs, whole, "{sent:?}");
        });
    }
}
