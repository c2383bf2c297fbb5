//! The seeded build of every vector: what is written to `format-spec/vectors/`.
//!
//! Nothing here calls the program: bytes come from the test writer, which follows the text.

mod blobs;
mod keys;
mod objects;
mod repository;
mod snapshots;
mod trees;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value as Json, json};

use crate::forge::{Bytes32, Forge, Slot, hash, hex, key_file_holder, stream};

pub(crate) use blobs::two_chunks;
pub(crate) use objects::{
    fields as mark_fields, object as mark_object, plaintext as mark_plaintext, record_name as mark_record,
};
pub(crate) use repository::{credentials, expected};
pub(crate) use snapshots::full_manifest;
pub(crate) use trees::{many_chunks, many_nodes, node_kinds};

/// The label that every secret and every random byte of the vectors comes from.
pub(crate) const LABEL: &str = "strongroom vectors";

/// One vector.
pub(crate) struct Case(Map<String, Json>);

impl Case {
    /// A vector that must be taken, with its members.
    pub(crate) fn valid(what: &str, name: &str, members: Json) -> Self {
        Self::new(what, name, None, members)
    }

    /// A vector that must be refused, for a reason of this class.
    pub(crate) fn invalid(what: &str, name: &str, class: &str, members: Json) -> Self {
        Self::new(what, name, Some(class), members)
    }

    fn new(what: &str, name: &str, class: Option<&str>, members: Json) -> Self {
        let mut all = Map::new();
        all.insert("name".into(), name.into());
        all.insert("what".into(), what.into());
        all.insert("valid".into(), class.is_none().into());
        all.extend(class.map(|class| ("class".to_owned(), class.into())));
        all.extend(members.as_object().expect("members").clone());
        Self(all)
    }
}

/// The vectors of chunking.
pub(crate) fn chunking_vectors() -> Vec<Json> {
    blobs::chunking().into_iter().map(|case| case.0.into()).collect()
}

/// The writer with the secrets of all vectors, to be forked.
pub(crate) fn forge() -> &'static Forge {
    static FORGE: OnceLock<Forge> = OnceLock::new();
    FORGE.get_or_init(|| Forge::new(LABEL))
}

/// The key in the key file of the full slot.
pub(crate) fn full_holder() -> Bytes32 {
    key_file_holder(LABEL, "full")
}

/// The slot of this role that a key file opens.
pub(crate) fn slot(role: &'static str) -> Slot {
    Slot {
        role,
        holder: crate::forge::Holder::KeyFile(key_file_holder(LABEL, role)),
        label: format!("{role} key"),
        secret: stream(&format!("{LABEL}: slot {role}"), 32).try_into().unwrap(),
    }
}

/// The complete repository, and what restoring it must give.
pub(crate) fn repository() -> &'static (Forge, Json) {
    static BUILT: OnceLock<(Forge, Json)> = OnceLock::new();
    BUILT.get_or_init(repository::build)
}

/// Bytes with the bit of one of them turned over.
pub(crate) fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// Members of an object that its hash names.
pub(crate) fn hashed(bytes: &[u8]) -> Json {
    json!({"id": hex(&hash(bytes)), "bytes": hex(bytes)})
}

/// Two objects of members as one.
pub(crate) fn join(mut one: Json, other: Json) -> Json {
    one.as_object_mut().expect("members").extend(other.as_object().expect("members").clone());
    one
}

/// Every file of vectors, by name.
pub(crate) fn files() -> BTreeMap<String, String> {
    let chapters: [(&str, Vec<Case>); 10] = [
        ("02-identifiers", keys::identifiers()),
        ("03-cryptography", [keys::primitives(), keys::slots()].concat_cases()),
        ("04-chunking", blobs::chunking()),
        ("05-blob", blobs::frames()),
        ("06-pack", blobs::packs()),
        ("07-index", blobs::indexes()),
        ("08-tree", trees::trees()),
        ("09-snapshot", snapshots::snapshots()),
        ("10-repository", objects::configs()),
        ("11-ordering", objects::marks()),
    ];
    let mut files = BTreeMap::new();
    for (chapter, cases) in chapters {
        let vectors: Vec<Json> = cases.into_iter().map(|case| case.0.into()).collect();
        files.insert(
            format!("{chapter}.json"),
            json!({"chapter": format!("{chapter}.md"), "vectors": vectors}),
        );
    }
    files.insert("keys.json".to_owned(), secrets());
    files.insert("repository.json".to_owned(), repository().1.clone());
    files.into_iter().map(|(name, file)| (name, pretty(&file))).collect()
}

fn pretty(file: &Json) -> String {
    serde_json::to_string_pretty(file).expect("it is JSON") + "\n"
}

trait ConcatCases {
    fn concat_cases(self) -> Vec<Case>;
}

impl<const N: usize> ConcatCases for [Vec<Case>; N] {
    fn concat_cases(self) -> Vec<Case> {
        self.into_iter().flatten().collect()
    }
}

/// Every secret of the vectors' repository.
fn secrets() -> Json {
    let forge = forge();
    let slots: Vec<Json> = ["full", "maintain", "backup"]
        .map(|role| {
            let slot = slot(role);
            let public = slot.verifying_key();
            json!({
                "role": role,
                "key_file": hex(&key_file_holder(LABEL, role)),
                "slot_secret": hex(&slot.secret),
                "verifying_key": hex(&public),
                "certificate": hex(&forge.certificate(crate::forge::records::code("role", role) as u8, &public)),
            })
        })
        .into();
    json!({
        "repository": hex(&forge.repository),
        "write_secret": hex(&forge.write_secret),
        "data_secret": hex(&forge.classes[0].0),
        "data_public": hex(&forge.classes[0].1),
        "metadata_secret": hex(&forge.classes[1].0),
        "metadata_public": hex(&forge.classes[1].1),
        "maintain_secret": hex(&forge.maintain_secret),
        "maintain_public": hex(&crate::forge::verifying_key(&forge.maintain_secret)),
        "slots": slots,
    })
}
