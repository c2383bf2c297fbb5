//! `strongroom forget`

mod accept;
mod rules;
mod table;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::exit::Outcome;
use super::filter::Filter;
use super::global::Global;
use super::output::{Output, human, json as objects};
use super::prune;
use super::zone;
use crate::error::{Error, Result};
use crate::format::key_slot::Role;
use crate::operation::forget::{
    self, Choice, Fate, Group, GroupBy, Lifted, Member, Plan, Reason, Standing, Wanted,
};
use crate::report::{Finding, Reporter};
use crate::repository::snapshot::Snapshots;
use crate::repository::{Repository, host};
use rules::Rules;
pub(super) use rules::{parse_amount, parse_reach};

/// Arguments of `forget`.
#[derive(clap::Args)]
#[command(
    override_usage = "strongroom forget --keep-daily 7 --keep-weekly 5 ... [OPTIONS]\n       \
    strongroom forget [OPTIONS] SNAPSHOT...",
    after_help = "Examples:\n  strongroom forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run\n  \
    strongroom forget --keep-within 30d --keep-tag before-update\n  \
    strongroom forget 1a2b3c4d\n\n\
    Snapshots are held against each other only within a group: one key, host, job and list of paths.\n\
    --group-by makes groups wider or narrower; two keys never share one. A rule for a period keeps the\n\
    newest snapshot of each, and --keep-within counts back from the newest snapshot, not from now.\n\n\
    A backup counts once, by the snapshot that was stored last for it. As long as that one stays, one that\n\
    it was made from stays beside it if it holds something else; name it to forget it.\n\n\
    A snapshot that is out of order, that is dated in the future or back into days without backups, or\n\
    whose day holds far more of them than usual may be forged. It is kept, and never the reason that\n\
    another goes. Each guard has one option that lifts it; see what would go by --dry-run first. A host\n\
    whose clock is always more than a day slow looks dated back night after night, and so does what a key\n\
    of role backup copied late: mend the clock, copy with a key of role maintain, and let count what is\n\
    there by --accept-dated-back. This computer alone remembers that. A group\n\
    of which the rules would forget more than half stays as it is: the others are thinned out all the\n\
    same, and the exit code is 1.\n\n\
    Forgetting frees no space; `strongroom prune` does."
)]
pub(super) struct Arguments {
    /// Forget exactly these: a prefix of an id, `latest`, `latest~1`; also one that cannot be read, or vanished
    #[arg(value_name = "SNAPSHOT", required_unless_present_any = rules::NAMES, conflicts_with_all = rules::NAMES)]
    snapshots: Vec<String>,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    filter: Filter,
    /// What snapshots that are held against each other have in common besides their key: of host, job, paths, tags
    #[arg(short, long, value_name = "LIST", default_value = "host,job,paths", value_parser = parse_group_by, help_heading = "Which snapshots")]
    group_by: GroupBy,
    /// Time zone in which days begin, such as Europe/Berlin [default: the system's]
    #[arg(long, value_name = "NAME", value_parser = zone::parse)]
    timezone: Option<TimeZone>,
    /// Forget even the newest snapshot of a group whose checks passed
    #[arg(long, help_heading = "Guards to lift")]
    forget_newest_good: bool,
    /// Forget what is out of order or dated in the future, unless --keep-tag keeps it
    #[arg(long, help_heading = "Guards to lift")]
    forget_out_of_order: bool,
    /// Forget even more than half of a group
    #[arg(long, help_heading = "Guards to lift")]
    forget_more_than_half: bool,
    /// Let these count that this computer holds to be dated back, or `all` of them; nothing is forgotten unless there are
    /// rules too
    #[arg(long, value_name = "SNAPSHOT", num_args = 1.., help_heading = "Guards to lift")]
    accept_dated_back: Vec<String>,
    /// Treat the snapshots of days that hold far more than usual as all others
    #[arg(long, help_heading = "Guards to lift")]
    forget_crowded: bool,
    /// Forget nothing; tell what would be forgotten
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Prune afterwards, with the options for pruning
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    pruning: prune::Flags,
}

