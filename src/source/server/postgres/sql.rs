//! Names and texts as SQL takes them for what they are.

/// A name.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(identifier("a\"b:c"), "\"a\"\"b:c\"");
        assert_eq!(literal("it's \\"), "'it''s \\'");
    }
}
