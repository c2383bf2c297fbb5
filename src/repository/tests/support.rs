//! What these tests share: a store that is watched, a repository of little cost, a small backup.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::backend::{Backend, Listed, MemoryBackend, ObjectKind, ObjectName};
use crate::crypto::kdf::Cost;
use crate::crypto::random;
use crate::crypto::secret::Secret;
use crate::error::{Error, Result};
use crate::format::blob::BlobKind;
use crate::format::key_slot::Role;
use crate::format::node::{Attribute, Content, Node, NodeKind, Timestamp};
use crate::format::snapshot::Manifest;
pub(crate) use crate::format::tests::{Random, each_seed, file_node};
use crate::id::Id;
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::cached_tree::RecordingSink;
use crate::repository::index::{Index, Place, ReadObjects};
use crate::repository::keys::{Credential, NewKey};
use crate::repository::reader::BlobSource;
use crate::repository::session::{Commit, Session};
use crate::repository::tree::{Root, TreeBuilder};
use crate::repository::writer::{BlobSink, BlobWriter, Written};

/// One call of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Put(ObjectName),
    Get(ObjectName),
    Range(ObjectName),
    Size(ObjectName),
    List(ObjectKind),
    Delete(ObjectName),
}

type Hook = Box<dyn FnMut(Call) -> Result<()> + Send>;

/// A store that keeps a log, and lets a test step in before every call.
#[derive(Clone, Default)]
pub(crate) struct Watched {
    pub(super) memory: MemoryBackend,
    log: Arc<Mutex<Vec<Call>>>,
    hook: Arc<Mutex<Option<Hook>>>,
}

impl Watched {
    /// From now on `hook` sees every call and may fail it.
    pub(super) fn step_in(&self, hook: impl FnMut(Call) -> Result<()> + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    pub(super) fn stand_back(&self) {
        *self.hook.lock().unwrap() = None;
    }

    /// The calls since this was asked last.
    pub(super) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    pub(super) fn names(&self, kind: ObjectKind) -> Vec<ObjectName> {
        self.memory.objects().into_iter().filter(|name| name.kind == kind).collect()
    }

    fn called(&self, call: Call) -> Result<()> {
        self.log.lock().unwrap().push(call);
        let hook = self.hook.lock().unwrap().take();
        let Some(mut hook) = hook else { return Ok(()) };
        let outcome = hook(call);
        *self.hook.lock().unwrap() = Some(hook);
        outcome
    }
}

impl Backend for Watched {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.called(Call::Put(*name))?;
        self.memory.put(name, bytes)
    }

    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>> {
        self.called(Call::Get(*name))?;
        self.memory.get(name, limit)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.called(Call::Range(*name))?;
        self.memory.get_range(name, offset, length)
    }

    fn size(&self, name: &ObjectName) -> Result<u64> {
        self.called(Call::Size(*name))?;
        self.memory.size(name)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        self.called(Call::List(kind))?;
        self.memory.list(kind)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.called(Call::Delete(*name))?;
        self.memory.delete(name)
    }

    fn location(&self) -> String {
        "a watched store".into()
    }
}

pub(super) fn password(text: &str) -> Credential {
    Credential::Password(zeroize::Zeroizing::new(text.as_bytes().to_vec()))
}

pub(super) fn key_file(byte: u8) -> Credential {
    Credential::KeyFile(Secret::new([byte; 32]))
}

pub(super) fn new_key<'a>(credential: &'a Credential, label: &'a str) -> NewKey<'a> {
    let time = Timestamp { seconds: 1_790_000_000, nanoseconds: 0 };
    NewKey { credential, cost: Cost::LEAST, label, time }
}

/// A new repository, opened with its full key, which is [`key_file`]`(1)`.
pub(crate) fn create() -> (Watched, Repository) {
    let store = Watched::default();
    let repository = Repository::create(Arc::new(store.clone()), &new_key(&key_file(1), "first")).unwrap();
    store.calls();
    (store, repository)
}

/// The same repository, opened with a new key of a role.
pub(crate) fn as_role(store: &Watched, repository: &Repository, role: Role) -> Repository {
    let credential = Credential::KeyFile(Secret::random().unwrap());
    repository.add_key(role, &new_key(&credential, role.name())).unwrap();
    Repository::open(Arc::new(store.clone()), &credential).unwrap()
}

