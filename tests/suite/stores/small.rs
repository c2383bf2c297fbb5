//! A repository that costs next to nothing, folders of a few kilobytes to back up into it, and what must be true of it
//! afterwards.
//!
//! Invariant: what a snapshot must give back is what a naive walk saw of the folder, not what the program said of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom::backend::{Backend, MemoryBackend};
use strongroom::crypto::kdf::Cost;
use strongroom::crypto::secret::Secret;
use strongroom::error::{ErrorKind, Result};
use strongroom::format::key_slot::Role;
use strongroom::format::node::Timestamp;
use strongroom::id::Id;
use strongroom::interrupt::Interrupt;
use strongroom::operation::backup::{self, Summary};
use strongroom::operation::{check, prune, restore, unlock};
use strongroom::report::{Collector, Finding, Severity};
use strongroom::repository::Repository;
use strongroom::repository::cache::Cache;
use strongroom::repository::keys::{Credential, NewKey};
use strongroom::source::files::{ExcludeOptions, Plan};
use strongroom::source::sqlite;

use super::Image;
use crate::seeds::{self, SMALL_CHUNKS};
use crate::site::{Seen, see};
use crate::support::{Rng, TempFolder};

/// The hosts that have a backup key of their own.
pub(crate) const HOSTS: usize = 3;

/// Who opens the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Reads and writes everything.
    Full,
    /// Forgets and prunes, and reads no contents.
    Maintainer,
    /// A machine that backs itself up, and reads nothing.
    Host(usize),
}

/// An empty repository with a key for everybody, made once and copied ever after.
pub(crate) struct Small {
    /// Its config and key slots.
    pub(crate) empty: Image,
}

impl Small {
    pub(crate) fn new() -> Self {
        let store = MemoryBackend::new();
        let repository = seeds::repository_on(&store, SMALL_CHUNKS);
        let roles = (0..HOSTS).map(|host| (Who::Host(host), Role::Backup));
        for (who, role) in roles.chain([(Who::Maintainer, Role::Maintain)]) {
            let credential = credential(who);
            let time = Timestamp { seconds: 1_790_000_000, nanoseconds: 0 };
            let key = NewKey { credential: &credential, cost: Cost::LEAST, label: "test", time };
            repository.add_key(role, &key).expect("a key is added");
        }
        Self { empty: store.snapshot() }
    }

    /// Opens a store that holds a copy of it.
    pub(crate) fn open(store: Arc<dyn Backend>, who: Who) -> Repository {
        Repository::open(store, &credential(who)).expect("it opens")
    }

    /// Opens what a store holds, with a key for everything.
    pub(crate) fn full(store: &MemoryBackend) -> Repository {
        Self::open(Arc::new(store.clone()), Who::Full)
    }
}

fn credential(who: Who) -> Credential {
    let byte = match who {
        Who::Full => seeds::KEY_FILE,
        Who::Maintainer => 8,
        Who::Host(host) => 100 + host as u8,
    };
    Credential::KeyFile(Secret::new([byte; 32]))
}

/// Folders that share most of what is in them, and never change.
pub(crate) struct Folders {
    place: TempFolder,
    seen: Vec<BTreeMap<Vec<u8>, Seen>>,
}

impl Folders {
    /// Makes so many.
    pub(crate) fn new(count: usize) -> Self {
        let place = TempFolder::in_memory();
        let mut rng = Rng::new(4711);
        let shared: Vec<Vec<u8>> = (0..4).map(|_| rng.bytes(1500)).collect();
        for number in 0..count {
            let top = PathBuf::from(number.to_string());
            for (file, bytes) in shared.iter().enumerate() {
                // Each lacks one or two of the files that most have, so that forgetting it leaves packs half empty.
                if file != number % shared.len() && file != number / 2 % shared.len() {
                    place.write(top.join(format!("shared/{file}")), bytes);
                }
            }
            place.write(top.join("own"), rng.bytes(900));
            place.write(top.join("deep/er/small"), format!("version {number}"));
        }
        let seen = (0..count).map(|number| see(&place.join(number.to_string()))).collect();
        Self { place, seen }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.seen.len()
    }

    /// Where one lies.
    pub(crate) fn path(&self, number: usize) -> PathBuf {
        self.place.join(number.to_string())
    }

    /// Which of them a restored folder equals.
    pub(crate) fn which(&self, restored: &Path) -> Option<usize> {
        let restored = see(restored);
        self.seen.iter().position(|seen| *seen == restored)
    }
}

