//! How much there is: what snapshots would restore, what that is once each chunk is stored once, and where it lies.
//!
//! A key of role maintain is enough, for only trees and the index are read. Invariant: a blob that several snapshots, folders
//! or kinds need counts for the first of them, snapshots in the order of their times and paths in theirs.

mod count;
mod objects;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use crate::backend::ObjectKind;
use crate::error::Result;
use crate::format::key_slot::Role;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::index::{Index, Place, ReadObjects};
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::repository::unread::report_passed_over;

pub use objects::{Objects, Stored};
pub use walk::Files;

use count::{Alone, Count, Distinct};
use walk::Walk;

/// What is wanted beside the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// Nothing.
    None,
    /// Folders, so many names deep.
    Folders {
        /// How many.
        depth: usize,
    },
    /// Kinds of files.
    Kinds,
}

/// A kind of what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// SQLite databases.
    Databases,
    /// A service's attachments.
    Attachments,
    /// A service's sends.
    Sends,
    /// All other files.
    Others,
    /// Trees and lists of chunks.
    Metadata,
}

/// Blobs, before they were compressed and as they are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub blobs: u64,
    /// Bytes of their plaintexts.
    pub plain_bytes: u64,
    /// Bytes of their frames in packs.
    pub stored_bytes: u64,
}

impl Amount {
    fn of(place: &Place) -> Self {
        let (plain, stored) = (place.plain_length, place.stored_length);
        Self { blobs: 1, plain_bytes: u64::from(plain), stored_bytes: u64::from(stored) }
    }

    fn add(&mut self, other: Self) {
        *self = self.plus(other);
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            blobs: self.blobs.saturating_add(other.blobs),
            plain_bytes: self.plain_bytes.saturating_add(other.plain_bytes),
            stored_bytes: self.stored_bytes.saturating_add(other.stored_bytes),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is wanted beside the sums.
    pub grouping: Grouping,
    /// Whether it is wanted what each snapshot alone needs: that takes a second walk.
    pub alone: bool,
    /// Whether these are all snapshots there are, so that it can be told what nothing needs.
    pub all: bool,
    /// The wish to stop.
    pub interrupt: Interrupt,
}

/// One snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotStats {
    /// Which.
    pub snapshot: Snapshot,
    /// What it restores.
    pub files: Files,
    /// What it needs and none before it needed.
    pub added: Amount,
    /// What it needs and no other needs, where that was asked for.
    pub alone: Amount,
}

/// How much there is.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// The snapshots, oldest first.
    pub snapshots: Vec<SnapshotStats>,
    /// Chunks of files that they need.
    pub data: Amount,
    /// Blobs of trees and lists that they need.
    pub metadata: Amount,
    /// By folder, the largest first.
    pub folders: Vec<(Vec<u8>, Amount)>,
    /// By kind.
    pub kinds: Vec<(Kind, Amount)>,
    /// The store, where all snapshots were counted.
    pub objects: Option<Objects>,
    /// Blobs that snapshots need and that cannot be had.
    pub lost: u64,
}

impl Stats {
    /// What all snapshots together would restore.
    pub fn files(&self) -> Files {
        self.snapshots.iter().fold(Files::default(), |sum, one| Files {
            files: sum.files.saturating_add(one.files.files),
            bytes: sum.bytes.saturating_add(one.files.bytes),
        })
    }

    /// Blobs in packs that no snapshot needs, second copies among them.
    pub fn unused(&self) -> Option<Stored> {
        let (blobs, used) = (self.objects.as_ref()?.blobs, self.data.plus(self.metadata));
        let bytes = blobs.bytes.saturating_sub(used.stored_bytes);
        Some(Stored { count: blobs.count.saturating_sub(used.blobs), bytes })
    }
}