/// Bytes that do not shrink.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut bytes = vec![0; length];
    blake3::Hasher::new_keyed(&key).finalize_xof().fill(&mut bytes);
    bytes
}

/// The index over all that is there.
pub(super) fn load(repository: &Repository) -> Index {
    Index::build(&ReadObjects::read(repository).unwrap(), &|_| true).unwrap()
}

/// All places of an index.
pub(super) fn places(index: &Index) -> Vec<Place> {
    index.all().map(|place| place.unwrap().1).collect()
}

pub(crate) fn folder_node() -> Node {
    Node { kind: NodeKind::Directory, content: None, ..file_node(&[], 0) }
}

pub(super) fn manifest(root: Root, seconds: i64) -> Manifest {
    Manifest {
        time: Timestamp { seconds, nanoseconds: 0 },
        root: root.id,
        level: root.level,
        ..crate::format::tests::manifest()
    }
}

/// A whole backup of files of one chunk each, whose paths come in order.
pub(crate) fn backup(
    repository: &Repository,
    cache: Option<&Cache>,
    files: &[(&str, Vec<u8>)],
) -> Result<(Id, Written, Commit)> {
    backup_at(repository, cache, files, 1_790_000_000)
}

/// The same at a time, in seconds.
pub(crate) fn backup_at(
    repository: &Repository,
    cache: Option<&Cache>,
    files: &[(&str, Vec<u8>)],
    seconds: i64,
) -> Result<(Id, Written, Commit)> {
    let session = Session::begin(repository, cache, "server")?;
    let usable = session.usable()?;
    let writer = BlobWriter::new(repository, &usable.index)?;
    let recorder = cache.map(|cache| cache.write_tree(repository, None)).transpose()?;
    let sink = RecordingSink { sink: &writer, recorder: recorder.as_ref() };
    let root = store_tree(repository, &writer, &sink, files)?;
    let written = writer.finish(usable.adopted)?;
    let id = *session.id();
    let commit = session.commit(&manifest(root, seconds))?;
    if let Some(recorder) = recorder {
        recorder.keep_as(&id)?;
    }
    Ok((id, written, commit))
}

pub(super) fn store_tree(
    repository: &Repository,
    writer: &BlobWriter<'_>,
    sink: &dyn BlobSink,
    files: &[(&str, Vec<u8>)],
) -> Result<Root> {
    let mut tree = TreeBuilder::new(sink, repository.keyring());
    tree.push(b"", &folder_node())?;
    let mut folders = HashSet::new();
    for (path, bytes) in files {
        for (slash, _) in path.match_indices('/') {
            if folders.insert(&path[..slash]) {
                tree.push(&path.as_bytes()[..slash], &folder_node())?;
            }
        }
        let id = writer.store_blob(BlobKind::Chunk, bytes)?;
        let content = Some(Content::Inline(vec![id]));
        tree.push(path.as_bytes(), &Node { content, ..file_node(&[], bytes.len() as u64) })?;
    }
    tree.finish()
}

/// Blobs in memory, unsealed: for what concerns trees and lists alone.
pub(crate) struct Blobs<'a> {
    repository: &'a Repository,
    pub(crate) map: Mutex<HashMap<Id, (BlobKind, Vec<u8>)>>,
}

impl<'a> Blobs<'a> {
    pub(crate) fn new(repository: &'a Repository) -> Self {
        Self { repository, map: Mutex::default() }
    }

    pub(crate) fn count(&self) -> usize {
        self.map.lock().unwrap().len()
    }
}

impl BlobSink for Blobs<'_> {
    fn store(&self, kind: BlobKind, plain: &[u8]) -> Result<Id> {
        let id = self.repository.keyring().blob_id(kind, plain);
        self.map.lock().unwrap().insert(id, (kind, plain.to_vec()));
        Ok(id)
    }
}

impl BlobSource for Blobs<'_> {
    fn fetch(&self, kind: BlobKind, id: &Id) -> Result<Vec<u8>> {
        match self.map.lock().unwrap().get(id) {
            Some((found, plain)) if *found == kind => Ok(plain.clone()),
            _ => Err(Error::missing("no such blob")),
        }
    }
}

