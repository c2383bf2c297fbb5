//! What lies behind a seal, hostile bytes under the right keys included: a target seals its bytes and puts them before
//! the repository as an object.

use strongroom::backend::{ObjectKind, ObjectName};
use strongroom::compress;
use strongroom::crypto::derive::{self, Purpose};
use strongroom::crypto::envelope as envelopes;
use strongroom::crypto::seal::{self, Sealer};
use strongroom::crypto::secret::Secret;
use strongroom::crypto::sign::{self, SignaturePurpose};
use strongroom::error::ErrorKind;
use strongroom::format::blob::{BlobKind, Class, ENCODING_RAW, ENCODING_ZSTD, associated_data};
use strongroom::format::config;
use strongroom::format::header::{self, HeaderKind};
use strongroom::format::index::{self, IndexObject, IndexedPack};
use strongroom::format::marks::{self, Signed};
use strongroom::format::pack::{self, Entry, TABLE_HEAD_LEN};
use strongroom::format::snapshot::{self, SignedManifest};
use strongroom::format::{cbor, key_slot};
use strongroom::id::Id;
use strongroom::limits;
use strongroom::repository::index::{Index, ReadObjects};
use strongroom::repository::key_file::parse_key_file;
use strongroom::repository::keys::Credential;
use strongroom::repository::reader::BlobReader;
use strongroom::repository::{Repository, session};

use super::bench::{self, Bench};
use super::bytes::Source;
use super::{accept, decoded};

/// An envelope that anybody may have made; and a public key that anybody may have put into a bundle.
pub(super) fn envelope(bytes: &[u8]) {
    let mut source = Source(bytes);
    if source.u8().is_multiple_of(2) {
        let envelope = source.array();
        return bench::with(|bench| {
            let secret = bench.secret("data_secret");
            if decoded(envelopes::open(&secret, &info(bench, Class::Data), &envelope)).is_some() {
                assert!(envelopes::open(&secret, &info(bench, Class::Metadata), &envelope).is_err());
            }
        });
    }
    if decoded(envelopes::seal(source.0, b"info", &Secret::new([9; 32]))).is_some() {
        assert_eq!(source.0.len(), envelopes::PUBLIC_LEN);
    }
}

/// What an envelope of this repository binds.
fn info(bench: &Bench, class: Class) -> Vec<u8> {
    let repository = bench.repository.id().as_bytes().as_slice();
    [b"strongroom v1 content key\0", repository, &[class.code()]].concat()
}

/// A signature by a key that anybody may have named.
pub(super) fn signature(bytes: &[u8]) {
    let mut source = Source(bytes);
    let purpose = SignaturePurpose::ALL[usize::from(source.u8()) % SignaturePurpose::ALL.len()];
    let (key, mut signature) = (source.array(), source.array::<64>());
    if decoded(sign::verify(&key, purpose, &[source.0], &signature)).is_none() {
        return;
    }
    assert!(sign::verify(&key, purpose, &[source.0, b"."], &signature).is_err());
    for at in [0, 31, 32, 63] {
        signature[at] ^= 1;
        assert!(sign::verify(&key, purpose, &[source.0], &signature).is_err());
        signature[at] ^= 1;
    }
}

/// The payload of a blob, in a frame whose seal is right.
pub(super) fn frame(bytes: &[u8]) {
    let mut source = Source(bytes);
    let kind = BlobKind::ALL[usize::from(source.u8()) % BlobKind::ALL.len()];
    let (plain_length, payload) = (source.u32(), source.0);
    let expected = opened(payload, plain_length);
    bench::with(|bench| {
        let id = bench.repository.keyring().blob_id(kind, expected.as_deref().unwrap_or(b"another"));
        let found = through_a_pack(bench, kind, id, plain_length, payload);
        let possible = usize::try_from(plain_length).is_ok_and(|length| {
            length <= limits::BLOB_PLAIN_MAX && payload.len() <= length + 1 && !payload.is_empty()
        });
        assert_eq!(found, expected.filter(|_| possible));
    });
}

/// What a payload holds, by the text of the specification.
fn opened(payload: &[u8], plain_length: u32) -> Option<Vec<u8>> {
    let (encoding, body) = payload.split_first()?;
    let length = usize::try_from(plain_length).ok().filter(|length| *length <= limits::BLOB_PLAIN_MAX)?;
    match *encoding {
        ENCODING_RAW => (body.len() == length).then(|| body.to_vec()),
        ENCODING_ZSTD => {
            let mut plain = Vec::new();
            compress::decompress(body, length, &mut plain).ok()?;
            Some(plain)
        }
        _ => None,
    }
}

