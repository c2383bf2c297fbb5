//! Which snapshots put others out of order, so that a person who names one of them says that its clock was wrong.
//!
//! Invariant: it is told of each by itself, not only of the one that an answer names: of several nights with a wrong clock
//! all contradict what came after, whichever of them are named first, or together.

use std::collections::{HashMap, HashSet};

use super::order::{Place, Standing, number_of};
use crate::format::node::Timestamp;
use crate::repository::snapshot::Snapshot;

type Key = [u8; 32];

/// What is out of order because of others.
pub(super) struct Contradicted {
    /// Of each key the numbers that are late, the lowest first, each with the least time at which one of this number or of
    /// a higher one was finished.
    late: HashMap<Key, Vec<(u64, Timestamp)>>,
    /// The numbers that an answer names.
    named: HashSet<(Key, u64)>,
}

impl Contradicted {
    pub(super) fn new(snapshots: &[Snapshot], places: &[Place]) -> Self {
        let mut late: HashMap<Key, Vec<(u64, Timestamp)>> = HashMap::new();
        let mut named = HashSet::new();
        for (snapshot, place) in snapshots.iter().zip(places) {
            let Standing::Late { number, after } = place.standing else { continue };
            let writer = snapshot.origin().writer;
            late.entry(writer).or_default().push((number, snapshot.manifest.finished));
            named.insert((writer, after));
        }
        for numbers in late.values_mut() {
            numbers.sort_unstable();
            let mut least: Option<Timestamp> = None;
            for (_, finished) in numbers.iter_mut().rev() {
                *finished = least.map_or(*finished, |least| least.min(*finished));
                least = Some(*finished);
            }
        }
        Self { late, named }
    }

    /// Whether one is out of order because of this one, or would be if only this one were there.
    pub(super) fn by(&self, snapshot: &Snapshot) -> bool {
        let (writer, number) = (snapshot.origin().writer, number_of(snapshot));
        let late = self.late.get(&writer).map(Vec::as_slice).unwrap_or_default();
        let above = late.get(late.partition_point(|(late, _)| *late <= number));
        self.named.contains(&(writer, number))
            || above.is_some_and(|(_, finished)| snapshot.manifest.finished >= *finished)
    }
}
