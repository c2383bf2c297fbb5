//! Options of every command, and the environment variables that stand in for them.
//!
//! Invariant: an empty variable counts as unset; a flag wins over a variable, a key file over a password.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use uzers::os::unix::UserExt;

use super::output::Output;
use super::password;
use super::recovery_key;
use crate::backend::{Backend, LocalBackend};
use crate::error::{Error, ErrorKind, Result};
use crate::operation::needed::Needed;
use crate::repository::Repository;
use crate::repository::cache::Cache;
use crate::repository::caches;
use crate::repository::index::IndexFolders;
use crate::repository::key_file::parse_key_file;
use crate::repository::keys::Credential;

/// Longest key file that is read, in bytes.
const KEY_FILE_MAX: u64 = 64 << 10;

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub(super) struct Global {
    /// Folder of the repository [environment: STRONGROOM_REPOSITORY]
    #[arg(short, long, global = true, value_name = "FOLDER", help_heading = "Everywhere")]
    repo: Option<PathBuf>,
    /// File with the password in its first line [environment: STRONGROOM_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    password_file: Option<PathBuf>,
    /// Shell command that prints the password [environment: STRONGROOM_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND", help_heading = "Everywhere")]
    password_command: Option<String>,
    /// Key file, or a file with the text of a recovery sheet [environment: STRONGROOM_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    key_file: Option<PathBuf>,
    /// Type the key of a recovery sheet, line by line; or give its text on standard input
    #[arg(long, global = true, conflicts_with_all = ["key_file", "password_file", "password_command"], help_heading = "Everywhere")]
    recovery_key: bool,
    /// Folder for the local cache [environment: STRONGROOM_CACHE_DIR]
    #[arg(long, global = true, value_name = "FOLDER", help_heading = "Everywhere")]
    cache_dir: Option<PathBuf>,
    /// Do without the local cache: with a backup key every file is read again, and a killed run is not recognized
    #[arg(long, global = true, help_heading = "Everywhere")]
    no_cache: bool,
    /// Print one JSON object a line, for programs
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(super) json: bool,
    /// Print nothing but problems
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub(super) quiet: bool,
    /// Print more about what was stored
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub(super) verbose: bool,
}

/// A variable of the environment that is set to something.
pub(super) fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

impl Global {
    /// Where the repository is.
    pub(super) fn location(&self) -> Result<PathBuf> {
        self.repo.clone().or_else(|| variable("STRONGROOM_REPOSITORY").map(PathBuf::from)).ok_or_else(|| {
            Error::new(ErrorKind::NoRepository, "no repository is named")
                .hint("give its folder by -r, or in STRONGROOM_REPOSITORY")
        })
    }

    /// What this program needs again the next time, as far as it is named.
    pub(super) fn needed(&self) -> Vec<Needed> {
        let named = |flag: &Option<PathBuf>, name: &str| {
            flag.clone().into_iter().chain(variable(name).map(PathBuf::from)).collect::<Vec<_>>()
        };
        let cache = self.cache_folder().ok().filter(|folder| !self.no_cache && folder.exists());
        [
            ("repository", self.location().into_iter().collect()),
            ("key file", named(&self.key_file, "STRONGROOM_KEY_FILE")),
            ("password file", named(&self.password_file, "STRONGROOM_PASSWORD_FILE")),
            ("cache", cache.into_iter().collect()),
            ("program", std::env::current_exe().ok().into_iter().collect()),
        ]
        .into_iter()
        .flat_map(|(what, paths)| paths.into_iter().map(move |path| Needed { what, path }))
        .collect()
    }

    /// The same for a repository that a configuration names, with its folder for caches.
    pub(super) fn at(&self, repository: &Path, cache_dir: Option<&Path>) -> Self {
        let cache_dir = self.cache_dir.clone().or_else(|| cache_dir.map(Path::to_path_buf));
        Self { repo: Some(repository.to_path_buf()), cache_dir, ..self.clone() }
    }

    /// Whether a flag names a repository.
    pub(super) fn names_repository(&self) -> bool {
        self.repo.is_some()
    }

    /// Refuses flags that name a repository or a key where a configuration does.
    pub(super) fn refuse_repository(&self) -> Result<()> {
        if self.repo.is_some() || self.key_file.is_some() || self.recovery_key || self.names_password() {
            return Err(Error::refused("the configuration names the repositories and their keys")
                .hint("leave -r, --key-file, --recovery-key and the options for passwords out"));
        }
        Ok(())
    }

    /// Opens the repository.
    pub(super) fn open(&self, output: &Output) -> Result<Repository> {
        self.open_at(&self.location()?, || self.credential(output))
    }

