//! Trees whose blobs lie about each other.

use serde_json::json;

use super::scene::{Case, READERS, Top, directory, hold};
use crate::forge::cbor::Cbor;
use crate::forge::site::{inner, leaf, node};
use crate::forge::{Bytes32, Forge};

type Child = (Vec<u8>, Bytes32, u64);

fn folders(forge: &mut Forge, names: &[&[u8]]) -> Child {
    let nodes: Vec<_> = names.iter().map(|name| (name.to_vec(), directory())).collect();
    (names[0].to_vec(), forge.store(3, &leaf(&nodes).encode()), names.len() as u64)
}

fn over(forge: &mut Forge, level: u8, children: &[Child]) -> Child {
    let id = forge.store(4, &inner(level, children).encode());
    (children[0].0.clone(), id, children.iter().fold(0, |sum: u64, child| sum.wrapping_add(child.2)))
}

fn top(forge: &mut Forge, level: u8, children: &[Child]) -> Top {
    (over(forge, level, children).1, level)
}

#[test]
fn trees_that_lie_are_refused_by_whoever_walks_them() {
    let case = |name, make| Case { name, make, refused_by: &READERS, says: "" };
    hold(&[
        case("a level that does not fall", |forge| {
            let child = folders(forge, &[b"a"]);
            let child = over(forge, 1, &[child]);
            top(forge, 1, &[child])
        }),
        case("a level that rises", |forge| {
            let child = folders(forge, &[b"a"]);
            let child = over(forge, 2, &[child]);
            top(forge, 1, &[child])
        }),
        case("a leaf that says it is an inner node", |forge| (folders(forge, &[b"a"]).1, 1)),
        case("one leaf twice", |forge| {
            let child = folders(forge, &[b"a"]);
            top(forge, 1, &[child.clone(), child])
        }),
        case("one leaf twice, under two names", |forge| {
            let child = folders(forge, &[b"a"]);
            let again = (b"b".to_vec(), child.1, child.2);
            top(forge, 1, &[child, again])
        }),
        case("one leaf 2^72 times, by levels of the same twice", |forge| {
            let mut child = folders(forge, &[b"a"]);
            for level in 1..=12 {
                let again = ([b"b".as_slice(), &[b'0' + level]].concat(), child.1, child.2);
                child = over(forge, level, &[child, again]);
            }
            (child.1, 12)
        }),
        case("leaves out of order", |forge| {
            let (one, other) = (folders(forge, &[b"b"]), folders(forge, &[b"a"]));
            let plain = json!({"level": 1, "entries": [
                {"shared": 0, "suffix": "62", "id": crate::forge::hex(&one.1), "nodes": 1},
                {"shared": 0, "suffix": "61", "id": crate::forge::hex(&other.1), "nodes": 1},
            ]});
            (forge.store(4, &crate::forge::records::record("inner-node", &plain).encode()), 1)
        }),
        case("leaves that overlap", |forge| {
            let (one, other) = (folders(forge, &[b"a", b"c"]), folders(forge, &[b"b", b"d"]));
            top(forge, 1, &[one, other])
        }),
        case("an empty leaf below", |forge| {
            let empty = forge.store(3, &Cbor::Array(Vec::new()).encode());
            top(forge, 1, &[(b"a".to_vec(), empty, 0)])
        }),
        case("numbers that overflow", |forge| {
            let (mut one, other) = (folders(forge, &[b"a"]), folders(forge, &[b"b"]));
            one.2 = u64::MAX;
            let child = over(forge, 1, &[one, other]);
            top(forge, 2, &[child])
        }),
        case("no children", |forge| (forge.store(4, &inner(1, &[]).encode()), 1)),
        case("a level of 13", |forge| {
            let mut child = folders(forge, &[b"a"]);
            for level in 1..=13 {
                child = over(forge, level, &[child]);
            }
            (child.1, 13)
        }),
        case("a level of 255", |forge| (folders(forge, &[b"a"]).1, 255)),
        case("arrays 1,000,000 deep", |forge| {
            (forge.store(3, &[vec![0x81; 1_000_000], vec![0]].concat()), 0)
        }),
        case("maps 1,000,000 deep", |forge| {
            let deep: Vec<u8> = [0xa1, 0].into_iter().cycle().take(2_000_000).collect();
            (forge.store(3, &deep), 0)
        }),
        case("an array of 2^63", |forge| (forge.store(3, &crate::forge::cbor::long_head(4, 1 << 63)), 0)),
        case("a tree that is nowhere", |_| ([7; 32], 0)),
    ]);
}

#[test]
fn a_tree_that_is_higher_than_needed_is_read() {
    let make = |forge: &mut Forge| {
        let pipe = node("fifo", json!({}));
        let mut child = (b"bad".to_vec(), forge.store(3, &leaf(&[(b"bad".to_vec(), pipe)]).encode()), 1);
        for level in 1..=12 {
            child = over(forge, level, &[child]);
        }
        (child.1, 12)
    };
    let case = Case {
        name: "twelve levels of one child",
        make,
        refused_by: &["dump"],
        says: "neither a file nor a folder",
    };
    hold(&[case]);
}

#[test]
fn what_a_lost_leaf_may_have_said_is_not_believed() {
    // A link, then a leaf that is nowhere, then what lies below the link: whoever goes on behind a loss must not take the
    // link for the folder that may have come meanwhile.
    let make = |forge: &mut Forge| {
        let link = node("symlink", json!({"link_target": crate::forge::hex(b"../../outside")}));
        let file = forge.file(b"escaped", 100, json!({"mode": 0o777}));
        let first = forge.store(3, &leaf(&[(b"a".to_vec(), link)]).encode());
        let last = forge.store(3, &leaf(&[(b"a/precious".to_vec(), file)]).encode());
        let children =
            [(b"a".to_vec(), first, 1), (b"a/b".to_vec(), [7; 32], 1), (b"a/precious".to_vec(), last, 1)];
        top(forge, 1, &children)
    };
    let refused_by = &["restore", "ls", "check", "check-data", "copy"];
    hold(&[Case { name: "below a link, behind a loss", make, refused_by, says: "" }]);
}

#[test]
fn losses_without_end_come_to_an_end() {
    // As many leaves as a tree of some MiB can name, and none of them is there.
    let make = |forge: &mut Forge| {
        let mut children = Vec::new();
        for number in 0..200_000u32 {
            children.push((
                format!("{number:06}").into_bytes(),
                crate::forge::hash(&number.to_le_bytes()),
                1,
            ));
        }
        let mut level = 0;
        while children.len() > 1 {
            level += 1;
            children = children.chunks(2000).map(|part| over(forge, level, part)).collect();
        }
        (children[0].1, level)
    };
    hold(&[Case { name: "200,000 leaves that are nowhere", make, refused_by: &READERS, says: "" }]);
}
