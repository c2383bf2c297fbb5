//! Who takes part, how often, and what may happen to them: small enough to be searched whole.

use super::mutations::Mutation;
use super::set::Set;
use super::{Protocol, Start, Task};

const ANY: &[Start] = &[Start::Live, Start::Forgotten];
const ALL: &[Start] = &[Start::Live, Start::Forgotten, Start::Condemned, Start::Orphan];
const ONE_CHUNK: [Set; 2] = [Set::of(&[0]), Set::of(&[0])];

/// One backup and one pruner, each of which begins once.
pub(super) const PLAIN: Protocol = Protocol {
    name: "one backup, one pruner",
    starts: ALL,
    backups: &[Task::Backup],
    chunks: ONE_CHUNK,
    attempts: 1,
    pruners: 1,
    runs: 1,
    repacks: true,
    checks_first: false,
    keeps_sessions: false,
    tidies_manifests: true,
    pruners_give_up: false,
    host_gives_up: false,
    timeouts: false,
    retries: false,
    reader: false,
    repair: false,
    forgets: 0,
    slow_listings: false,
    mutation: Mutation::None,
};

/// (a) Two backups beside a pruner whose runs may die or stop, with snapshots forgotten meanwhile.
pub(super) const TWO_BACKUPS: Protocol =
    Protocol { name: "two backups, one pruner", backups: &[Task::Backup, Task::Backup], forgets: 1, ..PLAIN };

/// (a) The same with runs that die or stop, and that keep the sessions they waited for.
pub(super) const TWO_RUNS: Protocol = Protocol {
    name: "two backups, one pruner, two runs",
    starts: ANY,
    runs: 2,
    keeps_sessions: true,
    repacks: false,
    ..TWO_BACKUPS
};

/// (a) The same with two chunks, of which the second backup needs one.
pub(super) const TWO_CHUNKS: Protocol = Protocol {
    name: "two backups, one pruner, two chunks",
    backups: &[Task::Backup, Task::Backup],
    chunks: [Set::of(&[0, 1]), Set::of(&[1])],
    forgets: 1,
    ..PLAIN
};

/// (b) One backup beside two pruners, either of which may take up what the other began.
pub(super) const TWO_PRUNERS: Protocol = Protocol { name: "one backup, two pruners", pruners: 2, ..PLAIN };

/// (b) The same, where each looks again only if something has changed on which its plan was built.
pub(super) const CHECKS_FIRST: Protocol =
    Protocol { name: "two pruners that check first", checks_first: true, starts: ANY, ..TWO_PRUNERS };

/// (c) Commits that are not answered, a backup that begins again, and a pruner and a host that give sessions up.
pub(super) const TAKEOVER: Protocol = Protocol {
    name: "takeover by pruner and host",
    starts: &[Start::Forgotten],
    attempts: 2,
    runs: 2,
    repacks: false,
    pruners_give_up: true,
    host_gives_up: true,
    timeouts: true,
    ..PLAIN
};

/// (c) Two pruners that give up the same session.
pub(super) const TAKEOVER_BY_TWO: Protocol = Protocol {
    name: "takeover, two pruners",
    starts: &[Start::Forgotten],
    pruners: 2,
    repacks: false,
    pruners_give_up: true,
    timeouts: true,
    ..PLAIN
};

/// (c) What was given up, and what was forgotten, lands late.
pub(super) const LATE: Protocol = Protocol {
    name: "takeover, late commits, forgetting",
    starts: ANY,
    backups: &[Task::Backup, Task::Backup],
    repacks: false,
    pruners_give_up: true,
    timeouts: true,
    retries: true,
    forgets: 1,
    ..PLAIN
};

/// (d) A restore under two pruners.
pub(super) const READER: Protocol = Protocol {
    name: "a reader, two pruners",
    starts: &[Start::Live, Start::Condemned],
    backups: &[],
    pruners: 2,
    reader: true,
    ..PLAIN
};

/// (e) A snapshot is forgotten and brought back, beside a backup.
pub(super) const UNFORGET: Protocol = Protocol {
    name: "forget, unforget, one backup",
    starts: &[Start::Live],
    backups: &[Task::Unforget, Task::Backup],
    runs: 2,
    forgets: 2,
    ..PLAIN
};

/// (f) The index is repaired, under a restore.
pub(super) const REPAIR: Protocol =
    Protocol { name: "repair, a reader, one backup", reader: true, repair: true, ..PLAIN };

/// Listings that take time, beside a repair.
const SLOW_REPAIR: Protocol =
    Protocol { name: "slow listings, repair", slow_listings: true, repair: true, ..PLAIN };

/// Listings that take time, under two pruners.
const SLOW_PRUNERS: Protocol =
    Protocol { name: "slow listings, two pruners", slow_listings: true, starts: ANY, ..TWO_PRUNERS };

/// Listings that take time, under a restore. One pruner moves index objects once; see [`OVERTAKEN`].
const SLOW_READER: Protocol =
    Protocol { name: "slow listings, a reader", slow_listings: true, pruners: 1, forgets: 1, ..READER };

/// A restore whose two listings are each overtaken by a pruner of its own: known to report a loss that is none.
pub(super) const OVERTAKEN: Protocol =
    Protocol { name: "slow listings, a reader, two pruners", slow_listings: true, ..READER };

/// What is searched each time.
pub(super) const SHORT: [Protocol; 14] = [
    TWO_BACKUPS,
    TWO_RUNS,
    TWO_CHUNKS,
    TWO_PRUNERS,
    CHECKS_FIRST,
    TAKEOVER,
    TAKEOVER_BY_TWO,
    LATE,
    READER,
    UNFORGET,
    REPAIR,
    SLOW_REPAIR,
    SLOW_PRUNERS,
    SLOW_READER,
];

const TWO: &[Task] = &[Task::Backup, Task::Backup];

/// What takes many minutes.
pub(super) const LONG: [Protocol; 9] = [
    Protocol {
        name: "repair, two pruners that check first",
        starts: &[Start::Live],
        backups: &[],
        repair: true,
        ..CHECKS_FIRST
    },
    Protocol {
        name: "a reader, two pruners, one backup",
        starts: &[Start::Condemned],
        backups: &[Task::Backup],
        repacks: false,
        ..READER
    },
    Protocol { name: "repair, two backups", backups: TWO, reader: false, ..REPAIR },
    Protocol { name: "one backup, two pruners, forgetting", forgets: 1, ..TWO_PRUNERS },
    Protocol {
        name: "one backup, two pruners, two runs",
        starts: &[Start::Forgotten],
        repacks: false,
        runs: 2,
        keeps_sessions: true,
        ..TWO_PRUNERS
    },
    Protocol { name: "two backups, one pruner, everything", repacks: true, starts: ALL, ..TWO_RUNS },
    Protocol {
        name: "takeover, two pruners, host",
        starts: ANY,
        host_gives_up: true,
        retries: true,
        ..TAKEOVER_BY_TWO
    },
    Protocol {
        name: "takeover, everything",
        starts: ANY,
        repacks: true,
        keeps_sessions: true,
        retries: true,
        ..TAKEOVER
    },
    Protocol { name: "two backups, two pruners", starts: ANY, backups: TWO, repacks: false, ..TWO_PRUNERS },
];
