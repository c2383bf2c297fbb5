//! What the tests of this module share: folders that remove themselves, and the real data folder.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A folder of one test, gone when dropped.
pub(in crate::service) struct Folder(PathBuf);

impl Folder {
    /// Makes an empty folder.
    pub(in crate::service) fn new() -> Self {
        let name =
            format!("strongroom-vaultwarden-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    /// Where it is.
    pub(in crate::service) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and the folders above it.
    pub(in crate::service) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Makes a folder and those above it.
    pub(in crate::service) fn folder(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Copies the real data folder, log included, to `name`; nothing where it is not at hand.
    pub(super) fn real(&self, name: &str) -> Option<PathBuf> {
        let source = real_folder()?;
        let target = self.folder(name);
        copy(&source, &target);
        Some(target)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Failing to clean up does not fail a test.
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A real data folder: the one that STRONGROOM_SAMPLE_VAULT names, else the one beside the checkout. Where there
/// is none, `tests/run` hears of it; with CI=true that is a failure.
fn real_folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/vaultwarden");
    let folder = variable("STRONGROOM_SAMPLE_VAULT").map_or_else(beside, PathBuf::from);
    if folder.join("db.sqlite3").is_file() {
        return Some(folder);
    }
    assert!(variable("CI").is_none_or(|value| value != "true"), "no sample vault at {}", folder.display());
    if let Some(list) = variable("STRONGROOM_UNTESTED") {
        let mut list = fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
        list.write_all(b"not tested here: a real Vaultwarden folder (no sample vault here)\n").unwrap();
    }
    None
}

fn copy(source: &Path, target: &Path) {
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let to = target.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            // Not `fs::copy`: the originals are read-only, and their copies must not be.
            fs::write(&to, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// A database with the columns that matter here, and no keys, so that rows may be as odd as they like.
pub(super) fn small_database() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(SMALL_SCHEMA).unwrap();
    connection
}

/// The schema of [`small_database`].
pub(super) const SMALL_SCHEMA: &str = "
    CREATE TABLE __diesel_schema_migrations (version TEXT, run_on TEXT);
    INSERT INTO __diesel_schema_migrations VALUES ('20240112210182', '');
    CREATE TABLE users (uuid TEXT);
    INSERT INTO users VALUES ('u');
    CREATE TABLE ciphers (uuid TEXT, updated_at TEXT);
    CREATE TABLE attachments (id TEXT, cipher_uuid TEXT, file_name TEXT, file_size INTEGER, akey TEXT);
    CREATE TABLE sends (uuid TEXT, atype INTEGER, data TEXT, revision_date TEXT);";
