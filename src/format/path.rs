//! The path of a node within a snapshot, and the order of paths.
//!
//! Follows `format-spec/08-tree.md#path`. A path is bytes: components joined by `/`, with no slash at either
//! end; the empty path is the root.
//!
//! Invariant: no component is empty, `.` or `..`, and none holds NUL or `/`. Paths are ordered component by
//! component, so that a folder comes first and all that lies in it follows without a gap.

use std::cmp::Ordering;

use crate::error::{Error, Result};
use crate::report::printable;

/// The longest path, in bytes.
pub const MAX_LENGTH: usize = 65_535;

/// The longest component, in bytes.
pub const MAX_COMPONENT: usize = 1024;

/// The most components.
pub const MAX_DEPTH: usize = 4096;

/// Compares two paths component by component.
///
/// The slash ranks below every other byte, and therefore the bytes decide: `a`, `a/b`, `a-b`.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    match a.iter().zip(b).find(|(left, right)| left != right) {
        Some((left, right)) => rank(*left).cmp(&rank(*right)),
        None => a.len().cmp(&b.len()),
    }
}

fn rank(byte: u8) -> u16 {
    if byte == b'/' { 0 } else { u16::from(byte) + 1 }
}

/// Says why these bytes cannot be a path, or nothing if they can.
pub fn fault(path: &[u8]) -> Option<&'static str> {
    if path.is_empty() {
        return None;
    }
    if path.len() > MAX_LENGTH {
        return Some("the path is longer than 65,535 bytes");
    }
    let mut depth = 0_usize;
    for component in path.split(|byte| *byte == b'/') {
        depth = depth.saturating_add(1);
        if let Some(fault) = component_fault(component) {
            return Some(fault);
        }
    }
    (depth > MAX_DEPTH).then_some("the path is deeper than 4,096 folders")
}

fn component_fault(component: &[u8]) -> Option<&'static str> {
    match component {
        b"" => Some("a part of the path is empty"),
        b"." | b".." => Some("a part of the path is `.` or `..`"),
        _ if component.contains(&0) => Some("a part of the path holds a NUL byte"),
        _ if component.len() > MAX_COMPONENT => Some("a part of the path is longer than 1,024 bytes"),
        _ => None,
    }
}

/// Checks that bytes read from a repository are a path.
pub fn validate(path: &[u8]) -> Result<()> {
    match fault(path) {
        None => Ok(()),
        Some(fault) => Err(Error::corrupt(format!("not a path of a snapshot: {fault}"))),
    }
}

/// Reads a path as a person types it: slashes at the ends and doubled ones do not count, nor does `.`.
pub fn parse(text: &[u8]) -> Result<Vec<u8>> {
    let mut path = Vec::with_capacity(text.len());
    for component in text.split(|byte| *byte == b'/') {
        if component.is_empty() || component == b"." {
            continue;
        }
        if component == b".." {
            return Err(Error::refused(format!("the path {} leads upwards", printable(text)))
                .hint("name the path from the root of the snapshot, without `..`"));
        }
        push(&mut path, component);
    }
    match fault(&path) {
        None => Ok(path),
        Some(fault) => Err(Error::refused(format!("{} is no path: {fault}", printable(text)))),
    }
}

/// Appends a component.
pub fn push(path: &mut Vec<u8>, component: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(component);
}

/// Whether a path is the folder itself or lies somewhere below it.
pub fn is_below(path: &[u8], folder: &[u8]) -> bool {
    if folder.is_empty() {
        return true;
    }
    match path.strip_prefix(folder) {
        Some(rest) => rest.first().is_none_or(|byte| *byte == b'/'),
        None => false,
    }
}

/// The folder that a path lies in; nothing for the root.
pub fn parent(path: &[u8]) -> Option<&[u8]> {
    if path.is_empty() {
        return None;
    }
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path.get(..end)
}

/// The last component; empty for the root.
pub fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_folder_comes_before_what_it_holds_and_that_before_its_neighbors() {
        let sorted: [&[u8]; 9] = [b"", b"\x01", b"A", b"a", b"a/b", b"a/b/c", b"a-b", b"a.b", b"\xff"];
        for (index, left) in sorted.iter().enumerate() {
            for (other, right) in sorted.iter().enumerate() {
                assert_eq!(compare(left, right), index.cmp(&other), "{left:?} {right:?}");
            }
        }
    }

    #[test]
    fn what_a_person_types_becomes_a_path() {
        assert_eq!(parse(b"/a//b/").unwrap(), b"a/b");
        assert_eq!(parse(b"./a/./b").unwrap(), b"a/b");
        assert_eq!(parse(b"/").unwrap(), b"");
        assert_eq!(parse(b"a\xff").unwrap(), b"a\xff");
        for refused in [&b"a/../b"[..], b"..", b"a\0b"] {
            assert_eq!(parse(refused).unwrap_err().kind(), ErrorKind::Refused);
        }
    }

    #[test]
    fn what_no_file_system_can_hold_is_no_path() {
        for fine in [&b""[..], b"a", b"a/b", b"...", b"\xff/\x01"] {
            assert!(validate(fine).is_ok());
        }
        for bad in [&b"/"[..], b"/a", b"a/", b"a//b", b".", b"a/..", b"a\0"] {
            assert_eq!(validate(bad).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        assert!(validate(&[b'a'; MAX_COMPONENT]).is_ok());
        assert!(validate(&[b'a'; MAX_COMPONENT + 1]).is_err());
        let deep = vec![&b"d"[..]; MAX_DEPTH].join(&b'/');
        assert!(validate(&deep).is_ok());
        assert!(validate(&[&deep[..], b"/d"].concat()).is_err());
        let long = vec![&[b'a'; 1023][..]; 64].join(&b'/');
        assert_eq!(long.len(), MAX_LENGTH);
        assert!(validate(&long).is_ok());
        assert!(validate(&[&long[..], b"a"].concat()).is_err());
    }

    #[test]
    fn folders_and_names() {
        assert_eq!((parent(b"a/b/c"), name(b"a/b/c")), (Some(&b"a/b"[..]), &b"c"[..]));
        assert_eq!((parent(b"a"), name(b"a")), (Some(&b""[..]), &b"a"[..]));
        assert_eq!((parent(b""), name(b"")), (None, &b""[..]));
        assert!(is_below(b"a/b", b"a") && is_below(b"a", b"a") && is_below(b"a", b"") && is_below(b"", b""));
        assert!(!is_below(b"ab", b"a") && !is_below(b"a", b"a/b"));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: RngSeed::Fixed(0x5712_0e61),
            failure_persistence: None,
            ..ProptestConfig::with_cases(2000)
        })]

        #[test]
        fn the_order_is_that_of_the_components(a in components(), b in components()) {
            prop_assert_eq!(compare(&a.join(&b'/'), &b.join(&b'/')), a.cmp(&b));
        }
    }

    /// Few bytes, those around the slash among them, so that paths often share their beginnings.
    fn components() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = prop::sample::select(b"\x01-.0ab\xff".to_vec());
        prop::collection::vec(prop::collection::vec(byte, 1..3), 0..4)
    }
}
