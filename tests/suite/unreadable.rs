//! What cannot be read, written or kept: it is named, the exit code tells, and the rest is whole.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::site::{DEADLINE, Site, assert_same, each_file, last, number, objects, see};
use crate::support::{Outcome, Rng, SmallDisk, TempFolder, has_tool, is_root, run, strongroom};

/// Somebody without rights: his folder `mine` holds what the program needs, and he runs it from there.
struct Stranger {
    folder: TempFolder,
}

impl Stranger {
    /// Nothing where nobody else can be impersonated; then `what` is recorded as untested.
    #[track_caller]
    fn new(what: &str) -> Option<Self> {
        if !is_root(what) || !has_tool("setpriv", what) {
            return None;
        }
        let folder = TempFolder::new();
        drop(strongroom(&folder));
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        // The folder that the executable was built in may be closed to others.
        let built = env!("CARGO_BIN_EXE_strongroom");
        let program = folder.join("strongroom");
        fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
        fs::create_dir(folder.join("mine")).unwrap();
        let stranger = Self { folder };
        for name in ["home", "tmp", "mine"] {
            give(&stranger.folder.join(name), 65534);
        }
        stranger.run(0, &["init", "--new-key-file", "full.key"]);
        Some(stranger)
    }

    fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.folder.join("mine").join(below)
    }

    /// Writes a file that is his.
    fn write(&self, below: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.write(Path::new("mine").join(below), content);
        give(&self.path("data"), 65534);
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let clean = strongroom(&self.folder);
        let mut command = Command::new("setpriv");
        command.env_clear().current_dir(self.path(""));
        command.envs(clean.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("STRONGROOM_REPOSITORY", "repo");
        if !arguments.contains(&"init") {
            command.env("STRONGROOM_KEY_FILE", "full.key");
        }
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(self.folder.join("strongroom")).args(arguments);
        command
    }

    #[track_caller]
    fn run(&self, code: i32, arguments: &[&str]) -> Outcome {
        run(&mut self.command(arguments), DEADLINE).expect_code(code)
    }

    fn mode(&self, below: &str, mode: u32) {
        fs::set_permissions(self.path(below), Permissions::from_mode(mode)).unwrap();
    }
}

/// Gives a folder and all in it to somebody.
fn give(path: &Path, to: u32) {
    let done = Command::new("chown").arg("-R").arg(format!("{to}:{to}")).arg(path).status().unwrap();
    assert!(done.success());
}

/// Takes the right to write from every folder below, and itself.
fn close(folder: &Path, mode: u32) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            close(&path, mode);
        }
    }
    fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_may_not_be_read_is_named_and_the_rest_is_stored() {
    let Some(stranger) = Stranger::new("files that may not be read") else { return };
    stranger.write("data/open", "open");
    stranger.write("data/secret", "secret");
    stranger.write("data/closed/inside", "inside");
    stranger.write("data/unlistable/inside", "inside");
    stranger.write("data/zlast", "last");
    stranger.mode("data/secret", 0o000);
    stranger.mode("data/closed", 0o000);
    stranger.mode("data/unlistable", 0o311);
    let outcome = stranger.run(3, &["backup", "data"]);
    for name in ["data/secret", "data/closed", "data/unlistable"] {
        let line = outcome.err().lines().any(|line| line.starts_with("problem: ") && line.contains(name));
        assert!(line, "{name} is not named: {}", outcome.err());
    }
    assert!(outcome.err().contains("Permission denied"), "{}", outcome.err());
    assert!(outcome.out().contains("3 problems"), "{}", outcome.out());
    let lines = objects(&stranger.run(3, &["--json", "backup", "data"]));
    assert_eq!(number(&last(&lines), "problems"), 3);
    assert_eq!(lines.iter().filter(|line| line["message_type"] == "error").count(), 3);
    assert!(stranger.run(0, &["snapshots"]).out().contains("3 problems"));
    // Quiet is not mute.
    assert!(stranger.run(3, &["-q", "backup", "data"]).err().contains("data/secret"));
    stranger.run(0, &["restore", "latest", "--target", "restored"]);
    let restored = see(&stranger.path("restored/data"));
    let files: Vec<&[u8]> =
        restored.iter().filter(|(_, seen)| seen.kind == 'f').map(|(name, _)| name.as_slice()).collect();
    assert_eq!(files, [b"open".as_slice(), b"zlast"]);
    stranger.run(0, &["check", "--read-data"]);
    // Once it may be read it is stored, though nothing else about it is new.
    stranger.mode("data/secret", 0o600);
    stranger.mode("data/closed", 0o700);
    stranger.mode("data/unlistable", 0o700);
    stranger.run(0, &["backup", "data"]);
    stranger.run(0, &["restore", "latest", "--target", "again"]);
    assert_same(&see(&stranger.path("data")), &see(&stranger.path("again/data")));
}

