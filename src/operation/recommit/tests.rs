//! Storing snapshots anew, with the repository in memory: against naive models, with a store that fails at every
//! write in turn, and beside others who give up, forget and prune.

mod condemned;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::backend::{Backend, Listed, MemoryBackend, ObjectKind, ObjectName};
use crate::crypto::kdf::Cost;
use crate::crypto::secret::Secret;
use crate::format::marks::Abandoned;
use crate::format::node::{Attribute, Content, Node, NodeKind, Timestamp};
use crate::format::path;
use crate::format::tests::{Random, each_seed, file_node, manifest};
use crate::operation::repair::snapshots as repair;
use crate::operation::rewrite::Rewrite;
use crate::operation::{check, tag, unforget};
use crate::report::Collector;
use crate::repository::host;
use crate::repository::keys::{Credential, NewKey};
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshots;
use crate::repository::tree::{Root, TreeBuilder, TreeReader, lookup};
use crate::source::files::ExcludeOptions;

/// A store that fails from some write on, and lets a test step in when a manifest is stored.
#[derive(Clone, Default)]
struct Store {
    memory: MemoryBackend,
    /// So many writes succeed yet; negative: all.
    writes: Arc<AtomicI64>,
    fails: Arc<Mutex<bool>>,
    on_manifest: Arc<Mutex<Option<Step>>>,
    on_pack: Arc<Mutex<Option<Step>>>,
    /// Packs cannot be read.
    denied: Arc<Mutex<bool>>,
}

type Step = Box<dyn FnMut(&ObjectName) + Send>;

impl Store {
    fn write(&self) -> Result<()> {
        if *self.fails.lock().unwrap() && self.writes.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(Error::new(ErrorKind::Io, "the store is gone"));
        }
        Ok(())
    }

    /// From now on only so many writes succeed.
    fn fail_after(&self, writes: i64) {
        self.writes.store(writes, Ordering::SeqCst);
        *self.fails.lock().unwrap() = true;
    }
}

impl Backend for Store {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.write()?;
        if name.kind == ObjectKind::Snapshot
            && let Some(step) = self.on_manifest.lock().unwrap().as_mut()
        {
            step(name);
        }
        if name.kind == ObjectKind::Pack
            && let Some(mut step) = self.on_pack.lock().unwrap().take()
        {
            step(name);
        }
        self.memory.put(name, bytes)
    }

    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>> {
        self.memory.get(name, limit)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>> {
        if *self.denied.lock().unwrap() {
            return Err(Error::new(ErrorKind::Denied, "nobody may read this"));
        }
        self.memory.get_range(name, offset, length)
    }

    fn size(&self, name: &ObjectName) -> Result<u64> {
        self.memory.size(name)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        self.memory.list(kind)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.write()?;
        self.memory.delete(name)
    }

    fn location(&self) -> String {
        "a store in a test".into()
    }
}

fn credential() -> Credential {
    Credential::KeyFile(Secret::new([1; 32]))
}

fn create() -> (Store, Repository) {
    let store = Store::default();
    let credential = credential();
    let new = NewKey { credential: &credential, cost: Cost::LEAST, label: "key", time: Timestamp::default() };
    let repository = Repository::create(Arc::new(store.clone()), &new).unwrap();
    (store, repository)
}

/// The same objects in a store of their own.
fn copy_of(store: &Store) -> (Store, Repository) {
    let copy = Store::default();
    for (name, bytes) in store.memory.snapshot() {
        copy.memory.replace(&name, bytes);
    }
    let repository = Repository::open(Arc::new(copy.clone()), &credential()).unwrap();
    (copy, repository)
}

type Nodes = BTreeMap<Path, Node>;

/// A path in the order of trees.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Path(Vec<u8>);

impl PartialOrd for Path {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Path {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        path::compare(&self.0, &other.0)
    }
}

/// Heavy nodes make trees of many blobs.
fn heavy(node: Node, bytes: usize) -> Node {
    let attribute = Attribute { name: b"user.x".to_vec(), value: vec![7; bytes] };
    Node { attributes: Some(vec![attribute]), ..node }
}

fn folder() -> Node {
    Node { kind: NodeKind::Directory, content: None, ..file_node(&[], 0) }
}

