//! What nodes say of themselves, and the data of files.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value as Json, json};

use super::begun;
use super::scene::{ALL, Case, READERS, Scene, Top, hold, top};
use crate::forge::cbor::{Cbor, head};
use crate::forge::records::record;
use crate::forge::site::{leaf, node};
use crate::forge::{Blob, Bytes32, Forge, hex};

/// Whoever needs the data of a file, or what it would take.
const OF_FILES: [&str; 5] = ["restore", "dump", "check", "check-data", "copy"];

/// A tree of a bad node and a good file.
fn beside_a_good_one(forge: &mut Forge, bad: Json) -> Top {
    let good = forge.file(b"good", 100, json!({}));
    top(forge, &leaf(&[(b"bad".to_vec(), bad), (b"good".to_vec(), good)]))
}

fn of_file(forge: &mut Forge, fields: Json) -> Top {
    let file = forge.file(b"five!", 100, fields);
    beside_a_good_one(forge, file)
}

fn hole(offset: u64, length: u64) -> Json {
    json!({"offset": offset, "length": length})
}

#[test]
fn holes_that_cannot_be_are_refused() {
    let says = "holes";
    let case = |name, make| Case { name, make, refused_by: &READERS, says };
    hold(&[
        case("overlapping", |forge| {
            of_file(forge, json!({"size": 100, "holes": [hole(0, 10), hole(5, 10)]}))
        }),
        case("descending", |forge| {
            of_file(forge, json!({"size": 100, "holes": [hole(50, 10), hole(5, 10)]}))
        }),
        case("touching", |forge| of_file(forge, json!({"size": 100, "holes": [hole(0, 10), hole(10, 10)]}))),
        case("empty", |forge| of_file(forge, json!({"size": 100, "holes": [hole(0, 0)]}))),
        case("beyond the size", |forge| of_file(forge, json!({"size": 100, "holes": [hole(95, 10)]}))),
        case("beyond all numbers", |forge| {
            of_file(forge, json!({"size": 100, "holes": [hole(u64::MAX - 1, u64::MAX)]}))
        }),
        case("of no number", |forge| of_file(forge, json!({"size": 100, "holes": []}))),
        case("too many", |forge| {
            let holes: Vec<Json> = (0..4097u64).map(|number| hole(number * 2, 1)).collect();
            of_file(forge, json!({"size": 10_000, "holes": holes}))
        }),
    ]);
}

/// A file whose attributes are these bytes.
fn attributed(forge: &mut Forge, attributes: Vec<u8>) -> Top {
    let mut node = record("node", &forge.file(b"five!", 100, json!({})));
    node.entries().push((14, Cbor::Raw(attributes)));
    node.entries().sort_by_key(|(key, _)| *key);
    let entry = vec![Cbor::Unsigned(0), Cbor::Bytes(b"bad".to_vec()), node];
    top(forge, &Cbor::Array(vec![Cbor::Array(entry)]))
}

#[test]
fn nodes_whose_fields_cannot_be_are_refused() {
    let case = |name, make, says| Case { name, make, refused_by: &READERS, says };
    hold(&[
        case(
            "a second of 1,000,000,000 nanoseconds",
            |forge| of_file(forge, json!({"mtime": {"seconds": 0, "nanoseconds": 1_000_000_000}})),
            "nanoseconds",
        ),
        case("a mode of 0o170777", |forge| of_file(forge, json!({"mode": 0o170_777})), "out of range"),
        case(
            "an attribute that claims 2 GiB",
            |forge| attributed(forge, [&[0x81, 0x82, 0x41, b'u'][..], &head(2, 1 << 31)].concat()),
            "tree leaf",
        ),
        case("an array of 2^62 attributes", |forge| attributed(forge, head(4, 1 << 62)), "tree leaf"),
        // Names must rise; none is as long as none can be.
        case(
            "two million attributes",
            |forge| attributed(forge, [head(4, 2_000_000), [0x82, 0x40, 0x40].repeat(2_000_000)].concat()),
            "attributes",
        ),
        case(
            "attributes of more than 1 MiB",
            |forge| {
                let value = hex(&vec![0; 1 << 20]);
                of_file(forge, json!({"attributes": [{"name": hex(b"user.a"), "value": value}]}))
            },
            "attributes",
        ),
        case(
            "data of a folder",
            |forge| {
                let folder = node("directory", json!({"size": 1u64 << 40}));
                beside_a_good_one(forge, folder)
            },
            "fit its kind",
        ),
        case(
            "a link to nowhere said",
            |forge| {
                let link = node("symlink", json!({}));
                beside_a_good_one(forge, link)
            },
            "fit its kind",
        ),
        case(
            "a device without a number",
            |forge| {
                let device = node("block-device", json!({}));
                beside_a_good_one(forge, device)
            },
            "fit its kind",
        ),
    ]);
}

