//! The times in Vaultwarden's SQLite database: text in UTC, such as `2024-05-13 14:11:33.691032341`.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::format::node::Timestamp;

/// Seconds since the Unix epoch, rounded down; nothing if the text is no such time.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let civil: DateTime = text.trim().parse().ok()?;
    TimeZone::UTC.to_timestamp(civil).ok().map(jiff::Timestamp::as_second)
}

/// A time as the server writes it.
pub(super) fn text(time: Timestamp) -> Option<String> {
    let instant = jiff::Timestamp::new(time.seconds, i32::try_from(time.nanoseconds).ok()?).ok()?;
    Some(instant.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S%.9f").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let written = text(Timestamp { seconds: 1_714_564_800, nanoseconds: 123 }).unwrap();
        assert_eq!(written, "2024-05-01 12:00:00.000000123");
        assert_eq!(seconds(&written), Some(1_714_564_800));
    }

    #[test]
    fn times_with_and_without_fractions() {
        assert_eq!(seconds("2024-05-01 12:00:00.123456789"), Some(1_714_564_800));
        assert_eq!(seconds("2024-05-01 12:00:00"), Some(1_714_564_800));
        assert_eq!(seconds("2024-05-01T12:00:00.5"), Some(1_714_564_800));
        assert_eq!(seconds("1970-01-01 00:00:00"), Some(0));
    }

    #[test]
    fn what_is_no_time_is_nothing() {
        for text in ["", "now", "2024-13-01 00:00:00", "2024-05-01 25:00:00", "\u{0}", "99999999999999"] {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }
}
