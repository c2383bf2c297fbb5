//! What is not done unless a person says so by name: losing the last good snapshot, more than half of a group, or all.
//!
//! Invariant: a refusal comes before the first write to a group, and names the group and the flag that lifts it. Rules are
//! refused group by group, so that one that needs a person keeps no other from being thinned out.

use super::plan::{Group, Lifted, Member, Reason};
use crate::error::{Error, Result};
use crate::format::snapshot::{DatabaseOutcome, Manifest};
use crate::report::printable;

/// Whether everything that was checked while a snapshot was made passed.
pub fn is_good(manifest: &Manifest) -> bool {
    manifest.statistics.problems == 0
        && manifest.service.as_ref().is_none_or(|service| service.whole)
        && manifest.databases.iter().all(|database| database.outcome == DatabaseOutcome::Checked)
}

/// The place of the snapshot that a group must not lose: the newest whose checks passed, or the newest if none did. One
/// of an ordinary day comes before one of a crowded day, and that before one that is out of order: who forges
/// snapshots must not take the guard off a real one.
pub(super) fn newest_good(members: &[Member]) -> Option<(usize, Reason)> {
    let newest = |counts: &dyn Fn(&Member) -> bool| members.iter().rposition(counts);
    let ordinary = |member: &Member| member.in_order() && member.crowd.is_none();
    let good = |member: &Member| is_good(&member.snapshot.manifest);
    newest(&|member| ordinary(member) && good(member))
        .or_else(|| newest(&|member| member.in_order() && good(member)))
        .or_else(|| newest(&good))
        .map(|place| (place, Reason::NewestGood))
        .or_else(|| newest(&ordinary).or_else(|| newest(&|_| true)).map(|place| (place, Reason::Newest)))
}

/// A group's name for a person.
pub fn name(group: &Group) -> String {
    let key = &group.key;
    let shown = |text: &str| printable(text.as_bytes());
    let mut words = Vec::new();
    words.extend(key.host.as_deref().map(|host| format!("host {}", shown(host))));
    words.extend(key.job.as_ref().and_then(Option::as_deref).map(|job| format!("job {}", shown(job))));
    words.extend(key.paths.as_ref().map(|paths| {
        let first: Vec<String> = paths.iter().take(3).map(|path| printable(path)).collect();
        let more = paths.len().saturating_sub(first.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", first.join(" "))
    }));
    words.extend(
        key.tags
            .as_ref()
            .filter(|tags| !tags.is_empty())
            .map(|tags| format!("tags {}", shown(&tags.join(",")))),
    );
    words.push(format!("key {}", crate::id::Id(key.writer).short()));
    words.join(", ")
}

/// Why rules must not do to a group what they decided, where they must not.
pub(super) fn check_rules(group: &Group, lifted: Lifted) -> Result<()> {
    let kept = |member: &&Member| match &member.fate {
        super::plan::Fate::Keep(reasons) => reasons
            .iter()
            .any(|reason| matches!(reason, Reason::Rule(_) | Reason::Otherwise(_) | Reason::Crowded(..))),
        super::plan::Fate::Forget(_) => false,
    };
    let in_order = || group.members.iter().filter(|member| member.in_order());
    if in_order().next().is_some() && in_order().find(kept).is_none() {
        return Err(Error::refused(format!("the rules would keep no snapshot of {}", name(group))).hint(
            "add a rule that keeps some, such as --keep-last 1, or choose by --host, --path and --tag",
        ));
    }
    check_halves(group, lifted)
}

/// Refuses to forget more than half of a group at once.
pub(super) fn check_halves(group: &Group, lifted: Lifted) -> Result<()> {
    match more_than_half(group).filter(|_| !lifted.more_than_half) {
        None => Ok(()),
        Some(half) => Err(Error::refused(format!("more than half would be forgotten at once: {half}"))
            .hint("look at what goes with --dry-run; --forget-more-than-half does it all the same")),
    }
}

fn more_than_half(group: &Group) -> Option<String> {
    // What is out of order counts on neither side: forged snapshots must not make the half larger.
    let in_order = group.members.iter().filter(|member| member.in_order());
    let (all, going) = in_order.fold((0usize, 0usize), |(all, going), member| {
        (all.saturating_add(1), going.saturating_add(usize::from(member.goes())))
    });
    (going.saturating_mul(2) > all).then(|| format!("{going} of {all} of {}", name(group)))
}