#[test]
fn a_folder_that_became_unreadable_does_not_pass_for_an_empty_one() {
    let Some(stranger) = Stranger::new("folders that may not be read any more") else { return };
    stranger.write("data/open", "open");
    stranger.write("data/folder/inside", "inside");
    stranger.run(0, &["backup", "data"]);
    for mode in [0o000, 0o311] {
        stranger.mode("data/folder", mode);
        for option in ["--tag=x", "--skip-if-unchanged", "--force"] {
            let said = stranger.run(3, &["backup", "data", option]).err();
            let is_named =
                said.lines().any(|line| line.starts_with("problem: ") && line.contains("data/folder"));
            assert!(is_named, "{said}");
        }
    }
    // A list through it says so too, instead of matching nothing there.
    stranger.write("list", "data/folder/*\ndata/open\n");
    let said = stranger.run(3, &["backup", "--files-from", "list"]).err();
    assert!(said.contains("problem: data/folder: Permission denied"), "{said}");
    stranger.mode("data/folder", 0o700);
    stranger.run(0, &["backup", "data"]);
    assert!(stranger.run(0, &["ls", "latest"]).out().contains("/data/folder/inside"));
}

#[test]
fn a_repository_that_may_not_be_written_is_read_all_the_same() {
    let Some(stranger) = Stranger::new("a repository that may not be written") else { return };
    stranger.write("data/file", Rng::new(1).bytes(100_000));
    stranger.run(0, &["backup", "data"]);
    stranger.write("data/new", "new");
    close(&stranger.path("repo"), 0o500);
    let before = see(&stranger.path("repo"));
    let outcome = stranger.run(1, &["backup", "data"]);
    let said = outcome.err();
    assert!(said.contains("repo") && said.contains("Permission denied"), "{said}");
    assert!(said.contains("check the owner and the mode"), "{said}");
    stranger.run(0, &["check", "--read-data"]);
    stranger.run(0, &["restore", "latest", "--target", "restored"]);
    assert_same(&before, &see(&stranger.path("repo")));
    // And one that belongs to somebody else is refused without a harm either.
    give(&stranger.path("repo"), 0);
    for command in [["backup", "data"].as_slice(), &["snapshots"], &["check"]] {
        let said = stranger.run(1, command).err();
        assert!(said.contains("Permission denied"), "{said}");
    }
    give(&stranger.path("repo"), 65534);
    close(&stranger.path("repo"), 0o700);
    stranger.run(0, &["backup", "data"]);
    stranger.run(0, &["check", "--read-data"]);
}

#[test]
fn a_cache_that_cannot_be_kept_costs_a_warning() {
    let Some(stranger) = Stranger::new("a cache that may not be written") else { return };
    stranger.write("data/file", "x");
    fs::create_dir(stranger.folder.join("root's")).unwrap();
    stranger.write("data/not a folder", "x");
    for cache in ["../root's", "data/not a folder", "/proc/nowhere"] {
        let outcome = stranger.run(0, &["--cache-dir", cache, "backup", "data"]);
        assert!(outcome.err().starts_with("warning: no cache"), "{cache}: {}", outcome.err());
        assert!(outcome.err().contains("--no-cache"), "the next step: {}", outcome.err());
        let quiet = stranger.run(0, &["-q", "--cache-dir", cache, "backup", "data"]);
        assert_eq!((quiet.out(), quiet.err()), (String::new(), String::new()));
    }
    // One that was good and no longer is.
    let cache = ["--cache-dir", "cache", "backup", "data"];
    assert_eq!(stranger.run(0, &cache).err(), "");
    close(&stranger.path("cache"), 0o500);
    let outcome = stranger.run(0, &cache);
    assert!(outcome.err().contains("warning: "), "{}", outcome.err());
    close(&stranger.path("cache"), 0o000);
    let outcome = stranger.run(0, &cache);
    assert!(outcome.err().contains("warning: "), "{}", outcome.err());
    close(&stranger.path("cache"), 0o700);
    // What is in it belongs to somebody else.
    give(&stranger.path("cache"), 0);
    fs::set_permissions(stranger.path("cache"), Permissions::from_mode(0o755)).unwrap();
    let outcome = stranger.run(0, &cache);
    assert!(outcome.err().contains("warning: "), "{}", outcome.err());
    stranger.run(0, &["check", "--read-data"]);
}

