//! `strongroom prune`

use std::time::Instant;

use serde_json::{Value, json};

use super::exit::Outcome;
use super::global::Global;
use super::output::{Output, human};
use super::size::parse_size;
use crate::error::Result;
use crate::id::Id;
use crate::operation::prune::{self, Amount, Limit, Options, Plan, Summary};
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::host;

/// Arguments of `prune`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom prune --dry-run\n  strongroom prune --max-unused 0\n\n\
    Snapshots that are forgotten need nothing; what only they needed is deleted. Backups, restores and other\n\
    prunes may run meanwhile. What a running backup might still refer to is left to the next prune.\n\
    Exit code 3 if the same packs had to wait twice in a row.")]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Delete nothing; tell what would be deleted
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// How to prune: for `prune`, and for `forget --prune`.
#[derive(clap::Args)]
pub(super) struct Flags {
    /// How much may stay that nothing needs: per cent of the store, bytes, or `unlimited`
    #[arg(long, value_name = "LIMIT", default_value = "5%", value_parser = parse_limit, help_heading = "Pruning")]
    max_unused: Limit,
    /// Copy at most so many bytes out of packs that are partly used
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Pruning")]
    max_repack_size: Option<u64>,
    /// Also put small packs together
    #[arg(long, help_heading = "Pruning")]
    repack_small: bool,
    /// Wait for running backups to end, instead of leaving the rest to the next prune
    #[arg(long, help_heading = "Pruning")]
    wait: bool,
    /// Go on though most packs have vanished since the last prune on this computer
    #[arg(long, help_heading = "Pruning")]
    allow_fewer_packs: bool,
}

