//! Every decoder against damaged and hostile bytes: it answers with an error, or with a value that has just these
//! bytes; it never panics.

use minicbor::bytes::ByteVec;

use super::blob::{BlobKind, Class};
use super::config::{self, CHUNKER_KEYED_GEAR, ChunkSizes, Config};
use super::header::{self, HEADER_LEN, HeaderKind};
use super::index::{self, IndexObject, IndexedPack};
use super::key_slot::{self, Bundle, Label, Lock, Method, Role};
use super::list::{self, List, ListEntry};
use super::marks::{Abandoned, Condemned, Forgotten, Session, Signed};
use super::node::{Attribute, Content, DatabaseState, Extension, Hole, Node, NodeKind, Timestamp};
use super::pack::{self, ENVELOPE_LEN, Entry, TRAILER_LEN, Table};
use super::snapshot::{
    self, Damage, DatabaseOutcome, DatabaseReport, Manifest, Origin, ServiceReport, SignedManifest,
    Statistics, TableRows,
};
use super::tree::{self, InnerEntry, LeafEntry};
use super::{cbor, path};
use crate::error::{ErrorKind, Result};
use crate::id::Id;
use crate::limits;

/// Random numbers from a seed that the test names, so that what fails once fails again.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

/// Holds a property against 1,000 seeds, 20,000 with `STRONGROOM_LONG=1`. One that fails is named;
/// `STRONGROOM_TEST_SEED=n` holds it against that one alone.
pub(crate) fn each_seed(property: impl Fn(u64)) {
    struct Named(u64);
    impl Drop for Named {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let line = format!("this was seed {0}; STRONGROOM_TEST_SEED={0} runs it alone\n", self.0);
                std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).ok();
            }
        }
    }
    let long = std::env::var("STRONGROOM_LONG").is_ok_and(|value| value == "1");
    let seeds = match std::env::var("STRONGROOM_TEST_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..if long { 20_000 } else { 1000 },
    };
    for seed in seeds {
        let named = Named(seed);
        property(seed);
        drop(named);
    }
}

/// A small file.
pub(crate) fn file_node(content: &[Id], size: u64) -> Node {
    Node {
        kind: NodeKind::File,
        mode: 0o640,
        uid: 1000,
        gid: 1000,
        user: b"vault".to_vec(),
        group: b"vault".to_vec(),
        mtime: Timestamp { seconds: 1_700_000_000, nanoseconds: 5 },
        ctime: Timestamp { seconds: -1, nanoseconds: 999_999_999 },
        size,
        device: 2049,
        inode: 77,
        links: 1,
        link_target: None,
        device_number: None,
        attributes: None,
        content: Some(Content::Inline(content.to_vec())),
        holes: None,
        database: None,
        extensions: None,
    }
}

fn full_node() -> Node {
    Node {
        attributes: Some(vec![Attribute { name: b"user.a".to_vec(), value: vec![0, 255] }]),
        content: Some(Content::List { root: Id([4; 32]), level: 2 }),
        holes: Some(vec![Hole { offset: 0, length: 10 }, Hole { offset: 4096, length: 8192 }]),
        database: Some(DatabaseState {
            page_size: 4096,
            run_pages: 1,
            fingerprint: Id([5; 32]),
            checked: true,
        }),
        extensions: Some(vec![Extension { code: 7, value: b"later".to_vec() }]),
        ..file_node(&[], 1 << 33)
    }
}

fn other_node(kind: NodeKind) -> Node {
    Node {
        link_target: (kind == NodeKind::Symlink).then(|| b"target".to_vec()),
        device_number: matches!(kind, NodeKind::BlockDevice | NodeKind::CharacterDevice).then_some(1 << 40),
        kind,
        content: None,
        ..file_node(&[], 0)
    }
}

