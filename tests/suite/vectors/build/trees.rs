//! Paths, nodes, leaves, inner nodes and lists.

use serde_json::{Value as Json, json};

use super::{Case, forge, join};
use crate::forge::cbor::{Cbor, head, long_head};
use crate::forge::records::record;
use crate::forge::site::{inner, leaf, node};
use crate::forge::{Bytes32, hash, hex};

pub(super) fn trees() -> Vec<Case> {
    [paths(), leaves(), bad_nodes(), bad_leaves(), inners(), lists(), whole_trees(), built()]
        .into_iter()
        .flatten()
        .collect()
}

fn paths() -> Vec<Case> {
    let valid =
        |name: &str, path: &[u8]| Case::valid("path", name, json!({"bytes": hex(path), "value": true}));
    let deep = vec![&b"d"[..]; 4096].join(&b'/');
    let mut cases = vec![
        valid("the root", b""),
        valid("two components", b"a/b"),
        valid("three dots", b"..."),
        valid("bytes that are not UTF-8", b"\xff/\x01"),
        valid("a component of 1,024 bytes", &[b'a'; 1024]),
    ];
    for (name, path) in [
        ("a slash first", b"/a".to_vec()),
        ("a slash last", b"a/".to_vec()),
        ("two slashes", b"a//b".to_vec()),
        ("nothing but a slash", b"/".to_vec()),
        ("a dot", b"a/./b".to_vec()),
        ("two dots", b"a/../../etc/passwd".to_vec()),
        ("two dots alone", b"..".to_vec()),
        ("a zero byte", b"a\0b".to_vec()),
        ("a component of 1,025 bytes", vec![b'a'; 1025]),
        ("4,097 components", [&deep[..], b"/d"].concat()),
    ] {
        cases.push(Case::invalid("path", name, "bad-path", json!({"bytes": hex(&path)})));
    }
    let ordered: [&[u8]; 11] =
        [b"", b"\x01", b"A", b"a", b"a/", b"a/b", b"a/b/c", b"a-b", b"a.b", b"ab", b"\xff"];
    let ordered: Vec<String> =
        ordered.iter().filter(|path| !path.ends_with(b"/")).map(|path| hex(path)).collect();
    let mut shuffled = ordered.clone();
    shuffled.reverse();
    shuffled.swap(0, 4);
    cases.push(Case::valid("path-order", "order of paths", json!({"paths": shuffled, "value": ordered})));
    cases
}

/// A node of every kind, and of every form that content takes.
pub(crate) fn node_kinds() -> Vec<(&'static str, Json)> {
    let id = |byte: u8| hex(&[byte; 32]);
    let inline = |count: u8| json!({"inline": {"chunks": (0..count).map(id).collect::<Vec<_>>()}});
    let empty = json!({"inline": {"chunks": []}});
    let file = |fields: Json| node("file", join(json!({"content": empty}), fields));
    vec![
        ("folder", node("directory", json!({}))),
        ("empty file", file(json!({}))),
        ("file with two chunks", file(json!({"size": 1_500_000, "content": inline(2)}))),
        ("file with 32 chunks", file(json!({"size": 40_000_000, "content": inline(32)}))),
        (
            "file with a list",
            file(json!({"size": 5_000_000_000u64, "content": {"list": {"root": id(9), "level": 1}}})),
        ),
        (
            "file with holes",
            file(json!({
                "size": 1_000_000, "content": inline(1),
                "holes": [{"offset": 0, "length": 65_536}, {"offset": 131_072, "length": 868_928}],
            })),
        ),
        ("file that is all hole", file(json!({"size": 4096, "holes": [{"offset": 0, "length": 4096}]}))),
        (
            "database",
            file(json!({
                "size": 8192, "content": inline(2),
                "database": {"page_size": 4096, "run_pages": 1, "fingerprint": id(8), "checked": true},
            })),
        ),
        ("symbolic link", node("symlink", json!({"mode": 0o777, "link_target": hex(b"../elsewhere")}))),
        ("named pipe", node("fifo", json!({}))),
        ("socket", node("socket", json!({"mode": 0o755}))),
        (
            "character device",
            node("character-device", json!({"device_number": (1u64 << 32) + 3, "user": "", "uid": 0})),
        ),
        ("block device", node("block-device", json!({"device_number": 8u64 << 32}))),
        ("one of two hard links", file(json!({"size": 5, "content": inline(1), "links": 2}))),
        (
            "attributes and an access control list",
            file(json!({
                "attributes": [
                    {"name": hex(b"system.posix_acl_access"),
                     "value": "0200000001000600ffffffff04000400ffffffff20000400ffffffff"},
                    {"name": hex(b"user.comment"), "value": hex(b"keep")},
                ],
            })),
        ),
        ("an unknown extension", file(json!({"extensions": [{"code": 4_294_967_295u32, "value": "ff00"}]}))),
        (
            "the greatest numbers",
            file(json!({
                "mode": 0o7777, "uid": u32::MAX, "gid": u32::MAX, "size": u64::MAX, "device": u64::MAX,
                "inode": u64::MAX, "links": u64::MAX,
                "mtime": {"seconds": i64::MIN, "nanoseconds": 999_999_999},
                "ctime": {"seconds": i64::MAX, "nanoseconds": 0},
            })),
        ),
        (
            "set-id bits and a time before 1970",
            file(json!({"mode": 0o6755, "mtime": {"seconds": -1, "nanoseconds": 1}})),
        ),
    ]
}

