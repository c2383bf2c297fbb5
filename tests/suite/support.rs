//! What every theme shares: private folders, the executable run against a deadline, what cannot be tested
//! here, and seeded random numbers.
//!
//! Invariant: a test depends neither on the environment it is started from, nor on another test, nor on chance.
#![allow(dead_code, reason = "each theme uses its part")]

use std::env;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A private folder, removed with everything in it when it goes out of scope.
#[derive(Debug)]
pub(crate) struct TempFolder(PathBuf);

impl TempFolder {
    /// Makes a new, empty folder that only this user can enter.
    pub(crate) fn new() -> Self {
        Self::below(&env::temp_dir().canonicalize().expect("the folder for temporary files exists"))
    }

    /// The same in memory, where the system has a place for that: for thousands of small cases, which would
    /// keep a disk busy for long.
    pub(crate) fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        let probe = memory.join(format!("strongroom-probe-{}-{:?}", process::id(), thread::current().id()));
        let usable = fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe)).is_ok();
        if usable { Self::below(memory) } else { Self::new() }
    }

    fn below(parent: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("strongroom-test-{}-{number}", process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Self(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("cannot make {}: {error}", path.display()),
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A path below it.
    pub(crate) fn join(&self, below: impl AsRef<Path>) -> PathBuf {
        self.0.join(below)
    }

    /// Writes a file below it, with the folders that leads through, and returns its path.
    pub(crate) fn write(&self, below: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(below);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("make the folders");
        fs::write(&path, content).expect("write the file");
        path
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        if fs::remove_dir_all(&self.0).is_err() {
            // A test may have left folders that nobody may write to.
            open_folders(&self.0);
            drop(fs::remove_dir_all(&self.0));
        }
    }
}

/// Gives the owner every right on a folder and the folders in it.
fn open_folders(folder: &Path) {
    drop(fs::set_permissions(folder, Permissions::from_mode(0o700)));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_folders(&entry.path());
        }
    }
}

/// The executable under test, in a clean environment: nothing but a search path, and home, cache and
/// temporary files inside `place`, which is also where it starts.
pub(crate) fn strongroom(place: &TempFolder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    command.env_clear().current_dir(place.path());
    for (variable, folder) in [("HOME", "home"), ("XDG_CACHE_HOME", "home/.cache"), ("TMPDIR", "tmp")] {
        let folder = place.join(folder);
        fs::create_dir_all(&folder).expect("make the folders of a clean environment");
        command.env(variable, folder);
    }
    command.env("PATH", env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    command
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it wrote to standard output.
    pub(crate) stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub(crate) stderr: Vec<u8>,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Outcome {
    /// Standard output as text.
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Asserts the exit code; shows what was said if it is another.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code\n{}", self.said());
        self
    }

    fn said(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}", self.out(), self.err())
    }
}

/// Runs a program without input; stops it, and the test, if it takes longer than `seconds`.
#[track_caller]
pub(crate) fn run(command: &mut Command, seconds: u64) -> Outcome {
    run_with_input(command, b"", seconds)
}

/// The same, with something on its standard input.
#[track_caller]
pub(crate) fn run_with_input(command: &mut Command, input: &[u8], seconds: u64) -> Outcome {
    let started = Instant::now();
    let shown = format!("{command:?}");
    // A group of its own, so that the deadline also ends what the program has started.
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
    let (mut stdin, input) = (child.stdin.take().expect("a pipe"), input.to_vec());
    let writer = thread::spawn(move || {
        // A program may end without reading all of it.
        drop(stdin.write_all(&input));
    });
    let stdout = collect(child.stdout.take().expect("a pipe"));
    let stderr = collect(child.stderr.take().expect("a pipe"));
    let deadline = started + Duration::from_secs(seconds);
    let status = loop {
        if let Some(status) = child.try_wait().expect("ask for the exit code") {
            break Some(status);
        }
        if Instant::now() >= deadline {
            break None;
        }
        thread::sleep(Duration::from_millis(5));
    };
    if status.is_none() {
        kill_group(child.id());
        child.kill().expect("stop the program");
        child.wait().expect("wait for it");
    }
    let took = started.elapsed();
    writer.join().expect("the input was written");
    let [stdout, stderr] = [stdout, stderr].map(|reader| reader.join().expect("the output was read"));
    let outcome = Outcome { code: status.and_then(|status| status.code()), stdout, stderr, took };
    assert!(status.is_some(), "{shown} took longer than {seconds} s\n{}", outcome.said());
    outcome
}

/// Reads a pipe to its end beside the test, so that a full pipe never stops the program.
fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("read what the program says");
        bytes
    })
}

/// Ends a process group at once. The shell does it, for the standard library has no call for it.
fn kill_group(leader: u32) {
    let done = Command::new("sh").args(["-c", "kill -9 \"-$1\"", "sh"]).arg(leader.to_string()).status();
    done.expect("the shell can be started");
}

