//! One job from its lock to its last word.
//!
//! The order: `before`, the backup, `after-backup`, forget, prune, check, then `after` or `on-failure`. What stopped a service is
//! undone as soon as the backup is over.
//!
//! Invariants: a `before` that fails means no backup, and `after-backup` runs all the same: what was stopped must start again.
//! Nothing is forgotten after a backup that failed. Whatever fails is told once, and no later step hides it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::hook::{self, Variables};
use super::opened::{self, Purpose};
use super::ping::{self, Message};
use super::state::{Place, State};
use crate::cli::backup;
use crate::cli::config::{Checking, Config, Hook, Job, Pruning, Retention};
use crate::cli::exit;
use crate::cli::forget::refused;
use crate::cli::global::Global;
use crate::cli::output::Output;
use crate::cli::zone;
use crate::error::{Error, ErrorKind, Result};
use crate::interrupt::Interrupt;
use crate::operation::backup::Summary;
use crate::operation::check::{self, Subset};
use crate::operation::forget::{self, Choice, Lifted, Wanted};
use crate::operation::prune::{self, Limit};
use crate::report::{Damage, Finding, Progress, Reporter, Severity};
use crate::repository::cache::Cache;
use crate::repository::find::SnapshotFilter;
use crate::repository::{Repository, host};

/// So many problems are told again in the summary.
const TOLD_MAX: usize = 3;
/// How much may stay unused, unless the configuration says otherwise: hundredths of a per cent.
const MAX_UNUSED: Limit = Limit::Part(500);

/// What every job of a run shares.
pub(super) struct Run<'a> {
    pub(super) global: &'a Global,
    pub(super) config: &'a Config,
    pub(super) output: &'a Output,
    pub(super) interrupt: &'a Interrupt,
    pub(super) dry: bool,
}

/// What became of a job.
#[derive(Default)]
pub(super) struct Report {
    pub(super) job: String,
    pub(super) backup: Option<Summary>,
    /// Snapshots that were forgotten, and that stay.
    pub(super) forgotten: Option<(u64, u64)>,
    pub(super) pruned: Option<prune::Summary>,
    pub(super) checked: Option<check::Summary>,
    /// What failed: the step, and why.
    pub(super) failures: Vec<(String, Error)>,
    /// Problems found, and the first of them in words.
    pub(super) problems: u64,
    pub(super) told: Vec<String>,
    /// Whether something was done but not all of it.
    pub(super) incomplete: bool,
    pub(super) took: Duration,
}

impl Report {
    /// Its exit code.
    pub(super) fn code(&self) -> u8 {
        let failed = self.failures.iter().map(|(_, error)| exit::code(error.kind()));
        let incomplete = (self.incomplete || self.problems > 0).then_some(exit::INCOMPLETE);
        super::worst(failed.chain(incomplete))
    }

    fn failed(&mut self, step: &str, error: Error) {
        self.failures.push((step.to_owned(), exit::with_next_step(error)));
    }
}

/// Hands findings on, and counts them.
struct Counting<'a> {
    output: &'a Output,
    found: Mutex<(u64, Vec<String>)>,
}

impl Counting<'_> {
    fn count(&self, finding: &Finding) {
        if let (Severity::Problem, Ok(mut found)) = (finding.severity, self.found.lock()) {
            found.0 = found.0.saturating_add(1);
            if found.1.len() < TOLD_MAX {
                let subject = if finding.subject.is_empty() { "" } else { ": " };
                found.1.push(format!("{}{subject}{}", finding.subject, finding.cause));
            }
        }
    }
}

impl Reporter for Counting<'_> {
    fn report(&self, finding: Finding) {
        self.count(&finding);
        self.output.report(finding);
    }

    fn report_damage(&self, finding: Finding, damage: &Damage) {
        self.count(&finding);
        self.output.report_damage(finding, damage);
    }

    fn progress(&self) -> &Progress {
        self.output.progress()
    }
}

