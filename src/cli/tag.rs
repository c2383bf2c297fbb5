//! `strongroom tag`

use super::changed::Changes;
use super::exit::Outcome;
use super::filter::Filter;
use super::global::Global;
use super::output::Output;
use crate::error::Result;
use crate::format::key_slot::Role;
use crate::format::snapshot::Change;
use crate::operation::recommit::{Around, Made};
use crate::operation::tag::{self, Edit};
use crate::repository::host;
use crate::repository::snapshot::Snapshot;

/// Arguments of `tag`.
#[derive(clap::Args)]
#[command(
    group(clap::ArgGroup::new("edit").required(true).multiple(true).args(["add", "set", "remove"])),
    after_help = "Examples:\n  strongroom tag --add monthly latest\n  strongroom tag --set keep,2026 1a2b3c4d\n  \
    strongroom tag --remove nightly --host server\n\n\
    Without a snapshot, all that --host, --path and --tag leave are meant. A snapshot is never changed:\n\
    each is stored anew under a new id and stands for the same backup, and the old one is forgotten. Two\n\
    runs at once on one snapshot may both store it: rules count both as one backup, and you may forget one."
)]
pub(super) struct Arguments {
    /// Snapshots: prefixes of their ids, `latest`, `latest~1`
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// Add tags; may be repeated
    #[arg(long, value_name = "TAG[,TAG...]")]
    add: Vec<String>,
    /// Have these tags and no others; '' means none; may be repeated
    #[arg(long, value_name = "TAG[,TAG...]", conflicts_with_all = ["add", "remove"])]
    set: Option<Vec<String>>,
    /// Remove tags; may be repeated
    #[arg(long, value_name = "TAG[,TAG...]")]
    remove: Vec<String>,
    /// Store nothing; show what would change
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    filter: Filter,
}

impl Arguments {
    fn edit(&self) -> Edit {
        let tags = |lists: &[String]| {
            let tags = lists.iter().flat_map(|list| list.split(',')).filter(|tag| !tag.is_empty());
            tags.map(str::to_owned).collect::<Vec<String>>()
        };
        Edit { set: self.set.as_deref().map(tags), add: tags(&self.add), remove: tags(&self.remove) }
    }
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let repository = global.open(output)?;
    repository.keyring().require(Role::Maintain, "changing tags")?;
    let found = repository.snapshots()?;
    found.report_damaged(output);
    let snapshots = found.find_all(&arguments.filter.get()?, &arguments.snapshots)?;
    let edit = arguments.edit();
    let mut changes = Changes::new(output, Change::Tagged, true, arguments.dry_run);
    let tags = |snapshot: &Snapshot| edit.apply(&snapshot.manifest.tags);
    if arguments.dry_run {
        for snapshot in tag::changing(&snapshots, &edit) {
            changes.planned(snapshot, None, &tags(snapshot));
        }
        return changes.finish();
    }
    let (cache, host) = (global.cache(&repository, output), host::name());
    let interrupt = output.signals.in_good_order();
    let around = Around { cache: cache.as_ref(), host: &host, reporter: output, interrupt: &interrupt };
    let progress = output.start_progress("changing tags");
    let mut told = |old: &Snapshot, made: Made| changes.told(old, &made, &tags(old));
    let done = tag::run(&repository, &snapshots, &edit, around, &mut told);
    drop(progress);
    let outcome = changes.finish()?;
    done.map(|()| outcome)
}
