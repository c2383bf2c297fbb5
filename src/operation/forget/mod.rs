//! Forget: which snapshots go, by rules or by name, and the marks that say so.
//!
//! [`order`] and [`crowd`] tell which snapshots may be the reason that another goes, [`policy`] applies the rules,
//! [`plan`] puts both together, and [`guard`] refuses what looks like an accident or an attack. Nothing but the marks is
//! written, and nothing is deleted: that is the work of a prune.
//!
//! Invariant: no clock decides. Now only tells what is dated in the future, and that is kept.

mod calendar;
mod contradicted;
mod crowd;
mod group;
mod guard;
mod named;
mod order;
mod plan;
mod policy;

#[cfg(test)]
mod tests;

use crate::error::{ErrorKind, Result};
use crate::format::key_slot::Role;
use crate::format::marks::UsedNumber;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::repository::Repository;
use crate::repository::snapshot::Snapshots;

pub use calendar::{Period, Reach};
pub use crowd::Crowd;
pub use group::{GroupBy, GroupKey};
pub use guard::{is_good, name as group_name};
pub use order::{Place, Standing, judge};
pub use plan::{Cause, Choice, Fate, Group, Lifted, Member, Reason, decide};
pub use policy::{Amount, Policy, Rule};

/// What a person asks for.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// What these rules do not keep.
    Rules(Policy),
    /// Exactly these, as a person names them.
    Named(Vec<String>),
}

/// What is to be forgotten, and why the rest stays.
#[derive(Debug, Default)]
pub struct Plan {
    /// The groups that it is about.
    pub groups: Vec<Group>,
    /// Snapshots that cannot be read and were named.
    pub unreadable: Vec<Id>,
    /// Snapshots that vanished and were named.
    pub vanished: Vec<Id>,
}

impl Plan {
    /// What goes, and the number that the mark of each has to keep.
    pub fn going(&self) -> Vec<(Id, Option<UsedNumber>)> {
        let members = self.groups.iter().flat_map(Group::going);
        let mut going: Vec<_> =
            members.map(|member| (member.snapshot.id, Some(member.used_number()))).collect();
        going.extend(self.unreadable.iter().chain(&self.vanished).map(|id| (*id, None)));
        going
    }

    /// How many stay of the groups that it is about.
    pub fn staying(&self) -> usize {
        self.groups.iter().map(|group| group.members.len().saturating_sub(group.going().count())).sum()
    }
}

/// Decides what goes. Groups to which rules would do what a guard holds back are refused as a whole.
///
/// # Errors
/// `RoleNotAllowed` for a backup key; `Refused` where a guard holds back what was named.
pub fn plan(repository: &Repository, found: &Snapshots, wanted: &Wanted, choice: &Choice) -> Result<Plan> {
    repository.keyring().require(Role::Maintain, "forgetting snapshots")?;
    match wanted {
        Wanted::Named(names) => {
            let named::Named { groups, unreadable, vanished } = named::decide(found, names, choice)?;
            Ok(Plan { groups, unreadable, vanished })
        }
        Wanted::Rules(policy) => {
            found.require_all_read("nothing is forgotten by rules")?;
            let used: Vec<_> = found.marks.iter().filter_map(|mark| mark.number.clone()).collect();
            let mut groups = decide(&found.snapshots, &used, policy, choice);
            for group in &mut groups {
                group.refused = guard::check_rules(group, choice.lifted).err();
            }
            Ok(Plan { groups, ..Plan::default() })
        }
    }
}

/// Writes the marks; gives how many.
///
/// # Errors
/// Where one cannot be stored, or somebody asks to stop: the error says how many are written, and they stay.
pub fn run(repository: &Repository, plan: &Plan, interrupt: &Interrupt) -> Result<u64> {
    repository.keyring().require(Role::Maintain, "forgetting snapshots")?;
    let going = plan.going();
    for (written, (id, number)) in going.iter().enumerate() {
        let stored = interrupt.check().and_then(|()| repository.put_forgotten(id, number.clone()));
        stored.map_err(|error| {
            let said = format!("{written} of {} snapshots are forgotten", going.len());
            match error.kind() {
                ErrorKind::Interrupted => error.context(format!("{said}; the next run forgets the rest")),
                _ => error.context(format!("{said}, and {} cannot be", id.short())),
            }
        })?;
    }
    Ok(going.len() as u64)
}
