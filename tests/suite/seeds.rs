//! Properties held against many random cases, and what they share: a repository in memory whose chunks are small,
//! and backup and restore through the library.
//!
//! A case that fails names its seed, and `STRONGROOM_TEST_SEED=n` runs that case alone. The repository's keys are drawn
//! anew each time all the same, so that another run cuts the same files at other places.

use std::env;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use strongroom::backend::{MemoryBackend, ObjectName};
use strongroom::crypto::derive::{self, Purpose};
use strongroom::crypto::kdf::Cost;
use strongroom::crypto::secret::Secret;
use strongroom::format::config::{self, ChunkSizes, Config};
use strongroom::format::node::Timestamp;
use strongroom::interrupt::Interrupt;
use strongroom::operation::backup::{self, Summary};
use strongroom::operation::restore;
use strongroom::report::Collector;
use strongroom::repository::Repository;
use strongroom::repository::cache::Cache;
use strongroom::repository::keys::{Credential, NewKey};
use strongroom::source::files::{ExcludeOptions, Plan};
use strongroom::source::sqlite;

use crate::support::long;

/// Names the one case to run.
const SEED: &str = "STRONGROOM_TEST_SEED";

/// Cases at work at once: more than processors, for some of them wait.
const WORKERS: u64 = 4;

/// Chunks of a few hundred bytes, so that small files have many, and lists of them.
pub(crate) const SMALL_CHUNKS: ChunkSizes = ChunkSizes { minimum: 128, average: 512, maximum: 2048 };

/// How many cases a property gets.
pub(crate) fn cases() -> u64 {
    if long() { 20_000 } else { 1000 }
}

/// Holds a property against every seed below `cases`.
pub(crate) fn hold(cases: u64, property: impl Fn(u64) + Sync) {
    hold_in_batches(cases, 1, |_| (), || (), |seed, ()| property(seed));
}

/// The same in two steps: each worker prepares a batch of cases, pauses, and then checks them one by one. What has to
/// grow old before it is looked at does so for a whole batch at once.
pub(crate) fn hold_in_batches<T>(
    cases: u64,
    batch: u64,
    prepare: impl Fn(u64) -> T + Sync,
    pause: impl Fn() + Sync,
    check: impl Fn(u64, T) + Sync,
) {
    let (first, end) = match env::var(SEED) {
        Ok(seed) => {
            let seed: u64 = seed.parse().unwrap_or_else(|_| panic!("{SEED} is a number"));
            (seed, seed + 1)
        }
        Err(_) => (0, cases),
    };
    let next = AtomicU64::new(first);
    let work = || {
        loop {
            let from = next.fetch_add(batch, Ordering::Relaxed);
            let seeds = from..end.min(from.saturating_add(batch));
            if seeds.is_empty() {
                return;
            }
            let prepared: Vec<_> = seeds.map(|seed| (seed, named(seed, &next, || prepare(seed)))).collect();
            pause();
            for (seed, case) in prepared {
                named(seed, &next, || check(seed, case));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(work);
        }
    });
}

/// Runs a step of a case; where it fails, names the seed and lets nobody begin another case.
fn named<T>(seed: u64, next: &AtomicU64, step: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|failure| {
        next.store(u64::MAX / 2, Ordering::Relaxed);
        eprintln!("this was seed {seed}; {SEED}={seed} runs it alone");
        resume_unwind(failure)
    })
}

/// The bytes of the full key that opens what is made here.
pub(crate) const KEY_FILE: u8 = 7;

/// A new repository in memory with a full key, whose files are cut into chunks of these sizes.
pub(crate) fn repository(chunks: ChunkSizes) -> Repository {
    repository_on(&MemoryBackend::new(), chunks)
}

/// The same in a store at hand, which is empty.
pub(crate) fn repository_on(backend: &MemoryBackend, chunks: ChunkSizes) -> Repository {
    let credential = Credential::KeyFile(Secret::new([KEY_FILE; 32]));
    let time = Timestamp { seconds: 1_790_000_000, nanoseconds: 0 };
    let key = NewKey { credential: &credential, cost: Cost::LEAST, label: "test", time };
    let made = Repository::create(Arc::new(backend.clone()), &key).expect("it is made");
    let config = Config { file_chunks: chunks, ..made.config().clone() };
    let mut bytes = config::encode(&config).expect("it can be encoded");
    let mac = derive::keyed_hash(&made.keyring().key(Purpose::ConfigMac), &bytes);
    bytes.extend_from_slice(mac.as_bytes());
    backend.replace(&ObjectName::CONFIG, bytes);
    Repository::open(Arc::new(backend.clone()), &credential).expect("it opens")
}

/// Backs a folder up as the root of a snapshot; nothing may be amiss.
#[track_caller]
pub(crate) fn back_up(
    repository: &Repository,
    cache: Option<&Cache>,
    host: &str,
    folder: &Path,
    temporary: &Path,
) -> Summary {
    let mut plan = Plan::new();
    plan.map(b"", folder).expect("a folder can be the root");
    let options = backup::Options {
        plan,
        servers: Vec::new(),
        accept_smaller_dumps: false,
        paths: vec![folder.as_os_str().as_bytes().to_vec()],
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
        temporary_folder: temporary.to_owned(),
        sqlite: sqlite::Options::default(),
        vaultwarden: None,
        authentik: None,
        interrupt: Interrupt::default(),
    };
    let reporter = Collector::default();
    let summary = backup::run(repository, cache, &options, &reporter).expect("a backup");
    assert_eq!(reporter.findings(), [], "nothing is amiss");
    summary
}

/// Restores the whole snapshot of a backup into a new folder; nothing may be amiss.
#[track_caller]
pub(crate) fn restore(repository: &Repository, of: &Summary, target: &Path) {
    let id = of.snapshot.expect("it was stored");
    let snapshot = repository.read_snapshot(&id).expect("a snapshot");
    let reporter = Collector::default();
    let summary = restore::run(
        repository,
        &snapshot,
        &restore::Request::of(b""),
        target,
        &reporter,
        &Interrupt::default(),
    )
    .expect("a restore");
    assert_eq!((reporter.findings(), summary.problems), (Vec::new(), 0), "nothing is amiss");
}

#[test]
fn every_case_runs_once_and_a_failing_one_stops_the_rest() {
    if env::var_os(SEED).is_some() {
        return;
    }
    let (ran, pauses) = (AtomicU64::new(0), AtomicU64::new(0));
    let pause = || {
        pauses.fetch_add(1, Ordering::Relaxed);
    };
    let check = |seed, doubled| {
        assert_eq!(doubled, seed * 2);
        ran.fetch_add(seed, Ordering::Relaxed);
    };
    hold_in_batches(101, 10, |seed| seed * 2, pause, check);
    assert_eq!((ran.into_inner(), pauses.into_inner()), (100 * 101 / 2, 11));
    let ran = AtomicU64::new(0);
    let failed = catch_unwind(AssertUnwindSafe(|| {
        hold(u64::MAX / 4, |seed| {
            ran.fetch_add(1, Ordering::Relaxed);
            assert_ne!(seed, 20, "meant to fail");
        });
    }));
    assert!(failed.is_err() && ran.into_inner() > 20);
}
