//! Trees and lists: held against a plain map, independent of how they came to be, and small in what changes.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::support::{
    Blobs, Counting, Random, backup, create, each_seed, file_node, folder_node, load, random_nodes,
    store_nodes,
};
use crate::error::ErrorKind;
use crate::format::blob::BlobKind;
use crate::format::list::ListEntry;
use crate::format::node::{Attribute, Content, Hole, Node, NodeKind};
use crate::format::tree::{self, InnerEntry, LeafEntry};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::limits;
use crate::repository::Repository;
use crate::repository::content::{compare_chunks, store_content, visit_chunks};
use crate::repository::reach::Reach;
use crate::repository::reader::BlobReader;
use crate::repository::tree::{Root, TreeBuilder, TreeReader, lookup};
use crate::repository::writer::BlobSink;

type Components = Vec<Vec<u8>>;

fn joined(components: &Components) -> Vec<u8> {
    components.join(&b'/')
}

fn build(repository: &Repository, sink: &dyn BlobSink, nodes: &BTreeMap<Components, Node>) -> Root {
    let mut builder = TreeBuilder::new(sink, repository.keyring());
    for (path, node) in nodes {
        builder.push(&joined(path), node).unwrap();
    }
    builder.finish().unwrap()
}

fn random_path(random: &mut Random) -> Components {
    let depth = random.below(5);
    (0..depth)
        .map(|_| {
            let length = 1 + random.below(3);
            (0..length).map(|_| b"\x01-.0ab\xff"[random.below(7)]).collect::<Vec<u8>>()
        })
        .filter(|name: &Vec<u8>| !matches!(name.as_slice(), b"." | b".."))
        .collect()
}

fn random_node(random: &mut Random) -> Node {
    let mut node = file_node(&[Id([random.next() as u8; 32])], random.next() >> random.below(60));
    if random.below(4) == 0 {
        let length = random.below(9000);
        node.attributes = Some(vec![Attribute { name: b"user.x".to_vec(), value: random.bytes(length) }]);
    }
    node
}

fn entries(source: &Blobs<'_>, root: Root, folder: &[u8]) -> Vec<(Vec<u8>, Node)> {
    let mut reader = TreeReader::below(source, root, folder);
    let mut found = Vec::new();
    while let Some(LeafEntry { path, node }) = reader.next_entry().unwrap() {
        found.push((path, node));
    }
    assert!(reader.next_entry().unwrap().is_none());
    found
}

#[test]
fn a_tree_is_the_map_it_was_built_from() {
    let (_, repository) = create();
    each_seed(|seed| {
        let mut random = Random::new((seed << 20) + 20_263);
        let mut nodes = BTreeMap::new();
        for _ in 0..random.below(if seed % 20 == 0 { 2000 } else { 120 }) {
            let path = random_path(&mut random);
            // What lies above a path is a folder, whatever it was before.
            for depth in 0..path.len() {
                nodes.insert(path[..depth].to_vec(), folder_node());
            }
            let node = if path.is_empty() { folder_node() } else { random_node(&mut random) };
            nodes.entry(path).or_insert(node);
        }
        let blobs = Blobs::new(&repository);
        let root = build(&repository, &blobs, &nodes);
        let all: Vec<_> = nodes.iter().map(|(path, node)| (joined(path), node.clone())).collect();
        assert_eq!(entries(&blobs, root, b""), all);

        let there: Vec<Components> = nodes.keys().cloned().collect();
        for _ in 0..20 {
            let path = if there.is_empty() || random.below(3) == 0 {
                random_path(&mut random)
            } else {
                there[random.below(there.len())].clone()
            };
            let found = lookup(&blobs, root, &joined(&path)).unwrap();
            assert_eq!(found.as_ref(), nodes.get(&path), "{path:?}");
            let below: Vec<_> = nodes
                .iter()
                .filter(|(place, _)| place.starts_with(&path))
                .map(|(place, node)| (joined(place), node.clone()))
                .collect();
            assert_eq!(entries(&blobs, root, &joined(&path)), below, "below {path:?}");
        }
        // Another sink, other surroundings: the same nodes give the same root.
        let again = Blobs::new(&repository);
        assert_eq!(build(&repository, &again, &nodes), root);
        assert_eq!(again.count(), blobs.count());
    });
}

