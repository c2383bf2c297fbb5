//! Where the parts of a Vaultwarden lie on this host, and under which name each is stored.
//!
//! A part is stored at its *place*, the path it has in a data folder that nothing was moved out of, so that
//! every snapshot restores to the same, plain folder. A part that a setting, a mount or a symbolic link moved
//! becomes an [`Item`]; all others are found by walking the data folder.
//!
//! Invariants: what stands at an item's place is read from [`Item::host`] and never from the data folder.
//! A part that settings move inside the data folder is stored once, at its place. An item never contains the
//! data folder. Nothing is left out without being named in [`Layout::left_out`] or
//! [`Layout::left_out_patterns`]. The DATABASE_URL is never shown, except a path after `sqlite://`.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::database_url::Database;
use super::finder::{Finder, Item};
use super::folder::{ASIDE, RESTORING, is_half_restored};
use super::paths::{PathMap, show};
use super::settings::{Key, Settings};
use crate::error::{Error, Result};
use crate::report::{Finding, Reporter};
use crate::service::counting::Counting;
use crate::source::sqlite;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder, as this host names it.
    pub data_folder: PathBuf,
    /// The settings file; looked for beside and in the data folder if not given.
    pub env_file: Option<PathBuf>,
    /// Container's paths and what they are on this host.
    pub path_map: Vec<(String, PathBuf)>,
    /// Whether files sent are stored.
    pub with_sends: bool,
    /// Whether icons of websites are stored.
    pub with_icon_cache: bool,
    /// Whether uploads in progress are stored.
    pub with_temporary: bool,
    /// Whether the copies that Vaultwarden's own backup command leaves in its folder are stored.
    pub with_built_in_copies: bool,
}

impl Options {
    /// What most want: everything but caches, uploads in progress and copies of the database.
    pub fn new(data_folder: impl Into<PathBuf>) -> Self {
        Self {
            data_folder: data_folder.into(),
            env_file: None,
            path_map: Vec::new(),
            with_sends: true,
            with_icon_cache: false,
            with_temporary: false,
            with_built_in_copies: false,
        }
    }
}

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The folder to walk, free of symbolic links.
    pub data_folder: PathBuf,
    /// The live database.
    pub database: Database,
    /// What must be taken from elsewhere.
    pub items: Vec<Item>,
    /// Places in the data folder that are not to be visited; sorted. Items are stored all the same.
    pub left_out: Vec<Vec<u8>>,
    /// Globs of names directly in the data folder that are not to be visited.
    pub left_out_patterns: Vec<String>,
    /// How many problems were reported on the way: what a setting promises and this host does not have.
    pub problems: u64,
}

impl Layout {
    /// Where the file of a place lies on this host.
    pub fn host_of(&self, place: &[u8]) -> PathBuf {
        for item in &self.items {
            match place.strip_prefix(item.place.as_slice()) {
                Some([]) => return item.host.clone(),
                Some([b'/', rest @ ..]) => return item.host.join(OsStr::from_bytes(rest)),
                _ => {}
            }
        }
        self.data_folder.join(OsStr::from_bytes(place))
    }
}

