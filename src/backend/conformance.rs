//! What every backend must do, as one function that tests of each backend call; and what these tests share.

use std::path::{Path, PathBuf};

use super::local::random_name;
use super::{Backend, Listed, MemoryBackend, ObjectKind, ObjectName};
use crate::error::ErrorKind;
use crate::id::Id;

/// A folder that is removed with this handle.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        let path = std::env::temp_dir().join(random_name("strongroom-test-").unwrap());
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.0.join(below)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// An id with these bytes at its ends.
pub(super) fn id(first: u8, last: u8) -> Id {
    let mut bytes = [0; 32];
    bytes[0] = first;
    bytes[31] = last;
    Id(bytes)
}

pub(super) fn pack(first: u8, last: u8) -> ObjectName {
    ObjectName::new(ObjectKind::Pack, id(first, last))
}

/// Holds an empty backend against the contract of [`Backend`].
pub(super) fn run(backend: &dyn Backend) {
    assert!(!backend.location().is_empty());
    for kind in ObjectKind::ALL {
        one_kind(backend, kind);
    }
    listings_are_sorted(backend);
    ranges_are_exact(backend);
    of_many_puts_one_wins(backend);
}

fn one_kind(backend: &dyn Backend, kind: ObjectKind) {
    let name = ObjectName::new(kind, id(7, 9));
    let kind_of = |outcome: crate::error::Result<Vec<u8>>| outcome.unwrap_err().kind();

    assert!(backend.list(kind).unwrap().is_empty());
    assert_eq!(kind_of(backend.get(&name, 100)), ErrorKind::Missing);
    assert_eq!(kind_of(backend.get_range(&name, 0, 0)), ErrorKind::Missing);
    assert_eq!(backend.size(&name).unwrap_err().kind(), ErrorKind::Missing);
    backend.delete(&name).unwrap();

    backend.put(&name, b"some bytes").unwrap();
    assert_eq!(backend.get(&name, 10).unwrap(), b"some bytes");
    assert_eq!(kind_of(backend.get(&name, 9)), ErrorKind::Corrupt);
    assert_eq!(backend.size(&name).unwrap(), 10);
    assert_eq!(backend.list(kind).unwrap(), [Listed { id: name.id, size: 10 }]);

    backend.put(&name, b"some bytes").unwrap();
    for other in [&b"other bytes"[..], b"SOME bytes", b"some", b""] {
        assert_eq!(backend.put(&name, other).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    assert_eq!(backend.get(&name, 10).unwrap(), b"some bytes");
    assert_eq!(backend.list(kind).unwrap().len(), 1);

    backend.delete(&name).unwrap();
    backend.delete(&name).unwrap();
    assert_eq!(kind_of(backend.get(&name, 100)), ErrorKind::Missing);
    assert!(backend.list(kind).unwrap().is_empty());

    backend.put(&name, b"").unwrap();
    assert_eq!(backend.get(&name, 0).unwrap(), b"");
    backend.delete(&name).unwrap();
}

fn listings_are_sorted(backend: &dyn Backend) {
    for kind in [ObjectKind::Pack, ObjectKind::Index] {
        let mut expected = Vec::new();
        for first in [200, 3, 90, 255, 0] {
            for last in [5, 1] {
                let name = ObjectName::new(kind, id(first, last));
                backend.put(&name, &vec![last; usize::from(first)]).unwrap();
                expected.push(Listed { id: name.id, size: first.into() });
            }
        }
        expected.sort_by_key(|object| object.id);
        assert_eq!(backend.list(kind).unwrap(), expected);
        for object in expected {
            backend.delete(&ObjectName::new(kind, object.id)).unwrap();
        }
    }
}

fn ranges_are_exact(backend: &dyn Backend) {
    let name = pack(1, 1);
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let size = bytes.len() as u64;
    backend.put(&name, &bytes).unwrap();
    for (offset, length) in [(0, 0), (0, 1), (0, size), (4321, 77_777), (size - 1, 1), (size, 0)] {
        let start = usize::try_from(offset).unwrap();
        let expected = bytes.get(start..start + usize::try_from(length).unwrap()).unwrap();
        assert_eq!(backend.get_range(&name, offset, length).unwrap(), expected);
    }
    for (offset, length) in [(0, size + 1), (size, 1), (size + 1, 0), (1, u64::MAX), (u64::MAX, u64::MAX)] {
        let error = backend.get_range(&name, offset, length).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("shorter than"));
    }
    backend.delete(&name).unwrap();
}

fn of_many_puts_one_wins(backend: &dyn Backend) {
    for round in 0..20 {
        let name = pack(round, 1);
        let outcomes = std::thread::scope(|scope| {
            let put = |number: u8| scope.spawn(move || (number, backend.put(&name, &vec![number; 50_000])));
            let threads: Vec<_> = [1, 2, 1, 2].into_iter().map(put).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let stored = backend.get(&name, 50_000).unwrap();
        for (number, outcome) in outcomes {
            assert_eq!(outcome.is_ok(), stored == vec![number; 50_000], "{outcome:?}");
        }
        backend.delete(&name).unwrap();
    }
}

#[test]
fn memory_behaves_as_a_backend() {
    let backend = MemoryBackend::new();
    run(&backend);
    assert!(backend.objects().is_empty());
}

#[test]
fn memory_can_be_damaged() {
    let backend = MemoryBackend::new();
    backend.put(&pack(1, 1), b"whole").unwrap();
    let before = backend.snapshot();
    backend.clone().replace(&pack(1, 1), b"broken".to_vec());
    assert_eq!(backend.get(&pack(1, 1), 6).unwrap(), b"broken");
    assert_ne!(backend.snapshot(), before);
    assert_eq!(backend.remove(&pack(1, 1)), Some(b"broken".to_vec()));
    assert!(backend.objects().is_empty());
}

#[test]
fn paths_are_those_of_the_format() {
    assert_eq!(ObjectName::new(ObjectKind::Config, id(1, 1)).path(), "config");
    assert_eq!(pack(0xab, 1).path(), format!("packs/ab/{}", id(0xab, 1)));
    assert_eq!(ObjectName::new(ObjectKind::Gc, id(2, 3)).path(), format!("gc/{}", id(2, 3)));
}
