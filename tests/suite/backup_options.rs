//! What the options of `backup` leave out, take in and compare with, through the executable.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use rusqlite::Connection;
use rustix::fs::{CWD, FileType, Mode};
use serde_json::{Value, json};

use crate::site::{DEADLINE, Site, assert_same, last, let_times_settle, number, objects, see, set_mtime};
use crate::support::{Outcome, SmallDisk, run, run_with_input};

const SIGNATURE: &str = "Signature: 8a477f597d28d172789f06886806bc55";

/// A site with files of these names in `data`, each holding its name.
fn site(names: &[&str]) -> Site {
    let site = Site::new();
    for name in names {
        site.folder.write(Path::new("data").join(name), name);
    }
    site
}

/// What the latest snapshot holds in `data`.
fn listed(site: &Site) -> Vec<String> {
    let out = site.run(0, ["ls", "latest:/data"]).out();
    out.lines().filter_map(|line| line.strip_prefix("/data/")).map(str::to_owned).collect()
}

/// What is left of `data` after a backup with these options.
#[track_caller]
fn left(site: &Site, options: &[&str]) -> Vec<String> {
    site.backup([&["data"], options].concat());
    listed(site)
}

fn excludes(site: &Site) -> Value {
    site.json(0, ["snapshots"]).pop().expect("a snapshot")["excludes"].clone()
}

#[test]
fn patterns_of_files_follow_those_of_the_command_line() {
    let site = site(&["a.tmp", "keep.tmp", "B.Bak", "c.log", "d$x", "home", "# odd"]);
    let list = "\u{feff}# a comment\n\n  *.tmp \t\r\n!keep.tmp\n   # another\nd$$x\n$NAME\n${NAME}\n";
    site.folder.write("list", list);
    site.folder.write("letters", "*.BAK\n");
    let mut backup = site.command(["-q", "backup", "data", "-e", "*.log", "-e", "!c.log"]);
    backup
        .args(["--exclude-file", "list", "--iexclude-file", "letters", "--iexclude", "A*"])
        .env("NAME", "home");
    run(&mut backup, DEADLINE).expect_code(0);
    assert_eq!(listed(&site), ["# odd", "c.log", "keep.tmp"]);
    let told = json!([
        "*.log",
        "!c.log",
        "*.tmp",
        "!keep.tmp",
        "d$x",
        "home",
        "home",
        "--iexclude=A*",
        "--iexclude=*.BAK"
    ]);
    assert_eq!(excludes(&site), told);
}

#[test]
fn what_is_wrong_with_a_list_is_named_with_its_line() {
    let site = site(&["a"]);
    for (content, line, why) in [
        (&b"*.tmp\n\na[\n"[..], 3, "a["),
        (b"$NOT_SET/x\n", 1, "NOT_SET"),
        (b"# x\nbad\xff\n", 2, "not text"),
        (b"a/../b", 1, ".."),
        (b"ok\n!\n", 2, "names nothing"),
    ] {
        site.folder.write("list", content);
        let said = site.run(1, ["backup", "data", "--exclude-file", "list"]).err();
        assert!(said.contains(&format!("list, line {line}")) && said.contains(why), "{said}");
    }
    let said = site.run(1, ["backup", "data", "--exclude-file", "none"]).err();
    assert!(said.contains("cannot open none"), "{said}");
    let said = site.run(2, ["backup", "data", "--exclude-larger-than", "big"]).err();
    assert!(said.contains("500M"), "{said}");
    assert!(site.run(2, ["backup", "data", "--exclude-if-present", "a/b"]).err().contains("without a slash"));
    assert_eq!(site.count("snapshots"), 0);
    assert_eq!(site.count("sessions"), 0, "what is refused leaves nothing behind");
}

