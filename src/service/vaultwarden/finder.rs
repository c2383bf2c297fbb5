//! Looks for each part: follows its setting, its mapping and its symbolic link, and notes what is stored from
//! where and what is passed over.
//!
//! Invariants: an item never contains the data folder. What a setting promises and this host does not have is
//! a problem; what lies where nothing uses it any more, and is not stored, is a warning.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::database_url::{self, Database, Named};
use super::paths::{PathMap, show};
use super::settings::{Key, Settings};
use crate::error::{Error, Result};
use crate::report::{Finding, Reporter};
use crate::source::sqlite;

/// What a data folder has beside its database; the server makes the first of them when it starts.
const PARTS: [&str; 5] = ["attachments", "sends", "rsa_key.pem", "rsa_key.der", "icon_cache"];
/// The place of the database.
pub const DATABASE_PLACE: &str = "db.sqlite3";

/// The files of the key that signs sessions, by extension.
const KEY_EXTENSIONS: [&str; 4] = ["pem", "pub.pem", "der", "pub.der"];

/// The place of the settings file that the server reads.
pub const ENVIRONMENT_PLACE: &str = ".env";

/// Where the data folder's own `.env` is stored when the server reads another one.
pub const SECOND_ENVIRONMENT_PLACE: &str = ".env.data-folder";

/// What a settings file is called as what moved it.
pub const SETTINGS_FILE: &str = "settings file";

/// Everything a person can do about a path that is not found.
const MAP_HINT: &str = "say where it is on this host with --map /container=/host";

/// A part that is not simply at its place in the data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What moved it: a setting's name, or words for a link or a mount.
    pub setting: String,
    /// Where it is stored.
    pub place: Vec<u8>,
    /// Where it lies on this host, free of symbolic links at its end.
    pub host: PathBuf,
    /// The value as configured.
    pub origin: String,
}

/// What one search gathers.
pub(super) struct Finder<'a> {
    data_folder: PathBuf,
    settings: Settings,
    map: PathMap,
    reporter: &'a dyn Reporter,
    items: Vec<Item>,
    left_out: Vec<Vec<u8>>,
}

/// A part that exists.
struct Found {
    /// Its path, free of symbolic links.
    host: PathBuf,
    /// What led there.
    setting: String,
    /// The value as configured.
    origin: String,
}

impl<'a> Finder<'a> {
    /// Starts a search in a data folder.
    pub(super) fn new(
        data_folder: PathBuf,
        settings: Settings,
        map: PathMap,
        reporter: &'a dyn Reporter,
    ) -> Self {
        Self { data_folder, settings, map, reporter, items: Vec::new(), left_out: Vec::new() }
    }

    /// Data folder, items by place, and places left out in order.
    pub(super) fn finish(mut self) -> (PathBuf, Vec<Item>, Vec<Vec<u8>>) {
        self.items.sort_by(|left, right| left.place.cmp(&right.place));
        self.left_out.sort();
        self.left_out.dedup();
        (self.data_folder, self.items, self.left_out)
    }

    /// Refuses what keeps files that a backup must hold in an object store.
    pub(super) fn refuse_object_stores(&self, with_sends: bool) -> Result<()> {
        let needed =
            [(Key::DataFolder, true), (Key::AttachmentsFolder, true), (Key::SendsFolder, with_sends)];
        for (key, _) in needed.into_iter().filter(|(_, needed)| *needed) {
            if self.settings.value(key).is_some_and(is_remote) {
                // The value is not shown: an S3 address can carry its keys.
                return Err(Error::refused(format!(
                    "{} names an object store such as s3://, whose files this command does not back up",
                    key.name()
                ))
                .hint("copy the bucket to a local folder, and name that folder with --map"));
            }
        }
        Ok(())
    }

