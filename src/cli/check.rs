//! `strongroom check`

use std::time::Instant;

use serde_json::json;

use super::exit::Outcome;
use super::global::Global;
use super::output::{Output, human};
use crate::error::{Error, ErrorKind, Result};
use crate::operation::check;

/// Arguments of `check`.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom check --read-data\n\n\
    Without --read-data a check reads no contents: it finds missing packs, not flipped bits. Exit code 1\n\
    if anything is wrong.")]
pub(super) struct Arguments {
    /// Read and verify every byte of every pack
    #[arg(long)]
    read_data: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let started = Instant::now();
    let repository = global.open(output)?;
    let progress = output.start_progress("checking");
    let interrupt = output.signals.in_good_order();
    let summary = check::run(&repository, arguments.read_data, output, &interrupt);
    drop(progress);
    let summary = summary?;
    let took = started.elapsed();
    if output.json {
        output.object(&json!({
            "message_type": "summary",
            "snapshots": summary.snapshots,
            "packs": summary.packs,
            "blobs": summary.blobs,
            "bytes_read": summary.bytes_read,
            "problems": summary.problems,
            "total_duration": took.as_secs_f64(),
        }))?;
    } else {
        let read = if arguments.read_data {
            format!(", {} read", human::bytes(summary.bytes_read))
        } else {
            ", contents not read (--read-data does)".to_owned()
        };
        output.say(&format!(
            "checked {}, {} with {}{read}, in {}",
            human::counted(summary.snapshots, "snapshot"),
            human::counted(summary.packs, "pack"),
            human::counted(summary.blobs, "blob"),
            human::duration(took)
        ))?;
    }
    if summary.problems > 0 {
        let problems = human::counted(summary.problems, "problem");
        return Err(Error::new(ErrorKind::Corrupt, format!("the repository is damaged: {problems}")));
    }
    output.say("no problems found")?;
    Ok(Outcome::Done)
}
