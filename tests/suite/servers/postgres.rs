//! A PostgreSQL server of a test's own.
//!
//! Invariants: it listens on a socket in its own folder and nowhere else. It does not outlive the test. It never runs as
//! root, which it refuses.

use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use strongroom::source::server::address::Address;

use crate::support::{TempFolder, has_tool, run, untested};

/// Who runs it where the tests run as root.
const NOBODY: u32 = 65534;
/// How long it may take to start, in seconds.
const START: u64 = 60;
/// The port that names its socket.
const PORT: u16 = 5432;

/// A server that runs.
pub(crate) struct Postgres {
    folder: TempFolder,
    binaries: PathBuf,
    server: Option<Child>,
    settings: Vec<String>,
}

impl Postgres {
    /// Starts one with a superuser `postgres` whom it trusts; if it is not installed, `what` is recorded as untested.
    #[track_caller]
    pub(crate) fn start(what: &str) -> Option<Self> {
        Self::start_with(what, &[])
    }

    /// The same with settings, such as `max_connections=5`.
    #[track_caller]
    pub(crate) fn start_with(what: &str, settings: &[&str]) -> Option<Self> {
        let Some(binaries) = binaries() else {
            untested(&format!("{what} (PostgreSQL's server is not installed)"));
            return None;
        };
        if !has_tool("psql", what) || !has_tool("pg_dump", what) {
            return None;
        }
        let folder = TempFolder::new();
        own(folder.path());
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut made = Self { folder, binaries, server: None, settings };
        let mut initdb = made.program("initdb");
        initdb.args([
            "--username=postgres",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
            "-D",
        ]);
        initdb.arg(made.data());
        run(&mut initdb, START).expect_code(0);
        made.up();
        Some(made)
    }

    /// A standby of this one.
    #[track_caller]
    pub(crate) fn standby(&self) -> Self {
        let folder = TempFolder::new();
        own(folder.path());
        let made = Self { folder, binaries: self.binaries.clone(), server: None, settings: Vec::new() };
        let mut copy = self.program("pg_basebackup");
        copy.arg("-h").arg(self.folder.path()).args(["-p", &PORT.to_string(), "-U", "postgres"]);
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "-D"]).arg(made.data());
        run(&mut copy, START).expect_code(0);
        let mut made = made;
        made.up();
        made
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.env("LC_ALL", "C").current_dir(self.folder.path());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts it again.
    #[track_caller]
    pub(crate) fn up(&mut self) {
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        command.args(["-p", &PORT.to_string(), "-c", "listen_addresses=", "-c", "fsync=off"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = fs::File::create(self.folder.join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log again")).stderr(log);
        self.server = Some(command.spawn().expect("start PostgreSQL"));
        let deadline = Instant::now() + Duration::from_secs(START);
        while !self.try_sql("postgres", "SELECT 1").status.success() {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL does not start:\n{}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it at once, as `pg_ctl stop -m immediate` does.
    pub(crate) fn down(&mut self) {
        self.signal("QUIT");
        if let Some(mut server) = self.server.take() {
            let deadline = Instant::now() + Duration::from_secs(10);
            while matches!(server.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
            drop(server.kill());
            drop(server.wait());
        }
    }

    /// Sends its first process a signal.
    pub(crate) fn signal(&self, signal: &str) {
        if let Some(server) = &self.server {
            signal_to(server.id(), signal);
        }
    }

    /// Its first process.
    pub(crate) fn process(&self) -> u32 {
        self.server.as_ref().expect("it runs").id()
    }

    /// The folder of its socket.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its address as a text: of a user, with a database and parameters where they are given.
    pub(crate) fn url(&self, user: &str, rest: &str) -> String {
        let host = self.folder.path().to_str().expect("a plain path").replace('/', "%2F");
        format!("postgresql://{user}@{host}:{PORT}/{rest}")
    }

    /// The same, taken apart.
    pub(crate) fn address(&self, user: &str, rest: &str) -> Address {
        Address::parse(&self.url(user, rest)).expect("an address")
    }

    /// A client that connects as the superuser.
    pub(crate) fn client(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", self.folder.path().to_str().expect("a plain path")]);
        command.args(["-p", &PORT.to_string(), "-U", "postgres", "-d", database]);
        command.env("LC_ALL", "C");
        command
    }

    fn try_sql(&self, database: &str, sql: &str) -> Output {
        let mut psql = self.client("psql", database);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        let mut psql = psql
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start psql");
        let mut input = psql.stdin.take().expect("a pipe");
        drop(input.write_all(sql.as_bytes()));
        drop(input);
        psql.wait_with_output().expect("the end of psql")
    }

    /// Runs SQL as the superuser and gives its answer.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.try_sql(database, sql);
        assert!(output.status.success(), "{}\n{}", sql, String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.signal("CONT");
        self.down();
    }
}

/// Sends a process a signal.
pub(crate) fn signal_to(process: u32, signal: &str) {
    drop(
        Command::new("kill")
            .args([&format!("-{signal}"), &process.to_string()])
            .stderr(Stdio::null())
            .status(),
    );
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Gives a folder to whom the server runs as.
fn own(folder: &Path) {
    if is_root() {
        std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).expect("give the folder away");
    }
}

/// The newest server's programs.
fn binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut installed: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    installed.sort_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    installed.reverse();
    let searched = env::var_os("PATH").unwrap_or_default();
    installed.extend(env::split_paths(&searched));
    installed.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}
