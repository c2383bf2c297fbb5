//! Where the parts of an authentik lie on this host, read from its compose file.
//!
//! Each part is stored at the path that it has here: the compose files and their variables, what the containers mount at
//! `/media`, `/data`, `/certs`, `/templates` and below `/blueprints`, the files that settings are read from, and whatever else they
//! mount out of the compose folder.
//!
//! Invariants: nothing but names and small files is read here. What a mount promises and this host does not have is a problem. No
//! value of a setting is shown that may be a secret.

use std::fmt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::compose::{Compose, shown};
use super::release::Release;
use super::service::{Service, Source};
use super::settings::{Settings, is_below};
use crate::error::{Error, Result};
use crate::report::{Collector, Finding, Reporter, printable};
use crate::service::counting::Counting;
use crate::source::server::address::Address;

/// Where Docker keeps volumes.
const VOLUMES: &str = "/var/lib/docker/volumes";
/// What the containers have that must be stored.
const PARTS: [&str; 5] = ["/media", "/data", "/certs", "/templates", "/blueprints"];
/// What of the host is commonly mounted and belongs to no backup.
const OF_THE_SYSTEM: [&str; 7] =
    ["/etc/localtime", "/etc/timezone", "/proc", "/sys", "/dev", "/run", "/var/run"];
/// Settings whose value may be read from a file.
const SECRET_SETTINGS: [&str; 4] = [
    "AUTHENTIK_SECRET_KEY",
    "AUTHENTIK_POSTGRESQL__PASSWORD",
    "AUTHENTIK_REDIS__PASSWORD",
    "AUTHENTIK_EMAIL__PASSWORD",
];
/// Settings that say where uploaded files are kept, the one that counts first.
const BACKENDS: [&str; 2] = ["AUTHENTIK_STORAGE__MEDIA__BACKEND", "AUTHENTIK_STORAGE__BACKEND"];
const BUCKETS: [&str; 2] =
    ["AUTHENTIK_STORAGE__MEDIA__S3__BUCKET_NAME", "AUTHENTIK_STORAGE__S3__BUCKET_NAME"];
const MEDIA_PATHS: [&str; 2] = ["AUTHENTIK_STORAGE__MEDIA__FILE__PATH", "AUTHENTIK_STORAGE__FILE__PATH"];

/// Everything a person can do about a path that is not found.
const MAP_HINT: &str = "say where it is on this host with --map /container=/host";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder with the compose file.
    pub folder: PathBuf,
    /// Paths in the containers and what they are on this host.
    pub path_map: Vec<(String, PathBuf)>,
    /// Where Docker keeps its volumes.
    pub volumes_folder: PathBuf,
}

impl Options {
    /// What most want.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), path_map: Vec::new(), volumes_folder: PathBuf::from(VOLUMES) }
    }
}

/// Something that is stored at its own path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is: `compose file`, or the path at which the containers have it.
    pub setting: String,
    /// Its path on this host, as the compose file names it; a link at its end is stored as one.
    pub path: PathBuf,
}

/// A database server that the compose file names.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it is, as authentik reaches it; the password too.
    pub address: Address,
    /// The service of the same compose file that it is, where it is one.
    pub service: Option<String>,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Server({:?}, {:?})", self.address, self.service)
    }
}

/// Files kept where this host does not see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// The setting that says so.
    pub setting: String,
    /// What it names, such as `s3://bucket`.
    pub value: String,
}

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The folder with the compose file, free of symbolic links.
    pub folder: PathBuf,
    /// What is stored, each at its own path.
    pub items: Vec<Item>,
    /// Folders in which uploaded files may lie, each with one folder for each schema of the database.
    pub media: Vec<PathBuf>,
    /// Where uploaded files are kept, if not on this host.
    pub external: Option<External>,
    /// Its PostgreSQL.
    pub database: Server,
    /// Its Redis, where it has one.
    pub redis: Option<Server>,
    /// The image's tag.
    pub tag: Option<String>,
    /// How many problems were reported on the way.
    pub problems: u64,
}

impl Layout {
    /// The release that the tag names.
    pub fn release(&self) -> Option<Release> {
        self.tag.as_deref().and_then(Release::parse)
    }
}

