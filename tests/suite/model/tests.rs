//! The searches themselves: every configuration keeps the rules, every mutation breaks one.
//!
//! `cargo test --test suite model -- --nocapture` prints how much was searched, and what each mutation leads to.

use std::collections::BTreeSet;
use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Path};

use super::configurations::{LONG, OVERTAKEN, SHORT};
use super::mutations::Mutation;
use super::properties::READING;
use super::state::State;
use super::{Action, Model, Protocol};

/// As many as the machines that run the tests have cores, at the least.
const THREADS: usize = 2;

/// The calls that lead to a state, one a line.
fn trace(path: Path<State, Action>) -> String {
    path.into_actions().iter().map(|action| format!("\n    {action:?}")).collect()
}

/// Searches a configuration whole: the rules hold in every state, and everything happens that is worth a rule.
fn search(protocol: Protocol) {
    let (name, begun) = (protocol.name, Instant::now());
    let checker =
        protocol.checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{name}: {states} states, {depth} calls deep, {:.1} s", begun.elapsed().as_secs_f64());
    let mut found = checker.discoveries();
    for property in checker.model().properties() {
        let path = found.remove(property.name);
        match (property.expectation, path) {
            (Expectation::Always, Some(path)) => {
                panic!("{name}: broken: {} by{}", property.name, trace(path))
            }
            (Expectation::Sometimes, None) => panic!("{name}: never seen: {}", property.name),
            _ => {}
        }
    }
    assert!(checker.is_done());
}

/// Searches for the shortest way to break a rule, and returns how many calls it takes.
fn break_rule(protocol: Protocol, rule: &'static str) -> Option<usize> {
    let until = HasDiscoveries::AllOf(BTreeSet::from([rule]));
    let checker = protocol.checker().threads(THREADS).finish_when(until).spawn_bfs().join();
    checker.discovery(rule).map(|path| path.into_actions().len())
}

#[test]
fn the_rules_hold_in_every_state_that_can_be_reached() {
    SHORT.into_iter().for_each(search);
}

#[test]
fn the_rules_hold_with_more_of_everything() {
    if crate::support::long() {
        LONG.into_iter().for_each(search);
    } else {
        println!("left to --long: {}", LONG.map(|protocol| protocol.name).join("; "));
    }
}

/// What the model found and no rule mends: a loss is only ever reported, and the next reader finds the chunk.
#[test]
fn a_reader_errs_only_where_two_prunes_overtake_its_two_listings() {
    assert!(break_rule(OVERTAKEN, READING).is_some(), "say in configurations.rs that it is mended");
}

#[test]
fn every_mutation_breaks_a_rule() {
    println!("{:<30} {:<36} {:>5}  rule broken", "mutation", "configuration", "calls");
    let mut harmless = Vec::new();
    for (place, mutation) in Mutation::ALL.into_iter().enumerate() {
        assert_eq!(mutation as usize, place + 1, "{mutation:?} is out of place, or another is missing");
        let (protocol, rule) = mutation.caught();
        let name = protocol.name;
        match break_rule(protocol, rule) {
            Some(calls) => println!("{:<30} {name:<36} {calls:>5}  {rule}", format!("{mutation:?}")),
            None => harmless.push(mutation),
        }
    }
    assert!(harmless.is_empty(), "these break no rule where they should: {harmless:?}");
}
