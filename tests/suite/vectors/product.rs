//! Each vector, put before the program: what it makes of the bytes, or why it refuses them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};
use strongroom::backend::{MemoryBackend, ObjectKind, ObjectName};
use strongroom::chunker::dump::DumpChunker;
use strongroom::chunker::gear::{GearChunker, Sizes};
use strongroom::chunker::page;
use strongroom::crypto::derive::{self, Purpose};
use strongroom::crypto::kdf::{self, Cost};
use strongroom::crypto::secret::Secret;
use strongroom::crypto::sign::{self, SignaturePurpose};
use strongroom::crypto::{envelope, seal};
use strongroom::error::{Error, Result};
use strongroom::format::blob::BlobKind;
use strongroom::format::list::List;
use strongroom::format::node::Content;
use strongroom::format::{cbor, config, index, key_slot, list, marks, pack, path, snapshot, tree};
use strongroom::id::Id;
use strongroom::report::Collector;
use strongroom::repository::content::{store_content, visit_chunks};
use strongroom::repository::index::ReadObjects;
use strongroom::repository::key_file::parse_key_file;
use strongroom::repository::keys::Credential;
use strongroom::repository::reader::{BlobReader, BlobSource};
use strongroom::repository::tree::{Root, TreeBuilder, TreeReader};
use strongroom::repository::writer::BlobSink;
use strongroom::repository::{Repository, session};

use super::{build, describe};
use crate::forge::packs::{Entry, class_of, index_plain};
use crate::forge::{Blob, Forge, from_hex, hash, hex, stream};

/// What the program made of a vector.
pub(crate) struct Taken {
    /// What it decoded, as the vector states it.
    pub(crate) value: Json,
    /// The same encoded again, and the bytes that it must equal; none where something random enters.
    pub(crate) again: Option<(Vec<u8>, Vec<u8>)>,
}

fn taken(value: Json) -> Result<Taken> {
    Ok(Taken { value, again: None })
}

fn again(value: Json, encoded: Vec<u8>, bytes: &[u8]) -> Result<Taken> {
    Ok(Taken { value, again: Some((encoded, bytes.to_vec())) })
}

/// A vector's members.
pub(crate) struct Vector<'a>(pub(crate) &'a Json);

impl<'a> Vector<'a> {
    pub(crate) fn text(&self, name: &str) -> &'a str {
        self.0[name].as_str().unwrap_or_else(|| panic!("{}: no {name}", self.0["name"]))
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        from_hex(self.text(name))
    }

    fn id(&self, name: &str) -> Id {
        Id(self.array(name))
    }

    fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap_or_else(|_| panic!("{}: {name}", self.0["name"]))
    }

    fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_else(|| panic!("{}: no {name}", self.0["name"]))
    }

    fn secret(&self, name: &str) -> Secret {
        Secret::new(self.array(name))
    }
}

/// The backend of the vectors' repository with its `config` and keys, and nothing else.
pub(crate) fn bare() -> Arc<MemoryBackend> {
    let backend = Arc::new(MemoryBackend::new());
    for (path, bytes) in &build::repository().0.objects {
        if path == "config" {
            backend.replace(&ObjectName::CONFIG, bytes.clone());
        } else if let Some(id) = path.strip_prefix("keys/") {
            backend
                .replace(&ObjectName::new(ObjectKind::Key, Id::from_hex(id).expect("an id")), bytes.clone());
        }
    }
    backend
}

fn full() -> Credential {
    Credential::KeyFile(Secret::new(build::full_holder()))
}

fn opened(backend: &Arc<MemoryBackend>) -> Repository {
    Repository::open(backend.clone(), &full()).expect("the vectors' repository opens")
}

/// The repository with one more object.
fn holding(kind: ObjectKind, id: Id, bytes: Vec<u8>) -> Repository {
    let backend = bare();
    backend.replace(&ObjectName::new(kind, id), bytes);
    opened(&backend)
}

