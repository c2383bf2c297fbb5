//! Copying a snapshot from another repository, killed at each step in the one that it is copied to.

use super::Watched::Folders;
use super::{Killing, Step, step};
use crate::site::DEADLINE;
use crate::strikes::can_strike;
use crate::support::run;

/// The steps of a copy, in its order: those of a backup.
const STEPS: &[Step] = &[
    step("sessions put, temporary file whole", "renameat2", Folders(&["sessions"]), 1),
    step("sessions put, named", "fsync", Folders(&["sessions"]), 1),
    step("gc listing", "getdents64", Folders(&["gc"]), 1),
    step("index listing", "getdents64", Folders(&["index"]), 1),
    step("packs listing", "getdents64", Folders(&["packs"]), 101),
    step("packs put, temporary file whole", "renameat2", Folders(&["packs"]), 1),
    step("packs put, named", "fsync", Folders(&["packs"]), 1),
    step("index put, temporary file whole", "renameat2", Folders(&["index"]), 1),
    step("index put, named", "fsync", Folders(&["index"]), 1),
    step("snapshots put, temporary file whole", "renameat2", Folders(&["snapshots"]), 1),
    step("committed: snapshots put, named", "fsync", Folders(&["snapshots"]), 1),
    step("committed: abandoned listing", "getdents64", Folders(&["abandoned", "snapshots"]), 5),
    step("committed: sessions delete", "unlinkat", Folders(&["sessions", "snapshots"]), 1),
    step("committed: sessions delete, not flushed", "fsync", Folders(&["sessions", "snapshots"]), 3),
];

#[test]
fn a_copy_killed_at_any_step_is_taken_up() {
    if !can_strike("a copy killed at each of its steps") {
        return;
    }
    let arguments = ["copy", "--from-repo", "other", "--from-key-file", "other.key", "latest"];
    let mut killing = Killing::new(5, &arguments, ("snapshots", "committed"));
    let other = |site: &crate::site::Site, arguments: &[&str]| {
        let mut program = crate::support::strongroom(&site.folder);
        program.args(["-q", "-r", "other"]).args(arguments);
        run(&mut program, DEADLINE).expect_code(0);
    };
    other(&killing.nights.site, &["init", "--new-key-file", "other.key"]);
    killing.strike_all(STEPS, |nights| {
        nights.change();
        other(&nights.site, &["--key-file", "other.key", "backup", "data"]);
        if nights.live.len() > 3 {
            nights.forget_but(2);
            nights.site.run(0, ["prune"]);
        }
    });
    killing.finish(STEPS);
}
