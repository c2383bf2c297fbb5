//! The pruner's side (`src/operation/prune/`): its steps, what it remembers, how a run begins and stops.
//!
//! A run that dies is followed by another that remembers nothing; it takes up every gc record that it finds, without
//! knowing whether the run that wrote it is dead.

mod delete;
mod look;
mod rescue;
mod settle;

use super::Protocol;
use super::look::{Glance, Look, Looker};
use super::mutations::Mutation;
use super::set::Set;
use super::state::{Remembered, State};

/// The steps of a prune, numbered as in `format-spec/11-ordering.md`, with the function that takes them. The name is
/// the call that comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in super::super) enum PruneStep {
    /// 1, `Survey::take`: LIST `snapshots/`. A run that was never begun stands here.
    #[default]
    ListSnapshots,
    /// 1, `Survey::take`: LIST `forgotten/`.
    ListForgotten,
    /// 1, `Survey::take`: LIST and GET `gc/`, then `index/`, then `packs/`; and choosing what to condemn.
    Look,
    /// 1, `repack`: PUT a pack with copies of live chunks.
    PutCopies,
    /// 1, `repack`: PUT the index object that names it.
    PublishCopies,
    /// 2, `condemn`: PUT `gc/G`.
    PutGc,
    /// 3, `settle`: LIST `sessions/`: the set W.
    ListSessions,
    /// 4, `settle`: everybody in W must have ended. Here LIST `snapshots/`, `forgotten/` or `sessions/`.
    Settle,
    /// 4, `settle`, or `unlock`, giving up: PUT `abandoned/S`.
    PutAbandoned,
    /// 4, `settle`, or `unlock`, giving up: LIST `snapshots/`.
    LookForSnapshot,
    /// 4, `settle`, or `unlock`, giving up: PUT `forgotten/S`.
    PutForgotten,
    /// 5, `rescue`, whether the first look still holds (`Basis::holds`): LIST `snapshots/`, and none is new.
    CheckSnapshots,
    /// 5, `rescue`, the same: LIST `gc/`, and no record is new.
    CheckGc,
    /// 5, `rescue`, the same: LIST `packs/`, and all are there in which needed chunks were left, or copied to.
    CheckPacks,
    /// 5, `rescue`, `Survey::take`: LIST `snapshots/` again.
    ListSnapshotsAgain,
    /// 5, `rescue`, `Survey::take`: LIST `forgotten/`.
    ListForgottenAgain,
    /// 5, `rescue`, `Survey::take`: LIST and GET `gc/`, then `index/`, then `packs/`.
    LookAgain,
    /// 5, `rescue`: PUT a pack with copies of what has no survivor.
    PutRescued,
    /// 5, `rescue`: PUT the index object that names it.
    PublishRescued,
    /// 6, `rewrite_index`: LIST and GET `index/`; where listings take time, the beginning of the listing.
    ListNaming,
    /// 6, `rewrite_index`: the end of a listing that takes time.
    EndListNaming,
    /// 6, `rewrite_index`: PUT an index object without the condemned packs.
    PutRewritten,
    /// 6, `rewrite_index`: DELETE each that names one.
    DeleteNaming,
    /// 6, `delete_packs`: DELETE each condemned pack.
    DeletePack,
    /// 6, `delete_gc`: DELETE each gc record of this run.
    DeleteGc,
    /// 7, `tidy`: DELETE ended sessions and manifests of forgotten snapshots. The run may end at any moment.
    Tidy,
    /// The run stopped before step 5: a session is open, or a chunk has no place left. It says so and ends.
    Stopped,
}

/// How a step of a prune goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum PruneHow {
    /// In the only way it can.
    Done,
    /// One call of a look.
    Look(Glance),
    /// The last call of the first look, after which live chunks are copied out of every pack.
    Repack(Glance),
    /// The end of a listing, which shows these objects.
    Shown(Set),
    /// It uses the set W that it kept when it stopped, and lists no session.
    KeptSessions,
    /// It gives up this session.
    GiveUp(u8),
    /// W shrinks by a listing of snapshots, of forgotten marks, of sessions.
    SawSnapshots,
    SawForgotten,
    SawSessions,
    /// It stops, because of a session that is open.
    Stop,
    /// It deletes this session, whose end it knows.
    TidySession(u8),
    /// It deletes the manifest of this forgotten snapshot.
    TidyManifest(u8),
    /// Mutations only: it deletes the mark that this session was given up.
    TidyAbandoned(u8),
    /// The run is dead or over, and another begins.
    NextRun,
}

/// One pruner, with what it remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in super::super) struct Pruner {
    pub(in super::super) step: PruneStep,
    /// How many runs it began after its first.
    pub(in super::super) run: u8,
    look: Look,
    /// Snapshots listed, until those that are forgotten are known too.
    snapshots: Set,
    /// Snapshots that the first look knew.
    known: Set,
    /// Packs that hold what these need, where the first look gave every chunk a place.
    basis: Option<Set>,
    /// Chunks of live snapshots.
    needed: Set,
    /// Chunks to copy.
    copy: Set,
    /// Live chunks in packs that count and that this run will condemn.
    moving: Set,
    /// Packs that this run means to keep; in step 5 the pack to publish.
    keeping: Set,
    /// Packs that this run will condemn.
    condemning: Set,
    /// Gc records that this run finishes: its own and those it found.
    records: Set,
    /// The packs that they condemn.
    pub(in super::super) doomed: Set,
    /// The sessions that must end first: W.
    pub(in super::super) waiting: Set,
    /// The session being given up.
    pub(in super::super) subject: Set,
    /// Index objects that name condemned packs.
    naming: Set,
    /// Gc records found by the run before, whose sessions it listed after they were written.
    kept_records: Set,
    /// The sessions it still waited for.
    kept_waiting: Set,
}

