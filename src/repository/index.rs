//! Which blob lies where: all index objects of a repository in memory, sorted.
//!
//! Follows `format-spec/07-index.md`. One blob may lie in several packs; all places are kept. Invariant: an
//! index for a backup holds only packs that a listing showed and that no gc record condemns.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::Repository;
use super::blob::open_envelope;
use crate::backend::{ObjectKind, ObjectName};
use crate::crypto::derive::Purpose;
use crate::crypto::seal::{self, Sealer};
use crate::error::{Error, Result};
use crate::format::blob::{BlobKind, Class};
use crate::format::header::{HEADER_LEN, HeaderKind};
use crate::format::index::{self as format, IndexObject, IndexedPack};
use crate::format::pack::{self, Entry, Envelope, TRAILER_LEN, Table};
use crate::id::Id;

/// A place where a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The blob's id.
    pub id: Id,
    /// The pack, by its number in [`Index::packs`].
    pub pack: u32,
    /// Where its frame starts.
    pub offset: u32,
    /// Length of its frame.
    pub stored_length: u32,
    /// Length of its plaintext.
    pub plain_length: u32,
    /// The envelope with its content key, by its number in this index.
    pub envelope: u32,
    /// What it holds.
    pub kind: BlobKind,
}

/// A pack that an index names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackInfo {
    /// Its id.
    pub id: Id,
    /// Its size in bytes.
    pub size: u64,
    /// The class of its blobs.
    pub class: Class,
}

/// All that the index objects say.
#[derive(Default)]
pub struct Index {
    places: Vec<Place>,
    packs: Vec<PackInfo>,
    envelopes: Vec<(Class, Envelope)>,
    sealers: Vec<OnceLock<Sealer>>,
    objects: Vec<Id>,
}

impl Index {
    /// Reads every index object; `usable` says which packs count.
    ///
    /// # Errors
    /// The first object that cannot be read: an index that is partly unread would store twice, or report
    /// losses that are none.
    pub fn load(repository: &Repository, usable: &(dyn Fn(&Id) -> bool + Sync)) -> Result<Self> {
        let objects = repository.list_ids(ObjectKind::Index)?;
        let read: Vec<IndexObject> =
            objects.par_iter().map(|id| read_index_object(repository, id)).collect::<Result<_>>()?;
        let mut index = Self { objects, ..Self::default() };
        let mut numbers = Numbers::default();
        for object in &read {
            for pack in object.packs.iter().filter(|pack| usable(&pack.id)) {
                index.add_pack(&mut numbers, pack, &object.envelopes)?;
            }
        }
        index.finish();
        Ok(index)
    }

    /// Reads what index objects can be read, and tells which cannot: for a check.
    pub fn load_what_opens(repository: &Repository) -> Result<(Self, Vec<(Id, Error)>)> {
        let objects = repository.list_ids(ObjectKind::Index)?;
        let read: Vec<(Id, Result<IndexObject>)> =
            objects.par_iter().map(|id| (*id, read_index_object(repository, id))).collect();
        let mut index = Self { objects, ..Self::default() };
        let mut numbers = Numbers::default();
        let mut damaged = Vec::new();
        for (id, object) in read {
            match object {
                Ok(object) => {
                    for pack in &object.packs {
                        index.add_pack(&mut numbers, pack, &object.envelopes)?;
                    }
                }
                Err(error) => damaged.push((id, error)),
            }
        }
        index.finish();
        Ok((index, damaged))
    }

    /// Adds packs that no index object names yet.
    pub(crate) fn extend(&mut self, packs: &[(IndexedPack, Vec<Envelope>)]) -> Result<()> {
        let mut numbers = Numbers::of(self);
        for (pack, envelopes) in packs {
            self.add_pack(&mut numbers, pack, envelopes)?;
        }
        self.finish();
        Ok(())
    }

