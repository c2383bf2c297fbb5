//! Comparing snapshots, and a snapshot with a folder, through the executable: random folders held against a naive walk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::site::{Seen, Site, number, see, set_mtime};
use crate::support::{Rng, has_tool, is_root, run};

/// Makes or changes something in a folder, the same for the same numbers.
fn change(top: &Path, rng: &mut Rng) {
    let mut all: Vec<PathBuf> =
        see(top).keys().map(|name| top.join(std::ffi::OsStr::from_bytes(name))).collect();
    all.retain(|path| path != top);
    let folders: Vec<&PathBuf> =
        all.iter().filter(|path| path.symlink_metadata().is_ok_and(|found| found.is_dir())).collect();
    let folder =
        if folders.is_empty() || rng.below(3) == 0 { top.to_owned() } else { (*rng.pick(&folders)).clone() };
    let name: Vec<u8> = (0..1 + rng.below(3)).map(|_| *rng.pick(b"ab-.\n\x1b\xff")).collect();
    let fresh = folder.join(std::ffi::OsStr::from_bytes(&name));
    let is_fresh = !matches!(name.as_slice(), b"." | b"..") && fresh.symlink_metadata().is_err();
    let what = rng.below(9);
    if (what < 4 || all.is_empty()) && is_fresh {
        match rng.below(5) {
            0 => fs::create_dir(&fresh).unwrap(),
            1 => symlink(format!("to{}", rng.below(3)), &fresh).unwrap(),
            _ => {
                let length = rng.below(3000) as usize;
                fs::write(&fresh, rng.bytes(length)).unwrap();
            }
        }
        return;
    }
    if all.is_empty() {
        return;
    }
    let path = rng.pick(&all).clone();
    let kind = path.symlink_metadata().unwrap().file_type();
    match what {
        0..=4 if kind.is_file() => {
            let length = rng.below(3000) as usize;
            fs::write(&path, rng.bytes(length)).unwrap();
        }
        5 if kind.is_dir() => fs::remove_dir_all(&path).unwrap(),
        5 | 6 if !kind.is_dir() => {
            fs::remove_file(&path).unwrap();
            if rng.below(2) == 0 {
                fs::create_dir(&path).unwrap();
            }
        }
        7 => set_mtime(&path, 1_500_000_000 + rng.below(100) as i64, 7),
        _ if !kind.is_symlink() => {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700 + rng.below(8) as u32)).unwrap();
        }
        _ => {}
    }
}

type Letters = BTreeMap<Vec<u8>, String>;

fn naive(old: &BTreeMap<Vec<u8>, Seen>, new: &BTreeMap<Vec<u8>, Seen>) -> Letters {
    let paths: BTreeSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
    let letter = |path: &Vec<u8>| match (old.get(path), new.get(path)) {
        (Some(_), None) => Some("-"),
        (None, _) => Some("+"),
        (Some(old), Some(new)) if old.kind != new.kind => Some("T"),
        (Some(old), Some(new)) if (&old.content, old.size) != (&new.content, new.size) => {
            Some(if (old.size, old.mtime) == (new.size, new.mtime) { "M?" } else { "M" })
        }
        (Some(old), Some(new)) => {
            let metadata = |seen: &Seen| (seen.mode, seen.owner, seen.mtime, seen.attributes.clone());
            (metadata(old) != metadata(new)).then_some("U")
        }
    };
    paths.into_iter().filter_map(|path| Some((path.clone(), letter(path)?.to_owned()))).collect()
}