/// A list of level 0: this chunk, over and over.
fn repeated(forge: &mut Forge, chunk: &Bytes32, times: usize) -> Bytes32 {
    let plain: Vec<u8> = [0].into_iter().chain(chunk.iter().copied().cycle().take(32 * times)).collect();
    forge.store(2, &plain)
}

/// A list above: this list, over and over.
fn above(forge: &mut Forge, level: u8, below: &Bytes32, bytes: u64, times: usize) -> Bytes32 {
    let entry = [below.as_slice(), &bytes.to_le_bytes()].concat();
    let plain: Vec<u8> = [level].into_iter().chain(entry.iter().copied().cycle().take(40 * times)).collect();
    forge.store(2, &plain)
}

/// A file of 2^40 chunks of one byte.
fn endless(forge: &mut Forge, size: u64) -> Json {
    let chunk = forge.store(1, b"x");
    let mut list = repeated(forge, &chunk, 4096);
    let mut bytes = 4096u64;
    for (level, times) in [(1, 4096usize), (2, 4096), (3, 16)] {
        list = above(forge, level, &list, bytes, times);
        bytes *= times as u64;
    }
    node("file", json!({"size": size, "content": {"list": {"root": hex(&list), "level": 3}}}))
}

fn zstd(forge: &mut Forge, content: &[u8], plain_length: u32) -> Top {
    let id = forge.blob_id(1, b"small");
    let frame = forge.frame(1, &id, plain_length, &[&[1], content].concat());
    forge.store_blob(Blob { kind: 1, id, plain_length, frame });
    let content = json!({"inline": {"chunks": [hex(&id)]}});
    let file = node("file", json!({"size": plain_length, "content": content}));
    beside_a_good_one(forge, file)
}

/// Blocks that each repeat one byte as often as a block may.
fn bomb(blocks: u32) -> Vec<u8> {
    let mut content = Vec::new();
    for block in 0..blocks {
        let head = u32::from(block + 1 == blocks) | 1 << 1 | 131_072 << 3;
        content.extend(&head.to_le_bytes()[..3]);
        content.push(0);
    }
    content
}

#[test]
fn files_of_lists_that_lie_are_lost_alone() {
    let case = |name, make| Case { name, make, refused_by: &OF_FILES, says: "bad" };
    hold(&[
        case("2^40 chunks, and five bytes long", |forge| {
            let file = endless(forge, 5);
            beside_a_good_one(forge, file)
        }),
        case("lists whose lengths overflow", |forge| {
            let chunk = forge.store(1, b"x");
            let list = repeated(forge, &chunk, 1);
            let list = above(forge, 1, &list, u64::MAX, 2);
            let file = json!({"size": 1, "content": {"list": {"root": hex(&list), "level": 1}}});
            beside_a_good_one(forge, node("file", file))
        }),
        case("a list of another level", |forge| {
            let chunk = forge.store(1, b"x");
            let list = repeated(forge, &chunk, 1);
            let file = json!({"size": 1, "content": {"list": {"root": hex(&list), "level": 1}}});
            beside_a_good_one(forge, node("file", file))
        }),
        case("a list within itself, by its levels", |forge| {
            let chunk = forge.store(1, b"x");
            let list = repeated(forge, &chunk, 1);
            let list = above(forge, 1, &list, 1, 1);
            let list = above(forge, 1, &list, 1, 1);
            let file = json!({"size": 1, "content": {"list": {"root": hex(&list), "level": 2}}});
            beside_a_good_one(forge, node("file", file))
        }),
        case("an empty chunk, 2^32 times", |forge| {
            let chunk = forge.store(1, b"");
            let list = repeated(forge, &chunk, 4096);
            let list = above(forge, 1, &list, 0, 4096);
            let list = above(forge, 2, &list, 0, 256);
            let file = json!({"size": 0, "content": {"list": {"root": hex(&list), "level": 2}}});
            beside_a_good_one(forge, node("file", file))
        }),
        case("an empty list", |forge| {
            let list = forge.store(2, &[0]);
            let file = json!({"size": 0, "content": {"list": {"root": hex(&list), "level": 0}}});
            beside_a_good_one(forge, node("file", file))
        }),
    ]);
}