    /// Finds the database. One of SQLite is made sure to be one; of a server nothing is asked here.
    pub(super) fn database(&mut self) -> Result<Database> {
        let setting = self.settings.get(Key::DatabaseUrl).cloned();
        let default = self.map.default_value(DATABASE_PLACE);
        let url = setting.as_ref().map_or(default.as_str(), |setting| setting.value.as_str());
        let named = match database_url::parse(url)? {
            Named::Sqlite(named) => named,
            Named::Server(kind, address) => {
                self.refuse_what_is_no_data_folder()?;
                return Ok(Database::Server { kind, address });
            }
        };
        // A query may follow the path, and a path may hold a question mark.
        let without_query = named.path.split('?').next().unwrap_or(named.path);
        let found = [named.path, without_query]
            .into_iter()
            .filter_map(|path| self.map.host(path))
            .find_map(|path| self.resolve(&path).ok());
        let Some(host) = found else { return Err(self.no_database(setting.is_some())) };
        check_database(&host)?;
        let origin = if named.showable || setting.is_none() { url.to_owned() } else { show(&host) };
        let inside = self.place_of(&host);
        // What lies beside the database at its own place is left to whoever takes it: a database that is too
        // damaged to be taken is stored as found, and then they belong to it.
        if inside.as_deref() != Some(DATABASE_PLACE.as_bytes()) {
            for base in [Some(DATABASE_PLACE.as_bytes().to_vec()), inside].into_iter().flatten() {
                // A log that stays beside a restored database it does not belong to destroys it.
                for suffix in sqlite::COMPANIONS {
                    self.left_out.push([base.as_slice(), suffix.as_bytes()].concat());
                }
            }
        }
        let setting = self.what_moved(Key::DatabaseUrl, DATABASE_PLACE);
        self.place(DATABASE_PLACE, Found { host: host.clone(), setting, origin })?;
        Ok(Database::Sqlite(host))
    }

    /// Refuses a folder that holds nothing of a Vaultwarden's.
    fn refuse_what_is_no_data_folder(&self) -> Result<()> {
        if PARTS.iter().any(|name| self.data_folder.join(name).exists()) {
            Ok(())
        } else {
            Err(self.no_data_folder())
        }
    }

    fn no_data_folder(&self) -> Error {
        Error::refused(format!(
            "{} is not a data folder of Vaultwarden: it holds no db.sqlite3, nor anything else of its parts",
            show(&self.data_folder)
        ))
        .hint("name the folder that is mounted at /data in Vaultwarden's container")
    }

    /// Why there is no database, and what to do.
    fn no_database(&self, configured: bool) -> Error {
        if configured {
            Error::missing("the database that DATABASE_URL names is not on this host").hint(MAP_HINT)
        } else if PARTS.iter().any(|name| self.data_folder.join(name).exists()) {
            Error::missing(format!(
                "there is no database at {}",
                show(&self.data_folder.join(DATABASE_PLACE))
            ))
            .hint("if DATABASE_URL names another one, name the settings file of the server with --env-file")
        } else {
            self.no_data_folder()
        }
    }

    /// Notes the settings files.
    pub(super) fn environment_files(&mut self, used: Option<PathBuf>, also: Option<PathBuf>) -> Result<()> {
        for (path, place) in [(used, ENVIRONMENT_PLACE), (also, SECOND_ENVIRONMENT_PLACE)] {
            let Some(path) = path else { continue };
            let origin = show(&path);
            let host =
                path.canonicalize().map_err(|error| Error::io(format!("cannot find {origin}"), error))?;
            // Both are stored, so neither is in the other's way.
            self.place_quietly(place, Found { host, setting: SETTINGS_FILE.to_owned(), origin })?;
        }
        Ok(())
    }

    /// Finds a file that may be absent.
    pub(super) fn file(&mut self, key: Key, place: &str) -> Result<()> {
        match self.locate(key, place) {
            Some(found) => self.place(place, found),
            None => Ok(()),
        }
    }

    /// Finds a folder that may be absent.
    pub(super) fn folder(&mut self, key: Key, place: &str) -> Result<()> {
        let Some(found) = self.locate(key, place) else { return Ok(()) };
        if !found.host.is_dir() {
            let cause = format!("{} must be a folder, and is not", found.setting);
            self.reporter.report(Finding::problem(show(&found.host), cause));
            return Ok(());
        }
        self.place(place, found)
    }

