//! Finds the snapshots that a person means: by name, by host, by path, by tags.

use super::Repository;
use super::snapshot::{Snapshot, Snapshots};
use super::unread::report_passed_over;
use crate::backend::ObjectKind;
use crate::error::{Error, Result};
use crate::format::snapshot::Manifest;
use crate::id::Id;
use crate::report::{Reporter, printable};

/// Which snapshots are meant; all of them if nothing is asked for.
#[derive(Clone, Debug, Default)]
pub struct SnapshotFilter {
    /// One of these hosts.
    pub hosts: Vec<String>,
    /// One of these jobs of a configuration.
    pub jobs: Vec<String>,
    /// Every one of these paths, absolute.
    pub paths: Vec<Vec<u8>>,
    /// All tags of one of these lists; the empty list means snapshots without a tag.
    pub tags: Vec<Vec<String>>,
}

impl SnapshotFilter {
    /// Whether all snapshots are meant.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.jobs.is_empty() && self.paths.is_empty() && self.tags.is_empty()
    }

    /// Whether a snapshot is meant.
    pub fn matches(&self, manifest: &Manifest) -> bool {
        let has_path = |path: &Vec<u8>| manifest.paths.iter().any(|other| other.as_slice() == path);
        let has_tags = |tags: &Vec<String>| {
            if tags.is_empty() {
                manifest.tags.is_empty()
            } else {
                tags.iter().all(|tag| manifest.tags.contains(tag))
            }
        };
        (self.hosts.is_empty() || self.hosts.contains(&manifest.host))
            && (self.jobs.is_empty() || manifest.job.as_ref().is_some_and(|job| self.jobs.contains(job)))
            && self.paths.iter().all(has_path)
            && (self.tags.is_empty() || self.tags.iter().any(has_tags))
    }

    /// What is asked for, in words that follow "snapshot"; nothing if all are meant.
    pub fn describe(&self) -> String {
        let shown = |text: &str| printable(text.as_bytes());
        if self.is_empty() {
            return String::new();
        }
        let mut words = Vec::new();
        if !self.hosts.is_empty() {
            let hosts: Vec<String> = self.hosts.iter().map(|host| shown(host)).collect();
            words.push(format!("of host {}", hosts.join(" or ")));
        }
        if !self.jobs.is_empty() {
            let jobs: Vec<String> = self.jobs.iter().map(|job| shown(job)).collect();
            words.push(format!("of job {}", jobs.join(" or ")));
        }
        if !self.paths.is_empty() {
            let paths: Vec<String> = self.paths.iter().map(|path| printable(path)).collect();
            words.push(format!("with path {}", paths.join(" and ")));
        }
        if !self.tags.is_empty() {
            let list = |tags: &Vec<String>| {
                if tags.is_empty() { "no tag".to_owned() } else { format!("tag {}", shown(&tags.join(","))) }
            };
            let lists: Vec<String> = self.tags.iter().map(list).collect();
            words.push(format!("with {}", lists.join(" or ")));
        }
        words.insert(0, String::new());
        words.join(" ")
    }
}

impl Repository {
    /// Finds the snapshot that a person names: a prefix of its id, `latest`, `latest~2`.
    /// Snapshots that cannot be read are reported: one of them may be the one that is meant.
    pub fn find_snapshot(&self, name: &str, reporter: &dyn Reporter) -> Result<Snapshot> {
        self.find_snapshot_among(&SnapshotFilter::default(), name, reporter)
    }

    /// The same among those that a filter lets through: `latest` is the latest of them.
    pub fn find_snapshot_among(
        &self,
        filter: &SnapshotFilter,
        name: &str,
        reporter: &dyn Reporter,
    ) -> Result<Snapshot> {
        let found = self.snapshots_to_read()?;
        found.report_damaged(reporter);
        self.tell_vanished(&found, reporter);
        found.find(filter, name)
    }
}

impl Snapshots {
    /// Tells which snapshots and marks cannot be read.
    pub fn report_damaged(&self, reporter: &dyn Reporter) {
        let objects = self.damaged.iter().map(|(kind, id, error)| {
            (format!("{}/{}", kind.folder(), id.short()), self.cause(*kind, id, error), error)
        });
        let hint = "`strongroom check` tells what is damaged; a copy of the repository may have it whole";
        report_passed_over(reporter, "snapshots and marks", hint, objects);
    }

    /// Finds the snapshot that a person names, among those that a filter lets through.
    pub fn find(&self, filter: &SnapshotFilter, name: &str) -> Result<Snapshot> {
        match back_from_latest(name) {
            Some(back) => counted_back(self, filter, name, back),
            None => by_prefix(self, filter, name),
        }
    }

