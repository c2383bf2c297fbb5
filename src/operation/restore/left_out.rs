//! What --delete spares though the snapshot does not hold it: what a backup was told to leave out, or leaves out by
//! itself, and what is in use.
//!
//! Invariant: where it is not known why the snapshot does not hold something, it stays.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::plan::Plan;
use super::select::Fate;
use super::target::{Stays, Target};
use super::{Context, logs};
use crate::error::Result;
use crate::format::node::NodeKind;
use crate::format::path;
use crate::format::snapshot::Manifest;
use crate::report::{Finding, printable};
use crate::source::files::{ExcludeOptions, Excludes};

/// An option that leaves nothing out.
const HARMLESS: [&str; 1] = ["--no-sqlite"];

/// Why something stays.
type Why = &'static str;

const PATTERN: Why = "the backup was told to leave it out";
const LARGE: Why = "the backup was told to leave out files as large";
const OLDER: Why =
    "it may have been there, and larger, when the backup was made, which was told to leave out large files";
const MARKED: Why = "a mark in its folder keeps it out of backups";
pub(super) const ELSEWHERE: Why = "another file system is mounted there";
const EMPTY: Why = "the backup did not look into its folder, which was on another file system";
const LOG: Why = "it belongs to a database, of which a backup keeps the contents alone";
const SERVICE: Why = "a Vaultwarden backup leaves out what is not needed; `restore --vaultwarden` puts the folder back as a whole";

/// Whether the manifest itself says why not all can be known.
pub(super) fn doubt(manifest: &Manifest) -> Option<String> {
    if manifest.statistics.problems > 0 {
        let problems = manifest.statistics.problems;
        return Some(format!(
            "the backup was not whole ({problems} problems), so that it may lack what is there"
        ));
    }
    match ExcludeOptions::parse(&manifest.excludes) {
        Ok((options, others)) => {
            if let Some(other) = others.iter().find(|other| !HARMLESS.contains(other)) {
                let other = printable(other.as_bytes());
                return Some(format!("the backup was made with {other}, which this version does not know"));
            }
            Excludes::new(&options).err().map(|error| error.chain())
        }
        Err(error) => Some(error.chain()),
    }
}

/// What was left out of a snapshot, ready to be asked.
pub(super) struct Spared<'a, 'c> {
    context: &'a Context<'c>,
    target: &'a Target,
    plan: &'a Plan,
    excludes: Excludes,
    /// Host paths that patterns may have been held against: the folder in which each source lies.
    bases: Vec<Vec<u8>>,
    is_service: bool,
    /// The first thing that stays for each reason, and how many do.
    told: RefCell<BTreeMap<Why, (Vec<u8>, u64)>>,
}

impl<'a, 'c> Spared<'a, 'c> {
    pub(super) fn new(context: &'a Context<'c>, target: &'a Target, plan: &'a Plan) -> Result<Self> {
        let manifest = &context.snapshot.manifest;
        let (options, _) = ExcludeOptions::parse(&manifest.excludes)?;
        Ok(Self {
            context,
            target,
            plan,
            excludes: Excludes::new(&options)?,
            bases: bases(manifest),
            is_service: manifest.service.is_some(),
            told: RefCell::default(),
        })
    }

    /// Why nothing is to be removed from a folder that the snapshot holds, though its names were listed.
    pub(super) fn folder(&self, folder: &[u8]) -> Option<Why> {
        let place = self.context.in_snapshot(folder);
        match () {
            () if self.plan.unentered.contains(folder) => Some(EMPTY),
            () if self.is_service && place.is_empty() => Some(SERVICE),
            () if self.is_marked(folder) => Some(MARKED),
            () if ends(&place).any(|end| self.is_matched(end)) => Some(PATTERN),
            () => None,
        }
    }

    /// Why something that the snapshot does not hold stays. Of what lies in it, each is asked for.
    pub(super) fn why(&self, place: &[u8]) -> Option<Why> {
        if let Some(what) = self.target.in_use(place) {
            return Some(what);
        }
        if self.is_matched(&self.context.in_snapshot(place)) {
            return Some(PATTERN);
        }
        // A backup that takes databases as files does not say which of them are any.
        let is_its =
            |base: &[u8]| self.plan.held.contains(base) && logs::belongs_to(self.target, place, base);
        if logs::database_of(place).is_some_and(is_its) {
            return Some(LOG);
        }
        if !self.excludes.is_longer_than_wanted(u64::MAX) && self.excludes.markers().next().is_none() {
            return None;
        }
        let seen = self.target.look(place).ok().flatten()?;
        match seen.kind {
            Some(NodeKind::File) if self.excludes.is_longer_than_wanted(seen.size) => Some(LARGE),
            Some(NodeKind::File) if self.may_have_been_large(place) => Some(OLDER),
            Some(NodeKind::Directory) if self.is_marked(place) => Some(MARKED),
            _ => None,
        }
    }

