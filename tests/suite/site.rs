//! A repository with a full key file and a place for data, and a naive walk to compare restored folders with.
//!
//! Invariant: the walk uses nothing of the program under test, so that a mistake cannot hide in both.
#![allow(dead_code, reason = "each theme uses its part")]

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use serde_json::Value;

use crate::support::{Outcome, TempFolder, run, strongroom};

/// Longest that any one command may take.
pub(crate) const DEADLINE: u64 = 240;

/// A private folder with a repository `repo` and its full key `full.key`.
pub(crate) struct Site {
    pub(crate) folder: TempFolder,
}

impl Site {
    /// Makes the repository.
    pub(crate) fn new() -> Self {
        Self::within(TempFolder::new())
    }

    /// The same in memory, where there is a place for that: for many small runs.
    pub(crate) fn in_memory() -> Self {
        Self::within(TempFolder::in_memory())
    }

    /// The same in this folder.
    pub(crate) fn within(folder: TempFolder) -> Self {
        let mut init = strongroom(&folder);
        init.args(["-q", "-r", "repo", "init", "--new-key-file", "full.key"]);
        run(&mut init, DEADLINE).expect_code(0);
        Self { folder }
    }

    /// A path below the folder.
    pub(crate) fn join(&self, below: impl AsRef<Path>) -> PathBuf {
        self.folder.join(below)
    }

    /// The program on this repository with the full key, and arguments to come.
    pub(crate) fn command<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        self.command_with("full.key", arguments)
    }

    /// The same with another key file.
    pub(crate) fn command_with<I: AsRef<OsStr>>(
        &self,
        key: &str,
        arguments: impl IntoIterator<Item = I>,
    ) -> Command {
        let mut command = strongroom(&self.folder);
        command.args(["-r", "repo", "--key-file", key]).args(arguments);
        command
    }

    /// The program in a folder below, on this repository with the full key.
    pub(crate) fn command_at<I: AsRef<OsStr>>(
        &self,
        folder: &str,
        arguments: impl IntoIterator<Item = I>,
    ) -> Command {
        let mut command = strongroom(&self.folder);
        command.current_dir(self.join(folder)).arg("-r").arg(self.join("repo"));
        command.arg("--key-file").arg(self.join("full.key")).args(arguments);
        command
    }

    /// Runs the program with the full key; gives what it said once it ended with this code.
    #[track_caller]
    pub(crate) fn run<I: AsRef<OsStr>>(&self, code: i32, arguments: impl IntoIterator<Item = I>) -> Outcome {
        run(&mut self.command(arguments), DEADLINE).expect_code(code)
    }

    /// Runs the program with the full key, however it ends.
    #[track_caller]
    pub(crate) fn run_any<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Outcome {
        run(&mut self.command(arguments), DEADLINE)
    }

    /// The same with `--json`; every line must be an object, with its type first.
    #[track_caller]
    pub(crate) fn json<I: AsRef<OsStr>>(
        &self,
        code: i32,
        arguments: impl IntoIterator<Item = I>,
    ) -> Vec<Value> {
        let mut command = self.command(["--json"]);
        command.args(arguments);
        objects(&run(&mut command, DEADLINE).expect_code(code))
    }

    /// Backs up with `--json`; gives the summary.
    #[track_caller]
    pub(crate) fn backup<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Value {
        let mut command = self.command(["--json", "backup"]);
        command.args(arguments);
        last(&objects(&run(&mut command, DEADLINE).expect_code(0)))
    }

    /// Restores into a new folder and gives its path.
    #[track_caller]
    pub(crate) fn restore(&self, snapshot: impl AsRef<OsStr>, target: &str) -> PathBuf {
        let path = self.join(target);
        self.run(
            0,
            [OsStr::new("-q"), "restore".as_ref(), snapshot.as_ref(), "--target".as_ref(), path.as_os_str()],
        );
        path
    }

    /// The repository's objects and their sizes; leftovers of interrupted writes are not among them.
    pub(crate) fn objects(&self) -> BTreeMap<PathBuf, u64> {
        let mut found = BTreeMap::new();
        each_file(&self.join("repo"), &mut |path, metadata| {
            let name = path.file_name().unwrap_or_default().as_bytes();
            if !name.starts_with(b".") {
                found.insert(path.to_owned(), metadata.len());
            }
        });
        found
    }

    /// How many objects lie in one folder of the repository.
    pub(crate) fn count(&self, kind: &str) -> usize {
        let top = self.join("repo").join(kind);
        self.objects().keys().filter(|path| path.starts_with(&top)).count()
    }

    /// All bytes in the packs.
    pub(crate) fn pack_bytes(&self) -> u64 {
        let top = self.join("repo/packs");
        self.objects().iter().filter(|(path, _)| path.starts_with(&top)).map(|(_, size)| size).sum()
    }

    /// Asserts that a check finds nothing wrong, in all the bytes.
    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        self.run(0, ["check", "--read-data"]);
    }
}

/// The objects that the program printed, a line each, their type first.
#[track_caller]
pub(crate) fn objects(outcome: &Outcome) -> Vec<Value> {
    parse_objects(&outcome.stdout)
}