fn leaf_value(entries: &[(Vec<u8>, Json)]) -> Json {
    entries.iter().map(|(path, node)| json!({"path": hex(path), "node": node})).collect::<Vec<_>>().into()
}

fn leaf_case(name: &str, entries: &[(Vec<u8>, Json)]) -> Case {
    let members = json!({"bytes": hex(&leaf(entries).encode()), "value": leaf_value(entries)});
    Case::valid("leaf", name, members)
}

fn leaves() -> Vec<Case> {
    let mut cases: Vec<Case> =
        node_kinds().into_iter().map(|(name, node)| leaf_case(name, &[(b"place".to_vec(), node)])).collect();
    let folder = || node("directory", json!({}));
    cases.push(leaf_case("no node", &[]));
    cases.push(leaf_case("the root folder", &[(Vec::new(), folder())]));
    let many: Vec<(Vec<u8>, Json)> =
        ["", "a", "a/b", "a/b/c", "a-b", "ab"].map(|path| (path.as_bytes().to_vec(), folder())).into();
    cases.push(leaf_case("paths that share", &many));
    cases
}

fn bad_nodes() -> Vec<Case> {
    let id = || hex(&[7; 32]);
    let inline = |count: usize| json!({"inline": {"chunks": vec![id(); count]}});
    let file = |fields: Json| node("file", join(json!({"size": 100, "content": inline(1)}), fields));
    let late = json!({"seconds": 0, "nanoseconds": 1_000_000_000});
    let database = json!({"page_size": 4096, "run_pages": 1, "fingerprint": id(), "checked": true});
    let holes = |holes: &[(u64, u64)]| -> Json {
        holes
            .iter()
            .map(|(offset, length)| json!({"offset": offset, "length": length}))
            .collect::<Vec<_>>()
            .into()
    };
    let attributes = |names: &[&str]| -> Json {
        names.iter().map(|name| json!({"name": hex(name.as_bytes()), "value": ""})).collect::<Vec<_>>().into()
    };
    let without = |mut node: Json, name: &str| {
        node.as_object_mut().unwrap().remove(name);
        node
    };
    let mut cases = Vec::new();
    let mut bad = |name: &str, class: &str, node: Json| {
        let bytes = leaf(&[(b"place".to_vec(), node)]).encode();
        cases.push(Case::invalid("leaf", name, class, json!({"bytes": hex(&bytes)})));
    };
    bad("a mode above 0o7777", "out-of-range", file(json!({"mode": 0o10000})));
    bad("mtime with a second of nanoseconds", "out-of-range", file(json!({"mtime": late})));
    bad("ctime with a second of nanoseconds", "out-of-range", file(json!({"ctime": late})));
    bad("a file without content", "does-not-fit", without(file(json!({})), "content"));
    bad("a file with a link target", "does-not-fit", file(json!({"link_target": "61"})));
    bad("a folder with content", "does-not-fit", node("directory", json!({"content": inline(0)})));
    bad("a folder with holes", "does-not-fit", node("directory", json!({"holes": holes(&[(0, 1)])})));
    bad("a pipe that is a database", "does-not-fit", node("fifo", json!({"database": database})));
    bad("a folder with a size", "does-not-fit", node("directory", json!({"size": 1})));
    bad("a symbolic link without a target", "does-not-fit", node("symlink", json!({})));
    bad("33 chunks in a node", "over-limit", file(json!({"content": inline(33)})));
    bad("a list of level 13", "over-limit", file(json!({"content": {"list": {"root": id(), "level": 13}}})));
    bad("no holes, and holes", "out-of-range", file(json!({"holes": []})));
    bad("an empty hole", "out-of-range", file(json!({"holes": holes(&[(5, 0)])})));
    bad("holes out of order", "out-of-order", file(json!({"holes": holes(&[(20, 5), (10, 5)])})));
    bad("holes that overlap", "out-of-order", file(json!({"holes": holes(&[(10, 10), (15, 10)])})));
    bad("holes that touch", "out-of-order", file(json!({"holes": holes(&[(10, 5), (15, 5)])})));
    bad("a hole behind the end", "out-of-range", file(json!({"holes": holes(&[(99, 2)])})));
    bad("a hole that ends nowhere", "out-of-range", file(json!({"holes": holes(&[(u64::MAX, 2)])})));
    bad("no attributes, and attributes", "out-of-range", file(json!({"attributes": []})));
    bad("attributes out of order", "out-of-order", file(json!({"attributes": attributes(&["b", "a"])})));
    bad("one attribute twice", "out-of-order", file(json!({"attributes": attributes(&["a", "a"])})));
    cases.extend(bad_node_records(&file(json!({}))));
    cases
}

