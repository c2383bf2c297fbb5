//! Bringing a snapshot back: into a new folder, never over anything.
//!
//! First the whole plan: folders are made, and each file's chunks are looked up and sorted by where they lie, so
//! that each pack is read once. Then the packs are read in parallel; a file gets its name when its last chunk
//! is written. Links and devices come after the files, the times of folders last.
//!
//! Invariants: nothing is written outside the target. A file is there whole, with contents that its ids prove,
//! or it is not there and reported.

mod fill;
mod plan;
pub mod target;

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::format::key_slot::Role;
use crate::format::node::{Node, NodeKind};
use crate::format::path;
use crate::interrupt::Interrupt;
use crate::report::{Finding, Reporter, Severity, printable};
use crate::repository::Repository;
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::lookup;

use plan::{Other, Plan};
use target::Target;

/// What a restore did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files that are there, hard links included.
    pub files: u64,
    /// Folders.
    pub directories: u64,
    /// Links, pipes, sockets and devices.
    pub others: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// What is missing, or is not as it was.
    pub problems: u64,
}

/// Restores what lies at `place` in a snapshot: a folder's contents, or one file, into `folder`.
///
/// # Errors
/// `Interrupted` where it was to stop: the files that have their names are whole, and nothing else is left of it.
pub fn run(
    repository: &Repository,
    snapshot: &Snapshot,
    place: &[u8],
    folder: &Path,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<Summary> {
    repository.keyring().require(Role::Full, "restoring files")?;
    let reader = BlobReader::new(repository, reporter)?.with_kept_metadata();
    let top = find(&reader, snapshot, place)?;
    let target = Target::create(folder)?;
    let mut restore = Restore { reporter, interrupt, target: &target, summary: Summary::default() };
    reporter.progress().set_stage("planning");
    let plan = Plan::make(&reader, snapshot, place, top.as_ref(), interrupt)?;
    restore.make_directories(&plan)?;
    let bytes = plan.files.iter().fold(0u64, |sum, file| sum.saturating_add(file.node.size));
    reporter.progress().set_total(plan.files.len() as u64, bytes);
    reporter.progress().set_stage("");
    let filled = fill::fill(&reader, &target, &plan, reporter, interrupt)?;
    restore.summary.files = filled.files;
    restore.summary.bytes = filled.bytes;
    restore.summary.problems = restore.summary.problems.saturating_add(filled.problems);
    restore.others(&plan)?;
    restore.directories(&plan, top.as_ref());
    target.sync()?;
    plan.index.report_troubles(reporter);
    for finding in target.further_findings() {
        restore.report(finding);
    }
    Ok(restore.summary)
}

/// The node at a place; none for the root of a snapshot that stores no root.
///
/// # Errors
/// `Missing` where the snapshot holds nothing there.
pub fn find(reader: &BlobReader<'_>, snapshot: &Snapshot, place: &[u8]) -> Result<Option<Node>> {
    let node = lookup(reader, snapshot.root(), place)?;
    if node.is_none() && !place.is_empty() {
        let id = snapshot.id.short();
        return Err(Error::missing(format!("snapshot {id} holds nothing at /{}", printable(place)))
            .hint(format!("`strongroom ls {id}` lists what it holds")));
    }
    Ok(node)
}

struct Restore<'a> {
    reporter: &'a dyn Reporter,
    interrupt: &'a Interrupt,
    target: &'a Target,
    summary: Summary,
}

impl Restore<'_> {
    fn report(&mut self, finding: Finding) {
        if finding.severity == Severity::Problem {
            self.summary.problems = self.summary.problems.saturating_add(1);
        }
        self.reporter.report(finding);
    }

    /// Takes note of something that could not be made: the rest is worth having all the same. Where there is no
    /// room left, nothing more will be made.
    fn missed(&mut self, path: &[u8], error: Error) -> Result<()> {
        if error.kind() == ErrorKind::NoSpace {
            return Err(error);
        }
        self.report(Finding::problem(printable(path), error.chain()));
        Ok(())
    }

    fn make_directories(&mut self, plan: &Plan) -> Result<()> {
        for Other { path, .. } in &plan.directories {
            self.interrupt.check()?;
            match self.target.make_directory(path) {
                Ok(()) => self.summary.directories = self.summary.directories.saturating_add(1),
                Err(error) => self.missed(path, error)?,
            }
        }
        Ok(())
    }

    fn apply_metadata(&mut self, path: &[u8], node: &Node) {
        match self.target.apply_metadata(path, node) {
            Ok(findings) => findings.into_iter().for_each(|finding| self.report(finding)),
            Err(error) => self.report(Finding::problem(printable(path), error.chain())),
        }
    }

    fn others(&mut self, plan: &Plan) -> Result<()> {
        for Other { path, node } in &plan.others {
            self.interrupt.check()?;
            let made = if node.kind == NodeKind::Symlink {
                self.target.make_symlink(path, node)
            } else {
                self.target.make_special(path, node)
            };
            match made {
                Ok(()) => {
                    self.summary.others = self.summary.others.saturating_add(1);
                    self.apply_metadata(path, node);
                }
                Err(error) => self.missed(path, error)?,
            }
        }
        for (path, existing) in &plan.hard_links {
            self.interrupt.check()?;
            match self.target.hard_link(existing, path) {
                Ok(()) => self.summary.files = self.summary.files.saturating_add(1),
                Err(error) => self.missed(path, error)?,
            }
        }
        Ok(())
    }

    /// Deepest first, for making something in a folder changes its time.
    fn directories(&mut self, plan: &Plan, top: Option<&Node>) {
        for directory in plan.directories.iter().rev() {
            self.apply_metadata(&directory.path, &directory.node);
        }
        if let Some(node) = top.filter(|node| node.kind == NodeKind::Directory) {
            for finding in self.target.apply_metadata_to_top(node) {
                self.report(finding);
            }
        }
    }
}

/// Where something at `path` goes when what lies at `place` is restored: below a folder without that folder's
/// own name, a single file under its name. Nothing for the folder itself.
fn relative(path: &[u8], place: &[u8], top: Option<&Node>) -> Option<Vec<u8>> {
    if top.is_some_and(|node| node.kind != NodeKind::Directory) {
        return Some(path::name(path).to_vec());
    }
    let rest = path.strip_prefix(place)?;
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    if rest.is_empty() { None } else { Some(rest.to_vec()) }
}
