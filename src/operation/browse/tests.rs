//! Folders and sums held against a plain map; what is lost hides nothing else.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Mutex;

use super::{Entries, Found, Summed, folder, head, sizes};
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::key_slot::Role;
use crate::format::node::{Node, NodeKind};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::Collector;
use crate::repository::Repository;
use crate::repository::reader::{BlobReader, BlobSource};
use crate::repository::tests::support::{
    Blobs, Counting, Random, as_role, backup, create, each_seed, file_node, folder_node,
};
use crate::repository::tree::{Root, TreeBuilder};

/// Paths as their components, so that the map has the order of a tree.
type Map = BTreeMap<Vec<Vec<u8>>, Node>;

fn build(repository: &Repository, blobs: &Blobs<'_>, map: &Map) -> Root {
    let mut builder = TreeBuilder::new(blobs, repository.keyring());
    for (place, node) in map {
        builder.push(&place.join(&b'/'), node).unwrap();
    }
    builder.finish().unwrap()
}

fn random_map(random: &mut Random, count: usize) -> Map {
    let mut map = Map::new();
    map.insert(Vec::new(), folder_node());
    for _ in 0..count {
        let depth = 1 + random.below(4);
        let place: Vec<Vec<u8>> =
            (0..depth).map(|_| vec![b"-.0ab\xff"[random.below(6)], b'a' + random.below(5) as u8]).collect();
        for above in 1..depth {
            map.insert(place[..above].to_vec(), folder_node());
        }
        map.entry(place).or_insert_with(|| file_node(&[], random.next() >> 40));
    }
    map
}

/// Everything that a folder gives, page after page.
fn listed(source: &dyn BlobSource, root: Root, place: &[u8]) -> Result<(Entries, Vec<String>, Found)> {
    let (mut entries, mut losses) = (Entries::default(), Vec::new());
    let found = folder(source, root, place, &Interrupt::default(), &mut |page| {
        entries.append(page.entries);
        losses.extend(page.losses);
        Ok(())
    })?;
    Ok((entries, losses, found))
}

fn summed(source: &dyn BlobSource, root: Root, place: &[u8]) -> (BTreeMap<Vec<u8>, u64>, Summed) {
    let mut sums = BTreeMap::new();
    let told = |_| {};
    let all = sizes(source, root, place, &Interrupt::default(), &told, &mut |some| {
        sums.extend(some);
        Ok(())
    });
    (sums, all.unwrap())
}

#[test]
fn a_folder_gives_what_lies_directly_in_it_and_the_sums_of_that() {
    let (_, repository) = create();
    each_seed(|seed| {
        let mut random = Random::new((seed << 20) + 17);
        let count = random.below(if seed % 50 == 0 { 3000 } else { 60 });
        let map = random_map(&mut random, count);
        let blobs = Blobs::new(&repository);
        let root = build(&repository, &blobs, &map);
        let folders: Vec<_> = map.iter().filter(|(_, node)| node.kind == NodeKind::Directory).collect();
        let (place, _) = folders[random.below(folders.len())];
        let joined = place.join(&b'/');
        let inside: Vec<(&Vec<Vec<u8>>, &Node)> =
            map.iter().filter(|(path, _)| path.len() > place.len() && path.starts_with(place)).collect();
        let expected: Vec<(&[u8], NodeKind)> = inside
            .iter()
            .filter(|(path, _)| path.len() == place.len() + 1)
            .map(|(path, node)| (path.last().unwrap().as_slice(), node.kind))
            .collect();
        let (mut entries, losses, found) = listed(&blobs, root, &joined).unwrap();
        let given: Vec<(&[u8], NodeKind)> = (0..entries.len())
            .map(|number| entries.get(number).unwrap())
            .map(|entry| (entry.name, entry.kind))
            .collect();
        assert_eq!(given, expected);
        assert_eq!((found.entries, losses.len(), found.more), (expected.len() as u64, 0, false));
        let (sums, all) = summed(&blobs, root, &joined);
        let mut naive: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for (path, node) in &inside {
            *naive.entry(path[place.len()].clone()).or_default() += node.size;
        }
        assert_eq!(sums, naive);
        assert_eq!(all.bytes, naive.values().sum::<u64>());
        for (name, bytes) in &sums {
            entries.set_bytes(name, *bytes);
        }
        for number in 0..entries.len() {
            let entry = entries.get(number).unwrap();
            assert_eq!(entry.bytes, Some(naive[entry.name]));
            assert_eq!(entries.position(entry.name), Some(number));
        }
    });
}

/// A folder of many, between two folders of thousands.
fn wide(names: usize) -> Map {
    let mut map = Map::new();
    map.insert(Vec::new(), folder_node());
    for top in [&b"a"[..], b"m", b"z"] {
        map.insert(vec![top.to_vec()], folder_node());
        for number in 0..names {
            map.insert(vec![top.to_vec(), format!("{number:06}").into_bytes()], file_node(&[], 1));
        }
    }
    map
}

