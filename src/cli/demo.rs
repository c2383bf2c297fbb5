//! `strongroom demo`: the main job for real, in a temporary folder, command by command.
//!
//! Invariant: what is shown is what runs: each step starts this very program with the arguments printed. Nothing
//! outside the demo's folder is touched.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output as Ran, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rusqlite::{Connection, OpenFlags};

use super::exit::Outcome;
use super::output::paragraph::quoted;
use super::output::{Output, human};
use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::interrupt::Interrupt;
use crate::service::vaultwarden::generator::{self, Options, Server};

/// Arguments of `demo`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom demo --size company --keep")]
pub(super) struct Arguments {
    /// How large a Vaultwarden to make
    #[arg(long, value_enum, default_value_t = Size::Family)]
    size: Size,
    /// Folder to work in, new or empty, instead of a temporary one
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Leave everything in its folder at the end
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Size {
    /// 3 people, half a megabyte
    Small,
    /// 10 people, a database of 5 MB, 50 attachments
    Family,
    /// 200 people, a database of 33 MB, 1,500 attachments
    Company,
}

impl Size {
    fn options(self) -> Options {
        match self {
            Self::Small => Options::small(),
            Self::Family => Options::family(),
            Self::Company => Options::company(),
        }
    }
}

/// Pause between two transactions of the server in the background.
const PACE: Duration = Duration::from_millis(5);
/// Any number makes a demo; the same one makes the same demo.
const SEED: u64 = 2026;
/// Exit code of a key whose role does not allow what is asked.
const NOT_ALLOWED: i32 = 12;

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let folder = match &arguments.folder {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("strongroom-demo-{}", random::id()?.short())),
    };
    if folder.exists() && fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::refused(format!("{} is not empty", folder.display())).hint("name a new folder"));
    }
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|error| Error::io(format!("cannot make {}", folder.display()), error))?;
    let interrupt = output.signals.in_good_order();
    let demo = Demo { folder: folder.clone(), output, interrupt, program: program()? };
    let result = demo.show(&arguments.size.options());
    if arguments.keep {
        output.say(&format!("\nEverything is left in {}", folder.display()))?;
    } else {
        fs::remove_dir_all(&folder)
            .map_err(|error| Error::io(format!("cannot remove {}", folder.display()), error))?;
        if result.is_ok() {
            output.say(&format!("\n{} was removed again; --keep leaves it.", folder.display()))?;
        }
    }
    result.map(|()| Outcome::Done)
}

fn program() -> Result<PathBuf> {
    std::env::current_exe().map_err(|error| Error::io("cannot tell where this program lies", error))
}

struct Demo<'a> {
    folder: PathBuf,
    output: &'a Output,
    interrupt: Interrupt,
    program: PathBuf,
}

impl Demo<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn show(&self, options: &Options) -> Result<()> {
        let (data, full, night) = (self.path("data"), self.path("full.key"), self.path("backup.key"));
        self.heading("A Vaultwarden, as a server would leave it")?;
        let started = Instant::now();
        let made = generator::generate(&data, options)?;
        self.output.say(&format!(
            "{} people, {} entries, a database of {}, {} attachments and {} file Sends of {} in all, made in {}.\n\
             From now on a second thread writes to the database, as the server would.",
            human::count(made.users),
            human::count(made.ciphers),
            human::bytes(made.database_bytes),
            human::count(made.attachments),
            human::count(made.file_sends),
            human::bytes(made.attachment_bytes.saturating_add(made.send_bytes)),
            human::duration(started.elapsed())
        ))?;
        let server = generator::start(&data, SEED, PACE)?;

        self.heading("Once: a repository, and a key that can write and not read")?;
        self.succeed(None, &[os("init"), os("--new-key-file"), full.clone().into()])?;
        let add = ["key", "add", "--role", "backup", "--label", "server", "--new-key-file"];
        self.succeed(Some(&full), &[add.map(os).as_slice(), &[night.clone().into()]].concat())?;

        self.heading("The first night, with the key that cannot read")?;
        let backup = [os("backup"), os("--vaultwarden"), data.clone().into()];
        self.succeed(Some(&night), &backup)?;
        let commits = server.stop()?;
        self.output
            .say(&format!("(the server committed {} transactions meanwhile)", human::count(commits)))?;

        self.heading("A day passes: people log in, edit, upload")?;
        let mut day = Server::open(&data, SEED + 1)?;
        day.day()?;
        let uploaded = day.upload_attachment(200_000)?;
        self.output.say(&format!("{} transactions, and one new attachment", human::count(day.commits())))?;
        drop(day);
        let server = generator::start(&data, SEED + 2, PACE)?;

        self.heading("The second night: only what changed is stored")?;
        self.succeed(Some(&night), &backup)?;

        self.heading("The server's key reads nothing back")?;
        let dump = [os("dump"), os("latest"), format!("/{uploaded}").into()];
        let refused = self.command(Some(&night), &dump)?;
        if refused.status.code() != Some(NOT_ALLOWED) {
            return Err(failed("the key of role backup was not refused"));
        }

        self.heading("With the full key, from another machine: one attachment, then everything")?;
        self.succeed(Some(&full), &[os("snapshots")])?;
        self.one_file(&full, &dump, &uploaded, &data)?;
        let restored = self.path("restored");
        self.succeed(Some(&full), &[os("restore"), os("latest"), os("--target"), restored.clone().into()])?;
        self.succeed(Some(&full), &[os("check"), os("--read-data")])?;
        let commits = server.stop()?;

