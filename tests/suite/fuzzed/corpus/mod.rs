//! Where fuzzing starts: for each target what the vectors hold of its kind, taken out of its seals.
//!
//! Invariant: nothing of this is kept in the repository. The vectors are its one source; texts that no vector has stand
//! here.

mod dumps;

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value as Json;
use strongroom::backend::ObjectKind;
use strongroom::compress;
use strongroom::crypto::derive::{self, Purpose};
use strongroom::crypto::seal;
use strongroom::crypto::secret::Secret;
use strongroom::format::blob::{BlobKind, TAG_LEN, associated_data};
use strongroom::format::config::MAC_LEN;
use strongroom::format::header::{HEADER_LEN, HeaderKind};
use strongroom::format::marks::{self, Signed};
use strongroom::format::pack::{self, TRAILER_LEN};
use strongroom::format::{cbor, key_slot, snapshot, tree};
use strongroom::id::Id;
use strongroom::repository::index::{IndexFolders, ReadObjects};
use strongroom::repository::{key_file, recovery};
use strongroom::service::vaultwarden::{Contents, Expected, Kind, remember};

use super::targets::bench::{self, Bench};
use super::targets::local::BLOCK;
use super::targets::sized;

/// Seeds by the names of their targets.
pub(crate) type Corpus = BTreeMap<&'static str, Vec<Vec<u8>>>;

/// All seeds.
pub(crate) fn corpus() -> Corpus {
    let mut seeds = Seeds(Corpus::new());
    bench::with(|bench| {
        for chapter in [
            "02-identifiers",
            "03-cryptography",
            "04-chunking",
            "05-blob",
            "06-pack",
            "07-index",
            "08-tree",
            "09-snapshot",
            "10-repository",
            "11-ordering",
        ] {
            let file = bench::vector_file(&format!("{chapter}.json"));
            for vector in file["vectors"].as_array().expect("vectors") {
                seeds.add_vector(bench, &Vector(vector));
            }
        }
        seeds.add_local(bench);
    });
    seeds.add_texts();
    seeds.add_databases();
    seeds.0
}

/// A vector's members.
struct Vector<'a>(&'a Json);

impl Vector<'_> {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        bench::from_hex(self.text(name))
    }

    fn id(&self, name: &str) -> Option<Id> {
        Id::from_hex(self.text(name))
    }

    fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_default()
    }

    /// The low byte of a number.
    fn byte(&self, name: &str) -> u8 {
        self.number(name).to_le_bytes()[0]
    }
}

struct Seeds(Corpus);

impl Seeds {
    fn add(&mut self, target: &'static str, seed: impl Into<Vec<u8>>) {
        let seeds = self.0.entry(target).or_default();
        let seed = seed.into();
        if !seeds.contains(&seed) {
            seeds.push(seed);
        }
    }

    fn add_vector(&mut self, bench: &Bench, vector: &Vector<'_>) {
        let bytes = vector.bytes("bytes");
        match vector.text("what") {
            "id" => self.add("id", vector.text("text")),
            "envelope" => self.add("envelope", [&[0], bytes.as_slice()].concat()),
            "signature" => self.add("signature", signature(vector)),
            "key-file" => self.add("key_file", vector.text("text")),
            "key-slot" => self.add_slot(bench, vector, &bytes),
            "config" => {
                self.add("config", bytes.as_slice());
                self.add("whole_config", &bytes[..bytes.len().saturating_sub(MAC_LEN)]);
            }
            "gear" => {
                let stream = [vector.bytes("write_secret"), vec![7; 300]].concat();
                self.add(
                    "gear",
                    [&[vector.byte("average"), 0, 0, 9, 1, 1, 2, 3], stream.as_slice()].concat(),
                );
            }
            "pages" => {
                let numbers =
                    [&vector.number("page_size").to_le_bytes()[..4], &vector.number("pages").to_le_bytes()];
                let before = [
                    &[u8::from(vector.0.get("before").is_some())],
                    &vector.number("before").to_le_bytes()[..4],
                ];
                self.add("pages", [numbers.concat(), before.concat()].concat());
            }
            "frame" => self.add_frame(bench, vector, &bytes),
            "pack" => self.add_pack(bench, &bytes),
            "path" => {
                self.add("path", [sized(&bytes[..bytes.len().min(4000)]), b"a/b".to_vec()].concat());
            }
            "leaf" => {
                for entry in tree::decode_leaf(&bytes).unwrap_or_default() {
                    self.add("node", cbor::encode(&entry.node).expect("it encodes"));
                }
                let record = [&[2], &u32::try_from(bytes.len()).expect("short").to_le_bytes()[..]].concat();
                if bytes.len() < 60_000 {
                    let payload = sized(&[&[0], bytes.as_slice()].concat());
                    self.add("cached_tree", [&[1], record.as_slice(), &payload].concat());
                }
                self.add("leaf", bytes);
            }
            "inner" => self.add("inner", [&[vector.byte("level")], bytes.as_slice()].concat()),
            "list" => self.add("list", [&[vector.byte("level")], bytes.as_slice()].concat()),
            "tree" => self.add("tree", [&[vector.byte("level")], blobs(vector, false).as_slice()].concat()),
            "content" => {
                self.add("content", [&[vector.byte("level")], blobs(vector, true).as_slice()].concat())
            }
            what => self.add_object(bench, vector, what, &bytes),
        }
    }

