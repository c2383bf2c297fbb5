//! Folders of every kind: what comes back is what was there, what did not change is not stored again, and what
//! changed is found.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Gid, Mode, Uid, XattrFlags};
use rustix::io::Errno;
use serde_json::Value;

use crate::site::{DEADLINE, Site, assert_same, let_times_settle, number, see, set_mtime};
use crate::support::{Rng, is_root, long, run, strongroom, untested};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn file(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Sets an attribute; false where this file system has none.
fn attribute(path: &Path, name: &str, value: &[u8]) -> bool {
    match rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()) {
        Ok(()) => true,
        Err(Errno::OPNOTSUPP | Errno::PERM) => {
            untested(&format!("the extended attribute {name}"));
            false
        }
        Err(error) => panic!("cannot set {name}: {error}"),
    }
}

/// An access control list as Linux hands it out: the owner, user 65534, the group, the mask, others.
fn access_list() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 4, 65534), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, rights, who) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&rights.to_le_bytes());
        bytes.extend_from_slice(&who.to_le_bytes());
    }
    bytes
}

fn fill_with_files(top: &Path, rng: &mut Rng) {
    for size in [0, 1, 4095, 4096, 65536, 512 * KIB - 1, 512 * KIB, 512 * KIB + 1, 4 * MIB, 9 * MIB] {
        file(&top.join(format!("random-{size}")), rng.bytes(size));
    }
    file(&top.join("zeros"), vec![0; 3 * MIB]);
    file(&top.join("text"), "the same line again\n".repeat(100_000));
    // The same content under other names is stored once and comes back everywhere.
    file(&top.join("twice"), fs::read(top.join("random-9437184")).unwrap());
    for (number, bits) in [0o000, 0o400, 0o777, 0o4755, 0o2755, 0o6711, 0o1644].into_iter().enumerate() {
        let path = top.join(format!("mode-{number}"));
        file(&path, bits.to_string());
        mode(&path, bits);
    }
    let times =
        [(-1, 999_999_999), (-86_400 * 365 * 20, 1), (0, 0), (0, 123_456_789), (1, 1), (4_102_444_800, 42)];
    for (number, (seconds, nanoseconds)) in times.into_iter().enumerate() {
        let path = top.join(format!("time-{number}"));
        file(&path, "x");
        set_mtime(&path, seconds, nanoseconds);
    }
}

fn fill_with_names(top: &Path) {
    let long_name = [b'n'; 255];
    let names: [&[u8]; 18] = [
        b"caf\xc3\xa9",
        b"not-utf8-\xff\xfe",
        b"\x80",
        b"new\nline",
        b"tab\tand\rreturn",
        b"\x1b[31mred\x1b[0m",
        b" ",
        b" leading and trailing ",
        b"-rf",
        b"--help",
        b"...",
        b"back\\slash",
        b"quote\"quote'",
        b"*",
        b"a:b",
        b"\x01\x7f",
        "a\u{202e}b".as_bytes(),
        &long_name,
    ];
    for name in names {
        file(&top.join(OsStr::from_bytes(name)), name);
    }
    let mut deep = top.join("deep");
    for _ in 0..60 {
        deep.push("twenty-characters-xx");
    }
    fs::create_dir_all(&deep).unwrap();
    file(&deep.join("file"), "deep");
    // In the order of bytes a dot comes before a slash; paths are ordered by component.
    for folder in ["order/a", "order/a.b", "order/a-b"] {
        fs::create_dir_all(top.join(folder)).unwrap();
        file(&top.join(folder).join("file"), folder);
    }
}

fn fill_with_links(top: &Path) {
    file(&top.join("target"), "target");
    symlink("target", top.join("link")).unwrap();
    symlink("nowhere/at/all", top.join("dangling")).unwrap();
    symlink("/etc/passwd", top.join("absolute")).unwrap();
    symlink(".", top.join("loop")).unwrap();
    symlink(OsStr::from_bytes(b"\xff\n"), top.join("bytes")).unwrap();
    set_mtime(&top.join("dangling"), 1_000_000_000, 5);
    fs::create_dir(top.join("one")).unwrap();
    fs::create_dir(top.join("two")).unwrap();
    file(&top.join("one/name"), "one file, three names");
    fs::hard_link(top.join("one/name"), top.join("two/name")).unwrap();
    fs::hard_link(top.join("one/name"), top.join("another")).unwrap();
    fs::hard_link(top.join("dangling"), top.join("dangling-too")).unwrap();
    file(&top.join("large"), vec![7; 2 * MIB]);
    fs::hard_link(top.join("large"), top.join("large-too")).unwrap();
    file(&top.join("empty"), "");
    fs::hard_link(top.join("empty"), top.join("empty-too")).unwrap();
}

