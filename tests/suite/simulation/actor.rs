//! What the actors do: hosts that back up, pruners that forget and prune, a reader that restores.
//!
//! Each runs in a thread of its own, which is the one thread of a pool: what the real code does in parallel stays in it,
//! for a thread of a shared pool that waits for its turn would keep others from theirs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use strongroom::backend::Backend;
use strongroom::error::{ErrorKind, Result};
use strongroom::operation::prune::{self, Limit};
use strongroom::operation::unlock;
use strongroom::repository::Repository;
use strongroom::repository::cache::Cache;
use strongroom::repository::session::SessionState;

use super::Ground;
use super::steps::Role;
use super::world::{Handle, World};
use crate::stores::small::{self, HOSTS, Small, Who, back_up, forget, restored, thorough};
use crate::stores::store_of;
use crate::support::{Rng, TempFolder};

/// Everybody: hosts first, then two pruners, then a reader.
pub(crate) const CAST: [Role; HOSTS + 3] =
    [Role::Host, Role::Host, Role::Host, Role::Pruner, Role::Pruner, Role::Reader];

/// A run to take part in.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) world: Arc<World>,
    pub(crate) seed: u64,
    pub(crate) caches: Arc<TempFolder>,
}

/// The threads of all actors, for one run after the other.
pub(crate) struct Company {
    parts: Vec<Sender<Part>>,
    done: Receiver<()>,
}

impl Company {
    /// Starts them; they end with this handle.
    pub(crate) fn start<'scope>(scope: &'scope thread::Scope<'scope, '_>, ground: &'scope Ground) -> Self {
        let (all_done, done) = channel();
        let parts = CAST.iter().enumerate().map(|(actor, role)| {
            let (part, parts) = channel::<Part>();
            let all_done = all_done.clone();
            scope.spawn(move || {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
                let _pool = pool.expect("a pool of this thread");
                let handle = Arc::new(Handle::new(actor, store_of(&ground.small.empty)));
                let who = match role {
                    Role::Host => Who::Host(actor),
                    Role::Pruner => Who::Maintainer,
                    Role::Reader => Who::Full,
                };
                let repository = Small::open(Arc::clone(&handle) as Arc<dyn Backend>, who);
                for part in parts {
                    let Part { world, seed, caches } = part;
                    handle.enter(Some(Arc::clone(&world)));
                    let mut rng = Rng::new(seed.wrapping_mul(31).wrapping_add(actor as u64 + 1));
                    let mut actor = Actor {
                        number: actor,
                        world: &world,
                        repository: &repository,
                        ground,
                        rng: &mut rng,
                    };
                    let played = catch_unwind(AssertUnwindSafe(|| match role {
                        Role::Host => actor.host(caches.path()),
                        Role::Pruner => actor.pruner(caches.path()),
                        Role::Reader => actor.reader(),
                    }));
                    if played.is_err() {
                        world.fail("an actor panicked; what it said stands above".into());
                    }
                    world.leaves(actor.number);
                    handle.enter(None);
                    drop((world, caches));
                    if all_done.send(()).is_err() {
                        return;
                    }
                }
            });
            part
        });
        Self { parts: parts.collect(), done }
    }

    /// Plays one run to its end.
    pub(crate) fn play(&self, part: Part) {
        for actor in &self.parts {
            actor.send(part.clone()).expect("an actor's thread lives");
        }
        for _ in &self.parts {
            self.done.recv().expect("an actor's thread lives");
        }
    }
}

struct Actor<'a> {
    number: usize,
    world: &'a World,
    repository: &'a Repository,
    ground: &'a Ground,
    rng: &'a mut Rng,
}

