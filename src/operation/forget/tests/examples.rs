//! Examples: each guard, each reason, groups.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

use super::{choice, fates, snapshot};
use crate::format::key_slot::Role;
use crate::format::marks::UsedNumber;
use crate::format::node::Timestamp;
use crate::format::snapshot::{Change, DatabaseOutcome, Original};
use crate::id::Id;
use crate::operation::forget::guard::check_rules;
use crate::operation::forget::{
    Amount, Cause, Fate, GroupBy, Lifted, Period, Policy, Reason, Rule, Standing, decide, judge,
};
use crate::repository::snapshot::Snapshot;

const DAY: i64 = 86_400;
pub(super) const NOW: i64 = 1_800_000_000;

/// Nightly snapshots, numbered from one, the last of them a day before now.
pub(super) fn nights(count: u64) -> Vec<Snapshot> {
    (1..=count)
        .map(|number| {
            let begun = NOW - (count - number + 1) as i64 * DAY;
            snapshot(number, 1, number, begun, begun + 60)
        })
        .collect()
}

pub(super) fn daily(number: u64) -> Policy {
    Policy { periods: vec![(Period::Day, Amount::Number(number))], ..Policy::default() }
}

pub(super) fn standings(snapshots: &[Snapshot], used: &[UsedNumber]) -> Vec<Standing> {
    let order = judge(snapshots, used, &BTreeSet::new(), Timestamp { seconds: NOW, nanoseconds: 0 });
    order.into_iter().map(|place| place.standing).collect()
}

#[test]
fn rules_say_which_of_them_keeps_a_snapshot() {
    let policy = Policy { last: Some(Amount::Number(1)), tags: vec![vec!["x".into()]], ..daily(3) };
    let mut snapshots = nights(6);
    snapshots[0].manifest.tags = vec!["x".into()];
    let groups = decide(&snapshots, &[], &policy, &choice(&TimeZone::UTC, NOW));
    let rule = |rule| Fate::Keep(vec![Reason::Rule(rule)]);
    let expected = [
        rule(Rule::Tags(vec!["x".into()])),
        Fate::Forget(Cause::NoRule),
        Fate::Forget(Cause::NoRule),
        rule(Rule::Period(Period::Day, 3)),
        rule(Rule::Period(Period::Day, 2)),
        Fate::Keep(vec![Reason::Rule(Rule::Last(1)), Reason::Rule(Rule::Period(Period::Day, 1))]),
    ];
    assert!(fates(&groups).into_values().eq(expected));
}

#[test]
fn numbers_and_times_that_do_not_rise_together_are_out_of_order() {
    let mut snapshots = nights(5);
    assert_eq!(standings(&snapshots, &[]), [Standing::InOrder; 5]);
    // Written last, dated between two others.
    snapshots.push(snapshot(6, 1, 6, NOW - 4 * DAY + 100, NOW - 4 * DAY + 200));
    assert_eq!(standings(&snapshots, &[])[5], Standing::Late { number: 6, after: 5 });
    // Finished now, begun before others of its group.
    snapshots[5] = snapshot(6, 1, 6, NOW - 4 * DAY + 100, NOW - 10);
    assert_eq!(standings(&snapshots, &[])[5], Standing::Late { number: 6, after: 5 });
    // Another group of the key may begin before; it was finished after.
    snapshots[5].manifest.job = Some("files".into());
    assert_eq!(standings(&snapshots, &[]), [Standing::InOrder; 6]);
    // It stands for when the one before it was finished, unless its key has another role than backup.
    let now = Timestamp { seconds: NOW, nanoseconds: 0 };
    assert_eq!(judge(&snapshots, &[], &BTreeSet::new(), now)[5].moment, snapshots[4].manifest.finished);
    snapshots[5].writer_role = Role::Full;
    assert_eq!(judge(&snapshots, &[], &BTreeSet::new(), now)[5].moment, snapshots[5].manifest.time);
    snapshots[5].writer_role = Role::Backup;
    snapshots[5].manifest.finished.seconds = NOW + 1;
    assert_eq!(standings(&snapshots, &[])[5], Standing::Future);
    // The number of another, live or forgotten; of another key it does not matter.
    snapshots[5] = snapshot(6, 1, 5, NOW - 20, NOW - 10);
    let shared = Standing::Shared { number: 5 };
    assert_eq!(standings(&snapshots, &[])[4..], [shared, shared]);
    snapshots[5].writer = [2; 32];
    assert_eq!(standings(&snapshots, &[]), [Standing::InOrder; 6]);
    let used =
        |key: u8, sequence| UsedNumber { writer: [key; 32], sequence, snapshot: Id([9; 32]), finished: None };
    let with_used = standings(&snapshots, &[used(1, 2), used(2, 3), used(1, 77)]);
    assert_eq!((with_used[0], with_used[1]), (Standing::InOrder, Standing::Used { number: 2 }));
}

