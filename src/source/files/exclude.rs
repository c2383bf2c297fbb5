//! What a walk passes over: patterns, marked folders, large files, other file systems.
//!
//! Invariant: what is passed over is what [`ExcludeOptions::describe`] tells, which the manifest keeps.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Statx, StatxAttributes};

use super::folder::Folder;
use super::metadata::{self, kind};
use super::pattern::{self, PatternSet};
use crate::error::{Error, Result};
use crate::format::node::NodeKind;
use crate::report::printable;

/// The name and the beginning of a file that marks a folder as a cache, by the Cache Directory Tagging standard.
const CACHE_TAG: &str = "CACHEDIR.TAG";
const CACHE_SIGNATURE: &str = "Signature: 8a477f597d28d172789f06886806bc55";

/// What a person wants passed over.
#[derive(Clone, Debug, Default)]
pub struct ExcludeOptions {
    /// Patterns with restic's rules; the last that matches decides.
    pub patterns: Vec<String>,
    /// The same, large and small letters being equal.
    pub patterns_any_case: Vec<String>,
    /// Whether the contents of folders marked as caches are passed over.
    pub caches: bool,
    /// Files whose presence keeps what else is in their folder out.
    pub markers: Vec<Marker>,
    /// The largest file that is stored, in bytes.
    pub larger_than: Option<u64>,
    /// Whether the walk stays on the file systems of what was named.
    pub one_file_system: bool,
}

/// A file whose presence keeps what else is in its folder out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    name: String,
    /// What the file must begin with.
    header: Option<String>,
}

impl Marker {
    /// Reads `NAME` or `NAME:HEADER`.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, header) = match text.split_once(':') {
            Some((name, header)) => (name, Some(header).filter(|header| !header.is_empty())),
            None => (text, None),
        };
        if name.is_empty() || name.contains('/') || [".", ".."].contains(&name) {
            return Err(Error::refused(format!("{text:?} names no file that could mark a folder")).hint(
                "give a name without a slash, such as .nobackup, and perhaps `:` and what it begins with",
            ));
        }
        Ok(Self { name: name.to_owned(), header: header.map(str::to_owned) })
    }

    fn of_caches() -> Self {
        Self { name: CACHE_TAG.to_owned(), header: Some(CACHE_SIGNATURE.to_owned()) }
    }

    /// Whether this file is in a folder, whose names are sorted. One that cannot be read marks nothing: then its
    /// folder is stored, and the walk says what is wrong with the file.
    fn marks(&self, folder: &Folder, names: &[Box<[u8]>]) -> bool {
        let name = self.name.as_bytes();
        if names.binary_search_by(|other| other.as_ref().cmp(name)).is_err() {
            return false;
        }
        self.header
            .as_ref()
            .is_none_or(|header| begins_with(folder, name, header.as_bytes()).unwrap_or(false))
    }
}

fn begins_with(folder: &Folder, name: &[u8], header: &[u8]) -> Result<bool> {
    // Opening anything else than a file may have effects, on a tape for instance.
    let fail = |error| Error::io("cannot read the file that marks a folder", error);
    if kind(&folder.stat(name).map_err(fail)?) != Some(NodeKind::File) {
        return Ok(false);
    }
    let file = std::fs::File::from(folder.open_file(name).map_err(fail)?);
    if kind(&metadata::stat_open(&file)?) != Some(NodeKind::File) {
        return Ok(false);
    }
    let mut found = vec![0; header.len()];
    Ok(std::os::unix::fs::FileExt::read_exact_at(&file, &mut found, 0).is_ok() && found == header)
}

