//! Making and opening repositories, and key slots that are wrong in every way.

use std::sync::Arc;

use super::support::{Call, Watched, as_role, create, key_file, new_key, password};
use crate::backend::{Backend, ObjectKind, ObjectName};
use crate::crypto::derive;
use crate::crypto::kdf::Cost;
use crate::error::{Error, ErrorKind};
use crate::format::config;
use crate::format::key_slot::{Bundle, Role};
use crate::id::Id;
use crate::repository::Repository;
use crate::repository::keys::{Credential, NewKey, write_slot};

fn open(store: &Watched, credential: &Credential) -> Result<Repository, Error> {
    Repository::open(Arc::new(store.clone()), credential)
}

#[test]
fn a_password_and_a_key_file_open_and_others_do_not() {
    let store = Watched::default();
    let made = Repository::create(Arc::new(store.clone()), &new_key(&password("right"), "admin")).unwrap();
    made.add_key(Role::Full, &new_key(&key_file(7), "cron")).unwrap();
    for right in [password("right"), key_file(7)] {
        let opened = open(&store, &right).unwrap();
        assert_eq!((opened.id(), opened.config()), (made.id(), made.config()));
        assert_eq!(opened.keyring().role(), Role::Full);
    }
    for wrong in [password("wrong"), password(""), password("right "), key_file(8)] {
        assert_eq!(open(&store, &wrong).err().unwrap().kind(), ErrorKind::WrongKey);
    }
    let (slots, damaged) = made.list_keys().unwrap();
    assert!(damaged.is_empty());
    let mut labels: Vec<_> =
        slots.iter().map(|slot| (slot.label.text.as_str(), slot.by_password, slot.current)).collect();
    labels.sort_unstable();
    assert_eq!(labels, [("admin", true, true), ("cron", false, false)]);
}

#[test]
fn a_place_without_a_repository_says_so() {
    let error = open(&Watched::default(), &key_file(1)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NoRepository);
    assert_eq!(error.to_string(), "there is no repository at a watched store");
}

#[test]
fn no_repository_is_made_on_another_or_on_what_is_left_of_one() {
    let (store, repository) = create();
    let again =
        || Repository::create(Arc::new(store.clone()), &new_key(&key_file(2), "again")).err().unwrap();
    assert_eq!(again().kind(), ErrorKind::Refused);
    super::support::backup(&repository, None, &[("a", vec![1; 100])]).unwrap();
    store.memory.remove(&ObjectName::CONFIG).unwrap();
    let error = again();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("left of another repository"));
    // Where an interrupted `init` left only its key slot, the next one succeeds.
    for name in store.memory.objects() {
        if name.kind != ObjectKind::Key {
            store.memory.remove(&name);
        }
    }
    Repository::create(Arc::new(store.clone()), &new_key(&key_file(2), "again")).unwrap();
    open(&store, &key_file(2)).unwrap();
    assert_eq!(open(&store, &key_file(1)).err().unwrap().kind(), ErrorKind::WrongKey);
}