    /// Objects that are sealed as a whole.
    fn add_object(&mut self, bench: &Bench, vector: &Vector<'_>, what: &str, bytes: &[u8]) {
        let (kind, purpose) = match what {
            "index" => (HeaderKind::Index, Purpose::Index),
            "snapshot" => (HeaderKind::Snapshot, Purpose::Snapshots),
            "session" => (HeaderKind::Session, Purpose::Sessions),
            "abandoned" => (HeaderKind::Abandoned, Purpose::Abandoned),
            "forgotten" => (HeaderKind::Forgotten, Purpose::Forgotten),
            "gc" => (HeaderKind::Gc, Purpose::Gc),
            _ => return,
        };
        let number = HeaderKind::ALL.iter().position(|one| *one == kind).expect("a kind");
        let number = u8::try_from(number).expect("there are few");
        self.add("header", [&[number], &bytes[..bytes.len().min(HEADER_LEN + 4)]].concat());
        let hashed = matches!(what, "index" | "gc");
        let id = vector.id("id").filter(|_| !hashed).unwrap_or_default();
        let sealed = bytes.get(HEADER_LEN..).unwrap_or_default();
        let Ok(plain) = seal::open_object(&bench.key(purpose), &bench.bound(kind, &id), sealed) else {
            return;
        };
        match what {
            "index" => {
                self.add("index", plain.as_slice());
                self.add("whole_index", plain);
            }
            "snapshot" => {
                if let Ok(signed) = snapshot::decode_signed(&plain) {
                    self.add("manifest", signed.manifest.as_slice());
                    self.add("whole_snapshot", signed.manifest);
                }
                self.add("signed_manifest", plain);
            }
            "session" => {
                self.add("whole_mark", [&[0], plain.as_slice()].concat());
                self.add("session", plain);
            }
            "abandoned" => {
                self.add("whole_mark", [&[1], plain.as_slice()].concat());
                self.add("abandoned", plain);
            }
            _ => {
                if let Ok(signed) = cbor::decode::<Signed>(&plain, "signed record") {
                    self.add_signed(what == "gc", &id, &signed.record);
                }
                self.add("signed_record", plain);
            }
        }
    }

    fn add_signed(&mut self, condemned: bool, id: &Id, record: &[u8]) {
        self.add("whole_mark", [&[if condemned { 3 } else { 2 }], record].concat());
        if condemned {
            self.add("condemned", record);
            return;
        }
        self.add("forgotten", [id.as_bytes(), record].concat());
        // For the target that seals it, which has an id of its own.
        if let Ok(mut mark) = marks::decode_forgotten(record, id) {
            mark.snapshot = Id([6; 32]);
            self.add("whole_mark", [&[2], cbor::encode(&mark).expect("it encodes").as_slice()].concat());
        }
    }

    fn add_slot(&mut self, bench: &Bench, vector: &Vector<'_>, bytes: &[u8]) {
        self.add("key_slot", bytes);
        let Ok(slot) = key_slot::decode(bytes) else { return };
        let bound = bench.bound(HeaderKind::Key, &Id(slot.lock.salt));
        if let Ok(label) = seal::open_object(&bench.key(Purpose::SlotLabels), &bound, slot.sealed_label) {
            self.add("key_label", label);
        }
        let Some(holder) = vector.id("key_file") else { return };
        let wrap = derive::salted_key(&Secret::new(holder.0), &slot.lock.salt, Purpose::SlotWrap);
        if let Ok(bundle) = seal::open_object(&wrap, slot.bound, slot.sealed_bundle) {
            self.add("key_bundle", bundle.as_slice());
            if let Ok(bundle) = key_slot::decode_bundle(&bundle) {
                self.add("envelope", [&[1], bundle.data_public.as_slice()].concat());
            }
        }
    }

