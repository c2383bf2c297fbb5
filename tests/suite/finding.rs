//! Looking for files through the executable: versions over nights, whatever their names, with each key, and one
//! attachment of a vault by the commands that the README shows.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use strongroom::service::vaultwarden::generator::{Options, generate};

use crate::services::names;
use crate::site::{DEADLINE, Site, number, objects, set_mtime};
use crate::support::{Outcome, Rng, run};

/// Three nights of a few files, of which one changes, one goes, and one comes.
fn nights() -> Site {
    let site = Site::new();
    site.folder.write("data/notes.txt", "one");
    site.folder.write("data/old", "old");
    site.folder.write("data/sub/Notes.TXT", Rng::new(1).bytes(3000));
    set_mtime(&site.join("data/notes.txt"), 1_600_000_000, 0);
    set_mtime(&site.join("data/sub/Notes.TXT"), 1_500_000_000, 0);
    site.backup(["data", "--host", "one", "--tag", "first"]);
    fs::write(site.join("data/notes.txt"), "two!").unwrap();
    set_mtime(&site.join("data/notes.txt"), 1_600_100_000, 0);
    fs::remove_file(site.join("data/old")).unwrap();
    site.backup(["data", "--host", "one"]);
    fs::write(site.join("data/new\n\x1b[31mred"), "new").unwrap();
    site.backup(["data", "--host", "two"]);
    site
}

fn ids(site: &Site) -> Vec<String> {
    let snapshots = site.json(0, ["snapshots"]);
    snapshots.iter().map(|snapshot| snapshot["id"].as_str().unwrap().to_owned()).collect()
}

