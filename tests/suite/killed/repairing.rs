//! Repairing the index, packs and snapshots, and from a copy, killed at each step.
//!
//! Invariant: each run finds damage of its kind, and nothing is damaged of which no whole copy is left, but where snapshots
//! are to be repaired that lost something.

use std::fs;
use std::path::PathBuf;

use strongroom::format::blob::Class;
use strongroom::repository::index::{Index, ReadObjects};

use super::Watched::{Folders, Objects};
use super::{Killing, Step, step};
use crate::nights::Nights;
use crate::site::Site;
use crate::strikes::can_strike;

/// The steps of `repair index`, in its order.
const INDEX: &[Step] = &[
    step("index listing", "getdents64", Folders(&["index"]), 1),
    step("index reading", "pread64", Objects("index"), 1),
    step("packs listing", "getdents64", Folders(&["packs"]), 101),
    step("packs reading", "pread64", Objects("packs"), 1),
    step("index put, temporary file whole", "renameat2", Folders(&["index"]), 1),
    step("named: index put, named", "fsync", Folders(&["index"]), 1),
    step("named: index listing", "getdents64", Folders(&["index"]), 3),
    step("named: index delete", "unlinkat", Folders(&["index"]), 1),
    step("named: index delete, not flushed", "fsync", Folders(&["index"]), 3),
];

/// The steps of `repair packs`, in its order.
const PACKS: &[Step] = &[
    step("sessions put, temporary file whole", "renameat2", Folders(&["sessions"]), 1),
    step("sessions put, named", "fsync", Folders(&["sessions"]), 1),
    step("gc listing", "getdents64", Folders(&["gc"]), 1),
    step("index listing", "getdents64", Folders(&["index"]), 1),
    step("packs listing", "getdents64", Folders(&["packs"]), 101),
    step("packs reading", "pread64", Objects("packs"), 2),
    step("packs put, temporary file whole", "renameat2", Folders(&["packs"]), 1),
    step("packs put, named", "fsync", Folders(&["packs"]), 1),
    step("index put, temporary file whole", "renameat2", Folders(&["index"]), 1),
    step("index put, named", "fsync", Folders(&["index"]), 1),
    step("gc put, temporary file whole", "renameat2", Folders(&["gc"]), 1),
    step("condemned: gc put, named", "fsync", Folders(&["gc"]), 1),
    step("condemned: abandoned listing", "getdents64", Folders(&["abandoned", "gc"]), 5),
    step("condemned: index delete", "unlinkat", Folders(&["gc", "index"]), 1),
    step("condemned: index delete, not flushed", "fsync", Folders(&["gc", "index"]), 3),
    step("condemned: sessions delete", "unlinkat", Folders(&["gc", "sessions"]), 1),
    step("condemned: sessions delete, not flushed", "fsync", Folders(&["gc", "sessions"]), 3),
];

/// The steps of `repair snapshots --forget`, in its order.
const SNAPSHOTS: &[Step] = &[
    step("sessions put, temporary file whole", "renameat2", Folders(&["sessions"]), 1),
    step("sessions put, named", "fsync", Folders(&["sessions"]), 1),
    step("packs put, temporary file whole", "renameat2", Folders(&["packs"]), 1),
    step("packs put, named", "fsync", Folders(&["packs"]), 1),
    step("index put, temporary file whole", "renameat2", Folders(&["index"]), 1),
    step("index put, named", "fsync", Folders(&["index"]), 1),
    step("snapshots put, temporary file whole", "renameat2", Folders(&["snapshots"]), 1),
    step("committed: snapshots put, named", "fsync", Folders(&["snapshots"]), 1),
    step("committed: abandoned listing", "getdents64", Folders(&["abandoned", "snapshots"]), 5),
    step("committed: sessions delete", "unlinkat", Folders(&["sessions", "snapshots"]), 1),
    step("committed: sessions delete, not flushed", "fsync", Folders(&["sessions", "snapshots"]), 3),
    step(
        "committed: forgotten put, temporary file whole",
        "renameat2",
        Folders(&["forgotten", "snapshots"]),
        2,
    ),
    step("committed: forgotten put, named", "fsync", Folders(&["forgotten", "snapshots"]), 2),
];

/// The steps of `repair --from`, in its order: those of repairing packs, with blobs of the other repository stored before
/// anything is condemned.
const FROM: &[Step] = &[
    step("sessions put, temporary file whole", "renameat2", Folders(&["sessions"]), 1),
    step("sessions put, named", "fsync", Folders(&["sessions"]), 1),
    step("index listing", "getdents64", Folders(&["index"]), 1),
    step("packs listing", "getdents64", Folders(&["packs"]), 101),
    step("packs put, temporary file whole", "renameat2", Folders(&["packs"]), 1),
    step("packs put, named", "fsync", Folders(&["packs"]), 1),
    step("index put, temporary file whole", "renameat2", Folders(&["index"]), 1),
    step("index put, named", "fsync", Folders(&["index"]), 1),
    step("gc put, temporary file whole", "renameat2", Folders(&["gc"]), 1),
    step("condemned: gc put, named", "fsync", Folders(&["gc"]), 1),
    step("condemned: index delete", "unlinkat", Folders(&["gc", "index"]), 1),
    step("condemned: sessions delete", "unlinkat", Folders(&["gc", "sessions"]), 1),
];

