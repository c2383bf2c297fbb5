//! Rules of retention: which of a row of snapshots they keep.
//!
//! The names and their meaning are restic's: a rule for a period keeps the newest snapshot of each of the last so many
//! periods that have any, and the oldest of all as long as it has something left to keep.
//!
//! Invariant: the fewer snapshots there are, the more of them are kept. Taking one away never makes a rule drop another
//! that it kept; the guards against forged snapshots rest on it.

use std::fmt;

use super::calendar::{Moment, Period, Reach};

/// How many a rule keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Number(u64),
    /// All.
    Unlimited,
}

/// The rules.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Keep the last so many.
    pub last: Option<Amount>,
    /// Keep one for each of the last so many periods.
    pub periods: Vec<(Period, Amount)>,
    /// Keep all that are not older than so much before the newest.
    pub within: Option<Reach>,
    /// Keep one for each period that is not older than so much before the newest.
    pub periods_within: Vec<(Period, Reach)>,
    /// Keep all that have every tag of one of these lists.
    pub tags: Vec<Vec<String>>,
}

impl Policy {
    /// The rules for each period, in the order of [`Period::ALL`]: how many, and within what.
    #[must_use]
    pub fn with_periods(self, amounts: [Option<Amount>; 6], reaches: [Option<Reach>; 6]) -> Self {
        let periods = Period::ALL.into_iter().zip(amounts);
        let periods_within = Period::ALL.into_iter().zip(reaches);
        Self {
            periods: periods.filter_map(|(period, amount)| Some((period, amount?))).collect(),
            periods_within: periods_within.filter_map(|(period, reach)| Some((period, reach?))).collect(),
            ..self
        }
    }
}

/// The rule that keeps a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It is one of the last: which.
    Last(u64),
    /// It is the newest of its period: of which one, counted back.
    Period(Period, u64),
    /// It is the oldest, and the rule has some left to keep.
    Oldest(Period),
    /// It is not too old.
    Within(Reach),
    /// It is the newest of its period, and not too old.
    PeriodWithin(Period, Reach),
    /// It has these tags.
    Tags(Vec<String>),
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last(number) => write!(formatter, "last {number}"),
            Self::Period(period, number) => write!(formatter, "{} {number}", period.name()),
            Self::Oldest(period) => write!(formatter, "oldest {}", period.name()),
            Self::Within(reach) => write!(formatter, "within {reach}"),
            Self::PeriodWithin(period, reach) => write!(formatter, "{} within {reach}", period.name()),
            Self::Tags(tags) => {
                write!(formatter, "tag {}", crate::report::printable(tags.join(",").as_bytes()))
            }
        }
    }
}

impl Policy {
    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        let none = self.last.is_none() && self.within.is_none();
        none && self.periods.is_empty() && self.periods_within.is_empty() && self.tags.is_empty()
    }

    /// The list of tags by which a snapshot is kept, whatever its time.
    pub(super) fn kept_by_tags(&self, tags: &[String]) -> Option<Rule> {
        let has = |list: &&Vec<String>| {
            if list.is_empty() { tags.is_empty() } else { list.iter().all(|tag| tags.contains(tag)) }
        };
        self.tags.iter().find(has).map(|list| Rule::Tags(list.clone()))
    }

    /// The rules that keep each of a row of snapshots, the newest first.
    pub(super) fn apply(&self, row: &[(&Moment, &[String])]) -> Vec<Vec<Rule>> {
        let mut kept: Vec<Vec<Rule>> = vec![Vec::new(); row.len()];
        self.keep_last(&mut kept);
        if let (Some(reach), Some((newest, _))) = (&self.within, row.first()) {
            let edge = reach.before(&newest.zoned);
            for ((moment, _), rules) in row.iter().zip(&mut kept) {
                if is_after(moment, edge.as_ref()) {
                    rules.push(Rule::Within(*reach));
                }
            }
        }
        for (period, amount) in &self.periods {
            keep_periods(*period, *amount, row, &mut kept);
        }
        for (period, reach) in &self.periods_within {
            keep_periods_within(*period, *reach, row, &mut kept);
        }
        for ((_, tags), rules) in row.iter().zip(&mut kept) {
            rules.extend(self.kept_by_tags(tags));
        }
        kept
    }

    fn keep_last(&self, kept: &mut [Vec<Rule>]) {
        let Some(amount) = self.last else { return };
        for (number, rules) in (1..).zip(kept) {
            if amount.covers(number) {
                rules.push(Rule::Last(number));
            }
        }
    }
}

impl Amount {
    /// Whether the one of this number, counted from one, is among them.
    fn covers(self, number: u64) -> bool {
        match self {
            Self::Unlimited => true,
            Self::Number(amount) => number <= amount,
        }
    }
}

fn is_after(moment: &Moment, edge: Option<&jiff::Zoned>) -> bool {
    edge.is_none_or(|edge| moment.zoned.timestamp() > edge.timestamp())
}

fn keep_periods(period: Period, amount: Amount, row: &[(&Moment, &[String])], kept: &mut [Vec<Rule>]) {
    let (mut number, mut last) = (1, None);
    let oldest = row.len().saturating_sub(1);
    for (place, ((moment, _), rules)) in row.iter().zip(kept).enumerate() {
        if !amount.covers(number) {
            return;
        }
        let stretch = Some(moment.stretch(period));
        if stretch != last {
            rules.push(Rule::Period(period, number));
        } else if place == oldest {
            rules.push(Rule::Oldest(period));
        } else {
            continue;
        }
        last = stretch;
        number = number.saturating_add(1);
    }
}

fn keep_periods_within(period: Period, reach: Reach, row: &[(&Moment, &[String])], kept: &mut [Vec<Rule>]) {
    let Some((newest, _)) = row.first() else { return };
    let edge = reach.before(&newest.zoned);
    let mut last = None;
    for ((moment, _), rules) in row.iter().zip(kept) {
        if !is_after(moment, edge.as_ref()) {
            return;
        }
        let stretch = Some(moment.stretch(period));
        if stretch != last {
            rules.push(Rule::PeriodWithin(period, reach));
            last = stretch;
        }
    }
}