fn matches(objects: &[Value]) -> Vec<(String, u64, Vec<String>)> {
    let found = objects.iter().filter(|object| object["message_type"] == "match");
    let strings = |list: &Value| {
        list.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    found
        .map(|object| {
            let path = object["path"].as_str().unwrap().to_owned();
            (path, number(object, "size"), strings(&object["snapshots"]))
        })
        .collect()
}

#[test]
fn each_version_of_a_path_is_told_once_with_the_snapshots_that_hold_it() {
    let site = nights();
    let ids = ids(&site);
    let notes = |ids: [&[String]; 2]| {
        vec![
            ("/data/notes.txt".to_owned(), 4, ids[0].to_vec()),
            ("/data/notes.txt".to_owned(), 3, ids[1].to_vec()),
        ]
    };
    let found = site.json(0, ["find", "notes.txt"]);
    assert_eq!(matches(&found), notes([&ids[1..], &ids[..1]]));
    let summary = found.last().unwrap();
    assert_eq!((number(summary, "paths"), number(summary, "versions")), (1, 2));
    assert_eq!(number(summary, "snapshots_searched"), 3);
    let find = |arguments: &[&str]| matches(&site.json(0, [&["find"], arguments].concat()));
    assert_eq!(find(&["-i", "/DATA/notes.*"]), notes([&ids[1..], &ids[..1]]));
    assert_eq!(find(&["data/n*", "-s", &ids[1], "-s", "latest~2"]), notes([&ids[1..2], &ids[..1]]));
    assert_eq!(find(&["notes.txt", "--host", "two"]), notes([&ids[2..], &[]])[..1]);
    assert_eq!(find(&["*.txt", "--tag", "first"]), notes([&[], &ids[..1]])[1..]);
    assert_eq!(find(&["*.txt", "--oldest", "2020-09-14T12:00:00Z"]), notes([&ids[1..], &[]])[..1]);
    assert_eq!(find(&["*.txt", "--older", "2020-09-14T12:00:00Z"]), notes([&[], &ids[..1]])[1..]);
    let paths = |arguments: &[&str]| {
        let mut paths: Vec<String> = find(arguments).into_iter().map(|(path, ..)| path).collect();
        // A folder has a version for each night on which something in it came or went.
        paths.dedup();
        paths
    };
    assert_eq!(paths(&["--larger", "2k"]), ["/data/sub/Notes.TXT"]);
    assert_eq!(paths(&["--type", "d", "**"]), ["/data", "/data/sub"]);
    assert_eq!(paths(&["-O", "1d", "--type", "f"]), ["/data/new\n\u{1b}[31mred", "/data/old"]);
    assert_eq!(paths(&["-i", "**/notes.txt", "!/data/notes.txt"]), ["/data/sub/Notes.TXT"]);
}

#[test]
fn people_read_lines_and_programs_names_that_end_in_a_zero_byte() {
    let site = nights();
    let ids: Vec<String> = ids(&site).iter().map(|id| id[..8].to_owned()).collect();
    let out = site.run(0, ["find", "notes.txt", "new*"]).out();
    let expected = [
        "/data/new\\n\\u{1b}[31mred".to_owned(),
        format!("in {}", ids[2]),
        "/data/notes.txt".to_owned(),
        format!("  2020-09-14 16:13:20          4 B  in 2 snapshots, {} to {}", ids[1], ids[2]),
        format!("  2020-09-13 12:26:40          3 B  in {}", ids[0]),
        "2 paths with 3 versions in 3 snapshots".to_owned(),
    ];
    for (line, expected) in out.lines().zip(&expected) {
        assert!(line.ends_with(expected.as_str()), "{line}\n{expected}");
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert_eq!(out.lines().count(), expected.len(), "{out}");
    let out = site.run(0, ["find", "-l", "notes.txt"]).out();
    assert!(out.contains(&format!("\n    in {} of 20", ids[2])) && out.contains("  -rw-"), "{out}");
    assert_eq!(site.run(0, ["find", "-0", "n*"]).stdout, b"/data/new\n\x1b[31mred\0/data/notes.txt\0");
    let outcome = site.run(0, ["find", "nothing"]);
    assert_eq!(outcome.out(), "0 paths with 0 versions in 3 snapshots\n");
    assert!(site.run(0, ["-q", "find", "nothing"]).out().is_empty());
}

#[test]
fn a_search_that_asks_for_nothing_or_for_nonsense_is_refused() {
    let site = Site::new();
    for wrong in
        [&["find"][..], &["find", "--larger", "many"], &["find", "--type", "x"], &["find", "-0", "-l", "x"]]
    {
        site.run(2, wrong);
    }
    for wrong in [&["find", "a["][..], &["find", "--blob", "xyz"], &["find", "--pack", "12345678"]] {
        assert!(!site.run(1, wrong).err().is_empty(), "{wrong:?}");
    }
}

#[test]
fn blobs_and_packs_lead_to_the_files_that_need_them() {
    let site = nights();
    site.folder.write("data/large", Rng::new(9).bytes(9 << 20));
    site.backup(["data"]);
    let ids = ids(&site);
    let packs = fs::read_dir(site.join("repo/packs")).unwrap().flat_map(|folder| {
        fs::read_dir(folder.unwrap().path())
            .unwrap()
            .map(|pack| pack.unwrap().file_name().into_string().unwrap())
    });
    let (mut files, mut trees, mut large) = (0, 0, 0);
    for pack in packs {
        let found = site.json(0, ["find", "--pack", &pack[..12]]);
        let matches = matches(&found);
        large += matches.iter().filter(|(path, ..)| path == "/data/large").count();
        files += matches.len();
        let blobs: Vec<&Value> = found.iter().filter(|object| object["message_type"] == "blob").collect();
        trees += blobs.len();
        for blob in blobs {
            let id = blob["id"].as_str().unwrap();
            let again = site.json(0, ["find", "--blob", &id[..10]]);
            assert_eq!(&again[0], blob);
        }
    }
    // Every file with contents lies in some pack, and so does each tree.
    assert!(files >= 6 && large > 0, "{files} {large}");
    assert_eq!(trees, ids.len());
}

#[test]
fn a_key_that_reads_no_contents_finds_files_and_one_that_only_adds_does_not() {
    let site = nights();
    for role in ["maintain", "backup"] {
        let file = format!("{role}.key");
        site.run(0, ["key", "add", "--role", role, "--label", role, "--new-key-file", &file]);
    }
    let with = |key: &str, arguments: &[&str], code| {
        run(&mut site.command_with(key, arguments), DEADLINE).expect_code(code)
    };
    let commands: [&[&str]; 4] = [
        &["find", "notes.txt"],
        &["diff", "latest~2", "latest", "--metadata"],
        &["diff", "latest:data", "--folder", "data", "--contents", "--metadata"],
        &["ls", "-l", "latest", "data"],
    ];
    for command in commands {
        let out = with("maintain.key", command, 0).out();
        assert_eq!(out, site.run(0, command).out(), "{command:?}");
        assert!(!out.is_empty());
        let refused = with("backup.key", command, 12);
        assert!(refused.stdout.is_empty() && refused.err().contains("maintain"), "{}", refused.err());
    }
}

/// Runs a command in a shell that finds the program by its name.
fn shell(site: &Site, script: &str) -> Outcome {
    let template = site.command([""; 0]);
    let program = Path::new(template.get_program()).parent().unwrap();
    let mut path = program.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(site.folder.path()).env_clear();
    command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", path);
    command.env("STRONGROOM_REPOSITORY", "repo").env("STRONGROOM_KEY_FILE", "full.key");
    run(&mut command, DEADLINE)
}

#[test]
fn a_reader_may_leave_early() {
    let site = Site::new();
    for file in 0..4000 {
        site.folder.write(format!("data/{}/file{file}", file % 50), file.to_string());
    }
    site.backup(["data"]);
    for command in [
        "find '*'",
        "find -0 '*'",
        "find --json '*'",
        "diff latest:data/1 latest",
        "ls -l --sort time latest",
    ] {
        let outcome =
            shell(&site, &format!("{{ strongroom {command}; echo \"code $?\" >&2; }} | head -c 10"));
        assert_eq!((outcome.err().as_str(), outcome.stdout.len()), ("code 0\n", 10), "{command}");
        let full = shell(&site, &format!("strongroom {command} >/dev/full"));
        assert_eq!(full.code, Some(1), "{command}: {}", full.err());
    }
}

/// The commands in a section of the README.
fn commands_of(section: &str) -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, rest) = readme.split_once(&format!("\n## {section}\n")).expect("the section is there");
    let section = rest.split("\n## ").next().unwrap();
    let blocks = section.split("```").skip(1).step_by(2);
    blocks
        .flat_map(|block| block.lines().filter(|line| line.starts_with("strongroom")).map(str::to_owned))
        .collect()
}

