//! A set of snapshots, by where each stands in a list.

/// A set of snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SnapshotSet(Vec<u64>);

impl SnapshotSet {
    pub(super) fn insert(&mut self, index: usize) {
        let word = index / 64;
        if self.0.len() <= word {
            self.0.resize(word.saturating_add(1), 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << (index % 64);
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    /// The snapshots, rising.
    pub(super) fn indices(&self) -> Vec<usize> {
        let bits = |(position, word): (usize, &u64)| {
            let word = *word;
            (0..64usize)
                .filter(move |bit| word & (1 << bit) != 0)
                .map(move |bit| position.saturating_mul(64).saturating_add(bit))
        };
        self.0.iter().enumerate().flat_map(bits).collect()
    }

    pub(super) fn last(&self) -> Option<usize> {
        let (position, word) = self.0.iter().enumerate().rfind(|(_, word)| **word != 0)?;
        Some(position.saturating_mul(64).saturating_add(usize::try_from(word.ilog2()).ok()?))
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut one = SnapshotSet::default();
        assert_eq!((one.indices(), one.last()), (Vec::new(), None));
        one.insert(3);
        one.insert(64);
        let mut other = SnapshotSet::default();
        other.insert(200);
        other.add(&one);
        one.add(&SnapshotSet::default());
        assert_eq!((one.indices(), one.last()), (vec![3, 64], Some(64)));
        assert_eq!((other.indices(), other.last()), (vec![3, 64, 200], Some(200)));
    }
}