/// Finds the parts of the authentik whose compose folder is given.
///
/// # Errors
/// `Missing` where there is no compose file; `Corrupt` where it cannot be read; `Refused` where there is no authentik in it.
pub fn discover(options: &Options, reporter: &dyn Reporter) -> Result<Layout> {
    let reporter = &Counting::new(reporter);
    let folder = options.folder.canonicalize().map_err(|error| {
        Error::io(format!("cannot open the folder {}", shown(&options.folder)), error)
            .hint("name the folder with authentik's compose.yml or docker-compose.yml in it")
    })?;
    let compose = Compose::read(&folder, reporter)?;
    let services = authentik_services(&compose);
    if services.is_empty() {
        return Err(Error::refused(format!(
            "the compose file in {} has no service of authentik",
            shown(&folder)
        ))
        .hint("authentik's images are called .../goauthentik/server; name the folder of its compose file"));
    }
    let settings = Settings {
        compose: &compose,
        services,
        map: &options.path_map,
        volumes_folder: &options.volumes_folder,
    };
    let tag = tag(&settings, reporter);
    let release = tag.as_deref().and_then(Release::parse);
    let external = external(&settings, reporter);
    let mut items: Vec<Item> = Vec::new();
    let mut add = |setting: &str, path: PathBuf| {
        if items.iter().all(|item| item.path != path) {
            items.push(Item { setting: setting.to_owned(), path });
        }
    };
    for file in &compose.files {
        add("compose file", file.clone());
    }
    for name in SECRET_SETTINGS {
        if let Some(file) = settings.file_of(name) {
            add(name, file);
        }
    }
    for file in compose.secrets.values() {
        add("secret", file.clone());
    }
    for (target, path) in mounted(&settings, &folder, reporter) {
        add(&target, path);
    }
    for item in &items {
        if let Err(error) = item.path.metadata() {
            let cause = format!("{} cannot be looked at: {error}", item.setting);
            let finding = Finding::problem(shown(&item.path), cause);
            reporter.report(finding.with_hint(what_to_do(&item.path, options)));
        }
    }
    // What is not there was told; a link that leads nowhere is stored as the link it is.
    items.retain(|item| item.path.symlink_metadata().is_ok());
    let media = media(&settings);
    if external.is_none() && media.is_empty() {
        let cause =
            "mounts no folder at /media or /data: what is uploaded stays in the container, and is not stored";
        reporter.report(
            Finding::problem(shown(&folder), cause)
                .with_hint("mount ./data:/data, as authentik's own compose file does"),
        );
    } else if external.is_none()
        && release.is_some_and(Release::keeps_media_in_data)
        && settings.mounts().iter().all(|mount| !is_below(&mount.target, "/data"))
    {
        let cause = "mounts nothing at /data, where authentik keeps uploaded files since 2025.12";
        reporter
            .report(Finding::warning(shown(&folder), cause).with_hint("mount the old folder at /data/media"));
    }
    let (database, redis) = (database(&settings, reporter), redis(&settings, release, reporter));
    let problems = reporter.problems();
    Ok(Layout { folder, items, media, external, database, redis, tag, problems })
}

/// The services that are authentik itself, the server first; its outposts keep nothing.
fn authentik_services(compose: &Compose) -> Vec<(&str, &Service)> {
    let named = |fits: &dyn Fn(&str) -> bool| -> Vec<(&str, &Service)> {
        let all = compose.services.iter().map(|(name, service)| (name.as_str(), service));
        all.filter(|(_, service)| fits(service.image_and_tag().0)).collect()
    };
    let mut found = named(&|image| image.ends_with("goauthentik/server"));
    if found.is_empty() {
        // An image that somebody made out of it.
        let own = |image: &str| image.rsplit('/').next().is_some_and(|last| last.contains("authentik"));
        found = named(&own);
    }
    found.sort_by_key(|(name, _)| !name.contains("server"));
    found
}

fn tag(settings: &Settings<'_>, reporter: &dyn Reporter) -> Option<String> {
    let mut tags = settings.services.iter().map(|(name, service)| (*name, service.image_and_tag().1));
    let (first, tag) = tags.next()?;
    if let Some((other, _)) = tags.find(|(_, other)| *other != tag) {
        let cause = format!("the services {first} and {other} are not of the same release");
        reporter.report(
            Finding::warning(shown(&settings.compose.folder), cause).with_hint("give both the same tag"),
        );
    }
    tag.map(str::to_owned)
}

