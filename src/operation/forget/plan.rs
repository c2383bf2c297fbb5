//! From rules to a decision about each snapshot, with the reason.
//!
//! Invariant: whoever holds a key of role backup drops, whatever he writes, no snapshot of another key, and none that
//! the rules would keep if his were not there, unless he writes so few a day that the day is not crowded. Snapshots out
//! of order and those of crowded days are never the reason that another goes. A backup counts once, by the last snapshot
//! that stands for it; whatever stands for it as well and holds something else stays as long as that one does.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::tz::TimeZone;

use super::calendar::Moment;
use super::contradicted::Contradicted;
use super::crowd::{Crowd, crowds};
use super::group::{GroupBy, GroupKey};
use super::guard;
use super::order::{Standing, judge, number_of};
use super::policy::{Policy, Rule};
use crate::error::Error;
use crate::format::marks::UsedNumber;
use crate::format::node::Timestamp;
use crate::id::Id;
use crate::repository::find::SnapshotFilter;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::Root;

/// Which guards a person lifts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifted {
    /// Let the newest snapshot of a group go whose checks passed.
    pub newest_good: bool,
    /// Let go what is out of order or dated in the future.
    pub out_of_order: bool,
    /// Let more than half of a group go at once.
    pub more_than_half: bool,
    /// Let the snapshots of crowded days count as all others.
    pub crowded: bool,
}

/// What a decision depends on besides the snapshots.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The snapshots that it is about.
    pub filter: SnapshotFilter,
    /// What is held against each other.
    pub group_by: GroupBy,
    /// Where days begin.
    pub zone: TimeZone,
    /// Now: what is dated later is dated in the future. Nothing else depends on it.
    pub now: Timestamp,
    /// What this computer did not see when it should have, by the time at which it says that it was finished.
    pub unseen: BTreeSet<Id>,
    /// The guards that are lifted.
    pub lifted: Lifted,
}

/// Why a snapshot stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A rule keeps it.
    Rule(Rule),
    /// A rule would keep it, were it not for the snapshots of crowded days.
    Otherwise(Rule),
    /// The rule would keep it, were it the only one of its crowded day.
    Crowded(Crowd, Rule),
    /// It is out of order, or dated in the future.
    Standing(Standing),
    /// It is the newest of its group whose checks passed.
    NewestGood,
    /// It is the newest of its group, of which none passed.
    Newest,
    /// This one stays, which stands for the same backup, was stored later, and holds something else.
    Beside(Id),
    /// It was not named.
    NotNamed,
}

/// Why a snapshot goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No rule keeps it.
    NoRule,
    /// It was named.
    Named,
    /// It is out of order or dated in the future, and the guard is lifted.
    Standing(Standing),
}

/// What becomes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays, for these reasons.
    Keep(Vec<Reason>),
    /// It goes.
    Forget(Cause),
}

/// A group, and what becomes of its snapshots.
#[derive(Debug)]
pub struct Group {
    /// What they have in common.
    pub key: GroupKey,
    /// The snapshots, the oldest first.
    pub members: Vec<Member>,
    /// Why none of them goes, whatever was decided.
    pub refused: Option<Error>,
}

/// A snapshot of a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// How it stands to the others of its key.
    pub standing: Standing,
    /// The point in time for which it stands.
    pub moment: Timestamp,
    /// Whether, and how much, its day is crowded.
    pub crowd: Option<Crowd>,
    /// Whether others of its key are out of order because of it.
    pub contradicts: bool,
    /// What becomes of it.
    pub fate: Fate,
}

impl Group {
    /// The snapshots that go.
    pub fn going(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.goes() && self.refused.is_none())
    }
}

impl Member {
    /// Whether it goes.
    pub fn goes(&self) -> bool {
        matches!(self.fate, Fate::Forget(_))
    }

