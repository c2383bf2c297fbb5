//! Bytes and structs: one file per chapter of `format-spec/`.
//!
//! Invariant: nothing here reads, writes, hashes or seals; it only encodes and decodes. Decoders take bytes
//! from a store that may be damaged or hostile, and answer with an error, never a panic.

#![deny(clippy::arithmetic_side_effects)]

pub mod blob;
pub(crate) mod bytes;
pub mod cbor;
pub mod config;
pub mod header;
pub mod index;
pub mod key_slot;
pub mod list;
pub mod marks;
pub mod node;
pub mod pack;
pub mod path;
pub mod snapshot;
pub mod tree;

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "in a test a failed step is a failed test")]
pub(crate) mod tests;
