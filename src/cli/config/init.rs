//! `strongroom config init`: a configuration for what is found, with comments, for a person to go on with.
//!
//! Invariants: no file is overwritten, and no value of a setting that may hold a password is shown.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::cli::exit::Outcome;
use crate::cli::global::Global;
use crate::cli::output::Output;
use crate::cli::private_file::PrivateFile;
use crate::error::{Error, Result};
use crate::report::{Collector, printable};
use crate::service::authentik;
use crate::service::vaultwarden::{self, Key, Settings};

/// Where the repository lies unless -r says otherwise.
const REPOSITORY: &str = "/srv/backup/vault";

/// Arguments of `config init`.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("service").args(["vaultwarden", "authentik"]).required(true))]
#[command(after_help = "Examples:\n  strongroom config init --vaultwarden /srv/vaultwarden/data\n  \
    strongroom config init --authentik /srv/authentik --output strongroom.toml\n\n\
    It looks into the folder and the settings in it, and writes a configuration with comments: read it, change\n\
    what you want otherwise, and see what `strongroom config check` says.")]
pub(super) struct Arguments {
    /// Vaultwarden's data folder
    #[arg(long, value_name = "DATA_FOLDER")]
    vaultwarden: Option<PathBuf>,
    /// The folder with authentik's compose file
    #[arg(long, value_name = "COMPOSE_FOLDER")]
    authentik: Option<PathBuf>,
    /// Write it into this new file, for nobody else to read [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How Vaultwarden keeps its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Database {
    Sqlite,
    Postgres,
    Mysql,
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let repository = if global.names_repository() { global.location()? } else { PathBuf::from(REPOSITORY) };
    let repository = std::path::absolute(&repository)
        .map_err(|error| Error::io("cannot tell which folder is the current one", error))?;
    let job = match (&arguments.vaultwarden, &arguments.authentik) {
        (Some(folder), _) => of_vaultwarden(&found_folder(folder, "data folder")?)?,
        (None, Some(folder)) => of_authentik(&found_folder(folder, "compose folder")?)?,
        (None, None) => {
            return Err(
                Error::refused("no service is named").hint("name one by --vaultwarden or --authentik")
            );
        }
    };
    let text = text(&repository, &job)?;
    match &arguments.output {
        None => output.text(text.as_bytes())?,
        Some(path) => {
            let mut file = PrivateFile::create(path, "configuration")?;
            file.write(&text)?;
            file.keep();
            output.say(&format!(
                "wrote {}; `strongroom config check --config {0}` comes next",
                path.display()
            ))?;
        }
    }
    Ok(Outcome::Done)
}

fn found_folder(folder: &Path, what: &str) -> Result<PathBuf> {
    folder
        .canonicalize()
        .map_err(|error| Error::io(format!("cannot find the {what} {}", folder.display()), error))
}

/// A job for what was found.
struct Job {
    name: &'static str,
    /// Its table, with comments.
    lines: String,
    /// What a backup would say about it, as it is.
    notes: Vec<String>,
}

/// What there is of a Vaultwarden.
struct Found {
    database: Database,
    /// The settings file, where it is not one that is looked for anyway.
    settings: Option<PathBuf>,
    /// What a backup would say about it, as it is.
    notes: Vec<String>,
}

fn find(folder: &Path) -> Result<Found> {
    let collector = Collector::default();
    let mut settings = Settings::default();
    let beside = folder.parent().map(|parent| parent.join(".env"));
    let file = [Some(folder.join(".env")), beside].into_iter().flatten().find(|file| file.is_file());
    if let Some(file) = &file {
        settings.read_environment_file(file, &collector)?;
    }
    let json = folder.join("config.json");
    if json.is_file() {
        settings.read_config(&json, &collector)?;
    }
    let url = settings.value(Key::DatabaseUrl).unwrap_or_default();
    let database = match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("postgresql" | "postgres") => Database::Postgres,
        Some("mysql" | "mariadb") => Database::Mysql,
        _ => Database::Sqlite,
    };
    let mut noted = Vec::new();
    if database == Database::Sqlite {
        let looked = Collector::default();
        let found = vaultwarden::discover(&vaultwarden::Options::new(folder), &looked);
        noted = notes(&looked, found.err());
    }
    Ok(Found { database, settings: file, notes: noted })
}

/// A text as TOML writes it: what JSON escapes, it escapes the same way.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

fn path(path: &Path) -> Result<String> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control)).ok_or_else(|| {
        Error::refused(format!("{} cannot stand in a configuration", path.display()))
            .hint("give it a name of letters and digits, or a link of such a name")
    })?;
    Ok(quoted(text))
}

/// What was told on the way, and what ended it.
fn notes(collector: &Collector, error: Option<Error>) -> Vec<String> {
    let told =
        collector.findings().into_iter().map(|finding| format!("{}: {}", finding.subject, finding.cause));
    told.chain(error.map(|error| error.chain())).collect()
}

