//! A prune, killed at each of its steps.

use std::fs;

use strongroom::repository::session::{self, Commit, Session};

use super::Watched::{Everything, Folders, Objects};
use super::{Killing, Need, Step, name, needing, step, wanted};
use crate::nights::Nights;
use crate::stopped::stop;
use crate::strikes::{Strike, can_strike, folders, hit};

/// The steps of a prune, in its order.
pub(crate) const STEPS: &[Step] = &[
    needing(
        Need::DeadSession,
        step("abandoned put, temporary file whole", "renameat2", Folders(&["abandoned"]), 1),
    ),
    needing(Need::DeadSession, step("abandoned put, named", "fsync", Folders(&["abandoned"]), 1)),
    step("snapshots listing", "getdents64", Folders(&["snapshots"]), 1),
    step("snapshots reading", "pread64", Objects("snapshots"), 1),
    step("gc listing", "getdents64", Folders(&["gc"]), 1),
    step("index listing", "getdents64", Folders(&["index"]), 1),
    step("index reading", "pread64", Objects("index"), 1),
    step("packs listing", "getdents64", Folders(&["packs"]), 101),
    step("packs reading", "pread64", Objects("packs"), 1),
    step("packs put, temporary file empty", "write", Everything, 1),
    step("packs put, temporary file written", "fsync", Everything, 1),
    step("packs put, temporary file whole", "renameat2", Folders(&["packs"]), 1),
    step("packs put, named", "fsync", Folders(&["packs"]), 1),
    step("index put, temporary file whole", "renameat2", Folders(&["index"]), 1),
    step("index put, named", "fsync", Folders(&["index"]), 1),
    step("gc put, temporary file empty", "write", Everything, 4),
    step("gc put, temporary file whole", "renameat2", Folders(&["gc"]), 1),
    step("condemned: gc put, named", "fsync", Folders(&["gc"]), 1),
    step("condemned: sessions listing", "getdents64", Folders(&["gc", "sessions"]), 15),
    needing(
        Need::DeadSession,
        step("forgotten put, temporary file whole", "renameat2", Folders(&["forgotten"]), 1),
    ),
    needing(Need::DeadSession, step("forgotten put, named", "fsync", Folders(&["forgotten"]), 1)),
    step("condemned: index delete", "unlinkat", Folders(&["gc", "index"]), 1),
    step("condemned: index delete, not flushed", "fsync", Folders(&["gc", "index"]), 3),
    step("condemned: packs delete, the first", "unlinkat", Folders(&["gc", "packs"]), 1),
    step("condemned: packs delete, a later one", "unlinkat", Folders(&["gc", "packs"]), 2),
    step("condemned: packs delete, not flushed", "fsync", Folders(&["gc", "packs"]), 4),
    step("condemned: gc delete", "unlinkat", Folders(&["gc"]), 1),
    step("condemned: gc delete, not flushed", "fsync", Folders(&["gc"]), 2),
    needing(Need::DeadSession, step("sessions delete", "unlinkat", Folders(&["sessions"]), 1)),
    step("snapshots delete", "unlinkat", Folders(&["snapshots"]), 1),
    needing(Need::Leftover, step("removal of a temporary file", "unlinkat", Folders(&["abandoned"]), 1)),
];

/// Steps that come where an index object names packs that stay beside packs that go.
const REWRITING: &[Step] = &[
    step("condemned: index put, temporary file whole", "renameat2", Folders(&["gc", "index"]), 2),
    step("condemned: index put, named", "fsync", Folders(&["gc", "index"]), 2),
];

/// Steps of a prune that finds needed what it has condemned, and which call to strike.
const RESCUE: &[(&str, usize)] =
    &[("condemned: packs put, temporary file whole", 2), ("condemned: index put, temporary file whole", 4)];

/// Makes garbage: a backup more, and all but two forgotten.
pub(crate) fn prepare(nights: &mut Nights) {
    nights.change();
    nights.backup();
    nights.forget_but(2);
}

#[test]
fn a_prune_killed_at_any_step_is_taken_up() {
    if !can_strike("a prune killed at each of its steps") {
        return;
    }
    let mut killing = Killing::new(2, &["prune", "--max-unused", "0", "--repack-small"], ("gc", "condemned"));
    killing.strike_all(STEPS, prepare);
    killing.arguments = vec!["prune", "--max-unused", "unlimited"];
    killing.strike_all(REWRITING, prepare);
    killing.finish(STEPS);
}

#[test]
fn a_prune_killed_while_it_rescues_is_taken_up() {
    if !can_strike("a prune killed while it copies what somebody came to need") {
        return;
    }
    let mut killing = Killing::new(3, &["prune", "--max-unused", "unlimited"], ("gc", "condemned"));
    for (step, when) in RESCUE {
        while killing.hits(step) < wanted() {
            let hit = rescue(&mut killing, *when);
            assert_eq!(hit, *step, "call {when}");
            killing.nights.verify();
            killing.go_on();
        }
    }
    killing.finish(&[]);
}

/// A backup that had looked at the store before packs were condemned commits right after; the prune that condemned them
/// is killed where it copies what that backup needs. Gives the step.
fn rescue(killing: &mut Killing, when: usize) -> String {
    let nights = &mut killing.nights;
    prepare(nights);
    nights.site.run(0, &killing.arguments);
    let held = nights.live.clone();
    prepare(nights);
    let (forgotten, contents) =
        held.into_iter().find(|(id, _)| !nights.live.contains_key(id)).expect("one went");
    let repository = nights.repository();
    let session = Session::begin(&repository, None, "late").unwrap();
    let usable = session.usable().unwrap();
    let old = repository.read_snapshot(&forgotten).unwrap();
    let mut manifest = old.manifest;
    manifest.sequence = session::next_sequence(&repository, &repository.snapshots().unwrap());
    drop(usable);
    let program = nights.site.command(["-q"].iter().chain(&killing.arguments));
    let strikes = [
        Strike { signal: "STOP", call: "fsync", when: 1 },
        Strike { signal: "KILL", call: "renameat2", when },
    ];
    let watched = ["gc", "packs", "index"].map(|kind| folders(&nights.site, kind)).concat();
    let stopped = stop(&nights.site, &program, &watched, &strikes).expect("it stops once it has condemned");
    let id = *session.id();
    assert_eq!(session.commit(&manifest).unwrap(), Commit::Done);
    nights.live.insert(id, contents);
    let outcome = stopped.go_on();
    assert_eq!(outcome.code, None, "{}", outcome.err());
    let trace = fs::read_to_string(nights.site.join("trace")).unwrap();
    let (before, call) = hit(&trace, strikes[1]).expect("it was killed there");
    let name = name(&before, &call, killing.divide);
    *killing.table.entry(name.clone()).or_default() += 1;
    killing.kills += 1;
    killing.chain += 1;
    killing.longest_chain = killing.longest_chain.max(killing.chain);
    name
}
