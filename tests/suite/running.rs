//! `strongroom run` as cron and systemd start it: hooks, monitors, locks, what fails beside what works.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::site::{DEADLINE, Site, objects};
use crate::support::{Outcome, run};

/// A repository with a configuration beside it.
pub(crate) struct Jobs {
    pub(crate) site: Site,
}

impl Jobs {
    /// What stands in `jobs` follows the table of the repository; `@` is the folder of everything.
    pub(crate) fn new(jobs: &str) -> Self {
        let site = Site::new();
        site.folder.write("data/file", "content");
        let this = Self { site };
        this.configure(jobs);
        this
    }

    /// Writes the configuration: the repository, behind what stands before the first table.
    pub(crate) fn configure(&self, jobs: &str) {
        let (above, jobs) = jobs.split_at(jobs.find('[').unwrap_or(0));
        let text = format!(
            "{above}[repositories.main]\npath = \"@/repo\"\nkey-file = \"@/full.key\"\ncache-dir = \"@/cache\"\n{jobs}"
        );
        self.write("strongroom.toml", &text);
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let folder = self.site.folder.path().display().to_string();
        let path = self.site.folder.write(name, text.replace('@', &folder));
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// The program as cron starts it: no HOME, a short search path, no terminal.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
        command.env("STRONGROOM_CONFIG", self.site.join("strongroom.toml")).args(arguments);
        command
    }

    #[track_caller]
    pub(crate) fn run(&self, code: i32, arguments: &[&str]) -> Outcome {
        let outcome = run(&mut self.command(arguments), DEADLINE).expect_code(code);
        assert!(!outcome.err().contains("panicked"), "{}", outcome.err());
        outcome
    }

    #[track_caller]
    pub(crate) fn json(&self, code: i32, arguments: &[&str]) -> Vec<Value> {
        objects(&self.run(code, &[&["--json"], arguments].concat()))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.site.join(name)).unwrap_or_default()
    }

    fn snapshots(&self) -> Vec<Value> {
        self.site.json(0, ["snapshots"])
    }
}

