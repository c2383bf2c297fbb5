//! The rules against a model that looks at every pair, and the days on which clocks are changed.

use jiff::Zoned;
use jiff::tz::TimeZone;

use super::{pick, seconds, zone};
use crate::format::node::Timestamp;
use crate::format::tests::{Random, each_seed};
use crate::operation::forget::calendar::Moment;
use crate::operation::forget::{Amount, Period, Policy, Reach, Rule};

const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"];

/// A period's name, by what a calendar prints; an hour that occurs twice has two offsets.
fn label(period: Period, at: &Zoned) -> String {
    match period {
        Period::Hour => at.strftime("%Y-%m-%d %H %z").to_string(),
        Period::Day => at.strftime("%Y-%m-%d").to_string(),
        Period::Week => at.strftime("%G week %V").to_string(),
        Period::Month => at.strftime("%Y-%m").to_string(),
        Period::Quarter => {
            let quarter = ["Q1", "Q2", "Q3", "Q4"][usize::from(at.month().unsigned_abs() - 1) / 3];
            format!("{} {quarter}", at.year())
        }
        Period::Year => at.year().to_string(),
    }
}

/// The edge of a rule that reaches back: the date counted back field by field, at the same time of day, less hours.
fn edge(reach: &Reach, newest: &Zoned) -> Option<Zoned> {
    let months = i64::from(reach.years) * 12 + i64::from(reach.months);
    let first = newest.date().first_of_month().checked_sub(jiff::Span::new().months(months)).ok()?;
    let day = newest.date().day().min(first.days_in_month());
    let date = jiff::civil::date(first.year(), first.month(), day);
    let days = i64::from(reach.weeks) * 7 + i64::from(reach.days);
    let date = date.checked_sub(jiff::Span::new().days(days)).ok()?;
    let at = date.to_datetime(newest.time()).to_zoned(newest.time_zone().clone()).ok()?;
    at.checked_sub(jiff::SignedDuration::from_hours(i64::from(reach.hours))).ok()
}

/// Which rules keep the snapshot at a place, the newest first: no state, every other snapshot is looked at.
fn naive(policy: &Policy, row: &[(Zoned, Vec<String>)], place: usize) -> Vec<Rule> {
    let (at, tags) = &row[place];
    let covers = |amount: Amount, number: u64| match amount {
        Amount::Unlimited => true,
        Amount::Number(all) => number <= all,
    };
    let mut rules = Vec::new();
    if policy.last.is_some_and(|amount| covers(amount, place as u64 + 1)) {
        rules.push(Rule::Last(place as u64 + 1));
    }
    let after = |reach: &Reach| edge(reach, &row[0].0).is_none_or(|edge| *at > edge);
    rules.extend(policy.within.filter(after).map(Rule::Within));
    for (period, amount) in &policy.periods {
        let newer: std::collections::BTreeSet<String> =
            row[..place].iter().map(|(at, _)| label(*period, at)).collect();
        let number = newer.len() as u64 + 1;
        if !covers(*amount, number) {
            continue;
        }
        if !newer.contains(&label(*period, at)) {
            rules.push(Rule::Period(*period, number));
        } else if place + 1 == row.len() {
            rules.push(Rule::Oldest(*period));
        }
    }
    for (period, reach) in &policy.periods_within {
        let first = row[..place].iter().all(|(other, _)| label(*period, other) != label(*period, at));
        if first && after(reach) {
            rules.push(Rule::PeriodWithin(*period, *reach));
        }
    }
    rules.extend(
        policy.tags.iter().find(|list| list.iter().all(|tag| tags.contains(tag))).cloned().map(Rule::Tags),
    );
    rules
}

pub(super) fn random_amount(random: &mut Random) -> Amount {
    if random.below(8) == 0 { Amount::Unlimited } else { Amount::Number(random.below(12) as u64 + 1) }
}

fn random_reach(random: &mut Random) -> Reach {
    let mut part = |most: usize| if random.below(2) == 0 { 0 } else { random.below(most) as u32 };
    let reach = Reach { years: part(3), months: part(14), weeks: part(3), days: part(40), hours: part(50) };
    if reach == Reach::default() { Reach { days: 7, ..reach } } else { reach }
}

/// Some rules, often several.
pub(super) fn random_policy(random: &mut Random) -> Policy {
    let mut policy = Policy::default();
    while policy.is_empty() {
        for period in Period::ALL {
            if random.below(3) == 0 {
                policy.periods.push((period, random_amount(random)));
            }
            if random.below(8) == 0 {
                policy.periods_within.push((period, random_reach(random)));
            }
        }
        policy.last = (random.below(3) == 0).then(|| random_amount(random));
        policy.within = (random.below(4) == 0).then(|| random_reach(random));
        if random.below(5) == 0 {
            policy.tags.push(vec!["keep".to_owned()]);
        }
    }
    policy
}

