//! Three hosts, two pruners and a reader at once over one store, in an order that a seed draws, with calls that fail,
//! answers that are lost, writes that land late and processes that die: the real code, and a naive oracle that knows what
//! each snapshot needs.
//!
//! At every change that could harm, and at the end: every blob of a snapshot that is there and not forgotten lies in a
//! pack that is there and named by an index object that is there; a backup that reported success is a snapshot until
//! somebody is told to forget it; a reader gets what nobody forgot. At the end everything is unlocked and pruned, every
//! snapshot left is restored, and a check reads every byte.
//!
//! A seed that fails prints its trace; `STRONGROOM_TEST_SEED=n` runs it alone.

mod actor;
mod mutation;
mod oracle;
mod steps;
mod world;

use std::collections::BTreeMap;
use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use strongroom::backend::MemoryBackend;
use strongroom::id::Id;

use crate::stores::small::{
    Folders, Small, Who, back_up, forget, problems, prune, restored, thorough, unlock,
};
use crate::stores::{Image, store_of};
use crate::support::{Rng, TempFolder, long};

use actor::{CAST, Company, Part};
use mutation::Mutation;
use oracle::{Desk, Needs, Oracle};
use steps::Table;
use world::{Odds, World};

/// Names the one seed to run.
const SEED: &str = "STRONGROOM_TEST_SEED";

/// Seeds within which a wrong order has to show.
const MUTATED_SEEDS: u64 = 5000;

/// Runs at once. Only one actor of a run is at work at a time.
const WORKERS: u64 = 3;

/// What all runs begin with.
pub(crate) struct Ground {
    small: Small,
    folders: Folders,
    needs: Arc<Needs>,
    /// Repositories with a past.
    pasts: Vec<Image>,
}

impl Ground {
    fn new() -> Self {
        let (small, folders) = (Small::new(), Folders::new(6));
        let needs = Arc::new(Needs::new(&small, &folders));
        let pasts = pasts(&small, &folders);
        Self { small, folders, needs, pasts }
    }
}

fn pasts(small: &Small, folders: &Folders) -> Vec<Image> {
    // Backups by a host of a folder, and how many of them are forgotten by now.
    let past = |backups: &[(usize, usize)], gone: usize| {
        let store = store_of(&small.empty);
        let back_up = |(host, folder): &(usize, usize)| {
            let repository = Small::open(Arc::new(store.clone()), Who::Host(*host));
            let (outcome, _) = back_up(&repository, None, &format!("host-{host}"), &folders.path(*folder));
            outcome.expect("a backup").snapshot.expect("a snapshot")
        };
        let ids: Vec<Id> = backups.iter().map(back_up).collect();
        forget(&Small::full(&store), &ids[..gone]).expect("they are forgotten");
        store.snapshot()
    };
    vec![
        past(&[], 0),
        past(&[(0, 0), (1, 1)], 0),
        past(&[(0, 0), (1, 1), (2, 2)], 1),
        past(&[(0, 0), (0, 1), (0, 2), (1, 3)], 2),
    ]
}

/// What one run came to.
struct Ended {
    failure: Option<String>,
    trace: String,
    calls: u64,
}

/// Runs one seed.
fn play(
    ground: &Ground,
    company: &Company,
    desk: &Arc<Desk>,
    seed: u64,
    mutation: Option<Mutation>,
    table: &Mutex<Table>,
) -> Ended {
    let mut rng = Rng::new(seed);
    let odds = Odds {
        crash: *rng.pick(&[0, 40, 80, 200]),
        error: *rng.pick(&[0, 0, 40, 150]),
        pause: *rng.pick(&[0, 15, 40]),
        switch: *rng.pick(&[0, 2, 6, 20]),
    };
    let past = rng.pick(&ground.pasts);
    let oracle = Oracle::new(Arc::clone(&ground.needs), Arc::clone(desk));
    let world = Arc::new(World::new(past, &CAST, rng, odds, mutation, oracle));
    let caches = Arc::new(TempFolder::in_memory());
    company.play(Part { world: Arc::clone(&world), seed, caches });
    let calls = world.count(&mut table.lock().unwrap());
    let failure = world.failure().or_else(|| at_the_end(ground, &world, desk, seed).err());
    Ended { failure, trace: world.trace(), calls }
}

