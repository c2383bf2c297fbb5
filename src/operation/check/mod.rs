//! Check: is everything there that the snapshots need, and is it what it should be?
//!
//! Without reading data: every small object opens, every pack that an index names is listed with its size, every
//! tree can be walked, and every chunk has a place. With it: every pack is read whole, its name, table and each
//! blob are checked, and files are named that suffer.
//!
//! Invariant: nothing is changed. Damage is a finding, never the end of the check.

pub(crate) mod pack;
pub(crate) mod places;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::backend::{Listed, ObjectKind};
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::{BlobKind, Class};
use crate::format::key_slot::Role;
use crate::format::node::{Content, Node, NodeKind};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::report::{Finding, Reporter, printable};
use crate::repository::Repository;
use crate::repository::content::visit_chunks;
use crate::repository::index::{Index, Place, ReadObjects, read_unindexed_pack};
use crate::repository::reader::BlobReader;
use crate::repository::session;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::TreeReader;

use pack::PackReading;
use places::{PlacesByPack, at, without_good_copy};

/// What to do about files that cannot be restored.
const FILES_LOST: &str = "`strongroom repair snapshots` stores what is left; first a backup, which stores again what it still finds";
/// Files named for one snapshot before the rest is only counted.
const NAMED_MAX: u64 = 20;

/// What a check came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Snapshots checked.
    pub snapshots: u64,
    /// Packs listed.
    pub packs: u64,
    /// Blobs that the index names.
    pub blobs: u64,
    /// Bytes read from packs.
    pub bytes_read: u64,
    /// What is wrong.
    pub problems: u64,
}