impl ExcludeOptions {
    /// Patterns alone.
    pub fn of_patterns(patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { patterns: patterns.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// What is passed over in words that a manifest keeps: patterns as they are, all else as options.
    pub fn describe(&self) -> Vec<String> {
        let plain = |pattern: &String| {
            // What begins with two dashes is an option.
            if pattern.starts_with("--") { format!("--exclude={pattern}") } else { pattern.clone() }
        };
        let mut all: Vec<String> = self.patterns.iter().map(plain).collect();
        all.extend(self.patterns_any_case.iter().map(|pattern| format!("--iexclude={pattern}")));
        all.extend(self.caches.then(|| "--exclude-caches".to_owned()));
        all.extend(self.markers.iter().map(|marker| {
            let header = marker.header.as_ref().map(|header| format!(":{header}")).unwrap_or_default();
            format!("--exclude-if-present={}{header}", marker.name)
        }));
        all.extend(self.larger_than.map(|bytes| format!("--exclude-larger-than={bytes}")));
        all.extend(self.one_file_system.then(|| "--one-file-system".to_owned()));
        all
    }
}

impl ExcludeOptions {
    /// Reads what [`Self::describe`] wrote; also gives the options that say something else.
    ///
    /// # Errors
    /// `Refused` where an option's value cannot be.
    pub fn parse(described: &[String]) -> Result<(Self, Vec<&str>)> {
        let mut options = Self::default();
        let mut others = Vec::new();
        for text in described {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            match name {
                _ if !text.starts_with("--") => options.patterns.push(text.clone()),
                "--exclude" => options.patterns.push(value.to_owned()),
                "--iexclude" => options.patterns_any_case.push(value.to_owned()),
                "--exclude-caches" => options.caches = true,
                "--exclude-if-present" => options.markers.push(Marker::parse(value)?),
                "--exclude-larger-than" => {
                    let bytes = value
                        .parse()
                        .map_err(|_| Error::refused(format!("{} is no size", printable(value.as_bytes()))))?;
                    options.larger_than = Some(bytes);
                }
                "--one-file-system" => options.one_file_system = true,
                _ => others.push(text.as_str()),
            }
        }
        Ok((options, others))
    }
}

/// Refuses a pattern that cannot be, by name.
pub fn check_pattern(pattern: &str) -> Result<()> {
    PatternSet::new([pattern]).map(drop)
}

/// What to pass over, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Excludes {
    patterns: PatternSet,
    /// In small letters.
    patterns_any_case: PatternSet,
    markers: Vec<Marker>,
    larger_than: Option<u64>,
    one_file_system: bool,
}

impl Excludes {
    /// Makes them ready.
    ///
    /// # Errors
    /// A pattern that cannot be, by name.
    pub fn new(options: &ExcludeOptions) -> Result<Self> {
        let mut small_letters = Vec::new();
        for pattern in &options.patterns_any_case {
            // So that the message names the pattern as it was given.
            check_pattern(pattern)?;
            small_letters.push(pattern.to_lowercase());
        }
        let mut markers = options.markers.clone();
        markers.extend(options.caches.then(Marker::of_caches));
        Ok(Self {
            patterns: PatternSet::new(options.patterns.iter().map(String::as_str))?,
            patterns_any_case: PatternSet::new(small_letters.iter().map(String::as_str))?,
            markers,
            larger_than: options.larger_than,
            one_file_system: options.one_file_system,
        })
    }

    /// Whether a pattern passes over the entry at an absolute host path.
    pub fn matches(&self, host: &[u8]) -> bool {
        let as_given = !self.patterns.is_empty() && self.patterns.matches(host);
        as_given
            || !self.patterns_any_case.is_empty() && self.patterns_any_case.matches(&pattern::lowercase(host))
    }

    /// Whether a file may be missing from a snapshot because of these. Where marks in folders or borders of file
    /// systems count, any may.
    pub fn keep_out(&self, host: &Path) -> bool {
        let large = self
            .larger_than
            .is_some_and(|most| host.symlink_metadata().is_ok_and(|metadata| metadata.len() > most));
        large
            || !self.markers.is_empty()
            || self.one_file_system
            || host.ancestors().any(|path| self.matches(path.as_os_str().as_bytes()))
    }