    fn add_pack(&mut self, numbers: &mut Numbers, pack: &IndexedPack, envelopes: &[Envelope]) -> Result<()> {
        if !numbers.packs.insert(pack.id) {
            return Ok(());
        }
        let many = |_| Error::corrupt("the index names too many packs");
        let number = u32::try_from(self.packs.len()).map_err(many)?;
        self.packs.push(PackInfo { id: pack.id, size: pack.size, class: pack.class });
        let mut local = HashMap::new();
        let mut offset = HEADER_LEN as u64;
        for entry in &pack.entries {
            let envelope = match local.get(&entry.envelope) {
                Some(envelope) => *envelope,
                None => {
                    let bytes = envelopes
                        .get(usize::from(entry.envelope))
                        .ok_or_else(|| Error::corrupt("the index names an envelope that it does not have"))?;
                    let envelope = numbers.envelope(self, pack.class, bytes)?;
                    local.insert(entry.envelope, envelope);
                    envelope
                }
            };
            self.places.push(Place {
                id: entry.id,
                pack: number,
                offset: u32::try_from(offset).map_err(many)?,
                stored_length: entry.stored_length,
                plain_length: entry.plain_length,
                envelope,
                kind: entry.kind,
            });
            offset = offset.saturating_add(u64::from(entry.stored_length));
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.places.sort_unstable_by(|one, other| one.id.cmp(&other.id).then(one.pack.cmp(&other.pack)));
        self.sealers.resize_with(self.envelopes.len(), OnceLock::new);
    }

    /// Every place of a blob.
    pub fn places(&self, kind: BlobKind, id: &Id) -> impl Iterator<Item = &Place> {
        let start = self.places.partition_point(|place| place.id < *id);
        let id = *id;
        self.places
            .get(start..)
            .unwrap_or_default()
            .iter()
            .take_while(move |place| place.id == id)
            .filter(move |place| place.kind == kind)
    }

    /// The first place of a blob, by its number in [`Self::all`].
    pub fn first_place(&self, kind: BlobKind, id: &Id) -> Option<u32> {
        let start = self.places.partition_point(|place| place.id < *id);
        let same = self.places.get(start..)?.iter().take_while(|place| place.id == *id);
        let behind = same.take_while(|place| place.kind != kind).count();
        let number = start.saturating_add(behind);
        self.places.get(number).filter(|place| place.id == *id).and_then(|_| u32::try_from(number).ok())
    }

    /// Whether a blob has a place.
    pub fn contains(&self, kind: BlobKind, id: &Id) -> bool {
        self.places(kind, id).next().is_some()
    }

    /// Plain length of a blob.
    pub fn plain_length(&self, kind: BlobKind, id: &Id) -> Option<u32> {
        self.places(kind, id).next().map(|place| place.plain_length)
    }

    /// All places, sorted by id.
    pub fn all(&self) -> &[Place] {
        &self.places
    }

    /// The packs.
    pub fn packs(&self) -> &[PackInfo] {
        &self.packs
    }

    /// The pack of a place.
    pub fn pack(&self, place: &Place) -> Result<&PackInfo> {
        usize::try_from(place.pack)
            .ok()
            .and_then(|number| self.packs.get(number))
            .ok_or_else(|| Error::corrupt("a place names a pack that is not in the index"))
    }

    /// The index objects that were read.
    pub fn objects(&self) -> &[Id] {
        &self.objects
    }

    /// The content key of a place, opened once.
    pub(crate) fn sealer(&self, repository: &Repository, place: &Place) -> Result<&Sealer> {
        let missing = || Error::corrupt("a place names an envelope that is not in the index");
        let number = usize::try_from(place.envelope).map_err(|_| missing())?;
        let slot = self.sealers.get(number).ok_or_else(missing)?;
        if let Some(sealer) = slot.get() {
            return Ok(sealer);
        }
        let (class, envelope) = self.envelopes.get(number).ok_or_else(missing)?;
        let sealer = open_envelope(repository.keyring(), *class, envelope)?;
        Ok(slot.get_or_init(|| sealer))
    }
}

/// What an index under construction has numbers for already.
#[derive(Default)]
struct Numbers {
    packs: HashSet<Id>,
    envelopes: HashMap<(Class, [u8; 32]), u32>,
}

impl Numbers {
    fn of(index: &Index) -> Self {
        let mut numbers = Self { packs: index.packs.iter().map(|pack| pack.id).collect(), ..Self::default() };
        for (number, (class, envelope)) in index.envelopes.iter().enumerate() {
            if let Ok(number) = u32::try_from(number) {
                numbers.envelopes.insert((*class, envelope_key(envelope)), number);
            }
        }
        numbers
    }

