//! What stays as it is in the target, though the snapshot has something else there.

use super::{Planner, Way};
use crate::error::Result;
use crate::format::node::{Node, NodeKind};
use crate::operation::restore::lean::Lean;
use crate::operation::restore::others::is_same;
use crate::operation::restore::request::{Action, Overwrite};
use crate::operation::restore::target::Seen;
use crate::operation::restore::verify;
use crate::report::{Finding, printable};

impl Planner<'_, '_> {
    /// Whether what this restore itself works with lies here: it stays as it is, with all in it, and that is told.
    pub(super) fn is_in_use(&mut self, place: &[u8], node: &Node, seen: Option<&Seen>) -> Result<bool> {
        let Some((target, seen)) = self.context.target.zip(seen) else { return Ok(false) };
        let Some(what) = target.own(seen) else { return Ok(false) };
        if seen.kind == Some(NodeKind::Symlink) && is_same(target, place, &Lean::of(node.clone()), seen)? {
            return Ok(false);
        }
        let is_folder = seen.kind == Some(NodeKind::Directory);
        if is_folder || (self.may_replace(seen, node.mtime) && !self.is_right(place, node, seen)) {
            let rest = if is_folder { ", and so does all in it" } else { "" };
            let cause = format!("stays as it is{rest}: it is the {what}, which is in use");
            let finding = Finding::warning(format!("/{}", printable(place)), cause);
            self.context
                .reporter
                .report(finding.with_hint("restore it under another folder, and compare the two"));
        }
        if !is_folder {
            self.keep(place, node.size);
        }
        Ok(true)
    }

    /// Whether a file that is there is what the snapshot holds, so that nothing would come of replacing it.
    fn is_right(&self, place: &[u8], node: &Node, seen: &Seen) -> bool {
        if node.kind != NodeKind::File || seen.kind != Some(NodeKind::File) || seen.size != node.size {
            return false;
        }
        let is_trusted = self.context.request.overwrite == Some(Overwrite::IfChanged);
        if is_trusted && seen.mtime == node.mtime {
            return true;
        }
        self.context.target.is_some_and(|target| verify::one(self.context, target, place, node).is_ok())
    }

    /// Whether something else is in the place of a folder above what was named. Nobody asked for it to be replaced: a
    /// home may have moved to another disk, with a link in its place.
    pub(super) fn is_refused_above(&mut self, way: &Way) -> bool {
        let Some(kind) = way.seen.as_ref().map(|seen| seen.kind) else { return false };
        if kind == Some(NodeKind::Directory) {
            return false;
        }
        let link = self.context.target.filter(|_| kind == Some(NodeKind::Symlink));
        let link = link.and_then(|target| target.read_link(&way.path).ok());
        let (is, hint) = match link {
            Some(link) => (
                format!("is a symbolic link to {}", printable(&link)),
                "restore into the folder it leads to, as in `SNAPSHOT:PATH`, or move the link away",
            ),
            None => ("is no folder".to_owned(), "move it away, or restore into another folder"),
        };
        let cause = format!("{is}, and stays: what the snapshot holds below it is not restored");
        self.problem(Finding::problem(printable(&way.path), cause).with_hint(hint));
        self.keep(&way.path, 0);
        self.blocked = Some(way.path.clone());
        true
    }

    /// Takes note of something that stays.
    pub(super) fn keep(&mut self, place: &[u8], size: u64) {
        self.plan.kept.0 = self.plan.kept.0.saturating_add(1);
        self.plan.kept.1 = self.plan.kept.1.saturating_add(size);
        self.context.request.tell(Action::Kept, place, size, false);
    }

    /// A further name of a file that stays: it is one more name of that, if the snapshot holds just that.
    pub(super) fn join_kept(&mut self, identity: (u64, u64, NodeKind), place: &[u8], node: &Node) {
        let Some(kept) = self.kept_names.get(&identity).cloned() else { return };
        let is_right = self.context.target.is_some_and(|target| {
            let open = target.open_existing(&kept).ok().flatten();
            open.is_some_and(|(open, _)| !target.differs(&open, node))
                && verify::one(self.context, target, &kept, node).is_ok()
        });
        if is_right {
            self.names.insert(identity, kept);
            return;
        }
        let kept = printable(&kept);
        let cause = format!(
            "becomes a file of its own: {kept}, another name of it in the snapshot, is kept as it is"
        );
        self.context.reporter.report(Finding::warning(printable(place), cause));
    }
}
