//! Browsing as a person does: keys typed into a terminal of tmux, and what stands there read back.
//!
//! Invariant: nothing waits a fixed time. What is expected is looked for until it is there, or the test fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::site::{DEADLINE, Site};
use crate::support::{TempFolder, has_tool, run, strongroom};

/// A terminal with a shell in it, in a server of tmux of its own.
struct Screen {
    folder: TempFolder,
}

impl Screen {
    /// Opens one of this size in the site's folder; nothing where there is no tmux.
    fn open(site: &Site, width: u16, height: u16) -> Option<Self> {
        if !has_tool("tmux", "browsing in a terminal") {
            return None;
        }
        let screen = Self { folder: TempFolder::new() };
        let program = strongroom(&site.folder);
        let mut shell = Command::new("tmux");
        shell.env_clear().current_dir(site.folder.path());
        shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env("TERM", "xterm").env("PS1", "ready> ");
        shell.env("STRONGROOM_REPOSITORY", "repo").env("STRONGROOM_KEY_FILE", "full.key");
        shell.env("PROGRAM", env!("CARGO_BIN_EXE_strongroom"));
        shell.arg("-S").arg(screen.socket()).args(["-f", "/dev/null", "-u", "new-session", "-d"]);
        shell.args(["-x", &width.to_string(), "-y", &height.to_string(), "sh", "-i"]);
        run(&mut shell, DEADLINE).expect_code(0);
        screen.wait(&["ready>"]);
        Some(screen)
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.join("tmux")
    }

    #[track_caller]
    fn tmux<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> String {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(self.socket()).args(words);
        run(&mut tmux, DEADLINE).expect_code(0).out()
    }

    /// Types a text as it is.
    #[track_caller]
    fn write(&self, text: &str) {
        self.tmux(["send-keys", "-l", "--", text]);
    }

    /// Presses keys by the names that tmux has for them.
    #[track_caller]
    fn press<const N: usize>(&self, keys: [&str; N]) {
        self.tmux(["send-keys"].into_iter().chain(keys));
    }

    fn seen(&self) -> String {
        self.tmux(["capture-pane", "-p"])
    }