/// Leaves whose node is no record of its table.
fn bad_node_records(file: &Json) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut bad = |name: &str, class: &str, change: &dyn Fn(&mut Cbor)| {
        let mut leaf = leaf(&[(b"place".to_vec(), file.clone())]);
        change(&mut leaf.items()[0].items()[2]);
        cases.push(Case::invalid("leaf", name, class, json!({"bytes": hex(&leaf.encode())})));
    };
    bad("an unknown key in a node", "unknown-key", &|node| node.entries().push((19, Cbor::Unsigned(0))));
    let nested = [vec![0x81; 1000], vec![0x00]].concat();
    bad("an unknown key that nests 1,000 deep", "unknown-key", &|node| {
        node.entries().push((19, Cbor::Raw(nested.clone())));
    });
    bad("a known key that nests 1,000 deep", "malformed", &|node| *node.at(6) = Cbor::Raw(nested.clone()));
    bad("a node without an inode", "malformed", &|node| drop(node.entries().remove(10)));
    bad("a kind that does not exist", "unknown-code", &|node| *node.at(0) = Cbor::Unsigned(7));
    bad("a content that does not exist", "unknown-code", &|node| {
        *node.at(15).items() = vec![Cbor::Unsigned(2), Cbor::Array(Vec::new())]
    });
    bad("keys of a node out of order", "not-canonical", &|node| node.entries().swap(2, 3));
    bad("a key of a node twice", "not-canonical", &|node| {
        let again = node.entries()[3].clone();
        node.entries().insert(3, again);
    });
    bad("a number in a long form", "not-canonical", &|node| *node.at(2) = Cbor::Raw(long_head(0, 5)));
    bad("a time without a length", "not-canonical", &|node| *node.at(6) = Cbor::Raw(vec![0x9f, 1, 2, 0xff]));
    bad("an optional field that is null", "not-canonical", &|node| {
        node.entries().push((16, Cbor::Raw(vec![0xf6])))
    });
    bad("a tag", "malformed", &|node| *node.at(8) = Cbor::Raw(vec![0xc1, 0x18, 0x64]));
    bad("a number with a fraction", "malformed", &|node| *node.at(8) = Cbor::Raw(vec![0xf9, 0x56, 0x40]));
    bad("text where bytes belong", "malformed", &|node| *node.at(4) = Cbor::Text("alice".to_owned()));
    bad("a number above 32 bits", "malformed", &|node| *node.at(2) = Cbor::Unsigned(1 << 32));
    bad("a time with a third part", "malformed", &|node| node.at(6).items().push(Cbor::Unsigned(0)));
    bad("an id of 31 bytes", "malformed", &|node| {
        *node.at(15).items()[1].items()[0].items() = vec![Cbor::Bytes(vec![7; 31])];
    });
    bad("a byte string of 2^63 bytes announced", "truncated", &|node| {
        *node.at(4) = Cbor::Raw(long_head(2, 1 << 63));
    });
    cases
}