#[test]
fn a_file_of_2_40_chunks_that_is_as_long_costs_neither_time_nor_memory() {
    for size in [1 << 40, u64::MAX] {
        let mut forge = begun();
        let file = endless(&mut forge, size);
        let top = beside_a_good_one(&mut forge, file);
        let scene = Scene::new(forge, top);
        for command in ALL {
            let met = scene.meet(command);
            assert_eq!(met.refused(), OF_FILES.contains(&command), "{command}: {}", met.outcome.err());
            assert!(met.outcome.stdout.len() < 1 << 20, "{command} gives {} bytes", met.outcome.stdout.len());
        }
    }
}

#[test]
fn a_list_of_an_impossible_level_is_refused() {
    let make = |forge: &mut Forge| {
        let chunk = forge.store(1, b"x");
        let list = repeated(forge, &chunk, 1);
        let file = json!({"size": 1, "content": {"list": {"root": hex(&list), "level": 200}}});
        beside_a_good_one(forge, node("file", file))
    };
    hold(&[Case { name: "level 200", make, refused_by: &READERS, says: "out of range" }]);
}

#[test]
fn sizes_that_no_disk_has_are_lost_alone() {
    let make = |forge: &mut Forge| of_file(forge, json!({"size": 1u64 << 63}));
    hold(&[Case { name: "2^63 bytes, of which five are there", make, refused_by: &OF_FILES, says: "bad" }]);
    // What is one hole is as long as it says; a disk that takes no such length says so.
    let mut forge = begun();
    let file = node(
        "file",
        json!({
            "size": u64::MAX, "holes": [hole(0, u64::MAX)], "content": {"inline": {"chunks": []}},
        }),
    );
    let top = beside_a_good_one(&mut forge, file);
    let scene = Scene::new(forge, top);
    let met = scene.meet("restore");
    assert_eq!(met.outcome.code, Some(3), "{}", met.outcome.err());
    assert!(met.outcome.err().contains("bad"), "{}", met.outcome.err());
    assert_eq!(fs::read(scene.folder.join("target/out/good")).unwrap(), b"good");
}

#[test]
fn frames_of_zstd_that_lie_are_lost_alone() {
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let case =
        |name, make| Case { name, make, refused_by: &["restore", "dump", "check-data", "copy"], says: "bad" };
    hold(&[
        case("64 MiB of zeros that say they are 8 MiB", |forge| {
            let content = [&MAGIC[..], &[0, 7 << 3], &bomb(512)].concat();
            zstd(forge, &content, 8 << 20)
        }),
        case("a frame that claims 2^60 bytes", |forge| {
            let content = [&MAGIC[..], &[0xe0], &(1u64 << 60).to_le_bytes(), &bomb(1)].concat();
            zstd(forge, &content, 131_072)
        }),
        case("a frame with a window of 2^41 bytes", |forge| {
            let content = [&MAGIC[..], &[0, 31 << 3 | 7], &bomb(1)].concat();
            zstd(forge, &content, 131_072)
        }),
        case("something to be skipped first", |forge| {
            let content =
                [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7][..], &MAGIC, &[0, 7 << 3], &bomb(1)].concat();
            zstd(forge, &content, 131_072)
        }),
        case("two frames", |forge| {
            let one = [&MAGIC[..], &[0, 7 << 3], &bomb(1)].concat();
            zstd(forge, &[one.clone(), one].concat(), 262_144)
        }),
        case("nothing at all", |forge| zstd(forge, &[], 5)),
    ]);
    // What an index object says of a blob is held against what can be, before the blob is looked at.
    let says = "a length that is not possible";
    let case = |name, make| Case { name, make, refused_by: &READERS, says };
    hold(&[
        case("64 MiB of zeros in 2 KiB that say they are five bytes", |forge| {
            let content = [&MAGIC[..], &[0, 7 << 3], &bomb(512)].concat();
            zstd(forge, &content, 5)
        }),
        case("a blob longer than blobs are", |forge| {
            let content = [&MAGIC[..], &[0, 7 << 3], &bomb(512)].concat();
            zstd(forge, &content, u32::MAX)
        }),
    ]);
}

