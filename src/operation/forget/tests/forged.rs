//! Forged history: whoever steals the key of one host writes whatever he likes, and nobody's snapshots go for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::calendar::random_policy;
use super::{choice, fates, pick, snapshot, zone};
use crate::backend::MemoryBackend;
use crate::crypto::kdf::Cost;
use crate::crypto::secret::Secret;
use crate::error::ErrorKind;
use crate::format::key_slot::Role;
use crate::format::marks::UsedNumber;
use crate::format::node::Timestamp;
use crate::format::snapshot::Manifest;
use crate::format::tests::{Random, each_seed};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::operation::forget::{
    Choice, Fate, Group, Lifted, Member, Plan, Policy, Reason, Standing, Wanted, decide, judge, plan, run,
};
use crate::repository::Repository;
use crate::repository::keys::{Credential, NewKey};
use crate::repository::snapshot::Snapshot;

const DAY: i64 = 86_400;
/// Jobs of a host; each runs up to twice a day.
const JOBS_MAX: usize = 3;
const START: i64 = 1_790_000_000 / DAY * DAY;

/// A repository that two hosts back up to, and a thief of the first one's key.
struct World {
    random: Random,
    live: Vec<Snapshot>,
    forged: BTreeSet<Id>,
    used: Vec<UsedNumber>,
    next_id: u64,
    now: i64,
    /// The same in a real repository: with a maintain key, and with each host's.
    mirror: Option<(Repository, [Repository; 2])>,
}

impl World {
    fn new(seed: u64) -> Self {
        let (live, forged, used) = Default::default();
        Self { random: Random::new(seed), live, forged, used, next_id: 1, now: START, mirror: None }
    }

    /// The number that an honest program draws: one more than any that it sees.
    fn next_number(&self, key: u8) -> u64 {
        let live = self.live.iter().filter(|one| one.writer == [key; 32]).map(|one| one.manifest.sequence);
        let used = self.used.iter().filter(|one| one.writer == [key; 32]).map(|one| one.sequence);
        live.chain(used).max().unwrap_or(0).saturating_add(1)
    }

    fn write(&mut self, key: u8, number: u64, job: usize, (begun, finished): (i64, i64)) -> Id {
        let mut one = snapshot(self.next_id, key, number, begun, finished);
        one.manifest.job = (job > 0).then(|| format!("job {job}"));
        if self.random.below(10) == 0 {
            one.manifest.tags = vec!["keep".into()];
        }
        self.next_id += 1;
        if let Some((_, hosts)) = &self.mirror {
            hosts[usize::from(key) - 1].put_snapshot(&one.id, &one.manifest).unwrap();
        }
        self.live.push(one);
        self.live.last().unwrap().id
    }

    /// What the hosts do on a day: every job now and then, several of them at once.
    fn honest_day(&mut self, jobs: usize) {
        for key in [1, 2] {
            let mut runs: Vec<(i64, i64, usize)> = Vec::new();
            for job in 0..jobs {
                for run in 0..self.random.below(3) as i64 {
                    // Two runs of one job do not overlap; two jobs may.
                    let begun = self.now + run * 20_000 + self.random.below(10_000) as i64;
                    runs.push((begun + 1 + self.random.below(9000) as i64, begun, job));
                }
            }
            runs.sort_unstable();
            for (finished, begun, job) in runs {
                let number = self.next_number(key);
                self.write(key, number, job, (begun, finished));
            }
        }
    }

    /// What the thief does: each of his ways, in any mixture.
    ///
    /// A key that is stolen on the day of its first backup, or before it, has no history that he could contradict.
    fn forge(&mut self, jobs: usize, evening: i64) {
        let honest = |one: &Snapshot| one.writer == [1; 32] && !self.forged.contains(&one.id);
        if !self.live.iter().any(|one| honest(one) && one.manifest.finished.seconds < self.now - 3 * DAY / 2)
        {
            return;
        }
        // A job of the host's, or one that he makes up.
        let job = self.random.below(jobs + 1);
        let number = match self.random.below(4) {
            // One that was used before, one that is used now, far ahead, the next.
            0 if !self.used.is_empty() => pick(&mut self.random, &self.used).sequence,
            1 => pick(&mut self.random, &self.live).manifest.sequence,
            2 => self.next_number(1).saturating_add(self.random.below(5) as u64),
            _ if self.random.below(50) == 0 => u64::MAX - 1,
            _ => self.next_number(1),
        };
        let ahead = 1 + self.random.below(4000) as i64 * DAY;
        let is_used = self.used.iter().any(|one| one.writer == [1; 32] && one.sequence == number)
            || self.live.iter().any(|one| one.writer == [1; 32] && one.manifest.sequence == number);
        // A number that is in use may stand between any two; another is dated before all that is honest.
        let past = if is_used { START } else { START - 100 * DAY };
        let past = past
            + self.random.below(if is_used { (self.now - START) as usize } else { 99 * DAY as usize }) as i64;
        match self.random.below(5) {
            0 => self.forged_one(number, job, (past, past + 1)),
            1 => self.forged_one(number, job, (past, evening)),
            2 => {
                // One dated so little ahead that its time comes is a single one of that day: a rule may count it.
                let job = if ahead < 40 * DAY { jobs } else { job };
                self.forged_one(number, job, (evening + ahead, evening + ahead));
            }
            3 if is_used => self.forged_one(number, job, (evening, evening + 1)),
            _ => {
                // Many of now.
                for more in 0..80 + self.random.below(30) as i64 {
                    let number = self.next_number(1);
                    self.forged_one(number, job, (evening + more * 10, evening + more * 10 + 5));
                }
            }
        }
    }

