//! Packs that no index names, as an interrupted backup leaves them: their own tables say what they hold.

use crate::backend::{ObjectKind, ObjectName};
use crate::crypto::derive::{Hasher, Purpose};
use crate::crypto::seal;
use crate::error::{Error, Result};
use crate::format::header::HeaderKind;
use crate::format::index::IndexedPack;
use crate::format::pack::{self, Envelope, TRAILER_LEN, Table};
use crate::id::Id;
use crate::limits;
use crate::repository::Repository;
use crate::repository::objects::associated;

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

/// The table of a damaged pack, where that opens all the same, and the length of what stands before it. Nothing of
/// what it says of the frames is proved but by the frames themselves.
pub(crate) fn table_of_damaged(repository: &Repository, bytes: &[u8]) -> Result<(Table, u64)> {
    open_sealed_table(repository, bytes).map(|(table, length)| (table, length as u64))
}

/// The table of a pack, and the length of what stands before it.
fn open_table(repository: &Repository, bytes: &[u8]) -> Result<(Table, usize)> {
    pack::check_header(bytes)?;
    open_sealed_table(repository, bytes)
}

fn open_sealed_table(repository: &Repository, bytes: &[u8]) -> Result<(Table, usize)> {
    let short = || Error::corrupt("it is too short");
    let bound = associated(HeaderKind::Pack, repository.id(), &Id::default());
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

/// The entries of a table as an index holds them.
pub(crate) fn indexed(id: Id, size: u64, table: Table) -> (IndexedPack, Vec<Envelope>) {
    (IndexedPack { id, size, class: table.class, entries: table.entries }, table.envelopes)
}
