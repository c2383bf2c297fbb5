//! Files: walks folders of the host and says what stands where in a snapshot.
//!
//! A [`Plan`] says which host path appears at which place, [`Excludes`] what to pass over, and [`walk`] visits
//! the rest in the order of [`crate::format::path::compare`]. An [`Entry`] can be opened later, by a handle on
//! the folder it was found in, so that no link put in the way leads elsewhere.
//!
//! Invariant: nothing is passed over in silence. What cannot be read, vanished or is not as expected goes to
//! the reporter as a problem and never stops the walk.

mod attributes;
mod entry;
mod examine;
mod exclude;
mod folder;
mod glob;
mod holes;
mod limits;
mod metadata;
mod pattern;
mod plan;
mod problems;
mod stack;
mod walk;
mod wanted;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use entry::Entry;
pub use exclude::{ExcludeOptions, Excludes, Marker, check_pattern};
pub use glob::{Expanded, expand};
pub use holes::holes;
pub use limits::raise_open_file_limit;
pub use metadata::{Stamp, deleted_unchanged, kind_of, stat_file};
pub use plan::{Plan, absolute};
pub use walk::{WalkSummary, walk};
pub use wanted::PathPatterns;