fn leaf() -> Vec<u8> {
    let entry = |path: &[u8], node| LeafEntry { path: path.to_vec(), node };
    let entries = [
        entry(b"", other_node(NodeKind::Directory)),
        entry(b"attachments/a", file_node(&[Id([1; 32])], 300)),
        entry(b"attachments/a/b", full_node()),
        entry(b"attachments/b", file_node(&[], 0)),
        entry(b"dev", other_node(NodeKind::BlockDevice)),
        entry(b"link", other_node(NodeKind::Symlink)),
    ];
    tree::encode_leaf(&entries).unwrap()
}

fn inner() -> Vec<u8> {
    let entry = |path: &[u8], id| InnerEntry { path: path.to_vec(), id: Id([id; 32]), nodes: 300 };
    tree::encode_inner(2, &[entry(b"", 1), entry(b"data/x", 2), entry(b"data/y", 3)]).unwrap()
}

pub(crate) fn manifest() -> Manifest {
    Manifest {
        time: Timestamp { seconds: 1_790_000_000, nanoseconds: 1 },
        finished: Timestamp { seconds: 1_790_000_060, nanoseconds: 2 },
        host: "server".into(),
        job: None,
        tags: vec!["nightly".into()],
        paths: vec![ByteVec::from(b"/data".to_vec())],
        root: Id([7; 32]),
        level: 1,
        sequence: 3,
        parent: Some(Id([8; 32])),
        excludes: vec!["*.tmp".into()],
        databases: vec![DatabaseReport {
            place: b"db.sqlite3".to_vec(),
            outcome: DatabaseOutcome::Checked,
            page_size: 4096,
            run_pages: 1,
            pages: 1234,
            messages: vec!["ok".into()],
        }],
        service: Some(ServiceReport {
            name: "vaultwarden".into(),
            origins: vec![Origin {
                setting: "DATA_FOLDER".into(),
                value: "data".into(),
                place: Vec::new(),
                host_path: b"/data".to_vec(),
            }],
            schema: Some("2026-01".into()),
            tables: vec![TableRows { table: "ciphers".into(), rows: 12 }],
            files_proved: 3,
            bytes_proved: 999,
            damaged: vec![Damage { place: b"attachments/x".to_vec(), expected: 5, found: None }],
            orphans: vec![ByteVec::from(b"attachments/y".to_vec())],
            deleted_meanwhile: 0,
            being_uploaded: 1,
            whole: false,
            release: Some("2026.2.2".into()),
        }),
        statistics: Statistics { files_new: 2, ..Statistics::default() },
        program: "0.1.0".into(),
        extensions: None,
        original: None,
        dumps: None,
    }
}

fn signed_manifest() -> Vec<u8> {
    let manifest = snapshot::encode(&manifest()).unwrap();
    snapshot::encode_signed(&SignedManifest {
        manifest,
        role: Role::Backup,
        verifying_key: [1; 32],
        certificate: [2; 64],
        signature: [3; 64],
    })
    .unwrap()
}

fn bundle(role: Role) -> Bundle {
    Bundle {
        role,
        write_secret: [1; 32],
        metadata_public: vec![2; 1216],
        data_public: vec![3; 1216],
        maintain_public: [4; 32],
        slot_secret: [5; 32],
        certificate: [6; 64],
        metadata_secret: (role >= Role::Maintain).then_some([7; 32]),
        maintain_secret: (role >= Role::Maintain).then_some([8; 32]),
        data_secret: (role >= Role::Full).then_some([9; 32]),
    }
}

fn slot() -> Vec<u8> {
    let lock = Lock {
        repository: Id([1; 32]),
        method: Method::Password { memory_kib: 65_536, passes: 3, lanes: 4 },
        salt: [2; 32],
        commitment: [3; 32],
    };
    let mut bytes = key_slot::encode_bound(&lock, &[4; 50]).unwrap();
    bytes.extend_from_slice(&[5; 60]);
    bytes
}

