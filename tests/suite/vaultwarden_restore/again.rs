//! What happened between a run that was killed and the next: another kill, a server that started, a reboot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::killed::{How, Vault};
use super::{contents, open};
use crate::services::number;
use crate::site::{DEADLINE, Site};
use crate::strikes::can_strike;
use crate::support::{SmallDisk, has_tool, is_root, run, untested};

/// A vault at the top of a small disk, whose contents alone can be replaced.
pub(super) fn within(keep: bool, what: &str) -> Option<Vault> {
    if !can_strike(what) {
        return None;
    }
    let site = Site::in_memory();
    fs::create_dir(site.join("data")).unwrap();
    let disk = SmallDisk::mount(&site.join("data"), 32 << 20, what)?;
    Some(Vault::new(site, Some(disk), keep))
}

/// Kills it at the first call of a kind that leaves what is wanted, and leaves it so; which call that was.
#[track_caller]
pub(super) fn kill_where(
    vault: &Vault,
    call: &'static str,
    how: How,
    wanted: impl Fn(&Vault) -> bool,
) -> usize {
    for when in 1.. {
        let outcome = run(&mut vault.struck(call, when, how), DEADLINE);
        assert_eq!(outcome.code, None, "no {call} left what is wanted: {}", outcome.err());
        if wanted(vault) {
            return when;
        }
        vault.site.run(0, &vault.arguments);
        vault.again();
    }
    unreachable!("it is not killed for ever")
}

fn work(vault: &Vault) -> PathBuf {
    vault.data.join(".strongroom-restoring")
}

#[test]
fn killed_again_while_it_cleans_up_nothing_is_lost() {
    let Some(vault) = within(false, "a Vaultwarden's restore that is killed twice") else { return };
    // Noted, and no step taken.
    let noted = |vault: &Vault| work(vault).join("state").exists() && contents(&vault.data) == vault.old;
    let first = kill_where(&vault, "mkdir", How::Within, noted);
    let mut kills = 0;
    for when in 1.. {
        if when > 1 {
            run(&mut vault.struck("mkdir", first, How::Within), DEADLINE);
        }
        assert!(noted(&vault));
        let killed = run(&mut vault.struck("unlinkat", when, How::Within), DEADLINE).code.is_none();
        let found = contents(&vault.data);
        assert!(found == vault.old || found == vault.new || vault.half_way(), "{when}: {:?}", found.keys());
        vault.site.run(0, &vault.arguments);
        assert_eq!(contents(&vault.data), vault.new, "{when}");
        vault.again();
        if !killed {
            break;
        }
        kills += 1;
    }
    assert!(kills >= 5, "only {kills} kills");
}

#[test]
fn what_a_server_made_half_way_is_not_mixed_with_what_comes_in() {
    let Some(vault) = within(true, "a server that starts in a restore half-way") else { return };
    let waits = |vault: &Vault| {
        work(vault).join("data/db.sqlite3").exists() && !vault.data.join("db.sqlite3-wal").exists()
    };
    let arguments = &vault.arguments[1..];
    let mut moments = 0;
    for when in 1.. {
        if run(&mut vault.struck("renameat2", when, How::Within), DEADLINE).code.is_some() {
            break;
        }
        if !waits(&vault) {
            vault.site.run(0, arguments);
            vault.again();
            continue;
        }
        moments += 1;
        fs::write(vault.data.join("db.sqlite3-wal"), "a log of that server").unwrap();
        for name in ["db.sqlite3", "rsa_key.pem"] {
            if !vault.data.join(name).exists() {
                fs::write(vault.data.join(name), "new").unwrap();
            }
        }
        let outcome = vault.site.run(0, arguments);
        assert!(outcome.err().contains("half-way-1"), "{when}: {}", outcome.err());
        assert_eq!(contents(&vault.data), vault.new, "{when}");
        let kept = vault.kept();
        assert!(kept.iter().any(|path| path.join("half-way-1.db.sqlite3-wal").exists()), "{when}: {kept:?}");
        // What was finished was whole too: no log of another database lay in it.
        let whole = |path: &&PathBuf| contents(path) == vault.new;
        assert_eq!(kept.iter().filter(whole).count(), 1, "{when}: {kept:?}");
        vault.again();
    }
    assert!(moments >= 3, "only {moments} moments");
}