/// Leaves whose entries break the rules of paths.
fn bad_leaves() -> Vec<Case> {
    let folder = node("directory", json!({}));
    let entry = |shared: u64, suffix: &[u8]| {
        record("leaf-entry", &json!({"shared": shared, "suffix": hex(suffix), "node": folder}))
    };
    let mut cases = Vec::new();
    let mut bad = |name: &str, class: &str, bytes: Vec<u8>| {
        cases.push(Case::invalid("leaf", name, class, json!({"bytes": hex(&bytes)})));
    };
    let many = |entries: Vec<Cbor>| Cbor::Array(entries).encode();
    bad("a path of two dots", "bad-path", many(vec![entry(0, b"..")]));
    bad("a path out of the folder", "bad-path", many(vec![entry(0, b"a/../../b")]));
    bad("an absolute path", "bad-path", many(vec![entry(0, b"/etc/passwd")]));
    bad("a path that ends in a slash", "bad-path", many(vec![entry(0, b"a/")]));
    bad("a zero byte in a path", "bad-path", many(vec![entry(0, b"a\0")]));
    bad("a component of 1,025 bytes", "bad-path", many(vec![entry(0, &[b'a'; 1025])]));
    bad("paths that fall", "out-of-order", many(vec![entry(0, b"b"), entry(0, b"a")]));
    bad("one path twice", "out-of-order", many(vec![entry(0, b"a"), entry(1, b"")]));
    bad("the root behind another path", "out-of-order", many(vec![entry(0, b"a"), entry(0, b"")]));
    bad("order of bytes, not of components", "out-of-order", many(vec![entry(0, b"a-b"), entry(1, b"/b")]));
    bad("the first path shares", "bad-sharing", many(vec![entry(1, b"a")]));
    bad("a path shares more than there is", "bad-sharing", many(vec![entry(0, b"a"), entry(2, b"b")]));
    bad("a path shares 4 GiB", "bad-sharing", many(vec![entry(0, b"a"), entry(u64::from(u32::MAX), b"b")]));
    bad("a path shares less than it could", "bad-sharing", many(vec![entry(0, b"ab"), entry(0, b"ac")]));
    // Each entry adds a byte to a path that is long already.
    let deep = vec![&[b'a'; 1000][..]; 16].join(&b'/');
    let mut bomb = vec![entry(0, &deep)];
    bomb.extend(
        (0..22u64).map(|number| entry(deep.len() as u64 + number, if number == 0 { b"/b" } else { b"b" })),
    );
    for (number, entry) in bomb.iter_mut().enumerate().skip(2) {
        entry.items()[0] = Cbor::Unsigned(deep.len() as u64 + number as u64);
    }
    bad("paths of 368 kB in all", "over-limit", many(bomb));
    bad("nothing", "truncated", Vec::new());
    let whole = many(vec![entry(0, b"a")]);
    bad("cut short", "truncated", whole[..whole.len() - 1].to_vec());
    bad("a byte too many", "not-canonical", [whole.clone(), vec![0]].concat());
    bad("an array without a length", "not-canonical", [&[0x9f], &whole[1..], &[0xff]].concat());
    bad("18,446,744,073,709,551,615 entries announced", "truncated", long_head(4, u64::MAX));
    bad("a map", "malformed", head(5, 0));
    bad("an entry of two parts", "malformed", {
        let mut short = entry(0, b"a");
        short.items().pop();
        many(vec![short])
    });
    cases
}

