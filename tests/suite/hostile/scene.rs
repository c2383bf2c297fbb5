//! One hostile repository, met by every command that could meet it, each under the same limits.
//!
//! Invariant: every command has a fresh copy of the repository, ends by itself in bounded time and memory, and leaves
//! what lies beside its target as it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value as Json, json};

use super::{DEADLINE, begun, full, holder};
use crate::forge::cbor::Cbor;
use crate::forge::records::record;
use crate::forge::site::node;
use crate::forge::{Bytes32, Forge, Slot, hex, keys};
use crate::support::{Outcome, TempFolder, run, strongroom};

/// Most memory that a command may take for itself, in KiB.
const MEMORY_KIB: u64 = 512 << 10;

/// Most that a command may say, in bytes: nobody reads more in the night.
const SAID_MAX: usize = 1 << 20;

/// Id and level of a tree's top.
pub(super) type Top = (Bytes32, u8);

/// Every command that reads what others wrote, by a short name.
pub(super) const ALL: [&str; 9] =
    ["restore", "dump", "ls", "check", "check-data", "copy", "prune", "repair", "backup"];

/// Those that read the tree of the snapshot node by node.
pub(super) const READERS: [&str; 6] = ["restore", "dump", "ls", "check", "check-data", "copy"];

/// What a hostile repository is and what becomes of it.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) make: fn(&mut Forge) -> Top,
    /// The commands that end with exit code 1 or 3. Of the others any that ends in good order will do.
    pub(super) refused_by: &'static [&'static str],
    /// What each of them says.
    pub(super) says: &'static str,
}

/// A repository in a folder of its own, beside something precious.
pub(super) struct Scene {
    pub(super) folder: TempFolder,
    pub(super) forge: Forge,
    /// The path that is dumped.
    pub(super) dumped: String,
}

/// What a command did.
pub(super) struct Met {
    pub(super) outcome: Outcome,
}

impl Met {
    /// Whether it was refused, in whole or in part.
    pub(super) fn refused(&self) -> bool {
        matches!(self.outcome.code, Some(1 | 3))
    }
}

impl Scene {
    /// A repository with one snapshot of this tree, of the folder that a backup takes as well.
    pub(super) fn new(forge: Forge, top: Top) -> Self {
        Self::with_manifest(forge, top, |_| {})
    }

    /// The same with a manifest that was changed.
    pub(super) fn with_manifest(
        mut forge: Forge,
        (root, level): Top,
        change: impl FnOnce(&mut Json),
    ) -> Self {
        let folder = TempFolder::new();
        let mut fields = forge.manifest_fields(&root, level, 1);
        fields["paths"] = json!([hex(folder.join("data").as_os_str().as_encoded_bytes())]);
        change(&mut fields);
        commit(&mut forge, &fields, &full());
        Self::within(folder, forge)
    }

    /// A repository that has its snapshots.
    pub(super) fn of(forge: Forge) -> Self {
        Self::within(TempFolder::new(), forge)
    }

    fn within(folder: TempFolder, mut forge: Forge) -> Self {
        forge.flush();
        let scene = Self { folder, forge, dumped: "/bad".to_owned() };
        scene.folder.write("data/good", "good");
        scene.folder.write("full.key", keys::key_file(&holder()));
        scene.folder.write("outside/precious", "stays");
        let mut other = Forge::new("hostile repositories: where they are copied to");
        other.add_config();
        other.add_slot(&full());
        other.write_to(&scene.folder.join("other"));
        drop(strongroom(&scene.folder));
        scene
    }

    /// Runs a command by its short name on a fresh copy of the repository.
    pub(super) fn meet(&self, command: &'static str) -> Met {
        let repo = self.folder.join("repo");
        drop(fs::remove_dir_all(&repo));
        drop(fs::remove_dir_all(self.folder.join("target")));
        drop(fs::remove_dir_all(self.folder.join("home/.cache")));
        self.forge.write_to(&repo);
        fs::create_dir_all(self.folder.join("target/out")).unwrap();
        let before = self.surroundings();
        let outcome = limited(&mut self.command(command));
        assert_eq!(self.surroundings(), before, "{command} changed something beside its target");
        let beside: Vec<PathBuf> = entries(&self.folder.join("target"));
        assert_eq!(beside, [self.folder.join("target/out")], "{command}: nothing lies beside the target");
        let shown: String = outcome.err().chars().take(400).collect();
        println!("    {command}: {:?} in {:.1} s: {shown}", outcome.code, outcome.took.as_secs_f64());
        assert!(outcome.code.is_some(), "{command} was ended by a signal: {}", outcome.err());
        assert!(!outcome.err().contains("panicked"), "{command}: {}", outcome.err());
        // A check is asked for just that: every object that is damaged.
        let asked = command.starts_with("check");
        assert!(asked || outcome.stderr.len() < SAID_MAX, "{command} says {} bytes", outcome.stderr.len());
        Met { outcome }
    }

