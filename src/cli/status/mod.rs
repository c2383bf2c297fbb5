//! `strongroom status`: when each job last made a good snapshot, and whether that is too long ago.
//!
//! Invariant: what counts is what the repository holds; how the last run ended is told beside it, where this computer knows.

mod prometheus;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::config::{Config, ConfigFile, Job, parse_duration};
use super::exit::{self, Outcome};
use super::global::Global;
use super::output::{Output, human};
use super::run::opened::{self, Purpose};
use super::run::state::{Place, State};
use super::run::worst;
use crate::error::{Error, Result};
use crate::format::node::Timestamp;
use crate::operation::forget::is_good;
use crate::report::{Finding, Reporter, printable};
use crate::repository::snapshot::Snapshot;
use crate::repository::{Repository, host};

/// How old the last good snapshot may be unless somebody says otherwise: a day, and two hours to be late.
const MAX_AGE: Duration = Duration::from_hours(26);

/// Arguments of `status`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom status\n  strongroom status vault --max-age 26h\n  \
    strongroom -r /srv/backup/vault --key-file backup.key status --max-age 8d\n  \
    strongroom status --prometheus /var/lib/node_exporter/strongroom.prom\n\n\
    With a configuration it tells of its jobs; with -r, or where there is none, of each host, job and list of\n\
    paths that the repository has snapshots of. A snapshot is good if nothing was amiss while it was made:\n\
    databases checked, the service whole. Exit code 3 where the last good one is older than --max-age or\n\
    there is none; 10 and 12 where a repository cannot be opened.")]
pub(super) struct Arguments {
    /// The jobs to tell of; all of them if none is named
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    #[command(flatten)]
    config: ConfigFile,
    /// How old the last good snapshot may be, such as 26h or 8d [default: the configuration's, or 26h]
    #[arg(long, value_name = "AGE", value_parser = parse_duration)]
    max_age: Option<Duration>,
    /// Also write this file for Prometheus' node_exporter, in one step
    #[arg(long, value_name = "FILE")]
    prometheus: Option<PathBuf>,
}

/// Host, job and paths that snapshots have in common.
type Group = (String, Option<String>, Vec<Vec<u8>>);

/// A snapshot, as far as it matters here.
#[derive(Clone, Debug)]
struct Made {
    id: String,
    time: i64,
    problems: u64,
}

/// What is told of one job, or of one group of snapshots.
#[derive(Debug, Default)]
struct Row {
    job: Option<String>,
    host: String,
    paths: Option<Vec<String>>,
    /// Nothing where the repository cannot be read.
    snapshots: Option<u64>,
    last: Option<Made>,
    good: Option<Made>,
    state: Option<State>,
    running: bool,
    max_age: u64,
}

impl Row {
    /// The age of the last good snapshot, in seconds.
    fn age(&self, now: i64) -> Option<u64> {
        self.good.as_ref().map(|good| u64::try_from(now.saturating_sub(good.time)).unwrap_or(0))
    }

    /// Whether the last good snapshot is too old, or there is none.
    fn is_due(&self, now: i64) -> bool {
        self.snapshots.is_some() && self.age(now).is_none_or(|age| age > self.max_age)
    }

    /// Counts a snapshot. One that is dated in the future tells nothing about the past, whoever dated it so.
    fn take(&mut self, snapshot: &Snapshot, now: i64) {
        let manifest = &snapshot.manifest;
        let made = Made {
            id: snapshot.id.to_hex(),
            time: manifest.time.seconds,
            problems: manifest.statistics.problems,
        };
        let newer = |other: &Option<Made>| other.as_ref().is_none_or(|other| other.time <= made.time);
        if is_good(manifest) && made.time <= now && newer(&self.good) {
            self.good = Some(made.clone());
        }
        if newer(&self.last) {
            self.last = Some(made);
        }
        self.snapshots = Some(self.snapshots.unwrap_or(0).saturating_add(1));
    }