/// The objects of a command that may keep standard output for the contents of a file: `dump` does.
#[track_caller]
pub(crate) fn objects_of(command: &str, outcome: &Outcome) -> Vec<Value> {
    parse_objects(if command == "dump" { &outcome.stderr } else { &outcome.stdout })
}

#[track_caller]
fn parse_objects(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).expect("what programs read is UTF-8");
    let parse = |line: &str| {
        let object: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in this line: {line}"));
        assert!(object["message_type"].is_string(), "without a type: {line}");
        assert!(line.starts_with("{\"message_type\":"), "its type is not first: {line}");
        object
    };
    text.lines().map(parse).collect()
}

/// The last object, which is the summary.
#[track_caller]
pub(crate) fn last(objects: &[Value]) -> Value {
    let last = objects.last().expect("something was printed").clone();
    assert_eq!(last["message_type"], "summary", "{last}");
    last
}

/// A number in an object.
#[track_caller]
pub(crate) fn number(object: &Value, field: &str) -> u64 {
    object[field].as_u64().unwrap_or_else(|| panic!("no number {field} in {object}"))
}

/// Visits every file below a folder.
pub(crate) fn each_file(folder: &Path, visit: &mut impl FnMut(&Path, &fs::Metadata)) {
    for entry in fs::read_dir(folder).expect("list a folder") {
        let path = entry.expect("list a folder").path();
        let metadata = path.symlink_metadata().expect("stat");
        if metadata.is_dir() {
            each_file(&path, visit);
        } else {
            visit(&path, &metadata);
        }
    }
}

/// What a naive walk sees of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, i64),
    pub(crate) size: u64,
    /// BLAKE3 of a file's content, or where a link leads.
    pub(crate) content: Vec<u8>,
    pub(crate) device: u64,
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// The first name, in order, of the same thing.
    pub(crate) first_name: Vec<u8>,
}

/// Walks a folder; itself is the empty path.
pub(crate) fn see(folder: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut seen = BTreeMap::new();
    let mut names = HashMap::new();
    look(folder, b"", &mut names, &mut seen);
    seen
}

fn look(
    path: &Path,
    name: &[u8],
    names: &mut HashMap<(u64, u64), Vec<u8>>,
    seen: &mut BTreeMap<Vec<u8>, Seen>,
) {
    let metadata = path.symlink_metadata().expect("stat");
    let kind = metadata.file_type();
    let first_name = names.entry((metadata.dev(), metadata.ino())).or_insert_with(|| name.to_vec()).clone();
    let (letter, content) = if kind.is_dir() {
        ('d', Vec::new())
    } else if kind.is_file() {
        ('f', hash(path))
    } else if kind.is_symlink() {
        ('l', fs::read_link(path).expect("read a link").into_os_string().into_vec())
    } else if kind.is_fifo() {
        ('p', Vec::new())
    } else if kind.is_socket() {
        ('s', Vec::new())
    } else {
        (if kind.is_char_device() { 'c' } else { 'b' }, Vec::new())
    };
    let is_device = kind.is_char_device() || kind.is_block_device();
    let here = Seen {
        kind: letter,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        size: if kind.is_file() { metadata.len() } else { 0 },
        content,
        device: if is_device { metadata.rdev() } else { 0 },
        attributes: attributes(path),
        first_name,
    };
    seen.insert(name.to_vec(), here);
    if kind.is_dir() {
        let mut entries: Vec<OsString> =
            fs::read_dir(path).expect("list").map(|entry| entry.expect("list").file_name()).collect();
        entries.sort();
        for entry in entries {
            let slash: &[u8] = if name.is_empty() { b"" } else { b"/" };
            let below = [name, slash, entry.as_bytes()].concat();
            look(&path.join(&entry), &below, names, seen);
        }
    }
}

fn hash(path: &Path) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut fs::File::open(path).expect("open"), &mut hasher).expect("read");
    hasher.finalize().as_bytes().to_vec()
}

fn attributes(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap_or(0);
    let mut attributes: Vec<(Vec<u8>, Vec<u8>)> = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).expect("read an attribute");
            value.truncate(length);
            (name.to_vec(), value)
        })
        .collect();
    attributes.sort();
    attributes
}

/// Asserts that two walks saw the same; names what differs.
#[track_caller]
pub(crate) fn assert_same(expected: &BTreeMap<Vec<u8>, Seen>, actual: &BTreeMap<Vec<u8>, Seen>) {
    let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    for (name, seen) in expected {
        let other = actual.get(name).unwrap_or_else(|| panic!("{} is missing", shown(name)));
        assert_eq!(seen, other, "{}", shown(name));
    }
    for name in actual.keys() {
        assert!(expected.contains_key(name), "{} was made up", shown(name));
    }
}

/// Sets the time of change of a thing itself, not of where it leads.
pub(crate) fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("set a time");
}

/// Waits until the times that the system gives now are old enough for a backup to trust them.
pub(crate) fn let_times_settle() {
    std::thread::sleep(Duration::from_millis(3500));
}
