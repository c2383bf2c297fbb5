//! `dump`: folders as archives that other programs unpack, files with the next ones read ahead, and what damage makes of both.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rustix::fs::{FileType, Mode, XattrFlags};
use strongroom::backend::{Backend, Listed, MemoryBackend, ObjectKind, ObjectName};
use strongroom::error::{Error, ErrorKind, Result};
use strongroom::operation::dump;
use strongroom::report::Collector;

use crate::nights::repository;
use crate::site::{DEADLINE, Site, assert_same, each_file, last, number, objects_of, see, set_mtime};
use crate::stores::small::{Small, Who, back_up};
use crate::stores::store_of;
use crate::support::{Outcome, Rng, TempFolder, has_tool, is_root, run};

const MIB: usize = 1 << 20;

/// A folder of all that a tree may hold, and names that no program likes.
fn hostile(site: &Site, special: bool) {
    let mut rng = Rng::new(7);
    for name in
        ["-rf", "--checkpoint-action=exec=sh", "new\nline", "empty", "ünïcode", "a b\t\\c", "sub/deep/file"]
    {
        site.folder.write(Path::new("data").join(name), name);
    }
    let [long, longer] = ["l".repeat(250), "m".repeat(250)];
    site.folder.write(Path::new("data").join(&long).join(&longer).join(&long), "deep");
    fs::write(site.join(OsStr::from_bytes(b"data/bad\xff\xfe")), "bytes").unwrap();
    fs::write(site.join("data/empty"), "").unwrap();
    // One name of each length around what the old header holds.
    for length in 90..=105 {
        site.folder.write(format!("data/{}", "n".repeat(length)), "n");
    }
    for number in 0..200 {
        let bytes = rng.below(9000) as usize;
        site.folder.write(format!("data/many/file-{number}"), rng.bytes(bytes));
    }
    site.folder.write("data/middle", rng.bytes(3 * MIB));
    // Longer than what is read ahead, and with a part that comes again.
    let mut large = rng.bytes(40 * MIB);
    large.extend_from_within(..8 * MIB);
    site.folder.write("data/large", large);
    let sparse = fs::File::create(site.join("data/sparse")).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"in the middle", 5 * MIB as u64).unwrap();
    sparse.set_len(9 * MIB as u64).unwrap();
    symlink("t".repeat(180), site.join("data/link")).unwrap();
    symlink("middle", site.join("data/short")).unwrap();
    fs::create_dir(site.join("data/nothing")).unwrap();
    fs::set_permissions(site.join("data/empty"), PermissionsExt::from_mode(0o4751)).unwrap();
    fs::set_permissions(site.join("data/nothing"), PermissionsExt::from_mode(0o1777)).unwrap();
    set_mtime(&site.join("data/middle"), 1_234_567_890, 123_456_789);
    set_mtime(&site.join("data/empty"), -2, 300_000_000);
    set_mtime(&site.join("data/nothing"), 5_000_000_000, 1);
    set_mtime(&site.join("data/link"), 1_600_000_000, 5);
    if !special {
        return;
    }
    fs::hard_link(site.join("data/middle"), site.join("data/sub/same")).unwrap();
    fs::hard_link(site.join("data/link"), site.join("data/sub/same-link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, site.join("data/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    // Not every file system has attributes.
    let value = b"one\0two=\n";
    rustix::fs::setxattr(site.join("data/middle"), "user.comment", value, XattrFlags::empty()).ok();
    rustix::fs::setxattr(site.join("data/sub"), "user.a=b%c", b"odd", XattrFlags::empty()).ok();
}

/// Writes what a command puts out to a file, which it may be too large to keep in memory for.
#[track_caller]
fn into_file(site: &Site, name: &str, code: i32, arguments: &[&str]) -> Outcome {
    let outcome = site.run(code, arguments);
    site.folder.write(name, &outcome.stdout);
    outcome
}

fn tool(program: &str, site: &Site, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(program);
    run(
        command.args(arguments).current_dir(site.folder.path()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC"),
        DEADLINE,
    )
}

#[test]
fn tar_unpacks_all_there_is() {
    if !has_tool("tar", "archives of folders") || !is_root("owners and devices in archives") {
        return;
    }
    let site = Site::new();
    hostile(&site, true);
    // An owner beyond what the old header holds.
    std::os::unix::fs::chown(site.join("data/sub/deep"), Some(3_000_000_000), Some(77)).unwrap();
    let device = rustix::fs::makedev(1, 3);
    let path = site.join("data/null");
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::CharacterDevice, Mode::RUSR, device).ok();
    let _socket = std::os::unix::net::UnixListener::bind(site.join("data/socket")).unwrap();
    site.backup(["data"]);
    let mut before = see(&site.join("data"));
    before.remove(b"socket".as_slice()).expect("a socket");
    let said = into_file(&site, "all.tar", 0, &["dump", "latest", "/"]).err();
    assert!(said.contains("/data/socket: is a socket"), "{said}");
    assert_eq!(fs::metadata(site.join("all.tar")).unwrap().len() % 10_240, 0);
    fs::create_dir(site.join("out")).unwrap();
    let unpack = ["-x", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", "out", "-f"];
    tool("tar", &site, &[&unpack[..], &["all.tar"]].concat()).expect_code(0);
    assert_same(&before, &see(&site.join("out/data")));
    // Names start where they are told to, and a part has what is in it only.
    into_file(&site, "part.tar", 0, &["dump", "latest:/data", "sub"]);
    let listed = tool("tar", &site, &["-tf", "part.tar"]).expect_code(0).out();
    assert!(listed.starts_with("sub/\nsub/deep/\nsub/deep/file\n"), "{listed}");
    assert_eq!(listed.lines().count(), 5, "{listed}");
    let second = site.run(0, ["dump", "latest", "/", "--archive", "tar"]).stdout;
    assert!(second == fs::read(site.join("all.tar")).unwrap(), "the same twice");
}

#[test]
fn python_reads_what_tar_and_zip_hold() {
    if !has_tool("python3", "archives, by a second reader") {
        return;
    }
    let site = Site::new();
    hostile(&site, false);
    site.backup(["data"]);
    into_file(&site, "all.tar", 0, &["dump", "latest", "/"]);
    let said = into_file(&site, "all.zip", 3, &["dump", "latest", "/", "-a", "zip"]).err();
    assert!(said.contains("/data/bad\\xff\\xfe: its name is not UTF-8"), "{said}");
    let script = r#"
import os, stat, sys, tarfile, zipfile
tree = {}
for folder, folders, files in os.walk(b'data'):
    for name in folders + files:
        path = os.path.join(folder, name)
        info = os.lstat(path)
        content = None
        if stat.S_ISLNK(info.st_mode): content = os.readlink(path)
        elif stat.S_ISREG(info.st_mode): content = open(path, 'rb').read()
        tree[path] = (info.st_mode, content, info.st_mtime_ns)
found = {}
with tarfile.open('all.tar') as archive:
    for member in archive:
        name = os.fsencode(member.name)
        if name == b'data': continue
        kind = stat.S_IFDIR if member.isdir() else stat.S_IFLNK if member.issym() else stat.S_IFREG
        content = os.fsencode(member.linkname) if member.issym() else archive.extractfile(member).read() if member.isreg() else None
        text = member.pax_headers.get('mtime', str(int(member.mtime)))
        whole, _, part = text.partition('.')
        time = int(whole.lstrip('-')) * 10**9 + int(part.ljust(9, '0') or 0)
        found[name] = (kind | member.mode, content, -time if text.startswith('-') else time)
assert found == tree, [name for name in set(found) | set(tree) if found.get(name) != tree.get(name)]
with zipfile.ZipFile('all.zip') as archive:
    assert archive.testzip() is None
    seen = set()
    for info in archive.infolist():
        name = info.filename.encode().rstrip(b'/')
        if name == b'data': continue
        mode, content, time = tree[name]
        assert info.external_attr >> 16 == mode, name
        if content is not None: assert archive.read(info) == content, name
        seen.add(name)
assert seen == {name for name in tree if b'\xff' not in name and b'\\' not in name}
print(len(found), len(seen))
"#;
    let outcome = tool("python3", &site, &["-c", script]);
    println!("{}", outcome.expect_code(0).out());
    if has_tool("unzip", "zip archives, by another reader") {
        tool("unzip", &site, &["-tq", "all.zip"]).expect_code(0);
        fs::create_dir(site.join("out")).unwrap();
        tool("unzip", &site, &["-qX", "all.zip", "-d", "out"]).expect_code(0);
        for name in ["-rf", "middle", "large", "sparse", "sub/deep/file", "ünïcode"] {
            let both = ["data", "out/data"].map(|folder| fs::read(site.join(folder).join(name)).unwrap());
            assert!(both[0] == both[1], "{name}");
        }
        assert_eq!(fs::read_link(site.join("out/data/short")).unwrap(), Path::new("middle"));
    }
}

/// Overwrites the middle of every pack, or of the largest only.
fn spoil(site: &Site, how: impl Fn(&mut Vec<u8>)) {
    let packs = site.objects().into_keys().filter(|path| path.starts_with(site.join("repo/packs")));
    for pack in packs {
        let mut bytes = fs::read(&pack).unwrap();
        how(&mut bytes);
        fs::set_permissions(&pack, PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&pack, bytes).unwrap();
    }
}

#[test]
fn what_is_lost_is_left_out_and_named() {
    let site = Site::new();
    let mut rng = Rng::new(3);
    for number in 0..20 {
        site.folder.write(format!("data/file-{number:02}"), rng.bytes(400_000));
    }
    fs::hard_link(site.join("data/file-07"), site.join("data/second-07")).unwrap();
    site.backup(["data"]);
    let whole = site.run(0, ["dump", "latest", "/"]).stdout;
    // A byte of what holds file 7 is turned.
    let repository = repository(&site);
    let found = repository.snapshots().unwrap().snapshots;
    let reader = strongroom::repository::reader::BlobReader::new(
        &repository,
        &strongroom::report::Collector::default(),
    )
    .unwrap();
    let node =
        strongroom::repository::tree::lookup(&reader, found[0].root(), b"data/file-07").unwrap().unwrap();
    let Some(strongroom::format::node::Content::Inline(ids)) = node.content else { panic!("few chunks") };
    let index = reader.index().unwrap();
    let (_, place) = index.first(strongroom::format::blob::BlobKind::Chunk, &ids[0]).unwrap().unwrap();
    let pack = index.pack(&place).unwrap().id.to_hex();
    let path = site.join(format!("repo/packs/{}/{pack}", &pack[..2]));
    let mut bytes = fs::read(&path).unwrap();
    bytes[place.offset as usize + 1000] ^= 1;
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(&path, bytes).unwrap();
    for format in ["tar", "zip"] {
        let outcome = site.run(3, ["dump", "latest", "/", "-a", format]);
        let said = outcome.err();
        assert!(said.contains("/data/file-07: is left out"), "{said}");
        assert!(said.contains("/data/second-07: is left out"), "{said}");
        assert!(said.contains("2 problems"), "{said}");
        assert!(outcome.stdout.len() < whole.len() - 390_000);
        if format == "tar" && has_tool("tar", "archives of damaged folders") {
            site.folder.write("rest.tar", &outcome.stdout);
            let listed = tool("tar", &site, &["-tf", "rest.tar"]).expect_code(0).out();
            assert_eq!(listed.lines().count(), 20, "{listed}");
            assert!(!listed.contains("-07"), "{listed}");
        }
        let all = objects_of("dump", &site.run_any(["--json", "dump", "latest", "/", "-a", format]));
        assert_eq!(number(&last(&all), "problems"), 2);
    }
    let one = site.run(1, ["dump", "latest", "data/file-07"]);
    assert!(one.stdout.is_empty() && one.err().contains("cannot be read"), "{}", one.err());
    // Where a pack is gone, it is the same, for nothing can be looked up that could be read.
    fs::remove_file(&path).unwrap();
    let said = site.run(3, ["dump", "latest", "/"]).err();
    assert!(said.contains("is left out"), "{said}");
}

/// A store that fails from some reading of a pack on.
struct Failing {
    store: MemoryBackend,
    left: AtomicUsize,
}

impl Failing {
    fn read<T>(&self, name: &ObjectName, read: impl FnOnce() -> Result<T>) -> Result<T> {
        let less = |left: usize| left.checked_sub(1);
        if name.kind == ObjectKind::Pack && self.left.fetch_update(SeqCst, SeqCst, less).is_err() {
            return Err(Error::new(ErrorKind::Io, "the disk went away").hint("mount it again"));
        }
        read()
    }
}

impl Backend for Failing {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.store.put(name, bytes)
    }
    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>> {
        self.read(name, || self.store.get(name, limit))
    }
    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.read(name, || self.store.get_range(name, offset, length))
    }
    fn size(&self, name: &ObjectName) -> Result<u64> {
        self.store.size(name)
    }
    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        self.store.list(kind)
    }
    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.store.delete(name)
    }
    fn location(&self) -> String {
        self.store.location()
    }
}