fn fill_with_specials(top: &Path) {
    rustix::fs::mknodat(CWD, top.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    fs::hard_link(top.join("pipe"), top.join("pipe-too")).unwrap();
    drop(UnixListener::bind(top.join("socket")).unwrap());
    mode(&top.join("socket"), 0o751);
    if is_root("devices and other owners") {
        for (name, kind, major, minor) in [
            ("character", FileType::CharacterDevice, 1, 3),
            ("block", FileType::BlockDevice, 7, 200),
            ("large-number", FileType::CharacterDevice, 300, 70_000),
        ] {
            let device = rustix::fs::makedev(major, minor);
            match rustix::fs::mknodat(CWD, top.join(name), kind, Mode::from_raw_mode(0o604), device) {
                Ok(()) => {}
                Err(Errno::PERM) => untested("devices (may not make any)"),
                Err(error) => panic!("cannot make a device: {error}"),
            }
        }
        for (name, owner, group) in
            [("owned", 65534, 65534), ("owned-by-nobody-known", 54_321, 4_000_000_000)]
        {
            file(&top.join(name), name);
            let (owner, group) = (Uid::from_raw(owner), Gid::from_raw(group));
            rustix::fs::chownat(CWD, top.join(name), Some(owner), Some(group), rustix::fs::AtFlags::empty())
                .unwrap();
            mode(&top.join(name), 0o6755);
        }
    }
}

fn fill_with_attributes(top: &Path) {
    file(&top.join("file"), "attributes");
    fs::create_dir(top.join("folder")).unwrap();
    if !attribute(&top.join("file"), "user.note", b"value\0with\xffbytes") {
        return;
    }
    attribute(&top.join("file"), "user.empty", b"");
    attribute(&top.join("file"), "user.long", &[b'l'; 2000]);
    attribute(&top.join("folder"), "user.note", b"on a folder");
    file(&top.join("read-only"), "x");
    attribute(&top.join("read-only"), "user.note", b"on a file that nobody may write to");
    mode(&top.join("read-only"), 0o444);
    file(&top.join("listed"), "x");
    attribute(&top.join("listed"), "system.posix_acl_access", &access_list());
    attribute(&top.join("folder"), "system.posix_acl_default", &access_list());
    file(&top.join("folder/inherits"), "x");
    fs::create_dir(top.join("folder/inherits-too")).unwrap();
    if is_root("attributes that only root may set") {
        file(&top.join("capable"), "x");
        // cap_net_raw, permitted and effective: revision 2 of the kernel's structure.
        let mut capability = vec![1, 0, 0, 2, 0, 0x20, 0, 0];
        capability.resize(20, 0);
        attribute(&top.join("capable"), "security.capability", &capability);
        symlink("x", top.join("link")).unwrap();
        attribute(&top.join("link"), "trusted.note", b"on a link");
    }
}

fn fill_with_folders(top: &Path) {
    for (number, bits) in (0..).zip([0o700, 0o1777, 0o2775, 0o555, 0o4755]) {
        let folder = top.join(format!("folder-{number}"));
        fs::create_dir(&folder).unwrap();
        file(&folder.join("inside"), "x");
        mode(&folder, bits);
        set_mtime(&folder, 1_234_567_890 + number, 987_654_321);
    }
    fs::create_dir(top.join("empty")).unwrap();
    set_mtime(&top.join("empty"), -5, 5);
    let many = top.join("many");
    fs::create_dir(&many).unwrap();
    for number in 0..1500 {
        file(&many.join(format!("file-{number}")), number.to_string());
    }
}

/// Fills a folder with all that a folder can hold here.
pub(crate) fn zoo(top: &Path) {
    type Fill<'a> = &'a dyn Fn(&Path);
    let parts: [(&str, Fill<'_>); 6] = [
        ("files", &|top| fill_with_files(top, &mut Rng::new(1))),
        ("names", &fill_with_names),
        ("links", &fill_with_links),
        ("specials", &fill_with_specials),
        ("attributes", &fill_with_attributes),
        ("folders", &fill_with_folders),
    ];
    for (name, fill) in parts {
        let part = top.join(name);
        fs::create_dir_all(&part).unwrap();
        fill(&part);
    }
    set_mtime(top, 1_111_111_111, 111);
}

#[test]
fn all_that_a_folder_can_hold_comes_back_as_it_was() {
    let site = Site::new();
    let data = site.join("data");
    zoo(&data);
    let before = see(&data);
    let summary = site.backup(["data"]);
    assert_eq!(number(&summary, "problems"), 0);
    assert_same(&before, &see(&data));
    let restored = site.restore("latest", "restored");
    assert_same(&before, &see(&restored.join("data")));
    // A folder of the snapshot, into a folder that is there and empty, gets that folder's own metadata too.
    fs::create_dir(site.join("part")).unwrap();
    assert_same(&before, &see(&site.restore("latest:/data", "part")));
    site.assert_sound();
    // And what was restored is the same to a backup: nothing is stored again.
    fs::rename(&data, site.join("old")).unwrap();
    fs::rename(restored.join("data"), &data).unwrap();
    let again = site.backup(["data"]);
    assert_eq!(number(&again, "data_blobs"), 0, "{again}");
    assert_same(&before, &see(&site.restore("latest", "again").join("data")));
}

#[test]
fn every_form_of_listing_shows_every_name() {
    let site = Site::new();
    fs::create_dir_all(site.join("data")).unwrap();
    fill_with_names(&site.join("data"));
    site.backup(["data"]);
    let expected = see(&site.join("data")).len();
    let plain = site.run(0, ["ls", "latest"]).out();
    // One line each, without anything that a terminal would obey.
    assert_eq!(plain.lines().count(), expected);
    assert!(plain.chars().all(|character| character == '\n' || !character.is_control()), "{plain:?}");
    assert!(plain.contains("/data/new\\nline\n") && plain.contains("/data/not-utf8-\\xff\\xfe\n"), "{plain}");
    assert_eq!(site.run(0, ["ls", "-l", "latest"]).out().lines().count(), expected);
    let nodes = site.json(0, ["ls", "latest"]);
    assert_eq!(nodes.len(), expected);
    let hexed = nodes.iter().find(|node| node["path_hex"] == "646174612f6e6f742d757466382dfffe");
    assert!(hexed.is_some(), "the exact bytes of a name that is not UTF-8");
    // Every name can be given back to the program as it is.
    for (name, seen) in see(&site.join("data")).iter().filter(|(_, seen)| seen.kind == 'f') {
        let path = [b"data/", name.as_slice()].concat();
        let out = site.run(0, [OsStr::new("dump"), "latest".as_ref(), OsStr::from_bytes(&path)]).stdout;
        assert_eq!(blake3::hash(&out).as_bytes(), seen.content.as_slice(), "{name:?}");
    }
}

#[test]
fn holes_stay_holes() {
    let site = Site::new();
    let data = site.join("data");
    fs::create_dir(&data).unwrap();
    let huge = File::create_new(data.join("huge")).unwrap();
    huge.set_len(1 << 30).unwrap();
    let mut rng = Rng::new(2);
    huge.write_all_at(&rng.bytes(100_000), 0).unwrap();
    huge.write_all_at(&rng.bytes(3 * MIB), 300 << 20).unwrap();
    huge.write_all_at(b"the end", (1 << 30) - 7).unwrap();
    File::create_new(data.join("nothing")).unwrap().set_len(64 << 20).unwrap();
    // Smaller than a chunk, with a hole at each end and in the middle.
    let small = File::create_new(data.join("small")).unwrap();
    small.set_len(500_000).unwrap();
    small.write_all_at(&[1; 4096], 102_400).unwrap();
    small.write_all_at(&[2; 4096], 307_200).unwrap();
    let middling = File::create_new(data.join("middling")).unwrap();
    middling.set_len(40 << 20).unwrap();
    middling.write_all_at(&rng.bytes(5 * MIB + 1), 7_000_000).unwrap();
    file(&data.join("full of zeros"), vec![0; MIB]);
    drop((huge, small, middling));
    let has_holes = fs::metadata(data.join("huge")).unwrap().blocks() < 16 << 10;
    if !has_holes {
        return untested("holes (this file system has none)");
    }
    let before = see(&data);
    let summary = site.backup(["data"]);
    assert!(number(&summary, "data_added") < 12 << 20, "{summary}");
    let restored = site.restore("latest", "restored").join("data");
    assert_same(&before, &see(&restored));
    for name in ["huge", "nothing", "small", "middling"] {
        let blocks = |folder: &Path| fs::metadata(folder.join(name)).unwrap().blocks();
        let (was, is) = (blocks(&data), blocks(&restored));
        assert!(is <= was + 512, "{name} took {was} blocks and now takes {is}");
    }
    // A dump writes the holes out.
    for name in ["nothing", "small", "middling"] {
        let path = format!("/data/{name}");
        let dumped = blake3::hash(&site.run(0, ["dump", "latest", &path]).stdout);
        assert_eq!(dumped.as_bytes(), before[name.as_bytes()].content.as_slice(), "{name}");
    }
    site.assert_sound();
}

fn counts(summary: &Value) -> [u64; 3] {
    ["files_new", "files_changed", "files_unmodified"].map(|field| number(summary, field))
}

#[test]
fn what_did_not_change_is_not_stored_again_and_what_did_is_found() {
    let site = Site::new();
    let data = site.join("data");
    fs::create_dir_all(data.join("sub")).unwrap();
    let mut rng = Rng::new(3);
    for number in 0..60 {
        let path = data.join("sub").join(format!("file-{number}"));
        file(&path, rng.bytes(20_000));
        set_mtime(&path, 1_600_000_000 + number, 5);
    }
    file(&data.join("large"), rng.bytes(5 * MIB));
    set_mtime(&data.join("large"), 1_600_000_000, 0);
    set_mtime(&data.join("sub"), 1_600_000_000, 0);
    set_mtime(&data, 1_600_000_000, 0);
    let_times_settle();
    let first = site.backup(["data"]);
    assert_eq!(counts(&first), [61, 0, 0]);
    assert_eq!(first["parent"], Value::Null);
    let bytes = site.pack_bytes();
    for _ in 0..2 {
        let again = site.backup(["data"]);
        assert_eq!(counts(&again), [0, 0, 61]);
        let added = ["data_added", "data_blobs", "tree_blobs"].map(|field| number(&again, field));
        assert_eq!(added, [0, 0, 0], "{again}");
        assert_eq!(again["tree"], first["tree"]);
    }
    assert_eq!(site.pack_bytes(), bytes, "no pack was written");

    // Other content of the same size, with the old time put back: only the time of the change itself tells.
    let keep = |name: &str, change: &mut dyn FnMut(&Path)| {
        let path = data.join(name);
        let metadata = fs::metadata(&path).unwrap();
        change(&path);
        set_mtime(&path, metadata.mtime(), metadata.mtime_nsec());
        assert_eq!(fs::metadata(&path).unwrap().len(), metadata.len());
    };
    keep("sub/file-7", &mut |path| {
        File::options().write(true).open(path).unwrap().write_all_at(b"!", 100).unwrap();
    });
    keep("large", &mut |path| {
        File::options().write(true).open(path).unwrap().write_all_at(b"!", 3_000_000).unwrap();
    });
    // Another file of the same size and time under the old name.
    keep("sub/file-8", &mut |path| {
        let other = data.join("sub/new");
        file(&other, vec![b'8'; 20_000]);
        fs::rename(other, path).unwrap();
    });
    // The mode alone; a new name for an old file; one gone; one new; one longer, one shorter.
    mode(&data.join("sub/file-9"), 0o600);
    fs::rename(data.join("sub/file-10"), data.join("sub/renamed")).unwrap();
    fs::remove_file(data.join("sub/file-11")).unwrap();
    file(&data.join("sub/added"), "added");
    File::options().write(true).open(data.join("sub/file-12")).unwrap().set_len(30_000).unwrap();
    File::options().write(true).open(data.join("sub/file-13")).unwrap().set_len(10).unwrap();
    // A file where a folder was, and the other way round.
    fs::remove_file(data.join("sub/file-14")).unwrap();
    fs::create_dir(data.join("sub/file-14")).unwrap();
    let before = see(&data);
    let changed = site.backup(["data"]);
    assert_eq!(counts(&changed), [2, 6, 52], "{changed}");
    assert!(number(&changed, "data_added") < 5 << 20, "most of the large file is known: {changed}");
    assert_same(&before, &see(&site.restore("latest", "restored").join("data")));
    let names: Vec<String> = see(&site.restore("latest~1", "older").join("data"))
        .keys()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    assert!(names.contains(&"sub/file-11".to_owned()) && !names.contains(&"sub/added".to_owned()));
    site.assert_sound();
}

#[test]
fn a_change_right_after_a_backup_is_found() {
    let site = Site::new();
    for round in 0..8u8 {
        // Nothing but the content and the time of the change differ, a few milliseconds after the last scan.
        let path = site.folder.write("data/file", [round; 1000]);
        set_mtime(&path, 1_600_000_000, 0);
        site.backup(["data"]);
        assert_eq!(site.run(0, ["dump", "latest", "data/file"]).stdout, [round; 1000]);
    }
}

#[test]
fn paths_are_stored_as_given() {
    let site = Site::new();
    site.folder.write("place/here/file", "x");
    let listed = |directory: &str, paths: &[&str]| -> Vec<String> {
        // The site's own command names repository and key relative to another folder.
        let (repo, key) = (site.join("repo"), site.join("full.key"));
        let mut backup = strongroom(&site.folder);
        backup.args(["--json", "backup"]).args(paths).current_dir(site.join(directory));
        backup.env("STRONGROOM_REPOSITORY", &repo).env("STRONGROOM_KEY_FILE", &key);
        run(&mut backup, DEADLINE).expect_code(0);
        site.run(0, ["ls", "latest"]).out().lines().map(str::to_owned).collect()
    };
    assert_eq!(listed("place", &["here"]), ["/here", "/here/file"]);
    assert_eq!(listed("place", &["here/"]), ["/here", "/here/file"]);
    assert_eq!(listed("place", &["./here/../here//file"]), ["/here", "/here/file"]);
    assert_eq!(listed("place", &["here", "here"]), ["/here", "/here/file"]);
    assert_eq!(listed("place", &["here", "here/file"]), ["/here", "/here/file"]);
    assert_eq!(listed("place/here", &["."]), ["/", "/file"]);
    assert_eq!(listed("place/here", &["../here"]), ["/here", "/here/file"]);
    let absolute = site.join("place/here");
    let stored = listed("place", &[absolute.to_str().unwrap()]);
    assert_eq!(*stored.last().unwrap(), format!("{}/file", absolute.display()));
    // The folders above are there, with their owner and mode, and without what else is in them.
    assert_eq!(stored.len(), absolute.components().count());
    let refused = site.run(1, ["backup", "place/here", "/place/here"]);
    assert!(refused.err().contains("would both be stored as /place/here"), "{}", refused.err());
    assert!(site.run(1, ["backup", "no such thing"]).err().contains("no such thing"));
    // One that exists is enough for a snapshot; the other is a problem.
    let partly = site.run(3, ["backup", "place", "no such thing"]);
    assert!(partly.err().contains("no such thing"), "{}", partly.err());
    assert_eq!(site.run(0, ["ls", "latest"]).out(), "/place\n/place/here\n/place/here/file\n");
}

#[test]
fn excludes_tags_and_hosts_say_which_is_which() {
    let site = Site::new();
    for name in ["keep.txt", "drop.tmp", "sub/drop.tmp", "sub/keep.txt", "cache/file"] {
        site.folder.write(Path::new("data").join(name), name);
    }
    site.backup([
        "data",
        "--exclude",
        "*.tmp",
        "-e",
        "data/cache",
        "--tag",
        "one",
        "--tag",
        "two",
        "--host",
        "h1",
    ]);
    site.backup(["data", "--tag", "two", "--host", "h2"]);
    let listed = site.run(0, ["ls", "latest~1"]).out();
    assert_eq!(listed, "/data\n/data/keep.txt\n/data/sub\n/data/sub/keep.txt\n");
    let hosts = |arguments: &[&str]| -> Vec<String> {
        let all = site.json(0, [&["snapshots"], arguments].concat());
        all.iter().map(|snapshot| snapshot["hostname"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(hosts(&[]), ["h1", "h2"]);
    assert_eq!(hosts(&["--tag", "two"]), ["h1", "h2"]);
    assert_eq!(hosts(&["--tag", "two", "--tag", "one"]), ["h1", "h2"]);
    assert_eq!(hosts(&["--tag", "two,one"]), ["h1"]);
    assert_eq!(hosts(&["--host", "h2"]), ["h2"]);
    assert_eq!(hosts(&["--host", "h3"]), [""; 0]);
    let first = &site.json(0, ["snapshots"])[0];
    assert_eq!(first["tags"], serde_json::json!(["one", "two"]));
    assert_eq!(first["excludes"], serde_json::json!(["*.tmp", "data/cache"]));
    assert_eq!(first["paths"], serde_json::json!([site.join("data").to_str().unwrap()]));
    let usage = site.run(2, ["backup", "data", "--tag", "a,b"]);
    assert!(usage.err().contains("no comma"), "{}", usage.err());
    assert!(site.run(1, ["backup", "data", "--exclude", "a["]).err().contains("a["));
}

#[test]
fn a_dry_run_stores_nothing_and_tells_what_would_be() {
    let site = Site::new();
    let mut rng = Rng::new(4);
    site.folder.write("data/large", rng.bytes(3 * MIB));
    site.folder.write("data/same", rng.bytes(700_000));
    site.folder.write("data/sub/small", "small");
    for _ in 0..2 {
        let before = site.objects();
        let told = site.backup(["-n", "data"]);
        assert_eq!(site.objects(), before);
        assert_eq!((&told["dry_run"], &told["snapshot_id"]), (&Value::Bool(true), &Value::Null));
        let done = site.backup(["data"]);
        for field in ["files_new", "files_changed", "data_added", "data_blobs", "tree_blobs"] {
            assert_eq!(told[field], done[field], "{field}");
        }
        site.folder.write("data/sub/other", rng.bytes(100_000));
    }
    let words = site.run(0, ["backup", "--dry-run", "data"]).out();
    assert!(words.contains("dry run: nothing was stored"), "{words}");
}

#[test]
fn one_file_or_one_folder_comes_back_alone() {
    let site = Site::new();
    let content = Rng::new(5).bytes(2 * MIB);
    let path = site.folder.write("data/sub/file", &content);
    set_mtime(&path, 1_500_000_000, 7);
    site.folder.write("data/sub/other", "other");
    site.folder.write("data/beside", "beside");
    site.backup(["data"]);
    let before = see(&site.join("data/sub"));
    let one = see(&site.restore("latest:/data/sub/file", "one"));
    assert_eq!(one.keys().map(Vec::as_slice).collect::<Vec<_>>(), [b"".as_slice(), b"file"]);
    assert_eq!(one[b"file".as_slice()].content, before[b"file".as_slice()].content);
    assert_eq!(one[b"file".as_slice()].mtime, (1_500_000_000, 7));
    assert_same(&before, &see(&site.restore("latest:data/sub/", "folder")));
    assert_eq!(site.run(0, ["dump", "latest", "data/sub/file"]).stdout, content);
    assert_eq!(site.run(0, ["ls", "latest:/data/sub"]).out().lines().count(), 3);

    // Nothing is ever overwritten, and nothing is left behind by what was refused.
    site.folder.write("full/mine", "mine");
    let refused = site.run(1, ["restore", "latest", "--target", "full"]);
    assert!(refused.err().contains("full is not empty"), "{}", refused.err());
    assert_eq!(fs::read_dir(site.join("full")).unwrap().count(), 1);
    let missing = site.run(1, ["restore", "latest:/data/nothing", "--target", "made"]);
    assert!(missing.err().contains("holds nothing at /data/nothing"), "{}", missing.err());
    assert!(!site.join("made").exists());
    let beyond = site.run(1, ["restore", "latest", "--target", "no/such/folder"]);
    assert!(beyond.err().contains("make the folder above it first"), "{}", beyond.err());
    site.run(1, ["restore", "latest", "--target", "full/mine"]);
    for path in ["/nothing", "/data/sub/file/x"] {
        let outcome = site.run(1, ["dump", "latest", path]);
        assert!(outcome.stdout.is_empty() && outcome.err().contains(path), "{}", outcome.err());
    }
    for path in ["..", "/data/../data/beside", "/data/beside/.."] {
        assert_eq!(site.run(1, ["dump", "latest", path]).stdout, b"");
    }
}

#[test]
fn snapshots_are_named_by_prefix_or_counted_from_the_latest() {
    let site = Site::new();
    let empty = site.run(1, ["ls", "latest"]);
    assert!(empty.err().contains("there is no snapshot latest"), "{}", empty.err());
    let mut ids = Vec::new();
    for round in ["one", "two", "three"] {
        site.folder.write("data/file", round);
        ids.push(site.backup(["data"])["snapshot_id"].as_str().unwrap().to_owned());
    }
    for (name, expected) in [
        ("latest", "three"),
        ("latest~0", "three"),
        ("latest~1", "two"),
        ("latest~2", "one"),
        (&ids[0], "one"),
        (&ids[1][..12], "two"),
        (&ids[2].to_ascii_uppercase(), "three"),
    ] {
        assert_eq!(site.run(0, ["dump", name, "/data/file"]).out(), expected, "{name}");
    }
    let unknown = if ids.iter().any(|id| id.starts_with("00000000")) { "11111111" } else { "00000000" };
    for name in [
        unknown,
        "latest~3",
        "latest~x",
        "latest~",
        "latest~-1",
        "zzzz",
        "",
        "abc",
        "latest~99999999999999999999",
    ] {
        let outcome = site.run(1, ["ls", name]);
        assert!(!outcome.err().is_empty() && outcome.stdout.is_empty(), "{name}");
    }
    let listed: Vec<String> = site
        .json(0, ["snapshots"])
        .iter()
        .map(|snapshot| snapshot["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, ids, "oldest first");
}

fn below(rng: &mut Rng, end: u64) -> i64 {
    i64::try_from(rng.below(end)).unwrap()
}

/// Makes or changes things below a folder, as a person might between two nights.
fn churn(top: &Path, rng: &mut Rng, steps: u64) {
    let mut folders = vec![top.to_owned()];
    let mut files = Vec::new();
    let mut at = 0;
    while let Some(folder) = folders.get(at).cloned() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                files.push(path);
            }
        }
        at += 1;
    }
    // A listing has no order of its own; the case must be the same every time.
    folders.sort();
    files.sort();
    for step in 0..steps {
        let folder = rng.pick(&folders).clone();
        let new = folder.join(format!("{}-{step}", rng.below(1 << 32)));
        let old = if files.is_empty() { None } else { Some(rng.pick(&files).clone()) };
        let old = old.filter(|path| path.exists());
        match (rng.below(12), old) {
            (0..=3, _) => {
                let size = *rng.pick(&[0, 1, 100, 5000, 70_000, 600_000, 1_500_000]);
                let size = rng.below(size + 1) as usize;
                file(&new, rng.bytes(size));
                files.push(new);
            }
            (4, _) => {
                fs::create_dir(&new).unwrap();
                folders.push(new);
            }
            (5, _) => symlink(format!("to-{}", rng.below(100)), &new).unwrap(),
            (6, Some(old)) => fs::hard_link(old, new).unwrap(),
            (7, Some(old)) => {
                fs::rename(&old, &new).unwrap();
                files.push(new);
            }
            (8, Some(old)) => fs::remove_file(old).unwrap(),
            (9, Some(old)) => {
                let opened = File::options().write(true).open(&old).unwrap();
                let size = opened.metadata().unwrap().len();
                opened.write_all_at(&rng.bytes(300), rng.below(size + 1000)).unwrap();
            }
            (10, Some(old)) => {
                File::options().write(true).open(old).unwrap().set_len(rng.below(900_000)).unwrap();
            }
            (11, Some(old)) => {
                mode(&old, 0o400 | rng.below(0o400) as u32);
                set_mtime(&old, below(rng, 2_000_000_000), below(rng, 1_000_000_000));
            }
            (_, _) => set_mtime(&folder, below(rng, 2_000_000_000), 3),
        }
    }
}

#[test]
fn random_trees_come_back_as_they_were_after_every_change() {
    let root = is_root("files that their owner may not write to, changed");
    for seed in 0..if long() { 400 } else { 30 } {
        let mut rng = Rng::new(1000 + seed);
        let site = Site::new();
        let data = site.join("data");
        fs::create_dir(&data).unwrap();
        let mut nights = Vec::new();
        for night in 0..3 {
            let steps = if night == 0 { 10 + rng.below(60) } else { rng.below(15) };
            if root {
                churn(&data, &mut rng, steps);
            }
            nights.push(see(&data));
            site.backup(["data"]);
        }
        for (back, night) in nights.iter().rev().enumerate().step_by(2) {
            let restored = site.restore(format!("latest~{back}"), &format!("restored-{back}"));
            println!("seed {seed}, {back} back");
            assert_same(night, &see(&restored.join("data")));
        }
        site.assert_sound();
    }
}
