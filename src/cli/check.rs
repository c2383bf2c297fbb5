//! `strongroom check`

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::exit::Outcome;
use super::global::Global;
use super::output::{Output, human};
use super::size::parse_size;
use crate::backend::{Backend, LocalBackend, Strangers};
use crate::error::{Error, ErrorKind, Result};
use crate::format::node::Timestamp;
use crate::id::Id;
use crate::operation::check::keyless;
use crate::operation::check::{self, Options, Read, Subset, Summary};
use crate::report::{Finding, Reporter, printable};
use crate::repository::host;

/// Parts in a million: what a share of a hundred is counted in.
const MILLION: u32 = 1_000_000;
/// Seconds of a day.
const DAY: i64 = 86_400;

/// Arguments of `check`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  strongroom check --read-data\n  strongroom check --read-data-subset 5%\n  \
    strongroom check --read-data-subset 1/7\n  strongroom check --keyless -r /srv/backup/vault\n\n\
    Without --read-data a check reads no contents: it finds missing packs, not flipped bits. Whatever is \
    damaged is told with the snapshots and files that suffer, and with the command that mends it. Exit \
    code 1 if anything is wrong.\n\n\
    A subset of `5%` or `10G` rotates: first comes what this computer never read, then what it read \
    longest ago, as its cache remembers; a pack that was damaged is read each time on top of it. `2/7` is \
    always the same part of seven. Run every night, 5 % reads everything in 20 nights, and the check says \
    how far it has come.\n\n\
    With --keyless it takes no key, no password and no cache: for whoever runs the store. A share or a size \
    is then drawn by lot, for nothing is remembered: take the parts `1/7`, `2/7` and so on in turn. Packs, \
    index, records of prunes and key slots are named by a hash of their bytes, so that any damage to them \
    shows. It cannot see: bits flipped in `config`; in a snapshot, a session or a mark behind its header; \
    objects that were deleted or put back; what was written by somebody with a key. A check with a key sees \
    that."
)]
pub(super) struct Arguments {
    /// Read and verify every byte of every pack
    #[arg(long, conflicts_with = "read_data_subset")]
    read_data: bool,
    /// Read and verify some packs: part n of t (`n/t`), a share (`5%`), or a number of bytes (`10G`)
    #[arg(long, value_name = "SUBSET", value_parser = parse_subset)]
    read_data_subset: Option<Subset>,
    /// Hold names against contents without a key; reads all packs unless a subset is given
    #[arg(long)]
    keyless: bool,
}

impl Arguments {
    fn subset(&self) -> Option<Subset> {
        self.read_data_subset.or(self.read_data.then_some(Subset::All))
    }
}

