//! Snapshots, paths, sources and targets that are not as they are named.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use super::transcript::Transcript;
use crate::forge::records::record;
use crate::forge::site::{leaf, node};
use crate::forge::{Forge, Holder, Slot, keys};

#[test]
fn snapshots_and_paths_that_are_not_there() {
    let mut told = Transcript::new();
    told.silent(&["-r", "second", "init", "--new-key-file", "second.key"]);
    told.tell("Nothing was backed up yet.", &["-r", "second", "--key-file", "second.key", "ls", "latest"]);
    told.tell("There is no such snapshot.", &["ls", "0123abcd"]);
    told.tell("That is no id.", &["ls", "yesterday"]);
    told.tell("The id is too short.", &["ls", "a"]);
    told.tell("There are not so many.", &["ls", "latest~9"]);
    told.tell("No number stands behind the sign.", &["ls", "latest~x"]);
    told.tell("No snapshot of that host.", &["restore", "latest", "--host", "elsewhere", "--target", "out"]);
    told.tell("The path is not in the snapshot.", &["dump", "latest", "/data/missing"]);
    told.tell("The path is not in the snapshot.", &["restore", "latest:/etc", "--target", "out"]);
    told.tell("The path is not in the snapshot.", &["ls", "latest:/etc"]);
    told.tell("The path leads upwards.", &["dump", "latest", "../data/file"]);
    told.tell("It was not forgotten.", &["unforget", "0123abcd"]);
    told.tell("A program asks.", &["--json", "ls", "0123abcd"]);
    told.tell("A program asks.", &["--json", "dump", "latest", "/data/missing"]);
    assert!(!told.join("out").exists());
    told.hold("not_in_the_repository");
}

#[test]
fn an_id_that_could_be_two() {
    let mut told = Transcript::bare();
    // Whoever draws the ids would draw for long.
    let mut forge = Forge::new("messages");
    forge.add_config();
    let slot =
        Slot { role: "full", holder: Holder::KeyFile([5; 32]), label: "full".to_owned(), secret: [6; 32] };
    forge.add_slot(&slot);
    let root = forge.store(3, &leaf(&[(b"folder".to_vec(), node("directory", json!({})))]).encode());
    for last in 1..=2u8 {
        let id = [0x12, 0x34, 0x56, 0x78, 0, last]
            .into_iter()
            .chain([0; 26])
            .collect::<Vec<u8>>()
            .try_into()
            .unwrap();
        let manifest = record("manifest", &forge.manifest_fields(&root, 0, last.into())).encode();
        let bytes = forge.snapshot(&id, &manifest, &slot);
        forge.put("snapshots", &id, bytes);
    }
    forge.flush();
    forge.write_to(&told.join("repo"));
    told.folder.write("full.key", keys::key_file(&[5; 32]));
    told.tell("Two begin so.", &["ls", "12345678"]);
    told.tell("One begins so.", &["ls", "1234567800010"]);
    told.folder.write(format!("repo/snapshots/abcd{}", "0".repeat(60)), "junk");
    told.tell("One that cannot be read begins so.", &["ls", "abcd"]);
    told.hold("ambiguous");
}

#[test]
fn targets_that_will_not_do() {
    let mut told = Transcript::new();
    told.folder.write("full/of", "things");
    told.folder.write("file", "x");
    let restore = |target| ["restore", "latest", "--target", target];
    told.tell("It is not empty.", &restore("full"));
    told.tell("It is a file.", &restore("file"));
    told.tell("The folder above is not there.", &restore("not/there"));
    told.tell("It lies below a file.", &restore("file/below"));
    told.tell("A program asks.", &["--json", "restore", "latest", "--target", "full"]);
    told.tell("None is named.", &["restore", "latest"]);
    told.hold("targets");
}

