//! Retention: the calendar against a naive model, examples, and forged history.
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "made-up times are small")]

mod beside;
mod calendar;
mod examples;
mod forged;

use jiff::tz::TimeZone;
use minicbor::bytes::ByteVec;

use super::{Choice, Fate, Group, GroupBy, Lifted};
use crate::format::key_slot::Role;
use crate::format::node::Timestamp;
use crate::format::snapshot::Manifest;
use crate::format::tests::Random;
use crate::id::Id;
use crate::repository::snapshot::Snapshot;

/// A snapshot of a key that the byte stands for, begun and finished at these seconds.
fn snapshot(id: u64, key: u8, number: u64, begun: i64, finished: i64) -> Snapshot {
    let at = |seconds| Timestamp { seconds, nanoseconds: 0 };
    let mut name = [0; 32];
    name[..8].copy_from_slice(&id.to_le_bytes());
    let manifest = Manifest {
        time: at(begun),
        finished: at(finished),
        host: "server".into(),
        job: None,
        tags: Vec::new(),
        paths: vec![ByteVec::from(b"/data".to_vec())],
        sequence: number,
        service: None,
        ..crate::format::tests::manifest()
    };
    Snapshot { id: Id(name), manifest, writer: [key; 32], writer_role: Role::Backup }
}

/// Seconds of a civil time in a zone.
fn seconds(text: &str, zone: &TimeZone) -> i64 {
    let civil: jiff::civil::DateTime = text.parse().unwrap();
    civil.to_zoned(zone.clone()).unwrap().timestamp().as_second()
}

fn choice(zone: &TimeZone, now: i64) -> Choice {
    Choice {
        filter: crate::repository::find::SnapshotFilter::default(),
        group_by: GroupBy::default(),
        zone: zone.clone(),
        now: Timestamp { seconds: now, nanoseconds: 0 },
        unseen: std::collections::BTreeSet::new(),
        lifted: Lifted::default(),
    }
}

/// The fate of every snapshot, by id.
fn fates(groups: &[Group]) -> std::collections::BTreeMap<Id, Fate> {
    let members = groups.iter().flat_map(|group| &group.members);
    members.map(|member| (member.snapshot.id, member.fate.clone())).collect()
}

/// One of several.
fn pick<'a, T>(random: &mut Random, among: &'a [T]) -> &'a T {
    &among[random.below(among.len())]
}

fn zone(name: &str) -> TimeZone {
    jiff::tz::TimeZoneDatabase::bundled().get(name).unwrap()
}
