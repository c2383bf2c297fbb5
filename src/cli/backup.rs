//! `strongroom backup`

pub(super) mod databases;
pub(super) mod job;
mod lists;
mod selection;
pub(super) mod servers;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::exit::Outcome;
use super::global::Global;
use super::output::{Output, human, json};
use super::stream::Streams;
use super::time::parse_past;
use crate::error::{Error, Result};
use crate::format::node::Timestamp;
use crate::format::snapshot::{DatabaseOutcome, DumpReport, ServiceReport};
use crate::operation::backup::{self, ParentChoice, Summary, authentik_plan, vaultwarden_plan};
use crate::report::{Reporter, printable};
use crate::repository::{Repository, host};
use crate::service::{authentik, vaultwarden};
use crate::source::files::Plan;
use crate::source::server::Server;
use crate::source::sqlite;
use databases::Databases;
use selection::Selection;
pub(super) use selection::{parse_marker, patterns};
use servers::Wanted;

/// What stands in for a path on the command line.
const SOURCES: [&str; 10] = [
    "vaultwarden",
    "authentik",
    "files_from",
    "files_from_verbatim",
    "files_from_raw",
    "stdin",
    "stdin_from_command",
    "postgres",
    "mysql",
    "redis",
];

/// The services that a backup may be of, one at a time.
const SERVICES: [&str; 2] = ["vaultwarden", "authentik"];

/// Arguments of `backup`.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("service").args(SERVICES))]
#[command(after_help = "Examples:\n  strongroom backup --vaultwarden /srv/vaultwarden/data\n  \
    strongroom backup --authentik /srv/authentik\n  \
    strongroom backup /etc /srv/www --exclude '*.tmp' --tag nightly\n  \
    find /srv -name '*.conf' -print0 | strongroom backup --files-from-raw -\n  \
    strongroom backup --stdin-filename db.dump --stdin-from-command -- pg_dump -Fc -Z0 db\n  \
    zcat export.gz | strongroom backup --stdin --stdin-filename export.sql\n  \
    strongroom backup --postgres postgresql://backup@db.example/authentik /srv/authentik/media\n  \
    strongroom backup --postgres postgresql://authentik@/authentik --prefix 'docker exec -i authentik-postgresql-1'\n\n\
    SQLite databases met on the way are copied through SQLite itself while their servers go on\n\
    writing. With --vaultwarden the database comes first, then the files, and then every attachment\n\
    that the database names is proved to be in the snapshot. Exit code 3: the snapshot is there, but\n\
    something could not be read or is damaged.\n\n\
    With --authentik the compose file and .env tell where everything is. PostgreSQL is dumped in its\n\
    container, or where --postgres says; then every uploaded file that a row names is proved.\n\n\
    With --stdin nobody learns whether what fills the pipe failed half-way; --stdin-from-command sees\n\
    how its command ends, and makes a snapshot only of one that succeeded. Write dumps uncompressed:\n\
    what is compressed before shares no chunk with the night before.\n\n\
    Interrupted, a backup makes no snapshot, and the next one reuses what it stored. A second signal\n\
    ends it at once.")]
