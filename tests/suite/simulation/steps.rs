//! Which step a backup was in while a prune took which step.
//!
//! A step lasts from the call that names it to the next one that names another. They are those of
//! `format-spec/11-ordering.md`, told apart by nothing but the calls that an actor makes.

use strongroom::backend::ObjectKind;

use crate::stores::Call;

/// What an actor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Backs up.
    Host,
    /// Forgets, prunes and unlocks.
    Pruner,
    /// Restores.
    Reader,
}

impl Role {
    /// Its name in a trace.
    pub(crate) fn name(self, actor: usize) -> String {
        format!("{self:?} {actor}").to_lowercase()
    }
}

/// The steps of a backup.
pub(crate) const BACKUP: [&str; 9] = [
    "has not begun",
    "announced",
    "gc listed",
    "index listed",
    "packs listed",
    "packs stored",
    "index stored",
    "manifest stored",
    "mark looked for",
];

/// The steps of a prune.
pub(crate) const PRUNE: [&str; 13] = [
    "looks",
    "copies packs",
    "publishes copies",
    "condemns",
    "lists sessions",
    "gives up",
    "looks again",
    "rescues",
    "rewrites index",
    "deletes index",
    "deletes packs",
    "deletes gc",
    "tidies up",
];

/// How often each step of a backup met each step of a prune.
pub(crate) type Table = Counts;

/// The counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts([[u64; PRUNE.len()]; BACKUP.len()]);

impl Counts {
    /// Adds another table.
    pub(crate) fn add(&mut self, other: &Self) {
        for (row, others) in self.0.iter_mut().zip(&other.0) {
            for (count, other) in row.iter_mut().zip(others) {
                *count += other;
            }
        }
    }

    /// The cells in which nothing was counted.
    pub(crate) fn zeros(&self) -> Vec<(&'static str, &'static str)> {
        let cells = self.0.iter().zip(BACKUP).flat_map(|(row, backup)| {
            row.iter().zip(PRUNE).map(move |(count, prune)| (*count, backup, prune))
        });
        cells.filter(|(count, ..)| *count == 0).map(|(_, backup, prune)| (backup, prune)).collect()
    }

    /// The table as text.
    pub(crate) fn shown(&self) -> String {
        let mut text = format!("{:18}", "");
        for prune in PRUNE {
            text += &format!("{prune:>18}");
        }
        for (row, backup) in self.0.iter().zip(BACKUP) {
            text += &format!("\n{backup:18}");
            for count in row {
                text += &format!("{count:>18}");
            }
        }
        text
    }
}

/// Where everybody is.
pub(crate) struct Steps {
    actors: Vec<(Role, Option<usize>, Progress)>,
    table: Counts,
}

/// What tells the steps of a prune apart that make the same calls.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    surveyed: bool,
    condemned: bool,
    waited: bool,
}

impl Steps {
    pub(crate) fn new(roles: &[Role]) -> Self {
        let actors = roles.iter().map(|role| (*role, None, Progress::default())).collect();
        Self { actors, table: Counts::default() }
    }

    /// What met what so far.
    pub(crate) fn table(&self) -> &Counts {
        &self.table
    }

    /// What an actor does.
    pub(crate) fn role(&self, actor: usize) -> Role {
        self.actors[actor].0
    }

    /// An actor begins a command.
    pub(crate) fn begins(&mut self, actor: usize) {
        let (_, step, progress) = &mut self.actors[actor];
        (*step, *progress) = (Some(0), Progress::default());
    }

    /// An actor ended a command, or died in it.
    pub(crate) fn ends(&mut self, actor: usize) {
        self.actors[actor].1 = None;
    }

    /// An actor did something.
    pub(crate) fn does(&mut self, actor: usize, call: Call) {
        let (role, step, progress) = &mut self.actors[actor];
        let Some(before) = *step else { return };
        match role {
            Role::Host => *step = backup_step(before, call),
            Role::Pruner => *step = Some(prune_step(before, progress, call)),
            Role::Reader => return,
        }
        let of = |role| self.actors.iter().filter(move |actor| actor.0 == role).filter_map(|actor| actor.1);
        for backup in of(Role::Host) {
            for prune in of(Role::Pruner) {
                self.table.0[backup][prune] += 1;
            }
        }
    }
}

fn backup_step(before: usize, call: Call) -> Option<usize> {
    Some(match (call, call.kind()) {
        (Call::Put(_), ObjectKind::Session) => 1,
        (Call::List(_), ObjectKind::Gc) if before == 1 => 2,
        (Call::List(_), ObjectKind::Index) if before == 2 => 3,
        (Call::List(_), ObjectKind::Pack) if before == 3 => 4,
        (Call::Put(_), ObjectKind::Pack) => 5,
        (Call::Put(_), ObjectKind::Index) => 6,
        (Call::Put(_), ObjectKind::Snapshot) => 7,
        (Call::List(_), ObjectKind::Abandoned) if before == 7 => 8,
        (Call::Delete(_), ObjectKind::Session) if before > 0 => return None,
        _ => before,
    })
}

fn prune_step(before: usize, progress: &mut Progress, call: Call) -> usize {
    match (call, call.kind()) {
        (Call::Put(_), ObjectKind::Gc) => {
            progress.condemned = true;
            3
        }
        (Call::List(_), ObjectKind::Session) if progress.waited && before > 5 => 12,
        (Call::List(_), ObjectKind::Session) if progress.surveyed => {
            (progress.condemned, progress.waited) = (true, true);
            4
        }
        (Call::Put(_), ObjectKind::Abandoned | ObjectKind::Forgotten) if progress.waited => 5,
        (Call::Put(_), ObjectKind::Pack) if progress.condemned => 7,
        (Call::Put(_), ObjectKind::Pack) => 1,
        (Call::Put(_), ObjectKind::Index) if before == 7 => 7,
        (Call::Put(_), ObjectKind::Index) if progress.condemned => 8,
        (Call::Put(_), ObjectKind::Index) => 2,
        (Call::List(_), ObjectKind::Gc) if !progress.waited => {
            progress.surveyed = true;
            before
        }
        (Call::List(_), ObjectKind::Gc) if before < 7 => 6,
        (Call::Delete(_), ObjectKind::Index) => 9,
        (Call::Delete(_), ObjectKind::Pack) => 10,
        (Call::Delete(_), ObjectKind::Gc) => 11,
        _ => before,
    }
}
