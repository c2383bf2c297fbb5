//! `strongroom rewrite`

use std::path::PathBuf;

use super::backup::patterns;
use super::changed::{Changes, name_gone};
use super::exit::Outcome;
use super::filter::Filter;
use super::global::Global;
use super::output::Output;
use crate::error::Result;
use crate::format::key_slot::Role;
use crate::format::snapshot::Change;
use crate::operation::recommit::{Around, Draft, Made};
use crate::operation::rewrite::Rewrite;
use crate::repository::snapshot::Snapshot;
use crate::repository::{Repository, host};
use crate::source::files::ExcludeOptions;

/// Arguments of `rewrite`.
#[derive(clap::Args)]
#[command(
    override_usage = "strongroom rewrite [OPTIONS] --exclude <PATTERN> [SNAPSHOT]...",
    group(clap::ArgGroup::new("what").required(true).multiple(true)
        .args(["exclude", "iexclude", "exclude_file", "iexclude_file"])),
    after_help = "Examples:\n  strongroom rewrite --exclude '*.iso' --dry-run\n  \
    strongroom rewrite --exclude /srv/secret --forget --host server\n\n\
    Patterns are those of `backup`, held against the paths that `strongroom ls` shows. Without a snapshot,\n\
    all that --host, --path and --tag leave are meant; those that hold nothing of the kind stay as they\n\
    are, and so do those of which no file would be left: `forget` is for them (exit code 3). The bytes\n\
    are gone only once the old snapshots are forgotten and `prune --max-unused 0` has run."
)]
pub(super) struct Arguments {
    /// Snapshots: prefixes of their ids, `latest`, `latest~1`
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// Leave out what matches this pattern, and what lies in it; may be repeated
    #[arg(short, long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// The same, capital and small letters being equal
    #[arg(long, value_name = "PATTERN")]
    iexclude: Vec<String>,
    /// Patterns from a file, a line each; $NAME is taken from the environment, # begins a comment; may be repeated
    #[arg(long, value_name = "FILE")]
    exclude_file: Vec<PathBuf>,
    /// The same, capital and small letters being equal
    #[arg(long, value_name = "FILE")]
    iexclude_file: Vec<PathBuf>,
    /// Forget the old snapshots
    #[arg(long)]
    forget: bool,
    /// Store nothing; show what would be left out
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    filter: Filter,
}

impl Arguments {
    fn rewrite(&self) -> Result<Rewrite> {
        let mut options = ExcludeOptions {
            patterns: self.exclude.clone(),
            patterns_any_case: self.iexclude.clone(),
            ..ExcludeOptions::default()
        };
        for file in &self.exclude_file {
            options.patterns.extend(patterns(file)?);
        }
        for file in &self.iexclude_file {
            options.patterns_any_case.extend(patterns(file)?);
        }
        Rewrite::new(&options, self.forget)
    }
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let rewrite = arguments.rewrite()?;
    let repository = global.open(output)?;
    repository.keyring().require(Role::Maintain, "taking paths out of snapshots")?;
    let found = repository.snapshots()?;
    found.report_damaged(output);
    let snapshots = found.find_all(&arguments.filter.get()?, &arguments.snapshots)?;
    let (cache, host) = (global.cache(&repository, output), host::name());
    let interrupt = output.signals.in_good_order();
    let around = Around { cache: cache.as_ref(), host: &host, reporter: output, interrupt: &interrupt };
    if arguments.dry_run {
        return dry_run(&repository, &rewrite, &snapshots, around, arguments.forget, output);
    }
    let mut changes = Changes::new(output, Change::Rewritten, arguments.forget, false);
    let progress = output.start_progress("rewriting snapshots");
    let mut told = |old: &Snapshot, made: Made| changes.told(old, &made, &old.manifest.tags);
    let done = rewrite.run(&repository, &snapshots, around, &mut told);
    drop(progress);
    let outcome = changes.finish()?;
    done.map(|()| outcome)
}

fn dry_run(
    repository: &Repository,
    rewrite: &Rewrite,
    snapshots: &[Snapshot],
    around: Around<'_>,
    forget: bool,
    output: &Output,
) -> Result<Outcome> {
    let progress = output.start_progress("walking the trees of snapshots");
    let drafts = rewrite.plan(repository, snapshots, around);
    drop(progress);
    let drafts = drafts?;
    let all = || snapshots.iter().zip(&drafts).filter(|(_, draft)| !draft.is_same());
    let sound = || all().filter(|(_, draft)| draft.is_sound());
    name_gone(sound(), output.verbose, output)?;
    let mut changes = Changes::new(output, Change::Rewritten, forget, true);
    for (snapshot, draft) in all() {
        if draft.is_sound() && draft.leaves_nothing() {
            changes.told(snapshot, &Made::Emptied, &[]);
        } else if draft.is_sound() {
            changes.planned(snapshot, Some(draft), &snapshot.manifest.tags);
        } else {
            changes.told(snapshot, &Made::Unsound(Draft::clone(draft)), &[]);
        }
    }
    changes.finish()
}