        self.heading("Is it the same?")?;
        self.output
            .say(&format!("(the server committed {} more transactions meanwhile)", human::count(commits)))?;
        self.compare(&data, &restored)
    }

    fn heading(&self, text: &str) -> Result<()> {
        self.interrupt.check()?;
        self.output.say(&format!("\n== {text}"))
    }

    fn one_file(&self, full: &Path, dump: &[OsString], place: &str, data: &Path) -> Result<()> {
        self.show_command(Some(full), dump, " > attachment")?;
        let ran = self.start(Some(full), dump)?;
        let original =
            fs::read(data.join(place)).map_err(|error| Error::io("cannot read the attachment", error))?;
        if !ran.status.success() || ran.stdout != original {
            return Err(failed("the attachment did not come back as it was"));
        }
        self.output.say(&format!("{} came back, equal to the original", human::bytes(original.len() as u64)))
    }

    /// Compares every attachment and Send, and asks the restored database about itself.
    fn compare(&self, data: &Path, restored: &Path) -> Result<()> {
        let mut files = 0u64;
        for folder in ["attachments", "sends"] {
            files = files.saturating_add(compare_folders(&data.join(folder), &restored.join(folder))?);
        }
        self.output.say(&format!(
            "{} files: every attachment and Send is equal, byte for byte",
            human::count(files)
        ))?;
        let database = Connection::open_with_flags(
            restored.join("db.sqlite3"),
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        );
        let ask = |database: &Connection, question: &str| {
            database.query_row(question, [], |row| row.get::<_, rusqlite::types::Value>(0))
        };
        let sql = |error: rusqlite::Error| {
            Error::new(ErrorKind::Corrupt, "the restored database does not answer").caused_by(error)
        };
        let database = database.map_err(sql)?;
        let integrity = ask(&database, "PRAGMA integrity_check").map_err(sql)?;
        let rows = ask(&database, "SELECT count(*) FROM attachments").map_err(sql)?;
        let ok = rusqlite::types::Value::Text("ok".to_owned());
        if integrity != ok {
            return Err(failed("the restored database is damaged"));
        }
        self.output
            .say(&format!("the database: integrity_check says ok, and it holds {} attachments", value(&rows)))
    }

    fn succeed(&self, key: Option<&Path>, arguments: &[OsString]) -> Result<()> {
        let ran = self.command(key, arguments)?;
        if ran.status.success() { Ok(()) } else { Err(failed("a command of the demo failed")) }
    }

    /// Shows a command, runs it, and shows what it says.
    fn command(&self, key: Option<&Path>, arguments: &[OsString]) -> Result<Ran> {
        self.show_command(key, arguments, "")?;
        let ran = self.start(key, arguments)?;
        for text in [&ran.stdout, &ran.stderr] {
            for line in String::from_utf8_lossy(text).lines() {
                self.output.say(line)?;
            }
        }
        if let Some(code) = ran.status.code().filter(|code| *code != 0) {
            self.output.say(&format!("(exit code {code})"))?;
        }
        Ok(ran)
    }

    fn start(&self, key: Option<&Path>, arguments: &[OsString]) -> Result<Ran> {
        let mut command = Command::new(&self.program);
        for name in ["REPOSITORY", "PASSWORD", "PASSWORD_FILE", "PASSWORD_COMMAND", "KEY_FILE", "CACHE_DIR"] {
            command.env_remove(format!("STRONGROOM_{name}"));
        }
        command
            .args(self.shown(key, arguments))
            .arg("--cache-dir")
            .arg(self.path("cache"))
            .stdin(Stdio::null());
        let ran = command.output().map_err(|error| Error::io("cannot start this program again", error))?;
        // At a terminal the same Ctrl-C ended the program.
        self.interrupt.check().map(|()| ran)
    }

    fn shown(&self, key: Option<&Path>, arguments: &[OsString]) -> Vec<OsString> {
        let mut shown = vec![os("-r"), self.path("repository").into()];
        if let Some(key) = key {
            shown.extend([os("--key-file"), key.into()]);
        }
        shown.extend_from_slice(arguments);
        shown
    }

    fn show_command(&self, key: Option<&Path>, arguments: &[OsString], end: &str) -> Result<()> {
        let words: Vec<String> =
            self.shown(key, arguments).iter().map(|word| quoted(&word.to_string_lossy())).collect();
        self.output.say(&format!("$ strongroom {}{end}", words.join(" ")))
    }
}

fn compare_folders(original: &Path, restored: &Path) -> Result<u64> {
    let fail = |error| Error::io(format!("cannot read {}", original.display()), error);
    let mut files = 0u64;
    for entry in fs::read_dir(original).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let (one, other) = (entry.path(), restored.join(entry.file_name()));
        if entry.file_type().map_err(fail)?.is_dir() {
            files = files.saturating_add(compare_folders(&one, &other)?);
        } else if fs::read(&one).map_err(fail)? == fs::read(&other).map_err(fail)? {
            files = files.saturating_add(1);
        } else {
            return Err(failed("a restored file is not equal to its original"));
        }
    }
    Ok(files)
}

fn value(value: &rusqlite::types::Value) -> String {
    match value {
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Text(text) => text.clone(),
        _ => "unknown".to_owned(),
    }
}

fn os(text: &str) -> OsString {
    OsString::from(text)
}

fn failed(what: &'static str) -> Error {
    Error::new(ErrorKind::Io, what)
}