#[test]
fn what_is_out_of_order_does_not_come_into_order_when_others_go() {
    let mut snapshots = nights(9);
    // Said to be of the evening after the second night, and written after the eighth, in two ways.
    let past = NOW - 8 * DAY + 40_000;
    snapshots.insert(8, snapshot(20, 1, 9, past, past + 60));
    snapshots[9].manifest.sequence = 11;
    let last = snapshots[9].manifest.time.seconds;
    snapshots.insert(9, snapshot(21, 1, 10, past, last - 100));
    assert_eq!(standings(&snapshots, &[])[8..10], [9, 10].map(|number| Standing::Late { number, after: 8 }));
    let used: Vec<UsedNumber> = snapshots
        .drain(2..8)
        .map(|gone| UsedNumber { finished: Some(gone.manifest.finished), ..gone.used_number() })
        .collect();
    let order = judge(&snapshots, &used, &BTreeSet::new(), Timestamp { seconds: NOW, nanoseconds: 0 });
    assert_eq!(order[2].standing, Standing::Late { number: 9, after: 8 });
    // The other one may count, but for the day on which it was written.
    assert_eq!((order[3].standing, order[3].moment), (Standing::InOrder, used[5].finished.unwrap()));
}

#[test]
fn a_copy_stands_for_the_backup_that_it_was_made_from() {
    let mut snapshots = nights(3);
    let original = Original {
        snapshot: snapshots[1].id,
        writer: snapshots[1].writer,
        sequence: 2,
        made_from: snapshots[1].id,
        change: Change::Tagged,
    };
    let mut copy = snapshots[1].clone();
    (copy.id, copy.writer, copy.manifest.sequence) = (Id([0xee; 32]), [7; 32], 1);
    copy.manifest.original = Some(original);
    copy.writer_role = Role::Maintain;
    snapshots.push(copy);
    assert_eq!(standings(&snapshots, &[]), [Standing::InOrder; 4]);
    // The mark of the one that it was made from does not make it a forgery.
    let used = [snapshots.remove(1).used_number()];
    assert_eq!(standings(&snapshots, &used), [Standing::InOrder; 3]);
    // A backup key is not believed: the copy is one of its own.
    snapshots[2].writer_role = Role::Backup;
    let groups = decide(&snapshots, &used, &daily(1), &choice(&TimeZone::UTC, NOW));
    assert_eq!(groups.len(), 2);
}

#[test]
fn what_is_out_of_order_stays_and_takes_no_place_until_its_guard_is_lifted() {
    let mut snapshots = nights(4);
    snapshots.push(snapshot(5, 1, 5, NOW + DAY, NOW + DAY));
    snapshots.push(snapshot(6, 1, 6, NOW - 3 * DAY, NOW - 3 * DAY));
    let mut choice = choice(&TimeZone::UTC, NOW);
    let stays = |snapshots: &[Snapshot], choice: &_| -> Vec<bool> {
        let fates = fates(&decide(snapshots, &[], &daily(2), choice));
        fates.values().map(|fate| matches!(fate, Fate::Keep(_))).collect()
    };
    assert_eq!(stays(&snapshots, &choice), [false, false, true, true, true, true]);
    choice.lifted.out_of_order = true;
    assert_eq!(stays(&snapshots, &choice), [false, false, true, true, false, false]);
    // A clock ten years ahead, or a day behind, takes nothing more than the right one.
    snapshots.truncate(4);
    choice.lifted.out_of_order = false;
    let right = stays(&snapshots, &choice);
    choice.now.seconds = NOW + 3650 * DAY;
    assert_eq!(stays(&snapshots, &choice), right);
    choice.now.seconds = NOW - DAY / 2;
    assert_eq!(stays(&snapshots, &choice), right);
}

