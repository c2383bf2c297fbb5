//! Names for what is put aside before something else takes its place.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use jiff::tz::TimeZone;

use crate::repository::host;

/// Now, as part of a file name, in UTC: `2026-11-21T190500Z`.
pub(super) fn time() -> String {
    let instant = jiff::Timestamp::from_second(host::now().seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    instant.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H%M%SZ").to_string()
}

/// A path of a snapshot, below a folder of this computer.
pub(super) fn path_of(place: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(place))
}