#[test]
fn one_attachment_comes_back_by_the_commands_of_the_readme() {
    let site = Site::new();
    let data = site.join("data");
    generate(&data, &Options::small()).unwrap();
    site.backup(["--vaultwarden", "data"]);
    let cipher = names(&data.join("attachments")).into_iter().next().unwrap();
    let attachment = names(&data.join("attachments").join(&cipher)).into_iter().next().unwrap();
    let lost = data.join("attachments").join(&cipher).join(&attachment);
    let content = fs::read(&lost).unwrap();
    fs::remove_file(&lost).unwrap();
    site.backup(["data"]);
    let commands = commands_of("One attachment");
    assert_eq!(commands.len(), 3, "{commands:?}");
    let snapshot = ids(&site)[0][..8].to_owned();
    let path = format!("/attachments/{cipher}/{attachment}");
    let by_cipher = shell(&site, &commands[0].replace("UUID", &cipher));
    assert!(by_cipher.out().contains(&format!("{path}\n")), "{}", by_cipher.out());
    assert!(by_cipher.out().contains(&format!("in {snapshot}")), "{}", by_cipher.out());
    let by_guess = shell(&site, &commands[1]);
    assert_eq!(by_guess.code, Some(0), "{}", by_guess.err());
    assert_eq!(by_guess.out().contains(&path), content.len() >= 100 << 10, "{}", by_guess.out());
    let dump = commands[2]
        .replace("SNAPSHOT", &snapshot)
        .replace("UUID", &cipher)
        .replace("ATTACHMENT", &attachment);
    let dumped = shell(&site, &dump);
    assert_eq!(dumped.code, Some(0), "{}", dumped.err());
    assert_eq!(fs::read(site.join("attachment.bin")).unwrap(), content);
}