pub(super) fn parse_subset(text: &str) -> std::result::Result<Subset, String> {
    let unfit = || "give n/t such as 1/7, a share such as 5% or 2.5%, or a size such as 10G".to_owned();
    if let Some((part, of)) = text.split_once('/') {
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0);
        return match (number(part), number(of)) {
            (Some(part), Some(of)) if part <= of => Ok(Subset::Part(part, of)),
            _ => Err("of n/t, n is at least 1 and at most t".to_owned()),
        };
    }
    if let Some(share) = text.strip_suffix('%') {
        let (whole, fraction) = share.split_once('.').unwrap_or((share, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 4 {
            return Err("a share is a number such as 5% or 0.25%, of at most four decimals".to_owned());
        }
        let parts = format!("{whole}{fraction:0<4}").parse::<u32>().ok();
        return match parts.filter(|parts| (1..=MILLION).contains(parts)) {
            Some(MILLION) => Ok(Subset::All),
            Some(parts) => Ok(Subset::Millionths(parts)),
            None => Err("a share is more than 0% and at most 100%".to_owned()),
        };
    }
    match parse_size(text) {
        Ok(0) => Err("a size of nothing reads nothing".to_owned()),
        Ok(bytes) => Ok(Subset::Bytes(bytes)),
        Err(_) => Err(unfit()),
    }
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    if arguments.keyless {
        return run_keyless(global, arguments, output);
    }
    let started = Instant::now();
    let repository = global.open(output)?;
    let progress = output.start_progress("checking");
    let interrupt = output.signals.in_good_order();
    let options = Options { read: arguments.subset(), now: host::now() };
    let summary = check::run_with(&repository, &options, output, &interrupt);
    drop(progress);
    let summary = summary?;
    let took = started.elapsed();
    if output.json {
        output.object(&object(&summary, took))?;
    } else {
        print(&summary, options, took, output)?;
    }
    ended(summary.problems, output)
}

fn ended(problems: u64, output: &Output) -> Result<Outcome> {
    if problems > 0 {
        let problems = human::counted(problems, "problem");
        return Err(Error::new(ErrorKind::Corrupt, format!("the repository is damaged: {problems}"))
            .hint("what mends it stands above; `strongroom repair --help` tells more"));
    }
    output.say("no problems found")?;
    Ok(Outcome::Done)
}

pub(super) fn object(summary: &Summary, took: Duration) -> serde_json::Value {
    let hex = |ids: &mut dyn Iterator<Item = &Id>| ids.map(Id::to_hex).collect::<Vec<_>>();
    let time = |seconds: i64| human::utc(Timestamp { seconds, nanoseconds: 0 });
    let remembered = summary.read.and_then(|read| read.remembered);
    json!({
        "message_type": "summary",
        "num_errors": summary.problems,
        "broken_packs": hex(&mut summary.broken_packs.iter()),
        "suggest_repair_index": summary.suggest_repair_index,
        "suggest_prune": summary.suggest_prune,
        "snapshots": summary.snapshots,
        "packs": summary.packs,
        "blobs": summary.blobs,
        "packs_read": summary.packs_read,
        "bytes_read": summary.bytes_read,
        "packs_never_read": remembered.map(|remembered| remembered.never),
        "oldest_read": remembered.and_then(|remembered| remembered.oldest).map(time),
        "last_complete_read": summary.read.and_then(|read| read.complete_since()).map(time),
        "damaged_objects": summary.damaged,
        "suffering_snapshots": hex(&mut summary.suffering.iter()),
        "mend": summary.mend,
        "give_up": summary.give_up,
        "problems": summary.problems,
        "total_duration": took.as_secs_f64(),
    })
}

fn print(summary: &Summary, options: Options, took: Duration, output: &Output) -> Result<()> {
    let read = match (options.read, summary.read) {
        (Some(_), Some(read)) => format!(
            ", {} of {} packs {}read, {} of {}",
            human::count(summary.packs_read),
            human::count(read.packs),
            // A pack that a prune condemned or a run left behind is there and holds nothing that the index names.
            if read.packs == summary.packs { "" } else { "of the index " },
            human::bytes(summary.bytes_read),
            human::bytes(read.bytes)
        ),
        _ => ", contents not read (--read-data does)".to_owned(),
    };
    output.say(&format!(
        "checked {}, {} with {}{read}, in {}",
        human::counted(summary.snapshots, "snapshot"),
        human::counted(summary.packs, "pack"),
        human::counted(summary.blobs, "blob"),
        human::duration(took)
    ))?;
    if let Some(read) = summary.read {
        output.say(&how_far(&read, options.now.seconds))?;
    }
    if !summary.suffering.is_empty() {
        let names: Vec<String> = summary.suffering.iter().take(8).map(Id::short).collect();
        let more = summary.suffering.len().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let of = human::counted(summary.suffering.len() as u64, "snapshot");
        output.say(&format!("{of} cannot be restored whole: {}{more}", names.join(", ")))?;
    }
    let (mend, give_up) = (&summary.mend, &summary.give_up);
    if mend.is_empty() && give_up.is_empty() {
        return Ok(());
    }
    output.say("what mends it, in this order:")?;
    mend.iter().try_for_each(|command| output.say(&format!("  {command}")))?;
    if !give_up.is_empty() {
        output.say("  (first a backup, or `strongroom repair --from OTHER`, may bring back what is lost;")?;
        output.say("  what comes here gives it up)")?;
    }
    give_up.iter().try_for_each(|command| output.say(&format!("  {command}")))
}

/// How far the packs have been read in the course of time.
fn how_far(read: &Read, now: i64) -> String {
    let Some(remembered) = read.remembered else {
        return "without a cache nobody remembers which packs were read; parts such as 1/7, 2/7 and so on read all"
            .to_owned();
    };
    let within = |since: i64| {
        let days = now.saturating_sub(since).max(0).saturating_add(DAY - 1) / DAY;
        if days <= 1 { "day".to_owned() } else { format!("{days} days") }
    };
    match (remembered.never, remembered.oldest) {
        (_, None) => format!("of {} none was ever read whole from here", human::counted(read.packs, "pack")),
        (0, Some(oldest)) => format!("every pack was read within the last {}", within(oldest)),
        (never, Some(oldest)) => format!(
            "{} of {} packs never read whole from here, the others within the last {}",
            human::count(never),
            human::count(read.packs),
            within(oldest)
        ),
    }
}

fn run_keyless(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let started = Instant::now();
    let backend = Arc::new(LocalBackend::open(&global.location()?)?);
    let progress = output.start_progress("checking");
    let interrupt = output.signals.in_good_order();
    let strangers = backend.strangers()?;
    tell_strangers(&strangers, output);
    let store: &dyn Backend = backend.as_ref();
    let summary = keyless::run(store, arguments.subset().unwrap_or(Subset::All), output, &interrupt);
    drop(progress);
    let summary = summary?;
    let took = started.elapsed();
    if output.json {
        output.object(&json!({
            "message_type": "summary",
            "keyless": true,
            "num_errors": summary.problems,
            "objects": summary.objects,
            "packs": summary.packs,
            "packs_read": summary.packs_read,
            "bytes_read": summary.bytes_read,
            "damaged_objects": summary.damaged,
            "unexpected": strangers.names.len(),
            "problems": summary.problems,
            "total_duration": took.as_secs_f64(),
        }))?;
    } else {
        output.say(&format!(
            "checked {} without a key, {} of {} packs read, {}, in {}",
            human::counted(summary.objects, "object"),
            human::count(summary.packs_read),
            human::count(summary.packs),
            human::bytes(summary.bytes_read),
            human::duration(took)
        ))?;
    }
    ended(summary.problems, output)
}

fn tell_strangers(strangers: &Strangers, output: &Output) {
    for name in &strangers.names {
        output.report(Finding::warning(printable(name), "is no object of a repository; nothing reads it"));
    }
    if strangers.more {
        output.report(Finding::warning("more things", "are no objects of a repository"));
    }
    if strangers.begun > 0 {
        let files = human::counted(strangers.begun, "file");
        let cause =
            "begun by a writer that is at work or was killed; `strongroom prune` removes what is left over";
        output.report(Finding::warning(files, cause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::check::Read;

    #[test]
    fn subsets_are_read_as_restic_does() {
        for (text, expected) in [
            ("1/7", Some(Subset::Part(1, 7))),
            ("7/7", Some(Subset::Part(7, 7))),
            ("5%", Some(Subset::Millionths(50_000))),
            ("2.5%", Some(Subset::Millionths(25_000))),
            ("0.0001%", Some(Subset::Millionths(1))),
            ("100%", Some(Subset::All)),
            ("10G", Some(Subset::Bytes(10 << 30))),
            ("500M", Some(Subset::Bytes(500 << 20))),
            ("8/7", None),
            ("0/7", None),
            ("1/0", None),
            ("1/7/2", None),
            ("0%", None),
            ("101%", None),
            ("%", None),
            ("-5%", None),
            ("5,5%", None),
            ("0", None),
            ("all", None),
            ("", None),
        ] {
            assert_eq!(parse_subset(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn how_far_it_has_come_is_said_in_days() {
        let at = |never, oldest| {
            let remembered = Some(check::Remembered { never, oldest });
            how_far(&Read { packs: 1000, bytes: 0, remembered }, 20 * DAY)
        };
        assert_eq!(at(0, Some(6 * DAY)), "every pack was read within the last 14 days");
        assert_eq!(at(0, Some(20 * DAY)), "every pack was read within the last day");
        assert_eq!(
            at(312, Some(17 * DAY + 5)),
            "312 of 1,000 packs never read whole from here, the others within the last 3 days"
        );
        assert!(how_far(&Read::default(), 0).contains("without a cache"));
    }
}
