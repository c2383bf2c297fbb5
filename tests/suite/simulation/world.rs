//! A store in memory behind a scheduler that a seed drives: who goes on, what fails, who dies.
//!
//! Each actor runs the real code in a thread of its own. Every call of its store waits here until the scheduler grants
//! it, and the scheduler grants nothing before each living actor waits or has ended. So one call happens at a time, and
//! the seed alone says which.
//!
//! What the seed does not say: ids are drawn by the system, so where the real code goes by the order of ids, or of a hash
//! map, a replay may take another turn. The trace of the run that failed is printed for that reason.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use strongroom::backend::{Backend, Listed, MemoryBackend, ObjectKind, ObjectName};
use strongroom::error::{Error, ErrorKind, Result};

use super::mutation::{Mutated, Mutation};
use super::oracle::Oracle;
use super::steps::{Role, Steps, Table};
use crate::stores::{Call, Image, store_of};
use crate::support::Rng;

/// Longest that an actor may wait for its turn; more is a deadlock.
const DEADLINE: Duration = Duration::from_secs(120);

/// Lines of a trace that are printed.
const TRACE_MAX: usize = 4000;

/// What may go wrong in a seed, as one in so many calls; zero is never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Odds {
    /// An actor dies at a call.
    pub(crate) crash: u64,
    /// A call fails or times out, and the actor lives.
    pub(crate) error: u64,
    /// An actor stands still for long.
    pub(crate) pause: u64,
    /// The actor that went last does not go on.
    pub(crate) switch: u64,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    /// It fails without effect.
    Fails,
    /// It takes effect, and the answer is lost.
    AnswerLost,
    /// It times out, and takes effect later or never.
    InFlight,
}

struct Seat {
    role: Role,
    /// Calls that wait for their turn, in the order in which they came.
    waiting: Vec<(u64, Call)>,
    ended: bool,
    crashed: bool,
    paused_until: u64,
}

/// What was sent and has not arrived.
enum Late {
    Put(ObjectName, Vec<u8>),
    Delete(ObjectName),
}

struct State {
    rng: Rng,
    odds: Odds,
    memory: MemoryBackend,
    seats: Vec<Seat>,
    tickets: u64,
    granted: Option<(u64, Fate, bool)>,
    last: usize,
    turns: u64,
    late: Vec<Late>,
    steps: Steps,
    mutated: Mutated,
    trace: Vec<String>,
    failure: Option<String>,
}

/// One run of the simulation.
pub(crate) struct World {
    state: Mutex<State>,
    turn: Vec<Condvar>,
    /// What must be true.
    pub(crate) oracle: Oracle,
}