/// Puts a vector before the program.
pub(crate) fn take(vector: &Json) -> Result<Taken> {
    let vector = Vector(vector);
    match vector.text("what") {
        "blob-id" => blob_id(&vector),
        "id" => Id::from_hex(vector.text("text"))
            .map(|id| Taken { value: hex(&id.0).into(), again: None })
            .ok_or_else(|| Error::corrupt("not the text form of an id")),
        "derivation" => derivation(&vector),
        "sealed-object" => {
            let associated = vector.bytes("associated");
            let plain = seal::open_object(&vector.secret("key"), &associated, &vector.bytes("bytes"))?;
            taken(hex(&plain).into())
        }
        "argon2id" => argon2id(&vector),
        "envelope" => {
            let (secret, info) = (vector.secret("secret"), vector.bytes("info"));
            let key = envelope::open(&secret, &info, &vector.array("bytes"))?;
            taken(hex(key.expose()).into())
        }
        "signature" => signature(&vector),
        "key-file" => taken(hex(parse_key_file(vector.text("text"))?.expose()).into()),
        "key-slot" => slot(&vector),
        "config" => whole_config(&vector),
        "gear" => gear(&vector),
        "dump" => dump(&vector),
        "pages" => {
            let before = vector.0["before"].as_u64().map(|run| run as u32);
            taken(page::run_pages(vector.number("page_size") as u32, vector.number("pages"), before).into())
        }
        "padding" => taken(pack::padded_length(vector.number("length")).into()),
        "frame" => frame(&vector),
        "pack" => whole_pack(&vector),
        "index" => whole_index(&vector),
        "path" => path::validate(&vector.bytes("bytes")).and_then(|()| taken(true.into())),
        "path-order" => path_order(&vector),
        "leaf" | "inner" | "list" => part_of_tree(&vector),
        "tree" => whole_tree(&vector),
        "content" => content(&vector),
        "tree-built" => tree_built(&vector),
        "content-built" => content_built(&vector),
        "snapshot" => whole_snapshot(&vector),
        "session" | "abandoned" | "forgotten" | "gc" => mark(&vector),
        what => panic!("unknown: {what}"),
    }
}

fn kind_of(code: u64) -> BlobKind {
    BlobKind::from_code(code as u8).expect("a kind")
}

fn blob_id(vector: &Vector<'_>) -> Result<Taken> {
    let repository = opened(&bare());
    let id = repository.keyring().blob_id(kind_of(vector.number("kind")), &vector.bytes("plaintext"));
    taken(hex(&id.0).into())
}

fn derivation(vector: &Vector<'_>) -> Result<Taken> {
    let purpose = Purpose::ALL.into_iter().find(|purpose| purpose.context() == vector.text("context"));
    let purpose = purpose.expect("the context of a purpose");
    let secret = vector.secret("secret");
    let key = match vector.0.get("salt") {
        Some(_) => derive::salted_key(&secret, &vector.array("salt"), purpose),
        None => derive::key(&secret, purpose),
    };
    taken(hex(key.expose()).into())
}

fn argon2id(vector: &Vector<'_>) -> Result<Taken> {
    let number = |name| vector.number(name) as u32;
    let cost = Cost { memory_kib: number("memory_kib"), passes: number("passes"), lanes: number("lanes") };
    let key = kdf::stretch(vector.text("password").as_bytes(), &vector.array("salt"), cost)?;
    taken(hex(key.expose()).into())
}

fn signature(vector: &Vector<'_>) -> Result<Taken> {
    let purpose = SignaturePurpose::ALL.into_iter().find(|one| one.context() == vector.text("context"));
    let parts: Vec<Vec<u8>> = vector.0["parts"]
        .as_array()
        .expect("parts")
        .iter()
        .map(|part| from_hex(part.as_str().unwrap()))
        .collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    sign::verify(&vector.array("key"), purpose.expect("a purpose"), &parts, &vector.array("bytes"))?;
    let Some(secret) = vector.0.get("secret") else { return taken(true.into()) };
    let secret = Secret::new(from_hex(secret.as_str().unwrap()).try_into().unwrap());
    let made = sign::sign(&secret, purpose.expect("a purpose"), &parts);
    again(true.into(), made.to_vec(), &vector.bytes("bytes"))
}

fn credential(vector: &Vector<'_>) -> Credential {
    match vector.0.get("password") {
        Some(password) => Credential::Password(password.as_str().unwrap().as_bytes().to_vec().into()),
        None => Credential::KeyFile(vector.secret("key_file")),
    }
}

