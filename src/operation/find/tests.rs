//! Looking for files: held against a naive model, and each blob read once.

use std::collections::BTreeSet;

use super::*;
use crate::format::node::{Content, NodeKind, Timestamp};
use crate::report::Collector;
use crate::repository::content::store_content;
use crate::repository::tests::support::{
    Blobs, Counting, Nodes, Random, change_nodes, create, each_seed, file_node, random_nodes, store_nodes,
};
use crate::source::files::PathPatterns;

/// What is found by looking at every node of every snapshot.
fn naive(nights: &[Nodes], wanted: &dyn Fn(&[u8], &Node) -> bool) -> Vec<Hit> {
    let paths: BTreeSet<&Vec<Vec<u8>>> = nights.iter().flat_map(Nodes::keys).collect();
    let mut hits = Vec::new();
    for components in paths {
        let path = components.join(&b'/');
        let mut versions: Vec<Version> = Vec::new();
        for (index, night) in nights.iter().enumerate().rev() {
            let Some(node) = night.get(components).filter(|node| wanted(&path, node)) else { continue };
            match versions.iter_mut().find(|version| same_version(&version.node, node)) {
                Some(version) => version.snapshots.insert(0, index),
                None => versions.push(Version { node: node.clone(), snapshots: vec![index] }),
            }
        }
        if !versions.is_empty() {
            hits.push(Hit::Path { path, versions });
        }
    }
    hits
}

