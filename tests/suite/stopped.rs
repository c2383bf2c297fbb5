//! Stopped in the middle, for as long as others like, and then continued: a backup throughout whole prunes, with and
//! without being given up meanwhile, and a prune while another takes over its work.
//!
//! Invariant: no clock decides. A backup that goes on either commits what restores byte for byte, or starts again.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::killed::pruning;
use crate::nights::{Nights, stored};
use crate::site::{DEADLINE, Site};
use crate::strikes::{Strike, can_strike, folders, struck};
use crate::support::{Outcome, has_tool, is_root, long, untested};

/// A program that was stopped, and the strace around it.
pub(crate) struct Stopped {
    strace: Child,
    process: Pid,
    started: Instant,
}

/// Starts a program and lets it run until it stops; nothing if it ends instead.
#[track_caller]
pub(crate) fn stop(
    site: &Site,
    program: &Command,
    watched: &[PathBuf],
    strikes: &[Strike],
) -> Option<Stopped> {
    let trace = site.join("trace");
    drop(fs::remove_file(&trace));
    let mut command = struck(site, program, watched, strikes);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (mut strace, started) = (command.spawn().unwrap(), Instant::now());
    loop {
        let ended = strace.try_wait().unwrap().is_some();
        let text = fs::read_to_string(&trace).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.contains("--- stopped by SIGSTOP")) {
            return Some(Stopped { strace, process: process_of(line), started });
        }
        if ended {
            let output = strace.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        assert!(started.elapsed().as_secs() < DEADLINE, "it neither stops nor ends");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The process of the thread with which a line of a trace begins: not every system takes the one for the other.
fn process_of(line: &str) -> Pid {
    let thread = line.split(' ').next().unwrap();
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap();
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:")).expect("its process");
    group.trim().parse().ok().and_then(Pid::from_raw).expect("a number")
}

impl Stopped {
    /// Lets it go on, and gives how it ended.
    #[track_caller]
    pub(crate) fn go_on(mut self) -> Outcome {
        // Each of its threads may be stopped once at the same call, one after the other.
        while self.strace.try_wait().unwrap().is_none() {
            // It may have ended just now.
            kill_process(self.process, Signal::CONT).ok();
            if self.started.elapsed().as_secs() > DEADLINE {
                kill_process(self.process, Signal::KILL).ok();
                panic!("it does not end");
            }
            thread::sleep(Duration::from_millis(10));
        }
        let output = self.strace.wait_with_output().unwrap();
        let took = self.started.elapsed();
        Outcome { code: output.status.code(), stdout: output.stdout, stderr: output.stderr, took }
    }
}

/// Where a backup is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    SessionPut,
    Looked,
    PacksPut,
    IndexPut,
    ManifestPut,
}

const POINTS: [Point; 5] =
    [Point::SessionPut, Point::Looked, Point::PacksPut, Point::IndexPut, Point::ManifestPut];

impl Point {
    fn strike(self, site: &Site) -> (Vec<PathBuf>, Strike) {
        let (watched, call, when) = match self {
            Self::SessionPut => (folders(site, "sessions"), "fsync", 1),
            // The last folder of packs has been listed.
            Self::Looked => (vec![site.join("repo/packs/ff")], "getdents64", 2),
            Self::PacksPut => (folders(site, "packs"), "fsync", 1),
            Self::IndexPut => (folders(site, "index"), "fsync", 1),
            Self::ManifestPut => (folders(site, "snapshots"), "fsync", 1),
        };
        (watched, Strike { signal: "STOP", call, when })
    }
}

/// Whether a program can be run as in a container: with processes of its own.
fn can_isolate(what: &str) -> bool {
    if !is_root(what) || !has_tool("unshare", what) {
        return false;
    }
    let tried = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output().unwrap();
    if !tried.status.success() {
        untested(&format!("{what} (may not make a namespace)"));
    }
    tried.status.success()
}

/// A backup of what only forgotten snapshots hold, stopped: it runs in a container, with a cache of its own.
fn stopped_backup(nights: &mut Nights, point: Point) -> Stopped {
    let site = &nights.site;
    let copied = Command::new("cp").args(["-a", "data", "before"]).current_dir(site.folder.path()).status();
    assert!(copied.unwrap().success());
    nights.change();
    nights.backup();
    nights.forget_but(1);
    let site = &nights.site;
    fs::rename(site.join("data"), site.join("after")).unwrap();
    fs::rename(site.join("before"), site.join("data")).unwrap();
    let new = nights.rng.bytes(3000);
    site.folder.write("data/new", new);
    let inner = site.command(["--cache-dir", "container", "--json", "backup", "data"]);
    let mut program = Command::new("unshare");
    program.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    program.args(["--pid", "--fork", "--mount-proc"]).arg(inner.get_program()).args(inner.get_args());
    let (watched, strike) = point.strike(site);
    stop(site, &program, &watched, &[strike]).unwrap_or_else(|| panic!("{point:?} never came"))
}

#[test]
fn a_stopped_backup_is_waited_for_and_commits() {
    let what = "a backup in a container that is stopped while a prune runs";
    if !can_strike(what) || !can_isolate(what) {
        return;
    }
    for (number, point) in POINTS.into_iter().enumerate() {
        let mut nights = Nights::new(10 + number as u64);
        let stopped = stopped_backup(&mut nights, point);
        let site = &nights.site;
        let session = stored(site, "sessions").pop_first().expect("a session");
        let open = point != Point::ManifestPut;
        nights.note();
        nights.verify();
        let first = nights.site.run(0, ["prune", "--max-unused", "0"]);
        nights.verify();
        assert_eq!(first.err().contains("wait for the end of session"), open, "{point:?}: {}", first.err());
        assert_eq!(first.err().contains(&session.short()), open, "{point:?}: {}", first.err());
        assert_eq!(nights.site.count("gc"), usize::from(open), "{point:?}");
        // Twice in a row is worth a look; waiting it stays.
        let second = nights.site.run(if open { 3 } else { 0 }, ["prune", "--max-unused", "0"]);
        assert_eq!(second.err().contains("strongroom unlock"), open, "{point:?}: {}", second.err());
        nights.verify();
        let outcome = stopped.go_on().expect_code(0);
        nights.note();
        assert!(outcome.out().contains(&session.to_hex()), "{point:?}: {}", outcome.out());
        assert!(nights.live.contains_key(&session), "{point:?}: what was reported is there");
        nights.verify();
        nights.site.run(0, ["prune", "--max-unused", "0"]);
        nights.verify();
        assert_eq!((nights.site.count("gc"), nights.site.count("sessions")), (0, 0), "{point:?}");
        nights.assert_clean_in_the_end();
    }
}

#[test]
fn a_stopped_backup_that_was_given_up_starts_again() {
    let what = "a backup in a container that is given up while it is stopped";
    if !can_strike(what) || !can_isolate(what) {
        return;
    }
    for (number, point) in POINTS.into_iter().enumerate() {
        for (prunes, seed) in [(1, 30), (2, 40)] {
            let mut nights = Nights::new(seed + number as u64);
            let stopped = stopped_backup(&mut nights, point);
            let session = stored(&nights.site, "sessions").pop_first().expect("a session");
            // Once it has committed, a prune clears its session away.
            if prunes > 1 && point != Point::ManifestPut {
                nights.site.run(0, ["prune", "--max-unused", "0"]);
            }
            let unlocked = nights.site.run(0, ["unlock", &session.to_hex()]);
            let open = point != Point::ManifestPut;
            assert_eq!(unlocked.out().contains("is given up"), open, "{point:?}: {unlocked:?}");
            let pruned = nights.site.run(0, ["prune", "--max-unused", "0"]);
            assert!(!pruned.err().contains("wait"), "{point:?}: nobody is waited for: {}", pruned.err());
            assert_eq!(nights.site.count("gc"), 0);
            nights.note();
            nights.verify();
            let outcome = stopped.go_on().expect_code(0);
            nights.note();
            nights.verify();
            let again =
                outcome.err().contains("it starts again") || outcome.out().contains("it starts again");
            assert_eq!(again, open, "{point:?}: {}{}", outcome.out(), outcome.err());
            // What it reports is there; the one that was given up is not, and never comes back.
            let reported = nights.live.keys().find(|id| outcome.out().contains(&id.to_hex()));
            assert!(reported.is_some(), "{point:?}: {}", outcome.out());
            assert_eq!(nights.live.contains_key(&session), !open, "{point:?}");
            // Its index may name packs that a prune deleted before it was there; a prune takes them out of it.
            nights.site.run(0, ["prune"]);
            nights.assert_clean_in_the_end();
        }
    }
}

#[test]
fn a_stopped_prune_does_no_harm_after_another_took_over() {
    if !can_strike("a prune that is stopped while another takes over") {
        return;
    }
    let mut nights = Nights::new(50);
    let mut stops = 0;
    // The other copies nothing every other time: what the stopped one has copied then is the only copy in sight.
    let others = [["prune", "--max-unused", "0"], ["prune", "--max-unused", "unlimited"]];
    let rounds = pruning::STEPS.iter().chain(pruning::STEPS).enumerate();
    let wanted = if long() { 2 * pruning::STEPS.len() } else { pruning::STEPS.len() };
    for (number, step) in rounds.take(wanted) {
        let other = others[number % 2];
        pruning::prepare(&mut nights);
        crate::killed::provide(&mut nights, step.need);
        let mut program = nights.site.command(["prune", "--max-unused", "0", "--repack-small"]);
        program.env("RAYON_NUM_THREADS", "1");
        let strike = Strike { signal: "STOP", call: step.call, when: step.when };
        let Some(stopped) = stop(&nights.site, &program, &step.watched.paths(&nights.site), &[strike]) else {
            continue;
        };
        stops += 1;
        nights.change();
        nights.backup();
        nights.verify();
        nights.site.run(0, other);
        nights.verify();
        let outcome = stopped.go_on();
        println!("{}, {}: {:?} {}", step.name, other[2], outcome.code, outcome.err().trim());
        nights.verify();
        assert_eq!(outcome.code, Some(0), "{}: {}", step.name, outcome.err());
        nights.change();
        nights.backup();
        nights.site.run(0, ["prune", "--max-unused", "0"]);
        nights.verify();
    }
    assert!(stops * 3 > wanted * 2, "{stops} stops");
    nights.assert_clean_in_the_end();
}
