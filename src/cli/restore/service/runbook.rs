//! The steps of a service's restore, as a person would do them by hand, and what comes after it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::cli::output::human;
use crate::cli::output::paragraph::quoted;
use crate::cli::restore::runbook::{Step, step};
use crate::cli::restore::vaultwarden::show;
use crate::format::snapshot::{DumpReport, ServiceReport};
use crate::operation::restore_service::{DatabaseStep, FolderStep, Plan, RedisStep, Summary, Way};
use crate::report::printable;
use crate::service::authentik::NAME as AUTHENTIK;
use crate::source::server::target::ByHand;

/// The steps of the restore itself.
pub(super) fn by_hand(plan: &Plan<'_>) -> Vec<Step> {
    let id = plan.snapshot.id.short();
    let mut steps = Vec::new();
    if plan.databases.iter().any(|step| matches!(step.way, Way::Replace(_))) {
        steps.push(step("Stop the service, and let nobody else connect to its database."));
    }
    if let Some(database) = plan.databases.iter().find(|step| !step.found.roles.is_empty()) {
        let names = database.found.roles.iter().map(|name| printable(name.as_bytes()));
        let names = names.collect::<Vec<_>>().join(", ");
        steps.push(Step {
            commands: vec![format!("strongroom dump {id} /postgres/globals.sql")],
            ..step(format!(
                "Make the roles {names}: the lines that begin with CREATE ROLE, ALTER ROLE and GRANT."
            ))
        });
    }
    for database in &plan.databases {
        steps.extend(fill(&id, database));
    }
    steps.extend(plan.redis.as_ref().map(|redis| redis_step(&id, redis)));
    if let Some(folder) = plan.folder.as_ref().filter(|_| !plan.files.is_empty()) {
        let paths = plan.files.iter().map(|path| quoted(&format!("/{}", printable(path))));
        let paths = paths.collect::<Vec<_>>().join(" ");
        steps.push(Step {
            commands: vec![format!(
                "strongroom restore {id} {paths} --target {}",
                quoted(&show(folder.filled()))
            )],
            ..step("Restore the files into a new folder.")
        });
    }
    steps.extend(plan.folder.as_ref().filter(|_| !plan.files.is_empty()).and_then(folder_step));
    for database in &plan.databases {
        if let Way::Replace(swap) = &database.way {
            let text = format!(
                "Put {} into the place of {}, which is kept as {}.",
                printable(swap.new.as_bytes()),
                printable(swap.database.as_bytes()),
                printable(swap.aside.as_bytes())
            );
            let commands = database.target.by_hand(&ByHand::Swap(swap));
            steps.push(Step { commands, ..step(text) });
        }
    }
    steps
}

fn folder_step(folder: &FolderStep) -> Option<Step> {
    let swap = folder.swap.as_ref()?;
    let [path, new, aside] = [&folder.path, &swap.new, &swap.aside].map(|path| quoted(&show(path)));
    Some(Step {
        commands: vec![format!("mv {path} {aside}"), format!("mv {new} {path}")],
        ..step("Put the new folder into the place of the old one, which is kept.")
    })
}

fn dump_command(id: &str, dump: &DumpReport) -> String {
    format!("strongroom dump {id} {}", quoted(&format!("/{}", printable(&dump.place))))
}

fn fill(id: &str, database: &DatabaseStep<'_>) -> Vec<Step> {
    let (target, shape) = (database.target, &database.found.shape);
    let name = printable(database.filled().as_bytes());
    let server = target.about().name;
    let mut steps = Vec::new();
    if database.way != Way::Fill {
        steps.push(Step {
            commands: target.by_hand(&ByHand::Create(database.filled(), shape)),
            ..step(format!("Make the database {name} at {server}."))
        });
    }
    let client = target.by_hand(&ByHand::Fill(database.filled(), shape)).join(" ");
    steps.push(Step {
        commands: vec![format!("{} | {client}", dump_command(id, database.dump))],
        ..step(format!("Fill it with the dump ({}).", human::bytes(database.dump.bytes)))
    });
    let (tables, rows) = totals(database.dump);
    steps.push(step(format!(
        "Count its rows: {} with {} as they were in the dump (`strongroom snapshots --json` lists them).",
        human::counted(tables, "table"),
        human::counted(rows, "row")
    )));
    steps
}

fn totals(dump: &DumpReport) -> (u64, u64) {
    let rows = dump.tables.iter().fold(0u64, |sum, table| sum.saturating_add(table.rows));
    (dump.tables.len() as u64, rows)
}

fn redis_step(id: &str, redis: &RedisStep<'_>) -> Step {
    let file = quoted(&show(&redis.folder.join("dump.rdb")));
    let mut commands: Vec<String> = redis
        .gives_way
        .iter()
        .map(|name| {
            let path = quoted(&show(&redis.folder.join(name)));
            format!("mv {path} {path}.before-restore")
        })
        .collect();
    commands.push(format!("(umask 077; {} > {file})", dump_command(id, redis.dump)));
    commands.push(format!("chown --reference={} {file}", quoted(&show(&redis.folder))));
    Step { commands, ..step("Stop Redis, and write the file that it loads when it starts.") }
}