/// Puts the same in place of what differs from run to run.
fn same_everywhere(jobs: &Jobs, text: &str) -> String {
    let text = text.replace(&jobs.site.folder.path().display().to_string(), "@");
    let words = text.split_inclusive(|character: char| " \n,:;()".contains(character)).map(|word| {
        let bare = word.trim_end_matches(|character: char| " \n,:;()".contains(character));
        let rest = &word[bare.len()..];
        let is_id = bare.len() == 8 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        format!("{}{rest}", if is_id { "ID" } else { bare })
    });
    let text: String = words.collect();
    let lines = text.lines().map(|line| match line.split_once(", in ") {
        Some((before, _)) => format!("{before}, in TIME"),
        None => line.to_owned(),
    });
    let lines = lines.map(|line| match line.rsplit_once(", ") {
        Some((before, last)) if last.ends_with(" stored") => format!("{before}, SIZE stored"),
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn hold(jobs: &Jobs, name: &str, outcome: &Outcome) {
    let text = format!("{}---\n{}", outcome.out(), outcome.err());
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/messages"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, same_everywhere(jobs, &text)));
}

#[test]
fn a_whole_configuration_runs_in_the_environment_of_cron() {
    let jobs = Jobs::new(
        "metrics = \"@/strongroom.prom\"\n[retention]\nkeep-last = 1\ntimezone = \"UTC\"\n\
         [jobs.files]\npaths = [\"@/data\"]\nhost = \"server\"\ntags = [\"nightly\"]\n\
         before = [\"echo $STRONGROOM_STEP $STRONGROOM_JOB >>@/steps\"]\n\
         after-backup = [[\"sh\", \"-c\", \"echo $STRONGROOM_STEP ${#STRONGROOM_SNAPSHOT} >>@/steps\"]]\n\
         after = [{ command = \"echo $STRONGROOM_STEP $STRONGROOM_EXIT_CODE $STRONGROOM_PROBLEMS >>@/steps\", timeout = \"1m\" }]\n\
         on-failure = [\"echo failed >>@/steps\"]\n\
         [jobs.dump]\nhost = \"server\"\nprune = true\ncheck = { read-data = true }\n\
         [[jobs.dump.commands]]\nname = \"db/app.sql\"\ncommand = [\"echo\", \"select 1\"]\n",
    );
    jobs.run(0, &["config", "check"]);
    let first = jobs.run(0, &["run"]);
    hold(&jobs, "run_first", &first);
    // With -q there is not a word where all is well.
    jobs.site.folder.write("data/file", "other content");
    let second = jobs.run(0, &["-q", "run"]);
    assert_eq!((second.out(), second.err()), (String::new(), String::new()));
    let night = "before files\nafter-backup 64\nafter 0 0\n";
    assert_eq!(jobs.text("steps"), night.repeat(2));
    let kept = jobs.snapshots();
    assert_eq!(kept.len(), 2, "the rules keep the last of each job: {kept:?}");
    let of_files = jobs.site.json(0, ["snapshots", "--job", "files"]);
    assert_eq!((of_files.len(), &of_files[0]["tags"][0]), (1, &Value::from("nightly")));
    assert_eq!(jobs.site.run(0, ["dump", "latest", "/db/app.sql"]).out(), "select 1\n");
    assert!(
        jobs.text("strongroom.prom")
            .contains("strongroom_last_run_exit_code{job=\"dump\",host=\"server\"} 0")
    );
    // The cache is where the configuration says, and nowhere else.
    assert!(jobs.site.join("cache/jobs").is_dir());
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_would_be() {
    let jobs = Jobs::new(
        "[jobs.files]\npaths = [\"@/data\"]\nbefore = [\"touch @/touched\"]\nretention = { keep-last = 1 }\nprune = true\n",
    );
    let objects = jobs.site.objects();
    let outcome = jobs.run(0, &["run", "--dry-run"]);
    assert!(outcome.out().contains("files: done (dry run)") && outcome.out().contains("would be forgotten"));
    assert!(objects == jobs.site.objects() && !jobs.site.join("touched").exists());
    assert!(jobs.run(3, &["status"]).out().contains("there is no good snapshot"));
}

#[test]
fn a_hook_that_fails_means_no_backup_and_what_was_stopped_starts_again() {
    let jobs = Jobs::new(
        "[jobs.files]\npaths = [\"@/data\"]\n\
         before = [\"echo stop >>@/steps\", \"echo no room >&2; exit 7\", \"echo never >>@/steps\"]\n\
         after-backup = [\"echo start >>@/steps\"]\nafter = [\"echo never >>@/steps\"]\n\
         on-failure = [\"echo $STRONGROOM_STEP $STRONGROOM_EXIT_CODE \\\"$STRONGROOM_SUMMARY\\\" >>@/steps\"]\n\
         [jobs.other]\npaths = [\"@/data\"]\n",
    );
    let outcome = jobs.run(1, &["run"]);
    hold(&jobs, "run_failing_hook", &outcome);
    let steps = jobs.text("steps");
    assert!(
        steps.starts_with("stop\nstart\non-failure 1 files: FAILED") && !steps.contains("never"),
        "{steps}"
    );
    assert!(steps.contains("failed with exit code 7: no room"), "{steps}");
    assert_eq!(jobs.snapshots().len(), 1, "the other job is not stopped by it");
}

#[test]
fn a_hook_that_hangs_is_ended_with_all_it_started() {
    let jobs = Jobs::new(
        "[jobs.files]\npaths = [\"@/data\"]\nbefore = [{ command = \"sleep 300 & sleep 300\", timeout = 1 }]\n",
    );
    let started = Instant::now();
    let outcome = jobs.run(1, &["-q", "run"]);
    assert!(outcome.out().contains("the command sleep took longer than 1.00 s"), "{}", outcome.out());
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn hooks_and_commands_see_no_password_of_ours() {
    let jobs = Jobs::new(
        "[jobs.files]\nbefore = [\"env >@/seen\"]\n[[jobs.files.commands]]\nname = \"env\"\ncommand = [\"env\"]\n",
    );
    let mut command = jobs.command(&["-q", "run"]);
    command.env("STRONGROOM_PASSWORD", "hunter2").env("STRONGROOM_KEY_FILE", "/hunter2");
    run(&mut command, DEADLINE).expect_code(0);
    assert!(!jobs.text("seen").contains("hunter2") && jobs.text("seen").contains("STRONGROOM_JOB=files"));
    assert!(!jobs.site.run(0, ["dump", "latest", "/env"]).out().contains("STRONGROOM_"));
}

/// A monitor that notes what it is told, and answers with this; with nothing where that is empty.
fn monitor(answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/secret-uuid", listener.local_addr().unwrap());
    let told = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&told);
    thread::spawn(move || {
        let mut waiting = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            notes.lock().unwrap().push(request(&mut stream));
            if answer.is_empty() {
                waiting.push(stream);
            } else {
                let text = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                drop(stream.write_all(text.as_bytes()));
            }
        }
    });
    (address, told)
}

/// The line and the body of a request.
fn request(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return format!("{} {body}", head.lines().next().unwrap()).trim().to_owned();
            }
        }
        match stream.read(&mut buffer) {
            Ok(read @ 1..) => bytes.extend_from_slice(&buffer[..read]),
            _ => return format!("cut short: {text}"),
        }
    }
}

