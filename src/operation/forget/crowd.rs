//! Days on which a key made far more snapshots than it does.
//!
//! Who steals the key of a host can make snapshots of now that nothing tells from honest ones, and as many as he likes:
//! enough of them would push all honest ones out of the rules. So the snapshots of such a day count for nothing
//! ([`super::plan`]) until a person says that they may.
//!
//! The days are those on which snapshots were finished, for these rise with their numbers, whatever else is forged. How
//! many a key makes on a day is told by the snapshots that are there and by the marks of those that are forgotten, which
//! only a maintain key writes: so a day from which a rule took 23 of 24 snapshots still counts as one of 24. Crowded days
//! themselves tell nothing about what is usual.
//!
//! The first day of a key tells by itself what is usual. It is not taken for the first where snapshots of lower numbers are
//! known: who bears a number twice can put all of them out of order that follow it, so that the first day left in order
//! is the one that he crowds. Until a day tells otherwise, one a day is usual then.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::tz::TimeZone;

use super::calendar::{Moment, Period};
use super::order::{Place, Standing, number_of, trusted};
use crate::format::marks::UsedNumber;
use crate::id::Id;
use crate::repository::snapshot::Snapshot;

/// Of so many days before all that is there, the marks of what was made on them tell what is usual.
const DAYS_BEFORE: usize = 30;

/// A day that is crowded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// How many snapshots its key made on it.
    pub snapshots: u64,
    /// How many it usually makes on a day.
    pub usual: u64,
}

/// What is known of a day of a key.
#[derive(Default)]
struct Day {
    /// The backups of which there are snapshots of it, in order or not.
    backups: HashSet<Id>,
    /// The snapshots of it that are in order.
    places: Vec<usize>,
    /// Their numbers.
    numbers: Vec<u64>,
}

/// Says of each snapshot whether its day is crowded.
pub(super) fn crowds(
    snapshots: &[Snapshot],
    order: &[Place],
    used: &[UsedNumber],
    zone: &TimeZone,
) -> Vec<Option<Crowd>> {
    let mut crowds = vec![None; snapshots.len()];
    let trusted = trusted(snapshots);
    let mut keys: HashMap<[u8; 32], BTreeMap<i64, Day>> = HashMap::new();
    let mut lowest: HashMap<[u8; 32], u64> = HashMap::new();
    for (place, (snapshot, found)) in snapshots.iter().zip(order).enumerate() {
        let writer = snapshot.origin().writer;
        let least = lowest.entry(writer).or_insert(u64::MAX);
        *least = number_of(snapshot).min(*least);
        if found.standing == Standing::Future || trusted.contains(&writer) {
            continue;
        }
        let day = Moment::new(snapshot.manifest.finished, zone).stretch(Period::Day);
        let day = keys.entry(writer).or_default().entry(day).or_default();
        day.backups.insert(snapshot.origin().snapshot);
        if found.standing == Standing::InOrder {
            day.places.push(place);
            day.numbers.push(number_of(snapshot));
        }
    }
    for (writer, days) in keys {
        let marks = || used.iter().filter(|number| number.writer == writer);
        let mut forgotten: Vec<u64> = marks().map(|number| number.sequence).collect();
        forgotten.sort_unstable();
        forgotten.dedup();
        let lowest = lowest.get(&writer).into_iter().chain(forgotten.first()).copied().min().unwrap_or(0);
        let mut gone: BTreeMap<i64, u64> = BTreeMap::new();
        for finished in marks().filter_map(|number| number.finished) {
            let made = gone.entry(Moment::new(finished, zone).stretch(Period::Day)).or_default();
            *made = made.saturating_add(1);
        }
        let first = days.iter().find(|(_, day)| !day.places.is_empty()).map_or(i64::MAX, |(date, _)| *date);
        let usual = gone.range(..first).rev().take(DAYS_BEFORE).map(|(_, made)| *made).collect();
        mark(days, usual, lowest, &forgotten, &mut crowds);
    }
    crowds
}

/// Goes through the days of one key, the oldest first; `usual` is how many it made on days before them, and `lowest` the
/// lowest number that it is known to have used.
fn mark(
    days: BTreeMap<i64, Day>,
    mut usual: Vec<u64>,
    lowest: u64,
    forgotten: &[u64],
    crowds: &mut [Option<Crowd>],
) {
    let mut before: Option<(i64, u64)> = None;
    for (date, mut day) in days {
        day.numbers.sort_unstable();
        day.numbers.dedup();
        let made = day.numbers.len() as u64;
        let (Some(first), Some(last)) = (day.numbers.first().copied(), day.numbers.last().copied()) else {
            continue;
        };
        // The first day of all tells what is usual, for nothing else does.
        let is_first = before.is_none() && lowest >= first;
        let median = if is_first { made } else { median(&usual).max(1) };
        // Those out of order crowd a day as well: who puts most of his out of order himself leaves a few in order.
        let all = day.backups.len() as u64;
        if all > median.saturating_mul(2).saturating_add(1) {
            let crowd = Crowd { snapshots: all, usual: median };
            for place in &day.places {
                if let Some(slot) = crowds.get_mut(*place) {
                    *slot = Some(crowd);
                }
            }
        } else {
            let (since, number) = before.unwrap_or((date.saturating_sub(1), first.saturating_sub(1)));
            let gone = between(forgotten, number, last);
            let elapsed = u64::try_from(date.saturating_sub(since)).unwrap_or(1).max(1);
            usual.push(made.max(made.saturating_add(gone).div_ceil(elapsed)));
        }
        before = Some((date, last));
    }
}

/// How many of some rising numbers lie above one and below another.
fn between(numbers: &[u64], above: u64, below: u64) -> u64 {
    let start = numbers.partition_point(|number| *number <= above);
    let end = numbers.partition_point(|number| *number < below);
    end.saturating_sub(start) as u64
}

/// The middle one of some numbers; the lower of two.
fn median(numbers: &[u64]) -> u64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}
