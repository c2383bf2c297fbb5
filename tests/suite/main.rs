//! The integration tests: one executable, one module for each theme, so that they link once.
//!
//! They drive the library through its public functions and the built executable through its command line.
//! `tests/run` starts them; `cargo test --test suite THEME` runs one theme.
#![allow(
    clippy::pedantic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a test stops at the first surprise, and its name says what it shows"
)]

mod architecture;
mod authentik;
mod backup_options;
mod bad_sectors;
mod benches;
mod beside;
mod browse;
mod caches;
mod checking;
mod configuration;
mod copying;
mod damage;
mod demo;
mod diffing;
mod dumped;
mod dumped_nights;
mod dumping;
mod durability;
mod faults;
mod finding;
mod folders;
mod forge;
mod forget;
mod fuzzed;
mod hostile;
mod interrupted;
mod key_changes;
mod keys;
mod killed;
mod large_index;
mod messages;
mod model;
mod mysql;
mod nights;
mod output;
mod postgres;
mod power;
mod pruning;
mod random_databases;
mod random_trees;
mod recovery;
mod redis;
mod repairing;
mod restoring;
mod rewriting;
mod running;
mod sample_vault;
mod scale;
mod second_reader;
mod seeds;
mod servers;
mod services;
mod serving;
mod shells;
mod signals;
mod simulation;
mod site;
mod spec;
mod sqlite;
mod starved;
mod stats;
mod status;
mod stopped;
mod stores;
mod streams;
mod strikes;
mod support;
mod traced;
mod undumped;
mod unreadable;
mod vaultwarden;
mod vaultwarden_restore;
mod vectors;
