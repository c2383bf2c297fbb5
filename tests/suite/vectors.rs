//! The vectors of `format-spec/vectors/`, and the worked examples: each is what the seeded build writes, and the
//! program takes or refuses each as it says.
//!
//! `STRONGROOM_WRITE_VECTORS=1 cargo test --test suite vectors` writes them anew.

pub(crate) mod build;
mod classes;
mod describe;
mod examples;
pub(crate) mod product;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use serde_json::Value as Json;

use crate::forge::{from_hex, hash, hex};
use crate::site::each_file;
use crate::support::{Outcome, TempFolder, run, strongroom};
use product::{Vector, take};

/// Longest that a command on the small repository may take, in seconds.
const DEADLINE: u64 = 120;
/// Most bytes that all vectors may have.
const TOTAL_MAX: usize = 1_200_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("format-spec")
}

/// The specification, with vectors that were written anew if that was asked for.
fn top() -> PathBuf {
    static WRITTEN: Once = Once::new();
    WRITTEN.call_once(|| {
        if std::env::var_os("STRONGROOM_WRITE_VECTORS").is_some_and(|value| value == "1") {
            write();
        }
    });
    folder()
}

/// Everything that the build writes, by its path below `format-spec/`.
fn written() -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for (name, text) in build::files() {
        all.insert(Path::new("vectors").join(name), text.into_bytes());
    }
    for (name, text) in build::credentials() {
        all.insert(Path::new("vectors/repository-keys").join(name), text.into_bytes());
    }
    for (path, bytes) in &build::repository().0.objects {
        all.insert(Path::new("vectors/repository").join(path), bytes.clone());
    }
    all.insert("17-examples.md".into(), examples::chapter().into_bytes());
    all
}

/// Everything that is there, but for what people wrote.
fn found(top: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    each_file(&top.join("vectors"), &mut |path, _| {
        let below = path.strip_prefix(top).unwrap().to_owned();
        if below != Path::new("vectors/README.md") {
            all.insert(below, fs::read(path).expect("read the vector"));
        }
    });
    all.insert("17-examples.md".into(), fs::read(top.join("17-examples.md")).unwrap_or_default());
    all
}

fn write() {
    let written = written();
    for path in found(&folder()).keys().filter(|path| !written.contains_key(*path)) {
        fs::remove_file(folder().join(path)).expect("remove what is no vector any more");
    }
    for (path, bytes) in written {
        let path = folder().join(path);
        fs::create_dir_all(path.parent().unwrap()).expect("make the folders");
        fs::write(path, bytes).expect("write the vector");
    }
}

/// The vectors as they lie in the tree.
fn stored() -> Vec<Json> {
    let mut all = Vec::new();
    for (path, bytes) in found(&top()) {
        let chapter = path.extension().is_some_and(|extension| extension == "json")
            && path.file_name().unwrap().to_string_lossy().starts_with(|first: char| first.is_ascii_digit());
        if chapter {
            let file: Json = serde_json::from_slice(&bytes).expect("JSON");
            all.extend(file["vectors"].as_array().expect("vectors").clone());
        }
    }
    all
}

