//! Killed at each step of the protocol: whatever ran, the next run goes on without help, every snapshot that is there
//! restores byte for byte, if it did before, and in the end nothing is left over.
//!
//! Invariant: that a step was hit is read from the trace of each killed run, counted, and asserted.

mod backing_up;
mod copying;
mod forgetting;
pub(crate) mod pruning;
mod repairing;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use strongroom::id::Id;

use crate::nights::{Nights, stored};
use crate::site::{DEADLINE, Site};
use crate::strikes::{Call, Strike, folders, hit, struck};
use crate::support::{long, run};

/// How often a step is killed at least.
fn wanted() -> usize {
    if long() { 50 } else { 5 }
}

/// Which calls count.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Watched {
    /// Those on these folders of the repository.
    Folders(&'static [&'static str]),
    /// Those on objects of this kind that are there before the run.
    Objects(&'static str),
    /// All.
    Everything,
}

impl Watched {
    pub(crate) fn paths(self, site: &Site) -> Vec<PathBuf> {
        match self {
            Self::Folders(kinds) => kinds.iter().flat_map(|kind| folders(site, kind)).collect(),
            Self::Objects(kind) => {
                let top = site.join("repo").join(kind);
                site.objects().into_keys().filter(|path| path.starts_with(&top)).collect()
            }
            Self::Everything => Vec::new(),
        }
    }
}

/// A step: how it is called in the table, and which call to strike to hit it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) call: &'static str,
    pub(crate) watched: Watched,
    /// Which call it is likely to be; if it is another, the next are tried.
    pub(crate) when: usize,
    /// What has to be there for the step to come.
    pub(crate) need: Need,
}

/// What a step needs beside work to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    /// A session whose process is dead.
    DeadSession,
    /// A temporary file of a dead process.
    Leftover,
}

const fn step(name: &'static str, call: &'static str, watched: Watched, when: usize) -> Step {
    Step { name, call, watched, when, need: Need::Nothing }
}

const fn needing(need: Need, step: Step) -> Step {
    Step { need, ..step }
}

/// Runs of a command that are killed, and where they were hit.
struct Killing {
    nights: Nights,
    /// The command with its options.
    arguments: Vec<&'static str>,
    /// The object whose name divides the steps in two, and what the later ones are called.
    divide: (&'static str, &'static str),
    /// Whether the repository is damaged when the command begins, so that not every snapshot need come back until it ends.
    damaged: bool,
    table: BTreeMap<String, usize>,
    kills: usize,
    chain: usize,
    longest_chain: usize,
}

