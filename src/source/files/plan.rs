//! Which host paths stand where in a snapshot.
//!
//! Invariant: every place is a valid path of a snapshot and has at most one source. A source inside another's
//! place stands instead of what lies there. Two plans made by the same calls are equal, whatever the host holds:
//! nothing is looked up before the walk.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use globset::{Candidate, GlobMatcher};

use super::pattern;
use crate::error::{Error, Result};
use crate::format::path as place_path;
use crate::report::printable;
use crate::source::sqlite::companion_base;

/// Which host paths stand where in a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Only places about which something is known; the folders between are implied.
    places: BTreeMap<Vec<u8>, Place>,
    /// Places below which files come and go.
    transient: Vec<Vec<u8>>,
}

/// What is known about one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// What is stored here.
    pub(super) source: Option<Source>,
    /// The folder of the host whose metadata stands here if nothing else does.
    pub(super) above: Option<PathBuf>,
    /// Whether what would naturally lie here is passed over.
    pub(super) left_out: bool,
    /// Whether what would naturally lie here must not be passed over without a word.
    needed: bool,
    /// Names that are passed over if they lie directly here.
    names_left_out: Vec<GlobMatcher>,
}

/// A host path to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Absolute.
    pub(super) host: PathBuf,
    /// Whether to go where it points, if it is a symbolic link.
    pub(super) follow: bool,
    /// Whether a person named this path: then excludes apply to it, and it must not hide anything.
    pub(super) given: bool,
    /// Whether it comes from a list: a person did not type it, and wants no advice about it.
    pub(super) listed: bool,
}

impl Plan {
    /// A plan without anything in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a path as given on a command line, under the name it was given by.
    ///
    /// An absolute path stands below the root of the snapshot as below that of the host, a relative one as it is.
    /// `.` stores the current folder as the root; leading `..` are dropped, others taken lexically. The folders
    /// above are stored too, without what else they hold. A symbolic link is stored as one unless a slash follows
    /// it. The same path may be given twice, also inside another; two of one name are refused.
    pub fn add_path(&mut self, path: &Path) -> Result<()> {
        self.add(path, false)
    }

    /// The same for a path from a list: that it is a symbolic link is then no surprise.
    pub fn add_listed_path(&mut self, path: &Path) -> Result<()> {
        self.add(path, true)
    }

    fn add(&mut self, path: &Path, listed: bool) -> Result<()> {
        if path.as_os_str().is_empty() {
            return Err(Error::refused("an empty path was given to back up")
                .hint("check the variable or the list that it comes from"));
        }
        let host = absolute(path)?;
        let named = clean(path);
        let mut place = Vec::new();
        for component in named.components() {
            if let Component::Normal(name) = component {
                place_path::push(&mut place, name.as_bytes());
            }
        }
        check(&place)?;
        let text = path.as_os_str().as_bytes();
        let follow = place.is_empty() || text.ends_with(b"/") || text.ends_with(b"/.");
        let mut above = host.parent();
        for folder in folders_above(&place) {
            if let Some(path) = above {
                self.place(folder).above.get_or_insert_with(|| path.to_path_buf());
                above = path.parent();
            }
        }
        self.set(&place, Source { host, follow, given: true, listed })
    }

    /// Stores what is at a host path, file or folder, links followed, at a place of the snapshot; the empty place
    /// is the root.
    ///
    /// It wins over what another source has there.
    pub fn map(&mut self, place: &[u8], host: &Path) -> Result<()> {
        check(place)?;
        let host = std::path::absolute(host)
            .map_err(|error| Error::io("cannot tell which folder is the current one", error))?;
        if let Some(parent) = host.parent() {
            for folder in folders_above(place) {
                self.place(folder).above.get_or_insert_with(|| parent.to_path_buf());
            }
        }
        self.set(place, Source { host, follow: true, given: false, listed: false })
    }

    /// Never visits this place, unless it is the place of a source or holds one.
    pub fn leave_out(&mut self, place: &[u8]) {
        self.place(place).left_out = true;
    }

    /// Never visits names that match a pattern directly in this folder, such as `db_*.sqlite3`.
    pub fn leave_out_matching(&mut self, folder: &[u8], pattern: &str) -> Result<()> {
        let matcher = pattern::name_pattern(pattern)?;
        self.place(folder).names_left_out.push(matcher);
        Ok(())
    }

