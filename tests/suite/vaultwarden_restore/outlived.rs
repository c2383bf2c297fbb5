//! What outlives a restore that nobody asked about it: states kept earlier, what came meanwhile, other file systems, and
//! what a killed run had not yet deleted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::again::{in_between, in_place, kill_where, within};
use super::killed::{How, Vault};
use super::{RESTORE, contents, restored, wrecked};
use crate::services::{Site, names};
use crate::site::{DEADLINE, Site as PlainSite};
use crate::strikes::can_strike;
use crate::support::{Outcome, SmallDisk, has_tool, is_root, run, untested};

/// A folder seen at a second place, for as long as this lives.
struct BindMount(PathBuf);

impl BindMount {
    #[track_caller]
    fn mount(from: &Path, at: &Path, what: &str) -> Option<Self> {
        if !is_root(what) || !has_tool("mount", what) {
            return None;
        }
        if Command::new("mount").arg("--bind").args([from, at]).output().unwrap().status.success() {
            return Some(Self(at.to_owned()));
        }
        untested(&format!("{what} (may not mount a folder)"));
        None
    }
}

impl Drop for BindMount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// A vault restored while its folder was a mount point: what was there is kept within, and it is none any more.
fn kept_within(what: &str) -> Option<(Site, PathBuf, String)> {
    let (site, data) = wrecked();
    fs::write(data.join("only-copy.txt"), "precious").unwrap();
    let mount = BindMount::mount(&data, &data, what)?;
    restored(&site, &[], 0);
    drop(mount);
    // What is kept next is to have a name of its own.
    thread::sleep(Duration::from_millis(1100));
    let kept = names(&data).into_iter().find(|name| name.starts_with(".before-restore-"));
    Some((site, data, kept.expect("it is kept within")))
}

#[track_caller]
fn assert_precious(folder: &Path) {
    assert_eq!(fs::read_to_string(folder.join("only-copy.txt")).ok().as_deref(), Some("precious"));
}

#[test]
fn what_was_kept_in_a_folder_outlives_it() {
    for (empties, more) in
        [(true, &[][..]), (true, &["--no-keep-previous"]), (false, &["--no-keep-previous"]), (false, &[])]
    {
        let Some((site, data, kept)) = kept_within("what a restore kept in a folder that is replaced") else {
            return;
        };
        if empties {
            for name in names(&data).iter().filter(|name| !name.starts_with('.')) {
                let path = data.join(name);
                if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
            }
        }
        let beside = site.join(format!("data{kept}"));
        let planned = site.run([&RESTORE[..], more, &["--dry-run"]].concat(), 0);
        assert!(planned.err().contains(&kept), "{}", planned.err());
        assert!(planned.out().contains(&beside.display().to_string()), "{}", planned.out());
        assert!(data.join(&kept).exists() && !beside.exists());
        let done = restored(&site, more, 0);
        assert_precious(&beside);
        assert_eq!(done["kept_before"][0], beside.display().to_string());
        let told = |step: &serde_json::Value| step["text"].as_str().unwrap().contains(&kept);
        assert!(done["next_steps"].as_array().unwrap().iter().any(told), "{done}");
        // The last step removes what was there before, and nothing else.
        if let Some(previous) = done["previous"].as_str() {
            assert!(!names(Path::new(previous)).contains(&kept));
        }
        assert_eq!(done["previous"].is_null(), empties || !more.is_empty());
    }
}

