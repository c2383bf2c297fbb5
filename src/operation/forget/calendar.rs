//! Hours, days, weeks, months, quarters and years, as a clock on the wall of a time zone shows them.
//!
//! Invariant: an hour that a change of the clock brings twice is two hours; a day is a day, whether it has 23, 24 or
//! 25 hours.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};

use crate::format::node::Timestamp;

/// A stretch of the calendar in which a rule keeps one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week as ISO 8601 has it, from Monday on.
    Week,
    /// A month.
    Month,
    /// A quarter of a year.
    Quarter,
    /// A year.
    Year,
}

impl Period {
    /// Every period, the shortest first.
    pub const ALL: [Self; 6] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Quarter, Self::Year];

    /// What a rule for it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Quarter => "quarterly",
            Self::Year => "yearly",
        }
    }
}

/// A point in time, and the place that it has in the calendar of a zone.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// The point in time.
    pub(super) zoned: Zoned,
    /// The stretches that it lies in, in the order of [`Period::ALL`]; equal numbers are the same stretch.
    stretches: [i64; 6],
}

impl Moment {
    pub(super) fn new(time: Timestamp, zone: &TimeZone) -> Self {
        let nanoseconds = i32::try_from(time.nanoseconds).unwrap_or(0);
        // What no calendar reaches is its first or last moment.
        let edge = if time.seconds < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        let zoned = jiff::Timestamp::new(time.seconds, nanoseconds).unwrap_or(edge).to_zoned(zone.clone());
        let (date, week) = (zoned.date(), zoned.date().iso_week_date());
        let [year, month, day] = [date.year().into(), date.month().into(), day_number(date)];
        // The offset tells the two hours apart that have one name.
        let hour = joined(joined(day, zoned.hour().into(), 24), zoned.offset().seconds().into(), 1 << 20);
        let stretches = [
            hour,
            day,
            joined(week.year().into(), week.week().into(), 64),
            joined(year, month, 16),
            joined(year, month.saturating_add(2) / 3, 8),
            year,
        ];
        Self { zoned, stretches }
    }

    /// The stretch that it lies in.
    pub(super) fn stretch(&self, period: Period) -> i64 {
        let [hour, day, week, month, quarter, year] = self.stretches;
        match period {
            Period::Hour => hour,
            Period::Day => day,
            Period::Week => week,
            Period::Month => month,
            Period::Quarter => quarter,
            Period::Year => year,
        }
    }
}

/// Days since the first of January 1970.
fn day_number(date: Date) -> i64 {
    let epoch = Date::constant(1970, 1, 1);
    epoch.until(date).map_or(0, |span| span.get_days().into())
}

/// Two numbers in one; `within` is more than the second ever is.
fn joined(first: i64, second: i64, within: i64) -> i64 {
    first.saturating_mul(within).saturating_add(second)
}

/// How far back a rule reaches: calendar units and hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Years.
    pub years: u32,
    /// Months.
    pub months: u32,
    /// Weeks.
    pub weeks: u32,
    /// Days.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

impl Reach {
    /// Reads a text such as `1y5m7d2h`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut reach = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.find(|character: char| !character.is_ascii_digit())?;
            let number: u32 = rest.get(..digits)?.parse().ok()?;
            let mut units = rest.get(digits..)?.chars();
            let unit = match units.next()? {
                'y' => &mut reach.years,
                'm' => &mut reach.months,
                'w' => &mut reach.weeks,
                'd' => &mut reach.days,
                'h' => &mut reach.hours,
                _ => return None,
            };
            *unit = unit.checked_add(number)?;
            rest = units.as_str();
        }
        (reach != Self::default()).then_some(reach)
    }

    /// The moment that lies so far before another; none where the calendar does not reach back so far.
    pub fn before(&self, moment: &Zoned) -> Option<Zoned> {
        let calendar = Span::new()
            .try_years(self.years)
            .and_then(|span| span.try_months(self.months))
            .and_then(|span| span.try_weeks(self.weeks))
            .and_then(|span| span.try_days(self.days))
            .ok()?;
        // Days by the calendar first, then hours by the clock, so that "1d2h" is the same on a day of 23 hours.
        let day = moment.checked_sub(calendar).ok()?;
        day.checked_sub(Span::new().try_hours(self.hours).ok()?).ok()
    }
}

impl std::fmt::Display for Reach {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts =
            [(self.years, 'y'), (self.months, 'm'), (self.weeks, 'w'), (self.days, 'd'), (self.hours, 'h')];
        parts
            .iter()
            .filter(|(number, _)| *number > 0)
            .try_for_each(|(number, unit)| write!(formatter, "{number}{unit}"))
    }
}