/// When everybody has ended: what is left is whole.
fn at_the_end(ground: &Ground, world: &World, desk: &Desk, seed: u64) -> Result<(), String> {
    let store: MemoryBackend = world.memory();
    world.oracle.at_the_end(&store)?;
    // The first takes up what others began, the second finds nothing that keeps it.
    for _ in 0..2 {
        desk.with(&store, |repository| {
            unlock(repository).map_err(|error| error.chain())?;
            prune(repository, None, &thorough()).0.map_err(|error| error.chain())
        })?;
        world.oracle.at_the_end(&store)?;
    }
    let live = world.oracle.live(&store);
    desk.with(&store, |repository| {
        // Each folder once, for equal trees are restored by the same reads; of most seeds one, for the check reads every
        // byte that any of them would.
        let folders: BTreeMap<usize, Id> = live.into_iter().map(|(id, folder)| (folder, id)).collect();
        let wanted = if seed.is_multiple_of(4) { folders.len() } else { 1 };
        let skipped = (seed as usize).checked_rem(folders.len()).filter(|_| wanted == 1).unwrap_or(0);
        for (folder, id) in folders.into_iter().skip(skipped).take(wanted) {
            let outcome = restored(repository, &id, &ground.folders);
            if outcome != Ok(folder) {
                return Err(format!("snapshots/{} cannot be restored in the end: {outcome:?}", id.short()));
            }
        }
        let problems = problems(repository);
        if problems.is_empty() { Ok(()) } else { Err(format!("a check finds {problems:?}")) }
    })
}

/// How a violation of the first invariant reads.
const LOST: &str = " lost the ";

/// Runs seeds until one fails, of mutated ones until one loses something; gives that one, how many calls there were, and what met what.
fn run(
    ground: &Ground,
    seeds: std::ops::Range<u64>,
    mutation: Option<Mutation>,
) -> (Option<(u64, Ended)>, u64, Table) {
    let (next, calls) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let (failed, table) = (Mutex::new(None), Mutex::new(Table::default()));
    thread::scope(|scope| {
        for _ in 0..WORKERS.min(seeds.end - seeds.start) {
            scope.spawn(|| {
                let desk = Arc::new(Desk::new(&ground.small.empty));
                thread::scope(|inner| {
                    let company = Company::start(inner, ground);
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            return;
                        }
                        let ended = play(ground, &company, &desk, seed, mutation, &table);
                        calls.fetch_add(ended.calls, Ordering::Relaxed);
                        if seed % 1000 == 999 && mutation.is_none() {
                            println!("{} seeds; not met yet: {:?}", seed + 1, table.lock().unwrap().zeros());
                        }
                        let lost = |why: &String| mutation.is_none() || why.contains(LOST);
                        if ended.failure.as_ref().is_some_and(lost) {
                            next.store(seeds.end, Ordering::Relaxed);
                            failed.lock().unwrap().get_or_insert((seed, ended));
                        }
                    }
                });
            });
        }
    });
    (failed.into_inner().unwrap(), calls.into_inner(), table.into_inner().unwrap())
}

fn seeds() -> std::ops::Range<u64> {
    match env::var(SEED) {
        Ok(seed) => {
            let seed = seed.parse().unwrap_or_else(|_| panic!("{SEED} is a number"));
            seed..seed + 1
        }
        Err(_) => 0..if long() { 1_000_000 } else { 10_000 },
    }
}

#[test]
fn whatever_the_order_nothing_is_lost() {
    let ground = Ground::new();
    let (seeds, started) = (seeds(), Instant::now());
    let (failed, calls, table) = run(&ground, seeds.clone(), None);
    if let Some((seed, ended)) = failed {
        println!("{}", ended.trace);
        panic!("seed {seed}: {}\n{SEED}={seed} runs it alone", ended.failure.unwrap());
    }
    let count = seeds.end - seeds.start;
    println!("{count} seeds, {calls} calls, {:.0} s", started.elapsed().as_secs_f64());
    println!("{}", table.shown());
    if count > 1 {
        assert_eq!(table.zeros(), [], "every step of a backup met every step of a prune");
    }
}

#[test]
fn each_turned_order_loses_something() {
    let ground = Ground::new();
    for mutation in Mutation::ALL {
        let (lost, calls, _) = run(&ground, 0..MUTATED_SEEDS, Some(mutation));
        let Some((seed, ended)) = lost else { panic!("{mutation:?}: {MUTATED_SEEDS} seeds lost nothing") };
        println!("{mutation:?}: seed {seed}, after {calls} calls: {}", ended.failure.unwrap());
    }
}