    /// Finds a folder that is stored only if wanted.
    pub(super) fn optional_folder(&mut self, key: Key, place: &str, wanted: bool) -> Result<()> {
        if wanted {
            return self.folder(key, place);
        }
        self.left_out.push(place.as_bytes().to_vec());
        let value = self.settings.value(key).map(str::to_owned);
        let moved = value.and_then(|value| self.map.host(&value)).and_then(|path| self.resolve(&path).ok());
        let Some(inside) = moved.and_then(|host| self.place_of(&host)) else { return Ok(()) };
        let needed = ["attachments", "sends", "templates", "config.json", DATABASE_PLACE];
        if inside.is_empty() || needed.iter().any(|name| *name != place && name.as_bytes() == inside) {
            let cause =
                format!("{} says that this is what need not be stored; stored all the same", key.name());
            self.reporter.report(Finding::warning(
                show(&self.data_folder.join(std::ffi::OsStr::from_bytes(&inside))),
                cause,
            ));
        } else {
            self.left_out.push(inside);
        }
        Ok(())
    }

    /// Finds the files of the key that signs sessions.
    pub(super) fn session_key(&mut self) -> Result<()> {
        let key = Key::RsaKeyFilename;
        let configured = self.settings.value(key).map(str::to_owned);
        let value = configured.clone().unwrap_or_else(|| self.map.default_value("rsa_key"));
        let mut absent = Vec::new();
        let mut moved = false;
        for extension in KEY_EXTENSIONS {
            let place = format!("rsa_key.{extension}");
            let name = format!("{value}.{extension}");
            let host = if is_remote(&value) { None } else { self.map.host(&name) };
            let Some(host) = host.and_then(|path| self.resolve(&path).ok()) else {
                absent.push(place);
                continue;
            };
            moved |= host != self.data_folder.join(&place);
            let setting = self.what_moved(key, &place);
            self.place(&place, Found { host, setting, origin: name })?;
        }
        if absent.len() == KEY_EXTENSIONS.len() {
            self.no_session_key(configured.as_deref());
        } else if moved {
            // A public half of another key beside the key in use would be worse than none.
            for place in absent {
                let stale = self.data_folder.join(&place);
                if stale.symlink_metadata().is_ok() {
                    self.report_stale(&stale, key.name());
                    self.left_out.push(place.into_bytes());
                }
            }
        }
        Ok(())
    }

    fn no_session_key(&self, configured: Option<&str>) {
        let finding = match configured {
            Some(value) if is_remote(value) => remote(Key::RsaKeyFilename),
            Some(value) => {
                Finding::problem(Key::RsaKeyFilename.name(), format!("there is no key at {value}.pem"))
                    .with_hint(MAP_HINT)
            }
            None => Finding::warning(show(&self.data_folder), "holds no rsa_key.pem")
                .with_hint("after a restore Vaultwarden makes a new one, and everybody has to log in again"),
        };
        self.reporter.report(finding);
    }

    /// Where a part lies, if it exists. Reports where a setting promises one that is not there.
    fn locate(&self, key: Key, place: &str) -> Option<Found> {
        let configured = self.settings.value(key);
        if configured.is_some_and(is_remote) {
            self.reporter.report(remote(key));
            return None;
        }
        let origin = configured.map_or_else(|| self.map.default_value(place), str::to_owned);
        let Some(path) = self.map.host(&origin) else {
            let cause = format!("{origin} is not in the data folder, and there is no such path on this host");
            self.reporter.report(Finding::problem(key.name(), cause).with_hint(MAP_HINT));
            return None;
        };
        let error = match self.resolve(&path) {
            Ok(host) => return Some(Found { host, setting: self.what_moved(key, place), origin }),
            Err(error) => error,
        };
        let is_link = path.symlink_metadata().is_ok();
        if error.kind() == io::ErrorKind::NotFound && !is_link {
            let in_data_folder = path.starts_with(&self.data_folder);
            let finding = match (configured.is_some(), in_data_folder) {
                // Vaultwarden makes its folders when it needs them.
                (false, true) => return None,
                (true, true) => Finding::warning(key.name(), format!("{} is not there", show(&path))),
                (_, false) => Finding::problem(
                    key.name(),
                    format!("{origin} is mapped to {}, which is not there", show(&path)),
                )
                .with_hint("mend the mapping given with --map"),
            };
            self.reporter.report(finding);
        } else {
            let cause =
                if is_link { "is a symbolic link that cannot be followed" } else { "cannot be looked at" };
            self.reporter
                .report(Finding::problem(show(&path), format!("{cause}: {error}")).with_hint(MAP_HINT));
        }
        None
    }

