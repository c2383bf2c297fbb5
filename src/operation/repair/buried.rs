//! What snapshots lack, and what lies whole in condemned packs that no index object names any more: a pack that could not be
//! read when it was condemned, and can be now, for a disk reads right again or somebody put its bytes back.
//!
//! Invariants: condemned is for good, so such a pack is never named again: what is needed of it is copied into new packs, as
//! a prune rescues it. A blob is copied only if it opens and is what its id names; the index that names the copies is stored
//! before this returns.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::backend::{Listed, ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::index::IndexedPack;
use crate::format::pack::Envelope;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::limits;
use crate::operation::check::pack::frame;
use crate::report::{Finding, Reporter};
use crate::repository::Repository;
use crate::repository::blob::{OpenBuffers, open_frame};
use crate::repository::index::{Index, Place, ReadObjects, indexed, read_unindexed_pack, table_of_damaged};
use crate::repository::mover::{BlobMover, SealedBlob};
use crate::repository::reach::Reach;
use crate::repository::reader::BlobReader;
use crate::repository::session;
use crate::repository::snapshot::Snapshot;

/// A blob.
type Blob = (BlobKind, Id);
/// Packs, as their own tables have them.
type Tables = Vec<(IndexedPack, Vec<Envelope>)>;

/// What lies there.
#[derive(Default)]
pub(super) struct Buried {
    /// Blobs that were, or can be, copied.
    pub(super) blobs: HashSet<Blob>,
    /// Why it is not known of some whether they can be.
    pub(super) unsure: Vec<(Id, Error)>,
}

impl Buried {
    /// Whether anything that is needed lies there, or may.
    pub(super) fn may_hold_any(&self) -> bool {
        !self.blobs.is_empty() || !self.unsure.is_empty()
    }
}

