//! The backup's side (`src/repository/session.rs`): announce, look, store, commit, end. `unforget` goes the same way
//! and has nothing to store but what it copies out of condemned packs (`src/operation/recommit/rescue.rs`), once, before
//! it looks again: a chunk that it cannot reuse then, or that is gone, makes it fail.

use super::look::{Glance, Look, LookStep, Looker};
use super::mutations::Mutation;
use super::set::Set;
use super::state::{Remembered, State};
use super::{Protocol, Task};

/// The steps of `format-spec/11-ordering.md`, "Backup". The name is the call that comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum BackupStep {
    /// 1: PUT `sessions/S` (`Session::begin`). A backup that was never begun stands here.
    #[default]
    PutSession,
    /// 2: LIST and GET `gc/`, then `index/`, then `packs/` (`Session::usable`).
    Look,
    /// 3: PUT the new pack.
    PutPack,
    /// 3: HEAD `sessions/S` and `abandoned/S` (`Announced::check`): who was given up names no packs.
    CheckAnnounced,
    /// 3: PUT the index object that names it, and the packs adopted.
    PutIndex,
    /// 4: PUT `snapshots/S` (`Session::commit`).
    PutSnapshot,
    /// 4: LIST `abandoned/`.
    ListAbandoned,
    /// 5: DELETE `sessions/S` (`Session::end`).
    DeleteSession,
    /// It reported success and ended its session.
    Succeeded,
    /// It reported failure; whether its session is still there depends on why.
    Failed,
}

/// How a step of a backup goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BackupHow {
    /// As it should.
    Done,
    /// The PUT of the manifest is not answered; the backup reports failure and leaves its session.
    Unanswered,
    /// The PUT of the manifest is not answered, and is about to be tried again.
    Retried,
    /// One call of step 2.
    Look(Glance),
    /// It starts again under a new id.
    Again,
}

/// One backup, with what it remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Backup {
    pub(super) step: BackupStep,
    /// How often it started again under a new id.
    pub(super) attempt: u8,
    look: Look,
    /// Chunks to store.
    upload: Set,
    /// Packs to name in its index object.
    publish: Set,
    /// Whether it has copied what it needs out of condemned packs.
    rescued: bool,
}

impl Backup {
    pub(super) fn remembers(&self) -> Remembered {
        let mut all = self.look.remembers();
        all.packs |= self.publish;
        all
    }

    /// Ends an attempt without success: the session stays.
    fn fail(&mut self) {
        *self = Self { step: BackupStep::Failed, attempt: self.attempt, ..Self::default() };
    }
}

impl Protocol {
    /// The id of this backup's session and snapshot.
    pub(super) fn id(&self, backup: usize, attempt: u8) -> u8 {
        1 + backup as u8 * self.attempts + attempt
    }

    pub(super) fn backup_moves(&self, state: &State, which: usize, out: &mut Vec<BackupHow>) {
        let backup = &state.backups[which];
        match backup.step {
            BackupStep::PutSession => {
                // The manifest of the snapshot that is to come back has to be there.
                let gone = !(state.store.snapshots & state.store.forgotten).contains(0);
                if !(self.backups[which] == Task::Unforget && backup.attempt == 0 && gone) {
                    out.push(BackupHow::Done);
                }
            }
            BackupStep::Look => {
                let mut glances = Vec::new();
                backup.look.glances(&state.store, self.mutation, &mut glances);
                out.extend(glances.into_iter().map(BackupHow::Look));
            }
            BackupStep::PutSnapshot => {
                out.push(BackupHow::Done);
                let retried = state.store.in_flight.contains(self.id(which, backup.attempt));
                if self.timeouts {
                    out.push(BackupHow::Unanswered);
                }
                if self.retries && !retried {
                    out.push(BackupHow::Retried);
                }
            }
            BackupStep::Succeeded => {}
            BackupStep::Failed if backup.attempt + 1 < self.attempts => out.push(BackupHow::Again),
            BackupStep::Failed => {}
            _ => out.push(BackupHow::Done),
        }
    }

    pub(super) fn backup_step(&self, state: &mut State, which: usize, how: BackupHow) {
        let id = self.id(which, state.backups[which].attempt);
        let step = state.backups[which].step;
        match how {
            BackupHow::Look(glance) => return self.backup_looks(state, which, glance),
            BackupHow::Unanswered => return self.commit_unanswered(state, which, id),
            BackupHow::Retried => return state.store.in_flight.insert(id),
            BackupHow::Again => {
                let attempt = state.backups[which].attempt + 1;
                state.backups[which] = Backup { attempt, ..self.fresh_backup() };
                return;
            }
            BackupHow::Done => {}
        }
        match step {
            BackupStep::PutSession => self.announce(state, which, id),
            BackupStep::PutPack => {
                let upload = std::mem::take(&mut state.backups[which].upload);
                let pack = state.put_pack(upload);
                state.backups[which].publish.insert(pack);
                state.backups[which].step = BackupStep::CheckAnnounced;
            }
            BackupStep::CheckAnnounced => self.check_announced(state, which, id),
            BackupStep::PutIndex => {
                let publish = std::mem::take(&mut state.backups[which].publish);
                state.put_index(publish);
                if self.backups[which] == Task::Unforget && state.backups[which].rescued {
                    state.backups[which].step = BackupStep::Look;
                    state.backups[which].look = Look::begin(Looker::Backup, self.mutation);
                } else {
                    self.ready_to_commit(state, which, id);
                }
            }
            BackupStep::PutSnapshot => self.commit(state, which, id),
            BackupStep::ListAbandoned => self.look_for_mark(state, which, id),
            BackupStep::DeleteSession => {
                state.store.sessions.remove(id);
                state.backups[which].step = if state.onlooker.succeeded.contains(id) {
                    BackupStep::Succeeded
                } else {
                    BackupStep::Failed
                };
            }
            BackupStep::Look | BackupStep::Succeeded | BackupStep::Failed => unreachable!("no single call"),
        }
    }

