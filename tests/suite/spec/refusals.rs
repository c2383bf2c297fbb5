//! What the chapters say that a reader rejects, and what it passes over, one sample each.

use strongroom::compress;
use strongroom::format::cbor;
use strongroom::format::node::{
    Attribute, Content, DatabaseState, Extension, Hole, Node, NodeKind, Timestamp,
};
use strongroom::format::snapshot::{self, Manifest};
use strongroom::format::tree::{self, LeafEntry};
use strongroom::id::Id;
use strongroom::limits;

use super::samples;

const LATE: Timestamp = Timestamp { seconds: 0, nanoseconds: 1_000_000_000 };

fn file() -> Node {
    Node {
        link_target: None,
        device_number: None,
        size: 100,
        holes: Some(vec![Hole { offset: 0, length: 10 }, Hole { offset: 20, length: 80 }]),
        ..samples::node(Content::Inline(vec![Id([7; 32])]))
    }
}

fn folder() -> Node {
    Node { kind: NodeKind::Directory, size: 0, content: None, holes: None, database: None, ..file() }
}

fn link() -> Node {
    Node { kind: NodeKind::Symlink, link_target: Some(b"to".to_vec()), ..folder() }
}

fn is_taken(node: Node) -> bool {
    let entry = LeafEntry { path: b"a".to_vec(), node };
    let leaf = tree::encode_leaf(std::slice::from_ref(&entry)).expect("a leaf");
    match tree::decode_leaf(&leaf) {
        Ok(entries) => {
            assert_eq!(entries, [entry]);
            true
        }
        Err(_) => false,
    }
}

fn holes(holes: &[(u64, u64)]) -> Vec<Hole> {
    holes.iter().map(|(offset, length)| Hole { offset: *offset, length: *length }).collect()
}

fn attributes(attributes: &[(&str, usize)]) -> Vec<Attribute> {
    let made = |(name, length): &(&str, usize)| Attribute { name: (*name).into(), value: vec![0; *length] };
    attributes.iter().map(made).collect()
}

#[test]
fn nodes_that_the_text_forbids_are_rejected() {
    let inline = |count| Some(Content::Inline(vec![Id([7; 32]); count]));
    let list = |level| Some(Content::List { root: Id([7; 32]), level });
    let many = |count: u64| Some((0..count).map(|number| Hole { offset: 2 * number, length: 1 }).collect());
    let most = limits::HOLES_MAX as u64;
    let right = [
        file(),
        folder(),
        link(),
        Node { kind: NodeKind::BlockDevice, device_number: Some(5), ..folder() },
        Node { holes: Some(holes(&[(0, 100)])), content: inline(0), ..file() },
        Node { content: inline(limits::INLINE_CHUNKS_MAX), ..file() },
        Node { content: list(limits::LEVEL_MAX), ..file() },
        Node { size: 10_000, holes: many(most), ..file() },
        Node { attributes: Some(attributes(&[("a", limits::ATTRIBUTES_MAX - 1)])), ..file() },
    ];
    for node in right {
        assert!(is_taken(node.clone()), "{node:?}");
    }
    let database = DatabaseState { page_size: 4096, run_pages: 1, fingerprint: Id([7; 32]), checked: true };
    let wrong = [
        Node { mode: 0o10000, ..file() },
        Node { mtime: LATE, ..file() },
        Node { ctime: LATE, ..file() },
        Node { content: None, ..file() },
        Node { link_target: Some(b"to".to_vec()), ..file() },
        Node { content: inline(0), ..folder() },
        Node { holes: Some(holes(&[(0, 1)])), ..folder() },
        Node { database: Some(database), ..folder() },
        Node { size: 1, ..folder() },
        Node { link_target: Some(b"to".to_vec()), ..folder() },
        Node { link_target: None, ..link() },
        Node { device_number: Some(5), ..file() },
        Node { kind: NodeKind::BlockDevice, ..folder() },
        Node { content: inline(limits::INLINE_CHUNKS_MAX + 1), ..file() },
        Node { content: list(limits::LEVEL_MAX + 1), ..file() },
        Node { holes: Some(holes(&[])), ..file() },
        Node { holes: Some(holes(&[(5, 0)])), ..file() },
        Node { holes: Some(holes(&[(20, 5), (10, 5)])), ..file() },
        Node { holes: Some(holes(&[(10, 5), (15, 5)])), ..file() },
        Node { holes: Some(holes(&[(99, 2)])), ..file() },
        Node { holes: Some(holes(&[(u64::MAX, 2)])), ..file() },
        Node { size: 10_000, holes: many(most + 1), ..file() },
        Node { attributes: Some(attributes(&[])), ..file() },
        Node { attributes: Some(attributes(&[("b", 1), ("a", 1)])), ..file() },
        Node { attributes: Some(attributes(&[("a", 1), ("a", 2)])), ..file() },
        Node { attributes: Some(attributes(&[("a", limits::ATTRIBUTES_MAX)])), ..file() },
    ];
    for node in wrong {
        assert!(!is_taken(node.clone()), "{node:?}");
    }
}

#[test]
fn manifests_that_the_text_forbids_are_rejected() {
    let is_taken = |manifest: &Manifest| {
        // The program's own encoder refuses them too, so that this goes past it.
        snapshot::decode(&cbor::encode(manifest).expect("a manifest")).is_ok_and(|read| read == *manifest)
    };
    let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
    let long = || "x".repeat(limits::TEXT_MAX + 1);
    let right = || Manifest { tags: tags(&["a", "b"]), ..samples::manifest() };
    assert!(is_taken(&right()));
    let wrong = [
        Manifest { time: LATE, ..right() },
        Manifest { finished: LATE, ..right() },
        Manifest { tags: tags(&["b", "a"]), ..right() },
        Manifest { tags: tags(&["a", "a"]), ..right() },
        Manifest { level: limits::LEVEL_MAX + 1, ..right() },
        Manifest { host: long(), ..right() },
        Manifest { job: Some(long()), ..right() },
        Manifest { tags: vec![long()], ..right() },
        Manifest { program: long(), ..right() },
    ];
    for manifest in wrong {
        assert!(!is_taken(&manifest), "{manifest:?}");
    }
}

#[test]
fn unknown_extensions_are_passed_over_and_unknown_fields_are_not() {
    let unknown = Some(vec![Extension { code: u32::MAX, value: b"\xff anything".to_vec() }]);
    assert!(is_taken(Node { extensions: unknown.clone(), ..file() }));
    let manifest = Manifest { extensions: unknown, ..samples::manifest() };
    let mut bytes = snapshot::encode(&manifest).expect("a manifest");
    assert_eq!(snapshot::decode(&bytes).expect("it is read"), manifest);
    // One field more, of a key that no table has.
    assert_eq!(bytes[0], 0xb2, "a map of 18 fields");
    bytes[0] = 0xb3;
    bytes.extend([18, 0]);
    assert!(snapshot::decode(&bytes).is_err());
}

#[test]
fn a_payload_is_one_zstd_frame() {
    let plain = b"vault ".repeat(100);
    let mut frame = Vec::new();
    assert!(compress::compress(&plain, &mut frame).expect("it compresses"));
    let opens = |frame: &[u8]| compress::decompress(frame, plain.len(), &mut Vec::new()).is_ok();
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7];
    assert!(opens(&frame));
    for wrong in [
        [&frame[..], &[0]].concat(),
        [&frame[..], &skippable].concat(),
        [&skippable, &frame[..]].concat(),
        frame[..frame.len() - 1].to_vec(),
        skippable.to_vec(),
    ] {
        assert!(!opens(&wrong), "{wrong:?}");
    }
}
