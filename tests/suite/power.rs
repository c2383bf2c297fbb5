//! The power fails at any moment of a real run: what is on the disk then is a repository that has lost nothing.
//!
//! The program runs once under strace. From the log of its calls this makes what the disk holds after each of them, and
//! opens, checks, restores and goes on with that.
//!
//! What is modelled: the bytes of a file are on the disk once it was flushed; a name, or that a name is gone, once its
//! folder was flushed after that. What was not flushed may be there or not: nothing of it, all of it, each change
//! alone, each change alone lacking, some at random; and a file that is there without having been flushed may be empty,
//! half there or whole. A flush counts from its end, and covers what had ended when it began.
//!
//! What is not: a disk that loses what it said it had, one that tears what was flushed, and file systems on which a flush
//! of a folder does less than that.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use strongroom::backend::{LocalBackend, ObjectKind};
use strongroom::id::Id;
use strongroom::repository::Repository;
use strongroom::repository::key_file::parse_key_file;
use strongroom::repository::keys::Credential;

use crate::site::{Site, each_file};
use crate::stores::small::{
    Folders, assert_sound, back_up, forget, prune, restored, restored_from, thorough, unlock,
};
use crate::support::{Rng, TempFolder};
use crate::traced::{Call, can_trace, traced};

/// What is looked at: whatever names, removes, writes or flushes.
const CALLS: &str = "openat,write,pwrite64,writev,ftruncate,fsync,fdatasync,syncfs,sync,rename,renameat,renameat2,link,\
                     linkat,unlink,unlinkat,mkdir,mkdirat,rmdir";

/// Images at work at once.
const WORKERS: usize = 2;

/// Files below the top of a repository, by their paths.
type Image = BTreeMap<String, Vec<u8>>;

/// A change of the names in a folder.
#[derive(Clone, Debug)]
enum Change {
    Named { name: String, file: usize },
    Renamed { from: String, to: String, file: usize },
    Removed { name: String },
}

/// A change, and the line of the trace in which its call ended.
#[derive(Clone, Debug)]
struct Pending {
    change: Change,
    ended: usize,
}

#[derive(Clone, Debug, Default)]
struct Folder {
    /// The names that are on the disk.
    durable: BTreeMap<String, usize>,
    /// What was done since, in order.
    pending: Vec<Pending>,
}

impl Folder {
    /// The names that a program sees.
    fn live(&self) -> BTreeMap<String, usize> {
        let mut names = self.durable.clone();
        self.pending.iter().for_each(|pending| apply(&mut names, &pending.change));
        names
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &Change) {
    match change {
        Change::Named { name, file } => {
            names.insert(name.clone(), *file);
        }
        Change::Renamed { from, to, file } => {
            names.remove(from);
            names.insert(to.clone(), *file);
        }
        Change::Removed { name } => {
            names.remove(name);
        }
    }
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    /// What of it is on the disk; none before its first flush.
    durable: Option<Vec<u8>>,
}

/// What survives of that which was not flushed.
#[derive(Clone, Debug)]
enum Survives {
    Nothing,
    All,
    Only(usize),
    AllBut(usize),
    Some(BTreeSet<usize>),
}

/// How much is there of a file that has a name and was not flushed.
#[derive(Clone, Copy, Debug)]
enum Unflushed {
    Empty,
    Half,
    Whole,
}

/// A disk, as the calls of a program leave it.
struct Disk {
    top: String,
    folders: BTreeMap<String, Folder>,
    files: Vec<File>,
    /// What flushes that have begun will have brought to the disk when they end.
    flushing: HashMap<usize, (String, Vec<u8>)>,
}

impl Disk {
    /// What lies in a repository now, all of it on the disk.
    fn new(top: &Path, image: &Image) -> Self {
        let mut disk = Self {
            top: format!("{}/", top.display()),
            folders: BTreeMap::new(),
            files: Vec::new(),
            flushing: HashMap::new(),
        };
        for (path, bytes) in image {
            let (folder, name) = split(path);
            let file = disk.files.len();
            disk.files.push(File { bytes: bytes.clone(), durable: Some(bytes.clone()) });
            disk.folders.entry(folder).or_default().durable.insert(name, file);
        }
        disk
    }

