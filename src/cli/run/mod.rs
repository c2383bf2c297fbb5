//! `strongroom run`: the jobs of the configuration, one after the other.
//!
//! Invariants: what becomes of one job stops no other; only a wish to stop does. The exit code is that of the worst, in the
//! order of [`WORST_FIRST`].

mod hook;
mod job;
pub(super) mod opened;
mod ping;
pub(super) mod state;
mod summary;

use serde_json::json;

use super::config::ConfigFile;
use super::exit::{self, Outcome};
use super::global::Global;
use super::output::{Output, human};
use super::status;
use crate::error::Result;
use job::{Report, Run};

/// Exit codes, the worst first.
const WORST_FIRST: [u8; 6] =
    [exit::INTERRUPTED, exit::FAILED, exit::WRONG_KEY, exit::NO_REPOSITORY, exit::BUSY, exit::INCOMPLETE];

/// Arguments of `run`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  strongroom run --dry-run\n  strongroom -q run\n  strongroom run vault --config ./strongroom.toml\n\n\
    Every job runs in the order of the file: hooks, backup, forget, prune and check, as the configuration\n\
    says. What becomes of one stops no other. In the end a summary is printed; with -q only if something\n\
    is wrong, so that cron sends a mail only then. The exit code is that of the worst job: 130 before 1,\n\
    12, 10, 11, 3 and 0. A job that runs already is left alone, which is 11."
)]
pub(super) struct Arguments {
    /// The jobs to run; all of them if none is named
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    #[command(flatten)]
    config: ConfigFile,
    /// Store and forget nothing, run no hook, tell no monitor; tell what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// The worst of some exit codes.
pub(super) fn worst(codes: impl Iterator<Item = u8>) -> u8 {
    let rank = |code: u8| WORST_FIRST.iter().position(|worst| *worst == code).unwrap_or(WORST_FIRST.len());
    codes.min_by_key(|code| rank(*code)).unwrap_or(0)
}

pub(super) fn run(global: &Global, arguments: &Arguments, output: &Output) -> Result<Outcome> {
    global.refuse_repository()?;
    let config = arguments.config.read()?;
    let jobs = config.jobs(&arguments.jobs)?;
    let interrupt = output.signals.in_good_order();
    let run = Run { global, config: &config, output, interrupt: &interrupt, dry: arguments.dry_run };
    let mut reports: Vec<Report> = Vec::new();
    let mut left = jobs.len();
    for (name, job) in jobs {
        if interrupt.requested() {
            break;
        }
        left = left.saturating_sub(1);
        let report = run.job(name, job);
        if output.json {
            output.object(&summary::object(&report))?;
        }
        reports.push(report);
    }
    let interrupted = interrupt.requested().then_some(exit::INTERRUPTED);
    let code = worst(reports.iter().map(Report::code).chain(interrupted));
    tell(&reports, left, code, arguments.dry_run, output)?;
    if let Some(path) = config.file.metrics.as_ref().filter(|_| !arguments.dry_run)
        && let Err(error) = status::write_metrics(global, &config, path, output)
    {
        output.warn(&format!("the metrics are not written: {}", error.chain()), error.next_step());
    }
    Ok(if code == 0 { Outcome::Done } else { Outcome::Ended(code) })
}

/// Tells what became of all, what failed first.
fn tell(reports: &[Report], left: usize, code: u8, dry_run: bool, output: &Output) -> Result<()> {
    if output.json {
        return output.object(&json!({
            "message_type": "summary",
            "dry_run": dry_run,
            "exit_code": code,
            "jobs": reports.len(),
            "jobs_failed": reports.iter().filter(|report| !matches!(report.code(), 0 | exit::INCOMPLETE)).count(),
            "jobs_with_problems": reports.iter().filter(|report| report.code() == exit::INCOMPLETE).count(),
            "jobs_not_run": left,
        }));
    }
    if output.quiet && code == 0 {
        return Ok(());
    }
    let rank = |report: &&Report| {
        WORST_FIRST.iter().position(|worst| *worst == report.code()).unwrap_or(WORST_FIRST.len())
    };
    let mut sorted: Vec<&Report> = reports.iter().collect();
    sorted.sort_by_key(rank);
    for report in sorted {
        output.line(&summary::text(report, dry_run))?;
    }
    let done = reports.iter().filter(|report| report.code() == 0).count();
    let all = reports.len().saturating_add(left);
    let jobs = human::counted(all as u64, "job");
    let code = if code == 0 { String::new() } else { format!("; exit code {code}") };
    output.line(&format!("{done} of {jobs} done{code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_exit_code_counts() {
        for (codes, expected) in [
            (&[][..], 0),
            (&[0, 0], 0),
            (&[0, 3], 3),
            (&[3, 11, 0], 11),
            (&[10, 1, 12], 1),
            (&[1, 130], 130),
            (&[10, 12], 12),
        ] {
            assert_eq!(worst(codes.iter().copied()), expected, "{codes:?}");
        }
    }
}