#[test]
fn the_rules_keep_what_a_naive_model_keeps() {
    each_seed(|seed| {
        let mut random = Random::new(seed);
        let name: &&str = pick(&mut random, &ZONES);
        let zone = zone(name);
        // Around changes of the clock, of months, and of years; from minutes to months apart.
        let starts = [
            "2024-10-27T00:10",
            "2025-04-06T01:00",
            "2026-03-29T02:30",
            "2025-12-29T23:00",
            "2024-02-28T12:00",
        ];
        let start: &&str = pick(&mut random, &starts);
        let mut at = seconds(start, &zone);
        let scale = *pick(&mut random, &[900, 3600, 40_000, 200_000, 3_000_000]);
        let mut row: Vec<(Moment, Vec<String>)> = Vec::new();
        for _ in 0..=random.below(60) {
            let tags = if random.below(6) == 0 { vec!["keep".to_owned()] } else { Vec::new() };
            row.insert(0, (Moment::new(Timestamp { seconds: at, nanoseconds: 0 }, &zone), tags));
            at += random.below(scale) as i64;
        }
        let policy = random_policy(&mut random);
        let borrowed: Vec<(&Moment, &[String])> =
            row.iter().map(|(moment, tags)| (moment, tags.as_slice())).collect();
        let kept = policy.apply(&borrowed);
        let plain: Vec<(Zoned, Vec<String>)> =
            row.iter().map(|(moment, tags)| (moment.zoned.clone(), tags.clone())).collect();
        for (place, rules) in kept.iter().enumerate() {
            assert_eq!(
                *rules,
                naive(&policy, &plain, place),
                "place {place} of {} under {policy:?}",
                row.len()
            );
        }
        // The fewer there are, the more of them are kept.
        let fewer: Vec<usize> = (0..row.len()).filter(|_| random.below(3) > 0).collect();
        let rest: Vec<(&Moment, &[String])> = fewer.iter().map(|place| borrowed[*place]).collect();
        for (place, rules) in fewer.iter().zip(policy.apply(&rest)) {
            assert!(kept[*place].is_empty() || !rules.is_empty(), "place {place} under {policy:?}");
        }
    });
}

fn stretches(zone: &TimeZone, period: Period, texts: &[&str]) -> Vec<i64> {
    texts
        .iter()
        .map(|text| {
            let at: jiff::Timestamp = text.parse().unwrap();
            Moment::new(Timestamp { seconds: at.as_second(), nanoseconds: 0 }, zone).stretch(period)
        })
        .collect()
}

#[test]
fn an_hour_that_occurs_twice_is_two_and_a_day_is_one() {
    let berlin = zone("Europe/Berlin");
    // 2:30 in summer, 2:30 in winter, 3:00.
    let hours = stretches(
        &berlin,
        Period::Hour,
        &["2024-10-27T00:30:00Z", "2024-10-27T01:30:00Z", "2024-10-27T02:00:00Z"],
    );
    assert!(hours[0] != hours[1] && hours[1] != hours[2]);
    // The first and the last minute of 25 hours, and of 23, and the minutes beside them.
    let long = stretches(
        &berlin,
        Period::Day,
        &["2024-10-26T21:59:00Z", "2024-10-26T22:00:00Z", "2024-10-27T22:59:00Z", "2024-10-27T23:00:00Z"],
    );
    assert_eq!([long[1] - long[0], long[2] - long[1], long[3] - long[2]], [1, 0, 1]);
    let short = stretches(
        &berlin,
        Period::Day,
        &["2026-03-28T22:59:00Z", "2026-03-28T23:00:00Z", "2026-03-29T21:59:00Z", "2026-03-29T22:00:00Z"],
    );
    assert_eq!([short[1] - short[0], short[2] - short[1], short[3] - short[2]], [1, 0, 1]);
    // Lord Howe turns its clock by half an hour: 1:45 in summer, 1:45 in winter half an hour later.
    let island = zone("Australia/Lord_Howe");
    let halves = stretches(
        &island,
        Period::Hour,
        &["2025-04-05T14:45:00Z", "2025-04-05T15:15:00Z", "2025-04-05T15:30:00Z"],
    );
    assert!(halves[0] != halves[1] && halves[1] != halves[2]);
    // The year of a week is not always the year of its days.
    let weeks = stretches(
        &TimeZone::UTC,
        Period::Week,
        &["2025-12-28T12:00:00Z", "2025-12-29T12:00:00Z", "2026-01-04T12:00:00Z", "2026-01-05T12:00:00Z"],
    );
    assert!(weeks[0] != weeks[1] && weeks[1] == weeks[2] && weeks[2] != weeks[3]);
}

#[test]
fn durations_are_read_and_counted_by_the_calendar() {
    let berlin = zone("Europe/Berlin");
    let before = |text: &str, at: &str| {
        let at = Moment::new(Timestamp { seconds: seconds(at, &berlin), nanoseconds: 0 }, &berlin);
        Reach::parse(text).unwrap().before(&at.zoned).unwrap().datetime().to_string()
    };
    // The day before was 23 hours long; so were not 24 hours before.
    assert_eq!(before("1d", "2026-03-29T12:00"), "2026-03-28T12:00:00");
    assert_eq!(before("24h", "2026-03-29T12:00"), "2026-03-28T11:00:00");
    assert_eq!(before("1m", "2025-03-31T12:00"), "2025-02-28T12:00:00");
    assert_eq!(before("1y5m7d2h", "2026-11-21T12:00"), "2025-06-14T10:00:00");
    assert_eq!(Reach::parse("1y5m7d2h").unwrap().to_string(), "1y5m7d2h");
    for wrong in ["", "0d", "5", "d", "1x", "-1d", "1.5d", "4294967296d", "1d 2h", "9999999999999d"] {
        assert_eq!(Reach::parse(wrong), None, "{wrong}");
    }
    let far = Moment::new(Timestamp { seconds: 0, nanoseconds: 0 }, &berlin);
    assert!(Reach::parse("4000000000y").unwrap().before(&far.zoned).is_none(), "all of history");
    // Times that no calendar has are the first and the last moment of it.
    for (seconds, year) in [(i64::MIN, -9999), (i64::MAX, 9999)] {
        let edge = Moment::new(Timestamp { seconds, nanoseconds: 0 }, &berlin);
        assert!((edge.zoned.year() - year).abs() <= 1);
    }
}