    /// What the mark has to keep that forgets it. When it was finished stands there only if that can be believed: a
    /// person who names one that puts later ones out of order says that its clock was wrong.
    pub fn used_number(&self) -> UsedNumber {
        let disowned = self.contradicts && self.fate == Fate::Forget(Cause::Named);
        let finished = (self.in_order() && !disowned).then_some(self.snapshot.manifest.finished);
        UsedNumber { finished, ..self.snapshot.used_number() }
    }

    /// Whether it may be the reason that another goes.
    pub(super) fn in_order(&self) -> bool {
        self.standing == Standing::InOrder
    }
}

/// Puts snapshots into groups, each snapshot with its standing and not yet decided upon. How a snapshot stands is
/// decided among all of its key, those included that the filter leaves out.
pub(super) fn group(snapshots: &[Snapshot], used: &[UsedNumber], choice: &Choice) -> Vec<Group> {
    let places = judge(snapshots, used, &choice.unseen, choice.now);
    let contradicted = Contradicted::new(snapshots, &places);
    let crowds = if choice.lifted.crowded {
        vec![None; snapshots.len()]
    } else {
        crowds(snapshots, &places, used, &choice.zone)
    };
    let mut groups: BTreeMap<GroupKey, Vec<Member>> = BTreeMap::new();
    for ((snapshot, place), crowd) in snapshots.iter().zip(places).zip(crowds) {
        if choice.filter.matches(&snapshot.manifest) {
            let fate = Fate::Keep(Vec::new());
            let contradicts = place.standing == Standing::InOrder && contradicted.by(snapshot);
            groups.entry(choice.group_by.key(snapshot)).or_default().push(Member {
                snapshot: snapshot.clone(),
                standing: place.standing,
                moment: place.moment,
                crowd,
                contradicts,
                fate,
            });
        }
    }
    // Of two that stand for one backup, the one that was made from the other is the later.
    let made = |snapshot: &Snapshot| snapshot.original().map(|_| snapshot.manifest.sequence);
    let age = |member: &Member| {
        (member.moment, number_of(&member.snapshot), made(&member.snapshot), member.snapshot.id)
    };
    groups
        .into_iter()
        .map(|(key, mut members)| {
            members.sort_by_key(age);
            Group { key, members, refused: None }
        })
        .collect()
}

/// Decides by rules. Nothing is refused here: [`guard::check`] does that.
pub fn decide(snapshots: &[Snapshot], used: &[UsedNumber], policy: &Policy, choice: &Choice) -> Vec<Group> {
    let mut groups = group(snapshots, used, choice);
    for group in &mut groups {
        decide_group(group, policy, choice);
    }
    groups
}

fn decide_group(group: &mut Group, policy: &Policy, choice: &Choice) {
    let moments: Vec<Moment> =
        group.members.iter().map(|member| Moment::new(member.moment, &choice.zone)).collect();
    let mut reasons: Vec<Vec<Reason>> = vec![Vec::new(); group.members.len()];
    let row = Row { members: &group.members, moments: &moments, policy };
    for (place, rules) in row.apply(&|_, member| member.in_order()) {
        keep(&mut reasons, place, rules.into_iter().map(Reason::Rule));
    }
    if group.members.iter().any(|member| member.crowd.is_some()) {
        row.uncrowded(&mut reasons);
    }
    let held = guard::newest_good(&group.members);
    for (place, (member, mut reasons)) in group.members.iter_mut().zip(reasons).enumerate() {
        // Also where it is not counted, or another stands for its backup.
        let tagged = policy.kept_by_tags(&member.snapshot.manifest.tags).map(Reason::Rule);
        reasons.extend(tagged.filter(|_| !reasons.iter().any(is_of_tags)));
        if !member.in_order() && !choice.lifted.out_of_order {
            reasons.insert(0, Reason::Standing(member.standing));
        }
        if let Some((_, reason)) = held.as_ref().filter(|(newest, _)| *newest == place)
            && reasons.is_empty()
            && !choice.lifted.newest_good
        {
            reasons.push(reason.clone());
        }
        member.fate = match member.standing {
            _ if !reasons.is_empty() => Fate::Keep(reasons),
            Standing::InOrder => Fate::Forget(Cause::NoRule),
            standing => Fate::Forget(Cause::Standing(standing)),
        };
    }
    keep_beside(&mut group.members);
}

