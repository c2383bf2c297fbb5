//! A line that is being typed.
//!
//! Invariant: the cursor lies between two characters of the text, and the text holds no control character.

use crate::cli::browse::keys::Key;

/// Longest line, in characters.
const LENGTH_MAX: usize = 4096;

/// A line and the cursor in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::browse) struct Edit {
    before: String,
    after: String,
}

impl Edit {
    /// A line with a text in it, the cursor at its end.
    pub(in crate::cli::browse) fn with(text: &str) -> Self {
        let mut edit = Self::default();
        edit.insert(text);
        edit
    }

    pub(in crate::cli::browse) fn text(&self) -> String {
        format!("{}{}", self.before, self.after)
    }

    /// What stands before the cursor, and behind it.
    pub(in crate::cli::browse) fn parts(&self) -> (&str, &str) {
        (&self.before, &self.after)
    }

    /// Inserts a text at the cursor, without control characters.
    pub(in crate::cli::browse) fn insert(&mut self, text: &str) {
        let length = self.before.chars().count().saturating_add(self.after.chars().count());
        let room = LENGTH_MAX.saturating_sub(length);
        self.before.extend(text.chars().filter(|character| !character.is_control()).take(room));
    }

    /// Types a key; says whether it is one that edits.
    pub(in crate::cli::browse) fn key(&mut self, key: Key) -> bool {
        match key {
            Key::Char(letter) => self.insert(letter.encode_utf8(&mut [0; 4])),
            Key::Backspace | Key::Control('h') => {
                self.before.pop();
            }
            Key::Delete | Key::Control('d') => {
                self.after = self.after.chars().skip(1).collect();
            }
            Key::Left | Key::Control('b') => {
                if let Some(letter) = self.before.pop() {
                    self.after.insert(0, letter);
                }
            }
            Key::Right | Key::Control('f') => {
                let mut letters = self.after.chars();
                self.before.extend(letters.next());
                self.after = letters.collect();
            }
            Key::Home | Key::Control('a') => {
                self.after.insert_str(0, &self.before);
                self.before.clear();
            }
            Key::End | Key::Control('e') => self.before.push_str(&std::mem::take(&mut self.after)),
            Key::Control('u') => self.before.clear(),
            Key::Control('k') => self.after.clear(),
            Key::Control('w') => {
                let kept = self.before.trim_end().trim_end_matches(|letter| letter != ' ' && letter != '/');
                let kept = if kept.len() == self.before.len() {
                    kept.trim_end_matches('/').trim_end_matches(|letter| letter != ' ' && letter != '/')
                } else {
                    kept
                };
                self.before.truncate(kept.len());
            }
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_typed_and_mended() {
        let mut edit = Edit::with("/srv/old\u{1b}[31m");
        assert_eq!(edit.text(), "/srv/old[31m");
        edit.key(Key::Control('w'));
        assert_eq!(edit.text(), "/srv/");
        edit.key(Key::Control('w'));
        assert_eq!(edit.text(), "/");
        for letter in "tmp".chars() {
            edit.key(Key::Char(letter));
        }
        for key in [Key::Left, Key::Left, Key::Char('ü'), Key::Right, Key::Backspace] {
            assert!(edit.key(key));
        }
        assert_eq!(edit.parts(), ("/tü", "p"));
        edit.key(Key::Home);
        edit.key(Key::Delete);
        edit.key(Key::End);
        assert_eq!(edit.parts(), ("tüp", ""));
        edit.key(Key::Control('u'));
        assert_eq!(edit.text(), "");
        assert!(!edit.key(Key::Enter) && !edit.key(Key::Control('w')) || edit.text().is_empty());
        edit.insert(&"x".repeat(2 * LENGTH_MAX));
        assert_eq!(edit.text().len(), LENGTH_MAX);
    }
}