#[test]
fn marked_folders_keep_themselves_and_their_marks() {
    let site =
        site(&["cache/x", "cache/sub/y", "no/x", "empty/x", "short/x", "mark/x", "mark/sub/y", "half/x"]);
    site.folder.write("data/cache/CACHEDIR.TAG", format!("{SIGNATURE}\n# by a test"));
    site.folder.write("data/no/CACHEDIR.TAG", "Signature: something else");
    site.folder.write("data/empty/CACHEDIR.TAG", "");
    site.folder.write("data/short/CACHEDIR.TAG", &SIGNATURE[..20]);
    site.folder.write("data/mark/.nobackup", "");
    site.folder.write("data/half/.half", "half: yes and more");
    // What is no file cannot be asked for its beginning, and must not be waited for.
    fs::create_dir(site.join("data/pipe")).unwrap();
    let pipe = site.join("data/pipe/CACHEDIR.TAG");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let all = left(&site, &[]);
    let without = |gone: &[&str]| -> Vec<String> {
        all.iter().filter(|name| !gone.contains(&name.as_str())).cloned().collect()
    };
    let cache = ["cache/x", "cache/sub", "cache/sub/y"];
    assert_eq!(left(&site, &["--exclude-caches"]), without(&cache));
    assert_eq!(excludes(&site), json!(["--exclude-caches"]));
    let mark = ["mark/x", "mark/sub", "mark/sub/y"];
    assert_eq!(left(&site, &["--exclude-if-present", ".nobackup"]), without(&mark));
    assert_eq!(left(&site, &["--exclude-if-present", ".half:half: yes"]), without(&["half/x"]));
    assert_eq!(excludes(&site), json!(["--exclude-if-present=.half:half: yes"]));
    assert_eq!(left(&site, &["--exclude-if-present", ".half:no"]), all);
    let both = ["--exclude-caches", "--exclude-if-present", ".nobackup", "--exclude-if-present", ".half"];
    assert_eq!(left(&site, &both), without(&[&cache[..], &mark, &["half/x"]].concat()));
    // The folder that was named is none the less marked; what was named inside it is stored.
    site.backup(["data/cache", "--exclude-caches"]);
    assert_eq!(listed(&site), ["cache", "cache/CACHEDIR.TAG"]);
    site.backup(["data/cache", "data/cache/sub", "--exclude-caches"]);
    assert_eq!(listed(&site), ["cache", "cache/CACHEDIR.TAG", "cache/sub", "cache/sub/y"]);
}

#[test]
fn large_files_are_left_out_and_nothing_else_of_that_size() {
    let site = site(&["sub/small"]);
    for (name, bytes) in [("equal", 2048), ("larger", 2049), ("sub/huge", 1 << 20)] {
        site.folder.write(Path::new("data").join(name), vec![b'x'; bytes]);
    }
    symlink("x".repeat(3000), site.join("data/link")).unwrap();
    assert_eq!(left(&site, &["--exclude-larger-than", "2k"]), ["equal", "link", "sub", "sub/small"]);
    assert_eq!(excludes(&site), json!(["--exclude-larger-than=2048"]));
    assert_eq!(left(&site, &["--exclude-larger-than", "1M"]).len(), 6);
    // A file that was named is no exception, and its absence is told.
    let outcome = site.run(0, ["backup", "data/larger", "data/equal", "--exclude-larger-than", "2k"]);
    assert!(outcome.err().contains("data/larger: was given to back up and is larger"), "{}", outcome.err());
    assert_eq!(listed(&site), ["equal"]);
}