/// Finds the parts of the Vaultwarden whose data folder is given.
///
/// # Errors
/// `Missing` if the folder or its database is not there; `Refused` if the folder is not Vaultwarden's, or
/// keeps what must be stored in a place that this cannot read (an object store);
/// `Corrupt` if the database is none.
pub fn discover(options: &Options, reporter: &dyn Reporter) -> Result<Layout> {
    let reporter = &Counting::new(reporter);
    let data_folder = open_data_folder(&options.data_folder)?;
    if is_half_restored(&data_folder) {
        let cause = "a restore into it was stopped half-way: what is in it may be parts of two states";
        let hint =
            "run the same `strongroom restore --vaultwarden` again, which finishes it, and then back up";
        reporter.report(Finding::problem(show(&data_folder), cause).with_hint(hint));
    }
    let mut settings = Settings::default();
    let environment = read_environment(options, &data_folder, &mut settings, reporter)?;
    // Where the server may have been started, if it runs in no container.
    let beside: Vec<PathBuf> = [environment.used.as_deref().and_then(Path::parent), data_folder.parent()]
        .into_iter()
        .flatten()
        .map(Path::to_path_buf)
        .collect();
    let map_of = |settings: &Settings| {
        PathMap::new(&data_folder, settings.value(Key::DataFolder), &options.path_map, beside.clone())
    };
    let map = map_of(&settings);
    // `config.json` may move everything but itself, so it is read before anything is looked for.
    let config =
        settings.value(Key::ConfigFile).map_or_else(|| map.default_value("config.json"), str::to_owned);
    if let Some(path) = map.host(&config).filter(|path| is_file(path, reporter))
        && let Err(error) = settings.read_config(&path, reporter)
    {
        reporter.report(unreadable(&path, &error));
    }
    let map = map_of(&settings);

    let mut finder = Finder::new(data_folder, settings, map, reporter);
    finder.refuse_object_stores(options.with_sends)?;
    let database = finder.database()?;
    finder.environment_files(environment.used, environment.also_in_data)?;
    finder.file(Key::ConfigFile, "config.json")?;
    finder.folder(Key::AttachmentsFolder, "attachments")?;
    finder.optional_folder(Key::SendsFolder, "sends", options.with_sends)?;
    finder.folder(Key::TemplatesFolder, "templates")?;
    finder.optional_folder(Key::IconCacheFolder, "icon_cache", options.with_icon_cache)?;
    finder.optional_folder(Key::TmpFolder, "tmp", options.with_temporary)?;
    finder.session_key()?;
    let (data_folder, items, left_out) = finder.finish();
    // What a restore kept aside in here is no part of this service any more.
    let mut left_out_patterns = vec![format!("{ASIDE}*"), RESTORING.to_owned()];
    left_out_patterns.extend(sqlite::COMPANIONS.map(|log| format!("*{log}{ASIDE}*")));
    if !options.with_built_in_copies {
        left_out_patterns.push("db_*.sqlite3".to_owned());
    }
    let problems = reporter.problems();
    Ok(Layout { data_folder, database, items, left_out, left_out_patterns, problems })
}

/// Makes sure that the data folder is one, and resolves the links that lead to it.
fn open_data_folder(path: &Path) -> Result<PathBuf> {
    let folder = path.canonicalize().map_err(|error| {
        Error::io(format!("cannot open the data folder {}", show(path)), error)
            .hint("name the folder that is mounted at /data in Vaultwarden's container")
    })?;
    if !folder.is_dir() {
        return Err(Error::refused(format!("{} is not a folder", show(path))));
    }
    Ok(folder)
}

/// The settings files found.
struct EnvironmentFiles {
    /// The one that was read.
    used: Option<PathBuf>,
    /// The data folder's own, where another one was read.
    also_in_data: Option<PathBuf>,
}

/// Reads the settings file: the one given, or the one beside the data folder, or the one in it.
fn read_environment(
    options: &Options,
    data_folder: &Path,
    settings: &mut Settings,
    reporter: &dyn Reporter,
) -> Result<EnvironmentFiles> {
    let own = Some(data_folder.join(".env")).filter(|path| is_file(path, reporter));
    let used = if let Some(given) = &options.env_file {
        settings.read_environment_file(given, reporter)?;
        Some(given.clone())
    } else {
        let beside =
            data_folder.parent().map(|parent| parent.join(".env")).filter(|path| is_file(path, reporter));
        let used = beside.or_else(|| own.clone());
        if let Some(path) = &used
            && let Err(error) = settings.read_environment_file(path, reporter)
        {
            reporter.report(unreadable(path, &error));
        }
        used
    };
    let is_used =
        |own: &PathBuf| used.as_ref().is_some_and(|used| used.canonicalize().ok() == own.canonicalize().ok());
    let also_in_data = own.filter(|own| !is_used(own));
    Ok(EnvironmentFiles { used, also_in_data })
}