impl World {
    /// A world that begins with these objects and has so many actors.
    pub(crate) fn new(
        image: &Image,
        roles: &[Role],
        rng: Rng,
        odds: Odds,
        mutation: Option<Mutation>,
        oracle: Oracle,
    ) -> Self {
        let seat = |role: &Role| Seat {
            role: *role,
            waiting: Vec::new(),
            ended: false,
            crashed: false,
            paused_until: 0,
        };
        let state = State {
            rng,
            odds,
            memory: store_of(image),
            seats: roles.iter().map(seat).collect(),
            tickets: 0,
            granted: None,
            last: 0,
            turns: 0,
            late: Vec::new(),
            steps: Steps::new(roles),
            mutated: Mutated::new(mutation, roles.len()),
            trace: Vec::new(),
            failure: None,
        };
        let turn = roles.iter().map(|_| Condvar::new()).collect();
        Self { state: Mutex::new(state), turn, oracle }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store below, for whoever looks at it when all is over.
    pub(crate) fn memory(&self) -> MemoryBackend {
        self.lock().memory.clone()
    }

    /// What went wrong, if anything did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// Adds which steps met to a table, and gives the number of calls.
    pub(crate) fn count(&self, table: &mut Table) -> u64 {
        let state = self.lock();
        table.add(state.steps.table());
        state.turns
    }

    /// Everything that happened.
    pub(crate) fn trace(&self) -> String {
        let state = self.lock();
        let from = state.trace.len().saturating_sub(TRACE_MAX);
        state.trace[from..].join("\n")
    }

    /// Writes something down in the trace.
    pub(crate) fn note(&self, actor: usize, what: impl FnOnce() -> String) {
        let mut state = self.lock();
        let line = format!("{:>5} {}: {}", state.turns, state.seats[actor].role.name(actor), what());
        state.trace.push(line);
    }

    /// What must be true is not: from now on every call fails, so that the run ends.
    pub(crate) fn fail(&self, why: String) {
        let mut state = self.lock();
        self.fail_in(&mut state, why);
    }

    fn fail_in(&self, state: &mut State, why: String) {
        state.trace.push(format!("{:>5} FAILED: {why}", state.turns));
        state.failure.get_or_insert(why);
        for (seat, turn) in state.seats.iter_mut().zip(&self.turn) {
            seat.crashed = true;
            seat.waiting.clear();
            turn.notify_all();
        }
    }

    /// Whether nothing goes wrong in this run but the order of things.
    pub(crate) fn is_fair(&self) -> bool {
        let odds = self.lock().odds;
        odds.crash == 0 && odds.error == 0
    }

    /// Whether an actor died, so that what it says is not believed.
    pub(crate) fn crashed(&self, actor: usize) -> bool {
        self.lock().seats[actor].crashed
    }

    /// An actor's process is started anew. False where the run is over.
    pub(crate) fn restart(&self, actor: usize) -> bool {
        let mut state = self.lock();
        if state.failure.is_some() {
            return false;
        }
        state.seats[actor].crashed = false;
        state.steps.ends(actor);
        true
    }

    /// An actor begins a command.
    pub(crate) fn begins(&self, actor: usize) {
        let mut state = self.lock();
        state.steps.begins(actor);
        let memory = state.memory.clone();
        state.mutated.begins(&memory, actor);
    }

    /// An actor ended a command.
    pub(crate) fn ends(&self, actor: usize) {
        self.lock().steps.ends(actor);
    }

    /// An actor is done for good.
    pub(crate) fn leaves(&self, actor: usize) {
        let mut state = self.lock();
        state.seats[actor].ended = true;
        state.steps.ends(actor);
        self.go_on(&mut state);
    }

    /// Grants a call, once every living actor waits.
    fn go_on(&self, state: &mut State) {
        let ready =
            state.granted.is_none() && state.seats.iter().all(|seat| seat.ended || !seat.waiting.is_empty());
        if !ready || state.failure.is_some() {
            return;
        }
        self.let_late_ones_land(state);
        let Some(actor) = state.choose() else { return };
        state.turns += 1;
        state.last = actor;
        let seat = &mut state.seats[actor];
        // Two threads of one actor upload: which of them comes first is chosen by what they do, not by when they came.
        let first = (0..seat.waiting.len()).min_by_key(|at| seat.waiting[*at].0).unwrap_or(0);
        let (ticket, call) = seat.waiting.remove(first);
        let (fate, dies) = state.fate(actor, call);
        state.granted = Some((ticket, fate, dies));
        self.turn[actor].notify_all();
    }

    fn let_late_ones_land(&self, state: &mut State) {
        let mut number = 0;
        while number < state.late.len() {
            if state.rng.below(24) > 0 {
                number += 1;
                continue;
            }
            let call = match state.late.remove(number) {
                Late::Put(name, bytes) => {
                    // It says something already: a store that is asked twice keeps what it has.
                    drop(state.memory.put(&name, &bytes));
                    Call::Put(name)
                }
                Late::Delete(name) => {
                    drop(state.memory.delete(&name));
                    Call::Delete(name)
                }
            };
            state.trace.push(format!("{:>5} lands late: {call:?}", state.turns));
            self.judge(state, call);
        }
    }

    /// Asks the oracle after a change.
    fn judge(&self, state: &mut State, call: Call) {
        if let Err(why) = self.oracle.after(&state.memory, call) {
            self.fail_in(state, why);
        }
    }

    /// One call of an actor: waits for its turn, and does it or not.
    fn call<T>(
        &self,
        actor: usize,
        call: Call,
        bytes: Option<&[u8]>,
        work: impl FnOnce(&MemoryBackend) -> Result<T>,
    ) -> Result<T> {
        let mut state = self.lock();
        if state.seats[actor].crashed {
            return Err(dead());
        }
        let ticket = state.tickets;
        state.tickets += 1;
        state.seats[actor].waiting.push((ticket, call));
        self.go_on(&mut state);
        let (fate, dies) = loop {
            if let Some((_, fate, dies)) = state.granted.take_if(|(granted, ..)| *granted == ticket) {
                break (fate, dies);
            }
            if state.failure.is_some() || state.seats[actor].crashed {
                state.seats[actor].waiting.retain(|(waiting, _)| *waiting != ticket);
                return Err(dead());
            }
            let (held, waited) =
                self.turn[actor].wait_timeout(state, DEADLINE).unwrap_or_else(PoisonError::into_inner);
            state = held;
            if waited.timed_out() {
                self.fail_in(&mut state, "a call waited too long for its turn".into());
            }
        };
        let line = format!(
            "{:>5} {}: {call:?}{}{}",
            state.turns,
            state.seats[actor].role.name(actor),
            if fate == Fate::Done { String::new() } else { format!(" {fate:?}") },
            if dies { ", and it dies" } else { "" }
        );
        state.trace.push(line);
        if dies {
            state.seats[actor].crashed = true;
            state.seats[actor].waiting.clear();
            // A second thread of the same actor may wait as well.
            self.turn[actor].notify_all();
        }
        let outcome = match fate {
            Fate::Done | Fate::AnswerLost => {
                state.steps.does(actor, call);
                let memory = state.memory.clone();
                let done = work(&memory);
                let State { mutated, steps, .. } = &mut *state;
                mutated.after(&memory, actor, call, steps);
                if call.changes() {
                    self.judge(&mut state, call);
                }
                if fate == Fate::Done { done } else { done.and(Err(timed_out())) }
            }
            Fate::Fails => Err(timed_out()),
            Fate::InFlight => {
                match (call, bytes) {
                    (Call::Put(name), Some(bytes)) => state.late.push(Late::Put(name, bytes.to_vec())),
                    (Call::Delete(name), _) => state.late.push(Late::Delete(name)),
                    _ => {}
                }
                Err(timed_out())
            }
        };
        self.go_on(&mut state);
        if dies { Err(dead()) } else { outcome }
    }

    /// Whether an actor is told that an object is there which is not.
    fn pretends(&self, actor: usize, name: &ObjectName) -> bool {
        let state = self.lock();
        state.mutated.pretends(state.seats[actor].role, name)
    }

    fn list(&self, actor: usize, kind: ObjectKind) -> Result<Vec<Listed>> {
        let mut listed = self.call(actor, Call::List(kind), None, |memory| memory.list(kind))?;
        let mut state = self.lock();
        let role = state.seats[actor].role;
        state.mutated.listing(role, actor, kind, &mut listed);
        Ok(listed)
    }
}

impl State {
    /// Who goes on.
    fn choose(&mut self) -> Option<usize> {
        let able: Vec<usize> =
            (0..self.seats.len()).filter(|actor| !self.seats[*actor].waiting.is_empty()).collect();
        let awake: Vec<usize> =
            able.iter().copied().filter(|actor| self.seats[*actor].paused_until <= self.turns).collect();
        let among = if awake.is_empty() { &able } else { &awake };
        if among.is_empty() {
            return None;
        }
        let stays = self.odds.switch > 0 && self.rng.below(self.odds.switch) > 0;
        let actor = if stays && among.contains(&self.last) { self.last } else { *self.rng.pick(among) };
        if self.odds.pause > 0 && self.rng.below(self.odds.pause) == 0 {
            self.seats[actor].paused_until = self.turns + 20 + self.rng.below(150);
        }
        Some(actor)
    }