impl Run<'_> {
    /// Runs a job.
    pub(super) fn job(&self, name: &str, job: &Job) -> Report {
        let began = Instant::now();
        let started = host::now().seconds;
        let mut report = Report { job: name.to_owned(), ..Report::default() };
        let place = self.place(job);
        let lock = match place.as_ref().map(|place| place.lock(name)) {
            Some(Err(error)) if error.kind() == ErrorKind::Busy => {
                report.failed("start", error);
                return report;
            }
            Some(Err(error)) => {
                let cause = format!("job {name}: nothing keeps a second run of it away: {}", error.chain());
                self.output.warn(&cause, error.next_step());
                None
            }
            Some(Ok(lock)) => Some(lock),
            None => None,
        };
        if !self.dry {
            ping::tell(job.ping.as_ref(), name, Message::Start, self.output);
        }
        self.work(name, job, &mut report);
        report.took = began.elapsed();
        self.last_words(job, &mut report);
        if let Some(place) = place.filter(|_| !self.dry) {
            self.keep(&place, started, &report);
        }
        drop(lock);
        report
    }

    /// Where the state of a job is kept, if it can be.
    fn place(&self, job: &Job) -> Option<Place> {
        let (_, table) = self.config.repository(job).ok()?;
        let caches = opened::global_of(self.global, table).and_then(|global| global.cache_folder());
        caches.ok().map(|caches| Place::of(&caches, &self.config.path))
    }

    fn work(&self, name: &str, job: &Job, report: &mut Report) {
        let counting = Counting { output: self.output, found: Mutex::default() };
        let ready = self.hooks("before", &job.before, report, self.interrupt);
        if ready && let Err(error) = self.back_up(name, job, &counting, report) {
            report.failed("backup", error);
        }
        let problems = counting.found.lock().map(|found| found.0).unwrap_or_default();
        if let Some(summary) = &report.backup {
            let found = summary.statistics.problems.saturating_add(summary.packs_missing);
            report.problems = found.max(problems);
        }
        // Whoever interrupts a run wants an end in good order, and that is part of it.
        self.hooks("after-backup", &job.after_backup, report, &Interrupt::default());
        if report.failures.is_empty()
            && let Err((step, error)) = self.maintain(name, job, &counting, report)
        {
            report.failed(step, error);
        }
        if let Ok(found) = counting.found.into_inner() {
            report.told = found.1;
        }
    }

    fn back_up(&self, name: &str, job: &Job, counting: &Counting<'_>, report: &mut Report) -> Result<()> {
        self.interrupt.check()?;
        let (_, table) = self.config.repository(job)?;
        let global = opened::global_of(self.global, table)?;
        let repository = opened::open(self.global, table, Purpose::Backup, self.output)?;
        let cache = global.cache(&repository, self.output);
        let progress = self.output.start_progress("backing up");
        let store = (&repository, cache.as_ref());
        let summary = backup::job::run(&global, (name, job), store, self.dry, (self.output, counting));
        drop(progress);
        report.backup = Some(summary?);
        Ok(())
    }

    /// Forgets, prunes and checks as the configuration says.
    fn maintain(
        &self,
        name: &str,
        job: &Job,
        counting: &Counting<'_>,
        report: &mut Report,
    ) -> Result<(), (&'static str, Error)> {
        let (retention, pruning, checking) =
            (self.config.retention(job), self.config.pruning(job), self.config.checking(job));
        if retention.is_none() && pruning.is_none() && checking.is_none() {
            return Ok(());
        }
        let open = || {
            let (_, table) = self.config.repository(job)?;
            let global = opened::global_of(self.global, table)?;
            let repository = opened::open(self.global, table, Purpose::Maintain, self.output)?;
            let cache = global.cache(&repository, self.output);
            Ok((repository, cache))
        };
        let (repository, cache) = open().map_err(|error| ("maintenance", error))?;
        if let Some(retention) = retention {
            self.forget((name, job), retention, &repository, report).map_err(|error| ("forget", error))?;
        }
        if let Some(pruning) = pruning {
            self.prune(pruning, &repository, cache.as_ref(), counting, report)
                .map_err(|error| ("prune", error))?;
        }
        if let Some(checking) = checking.filter(|_| !self.dry) {
            self.check(checking, &repository, counting, report).map_err(|error| ("check", error))?;
        }
        Ok(())
    }

    fn forget(
        &self,
        (name, job): (&str, &Job),
        retention: &Retention,
        repository: &Repository,
        report: &mut Report,
    ) -> Result<()> {
        let found = repository.snapshots()?;
        repository.tell_vanished(&found, self.output);
        let choice = Choice {
            filter: SnapshotFilter {
                hosts: vec![job.host.clone().unwrap_or_else(host::name)],
                jobs: vec![name.to_owned()],
                ..SnapshotFilter::default()
            },
            group_by: retention.group_by.unwrap_or_default(),
            zone: retention.timezone.clone().unwrap_or_else(|| zone::of_system(self.output)),
            now: host::now(),
            unseen: found.unseen.clone(),
            lifted: Lifted::default(),
        };
        let plan = forget::plan(repository, &found, &Wanted::Rules(retention.policy()), &choice)?;
        let going = plan.going().len() as u64;
        let gone = if self.dry { going } else { forget::run(repository, &plan, self.interrupt)? };
        report.forgotten = Some((gone, plan.staying() as u64));
        refused(&plan).map_or(Ok(()), Err)
    }

    fn prune(
        &self,
        pruning: &Pruning,
        repository: &Repository,
        cache: Option<&Cache>,
        counting: &Counting<'_>,
        report: &mut Report,
    ) -> Result<()> {
        let options = prune::Options {
            dry_run: self.dry,
            max_unused: pruning.max_unused.unwrap_or(MAX_UNUSED),
            max_repack: pruning.max_repack_size,
            repack_small: pruning.repack_small,
            wait: false,
            allow_fewer_packs: false,
            host: host::name(),
            interrupt: self.interrupt.clone(),
        };
        let progress = self.output.start_progress("pruning");
        let summary = prune::run(repository, cache, &options, counting);
        drop(progress);
        let summary = summary?;
        report.incomplete |= summary.waits_again;
        if summary.waits_again {
            let cause = "packs wait for the end of the same sessions for the second time";
            counting.report(
                Finding::problem("prune", cause)
                    .with_hint("`strongroom unlock` shows whether a session is dead"),
            );
        }
        report.pruned = Some(summary);
        Ok(())
    }

    fn check(
        &self,
        checking: &Checking,
        repository: &Repository,
        counting: &Counting<'_>,
        report: &mut Report,
    ) -> Result<()> {
        let read = checking.read_data_subset.or(checking.read_data.then_some(Subset::All));
        let progress = self.output.start_progress("checking");
        let options = check::Options { read, now: host::now() };
        let summary = check::run_with(repository, &options, counting, self.interrupt);
        drop(progress);
        let summary = summary?;
        let problems = summary.problems;
        report.checked = Some(summary);
        if problems == 0 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Corrupt, format!("the repository is damaged: {problems} problems"))
            .hint("`strongroom check` tells what mends it"))
    }

    /// Runs the hooks of a step one after the other, up to the first that fails; says whether none did.
    fn hooks(&self, step: &'static str, hooks: &[Hook], report: &mut Report, interrupt: &Interrupt) -> bool {
        if self.dry {
            return true;
        }
        let keeps_on = step == "after-backup";
        let mut fine = true;
        for hook in hooks {
            match hook::run(hook, &self.variables(step, report), interrupt) {
                Ok(said) if !said.is_empty() => {
                    if self.output.verbose {
                        self.output.warn(&format!("job {}, {step}: {said}", report.job), None);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    fine = false;
                    report.failed(step, error);
                }
            }
            if !fine && !keeps_on {
                break;
            }
        }
        fine
    }

    /// What hooks are told.
    fn variables(&self, step: &str, report: &Report) -> Variables {
        let snapshot = report.backup.as_ref().and_then(|summary| summary.snapshot);
        vec![
            ("STRONGROOM_JOB", report.job.clone()),
            ("STRONGROOM_STEP", step.to_owned()),
            ("STRONGROOM_CONFIG", self.config.path.display().to_string()),
            ("STRONGROOM_SNAPSHOT", snapshot.map(|id| id.to_hex()).unwrap_or_default()),
            ("STRONGROOM_EXIT_CODE", report.code().to_string()),
            ("STRONGROOM_PROBLEMS", report.problems.to_string()),
            ("STRONGROOM_SUMMARY", super::summary::text(report, self.dry)),
        ]
    }

    /// Hooks and pings that tell how it ended.
    fn last_words(&self, job: &Job, report: &mut Report) {
        if self.dry {
            return;
        }
        // These are part of an end in good order, too.
        let interrupt = Interrupt::default();
        if report.code() == 0 {
            self.hooks("after", &job.after, report, &interrupt);
        }
        if report.code() != 0 {
            self.hooks("on-failure", &job.on_failure, report, &interrupt);
        }
        let words = super::summary::text(report, false);
        let message = if report.code() == 0 { Message::Success } else { Message::Failure(&words) };
        ping::tell(job.ping.as_ref(), &report.job, message, self.output);
    }

    fn keep(&self, place: &Place, started: i64, report: &Report) {
        let before = place.read(&report.job).and_then(|state| state.succeeded);
        let ended = host::now().seconds;
        let backup = report.backup.as_ref();
        let state = State {
            job: report.job.clone(),
            started,
            duration: report.took.as_secs_f64(),
            exit_code: report.code(),
            succeeded: if report.code() == 0 { Some(ended) } else { before },
            bytes_added: backup.map_or(0, |summary| summary.statistics.data_added_packed),
            problems: report.problems,
            snapshot: backup.and_then(|summary| summary.snapshot).map(|id| id.to_hex()),
        };
        if let Err(error) = place.keep(&state) {
            let cause = format!("job {}: how it ended is not kept: {}", report.job, error.chain());
            self.output.warn(&cause, error.next_step());
        }
    }
}