/// Seals a payload, puts it into a pack that an index names, and reads the blob.
fn through_a_pack(
    bench: &Bench,
    kind: BlobKind,
    id: Id,
    plain_length: u32,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let repository = &bench.repository;
    let content_key = Secret::new([3; 32]);
    let class = kind.class();
    let secret = bench.secret(if class == Class::Data { "data_secret" } else { "metadata_secret" });
    let public = envelopes::public_key(&secret).expect("a key");
    let envelope = envelopes::seal(&public, &info(bench, class), &content_key).expect("it seals");
    let mut frame = payload.to_vec();
    let associated = associated_data(repository.id(), kind, &id, plain_length);
    let sealer = Sealer::new(&derive::blob_key(&content_key, kind.code(), &id));
    let tag = sealer.seal(&associated, &mut frame).expect("it seals");
    frame.extend_from_slice(&tag);
    let stored_length = u32::try_from(frame.len()).expect("inputs are short");
    let entry = Entry { id, kind, envelope: 0, stored_length, plain_length };
    let pack = [header::header(HeaderKind::Pack).as_slice(), &frame].concat();
    let size = pack.len() as u64;
    bench.holding_hashed(ObjectKind::Pack, pack, |pack| {
        let packs = vec![IndexedPack { id: pack, size, class, entries: vec![entry] }];
        let plain = index::encode(&IndexObject { envelopes: vec![envelope], packs }).expect("it encodes");
        let object = bench.sealed(HeaderKind::Index, Purpose::Index, &Id::default(), &plain);
        bench.holding_hashed(ObjectKind::Index, object, |_| {
            let read = ReadObjects::read(repository).expect("damage stops nobody");
            let index = Index::build(&read, &|_| true).expect("it is built");
            let reader = BlobReader::with_index(repository, index);
            let found = reader.with_blob(kind, &id, |plain| Ok(plain.to_vec()));
            if found.is_ok() {
                accept();
            }
            found.map_err(|error| assert_ne!(error.kind(), ErrorKind::Io, "{}", error.chain())).ok()
        })
    })
}

/// A pack that no index names: frames, and a table under the right seal.
pub(super) fn whole_pack(bytes: &[u8]) {
    let mut source = Source(bytes);
    let (tricks, frames) = (source.u8(), source.sized());
    let start = [header::header(HeaderKind::Pack).as_slice(), frames].concat();
    let mut table = source.0.to_vec();
    // The hash of the frames is nothing that is guessed.
    if let Some(hash) = table.get_mut(TABLE_HEAD_LEN - 32..TABLE_HEAD_LEN).filter(|_| tricks & 1 == 0) {
        hash.copy_from_slice(derive::hash(&start).as_bytes());
    }
    bench::with(|bench| {
        let bound = bench.bound(HeaderKind::Pack, &Id::default());
        let seal =
            |purpose, plain: &[u8]| seal::seal_object(&bench.key(purpose), &bound, plain).expect("it seals");
        let sealed = seal(Purpose::PackTables, &table);
        let length = u32::try_from(sealed.len()).expect("inputs are short") + u32::from(tricks >> 1);
        let trailer = seal(Purpose::PackTrailers, &length.to_le_bytes());
        let pack = [start.clone(), sealed, trailer].concat();
        let size = pack.len() as u64;
        let usable = bench.holding_hashed(ObjectKind::Pack, pack, |_| {
            session::usable(&bench.repository).expect("a damaged pack stops nobody")
        });
        assert_eq!(usable.adopted.len() + usable.unreadable.len(), 1);
        let Some((adopted, envelopes)) = usable.adopted.into_iter().next() else { return };
        let expected = pack::decode_table(&table).expect("what was adopted decodes");
        assert_eq!((adopted.entries, envelopes, adopted.size), (expected.entries, expected.envelopes, size));
        assert_eq!(expected.frames_hash, derive::hash(&start));
        accept();
    });
}

/// An index object under the right seal: its places are found, and all of them are told.
pub(super) fn whole_index(bytes: &[u8]) {
    let expected = index::decode(bytes);
    bench::with(|bench| {
        let object = bench.sealed(HeaderKind::Index, Purpose::Index, &Id::default(), bytes);
        let read = bench.holding_hashed(ObjectKind::Index, object, |_| {
            ReadObjects::read(&bench.repository).expect("a damaged index object stops nobody")
        });
        assert_eq!(read.damaged.is_empty(), expected.is_ok());
        let index = Index::build(&read, &|_| true).expect("it is built");
        let mut last = None;
        for place in index.all() {
            let (number, place) = place.expect("it lies in memory");
            assert!(last.is_none_or(|last| last <= place.id), "places rise");
            assert_eq!(index.place(number).expect("a place"), place);
            assert!(index.pack(&place).is_ok() && index.contains(place.kind, &place.id).expect("a search"));
            last = Some(place.id);
        }
        let named = expected.map(|object| object.packs).unwrap_or_default();
        for (pack, entry) in named.iter().flat_map(|pack| pack.entries.iter().map(move |entry| (pack, entry)))
        {
            let places = index.places(entry.kind, &entry.id).expect("a search");
            assert!(places.iter().any(|place| index.pack(place).is_ok_and(|found| found.id == pack.id)));
            accept();
        }
    });
}

