//! Which tables a pattern of `--exclude-table-data` means, as a condition that the server judges.
//!
//! Follows what psql's manual says under Patterns: letters outside quotes are taken in lower case, `*` is any text, `?`
//! any character, a dot parts schema and table; the rest is a regular expression, and literal within quotes.

/// A condition on `c.relname`, `n.nspname` and `c.oid`.
pub(super) fn condition(pattern: &str) -> String {
    let mut parts = parts(pattern);
    let table = parts.pop().unwrap_or_default();
    let on_table = format!("c.relname OPERATOR(pg_catalog.~) {}", literal(&format!("^({table})$")));
    match parts.pop() {
        Some(schema) => {
            format!("({on_table} AND n.nspname OPERATOR(pg_catalog.~) {})", literal(&format!("^({schema})$")))
        }
        None => format!("({on_table} AND pg_catalog.pg_table_is_visible(c.oid))"),
    }
}

/// A text as SQL writes it.
pub fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A name as SQL writes it.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Regular expressions of what the dots part.
fn parts(pattern: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut part = String::new();
    let mut in_quotes = false;
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if in_quotes && characters.peek() == Some(&'"') => {
                characters.next();
                part.push('"');
            }
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes => all.push(std::mem::take(&mut part)),
            '*' if !in_quotes => part.push_str(".*"),
            '?' if !in_quotes => part.push('.'),
            '$' => part.push_str("\\$"),
            character if in_quotes && "|*+?()[]{}.^\\".contains(character) => part.extend(['\\', character]),
            character if in_quotes => part.push(character),
            character => part.extend(character.to_lowercase()),
        }
    }
    all.push(part);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_psql() {
        for (pattern, expected) in [
            ("Users", &["users"][..]),
            ("public.ev*t?", &["public", "ev.*t."]),
            ("\"A.b\".\"c\"\"d*\"", &["A\\.b", "c\"d\\*"]),
            ("a$|b[0-9]", &["a\\$|b[0-9]"]),
        ] {
            assert_eq!(parts(pattern), expected);
        }
        assert_eq!(literal("it's \\"), "E'it\\'s \\\\'");
        assert_eq!(identifier("a\"B"), "\"a\"\"B\"");
        assert!(condition("x").contains("pg_table_is_visible"));
        assert!(!condition("a.x").contains("pg_table_is_visible"));
    }
}