pub(super) struct Arguments {
    /// Files and folders to store, under the names given; with --stdin-from-command, a command and its arguments
    #[arg(value_name = "PATH", conflicts_with_all = SERVICES, required_unless_present_any = SOURCES)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    stream: Streams,
    #[command(flatten)]
    databases: Databases,
    /// Store a Vaultwarden: its data folder, with what its settings moved elsewhere
    #[arg(long, value_name = "DATA_FOLDER")]
    vaultwarden: Option<PathBuf>,
    /// Store an authentik: its database, its Redis up to release 2025.8, and what the compose file in this folder leads to
    #[arg(long, value_name = "COMPOSE_FOLDER", conflicts_with_all = ["vaultwarden", "stream"])]
    authentik: Option<PathBuf>,
    /// What runs Docker Compose, to reach authentik's databases in their containers: 'podman compose', 'docker-compose'
    #[arg(long, value_name = "COMMAND", requires = "authentik", conflicts_with = "paths", value_parser = databases::parse_words, default_value = "docker compose")]
    compose: databases::Words,
    /// Leave out authentik's Redis: sessions, queues and a cache
    #[arg(long, requires = "authentik", conflicts_with_all = ["paths", "redis"])]
    no_redis: bool,
    /// Leave out the rows of authentik's tables of sessions, tasks, messages and its cache: everybody logs in again after a restore
    #[arg(long, requires = "authentik", conflicts_with = "paths")]
    without_transient: bool,
    // clap waives `requires` where what is required conflicts with what is given, so that each of these has to
    // conflict with the paths by itself.
    /// Vaultwarden's settings file, if it is not beside or in the data folder
    #[arg(long, value_name = "FILE", requires = "vaultwarden", conflicts_with = "paths")]
    env_file: Option<PathBuf>,
    /// Where a path in the service's container lies on this host, as CONTAINER=HOST; may be repeated
    #[arg(long = "map", value_name = "CONTAINER=HOST", requires = "service", conflicts_with = "paths", value_parser = parse_map)]
    path_map: Vec<(String, PathBuf)>,
    /// Leave out Vaultwarden's Sends
    #[arg(long, requires = "vaultwarden", conflicts_with = "paths")]
    no_sends: bool,
    /// Store Vaultwarden's icon cache too
    #[arg(long, requires = "vaultwarden", conflicts_with = "paths")]
    with_icon_cache: bool,
    /// Store Vaultwarden's folder of uploads in progress too
    #[arg(long, requires = "vaultwarden", conflicts_with = "paths")]
    with_tmp: bool,
    /// Store the copies that Vaultwarden's own backup command made (db_*.sqlite3) too
    #[arg(long, requires = "vaultwarden", conflicts_with = "paths")]
    with_built_in_backups: bool,
    #[command(flatten)]
    selection: Selection,
    /// Tag the snapshot; may be repeated
    #[arg(long, value_name = "TAG", value_parser = parse_tag)]
    tag: Vec<String>,
    /// Name of the host, instead of this machine's
    #[arg(long, value_name = "NAME", value_parser = parse_host)]
    host: Option<String>,
    /// Date the snapshot back to this time, where what is backed up is that old: 2026-11-21, or with 03:15:00 behind it
    #[arg(long, value_name = "TIME", value_parser = parse_past)]
    time: Option<Timestamp>,
    /// Folder for temporary copies of databases [environment: TMPDIR]
    #[arg(long, value_name = "FOLDER")]
    temporary_folder: Option<PathBuf>,
    /// Store SQLite databases as the plain files they are, logs too: a copy of one that is written to may be torn
    #[arg(long, conflicts_with = "vaultwarden")]
    no_sqlite: bool,
    /// Compare with no earlier snapshot: read every file again
    #[arg(short, long)]
    force: bool,
    /// Compare with this snapshot of the same key, instead of the newest of the same host and paths
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "force")]
    parent: Option<String>,
    /// Make no snapshot if it would hold and prove the same as the one it is compared with
    #[arg(long, conflicts_with = "stream")]
    skip_if_unchanged: bool,
    /// Take a dump for good that is less than half as long as the last one that was in order
    #[arg(long)]
    accept_smaller_dump: bool,
    /// Seconds to wait for whoever has locked a database
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = parse_seconds)]
    lock_timeout: u64,
    /// Store nothing; tell what would be stored
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) fn parse_map(text: &str) -> std::result::Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((container, host)) if container.starts_with('/') && !host.is_empty() => {
            Ok((container.to_owned(), PathBuf::from(host)))
        }
        _ => Err("give it as CONTAINER=HOST, such as /attachments=/srv/attachments".to_owned()),
    }
}

pub(super) fn parse_host(text: &str) -> std::result::Result<String, String> {
    if text.is_empty() || text.len() > 255 {
        return Err("a host's name has 1 to 255 characters".to_owned());
    }
    Ok(text.to_owned())
}

/// A number of seconds.
pub(super) fn parse_seconds(text: &str) -> std::result::Result<u64, String> {
    text.parse().map_err(|_| "give a whole number of seconds, such as 30".to_owned())
}

