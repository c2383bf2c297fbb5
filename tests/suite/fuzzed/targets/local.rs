//! Files of this computer: the local cache, the settings of a Vaultwarden, databases.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use strongroom::backend::ObjectKind;
use strongroom::crypto::derive::{self, Purpose};
use strongroom::crypto::seal;
use strongroom::crypto::secret::Secret;
use strongroom::error::ErrorKind;
use strongroom::format::blob::BlobKind;
use strongroom::format::header::{self, HeaderKind};
use strongroom::id::Id;
use strongroom::report::Collector;
use strongroom::repository::cache::Cache;
use strongroom::repository::index::{Index, IndexFolders, ReadObjects};
use strongroom::repository::reader::BlobSource;
use strongroom::service::vaultwarden;
use strongroom::source::sqlite::{self, Scratch, TakeError};

use super::accept;
use super::bench::{self, Bench};
use super::bytes::Source;

/// What a block of the index's copy has for its role and its records, and how long a block is.
pub(crate) const BLOCK: (usize, usize) = (4096 - 32 - 8, 4096);

/// The metadata of a snapshot as the cache keeps it: as the bytes are, or records under the right seals.
pub(super) fn cached_tree(bytes: &[u8]) {
    let mut source = Source(bytes);
    let sealed = source.u8() % 2 == 1;
    bench::with(|bench| {
        let records = if sealed { sealed_records(bench, &mut source) } else { source.0.to_vec() };
        let expected = records_of(&records);
        bench::in_folder("cached", |folder| {
            let cache = Cache::open(folder, bench.repository.id()).expect("a cache");
            let id = Id([8; 32]);
            let path = folder.join(bench.repository.id().to_hex()).join("trees").join(id.to_hex());
            let file = [header::header(HeaderKind::Cache).as_slice(), &records].concat();
            fs::write(&path, file).expect("write the file");
            let tree = cache.open_tree(&bench.repository, &id).expect("a damaged cache stops nobody");
            let tree = tree.expect("its header is right");
            for (id, kind) in expected {
                if let Ok(plain) = tree.fetch(kind, &id) {
                    assert_eq!(bench.repository.keyring().blob_id(kind, &plain), id);
                    accept();
                }
            }
            assert_eq!(tree.fetch(BlobKind::Leaf, &Id([0xee; 32])).unwrap_err().kind(), ErrorKind::Missing);
        });
    });
}

/// Records whose seals are right: kind, plain length, payload.
fn sealed_records(bench: &Bench, source: &mut Source<'_>) -> Vec<u8> {
    let mut records = Vec::new();
    while !source.0.is_empty() {
        let kind = BlobKind::ALL[usize::from(source.u8()) % BlobKind::ALL.len()];
        let (plain_length, payload) = (source.u32(), source.sized());
        let id = bench.repository.keyring().blob_id(kind, payload.get(1..).unwrap_or_default());
        let bound = [bench.bound(HeaderKind::Cache, &id).as_slice(), &[kind.code()]].concat();
        let sealed = seal::seal_object(&bench.key(Purpose::Cache), &bound, payload).expect("it seals");
        records.extend_from_slice(id.as_bytes());
        records.push(kind.code());
        records.extend_from_slice(&plain_length.to_le_bytes());
        records.extend_from_slice(&u32::try_from(sealed.len()).expect("it is short").to_le_bytes());
        records.extend_from_slice(&sealed);
    }
    records
}

/// The ids and kinds that records name.
fn records_of(records: &[u8]) -> HashMap<Id, BlobKind> {
    let mut source = Source(records);
    let mut found = HashMap::new();
    while source.0.len() >= 41 {
        let (id, code) = (Id(source.array()), source.u8());
        let (_, sealed) = (source.u32(), source.u32());
        let Some(kind) = BlobKind::from_code(code) else { break };
        found.insert(id, kind);
        source.take(usize::try_from(sealed).expect("a length"));
    }
    found
}

/// This computer's copy of the index, whose blocks have the right MACs.
pub(super) fn index_copy(bytes: &[u8]) {
    bench::with(|bench| {
        let object = bench::index_object();
        let looked_for = Id([1; 32]);
        bench::in_folder("copies", |folder| {
            let copy = folder.join("run-00");
            fs::write(&copy, blocks(&bench.key(Purpose::Cache), bytes)).expect("write the copy");
            let folders = IndexFolders::new(Some(folder.to_owned()), None).with_sizes(1 << 16, 1, 1 << 20);
            let repository = bench.repository.clone().with_index_folders(folders);
            bench.holding_hashed(ObjectKind::Index, object, |_| {
                // A copy whose MACs are right is believed, but whatever is in it, nothing breaks.
                let Ok(read) = ReadObjects::read(&repository) else { return };
                let Ok(index) = Index::build(&read, &|_| true) else { return };
                let trouble = Collector::default();
                index.report_troubles(&trouble);
                if trouble.findings().is_empty() {
                    accept();
                }
                for (number, place) in index.all().take(1000).flatten() {
                    drop(index.place(number));
                    drop(index.pack(&place));
                }
                for kind in BlobKind::ALL {
                    drop(index.places(kind, &looked_for));
                }
            });
            for entry in fs::read_dir(folder).expect("list the copies").flatten() {
                fs::remove_file(entry.path()).expect("remove the copy");
            }
        });
    });
}

