//! What commands say that store snapshots anew: which became which, and what of them is not taken over.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::exit::Outcome;
use super::output::{Output, human, json as objects};
use crate::error::Result;
use crate::format::snapshot::Change;
use crate::id::Id;
use crate::operation::recommit::{Draft, Gone, LostRange, Made};
use crate::report::{Finding, Reporter, printable};
use crate::repository::snapshot::Snapshot;

/// So many paths are named as examples; `-v` and `--json` name all.
const EXAMPLES: usize = 10;

/// Gathers what became of snapshots.
pub(super) struct Changes<'o> {
    output: &'o Output,
    change: Change,
    forget: bool,
    dry_run: bool,
    rows: Vec<Vec<String>>,
    by_name: Vec<Id>,
    changed: u64,
    given_up: u64,
    problems: u64,
}

impl<'o> Changes<'o> {
    /// Gathers for one kind of change; `forget` says whether the old ones are forgotten.
    pub(super) fn new(output: &'o Output, change: Change, forget: bool, dry_run: bool) -> Self {
        let detail = if change == Change::Tagged { "Tags" } else { "Left out" };
        let heads = ["Old", "New", "Time", "Host", detail].map(str::to_owned).to_vec();
        let rows = vec![heads];
        let by_name = Vec::new();
        Self { output, change, forget, dry_run, rows, by_name, changed: 0, given_up: 0, problems: 0 }
    }

    /// Takes a snapshot that would be stored anew.
    pub(super) fn planned(&mut self, old: &Snapshot, draft: Option<&Draft>, tags: &[String]) {
        self.add(old, None, draft, tags);
    }

    /// Takes what became of a snapshot.
    pub(super) fn told(&mut self, old: &Snapshot, made: &Made, tags: &[String]) {
        let short = old.id.short();
        match made {
            Made::New(id, draft) => self.add(old, Some(id), Some(draft), tags),
            Made::Same => {}
            Made::Unsound(draft) => {
                let cause = format!("is damaged: {} of its paths are lost", human::count(lost_paths(draft)));
                let finding = Finding::problem(format!("snapshot {short}"), cause);
                self.problem(finding.with_hint("run `strongroom repair snapshots` first"));
            }
            Made::Ruined(_) => self.ruined(&old.id),
            Made::Emptied => {
                let cause = "would hold no file any more, and is left as it is";
                let finding = Finding::problem(format!("snapshot {short}"), cause);
                self.problem(
                    finding.with_hint(format!(
                        "look at the patterns, or forget it: `strongroom forget {short}`"
                    )),
                );
            }
            Made::Vanished => {
                let cause = "was forgotten, brought back or deleted by somebody else meanwhile";
                self.problem(Finding::problem(format!("snapshot {short}"), cause));
            }
        }
    }

    /// Takes a snapshot of which nothing was left, and which was forgotten.
    pub(super) fn given_up(&mut self, old: &Snapshot, draft: &Draft) {
        self.add(old, None, Some(draft), &old.manifest.tags);
        self.changed = self.changed.saturating_sub(1);
        self.given_up = self.given_up.saturating_add(1);
    }

    /// Takes a snapshot of which nothing can be saved.
    pub(super) fn ruined(&mut self, id: &Id) {
        let short = id.short();
        let cause = "has lost the top of its tree: nothing of it can be read";
        let finding = Finding::problem(format!("snapshot {short}"), cause);
        self.problem(finding.with_hint(format!(
            "a backup, or `strongroom repair --from OTHER`, may bring it back; `strongroom repair snapshots --forget \
             {short}` gives it up"
        )));
    }

    /// Takes a snapshot of which little would be left, and which is not touched.
    pub(super) fn held(&mut self, id: &Id) {
        let short = id.short();
        let cause = "is left as it is: no file would be left of it, or less than half of its bytes";
        let finding = Finding::problem(format!("snapshot {short}"), cause);
        self.problem(finding.with_hint(format!(
            "a backup, or `strongroom repair --from OTHER`, may bring it back; `strongroom repair snapshots --forget \
             {short}` keeps what is left of it and gives up the rest"
        )));
    }

    /// Takes old snapshots that were stored anew and are forgotten only by their names.
    pub(super) fn forgotten_by_name(&mut self, ids: Vec<Id>) {
        self.by_name = ids;
    }

    fn problem(&mut self, finding: Finding) {
        self.problems = self.problems.saturating_add(1);
        self.output.report(finding);
    }