    /// A backup before its first call.
    pub(super) fn fresh_backup(&self) -> Backup {
        let late = self.mutation == Mutation::SessionAnnouncedLate;
        let step = if late { BackupStep::Look } else { BackupStep::PutSession };
        let look = if late { Look::begin(Looker::Backup, self.mutation) } else { Look::default() };
        Backup { step, look, ..Backup::default() }
    }

    /// Step 1.
    fn announce(&self, state: &mut State, which: usize, id: u8) {
        state.store.sessions.insert(id);
        let backup = &mut state.backups[which];
        if self.mutation == Mutation::SessionAnnouncedLate {
            self.store_what_is_missing(state, which, id);
        } else {
            backup.step = BackupStep::Look;
            backup.look = Look::begin(Looker::Backup, self.mutation);
        }
    }

    /// Step 2, and what follows from it.
    fn backup_looks(&self, state: &mut State, which: usize, glance: Glance) {
        let backup = &mut state.backups[which];
        backup.look.glance(self, &state.store, Looker::Backup, glance);
        if backup.look.step != LookStep::Finished {
            return;
        }
        let look = std::mem::take(&mut backup.look);
        // Adoption: packs that no index names are read whole, and named in this session's own index.
        backup.publish = look.orphans() & state.store.packs;
        let id = self.id(which, backup.attempt);
        backup.upload = self.need(id) - state.store.chunks(look.counting() | backup.publish);
        if self.mutation == Mutation::SessionAnnouncedLate {
            backup.step = BackupStep::PutSession;
        } else {
            self.store_what_is_missing(state, which, id);
        }
    }

    /// Goes on to step 3, or past it where nothing is missing.
    fn store_what_is_missing(&self, state: &mut State, which: usize, id: u8) {
        let present = state.store.chunks(state.store.packs);
        let backup = &mut state.backups[which];
        let unforgets = !backup.upload.is_empty() && self.backups[which] == Task::Unforget;
        if unforgets && !backup.rescued && (backup.upload - present).is_empty() {
            backup.rescued = true;
            backup.step = BackupStep::PutPack;
        } else if unforgets {
            // Nothing of this session will ever be committed, so its owner may delete it.
            *backup =
                Backup { step: BackupStep::DeleteSession, attempt: backup.attempt, ..Backup::default() };
        } else if !backup.upload.is_empty() {
            backup.step = BackupStep::PutPack;
        } else if !backup.publish.is_empty() {
            backup.step = BackupStep::CheckAnnounced;
        } else {
            self.ready_to_commit(state, which, id);
        }
    }

    /// Step 3, before it ends. No manifest was sent, so the owner of a session that was given up may delete it.
    fn check_announced(&self, state: &mut State, which: usize, id: u8) {
        let is_live = state.store.sessions.contains(id) && !state.store.abandoned.contains(id);
        let backup = &mut state.backups[which];
        if is_live || self.mutation == Mutation::SessionAnnouncedLate {
            backup.step = BackupStep::PutIndex;
        } else {
            *backup =
                Backup { step: BackupStep::DeleteSession, attempt: backup.attempt, ..Backup::default() };
        }
    }

    fn ready_to_commit(&self, state: &mut State, which: usize, id: u8) {
        state.backups[which].step = match self.mutation {
            Mutation::BackupLooksBeforeWriting => BackupStep::ListAbandoned,
            Mutation::SessionRemovedEarly => {
                state.store.sessions.remove(id);
                BackupStep::PutSnapshot
            }
            _ => BackupStep::PutSnapshot,
        };
    }

    /// Step 4, its first half.
    fn commit(&self, state: &mut State, which: usize, id: u8) {
        state.store.snapshots.insert(id);
        if self.mutation == Mutation::BackupLooksBeforeWriting {
            state.onlooker.succeeded.insert(id);
            state.backups[which].step = BackupStep::DeleteSession;
        } else {
            state.backups[which].step = BackupStep::ListAbandoned;
        }
    }

    /// Step 4, its second half.
    fn look_for_mark(&self, state: &mut State, which: usize, id: u8) {
        if state.store.abandoned.contains(id) {
            state.backups[which].fail();
        } else if self.mutation == Mutation::BackupLooksBeforeWriting {
            state.backups[which].step = BackupStep::PutSnapshot;
        } else {
            state.onlooker.succeeded.insert(id);
            state.backups[which].step = BackupStep::DeleteSession;
        }
    }

    /// The manifest is on its way, and its writer does not know whether it arrives.
    fn commit_unanswered(&self, state: &mut State, which: usize, id: u8) {
        state.store.in_flight.insert(id);
        if self.mutation == Mutation::SessionRemovedAfterTimeout {
            state.store.sessions.remove(id);
        }
        state.backups[which].fail();
    }
}
