//! The test writer: it lays out and seals every object by the text of the specification, with primitive crates
//! and without the program, so that the program's encoder is never its own judge, and so that hostile fields lie
//! under valid keys.
//!
//! Invariant: the same label gives the same bytes. Whatever a real writer draws at random comes from it.
#![allow(dead_code, reason = "each theme uses its part")]

pub(crate) mod cbor;
pub(crate) mod keys;
pub(crate) mod packs;
pub(crate) mod records;
mod seal;
pub(crate) mod site;

use std::collections::BTreeMap;
use std::path::Path;

pub(crate) use keys::{Holder, Slot, SlotParts};
pub(crate) use packs::{Blob, Entry, PackParts};
pub(crate) use seal::{Signer, encapsulate, public_key, seal_object, sign, verifying_key};

/// The key of an id: 32 bytes.
pub(crate) type Bytes32 = [u8; 32];

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text:?} has an odd number of digits");
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(digit).collect()
}

pub(crate) fn hash(bytes: &[u8]) -> Bytes32 {
    *blake3::hash(bytes).as_bytes()
}

/// As many bytes as wanted, from a label: BLAKE3 of it as an extendable output.
pub(crate) fn stream(label: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(label.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// The header of an object.
pub(crate) fn header(kind: &[u8; 4]) -> Vec<u8> {
    [b"strongrm".as_slice(), kind, &[1, 0, 0, 0]].concat()
}

/// The least length not below this one that is a Padmé length.
pub(crate) fn padme(length: usize) -> usize {
    if length < 2 {
        return length;
    }
    let exponent = length.ilog2();
    let bits = exponent.max(1).ilog2() + 1;
    length.next_multiple_of(1 << exponent.saturating_sub(bits))
}

/// A writer, the secrets of its repository, and the objects that it made.
pub(crate) struct Forge {
    label: String,
    /// What its draws are named by, and how many there were.
    draws: (String, u64),
    pub(crate) repository: Bytes32,
    pub(crate) write_secret: Bytes32,
    /// Of the classes data and metadata: secret key, public key.
    pub(crate) classes: [(Bytes32, Vec<u8>); 2],
    pub(crate) maintain_secret: Bytes32,
    /// Content keys in use, each with its envelope.
    content: [Option<(Bytes32, Vec<u8>)>; 2],
    /// Blobs of data and of metadata that lie in no pack yet.
    pending: [Vec<Blob>; 2],
    /// Every object by its path in the repository.
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
}

impl Forge {
    /// The writer for the repository of this label.
    pub(crate) fn new(label: &str) -> Self {
        let fixed = |name: &str| -> Bytes32 { stream(&format!("{label}: {name}"), 32).try_into().unwrap() };
        let class = |name: &str| {
            let secret = fixed(name);
            (secret, public_key(&secret))
        };
        Self {
            label: label.to_owned(),
            draws: (label.to_owned(), 0),
            repository: fixed("repository"),
            write_secret: fixed("write secret"),
            classes: [class("data"), class("metadata")],
            maintain_secret: fixed("maintain"),
            content: [None, None],
            pending: [Vec::new(), Vec::new()],
            objects: BTreeMap::new(),
        }
    }

    /// A writer for the same repository with draws, and objects, of its own.
    pub(crate) fn fork(&self, name: &str) -> Self {
        Self { draws: (format!("{}: {name}", self.label), 0), ..Self::new(&self.label) }
    }

    /// The next bytes that a real writer would draw at random.
    pub(crate) fn draw<const N: usize>(&mut self) -> [u8; N] {
        self.draws.1 += 1;
        stream(&format!("{}: drawn {}", self.draws.0, self.draws.1), N).try_into().unwrap()
    }

    /// The key for a purpose, by the end of its context string.
    pub(crate) fn derive(&self, purpose: &str) -> Bytes32 {
        blake3::derive_key(&format!("strongroom 2026-11 v1 {purpose}"), &self.write_secret)
    }

    /// Stores an object under this id.
    pub(crate) fn put(&mut self, folder: &str, id: &Bytes32, bytes: Vec<u8>) {
        let id = hex(id);
        let below = if folder == "packs" { format!("{}/", &id[..2]) } else { String::new() };
        self.objects.insert(format!("{folder}/{below}{id}"), bytes);
    }

    /// Stores an object under its hash.
    pub(crate) fn put_hashed(&mut self, folder: &str, bytes: Vec<u8>) -> Bytes32 {
        let id = hash(&bytes);
        self.put(folder, &id, bytes);
        id
    }

    /// Writes all objects into a folder.
    pub(crate) fn write_to(&self, folder: &Path) {
        // A local repository has a folder for every kind, also where there is none of it.
        for kind in ["keys", "packs", "index", "snapshots", "abandoned", "forgotten", "sessions", "gc"] {
            std::fs::create_dir_all(folder.join(kind)).expect("make the folders");
        }
        for (path, bytes) in &self.objects {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).expect("make the folders");
            std::fs::write(path, bytes).expect("write the object");
        }
    }
}

/// The key in the key file of a role.
pub(crate) fn key_file_holder(label: &str, role: &str) -> Bytes32 {
    stream(&format!("{label}: key file {role}"), 32).try_into().unwrap()
}
