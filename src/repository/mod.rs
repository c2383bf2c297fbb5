//! A repository: objects on a backend, opened with a key.
//!
//! Follows `format-spec/10-repository.md`. This layer joins formats, keys and backend; it knows nothing of
//! files or databases.

mod batch;
pub mod blob;
pub mod cache;
pub mod cached_tree;
pub mod caches;
pub mod compare;
pub mod content;
pub mod find;
pub mod host;
pub mod index;
mod kept;
pub mod key_file;
pub mod keyring;
pub mod keys;
pub(crate) mod listing;
mod marks;
pub mod memory;
pub mod mover;
mod note;
mod objects;
pub mod packer;
pub mod reach;
pub mod reader;
pub mod recovery;
pub mod session;
pub mod snapshot;
pub mod tree;
pub(crate) mod unread;
pub(crate) mod verified;
pub mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::sync::Arc;

use crate::backend::{Backend, ObjectKind, ObjectName};
use crate::chunker::dump::DumpChunker;
use crate::chunker::gear::{GearChunker, Sizes};
use crate::crypto::derive::{self, Purpose};
use crate::crypto::random;
use crate::error::{Error, ErrorKind, Result};
use crate::format::config::{self, CHUNKER_KEYED_GEAR, ChunkSizes, Config};
use crate::id::Id;
use crate::limits;

use index::IndexFolders;
use keyring::Keyring;
use keys::{Credential, NewKey};

/// Sizes of the profile `file`.
pub const FILE_CHUNKS: ChunkSizes = ChunkSizes { minimum: 512 << 10, average: 1 << 20, maximum: 4 << 20 };
/// Sizes of the profile `dump`, to which a stream comes from finer ones.
pub const DUMP_CHUNKS: ChunkSizes = ChunkSizes { minimum: 16 << 10, average: 64 << 10, maximum: 256 << 10 };

/// What to do about a config that is damaged.
const CONFIG_DAMAGED: &str =
    "bring `config` back from a copy of the repository: it never changes, so any copy will do";

/// An opened repository; clones share it.
#[derive(Clone)]
pub struct Repository {
    backend: Arc<dyn Backend>,
    config: Arc<Config>,
    keyring: Arc<Keyring>,
    index_folders: Arc<IndexFolders>,
    /// The folder of the caches, where what was seen is to be remembered.
    memory: Option<Arc<Path>>,
}

impl Repository {
    /// Makes a repository on an empty backend, with one key of role full.
    ///
    /// # Errors
    /// `Refused` where one is there already, or what is left of one that lost its config: a prune of the new one
    /// would take the packs of the old one for litter.
    pub fn create(backend: Arc<dyn Backend>, new: &NewKey<'_>) -> Result<Self> {
        match backend.get(&ObjectName::CONFIG, limits::SMALL_OBJECT_MAX) {
            Ok(_) => {
                return Err(Error::refused(format!(
                    "there is a repository at {} already",
                    backend.location()
                ))
                .hint("choose another place, or use the one that is there"));
            }
            Err(error) if error.kind() == ErrorKind::Missing => {}
            Err(error) => return Err(error),
        }
        for kind in [ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack] {
            if !backend.list(kind)?.is_empty() {
                return Err(Error::refused(format!(
                    "{} holds {}, and no config: it is what is left of another repository",
                    backend.location(),
                    kind.folder()
                ))
                .hint("choose another place, or restore the object `config` from a copy of the repository"));
            }
        }
        let repository = random::id()?;
        let config = Config {
            repository,
            required_features: Vec::new(),
            optional_features: Vec::new(),
            chunker: CHUNKER_KEYED_GEAR,
            file_chunks: FILE_CHUNKS,
            dump_chunks: DUMP_CHUNKS,
            created: new.time,
        };
        let bundle = keys::first_bundle(&repository)?;
        let slot = keys::write_slot(backend.as_ref(), &repository, &bundle, new)?;
        let keyring = Keyring::new(repository, slot, bundle);
        // The config comes last: only with it is there a repository.
        let mut bytes = config::encode(&config)?;
        let mac = derive::keyed_hash(&keyring.key(Purpose::ConfigMac), &bytes);
        bytes.extend_from_slice(mac.as_bytes());
        backend.put(&ObjectName::CONFIG, &bytes)?;
        Ok(Self {
            backend,
            config: Arc::new(config),
            keyring: Arc::new(keyring),
            index_folders: Arc::default(),
            memory: None,
        })
    }

