//! The targets of `fuzz/`, run as ordinary tests: over the vectors, and over seeded mutations of them.
//!
//! What libFuzzer finds in hours is not found here; what breaks a decoder for its simplest inputs is, in every run of the
//! tests and without another build.

mod corpus;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::forge::hex;
use crate::support::{Rng, long};
use corpus::{Corpus, corpus};
use targets::{Cost, TARGETS, Target};

/// Longest input that a mutation makes.
const LONGEST: usize = 64 << 10;

/// Values at the borders of fields.
const BORDERS: [u8; 9] = [0, 1, 2, 0x17, 0x18, 0x7f, 0x80, 0xfe, 0xff];

/// How many mutations a target gets in all.
fn mutations(cost: Cost) -> u64 {
    let times = if long() { 20 } else { 1 };
    times
        * match cost {
            Cost::Low => 10_000,
            Cost::Middle => 1000,
            Cost::High => 20,
        }
}

/// Runs a target; one that fails tells its input, to be run by libFuzzer as well.
fn attempt(target: &Target, bytes: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)));
    if let Err(panic) = outcome {
        eprintln!("the target {} fails for {}", target.name, hex(bytes));
        resume_unwind(panic);
    }
}

/// Changes a seed in a few places.
fn mutated(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = rng.pick(seeds).clone();
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let length = (rng.below(8) as usize + 1).min(bytes.len() - at);
        match rng.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..at + length)),
            2 => {
                let count = rng.below(16) as usize;
                let inserted = rng.bytes(count);
                bytes.splice(at..at, inserted);
            }
            3 => {
                let copied = bytes[at..at + length].to_vec();
                bytes.splice(at..at, copied);
            }
            4 => {
                let other = rng.pick(seeds);
                let from = rng.below(other.len() as u64 + 1) as usize;
                bytes.splice(at.., other[from..].iter().copied());
            }
            5 => bytes[at..at + length].fill(*rng.pick(&BORDERS)),
            _ if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            _ => bytes.push(*rng.pick(&BORDERS)),
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

fn hold(target: &Target, seeds: &Corpus, number: u64) {
    let seeds = seeds.get(target.name).unwrap_or_else(|| panic!("{} has no seed", target.name));
    attempt(target, b"");
    targets::take_accepted();
    seeds.iter().for_each(|seed| attempt(target, seed));
    assert!(targets::take_accepted(), "{} refuses all of its seeds", target.name);
    let mut rng = Rng::new(0xf0_22ed ^ number << 32);
    for _ in 0..mutations(target.cost) {
        attempt(target, &mutated(&mut rng, seeds));
    }
}

/// One share of the targets, so that several are at work at once.
fn hold_share(share: usize) {
    let seeds = corpus();
    for (number, target) in TARGETS.iter().enumerate().filter(|(number, _)| number % 4 == share) {
        hold(target, &seeds, number as u64);
    }
}

#[test]
fn decoders_keep_their_promises_for_mutated_vectors_1() {
    hold_share(0);
}

#[test]
fn decoders_keep_their_promises_for_mutated_vectors_2() {
    hold_share(1);
}

#[test]
fn decoders_keep_their_promises_for_mutated_vectors_3() {
    hold_share(2);
}

#[test]
fn decoders_keep_their_promises_for_mutated_vectors_4() {
    hold_share(3);
}

#[test]
fn every_target_has_seeds_and_each_seed_a_target() {
    let seeds = corpus();
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert!(names.iter().all(|name| seeds.get(name).is_some_and(|seeds| !seeds.is_empty())), "{names:?}");
    assert!(seeds.keys().all(|name| names.contains(name)));
}
