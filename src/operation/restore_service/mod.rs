//! A service put back: its databases into servers, its files into a folder.
//!
//! First the whole plan, which only looks: which dump goes into which database, what is there, and whatever speaks against
//! it. Then each database is filled, its rows are counted and compared with those of the dump, the files are restored, and
//! both are proved together. A database that takes the place of another is filled beside it and put in place last.
//!
//! Invariants: a database or a folder that holds something is never written to. Until what takes its place is whole and
//! proved, it stays; then it is kept aside under another name. What was made here goes again where something fails.

mod authentik;
mod choice;
mod fit;
mod folder;
mod plan;
mod prove;
mod redis;
mod work;

use std::path::PathBuf;
use std::time::Duration;

use crate::interrupt::Interrupt;
use crate::operation::needed::Needed;
use crate::operation::restore_vaultwarden::Proved;
use crate::source::server::redis::Redis;
use crate::source::server::target::Target;

pub use folder::{FolderStep, FolderSwap};
pub use plan::{DatabaseStep, Plan, RedisStep, Way};
pub use work::run;

/// What is asked for.
pub struct Options {
    /// The servers that take dumps, each of another kind.
    pub targets: Vec<Box<dyn Target>>,
    /// The databases of the snapshot that are restored, by the names they had; all where none is named.
    pub databases: Vec<String>,
    /// Where the files go: a new or an empty folder, or one that gives way.
    pub folder: Option<PathBuf>,
    /// Where Redis finds its data.
    pub redis: Option<RedisFolder>,
    /// Whether what is there gives way, and is kept aside.
    pub in_place: bool,
    /// Whether roles that the snapshot has and a server has not are made first.
    pub with_roles: bool,
    /// What must not be touched.
    pub needed: Vec<Needed>,
    /// Asked whether to stop, until something is put in place.
    pub interrupt: Interrupt,
}

/// The folder of a Redis server that does not run.
pub struct RedisFolder {
    /// The folder.
    pub path: PathBuf,
    /// Where the server answers when it runs.
    pub server: Option<Redis>,
}

/// What was restored.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The databases.
    pub databases: Vec<RestoredDatabase>,
    /// Roles that were made.
    pub roles: Vec<String>,
    /// The file that Redis loads when it starts.
    pub redis: Option<RestoredRedis>,
    /// Files, and their bytes.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Where what was in the folder before is kept.
    pub folder_aside: Option<PathBuf>,
    /// What was proved of database and files together.
    pub proved: Option<Proved>,
    /// What is missing, damaged or not as it was.
    pub problems: u64,
}

/// A database that was filled.
#[derive(Clone, Debug)]
pub struct RestoredDatabase {
    /// Where.
    pub server: String,
    /// Its name there.
    pub database: String,
    /// The dump that it was filled from.
    pub place: Vec<u8>,
    /// Whether it was made.
    pub created: bool,
    /// The name under which what was there is kept.
    pub aside: Option<String>,
    /// Tables whose rows are as many as in the dump.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// Tables of which nobody counted the rows at the backup.
    pub uncounted: u64,
    /// Bytes of the dump.
    pub bytes: u64,
    /// How long it took to fill and to count.
    pub took: Duration,
}

/// What Redis is to load.
#[derive(Clone, Debug)]
pub struct RestoredRedis {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Where what was there is kept.
    pub aside: Vec<PathBuf>,
}