/// A slot, first as those see it who hold another, then as its holder does.
fn slot(vector: &Vector<'_>) -> Result<Taken> {
    let (bytes, id) = (vector.bytes("bytes"), vector.id("id"));
    let alone = Arc::new(MemoryBackend::new());
    for (name, bytes) in bare().snapshot() {
        if name.kind == ObjectKind::Config {
            alone.replace(&name, bytes);
        }
    }
    alone.replace(&ObjectName::new(ObjectKind::Key, id), bytes.clone());
    let holder = Repository::open(alone, &credential(vector));
    // Whatever is wrong with a slot, the others still open.
    let others = holding(ObjectKind::Key, id, bytes.clone());
    if let Some((_, damage)) = others.list_keys().expect("the keys are listed").1.into_iter().next() {
        if vector.0.get("opens") == Some(&Json::Bool(true)) {
            assert!(holder.is_ok(), "a damaged label keeps nobody out");
        }
        return Err(damage);
    }
    let unlocked = unlock(vector, &bytes);
    assert_eq!(holder.is_ok(), unlocked.is_ok(), "{}", vector.text("name"));
    let (slot_value, holder) = (unlocked?, holder?);
    assert_eq!(holder.keyring().role().name(), slot_value["bundle"]["role"]);
    taken(slot_value)
}

/// The steps by which the program opens a slot, each of which it hides from whoever tries a wrong key.
fn unlock(vector: &Vector<'_>, bytes: &[u8]) -> Result<Json> {
    let slot = key_slot::decode(bytes)?;
    if hex(&slot.lock.repository.0) != hex(&build::forge().repository) {
        return Err(Error::corrupt("it belongs to another repository"));
    }
    let holder = match (&slot.lock.method, credential(vector)) {
        (key_slot::Method::Password { memory_kib, passes, lanes }, Credential::Password(password)) => {
            let cost = Cost { memory_kib: *memory_kib, passes: *passes, lanes: *lanes };
            kdf::stretch(&password, &slot.lock.salt, cost)?
        }
        (key_slot::Method::KeyFile, Credential::KeyFile(secret)) => secret,
        _ => panic!("a slot of another method"),
    };
    let commitment = derive::salted_key(&holder, &slot.lock.salt, Purpose::SlotCommitment);
    if !derive::equal(commitment.expose(), &slot.lock.commitment) {
        return Err(Error::corrupt("the commitment is to another key"));
    }
    let wrap = derive::salted_key(&holder, &slot.lock.salt, Purpose::SlotWrap);
    let plain = seal::open_object(&wrap, slot.bound, slot.sealed_bundle)?;
    let bundle = key_slot::decode_bundle(&plain)?;
    assert_eq!(key_slot::encode_bundle(&bundle)?, plain);
    assert_eq!(key_slot::encode_bound(&slot.lock, slot.sealed_label)?, slot.bound);
    let repository = opened(&bare());
    let bound = [b"strongrmkeys\x01\0\0\0".as_slice(), &repository.id().0, &slot.lock.salt].concat();
    let key = repository.keyring().key(Purpose::SlotLabels);
    let plain = seal::open_object(&key, &bound, slot.sealed_label)?;
    let label = key_slot::decode_label(&plain)?;
    assert_eq!(key_slot::encode_label(&label)?, plain);
    Ok(json!({
        "lock": describe::lock(&slot.lock),
        "label": describe::label(&label),
        "bundle": describe::bundle(&bundle),
    }))
}

fn whole_config(vector: &Vector<'_>) -> Result<Taken> {
    let (backend, bytes) = (bare(), vector.bytes("bytes"));
    backend.replace(&ObjectName::CONFIG, bytes.clone());
    let repository = Repository::open(backend, &full())?;
    let covered = config::encode(repository.config())?;
    let mac = derive::keyed_hash(&repository.keyring().key(Purpose::ConfigMac), &covered);
    again(describe::config(repository.config()), [covered, mac.0.to_vec()].concat(), &bytes)
}

/// The table and the sizes that a vector names.
fn gear_of(vector: &Vector<'_>) -> ([u64; 256], Sizes) {
    let table = derive::table(&derive::key(&vector.secret("write_secret"), Purpose::GearTable));
    let size = |name| vector.number(name) as usize;
    (table, Sizes { minimum: size("minimum"), average: size("average"), maximum: size("maximum") })
}

/// The ends of the chunks of a vector's stream; `cut` is told what lies before a chunk.
fn ends(vector: &Vector<'_>, cut: impl Fn(&[u8], u64) -> usize) -> Vec<usize> {
    let bytes = stream(vector.text("stream"), vector.number("length") as usize);
    let mut ends = Vec::new();
    while ends.last() != Some(&bytes.len()) {
        let start = ends.last().copied().unwrap_or(0);
        ends.push(start + cut(&bytes[start..], start as u64));
    }
    ends
}

