//! What snapshots lack, and what lies whole in condemned packs that no index object names any more: a pack that could not be
//! read when it was condemned, and can be now, for a disk reads right again or somebody put its bytes back.
//!
//! Invariants: condemned is for good, so such a pack is never named again: what is needed of it is copied into new packs, as
//! a prune rescues it. A blob is copied only if it opens and is what its id names; the index that names the copies is stored
//! before this returns. One that its disk does not give whole stays in doubt while it may hold what snapshots lack, but what
//! can be read of it is copied.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::damage::unread::what_there_is;
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
    /// Packs that no index object names, that nobody condemned, and that the disk does not give.
    passed_over: Vec<(Id, Error)>,
}

/// What was copied out of condemned packs.
pub(super) struct Rescued {
    /// The blobs.
    pub(super) blobs: HashSet<Blob>,
    /// How many condemned packs may hold more, and cannot be had.
    pub(super) left: u64,
}

/// Copies what snapshots lack out of condemned packs; a session has to be announced. Tells of what it cannot copy.
pub(super) fn rescue(
    repository: &Repository,
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<Rescued> {
    let mover = BlobMover::new(repository);
    let buried = look(repository, Some(&mover), interrupt)?;
    mover.finish()?;
    for (pack, error) in &buried.unsure {
        let cause = format!("is condemned, may hold what snapshots lack, and is left: {}", error.chain());
        reporter.report(told(pack, cause, error));
    }
    for (pack, error) in &buried.passed_over {
        let cause = format!("is in no index, and is passed over: {}", error.chain());
        reporter.report(told(pack, cause, error));
    }
    Ok(Rescued { blobs: buried.blobs, left: buried.unsure.len() as u64 })
}

fn told(pack: &Id, cause: String, error: &Error) -> Finding {
    let finding = Finding::problem(format!("pack {}", pack.short()), cause);
    match error.next_step() {
        Some(step) => finding.with_hint(step.to_owned()),
        None => finding,
    }
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
    let mut buried = Buried::default();
    let adopted = adopted_tables(repository, &adopted, &mut buried.passed_over, interrupt)?;
    let known = || {
        let mut index = Index::build(&read, &|pack| present.contains(pack))?;
        index.extend(&adopted)?;
        Ok::<Index, Error>(index)
    };
    if !walk(repository, known()?, interrupt)?.lacks {
        return Ok(buried);
    }
    let tables = buried_tables(repository, &packs, &mut buried, interrupt)?;
    let mut wide = known()?;
    wide.extend(&tables)?;
    let packs: HashSet<Id> = packs.iter().map(|pack| pack.id).collect();
    let places = walk(repository, wide, interrupt)?.needed(&known()?, &packs)?;
    places.copy(repository, &listed, mover, &mut buried, interrupt)?;
    Ok(buried)
}

/// The tables of whole packs that no index object names and nobody condemned: what lies in them is not lacking.
fn adopted_tables(
    repository: &Repository,
    packs: &[Listed],
    unread: &mut Vec<(Id, Error)>,
    interrupt: &Interrupt,
) -> Result<Tables> {
    let mut tables = Vec::new();
    for pack in packs {
        interrupt.check()?;
        let name = ObjectName::new(ObjectKind::Pack, pack.id);
        match repository.read_listed_object(&name, || read_unindexed_pack(repository, &pack.id)) {
            Ok(table) => tables.push(indexed(pack.id, pack.size, table)),
            Err(error) if is_loss(&error) => {}
            // What only it holds counts as lacking, and is copied again where it can be: that does no harm.
            Err(error) if error.kind() == ErrorKind::Unread => unread.push((pack.id, error)),
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
        let Bytes { bytes, unread } = match bytes_of(repository, pack) {
            Ok(bytes) => bytes,
            Err(error) if is_loss(&error) => continue,
            Err(error) => {
                buried.unsure.push((pack.id, error));
                continue;
            }
        };
        match (table_of_damaged(repository, &bytes), unread) {
            (Ok((table, _)), _) => tables.push(indexed(pack.id, bytes.len() as u64, table)),
            // What it held may be needed: nobody can say.
            (Err(_), Some(error)) => buried.unsure.push((pack.id, error)),
            (Err(_), None) => {}
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
        listed: &[Listed],
        mover: Option<&BlobMover<'_>>,
        buried: &mut Buried,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let mut buffers = OpenBuffers::default();
        for (pack, places) in &self.places {
            interrupt.check()?;
            let Some(listed) = listed.iter().find(|listed| listed.id == *pack) else { continue };
            let Bytes { bytes, mut unread } = match bytes_of(repository, listed) {
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
                let (kind, id, plain_length) = (place.kind, place.id, place.plain_length);
                let keyring = repository.keyring();
                let whole = frame(place, &bytes).ok().filter(|frame| {
                    open_frame(keyring, key, kind, &id, plain_length, frame, &mut buffers).is_ok()
                });
                let Some(frame) = whole else {
                    // A disk that does not give it now may give it tomorrow.
                    buried.unsure.extend(unread.take().map(|error| (*pack, error)));
                    continue;
                };
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

/// What there is of a pack.
struct Bytes {
    bytes: Vec<u8>,
    /// Why they are not all, where its disk does not give them.
    unread: Option<Error>,
}

/// The bytes of a condemned pack; where its disk does not give them all, what it gives, with zeros for the rest.
fn bytes_of(repository: &Repository, pack: &Listed) -> Result<Bytes> {
    let name = ObjectName::new(ObjectKind::Pack, pack.id);
    match repository.read_listed_object(&name, || repository.backend().get(&name, limits::PACK_MAX)) {
        Ok(bytes) => Ok(Bytes { bytes, unread: None }),
        Err(error) if error.kind() == ErrorKind::Unread => {
            let bytes = what_there_is(repository, &pack.id, pack.size)?;
            Ok(Bytes { bytes, unread: Some(error.hint(way_past(&name))) })
        }
        Err(error) => Err(error),
    }
}

/// What ends the doubt about a condemned pack that its disk does not give.
fn way_past(name: &ObjectName) -> String {
    format!(
        "put a copy in its place, made with ddrescue or taken from a copy of the repository, and run `strongroom repair \
         packs`; or move {name} out of the repository once no backup, prune or repair runs"
    )
}

fn is_loss(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt | ErrorKind::Unsupported)
}
