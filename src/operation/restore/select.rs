//! Which part of a snapshot is restored: patterns that include and exclude.
//!
//! Invariant: patterns are held against paths as `ls` shows them. What lies in something that is excluded is
//! excluded, and what lies in something that is included is included unless it is excluded itself.

use crate::error::Result;
use crate::format::path;
use crate::source::files::{ExcludeOptions, Excludes};

/// Patterns that choose among what a snapshot holds; without any, all of it.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    include: Option<Excludes>,
    exclude: Option<Excludes>,
}

/// What becomes of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is restored.
    Selected,
    /// It is not, and something in it may be.
    Way,
    /// Neither it nor anything in it is.
    Out,
}

impl Selection {
    /// What one of the patterns to include matches, if there are any, without what one of those to exclude matches.
    ///
    /// # Errors
    /// A pattern that cannot be, by name.
    pub fn new(include: &ExcludeOptions, exclude: &ExcludeOptions) -> Result<Self> {
        let read = |options: &ExcludeOptions| {
            let any = !options.patterns.is_empty() || !options.patterns_any_case.is_empty();
            any.then(|| Excludes::new(options)).transpose()
        };
        Ok(Self { include: read(include)?, exclude: read(exclude)? })
    }

    /// Whether all is selected.
    pub fn is_everything(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// What becomes of what is at a path, wherever that is asked from.
    pub(super) fn fate(&self, place: &[u8]) -> Fate {
        let mut fate = if self.include.is_none() { Fate::Selected } else { Fate::Way };
        let ends = place.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        for end in ends.chain((!place.is_empty()).then_some(place.len())) {
            fate = self.below(fate, place.get(..end).unwrap_or_default());
            if fate == Fate::Out {
                break;
            }
        }
        fate
    }

    /// What becomes of something that lies directly in a folder of this fate.
    fn below(&self, folder: Fate, place: &[u8]) -> Fate {
        let host = [b"/", place].concat();
        let matches = |patterns: &Option<Excludes>| patterns.as_ref().is_some_and(|one| one.matches(&host));
        if folder == Fate::Out || matches(&self.exclude) {
            Fate::Out
        } else if folder == Fate::Selected || matches(&self.include) {
            Fate::Selected
        } else {
            Fate::Way
        }
    }
}

/// Asks for one path after the other, in their order, so that what lies in a folder is decided by it.
pub(super) struct Sieve<'s> {
    selection: &'s Selection,
    /// The folders above the path before, and what became of each.
    above: Vec<(Vec<u8>, Fate)>,
    /// What becomes of what has no folder here.
    start: Fate,
}

impl<'s> Sieve<'s> {
    /// Starts at a folder of the snapshot, or at one thing in it.
    pub(super) fn new(selection: &'s Selection, place: &[u8]) -> Self {
        let above = path::parent(place).unwrap_or_default();
        Self { selection, above: Vec::new(), start: selection.fate(above) }
    }

    pub(super) fn fate(&mut self, place: &[u8], is_folder: bool) -> Fate {
        if self.selection.is_everything() {
            return Fate::Selected;
        }
        while self.above.last().is_some_and(|(folder, _)| !path::is_below(place, folder)) {
            self.above.pop();
        }
        let folder = self.above.last().map_or(self.start, |(_, fate)| *fate);
        // The root matches no pattern.
        let fate = if place.is_empty() { folder } else { self.selection.below(folder, place) };
        if is_folder {
            self.above.push((place.to_vec(), fate));
        }
        fate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decided_in_passing_is_what_is_decided_alone() {
        let of = |patterns: &[&str]| ExcludeOptions::of_patterns(patterns.iter().copied());
        let paths: [&[u8]; 8] = [b"", b"a", b"a/b", b"a/b/c.txt", b"a/d.txt", b"b", b"b/c", b"b/c/e.txt"];
        let cases: [(&[&str], &[&str], [Fate; 8]); 4] = {
            use Fate::{Out, Selected, Way};
            [
                (&[], &[], [Selected; 8]),
                (&["*.txt"], &[], [Way, Way, Way, Selected, Selected, Way, Way, Selected]),
                (&[], &["b"], [Selected, Selected, Out, Out, Selected, Out, Out, Out]),
                (&["/a"], &["c.txt"], [Way, Selected, Selected, Out, Selected, Way, Way, Way]),
            ]
        };
        for (include, exclude, expected) in cases {
            let selection = Selection::new(&of(include), &of(exclude)).unwrap();
            let mut sieve = Sieve::new(&selection, b"");
            for (place, expected) in paths.into_iter().zip(expected) {
                let is_folder = !place.ends_with(b"txt");
                assert_eq!(selection.fate(place), expected, "{include:?} {exclude:?} {place:?}");
                assert_eq!(sieve.fate(place, is_folder), expected, "{include:?} {exclude:?} {place:?}");
            }
        }
        assert!(Selection::new(&of(&["["]), &of(&[])).is_err());
    }
}
