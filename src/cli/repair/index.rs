//! `strongroom repair index`

use serde_json::json;

use crate::cli::exit::Outcome;
use crate::cli::global::Global;
use crate::cli::output::{Output, human};
use crate::error::Result;
use crate::operation::repair::index::{self, Options, Summary};

/// Arguments of `repair index`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  strongroom repair index --dry-run\n  strongroom repair index --read-all-packs\n\n\
    Packs that no index names are read whole, and named. Packs that are gone are named no more; where most\n\
    are gone nothing is changed without --packs-are-gone, for a disk may not be mounted. Backups may go on\n\
    meanwhile. Exit code 3 if a pack or an index object cannot be read."
)]
pub(super) struct Arguments {
    /// Read every pack, and put right what the index says of it
    #[arg(long)]
    read_all_packs: bool,
    /// Take the names of packs that are gone out of the index also where most of them are
    #[arg(long)]
    packs_are_gone: bool,
    /// Change nothing; tell what would be
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let repository = global.open(output)?;
    let options = Options {
        packs_are_gone: arguments.packs_are_gone,
        read_all_packs: arguments.read_all_packs,
        dry_run: arguments.dry_run,
    };
    let progress = output.start_progress("repairing the index");
    let summary = index::run(&repository, options, output, &output.signals.in_good_order());
    drop(progress);
    let summary = summary?;
    if output.json {
        output.object(&json!({
            "message_type": "summary",
            "dry_run": arguments.dry_run,
            "packs": summary.packs,
            "packs_read": summary.packs_read,
            "packs_added": summary.packs_added,
            "packs_corrected": summary.packs_corrected,
            "packs_dropped": summary.packs_dropped,
            "packs_unreadable": summary.packs_unreadable,
            "objects_written": summary.objects_written,
            "objects_deleted": summary.objects_deleted,
            "objects_unreadable": summary.objects_unreadable,
        }))?;
    } else {
        print(&summary, arguments.dry_run, output)?;
    }
    Ok(Outcome::of(summary.packs_unreadable.saturating_add(summary.objects_unreadable)))
}

fn print(summary: &Summary, dry_run: bool, output: &Output) -> Result<()> {
    let packs = |number: u64| human::counted(number, "pack");
    output.say(&format!("{} there, {} read", packs(summary.packs), human::count(summary.packs_read)))?;
    let would = if dry_run { "would be " } else { "" };
    let rows = [
        (summary.packs_added, "that no index named, {would}named now"),
        (summary.packs_corrected, "of which the index said something else, {would}put right"),
        (summary.packs_dropped, "gone, {would}named no more"),
        (summary.packs_unreadable, "not readable, left unchanged: see above"),
    ];
    for (number, words) in rows.iter().filter(|(number, _)| *number > 0) {
        output.say(&format!("{} {}", packs(*number), words.replace("{would}", would)))?;
    }
    if summary.objects_unreadable > 0 {
        let objects = human::counted(summary.objects_unreadable, "index object");
        output.say(&format!("{objects} not readable, left unchanged"))?;
    }
    let deleted = human::count(summary.objects_deleted);
    let replaced = human::counted(summary.objects_deleted, "index object");
    match (dry_run, summary.objects_written, summary.objects_deleted) {
        (true, ..) => output.say(&format!("dry run: nothing was changed; {replaced} would be replaced")),
        (false, 0, 0) if summary.objects_unreadable > 0 => output.say("nothing was changed"),
        (false, 0, 0) => output.say("the index needed no repair"),
        (false, written, _) => {
            let written = human::counted(written, "index object");
            output.say(&format!("{written} written, {deleted} replaced and deleted"))
        }
    }
}