    fn name(&self) -> String {
        match (&self.job, &self.paths) {
            (Some(job), None) => printable(job.as_bytes()),
            (job, paths) => {
                let mut words = vec![printable(self.host.as_bytes())];
                words.extend(job.as_ref().map(|job| printable(job.as_bytes())));
                words.extend(paths.iter().flatten().take(3).cloned());
                words.join(" ")
            }
        }
    }
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    let (path, named) = arguments.config.place();
    let of_repository = global.names_repository() || (!named && !path.exists());
    if of_repository && (arguments.config.is_flagged() || !arguments.jobs.is_empty()) {
        return Err(Error::refused(
            "jobs and --config are about a configuration, and -r is about a repository",
        )
        .hint("leave -r out, or the others"));
    }
    let (rows, codes) = if of_repository {
        (of_groups(global, arguments.max_age, output)?, Vec::new())
    } else {
        global.refuse_repository()?;
        let config = arguments.config.read()?;
        of_jobs(global, &config, &arguments.jobs, arguments.max_age, output)?
    };
    if let Some(path) = &arguments.prometheus {
        prometheus::write(path, &rows)?;
    }
    let now = host::now().seconds;
    tell(&rows, now, output)?;
    let due = (of_repository && rows.is_empty()) || rows.iter().any(|row| row.is_due(now));
    let code = worst(codes.into_iter().chain(due.then_some(exit::INCOMPLETE)));
    Ok(if code == 0 { Outcome::Done } else { Outcome::Ended(code) })
}

/// Writes the file for Prometheus after a run.
pub(super) fn write_metrics(global: &Global, config: &Config, path: &Path, output: &Output) -> Result<()> {
    // What keeps a repository from being opened was told by the run.
    let silent = Output::with(false, true, false);
    let all = config.jobs(&[])?;
    let rows = all.into_iter().map(|(name, job)| of_job(global, config, (name, job), None, &silent).0);
    let rows: Vec<Row> = rows.collect();
    prometheus::write(path, &rows).map_err(|error| error.context("no metrics")).inspect(|()| {
        if output.verbose {
            output.warn(&format!("metrics are in {}", path.display()), None);
        }
    })
}

fn of_jobs(
    global: &Global,
    config: &Config,
    names: &[String],
    max_age: Option<Duration>,
    output: &Output,
) -> Result<(Vec<Row>, Vec<u8>)> {
    let (mut rows, mut codes) = (Vec::new(), Vec::new());
    for (name, job) in config.jobs(names)? {
        let (row, error) = of_job(global, config, (name, job), max_age, output);
        rows.push(row);
        if let Some(error) = error.map(exit::with_next_step) {
            let finding = Finding::problem(format!("job {name}"), error.chain());
            output.report(Finding { hint: error.next_step().map(str::to_owned), ..finding });
            codes.push(exit::code(error.kind()));
        }
    }
    Ok((rows, codes))
}

/// What is known of a job; with an error also what is known without its repository.
fn of_job(
    global: &Global,
    config: &Config,
    (name, job): (&str, &Job),
    max_age: Option<Duration>,
    output: &Output,
) -> (Row, Option<Error>) {
    let host = job.host.clone().unwrap_or_else(host::name);
    let max_age = max_age.or(job.max_age).or(config.file.max_age).unwrap_or(MAX_AGE).as_secs();
    let mut row = Row { job: Some(name.to_owned()), host, max_age, ..Row::default() };
    let table = match config.repository(job) {
        Ok((_, table)) => table,
        Err(error) => return (row, Some(error)),
    };
    if let Ok(caches) = opened::global_of(global, table).and_then(|global| global.cache_folder()) {
        let place = Place::of(&caches, &config.path);
        row.state = place.read(name);
        row.running = place.runs(name);
    }
    let found = opened::open(global, table, Purpose::Backup, output).and_then(|repository| {
        let found = repository.snapshots()?;
        Ok((found.snapshots, found.damaged.len()))
    });
    match found {
        Ok((snapshots, damaged)) => {
            let now = host::now().seconds;
            row.snapshots = Some(0);
            let own = |snapshot: &&Snapshot| {
                snapshot.manifest.job.as_deref() == Some(name) && snapshot.manifest.host == row.host
            };
            let own: Vec<&Snapshot> = snapshots.iter().filter(own).collect();
            for snapshot in own {
                row.take(snapshot, now);
            }
            (row, unreadable(damaged))
        }
        Err(error) => (row, Some(error)),
    }
}

/// Snapshots that cannot be read may be the good ones, or marks of what was forgotten.
fn unreadable(damaged: usize) -> Option<Error> {
    let what = human::counted(damaged as u64, "snapshot");
    (damaged > 0).then(|| Error::corrupt(format!("{what} or marks of forgetting cannot be read")))
}

