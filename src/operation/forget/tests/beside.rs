//! What stands beside what: several snapshots of one backup, nights that were filled in later, a wrong clock.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

use super::calendar::random_policy;
use super::examples::{NOW, daily, nights, standings};
use super::{choice, fates};
use crate::format::key_slot::Role;
use crate::format::snapshot::{Change, Original};
use crate::format::tests::{Random, each_seed};
use crate::id::Id;
use crate::operation::forget::guard::check_rules;
use crate::operation::forget::plan::group;
use crate::operation::forget::{
    Amount, Cause, Fate, Lifted, Period, Policy, Reason, Rule, Standing, decide, judge,
};
use crate::repository::snapshot::Snapshot;

/// Another snapshot of the same backup, stored later by whoever maintains the repository.
fn stored_anew(one: &Snapshot, id: u8, root: u8, change: Change) -> Snapshot {
    let mut anew = one.clone();
    anew.id = Id([id; 32]);
    anew.manifest.root = Id([root; 32]);
    let origin = one.origin();
    anew.manifest.original = Some(Original {
        snapshot: origin.snapshot,
        writer: origin.writer,
        sequence: origin.sequence,
        made_from: one.id,
        change,
    });
    (anew.writer, anew.writer_role, anew.manifest.sequence) = ([9; 32], Role::Maintain, u64::from(id));
    anew
}

#[test]
fn what_holds_something_else_stays_beside_what_counts_for_its_backup() {
    let mut snapshots = nights(4);
    for number in 0..4u8 {
        let one = snapshots[usize::from(number)].clone();
        snapshots.push(stored_anew(&one, 100 + number, 200 + number, Change::Repaired));
    }
    // Of the last there is one more, with the tree of the one that counts: it is the same twice.
    snapshots.push(stored_anew(&snapshots[7].clone(), 110, 203, Change::Tagged));
    let groups = decide(&snapshots, &[], &daily(2), &choice(&TimeZone::UTC, NOW));
    let fates = fates(&groups);
    let beside = |id: u8| Fate::Keep(vec![Reason::Beside(Id([id; 32]))]);
    assert_eq!(
        [0, 1].map(|place| fates[&snapshots[place].id].clone()),
        [const { Fate::Forget(Cause::NoRule) }; 2]
    );
    assert_eq!((&fates[&snapshots[2].id], &fates[&snapshots[3].id]), (&beside(102), &beside(110)));
    assert_eq!(fates[&Id([103; 32])], Fate::Forget(Cause::NoRule), "nothing but a second one");
    assert_eq!(fates[&Id([110; 32])], Fate::Keep(vec![Reason::Rule(Rule::Period(Period::Day, 1))]));
    assert!(check_rules(&groups[0], Lifted::default()).is_err(), "more than half of nine");
}

#[test]
fn tags_keep_also_what_does_not_count_for_its_backup() {
    let mut snapshots = nights(4);
    let rewritten = stored_anew(&snapshots[0], 100, 200, Change::Rewritten);
    snapshots[0].manifest.tags = vec!["gold".into()];
    snapshots.push(rewritten);
    let policy =
        Policy { tags: vec![vec!["gold".into()]], last: Some(Amount::Number(2)), ..Policy::default() };
    let fates = fates(&decide(&snapshots, &[], &policy, &choice(&TimeZone::UTC, NOW)));
    assert_eq!(fates[&snapshots[0].id], Fate::Keep(vec![Reason::Rule(Rule::Tags(vec!["gold".into()]))]));
    assert_eq!(fates[&Id([100; 32])], Fate::Forget(Cause::NoRule));
}

/// The same without state: whatever a naive reading of the rules keeps, and what stands beside it.
#[test]
fn of_each_backup_that_is_kept_nothing_is_lost_that_another_snapshot_of_it_holds() {
    each_seed(|seed| {
        let mut random = Random::new(seed);
        let mut snapshots = nights(1 + random.below(12) as u64);
        let count = snapshots.len();
        for id in 0..random.below(20) as u8 {
            let one = snapshots[random.below(snapshots.len())].clone();
            snapshots.push(stored_anew(&one, 100 + id, random.below(3) as u8, Change::Rewritten));
        }
        let policy = random_policy(&mut random);
        let fates = fates(&decide(&snapshots, &[], &policy, &choice(&TimeZone::UTC, NOW)));
        let stays = |one: &Snapshot| matches!(fates[&one.id], Fate::Keep(_));
        for backup in &snapshots[..count] {
            let of = || snapshots.iter().filter(|one| one.origin().snapshot == backup.id);
            let last =
                of().max_by_key(|one| (one.original().map(|_| one.manifest.sequence), one.id)).unwrap();
            if stays(last) {
                for one in of().filter(|one| !stays(one)) {
                    assert_eq!(one.root(), last.root(), "lost beside the one that counts, under {policy:?}");
                }
            }
        }
        // Nor does one more snapshot of a backup make another backup go.
        let plain = super::fates(&decide(&snapshots[..count], &[], &policy, &choice(&TimeZone::UTC, NOW)));
        for backup in &snapshots[..count] {
            let kept = snapshots.iter().any(|one| one.origin().snapshot == backup.id && stays(one));
            assert!(kept || matches!(plain[&backup.id], Fate::Forget(_)));
        }
    });
}