/// Copies what snapshots lack out of condemned packs; a session has to be announced. Tells of what it cannot copy.
pub(super) fn rescue(
    repository: &Repository,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<HashSet<Blob>> {
    let mover = BlobMover::new(repository);
    let buried = look(repository, Some(&mover), interrupt)?;
    mover.finish()?;
    for (pack, error) in &buried.unsure {
        let cause = format!("is condemned, holds what snapshots lack, and is left: {}", error.chain());
        let finding = Finding::problem(format!("pack {}", pack.short()), cause);
        reporter.report(match error.next_step() {
            Some(step) => finding.with_hint(step.to_owned()),
            None => finding,
        });
    }
    Ok(buried.blobs)
}

/// Says what could be copied. Stores nothing.
pub(super) fn find(repository: &Repository, interrupt: &Interrupt) -> Result<Buried> {
    look(repository, None, interrupt)
}

fn look(repository: &Repository, mover: Option<&BlobMover<'_>>, interrupt: &Interrupt) -> Result<Buried> {
    // In the order in which whoever writes looks: records, then the index, then packs.
    let condemned = session::condemned(repository)?;
    if condemned.is_empty() {
        return Ok(Buried::default());
    }
    let read = ReadObjects::read(repository)?;
    let named: HashSet<Id> = read.packs().collect();
    let listed = repository.backend().list(ObjectKind::Pack)?;
    let present: HashSet<Id> = listed.iter().map(|pack| pack.id).collect();
    let unnamed = listed.iter().filter(|pack| !named.contains(&pack.id));
    let (packs, adopted): (Vec<Listed>, Vec<Listed>) =
        unnamed.copied().partition(|pack| condemned.contains(&pack.id));
    if packs.is_empty() {
        return Ok(Buried::default());
    }
    let adopted = adopted_tables(repository, &adopted, interrupt)?;
    let known = || {
        let mut index = Index::build(&read, &|pack| present.contains(pack))?;
        index.extend(&adopted)?;
        Ok::<Index, Error>(index)
    };
    if !walk(repository, known()?, interrupt)?.lacks {
        return Ok(Buried::default());
    }
    let mut buried = Buried::default();
    let tables = buried_tables(repository, &packs, &mut buried, interrupt)?;
    let mut wide = known()?;
    wide.extend(&tables)?;
    let packs: HashSet<Id> = packs.iter().map(|pack| pack.id).collect();
    let places = walk(repository, wide, interrupt)?.needed(&known()?, &packs)?;
    places.copy(repository, mover, &mut buried, interrupt)?;
    Ok(buried)
}

/// The tables of whole packs that no index object names and nobody condemned: what lies in them is not lacking.
fn adopted_tables(repository: &Repository, packs: &[Listed], interrupt: &Interrupt) -> Result<Tables> {
    let mut tables = Vec::new();
    for pack in packs {
        interrupt.check()?;
        match read_unindexed_pack(repository, &pack.id) {
            Ok(table) => tables.push(indexed(pack.id, pack.size, table)),
            Err(error) if is_loss(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(tables)
}

/// The tables of condemned packs, damaged ones included: each blob is proved on its own.
fn buried_tables(
    repository: &Repository,
    packs: &[Listed],
    buried: &mut Buried,
    interrupt: &Interrupt,
) -> Result<Tables> {
    let mut tables = Vec::new();
    for pack in packs {
        interrupt.check()?;
        let bytes = match bytes_of(repository, &pack.id) {
            Ok(bytes) => bytes,
            Err(error) if is_loss(&error) => continue,
            Err(error) => {
                buried.unsure.push((pack.id, error));
                continue;
            }
        };
        if let Ok((table, _)) = table_of_damaged(repository, &bytes) {
            tables.push(indexed(pack.id, bytes.len() as u64, table));
        }
    }
    Ok(tables)
}

/// What snapshots need of an index.
struct Walked {
    index: Arc<Index>,
    needed: HashSet<Blob>,
    lacks: bool,
}

fn walk(repository: &Repository, index: Index, interrupt: &Interrupt) -> Result<Walked> {
    let reader = BlobReader::with_index(repository, index);
    let index = reader.index()?;
    let snapshots = repository.snapshots()?.snapshots;
    let reach = Reach::new(&index);
    let lost = reach.walk(&reader, snapshots.iter().map(Snapshot::root), interrupt)?;
    let mut needed = HashSet::new();
    for place in index.all() {
        let (number, place) = place?;
        if reach.contains(number) {
            needed.insert((place.kind, place.id));
        }
    }
    drop(reach);
    Ok(Walked { index, needed, lacks: !lost.is_empty() })
}

impl Walked {
    /// Where what is needed lies that only condemned packs hold.
    fn needed(self, known: &Index, packs: &HashSet<Id>) -> Result<Places> {
        let mut places: BTreeMap<Id, Vec<Place>> = BTreeMap::new();
        let mut known_blobs: HashMap<Blob, bool> = HashMap::new();
        for place in self.index.all() {
            let (_, place) = place?;
            let (blob, pack) = ((place.kind, place.id), self.index.pack(&place)?.id);
            if !packs.contains(&pack) || !self.needed.contains(&blob) {
                continue;
            }
            let is_known = match known_blobs.get(&blob) {
                Some(known) => *known,
                None => known.contains(place.kind, &place.id)?,
            };
            known_blobs.insert(blob, is_known);
            if !is_known {
                places.entry(pack).or_default().push(place);
            }
        }
        Ok(Places { index: self.index, places })
    }
}

/// Places in condemned packs, by pack.
struct Places {
    index: Arc<Index>,
    places: BTreeMap<Id, Vec<Place>>,
}

impl Places {
    /// Hands on each blob that opens, once.
    fn copy(
        &self,
        repository: &Repository,
        mover: Option<&BlobMover<'_>>,
        buried: &mut Buried,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let mut buffers = OpenBuffers::default();
        for (pack, places) in &self.places {
            interrupt.check()?;
            let bytes = match bytes_of(repository, pack) {
                Ok(bytes) => bytes,
                // A prune deleted it.
                Err(error) if is_loss(&error) => continue,
                Err(error) => {
                    buried.unsure.push((*pack, error));
                    continue;
                }
            };
            for place in places {
                if buried.blobs.contains(&(place.kind, place.id)) {
                    continue;
                }
                let key = match self.index.content_key(repository, place) {
                    Ok(key) => key,
                    Err(error) if error.kind() == ErrorKind::RoleNotAllowed => {
                        buried.unsure.push((*pack, error));
                        break;
                    }
                    Err(_) => continue,
                };
                let Ok(frame) = frame(place, &bytes) else { continue };
                let (kind, id, plain_length) = (place.kind, place.id, place.plain_length);
                let keyring = repository.keyring();
                if open_frame(keyring, key, kind, &id, plain_length, frame, &mut buffers).is_err() {
                    continue;
                }
                if let Some(mover) = mover {
                    let envelope = &self.index.envelope(place)?;
                    mover.add(&SealedBlob { kind, id, plain_length, envelope, frame })?;
                }
                buried.blobs.insert((kind, id));
            }
        }
        Ok(())
    }
}

fn bytes_of(repository: &Repository, pack: &Id) -> Result<Vec<u8>> {
    repository.backend().get(&ObjectName::new(ObjectKind::Pack, *pack), limits::PACK_MAX)
}

fn is_loss(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt | ErrorKind::Unsupported)
}
