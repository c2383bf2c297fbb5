//! Reads the `.env` syntax as the crate `dotenvy` 0.15, and so Vaultwarden, reads it.
//!
//! Comments, `export`, both kinds of quotes (which may span lines), escapes, `$NAME` and `${NAME}`. Of a name
//! set twice the first setting holds, for `dotenvy` never replaces what the environment already has.
//! Vaultwarden refuses to start where a line does not parse; here such a line is named and passed over.
//!
//! Invariant: a line that does not parse is told by its number alone, for it may hold a secret. The
//! environment of this process is never read: it is not the server's.

use std::collections::HashMap;

use zeroize::Zeroizing;

/// What a file says.
#[derive(Default)]
pub(super) struct Parsed {
    /// Each name with the value that holds.
    pub(super) values: HashMap<String, Zeroizing<String>>,
    /// Lines that do not parse, counted from one.
    pub(super) unparsable: Vec<usize>,
}

/// Reads a whole file.
pub(super) fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = text;
    let mut number = 1;
    while !rest.is_empty() {
        let length = statement_length(rest);
        let (statement, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        match parse_statement(statement, &parsed.values) {
            Ok(Some((name, value))) => {
                parsed.values.entry(name).or_insert(value);
            }
            Ok(None) => {}
            Err(Unparsable) => parsed.unparsable.push(number),
        }
        number += statement.matches('\n').count();
        rest = after;
    }
    parsed
}

/// Where the statement at the start of `text` ends, its line feed included. A quote that is never closed
/// costs its own line only, so that one slip does not hide every setting after it.
fn statement_length(text: &str) -> usize {
    let first_line = text.find('\n').map_or(text.len(), |end| end + 1);
    if text.trim_start_matches([' ', '\t']).starts_with('#') {
        return first_line;
    }
    let mut quote = None;
    let mut escaped = false;
    let mut after_space = true;
    let mut comment = false;
    for (position, character) in text.char_indices() {
        match (quote, character) {
            (None, '\n') => return position + 1,
            _ if comment => {}
            _ if escaped => escaped = false,
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (None | Some('"'), '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(character),
            (None, '#') if after_space => comment = true,
            _ => {}
        }
        after_space = quote.is_none() && matches!(character, ' ' | '\t');
    }
    if quote.is_some() { first_line } else { text.len() }
}

/// Says that a statement does not parse, and nothing of what it holds.
struct Unparsable;

/// Reads one statement; a comment or an empty line gives nothing.
fn parse_statement(
    statement: &str,
    known: &HashMap<String, Zeroizing<String>>,
) -> Result<Option<(String, Zeroizing<String>)>, Unparsable> {
    let line = statement.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (mut name, mut rest) = split_name(line)?;
    // `export` may stand before a name, or be one.
    if name == "export" && !rest.starts_with('=') {
        (name, rest) = split_name(rest)?;
    }
    let value = rest.strip_prefix('=').ok_or(Unparsable)?.trim_start();
    if value.is_empty() || value.starts_with('#') {
        return Ok(Some((name.to_owned(), Zeroizing::default())));
    }
    Ok(Some((name.to_owned(), parse_value(value, known)?)))
}

/// Splits a name off, and the spaces after it.
fn split_name(line: &str) -> Result<(&str, &str), Unparsable> {
    if !line.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        return Err(Unparsable);
    }
    let end = line
        .find(|character: char| !(character.is_ascii_alphanumeric() || matches!(character, '_' | '.')))
        .unwrap_or(line.len());
    let (name, rest) = line.split_at_checked(end).ok_or(Unparsable)?;
    Ok((name, rest.trim_start()))
}

