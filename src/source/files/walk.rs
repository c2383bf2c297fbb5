//! Visits what a plan names, in the order of paths.
//!
//! Invariant: strictly ascending by [`crate::format::path::compare`], a folder before what it holds. Only the
//! visitor's error ends the walk early; everything else that goes wrong is reported and counted. The folders that
//! the walk is in are kept by [`Stack`], so that neither depth nor width of a tree is limited by handles or by
//! the length of a path the system takes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Statx;
use rustix::io::Errno;

use super::entry::{Entry, Location};
use super::examine::examine;
use super::exclude::Excludes;
use super::folder::Folder;
use super::metadata::{Accounts, kind};
use super::plan::{Held, Plan, Source};
use super::problems::{Problems, shown};
use super::stack::{Frame, FrameKind, Stack};
use crate::error::Result;
use crate::format::node::{Node, NodeKind};
use crate::format::path as place_path;
use crate::report::{Finding, Reporter, printable};

/// What a walk came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkSummary {
    /// How many things could not be read, vanished or were not as expected.
    pub problems: u64,
}

/// Visits everything that a plan names, in the order of paths.
///
/// # Errors
///
/// The visitor's own; that the plan is empty; or that none of the paths in it exists, before anything is visited.
pub fn walk(
    plan: &Plan,
    excludes: &Excludes,
    reporter: &dyn Reporter,
    visit: &mut dyn FnMut(Entry) -> Result<()>,
) -> Result<WalkSummary> {
    let mut problems = Problems::new(reporter);
    let plan = examine(plan, excludes, &mut problems)?;
    let mut walker = Walker {
        known: plan.known(),
        held: plan.held(),
        plan,
        excludes,
        problems,
        visit,
        accounts: Accounts::default(),
        stack: Stack::default(),
        path: Vec::new(),
    };
    walker.run()?;
    Ok(WalkSummary { problems: walker.problems.count() })
}

/// Something found on the host: a name in an open folder, and how to speak of it.
struct Found {
    folder: Arc<Folder>,
    name: Box<[u8]>,
    shown: PathBuf,
    kind: FrameKind,
}

struct Walker<'a> {
    plan: Plan,
    /// Places of the plan and the folders above: everywhere else it need not be asked.
    known: BTreeSet<Vec<u8>>,
    held: Held,
    excludes: &'a Excludes,
    problems: Problems<'a>,
    visit: &'a mut dyn FnMut(Entry) -> Result<()>,
    accounts: Accounts,
    stack: Stack,
    /// The place that the walk is at.
    path: Vec<u8>,
}

