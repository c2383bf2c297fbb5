//! Forgetting several snapshots, killed at each of the marks.

use super::Watched::{Everything, Folders};
use super::{Killing, Step, step};
use crate::strikes::can_strike;

/// The steps of forgetting three snapshots.
const STEPS: &[Step] = &[
    step("mark 1: snapshots listing", "getdents64", Folders(&["snapshots"]), 1),
    step("mark 1: forgotten put, temporary file empty", "write", Everything, 1),
    step("mark 1: forgotten put, temporary file whole", "renameat2", Folders(&["forgotten"]), 1),
    step("mark 1: forgotten put, named", "fsync", Folders(&["forgotten"]), 1),
    step("mark 2: forgotten put, temporary file empty", "write", Everything, 2),
    step("mark 2: forgotten put, temporary file whole", "renameat2", Folders(&["forgotten"]), 2),
    step("mark 2: forgotten put, named", "fsync", Folders(&["forgotten"]), 2),
    step("mark 3: forgotten put, temporary file empty", "write", Everything, 3),
    step("mark 3: forgotten put, temporary file whole", "renameat2", Folders(&["forgotten"]), 3),
    step("mark 3: forgotten put, named", "fsync", Folders(&["forgotten"]), 3),
];

#[test]
fn forgetting_killed_at_any_mark_forgets_what_is_marked_and_no_more() {
    if !can_strike("forgetting that is killed at each mark") {
        return;
    }
    let mut killing = Killing::new(
        4,
        &["forget", "--keep-last", "1", "--forget-crowded", "--forget-more-than-half"],
        ("forgotten", ""),
    );
    killing.strike_all(STEPS, |nights| {
        while nights.live.len() < 4 {
            nights.change();
            nights.backup();
        }
    });
    killing.finish(STEPS);
}
