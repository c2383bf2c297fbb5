//! Names, the order of entries, and what lies below what.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value as Json, json};

use super::scene::{Case, READERS, Scene, Top, directory, hold, top};
use super::{begun, entry};
use crate::forge::Forge;
use crate::forge::cbor::Cbor;
use crate::forge::hex;
use crate::forge::site::{leaf, node};

/// A tree of one leaf: what is bad under these paths, in this order, each written out as far as it must be.
fn paths(forge: &mut Forge, paths: &[&[u8]]) -> Top {
    let file = forge.file(b"escaped", 100, json!({}));
    let mut nodes = Vec::new();
    for path in paths {
        // What something else lies below is a folder.
        let below = [path, b"/".as_slice()].concat();
        let folder = paths.iter().any(|other| other.starts_with(&below));
        nodes.push((path.to_vec(), if folder { directory() } else { file.clone() }));
    }
    top(forge, &leaf(&nodes))
}

/// A tree with something else below what is no folder.
fn below(forge: &mut Forge, kind: &str, fields: Json) -> Top {
    let file = forge.file(b"escaped", 100, json!({}));
    let above = if kind == "file" { file.clone() } else { node(kind, fields) };
    top(forge, &leaf(&[(b"a".to_vec(), above), (b"a/precious".to_vec(), file)]))
}

#[test]
fn what_is_no_path_is_refused_by_whoever_reads_it() {
    let says = "not a path of a snapshot";
    let case = |name, make| Case { name, make, refused_by: &READERS, says };
    hold(&[
        case("two dots", |forge| paths(forge, &[b".."])),
        case("two dots within", |forge| paths(forge, &[b"a", b"a/.."])),
        case("one dot", |forge| paths(forge, &[b"."])),
        case("an absolute path", |forge| paths(forge, &[b"/tmp/strongroom-escaped"])),
        case("a slash at the end", |forge| paths(forge, &[b"a/"])),
        case("two slashes", |forge| paths(forge, &[b"a", b"a//b"])),
        case("a zero byte", |forge| paths(forge, &[b"a\0b"])),
    ]);
}

#[test]
fn a_path_beyond_the_limits_is_refused_by_whoever_reads_it() {
    let case = |name, make, says| Case { name, make, refused_by: &READERS, says };
    hold(&[
        case("a name of 1,025 bytes", |forge| paths(forge, &[&[b'n'; 1025]]), "longer than 1,024 bytes"),
        case(
            "a name of 100,000 bytes",
            |forge| paths(forge, &[&[b'n'; 100_000]]),
            "longer than 65,535 bytes",
        ),
        case(
            "10,000 folders",
            |forge| paths(forge, &[&vec![b"d".as_slice(); 10_000].join(&b'/')]),
            "4,096 folders",
        ),
        case(
            "a hundred paths of 60,000 bytes out of one blob of a few",
            |forge| {
                let file = forge.file(b"one", 100, json!({}));
                let long = vec![[b'n'; 1000].as_slice(); 60].join(&b'/');
                let mut entries = vec![entry(0, &long, &file)];
                entries.extend(
                    (0..100u8).map(|number| entry(long.len() as u64 + u64::from(number), b"x", &file)),
                );
                top(forge, &Cbor::Array(entries))
            },
            "",
        ),
    ]);
}

#[test]
fn entries_out_of_their_order_are_refused_by_whoever_reads_them() {
    let case = |name, make, says| Case { name, make, refused_by: &READERS, says };
    hold(&[
        case(
            "paths that fall",
            |forge| {
                let file = forge.file(b"one", 100, json!({}));
                top(forge, &Cbor::Array(vec![entry(0, b"b", &file), entry(0, b"a", &file)]))
            },
            "do not rise",
        ),
        case(
            "one path twice",
            |forge| {
                let file = forge.file(b"one", 100, json!({}));
                top(forge, &Cbor::Array(vec![entry(0, b"a", &file), entry(1, b"", &file)]))
            },
            "",
        ),
        case("an empty path that is no folder", |forge| paths(forge, &[b""]), ""),
        case("nothing above", |forge| paths(forge, &[b"folder/file"]), ""),
        case("below a file", |forge| below(forge, "file", json!({})), ""),
        case("below a pipe", |forge| below(forge, "fifo", json!({})), ""),
        case(
            "below a link that leads outside",
            |forge| below(forge, "symlink", json!({"link_target": hex(b"../../outside")})),
            "",
        ),
        case(
            "below an absolute link",
            |forge| below(forge, "symlink", json!({"link_target": hex(b"/")})),
            "",
        ),
    ]);
}

