//! Which blob lies where: all index objects of a repository in memory, sorted.
//!
//! Follows `format-spec/07-index.md`. One blob may lie in several packs; all places are kept. Invariant: an
//! index for a backup holds only packs that a listing showed and that no gc record condemns.

use std::collections::HashMap;
use std::sync::OnceLock;

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use super::Repository;
use super::blob::open_envelope;
use crate::backend::{ObjectKind, ObjectName};
use crate::crypto::derive::{Hasher, Purpose};
use crate::crypto::seal;
use crate::crypto::secret::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::{BlobKind, Class};
use crate::format::header::{HEADER_LEN, HeaderKind};
use crate::format::index::{self as format, IndexObject, IndexedPack};
use crate::format::pack::{self, Entry, Envelope, TRAILER_LEN, Table};
use crate::id::Id;
use crate::limits;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    content_keys: Vec<OnceLock<Secret>>,
    objects: Vec<Id>,
}

impl Index {
    /// An index over what was read; `usable` says which packs count.
    pub fn build(read: &ReadObjects, usable: &dyn Fn(&Id) -> bool) -> Result<Self> {
        let mut index = Self { objects: read.listed.clone(), ..Self::default() };
        let mut numbers = Numbers::default();
        for object in &read.objects {
            for pack in object.packs.iter().filter(|pack| usable(&pack.id)) {
                index.add_pack(&mut numbers, pack, &object.envelopes)?;
            }
        }
        index.finish();
        Ok(index)
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

    /// Adds a pack's places, also where another object named the pack before: one of the two may be wrong, and
    /// a reader tries both.
    fn add_pack(&mut self, numbers: &mut Numbers, pack: &IndexedPack, envelopes: &[Envelope]) -> Result<()> {
        let many = |_| Error::corrupt("the index names too many packs");
        let info = PackInfo { id: pack.id, size: pack.size, class: pack.class };
        let number = if let Some(number) = numbers.packs.get(&info) {
            *number
        } else {
            let number = u32::try_from(self.packs.len()).map_err(many)?;
            self.packs.push(info);
            numbers.packs.insert(info, number);
            number
        };
        let mut local = HashMap::new();
        let mut offset = HEADER_LEN as u64;
        for entry in &pack.entries {
            let envelope = if let Some(envelope) = local.get(&entry.envelope) {
                *envelope
            } else {
                let bytes = envelopes
                    .get(usize::from(entry.envelope))
                    .ok_or_else(|| Error::corrupt("the index names an envelope that it does not have"))?;
                let envelope = numbers.envelope(self, pack.class, bytes)?;
                local.insert(entry.envelope, envelope);
                envelope
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
        self.places.sort_unstable_by(|one, other| {
            let key = |place: &Place| {
                (place.pack, place.offset, place.stored_length, place.plain_length, place.envelope)
            };
            one.id.cmp(&other.id).then_with(|| key(one).cmp(&key(other)))
        });
        self.places.dedup();
        self.content_keys.resize_with(self.envelopes.len(), OnceLock::new);
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
    pub(crate) fn content_key(&self, repository: &Repository, place: &Place) -> Result<&Secret> {
        let missing = || Error::corrupt("a place names an envelope that is not in the index");
        let number = usize::try_from(place.envelope).map_err(|_| missing())?;
        let slot = self.content_keys.get(number).ok_or_else(missing)?;
        if let Some(key) = slot.get() {
            return Ok(key);
        }
        let (class, envelope) = self.envelopes.get(number).ok_or_else(missing)?;
        let key = open_envelope(repository.keyring(), *class, envelope)?;
        Ok(slot.get_or_init(|| key))
    }
}

/// What an index under construction has numbers for already.
#[derive(Default)]
struct Numbers {
    packs: HashMap<PackInfo, u32>,
    envelopes: HashMap<(Class, [u8; 32]), u32>,
}

impl Numbers {
    fn of(index: &Index) -> Self {
        let mut numbers = Self::default();
        for (number, pack) in index.packs.iter().enumerate() {
            if let Ok(number) = u32::try_from(number) {
                numbers.packs.insert(*pack, number);
            }
        }
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

/// How often the index may change while it is read.
const READS_MAX: usize = 10;

/// Every index object, as one listing showed them.
#[derive(Default)]
pub struct ReadObjects {
    listed: Vec<Id>,
    objects: Vec<IndexObject>,
    /// Objects that are damaged or forged, and why. Their packs are in the store all the same: a backup finds
    /// them by their tables.
    pub damaged: Vec<(Id, Error)>,
}

impl ReadObjects {
    /// Every pack that they name, each once for each object that names it.
    pub fn packs(&self) -> impl Iterator<Item = Id> {
        self.objects.iter().flat_map(|object| object.packs.iter().map(|pack| pack.id))
    }

    /// Lists and reads them; again where one vanished meanwhile, as a prune makes them vanish.
    ///
    /// # Errors
    /// Where an object cannot be read for another reason than being damaged: trouble is not emptiness.
    pub fn read(repository: &Repository) -> Result<Self> {
        for _ in 0..READS_MAX {
            let listed = repository.list_ids(ObjectKind::Index)?;
            let read: Vec<(Id, Result<IndexObject>)> =
                listed.par_iter().map(|id| (*id, read_index_object(repository, id))).collect();
            let mut all = Self { listed, ..Self::default() };
            let mut vanished = false;
            for (id, object) in read {
                match object {
                    Ok(object) => all.objects.push(object),
                    Err(error) if error.kind() == ErrorKind::Missing => vanished = true,
                    Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
                        all.damaged.push((id, error));
                    }
                    Err(error) => return Err(error),
                }
            }
            if !vanished {
                return Ok(all);
            }
        }
        Err(Error::new(ErrorKind::Busy, "the repository's index keeps changing").hint("try again in a while"))
    }
}

/// Reads one index object.
pub(crate) fn read_index_object(repository: &Repository, id: &Id) -> Result<IndexObject> {
    let plaintext = repository.get_object(ObjectKind::Index, id)?;
    format::decode(&plaintext).map_err(|error| error.context(format!("index/{id} cannot be read")))
}

/// Reads a pack that no index names and gives its table, once its frames are the ones that the table was made for.
pub(crate) fn read_unindexed_pack(repository: &Repository, id: &Id) -> Result<Table> {
    let name = ObjectName::new(ObjectKind::Pack, *id);
    let bytes = repository.backend().get(&name, limits::PACK_MAX)?;
    open_pack(repository, id, &bytes).map_err(|error| error.context(format!("{name} cannot be used")))
}

/// Opens the table of a whole pack, and checks name, header, frames and table against each other.
pub(crate) fn open_pack(repository: &Repository, id: &Id, bytes: &[u8]) -> Result<Table> {
    let opened = open_table(repository, bytes);
    // One pass gives the hash of the frames, which stand first, and the pack's name.
    let length = opened.as_ref().map_or(0, |(_, length)| *length);
    let (frames, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
    let mut hasher = Hasher::new();
    hasher.update(frames);
    let frames_hash = hasher.id();
    hasher.update(rest);
    if hasher.id() != *id {
        return Err(Error::corrupt("its bytes are not the ones its name says"));
    }
    let (table, _) = opened?;
    if frames_hash != table.frames_hash {
        return Err(Error::corrupt("its frames are not the ones that its table was made for"));
    }
    Ok(table)
}

/// The table of a pack, and the length of what stands before it.
fn open_table(repository: &Repository, bytes: &[u8]) -> Result<(Table, usize)> {
    pack::check_header(bytes)?;
    let short = || Error::corrupt("it is too short");
    let bound = super::objects::associated(HeaderKind::Pack, repository.id(), &Id::default());
    let trailer = bytes.last_chunk::<TRAILER_LEN>().ok_or_else(short)?;
    let trailer = seal::open_object(&repository.keyring().key(Purpose::PackTrailers), &bound, trailer)?;
    let (offset, length) = pack::table_place(bytes.len() as u64, &trailer)?;
    let start = usize::try_from(offset).map_err(|_| short())?;
    let end = usize::try_from(offset.saturating_add(length)).map_err(|_| short())?;
    let sealed = bytes.get(start..end).ok_or_else(short)?;
    let plaintext = seal::open_object(&repository.keyring().key(Purpose::PackTables), &bound, sealed)?;
    let table = pack::decode_table(&plaintext)?;
    pack::frame_offsets(&table.entries, offset)?;
    Ok((table, start))
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
            .ok()
            .filter(|number| usize::from(*number) < limits::ENVELOPES_MAX)
            .ok_or_else(|| Error::refused("an index object has too many envelopes"))?;
        self.object.envelopes.push(*envelope);
        self.envelopes.insert(key, number);
        Ok(number)
    }

    /// Whether a pack with this many envelopes still fits; one alone always does.
    pub(crate) fn has_room(&self, envelopes: usize) -> bool {
        self.is_empty() || self.object.envelopes.len().saturating_add(envelopes) <= limits::ENVELOPES_MAX
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
