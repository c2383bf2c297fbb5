//! A complete small repository, and what restoring it must give.

use serde_json::{Value as Json, json};

use super::{LABEL, blobs, forge, objects, slot};
use crate::forge::keys::key_file;
use crate::forge::records::record;
use crate::forge::site::node;
use crate::forge::{Forge, Holder, Slot, hash, hex, key_file_holder, stream};

/// Passwords of the repository: role, file, password, what Argon2id is asked for.
const PASSWORDS: [(&str, &str, [u32; 3]); 2] =
    [("full", "correct horse battery staple", [1024, 3, 4]), ("backup", "nightly", [64, 1, 1])];

/// The files that open the repository, by name.
pub(crate) fn credentials() -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = ["full", "maintain", "backup"]
        .map(|role| (format!("{role}.key"), key_file(&key_file_holder(LABEL, role))))
        .into();
    files.extend(PASSWORDS.map(|(role, password, _)| (format!("{role}.password"), format!("{password}\n"))));
    files
}

/// What lies at a path, as a stranger must find it.
struct Found {
    path: &'static str,
    node: Json,
    /// A file's whole content, holes included.
    content: Option<Vec<u8>>,
}

impl Found {
    fn describe(&self) -> Json {
        let mut found = json!({"path": self.path, "kind": self.node["kind"], "mode": self.node["mode"]});
        if let Some(content) = &self.content {
            found["size"] = content.len().into();
            found["hash"] = hex(&hash(content)).into();
        }
        if let Some(target) = self.node.get("link_target") {
            found["link_target"] = target.clone();
        }
        found
    }
}

/// The nodes of one night, whose files all hold something of `night`.
fn nodes(forge: &mut Forge, night: u64) -> Vec<Found> {
    let folder = |path| Found { path, node: node("directory", json!({})), content: None };
    let mut found = vec![folder("data"), folder("data/attachments")];
    let mut file = |path, data: Vec<u8>, chunk: usize, fields: Json| {
        let node = forge.file(&data, chunk, fields);
        found.push(Found { path, node, content: Some(data) });
    };
    file("data/attachments/large", stream(&format!("{LABEL}: large"), 8005), 200, json!({}));
    file("data/attachments/random", stream(&format!("{LABEL}: random {night}"), 3000), 1024, json!({}));
    file("data/empty", Vec::new(), 1, json!({}));
    let text = format!("Night {night}.\n").into_bytes();
    file("data/hello.txt", text, 1000, json!({"mode": 0o600}));
    for path in ["data/one", "data/two"] {
        file(path, b"two names, one file\n".to_vec(), 100, json!({"inode": 4242, "links": 2}));
    }
    // A file of two holes and ten bytes between them.
    let content = forge.content(b"0123456789", 100);
    let holes = json!([{"offset": 0, "length": 65_536}, {"offset": 65_546, "length": 100_000}]);
    let fields = json!({"size": 165_546, "content": content, "holes": holes});
    let data = [vec![0; 65_536], b"0123456789".to_vec(), vec![0; 100_000]].concat();
    found.push(Found { path: "data/sparse", node: node("file", fields), content: Some(data) });
    let compressed = blobs::two_chunks(forge).remove(1);
    let content = json!({"inline": {"chunks": [hex(&compressed.id)]}});
    forge.store_blob(compressed);
    let fields = json!({"size": 200_000, "content": content});
    found.push(Found {
        path: "data/compressed",
        node: node("file", fields),
        content: Some(vec![b'x'; 200_000]),
    });
    let link = node("symlink", json!({"mode": 0o777, "link_target": hex(b"hello.txt")}));
    found.push(Found { path: "data/link", node: link, content: None });
    found.push(Found { path: "data/pipe", node: node("fifo", json!({})), content: None });
    // No byte in these paths ranks below the slash, so that the order of bytes is that of components.
    found.sort_by_key(|found| found.path);
    found
}

pub(super) fn build() -> (Forge, Json) {
    let mut forge = forge().fork("repository");
    forge.add_config();
    for role in ["full", "maintain", "backup"] {
        forge.add_slot(&slot(role));
    }
    for (role, password, cost) in PASSWORDS {
        let holder = Holder::Password(password.to_owned(), cost);
        let secret = stream(&format!("{LABEL}: password slot {role}"), 32).try_into().unwrap();
        forge.add_slot(&Slot { role, holder, label: format!("{role} password"), secret });
    }
    let mut snapshots = Vec::new();
    for night in 1..=2 {
        let found = nodes(&mut forge, night);
        let entries: Vec<(Vec<u8>, Json)> =
            found.iter().map(|found| (found.path.as_bytes().to_vec(), found.node.clone())).collect();
        let tree = forge.tree(&entries, 4);
        let id = forge.commit(tree, night, &slot("backup"));
        let entries: Vec<Json> = found.iter().map(Found::describe).collect();
        snapshots.push(json!({"id": hex(&id), "sequence": night, "entries": entries}));
    }
    let top = forge.tree(&[(b"forgotten".to_vec(), node("directory", json!({})))], 4);
    let forgotten = forge.commit(top, 3, &slot("backup"));
    put(&mut forge, "forgotten", "forgotten", forgotten);
    // A session that died, was given up, and is forgotten so that a late write of it stays dead.
    let dead = forge.draw();
    put(&mut forge, "session", "sessions", dead);
    put(&mut forge, "abandoned", "abandoned", dead);
    put(&mut forge, "forgotten", "forgotten", dead);
    let condemned = put(&mut forge, "gc", "gc", [0; 32]);
    forge.flush();
    let keys: Vec<Json> = credentials()
        .iter()
        .map(|(name, _)| {
            let (role, form) = name.split_once('.').unwrap();
            let form = if form == "key" { "key file" } else { "password, without its line end" };
            json!({"file": name, "role": role, "form": form})
        })
        .collect();
    let expected = json!({
        "keys": keys,
        "snapshots": snapshots,
        "forgotten": [hex(&forgotten)],
        "dead_session": hex(&dead),
        "gc_record": hex(&condemned),
    });
    (forge, expected)
}

/// Stores a session or mark as a writer makes it.
fn put(forge: &mut Forge, what: &str, folder: &str, id: [u8; 32]) -> [u8; 32] {
    let encoded = record(objects::record_name(what), &objects::fields(what, &id)).encode();
    let plain = objects::plaintext(forge, what, &id, &encoded);
    let (id, bytes) = objects::object(forge, what, &id, &plain);
    forge.put(folder, &id, bytes);
    id
}

/// What restoring the repository must give.
pub(crate) fn expected() -> &'static Json {
    &super::repository().1
}