/// A restore that waits for some seconds before it looks at the folder for the last time.
fn slow(site: &Site, more: &[&str]) -> Child {
    let program = site.command([&RESTORE[..], more].concat());
    let mut command = Command::new("strace");
    command.env_clear().current_dir(site.folder.path());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-f", "-o", "/dev/null", "-e", "trace=syncfs"]);
    command.args(["-e", "inject=syncfs:delay_enter=4000000"]);
    command.arg(program.get_program()).args(program.get_args());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the new folder holds its database.
#[track_caller]
fn wait_for(work: &Path) {
    let start = Instant::now();
    while !work.join("data/db.sqlite3").exists() {
        assert!(start.elapsed() < Duration::from_secs(DEADLINE), "no {}", work.display());
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_comes_while_it_runs_is_not_lost() {
    let what = "what comes into a folder while a restore into it runs";
    if !can_strike(what) {
        return;
    }
    for place in ["absent", "empty", "mount point"] {
        let (site, data) = wrecked();
        let database = fs::read(data.join("db.sqlite3")).unwrap();
        fs::remove_dir_all(&data).unwrap();
        let mut disk = None;
        if place != "absent" {
            fs::create_dir(&data).unwrap();
        }
        if place == "mount point" {
            disk = SmallDisk::mount(&data, 64 << 20, what);
            if disk.is_none() {
                return;
            }
        }
        let child = slow(&site, &[]);
        wait_for(&if disk.is_some() {
            data.join(".strongroom-restoring")
        } else {
            site.join(".data.strongroom-restoring")
        });
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("db.sqlite3"), &database).unwrap();
        fs::write(data.join("only-copy.txt"), "precious").unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_precious(&data);
        assert_eq!(output.status.code(), Some(1), "{place}: {said}");
        assert!(said.contains("came while the restore ran; nothing was changed"), "{place}: {said}");
        assert_eq!(names(&data), ["db.sqlite3", "only-copy.txt"], "{place}");
        assert!(!site.join(".data.strongroom-restoring").exists(), "{place}");
    }
}

#[test]
fn what_comes_into_a_vault_of_which_nothing_is_kept_is_not_deleted() {
    if !can_strike("what comes into a vault while a restore over it runs") {
        return;
    }
    for changes in [false, true] {
        let (site, data) = wrecked();
        fs::create_dir_all(data.join("attachments/one")).unwrap();
        fs::write(data.join("attachments/one/there"), "there").unwrap();
        let late = data.join(if changes { "attachments/one/there" } else { "attachments/one/late" });
        let child = slow(&site, &["--no-keep-previous"]);
        wait_for(&site.join(".data.strongroom-restoring"));
        fs::write(&late, "precious").unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(fs::read_to_string(&late).ok().as_deref(), Some("precious"), "{said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("came while the restore ran, or was changed; nothing was changed"), "{said}");
        assert!(!site.join(".data.strongroom-restoring").exists());
        restored(&site, &["--no-keep-previous"], 0);
        assert!(!late.exists());
    }
}

#[test]
fn a_mount_that_another_hides_is_in_nobodys_way() {
    let (site, data) = wrecked();
    site.folder.write("nas/nasfile", "precious");
    fs::create_dir(site.join("other")).unwrap();
    fs::copy(data.join("db.sqlite3"), site.join("other/db.sqlite3")).unwrap();
    for folder in [&data, &site.join("other")] {
        fs::create_dir(folder.join("inner")).unwrap();
    }
    let what = "a restore over a mount that another one hides";
    let Some(hidden) = BindMount::mount(&site.join("nas"), &data.join("inner"), what) else { return };
    let Some(over) = BindMount::mount(&site.join("other"), &data, what) else { return };
    restored(&site, &["--no-keep-previous"], 0);
    drop(over);
    drop(hidden);
    assert_eq!(fs::read_to_string(site.join("nas/nasfile")).unwrap(), "precious");
}

#[test]
fn other_file_systems_below_are_left_alone() {
    let (site, data) = wrecked();
    site.folder.write("nas/nasfile", "precious");
    fs::create_dir_all(data.join("backups/nas")).unwrap();
    let what = "a restore over a mount deep in the folder";
    let Some(mount) = BindMount::mount(&site.join("nas"), &data.join("backups/nas"), what) else { return };
    let before = contents(&data);
    for more in [&[][..], &["--no-keep-previous"], &["--dry-run"]] {
        let outcome = site.run([&RESTORE[..], more].concat(), 1);
        assert!(outcome.err().contains("backups/nas is a mount point of its own"), "{}", outcome.err());
        super::refused::assert_untouched(&site, &data, &before);
    }
    drop(mount);
    assert_eq!(fs::read_to_string(site.join("nas/nasfile")).unwrap(), "precious");
    restored(&site, &["--no-keep-previous"], 0);
}

/// Removes all that is in a folder, but for what is hidden.
fn empty(folder: &Path) {
    for name in names(folder) {
        let path = folder.join(name);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
}

/// A restore that was to keep nothing, killed when all was in place and nothing deleted.
fn killed_before_deleting(call: &'static str) -> Vault {
    let vault = Vault::new(PlainSite::in_memory(), None, false);
    kill_where(&vault, call, How::Exchange, in_place);
    vault
}

/// Runs a restore that fails.
fn fail(vault: &Vault, more: &[&str]) -> Outcome {
    let arguments = ["restore", "--vaultwarden", "latest:/nowhere", "--target", "data"];
    vault.site.run(1, [&arguments[..], more].concat())
}

#[test]
fn the_only_old_state_is_not_deleted_by_going_on() {
    if !can_strike("a restore that is killed before it deletes what was there") {
        return;
    }
    // The new state is gone again.
    for more in [&[][..], &["--no-keep-previous"]] {
        let vault = killed_before_deleting("unlink");
        empty(&vault.data);
        let said = fail(&vault, more).err();
        assert!(said.contains("is kept in"), "{said}");
        assert!(vault.kept().iter().any(|path| contents(path) == vault.old), "{more:?}: {said}");
        assert!(!vault.half_way());
    }
    // It is in place, and this time something is to be kept.
    let vault = killed_before_deleting("unlink");
    vault.site.run(0, &vault.arguments[..vault.arguments.len() - 1]);
    assert!(vault.kept().iter().any(|path| contents(path) == vault.old));
    // Another folder is in its place, perhaps under its number.
    let vault = killed_before_deleting("unlink");
    fs::remove_dir_all(&vault.data).unwrap();
    fs::create_dir(&vault.data).unwrap();
    fail(&vault, &["--no-keep-previous"]);
    let work = vault.data.with_file_name(".data.strongroom-restoring");
    let left = [work.join("data"), work.join("previous")];
    let all = left
        .iter()
        .chain(&vault.kept())
        .filter(|path| path.exists())
        .map(|path| contents(path))
        .collect::<Vec<_>>();
    assert!(all.contains(&vault.old));
}

#[test]
fn what_was_being_deleted_is_kept_where_that_is_asked_for_now() {
    if !can_strike("a restore that is killed while it deletes what was there") {
        return;
    }
    let vault = Vault::new(PlainSite::in_memory(), None, false);
    let previous = vault.data.with_file_name(".data.strongroom-restoring").join("previous");
    let deleting =
        |vault: &Vault| in_place(vault) && previous.exists() && !previous.with_file_name("state").exists();
    kill_where(&vault, "unlinkat", How::Exchange, deleting);
    vault.site.run(0, &vault.arguments[..vault.arguments.len() - 1]);
    assert!(vault.kept().iter().any(|path| contents(path) != vault.new));
    assert!(!vault.half_way());
}

#[test]
fn a_backup_of_what_is_half_way_does_not_take_the_place_of_the_whole() {
    let Some(vault) = within(true, "a backup between a restore and the next") else { return };
    let wanted = |vault: &Vault| in_between(vault) && vault.data.join("db.sqlite3").exists();
    kill_where(&vault, "renameat2", How::Within, wanted);
    let said = vault.site.run(3, ["backup", "--vaultwarden", "data"]).err();
    assert!(said.contains("stopped half-way"), "{said}");
    let planned = vault.site.run(3, [&vault.arguments[1..], &["--dry-run"]].concat()).err();
    assert!(planned.contains("would be finished first"), "{planned}");
    assert!(in_between(&vault), "a dry run changes nothing");
    let said = vault.site.run(1, &vault.arguments).err();
    assert!(said.contains("finished the earlier restore of snapshot"), "{said}");
    assert_eq!(contents(&vault.data), vault.new);
    assert!(!vault.half_way());
    // Whoever wants it all the same gets it.
    vault.site.run_any(&vault.arguments);
    assert_ne!(contents(&vault.data), vault.new);
}

#[test]
fn a_dry_run_says_what_was_stopped_half_way() {
    if !can_strike("a dry run after a restore that was killed") {
        return;
    }
    let vault = Vault::new(PlainSite::in_memory(), None, true);
    kill_where(&vault, "renameat2", How::Exchange, in_place);
    let planned = |code: i32| vault.site.run(code, [&vault.arguments[1..], &["--dry-run"]].concat()).err();
    let said = planned(0);
    assert!(said.contains("stopped half-way; would be finished first"), "{said}");
    assert!(in_place(&vault));
    // What the real run refuses.
    fs::rename(&vault.data, vault.data.with_file_name("elsewhere")).unwrap();
    fs::create_dir(&vault.data).unwrap();
    let said = planned(3);
    assert!(said.contains("is not as it left it"), "{said}");
    let said = vault.site.run(1, &vault.arguments).err();
    assert!(said.contains("is not as it left it"), "{said}");
}

/// The program, in which calls fail.
fn with_fault(site: &PlainSite, arguments: &[&str], calls: &str, faults: &[&str]) -> Outcome {
    let program = site.command(arguments);
    let mut command = Command::new("strace");
    command.env_clear().current_dir(site.folder.path());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-f", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    for fault in faults {
        command.args(["-e", &format!("inject={fault}")]);
    }
    command.arg(program.get_program()).args(program.get_args());
    run(&mut command, DEADLINE)
}

#[test]
fn what_cannot_be_tidied_up_is_told_as_that() {
    if !can_strike("a restore that cannot remove what is left") {
        return;
    }
    let vault = Vault::new(PlainSite::in_memory(), None, true);
    let outcome = with_fault(&vault.site, &vault.arguments, "rmdir", &["rmdir:error=EIO"]).expect_code(1);
    let said = outcome.err();
    assert!(said.contains("the snapshot is in place"), "{said}");
    assert!(said.contains("is kept in") && said.contains("run the same command again"), "{said}");
    assert_eq!(contents(&vault.data), vault.new);
    vault.site.run(0, &vault.arguments);
    assert!(!vault.half_way());
}

#[test]
fn no_second_name_of_a_file_is_left_in_a_vault() {
    if !can_strike("a restore onto a file system without renames that replace nothing") {
        return;
    }
    let vault = Vault::new(PlainSite::in_memory(), None, true);
    let faults = ["renameat2:error=EINVAL", "unlinkat:error=EIO:when=1"];
    with_fault(&vault.site, &vault.arguments, "renameat2,unlinkat", &faults).expect_code(0);
    let odd = |path: &PathBuf| path.to_string_lossy().contains(".strongroom-");
    let found = contents(&vault.data);
    assert!(!found.keys().any(odd), "{:?}", found.keys());
}

#[test]
fn settings_files_and_logs_that_were_put_aside_keep_their_places() {
    let (site, data) = wrecked();
    restored(&site, &["--no-keep-previous"], 0);
    fs::write(site.join(".env"), "ROCKET_PORT=80\n").unwrap();
    fs::write(data.join(".env"), "ROCKET_PORT=81\n").unwrap();
    fs::write(data.join("db.sqlite3-wal.before-restore-2026-11-21T190500Z"), "a log").unwrap();
    fs::create_dir(data.join(".before-restore-2026-11-21T190500Z")).unwrap();
    fs::write(data.join(".before-restore-2026-11-21T190500Z/db.sqlite3"), "old").unwrap();
    site.backup(["--vaultwarden", "data"], 0);
    assert!(!site.list().iter().any(|place| place.contains("before-restore")), "{:?}", site.list());
    let done = restored(&site, &[], 0);
    assert_eq!(fs::read_to_string(data.join(".env")).unwrap(), "ROCKET_PORT=81\n");
    assert_eq!(fs::read_to_string(data.join(".env.outside")).unwrap(), "ROCKET_PORT=80\n");
    assert!(!data.join(".env.data-folder").exists());
    let told = |step: &serde_json::Value| step["text"].as_str().unwrap().contains(".env.outside");
    assert!(done["next_steps"].as_array().unwrap().iter().any(told), "{done}");
}
