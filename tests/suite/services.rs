//! A repository with its key, and the program run on it: what the themes about databases and services share.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::support::{Outcome, TempFolder, has_tool, is_root, run, strongroom, untested};

/// Seconds that any command of these themes may take on a slow and busy machine.
pub(crate) const DEADLINE: u64 = 240;

/// A private folder with a repository and a key of role `full` in it.
#[derive(Debug)]
pub(crate) struct Site {
    /// Everything of this test lies here.
    pub(crate) folder: TempFolder,
    restored: AtomicU64,
}

/// A backup and what it said.
#[derive(Debug)]
pub(crate) struct Backup {
    /// The summary that it ended with.
    pub(crate) summary: Value,
    /// What it reported on the way: objects of type `error`.
    pub(crate) findings: Vec<Value>,
}

impl Site {
    /// Makes a repository and its key.
    pub(crate) fn new() -> Self {
        let site = Self { folder: TempFolder::new(), restored: AtomicU64::new(0) };
        site.run(["init", "--new-key-file", "full.key"], 0);
        site
    }

    /// A path in the private folder.
    pub(crate) fn join(&self, below: impl AsRef<Path>) -> PathBuf {
        self.folder.join(below)
    }

    /// The program, with repository and key named by the environment.
    pub(crate) fn command<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Command {
        let mut command = strongroom(&self.folder);
        command.env("STRONGROOM_REPOSITORY", self.join("repository"));
        let key = self.join("full.key");
        // `init` writes it and must not be told to read it.
        if key.exists() {
            command.env("STRONGROOM_KEY_FILE", key);
        }
        command.args(arguments);
        command
    }

    /// Runs the program and asserts its exit code.
    #[track_caller]
    pub(crate) fn run<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I, code: i32) -> Outcome {
        run(&mut self.command(arguments), DEADLINE).expect_code(code)
    }

    /// Backs up with these arguments and asserts the exit code.
    #[track_caller]
    pub(crate) fn backup<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I, code: i32) -> Backup {
        let mut all: Vec<OsString> = vec!["--json".into(), "backup".into()];
        all.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        Backup::of(&self.run(all, code))
    }

    /// Restores a snapshot, or a part of it, into a new folder.
    #[track_caller]
    pub(crate) fn restore(&self, snapshot: &str) -> PathBuf {
        let target = self.join(format!("restored-{}", self.restored.fetch_add(1, Ordering::Relaxed)));
        self.run([OsStr::new("restore"), snapshot.as_ref(), "--target".as_ref(), target.as_ref()], 0);
        target
    }

    /// One file of the newest snapshot.
    #[track_caller]
    pub(crate) fn dump(&self, place: impl AsRef<OsStr>) -> Vec<u8> {
        self.run([OsStr::new("dump"), "latest".as_ref(), place.as_ref()], 0).stdout
    }

    /// A database of the newest snapshot, opened as a server would.
    #[track_caller]
    pub(crate) fn dump_database(&self, place: impl AsRef<OsStr>) -> Connection {
        let name = format!("dumped-{}.db", self.restored.fetch_add(1, Ordering::Relaxed));
        let path = self.folder.write(name, self.dump(place));
        open(&path)
    }

    /// The paths in the newest snapshot, in its order.
    #[track_caller]
    pub(crate) fn list(&self) -> Vec<String> {
        self.run(["ls", "latest"], 0).out().lines().map(str::to_owned).collect()
    }

    /// The newest snapshot as `snapshots --json` shows it.
    #[track_caller]
    pub(crate) fn newest(&self) -> Value {
        let out = self.run(["snapshots", "--json"], 0).out();
        serde_json::from_str(out.lines().last().expect("there is a snapshot")).expect("a line of JSON")
    }
}

impl Backup {
    /// Takes what a backup with `--json` wrote apart.
    #[track_caller]
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let lines: Vec<Value> = outcome
            .out()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
            .collect();
        let summary = lines.last().cloned().unwrap_or_default();
        assert_eq!(summary["message_type"], "summary", "{}", outcome.err());
        let findings = lines.into_iter().filter(|line| line["message_type"] == "error").collect();
        Self { summary, findings }
    }

    /// A number of the summary.
    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.summary[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {}", self.summary))
    }

    /// The proof of the service.
    pub(crate) fn service(&self) -> &Value {
        &self.summary["service"]
    }

    /// Whether the service was proved whole.
    #[track_caller]
    pub(crate) fn whole(&self) -> bool {
        self.service()["whole"].as_bool().expect("a backup of a service says whether it is whole")
    }

    /// The outcome of the only database.
    #[track_caller]
    pub(crate) fn database(&self) -> &Value {
        let databases = self.summary["databases"].as_array().expect("a list");
        assert_eq!(databases.len(), 1, "{databases:?}");
        &databases[0]
    }

    /// Findings of this weight whose subject ends so.
    pub(crate) fn about(&self, severity: &str, end: &str) -> Vec<&Value> {
        let fits = |finding: &&Value| {
            finding["severity"] == severity
                && finding["item"].as_str().is_some_and(|item| item.ends_with(end))
        };
        self.findings.iter().filter(fits).collect()
    }

    /// Asserts that something is named as a problem, with a cause that holds these words, and a next step.
    #[track_caller]
    pub(crate) fn names(&self, end: &str, words: &str) {
        let found = self.about("problem", end);
        let fits = |finding: &&&Value| {
            finding["message"].as_str().is_some_and(|cause| cause.contains(words))
                && finding["next_step"].as_str().is_some_and(|step| !step.is_empty())
        };
        assert!(found.iter().any(|finding| fits(&finding)), "no {end}: {words} in {:?}", self.findings);
    }
}