#[test]
fn what_an_earlier_run_put_in_place_is_proved_anew() {
    if !can_strike("a restore that was finished before it was killed") {
        return;
    }
    let vault = Vault::new(Site::in_memory(), None, true);
    kill_where(&vault, "renameat2", How::Exchange, in_place);
    let server = open(&vault.data.join("db.sqlite3"));
    server.execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM ciphers").unwrap();
    drop(server);
    let more = ["--json", "--resync-clients"];
    let outcome = vault.site.run(0, [&vault.arguments[1..], &more].concat());
    let summary: Value = serde_json::from_str(outcome.out().lines().last().unwrap()).unwrap();
    assert!(summary["clients_resynced"].as_u64().unwrap() > 0, "{summary}");
    assert!(summary["proof"]["compared_with_backup"].as_bool().unwrap(), "{summary}");
    assert!(number(&open(&vault.data.join("db.sqlite3")), "SELECT count(*) FROM ciphers") > 0);
    assert!(vault.kept().iter().any(|path| contents(path) == vault.old));
}

/// The swap is made, and nothing is tidied up.
pub(super) fn in_place(vault: &Vault) -> bool {
    vault.half_way() && contents(&vault.data) == vault.new
}

/// Some names are out, or in.
pub(super) fn in_between(vault: &Vault) -> bool {
    let found = contents(&vault.data);
    vault.half_way() && found != vault.old && found != vault.new
}

/// A file system in a file, on one device and then on another.
struct Loops {
    devices: [String; 2],
    mounted: PathBuf,
}

impl Loops {
    fn mount(image: &Path, at: &Path, what: &str) -> Option<Self> {
        if !is_root(what) || !["losetup", "mkfs.ext4", "mount"].iter().all(|tool| has_tool(tool, what)) {
            return None;
        }
        fs::File::create(image).unwrap().set_len(32 << 20).unwrap();
        let made = Command::new("mkfs.ext4").arg("-q").arg(image).output().unwrap().status.success();
        let attach = || {
            let output = Command::new("losetup").args(["-f", "--show"]).arg(image).output().unwrap();
            output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
        };
        let (Some(first), Some(second)) = (attach(), attach()) else {
            untested(&format!("{what} (may not attach loop devices)"));
            return None;
        };
        let loops = Self { devices: [first, second], mounted: at.to_owned() };
        if !made || !loops.mount_device(0) {
            untested(&format!("{what} (may not mount)"));
            return None;
        }
        Some(loops)
    }

    fn mount_device(&self, number: usize) -> bool {
        let mut mount = Command::new("mount");
        mount.arg(&self.devices[number]).arg(&self.mounted).output().unwrap().status.success()
    }

    /// As a reboot does: the same file system, under another number.
    fn mount_other(&self) {
        run(Command::new("umount").arg(&self.mounted), 60).expect_code(0);
        assert!(self.mount_device(1));
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.mounted).status());
        for device in &self.devices {
            drop(Command::new("losetup").arg("-d").arg(device).status());
        }
    }
}

#[test]
fn after_a_reboot_that_numbers_disks_anew_it_goes_on() {
    let what = "a restore that goes on after a reboot";
    if !can_strike(what) {
        return;
    }
    for (place, how, wanted) in
        [("disk", How::Within, in_between as fn(&Vault) -> bool), ("disk/data", How::Exchange, in_place)]
    {
        let site = Site::in_memory();
        let disk = site.join("disk");
        fs::create_dir(&disk).unwrap();
        let Some(loops) = Loops::mount(&site.join("image"), &disk, what) else { return };
        fs::remove_dir(disk.join("lost+found")).unwrap();
        // The disk is to go before the folder that it lies in.
        let (vault, loops) = (Vault::at(place, site, None, true), loops);
        kill_where(&vault, "renameat2", how, wanted);
        loops.mount_other();
        vault.site.run(0, &vault.arguments);
        assert_eq!(contents(&vault.data), vault.new, "{place}");
        assert!(vault.kept().iter().any(|path| contents(path) == vault.old), "{place}");
    }
}
