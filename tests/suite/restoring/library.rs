//! Through the library: what is fetched is counted, packs are taken away, blobs damaged, and folders exchanged while
//! a restore runs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};

use strongroom::backend::{Backend, Listed, MemoryBackend, ObjectKind, ObjectName};
use strongroom::crypto::secret::Secret;
use strongroom::error::Result;
use strongroom::format::blob::{BlobKind, Class};
use strongroom::id::Id;
use strongroom::interrupt::Interrupt;
use strongroom::operation::restore::{self, Overwrite, Request, Summary};
use strongroom::report::Collector;
use strongroom::repository::Repository;
use strongroom::repository::keys::Credential;
use strongroom::repository::reader::{BlobReader, BlobSource};
use strongroom::repository::tree::TreeReader;

use crate::seeds::{KEY_FILE, SMALL_CHUNKS, back_up, repository_on};
use crate::site::{assert_same, see, set_mtime};
use crate::support::{Rng, TempFolder};

type Hook = Box<dyn Fn(&ObjectName) + Send + Sync>;

/// A store that does something whenever a part of an object is read.
struct Watched {
    inner: MemoryBackend,
    hook: Hook,
}

impl Backend for Watched {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.inner.put(name, bytes)
    }
    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>> {
        self.inner.get(name, limit)
    }
    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>> {
        (self.hook)(name);
        self.inner.get_range(name, offset, length)
    }
    fn size(&self, name: &ObjectName) -> Result<u64> {
        self.inner.size(name)
    }
    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        self.inner.list(kind)
    }
    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.inner.delete(name)
    }
    fn location(&self) -> String {
        self.inner.location()
    }
}

/// A folder that is backed up, and what it was backed up to.
struct Stored {
    place: TempFolder,
    backend: MemoryBackend,
    snapshot: Id,
}

fn opened(backend: Arc<dyn Backend>) -> Repository {
    Repository::open(backend, &Credential::KeyFile(Secret::new([KEY_FILE; 32]))).unwrap()
}

impl Stored {
    fn new(fill: impl FnOnce(&TempFolder)) -> Self {
        let place = TempFolder::in_memory();
        fs::create_dir(place.join("source")).unwrap();
        fs::create_dir(place.join("tmp")).unwrap();
        fill(&place);
        let backend = MemoryBackend::new();
        let repository = repository_on(&backend, SMALL_CHUNKS);
        let summary = back_up(&repository, None, "host", &place.join("source"), &place.join("tmp"));
        Self { place, backend, snapshot: summary.snapshot.unwrap() }
    }

    fn repository(&self) -> Repository {
        opened(Arc::new(self.backend.clone()))
    }

    fn restore(&self, repository: &Repository, request: &Request<'_>) -> (Result<Summary>, Collector) {
        let snapshot = repository.read_snapshot(&self.snapshot).unwrap();
        let reporter = Collector::default();
        let target = self.place.join("target");
        let interrupt = Interrupt::default();
        (restore::run(repository, &snapshot, request, &target, &reporter, &interrupt), reporter)
    }

    /// The packs of a class.
    fn packs(&self, class: Class) -> Vec<ObjectName> {
        let repository = self.repository();
        let reader = BlobReader::new(&repository, &Collector::default()).unwrap();
        let index = reader.index().unwrap();
        let packs = index.packs().iter().filter(|pack| pack.class == class);
        packs.map(|pack| ObjectName::new(ObjectKind::Pack, pack.id)).collect()
    }
}

fn over(overwrite: Overwrite) -> Request<'static> {
    Request { overwrite: Some(overwrite), ..Request::default() }
}

