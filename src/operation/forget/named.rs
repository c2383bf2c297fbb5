//! Forgetting exactly the snapshots that a person names.
//!
//! A name may also be that of a snapshot that cannot be read, so that junk can be got rid of, and of one that vanished,
//! so that a person can say that it may be gone.
//!
//! Invariant: a snapshot whose mark of forgetting cannot be read counts as none that remains.

use super::guard;
use super::plan::{Cause, Choice, Fate, Group, Reason, group};
use crate::backend::ObjectKind;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::repository::find::SnapshotFilter;
use crate::repository::snapshot::{Snapshot, Snapshots};

/// What is named.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Groups of which something goes.
    pub(super) groups: Vec<Group>,
    /// Snapshots that cannot be read.
    pub(super) unreadable: Vec<Id>,
    /// Snapshots that vanished.
    pub(super) vanished: Vec<Id>,
}

/// Resolves names and holds what they name against the guards.
pub(super) fn decide(found: &Snapshots, names: &[String], choice: &Choice) -> Result<Named> {
    let mut named = Named::default();
    let mut ids = Vec::new();
    for name in names {
        match resolve(found, name, &choice.filter)? {
            Meant::Snapshot(id) => ids.push(id),
            Meant::Unreadable(id) => named.unreadable.push(id),
            Meant::Vanished(id) => named.vanished.push(id),
        }
    }
    for ids in [&mut named.unreadable, &mut named.vanished] {
        ids.sort_unstable();
        ids.dedup();
    }
    // A name is meant whatever else is filtered; the filter has told which one is the latest.
    let all = Choice { filter: SnapshotFilter::default(), ..choice.clone() };
    let used: Vec<_> = found.marks.iter().filter_map(|mark| mark.number.clone()).collect();
    let perhaps_forgotten = found.perhaps_forgotten();
    // Who may be forgotten is no reason that another may go.
    let counted: Vec<Snapshot> = found
        .snapshots
        .iter()
        .filter(|snapshot| ids.contains(&snapshot.id) || !perhaps_forgotten.contains(&snapshot.id))
        .cloned()
        .collect();
    let mut groups = group(&counted, &used, &all);
    for group in &mut groups {
        for member in &mut group.members {
            member.fate = if ids.contains(&member.snapshot.id) {
                Fate::Forget(Cause::Named)
            } else {
                Fate::Keep(vec![Reason::NotNamed])
            };
        }
    }
    groups.retain(|group| group.going().next().is_some());
    check(&groups, choice)?;
    named.groups = groups;
    Ok(named)
}

/// Naming one snapshot of a group is a choice; naming several may be an accident with a list.
fn check(groups: &[Group], choice: &Choice) -> Result<()> {
    for group in groups.iter().filter(|_| !choice.lifted.newest_good) {
        let held = guard::newest_good(&group.members);
        let lost = held.and_then(|(place, reason)| Some((group.members.get(place)?, reason)));
        if let Some((member, reason)) = lost.filter(|(member, _)| member.goes()) {
            let (id, group) = (member.snapshot.id.short(), guard::name(group));
            let what = match reason {
                Reason::NewestGood => "whose checks passed",
                _ => "of which none passed its checks",
            };
            return Err(Error::refused(format!("{id} is the newest snapshot of {group} {what}"))
                .hint("--forget-newest-good forgets it all the same"));
        }
    }
    for group in groups.iter().filter(|group| group.going().count() > 1) {
        guard::check_halves(group, choice.lifted)?;
    }
    Ok(())
}

enum Meant {
    Snapshot(Id),
    Unreadable(Id),
    Vanished(Id),
}

fn resolve(found: &Snapshots, name: &str, filter: &SnapshotFilter) -> Result<Meant> {
    let unreadable = found
        .damaged
        .iter()
        .filter(|(kind, ..)| *kind == ObjectKind::Snapshot)
        .map(|(_, id, _)| Meant::Unreadable(*id));
    let vanished = found.vanished.iter().map(|vanished| Meant::Vanished(vanished.id));
    let wanted = name.to_ascii_lowercase();
    let is_prefix = wanted.len() >= 4 && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
    let starts = |id: &Id| is_prefix && id.to_hex().starts_with(&wanted);
    let readable = found.snapshots.iter().filter(|snapshot| starts(&snapshot.id)).count();
    let mut others = unreadable
        .chain(vanished)
        .filter(|meant| matches!(meant, Meant::Unreadable(id) | Meant::Vanished(id) if starts(id)));
    match (readable, others.next(), others.next()) {
        (0, Some(meant), None) => Ok(meant),
        (_, None, _) => found.find(filter, name).map(|snapshot| Meant::Snapshot(snapshot.id)),
        _ => {
            Err(Error::refused(format!("{name} names several snapshots")).hint("give more digits of the id"))
        }
    }
}
