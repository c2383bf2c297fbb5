//! Files of patterns and of paths, as restic reads them.
//!
//! Invariant: whatever is wrong with a line, the message names the file and the line.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::report::printable;

/// Largest list that is read, in bytes.
const LIST_MAX: u64 = 64 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Standard input, which can be read once.
#[derive(Default)]
pub(super) struct Stdin {
    taken: bool,
}

impl Stdin {
    /// Reads a file; `-` is standard input.
    pub(super) fn read(&mut self, file: &Path) -> Result<Vec<u8>> {
        if file.as_os_str() != "-" {
            return read(file);
        }
        if std::mem::replace(&mut self.taken, true) {
            return Err(
                Error::refused("standard input can hold one list only").hint("put the others into files")
            );
        }
        read_all(std::io::stdin().lock(), file)
    }
}

/// Reads a file.
pub(super) fn read(file: &Path) -> Result<Vec<u8>> {
    let opened =
        File::open(file).map_err(|error| Error::io(format!("cannot open {}", shown(file)), error))?;
    read_all(opened, file)
}

fn read_all(from: impl Read, file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LIST_MAX.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io(format!("cannot read {}", shown(file)), error))?;
    if bytes.len() as u64 > LIST_MAX {
        return Err(Error::refused(format!("{} is too large for a list", shown(file))));
    }
    Ok(bytes)
}

/// What a list is called.
pub(super) fn shown(file: &Path) -> String {
    if file.as_os_str() == "-" { "standard input".to_owned() } else { printable(file.as_os_str().as_bytes()) }
}

/// Says in which line something is wrong.
pub(super) fn at(file: &Path, number: usize, error: Error) -> Error {
    error.context(format!("{}, line {number}", shown(file)))
}

/// Lines with their numbers, blanks around them taken off, without empty ones and those that begin with `#`.
pub(super) fn lines_without_comments(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let trimmed = lines(bytes).into_iter().map(|(number, line)| (number, line.trim_ascii().to_vec()));
    trimmed.filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#")).collect()
}

/// Lines with their numbers, as they are but for empty ones.
pub(super) fn lines(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let lines = (1..).zip(bytes.split(|byte| *byte == b'\n'));
    lines.filter(|(_, line)| !line.is_empty()).map(|(number, line)| (number, line.to_vec())).collect()
}

/// Names that zero bytes end, with their numbers.
///
/// # Errors
/// An empty name; a last name without its zero byte, for then the list may have been cut short.
pub(super) fn raw(bytes: &[u8], file: &Path) -> Result<Vec<(usize, Vec<u8>)>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let Some(names) = bytes.strip_suffix(b"\0") else {
        return Err(Error::refused(format!("{}: the last name is not ended by a zero byte", shown(file)))
            .hint("the list may have been cut short; for lines, use --files-from-verbatim"));
    };
    let names: Vec<(usize, Vec<u8>)> =
        (1..).zip(names.split(|byte| *byte == 0).map(<[u8]>::to_vec)).collect();
    match names.iter().find(|(_, name)| name.is_empty()) {
        Some((number, _)) => Err(Error::refused(format!("{}: name {number} is empty", shown(file)))),
        None => Ok(names),
    }
}

/// Puts variables of the environment in: `$NAME`, `${NAME}`; `$$` is a dollar sign.
///
/// # Errors
/// A variable that is not set: to take it for nothing, as restic does, may leave out far too much.
pub(super) fn expand_variables(text: &str, get: &dyn Fn(&str) -> Option<OsString>) -> Result<String> {
    let dollar = "write $$ for a dollar sign";
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let (name, after) = if let Some(braced) = after.strip_prefix('{') {
            braced.split_once('}').ok_or_else(|| Error::refused("a brace is not closed").hint(dollar))?
        } else {
            let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
            after.split_at(after.find(|character| !is_part(character)).unwrap_or(after.len()))
        };
        if name.is_empty() {
            return Err(Error::refused("a dollar sign without a name").hint(dollar));
        }
        let value = get(name)
            .ok_or_else(|| Error::refused(format!("the variable {name} is not set or empty")).hint(dollar))?;
        let value = value.into_string().map_err(|_| {
            Error::refused(format!("the variable {name} is not text")).hint("write the pattern out")
        })?;
        expanded.push_str(&value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn comments_and_blanks_go_only_where_they_do_in_restic() {
        let text = b"\xef\xbb\xbf  *.tmp  \r\n\n#comment\n  # too\n\t\na # b\nlast";
        let names = |lines: Vec<(usize, Vec<u8>)>| -> Vec<(usize, String)> {
            lines.into_iter().map(|(number, line)| (number, printable(&line))).collect()
        };
        let expected = [(1, "*.tmp"), (6, "a # b"), (7, "last")].map(|(n, text)| (n, text.to_owned()));
        assert_eq!(names(lines_without_comments(text)), expected);
        let verbatim = [(1, " a "), (3, "# b"), (4, "\\xff")].map(|(n, text)| (n, text.to_owned()));
        assert_eq!(names(lines(b" a \n\n# b\n\xff\n")), verbatim);
    }

    #[test]
    fn a_raw_list_ends_as_it_must() {
        let file = Path::new("list");
        assert_eq!(raw(b"", file).unwrap(), []);
        assert_eq!(raw(b"a\nb\0\xff\0", file).unwrap(), [(1, b"a\nb".to_vec()), (2, b"\xff".to_vec())]);
        assert!(raw(b"a\0b", file).unwrap_err().to_string().contains("zero byte"));
        assert!(raw(b"a\0\0b\0", file).unwrap_err().to_string().contains("name 2 is empty"));
        assert!(raw(b"\0", file).is_err());
    }

    #[test]
    fn variables_are_those_of_the_environment_or_an_error() {
        let get = |name: &str| (name == "HOME").then(|| OsString::from("/home/me"));
        for (text, expected) in [
            ("$HOME/x", "/home/me/x"),
            ("a${HOME}b", "a/home/meb"),
            ("$$HOME$$", "$HOME$"),
            ("plain", "plain"),
            ("$HOME$HOME", "/home/me/home/me"),
        ] {
            assert_eq!(expand_variables(text, &get).unwrap(), expected);
        }
        for text in ["$USER", "$", "a$/", "${HOME", "${}", "$HOMER"] {
            assert!(expand_variables(text, &get).is_err(), "{text}");
        }
    }
}