#[test]
fn a_store_that_goes_away_is_not_taken_for_lost_files() {
    let store = store_of(&Small::new().empty);
    let data = TempFolder::in_memory();
    let mut rng = Rng::new(23);
    for night in 0..3 {
        data.write(format!("file-{night}"), rng.bytes(5000));
        back_up(&Small::full(&store), None, "host", data.path()).0.unwrap();
    }
    let mut failed = 0;
    for left in 0.. {
        let failing = Failing { store: store.clone(), left: AtomicUsize::new(left) };
        let repository = Small::open(Arc::new(failing), Who::Full);
        let snapshot = repository.snapshots().unwrap().snapshots.pop().unwrap();
        let collector = Collector::default();
        match dump::run(&repository, &snapshot, b"", &mut Vec::new(), &collector) {
            Ok(summary) => {
                assert_eq!(summary.problems, 0, "{left}: {:?}", collector.findings());
                break;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io, "{left}: {}", error.chain());
                assert_eq!(error.next_step(), Some("mount it again"), "{left}: {}", error.chain());
                assert!(collector.findings().is_empty(), "{left}: {:?}", collector.findings());
                failed += 1;
            }
        }
    }
    assert!(failed >= 3, "{failed}");
}

#[test]
fn damage_within_a_long_file_ends_the_archive_without_its_end() {
    let site = Site::new();
    let mut rng = Rng::new(4);
    site.folder.write("data/before", "before");
    site.folder.write("data/long", rng.bytes(80 * MIB));
    site.folder.write("data/z-after", "after");
    site.backup(["data"]);
    let whole = site.run(0, ["dump", "latest", "/"]).stdout.len();
    // All packs with contents lose their second half, so that the end of the file is damaged and its start is not.
    spoil(&site, |bytes| {
        if bytes.len() > MIB {
            let half = bytes.len() / 2;
            bytes[half..].iter_mut().step_by(1000).for_each(|byte| *byte ^= 1);
        }
    });
    for (format, readers) in [("tar", &["tar", "-tf"][..]), ("zip", &["unzip", "-tq"])] {
        let outcome = site.run_any(["dump", "latest", "/", "-a", format]);
        let said = outcome.err();
        assert!(said.contains("data/long"), "{said}");
        if outcome.code == Some(3) {
            // All of its damage lay in one window.
            continue;
        }
        assert_eq!(outcome.code, Some(1), "{said}");
        assert!(said.contains("the archive ends within /data/long"), "{said}");
        assert!(outcome.stdout.len() < whole);
        if has_tool(readers[0], "archives that are not whole") {
            site.folder.write("torn", &outcome.stdout);
            assert_ne!(tool(readers[0], &site, &[readers[1], "torn"]).code, Some(0), "{format}");
        }
        // A file of its own is there whole or not at all.
        site.run(1, ["dump", "latest", "/", "-a", format, "--target", "torn.out"]);
        let mut left = Vec::new();
        each_file(site.folder.path(), &mut |path, _| left.push(path.to_owned()));
        let is_left = |path: &Path| {
            let name = path.file_name().unwrap().as_bytes();
            path.parent() == Some(site.folder.path())
                && (name == b"torn.out" || name.starts_with(b".strongroom"))
        };
        assert!(!left.iter().any(|path| is_left(path)), "{left:?}");
    }
}