#[test]
fn the_newest_whose_checks_passed_stays() {
    let mut snapshots = nights(5);
    for bad in &mut snapshots[2..] {
        bad.manifest.databases[0].outcome = DatabaseOutcome::FailedCheck;
    }
    let mut choice = choice(&TimeZone::UTC, NOW);
    let fate = |snapshots: &[Snapshot], choice: &_, place: usize| {
        fates(&decide(snapshots, &[], &daily(2), choice)).into_values().nth(place).unwrap()
    };
    assert_eq!(fate(&snapshots, &choice, 1), Fate::Keep(vec![Reason::NewestGood]));
    assert_eq!(fate(&snapshots, &choice, 2), Fate::Forget(Cause::NoRule));
    choice.lifted.newest_good = true;
    assert_eq!(fate(&snapshots, &choice, 1), Fate::Forget(Cause::NoRule));
    choice.lifted.newest_good = false;
    for bad in &mut snapshots {
        bad.manifest.statistics.problems = 1;
    }
    assert_eq!(fate(&snapshots, &choice, 1), Fate::Forget(Cause::NoRule));
}

#[test]
fn a_flood_of_one_day_pushes_nothing_out() {
    let mut snapshots = nights(10);
    // An honest one of the day between two forged ones, and many more after it.
    for number in 11..=60 {
        let begun = NOW - 5000 + number as i64 * 20;
        snapshots.push(snapshot(number, 1, number, begun, begun + 10));
    }
    let policy = Policy { last: Some(Amount::Number(5)), ..daily(7) };
    let mut choice = choice(&TimeZone::UTC, NOW);
    let kept = |snapshots: &[Snapshot], choice: &_| -> Vec<u64> {
        let groups = decide(snapshots, &[], &policy, choice);
        let members = groups.iter().flat_map(|group| &group.members).filter(|member| !member.goes());
        members.map(|member| member.snapshot.manifest.sequence).collect()
    };
    assert!(kept(&snapshots, &choice).into_iter().eq(4..=60));
    // From another role of key it is no attack, and a person may say that it is none.
    choice.lifted.crowded = true;
    let plain: Vec<u64> = (5..=10).chain(56..=60).collect();
    assert_eq!(kept(&snapshots, &choice), plain);
    choice.lifted.crowded = false;
    for snapshot in &mut snapshots {
        snapshot.writer_role = Role::Full;
    }
    assert_eq!(kept(&snapshots, &choice), plain);
}

#[test]
fn a_flood_is_one_though_a_number_borne_twice_hides_what_came_before_it() {
    let mut snapshots = nights(10);
    // All that the first ten say of a usual day is out of order for this one.
    snapshots.push(snapshot(11, 1, 1, NOW - DAY + 90, NOW - DAY + 100));
    snapshots.push(snapshot(12, 1, 11, NOW - 6000, NOW - 5990));
    snapshots.extend((12..=60).map(|number| {
        let begun = NOW - 5000 + number as i64 * 20;
        snapshot(number + 1, 1, number, begun, begun + 10)
    }));
    let policy = Policy { last: Some(Amount::Number(5)), ..Policy::default() };
    let groups = decide(&snapshots, &[], &policy, &choice(&TimeZone::UTC, NOW));
    let going = groups.iter().flat_map(|group| &group.members).filter(|member| member.goes());
    assert!(going.map(|member| member.snapshot.manifest.sequence).all(|number| number > 11));
}