impl Actor<'_> {
    /// After a command: whether its end is to be believed. One that died is started anew, now and then.
    fn lived(&mut self) -> Option<bool> {
        if !self.world.crashed(self.number) {
            self.world.ends(self.number);
            return Some(true);
        }
        let again = self.rng.below(4) > 0 && self.world.restart(self.number);
        again.then_some(false)
    }

    fn host(&mut self, caches: &Path) {
        let name = format!("host-{}", self.number);
        for _ in 0..=self.rng.below(3) {
            let folder = self.rng.below(self.ground.folders.count() as u64) as usize;
            let cache = (self.rng.below(8) > 0)
                .then(|| Cache::open(&caches.join(&name), self.repository.id()).expect("a cache"));
            self.world.begins(self.number);
            let (outcome, findings) =
                back_up(self.repository, cache.as_ref(), &name, &self.ground.folders.path(folder));
            self.world.note(self.number, || match &outcome {
                Ok(summary) => format!("backed up folder {folder} as {:?}; {findings:?}", summary.snapshot),
                Err(error) => format!("did not back up folder {folder}: {}; {findings:?}", error.chain()),
            });
            let Some(lived) = self.lived() else { return };
            if let Err(error) = &outcome
                && self.world.is_fair()
                && error.kind() != ErrorKind::Abandoned
            {
                return self
                    .world
                    .fail(format!("a backup failed, though nothing went wrong: {}", error.chain()));
            }
            let reported = outcome.ok().and_then(|summary| summary.snapshot).filter(|_| lived);
            if let Some(id) = reported
                && let Err(why) = self.world.oracle.reported(&self.world.memory(), &id, folder)
            {
                return self.world.fail(why);
            }
        }
    }

    fn pruner(&mut self, caches: &Path) {
        let name = format!("pruner-{}", self.number);
        for _ in 0..=self.rng.below(3) {
            let cache = (self.rng.below(4) > 0)
                .then(|| Cache::open(&caches.join(&name), self.repository.id()).expect("a cache"));
            self.world.begins(self.number);
            let outcome = self.maintain(cache.as_ref());
            self.world.note(self.number, || format!("{outcome:?}"));
            if self.lived().is_none() {
                return;
            }
            if let Err(error) = outcome
                && self.world.is_fair()
                && error.kind() != ErrorKind::Busy
            {
                return self
                    .world
                    .fail(format!("a prune failed, though nothing went wrong: {}", error.chain()));
            }
        }
    }

    /// Forgets some, gives some up, prunes.
    fn maintain(&mut self, cache: Option<&Cache>) -> Result<String> {
        let mut said = String::new();
        if self.rng.below(2) == 0 {
            let live = self.world.oracle.live(&self.world.memory());
            for (id, _) in live.iter().filter(|_| self.rng.below(3) == 0) {
                self.world.oracle.may_forget(id);
                forget(self.repository, &[*id])?;
                said += &format!("forgot snapshots/{}; ", id.short());
            }
        }
        if self.rng.below(3) == 0 {
            for session in unlock::list(self.repository, cache)? {
                if session.state == SessionState::Open && self.rng.below(3) > 0 {
                    let state = unlock::give_up(self.repository, &session, "pruner")?;
                    said += &format!("gave up sessions/{}: {state:?}; ", session.id.short());
                }
            }
        }
        if self.rng.below(8) == 0 {
            return Ok(said);
        }
        let options = prune::Options {
            max_unused: match self.rng.below(4) {
                0 => Limit::Unlimited,
                1 => Limit::Part(2000),
                _ => Limit::Bytes(0),
            },
            repack_small: self.rng.below(6) == 0,
            ..thorough()
        };
        let (outcome, findings) = small::prune(self.repository, cache, &options);
        let summary = outcome?;
        Ok(format!("{said}pruned: {summary:?}; {findings:?}"))
    }

    fn reader(&mut self) {
        for _ in 0..self.rng.below(3) {
            let live = self.world.oracle.live(&self.world.memory());
            if live.is_empty() {
                return;
            }
            let (id, folder) = *self.rng.pick(&live);
            self.world.begins(self.number);
            let outcome = restored(self.repository, &id, &self.ground.folders);
            self.world.note(self.number, || format!("restored snapshots/{}: {outcome:?}", id.short()));
            if self.lived() != Some(true) {
                return;
            }
            // Nothing fails for it: a snapshot that nobody forgets can be had at any moment.
            if outcome != Ok(folder) && !self.world.oracle.is_forgettable(&id) {
                let why = format!("snapshots/{} cannot be restored: {outcome:?}", id.short());
                return self.world.fail(why);
            }
        }
    }
}
