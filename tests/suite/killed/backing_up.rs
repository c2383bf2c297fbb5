//! A backup, killed at each of its steps.

use super::Watched::{Everything, Folders, Objects};
use super::{Killing, Step, step};
use crate::strikes::can_strike;

/// The steps of a backup, in its order. In the middle of the temporary file of a pack, a backup is killed where
/// `interrupted.rs` watches the bytes grow.
const STEPS: &[Step] = &[
    step("sessions put, temporary file empty", "write", Everything, 1),
    step("sessions put, temporary file whole", "renameat2", Folders(&["sessions"]), 1),
    step("sessions put, named", "fsync", Folders(&["sessions"]), 1),
    step("gc listing", "getdents64", Folders(&["gc"]), 1),
    step("index listing", "getdents64", Folders(&["index"]), 1),
    step("index reading", "pread64", Objects("index"), 1),
    step("packs listing", "getdents64", Folders(&["packs"]), 101),
    step("packs put, temporary file whole", "renameat2", Folders(&["packs"]), 1),
    step("packs put, named", "fsync", Folders(&["packs"]), 1),
    step("index put, temporary file empty", "write", Everything, 2),
    step("index put, temporary file whole", "renameat2", Folders(&["index"]), 1),
    step("index put, named", "fsync", Folders(&["index"]), 1),
    step("snapshots put, temporary file whole", "renameat2", Folders(&["snapshots"]), 1),
    step("committed: snapshots put, named", "fsync", Folders(&["snapshots"]), 1),
    step("committed: abandoned listing", "getdents64", Folders(&["abandoned", "snapshots"]), 5),
    step("committed: sessions delete", "unlinkat", Folders(&["sessions", "snapshots"]), 1),
    step("committed: sessions delete, not flushed", "fsync", Folders(&["sessions", "snapshots"]), 3),
];

#[test]
fn a_backup_killed_at_any_step_is_taken_up() {
    if !can_strike("a backup killed at each of its steps") {
        return;
    }
    let mut killing = Killing::new(1, &["backup", "data"], ("snapshots", "committed"));
    killing.strike_all(STEPS, |nights| {
        nights.change();
        if nights.live.len() > 3 {
            nights.forget_but(2);
            nights.site.run(0, ["prune"]);
        }
    });
    killing.finish(STEPS);
}