/// Each host, job and list of paths that a repository has snapshots of.
fn of_groups(global: &Global, max_age: Option<Duration>, output: &Output) -> Result<Vec<Row>> {
    let repository: Repository = global.open(output)?;
    let found = repository.snapshots()?;
    repository.tell_vanished(&found, output);
    let now = host::now().seconds;
    let mut rows: BTreeMap<Group, Row> = BTreeMap::new();
    for snapshot in &found.snapshots {
        let manifest = &snapshot.manifest;
        let paths: Vec<Vec<u8>> = manifest.paths.iter().map(|path| path.to_vec()).collect();
        let shown = paths.iter().map(|path| printable(path)).collect();
        let row = rows.entry((manifest.host.clone(), manifest.job.clone(), paths)).or_insert_with(|| Row {
            job: manifest.job.clone(),
            host: manifest.host.clone(),
            paths: Some(shown),
            max_age: max_age.unwrap_or(MAX_AGE).as_secs(),
            ..Row::default()
        });
        row.take(snapshot, now);
    }
    unreadable(found.damaged.len()).map_or_else(|| Ok(rows.into_values().collect()), Err)
}

fn tell(rows: &[Row], now: i64, output: &Output) -> Result<()> {
    if output.json {
        return rows.iter().try_for_each(|row| output.object(&object(row, now)));
    }
    if rows.is_empty() {
        output.line("there is no snapshot")?;
    }
    for row in rows.iter().filter(|row| !output.quiet || row.is_due(now)) {
        lines(row, now).iter().try_for_each(|line| output.line(line))?;
    }
    Ok(())
}

/// An age, such as `3 h` or `2 days`.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => human::counted(seconds, "second"),
        120..7200 => human::counted(seconds / 60, "minute"),
        7200..172_800 => human::counted(seconds / 3600, "hour"),
        _ => human::counted(seconds / 86_400, "day"),
    }
}

fn when(seconds: i64) -> String {
    human::local(Timestamp { seconds, nanoseconds: 0 })
}

fn lines(row: &Row, now: i64) -> Vec<String> {
    let short = |made: &Made| made.id.chars().take(8).collect::<String>();
    let state = match (row.snapshots, row.age(now)) {
        (None, _) => "the repository cannot be read".to_owned(),
        (_, None) => "DUE: there is no good snapshot".to_owned(),
        (_, Some(old)) if row.is_due(now) => {
            format!("DUE: the last good snapshot is {} old, and may be {}", age(old), age(row.max_age))
        }
        (_, Some(old)) => format!("good, {} old", age(old)),
    };
    let mut lines = vec![format!("{}: {state}", row.name())];
    if let Some(good) = &row.good {
        lines.push(format!("  last good snapshot: {}, {}", short(good), when(good.time)));
    }
    let last = row.last.as_ref().filter(|last| row.good.as_ref().is_none_or(|good| good.id != last.id));
    if let Some(last) = last {
        let problems = match last.problems {
            0 => "its checks did not pass".to_owned(),
            problems => human::counted(problems, "problem"),
        };
        lines.push(format!("  last snapshot:      {}, {}, {problems}", short(last), when(last.time)));
    }
    if let Some(state) = &row.state {
        let took = Duration::try_from_secs_f64(state.duration).unwrap_or_default();
        let ended = format!("exit code {}, in {}", state.exit_code, human::duration(took));
        lines.push(format!("  last run here:      {}, {ended}", when(state.started)));
    }
    lines.extend(row.running.then(|| "  it runs now".to_owned()));
    lines
}

fn object(row: &Row, now: i64) -> Value {
    let made = |made: &Made| {
        let time = human::utc(Timestamp { seconds: made.time, nanoseconds: 0 });
        json!({ "id": made.id, "time": time, "problems": made.problems })
    };
    let time = |seconds: i64| human::utc(Timestamp { seconds, nanoseconds: 0 });
    json!({
        "message_type": "status_of_job",
        "job": row.job,
        "hostname": row.host,
        "paths": row.paths,
        "due": row.is_due(now),
        "max_age": row.max_age,
        "age": row.age(now),
        "snapshots": row.snapshots,
        "last_snapshot": row.last.as_ref().map(made),
        "last_good_snapshot": row.good.as_ref().map(made),
        "running": row.running,
        "last_run": row.state.as_ref().map(|state| json!({
            "time": time(state.started),
            "duration": state.duration,
            "exit_code": state.exit_code,
            "problems": state.problems,
            "data_added_packed": state.bytes_added,
            "snapshot_id": state.snapshot,
            "last_success": state.succeeded.map(time),
        })),
    })
}