fn entries(kind: BlobKind) -> Vec<Entry> {
    let entry = |id, envelope, stored_length, plain_length| Entry {
        id: Id([id; 32]),
        kind,
        envelope,
        stored_length,
        plain_length,
    };
    vec![entry(1, 0, 17, 0), entry(2, 1, 88, 71), entry(3, 0, 40, 5000)]
}

const TABLE_PADDING: usize = 13;

fn table() -> Vec<u8> {
    let table = Table {
        class: Class::Data,
        frames_hash: Id([6; 32]),
        envelopes: vec![[1; ENVELOPE_LEN], [2; ENVELOPE_LEN]],
        entries: entries(BlobKind::Chunk),
    };
    pack::encode_table(&table, TABLE_PADDING).unwrap()
}

fn index_object() -> Vec<u8> {
    let pack = |id, class, kind| IndexedPack { id: Id([id; 32]), size: 4096, class, entries: entries(kind) };
    index::encode(&IndexObject {
        envelopes: vec![[1; ENVELOPE_LEN], [2; ENVELOPE_LEN]],
        packs: vec![pack(1, Class::Data, BlobKind::Chunk), pack(2, Class::Metadata, BlobKind::Leaf)],
    })
    .unwrap()
}

#[test]
fn the_stored_length_of_an_index_object_is_known_before_it_is_written() {
    let around = (super::header::HEADER_LEN + 32 + 16) as u64;
    assert_eq!(index::stored_bytes(2, 2, 6), index_object().len() as u64 + around);
    assert_eq!(
        index::stored_bytes(0, 0, 0),
        index::encode(&IndexObject::default()).unwrap().len() as u64 + around
    );
}

fn config_object() -> Vec<u8> {
    let chunks = |minimum| ChunkSizes { minimum, average: 1 << 16, maximum: 1 << 18 };
    let config = Config {
        repository: Id([9; 32]),
        required_features: Vec::new(),
        optional_features: vec!["grease".into()],
        chunker: CHUNKER_KEYED_GEAR,
        file_chunks: chunks(1 << 14),
        dump_chunks: chunks(1 << 12),
        created: Timestamp { seconds: 1_790_000_000, nanoseconds: 0 },
    };
    let mut bytes = config::encode(&config).unwrap();
    bytes.extend_from_slice(&[7; config::MAC_LEN]);
    bytes
}

/// Decodes and encodes again.
type Again = fn(&[u8]) -> Result<Vec<u8>>;

fn again_cbor<T>(bytes: &[u8]) -> Result<Vec<u8>>
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
{
    cbor::encode(&cbor::decode::<T>(bytes, "record")?)
}

fn again_table(bytes: &[u8]) -> Result<Vec<u8>> {
    let table = pack::decode_table(bytes)?;
    // Offsets are added up from lengths that the table says.
    pack::frame_offsets(&table.entries, bytes.len() as u64).ok();
    pack::encode_table(&table, bytes.len() - pack::table_length(&table))
}

/// An index may have any number of zeros at its end: they pad the object.
fn again_index(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoded = index::encode(&index::decode(bytes)?)?;
    assert!(encoded.get(bytes.len()..).unwrap_or_default().iter().all(|byte| *byte == 0));
    encoded.resize(bytes.len(), 0);
    Ok(encoded)
}

fn again_list(bytes: &[u8], level: u8) -> Result<Vec<u8>> {
    Ok(match list::decode(bytes, level)? {
        List::Chunks(ids) => list::encode_chunks(&ids),
        List::Lists { level, entries } => list::encode_lists(level, &entries),
    })
}

fn again_slot(bytes: &[u8]) -> Result<Vec<u8>> {
    let slot = key_slot::decode(bytes)?;
    let mut encoded = key_slot::encode_bound(&slot.lock, slot.sealed_label)?;
    assert_eq!(slot.bound, encoded);
    encoded.extend_from_slice(slot.sealed_bundle);
    Ok(encoded)
}