impl Walker<'_> {
    fn run(&mut self) -> Result<()> {
        match self.plan.get(b"").and_then(|place| place.source.clone()) {
            Some(source) => self.source(&source)?,
            None => self.enter_holder(),
        }
        while let Some(frame) = self.stack.top() {
            self.path.truncate(frame.path_length);
            match frame.names.next() {
                Some(name) => self.name(name)?,
                None => self.leave(),
            }
        }
        Ok(())
    }

    fn leave(&mut self) {
        let Err(error) = self.stack.leave() else { return };
        let Some(frame) = self.stack.top() else { return };
        // What the plan placed here does not depend on the folder.
        self.path.truncate(frame.path_length);
        frame.kind = FrameKind::Holder;
        let mut names = self.held.names_in(&self.path);
        names.retain(|name| frame.names.as_slice().contains(name));
        frame.names = names.into_iter();
        let cause = format!("was moved while being read, and what remained in it is missing ({error})");
        self.problems.add(Path::new(std::ffi::OsStr::from_bytes(&self.path)), cause);
    }

    /// Comes to one name of the deepest folder.
    fn name(&mut self, name: Box<[u8]>) -> Result<()> {
        let folder = self.stack.folder();
        let planned = self.stack.top().is_some_and(|frame| frame.planned);
        let rules = if planned { self.plan.get(&self.path) } else { None };
        let mut left_out = rules.is_some_and(|place| place.leaves_out(&name));
        place_path::push(&mut self.path, &name);

        let mut held = false;
        if planned && self.known.contains(&self.path) {
            held = self.held.contains(&self.path);
            if let Some(place) = self.plan.get(&self.path) {
                if let Some(source) = place.source.clone() {
                    self.report_hidden(folder.as_deref(), &name, &source);
                    return self.source(&source);
                }
                left_out |= place.left_out;
            }
        }
        let Some(folder) = folder else {
            return self.hold();
        };
        if left_out && !held {
            return Ok(());
        }
        let shown = folder.path_of(&name);
        if self.excludes.matches(shown.as_os_str().as_bytes()) {
            if planned {
                self.report_needed(&shown);
            }
            if !held {
                return Ok(());
            }
            left_out = true;
        }
        if let Some(fault) = place_path::fault(&self.path) {
            self.problems.add(&shown, fault);
            return Ok(());
        }
        let found = Found { folder, name, shown, kind: FrameKind::Natural };
        self.take(found, !left_out)
    }

    /// Two things of one name cannot both be stored. What a service maps is meant to win; a path that a person
    /// gave is not.
    fn report_hidden(&mut self, folder: Option<&Folder>, name: &[u8], source: &Source) {
        let Some(folder) = folder else { return };
        let natural = folder.path_of(name);
        if source.given && natural != source.host && folder.stat(name).is_ok() {
            let cause = format!("is not stored, for {} has the same place", shown(&source.host));
            self.problems.add(&natural, cause);
        }
    }

    /// A service may not lose what it needs to a pattern or to a mark in silence.
    fn report_needed(&mut self, shown: &Path) {
        if self.plan.needs_at_or_below(&self.path) {
            let cause = "is left out as asked for, and the service needs it, or what lies in it";
            let hint = "exclude less: the service is not whole without it";
            self.problems.add_with_hint(shown, cause, hint);
        }
    }

    /// Stores a source at the place that the walk is at.
    fn source(&mut self, source: &Source) -> Result<()> {
        match locate(&source.host, source.follow) {
            Ok((folder, name)) => {
                let shown = source.host.clone();
                self.take(Found { folder: Arc::new(folder), name, shown, kind: FrameKind::Source }, true)
            }
            Err(error) => {
                self.problems.add_errno(&source.host, error);
                self.hold()
            }
        }
    }

    /// Visits what was found, and goes into it if it is a folder.
    fn take(&mut self, found: Found, contents: bool) -> Result<()> {
        let stat = match found.folder.stat(&found.name) {
            Ok(stat) => stat,
            Err(error) => {
                // The plan may place something below a folder that the host does not have.
                if error != Errno::NOENT || found.kind == FrameKind::Source || !self.is_held() {
                    self.unreachable(&found.shown, error);
                }
                return self.hold();
            }
        };
        if kind(&stat) == Some(NodeKind::Directory) {
            // Where another file system is mounted, the folder itself stays, empty.
            let elsewhere = contents && found.kind == FrameKind::Natural && self.is_elsewhere(&stat);
            if elsewhere {
                self.report_needed(&found.shown);
            }
            return self.take_folder(found, &stat, contents && !elsewhere);
        }
        if self.holds_below() {
            self.problems.add(&found.shown, "is not stored, for something else was placed below its name");
            return self.hold();
        }
        if self.passes_over(&found, &stat) {
            return Ok(());
        }
        let Some(mut node) = self.accounts.node(&stat) else {
            self.problems.add(&found.shown, "is of a kind that is not known");
            return Ok(());
        };
        if node.kind == NodeKind::Symlink {
            match found.folder.link_target(&found.name) {
                Ok(target) => node.link_target = Some(target),
                Err(error) => {
                    self.unreachable(&found.shown, error);
                    return Ok(());
                }
            }
        }
        self.visit(node, Location::In(found.folder, found.name))
    }

    /// Whether size or file system keep something that is no folder out. What a service placed is stored all the
    /// same; to a person it is told if the very thing that was named is concerned.
    fn passes_over(&mut self, found: &Found, stat: &Statx) -> bool {
        if found.kind == FrameKind::Source {
            let given = self.plan.get(&self.path).and_then(|place| place.source.as_ref());
            let too_large = given.is_some_and(|source| source.given) && self.excludes.is_too_large(stat);
            if too_large {
                let cause = "was given to back up and is larger than what is wanted";
                self.problems.warn(Finding::warning(shown(&found.shown), cause));
            }
            return too_large;
        }
        let out = self.excludes.is_too_large(stat) || self.is_elsewhere(stat);
        if out {
            self.report_needed(&found.shown);
        }
        out
    }

    /// Whether something found in the deepest folder lies on another file system than that, and is not wanted.
    fn is_elsewhere(&mut self, stat: &Statx) -> bool {
        let folder = self.stack.top().and_then(|frame| frame.device());
        self.excludes.is_elsewhere(folder, stat)
    }

    fn take_folder(&mut self, found: Found, stat: &Statx, contents: bool) -> Result<()> {
        // Open first: then what is visited and what is listed are the same folder for certain.
        let opened = found.folder.open_folder(&found.name, found.shown.clone());
        let opened = opened.and_then(|folder| Ok((folder.stat_self()?, folder)));
        let (stat, folder) = match opened {
            Ok((stat, folder)) => (stat, Some(folder)),
            Err(error) => {
                if contents || matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP) {
                    self.unreachable(&found.shown, error);
                }
                if matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP) {
                    return self.hold();
                }
                (*stat, None)
            }
        };
        if let Some(node) = self.accounts.node(&stat) {
            self.visit(node, Location::In(Arc::clone(&found.folder), found.name.clone()))?;
        }
        match folder {
            Some(folder) if contents => self.enter(found, folder),
            _ => self.enter_holder(),
        }
        Ok(())
    }

    /// Goes into a folder of the host.
    fn enter(&mut self, found: Found, folder: Folder) {
        let mut names = Vec::new();
        if let Err(error) = folder.list(&mut names) {
            self.problems.add_errno(&found.shown, error);
        }
        names.sort_unstable();
        if self.excludes.keep_marks_only(&folder, &mut names) {
            self.report_needed(&found.shown);
        }
        let planned = self.known.contains(&self.path);
        if planned {
            names.extend(self.held.names_in(&self.path));
            names.sort_unstable();
        }
        // Some file systems name a file twice if the folder changes while it is listed.
        names.dedup();
        let mut frame = Frame::open(found.name, self.path.len(), Arc::new(folder), found.kind);
        frame.names = names.into_iter();
        frame.planned = planned;
        self.stack.enter(frame);
    }

    /// Goes into a folder of which only further places are visited.
    fn enter_holder(&mut self) {
        let names = self.held.names_in(&self.path);
        if !names.is_empty() {
            let mut frame = Frame::holder(place_path::name(&self.path).into(), self.path.len());
            frame.names = names.into_iter();
            self.stack.enter(frame);
        }
    }

    /// Where nothing on the host belongs to a place, but something was placed below: a folder with the metadata
    /// of the one above that source, or with none.
    fn hold(&mut self) -> Result<()> {
        if !self.holds_below() {
            return Ok(());
        }
        if self.path.is_empty() {
            self.enter_holder();
            return Ok(());
        }
        let above = self.plan.get(&self.path).and_then(|place| place.above.as_deref());
        let found = above.and_then(|host| locate(host, true).ok()).and_then(|(folder, name)| {
            let stat = folder.stat(&name).ok().filter(|stat| kind(stat) == Some(NodeKind::Directory))?;
            Some((self.accounts.node(&stat)?, Location::In(Arc::new(folder), name)))
        });
        let (node, location) = found.unwrap_or_else(|| (self.accounts.made_up_folder(), Location::Nowhere));
        self.visit(node, location)?;
        self.enter_holder();
        Ok(())
    }

    /// Reports what could not be read at the place that the walk is at.
    fn unreachable(&mut self, shown: &Path, error: Errno) {
        if error == Errno::NOENT && self.plan.may_vanish(&self.path) {
            let subject = printable(shown.as_os_str().as_bytes());
            self.problems.warn(Finding::warning(subject, "vanished while being read"));
        } else {
            self.problems.add_errno(shown, error);
        }
    }

    fn is_held(&self) -> bool {
        self.held.contains(&self.path)
    }

    fn holds_below(&self) -> bool {
        self.is_held() && !self.held.names_in(&self.path).is_empty()
    }

    fn visit(&mut self, node: Node, location: Location) -> Result<()> {
        (self.visit)(Entry::new(self.path.clone(), node, location))
    }
}

/// Finds the folder that a host path lies in, and its name there. Links above it are followed; whether the last
/// name is followed is for the caller to say.
fn locate(host: &Path, follow: bool) -> rustix::io::Result<(Folder, Box<[u8]>)> {
    let real = if follow {
        fs::canonicalize(host).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?
    } else {
        host.to_path_buf()
    };
    match (real.parent(), real.file_name()) {
        (Some(parent), Some(name)) => Ok((Folder::reach(parent)?, name.as_bytes().into())),
        _ => Ok((Folder::reach(&real)?, b".".as_slice().into())),
    }
}