/// Checks a repository; with `read_data`, all of its bytes.
pub fn run(
    repository: &Repository,
    read_data: bool,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<Summary> {
    repository.keyring().require(Role::Maintain, "checking a repository")?;
    let (problems, bytes_read) = (AtomicU64::new(0), AtomicU64::new(0));
    let condemned = HashSet::new();
    let mut check = Check { repository, reporter, interrupt, problems, bytes_read, condemned };
    check.small_objects()?;
    match session::condemned(repository) {
        Ok(condemned) => check.condemned = condemned,
        Err(error) => check.problem(Finding::problem("a prune's record", error.chain())),
    }
    // Every object is opened: what a copy on this computer says of one proves nothing about it.
    let read = ReadObjects::read_afresh(repository)?;
    let index = Index::build(&read, &|_| true)?;
    for (_, error) in &read.damaged {
        check.problem(
            Finding::problem("the index", error.chain())
                .with_hint("the packs still hold what it named: run `strongroom repair index`"),
        );
    }
    let packs = repository.backend().list(ObjectKind::Pack)?;
    let (bad, blobs) = check.packs(&index, &packs, read_data)?;
    let found = repository.snapshots()?;
    for (kind, id, error) in &found.damaged {
        check.problem(Finding::problem(format!("{}/{}", kind.folder(), id.short()), error.chain()));
    }
    for vanished in &found.vanished {
        check.problem(vanished.finding());
    }
    let reader = BlobReader::with_index(repository, index);
    check.snapshots(&reader, &found.snapshots, &bad)?;
    Ok(Summary {
        snapshots: found.snapshots.len() as u64,
        packs: packs.len() as u64,
        blobs,
        bytes_read: check.bytes_read.into_inner(),
        problems: check.problems.into_inner(),
    })
}

/// Names the files that have lost something, as far as the index and the listing of packs tell; gives how many
/// complaints there were.
pub(crate) fn name_losses(
    repository: &Repository,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<u64> {
    let (problems, bytes_read) = (AtomicU64::new(0), AtomicU64::new(0));
    let check = Check { repository, reporter, interrupt, problems, bytes_read, condemned: HashSet::new() };
    let read = ReadObjects::read(repository)?;
    let listed = repository.backend().list(ObjectKind::Pack)?;
    let present: HashSet<Id> = listed.into_iter().map(|pack| pack.id).collect();
    let index = Index::build(&read, &|pack| present.contains(pack))?;
    let reader = BlobReader::with_index(repository, index);
    check.snapshots(&reader, &repository.snapshots()?.snapshots, &Bad::new())?;
    Ok(check.problems.into_inner())
}

struct Check<'a> {
    repository: &'a Repository,
    reporter: &'a dyn Reporter,
    interrupt: &'a Interrupt,
    problems: AtomicU64,
    bytes_read: AtomicU64,
    /// Packs that are to be deleted: what is wrong with them concerns nobody who has another copy.
    condemned: HashSet<Id>,
}

/// Blobs of which no whole copy is known.
pub(crate) type Bad = HashSet<(BlobKind, Id)>;

impl Check<'_> {
    fn problem(&self, finding: Finding) {
        self.problems.fetch_add(1, Ordering::Relaxed);
        self.reporter.report(finding);
    }

    /// Tells what is wrong with a pack: of one that is condemned, no more than that.
    fn pack_problem(&self, pack: &Id, cause: impl Into<String>) {
        let name = format!("pack {}", pack.short());
        if self.condemned.contains(pack) {
            let cause = format!("is to be deleted by the next prune, and {}", cause.into());
            self.reporter.report(Finding::warning(name, cause));
        } else {
            let next = "`strongroom repair packs` saves what is still whole in it";
            self.problem(Finding::problem(name, cause).with_hint(next));
        }
    }

    fn small_objects(&self) -> Result<()> {
        self.reporter.progress().set_stage("keys, sessions and marks");
        for (_, error) in self.repository.list_keys()?.1 {
            self.problem(Finding::problem("a key", error.chain()).with_hint(
                "whoever holds only this key is locked out: add a new one with `strongroom key add`",
            ));
        }
        for kind in [ObjectKind::Session, ObjectKind::Abandoned] {
            for id in self.repository.list_ids(kind)? {
                let read = match kind {
                    ObjectKind::Session => self.repository.read_session(&id).map(|_| ()),
                    _ => self.repository.read_abandoned(&id).map(|_| ()),
                };
                match read {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::Missing => {}
                    Err(error) => self.problem(Finding::problem(kind.folder(), error.chain())),
                }
            }
        }
        Ok(())
    }

    /// Holds the packs listed against the index, and reads them if asked; gives the blobs without a good copy, and
    /// how many places there are.
    fn packs(&self, index: &Index, listed: &[Listed], read_data: bool) -> Result<(Bad, u64)> {
        let sizes: HashMap<Id, u64> = listed.iter().map(|pack| (pack.id, pack.size)).collect();
        let mut good_packs = vec![true; index.packs().len()];
        for (pack, good) in index.packs().iter().zip(&mut good_packs) {
            match sizes.get(&pack.id) {
                None => {
                    *good = false;
                    let name = format!("pack {}", pack.id.short());
                    let cause = "is missing, and the index names blobs in it";
                    self.problem(Finding::problem(name, cause).with_hint(
                        "back up again to store what is still there; `strongroom repair --from` takes the rest \
                         from another repository, and `strongroom repair index` forgets the pack",
                    ));
                }
                Some(size) if *size != pack.size => {
                    *good = false;
                    self.pack_problem(
                        &pack.id,
                        format!("has {size} bytes where the index says {}", pack.size),
                    );
                }
                Some(_) => {}
            }
        }
        self.packs_without_index(index, listed)?;
        if !read_data {
            return without_good_copy(index, &|_, place| {
                at(&good_packs, place.pack).is_some_and(|good| *good)
            });
        }
        let opens = [Class::Metadata, Class::Data].map(|class| self.repository.keyring().opens(class));
        if opens.contains(&false) {
            let cause = "are checked by name and table only: opening them needs a full key";
            self.reporter.report(Finding::warning("the contents of files", cause));
        }
        let good = self.read_packs(index, &good_packs)?;
        without_good_copy(index, &|number, _| {
            at(&good, number).is_some_and(|good| good.load(Ordering::Relaxed))
        })
    }

    fn packs_without_index(&self, index: &Index, listed: &[Listed]) -> Result<()> {
        let named: HashSet<Id> = index.packs().iter().map(|pack| pack.id).collect();
        let mut whole = 0u64;
        let counts = |pack: &&Listed| !named.contains(&pack.id) && !self.condemned.contains(&pack.id);
        for pack in listed.iter().filter(counts) {
            self.interrupt.check()?;
            match read_unindexed_pack(self.repository, &pack.id) {
                Ok(_) => whole = whole.saturating_add(1),
                Err(error) => {
                    self.pack_problem(&pack.id, format!("is in no index, and {}", error.chain()));
                }
            }
        }
        if whole > 0 {
            let cause = "are in no index, as an interrupted backup leaves them; the next backup uses them";
            self.reporter.report(Finding::warning(format!("{whole} packs"), cause));
        }
        Ok(())
    }

    /// Reads all packs; gives for each number of a place whether its blob is good.
    fn read_packs(&self, index: &Index, good_packs: &[bool]) -> Result<Vec<AtomicBool>> {
        let total: u64 = index.packs().iter().map(|pack| pack.size).sum();
        self.reporter.progress().set_stage("reading packs");
        self.reporter.progress().set_total(index.packs().len() as u64, total);
        let good: Vec<AtomicBool> = (0..index.numbers()).map(|_| AtomicBool::new(false)).collect();
        let by_pack = PlacesByPack::new(index)?;
        let numbers: Vec<usize> = (0..index.packs().len()).collect();
        numbers.par_iter().try_for_each(|number| {
            self.interrupt.check()?;
            let Some(pack) = index.packs().get(*number) else { return Ok(()) };
            if !good_packs.get(*number).copied().unwrap_or(false) {
                return Ok(());
            }
            let numbers = by_pack.of(*number);
            let places = numbers.iter().map(|number| index.place(*number)).collect::<Result<Vec<Place>>>()?;
            let opened = |which: usize| {
                if let Some(slot) = numbers.get(which).and_then(|number| at(&good, *number)) {
                    slot.store(true, Ordering::Relaxed);
                }
            };
            if let Err(error) = self.read_pack(index, &pack.id, &places, &opened) {
                self.pack_problem(&pack.id, error.chain());
            }
            self.reporter.progress().add_files(1);
            self.reporter.progress().add_bytes(pack.size);
            Ok::<(), Error>(())
        })?;
        Ok(good)
    }

    /// Reads one pack whole; tells which of the places are good.
    fn read_pack(&self, index: &Index, id: &Id, places: &[Place], good: &dyn Fn(usize)) -> Result<()> {
        let reading = PackReading::read(self.repository, index, id, places)?;
        self.bytes_read.fetch_add(reading.bytes.len() as u64, Ordering::Relaxed);
        for (number, whole) in reading.whole.iter().enumerate() {
            if *whole {
                good(number);
            }
        }
        reading.verdict()
    }

    fn snapshots(&self, reader: &BlobReader<'_>, snapshots: &[Snapshot], bad: &Bad) -> Result<()> {
        self.reporter.progress().set_stage("walking the trees of snapshots");
        let mut checked_lists = HashMap::new();
        let mut alike: HashMap<Id, Vec<String>> = HashMap::new();
        for snapshot in snapshots {
            alike.entry(snapshot.root().id).or_default().push(snapshot.id.short());
        }
        for snapshot in snapshots {
            // The same tree again would only tell the same again: what is said is said of all of them.
            if let Some(names) = alike.remove(&snapshot.root().id) {
                let names = format!("snapshot {}", names.join(", "));
                self.snapshot(reader, snapshot, &names, bad, &mut checked_lists)?;
            }
        }
        Ok(())
    }

    fn snapshot(
        &self,
        reader: &BlobReader<'_>,
        snapshot: &Snapshot,
        name: &str,
        bad: &Bad,
        checked: &mut HashMap<Id, u64>,
    ) -> Result<()> {
        let mut tree = TreeReader::new(reader, snapshot.root());
        let mut named = 0u64;
        loop {
            self.interrupt.check()?;
            let entry = match tree.next_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => {
                    let cause = format!("its tree cannot be walked: {}", error.chain());
                    self.problem(Finding::problem(name, cause).with_hint(FILES_LOST));
                    break;
                }
            };
            if entry.node.kind != NodeKind::File {
                continue;
            }
            if let Err(error) = check_content(reader, &entry.node, bad, checked, self.interrupt) {
                self.interrupt.check()?;
                named = named.saturating_add(1);
                if named <= NAMED_MAX {
                    let subject = format!("{name}: /{}", printable(&entry.path));
                    let finding = Finding::problem(subject, error.chain());
                    self.problem(if named == 1 { finding.with_hint(FILES_LOST) } else { finding });
                }
            }
        }
        if named > NAMED_MAX {
            let more = named.saturating_sub(NAMED_MAX);
            self.problem(Finding::problem(name, format!("{more} more files cannot be restored whole")));
        }
        Ok(())
    }
}

