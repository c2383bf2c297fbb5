//! The algorithms as the text states them, written down again and compared with the program.

use strongroom::chunker::gear::{GearChunker, Sizes};
use strongroom::chunker::page;
use strongroom::crypto::derive::{self, Purpose};
use strongroom::crypto::seal::{self, Sealer};
use strongroom::crypto::secret::Secret;
use strongroom::format::{list, pack};
use strongroom::id::Id;

use crate::seeds::{cases, hold};
use crate::support::Rng;

pub(crate) fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
    bytes
}

/// `04-chunking.md#gear`, one byte a step.
pub(crate) fn cut(bytes: &[u8], sizes: Sizes, table: &[u64; 256]) -> usize {
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

/// Bytes of every kind: noise, one byte over and over, few values, and stretches of each.
fn stream(rng: &mut Rng, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let stretch = rng.below(3000) as usize;
        match rng.below(4) {
            0 => bytes.resize(bytes.len() + stretch, rng.next() as u8),
            1 => bytes.extend((0..stretch).map(|_| rng.below(3) as u8)),
            _ => bytes.extend(rng.bytes(stretch)),
        }
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn random_streams_are_cut_as_the_text_says_however_much_is_seen() {
    hold(cases(), |seed| {
        let mut rng = Rng::new(0x6765_6172 ^ seed << 20);
        let key = derive::key(&Secret::new([seed as u8; 32]), Purpose::GearTable);
        let table = derive::table(&key);
        let average = 64usize << rng.below(6);
        let minimum = 64 + 2 * rng.below((average as u64 - 64) / 2 + 1) as usize;
        let maximum = average + 2 * rng.below(2000) as usize;
        let sizes = Sizes { minimum, average, maximum };
        let chunker = GearChunker::new(sizes, &table);
        let length = rng.below(30_000) as usize;
        let bytes = stream(&mut rng, length);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let length = cut(rest, sizes, &table);
            assert_eq!(chunker.cut(rest), length, "{sizes:?}, {} left", rest.len());
            // Whatever lies behind the greatest length changes nothing.
            let seen = rest.len().min(maximum + rng.below(3) as usize);
            assert_eq!(chunker.cut(&rest[..seen]), length, "{sizes:?}, {seen} of {} seen", rest.len());
            rest = &rest[length..];
        }
    });
}

/// `04-chunking.md#pages`, every power of two looked at.
fn run_pages(page_size: u64, pages: u64, before: Option<u64>) -> u64 {
    let powers: Vec<u64> = (0..32).map(|shift| 1 << shift).collect();
    let allowed = |run: &&u64| (4096..=4_194_304).contains(&(**run * page_size));
    let runs = |run: u64| pages.div_ceil(run);
    if let Some(kept) =
        powers.iter().filter(allowed).find(|run| Some(**run) == before && runs(**run) <= 524_288)
    {
        return *kept;
    }
    let few = powers.iter().filter(allowed).find(|run| runs(**run) <= 262_144);
    *few.or(powers.iter().rfind(allowed)).expect("one run is of an allowed length")
}

#[test]
fn runs_of_pages_have_the_length_of_the_text() {
    hold(cases() * 20, |seed| {
        let mut rng = Rng::new(0x7061_6765 ^ seed << 20);
        let page_size = 512u32 << rng.below(8);
        let pages = rng.next() >> (24 + rng.below(40));
        let pages = match rng.below(3) {
            0 => pages,
            // Around the places where the number of runs decides.
            edge => ((1 << 17 << edge) << rng.below(12)) + rng.below(3) - 1,
        };
        let before = match rng.below(3) {
            0 => None,
            1 => Some(1 << rng.below(32)),
            _ => Some(rng.next() as u32),
        };
        let expected = run_pages(u64::from(page_size), pages, before.map(u64::from));
        let shown = format!("{pages} pages of {page_size}, {before:?} before");
        assert_eq!(u64::from(page::run_pages(page_size, pages, before)), expected, "{shown}");
    });
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
