//! Which snapshots are held against each other: those of one key, host, job and paths.
//!
//! Invariant: snapshots of two keys are never in one group, however wide a person makes the groups. Who steals the key
//! of one host could else push the snapshots of another out.

use crate::repository::snapshot::Snapshot;

/// What snapshots of one group have in common besides their key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupBy {
    /// The host.
    pub host: bool,
    /// The job.
    pub job: bool,
    /// The paths.
    pub paths: bool,
    /// The tags.
    pub tags: bool,
}

impl Default for GroupBy {
    fn default() -> Self {
        Self { host: true, job: true, paths: true, tags: false }
    }
}

/// What the snapshots of a group have in common; what they are not grouped by is absent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// The host.
    pub host: Option<String>,
    /// The job, where there is one.
    pub job: Option<Option<String>>,
    /// The paths.
    pub paths: Option<Vec<Vec<u8>>>,
    /// The tags.
    pub tags: Option<Vec<String>>,
    /// The public key of the slot that made the backups.
    pub writer: [u8; 32],
}

impl GroupBy {
    /// The group of a snapshot.
    pub fn key(&self, snapshot: &Snapshot) -> GroupKey {
        let manifest = &snapshot.manifest;
        let paths = || manifest.paths.iter().map(|path| path.to_vec()).collect();
        GroupKey {
            host: self.host.then(|| manifest.host.clone()),
            job: self.job.then(|| manifest.job.clone()),
            paths: self.paths.then(paths),
            tags: self.tags.then(|| manifest.tags.clone()),
            writer: snapshot.origin().writer,
        }
    }
}
