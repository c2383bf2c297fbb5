//! The clock and the host's name: the one place that asks the system for either.
//!
//! No safety depends on either; both are shown to people.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::format::node::Timestamp;

/// Now, by this host's clock.
pub fn now() -> Timestamp {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: since.subsec_nanos(),
        },
        Err(_) => Timestamp::default(),
    }
}

/// This host's name.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