/// A manifest under the right signature and seal.
pub(super) fn whole_snapshot(bytes: &[u8]) {
    let id = Id([5; 32]);
    bench::with(|bench| {
        let repository = &bench.repository;
        let parts: [&[u8]; 3] = [repository.id().as_bytes(), id.as_bytes(), bytes];
        let signed = SignedManifest {
            manifest: bytes.to_vec(),
            role: key_slot::Role::Full,
            verifying_key: bench.known("verifying_key"),
            certificate: bench.known("certificate"),
            signature: sign::sign(&bench.secret("slot_secret"), SignaturePurpose::Manifest, &parts),
        };
        let plain = snapshot::encode_signed(&signed).expect("it encodes");
        let object = bench.sealed(HeaderKind::Snapshot, Purpose::Snapshots, &id, &plain);
        bench.holding(ObjectKind::Snapshot, id, object, || {
            let read = decoded(repository.read_snapshot(&id));
            assert_eq!(read.map(|snapshot| snapshot.manifest), snapshot::decode(bytes).ok());
            let listed = repository.snapshots().expect("a damaged snapshot stops nobody");
            assert_eq!(listed.snapshots.len() + listed.damaged.len(), 1);
        });
    });
}

/// A session, a mark or a gc record under the right seal and signature.
pub(super) fn whole_mark(bytes: &[u8]) {
    let mut source = Source(bytes);
    let (which, plain) = (source.u8(), source.0);
    let id = Id([6; 32]);
    bench::with(|bench| {
        let repository = &bench.repository;
        match which % 4 {
            0 => {
                let object = bench.sealed(HeaderKind::Session, Purpose::Sessions, &id, plain);
                let read = bench.holding(ObjectKind::Session, id, object, || repository.read_session(&id));
                assert_eq!(decoded(read), marks::decode_session(plain).ok());
            }
            1 => {
                let object = bench.sealed(HeaderKind::Abandoned, Purpose::Abandoned, &id, plain);
                let read =
                    bench.holding(ObjectKind::Abandoned, id, object, || repository.read_abandoned(&id));
                assert_eq!(decoded(read), marks::decode_abandoned(plain).ok());
            }
            2 => {
                let record = signed(bench, SignaturePurpose::Forgotten, &id, plain);
                let object = bench.sealed(HeaderKind::Forgotten, Purpose::Forgotten, &id, &record);
                let read =
                    bench.holding(ObjectKind::Forgotten, id, object, || repository.read_forgotten(&id));
                assert_eq!(decoded(read), marks::decode_forgotten(plain, &id).ok());
            }
            _ => {
                let record = signed(bench, SignaturePurpose::Gc, &Id::default(), plain);
                let object = bench.sealed(HeaderKind::Gc, Purpose::Gc, &Id::default(), &record);
                bench.holding_hashed(ObjectKind::Gc, object, |id| {
                    let read = decoded(repository.read_condemned(&id));
                    assert_eq!(session::usable(repository).is_ok(), read.is_some(), "damage stops backups");
                    assert_eq!(read, marks::decode_condemned(plain).ok());
                });
            }
        }
    });
}

fn signed(bench: &Bench, purpose: SignaturePurpose, id: &Id, record: &[u8]) -> Vec<u8> {
    let parts: [&[u8]; 3] = [bench.repository.id().as_bytes(), id.as_bytes(), record];
    let signature = sign::sign(&bench.secret("maintain_secret"), purpose, &parts);
    cbor::encode(&Signed { record: record.to_vec(), signature }).expect("it encodes")
}

/// A config whose MAC is right: the repository opens by it, or says what is wrong.
pub(super) fn whole_config(bytes: &[u8]) {
    bench::with(|bench| {
        let mac = derive::keyed_hash(&bench.key(Purpose::ConfigMac), bytes);
        let whole = [bytes, mac.as_bytes()].concat();
        let expected = config::decode(&whole).map(|(config, ..)| config);
        let before = bench.store.snapshot()[&ObjectName::CONFIG].clone();
        bench.store.replace(&ObjectName::CONFIG, whole.clone());
        let key = super::bench::vectors().join("repository-keys/full.key");
        let key = std::fs::read_to_string(key).expect("the key file");
        let key = Credential::KeyFile(parse_key_file(&key).expect("a key file"));
        let opened = Repository::open(bench.store.clone(), &key);
        bench.store.replace(&ObjectName::CONFIG, before);
        match (opened, expected) {
            (Ok(repository), Ok(expected)) => {
                assert_eq!(*repository.config(), expected);
                accept();
            }
            // The slots are of one repository, so that no key opens another.
            (Err(error), Ok(expected)) if expected.repository != *bench.repository.id() => {
                assert_eq!(error.kind(), ErrorKind::WrongKey, "{}", error.chain());
            }
            (Err(error), Err(_)) => {
                assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported));
            }
            (opened, expected) => panic!("{:?}, but {expected:?}", opened.map(|_| "it opens")),
        }
    });
}
