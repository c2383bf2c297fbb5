//! What shows without a key.

use std::fs;

use super::{flip, name_of, of_kind, write_over};
use crate::site::{DEADLINE, Site, last, number, objects};
use crate::support::{Outcome, Rng, run, strongroom};

/// Runs without a key, a password or a cache.
fn keyless(site: &Site, arguments: &[&str]) -> Outcome {
    let mut command = strongroom(&site.folder);
    command.args(["-r", "repo", "check", "--keyless"]).args(arguments);
    let before = site.objects();
    let outcome = run(&mut command, DEADLINE);
    assert_eq!(site.objects(), before);
    assert!(!outcome.err().contains("panicked"), "{}", outcome.err());
    outcome
}

fn site() -> Site {
    let site = Site::new();
    let mut rng = Rng::new(3);
    for night in 0..3 {
        site.folder.write(format!("data/night-{night}"), rng.bytes(30_000));
        site.backup(["data"]);
    }
    site.run(0, ["forget", "latest~1"]);
    site
}

#[test]
fn a_sound_store_passes_and_every_named_by_its_hash_is_held_against_it() {
    let site = site();
    let outcome = keyless(&site, &[]).expect_code(0);
    assert!(outcome.out().contains("no problems found") && outcome.err().is_empty(), "{}", outcome.err());
    let summary = last(&objects(&keyless(&site, &["--json"])));
    assert_eq!(number(&summary, "packs_read"), number(&summary, "packs"));
    assert_eq!(number(&summary, "objects"), site.objects().len() as u64);
    let all: u64 = site.objects().values().sum();
    assert_eq!(number(&summary, "bytes_read"), all);
    let mut rng = Rng::new(4);
    let (mut seen, mut unseen) = (0, 0);
    for (path, size) in site.objects() {
        let bytes = fs::read(&path).unwrap();
        let name = name_of(&site, &path);
        let by_hash = ["packs", "index", "keys", "gc"].iter().any(|kind| name.starts_with(kind));
        // In its header, behind it, at its end; cut, emptied, made longer.
        for place in [0, 9, 12, 15, 16 + rng.below(size - 16), size - 1] {
            flip(&path, place as i64);
            let outcome = keyless(&site, &[]);
            let must = by_hash || place < 16;
            if outcome.code == Some(1) {
                assert!(outcome.err().contains(&name), "{name} is not named: {}", outcome.err());
                seen += 1;
            } else {
                assert!(outcome.code == Some(0) && !must, "{name}, byte {place}: {:?}", outcome.code);
                unseen += 1;
            }
            write_over(&path, &bytes);
        }
        for length in [0, 10, 40] {
            write_over(&path, &bytes[..length]);
            let code = keyless(&site, &[]).code.unwrap();
            assert_eq!(code, 1, "{name} cut to {length}");
            write_over(&path, &bytes);
        }
    }
    println!(
        "{seen} flipped bytes seen without a key, {unseen} not: what they are in is not named by its bytes"
    );
    assert!(seen > 0 && unseen > 0);
    keyless(&site, &[]).expect_code(0);
}

#[test]
fn what_is_no_object_is_named_and_a_part_is_a_part() {
    let site = site();
    site.folder.write("repo/packs/00/lost+found", "x");
    site.folder.write("repo/packs/zz/file", "x");
    site.folder.write("repo/index/\u{1b}[31mred", "x");
    site.folder.write("repo/.DS_Store", "x");
    site.folder.write("repo/keys/.tmp-0123", "x");
    let outcome = keyless(&site, &[]).expect_code(0);
    for name in ["packs/00/lost+found", "packs/zz", "index/\\u{1b}[31mred", ".DS_Store", "1 file: begun"] {
        assert!(outcome.err().contains(name), "{name}: {}", outcome.err());
    }
    let packs = of_kind(&site, "packs");
    let victim =
        packs.iter().find(|pack| !pack.ends_with("lost+found") && !pack.ends_with("zz/file")).unwrap();
    flip(victim, 100);
    let codes: Vec<i32> = (1..=3)
        .map(|part| keyless(&site, &["--read-data-subset", &format!("{part}/3")]).code.unwrap())
        .collect();
    assert_eq!(codes.iter().sum::<i32>(), 1, "{codes:?}");
    assert!(codes.iter().all(|code| [0, 1].contains(code)), "{codes:?}");
    // Shares are drawn, for nothing is remembered: sooner or later it is found.
    assert!((0..200).any(|_| keyless(&site, &["--read-data-subset", "30%"]).code == Some(1)));
    let error = &objects(&keyless(&site, &["--json"]))
        .into_iter()
        .find(|object| object["message_type"] == "error" && object["severity"] == "problem")
        .unwrap();
    assert_eq!((&error["kind"], &error["object"]), (&"pack".into(), &name_of(&site, victim).into()));
    // What needs a key to be seen is named, and with a key it is.
    flip(victim, 100);
    let help = site.run(0, ["check", "--help"]).out().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("cannot see: bits flipped in `config`"), "{help}");
    let config = site.join("repo/config");
    let whole = fs::read(&config).unwrap();
    for place in 0..whole.len() as i64 {
        flip(&config, place);
        let outcome = site.run_any(["check"]);
        assert_ne!(outcome.code, Some(0), "byte {place}");
        assert!(outcome.err().contains("config"), "byte {place}: {}", outcome.err());
        super::write_over(&config, &whole);
    }
    fs::remove_file(site.join("repo/config")).unwrap();
    assert_eq!(keyless(&site, &[]).code, Some(10));
}