fn dump(vector: &Vector<'_>) -> Result<Taken> {
    let (table, sizes) = gear_of(vector);
    let chunker = DumpChunker::new(sizes, &table);
    let before = vector.number("before");
    taken(json!({"ends": ends(vector, |bytes, start| chunker.cut(bytes, before + start))}))
}

fn gear(vector: &Vector<'_>) -> Result<Taken> {
    let (table, sizes) = gear_of(vector);
    let chunker = GearChunker::new(sizes, &table);
    let ends = ends(vector, |bytes, _| chunker.cut(bytes));
    let table: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    taken(json!({"table": hex(&hash(&table)), "ends": ends}))
}

/// A frame, in a pack and an index object that say of it what the vector does.
fn frame(vector: &Vector<'_>) -> Result<Taken> {
    let (kind, id, frame) = (vector.number("kind") as u8, vector.id("blob"), vector.bytes("bytes"));
    let mut forge = build::forge().fork("around a frame");
    let plain_length = vector.number("plain_length") as u32;
    let blob = Blob { kind, id: id.0, plain_length, frame };
    let envelope = vector.bytes("envelope");
    let pack = [b"strongrmpack\x01\0\0\0".to_vec(), blob.frame.clone()].concat();
    let size = pack.len() as u64;
    let pack_id = forge.put_hashed("packs", pack);
    let plain = index_plain(&[envelope], &[(pack_id, size, class_of(kind), vec![Entry::of(&blob)])]);
    let index = forge.index(&plain);
    forge.put_hashed("index", index);
    let backend = bare();
    place(&backend, &forge);
    let repository = opened(&backend);
    let reader = BlobReader::new(&repository, &Collector::default())?;
    let plain = reader.with_blob(kind_of(kind.into()), &id, |plain| Ok(plain.to_vec()))?;
    taken(json!({"length": plain.len(), "plaintext": shown(&plain)}))
}

/// Short plaintexts are stated in full, long ones by their hash.
pub(crate) fn shown(plain: &[u8]) -> String {
    if plain.len() <= 256 { hex(plain) } else { format!("hash {}", hex(&hash(plain))) }
}

/// Puts a writer's objects into a backend.
pub(crate) fn place(backend: &MemoryBackend, forge: &Forge) {
    for (path, bytes) in &forge.objects {
        let (folder, id) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = folder.split('/').next().unwrap();
        let kind = ObjectKind::ALL.into_iter().find(|kind| kind.folder() == folder).expect("a folder");
        let id = if folder.is_empty() { Id::default() } else { Id::from_hex(id).expect("an id") };
        backend.replace(&ObjectName::new(kind, id), bytes.clone());
    }
}

/// A pack without an index, as a backup meets it after an interrupted one.
fn whole_pack(vector: &Vector<'_>) -> Result<Taken> {
    let repository = holding(ObjectKind::Pack, vector.id("id"), vector.bytes("bytes"));
    let usable = session::usable(&repository)?;
    if let Some((_, _, error)) = usable.unreadable.into_iter().next() {
        return Err(error);
    }
    let [(pack, envelopes)] = usable.adopted.as_slice() else { panic!("one pack") };
    taken(json!({
        "class": pack.class.code(),
        "size": pack.size,
        "envelopes": envelopes.iter().map(|envelope| hex(&hash(envelope))).collect::<Vec<_>>(),
        "entries": pack.entries.iter().map(describe::entry).collect::<Vec<_>>(),
    }))
}

fn whole_index(vector: &Vector<'_>) -> Result<Taken> {
    let (id, bytes) = (vector.id("id"), vector.bytes("bytes"));
    let repository = holding(ObjectKind::Index, id, bytes.clone());
    if let Some((_, error)) = ReadObjects::read(&repository)?.damaged.into_iter().next() {
        return Err(error);
    }
    let bound = [b"strongrmindx\x01\0\0\0".as_slice(), &repository.id().0, &[0; 32]].concat();
    let plain = seal::open_object(&repository.keyring().key(Purpose::Index), &bound, &bytes[16..])?;
    let object = index::decode(&plain)?;
    let packs = object.packs.iter().map(|pack| {
        json!({
            "pack": hex(&pack.id.0),
            "size": pack.size,
            "class": pack.class.code(),
            "entries": pack.entries.iter().map(describe::entry).collect::<Vec<_>>(),
        })
    });
    let value = json!({
        "envelopes": object.envelopes.iter().map(|envelope| hex(&hash(envelope))).collect::<Vec<_>>(),
        "packs": packs.collect::<Vec<_>>(),
    });
    again(value, index::encode(&object)?, &plain)
}

