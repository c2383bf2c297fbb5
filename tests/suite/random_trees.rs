//! Random folders of everything that a file system holds, changed at random between two backups, and held against a
//! naive walk: both nights come back as they were, and what did not change is neither read nor stored again.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, Uid, XattrFlags, fallocate, lsetxattr};
use strongroom::chunker::gear::Sizes;
use strongroom::format::blob::BlobKind;
use strongroom::format::node::{Node, NodeKind, Timestamp};
use strongroom::id::Id;
use strongroom::operation::backup::Summary;
use strongroom::report::Collector;
use strongroom::repository::Repository;
use strongroom::repository::cache::Cache;
use strongroom::repository::content::visit_chunks;
use strongroom::repository::reader::BlobReader;
use strongroom::repository::tree::{Root, TreeBuilder, TreeReader};
use strongroom::repository::writer::BlobSink;

use crate::seeds::{SMALL_CHUNKS, back_up, cases, hold, hold_in_batches, repository, restore};
use crate::site::{Seen, assert_same, let_times_settle, see, set_mtime};
use crate::spec::naive_cut;
use crate::support::{Rng, TempFolder, is_root, untested};

/// What this machine lets a test make.
#[derive(Clone, Copy, Debug)]
struct Able {
    root: bool,
    attributes: bool,
    devices: bool,
}

impl Able {
    fn find() -> Self {
        let place = TempFolder::in_memory();
        let file = place.write("file", "x");
        let attributes = lsetxattr(&file, "user.a", b"b", XattrFlags::empty()).is_ok();
        if !attributes {
            untested("extended attributes in random folders");
        }
        let root = is_root("owners and devices in random folders");
        let devices = root && device(&place.join("device")).is_ok();
        if root && !devices {
            untested("devices in random folders (may not make any)");
        }
        Self { root, attributes, devices }
    }
}

fn device(path: &Path) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(0o604);
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, mode, rustix::fs::makedev(300, 70_000))
}

/// A folder that is made and changed at random: the same seed does the same things.
struct Gardener<'a> {
    top: &'a Path,
    rng: Rng,
    able: Able,
}

