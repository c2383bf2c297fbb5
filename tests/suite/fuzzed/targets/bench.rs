//! What targets work on: the small repository of the vectors, opened with its full key on a store in memory, and a
//! private folder for files. Each thread has its own.

use std::cell::OnceCell;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;
use strongroom::backend::{MemoryBackend, ObjectKind, ObjectName};
use strongroom::crypto::derive::{self, Purpose};
use strongroom::crypto::seal;
use strongroom::crypto::secret::Secret;
use strongroom::format::header::{self, HeaderKind};
use strongroom::id::Id;
use strongroom::repository::Repository;
use strongroom::repository::key_file::parse_key_file;
use strongroom::repository::keys::Credential;

/// The folder of the vectors.
pub(crate) fn vectors() -> PathBuf {
    let start = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = start.ancestors().map(|folder| folder.join("format-spec/vectors")).find(|path| path.is_dir());
    found.expect("the vectors lie in the project's folder")
}

/// A file of the vectors.
pub(crate) fn vector_file(name: &str) -> Json {
    let path = vectors().join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("vectors are JSON")
}

/// Bytes from hexadecimal digits.
pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(digit).collect()
}

/// The vectors' repository with one key slot and nothing else in it, and the secrets that it has.
pub(crate) struct Bench {
    pub(crate) store: Arc<MemoryBackend>,
    pub(crate) repository: Repository,
    secrets: Json,
}

thread_local! {
    static BENCH: OnceCell<Bench> = const { OnceCell::new() };
    static FOLDER: OnceCell<Folder> = const { OnceCell::new() };
}

/// Works on this thread's repository.
pub(crate) fn with<T>(work: impl FnOnce(&Bench) -> T) -> T {
    BENCH.with(|bench| work(bench.get_or_init(Bench::open)))
}

impl Bench {
    fn open() -> Self {
        let folder = vectors();
        let read =
            |path: PathBuf| fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let store = Arc::new(MemoryBackend::new());
        store.replace(&ObjectName::CONFIG, read(folder.join("repository/config")));
        for entry in fs::read_dir(folder.join("repository/keys")).expect("the slots are listed") {
            let path = entry.expect("the slots are listed").path();
            let id = path.file_name().and_then(|name| Id::from_hex(name.to_str()?)).expect("an id");
            store.replace(&ObjectName::new(ObjectKind::Key, id), read(path));
        }
        let text = fs::read_to_string(folder.join("repository-keys/full.key")).expect("the key file");
        let key = Credential::KeyFile(parse_key_file(&text).expect("a key file"));
        let repository = Repository::open(store.clone(), &key).expect("the vectors' repository opens");
        Self { store, repository, secrets: vector_file("keys.json") }
    }

    /// One of the repository's secrets, by its name in the vectors.
    pub(crate) fn secret(&self, name: &str) -> Secret {
        Secret::new(self.known(name))
    }

    /// One of the repository's keys, by its name in the vectors.
    pub(crate) fn known<const N: usize>(&self, name: &str) -> [u8; N] {
        let slot = &self.secrets["slots"][0];
        let text = self.secrets[name].as_str().or_else(|| slot[name].as_str()).expect("a known key");
        from_hex(text).try_into().expect("a key of this length")
    }

    /// The key for a purpose.
    pub(crate) fn key(&self, purpose: Purpose) -> Secret {
        self.repository.keyring().key(purpose)
    }

    /// What an object's seal binds.
    pub(crate) fn bound(&self, kind: HeaderKind, id: &Id) -> Vec<u8> {
        [&header::header(kind), self.repository.id().as_bytes().as_slice(), id.as_bytes()].concat()
    }

    /// A whole object: header and sealed plaintext.
    pub(crate) fn sealed(&self, kind: HeaderKind, purpose: Purpose, id: &Id, plain: &[u8]) -> Vec<u8> {
        let sealed = seal::seal_object(&self.key(purpose), &self.bound(kind, id), plain).expect("it seals");
        [header::header(kind).as_slice(), &sealed].concat()
    }

    /// Works while the store holds an object more.
    pub(crate) fn holding<T>(&self, kind: ObjectKind, id: Id, bytes: Vec<u8>, work: impl FnOnce() -> T) -> T {
        let name = ObjectName::new(kind, id);
        self.store.replace(&name, bytes);
        let done = work();
        self.store.remove(&name);
        done
    }

    /// The same for an object that the hash of its bytes names; `work` is told its id.
    pub(crate) fn holding_hashed<T>(
        &self,
        kind: ObjectKind,
        bytes: Vec<u8>,
        work: impl FnOnce(Id) -> T,
    ) -> T {
        let id = derive::hash(&bytes);
        self.holding(kind, id, bytes, || work(id))
    }
}

/// An index object of the vectors.
pub(crate) fn index_object() -> Vec<u8> {
    thread_local! {
        static OBJECT: OnceCell<Vec<u8>> = const { OnceCell::new() };
    }
    let read = || {
        let file = vector_file("07-index.json");
        let first =
            file["vectors"].as_array().expect("vectors").iter().find(|vector| vector["valid"] == true);
        from_hex(first.expect("a valid one")["bytes"].as_str().expect("bytes"))
    };
    OBJECT.with(|object| object.get_or_init(read).clone())
}

/// A folder that is removed with its thread; in memory, where the system has a place for that.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let thread = format!("{:?}", std::thread::current().id());
        let digits: String = thread.chars().filter(char::is_ascii_digit).collect();
        let path = parent.join(format!("strongroom-fuzz-{}-{digits}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&path).expect("make a private folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Works in this thread's folder, in one of its own below it.
pub(crate) fn in_folder<T>(name: &str, work: impl FnOnce(&Path) -> T) -> T {
    FOLDER.with(|folder| {
        let path = folder.get_or_init(Folder::make).0.join(name);
        fs::create_dir_all(&path).expect("make a folder");
        work(&path)
    })
}