#[test]
fn another_file_system_is_an_empty_folder() {
    let site = site(&["here", "mount/below", "sub/here", "sub/file"]);
    let what = "staying on one file system";
    let Some(_disk) = SmallDisk::mount(&site.join("data/mount"), 1 << 20, what) else { return };
    site.folder.write("data/mount/there", "there");
    site.folder.write("data/mount/sub/there", "there");
    let here = ["here", "mount", "sub", "sub/file", "sub/here"];
    assert_eq!(left(&site, &["--one-file-system"]), here);
    assert_eq!(excludes(&site), json!(["--one-file-system"]));
    assert_eq!(left(&site, &["-x"]), here);
    assert_eq!(left(&site, &[]).len(), here.len() + 3);
    // The mount point has the metadata of what is mounted there.
    let mode = |nodes: Vec<Value>| {
        nodes.into_iter().find(|node| node["path"] == "/data/mount").unwrap()["mode"].clone()
    };
    site.backup(["data", "-x"]);
    assert_eq!(mode(site.json(0, ["ls", "latest"])), 0o700);
    // What is named is stored on whatever file system it lies.
    site.backup(["-x", "data/mount"]);
    assert_eq!(listed(&site), ["mount", "mount/sub", "mount/sub/there", "mount/there"]);
    site.backup(["-x", "data", "data/mount/sub"]);
    assert_eq!(listed(&site), [&here[..2], &["mount/sub", "mount/sub/there"], &here[2..]].concat());
    // A single file mounted over another.
    let bound = run(
        std::process::Command::new("mount")
            .arg("--bind")
            .args([site.join("data/mount/there"), site.join("data/sub/file")]),
        DEADLINE,
    );
    bound.expect_code(0);
    let bound = left(&site, &["-x"]);
    run(std::process::Command::new("umount").arg(site.join("data/sub/file")), DEADLINE).expect_code(0);
    assert_eq!(bound, ["here", "mount", "sub", "sub/here"]);
}

#[test]
fn lists_name_paths_by_patterns_by_lines_and_by_zero_bytes() {
    let site = site(&["a.conf", "b.conf", "c.txt", " spaced ", "#hash", "new\nline", "sub/d.conf", "[x]"]);
    let odd = OsStr::from_bytes(b"data/not-utf8-\xff");
    fs::write(site.join(odd), "odd").unwrap();
    site.folder.write("patterns", "# comment\n\n  data/*.conf  \ndata/sub/\ndata/\\[x\\]\n");
    site.backup(["--files-from", "patterns"]);
    assert_eq!(listed(&site), ["[x]", "a.conf", "b.conf", "sub", "sub/d.conf"]);
    site.folder.write("lines", "data/ spaced \n\ndata/#hash\ndata/[x]\n");
    site.backup(["--files-from-verbatim", "lines"]);
    assert_eq!(listed(&site), [" spaced ", "#hash", "[x]"]);
    site.folder.write("raw", [b"data/new\nline\0data/#hash\0", odd.as_bytes(), b"\0"].concat());
    site.backup(["--files-from-raw", "raw"]);
    assert_eq!(listed(&site), ["#hash", "new\\nline", "not-utf8-\\xff"]);
    let restored = see(&site.restore("latest", "restored").join("data"));
    assert_eq!(restored[&b"not-utf8-\xff"[..]], see(&site.join("data"))[&b"not-utf8-\xff"[..]].clone());
    // All kinds together, with a path, from standard input too; the manifest names each path.
    let mut backup = site.command(["--json", "backup", "data/c.txt", "--files-from-raw", "-"]);
    backup.args(["--files-from", "patterns", "--exclude", "b.*"]);
    let outcome = run_with_input(&mut backup, b"data/#hash\0", DEADLINE).expect_code(0);
    assert_eq!(number(&last(&objects(&outcome)), "total_files_processed"), 5);
    assert_eq!(listed(&site), ["#hash", "[x]", "a.conf", "c.txt", "sub", "sub/d.conf"]);
    let snapshot = site.json(0, ["snapshots"]).pop().unwrap();
    assert_eq!(snapshot["paths"].as_array().unwrap().len(), 6, "{snapshot}");
    let row = site.run(0, ["snapshots"]).out();
    assert!(row.contains("and 1 more"), "{row}");
}

