//! A job of the configuration as a backup: the same options, and the same ways from there on.

use super::databases::{Databases, Words};
use super::{Arguments, Selection, Streams, authentik, options, servers, warn_of_repository_inside};
use crate::cli::config::Job;
use crate::cli::global::Global;
use crate::cli::output::Output;
use crate::error::Result;
use crate::operation::backup::{self, ParentChoice, Summary};
use crate::report::Reporter;
use crate::repository::Repository;
use crate::repository::cache::Cache;

/// How long a database that somebody has locked is waited for, in seconds, unless the job says otherwise.
const LOCK_TIMEOUT: u64 = 30;

/// What runs Docker Compose, unless the job says otherwise.
const DOCKER_COMPOSE: [&str; 2] = ["docker", "compose"];

/// Backs up what a job names.
pub(in crate::cli) fn run(
    global: &Global,
    (name, job): (&str, &Job),
    (repository, cache): (&Repository, Option<&Cache>),
    dry_run: bool,
    (output, reporter): (&Output, &dyn Reporter),
) -> Result<Summary> {
    let options = of_job(name, job, dry_run, (output, reporter))?;
    warn_of_repository_inside(global, &options, output);
    backup::run(repository, cache, &options, reporter)
}

/// What a job backs up, and how.
pub(in crate::cli) fn of_job(
    name: &str,
    job: &Job,
    dry_run: bool,
    (output, reporter): (&Output, &dyn Reporter),
) -> Result<backup::Options> {
    let arguments = arguments(job, dry_run);
    let authentik = authentik(&arguments, reporter)?;
    let servers = match &authentik {
        Some(layout) => servers::of_job_of_authentik(job, layout, &arguments.of_authentik(), output)?,
        None => servers::of_job(job, output)?,
    };
    let mut options = options(&arguments, (servers, authentik), ParentChoice::Newest, (output, reporter))?;
    options.job = Some(name.to_owned());
    Ok(options)
}

fn arguments(job: &Job, dry_run: bool) -> Arguments {
    Arguments {
        paths: job.paths.clone(),
        stream: Streams::default(),
        databases: Databases::of_job(&job.prefix),
        vaultwarden: job.vaultwarden.clone(),
        authentik: job.authentik.clone(),
        compose: Words(job.compose.clone().unwrap_or_else(|| DOCKER_COMPOSE.map(str::to_owned).to_vec())),
        no_redis: job.no_redis,
        without_transient: job.without_transient,
        env_file: job.env_file.clone(),
        path_map: job.map.clone(),
        no_sends: job.no_sends,
        with_icon_cache: job.with_icon_cache,
        with_tmp: job.with_tmp,
        with_built_in_backups: job.with_built_in_backups,
        selection: selection(job),
        tag: job.tags.clone(),
        host: job.host.clone(),
        time: None,
        temporary_folder: job.temporary_folder.clone(),
        no_sqlite: job.no_sqlite,
        force: false,
        parent: None,
        skip_if_unchanged: job.skip_if_unchanged,
        accept_smaller_dump: job.accept_smaller_dump,
        lock_timeout: job.lock_timeout.unwrap_or(LOCK_TIMEOUT),
        dry_run,
    }
}

fn selection(job: &Job) -> Selection {
    Selection {
        exclude: job.exclude.clone(),
        iexclude: job.iexclude.clone(),
        exclude_file: job.exclude_file.clone(),
        iexclude_file: job.iexclude_file.clone(),
        exclude_caches: job.exclude_caches,
        exclude_if_present: job.exclude_if_present.clone(),
        exclude_larger_than: job.exclude_larger_than,
        one_file_system: job.one_file_system,
        files_from: job.files_from.clone(),
        files_from_verbatim: job.files_from_verbatim.clone(),
        files_from_raw: job.files_from_raw.clone(),
    }
}