fn stamp(path: &Path) -> (u64, i64, i64) {
    let metadata = path.symlink_metadata().unwrap();
    (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[test]
fn nothing_is_fetched_that_is_there_and_one_chunk_where_one_byte_differs() {
    let stored = Stored::new(|place| {
        place.write("source/large", Rng::new(1).bytes(300_000));
        place.write("source/sub/small", "small");
    });
    let repository = stored.repository();
    let (first, _) = stored.restore(&repository, &Request::default());
    assert_eq!(first.unwrap().bytes_fetched, 300_005);
    let data: BTreeMap<ObjectName, Vec<u8>> =
        stored.packs(Class::Data).iter().map(|pack| (*pack, stored.backend.remove(pack).unwrap())).collect();
    let (large, small) = (stored.place.join("target/large"), stored.place.join("target/sub/small"));
    let before = (stamp(&large), stamp(&small), stamp(&stored.place.join("target/sub")));
    for verify in [false, true] {
        for overwrite in [Overwrite::Always, Overwrite::IfChanged] {
            let (again, reporter) = stored.restore(&repository, &Request { verify, ..over(overwrite) });
            let again = again.unwrap();
            assert_eq!(
                (again.files, again.files_unchanged, again.problems),
                (0, 2, 0),
                "{:?}",
                reporter.findings()
            );
            assert_eq!(before, (stamp(&large), stamp(&small), stamp(&stored.place.join("target/sub"))));
        }
    }
    for (pack, bytes) in data {
        stored.backend.replace(&pack, bytes);
    }
    let mtime = fs::metadata(&large).unwrap();
    for put_back in [false, true] {
        let file = fs::File::options().write(true).open(&large).unwrap();
        let mut byte = [0];
        fs::File::open(&large).unwrap().read_exact_at(&mut byte, 123_456).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 123_456).unwrap();
        drop(file);
        if put_back {
            set_mtime(&large, mtime.mtime(), mtime.mtime_nsec());
        }
        let reads = Arc::new(Mutex::new(Vec::new()));
        let data_packs = stored.packs(Class::Data);
        let seen = Arc::clone(&reads);
        let hook: Hook = Box::new(move |name| {
            if data_packs.contains(name) {
                seen.lock().unwrap().push(*name);
            }
        });
        let watched = opened(Arc::new(Watched { inner: stored.backend.clone(), hook }));
        let (done, _) = stored.restore(&watched, &over(Overwrite::Always));
        let done = done.unwrap();
        let maximum = u64::from(SMALL_CHUNKS.maximum);
        assert_eq!((done.files, done.files_unchanged), (1, 1));
        assert!(done.bytes_fetched > 0 && done.bytes_fetched <= maximum, "{} bytes", done.bytes_fetched);
        assert_eq!(reads.lock().unwrap().len(), 1, "one read of one pack");
        assert_same(&see(&stored.place.join("source")), &see(&stored.place.join("target")));
    }
}

#[test]
fn a_folder_exchanged_for_a_link_leads_nowhere() {
    for (seed, exchange) in (0..30u64).enumerate() {
        let stored = Stored::new(|place| {
            for number in 0..8 {
                place.write(
                    format!("source/sub/deep/file-{number}"),
                    Rng::new(exchange * 8 + number).bytes(5000),
                );
            }
            place.write("outside/deep/file-0", "precious");
        });
        let (target, outside) = (stored.place.join("target"), stored.place.join("outside"));
        let before = see(&outside);
        let data = stored.packs(Class::Data);
        let (sub, aside) = (target.join("sub"), stored.place.join("moved"));
        let hook: Hook = Box::new(move |name| {
            if data.contains(name) && fs::rename(&sub, &aside).is_ok() {
                symlink(&outside, &sub).unwrap();
            }
        });
        let repository = opened(Arc::new(Watched { inner: stored.backend.clone(), hook }));
        let request = if seed % 2 == 0 { Request::default() } else { over(Overwrite::Always) };
        if seed % 2 == 1 {
            stored.place.write("target/sub/deep/file-1", "old");
        }
        let (outcome, _) = stored.restore(&repository, &Request { delete: seed % 2 == 1, ..request });
        assert!(outcome.is_err() || outcome.unwrap().problems > 0);
        assert_same(&before, &see(&stored.place.join("outside")));
        // And the next one replaces the link.
        let (again, _) = stored.restore(&stored.repository(), &over(Overwrite::Always));
        assert_eq!(again.unwrap().problems, 0);
        assert_same(&see(&stored.place.join("source")), &see(&target));
        assert_same(&before, &see(&stored.place.join("outside")));
    }
}

/// Notes the leaves that are read.
struct Noting<'a> {
    reader: BlobReader<'a>,
    leaves: Mutex<Vec<Id>>,
}

impl BlobSource for Noting<'_> {
    fn fetch(&self, kind: BlobKind, id: &Id) -> Result<Vec<u8>> {
        if kind == BlobKind::Leaf {
            self.leaves.lock().unwrap().push(*id);
        }
        self.reader.fetch(kind, id)
    }
}

#[test]
fn a_damaged_leaf_costs_what_lies_in_it() {
    let stored = Stored::new(|place| {
        for number in 0..1500u64 {
            let path = format!("source/{:02}/file-{number}-{}", number % 20, "n".repeat(60));
            place.write(path, Rng::new(number).bytes(40));
        }
    });
    let repository = stored.repository();
    let snapshot = repository.read_snapshot(&stored.snapshot).unwrap();
    let reader = BlobReader::new(&repository, &Collector::default()).unwrap();
    let noting = Noting { reader, leaves: Mutex::default() };
    let mut tree = TreeReader::new(&noting, snapshot.root());
    while tree.next_entry().unwrap().is_some() {}
    let leaves = noting.leaves.into_inner().unwrap();
    assert!(leaves.len() > 2, "{} leaves", leaves.len());
    let index = noting.reader.index().unwrap();
    let objects = stored.backend.snapshot();
    for (number, leaf) in leaves.iter().enumerate() {
        for place in index.places(BlobKind::Leaf, leaf).unwrap() {
            let name = ObjectName::new(ObjectKind::Pack, index.pack(&place).unwrap().id);
            let mut bytes = objects[&name].clone();
            bytes[place.offset as usize + 20] ^= 1;
            stored.backend.replace(&name, bytes);
        }
        drop(fs::remove_dir_all(stored.place.join("target")));
        let (summary, reporter) = stored.restore(&stored.repository(), &Request::default());
        let summary = summary.unwrap();
        assert_eq!(summary.problems, 1, "leaf {number}: {:?}", reporter.findings());
        let told = reporter.findings()[0].cause.clone();
        let lost: usize = told.split(' ').next().unwrap().parse().unwrap();
        let (source, target) = (see(&stored.place.join("source")), see(&stored.place.join("target")));
        let files =
            |seen: &BTreeMap<Vec<u8>, crate::site::Seen>| seen.values().filter(|one| one.kind == 'f').count();
        assert!(lost > 0 && files(&source) - files(&target) <= lost, "{told}");
        assert!(files(&target) >= 600usize.saturating_sub(lost));
        assert!(
            target
                .iter()
                .filter(|(_, one)| one.kind == 'f')
                .all(|(name, one)| source[name].content == one.content)
        );
        // Nobody knows what was in it, so nothing is deleted.
        let mine = stored.place.write("target/mine", "mine");
        let (summary, _) =
            stored.restore(&stored.repository(), &Request { delete: true, ..over(Overwrite::Always) });
        assert_eq!((summary.unwrap().problems, mine.exists()), (2, true));
        for (name, bytes) in &objects {
            stored.backend.replace(name, bytes.clone());
        }
    }
    println!("{} leaves damaged, one after the other", leaves.len());
}