#[test]
fn a_list_that_names_what_is_not_there_says_so() {
    let site = site(&["a"]);
    for (option, content, named) in [
        ("--files-from", "data/a\ndata/gone\n", "data/gone: "),
        ("--files-from", "data/a\ndata/*.none\n", "list, line 2: the pattern data/*.none matches nothing"),
        ("--files-from-verbatim", "data/a\ndata/*.none\n", "data/*.none: "),
        ("--files-from-raw", "data/a\0data/gone\n\0", "data/gone\\n: "),
    ] {
        site.folder.write("list", content);
        let outcome = site.run(3, ["--json", "backup", option, "list"]);
        assert_eq!(number(&last(&objects(&outcome)), "problems"), 1);
        let said = site.run(3, ["backup", option, "list"]).err();
        let is_named = said.lines().any(|line| line.starts_with("problem: ") && line.contains(named));
        assert!(is_named, "{option} {content:?}: {said}");
        assert_eq!(listed(&site), ["a"]);
    }
    let snapshots = site.count("snapshots");
    for (option, content, why) in [
        ("--files-from", "# nothing\n", "nothing was named"),
        ("--files-from", "data/[\n", "list, line 1"),
        ("--files-from", "*.none\n", "nothing was named"),
        ("--files-from-raw", "data/a\0data/b", "zero byte"),
        ("--files-from-raw", "data/a\0\0", "name 2 is empty"),
        ("--files-from-verbatim", "/gone\n", "/gone"),
    ] {
        site.folder.write("list", content);
        let said = site.run(1, ["backup", option, "list"]).err();
        assert!(said.contains(why), "{option} {content:?}: {said}");
    }
    assert!(site.run(1, ["backup", "--files-from", "none"]).err().contains("cannot open none"));
    let twice = site.run(1, ["backup", "--files-from", "-", "--files-from-raw", "-"]).err();
    assert!(twice.contains("standard input can hold one list"), "{twice}");
    site.run(2, ["backup"]);
    site.run(2, ["backup", "--vaultwarden", "data", "--files-from", "list"]);
    assert_eq!(site.count("snapshots"), snapshots, "none of these made a snapshot");
}

fn old(site: &Site, name: &str, content: &str) {
    let path = site.folder.write(Path::new("data").join(name), content);
    set_mtime(&path, 1_600_000_000, 0);
}

#[test]
fn the_parent_may_be_none_or_another_one_of_the_same_key() {
    let site = Site::new();
    old(&site, "a", "a");
    old(&site, "b", "b");
    let_times_settle();
    let first = site.backup(["data"]);
    let forced = site.backup(["data", "--force"]);
    assert_eq!((&forced["parent"], number(&forced, "files_new")), (&Value::Null, 2), "{forced}");
    assert_eq!((number(&forced, "data_added"), &forced["tree"]), (0, &first["tree"]));
    // Other paths have no parent of their own, and can be given one; a prefix and a name will do.
    let other = ["data", "data/b"];
    assert_eq!(site.backup(other)["parent"], Value::Null);
    let id = first["snapshot_id"].as_str().unwrap();
    let named = site.backup(["data", "data/a", "--parent", &id[..10]]);
    assert_eq!((named["parent"].as_str().unwrap(), number(&named, "files_unmodified")), (id, 2), "{named}");
    assert_eq!(site.backup(["data", "--parent", "latest~3"])["parent"], first["snapshot_id"]);
    assert!(site.run(1, ["backup", "data", "--parent", "00000000"]).err().contains("00000000"));
    site.run(2, ["backup", "data", "--parent", "latest", "--force"]);
    // What another key says did not change is not believed.
    site.run(0, ["key", "add", "--role", "full", "--label", "other", "--new-key-file", "other.key"]);
    let mut foreign = site.command_with("other.key", ["backup", "data", "--parent", "latest"]);
    let said = run(&mut foreign, DEADLINE).expect_code(1).err();
    assert!(said.contains("written by another key"), "{said}");
    assert_eq!(site.count("sessions"), 0);
    site.assert_sound();
}