fn found(source: &dyn BlobSource, roots: &[Root], query: Query) -> (Vec<Hit>, Summary) {
    let mut hits = Vec::new();
    let reporter = Collector::default();
    let summary = run(source, roots, query, &reporter, &Interrupt::default(), &mut |hit| {
        hits.push(hit);
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(reporter.findings().len() as u64, summary.problems);
    (hits, summary)
}

fn patterns(text: &str) -> PathPatterns {
    PathPatterns::new(&[text.to_owned()], false).unwrap()
}

/// Whether a node at a path is to be found.
type Wanted<'a> = &'a dyn Fn(&[u8], &Node) -> bool;

#[test]
fn what_is_found_is_what_a_look_at_every_node_finds() {
    let (_, repository) = create();
    each_seed(|seed| {
        let mut random = Random::new(seed);
        let count = random.below(100);
        let mut nodes = random_nodes(&mut random, count);
        let blobs = Blobs::new(&repository);
        let (mut nights, mut roots) = (Vec::new(), Vec::new());
        for _ in 0..=random.below(6) {
            roots.push(store_nodes(&repository, &blobs, &nodes));
            nights.push(nodes.clone());
            let changes = random.below(8);
            change_nodes(&mut random, &mut nodes, changes);
        }
        let least = random.below(5) as u64;
        let oldest = Timestamp { seconds: 1_700_000_001, nanoseconds: 0 };
        let chunk = Id([random.below(40) as u8; 32]);
        let mut blob = WantedBlobs::default();
        blob.add_blob(&chunk.to_hex()[..5]).unwrap();
        let needs = |node: &Node| matches!(&node.content, Some(Content::Inline(ids)) if ids.contains(&chunk));
        let cases: [(Query, Wanted<'_>); 8] = [
            (Query::default(), &|_, _| true),
            (Query { patterns: patterns("a"), ..Query::default() }, &|path, _| path::name(path) == b"a"),
            (Query { patterns: patterns("/a/**"), ..Query::default() }, &|path, _| path.starts_with(b"a/")),
            (Query { patterns: patterns("/a/b/c"), ..Query::default() }, &|path, _| path == b"a/b/c"),
            (Query { kinds: vec![NodeKind::Symlink], ..Query::default() }, &|_, node| {
                node.kind == NodeKind::Symlink
            }),
            (Query { larger: Some(least), smaller: Some(3), ..Query::default() }, &|_, node| {
                node.kind == NodeKind::File && (least..=3).contains(&node.size)
            }),
            (Query { oldest: Some(oldest), ..Query::default() }, &|_, node| node.mtime >= oldest),
            (Query { newest: Some(oldest), blobs: Some(blob), ..Query::default() }, &|_, node| {
                node.mtime <= oldest && needs(node)
            }),
        ];
        for (number, (query, wanted)) in cases.into_iter().enumerate() {
            let (hits, summary) = found(&blobs, &roots, query);
            assert_eq!(hits, naive(&nights, wanted), "case {number}");
            assert_eq!((summary.paths, summary.problems), (hits.len() as u64, 0));
        }
    });
}

/// A folder of twenty thousand files with attributes that make their tree a large one.
fn large() -> Nodes {
    let mut random = Random::new(3);
    let mut nodes = random_nodes(&mut random, 1);
    let folder = vec![b"data".to_vec()];
    nodes.insert(folder.clone(), crate::repository::tests::support::folder_node());
    for number in 0..20_000u32 {
        let name = format!("{number:06}").into_bytes();
        nodes.insert([folder.clone(), vec![name]].concat(), file_node(&[Id([7; 32])], u64::from(number)));
    }
    nodes
}

#[test]
fn twenty_nights_cost_little_more_than_one() {
    let (_, repository) = create();
    let blobs = Blobs::new(&repository);
    let mut nodes = large();
    let mut roots = vec![store_nodes(&repository, &blobs, &nodes)];
    for night in 0..19u32 {
        let path = vec![b"data".to_vec(), format!("{:06}", night * 1000).into_bytes()];
        nodes.get_mut(&path).unwrap().size += 1;
        roots.push(store_nodes(&repository, &blobs, &nodes));
    }
    let counting = Counting::new(&blobs);
    let query = || Query { patterns: patterns("*000"), ..Query::default() };
    let (_, one) = found(&counting, &roots[..1], query());
    assert_eq!(one.blobs_read, counting.count() as u64);
    let (hits, all) = found(&counting, &roots, query());
    assert_eq!(all.blobs_read, counting.count() as u64);
    assert_eq!((hits.len(), all.paths, all.versions), (20, 20, 39));
    assert!(one.blobs_read > 40, "{}", one.blobs_read);
    // Of each night the leaf that changed, and the blobs above it.
    assert!(all.blobs_read <= one.blobs_read + 19 * 4, "{} after {}", all.blobs_read, one.blobs_read);
    // A pattern that begins with a folder reads nothing beside it.
    let (hits, beside) =
        found(&counting, &roots, Query { patterns: patterns("/other/*"), ..Query::default() });
    assert!(hits.is_empty() && beside.blobs_read < 100, "{}", beside.blobs_read);
}

#[test]
fn a_list_and_a_tree_are_found_by_their_ids_and_each_list_is_read_once() {
    let (_, repository) = create();
    let blobs = Blobs::new(&repository);
    let mut chunks: Vec<(Id, u64)> = (0..9000u64)
        .map(|number| (repository.keyring().blob_id(BlobKind::Chunk, &number.to_le_bytes()), 8))
        .collect();
    let mut roots = Vec::new();
    let mut nodes = random_nodes(&mut Random::new(1), 0);
    for night in 0..10usize {
        chunks[night * 800].0 = Id([night as u8 + 1; 32]);
        let content = store_content(&blobs, &chunks).unwrap();
        let node = Node { content: Some(content), ..file_node(&[], 9000) };
        nodes.insert(vec![b"database".to_vec()], node);
        roots.push(store_nodes(&repository, &blobs, &nodes));
    }
    let counting = Counting::new(&blobs);
    let look = |id: &Id| {
        let mut wanted = WantedBlobs::default();
        wanted.add_blob(&id.to_hex()).unwrap();
        found(&counting, &roots, Query { blobs: Some(wanted), ..Query::default() }).0
    };
    let holders = |hits: &[Hit]| match hits {
        [Hit::Path { versions, .. }] => {
            versions.iter().flat_map(|version| version.snapshots.clone()).collect::<Vec<usize>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(holders(&look(&Id([4; 32]))), [9, 8, 7, 6, 5, 4, 3]);
    assert!(look(&Id([200; 32])).is_empty());
    let lists = blobs.map.lock().unwrap().values().filter(|(kind, _)| *kind == BlobKind::List).count();
    counting.count();
    look(&Id([200; 32]));
    assert_eq!(counting.count(), lists + roots.len(), "each list once, and a blob of each tree");
    let root = roots[5];
    let expected = Hit::Tree { kind: BlobKind::Leaf, id: root.id, path: Vec::new(), snapshots: vec![5] };
    assert_eq!(look(&root.id), [expected]);
}

#[test]
fn a_lost_blob_hides_nothing_else_and_whoever_has_seen_enough_stops() {
    let (_, repository) = create();
    let blobs = Blobs::new(&repository);
    let root = store_nodes(&repository, &blobs, &large());
    let leaf = {
        let map = blobs.map.lock().unwrap();
        let mut leaves: Vec<Id> =
            map.iter().filter(|(_, (kind, _))| *kind == BlobKind::Leaf).map(|(id, _)| *id).collect();
        leaves.sort();
        leaves[0]
    };
    let all = found(&blobs, &[root], Query::default()).1.paths;
    let plain = blobs.map.lock().unwrap().remove(&leaf).unwrap().1;
    let missing = crate::format::tree::decode_leaf(&plain).unwrap().len() as u64;
    let (_, summary) = found(&blobs, &[root, root], Query::default());
    assert_eq!((summary.paths, summary.problems), (all - missing, 1));
    let mut seen = 0;
    let summary =
        run(&blobs, &[root], Query::default(), &Collector::default(), &Interrupt::default(), &mut |_| {
            seen += 1;
            Ok(if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
    assert_eq!((seen, summary.unwrap().paths), (3, 3));
    let interrupt = Interrupt::default();
    interrupt.request();
    let stopped = run(&blobs, &[root], Query::default(), &Collector::default(), &interrupt, &mut |_| {
        Ok(ControlFlow::Continue(()))
    });
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
}
