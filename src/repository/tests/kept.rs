//! What is kept of the store on this computer: it spares requests, and nothing that happens to it does harm.

use std::fs;
use std::path::{Path, PathBuf};

use super::support::{Call, Folder, Watched, backup, create, noise};
use crate::backend::ObjectKind;
use crate::format::blob::BlobKind;
use crate::report::Collector;
use crate::repository::Repository;
use crate::repository::reader::BlobReader;
use crate::repository::tree::lookup;

/// Looks a file up and reads it; gives the calls that read manifests, the index or packs.
fn read(store: &Watched, repository: &Repository) -> Vec<Call> {
    store.calls();
    let reporter = Collector::default();
    let snapshot = repository.find_snapshot("latest", &reporter).unwrap();
    let reader = BlobReader::with_kept_metadata(repository, &reporter).unwrap();
    let node = lookup(&reader, snapshot.root(), b"a/file").unwrap().unwrap();
    let Some(crate::format::node::Content::Inline(ids)) = node.content else { panic!("one chunk") };
    let plain = reader.with_blob(BlobKind::Chunk, &ids[0], |plain| Ok(plain.to_vec())).unwrap();
    assert_eq!(plain, noise(1, 9000));
    assert_eq!(reporter.findings(), []);
    let is_read = |call: &Call| match call {
        Call::Get(name) => matches!(name.kind, ObjectKind::Snapshot | ObjectKind::Index),
        Call::Range(name) => name.kind == ObjectKind::Pack,
        _ => false,
    };
    store.calls().into_iter().filter(is_read).collect()
}

fn kept(folder: &Path, repository: &Repository) -> Vec<PathBuf> {
    let found = fs::read_dir(folder.join(repository.id().to_hex()).join("kept")).unwrap();
    found.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn manifests_and_metadata_are_asked_for_once() {
    let (store, repository) = create();
    let folder = Folder::new();
    let repository = repository.with_memory(folder.path());
    backup(&repository, None, &[("a/file", noise(1, 9000))]).unwrap();
    assert_eq!(read(&store, &repository).len(), 4, "manifest, index, tree and chunk");
    assert_eq!(kept(folder.path(), &repository).len(), 3, "contents are not kept");
    let again = read(&store, &repository);
    assert!(matches!(again[..], [Call::Range(_)]), "the chunk alone: {again:?}");
    // Whoever looks after the store reads the store.
    store.calls();
    let found = repository.snapshots().unwrap();
    let reader = BlobReader::new(&repository, &Collector::default()).unwrap();
    lookup(&reader, found.snapshots[0].root(), b"a/file").unwrap().unwrap();
    let calls = store.calls();
    assert!(calls.iter().any(|call| matches!(call, Call::Get(name) if name.kind == ObjectKind::Snapshot)));
    assert!(calls.iter().any(|call| matches!(call, Call::Range(_))));
}

#[test]
fn what_the_disk_damaged_is_read_from_the_store_and_kept_anew() {
    let (store, repository) = create();
    let folder = Folder::new();
    let repository = repository.with_memory(folder.path());
    backup(&repository, None, &[("a/file", noise(1, 9000))]).unwrap();
    read(&store, &repository);
    let damages: [fn(Vec<u8>) -> Vec<u8>; 4] = [
        |_| Vec::new(),
        |bytes| bytes[..bytes.len() / 2].to_vec(),
        |bytes| bytes.iter().map(|byte| byte ^ 1).collect(),
        |bytes| [bytes, vec![0; 10]].concat(),
    ];
    for damage in damages {
        for path in kept(folder.path(), &repository) {
            fs::write(&path, damage(fs::read(&path).unwrap())).unwrap();
        }
        assert_eq!(read(&store, &repository).len(), 4);
        assert_eq!(read(&store, &repository).len(), 1, "kept anew");
    }
}

#[test]
fn a_manifest_that_is_gone_is_gone_and_one_computer_may_keep_what_another_lost() {
    let (store, repository) = create();
    let folder = Folder::new();
    let repository = repository.with_memory(folder.path());
    backup(&repository, None, &[("a/file", noise(1, 9000))]).unwrap();
    read(&store, &repository);
    let name = store.names(ObjectKind::Snapshot)[0];
    store.memory.replace(&name, b"damaged".to_vec());
    read(&store, &repository);
    assert_eq!(repository.snapshots().unwrap().damaged.len(), 1, "a check sees it");
    store.memory.remove(&name);
    assert!(repository.find_snapshot("latest", &Collector::default()).is_err());
}