#[test]
fn a_listing_is_sorted_as_asked_for() {
    let site = Site::new();
    for (name, length, time) in
        [("b.txt", 3000, 5), ("a.rs", 10, 9), ("sub/c.txt", 200, 1), ("sub/deep/d", 5, 7)]
    {
        let path = site.folder.write(format!("data/{name}"), Rng::new(1).bytes(length));
        set_mtime(&path, 1_600_000_000 + time, 0);
    }
    site.backup(["data"]);
    let files = |arguments: &[&str]| -> Vec<String> {
        let out = site.run(0, [&["ls"], arguments].concat()).out();
        let name = |line: &str| line.rsplit('/').next().unwrap().to_owned();
        out.lines().map(name).filter(|name| !["data", "sub", "deep"].contains(&name.as_str())).collect()
    };
    assert_eq!(files(&["latest"]), ["a.rs", "b.txt", "c.txt", "d"]);
    assert_eq!(files(&["latest", "--reverse"]), ["d", "c.txt", "b.txt", "a.rs"]);
    assert_eq!(files(&["latest", "--sort", "size"]), ["b.txt", "c.txt", "a.rs", "d"]);
    assert_eq!(files(&["latest", "--sort", "time", "-l"]), ["a.rs", "d", "b.txt", "c.txt"]);
    assert_eq!(files(&["latest", "--sort", "extension"]), ["d", "a.rs", "b.txt", "c.txt"]);
    let listed = |arguments: &[&str]| site.run(0, [&["ls"], arguments].concat()).out();
    assert_eq!(listed(&["latest", "/data"]), "/data\n/data/a.rs\n/data/b.txt\n/data/sub\n");
    assert_eq!(
        listed(&["latest:data", "sub", "a.rs"]),
        "/data/sub\n/data/sub/c.txt\n/data/sub/deep\n/data/a.rs\n"
    );
    assert_eq!(
        listed(&["latest", "data/sub", "-R"]),
        "/data/sub\n/data/sub/c.txt\n/data/sub/deep\n/data/sub/deep/d\n"
    );
    assert!(listed(&["latest:data/b.txt", "-l", "--human-readable"]).contains("  2.93 KiB  2020-09-13"));
    site.run(1, ["ls", "latest", "data", "nowhere"]);
    let node = objects(&site.run(0, ["--json", "ls", "latest:data/a.rs"])).remove(0);
    assert!(
        number(&node, "inode") > 0 && number(&node, "links") == 1 && number(&node, "device_id") > 0,
        "{node}"
    );
    if crate::support::is_root("device numbers in a listing") {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::CharacterDevice;
        let number_of = rustix::fs::makedev(300, 70_000);
        if rustix::fs::mknodat(rustix::fs::CWD, site.join("data/device"), kind, mode, number_of).is_err() {
            return crate::support::untested("device numbers in a listing (may not make any)");
        }
        site.backup(["data"]);
        let node = objects(&site.run(0, ["--json", "ls", "latest:data/device"])).remove(0);
        assert_eq!((number(&node, "device_major"), number(&node, "device_minor")), (300, 70_000));
        assert!(listed(&["latest:data/device", "-l"]).contains("300, 70000"));
    }
}
