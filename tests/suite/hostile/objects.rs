//! Objects beside the trees: index objects, packs, manifests, marks, and a great many of them.

use std::fs;

use serde_json::{Value as Json, json};

use super::scene::{ALL, Case, Scene, Top, hold, limited, top};
use super::{begun, full};
use crate::forge::cbor::{Cbor, head};
use crate::forge::packs::{index_pack, index_plain};
use crate::forge::records::record;
use crate::forge::site::leaf;
use crate::forge::{Bytes32, Entry, Forge, PackParts, hash, hex, stream};
use crate::support::{long, strongroom};

/// A tree of one good file, under the name that is dumped.
pub(super) fn good(forge: &mut Forge) -> Top {
    let file = forge.file(b"good", 100, json!({}));
    top(forge, &leaf(&[(b"bad".to_vec(), file)]))
}

/// Everything works, whatever else lies there.
pub(super) fn all_works(scene: &Scene, but: &[(&str, i32)]) {
    for command in ALL {
        let met = scene.meet(command);
        let wanted = but.iter().find(|(known, _)| *known == command).map_or(0, |(_, code)| *code);
        assert_eq!(met.outcome.code, Some(wanted), "{command}: {}", met.outcome.err());
        if command == "restore" {
            assert_eq!(fs::read(scene.folder.join("target/out/bad")).unwrap(), b"good");
        }
    }
}

/// An index object with this plaintext behind a good one, in a repository of a good file.
fn with_index(plain: impl Fn(&mut Forge) -> Vec<u8>) -> Scene {
    let mut forge = begun();
    let top = good(&mut forge);
    let plain = plain(&mut forge);
    let index = forge.index(&plain);
    forge.put_hashed("index", index);
    Scene::new(forge, top)
}

fn counts(envelopes: u32, packs: u32) -> Vec<u8> {
    [envelopes.to_le_bytes(), packs.to_le_bytes()].concat()
}

fn absurd(pack: &Bytes32, size: u64, announced: u32) -> Vec<u8> {
    [counts(0, 1), index_pack(pack, size, 1, announced)].concat()
}

#[test]
fn index_objects_that_cannot_be_are_named_and_passed_over() {
    type Make = fn(&mut Forge) -> Vec<u8>;
    let cases: [(&str, Make); 7] = [
        ("2^32 - 1 packs", |_| counts(0, u32::MAX)),
        ("2^32 - 1 envelopes", |_| counts(u32::MAX, 0)),
        ("2^32 - 1 blobs", |_| absurd(&[1; 32], 1 << 20, u32::MAX)),
        ("a pack of 2^63 bytes", |_| absurd(&[1; 32], 1 << 63, 0)),
        ("a pack of 2^64 - 1 bytes", |_| absurd(&[1; 32], u64::MAX, 0)),
        ("a pack of one byte more than packs have", |_| absurd(&[1; 32], (128 << 20) + 1, 0)),
        ("blobs that are together longer than their pack", |forge| {
            let (_, envelope) = forge.content_key(1);
            let entry = Entry {
                id: [1; 32],
                kind: 1,
                reserved: 0,
                envelope: 0,
                stored_length: u32::MAX,
                plain_length: 5,
            };
            index_plain(&[envelope], &[([1; 32], 1000, 1, vec![entry; 9])])
        }),
    ];
    for (name, make) in cases {
        println!("{name}");
        let scene = with_index(make);
        // What it says is not known, so nothing may be deleted; the packs are there, and are found by their tables.
        for command in ALL {
            let met = scene.meet(command);
            match command {
                "check" | "check-data" => assert!(met.refused(), "{name}: {command}"),
                "prune" => assert_eq!(met.outcome.code, Some(1), "{name}: {command}: {}", met.outcome.err()),
                _ => {}
            }
            if met.outcome.code != Some(0) || matches!(command, "restore" | "dump" | "ls" | "backup") {
                assert!(met.outcome.err().contains("index"), "{name}: {command}: {}", met.outcome.err());
            }
            if command == "restore" {
                assert_eq!(met.outcome.code, Some(0), "{name}: {}", met.outcome.err());
                assert_eq!(fs::read(scene.folder.join("target/out/bad")).unwrap(), b"good");
            }
        }
    }
}

