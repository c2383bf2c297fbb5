//! The repository layer on a store in memory: keys, storing, reading, the protocol, trees.

mod cached;
mod kept;
mod key_slots;
mod memory;
mod protocol;
mod reading;
mod roles;
mod storing;
pub(crate) mod support;
mod trees;