    /// What of something in a folder that is cleaned stays; why is noted.
    pub(super) fn stays(&self, place: &[u8]) -> Stays {
        match self.context.request.selection.fate(&self.context.in_snapshot(place)) {
            _ if self.plan.held.contains(place) => Stays::All,
            Fate::Out => Stays::All,
            fate => match self.why(place) {
                Some(why) => {
                    self.note(why, place);
                    Stays::All
                }
                None if fate == Fate::Way => Stays::Itself,
                None => Stays::Nothing,
            },
        }
    }

    /// Takes note of something that stays.
    pub(super) fn note(&self, why: Why, place: &[u8]) {
        let mut told = self.told.borrow_mut();
        let (_, times) = told.entry(why).or_insert_with(|| (place.to_vec(), 0));
        *times = times.saturating_add(1);
    }

    /// A reason for which something stayed since this was last asked, and the first thing.
    pub(super) fn first_noted(&self) -> Option<(String, Vec<u8>)> {
        let told = self.told.take();
        told.into_iter().next().map(|(why, (first, _))| (self.reason(why), first))
    }

    /// Says each reason once.
    pub(super) fn tell(&self) {
        for (why, (first, times)) in self.told.borrow().iter() {
            let more = match times.saturating_sub(1) {
                0 => String::new(),
                more => format!("; so do {more} more"),
            };
            let why = self.reason(why);
            let finding =
                Finding::warning(format!("/{}", printable(first)), format!("is not deleted: {why}{more}"));
            self.context.reporter.report(finding);
        }
    }

    fn reason(&self, why: Why) -> String {
        let is_own = self.context.request.own.iter().any(|own| own.what == why);
        if is_own { format!("it is the {why}, which is in use") } else { why.to_owned() }
    }

    fn is_matched(&self, place: &[u8]) -> bool {
        let at = |base: &Vec<u8>| self.excludes.matches(&[base.as_slice(), b"/", place].concat());
        !place.is_empty() && self.bases.iter().any(at)
    }

    /// Whether a file may have been there when the backup was made, which may have found it too large.
    fn may_have_been_large(&self, place: &[u8]) -> bool {
        if !self.excludes.is_longer_than_wanted(u64::MAX) {
            return false;
        }
        let born = self.target.born(place).ok().flatten();
        born.is_none_or(|born| born <= self.context.snapshot.manifest.finished)
    }

    /// Whether a file in a folder keeps the rest of it out. It may be in the snapshot alone, selected or not.
    fn is_marked(&self, folder: &[u8]) -> bool {
        self.excludes.markers().any(|(name, header)| {
            let mut place = folder.to_vec();
            path::push(&mut place, name.as_bytes());
            match self.target.look(&place) {
                Ok(Some(seen)) => match header {
                    Some(header) if seen.kind == Some(NodeKind::File) => self.begins_with(&place, header),
                    Some(_) => false,
                    None => true,
                },
                Ok(None) => self.plan.held.contains(&place),
                Err(_) => true,
            }
        })
    }

    /// Whether a file begins so; what cannot be read may.
    fn begins_with(&self, place: &[u8], header: &str) -> bool {
        let Ok(Some((file, _))) = self.target.open_existing(place) else { return true };
        let mut found = vec![0; header.len()];
        let file = std::fs::File::from(file);
        let read = std::os::unix::fs::FileExt::read_exact_at(&file, &mut found, 0);
        read.is_ok() && found == header.as_bytes()
    }
}

/// A path and those of the folders above it, from the top.
fn ends(place: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = place.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
    slashes.chain([place.len()]).filter_map(|end| place.get(..end))
}

/// What may have stood before a place on the host: a path stands in the snapshot as it was named, so that any end of it
/// may be its place. Patterns of a rewrite were held against the place alone.
fn bases(manifest: &Manifest) -> Vec<Vec<u8>> {
    let mut bases = vec![Vec::new()];
    for host in &manifest.paths {
        bases.extend(ends(host).map(<[u8]>::to_vec));
    }
    bases.sort();
    bases.dedup();
    bases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_path_are_those_of_its_folders() {
        let all: Vec<&[u8]> = ends(b"a/b/c").collect();
        assert_eq!(all, [&b"a"[..], b"a/b", b"a/b/c"]);
    }
}