#[test]
fn what_lies_below_the_folders_of_a_folder_is_not_read() {
    let (_, repository) = create();
    let blobs = Blobs::new(&repository);
    let root = build(&repository, &blobs, &wide(20_000));
    assert!(blobs.count() > 40, "a tree of many blobs");
    let counting = Counting::new(&blobs);
    let (entries, ..) = listed(&counting, root, b"").unwrap();
    assert_eq!(entries.len(), 3);
    let read = counting.count();
    assert!(read <= 10, "{read} blobs were read for three entries");
    assert_eq!(listed(&counting, root, b"m").unwrap().0.len(), 20_000);
    assert!(counting.count() * 2 < blobs.count());
}

/// A store in which some blobs are lost, and which notes what leaves are asked for.
struct Lossy<'a> {
    source: &'a dyn BlobSource,
    lost: HashSet<Id>,
    leaves: Mutex<BTreeSet<Id>>,
}

impl BlobSource for Lossy<'_> {
    fn fetch(&self, kind: BlobKind, id: &Id) -> Result<Vec<u8>> {
        if self.lost.contains(id) {
            return Err(Error::missing("the leaf is lost"));
        }
        if kind == BlobKind::Leaf {
            self.leaves.lock().unwrap().insert(*id);
        }
        self.source.fetch(kind, id)
    }
}

#[test]
fn a_lost_leaf_is_named_and_hides_no_other() {
    let (_, repository) = create();
    let blobs = Blobs::new(&repository);
    let map = wide(3000);
    let root = build(&repository, &blobs, &map);
    let whole = Lossy { source: &blobs, lost: HashSet::new(), leaves: Mutex::default() };
    assert_eq!(summed(&whole, root, b"").1.files, 9000);
    let leaves = whole.leaves.lock().unwrap().clone();
    for leaf in &leaves {
        let lossy = Lossy { source: &blobs, lost: HashSet::from([*leaf]), leaves: Mutex::default() };
        let (_, all) = summed(&lossy, root, b"");
        assert_eq!(all.losses, 1);
        assert!(all.files < 9000 && all.files > 3000, "{all:?}");
        let mut found = 0;
        for top in [&b"a"[..], b"m", b"z"] {
            let (entries, losses, all) = listed(&lossy, root, top).unwrap();
            assert_eq!(losses.len() as u64, all.losses);
            assert!(losses.iter().all(|loss| loss == "the leaf is lost"));
            assert!(entries.len() == 3000 || losses.len() == 1);
            found += all.losses;
        }
        // One that holds the end of a folder and the beginning of the next is missed by both.
        assert!((1..=2).contains(&found), "{found}");
        // A folder whose own node is lost is there by what lies in it.
        let (entries, ..) = listed(&lossy, root, b"").unwrap();
        let names: Vec<&[u8]> = (0..entries.len()).map(|number| entries.get(number).unwrap().name).collect();
        assert_eq!(names, [b"a", b"m", b"z"]);
    }
    let all = Lossy { source: &blobs, lost: leaves.into_iter().collect(), leaves: Mutex::default() };
    let (entries, losses, _) = listed(&all, root, b"").unwrap();
    assert!(entries.is_empty() && !losses.is_empty());
}

#[test]
fn what_is_no_folder_or_is_not_there_is_said() {
    let (_, repository) = create();
    let blobs = Blobs::new(&repository);
    let root = build(&repository, &blobs, &wide(2));
    let kind = |place: &[u8]| listed(&blobs, root, place).unwrap_err().kind();
    assert_eq!(kind(b"a/000000"), ErrorKind::Refused);
    assert_eq!(kind(b"b"), ErrorKind::Missing);
    assert_eq!(kind(b"zz/top"), ErrorKind::Missing);
    let interrupt = Interrupt::default();
    interrupt.request();
    let stopped = folder(&blobs, root, b"", &interrupt, &mut |_| Ok(())).unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::Interrupted);
}

#[test]
fn the_beginning_of_a_file_is_no_longer_than_asked_for_and_needs_a_full_key() {
    let (store, repository) = create();
    let long = b"0123456789".repeat(1000);
    let files = [("a/long", long.clone()), ("short", b"short".to_vec())];
    let (id, ..) = backup(&repository, None, &files).unwrap();
    let snapshot = repository.read_snapshot(&id).unwrap();
    let reader = BlobReader::new(&repository, &Collector::default()).unwrap();
    for (place, limit, expected) in [
        (&b"a/long"[..], 64, &long[..64]),
        (b"a/long", 10_000, &long),
        (b"short", 64, b"short"),
        (b"a", 64, b""),
    ] {
        assert_eq!(head(&reader, &snapshot, place, limit).unwrap().1, expected);
    }
    assert_eq!(head(&reader, &snapshot, b"none", 64).unwrap_err().kind(), ErrorKind::Missing);
    let maintain = as_role(&store, &repository, Role::Maintain);
    let reader = BlobReader::new(&maintain, &Collector::default()).unwrap();
    assert_eq!(head(&reader, &snapshot, b"short", 64).unwrap_err().kind(), ErrorKind::RoleNotAllowed);
    assert_eq!(listed(&reader, snapshot.root(), b"").unwrap().0.len(), 2);
}
