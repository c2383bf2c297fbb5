//! The algorithms as the text states them, written down again and compared with the program.

use strongroom::chunker::gear::{GearChunker, Sizes};
use strongroom::crypto::derive::{self, Purpose};
use strongroom::crypto::seal::{self, Sealer};
use strongroom::crypto::secret::Secret;
use strongroom::format::{list, pack};
use strongroom::id::Id;

pub(crate) fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
    bytes
}

/// `04-chunking.md#gear`, one byte a step.
fn cut(bytes: &[u8], sizes: Sizes, table: &[u64; 256]) -> usize {
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
        let mask = if index < middle { mask(bits + 2) } else { mask(bits - 2) };
        if hash & mask == 0 {
            return index;
        }
    }
    length
}

#[test]
fn the_gear_of_the_text_cuts_where_the_program_does() {
    let key = derive::key(&Secret::new([5; 32]), Purpose::GearTable);
    let drawn: Vec<u8> = {
        let key = blake3::derive_key("strongroom 2026-11 v1 gear table", &[5; 32]);
        let mut bytes = vec![0; 2048];
        blake3::Hasher::new_keyed(&key).finalize_xof().fill(&mut bytes);
        bytes
    };
    let table = derive::table(&key);
    for (entry, bytes) in table.iter().zip(drawn.chunks_exact(8)) {
        assert_eq!(entry.to_le_bytes(), *bytes);
    }
    let mut rule_met = [0; 3];
    for (minimum, average, maximum) in [(64, 256, 1024), (64, 64, 64), (256, 256, 4096), (128, 1024, 1026)] {
        let sizes = Sizes { minimum, average, maximum };
        let chunker = GearChunker::new(sizes, &table);
        for (seed, length) in
            [(1, 200_000), (2, 99_999), (3, 0), (4, 63), (5, 64), (6, 65), (7, 257), (8, 1025)]
        {
            let bytes = noise(seed, length);
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let length = cut(rest, sizes, &table);
                assert_eq!(chunker.cut(rest), length, "{sizes:?}, seed {seed}, {} left", rest.len());
                rule_met[usize::from(length > average) + usize::from(length == maximum)] += 1;
                rest = &rest[length..];
            }
        }
    }
    assert!(rule_met.iter().all(|count| *count > 100), "{rule_met:?}");
}

#[test]
fn the_padding_of_the_text_is_the_programs() {
    for length in (2..10_000u64).chain((0..28).map(|shift| (1 << shift) + 3)).chain([32 << 20, 256 << 20]) {
        let exponent = u64::from(length.ilog2());
        let bits = u64::from(exponent.max(1).ilog2()) + 1;
        let unit = 1u64 << exponent.saturating_sub(bits);
        assert_eq!(pack::padded_length(length), length.div_ceil(unit) * unit, "{length}");
    }
}

#[test]
fn a_sealed_object_opens_as_the_text_says() {
    let key = blake3::derive_key("strongroom 2026-11 v1 index", &[9; 32]);
    let program = derive::key(&Secret::new([9; 32]), Purpose::Index);
    assert_eq!(program.expose(), &key);
    let object = seal::seal_object(&program, b"bound", b"plaintext").expect("it seals");
    let (salt, rest) = object.split_at(32);
    let (ciphertext, tag) = rest.split_at(rest.len() - 16);
    let sealer = Sealer::new(&Secret::new(*blake3::keyed_hash(&key, salt).as_bytes()));
    let mut plaintext = ciphertext.to_vec();
    sealer.open(b"bound", &mut plaintext, tag.try_into().expect("16 bytes")).expect("it opens");
    assert_eq!(plaintext, b"plaintext");

    let salted = derive::salted_key(&Secret::new([1; 32]), &[2; 32], Purpose::SlotWrap);
    let material = [[1; 32], [2; 32]].concat();
    assert_eq!(salted.expose(), &blake3::derive_key("strongroom 2026-11 v1 slot wrap", &material));
}

#[test]
fn lists_end_where_the_text_says() {
    let ending_with = |number: u32| {
        let mut id = [0xff; 32];
        id[28..].copy_from_slice(&number.to_le_bytes());
        Id(id)
    };
    for (entries, number, ends) in [
        (255, 0, false),
        (256, 0, true),
        (256, 1024 * 77, true),
        (256, 1023, false),
        (4095, 1, false),
        (4096, 1, true),
    ] {
        assert_eq!(list::ends_after(entries, &ending_with(number)), ends);
    }
}