    /// Looks until all of this stands there; gives the screen.
    #[track_caller]
    fn wait(&self, texts: &[&str]) -> String {
        self.until(&format!("{texts:?}"), |seen| texts.iter().all(|text| seen.contains(text)))
    }

    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(DEADLINE);
        loop {
            let seen = self.seen();
            if holds(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "{what} did not come:\n{seen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts the program with these words.
    #[track_caller]
    fn start(&self, words: &str) {
        self.write(&format!("clear; $PROGRAM browse {words}; echo \"code=$?\""));
        self.press(["Enter"]);
    }

    /// Looks until the shell is back and says how the program ended; the terminal must be as it was.
    #[track_caller]
    fn ended(&self, code: i32) -> String {
        let seen = self.wait(&[&format!("code={code}\n"), "ready>"]);
        assert_eq!(self.tmux(["display", "-p", "#{alternate_on} #{cursor_flag}"]).trim(), "0 1");
        seen
    }

    /// The process that the shell runs.
    #[track_caller]
    fn process(&self) -> String {
        let shell = self.tmux(["display", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        children.trim().to_owned()
    }

    /// Sends it a signal.
    #[track_caller]
    fn signal(&self, signal: &str) {
        run(Command::new("kill").args(["-s", signal, &self.process()]), DEADLINE).expect_code(0);
    }

    /// What the shell says of the terminal's modes.
    #[track_caller]
    fn modes(&self) -> String {
        self.write("clear; stty -a; echo en\"\"d");
        self.press(["Enter"]);
        self.wait(&["end\n"])
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        drop(Command::new("tmux").arg("-S").arg(self.socket()).arg("kill-server").output());
    }
}

/// Two nights of a folder with a text that changes, a database's header, and a name that would set a title.
fn site() -> Site {
    let site = Site::new();
    site.folder.write("data/docs/letter.txt", "the first version\n");
    site.folder.write("data/docs/second.txt", "another file\n");
    site.folder.write("data/docs/zeros.bin", [0, 1, 2, 3, 255]);
    site.folder.write("data/docs/\u{1b}]2;owned\u{7}", "a strange name\n");
    site.folder.write("data/top.txt", "at the top\n");
    night(&site, "first");
    site.folder
        .write("data/docs/letter.txt", "the second version, longer\nwith \u{1b}[31mtwo\u{1b}[0m lines\n");
    night(&site, "second");
    site
}

fn night(site: &Site, tag: &str) {
    let mut backup = site.command(["-q", "backup", "--tag", tag, "."]);
    run(
        backup
            .current_dir(site.join("data"))
            .args(["-r"])
            .arg(site.join("repo"))
            .arg("--key-file")
            .arg(site.join("full.key")),
        DEADLINE,
    )
    .expect_code(0);
}

#[test]
fn one_looks_around_and_brings_two_files_back() {
    let site = site();
    for (number, (width, height)) in [(80, 24), (120, 40)].into_iter().enumerate() {
        let Some(screen) = Screen::open(&site, width, height) else { return };
        screen.start("");
        let seen = screen.wait(&["strongroom  2 snapshots", "first", "second", "q quit"]);
        let line = |text: &str| seen.lines().position(|line| line.contains(text));
        assert!(line("second") < line("first"), "newest first:\n{seen}");
        screen.press(["Enter"]);
        screen.wait(&["docs/", "top.txt", "11 B"]);
        screen.press(["Enter"]);
        screen.wait(&["/docs", "letter.txt", "zeros.bin", "\\u{1b}]2;owned\\u{7}"]);
        // A text, with nothing of it done to the terminal.
        screen.write("/letter");
        screen.press(["Enter", "Enter"]);
        screen.wait(&["the second version, longer", "with \\u{1b}[31mtwo\\u{1b}[0m lines", "text, "]);
        screen.press(["v"]);
        screen.wait(&["versions  /docs/letter.txt", "2 versions", "this version is in"]);
        screen.press(["Down", "Enter"]);
        screen.wait(&["the first version"]);
        screen.press(["Left", "Left", "Left"]);
        screen.write("/zeros");
        screen.press(["Enter", "Enter"]);
        screen.wait(&["binary", "00000000  00 01 02 03 ff", "|.....|"]);
        screen.press(["Left"]);
        // Marks, and what is marked comes back.
        screen.write("/letter");
        screen.press(["Enter", "Space"]);
        screen.write("/second");
        screen.press(["Enter", "Space"]);
        screen.wait(&["2 marked"]);
        screen.press(["r"]);
        screen.wait(&["2 marked places", "into this new or empty folder:"]);
        let target = format!("restored{number}");
        screen.write(&target);
        screen.press(["Enter"]);
        screen.wait(&["Sure?", "y yes"]);
        assert!(!site.join(&target).exists());
        screen.press(["y"]);
        screen.wait(&["Restored", "2 files"]);
        screen.press(["Escape"]);
        screen.press(["q"]);
        let seen = screen.ended(0);
        assert!(!seen.contains("letter"), "the screen before it is there again:\n{seen}");
        assert_ne!(screen.tmux(["display", "-p", "#{pane_title}"]).trim(), "owned");
        for name in ["letter.txt", "second.txt"] {
            let restored = fs::read(site.join(&target).join("docs").join(name)).unwrap();
            assert_eq!(restored, fs::read(site.join("data/docs").join(name)).unwrap());
        }
        let there = fs::read_dir(site.join(&target).join("docs")).unwrap().count();
        assert_eq!(there, 2);
    }
    let left = fs::read_dir(site.join("tmp")).unwrap().count();
    assert_eq!(left, 0, "nothing is left in the folder for temporary files");
}

#[test]
fn one_file_is_written_where_none_is_and_for_its_owner_alone() {
    let site = site();
    let Some(screen) = Screen::open(&site, 80, 24) else { return };
    screen.start("latest:/docs/second.txt");
    screen.wait(&["second.txt", "zeros.bin"]);
    screen.press(["w"]);
    screen.wait(&["to this new file:", "> second.txt"]);
    screen.press(["C-u"]);
    screen.write("out");
    screen.press(["Enter"]);
    screen.wait(&["Write /docs/second.txt of snapshot", "to out?"]);
    screen.press(["n"]);
    screen.wait(&["nothing was written"]);
    assert!(!site.join("out").exists());
    for expected in ["13 B written", "out is there already"] {
        screen.press(["w"]);
        screen.wait(&["to this new file:"]);
        screen.press(["C-u"]);
        screen.write("out");
        screen.press(["Enter", "y"]);
        screen.wait(&[expected]);
        screen.press(["Escape"]);
        screen.until("the dialog is gone", |seen| !seen.contains(expected));
    }
    assert_eq!(fs::read(site.join("out")).unwrap(), b"another file\n");
    assert_eq!(fs::metadata(site.join("out")).unwrap().permissions().mode() & 0o7777, 0o600);
    // A folder that holds something is refused.
    screen.press(["r"]);
    screen.wait(&["into this new or empty folder"]);
    screen.write("data");
    screen.press(["Enter", "y"]);
    screen.wait(&["Not done", "data is not empty"]);
    screen.press(["Enter", "q"]);
    screen.ended(0);
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let site = site();
    let Some(screen) = Screen::open(&site, 80, 24) else { return };
    let before = screen.modes();
    for (signal, code) in [("TERM", 130), ("INT", 130), ("HUP", 130)] {
        screen.start("latest");
        screen.wait(&["docs/", "q quit"]);
        screen.signal(signal);
        let seen = screen.ended(code);
        assert!(seen.contains("interrupted"), "{signal}:\n{seen}");
        assert_eq!(screen.modes(), before, "after {signal}");
    }
    screen.start("latest");
    screen.wait(&["docs/", "q quit"]);
    screen.press(["C-c"]);
    screen.ended(130);
    assert_eq!(screen.modes(), before, "after ^C");
}

#[test]
fn it_ends_with_its_terminal() {
    let site = site();
    let Some(screen) = Screen::open(&site, 80, 24) else { return };
    screen.start("latest");
    screen.wait(&["docs/", "q quit"]);
    let process = std::path::PathBuf::from("/proc").join(screen.process());
    assert!(process.exists());
    drop(screen);
    let deadline = Instant::now() + Duration::from_secs(DEADLINE);
    // Nobody may be left to take it from the list of processes.
    let is_there =
        || fs::read_to_string(process.join("status")).is_ok_and(|text| !text.contains("State:\tZ"));
    while is_there() {
        assert!(Instant::now() < deadline, "it goes on without a terminal");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn it_is_suspended_and_goes_on_and_follows_the_size_of_the_window() {
    let site = site();
    let Some(screen) = Screen::open(&site, 80, 24) else { return };
    screen.write("clear; $PROGRAM browse latest");
    screen.press(["Enter"]);
    screen.wait(&["docs/", "q quit"]);
    for by_key in [true, false] {
        if by_key {
            screen.press(["C-z"]);
        } else {
            screen.signal("TSTP");
        }
        screen.until("the shell", |seen| seen.contains("ready>") && !seen.contains("docs/"));
        assert_eq!(screen.tmux(["display", "-p", "#{alternate_on} #{cursor_flag}"]).trim(), "0 1");
        screen.write("fg");
        screen.press(["Enter"]);
        screen.wait(&["docs/", "q quit"]);
    }
    for (width, height) in [("20", "5"), ("1", "1"), ("120", "40"), ("80", "24")] {
        screen.tmux(["resize-window", "-x", width, "-y", height]);
        if height != "1" {
            screen.until(width, |seen| {
                seen.contains("docs/") && seen.lines().count() <= height.parse().unwrap()
            });
        }
    }
    screen.wait(&["docs/", "q quit"]);
    screen.press(["?"]);
    screen.wait(&["search; next, previous"]);
    screen.press(["Enter", "q"]);
    screen.until("the shell", |seen| seen.contains("ready>") && !seen.contains("docs/"));
}

#[test]
fn without_colors_none_are_sent() {
    let site = site();
    for (setting, colored) in [("", true), ("NO_COLOR=1", false)] {
        let Some(screen) = Screen::open(&site, 80, 24) else { return };
        let bytes = screen.folder.join("bytes");
        screen.tmux(["pipe-pane", &format!("cat >'{}'", bytes.display())]);
        screen.write(&format!("{setting} $PROGRAM browse latest; echo \"code=$?\""));
        screen.press(["Enter"]);
        screen.wait(&["docs/", "q quit"]);
        screen.press(["q"]);
        screen.ended(0);
        let sent = fs::read(&bytes).unwrap();
        let text = String::from_utf8_lossy(&sent);
        // SGR 30 to 37 and 90 to 97, and those of more than sixteen colours.
        let colors =
            text.split("\u{1b}[").skip(1).filter_map(|part| part.split_once('m')).filter(|(codes, _)| {
                codes.split(';').any(|code| {
                    code.parse::<u32>()
                        .is_ok_and(|code| (30..=38).contains(&code) || (90..=97).contains(&code))
                })
            });
        assert_eq!(colors.count() > 0, colored, "{setting}: {text:?}");
    }
}

#[test]
fn a_maintain_key_looks_and_does_not_read() {
    let site = site();
    site.run(0, ["-q", "key", "add", "--role", "maintain", "--label", "m", "--new-key-file", "maintain.key"]);
    site.run(0, ["-q", "key", "add", "--role", "backup", "--label", "b", "--new-key-file", "backup.key"]);
    let Some(screen) = Screen::open(&site, 120, 24) else { return };
    screen.start("--key-file maintain.key latest:/docs");
    screen.wait(&["letter.txt", "q quit"]);
    for key in ["Enter", "r", "w"] {
        screen.press(["End", key]);
        screen.wait(&["reading and restoring files needs a key of role full; this key's role is maintain"]);
        screen.press(["Home"]);
        screen.until("the message is gone", |seen| !seen.contains("needs a key"));
    }
    screen.press(["q"]);
    screen.ended(0);
    screen.start("--key-file backup.key");
    let seen = screen.ended(12);
    assert!(seen.contains("this key's role is backup"), "{seen}");
}

#[test]
fn what_is_lost_is_an_error_on_the_screen_and_not_the_end() {
    let site = site();
    let Some(screen) = Screen::open(&site, 120, 24) else { return };
    let hidden = site.join("hidden");
    fs::rename(site.join("repo/packs"), &hidden).unwrap();
    fs::create_dir(site.join("repo/packs")).unwrap();
    screen.start("--no-cache");
    screen.wait(&["2 snapshots"]);
    screen.press(["Enter"]);
    screen.wait(&["cannot be read"]);
    fs::remove_dir(site.join("repo/packs")).unwrap();
    fs::rename(&hidden, site.join("repo/packs")).unwrap();
    screen.press(["R"]);
    screen.wait(&["docs/", "top.txt"]);
    screen.press(["q"]);
    screen.ended(0);
}

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let site = Site::new();
    let outcome = site.run(1, ["browse"]);
    assert!(
        outcome.err().contains("needs a terminal") && outcome.err().contains("strongroom ls"),
        "{}",
        outcome.err()
    );
    assert!(outcome.stdout.is_empty());
    let outcome = site.run(1, ["--json", "browse"]);
    assert!(outcome.out().contains("exit_error") && outcome.out().contains("--json"));
    let Some(screen) = Screen::open(&site, 80, 24) else { return };
    screen.start("no-such");
    assert!(screen.ended(1).contains("names no snapshot"));
    screen.start("");
    screen.wait(&["0 snapshots", "no snapshots"]);
    screen.press(["Enter", "Space", "v", "r", "s", "q"]);
    screen.ended(0);
}
