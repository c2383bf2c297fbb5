//! An index of any size: real, sealed index objects that name made-up packs, which are files of the right length
//! and nothing in them. The id of each chunk follows from its number.

use std::fs::{self, File};
use std::path::Path;

use strongroom::backend::{ObjectKind, ObjectName};
use strongroom::crypto::derive::{self, Purpose};
use strongroom::crypto::seal;
use strongroom::format::blob::{BlobKind, Class};
use strongroom::format::header::{self, HeaderKind};
use strongroom::format::index::{self, IndexObject, IndexedPack};
use strongroom::format::pack::{ENVELOPE_LEN, Entry};
use strongroom::id::Id;
use strongroom::repository::Repository;

/// Chunks of about a mebibyte that fit into a pack.
const PACK_CHUNKS: u64 = 32;
/// Packs that an index object names.
const OBJECT_PACKS: u64 = 64;
/// Index objects that one session writes, with one content key.
const SESSION_OBJECTS: u64 = 40;

/// The id of a chunk.
pub(crate) fn chunk(number: u64) -> Id {
    derive::hash(&[b"chunk".as_slice(), &number.to_le_bytes()].concat())
}

/// Adds so many chunks to a repository in a folder.
pub(crate) fn generate(repository: &Repository, folder: &Path, chunks: u64) {
    let numbers: Vec<u64> = (0..chunks).collect();
    let key = repository.keyring().key(Purpose::Index);
    let head = header::header(HeaderKind::Index);
    let bound = [head.as_slice(), repository.id().as_bytes(), &[0; 32]].concat();
    let packs: Vec<&[u64]> = numbers.chunks(usize::try_from(PACK_CHUNKS).unwrap()).collect();
    for (object, packs) in (0u64..).zip(packs.chunks(usize::try_from(OBJECT_PACKS).unwrap())) {
        let mut envelope = [0; ENVELOPE_LEN];
        envelope[..8].copy_from_slice(&(object / SESSION_OBJECTS).to_le_bytes());
        let packs = packs.iter().map(|chunks| pack(folder, chunks)).collect();
        let plain = index::encode(&IndexObject { envelopes: vec![envelope], packs }).unwrap();
        let sealed = seal::seal_object(&key, &bound, &plain).unwrap();
        let bytes = [head.as_slice(), &sealed].concat();
        let name = ObjectName::new(ObjectKind::Index, derive::hash(&bytes));
        repository.backend().put(&name, &bytes).unwrap();
    }
}

fn pack(folder: &Path, chunks: &[u64]) -> IndexedPack {
    let id = derive::hash(&[b"pack".as_slice(), &chunks[0].to_le_bytes()].concat());
    let entry = |number: &u64| {
        let plain_length = (1 << 20) - u32::try_from(number % 5000).unwrap();
        Entry {
            id: chunk(*number),
            kind: BlobKind::Chunk,
            envelope: 0,
            stored_length: plain_length + 17,
            plain_length,
        }
    };
    let entries: Vec<Entry> = chunks.iter().map(entry).collect();
    let size = 4096 + entries.iter().map(|entry| u64::from(entry.stored_length)).sum::<u64>();
    let path = folder.join(ObjectName::new(ObjectKind::Pack, id).path());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path).unwrap().set_len(size).unwrap();
    IndexedPack { id, size, class: Class::Data, entries }
}
