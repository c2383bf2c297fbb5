//! Filling packs: blobs of one class dealt at random to two open packs.
//!
//! Follows `format-spec/06-pack.md`. Dealing at random and padding keep chunk sizes, which fingerprint files,
//! from the store. Invariant: before a pack leaves memory, each of its blobs has been opened from the very
//! bytes that are stored, decompressed and hashed; memory faults and codec bugs have eaten backups elsewhere.

use std::cell::{Cell, RefCell};
use std::sync::Mutex;

use super::Repository;
use super::blob::{ContentKey, OpenBuffers, open_frame};
use super::objects::associated;
use crate::backend::DIRECT_ALIGNMENT;
use crate::crypto::derive::{Hasher, Purpose};
use crate::crypto::{random, seal};
use crate::error::{Error, Result};
use crate::format::blob::{BlobKind, Class};
use crate::format::header::{self, HEADER_LEN, HeaderKind};
use crate::format::index::IndexedPack;
use crate::format::pack::{self, Entry, TRAILER_LEN, Table};
use crate::id::Id;

/// Size at which a pack is closed, in bytes. Four of them lie in memory during a backup, which is most of what it
/// takes.
pub const PACK_TARGET: usize = 16 << 20;

/// Room for a pack of large chunks, in bytes. Only what is written to takes memory. More than 32 MiB come from the
/// system and go back to it, and do not lie about in one of the C library's arenas.
pub(super) const PACK_ROOM: usize = 33 << 20;

/// Packs whose memory is kept for packs to come.
const SPARE_MAX: usize = 1;

/// A pack that is done: its bytes, and what an index says of it.
pub(crate) struct ClosedPack {
    pub(crate) bytes: PackBytes,
    pub(crate) indexed: IndexedPack,
}

/// Frames on their way to becoming a pack.
pub(crate) struct OpenPack {
    class: Class,
    bytes: PackBytes,
    entries: Vec<Entry>,
}

impl OpenPack {
    fn new(class: Class) -> Self {
        Self { class, bytes: PackBytes::default(), entries: Vec::new() }
    }

    /// The class of its blobs.
    pub(crate) fn class(&self) -> Class {
        self.class
    }
}

/// The bytes of a pack, where memory allows at a place from which a disk takes them without a copy between.
#[derive(Default)]
pub(crate) struct PackBytes {
    room: Vec<u8>,
    /// Where the pack starts in it.
    start: usize,
}

impl PackBytes {
    /// Starts a pack with its header, in room for this many bytes.
    pub(super) fn begin(&mut self, room: usize) {
        self.room.clear();
        if room > 0 {
            self.room.reserve(room.saturating_add(DIRECT_ALIGNMENT));
        }
        self.start = self.room.as_ptr().addr().wrapping_neg() % DIRECT_ALIGNMENT;
        self.room.resize(self.start, 0);
        self.room.extend_from_slice(&header::header(HeaderKind::Pack));
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.room.extend_from_slice(bytes);
    }

    pub(super) fn len(&self) -> usize {
        self.room.len().saturating_sub(self.start)
    }

    /// The pack as it is to be stored.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.room.get(self.start..).unwrap_or_default()
    }
}

/// The open packs of one class.
pub(crate) struct Packer {
    class: Class,
    key: ContentKey,
    target: usize,
    open: [Mutex<OpenPack>; 2],
    /// Memory of packs that are stored, for packs to come: fresh memory costs a page fault for every 4 KiB.
    spare: Mutex<Vec<PackBytes>>,
}

thread_local! {
    static FRAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static DEAL: Cell<u64> = const { Cell::new(0) };
}

impl Packer {
    pub(crate) fn new(repository: &Repository, class: Class, target: usize) -> Result<Self> {
        let key = ContentKey::new(repository.keyring(), class)?;
        Ok(Self {
            class,
            key,
            target,
            open: [Mutex::new(OpenPack::new(class)), Mutex::new(OpenPack::new(class))],
            spare: Mutex::default(),
        })
    }

    /// Seals a blob into one of the open packs and gives the frame's length. A pack that this fills is handed
    /// over before anybody else may fill the next one in its place: that bounds how many packs lie in memory.
    pub(crate) fn add(
        &self,
        repository: &Repository,
        kind: BlobKind,
        id: &Id,
        plain: &[u8],
        hand_over: &dyn Fn(OpenPack) -> Result<()>,
    ) -> Result<u64> {
        FRAME.with_borrow_mut(|frame| {
            self.key.seal(repository.id(), kind, id, plain, frame)?;
            let mut open = self.deal()?.lock().map_err(|_| poisoned())?;
            if open.entries.is_empty() {
                self.make_room(&mut open, frame.len());
            }
            push(&mut open, kind, id, plain.len(), frame)?;
            if open.bytes.len() >= self.target {
                hand_over(std::mem::replace(&mut *open, OpenPack::new(self.class)))?;
            }
            Ok(frame.len() as u64)
        })
    }

    /// Gives what is still open: one pack where both fit into it.
    pub(crate) fn rest(&self) -> Result<Vec<OpenPack>> {
        let mut rest = Vec::new();
        for open in &self.open {
            let mut open = open.lock().map_err(|_| poisoned())?;
            rest.push(std::mem::replace(&mut *open, OpenPack::new(self.class)));
        }
        if let [first, second] = rest.as_mut_slice()
            && !first.entries.is_empty()
            && first.bytes.len().saturating_add(second.bytes.len()) <= self.target
        {
            // One without entries has no header yet.
            first.bytes.append(second.bytes.as_slice().get(HEADER_LEN..).unwrap_or_default());
            first.entries.append(&mut second.entries);
        }
        rest.retain(|pack| !pack.entries.is_empty());
        Ok(rest)
    }

