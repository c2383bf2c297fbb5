//! The small objects: keys, sessions and marks.

use super::Check;
use super::suffer::is_trouble;
use super::telling::{forget, whole_snapshot};
use crate::backend::{ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;
use crate::report::{Damage, Finding};

impl Check<'_> {
    /// Opens every one of them but snapshots and what goes with them.
    pub(super) fn small_objects(&mut self) -> Result<()> {
        self.reporter.progress().set_stage("keys, sessions and marks");
        for (id, error) in self.repository.list_keys()?.1 {
            self.small_damage(ObjectKind::Key, &id, &error);
        }
        for kind in [ObjectKind::Session, ObjectKind::Abandoned] {
            for id in self.repository.list_ids(kind)? {
                let read = || match kind {
                    ObjectKind::Session => self.repository.read_session(&id).map(|_| ()),
                    _ => self.repository.read_abandoned(&id).map(|_| ()),
                };
                match self.repository.read_listed_object(&ObjectName::new(kind, id), read) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::Missing => {}
                    Err(error) => self.small_damage(kind, &id, &error),
                }
            }
        }
        Ok(())
    }

    /// Tells of records of prunes that cannot be read.
    pub(super) fn records_of_prunes(&mut self) -> Result<()> {
        for id in self.repository.list_ids(ObjectKind::Gc)? {
            let name = ObjectName::new(ObjectKind::Gc, id);
            match self.repository.read_listed_object(&name, || self.repository.read_condemned(&id)) {
                Err(error) if error.kind() != ErrorKind::Missing => {
                    self.small_damage(ObjectKind::Gc, &id, &error);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Tells of a small object that is damaged.
    pub(super) fn small_damage(&mut self, kind: ObjectKind, id: &Id, error: &Error) {
        let (folder, short) = (kind.folder(), id.short());
        let object = format!("{folder}/{id}");
        let copy = format!("bring back {object} from a copy of the repository");
        let (kind_name, commands, hint) = match kind {
            ObjectKind::Key => (
                "key",
                vec![format!("strongroom key remove {short}")],
                format!(
                    "whoever holds only this key is locked out: {copy}, or take it away with `strongroom key remove {short}` and \
                     add a new one with `strongroom key add`"
                ),
            ),
            ObjectKind::Snapshot => (
                "snapshot",
                vec![forget(id)],
                format!("nothing of it can be restored: {copy}, or give it up with `{}`", forget(id)),
            ),
            ObjectKind::Session => (
                "session",
                vec![format!("strongroom unlock {short}"), "strongroom prune".to_owned()],
                format!(
                    "no prune goes on past it, nothing else suffers: once no backup runs, `strongroom unlock {short}`, then \
                     `strongroom prune`"
                ),
            ),
            ObjectKind::Abandoned => (
                "abandoned",
                Vec::new(),
                format!(
                    "a mark, which says all that it says by its name: {copy}; or, once no backup, prune or repair runs on any \
                     host, run `strongroom prune`, which settles it, and then move the file away"
                ),
            ),
            ObjectKind::Gc => (
                "gc",
                Vec::new(),
                format!(
                    "no backup and no prune goes on past it: {copy}; or, once no backup, prune or repair runs on any host, move \
                     the file away: the next prune condemns anew"
                ),
            ),
            _ => (
                "forgotten",
                Vec::new(),
                format!("the snapshot is back that it forgot: {copy}, or remove it and run `{}`", forget(id)),
            ),
        };
        let mut damage = Damage { object, kind: kind_name, mend: commands, ..Damage::default() };
        if matches!(kind, ObjectKind::Key | ObjectKind::Snapshot) {
            damage.give_up = std::mem::take(&mut damage.mend);
        }
        if kind == ObjectKind::Snapshot {
            self.summary.suffering.insert(*id);
            damage.hurts.push(whole_snapshot(id));
        }
        let mut hint = hint;
        if is_trouble(error) {
            // It may be whole: nobody is told to take it away.
            (damage.mend, damage.give_up) = (Vec::new(), Vec::new());
            hint = error.next_step().map_or_else(|| not_had(&damage.object), str::to_owned);
        }
        let finding = Finding::problem(format!("{folder}/{short}"), error.chain()).with_hint(hint);
        self.damage(finding, damage);
    }
}

/// What can be done about an object that may be whole.
fn not_had(object: &str) -> String {
    format!(
        "look at the disk, and at what the system log says of it; a copy of {object} may be whole elsewhere"
    )
}
