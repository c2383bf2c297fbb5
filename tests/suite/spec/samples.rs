//! One value of every record, with every optional field set.

use strongroom::format::config::{CHUNKER_KEYED_GEAR, Config};
use strongroom::format::key_slot::{Bundle, Label, Lock, Method, Role};
use strongroom::format::marks::{Abandoned, Condemned, Forgotten, Session, Signed, UsedNumber};
use strongroom::format::node::{
    Attribute, Content, DatabaseState, Extension, Hole, Node, NodeKind, Timestamp,
};
use strongroom::format::snapshot::{
    Change, Damage, DatabaseOutcome, DatabaseReport, DumpKind, DumpReport, Manifest, Origin, Original,
    ServiceReport, SignedManifest, Statistics, TableRows,
};
use strongroom::format::tree::{self, InnerEntry, LeafEntry};
use strongroom::format::{cbor, config, key_slot, snapshot};
use strongroom::id::Id;
use strongroom::repository::{DUMP_CHUNKS, FILE_CHUNKS};

const ID: Id = Id([7; 32]);
const TIME: Timestamp = Timestamp { seconds: -1, nanoseconds: 5 };

/// The records that stand alone, by the names of their tables, encoded; those within others come with them.
pub(crate) fn encoded() -> Vec<(&'static str, Vec<u8>)> {
    let text = || "text".to_owned();
    let lock = |method| Lock { repository: ID, method, salt: [1; 32], commitment: [2; 32] };
    let leaf = [
        LeafEntry { path: b"a".to_vec(), node: node(Content::Inline(vec![ID])) },
        LeafEntry { path: b"a/b".to_vec(), node: node(Content::List { root: ID, level: 2 }) },
    ];
    let inner = [InnerEntry { path: b"a".to_vec(), id: ID, nodes: 3 }];
    let config = Config {
        repository: ID,
        required_features: vec![text()],
        optional_features: vec![text()],
        chunker: CHUNKER_KEYED_GEAR,
        file_chunks: FILE_CHUNKS,
        dump_chunks: DUMP_CHUNKS,
        created: TIME,
    };
    let label =
        Label { role: Role::Full, text: text(), created: TIME, verifying_key: [1; 32], certificate: [2; 64] };
    let all = [
        ("config", cbor::encode(&config)),
        ("lock", cbor::encode(&lock(Method::KeyFile))),
        ("lock", cbor::encode(&lock(Method::Password { memory_kib: 8, passes: 1, lanes: 1 }))),
        ("label", key_slot::encode_label(&label)),
        ("bundle", key_slot::encode_bundle(&bundle())),
        ("leaf-entry", tree::encode_leaf(&leaf)),
        ("inner-node", tree::encode_inner(1, &inner)),
        ("manifest", snapshot::encode(&manifest())),
        ("signed-manifest", snapshot::encode_signed(&signed_manifest())),
        (
            "session",
            cbor::encode(&Session { host: text(), host_id: ID, started: TIME, process: 1, program: text() }),
        ),
        ("abandoned", cbor::encode(&Abandoned { host: text(), time: TIME })),
        ("forgotten", cbor::encode(&forgotten())),
        ("dump-report", cbor::encode(&dump())),
        ("original", cbor::encode(&original())),
        ("used-number", cbor::encode(&used_number())),
        ("condemned", cbor::encode(&Condemned { packs: vec![ID], time: TIME })),
        ("signed", cbor::encode(&Signed { record: vec![1], signature: [2; 64] })),
    ];
    // Also through the object, so that the record cannot differ there.
    assert!(config::encode(&config).is_ok());
    all.map(|(name, bytes)| (name, bytes.unwrap_or_else(|error| panic!("{name}: {error}")))).into()
}

pub(crate) fn node(content: Content) -> Node {
    Node {
        kind: NodeKind::File,
        mode: 0o644,
        uid: 1,
        gid: 2,
        user: b"u".to_vec(),
        group: b"g".to_vec(),
        mtime: TIME,
        ctime: TIME,
        size: 9,
        device: 3,
        inode: 4,
        links: 1,
        link_target: Some(b"to".to_vec()),
        device_number: Some(5),
        attributes: Some(vec![Attribute { name: b"user.a".to_vec(), value: vec![1] }]),
        content: Some(content),
        holes: Some(vec![Hole { offset: 1, length: 2 }]),
        database: Some(DatabaseState { page_size: 4096, run_pages: 1, fingerprint: ID, checked: true }),
        extensions: Some(vec![extension()]),
    }
}

fn bundle() -> Bundle {
    Bundle {
        role: Role::Full,
        write_secret: [1; 32],
        metadata_public: vec![2; 1216],
        data_public: vec![3; 1216],
        maintain_public: [4; 32],
        slot_secret: [5; 32],
        certificate: [6; 64],
        metadata_secret: Some([7; 32]),
        maintain_secret: Some([8; 32]),
        data_secret: Some([9; 32]),
    }
}

pub(crate) fn manifest() -> Manifest {
    let text = || "text".to_owned();
    let service = ServiceReport {
        name: text(),
        origins: vec![Origin { setting: text(), value: text(), place: vec![1], host_path: vec![2] }],
        schema: Some(text()),
        tables: vec![TableRows { table: text(), rows: 1 }],
        files_proved: 1,
        bytes_proved: 2,
        damaged: vec![Damage { place: vec![1], expected: 3, found: Some(4) }],
        orphans: vec![vec![1].into()],
        deleted_meanwhile: 5,
        being_uploaded: 6,
        whole: true,
        release: Some(text()),
    };
    Manifest {
        time: TIME,
        finished: TIME,
        host: text(),
        job: Some(text()),
        tags: vec![text()],
        paths: vec![vec![1].into()],
        root: ID,
        level: 1,
        sequence: 2,
        parent: Some(ID),
        excludes: vec![text()],
        databases: vec![DatabaseReport {
            place: vec![1],
            outcome: DatabaseOutcome::Checked,
            page_size: 4096,
            run_pages: 1,
            pages: 3,
            messages: vec![text()],
        }],
        service: Some(service),
        statistics: Statistics::default(),
        program: text(),
        extensions: Some(vec![extension()]),
        original: Some(original()),
        dumps: Some(vec![dump()]),
    }
}

fn dump() -> DumpReport {
    let text = || "text".to_owned();
    DumpReport {
        place: vec![1],
        kind: DumpKind::Postgres,
        database: Some(text()),
        server: Some(text()),
        client: Some(text()),
        bytes: 2,
        tables: vec![TableRows { table: text(), rows: 3 }],
        without_rows: vec![text()],
        messages: vec![text()],
    }
}

fn original() -> Original {
    Original { snapshot: ID, writer: [1; 32], sequence: 1, made_from: ID, change: Change::Rewritten }
}

fn used_number() -> UsedNumber {
    UsedNumber { writer: [1; 32], sequence: 1, snapshot: ID, finished: Some(TIME) }
}

fn forgotten() -> Forgotten {
    Forgotten { snapshot: ID, time: TIME, number: Some(used_number()) }
}

fn extension() -> Extension {
    Extension { code: 1, value: vec![0xff] }
}

fn signed_manifest() -> SignedManifest {
    SignedManifest {
        manifest: vec![1],
        role: Role::Backup,
        verifying_key: [2; 32],
        certificate: [3; 64],
        signature: [4; 64],
    }
}