/// A night more, and now and then fewer of them, for which the damage has to be repaired first.
fn night(nights: &mut Nights, repair: &[&str]) {
    if nights.live.len() > 4 {
        let outcome = nights.site.run_any(repair);
        assert!(matches!(outcome.code, Some(0 | 3)), "{}", outcome.err());
        nights.note();
        nights.forget_but(2);
        nights.site.run(0, ["prune"]);
    }
    nights.change();
    nights.backup_beside_losses();
}

/// One of the objects of a kind that are whole.
fn one_of(nights: &mut Nights, kind: &str) -> PathBuf {
    let top = nights.site.join("repo").join(kind);
    let mut objects: Vec<PathBuf> =
        nights.site.objects().into_keys().filter(|path| path.starts_with(&top) && is_whole(path)).collect();
    objects.sort();
    let number = nights.rng.below(objects.len() as u64) as usize;
    objects.swap_remove(number)
}

fn is_whole(path: &PathBuf) -> bool {
    let name = blake3::hash(&fs::read(path).unwrap()).to_hex();
    path.file_name().is_some_and(|file| file == name.as_str())
}

/// Flips a bit at a place that is counted from the end.
fn flip(path: &PathBuf, from_end: usize) {
    let mut bytes = fs::read(path).unwrap();
    let place = bytes.len() - from_end;
    bytes[place] ^= 16;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn killing(seed: u64, arguments: &[&'static str], divide: (&'static str, &'static str)) -> Killing {
    Killing { damaged: true, ..Killing::new(seed, arguments, divide) }
}

#[test]
fn a_repair_of_the_index_killed_at_any_step_is_taken_up() {
    if !can_strike("a repair of the index killed at each of its steps") {
        return;
    }
    let mut killing = killing(6, &["repair", "index"], ("index", "named"));
    killing.strike_all(INDEX, |nights| {
        night(nights, &["repair", "index"]);
        flip(&one_of(nights, "index"), 9);
    });
    killing.finish(INDEX);
}

#[test]
fn a_repair_of_packs_killed_at_any_step_is_taken_up() {
    if !can_strike("a repair of packs killed at each of its steps") {
        return;
    }
    let mut killing = killing(7, &["repair", "packs"], ("gc", "condemned"));
    killing.strike_all(PACKS, |nights| {
        night(nights, &["repair", "packs"]);
        // The end of the table: what the pack holds is whole, and the index knows it.
        flip(&one_of(nights, "packs"), 5);
    });
    killing.finish(PACKS);
}

#[test]
fn a_repair_of_snapshots_killed_at_any_step_is_taken_up() {
    if !can_strike("a repair of snapshots killed at each of its steps") {
        return;
    }
    let arguments = ["repair", "snapshots", "--forget"];
    let mut killing = killing(8, &arguments, ("snapshots", "committed"));
    killing.strike_all(SNAPSHOTS, |nights| {
        // Most of what a snapshot holds outlives its night: where little is left, a person has to name it.
        if !nights.site.join("data/stable/large").exists() {
            let bytes = nights.rng.bytes(400_000);
            nights.site.folder.write("data/stable/large", bytes);
            nights.backup_beside_losses();
        }
        night(nights, &arguments);
        // The newest data lie in one pack, and with it goes what the newest snapshot alone needs.
        let newest =
            data_packs(nights).into_iter().max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
        fs::remove_file(newest.expect("there are data")).unwrap();
    });
    killing.finish(SNAPSHOTS);
}

/// The packs of data that are there and named.
fn data_packs(nights: &Nights) -> Vec<PathBuf> {
    let repository = nights.repository();
    let index = Index::build(&ReadObjects::read(&repository).unwrap(), &|_| true).unwrap();
    let data = index.packs().iter().filter(|pack| pack.class == Class::Data).map(|pack| pack.id.to_hex());
    let paths = data.map(|id| nights.site.join("repo/packs").join(&id[..2]).join(&id));
    paths.filter(|path| path.exists()).collect()
}

#[test]
fn a_repair_from_a_copy_killed_at_any_step_is_taken_up() {
    if !can_strike("a repair from a copy killed at each of its steps") {
        return;
    }
    // A few nights lose half of so few packs.
    let arguments = ["repair", "--from", "twin", "--packs-are-damaged"];
    let mut killing = killing(9, &arguments, ("gc", "condemned"));
    killing.strike_all(FROM, |nights| {
        night(nights, &arguments);
        copy(&nights.site);
        fs::remove_file(one_of(nights, "packs")).unwrap();
        let pack = one_of(nights, "packs");
        let length = fs::metadata(&pack).unwrap().len();
        let place = nights.rng.below(length - 1) as usize + 1;
        flip(&pack, place);
    });
    killing.finish(FROM);
}

/// Adds to the copy what it does not have; what it has was whole when it came.
fn copy(site: &Site) {
    let repository = site.join("repo");
    for path in site.objects().into_keys() {
        let to = site.join("twin").join(path.strip_prefix(&repository).unwrap());
        if !to.exists() {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&path, &to).unwrap();
        }
    }
}