fn again_config(bytes: &[u8]) -> Result<Vec<u8>> {
    let (config, covered, mac) = config::decode(bytes)?;
    let encoded = config::encode(&config)?;
    assert_eq!(covered, encoded);
    Ok([encoded.as_slice(), &mac].concat())
}

fn decoders() -> Vec<(&'static str, Vec<u8>, Again)> {
    let id = Id([1; 32]);
    let time = Timestamp { seconds: 1, nanoseconds: 2 };
    let session =
        Session { host: "server".into(), host_id: id, started: time, process: 4, program: "0.1.0".into() };
    let label = Label {
        role: Role::Full,
        text: "admin".into(),
        created: time,
        verifying_key: [1; 32],
        certificate: [2; 64],
    };
    let lists = [ListEntry { id, bytes: 70_000 }, ListEntry { id: Id([2; 32]), bytes: 0 }];
    vec![
        ("leaf", leaf(), |bytes| tree::encode_leaf(&tree::decode_leaf(bytes)?)),
        ("inner", inner(), |bytes| tree::encode_inner(2, &tree::decode_inner(bytes, 2)?)),
        ("manifest", snapshot::encode(&manifest()).unwrap(), |bytes| {
            snapshot::encode(&snapshot::decode(bytes)?)
        }),
        ("signed manifest", signed_manifest(), |bytes| {
            snapshot::encode_signed(&snapshot::decode_signed(bytes)?)
        }),
        ("bundle", key_slot::encode_bundle(&bundle(Role::Full)).unwrap(), |bytes| {
            key_slot::encode_bundle(&key_slot::decode_bundle(bytes)?)
        }),
        ("label", key_slot::encode_label(&label).unwrap(), |bytes| {
            key_slot::encode_label(&key_slot::decode_label(bytes)?)
        }),
        ("slot", slot(), again_slot),
        ("table", table(), again_table),
        ("index", index_object(), again_index),
        ("config", config_object(), again_config),
        ("chunks", list::encode_chunks(&[id; 3]), |bytes| again_list(bytes, 0)),
        ("lists", list::encode_lists(3, &lists), |bytes| again_list(bytes, 3)),
        ("session", cbor::encode(&session).unwrap(), again_cbor::<Session>),
        ("abandoned", cbor::encode(&Abandoned { host: "a".into(), time }).unwrap(), again_cbor::<Abandoned>),
        (
            "forgotten",
            cbor::encode(&Forgotten { snapshot: id, time, number: None }).unwrap(),
            again_cbor::<Forgotten>,
        ),
        (
            "condemned",
            cbor::encode(&Condemned { packs: vec![id, Id([2; 32])], time }).unwrap(),
            again_cbor::<Condemned>,
        ),
        (
            "signed",
            cbor::encode(&Signed { record: vec![1, 2, 3], signature: [4; 64] }).unwrap(),
            again_cbor::<Signed>,
        ),
    ]
}

fn check(name: &str, bytes: &[u8], again: Again) {
    if let Ok(encoded) = again(bytes) {
        assert_eq!(encoded, bytes, "{name}: two encodings of one value");
    }
}