#[test]
fn odd_metadata_is_kept_from_doing_harm_and_reported() {
    let mut forge = begun();
    let file = |forge: &mut Forge, fields: Json| forge.file(b"five!", 100, fields);
    let attributes =
        |name: &[u8], value: &[u8]| json!({"attributes": [{"name": hex(name), "value": hex(value)}]});
    let odd: [(&str, Json); 8] = [
        (
            "year-300-million",
            json!({"mtime": {"seconds": 9_467_000_000_000_000u64, "nanoseconds": 999_999_999}}),
        ),
        (
            "year-end",
            json!({"mtime": {"seconds": i64::MAX, "nanoseconds": 0}, "ctime": {"seconds": i64::MIN, "nanoseconds": 0}}),
        ),
        ("year-begin", json!({"mtime": {"seconds": i64::MIN, "nanoseconds": 0}})),
        ("acl", attributes(b"system.posix_acl_access", b"\x02\0\0\0junk")),
        ("capability", attributes(b"security.capability", b"junk")),
        ("unnamed", attributes(b"", b"junk")),
        ("zero", attributes(b"user.a\0b", b"junk")),
        ("owner", json!({"uid": u32::MAX, "gid": u32::MAX, "mode": 0o6777})),
    ];
    let mut nodes: Vec<(Vec<u8>, Json)> = odd
        .iter()
        .map(|(name, fields)| (name.as_bytes().to_vec(), file(&mut forge, fields.clone())))
        .collect();
    nodes.push((b"device".to_vec(), node("character-device", json!({"device_number": u64::MAX}))));
    nodes.push((b"link-empty".to_vec(), node("symlink", json!({"link_target": ""}))));
    nodes.push((b"link-long".to_vec(), node("symlink", json!({"link_target": hex(&[b'l'; 100_000])}))));
    nodes.push((b"link-zero".to_vec(), node("symlink", json!({"link_target": hex(b"a\0b")}))));
    nodes.sort_by(|(one, _), (other, _)| one.cmp(other));
    let top = top(&mut forge, &leaf(&nodes));
    let mut scene = Scene::new(forge, top);
    scene.dumped = "/acl".to_owned();
    for command in ALL {
        let met = scene.meet(command);
        match command {
            "restore" => {
                assert_eq!(met.outcome.code, Some(3), "{}", met.outcome.err());
                let said = met.outcome.err();
                for name in ["link-empty", "link-long", "link-zero", "acl"] {
                    assert!(said.contains(name), "{name}: {said}");
                }
                for (name, _) in &odd {
                    let path = scene.folder.join("target/out").join(name);
                    assert_eq!(fs::read(&path).unwrap(), b"five!", "{name}");
                }
                // Whom it was to belong to cannot be set, so nobody else gets it with these rights.
                let owner = fs::metadata(scene.folder.join("target/out/owner")).unwrap();
                assert_eq!(owner.mode() & 0o6000, 0, "{:o}", owner.mode());
            }
            _ => assert_eq!(met.outcome.code, Some(0), "{command}: {}", met.outcome.err()),
        }
    }
    let listed = scene.meet("ls latest --long");
    assert_eq!(listed.outcome.code, Some(0), "{}", listed.outcome.err());
}

#[test]
fn many_nodes_in_one_blob_stay_within_the_memory() {
    // As many nodes as a blob of 8 MiB holds, and none that may stand there.
    let make = |forge: &mut Forge| {
        let node =
            record("node", &node("fifo", json!({"user": "", "group": "", "mode": 0, "uid": 0, "gid": 0})));
        let one = Cbor::Array(vec![Cbor::Unsigned(0), Cbor::Bytes(vec![]), node]).encode();
        let many = (8 << 20) / one.len() - 1;
        let bytes = [head(4, many as u64), one.repeat(many)].concat();
        (forge.store(3, &bytes), 0)
    };
    hold(&[Case { name: "a blob full of nodes", make, refused_by: &READERS, says: "" }]);
}