/// Opens a restored database as its server would: for reading and writing.
#[track_caller]
pub(crate) fn open(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).expect("a restored database opens")
}

/// Asks for one number.
#[track_caller]
pub(crate) fn number(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Asserts that SQLite finds no damage.
#[track_caller]
pub(crate) fn assert_sound(connection: &Connection) {
    let said: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("an answer");
    assert_eq!(said, "ok");
}

/// How many rows each table has.
#[track_caller]
pub(crate) fn rows(connection: &Connection) -> Vec<(String, i64)> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";
    let mut statement = connection.prepare(sql).expect("the schema is readable");
    let names = statement.query_map([], |row| row.get::<_, String>(0)).expect("the schema is readable");
    names
        .map(|name| name.expect("a name"))
        .map(|name| (name.clone(), number(connection, &format!("SELECT count(*) FROM \"{name}\""))))
        .collect()
}

/// Every row of every table as text, to compare two databases.
#[track_caller]
pub(crate) fn all_rows(connection: &Connection) -> Vec<String> {
    let mut all = Vec::new();
    for (table, _) in rows(connection) {
        let mut statement = connection.prepare(&format!("SELECT * FROM \"{table}\"")).expect("a table");
        let columns = statement.column_count();
        let mut found = statement.query([]).expect("rows");
        while let Some(row) = found.next().expect("a row") {
            let values: Vec<_> = (0..columns).map(|column| row.get_ref(column).expect("a value")).collect();
            all.push(format!("{table} {values:?}"));
        }
    }
    all
}

/// Everything below a folder: path, kind, mode, size, times and a hash of the content. Order is by path.
#[track_caller]
pub(crate) fn state(folder: &Path) -> Vec<(PathBuf, String)> {
    use std::os::unix::fs::MetadataExt;
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).expect("it is there");
        let mut text = format!(
            "{:o} {} {}:{} {}.{}",
            metadata.mode(),
            if metadata.is_dir() { 0 } else { metadata.size() },
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.mtime_nsec()
        );
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if metadata.is_file() {
            text.push(' ');
            text.push_str(&blake3::hash(&fs::read(&path).expect("a file")).to_hex());
        }
        found.push((path.strip_prefix(folder).expect("below").to_owned(), text));
    }
    found.sort();
    found
}

/// The names in a folder, sorted.
#[track_caller]
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Copies a folder with owners, modes and times.
#[track_caller]
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    let copied = run(Command::new("cp").arg("-a").arg(from).arg(to), 60);
    copied.expect_code(0);
}

/// A companion of a database, such as `-wal`.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().as_bytes().to_vec();
    name.extend_from_slice(suffix.as_bytes());
    PathBuf::from(OsStr::from_bytes(&name))
}

/// A folder seen at a second place, where nobody can write, for as long as this lives.
#[derive(Debug)]
pub(crate) struct ReadOnly(PathBuf);

impl ReadOnly {
    /// Mounts `from` read-only on the new folder `at`; where that is not possible, `what` is untested.
    #[track_caller]
    pub(crate) fn mount(from: &Path, at: &Path, what: &str) -> Option<Self> {
        if !is_root(what) || !has_tool("mount", what) {
            return None;
        }
        fs::create_dir_all(at).expect("make the folder to mount on");
        let mount = |arguments: &[&OsStr]| {
            Command::new("mount").args(arguments).output().expect("mount starts").status.success()
        };
        if !mount(&["--bind".as_ref(), from.as_ref(), at.as_ref()]) {
            untested(&format!("{what} (may not mount a folder)"));
            return None;
        }
        let mounted = Self(at.to_owned());
        if mount(&["-o".as_ref(), "remount,bind,ro".as_ref(), at.as_ref()]) {
            return Some(mounted);
        }
        untested(&format!("{what} (may not mount a folder read-only)"));
        None
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// The real data folder of a Vaultwarden with a hot log: the one that STRONGROOM_SAMPLE_VAULT names, else the
/// one beside the checkout; if it is not here, `what` is recorded as untested.
#[track_caller]
pub(crate) fn sample_vault(what: &str) -> Option<PathBuf> {
    let named = std::env::var_os("STRONGROOM_SAMPLE_VAULT").filter(|name| !name.is_empty());
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/vaultwarden");
    let folder = named.as_ref().map_or_else(beside, PathBuf::from);
    if folder.join("db.sqlite3").is_file() {
        return Some(folder);
    }
    assert!(named.is_none(), "STRONGROOM_SAMPLE_VAULT names no data folder: {}", folder.display());
    untested(&format!("{what} (no sample vault here)"));
    None
}