#[test]
fn a_target_is_new_private_and_whole() {
    let site = Site::new();
    site.folder.write("data/file", "content");
    site.backup(["data"]);
    let said = site.run(0, ["dump", "latest", "/", "--target", "out.tar"]).out();
    assert!(said.starts_with("dumped 1 file, 1 folder (7 B)"), "{said}");
    let metadata = fs::metadata(site.join("out.tar")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(site.join("out.tar")).unwrap(), site.run(0, ["dump", "latest", "/"]).stdout);
    let said = site.run(1, ["dump", "latest", "/", "--target", "out.tar"]).err();
    assert!(said.contains("out.tar is there already"), "{said}");
    site.run(0, ["dump", "latest", "data/file", "-t", "one"]);
    assert_eq!(fs::read(site.join("one")).unwrap(), b"content");
    site.run(0, ["dump", "latest", "/", "-t", "/dev/null"]);
    site.run(1, ["dump", "latest", "/", "-t", "no/such/folder"]);
    site.run(1, ["dump", "latest", "nothing", "-t", "made"]);
    assert!(!site.join("made").exists());
    site.run(2, ["dump", "latest", "/", "-a", "cpio"]);
    let said = site.run(1, ["dump", "latest", "/nothing"]).err();
    assert!(said.contains("holds nothing at /nothing"), "{said}");
}

