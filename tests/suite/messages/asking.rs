//! Finding the repository, and opening it.

use std::fs;

use super::transcript::Transcript;
use crate::support::{has_tool, strongroom};

#[test]
fn where_there_is_no_repository() {
    let mut told = Transcript::new();
    told.folder.write("a file", "x");
    told.folder.write("other/things", "x");
    fs::create_dir(told.join("empty")).unwrap();
    let mut unnamed = strongroom(&told.folder);
    unnamed.arg("snapshots");
    told.tell_of("No repository is named.", &["snapshots"], &mut unnamed);
    for (about, place) in [
        ("There is nothing.", "nowhere"),
        ("It is a file.", "a file"),
        ("It is an empty folder.", "empty"),
        ("It is a folder of something else.", "other"),
    ] {
        told.tell(about, &["-r", place, "snapshots"]);
    }
    told.tell("A program asks.", &["--json", "-r", "nowhere", "snapshots"]);
    told.tell("One is there already.", &["-r", "repo", "init", "--new-key-file", "new.key"]);
    told.tell(
        "A repository is to be made among other things.",
        &["-r", "other", "init", "--new-key-file", "new.key"],
    );
    told.tell("The new key would replace one.", &["-r", "fresh", "init", "--new-key-file", "full.key"]);
    fs::remove_file(told.join("repo/config")).unwrap();
    told.tell("Its config was lost.", &["snapshots"]);
    told.tell(
        "Its config was lost, and a new one is to be made.",
        &["-r", "repo", "init", "--new-key-file", "new.key"],
    );
    told.hold("no_repository");
}

#[test]
fn what_does_not_open_it() {
    let mut told = Transcript::new();
    told.silent(&["-r", "second", "init", "--new-key-file", "second.key"]);
    told.folder.write("password", "wrong\n");
    told.folder.write("none", "");
    told.folder.write("long", "x".repeat(5000));
    told.folder.write("notes", "not a key at all\n");
    let key = fs::read_to_string(told.join("full.key")).unwrap();
    let digits = key.find("STRONGROOM-KEY-1-").expect("a line with the key") + "STRONGROOM-KEY-1-".len();
    let other = if &key[digits..=digits] == "0" { "1" } else { "0" };
    told.folder.write("mistyped.key", format!("{}{other}{}", &key[..digits], &key[digits + 1..]));
    told.folder.write("half.key", &key[..digits + 20]);
    told.tell("The password is wrong.", &["--password-file", "password", "snapshots"]);
    told.tell("The key file is another repository's.", &["--key-file", "second.key", "snapshots"]);
    told.tell("The same for a program.", &["--json", "--key-file", "second.key", "snapshots"]);
    told.tell("The key file is not there.", &["--key-file", "lost.key", "snapshots"]);
    told.tell("The key file is a folder.", &["--key-file", "data", "snapshots"]);
    told.tell("The key file is something else.", &["--key-file", "notes", "snapshots"]);
    told.tell("The key file has a wrong digit.", &["--key-file", "mistyped.key", "snapshots"]);
    told.tell("The key file is cut short.", &["--key-file", "half.key", "snapshots"]);
    told.tell("The password file is empty.", &["--password-file", "none", "snapshots"]);
    told.tell("The password file is not there.", &["--password-file", "lost", "snapshots"]);
    told.tell("The password is too long.", &["--password-file", "long", "snapshots"]);
    told.tell("The command for the password fails.", &["--password-command", "exit 7", "snapshots"]);
    told.tell("The command for the password says nothing.", &["--password-command", "true", "snapshots"]);
    told.tell("Two keys are named.", &["--recovery-key", "snapshots", "--key-file", "full.key"]);
    for entry in fs::read_dir(told.join("repo/keys")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, [&bytes[..100], b"x", &bytes[101..]].concat()).unwrap();
    }
    told.tell("The only key slot is damaged.", &["snapshots"]);
    for entry in fs::read_dir(told.join("repo/keys")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    told.tell("There is no key slot at all.", &["snapshots"]);
    told.hold("wrong_key");
}

#[test]
fn nobody_to_ask() {
    if !has_tool("setsid", "what is said where there is no terminal") {
        return;
    }
    let mut told = Transcript::new();
    for arguments in
        [&["-r", "repo", "snapshots"][..], &["-r", "fresh", "init"], &["--json", "-r", "repo", "snapshots"]]
    {
        let program = strongroom(&told.folder);
        let mut command = std::process::Command::new("setsid");
        command.env_clear().current_dir(told.folder.path());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.arg("--wait").arg(program.get_program()).args(arguments);
        told.tell_of("There is no terminal.", arguments, &mut command);
    }
    told.hold("no_terminal");
}

#[test]
fn what_a_role_does_not_allow() {
    let mut told = Transcript::new();
    for role in ["backup", "maintain"] {
        let file = format!("{role}.key");
        told.silent(&["key", "add", "--role", role, "--label", role, "--new-key-file", &file]);
    }
    for command in [
        &["restore", "latest", "--target", "out"][..],
        &["dump", "latest", "/data/file"],
        &["ls", "latest"],
        &["check"],
        &["prune"],
        &["forget", "--keep-last", "1"],
        &["tag", "--add", "x", "latest"],
        &["repair", "index"],
        &["key", "add", "--role", "backup", "--label", "x", "--new-key-file", "x.key"],
        &["--json", "ls", "latest"],
    ] {
        told.tell("A backup key.", &[&["--key-file", "backup.key"], command].concat());
    }
    for command in [
        &["restore", "latest", "--target", "out"][..],
        &["dump", "latest", "/data/file"],
        &["key", "add", "--role", "full", "--label", "x", "--new-key-file", "x.key"],
    ] {
        told.tell("A maintain key.", &[&["--key-file", "maintain.key"], command].concat());
    }
    told.tell("The last full key.", &["key", "remove", "0000"]);
    told.hold("roles");
}