#[test]
fn a_server_that_backs_up_every_hour_is_no_flood_to_its_thinned_history() {
    // Of each earlier day one is left, and the marks of the others; of today all are there.
    let (mut snapshots, mut used) = (Vec::new(), Vec::new());
    for number in 1..=24 * 10 {
        let begun = NOW / DAY * DAY - 9 * DAY + number as i64 * 3600 - 1800;
        let one = snapshot(number, 1, number, begun, begun + 60);
        if number % 24 == 0 || number > 24 * 9 {
            snapshots.push(one);
        } else {
            used.push(one.used_number());
        }
    }
    let choice = choice(&TimeZone::UTC, NOW + 2 * DAY);
    let policy = Policy { last: Some(Amount::Number(3)), ..daily(7) };
    let groups = decide(&snapshots, &used, &policy, &choice);
    assert!(groups[0].members.iter().all(|member| member.crowd.is_none()));
    assert_eq!(groups[0].members.len() - groups[0].going().count(), 9);
}

#[test]
fn what_looks_like_an_accident_is_refused() {
    let choice = choice(&TimeZone::UTC, NOW);
    let refused = |count, policy: &Policy, lifted| {
        let groups = decide(&nights(count), &[], policy, &choice);
        check_rules(&groups[0], lifted).map_err(|error| error.to_string())
    };
    assert_eq!(refused(10, &daily(5), Lifted::default()), Ok(()));
    let error = refused(10, &daily(4), Lifted::default()).unwrap_err();
    assert!(error.contains("6 of 10 of host server, /data, key 01010101"), "{error}");
    let lifted = Lifted { more_than_half: true, ..Lifted::default() };
    assert_eq!(refused(10, &daily(4), lifted), Ok(()));
    let none = Policy { tags: vec![vec!["never".into()]], ..Policy::default() };
    let all = Lifted { more_than_half: true, newest_good: true, out_of_order: true, crowded: true };
    assert!(refused(3, &none, all).unwrap_err().contains("would keep no snapshot of host server"));
}

#[test]
fn groups_are_as_wide_as_asked_and_never_wider_than_a_key() {
    let mut snapshots = nights(4);
    snapshots[0].manifest.host = "other".into();
    snapshots[1].manifest.tags = vec!["x".into()];
    snapshots[2].manifest.job = Some("db".into());
    snapshots[3].writer = [2; 32];
    let count = |host, job, paths, tags| {
        let choice =
            super::Choice { group_by: GroupBy { host, job, paths, tags }, ..choice(&TimeZone::UTC, NOW) };
        decide(&snapshots, &[], &daily(1), &choice).len()
    };
    assert_eq!(count(true, true, true, false), 4);
    assert_eq!(count(true, true, true, true), 4);
    assert_eq!(count(false, true, true, false), 3);
    assert_eq!(count(false, false, false, false), 2);
    assert_eq!(count(false, false, false, true), 3);
}

#[test]
fn a_backup_counts_once_however_often_its_snapshot_was_stored_anew() {
    let mut snapshots = nights(4);
    for number in 0..4u64 {
        let mut anew = snapshots[number as usize].clone();
        let made_from = anew.id;
        anew.id = Id([100 + number as u8; 32]);
        anew.manifest.original = Some(Original {
            snapshot: made_from,
            writer: anew.writer,
            sequence: anew.manifest.sequence,
            made_from,
            change: Change::Rewritten,
        });
        (anew.writer, anew.writer_role, anew.manifest.sequence) = ([9; 32], Role::Maintain, number + 1);
        snapshots.push(anew);
    }
    let kept = |policy: &Policy| {
        let fates = fates(&decide(&snapshots, &[], policy, &choice(&TimeZone::UTC, NOW)));
        let kept = fates.into_iter().filter(|(_, fate)| matches!(fate, Fate::Keep(_)));
        kept.map(|(id, _)| id.0[0]).collect::<Vec<_>>()
    };
    assert_eq!(kept(&daily(30)), [100, 101, 102, 103], "neither twice, nor as the oldest");
    assert_eq!(kept(&Policy { last: Some(Amount::Number(2)), ..Policy::default() }), [102, 103]);
}