#[test]
fn whoever_leaves_early_did_not_get_all() {
    let site = Site::new();
    site.folder.write("data/large", Rng::new(2).bytes(4 * MIB));
    site.backup(["data"]);
    for path in ["data/large", "/"] {
        for format in ["tar", "zip"] {
            let mut command = site.command(["dump", "latest", path, "-a", format]);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
            let mut pipe = child.stdout.take().unwrap();
            std::io::Read::read_exact(&mut pipe, &mut [0]).unwrap();
            drop(pipe);
            let outcome = child.wait_with_output().expect("it ends");
            assert_eq!(outcome.status.code(), Some(1), "{path}");
            assert_eq!(String::from_utf8_lossy(&outcome.stderr), "", "{path}");
        }
    }
}

#[test]
fn an_archive_is_not_for_a_terminal() {
    if !has_tool("script", "archives at a terminal") {
        return;
    }
    let site = Site::new();
    site.folder.write("data/file", "content");
    site.backup(["data"]);
    for (path, words) in [("/", "not for a terminal"), ("data/file", "content")] {
        let template = site.command([""; 0]);
        let line: Vec<OsString> = std::iter::once(template.get_program().to_owned())
            .chain(["-r", "repo", "--key-file", "full.key", "dump", "latest", path].map(OsString::from))
            .collect();
        let mut command = Command::new("script");
        command.arg("-qec").arg(line.join(OsStr::new(" "))).arg("/dev/null");
        command.current_dir(site.folder.path()).env_clear();
        command
            .envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("TERM", "xterm");
        let said = run(&mut command, DEADLINE).out();
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn each_pack_is_read_a_few_times_only() {
    let site = Site::new();
    let mut rng = Rng::new(9);
    for number in 0..2000 {
        site.folder.write(format!("data/{:02}/file-{number}", number % 50), rng.bytes(1500));
    }
    site.backup(["data"]);
    if !has_tool("strace", "how often a pack is read") {
        return;
    }
    let plain = site.command(["dump", "latest", "/"]);
    let mut command = Command::new("strace");
    command.args(["-f", "-e", "trace=openat", "-o", "trace"]).arg(plain.get_program()).args(plain.get_args());
    command.current_dir(site.folder.path()).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run(&mut command, DEADLINE).expect_code(0);
    let trace = fs::read_to_string(site.join("trace")).unwrap();
    let packs = site.objects().into_keys().filter(|path| path.starts_with(site.join("repo/packs")));
    for pack in packs {
        let name = format!("\"{}\"", pack.file_name().unwrap().to_string_lossy());
        let reads = trace.lines().filter(|line| line.contains(&name)).count();
        assert!(reads > 0 && reads < 10, "{reads} reads of one pack for 2,000 files");
    }
}
