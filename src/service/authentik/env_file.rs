//! Reads a `.env` file as Docker Compose reads it.
//!
//! It is not the syntax in which Vaultwarden reads a file of the same name: a value without quotes may hold spaces and goes to the
//! line's end or to a `#` behind a space, and of a name set twice the last setting holds.
//!
//! Invariant: a line that does not parse is told by its number alone, for it may hold a secret.

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::interpolate::{Lookup, fill};

/// Names with their values.
pub(super) type Variables = HashMap<String, Zeroizing<String>>;

/// Reads a whole file. `lookup` has what its values may refer to, beside the lines above.
pub(super) fn parse(text: &str, lookup: &Lookup<'_>) -> (Variables, Vec<usize>) {
    let mut known = Variables::new();
    let mut unparsable = Vec::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut number = 1usize;
    while !rest.is_empty() {
        let (line, behind) = rest.split_once('\n').unwrap_or((rest, ""));
        let read = read_line(line, behind, &|name| known.get(name).cloned().or_else(|| lookup(name)));
        let (setting, behind, lines) = read.unwrap_or_else(|| {
            unparsable.push(number);
            (None, behind, 1)
        });
        known.extend(setting);
        number = number.saturating_add(lines);
        rest = behind;
    }
    (known, unparsable)
}

/// A setting, what is behind it, and how many lines it took.
type Read<'t> = (Option<(String, Zeroizing<String>)>, &'t str, usize);

fn read_line<'t>(line: &'t str, behind: &'t str, lookup: &Lookup<'_>) -> Option<Read<'t>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Some((None, behind, 1));
    }
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end();
    let is_part = |part: char| part.is_ascii_alphanumeric() || matches!(part, '_' | '.' | '-');
    if name.is_empty() || !name.chars().all(is_part) {
        return None;
    }
    let value = value.trim_start();
    let Some(quote) = value.chars().next().filter(|first| matches!(first, '\'' | '"')) else {
        let end = value.match_indices('#').find(|(at, _)| {
            value.get(..*at).is_some_and(|before| before.is_empty() || before.ends_with([' ', '\t']))
        });
        let value = end.and_then(|(at, _)| value.get(..at)).unwrap_or(value).trim_end();
        return Some((Some((name.to_owned(), fill(value, lookup).ok()?.text)), behind, 1));
    };
    // A quoted value may go on over lines.
    let mut whole = Zeroizing::new(value.get(1..)?.to_owned());
    let mut behind = behind;
    let mut lines = 1usize;
    let end = loop {
        if let Some(end) = closing(&whole, quote) {
            break end;
        }
        if behind.is_empty() {
            return None;
        }
        let (next, after) = behind.split_once('\n').unwrap_or((behind, ""));
        whole.push('\n');
        whole.push_str(next.strip_suffix('\r').unwrap_or(next));
        behind = after;
        lines = lines.saturating_add(1);
    };
    let rest = whole.get(end.saturating_add(1)..)?.trim_start();
    if !(rest.is_empty() || rest.starts_with('#')) {
        return None;
    }
    let inner = whole.get(..end)?;
    let value = if quote == '\'' {
        Zeroizing::new(inner.to_owned())
    } else {
        unescaped(&fill(&kept_dollars(inner), lookup).ok()?.text)
    };
    Some((Some((name.to_owned(), value)), behind, lines))
}

/// Where a quote is closed. In double quotes a backslash keeps what follows it.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if character == '\\' && quote == '"' {
            escaped = true;
        } else if character == quote {
            return Some(at);
        }
    }
    None
}

/// A dollar sign behind a backslash begins no variable.
fn kept_dollars(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.replace("\\$", "$$"))
}

fn unescaped(text: &str) -> Zeroizing<String> {
    let mut plain = Zeroizing::new(String::with_capacity(text.len()));
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, false) => plain.push(character),
            _ => match characters.next() {
                Some('n') => plain.push('\n'),
                Some('r') => plain.push('\r'),
                Some('t') => plain.push('\t'),
                Some(kept @ ('"' | '\\' | '\'')) => plain.push(kept),
                Some(other) => plain.extend(['\\', other]),
                None => plain.push('\\'),
            },
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<(String, String)>, Vec<usize>) {
        let outer = |name: &str| (name == "OUTER").then(|| Zeroizing::new("o".to_owned()));
        let (values, unparsable) = parse(text, &outer);
        let mut values: Vec<_> = values.into_iter().map(|(name, value)| (name, value.to_string())).collect();
        values.sort();
        (values, unparsable)
    }

    #[test]
    fn values_are_those_that_compose_reads() {
        let text = "# comment\nA=1\nB = two words  # tail\nexport C='$A #'\nD=\"$A\\n\\$x\\\"\"\nE=a#b\nF=\n\
            G=${A}${OUTER}${NONE:-n}\nA=last\r\nH=\"over\nlines\" # x\nI='open\n";
        let (values, unparsable) = read(text);
        let expected = [
            ("A", "last"),
            ("B", "two words"),
            ("C", "$A #"),
            ("D", "1\n$x\""),
            ("E", "a#b"),
            ("F", ""),
            ("G", "1on"),
            ("H", "over\nlines"),
        ];
        assert_eq!(values, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(unparsable, [12]);
    }

    #[test]
    fn odd_text_does_no_harm() {
        for text in ["=", "A", "A B=1", "'", "A=\"", "A=\"\\", "A='x' y", "A=$", "\u{1f600}=1"] {
            assert_eq!(read(text), (Vec::new(), vec![1]), "{text}");
        }
        assert_eq!(read("\u{feff}A=\u{1f600}\0").0.len(), 1);
    }
}