#[test]
fn a_cache_is_never_believed() {
    let site = Site::new();
    let mut rng = Rng::new(2);
    for number in 0..50 {
        site.folder.write(format!("data/file-{number}"), rng.bytes(2000));
    }
    site.backup(["data"]);
    let expected = see(&site.join("data"));
    let caches = site.join("home/.cache/strongroom");
    for round in 0..12 {
        each_file(&caches, &mut |path, metadata| {
            let mut bytes = fs::read(path).unwrap();
            match round {
                0 => bytes.clear(),
                1 => bytes.truncate(bytes.len() / 2),
                2 => bytes = rng.bytes(metadata.len() as usize),
                3 => bytes.extend(rng.bytes(100)),
                _ if bytes.is_empty() => {}
                _ => {
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 1 << rng.below(8);
                }
            }
            fs::write(path, bytes).unwrap();
        });
        let summary = site.backup(["data"]);
        assert_eq!(number(&summary, "data_blobs"), 0, "round {round}: {summary}");
        assert_same(&expected, &see(&site.restore("latest", &format!("restored-{round}")).join("data")));
    }
    site.assert_sound();
}

/// A user whose home folder there is none of, like those that services run as.
#[test]
fn without_a_home_there_is_no_cache_and_a_backup_all_the_same() {
    let Some(stranger) = Stranger::new("a user without a home folder") else { return };
    stranger.write("data/file", "x");
    let mut command = stranger.command(&["backup", "data"]);
    command.env_remove("HOME").env_remove("XDG_CACHE_HOME");
    let outcome = run(&mut command, DEADLINE).expect_code(0);
    assert!(outcome.err().contains("no home folder"), "{}", outcome.err());
    let mut command = stranger.command(&["backup", "data"]);
    command.env("HOME", "").env("XDG_CACHE_HOME", "relative/is/ignored");
    run(&mut command, DEADLINE).expect_code(0);
    assert!(!stranger.path("relative").exists());
    let mut command = stranger.command(&["-q", "backup", "data"]);
    command.env_remove("HOME").env_remove("XDG_CACHE_HOME").env("STRONGROOM_CACHE_DIR", "named");
    assert_eq!(run(&mut command, DEADLINE).expect_code(0).err(), "");
    assert!(stranger.path("named").is_dir());
}

