//! Whole repositories: files, trees, snapshots and marks.

use serde_json::{Value as Json, json};

use super::cbor::Cbor;
use super::packs::{Blob, class_of, index_plain};
use super::records::{code, record};
use super::seal::{Signer, sign};
use super::{Bytes32, Forge, Slot, hex};

/// A node of this kind, with `fields` in the place of what it would have by itself.
pub(crate) fn node(kind: &str, fields: Json) -> Json {
    let mut node = json!({
        "kind": kind,
        "mode": if kind == "directory" { 0o755 } else { 0o644 },
        "uid": 1000,
        "gid": 1000,
        "user": hex(b"alice"),
        "group": hex(b"users"),
        "mtime": {"seconds": 1_793_999_000, "nanoseconds": 123_456_789},
        "ctime": {"seconds": 1_793_999_001, "nanoseconds": 0},
        "size": 0,
        "device": 2049,
        "inode": 77,
        "links": 1,
    });
    for (name, value) in fields.as_object().expect("fields") {
        node[name] = value.clone();
    }
    node
}

/// The bytes of a leaf: paths shortened by what they share with the one before.
pub(crate) fn leaf(entries: &[(Vec<u8>, Json)]) -> Cbor {
    let paths: Vec<&[u8]> = entries.iter().map(|(path, _)| path.as_slice()).collect();
    let stored = shortened(&paths).into_iter().zip(entries).map(|((shared, suffix), (_, node))| {
        record("leaf-entry", &json!({"shared": shared, "suffix": hex(&suffix), "node": node}))
    });
    Cbor::Array(stored.collect())
}

/// An inner node of children: first path, id, number of nodes.
pub(crate) fn inner(level: u8, children: &[(Vec<u8>, Bytes32, u64)]) -> Cbor {
    let paths: Vec<&[u8]> = children.iter().map(|(path, ..)| path.as_slice()).collect();
    let stored = shortened(&paths).into_iter().zip(children).map(|((shared, suffix), (_, id, nodes))| {
        json!({"shared": shared, "suffix": hex(&suffix), "id": hex(id), "nodes": nodes})
    });
    record("inner-node", &json!({"level": level, "entries": stored.collect::<Vec<_>>()}))
}

fn shortened(paths: &[&[u8]]) -> Vec<(u64, Vec<u8>)> {
    let befores = std::iter::once([].as_slice()).chain(paths.iter().copied());
    let shorten = |(before, path): (&[u8], &&[u8])| {
        let shared = before.iter().zip(*path).take_while(|(a, b)| a == b).count();
        (shared as u64, path[shared..].to_vec())
    };
    befores.zip(paths).map(shorten).collect()
}

impl Forge {
    /// Seals a blob for a pack to come.
    pub(crate) fn store(&mut self, kind: u8, plain: &[u8]) -> Bytes32 {
        let blob = self.blob(kind, plain);
        self.store_blob(blob)
    }

    /// Keeps a sealed blob for a pack to come, unless one of its id is kept already.
    pub(crate) fn store_blob(&mut self, blob: Blob) -> Bytes32 {
        let id = blob.id;
        let pending = &mut self.pending[usize::from(class_of(blob.kind)) - 1];
        if !pending.iter().any(|known| known.id == id) {
            pending.push(blob);
        }
        id
    }

    /// The content of a file, in chunks of this length: named inline up to 32, else in lists of 30 entries.
    pub(crate) fn content(&mut self, data: &[u8], chunk: usize) -> Json {
        let chunks: Vec<(Bytes32, u64)> =
            data.chunks(chunk).map(|chunk| (self.store(1, chunk), chunk.len() as u64)).collect();
        if chunks.len() <= 32 {
            return json!({"inline": {"chunks": chunks.iter().map(|(id, _)| hex(id)).collect::<Vec<_>>()}});
        }
        let (mut level, mut entries) = (0u8, chunks);
        loop {
            let mut parents = Vec::new();
            for part in entries.chunks(30) {
                let mut plain = vec![level];
                for (id, bytes) in part {
                    plain.extend(id);
                    if level > 0 {
                        plain.extend(bytes.to_le_bytes());
                    }
                }
                parents.push((self.store(2, &plain), part.iter().map(|(_, bytes)| bytes).sum()));
            }
            if let [(root, _)] = parents.as_slice() {
                return json!({"list": {"root": hex(root), "level": level}});
            }
            (level, entries) = (level + 1, parents);
        }
    }

