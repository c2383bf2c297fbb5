//! Times as they are typed.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::format::node::Timestamp;
use crate::operation::forget::Reach;
use crate::repository::host;

/// A time where the reader lives, or one with its offset from UTC.
fn parse(text: &str) -> Option<Timestamp> {
    let civil = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::system()).ok();
    let time = text.parse::<jiff::Timestamp>().ok().or_else(|| civil().map(|zoned| zoned.timestamp()))?;
    stamp(time)
}

fn stamp(time: jiff::Timestamp) -> Option<Timestamp> {
    Some(Timestamp { seconds: time.as_second(), nanoseconds: u32::try_from(time.subsec_nanosecond()).ok()? })
}

/// A time that is not still to come.
pub(super) fn parse_past(text: &str) -> Result<Timestamp, String> {
    let time =
        parse(text).ok_or_else(|| "give a time such as 2026-11-21 or \"2026-11-21 03:15:00\"".to_owned())?;
    if time > host::now() { Err("this time is still to come".to_owned()) } else { Ok(time) }
}

/// A time, or how long ago it was, such as `7d`.
pub(super) fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let ago = || {
        let now = jiff::Timestamp::new(host::now().seconds, 0).ok()?.to_zoned(TimeZone::system());
        stamp(Reach::parse(text)?.before(&now)?.timestamp())
    };
    parse(text).or_else(ago).ok_or_else(|| {
        "give a time such as 2026-11-21 or \"2026-11-21 03:15:00\", or how long ago it was, such as 7d or 1y6m"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_time_is_a_date_or_an_age() {
        let at = |seconds| Ok(Timestamp { seconds, nanoseconds: 0 });
        assert_eq!(parse_moment("2026-11-21T03:15:00Z"), at(1_795_230_900));
        assert_eq!(parse_moment("1969-12-31T23:59:59.5Z").map(|time| time.nanoseconds), Err(TOLD.to_owned()));
        assert!(parse_moment("2026-11-21 03:15:00").is_ok() && parse_moment("2026-11-21").is_ok());
        let (week, day) = (parse_moment("1w").unwrap(), parse_moment("1d2h").unwrap());
        assert!(week < day && day < host::now() && week > parse_moment("1m").unwrap());
        for bad in ["", "7", "yesterday", "2026-13-01", "99999y"] {
            assert_eq!(parse_moment(bad), Err(TOLD.to_owned()), "{bad}");
        }
        assert!(parse_past("2000-01-01").is_ok() && parse_past("7d").is_err());
        assert!(parse_past("9000-01-01").unwrap_err().contains("to come"));
    }

    const TOLD: &str = "give a time such as 2026-11-21 or \"2026-11-21 03:15:00\", or how long ago it was, such as 7d \
                        or 1y6m";
}
