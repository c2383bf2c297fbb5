//! Hostile repositories: keys, seals and signatures are right, and what they hold must not be followed.
//!
//! Whoever can write to the store and holds a key, or once did, can make them. The test writer does.

mod content;
mod names;
mod objects;
mod race;
mod scene;
mod slots;
mod trees;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use strongroom::backend::{MemoryBackend, ObjectKind, ObjectName};
use strongroom::crypto::secret::Secret;
use strongroom::format::marks::Abandoned;
use strongroom::format::node::Timestamp;
use strongroom::id::Id;
use strongroom::repository::Repository;
use strongroom::repository::keys::Credential;

use crate::forge::cbor::Cbor;
use crate::forge::records::record;
use crate::forge::site::{leaf, node};
use crate::forge::{Forge, Holder, Slot, hex, keys, stream};
use crate::support::{Outcome, TempFolder, run, strongroom};
use crate::vectors::product::place;

const LABEL: &str = "hostile repositories";
/// Longest that a command may take, in seconds: absurd numbers must cost nothing.
const DEADLINE: u64 = 60;

fn holder() -> [u8; 32] {
    stream("hostile repositories: the key", 32).try_into().unwrap()
}

fn full() -> Slot {
    Slot { role: "full", holder: Holder::KeyFile(holder()), label: "full".to_owned(), secret: [6; 32] }
}

/// A writer with `config` and one key.
fn begun() -> Forge {
    let mut forge = Forge::new(LABEL);
    forge.add_config();
    forge.add_slot(&full());
    forge
}

/// Ends a repository with one snapshot of this leaf and puts it into a folder, with a file that must stay.
fn ended(mut forge: Forge, leaf: &Cbor) -> TempFolder {
    let root = forge.store(3, &leaf.encode());
    forge.commit((root, 0), 1, &full());
    forge.flush();
    let folder = TempFolder::new();
    forge.write_to(&folder.join("repo"));
    folder.write("full.key", keys::key_file(&holder()));
    folder.write("outside/precious", "stays");
    folder
}

fn command(folder: &TempFolder, arguments: &[&str]) -> Outcome {
    let mut command = strongroom(folder);
    command.args(["-r", "repo", "--key-file", "full.key"]).args(arguments);
    let outcome = run(&mut command, DEADLINE);
    let unfit = ["panicked", "cannot list"];
    assert!(!unfit.iter().any(|words| outcome.err().contains(words)), "{}", outcome.err());
    outcome
}

fn names(folder: &TempFolder) -> BTreeSet<PathBuf> {
    fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into()).collect()
}