    /// A path below the top; none where it is somewhere else.
    fn below(&self, path: &str) -> Option<String> {
        if format!("{path}/") == self.top {
            return Some(String::new());
        }
        path.strip_prefix(&self.top).map(str::to_owned)
    }

    fn file_at(&self, path: &str) -> Option<usize> {
        let (folder, name) = split(path);
        self.folders.get(&folder)?.live().get(&name).copied()
    }

    fn change(&mut self, folder: String, change: Change, ended: usize) {
        self.folders.entry(folder).or_default().pending.push(Pending { change, ended });
    }

    /// A call begins. From here on it may have happened.
    fn begins(&mut self, number: usize, call: &Call) {
        let Some(handle) = self.below(&text_of(call.handle())) else { return };
        let is_write = call.name.contains("write");
        let names: Vec<String> = call.names().into_iter().filter(|_| !is_write).map(text_of).collect();
        match (call.name.as_str(), names.as_slice()) {
            ("openat", [name]) if call.text.contains("O_CREAT") => {
                assert!(call.text.contains("O_EXCL") && !name.contains('/'), "{}", call.text);
                let file = self.files.len();
                self.files.push(File::default());
                self.change(handle, Change::Named { name: name.clone(), file }, call.left);
            }
            ("openat", _) => {}
            ("write" | "pwrite64", _) => {
                assert_eq!(call.name, "write", "in order only: {}", call.name);
                let bytes = bytes_of(call.names()[0]);
                let file = self.file_at(&handle).expect("what is written to has a name");
                self.files[file].bytes.extend(bytes);
            }
            ("renameat2" | "renameat" | "linkat", [from, to]) => {
                assert_eq!(call.name, "renameat2", "not on this file system");
                let file = self.file_at(&join(&handle, from)).expect("what is renamed has a name");
                let change = Change::Renamed { from: from.clone(), to: to.clone(), file };
                self.change(handle, change, call.left);
            }
            ("unlinkat", [name]) => {
                self.change(handle, Change::Removed { name: name.clone() }, call.left);
            }
            ("fsync" | "fdatasync", _) => {
                let bytes = self.file_at(&handle).map(|file| self.files[file].bytes.clone());
                self.flushing.insert(number, (handle, bytes.unwrap_or_default()));
            }
            _ => panic!("this call is not modelled: {}", call.text),
        }
    }

    /// A call has ended.
    fn ends(&mut self, number: usize, call: &Call) {
        let Some((path, bytes)) = self.flushing.remove(&number) else { return };
        if let Some(file) = self.file_at(&path) {
            self.files[file].durable = Some(bytes);
            return;
        }
        let Some(folder) = self.folders.get_mut(&path) else { return };
        let Folder { durable, pending } = folder;
        pending.retain(|pending| {
            let covered = pending.ended < call.entered;
            if covered {
                apply(durable, &pending.change);
            }
            !covered
        });
    }

    /// How many changes are not on the disk.
    fn pending(&self) -> usize {
        self.folders.values().map(|folder| folder.pending.len()).sum()
    }

    /// What the disk holds if the power fails now.
    fn image(&self, survives: &Survives, unflushed: Unflushed) -> Image {
        let mut image = Image::new();
        let mut number = 0;
        for (path, folder) in &self.folders {
            let mut names = folder.durable.clone();
            for pending in &folder.pending {
                let stays = match survives {
                    Survives::Nothing => false,
                    Survives::All => true,
                    Survives::Only(only) => number == *only,
                    Survives::AllBut(but) => number != *but,
                    Survives::Some(some) => some.contains(&number),
                };
                if stays {
                    apply(&mut names, &pending.change);
                }
                number += 1;
            }
            for (name, file) in names {
                let File { bytes, durable } = &self.files[file];
                let bytes = match (durable, unflushed) {
                    (Some(durable), _) if durable == bytes => bytes,
                    (_, Unflushed::Whole) => bytes,
                    (_, Unflushed::Half) => &bytes[..bytes.len() / 2],
                    (_, Unflushed::Empty) => &[][..],
                };
                image.insert(join(path, &name), bytes.to_vec());
            }
        }
        image
    }

