//! Whether a snapshot would say anything that the one before does not.
//!
//! Invariant: a snapshot counts as the same only if it holds the same tree and proves the same: what was found to
//! be wrong, or right, about databases and a service is worth a snapshot of its own.

use crate::backend::ObjectKind;
use crate::error::Result;
use crate::format::snapshot::{DatabaseOutcome, DatabaseReport, Manifest};
use crate::id::Id;
use crate::repository::Repository;
use crate::repository::snapshot::Snapshot;

/// The snapshot that makes a new one needless.
pub(super) fn same_as(
    repository: &Repository,
    before: Option<&Snapshot>,
    manifest: &Manifest,
) -> Result<Option<Id>> {
    let Some(before) = before.filter(|before| says_the_same(&before.manifest, manifest)) else {
        return Ok(None);
    };
    // It may have been forgotten since the backup began; then there would be none at all.
    let forgotten = repository.list_ids(ObjectKind::Forgotten)?.contains(&before.id);
    let there = repository.list_ids(ObjectKind::Snapshot)?.contains(&before.id);
    Ok((there && !forgotten).then_some(before.id))
}

fn says_the_same(before: &Manifest, now: &Manifest) -> bool {
    (before.root, before.level) == (now.root, now.level)
        && outcomes(&before.databases).eq(outcomes(&now.databases))
        && before.service == now.service
        && before.statistics.problems == now.statistics.problems
}

/// Messages are not among them, for a database that did not change is not asked again.
fn outcomes(reports: &[DatabaseReport]) -> impl Iterator<Item = (&[u8], DatabaseOutcome)> {
    reports.iter().map(|report| (report.place.as_slice(), report.outcome))
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::format::node::Timestamp;
    use crate::format::snapshot::{ServiceReport, Statistics};

    fn manifest() -> Manifest {
        Manifest {
            time: Timestamp::default(),
            finished: Timestamp::default(),
            host: "host".into(),
            job: None,
            tags: Vec::new(),
            paths: Vec::new(),
            root: Id::default(),
            level: 0,
            sequence: 1,
            parent: None,
            excludes: Vec::new(),
            databases: vec![DatabaseReport {
                place: b"db".to_vec(),
                outcome: DatabaseOutcome::Checked,
                page_size: 4096,
                run_pages: 1,
                pages: 1,
                messages: vec!["not checked: t".into()],
            }],
            service: Some(ServiceReport {
                name: "vaultwarden".into(),
                origins: Vec::new(),
                schema: None,
                tables: Vec::new(),
                files_proved: 1,
                bytes_proved: 1,
                damaged: Vec::new(),
                orphans: Vec::new(),
                deleted_meanwhile: 0,
                being_uploaded: 0,
                whole: true,
                release: None,
            }),
            statistics: Statistics::default(),
            program: String::new(),
            extensions: None,
            original: None,
            dumps: None,
        }
    }

    type Change<'a> = &'a dyn Fn(&mut Manifest);

    #[test]
    fn what_is_proved_counts_as_much_as_what_is_stored() {
        let changes: [(&str, Change<'_>, bool); 7] = [
            ("nothing", &|_| {}, true),
            ("time and tags", &|now| (now.sequence, now.tags) = (2, vec!["x".into()]), true),
            ("messages", &|now| now.databases[0].messages.clear(), true),
            ("root", &|now| now.root = Id([1; 32]), false),
            ("a check", &|now| now.databases[0].outcome = DatabaseOutcome::FailedCheck, false),
            ("a proof", &|now| now.service.as_mut().unwrap().whole = false, false),
            ("a problem", &|now| now.statistics.problems = 1, false),
        ];
        for (what, change, same) in changes {
            let mut now = manifest();
            change(&mut now);
            assert_eq!(says_the_same(&manifest(), &now), same, "{what}");
            assert_eq!(says_the_same(&now, &manifest()), same, "{what}");
        }
    }
}
