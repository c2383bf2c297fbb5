//! Cutting dumps: keyed gear whose chunks are finer at the beginning of a stream.
//!
//! Follows `format-spec/04-chunking.md#dumps`. A row that changes costs the chunk in which it lies, so that fine chunks
//! are worth their entries in lists and indexes; of a stream of terabytes there would be too many. So chunks become longer
//! with the way behind them: most databases end within the finest, and no stream has more chunks than a few hundred
//! thousand above those that the repository's sizes make.

use super::gear::{GearChunker, Sizes};

/// How often sizes double until they are the repository's.
pub const DUMP_STEPS: u32 = 3;
/// Length of the stretch in which chunks are the finest, in bytes. Each further one is twice as long as the one before.
pub const DUMP_STRETCH: u64 = 1 << 30;
/// Sizes are not made finer than this, in bytes.
pub const DUMP_FINEST: usize = 64;

/// Cuts dumps.
#[derive(Clone)]
pub struct DumpChunker {
    /// One for each stretch of a stream but the last.
    finer: Vec<GearChunker>,
    last: GearChunker,
}

impl DumpChunker {
    /// A chunker that comes to these sizes, over this table.
    pub fn new(sizes: Sizes, table: &[u64; 256]) -> Self {
        let finer = (1..=DUMP_STEPS).rev().map(|halvings| GearChunker::new(finer(sizes, halvings), table));
        Self { finer: finer.collect(), last: GearChunker::new(sizes, table) }
    }

    /// Greatest length of a chunk.
    pub fn maximum(&self) -> usize {
        self.last.sizes().maximum
    }

    /// Length of the chunk that `bytes` starts with, before which there are so many bytes of the stream. Unless `bytes`
    /// reaches the stream's end, it holds at least the greatest length.
    pub fn cut(&self, bytes: &[u8], before: u64) -> usize {
        let stretch = (before / DUMP_STRETCH).saturating_add(1).ilog2();
        let finer = usize::try_from(stretch).ok().and_then(|stretch| self.finer.get(stretch));
        finer.unwrap_or(&self.last).cut(bytes)
    }
}

/// Sizes that were halved so often, and are still even.
fn finer(sizes: Sizes, halvings: u32) -> Sizes {
    let halved = |size: usize| (size >> halvings).max(DUMP_FINEST) & !1;
    Sizes { minimum: halved(sizes.minimum), average: halved(sizes.average), maximum: halved(sizes.maximum) }
}

#[cfg(test)]
mod tests {
    use super::super::gear::tests::naive_cut;
    use super::*;

    const SIZES: Sizes = Sizes { minimum: 16 << 10, average: 64 << 10, maximum: 256 << 10 };

    fn table() -> [u64; 256] {
        let mut bytes = vec![0; 2048];
        blake3::Hasher::new_keyed(&[7; 32]).finalize_xof().fill(&mut bytes);
        let mut table = [0; 256];
        for (entry, bytes) in table.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *entry = u64::from_le_bytes(*bytes);
        }
        table
    }

    #[test]
    fn chunks_become_longer_with_the_way_behind_them() {
        let mut noise = vec![0; 1 << 20];
        blake3::Hasher::new_keyed(&[9; 32]).finalize_xof().fill(&mut noise);
        let table = table();
        let chunker = DumpChunker::new(SIZES, &table);
        assert_eq!(chunker.maximum(), SIZES.maximum);
        let gib = 1u64 << 30;
        for (before, halvings) in [
            (0, 3),
            (gib - 1, 3),
            (gib, 2),
            (3 * gib - 1, 2),
            (3 * gib, 1),
            (7 * gib - 1, 1),
            (7 * gib, 0),
            (15 * gib, 0),
            (u64::MAX, 0),
        ] {
            let sizes = Sizes {
                minimum: SIZES.minimum >> halvings,
                average: SIZES.average >> halvings,
                maximum: SIZES.maximum >> halvings,
            };
            assert_eq!(chunker.cut(&noise, before), naive_cut(&noise, sizes, &table), "{before}");
        }
    }

    #[test]
    fn sizes_stay_allowed() {
        let sizes = |minimum, average, maximum| Sizes { minimum, average, maximum };
        for (given, expected) in [
            (sizes(64, 64, 64), sizes(64, 64, 64)),
            (sizes(128, 1024, 1026), sizes(64, 128, 128)),
            (sizes(1010, 2048, 4102), sizes(126, 256, 512)),
        ] {
            assert_eq!(finer(given, 3), expected);
        }
    }
}