/// The changes below `data`, and the statistics.
#[track_caller]
fn changes(objects: &[Value]) -> (Letters, Value) {
    let mut found = Letters::new();
    for object in objects.iter().filter(|object| object["message_type"] == "change") {
        let path = match object["path_hex"].as_str() {
            Some(hex) => (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect(),
            None => object["path"].as_str().unwrap().as_bytes()[1..].to_vec(),
        };
        let path = path.strip_suffix(b"/").unwrap_or(&path);
        let rest = path.strip_prefix(b"data").expect("all of it lies there");
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        assert!(found.insert(rest.to_vec(), object["modifier"].as_str().unwrap().to_owned()).is_none());
    }
    let statistics = objects.iter().find(|object| object["message_type"] == "statistics").unwrap();
    (found, statistics.clone())
}

#[test]
fn random_folders_differ_as_a_naive_walk_sees_it() {
    for seed in 1..=16 {
        let (site, mut rng) = (Site::in_memory(), Rng::new(seed));
        let data = site.join("data");
        fs::create_dir(&data).unwrap();
        (0..rng.below(40)).for_each(|_| change(&data, &mut rng));
        let old = see(&data);
        site.backup(["data"]);
        (0..rng.below(12)).for_each(|_| change(&data, &mut rng));
        let new = see(&data);
        let expected = naive(&old, &new);
        let folder = ["diff", "latest:data", "--folder", "data", "--metadata", "--contents"];
        assert_eq!(changes(&site.json(0, folder)).0, expected, "seed {seed}, on disk");
        site.backup(["data"]);
        let (found, statistics) =
            changes(&site.json(0, ["diff", "latest~1:data", "latest:data", "--metadata"]));
        assert_eq!(found, expected, "seed {seed}");
        let (plain, _) = changes(&site.json(0, ["diff", "latest~1", "latest"]));
        let contents: Letters = expected
            .iter()
            .filter(|(_, letter)| *letter != "U")
            .map(|(path, letter)| (path.clone(), letter.clone()))
            .collect();
        assert_eq!(plain, contents, "seed {seed}, contents");
        let changed = contents
            .iter()
            .filter(|(path, letter)| letter.starts_with('M') && new[*path].kind == 'f')
            .count();
        assert_eq!(number(&statistics, "changed_files"), changed as u64, "seed {seed}");
        let added = new
            .iter()
            .filter(|(path, seen)| seen.kind == 'f' && old.get(*path).is_none_or(|old| old.kind != 'f'));
        assert_eq!(number(&statistics["added"], "files"), added.count() as u64, "seed {seed}");
        // One chunk a file: what is added are the contents that no file lost.
        let (mut gained, mut lost) = (BTreeMap::new(), BTreeMap::new());
        for path in old.keys().chain(new.keys()) {
            let content = |side: &BTreeMap<Vec<u8>, Seen>| {
                let seen = side.get(path).filter(|seen| seen.kind == 'f' && seen.size > 0);
                seen.map(|seen| (seen.content.clone(), seen.size))
            };
            let (before, after) = (content(&old), content(&new));
            if before != after {
                gained.extend(after);
                lost.extend(before);
            }
        }
        let bytes = |here: &BTreeMap<Vec<u8>, u64>, there: &BTreeMap<Vec<u8>, u64>| -> u64 {
            here.iter().filter(|(content, _)| !there.contains_key(*content)).map(|(_, size)| size).sum()
        };
        assert_eq!(number(&statistics["added"], "bytes"), bytes(&gained, &lost), "seed {seed}");
        assert_eq!(number(&statistics["removed"], "bytes"), bytes(&lost, &gained), "seed {seed}");
        // After a restore nothing differs.
        let restored = site.restore("latest:data", "restored");
        let folder = restored.to_str().unwrap();
        let same = site.json(0, ["diff", "latest:data", "--folder", folder, "--metadata", "--contents"]);
        assert_eq!(changes(&same).0, Letters::new(), "seed {seed}, restored");
    }
}

#[test]
fn people_read_what_restic_prints() {
    let site = Site::new();
    site.folder.write("data/file", "one");
    site.folder.write("data/gone/away", "x");
    site.folder.write("data/becomes", "a folder");
    site.backup(["data"]);
    site.folder.write("data/file", "two and more");
    fs::remove_dir_all(site.join("data/gone")).unwrap();
    fs::remove_file(site.join("data/becomes")).unwrap();
    fs::create_dir(site.join("data/becomes")).unwrap();
    symlink("nowhere", site.join("data/link\n")).unwrap();
    site.backup(["data"]);
    let out = site.run(0, ["diff", "latest~1", "latest"]).out();
    let expected = "T    /data/becomes/\nM    /data/file\n-    /data/gone/\n-    /data/gone/away\n+    /data/link\\n\n\n\
        Files:         0 new,       2 removed,       1 changed\n\
        Dirs:          1 new,       1 removed\n\
        Others:        1 new,       0 removed,       0 changed\n\
        Chunks:        1 new,       3 removed\n  Added:   12 B\n  Removed: 12 B\n";
    assert_eq!(out, expected);
    assert!(site.run(0, ["-q", "diff", "latest", "latest"]).out().is_empty());
    // Two different places: paths are those below them.
    assert_eq!(
        site.run(0, ["-q", "diff", "latest~1:data/gone", "latest:data/becomes"]).out(),
        "-    /away\n"
    );
}

#[test]
fn contents_count_where_size_and_time_are_the_same() {
    let site = Site::new();
    let data = site.join("data");
    let file = site.folder.write("data/file", Rng::new(1).bytes(5 << 20));
    let sparse = fs::File::create(data.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    sparse.write_all_at(b"end", (8 << 20) - 3).unwrap();
    fs::create_dir(site.join("outside")).unwrap();
    site.folder.write("outside/x", "x");
    symlink("../outside", data.join("link")).unwrap();
    for path in [&file, &data.join("sparse")] {
        set_mtime(path, 1_600_000_000, 5);
    }
    site.backup(["data"]);
    let diff = |more: &[&str]| {
        site.run(0, [&["-q", "diff", "latest:data", "--folder", "data"], more].concat()).out()
    };
    assert_eq!(diff(&["--contents", "--metadata"]), "");
    for (path, offset) in [(&file, 4 << 20), (&data.join("sparse"), 1 << 20)] {
        let handle = fs::OpenOptions::new().write(true).open(path).unwrap();
        handle.write_all_at(b"!", offset).unwrap();
        set_mtime(path, 1_600_000_000, 5);
    }
    assert_eq!(diff(&[]), "");
    // Nothing explains it: a disk may do that, or somebody who sets the time back.
    assert_eq!(diff(&["--contents"]), "M?   /data/file\nM?   /data/sparse\n");
    // What was only touched is the same to whoever reads it.
    fs::write(&file, Rng::new(1).bytes(5 << 20)).unwrap();
    assert_eq!(diff(&[]), "M    /data/file\n");
    assert_eq!(diff(&["--contents", "--metadata"]), "U    /data/file\nM?   /data/sparse\n");
    let set_back = data.join("sparse");
    site.backup(["data", "--force"]);
    assert!(site.run(0, ["diff", "latest~1", "latest"]).out().contains("M?   /data/sparse\n"));
    set_mtime(&set_back, 1_700_000_000, 0);
    assert_eq!(diff(&[]), "M    /data/sparse\n");
}

#[test]
fn a_folder_that_is_none_or_cannot_be_read_is_told() {
    let site = Site::new();
    site.folder.write("data/closed/file", "x");
    site.folder.write("data/open", "x");
    site.backup(["data"]);
    for arguments in [
        &["diff", "latest:data", "--folder", "nowhere"][..],
        &["diff", "latest:data", "--folder", "data/open"],
        &["diff", "latest:data/open", "--folder", "data"],
        &["diff", "latest:nowhere", "latest"],
        &["diff", "latest", "latest~9"],
    ] {
        let outcome = site.run(1, arguments);
        assert!(outcome.stdout.is_empty() && outcome.err().starts_with("error: "), "{}", outcome.err());
    }
    for wrong in
        [&["diff", "latest"][..], &["diff", "a", "b", "--folder", "c"], &["diff", "a", "b", "--contents"]]
    {
        site.run(2, wrong);
    }
    if !is_root("a folder that may not be read") || !has_tool("setpriv", "a folder that may not be read") {
        return;
    }
    let template = site.command(["--no-cache", "diff", "latest:data", "--folder", "data"]);
    // The folder that the executable was built in may be closed to others.
    let program = site.join("strongroom");
    fs::hard_link(template.get_program(), &program)
        .or_else(|_| fs::copy(template.get_program(), &program).map(drop))
        .unwrap();
    let mut give = std::process::Command::new("chown");
    let given = ["data", "repo", "full.key", "tmp", "home"].map(|name| site.join(name));
    run(give.args(["-R", "65534:65534"]).args(given), 60).expect_code(0);
    std::os::unix::fs::chown(site.join("data/closed"), Some(0), Some(0)).unwrap();
    fs::set_permissions(site.join("data/closed"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(site.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command.args(template.get_args()).current_dir(site.folder.path()).env_clear();
    command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let outcome = run(&mut command, 240);
    assert_eq!(outcome.code, Some(3), "{}", outcome.err());
    assert!(outcome.err().contains("data/closed"), "{}", outcome.err());
    assert!(outcome.out().contains("-    /data/closed/file"), "{}", outcome.out());
}

#[test]
fn a_database_is_the_same_whatever_its_copy_counts() {
    let site = Site::new();
    fs::create_dir(site.join("data")).unwrap();
    let connection = rusqlite::Connection::open(site.join("data/db")).unwrap();
    connection.execute("CREATE TABLE t (a)", []).unwrap();
    for _ in 0..30 {
        connection.execute("INSERT INTO t VALUES (hex(zeroblob(300)))", []).unwrap();
    }
    site.backup(["data"]);
    let diff = || site.run(0, ["diff", "latest:data", "--folder", "data", "--contents"]).out();
    assert!(!diff().contains("/data/db"), "{}", diff());
    connection.execute("UPDATE t SET a = replace(a, '00', '01') WHERE rowid = 7", []).unwrap();
    assert!(diff().contains("/data/db"), "{}", diff());
}
