//! Killed at any moment: the next run goes on where it stopped, and nothing is stored twice or left broken.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::site::{DEADLINE, Site, assert_same, each_file, see};
use crate::support::{Rng, long};

/// All bytes below a folder, leftovers included; what vanishes meanwhile does not count.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// When to kill.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So many microseconds after the start.
    After(u64),
    /// Once a folder holds so many bytes.
    Bytes(u64),
    /// Once this folder of the repository holds one object more.
    Appears(&'static str),
}

/// Starts the program and kills it; true if it had not ended by itself.
fn kill(site: &Site, arguments: &[&str], moment: Moment, watched: &Path) -> bool {
    let before = match moment {
        Moment::Appears(kind) => site.count(kind),
        _ => 0,
    };
    let mut child = site
        .command(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    loop {
        let now = match moment {
            Moment::After(microseconds) => started.elapsed() >= Duration::from_micros(microseconds),
            Moment::Bytes(bytes) => bytes_below(watched) >= bytes,
            Moment::Appears(kind) => {
                fs::read_dir(site.join("repo").join(kind)).map_or(0, Iterator::count) > before
            }
        };
        if now || child.try_wait().unwrap().is_some() || started.elapsed().as_secs() > DEADLINE {
            break;
        }
        thread::sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

fn moment(rng: &mut Rng, total: u64) -> Moment {
    match rng.below(8) {
        0 => Moment::After(rng.below(30_000)),
        1 => Moment::After(rng.below(1_500_000)),
        2 => Moment::Appears("sessions"),
        3 => Moment::Appears("index"),
        4 => Moment::Appears("snapshots"),
        _ => Moment::Bytes(rng.below(total)),
    }
}

#[test]
fn a_killed_backup_is_taken_up_by_the_next() {
    let mut rng = Rng::new(1);
    let content: Vec<Vec<u8>> =
        [30 << 20, 1 << 20, 60 << 20, 9 << 20, 2000].into_iter().map(|size| rng.bytes(size)).collect();
    let fill = |site: &Site| {
        for (number, content) in content.iter().enumerate() {
            site.folder.write(format!("data/file-{number}"), content);
        }
        for number in 0..300u32 {
            site.folder.write(format!("data/many/file-{number}"), number.to_le_bytes().repeat(500));
        }
    };
    let whole = Site::new();
    fill(&whole);
    let empty = bytes_below(&whole.join("repo"));
    whole.backup(["data"]);
    let once = whole.pack_bytes();
    let total = bytes_below(&whole.join("repo")) - empty;
    drop(whole);

    let wanted = if long() { 500 } else { 24 };
    let mut kills = 0;
    let mut leftovers = 0;
    while kills < wanted {
        let site = Site::new();
        fill(&site);
        for _ in 0..6 {
            let moment = moment(&mut rng, total + empty);
            let killed = kill(&site, &["backup", "data"], moment, &site.join("repo"));
            println!("{moment:?}: {}", if killed { "killed" } else { "had ended" });
            kills += usize::from(killed);
            // What is there already can always be read.
            site.run(0, ["check"]);
        }
        site.backup(["data"]);
        let stored = site.pack_bytes();
        assert!(stored < once + once / 20 + (1 << 20), "{stored} bytes of packs instead of {once}");
        site.assert_sound();
        assert_same(&see(&site.join("data")), &see(&site.restore("latest", "restored").join("data")));
        // A session whose snapshot exists is litter, and is cleared away; the others wait for a prune, marked.
        let sessions =
            fs::read_dir(site.join("repo/sessions")).unwrap().map(|entry| entry.unwrap().file_name());
        for session in sessions.filter(|name| !name.as_bytes().starts_with(b".")) {
            assert!(!site.join("repo/snapshots").join(&session).exists(), "{session:?} committed and stays");
            assert!(
                site.join("repo/abandoned").join(&session).exists(),
                "{session:?} died and is not marked"
            );
        }
        each_file(&site.join("repo"), &mut |path, _| {
            leftovers += usize::from(path.file_name().unwrap().as_bytes().starts_with(b"."));
        });
        // A lock stays only where its process died before it announced the session.
        let locks = site.join("home/.cache/strongroom");
        let locks = fs::read_dir(locks).unwrap().next().unwrap().unwrap().path().join("sessions");
        for lock in fs::read_dir(locks).unwrap().map(|entry| entry.unwrap().file_name()) {
            assert!(!site.join("repo/sessions").join(&lock).exists(), "{lock:?} is of a dead session");
        }
    }
    println!("{kills} kills, {leftovers} temporary files left in the repositories");
}

#[test]
fn a_killed_restore_leaves_no_wrong_file() {
    let mut rng = Rng::new(2);
    let site = Site::new();
    for number in 0..12 {
        site.folder.write(format!("data/file-{number}"), rng.bytes(3 << 20));
    }
    site.backup(["data"]);
    let expected = see(&site.join("data"));
    let target = site.join("target");
    let mut killed = 0;
    for _ in 0..12 {
        let moment = if rng.below(4) == 0 {
            Moment::After(rng.below(300_000))
        } else {
            Moment::Bytes(rng.below(36 << 20))
        };
        killed += usize::from(kill(&site, &["restore", "latest", "--target", "target"], moment, &target));
        if target.exists() {
            each_file(&target, &mut |path, metadata| {
                let name = path.file_name().unwrap().as_bytes();
                match expected.get(name) {
                    Some(seen) => {
                        assert_eq!(
                            blake3::hash(&fs::read(path).unwrap()).as_bytes(),
                            seen.content.as_slice()
                        );
                        assert_eq!(metadata.len(), seen.size);
                    }
                    None => assert!(name.starts_with(b".strongroom-"), "{}", path.display()),
                }
            });
            fs::remove_dir_all(&target).unwrap();
        }
    }
    println!("{killed} of 12 killed before the end");
    assert!(killed > 0);
}

#[test]
fn a_killed_init_can_be_started_again() {
    let mut rng = Rng::new(3);
    let site = Site::new();
    for round in 0..12 {
        let (repo, key) = (format!("new-{round}"), format!("new-{round}.key"));
        let mut child = crate::support::strongroom(&site.folder)
            .args(["-q", "-r", &repo, "init", "--new-key-file", &key])
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_micros(rng.below(25_000)));
        child.kill().unwrap();
        let done = child.wait().unwrap().success();
        if !done {
            // What is there is a repository or it is not; if not, the next try is told what to do, or works.
            let mut again = crate::support::strongroom(&site.folder);
            again.args(["-r", &repo, "init", "--new-key-file", "again.key"]);
            let outcome = crate::support::run(&mut again, DEADLINE);
            let said = outcome.err();
            assert!(
                outcome.code == Some(0)
                    || said.contains("remove the folder")
                    || said.contains("already holds"),
                "{said}"
            );
            drop(fs::remove_file(site.join("again.key")));
        }
    }
}
