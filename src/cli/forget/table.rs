//! What `forget` shows a person: a table for each group, the newest snapshot last.

use jiff::tz::TimeZone;

use crate::cli::output::{Output, human};
use crate::cli::zone;
use crate::error::Result;
use crate::operation::forget::{Cause, Fate, Group, Member, Plan, Reason, Rule, Standing, group_name};
use crate::report::printable;

/// The narrowest that a last column is made before its text just runs on.
const NARROWEST: usize = 20;

pub(super) fn print(plan: &Plan, zone: &TimeZone, output: &Output) -> Result<()> {
    if output.quiet {
        return Ok(());
    }
    if !plan.groups.is_empty() {
        output.line(&format!("days and times as in {}", zone::name(zone)))?;
    }
    for group in &plan.groups {
        let (going, all) = (group.going().count(), group.members.len());
        output.line("")?;
        output.line(&format!(
            "{}: {} of {} go",
            group_name(group),
            human::count(going as u64),
            human::counted(all as u64, "snapshot"),
        ))?;
        lines(group, zone).iter().try_for_each(|line| output.line(line))?;
        if let Some(refused) = &group.refused {
            output.line(&format!("all of them stay: {refused}"))?;
        }
    }
    if !plan.groups.is_empty() {
        output.line("")?;
    }
    for (ids, what) in [(&plan.unreadable, "cannot be read"), (&plan.vanished, "vanished")] {
        ids.iter().try_for_each(|id| output.line(&format!("{}  forget  named; {what}", id.short())))?;
    }
    Ok(())
}

fn lines(group: &Group, zone: &TimeZone) -> Vec<String> {
    let with_host = group.key.host.is_none();
    let with_tags = group.members.iter().any(|member| !member.snapshot.manifest.tags.is_empty());
    let row = |member: &Member| {
        let manifest = &member.snapshot.manifest;
        let mut cells = vec![human::minute(manifest.time, zone), member.snapshot.id.short()];
        cells.extend(with_host.then(|| printable(manifest.host.as_bytes())));
        cells.extend(with_tags.then(|| printable(manifest.tags.join(",").as_bytes())));
        let (word, why) = match &member.fate {
            Fate::Keep(reasons) => ("keep", reasons.iter().map(for_people).collect::<Vec<_>>().join(", ")),
            Fate::Forget(why) if group.refused.is_some() => ("refused", cause(why)),
            Fate::Forget(why) => ("forget", cause(why)),
        };
        cells.extend([word.to_owned(), why]);
        cells
    };
    let mut head: Vec<String> = ["Time", "Id"].map(str::to_owned).to_vec();
    head.extend(with_host.then(|| "Host".to_owned()));
    head.extend(with_tags.then(|| "Tags".to_owned()));
    head.extend(["", "Why"].map(str::to_owned));
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(group.members.iter().map(row)).collect();
    match Output::columns() {
        Some(columns) => human::wrapped_table(&rows, columns, NARROWEST),
        None => human::table(&rows),
    }
}

fn for_people(reason: &Reason) -> String {
    match reason {
        Reason::Rule(rule) => rule.to_string(),
        Reason::Otherwise(rule) => format!("{rule} (crowded out otherwise)"),
        Reason::Crowded(crowd, rule) => {
            format!("crowded: {} that day, {} usual ({rule} else)", crowd.snapshots, crowd.usual)
        }
        Reason::Standing(at) => standing(at),
        Reason::NewestGood => "the newest of its group whose checks passed".to_owned(),
        Reason::Newest => "the newest of its group, none of which passed its checks".to_owned(),
        Reason::Beside(id) => format!("beside {}, made of the same backup", id.short()),
        Reason::NotNamed => "not named".to_owned(),
    }
}

/// A reason in restic's words where restic has some.
pub(super) fn for_programs(reason: &Reason) -> String {
    match reason {
        Reason::Rule(Rule::Last(_)) => "last snapshot".to_owned(),
        Reason::Rule(Rule::Period(period, _)) => format!("{} snapshot", period.name()),
        Reason::Rule(Rule::Oldest(period)) => format!("oldest {} snapshot", period.name()),
        Reason::Rule(Rule::PeriodWithin(period, reach)) => format!("{} within {reach}", period.name()),
        Reason::Rule(Rule::Tags(tags)) => format!("has tags [{}]", tags.join(", ")),
        other => for_people(other),
    }
}

pub(super) fn cause(cause: &Cause) -> String {
    match cause {
        Cause::NoRule => "no rule keeps it".to_owned(),
        Cause::Named => "named".to_owned(),
        Cause::Standing(at) => standing(at),
    }
}

fn standing(standing: &Standing) -> String {
    match standing {
        Standing::InOrder => "in order".to_owned(),
        Standing::Future => "dated in the future".to_owned(),
        Standing::Unseen => "dated back: it was not there when this computer last looked".to_owned(),
        Standing::Late { number, after } => format!("out of order: number {number} after {after}"),
        Standing::Shared { number } => format!("out of order: number {number} twice"),
        Standing::Used { number } => format!("out of order: number {number} was used before"),
    }
}
