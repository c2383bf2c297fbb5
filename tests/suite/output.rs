//! What is said and how: both forms of every command, help, exit codes, and readers who leave early.

use std::fs;
use std::process::{Command, Stdio};

use crate::site::{DEADLINE, Site, number, objects, objects_of};
use crate::support::{Outcome, Rng, TempFolder, has_tool, run, strongroom};

const COMMANDS: [&[&str]; 39] = [
    &["init"],
    &["backup"],
    &["run"],
    &["status"],
    &["config"],
    &["config", "check"],
    &["config", "schema"],
    &["config", "init"],
    &["config", "systemd"],
    &["snapshots"],
    &["ls"],
    &["find"],
    &["diff"],
    &["stats"],
    &["browse"],
    &["dump"],
    &["restore"],
    &["check"],
    &["forget"],
    &["prune"],
    &["unlock"],
    &["copy"],
    &["tag"],
    &["rewrite"],
    &["unforget"],
    &["repair"],
    &["repair", "index"],
    &["repair", "packs"],
    &["repair", "snapshots"],
    &["cache"],
    &["cache", "list"],
    &["cache", "clear"],
    &["key"],
    &["key", "add"],
    &["key", "list"],
    &["key", "passwd"],
    &["key", "remove"],
    &["demo"],
    &["version"],
];

fn plain(folder: &TempFolder, arguments: &[&str]) -> Outcome {
    run(strongroom(folder).args(arguments), DEADLINE)
}

/// A repository with two snapshots of a few things.
fn small() -> Site {
    let site = Site::new();
    site.folder.write("data/file", "content");
    site.folder.write("data/sub/other", Rng::new(1).bytes(700_000));
    site.backup(["data", "--tag", "first", "--host", "one"]);
    site.folder.write("data/new", "new");
    site.backup(["data"]);
    site
}