/// Whether there is a file. One that cannot be looked at is not taken for one that is not there.
fn is_file(path: &Path, reporter: &dyn Reporter) -> bool {
    match path.metadata() {
        Ok(metadata) => metadata.is_file(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => false,
        Err(error) => {
            reporter.report(unreadable(path, &Error::io("it cannot be looked at", error)));
            false
        }
    }
}

fn unreadable(path: &Path, error: &Error) -> Finding {
    Finding::problem(show(path), format!("its settings were not read: {}", error.chain()))
        .with_hint("run as a user who may read it; a part that it moved may be missing from this backup")
}

#[cfg(test)]
mod tests {

    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::error::ErrorKind;
    use crate::report::{Collector, Severity};
    use crate::service::vaultwarden::testing::Folder;

    const DATABASE: &[u8] = b"SQLite format 3\0and so on";

    /// A data folder `data` in a folder of its own, with what every Vaultwarden has.
    fn plain() -> Folder {
        let folder = Folder::new();
        folder.write("data/db.sqlite3", DATABASE);
        folder.write("data/rsa_key.pem", b"key");
        folder.write("data/attachments/c/a", b"x");
        folder
    }

    fn options(folder: &Folder) -> Options {
        Options::new(folder.path().join("data"))
    }

    fn found(options: &Options) -> (Layout, Vec<Finding>) {
        let reporter = Collector::default();
        let layout = discover(options, &reporter).unwrap();
        (layout, reporter.findings())
    }

    fn refused(folder: &Folder) -> Error {
        discover(&options(folder), &Collector::default()).unwrap_err()
    }

    fn left_out(layout: &Layout, place: &str) -> bool {
        layout.left_out.iter().any(|left_out| left_out == place.as_bytes())
    }

    fn item<'a>(layout: &'a Layout, place: &str) -> Option<&'a Item> {
        layout.items.iter().find(|item| item.place == place.as_bytes())
    }

    #[test]
    fn a_plain_folder_needs_no_items() {
        let folder = plain();
        let (layout, findings) = found(&options(&folder));
        assert_eq!(layout.items, []);
        assert_eq!(layout.database, Database::Sqlite(folder.path().join("data/db.sqlite3")));
        assert_eq!(findings, []);
        for place in ["tmp", "icon_cache"] {
            assert!(left_out(&layout, place), "{place}");
        }
        assert_eq!(layout.left_out.len(), 2);
        let (logs, others) =
            layout.left_out_patterns.iter().partition::<Vec<_>, _>(|pattern| pattern.starts_with("*-"));
        assert_eq!(others, [".before-restore-*", ".strongroom-restoring", "db_*.sqlite3"]);
        assert_eq!(logs.len(), 3);
        assert!(logs.contains(&&"*-wal.before-restore-*".to_owned()), "{logs:?}");
        assert_eq!(layout.host_of(b"attachments/c/a"), folder.path().join("data/attachments/c/a"));
    }

    #[test]
    fn a_folder_half_restored_is_a_problem() {
        let folder = plain();
        folder.folder("data/.strongroom-restoring/data");
        assert_eq!(found(&options(&folder)).0.problems, 0);
        folder.write("data/.strongroom-restoring/state", b"");
        let (layout, findings) = found(&options(&folder));
        assert_eq!(layout.problems, 1);
        assert!(findings[0].cause.contains("half-way"), "{findings:?}");
    }

    #[test]
    fn what_is_stored_can_be_chosen() {
        let folder = plain();
        let chosen = Options {
            with_sends: false,
            with_icon_cache: true,
            with_temporary: true,
            with_built_in_copies: true,
            ..options(&folder)
        };
        let (layout, _) = found(&chosen);
        assert!(left_out(&layout, "sends") && !left_out(&layout, "tmp") && !left_out(&layout, "icon_cache"));
        assert!(!layout.left_out_patterns.iter().any(|pattern| pattern.starts_with("db_")));
    }

    #[test]
    fn the_real_folder_is_found() {
        let folder = Folder::new();
        if folder.real("data").is_none() {
            return;
        }
        let (layout, findings) = found(&options(&folder));
        assert_eq!(layout.items, []);
        // It has no key.
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Warning);
    }

    #[test]
    fn parts_moved_within_the_folder_are_stored_at_their_places() {
        let folder = plain();
        folder.write("data/keys/jwt.pem", b"key");
        folder.write("data/sql/vault.db", DATABASE);
        folder.write("data/files/c/a", b"x");
        folder.folder("data/cache/icons");
        folder.write("data/rsa_key.pub.pem", b"stale");
        folder.write(
            ".env",
            b"DATABASE_URL=sqlite:///data/sql/vault.db\nATTACHMENTS_FOLDER=data/files\n\
              RSA_KEY_FILENAME=/data/keys/jwt\nICON_CACHE_FOLDER=/data/cache/icons\nSENDS_FOLDER=/data/s\n",
        );
        let (layout, findings) = found(&options(&folder));
        let data = folder.path().join("data");
        assert_eq!(layout.database.file(), Some(data.join("sql/vault.db").as_path()));
        assert_eq!(Some(item(&layout, "db.sqlite3").unwrap().host.as_path()), layout.database.file());
        let attachments = item(&layout, "attachments").unwrap();
        assert_eq!(
            (attachments.setting.as_str(), attachments.origin.as_str()),
            ("ATTACHMENTS_FOLDER", "data/files")
        );
        assert_eq!(item(&layout, "rsa_key.pem").unwrap().host, data.join("keys/jwt.pem"));
        assert_eq!(item(&layout, ".env").unwrap().host, folder.path().join(".env"));
        assert_eq!(layout.items.len(), 4);
        for place in
            ["sql/vault.db", "sql/vault.db-wal", "files", "keys/jwt.pem", "cache/icons", "rsa_key.pub.pem"]
        {
            assert!(left_out(&layout, place), "{place}");
        }
        assert_eq!(layout.host_of(b"attachments/c/a"), data.join("files/c/a"));
        assert_eq!(layout.host_of(b"attachments2"), data.join("attachments2"));
        // Stale: database, attachments, key, its public half. Promised and not there: the sends.
        assert_eq!(findings.len(), 5, "{findings:?}");
        assert!(findings.iter().all(|finding| finding.severity == Severity::Warning));
        assert!(findings.iter().any(|finding| finding.subject.ends_with("data/attachments")));
    }

    #[test]
    fn parts_moved_elsewhere_are_found_by_map_or_name() {
        let folder = plain();
        let sends = folder.folder("volumes/sends");
        let templates = folder.folder("templates");
        fs::remove_dir_all(folder.path().join("data/attachments")).unwrap();
        // Below a mounted volume lies an empty folder.
        folder.folder("data/attachments");
        folder.folder("volumes/attachments");
        let text = format!("SENDS_FOLDER=/sends\nTEMPLATES_FOLDER={}\n", templates.display());
        folder.write(".env", text.as_bytes());
        let map = vec![
            ("/sends".to_owned(), sends.clone()),
            ("/data/attachments".to_owned(), folder.path().join("volumes/attachments")),
        ];
        let (layout, findings) = found(&Options { path_map: map, ..options(&folder) });
        assert_eq!(findings, []);
        assert_eq!(item(&layout, "sends").unwrap().host, sends);
        assert_eq!(item(&layout, "templates").unwrap().host, templates);
        assert_eq!(item(&layout, "attachments").unwrap().setting, "--map");
    }

    #[test]
    fn settings_that_cannot_be_looked_at_are_not_taken_for_absent() {
        let folder = plain();
        std::os::unix::fs::symlink("config.json", options(&folder).data_folder.join("config.json")).unwrap();
        let (layout, findings) = found(&options(&folder));
        assert!(
            findings
                .iter()
                .any(|finding| finding.severity == Severity::Problem
                    && finding.subject.ends_with("config.json"))
        );
        assert!(layout.problems >= 1);
    }

    #[test]
    fn a_path_that_is_not_here_is_a_problem() {
        let folder = plain();
        folder.write(".env", b"SENDS_FOLDER=/no/such/folder\nRSA_KEY_FILENAME=/no/such/key");
        let (layout, findings) = found(&options(&folder));
        assert_eq!(findings.len(), 2);
        assert_eq!(findings[0].severity, Severity::Problem);
        assert_eq!(findings[0].subject, "SENDS_FOLDER");
        assert!(findings[0].cause.contains("/no/such/folder"));
        assert!(findings[0].hint.as_ref().unwrap().contains("--map /container=/host"));
        assert_eq!(findings[1].subject, "RSA_KEY_FILENAME");
        let problems = findings.iter().filter(|finding| finding.severity == Severity::Problem).count();
        assert_eq!(layout.problems, problems as u64);
    }

    #[test]
    fn links_are_followed_also_as_the_container_sees_them() {
        let folder = plain();
        fs::remove_dir_all(folder.path().join("data/attachments")).unwrap();
        let disk = folder.folder("disk/attachments");
        let shared = folder.folder("shared");
        symlink(&disk, folder.path().join("data/attachments")).unwrap();
        symlink("/container-only/sends", folder.path().join("data/sends")).unwrap();
        symlink("nowhere", folder.path().join("data/templates")).unwrap();
        folder.folder("shared/sends");
        let map = vec![("/container-only".to_owned(), shared.clone())];
        let (layout, findings) = found(&Options { path_map: map, ..options(&folder) });
        assert_eq!(item(&layout, "attachments").unwrap().host, disk);
        assert_eq!(item(&layout, "attachments").unwrap().setting, "symbolic link");
        assert_eq!(item(&layout, "sends").unwrap().host, shared.join("sends"));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].severity, Severity::Problem);
    }

    #[test]
    fn other_databases_and_object_stores_are_refused_without_secrets() {
        for line in [
            "DATABASE_URL=oracle://user:hunter2@host/db",
            "DATABASE_URL='mysql://user:hunter2@host'",
            "ATTACHMENTS_FOLDER=s3://bucket/a?secret_access_key=hunter2",
            "SENDS_FOLDER=s3://bucket/a?secret_access_key=hunter2",
            "DATABASE_URL=hunter2",
        ] {
            let folder = plain();
            folder.write(".env", line.as_bytes());
            let error = refused(&folder);
            assert!(matches!(error.kind(), ErrorKind::Refused | ErrorKind::Missing));
            assert!(!format!("{} {:?}", error.chain(), error.next_step()).contains("hunter2"));
            assert!(error.next_step().is_some());
        }
        let folder = plain();
        folder.write(
            "data/config.json",
            br#"{"rsa_key_filename": "s3://b/k?hunter2", "templates_folder": "s3://b?hunter2"}"#,
        );
        let (_, findings) = found(&options(&folder));
        assert_eq!(findings.len(), 2);
        assert!(!format!("{findings:?}").contains("hunter2"));
    }

    #[test]
    fn a_database_on_a_server_is_found_by_its_url() {
        let folder = plain();
        fs::remove_file(folder.path().join("data/db.sqlite3")).unwrap();
        folder.write("data/config.json", br#"{"database_url": "postgresql://user:hunter2@db/vault"}"#);
        let (layout, findings) = found(&options(&folder));
        let Database::Server { address, .. } = &layout.database else { panic!("{layout:?}") };
        assert_eq!(address.database.as_deref(), Some("vault"));
        assert!(!format!("{layout:?} {findings:?}").contains("hunter2"));
        let empty = Folder::new();
        empty.folder("data");
        empty.write(".env", b"DATABASE_URL=mysql://user:hunter2@db/vault");
        assert_eq!(refused(&empty).kind(), ErrorKind::Refused, "nothing here is Vaultwarden's");
    }

    #[test]
    fn config_json_moves_parts_too_and_can_be_moved() {
        let folder = plain();
        let sends = folder.folder("elsewhere");
        folder.write(
            "settings/config.json",
            format!("{{\"sends_folder\": \"{}\"}}", sends.display()).as_bytes(),
        );
        let settings = folder.path().join("settings");
        folder.write(".env", format!("CONFIG_FILE={}/config.json", settings.display()).as_bytes());
        let (layout, findings) = found(&options(&folder));
        assert_eq!(findings, []);
        assert_eq!(item(&layout, "config.json").unwrap().host, settings.join("config.json"));
        assert_eq!(item(&layout, "sends").unwrap().setting, "SENDS_FOLDER");
    }

    #[test]
    fn settings_files_are_looked_for_in_order_and_none_is_lost() {
        let folder = plain();
        let own = folder.write("data/.env", b"SENDS_FOLDER=/data/a\n");
        let (layout, _) = found(&options(&folder));
        assert_eq!(layout.items, []);
        let beside = folder.write(".env", b"");
        let (layout, _) = found(&options(&folder));
        assert_eq!(item(&layout, ".env").unwrap().host, beside);
        assert_eq!(item(&layout, ".env.data-folder").unwrap().host, own);
        let given = folder.write("vault.env", b"");
        let (layout, _) = found(&Options { env_file: Some(given.clone()), ..options(&folder) });
        assert_eq!(item(&layout, ".env").unwrap().host, given);
        let absent = Options { env_file: Some(folder.path().join("absent")), ..options(&folder) };
        assert_eq!(discover(&absent, &Collector::default()).unwrap_err().kind(), ErrorKind::Missing);
    }

    #[test]
    fn folders_that_are_not_vaultwardens_are_told_apart() {
        let folder = Folder::new();
        let absent = discover(&options(&folder), &Collector::default()).unwrap_err();
        assert_eq!(absent.kind(), ErrorKind::Missing);
        folder.write("data/holiday.jpg", b"");
        assert_eq!(refused(&folder).kind(), ErrorKind::Refused);
        folder.write("data/rsa_key.pem", b"");
        assert_eq!(refused(&folder).kind(), ErrorKind::Missing);
        for content in [&b""[..], b"SQLite", b"not a database at all, but long"] {
            folder.write("data/db.sqlite3", content);
            assert_eq!(refused(&folder).kind(), ErrorKind::Corrupt);
        }
        let file = Options::new(folder.path().join("data/db.sqlite3"));
        assert_eq!(discover(&file, &Collector::default()).unwrap_err().kind(), ErrorKind::Refused);
    }

    #[test]
    fn settings_that_would_swallow_the_folder_do_not() {
        for value in ["/data", "/data/", "data/../data"] {
            let folder = plain();
            folder.write(".env", format!("ATTACHMENTS_FOLDER={value}").as_bytes());
            assert_eq!(refused(&folder).kind(), ErrorKind::Refused);
        }
        let folder = plain();
        folder.write(".env", b"TMP_FOLDER=/data\nICON_CACHE_FOLDER=/data/attachments");
        let (layout, findings) = found(&options(&folder));
        assert!(!left_out(&layout, "") && !left_out(&layout, "attachments"));
        assert_eq!(findings.len(), 2);
    }
}
