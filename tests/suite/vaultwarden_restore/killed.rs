//! Killed at each of its steps: the old state or the new one is in place, and the same command goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use strongroom::service::vaultwarden::generator::{Options, generate};

use super::{Contents, contents, wreck};
use crate::services::names;
use crate::site::{DEADLINE, Site};
use crate::strikes::{Strike, can_strike, struck};
use crate::support::{SmallDisk, run};

/// How the swap is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Both folders change places in one call.
    Exchange,
    /// The file system knows no such call.
    TwoRenames,
    /// What is in the folder changes places.
    Within,
}

/// The calls that change names, and those that bring them to the disk.
const CALLS: [&str; 7] = ["mkdir", "renameat2", "rename", "fsync", "unlinkat", "unlink", "rmdir"];

pub(super) struct Vault {
    /// Unmounted before the site goes.
    _disk: Option<SmallDisk>,
    pub(super) site: Site,
    pub(super) data: PathBuf,
    pub(super) old: Contents,
    pub(super) new: Contents,
    pub(super) arguments: Vec<&'static str>,
}

impl Vault {
    pub(super) fn new(site: Site, disk: Option<SmallDisk>, keep: bool) -> Self {
        Self::at("data", site, disk, keep)
    }

    /// In the folder of this name.
    pub(super) fn at(place: &'static str, site: Site, disk: Option<SmallDisk>, keep: bool) -> Self {
        let data = site.join(place);
        let small = Options { ciphers: 10, attachments: 2, sends: 2, events: 0, ..Options::small() };
        generate(&data, &small).unwrap();
        site.backup(["--vaultwarden", place]);
        let mut arguments = vec!["-q", "restore", "--vaultwarden", "latest", "--target", place];
        if !keep {
            arguments.push("--no-keep-previous");
        }
        site.run(0, &arguments);
        let new = contents(&data);
        let mut vault = Self { _disk: disk, site, data, old: Contents::new(), new, arguments };
        vault.clean();
        wreck(&vault.data);
        vault.old = contents(&vault.data);
        vault
    }

    /// Folders in which an earlier state is kept.
    pub(super) fn kept(&self) -> Vec<PathBuf> {
        let in_folder = |folder: &Path| {
            let found = names(folder).into_iter().filter(|name| name.contains(".before-restore-"));
            found.map(|name| folder.join(name)).collect::<Vec<_>>()
        };
        [in_folder(self.data.parent().unwrap()), in_folder(&self.data)].concat()
    }

    fn clean(&self) {
        for path in self.kept() {
            fs::remove_dir_all(path).unwrap();
        }
    }

    /// Wrecks what is there anew.
    pub(super) fn again(&self) {
        self.clean();
        for name in names(&self.data) {
            let path = self.data.join(name);
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        self.site.run(0, &self.arguments);
        self.clean();
        wreck(&self.data);
        assert_eq!(contents(&self.data), self.old);
    }

    pub(super) fn half_way(&self) -> bool {
        let beside = format!(".{}.strongroom-restoring", self.data.file_name().unwrap().display());
        [self.data.with_file_name(beside), self.data.join(".strongroom-restoring")]
            .iter()
            .any(|path| path.exists())
    }

    /// The program, to be killed at one call.
    pub(super) fn struck(&self, call: &'static str, when: usize, how: How) -> Command {
        let program = self.site.command(&self.arguments);
        if how != How::TwoRenames {
            return struck(&self.site, &program, &[], &[Strike { signal: "KILL", call, when }]);
        }
        let mut command = Command::new("strace");
        command.env_clear().current_dir(self.site.folder.path());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.args(["-f", "-o", "/dev/null", "-e", &format!("trace=renameat2,{call}")]);
        command.args(["-e", "inject=renameat2:error=EINVAL"]);
        command.args(["-e", &format!("inject={call}:signal=KILL:when={when}")]);
        command.arg(program.get_program()).args(program.get_args());
        command
    }

    /// Kills it at one call, and runs it again; whether that call came at all.
    #[track_caller]
    fn strike(&self, call: &'static str, when: usize, how: How, keep: bool) -> bool {
        let outcome = run(&mut self.struck(call, when, how), DEADLINE);
        if outcome.code.is_some() {
            assert_eq!(outcome.code, Some(0), "{call} {when}: {}", outcome.err());
            return false;
        }
        let in_between = how != How::Exchange && self.half_way();
        if self.data.exists() {
            let found = contents(&self.data);
            assert!(
                in_between || found == self.old || found == self.new,
                "{call} {when}: {:?}",
                found.keys()
            );
        } else {
            assert!(in_between, "{call} {when}");
        }
        self.site.run(0, &self.arguments);
        assert_eq!(contents(&self.data), self.new, "{call} {when}");
        assert!(!self.half_way(), "{call} {when}");
        let kept = self.kept();
        if keep {
            assert!(kept.iter().any(|path| contents(path) == self.old), "{call} {when}: {kept:?}");
            assert!(kept.len() <= 2, "{call} {when}: {kept:?}");
        } else {
            assert!(kept.is_empty(), "{call} {when}: {kept:?}");
        }
        true
    }

    fn strike_all(&self, how: How, keep: bool, calls: &[&'static str], least: usize) {
        let mut kills = 0;
        for call in calls {
            let mut when = 1;
            while self.strike(call, when, how, keep) {
                kills += 1;
                when += 1;
                self.again();
            }
            self.again();
        }
        assert!(kills >= least, "only {kills} kills");
    }
}

#[test]
fn beside_the_folder_one_of_both_is_in_place() {
    if can_strike("a Vaultwarden's restore that is killed") {
        for keep in [true, false] {
            Vault::new(Site::in_memory(), None, keep).strike_all(How::Exchange, keep, &CALLS, 20);
        }
    }
}

#[test]
fn where_two_folders_cannot_change_places_the_next_run_goes_on() {
    if can_strike("a Vaultwarden's restore that is killed where folders cannot change places") {
        for keep in [true, false] {
            let vault = Vault::new(Site::in_memory(), None, keep);
            vault.strike_all(How::TwoRenames, keep, &["rename", "renameat", "fsync", "rmdir"], 8);
        }
    }
}

#[test]
fn within_a_mount_point_the_next_run_goes_on() {
    let what = "a Vaultwarden's restore into a mount point that is killed";
    if !can_strike(what) {
        return;
    }
    for keep in [true, false] {
        let site = Site::in_memory();
        fs::create_dir(site.join("data")).unwrap();
        let Some(disk) = SmallDisk::mount(&site.join("data"), 32 << 20, what) else { return };
        Vault::new(site, Some(disk), keep).strike_all(How::Within, keep, &CALLS, 20);
    }
}