/// Restores a tree of these nodes that is in order and gives the scene.
fn restored(nodes: &[(&[u8], Json)]) -> (Scene, Option<i32>, String) {
    let mut forge = begun();
    let nodes: Vec<(Vec<u8>, Json)> =
        nodes.iter().map(|(path, node)| (path.to_vec(), node.clone())).collect();
    let top = top(&mut forge, &leaf(&nodes));
    let scene = Scene::new(forge, top);
    let met = scene.meet("restore");
    let said = met.outcome.err();
    (scene, met.outcome.code, said)
}

#[test]
fn names_of_one_inode_lead_nowhere_else() {
    let outside = hex(b"../../outside/precious");
    let linked = |fields: Json| {
        let mut all = json!({"links": 2, "mode": 0o6777, "mtime": {"seconds": 7, "nanoseconds": 0}});
        fields.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
        all
    };
    // Two names of a link; two names of a folder; a folder, a link and a pipe that say they are one inode.
    let link = node("symlink", linked(json!({"link_target": outside})));
    let folder = node("directory", linked(json!({})));
    let pipe = node("fifo", linked(json!({})));
    let nodes: [(&[u8], Json); 6] = [
        (b"a", link.clone()),
        (b"b", link.clone()),
        (b"c", folder.clone()),
        (b"d", folder),
        (b"e", pipe.clone()),
        (b"f", pipe),
    ];
    let (scene, code, said) = restored(&nodes);
    assert!(matches!(code, Some(0 | 3)), "{said}");
    let out = scene.folder.join("target/out");
    for name in ["a", "b"] {
        assert!(fs::symlink_metadata(out.join(name)).unwrap().is_symlink(), "{name}");
    }
    let inode = |name: &str| fs::symlink_metadata(out.join(name)).unwrap().ino();
    assert_eq!((inode("a"), inode("e")), (inode("b"), inode("f")));
    assert_ne!(inode("c"), inode("d"));
}

#[test]
fn a_name_that_would_steer_a_terminal_is_shown_harmless() {
    let mut forge = begun();
    let file = forge.file(b"five!", 100, json!({"size": 4}));
    let name = "\x1b]0;owned\x07\x1b[2J\u{202e}bad".as_bytes().to_vec();
    let top = top(&mut forge, &leaf(&[(name, file)]));
    let scene = Scene::new(forge, top);
    for command in ["restore", "ls", "check", "copy"] {
        let met = scene.meet(command);
        let said = [met.outcome.stdout, met.outcome.stderr].concat();
        assert!(!said.contains(&0x1b) && !said.contains(&7), "{command}");
        assert!(!String::from_utf8_lossy(&said).contains('\u{202e}'), "{command}");
    }
}

#[test]
fn a_path_of_the_greatest_depth_is_restored() {
    let mut forge = begun();
    let mut path = b"d".to_vec();
    let mut nodes = Vec::new();
    // As deep as the paths of one blob may be long in all.
    for _ in 0..500 {
        nodes.push((path.clone(), directory()));
        path.extend(b"/d");
    }
    let file = forge.file(b"deep", 100, json!({}));
    nodes.push((path, file));
    let parts: Vec<_> = nodes.chunks(100).map(<[_]>::to_vec).collect();
    let mut children = Vec::new();
    for part in &parts {
        let id = forge.store(3, &leaf(part).encode());
        children.push((part[0].0.clone(), id, part.len() as u64));
    }
    let root = forge.store(4, &crate::forge::site::inner(1, &children).encode());
    let scene = Scene::new(forge, (root, 1));
    let met = scene.meet("restore");
    assert_eq!(met.outcome.code, Some(0), "{}", met.outcome.err());
}