#[test]
fn an_index_of_millions_of_blobs_stays_within_the_memory() {
    // As many as an index object has room for, in packs that are nowhere.
    let scene = with_index(|forge| {
        let (_, envelope) = forge.content_key(1);
        let mut plain = [counts(1, 16), envelope].concat();
        let filler = stream("blobs that are nowhere", 32);
        for pack in 0..16u8 {
            let number = 120_000u32;
            plain.extend(index_pack(&[pack; 32], 128 << 20, 1, number));
            for blob in 0..number {
                let mut id = filler.clone();
                id[..4].copy_from_slice(&blob.to_le_bytes());
                id[4] = pack;
                plain.extend(id);
                plain.extend([1, 0, 0, 0]);
                plain.extend(100u32.to_le_bytes());
                plain.extend(100u32.to_le_bytes());
            }
        }
        plain
    });
    for command in ["restore", "ls", "dump", "backup", "copy", "prune", "check", "repair"] {
        let met = scene.meet(command);
        assert!(matches!(met.outcome.code, Some(0 | 1 | 3)), "{command}: {}", met.outcome.err());
        if command == "check" {
            assert!(met.refused(), "{}", met.outcome.err());
        }
        if ["restore", "ls", "dump"].contains(&command) {
            assert_eq!(met.outcome.code, Some(0), "{command}: {}", met.outcome.err());
        }
    }
}

#[test]
fn a_pack_whose_table_lies_is_named_and_its_blobs_are_lost_alone() {
    type Change = fn(&mut PackParts);
    let cases: [(&str, Change); 5] = [
        ("an entry twice", |parts| {
            let entry = parts.entries[0].clone();
            parts.entries.push(entry);
            parts.announced.1 += 1;
        }),
        ("2^32 - 1 entries", |parts| parts.announced.1 = u32::MAX),
        ("65,535 envelopes", |parts| parts.announced.0 = u16::MAX),
        ("a frame of 4 GiB", |parts| parts.entries[0].stored_length = u32::MAX),
        ("a plaintext of 4 GiB", |parts| parts.entries[0].plain_length = u32::MAX),
    ];
    for (name, change) in cases {
        println!("{name}");
        let mut forge = begun();
        let top = good(&mut forge);
        // One that no index names, as an interrupted backup leaves it: its table is all that tells of it.
        let blob = forge.blob(1, b"adopt me");
        let (_, envelope) = forge.content_key(1);
        let mut parts = PackParts::new(1, vec![envelope], &[blob]);
        change(&mut parts);
        let bytes = forge.pack_bytes(&parts);
        let id = forge.put_hashed("packs", bytes);
        let scene = Scene::new(forge, top);
        for command in ALL {
            let met = scene.meet(command);
            match command {
                "check" | "check-data" => {
                    assert!(met.refused(), "{name}: {command}");
                    assert!(met.outcome.err().contains(&hex(&id)[..8]), "{name}: {}", met.outcome.err());
                }
                "restore" | "dump" | "ls" | "copy" => {
                    assert_eq!(met.outcome.code, Some(0), "{name}: {command}: {}", met.outcome.err());
                }
                _ => assert!(matches!(met.outcome.code, Some(0 | 1 | 3)), "{name}: {command}"),
            }
        }
    }
}

/// A scene whose snapshot's manifest has this in the place of a field.
fn with_field(key: u64, value: Vec<u8>) -> (Scene, String) {
    let mut forge = begun();
    let (root, level) = good(&mut forge);
    let fields = forge.manifest_fields(&root, level, 1);
    let mut manifest = record("manifest", &fields);
    *manifest.at(key) = Cbor::Raw(value);
    let id = forge.draw();
    // The record around it is short: written as JSON, what it holds would take gigabytes.
    let signed = forge.signed_manifest_fields(&id, &[], &full());
    let manifest = manifest.encode();
    let signer = crate::forge::Signer { secret: &full().secret, context: "strongroom v1 snapshot manifest" };
    let signature = crate::forge::sign(&signer, &[&forge.repository, &id, &manifest]);
    let mut signed = record("signed-manifest", &signed);
    *signed.at(0) = Cbor::Bytes(manifest);
    *signed.at(4) = Cbor::Bytes(signature.to_vec());
    let bytes = forge.object(b"snap", "snapshots", &id, &signed.encode());
    forge.put("snapshots", &id, bytes);
    (Scene::of(forge), hex(&id))
}

