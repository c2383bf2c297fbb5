//! Finds the paths that a pattern of a list names, as a shell would: `*`, `?` and `[...]` within a name.
//!
//! Invariant: a part without such signs is taken as it is, whatever its bytes; names that begin with a dot match
//! like all others. The paths found are sorted.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use globset::GlobMatcher;

use super::pattern::name_pattern;
use crate::error::{Error, Result};
use crate::report::printable;

/// What a pattern of a list came to.
#[derive(Debug, Default)]
pub struct Expanded {
    /// The paths found. One that holds no sign of a pattern is here whether it exists or not.
    pub paths: Vec<PathBuf>,
    /// Folders that could not be looked through.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// Finds the paths that a pattern names.
///
/// # Errors
/// A part of it that is no pattern.
pub fn expand(pattern: &[u8]) -> Result<Expanded> {
    let mut expanded = Expanded::default();
    if !has_signs(pattern) {
        expanded.paths.push(PathBuf::from(OsStr::from_bytes(pattern)));
        return Ok(expanded);
    }
    let start = if pattern.starts_with(b"/") { "/" } else { "" };
    let parts: Vec<Part<'_>> = pattern
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .map(part)
        .collect::<Result<_>>()?;
    let mut found = vec![PathBuf::from(start)];
    for part in &parts {
        let mut further = Vec::new();
        for folder in found {
            match part {
                Part::Plain(name) => further.push(folder.join(name)),
                Part::Pattern(matcher) => list(&folder, matcher, &mut further, &mut expanded.unreadable),
            }
        }
        found = further;
    }
    found.retain(|path| path.symlink_metadata().is_ok());
    if pattern.ends_with(b"/") {
        // As where a path is typed: a slash asks for the folder itself, also where a link leads to it.
        found.retain(|path| path.is_dir());
        for path in &mut found {
            path.push("");
        }
    }
    found.sort();
    expanded.paths = found;
    Ok(expanded)
}

enum Part<'p> {
    Plain(&'p OsStr),
    Pattern(Box<GlobMatcher>),
}

fn has_signs(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| b"*?[\\".contains(byte))
}

fn part(bytes: &[u8]) -> Result<Part<'_>> {
    if !has_signs(bytes) {
        return Ok(Part::Plain(OsStr::from_bytes(bytes)));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| {
        Error::refused(format!("the pattern \"{}\" is not text", printable(bytes)))
            .hint("name the path itself by --files-from-verbatim or --files-from-raw")
    })?;
    Ok(Part::Pattern(Box::new(name_pattern(text)?)))
}

/// Adds the names in a folder that match. What is no folder holds none.
fn list(
    folder: &Path,
    matcher: &GlobMatcher,
    found: &mut Vec<PathBuf>,
    unreadable: &mut Vec<(PathBuf, io::Error)>,
) {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = match fs::read_dir(here) {
        Ok(entries) => entries,
        Err(error) => {
            if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
                unreadable.push((here.to_path_buf(), error));
            }
            return;
        }
    };
    for entry in entries {
        match entry {
            Ok(entry) if matcher.is_match(Path::new(&entry.file_name())) => {
                found.push(folder.join(entry.file_name()));
            }
            Ok(_) => {}
            Err(error) => unreadable.push((here.to_path_buf(), error)),
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::error::ErrorKind;
    use crate::source::files::testing::Scratch;

    #[test]
    fn signs_stay_within_a_name() {
        let scratch = Scratch::new("glob");
        for name in ["a/x.log", "a/y.log", "a/z.txt", "b/x.log", "b/.hidden", "b/deep/x.log", "[c]/x"] {
            let path = scratch.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        fs::write(scratch.path().join(OsStr::from_bytes(b"a/\xff.log")), "").unwrap();
        let found = |pattern: &str| -> Vec<String> {
            let pattern = [scratch.path().as_os_str().as_bytes(), b"/", pattern.as_bytes()].concat();
            let expanded = expand(&pattern).unwrap();
            assert!(expanded.unreadable.is_empty());
            let top = scratch.path().as_os_str().as_bytes().len() + 1;
            expanded.paths.iter().map(|path| printable(&path.as_os_str().as_bytes()[top..])).collect()
        };
        for (pattern, expected) in [
            ("*/x.log", &["a/x.log", "b/x.log"][..]),
            ("a/*.log", &["a/x.log", "a/y.log", "a/\\xff.log"]),
            ("a/[xz].*", &["a/x.log", "a/z.txt"]),
            ("?/x.log", &["a/x.log", "b/x.log"]),
            ("b/*", &["b/.hidden", "b/deep", "b/x.log"]),
            ("b/*/", &["b/deep/"]),
            ("\\[c\\]/x", &["[c]/x"]),
            ("*.none", &[]),
            ("a/x.log/*", &[]),
            ("none", &["none"]),
        ] {
            assert_eq!(found(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in [&b"/a["[..], b"/\xff*"] {
            assert_eq!(expand(pattern).unwrap_err().kind(), ErrorKind::Refused);
        }
    }
}