    fn add(&mut self, old: &Snapshot, new: Option<&Id>, draft: Option<&Draft>, tags: &[String]) {
        self.changed = self.changed.saturating_add(1);
        if self.output.json {
            let object = self.object(old, new, draft, tags);
            if self.output.object(&object).is_err() {
                // Whoever read is gone; the exit code still tells.
            }
            return;
        }
        let detail = match draft.filter(|_| self.change != Change::Tagged) {
            Some(draft) => left_out(draft),
            None => printable(tags.join(",").as_bytes()),
        };
        let new = new.map_or_else(|| "-".to_owned(), Id::short);
        let host = printable(old.manifest.host.as_bytes());
        self.rows.push(vec![old.id.short(), new, human::local(old.manifest.time), host, detail]);
    }

    fn object(&self, old: &Snapshot, new: Option<&Id>, draft: Option<&Draft>, tags: &[String]) -> Value {
        let (left_out, left_out_bytes) = draft.map_or((0, 0), paths_and_bytes);
        json!({
            "message_type": "changed",
            "change": objects::change(self.change),
            "dry_run": self.dry_run,
            "old_snapshot_id": old.id.to_hex(),
            "new_snapshot_id": new.map(Id::to_hex),
            "old_forgotten": self.forget && !self.dry_run,
            "tags": tags,
            "left_out": left_out,
            "left_out_bytes": left_out_bytes,
            "lost": draft.map_or(0, Draft::losses),
        })
    }

    /// Shows it all, in a table and a line.
    pub(super) fn finish(self) -> Result<Outcome> {
        let how_to_forget = self.how_to_forget();
        let Self { output, changed, given_up, problems, dry_run, .. } = self;
        if output.json {
            output.object(&json!({
                "message_type": "summary",
                "dry_run": dry_run,
                "changed_snapshots": changed,
                "given_up_snapshots": given_up,
                "problems": problems,
            }))?;
            return Ok(Outcome::of(problems));
        }
        if changed.saturating_add(given_up) > 0 {
            human::table(&self.rows).iter().try_for_each(|line| output.say(line))?;
        }
        let verb = if dry_run { "would be stored anew" } else { "stored anew" };
        let old = match (dry_run, self.forget) {
            _ if changed == 0 || self.change == Change::Unforgotten => "",
            (true, true) => "; the old would be forgotten",
            (false, true) => "; the old are forgotten",
            (false, false) if self.change == Change::Repaired => &how_to_forget,
            (_, false) => "; the old stay",
        };
        output.say(&format!("{} {verb}{old}", human::counted(changed, "snapshot")))?;
        if given_up > 0 {
            let given_up = human::counted(given_up, "snapshot");
            output.say(&format!("{given_up} forgotten, of which nothing was left"))?;
        }
        Ok(Outcome::of(problems))
    }

    /// What forgets the old ones of those that were repaired.
    fn how_to_forget(&self) -> String {
        let command = "strongroom repair snapshots --forget";
        let names: Vec<String> = self.by_name.iter().map(Id::short).collect();
        let (count, names) = (names.len() as u64, names.join(" "));
        if count == 0 {
            format!("; the old stay, and `{command}` forgets them")
        } else if count >= self.changed {
            format!(
                "; the old stay, for little is left of them: only by their names, `{command} {names}` forgets them"
            )
        } else {
            format!(
                "; the old stay, and `{command}` forgets them, but those of which little is left only by their names: \
                 `{command} {names}`"
            )
        }
    }
}

/// How many paths of the old tree the new one does not hold, and of how many bytes.
fn paths_and_bytes(draft: &Draft) -> (u64, u64) {
    draft.gone().fold((0, 0), |(paths, bytes), gone| {
        (u64::saturating_add(paths, 1), u64::saturating_add(bytes, gone.size))
    })
}

fn left_out(draft: &Draft) -> String {
    if draft.root.is_none() {
        return "all of it".to_owned();
    }
    let mut parts = Vec::new();
    let (paths, bytes) = paths_and_bytes(draft);
    if paths > 0 {
        parts.push(format!("{}, {}", human::counted(paths, "path"), human::bytes(bytes)));
    }
    match draft.ranges.len() {
        0 => {}
        1 => parts.push("a range of paths".to_owned()),
        ranges => parts.push(format!("{ranges} ranges of paths")),
    }
    parts.join(" and ")
}