    /// Finds all that a person names, each once and in the order of their times; all that a filter lets through
    /// where none is named.
    pub fn find_all(&self, filter: &SnapshotFilter, names: &[String]) -> Result<Vec<Snapshot>> {
        let named: Vec<Snapshot> = names.iter().map(|name| self.find(filter, name)).collect::<Result<_>>()?;
        let wanted = |snapshot: &&Snapshot| {
            if names.is_empty() {
                filter.matches(&snapshot.manifest)
            } else {
                named.iter().any(|named| named.id == snapshot.id)
            }
        };
        Ok(self.snapshots.iter().filter(wanted).cloned().collect())
    }

    /// Finds the forgotten snapshot whose id begins with what a person gives.
    pub fn find_forgotten(&self, name: &str) -> Result<Snapshot> {
        let wanted = prefix(name)?;
        let mut matches = self.forgotten.iter().filter(|snapshot| snapshot.id.to_hex().starts_with(&wanted));
        match (matches.next(), matches.next()) {
            (Some(snapshot), None) => Ok(snapshot.clone()),
            (Some(_), Some(_)) => Err(several(name)),
            (None, _) if self.snapshots.iter().any(|snapshot| snapshot.id.to_hex().starts_with(&wanted)) => {
                Err(Error::refused(format!("snapshot {name} is not forgotten")))
            }
            (None, _) => Err(Error::missing(format!("there is no forgotten snapshot {name} any more"))
                .hint("`strongroom unforget --list` lists those that may still be brought back")),
        }
    }
}

/// The beginning of an id, as a person gives it.
fn prefix(name: &str) -> Result<String> {
    if name.len() < 4 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::refused(format!("{name:?} names no snapshot"))
            .hint("give at least four digits of its id, `latest`, or `latest~1` for the one before"));
    }
    Ok(name.to_ascii_lowercase())
}

fn several(name: &str) -> Error {
    Error::refused(format!("{name} names several snapshots")).hint("give more digits of the id")
}

fn counted_back(found: &Snapshots, filter: &SnapshotFilter, name: &str, back: usize) -> Result<Snapshot> {
    let among: Vec<&Snapshot> =
        found.snapshots.iter().filter(|snapshot| filter.matches(&snapshot.manifest)).collect();
    let position = among.len().checked_sub(back.saturating_add(1));
    position.and_then(|position| among.get(position)).map(|found| (*found).clone()).ok_or_else(|| {
        let (count, all) = (among.len(), found.snapshots.len());
        let of = filter.describe();
        let counts = if filter.is_empty() {
            format!("the repository holds {all} that can be read")
        } else {
            format!("{count} of the {all} that can be read are such")
        };
        let next = if all == 0 && found.damaged.is_empty() {
            "nothing was backed up yet, or all of it was forgotten: `strongroom unforget --list` tells"
        } else {
            "`strongroom snapshots` lists them"
        };
        Error::missing(format!("there is no snapshot {name}{of}: {counts}")).hint(next)
    })
}

fn by_prefix(found: &Snapshots, filter: &SnapshotFilter, name: &str) -> Result<Snapshot> {
    let wanted = prefix(name)?;
    let is_meant = |id: &Id| id.to_hex().starts_with(&wanted);
    let damaged = found.damaged.iter().find(|(kind, id, _)| *kind == ObjectKind::Snapshot && is_meant(id));
    let mut matches = found.snapshots.iter().filter(|snapshot| is_meant(&snapshot.id));
    match (matches.next(), matches.next(), damaged) {
        (Some(snapshot), None, _) if filter.matches(&snapshot.manifest) => Ok(snapshot.clone()),
        (Some(snapshot), None, _) => {
            let short = snapshot.id.short();
            Err(Error::missing(format!("{short} is not a snapshot{}", filter.describe()))
                .hint("leave --host, --path and --tag out where a snapshot is named by its id"))
        }
        (Some(_), Some(_), _) => Err(several(name)),
        (None, _, Some((_, _, error))) => {
            let again = Error::new(error.kind(), error.chain());
            Err(match error.next_step() {
                Some(step) => again.hint(step.to_owned()),
                None => again,
            })
        }
        (None, _, None) if found.forgotten.iter().any(|snapshot| is_meant(&snapshot.id)) => {
            Err(Error::missing(format!("snapshot {name} is forgotten")).hint(format!(
                "`strongroom unforget {name}` brings it back, unless a prune took what it held"
            )))
        }
        (None, _, None) => {
            Err(Error::missing(format!("there is no snapshot {name}"))
                .hint("`strongroom snapshots` lists them"))
        }
    }
}

fn back_from_latest(name: &str) -> Option<usize> {
    match name.strip_prefix("latest")? {
        "" => Some(0),
        rest => rest.strip_prefix('~')?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_filter_says_what_it_asks_for() {
        assert_eq!(SnapshotFilter::default().describe(), "");
        let filter = SnapshotFilter {
            hosts: vec!["one".into(), "two".into()],
            jobs: vec!["nightly".into()],
            paths: vec![b"/a".to_vec(), b"/b".to_vec()],
            tags: vec![vec!["x".into(), "y".into()], Vec::new()],
        };
        assert_eq!(
            filter.describe(),
            " of host one or two of job nightly with path /a and /b with tag x,y or no tag"
        );
    }
}
