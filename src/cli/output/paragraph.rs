//! Prose and commands as lines for a terminal.

/// A paragraph in lines of at most 80 columns; those after the first stand as deep as the mark before it.
pub(crate) fn filled(paragraph: &str, mark: &str) -> String {
    let mut text = mark.to_owned();
    let mut column = mark.len();
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if column > mark.len() && column.saturating_add(length) >= 80 {
            text.push('\n');
            text.push_str(&" ".repeat(mark.len()));
            column = mark.len();
        } else if column > mark.len() {
            text.push(' ');
            column = column.saturating_add(1);
        }
        text.push_str(word);
        column = column.saturating_add(length);
    }
    text.push('\n');
    text
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:@%,=".contains(letter);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_filled_and_words_quoted() {
        let text = filled(&"word ".repeat(40), "- ");
        assert!(text.lines().all(|line| line.len() < 80), "{text}");
        assert!(text.starts_with("- word") && text.lines().skip(1).all(|line| line.starts_with("  word")));
        assert_eq!(text.split_whitespace().count(), 41);
        assert_eq!(quoted("/srv/backup"), "/srv/backup");
        assert_eq!(quoted("/it's here"), "'/it'\\''s here'");
    }
}