#[test]
fn no_snapshot_is_made_where_nothing_changed() {
    let site = Site::new();
    old(&site, "a", "a");
    Connection::open(site.join("data/db"))
        .unwrap()
        .execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (1)")
        .unwrap();
    let_times_settle();
    let option = "--skip-if-unchanged";
    let first = site.backup(["data", option]);
    assert!(first["snapshot_id"].is_string(), "the first is made: {first}");
    let (snapshots, packs) = (site.count("snapshots"), site.count("packs"));
    for arguments in
        [&["data", option][..], &["data", option, "--tag", "other"], &["data", option, "--force"]]
    {
        let same = site.backup(arguments);
        assert_eq!(same["snapshot_id"], Value::Null, "{same}");
        assert_eq!(same["unchanged_since"], first["snapshot_id"]);
        assert_eq!(same["dry_run"], false);
    }
    let said = site.run(0, ["backup", "data", option]).out();
    let short = &first["snapshot_id"].as_str().unwrap()[..8];
    assert!(
        said.contains(&format!("no snapshot was made: nothing changed since snapshot {short}")),
        "{said}"
    );
    let dry = site.run(0, ["backup", "data", option, "-n"]).out();
    assert!(dry.contains("no snapshot would be made"), "{dry}");
    assert_eq!((site.count("snapshots"), site.count("packs"), site.count("sessions")), (snapshots, packs, 0));
    // A change is one, in a file, in a database, and in what could be read.
    old(&site, "a", "b");
    assert!(site.backup(["data", option])["snapshot_id"].is_string());
    Connection::open(site.join("data/db")).unwrap().execute("INSERT INTO t VALUES (2)", []).unwrap();
    assert!(site.backup(["data", option])["snapshot_id"].is_string());
    let_times_settle();
    site.backup(["data"]);
    let said = site.run(3, ["--json", "backup", "data", "gone", option]);
    assert!(last(&objects(&said))["snapshot_id"].is_string(), "other paths are another backup");
    let again = last(&objects(&site.run(3, ["--json", "backup", "data", "gone", option])));
    assert_eq!(
        (&again["snapshot_id"], number(&again, "problems")),
        (&Value::Null, 1),
        "and exit code 3 stays"
    );
    site.assert_sound();
}

#[test]
fn databases_are_plain_files_where_that_is_asked_for() {
    let site = Site::new();
    fs::create_dir(site.join("data")).unwrap();
    let server = Connection::open(site.join("data/db")).unwrap();
    server.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n); INSERT INTO t VALUES (1)").unwrap();
    let_times_settle();
    let plain = site.backup(["data", "--no-sqlite"]);
    assert_eq!(plain["databases"], json!([]));
    assert_eq!(listed(&site), ["db", "db-shm", "db-wal"]);
    assert_eq!(excludes(&site), json!(["--no-sqlite"]));
    for name in ["db", "db-wal"] {
        let stored = site.run(0, ["dump", "latest", &format!("data/{name}")]).stdout;
        assert_eq!(stored, fs::read(site.join("data").join(name)).unwrap(), "{name} is stored byte for byte");
    }
    assert_eq!(number(&site.backup(["data", "--no-sqlite"]), "files_unmodified"), 3);
    // Nobody touched it since, and it is a database again.
    let copied = site.backup(["data"]);
    assert_eq!(copied["databases"][0]["outcome"], "checked", "{copied}");
    assert_eq!(listed(&site), ["db"]);
    // And a plain file once more.
    let plain = site.backup(["data", "--no-sqlite"]);
    assert_eq!(plain["databases"], json!([]));
    assert_eq!(listed(&site), ["db", "db-shm", "db-wal"]);
    let stored = site.run(0, ["dump", "latest", "data/db"]).stdout;
    assert_eq!(stored, fs::read(site.join("data/db")).unwrap());
    site.run(2, ["backup", "--vaultwarden", "data", "--no-sqlite"]);
    drop(server);
}