impl Pruner {
    pub(in super::super) fn remembers(&self) -> Remembered {
        let mut all = self.look.remembers();
        all.packs |= self.basis.unwrap_or_default() | self.keeping | self.condemning | self.doomed;
        all.index |= self.naming;
        all.gc |= self.records | self.kept_records;
        all
    }

    /// The run ends before step 5, and keeps what it knows of open sessions.
    fn stop(&mut self, keeps: bool) {
        let mut stopped = Self { step: PruneStep::Stopped, run: self.run, ..Self::default() };
        if keeps {
            stopped.kept_records = self.records;
            stopped.kept_waiting = self.waiting;
        }
        *self = stopped;
    }

    /// Everything is done that concerns data.
    fn tidy(&mut self) {
        *self = Self { step: PruneStep::Tidy, run: self.run, ..Self::default() };
    }
}

impl Protocol {
    pub(in super::super) fn prune_moves(&self, state: &State, which: usize, out: &mut Vec<PruneHow>) {
        let pruner = &state.pruners[which];
        match pruner.step {
            PruneStep::Look | PruneStep::LookAgain => self.look_moves(state, which, out),
            PruneStep::ListSessions => self.list_sessions_moves(state, which, out),
            PruneStep::Settle => self.settle_moves(state, which, out),
            PruneStep::EndListNaming => {
                out.extend(state.store.index_shown(pruner.naming).map(PruneHow::Shown))
            }
            PruneStep::Tidy => self.tidy_moves(state, out),
            PruneStep::Stopped => {}
            _ => out.push(PruneHow::Done),
        }
        let begun = pruner.step != PruneStep::ListSnapshots;
        if begun && self.may_run_again(which, pruner) {
            out.push(PruneHow::NextRun);
        }
    }

    pub(in super::super) fn prune_step(&self, state: &mut State, which: usize, how: PruneHow) {
        use PruneStep as Step;
        if how == PruneHow::NextRun {
            let Pruner { run, kept_records, kept_waiting, .. } = state.pruners[which];
            state.pruners[which] = Pruner { run: run + 1, kept_records, kept_waiting, ..Pruner::default() };
            return;
        }
        match state.pruners[which].step {
            Step::ListSnapshots | Step::ListForgotten => self.list_live(state, which),
            Step::Look => self.look(state, which, how),
            Step::PutCopies | Step::PublishCopies => self.repack(state, which),
            Step::PutGc => self.condemn(state, which),
            Step::ListSessions => self.list_sessions(state, which, how),
            Step::Settle => self.settle(state, which, how),
            Step::PutAbandoned | Step::LookForSnapshot | Step::PutForgotten => self.give_up(state, which),
            Step::CheckSnapshots | Step::CheckGc | Step::CheckPacks => self.check_basis(state, which),
            Step::ListSnapshotsAgain | Step::ListForgottenAgain => self.list_live_again(state, which),
            Step::LookAgain => self.look_again(state, which, how),
            Step::PutRescued | Step::PublishRescued => self.rescue(state, which),
            Step::ListNaming | Step::EndListNaming => self.list_naming(state, which, how),
            Step::PutRewritten | Step::DeleteNaming => self.rewrite_index(state, which),
            Step::DeletePack => self.delete_packs(state, which),
            Step::DeleteGc => self.delete_gc(state, which),
            Step::Tidy => Self::tidy(state, how, self.mutation),
            Step::Stopped => unreachable!("a run that stopped does nothing"),
        }
    }

    /// Whether another run may follow. A second pruner is there for the first to meet, and runs once.
    fn may_run_again(&self, which: usize, pruner: &Pruner) -> bool {
        which == 0 && pruner.run + 1 < self.runs
    }

    fn look_moves(&self, state: &State, which: usize, out: &mut Vec<PruneHow>) {
        let pruner = &state.pruners[which];
        let mut glances = Vec::new();
        pruner.look.glances(&state.store, self.mutation, &mut glances);
        for glance in glances {
            out.push(PruneHow::Look(glance));
            // The same call, and what is chosen after it: offered only where it is the last.
            let mut look = pruner.look.clone();
            look.glance(self, &state.store, Looker::Pruner, glance);
            if pruner.step == PruneStep::Look && self.worth_repacking(state, pruner.needed, &look) {
                out.push(PruneHow::Repack(glance));
            }
        }
    }
}

/// Whether this mutation leaves out the protocol for packs that no index names.
fn deletes_orphans_at_once(mutation: Mutation) -> bool {
    mutation == Mutation::OrphansDeletedOutside
}