    fn add_frame(&mut self, bench: &Bench, vector: &Vector<'_>, bytes: &[u8]) {
        let kind = BlobKind::from_code(vector.byte("kind"));
        let (Some(key), Some(id), Some(kind)) = (vector.id("content_key"), vector.id("blob"), kind) else {
            return;
        };
        let Some((sealed, tag)) = bytes.split_last_chunk::<TAG_LEN>() else { return };
        let plain_length = u32::try_from(vector.number("plain_length")).unwrap_or(u32::MAX);
        let bound = associated_data(bench.repository.id(), kind, &id, plain_length);
        let key = derive::blob_key(&Secret::new(key.0), kind.code(), &id);
        let mut payload = sealed.to_vec();
        if seal::Sealer::new(&key).open(&bound, &mut payload, tag).is_err() {
            return;
        }
        let start = [&[kind.code() - 1], plain_length.to_le_bytes().as_slice()].concat();
        self.add("frame", [start.as_slice(), &payload].concat());
        self.add("zstd", [&start[1..], payload.get(1..).unwrap_or_default()].concat());
    }

    fn add_pack(&mut self, bench: &Bench, bytes: &[u8]) {
        let bound = bench.bound(HeaderKind::Pack, &Id::default());
        let open = |purpose, sealed: &[u8]| seal::open_object(&bench.key(purpose), &bound, sealed).ok();
        let parts = || {
            let trailer = open(Purpose::PackTrailers, bytes.last_chunk::<TRAILER_LEN>()?)?;
            let (at, length) = pack::table_place(bytes.len() as u64, &trailer).ok()?;
            let (at, length) = (usize::try_from(at).ok()?, usize::try_from(length).ok()?);
            let table = open(Purpose::PackTables, bytes.get(at..at + length)?)?;
            Some((trailer, bytes.get(HEADER_LEN..at)?, table))
        };
        let Some((trailer, frames, table)) = parts() else { return };
        self.add("pack_trailer", [&(bytes.len() as u64).to_le_bytes(), trailer.as_slice()].concat());
        self.add("whole_pack", [&[0], sized(frames).as_slice(), &table].concat());
        self.add("pack_table", table);
    }

    /// What the program itself writes to the cache.
    fn add_local(&mut self, bench: &Bench) {
        let copy = bench::in_folder("seeds", |folder| {
            let folders = IndexFolders::new(Some(folder.to_owned()), None).with_sizes(1, 1, 1 << 20);
            let repository = bench.repository.clone().with_index_folders(folders);
            bench.holding_hashed(ObjectKind::Index, bench::index_object(), |_| {
                drop(ReadObjects::read(&repository).expect("it is read"));
            });
            let entry = fs::read_dir(folder).expect("list the copies").next().expect("there is a copy");
            let path = entry.expect("list the copies").path();
            let copy = fs::read(&path).expect("read the copy");
            fs::remove_file(path).expect("remove the copy");
            copy
        });
        let blocks: Vec<u8> =
            copy.chunks(BLOCK.1).skip(1).flat_map(|block| block[..BLOCK.0].to_vec()).collect();
        self.add("index_copy", blocks);
        self.add("cached_tree", vec![0; 60]);
        self.add("note", "a note");
        let file = Expected {
            place: b"attachments/a/b".to_vec(),
            size: 7,
            kind: Kind::Attachment,
            row_id: "row".to_owned(),
            changed: Some(-5),
        };
        let contents = Contents {
            schema_version: Some("20240101".to_owned()),
            tables: vec![("users".to_owned(), 1)],
            users: 1,
            expected: vec![file],
            ..Contents::default()
        };
        let remembered = remember(Id([1; 32]), &contents).expect("it encodes").expect("nothing is odd");
        self.add("remembered", [[1; 32].as_slice(), &remembered].concat());
    }

