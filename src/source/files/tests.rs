//! The walk as a whole, over private folders.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{Mode, OFlags, XattrFlags, lsetxattr, mkdirat, openat};

use super::testing::Scratch;
use super::{Entry, ExcludeOptions, Excludes, Plan, Stamp, raise_open_file_limit, stat_file, walk};
use crate::error::{Error, ErrorKind, Result};
use crate::format::node::NodeKind;
use crate::format::path::compare;
use crate::report::{Collector, Finding, Severity, printable};

/// Walks, checks the order, and hands out entries and findings.
fn try_walk(plan: &Plan, patterns: &[&str]) -> Result<(Vec<Entry>, Vec<Finding>)> {
    let excludes = ExcludeOptions::of_patterns(patterns.iter().copied());
    let reporter = Collector::default();
    let mut entries: Vec<Entry> = Vec::new();
    let summary = walk(plan, &Excludes::new(&excludes).unwrap(), &reporter, &mut |entry| {
        if let Some(last) = entries.last() {
            assert_eq!(compare(&last.path, &entry.path), Ordering::Less, "{last:?} {entry:?}");
        }
        entries.push(entry);
        Ok(())
    })?;
    let findings = reporter.findings();
    let problems = findings.iter().filter(|finding| finding.severity == Severity::Problem).count();
    assert_eq!(summary.problems, problems as u64);
    Ok((entries, findings))
}

fn walk_all(plan: &Plan, patterns: &[&str]) -> (Vec<Entry>, Vec<Finding>) {
    try_walk(plan, patterns).unwrap()
}

fn names(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| printable(&entry.path)).collect()
}

fn root(path: &Path) -> Plan {
    let mut plan = Plan::new();
    plan.map(b"", path).unwrap();
    plan
}

fn make(root: &Path, files: &[&str]) {
    for file in files {
        let path = root.join(file);
        if file.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
    }
}

fn find<'a>(entries: &'a [Entry], path: &str) -> &'a Entry {
    entries.iter().find(|entry| entry.path == path.as_bytes()).unwrap()
}