pub(super) fn parse_tag(text: &str) -> std::result::Result<String, String> {
    if text.is_empty() || text.contains(',') || text.len() > 256 {
        return Err("a tag has 1 to 256 characters and no comma".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let started = Instant::now();
    if arguments.stream.stdin || arguments.selection.reads_stdin() {
        output.keep_stdin_for_data();
    }
    let repository = global.open(output)?;
    let cache = global.cache(&repository, output);
    let parent = parent(arguments, &repository, output)?;
    let authentik = authentik(arguments, output)?;
    let servers = match &authentik {
        Some(layout) => {
            servers::of_authentik(layout, &arguments.of_authentik(), arguments.databases.named()?)?
        }
        None => servers::of_flags(&arguments.stream, &arguments.databases, &arguments.paths)?,
    };
    let options = options(arguments, (servers, authentik), parent, (output, output))?;
    warn_of_repository_inside(global, &options, output);
    let progress = output.start_progress("backing up");
    let summary = backup::run(&repository, cache.as_ref(), &options, output);
    drop(progress);
    let summary = summary?;
    let took = started.elapsed();
    if output.json {
        output.object(&json::summary(&summary, took))?;
    } else {
        print(&summary, took, output)?;
    }
    Ok(Outcome::of(summary.statistics.problems.saturating_add(summary.packs_missing)))
}

fn parent(arguments: &Arguments, repository: &Repository, output: &Output) -> Result<ParentChoice> {
    if arguments.force {
        return Ok(ParentChoice::Nothing);
    }
    arguments.parent.as_ref().map_or(Ok(ParentChoice::Newest), |name| {
        repository.find_snapshot(name, output).map(|snapshot| ParentChoice::Named(snapshot.id))
    })
}

/// The authentik that is to be stored.
fn authentik(arguments: &Arguments, reporter: &dyn Reporter) -> Result<Option<authentik::Layout>> {
    let Some(folder) = &arguments.authentik else { return Ok(None) };
    let options = authentik::Options {
        path_map: arguments.path_map.clone(),
        ..authentik::Options::new(folder.clone())
    };
    authentik::discover(&options, reporter).map(Some)
}

impl Arguments {
    /// What is asked for of an authentik's databases.
    fn of_authentik(&self) -> Wanted {
        Wanted {
            options: self.databases.clone(),
            compose: self.compose.clone(),
            no_redis: self.no_redis,
            without_transient: self.without_transient,
        }
    }
}

/// What is backed up, and how; the servers are dumped before any file.
fn options(
    arguments: &Arguments,
    (mut servers, authentik): (Vec<Box<dyn Server>>, Option<authentik::Layout>),
    parent: ParentChoice,
    (output, reporter): (&Output, &dyn Reporter),
) -> Result<backup::Options> {
    let interrupt = output.signals.in_good_order();
    let excludes = arguments.selection.excludes()?;
    let mut problems = 0;
    let mut plan = Plan::new();
    let mut vaultwarden = None;
    let mut paths: Vec<Vec<u8>> = Vec::new();
    if let Some(folder) = &arguments.vaultwarden {
        let options = vaultwarden::Options {
            data_folder: folder.clone(),
            env_file: arguments.env_file.clone(),
            path_map: arguments.path_map.clone(),
            with_sends: !arguments.no_sends,
            with_icon_cache: arguments.with_icon_cache,
            with_temporary: arguments.with_tmp,
            with_built_in_copies: arguments.with_built_in_backups,
        };
        let layout = vaultwarden::discover(&options, reporter)?;
        if let vaultwarden::Database::Server { kind, address } = &layout.database {
            // First: it is the one that is asked about single rows.
            servers.insert(0, arguments.databases.of_vaultwarden(*kind, address)?);
        }
        paths.push(layout.data_folder.as_os_str().as_bytes().to_vec());
        plan = vaultwarden_plan(&layout)?;
        vaultwarden = Some((layout, options.with_sends));
    } else if let Some(layout) = &authentik {
        paths.push(layout.folder.as_os_str().as_bytes().to_vec());
        plan = authentik_plan(layout)?;
    } else if !arguments.stream.asked_for() {
        arguments.paths.iter().try_for_each(|path| plan.add_path(path))?;
        problems = arguments.selection.add_listed(&mut plan, reporter)?;
        paths.extend(plan.hosts().map(|(_, host)| host.as_os_str().as_bytes().to_vec()));
    }
    let roots = servers.iter().flat_map(|server| server.roots());
    paths.extend(roots.map(|root| [b"/", root.as_slice()].concat()));
    paths.sort();
    paths.dedup();
    Ok(backup::Options {
        plan,
        servers,
        accept_smaller_dumps: arguments.accept_smaller_dump,
        paths,
        excludes,
        problems,
        parent,
        skip_if_unchanged: arguments.skip_if_unchanged,
        databases_as_files: arguments.no_sqlite,
        tags: arguments.tag.clone(),
        host: arguments.host.clone().unwrap_or_else(host::name),
        job: None,
        time: arguments.time,
        dry_run: arguments.dry_run,
        count_first: !output.quiet,
        temporary_folder: arguments.temporary_folder.clone().unwrap_or_else(std::env::temp_dir),
        sqlite: sqlite::Options {
            busy_deadline: std::time::Duration::from_secs(arguments.lock_timeout),
            interrupt: interrupt.clone(),
        },
        vaultwarden,
        authentik,
        interrupt,
    })
}

/// A repository within what is backed up is stored into itself, night after night.
fn warn_of_repository_inside(global: &Global, options: &backup::Options, output: &Output) {
    let Ok(repository) = global.location().and_then(|location| {
        location.canonicalize().map_err(|error| Error::io("cannot find the repository", error))
    }) else {
        return;
    };
    let inside = |host: &Path| host.canonicalize().is_ok_and(|host| repository.starts_with(host));
    if options.plan.hosts().any(|(_, host)| inside(host)) {
        let next_step = format!("leave it out: --exclude '{}'", repository.display());
        output.warn("the repository lies within what is backed up, and is stored too", Some(&next_step));
    }
}

fn print(summary: &Summary, took: std::time::Duration, output: &Output) -> Result<()> {
    let counts = &summary.statistics;
    let compared =
        summary.parent.map(|parent| format!(", compared with {}", parent.short())).unwrap_or_default();
    match (&summary.snapshot, &summary.unchanged_since) {
        (Some(id), _) => output.say(&format!("snapshot {} saved{compared}", id.short()))?,
        (None, Some(same)) => {
            let would = if summary.dry_run { "would be" } else { "was" };
            let same = same.short();
            output.say(&format!("no snapshot {would} made: nothing changed since snapshot {same}"))?;
        }
        (None, None) => output.say(&format!("dry run: nothing was stored{compared}"))?,
    }
    let row = |noun: &str, new: u64, changed: u64, unmodified: u64| {
        format!(
            "{noun:<10} {} new, {} changed, {} unmodified",
            human::count(new),
            human::count(changed),
            human::count(unmodified)
        )
    };
    output.say(&row("files:", counts.files_new, counts.files_changed, counts.files_unmodified))?;
    output.say(&row(
        "folders:",
        counts.directories_new,
        counts.directories_changed,
        counts.directories_unmodified,
    ))?;
    let verb = if summary.dry_run { "would store" } else { "stored" };
    output.say(&format!(
        "processed {}, {verb} {} of new data as {}, in {}",
        human::bytes(counts.bytes_processed),
        human::bytes(counts.data_added),
        human::bytes(counts.data_added_packed),
        human::duration(took)
    ))?;
    if output.verbose {
        output.say(&format!(
            "{} and {} stored; the tree's top is {}",
            human::counted(counts.data_blobs, "new chunk"),
            human::counted(counts.tree_blobs, "new blob of names and lists"),
            summary.root.id
        ))?;
    }
    for database in &summary.databases {
        let outcome = match database.outcome {
            DatabaseOutcome::Checked => {
                let size = database.pages.saturating_mul(u64::from(database.page_size));
                format!("{} in {} pages, checked", human::bytes(size), human::count(database.pages))
            }
            DatabaseOutcome::FailedCheck => "stored, and its check FAILED".to_owned(),
            DatabaseOutcome::StoredAsFound => "no readable database, STORED AS FOUND".to_owned(),
            DatabaseOutcome::NotStored => "NOT STORED".to_owned(),
        };
        output.say(&format!("database:  /{} {outcome}", printable(&database.place)))?;
    }
    for dump in &summary.dumps {
        output.say(&format!("dump:      /{} {}", printable(&dump.place), told(dump)))?;
        for message in &dump.messages {
            output.say(&format!("           {}", printable(message.as_bytes())))?;
        }
    }
    if let Some(service) = &summary.service {
        print_service(service, output)?;
    }
    if counts.problems > 0 {
        output.say(&format!("{}: see above; exit code 3", human::counted(counts.problems, "problem")))?;
    }
    Ok(())
}

/// What a dump is, for a person.
fn told(dump: &DumpReport) -> String {
    let rows = dump.tables.iter().fold(0u64, |sum, table| sum.saturating_add(table.rows));
    let size = human::bytes(dump.bytes);
    let server = dump.server.as_deref().map(|server| format!(", {}", printable(server.as_bytes())));
    let server = server.unwrap_or_default();
    if dump.tables.is_empty() {
        return format!("{size}{server}");
    }
    let tables = human::counted(dump.tables.len() as u64, "table");
    format!("{size}, {} in {tables}, counted by the server{server}", human::counted(rows, "row"))
}

fn print_service(service: &ServiceReport, output: &Output) -> Result<()> {
    let rows = service.tables.iter().fold(0u64, |sum, table| sum.saturating_add(table.rows));
    let schema = service.schema.as_deref().map(|schema| format!(", schema {}", printable(schema.as_bytes())));
    let release = service.release.as_deref().map(|release| format!(" {}", printable(release.as_bytes())));
    let kept = if service.name == "vaultwarden" { "attachments and Sends" } else { "those that rows name" };
    output.say(&format!(
        "{}{}: {} of {kept} proved ({}), {} in {}{}",
        service.name,
        release.unwrap_or_default(),
        human::counted(service.files_proved, "file"),
        human::bytes(service.bytes_proved),
        human::counted(rows, "row"),
        human::counted(service.tables.len() as u64, "table"),
        schema.unwrap_or_default()
    ))?;
    let notes = [
        (service.damaged.len() as u64, "missing or of the wrong size"),
        (service.orphans.len() as u64, "without a row in the database"),
        (service.deleted_meanwhile, "deleted while the backup ran"),
        (service.being_uploaded, "being uploaded while the backup ran"),
    ];
    for (number, what) in notes.into_iter().filter(|(number, _)| *number > 0) {
        output.say(&format!("           {} {what}", human::counted(number, "file")))?;
    }
    output.say(if service.whole {
        "           the service is whole"
    } else {
        "           the service is NOT proved whole"
    })
}
