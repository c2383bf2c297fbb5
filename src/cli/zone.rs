//! The time zone in which days begin.

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::output::Output;
use crate::error::{Error, Result};
use crate::report::printable;

/// The zone named, or the system's; UTC, with a warning, where the system says none.
pub(super) fn choose(name: Option<&str>, output: &Output) -> Result<TimeZone> {
    if let Some(name) = name {
        return find(name).ok_or_else(|| {
            Error::refused(format!("there is no time zone {}", printable(name.as_bytes())))
                .hint("give a name such as Europe/Berlin or UTC")
        });
    }
    match TimeZone::try_system() {
        Ok(zone) if !zone.is_unknown() => Ok(zone),
        _ => {
            output.warn(
                "the system names no time zone, so days begin as in UTC",
                Some("name one by --timezone"),
            );
            Ok(TimeZone::UTC)
        }
    }
}

/// The system's own data come first, for they are kept up to date; what they lack is in the program.
fn find(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).or_else(|_| TimeZoneDatabase::bundled().get(name)).ok()
}

/// A zone's name for a person.
pub(super) fn name(zone: &TimeZone) -> String {
    zone.iana_name().map_or_else(|| "the system's time zone".to_owned(), str::to_owned)
}