/// How many paths are lost; those of a range count once where their number is lost as well.
fn lost_paths(draft: &Draft) -> u64 {
    let named = draft.gone().filter(|gone| gone.lost.is_some()).count() as u64;
    draft.ranges.iter().fold(named, |sum, range| sum.saturating_add(range.nodes.unwrap_or(1)))
}

/// Names what snapshots do not take over, each path once with the snapshots that held it.
pub(super) fn name_gone<'d>(
    drafts: impl IntoIterator<Item = (&'d Snapshot, &'d Draft)>,
    all: bool,
    output: &Output,
) -> Result<()> {
    // Snapshots share most of what is gone: each part is looked at once.
    let mut parts: HashMap<_, (&Arc<[Gone]>, Vec<&Id>)> = HashMap::new();
    let mut ranges: Vec<(&LostRange, Vec<&Id>)> = Vec::new();
    for (snapshot, draft) in drafts {
        for part in &draft.parts {
            parts.entry(Arc::as_ptr(part)).or_insert_with(|| (part, Vec::new())).1.push(&snapshot.id);
        }
        for range in &draft.ranges {
            match ranges.iter_mut().find(|(known, _)| *known == range) {
                Some((_, snapshots)) => snapshots.push(&snapshot.id),
                None => ranges.push((range, vec![&snapshot.id])),
            }
        }
    }
    let mut paths: BTreeMap<_, (&Gone, Vec<&Id>)> = BTreeMap::new();
    for (part, snapshots) in parts.values() {
        for gone in part.iter() {
            let entry = paths.entry((gone.path.as_slice(), gone.lost.as_deref()));
            entry.or_insert((gone, Vec::new())).1.extend(snapshots);
        }
    }
    for (_, snapshots) in paths.values_mut() {
        snapshots.sort_unstable();
    }
    let shown = if all || output.json { usize::MAX } else { EXAMPLES };
    for (gone, snapshots) in paths.values().take(shown) {
        if output.json {
            output.object(&gone_object(gone, snapshots))?;
        } else {
            let cause = gone.lost.as_ref().map(|cause| format!(" {cause}")).unwrap_or_default();
            output.say(&format!("/{}:{cause} {}", printable(&gone.path), held_by(snapshots)))?;
        }
    }
    let more = paths.len().saturating_sub(shown);
    if more > 0 {
        output.say(&format!("and {} more (-v names all)", human::count(more as u64)))?;
    }
    for (range, snapshots) in ranges {
        if output.json {
            output.object(&range_object(range, &snapshots))?;
        } else {
            output.say(&format!("{}: {} {}", range_words(range), range.cause, held_by(&snapshots)))?;
        }
    }
    Ok(())
}

fn held_by(snapshots: &[&Id]) -> String {
    let names: Vec<String> = snapshots.iter().take(EXAMPLES).map(|id| id.short()).collect();
    let more = snapshots.len().saturating_sub(names.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("(in {}{more})", names.join(" "))
}

fn range_words(range: &LostRange) -> String {
    let nodes = range.nodes.map_or_else(|| "all paths".to_owned(), |nodes| human::counted(nodes, "path"));
    let from = range.from.as_ref().map(|from| format!(" from /{} on", printable(from))).unwrap_or_default();
    let until =
        range.until.as_ref().map(|until| format!(", before /{}", printable(until))).unwrap_or_default();
    format!("{nodes}{from}{until}")
}

fn gone_object(gone: &Gone, snapshots: &[&Id]) -> Value {
    let mut object = Map::new();
    object.insert("message_type".into(), "gone".into());
    objects::path_fields(&mut object, "path", &gone.path);
    object.insert("type".into(), objects::kind(gone.kind).into());
    object.insert("size".into(), gone.size.into());
    object.insert("lost".into(), gone.lost.clone().into());
    object.insert("snapshots".into(), ids(snapshots));
    object.into()
}

fn range_object(range: &LostRange, snapshots: &[&Id]) -> Value {
    let mut object = Map::new();
    object.insert("message_type".into(), "gone_range".into());
    for (name, path) in [("from", &range.from), ("until", &range.until)] {
        match path {
            Some(path) => objects::path_fields(&mut object, name, path),
            None => drop(object.insert(name.into(), Value::Null)),
        }
    }
    object.insert("nodes".into(), range.nodes.into());
    object.insert("lost".into(), range.cause.clone().into());
    object.insert("snapshots".into(), ids(snapshots));
    object.into()
}

fn ids(snapshots: &[&Id]) -> Value {
    snapshots.iter().map(|id| id.to_hex()).collect::<Vec<_>>().into()
}
