//! Patterns of what a walk passes over: restic's.
//!
//! A pattern without a slash matches a name at any depth; with one in front it starts at the root of the host;
//! with one elsewhere it matches any run of parts. `*` and `?` stay within a part, `**` crosses them. A pattern
//! after `!` takes back what earlier ones matched, with all that lies in it; the last match decides. What is matched is the whole path of
//! an entry, and a matched folder is not entered, so what is in it is never asked about.
//!
//! Invariant: paths are bytes. `?` stands for one byte of a name, and a class for one ASCII character.

use std::collections::BTreeMap;

use globset::{Candidate, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

use crate::error::{Error, Result};
use crate::report::printable;

/// Patterns, ready to be asked.
#[derive(Clone, Debug, Default)]
pub(super) struct PatternSet {
    groups: Vec<Group>,
    /// For each pattern whether it excludes; those after `!` include again.
    excluding: Vec<bool>,
    /// Whether any includes again.
    takes_back: bool,
}

/// Patterns that are held against the same end of a path.
#[derive(Clone, Debug)]
struct Group {
    /// So many parts at the end, or the whole.
    parts: Option<usize>,
    set: GlobSet,
    /// Where each stands among all patterns.
    order: Vec<usize>,
}

/// A pattern, rewritten for the matcher.
struct Rewritten {
    text: String,
    /// So many parts at the end of a path it speaks of; the whole path if none.
    parts: Option<usize>,
}

impl PatternSet {
    /// Reads patterns in their order. What is matched is left out with all that lies in it.
    pub(super) fn new<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<Self> {
        Self::read(patterns, true)
    }

    /// Reads patterns in their order. What is matched is meant alone, and not what lies in it.
    pub(super) fn of_each<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<Self> {
        Self::read(patterns, false)
    }

    fn read<'p>(patterns: impl IntoIterator<Item = &'p str>, with_contents: bool) -> Result<Self> {
        // A matcher that may begin anywhere in a path costs its number of patterns for every byte; one that
        // begins where its parts do drops most patterns at the first byte. So patterns are kept by their parts.
        let mut builders: BTreeMap<Option<usize>, (GlobSetBuilder, Vec<usize>)> = BTreeMap::new();
        let empty = || (GlobSetBuilder::new(), Vec::new());
        let mut excluding = Vec::new();
        for pattern in patterns {
            let (text, excludes) = match pattern.strip_prefix('!') {
                Some(rest) => (rest, false),
                None => (pattern, true),
            };
            let rewritten = rewrite(text, pattern, with_contents)?;
            let (set, order) = builders.entry(rewritten.parts).or_insert_with(empty);
            set.add(compile(&rewritten.text, pattern)?);
            order.push(excluding.len());
            excluding.push(excludes);
        }
        let groups = builders.into_iter().map(|(parts, (set, order))| {
            let set = set
                .build()
                .map_err(|error| Error::refused("the patterns are too large together").caused_by(error))?;
            Ok(Group { parts, set, order })
        });
        let takes_back = excluding.contains(&false);
        Ok(Self { groups: groups.collect::<Result<_>>()?, excluding, takes_back })
    }

    /// Whether nothing is ever passed over.
    pub(super) fn is_empty(&self) -> bool {
        self.excluding.is_empty()
    }

    /// Whether the entry at an absolute host path is to be passed over.
    pub(super) fn matches(&self, host: &[u8]) -> bool {
        let last = self.last(host, &|_| true);
        if !last.is_some_and(|last| self.excludes(last)) {
            return false;
        }
        // What was taken back was taken back with all that lies in it.
        let takes_back = |pattern: usize| !self.excludes(pattern);
        let mut above = host;
        while let Some(slash) = above.iter().rposition(|byte| *byte == b'/').filter(|_| self.takes_back) {
            above = above.get(..slash).unwrap_or_default();
            if self.last(above, &takes_back) > last {
                return false;
            }
        }
        true
    }

    fn excludes(&self, pattern: usize) -> bool {
        self.excluding.get(pattern).copied().unwrap_or(false)
    }

    /// The last of the patterns wanted that matches a path as a whole.
    fn last(&self, host: &[u8], wanted: &dyn Fn(usize) -> bool) -> Option<usize> {
        self.groups.iter().filter_map(|group| group.last_match(host, wanted)).max()
    }
}

