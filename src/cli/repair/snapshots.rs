//! `strongroom repair snapshots`

use std::collections::HashSet;

use crate::cli::changed::{Changes, name_gone};
use crate::cli::exit::Outcome;
use crate::cli::filter::Filter;
use crate::cli::global::Global;
use crate::cli::output::Output;
use crate::error::Result;
use crate::format::key_slot::Role;
use crate::format::snapshot::Change;
use crate::id::Id;
use crate::operation::recommit::{Around, Made};
use crate::operation::repair::snapshots::{self as repair, Damaged, HeldBack, Options};
use crate::report::printable;
use crate::repository::host;
use crate::repository::snapshot::Snapshot;

/// Arguments of `repair snapshots`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom repair snapshots --dry-run\n  \
    strongroom repair snapshots --read-data --forget\n\n\
    Each damaged snapshot is stored anew without the files that are lost; one of which no file is left only \
    if it is named, or with --forget. `snapshots` shows which became which. The old ones stay unless --forget is given; with it, one of which nothing is left is forgotten, \
    too; most of all snapshots only if they are named. Nothing is given up where what is lost may be there \
    after all: where most packs are gone, as on a disk that is not mounted, are cut short, or condemned and whole. Before this, bring back what can be: run `strongroom repair index`, `strongroom repair packs`, and a \
    backup, which stores lost chunks again.")]
pub(in crate::cli) struct Arguments {
    /// Snapshots: prefixes of their ids, `latest`, `latest~1`; all if none is named
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// Read every byte of every pack too, to find what is damaged in them; needs a full key
    #[arg(long)]
    read_data: bool,
    /// Forget the damaged snapshots, also those of which nothing is left
    #[arg(long)]
    forget: bool,
    /// Store nothing; name each lost file
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    filter: Filter,
}

pub(in crate::cli) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let repository = global.open(output)?;
    let role = if arguments.read_data { Role::Full } else { Role::Maintain };
    repository.keyring().require(role, "repairing snapshots")?;
    let found = repository.snapshots()?;
    found.report_damaged(output);
    let wanted = found.find_all(&arguments.filter.get()?, &arguments.snapshots)?;
    let (cache, host) = (global.cache(&repository, output), host::name());
    let interrupt = output.signals.in_good_order();
    let around = Around { cache: cache.as_ref(), host: &host, reporter: output, interrupt: &interrupt };
    let named = !arguments.snapshots.is_empty();
    let options = Options { read_data: arguments.read_data, forget: arguments.forget, named };
    let progress = output.start_progress("looking for what is lost");
    let damaged = repair::find(&repository, &found, &wanted, options, around);
    drop(progress);
    let damaged = damaged?;
    let fresh = || damaged.iter().filter(|damaged| damaged.repaired_as.is_none());
    name_gone(fresh().map(|damaged| (&damaged.snapshot, &damaged.draft)), true, output)?;
    fresh().try_for_each(|damaged| name_made_up(damaged, output))?;
    let mut changes = Changes::new(output, Change::Repaired, arguments.forget, arguments.dry_run);
    let ruined = || damaged.iter().filter(|damaged| damaged.draft.root.is_none());
    if arguments.dry_run || !arguments.forget {
        ruined().for_each(|damaged| changes.ruined(&damaged.snapshot.id));
    }
    for damaged in &damaged {
        if let Some(id) = damaged.repaired_as {
            output.say(&format!("snapshot {} is repaired as {}", damaged.snapshot.id.short(), id.short()))?;
        }
    }
    if arguments.dry_run {
        let held = repair::held_back(&repository, &damaged, options, output)?.held;
        for damaged in fresh().filter(|damaged| damaged.draft.root.is_some()) {
            if !held.contains(&damaged.snapshot.id) {
                changes.planned(&damaged.snapshot, Some(&damaged.draft), &damaged.snapshot.manifest.tags);
            }
        }
        tell_held(&damaged, &held, &mut changes);
        return changes.finish();
    }
    let progress = output.start_progress("repairing snapshots");
    let mut told = |old: &Snapshot, made: Made| changes.told(old, &made, &old.manifest.tags);
    let done = repair::run(&repository, &damaged, options, around, &mut told);
    drop(progress);
    let ended = done.as_ref().map(Clone::clone).unwrap_or_default();
    for damaged in ruined().filter(|_| arguments.forget) {
        if ended.forgotten.contains(&damaged.snapshot.id) {
            changes.given_up(&damaged.snapshot, &damaged.draft);
        } else {
            changes.ruined(&damaged.snapshot.id);
        }
    }
    let HeldBack { held, by_name } = ended.held_back;
    tell_held(&damaged, &held, &mut changes);
    let stored = fresh().filter(|damaged| damaged.draft.root.is_some()).map(|damaged| damaged.snapshot.id);
    changes.forgotten_by_name(stored.filter(|id| by_name.contains(id)).collect());
    let outcome = changes.finish()?;
    done.map(|_| outcome)
}

fn tell_held(damaged: &[Damaged], held: &HashSet<Id>, changes: &mut Changes<'_>) {
    for damaged in damaged.iter().filter(|damaged| damaged.draft.root.is_some()) {
        if held.contains(&damaged.snapshot.id) {
            changes.held(&damaged.snapshot.id);
        }
    }
}

fn name_made_up(damaged: &Damaged, output: &Output) -> Result<()> {
    for folder in &damaged.draft.made_up {
        let short = damaged.snapshot.id.short();
        output.say(&format!(
            "/{}: owner, mode and times of this folder are lost (in {short})",
            printable(folder)
        ))?;
    }
    Ok(())
}