/// Whether every chunk of a file has a good place and all are together as long as the file. Lists that were
/// checked once are not read again; `checked` keeps their lengths.
fn check_content(
    reader: &BlobReader<'_>,
    node: &Node,
    bad: &Bad,
    checked: &mut HashMap<Id, u64>,
    interrupt: &Interrupt,
) -> Result<()> {
    let too_long = || Error::corrupt("its chunks are not as long as the file");
    let index = reader.index()?;
    let empty = Content::default();
    let content = node.content.as_ref().unwrap_or(&empty);
    let known = match content {
        Content::List { root, .. } => checked.get(root).copied(),
        Content::Inline(_) => None,
    };
    let length = match known {
        Some(length) => length,
        None => {
            let mut length = 0u64;
            visit_chunks(reader, content, &mut |_, _| Ok(()), &mut |id| {
                let plain = index.plain_length(BlobKind::Chunk, id)?;
                let plain = plain.filter(|_| !bad.contains(&(BlobKind::Chunk, *id)));
                let plain =
                    plain.ok_or_else(|| Error::missing(format!("its chunk {} is lost", id.short())))?;
                length = length.saturating_add(u64::from(plain));
                // A hostile list can go on for billions of chunks.
                interrupt.check()?;
                if length > node.size { Err(too_long()) } else { Ok(u64::from(plain)) }
            })?;
            if let Content::List { root, .. } = content {
                checked.insert(*root, length);
            }
            length
        }
    };
    let holes: u64 = node.holes.iter().flatten().fold(0, |sum, hole| sum.saturating_add(hole.length));
    if length.saturating_add(holes) == node.size { Ok(()) } else { Err(too_long()) }
}
