//! Snapshot manifests: `snapshots/<id>`.
//!
//! Follows `format-spec/09-snapshot.md`. The manifest is signed by the slot that wrote it, the slot is
//! certified by the maintain key, and the whole is sealed under the write secret.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use super::cbor;
use super::node::{Extension, NANOSECONDS_MAX, Timestamp};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::limits;

/// What a snapshot is and what was found while it was made.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Manifest {
    /// When the backup began, by the host's clock.
    #[n(0)]
    pub time: Timestamp,
    /// When it was done.
    #[n(1)]
    pub finished: Timestamp,
    /// Name of the host.
    #[n(2)]
    pub host: String,
    /// Name of the job, where there is one.
    #[n(3)]
    pub job: Option<String>,
    /// Tags, sorted, each once.
    #[n(4)]
    pub tags: Vec<String>,
    /// The paths as given, made absolute.
    #[n(5)]
    pub paths: Vec<ByteVec>,
    /// The blob at the top of the tree.
    #[n(6)]
    pub root: Id,
    /// Its level: 0 is a leaf.
    #[n(7)]
    pub level: u8,
    /// Rises by one with each manifest of the same slot.
    #[n(8)]
    pub sequence: u64,
    /// The snapshot that this one was compared with.
    #[n(9)]
    pub parent: Option<Id>,
    /// Patterns that were left out.
    #[n(10)]
    pub excludes: Vec<String>,
    /// The databases met, in the order of their places.
    #[n(11)]
    pub databases: Vec<DatabaseReport>,
    /// What the service reported.
    #[n(12)]
    pub service: Option<ServiceReport>,
    /// What was counted.
    #[n(13)]
    pub statistics: Statistics,
    /// Version of the program that wrote it.
    #[n(14)]
    pub program: String,
    /// Records that later versions may add and this one passes over.
    #[n(15)]
    pub extensions: Option<Vec<Extension>>,
    /// Where it was made from another snapshot: which, and why.
    #[n(16)]
    pub original: Option<Original>,
    /// What servers and commands wrote into it, in the order of their places; absent where nothing did.
    #[n(17)]
    pub dumps: Option<Vec<DumpReport>>,
}

/// What wrote a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum DumpKind {
    /// A command, of which nothing more is known.
    #[n(0)]
    Command,
    /// One database of a PostgreSQL server, as an archive of `pg_dump`.
    #[n(1)]
    Postgres,
    /// What a PostgreSQL server has beside its databases, such as roles, as SQL.
    #[n(2)]
    PostgresGlobals,
    /// One database of a MariaDB or MySQL server, as SQL.
    #[n(3)]
    Mysql,
    /// What a MariaDB or MySQL server has beside its databases, such as users, as SQL.
    #[n(4)]
    MysqlGlobals,
    /// All that a Redis server has, as an RDB file.
    #[n(5)]
    Redis,
}

/// A file of a snapshot that a server or a command wrote.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DumpReport {
    /// Where it lies in the snapshot.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub place: Vec<u8>,
    /// What wrote it.
    #[n(1)]
    pub kind: DumpKind,
    /// The database's name on the server, where it is one.
    #[n(2)]
    pub database: Option<String>,
    /// What the server says that it is, and of which version; absent where none was asked.
    #[n(3)]
    pub server: Option<String>,
    /// What the client says that it is.
    #[n(4)]
    pub client: Option<String>,
    /// Its length.
    #[n(5)]
    pub bytes: u64,
    /// Rows by table in the dump, sorted by name: the server counted as many in the same view of its data.
    #[n(6)]
    pub tables: Vec<TableRows>,
    /// Tables whose rows were left out, sorted.
    #[n(7)]
    pub without_rows: Vec<String>,
    /// What is worth knowing, such as tables whose rows the server could not count.
    #[n(8)]
    pub messages: Vec<String>,
}

/// Why a snapshot was written again under a new id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Change {
    /// Its tags were changed.
    #[n(0)]
    Tagged,
    /// Paths were taken out of it.
    #[n(1)]
    Rewritten,
    /// What was lost was taken out of it.
    #[n(2)]
    Repaired,
    /// It had been forgotten.
    #[n(3)]
    Unforgotten,
    /// It came from another repository.
    #[n(4)]
    Copied,
}

/// What a snapshot that was written again was made from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Original {
    /// The snapshot that the backup itself wrote, the first of all of them.
    #[n(0)]
    pub snapshot: Id,
    /// The public key of the slot that wrote that one.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub writer: [u8; 32],
    /// That one's sequence number.
    #[n(2)]
    pub sequence: u64,
    /// The snapshot that this one was made from.
    #[n(3)]
    pub made_from: Id,
    /// What was done.
    #[n(4)]
    pub change: Change,
}

/// How taking a database went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum DatabaseOutcome {
    /// A consistent copy that passed its check.
    #[n(0)]
    Checked,
    /// A consistent copy that failed its check; stored, and reported.
    #[n(1)]
    FailedCheck,
    /// Not readable as a database, stored byte for byte with its logs as found, and reported.
    #[n(2)]
    StoredAsFound,
    /// Not stored, and reported.
    #[n(3)]
    NotStored,
}

/// A SQLite database in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DatabaseReport {
    /// Where it lies in the snapshot.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub place: Vec<u8>,
    /// How it went.
    #[n(1)]
    pub outcome: DatabaseOutcome,
    /// Page size in bytes; zero where not known.
    #[n(2)]
    pub page_size: u32,
    /// Pages in each chunk; zero where not cut by page.
    #[n(3)]
    pub run_pages: u32,
    /// Number of pages.
    #[n(4)]
    pub pages: u64,
    /// What the check said, or why it is not there.
    #[n(5)]
    pub messages: Vec<String>,
}