#[test]
fn a_folder_is_visited_in_the_order_of_paths_with_all_that_is_known() {
    let scratch = Scratch::new("walk");
    let path = scratch.path();
    make(path, &["a-b", "a/b", "a/c/d", "a.b", "B", "empty/"]);
    fs::write(path.join(OsStr::from_bytes(b"\xff\xfe")), "odd").unwrap();
    symlink("nowhere/at/all", path.join("link")).unwrap();
    symlink(".", path.join("loop")).unwrap();
    fs::hard_link(path.join("B"), path.join("a/B")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path.join("pipe"),
        rustix::fs::FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
    fs::set_permissions(path.join("a-b"), fs::Permissions::from_mode(0o4751)).unwrap();

    let (entries, findings) = walk_all(&root(path), &[]);
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(
        names(&entries),
        [
            "",
            "B",
            "a",
            "a/B",
            "a/b",
            "a/c",
            "a/c/d",
            "a-b",
            "a.b",
            "empty",
            "link",
            "loop",
            "pipe",
            "socket",
            "\\xff\\xfe"
        ]
    );
    let file = find(&entries, "a-b");
    let metadata = fs::metadata(path.join("a-b")).unwrap();
    let node = &file.node;
    assert_eq!((node.kind, node.mode, node.size), (NodeKind::File, 0o4751, 3));
    assert_eq!((node.device, node.inode, node.links), (metadata.dev(), metadata.ino(), metadata.nlink()));
    assert_eq!((node.uid, node.gid), (metadata.uid(), metadata.gid()));
    let mtime = (node.mtime.seconds, i64::from(node.mtime.nanoseconds));
    assert_eq!(mtime, (metadata.mtime(), metadata.mtime_nsec()));
    assert_eq!((node.ctime.seconds, node.link_target.as_ref()), (metadata.ctime(), None));
    if metadata.uid() == 0 {
        assert_eq!((node.user.as_slice(), node.group.as_slice()), (&b"root"[..], &b"root"[..]));
    }
    assert_eq!(file.host_path(), path.join("a-b"));

    assert_eq!(find(&entries, "B").node.inode, find(&entries, "a/B").node.inode);
    assert_eq!(find(&entries, "B").node.links, 2);
    assert_eq!(find(&entries, "link").node.link_target.as_deref(), Some(&b"nowhere/at/all"[..]));
    assert_eq!(find(&entries, "loop").node.kind, NodeKind::Symlink);
    assert_eq!(find(&entries, "pipe").node.kind, NodeKind::Fifo);
    assert_eq!(find(&entries, "socket").node.kind, NodeKind::Socket);
    assert_eq!((find(&entries, "a").node.kind, find(&entries, "a").node.size), (NodeKind::Directory, 0));
    assert_eq!(entries[0].host_path(), path);
    assert!(find(&entries, "pipe").open().is_err() && find(&entries, "a").open().is_err());
}

#[test]
fn a_file_opens_only_as_the_one_that_was_seen() {
    let scratch = Scratch::new("open");
    let path = scratch.path();
    make(path, &["same", "replaced", "linked", "piped", "gone", "folder/inner", "outside/inner"]);
    fs::create_dir(path.join("top")).unwrap();
    fs::rename(path.join("folder"), path.join("top/folder")).unwrap();
    let (entries, _) = walk_all(&root(path), &[]);

    let mut text = String::new();
    let same = find(&entries, "same");
    let mut file = same.open().unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "same");
    assert_eq!(stat_file(&file).unwrap(), Stamp::of(&same.node));
    fs::OpenOptions::new().append(true).open(path.join("same")).unwrap().write_all(b"!").unwrap();
    assert_ne!(stat_file(&file).unwrap(), Stamp::of(&same.node));

    fs::write(path.join("new"), "x").unwrap();
    fs::rename(path.join("new"), path.join("replaced")).unwrap();
    fs::remove_file(path.join("linked")).unwrap();
    symlink("same", path.join("linked")).unwrap();
    fs::remove_file(path.join("piped")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path.join("piped"), fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    for name in ["replaced", "linked", "piped"] {
        let error = find(&entries, name).open().unwrap_err();
        assert!(error.to_string().contains("changed while being read"), "{error}");
    }
    fs::remove_file(path.join("gone")).unwrap();
    assert_eq!(find(&entries, "gone").open().unwrap_err().kind(), ErrorKind::Missing);

    // A folder swapped for a link leads nowhere else: its handle still is the old one.
    fs::rename(path.join("top/folder"), path.join("moved")).unwrap();
    symlink("../outside", path.join("top/folder")).unwrap();
    text.clear();
    find(&entries, "top/folder/inner").open().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "folder/inner");
}