    fn command(&self, command: &str) -> Command {
        let mut program = strongroom(&self.folder);
        let (repository, from) = if command == "copy" { ("other", "--from-repo") } else { ("repo", "") };
        program.args(["-r", repository, "--key-file", "full.key"]);
        match command {
            "restore" => program.args(["restore", "latest", "--target", "target/out"]),
            "dump" => program.args(["dump", "latest", &self.dumped]),
            "ls" => program.args(["ls", "latest"]),
            "check" => program.arg("check"),
            "check-data" => program.args(["check", "--read-data"]),
            "copy" => program.args(["copy", from, "repo", "--from-key-file", "full.key"]),
            "prune" => program.args(["prune", "--dry-run"]),
            "prune-for-real" => program.arg("prune"),
            "repair" => program.args(["repair", "index"]),
            "backup" => program.args(["backup", "data", "--host", "server"]),
            other => program.args(other.split(' ')),
        };
        program
    }

    /// What lies beside the repository and the target, with what may not change about it.
    fn surroundings(&self) -> BTreeMap<PathBuf, (u32, i64, u64, u64)> {
        let mut all = BTreeMap::new();
        for path in [self.folder.path(), &self.folder.join("outside"), &self.folder.join("data")]
            .into_iter()
            .flat_map(entries)
        {
            // The program may write into the copy, its cache, and folders for temporary files.
            let own = ["repo", "other", "target", "home", "tmp"].map(|name| self.folder.join(name));
            let stat = fs::symlink_metadata(&path).unwrap();
            let times = if own.contains(&path) { (0, 0) } else { (stat.mtime(), stat.mtime_nsec() as u64) };
            all.insert(
                path,
                (stat.mode(), times.0, times.1, stat.nlink().min(if stat.is_dir() { 1 } else { 9 })),
            );
        }
        assert_eq!(fs::read(self.folder.join("outside/precious")).unwrap(), b"stays");
        all
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Runs a program with bounded memory, against the deadline.
pub(super) fn limited(program: &mut Command) -> Outcome {
    let mut command = Command::new("sh");
    command.env_clear().current_dir(program.get_current_dir().expect("a folder"));
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-c", "ulimit -d \"$0\" && exec \"$@\"", &MEMORY_KIB.to_string()]);
    command.arg(program.get_program()).args(program.get_args());
    run(&mut command, DEADLINE)
}

/// Stores a snapshot with this manifest.
pub(super) fn commit(forge: &mut Forge, fields: &Json, slot: &Slot) -> Bytes32 {
    let id = forge.draw();
    let manifest = record("manifest", fields).encode();
    let bytes = forge.snapshot(&id, &manifest, slot);
    forge.put("snapshots", &id, bytes);
    id
}

/// Stores a leaf as the whole tree.
pub(super) fn top(forge: &mut Forge, leaf: &Cbor) -> Top {
    (forge.store(3, &leaf.encode()), 0)
}

pub(super) fn directory() -> Json {
    node("directory", json!({}))
}

/// Lets every command meet every case, and holds each against what the case says.
pub(super) fn hold(cases: &[Case]) {
    let mut wrong = Vec::new();
    for case in cases {
        println!("{}", case.name);
        let mut forge = begun();
        let top = (case.make)(&mut forge);
        let scene = Scene::new(forge, top);
        for command in ALL {
            let met = scene.meet(command);
            let wanted = case.refused_by.contains(&command);
            if wanted && !(met.refused() && met.outcome.err().contains(case.says)) {
                wrong.push(format!("{}: {command}: {:?} {}", case.name, met.outcome.code, met.outcome.err()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
