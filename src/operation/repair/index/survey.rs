//! What index and packs are there, for whoever repairs the index.
//!
//! Invariant: the packs are listed after the index was read, and one that the listing leaves out is asked for by name before
//! it counts as gone.

use std::collections::{HashMap, HashSet};

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::backend::{ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;
use crate::operation::doubt::Absent;
use crate::repository::Repository;
use crate::repository::index::read_listed;

/// How often the index may change while it is read.
const READS_MAX: usize = 10;

/// What index and packs were found, the packs listed last.
pub(super) struct Survey {
    /// The packs that each readable object names.
    pub(super) objects: HashMap<Id, Vec<(Id, u64)>>,
    pub(super) damaged: Vec<(Id, Error)>,
    pub(super) unknown: Vec<(Id, Error)>,
    /// Packs and their sizes.
    pub(super) present: HashMap<Id, u64>,
}

impl Survey {
    pub(super) fn read(repository: &Repository) -> Result<Self> {
        for _ in 0..READS_MAX {
            if let Some(survey) = Self::try_read(repository)? {
                return Ok(survey);
            }
        }
        Err(Error::new(ErrorKind::Busy, "the repository's index keeps changing").hint("try again in a while"))
    }

    /// Nothing where an object vanished while it was read: what it named may stand in a new one.
    fn try_read(repository: &Repository) -> Result<Option<Self>> {
        let listed = repository.list_ids(ObjectKind::Index)?;
        let read: Vec<_> = listed
            .par_iter()
            .map(|id| {
                let object = read_listed(repository, id);
                (*id, object.map(|object| object.packs.iter().map(|pack| (pack.id, pack.size)).collect()))
            })
            .collect();
        let (mut damaged, mut unknown) = (Vec::new(), Vec::new());
        let mut objects: HashMap<Id, Vec<(Id, u64)>> = HashMap::new();
        for (id, object) in read {
            match object {
                Ok(packs) => {
                    objects.insert(id, packs);
                }
                Err(error) => match error.kind() {
                    ErrorKind::Missing => return Ok(None),
                    ErrorKind::Corrupt => damaged.push((id, error)),
                    ErrorKind::Unsupported | ErrorKind::Unread => unknown.push((id, error)),
                    _ => return Err(error),
                },
            }
        }
        let packs = repository.list_agreed(ObjectKind::Pack)?;
        let mut present: HashMap<Id, u64> = packs.into_iter().map(|pack| (pack.id, pack.size)).collect();
        // A listing that leaves a pack out must not take its name out of the index: it is asked for by name.
        for (pack, _) in objects.values().flatten() {
            if !present.contains_key(pack) {
                match repository.backend().size(&ObjectName::new(ObjectKind::Pack, *pack)) {
                    Ok(size) => {
                        present.insert(*pack, size);
                    }
                    Err(error) if error.kind() == ErrorKind::Missing => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Some(Self { objects, damaged, unknown, present }))
    }

    /// Refuses to go on where so many packs are gone that it is doubted: it is the index that knows what lay in them.
    pub(super) fn refuse_if_most_are_gone(&self, condemned: &HashSet<Id>) -> Result<()> {
        let is_gone = |pack: &Id| !self.present.contains_key(pack) && !condemned.contains(pack);
        let objects = self.objects.values().map(|packs| packs.iter().map(|(pack, _)| pack));
        let mut gone = Absent::count(objects, &is_gone, self.present.len());
        if gone.there == 0 {
            // What a damaged object names is not known: some pack, at least.
            gone.gone = gone.gone.max(self.damaged.len());
        }
        gone.refuse_if_doubted()
    }
}
