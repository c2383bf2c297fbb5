//! Commands and what they said, as one text that is the same on every machine.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Outcome, TempFolder, has_tool, is_root, run, strongroom};

/// Longest that a command may take.
pub(super) const DEADLINE: u64 = 240;

/// A place with a repository `repo`, a key `full.key`, a password `right` and a folder `data`, and what was said there.
pub(super) struct Transcript {
    pub(super) folder: TempFolder,
    text: String,
    /// Refusals that name no next step.
    helpless: Vec<String>,
    /// Whether every command runs as somebody who may do nothing.
    stranger: bool,
}

impl Transcript {
    /// A place with nothing in it.
    pub(super) fn bare() -> Self {
        Self { folder: TempFolder::new(), text: String::new(), helpless: Vec::new(), stranger: false }
    }

    /// A place with a repository of one snapshot.
    pub(super) fn new() -> Self {
        let this = Self::bare();
        this.folder.write("data/file", "what stands in the file\n");
        this.folder.write("data/sub/other", "what stands in the other\n");
        this.silent(&["init", "--new-key-file", "full.key"]);
        this.silent(&["backup", "data", "--host", "server"]);
        this
    }

    /// The same, and every command to be told runs as nobody; nothing where that cannot be.
    #[track_caller]
    pub(super) fn of_a_stranger(what: &str) -> Option<Self> {
        if !is_root(what) || !has_tool("setpriv", what) {
            return None;
        }
        let mut this = Self::new();
        fs::set_permissions(this.folder.path(), Permissions::from_mode(0o755)).unwrap();
        let (built, program) = (env!("CARGO_BIN_EXE_strongroom"), this.folder.join("strongroom"));
        fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
        for name in ["home", "tmp", "repo", "data", "full.key"] {
            give(&this.folder.join(name));
        }
        this.stranger = true;
        Some(this)
    }

    pub(super) fn join(&self, below: impl AsRef<Path>) -> PathBuf {
        self.folder.join(below)
    }

    /// The program with these arguments; repository and key come from the environment.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let clean = strongroom(&self.folder);
        let mut command = Command::new(if self.stranger { "setpriv".as_ref() } else { clean.get_program() });
        command.env_clear().current_dir(self.folder.path());
        command.envs(clean.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("STRONGROOM_REPOSITORY", "repo");
        // Threads would tell of what they find in any order.
        command.env("RAYON_NUM_THREADS", "1");
        if arguments.first() != Some(&"init") {
            command.env("STRONGROOM_KEY_FILE", "full.key");
        }
        if self.stranger {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(self.join("strongroom"));
        }
        command.args(arguments);
        command
    }

    /// Runs a command that must work, and tells nothing of it.
    #[track_caller]
    pub(super) fn silent(&self, arguments: &[&str]) -> Outcome {
        run(&mut self.command(arguments), DEADLINE).expect_code(0)
    }

    /// Runs a command and tells what it said.
    #[track_caller]
    pub(super) fn tell(&mut self, about: &str, arguments: &[&str]) {
        let mut command = self.command(arguments);
        self.tell_of(about, arguments, &mut command);
    }

    /// The same with a command made ready by the test.
    #[track_caller]
    pub(super) fn tell_of(&mut self, about: &str, arguments: &[&str], command: &mut Command) {
        let outcome = run(command, DEADLINE);
        let shown: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
        self.text.push_str(&format!("# {about}\n$ strongroom {}\n", shown.join(" ")));
        // How much there was depends on how long the names of folders for temporary files are.
        let counts =
            |line: &&str| !["files: ", "folders: ", "processed "].iter().any(|word| line.starts_with(word));
        let mut printed: Vec<String> =
            outcome.out().lines().filter(counts).map(|line| self.same_everywhere(line)).collect();
        // Several threads find what they tell a program.
        let is_finding = |line: &String| line.starts_with("{\"message_type\":\"error\"");
        for run in printed.chunk_by_mut(|one, other| is_finding(one) && is_finding(other)) {
            run.sort();
        }
        for line in printed {
            self.text.push_str(&format!("| {line}\n"));
        }
        let said: Vec<String> = outcome.err().lines().map(|line| self.same_everywhere(line)).collect();
        for line in in_order(&said) {
            self.text.push_str(&format!("{line}\n"));
        }
        let code = outcome.code.expect("it ends by itself");
        self.text.push_str(&format!("exit code {code}\n\n"));
        assert!(!outcome.err().contains("panicked"), "{}", outcome.err());
        if matches!(code, 1 | 10 | 11 | 12) && !has_next_step(&outcome) {
            self.helpless.push(format!("{about} {}{}", outcome.out(), outcome.err()));
        }
    }

    /// Holds all that was told against what is kept.
    #[track_caller]
    pub(super) fn hold(&self, name: &str) {
        assert!(self.helpless.is_empty(), "these name no next step:\n{}", self.helpless.join("\n"));
        let mut settings = insta::Settings::new();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/messages"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, self.text.trim_end()));
    }