#[test]
fn what_was_not_there_when_somebody_looked_is_kept_and_not_counted() {
    let mut snapshots = nights(6);
    // After the third night the server stood still, and the days between were filled in later.
    let mut choice = choice(&TimeZone::UTC, NOW);
    choice.unseen = snapshots[3..5].iter().map(|one| one.id).collect();
    let fates = fates(&decide(&snapshots, &[], &daily(3), &choice));
    let kept = |place: usize| matches!(fates[&snapshots[place].id], Fate::Keep(_));
    assert!((1..6).all(kept) && !kept(0));
    assert_eq!(fates[&snapshots[3].id], Fate::Keep(vec![Reason::Standing(Standing::Unseen)]));
    // They bind nothing that follows either.
    snapshots[4].manifest.finished.seconds = NOW - 1;
    choice.unseen = BTreeSet::from([snapshots[4].id]);
    let standings: Vec<Standing> =
        judge(&snapshots, &[], &choice.unseen, choice.now).iter().map(|at| at.standing).collect();
    assert_eq!((standings[4], standings[5]), (Standing::Unseen, Standing::InOrder));
}

#[test]
fn a_night_with_a_wrong_clock_that_is_named_puts_no_other_out_of_order() {
    let mut snapshots = nights(5);
    snapshots[1].manifest.finished.seconds = NOW - 10;
    let late = Standing::Late { number: 3, after: 2 };
    assert_eq!(standings(&snapshots, &[])[2], late);
    let mut groups = group(&snapshots, &[], &choice(&TimeZone::UTC, NOW));
    let members = &mut groups[0].members;
    // By a rule it goes with the time that it had, by name without.
    members[1].fate = Fate::Forget(Cause::NoRule);
    let by_rule = members[1].used_number();
    assert_eq!(by_rule.finished, Some(snapshots[1].manifest.finished));
    members[1].fate = Fate::Forget(Cause::Named);
    let named = members[1].used_number();
    assert_eq!(named.finished, None);
    members[0].fate = Fate::Forget(Cause::Named);
    assert_eq!(members[0].used_number().finished, Some(snapshots[0].manifest.finished));
    snapshots.remove(1);
    assert_eq!(standings(&snapshots, &[by_rule])[1], late);
    assert_eq!(standings(&snapshots, &[named]), [Standing::InOrder; 4]);
}

#[test]
fn nights_with_a_wrong_clock_may_be_named_in_any_order_or_together() {
    let mut honest = nights(7);
    // Two nights in a row, both ahead, the second more than the first.
    honest[1].manifest.finished.seconds = NOW - 20;
    honest[2].manifest.finished.seconds = NOW - 10;
    let late = Standing::Late { number: 4, after: 3 };
    assert_eq!(standings(&honest, &[])[3], late);
    for named in [&[1usize, 2][..], &[2, 1], &[1], &[2]] {
        for together in [true, false] {
            let (mut snapshots, mut used) = (honest.clone(), Vec::new());
            let steps: Vec<&[usize]> = if together { vec![named] } else { named.chunks(1).collect() };
            for step in steps {
                let ids: Vec<Id> = step.iter().map(|place| honest[*place].id).collect();
                let mut groups = group(&snapshots, &used, &choice(&TimeZone::UTC, NOW));
                for member in groups[0].members.iter_mut().filter(|one| ids.contains(&one.snapshot.id)) {
                    member.fate = Fate::Forget(Cause::Named);
                    used.push(member.used_number());
                }
                snapshots.retain(|one| !ids.contains(&one.id));
            }
            let healed = standings(&snapshots, &used).iter().all(|at| *at == Standing::InOrder);
            assert_eq!(healed, named.len() == 2, "{named:?} {together}");
        }
    }
}