    fn forged_one(&mut self, number: u64, job: usize, times: (i64, i64)) {
        // Another key's number, should one have been picked, says nothing; the thief has only this key.
        let id = self.write(1, number, job, times);
        self.forged.insert(id);
    }

    /// Forged snapshots that nothing tells from honest ones: in order, and of no crowded day, as many as a server may make that backs up more often.
    fn like_honest(&self, groups: &[Group]) -> BTreeSet<Id> {
        let members = groups.iter().flat_map(|group| &group.members);
        let counts = |member: &&Member| member.standing == Standing::InOrder && member.crowd.is_none();
        let like: Vec<&Snapshot> = members
            .filter(counts)
            .map(|member| &member.snapshot)
            .filter(|one| self.forged.contains(&one.id))
            .collect();
        let mut days: BTreeMap<i64, usize> = BTreeMap::new();
        for one in &like {
            *days.entry(one.manifest.finished.seconds.div_euclid(DAY)).or_default() += 1;
        }
        // Twice what is usual, and one; and a day of a zone is a part of two of these. A larger crowd is none that may pass for
        // honest, seen or not.
        let most = 2 * (2 * 2 * JOBS_MAX + 1);
        let day = |one: &&&Snapshot| days[&one.manifest.finished.seconds.div_euclid(DAY)] <= most;
        like.iter().filter(day).map(|one| one.id).collect()
    }

    /// What there is of the key that was stolen, a snapshot a line: number, job, begun, finished, and what becomes of it.
    fn history(&self, fates: &BTreeMap<Id, Fate>, choice: &Choice) -> String {
        let order = judge(&self.live, &self.used, &choice.unseen, choice.now);
        let mut lines = String::new();
        for (one, place) in self.live.iter().zip(order).filter(|(one, _)| one.writer == [1; 32]) {
            let Manifest { sequence, job, time, finished, .. } = &one.manifest;
            let who = if self.forged.contains(&one.id) { "forged" } else { "honest" };
            let [begun, finished] = [time, finished].map(|time| time.seconds - START);
            let (standing, fate) = (place.standing, &fates[&one.id]);
            writeln!(lines, "{who} {sequence} {job:?} {begun} {finished} {standing:?} {fate:?}").unwrap();
        }
        for mark in self.used.iter().filter(|mark| mark.writer == [1; 32]) {
            writeln!(lines, "used {} {:?}", mark.sequence, mark.finished.map(|time| time.seconds - START))
                .unwrap();
        }
        lines
    }

    /// Forgets by rules, and asserts that nothing went because of the thief.
    fn forget(&mut self, policy: &Policy, choice: &Choice) {
        let groups = decide(&self.live, &self.used, policy, choice);
        let with = fates(&groups);
        let honest: Vec<Snapshot> =
            self.live.iter().filter(|one| !self.forged.contains(&one.id)).cloned().collect();
        let without = fates(&decide(&honest, &self.used, policy, choice));
        // As many as may be of a server that backs up more often count as if they were: that is the limit that is told.
        let like_honest = self.like_honest(&groups);
        let lifted = Lifted { crowded: true, ..choice.lifted };
        let counted: Vec<Snapshot> = self
            .live
            .iter()
            .filter(|one| !self.forged.contains(&one.id) || like_honest.contains(&one.id))
            .cloned()
            .collect();
        let by_rules = fates(&decide(&counted, &self.used, policy, &Choice { lifted, ..choice.clone() }));
        for one in &honest {
            if one.writer == [2; 32] {
                assert_eq!(with[&one.id], without[&one.id], "the thief has another key than this");
            }
            let by_rule = |fate: &Fate| matches!(fate, Fate::Keep(reasons) if reasons.iter().any(|reason| matches!(reason, Reason::Rule(_))));
            assert!(
                !by_rule(&by_rules[&one.id]) || matches!(with[&one.id], Fate::Keep(_)),
                "{} of {} went under {policy:?}\n{}",
                one.manifest.sequence,
                self.live.len(),
                self.history(&with, choice)
            );
        }
        if let Some((admin, _)) = &self.mirror {
            let found = admin.snapshots().unwrap();
            let mut plan = plan(admin, &found, &Wanted::Rules(policy.clone()), choice).unwrap();
            // This is about what the marks say, not about the guards.
            plan.groups.iter_mut().for_each(|group| group.refused = None);
            run(admin, &plan, &Interrupt::default()).unwrap();
            let left: BTreeSet<Id> = admin.snapshots().unwrap().snapshots.iter().map(|one| one.id).collect();
            let kept = with.iter().filter(|(_, fate)| matches!(fate, Fate::Keep(_)));
            assert!(left.iter().eq(kept.map(|(id, _)| id)), "the marks say what was decided");
        }
        let before = self.live.clone();
        let gone: Vec<Snapshot> =
            self.live.extract_if(.., |one| matches!(with[&one.id], Fate::Forget(_))).collect();
        let order = judge(&before, &self.used, &choice.unseen, choice.now);
        let number = |one: &Snapshot| {
            let place = before.iter().position(|other| other.id == one.id).unwrap();
            let in_order = order[place].standing == Standing::InOrder;
            UsedNumber { finished: in_order.then_some(one.manifest.finished), ..one.used_number() }
        };
        self.used.extend(gone.iter().map(number));
    }
}

