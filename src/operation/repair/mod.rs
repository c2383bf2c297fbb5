//! Repair: making good what was lost or damaged, from what the repository itself holds or from another one, and making the
//! best of what is lost for good.
//!
//! Invariant: repair only adds. What it replaces it removes last, and only once what takes its place was seen in a
//! listing; a damaged pack it does not remove at all, but condemns, so that a prune removes it by its protocol.

mod buried;
mod damage;
pub mod from;
pub mod index;
pub mod packs;
pub mod snapshots;