    /// Takes out what differs from run to run: this place, ids, times, sizes, numbers of processes.
    fn same_everywhere(&self, line: &str) -> String {
        let place = self.folder.path().to_str().expect("it is UTF-8");
        let line = summary_alone(line).unwrap_or_else(|| line.to_owned());
        let line = line.replace(place, "/place").replace(place.trim_start_matches('/'), "place");
        let line = replaced(&line, "<id>", |text| {
            let length = text.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
            Some(length).filter(|length| matches!(length, 8 | 64))
        });
        let line = replaced(&line, "<time>", |text| {
            let fits = text.len() >= 19
                && text.bytes().zip("0000-00-00 00:00:00".bytes()).all(|(is, form)| {
                    if form == b'0' { is.is_ascii_digit() } else { is == form || form == b' ' && is == b'T' }
                });
            fits.then_some(19)
        });
        let line = replaced(&line, "packs/<id>", |text| {
            let rest = text.strip_prefix("packs/")?.get(2..)?;
            rest.starts_with("/<id>").then_some("packs/00/<id>".len())
        });
        replaced(&line, "<some> ", |text| {
            let length = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
            let unit = ["s,", "s ", "s\u{0}", "MiB", "KiB", "GiB", "B ", "B,"];
            let rest = text.get(length..)?.strip_prefix(' ')?;
            let rest = format!("{rest}\u{0}");
            (length > 0 && unit.iter().any(|unit| rest.starts_with(unit))).then_some(length + 1)
        })
    }
}

/// Lines in which findings of one weight that follow each other are sorted: what is drawn by ids comes in any order.
fn in_order(lines: &[String]) -> Vec<String> {
    let mut blocks: Vec<Vec<String>> = Vec::new();
    for line in lines {
        match blocks.last_mut().filter(|_| line.starts_with(' ')) {
            Some(block) => block.push(line.clone()),
            None => blocks.push(vec![line.clone()]),
        }
    }
    let weight = |block: &Vec<String>| block[0].split(": ").next().unwrap_or_default().to_owned();
    let is_finding = |block: &Vec<String>| ["problem", "warning"].contains(&weight(block).as_str());
    for run in blocks.chunk_by_mut(|one, other| is_finding(one) && weight(one) == weight(other)) {
        run.sort();
    }
    blocks.concat()
}

/// Of the summary for a program, what does not count anything.
fn summary_alone(line: &str) -> Option<String> {
    let object: Value = serde_json::from_str(line).ok()?;
    let kept = ["message_type", "snapshot_id", "target", "problems"];
    let is_summary = object["message_type"] == "summary";
    let fields = object.as_object().filter(|_| is_summary)?.iter();
    let kept = fields
        .filter(|(name, _)| kept.contains(&name.as_str()))
        .map(|(name, value)| format!("\"{name}\":{value}"));
    Some(format!("{{{},..}}", kept.collect::<Vec<_>>().join(",")))
}

/// Replaces every part that `length` finds at the start of a word.
fn replaced(line: &str, by: &str, length: impl Fn(&str) -> Option<usize>) -> String {
    let (mut text, mut rest, mut within) = (String::new(), line, false);
    while let Some(character) = rest.chars().next() {
        match length(rest).filter(|_| !within) {
            Some(length) => {
                let ends = !rest[length..].starts_with(|next: char| next.is_ascii_alphanumeric())
                    || by.ends_with(' ');
                if ends {
                    text.push_str(by);
                    rest = &rest[length..];
                    within = false;
                    continue;
                }
                text.push(character);
            }
            None => text.push(character),
        }
        within = character.is_ascii_alphanumeric();
        rest = &rest[character.len_utf8()..];
    }
    text
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains([' ', '*', '[', '{', '\'', '\n']) {
        format!("'{word}'")
    } else {
        word.to_owned()
    }
}

fn has_next_step(outcome: &Outcome) -> bool {
    let object =
        |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|object| object["next_step"].is_string());
    let (out, err) = (outcome.out(), outcome.err());
    // Whoever left before the end is told nothing any more.
    let silent = err.is_empty() && !out.contains("exit_error");
    silent || err.lines().any(|line| line.starts_with("  ")) || out.lines().chain(err.lines()).any(object)
}

/// Gives a file or a whole folder to nobody.
fn give(path: &Path) {
    chown(path, Some(65534), Some(65534)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

#[test]
fn what_differs_from_run_to_run_is_taken_out() {
    let transcript = Transcript::bare();
    let place = transcript.folder.path().display().to_string();
    for (line, wanted) in [
        (format!("cannot open {place}/repo"), "cannot open /place/repo"),
        ("snapshot 0a1b2c3d of host".to_owned(), "snapshot <id> of host"),
        (format!("keys/{} is", "0f".repeat(32)), "keys/<id> is"),
        ("deadbeefcafe stays".to_owned(), "deadbeefcafe stays"),
        ("made 2026-11-21 03:15:00".to_owned(), "made <time>"),
        ("in 0.42 s, 1.5 MiB".to_owned(), "in <some> s, <some> MiB"),
        ("5 files".to_owned(), "5 files"),
    ] {
        assert_eq!(transcript.same_everywhere(&line), wanted);
    }
}