    /// Opens a repository with a password or key file.
    ///
    /// # Errors
    /// `NoRepository`; `WrongKey` where no slot opens; `Corrupt` where the config is not what its MAC says.
    pub fn open(backend: Arc<dyn Backend>, credential: &Credential) -> Result<Self> {
        let damaged = |error: Error| match error.kind() {
            ErrorKind::Corrupt => error.hint(CONFIG_DAMAGED),
            _ => error,
        };
        let bytes = read_config(backend.as_ref()).map_err(damaged)?;
        let (config, ..) = config::decode(&bytes).map_err(damaged)?;
        let keyring = keys::open_any(backend.as_ref(), &config.repository, credential)?;
        Self::with_keys(backend, &bytes, Arc::new(keyring))
    }

    /// The same repository in another place, where a copy of its files lies there; opened with the keys at hand.
    ///
    /// # Errors
    /// `NoRepository`; `Corrupt` where the config there is not what its MAC says.
    pub fn twin(&self, backend: Arc<dyn Backend>) -> Result<Option<Self>> {
        let bytes = read_config(backend.as_ref())?;
        if config::decode(&bytes)?.0.repository != *self.id() {
            return Ok(None);
        }
        Self::with_keys(backend, &bytes, Arc::clone(&self.keyring)).map(Some)
    }

    fn with_keys(backend: Arc<dyn Backend>, bytes: &[u8], keyring: Arc<Keyring>) -> Result<Self> {
        let (config, covered, mac) = config::decode(bytes)?;
        let expected = derive::keyed_hash(&keyring.key(Purpose::ConfigMac), covered);
        if !derive::equal(expected.as_bytes(), &mac) {
            return Err(Error::corrupt("the repository's config was altered: its MAC does not fit")
                .hint(CONFIG_DAMAGED));
        }
        Ok(Self { backend, config: Arc::new(config), keyring, index_folders: Arc::default(), memory: None })
    }

    /// Says where a large index may lie on this computer; all of it is in memory otherwise.
    #[must_use]
    pub fn with_index_folders(self, folders: IndexFolders) -> Self {
        Self { index_folders: Arc::new(folders), ..self }
    }

    /// Remembers in the caches below this folder which snapshots were seen, to notice when one vanishes.
    #[must_use]
    pub fn with_memory(self, caches: &Path) -> Self {
        Self { memory: Some(Arc::from(caches)), ..self }
    }

    /// Where a large index may lie on this computer.
    pub(crate) fn index_folders(&self) -> &Arc<IndexFolders> {
        &self.index_folders
    }

    /// The backend.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// The repository's id.
    pub fn id(&self) -> &Id {
        &self.config.repository
    }

    /// Its config.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The keys at hand.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The chunker of the profile `file`.
    pub fn file_chunker(&self) -> GearChunker {
        GearChunker::new(in_memory(self.config.file_chunks), &self.gear_table())
    }

    /// The chunker of the profile `dump`.
    pub fn dump_chunker(&self) -> DumpChunker {
        DumpChunker::new(in_memory(self.config.dump_chunks), &self.gear_table())
    }

    fn gear_table(&self) -> [u64; 256] {
        derive::table(&self.keyring.key(Purpose::GearTable))
    }

    /// Names of all objects of a kind, sorted.
    pub(crate) fn list_ids(&self, kind: ObjectKind) -> Result<Vec<Id>> {
        Ok(self.backend.list(kind)?.into_iter().map(|listed| listed.id).collect())
    }
}

/// Sizes of a config, as a chunker takes them.
fn in_memory(sizes: ChunkSizes) -> Sizes {
    let size = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
    let ChunkSizes { minimum, average, maximum } = sizes;
    Sizes { minimum: size(minimum), average: size(average), maximum: size(maximum) }
}

fn read_config(backend: &dyn Backend) -> Result<Vec<u8>> {
    backend
        .get(&ObjectName::CONFIG, limits::SMALL_OBJECT_MAX)
        .map_err(|error| if error.kind() == ErrorKind::Missing { no_repository(backend) } else { error })
}

fn no_repository(backend: &dyn Backend) -> Error {
    Error::new(ErrorKind::NoRepository, format!("there is no repository at {}", backend.location()))
        .hint("make one with `strongroom init`, or check the path")
}
