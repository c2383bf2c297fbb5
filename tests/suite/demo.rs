//! The demo: it works, leaves nothing behind, and shows commands that do what it says when a person repeats them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::services::names;
use crate::support::{Outcome, TempFolder, run, strongroom};

/// Seconds that a demo may take on a slow and busy machine.
const DEADLINE: u64 = 240;

fn demo(place: &TempFolder, arguments: &[&str]) -> Command {
    let mut command = strongroom(place);
    command.args(["demo", "--size", "small"]).args(arguments);
    command
}

/// Runs a shell command in which `strongroom` is the program under test.
fn shell(place: &TempFolder, line: &str) -> Outcome {
    let programs = place.join("programs");
    if !programs.exists() {
        fs::create_dir(&programs).unwrap();
        symlink(env!("CARGO_BIN_EXE_strongroom"), programs.join("strongroom")).unwrap();
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let environment = strongroom(place);
    let mut command = Command::new("sh");
    command.env_clear().current_dir(place.path()).args(["-c", line]);
    for (name, value) in environment.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    run(command.env("PATH", path), DEADLINE)
}

/// The commands that a demo shows, each with the exit code it says it had.
fn shown(out: &str) -> Vec<(String, i32)> {
    let mut commands: Vec<(String, i32)> = Vec::new();
    for line in out.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push((command.to_owned(), 0));
        } else if let Some(code) = line.strip_prefix("(exit code ") {
            commands.last_mut().unwrap().1 = code.trim_end_matches(')').parse().unwrap();
        }
    }
    commands
}

#[test]
fn it_ends_well_and_leaves_nothing_behind() {
    let place = TempFolder::new();
    // What a person has set for a repository of theirs is none of the demo's business.
    let mut command = demo(&place, &[]);
    command.env("STRONGROOM_REPOSITORY", "/no/such/repository").env("STRONGROOM_PASSWORD", "wrong");
    command.env("STRONGROOM_KEY_FILE", "/no/such/key").env("STRONGROOM_CACHE_DIR", place.join("mine"));
    let outcome = run(&mut command, DEADLINE).expect_code(0);
    let out = outcome.out();
    for said in ["the service is whole", "(exit code 12)", "equal, byte for byte", "integrity_check says ok"]
    {
        assert!(out.contains(said), "{said} in {out}");
    }
    assert_eq!(outcome.err(), "");
    assert_eq!(names(&place.join("tmp")), [""; 0]);
    assert_eq!(names(&place.join("home")), [".cache"]);
    assert_eq!(names(&place.join("home/.cache")), [""; 0]);
    assert!(!place.join("mine").exists());
}

#[test]
fn quiet_it_says_nothing() {
    let place = TempFolder::new();
    let outcome = run(&mut demo(&place, &["-q"]), DEADLINE).expect_code(0);
    assert_eq!((outcome.out().as_str(), outcome.err().as_str()), ("", ""));
    assert_eq!(names(&place.join("tmp")), [""; 0]);
}

#[test]
fn the_commands_it_shows_can_be_repeated() {
    let place = TempFolder::new();
    // A name that a shell would take apart.
    let folder = "it's kept $HOME";
    let path = place.join(folder);
    let outcome = run(&mut demo(&place, &["--keep", "--folder", path.to_str().unwrap()]), DEADLINE);
    let outcome = outcome.expect_code(0);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    for name in ["backup.key", "data", "full.key", "repository", "restored"] {
        assert!(path.join(name).exists(), "{name} is left");
    }
    let commands = shown(&outcome.out());
    assert!(commands.len() >= 9, "{commands:?}");

    // On what it left: new backups can be made, and everything can be read.
    for (command, code) in &commands {
        let again = shell(&place, command);
        let refuses =
            command.contains(" init ") || command.contains(" key add ") || command.contains(" restore ");
        if refuses {
            // There is a repository, a key and a restored folder: none of them is overwritten.
            assert_ne!(again.code, Some(0), "{command}");
        } else {
            again.expect_code(*code);
        }
    }
    // From the start, with the data that it left.
    for name in ["backup.key", "full.key", "repository", "restored"] {
        fs::rename(path.join(name), path.join(format!("old {name}"))).unwrap();
    }
    for (command, code) in &commands {
        shell(&place, command).expect_code(*code);
    }
    assert_same(&path.join("data/attachments"), &path.join("restored/attachments"));
    let attachment = fs::read(place.join("attachment")).unwrap();
    assert!(attachment.len() > 200_000, "the attachment that was shown");
}

fn assert_same(one: &Path, other: &Path) {
    assert_eq!(names(one), names(other));
    for name in names(one) {
        let (one, other) = (one.join(&name), other.join(&name));
        if one.is_dir() {
            assert_same(&one, &other);
        } else {
            assert!(fs::read(&one).unwrap() == fs::read(&other).unwrap(), "{name}");
        }
    }
}

#[test]
fn a_folder_with_something_in_it_is_refused_and_left_alone() {
    let place = TempFolder::new();
    place.write("mine/file", "precious");
    let outcome = run(&mut demo(&place, &["--folder", "mine"]), DEADLINE).expect_code(1);
    assert!(outcome.err().contains("not empty"), "{}", outcome.err());
    assert_eq!(fs::read(place.join("mine/file")).unwrap(), b"precious");
    assert_eq!(names(&place.join("mine")), ["file"]);
}
