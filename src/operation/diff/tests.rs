//! Comparing trees: held against a naive model, and few blobs read where little differs.

use std::collections::BTreeSet;

use super::*;
use crate::format::node::Timestamp;
use crate::report::Collector;
use crate::repository::tests::support::{
    Blobs, Counting, Nodes, Random, change_nodes, create, each_seed, file_node, folder_node, random_nodes,
    store_nodes,
};

fn compared(
    source: &dyn BlobSource,
    sides: [(Root, &[u8]); 2],
    metadata: bool,
) -> (Vec<(Vec<u8>, &'static str)>, Statistics) {
    let mut changes = Vec::new();
    let (index, reporter) = (Index::default(), Collector::default());
    let statistics =
        between(source, &index, sides, metadata, &reporter, &Interrupt::default(), &mut |change| {
            changes.push((change.path.clone(), change.modifier.letter()));
            Ok(())
        })
        .unwrap();
    assert_eq!(reporter.findings(), []);
    (changes, statistics)
}

/// The nodes at and below a folder, by their paths below it.
fn below(nodes: &Nodes, folder: &[Vec<u8>]) -> Nodes {
    let inside = nodes.iter().filter(|(path, _)| path.starts_with(folder));
    inside.map(|(path, node)| (path[folder.len()..].to_vec(), node.clone())).collect()
}

fn letter(old: Option<&Node>, new: Option<&Node>, metadata: bool) -> Option<&'static str> {
    let (Some(old), Some(new)) = (old, new) else { return Some(if old.is_some() { "-" } else { "+" }) };
    if old == new {
        return None;
    }
    if old.kind != new.kind {
        return Some("T");
    }
    let same = Node {
        mode: new.mode,
        mtime: new.mtime,
        ctime: new.ctime,
        attributes: new.attributes.clone(),
        ..old.clone()
    };
    if same == *new {
        return metadata.then_some("U");
    }
    Some(if (old.mtime, old.size) == (new.mtime, new.size) { "M?" } else { "M" })
}

fn naive(old: &Nodes, new: &Nodes, metadata: bool) -> Vec<(Vec<u8>, &'static str)> {
    let paths: BTreeSet<&Vec<Vec<u8>>> = old.keys().chain(new.keys()).collect();
    let changed = |path: &Vec<Vec<u8>>| letter(old.get(path), new.get(path), metadata);
    paths.iter().filter_map(|path| Some((path.join(&b'/'), changed(path)?))).collect()
}

fn chunks(nodes: &Nodes, path: &Vec<Vec<u8>>) -> HashSet<Id> {
    match nodes.get(path).and_then(|node| node.content.as_ref()) {
        Some(Content::Inline(ids)) => ids.iter().copied().collect(),
        _ => HashSet::new(),
    }
}

/// The chunks that files gained and lost, those that did both left out.
fn naive_chunks(old: &Nodes, new: &Nodes) -> (u64, u64) {
    let (mut gained, mut lost) = (HashSet::new(), HashSet::new());
    for path in old.keys().chain(new.keys()) {
        let (before, after) = (chunks(old, path), chunks(new, path));
        gained.extend(&after - &before);
        lost.extend(&before - &after);
    }
    ((&gained - &lost).len() as u64, (&lost - &gained).len() as u64)
}