/// Waits until a backup has stored its first pack, and thus is in the middle of its work; false if it ended.
fn first_pack(site: &Site, ended: &AtomicBool) -> bool {
    while site.count("packs") == 0 {
        if ended.load(Ordering::Relaxed) {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

#[test]
fn files_that_change_or_vanish_while_they_are_read_are_named() {
    let site = Site::new();
    let mut rng = Rng::new(3);
    site.folder.write("data/a-large", rng.bytes(224 << 20));
    site.folder.write("data/b-vanishes", "x");
    site.folder.write("data/c-shrinks", rng.bytes(3 << 20));
    site.folder.write("data/d-is-replaced", "file");
    site.folder.write("data/e-stays", "stays");
    let ended = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        let meddler = scope.spawn(|| {
            assert!(first_pack(&site, &ended), "the backup stored no pack before it ended");
            let large = File::options().write(true).open(site.join("data/a-large")).unwrap();
            large.write_all_at(b"changed", 1000).unwrap();
            fs::remove_file(site.join("data/b-vanishes")).unwrap();
            File::options().write(true).open(site.join("data/c-shrinks")).unwrap().set_len(1 << 20).unwrap();
            fs::remove_file(site.join("data/d-is-replaced")).unwrap();
            std::os::unix::fs::symlink("e-stays", site.join("data/d-is-replaced")).unwrap();
        });
        let outcome = run(&mut site.command(["backup", "data"]), DEADLINE);
        ended.store(true, Ordering::Relaxed);
        meddler.join().unwrap();
        outcome
    });
    let said = outcome.expect_code(3).err();
    let named = |name: &str, cause: &str| {
        assert!(said.lines().any(|line| line.contains(name) && line.contains(cause)), "{name}: {said}");
    };
    named("a-large", "changed while it was read");
    named("b-vanishes", "");
    let restored = site.restore("latest", "restored").join("data");
    assert_eq!(fs::read(restored.join("e-stays")).unwrap(), b"stays");
    assert!(!restored.join("b-vanishes").exists());
    assert_eq!(fs::metadata(restored.join("a-large")).unwrap().len(), 224 << 20);
    assert_eq!(fs::read(restored.join("c-shrinks")).unwrap(), fs::read(site.join("data/c-shrinks")).unwrap());
    // What was put in its place is stored as itself or not at all, never what it leads to.
    if let Ok(metadata) = restored.join("d-is-replaced").symlink_metadata() {
        assert!(metadata.is_symlink());
    }
    // The next backup has it all.
    site.backup(["data"]);
    assert_same(&see(&site.join("data")), &see(&site.restore("latest", "again").join("data")));
    site.assert_sound();
}

#[test]
fn a_full_disk_under_the_repository_harms_nothing() {
    let folder = TempFolder::new();
    fs::create_dir(folder.join("disk")).unwrap();
    let what = "a repository on a full disk";
    let Some(_disk) = SmallDisk::mount(&folder.join("disk"), 48 << 20, what) else { return };
    let command = |arguments: &[&str]| {
        let mut command = strongroom(&folder);
        command.args(["-r", "disk/repo", "--key-file", "full.key"]).args(arguments);
        command
    };
    run(&mut command(&["init", "--new-key-file", "full.key"]), DEADLINE).expect_code(0);
    let mut rng = Rng::new(4);
    folder.write("first/file", "first");
    run(&mut command(&["backup", "first"]), DEADLINE).expect_code(0);
    folder.write("data/large", rng.bytes(120 << 20));
    let said = run(&mut command(&["backup", "data"]), DEADLINE).expect_code(1).err();
    assert!(said.contains("No space left on device") && said.contains("disk/repo"), "{said}");
    assert!(said.contains("free some space"), "{said}");
    assert!(!said.contains("data/large"), "it is not the source that failed: {said}");
    // Nothing half written, no session left open, and what was there is whole.
    each_file(&folder.join("disk/repo"), &mut |path, _| {
        assert!(!path.file_name().unwrap().as_bytes().starts_with(b"."), "{}", path.display());
    });
    assert_eq!(fs::read_dir(folder.join("disk/repo/sessions")).unwrap().count(), 0);
    run(&mut command(&["check", "--read-data"]), DEADLINE).expect_code(0);
    run(&mut command(&["restore", "latest", "--target", "first again"]), DEADLINE).expect_code(0);

    // Down to the last page: whichever write it is that fails, the next backup makes up for it.
    let mut failed = 0;
    for pages in 0..12 {
        folder.write("data/large", rng.bytes(3000));
        folder.write("data/other", rng.bytes(600_000));
        leave_room(&folder.join("disk"), pages * 4096);
        let outcome = run(&mut command(&["backup", "data"]), DEADLINE);
        match outcome.code {
            Some(0) => {}
            Some(1) => {
                failed += 1;
                assert!(outcome.err().contains("No space left on device"), "{}", outcome.err());
            }
            code => panic!("{code:?}: {}", outcome.err()),
        }
        fs::remove_file(folder.join("disk/filler")).unwrap();
        run(&mut command(&["-q", "backup", "data"]), DEADLINE).expect_code(0);
        let target = format!("restored-{pages}");
        run(&mut command(&["-q", "restore", "latest", "--target", &target]), DEADLINE).expect_code(0);
        assert_same(&see(&folder.join("data")), &see(&folder.join(target).join("data")));
    }
    assert!(failed > 0, "no disk was full");
    run(&mut command(&["check", "--read-data"]), DEADLINE).expect_code(0);
    assert_eq!(fs::read_dir(folder.join("disk/repo/sessions")).unwrap().count(), 0);
}

/// Fills a disk but for some bytes.
fn leave_room(disk: &Path, bytes: u64) {
    let mut filler = File::create_new(disk.join("filler")).unwrap();
    let page = [0; 4096];
    let full = loop {
        if let Err(error) = filler.write_all(&page) {
            break error;
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    let length = filler.metadata().unwrap().len();
    filler.set_len((length - length % 4096).saturating_sub(bytes)).unwrap();
}

#[test]
fn a_full_disk_under_the_target_leaves_no_wrong_file() {
    let site = Site::new();
    let mut rng = Rng::new(5);
    for number in 0..9 {
        site.folder.write(format!("data/file-{number}"), rng.bytes(2 << 20));
        site.folder.write(format!("data/small/file-{number}"), rng.bytes(5000));
    }
    site.backup(["data"]);
    fs::create_dir(site.join("target")).unwrap();
    let what = "a restore to a full disk";
    let Some(_disk) = SmallDisk::mount(&site.join("target"), 7 << 20, what) else { return };
    let said = site.run(1, ["restore", "latest", "--target", "target"]).err();
    assert!(said.contains("No space left on device") && said.contains("target"), "{said}");
    let expected = see(&site.join("data"));
    for (name, seen) in see(&site.join("target")).iter().filter(|(_, seen)| seen.kind == 'f') {
        let name = name.strip_prefix(b"data/".as_slice()).unwrap();
        let was = expected.get(name).unwrap_or_else(|| panic!("{} was made up", name.escape_ascii()));
        assert_eq!((&seen.content, seen.size, seen.mtime), (&was.content, was.size, was.mtime));
    }
}
