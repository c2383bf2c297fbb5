//! What a backup was told to store, as far as its snapshot tells: where that may stand in it, and what is there only as a
//! way to it.
//!
//! Invariants: a path stands in a snapshot as it was named, so that any end of it may be its place. What may be a mere way
//! is taken for one, for nobody knows what else lay in it; and what cannot be told at all is no place to remove anything.

use super::plan::Held;
use crate::error::Result;
use crate::format::path;
use crate::format::snapshot::Manifest;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::{TreeReader, lookup};

/// Most bytes of paths that are looked at: thousands of deep paths need less, and whoever writes a manifest could
/// otherwise keep a restore busy for hours.
const WORK_MAX: usize = 256 << 20;

/// The places that a backup may have named, and the folders above them.
#[derive(Default)]
pub(super) struct Named {
    /// Host paths as the manifest has them, without the slash at the start.
    hosts: Vec<Vec<u8>>,
    has_root: bool,
    ends: Held,
    above: Held,
    /// Why it cannot be told.
    unknown: Option<&'static str>,
}

impl Named {
    /// What a snapshot tells.
    ///
    /// # Errors
    /// Where the store does not answer. What is damaged in the snapshot is told elsewhere.
    pub(super) fn of(reader: &BlobReader<'_>, snapshot: &Snapshot) -> Result<Self> {
        let has_root = match lookup(reader, snapshot.root(), b"") {
            Err(error) if TreeReader::is_damage(&error) => false,
            found => found?.is_some(),
        };
        Ok(Self::told_by(&snapshot.manifest, has_root, WORK_MAX))
    }

    fn told_by(manifest: &Manifest, has_root: bool, mut work: usize) -> Self {
        let mut named = Self { has_root, ..Self::default() };
        for host in &manifest.paths {
            match path::parse(host) {
                Ok(host) => named.hosts.push(host),
                Err(_) => named.unknown = Some("a path in its manifest is none"),
            }
        }
        // The root is the place of one of them, and of the only one.
        let is_root = has_root && named.hosts.len() == 1;
        let hosts = std::mem::take(&mut named.hosts);
        let ends = hosts.iter().flat_map(|host| ends_of(host)).filter(|end| !is_root || end.is_empty());
        let dumps = manifest.dumps.iter().flatten().map(|dump| dump.place.as_slice());
        for place in ends.chain(dumps) {
            let Some(left) = work.checked_sub(named.insert(place)) else {
                named.unknown = Some("its manifest names more than can be looked at");
                break;
            };
            work = left;
        }
        named.hosts = hosts;
        named
    }

    /// Takes note of a place; gives how many bytes were looked at.
    fn insert(&mut self, place: &[u8]) -> usize {
        let mut work = place.len().saturating_add(1);
        if !place.is_empty() || self.has_root {
            self.ends.insert(place);
        }
        let mut above = path::parent(place);
        while let Some(folder) = above {
            work = work.saturating_add(folder.len()).saturating_add(1);
            // Where the root is stored, it was named.
            if !folder.is_empty() || !self.has_root {
                self.above.insert(folder);
            }
            above = path::parent(folder);
        }
        work
    }

    /// Whether a folder may be in the snapshot only as a way to something that was named.
    pub(super) fn is_above(&self, place: &[u8]) -> bool {
        self.above.contains(place)
    }

    /// Whether a place is one that was named, or lies in it, and the snapshot holds all that lay there.
    pub(super) fn is_whole(&self, place: &[u8]) -> bool {
        let mut folder = Some(place);
        while let Some(here) = folder {
            if self.ends.contains(here) {
                return self.unknown.is_none() && !self.is_above(place);
            }
            folder = path::parent(here);
        }
        false
    }

    /// Why nobody knows what the snapshot would have to hold; `holds` says whether it holds a place.
    ///
    /// # Errors
    /// Whatever `holds` says.
    pub(super) fn doubt(&self, holds: &dyn Fn(&[u8]) -> Result<bool>) -> Result<Option<String>> {
        if let Some(unknown) = self.unknown {
            return Ok(Some(format!("nobody knows what the backup stored: {unknown}")));
        }
        for host in &self.hosts {
            let mut is_there = false;
            for place in ends_of(host).filter(|place| !place.is_empty() || self.has_root) {
                if holds(place)? {
                    is_there = true;
                    break;
                }
            }
            if !is_there {
                let host = crate::report::printable(host);
                return Ok(Some(format!("what the backup named, /{host}, is not in the snapshot")));
            }
        }
        Ok(None)
    }
}

/// A path, and what is left of it without one name after the other from the start, down to nothing.
fn ends_of(host: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = host.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let starts = slashes.map(|(at, _)| at.saturating_add(1));
    let last = (!host.is_empty()).then_some(host.len());
    std::iter::once(0).chain(starts).chain(last).filter_map(|start| host.get(start..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tests::manifest;

    fn named(hosts: &[&str], has_root: bool) -> Named {
        let paths = hosts.iter().map(|host| host.as_bytes().to_vec().into()).collect();
        Named::told_by(&Manifest { paths, dumps: None, ..manifest() }, has_root, WORK_MAX)
    }

    #[test]
    fn a_folder_above_any_end_of_a_named_path_is_not_whole() {
        let ends: Vec<&[u8]> = ends_of(b"a/b/c").collect();
        assert_eq!(ends, [&b"a/b/c"[..], b"b/c", b"c", b""]);
        let some = named(&["/w/etc/nginx", "/w/hm/me/big.iso"], false);
        for place in ["", "w", "etc", "hm", "hm/me", "w/hm/me", "me", "hm/you", "x"] {
            assert!(!some.is_whole(place.as_bytes()), "{place}");
        }
        for place in ["etc/nginx", "etc/nginx/conf/x", "w/etc/nginx", "hm/me/big.iso"] {
            assert!(some.is_whole(place.as_bytes()), "{place}");
        }
        assert!(some.is_above(b"") && some.is_above(b"hm/me") && !some.is_above(b"etc/nginx"));
    }

    #[test]
    fn the_root_is_whole_where_it_is_stored() {
        let one = named(&["/srv/vw/data"], true);
        assert!(one.is_whole(b"") && one.is_whole(b"vw/data") && one.is_whole(b"srv"));
        let two = named(&["/srv", "/etc/nginx"], true);
        assert!(two.is_whole(b"") && two.is_whole(b"srv/x") && !two.is_whole(b"etc"));
        assert!(named(&["/"], true).is_whole(b"etc"));
        assert!(!named(&["/"], false).is_whole(b"etc"));
    }

    #[test]
    fn what_is_named_and_not_there_is_a_doubt() {
        let some = named(&["/w/a", "/w/b/c"], false);
        let doubt = |holds: &[&str]| {
            some.doubt(&|place| Ok(holds.iter().any(|held| held.as_bytes() == place))).unwrap()
        };
        assert_eq!(doubt(&["a", "b/c"]), None);
        assert!(doubt(&["a", "b"]).is_some_and(|doubt| doubt.contains("/w/b/c")));
        assert!(named(&["/w/../a"], false).doubt(&|_| Ok(true)).unwrap().is_some());
    }

    #[test]
    fn a_manifest_of_deep_paths_is_not_looked_at_for_hours() {
        let host = "/d".repeat(2000);
        let paths = vec![host.into_bytes().into()];
        let deep = Named::told_by(&Manifest { paths, dumps: None, ..manifest() }, false, 1 << 20);
        assert!(!deep.is_whole(b"d/d") && deep.doubt(&|_| Ok(true)).unwrap().is_some());
    }
}
