//! A stored pack, read as a stranger would who has nothing but the text; and what becomes of damaged objects.

use std::sync::Arc;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use strongroom::backend::{MemoryBackend, ObjectKind, ObjectName};
use strongroom::compress;
use strongroom::crypto::envelope;
use strongroom::crypto::kdf::Cost;
use strongroom::crypto::secret::Secret;
use strongroom::format::blob::BlobKind;
use strongroom::format::key_slot::Bundle;
use strongroom::format::node::Timestamp;
use strongroom::format::{index, key_slot, pack};
use strongroom::id::Id;
use strongroom::repository::Repository;
use strongroom::repository::index::Index;
use strongroom::repository::keys::{Credential, NewKey};
use strongroom::repository::session::{self, Usable};
use strongroom::repository::writer::BlobWriter;

use super::Specification;
use super::algorithms::noise;

const HOLDER: [u8; 32] = [3; 32];

/// A repository with one pack of these chunks.
fn stored(chunks: &[Vec<u8>]) -> (Arc<MemoryBackend>, Repository) {
    let backend = Arc::new(MemoryBackend::new());
    let credential = Credential::KeyFile(Secret::new(HOLDER));
    let new = NewKey { credential: &credential, cost: Cost::LEAST, label: "", time: Timestamp::default() };
    let repository = Repository::create(backend.clone(), &new).expect("a repository");
    let known = Index::default();
    let writer = BlobWriter::new(&repository, &known).expect("a writer");
    for chunk in chunks {
        writer.store_blob(BlobKind::Chunk, chunk).expect("it is stored");
    }
    writer.finish(Vec::new()).expect("it is finished");
    (backend, repository)
}

/// The only object of a kind.
fn only(backend: &MemoryBackend, kind: ObjectKind) -> (ObjectName, Vec<u8>) {
    let mut found = backend.snapshot().into_iter().filter(|(name, _)| name.kind == kind);
    let object = found.next().expect("an object");
    assert!(found.next().is_none(), "there is one object of kind {kind:?}");
    object
}

fn open(key: &[u8; 32], associated: &[u8], sealed: &[u8]) -> Vec<u8> {
    let (body, tag) = sealed.split_last_chunk::<16>().expect("a tag");
    let mut plain = body.to_vec();
    ChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(
            &Nonce::from([0; 12]),
            associated,
            InOutBuf::from(plain.as_mut_slice()),
            &Tag::from(*tag),
        )
        .expect("it opens");
    plain
}

fn open_object(key: &[u8; 32], associated: &[u8], sealed: &[u8]) -> Vec<u8> {
    let (salt, rest) = sealed.split_at(32);
    open(blake3::keyed_hash(key, salt).as_bytes(), associated, rest)
}

/// What the seals of objects that are named by their hash bind.
fn bound(kind: [u8; 4], repository: &Id) -> Vec<u8> {
    [b"strongrm", kind.as_slice(), &[1, 0, 0, 0], &repository.0, &[0; 32]].concat()
}

fn bundle(backend: &MemoryBackend) -> Bundle {
    let (_, bytes) = only(backend, ObjectKind::Key);
    let slot = key_slot::decode(&bytes).expect("a slot");
    let key = blake3::derive_key("strongroom 2026-11 v1 slot wrap", &[HOLDER, slot.lock.salt].concat());
    key_slot::decode_bundle(&open_object(&key, slot.bound, slot.sealed_bundle)).expect("a bundle")
}

fn number(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize
}

