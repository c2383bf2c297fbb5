//! What the proof of a snapshot is still worth once files are taken out of it.
//!
//! Invariant: a report never claims a file that is gone. Where it is not sure that nothing needed it, the report is
//! no longer whole.

use crate::format::path;
use crate::format::snapshot::{Damage, ServiceReport};

/// Folders of which each file is needed by a row of the database, but for those that the report calls orphans.
const PROVED: [&[u8]; 2] = [b"attachments", b"sends"];
/// What is not needed: Vaultwarden makes it again.
const NOT_NEEDED: [&[u8]; 2] = [b"icon_cache", b"tmp"];
/// How many damaged files a report names.
const NAMED_MAX: usize = 1000;

/// Takes a file that is gone out of a report; `was_lost` says that nobody chose it.
pub fn take_out(report: &mut ServiceReport, place: &[u8], size: u64, was_lost: bool) {
    if report.name != "vaultwarden" {
        // Which files another service's rows name is not in its report.
        report.whole = false;
        return;
    }
    let orphans = report.orphans.len();
    report.orphans.retain(|orphan| orphan.as_slice() != place);
    let was_orphan = report.orphans.len() < orphans;
    if was_lost || !was_orphan && !lies_in(place, &NOT_NEEDED) {
        report.whole = false;
    }
    if was_orphan || !lies_in(place, &PROVED) {
        return;
    }
    if let Err(at) = report.damaged.binary_search_by(|damage| damage.place.as_slice().cmp(place)) {
        report.files_proved = report.files_proved.saturating_sub(1);
        report.bytes_proved = report.bytes_proved.saturating_sub(size);
        if report.damaged.len() < NAMED_MAX {
            report.damaged.insert(at, Damage { place: place.to_vec(), expected: size, found: None });
        }
    }
}

fn lies_in(place: &[u8], folders: &[&[u8]]) -> bool {
    folders.iter().any(|folder| path::is_below(place, folder))
}

#[cfg(test)]
mod tests {

    use minicbor::bytes::ByteVec;

    use super::*;

    fn report() -> ServiceReport {
        ServiceReport {
            name: "vaultwarden".into(),
            origins: Vec::new(),
            schema: None,
            tables: Vec::new(),
            files_proved: 3,
            bytes_proved: 30,
            damaged: Vec::new(),
            orphans: vec![ByteVec::from(b"attachments/x/orphan".to_vec())],
            deleted_meanwhile: 0,
            being_uploaded: 0,
            whole: true,
            release: None,
        }
    }

    #[test]
    fn what_is_gone_is_not_claimed() {
        // Place, whether it was lost; then whole, proved, damaged, orphans.
        for (place, was_lost, expected) in [
            ("attachments/a/b", false, (false, 2, 1, 1)),
            ("sends/a/b", true, (false, 2, 1, 1)),
            ("attachments/x/orphan", false, (true, 3, 0, 0)),
            ("attachments/x/orphan", true, (false, 3, 0, 0)),
            ("icon_cache/a.png", false, (true, 3, 0, 1)),
            ("icon_cache/a.png", true, (false, 3, 0, 1)),
            ("db.sqlite3", false, (false, 3, 0, 1)),
            ("attachments-old/a", false, (false, 3, 0, 1)),
        ] {
            let mut report = report();
            take_out(&mut report, place.as_bytes(), 10, was_lost);
            let ServiceReport { whole, files_proved, damaged, orphans, .. } = &report;
            assert_eq!((*whole, *files_proved, damaged.len(), orphans.len()), expected, "{place} {was_lost}");
            assert_eq!(report.bytes_proved, files_proved * 10);
        }
    }
}
