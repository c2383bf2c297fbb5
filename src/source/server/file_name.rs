//! Names of files for what is dumped of a database.
//!
//! Invariant: two names of databases never become one, and none leads out of its folder.

use std::fmt::Write;

/// A database's name as that of a file. What no file's name should hold is written as `%` and two digits for each byte:
/// `/`, `%`, `\`, control characters, and a dot in front.
pub(super) fn file_name(name: &str) -> String {
    let mut file = String::with_capacity(name.len());
    for (at, character) in name.chars().enumerate() {
        let is_odd = matches!(character, '/' | '%' | '\\') || character.is_control();
        if is_odd || (at, character) == (0, '.') {
            escape(character, &mut file);
        } else {
            file.push(character);
        }
    }
    file
}

/// Writes a character as `%` and two digits for each of its bytes.
pub(super) fn escape(character: char, file: &mut String) {
    let mut bytes = [0; 4];
    for byte in character.encode_utf8(&mut bytes).bytes() {
        // Writing to a text does not fail.
        write!(file, "%{byte:02X}").ok();
    }
}
