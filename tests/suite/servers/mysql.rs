//! A MariaDB server of a test's own.
//!
//! Invariants: it listens on a socket in its own folder and nowhere else. It does not outlive the test. It never runs as
//! root.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use strongroom::source::server::address::Address;

use crate::support::{TempFolder, has_tool, run, untested};

/// Who runs it where the tests run as root.
const NOBODY: u32 = 65534;
/// How long it may take to be made and to start, in seconds.
const START: u64 = 90;
/// Small, so that it starts at once.
const SMALL: [&str; 9] = [
    "--skip-networking",
    "--innodb-log-file-size=4M",
    "--innodb-buffer-pool-size=16M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-fast-shutdown=2",
    "--innodb-use-native-aio=0",
    "--key-buffer-size=1M",
    "--aria-pagecache-buffer-size=1M",
    "--character-set-server=utf8mb4",
];

/// A server that runs.
pub(crate) struct Mysql {
    folder: TempFolder,
    server: Option<Child>,
}

impl Mysql {
    /// Starts one with an administrator `root` without a password; if it is not installed, `what` is recorded as
    /// untested.
    #[track_caller]
    pub(crate) fn start(what: &str) -> Option<Self> {
        let tools = ["mariadb-install-db", "mariadb", "mariadb-dump"];
        if !tools.iter().all(|tool| has_tool(tool, what)) {
            return None;
        }
        if server_program().is_none() {
            untested(&format!("{what} (mariadbd is not installed)"));
            return None;
        }
        let mut made = Self { folder: TempFolder::new(), server: None };
        if is_root() {
            std::os::unix::fs::chown(made.folder.path(), Some(NOBODY), Some(NOBODY)).expect("give it away");
        }
        let mut install = made.program("mariadb-install-db");
        install.arg("--no-defaults").arg(format!("--datadir={}", made.folder.join("data").display()));
        install.args(["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]);
        install.args([SMALL[1], SMALL[2], SMALL[5]]);
        run(&mut install, START).expect_code(0);
        made.up();
        made.sql("", "DELETE FROM mysql.global_priv WHERE User = ''; FLUSH PRIVILEGES;");
        Some(made)
    }

    fn program(&self, name: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(name);
        // A server that starts removes what others have left in the folder for temporary files: none shares it.
        command
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("TMPDIR", self.folder.path());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts it again.
    #[track_caller]
    pub(crate) fn up(&mut self) {
        let mut command = self.program(server_program().expect("it is installed"));
        command.arg("--no-defaults").args(SMALL);
        for (option, file) in [("datadir", "data"), ("socket", "s"), ("pid-file", "pid"), ("tmpdir", "data")]
        {
            command.arg(format!("--{option}={}", self.folder.join(file).display()));
        }
        let log = fs::File::create(self.folder.join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log again")).stderr(log);
        self.server = Some(command.spawn().expect("start MariaDB"));
        let deadline = Instant::now() + Duration::from_secs(START);
        while !self.try_sql("", "SELECT 1").status.success() {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "MariaDB does not start:\n{}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it at once.
    pub(crate) fn down(&mut self) {
        if let Some(mut server) = self.server.take() {
            drop(server.kill());
            drop(server.wait());
        }
    }

    /// Its folder, in which its socket is `s`.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.server.as_ref().expect("it runs").id()
    }

    /// Its address as a text: of a user, with a database and parameters where they are given.
    pub(crate) fn url(&self, user: &str, rest: &str) -> String {
        let socket = self.folder.join("s").to_str().expect("a plain path").replace('/', "%2F");
        format!("mysql://{user}@{socket}/{rest}")
    }

    /// The same, taken apart.
    pub(crate) fn address(&self, user: &str, rest: &str) -> Address {
        Address::parse(&self.url(user, rest)).expect("an address")
    }

    /// A client that connects as the administrator.
    pub(crate) fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--no-defaults").arg(format!("--socket={}", self.folder.join("s").display()));
        command.args(["--user=root", "--default-character-set=utf8mb4"]);
        command
    }

    fn try_sql(&self, database: &str, sql: &str) -> Output {
        let mut client = self.client("mariadb");
        client.args(["--batch", "--skip-column-names"]).arg(format!("--database={database}"));
        let mut client = client
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the client");
        let mut input = client.stdin.take().expect("a pipe");
        drop(input.write_all(sql.as_bytes()));
        drop(input);
        client.wait_with_output().expect("the end of the client")
    }

    /// Runs SQL as the administrator and gives its answer.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.try_sql(database, sql);
        assert!(output.status.success(), "{}\n{}", sql, String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }
}

impl Drop for Mysql {
    fn drop(&mut self) {
        self.down();
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// The server's program, which is on the search path of administrators alone.
fn server_program() -> Option<&'static str> {
    ["/usr/sbin/mariadbd", "/usr/libexec/mariadbd", "/usr/bin/mariadbd"]
        .into_iter()
        .find(|path| Path::new(path).is_file())
}
