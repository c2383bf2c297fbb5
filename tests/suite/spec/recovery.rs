//! The recovery text, written down again from the specification, against its example and the program.

use strongroom::crypto::secret::Secret;
use strongroom::repository::recovery;

use super::read;

/// The fenced blocks of the chapter's section.
fn blocks() -> Vec<String> {
    let text = read("format-spec/03-cryptography.md");
    let (_, section) = text.split_once("### Recovery text").expect("the section is there");
    section.split("```").skip(1).step_by(2).map(|block| block.trim().to_owned()).collect()
}

fn twice(value: u32) -> u32 {
    if 2 * value < 32 { 2 * value } else { (2 * value) ^ 37 }
}

/// The text of a key, as the section says.
fn written(alphabet: &[u8], key: &[u8; 32]) -> String {
    let hash = blake3::hash(key);
    let bits: Vec<u32> = key
        .iter()
        .chain(&hash.as_bytes()[..3])
        .flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)))
        .collect();
    let values: Vec<u32> =
        bits.chunks(5).map(|bits| bits.iter().fold(0, |value, bit| value * 2 + bit)).collect();
    let mut text = "STRONGROOM-RECOVERY-1\n".to_owned();
    for (number, data) in (1u32..).zip(values.chunks(14)) {
        let (mut a, mut b) = (0, 0);
        for value in [number].iter().chain(data) {
            let f = value ^ a;
            a = b ^ f ^ twice(f);
            b = twice(f);
        }
        text.push_str(&format!("{number}:"));
        for group in [data, &[a, b]].concat().chunks(4) {
            text.push(' ');
            text.extend(group.iter().map(|value| char::from(alphabet[*value as usize])));
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_example_of_the_text_is_the_programs() {
    let blocks = blocks();
    let [alphabet, algorithm, example] = blocks.as_slice() else { panic!("three blocks: {blocks:?}") };
    assert!(algorithm.contains("twice(x) = 2x where that is below 32, else 2x XOR 37"), "{algorithm}");
    let key: [u8; 32] = std::array::from_fn(|at| at as u8);
    assert_eq!(written(alphabet.as_bytes(), &key).trim(), example);
    assert_eq!(recovery::text(&Secret::new(key)).trim(), example);
    assert_eq!(recovery::parse(example).expect("it is read"), Secret::new(key));
    for seed in 0..200u8 {
        let key = *blake3::hash(&[seed]).as_bytes();
        assert_eq!(*recovery::text(&Secret::new(key)), written(alphabet.as_bytes(), &key));
    }
}

#[test]
fn characters_that_look_alike_are_read_as_the_text_says() {
    let key: [u8; 32] = std::array::from_fn(|at| at as u8);
    let text = recovery::text(&Secret::new(key));
    let (heading, lines) = text.split_once('\n').expect("a heading");
    let typed: String = lines
        .lines()
        .map(|line| {
            let (number, line) = line.split_once(':').expect("a number");
            let line =
                line.replace('1', "l").replace('0', "O").replace('V', "u").replace(' ', "-").to_lowercase();
            format!("{number}:{line}\n")
        })
        .collect();
    assert_eq!(recovery::parse(&format!("{heading}\n{typed}")).expect("it is read"), Secret::new(key));
}
