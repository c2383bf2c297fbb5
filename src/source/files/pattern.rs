//! Which host paths a walk passes over: restic's patterns.
//!
//! A pattern without a slash matches a name at any depth; with one in front it starts at the root of the host;
//! with one elsewhere it matches any run of parts. `*` and `?` stay within a part, `**` crosses them. A pattern
//! after `!` takes back what earlier ones matched; the last match decides. What is matched is the whole path of
//! an entry, and a matched folder is not entered, so what is in it is never asked about.
//!
//! Invariant: paths are bytes. `?` stands for one byte of a name, and a class for one ASCII character.

use globset::{Candidate, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

use crate::error::{Error, Result};
use crate::report::printable;

/// Patterns, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Excludes {
    patterns: GlobSet,
    /// For each pattern whether it excludes; those after `!` include again.
    excluding: Vec<bool>,
}

impl Excludes {
    /// Reads patterns in their order.
    pub fn new(patterns: &[String]) -> Result<Self> {
        let mut set = GlobSetBuilder::new();
        let mut excluding = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            let (text, excludes) = match pattern.strip_prefix('!') {
                Some(rest) => (rest, false),
                None => (pattern.as_str(), true),
            };
            set.add(compile(&whole_path(text, pattern)?, pattern)?);
            excluding.push(excludes);
        }
        let patterns = set.build().map_err(|error| {
            Error::refused("the exclude patterns are too large together").caused_by(error)
        })?;
        Ok(Self { patterns, excluding })
    }

    /// Whether nothing is ever passed over.
    pub fn is_empty(&self) -> bool {
        self.excluding.is_empty()
    }

    /// Whether the entry at an absolute host path is to be passed over.
    pub fn matches(&self, host: &[u8]) -> bool {
        if self.is_empty() {
            return false;
        }
        let matching = self.patterns.matches_candidate(&Candidate::from_bytes(host));
        matching.last().and_then(|last| self.excluding.get(*last)).copied().unwrap_or(false)
    }
}

/// A pattern for one name.
pub(super) fn name_pattern(pattern: &str) -> Result<GlobMatcher> {
    if pattern.is_empty() || pattern.contains('/') {
        return Err(invalid(pattern).hint("it is to match one name: give it no slash"));
    }
    Ok(compile(&literal_braces(pattern, pattern)?, pattern)?.compile_matcher())
}

/// Rewrites a pattern of restic's as one for the whole absolute path.
fn whole_path(text: &str, pattern: &str) -> Result<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return Err(invalid(pattern).hint("paths hold no `..` by the time they are matched"));
        }
        parts.push(part);
    }
    if parts.is_empty() {
        return Err(invalid(pattern).hint("it names nothing"));
    }
    // As in restic, `**` may stand for no part at all: `a/**` matches `a`.
    while parts.len() > 1 && parts.last() == Some(&"**") {
        parts.pop();
    }
    let start = if text.starts_with('/') { "/" } else { "**/" };
    literal_braces(&format!("{start}{}", parts.join("/")), pattern)
}

/// Braces mean alternatives to the matcher and nothing to restic.
fn literal_braces(text: &str, pattern: &str) -> Result<String> {
    let mut escaped = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                escaped.push(character);
                escaped.extend(characters.next());
            }
            '[' => class(&mut characters, &mut escaped, pattern)?,
            '{' | '}' => escaped.extend(['\\', character]),
            _ => escaped.push(character),
        }
    }
    Ok(escaped)
}

/// Copies a class up to its end. To restic none matches a slash, so one that would is kept from it; and one that
/// would match single bytes of a longer character is refused.
fn class(characters: &mut std::str::Chars<'_>, escaped: &mut String, pattern: &str) -> Result<()> {
    escaped.push('[');
    let mut inside = String::new();
    loop {
        match characters.next() {
            Some(']') => break,
            Some(character) if character.is_ascii() && character != '\\' => inside.push(character),
            Some(_) => {
                return Err(
                    invalid(pattern).hint("brackets can hold ASCII characters only, and no backslash")
                );
            }
            None => return Err(invalid(pattern).hint("a bracket is not closed")),
        }
    }
    let members = inside.strip_prefix(['!', '^']);
    if members.is_some() {
        escaped.push_str("!/");
    }
    let members = members.unwrap_or(&inside);
    let spans_slash = |range: &[u8]| matches!(range, [from, b'-', to] if *from <= b'/' && b'/' <= *to);
    if members.is_empty() || members.as_bytes().windows(3).any(spans_slash) {
        return Err(invalid(pattern).hint("brackets must hold something, and no range around the slash"));
    }
    escaped.push_str(members);
    escaped.push(']');
    Ok(())
}

