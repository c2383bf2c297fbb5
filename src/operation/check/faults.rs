//! What is wrong with a pack or another object, and the commands that mend it.
//!
//! Invariants: a command that is named mends the case by itself, in the order given; what takes a host or another repository,
//! and gives back more, is said in words. What gives something up looks by itself at what is still lost then, and comes last:
//! none is named that takes a snapshot which an earlier command made whole.

use super::suffer::is_trouble;
use crate::backend::{ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind};
use crate::id::Id;
use crate::report::{Damage, Finding, Hurt};

/// What gives up what is lost: files, and snapshots of which nothing is left.
const GIVE_UP: &str = "strongroom repair snapshots --forget";
/// What deletes what nothing refers to any more: it comes behind all else.
const PRUNE: &str = "strongroom prune";
/// What makes the index anew from the packs that it does not name rightly.
pub(super) const REPAIR_INDEX: &str = "strongroom repair index";
/// The same, and holds what it says of every pack against the pack.
const REPAIR_INDEX_BY_PACKS: &str = "strongroom repair index --read-all-packs";
/// What saves the blobs of damaged packs.
pub(super) const REPAIR_PACKS: &str = "strongroom repair packs";

/// What mends a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mend {
    /// The index is wrong.
    Index,
    /// The index is wrong, and only the pack tells how.
    IndexByPacks,
    /// The pack is wrong.
    Pack,
    /// The pack cannot be had, though the store answers.
    UnreadPack,
    /// The pack is wrong, and the key at hand cannot save what is in it.
    PackByFullKey,
    /// The pack is wrong, and what it held is known by none but an index object that cannot be read, if by any.
    GiveUpPack,
    /// It may be neither.
    None,
}

impl Mend {
    /// What mends a pack that gave this error.
    pub(super) fn of_pack(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Unread => Self::UnreadPack,
            _ if is_trouble(error) => Self::None,
            _ => Self::Pack,
        }
    }
}

/// Something that is wrong with a pack.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) pack: Id,
    pub(super) cause: String,
    pub(super) hint: Option<String>,
    pub(super) mend: Mend,
    /// Whether nothing names what it holds, or held.
    pub(super) unknown: bool,
}

impl Fault {
    pub(super) fn new(pack: &Id, error: &Error, mend: Mend) -> Self {
        let hint = match mend {
            Mend::None | Mend::UnreadPack => error.next_step().map(str::to_owned),
            Mend::PackByFullKey => Some(format!(
                "run `{REPAIR_PACKS} {}` with a full key: of the files that are named, some may be whole",
                pack.short()
            )),
            Mend::Index | Mend::IndexByPacks | Mend::Pack | Mend::GiveUpPack => None,
        };
        Self { pack: *pack, cause: error.chain(), hint, mend, unknown: false }
    }

    /// The finding, and the damage that it is about; `hurts` is nothing where that is not known.
    pub(super) fn told(
        self,
        hurts: Option<Vec<Hurt>>,
        blobs_lost: u64,
        condemned: bool,
    ) -> (Finding, Damage) {
        let known = hurts.is_some();
        let hurts = hurts.unwrap_or_default();
        let Self { pack, cause, hint, mend, unknown } = self;
        let mut first = match mend {
            Mend::Index => vec![REPAIR_INDEX.to_owned()],
            Mend::IndexByPacks => vec![REPAIR_INDEX_BY_PACKS.to_owned()],
            Mend::Pack | Mend::UnreadPack => vec![format!("{REPAIR_PACKS} {}", pack.short())],
            Mend::GiveUpPack | Mend::PackByFullKey | Mend::None => Vec::new(),
        };
        let heard = match (known && hurts.is_empty(), blobs_lost) {
            (false, _) => "",
            (true, 0) if unknown => "; what is in it is not known",
            (true, 0) => "; nothing suffers by it",
            (true, _) => "; no snapshot needs what it lacks",
        };
        let name = format!("pack {}", pack.short());
        let finding = if condemned && hurts.is_empty() && !unknown {
            first.clear();
            Finding::warning(name, format!("is to be deleted by the next prune, and {cause}"))
        } else {
            Finding::problem(name, format!("{cause}{heard}"))
        };
        // Where the index alone is wrong, nothing is lost.
        let lost = matches!(mend, Mend::Pack | Mend::UnreadPack | Mend::Index);
        let mut give_up = if lost { give_up(&hurts) } else { Vec::new() };
        if mend == Mend::GiveUpPack {
            give_up.push(format!("{REPAIR_PACKS} {}", pack.short()));
        }
        // Where there is a hint, it says what comes before the commands.
        let finding = match hint.or_else(|| advice(&first, &give_up)) {
            Some(said) => finding.with_hint(said),
            None => finding,
        };
        let object = ObjectName::new(ObjectKind::Pack, pack).path();
        (finding, Damage { object, kind: "pack", blobs_lost, hurts, mend: first, give_up })
    }
}

/// What gives up what cannot be brought back.
pub(super) fn give_up(hurts: &[Hurt]) -> Vec<String> {
    if hurts.is_empty() { Vec::new() } else { vec![GIVE_UP.to_owned()] }
}

/// What is to be done, in words.
pub(super) fn advice(first: &[String], give_up: &[String]) -> Option<String> {
    let listed = |commands: &[String]| {
        let commands: Vec<String> = commands.iter().map(|command| format!("`{command}`")).collect();
        commands.join(", then ")
    };
    let back = "a backup, or `strongroom repair --from OTHER`, for what can be brought back";
    match (first, give_up) {
        ([], []) => None,
        (first, []) => Some(format!("run {}", listed(first))),
        ([], [gives, ..]) => Some(format!("run {back}; `{gives}` gives up the rest")),
        (first, [gives, ..]) => {
            Some(format!("run {}, then {back}; `{gives}` gives up the rest", listed(first)))
        }
    }
}

/// The commands of many damages, each once: those that lose nothing, in an order in which they mend all, and those that give
/// up the rest. The index comes first, which packs are told by.
pub(super) fn in_order(damages: &[Damage]) -> (Vec<String>, Vec<String>) {
    let mut mend: Vec<String> = Vec::new();
    let mut packs: Vec<String> = Vec::new();
    for command in damages.iter().flat_map(|damage| &damage.mend) {
        match command.strip_prefix(REPAIR_PACKS) {
            Some(pack) => packs.push(pack.to_owned()),
            None => mend.push(command.clone()),
        }
    }
    packs.sort_unstable();
    packs.dedup();
    if !packs.is_empty() {
        mend.push(format!("{REPAIR_PACKS}{}", packs.concat()));
    }
    let rank = |command: &String| match command.as_str() {
        REPAIR_INDEX => 1,
        REPAIR_INDEX_BY_PACKS => 2,
        PRUNE => 4,
        other if other.starts_with(REPAIR_PACKS) => 3,
        _ => 0,
    };
    mend.sort_by_key(|command| (rank(command), command.clone()));
    mend.dedup();
    if mend.iter().any(|command| command == REPAIR_INDEX_BY_PACKS) {
        mend.retain(|command| command != REPAIR_INDEX);
    }
    let mut give_up: Vec<String> = damages.iter().flat_map(|damage| damage.give_up.clone()).collect();
    give_up.sort_unstable();
    give_up.dedup();
    // No prune goes on while a snapshot lacks something.
    if !give_up.is_empty() && mend.last().is_some_and(|last| last == PRUNE) {
        give_up.extend(mend.pop());
    }
    (mend, give_up)
}