impl Killing {
    fn new(seed: u64, arguments: &[&'static str], divide: (&'static str, &'static str)) -> Self {
        Self {
            nights: Nights::new(seed),
            arguments: arguments.to_vec(),
            divide,
            damaged: false,
            table: BTreeMap::new(),
            kills: 0,
            chain: 0,
            longest_chain: 0,
        }
    }

    /// Strikes every step often enough; `prepare` makes work before each run.
    fn strike_all(&mut self, steps: &[Step], mut prepare: impl FnMut(&mut Nights)) {
        for step in steps {
            let mut when = step.when;
            let mut runs = 0;
            while self.hits(step.name) < wanted() {
                runs += 1;
                assert!(runs < 8 * wanted() + 40, "{} is never hit: {:?}", step.name, self.table);
                prepare(&mut self.nights);
                provide(&mut self.nights, step.need);
                let strike = Strike { signal: "KILL", call: step.call, when };
                let hit = self.strike(strike, step.watched);
                when = match hit.as_deref() {
                    Some(name) if name == step.name => when,
                    Some(_) => when + 1,
                    None => 1,
                };
                self.go_on();
            }
            println!("{}: {runs} runs", step.name);
        }
    }

    fn hits(&self, name: &str) -> usize {
        self.table.get(name).copied().unwrap_or(0)
    }

    /// Runs the command to be killed; gives the step in which it was.
    fn strike(&mut self, strike: Strike, watched: Watched) -> Option<String> {
        let whole = if self.damaged { self.nights.whole() } else { BTreeSet::new() };
        let site = &self.nights.site;
        let mut program = site.command(["-q"]);
        // One thread, so that a count of calls leads to the same one each time.
        program.args(&self.arguments).env("RAYON_NUM_THREADS", "1");
        let outcome = run(&mut struck(site, &program, &watched.paths(site), &[strike]), DEADLINE);
        let trace = fs::read_to_string(site.join("trace")).unwrap();
        self.nights.note();
        if self.damaged {
            let live = |id: &&Id| self.nights.live.contains_key(id);
            let now = self.nights.whole();
            assert!(whole.iter().filter(live).all(|id| now.contains(id)), "a snapshot was whole and is not");
        } else {
            self.nights.verify();
        }
        if outcome.code == Some(0) {
            return None;
        }
        assert_eq!(outcome.code, None, "neither killed nor done: {}", outcome.err());
        let name = match hit(&trace, strike) {
            Some((before, call)) => name(&before, &call, self.divide),
            None => "outside of the repository".to_owned(),
        };
        *self.table.entry(name.clone()).or_default() += 1;
        self.kills += 1;
        self.chain += 1;
        self.longest_chain = self.longest_chain.max(self.chain);
        Some(name)
    }

    /// After every other killed run somebody goes on: the command, then a backup. The rest are killed again first.
    fn go_on(&mut self) {
        if self.nights.rng.below(2) == 0 {
            return;
        }
        self.chain = 0;
        let done = self.nights.site.run_any(&self.arguments);
        assert!(
            done.code == Some(0) || self.damaged && done.code == Some(3),
            "{:?} {}",
            done.code,
            done.err()
        );
        self.nights.note();
        if self.damaged {
            self.nights.backup_beside_losses();
        } else {
            self.nights.backup();
        }
        self.nights.verify();
    }

    /// Shows the table, and asserts that in the end all is well.
    fn finish(mut self, steps: &[Step]) {
        if self.damaged {
            self.chain = 0;
            let done = self.nights.site.run_any(&self.arguments);
            assert!(matches!(done.code, Some(0 | 3)), "{}", done.err());
            // What is gone for good is named until somebody says so.
            self.nights.site.run(0, ["repair", "index"]);
            self.nights.note();
        }
        self.nights.assert_clean_in_the_end();
        let command = self.arguments[0];
        for (name, kills) in &self.table {
            println!("{command:8} {name:60}{kills:>6}");
        }
        println!("{command:8} all: {} kills, at most {} in a row", self.kills, self.longest_chain);
        assert!(steps.iter().all(|step| self.hits(step.name) >= wanted()));
        assert!(
            self.kills < 50 || self.longest_chain >= 3,
            "runs that took up what a killed one left were killed as well"
        );
    }
}

/// Brings about what a step needs.
pub(crate) fn provide(nights: &mut Nights, need: Need) {
    match need {
        Need::Nothing => return,
        Need::Leftover => {
            // In a folder from which nothing else is removed.
            let name = format!("abandoned/.tmp-{:032x}", nights.rng.next());
            return fs::write(nights.site.join("repo").join(name), b"half").unwrap();
        }
        Need::DeadSession => {}
    }
    let strike = Strike { signal: "KILL", call: "fsync", when: 1 };
    nights.change();
    let program = nights.site.command(["-q", "backup", "data"]);
    let outcome =
        run(&mut struck(&nights.site, &program, &folders(&nights.site, "sessions"), &[strike]), DEADLINE);
    assert_eq!(outcome.code, None, "{}", outcome.err());
    nights.note();
    assert!(!stored(&nights.site, "sessions").is_empty());
}

/// What a struck call is called in the table.
fn name(before: &[Call], call: &Call, divide: (&str, &str)) -> String {
    let of_kind = |call: &&Call| !call.temporary;
    let named =
        |kind: &str| before.iter().any(|call| call.name == "renameat2" && call.kind == kind && call.returned);
    let kind = &call.kind;
    let what = match (call.name.as_str(), call.temporary) {
        ("write", true) => format!("{kind} put, temporary file empty"),
        ("fsync", true) => format!("{kind} put, temporary file written"),
        ("renameat2", _) => format!("{kind} put, temporary file whole"),
        ("fsync", false) => {
            let last =
                before.iter().rev().filter(of_kind).find(|call| call.kind == *kind && call.name != "fsync");
            match last.map(|call| call.name.as_str()) {
                Some("renameat2") => format!("{kind} put, named"),
                Some("unlinkat") => format!("{kind} delete, not flushed"),
                other => panic!("what is flushed after {other:?}?"),
            }
        }
        ("unlinkat", true) => "removal of a temporary file".to_owned(),
        ("unlinkat", false) if kind == "packs" => {
            let gone = before
                .iter()
                .filter(of_kind)
                .filter(|call| call.name == "unlinkat" && call.kind == *kind)
                .count();
            format!("{kind} delete, {}", if gone == 0 { "the first" } else { "a later one" })
        }
        ("unlinkat", false) => format!("{kind} delete"),
        ("getdents64", _) => format!("{kind} listing"),
        ("pread64", _) => format!("{kind} reading"),
        (other, _) => format!("{kind} {other}"),
    };
    if divide.0 == "forgotten" {
        let marks = before.iter().filter(|call| call.name == "renameat2" && call.kind == "forgotten").count();
        return format!(
            "mark {}: {what}",
            if call.name == "fsync" && !call.temporary { marks } else { marks + 1 }
        );
    }
    if named(divide.0) { format!("{}: {what}", divide.1) } else { what }
}