    /// A regular file.
    pub(crate) fn file(&mut self, data: &[u8], chunk: usize, fields: Json) -> Json {
        let content = self.content(data, chunk);
        let mut file = node("file", json!({"size": data.len(), "content": content}));
        for (name, value) in fields.as_object().expect("fields") {
            file[name] = value.clone();
        }
        file
    }

    /// The tree of these nodes, with so many in each leaf: id of its top, level.
    pub(crate) fn tree(&mut self, entries: &[(Vec<u8>, Json)], in_leaf: usize) -> (Bytes32, u8) {
        let mut level = 0u8;
        let mut children = Vec::new();
        for part in entries.chunks(in_leaf) {
            let id = self.store(3, &leaf(part).encode());
            children.push((part[0].0.clone(), id, part.len() as u64));
        }
        while children.len() > 1 {
            level += 1;
            let mut parents = Vec::new();
            for part in children.chunks(in_leaf.max(2)) {
                let id = self.store(4, &inner(level, part).encode());
                parents.push((part[0].0.clone(), id, part.iter().map(|(_, _, nodes)| nodes).sum()));
            }
            children = parents;
        }
        (children[0].1, level)
    }

    /// The fields of a manifest of this tree.
    pub(crate) fn manifest_fields(&self, root: &Bytes32, level: u8, sequence: u64) -> Json {
        let names = [
            "files_new",
            "files_changed",
            "files_unmodified",
            "directories_new",
            "directories_changed",
            "directories_unmodified",
            "others",
            "bytes_processed",
            "data_blobs",
            "tree_blobs",
            "data_added",
            "data_added_packed",
            "problems",
        ];
        let statistics: serde_json::Map<String, Json> =
            (0..).zip(names).map(|(number, name): (u64, _)| (name.to_owned(), number.into())).collect();
        json!({
            "time": {"seconds": 1_794_000_100 + 86_400 * sequence, "nanoseconds": 7},
            "finished": {"seconds": 1_794_000_104 + 86_400 * sequence, "nanoseconds": 999_999_999},
            "host": "server",
            "tags": ["nightly", "vault"],
            "paths": [hex(b"/srv/data")],
            "root": hex(root),
            "level": level,
            "sequence": sequence,
            "excludes": ["*.tmp"],
            "databases": [],
            "statistics": statistics,
            "program": "0.1.0",
        })
    }

    /// The fields of a signed manifest by this slot.
    pub(crate) fn signed_manifest_fields(&self, id: &Bytes32, manifest: &[u8], slot: &Slot) -> Json {
        let verifying_key = slot.verifying_key();
        let signer = Signer { secret: &slot.secret, context: "strongroom v1 snapshot manifest" };
        json!({
            "manifest": hex(manifest),
            "role": slot.role,
            "verifying_key": hex(&verifying_key),
            "certificate": hex(&self.certificate(code("role", slot.role) as u8, &verifying_key)),
            "signature": hex(&sign(&signer, &[&self.repository, id, manifest])),
        })
    }

    /// A snapshot's bytes: this manifest, signed by this slot.
    pub(crate) fn snapshot(&mut self, id: &Bytes32, manifest: &[u8], slot: &Slot) -> Vec<u8> {
        let signed = record("signed-manifest", &self.signed_manifest_fields(id, manifest, slot)).encode();
        self.object(b"snap", "snapshots", id, &signed)
    }

    /// Stores a snapshot of a tree under a new id.
    pub(crate) fn commit(&mut self, (root, level): (Bytes32, u8), sequence: u64, slot: &Slot) -> Bytes32 {
        let id = self.draw();
        let manifest = record("manifest", &self.manifest_fields(&root, level, sequence)).encode();
        let bytes = self.snapshot(&id, &manifest, slot);
        self.put("snapshots", &id, bytes);
        id
    }

    /// Stores what waits for a pack, and the index object that names it.
    pub(crate) fn flush(&mut self) {
        let mut envelopes = Vec::new();
        let mut packs = Vec::new();
        for class in [1, 2] {
            let blobs = std::mem::take(&mut self.pending[usize::from(class) - 1]);
            if blobs.is_empty() {
                continue;
            }
            let mut pack = self.add_pack(class, &blobs);
            pack.3.iter_mut().for_each(|entry| entry.envelope = envelopes.len() as u16);
            envelopes.push(self.content_key(class).1);
            packs.push(pack);
        }
        packs.sort_by_key(|(id, ..)| *id);
        let index = self.index(&index_plain(&envelopes, &packs));
        self.put_hashed("index", index);
    }
}
