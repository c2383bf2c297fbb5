//! Everything but the contents of files: folders, links, pipes, sockets, devices, and the metadata of folders.

use std::collections::{BTreeSet, HashSet};

use super::Context;
use super::lean::Lean;
use super::logs::Logs;
use super::plan::{OtherPlan, Plan, Standing};
use super::request::{Action, Summary};
use super::target::{Seen, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::format::node::{Node, NodeKind};
use crate::report::{Finding, Severity, printable};

pub(super) struct Others<'a, 'c> {
    pub(super) context: &'a Context<'c>,
    pub(super) target: &'a Target,
    pub(super) summary: &'a mut Summary,
}

/// The folders that could not be made: what lies in them is told with them.
#[derive(Default)]
pub(super) struct Unmade(BTreeSet<Box<[u8]>>);

impl Unmade {
    /// Whether a path is one of them, or lies in one.
    pub(super) fn holds(&self, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        let mut ends = ends.chain([path.len()]).filter_map(|end| path.get(..end));
        !self.0.is_empty() && ends.any(|folder| self.0.contains(folder))
    }
}

/// Whether what is there is what a snapshot holds, but for its metadata.
pub(super) fn is_same(target: &Target, path: &[u8], lean: &Lean, seen: &Seen) -> Result<bool> {
    if seen.kind != Some(lean.kind) {
        return Ok(false);
    }
    match lean.kind {
        NodeKind::Symlink => Ok(lean.link_target() == Some(target.read_link(path)?.as_slice())),
        NodeKind::CharacterDevice | NodeKind::BlockDevice => {
            Ok(lean.device_number() == Some(target.device_number(path)?))
        }
        _ => Ok(true),
    }
}

/// Why a further name of something is not made.
pub(super) fn first_is_lost(first: &[u8]) -> Error {
    Error::missing(format!("it is another name of {}, which is not restored", printable(first)))
}

impl Others<'_, '_> {
    pub(super) fn report(&mut self, finding: Finding) {
        if finding.severity == Severity::Problem {
            self.summary.problems = self.summary.problems.saturating_add(1);
        }
        self.context.reporter.report(finding);
    }

    /// Takes note of something that could not be made: the rest is worth having all the same. Where there is no
    /// room left, nothing more will be made.
    fn missed(&mut self, path: &[u8], error: Error) -> Result<()> {
        if error.kind() == ErrorKind::NoSpace {
            return Err(error);
        }
        self.tell_missed(path, &error);
        Ok(())
    }

    fn tell_missed(&mut self, path: &[u8], error: &Error) {
        let finding = Finding::problem(printable(path), error.chain());
        self.report(match error.next_step() {
            Some(hint) => finding.with_hint(hint),
            None => finding,
        });
    }

    /// Removes what a restore that was killed left in the folders that this one works in.
    pub(super) fn sweep(&mut self, plan: &Plan) {
        if self.target.was_empty() {
            return;
        }
        let Some(sweep) = self.target.sweep() else { return };
        let there = plan.folders.iter().filter(|folder| folder.standing == Standing::Same);
        for folder in std::iter::once(&[][..]).chain(there.map(|folder| &*folder.path)) {
            if let Ok(names) = self.target.names(folder) {
                let removed = sweep.folder(folder, &names, &|place| plan.odd_names.contains(place));
                self.summary.leftovers = self.summary.leftovers.saturating_add(removed);
            }
        }
    }

    /// Makes the folders; gives those that could not be made.
    pub(super) fn make_folders(&mut self, plan: &Plan) -> Result<Unmade> {
        let mut unmade = Unmade::default();
        for folder in &plan.folders {
            self.context.interrupt.check()?;
            if unmade.holds(&folder.path) {
                continue;
            }
            let replace = folder.standing == Standing::Other;
            match self.target.make_directory_over(&folder.path, replace) {
                Ok(made) => {
                    if made || folder.standing != Standing::Same {
                        self.summary.directories = self.summary.directories.saturating_add(1);
                        let action = if replace { Action::Updated } else { Action::Restored };
                        self.context.request.tell(action, &folder.path, 0, true);
                    }
                }
                Err(error) => {
                    let error = error.context("is not restored, nor what lies in it");
                    self.missed(&folder.path, error)?;
                    unmade.0.insert(folder.path.clone());
                }
            }
        }
        Ok(unmade)
    }

    fn apply_metadata(&mut self, path: &[u8], node: &Node) {
        match self.target.apply_metadata(path, node) {
            Ok(findings) => findings.into_iter().for_each(|finding| self.report(finding)),
            Err(error) => self.report(Finding::problem(printable(path), error.chain())),
        }
    }

    /// Makes links, pipes, sockets and devices, then the further names; `lost` are the files that have none.
    pub(super) fn make_others(
        &mut self,
        plan: &Plan,
        logs: &Logs,
        lost: &HashSet<&[u8]>,
        unmade: &Unmade,
    ) -> Result<()> {
        let mut missed: HashSet<&[u8]> = HashSet::new();
        for other in plan.others.iter().filter(|other| !unmade.holds(&other.path)) {
            self.context.interrupt.check()?;
            if let Some(error) = &other.lost {
                missed.insert(&other.path);
                self.tell_missed(&other.path, error);
            } else if let Err(error) = self.make_other(other) {
                missed.insert(&other.path);
                self.missed(&other.path, error)?;
            }
        }
        for link in plan.hard_links.iter().filter(|link| !unmade.holds(&link.path)) {
            self.context.interrupt.check()?;
            if lost.contains(&*link.first) || missed.contains(&*link.first) {
                self.missed(&link.path, first_is_lost(&link.first))?;
                continue;
            }
            if let Some(error) = &link.lost {
                self.tell_missed(&link.path, error);
                continue;
            }
            let (context, target) = (self.context, self.target);
            let make = || self.make_link(&link.path, &link.first, link.seen.is_some());
            if let Err(error) = logs.aside(context, target, &link.path, make) {
                self.missed(&link.path, error)?;
            }
        }
        Ok(())
    }

    fn make_other(&mut self, other: &OtherPlan) -> Result<()> {
        let node = other.lean.node();
        let make = |path: &[u8]| {
            if node.kind == NodeKind::Symlink {
                self.target.make_symlink(path, &node)
            } else {
                self.target.make_special(path, &node)
            }
        };
        let action = match &other.seen {
            Some(seen) if is_same(self.target, &other.path, &other.lean, seen)? && seen.links == 1 => {
                Action::Unchanged
            }
            Some(_) => {
                self.target.replace_by(&other.path, make)?;
                Action::Updated
            }
            None => {
                make(&other.path)?;
                Action::Restored
            }
        };
        if action != Action::Unchanged {
            self.summary.others = self.summary.others.saturating_add(1);
        }
        self.context.request.tell(action, &other.path, 0, false);
        self.apply_metadata(&other.path, &node);
        Ok(())
    }

    fn make_link(&mut self, path: &[u8], first: &[u8], replace: bool) -> Result<()> {
        if !replace {
            self.target.hard_link(first, path)?;
            self.summary.files = self.summary.files.saturating_add(1);
            self.context.request.tell(Action::Restored, path, 0, false);
            return Ok(());
        }
        let identity = |path: &[u8]| Ok::<_, Error>(self.target.look(path)?.map(|seen| seen.identity));
        let (now, wanted) = (identity(path)?, identity(first)?);
        if now.is_some() && now == wanted {
            self.summary.files_unchanged = self.summary.files_unchanged.saturating_add(1);
            self.context.request.tell(Action::Unchanged, path, 0, false);
            return Ok(());
        }
        self.target.replace_by(path, |aside| self.target.hard_link(first, aside))?;
        self.summary.files = self.summary.files.saturating_add(1);
        self.context.request.tell(Action::Updated, path, 0, false);
        Ok(())
    }

    /// Deepest first, for making something in a folder changes its time.
    pub(super) fn finish_folders(&mut self, plan: &Plan, unmade: &Unmade) {
        for folder in plan.folders.iter().rev().filter(|folder| folder.mend && !unmade.holds(&folder.path)) {
            self.apply_metadata(&folder.path, &folder.lean.node());
        }
    }

    /// The folder that is the target, where the snapshot holds one that becomes it.
    pub(super) fn finish_top(&mut self, plan: &Plan, seen: Option<&Seen>) {
        let Some(node) = self.context.top.filter(|node| node.kind == NodeKind::Directory) else { return };
        let may_mend = match (seen, self.context.request.overwrite) {
            (Some(seen), Some(overwrite)) => plan.top_selected && overwrite.may_replace(seen, node.mtime),
            _ => true,
        };
        if may_mend {
            for finding in self.target.apply_metadata_to_top(node) {
                self.report(finding);
            }
        }
    }
}
