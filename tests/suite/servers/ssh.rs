//! A server of SSH of a test's own, for clients that run on another host.
//!
//! Invariant: it listens on the local host only, lets nobody in but the test's own key, and does not outlive the test.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{TempFolder, has_tool, run, untested};

/// How long it may take to start, in seconds.
const START: u64 = 30;

/// A server that runs.
pub(crate) struct Ssh {
    folder: TempFolder,
    server: Child,
}

impl Ssh {
    /// Starts one; if it is not installed, `what` is recorded as untested.
    #[track_caller]
    pub(crate) fn start(what: &str) -> Option<Self> {
        let program = "/usr/sbin/sshd";
        if !Path::new(program).exists() {
            untested(&format!("{what} (sshd is not installed)"));
            return None;
        }
        if !has_tool("ssh", what) || !has_tool("ssh-keygen", what) {
            return None;
        }
        let folder = TempFolder::new();
        for key in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(key));
            run(&mut keygen, START).expect_code(0);
        }
        fs::copy(folder.join("user.pub"), folder.join("authorized")).unwrap();
        fs::set_permissions(folder.join("authorized"), fs::Permissions::from_mode(0o644)).unwrap();
        // Where it runs as root it wants this folder, which Debian's unit makes.
        fs::create_dir_all("/run/sshd").ok();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let place = folder.path().display();
        folder.write(
            "server",
            format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\nAuthorizedKeysFile {place}/authorized\n\
                 StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n"
            ),
        );
        folder.write(
            "client",
            format!(
                "Host db\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {place}/user\n  IdentitiesOnly yes\n\
                 \x20 StrictHostKeyChecking no\n  UserKnownHostsFile {place}/known\n  LogLevel ERROR\n"
            ),
        );
        let mut command = Command::new(program);
        command.args(["-D", "-e", "-f"]).arg(folder.join("server"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().expect("start sshd");
        let deadline = Instant::now() + Duration::from_secs(START);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "sshd does not start");
            thread::sleep(Duration::from_millis(50));
        }
        Some(Self { folder, server })
    }

    /// What stands before a command that is to run there.
    pub(crate) fn prefix(&self) -> String {
        format!("ssh -F {} db", self.folder.join("client").display())
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}
