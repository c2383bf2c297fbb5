//! The local cache: sealed, disposable, and never the cause of a wrong byte.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::support::{Folder, as_role, backup, create, noise};
use crate::format::blob::BlobKind;
use crate::format::key_slot::Role;
use crate::id::Id;
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::reader::BlobSource;
use crate::repository::tree::{Root, TreeReader};

const PATHS: [&str; 3] = ["attachments/contract-with-a-telling-name", "db.sqlite3", "rsa_key.pem"];

fn with_cache() -> (Folder, Cache, Repository, Id, PathBuf) {
    let (store, full) = create();
    let host = as_role(&store, &full, Role::Backup);
    let folder = Folder::new();
    let cache = Cache::open(folder.path(), host.id()).unwrap();
    let files: Vec<(&str, Vec<u8>)> = PATHS.iter().map(|path| (*path, noise(1, 100))).collect();
    let (id, ..) = backup(&host, Some(&cache), &files).unwrap();
    let path = folder.path().join(host.id().to_hex()).join("trees").join(id.to_hex());
    (folder, cache, host, id, path)
}

fn paths(source: &dyn BlobSource, root: Root) -> crate::error::Result<Vec<Vec<u8>>> {
    let mut reader = TreeReader::new(source, root);
    let mut paths = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        paths.push(entry.path);
    }
    Ok(paths)
}

#[test]
fn a_backup_key_reads_the_last_tree_from_its_cache_and_nobody_else_does() {
    let (_folder, cache, host, id, path) = with_cache();
    let root = host.read_snapshot(&id).unwrap().root();
    let cached = cache.open_tree(&host, &id).unwrap().unwrap();
    let mut expected = vec![Vec::new()];
    for path in PATHS {
        let above = path.rsplit_once('/').map_or(&b""[..], |(folder, _)| folder.as_bytes());
        if !expected.iter().any(|known: &Vec<u8>| known == above) {
            expected.push(above.to_vec());
        }
        expected.push(path.as_bytes().to_vec());
    }
    assert_eq!(paths(&cached, root).unwrap(), expected);
    assert_eq!(cache.trees().unwrap(), [id]);

    let bytes = std::fs::read(&path).unwrap();
    for word in PATHS.iter().flat_map(|path| path.split('/')).chain(["vault"]) {
        assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
    }
    let (_, stranger) = create();
    let cached = cache.open_tree(&stranger, &id).unwrap().unwrap();
    assert!(cached.fetch(BlobKind::Leaf, &root.id).is_err());
}

#[test]
fn only_the_owner_may_look_into_it() {
    let (folder, _cache, _host, _, path) = with_cache();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    let mut place = path.parent().unwrap();
    while place != folder.path() {
        assert_eq!(mode(place), 0o700, "{}", place.display());
        place = place.parent().unwrap();
    }
}

#[test]
fn a_damaged_cache_gives_errors_and_never_wrong_blobs() {
    let (_folder, cache, host, id, path) = with_cache();
    let root = host.read_snapshot(&id).unwrap().root();
    let sound = std::fs::read(&path).unwrap();
    let right = cache.open_tree(&host, &id).unwrap().unwrap().fetch(BlobKind::Leaf, &root.id).unwrap();
    let look = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let cached = cache.open_tree(&host, &id).unwrap();
        let plain = cached.and_then(|cached| cached.fetch(BlobKind::Leaf, &root.id).ok());
        assert!(plain.as_ref().is_none_or(|plain| *plain == right));
        plain.is_some()
    };
    assert!(look(&sound));
    for index in 0..sound.len() {
        let mut damaged = sound.clone();
        damaged[index] ^= 1 << (index % 8);
        look(&damaged);
        assert!(!look(&sound[..index]), "cut at {index}");
    }
    // Room that the file system had not filled when the power failed.
    let torn = [&sound[..sound.len() / 2], &vec![0; sound.len()]].concat();
    assert!(!look(&torn));
    assert!(look(&[sound.as_slice(), &[0; 500]].concat()));
    std::fs::remove_file(&path).unwrap();
    assert!(cache.open_tree(&host, &id).unwrap().is_none());
}

#[test]
fn what_was_recorded_for_a_backup_that_fails_is_gone() {
    let (folder, cache, host, id, _) = with_cache();
    let recorder = cache.write_tree(&host, None).unwrap();
    recorder.record(BlobKind::Leaf, &Id([1; 32]), b"plain");
    drop(recorder);
    assert_eq!(cache.trees().unwrap(), [id]);
    let trees = folder.path().join(host.id().to_hex()).join("trees");
    assert_eq!(std::fs::read_dir(trees).unwrap().count(), 1);
    cache.remove_tree(&id);
    assert!(cache.trees().unwrap().is_empty());
}

#[test]
fn the_host_keeps_its_id_and_renews_a_torn_one() {
    let folder = Folder::new();
    let repository = Id([1; 32]);
    let first = *Cache::open(folder.path(), &repository).unwrap().host_id();
    assert_eq!(*Cache::open(folder.path(), &repository).unwrap().host_id(), first);
    assert_ne!(*Cache::open(folder.path(), &Id([2; 32])).unwrap().host_id(), first);
    let path = folder.path().join(repository.to_hex()).join("host-id");
    for torn in ["", "abc", "zz"] {
        std::fs::write(&path, torn).unwrap();
        let renewed = *Cache::open(folder.path(), &repository).unwrap().host_id();
        assert_ne!(renewed, first);
        assert_eq!(*Cache::open(folder.path(), &repository).unwrap().host_id(), renewed);
    }
}