    /// Opens a repository that lies in this folder. Nobody is asked for the key to one that is not there.
    pub(super) fn open_at(
        &self,
        folder: &Path,
        credential: impl FnOnce() -> Result<Credential>,
    ) -> Result<Repository> {
        let backend: Arc<dyn Backend> = Arc::new(LocalBackend::open(folder)?);
        let repository = Repository::open(backend, &credential()?)?;
        let caches = if self.no_cache { None } else { self.cache_folder().ok() };
        if let Some(caches) = &caches {
            let place = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
            caches::note_use(caches, repository.id(), place.as_os_str().as_bytes());
        }
        let cache = caches.as_ref().map(|folder| Cache::index_folder(folder, repository.id()));
        let repository = repository.with_index_folders(IndexFolders::new(cache, Some(std::env::temp_dir())));
        Ok(match caches {
            Some(caches) => repository.with_memory(&caches),
            None => repository,
        })
    }

    /// What opens the repository.
    fn credential(&self, output: &Output) -> Result<Credential> {
        if self.recovery_key {
            // clap sees this conflict only where both flags stand on the same side of the command.
            if self.key_file.is_some() || self.names_password() {
                return Err(
                    Error::refused("another key is named besides --recovery-key").hint("give one of them")
                );
            }
            return recovery_key::read(output);
        }
        if let Some(path) = &self.key_file {
            return read_key_file(path);
        }
        if self.names_password() {
            return self.named_password(output).map(Credential::Password);
        }
        if let Some(path) = variable("STRONGROOM_KEY_FILE") {
            return read_key_file(&PathBuf::from(path));
        }
        match password::from_environment("STRONGROOM", output)? {
            Some(password) => Ok(Credential::Password(password)),
            None => password::ask("password of the repository: ", output).map(Credential::Password),
        }
    }

    /// The password for a new repository, asked for twice where it is typed.
    pub(super) fn new_password(&self, output: &Output) -> Result<Credential> {
        let password = if self.names_password() {
            self.named_password(output)?
        } else if let Some(password) = password::from_environment("STRONGROOM", output)? {
            password
        } else {
            password::ask_new("password for the new key: ", output)?
        };
        Ok(Credential::Password(password))
    }

    fn names_password(&self) -> bool {
        self.password_file.is_some() || self.password_command.is_some()
    }

    fn named_password(&self, output: &Output) -> Result<password::Password> {
        match (&self.password_file, &self.password_command) {
            (Some(path), _) => password::from_file(path),
            (None, Some(command)) => password::from_command(command.as_ref(), output),
            (None, None) => Err(Error::refused("no password is named")),
        }
    }

    /// The local cache of a repository; none if none is wanted, or if it cannot be had.
    pub(super) fn cache(&self, repository: &Repository, output: &Output) -> Option<Cache> {
        if self.no_cache {
            return None;
        }
        let opened = self.cache_folder().and_then(|folder| Cache::open(&folder, repository.id()));
        match opened {
            Ok(cache) => Some(cache),
            Err(error) => {
                output.warn(
                    &format!("no cache, so every file is read again: {}", error.chain()),
                    error
                        .next_step()
                        .or(Some("choose another by --cache-dir, or make room and set its owner right")),
                );
                None
            }
        }
    }

    /// Where the caches of all repositories lie.
    pub(super) fn cache_folder(&self) -> Result<PathBuf> {
        if let Some(folder) =
            self.cache_dir.clone().or_else(|| variable("STRONGROOM_CACHE_DIR").map(PathBuf::from))
        {
            return Ok(folder);
        }
        if let Some(folder) =
            variable("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute())
        {
            return Ok(folder.join("strongroom"));
        }
        let home = variable("HOME").map(PathBuf::from).or_else(home_of_this_user).ok_or_else(|| {
            Error::refused("there is no home folder to keep a cache in").hint("name a folder by --cache-dir")
        })?;
        Ok(home.join(".cache").join("strongroom"))
    }
}

/// The home folder that the system has for this user: what starts services sets no HOME.
fn home_of_this_user() -> Option<PathBuf> {
    let user = uzers::get_user_by_uid(rustix::process::geteuid().as_raw())?;
    let home = user.home_dir().to_path_buf();
    (home != Path::new("/") && home.is_dir()).then_some(home)
}

pub(super) fn read_key_file(path: &Path) -> Result<Credential> {
    let text = password::read_secret_file(path, KEY_FILE_MAX, "key file")?;
    let text = zeroize::Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
    parse_key_file(&text)
        .map(Credential::KeyFile)
        .map_err(|error| error.context(format!("cannot use {}", path.display())))
}
