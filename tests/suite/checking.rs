//! What a check says: whom damage hurts, what mends it, how far the packs have been read, and what shows without a key.

mod doubts;
mod keyless;
mod mending;
mod rotating;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;
use strongroom::format::blob::Class;
use strongroom::repository::index::{Index, ReadObjects};

use crate::nights::{Nights, repository};
use crate::site::{Site, last};
use crate::stopped::stop;
use crate::strikes::{Strike, can_strike};
use crate::support::Rng;

/// Every object of a kind, sorted.
pub(crate) fn of_kind(site: &Site, kind: &str) -> Vec<PathBuf> {
    let top = site.join("repo").join(kind);
    site.objects().into_keys().filter(|path| path.starts_with(&top)).collect()
}

/// Every object of a kind, the one that was written first in front.
fn by_age(site: &Site, kind: &str) -> Vec<PathBuf> {
    let mut objects = of_kind(site, kind);
    objects.sort_by_key(|path| written(path));
    objects
}

/// The packs of a class that are there and named, the one that was written first in front.
pub(crate) fn packs_of(site: &Site, class: Class) -> Vec<PathBuf> {
    let index = Index::build(&ReadObjects::read(&repository(site)).unwrap(), &|_| true).unwrap();
    let ids = index.packs().iter().filter(|pack| pack.class == class).map(|pack| pack.id.to_hex());
    let paths = ids.map(|id| site.join("repo/packs").join(&id[..2]).join(&id));
    let mut packs: Vec<PathBuf> = paths.filter(|path| path.exists()).collect();
    packs.sort_by_key(|path| (written(path), path.clone()));
    packs.dedup();
    packs
}

/// When a file was written.
pub(crate) fn written(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

/// The name of an object as a check says it.
fn name_of(site: &Site, path: &Path) -> String {
    path.strip_prefix(site.join("repo")).unwrap().to_str().unwrap().to_owned()
}

fn write_over(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Flips a bit at a place that is counted from the start, or from the end where it is negative.
fn flip(path: &Path, place: i64) {
    let mut bytes = fs::read(path).unwrap();
    let place = if place < 0 { bytes.len() as i64 + place } else { place };
    bytes[place as usize] ^= 16;
    write_over(path, &bytes);
}

/// The errors of a check with `--json`, and its summary.
#[track_caller]
fn checked(site: &Site, code: i32, arguments: &[&str]) -> (Vec<Value>, Value) {
    let mut objects = site.json(code, [&["check"], arguments].concat());
    if code != 0 {
        assert_eq!(objects.pop().unwrap()["message_type"], "exit_error");
    }
    let summary = last(&objects);
    let errors = objects.into_iter().filter(|object| object["message_type"] == "error").collect();
    (errors, summary)
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Where a check is stopped: the call, the folder, which of them.
const MOMENTS: [(&str, &str, usize); 6] = [
    ("getdents64", "index", 1),
    ("openat", "index", 1),
    ("openat", "packs", 1),
    ("pread64", "packs", 1),
    ("pread64", "packs", 3),
    ("openat", "snapshots", 1),
];

#[test]
fn a_check_beside_a_prune_calls_nothing_lost() {
    if !can_strike("a check that is stopped while a prune moves what it reads") {
        return;
    }
    let mut nights = Nights::new(71);
    let mut stops = 0;
    for (call, kind, when) in MOMENTS {
        for options in [&["check", "--read-data"][..], &["check"], &["check", "--read-data-subset", "60%"]] {
            nights.change();
            nights.backup();
            nights.forget_but(2);
            let site = &nights.site;
            let watched: Vec<PathBuf> = match (call, kind) {
                ("getdents64", _) => vec![site.join("repo").join(kind)],
                _ => of_kind(site, kind),
            };
            let strike = Strike { signal: "STOP", call, when };
            let stopped = stop(site, &site.command(options), &watched, &[strike]);
            stops += usize::from(stopped.is_some());
            for _ in 0..2 {
                nights.site.run(0, ["prune", "--max-unused", "0", "--repack-small"]);
                nights.change();
                nights.backup();
            }
            nights.site.run(0, ["prune", "--max-unused", "0", "--repack-small"]);
            let Some(stopped) = stopped else { continue };
            let outcome = stopped.go_on();
            assert_eq!(outcome.code, Some(0), "{options:?}, {call} of {kind}: {}", outcome.err());
            assert!(!outcome.err().contains("missing"), "{}", outcome.err());
        }
    }
    assert!(stops >= MOMENTS.len(), "{stops} stops");
    nights.assert_clean_in_the_end();
}

#[test]
fn a_program_gets_every_path_and_a_person_some_dozens() {
    let site = Site::new();
    let mut rng = Rng::new(31);
    for number in 0..60 {
        site.folder.write(format!("data/file-{number:02}"), rng.bytes(900));
    }
    site.folder.write(std::ffi::OsStr::from_bytes(b"data/not\xffutf8\x1b[31m"), rng.bytes(900));
    site.backup(["data"]);
    let data =
        of_kind(&site, "packs").into_iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    fs::remove_file(&data).unwrap();
    let (errors, summary) = checked(&site, 1, &[]);
    let error = &errors[0];
    assert_eq!((&error["kind"], &error["object"]), (&"pack".into(), &name_of(&site, &data).into()));
    assert_eq!(error["hurts"][0]["files"].as_array().unwrap().len(), 61, "{error}");
    assert!(error["hurts"][0]["files"].to_string().contains("path_hex"), "{error}");
    assert_eq!(summary["num_errors"], 1);
    assert_eq!((&summary["suggest_repair_index"], &summary["suggest_prune"]), (&true.into(), &false.into()));
    assert_eq!(summary["suffering_snapshots"].as_array().unwrap().len(), 1);
    assert_eq!(texts(&summary["damaged_objects"]), [name_of(&site, &data)]);
    let said = site.run(1, ["check"]).err();
    assert!(said.contains("/data/file-00\n") && said.contains("and 37 more"), "{said}");
    assert!(!said.contains("/data/file-24") && !said.contains('\u{1b}'), "{said}");
}
