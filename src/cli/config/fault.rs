//! What is wrong with a configuration: where, why, and which key was probably meant.
//!
//! Invariant: no line of the file is shown, for it may hold a password.

use std::ops::Range;
use std::path::Path;

use super::super::output::paragraph::quoted;
use crate::error::Error;
use crate::report::printable;

/// An error of the parser, at its place.
pub(super) fn of_parser(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let message = error.message().lines().next().unwrap_or_default();
    let (message, hint) = match unknown_key(message) {
        Some((key, known)) => (format!("unknown key {}", printable(key.as_bytes())), suggestion(key, &known)),
        None => (message.to_owned(), "`strongroom config schema` tells what may stand there".to_owned()),
    };
    at(path, text, error.span(), &message).hint(hint)
}

/// Something that is wrong at a place of the file.
pub(super) fn at(path: &Path, text: &str, span: Option<Range<usize>>, message: &str) -> Error {
    let shown = printable(path.as_os_str().as_encoded_bytes());
    match span {
        Some(span) => {
            let (line, column) = position(text, span.start);
            Error::refused(format!("{shown}, line {line}, column {column}: {message}"))
        }
        None => Error::refused(format!("{shown}: {message}")),
    }
}

/// Line and column, both counted from one, in characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1);
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
    (line, column)
}

/// The key that serde does not know, and those that it does.
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (key, expected) = rest.split_once('`')?;
    // What stands between quotes, without what stands between those.
    Some((key, expected.split('`').skip(1).step_by(2).collect()))
}

fn suggestion(key: &str, known: &[&str]) -> String {
    let key = key.replace('_', "-").to_lowercase();
    let near = known.iter().map(|known| (distance(&key, known), *known)).min();
    match near.filter(|(distance, known)| *distance <= known.len().max(3) / 3) {
        Some((_, near)) => format!("did you mean {}?", quoted(near)),
        None => format!("known here are: {}", known.join(", ")),
    }
}

/// The nearest of some names, if one is near.
pub(in crate::cli) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let near = names.map(|known| (distance(name, known), known)).min()?;
    let length = near.1.len();
    // Two letters that changed their places count as two; of a single letter nothing would be left.
    let most = (length.saturating_add(2) / 3).min(length.saturating_sub(1));
    (near.0 <= most).then_some(near.1)
}

/// How many characters have to be put in, taken out or changed to make one word of another.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (number, from) in one.chars().enumerate() {
        let mut diagonal = number;
        let mut left = number.saturating_add(1);
        let mut next = vec![left];
        for (to, above) in other.chars().zip(row.iter().skip(1)) {
            let changed = diagonal.saturating_add(usize::from(from != to));
            left = changed.min(left.saturating_add(1)).min(above.saturating_add(1));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (one, other, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("kitten", "sitting", 3),
            ("keep-dayly", "keep-daily", 1),
            ("ab", "ba", 2),
        ] {
            assert_eq!((distance(one, other), distance(other, one)), (expected, expected), "{one} {other}");
        }
    }

    #[test]
    fn places_are_counted_in_characters() {
        assert_eq!(position("a\n\u{e9}x", 4), (2, 2));
        assert_eq!(position("", 9), (1, 1));
    }

    #[test]
    fn a_key_that_is_near_is_suggested_and_else_all_are_named() {
        let message = "unknown field `keep_dayly`, expected one of `keep-daily`, `keep-weekly`";
        let (key, known) = unknown_key(message).unwrap();
        assert_eq!(suggestion(key, &known), "did you mean keep-daily?");
        assert_eq!(suggestion("zzz", &known), "known here are: keep-daily, keep-weekly");
    }
}
