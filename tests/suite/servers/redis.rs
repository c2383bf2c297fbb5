//! A Redis server of a test's own.
//!
//! Invariants: it listens on a socket in its own folder and nowhere else. It does not outlive the test.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use strongroom::source::server::address::Address;

use crate::support::{TempFolder, has_tool, run};

/// How long it may take to start, in seconds.
const START: u64 = 60;

/// A server that runs.
pub(crate) struct Redis {
    folder: TempFolder,
    server: Option<Child>,
}

impl Redis {
    /// Starts one with settings, and with a file to load where there is one; if it is not installed, `what` is recorded
    /// as untested.
    #[track_caller]
    pub(crate) fn start(what: &str, settings: &[&str], file: Option<&[u8]>) -> Option<Self> {
        if !has_tool("redis-server", what) || !has_tool("redis-cli", what) {
            return None;
        }
        let folder = TempFolder::new();
        if let Some(file) = file {
            folder.write("dump.rdb", file);
        }
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--unixsocket"]).arg(folder.join("s")).arg("--dir").arg(folder.path());
        command.args(["--save", "", "--repl-diskless-sync-delay", "0"]).args(settings);
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("start Redis");
        let made = Self { folder, server: Some(server) };
        let deadline = Instant::now() + Duration::from_secs(START);
        while !["PONG", "NOAUTH"].iter().any(|word| made.ask(&["ping"]).contains(word)) {
            assert!(Instant::now() < deadline, "Redis does not start");
            thread::sleep(Duration::from_millis(20));
        }
        Some(made)
    }

    /// Stops it at once.
    pub(crate) fn down(&mut self) {
        if let Some(mut server) = self.server.take() {
            drop(server.kill());
            drop(server.wait());
        }
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.server.as_ref().expect("it runs").id()
    }

    /// Its address as a text, with what stands before the `@` if anything does.
    pub(crate) fn url(&self, login: &str) -> String {
        let socket = self.folder.join("s").to_str().expect("a plain path").replace('/', "%2F");
        let at = if login.is_empty() { "" } else { "@" };
        format!("redis://{login}{at}{socket}")
    }

    /// The same, taken apart.
    pub(crate) fn address(&self, login: &str) -> Address {
        Address::parse(&self.url(login)).expect("an address")
    }

    /// A client that connects to it without a password.
    pub(crate) fn client(&self) -> Command {
        let mut client = Command::new("redis-cli");
        client.arg("-s").arg(self.folder.join("s"));
        client
    }

    /// Asks it something without a password.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let outcome = run(self.client().args(words), START);
        outcome.out() + &outcome.err()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.down();
    }
}
