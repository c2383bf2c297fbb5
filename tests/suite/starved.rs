//! Starved: no room, no right to write, to list, to read or to delete. Whatever a prune cannot do it names, with the next
//! step; it ends with 1, harms nothing, and finishes once it can.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::nights::{Nights, repository, stored};
use crate::site::{DEADLINE, Site};
use crate::support::{Outcome, SmallDisk, TempFolder, has_tool, is_root, run};

/// Nights in a repository on a disk of its own.
fn on_a_disk(bytes: u64, seed: u64, what: &str) -> Option<(SmallDisk, Nights)> {
    let folder = TempFolder::new();
    fs::create_dir(folder.join("disk")).unwrap();
    let disk = SmallDisk::mount(&folder.join("disk"), bytes, what)?;
    fs::create_dir(folder.join("disk/repo")).unwrap();
    std::os::unix::fs::symlink("disk/repo", folder.join("repo")).unwrap();
    Some((disk, Nights::at(Site::within(folder), seed)))
}

/// Fills the disk but for some pages.
fn leave_pages(site: &Site, pages: u64) {
    let mut filler = File::create_new(site.join("disk/filler")).unwrap();
    let full = loop {
        if let Err(error) = filler.write_all(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    let length = filler.metadata().unwrap().len();
    filler.set_len((length - length % 4096).saturating_sub(pages * 4096)).unwrap();
}

#[test]
fn a_prune_on_a_full_disk_says_so_and_loses_nothing() {
    let Some((_disk, mut nights)) = on_a_disk(6 << 20, 80, "a prune on a full disk") else { return };
    let (mut failed, mut done) = (Vec::new(), 0);
    for pages in 0..24 {
        for limit in ["0", "unlimited"] {
            nights.change();
            nights.backup();
            nights.forget_but(2);
            leave_pages(&nights.site, pages);
            let arguments = ["prune", "--max-unused", limit];
            let before = nights.site.pack_bytes();
            let outcome = nights.site.run_any(arguments);
            nights.verify();
            match outcome.code {
                Some(0) => done += 1,
                Some(1) => {
                    let said = outcome.err();
                    assert!(said.contains("No space left on device"), "{said}");
                    assert!(said.contains("free some space"), "the next step: {said}");
                    let kind = ["packs/", "index/", "gc/"].into_iter().find(|kind| said.contains(kind));
                    failed.push((kind.unwrap_or_else(|| panic!("it names the object: {said}")), limit));
                    assert!(nights.site.pack_bytes() <= before + (pages + 1) * 4096);
                    let advised = said.contains("--max-unused unlimited");
                    assert!(advised || said.contains("index/"), "what needs less room: {said}");
                }
                code => panic!("{code:?}: {}", outcome.err()),
            }
            fs::remove_file(nights.site.join("disk/filler")).unwrap();
            nights.site.run(0, arguments);
            nights.verify();
        }
    }
    println!("{done} done, failed: {failed:?}");
    assert!(["packs/", "index/", "gc/"].into_iter().all(|kind| failed.iter().any(|(what, _)| *what == kind)));
    assert!(done > 0);
    nights.assert_clean_in_the_end();
}

#[test]
fn a_full_disk_is_emptied_by_a_prune_that_copies_nothing() {
    let Some((_disk, mut nights)) = on_a_disk(6 << 20, 81, "freeing space on a full disk") else { return };
    // Packs that nothing needs, and what a backup left that ran into the full disk and was killed.
    nights.change();
    nights.backup();
    nights.forget_but(1);
    let leftover = nights.site.join("repo/packs/00/.tmp-of-a-dead-process");
    fs::write(&leftover, vec![0; 20_000]).unwrap();
    leave_pages(&nights.site, 0);
    // Not a byte is free, and yet the record of what goes is stored: what is left over goes first.
    let before = nights.site.pack_bytes();
    nights.site.run(0, ["prune", "--max-unused", "unlimited"]);
    assert!(!leftover.exists() && nights.site.pack_bytes() < before);
    nights.verify();
    // Without any, there is no place for the record; the message says how little is needed.
    nights.change();
    fs::remove_file(nights.site.join("disk/filler")).unwrap();
    nights.backup();
    nights.forget_but(1);
    leave_pages(&nights.site, 0);
    let before = nights.site.objects();
    let said = nights.site.run(1, ["prune", "--max-unused", "unlimited"]).err();
    assert!(said.contains("gc/") && said.contains("No space left on device"), "{said}");
    assert!(said.contains("nothing was deleted") && said.contains("free some space"), "{said}");
    assert_eq!(nights.site.objects(), before);
    // Two pages are enough for all of it: the record and a new index object.
    fs::remove_file(nights.site.join("disk/filler")).unwrap();
    leave_pages(&nights.site, 4);
    nights.site.run(0, ["prune", "--max-unused", "unlimited"]);
    nights.verify();
    fs::remove_file(nights.site.join("disk/filler")).unwrap();
    nights.assert_clean_in_the_end();
}

#[test]
fn marks_that_do_not_fit_forget_nothing() {
    let Some((_disk, mut nights)) = on_a_disk(6 << 20, 82, "forgetting on a full disk") else { return };
    leave_pages(&nights.site, 0);
    let repository = repository(&nights.site);
    let oldest = repository.snapshots().unwrap().snapshots.remove(0);
    let error = repository.put_forgotten(&oldest.id, Some(oldest.used_number())).unwrap_err();
    assert!(error.chain().contains("No space left on device"), "{}", error.chain());
    assert!(error.next_step().unwrap().contains("free some space"));
    nights.verify();
    fs::remove_file(nights.site.join("disk/filler")).unwrap();
    nights.forget_but(1);
    nights.verify();
    nights.assert_clean_in_the_end();
}

#[test]
fn a_read_only_disk_is_named_and_only_looked_at() {
    let what = "a prune on a read-only disk";
    let Some((_disk, mut nights)) = on_a_disk(6 << 20, 83, what) else { return };
    nights.change();
    nights.backup();
    nights.forget_but(1);
    let remount = |how: &str| {
        let options = format!("remount,{how}");
        let done = Command::new("mount").args(["-o", &options]).arg(nights.site.join("disk")).status();
        assert!(done.unwrap().success());
    };
    remount("ro");
    let before = nights.site.objects();
    for limit in ["0", "unlimited"] {
        let said = nights.site.run(1, ["prune", "--max-unused", limit]).err();
        assert!(said.contains("Read-only file system") && said.contains("is not read-only"), "{said}");
    }
    nights.site.run(0, ["prune", "--dry-run"]);
    nights.verify();
    assert_eq!(nights.site.objects(), before);
    remount("rw");
    nights.assert_clean_in_the_end();
}

/// Runs the program as somebody without rights.
fn as_nobody(site: &Site, arguments: &[&str]) -> Outcome {
    let clean = site.command(arguments);
    let mut command = Command::new("setpriv");
    command.env_clear().current_dir(site.folder.path());
    command.envs(clean.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(site.join("program")).args(clean.get_args());
    run(&mut command, DEADLINE)
}

fn give(site: &Site) {
    let done = Command::new("chown").args(["-R", "65534:65534"]).arg(site.folder.path()).status();
    assert!(done.unwrap().success());
}

/// Sets the mode of some places, and gives the modes they had.
fn mode(places: &[PathBuf], mode: u32) -> Vec<(PathBuf, Permissions)> {
    let set = |place: &PathBuf| {
        let before = fs::metadata(place).unwrap().permissions();
        fs::set_permissions(place, Permissions::from_mode(mode)).unwrap();
        (place.clone(), before)
    };
    places.iter().map(set).collect()
}

/// What is closed, to which mode, what the message names, and whether anything may have gone before.
const CASES: &[(&str, u32, &str, bool)] = &[
    ("gc", 0o300, "gc", false),
    ("index", 0o300, "index", false),
    ("snapshots", 0o300, "snapshots", false),
    ("sessions", 0o300, "sessions", false),
    ("abandoned", 0o300, "abandoned", false),
    ("packs", 0o000, "packs", false),
    ("packs/*", 0o300, "packs", false),
    ("packs/*/*", 0o000, "packs/", false),
    ("index/*", 0o000, "index/", false),
    ("snapshots/*", 0o000, "snapshots/", false),
    ("gc", 0o500, "gc/", false),
    ("index", 0o500, "index/", false),
    ("packs/*", 0o500, "packs/", true),
];

#[test]
fn what_a_prune_may_not_do_is_named_and_does_no_harm() {
    let what = "a prune without the right to list, read or delete";
    if !is_root(what) || !has_tool("setpriv", what) {
        return;
    }
    let mut nights = Nights::at(Site::new(), 84);
    let (built, program) = (env!("CARGO_BIN_EXE_strongroom"), nights.site.join("program"));
    fs::copy(built, &program).unwrap();
    let repo = nights.site.join("repo");
    let all = |kind: &str| -> Vec<PathBuf> {
        let listed = fs::read_dir(repo.join(kind)).unwrap();
        listed.map(|entry| entry.unwrap().path()).collect()
    };
    for (place, closed, named, may_have_begun) in CASES {
        for limit in ["0", "unlimited"] {
            nights.change();
            nights.backup();
            nights.forget_but(2);
            give(&nights.site);
            let places: Vec<PathBuf> = match place.strip_suffix("/*") {
                None => vec![repo.join(place)],
                Some("packs/*") => all("packs").into_iter().flat_map(|folder| list(&folder)).collect(),
                Some(kind) => all(kind),
            };
            let before = nights.site.objects();
            let modes = mode(&places, *closed);
            let outcome = as_nobody(&nights.site, &["prune", "--max-unused", limit]);
            for (place, mode) in modes {
                fs::set_permissions(place, mode).unwrap();
            }
            let said = outcome.err();
            let context = format!("{place} {closed:o} {limit}: {said}{}", outcome.out());
            assert_eq!(outcome.code, Some(1), "{context}");
            assert!(said.contains("Permission denied") && said.contains(named), "{context}");
            assert!(said.lines().any(|line| line.starts_with("  ")), "a next step: {context}");
            let now = nights.site.objects();
            assert!(*may_have_begun || before.keys().all(|object| now.contains_key(object)), "{context}");
            nights.verify();
            let again = as_nobody(&nights.site, &["prune", "--max-unused", limit]);
            assert_eq!(again.code, Some(0), "{context}{}", again.err());
            nights.verify();
            assert_eq!(stored(&nights.site, "gc").len(), 0);
        }
    }
    nights.assert_clean_in_the_end();
}

fn list(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}
