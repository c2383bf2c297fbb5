//! Puts variables into the values of a compose file, as Docker Compose does: `$NAME`, `${NAME}`, `${NAME:-default}`,
//! `${NAME-default}`, `${NAME:?message}`, `${NAME?message}`, `${NAME:+other}`, `${NAME+other}`; `$$` is a dollar sign.
//!
//! Invariants: the environment of this process is never read, for it is not the one in which the containers were started. An error
//! names a variable and never a value.

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// How deep defaults may stand within defaults.
const DEPTH_MAX: usize = 16;

/// Looks a variable up.
pub(super) type Lookup<'a> = dyn Fn(&str) -> Option<Zeroizing<String>> + 'a;

/// A text with its variables put in, and the names of those that are not set.
#[derive(Default)]
pub(super) struct Filled {
    pub(super) text: Zeroizing<String>,
    /// Variables without which Docker Compose does not start, or that it takes for nothing with a warning.
    pub(super) unset: Vec<String>,
}

/// Puts variables into a text.
///
/// # Errors
/// `Corrupt` where what follows a dollar sign is no variable.
pub(super) fn fill(text: &str, lookup: &Lookup<'_>) -> Result<Filled> {
    let mut filled = Filled::default();
    fill_into(text, lookup, &mut filled, 0)?;
    Ok(filled)
}

fn fill_into(text: &str, lookup: &Lookup<'_>, filled: &mut Filled, depth: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(malformed("its defaults stand too deep within each other"));
    }
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        filled.text.push_str(before);
        if let Some(behind) = after.strip_prefix('$') {
            filled.text.push('$');
            rest = behind;
        } else if let Some(inner) = after.strip_prefix('{') {
            let (inner, behind) = braced(inner)?;
            substitute(inner, lookup, filled, depth)?;
            rest = behind;
        } else {
            let (name, behind) = split_name(after);
            if name.is_empty() {
                return Err(malformed("a dollar sign stands before what is no name"));
            }
            put(name, lookup(name), filled);
            rest = behind;
        }
    }
    filled.text.push_str(rest);
    Ok(())
}

/// What stands up to the brace that belongs to the one before, and what is behind it.
fn braced(text: &str) -> Result<(&str, &str)> {
    let mut open = 0usize;
    let mut before = None;
    for (at, character) in text.char_indices() {
        match character {
            '{' if before == Some('$') => open = open.saturating_add(1),
            '}' if open == 0 => {
                let (inner, behind) = text.split_at_checked(at).unwrap_or((text, ""));
                return Ok((inner, behind.get(1..).unwrap_or_default()));
            }
            '}' => open = open.saturating_sub(1),
            _ => {}
        }
        before = Some(character);
    }
    Err(malformed("a brace behind a dollar sign is not closed"))
}

fn substitute(inner: &str, lookup: &Lookup<'_>, filled: &mut Filled, depth: usize) -> Result<()> {
    let (name, rest) = split_name(inner);
    if name.is_empty() {
        return Err(malformed("a dollar sign stands before what is no name"));
    }
    let value = lookup(name);
    let (also_empty, rest) = rest.strip_prefix(':').map_or((false, rest), |rest| (true, rest));
    let is_set = value.as_ref().is_some_and(|value| !(also_empty && value.is_empty()));
    let mut characters = rest.chars();
    let operator = characters.next();
    let operand = characters.as_str();
    match (operator, is_set) {
        (None, _) if !also_empty => put(name, value, filled),
        (Some('-'), false) | (Some('+'), true) => {
            fill_into(operand, lookup, filled, depth.saturating_add(1))?;
        }
        (Some('?'), false) => filled.unset.push(name.to_owned()),
        (Some('-' | '?'), true) => put(name, value, filled),
        (Some('+'), false) => {}
        _ => return Err(malformed("what stands behind a variable's name is unknown")),
    }
    Ok(())
}

fn put(name: &str, value: Option<Zeroizing<String>>, filled: &mut Filled) {
    match value {
        Some(value) => filled.text.push_str(&value),
        None => filled.unset.push(name.to_owned()),
    }
}

fn split_name(text: &str) -> (&str, &str) {
    let is_first = |first: char| first.is_ascii_alphabetic() || first == '_';
    if !text.starts_with(is_first) {
        return ("", text);
    }
    let is_part = |part: char| part.is_ascii_alphanumeric() || part == '_';
    let end = text.find(|part| !is_part(part)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn malformed(why: &'static str) -> Error {
    Error::corrupt(why).hint("write $$ for a dollar sign that begins no variable")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<Zeroizing<String>> {
        let known = [("A", "1"), ("EMPTY", ""), ("SECRET", "hunter2")];
        let found = known.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| Zeroizing::new((*value).to_owned()))
    }

    #[test]
    fn variables_are_put_in_as_compose_does() {
        for (text, expected, unset) in [
            ("plain", "plain", &[][..]),
            ("$A-${A}", "1-1", &[]),
            ("$$A $${A}", "$A ${A}", &[]),
            ("${B:-x}${EMPTY:-y}${EMPTY-z}", "xy", &[]),
            ("${B-x}${A:-x}${A-x}", "x11", &[]),
            ("${A:?no}${B:?database password required}", "1", &["B"]),
            ("${A:+set}${B:+set}${EMPTY+set}${EMPTY:+set}", "setset", &[]),
            ("${B:-${A}}${B:-${C:-deep}}", "1deep", &[]),
            ("${B:-{}}", "{}", &[]),
            (
                "${IMAGE:-ghcr.io/goauthentik/server}:${TAG:-2026.2.2}",
                "ghcr.io/goauthentik/server:2026.2.2",
                &[],
            ),
            ("$B", "", &["B"]),
        ] {
            let filled = fill(text, &lookup).unwrap();
            assert_eq!(
                (filled.text.as_str(), filled.unset.as_slice()),
                (expected, &unset.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()[..]),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_variable_is_refused_unseen() {
        let deep = format!("{}x{}", "${B:-".repeat(1000), "}".repeat(1000));
        for text in [
            "$",
            "hunter2$ ",
            "${",
            "${SECRET",
            "${}",
            "${:-hunter2}",
            "${A hunter2}",
            "${A:}",
            "${1}",
            &deep,
        ] {
            let error = fill(text, &lookup).err().unwrap_or_else(|| panic!("{text}"));
            assert!(!error.chain().contains("hunter2"), "{}", error.chain());
        }
    }
}