/// Reads a value: parts in quotes and parts without, up to a space.
fn parse_value(
    text: &str,
    known: &HashMap<String, Zeroizing<String>>,
) -> Result<Zeroizing<String>, Unparsable> {
    let mut value = Zeroizing::new(String::with_capacity(text.len()));
    let mut characters = text.chars().peekable();
    let mut in_double_quotes = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => value.push('\n'),
                Some(plain @ ('\\' | '\'' | '"' | '$' | ' ')) => value.push(plain),
                Some(_) => return Err(Unparsable),
                None => {}
            },
            '$' => {
                let mut name = String::new();
                if characters.next_if_eq(&'{').is_some() {
                    loop {
                        match characters.next() {
                            Some('}') => break,
                            Some(part) => name.push(part),
                            None => return Err(Unparsable),
                        }
                    }
                } else {
                    // Without braces a name ends at an underscore: so does dotenvy.
                    while let Some(part) = characters.next_if(|next| next.is_alphanumeric()) {
                        name.push(part);
                    }
                }
                if let Some(known) = known.get(&name) {
                    value.push_str(known);
                }
            }
            '"' => in_double_quotes = !in_double_quotes,
            _ if in_double_quotes => value.push(character),
            '\'' => loop {
                match characters.next() {
                    Some('\'') => break,
                    Some(part) => value.push(part),
                    None => return Err(Unparsable),
                }
            },
            ' ' | '\t' => {
                // Only a comment may follow.
                return match characters.find(|next| !matches!(next, ' ' | '\t')) {
                    Some('#') | None => Ok(value),
                    Some(_) => Err(Unparsable),
                };
            }
            _ => value.push(character),
        }
    }
    if in_double_quotes { Err(Unparsable) } else { Ok(value) }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn value(text: &str, name: &str) -> Option<String> {
        parse(text).values.get(name).map(|value| value.to_string())
    }

    #[test]
    fn plain_quoted_and_exported_values() {
        let text = "A=1\nB=\"2 two\"\nC='3 three'\nD=a\\ b\nE=\nF=   # nothing\nG  = \"spaced\"\n\
            export   H=h\nexport=x\n\tI=tab\r\nJ=\"line\\nfeed\"\nK='a'\\''b'\nL=#none\nM=a#b\n";
        let parsed = parse(text);
        assert!(parsed.unparsable.is_empty(), "{:?}", parsed.unparsable);
        for (name, expected) in [
            ("A", "1"),
            ("B", "2 two"),
            ("C", "3 three"),
            ("D", "a b"),
            ("E", ""),
            ("F", ""),
            ("G", "spaced"),
            ("H", "h"),
            ("export", "x"),
            ("I", "tab"),
            ("J", "line\nfeed"),
            ("K", "a'b"),
            ("L", ""),
            ("M", "a#b"),
        ] {
            assert_eq!(parsed.values[name].as_str(), expected, "{name}");
        }
    }

    #[test]
    fn comments_may_hold_quotes() {
        let text = "# it's a comment\nA=1 # don't\nB=\"2\" # \"two\nC=3";
        let parsed = parse(text);
        assert!(parsed.unparsable.is_empty());
        assert_eq!(parsed.values["B"].as_str(), "2");
        assert_eq!(parsed.values["C"].as_str(), "3");
    }

    #[test]
    fn names_are_substituted_from_earlier_lines() {
        let text =
            "BASE=/data\nA=${BASE}/a\nB=\"$BASE/b\"\nC='${BASE}'\nD=\\$BASE\nE=${LATER}x\nLATER=1\nF=$BASE_x";
        assert_eq!(value(text, "A").as_deref(), Some("/data/a"));
        assert_eq!(value(text, "B").as_deref(), Some("/data/b"));
        assert_eq!(value(text, "C").as_deref(), Some("${BASE}"));
        assert_eq!(value(text, "D").as_deref(), Some("$BASE"));
        assert_eq!(value(text, "E").as_deref(), Some("x"));
        assert_eq!(value(text, "F").as_deref(), Some("/data_x"));
    }

    #[test]
    fn the_first_of_two_settings_holds() {
        assert_eq!(value("A=1\nA=2\nB=$A", "A").as_deref(), Some("1"));
        assert_eq!(value("A=1\nA=2\nB=$A", "B").as_deref(), Some("1"));
    }

    #[test]
    fn quotes_span_lines_and_lines_are_counted() {
        let text = "A=\"one\ntwo\"\nnot a setting\nB='x\n\ny'\n=z\nC=h\\8u\nD=a b\n";
        let parsed = parse(text);
        assert_eq!(parsed.values["A"].as_str(), "one\ntwo");
        assert_eq!(parsed.values["B"].as_str(), "x\n\ny");
        assert_eq!(parsed.unparsable, [3, 7, 8, 9]);
    }

    #[test]
    fn an_unclosed_quote_costs_its_line_only() {
        let parsed = parse("A=\"open\nB=2\nC=${open\nD=4");
        assert_eq!(parsed.unparsable, [1, 3]);
        assert_eq!(parsed.values["B"].as_str(), "2");
        assert_eq!(parsed.values["D"].as_str(), "4");
    }

    #[test]
    fn a_byte_order_mark_and_odd_text_do_no_harm() {
        assert_eq!(value("\u{feff}A=1", "A").as_deref(), Some("1"));
        for text in ["", "\n", "\\", "A=\\", "A=$", "A=\"", "'", "\u{1f600}=1", "A=\u{1f600}\u{0}"] {
            drop(parse(text));
        }
    }
}
