//! Which packs a check reads.
//!
//! Invariants: a part by number depends on the names of the packs alone, so that its parts are all of them whoever reads
//! which. A part by size takes first what was never read here, then what was read longest ago, and always at least one:
//! repeated, it comes round to everything without a counter that could be lost.

use crate::crypto::random;
use crate::error::Result;
use crate::id::Id;
use crate::repository::verified::Verdicts;

/// So far ahead of now may the time of a reading lie, in seconds, before a wrong clock must have set it.
const AHEAD_MAX: i64 = 86_400;

/// Which part of the packs is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subset {
    /// All of them.
    All,
    /// The first number's part of as many as the second says.
    Part(u32, u32),
    /// So many parts in a million of all bytes.
    Millionths(u32),
    /// So many bytes.
    Bytes(u64),
}

/// The packs to be read, by what is remembered of them. Those that were damaged are read each time beside a share or a
/// number of bytes: whoever reads in turns finds them again, and gets on with the others.
pub(crate) fn choose(
    subset: Subset,
    packs: &[(Id, u64)],
    verified: Option<&Verdicts>,
    now: i64,
) -> Result<Vec<Id>> {
    let total = packs.iter().fold(0u64, |sum, (_, size)| sum.saturating_add(*size));
    let budget = match subset {
        Subset::All => return Ok(packs.iter().map(|(id, _)| *id).collect()),
        Subset::Part(part, of) => {
            return Ok(packs.iter().map(|(id, _)| *id).filter(|id| is_in_part(id, part, of)).collect());
        }
        Subset::Millionths(part) => {
            u64::try_from(u128::from(total).saturating_mul(part.into()).div_ceil(1_000_000)).unwrap_or(total)
        }
        Subset::Bytes(bytes) => bytes,
    };
    // Without a memory a draw is all there is: every pack has its turn in time, though nobody can say when.
    let salt = if verified.is_none() { random::id()? } else { Id::default() };
    let last_read = |id: &Id| {
        let time = verified.and_then(|verified| verified.whole.get(id)).copied();
        time.filter(|time| *time <= now.saturating_add(AHEAD_MAX)).unwrap_or(i64::MIN)
    };
    let is_damaged = |id: &Id| verified.is_some_and(|verified| verified.damaged.contains(id));
    let (damaged, others): (Vec<(Id, u64)>, Vec<_>) =
        packs.iter().copied().partition(|(id, _)| is_damaged(id));
    let mut order: Vec<(i64, [u8; 32], Id, u64)> =
        others.into_iter().map(|(id, size)| (last_read(&id), mixed(&id, &salt), id, size)).collect();
    order.sort_unstable();
    let mut left = budget;
    let mut chosen = Vec::new();
    for (_, _, id, size) in order {
        // What crosses the limit of a share is read as well, so that shares add up to the whole; a number of bytes is
        // kept to, for it is what a line or a night can carry.
        let fits = if matches!(subset, Subset::Bytes(_)) { size <= left } else { left > 0 };
        if !fits && !chosen.is_empty() {
            break;
        }
        left = left.saturating_sub(size);
        chosen.push(id);
    }
    chosen.extend(damaged.into_iter().map(|(id, _)| id));
    Ok(chosen)
}

/// Whether a pack is in a part, by the first bytes of its name, which is a hash.
fn is_in_part(id: &Id, part: u32, of: u32) -> bool {
    let [a, b, c, d, e, f, g, h, ..] = *id.as_bytes();
    let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    number.checked_rem(of.into()) == Some(u64::from(part.saturating_sub(1)))
}

fn mixed(id: &Id, salt: &Id) -> [u8; 32] {
    let mut bytes = *id.as_bytes();
    bytes.iter_mut().zip(salt.as_bytes()).for_each(|(byte, salt)| *byte ^= salt);
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::crypto::derive;

    fn packs(count: u32) -> Vec<(Id, u64)> {
        (0..count).map(|number| (derive::hash(&number.to_le_bytes()), 1000 + u64::from(number % 7))).collect()
    }

    #[test]
    fn parts_by_number_are_all_of_it_and_none_twice() {
        let packs = packs(500);
        for of in [1, 2, 7, 100, 1000] {
            let mut seen = HashSet::new();
            for part in 1..=of {
                for id in choose(Subset::Part(part, of), &packs, None, 0).unwrap() {
                    assert!(seen.insert(id));
                }
            }
            assert_eq!(seen.len(), packs.len());
        }
    }

    #[test]
    fn a_share_comes_round_to_everything_with_packs_added_and_gone() {
        for (subset, nights) in [
            (Subset::Millionths(50_000), 21),
            (Subset::Millionths(333_333), 4),
            (Subset::Bytes(30_000), 40),
            (Subset::Millionths(1), 1100),
        ] {
            let (mut verified, mut packs) = (Verdicts::default(), packs(1000));
            let first: Vec<Id> = packs.iter().map(|(id, _)| *id).collect();
            for night in 0..nights {
                let now = night * 86_400;
                for id in choose(subset, &packs, Some(&verified), now).unwrap() {
                    verified.whole.insert(id, now);
                }
                // One comes and one goes.
                packs.push((derive::hash(&(night + 10_000).to_le_bytes()), 1000));
                if night % 2 == 0 {
                    let gone = packs.swap_remove(7 + usize::try_from(night).unwrap() % 90);
                    verified.whole.remove(&gone.0);
                }
            }
            let there: HashSet<Id> = packs.iter().map(|(id, _)| *id).collect();
            let missed =
                first.iter().filter(|id| there.contains(*id) && !verified.whole.contains_key(*id)).count();
            let missed_of_all = there.iter().filter(|id| !verified.whole.contains_key(*id)).count();
            if subset == Subset::Millionths(1) {
                // One pack a night, and one new one each night: that never ends, and says so.
                assert!(missed_of_all > 0);
            } else {
                assert_eq!(missed, 0, "{subset:?}");
            }
        }
    }

    #[test]
    fn what_was_read_longest_ago_is_next_and_a_clock_that_ran_ahead_is_not_believed() {
        let packs = packs(4);
        let time = |at: [i64; 4]| Verdicts {
            whole: packs.iter().map(|(id, _)| *id).zip(at).collect::<HashMap<_, _>>(),
            ..Verdicts::default()
        };
        let one = |at| choose(Subset::Bytes(1), &packs, Some(&time(at)), 500_000).unwrap();
        assert_eq!(one([40, 30, 20, 50]), [packs[2].0]);
        assert_eq!(one([40, 30, 20, 9_000_000]), [packs[3].0]);
        assert_eq!(choose(Subset::Bytes(2100), &packs, Some(&time([4, 3, 2, 5])), 500).unwrap().len(), 2);
    }

    #[test]
    fn a_damaged_pack_does_not_keep_the_others_from_their_turn() {
        let packs = packs(40);
        let mut verified = Verdicts { damaged: HashSet::from([packs[3].0]), ..Verdicts::default() };
        for night in 0..40 {
            for subset in [Subset::Bytes(1000), Subset::Millionths(25_000)] {
                let chosen = choose(subset, &packs, Some(&verified), night).unwrap();
                assert!(chosen.contains(&packs[3].0), "it is told each night");
                assert_eq!(chosen.iter().collect::<HashSet<_>>().len(), chosen.len());
                let whole = chosen.into_iter().filter(|id| *id != packs[3].0);
                verified.whole.extend(whole.map(|id| (id, night)));
            }
        }
        assert_eq!(verified.whole.len(), 39, "each of the others had its turn");
    }
}