fn path_order(vector: &Vector<'_>) -> Result<Taken> {
    let given: Vec<Vec<u8>> = vector.0["paths"]
        .as_array()
        .expect("paths")
        .iter()
        .map(|path| from_hex(path.as_str().unwrap()))
        .collect();
    let mut sorted = given;
    sorted.sort_by(|one, other| path::compare(one, other));
    taken(sorted.iter().map(|path| hex(path)).collect::<Vec<_>>().into())
}

fn part_of_tree(vector: &Vector<'_>) -> Result<Taken> {
    let bytes = vector.bytes("bytes");
    match vector.text("what") {
        "leaf" => {
            let entries = tree::decode_leaf(&bytes)?;
            again(describe::leaf(&entries), tree::encode_leaf(&entries)?, &bytes)
        }
        "inner" => {
            let level = vector.number("level") as u8;
            let entries = tree::decode_inner(&bytes, level)?;
            again(describe::inner(&entries), tree::encode_inner(level, &entries)?, &bytes)
        }
        _ => match list::decode(&bytes, vector.number("level") as u8)? {
            List::Chunks(ids) => {
                let value = ids.iter().map(|id| hex(&id.0)).collect::<Vec<_>>().into();
                again(value, list::encode_chunks(&ids), &bytes)
            }
            List::Lists { level, entries } => {
                let described =
                    entries.iter().map(|entry| json!({"list": hex(&entry.id.0), "bytes": entry.bytes}));
                let value = described.collect::<Vec<_>>().into();
                again(value, list::encode_lists(level, &entries), &bytes)
            }
        },
    }
}

/// Blobs by their ids, as the vector states them.
struct Given(BTreeMap<Id, Vec<u8>>);

impl Given {
    fn of(vector: &Vector<'_>) -> Self {
        let blobs = vector.0["blobs"].as_object().expect("blobs").iter();
        Self(
            blobs.map(|(id, plain)| (Id::from_hex(id).unwrap(), from_hex(plain.as_str().unwrap()))).collect(),
        )
    }
}

impl BlobSource for Given {
    fn fetch(&self, _: BlobKind, id: &Id) -> Result<Vec<u8>> {
        self.0.get(id).cloned().ok_or_else(|| Error::missing("no such blob"))
    }
}

fn whole_tree(vector: &Vector<'_>) -> Result<Taken> {
    let given = Given::of(vector);
    let root = Root { id: vector.id("root"), level: vector.number("level") as u8 };
    let mut reader = TreeReader::new(&given, root);
    let mut paths = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        paths.push(hex(&entry.path));
    }
    taken(paths.into())
}

fn content(vector: &Vector<'_>) -> Result<Taken> {
    let given = Given::of(vector);
    let content = Content::List { root: vector.id("root"), level: vector.number("level") as u8 };
    let lengths = vector.0.get("lengths").and_then(Json::as_array).cloned().unwrap_or_default();
    let mut lengths = lengths.iter().filter_map(Json::as_u64);
    let mut chunks = Vec::new();
    visit_chunks(&given, &content, &mut |_, _| Ok(()), &mut |id| {
        chunks.push(hex(&id.0));
        Ok(lengths.next().expect("a length for every chunk"))
    })?;
    taken(chunks.into())
}

/// Keeps what a writer stores, in order.
struct Kept<'a>(&'a Repository, Mutex<Vec<(BlobKind, Id, usize)>>);

impl BlobSink for Kept<'_> {
    fn store(&self, kind: BlobKind, plain: &[u8]) -> Result<Id> {
        let id = self.0.keyring().blob_id(kind, plain);
        self.1.lock().unwrap().push((kind, id, plain.len()));
        Ok(id)
    }
}

impl Kept<'_> {
    fn describe(self, root: &Id, level: u8) -> Json {
        let blobs = self.1.into_inner().unwrap();
        let blobs: Vec<Json> = blobs
            .iter()
            .map(|(kind, id, length)| json!({"kind": kind.code(), "id": hex(&id.0), "length": length}))
            .collect();
        json!({"root": hex(&root.0), "level": level, "blobs": blobs})
    }
}

