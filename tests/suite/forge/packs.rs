//! Blobs, packs and index objects.

use super::seal::seal_with;
use super::{Bytes32, Forge, hash, header, padme};

/// Kinds of blobs, and what their ids are keyed for.
pub(crate) const KINDS: [(u8, &str, u8); 4] =
    [(1, "chunk ids", 1), (2, "list ids", 2), (3, "tree leaf ids", 2), (4, "tree node ids", 2)];

/// The class of a kind.
pub(crate) fn class_of(kind: u8) -> u8 {
    KINDS.iter().find(|(known, ..)| *known == kind).map_or(2, |(.., class)| *class)
}

/// A blob in its sealed form.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) kind: u8,
    pub(crate) id: Bytes32,
    pub(crate) plain_length: u32,
    pub(crate) frame: Vec<u8>,
}

/// An entry of a pack's table or of an index object.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: Bytes32,
    pub(crate) kind: u8,
    pub(crate) reserved: u8,
    pub(crate) envelope: u16,
    pub(crate) stored_length: u32,
    pub(crate) plain_length: u32,
}

impl Entry {
    pub(crate) fn of(blob: &Blob) -> Self {
        Self {
            id: blob.id,
            kind: blob.kind,
            reserved: 0,
            envelope: 0,
            stored_length: blob.frame.len() as u32,
            plain_length: blob.plain_length,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [
            self.id.as_slice(),
            &[self.kind, self.reserved],
            &self.envelope.to_le_bytes(),
            &self.stored_length.to_le_bytes(),
            &self.plain_length.to_le_bytes(),
        ]
        .concat()
    }
}

/// The parts of a pack, each of which may be altered before it is sealed.
#[derive(Clone, Debug)]
pub(crate) struct PackParts {
    /// Header and frames.
    pub(crate) frames: Vec<u8>,
    pub(crate) class: u8,
    pub(crate) reserved: [u8; 5],
    /// How many envelopes and entries the table announces.
    pub(crate) announced: (u16, u32),
    pub(crate) frames_hash: Bytes32,
    pub(crate) envelopes: Vec<Vec<u8>>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) padding: Vec<u8>,
    /// Added to the table's length in the trailer.
    pub(crate) table_length_error: i64,
}

impl PackParts {
    pub(crate) fn new(class: u8, envelopes: Vec<Vec<u8>>, blobs: &[Blob]) -> Self {
        let frames = blobs.iter().fold(header(b"pack"), |bytes, blob| [bytes, blob.frame.clone()].concat());
        let mut parts = Self {
            class,
            reserved: [0; 5],
            announced: (envelopes.len() as u16, blobs.len() as u32),
            frames_hash: hash(&frames),
            frames,
            envelopes,
            entries: blobs.iter().map(Entry::of).collect(),
            padding: Vec::new(),
            table_length_error: 0,
        };
        let bare = parts.frames.len() + 48 + parts.table().len() + 52;
        parts.padding = vec![0; padme(bare) - bare];
        parts
    }

    /// The table's plaintext.
    pub(crate) fn table(&self) -> Vec<u8> {
        let [a, b, c, d, e] = self.reserved;
        let mut bytes = vec![self.class, a, b, c];
        bytes.extend(self.announced.0.to_le_bytes());
        bytes.extend([d, e]);
        bytes.extend(self.announced.1.to_le_bytes());
        bytes.extend(self.frames_hash);
        bytes.extend(self.envelopes.concat());
        self.entries.iter().for_each(|entry| bytes.extend(entry.bytes()));
        bytes.extend(&self.padding);
        bytes
    }
}

/// The plaintext of an index object: packs with their size, class and entries, padded.
pub(crate) fn index_plain(envelopes: &[Vec<u8>], packs: &[(Bytes32, u64, u8, Vec<Entry>)]) -> Vec<u8> {
    let mut bytes = (envelopes.len() as u32).to_le_bytes().to_vec();
    bytes.extend((packs.len() as u32).to_le_bytes());
    bytes.extend(envelopes.concat());
    for (id, size, class, entries) in packs {
        bytes.extend(index_pack(id, *size, *class, entries.len() as u32));
        entries.iter().for_each(|entry| bytes.extend(entry.bytes()));
    }
    let bare = 16 + 48 + bytes.len();
    bytes.resize(bytes.len() + padme(bare) - bare, 0);
    bytes
}

/// The record that announces a pack in an index object.
pub(crate) fn index_pack(id: &Bytes32, size: u64, class: u8, entries: u32) -> Vec<u8> {
    [id.as_slice(), &size.to_le_bytes(), &[class, 0, 0, 0], &entries.to_le_bytes()].concat()
}

impl Forge {
    pub(crate) fn blob_id(&self, kind: u8, plain: &[u8]) -> Bytes32 {
        let (_, purpose, _) = KINDS.iter().find(|(known, ..)| *known == kind).expect("a kind");
        *blake3::keyed_hash(&self.derive(purpose), plain).as_bytes()
    }

    /// The content key in use for a class, and its envelope.
    pub(crate) fn content_key(&mut self, class: u8) -> (Bytes32, Vec<u8>) {
        let slot = usize::from(class) - 1;
        if self.content[slot].is_none() {
            let key = self.draw();
            let envelope = self.envelope(class, &key);
            self.content[slot] = Some((key, envelope));
        }
        self.content[slot].clone().expect("it was drawn")
    }

    /// A frame of this content: encoding byte and payload.
    pub(crate) fn frame(&mut self, kind: u8, id: &Bytes32, plain_length: u32, content: &[u8]) -> Vec<u8> {
        let class = class_of(kind);
        let (content_key, _) = self.content_key(class);
        let key = *blake3::keyed_hash(&content_key, &[&[kind], id.as_slice()].concat()).as_bytes();
        let associated =
            [&[1, 0], self.repository.as_slice(), &[class, kind], id.as_slice(), &plain_length.to_le_bytes()]
                .concat();
        seal_with(&key, &associated, content)
    }

    /// A blob that is stored raw.
    pub(crate) fn blob(&mut self, kind: u8, plain: &[u8]) -> Blob {
        let id = self.blob_id(kind, plain);
        let plain_length = plain.len() as u32;
        let frame = self.frame(kind, &id, plain_length, &[&[0], plain].concat());
        Blob { kind, id, plain_length, frame }
    }

    /// Seals the parts of a pack.
    pub(crate) fn pack_bytes(&mut self, parts: &PackParts) -> Vec<u8> {
        let bound = self.bound(b"pack", &[0; 32]);
        let table = self.seal("pack tables", &bound, &parts.table());
        let length = (table.len() as i64 + parts.table_length_error) as u32;
        let trailer = self.seal("pack trailers", &bound, &length.to_le_bytes());
        [parts.frames.clone(), table, trailer].concat()
    }

    /// An index object with this plaintext.
    pub(crate) fn index(&mut self, plain: &[u8]) -> Vec<u8> {
        self.object(b"indx", "index", &[0; 32], plain)
    }

    /// Stores a pack of one class and gives what an index says of it.
    pub(crate) fn add_pack(&mut self, class: u8, blobs: &[Blob]) -> (Bytes32, u64, u8, Vec<Entry>) {
        let (_, envelope) = self.content_key(class);
        let parts = PackParts::new(class, vec![envelope], blobs);
        let bytes = self.pack_bytes(&parts);
        let size = bytes.len() as u64;
        (self.put_hashed("packs", bytes), size, class, parts.entries)
    }
}
