//! What is stored, as one look showed it: records of prunes, then the index, then the packs.

use std::collections::{HashMap, HashSet};

use super::Bad;
use super::faults::{Fault, Mend};
use super::pack::PackReading;
use super::suffer::{Blob, is_trouble};
use crate::backend::{Listed, ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::limits;
use crate::repository::Repository;
use crate::repository::index::{Index, Place, ReadObjects, indexed, read_unindexed_pack, table_of_damaged};
use crate::repository::session;

/// What one look showed.
pub(super) struct Look {
    /// Packs that are to be deleted, and why that is not known where it is not.
    pub(super) condemned: HashSet<Id>,
    pub(super) condemned_fault: Option<Error>,
    pub(super) read: ReadObjects,
    pub(super) index: Index,
    pub(super) listed: Vec<Listed>,
    /// Packs that the index names and that are neither listed nor there.
    pub(super) missing: Vec<Id>,
}

/// Packs that no index object names.
#[derive(Default)]
pub(super) struct Unnamed {
    /// Whole ones.
    pub(super) whole: HashSet<Id>,
    /// Condemned ones, where these were asked for, as far as their tables can be read.
    pub(super) condemned: HashSet<Id>,
    /// An index that names them, too.
    pub(super) index: Option<Index>,
    /// Of condemned ones, the blobs that are not whole there.
    pub(super) not_whole: HashMap<Id, HashSet<Blob>>,
    /// Blobs of that index of which no whole copy is known.
    pub(super) bad: Option<Bad>,
    /// What is wrong with others.
    pub(super) faults: Vec<Fault>,
}

impl Look {
    /// Every object is opened: what a copy on this computer says of one proves nothing about it.
    pub(super) fn take(repository: &Repository) -> Result<Self> {
        let (condemned, condemned_fault) = match session::condemned(repository) {
            Ok(condemned) => (condemned, None),
            Err(error) => (HashSet::new(), Some(error)),
        };
        let read = ReadObjects::read_afresh(repository)?;
        let index = Index::build(&read, &|_| true)?;
        let listed = repository.backend().list(ObjectKind::Pack)?;
        let there: HashSet<Id> = listed.iter().map(|pack| pack.id).collect();
        let named: HashSet<Id> = index.packs().iter().map(|pack| pack.id).collect();
        let mut missing = Vec::new();
        for pack in named.into_iter().filter(|pack| !there.contains(pack)) {
            match repository.backend().size(&ObjectName::new(ObjectKind::Pack, pack)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Missing => missing.push(pack),
                Err(error) => return Err(error),
            }
        }
        missing.sort_unstable();
        Ok(Self { condemned, condemned_fault, read, index, listed, missing })
    }

    /// The size of each pack that is listed.
    pub(super) fn sizes(&self) -> HashMap<Id, u64> {
        self.listed.iter().map(|pack| (pack.id, pack.size)).collect()
    }

    /// Packs whose size is not what an index object says.
    pub(super) fn other_sizes(&self) -> Vec<(Id, u64, u64)> {
        let sizes = self.sizes();
        let other = |pack: &crate::repository::index::PackInfo| {
            let size = *sizes.get(&pack.id)?;
            (size != pack.size).then_some((pack.id, size, pack.size))
        };
        self.index.packs().iter().filter_map(other).collect()
    }

    /// Packs that the index names and that are gone, though nobody condemned them.
    pub(super) fn gone(&self) -> HashSet<Id> {
        self.missing.iter().filter(|pack| !self.condemned.contains(pack)).copied().collect()
    }

    /// Packs that are there and count: an index object names them, or nobody condemned them.
    pub(super) fn counted(&self) -> HashSet<Id> {
        let named: HashSet<Id> = self.index.packs().iter().map(|pack| pack.id).collect();
        let ids = self.listed.iter().map(|pack| pack.id);
        ids.filter(|pack| named.contains(pack) || !self.condemned.contains(pack)).collect()
    }

    /// Packs that no index object names; those that are condemned, or the others.
    fn not_named(&self, condemned: bool) -> Vec<Listed> {
        let named: HashSet<Id> = self.index.packs().iter().map(|pack| pack.id).collect();
        let wanted =
            |pack: &&Listed| !named.contains(&pack.id) && self.condemned.contains(&pack.id) == condemned;
        self.listed.iter().filter(wanted).copied().collect()
    }

    /// Whether there are condemned packs that no index object names.
    pub(super) fn has_buried(&self) -> bool {
        !self.not_named(true).is_empty()
    }

    /// Reads the packs that no index object names, as an interrupted backup leaves them, or an index that lost an object;
    /// those that are condemned only where something is lost that may lie in them.
    pub(super) fn unnamed(
        &self,
        repository: &Repository,
        buried: bool,
        interrupt: &Interrupt,
    ) -> Result<Unnamed> {
        let mut unnamed = Unnamed::default();
        let mut tables = Vec::new();
        for pack in self.not_named(false) {
            interrupt.check()?;
            let name = ObjectName::new(ObjectKind::Pack, pack.id);
            match repository.read_listed_object(&name, || read_unindexed_pack(repository, &pack.id)) {
                Ok(table) => {
                    unnamed.whole.insert(pack.id);
                    tables.push(indexed(pack.id, pack.size, table));
                }
                // A prune deleted it since it was listed.
                Err(error) if error.kind() == ErrorKind::Missing => {}
                Err(error) => unnamed.faults.push(self.unnamed_fault(repository, &pack.id, &error)),
            }
        }
        for pack in if buried { self.not_named(true) } else { Vec::new() } {
            interrupt.check()?;
            let name = ObjectName::new(ObjectKind::Pack, pack.id);
            let bytes = match repository.read_listed_object(&name, || bytes_of(repository, &pack.id)) {
                Err(error) if error.kind() == ErrorKind::Unread => {
                    unnamed.faults.push(buried_fault(&name, &error));
                    continue;
                }
                Err(error) if is_trouble(&error) => return Err(error),
                read => read.unwrap_or_default(),
            };
            if let Ok((table, _)) = table_of_damaged(repository, &bytes) {
                unnamed.condemned.insert(pack.id);
                tables.push(indexed(pack.id, pack.size, table));
            }
        }
        if !tables.is_empty() {
            let mut index = Index::build(&self.read, &|_| true)?;
            index.extend(&tables)?;
            unnamed.not_whole = not_whole(repository, &index, &unnamed.condemned)?;
            unnamed.index = Some(index);
        }
        Ok(unnamed)
    }

    fn unnamed_fault(&self, repository: &Repository, pack: &Id, error: &Error) -> Fault {
        let mend = if Mend::of_pack(error) != Mend::Pack {
            Mend::of_pack(error)
        } else if self.read.damaged.is_empty() || has_table(repository, pack) {
            Mend::Pack
        } else {
            // An index object that cannot be read may be all that knows what it held, and may be brought back.
            Mend::GiveUpPack
        };
        let mut fault = Fault::new(pack, error, mend);
        fault.cause = format!("is in no index, and {}", fault.cause);
        fault.unknown = true;
        fault
    }
}

/// Of each pack, the blobs that its table names and that do not open: nobody can take them out of it. One that another key
/// opens is left in doubt.
fn not_whole(
    repository: &Repository,
    index: &Index,
    packs: &HashSet<Id>,
) -> Result<HashMap<Id, HashSet<Blob>>> {
    let mut places: HashMap<Id, Vec<Place>> = HashMap::new();
    for place in if packs.is_empty() { None } else { Some(index.all()) }.into_iter().flatten() {
        let (_, place) = place?;
        let pack = index.pack(&place)?.id;
        if packs.contains(&pack) && repository.keyring().opens(place.kind.class()) {
            places.entry(pack).or_default().push(place);
        }
    }
    let mut not_whole = HashMap::new();
    for (pack, places) in places {
        // A prune may have deleted it: then what lies in it is not whole there, either.
        let whole = match PackReading::read(repository, index, &pack, &places) {
            Ok(reading) => reading.whole,
            Err(error) if is_trouble(&error) => return Err(error),
            Err(_) => Vec::new(),
        };
        let whole = whole.into_iter().chain(std::iter::repeat(false));
        let lost = places.iter().zip(whole).filter(|(_, whole)| !whole);
        not_whole.insert(pack, lost.map(|(place, _)| (place.kind, place.id)).collect());
    }
    Ok(not_whole)
}

/// A condemned pack that its disk does not give, while something is lost that may lie in it.
fn buried_fault(name: &ObjectName, error: &Error) -> Fault {
    let mut fault = Fault::new(&name.id, error, Mend::None);
    let cause = fault.cause;
    fault.cause = format!("is condemned, may hold what snapshots lack, and cannot be had: {cause}");
    fault.hint = Some(format!(
        "put a copy in its place, made with ddrescue or taken from a copy of the repository, and run `strongroom repair \
         packs`; or move {name} out of the repository once no backup, prune or repair runs"
    ));
    fault.unknown = true;
    fault
}

fn has_table(repository: &Repository, pack: &Id) -> bool {
    bytes_of(repository, pack).is_ok_and(|bytes| table_of_damaged(repository, &bytes).is_ok())
}

fn bytes_of(repository: &Repository, pack: &Id) -> Result<Vec<u8>> {
    repository.backend().get(&ObjectName::new(ObjectKind::Pack, *pack), limits::PACK_MAX)
}
