//! Keyed FastCDC: the normalized gear hash of Xia et al. (2020) over a table that the repository's key draws.
//!
//! Follows `format-spec/04-chunking.md#gear`. The crate's own seed is no key (its 64 bits come back from a
//! few cut points), so all 256 entries are ours. Masks test high bits, where the hash has seen 48 bytes and
//! more; bit 63 stays clear, for the crate also uses masks shifted left by one.

use fastcdc::v2020::cut_gear;

/// How strongly lengths are drawn towards the average: bits added to one mask and taken from the other.
pub const NORMALIZATION: u32 = 2;

/// Least, average and greatest length of a chunk in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Least length, the end of the stream excepted; even.
    pub minimum: usize,
    /// The length aimed at; a power of two.
    pub average: usize,
    /// Greatest length; even.
    pub maximum: usize,
}

/// Cuts streams.
#[derive(Clone)]
pub struct GearChunker {
    sizes: Sizes,
    mask_small: u64,
    mask_large: u64,
    gear: Box<[u64; 256]>,
    gear_shifted: Box<[u64; 256]>,
}

impl GearChunker {
    /// A chunker with these sizes over this table.
    pub fn new(sizes: Sizes, table: &[u64; 256]) -> Self {
        let bits = sizes.average.max(2).ilog2();
        Self {
            sizes,
            mask_small: high_mask(bits.saturating_add(NORMALIZATION)),
            mask_large: high_mask(bits.saturating_sub(NORMALIZATION)),
            gear: Box::new(*table),
            gear_shifted: Box::new(table.map(|entry| entry << 1)),
        }
    }

    /// Its sizes.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Length of the chunk that `bytes` starts with. Unless `bytes` reaches the stream's end, it holds at least
    /// the greatest length.
    pub fn cut(&self, bytes: &[u8]) -> usize {
        let (_, length) = cut_gear(
            bytes,
            self.sizes.minimum,
            self.sizes.average,
            self.sizes.maximum,
            self.mask_small,
            self.mask_large,
            self.mask_small << 1,
            self.mask_large << 1,
            &self.gear[..],
            &self.gear_shifted[..],
        );
        length
    }
}

/// A mask of the `bits` bits below bit 63.
fn high_mask(bits: u32) -> u64 {
    let bits = bits.clamp(1, 62);
    ((1u64 << bits) - 1) << (63 - bits)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `04-chunking.md#gear`, one byte a step.
    pub(crate) fn naive_cut(bytes: &[u8], sizes: Sizes, table: &[u64; 256]) -> usize {
        let mask = |bits: u32| ((1u64 << bits) - 1) << (63 - bits);
        let bits = sizes.average.ilog2();
        if bytes.len() <= sizes.minimum {
            return bytes.len();
        }
        let length = bytes.len().min(sizes.maximum);
        let even = length - length % 2;
        let middle = sizes.average.min(even);
        let mut hash = 0u64;
        for index in sizes.minimum..even {
            hash = hash.wrapping_mul(2).wrapping_add(table[usize::from(bytes[index])]);
            let mask = if index < middle { mask(bits + NORMALIZATION) } else { mask(bits - NORMALIZATION) };
            if hash & mask == 0 {
                return index;
            }
        }
        length
    }

    const SIZES: Sizes = Sizes { minimum: 4 << 10, average: 16 << 10, maximum: 64 << 10 };

    fn noise(seed: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn cuts(chunker: &GearChunker, bytes: &[u8]) -> Vec<usize> {
        let mut ends = Vec::new();
        let mut start = 0;
        while start < bytes.len() {
            start += chunker.cut(&bytes[start..]);
            ends.push(start);
        }
        ends
    }

    fn chunker(key: u8) -> GearChunker {
        let bytes = noise(key, 2048);
        let mut table = [0; 256];
        for (entry, bytes) in table.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *entry = u64::from_le_bytes(*bytes);
        }
        GearChunker::new(SIZES, &table)
    }

    #[test]
    fn lengths_stay_within_bounds_and_near_the_average() {
        let bytes = noise(1, 8 << 20);
        let ends = cuts(&chunker(1), &bytes);
        let mut start = 0;
        for (index, end) in ends.iter().enumerate() {
            let length = end - start;
            assert!(length <= SIZES.maximum);
            assert!(length >= SIZES.minimum || index + 1 == ends.len());
            start = *end;
        }
        let average = bytes.len() / ends.len();
        assert!((SIZES.average / 2..SIZES.average * 2).contains(&average), "{average}");
    }

    #[test]
    fn an_insertion_moves_few_cuts_and_another_key_moves_all() {
        let bytes = noise(2, 4 << 20);
        let before = cuts(&chunker(1), &bytes);
        let mut changed = bytes.clone();
        changed.insert(1 << 20, 7);
        let after: Vec<usize> = cuts(&chunker(1), &changed);
        let kept = before.iter().filter(|end| after.contains(&(**end + 1)) || after.contains(end)).count();
        assert!(kept + 8 > before.len(), "{kept} of {}", before.len());
        let other = cuts(&chunker(2), &bytes);
        let same = before.iter().filter(|end| other.contains(end)).count();
        assert!(same < 4, "{same}");
    }
}