pub(super) fn parse_limit(text: &str) -> std::result::Result<Limit, String> {
    if text == "unlimited" {
        return Ok(Limit::Unlimited);
    }
    let wrong = || "give per cent below 100, such as 5% or 2.5%, a size such as 1G, or unlimited".to_owned();
    let Some(number) = text.strip_suffix('%') else {
        return parse_size(text).map(Limit::Bytes).map_err(|_| wrong());
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 2 || !digits(whole) || !digits(part) {
        return Err(wrong());
    }
    let hundredths = format!("{whole}{part:0<2}").parse::<u32>().ok().filter(|number| *number < 10_000);
    hundredths.map(Limit::Part).ok_or_else(wrong)
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let repository = global.open(output)?;
    let cache = global.cache(&repository, output);
    arguments.flags.prune(&repository, cache.as_ref(), arguments.dry_run, output)
}

impl Flags {
    /// Prunes and tells how it went.
    pub(super) fn prune(
        &self,
        repository: &Repository,
        cache: Option<&Cache>,
        dry_run: bool,
        output: &Output,
    ) -> Result<Outcome> {
        let started = Instant::now();
        let options = Options {
            dry_run,
            max_unused: self.max_unused,
            max_repack: self.max_repack_size,
            repack_small: self.repack_small,
            wait: self.wait,
            allow_fewer_packs: self.allow_fewer_packs,
            host: host::name(),
            interrupt: output.signals.in_good_order(),
        };
        let progress = output.start_progress("pruning");
        let summary = prune::run(repository, cache, &options, output);
        drop(progress);
        let summary = summary?;
        if output.json {
            output.object(&json(&summary, started.elapsed().as_secs_f64()))?;
        } else {
            tell_plan(&summary.plan, self.max_repack_size.is_some(), summary.dry_run, output)?;
            if !dry_run {
                tell_done(&summary, started, output)?;
            }
        }
        Ok(if summary.waits_again { Outcome::Incomplete } else { Outcome::Done })
    }
}

fn packs(amount: Amount) -> String {
    format!("{} in {}", human::bytes(amount.bytes), human::counted(amount.packs, "pack"))
}

fn tell_plan(plan: &Plan, bounded: bool, dry_run: bool, output: &Output) -> Result<()> {
    let mut rows = vec![
        ["in the store".to_owned(), packs(plan.total)],
        [
            "used".to_owned(),
            format!("{} in {}", human::bytes(plan.used_bytes), human::counted(plan.used_blobs, "blob")),
        ],
        [
            "unused".to_owned(),
            format!("{} in {}", human::bytes(plan.unused_bytes), human::counted(plan.unused_blobs, "blob")),
        ],
    ];
    let mut row = |name: &str, amount: Amount| {
        if amount.packs > 0 {
            rows.push([name.to_owned(), packs(amount)]);
        }
    };
    row("condemned earlier", plan.condemned_earlier);
    row("to delete", plan.unused_packs);
    row("to delete, in no index", plan.unnamed_packs);
    row("in no index, kept until it is known whose they are", plan.unnamed_kept);
    row("to repack", plan.repacked);
    if plan.moved_bytes > 0 {
        rows.push(["to copy out of those".to_owned(), human::bytes(plan.moved_bytes)]);
    }
    let verb = if dry_run { "would be freed" } else { "to be freed" };
    rows.push([verb.to_owned(), human::bytes(plan.freed_bytes)]);
    if plan.left_bytes > 0 {
        let why =
            if bounded { "more work than --max-repack-size, or not worth it" } else { "not worth the work" };
        rows.push([format!("stays unused, {why}"), human::bytes(plan.left_bytes)]);
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(|row| row.to_vec()).collect();
    human::table(&rows).iter().try_for_each(|line| output.say(line))
}

fn tell_done(summary: &Summary, started: Instant, output: &Output) -> Result<()> {
    let freed = summary.deleted.bytes.saturating_sub(summary.written_bytes);
    output.say(&format!(
        "deleted {}, wrote {}, freed {}, in {}",
        packs(summary.deleted),
        human::bytes(summary.written_bytes),
        human::bytes(freed),
        human::duration(started.elapsed())
    ))?;
    if summary.rescued_blobs > 0 {
        let blobs = human::counted(summary.rescued_blobs, "blob");
        output.say(&format!("{blobs} came to be needed while the prune ran, and were copied"))?;
    }
    let tidied = &summary.tidied;
    let cleared: Vec<String> = [
        (tidied.sessions, "ended session"),
        (tidied.snapshots, "forgotten manifest"),
        (tidied.temporary_files, "temporary file"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, noun)| human::counted(count, noun))
    .collect();
    if !cleared.is_empty() {
        let bytes = match tidied.temporary_bytes {
            0 => String::new(),
            bytes => format!(" ({})", human::bytes(bytes)),
        };
        output.say(&format!("cleared up {}{bytes}", cleared.join(", ")))?;
    }
    if summary.pending.packs > 0 {
        let sessions: Vec<String> = summary.open_sessions.iter().map(Id::short).collect();
        let cause = format!(
            "{} wait for the end of {} {}",
            packs(summary.pending),
            if sessions.len() == 1 { "session" } else { "sessions" },
            sessions.join(", ")
        );
        let hint = "the next prune deletes them; `strongroom unlock` shows whether a session is dead";
        // What leads to an exit code is told even where quiet is asked for.
        let finding =
            if summary.waits_again { Finding::problem("", cause) } else { Finding::warning("", cause) };
        output.report(finding.with_hint(hint));
    }
    Ok(())
}

pub(super) fn json(summary: &Summary, seconds: f64) -> Value {
    let amount = |amount: Amount| json!({ "packs": amount.packs, "bytes": amount.bytes });
    let plan = &summary.plan;
    json!({
        "message_type": "summary",
        "dry_run": summary.dry_run,
        "total": amount(plan.total),
        "used_bytes": plan.used_bytes,
        "used_blobs": plan.used_blobs,
        "unused_bytes": plan.unused_bytes,
        "unused_blobs": plan.unused_blobs,
        "unused_packs": amount(plan.unused_packs),
        "unindexed_packs": amount(plan.unnamed_packs),
        "unindexed_packs_kept": amount(plan.unnamed_kept),
        "condemned_earlier": amount(plan.condemned_earlier),
        "repacked": amount(plan.repacked),
        "moved_bytes": plan.moved_bytes,
        "to_be_freed_bytes": plan.freed_bytes,
        "left_unused_bytes": plan.left_bytes,
        "deleted": amount(summary.deleted),
        "written_bytes": summary.written_bytes,
        "rescued_blobs": summary.rescued_blobs,
        "pending": amount(summary.pending),
        "waits_again": summary.waits_again,
        "open_sessions": summary.open_sessions.iter().map(Id::to_hex).collect::<Vec<_>>(),
        "sessions_removed": summary.tidied.sessions,
        "manifests_removed": summary.tidied.snapshots,
        "temporary_files_removed": summary.tidied.temporary_files,
        "temporary_bytes_removed": summary.tidied.temporary_bytes,
        "total_duration": seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_parts_or_sizes() {
        for (text, expected) in [
            ("5%", Some(Limit::Part(500))),
            ("0%", Some(Limit::Part(0))),
            ("2.5%", Some(Limit::Part(250))),
            ("0.07%", Some(Limit::Part(7))),
            ("99.99%", Some(Limit::Part(9_999))),
            ("100%", None),
            ("%", None),
            (".5%", None),
            ("1.234%", None),
            ("-1%", None),
            ("0", Some(Limit::Bytes(0))),
            ("1G", Some(Limit::Bytes(1 << 30))),
            ("unlimited", Some(Limit::Unlimited)),
            ("", None),
        ] {
            assert_eq!(parse_limit(text).ok(), expected, "{text}");
        }
    }
}