    /// Texts that no vector has.
    fn add_texts(&mut self) {
        let secret = Secret::new([0x5a; 32]);
        let text = recovery::text(&secret);
        self.add("recovery", text.as_str());
        self.add("key_file", text.as_str());
        self.add("recovery", text.to_lowercase().replace(' ', "-"));
        self.add("key_file", key_file::key_file_text(&secret, "a label").as_str());
        for (host, patterns) in [
            ("home/me/.cache/x.tmp", "*.tmp\n!keep\n/home/*/.cache\nfoo/**/bar"),
            ("srv/[a]/b", "a[b-d]\na[!b-d]\n**\n{a,b}\n\\*\n./a/b/"),
        ] {
            self.add("pattern", [sized(host.as_bytes()), patterns.as_bytes().to_vec()].concat());
        }
        let environment = "# it's\nDATA_FOLDER=/data\nexport A=\"a\\n$DATA_FOLDER ${A}\" # b\nB='c'\\''d'\n\
            DATABASE_URL=sqlite:///data/db.sqlite3\nATTACHMENTS_FOLDER=data/a\nCONFIG_FILE=data/c.json\n";
        let config = r#"{"database_url": "postgresql://u:p@h/d", "sends_folder": "s3://b", "tmp_folder": 7}"#;
        self.add("vaultwarden", [sized(environment.as_bytes()), config.as_bytes().to_vec()].concat());
        for line in [
            "backup\n--exclude\n*.tmp\n--exclude-larger-than\n1G\n--tag\na\n/srv",
            "prune\n--max-unused\n2.5%\n--max-repack-size\n512M\n-n",
            "-r\nrepo\n--password-file\np\n--json\n-q\nrestore\nlatest:a/b\n--target\nt",
            "key\nadd\n--role\nmaintain\n--label\nx\n--new-key-file\nf",
            "unlock\n0123abcd\n--help",
        ] {
            self.add("command_line", line);
        }
        for (target, seed) in dumps::seeds() {
            self.add(target, seed);
        }
        let mut packed = Vec::new();
        let plain = b"strongroom ".repeat(100);
        assert!(compress::compress(&plain, &mut packed).expect("it is compressed"));
        self.add("zstd", [&1100u32.to_le_bytes(), packed.as_slice()].concat());
    }

    /// A small database, with and without a log.
    fn add_databases(&mut self) {
        let (main, log) = bench::in_folder("seed-database", |folder| {
            let path = folder.join("a.db");
            let connection = rusqlite::Connection::open(&path).expect("a new database");
            let schema = "PRAGMA page_size = 512; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;\n\
                CREATE TABLE a (b INTEGER PRIMARY KEY, c TEXT); INSERT INTO a VALUES (1, 'x');\n\
                PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO a VALUES (2, 'y');";
            connection.execute_batch(schema).expect("tables and rows");
            let files = (fs::read(&path), fs::read(folder.join("a.db-wal")));
            drop(connection);
            fs::remove_file(path).expect("remove the database");
            (files.0.expect("the database"), files.1.expect("its log"))
        });
        self.add("sqlite", [sized(&[]), main.clone()].concat());
        self.add("sqlite", [sized(&log), main].concat());
    }
}

fn signature(vector: &Vector<'_>) -> Vec<u8> {
    let purposes = strongroom::crypto::sign::SignaturePurpose::ALL;
    let purpose = purposes.iter().position(|one| one.context() == vector.text("context")).unwrap_or_default();
    let parts = vector.0["parts"].as_array().expect("parts").iter();
    let parts: Vec<u8> =
        parts.flat_map(|part| bench::from_hex(part.as_str().expect("hexadecimal digits"))).collect();
    let purpose = u8::try_from(purpose).expect("there are few");
    [vec![purpose], vector.bytes("key"), vector.bytes("bytes"), parts].concat()
}

/// The root's number, what is added to a chunk's number for its length, and the blobs of a walk by their numbers.
fn blobs(vector: &Vector<'_>, of_file: bool) -> Vec<u8> {
    let mut seed = vec![vector.id("root").unwrap_or_default().0[0]];
    if of_file {
        // So that the lengths are those that the vector gives, which rise with the ids.
        seed.push(44);
    }
    let given = vector.0["blobs"].as_object().expect("blobs");
    for number in 0..=u8::from(!given.is_empty()) * 9 {
        let plain = given.get(&Id([number; 32]).to_hex()).and_then(Json::as_str).unwrap_or_default();
        seed.extend(sized(&bench::from_hex(plain)));
    }
    seed
}