#[test]
fn attributes_come_sorted_and_links_are_not_followed() {
    let scratch = Scratch::new("attributes");
    let path = scratch.path();
    make(path, &["file", "plain", "folder/"]);
    symlink("file", path.join("link")).unwrap();
    let set = |name: &str, key: &str, value: &[u8]| {
        lsetxattr(path.join(name), key, value, XattrFlags::empty()).unwrap();
    };
    set("file", "user.z", b"");
    set("file", "user.a", &[0, 255]);
    set("file", "user.long", &[b'x'; 3000]);
    set("folder", "user.f", b"1");
    // Version 2: the owner, user 1000, the group, the mask and others.
    let list: Vec<u8> = [2_u32.to_le_bytes().to_vec()]
        .into_iter()
        .chain(
            [(1_u16, 6_u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 4, u32::MAX)]
                .map(|(tag, permissions, id)| {
                    [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
                }),
        )
        .flatten()
        .collect();
    let lists =
        lsetxattr(path.join("folder"), "system.posix_acl_default", &list, XattrFlags::empty()).is_ok();

    let (entries, _) = walk_all(&root(path), &[]);
    let read = |name: &str| -> Vec<(String, usize)> {
        let attributes = find(&entries, name).attributes().unwrap().unwrap_or_default();
        attributes.iter().map(|item| (printable(&item.name), item.value.len())).collect()
    };
    let expected = [("user.a", 2), ("user.long", 3000), ("user.z", 0)];
    assert_eq!(read("file"), expected.map(|(name, length)| (name.to_owned(), length)));
    assert!(read("plain").is_empty() && read("link").is_empty());
    assert!(find(&entries, "plain").attributes().unwrap().is_none());
    assert!(read("folder").contains(&("user.f".to_owned(), 1)));
    assert_eq!(lists, read("folder").contains(&("system.posix_acl_default".to_owned(), list.len())));
}

#[test]
fn given_paths_bring_the_folders_above_and_nothing_else_in_them() {
    let scratch = Scratch::new("given");
    let path = scratch.path();
    make(path, &["srv/vw/db", "srv/other", "srv/file", "etc/x/y"]);
    fs::set_permissions(path.join("srv"), fs::Permissions::from_mode(0o711)).unwrap();
    let mut plan = Plan::new();
    for given in ["srv/vw", "srv/file", "etc/x/", "srv/vw/db"] {
        plan.add_path(&path.join(given)).unwrap();
    }
    let (entries, findings) = walk_all(&plan, &[]);
    assert!(findings.is_empty(), "{findings:?}");
    let base = printable(path.strip_prefix("/").unwrap().as_os_str().as_bytes());
    let above = path.strip_prefix("/").unwrap().components().count();
    let relative: Vec<String> =
        names(&entries)[above..].iter().map(|name| name.replacen(&base, "", 1)).collect();
    assert_eq!(relative, ["/etc", "/etc/x", "/etc/x/y", "/srv", "/srv/file", "/srv/vw", "/srv/vw/db"]);
    assert!(entries.iter().all(|entry| !entry.path.is_empty()), "no root of its own");
    let srv = entries.iter().find(|entry| entry.path.ends_with(b"/srv")).unwrap();
    assert_eq!((srv.node.mode, srv.host_path()), (0o711, path.join("srv")));
    let db = entries.iter().find(|entry| entry.path.ends_with(b"/db")).unwrap();
    assert!(db.open().is_ok());
}

#[test]
fn what_is_mapped_wins_over_what_lies_there() {
    let scratch = Scratch::new("mapped");
    let path = scratch.path();
    make(
        path,
        &[
            "data/db.sqlite3",
            "data/db.sqlite3-wal",
            "data/db_2024.sqlite3",
            "data/sub/db_2024.sqlite3",
            "data/attachments/old",
            "data/sends/a",
            "data/icon_cache/x",
            "data/icon_cache/keep/old",
            "data/env",
            "moved/new",
            "secret/.env",
            "kept/inner",
        ],
    );
    symlink("moved", path.join("link")).unwrap();
    let mut plan = root(&path.join("data"));
    plan.map(b"attachments", &path.join("link")).unwrap();
    plan.map(b"config/deep/.env", &path.join("secret/.env")).unwrap();
    plan.map(b"icon_cache/keep", &path.join("kept")).unwrap();
    plan.map(b"env/x", &path.join("secret/.env")).unwrap();
    plan.leave_out(b"db.sqlite3-wal");
    plan.leave_out(b"icon_cache");
    plan.leave_out(b"absent/nothing");
    plan.leave_out_matching(b"", "db_*.sqlite3").unwrap();
    let (entries, findings) = walk_all(&plan, &[]);
    assert_eq!(
        names(&entries),
        [
            "",
            "attachments",
            "attachments/new",
            "config",
            "config/deep",
            "config/deep/.env",
            "db.sqlite3",
            "env",
            "env/x",
            "icon_cache",
            "icon_cache/keep",
            "icon_cache/keep/inner",
            "sends",
            "sends/a",
            "sub",
            "sub/db_2024.sqlite3",
        ]
    );
    assert_eq!(find(&entries, "attachments").node.kind, NodeKind::Directory);
    assert_eq!(find(&entries, "attachments").host_path(), path.join("moved"));
    assert_eq!(find(&entries, "config").host_path(), path.join("secret"));
    assert_eq!(find(&entries, "icon_cache").host_path(), path.join("data/icon_cache"));
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].subject.ends_with("data/env"), "a file that a place below its name hides");
}