#[test]
fn manifests_that_go_on_and_on_are_refused_by_name() {
    let tags = |number: u32| -> Vec<u8> {
        let tag = |tag| [head(3, 7), format!("{tag:07}").into_bytes()].concat();
        [head(4, number.into()), (0..number).flat_map(tag).collect()].concat()
    };
    for (name, key, value) in [
        ("2^20 tags", "tags", tags(1 << 20)),
        ("2^20 paths", "paths", [head(4, 1 << 20), [0x41, b'p'].repeat(1 << 20)].concat()),
        ("seven million paths of no bytes", "paths", [head(4, 7_000_000), vec![0x40; 7_000_000]].concat()),
        (
            "seven million excludes of no bytes",
            "excludes",
            [head(4, 7_000_000), vec![0x60; 7_000_000]].concat(),
        ),
        ("2^62 excludes", "excludes", head(4, 1 << 62)),
        ("a tag of 1 MiB", "tags", [head(4, 1), head(3, 1 << 20), vec![b't'; 1 << 20]].concat()),
    ] {
        println!("{name}");
        let fields = crate::forge::records::specification().table("record", "manifest").fields().unwrap();
        let key = fields.iter().find(|field| field.name == key).unwrap().key;
        let (scene, id) = with_field(key, value);
        for command in ["snapshots", "restore", "ls", "check", "copy", "prune", "backup"] {
            let met = scene.meet(command);
            let said = met.outcome.err();
            if ["snapshots", "check", "prune"].contains(&command) {
                assert!(met.refused() && said.contains(&id[..8]), "{name}: {command}: {said}");
            }
        }
    }
}

#[test]
fn a_manifest_of_numbers_beyond_sense_is_shown_as_it_is() {
    let mut forge = begun();
    let top = good(&mut forge);
    let scene = Scene::with_manifest(forge, top, |fields| {
        fields["time"] = json!({"seconds": i64::MAX, "nanoseconds": 999_999_999});
        fields["finished"] = json!({"seconds": i64::MIN, "nanoseconds": 0});
        fields["sequence"] = json!(u64::MAX);
        for (_, value) in fields["statistics"].as_object_mut().unwrap() {
            *value = json!(u64::MAX);
        }
    });
    for command in [
        "snapshots",
        "snapshots --json",
        "ls latest",
        "restore",
        "check",
        "copy",
        "backup",
        "prune",
        "forget --keep-daily 1 --dry-run",
        "forget --keep-within 1d --dry-run",
    ] {
        let met = scene.meet(command);
        assert!(matches!(met.outcome.code, Some(0 | 3)), "{command}: {}", met.outcome.err());
    }
}

/// A record of a prune, which condemns these packs.
fn condemn(forge: &mut Forge, packs: &[Bytes32]) {
    let packs: Vec<String> = packs.iter().map(|pack| hex(pack)).collect();
    let fields = json!({"packs": packs, "time": {"seconds": 1_794_000_200, "nanoseconds": 3}});
    let signed = forge.signed("strongroom v1 gc record", &[0; 32], &record("condemned", &fields).encode());
    let object = forge.object(b"gcol", "gc records", &[0; 32], &signed);
    forge.put_hashed("gc", object);
}