    /// Everything that the disk may hold now.
    fn images(&self, rng: &mut Rng) -> BTreeSet<Image> {
        let pending = self.pending();
        let mut survivors = vec![Survives::Nothing, Survives::All];
        survivors.extend((0..pending).flat_map(|one| [Survives::Only(one), Survives::AllBut(one)]));
        for _ in 0..pending.saturating_sub(2).min(6) {
            survivors.push(Survives::Some((0..pending).filter(|_| rng.below(2) == 0).collect()));
        }
        let kinds = [Unflushed::Empty, Unflushed::Half, Unflushed::Whole];
        survivors.iter().flat_map(|survives| kinds.map(|kind| self.image(survives, kind))).collect()
    }
}

fn split(path: &str) -> (String, String) {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    (folder.to_owned(), name.to_owned())
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// What strace wrote in hexadecimal digits.
fn bytes_of(text: &str) -> Vec<u8> {
    let digits =
        |pair: &str| u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("not in digits: {text:.80}"));
    text.split("\\x").skip(1).map(digits).collect()
}

fn text_of(text: &str) -> String {
    String::from_utf8(bytes_of(text)).expect("the paths here are text")
}

fn image_of(top: &Path) -> Image {
    let mut image = Image::new();
    each_file(top, &mut |path, _| {
        let below = path.strip_prefix(top).unwrap();
        image.insert(
            String::from_utf8(below.as_os_str().as_bytes().to_vec()).unwrap(),
            fs::read(path).unwrap(),
        );
    });
    image
}

/// A state of the disk, and the snapshots that must be in it.
struct Case {
    image: Image,
    snapshots: Vec<(Id, usize)>,
    after: String,
}

/// A repository with a key file, some snapshots, and a command whose power fails.
struct Stage {
    site: Site,
    folders: Folders,
    snapshots: Vec<(Id, usize)>,
}

impl Stage {
    fn new() -> Self {
        let (site, folders) = (Site::new(), Folders::new(6));
        let mut stage = Self { site, folders, snapshots: Vec::new() };
        for folder in 0..3 {
            stage.back_up(folder);
        }
        stage
    }

    fn back_up(&mut self, folder: usize) {
        let source = self.folders.path(folder);
        let summary = self.site.backup([source.as_os_str()]);
        self.snapshots.push((snapshot_of(&summary), folder));
    }

    /// The repository, opened by the library.
    fn open(&self, folder: &Path) -> Repository {
        let backend = LocalBackend::open(folder).unwrap();
        let secret = parse_key_file(&fs::read_to_string(self.site.join("full.key")).unwrap()).unwrap();
        Repository::open(Arc::new(backend), &Credential::KeyFile(secret)).unwrap()
    }

    /// Every state that the disk may be in while a command runs. Where it stores a snapshot of a folder, that must be
    /// there from the moment on at which the program has said so.
    /// With `deaf` flushes do nothing, as on a disk that lies.
    fn cases(&self, arguments: &[&str], folder: Option<usize>, deaf: bool) -> Vec<Case> {
        let top = self.site.join("repo");
        let before = image_of(&top);
        let calls = traced(&self.site, &["-xx", "-s", "16777216"], CALLS, arguments);
        let mut disk = Disk::new(&top, &before);
        let mut events: Vec<(usize, bool, usize)> = Vec::new();
        for (number, call) in calls.iter().enumerate().filter(|(_, call)| call.succeeded()) {
            events.extend([(call.entered, false, number), (call.left, true, number)]);
        }
        events.sort_unstable();
        let (mut rng, mut snapshots, mut known) = (Rng::new(9), self.snapshots.clone(), BTreeSet::new());
        let mut cases = Vec::new();
        for (line, ended, number) in events {
            let call = &calls[number];
            if deaf && call.name == "fsync" {
                continue;
            }
            if !ended {
                disk.begins(number, call);
            } else {
                disk.ends(number, call);
                if let Some(folder) = folder.filter(|_| call.text.starts_with("write(1<")) {
                    let said = String::from_utf8(bytes_of(call.names()[0])).unwrap();
                    let lines =
                        said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
                    let summaries = lines.filter(|line| line["message_type"] == "summary");
                    snapshots.extend(summaries.map(|summary| (snapshot_of(&summary), folder)));
                }
            }
            for image in disk.images(&mut rng) {
                if known.insert((snapshots.len(), digest(&image))) {
                    let after = format!("line {line} of the trace: {:.100}", call.text);
                    cases.push(Case { image, snapshots: snapshots.clone(), after });
                }
            }
        }
        // The model is right where it ends: what it says is there is what is there.
        assert_eq!(disk.image(&Survives::All, Unflushed::Whole), image_of(&top), "the model is the disk");
        assert_eq!(disk.pending() == 0, !deaf, "nothing is left unflushed in the end");
        assert_eq!(snapshots.len(), self.snapshots.len() + usize::from(folder.is_some()));
        cases
    }

