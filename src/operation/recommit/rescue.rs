//! What a snapshot that is to come back needs out of packs that a prune has condemned and not deleted yet: copied into new
//! packs, for condemned is for good.
//!
//! Follows `format-spec/11-ordering.md#forgetting`. Invariants: the session is announced before, and the look by which the
//! snapshot is committed comes after, so that a copy which a prune condemns as well is seen to be. A pack is read whole,
//! and its own table has to confirm each blob. What is gone meanwhile, or damaged, is not copied, and the look tells.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::backend::ObjectKind;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::operation::prune::confirm::OpenedPack;
use crate::operation::prune::survey::each_blob;
use crate::repository::Repository;
use crate::repository::index::{Index, PackInfo, Place, ReadObjects};
use crate::repository::mover::{BlobMover, SealedBlob};
use crate::repository::reach::Reach;
use crate::repository::reader::BlobReader;
use crate::repository::session::{self, Announced, Usable};
use crate::repository::snapshot::Snapshot;

/// What lies in the store, as one listing showed it.
struct Stored {
    read: ReadObjects,
    sizes: HashMap<Id, u64>,
    condemned: HashSet<Id>,
}

impl Stored {
    fn look(repository: &Repository) -> Result<Self> {
        let condemned = session::condemned(repository)?;
        let read = ReadObjects::read(repository)?;
        let listed = repository.backend().list(ObjectKind::Pack)?;
        let sizes = listed.into_iter().map(|listed| (listed.id, listed.size)).collect();
        Ok(Self { read, sizes, condemned })
    }

    /// The index over every pack that is there, condemned or not.
    fn index(&self) -> Result<Index> {
        Index::build(&self.read, &|pack| self.sizes.contains_key(pack))
    }

    /// Where needed blobs lie that lie in condemned packs only, by pack.
    fn homeless(&self, index: &Index, reach: &Reach<'_>) -> Result<BTreeMap<Id, Vec<Place>>> {
        let mut by_pack: BTreeMap<Id, Vec<Place>> = BTreeMap::new();
        let is_condemned = |pack: &PackInfo| self.condemned.contains(&pack.id);
        let is_home = |pack: &PackInfo| !is_condemned(pack) && self.sizes.get(&pack.id) == Some(&pack.size);
        each_blob(index, |places| {
            let needed = places.iter().any(|(number, _)| reach.contains(*number));
            let packs = || places.iter().filter_map(|(_, place)| Some((index.pack(place).ok()?, *place)));
            if needed && !packs().any(|(pack, _)| is_home(pack)) {
                for (pack, place) in packs().filter(|(pack, _)| is_condemned(pack)) {
                    by_pack.entry(pack.id).or_default().push(place);
                }
            }
        })?;
        Ok(by_pack)
    }
}

/// What may be referred to once it is copied: all that is there.
pub(super) fn usable_with_condemned(repository: &Repository) -> Result<Usable> {
    let mut usable = session::usable(repository)?;
    let stored = Stored::look(repository)?;
    if !stored.condemned.is_empty() {
        usable.index = stored.index()?;
        usable.index.extend(&usable.adopted)?;
    }
    Ok(usable)
}

/// Copies what these snapshots need and what lies in condemned packs only, in the name of a session.
pub(super) fn rescue(
    repository: &Repository,
    session: &Announced,
    snapshots: &[Snapshot],
    interrupt: &Interrupt,
) -> Result<()> {
    let stored = Stored::look(repository)?;
    if stored.condemned.is_empty() {
        return Ok(());
    }
    let (index, reader) = (stored.index()?, BlobReader::with_index(repository, stored.index()?));
    let reach = Reach::new(&index);
    // What of them is lost, the look that follows tells.
    reach.walk(&reader, snapshots.iter().map(Snapshot::root), interrupt)?;
    let homeless = stored.homeless(&index, &reach)?;
    if homeless.is_empty() {
        return Ok(());
    }
    let mover = BlobMover::new(repository);
    for (pack, mut places) in homeless {
        interrupt.check()?;
        places.sort_by_key(|place| place.offset);
        move_out(repository, &index, &mover, &pack, &places)?;
    }
    session.check()?;
    mover.finish().map(|_| ())
}

fn move_out(
    repository: &Repository,
    index: &Index,
    mover: &BlobMover<'_>,
    pack: &Id,
    places: &[Place],
) -> Result<()> {
    let opened = match OpenedPack::read(repository, pack) {
        Err(error) if is_loss(&error) => return Ok(()),
        read => read?,
    };
    for place in places {
        let envelope = index.envelope(place)?;
        if let Some(frame) = opened.frame(place, &envelope) {
            let Place { kind, id, plain_length, .. } = *place;
            mover.add(&SealedBlob { kind, id, plain_length, envelope: &envelope, frame })?;
        }
    }
    Ok(())
}

fn is_loss(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt | ErrorKind::Unsupported)
}
