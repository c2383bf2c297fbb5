//! What is damaged, as lines for a person and as an object for a program.

use serde_json::{Map, Value, json};

use super::json::path_fields;
use crate::id::Id;
use crate::report::{Damage, Finding, Hurt, PathRange, Severity, printable};

/// So many paths are named for one snapshot; a program gets all of them.
const PATHS_MAX: usize = 24;
/// So many snapshots are named in one line.
const SNAPSHOTS_MAX: usize = 6;

/// Whom it hurts, in lines.
pub(super) fn lines(damage: &Damage) -> Vec<String> {
    let mut lines = Vec::new();
    for hurt in &damage.hurts {
        let names: Vec<String> = hurt.snapshots.iter().take(SNAPSHOTS_MAX).map(Id::short).collect();
        let more = hurt.snapshots.len().saturating_sub(names.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let noun = if hurt.snapshots.len() == 1 { "snapshot" } else { "snapshots" };
        lines.push(format!("  hurts {noun} {}{more}:", names.join(", ")));
        let ranges = hurt.ranges.iter().map(range);
        let files = hurt.files.iter().map(|path| format!("/{}", printable(path)));
        lines.extend(ranges.chain(files).take(PATHS_MAX).map(|line| format!("    {line}")));
        let all = (hurt.ranges.len().saturating_add(hurt.files.len()) as u64).saturating_add(hurt.more);
        if let Some(more) = all.checked_sub(PATHS_MAX as u64).filter(|more| *more > 0) {
            lines.push(format!("    and {more} more, which --json names"));
        }
    }
    lines
}

fn range(range: &PathRange) -> String {
    let path = |path: &[u8]| format!("/{}", printable(path));
    match (range.from.is_empty(), &range.until) {
        (true, None) => "everything in it".to_owned(),
        (false, None) => format!("everything from {} on", path(&range.from)),
        (true, Some(until)) => format!("everything before {}", path(until)),
        (false, Some(until)) => format!("everything from {} up to {}", path(&range.from), path(until)),
    }
}

/// The object for a program.
pub(super) fn object(finding: &Finding, damage: &Damage) -> Value {
    let mut snapshots: Vec<String> =
        damage.hurts.iter().flat_map(|hurt| &hurt.snapshots).map(Id::to_hex).collect();
    snapshots.sort_unstable();
    snapshots.dedup();
    json!({
        "message_type": "error",
        "severity": if finding.severity == Severity::Problem { "problem" } else { "warning" },
        "item": finding.subject,
        "message": finding.cause,
        "next_step": finding.hint,
        "object": damage.object,
        "kind": damage.kind,
        "blobs_lost": damage.blobs_lost,
        "snapshots": snapshots,
        "hurts": damage.hurts.iter().map(hurt).collect::<Vec<_>>(),
        "mend": damage.mend,
        "give_up": damage.give_up,
    })
}

fn hurt(hurt: &Hurt) -> Value {
    let file = |path: &Vec<u8>| {
        let mut object = Map::new();
        path_fields(&mut object, "path", path);
        Value::from(object)
    };
    let range = |range: &PathRange| {
        let mut object = Map::new();
        path_fields(&mut object, "from", &range.from);
        match &range.until {
            Some(until) => path_fields(&mut object, "until", until),
            None => drop(object.insert("until".to_owned(), Value::Null)),
        }
        Value::from(object)
    };
    json!({
        "snapshots": hurt.snapshots.iter().map(Id::to_hex).collect::<Vec<_>>(),
        "files": hurt.files.iter().map(file).collect::<Vec<_>>(),
        "ranges": hurt.ranges.iter().map(range).collect::<Vec<_>>(),
        "more": hurt.more,
    })
}