#[test]
fn the_changes_are_those_that_a_look_at_every_node_finds() {
    let (_, repository) = create();
    each_seed(|seed| {
        let mut random = Random::new(seed);
        let count = random.below(120);
        let old = random_nodes(&mut random, count);
        let mut new = old.clone();
        let changes = if random.below(5) == 0 { 60 } else { random.below(6) };
        change_nodes(&mut random, &mut new, changes);
        if random.below(20) == 0 {
            new = random_nodes(&mut random, count);
        }
        let blobs = Blobs::new(&repository);
        let roots = [&old, &new].map(|nodes| store_nodes(&repository, &blobs, nodes));
        let metadata = random.below(2) == 0;
        let (changes, statistics) = compared(&blobs, roots.map(|root| (root, &b""[..])), metadata);
        assert_eq!(changes, naive(&old, &new, metadata));
        assert_eq!((statistics.added.chunks, statistics.removed.chunks), naive_chunks(&old, &new));
        let kinds = |nodes: &Nodes, other: &Nodes, kind: NodeKind| {
            let gone = |(path, node): &(&Vec<Vec<u8>>, &Node)| {
                node.kind == kind && other.get(*path).is_none_or(|other| other.kind != kind)
            };
            nodes.iter().filter(gone).count() as u64
        };
        assert_eq!(statistics.added.files, kinds(&new, &old, NodeKind::File));
        assert_eq!(statistics.removed.directories, kinds(&old, &new, NodeKind::Directory));
        assert_eq!(statistics.removed.others, kinds(&old, &new, NodeKind::Symlink));
        // A part of each: the same folder, or two different ones.
        let pick = |random: &mut Random, nodes: &Nodes| {
            let paths: Vec<&Vec<Vec<u8>>> = nodes.keys().collect();
            paths[random.below(paths.len())].clone()
        };
        let one = pick(&mut random, &old);
        let other = if new.contains_key(&one) && random.below(2) == 0 {
            one.clone()
        } else {
            pick(&mut random, &new)
        };
        let (one_path, other_path) = (one.join(&b'/'), other.join(&b'/'));
        let (changes, _) = compared(&blobs, [(roots[0], &one_path), (roots[1], &other_path)], metadata);
        assert_eq!(changes, naive(&below(&old, &one), &below(&new, &other), metadata));
    });
}

#[test]
fn two_nights_of_a_large_tree_are_compared_by_few_blobs() {
    let (_, repository) = create();
    let blobs = Blobs::new(&repository);
    let mut nodes = Nodes::from([(Vec::new(), folder_node()), (vec![b"data".to_vec()], folder_node())]);
    let path = |number: u32| vec![b"data".to_vec(), format!("{number:06}").into_bytes()];
    for number in 0..20_000 {
        nodes.insert(path(number), file_node(&[Id([7; 32])], u64::from(number)));
    }
    let old = store_nodes(&repository, &blobs, &nodes);
    let all = blobs.count();
    let counting = Counting::new(&blobs);
    assert_eq!(compared(&counting, [(old, b""), (old, b"")], true).0, []);
    assert_eq!(counting.count(), 0, "equal roots are not read");
    nodes.get_mut(&path(77)).unwrap().size += 1;
    nodes.remove(&path(9000));
    nodes.insert(path(100_000), file_node(&[], 0));
    let new = store_nodes(&repository, &blobs, &nodes);
    let (changes, _) = compared(&counting, [(old, b""), (new, b"")], false);
    let shown: Vec<&str> = changes.iter().map(|(_, letter)| *letter).collect();
    assert_eq!(shown, ["M", "-", "+"]);
    let read = counting.count();
    assert!(all > 40 && read <= 12, "{read} of {all}");
    let (changes, _) = compared(&counting, [(old, b"data/009000"), (new, b"data/009001")], false);
    assert_eq!(changes, [(Vec::new(), "M")]);
}

#[test]
fn a_change_that_nothing_explains_is_told_apart() {
    let node = file_node(&[Id([1; 32])], 5);
    let content = Some(Content::Inline(vec![Id([2; 32])]));
    let changed = Node { content: content.clone(), ..node.clone() };
    let of = |new: &Node| modifier(Some(&node), Some(new), false);
    assert_eq!(of(&changed), Some(Modifier::Unexplained));
    let time = Timestamp { seconds: 1, nanoseconds: 0 };
    // Whoever sets the time of modification back cannot set that of change back.
    assert_eq!(of(&Node { ctime: time, ..changed.clone() }), Some(Modifier::Unexplained));
    assert_eq!(of(&Node { mtime: time, ..changed.clone() }), Some(Modifier::Modified));
    assert_eq!(of(&Node { size: 6, ..changed.clone() }), Some(Modifier::Modified));
    assert_eq!(of(&Node { mtime: time, ..node.clone() }), None);
    assert_eq!(
        modifier(Some(&node), Some(&Node { mtime: time, ..node.clone() }), true),
        Some(Modifier::Metadata)
    );
    assert_eq!(of(&Node { inode: 1, device: 2, links: 9, ctime: time, ..node.clone() }), None);
}
