//! A backup of a Vaultwarden: its database first, then its files, then the proof that they belong together.
//!
//! Invariant: what the proof says stands in the manifest, also where it is bad.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use minicbor::bytes::ByteVec;

use super::database::{self, TakenDatabase};
use super::dumps::Dumped;
use super::work::Work;
use crate::crypto::derive;
use crate::error::Result;
use crate::format::node::Node;
use crate::format::snapshot::{Damage, Origin, ServiceReport, TableRows};
use crate::id::Id;
use crate::report::{Finding, Reporter, Severity, printable};
use crate::repository::host;
use crate::service::vaultwarden::{
    self, Ask, Contents, DATABASE_PLACE, Database, Layout, LiveDatabase, Outcome, Proof,
};
use crate::source::files::Plan;
use crate::source::sqlite::{self, Copy, TakeError};

/// Most damaged files, and most orphans, that a manifest names: it must stay small whatever is found.
pub(super) const NAMED_MAX: usize = 1000;
/// What the service reads beside its database and the files that its rows name, which are proved on their own:
/// to exclude one of them is a problem.
const NEEDED: [&str; 7] =
    [".env", "config.json", "rsa_key.pem", "rsa_key.pub.pem", "rsa_key.der", "rsa_key.pub.der", "templates"];
/// How long the second question to the live database waits after the first.
const PAUSE: Duration = Duration::from_secs(2);

/// A database that was looked at before the walk.
pub(super) enum PreparedDatabase {
    /// It is as the previous snapshot has it, and all of that is stored.
    Unchanged(Box<Node>),
    /// It was copied, or could not be.
    Taken(std::result::Result<TakenDatabase, TakeError>),
}

/// A Vaultwarden about to be stored.
pub(super) struct Vaultwarden {
    layout: Layout,
    contents: Option<Contents>,
    copied_at: i64,
    /// Where a server's dump of its database lies in the snapshot.
    dump: Option<Vec<u8>>,
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
    for place in NEEDED {
        plan.need(place.as_bytes());
    }
    for pattern in &layout.left_out_patterns {
        plan.leave_out_matching(b"", pattern)?;
    }
    Ok(plan)
}

/// Gives the node that the previous snapshot has at a place, where its database had this fingerprint, passed its
/// check, and is still stored.
pub(super) type Unchanged<'a> = dyn Fn(&[u8], Id) -> Option<Box<Node>> + 'a;

/// Takes the database, before any file, unless it did not change since it was last taken, and finds out what
/// else must be there.
pub(super) fn prepare(
    work: &Work<'_>,
    layout: Layout,
    with_sends: bool,
    unchanged: &Unchanged<'_>,
    dumped: &Dumped,
) -> Prepared {
    let Database::Sqlite(file) = &layout.database else {
        return prepare_dumped(layout, with_sends, dumped, work.reporter);
    };
    let copied_at = host::now().seconds;
    let (contents, database) = if let Some((contents, node)) = recall(work, file, unchanged) {
        (Some(contents), PreparedDatabase::Unchanged(node))
    } else {
        let taken = database::take(file, &work.scratch, &work.options.sqlite, work.reporter);
        let contents = taken.as_ref().ok().and_then(|taken| contents_of(work, file, &taken.copy));
        (contents, PreparedDatabase::Taken(taken))
    };
    let proof = contents.as_ref().map(|contents| Proof::new(contents, with_sends));
    let service = Vaultwarden { layout, contents, copied_at, dump: None };
    let databases = HashMap::from([(DATABASE_PLACE.as_bytes().to_vec(), database)]);
    Prepared { service, proof, databases }
}

