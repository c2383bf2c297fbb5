//! An exhaustive model of the protocol by which backups, prunes and readers run together.
//!
//! `format-spec/11-ordering.md` is what it models, one call to the store at a time, in every order. It shares no code
//! with the program; it shares the names of the steps, so that the two can be laid side by side (CONTRIBUTING.md,
//! "The protocol's model").
//!
//! An actor that dies is one that makes no further step. The rules have to hold in every state, and so hold however
//! long anybody sleeps and wherever anybody dies; no step says so.

mod backup;
mod configurations;
mod forget;
mod give_up;
mod look;
mod mutations;
mod properties;
mod prune;
mod reader;
mod repair;
mod set;
mod state;
mod tests;

use stateright::{Model, Property};

use backup::{BackupHow, BackupStep};
use mutations::Mutation;
use prune::{PruneHow, PruneStep};
use reader::{ReaderHow, ReaderStep};
use repair::RepairStep;
use set::Set;
use state::State;

/// What an actor on the backup's side is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// Store what it was given.
    Backup,
    /// Bring back the snapshot that was there in the beginning.
    Unforget,
}

/// How things stand in the beginning: one pack, one index object that names it, one snapshot that needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// The snapshot is live.
    Live,
    /// It is forgotten, so that its pack is garbage.
    Forgotten,
    /// It is live, and a prune that died condemned its pack: the snapshot was committed meanwhile.
    Condemned,
    /// It is forgotten, and the pack is named by no index object any more.
    Orphan,
}

/// A configuration: who takes part, how often, and what they do wrong.
#[derive(Clone, Debug)]
struct Protocol {
    name: &'static str,
    starts: &'static [Start],
    backups: &'static [Task],
    /// The chunks that each backup needs. The snapshot of the beginning needs what the first does.
    chunks: [Set; 2],
    /// How often a backup may begin.
    attempts: u8,
    pruners: usize,
    /// How often the first pruner may begin.
    runs: u8,
    /// Whether a pruner may move live chunks, besides deleting what is dead.
    repacks: bool,
    /// Whether a pruner looks again only where something has changed on which its plan was built.
    checks_first: bool,
    /// Whether a pruner keeps W for its next run.
    keeps_sessions: bool,
    /// Whether a pruner deletes the manifests of forgotten snapshots.
    tidies_manifests: bool,
    pruners_give_up: bool,
    host_gives_up: bool,
    /// Whether the PUT of a manifest may go unanswered.
    timeouts: bool,
    /// Whether such a PUT may be tried again, so that it takes effect twice.
    retries: bool,
    reader: bool,
    repair: bool,
    forgets: u8,
    /// Whether listings of `index/` and `packs/` take time, so that what is moved meanwhile may be missing from them.
    slow_listings: bool,
    mutation: Mutation,
}

/// One call to the store, by one actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Backup(usize, BackupStep, BackupHow),
    Prune(usize, PruneStep, PruneHow),
    HostGivesUp(u8),
    Read(ReaderStep, ReaderHow),
    Repair(RepairStep),
    Forget(u8),
    /// A manifest whose PUT was not answered lands.
    Land(u8),
    /// Mutations only.
    DeleteForgotten(u8),
}

impl Protocol {
    /// The chunks that a snapshot needs.
    fn need(&self, snapshot: u8) -> Set {
        let second = snapshot > self.attempts;
        self.chunks[usize::from(second)]
    }

    /// The chunks that any of these snapshots needs.
    fn needs(&self, snapshots: Set) -> Set {
        snapshots.iter().fold(Set::EMPTY, |all, snapshot| all | self.need(snapshot))
    }

    fn start(&self, start: Start) -> State {
        let mut state = State { forgets: self.forgets, repair: self.fresh_repair(), ..State::default() };
        for which in 0..self.backups.len() {
            state.backups[which] = self.fresh_backup();
        }
        let pack = state.put_pack(self.chunks[0]);
        if start != Start::Orphan {
            state.put_index(Set::of(&[pack]));
        }
        state.store.snapshots.insert(0);
        state.onlooker.succeeded.insert(0);
        match start {
            Start::Live => {}
            Start::Forgotten | Start::Orphan => {
                state.store.forgotten.insert(0);
                state.onlooker.asked_to_forget.insert(0);
            }
            Start::Condemned => {
                state.put_gc(Set::of(&[pack]));
            }
        }
        state
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.starts.iter().map(|start| self.start(*start)).collect()
    }

    fn actions(&self, state: &State, out: &mut Vec<Action>) {
        let mut backs = Vec::new();
        for which in 0..self.backups.len() {
            self.backup_moves(state, which, &mut backs);
            out.extend(backs.drain(..).map(|how| Action::Backup(which, state.backups[which].step, how)));
        }
        let mut prunes = Vec::new();
        for which in 0..self.pruners {
            self.prune_moves(state, which, &mut prunes);
            out.extend(prunes.drain(..).map(|how| Action::Prune(which, state.pruners[which].step, how)));
        }
        let (mut reads, mut sessions) = (Vec::new(), Vec::new());
        self.reader_moves(state, &mut reads);
        out.extend(reads.into_iter().map(|how| Action::Read(state.reader.step, how)));
        self.host_moves(state, &mut sessions);
        out.extend(sessions.into_iter().map(Action::HostGivesUp));
        if self.repair_moves(state) {
            out.push(Action::Repair(state.repair.step));
        }
        self.bystander_moves(state, out);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Backup(which, _, how) => self.backup_step(&mut next, which, how),
            Action::Prune(which, _, how) => self.prune_step(&mut next, which, how),
            Action::HostGivesUp(session) => self.host_step(&mut next, session),
            Action::Read(_, how) => self.reader_step(&mut next, how),
            Action::Repair(_) => self.repair_step(&mut next),
            Action::Forget(snapshot) => Self::forget(&mut next, snapshot),
            Action::Land(snapshot) => Self::land(&mut next, snapshot),
            Action::DeleteForgotten(snapshot) => Self::delete_forgotten(&mut next, snapshot),
        }
        next.collect();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = properties::rules();
        if self.mutation == Mutation::None {
            properties.extend(properties::events(self));
        }
        properties
    }
}
