//! Looking into a snapshot piece by piece: the entries of one folder, what its folders hold in all, the beginning of a
//! file.
//!
//! Invariants: nothing is stored and nothing is written. What is lost is named, and the rest is there all the same.
//! Memory is bounded whatever a snapshot holds.

mod entries;
mod folder;
mod head;

#[cfg(test)]
mod tests;

pub use entries::{Entries, Entry};
pub use folder::{Found, Page, Summed, folder, sizes};
pub use head::head;
