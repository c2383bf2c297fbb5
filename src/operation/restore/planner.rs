//! Making the plan: a walk through what is selected of the snapshot, held against what is in the target.

mod stays;

use std::collections::{HashMap, HashSet};

use super::lean::Lean;
use super::plan::{FolderPlan, HardLink, OtherPlan, Plan, Standing};
use super::request::Overwrite;
use super::select::{Fate, Sieve};
use super::target::{Seen, is_leftover};
use super::walk::{Step, Walk};
use super::{Context, relative};
use crate::error::Result;
use crate::format::node::{Node, NodeKind, Timestamp};
use crate::format::path;
use crate::report::{Finding, printable};
use crate::repository::tree::LostPart;

/// How a manifest says that a backup kept to one file system.
const ONE_FILE_SYSTEM: &str = "--one-file-system";

/// A folder that is made only if something in it is.
struct Way {
    path: Box<[u8]>,
    lean: Lean,
    seen: Option<Seen>,
    /// Whether only something that was named lies in it, as far as anybody knows.
    is_above: bool,
}

/// Lost parts of a snapshot that are told one by one.
const LOST_TOLD_MAX: u64 = 20;

struct Planner<'a, 'c> {
    context: &'a Context<'c>,
    plan: Plan,
    sieve: Sieve<'a>,
    ways: Vec<Way>,
    /// Parts of the snapshot that cannot be read.
    lost_parts: u64,
    /// The first name of each thing that has several.
    names: HashMap<(u64, u64, NodeKind), Box<[u8]>>,
    /// A name of each file that stays as it is, and has further names in the snapshot.
    kept_names: HashMap<(u64, u64, NodeKind), Box<[u8]>>,
    /// A folder in which nothing is, for it is not there yet.
    absent: Option<Box<[u8]>>,
    /// A folder that cannot be made, or something that is in use.
    blocked: Option<Box<[u8]>>,
    /// Where the backup met databases that are not what the nodes say.
    reported: HashSet<&'a [u8]>,
    /// The folders above the path before, and on which device the backup found each.
    devices: Vec<(Box<[u8]>, u64)>,
}

/// Makes the plan of a restore.
pub(super) fn make(context: &Context<'_>) -> Result<Plan> {
    let request = context.request;
    let databases = &context.snapshot.manifest.databases;
    let mut planner = Planner {
        context,
        plan: Plan { index: context.reader.index()?, ..Plan::default() },
        sieve: Sieve::new(&request.selection, &request.place),
        ways: Vec::new(),
        lost_parts: 0,
        names: HashMap::new(),
        kept_names: HashMap::new(),
        absent: None,
        blocked: None,
        reported: databases.iter().map(|report| report.place.as_slice()).collect(),
        devices: Vec::new(),
    };
    let mut walk = context.walk();
    loop {
        context.interrupt.check()?;
        let mut lost = Vec::new();
        let step = walk.next(&mut |part| lost.push(part))?;
        for part in &lost {
            planner.lose(part);
        }
        let Some(step) = step else {
            planner.tell_untold();
            return Ok(planner.plan);
        };
        planner.take(step)?;
    }
}

impl<'c> Context<'c> {
    pub(super) fn walk(&self) -> Walk<'c> {
        Walk::new(self.reader, self.snapshot.root(), &self.request.place, &self.request.paths)
    }
}

impl Planner<'_, '_> {
    fn lose(&mut self, part: &LostPart) {
        self.plan.has_gaps = true;
        self.lost_parts = self.lost_parts.saturating_add(1);
        // Whoever writes a tree can name what is not there over and over.
        if self.lost_parts > LOST_TOLD_MAX {
            self.plan.problems = self.plan.problems.saturating_add(1);
            return;
        }
        let (nodes, first) = (part.nodes, printable(&part.first));
        let cause = format!(
            "{nodes} files and folders from here on are not restored, for a part of the snapshot cannot be read: {}",
            part.error.chain()
        );
        let finding = Finding::problem(format!("/{first}"), cause);
        self.problem(finding.with_hint("an older or newer snapshot may hold them"));
    }

    fn tell_untold(&self) {
        if let Some(more @ 1..) = self.lost_parts.checked_sub(LOST_TOLD_MAX) {
            let cause = format!("{more} more parts cannot be read, and nothing in them is restored");
            self.context.reporter.report(Finding::problem("the snapshot", cause));
        }
    }

    fn problem(&mut self, finding: Finding) {
        self.plan.problems = self.plan.problems.saturating_add(1);
        self.context.reporter.report(finding);
    }