    /// What becomes of a call, and whether the actor dies at it.
    fn fate(&mut self, actor: usize, call: Call) -> (Fate, bool) {
        if self.seats[actor].role == Role::Reader {
            return (Fate::Done, false);
        }
        let mut one_in = |odds: u64| odds > 0 && self.rng.below(odds) == 0;
        let dies = one_in(self.odds.crash);
        if !dies && !one_in(self.odds.error) {
            return (Fate::Done, false);
        }
        let fates: &[Fate] =
            if call.changes() { &[Fate::Fails, Fate::AnswerLost, Fate::InFlight] } else { &[Fate::Fails] };
        (*self.rng.pick(fates), dies)
    }
}

fn dead() -> Error {
    Error::new(ErrorKind::Io, "this process is dead")
}

fn timed_out() -> Error {
    Error::new(ErrorKind::Io, "the store did not answer in time")
}

/// An actor's handle on the store of whichever world is on.
pub(crate) struct Handle {
    actor: usize,
    world: RwLock<Option<Arc<World>>>,
    /// What is there while no world is on: enough to open the repository.
    rest: MemoryBackend,
}

impl Handle {
    pub(crate) fn new(actor: usize, rest: MemoryBackend) -> Self {
        Self { actor, world: RwLock::default(), rest }
    }

    /// Enters a world.
    pub(crate) fn enter(&self, world: Option<Arc<World>>) {
        *self.world.write().unwrap_or_else(PoisonError::into_inner) = world;
    }

    fn with<T>(
        &self,
        call: Call,
        bytes: Option<&[u8]>,
        work: impl FnOnce(&MemoryBackend) -> Result<T>,
    ) -> Result<T> {
        match self.world() {
            Some(world) => world.call(self.actor, call, bytes, work),
            None => work(&self.rest),
        }
    }

    fn world(&self) -> Option<Arc<World>> {
        self.world.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Backend for Handle {
    fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
        self.with(Call::Put(*name), Some(bytes), |memory| memory.put(name, bytes))
    }

    fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>> {
        self.with(Call::Get(*name), None, |memory| memory.get(name, limit))
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.with(Call::Range(*name), None, |memory| memory.get_range(name, offset, length))
    }

    fn size(&self, name: &ObjectName) -> Result<u64> {
        let found = self.with(Call::Size(*name), None, |memory| memory.size(name));
        match (found, self.world()) {
            (Err(error), Some(world))
                if error.kind() == ErrorKind::Missing && world.pretends(self.actor, name) =>
            {
                Ok(1)
            }
            (found, _) => found,
        }
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        match self.world() {
            Some(world) => world.list(self.actor, kind),
            None => self.rest.list(kind),
        }
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.with(Call::Delete(*name), None, |memory| memory.delete(name))
    }

    fn location(&self) -> String {
        "a simulated store".into()
    }
}
