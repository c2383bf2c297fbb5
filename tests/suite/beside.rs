//! Beside each other: a restore while a prune moves what it reads, and several backups and prunes at once.
//!
//! Invariant: what reported success restores; nobody reports a loss that is none.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use strongroom::id::Id;

use crate::nights::{Contents, Nights, contents, repository};
use crate::site::{DEADLINE, Site, last, objects};
use crate::stopped::stop;
use crate::strikes::{Strike, can_strike, folders};
use crate::support::{Outcome, Rng, long};

/// Where a restore is stopped: the calls, the folder of the repository, and which of them.
const MOMENTS: &[(&str, &str, usize)] = &[
    ("getdents64", "snapshots", 1),
    ("getdents64", "index", 1),
    ("getdents64", "index", 2),
    ("openat", "index", 2),
    ("openat", "packs", 1),
    ("openat", "packs", 2),
    ("openat", "packs", 3),
    ("pread64", "packs", 1),
    ("pread64", "packs", 2),
];

#[test]
fn a_restore_finds_what_a_prune_moved_meanwhile() {
    if !can_strike("a restore that is stopped while a prune moves what it reads") {
        return;
    }
    let mut nights = Nights::new(60);
    let mut stops = 0;
    for (round, (call, kind, when)) in MOMENTS.iter().enumerate() {
        for command in ["restore", "dump"] {
            nights.change();
            nights.backup();
            nights.forget_but(2);
            let site = &nights.site;
            let target = site.join(format!("restored-{round}-{command}"));
            let program = match command {
                "restore" => site.command([
                    "restore".as_ref(),
                    "latest".as_ref(),
                    "--target".as_ref(),
                    target.as_os_str(),
                ]),
                _ => site.command(["dump", "latest", "/data/stable/file-3"]),
            };
            let watched: Vec<PathBuf> = if *call == "pread64" {
                let top = site.join("repo").join(kind);
                site.objects().into_keys().filter(|path| path.starts_with(&top)).collect()
            } else {
                folders(site, kind)
            };
            let strike = Strike { signal: "STOP", call, when: *when };
            let stopped = stop(site, &program, &watched, &[strike]);
            stops += usize::from(stopped.is_some());
            // Every pack is written anew, twice, and the old ones are gone.
            for _ in 0..2 {
                let before = packs(&nights.site);
                nights.site.run(0, ["prune", "--max-unused", "0", "--repack-small"]);
                nights.change();
                nights.backup();
                assert!(packs(&nights.site).iter().any(|pack| !before.contains(pack)));
            }
            nights.site.run(0, ["prune", "--max-unused", "0", "--repack-small"]);
            let Some(stopped) = stopped else { continue };
            let outcome = stopped.go_on();
            assert_eq!(outcome.code, Some(0), "{command}, {call} of {kind}: {}", outcome.err());
            assert!(!outcome.err().contains("missing"), "{}", outcome.err());
            if command == "dump" {
                let file = fs::read(nights.site.join("data/stable/file-3")).unwrap();
                assert!(outcome.stdout == file, "{call} of {kind}");
            } else {
                let restored = contents(&target.join("data"));
                assert!(nights.live.values().any(|held| *held == restored), "{call} of {kind}");
            }
        }
    }
    assert!(stops >= MOMENTS.len(), "{stops} stops");
    nights.assert_clean_in_the_end();
}

fn packs(site: &Site) -> Vec<PathBuf> {
    let top = site.join("repo/packs");
    site.objects().into_keys().filter(|path| path.starts_with(&top)).collect()
}

/// Starts a program, to be waited for.
fn start(mut command: Command) -> (Child, Instant) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    (command.spawn().unwrap(), Instant::now())
}

#[track_caller]
fn finish((mut child, started): (Child, Instant)) -> Outcome {
    while child.try_wait().unwrap().is_none() {
        if started.elapsed().as_secs() > DEADLINE {
            child.kill().unwrap();
            panic!("it did not end");
        }
        thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    let took = started.elapsed();
    Outcome { code: output.status.code(), stdout: output.stdout, stderr: output.stderr, took }
}

/// Changes what one of three hosts keeps; part of it is the same on all of them, and part comes back now and then.
fn change(site: &Site, host: usize, round: u64, rng: &mut Rng) {
    let mut shared = Rng::new(round % 4);
    for number in 0..6 {
        site.folder.write(format!("host-{host}/shared-{number}"), shared.bytes(2500));
        site.folder.write(format!("host-{host}/own-{number}"), rng.bytes(2500));
    }
}

#[test]
fn three_backups_and_three_prunes_at_once_lose_nothing() {
    let site = Site::in_memory();
    let mut rng = Rng::new(70);
    let mut live: BTreeMap<Id, (usize, Contents)> = BTreeMap::new();
    for round in 0..if long() { 150 } else { 12 } {
        let mut backups = Vec::new();
        for host in 0..3 {
            change(&site, host, round, &mut rng);
            let (cache, data) = (format!("cache-{host}"), format!("host-{host}"));
            backups.push((host, start(site.command(["--cache-dir", &cache, "--json", "backup", &data]))));
        }
        let prunes: Vec<_> = (3..6)
            .map(|host| {
                let cache = format!("cache-{host}");
                let how = if (round + host) % 2 == 0 { "--repack-small" } else { "--max-unused=0" };
                start(site.command(["--cache-dir", &cache, "prune", how, "--allow-fewer-packs"]))
            })
            .collect();
        for (host, backup) in backups {
            let outcome = finish(backup);
            assert_eq!(outcome.code, Some(0), "round {round}: {}{}", outcome.out(), outcome.err());
            let summary = last(&objects(&outcome));
            let id = Id::from_hex(summary["snapshot_id"].as_str().unwrap()).unwrap();
            live.insert(id, (host, contents(&site.join(format!("host-{host}")))));
        }
        for prune in prunes {
            let outcome = finish(prune);
            // Backups ran: some of it may wait, even twice.
            assert!(
                matches!(outcome.code, Some(0 | 3)),
                "round {round}: {:?} {}",
                outcome.code,
                outcome.err()
            );
        }
        verify(&site, &live, round);
        // Two of each three are forgotten again.
        while live.len() > 4 {
            let chosen = *rng.pick(&live.keys().copied().collect::<Vec<_>>());
            repository(&site).put_forgotten(&chosen, None).unwrap();
            live.remove(&chosen);
        }
    }
    site.run(0, ["prune", "--max-unused", "0"]);
    verify(&site, &live, u64::MAX);
    assert_eq!((site.count("gc"), site.count("sessions")), (0, 0));
    site.assert_sound();
}

/// Asserts that exactly these snapshots are there, and restores each with the program.
#[track_caller]
fn verify(site: &Site, live: &BTreeMap<Id, (usize, Contents)>, round: u64) {
    let listed = site.json(0, ["snapshots"]);
    assert_eq!(listed.len(), live.len(), "round {round}: {listed:?}");
    for (id, (host, held)) in live {
        let target = site.join("restored");
        drop(fs::remove_dir_all(&target));
        restore(site, id, &target);
        assert_eq!(contents(&target.join(format!("host-{host}"))), *held, "round {round}: {id}");
    }
}

#[track_caller]
fn restore(site: &Site, id: &Id, target: &Path) {
    let id = id.to_hex();
    let arguments = ["-q".as_ref(), "restore".as_ref(), id.as_ref(), "--target".as_ref(), target.as_os_str()];
    site.run(0, arguments);
}