/// Where something that a service keeps was found.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Origin {
    /// The setting that names it.
    #[n(0)]
    pub setting: String,
    /// The setting's value.
    #[n(1)]
    pub value: String,
    /// Where it lies in the snapshot.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub place: Vec<u8>,
    /// Where it lay on the host.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub host_path: Vec<u8>,
}

/// Number of rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct TableRows {
    /// Its name.
    #[n(0)]
    pub table: String,
    /// Rows in the copy.
    #[n(1)]
    pub rows: u64,
}

/// Something that is not as the database says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Damage {
    /// Where it should lie in the snapshot.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub place: Vec<u8>,
    /// The size that the database says; zero where it says none.
    #[n(1)]
    pub expected: u64,
    /// The size found; absent where nothing was.
    #[n(2)]
    pub found: Option<u64>,
}

/// The proof that a service is whole.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ServiceReport {
    /// Its name: `vaultwarden` or `authentik`.
    #[n(0)]
    pub name: String,
    /// Where its parts were found.
    #[n(1)]
    pub origins: Vec<Origin>,
    /// Version of its database's schema.
    #[n(2)]
    pub schema: Option<String>,
    /// Rows by table.
    #[n(3)]
    pub tables: Vec<TableRows>,
    /// Files that the database refers to and that are present with their size.
    #[n(4)]
    pub files_proved: u64,
    /// Their bytes.
    #[n(5)]
    pub bytes_proved: u64,
    /// Files that are missing or of the wrong size.
    #[n(6)]
    pub damaged: Vec<Damage>,
    /// Files that no row refers to.
    #[n(7)]
    pub orphans: Vec<ByteVec>,
    /// Files whose rows were deleted while the backup ran.
    #[n(8)]
    pub deleted_meanwhile: u64,
    /// Files that were being uploaded while the backup ran.
    #[n(9)]
    pub being_uploaded: u64,
    /// Whether the database's copy passed its check, all files were proved, and nothing was left unread.
    #[n(10)]
    pub whole: bool,
    /// The release that the service was of, where that is known.
    #[n(11)]
    pub release: Option<String>,
}

/// Counts of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Statistics {
    /// Files not in the snapshot before.
    #[n(0)]
    pub files_new: u64,
    /// Files that changed since.
    #[n(1)]
    pub files_changed: u64,
    /// Files that did not.
    #[n(2)]
    pub files_unmodified: u64,
    /// Folders not in the snapshot before.
    #[n(3)]
    pub directories_new: u64,
    /// Folders that changed since.
    #[n(4)]
    pub directories_changed: u64,
    /// Folders that did not.
    #[n(5)]
    pub directories_unmodified: u64,
    /// Links, pipes, sockets and devices.
    #[n(6)]
    pub others: u64,
    /// Bytes of all files.
    #[n(7)]
    pub bytes_processed: u64,
    /// New chunks of files.
    #[n(8)]
    pub data_blobs: u64,
    /// New blobs of the tree and of lists.
    #[n(9)]
    pub tree_blobs: u64,
    /// Plain bytes of new blobs.
    #[n(10)]
    pub data_added: u64,
    /// Bytes written to the store before the manifest.
    #[n(11)]
    pub data_added_packed: u64,
    /// What could not be read, changed while it was read, vanished, or failed its check.
    #[n(12)]
    pub problems: u64,
}

/// What is sealed: the manifest's bytes and who vouches for them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedManifest {
    /// The manifest, encoded.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub manifest: Vec<u8>,
    /// The role of the slot.
    #[n(1)]
    pub role: super::key_slot::Role,
    /// The slot's public key.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub verifying_key: [u8; 32],
    /// The maintain key's signature over role and public key.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub certificate: [u8; 64],
    /// The slot's signature over context, repository, snapshot id and manifest.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

/// Encodes a manifest, which must keep the limits that readers hold it against.
pub fn encode(manifest: &Manifest) -> Result<Vec<u8>> {
    validate(manifest)?;
    let bytes = cbor::encode(manifest)?;
    bound(&bytes)?;
    Ok(bytes)
}

/// Decodes a manifest and holds it against the limits.
pub fn decode(bytes: &[u8]) -> Result<Manifest> {
    bound(bytes)?;
    let manifest: Manifest = cbor::decode(bytes, "snapshot manifest")?;
    validate(&manifest)?;
    Ok(manifest)
}

fn bound(bytes: &[u8]) -> Result<()> {
    cbor::bound_items(bytes, limits::SNAPSHOT_ITEMS_MAX, "snapshot manifest")
}

fn validate(manifest: &Manifest) -> Result<()> {
    let texts = || manifest.tags.iter().chain([&manifest.host, &manifest.program]).chain(&manifest.job);
    let times = [manifest.time, manifest.finished].iter().all(|time| time.nanoseconds <= NANOSECONDS_MAX);
    let tags = manifest.tags.is_sorted_by(|one, other| one < other);
    if !times
        || !tags
        || manifest.level > limits::LEVEL_MAX
        || texts().any(|text| text.len() > limits::TEXT_MAX)
    {
        return Err(Error::corrupt("snapshot manifest: a field is out of range"));
    }
    Ok(())
}

/// Encodes a signed manifest.
pub fn encode_signed(signed: &SignedManifest) -> Result<Vec<u8>> {
    cbor::encode(signed)
}

/// Decodes a signed manifest; the signatures are not checked here.
pub fn decode_signed(bytes: &[u8]) -> Result<SignedManifest> {
    cbor::decode(bytes, "snapshot")
}
