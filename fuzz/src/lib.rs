//! The targets and the seeds of the suite (`tests/suite/fuzzed/`), for libFuzzer: `fuzz/run` builds and starts them.
#![allow(dead_code, reason = "the suite uses what this does not")]

#[path = "../../tests/suite/fuzzed/corpus/mod.rs"]
mod corpus;
#[path = "../../tests/suite/fuzzed/targets/mod.rs"]
mod targets;

/// The names of all targets.
pub fn names() -> Vec<&'static str> {
    targets::TARGETS.iter().map(|target| target.name).collect()
}

/// The target of this name.
pub fn named(name: &str) -> Option<fn(&[u8])> {
    targets::TARGETS.iter().find(|target| target.name == name).map(|target| target.run)
}

/// The seeds of a target.
pub fn seeds() -> impl Iterator<Item = (&'static str, Vec<Vec<u8>>)> {
    corpus::corpus().into_iter()
}