#[test]
fn help_explains_every_command_by_example() {
    let folder = TempFolder::new();
    for command in COMMANDS {
        let outcome = plain(&folder, &[command, &["--help"]].concat()).expect_code(0);
        let text = outcome.out();
        assert!(outcome.err().is_empty(), "{}", outcome.err());
        assert!(text.contains("Usage: strongroom"), "{text}");
        // Commands without a decision to make need none.
        if !["version", "key"].contains(command.last().unwrap()) {
            assert!(text.contains("Example"), "{command:?} has no example:\n{text}");
            assert!(text.contains(&format!("strongroom {}", command.join(" "))), "{command:?}:\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        plain(&folder, &[command, &["-h"]].concat()).expect_code(0);
    }
    let all = plain(&folder, &["--help"]).expect_code(0).out();
    for command in COMMANDS {
        assert!(all.contains(&format!("\n  {}", command[0])), "{command:?} is not listed:\n{all}");
    }
    for code in ["10", "11", "12", "130"] {
        assert!(all.contains(code), "{all}");
    }
}

#[test]
fn a_wrong_use_is_exit_code_2_and_says_how() {
    let folder = TempFolder::new();
    let wrong: [&[&str]; 21] = [
        &[],
        &["no-such-command"],
        &["--no-such-flag", "ls", "latest"],
        &["backup"],
        &["backup", "--no-such-flag", "."],
        &["backup", ".", "--vaultwarden", "data"],
        &["backup", ".", "--with-tmp"],
        &["backup", ".", "--lock-timeout", "soon"],
        &["ls"],
        &["dump", "latest"],
        &["restore", "latest"],
        &["restore", "--target", "x"],
        &["key"],
        &["key", "add", "--role", "king", "--label", "x"],
        &["key", "add", "--role", "backup"],
        &["key", "add", "--recovery", "--new-key-file", "x"],
        &["key", "add", "--role", "full", "--label", "x", "--recovery-html", "x"],
        &["key", "remove"],
        &["key", "passwd", "--new-key-file", "x", "--new-password-file", "y"],
        &["--recovery-key", "--key-file", "x", "snapshots"],
        &["snapshots", "extra"],
    ];
    for arguments in wrong {
        let outcome = plain(&folder, arguments).expect_code(2);
        assert!(outcome.stdout.is_empty(), "{arguments:?}: {}", outcome.out());
        assert!(outcome.err().contains("Usage:") || outcome.err().contains("--help"), "{}", outcome.err());
    }
    // Nothing was made on the way.
    assert!(!folder.join("x").exists());
}

#[test]
fn no_repository_is_exit_code_10() {
    let folder = TempFolder::new();
    folder.write("a file", "x");
    folder.write("other/things", "x");
    fs::create_dir(folder.join("empty")).unwrap();
    let commands: [&[&str]; 7] = [
        &["backup", "."],
        &["snapshots"],
        &["ls", "latest"],
        &["dump", "latest", "x"],
        &["restore", "latest", "--target", "target"],
        &["check"],
        &["key", "list"],
    ];
    for arguments in commands {
        for place in ["nowhere", "a file", "other", "empty"] {
            let outcome = plain(&folder, &[&["-r", place], arguments].concat()).expect_code(10);
            assert!(
                outcome.err().contains(place) && outcome.err().contains("strongroom init"),
                "{}",
                outcome.err()
            );
        }
        let outcome = plain(&folder, arguments).expect_code(10);
        assert!(outcome.err().contains("STRONGROOM_REPOSITORY"), "{}", outcome.err());
        let json = plain(&folder, &[&["--json", "-r", "nowhere"], arguments].concat()).expect_code(10);
        let object = &objects_of(arguments[0], &json)[0];
        assert_eq!((&object["message_type"], number(object, "code")), (&"exit_error".into(), 10));
    }
    assert!(!folder.join("target").exists() && !folder.join("nowhere").exists());
    for place in ["a file", "other"] {
        let outcome = plain(&folder, &["-r", place, "init", "--new-key-file", "key"]).expect_code(1);
        assert!(outcome.err().contains(place), "{}", outcome.err());
        assert!(!folder.join("key").exists());
    }
    assert!(plain(&folder, &["version"]).expect_code(0).out().starts_with("strongroom "));
    assert!(plain(&folder, &["--version"]).expect_code(0).out().starts_with("strongroom "));
}

#[test]
fn both_forms_say_the_same() {
    let site = small();
    let table: [(&[&str], &str, &[&str]); 8] = [
        (&["snapshots"], "snapshot", &["one", "first", "2 snapshots"]),
        (&["ls", "latest"], "node", &["/data/sub/other\n"]),
        (&["ls", "-l", "latest:/data/file"], "node", &["-rw-", "/data/file\n"]),
        (&["backup", "data"], "summary", &["snapshot ", "0 new", "processed"]),
        (&["backup", "-n", "data"], "summary", &["dry run", "would store"]),
        (&["check"], "summary", &["no problems found", "--read-data"]),
        (&["check", "--read-data"], "summary", &["no problems found"]),
        (&["key", "list"], "key", &["full", "first key", "(* in use)"]),
    ];
    for (arguments, kind, words) in table {
        for flags in [[].as_slice(), &["-v"]] {
            let outcome = site.run(0, [flags, arguments].concat());
            for word in words {
                assert!(
                    outcome.out().contains(word),
                    "{arguments:?} does not say {word:?}:\n{}",
                    outcome.out()
                );
            }
            assert!(
                !outcome.err().contains("panicked") && !outcome.err().contains("error"),
                "{}",
                outcome.err()
            );
        }
        for flags in [[].as_slice(), &["-v"], &["-q"]] {
            let objects = site.json(0, [flags, arguments].concat());
            assert_eq!(objects.last().unwrap()["message_type"], kind, "{arguments:?}");
        }
    }
    let restored = site.json(0, ["restore", "latest", "--target", "restored"]);
    assert_eq!(number(restored.last().unwrap(), "files_restored"), 3);
    let words = site.run(0, ["restore", "latest", "--target", "again"]).out();
    assert!(words.contains("restored 3 files, 2 folders"), "{words}");
    let mut init = strongroom(&site.folder);
    init.args(["--json", "-r", "third", "init", "--new-key-file", "third.key"]);
    assert_eq!(objects(&run(&mut init, DEADLINE).expect_code(0))[0]["message_type"], "initialized");
    let added = site.json(0, ["key", "add", "--role", "backup", "--label", "x", "--new-key-file", "x.key"]);
    assert_eq!((&added[0]["message_type"], &added[0]["role"]), (&"key_added".into(), &"backup".into()));
}

#[test]
fn quiet_prints_nothing_where_all_is_well() {
    let site = small();
    let commands: [&[&str]; 6] = [
        &["backup", "data"],
        &["backup", "-n", "data"],
        &["check"],
        &["check", "--read-data"],
        &["restore", "latest", "--target", "restored"],
        &["key", "add", "--role", "backup", "--label", "x", "--new-key-file", "x.key"],
    ];
    for arguments in commands {
        let outcome = site.run(0, [&["-q"], arguments].concat());
        assert_eq!((outcome.out(), outcome.err()), (String::new(), String::new()), "{arguments:?}");
    }
    // What was asked for is data, and an error is never kept quiet.
    assert_eq!(site.run(0, ["-q", "dump", "latest", "data/file"]).out(), "content");
    assert!(!site.run(1, ["-q", "ls", "latest~9"]).err().is_empty());
}

#[test]
fn a_reader_may_leave_early() {
    let site = Site::new();
    for number in 0..3000 {
        site.folder.write(format!("data/a rather long name of a file so that many make much-{number}"), "");
    }
    site.folder.write("data/large", Rng::new(2).bytes(4 << 20));
    site.backup(["data"]);
    let shell = |script: &str| {
        let template = site.command([""; 0]);
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(template.get_program()).args(template.get_args());
        command.current_dir(site.folder.path()).env_clear();
        command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(&mut command, DEADLINE)
    };
    for arguments in ["ls latest", "ls -l latest", "--json ls latest"] {
        let outcome = shell(&format!("{{ \"$@\" {arguments}; echo \"code $?\" >&2; }} | head -c 10"));
        assert_eq!(outcome.err(), "code 0\n", "{arguments}");
        assert_eq!(outcome.stdout.len(), 10);
    }
    // A file's contents are not done with what was read of them.
    let outcome = shell("{ \"$@\" dump latest data/large; echo \"code $?\" >&2; } | head -c 10");
    assert_eq!((outcome.err().as_str(), outcome.stdout.len()), ("code 1\n", 10));
    // Where nobody reads but everything must arrive, a full disk is an error.
    for arguments in
        ["ls latest", "--json ls latest", "dump latest data/large", "snapshots", "version", "key list"]
    {
        let outcome = shell(&format!("\"$@\" {arguments} >/dev/full"));
        let said = outcome.err();
        assert_eq!(outcome.code, Some(1), "{arguments}: {said}");
        assert!(said.contains("No space left on device"), "{arguments}: {said}");
    }
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let outcome = shell(&format!("\"$@\" -q backup data {closed}"));
        assert_eq!(outcome.code, Some(0), "{closed}: {}", outcome.err());
    }
    site.assert_sound();
}

#[test]
fn a_program_is_told_its_mistakes_and_the_version_as_objects() {
    let folder = TempFolder::new();
    let version = plain(&folder, &["version", "--json"]).expect_code(0);
    let version = &objects(&version)[0];
    assert_eq!(
        (&version["message_type"], &version["version"]),
        (&serde_json::json!("version"), &serde_json::json!(env!("CARGO_PKG_VERSION")))
    );
    for arguments in
        [&["--json", "forget"][..], &["snapshots", "--json", "--odd"], &["--json"], &["--json", "dump"]]
    {
        let outcome = plain(&folder, arguments).expect_code(2);
        let said = objects_of(if arguments.contains(&"dump") { "dump" } else { "" }, &outcome);
        assert_eq!(
            (&said[0]["message_type"], &said[0]["code"]),
            (&serde_json::json!("exit_error"), &serde_json::json!(2)),
            "{arguments:?}"
        );
        let message = said[0]["message"].as_str().unwrap();
        assert!(message.len() > 20 && !message.contains("error: "), "{message}");
        assert_eq!(said.len(), 1);
    }
    assert!(plain(&folder, &["--json", "--help"]).expect_code(0).out().contains("Usage"));
}

#[test]
fn nothing_given_reaches_a_terminal_unescaped() {
    let site = small();
    let evil = "\u{1b}[2Jevil\u{7}";
    site.folder.write(format!("data/{evil}"), "x");
    site.run(0, ["backup", "data", "--host", evil, "--tag", evil]);
    site.run(0, ["key", "add", "--role", "backup", "--label", evil, "--new-key-file", "evil.key"]);
    for arguments in [
        ["snapshots"].as_slice(),
        &["ls", "latest"],
        &["ls", "-l", "latest"],
        &["key", "list"],
        &["dump", "latest", evil],
        &["ls", evil],
        &["ls", &format!("latest:{evil}")],
        &["restore", "latest:data", "--target", "restored"],
        &["backup", "data", evil],
    ] {
        for flags in [[].as_slice(), &["--json"], &["-v"]] {
            let outcome = site.run_any([flags, arguments].concat());
            for byte in [0x1b, 0x07] {
                assert!(!outcome.stdout.contains(&byte), "{arguments:?}: {}", outcome.out());
                assert!(!outcome.stderr.contains(&byte), "{arguments:?}: {}", outcome.err());
            }
            drop(fs::remove_dir_all(site.join("restored")));
        }
    }
}

#[test]
fn a_terminal_sees_progress_and_the_result() {
    if !has_tool("script", "the program at a terminal") {
        return;
    }
    let site = small();
    site.folder.write("data/large", Rng::new(3).bytes(60 << 20));
    for (arguments, words) in [
        ("backup data", "saved"),
        ("check --read-data", "no problems found"),
        ("restore latest --target restored", "restored 4 files"),
        ("snapshots", "3 snapshots"),
        ("ls latest", "/data/large"),
    ] {
        let template = site.command([""; 0]);
        let program = template.get_program().to_str().unwrap();
        let line = format!("'{program}' -r repo --key-file full.key {arguments}");
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).current_dir(site.folder.path()).env_clear();
        command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("TERM", "xterm");
        let outcome = run(&mut command, DEADLINE).expect_code(0);
        assert!(outcome.out().contains(words), "{arguments}: {}", outcome.out());
        assert!(!outcome.out().contains("panicked"), "{}", outcome.out());
    }
}

#[test]
fn a_reader_who_leaves_hides_no_failure() {
    let site = Site::new();
    site.folder.write("data/file", vec![7; 100_000]);
    site.run(0, ["-q", "backup", "data"]);
    for pack in site.objects().into_keys().filter(|path| path.starts_with(site.join("repo/packs"))) {
        fs::remove_file(pack).expect("a pack");
    }
    for (arguments, code) in [(&["check"][..], 1), (&["--json", "check"], 1), (&["backup", "data"], 3)] {
        let mut command = site.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        drop(child.stdout.take());
        assert_eq!(child.wait().expect("it ends").code(), Some(code), "{arguments:?}");
    }
}