fn inners() -> Vec<Case> {
    let children = |paths: &[&str]| -> Vec<(Vec<u8>, Bytes32, u64)> {
        paths
            .iter()
            .enumerate()
            .map(|(number, path)| (path.as_bytes().to_vec(), [number as u8; 32], 9))
            .collect()
    };
    let mut cases = Vec::new();
    for (name, level, paths) in [
        ("one child", 1, &["a"][..]),
        ("children that share", 2, &["", "srv", "srv/data", "srv/data/attachments", "srv-old"]),
        ("level 12", 12, &["a", "b"]),
    ] {
        let children = children(paths);
        let value: Vec<Json> = children
            .iter()
            .map(|(path, id, nodes)| json!({"path": hex(path), "id": hex(id), "nodes": nodes}))
            .collect();
        let members =
            json!({"level": level, "bytes": hex(&inner(level, &children).encode()), "value": value});
        cases.push(Case::valid("inner", name, members));
    }
    let mut bad = |name: &str, class: &str, level: u8, bytes: Vec<u8>| {
        cases.push(Case::invalid("inner", name, class, json!({"level": level, "bytes": hex(&bytes)})));
    };
    let one = children(&["a", "b"]);
    bad("another level than its parent says", "wrong-level", 2, inner(1, &one).encode());
    bad("level 0", "wrong-level", 0, inner(0, &one).encode());
    bad("level 13", "wrong-level", 13, inner(13, &one).encode());
    bad("no children", "out-of-range", 1, inner(1, &[]).encode());
    bad("children out of order", "out-of-order", 1, inner(1, &children(&["b", "a"])).encode());
    bad("one child twice", "out-of-order", 1, inner(1, &children(&["a", "a"])).encode());
    bad("a child at two dots", "bad-path", 1, inner(1, &children(&[".."])).encode());
    let mut third = inner(1, &one);
    third.items().push(Cbor::Unsigned(0));
    bad("a third part", "malformed", 1, third.encode());
    let mut shared = inner(1, &one);
    shared.items()[1].items()[0].items()[0] = Cbor::Unsigned(1);
    bad("the first path shares", "bad-sharing", 1, shared.encode());
    let mut long = inner(1, &one);
    long.items()[0] = Cbor::Raw(long_head(0, 1));
    bad("a level in a long form", "not-canonical", 1, long.encode());
    cases
}

fn lists() -> Vec<Case> {
    let ids =
        |count: usize| (0..count).map(|number| hash(&(number as u64).to_le_bytes())).collect::<Vec<_>>();
    let chunks = |level: u8, ids: &[Bytes32]| [vec![level], ids.concat()].concat();
    let of_lists = |level: u8, ids: &[Bytes32]| {
        let entries = ids.iter().flat_map(|id| [id.to_vec(), 4096u64.to_le_bytes().to_vec()].concat());
        [vec![level], entries.collect()].concat()
    };
    let mut cases = Vec::new();
    for count in [1, 3] {
        let ids = ids(count);
        let value: Vec<String> = ids.iter().map(|id| hex(id)).collect();
        let members = json!({"level": 0, "bytes": hex(&chunks(0, &ids)), "value": value});
        cases.push(Case::valid("list", &format!("{count} chunks"), members));
        let value: Vec<Json> = ids.iter().map(|id| json!({"list": hex(id), "bytes": 4096})).collect();
        let members = json!({"level": 12, "bytes": hex(&of_lists(12, &ids)), "value": value});
        cases.push(Case::valid("list", &format!("{count} lists, level 12"), members));
    }
    for (name, class, level, bytes) in [
        ("nothing", "truncated", 0, Vec::new()),
        ("no chunks", "out-of-range", 0, vec![0]),
        ("no lists", "out-of-range", 1, vec![1]),
        ("another level than its parent says", "wrong-level", 1, chunks(0, &ids(5))),
        ("level 13", "wrong-level", 13, of_lists(13, &ids(1))),
        ("a byte too many", "trailing", 0, [chunks(0, &ids(2)), vec![0]].concat()),
        ("a chunk cut short", "trailing", 0, chunks(0, &ids(2))[..60].to_vec()),
        ("an entry cut short", "trailing", 1, of_lists(1, &ids(2))[..80].to_vec()),
        ("less than one chunk", "out-of-range", 0, vec![0; 32]),
    ] {
        cases.push(Case::invalid("list", name, class, json!({"level": level, "bytes": hex(&bytes)})));
    }
    cases
}