    /// Asserts that one state of the disk is a repository that has lost nothing, and that work goes on with it.
    fn hold(&self, case: &Case) {
        let place = TempFolder::in_memory();
        for kind in ObjectKind::ALL {
            fs::create_dir_all(place.join("repo").join(kind.folder())).unwrap();
        }
        for (path, bytes) in &case.image {
            place.write(Path::new("repo").join(path), bytes);
        }
        let repository = self.open(&place.join("repo"));
        let hold = |snapshots: &[(Id, usize)]| {
            for (id, folder) in snapshots {
                // The program keeps paths as they are.
                let place = self.folders.path(*folder);
                let place = place.as_os_str().as_bytes().strip_prefix(b"/").unwrap();
                let outcome = restored_from(&repository, id, place, &self.folders);
                assert_eq!(outcome, Ok(*folder), "snapshots/{}", id.short());
            }
            assert_sound(&repository);
        };
        hold(&case.snapshots);
        let (next, _) = back_up(&repository, None, "host", &self.folders.path(5));
        let next = next.expect("the next backup").snapshot.expect("a snapshot");
        let goes_on = || assert_eq!(restored(&repository, &next, &self.folders), Ok(5), "the next backup");
        goes_on();
        hold(&case.snapshots);
        unlock(&repository).expect("what is left is unlocked");
        let (pruned, _) = prune(&repository, None, &thorough());
        assert_eq!(pruned.expect("the next prune").open_sessions, []);
        goes_on();
        hold(&case.snapshots);
    }

    /// Cuts the power of a command at every moment.
    fn cut(&self, what: &str, arguments: &[&str], folder: Option<usize>) {
        let cases = self.cases(arguments, folder, false);
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let told = Telling(&case.after);
                        self.hold(case);
                        drop(told);
                    }
                });
            }
        });
        println!("{what}: the power failed in {} ways", cases.len());
        assert!(cases.len() > 20, "there are more ways than that");
    }
}

fn snapshot_of(summary: &serde_json::Value) -> Id {
    Id::from_hex(summary["snapshot_id"].as_str().expect("a snapshot")).expect("an id")
}

fn digest(image: &Image) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for (path, bytes) in image {
        hasher.update(blake3::hash(path.as_bytes()).as_bytes()).update(blake3::hash(bytes).as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Tells after what the power failed, should a case fail.
struct Telling<'a>(&'a str);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the power failed after {}", self.0);
        }
    }
}

#[test]
fn the_power_fails_while_a_backup_runs() {
    if !can_trace("what a power failure leaves of a backup") {
        return;
    }
    let stage = Stage::new();
    let source = stage.folders.path(3);
    let arguments = ["--json", "backup", source.to_str().unwrap()];
    stage.cut("backup", &arguments, Some(3));
}

#[test]
fn the_power_fails_while_a_prune_runs() {
    if !can_trace("what a power failure leaves of a prune") {
        return;
    }
    let mut stage = Stage::new();
    let forgotten: Vec<Id> = stage.snapshots.drain(..).map(|(id, _)| id).collect();
    forget(&stage.open(&stage.site.join("repo")), &forgotten).unwrap();
    stage.back_up(3);
    stage.back_up(4);
    stage.cut("prune", &["prune", "--max-unused", "0"], None);
    // All of it happened, or less than a prune was looked at.
    assert_eq!(stage.site.count("gc"), 0, "the record went last");
}

#[test]
fn a_disk_that_does_not_flush_is_found_to_lose_something() {
    if !can_trace("what a disk loses that does not flush") {
        return;
    }
    let stage = Stage::new();
    let source = stage.folders.path(3);
    let cases = stage.cases(&["--json", "backup", source.to_str().unwrap()], Some(3), true);
    let lost = cases.iter().filter(|case| {
        let missing = |(id, _): &(Id, usize)| !case.image.contains_key(&format!("snapshots/{}", id.to_hex()));
        case.snapshots.iter().any(missing)
    });
    assert!(lost.count() > 0, "a snapshot that was reported is not on the disk");
}