#[test]
fn a_given_path_that_hides_another_is_reported() {
    let scratch = Scratch::new("hidden");
    let path = scratch.path();
    make(path, &["here/etc/x", "etc/x", "etc/y"]);
    let place = path.join("etc").strip_prefix("/").unwrap().to_path_buf();
    fs::create_dir_all(path.join("here").join(&place)).unwrap();
    let mut plan = root(&path.join("here"));
    plan.add_path(&path.join("etc")).unwrap();
    let (entries, findings) = walk_all(&plan, &[]);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].cause.contains("same place"));
    assert!(names(&entries).iter().any(|name| name.ends_with("etc/y")));
}

#[test]
fn excluded_folders_are_not_entered() {
    let scratch = Scratch::new("excluded");
    let path = scratch.path();
    make(path, &["a/cache/x", "a/keep.log", "a/b.log", "cache/keep/x", "top/cache", "other/inner"]);
    let anchored = path.join("top").display().to_string();
    let (entries, _) = walk_all(&root(path), &["cache", "*.log", "!keep.log", &anchored, "other/in*"]);
    assert_eq!(names(&entries), ["", "a", "a/keep.log", "other"]);

    let mut plan = root(path);
    plan.map(b"cache/keep", &path.join("a")).unwrap();
    let (entries, _) = walk_all(&plan, &["cache"]);
    assert!(names(&entries).contains(&"cache/keep/b.log".to_owned()));
    assert!(!names(&entries).contains(&"cache/keep/x".to_owned()));

    let mut plan = Plan::new();
    plan.add_path(&path.join("a")).unwrap();
    plan.add_path(&path.join("other")).unwrap();
    let (entries, findings) = walk_all(&plan, &["other"]);
    assert!(names(&entries).iter().all(|name| !name.contains("other")));
    assert_eq!((findings.len(), findings[0].severity), (1, Severity::Warning));
}

#[test]
fn what_does_not_exist_is_an_error_only_if_nothing_else_does() {
    let scratch = Scratch::new("missing");
    let path = scratch.path();
    make(path, &["here", "data/attachments/old"]);
    let mut plan = Plan::new();
    assert_eq!(try_walk(&plan, &[]).unwrap_err().kind(), ErrorKind::Refused);
    plan.add_path(&path.join("gone/one")).unwrap();
    assert_eq!(try_walk(&plan, &[]).unwrap_err().kind(), ErrorKind::Missing);
    plan.add_path(&path.join("gone/two")).unwrap();
    assert_eq!(try_walk(&plan, &[]).unwrap_err().kind(), ErrorKind::Missing);
    plan.add_path(&path.join("here")).unwrap();
    let (entries, findings) = walk_all(&plan, &[]);
    assert_eq!(findings.len(), 2);
    assert!(!names(&entries).iter().any(|name| name.contains("gone")));

    // What stood in the stead of a moved folder is not taken for it.
    let mut plan = root(&path.join("data"));
    plan.map(b"attachments", &path.join("unmounted")).unwrap();
    let (entries, findings) = walk_all(&plan, &[]);
    assert_eq!((names(&entries).len(), findings.len()), (1, 1));
}