#[test]
fn a_pack_reads_as_the_text_says() {
    let specification = Specification::read();
    let chunks = [b"vault ".repeat(1000), noise(1, 5000), b"short".to_vec()];
    let (backend, repository) = stored(&chunks);
    let bundle = bundle(&backend);
    let derive =
        |context: &str| blake3::derive_key(&format!("strongroom 2026-11 v1 {context}"), &bundle.write_secret);
    let (name, bytes) = only(&backend, ObjectKind::Pack);
    assert_eq!(pack::padded_length(bytes.len() as u64), bytes.len() as u64);
    let bound_to_pack = bound(*b"pack", repository.id());
    let (rest, trailer) = bytes.split_at(bytes.len() - 52);
    let trailer = open_object(&derive("pack trailers"), &bound_to_pack, trailer);
    let table_length = number(specification.field("pack-trailer", "table length", &trailer));
    let (frames, table) = rest.split_at(rest.len() - table_length);
    let table = open_object(&derive("pack tables"), &bound_to_pack, table);
    let head = |field| specification.field("pack-table-head", field, &table);
    assert_eq!((head("class"), head("envelopes")), (&[1][..], &[1, 0][..]));
    assert_eq!(number(head("entries")), chunks.len());
    assert_eq!(head("frames hash"), blake3::hash(frames).as_bytes());

    let (sealed_key, rest) = table[44..].split_first_chunk().expect("an envelope");
    let info = [b"strongroom v1 content key\0".as_slice(), &repository.id().0, &[1]].concat();
    let secret = Secret::new(bundle.data_secret.expect("a full bundle"));
    let content_key = envelope::open(&secret, &info, sealed_key).expect("it opens");
    let mut offset = 16;
    let mut met = Vec::new();
    for entry in rest.chunks(44).take(chunks.len()) {
        let field = |field| specification.field("pack-entry", field, entry);
        let (kind, blob, plain_length) = (field("kind"), field("blob"), field("plain length"));
        let frame = &frames[offset..][..number(field("stored length"))];
        let input = [kind, blob].concat();
        assert_eq!(input.len(), specification.total("blob-key-input"));
        let key = blake3::keyed_hash(content_key.expose(), &input);
        let bound = [&[1, 0], repository.id().0.as_slice(), &[1], kind, blob, plain_length].concat();
        let sealed = open(key.as_bytes(), &bound, frame);
        let mut plain = sealed[1..].to_vec();
        if sealed[0] == 1 {
            compress::decompress(&sealed[1..], number(plain_length), &mut plain).expect("one zstd frame");
        }
        assert_eq!(plain.len(), number(plain_length));
        assert_eq!(blake3::keyed_hash(&derive("chunk ids"), &plain).as_bytes(), blob);
        met.push((sealed[0], plain));
        offset += frame.len();
    }
    assert_eq!(offset, frames.len());
    met.sort();
    let [compressed, noise, short] = chunks;
    let mut expected = [(1, compressed), (0, noise), (0, short)];
    expected.sort();
    assert_eq!(met, expected);

    let (_, bytes) = only(&backend, ObjectKind::Index);
    assert_eq!(pack::padded_length(bytes.len() as u64), bytes.len() as u64);
    let plain = open_object(&derive("index"), &bound(*b"indx", repository.id()), &bytes[16..]);
    let object = index::decode(&plain).expect("an index object");
    assert_eq!(object.packs.iter().map(|pack| pack.id).collect::<Vec<_>>(), [name.id]);
    assert_eq!(object.packs[0].entries.len(), 3);
}

fn put(backend: &MemoryBackend, kind: ObjectKind, bytes: Vec<u8>) -> Id {
    let id = Id(*blake3::hash(&bytes).as_bytes());
    backend.replace(&ObjectName::new(kind, id), bytes);
    id
}

fn refused(usable: &Usable) -> Vec<(ObjectKind, Id)> {
    let mut refused: Vec<_> = usable.unreadable.iter().map(|(kind, id, _)| (*kind, *id)).collect();
    refused.sort();
    refused
}

#[test]
fn a_pack_is_adopted_only_with_the_frames_that_its_table_was_made_for() {
    let chunk = noise(2, 5000);
    let (backend, repository) = stored(std::slice::from_ref(&chunk));
    let (index_name, _) = only(&backend, ObjectKind::Index);
    let (name, bytes) = only(&backend, ObjectKind::Pack);
    let knows = |usable: &Usable| {
        let id = repository.keyring().blob_id(BlobKind::Chunk, &chunk);
        usable.index.contains(BlobKind::Chunk, &id).expect("the index is in memory")
    };
    let junk = put(&backend, ObjectKind::Index, b"junk".to_vec());
    let usable = session::usable(&repository).expect("junk in the index stops nobody");
    assert_eq!((refused(&usable), usable.adopted.len()), (vec![(ObjectKind::Index, junk)], 0));
    assert!(knows(&usable));

    backend.remove(&index_name);
    let usable = session::usable(&repository).expect("the index is lost");
    assert_eq!(usable.adopted.len(), 1);
    assert!(knows(&usable));

    backend.remove(&name);
    let mut forged = bytes;
    forged[20] ^= 1;
    let forged = put(&backend, ObjectKind::Pack, forged);
    let usable = session::usable(&repository).expect("a forged pack stops nobody");
    assert!(refused(&usable).contains(&(ObjectKind::Pack, forged)));
    assert!(usable.adopted.is_empty() && !knows(&usable));

    let mark = put(&backend, ObjectKind::Forgotten, b"junk".to_vec());
    let snapshots = repository.snapshots().expect("a junk mark stops nobody");
    assert_eq!((snapshots.damaged[0].0, snapshots.damaged[0].1), (ObjectKind::Forgotten, mark));
    put(&backend, ObjectKind::Gc, b"junk".to_vec());
    assert!(session::usable(&repository).is_err(), "a gc record that cannot be read stops a backup");
}