#[test]
fn what_is_encoded_is_decoded() {
    for (name, bytes, again) in decoders() {
        assert_eq!(again(&bytes).unwrap(), bytes, "{name}");
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_an_error_or_another_value() {
    for (name, bytes, again) in decoders() {
        let mut damaged = bytes.clone();
        for index in 0..bytes.len() {
            for bit in 0..8 {
                damaged[index] ^= 1 << bit;
                check(name, &damaged, again);
                damaged[index] ^= 1 << bit;
            }
            check(name, &bytes[..index], again);
        }
        for extra in [0, 1, 0xf6, 0xff] {
            damaged.push(extra);
            check(name, &damaged, again);
            damaged.pop();
        }
    }
}

#[test]
fn random_bytes_are_an_error_or_a_value() {
    let mut random = Random::new(20_261);
    for (name, bytes, again) in decoders() {
        for _ in 0..20_000 {
            let length = random.below(300);
            check(name, &random.bytes(length), again);
            // Noise alone seldom gets behind the first field: bytes in a sound encoding do.
            let mut spliced = bytes.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(spliced.len());
                spliced[at] = random.bytes(1)[0];
            }
            if random.below(3) == 0 {
                let at = random.below(spliced.len());
                let length = random.below(9);
                let noise = random.bytes(length);
                spliced.splice(at..at, noise);
            }
            check(name, &spliced, again);
        }
    }
}

#[test]
fn places_in_packs_never_lie_outside() {
    let mut random = Random::new(20_262);
    for _ in 0..20_000 {
        let size = random.next() >> random.below(64);
        let trailer = (random.next() as u32 >> random.below(32)).to_le_bytes();
        if let Ok((offset, length)) = pack::table_place(size, &trailer) {
            assert!(offset >= HEADER_LEN as u64 && offset + length + TRAILER_LEN as u64 == size);
            assert!(size <= limits::PACK_MAX);
        }
    }
}

#[test]
fn a_header_names_what_is_wrong() {
    let bytes = header::header(HeaderKind::Index);
    assert_eq!(header::strip(HeaderKind::Index, &bytes).unwrap(), b"");
    let error = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.to_vec();
        change(&mut bytes);
        let error = header::strip(HeaderKind::Index, &bytes).unwrap_err();
        (error.kind(), error.to_string())
    };
    let corrupt = |text: &str| (ErrorKind::Corrupt, text.to_owned());
    assert_eq!(error(&|bytes| bytes.truncate(15)), corrupt("index: it ends within its header"));
    assert_eq!(
        error(&|bytes| bytes[0] ^= 1),
        corrupt("index: it does not start as a Strongroom object does")
    );
    assert_eq!(error(&|bytes| bytes[8] ^= 1), corrupt("index: another kind of object lies under this name"));
    assert_eq!(
        error(&|bytes| bytes[12] = 2),
        (ErrorKind::Unsupported, "index: format version 2; this program reads version 1".into())
    );
    assert_eq!(error(&|bytes| bytes[14] = 1), corrupt("index: a reserved field is not zero"));
}

#[test]
fn a_bundle_holds_just_what_its_role_says() {
    for role in [Role::Backup, Role::Maintain, Role::Full] {
        let right = bundle(role);
        let accepted = |change: &dyn Fn(&mut Bundle)| {
            let mut bundle = right.clone();
            change(&mut bundle);
            key_slot::decode_bundle(&key_slot::encode_bundle(&bundle).unwrap()).is_ok()
        };
        assert!(accepted(&|_| {}));
        assert!(!accepted(&|bundle| bundle.data_secret = bundle.data_secret.xor(Some([1; 32]))));
        assert!(!accepted(&|bundle| bundle.metadata_secret = bundle.metadata_secret.xor(Some([1; 32]))));
        assert!(!accepted(&|bundle| bundle.maintain_secret = bundle.maintain_secret.xor(Some([1; 32]))));
    }
}