fn external(settings: &Settings<'_>, reporter: &dyn Reporter) -> Option<External> {
    let (setting, backend) =
        BACKENDS.iter().find_map(|name| Some((*name, settings.value(name, reporter)?)))?;
    if backend.as_str() == "file" {
        return None;
    }
    let bucket = BUCKETS.iter().find_map(|name| settings.value(name, reporter));
    let bucket = bucket.map(|bucket| printable(bucket.as_bytes())).unwrap_or_default();
    let value = format!("{}://{bucket}", printable(backend.as_bytes()));
    let cause = format!("uploaded files are kept at {value}, and are not in this backup");
    reporter.report(
        Finding::warning(setting, cause).with_hint("keep versions of the bucket, or a copy of it elsewhere"),
    );
    Some(External { setting: setting.to_owned(), value })
}

/// What the containers mount that is to be stored: its path there, and here.
fn mounted(settings: &Settings<'_>, folder: &Path, reporter: &dyn Reporter) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for mount in settings.mounts() {
        let is_part = PARTS.iter().any(|part| is_below(&mount.target, part));
        match (&mount.source, settings.host_of(&mount.source)) {
            (Source::Path(path), _) if !is_part && is_of_the_system(path) => {}
            (Source::Path(path), _) if !is_part && !path.starts_with(folder) => {
                let cause = format!("is mounted at {}, and is not stored", mount.target);
                reporter.report(
                    Finding::warning(shown(path), cause)
                        .with_hint("if it is needed, back it up by a job of its own"),
                );
            }
            (Source::Volume(_), _) if !is_part => {}
            (_, Some(path)) if folder.starts_with(&path) => {
                let cause = format!(
                    "is mounted at {}, and is not stored: it holds the compose folder itself",
                    mount.target
                );
                let finding = Finding::problem(shown(&path), cause);
                reporter.report(finding.with_hint("mount a folder of its own there"));
            }
            (_, Some(path)) => found.push((mount.target, path)),
            (_, None) if is_part => {
                let cause = "is a volume without a name, which nobody finds again";
                reporter.report(Finding::problem(mount.target, cause).with_hint("mount a folder there"));
            }
            (_, None) => {}
        }
    }
    found
}

/// Whether a path is the system's, or no file or folder at all, such as Docker's socket.
fn is_of_the_system(path: &Path) -> bool {
    let special =
        |meta: std::fs::Metadata| !(meta.is_file() || meta.is_dir()) || meta.file_type().is_socket();
    OF_THE_SYSTEM.iter().any(|system| path.starts_with(system)) || path.metadata().is_ok_and(special)
}

/// What to do about a path that is not there.
fn what_to_do(path: &Path, options: &Options) -> &'static str {
    if path.starts_with(&options.volumes_folder) {
        "it is a volume of Docker's: run this as root; where Docker keeps volumes elsewhere, name the folder with --map /container=/host"
    } else {
        MAP_HINT
    }
}

/// Folders on this host in which uploaded files may lie.
fn media(settings: &Settings<'_>) -> Vec<PathBuf> {
    let quiet = Collector::default();
    let said: Vec<String> = MEDIA_PATHS
        .iter()
        .filter_map(|name| settings.value(name, &quiet))
        // A release before 2025.12 has its media there, a newer one in a folder within.
        .flat_map(|path| [path.to_string(), format!("{}/media", path.trim_end_matches('/'))])
        .collect();
    let usual = ["/data/media", "/media"].map(str::to_owned);
    let mut found: Vec<PathBuf> = Vec::new();
    for path in said.into_iter().chain(usual) {
        if let Some(host) = settings.host(&path).filter(|host| !found.contains(host)) {
            found.push(host);
        }
    }
    found
}

fn database(settings: &Settings<'_>, reporter: &dyn Reporter) -> Server {
    let value = |name: &str| settings.value(&format!("AUTHENTIK_POSTGRESQL__{name}"), reporter);
    let text =
        |name: &str, usual: &str| value(name).map_or_else(|| usual.to_owned(), |value| value.to_string());
    let mut parameters = Vec::new();
    if let Some(mode) = value("SSLMODE") {
        parameters.push(("sslmode".to_owned(), mode.to_string()));
    }
    for (name, parameter) in [("SSLROOTCERT", "sslrootcert"), ("SSLCERT", "sslcert"), ("SSLKEY", "sslkey")] {
        if let Some(path) = value(name).and_then(|path| settings.host(&path)) {
            parameters.push((parameter.to_owned(), path.to_string_lossy().into_owned()));
        }
    }
    let host = text("HOST", "localhost");
    Server {
        service: service_called(settings.compose, &host),
        address: Address {
            scheme: "postgresql".to_owned(),
            user: Some(text("USER", "authentik")),
            password: value("PASSWORD").or_else(|| settings.raw("POSTGRES_PASSWORD").cloned()),
            host: Some(host),
            port: value("PORT").and_then(|port| port.parse().ok()),
            database: Some(text("NAME", "authentik")),
            parameters,
        },
    }
}