#[test]
fn a_monitor_hears_of_the_start_and_of_the_end() {
    let (address, told) = monitor("200 OK");
    let jobs = Jobs::new(&format!(
        "[jobs.good]\npaths = [\"@/data\"]\nping = \"{address}\"\n\
         [jobs.bad]\npaths = [\"@/gone\"]\nping = {{ url = \"{address}\" }}\nbefore = [\"exit 9\"]\n"
    ));
    jobs.run(1, &["-q", "run"]);
    let told = told.lock().unwrap().clone();
    assert_eq!(
        &told[..3],
        ["GET /secret-uuid/start HTTP/1.1", "GET /secret-uuid HTTP/1.1", "GET /secret-uuid/start HTTP/1.1",]
    );
    assert!(told[3].starts_with("POST /secret-uuid/fail HTTP/1.1 bad: FAILED"), "{}", told[3]);
    assert!(told[3].contains("failed with exit code 9") && told.len() == 4, "{told:?}");
}

#[test]
fn a_monitor_that_hangs_refuses_or_fails_changes_nothing() {
    let (silent, _) = monitor("");
    let (broken, _) = monitor("500 Internal Server Error");
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/secret-uuid", listener.local_addr().unwrap())
    };
    for (address, words) in
        [(silent, "no answer within 1 s"), (broken, "it answered 500"), (gone, "connection refused")]
    {
        let jobs = Jobs::new(&format!(
            "[jobs.files]\npaths = [\"@/data\"]\nping = {{ url = \"{address}\", timeout = \"1s\" }}\n"
        ));
        let started = Instant::now();
        let outcome = jobs.run(0, &["run"]);
        assert!(started.elapsed() < Duration::from_secs(60) && jobs.snapshots().len() == 1);
        assert!(outcome.err().contains(words), "{}", outcome.err());
        assert!(outcome.err().contains("the monitor could not be told of the start"), "{}", outcome.err());
        assert!(!outcome.err().contains("secret-uuid"), "{}", outcome.err());
        let quiet = jobs.run(0, &["-q", "run"]);
        assert!(quiet.err().is_empty() && quiet.out().is_empty(), "{}", quiet.err());
    }
}