#[test]
fn an_error_of_the_store_is_neither_absence_nor_a_wrong_key() {
    let (store, _) = create();
    for failing in [ObjectKind::Config, ObjectKind::Key] {
        store.step_in(move |call| match call {
            Call::Get(name) if name.kind == failing => Err(Error::new(ErrorKind::Io, "the line is down")),
            _ => Ok(()),
        });
        let error = open(&store, &key_file(1)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
    }
    store.step_in(|call| match call {
        Call::Get(_) => Err(Error::new(ErrorKind::Io, "the line is down")),
        _ => Ok(()),
    });
    let before = store.memory.snapshot();
    let error = Repository::create(Arc::new(store.clone()), &new_key(&key_file(2), "x")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(store.memory.snapshot(), before);
}

#[test]
fn what_bundles_of_lower_roles_lack() {
    let (store, full) = create();
    let backup = as_role(&store, &full, Role::Backup);
    let maintain = as_role(&store, &full, Role::Maintain);
    let has = |repository: &Repository| {
        let bundle = repository.keyring().bundle();
        [bundle.metadata_secret.is_some(), bundle.maintain_secret.is_some(), bundle.data_secret.is_some()]
    };
    assert_eq!(has(&backup), [false; 3]);
    assert_eq!(has(&maintain), [true, true, false]);
    assert_eq!(has(&full), [true; 3]);
    let slot_secrets: std::collections::HashSet<_> =
        [&backup, &maintain, &full].map(|role| role.keyring().bundle().slot_secret).into();
    assert_eq!(slot_secrets.len(), 3);
}

#[test]
fn no_key_gives_more_than_it_has() {
    let (store, full) = create();
    let backup = as_role(&store, &full, Role::Backup);
    let maintain = as_role(&store, &full, Role::Maintain);
    let before = store.memory.snapshot();
    let refused = |repository: &Repository, role| {
        let error = repository.add_key(role, &new_key(&key_file(9), "x")).unwrap_err();
        (error.kind(), error.to_string())
    };
    let words = |text: &str| (ErrorKind::RoleNotAllowed, text.to_owned());
    let needs = "adding a key needs a key of role maintain or full; this key's role is backup";
    assert_eq!(refused(&backup, Role::Backup), words(needs));
    assert_eq!(refused(&backup, Role::Maintain), words(needs));
    let full_needs = "adding a full key needs a key of role full; this key's role is ";
    assert_eq!(refused(&backup, Role::Full), words(&format!("{full_needs}backup")));
    assert_eq!(refused(&maintain, Role::Full), words(&format!("{full_needs}maintain")));
    assert_eq!(store.memory.snapshot(), before);
    maintain.add_key(Role::Backup, &new_key(&key_file(9), "x")).unwrap();
    assert_eq!(open(&store, &key_file(9)).unwrap().keyring().role(), Role::Backup);
}

#[test]
fn a_slot_with_any_bit_flipped_is_not_opened() {
    for credential in [password("right"), key_file(1)] {
        let store = Watched::default();
        Repository::create(Arc::new(store.clone()), &new_key(&credential, "admin")).unwrap();
        let name = store.names(ObjectKind::Key)[0];
        let slot = store.memory.remove(&name).unwrap();
        for index in 0..slot.len() {
            let mut damaged = slot.clone();
            damaged[index] ^= 1 << (index % 8);
            // Once under its own name, as a failing disk has it, once under the name of its bytes, as a hostile
            // store would.
            for name in [name, ObjectName::new(ObjectKind::Key, derive::hash(&damaged))] {
                store.memory.replace(&name, damaged.clone());
                let error = open(&store, &credential).err().unwrap();
                assert_eq!(error.kind(), ErrorKind::WrongKey, "byte {index}: {error:?}");
                store.memory.remove(&name);
            }
        }
        store.memory.replace(&name, slot);
        open(&store, &credential).unwrap();
    }
}

#[test]
fn a_bad_slot_does_not_hide_a_good_one() {
    let (store, _) = create();
    let slot = store.memory.get(&store.names(ObjectKind::Key)[0], u64::MAX).unwrap();
    // The lock of the good slot, which commits to the right key, with a bundle that does not open.
    for byte in 0..20 {
        let mut bad = slot.clone();
        *bad.last_mut().unwrap() ^= byte + 1;
        store.memory.replace(&ObjectName::new(ObjectKind::Key, derive::hash(&bad)), bad);
    }
    store.memory.replace(&ObjectName::new(ObjectKind::Key, Id([0; 32])), b"litter".to_vec());
    open(&store, &key_file(1)).unwrap();
}

#[test]
fn a_slot_whose_keys_contradict_each_other_does_not_open() {
    type Change = fn(&mut Bundle, &Bundle);
    let (store, repository) = create();
    let (_, other) = create();
    let good = repository.keyring().bundle();
    let changes: [(bool, Change); 6] = [
        (true, |_, _| {}),
        (false, |bundle, _| bundle.certificate[0] ^= 1),
        (false, |bundle, other| bundle.slot_secret = other.slot_secret),
        (false, |bundle, other| bundle.maintain_secret = other.maintain_secret),
        (false, |bundle, other| bundle.metadata_public.clone_from(&other.metadata_public)),
        (false, |bundle, other| bundle.data_secret = other.data_secret),
    ];
    for (number, (sound, change)) in changes.into_iter().enumerate() {
        let mut bundle = good.clone();
        change(&mut bundle, other.keyring().bundle());
        let credential = key_file(40);
        let new = new_key(&credential, "forged");
        let id = write_slot(&store, repository.id(), &bundle, &new).unwrap();
        let opened = open(&store, &credential);
        assert_eq!(opened.is_ok(), sound, "change {number}");
        store.memory.remove(&ObjectName::new(ObjectKind::Key, id));
    }
}

#[test]
fn a_slot_is_bound_to_its_repository() {
    let (store, _) = create();
    let (other, _) = create();
    let name = other.names(ObjectKind::Key)[0];
    for own in store.names(ObjectKind::Key) {
        store.memory.remove(&own);
    }
    store.memory.replace(&name, other.memory.get(&name, u64::MAX).unwrap());
    assert_eq!(open(&store, &key_file(1)).err().unwrap().kind(), ErrorKind::WrongKey);
}

#[test]
fn an_altered_config_is_noticed() {
    let (store, repository) = create();
    let bytes = store.memory.get(&ObjectName::CONFIG, u64::MAX).unwrap();
    let mac = &bytes[bytes.len() - config::MAC_LEN..];
    let mut weaker = repository.config().clone();
    weaker.file_chunks.minimum = 64;
    let altered = [config::encode(&weaker).unwrap().as_slice(), mac].concat();
    store.memory.replace(&ObjectName::CONFIG, altered);
    let error = open(&store, &key_file(1)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.to_string(), "the repository's config was altered: its MAC does not fit");
    for index in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 1 << (index % 8);
        store.memory.replace(&ObjectName::CONFIG, damaged);
        assert!(open(&store, &key_file(1)).is_err(), "byte {index}");
        store.memory.replace(&ObjectName::CONFIG, bytes[..index].to_vec());
        assert!(open(&store, &key_file(1)).is_err(), "cut at {index}");
    }
}

#[test]
fn a_key_that_would_not_open_again_is_not_added() {
    let (store, repository) = create();
    let before = store.memory.snapshot();
    let credential = password("right");
    let cost = Cost { memory_kib: 8, passes: 17, lanes: 1 };
    let new = NewKey { cost, ..new_key(&credential, "too dear") };
    assert!(repository.add_key(Role::Backup, &new).is_err());
    let label = "x".repeat(5000);
    assert!(repository.add_key(Role::Backup, &new_key(&credential, &label)).is_err());
    assert_eq!(store.memory.snapshot(), before);
}
