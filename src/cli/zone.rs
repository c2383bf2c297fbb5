//! The time zone in which days begin.

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::output::Output;
use crate::report::printable;

/// Reads the name of a zone, for clap. The system's own data come first, for they are kept up to date; what they lack is
/// in the program.
pub(super) fn parse(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).or_else(|_| TimeZoneDatabase::bundled().get(name)).map_err(|_| {
        format!(
            "there is no time zone {}; give a name such as Europe/Berlin or UTC",
            printable(name.as_bytes())
        )
    })
}

/// The system's zone; UTC, with a warning, where the system says none.
pub(super) fn of_system(output: &Output) -> TimeZone {
    match TimeZone::try_system() {
        Ok(zone) if !zone.is_unknown() => zone,
        _ => {
            output.warn(
                "the system names no time zone, so days begin as in UTC",
                Some("name one by --timezone"),
            );
            TimeZone::UTC
        }
    }
}

/// A zone's name for a person.
pub(super) fn name(zone: &TimeZone) -> String {
    zone.iana_name().map_or_else(|| "the system's time zone".to_owned(), str::to_owned)
}