fn of_vaultwarden(folder: &Path) -> Result<Job> {
    let found = find(folder)?;
    let data = path(folder)?;
    let job = match found.database {
        Database::Sqlite => format!("vaultwarden = {data}\n"),
        Database::Postgres | Database::Mysql => {
            let (kind, client) = match found.database {
                Database::Postgres => ("PostgreSQL", "pg_dump and psql"),
                _ => ("MariaDB or MySQL", "mariadb-dump and mariadb"),
            };
            format!(
                "# DATABASE_URL names a {kind} server: it is dumped first, by {client} of the server's version.\n\
                 vaultwarden = {data}\n\
                 # Where the clients are, if not here.\n\
                 #prefix = [\"docker\", \"exec\", \"-i\", \"NAME\"]\n"
            )
        }
    };
    let settings = match &found.settings {
        Some(file) => format!("# Its settings are in {}.\n", file.display()),
        None => "# No .env was found; name it by env-file if it lies elsewhere.\n".to_owned(),
    };
    Ok(Job { name: "vaultwarden", lines: format!("{settings}{job}"), notes: found.notes })
}

fn of_authentik(folder: &Path) -> Result<Job> {
    let looked = Collector::default();
    let found = authentik::discover(&authentik::Options::new(folder), &looked);
    let place = format!("authentik = {}\n", path(folder)?);
    let (lines, error) = match found {
        Ok(layout) => (lines_of_authentik(&layout, &place), None),
        Err(error) => (place, Some(error)),
    };
    Ok(Job { name: "authentik", lines, notes: notes(&looked, error) })
}

fn lines_of_authentik(layout: &authentik::Layout, place: &str) -> String {
    let tag = layout.tag.as_deref().map_or_else(|| "not given".to_owned(), |tag| printable(tag.as_bytes()));
    let database = match &layout.database.service {
        Some(service) => format!(
            "# PostgreSQL is dumped in the container of the service {}, by `docker compose exec`. If that is not how it is\n\
             # reached, say what runs Compose, or where the server is from here:\n\
             #compose = [\"podman\", \"compose\"]\n\
             #postgres = [{{ url = \"postgresql://authentik@localhost/authentik\", password-file = \"/etc/strongroom/authentik.password\" }}]\n",
            printable(service.as_bytes())
        ),
        None => format!(
            "# PostgreSQL is dumped at {}, by pg_dump and psql of the server's version.\n",
            layout.database.address.shown()
        ),
    };
    let redis = match &layout.redis {
        Some(_) => {
            "# Redis is dumped too: sessions, queues and a cache. To leave it out:\n#no-redis = true\n"
        }
        None => "",
    };
    format!(
        "# Its image's tag is {tag}.\n{place}{database}{redis}\
         # Leave out sessions, tasks and the cache; after a restore everybody logs in again:\n\
         #without-transient = true\n"
    )
}

fn text(repository: &Path, job: &Job) -> Result<String> {
    let repository = path(repository)?;
    let Job { name, lines, .. } = job;
    let mut text = String::new();
    let fail = |_| Error::refused("the text cannot be made");
    write!(
        text,
        "# Strongroom: what is backed up, how long it is kept, and who is told. docs/configuration.md explains every key.\n\
         # `strongroom config check` looks whether all is well, `strongroom run --dry-run` tries it without storing.\n\
         \n\
         [repositories.main]\n\
         path = {repository}\n\
         # A key of role backup: it adds snapshots and reads nothing back.\n\
         key-file = \"/etc/strongroom/backup.key\"\n\
         # A key of role maintain is what forget, prune and check need. Safer than here it is on another machine.\n\
         #maintain-key-file = \"/etc/strongroom/maintain.key\"\n\
         # cron and systemd set no HOME to keep a cache in.\n\
         cache-dir = \"/var/cache/strongroom\"\n\
         \n\
         [jobs.{name}]\n\
         {lines}"
    )
    .map_err(fail)?;
    let notes: Vec<String> = job.notes.iter().map(|note| format!("# Note: {note}\n")).collect();
    text.push_str(&notes.concat());
    write!(
        text,
        "\n# Uncomment with maintain-key-file above:\n\
         #[retention]\n\
         #keep-daily = 7\n\
         #keep-weekly = 5\n\
         #keep-monthly = 12\n\
         #[prune]\n\
         #[check]\n\
         #read-data-subset = \"5%\"\n\
         \n\
         # Somebody has to notice when nothing runs any more, such as https://healthchecks.io:\n\
         #[jobs.{name}.ping]\n\
         #url = \"https://hc-ping.com/your-uuid\"\n",
    )
    .map_err(fail)?;
    Ok(text)
}
