//! Chunkers and compression, each against what the specification says of it.

use strongroom::chunker::gear::{GearChunker, NORMALIZATION, Sizes};
use strongroom::chunker::page::{RUN_MAX_BYTES, RUN_MIN_BYTES, RUNS_AT_FIRST, RUNS_MAX, run_pages};
use strongroom::compress;
use strongroom::crypto::derive;
use strongroom::crypto::secret::Secret;

use super::bytes::Source;
use super::{accept, decoded};

/// Cuts a stream and holds every cut against the rule as it is written down, a byte a step.
pub(super) fn check_cuts(minimum: usize, average: usize, maximum: usize, key: &[u8], stream: &[u8]) {
    let table = derive::table(&Secret::new(derive::hash(key).0));
    let sizes = Sizes { minimum, average, maximum };
    let chunker = GearChunker::new(sizes, &table);
    let mut joined = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let length = chunker.cut(rest);
        assert_eq!(length, naive_cut(rest, sizes, &table), "at {} of {}", joined.len(), stream.len());
        let (chunk, after) = rest.split_at(length);
        assert!(length <= maximum && (length >= minimum || after.is_empty()));
        joined.extend_from_slice(chunk);
        rest = after;
    }
    assert_eq!(joined, stream);
    accept();
}

/// `format-spec/04-chunking.md#gear`, one byte a step.
fn naive_cut(bytes: &[u8], sizes: Sizes, table: &[u64; 256]) -> usize {
    let mask = |bits: u32| ((1u64 << bits) - 1) << (63 - bits);
    let bits = sizes.average.ilog2();
    if bytes.len() <= sizes.minimum {
        return bytes.len();
    }
    let length = bytes.len().min(sizes.maximum);
    let even = length - length % 2;
    let middle = sizes.average.min(even);
    let mut hash = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(even).skip(sizes.minimum) {
        hash = hash.wrapping_mul(2).wrapping_add(table[usize::from(*byte)]);
        let mask = if index < middle { mask(bits + NORMALIZATION) } else { mask(bits - NORMALIZATION) };
        if hash & mask == 0 {
            return index;
        }
    }
    length
}

/// Any bytes as a stream, in sizes that a config may state.
pub(super) fn gear(bytes: &[u8]) {
    let mut source = Source(bytes);
    let average = 1usize << (6 + source.u8() % 8);
    let minimum = (64 + usize::from(source.u16()) % (average - 63)) & !1;
    let maximum = (average + usize::from(source.u16())) & !1;
    let key: [u8; 2] = source.array();
    let repeated = 1 + usize::from(source.u8() % 16);
    check_cuts(minimum, average, maximum, &key, &source.0.repeat(repeated));
}

/// How many pages a run has.
pub(super) fn pages(bytes: &[u8]) {
    let mut source = Source(bytes);
    let (page_size, pages) = (source.u32(), source.u64());
    let before = (source.u8() % 2 == 1).then(|| source.u32());
    let run = u64::from(run_pages(page_size, pages, before));
    let page_size = u64::from(page_size.max(1));
    let bytes = run * page_size;
    assert!(run.is_power_of_two());
    accept();
    if before.map(u64::from) == Some(run) && bytes <= RUN_MAX_BYTES && pages.div_ceil(run) <= RUNS_MAX {
        assert!(bytes >= RUN_MIN_BYTES);
        return;
    }
    // The least that is long enough and gives few enough runs, or the longest that there may be.
    assert!(bytes >= RUN_MIN_BYTES && (pages.div_ceil(run) <= RUNS_AT_FIRST || bytes >= RUN_MAX_BYTES));
    let half = (run / 2).max(1);
    let too_short = half * page_size < RUN_MIN_BYTES;
    assert!(
        run == 1 || too_short || pages.div_ceil(half) > RUNS_AT_FIRST && half * page_size < RUN_MAX_BYTES
    );
}

/// A frame of zstd, which gives what it is said to give or nothing; and the same bytes there and back.
pub(super) fn zstd(bytes: &[u8]) {
    let mut source = Source(bytes);
    // Up to a quarter of a mebibyte more than the limit that callers hold lengths against.
    let length = usize::try_from(source.u32()).unwrap() % (strongroom::limits::BLOB_PLAIN_MAX + (1 << 18));
    let mut plain = Vec::new();
    if decoded(compress::decompress(source.0, length, &mut plain)).is_some() {
        assert_eq!(plain.len(), length);
        assert!(source.0.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]), "something else than a frame");
    }
    let mut packed = Vec::new();
    if compress::compress(source.0, &mut packed).unwrap() {
        assert!(packed.len() < source.0.len());
        compress::decompress(&packed, source.0.len(), &mut plain).unwrap();
        assert_eq!(plain, source.0);
    } else {
        assert!(packed.is_empty());
    }
}
