//! `strongroom restore`

mod runbook;
mod vaultwarden;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use super::exit::Outcome;
use super::filter::Filter;
use super::global::Global;
use super::ls::split;
use super::output::{Output, human};
use crate::error::{Error, ErrorKind, Result};
use crate::operation::restore;
use crate::report::printable;

/// Arguments of `restore`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom restore latest --target /srv/restored\n  \
    strongroom restore latest:/attachments --target /srv/attachments\n  \
    strongroom restore --vaultwarden latest --target /srv/vaultwarden/data --dry-run\n  \
    strongroom restore --vaultwarden latest --target /srv/vaultwarden/data\n\n\
    The target is a new or an empty folder: nothing is ever overwritten. A file is there whole, or it\n\
    is not there and named.\n\n\
    With --vaultwarden the target is the data folder itself. Stop the server first. Everything is\n\
    restored beside the folder, proved (database, row counts, every attachment and Send), and swapped\n\
    in only if it is whole; what was there is kept as FOLDER.before-restore-TIME, within the folder if\n\
    that is a mount point. Whatever fails, the old state stays; killed at any step, the same command\n\
    goes on. The files get the owner of the data folder that is there.")]
pub(super) struct Arguments {
    /// Snapshot: a prefix of its id, `latest`, `latest~1`; and perhaps `:` and a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: String,
    /// New or empty folder to restore into
    #[arg(short, long, value_name = "FOLDER")]
    target: PathBuf,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    vaultwarden: vaultwarden::Flags,
}

/// Says what an interrupted restore leaves behind.
fn explain(error: Error, target: &Path) -> Error {
    if error.kind() != ErrorKind::Interrupted {
        return error;
    }
    let target = printable(target.as_os_str().as_bytes());
    error.context(format!("the restore is not complete; each file that is in {target} is whole"))
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    if arguments.vaultwarden.vaultwarden {
        let Arguments { snapshot, target, filter, vaultwarden } = arguments;
        return vaultwarden::run(global, vaultwarden, snapshot, target, filter, output);
    }
    let started = Instant::now();
    let (name, place) = split(&arguments.snapshot)?;
    let repository = global.open(output)?;
    let snapshot = repository.find_snapshot_among(&arguments.filter.get()?, name, output)?;
    let progress = output.start_progress("restoring");
    let interrupt = output.signals.in_good_order();
    let summary = restore::run(&repository, &snapshot, &place, &arguments.target, output, &interrupt);
    drop(progress);
    let summary = summary.map_err(|error| explain(error, &arguments.target))?;
    let took = started.elapsed();
    if output.json {
        output.object(&json!({
            "message_type": "summary",
            "snapshot_id": snapshot.id.to_hex(),
            "target": arguments.target.display().to_string(),
            "files_restored": summary.files,
            "dirs_restored": summary.directories,
            "others_restored": summary.others,
            "bytes_restored": summary.bytes,
            "problems": summary.problems,
            "total_duration": took.as_secs_f64(),
        }))?;
    } else {
        output.say(&format!(
            "restored {}, {}{} ({}) from snapshot {} to {} in {}",
            human::counted(summary.files, "file"),
            human::counted(summary.directories, "folder"),
            if summary.others > 0 {
                format!(", {} links and devices", human::count(summary.others))
            } else {
                String::new()
            },
            human::bytes(summary.bytes),
            snapshot.id.short(),
            arguments.target.display(),
            human::duration(took)
        ))?;
        if summary.problems > 0 {
            output
                .say(&format!("{}: see above; exit code 3", human::counted(summary.problems, "problem")))?;
        }
    }
    Ok(Outcome::of(summary.problems))
}