    /// Whether a file of so many bytes is too large to be stored.
    pub fn is_longer_than_wanted(&self, bytes: u64) -> bool {
        self.larger_than.is_some_and(|most| bytes > most)
    }

    /// The files whose presence keeps what else is in their folder out, and what each begins with.
    pub fn markers(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.markers.iter().map(|marker| (marker.name.as_str(), marker.header.as_deref()))
    }

    /// Whether it is a file too large to be stored.
    pub(super) fn is_too_large(&self, stat: &Statx) -> bool {
        self.larger_than.is_some_and(|most| stat.stx_size > most) && kind(stat) == Some(NodeKind::File)
    }

    /// Whether something lies on another file system than the folder that it was found in, and is not wanted.
    pub(super) fn is_elsewhere(&self, folder: Option<u64>, stat: &Statx) -> bool {
        if !self.one_file_system || folder.is_none_or(|folder| folder == metadata::device(stat)) {
            return false;
        }
        // Where file systems are stacked, a file may show the number of the one below without being mounted.
        let tells = stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
        let is_folder = kind(stat) == Some(NodeKind::Directory);
        is_folder || !tells || stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    }

    /// Where a folder is marked, drops all of its names but those of the marks; `names` are sorted. Tells
    /// whether it is marked.
    pub(super) fn keep_marks_only(&self, folder: &Folder, names: &mut Vec<Box<[u8]>>) -> bool {
        let found: Vec<&Marker> = self.markers.iter().filter(|marker| marker.marks(folder, names)).collect();
        if !found.is_empty() {
            names.retain(|name| found.iter().any(|marker| marker.name.as_bytes() == name.as_ref()));
        }
        !found.is_empty()
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_is_passed_over_is_told_in_full() {
        let options = ExcludeOptions {
            patterns: vec!["*.tmp".into(), "--odd".into()],
            patterns_any_case: vec!["*.BAK".into()],
            caches: true,
            markers: vec![Marker::parse(".nobackup").unwrap(), Marker::parse("TAG:first: line").unwrap()],
            larger_than: Some(1 << 30),
            one_file_system: true,
        };
        let expected = [
            "*.tmp",
            "--exclude=--odd",
            "--iexclude=*.BAK",
            "--exclude-caches",
            "--exclude-if-present=.nobackup",
            "--exclude-if-present=TAG:first: line",
            "--exclude-larger-than=1073741824",
            "--one-file-system",
        ];
        assert_eq!(options.describe(), expected);
        let mut stored = options.describe();
        stored.push("--other=1".into());
        let (read, others) = ExcludeOptions::parse(&stored).unwrap();
        assert_eq!((read.describe(), others), (options.describe(), vec!["--other=1"]));
        assert!(ExcludeOptions::parse(&["--exclude-larger-than=x".into()]).is_err());
        assert!(ExcludeOptions::default().describe().is_empty());
    }

    #[test]
    fn a_mark_is_one_name() {
        assert_eq!(Marker::parse("a:").unwrap(), Marker::parse("a").unwrap());
        for text in ["", ":x", "a/b", "..", "/a"] {
            assert_eq!(Marker::parse(text).unwrap_err().kind(), ErrorKind::Refused, "{text}");
        }
    }

    #[test]
    fn letters_of_any_size_are_equal_where_that_was_asked_for() {
        let options =
            ExcludeOptions { patterns_any_case: vec!["*.Tmp".into(), "ÜBER?".into()], ..Default::default() };
        let excludes = Excludes::new(&options).unwrap();
        for (host, expected) in
            [("/a/B.TMP", true), ("/a/b.tmp", true), ("/überx", true), ("/a/b.txt", false), ("/über", false)]
        {
            assert_eq!(excludes.matches(host.as_bytes()), expected, "{host}");
        }
        assert!(excludes.matches(b"/\xff.TMP"));
        let wrong = ExcludeOptions { patterns_any_case: vec!["A[".into()], ..Default::default() };
        assert!(Excludes::new(&wrong).unwrap_err().to_string().contains("\"A[\""));
    }
}
