//! A backup of a Vaultwarden: its database first, then its files, then the proof that they belong together.
//!
//! Invariant: what the proof says stands in the manifest, also where it is bad.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use minicbor::bytes::ByteVec;

use super::database::LazyScratch;
use crate::error::Result;
use crate::format::snapshot::{Damage, Origin, ServiceReport, TableRows};
use crate::report::{Finding, Reporter, Severity, printable};
use crate::repository::host;
use crate::service::vaultwarden::{self, Contents, DATABASE_PLACE, Layout, LiveDatabase, Outcome, Proof};
use crate::source::files::Plan;
use crate::source::sqlite::{self, Copy, TakeError};

/// Most damaged files, and most orphans, that a manifest names: it must stay small whatever is found.
const NAMED_MAX: usize = 1000;
/// How long the second question to the live database waits after the first.
const PAUSE: Duration = Duration::from_secs(2);

/// A database that was taken before the walk.
pub(super) struct PreparedDatabase {
    pub(super) taken: std::result::Result<Copy, TakeError>,
}

/// A Vaultwarden about to be stored.
pub(super) struct Vaultwarden {
    layout: Layout,
    contents: Option<Contents>,
    copied_at: i64,
}

/// What is known before the walk.
pub(super) struct Prepared {
    pub(super) service: Vaultwarden,
    pub(super) proof: Option<Proof>,
    pub(super) databases: HashMap<Vec<u8>, PreparedDatabase>,
}

/// The plan for a walk through everything that a layout names.
pub fn plan(layout: &Layout) -> Result<Plan> {
    let mut plan = Plan::new();
    plan.map(b"", &layout.data_folder)?;
    for item in &layout.items {
        plan.map(&item.place, &item.host)?;
    }
    for place in &layout.left_out {
        plan.leave_out(place);
    }
    // The server goes on working; the proof says what must be there.
    for place in [&b"attachments"[..], b"sends"] {
        plan.expect_vanishing(place);
    }
    for pattern in &layout.left_out_patterns {
        plan.leave_out_matching(b"", pattern)?;
    }
    Ok(plan)
}

/// Takes the database, before any file, and reads from the copy what else must be there.
pub(super) fn prepare(
    layout: Layout,
    with_sends: bool,
    scratch: &LazyScratch,
    options: &sqlite::Options,
    reporter: &dyn Reporter,
) -> Prepared {
    let name = printable(layout.database.as_os_str().as_bytes());
    let progress = reporter.progress();
    let copied_at = host::now().seconds;
    let taken = scratch.get().and_then(|scratch| {
        sqlite::take(&layout.database, scratch, options, &mut |done, total| {
            progress.set_stage(format!("copying {name}: page {done} of {total}"));
        })
    });
    progress.set_stage("");
    let contents = taken.as_ref().ok().and_then(|copy| match read_contents(copy) {
        Ok(contents) => Some(contents),
        Err(error) => {
            let cause = format!("the copy cannot be read as a Vaultwarden's: {}", error.chain());
            reporter.report(Finding::warning(&name, cause));
            None
        }
    });
    let proof = contents.as_ref().map(|contents| Proof::new(contents, with_sends));
    let service = Vaultwarden { layout, contents, copied_at };
    let databases = HashMap::from([(DATABASE_PLACE.as_bytes().to_vec(), PreparedDatabase { taken })]);
    Prepared { service, proof, databases }
}

fn read_contents(copy: &Copy) -> Result<Contents> {
    vaultwarden::read(&copy.connect()?)
}

impl Vaultwarden {
    /// Finishes the proof; reports what it found, and gives what the manifest keeps and the number of problems.
    pub(super) fn report(
        &self,
        proof: Option<Proof>,
        other_problems: u64,
        reporter: &dyn Reporter,
    ) -> (ServiceReport, u64) {
        let mut report = ServiceReport {
            name: "vaultwarden".to_owned(),
            origins: self.origins(),
            schema: None,
            tables: Vec::new(),
            files_proved: 0,
            bytes_proved: 0,
            damaged: Vec::new(),
            orphans: Vec::new(),
            deleted_meanwhile: 0,
            being_uploaded: 0,
            whole: false,
        };
        let (Some(contents), Some(proof)) = (&self.contents, proof) else {
            let database = printable(self.layout.database.as_os_str().as_bytes());
            reporter.report(Finding::problem(
                database,
                "without a readable copy of the database nothing proves that the attachments are complete",
            ));
            return (report, 1);
        };
        reporter.progress().set_stage("proving that every attachment is there");
        let layout = &self.layout;
        let mut live = LiveDatabase::new(&layout.database, |place: &[u8]| layout.host_of(place), PAUSE);
        let outcome = proof.finish(&mut live, self.copied_at, host::now().seconds);
        reporter.progress().set_stage("");
        let mut problems = 0u64;
        for finding in contents.findings.iter().cloned().chain(outcome.findings()) {
            problems = problems.saturating_add(u64::from(finding.severity == Severity::Problem));
            reporter.report(finding);
        }
        report.schema.clone_from(&contents.schema_version);
        report.tables = contents
            .tables
            .iter()
            .map(|(table, rows)| TableRows { table: table.clone(), rows: *rows })
            .collect();
        fill(&mut report, &outcome);
        report.whole = outcome.whole() && other_problems == 0 && problems == 0;
        (report, problems)
    }

    fn origins(&self) -> Vec<Origin> {
        let origin = |setting: &str, value: &str, place: &[u8], host: &Path| Origin {
            setting: setting.to_owned(),
            value: value.to_owned(),
            place: place.to_vec(),
            host_path: host.as_os_str().as_bytes().to_vec(),
        };
        let mut origins = vec![origin("DATA_FOLDER", "", b"", &self.layout.data_folder)];
        origins.extend(
            self.layout.items.iter().map(|item| origin(&item.setting, &item.origin, &item.place, &item.host)),
        );
        origins
    }
}

fn fill(report: &mut ServiceReport, outcome: &Outcome) {
    report.files_proved = outcome.attachments.checked.saturating_add(outcome.sends.checked);
    report.bytes_proved = outcome.attachments.bytes.saturating_add(outcome.sends.bytes);
    let damage =
        |place: &[u8], expected: u64, found: Option<u64>| Damage { place: place.to_vec(), expected, found };
    report.damaged.extend(outcome.missing.iter().map(|row| damage(&row.place, row.size, None)));
    report.damaged.extend(outcome.not_stored.iter().map(|row| damage(&row.place, row.size, None)));
    report
        .damaged
        .extend(outcome.wrong_size.iter().map(|(row, found)| damage(&row.place, row.size, Some(*found))));
    report.damaged.sort_by(|one, other| one.place.cmp(&other.place));
    report.damaged.truncate(NAMED_MAX);
    report.orphans =
        outcome.orphans.iter().take(NAMED_MAX).map(|place| ByteVec::from(place.clone())).collect();
    report.deleted_meanwhile = outcome.deleted_meanwhile.len() as u64;
    report.being_uploaded = outcome.uploading.len() as u64;
}