impl Group {
    fn last_match(&self, host: &[u8], wanted: &dyn Fn(usize) -> bool) -> Option<usize> {
        let end = match self.parts {
            Some(parts) => last_parts(host, parts)?,
            None => host,
        };
        let matching = self.set.matches_candidate(&Candidate::from_bytes(end));
        let mut patterns = matching.iter().rev().filter_map(|index| self.order.get(*index)).copied();
        patterns.find(|pattern| wanted(*pattern))
    }
}

/// The last parts of an absolute path, if it has so many.
fn last_parts(host: &[u8], parts: usize) -> Option<&[u8]> {
    let mut slashes = host.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
    let (slash, _) = slashes.nth(parts.checked_sub(1)?)?;
    host.get(slash.checked_add(1)?..)
}

/// A path in small letters; what is not UTF-8 stays as it is.
pub(super) fn lowercase(host: &[u8]) -> Vec<u8> {
    let mut small = Vec::with_capacity(host.len());
    for part in host.utf8_chunks() {
        small.extend_from_slice(part.valid().to_lowercase().as_bytes());
        small.extend_from_slice(part.invalid());
    }
    small
}

/// A pattern for one name.
pub(super) fn name_pattern(pattern: &str) -> Result<GlobMatcher> {
    if pattern.is_empty() || pattern.contains('/') {
        return Err(invalid(pattern).hint("it is to match one name: give it no slash"));
    }
    Ok(compile(&literal_braces(pattern, pattern)?, pattern)?.compile_matcher())
}

/// Rewrites a pattern of restic's for the matcher.
fn rewrite(text: &str, pattern: &str, with_contents: bool) -> Result<Rewritten> {
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
    while with_contents && parts.len() > 1 && parts.last() == Some(&"**") {
        parts.pop();
    }
    let joined = parts.join("/");
    let (text, parts) = if text.starts_with('/') {
        (format!("/{joined}"), None)
    } else if parts.contains(&"**") {
        (format!("**/{joined}"), None)
    } else {
        (joined, Some(parts.len()))
    };
    Ok(Rewritten { text: literal_braces(&text, pattern)?, parts })
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
            None => {
                return Err(invalid(pattern)
                    .hint("a bracket is not closed: add `]`, or write `\\[` where a bracket is meant"));
            }
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
    Error::refused(format!("the pattern \"{}\" is not valid", printable(pattern.as_bytes())))
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::error::ErrorKind;

    fn matches(patterns: &[&str], host: impl AsRef<[u8]>) -> bool {
        let excludes = PatternSet::new(patterns.iter().copied()).unwrap();
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
            ("a/b", "/a/b", true),
            ("a/b", "/b", false),
            ("a/b", "/xa/b", false),
            ("a/*/c", "/x/a/b/c", true),
            ("a/*/c", "/x/a/b/b/c", false),
            ("a/**/c/d", "/x/a/b/b/c/d", true),
            ("/a", "/x/a", false),
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
        // As in restic: all but this folder, and what is in it.
        let all_but = ["*", "!keep", "*.tmp"];
        assert!(matches(&all_but, "/a") && !PatternSet::new(all_but).unwrap().matches(b"/x/keep/a/b"));
        assert!(PatternSet::new(all_but).unwrap().matches(b"/x/keep/a/b.tmp"));
        // What lies above the path that was named is no match.
        assert!(!PatternSet::new(["tmp", "!x"]).unwrap().matches(b"/tmp/y"));
        // Whatever group a pattern belongs to, its place among all of them counts.
        let groups = ["/srv/**/a", "!srv/a", "a", "!/srv/x/a"];
        assert!(matches(&groups, "/srv/a") && matches(&groups, "/other/a") && !matches(&groups, "/srv/x/a"));
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
            let error = PatternSet::new([pattern]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains(&format!("\"{pattern}\"")), "{error}");
        }
        assert!(name_pattern("a/b").is_err());
        assert!(name_pattern("db_*.sqlite3").unwrap().is_match("db_2024.sqlite3"));
    }
}