fn is_of_tags(reason: &Reason) -> bool {
    matches!(reason, Reason::Rule(Rule::Tags(_)))
}

/// Keeps what stands for a backup beside the one that counts for it, where that one stays and its tree is another: it may
/// be what is left of this one after a loss, or without what somebody took out. Who wants this one gone says so by name.
fn keep_beside(members: &mut [Member]) {
    let mut counted: HashMap<Id, (Id, Root, bool)> = HashMap::new();
    for member in members.iter().filter(|member| member.in_order()) {
        let Snapshot { id, .. } = member.snapshot;
        // The last of them is the one that counts.
        counted.insert(member.snapshot.origin().snapshot, (id, member.snapshot.root(), !member.goes()));
    }
    for member in members.iter_mut().filter(|member| member.in_order() && member.goes()) {
        let Some((id, root, stays)) = counted.get(&member.snapshot.origin().snapshot) else { continue };
        if *stays && *root != member.snapshot.root() {
            member.fate = Fate::Keep(vec![Reason::Beside(*id)]);
        }
    }
}

/// The snapshots of a group, and the rules for them.
struct Row<'a> {
    members: &'a [Member],
    moments: &'a [Moment],
    policy: &'a Policy,
}

impl Row<'_> {
    /// The rules that keep those that are to be counted, by their place. A backup counts once, however often its snapshot
    /// was stored anew: the last of them stands for it.
    fn apply(&self, counts: &dyn Fn(usize, &Member) -> bool) -> Vec<(usize, Vec<Rule>)> {
        let mut standing = HashSet::new();
        let counted = self.members.iter().zip(self.moments).enumerate().rev();
        let counted: Vec<(usize, (&Moment, &[String]))> = counted
            .filter(|(place, (member, _))| {
                counts(*place, member) && standing.insert(member.snapshot.origin().snapshot)
            })
            .map(|(place, (member, moment))| (place, (moment, member.snapshot.manifest.tags.as_slice())))
            .collect();
        let row: Vec<(&Moment, &[String])> = counted.iter().map(|(_, member)| *member).collect();
        counted.iter().map(|(place, _)| *place).zip(self.policy.apply(&row)).collect()
    }

    /// Keeps as well what the rules keep if crowded days are left out, and of these days what the rules would keep
    /// if it were the only snapshot of all of them.
    fn uncrowded(&self, reasons: &mut [Vec<Reason>]) {
        let counts = |member: &Member| member.in_order() && member.crowd.is_none();
        for (place, rules) in self.apply(&|_, member| counts(member)) {
            if reasons.get(place).is_some_and(Vec::is_empty) {
                keep(reasons, place, rules.into_iter().map(Reason::Otherwise));
            }
        }
        for (alone, member) in self.members.iter().enumerate() {
            let Some(crowd) = member.crowd.filter(|_| member.in_order()) else { continue };
            if reasons.get(alone).is_some_and(Vec::is_empty) {
                let rows = self.apply(&|place, member| place == alone || counts(member));
                let own = rows.into_iter().find(|(place, _)| *place == alone);
                let rules = own.map(|(_, rules)| rules).unwrap_or_default();
                keep(reasons, alone, rules.into_iter().map(|rule| Reason::Crowded(crowd, rule)));
            }
        }
    }
}

fn keep(reasons: &mut [Vec<Reason>], place: usize, new: impl Iterator<Item = Reason>) {
    if let Some(reasons) = reasons.get_mut(place) {
        reasons.extend(new);
    }
}