#[test]
fn a_link_is_stored_as_one_unless_a_slash_follows() {
    let scratch = Scratch::new("link");
    let path = scratch.path();
    make(path, &["target/x"]);
    symlink("target", path.join("link")).unwrap();
    symlink("round", path.join("round")).unwrap();
    let last = |text: &str| {
        let mut plan = Plan::new();
        plan.add_path(&path.join(text)).unwrap();
        let (entries, findings) = walk_all(&plan, &[]);
        (names(&entries).last().unwrap().rsplit('/').next().unwrap().to_owned(), findings.len())
    };
    assert_eq!(last("link"), ("link".to_owned(), 1));
    assert_eq!(last("link/"), ("x".to_owned(), 0));
    assert_eq!(last("round"), ("round".to_owned(), 1));
    let mut plan = Plan::new();
    plan.add_path(&path.join("round/")).unwrap();
    assert!(try_walk(&plan, &[]).is_err());
}

#[test]
fn what_vanishes_or_changes_during_the_walk_is_reported_and_skipped() {
    let scratch = Scratch::new("vanish");
    let path = scratch.path();
    make(path, &["a", "b", "c/d", "e/f", "g"]);
    let reporter = Collector::default();
    let mut seen = Vec::new();
    let summary = walk(&root(path), &Excludes::default(), &reporter, &mut |entry| {
        if entry.path == b"a" {
            fs::remove_file(path.join("b")).unwrap();
            fs::remove_dir_all(path.join("c")).unwrap();
            symlink("e", path.join("c")).unwrap();
        }
        if entry.path == b"e" {
            fs::remove_file(path.join("e/f")).unwrap();
        }
        seen.push(printable(&entry.path));
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, ["", "a", "c", "e", "g"]);
    assert_eq!(summary.problems, 1, "what was gone before its folder was listed is not missed");
    assert!(reporter.findings().iter().all(|finding| finding.cause.contains("vanished")));
}

#[test]
fn the_visitors_error_ends_the_walk() {
    let scratch = Scratch::new("stop");
    make(scratch.path(), &["a", "b"]);
    let reporter = Collector::default();
    let mut count = 0;
    let result = walk(&root(scratch.path()), &Excludes::default(), &reporter, &mut |_| {
        count += 1;
        if count == 2 { Err(Error::new(ErrorKind::NoSpace, "full")) } else { Ok(()) }
    });
    assert_eq!((result.unwrap_err().kind(), count), (ErrorKind::NoSpace, 2));
}

#[test]
fn depth_is_not_limited_by_the_length_of_a_path() {
    const DEPTH: usize = 4100;
    let scratch = Scratch::new("deep");
    let mut folder = OwnedFd::from(fs::File::open(scratch.path()).unwrap());
    for level in 0..DEPTH {
        let file =
            openat(&folder, c"z", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600)).unwrap();
        rustix::io::write(&file, level.to_string().as_bytes()).unwrap();
        mkdirat(&folder, c"deep", Mode::from_raw_mode(0o700)).unwrap();
        folder = openat(&folder, c"deep", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let reporter = Collector::default();
    let mut files = 0;
    let mut last = Vec::new();
    let mut most = 0;
    let summary = walk(&root(scratch.path()), &Excludes::default(), &reporter, &mut |entry| {
        assert_eq!(compare(&last, &entry.path) == Ordering::Less, !entry.path.is_empty());
        if entry.node.kind == NodeKind::File {
            files += 1;
            let mut text = String::new();
            entry.open()?.read_to_string(&mut text).unwrap();
            let depth = entry.path.split(|byte| *byte == b'/').count() - 1;
            assert_eq!(text, depth.to_string());
            assert!(entry.attributes()?.is_none());
        }
        if files % 500 == 1 {
            most = most.max(fs::read_dir("/proc/self/fd").unwrap().count());
        }
        last = entry.path;
        Ok(())
    })
    .unwrap();
    assert_eq!(files, 4096, "as deep as a path of a snapshot may be");
    let findings = reporter.findings();
    assert_eq!(summary.problems, 2, "what is deeper is reported, a file and a folder");
    assert!(findings[0].cause.contains("deeper than"));
    // Other tests hold a few handles at the same time.
    assert!(most < 300, "{most} handles");
}

#[test]
fn a_folder_moved_away_during_the_walk_is_a_problem_of_that_folder_only() {
    let scratch = Scratch::new("moved");
    let path = scratch.path();
    make(path, &["end", &format!("base/{}x", "d/".repeat(100))]);
    for level in 0..100 {
        make(path, &[&format!("base/{}z", "d/".repeat(level))]);
    }
    let reporter = Collector::default();
    let mut files = Vec::new();
    let summary = walk(&root(path), &Excludes::default(), &reporter, &mut |entry| {
        let name = printable(&entry.path);
        if name.ends_with("/x") {
            // The folder at level 30 is closed by now. Those above it go, and others come.
            fs::rename(path.join("base"), path.join("gone")).unwrap();
            fs::rename(path.join(format!("gone/{}", "d/".repeat(31))), path.join("outside")).unwrap();
            fs::create_dir_all(path.join(format!("base/{}", "d/".repeat(31)))).unwrap();
        }
        if entry.node.kind == NodeKind::File {
            files.push(name);
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(files.last().map(String::as_str), Some("end"), "the walk goes on");
    assert!(summary.problems > 0);
    assert!(reporter.findings().iter().all(|finding| finding.cause.contains("moved")));
    assert!(files.iter().filter(|name| name.ends_with("/z")).count() >= 69);
}

#[test]
fn a_folder_of_many_names_is_sorted() {
    let scratch = Scratch::new("wide");
    for index in 0..20_000 {
        fs::File::create(scratch.path().join(format!("{:08x}", 2_654_435_761_u64 * index % 4_294_967_291)))
            .unwrap();
    }
    let (entries, findings) = walk_all(&root(scratch.path()), &[]);
    assert_eq!((entries.len(), findings.len()), (20_001, 0));
}

#[test]
fn what_may_not_be_read_is_a_problem_and_still_listed() {
    let scratch = Scratch::new("denied");
    let path = scratch.path();
    make(path, &["closed/inner", "open"]);
    fs::set_permissions(path.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let (entries, findings) = walk_all(&root(path), &[]);
    let root_reads_all = rustix::process::geteuid().is_root();
    fs::set_permissions(path.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    if root_reads_all {
        assert_eq!(names(&entries), ["", "closed", "closed/inner", "open"]);
    } else {
        assert_eq!(names(&entries), ["", "closed", "open"]);
        assert_eq!(findings.len(), 1);
    }
}

#[test]
fn the_limit_of_open_files_only_rises() {
    let first = raise_open_file_limit();
    assert!(first >= 256 && raise_open_file_limit() == first);
}

/// Measures, on demand: `STRONGROOM_WALK=folder cargo test --release walk_of_a_folder -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn walk_of_a_folder() {
    let Some(path) = std::env::var_os("STRONGROOM_WALK") else { panic!("name a folder in STRONGROOM_WALK") };
    for patterns in [&[][..], &["*.tmp".to_owned(), "/nowhere/**/x".to_owned(), "target".to_owned()]] {
        let (mut count, mut bytes, reporter) = (0_u64, 0, Collector::default());
        let start = std::time::Instant::now();
        let excludes = Excludes::new(&ExcludeOptions::of_patterns(patterns.iter().cloned())).unwrap();
        walk(&root(Path::new(&path)), &excludes, &reporter, &mut |entry| {
            count += 1;
            bytes += entry.node.size;
            Ok(())
        })
        .unwrap();
        let line = format!("{count} entries, {bytes} bytes, {patterns:?}: {:?}\n", start.elapsed());
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
}
