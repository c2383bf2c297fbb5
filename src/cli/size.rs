//! Sizes as they are typed.

/// A number of bytes, such as `500M`; the letters are powers of 1024.
pub(super) fn parse_size(text: &str) -> std::result::Result<u64, String> {
    let (number, shift) = match text.as_bytes().last().map(u8::to_ascii_lowercase) {
        Some(b'b') => (text.get(..text.len().saturating_sub(1)), 0),
        Some(b'k') => (text.get(..text.len().saturating_sub(1)), 10),
        Some(b'm') => (text.get(..text.len().saturating_sub(1)), 20),
        Some(b'g') => (text.get(..text.len().saturating_sub(1)), 30),
        Some(b't') => (text.get(..text.len().saturating_sub(1)), 40),
        _ => (Some(text), 0),
    };
    let number = number.filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let bytes = number.and_then(|number| number.parse::<u64>().ok()?.checked_mul(1 << shift));
    bytes.ok_or_else(|| "give a number of bytes, or a number with k, M, G or T, such as 500M".to_owned())
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn sizes_are_binary() {
        for (text, expected) in [
            ("0", Some(0)),
            ("17", Some(17)),
            ("17b", Some(17)),
            ("3k", Some(3 << 10)),
            ("3K", Some(3 << 10)),
            ("500M", Some(500 << 20)),
            ("2g", Some(2 << 30)),
            ("16777215T", Some(16_777_215 << 40)),
            ("16777216T", None),
            ("", None),
            ("M", None),
            ("-1", None),
            ("+1", None),
            ("1.5G", None),
            ("1 M", None),
            ("1é", None),
            ("1MB", None),
        ] {
            assert_eq!(parse_size(text).ok(), expected, "{text}");
        }
    }
}
