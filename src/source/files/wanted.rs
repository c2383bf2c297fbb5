//! Patterns of paths that are looked for: the same as those of what a walk passes over, but for one point. A pattern
//! that ends in `/**` names what lies in a folder, and not the folder, for whoever looks wants each thing named.

use super::pattern::{self, PatternSet};
use crate::error::Result;

/// Patterns of paths that are looked for.
#[derive(Clone, Debug, Default)]
pub struct PathPatterns {
    set: PatternSet,
    any_case: bool,
    folder: Vec<u8>,
}

impl PathPatterns {
    /// Reads patterns; with `any_case` capital and small letters are equal.
    pub fn new(patterns: &[String], any_case: bool) -> Result<Self> {
        let lowered = |text: &String| if any_case { text.to_lowercase() } else { text.clone() };
        let patterns: Vec<String> = patterns.iter().map(lowered).collect();
        let set = PatternSet::of_each(patterns.iter().map(String::as_str))?;
        let folder = match patterns.as_slice() {
            [only] if !any_case => fixed_folder(only),
            _ => Vec::new(),
        };
        Ok(Self { set, any_case, folder })
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Whether a path is looked for, given with a slash in front.
    pub fn matches(&self, path: &[u8]) -> bool {
        if self.any_case { self.set.matches(&pattern::lowercase(path)) } else { self.set.matches(path) }
    }

    /// The folder in which everything lies that can match, by its path in a snapshot; the root if there is no other.
    pub fn folder(&self) -> &[u8] {
        &self.folder
    }
}

/// The folders with which a pattern from the root begins.
fn fixed_folder(pattern: &str) -> Vec<u8> {
    let Some(rest) = pattern.strip_prefix('/') else { return Vec::new() };
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let above = parts.split_last().map_or(&[][..], |(_, above)| above);
    let fixed = above.iter().take_while(|part| !part.contains(['*', '?', '[', '\\']));
    fixed.copied().collect::<Vec<&str>>().join("/").into_bytes()
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_path_matches_as_a_whole() {
        let cases: [(&str, &str, bool); 16] = [
            ("notes", "/a/notes", true),
            ("notes", "/a/notes/b", false),
            ("*.TXT", "/a.txt", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c", false),
            ("/a/*", "/x/a/b", false),
            ("a/*", "/x/a/b", true),
            ("a/**", "/x/a/b/c", true),
            ("a/**", "/x/a", false),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/a", false),
            ("/a/**/c", "/a/b/b/c", true),
            ("**", "/a/b", true),
            ("{a,b}", "/a", false),
            ("{a,b}", "/{a,b}", true),
            ("[ab]?", "/x/bc", true),
        ];
        for (pattern, path, expected) in cases {
            let patterns = PathPatterns::new(&[pattern.to_owned()], false).unwrap();
            assert_eq!(patterns.matches(path.as_bytes()), expected, "{pattern} {path}");
        }
        let patterns = PathPatterns::new(&["*.TXT".into(), "!/tmp".into()], true).unwrap();
        assert!(patterns.matches(b"/A.txt") && patterns.matches(b"/x/\xff.tXt"));
        assert!(!patterns.matches(b"/tmp/a.txt"));
        assert_eq!(PathPatterns::new(&["a[".into()], false).unwrap_err().kind(), ErrorKind::Refused);
    }

    #[test]
    fn the_folder_of_a_pattern_is_what_it_begins_with() {
        let folder = |pattern: &str| PathPatterns::new(&[pattern.to_owned()], false).unwrap().folder;
        for (pattern, expected) in
            [("/a/b/*", "a/b"), ("/a/*/c", "a"), ("a/b", ""), ("/a", ""), ("//a/./b", "a"), ("/a\\*/b", "")]
        {
            assert_eq!(folder(pattern), expected.as_bytes(), "{pattern}");
        }
        assert!(PathPatterns::new(&["/a/b".into(), "/a/c".into()], false).unwrap().folder().is_empty());
        assert!(PathPatterns::new(&["/a/b".into()], true).unwrap().folder().is_empty());
    }
}