fn twenty_thousand(random: &mut Random) -> BTreeMap<Components, Node> {
    let mut nodes = BTreeMap::new();
    nodes.insert(Vec::new(), folder_node());
    nodes.insert(vec![b"attachments".to_vec()], folder_node());
    while nodes.len() < 20_000 {
        let name = |random: &mut Random| format!("{:016x}", random.next()).into_bytes();
        let folder = vec![b"attachments".to_vec(), format!("{:02x}", random.below(256)).into_bytes()];
        let path = [folder.as_slice(), &[name(random)]].concat();
        nodes.insert(folder, folder_node());
        let node = Node {
            attributes: Some(vec![Attribute { name: b"user.note".to_vec(), value: random.bytes(400) }]),
            ..file_node(&[Id([1; 32])], 9)
        };
        nodes.insert(path, node);
    }
    nodes
}

#[test]
fn one_change_among_twenty_thousand_nodes_costs_few_blobs() {
    let (_, repository) = create();
    let mut random = Random::new(20_264);
    let mut nodes = twenty_thousand(&mut random);
    let blobs = Blobs::new(&repository);
    let root = build(&repository, &blobs, &nodes);
    let total = blobs.count();
    assert!(total > 200, "{total}");
    let paths: Vec<Components> = nodes.keys().filter(|path| path.len() == 3).cloned().collect();
    let fresh = |nodes: &BTreeMap<Components, Node>| {
        let before = blobs.count();
        let changed = build(&repository, &blobs, nodes);
        assert_ne!(changed, root);
        let fresh = blobs.count() - before;
        assert!((1..10).contains(&fresh), "{fresh} of {total}");
    };
    for _ in 0..5 {
        let path = &paths[random.below(paths.len())];
        let kept = nodes.get(path).unwrap().clone();
        nodes.get_mut(path).unwrap().mtime.seconds += 1;
        fresh(&nodes);
        nodes.remove(path);
        fresh(&nodes);
        nodes.insert(path.clone(), kept);
        let new = vec![b"attachments".to_vec(), format!("{:016x}", random.next()).into_bytes()];
        nodes.insert(new.clone(), folder_node());
        fresh(&nodes);
        nodes.remove(&new);
        assert_eq!(build(&repository, &blobs, &nodes), root);
    }
    // Looking one file up reads a blob of each level.
    let reader = Counting::new(&blobs);
    let path = joined(&paths[12_345]);
    assert_eq!(lookup(&reader, root, &path).unwrap().as_ref(), nodes.get(&paths[12_345]));
    assert_eq!(reader.count(), usize::from(root.level) + 1);
}

#[test]
fn another_key_ends_blobs_elsewhere() {
    let (_, one) = create();
    let (_, other) = create();
    let nodes = twenty_thousand(&mut Random::new(20_265));
    let firsts = |repository: &Repository| {
        let blobs = Blobs::new(repository);
        build(repository, &blobs, &nodes);
        let map = blobs.map.into_inner().unwrap();
        let leaves = map.values().filter(|(kind, _)| *kind == BlobKind::Leaf);
        leaves
            .map(|(_, plain)| tree::decode_leaf(plain).unwrap().first().unwrap().path.clone())
            .collect::<HashSet<_>>()
    };
    let (one, other) = (firsts(&one), firsts(&other));
    assert!(one.intersection(&other).count() < one.len() / 10);
}

#[test]
fn an_empty_tree_is_a_tree() {
    let (_, repository) = create();
    let blobs = Blobs::new(&repository);
    let root = build(&repository, &blobs, &BTreeMap::new());
    assert_eq!((root.level, blobs.count()), (0, 1));
    assert!(entries(&blobs, root, b"").is_empty());
    assert_eq!(lookup(&blobs, root, b"a").unwrap(), None);
}