    /// Tells that a backup is not whole without what lies at this place: to exclude it is then a problem.
    pub fn need(&mut self, place: &[u8]) {
        self.place(place).needed = true;
    }

    /// Whether something that is needed would lie at this place or below it.
    pub(super) fn needs_at_or_below(&self, place: &[u8]) -> bool {
        let from = (Bound::Included(place), Bound::Unbounded);
        self.places
            .range::<[u8], _>(from)
            .take_while(|(other, _)| other.starts_with(place))
            .any(|(other, known)| known.needed && place_path::is_below(other, place))
    }

    /// Expects that what lies below this place comes and goes: that something vanished is then worth a line and no
    /// problem, for whoever made the plan finds out by other means whether it ought to be there.
    pub fn expect_vanishing(&mut self, place: &[u8]) {
        self.transient.push(place.to_vec());
    }

    /// Whether something at this place may vanish without that being a problem.
    pub fn may_vanish(&self, place: &[u8]) -> bool {
        // The log of a database goes with the transaction that made it.
        companion_base(place_path::name(place)).is_some()
            || self.transient.iter().any(|folder| place_path::is_below(place, folder))
    }

    /// The host paths to be stored, in the order of their places' bytes.
    pub fn hosts(&self) -> impl Iterator<Item = (&[u8], &Path)> {
        self.sources().map(|(place, source)| (place, source.host.as_path()))
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = (&[u8], &Source)> {
        self.places.iter().filter_map(|(place, known)| Some((place.as_slice(), known.source.as_ref()?)))
    }

    pub(super) fn get(&self, place: &[u8]) -> Option<&Place> {
        self.places.get(place)
    }

    /// Takes a source out, and what would lie in its stead too.
    pub(super) fn remove_source(&mut self, place: &[u8]) {
        let known = self.place(place);
        known.source = None;
        known.left_out = true;
    }

    /// All places about which something is known, and all folders above them.
    pub(super) fn known(&self) -> BTreeSet<Vec<u8>> {
        with_folders_above(self.places.keys().map(Vec::as_slice))
    }

    /// All places of sources, and all folders above them.
    pub(super) fn held(&self) -> Held {
        Held(with_folders_above(self.sources().map(|(place, _)| place)))
    }

    fn place(&mut self, place: &[u8]) -> &mut Place {
        self.places.entry(place.to_vec()).or_default()
    }

    fn set(&mut self, place: &[u8], source: Source) -> Result<()> {
        let known = self.place(place);
        match &mut known.source {
            None => known.source = Some(source),
            Some(other) if other.host == source.host => {
                // Whoever asked for what lies behind the link gets it.
                other.follow |= source.follow;
                other.given &= source.given;
            }
            Some(other) => {
                let first = printable(other.host.as_os_str().as_bytes());
                let second = printable(source.host.as_os_str().as_bytes());
                let place = printable(place);
                return Err(Error::refused(format!("{first} and {second} would both be stored as /{place}"))
                    .hint("give absolute paths, or take two snapshots"));
            }
        }
        Ok(())
    }
}

impl Place {
    /// Whether a name directly in this place is passed over.
    pub(super) fn leaves_out(&self, name: &[u8]) -> bool {
        !self.names_left_out.is_empty() && {
            let name = Candidate::from_bytes(name);
            self.names_left_out.iter().any(|pattern| pattern.is_match_candidate(&name))
        }
    }
}

/// The places that must appear in the snapshot because a source stands there or below.
#[derive(Debug)]
pub(super) struct Held(BTreeSet<Vec<u8>>);

impl Held {
    /// The names directly in a folder that must appear, sorted.
    pub(super) fn names_in(&self, folder: &[u8]) -> Vec<Box<[u8]>> {
        let mut prefix = folder.to_vec();
        if !folder.is_empty() {
            prefix.push(b'/');
        }
        let from = (Bound::Excluded(prefix.clone()), Bound::Unbounded);
        let mut names: Vec<Box<[u8]>> = Vec::new();
        for place in self.0.range(from) {
            let Some(rest) = place.strip_prefix(prefix.as_slice()) else { break };
            if !rest.contains(&b'/') {
                names.push(rest.into());
            }
        }
        names
    }

