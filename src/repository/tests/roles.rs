//! Design, section 3: the machine that is backed up holds no key that reads its backups. Not in its key slot, not in
//! its cache, not derived from what it has.

use super::support::{Folder, Watched, as_role, backup, create, noise};
use crate::backend::{Backend, ObjectKind};
use crate::crypto::derive::{self, Purpose};
use crate::crypto::envelope;
use crate::crypto::seal::Sealer;
use crate::crypto::secret::Secret;
use crate::error::ErrorKind;
use crate::format::blob::{BlobKind, Class, TAG_LEN, associated_data};
use crate::format::header::HEADER_LEN;
use crate::format::key_slot::{self, Role};
use crate::format::pack::{Entry, Envelope};
use crate::repository::Repository;
use crate::repository::blob::envelope_info;
use crate::repository::cache::Cache;
use crate::repository::index::open_pack;
use crate::repository::reader::{BlobReader, BlobSource};

/// The first blob of each class: its envelope, its entry, its frame.
fn sealed(store: &Watched, repository: &Repository) -> Vec<(Class, Envelope, Entry, Vec<u8>)> {
    let mut found: Vec<(Class, Envelope, Entry, Vec<u8>)> = Vec::new();
    for name in store.names(ObjectKind::Pack) {
        let bytes = store.memory.get(&name, u64::MAX).unwrap();
        let table = open_pack(repository, &name.id, &bytes).unwrap();
        if found.iter().all(|(class, ..)| *class != table.class) {
            let entry = table.entries[0];
            let frame = bytes[HEADER_LEN..HEADER_LEN + entry.stored_length as usize].to_vec();
            found.push((table.class, table.envelopes[usize::from(entry.envelope)], entry, frame));
        }
    }
    assert_eq!(found.len(), 2);
    found
}

/// Whether 32 bytes open an envelope as its class's secret key, or a frame as its content key or its own.
fn opens(
    repository: &Repository,
    candidate: &Secret,
    (class, envelope, entry, frame): &(Class, Envelope, Entry, Vec<u8>),
) -> bool {
    let by_envelope = envelope::open(candidate, &envelope_info(repository.id(), *class), envelope).is_ok();
    let (body, tag) = frame.split_last_chunk::<TAG_LEN>().unwrap();
    let associated = associated_data(repository.id(), entry.kind, &entry.id, entry.plain_length);
    let mut plain = vec![0; body.len()];
    let blob_key = derive::blob_key(candidate, entry.kind.code(), &entry.id);
    let mut by_key = |key| Sealer::new(key).open_to(&associated, body, &mut plain, tag).is_ok();
    by_envelope || by_key(candidate) || by_key(&blob_key)
}

fn windows(bytes: &[u8]) -> impl Iterator<Item = Secret> {
    bytes.array_windows::<32>().map(|window| Secret::new(*window))
}

#[test]
fn nothing_that_a_backup_key_holds_opens_what_it_stored() {
    let (store, full) = create();
    let host = as_role(&store, &full, Role::Backup);
    let folder = Folder::new();
    let cache = Cache::open(folder.path(), host.id()).unwrap();
    let names: Vec<String> = (10..70).map(|number| format!("attachments/{number}")).collect();
    let files: Vec<_> = names.iter().zip(0..).map(|(name, seed)| (name.as_str(), noise(seed, 300))).collect();
    backup(&host, Some(&cache), &files).unwrap();
    let sealed = sealed(&store, &full);

    let bundle = key_slot::encode_bundle(host.keyring().bundle()).unwrap();
    let mut held = vec![bundle];
    let mut folders = vec![folder.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                held.push(std::fs::read(path).unwrap());
            }
        }
    }
    assert!(held.len() >= 3, "bundle, host id, cached tree");
    let derived =
        Purpose::ALL.map(|purpose| derive::key(&Secret::new(host.keyring().bundle().write_secret), purpose));
    let mut tried = 0;
    for candidate in held.iter().flat_map(|bytes| windows(bytes)).chain(derived) {
        for blob in &sealed {
            assert!(!opens(&full, &candidate, blob));
        }
        tried += 1;
    }
    assert!(tried > 3000, "{tried}");
}

