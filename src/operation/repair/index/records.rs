//! What an index says of one pack: as an index object has it, and as the pack's own table does.
//!
//! Invariant: two records of one pack are compared by all that a reader takes from them, whatever order their envelopes
//! stand in.

use std::collections::{HashMap, HashSet, VecDeque};

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use crate::backend::{ObjectKind, ObjectName};
use crate::crypto::derive;
use crate::error::{Error, Result};
use crate::format::index::IndexedPack;
use crate::format::pack::{Envelope, encode_entry};
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::limits;
use crate::repository::Repository;
use crate::repository::index::{indexed, open_pack, read_index_object};

/// Packs that are read at once while the index is written.
const AT_ONCE: usize = 8;

/// A record of a pack, and the envelopes that its entries name.
pub(in crate::operation) type Record = (IndexedPack, Vec<Envelope>);

/// Reads a pack whole, and gives what its own table says of it.
pub(super) fn read_table(repository: &Repository, id: &Id) -> Result<Record> {
    let name = ObjectName::new(ObjectKind::Pack, *id);
    let bytes = repository.backend().get(&name, limits::PACK_MAX)?;
    let table =
        open_pack(repository, id, &bytes).map_err(|error| error.context(format!("{name} cannot be used")))?;
    let (pack, envelopes) = indexed(*id, bytes.len() as u64, table);
    narrow(pack, &envelopes)
}

/// The record with just the envelopes that it names, in the order in which it does.
pub(in crate::operation) fn narrow(mut pack: IndexedPack, envelopes: &[Envelope]) -> Result<Record> {
    let mut numbers: HashMap<u16, u16> = HashMap::new();
    let mut narrowed = Vec::new();
    for entry in &mut pack.entries {
        let number = match numbers.get(&entry.envelope) {
            Some(number) => *number,
            None => {
                let envelope = envelopes
                    .get(usize::from(entry.envelope))
                    .ok_or_else(|| Error::corrupt("a pack names an envelope that it does not have"))?;
                let number = u16::try_from(narrowed.len())
                    .map_err(|_| Error::refused("a pack has too many envelopes"))?;
                narrowed.push(*envelope);
                numbers.insert(entry.envelope, number);
                number
            }
        };
        entry.envelope = number;
    }
    Ok((pack, narrowed))
}

/// A hash of all that a narrowed record says.
pub(in crate::operation) fn digest(pack: &IndexedPack, envelopes: &[Envelope]) -> Id {
    let mut bytes = pack.size.to_le_bytes().to_vec();
    bytes.push(pack.class.code());
    for entry in &pack.entries {
        encode_entry(entry, &mut bytes);
    }
    for envelope in envelopes {
        bytes.extend_from_slice(derive::hash(envelope).as_bytes());
    }
    derive::hash(&bytes)
}

/// The records of a new index, one after another: those of objects that are written anew, then those of packs whose
/// tables are read.
pub(super) struct Records<'a> {
    repository: &'a Repository,
    interrupt: &'a Interrupt,
    objects: Vec<(&'a Id, &'a HashSet<Id>)>,
    packs: VecDeque<Id>,
    ready: VecDeque<Record>,
    given: HashSet<(Id, Id)>,
    failed: Option<Error>,
}

impl<'a> Records<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        interrupt: &'a Interrupt,
        rewrite: &'a HashMap<Id, HashSet<Id>>,
        packs: VecDeque<Id>,
    ) -> Self {
        let objects = rewrite.iter().collect();
        let (ready, given) = (VecDeque::new(), HashSet::new());
        Self { repository, interrupt, objects, packs, ready, given, failed: None }
    }

    /// Why there were no more records, where that was no good reason.
    pub(super) fn finish(self) -> Result<()> {
        self.failed.map_or(Ok(()), Err)
    }

    /// Makes some records ready; says whether there are more.
    fn fill(&mut self) -> Result<bool> {
        self.interrupt.check()?;
        if let Some((object, leave_out)) = self.objects.pop() {
            let read = read_index_object(self.repository, object)?;
            for pack in read.packs {
                if !leave_out.contains(&pack.id) {
                    self.ready.push_back(narrow(pack, &read.envelopes)?);
                }
            }
            return Ok(true);
        }
        let now: Vec<Id> = self.packs.drain(..self.packs.len().min(AT_ONCE)).collect();
        let more = !now.is_empty();
        let repository = self.repository;
        let read: Vec<Record> =
            now.into_par_iter().map(|pack| read_table(repository, &pack)).collect::<Result<_>>()?;
        self.ready.extend(read);
        Ok(more)
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            while let Some((pack, envelopes)) = self.ready.pop_front() {
                if self.given.insert((pack.id, digest(&pack, &envelopes))) {
                    return Some((pack, envelopes));
                }
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.failed = Some(error);
                    return None;
                }
            }
        }
    }
}