/// Blocks with the roles and records given, and places and MACs that are right.
fn blocks(cache_key: &Secret, bytes: &[u8]) -> Vec<u8> {
    let start = [header::header(HeaderKind::Cache).as_slice(), &[4; 32]].concat();
    let bound = [b"strongroom copy of the index".as_slice(), &start].concat();
    let key = Secret::new(derive::keyed_hash(cache_key, &bound).0);
    let first = [start.as_slice(), &vec![0; BLOCK.0 - 1 - start.len()], &[1]].concat();
    let mut file = Vec::new();
    for (covered, number) in [first.as_slice()].into_iter().chain(bytes.chunks(BLOCK.0)).zip(0u64..) {
        let filled = [covered, &vec![0; BLOCK.0 - covered.len()], &number.to_le_bytes()].concat();
        file.extend_from_slice(&filled);
        file.extend_from_slice(derive::keyed_hash(&key, &filled).as_bytes());
    }
    file
}

/// A note in the cache: what was kept comes back, and what lies there instead is no note.
pub(super) fn note(bytes: &[u8]) {
    let name = Id([2; 32]);
    bench::with(|bench| {
        bench::in_folder("notes", |folder| {
            let cache = Cache::open(folder, bench.repository.id()).expect("a cache");
            cache.keep_note(&bench.repository, &name, bytes).expect("it is kept");
            assert_eq!(cache.note(&bench.repository, &name).as_deref(), Some(bytes));
            let path = folder.join(bench.repository.id().to_hex()).join("notes").join(name.to_hex());
            accept();
            fs::write(path, bytes).expect("write the file");
            assert_eq!(cache.note(&bench.repository, &name), None);
        });
    });
}

/// `.env` and `config.json` of a Vaultwarden. No line of theirs is repeated, for it may hold a secret.
pub(super) fn vaultwarden(bytes: &[u8]) {
    let mut source = Source(bytes);
    let (environment, config) = (source.sized(), source.0);
    // Under a name that nothing refers to.
    let secret = "b3f0secret91c7";
    bench::in_folder("vaultwarden", |folder| {
        let data = folder.join("data");
        fs::create_dir_all(data.join("attachments")).expect("make the folders");
        fs::write(data.join("db.sqlite3"), b"SQLite format 3\0 and more").expect("write the file");
        let environment = [format!("ZQXJK_TOKEN={secret}\n").as_bytes(), environment].concat();
        fs::write(data.join(".env"), environment).expect("write the file");
        fs::write(data.join("config.json"), config).expect("write the file");
        let reporter = Collector::default();
        let found = vaultwarden::discover(&vaultwarden::Options::new(&data), &reporter);
        let shown = match found {
            Ok(layout) => {
                accept();
                format!("{layout:?}")
            }
            Err(error) => format!("{} {:?}", error.chain(), error.next_step()),
        };
        assert!(!format!("{shown} {:?}", reporter.findings()).contains(secret));
    });
}

/// A database and its log: a copy is taken and checked, or it is said why not, and neither file changes.
pub(super) fn sqlite(bytes: &[u8]) {
    let mut source = Source(bytes);
    let (log, main) = (source.sized(), source.0);
    bench::in_folder("database", |folder| {
        let (main_path, log_path) = (folder.join("a.db"), folder.join("a.db-wal"));
        fs::write(&main_path, main).expect("write the file");
        if log.is_empty() {
            drop(fs::remove_file(&log_path))
        } else {
            fs::write(&log_path, log).expect("write")
        }
        let before = sqlite::fingerprint(&main_path).expect("it is there");
        take(folder, &main_path);
        assert_eq!(sqlite::fingerprint(&main_path).expect("it is there"), before);
        assert_eq!(fs::read(&main_path).expect("it is there"), main);
        assert_eq!(fs::read(&log_path).unwrap_or_default(), log);
    });
}

fn take(folder: &Path, database: &Path) {
    let scratch = folder.join("scratch");
    fs::create_dir_all(&scratch).expect("make a folder");
    let scratch = Scratch::create(&scratch).expect("a folder for copies");
    let mut done = (0, 0);
    let taken =
        sqlite::take(database, &scratch, &sqlite::Options::default(), &mut |pages, of| done = (pages, of));
    match taken {
        Ok(copy) => {
            assert!(copy.page_size().is_power_of_two() && (512..=65_536).contains(&copy.page_size()));
            let size = fs::metadata(copy.path()).expect("the copy is there").len();
            assert_eq!((copy.size(), copy.pages()), (size, size.div_ceil(u64::from(copy.page_size()))));
            // A copy may be damaged, as its source was; that is told and stops nothing.
            drop(copy.check());
            accept();
        }
        Err(TakeError::KeepsChanging { tries }) => panic!("nobody changed it in {tries} tries"),
        Err(error) => assert_ne!(error.kind(), ErrorKind::Busy, "nobody holds it: {error}"),
    }
}
