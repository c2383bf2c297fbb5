//! Check: is everything there that the snapshots need, and is it what it should be?
//!
//! Without reading data: every small object opens, every pack that an index names is listed with its size, every
//! tree can be walked, and every chunk has a place. With it: every pack is read whole, its name, table and each
//! blob are checked, and files are named that suffer.
//!
//! Invariant: nothing is changed. Damage is a finding, never the end of the check.

pub(crate) mod places;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::backend::{Listed, ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::{BlobKind, Class};
use crate::format::key_slot::Role;
use crate::format::node::{Content, Node, NodeKind};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::limits;
use crate::report::{Finding, Reporter, printable};
use crate::repository::Repository;
use crate::repository::blob::{OpenBuffers, open_frame};
use crate::repository::content::visit_chunks;
use crate::repository::index::{Index, Place, ReadObjects, open_pack, read_unindexed_pack};
use crate::repository::reader::BlobReader;
use crate::repository::snapshot::Snapshot;
use crate::repository::tree::TreeReader;

use places::{PlacesByPack, at, without_good_copy};

/// What to do about a pack that is gone.
const PACK_GONE: &str =
    "bring it back from a copy of the repository; else `strongroom repair index` forgets it";
/// What to do about a pack that is not what it was.
const PACK_DAMAGED: &str = "`strongroom repair packs` saves what of it is whole";
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
    let check = Check { repository, reporter, interrupt, problems, bytes_read };
    check.small_objects()?;
    // Every object is opened: what a copy on this computer says of one proves nothing about it.
    let read = ReadObjects::read_afresh(repository)?;
    let index = Index::build(&read, &|_| true)?;
    for (_, error) in &read.damaged {
        check.problem(
            Finding::problem("the index", error.chain())
                .with_hint("the packs still hold what it named: `strongroom repair index` names them again"),
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

struct Check<'a> {
    repository: &'a Repository,
    reporter: &'a dyn Reporter,
    interrupt: &'a Interrupt,
    problems: AtomicU64,
    bytes_read: AtomicU64,
}

/// Blobs of which no whole copy is known.
pub(crate) type Bad = HashSet<(BlobKind, Id)>;

impl Check<'_> {
    fn problem(&self, finding: Finding) {
        self.problems.fetch_add(1, Ordering::Relaxed);
        self.reporter.report(finding);
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
        if let Err(error) = crate::repository::session::condemned(self.repository) {
            self.problem(Finding::problem("a prune's record", error.chain()));
        }
        Ok(())
    }

    /// Holds the packs listed against the index, and reads them if asked; gives the blobs without a good copy, and
    /// how many places there are.
    fn packs(&self, index: &Index, listed: &[Listed], read_data: bool) -> Result<(Bad, u64)> {
        let sizes: HashMap<Id, u64> = listed.iter().map(|pack| (pack.id, pack.size)).collect();
        let mut good_packs = vec![true; index.packs().len()];
        for (pack, good) in index.packs().iter().zip(&mut good_packs) {
            let name = format!("pack {}", pack.id.short());
            match sizes.get(&pack.id) {
                None => {
                    *good = false;
                    let finding = Finding::problem(name, "is missing, and the index names blobs in it");
                    self.problem(finding.with_hint(PACK_GONE));
                }
                Some(size) if *size != pack.size => {
                    *good = false;
                    let cause = format!("has {size} bytes where the index says {}", pack.size);
                    self.problem(Finding::problem(name, cause).with_hint(PACK_DAMAGED));
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
        for pack in listed.iter().filter(|pack| !named.contains(&pack.id)) {
            self.interrupt.check()?;
            match read_unindexed_pack(self.repository, &pack.id) {
                Ok(_) => whole = whole.saturating_add(1),
                Err(error) => {
                    let name = format!("pack {}", pack.id.short());
                    self.problem(Finding::problem(name, format!("is in no index, and {}", error.chain())));
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
                let name = format!("pack {}", pack.id.short());
                self.problem(Finding::problem(name, error.chain()).with_hint(PACK_DAMAGED));
            }
            self.reporter.progress().add_files(1);
            self.reporter.progress().add_bytes(pack.size);
            Ok::<(), Error>(())
        })?;
        Ok(good)
    }

    /// Reads one pack whole: its name, its table, and each blob; tells which of the places are good.
    fn read_pack(&self, index: &Index, id: &Id, places: &[Place], good: &dyn Fn(usize)) -> Result<()> {
        let bytes =
            self.repository.backend().get(&ObjectName::new(ObjectKind::Pack, *id), limits::PACK_MAX)?;
        self.bytes_read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let mut first = self.check_table(id, &bytes, places).err();
        let mut lost = 0u64;
        let mut buffers = OpenBuffers::default();
        for (number, place) in places.iter().enumerate() {
            if !self.repository.keyring().opens(place.kind.class()) {
                if first.is_none() {
                    good(number);
                }
                continue;
            }
            match self.open(index, place, &bytes, &mut buffers) {
                Ok(()) => good(number),
                Err(error) => {
                    lost = lost.saturating_add(1);
                    first = Some(first.take().unwrap_or(error));
                }
            }
        }
        match first {
            None => Ok(()),
            Some(error) if lost == 0 => Err(error.context("is damaged, though every blob in it is whole")),
            Some(error) => {
                Err(error.context(format!("is damaged: {lost} of its {} blobs are lost", places.len())))
            }
        }
    }

    fn open(&self, index: &Index, place: &Place, bytes: &[u8], buffers: &mut OpenBuffers) -> Result<()> {
        let start = usize::try_from(place.offset).unwrap_or(usize::MAX);
        let length = usize::try_from(place.stored_length).unwrap_or(usize::MAX);
        let frame = bytes
            .get(start..start.saturating_add(length))
            .ok_or_else(|| Error::corrupt("the pack is shorter than the index says"))?;
        let key = index.content_key(self.repository, place)?;
        let keyring = self.repository.keyring();
        open_frame(keyring, key, place.kind, &place.id, place.plain_length, frame, buffers).map(|_| ())
    }

    fn check_table(&self, id: &Id, bytes: &[u8], places: &[Place]) -> Result<()> {
        let table = open_pack(self.repository, id, bytes)?;
        let mut named: Vec<(Id, u32)> =
            table.entries.iter().map(|entry| (entry.id, entry.stored_length)).collect();
        let mut indexed: Vec<(Id, u32)> =
            places.iter().map(|place| (place.id, place.stored_length)).collect();
        named.sort_unstable();
        indexed.sort_unstable();
        if named == indexed { Ok(()) } else { Err(Error::corrupt("its table and the index do not agree")) }
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
