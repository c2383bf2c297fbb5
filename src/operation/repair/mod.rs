//! Repair: making the best of a repository that lost something.

pub mod snapshots;