/// Records that something cannot be tested on this machine. `tests/run` names it in its last line; with
/// CI=true it is an error, for there nothing may be left out.
#[track_caller]
pub(crate) fn untested(what: &str) {
    assert!(
        env::var("CI").as_deref() != Ok("true"),
        "cannot be tested here, and CI=true leaves no test out: {what}"
    );
    let line = format!("not tested here: {what}\n");
    io::stderr().write_all(line.as_bytes()).expect("standard error takes a line");
    if let Some(list) = env::var_os("STRONGROOM_UNTESTED") {
        let mut list = OpenOptions::new().append(true).create(true).open(list).expect("open the list");
        list.write_all(line.as_bytes()).expect("add to the list");
    }
}

/// Whether a program is on the search path; if not, `what` is recorded as untested.
#[track_caller]
pub(crate) fn has_tool(tool: &str, what: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|folder| folder.join(tool).is_file());
    if !found {
        untested(&format!("{what} ({tool} is not installed)"));
    }
    found
}

/// Whether the tests run as root; if not, `what` is recorded as untested.
#[track_caller]
pub(crate) fn is_root(what: &str) -> bool {
    let id = Command::new("id").arg("-u").output().expect("ask who this is").stdout;
    let root = id.trim_ascii() == b"0";
    if !root {
        untested(&format!("{what} (needs root)"));
    }
    root
}

/// Whether the tests that take many minutes are wanted: `tests/run --long`.
pub(crate) fn long() -> bool {
    env::var_os("STRONGROOM_LONG").is_some_and(|value| value == "1")
}

/// A file system of limited size in memory, mounted on a folder for as long as this lives.
#[derive(Debug)]
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of `bytes` on a folder that exists; if that is not possible here, `what` is recorded as
    /// untested.
    #[track_caller]
    pub(crate) fn mount(folder: &Path, bytes: u64, what: &str) -> Option<Self> {
        if !is_root(what) || !has_tool("mount", what) {
            return None;
        }
        let options = format!("size={bytes},mode=0700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).output();
        if mounted.expect("mount can be started").status.success() {
            return Some(Self(folder.to_owned()));
        }
        untested(&format!("{what} (may not mount a file system)"));
        None
    }

    /// Gives it another size.
    #[track_caller]
    pub(crate) fn resize(&self, bytes: u64) {
        let mut mount = Command::new("mount");
        mount.arg("-o").arg(format!("remount,size={bytes}")).arg(&self.0);
        run(&mut mount, 60).expect_code(0);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// SplitMix64: small, fast, and the same numbers from the same seed on every machine. No secrets come from it.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// Starts at a seed, which a test states.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "there is no number below zero");
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// Bytes that do not compress.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_le_bytes()).take(count.div_ceil(8));
        let mut bytes: Vec<u8> = words.flatten().collect();
        bytes.truncate(count);
        bytes
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len() as u64) as usize]
    }
}

#[test]
fn a_temporary_folder_goes_with_all_that_is_in_it() {
    let folder = TempFolder::new();
    let path = folder.path().to_owned();
    assert_ne!(path, TempFolder::new().path());
    folder.write("a/b/file", "text");
    fs::set_permissions(folder.join("a/b"), Permissions::from_mode(0o500)).unwrap();
    drop(folder);
    assert!(!path.exists());
}

#[test]
fn a_program_gets_its_input_and_its_exit_code_is_seen() {
    let mut command = Command::new("sh");
    command.args(["-c", "cat; echo wrong >&2; exit 3"]);
    let outcome = run_with_input(&mut command, b"hello", 60).expect_code(3);
    assert_eq!((outcome.out().as_str(), outcome.err().as_str()), ("hello", "wrong\n"));
}

#[test]
#[should_panic(expected = "took longer than 1 s")]
fn a_deadline_ends_a_program_and_what_it_started() {
    // The inner program holds the pipes; were it left alive, reading them would take a minute.
    run(Command::new("sh").args(["-c", "sleep 60 & sleep 60"]), 1);
}

#[test]
fn the_random_numbers_are_those_of_splitmix64() {
    let mut rng = Rng::new(1_234_567);
    assert_eq!([rng.next(), rng.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    assert_eq!(Rng::new(1).bytes(13), Rng::new(1).bytes(16)[..13]);
    assert!((0..1000).all(|_| rng.below(7) < 7));
}

#[test]
fn a_small_disk_is_small() {
    let folder = TempFolder::new();
    let Some(disk) = SmallDisk::mount(folder.path(), 64 << 10, "what a full disk does") else { return };
    let error = fs::write(folder.join("file"), vec![0; 1 << 20]).expect_err("it does not fit");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    drop(disk);
    assert!(!folder.join("file").exists());
}