impl Gardener<'_> {
    /// All below the top, in the order of their bytes, for a listing has none of its own.
    fn all(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let (mut folders, mut others) = (vec![self.top.to_owned()], Vec::new());
        let mut at = 0;
        while let Some(folder) = folders.get(at).cloned() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let list = if path.symlink_metadata().unwrap().is_dir() { &mut folders } else { &mut others };
                list.push(path);
            }
            at += 1;
        }
        folders[1..].sort();
        others.sort();
        (folders, others)
    }

    /// A name of bytes that are awkward for terminals, shells, UTF-8 and the order of paths.
    fn name(&mut self) -> Vec<u8> {
        loop {
            let longest = if self.rng.below(30) == 0 { 200 } else { 4 };
            let length = 1 + self.rng.below(longest);
            let bytes = b"aab-..0\x01\xff\xc3\xa9 \n*\\~";
            let name: Vec<u8> = (0..length).map(|_| *self.rng.pick(bytes)).collect();
            if name != b"." && name != b".." {
                return name;
            }
        }
    }

    fn content(&mut self) -> Vec<u8> {
        match self.rng.below(8) {
            0 => Vec::new(),
            1..=3 => {
                let length = self.rng.below(200) as usize;
                self.rng.bytes(length)
            }
            4 => vec![b'z'; self.rng.below(5000) as usize],
            5 => {
                // The same stretches in many files.
                let stretch = Rng::new(self.rng.below(3)).bytes(6000);
                stretch[self.rng.below(3000) as usize..].to_vec()
            }
            6 => {
                let length = self.rng.below(4000) as usize;
                self.rng.bytes(length)
            }
            // More chunks than a node names itself.
            _ => {
                let length = self.rng.below(40_000) as usize;
                self.rng.bytes(length)
            }
        }
    }

    /// Makes something new at a path where nothing is.
    fn make(&mut self, path: &Path) {
        match self.rng.below(16) {
            0..=5 => fs::write(path, self.content()).unwrap(),
            6..=8 => fs::create_dir(path).unwrap(),
            9 | 10 => {
                let target = self.name();
                symlink(OsStr::from_bytes(&target), path).unwrap();
            }
            11 => rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap(),
            // The name of a socket in a call has room for a hundred bytes.
            12 if path.as_os_str().len() < 100 => drop(UnixListener::bind(path).unwrap()),
            13 if self.able.devices => device(path).unwrap(),
            _ => {
                let file = File::create_new(path).unwrap();
                file.set_len(self.rng.below(600_000)).unwrap();
                for _ in 0..self.rng.below(3) {
                    let (bytes, offset) = (self.content(), self.rng.below(500_000));
                    file.write_all_at(&bytes, offset).unwrap();
                }
            }
        }
    }

    /// One thing that a person or a program might do.
    fn act(&mut self) {
        let (folders, others) = self.all();
        let folder = self.rng.pick(&folders).clone();
        let name = self.name();
        let new = folder.join(OsStr::from_bytes(&name));
        let is_free = new.symlink_metadata().is_err();
        let other = (!others.is_empty()).then(|| self.rng.pick(&others).clone());
        let file = other.clone().filter(|path| path.symlink_metadata().unwrap().is_file());
        match (self.rng.below(24), other, file) {
            (0..=5, ..) if is_free => self.make(&new),
            (6, Some(other), _) if is_free => fs::hard_link(other, new).unwrap(),
            (7, Some(other), _) if is_free => fs::rename(other, new).unwrap(),
            (8, Some(other), _) => fs::remove_file(other).unwrap(),
            (9, ..) if is_free => {
                let moved = self.rng.pick(&folders).clone();
                if moved != self.top && !new.starts_with(&moved) {
                    fs::rename(moved, new).unwrap();
                }
            }
            (10, ..) if folder != self.top && self.rng.below(3) == 0 => fs::remove_dir_all(folder).unwrap(),
            // Something of another kind, or of the same, under an old name.
            (11 | 12, Some(other), _) => {
                fs::remove_file(&other).unwrap();
                self.make(&other);
            }
            (13, _, Some(file)) => {
                let opened = File::options().write(true).open(file).unwrap();
                let end = opened.metadata().unwrap().len();
                let (bytes, offset) = (self.content(), self.rng.below(end + 100));
                opened.write_all_at(&bytes, offset).unwrap();
            }
            (14, _, Some(file)) => {
                let bytes = self.content();
                File::options().append(true).open(file).unwrap().write_all(&bytes).unwrap();
            }
            (15, _, Some(file)) => {
                File::options().write(true).open(file).unwrap().set_len(self.rng.below(300_000)).unwrap();
            }
            (16, _, Some(file)) => self.punch(&file),
            (17 | 18, Some(other), _) => self.set_time(&other),
            (19, Some(other), _) => self.set_mode(&other),
            (20, Some(other), _) => self.set_attribute(&other),
            (21, Some(other), _) if self.able.root => self.set_owner(&other),
            (22, ..) => match self.rng.below(4) {
                0 => self.set_time(&folder),
                1 => self.set_mode(&folder),
                2 => self.set_attribute(&folder),
                _ if self.able.root => self.set_owner(&folder),
                _ => {}
            },
            _ => {}
        }
    }

    fn punch(&mut self, path: &Path) {
        let file = File::options().write(true).open(path).unwrap();
        let (offset, length) = (self.rng.below(200_000), 1 + self.rng.below(200_000));
        // Not every file system makes holes; then the bytes stay.
        fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, length).ok();
    }

    fn set_time(&mut self, path: &Path) {
        let seconds = self.rng.below(4_000_000_000).cast_signed() - 1_000_000_000;
        set_mtime(path, seconds, self.rng.below(1_000_000_000).cast_signed());
    }

    fn set_mode(&mut self, path: &Path) {
        let kind = path.symlink_metadata().unwrap().file_type();
        if !kind.is_symlink() {
            // Without root, what the owner may not read cannot be backed up.
            let least = if self.able.root { 0 } else { 0o700 };
            let mode = least | self.rng.below(0o10000) as u32;
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
    }

    fn set_attribute(&mut self, path: &Path) {
        let kind = path.symlink_metadata().unwrap().file_type();
        if self.able.attributes && (kind.is_file() || kind.is_dir()) {
            let name = format!("user.{}", self.rng.below(3));
            let length = self.rng.below(100) as usize;
            // A folder may hold as much of them as its file system has room for.
            lsetxattr(path, name, &self.rng.bytes(length), XattrFlags::empty()).ok();
        }
    }

    fn set_owner(&mut self, path: &Path) {
        let mut number = || self.rng.below(70_000) as u32;
        let (owner, group) = (Some(Uid::from_raw(number())), Some(Gid::from_raw(number())));
        rustix::fs::chownat(CWD, path, owner, group, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// What a backup goes by when it asks whether a file changed, and what it keeps of it beside.
type Stamp = (u32, u32, u32, (i64, i64), (i64, i64), u64, u64, u64);

/// Of every regular file, by its path below the top.
fn stamps(top: &Path, seen: &BTreeMap<Vec<u8>, Seen>) -> BTreeMap<Vec<u8>, Stamp> {
    let files = seen.iter().filter(|(_, seen)| seen.kind == 'f');
    files
        .map(|(name, _)| {
            let stat = top.join(OsStr::from_bytes(name)).symlink_metadata().unwrap();
            let times = ((stat.mtime(), stat.mtime_nsec()), (stat.ctime(), stat.ctime_nsec()));
            let stamp =
                (stat.mode(), stat.uid(), stat.gid(), times.0, times.1, stat.len(), stat.ino(), stat.nlink());
            (name.clone(), stamp)
        })
        .collect()
}

struct Case {
    rng: Rng,
    place: TempFolder,
    first: BTreeMap<Vec<u8>, Seen>,
    stamps: BTreeMap<Vec<u8>, Stamp>,
}

fn prepare(seed: u64, able: Able) -> Case {
    let place = TempFolder::in_memory();
    let data = place.join("data");
    fs::create_dir(&data).unwrap();
    let mut gardener = Gardener { top: &data, rng: Rng::new(0x7265_6573 ^ seed << 20), able };
    for _ in 0..gardener.rng.below(60) {
        gardener.act();
    }
    let rng = gardener.rng;
    let first = see(&data);
    let stamps = stamps(&data, &first);
    Case { rng, place, first, stamps }
}

fn counted(summary: &Summary) -> [u64; 3] {
    let counts = &summary.statistics;
    [counts.files_new, counts.files_changed, counts.files_unmodified]
}

fn check(case: Case, able: Able) {
    let Case { rng, place, first, stamps: before } = case;
    let (data, temporary) = (place.join("data"), place.join("temporary"));
    fs::create_dir(&temporary).unwrap();
    let repository = repository(SMALL_CHUNKS);
    let mut gardener = Gardener { top: &data, rng, able };
    let with_cache = gardener.rng.below(2) == 0;
    let cache = with_cache.then(|| Cache::open(&place.join("cache"), repository.id()).unwrap());
    let back_up = |host| back_up(&repository, cache.as_ref(), host, &data, &temporary);

    let one = back_up("one");
    assert_eq!(counted(&one), [before.len() as u64, 0, 0]);

    for _ in 0..gardener.rng.below(12) {
        gardener.act();
    }
    let second = see(&data);
    let after = stamps(&data, &second);
    let two = back_up("one");
    let new = after.keys().filter(|name| !before.contains_key(*name)).count() as u64;
    let kept = after.iter().filter(|(name, stamp)| before.get(*name) == Some(stamp)).count() as u64;
    // What was no file and now is one counts as changed: something stood at its place.
    let swapped =
        after.keys().filter(|name| !before.contains_key(*name) && first.contains_key(*name)).count();
    let changed = after.len() as u64 - new - kept + swapped as u64;
    assert_eq!(counted(&two), [new - swapped as u64, changed, kept]);

    // The tree says what is there, and nothing of how it was found: without a change, and without a previous
    // snapshot, it is the same, and nothing is stored.
    for host in ["one", "another"] {
        let again = back_up(host);
        assert_eq!(again.root, two.root, "{host}");
        assert_eq!((again.statistics.data_blobs, again.statistics.tree_blobs), (0, 0), "{host}");
    }

    restore(&repository, &one, &place.join("restored-1"));
    assert_same(&first, &see(&place.join("restored-1")));
    restore(&repository, &two, &place.join("restored-2"));
    assert_same(&second, &see(&place.join("restored-2")));
    assert_cut_as_the_text_says(&repository, &two, &data);
}

/// Holds the chunks of every file against those that the text says.
fn assert_cut_as_the_text_says(repository: &Repository, of: &Summary, data: &Path) {
    let reader = BlobReader::new(repository, &Collector::default()).unwrap();
    let index = reader.index().unwrap();
    let sizes = Sizes {
        minimum: SMALL_CHUNKS.minimum as usize,
        average: SMALL_CHUNKS.average as usize,
        maximum: SMALL_CHUNKS.maximum as usize,
    };
    let table = strongroom::crypto::derive::table(
        &repository.keyring().key(strongroom::crypto::derive::Purpose::GearTable),
    );
    let mut tree = TreeReader::new(&reader, of.root);
    while let Some(entry) = tree.next_entry().unwrap() {
        let Some(content) = &entry.node.content else { continue };
        let mut bytes = fs::read(data.join(OsStr::from_bytes(&entry.path))).unwrap();
        for hole in entry.node.holes.iter().flatten().rev() {
            bytes.drain(hole.offset as usize..(hole.offset + hole.length) as usize);
        }
        let mut rest = bytes.as_slice();
        visit_chunks(&reader, content, &mut |_, _| Ok(()), &mut |id| {
            let (chunk, behind) = rest.split_at(naive_cut(rest, sizes, &table));
            assert_eq!(*id, repository.keyring().blob_id(BlobKind::Chunk, chunk));
            assert_eq!(index.plain_length(BlobKind::Chunk, id).unwrap(), Some(chunk.len() as u32));
            rest = behind;
            Ok(chunk.len() as u64)
        })
        .unwrap();
        assert!(rest.is_empty());
    }
}

#[test]
fn random_folders_come_back_and_what_did_not_change_is_not_read_again() {
    let able = Able::find();
    hold_in_batches(cases(), 125, |seed| prepare(seed, able), let_times_settle, |_, case| check(case, able));
}

/// Blobs that nobody wants: only their ids matter.
struct Ids<'a>(&'a Repository);

impl BlobSink for Ids<'_> {
    fn store(&self, kind: BlobKind, plain: &[u8]) -> strongroom::error::Result<Id> {
        Ok(self.0.keyring().blob_id(kind, plain))
    }
}

/// A snapshot's paths and nodes without what every new file has of its own, and the top of the tree over them.
fn without_origin(repository: &Repository, root: Root) -> (Vec<(Vec<u8>, Node)>, Root) {
    let reader = BlobReader::new(repository, &Collector::default()).unwrap();
    let mut tree = TreeReader::new(&reader, root);
    let sink = Ids(repository);
    let mut builder = TreeBuilder::new(&sink, repository.keyring());
    let mut nodes = Vec::new();
    while let Some(entry) = tree.next_entry().unwrap() {
        let mut node = entry.node;
        (node.inode, node.device, node.ctime) = (0, 0, Timestamp::default());
        if node.kind == NodeKind::Directory {
            // How many links a folder has is the file system's affair.
            node.links = 1;
        }
        builder.push(&entry.path, &node).unwrap();
        nodes.push((entry.path, node));
    }
    (nodes, builder.finish().unwrap())
}

#[test]
fn the_order_in_which_files_were_made_leaves_no_trace() {
    hold(cases(), |seed| {
        let mut rng = Rng::new(0x6f72_6465 ^ seed << 20);
        let repository = repository(SMALL_CHUNKS);
        let place = TempFolder::in_memory();
        let mut files: Vec<(String, Vec<u8>)> = (0..rng.below(40))
            .map(|number| {
                let folders = ["", "a/", "a.b/", "a-b/", "a/c/"];
                let length = rng.below(3000) as usize;
                (format!("{}{}-{number}", rng.pick(&folders), rng.below(100)), rng.bytes(length))
            })
            .collect();
        let mut tops = Vec::new();
        for round in 0..2 {
            let data = place.join(format!("data-{round}"));
            fs::create_dir(&data).unwrap();
            for (path, bytes) in &files {
                let path = data.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, bytes).unwrap();
                // The second time some are snapshotted half-way, so that they come to the tree on different days.
                if round == 1 && rng.below(20) == 0 {
                    back_up(&repository, None, "host", &data, place.path());
                }
            }
            for path in see(&data).into_keys().rev() {
                set_mtime(&data.join(OsStr::from_bytes(&path)), 1_700_000_000, 1);
            }
            let summary = back_up(&repository, None, "host", &data, place.path());
            tops.push(without_origin(&repository, summary.root));
            for last in (1..files.len()).rev() {
                files.swap(last, rng.below(last as u64 + 1) as usize);
            }
        }
        assert_eq!(tops[0].0, tops[1].0);
        assert_eq!(tops[0].1, tops[1].1);
    });
}