#[test]
fn the_builder_refuses_what_no_reader_takes() {
    let (_, repository) = create();
    let blobs = Blobs::new(&repository);
    let mut builder = TreeBuilder::new(&blobs, repository.keyring());
    builder.push(b"b", &folder_node()).unwrap();
    for path in [&b"b"[..], b"a", b"", b"c/../d", b"/c", b"c//d", b"c\0"] {
        assert!(builder.push(path, &folder_node()).is_err(), "{path:?}");
    }
    for change in [
        (|node| node.mtime.nanoseconds = 1_000_000_000) as fn(&mut Node),
        |node| node.mode = 0o10_0644,
        |node| node.holes = Some(vec![Hole { offset: 0, length: 10 }]),
        |node| {
            node.size = 1 << 40;
            node.holes = Some((0..5000).map(|number| Hole { offset: number * 8192, length: 4096 }).collect());
        },
        |node| node.content = Some(Content::Inline(vec![Id([1; 32]); limits::INLINE_CHUNKS_MAX + 1])),
    ] {
        let mut node = file_node(&[], 5);
        change(&mut node);
        assert_eq!(builder.push(b"c", &node).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    builder.push(b"c", &file_node(&[], 5)).unwrap();
    let root = builder.finish().unwrap();
    assert_eq!(entries(&blobs, root, b"").len(), 2);
}

fn walk(blobs: &Blobs<'_>, root: Root) -> crate::error::Result<usize> {
    let mut reader = TreeReader::new(blobs, root);
    let mut count = 0;
    while reader.next_entry()?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[test]
fn a_tree_that_meets_a_blob_twice_ends_in_an_error() {
    let (_, repository) = create();
    let blobs = Blobs::new(&repository);
    let leaf = |paths: &[&[u8]]| {
        let entry = |path: &&[u8]| LeafEntry { path: path.to_vec(), node: folder_node() };
        let plain = tree::encode_leaf(&paths.iter().map(entry).collect::<Vec<_>>()).unwrap();
        blobs.store(BlobKind::Leaf, &plain).unwrap()
    };
    let inner = |level, children: &[(&[u8], Id, u64)]| {
        let entry =
            |(path, id, nodes): &(&[u8], Id, u64)| InnerEntry { path: path.to_vec(), id: *id, nodes: *nodes };
        let plain = tree::encode_inner(level, &children.iter().map(entry).collect::<Vec<_>>()).unwrap();
        blobs.store(BlobKind::Inner, &plain).unwrap()
    };
    let names: Vec<Vec<u8>> = (0..1000).map(|number| format!("{number:03}").into_bytes()).collect();
    // 1000 times itself on each of eleven levels, with nothing in the leaf that could rise or fall.
    for bottom in [leaf(&[]), leaf(&[b""]), leaf(&[b"x"])] {
        for first in [&b""[..], b"x", b"000"] {
            let (mut id, mut nodes) = (inner(1, &[(first, bottom, 1)]), 1u64);
            for level in 2..=limits::LEVEL_MAX {
                let children: Vec<(&[u8], Id, u64)> =
                    names.iter().map(|name| (name.as_slice(), id, nodes)).collect();
                id = inner(level, &children);
                nodes = nodes.saturating_mul(1000);
            }
            let error = walk(&blobs, Root { id, level: limits::LEVEL_MAX }).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
    let sound = inner(1, &[(b"a", leaf(&[b"a", b"b"]), 2), (b"c", leaf(&[b"c"]), 1)]);
    assert_eq!(walk(&blobs, Root { id: sound, level: 1 }).unwrap(), 3);
    assert_eq!(walk(&blobs, Root { id: inner(2, &[(b"a", sound, 3)]), level: 2 }).unwrap(), 3);
    let wrong =
        |id, level| assert_eq!(walk(&blobs, Root { id, level }).unwrap_err().kind(), ErrorKind::Corrupt);
    wrong(inner(1, &[(b"a", leaf(&[b"a", b"d"]), 2), (b"c", leaf(&[b"c"]), 1)]), 1);
    wrong(inner(1, &[(b"a", leaf(&[b"b"]), 1)]), 1);
    wrong(inner(1, &[(b"a", leaf(&[b"a"]), 1), (b"b", leaf(&[]), 0)]), 1);
    wrong(inner(2, &[(b"a", inner(1, &[(b"b", leaf(&[b"b"]), 1)]), 1)]), 2);
    wrong(inner(1, &[(b"a", leaf(&[b"a"]), 1)]), 2);
    // Parents that count wrongly.
    wrong(inner(1, &[(b"a", leaf(&[b"a", b"b"]), 1), (b"c", leaf(&[b"c"]), 2)]), 1);
    wrong(inner(2, &[(b"a", sound, 4)]), 2);
    let endless = inner(1, &[(b"a", leaf(&[b"a", b"b"]), u64::MAX), (b"c", leaf(&[b"c"]), 4)]);
    wrong(inner(2, &[(b"a", endless, 3)]), 2);
}

#[test]
fn who_names_a_blob_at_a_wrong_level_hides_nothing_of_another_tree() {
    let (_, repository) = create();
    let names: Vec<String> = (0..3000).map(|number| format!("folder-{number:05}/{number}")).collect();
    let files: Vec<(&str, Vec<u8>)> =
        names.iter().map(|name| (name.as_str(), name.as_bytes().to_vec())).collect();
    let (id, ..) = backup(&repository, None, &files).unwrap();
    let root = repository.read_snapshot(&id).unwrap().root();
    assert!(root.level > 0);
    let index = load(&repository);
    let reader = BlobReader::with_index(&repository, load(&repository));
    let needed = |roots: &[Root]| {
        let reach = Reach::new(&index);
        let mut lost = 0;
        for root in roots {
            lost += reach.walk(&reader, [*root].into_iter(), &Interrupt::default()).unwrap().len();
        }
        (lost, (0..index.numbers()).filter(|number| reach.contains(*number)).count())
    };
    let honest = needed(&[root]);
    assert_eq!(honest.0, 0);
    assert!(honest.1 > files.len());
    for level in (0..=limits::LEVEL_MAX).chain([u8::MAX]).filter(|level| *level != root.level) {
        // What it says of itself is a loss, and of the other tree nothing is missed.
        let (lost, blobs) = needed(&[Root { level, ..root }, root]);
        assert_eq!((lost, blobs), (1, honest.1), "level {level}");
    }
}

#[test]
fn what_lies_in_no_folder_is_refused() {
    let (_, repository) = create();
    let blobs = Blobs::new(&repository);
    let file = || file_node(&[], 0);
    let link = || Node { link_target: Some(b"/etc".to_vec()), kind: NodeKind::Symlink, ..folder_node() };
    let try_both = |nodes: &[(&str, Node)]| {
        let entry =
            |(path, node): &(&str, Node)| LeafEntry { path: path.as_bytes().to_vec(), node: node.clone() };
        let plain = tree::encode_leaf(&nodes.iter().map(entry).collect::<Vec<_>>()).unwrap();
        let root = Root { id: blobs.store(BlobKind::Leaf, &plain).unwrap(), level: 0 };
        let mut builder = TreeBuilder::new(&blobs, repository.keyring());
        let built = nodes.iter().try_for_each(|(path, node)| builder.push(path.as_bytes(), node));
        let read = walk(&blobs, root);
        assert_eq!(built.is_ok(), read.is_ok());
        // Below a folder that the tree has no node for, nothing is found either.
        let mut reader = TreeReader::below(&blobs, root, b"a");
        let below = std::iter::from_fn(|| reader.next_entry().transpose()).collect::<Result<Vec<_>, _>>();
        (read.is_ok(), below.map(|entries| entries.len()).ok())
    };
    let folder = folder_node;
    assert_eq!(try_both(&[("a", folder()), ("a/b", file())]), (true, Some(2)));
    assert_eq!(
        try_both(&[("", folder()), ("a", folder()), ("a/b", folder()), ("a/b/c", file())]),
        (true, Some(3))
    );
    assert_eq!(
        try_both(&[("a", folder()), ("a/b", folder()), ("a/c", file()), ("d", file())]),
        (true, Some(3))
    );
    assert_eq!(try_both(&[("a", link()), ("a/b", file())]), (false, None));
    assert_eq!(try_both(&[("a", file()), ("a/b", file())]), (false, None));
    assert_eq!(try_both(&[("a/b", file())]), (false, None));
    assert_eq!(try_both(&[("", folder()), ("a/b", file())]), (false, None));
    assert_eq!(try_both(&[("a", folder()), ("a/b/c", file())]), (false, None));
    assert_eq!(try_both(&[("a", folder()), ("ab/c", file())]), (false, Some(1)));
    // A folder that has ended holds nothing more.
    assert_eq!(
        try_both(&[("a", folder()), ("a/b", folder()), ("a/c", file()), ("a/c/d", file())]),
        (false, None)
    );
}

fn chunk_ids(count: u64) -> Vec<(Id, u64)> {
    (0..count)
        .map(|number| (Id(*blake3::hash(&number.to_le_bytes()).as_bytes()), 1000 + number % 7))
        .collect()
}

fn read_chunks(blobs: &Blobs<'_>, content: &Content, chunks: &[(Id, u64)]) -> crate::error::Result<Vec<Id>> {
    let lengths: HashMap<Id, u64> = chunks.iter().copied().collect();
    let mut read = Vec::new();
    visit_chunks(blobs, content, &mut |_, _| Ok(()), &mut |id| {
        read.push(*id);
        Ok(lengths[id])
    })?;
    Ok(read)
}

#[test]
fn lists_of_any_length_come_back() {
    let (_, repository) = create();
    let mut random = Random::new(20_266);
    let edges = [0, 1, 2, 31, 32, 33, 255, 256, 257, 4095, 4096, 4097, 50_000, 200_000];
    let counts = edges.into_iter().chain((0..30).map(|_| random.below(20_000) as u64));
    for count in counts.collect::<Vec<_>>() {
        let blobs = Blobs::new(&repository);
        let chunks = chunk_ids(count);
        let content = store_content(&blobs, &chunks).unwrap();
        assert_eq!(matches!(content, Content::Inline(_)), count <= limits::INLINE_CHUNKS_MAX as u64);
        let ids: Vec<Id> = chunks.iter().map(|(id, _)| *id).collect();
        assert!(read_chunks(&blobs, &content, &chunks).unwrap() == ids, "{count}");
    }
    // Chunks that are all alike end no list by themselves: a file of zeros.
    let blobs = Blobs::new(&repository);
    let zeros = vec![(Id([7; 32]), 4096); 100_000];
    let content = store_content(&blobs, &zeros).unwrap();
    assert_eq!(read_chunks(&blobs, &content, &zeros).unwrap().len(), zeros.len());
}

/// `08-tree.md#lists`, from the bottom up: the lists of each level, and the top.
fn naive_lists(repository: &Repository, chunks: &[(Id, u64)]) -> (Vec<Vec<u8>>, Id, u8) {
    let mut all = Vec::new();
    let mut entries = chunks.to_vec();
    for level in 0.. {
        let mut above = Vec::new();
        let (mut list, mut count, mut bytes) = (vec![level], 0, 0);
        for (at, (id, length)) in entries.iter().enumerate() {
            list.extend_from_slice(&id.0);
            if level > 0 {
                list.extend_from_slice(&length.to_le_bytes());
            }
            (count, bytes) = (count + 1, bytes + length);
            let number = u32::from_le_bytes(id.0[28..].try_into().unwrap());
            if count == 4096 || count >= 256 && number % 1024 == 0 || at + 1 == entries.len() {
                above.push((repository.keyring().blob_id(BlobKind::List, &list), bytes));
                all.push(std::mem::replace(&mut list, vec![level]));
                (count, bytes) = (0, 0);
            }
        }
        if let [(top, _)] = above[..] {
            return (all, top, level);
        }
        entries = above;
    }
    unreachable!("each level has fewer lists than the one below")
}

#[test]
fn random_lists_are_those_of_the_text() {
    let (_, repository) = create();
    each_seed(|seed| {
        let mut random = Random::new((seed << 20) + 20_268);
        let edges = [0, 31, 32, 33, 255, 256, 257, 4095, 4096, 4097, 8192];
        let count = match random.below(4) {
            0 => edges[random.below(edges.len())],
            1 => random.below(300),
            _ => random.below(if seed % 50 == 0 { 60_000 } else { 6000 }),
        };
        let mut chunks: Vec<(Id, u64)> = Vec::new();
        // Noise, the same chunk over and over, and chunks that end a list wherever they may.
        let kind = random.below(3);
        while chunks.len() < count {
            let mut id = *blake3::hash(&random.next().to_le_bytes()).as_bytes();
            if kind > 0 && random.below(40) == 0 {
                id[28..].copy_from_slice(&(random.next() as u32 & !1023).to_le_bytes());
            }
            let again = if kind == 2 { 1 + random.below(500) } else { 1 };
            chunks.resize(count.min(chunks.len() + again), (Id(id), 1 + random.next() % (4 << 20)));
        }
        let blobs = Blobs::new(&repository);
        let content = store_content(&blobs, &chunks).unwrap();
        let ids: Vec<Id> = chunks.iter().map(|(id, _)| *id).collect();
        assert!(read_chunks(&blobs, &content, &chunks).unwrap() == ids);
        if count <= 32 {
            assert!(content == Content::Inline(ids) && blobs.count() == 0);
            return;
        }
        let (lists, root, level) = naive_lists(&repository, &chunks);
        assert_eq!(content, Content::List { root, level });
        let stored: HashSet<Vec<u8>> =
            blobs.map.into_inner().unwrap().into_values().map(|(_, plain)| plain).collect();
        assert!(stored == lists.into_iter().collect());
    });
}

#[test]
fn one_changed_chunk_rewrites_few_lists() {
    let (_, repository) = create();
    let blobs = Blobs::new(&repository);
    let mut chunks = chunk_ids(200_000);
    let content = store_content(&blobs, &chunks).unwrap();
    let total = blobs.count();
    assert!(total > 100, "{total}");
    let mut random = Random::new(20_267);
    let fresh = |chunks: &[(Id, u64)]| {
        let before = blobs.count();
        assert_ne!(store_content(&blobs, chunks).unwrap(), content);
        let fresh = blobs.count() - before;
        assert!((1..10).contains(&fresh), "{fresh} of {total}");
    };
    for round in 0..10 {
        let at = random.below(chunks.len());
        let kept = std::mem::replace(&mut chunks[at].0, Id([round; 32]));
        fresh(&chunks);
        chunks[at].0 = kept;
        chunks.insert(at, (Id([round; 32]), 5));
        fresh(&chunks);
        chunks.remove(at);
    }
}

#[test]
fn hostile_lists_end_in_an_error() {
    let (_, repository) = create();
    let blobs = Blobs::new(&repository);
    let content = |root, level| Content::List { root, level };
    let lengths = [(Id([1; 32]), 1), (Id([2; 32]), 0), (Id([3; 32]), u64::MAX)];
    let refused = |content: &Content| read_chunks(&blobs, content, &lengths).is_err();
    let chunks = blobs.store(BlobKind::List, &crate::format::list::encode_chunks(&[Id([1; 32])])).unwrap();
    assert!(!refused(&content(chunks, 0)));
    assert!(refused(&content(chunks, 1)));
    assert!(refused(&content(chunks, 13)));
    assert!(refused(&content(Id([9; 32]), 0)));
    for plain in [&[][..], &[0], &[0; 32], &[0; 34], &[1; 33]] {
        let id = blobs.store(BlobKind::List, plain).unwrap();
        assert!(refused(&content(id, 0)), "{plain:?}");
    }
    let long = blobs.store(BlobKind::List, &vec![0; 1 + 32 * 4097]).unwrap();
    assert!(refused(&content(long, 0)));
    // Chunks without bytes, and more bytes than there are numbers for.
    let list = |ids: &[u8]| {
        let ids: Vec<Id> = ids.iter().map(|byte| Id([*byte; 32])).collect();
        blobs.store(BlobKind::List, &crate::format::list::encode_chunks(&ids)).unwrap()
    };
    assert!(!refused(&content(list(&[1, 1, 3][..2]), 0)));
    assert!(refused(&content(list(&[1, 2]), 0)));
    assert!(refused(&Content::Inline(vec![Id([2; 32])])));
    assert!(refused(&content(list(&[1, 3]), 0)));
    // A list above that lies about those below.
    let above = |level, entries: &[(Id, u64)]| {
        let entries: Vec<ListEntry> =
            entries.iter().map(|(id, bytes)| ListEntry { id: *id, bytes: *bytes }).collect();
        blobs.store(BlobKind::List, &crate::format::list::encode_lists(level, &entries)).unwrap()
    };
    let (one, two) = (list(&[1]), list(&[1, 1]));
    let right = above(1, &[(one, 1), (two, 2)]);
    assert!(!refused(&content(right, 1)));
    assert!(!refused(&content(above(2, &[(right, 3), (right, 3)]), 2)));
    assert!(refused(&content(above(1, &[(one, 2), (two, 1)]), 1)));
    assert!(refused(&content(above(2, &[(right, 2)]), 2)));
    assert!(refused(&content(above(1, &[(one, u64::MAX), (two, 2)]), 1)));
}

#[test]
fn what_lies_below_a_folder_is_passed_over_and_nothing_else() {
    let (_, repository) = create();
    let (mut passed, mut read) = (0, 0);
    each_seed(|seed| {
        let mut random = Random::new(seed);
        let count = random.below(120);
        let nodes = random_nodes(&mut random, count);
        let blobs = Blobs::new(&repository);
        let root = store_nodes(&repository, &blobs, &nodes);
        let folders: Vec<&Components> =
            nodes.iter().filter(|(_, node)| node.kind == NodeKind::Directory).map(|(path, _)| path).collect();
        let top = folders[random.below(folders.len())];
        let mut reader = TreeReader::below(&blobs, root, &joined(top));
        let mut found = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            if entry.node.kind == NodeKind::Directory && entry.path != joined(top) {
                reader.skip_below(&entry.path).unwrap();
            }
            found.push(entry.path);
        }
        let directly = |path: &&Components| path.starts_with(top) && path.len() <= top.len() + 1;
        let expected: Vec<Vec<u8>> = nodes.keys().filter(directly).map(joined).collect();
        assert_eq!(found, expected);
    });
    // Of a large folder nothing is read but what leads past it.
    let nodes = twenty_thousand(&mut Random::new(1));
    let blobs = Blobs::new(&repository);
    let root = build(&repository, &blobs, &nodes);
    let counting = Counting::new(&blobs);
    for skips in [false, true] {
        let mut reader = TreeReader::new(&counting, root);
        while let Some(entry) = reader.next_entry().unwrap() {
            if skips && entry.path == b"attachments" {
                reader.skip_below(&entry.path).unwrap();
            }
        }
        *(if skips { &mut passed } else { &mut read }) = counting.count();
    }
    assert!(read > 200 && passed < 30, "{passed} of {read}");
}

#[test]
fn the_chunks_that_two_files_do_not_share() {
    let (_, repository) = create();
    each_seed(|seed| {
        let mut random = Random::new(seed);
        let count = if random.below(10) == 0 { random.below(6000) } else { random.below(60) };
        let old = chunk_ids(count as u64);
        let mut new = old.clone();
        for _ in 0..random.below(4) {
            let at = random.below(new.len() + 1);
            let fresh = (Id([random.next() as u8; 32]), 1);
            match random.below(3) {
                0 => new.insert(at, fresh),
                1 if at < new.len() => new[at] = fresh,
                _ => new.truncate(at),
            }
        }
        let blobs = Blobs::new(&repository);
        let contents = [&old, &new].map(|chunks| store_content(&blobs, chunks).unwrap());
        let [one, other] =
            [&old, &new].map(|chunks| chunks.iter().map(|(id, _)| *id).collect::<HashSet<Id>>());
        let expected = (one.difference(&other).copied().collect(), other.difference(&one).copied().collect());
        assert_eq!(compare_chunks(&blobs, &contents[0], &contents[1]).unwrap(), expected);
    });
    let blobs = Blobs::new(&repository);
    let mut chunks = chunk_ids(50_000);
    let old = store_content(&blobs, &chunks).unwrap();
    chunks[25_000].0 = Id([1; 32]);
    let new = store_content(&blobs, &chunks).unwrap();
    let counting = Counting::new(&blobs);
    let (lost, gained) = compare_chunks(&counting, &old, &new).unwrap();
    assert_eq!((lost.len(), gained), (1, HashSet::from([Id([1; 32])])));
    let read = counting.count();
    assert!(read < 8 && blobs.count() > 40, "{read} of {}", blobs.count());
}
