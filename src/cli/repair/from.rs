//! `strongroom repair --from`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::packs::{kinds, next_steps};
use crate::backend::{Backend, LocalBackend, is_same_store};
use crate::cli::exit::Outcome;
use crate::cli::global::Global;
use crate::cli::other::{OtherKey, location};
use crate::cli::output::{Output, human};
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;
use crate::operation::repair::from::{self, Options, Summary};
use crate::repository::{Repository, host};

/// Arguments of `repair` itself.
#[derive(clap::Args)]
pub(super) struct FromArguments {
    /// Folder of another repository that has what is lost here: a copy of the files, or one made by `copy`
    #[arg(long, value_name = "FOLDER", help_heading = "The other repository")]
    from: Option<PathBuf>,
    #[command(flatten)]
    key: OtherKey,
    /// Go on also where most packs here seem to be damaged, and condemn them
    #[arg(long)]
    packs_are_damaged: bool,
    /// Change nothing; tell what is damaged
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) fn run(global: &Global, arguments: &FromArguments, output: &Output) -> Result<Outcome> {
    let folder = location(arguments.from.as_ref(), "--from")?;
    let repository = global.open(output)?;
    if is_same_store(&global.location()?, &folder) {
        return Err(Error::refused("the other repository is this one").hint("name one that lies elsewhere"));
    }
    let other = open(global, arguments, &repository, &folder, output)?;
    let cache = global.cache(&repository, output);
    let options = Options {
        host: host::name(),
        packs_are_damaged: arguments.packs_are_damaged,
        dry_run: arguments.dry_run,
        interrupt: output.signals.in_good_order(),
    };
    let progress = output.start_progress("repairing");
    let summary = from::run(&repository, &other, cache.as_ref(), &options, output);
    drop(progress);
    let summary = summary?;
    if output.json {
        let damaged: Vec<String> = summary.packs_damaged.iter().map(Id::to_hex).collect();
        output.object(&json!({
            "message_type": "summary",
            "dry_run": arguments.dry_run,
            "same_repository": summary.same,
            "packs_read": summary.packs_read,
            "packs_missing": summary.packs_missing,
            "packs_damaged": damaged,
            "packs_left": summary.packs_left,
            "blobs_saved": summary.blobs_saved,
            "blobs_rescued": summary.blobs_rescued,
            "blobs_found": summary.blobs_found,
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
    Ok(Outcome::of(summary.losses))
}

/// Opens the other repository. A copy of this one's files opens with the same keys, so that none need be named for it.
fn open(
    global: &Global,
    arguments: &FromArguments,
    repository: &Repository,
    folder: &Path,
    output: &Output,
) -> Result<Repository> {
    if let Some(credential) = arguments.key.named(output)? {
        return global.open_at(folder, || Ok(credential));
    }
    let backend: Arc<dyn Backend> = Arc::new(LocalBackend::open(folder)?);
    match repository.twin(backend)? {
        Some(twin) => Ok(twin),
        None => arguments.key.open(global, folder, output),
    }
}

fn print(summary: &Summary, dry_run: bool, output: &Output) -> Result<()> {
    let what =
        if summary.same { "a copy of this repository's files" } else { "a repository with keys of its own" };
    output.say(&format!("the other repository is {what}"))?;
    let packs = |number: u64| human::counted(number, "pack");
    output.say(&format!(
        "{} read here, {} missing, {} damaged",
        packs(summary.packs_read),
        human::count(summary.packs_missing),
        human::count(summary.packs_damaged.len() as u64)
    ))?;
    if dry_run {
        output.say("dry run: nothing was changed")?;
    } else {
        output.say(&format!("{} saved from damaged packs", human::counted(summary.blobs_saved, "blob")))?;
        if summary.blobs_rescued > 0 {
            let rescued = human::counted(summary.blobs_rescued, "blob");
            output.say(&format!("{rescued} that snapshots lack copied out of condemned packs"))?;
        }
        let found = kinds(&summary.blobs_found);
        let found = if found.is_empty() { "nothing".to_owned() } else { found };
        output.say(&format!("{found} found in the other repository and stored here"))?;
    }
    match summary.losses {
        0 if summary.packs_left > 0 => output.say(&format!(
            "no snapshot lacks anything, as far as that is known: {} could not be read or repaired",
            packs(summary.packs_left)
        )),
        0 => output.say("no snapshot lacks anything"),
        losses => {
            output.say(&format!("files and trees that still lack something: {}", human::count(losses)))?;
            next_steps(output)
        }
    }
}
