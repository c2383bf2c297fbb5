//! How many files this process may hold open.
//!
//! Entries on their way through the pipeline hold the folder they were found in; with 30,000 folders of one
//! file each, the usual 1,024 handles are few.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than this many handles are never needed, and programs started by this one inherit the number: some
/// of them try to close every handle up to it, which takes minutes where it is a thousand million.
const ENOUGH: u64 = 65_536;

/// Raises the number of files that may be open at once to what the system allows, and says what is in force.
pub fn raise_open_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(ENOUGH);
    if current >= wanted {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }) {
        Ok(()) => wanted,
        Err(_) => current,
    }
}