/// Trees and contents of several blobs, which are right or wrong only together.
fn whole_trees() -> Vec<Case> {
    let folder = || node("directory", json!({}));
    let of = |paths: &[&str]| {
        leaf(&paths.iter().map(|path| (path.as_bytes().to_vec(), folder())).collect::<Vec<_>>()).encode()
    };
    let first = |path: &str, id: Bytes32| (path.as_bytes().to_vec(), id, 2);
    let top = |children: &[(Vec<u8>, Bytes32, u64)]| inner(1, children).encode();
    let (a, b, root) = ([1; 32], [2; 32], [9; 32]);
    let members = |level: u8, blobs: &[(Bytes32, Vec<u8>)]| {
        let blobs: serde_json::Map<String, Json> =
            blobs.iter().map(|(id, plain)| (hex(id), hex(plain).into())).collect();
        json!({"root": hex(&root), "level": level, "blobs": blobs})
    };
    let two = |left: Vec<u8>, right: Vec<u8>| {
        members(1, &[(a, left), (b, right), (root, top(&[first("a", a), first("c", b)]))])
    };
    let paths: Vec<String> = ["a", "a/b", "c", "d"].map(|path| hex(path.as_bytes())).into();
    let mut cases = vec![Case::valid(
        "tree",
        "two leaves below an inner node",
        join(two(of(&["a", "a/b"]), of(&["c", "d"])), json!({"value": paths})),
    )];
    let over_and_over = members(1, &[(a, of(&["a", "b"])), (root, top(&[first("a", a), first("c", a)]))]);
    let itself = members(2, &[(root, inner(2, &[first("a", root)]).encode())]);
    for (name, class, members) in [
        ("a leaf that starts elsewhere", "wrong-start", two(of(&["a", "a/b"]), of(&["d", "e"]))),
        ("an empty leaf below a parent", "wrong-start", two(of(&["a", "a/b"]), of(&[]))),
        ("a leaf with fewer nodes than its parent says", "wrong-count", two(of(&["a"]), of(&["c", "d"]))),
        ("a path in no folder", "no-folder", two(of(&["a", "b/c"]), of(&["c", "d"]))),
        ("paths that fall from leaf to leaf", "out-of-order", two(of(&["a", "x"]), of(&["c", "d"]))),
        ("a path in two leaves", "out-of-order", two(of(&["a", "c"]), of(&["c", "d"]))),
        ("one leaf named twice", "wrong-start", over_and_over),
        ("an inner node that holds itself", "wrong-level", itself),
    ] {
        cases.push(Case::invalid("tree", name, class, members));
    }
    let lists = |child_level: u8, last: u64| {
        let child = [vec![child_level], vec![5; 32], vec![6; 32]].concat();
        let top = [vec![1], a.to_vec(), 99u64.to_le_bytes().to_vec()].concat();
        join(members(1, &[(a, child), (root, top)]), json!({"lengths": [49, last]}))
    };
    let chunks = [hex(&[5; 32]), hex(&[6; 32])];
    cases.push(Case::valid("content", "a list of lists", join(lists(0, 50), json!({"value": chunks}))));
    cases.push(Case::invalid("content", "a list of another level", "wrong-level", lists(1, 50)));
    cases.push(Case::invalid(
        "content",
        "chunks shorter than the list above says",
        "wrong-count",
        lists(0, 49),
    ));
    cases.push(Case::invalid("content", "an empty chunk", "wrong-length", lists(0, 0)));
    cases.push(Case::invalid("content", "a list of level 13", "over-limit", members(13, &[])));
    cases
}

/// The nodes of the tree that is built whole: a rule, for they would fill pages.
pub(crate) fn many_nodes(count: u64) -> Vec<(Vec<u8>, Json)> {
    let node = |number: u64| {
        let file = json!({"inode": number, "content": {"inline": {"chunks": []}}});
        (format!("file-{number:06}").into_bytes(), node("file", file))
    };
    (0..count).map(node).collect()
}

/// The chunks of the content that is built whole.
pub(crate) fn many_chunks(count: u64) -> Vec<(Bytes32, u64)> {
    (0..count).map(|number| (hash(&number.to_le_bytes()), 1000 + number)).collect()
}

/// A blob that a writer stores: kind, id, length of its plaintext.
type Stored = (u8, Bytes32, usize);

/// A child of an inner node: first path, id, number of nodes.
type Child = (Vec<u8>, Bytes32, u64);
/// Of each level from 1 up: children that wait, their weight, whether any were closed.
type Levels = Vec<(Vec<Child>, u64, bool)>;