    /// A path without symbolic links. A link made for the container is followed through the map.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let error = match path.canonicalize() {
            Ok(path) => return Ok(path),
            Err(error) => error,
        };
        let Ok(target) = fs::read_link(path) else { return Err(error) };
        if !target.is_absolute() {
            return Err(error);
        }
        self.map.host_of_path(&target).ok_or(error)?.canonicalize()
    }

    /// What led to a part, in the words that a person configured it with.
    fn what_moved(&self, key: Key, place: &str) -> String {
        if self.settings.get(key).is_some() {
            return key.name().to_owned();
        }
        let link = self.data_folder.join(place).symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        if link { "symbolic link".to_owned() } else { "--map".to_owned() }
    }

    /// The place in the data folder of a resolved path, if it is in there.
    fn place_of(&self, host: &Path) -> Option<Vec<u8>> {
        host.strip_prefix(&self.data_folder).ok().map(|inside| inside.as_os_str().as_bytes().to_vec())
    }

    /// Notes that a part is stored at a place, and says what else lies there and is not stored.
    fn place(&mut self, place: &str, found: Found) -> Result<()> {
        let own = self.data_folder.join(place);
        if found.host != own && self.resolve(&own).ok().as_ref() != Some(&found.host) && holds_something(&own)
        {
            self.report_stale(&own, &found.setting);
        }
        self.place_quietly(place, found)
    }

    /// Notes that a part is stored at a place.
    fn place_quietly(&mut self, place: &str, found: Found) -> Result<()> {
        if self.data_folder.starts_with(&found.host) {
            let message = format!("{} names a folder that holds the whole data folder", found.setting);
            return Err(Error::refused(message).hint("check the setting; nothing can be told apart there"));
        }
        if found.host == self.data_folder.join(place) {
            return Ok(());
        }
        if let Some(inside) = self.place_of(&found.host) {
            self.left_out.push(inside);
        }
        let Found { host, setting, origin } = found;
        self.items.push(Item { setting, place: place.as_bytes().to_vec(), host, origin });
        Ok(())
    }

    fn report_stale(&self, path: &Path, setting: &str) {
        let cause = format!("is not stored: {setting} says that Vaultwarden uses another in its stead");
        let hint = "if it is no longer needed, remove it; if it is, check the settings";
        self.reporter.report(Finding::warning(show(path), cause).with_hint(hint));
    }
}

fn remote(key: Key) -> Finding {
    Finding::problem(key.name(), "names an object store, whose files this command does not back up")
}

/// Whether a value is an address and not a path.
fn is_remote(value: &str) -> bool {
    value.contains("://")
}

/// Whether there is a file, or a folder that is not empty: below a mount lies an empty folder, and nobody
/// wants to hear of it every night.
fn holds_something(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| {
        !meta.is_dir() || fs::read_dir(path).map_or(true, |mut entries| entries.next().is_some())
    })
}

/// Refuses what is no SQLite database, above all an empty file: a backup of it would look good.
///
/// Opening and closing the file would drop the locks of a connection that this process had to it, so this
/// comes before any is made.
fn check_database(path: &Path) -> Result<()> {
    let cannot_read = |error| Error::io(format!("cannot read the database {}", show(path)), error);
    if !path.metadata().map_err(cannot_read)?.is_file() {
        return Err(Error::corrupt(format!("the database {} is not a regular file", show(path))));
    }
    let mut start = [0; sqlite::MAGIC.len()];
    match File::open(path).map_err(cannot_read)?.read_exact(&mut start) {
        Ok(()) if sqlite::is_database(&start) => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(cannot_read(error)),
        _ => Err(Error::corrupt(format!("{} is empty or not a SQLite database", show(path)))
            .hint("restore it from a snapshot, after looking at what happened to it")),
    }
}