/// The Redis of a release that needs one; of an unknown release, the one that a setting names.
fn redis(settings: &Settings<'_>, release: Option<Release>, reporter: &dyn Reporter) -> Option<Server> {
    let value = |name: &str| settings.value(&format!("AUTHENTIK_REDIS__{name}"), reporter);
    let host = value("HOST").map(|host| host.to_string());
    if release.is_some_and(|release| !release.needs_redis()) {
        return None;
    }
    let host =
        host.or_else(|| settings.compose.services.contains_key("redis").then(|| "redis".to_owned()))?;
    let tls = value("TLS").is_some_and(|tls| tls.eq_ignore_ascii_case("true"));
    Some(Server {
        service: service_called(settings.compose, &host),
        address: Address {
            scheme: if tls { "rediss" } else { "redis" }.to_owned(),
            user: value("USERNAME").map(|user| user.to_string()),
            password: value("PASSWORD"),
            host: Some(host),
            port: value("PORT").and_then(|port| port.parse().ok()),
            database: None,
            parameters: Vec::new(),
        },
    })
}

/// The service that a host's name means within the project.
fn service_called(compose: &Compose, host: &str) -> Option<String> {
    let named = |(name, service): &(&String, &Service)| {
        name.as_str() == host || service.container.as_deref() == Some(host)
    };
    compose.services.iter().find(named).map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::report::Severity;
    use crate::service::vaultwarden::testing::Folder;

    const SERVER: &str = "services:\n  postgresql: {image: postgres, env_file: .env}\n  server:\n    \
        image: ghcr.io/goauthentik/server:2025.12.1\n    env_file: .env\n    environment:\n      \
        AUTHENTIK_POSTGRESQL__HOST: postgresql\n";

    fn found(folder: &Folder, options: impl Fn(&mut Options)) -> (Layout, Vec<Finding>) {
        let reporter = Collector::default();
        let mut asked = Options::new(folder.path());
        options(&mut asked);
        let layout = discover(&asked, &reporter).unwrap();
        (layout, reporter.findings())
    }

    fn names(layout: &Layout) -> Vec<String> {
        let name =
            |item: &Item| item.path.strip_prefix(&layout.folder).map_or_else(|_| shown(&item.path), shown);
        layout.items.iter().map(name).collect()
    }

    #[test]
    fn parts_are_found_where_the_containers_mount_them() {
        let folder = Folder::new();
        let rest = "    volumes: [./data:/data, ./certs/:/certs:ro, ../out:/templates, /no/such:/blueprints/custom, \
            './own.css:/web/own.css', '/etc/timezone:/etc/timezone', /opt:/opt, named:/geoip, /media]\n";
        let compose = folder.write("a/compose.yml", format!("{SERVER}{rest}").as_bytes());
        folder
            .write("a/.env", b"AUTHENTIK_SECRET_KEY=x\nAUTHENTIK_POSTGRESQL__PASSWORD=env://OTHER?hunter2\n");
        folder.write("a/own.css", b"x");
        for name in ["a/data/media/public", "a/certs", "out"] {
            folder.folder(name);
        }
        let (layout, findings) =
            found(&folder, |options| options.folder = compose.parent().unwrap().to_path_buf());
        let out = shown(&folder.path().join("out"));
        assert_eq!(names(&layout), ["compose.yml", ".env", "data", "certs", &out, "own.css"]);
        assert_eq!(layout.media, [layout.folder.join("data/media")]);
        assert_eq!(layout.database.service.as_deref(), Some("postgresql"));
        assert_eq!(layout.database.address.password.as_deref().map(String::as_str), Some("hunter2"));
        assert_eq!((layout.tag.as_deref(), &layout.redis, layout.problems), (Some("2025.12.1"), &None, 2));
        let told: Vec<&str> = findings.iter().map(|finding| finding.subject.as_str()).collect();
        assert_eq!(told, ["/opt", "/media", "/no/such"]);
        assert!(!format!("{layout:?} {findings:?}").contains("hunter2"));
    }

    #[test]
    fn volumes_are_looked_for_where_docker_keeps_them() {
        let folder = Folder::new();
        let rest = "    volumes: [own:/data, bound:/certs, other:/templates]\nvolumes:\n  own:\n  \
            bound: {driver_opts: {type: none, o: bind, device: \"${WHERE}\"}}\n  other: {external: true, name: shared}\n";
        folder.write("My.Project/docker-compose.yaml", format!("{SERVER}{rest}").as_bytes());
        let bound = folder.folder("bound");
        folder.write("My.Project/.env", format!("WHERE={}\n", bound.display()).as_bytes());
        let own = folder.folder("volumes/myproject_own/_data");
        let shared = folder.folder("volumes/shared/_data");
        let (layout, findings) = found(&folder, |options| {
            options.folder = folder.path().join("My.Project");
            options.volumes_folder = folder.path().join("volumes");
        });
        let paths: Vec<&Path> = layout.items.iter().skip(2).map(|item| item.path.as_path()).collect();
        assert_eq!(paths, [own.as_path(), bound.as_path(), shared.as_path()]);
        assert!(findings.is_empty(), "{findings:?}");
    }

    #[test]
    fn overrides_and_files_of_variables_count_as_compose_counts_them() {
        let folder = Folder::new();
        folder.write("compose.yml", b"services:\n  server:\n    image: goauthentik/server:${TAG:?no tag}\n    \
            env_file: [one.env, two.env]\n    environment: {A: base, B: base}\n    volumes: [./old:/media]\n    extends: x\n\
            include: [other.yml]\n");
        folder.write("compose.override.yml", b"services:\n  server:\n    environment: [B=over, AUTHENTIK_REDIS__HOST=cache]\n    \
            volumes: [{type: bind, source: ./new, target: /media/}]\n  redis: {image: redis, container_name: cache}\n");
        folder.write("one.env", b"AUTHENTIK_POSTGRESQL__HOST=one\nAUTHENTIK_POSTGRESQL__PORT=6432\n");
        folder.write("two.env", b"AUTHENTIK_POSTGRESQL__HOST=two\n");
        folder.folder("new");
        let (layout, findings) = found(&folder, |_| {});
        assert_eq!(names(&layout), ["compose.yml", "compose.override.yml", "one.env", "two.env", "new"]);
        assert_eq!(layout.database.address.shown(), "two:6432");
        assert_eq!(layout.database.service, None);
        assert_eq!(layout.redis.as_ref().and_then(|redis| redis.service.as_deref()), Some("redis"));
        let causes: Vec<&str> = findings.iter().map(|finding| finding.cause.as_str()).collect();
        assert_eq!(causes.len(), 3, "{causes:?}");
        assert!(causes.iter().any(|cause| cause.contains("TAG is set in no file")), "{causes:?}");
        assert!(findings.iter().all(|finding| finding.severity == Severity::Warning));
    }

    #[test]
    fn hostile_files_are_errors_and_never_more() {
        for text in [
            "services: {server: {image: [goauthentik/server], volumes: 5, environment: 7, env_file: {a: b}}}",
            "services: {server: {image: goauthentik/server, volumes: [[], {}, {source: x}, '::', ':', ''], environment: [[], {}]}}",
            "services: {server: {image: 'goauthentik/server:${', volumes: ['${:/data', '/data/../..:/data']}}",
            "services: {server: {image: goauthentik/server, env_file: [/dev/zero]}}",
            "name: '///'\nservices: {server: {image: goauthentik/server, volumes: [x:/data]}}\nvolumes: [x]\nsecrets: x",
            "\u{feff}services: {\u{0}: {}}",
        ] {
            let folder = Folder::new();
            folder.write("compose.yml", text.as_bytes());
            if let Err(error) = discover(&Options::new(folder.path()), &Collector::default()) {
                let known =
                    matches!(error.kind(), ErrorKind::Refused | ErrorKind::Corrupt | ErrorKind::Denied);
                assert!(known, "{text}: {}", error.chain());
            }
        }
        let folder = Folder::new();
        folder.write("compose.yml", b"services: {server: {image: \xff\xfegoauthentik/server}}");
        discover(&Options::new(folder.path()), &Collector::default()).unwrap();
        folder.write("compose.yml", &vec![b' '; (1 << 20) + 1]);
        let error = discover(&Options::new(folder.path()), &Collector::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
    }
}