#[test]
fn a_record_that_condemns_all_packs_loses_nothing() {
    let mut forge = begun();
    let top = good(&mut forge);
    let mut scene = Scene::new(forge, top);
    let packs: Vec<Bytes32> = scene
        .forge
        .objects
        .keys()
        .filter_map(|path| path.strip_prefix("packs/"))
        .map(|path| crate::forge::from_hex(&path[3..]).try_into().unwrap())
        .collect();
    condemn(&mut scene.forge, &packs);
    all_works(&scene, &[]);
    // Whatever is needed is rescued first.
    let met = scene.meet("prune-for-real");
    assert_eq!(met.outcome.code, Some(0), "{}", met.outcome.err());
    let mut restore = strongroom(&scene.folder);
    restore.args(["-r", "repo", "--key-file", "full.key", "restore", "latest", "--target", "target/out"]);
    limited(&mut restore).expect_code(0);
    assert_eq!(fs::read(scene.folder.join("target/out/bad")).unwrap(), b"good");
}

#[test]
#[expect(clippy::big_endian_bytes, reason = "the ids have to rise")]
fn a_record_of_two_million_packs_stays_within_the_memory() {
    let mut forge = begun();
    let top = good(&mut forge);
    let number = 1_900_000u32;
    // By hand: as JSON it would take the test more memory than it grants the program.
    let mut packs = head(4, number.into());
    for pack in 0..number {
        packs.extend(head(2, 32));
        packs.extend([&pack.to_be_bytes()[..], &[0; 28]].concat());
    }
    let empty = json!({"packs": [], "time": {"seconds": 1_794_000_200, "nanoseconds": 3}});
    let mut condemned = record("condemned", &empty);
    *condemned.at(0) = Cbor::Raw(packs);
    let record = condemned.encode();
    let signer = crate::forge::Signer { secret: &forge.maintain_secret, context: "strongroom v1 gc record" };
    let signature = crate::forge::sign(&signer, &[&forge.repository, &[0; 32], &record]);
    let signed = Cbor::Map(vec![(0, Cbor::Bytes(record)), (1, Cbor::Bytes(signature.to_vec()))]);
    let object = forge.object(b"gcol", "gc records", &[0; 32], &signed.encode());
    forge.put_hashed("gc", object);
    let scene = Scene::new(forge, top);
    for command in ["restore", "check", "backup", "prune"] {
        let met = scene.meet(command);
        assert!(matches!(met.outcome.code, Some(0 | 1 | 3)), "{command}: {}", met.outcome.err());
    }
}

#[test]
fn junk_in_every_folder_is_named_and_bounded() {
    let number = if long() { 100_000u32 } else { 2000 };
    for folder in ["index", "snapshots", "abandoned", "forgotten", "sessions", "gc", "packs"] {
        println!("{folder}");
        let mut forge = begun();
        let top = good(&mut forge);
        for number in 0..number {
            forge.put(folder, &hash(&number.to_le_bytes()), stream(&format!("junk {number}"), 200));
        }
        let scene = Scene::new(forge, top);
        for command in ALL {
            let met = scene.meet(command);
            assert!(matches!(met.outcome.code, Some(0 | 1 | 3)), "{folder}: {command}");
            if command.starts_with("check") {
                assert!(met.refused(), "{folder}: {command}: {}", met.outcome.err());
            }
            if command == "restore" {
                assert!(matches!(met.outcome.code, Some(0 | 3)), "{folder}: {}", met.outcome.err());
                assert_eq!(fs::read(scene.folder.join("target/out/bad")).unwrap(), b"good", "{folder}");
            }
            let lines = met.outcome.err().lines().count();
            assert!(
                lines < 200 || command.starts_with("check") || command.starts_with("repair"),
                "{folder}: {command}: {lines} lines, which begin {:.500}",
                met.outcome.err()
            );
        }
    }
}

#[test]
fn a_config_that_goes_on_and_on_is_refused() {
    let make = |forge: &mut Forge| {
        let mut fields = forge.config_fields();
        fields["required_features"] = Json::Array(vec![json!("scent"); 100_000]);
        let config = forge.config(&record("config", &fields).encode());
        forge.objects.insert("config".to_owned(), config);
        good(forge)
    };
    hold(&[Case { name: "100,000 features", make, refused_by: &ALL[..5], says: "scent" }]);
}