/// Nodes by the components of their paths, which sort as a tree does.
pub(crate) type Nodes = BTreeMap<Vec<Vec<u8>>, Node>;

/// Some nodes at random, the root among them, each in folders that are there too; large enough for several blobs.
pub(crate) fn random_nodes(random: &mut Random, count: usize) -> Nodes {
    let mut nodes = Nodes::from([(Vec::new(), folder_node())]);
    for _ in 0..count {
        grow(random, &mut nodes);
    }
    nodes
}

fn grow(random: &mut Random, nodes: &mut Nodes) {
    let folders: Vec<Vec<Vec<u8>>> = nodes
        .iter()
        .filter(|(_, node)| node.kind == NodeKind::Directory)
        .map(|(path, _)| path.clone())
        .collect();
    let mut path = folders[random.below(folders.len())].clone();
    let length = 1 + random.below(3);
    let name: Vec<u8> = (0..length).map(|_| b"\x01-.0abc\xff\n"[random.below(9)]).collect();
    if name != b"." && name != b".." {
        path.push(name);
        let node = random_node(random);
        nodes.entry(path).or_insert(node);
    }
}

fn random_node(random: &mut Random) -> Node {
    let kind = [NodeKind::File, NodeKind::File, NodeKind::File, NodeKind::Directory, NodeKind::Symlink]
        [random.below(5)];
    let content: Vec<Id> = (0..random.below(3)).map(|_| Id([random.below(40) as u8; 32])).collect();
    let length = random.below(3000);
    let file = Node {
        attributes: Some(vec![Attribute { name: b"user.x".to_vec(), value: random.bytes(length) }]),
        ..file_node(&content, random.below(5) as u64)
    };
    match kind {
        NodeKind::File => file,
        NodeKind::Symlink => {
            Node { kind, content: None, size: 0, link_target: Some(random.bytes(2)), ..file }
        }
        _ => Node { kind, content: None, size: 0, ..file },
    }
}

/// Changes some of the nodes at random, as a night does.
pub(crate) fn change_nodes(random: &mut Random, nodes: &mut Nodes, changes: usize) {
    for _ in 0..changes {
        let paths: Vec<Vec<Vec<u8>>> = nodes.keys().cloned().collect();
        let path = &paths[random.below(paths.len())];
        let what = random.below(6);
        if what == 0 || path.is_empty() {
            grow(random, nodes);
        } else if what < 3 {
            nodes.retain(|other, _| !other.starts_with(path));
            if what == 1 {
                nodes.insert(path.clone(), random_node(random));
            }
        } else if let Some(node) = nodes.get_mut(path) {
            let is_file = node.kind == NodeKind::File;
            match what {
                3 => node.mtime.seconds += 1 + i64::try_from(random.below(3)).unwrap(),
                4 if is_file => node.content = Some(Content::Inline(vec![Id([random.below(40) as u8; 32])])),
                _ => node.mode ^= 0o111,
            }
        }
    }
}

/// Stores nodes as a tree.
pub(crate) fn store_nodes(repository: &Repository, sink: &dyn BlobSink, nodes: &Nodes) -> Root {
    let mut builder = TreeBuilder::new(sink, repository.keyring());
    for (path, node) in nodes {
        builder.push(&path.join(&b'/'), node).unwrap();
    }
    builder.finish().unwrap()
}

/// Counts the blobs that are read.
pub(crate) struct Counting<'a> {
    source: &'a dyn BlobSource,
    count: AtomicUsize,
}

impl<'a> Counting<'a> {
    pub(crate) fn new(source: &'a dyn BlobSource) -> Self {
        Self { source, count: AtomicUsize::new(0) }
    }

    /// How many were read since this was asked last.
    pub(crate) fn count(&self) -> usize {
        self.count.swap(0, Ordering::Relaxed)
    }
}

impl BlobSource for Counting<'_> {
    fn fetch(&self, kind: BlobKind, id: &Id) -> Result<Vec<u8>> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.source.fetch(kind, id)
    }
}

/// A folder that is removed with this handle.
pub(in crate::repository) struct Folder(PathBuf);

impl Folder {
    pub(in crate::repository) fn new() -> Self {
        let name = format!("strongroom-test-{}", random::id().unwrap().short());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(in crate::repository) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