#[test]
fn the_same_search_finds_the_keys_in_bundles_that_have_them() {
    let (store, full) = create();
    let maintain = as_role(&store, &full, Role::Maintain);
    backup(&full, None, &[("a", noise(1, 300))]).unwrap();
    let sealed = sealed(&store, &full);
    let found = |repository: &Repository| {
        let bundle = key_slot::encode_bundle(repository.keyring().bundle()).unwrap();
        let mut classes: Vec<Class> = Vec::new();
        // Behind the public keys, so that the search is short.
        for candidate in windows(&bundle[bundle.len() - 400..]) {
            for blob in &sealed {
                if opens(&full, &candidate, blob) {
                    classes.push(blob.0);
                }
            }
        }
        classes.sort_unstable();
        classes
    };
    assert_eq!(found(&maintain), [Class::Metadata]);
    assert_eq!(found(&full), [Class::Data, Class::Metadata]);
}

#[test]
fn what_each_role_reads_and_what_it_is_told() {
    let (store, full) = create();
    let host = as_role(&store, &full, Role::Backup);
    let maintain = as_role(&store, &full, Role::Maintain);
    let plain = noise(1, 300);
    let (id, ..) = backup(&host, None, &[("a", plain.clone())]).unwrap();
    let chunk = full.keyring().blob_id(BlobKind::Chunk, &plain);
    let read = |repository: &Repository, kind, id| {
        // Manifests are for everybody: the host shows its own snapshots.
        let root = repository.read_snapshot(&id).unwrap().root();
        let blob = if kind == BlobKind::Chunk { chunk } else { root.id };
        BlobReader::new(repository, &crate::report::Collector::default())
            .unwrap()
            .fetch(kind, &blob)
            .map_err(|error| (error.kind(), error.to_string()))
    };
    let refused = |text: &str| Err((ErrorKind::RoleNotAllowed, text.to_owned()));
    assert_eq!(read(&full, BlobKind::Chunk, id), Ok(plain));
    assert!(read(&full, BlobKind::Leaf, id).is_ok() && read(&maintain, BlobKind::Leaf, id).is_ok());
    assert_eq!(
        read(&maintain, BlobKind::Chunk, id),
        refused("reading the contents of files needs a key of role full; this key's role is maintain")
    );
    assert_eq!(
        read(&host, BlobKind::Chunk, id),
        refused("reading the contents of files needs a key of role full; this key's role is backup")
    );
    assert_eq!(
        read(&host, BlobKind::Leaf, id),
        refused(
            "listing the files of a snapshot needs a key of role maintain or full; this key's role is backup"
        )
    );
    assert!(host.keyring().require(Role::Backup, "x").is_ok());
    let error = host.keyring().require(Role::Maintain, "pruning").unwrap_err();
    assert_eq!(error.to_string(), "pruning needs a key of role maintain or full; this key's role is backup");
    assert_eq!(error.next_step(), Some("give a maintain or full key by --key-file, or its password"));
    let snapshot = full.read_snapshot(&id).unwrap();
    assert_eq!((snapshot.writer, snapshot.writer_role), (host.own_writer(), Role::Backup));
}

#[test]
fn a_blob_sealed_for_one_class_or_repository_does_not_open_in_another() {
    let (store, full) = create();
    backup(&full, None, &[("a", noise(1, 300))]).unwrap();
    let (_, other) = create();
    for (class, envelope, ..) in sealed(&store, &full) {
        let secret = full.keyring().secret_key(class).unwrap();
        let swapped = if class == Class::Data { Class::Metadata } else { Class::Data };
        let open = |repository: &Repository, class| {
            envelope::open(&secret, &envelope_info(repository.id(), class), &envelope).is_ok()
        };
        assert!(open(&full, class));
        assert!(!open(&full, swapped) && !open(&other, class));
    }
}