    fn envelope(&mut self, index: &mut Index, class: Class, envelope: &Envelope) -> Result<u32> {
        let key = (class, envelope_key(envelope));
        if let Some(number) = self.envelopes.get(&key) {
            return Ok(*number);
        }
        let number = u32::try_from(index.envelopes.len())
            .map_err(|_| Error::corrupt("the index has too many envelopes"))?;
        index.envelopes.push((class, *envelope));
        self.envelopes.insert(key, number);
        Ok(number)
    }
}

fn envelope_key(envelope: &Envelope) -> [u8; 32] {
    *blake3::hash(envelope).as_bytes()
}

/// Reads one index object.
pub(crate) fn read_index_object(repository: &Repository, id: &Id) -> Result<IndexObject> {
    let plaintext = repository.get_object(ObjectKind::Index, id)?;
    format::decode(&plaintext).map_err(|error| error.context(format!("index/{id} cannot be read")))
}

/// Reads the table at the end of a pack.
pub(crate) fn read_pack_table(repository: &Repository, id: &Id, size: u64) -> Result<Table> {
    let name = ObjectName::new(ObjectKind::Pack, *id);
    let backend = repository.backend();
    let read = || {
        let end = size.checked_sub(TRAILER_LEN as u64).ok_or_else(|| Error::corrupt("it is too short"))?;
        let trailer = backend.get_range(&name, end, TRAILER_LEN as u64)?;
        let trailer = <[u8; TRAILER_LEN]>::try_from(trailer.as_slice())
            .map_err(|_| Error::corrupt("it is too short"))?;
        let (offset, length) = pack::table_place(size, trailer)?;
        open_pack_table(repository, &backend.get_range(&name, offset, length)?, offset)
    };
    read().map_err(|error: Error| error.context(format!("the table of {name} cannot be read")))
}

/// Opens a sealed pack table that starts at `offset` and checks that the frames fill what lies before it.
pub(crate) fn open_pack_table(repository: &Repository, sealed: &[u8], offset: u64) -> Result<Table> {
    let associated = super::objects::associated(HeaderKind::Pack, repository.id(), &Id::default());
    let plaintext = seal::open_object(&repository.keyring().key(Purpose::PackTables), &associated, sealed)?;
    let table = pack::decode_table(&plaintext)?;
    pack::frame_offsets(&table.entries, offset)?;
    Ok(table)
}

/// Collects packs for an index object that is to be written.
#[derive(Default)]
pub(crate) struct IndexBuilder {
    object: IndexObject,
    envelopes: HashMap<[u8; 32], u16>,
    entries: usize,
}

impl IndexBuilder {
    /// Adds a pack whose entries name envelopes by their numbers in `envelopes`.
    pub(crate) fn add(&mut self, mut pack: IndexedPack, envelopes: &[Envelope]) -> Result<()> {
        for entry in &mut pack.entries {
            let envelope = envelopes
                .get(usize::from(entry.envelope))
                .ok_or_else(|| Error::corrupt("a pack names an envelope that it does not have"))?;
            entry.envelope = self.number(envelope)?;
        }
        self.entries = self.entries.saturating_add(pack.entries.len());
        self.object.packs.push(pack);
        Ok(())
    }

    fn number(&mut self, envelope: &Envelope) -> Result<u16> {
        let key = envelope_key(envelope);
        if let Some(number) = self.envelopes.get(&key) {
            return Ok(*number);
        }
        let number = u16::try_from(self.object.envelopes.len())
            .map_err(|_| Error::refused("an index object has too many envelopes"))?;
        self.object.envelopes.push(*envelope);
        self.envelopes.insert(key, number);
        Ok(number)
    }

    /// Number of entries so far.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.object.packs.is_empty()
    }

    /// The plaintext of the index object.
    pub(crate) fn encode(mut self) -> Result<Vec<u8>> {
        self.object.packs.sort_by_key(|pack| pack.id);
        format::encode(&self.object)
    }
}

/// The entries of a table as an index holds them.
pub(crate) fn indexed(id: Id, size: u64, table: Table) -> (IndexedPack, Vec<Envelope>) {
    let entries: Vec<Entry> = table.entries;
    (IndexedPack { id, size, class: table.class, entries }, table.envelopes)
}
