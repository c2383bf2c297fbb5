//! A backup of an authentik: its database first, then its files, then the proof that they belong together.
//!
//! Invariant: what the proof says stands in the manifest, also where it is bad.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use minicbor::bytes::ByteVec;

use super::dumps::Dumped;
use super::vaultwarden::NAMED_MAX;
use crate::error::Result;
use crate::format::snapshot::{Damage, DumpKind, Origin, ServiceReport, TableRows};
use crate::report::{Finding, Reporter, Severity, printable};
use crate::service::authentik::{self, Ask, Contents, Layout, Proof, Release};
use crate::source::files::Plan;

/// An authentik about to be stored.
pub(super) struct Authentik {
    layout: Layout,
    contents: Option<Contents>,
    /// Where the dump of its database lies in the snapshot, and that of its Redis.
    dumps: Vec<(&'static str, Vec<u8>)>,
    /// Where uploaded files may lie in the snapshot.
    media: Vec<Vec<u8>>,
}

/// The plan for a walk through everything that a layout names.
///
/// # Errors
/// Where a path cannot stand in a snapshot.
pub fn plan(layout: &Layout) -> Result<Plan> {
    let mut plan = Plan::new();
    for item in &layout.items {
        plan.add_listed_path(&item.path)?;
        // A link is stored as one, and so is what it leads to.
        if let Some(target) = item.path.canonicalize().ok().filter(|target| *target != item.path) {
            plan.add_listed_path(&target)?;
        }
        plan.need(place(&item.path));
    }
    Ok(plan)
}

fn place(path: &Path) -> &[u8] {
    let bytes = path.as_os_str().as_bytes();
    bytes.strip_prefix(b"/").unwrap_or(bytes)
}

/// Finds out what must be there from what the server answered while its dump was taken.
pub(super) fn prepare(
    layout: Layout,
    dumped: &Dumped,
    reporter: &dyn Reporter,
) -> (Authentik, Option<Proof>) {
    let contents = dumped.answered.as_ref().and_then(|answered| {
        match authentik::from_answers(answered.tables.clone(), &answered.answers) {
            Ok(contents) => Some(contents),
            Err(error) => {
                let finding = Finding::warning("authentik's database", error.chain());
                reporter.report(match error.next_step() {
                    Some(hint) => finding.with_hint(hint),
                    None => finding,
                });
                None
            }
        }
    });
    let media: &[_] = if layout.external.is_some() { &[] } else { &layout.media };
    let media = authentik::places(media);
    let proof = contents.as_ref().map(|contents| Proof::new(contents, media.clone()));
    let dumps = dumped.reports.iter().filter_map(|report| match report.kind {
        DumpKind::Postgres => Some(("AUTHENTIK_POSTGRESQL__NAME", report.place.clone())),
        DumpKind::Redis => Some(("AUTHENTIK_REDIS__HOST", report.place.clone())),
        _ => None,
    });
    let dumps = dumps.collect();
    (Authentik { layout, contents, dumps, media }, proof)
}

impl Authentik {
    /// Finishes the proof; reports what it found, and gives what the manifest keeps and the number of problems.
    pub(super) fn report(
        &self,
        proof: Option<Proof>,
        other_problems: u64,
        ask: &Ask<'_>,
        reporter: &dyn Reporter,
    ) -> (ServiceReport, u64) {
        let mut report = ServiceReport {
            name: authentik::NAME.to_owned(),
            origins: self.origins(),
            schema: None,
            tables: Vec::new(),
            files_proved: 0,
            bytes_proved: 0,
            damaged: Vec::new(),
            orphans: Vec::<ByteVec>::new(),
            deleted_meanwhile: 0,
            being_uploaded: 0,
            whole: false,
            release: self.release(reporter),
        };
        let (Some(contents), Some(proof)) = (&self.contents, proof) else {
            let cause =
                "without a readable dump of authentik's database nothing proves that its files are complete";
            reporter.report(Finding::problem(printable(self.layout.folder.as_os_str().as_bytes()), cause));
            return (report, 1);
        };
        report.schema.clone_from(&contents.schema);
        let tables = contents.tables.iter();
        report.tables = tables.map(|(table, rows)| TableRows { table: table.clone(), rows: *rows }).collect();
        let mut findings = contents.findings.clone();
        // Nobody here sees what is kept elsewhere: neither proved nor damaged.
        let unseen = self.layout.external.is_some() && proof.expects_files();
        if self.layout.external.is_none() {
            reporter.progress().set_stage("proving that every uploaded file is there");
            let outcome = proof.finish(ask);
            reporter.progress().set_stage("");
            report.files_proved = outcome.proved;
            report.bytes_proved = outcome.bytes;
            report.deleted_meanwhile = outcome.deleted_meanwhile;
            let damaged = outcome.missing.into_iter().take(NAMED_MAX);
            report.damaged = damaged.map(|place| Damage { place, expected: 0, found: None }).collect();
            findings.extend(outcome.findings);
        }
        let mut problems = 0u64;
        for finding in findings {
            problems = problems.saturating_add(u64::from(finding.severity == Severity::Problem));
            reporter.report(finding);
        }
        report.whole = !unseen && report.damaged.is_empty() && other_problems == 0 && problems == 0;
        (report, problems)
    }

    /// The release whose tables these are: the one that last ran, and else the one that the image's tag names.
    fn release(&self, reporter: &dyn Reporter) -> Option<String> {
        let tag = self.layout.tag.as_deref();
        let ran = self.contents.as_ref().and_then(|contents| contents.release.as_deref());
        if let (Some(named), Some(last)) = (tag.and_then(Release::parse), ran.and_then(Release::parse))
            && authentik::refusal(ran, tag).is_some()
        {
            let cause =
                format!("the image's tag is {named}, and the release that last used the database is {last}");
            let hint =
                "start the service, so that both are the same; the snapshot counts as one of the latter";
            reporter.report(Finding::warning("authentik's release", cause).with_hint(hint));
        }
        ran.or(tag).map(str::to_owned)
    }

    fn origins(&self) -> Vec<Origin> {
        let origin = |setting: &str, value: &str, place: &[u8], host: &[u8]| Origin {
            setting: setting.to_owned(),
            value: value.to_owned(),
            place: place.to_vec(),
            host_path: host.to_vec(),
        };
        let folder = &self.layout.folder;
        let mut origins = vec![origin("compose folder", "", place(folder), folder.as_os_str().as_bytes())];
        if let Some(tag) = &self.layout.tag {
            origins.push(origin("AUTHENTIK_TAG", tag, b"", b""));
        }
        if let Some(external) = &self.layout.external {
            origins.push(origin(&external.setting, &external.value, b"", b""));
        }
        for (setting, dump) in &self.dumps {
            origins.push(origin(setting, "", dump, b""));
        }
        for item in &self.layout.items {
            origins.push(origin(&item.setting, "", place(&item.path), item.path.as_os_str().as_bytes()));
        }
        for media in &self.media {
            origins.push(origin(authentik::UPLOADS, "", media, &[b"/", media.as_slice()].concat()));
        }
        origins
    }
}
