//! The second reader, `format-spec/reader/`, written from the specification alone, on repositories that the program
//! makes: it lists and restores the same.
//!
//! Where the code changes what lies in a repository and the text does not, this fails. `tests/run` gets the Python
//! packages that the reader needs.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use rustix::fs::{SeekFrom, seek};
use serde_json::Value;

use crate::folders::zoo;
use crate::site::{DEADLINE, Site, assert_same, number, see};
use crate::support::{Outcome, Rng, run, untested};

/// A Python with the reader's packages.
struct Reader {
    python: PathBuf,
    script: PathBuf,
}

impl Reader {
    /// None, and recorded as untested, where its packages are not there.
    #[track_caller]
    fn find() -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec/reader");
        let executable = Path::new(env!("CARGO_BIN_EXE_strongroom"));
        let packages = executable.ancestors().nth(2).expect("a target folder").join("second-reader");
        // The list is copied there once everything on it is installed.
        let wanted = fs::read(folder.join("requirements.txt")).expect("the list of its packages");
        if fs::read(packages.join("requirements.txt")).is_ok_and(|installed| installed == wanted) {
            let script = folder.join("strongroom_reader.py");
            return Some(Self { python: packages.join("bin/python"), script });
        }
        untested("the second reader (its Python packages are not installed; tests/run does it where it can)");
        None
    }

    /// Runs it on the site's repository.
    #[track_caller]
    fn run(&self, site: &Site, code: i32, credential: [&str; 2], arguments: &[&str]) -> Outcome {
        let mut command = Command::new(&self.python);
        command.env_clear().current_dir(site.folder.path()).env("LC_ALL", "C.UTF-8");
        command.arg(&self.script).args(credential).arg("repo").args(arguments);
        let outcome = run(&mut command, DEADLINE).expect_code(code);
        assert!(code != 0 || outcome.stderr.is_empty(), "{}", outcome.err());
        outcome
    }

    /// Runs it, and gives the objects that it printed.
    #[track_caller]
    fn json(&self, site: &Site, credential: [&str; 2], arguments: &[&str]) -> Vec<Value> {
        let text = self.run(site, 0, credential, arguments).out();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

const FULL: [&str; 2] = ["--key-file", "full.key"];
const MAINTAIN: [&str; 2] = ["--key-file", "maintain.key"];
const BACKUP: [&str; 2] = ["--key-file", "backup.key"];
const PASSWORD: [&str; 2] = ["--password-file", "password"];

/// A repository with a key of each role, and two snapshots of all that a folder can hold.
fn site() -> Site {
    let site = Site::new();
    site.folder.write("password", "correct horse battery staple\n");
    for (role, flag, file) in [
        ("backup", "--new-key-file", "backup.key"),
        ("maintain", "--new-key-file", "maintain.key"),
        ("full", "--new-password-file", "password"),
    ] {
        site.run(0, ["key", "add", "--role", role, "--label", role, flag, file]);
    }
    let data = site.join("data");
    zoo(&data);
    let sparse = File::create_new(data.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    let mut rng = Rng::new(40);
    sparse.write_all_at(&rng.bytes(3 << 20), 5 << 20).unwrap();
    sparse.write_all_at(b"the end", (64 << 20) - 7).unwrap();
    // Cut by page: so many chunks that lists name lists.
    let database = Connection::open(data.join("db.sqlite3")).unwrap();
    database.execute_batch("CREATE TABLE t (b); INSERT INTO t VALUES (zeroblob(17 << 20));").unwrap();
    database.close().unwrap();
    let first = site.backup(["data"]);
    assert_eq!(number(&first, "problems"), 0, "{first}");
    fs::write(data.join("files/text"), "another text").unwrap();
    fs::remove_dir_all(data.join("names/order")).unwrap();
    site.backup(["data", "--tag", "second", "--tag", "night", "--exclude", "*.no"]);
    site
}

/// The bytes that the reader prints as text.
fn unescaped(text: &Value) -> Vec<u8> {
    let mut parts = text.as_str().expect("text").split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).expect("two digits"));
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

fn lossy(bytes: &[u8]) -> Value {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// A time of the reader, as the program shows it.
fn time(time: &Value) -> Value {
    let nanoseconds = time["nanoseconds"].as_i64().expect("nanoseconds") as i32;
    let seconds = time["seconds"].as_i64().expect("seconds");
    jiff::Timestamp::new(seconds, nanoseconds).expect("a time").to_string().into()
}

/// What both listings say of each node, by its path.
type Listing = BTreeMap<Vec<u8>, Vec<Value>>;

fn byte(digits: &[u8]) -> u8 {
    u8::from_str_radix(std::str::from_utf8(digits).expect("digits"), 16).expect("two digits")
}

fn from_program(nodes: &[Value]) -> Listing {
    let entry = |node: &Value| {
        let path = match node["path_hex"].as_str() {
            Some(digits) => digits.as_bytes().chunks(2).map(byte).collect(),
            None => node["path"].as_str().expect("a path").as_bytes()[1..].to_vec(),
        };
        let fields = ["type", "uid", "gid", "size", "mode", "mtime", "ctime", "linktarget", "sqlite_checked"];
        (path, fields.map(|field| node[field].clone()).to_vec())
    };
    nodes.iter().map(entry).collect()
}

fn from_reader(nodes: &[Value]) -> Listing {
    let entry = |node: &Value| {
        let kind = match node["kind"].as_str().expect("a kind") {
            "directory" => "dir",
            "character-device" => "chardev",
            "block-device" => "dev",
            other => other,
        };
        let mut values = vec![Value::from(kind)];
        values.extend(["uid", "gid", "size", "mode"].map(|field| node[field].clone()));
        values.extend([time(&node["mtime"]), time(&node["ctime"])]);
        values.push(node.get("link_target").map_or(Value::Null, |target| lossy(&unescaped(target))));
        values.push(node["database"]["checked"].clone());
        (unescaped(&node["path"]), values)
    };
    nodes.iter().map(entry).collect()
}

fn assert_same_listing(program: &[Value], reader: &[Value]) {
    let (program, reader) = (from_program(program), from_reader(reader));
    for (path, fields) in &program {
        assert_eq!(Some(fields), reader.get(path), "{}", String::from_utf8_lossy(path));
    }
    assert_eq!(program.len(), reader.len());
}

/// What the reader says that a listing of the program does not, against the files themselves.
fn assert_as_on_disk(site: &Site, nodes: &[Value]) {
    let mut compared = 0;
    for node in nodes {
        let path = unescaped(&node["path"]);
        if path.starts_with(b"data/") {
            let metadata = site.join(OsStr::from_bytes(&path)).symlink_metadata().unwrap();
            let fields = ["device", "inode", "links"].map(|field| number(node, field));
            let found = [metadata.dev(), metadata.ino(), metadata.nlink()];
            assert_eq!(fields, found, "{}", node["path"]);
            compared += 1;
        }
    }
    assert!(compared > 1000, "{compared}");
    let folder = nodes.iter().find(|node| node["path"] == "data").expect("the folder");
    for (field, flag) in [("user", "-un"), ("group", "-gn")] {
        let name = Command::new("id").arg(flag).output().expect("ask who this is").stdout;
        assert_eq!(folder[field], lossy(name.trim_ascii()), "{field}");
    }
}

/// Where a file holds data, as its file system says.
fn extents(path: &Path) -> Vec<(u64, u64)> {
    let file = File::open(path).unwrap();
    let mut extents = Vec::new();
    let mut end = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(end)) {
        end = seek(&file, SeekFrom::Hole(start)).unwrap();
        extents.push((start, end));
    }
    extents
}

#[test]
fn it_lists_and_restores_what_the_program_does() {
    let Some(reader) = Reader::find() else { return };
    let site = site();
    let snapshots = site.json(0, ["snapshots"]);
    assert_eq!(snapshots.len(), 2);
    let read = reader.json(&site, PASSWORD, &["snapshots", "--json"]);
    assert_eq!(read.len(), 2);
    for (ours, theirs) in snapshots.iter().zip(&read) {
        for (field, name) in [
            ("id", "id"),
            ("hostname", "host"),
            ("tags", "tags"),
            ("tree", "root"),
            ("sequence", "sequence"),
            ("excludes", "excludes"),
            ("program_version", "program"),
        ] {
            assert_eq!(ours[field], theirs[name], "{field}");
        }
        assert_eq!(ours["parent"], theirs.get("parent").cloned().unwrap_or_default());
        assert_eq!(ours["time"], time(&theirs["time"]));
        for field in
            ["files_new", "files_changed", "files_unmodified", "data_blobs", "tree_blobs", "data_added"]
        {
            let (ours, theirs) = (&ours["summary"][field], &theirs["statistics"][field]);
            assert!(ours.is_u64() && ours == theirs, "{field}: {ours} {theirs}");
        }
    }
    for (number, snapshot) in snapshots.iter().enumerate() {
        let id = snapshot["id"].as_str().expect("an id");
        let credential = if number == 0 { PASSWORD } else { MAINTAIN };
        let nodes = reader.json(&site, credential, &["ls", "--json", id]);
        assert_same_listing(&site.json(0, ["ls", id]), &nodes);
        if number == 1 {
            assert_as_on_disk(&site, &nodes);
            let database = nodes.iter().find(|node| node["path"] == "data/db.sqlite3").expect("a database");
            assert!(database["content"]["list"]["level"].as_u64() > Some(0), "{database}");
        }
        let [mine, theirs] = ["mine", "theirs"].map(|name| format!("{name}-{number}"));
        let mine = site.restore(id, &mine).join("data");
        reader.run(&site, 0, FULL, &["extract", id, &theirs]);
        let theirs = site.join(theirs).join("data");
        assert_same(&see(&mine), &see(&theirs));
        assert_eq!(extents(&mine.join("sparse")), extents(&theirs.join("sparse")));
    }
}

#[test]
fn it_opens_what_the_role_of_its_key_opens() {
    let Some(reader) = Reader::find() else { return };
    let site = Site::new();
    site.folder.write("data/file", "content");
    for role in ["backup", "maintain"] {
        let file = format!("{role}.key");
        site.run(0, ["key", "add", "--role", role, "--label", role, "--new-key-file", &file]);
    }
    let id = site.backup(["data"])["snapshot_id"].as_str().expect("an id").to_owned();
    for (credential, listed, restored) in [(BACKUP, 12, 12), (MAINTAIN, 0, 12), (FULL, 0, 0)] {
        let snapshots = reader.json(&site, credential, &["snapshots", "--json"]);
        assert_eq!(snapshots[0]["id"], *id);
        reader.run(&site, listed, credential, &["ls", &id]);
        let target = format!("restored by {}", credential[1]);
        reader.run(&site, restored, credential, &["extract", &id, &target]);
        let content = fs::read(site.join(target).join("data/file"));
        assert_eq!(content.is_ok_and(|content| content == b"content"), restored == 0);
    }
    site.folder.write("wrong", "wrong");
    let refused = reader.run(&site, 1, ["--password-file", "wrong"], &["snapshots"]);
    assert!(refused.err().contains("no key slot opens"), "{}", refused.err());
}