/// Reads `host,paths`; the empty text groups by the key alone.
pub(super) fn parse_group_by(text: &str) -> std::result::Result<GroupBy, String> {
    let mut by = GroupBy { host: false, job: false, paths: false, tags: false };
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match name {
            "host" | "hosts" => by.host = true,
            "job" | "jobs" => by.job = true,
            "path" | "paths" => by.paths = true,
            "tag" | "tags" => by.tags = true,
            _ => return Err(format!("{name:?} is none of host, job, paths, tags")),
        }
    }
    Ok(by)
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let zone = arguments.timezone.clone().unwrap_or_else(|| zone::of_system(output));
    let repository = global.open(output)?;
    repository.keyring().require(Role::Maintain, "forgetting snapshots")?;
    let interrupt = output.signals.in_good_order();
    let mut found = repository.snapshots()?;
    if !arguments.accept_dated_back.is_empty() {
        accept::run(&repository, &mut found, arguments, output)?;
        if arguments.rules.policy().is_empty() {
            return Ok(Outcome::Done);
        }
    }
    let choice = Choice {
        filter: arguments.filter.get()?,
        group_by: arguments.group_by,
        zone: zone.clone(),
        now: host::now(),
        unseen: found.unseen.clone(),
        lifted: arguments.lifted(),
    };
    let wanted = arguments.wanted();
    let plan = forget::plan(&repository, &found, &wanted, &choice)?;
    let problems = report(&repository, &found, &plan, output);
    if output.json {
        plan.groups.iter().try_for_each(|group| output.object(&group_object(group)))?;
    } else {
        table::print(&plan, &zone, output)?;
    }
    if matches!(wanted, Wanted::Rules(_)) {
        warn_of_guarded(&plan, output);
    }
    let refused = refused(&plan);
    if let Some(error) = refused.as_ref().filter(|_| arguments.dry_run) {
        output.warn(&format!("would be refused, with exit code 1: {error}"), error.next_step());
    }
    let forgotten = if arguments.dry_run { 0 } else { forget::run(&repository, &plan, &interrupt)? };
    summarize(arguments, &plan, forgotten, problems, output)?;
    let mut outcome = Outcome::of(problems);
    if arguments.prune && arguments.dry_run {
        output.say("what a prune then frees is not known before the snapshots are forgotten")?;
    } else if arguments.prune {
        let cache = global.cache(&repository, output);
        let pruned = arguments.pruning.prune(&repository, cache.as_ref(), false, output)?;
        outcome = if pruned == Outcome::Done { outcome } else { pruned };
    }
    // What could be done is done by now.
    refused.filter(|_| !arguments.dry_run).map_or(Ok(outcome), Err)
}

/// Why groups stay as they are of which rules would forget too much.
pub(super) fn refused(plan: &Plan) -> Option<Error> {
    let refused: Vec<&Error> = plan.groups.iter().filter_map(|group| group.refused.as_ref()).collect();
    let causes: Vec<String> = refused.iter().map(ToString::to_string).collect();
    let hints = refused.iter().filter_map(|error| error.next_step());
    let error = Error::refused(causes.join("; "));
    let hint = hints.fold(Vec::new(), |mut hints, hint| {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
        hints
    });
    (!refused.is_empty()).then(|| error.hint(hint.join("; ")))
}

/// Tells what cannot be read and what vanished, but for what is named; gives how much cannot be read.
fn report(repository: &Repository, found: &Snapshots, plan: &Plan, output: &Output) -> u64 {
    let named = |id| plan.unreadable.contains(id) || plan.vanished.contains(id);
    let damaged: Vec<_> = found.damaged.iter().filter(|(_, id, _)| !named(id)).collect();
    for (kind, id, error) in &damaged {
        let cause = found.cause(*kind, id, error);
        let finding = Finding::problem(format!("{}/{}", kind.folder(), id.short()), cause);
        output.report(match error.next_step() {
            Some(step) => finding.with_hint(step.to_owned()),
            None => finding,
        });
    }
    if plan.vanished.is_empty() {
        repository.tell_vanished(found, output);
    }
    damaged.len() as u64
}

impl Arguments {
    fn lifted(&self) -> Lifted {
        Lifted {
            newest_good: self.forget_newest_good,
            out_of_order: self.forget_out_of_order,
            more_than_half: self.forget_more_than_half,
            crowded: self.forget_crowded,
        }
    }

    fn wanted(&self) -> Wanted {
        if self.snapshots.is_empty() {
            Wanted::Rules(self.rules.policy())
        } else {
            Wanted::Named(self.snapshots.clone())
        }
    }
}