/// Counts what these snapshots need; they come oldest first.
///
/// # Errors
/// `RoleNotAllowed` with a key of role backup.
pub fn run(
    repository: &Repository,
    snapshots: &[Snapshot],
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Stats> {
    let Opened { reader, index, packs } = Opened::new(repository, reporter)?;
    let mut walk = Walk::new(&reader, Arc::clone(&index), false, &options.interrupt);
    let mut count = Count::new(options.grouping, if options.alone { index.numbers() } else { 0 });
    let mut stats = Stats::default();
    reporter.progress().set_total(snapshots.len() as u64, 0);
    for (snapshot, turn) in snapshots.iter().zip(0..) {
        count.begin(snapshot, turn);
        let files = walk.snapshot(snapshot.root(), &mut count)?;
        let (added, alone) = (count.added, Amount::default());
        stats.snapshots.push(SnapshotStats { snapshot: snapshot.clone(), files, added, alone });
        reporter.progress().add_files(1);
    }
    stats.lost = walk.lost;
    if options.alone {
        drop(walk);
        let mut back = Walk::new(&reader, Arc::clone(&index), false, &options.interrupt);
        for (turn, row) in (0..).zip(&mut stats.snapshots).collect::<Vec<_>>().into_iter().rev() {
            let mut alone = Alone::new(&count.first, turn);
            back.snapshot(row.snapshot.root(), &mut alone)?;
            row.alone = alone.amount;
        }
    }
    (stats.data, stats.metadata) = (count.data, count.metadata);
    stats.folders = count.folders.into_iter().collect();
    stats.folders.sort_by(|(one, first), (other, second)| {
        second.stored_bytes.cmp(&first.stored_bytes).then_with(|| one.cmp(other))
    });
    stats.kinds = count.kinds.into_iter().collect();
    stats.kinds.sort_unstable_by_key(|(kind, _)| *kind);
    if options.all {
        stats.objects = Some(Objects::count(repository, &packs, &index)?);
    }
    tell_lost(stats.lost, reporter);
    index.report_troubles(reporter);
    Ok(stats)
}

/// Files and blobs that are told apart as restic tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DistinctFiles {
    /// Files.
    pub files: u64,
    /// Their bytes, or those of their blobs.
    pub bytes: u64,
    /// Blobs, where paths count.
    pub blobs: u64,
    /// Blobs that snapshots need and that cannot be had.
    pub lost: u64,
}

/// Counts files that differ in what is in them; with `by_path` those that differ in path or contents, and the blobs of each
/// path. Takes 16 bytes of memory for each of them.
///
/// # Errors
/// `RoleNotAllowed` with a key of role backup.
pub fn distinct_files(
    repository: &Repository,
    snapshots: &[Snapshot],
    by_path: bool,
    interrupt: &Interrupt,
    reporter: &dyn Reporter,
) -> Result<DistinctFiles> {
    let Opened { reader, index, .. } = Opened::new(repository, reporter)?;
    let mut walk = Walk::new(&reader, index, by_path, interrupt);
    let mut distinct = Distinct::new(by_path);
    for snapshot in snapshots {
        walk.snapshot(snapshot.root(), &mut distinct)?;
    }
    tell_lost(walk.lost, reporter);
    let Distinct { files, bytes, blobs, .. } = distinct;
    Ok(DistinctFiles { files, bytes, blobs, lost: walk.lost })
}

/// The index over the packs that are there, and a reader.
struct Opened<'a> {
    reader: BlobReader<'a>,
    index: Arc<Index>,
    packs: HashMap<Id, u64>,
}

impl<'a> Opened<'a> {
    fn new(repository: &'a Repository, reporter: &dyn Reporter) -> Result<Self> {
        repository.keyring().require(Role::Maintain, "counting what snapshots hold")?;
        let read = ReadObjects::read(repository)?;
        let objects = read.damaged.iter();
        let objects = objects.map(|(id, error)| (format!("index/{}", id.short()), error.chain(), error));
        let hint = "run `strongroom check` to see what it affects";
        report_passed_over(reporter, "the index", hint, objects);
        let listed = repository.backend().list(ObjectKind::Pack)?;
        let packs: HashMap<Id, u64> = listed.into_iter().map(|listed| (listed.id, listed.size)).collect();
        let reader =
            BlobReader::with_index(repository, Index::build(&read, &|pack| packs.contains_key(pack))?);
        let index = reader.index()?;
        Ok(Self { reader, index, packs })
    }
}

fn tell_lost(lost: u64, reporter: &dyn Reporter) {
    if lost > 0 {
        let cause = match lost {
            1 => "1 blob is lost, and what it held is not counted".to_owned(),
            _ => format!("{lost} blobs are lost, and what they held is not counted"),
        };
        reporter.report(
            Finding::problem("the snapshots", cause).with_hint("run `strongroom check` to see what suffers"),
        );
    }
}