#[test]
fn what_changes_its_kind_is_found() {
    let site = site(&["file", "folder/inside", "to-folder", "stays"]);
    symlink("file", site.join("data/link")).unwrap();
    let_times_settle();
    site.backup(["data"]);
    let at = |name: &str| site.join("data").join(name);
    fs::remove_file(at("file")).unwrap();
    rustix::fs::mknodat(CWD, at("file"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    fs::remove_dir_all(at("folder")).unwrap();
    site.folder.write("data/folder", "a file now");
    fs::remove_file(at("to-folder")).unwrap();
    site.folder.write("data/to-folder/inside", "a folder now");
    fs::remove_file(at("link")).unwrap();
    site.folder.write("data/link", "file");
    let changed = site.backup(["data"]);
    assert_eq!(number(&changed, "problems"), 0);
    assert_eq!(number(&changed, "files_unmodified"), 1, "{changed}");
    let before = see(&site.join("data"));
    assert_same(&before, &see(&site.restore("latest", "restored").join("data")));
    site.assert_sound();
}

#[test]
fn a_file_system_mounted_over_a_folder_hides_what_was_stored_before() {
    let site = Site::new();
    old(&site, "mount/file", "below");
    let_times_settle();
    site.backup(["data"]);
    let what = "a file system that comes and goes between backups";
    let Some(disk) = SmallDisk::mount(&site.join("data/mount"), 1 << 20, what) else { return };
    // The same name, size and time.
    old(&site, "mount/file", "above");
    let_times_settle();
    site.backup(["data"]);
    assert_eq!(site.run(0, ["dump", "latest", "data/mount/file"]).out(), "above");
    drop(disk);
    site.backup(["data"]);
    assert_eq!(site.run(0, ["dump", "latest", "data/mount/file"]).out(), "below");
}

#[test]
fn latest_is_the_latest_of_those_that_are_asked_for() {
    let site = site(&["file", "other/file"]);
    let back_up = |text: &str, path: &str, host: &str, tags: &[&str]| {
        fs::write(site.join("data/file"), text).unwrap();
        fs::write(site.join("data/other/file"), text).unwrap();
        let tags = tags.iter().flat_map(|tag| ["--tag", tag]);
        let summary = site.backup([path, "--host", host].into_iter().chain(tags));
        summary["snapshot_id"].as_str().unwrap().to_owned()
    };
    let first = back_up("1", "data", "one", &["a"]);
    back_up("2", "data", "two", &["a", "b"]);
    back_up("3", "data", "one", &["b", "c"]);
    back_up("4", "data/other", "one", &[]);
    let dump = |arguments: &[&str]| site.run(0, [&["dump"], arguments, &["/data/other/file"]].concat()).out();
    for (arguments, expected) in [
        (&["latest"][..], "4"),
        (&["latest~1"], "3"),
        (&["latest", "--host", "two"], "2"),
        (&["latest", "--host", "one"], "4"),
        (&["latest~2", "--host", "one"], "1"),
        (&["latest", "--path", "data"], "3"),
        (&["latest~1", "--path", "./data/"], "2"),
        (&["latest", "--tag", "a"], "2"),
        (&["latest", "--tag", "a", "--tag", "c"], "3"),
        (&["latest", "--tag", "a,b"], "2"),
        (&["latest", "--tag", "a,b", "--tag", "b,c"], "3"),
        (&["latest", "--tag", ""], "4"),
        (&["latest", "--host", "one", "--path", "data", "--tag", "a"], "1"),
        (&["latest", "--host", "one", "--host", "two", "--tag", "a"], "2"),
        (&[&first, "--host", "one"], "1"),
    ] {
        assert_eq!(dump(arguments), expected, "{arguments:?}");
    }
    let target = site.join("restored");
    site.run(
        0,
        [
            OsStr::new("restore"),
            "latest:/data".as_ref(),
            "--tag".as_ref(),
            "a".as_ref(),
            "-t".as_ref(),
            target.as_os_str(),
        ],
    );
    assert_eq!(fs::read(target.join("file")).unwrap(), b"2");
    assert_eq!(
        site.run(0, ["ls", "latest", "--path", "data/other"]).out(),
        "/data\n/data/other\n/data/other/file\n"
    );
    let count = |arguments: &[&str]| site.json(0, [&["snapshots"], arguments].concat()).len();
    assert_eq!(count(&["--host", "one"]), 3);
    assert_eq!(count(&["--host", "one", "--tag", "a", "--tag", "c"]), 2);
    assert_eq!(count(&["--path", "data/other"]), 1);
    let shown = site.run(0, ["snapshots", "--host", "two"]).out();
    assert!(shown.contains("1 snapshot, 3 others not shown"), "{shown}");
    for (arguments, why) in [
        (&["latest", "--host", "none"][..], "there is no snapshot latest of host none"),
        (&["latest~2", "--tag", "a"], "there is no snapshot latest~2 with tag a: 2 of the 4"),
        (&["latest", "--tag", "a,c"], "with tag a,c"),
        (&["latest", "--path", "/none"], "with path /none"),
        (&[&first, "--host", "two"], "is not a snapshot of host two"),
    ] {
        let outcome = site.run(1, [&["ls"], arguments].concat());
        assert!(outcome.err().contains(why) && outcome.stdout.is_empty(), "{}", outcome.err());
    }
}

#[test]
fn many_patterns_and_a_long_list_are_taken() {
    let site = Site::new();
    let mut list = File::create(site.join("list")).unwrap();
    fs::create_dir(site.join("data")).unwrap();
    for number in 0..3000 {
        let name = format!("data/{}/file-{number}.txt", number % 50);
        site.folder.write(&name, number.to_string());
        writeln!(list, "{name}").unwrap();
    }
    let mut patterns = String::new();
    for number in 0..1000 {
        let line = match number % 4 {
            0 => format!("prefix-{number}-*"),
            1 => format!("*-{number}.log"),
            2 => format!("some/*/file-{number}*"),
            _ => format!("file-{number}.txt"),
        };
        patterns.push_str(&line);
        patterns.push('\n');
    }
    site.folder.write("patterns", patterns);
    let summary = site.backup(["data", "--exclude-file", "patterns"]);
    assert_eq!(number(&summary, "total_files_processed"), 3000 - 250);
    // Each listed file holds its folder open for a while, and not many may be open here.
    let backup = site.command(["--json", "backup", "--files-from-verbatim", "list"]);
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "ulimit -S -n 256; ulimit -H -n 4096; exec \"$@\"", "sh"])
        .arg(backup.get_program())
        .args(backup.get_args());
    limited.env_clear().envs(backup.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.current_dir(site.folder.path());
    let outcome: Outcome = run(&mut limited, DEADLINE).expect_code(0);
    assert_eq!(number(&last(&objects(&outcome)), "total_files_processed"), 3000);
}

#[test]
fn devices_lists_and_holes_come_back_from_a_backup_of_one_file_each() {
    let site = Site::new();
    fs::create_dir(site.join("data")).unwrap();
    let hole = File::create_new(site.join("data/hole")).unwrap();
    hole.set_len(8 << 20).unwrap();
    rustix::fs::mknodat(CWD, site.join("data/pipe"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    fs::hard_link(site.join("data/hole"), site.join("data/hole-too")).unwrap();
    drop(hole);
    site.folder.write("list", "data/hole\0data/pipe\0data/hole-too\0");
    let before = see(&site.join("data"));
    site.backup(["--files-from-raw", "list"]);
    let restored = site.restore("latest", "restored").join("data");
    let mut after = see(&restored);
    // The folder above them is stored with its own metadata, too.
    assert_same(&before, &after);
    assert_eq!(after.remove(&b"pipe"[..]).unwrap().kind, 'p');
    let (one, other) =
        (fs::metadata(restored.join("hole")).unwrap(), fs::metadata(restored.join("hole-too")).unwrap());
    assert_eq!((one.ino(), one.nlink()), (other.ino(), 2));
    assert!(one.blocks() <= fs::metadata(site.join("data/hole")).unwrap().blocks());
}

#[test]
fn a_snapshot_may_be_dated_back_and_never_ahead() {
    let site = Site::new();
    site.folder.write("data/a", "first");
    site.backup(["--time", "2026-01-31 03:15:00", "data"]);
    site.backup(["--time", "2026-02-01T03:15:00Z", "data"]);
    let snapshots = site.json(0, ["snapshots"]);
    assert!(snapshots[0]["time"].as_str().unwrap().starts_with("2026-01-3"), "{}", snapshots[0]);
    assert_eq!(snapshots[1]["time"], "2026-02-01T03:15:00Z");
    let refused = site.run(2, ["backup", "--time", "2999-01-01", "data"]);
    assert!(refused.err().contains("still to come"), "{}", refused.err());
    site.run(2, ["backup", "--time", "yesterday", "data"]);
    // What changed since then is found, whatever the snapshot before says of its time.
    site.folder.write("data/a", "other");
    let third = site.backup(["data"]);
    assert_eq!(number(&third, "files_changed"), 1);
}