fn compile(text: &str, pattern: &str) -> Result<globset::Glob> {
    GlobBuilder::new(text)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| invalid(pattern).caused_by(std::io::Error::other(error.kind().to_string())))
}

fn invalid(pattern: &str) -> Error {
    Error::refused(format!("the exclude pattern \"{}\" is not valid", printable(pattern.as_bytes())))
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::error::ErrorKind;

    fn matches(patterns: &[&str], host: impl AsRef<[u8]>) -> bool {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let excludes = Excludes::new(&patterns).unwrap();
        // As the walk does: what lies in a matched folder is never reached.
        let host = host.as_ref();
        let ends = host.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
        ends.chain([host.len()]).any(|end| excludes.matches(&host[..end]))
    }

    #[test]
    fn the_examples_of_restics_manual_hold() {
        for (pattern, host, expected) in [
            ("foo", "/dir1/foo/dir2/file", true),
            ("foo", "/dir/foo", true),
            ("foo", "/dir/foobar", false),
            ("foo", "/dir/barfoo", false),
            ("/bin", "/bin/bash", true),
            ("/bin", "/usr/bin/restic", false),
            ("bin/", "/usr/bin/restic", true),
            ("b*ash", "/bin/bash", true),
            ("b*ash", "/bin/ash", false),
            ("foo/**/bar", "/dir1/foo/dir2/bar/file", true),
            ("foo/**/bar", "/foo/bar/file", true),
            ("foo/**/bar", "/tmp/foo/bar", true),
            ("*.c", "/srv/a.c", true),
            ("*.go", "/srv/a.c", false),
            ("foo/*", "/srv/foo/bar/baz", true),
            ("foo/*", "/srv/foo", false),
            ("foo/**", "/srv/foo", true),
            ("/home/*/.cache", "/home/user/.cache/x", true),
            ("/home/*/.cache", "/home/user/sub/.cache/x", false),
            ("**/x", "/x", true),
            ("**", "/anything", true),
            ("/**/b", "/b", true),
            ("a?c", "/abc", true),
            ("a?c", "/a/c", false),
            ("a[b-d]", "/ac", true),
            ("a[^b-d]", "/ac", false),
            ("a[!b-d]", "/a/", false),
            ("a[!b-d]e", "/x/a/e", false),
            ("a[!b-d]e", "/x/aae", true),
            ("a[-b]", "/a-", true),
            ("{a,b}", "/a", false),
            ("{a,b}", "/{a,b}", true),
            ("\\*", "/*", true),
            ("\\*", "/a", false),
            ("./a/b", "/x/a/b", true),
        ] {
            assert_eq!(matches(&[pattern], host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn the_last_match_decides() {
        let patterns = ["*.log", "!keep.log", "/srv/keep.log"];
        assert!(matches(&patterns, "/var/a.log"));
        assert!(!matches(&patterns, "/var/keep.log"));
        assert!(matches(&patterns, "/srv/keep.log"));
        assert!(matches(&["\\!a"], "/!a") && !matches(&["!a"], "/a"));
    }

    #[test]
    fn names_are_bytes() {
        assert!(matches(&["a*z"], b"/x/a\xff\xfez"));
        assert!(matches(&["a?z"], b"/x/a\xffz"));
        assert!(matches(&["über*"], "/über-uns"));
        assert!(matches(&["*"], b"/a\nb"));
        assert!(!matches(&[], "/a"));
    }

    #[test]
    fn a_pattern_that_cannot_be_is_refused_by_name() {
        for pattern in ["", "!", "/", "a[", "a/../b", "[z-a]", "[ä]", "[]", "[!]a]", "[+-9]"] {
            let error = Excludes::new(&[pattern.to_owned()]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains(&format!("\"{pattern}\"")), "{error}");
        }
        assert!(name_pattern("a/b").is_err());
        assert!(name_pattern("db_*.sqlite3").unwrap().is_match("db_2024.sqlite3"));
    }
}