/// Finds out what must be there from what the server answered while its dump was taken.
fn prepare_dumped(layout: Layout, with_sends: bool, dumped: &Dumped, reporter: &dyn Reporter) -> Prepared {
    let contents = dumped.answered.as_ref().and_then(|answered| {
        // As the clients name them: with the schema before them.
        let plain = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        let tables = answered.tables.iter().map(|(name, rows)| (plain(name), *rows)).collect();
        match vaultwarden::from_answers(tables, &answered.answers) {
            Ok(contents) => Some(contents),
            Err(error) => {
                reporter.report(Finding::warning(layout.database.shown(), error.chain()));
                None
            }
        }
    });
    let proof = contents.as_ref().map(|contents| Proof::new(contents, with_sends));
    let dump = dumped.answered.as_ref().map(|answered| answered.place.clone());
    let service = Vaultwarden { layout, contents, copied_at: dumped.began, dump };
    Prepared { service, proof, databases: HashMap::new() }
}

/// What an unchanged database held, and its node in the previous snapshot.
fn recall(work: &Work<'_>, database: &Path, unchanged: &Unchanged<'_>) -> Option<(Contents, Box<Node>)> {
    let note = work.cache?.note(work.repository, &note_name(database))?;
    // A database that cannot be looked at is taken, and taking it says what is wrong.
    let fingerprint = sqlite::fingerprint(database).ok()?;
    let contents = vaultwarden::recall(&note, &fingerprint).ok()??;
    Some((contents, unchanged(DATABASE_PLACE.as_bytes(), fingerprint)?))
}

/// Reads what must be there from a copy, and remembers it for the time when the database did not change.
fn contents_of(work: &Work<'_>, database: &Path, copy: &Copy) -> Option<Contents> {
    let name = printable(database.as_os_str().as_bytes());
    let contents = match copy.connect().and_then(|connection| vaultwarden::read(&connection)) {
        Ok(contents) => contents,
        Err(error) => {
            let cause = format!("the copy cannot be read as a Vaultwarden's: {}", error.chain());
            work.reporter.report(Finding::warning(&name, cause));
            return None;
        }
    };
    let cache = work.cache.filter(|_| !work.options.dry_run);
    let kept = cache.zip(vaultwarden::remember(copy.fingerprint(), &contents).ok().flatten());
    if let Some((cache, note)) = kept
        && let Err(error) = cache.keep_note(work.repository, &note_name(database), &note)
    {
        let cause = format!("cannot remember the database for the next backup: {}", error.chain());
        work.reporter.report(Finding::warning("the cache", cause));
    }
    Some(contents)
}

/// Where the cache keeps what a database held.
fn note_name(database: &Path) -> Id {
    derive::hash(&[b"vaultwarden\0", database.as_os_str().as_bytes()].concat())
}

impl Vaultwarden {
    /// Finishes the proof; reports what it found, and gives what the manifest keeps and the number of problems.
    pub(super) fn report(
        &self,
        proof: Option<Proof>,
        other_problems: u64,
        is_no_upload: &dyn Fn(&[u8]) -> bool,
        ask: &Ask<'_>,
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
            release: None,
        };
        let (Some(contents), Some(proof)) = (&self.contents, proof) else {
            reporter.report(Finding::problem(
                self.layout.database.shown(),
                "without a readable copy of the database nothing proves that the attachments are complete",
            ));
            return (report, 1);
        };
        reporter.progress().set_stage("proving that every attachment is there");
        let layout = &self.layout;
        let host_of = |place: &[u8]| layout.host_of(place);
        let mut live = match &layout.database {
            Database::Sqlite(file) => LiveDatabase::new(file, host_of, is_no_upload, PAUSE),
            Database::Server { .. } => LiveDatabase::of_server(ask, host_of, is_no_upload, PAUSE),
        };
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

    /// Where on the host a place of the snapshot lies.
    pub(super) fn host_of(&self, place: &[u8]) -> PathBuf {
        self.layout.host_of(place)
    }

    fn origins(&self) -> Vec<Origin> {
        let origin = |setting: &str, value: &str, place: &[u8], host: &Path| Origin {
            setting: setting.to_owned(),
            value: value.to_owned(),
            place: place.to_vec(),
            host_path: host.as_os_str().as_bytes().to_vec(),
        };
        let mut origins = vec![origin("DATA_FOLDER", "", b"", &self.layout.data_folder)];
        if let Some(place) = &self.dump {
            origins.push(origin("DATABASE_URL", &self.layout.database.shown(), place, Path::new("")));
        }
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