    fn take(&mut self, step: Step) -> Result<()> {
        let request = self.context.request;
        let is_folder = step.node.kind == NodeKind::Directory;
        let fate = match self.sieve.fate(&step.path, is_folder) {
            Fate::Selected if step.is_way => Fate::Way,
            fate => fate,
        };
        let is_database = step.node.kind == NodeKind::File
            && (step.node.database.is_some() || self.reported.contains(step.path.as_slice()));
        let Some(place) = relative(&step.path, &request.place, self.context.top) else {
            self.devices.push((Box::default(), step.node.device));
            self.plan.top_selected = fate == Fate::Selected;
            if request.delete && fate != Fate::Out && !step.is_way {
                self.plan.listed.push(Box::default());
            }
            return Ok(());
        };
        if request.delete {
            self.plan.held.insert(&place);
            self.note_device(&place, &step.node);
        }
        if is_database {
            self.plan.databases.insert(place.clone().into(), None);
        }
        if is_leftover(path::name(&place)) {
            self.plan.odd_names.insert(place.clone().into());
        }
        let is_blocked = self.blocked.as_deref().is_some_and(|folder| path::is_below(&place, folder));
        if fate == Fate::Out || is_blocked {
            return Ok(());
        }
        let seen = match self.look(&place) {
            Ok(seen) => seen,
            Err(error) => {
                self.problem(Finding::problem(printable(&place), error.chain()));
                self.blocked = Some(place.into());
                return Ok(());
            }
        };
        if self.is_in_use(&place, &step.node, seen.as_ref())? {
            self.blocked = Some(place.into());
            return Ok(());
        }
        if is_folder && request.delete && !step.is_way && is_directory(seen.as_ref()) {
            self.plan.listed.push(place.clone().into());
        }
        while self.ways.last().is_some_and(|way| !path::is_below(&place, &way.path)) {
            self.ways.pop();
        }
        let is_above = is_folder && (step.is_way || self.context.named.is_above(&step.path));
        if fate == Fate::Way {
            if is_folder {
                self.ways.push(Way { path: place.into(), lean: Lean::of(step.node), seen, is_above });
            }
            return Ok(());
        }
        for way in std::mem::take(&mut self.ways) {
            self.add_way(way);
            if self.blocked.as_deref().is_some_and(|folder| path::is_below(&place, folder)) {
                return Ok(());
            }
        }
        if self.plan.has_gaps {
            self.make_up_folders(&place)?;
        }
        self.plan.selected = self.plan.selected.saturating_add(1);
        if is_above {
            self.add_selected_way(Way { path: place.into(), lean: Lean::of(step.node), seen, is_above });
            return Ok(());
        }
        self.plan.named = self.plan.named.saturating_add(1);
        if is_folder {
            self.add_folder(place.into(), Lean::of(step.node), seen, true);
            return Ok(());
        }
        let stored = is_database.then(|| step.path.into_boxed_slice());
        self.add(place.into(), step.node, seen, stored)
    }

    /// Takes note of folders on other file systems than those they lie in, until something in them is met: where a
    /// backup kept to one, nobody knows what they hold.
    fn note_device(&mut self, place: &[u8], node: &Node) {
        while self.devices.last().is_some_and(|(folder, _)| !path::is_below(place, folder)) {
            self.devices.pop();
        }
        if let Some((folder, _)) = self.devices.last() {
            self.plan.unentered.remove(folder);
        }
        if node.kind != NodeKind::Directory {
            return;
        }
        let options = &self.context.snapshot.manifest.excludes;
        let stays = options.iter().any(|option| option == ONE_FILE_SYSTEM);
        if stays && self.devices.last().is_some_and(|(_, device)| *device != node.device) {
            self.plan.unentered.insert(place.into());
        }
        self.devices.push((place.into(), node.device));
    }

