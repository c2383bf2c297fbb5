//! Repositories that are damaged, or newer than this program.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::transcript::Transcript;
use crate::forge::records::record;
use crate::forge::{Forge, Holder, Slot, keys};

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The objects of a folder of the repository.
fn objects(told: &Transcript, kind: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut folders = vec![told.join("repo").join(kind)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort_by_key(|path| fs::metadata(path).unwrap().len());
    found
}

#[test]
fn a_config_that_is_newer_or_damaged() {
    let mut told = Transcript::new();
    let config = told.join("repo/config");
    let good = fs::read(&config).unwrap();
    let with = |at: usize, byte: u8| [&good[..at], &[byte], &good[at + 1..]].concat();
    for (about, bytes) in [
        ("A newer format.", with(12, 2)),
        ("Something else.", b"something else".to_vec()),
        ("A byte of the record is another.", with(30, good[30] ^ 1)),
        ("A byte of the MAC is another.", with(good.len() - 1, good[good.len() - 1] ^ 1)),
        ("The end is missing.", good[..good.len() - 10].to_vec()),
        ("It is empty.", Vec::new()),
        ("It is longer than any may be.", vec![0; 2 << 20]),
    ] {
        fs::write(&config, bytes).unwrap();
        told.tell(about, &["snapshots"]);
    }
    fs::write(&config, with(12, 2)).unwrap();
    told.tell("A newer format, and a program asks.", &["--json", "snapshots"]);
    told.tell("A newer format, and a backup.", &["backup", "data"]);
    told.hold("config");
}

#[test]
fn a_feature_that_is_not_known() {
    let mut told = Transcript::bare();
    let mut forge = Forge::new("messages");
    let mut fields = forge.config_fields();
    fields["required_features"] = json!(["scent", "colour"]);
    let config = forge.config(&record("config", &fields).encode());
    forge.objects.insert("config".to_owned(), config);
    let slot =
        Slot { role: "full", holder: Holder::KeyFile([5; 32]), label: "full".to_owned(), secret: [6; 32] };
    forge.add_slot(&slot);
    forge.write_to(&told.join("repo"));
    told.folder.write("full.key", keys::key_file(&[5; 32]));
    told.tell("Two features that nobody knows.", &["snapshots"]);
    told.tell("The same for a program.", &["--json", "snapshots"]);
    told.hold("features");
}

#[test]
fn objects_that_are_lost_or_damaged() {
    let restore = ["restore", "latest", "--target", "out"];
    let commands: [&[&str]; 4] = [&restore, &["dump", "latest", "/data/file"], &["check"], &["ls", "latest"]];
    for (name, kind, act) in [
        ("lost_packs", "packs", (|path| fs::remove_file(path).unwrap()) as fn(&Path)),
        ("damaged_packs", "packs", flip),
        ("lost_index", "index", |path| fs::remove_file(path).unwrap()),
        ("damaged_index", "index", flip),
        ("damaged_snapshots", "snapshots", flip),
    ] {
        let mut told = Transcript::new();
        objects(&told, kind).iter().for_each(|path| act(path));
        for command in commands {
            told.tell(&name.replace('_', " "), command);
            drop(fs::remove_dir_all(told.join("out")));
        }
        told.tell(&name.replace('_', " "), &["--json", "dump", "latest", "/data/file"]);
        told.tell(&name.replace('_', " "), &["prune"]);
        told.tell(&name.replace('_', " "), &["backup", "data", "--host", "server"]);
        told.hold(name);
    }
}

#[test]
fn data_that_is_lost_while_the_tree_is_whole() {
    let mut told = Transcript::new();
    // The pack of the files alone: the tree's names more than its two chunks are long.
    let packs = objects(&told, "packs");
    for path in &packs {
        let kept = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        let ls = crate::support::run(
            &mut told.command(&["--no-cache", "ls", "latest"]),
            super::transcript::DEADLINE,
        );
        if ls.code == Some(0) {
            told.tell("The data is lost.", &["restore", "latest", "--target", "out"]);
            told.tell("The data is lost.", &["dump", "latest", "/data/file"]);
            told.tell("The data is lost.", &["check"]);
            fs::remove_dir_all(told.join("out")).unwrap();
            told.tell("The same for a program.", &["--json", "-q", "restore", "latest", "--target", "out"]);
        }
        fs::write(path, kept).unwrap();
    }
    told.hold("lost_data");
}