fn complain(problems: Vec<String>) {
    assert!(problems.is_empty(), "{} of the vectors:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn vectors_and_examples_are_what_the_seeded_build_writes() {
    let (written, found) = (written(), found(&top()));
    let paths: BTreeSet<_> = written.keys().chain(found.keys()).collect();
    let differ = paths.into_iter().filter(|path| written.get(*path) != found.get(*path));
    complain(differ.map(|path| path.display().to_string()).collect());
    let total: usize = found.values().map(Vec::len).sum();
    assert!(total < TOTAL_MAX, "{total} bytes");
}

#[test]
fn every_valid_vector_is_decoded_to_its_value_and_encoded_to_its_bytes() {
    let mut problems = Vec::new();
    for vector in stored().iter().filter(|vector| vector["valid"] == true) {
        let name = format!("{}, {}", vector["what"], vector["name"]);
        match take(vector) {
            Err(error) => problems.push(format!("{name}: {error:?}")),
            Ok(taken) => {
                if taken.value != vector["value"] {
                    problems.push(format!("{name}: {} and not {}", taken.value, vector["value"]));
                }
                if taken.again.is_some_and(|(encoded, bytes)| encoded != bytes) {
                    problems.push(format!("{name}: it is encoded to other bytes"));
                }
            }
        }
    }
    complain(problems);
}

#[test]
fn every_invalid_vector_is_refused_for_a_reason_of_its_class() {
    let mut problems = Vec::new();
    for vector in stored().iter().filter(|vector| vector["valid"] == false) {
        let outcome = take(vector);
        let why = match outcome {
            Ok(taken) => Some(format!("it was taken for {}", taken.value)),
            Err(error) => classes::differs(Vector(vector).text("class"), &error),
        };
        problems.extend(why.map(|why| format!("{}, {}: {why}", vector["what"], vector["name"])));
    }
    complain(problems);
}

#[test]
fn every_kind_of_vector_has_both_sides_and_every_class_its_line() {
    let stored = stored();
    let mut names = BTreeSet::new();
    let (mut valid, mut invalid, mut used) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for vector in &stored {
        let vector = Vector(vector);
        let what = vector.text("what");
        assert!(names.insert((what, vector.text("name"))), "{what}, {} stands twice", vector.text("name"));
        if vector.0["valid"] == true {
            valid.insert(what);
        } else {
            invalid.insert(what);
            used.insert(vector.text("class"));
        }
    }
    // What is computed and never read from a store has no wrong form.
    let computed = BTreeSet::from([
        "argon2id",
        "blob-id",
        "content-built",
        "derivation",
        "dump",
        "gear",
        "padding",
        "pages",
        "path-order",
        "tree-built",
    ]);
    assert_eq!(valid.difference(&invalid).copied().collect::<BTreeSet<_>>(), computed);
    assert!(invalid.is_subset(&valid));
    let readme = fs::read_to_string(top().join("vectors/README.md")).expect("the vectors have a README");
    let rows = readme.lines().skip_while(|line| !line.starts_with("| class |")).skip(2);
    let listed: Vec<&str> = rows.map_while(|row| row.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(listed, classes::names(), "the classes of the README");
    assert_eq!(used, listed.into_iter().collect(), "every class has a vector");
    for what in &valid {
        assert!(readme.contains(&format!("| `{what}` |")), "{what} is not in the README");
    }
}

/// The small repository as it lies in the tree, in a private folder.
fn copied() -> TempFolder {
    let folder = TempFolder::new();
    for part in ["repository", "repository-keys"] {
        let from = top().join("vectors").join(part);
        each_file(&from, &mut |path, _| {
            let below = Path::new(part).join(path.strip_prefix(&from).unwrap());
            folder.write(below, fs::read(path).expect("read the object"));
        });
    }
    folder
}

fn command(folder: &TempFolder, key: &str, arguments: &[&str]) -> Outcome {
    let mut command = strongroom(folder);
    let path = folder.join("repository-keys").join(key);
    let flag = if key.ends_with(".key") { "--key-file" } else { "--password-file" };
    command.args(["-r", "repository"]).arg(flag).arg(path).args(arguments);
    run(&mut command, DEADLINE)
}

#[test]
fn the_small_repository_opens_with_every_key_and_is_whole() {
    let folder = copied();
    for (key, _) in build::credentials() {
        let out = command(&folder, &key, &["--json", "snapshots"]).expect_code(0).out();
        for snapshot in build::expected()["snapshots"].as_array().unwrap() {
            assert!(out.contains(snapshot["id"].as_str().unwrap()), "{key}: {out}");
        }
        assert!(!out.contains(build::expected()["forgotten"][0].as_str().unwrap()), "{key}: {out}");
    }
    command(&folder, "full.password", &["check", "--read-data"]).expect_code(0);
    command(&folder, "maintain.key", &["check"]).expect_code(0);
    let id = build::expected()["snapshots"][0]["id"].as_str().unwrap();
    command(&folder, "maintain.key", &["ls", id]).expect_code(0);
    command(&folder, "backup.key", &["ls", id]).expect_code(12);
    command(&folder, "maintain.key", &["dump", id, "data/hello.txt"]).expect_code(12);
    // What another wrote is built upon.
    folder.write("more/file", "one more");
    command(&folder, "backup.key", &["backup", "more"]).expect_code(0);
    command(&folder, "full.key", &["check", "--read-data"]).expect_code(0);
    let dumped = command(&folder, "full.key", &["dump", "latest", "more/file"]).expect_code(0);
    assert_eq!(dumped.stdout, b"one more");
}

#[test]
fn the_small_repository_restores_to_what_its_list_says() {
    let folder = copied();
    let expected: Json =
        serde_json::from_slice(&fs::read(top().join("vectors/repository.json")).unwrap()).expect("JSON");
    for snapshot in expected["snapshots"].as_array().unwrap() {
        let id = snapshot["id"].as_str().unwrap();
        command(&folder, "full.key", &["restore", id, "--target", id]);
        let mut found = BTreeMap::new();
        walk(&folder.join(id), Path::new(""), &mut found);
        let mut wanted = BTreeMap::new();
        for entry in snapshot["entries"].as_array().unwrap() {
            let content = entry.get("hash").map(|hash| hash.as_str().unwrap().to_owned());
            let target = entry.get("link_target").map(|target| target.as_str().unwrap().to_owned());
            let path = entry["path"].as_str().unwrap().to_owned();
            wanted.insert(path, (entry["kind"].as_str().unwrap().to_owned(), content.or(target)));
        }
        assert_eq!(found, wanted);
    }
}

/// Kind, and hash of the content or the link's target, of everything below a folder.
fn walk(top: &Path, below: &Path, found: &mut BTreeMap<String, (String, Option<String>)>) {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::FileTypeExt;
    for entry in fs::read_dir(top.join(below)).expect("read the folder") {
        let entry = entry.expect("read the folder");
        let (path, kind) = (below.join(entry.file_name()), entry.file_type().unwrap());
        let (name, content) = if kind.is_dir() {
            walk(top, &path, found);
            ("directory", None)
        } else if kind.is_symlink() {
            ("symlink", Some(hex(fs::read_link(entry.path()).unwrap().as_os_str().as_bytes())))
        } else if kind.is_fifo() {
            ("fifo", None)
        } else {
            ("file", Some(hex(&hash(&fs::read(entry.path()).unwrap()))))
        };
        found.insert(path.to_string_lossy().into_owned(), (name.to_owned(), content));
    }
}

#[test]
fn the_listed_keys_are_those_of_the_repository() {
    let keys: Json =
        serde_json::from_slice(&fs::read(top().join("vectors/keys.json")).unwrap()).expect("JSON");
    let derived = |context: &str| {
        let secret = from_hex(keys["write_secret"].as_str().unwrap());
        blake3::derive_key(&format!("strongroom 2026-11 v1 {context}"), &secret)
    };
    let config = fs::read(top().join("vectors/repository/config")).expect("the config");
    let (covered, mac) = config.split_at(config.len() - 32);
    assert_eq!(blake3::keyed_hash(&derived("config mac"), covered).as_bytes(), mac);
}