    /// Plans the folders above a path that lie in a part of the snapshot that cannot be read: nobody knows their
    /// metadata, so only we may enter them.
    fn make_up_folders(&mut self, place: &[u8]) -> Result<()> {
        for (end, _) in place.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let folder = place.get(..end).unwrap_or_default();
            let known = self.plan.folders.binary_search_by(|known| path::compare(&known.path, folder));
            if known.is_err() {
                let seen = self.look(folder)?;
                self.add_folder(folder.into(), Lean::made_up_folder(), seen, false);
            }
        }
        Ok(())
    }

    fn look(&mut self, place: &[u8]) -> Result<Option<Seen>> {
        let Some(target) = self.context.target.filter(|target| !target.was_empty()) else { return Ok(None) };
        if self.absent.as_deref().is_some_and(|folder| path::is_below(place, folder)) {
            return Ok(None);
        }
        target.look(place)
    }

    fn may_replace(&self, seen: &Seen, mtime: Timestamp) -> bool {
        self.context.request.overwrite.is_some_and(|overwrite| overwrite.may_replace(seen, mtime))
    }

    /// Adds a folder that is made only if something in it is.
    fn add_way(&mut self, way: Way) {
        if !way.is_above || !self.is_refused_above(&way) {
            self.add_folder(way.path, way.lean, way.seen, false);
        }
    }

    /// Adds a folder above what was named, which is selected itself.
    fn add_selected_way(&mut self, way: Way) {
        if !self.is_refused_above(&way) {
            self.add_folder(way.path, way.lean, way.seen, true);
        }
    }

    fn add_folder(&mut self, place: Box<[u8]>, lean: Lean, seen: Option<Seen>, selected: bool) {
        let standing = match &seen {
            None => Standing::Absent,
            Some(seen) if seen.kind == Some(NodeKind::Directory) => Standing::Same,
            Some(_) => Standing::Other,
        };
        let may_replace = seen.as_ref().is_none_or(|seen| self.may_replace(seen, lean.mtime));
        if standing == Standing::Other && !may_replace {
            let cause = "is no folder, and stays: what the snapshot holds in it is not restored";
            let finding = Finding::problem(printable(&place), cause);
            self.problem(finding.with_hint("`--overwrite always` replaces it"));
            self.keep(&place, 0);
            self.blocked = Some(place);
            return;
        }
        let is_absent = |folder: &[u8]| path::is_below(&place, folder);
        if standing != Standing::Same && !self.absent.as_deref().is_some_and(is_absent) {
            self.absent = Some(place.clone());
        }
        let mend = standing != Standing::Same || (selected && may_replace);
        self.plan.folders.push(FolderPlan { path: place, lean, standing, mend });
    }

    fn add(
        &mut self,
        place: Box<[u8]>,
        node: Node,
        seen: Option<Seen>,
        database: Option<Box<[u8]>>,
    ) -> Result<()> {
        if seen.as_ref().is_some_and(|seen| !self.may_replace(seen, node.mtime)) {
            self.keep(&place, node.size);
            let is_file = seen.is_some_and(|seen| seen.kind == Some(NodeKind::File));
            if let Some(identity) = identity(&node).filter(|_| is_file && node.kind == NodeKind::File) {
                self.kept_names.entry(identity).or_insert(place);
            }
            return Ok(());
        }
        if database.is_some() {
            self.plan.databases.insert(place.clone(), database);
        }
        if let Some(identity) = identity(&node) {
            if seen.is_none() && !self.names.contains_key(&identity) {
                self.join_kept(identity, &place, &node);
            }
            if let Some(first) = self.names.get(&identity) {
                self.plan.hard_links.push(HardLink { path: place, first: first.clone(), seen, lost: None });
                return Ok(());
            }
            self.names.insert(identity, place.clone());
        }
        if node.kind != NodeKind::File {
            self.plan.others.push(OtherPlan { path: place, lean: Lean::of(node), seen, lost: None });
            return Ok(());
        }
        let standing = self.standing(&node, seen.as_ref());
        self.plan.add_file(self.context.reader, place, node, standing)
    }

    fn standing(&self, node: &Node, seen: Option<&Seen>) -> Standing {
        let Some(seen) = seen else { return Standing::Absent };
        let request = self.context.request;
        if seen.kind != Some(NodeKind::File) {
            return Standing::Other;
        }
        let looks_same = (seen.size, seen.mtime) == (node.size, node.mtime);
        // What has other names gets a file of its own where its metadata differ, and is then copied.
        let may_mend = seen.links == 1 || seen.rights == (node.mode, node.uid, node.gid);
        if request.overwrite == Some(Overwrite::IfChanged) && !request.verify && looks_same && may_mend {
            Standing::Same
        } else {
            Standing::Compare
        }
    }
}

fn is_directory(seen: Option<&Seen>) -> bool {
    seen.is_some_and(|seen| seen.kind == Some(NodeKind::Directory))
}

/// What tells the names of one file from those of others. A number that was used again while the backup ran names
/// two kinds of things, which are no one file.
fn identity(node: &Node) -> Option<(u64, u64, NodeKind)> {
    let linked = node.links > 1 && node.kind != NodeKind::Directory;
    linked.then_some((node.device, node.inode, node.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_file_are_of_one_kind() {
        let file = Node { links: 2, ..crate::format::tests::file_node(&[], 5) };
        assert!(identity(&file).is_some());
        assert_eq!(identity(&file), identity(&Node { size: 6, ..file.clone() }));
        assert_ne!(identity(&file), identity(&Node { kind: NodeKind::Fifo, ..file.clone() }));
        assert_ne!(identity(&file), identity(&Node { device: 1, ..file.clone() }));
        assert_eq!(identity(&Node { kind: NodeKind::Directory, ..file.clone() }), None);
        assert_eq!(identity(&Node { links: 1, ..file }), None);
    }
}