/// Some weeks in which hosts back up, a thief forges, and somebody forgets now and then.
fn some_weeks(mut world: World, zone: &TimeZone) {
    let jobs = 1 + world.random.below(JOBS_MAX);
    let days = 4 + world.random.below(25);
    let policy = random_policy(&mut world.random);
    for day in 0..days {
        let forges = if day > 2 { world.random.below(8) } else { 7 };
        if forges == 0 {
            world.forge(jobs, world.now - 3000);
        }
        world.honest_day(jobs);
        if forges < 2 {
            world.forge(jobs, world.now + 60_000);
        }
        if world.random.below(6) == 0 || day + 1 == days {
            let choice = choice(zone, world.now + 80_000);
            world.forget(&policy, &choice);
        }
        world.now += DAY;
    }
}

#[test]
fn nothing_goes_because_of_what_a_thief_of_a_backup_key_writes() {
    each_seed(|seed| {
        let zone = if seed % 2 == 0 { TimeZone::UTC } else { zone("Europe/Berlin") };
        some_weeks(World::new(seed), &zone);
    });
}

fn new_key(credential: &Credential) -> NewKey<'_> {
    let time = Timestamp { seconds: START, nanoseconds: 0 };
    NewKey { credential, cost: Cost::LEAST, label: "key", time }
}

#[test]
fn nor_in_a_real_repository() {
    for seed in 0..8 {
        let store = Arc::new(MemoryBackend::new());
        let credential = Credential::KeyFile(Secret::new([1; 32]));
        let full = Repository::create(store.clone(), &new_key(&credential)).unwrap();
        let open = |byte: u8, role| {
            let credential = Credential::KeyFile(Secret::new([byte; 32]));
            full.add_key(role, &new_key(&credential)).unwrap();
            Repository::open(store.clone(), &credential).unwrap()
        };
        let admin = open(2, Role::Maintain);
        let hosts = [open(3, Role::Backup), open(4, Role::Backup)];
        some_weeks(World { mirror: Some((admin, hosts)), ..World::new(seed) }, &TimeZone::UTC);
    }
}

#[test]
fn who_is_stopped_says_how_far_it_went_and_only_who_may_begins() {
    let store = Arc::new(MemoryBackend::new());
    let credential = Credential::KeyFile(Secret::new([1; 32]));
    let full = Repository::create(store.clone(), &new_key(&credential)).unwrap();
    let other = Credential::KeyFile(Secret::new([2; 32]));
    full.add_key(Role::Backup, &new_key(&other)).unwrap();
    let host = Repository::open(store.clone(), &other).unwrap();
    let plan = Plan { unreadable: vec![Id([1; 32]), Id([2; 32])], ..Plan::default() };
    let interrupt = Interrupt::default();
    assert_eq!(run(&host, &plan, &interrupt).unwrap_err().kind(), ErrorKind::RoleNotAllowed);
    interrupt.request();
    let error = run(&full, &plan, &interrupt).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_eq!(error.to_string(), "0 of 2 snapshots are forgotten; the next run forgets the rest");
    assert!(full.snapshots().unwrap().marks.is_empty());
    assert_eq!(run(&full, &plan, &Interrupt::default()).unwrap(), 2);
    // Again says the same.
    assert_eq!(run(&full, &plan, &Interrupt::default()).unwrap(), 2);
    assert_eq!(full.snapshots().unwrap().marks.len(), 2);
}
