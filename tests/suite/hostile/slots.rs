//! Key slots: what they ask of whoever opens a repository, and how many there are.

use super::objects::{all_works, good};
use super::scene::{Scene, limited};
use super::{begun, full};
use crate::forge::cbor::Cbor;
use crate::forge::{Forge, Holder, Slot, hash, keys};
use crate::support::{long, strongroom};

/// A slot that asks this of Argon2id, and opens for nobody.
fn costly(forge: &mut Forge, number: u32, cost: [u64; 3]) {
    let slot = Slot {
        holder: Holder::Password(format!("password {number}"), [8, 1, 1]),
        secret: hash(&number.to_le_bytes()),
        ..full()
    };
    let mut parts = forge.slot_parts(&slot);
    parts.lock.at(1).items()[1] = Cbor::Array(cost.map(Cbor::Unsigned).into());
    let bytes = forge.slot_bytes(&parts);
    forge.put_hashed("keys", bytes);
}

fn by_password(password: &str) -> Slot {
    Slot { holder: Holder::Password(password.to_owned(), [64, 1, 1]), secret: [99; 32], ..full() }
}

#[test]
fn slots_beyond_the_limits_are_refused_before_anything_is_spent_on_them() {
    let mut forge = begun();
    for (number, cost) in [
        [64 << 20, 1, 1],
        [(1 << 20) + 1, 1, 1],
        [u64::from(u32::MAX), 1, 1],
        [u64::MAX, 1, 1],
        [8, 1 << 32, 1],
        [8, u64::from(u32::MAX), 1],
        [8, 17, 1],
        [8, 1, u64::from(u32::MAX)],
        [8, 0, 1],
        [0, 1, 1],
        [8, 1, 0],
        [7, 1, 1],
    ]
    .into_iter()
    .enumerate()
    {
        costly(&mut forge, number as u32, cost);
    }
    forge.add_slot(&by_password("right"));
    let top = good(&mut forge);
    let scene = Scene::new(forge, top);
    scene.folder.write("password", "right\n");
    scene.folder.write("wrong", "wrong\n");
    // Someone looks at the slots, and says which are at fault.
    all_works(&scene, &[("check", 1), ("check-data", 1)]);
    scene.forge.write_to(&scene.folder.join("repo"));
    for (file, code) in [("password", 0), ("wrong", 12)] {
        let mut listed = strongroom(&scene.folder);
        listed.args(["-r", "repo", "--password-file", file, "snapshots"]);
        limited(&mut listed).expect_code(code);
    }
}

#[test]
fn slots_that_cost_much_come_after_those_that_cost_little() {
    let mut forge = begun();
    // Each is allowed, and all of them together take more than an hour.
    for number in 0..300 {
        costly(&mut forge, number, [1 << 20, 16, 1]);
    }
    forge.add_slot(&by_password("right"));
    let top = good(&mut forge);
    let scene = Scene::new(forge, top);
    scene.folder.write("password", "right\n");
    scene.forge.write_to(&scene.folder.join("repo"));
    let mut listed = strongroom(&scene.folder);
    listed.args(["-r", "repo", "--password-file", "password", "snapshots"]);
    limited(&mut listed).expect_code(0);
}

#[test]
fn more_slots_than_are_looked_at_are_named() {
    let mut forge = begun();
    for number in 0..if long() { 1_000_000u32 } else { 20_000 } {
        forge.put("keys", &hash(&number.to_le_bytes()), b"junk".to_vec());
    }
    let top = good(&mut forge);
    let scene = Scene::new(forge, top);
    scene.forge.write_to(&scene.folder.join("repo"));
    scene.folder.write("strange.key", keys::key_file(&[77; 32]));
    let command = |key: &str, words: &[&str]| {
        let mut program = strongroom(&scene.folder);
        program.args(["-r", "repo", "--key-file", key]).args(words);
        limited(&mut program)
    };
    // The right one is found, or it is said that there are more than anybody looks at.
    for key in ["full.key", "strange.key"] {
        let outcome = command(key, &["snapshots"]);
        if outcome.code != Some(0) {
            assert_eq!(outcome.code, Some(12), "{}", outcome.err());
            assert!(outcome.err().contains("1,024"), "{}", outcome.err());
        }
        println!("{key}: {:?} {}", outcome.code, outcome.err());
        if key == "strange.key" {
            assert_eq!(outcome.code, Some(12), "{}", outcome.err());
        }
    }
}