/// Backs a folder up as the root of a snapshot, and gives what was said on the way.
pub(crate) fn back_up(
    repository: &Repository,
    cache: Option<&Cache>,
    host: &str,
    folder: &Path,
) -> (Result<Summary>, Vec<Finding>) {
    let mut plan = Plan::new();
    plan.map(b"", folder).expect("a folder can be the root");
    let options = backup::Options {
        plan,
        servers: Vec::new(),
        accept_smaller_dumps: false,
        // The same whatever is in it: each snapshot is compared with the one before.
        paths: vec![b"/data".to_vec()],
        excludes: ExcludeOptions::default(),
        problems: 0,
        parent: backup::ParentChoice::Newest,
        skip_if_unchanged: false,
        databases_as_files: false,
        tags: Vec::new(),
        host: host.to_owned(),
        job: None,
        time: None,
        dry_run: false,
        count_first: false,
        temporary_folder: folder.to_owned(),
        sqlite: sqlite::Options::default(),
        vaultwarden: None,
        authentik: None,
        interrupt: Interrupt::default(),
    };
    let reporter = Collector::default();
    let outcome = backup::run(repository, cache, &options, &reporter);
    (outcome, reporter.findings())
}

/// Forgets snapshots.
pub(crate) fn forget(repository: &Repository, ids: &[Id]) -> Result<()> {
    ids.iter().try_for_each(|id| {
        let number = match repository.read_snapshot(id) {
            Ok(snapshot) => Some(snapshot.used_number()),
            Err(error) if error.kind() == ErrorKind::Missing => None,
            Err(error) => return Err(error),
        };
        repository.put_forgotten(id, number)
    })
}

/// How to prune: everything that nothing needs goes.
pub(crate) fn thorough() -> prune::Options {
    prune::Options {
        dry_run: false,
        max_unused: prune::Limit::Bytes(0),
        max_repack: None,
        repack_small: false,
        wait: false,
        allow_fewer_packs: true,
        host: "pruner".into(),
        interrupt: Interrupt::default(),
    }
}

/// Prunes, and gives what was said on the way.
pub(crate) fn prune(
    repository: &Repository,
    cache: Option<&Cache>,
    options: &prune::Options,
) -> (Result<prune::Summary>, Vec<Finding>) {
    let reporter = Collector::default();
    let outcome = prune::run(repository, cache, options, &reporter);
    (outcome, reporter.findings())
}

/// Gives up every session that is open, for nobody is at work any more.
pub(crate) fn unlock(repository: &Repository) -> Result<()> {
    for session in unlock::list(repository, None)? {
        unlock::give_up(repository, &session, "pruner")?;
    }
    Ok(())
}

/// Restores a snapshot and says which of the folders it is; an error where it could not be had whole and in silence.
pub(crate) fn restored(
    repository: &Repository,
    id: &Id,
    folders: &Folders,
) -> std::result::Result<usize, String> {
    restored_from(repository, id, b"", folders)
}

/// The same of what lies at a place in a snapshot.
pub(crate) fn restored_from(
    repository: &Repository,
    id: &Id,
    place: &[u8],
    folders: &Folders,
) -> std::result::Result<usize, String> {
    let folder = TempFolder::in_memory();
    let target = folder.join("restored");
    let reporter = Collector::default();
    let outcome = repository.read_snapshot(id).and_then(|snapshot| {
        restore::run(
            repository,
            &snapshot,
            &restore::Request::of(place),
            &target,
            &reporter,
            &Interrupt::default(),
        )
    });
    match outcome {
        Err(error) => Err(error.chain()),
        Ok(summary) if summary.problems > 0 => Err(format!("{:?}", reporter.findings())),
        // Whatever it is then, it calls itself whole.
        Ok(summary) => Ok(folders.which(&target).unwrap_or_else(|| {
            panic!("what a restore calls whole is what was backed up: {summary:?}, {:?}", see(&target))
        })),
    }
}

/// What a check of every byte finds wrong. It may tell of packs that no index names: a backup that failed leaves them,
/// and the next one uses them.
pub(crate) fn problems(repository: &Repository) -> Vec<Finding> {
    let reporter = Collector::default();
    let summary = check::run(repository, true, &reporter, &Interrupt::default()).expect("a check");
    let wrong = |finding: &Finding| finding.severity == Severity::Problem;
    let problems: Vec<Finding> = reporter.findings().into_iter().filter(wrong).collect();
    assert_eq!(summary.problems, problems.len() as u64, "a check counts what it finds");
    problems
}

/// Asserts that a check of every byte finds nothing wrong.
#[track_caller]
pub(crate) fn assert_sound(repository: &Repository) {
    assert_eq!(problems(repository), [], "a check finds nothing wrong");
}