    /// Whether this place must appear.
    pub(super) fn contains(&self, place: &[u8]) -> bool {
        self.0.contains(place)
    }
}

fn with_folders_above<'a>(places: impl Iterator<Item = &'a [u8]>) -> BTreeSet<Vec<u8>> {
    let mut all = BTreeSet::new();
    for place in places {
        all.insert(place.to_vec());
        for folder in folders_above(place) {
            if !all.insert(folder.to_vec()) {
                break;
            }
        }
        all.insert(Vec::new());
    }
    all
}

/// The folders above a place, the nearest first, the root left out.
fn folders_above(place: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(place_path::parent(place), |folder| place_path::parent(folder))
        .filter(|folder| !folder.is_empty())
}

fn check(place: &[u8]) -> Result<()> {
    match place_path::fault(place) {
        None => Ok(()),
        Some(fault) => Err(Error::refused(format!("/{} cannot be stored: {fault}", printable(place)))),
    }
}

/// The path from the root of the host, without `.` and `..`.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path)
        .map_err(|error| Error::io("cannot tell which folder is the current one", error))?;
    Ok(clean(&absolute))
}

/// Takes `.` and `..` out of a path without asking the file system; only leading `..` of a relative one stay.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => match clean.components().next_back() {
                Some(Component::Normal(_)) => {
                    clean.pop();
                }
                Some(Component::RootDir) => {}
                _ => clean.push(".."),
            },
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::error::ErrorKind;

    fn places(paths: &[&str]) -> Vec<(String, String)> {
        let mut plan = Plan::new();
        for path in paths {
            plan.add_path(Path::new(path)).unwrap();
        }
        plan.hosts().map(|(place, host)| (printable(place), host.display().to_string())).collect()
    }

    #[test]
    fn paths_stand_where_their_names_say() {
        let current = std::env::current_dir().unwrap();
        let here = |rest: &str| current.join(rest).display().to_string();
        for (given, place, host) in [
            ("/srv/vw", "srv/vw", "/srv/vw".to_owned()),
            ("/srv//vw/./", "srv/vw", "/srv/vw".to_owned()),
            ("/srv/x/../vw", "srv/vw", "/srv/vw".to_owned()),
            ("/", "", "/".to_owned()),
            ("/..", "", "/".to_owned()),
            (".", "", current.display().to_string()),
            ("a/b", "a/b", here("a/b")),
            ("./a/../b", "b", here("b")),
            ("..", "", current.parent().unwrap().display().to_string()),
            ("../a", "a", current.parent().unwrap().join("a").display().to_string()),
        ] {
            assert_eq!(places(&[given]), [(place.to_owned(), host)], "{given}");
        }
    }

    #[test]
    fn twice_is_fine_and_two_of_one_name_are_not() {
        assert_eq!(places(&["/srv", "/srv/", "/srv/vw"]).len(), 2);
        let mut plan = Plan::new();
        plan.add_path(Path::new("/a")).unwrap();
        let error = plan.add_path(Path::new("a")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("/a"));
        assert_eq!(plan.map(b"a", Path::new("/b")).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(plan.map(b"a/../b", Path::new("/b")).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(plan.add_path(Path::new("")).unwrap_err().kind(), ErrorKind::Refused);
        plan.map(b"a", Path::new("/a")).unwrap();
    }

    #[test]
    fn held_names_are_those_of_sources_and_of_the_folders_above() {
        let mut plan = Plan::new();
        plan.map(b"a/b/c", Path::new("/x")).unwrap();
        plan.map(b"a/d", Path::new("/y")).unwrap();
        plan.leave_out(b"a/e");
        let held = plan.held();
        let names =
            |folder: &[u8]| held.names_in(folder).iter().map(|name| printable(name)).collect::<Vec<_>>();
        assert_eq!(names(b""), ["a"]);
        assert_eq!(names(b"a"), ["b", "d"]);
        assert_eq!(names(b"a/b"), ["c"]);
        assert!(names(b"a/b/c").is_empty());
        assert!(plan.known().contains(&b"a/e"[..]) && !held.contains(b"a/e"));
    }
}