/// Restores and checks; nothing but the target may appear, and the file outside stays as it is.
fn tried(folder: &TempFolder) -> [Outcome; 2] {
    fs::create_dir_all(folder.join("target/out")).unwrap();
    drop(command(folder, &["snapshots"]));
    let before = names(folder);
    let restored = command(folder, &["restore", "latest", "--target", "target/out"]);
    assert_eq!(names(folder), before);
    let beside: Vec<PathBuf> =
        fs::read_dir(folder.join("target")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(beside, [folder.join("target/out")], "nothing lies beside the target");
    assert_eq!(fs::read(folder.join("outside/precious")).unwrap(), b"stays");
    assert_eq!(fs::read_dir(folder.join("outside")).unwrap().count(), 1);
    [restored, command(folder, &["check", "--read-data"])]
}

/// The order of paths: component by component.
fn order(one: &[u8], other: &[u8]) -> Ordering {
    one.split(|byte| *byte == b'/').cmp(other.split(|byte| *byte == b'/'))
}

fn entry(shared: u64, suffix: &[u8], node: &Json) -> Cbor {
    record("leaf-entry", &json!({"shared": shared, "suffix": hex(suffix), "node": node}))
}

#[test]
fn a_leaf_that_breaks_the_rules_is_refused_whole() {
    type Make = fn(&mut Forge) -> Cbor;
    let cases: [(&str, Make); 7] = [
        ("two dots", |forge| {
            let file = forge.file(b"escaped", 100, json!({}));
            Cbor::Array(vec![entry(0, b"../escaped", &file)])
        }),
        ("an absolute path", |forge| {
            let file = forge.file(b"escaped", 100, json!({}));
            Cbor::Array(vec![entry(0, b"/tmp/strongroom-escaped", &file)])
        }),
        ("paths that fall", |forge| {
            let file = forge.file(b"one", 100, json!({}));
            Cbor::Array(vec![entry(0, b"b", &file), entry(0, b"a", &file)])
        }),
        ("one path twice", |forge| {
            let file = forge.file(b"one", 100, json!({}));
            Cbor::Array(vec![entry(0, b"a", &file), entry(1, b"", &file)])
        }),
        ("holes that overlap", |forge| {
            let holes = json!([{"offset": 0, "length": 10}, {"offset": 5, "length": 10}]);
            let file = forge.file(b"one", 100, json!({"size": 100, "holes": holes}));
            Cbor::Array(vec![entry(0, b"a", &file)])
        }),
        ("4 GiB of shared path", |forge| {
            let file = forge.file(b"one", 100, json!({}));
            Cbor::Array(vec![entry(0, b"a", &file), entry(u64::from(u32::MAX), b"b", &file)])
        }),
        ("arrays 100,000 deep", |_| Cbor::Raw([vec![0x81; 100_000], vec![0]].concat())),
    ];
    for (name, make) in cases {
        let mut forge = begun();
        let leaf = make(&mut forge);
        for outcome in tried(&ended(forge, &leaf)) {
            assert!(matches!(outcome.code, Some(1 | 3)), "{name}: {:?} {}", outcome.code, outcome.err());
        }
    }
}

#[test]
fn a_file_that_cannot_be_is_reported_and_the_others_are_restored() {
    type Make = fn(&mut Forge) -> Json;
    let cases: [(&str, Make); 4] = [
        ("a compression bomb", |forge| {
            let id = forge.blob_id(1, b"small");
            // Four thousand blocks that each repeat a byte 131,072 times.
            let mut content = vec![1, 0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
            for block in 0..4000u32 {
                let head = u32::from(block == 3999) | 1 << 1 | 131_072 << 3;
                content.extend(&head.to_le_bytes()[..3]);
                content.push(0);
            }
            let frame = forge.frame(1, &id, 1 << 20, &content);
            forge.store_blob(crate::forge::Blob { kind: 1, id, plain_length: 1 << 20, frame });
            let content = json!({"inline": {"chunks": [hex(&id)]}});
            node("file", json!({"size": 1 << 20, "content": content}))
        }),
        ("more data than its size", |forge| forge.file(b"five!", 100, json!({"size": 4}))),
        ("less data than its size", |forge| forge.file(b"five!", 100, json!({"size": 6}))),
        ("a chunk that is nowhere", |_| {
            let content = json!({"inline": {"chunks": [hex(&[9; 32])]}});
            node("file", json!({"size": 5, "content": content}))
        }),
    ];
    for (name, make) in cases {
        let mut forge = begun();
        let good = forge.file(b"good", 100, json!({}));
        let bad = make(&mut forge);
        let folder = ended(forge, &leaf(&[(b"bad".to_vec(), bad), (b"good".to_vec(), good)]));
        for outcome in tried(&folder) {
            assert!(matches!(outcome.code, Some(1 | 3)), "{name}: {:?} {}", outcome.code, outcome.err());
        }
        assert_eq!(fs::read(folder.join("target/out/good")).unwrap(), b"good", "{name}");
        assert!(!folder.join("target/out/bad").exists(), "{name}");
    }
}

#[test]
fn nothing_is_written_through_a_link_of_the_snapshot() {
    for target in ["../../outside", "/"] {
        let mut forge = begun();
        let file = forge.file(b"escaped", 100, json!({}));
        let link = node("symlink", json!({"link_target": hex(target.as_bytes())}));
        let below = [(b"link".to_vec(), link), (b"link/precious".to_vec(), file)];
        let folder = ended(forge, &leaf(&below));
        let [restored, _] = tried(&folder);
        assert!(matches!(restored.code, Some(1 | 3)), "{target}: {:?} {}", restored.code, restored.err());
        assert!(!PathBuf::from("/precious").exists());
    }
}

#[test]
fn absurd_slots_keep_nobody_out() {
    let mut forge = begun();
    for number in 0..40u8 {
        let cost = if number % 2 == 0 { [u32::MAX, u32::MAX, u32::MAX] } else { [1 << 21, 1, 1] };
        let slot = Slot {
            holder: Holder::Password(format!("password {number}"), [8, 1, 1]),
            secret: [number; 32],
            ..full()
        };
        let mut parts = forge.slot_parts(&slot);
        parts.lock.at(1).items()[1] = Cbor::Array(cost.map(|number| Cbor::Unsigned(number.into())).into());
        let bytes = forge.slot_bytes(&parts);
        forge.put_hashed("keys", bytes);
        forge.put_hashed("keys", vec![number; 100]);
    }
    let by_password =
        Slot { holder: Holder::Password("right".to_owned(), [64, 1, 1]), secret: [99; 32], ..full() };
    forge.add_slot(&by_password);
    let good = forge.file(b"good", 100, json!({}));
    let folder = ended(forge, &leaf(&[(b"good".to_vec(), good)]));
    folder.write("password", "right\n");
    let mut listed = strongroom(&folder);
    listed.args(["-r", "repo", "--password-file", "password", "snapshots"]);
    run(&mut listed, DEADLINE).expect_code(0);
    let [restored, _] = tried(&folder);
    restored.expect_code(0);
}

#[test]
fn a_mark_that_is_there_already_says_the_same() {
    let backend = Arc::new(MemoryBackend::new());
    place(&backend, &begun());
    let credential = Credential::KeyFile(Secret::new(holder()));
    let repository = Repository::open(backend.clone(), &credential).expect("it opens");
    let (id, mark) = (Id([1; 32]), Abandoned { host: "server".to_owned(), time: Timestamp::default() });
    repository.put_abandoned(&id, &mark).expect("it is stored");
    let again = Abandoned { host: "another".to_owned(), ..mark.clone() };
    repository.put_abandoned(&id, &again).expect("one that is there is as good");
    assert_eq!(repository.read_abandoned(&id).expect("it is read"), mark);
    backend.replace(&ObjectName::new(ObjectKind::Abandoned, id), b"junk".to_vec());
    assert!(repository.put_abandoned(&id, &again).is_err(), "junk is no mark");
}