/// Adds files, their folders, and what they hold, to a snapshot.
fn grow(random: &mut Random, nodes: &mut Nodes, files: usize, padding: usize) {
    let weight = 200 + random.below(3000);
    nodes.entry(Path(Vec::new())).or_insert_with(folder);
    for _ in 0..files {
        let mut place = Vec::new();
        for _ in 0..=random.below(3) {
            let mut name = vec![b"abcde-"[random.below(6)], b"xyz"[random.below(3)]];
            name.extend(std::iter::repeat_n(b'p', padding));
            path::push(&mut place, &name);
            nodes.entry(Path(place.clone())).or_insert_with(|| heavy(folder(), weight));
        }
        path::push(&mut place, format!("f{}", random.below(10_000)).as_bytes());
        nodes.entry(Path(place)).or_insert_with(|| heavy(file_node(&[], random.next() % 5), weight));
    }
}

/// What a file of the tests holds: its content is its path.
fn content(place: &[u8]) -> Vec<u8> {
    [b"content of ", place].concat()
}

/// Commits a snapshot of these nodes; files get chunks.
fn store(repository: &Repository, nodes: &Nodes, seconds: i64) -> Id {
    let mut session = Some(Session::begin(repository, None, "server").unwrap());
    let usable = session.as_ref().unwrap().usable().unwrap();
    let writer = BlobWriter::new(repository, &usable.index).unwrap();
    let root = build(&writer, repository, nodes, &|place| {
        writer.store_blob(BlobKind::Chunk, &content(place)).unwrap()
    });
    writer.finish(usable.adopted).unwrap();
    let session = session.take().unwrap();
    let id = *session.id();
    let snapshots = repository.snapshots().unwrap();
    let sequence = session::next_sequence(repository, &snapshots);
    let time = Timestamp { seconds, nanoseconds: 0 };
    let manifest = Manifest { time, root: root.id, level: root.level, sequence, ..manifest() };
    assert_eq!(session.commit(&manifest).unwrap(), Commit::Done);
    id
}

fn build(sink: &dyn BlobSink, repository: &Repository, nodes: &Nodes, chunk: &dyn Fn(&[u8]) -> Id) -> Root {
    let mut tree = TreeBuilder::new(sink, repository.keyring());
    for (Path(place), node) in nodes {
        let node = match node.kind {
            NodeKind::File => {
                let content = Some(Content::Inline(vec![chunk(place)]));
                Node { content, size: self::content(place).len() as u64, ..node.clone() }
            }
            _ => node.clone(),
        };
        tree.push(place, &node).unwrap();
    }
    tree.finish().unwrap()
}

fn around<'a>(reporter: &'a Collector, interrupt: &'a Interrupt) -> Around<'a> {
    Around { cache: None, host: "host", reporter, interrupt }
}