#[test]
fn what_a_slot_may_ask_of_memory_is_bounded() {
    let slot = |memory_kib, passes, lanes| {
        let lock = Lock {
            repository: Id([1; 32]),
            method: Method::Password { memory_kib, passes, lanes },
            salt: [2; 32],
            commitment: [3; 32],
        };
        let bytes = key_slot::encode_bound(&lock, b"label").unwrap();
        key_slot::decode(&bytes).map(|_| ())
    };
    slot(8, 1, 1).unwrap();
    slot(limits::ARGON2_MEMORY_MAX_KIB, limits::ARGON2_PASSES_MAX, limits::ARGON2_LANES_MAX).unwrap();
    for (memory, passes, lanes) in
        [(u32::MAX, 1, 1), (1 << 21, 1, 1), (8, 0, 1), (8, 17, 1), (8, 1, 0), (1024, 1, 17), (15, 1, 2)]
    {
        assert_eq!(slot(memory, passes, lanes).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn counts_are_held_against_the_bytes_before_anything_is_allocated() {
    let mut head = vec![1, 0, 0, 0];
    head.extend_from_slice(&u16::MAX.to_le_bytes());
    head.extend_from_slice(&[0, 0]);
    head.extend_from_slice(&u32::MAX.to_le_bytes());
    assert!(pack::decode_table(&head).is_err());
    assert!(index::decode(&[0xff; 8]).is_err());
    assert!(index::decode(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).is_err());
    // CBOR: an array of 2^60 entries, a text of 2^60 bytes.
    assert!(cbor::decode::<Vec<Id>>(&[0x9b, 16, 0, 0, 0, 0, 0, 0, 0], "list").is_err());
    assert!(cbor::decode::<String>(&[0x7b, 16, 0, 0, 0, 0, 0, 0, 0], "text").is_err());
}

#[test]
fn nesting_does_not_recurse() {
    let mut bytes = vec![0x81; 4 << 20];
    bytes.push(0);
    for (_, _, again) in decoders() {
        assert!(again(&bytes).is_err());
    }
    // An unknown key, whose value is skipped.
    let record = [&[0xa1, 0x18, 0x63], bytes.as_slice()].concat();
    assert!(snapshot::decode(&record).is_err());
    let indefinite = [&[0xa1, 0x18, 0x63], vec![0x9f; 4 << 20].as_slice()].concat();
    assert!(snapshot::decode(&indefinite).is_err());
}

#[test]
fn a_small_leaf_does_not_become_gigabytes_of_paths() {
    let component = [b'a'; path::MAX_COMPONENT];
    let mut long = Vec::new();
    while long.len() + component.len() + 8 < path::MAX_LENGTH {
        path::push(&mut long, &component);
    }
    let paths = |count: u32| {
        let name = |number: u32| [long.as_slice(), format!("/{number:06}").as_bytes()].concat();
        (0..count).map(name).collect::<Vec<_>>()
    };
    let leaf = |count| {
        let entry = |path| LeafEntry { path, node: file_node(&[], 0) };
        tree::encode_leaf(&paths(count).into_iter().map(entry).collect::<Vec<_>>()).unwrap()
    };
    let inner = |count| {
        let entry = |path| InnerEntry { path, id: Id([1; 32]), nodes: 1 };
        tree::encode_inner(1, &paths(count).into_iter().map(entry).collect::<Vec<_>>()).unwrap()
    };
    assert!(leaf(5000).len() < limits::BLOB_PLAIN_MAX);
    assert_eq!(tree::decode_leaf(&leaf(4)).unwrap().len(), 4);
    assert_eq!(tree::decode_inner(&inner(4), 1).unwrap().len(), 4);
    assert!(tree::decode_leaf(&leaf(5000)).unwrap_err().to_string().contains("too long"));
    assert!(tree::decode_inner(&inner(5000), 1).unwrap_err().to_string().contains("too long"));
}

#[test]
fn paths_that_do_not_rise_are_refused() {
    let leaf = |paths: &[&[u8]]| {
        let entry = |path: &&[u8]| LeafEntry { path: path.to_vec(), node: file_node(&[], 0) };
        tree::decode_leaf(&tree::encode_leaf(&paths.iter().map(entry).collect::<Vec<_>>()).unwrap())
    };
    assert_eq!(leaf(&[b"a", b"a/b", b"a-b"]).unwrap().len(), 3);
    for paths in [
        [&b"a-b"[..], b"a/b"],
        [b"a", b"a"],
        [b"b", b"a"],
        [b"a", b"b/../c"],
        [b"a", b"/b"],
        [b"a", b"b/"],
        [b"a", b"b\0"],
    ] {
        assert_eq!(leaf(&paths).unwrap_err().kind(), ErrorKind::Corrupt, "{paths:?}");
    }
}

#[test]
fn nodes_out_of_range_are_refused() {
    let refused = |change: &dyn Fn(&mut Node)| {
        let mut node = file_node(&[], 100);
        change(&mut node);
        let leaf = tree::encode_leaf(&[LeafEntry { path: b"a".to_vec(), node }]).unwrap();
        tree::decode_leaf(&leaf).is_err()
    };
    let hole = |offset, length| Hole { offset, length };
    assert!(!refused(&|_| {}));
    assert!(!refused(&|node| node.holes = Some(vec![hole(0, 10), hole(20, 80)])));
    assert!(refused(&|node| node.holes = Some(vec![hole(0, 0)])));
    assert!(refused(&|node| node.holes = Some(vec![hole(10, 20), hole(20, 20)])));
    assert!(refused(&|node| node.holes = Some(vec![hole(10, 20), hole(30, 20)])));
    assert!(refused(&|node| node.holes = Some(Vec::new())));
    assert!(refused(&|node| node.content = None));
    assert!(refused(&|node| node.kind = NodeKind::Directory));
    assert!(refused(&|node| node.link_target = Some(b"x".to_vec())));
    assert!(refused(&|node| node.device_number = Some(1)));
    assert!(!refused(&|node| *node = other_node(NodeKind::CharacterDevice)));
    assert!(refused(&|node| {
        *node = Node { device_number: None, ..other_node(NodeKind::CharacterDevice) };
    }));
    let attribute = |name: &[u8], length| Attribute { name: name.to_vec(), value: vec![0; length] };
    assert!(!refused(&|node| node.attributes = Some(vec![attribute(b"a", 1), attribute(b"b", 0)])));
    assert!(refused(&|node| node.attributes = Some(vec![attribute(b"b", 1), attribute(b"a", 0)])));
    assert!(refused(&|node| node.attributes = Some(vec![attribute(b"a", limits::ATTRIBUTES_MAX)])));
    assert!(refused(&|node| node.holes = Some(vec![hole(90, 11)])));
    assert!(refused(&|node| node.holes = Some(vec![hole(u64::MAX, 2)])));
    assert!(refused(&|node| node.mode = 0o10000));
    assert!(refused(&|node| node.mtime.nanoseconds = 1_000_000_000));
    assert!(refused(&|node| node.ctime.nanoseconds = 1_000_000_000));
    assert!(refused(&|node| node.content = Some(Content::Inline(vec![Id([0; 32]); 33]))));
    assert!(refused(&|node| node.content = Some(Content::List { root: Id([0; 32]), level: 13 })));
}

#[test]
fn a_root_is_a_folder() {
    for (kind, taken) in [(NodeKind::Directory, true), (NodeKind::Symlink, false), (NodeKind::Fifo, false)] {
        let entry = LeafEntry { path: Vec::new(), node: other_node(kind) };
        let leaf = tree::encode_leaf(std::slice::from_ref(&entry)).unwrap();
        assert_eq!(tree::decode_leaf(&leaf).is_ok(), taken, "{kind:?}");
    }
}

#[test]
fn a_manifest_beyond_the_limits_is_neither_written_nor_read() {
    for change in [
        (|manifest| manifest.tags.push("t".repeat(limits::TEXT_MAX + 1))) as fn(&mut Manifest),
        |manifest| manifest.host = "h".repeat(limits::TEXT_MAX + 1),
        |manifest| manifest.level = limits::LEVEL_MAX + 1,
    ] {
        let mut manifest = manifest();
        change(&mut manifest);
        assert!(snapshot::encode(&manifest).is_err());
        assert!(snapshot::decode(&cbor::encode(&manifest).unwrap()).is_err());
    }
}