fn tree_built(vector: &Vector<'_>) -> Result<Taken> {
    let repository = opened(&bare());
    let kept = Kept(&repository, Mutex::default());
    let mut builder = TreeBuilder::new(&kept, repository.keyring());
    for (path, node) in build::many_nodes(vector.number("nodes")) {
        let leaf = crate::forge::site::leaf(&[(path, node)]).encode();
        let entry = tree::decode_leaf(&leaf)?.remove(0);
        builder.push(&entry.path, &entry.node)?;
    }
    let root = builder.finish()?;
    taken(kept.describe(&root.id, root.level))
}

fn content_built(vector: &Vector<'_>) -> Result<Taken> {
    let repository = opened(&bare());
    let kept = Kept(&repository, Mutex::default());
    let chunks: Vec<(Id, u64)> =
        build::many_chunks(vector.number("chunks")).into_iter().map(|(id, bytes)| (Id(id), bytes)).collect();
    let Content::List { root, level } = store_content(&kept, &chunks)? else { panic!("a list") };
    taken(kept.describe(&root, level))
}

fn whole_snapshot(vector: &Vector<'_>) -> Result<Taken> {
    let (id, bytes) = (vector.id("id"), vector.bytes("bytes"));
    let repository = holding(ObjectKind::Snapshot, id, bytes.clone());
    let listed = repository.snapshots().expect("a damaged snapshot stops nobody");
    let read = repository.read_snapshot(&id);
    assert_eq!((listed.snapshots.len(), listed.damaged.len()), if read.is_ok() { (1, 0) } else { (0, 1) });
    let read = read?;
    let value = json!({
        "writer": hex(&read.writer),
        "role": read.writer_role.name(),
        "manifest": describe::manifest(&read.manifest),
    });
    let bound = [b"strongrmsnap\x01\0\0\0".as_slice(), &repository.id().0, &id.0].concat();
    let plain = seal::open_object(&repository.keyring().key(Purpose::Snapshots), &bound, &bytes[16..])?;
    let signed = snapshot::decode_signed(&plain)?;
    assert_eq!(snapshot::encode_signed(&signed)?, plain);
    again(value, snapshot::encode(&read.manifest)?, &signed.manifest)
}

fn mark(vector: &Vector<'_>) -> Result<Taken> {
    let (id, bytes) = (vector.id("id"), vector.bytes("bytes"));
    let record = |kind, name: &[u8; 4], purpose, named: bool| -> (Repository, Vec<u8>) {
        let repository = holding(kind, id, bytes.clone());
        let name_id = if named { id } else { Id::default() };
        let bound = [b"strongrm".as_slice(), name, &[1, 0, 0, 0], &repository.id().0, &name_id.0].concat();
        let plain = bytes
            .get(16..)
            .and_then(|sealed| seal::open_object(&repository.keyring().key(purpose), &bound, sealed).ok());
        (repository, plain.unwrap_or_default())
    };
    match vector.text("what") {
        "session" => {
            let (repository, plain) = record(ObjectKind::Session, b"sess", Purpose::Sessions, true);
            let session = repository.read_session(&id)?;
            again(describe::session(&session), marks::encode_session(&session)?, &plain)
        }
        "abandoned" => {
            let (repository, plain) = record(ObjectKind::Abandoned, b"aban", Purpose::Abandoned, true);
            let mark = repository.read_abandoned(&id)?;
            again(describe::abandoned(&mark), marks::encode_abandoned(&mark)?, &plain)
        }
        "forgotten" => {
            let (repository, plain) = record(ObjectKind::Forgotten, b"forg", Purpose::Forgotten, true);
            let listed = repository.snapshots().expect("a damaged mark stops nobody");
            let mark = repository.read_forgotten(&id);
            assert_eq!(listed.damaged.is_empty(), mark.is_ok());
            let mark = mark?;
            let signed: marks::Signed = cbor::decode(&plain, "signed record")?;
            again(describe::forgotten(&mark), cbor::encode(&mark)?, &signed.record)
        }
        _ => {
            let (repository, plain) = record(ObjectKind::Gc, b"gcol", Purpose::Gc, false);
            let condemned = repository.read_condemned(&id);
            assert_eq!(session::usable(&repository).is_ok(), condemned.is_ok(), "damage stops backups");
            let condemned = condemned?;
            let signed: marks::Signed = cbor::decode(&plain, "signed record")?;
            again(describe::condemned(&condemned), marks::encode_condemned(&condemned)?, &signed.record)
        }
    }
}