/// Runs work with what it needs, and gives what it says became of snapshots.
fn with<T>(work: impl FnOnce(Around<'_>, &mut dyn FnMut(&Snapshot, Made)) -> T) -> (T, Vec<(Id, Made)>) {
    let (reporter, interrupt) = (Collector::default(), Interrupt::default());
    let mut made = Vec::new();
    let done = work(around(&reporter, &interrupt), &mut |old, new| made.push((old.id, new)));
    (done, made)
}

/// The paths of a tree, every file of which is read.
fn paths(repository: &Repository, root: Root) -> BTreeSet<Vec<u8>> {
    let reader = BlobReader::new(repository, &Collector::default()).unwrap();
    let mut tree = TreeReader::new(&reader, root);
    let mut paths = BTreeSet::new();
    while let Some(entry) = tree.next_entry().unwrap() {
        if let Some(Content::Inline(ids)) = &entry.node.content {
            let chunks: Vec<Vec<u8>> = ids
                .iter()
                .map(|id| crate::repository::reader::BlobSource::fetch(&reader, BlobKind::Chunk, id).unwrap())
                .collect();
            assert_eq!(chunks.concat(), content(&entry.path));
        }
        paths.insert(entry.path);
    }
    paths
}

fn problems(repository: &Repository) -> u64 {
    let reporter = Collector::default();
    let summary = check::run(repository, true, &reporter, &Interrupt::default()).unwrap();
    assert_eq!(
        summary.problems == 0,
        reporter.findings().iter().all(|finding| finding.severity != crate::report::Severity::Problem)
    );
    summary.problems
}

fn live(repository: &Repository) -> Vec<Snapshot> {
    repository.snapshots().unwrap().snapshots
}

#[test]
fn what_is_left_is_the_tree_that_a_naive_filter_leaves() {
    let mut levels = BTreeSet::new();
    let levels = Mutex::new(&mut levels);
    each_seed(|seed| {
        let mut random = Random::new(seed);
        let (_, repository) = create();
        let large = seed % 50 == 0;
        let mut nodes = Nodes::new();
        let files = if large { 1500 } else { 1 + random.below(120) };
        grow(&mut random, &mut nodes, files, if large { 150 } else { 0 });
        store(&repository, &nodes, 1);
        let all: Vec<&Path> = nodes.keys().filter(|place| !place.0.is_empty()).collect();
        let out: Vec<Vec<u8>> =
            (0..=random.below(4)).map(|_| all[random.below(all.len())].0.clone()).collect();
        let patterns = out.iter().map(|place| String::from_utf8([b"/", place.as_slice()].concat()).unwrap());
        let excludes = Excludes::new(&ExcludeOptions::of_patterns(patterns)).unwrap();
        let order = Order {
            change: Change::Rewritten,
            leave_out: Some(&excludes),
            forget: false,
            read_data: false,
            edit: &|_| {},
        };
        let snapshots = live(&repository);
        let (drafts, _) = with(|around, _| plan(&repository, &order, &snapshots, around).unwrap());
        let is_out = |place: &Path| out.iter().any(|out| path::is_below(&place.0, out));
        let kept: Nodes = nodes
            .iter()
            .filter(|(place, _)| !is_out(place))
            .map(|(place, node)| (place.clone(), node.clone()))
            .collect();
        let chunk = |place: &[u8]| repository.keyring().blob_id(BlobKind::Chunk, &content(place));
        let expected = build(&IdsOnly(repository.keyring()), &repository, &kept, &chunk);
        let [draft] = drafts.as_slice() else { panic!() };
        assert_eq!(draft.root, Some(expected));
        let gone: Vec<&[u8]> = draft.gone().map(|gone| gone.path.as_slice()).collect();
        let expected: Vec<&[u8]> =
            nodes.keys().filter(|place| is_out(place)).map(|place| place.0.as_slice()).collect();
        assert_eq!(gone, expected);
        let count = |kind: NodeKind| kept.values().filter(|node| node.kind == kind).count() as u64;
        assert_eq!(
            (draft.kept.files, draft.kept.folders),
            (count(NodeKind::File), count(NodeKind::Directory))
        );
        levels.lock().unwrap().insert(snapshots[0].root().level);
    });
    if std::env::var_os("STRONGROOM_TEST_SEED").is_none() {
        assert_eq!(levels.into_inner().unwrap().iter().copied().collect::<Vec<_>>(), [0, 1, 2]);
    }
}

#[test]
fn repair_keeps_every_file_that_can_be_read_and_no_other() {
    let seen = Mutex::new((0u64, 0u64, 0u64));
    each_seed(|seed| {
        let mut random = Random::new(seed);
        let (store_, repository) = create();
        let mut nodes = Nodes::new();
        for night in 0..=random.below(2) as u32 {
            let files = 1 + random.below(30);
            grow(&mut random, &mut nodes, files, 0);
            store(&repository, &nodes, i64::from(night));
        }
        let packs = repository.list_ids(ObjectKind::Pack).unwrap();
        for _ in 0..=random.below(2) {
            store_.memory.remove(&ObjectName::new(ObjectKind::Pack, packs[random.below(packs.len())]));
        }
        let before = live(&repository);
        let reader = BlobReader::new(&repository, &Collector::default()).unwrap();
        let readable = |snapshot: &Snapshot, place: &Path| {
            let node = lookup(&reader, snapshot.root(), &place.0).ok().flatten();
            node.is_some_and(|node| match &node.content {
                Some(Content::Inline(ids)) => ids.iter().all(|id| {
                    crate::repository::reader::BlobSource::fetch(&reader, BlobKind::Chunk, id).is_ok()
                }),
                _ => true,
            })
        };
        let options = repair::Options { read_data: seed % 2 == 0, forget: seed % 3 == 0, named: true };
        let again = || {
            let found = repository.snapshots().unwrap();
            let wanted = found.snapshots.clone();
            let (damaged, _) =
                with(|around, _| repair::find(&repository, &found, &wanted, options, around).unwrap());
            let (done, made) = with(|around, told| repair::run(&repository, &damaged, options, around, told));
            match done {
                // Of an empty store nothing is given up.
                Err(error) if error.kind() == ErrorKind::Refused => {
                    assert!(options.forget && repository.list_ids(ObjectKind::Pack).unwrap().is_empty());
                    assert!(made.is_empty());
                }
                done => drop(done.unwrap()),
            }
            (damaged, made)
        };
        let (_, made) = again();
        let after = repository.snapshots().unwrap();
        for old in &before {
            // The first night's paths are among the last night's.
            let expected: BTreeSet<Vec<u8>> =
                nodes.keys().filter(|place| readable(old, place)).map(|place| place.0.clone()).collect();
            let new = made.iter().find(|(id, _)| *id == old.id).map(|(_, made)| made);
            let there = |id: &Id| after.snapshots.iter().find(|snapshot| snapshot.id == *id).unwrap();
            match new {
                Some(Made::New(id, draft)) => {
                    let new = there(id);
                    let made_up: BTreeSet<Vec<u8>> = draft.made_up.iter().cloned().collect();
                    let kept: BTreeSet<Vec<u8>> =
                        paths(&repository, new.root()).difference(&made_up).cloned().collect();
                    assert_eq!(kept, expected);
                    assert_eq!(new.origin(), old.origin());
                    assert!(
                        new.manifest.statistics.problems > 0 && !new.manifest.service.as_ref().unwrap().whole
                    );
                    let mut seen = seen.lock().unwrap();
                    seen.0 += 1;
                    seen.1 += draft.ranges.len() as u64;
                    seen.2 += draft.made_up.len() as u64;
                }
                Some(other) => panic!("{other:?}"),
                // Whole, the same as another one, or ruined.
                None if !readable(old, &Path(Vec::new())) && expected.is_empty() => {}
                None => assert!(paths(&repository, there(&old.id).root()).is_superset(&expected)),
            }
            assert!(!options.forget || matches!(new, None | Some(Made::New(..))));
        }
        // Nothing more is lost, so nothing more is done.
        let (damaged, made) = again();
        assert!(made.is_empty(), "{made:?}");
        let rest = if options.forget {
            damaged.iter().filter(|damaged| damaged.draft.root.is_some()).count()
        } else {
            0
        };
        assert_eq!(rest, 0);
        for damaged in damaged.iter().filter(|damaged| damaged.draft.root.is_some()) {
            assert!(damaged.repaired_as.is_some());
            assert_eq!(repair::known_damaged(&after).get(&damaged.snapshot.id), damaged.repaired_as.as_ref());
        }
    });
    let (repaired, ranges, made_up) = seen.into_inner().unwrap();
    println!("{repaired} repaired, {ranges} ranges lost, {made_up} folders made up");
    if std::env::var_os("STRONGROOM_TEST_SEED").is_none() {
        assert!(repaired > 100 && ranges > 10 && made_up > 0);
    }
}

/// A repository of three nights, one of them forgotten.
fn three_nights() -> (Store, Nodes) {
    let (store_, repository) = create();
    let mut random = Random::new(5);
    let mut nodes = Nodes::new();
    for night in 0..3 {
        grow(&mut random, &mut nodes, 40, 0);
        let id = store(&repository, &nodes, night);
        if night == 1 {
            let used = repository.read_snapshot(&id).unwrap().used_number();
            repository.put_forgotten(&id, Some(used)).unwrap();
        }
    }
    (store_, nodes)
}

/// What each command does to all snapshots that it may take.
fn each_command(
    repository: &Repository,
    name: &str,
    around: Around<'_>,
    told: &mut dyn FnMut(&Snapshot, Made),
) -> Result<()> {
    let found: Snapshots = repository.snapshots()?;
    match name {
        "tag" => {
            let edit = tag::Edit { add: vec!["new".into()], ..tag::Edit::default() };
            tag::run(repository, &found.snapshots, &edit, around, told)
        }
        "rewrite" => {
            let rewrite = Rewrite::new(&ExcludeOptions::of_patterns(["ax", "f1*"]), true)?;
            rewrite.run(repository, &found.snapshots, around, told)
        }
        "unforget" => unforget::run(repository, &found.forgotten, false, around, told),
        _ => {
            let options = repair::Options { read_data: false, forget: true, named: true };
            let damaged = repair::find(repository, &found, &found.snapshots, options, around)?;
            repair::run(repository, &damaged, options, around, told).map(drop)
        }
    }
}

#[test]
fn whatever_write_is_the_last_no_backup_is_lost() {
    let (sound, _) = three_nights();
    let damaged = {
        let (copy, repository) = copy_of(&sound);
        let data =
            |pack: &&crate::repository::index::PackInfo| pack.class == crate::format::blob::Class::Data;
        let usable = session::usable(&repository).unwrap();
        let pack = usable.index.packs().iter().find(data).unwrap().id;
        copy.memory.remove(&ObjectName::new(ObjectKind::Pack, pack));
        copy
    };
    for (name, from) in [("tag", &sound), ("rewrite", &sound), ("unforget", &sound), ("repair", &damaged)] {
        let (_, pristine) = copy_of(from);
        let old = pristine.snapshots().unwrap();
        let mut steps = 0;
        loop {
            let (store_, repository) = copy_of(from);
            store_.fail_after(steps);
            let (done, made) = with(|around, told| each_command(&repository, name, around, told));
            let (copy, repository) = copy_of(&store_);
            let now = repository.snapshots().unwrap();
            for old in &old.snapshots {
                let mut standing = now.snapshots.iter().filter(|new| new.origin() == old.origin()).peekable();
                assert!(standing.peek().is_some(), "{name}: neither old nor new after {steps} writes");
                for new in standing {
                    // Unless it is the damaged one, all of it can be read.
                    if name != "repair" || new.id != old.id {
                        assert!(!paths(&repository, new.root()).is_empty());
                    }
                }
            }
            for (old, made) in &made {
                let Made::New(new, _) = made else { panic!("{name}: {made:?}") };
                assert!(
                    now.snapshots.iter().any(|snapshot| snapshot.id == *new),
                    "{name}: {} is not there",
                    old.short()
                );
            }
            if name != "repair" {
                assert_eq!(problems(&repository), 0, "{name} after {steps} writes");
            }
            // What was begun can be ended, and done again without harm.
            let (again, _) = with(|around, told| each_command(&repository, name, around, told));
            again.unwrap();
            drop(copy);
            if done.is_ok() {
                break;
            }
            steps += 1;
        }
        println!("{name}: {steps} writes");
        assert!(steps >= if name == "unforget" { 2 } else { 5 }, "{name}: {steps}");
    }
}

#[test]
fn a_snapshot_that_was_given_up_is_stored_again() {
    let (store_, _) = three_nights();
    let repository = Repository::open(Arc::new(store_.clone()), &credential()).unwrap();
    let other = Repository::open(Arc::new(store_.clone()), &credential()).unwrap();
    let mut left = 1;
    *store_.on_manifest.lock().unwrap() = Some(Box::new(move |name| {
        if left > 0 {
            left -= 1;
            let mark = Abandoned { host: "another".into(), time: host::now() };
            other.put_abandoned(&name.id, &mark).unwrap();
        }
    }));
    let (reporter, interrupt) = (Collector::default(), Interrupt::default());
    let mut made = Vec::new();
    let mut told = |old: &Snapshot, new: Made| made.push((old.id, new));
    each_command(&repository, "tag", around(&reporter, &interrupt), &mut told).unwrap();
    assert_eq!(made.len(), 2);
    assert!(reporter.findings().iter().any(|finding| finding.cause.contains("starts again")));
    // The one that was given up is there, and live until a pruner forgets it: it is the same backup twice.
    let origins: BTreeSet<Id> = live(&repository).iter().map(|snapshot| snapshot.origin().snapshot).collect();
    assert_eq!(origins.len(), 2);
    assert!(live(&repository).iter().all(|snapshot| snapshot.manifest.tags.contains(&"new".to_owned())));
    let numbers: BTreeSet<u64> =
        live(&repository).iter().map(|snapshot| snapshot.manifest.sequence).collect();
    assert_eq!(numbers.len(), 3, "each has a number of its own");
}

#[test]
fn what_somebody_forgot_meanwhile_does_not_come_back() {
    let (store_, _) = three_nights();
    let repository = Repository::open(Arc::new(store_.clone()), &credential()).unwrap();
    let snapshots = live(&repository);
    repository.put_forgotten(&snapshots[0].id, None).unwrap();
    let edit = tag::Edit { add: vec!["new".into()], ..tag::Edit::default() };
    let (done, made) = with(|around, told| tag::run(&repository, &snapshots, &edit, around, told));
    done.unwrap();
    assert!(matches!(made[0].1, Made::Vanished) && matches!(made[1].1, Made::New(..)), "{made:?}");
    assert_eq!(live(&repository).len(), 1);
}

#[test]
fn what_lies_in_condemned_packs_alone_is_neither_there_nor_lost() {
    let (store_, _) = three_nights();
    for name in ["tag", "rewrite", "repair"] {
        let (_, repository) = copy_of(&store_);
        let before = repository.snapshots().unwrap();
        repository.put_condemned(repository.list_ids(ObjectKind::Pack).unwrap()).unwrap();
        let (done, made) = with(|around, told| each_command(&repository, name, around, told));
        assert_eq!(done.unwrap_err().kind(), ErrorKind::Busy, "{name}");
        assert!(made.is_empty());
        assert_eq!(live(&repository).len(), before.snapshots.len());
        assert!(repository.list_ids(ObjectKind::Session).unwrap().is_empty(), "{name}: its sessions end");
    }
}

#[test]
fn what_cannot_be_read_now_is_not_lost() {
    let (store_, _) = three_nights();
    let repository = Repository::open(Arc::new(store_.clone()), &credential()).unwrap();
    let objects = store_.memory.objects();
    *store_.denied.lock().unwrap() = true;
    for name in ["tag", "rewrite", "unforget", "repair"] {
        let (done, made) = with(|around, told| each_command(&repository, name, around, told));
        assert_eq!(done.unwrap_err().kind(), ErrorKind::Denied, "{name}");
        assert!(made.is_empty());
        assert_eq!(store_.memory.objects(), objects, "{name} left something behind");
    }
}

#[test]
fn a_snapshot_that_lost_its_tree_is_forgotten_in_a_repair_unless_all_packs_are_gone() {
    let (store_, repository) = create();
    let mut nodes = Nodes::new();
    grow(&mut Random::new(1), &mut nodes, 3, 0);
    let id = store(&repository, &nodes, 1);
    for pack in repository.list_ids(ObjectKind::Pack).unwrap() {
        store_.memory.remove(&ObjectName::new(ObjectKind::Pack, pack));
    }
    let (done, made) = with(|around, told| each_command(&repository, "repair", around, told));
    assert_eq!(done.unwrap_err().kind(), ErrorKind::Refused);
    assert!(made.is_empty());
    assert_eq!(live(&repository).iter().map(|snapshot| snapshot.id).collect::<Vec<_>>(), [id]);
    // And nobody stores it anew otherwise.
    let (done, made) = with(|around, told| each_command(&repository, "tag", around, told));
    done.unwrap();
    assert!(matches!(made.as_slice(), [(_, Made::Unsound(_))]), "{made:?}");
    // Another pack is there: it is no wrong path.
    let mut others = Nodes::new();
    grow(&mut Random::new(2), &mut others, 3, 0);
    let other = store(&repository, &others, 2);
    let (done, made) = with(|around, told| each_command(&repository, "repair", around, told));
    done.unwrap();
    assert!(made.is_empty());
    assert_eq!(live(&repository).iter().map(|snapshot| snapshot.id).collect::<Vec<_>>(), [other]);
}

#[test]
fn a_backup_key_stores_nothing_anew_and_is_not_believed() {
    let (store_, repository) = create();
    let backup = Credential::KeyFile(Secret::new([2; 32]));
    let new = NewKey { credential: &backup, cost: Cost::LEAST, label: "server", time: Timestamp::default() };
    repository.add_key(Role::Backup, &new).unwrap();
    let mut nodes = Nodes::new();
    grow(&mut Random::new(1), &mut nodes, 3, 0);
    let first = store(&repository, &nodes, 1);
    let server = Repository::open(Arc::new(store_.clone()), &backup).unwrap();
    let (done, _) = with(|around, told| each_command(&server, "tag", around, told));
    assert_eq!(done.unwrap_err().kind(), ErrorKind::RoleNotAllowed);
    // It says of a snapshot of its own that it was repaired from somebody else's.
    let old = repository.read_snapshot(&first).unwrap();
    let (reporter, interrupt) = (Collector::default(), Interrupt::default());
    let look =
        look_at(&repository, session::usable(&repository).unwrap(), &ORDER, around(&reporter, &interrupt));
    let (look, _) = look.unwrap();
    let mut survey = Survey::new(&look, None, &interrupt);
    let draft = draft(&look, &mut survey, &IdsOnly(repository.keyring()), &old).unwrap();
    let manifest = manifest::manifest(&old, &draft, Change::Repaired, 1).unwrap();
    let session = Session::begin(&server, None, "server").unwrap();
    let id = *session.id();
    session.commit(&manifest).unwrap();
    let found = repository.snapshots().unwrap();
    let lie = found.snapshots.iter().find(|snapshot| snapshot.id == id).unwrap();
    assert!(lie.original().is_none() && lie.origin().snapshot == id);
    assert!(repair::known_damaged(&found).is_empty());
}

const ORDER: Order<'static> =
    Order { change: Change::Repaired, leave_out: None, forget: false, read_data: false, edit: &|_| {} };