/// Follows `08-tree.md#boundaries`.
fn build_tree(count: u64) -> (Bytes32, u8, Vec<Stored>) {
    let key = forge().derive("tree boundaries");
    let ends = |level: u8, path: &[u8], entry: u64, blob: u64| {
        let hash = blake3::keyed_hash(&key, &[&[level], path].concat());
        let hash = u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap());
        blob >= 262_144 || blob >= 8192 && hash < entry.saturating_mul(u64::MAX / 32_768)
    };
    let mut stored = Vec::new();
    let mut keep = |kind: u8, plain: Vec<u8>| {
        let id = forge().blob_id(kind, &plain);
        stored.push((kind, id, plain.len()));
        id
    };
    // A leaf and all above it are stored as soon as they end, so that the order is that of a writer.
    let mut levels: Levels = Vec::new();
    let add = |levels: &mut Levels, mut child: Child, keep: &mut dyn FnMut(u8, Vec<u8>) -> Bytes32| {
        for number in 0.. {
            if levels.len() <= number {
                levels.push((Vec::new(), 0, false));
            }
            let level = number as u8 + 1;
            let (entries, weight, closed) = &mut levels[number];
            let own = 48 + child.0.len() as u64;
            *weight += own;
            let path = child.0.clone();
            entries.push(child);
            if entries.len() < 2 || !ends(level, &path, own, *weight) {
                return;
            }
            let done = std::mem::take(entries);
            (*weight, *closed) = (0, true);
            let id = keep(4, inner(level, &done).encode());
            child = (done[0].0.clone(), id, done.iter().map(|(_, _, nodes)| nodes).sum());
        }
    };
    let (mut entries, mut weight) = (Vec::new(), 0);
    for (path, node) in many_nodes(count) {
        let own = record("node", &node).encode().len() as u64 + path.len() as u64;
        weight += own;
        entries.push((path.clone(), node));
        if ends(0, &path, own, weight) {
            let id = keep(3, leaf(&entries).encode());
            add(&mut levels, (entries[0].0.clone(), id, entries.len() as u64), &mut keep);
            (entries, weight) = (Vec::new(), 0);
        }
    }
    if !entries.is_empty() || levels.is_empty() {
        let id = keep(3, leaf(&entries).encode());
        add(&mut levels, (entries[0].0.clone(), id, entries.len() as u64), &mut keep);
    }
    let mut number = 0;
    loop {
        let (entries, _, closed) = &mut levels[number];
        if !*closed && entries.len() == 1 {
            return (entries[0].1, number as u8, stored);
        }
        let done = std::mem::take(entries);
        *closed = true;
        if !done.is_empty() {
            let id = keep(4, inner(number as u8 + 1, &done).encode());
            let child = (done[0].0.clone(), id, done.iter().map(|(_, _, nodes)| nodes).sum());
            if levels.len() <= number + 1 {
                levels.push((Vec::new(), 0, false));
            }
            levels[number + 1].0.push(child);
        }
        number += 1;
    }
}

/// Follows `08-tree.md#lists`.
fn build_content(count: u64) -> (Bytes32, u8, Vec<Stored>) {
    let mut stored = Vec::new();
    let (mut level, mut entries) = (0u8, many_chunks(count));
    loop {
        let (mut parents, mut start) = (Vec::new(), 0);
        for (index, (id, _)) in entries.iter().enumerate() {
            let length = index + 1 - start;
            let number = u32::from_le_bytes(id[28..].try_into().unwrap());
            let ends = length == 4096 || length >= 256 && number % 1024 == 0 || index + 1 == entries.len();
            if !ends {
                continue;
            }
            let part = &entries[start..=index];
            let mut plain = vec![level];
            for (id, bytes) in part {
                plain.extend(id);
                if level > 0 {
                    plain.extend(bytes.to_le_bytes());
                }
            }
            let id = forge().blob_id(2, &plain);
            stored.push((2, id, plain.len()));
            parents.push((id, part.iter().map(|(_, bytes)| bytes).sum()));
            start = index + 1;
        }
        if let [(root, _)] = parents.as_slice() {
            return (*root, level, stored);
        }
        (level, entries) = (level + 1, parents);
    }
}

fn built() -> Vec<Case> {
    let value = |(root, level, stored): (Bytes32, u8, Vec<Stored>)| {
        let blobs: Vec<Json> = stored
            .iter()
            .map(|(kind, id, length)| json!({"kind": kind, "id": hex(id), "length": length}))
            .collect();
        json!({"root": hex(&root), "level": level, "blobs": blobs})
    };
    let mut cases = Vec::new();
    for nodes in [1, 3000] {
        let members = json!({"nodes": nodes, "value": value(build_tree(nodes))});
        cases.push(Case::valid("tree-built", &format!("{nodes} nodes"), members));
    }
    for chunks in [33, 5000] {
        let members = json!({"chunks": chunks, "value": value(build_content(chunks))});
        cases.push(Case::valid("content-built", &format!("{chunks} chunks"), members));
    }
    cases
}
