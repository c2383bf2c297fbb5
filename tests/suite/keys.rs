//! Keys: how they are given, what each role may do, and that no secret is ever shown.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::site::{DEADLINE, Site, each_file, last, number, objects, objects_of};
use crate::support::{Outcome, Rng, TempFolder, has_tool, run, strongroom};

const PASSWORD: &str = "correct horse battery staple";

/// Variables and their values.
type Variables<'a> = &'a [(&'a str, &'a str)];

/// The program in a folder, with variables set.
fn program(folder: &TempFolder, variables: Variables<'_>, arguments: &[&str]) -> Outcome {
    // Without a terminal: where one is at hand, a missing password would be asked for.
    let template = strongroom(folder);
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(template.get_program()).current_dir(folder.path()).env_clear();
    command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("STRONGROOM_REPOSITORY", "repo").envs(variables.iter().copied()).args(arguments);
    run(&mut command, DEADLINE)
}

#[test]
fn a_password_comes_from_a_file_a_command_or_the_environment() {
    if !has_tool("setsid", "passwords without a terminal") {
        return;
    }
    let folder = TempFolder::new();
    folder.write("password", format!("{PASSWORD}\nand a second line that does not count\n"));
    folder.write("windows", format!("{PASSWORD}\r\n"));
    folder.write("bare", PASSWORD);
    folder.write("empty", "\n");
    folder.write("wrong", "wrong");
    let command = format!("printf '%s\\n' '{PASSWORD}'");
    let unset =
        [("STRONGROOM_KEY_FILE", ""), ("STRONGROOM_PASSWORD_COMMAND", ""), ("STRONGROOM_PASSWORD_FILE", "")];
    let init = program(&folder, &[&unset[..], &[("STRONGROOM_PASSWORD", PASSWORD)]].concat(), &["init"]);
    init.expect_code(0);
    let good: [(Variables<'_>, &[&str]); 8] = [
        (&[("STRONGROOM_PASSWORD", PASSWORD)], &[]),
        (&[("STRONGROOM_PASSWORD_FILE", "windows")], &[]),
        (&[("STRONGROOM_PASSWORD_COMMAND", &command)], &[]),
        (&[], &["--password-file", "password"]),
        (&[], &["--password-file", "bare"]),
        (&[], &["--password-command", &command]),
        // A flag wins over a variable.
        (
            &[("STRONGROOM_PASSWORD", "wrong"), ("STRONGROOM_KEY_FILE", "no such file")],
            &["--password-file", "bare"],
        ),
        (&[("STRONGROOM_PASSWORD", PASSWORD), ("STRONGROOM_PASSWORD_FILE", "")], &[]),
    ];
    for (variables, flags) in good {
        program(&folder, variables, &[flags, &["snapshots"]].concat()).expect_code(0);
    }
    let wrong: [(Variables<'_>, &[&str]); 4] = [
        (&[("STRONGROOM_PASSWORD", "wrong")], &[]),
        (&[], &["--password-file", "wrong"]),
        (&[], &["--password-command", "echo wrong"]),
        // A trailing blank is part of a password.
        (&[("STRONGROOM_PASSWORD", "correct horse battery staple ")], &[]),
    ];
    for (variables, flags) in wrong {
        let outcome = program(&folder, variables, &[flags, &["snapshots"]].concat()).expect_code(12);
        assert!(
            outcome.err().contains("no key of this repository opens with this password"),
            "{}",
            outcome.err()
        );
    }
    // No password at all, or none that can be: the program says so, and asks nobody.
    let none: [(Variables<'_>, &[&str], &str); 6] = [
        (&[], &[], "there is no terminal to ask at"),
        (&[("STRONGROOM_PASSWORD", "")], &[], "there is no terminal to ask at"),
        (&[], &["--password-file", "empty"], "is empty"),
        (&[], &["--password-file", "no such file"], "no such file"),
        (&[], &["--password-command", "exit 7"], "failed"),
        (&[], &["--password-command", "true"], "is empty"),
    ];
    for (variables, flags, why) in none {
        let outcome = program(&folder, variables, &[flags, &["snapshots"]].concat()).expect_code(1);
        assert!(outcome.err().contains(why), "{why}: {}", outcome.err());
    }
}

#[test]
fn a_new_password_opens_beside_the_old_one() {
    let site = Site::new();
    site.folder.write("new", PASSWORD);
    let add = ["key", "add", "--role", "full", "--label", "person", "--new-password-file", "new"];
    site.run(0, add);
    let mut command = strongroom(&site.folder);
    command.args(["-r", "repo", "--password-file", "new", "--json", "key", "list"]);
    let keys = objects(&run(&mut command, DEADLINE).expect_code(0));
    let shown: Vec<_> = keys
        .iter()
        .map(|key| {
            [&key["role"], &key["opens_with"], &key["label"]].map(|field| field.as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(shown, [["full", "key file", "first key"], ["full", "password", "person"]]);
    assert_eq!(keys[1]["current"], true);
}

#[test]
fn a_wrong_key_file_is_told_from_a_damaged_one() {
    let site = Site::new();
    let other = Site::new();
    let key = fs::read_to_string(site.join("full.key")).unwrap();
    fs::copy(other.join("full.key"), site.join("other.key")).unwrap();
    let stranger = run(&mut site.command_with("other.key", ["snapshots"]), DEADLINE).expect_code(12);
    assert!(
        stranger.err().contains("no key of this repository opens with this key file"),
        "{}",
        stranger.err()
    );
    let line = key.lines().find(|line| line.starts_with("STRONGROOM-KEY-1-")).unwrap();
    let flipped = if line.contains('7') { line.replacen('7', "8", 1) } else { line.replacen('a', "b", 1) };
    for (text, why) in [
        (flipped.as_str(), "checksum"),
        (&line[..40], "checksum"),
        ("", "no line with a key"),
        ("hello\n", "no line with a key"),
    ] {
        site.folder.write("bad.key", text);
        let outcome = run(&mut site.command_with("bad.key", ["snapshots"]), DEADLINE).expect_code(12);
        assert!(outcome.err().contains(why) && outcome.err().contains("bad.key"), "{why}: {}", outcome.err());
    }
    // Only the line counts; people may indent it, or write around it.
    site.folder.write("good.key", format!("For the safe.\n\n  {line}  \r\nEnd.\n"));
    run(&mut site.command_with("good.key", ["snapshots"]), DEADLINE).expect_code(0);
    run(&mut site.command_with("no such.key", ["snapshots"]), DEADLINE).expect_code(1);
    // A key file is never overwritten, and none is left where nothing was made.
    let again = site.run(1, ["key", "add", "--role", "full", "--label", "x", "--new-key-file", "full.key"]);
    assert!(again.err().contains("is there already"), "{}", again.err());
    assert_eq!(fs::read_to_string(site.join("full.key")).unwrap(), key);
    site.run(1, ["init", "--new-key-file", "second.key"]);
    assert!(!site.join("second.key").exists());
}

/// Adds a key file of each role, named after it.
fn with_roles(site: &Site) {
    for role in ["backup", "maintain"] {
        let file = format!("{role}.key");
        site.run(0, ["key", "add", "--role", role, "--label", role, "--new-key-file", &file]);
    }
}

#[test]
fn a_role_allows_what_it_says_and_no_more() {
    let site = Site::new();
    with_roles(&site);
    site.folder.write("data/file", "secret content");
    site.backup(["data"]);
    let full = [0, 0, 12];
    let table: [(&[&str], [i32; 3]); 14] = [
        // maintain, full, backup
        (&["snapshots"], [0, 0, 0]),
        (&["key", "list"], [0, 0, 0]),
        (&["backup", "data"], [0, 0, 0]),
        (&["backup", "-n", "data"], [0, 0, 0]),
        (&["ls", "latest"], full),
        (&["ls", "-l", "latest:/data"], full),
        (&["check"], full),
        (&["check", "--read-data"], full),
        (&["key", "add", "--role", "backup", "--label", "x", "--new-key-file", "new.key"], full),
        (&["key", "add", "--role", "maintain", "--label", "x", "--new-key-file", "new.key"], full),
        (&["key", "add", "--role", "full", "--label", "x", "--new-key-file", "new.key"], [12, 0, 12]),
        (&["dump", "latest", "/data/file"], [12, 0, 12]),
        (&["restore", "latest", "--target", "restored"], [12, 0, 12]),
        (&["restore", "latest:/data/file", "--target", "restored"], [12, 0, 12]),
    ];
    for (arguments, codes) in table {
        for (key, code) in ["maintain.key", "full.key", "backup.key"].into_iter().zip(codes) {
            let outcome = run(&mut site.command_with(key, arguments), DEADLINE);
            let said = outcome.err();
            assert_eq!(outcome.code, Some(code), "{arguments:?} with {key}: {said}");
            if code == 12 {
                let needed = if codes[0] == 0 { "maintain or full" } else { "full" };
                assert!(said.contains(&format!("needs a key of role {needed};")), "{said}");
                assert!(outcome.stdout.is_empty(), "{}", outcome.out());
                assert!(!site.join("new.key").exists() && !site.join("restored").exists());
                let mut json = site.command_with(key, ["--json"]);
                let object =
                    &objects_of(arguments[0], &run(json.args(arguments), DEADLINE).expect_code(12))[0];
                assert_eq!((&object["message_type"], number(object, "code")), (&"exit_error".into(), 12));
            }
            drop(fs::remove_file(site.join("new.key")));
            drop(fs::remove_dir_all(site.join("restored")));
        }
    }
}

#[test]
fn a_key_made_by_a_maintain_key_is_no_stronger() {
    let site = Site::new();
    with_roles(&site);
    let arguments =
        ["key", "add", "--role", "maintain", "--label", "grandchild", "--new-key-file", "third.key"];
    run(&mut site.command_with("maintain.key", arguments), DEADLINE).expect_code(0);
    site.folder.write("data/file", "x");
    run(&mut site.command_with("third.key", ["-q", "backup", "data"]), DEADLINE).expect_code(0);
    run(&mut site.command_with("third.key", ["dump", "latest", "data/file"]), DEADLINE).expect_code(12);
    // What it wrote is whole, and read with the full key.
    assert_eq!(site.run(0, ["dump", "latest", "data/file"]).out(), "x");
    site.assert_sound();
}

#[test]
fn a_backup_key_stores_nothing_twice() {
    let site = Site::new();
    with_roles(&site);
    let mut rng = Rng::new(1);
    for number in 0..40 {
        site.folder.write(format!("data/file-{number}"), rng.bytes(100_000));
    }
    site.folder.write("data/large", rng.bytes(9 << 20));
    let backup = |flags: &[&str]| {
        let mut command = site.command_with("backup.key", ["--json"]);
        command.args(flags).args(["backup", "data"]);
        last(&objects(&run(&mut command, DEADLINE).expect_code(0)))
    };
    let first = backup(&[]);
    assert!(number(&first, "data_added") > 13_000_000);
    let (packs, bytes) = (site.count("packs"), site.pack_bytes());
    for flags in
        [[].as_slice(), &["--no-cache"], &["--cache-dir", "a new one"], &["--cache-dir", "a new one"]]
    {
        let again = backup(flags);
        assert_eq!(number(&again, "data_added"), 0, "{flags:?}: {again}");
        assert_eq!(number(&again, "files_new") + number(&again, "files_unmodified"), 41, "{again}");
    }
    fs::remove_dir_all(site.join("home/.cache")).unwrap();
    assert_eq!(number(&backup(&[]), "data_added"), 0);
    assert_eq!((site.count("packs"), site.pack_bytes()), (packs, bytes));
    // Other names for what is known cost their names; a changed piece costs its chunks.
    fs::rename(site.join("data/large"), site.join("data/renamed")).unwrap();
    assert!(number(&backup(&[]), "data_added") < 100_000);
    let mut content = fs::read(site.join("data/renamed")).unwrap();
    content[5_000_000] ^= 1;
    content.splice(2_000_000..2_000_000, *b"inserted");
    fs::write(site.join("data/renamed"), content).unwrap();
    let changed = number(&backup(&["--no-cache"]), "data_added");
    assert!(changed > 0 && changed < 9 << 20, "{changed} bytes");
    // Two keys of one repository find each other's chunks.
    assert_eq!(number(&site.backup(["data"]), "data_blobs"), 0);
    site.assert_sound();
}

/// Looks for a secret, as text and as bytes.
#[track_caller]
fn assert_absent(place: &str, bytes: &[u8], secrets: &[Vec<u8>]) {
    for secret in secrets {
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_slice());
        assert!(!found, "a secret shows in {place}");
    }
}

#[test]
fn no_secret_is_shown_or_left_lying() {
    let site = Site::new();
    with_roles(&site);
    site.folder.write("password", PASSWORD);
    site.run(0, ["key", "add", "--role", "full", "--label", "person", "--new-password-file", "password"]);
    site.folder.write("data/file", "content that nobody else may see");
    let mut secrets = vec![PASSWORD.as_bytes().to_vec(), b"content that nobody else may see".to_vec()];
    for role in ["full", "backup", "maintain"] {
        let text = fs::read_to_string(site.join(format!("{role}.key"))).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("STRONGROOM-KEY-1-")).unwrap();
        let digits = line.split('-').next().unwrap();
        let bytes = (0..32).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect();
        secrets.extend([digits.as_bytes().to_vec(), bytes]);
    }
    let commands: [&[&str]; 9] = [
        &["backup", "data"],
        &["backup", "-n", "data"],
        &["snapshots"],
        &["ls", "-l", "latest"],
        &["check", "--read-data"],
        &["key", "list"],
        &["restore", "latest", "--target", "restored"],
        &["key", "add", "--role", "full", "--label", "x", "--new-password-file", "password"],
        &["dump", "latest", "no such file"],
    ];
    let credentials: [&[&str]; 5] = [
        &["--key-file", "full.key"],
        &["--key-file", "backup.key"],
        &["--key-file", "maintain.key"],
        &["--password-file", "password"],
        &["--password-file", "data/file"],
    ];
    for credential in credentials {
        for form in [["-v"].as_slice(), &["--json", "-v"]] {
            for arguments in commands {
                let mut command = strongroom(&site.folder);
                command.args(["-r", "repo"]).args(credential).args(form).args(arguments);
                let outcome = run(&mut command, DEADLINE);
                let name = format!("{credential:?} {form:?} {arguments:?}");
                assert_absent(&name, &outcome.stdout, &secrets);
                assert_absent(&name, &outcome.stderr, &secrets);
                drop(fs::remove_dir_all(site.join("restored")));
            }
        }
    }
    for folder in ["repo", "home", "tmp"] {
        each_file(&site.join(folder), &mut |path, _| {
            assert_absent(&path.display().to_string(), &fs::read(path).unwrap(), &secrets);
        });
    }
}

/// Asserts that nobody but the owner gets at a folder and what is in it.
fn assert_private(path: &Path) {
    let metadata = path.symlink_metadata().unwrap();
    assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            assert_private(&entry.unwrap().path());
        }
    }
}

#[test]
fn what_is_written_is_the_owners_alone_whatever_the_umask() {
    let folder = TempFolder::new();
    folder.write("data/file", "x");
    let run_open = |arguments: &[&str]| {
        let template = strongroom(&folder);
        let mut command = Command::new("sh");
        command.args(["-c", "umask 000; exec \"$@\"", "sh"]).arg(template.get_program());
        command.args(["-r", "repo"]).args(arguments).env_clear().current_dir(folder.path());
        command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(&mut command, DEADLINE).expect_code(0)
    };
    run_open(&["init", "--new-key-file", "full.key"]);
    let key = ["--key-file", "full.key"];
    run_open(
        &[&key[..], &["key", "add", "--role", "backup", "--label", "x", "--new-key-file", "backup.key"]]
            .concat(),
    );
    run_open(&["--key-file", "backup.key", "--cache-dir", "cache", "backup", "data"]);
    run_open(&[&key[..], &["backup", "data"]].concat());
    for name in ["full.key", "backup.key", "cache", "repo"] {
        assert_private(&folder.join(name));
    }
    let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("full.key"), mode("backup.key")), (0o600, 0o600));
    each_file(&folder.join("cache"), &mut |path, metadata| {
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{}", path.display());
    });
    for entry in fs::read_dir(folder.join("home/.cache/strongroom")).unwrap() {
        assert_private(&entry.unwrap().path());
    }
}

#[test]
fn a_key_slot_from_another_repository_opens_nothing() {
    let site = Site::new();
    let other = Site::new();
    for entry in fs::read_dir(other.join("repo/keys")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), site.join("repo/keys").join(entry.file_name())).unwrap();
    }
    fs::copy(other.join("full.key"), site.join("other.key")).unwrap();
    let arguments: [&OsStr; 1] = ["snapshots".as_ref()];
    run(&mut site.command_with("other.key", arguments), DEADLINE).expect_code(12);
    site.run(0, ["snapshots"]);
    // It is not in the way either, and it is named.
    let said = site.run(3, ["key", "list"]).err();
    assert!(said.contains("problem"), "{said}");
}
