//! Backup: from files and databases on a host to a committed snapshot.
//!
//! What servers dump comes first ([`dumps`]). Then one thread walks and reads ([`scan`]), all threads hash, compress and seal ([`store`]), one uploads. Nothing
//! waits for a lock of another backup; the order of what is written is the protocol's of
//! `format-spec/11-ordering.md`.

mod authentik;
mod database;
mod dumps;
mod event;
mod finding;
mod held;
pub(super) mod parent;
pub(super) mod read;
pub(super) mod scan;
mod service;
mod store;
mod unchanged;
mod vaultwarden;
mod work;

use std::collections::HashSet;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};
use crate::format::node::Timestamp;
use crate::format::snapshot::{DatabaseReport, DumpReport, ServiceReport, Statistics};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::session::{self, Commit, Usable};
use crate::repository::tree::Root;
use crate::service::{authentik::Layout as AuthentikLayout, vaultwarden::Layout as VaultwardenLayout};
use crate::source::files::{ExcludeOptions, Excludes, Plan};
use crate::source::server::Server;
use crate::source::sqlite;

use super::announce::{self, ATTEMPTS};
use database::LazyScratch;
use work::Work;

pub use authentik::plan as authentik_plan;
pub use vaultwarden::plan as vaultwarden_plan;

/// What to back up, and how.
pub struct Options {
    /// What of the host stands where in the snapshot.
    pub plan: Plan,
    /// What is dumped, before any file.
    pub servers: Vec<Box<dyn Server>>,
    /// Take dumps that are far smaller than the last ones for good.
    pub accept_smaller_dumps: bool,
    /// The paths as given, absolute, for the manifest and for finding the previous snapshot.
    pub paths: Vec<Vec<u8>>,
    /// What is left out.
    pub excludes: ExcludeOptions,
    /// What was amiss where the paths were found, and is told already.
    pub problems: u64,
    /// What to compare with.
    pub parent: ParentChoice,
    /// Make no snapshot where the one before is the same.
    pub skip_if_unchanged: bool,
    /// Take databases for the plain files they are, with their logs.
    pub databases_as_files: bool,
    /// Tags.
    pub tags: Vec<String>,
    /// Name of the host.
    pub host: String,
    /// Name of the job, where a configuration names one.
    pub job: Option<String>,
    /// The time that the snapshot bears, instead of now; never later than now, for the next backup believes it about
    /// what changed since.
    pub time: Option<Timestamp>,
    /// Store nothing; tell what would be.
    pub dry_run: bool,
    /// Whether somebody watches: a first backup then counts beside its work how much there is in all.
    pub count_first: bool,
    /// Where temporary copies of databases go.
    pub temporary_folder: PathBuf,
    /// How to take databases.
    pub sqlite: sqlite::Options,
    /// The Vaultwarden that the plan was made from, and whether its Sends are wanted.
    pub vaultwarden: Option<(VaultwardenLayout, bool)>,
    /// The authentik that the plan was made from.
    pub authentik: Option<AuthentikLayout>,
    /// Whether to stop: what is stored by then is published, and no snapshot is made.
    pub interrupt: Interrupt,
}

impl Options {
    /// Whether there is anything to walk through: dumps alone make a snapshot too.
    fn walks(&self) -> bool {
        self.servers.is_empty() || self.plan.hosts().next().is_some()
    }
}

/// Which earlier snapshot tells what did not change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParentChoice {
    /// The newest of this key, host and paths.
    #[default]
    Newest,
    /// None: everything is read.
    Nothing,
    /// This one, if this key wrote it.
    Named(Id),
}

/// How a backup went.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The snapshot; none in a dry run, and where none was needed.
    pub snapshot: Option<Id>,
    /// Whether it was one.
    pub dry_run: bool,
    /// The snapshot before, which is the same, so that none was needed.
    pub unchanged_since: Option<Id>,
    /// The snapshot it was compared with.
    pub parent: Option<Id>,
    /// The counts.
    pub statistics: Statistics,
    /// The databases.
    pub databases: Vec<DatabaseReport>,
    /// The dumps.
    pub dumps: Vec<DumpReport>,
    /// The service's proof.
    pub service: Option<ServiceReport>,
    /// When it began and ended.
    pub time: (Timestamp, Timestamp),
    /// The tree's top.
    pub root: Root,
    /// Packs that the repository has lost: no fault of this snapshot, which does not refer to them.
    pub packs_missing: u64,
}

/// Makes a snapshot.
///
/// # Errors
/// Whatever keeps the snapshot from being committed. What merely could not be read goes to `reporter` and is
/// counted in the summary.
pub fn run(
    repository: &Repository,
    cache: Option<&Cache>,
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Summary> {
    if !options.dry_run {
        announce::give_up_own_dead(repository, cache, &options.host, reporter);
    }
    let mut missing = None;
    for _ in 0..ATTEMPTS {
        if let Some(summary) = attempt(repository, cache, options, &mut missing, reporter)? {
            return Ok(summary);
        }
        let cause = "was given up by somebody else before it could commit; it starts again";
        reporter.report(Finding::warning("this backup's session", cause));
    }
    Err(Error::new(ErrorKind::Abandoned, "this backup was given up by somebody else, again and again")
        .hint("find out who unlocks the repository while this host backs up"))
}

/// One attempt. `missing` keeps which packs were missing at the first.
fn attempt(
    repository: &Repository,
    cache: Option<&Cache>,
    options: &Options,
    missing: &mut Option<HashSet<Id>>,
    reporter: &dyn Reporter,
) -> Result<Option<Summary>> {
    options.interrupt.check()?;
    let excludes = Excludes::new(&options.excludes)?;
    let scratch = LazyScratch::new(&options.temporary_folder);
    if options.dry_run {
        let usable = session::usable(repository)?;
        let work = Work { repository, cache, options, reporter, excludes, scratch };
        let made = work.make(usable, None)?;
        return Ok(Some(made.summary(None, true)));
    }
    let mut session = announce::begin(repository, cache, &options.host, reporter)?;
    let work = Work { repository, cache, options, reporter, excludes, scratch };
    let usable = session.usable().map(|usable| without_own_losses(usable, missing));
    let made = usable.and_then(|usable| work.make(usable, Some(&session)));
    let mut made = match made {
        Ok(made) => made,
        Err(error) => {
            // No manifest was sent, so none can land late: the session ends here.
            session.end();
            return if error.kind() == ErrorKind::Abandoned { Ok(None) } else { Err(error) };
        }
    };
    if let Some(same) = made.unchanged_since {
        // No manifest was sent, here neither.
        session.end();
        work.keep_cache(&made, &same);
        return Ok(Some(made.summary(None, false)));
    }
    let id = *session.id();
    if session.commit_next(&mut made.manifest)? == Commit::Abandoned {
        return Ok(None);
    }
    work.keep_cache(&made, &id);
    Ok(Some(made.summary(Some(id), false)))
}

/// What an attempt that was given up had stored, a prune may have deleted before its index named it: no snapshot needs
/// that, and so it is no loss.
fn without_own_losses(mut usable: Usable, missing: &mut Option<HashSet<Id>>) -> Usable {
    match missing {
        Some(at_first) => usable.missing.retain(|pack| at_first.contains(pack)),
        None => *missing = Some(usable.missing.iter().copied().collect()),
    }
    usable
}
