//! `strongroom repair packs`

use std::collections::BTreeMap;

use serde_json::json;

use crate::cli::exit::Outcome;
use crate::cli::global::Global;
use crate::cli::output::{Output, human};
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;
use crate::operation::repair::packs::{self, Options, Summary};
use crate::repository::host;

/// Arguments of `repair packs`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  strongroom repair packs\n  strongroom repair packs 3f9a41c2 --dry-run\n\n\
    Every blob of a damaged pack that is still whole goes into a new pack. The damaged one is condemned, and\n\
    the next prune deletes it. What snapshots lack and a condemned pack still holds whole is copied out of\n\
    it. Nothing is changed where most packs are gone, or seem to be damaged: a disk that is not mounted, or\n\
    faulty memory, explains that better. Needs a full key; a key of role maintain repairs packs of names and lists.\n\
    Exit code 3 if something is lost, or may lie in a condemned pack that cannot be had; 1 if another pack\n\
    could not be had."
)]
pub(super) struct Arguments {
    /// Packs, by the first digits of their ids; all of them are read if none is named
    #[arg(value_name = "PACK")]
    packs: Vec<String>,
    /// Go on also where most packs seem to be damaged, and condemn them
    #[arg(long)]
    packs_are_damaged: bool,
    /// Change nothing; tell which packs are damaged
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let repository = global.open(output)?;
    let cache = global.cache(&repository, output);
    let options = Options {
        packs: arguments.packs.clone(),
        packs_are_damaged: arguments.packs_are_damaged,
        dry_run: arguments.dry_run,
        host: host::name(),
        interrupt: output.signals.in_good_order(),
    };
    let progress = output.start_progress("repairing packs");
    let summary = packs::run(&repository, cache.as_ref(), &options, output);
    drop(progress);
    let summary = summary?;
    if output.json {
        let damaged: Vec<String> = summary.packs_damaged.iter().map(Id::to_hex).collect();
        output.object(&json!({
            "message_type": "summary",
            "dry_run": arguments.dry_run,
            "packs_read": summary.packs_read,
            "packs_damaged": damaged,
            "packs_left": summary.packs_left,
            "blobs_saved": summary.blobs_saved,
            "blobs_rescued": summary.blobs_rescued,
            "packs_unsure": summary.packs_unsure,
            "packs_unknown": summary.packs_unknown,
            "blobs_lost": summary.blobs_lost,
            "losses": summary.losses,
        }))?;
    } else {
        print(&summary, arguments.dry_run, output)?;
    }
    if summary.packs_left > 0 {
        let left = human::counted(summary.packs_left, "pack");
        return Err(Error::new(ErrorKind::Io, format!("{left} could not be repaired: see above"))
            .hint("what stands above tells of each why, and what to do"));
    }
    let lost: u64 = summary.blobs_lost.values().fold(0, |sum, lost| sum.saturating_add(*lost));
    let found = if arguments.dry_run { summary.packs_damaged.len() as u64 } else { 0 };
    let found = if arguments.dry_run { found.saturating_add(summary.blobs_rescued) } else { found };
    let open = summary.losses.saturating_add(summary.packs_unknown).saturating_add(summary.packs_unsure);
    Ok(Outcome::of(lost.saturating_add(open).saturating_add(found)))
}

fn print(summary: &Summary, dry_run: bool, output: &Output) -> Result<()> {
    let damaged = human::counted(summary.packs_damaged.len() as u64, "damaged pack");
    output.say(&format!("{} read, {damaged}", human::counted(summary.packs_read, "pack")))?;
    if summary.blobs_rescued > 0 {
        let rescued = human::counted(summary.blobs_rescued, "blob");
        let copied = if dry_run { "would be copied" } else { "copied" };
        output.say(&format!("{rescued} that snapshots lack {copied} out of condemned packs"))?;
    }
    if dry_run {
        return output.say("dry run: nothing was changed");
    }
    if summary.packs_damaged.is_empty() {
        return if summary.losses == 0 { Ok(()) } else { next_steps(output) };
    }
    let saved = human::counted(summary.blobs_saved, "blob");
    output.say(&format!("{saved} saved; the damaged packs go with the next `strongroom prune`"))?;
    if !summary.blobs_lost.is_empty() {
        output.say(&format!("lost: {}", kinds(&summary.blobs_lost)))?;
    }
    if summary.packs_unknown > 0 {
        let unknown = human::counted(summary.packs_unknown, "pack");
        output.say(&format!("what was in {unknown} is not known: the table there cannot be read"))?;
    }
    match (summary.losses, summary.blobs_lost.is_empty() && summary.packs_unknown == 0) {
        (0, true) => output.say("nothing was lost"),
        (0, false) => output.say("no snapshot needs what was lost"),
        _ => next_steps(output),
    }
}

/// Numbers of blobs by kind, in words.
pub(super) fn kinds(counts: &BTreeMap<&'static str, u64>) -> String {
    let counts: Vec<String> = counts.iter().map(|(kind, number)| human::counted(*number, kind)).collect();
    counts.join(", ").replace("leafs", "leaves")
}

/// What can be done about a loss.
pub(super) fn next_steps(output: &Output) -> Result<()> {
    output.say("what is still on the host comes back with the next `strongroom backup`;")?;
    output.say("what another repository has, with `strongroom repair --from`;")?;
    output.say("`strongroom repair snapshots` then gives up what is gone")
}
