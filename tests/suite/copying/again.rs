//! What is copied again because what is there holds less, and in which order.

use std::fs;

use serde_json::Value;

use super::{copy, copy_command, in_second, listed, pair};
use crate::site::{DEADLINE, last, number, objects};
use crate::support::{Rng, run};

#[test]
fn what_holds_less_does_not_pass_for_the_backup_itself() {
    let site = pair();
    let mut rng = Rng::new(11);
    site.folder.write("data/small", "small");
    site.folder.write("data/big", rng.bytes(400_000));
    let old = site.backup(["data"])["snapshot_id"].as_str().unwrap().to_owned();
    site.run(0, ["rewrite", "--exclude", "big", "--forget"]);
    let counts =
        |summary: &Value| (number(summary, "snapshots_copied"), number(summary, "snapshots_present"));
    assert_eq!(counts(&copy(&site, &[])), (1, 0));
    site.run(0, ["unforget", &old]);
    assert_eq!(counts(&copy(&site, &[])), (1, 1));
    let paths: Vec<String> = listed(&site, "second", "second.key")
        .iter()
        .map(|snapshot| in_second(&site, 0, &["ls", snapshot["id"].as_str().unwrap()]).out())
        .collect();
    assert!(paths.iter().any(|paths| paths.contains("/data/big")), "{paths:?}");
    assert_eq!(counts(&copy(&site, &[])), (0, 2));
    // Also where the manifest of what was copied is long gone: the sums tell.
    site.run(0, ["tag", "--add", "x"]);
    site.run(0, ["prune"]);
    assert_eq!(counts(&copy(&site, &[])), (0, 2));
}

#[test]
fn what_was_copied_after_a_loss_is_copied_again_once_it_is_healed() {
    let site = pair();
    let mut rng = Rng::new(12);
    site.folder.write("data/small", "small");
    site.backup(["data"]);
    let before: Vec<_> = site.objects().into_keys().collect();
    site.folder.write("data/big", rng.bytes(400_000));
    site.backup(["data"]);
    let (pack, _) = site
        .objects()
        .into_iter()
        .filter(|(path, _)| !before.contains(path) && path.starts_with(site.join("repo/packs")))
        .max_by_key(|(_, size)| *size)
        .unwrap();
    let bytes = fs::read(&pack).unwrap();
    fs::remove_file(&pack).unwrap();
    site.run_any(["repair", "snapshots"]);
    let first = last(&objects(&run(&mut copy_command(&site, "second.key", &[]), DEADLINE).expect_code(3)));
    assert_eq!((number(&first, "snapshots_copied"), number(&first, "snapshots_failed")), (2, 1));
    fs::write(&pack, bytes).unwrap();
    let second = copy(&site, &[]);
    assert_eq!((number(&second, "snapshots_copied"), number(&second, "snapshots_present")), (1, 2));
    assert!(site.run(0, ["snapshots"]).out().contains("was damaged, repaired as "));
}

#[test]
fn copies_by_a_backup_key_are_in_order_however_their_backups_were_dated() {
    let site = pair();
    site.folder.write("data/file", "x");
    site.folder.write("more/file", "y");
    site.backup(["data"]);
    // Finished later, and dated before.
    site.backup(["more", "--time", "2020-01-01"]);
    in_second(&site, 0, &["key", "add", "--role", "backup", "--label", "x", "--new-key-file", "add.key"]);
    run(&mut copy_command(&site, "add.key", &[]), DEADLINE).expect_code(0);
    let shown = in_second(&site, 0, &["forget", "--keep-last", "1", "--dry-run"]).out();
    assert!(!shown.contains("out of order"), "{shown}");
}

#[test]
fn what_was_taken_out_of_the_destination_does_not_come_back() {
    let site = pair();
    site.folder.write("data/small", "small");
    site.folder.write("data/secret", "secret");
    site.backup(["data"]);
    site.folder.write("data/small", "other");
    site.backup(["data"]);
    let counts =
        |summary: &Value| (number(summary, "snapshots_copied"), number(summary, "snapshots_present"));
    assert_eq!(counts(&copy(&site, &[])), (2, 0));
    in_second(&site, 0, &["rewrite", "--exclude", "secret", "--forget"]);
    in_second(&site, 0, &["prune", "--max-unused", "0"]);
    let told = run(&mut copy_command(&site, "second.key", &[]), DEADLINE).expect_code(0);
    assert_eq!(counts(&last(&objects(&told))), (0, 2));
    assert_eq!(
        told.out().matches("in the destination paths were taken out of it").count(),
        2,
        "{}",
        told.out()
    );
    // Nor once the snapshots that are left of it have other tags.
    in_second(&site, 0, &["tag", "--add", "x"]);
    in_second(&site, 0, &["prune"]);
    assert_eq!(counts(&copy(&site, &[])), (0, 2));
    let left = listed(&site, "second", "second.key");
    assert_eq!(left.len(), 2);
    for snapshot in &left {
        let paths = in_second(&site, 0, &["ls", snapshot["id"].as_str().unwrap()]).out();
        assert!(paths.contains("/data/small") && !paths.contains("secret"), "{paths}");
    }
    // Who wants the whole one says so.
    in_second(&site, 0, &["forget", left[0]["id"].as_str().unwrap()]);
    assert_eq!(counts(&copy(&site, &[])), (1, 1));
}