#[test]
fn a_second_run_of_a_job_is_told_so_and_the_first_goes_on() {
    let jobs = Jobs::new(
        "[jobs.files]\npaths = [\"@/data\"]\n\
         before = [\"touch @/begun; while ! [ -e @/go-on ]; do sleep 0.1; done\"]\n\
         [jobs.other]\npaths = [\"@/data\"]\n",
    );
    let mut first = jobs.command(&["-q", "run", "files"]);
    let mut first = first.stdout(Stdio::null()).spawn().unwrap();
    let since = Instant::now();
    while !jobs.site.join("begun").exists() && since.elapsed() < Duration::from_secs(DEADLINE) {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(jobs.run(3, &["status"]).out().contains("it runs now"));
    let second = jobs.run(11, &["run"]);
    assert!(second.out().contains("job files runs already, and goes on"), "{}", second.out());
    assert!(second.out().contains("other: done"), "{}", second.out());
    jobs.site.folder.write("go-on", "");
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert_eq!(jobs.snapshots().len(), 2);
}

#[test]
fn what_becomes_of_one_job_stops_no_other() {
    let jobs = Jobs::new(
        "[repositories.gone]\npath = \"@/nowhere\"\nkey-file = \"@/full.key\"\n\
         [repositories.locked]\npath = \"@/repo\"\nkey-file = \"@/other.key\"\n\
         [jobs.gone]\nrepository = \"gone\"\npaths = [\"@/data\"]\n\
         [jobs.locked]\nrepository = \"locked\"\npaths = [\"@/data\"]\n\
         [jobs.unreadable]\nrepository = \"main\"\npaths = [\"@/data\", \"@/absent\"]\n\
         [jobs.fine]\nrepository = \"main\"\npaths = [\"@/data\"]\n",
    );
    jobs.site.folder.write("scratch/x", "");
    let mut init = crate::support::strongroom(&jobs.site.folder);
    run(init.args(["-q", "-r", "second", "init", "--new-key-file", "other.key"]), DEADLINE).expect_code(0);
    let told = jobs.json(12, &["run"]);
    let codes: Vec<(String, u64)> = told
        .iter()
        .filter(|object| object["message_type"] == "job")
        .map(|object| (object["job"].as_str().unwrap().to_owned(), object["exit_code"].as_u64().unwrap()))
        .collect();
    let expected = [("gone", 10), ("locked", 12), ("unreadable", 3), ("fine", 0)];
    assert_eq!(codes, expected.map(|(name, code)| (name.to_owned(), code)));
    let summary = told.last().unwrap();
    assert_eq!((&summary["exit_code"], &summary["jobs_failed"]), (&12.into(), &2.into()));
    // The check says the same beforehand, and one that runs alone has a code of its own.
    jobs.run(12, &["config", "check"]);
    jobs.run(10, &["run", "gone"]);
    jobs.run(3, &["run", "unreadable", "fine"]);
    let outcome = jobs.run(12, &["run"]);
    hold(&jobs, "run_one_of_many", &outcome);
}

#[test]
fn a_backup_key_backs_up_and_another_forgets() {
    let jobs = Jobs::new("");
    jobs.site.run(0, ["key", "add", "--role", "backup", "--label", "b", "--new-key-file", "backup.key"]);
    jobs.site.run(0, ["key", "add", "--role", "maintain", "--label", "m", "--new-key-file", "maintain.key"]);
    let table =
        "[repositories.main]\npath = \"@/repo\"\nkey-file = \"@/backup.key\"\ncache-dir = \"@/cache\"\n";
    let job = "[jobs.files]\npaths = [\"@/data\"]\nretention = { keep-last = 1 }\n";
    jobs.write("strongroom.toml", &format!("{table}{job}"));
    jobs.run(12, &["config", "check"]);
    let outcome = jobs.run(12, &["run"]);
    assert!(outcome.out().contains("maintain-key-file"), "{}", outcome.out());
    jobs.write("strongroom.toml", &format!("{table}maintain-key-file = \"@/maintain.key\"\n{job}"));
    jobs.run(0, &["config", "check"]);
    jobs.run(0, &["run"]);
    assert_eq!(jobs.snapshots().len(), 1);
}