/// What comes after the restore.
pub(super) fn next(plan: &Plan<'_>, summary: Option<&Summary>) -> Vec<Step> {
    let mut steps = Vec::new();
    if plan.redis.is_some() {
        steps.push(step(
            "Start Redis. Where it keeps a log (appendonly yes), it would pass the file over: start it with --appendonly \
             no, then CONFIG SET appendonly yes, and wait for the log before it is started as always.",
        ));
    }
    steps.extend(match plan.service() {
        Some(report) if report.name == AUTHENTIK => lies_below(plan, report),
        _ => outside(plan),
    });
    let moved: Vec<String> = plan
        .databases
        .iter()
        .filter(|step| !matches!(step.way, Way::Replace(_)))
        .map(|step| format!("{} at {}", printable(step.database.as_bytes()), step.target.about().name))
        .collect();
    let settings = settings(plan);
    if !moved.is_empty() {
        steps.push(step(format!("Let the service use {}: {settings}.", moved.join(", "))));
    }
    steps.push(match plan.service() {
        Some(report) if report.name == AUTHENTIK => start_authentik(report),
        report => start(report),
    });
    for database in summary.map(|summary| summary.databases.as_slice()).unwrap_or_default() {
        if let Some(aside) = &database.aside {
            steps.push(step(format!(
                "When all is well, remove what was there before: the database {} at {}. It holds secrets.",
                printable(aside.as_bytes()),
                database.server
            )));
        }
    }
    for path in
        summary.and_then(|summary| summary.redis.as_ref()).map(|redis| &redis.aside).into_iter().flatten()
    {
        steps.push(Step {
            commands: vec![format!("rm -rf -- {}", quoted(&show(path)))],
            ..step("When all is well, remove what Redis had before.")
        });
    }
    steps
}

/// Parts that lay elsewhere than in the folder that the service's files are in.
fn outside(plan: &Plan<'_>) -> Option<Step> {
    let (folder, service) = (plan.folder.as_ref()?, plan.service()?);
    let base = service.origins.iter().find(|origin| origin.place.is_empty());
    let base = base.map(|origin| path_of(&origin.host_path));
    let moved = service.origins.iter().filter(|origin| {
        let host = path_of(&origin.host_path);
        let is_inside = base.is_some_and(|base| base.join(path_of(&origin.place)) == host);
        !origin.place.is_empty() && !origin.host_path.is_empty() && !is_inside
    });
    let commands: Vec<String> = moved
        .map(|origin| {
            let from = quoted(&show(&folder.path.join(path_of(&origin.place))));
            format!("mv {from} {}", quoted(&printable(&origin.host_path)))
        })
        .collect();
    let text = "Put what lay elsewhere where it was, or change the settings that moved it there.";
    (!commands.is_empty()).then(|| Step { commands, ..step(text) })
}

/// An authentik's parts lie at the paths that they had, below the folder.
fn lies_below(plan: &Plan<'_>, report: &ServiceReport) -> Option<Step> {
    let folder = plan.folder.as_ref().filter(|_| !plan.files.is_empty())?;
    let parts =
        || report.origins.iter().filter(|origin| !origin.place.is_empty() && !origin.host_path.is_empty());
    let mut places: Vec<(&Path, &[u8])> = Vec::new();
    for origin in parts() {
        let place = path_of(&origin.place);
        let is_within = parts().any(|other| {
            let other = path_of(&other.place);
            other != place && place.starts_with(other)
        });
        if !is_within && places.iter().all(|(other, _)| *other != place) {
            places.push((place, &origin.host_path));
        }
    }
    let commands: Vec<String> = places
        .into_iter()
        .map(|(place, host)| {
            format!("mv -T {} {}", quoted(&show(&folder.path.join(place))), quoted(&printable(host)))
        })
        .collect();
    let text = format!(
        "The compose file, .env, media or data, certs, custom-templates and blueprints lie below {} at the paths that they \
         had. Move them where they belong; what is still there from before must be out of the way.",
        show(&folder.path)
    );
    (!commands.is_empty()).then(|| Step { commands, ..step(text) })
}

fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Where a service is told which database it uses.
fn settings(plan: &Plan<'_>) -> String {
    let place = match plan.service().map(|report| report.name.as_str()) {
        Some("vaultwarden") => "DATABASE_URL in its environment, .env or config.json names it",
        Some(AUTHENTIK) => {
            "AUTHENTIK_POSTGRESQL__HOST, __PORT, __NAME, __USER and __PASSWORD in its .env or compose file name it"
        }
        _ => "its settings name it",
    };
    let restored = plan.folder.is_some() && !plan.files.is_empty();
    let old = if restored { ", and those that were restored still name the old one" } else { "" };
    format!("{place}{old}")
}

fn start(service: Option<&ServiceReport>) -> Step {
    let schema = service.and_then(|report| report.schema.as_deref());
    let schema = schema.map(|schema| format!(" (the database has schema {})", printable(schema.as_bytes())));
    let schema = schema.unwrap_or_default();
    match service.map(|report| report.name.as_str()) {
        Some("vaultwarden") => step(format!(
            "Start Vaultwarden, in the version that made the backup or a newer one{schema}, and look into its log. Log in \
             to the web vault in a private window: open an entry, download an attachment, open a Send."
        )),
        Some(name) => step(format!(
            "Start {}, in the very release that made the backup{schema}, and look into its log. Log in once.",
            printable(name.as_bytes())
        )),
        None => step("Start the service, in the release that made the backup, and look into its log."),
    }
}

fn start_authentik(report: &ServiceReport) -> Step {
    let release = report.release.as_deref().map(|release| printable(release.as_bytes()));
    let which = release.map_or_else(
        || "in the very release that made the backup".to_owned(),
        |release| format!("in release {release}, which made the backup (AUTHENTIK_TAG={release} in .env)"),
    );
    let compose = report.origins.iter().find(|origin| !origin.host_path.is_empty());
    let enter = compose.map(|origin| format!("cd {} && ", quoted(&printable(&origin.host_path))));
    Step {
        commands: vec![format!("{}docker compose up -d", enter.unwrap_or_default())],
        ..step(format!(
            "Start authentik {which}, and look into its log: the first start may take minutes. Log in once. If \
             AUTHENTIK_SECRET_KEY is not what it was at the backup, all sessions end."
        ))
    }
}