#[test]
fn sources_that_will_not_do() {
    let mut told = Transcript::new();
    told.folder.write("one/same/file", "x");
    told.folder.write("two/same/file", "y");
    told.tell("None is named.", &["backup"]);
    told.tell("It is not there.", &["backup", "missing"]);
    told.tell("One of two is not there.", &["backup", "data", "missing"]);
    told.tell("One is named twice.", &["backup", "one/same", "one/same"]);
    told.tell("Two are of one name.", &["backup", "one/../one/same", "two/same"]);
    told.tell("One lies in the other.", &["backup", "one", "one/same"]);
    told.tell("A list is not there.", &["backup", "--files-from", "missing"]);
    told.tell("The exclude file is not there.", &["backup", "data", "--exclude-file", "missing"]);
    told.tell("There is no Vaultwarden.", &["backup", "--vaultwarden", "data"]);
    told.tell("There is nothing at all.", &["backup", "--vaultwarden", "missing"]);
    told.tell("The command is not there.", &["backup", "--stdin-from-command", "--", "no-such-command"]);
    told.tell(
        "The command fails.",
        &["backup", "--stdin-from-command", "--", "sh", "-c", "echo half; exit 9"],
    );
    told.tell("Not one byte comes.", &["backup", "--stdin"]);
    told.tell("The parent is gone.", &["backup", "data", "--parent", "0123abcd"]);
    told.tell("A program asks.", &["--json", "backup", "missing"]);
    told.hold("sources");
}

#[test]
fn what_may_not_be_read_or_written() {
    let Some(mut told) = Transcript::of_a_stranger("messages about missing permissions") else { return };
    let set = |told: &Transcript, path: &str, mode| {
        fs::set_permissions(told.join(path), Permissions::from_mode(mode)).unwrap();
    };
    set(&told, "data/file", 0);
    told.tell("A file may not be read.", &["backup", "data", "--host", "server"]);
    set(&told, "data/file", 0o600);
    set(&told, "data/sub", 0);
    told.tell("A folder may not be read.", &["backup", "data", "--host", "server"]);
    told.tell("The same for a program.", &["--json", "-q", "backup", "data", "--host", "server"]);
    set(&told, "data/sub", 0o700);
    set(&told, "data", 0);
    told.tell("The source may not be read.", &["backup", "data", "--host", "server"]);
    set(&told, "data", 0o700);
    set(&told, "full.key", 0);
    told.tell("The key file may not be read.", &["snapshots"]);
    set(&told, "full.key", 0o600);
    fs::create_dir(told.join("closed")).unwrap();
    set(&told, "closed", 0o700);
    told.tell(
        "The cache may not be written.",
        &["--cache-dir", "closed/cache", "backup", "data", "--host", "server"],
    );
    told.tell("The target may not be made.", &["restore", "latest", "--target", "closed/out"]);
    told.tell("Nothing may be made here.", &["restore", "latest", "--target", "out"]);
    for folder in ["repo/packs", "repo/index", "repo/sessions", "repo/snapshots"] {
        set(&told, folder, 0o500);
    }
    for folder in fs::read_dir(told.join("repo/packs")).unwrap() {
        fs::set_permissions(folder.unwrap().path(), Permissions::from_mode(0o500)).unwrap();
    }
    told.folder.write("data/new", "new");
    told.tell("The repository may not be written.", &["backup", "data", "--host", "server"]);
    set(&told, "repo/snapshots", 0);
    told.tell("The snapshots may not be read.", &["snapshots"]);
    set(&told, "repo", 0);
    told.tell("The repository may not be read.", &["snapshots"]);
    told.tell("The same for a program.", &["--json", "snapshots"]);
    set(&told, "repo", 0o700);
    told.hold("permissions");
}

#[test]
fn nobody_who_reads_on() {
    let mut told = Transcript::new();
    told.folder.write("data/large", vec![b'x'; 3 << 20]);
    for number in 0..2000 {
        told.folder.write(format!("data/many/{number}"), "x");
    }
    told.silent(&["backup", "data"]);
    for (arguments, until) in [
        (&["ls", "latest"][..], "head -n 1"),
        (&["dump", "latest", "/data/large"], "head -c 1 | wc -c"),
        (&["--json", "ls", "latest"], "head -n 1 | cut -c 1-22"),
    ] {
        let program = told.command(arguments);
        let mut command = Command::new("sh");
        command.env_clear().current_dir(told.folder.path());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        // The exit code of the program itself, not of who reads.
        command.args(["-c", &format!("{{ \"$@\"; echo $? > code; }} | {until}; exit $(cat code)"), "sh"]);
        command.arg(program.get_program()).args(arguments);
        told.tell_of(&format!("Whoever reads has seen enough: {until}"), arguments, &mut command);
    }
    told.hold("broken_pipe");
}