/// What the guards keep grows until a person looks at it.
fn warn_of_guarded(plan: &Plan, output: &Output) {
    let staying = || plan.groups.iter().flat_map(|group| &group.members).filter(|member| !member.goes());
    let with =
        |standing: &dyn Fn(Standing) -> bool| staying().filter(|member| standing(member.standing)).count();
    let ahead = with(&|standing| standing == Standing::Future);
    if ahead > 0 {
        let ahead = counted(ahead, "snapshot is", "snapshots are");
        output.warn(
            &format!("{ahead} dated in the future, and kept"),
            Some(
                "where a clock was wrong, forget them by name before that day: afterwards all that was made until then \
                 counts as out of order",
            ),
        );
    }
    let held = with(&|standing| !matches!(standing, Standing::InOrder | Standing::Future));
    if held > 0 {
        let held = counted(held, "snapshot is", "snapshots are");
        output.warn(
            &format!("{held} out of order or dated back, and kept"),
            Some(
                "find out who wrote them; name them, or give --forget-out-of-order, to forget them; what is dated back for an \
                 honest reason, as by a clock that is slow or a copy that came late, counts after --accept-dated-back ID",
            ),
        );
    }
    let guarded = |reason: &Reason| matches!(reason, Reason::Otherwise(_) | Reason::Crowded(..));
    let crowded =
        staying().filter(|member| matches!(&member.fate, Fate::Keep(reasons) if reasons.iter().any(guarded)));
    let crowded = crowded.count();
    if crowded > 0 {
        let crowded = counted(crowded, "snapshot is", "snapshots are");
        output.warn(
            &format!("{crowded} kept because some days hold far more than usual"),
            Some("find out who wrote so many; --forget-crowded lets the rules alone decide"),
        );
    }
}

fn counted(number: usize, one: &str, more: &str) -> String {
    format!("{} {}", human::count(number as u64), if number == 1 { one } else { more })
}

fn summarize(
    arguments: &Arguments,
    plan: &Plan,
    forgotten: u64,
    problems: u64,
    output: &Output,
) -> Result<()> {
    let going = plan.going();
    if output.json {
        return output.object(&json!({
            "message_type": "summary",
            "dry_run": arguments.dry_run,
            "groups": plan.groups.len(),
            "snapshots_kept": plan.staying(),
            "snapshots_removed": going.len(),
            "removed": going.iter().map(|(id, _)| id.to_hex()).collect::<Vec<_>>(),
            "problems": problems,
        }));
    }
    let kept = format!("{} kept", human::count(plan.staying() as u64));
    if arguments.dry_run {
        let would = human::counted(going.len() as u64, "snapshot");
        return output.say(&format!("dry run: {would} would be forgotten, {kept}"));
    }
    let next = if forgotten > 0 && !arguments.prune { "; `strongroom prune` frees their space" } else { "" };
    output.say(&format!("{} forgotten, {kept}{next}", human::counted(forgotten, "snapshot")))
}

/// A group for a program, with restic's names.
fn group_object(group: &Group) -> Value {
    let key = &group.key;
    let paths = key
        .paths
        .as_ref()
        .map(|paths| paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect::<Vec<_>>());
    let of = |goes: bool| -> Vec<Value> {
        let goes_at_all = |member: &Member| member.goes() && group.refused.is_none();
        let members = group.members.iter().rev().filter(|member| goes_at_all(member) == goes);
        members.map(|member| listed(objects::snapshot(&member.snapshot))).collect()
    };
    let reasons: Vec<Value> = group
        .members
        .iter()
        .rev()
        .map(|member| {
            let (matches, forgotten) = match &member.fate {
                Fate::Keep(reasons) => (reasons.iter().map(table::for_programs).collect(), None),
                Fate::Forget(cause) => (Vec::new(), Some(table::cause(cause))),
            };
            let (id, short) = (member.snapshot.id.to_hex(), member.snapshot.id.short());
            json!({
                "snapshot": { "id": id, "short_id": short, "time": human::utc(member.snapshot.manifest.time) },
                "matches": matches,
                "forgotten_because": forgotten,
            })
        })
        .collect();
    json!({
        "message_type": "forget",
        "tags": key.tags,
        "host": key.host,
        "job": key.job.clone().flatten(),
        "paths": paths,
        "key": crate::id::Id(key.writer).to_hex(),
        "keep": of(false),
        "remove": of(true),
        "refused": group.refused.as_ref().map(Error::chain),
        "reasons": reasons,
    })
}

/// A snapshot within another object has no type of its own.
fn listed(mut snapshot: Value) -> Value {
    if let Some(object) = snapshot.as_object_mut() {
        object.shift_remove("message_type");
    }
    snapshot
}