    /// Gives a pack its memory when its first frame comes: until then, that of a pack being stored may come back.
    /// It is grown once to what it will need, for growing step by step would copy the pack over and over.
    fn make_room(&self, open: &mut OpenPack, first_frame: usize) {
        open.bytes = self.spare.lock().ok().and_then(|mut spare| spare.pop()).unwrap_or_default();
        open.bytes.begin(if first_frame > 64 << 10 { PACK_ROOM.max(self.target) } else { 0 });
    }

    /// Takes back the memory of a pack that is stored.
    pub(crate) fn recycle(&self, bytes: PackBytes) {
        if let Ok(mut spare) = self.spare.lock()
            && spare.len() < SPARE_MAX
        {
            spare.push(bytes);
        }
    }

    fn deal(&self) -> Result<&Mutex<OpenPack>> {
        let [first, second] = &self.open;
        Ok(if deal_first()? { first } else { second })
    }

    /// Adds table and trailer to a pack, names it, and looks at every blob in it once more.
    pub(crate) fn close(
        &self,
        repository: &Repository,
        pack: OpenPack,
        buffers: &mut OpenBuffers,
    ) -> Result<ClosedPack> {
        let OpenPack { mut bytes, entries, .. } = pack;
        let sealed = seal_pack(repository, &mut bytes, self.class, vec![self.key.envelope], entries)?;
        self.verify(repository, bytes.as_slice(), sealed.frames_end, &sealed.table, buffers)?;
        let size = bytes.len() as u64;
        let indexed = IndexedPack { id: sealed.id, size, class: self.class, entries: sealed.table.entries };
        Ok(ClosedPack { bytes, indexed })
    }

    fn verify(
        &self,
        repository: &Repository,
        bytes: &[u8],
        frames_end: usize,
        table: &Table,
        buffers: &mut OpenBuffers,
    ) -> Result<()> {
        let offsets = pack::frame_offsets(&table.entries, frames_end as u64)?;
        for (entry, offset) in table.entries.iter().zip(offsets) {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let length = usize::try_from(entry.stored_length).unwrap_or(usize::MAX);
            let frame = bytes
                .get(start..start.saturating_add(length))
                .ok_or_else(|| Error::corrupt("a pack is shorter than its table says"))?;
            let keyring = repository.keyring();
            open_frame(keyring, self.key.key(), entry.kind, &entry.id, entry.plain_length, frame, buffers)
                .map_err(|error| {
                    error.context(
                        "a blob did not survive its own packing: this machine's memory may be faulty",
                    )
                })?;
        }
        Ok(())
    }

    /// The class's content key, sealed.
    pub(crate) fn envelope(&self) -> pack::Envelope {
        self.key.envelope
    }
}

/// A pack whose table and trailer stand behind its frames.
pub(super) struct SealedPack {
    pub(super) id: Id,
    pub(super) table: Table,
    pub(super) frames_end: usize,
}

/// Adds table and trailer to frames, and names the pack. Whoever stores it looks into it again after this: a bit that
/// flips in between is caught by the look, one that flips later by the name.
pub(super) fn seal_pack(
    repository: &Repository,
    bytes: &mut PackBytes,
    class: Class,
    envelopes: Vec<pack::Envelope>,
    entries: Vec<Entry>,
) -> Result<SealedPack> {
    let frames_end = bytes.len();
    let mut hasher = Hasher::new();
    hasher.update(bytes.as_slice());
    let frames_hash = hasher.id();
    let table = Table { class, frames_hash, envelopes, entries };
    let bare = frames_end
        .saturating_add(seal::OBJECT_OVERHEAD)
        .saturating_add(pack::table_length(&table))
        .saturating_add(TRAILER_LEN);
    let padding = pack::padded_length(bare as u64).saturating_sub(bare as u64);
    let padding = usize::try_from(padding).map_err(|_| Error::refused("a pack is too long"))?;
    let plaintext = pack::encode_table(&table, padding)?;
    let bound = associated(HeaderKind::Pack, repository.id(), &Id::default());
    let sealed = seal::seal_object(&repository.keyring().key(Purpose::PackTables), &bound, &plaintext)?;
    bytes.append(&sealed);
    let length = u32::try_from(sealed.len()).map_err(|_| Error::refused("a pack's table is too long"))?;
    let trailer_key = repository.keyring().key(Purpose::PackTrailers);
    bytes.append(&seal::seal_object(&trailer_key, &bound, &length.to_le_bytes())?);
    // The frames stand first, so that one pass gives their hash and the name.
    hasher.update(bytes.as_slice().get(frames_end..).unwrap_or_default());
    Ok(SealedPack { id: hasher.id(), table, frames_end })
}

/// Which of two open packs the next blob goes to: not guessable from pack sizes.
pub(super) fn deal_first() -> Result<bool> {
    // A xorshift, seeded by the system once for each thread.
    let mut state = DEAL.get();
    if state == 0 {
        state = u64::from_le_bytes(random::bytes()?) | 1;
    }
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    DEAL.set(state);
    Ok(state >> 63 == 0)
}

fn push(open: &mut OpenPack, kind: BlobKind, id: &Id, plain_length: usize, frame: &[u8]) -> Result<()> {
    let too_long = |_| Error::refused("a blob is too long");
    open.bytes.append(frame);
    open.entries.push(Entry {
        id: *id,
        kind,
        envelope: 0,
        stored_length: u32::try_from(frame.len()).map_err(too_long)?,
        plain_length: u32::try_from(plain_length).map_err(too_long)?,
    });
    Ok(())
}

fn poisoned() -> Error {
    Error::refused("another thread failed while it filled a pack")
}
