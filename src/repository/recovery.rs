//! The recovery text: 256 secret bits as four lines that a person can copy from paper.
//!
//! Follows `format-spec/03-cryptography.md#recovery-text`. Each line checks itself, so that a mistake is named by
//! its line; the whole checks itself as well. Invariant: no message repeats what was typed.

use zeroize::Zeroizing;

use crate::crypto::derive;
use crate::crypto::secret::{SECRET_LEN, Secret};
use crate::error::{Error, ErrorKind, Result};

/// Lines of a recovery text.
pub const LINES: u8 = 4;

/// The alphabet: a character's value is its place.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// What the first line starts with; the version follows.
const HEADER: &str = "STRONGROOM-RECOVERY-";
/// The version that this program writes and reads.
const VERSION: &str = "1";
/// Characters of a line.
const LINE_LEN: usize = 16;
/// Those of them that carry bits of the key.
const DATA_LEN: usize = 14;
/// Characters of a group.
const GROUP_LEN: usize = 4;
/// Bytes of the check over the whole.
const CHECK_LEN: usize = 3;
/// Bits of a character.
const BITS: u32 = 5;
/// Room for the text, so that it is never moved and leaves no copy behind.
const TEXT_ROOM: usize = 256;

/// The values of a line's characters; wiped when dropped.
type Line = Zeroizing<Vec<u8>>;

/// The recovery text of a secret: a line that says what it is, and four lines to copy.
pub fn text(secret: &Secret) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(TEXT_ROOM));
    text.push_str(HEADER);
    text.push_str(VERSION);
    text.push('\n');
    for (number, data) in (1u8..).zip(values(secret).chunks(DATA_LEN)) {
        text.push(char::from(b'0'.saturating_add(number)));
        text.push(':');
        let (first, second) = check(number, data);
        for (place, value) in data.iter().chain([&first, &second]).enumerate() {
            if place % GROUP_LEN == 0 {
                text.push(' ');
            }
            text.push(character(*value));
        }
        text.push('\n');
    }
    text
}

/// Whether a text looks like a recovery text.
pub fn is_recovery(text: &str) -> bool {
    text.lines().any(|line| version(line).is_some() || numbered(line).is_some())
}

/// Whether a line is the one that says what the text is, or has nothing to say.
pub fn is_heading(line: &str) -> bool {
    line.trim().is_empty() || version(line).is_some()
}

/// Checks one line as it was typed, with or without its number.
///
/// # Errors
/// `WrongKey`, whose message starts with the number of the line, and says where the mistake seems to be.
pub fn check_line(number: u8, text: &str) -> Result<()> {
    let typed = match numbered(text) {
        Some((written, rest)) if written == u32::from(number) => rest,
        Some((written, _)) => return Err(bad(format!("line {number}: this is line {written}"))),
        None => text,
    };
    read_line(number, typed).map(drop).map_err(bad)
}

/// Reads the secret from a text that holds four numbered lines, in any order.
///
/// # Errors
/// `WrongKey` where something was typed wrong, every line at fault named; `Unsupported` where a newer program made it.
pub fn parse(text: &str) -> Result<Secret> {
    let mut lines = text.lines();
    if let Some(found) = text.lines().find_map(version) {
        if found != VERSION {
            return Err(Error::new(ErrorKind::Unsupported, "this recovery key is of a version unknown here")
                .hint("use a newer version of the program"));
        }
        lines.by_ref().take_while(|line| version(line).is_none()).for_each(drop);
    }
    let typed: Vec<(u32, &str)> = lines.filter_map(numbered).collect();
    let mut problems: Vec<String> = typed
        .iter()
        .filter(|(number, _)| !(1..=u32::from(LINES)).contains(number))
        .map(|(number, _)| format!("line {number}: a recovery key has {LINES} lines"))
        .collect();
    let mut data: Line = Zeroizing::new(Vec::with_capacity(LINE_LEN * usize::from(LINES)));
    for number in 1..=LINES {
        let mut found = typed.iter().filter(|(written, _)| *written == u32::from(number));
        match (found.next(), found.next()) {
            (Some((_, line)), None) => match read_line(number, line) {
                Ok(line) => data.extend(line.iter().take(DATA_LEN)),
                Err(problem) => problems.push(problem),
            },
            (Some(_), Some(_)) => problems.push(format!("line {number}: it is there twice")),
            (None, _) => problems.push(format!("line {number}: it is missing")),
        }
    }
    if !problems.is_empty() {
        return Err(bad(problems.join("; ")));
    }
    secret(&data).ok_or_else(|| {
        bad("each line fits, but they do not fit together: several characters of one line are wrong, or \
             the lines are from two sheets"
            .to_owned())
    })
}

fn bad(problem: String) -> Error {
    Error::new(ErrorKind::WrongKey, problem).hint(
        "compare with the sheet. Capital or small letters and blanks do not matter, I and L count as 1, O as 0, U as V",
    )
}

/// The version that a heading names.
fn version(line: &str) -> Option<&str> {
    let line = line.trim();
    let (start, rest) = line.split_at_checked(HEADER.len())?;
    start.eq_ignore_ascii_case(HEADER).then_some(rest)
}

/// A line's number, and what follows the colon behind it.
fn numbered(line: &str) -> Option<(u32, &str)> {
    let (number, rest) = line.split_once(':')?;
    Some((number.trim().parse().ok()?, rest))
}

fn character(value: u8) -> char {
    ALPHABET.get(usize::from(value)).map_or('?', |letter| char::from(*letter))
}

/// The value of a character as a person may type it.
fn value(character: char) -> Option<u8> {
    let letter = match character.to_ascii_uppercase() {
        'I' | 'L' => '1',
        'O' => '0',
        'U' => 'V',
        letter => letter,
    };
    (0u8..).zip(ALPHABET).find(|(_, known)| char::from(**known) == letter).map(|(value, _)| value)
}

/// The values of a line that fits its check, or what is wrong with it.
fn read_line(number: u8, text: &str) -> Result<Line, String> {
    let mut line: Line = Zeroizing::new(Vec::with_capacity(LINE_LEN));
    let typed = text.chars().filter(|character| !character.is_whitespace() && *character != '-');
    let count = typed.clone().count();
    if count != LINE_LEN {
        return Err(format!("line {number}: it has {LINE_LEN} characters, not {count}"));
    }
    for (place, character) in typed.enumerate() {
        match value(character) {
            Some(value) => line.push(value),
            None => return Err(format!("line {number}: {} does not occur in a key", name_of(place))),
        }
    }
    if fits(number, &line) { Ok(line) } else { Err(format!("line {number}: {}", diagnose(number, &line))) }
}

/// The two check characters of a line: the remainder of dividing number and data, as a polynomial over the field of
/// 32 elements, by the one whose roots are 1 and 2. No two lines that fit differ in fewer than three characters.
fn check(number: u8, data: &[u8]) -> (u8, u8) {
    let (mut first, mut second) = (0, 0);
    for value in [&number].into_iter().chain(data) {
        let carry = value ^ first;
        first = second ^ carry ^ twice(carry);
        second = twice(carry);
    }
    (first, second)
}

/// Multiplies by 2 modulo x^5 + x^2 + 1.
fn twice(value: u8) -> u8 {
    let doubled = value << 1;
    if doubled < 32 { doubled } else { doubled ^ 0b10_0101 }
}

fn fits(number: u8, line: &[u8]) -> bool {
    let Some((data, [first, second])) = line.split_last_chunk() else { return false };
    check(number, data) == (*first, *second)
}

/// What is wrong with a line that does not fit. Where one character is wrong, or the line is another's, just one guess
/// makes it fit; two neighbours that were swapped may be any of several, and all of them are named.
fn diagnose(number: u8, line: &Line) -> String {
    if let Some(other) = (1..=LINES).find(|other| fits(*other, line)) {
        return format!("these are the characters of line {other}");
    }
    let mut trial = line.clone();
    for place in 0..LINE_LEN {
        for value in 0..32 {
            trial.clone_from(line);
            trial.iter_mut().skip(place).take(1).for_each(|there| *there = value);
            if fits(number, &trial) {
                return format!("a character is wrong; look first at {}", name_of(place));
            }
        }
    }
    let swapped = |place: &usize| {
        let mut trial = line.clone();
        trial.swap(*place, place.saturating_add(1));
        fits(number, &trial)
    };
    let places: Vec<String> = (0..LINE_LEN.saturating_sub(1)).filter(swapped).map(name_of).collect();
    if places.is_empty() {
        return "more than one character is wrong".to_owned();
    }
    format!("two characters seem to be swapped: {} and the one behind it", places.join(", or "))
}

/// A character's place in words.
fn name_of(place: usize) -> String {
    let one = |number: usize| number.saturating_add(1);
    format!("character {} of group {}", one(place % GROUP_LEN), one(place / GROUP_LEN))
}

fn check_bytes(secret: &[u8; SECRET_LEN]) -> [u8; CHECK_LEN] {
    let [a, b, c, ..] = derive::hash(secret).0;
    [a, b, c]
}

/// The secret and its check, five bits at a time, the highest first.
fn values(secret: &Secret) -> Line {
    let mut values: Line = Zeroizing::new(Vec::with_capacity(DATA_LEN * usize::from(LINES)));
    let (mut bits, mut count) = (0u32, 0u32);
    for byte in secret.expose().iter().chain(&check_bytes(secret.expose())) {
        bits = bits << 8 | u32::from(*byte);
        count = count.saturating_add(8);
        while count >= BITS {
            count = count.saturating_sub(BITS);
            values.push((bits >> count & 31).to_le_bytes()[0]);
        }
        bits &= (1 << count) - 1;
    }
    values
}

/// The secret that these values hold, if its check fits.
fn secret(values: &[u8]) -> Option<Secret> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_LEN + CHECK_LEN));
    let (mut bits, mut count) = (0u32, 0u32);
    for value in values {
        bits = bits << BITS | u32::from(*value);
        count = count.saturating_add(BITS);
        if count >= 8 {
            count = count.saturating_sub(8);
            bytes.push((bits >> count & 255).to_le_bytes()[0]);
            bits &= (1 << count) - 1;
        }
    }
    let (key, written) = bytes.split_first_chunk::<SECRET_LEN>()?;
    (check_bytes(key).as_slice() == written).then(|| Secret::new(*key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(secret: &Secret) -> Vec<String> {
        text(secret).lines().skip(1).map(|line| line[3..].to_owned()).collect()
    }

    /// Places of the characters within a line as it is written.
    fn places() -> impl Iterator<Item = usize> {
        (0..LINE_LEN).map(|place| place + place / GROUP_LEN)
    }

    fn with(lines: &[String], number: usize, line: &str) -> String {
        let mut lines = lines.to_vec();
        lines[number - 1] = line.to_owned();
        let numbered: Vec<String> =
            lines.iter().zip(1..).map(|(line, number)| format!("{number}: {line}")).collect();
        numbered.join("\n")
    }

    fn complaint(text: &str) -> String {
        let error = parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongKey);
        error.to_string()
    }

    #[test]
    fn every_single_mistake_is_named_by_its_line_and_place() {
        let secret = Secret::new(std::array::from_fn(|at| at as u8 * 7));
        let lines = lines(&secret);
        for (number, line) in (1..).zip(&lines) {
            for (place, at) in places().enumerate() {
                let mut letters: Vec<char> = line.chars().collect();
                let right = letters[at];
                for letter in
                    ALPHABET.iter().map(|letter| char::from(*letter)).filter(|other| *other != right)
                {
                    letters[at] = letter;
                    let typed: String = letters.iter().collect();
                    let said = complaint(&with(&lines, number, &typed));
                    let expected =
                        format!("line {number}: a character is wrong; look first at {}", name_of(place));
                    assert_eq!(said, expected);
                    assert_eq!(check_line(number as u8, &typed).unwrap_err().to_string(), expected);
                }
            }
        }
    }

    #[test]
    fn lines_that_are_missing_doubled_exchanged_or_too_many_are_named() {
        let secret = Secret::new([7; 32]);
        let lines = lines(&secret);
        let whole = text(&secret);
        assert_eq!(complaint("STRONGROOM-RECOVERY-1\n").matches("missing").count(), 4);
        for number in 1..=4usize {
            let without: String = whole
                .lines()
                .filter(|line| !line.starts_with(&number.to_string()))
                .collect::<Vec<_>>()
                .join("\n");
            assert_eq!(complaint(&without), format!("line {number}: it is missing"));
            let doubled = format!("{}{number}: {}\n", *whole, lines[number - 1]);
            assert_eq!(complaint(&doubled), format!("line {number}: it is there twice"));
            for other in (1..=4usize).filter(|other| *other != number) {
                let said = complaint(&with(&lines, number, &lines[other - 1]));
                assert_eq!(said, format!("line {number}: these are the characters of line {other}"));
                let named = format!("{other}: {}", lines[other - 1]);
                let said = check_line(number as u8, &named).unwrap_err().to_string();
                assert_eq!(said, format!("line {number}: this is line {other}"));
            }
            for (typed, count) in
                [(format!("{}X", lines[number - 1]), 17), (lines[number - 1][1..].to_owned(), 15)]
            {
                let expected = format!("line {number}: it has 16 characters, not {count}");
                assert_eq!(complaint(&with(&lines, number, &typed)), expected);
            }
            let strange = lines[number - 1].replacen(' ', "!", 1).replacen(' ', "", 1);
            assert!(complaint(&with(&lines, number, &strange)).starts_with(&format!("line {number}: ")));
        }
        assert_eq!(complaint(&format!("{}5: {}\n", *whole, lines[0])), "line 5: a recovery key has 4 lines");
        let both = complaint(&with(&lines, 1, &lines[1]).replace("4: ", "9: "));
        assert_eq!(both.matches("line ").count(), 4, "{both}");
    }

    #[test]
    fn lines_of_two_sheets_fit_alone_and_not_together() {
        let other = lines(&Secret::new([8; 32]));
        let mixed = with(&lines(&Secret::new([7; 32])), 3, &other[2]);
        assert!(complaint(&mixed).contains("do not fit together"));
        let newer = text(&Secret::new([7; 32])).replace("RECOVERY-1", "RECOVERY-2");
        assert_eq!(parse(&newer).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_however_it_is_typed(bytes: [u8; 32], seed: u64) {
            let secret = Secret::new(bytes);
            let written = text(&secret);
            prop_assert_eq!(parse(&written).unwrap(), secret.clone());
            let mut random = seed;
            let mut sloppy = |letter: char| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                match (letter, random >> 62) {
                    ('1', 0) => 'I', ('1', 1) => 'l', ('0', 0) => 'o', ('0', 1) => 'O', ('V', 0) => 'u',
                    (' ', 0) => '-', (' ', 1) => '\t', (letter, 2) => letter.to_ascii_lowercase(),
                    (letter, _) => letter,
                }
            };
            let lines: Vec<String> = lines(&secret).iter().map(|line| line.chars().map(&mut sloppy).collect()).collect();
            let typed: Vec<String> =
                (1..=4).rev().map(|number| format!(" {number} :{}\r\n\n", lines[number - 1])).collect();
            let typed = typed.concat();
            prop_assert_eq!(parse(&typed).ok(), Some(secret));
        }

        #[test]
        fn one_or_two_wrong_characters_and_any_swap_are_found(
            bytes: [u8; 32], number in 1usize..=4, one in 0usize..16, two in 0usize..16, letters in (0usize..32, 0usize..32),
        ) {
            let secret = Secret::new(bytes);
            let lines = lines(&secret);
            let at: Vec<usize> = places().collect();
            let original: Vec<char> = lines[number - 1].chars().collect();
            let mut wrong = original.clone();
            wrong[at[one]] = char::from(ALPHABET[letters.0]);
            wrong[at[two]] = char::from(ALPHABET[letters.1]);
            let mut swapped = original.clone();
            swapped.swap(at[one], at[two]);
            for typed in [wrong, swapped] {
                let same = typed == original;
                let typed: String = typed.into_iter().collect();
                match parse(&with(&lines, number, &typed)) {
                    Ok(read) => prop_assert!(same && read == secret),
                    Err(error) => {
                        prop_assert!(!same);
                        let start = format!("line {number}: ");
                        prop_assert!(error.to_string().starts_with(&start), "{}", error);
                    }
                }
            }
        }

        #[test]
        fn neighbours_that_are_swapped_are_told(bytes: [u8; 32], number in 1usize..=4, place in 0usize..15) {
            let lines = lines(&Secret::new(bytes));
            let at: Vec<usize> = places().collect();
            let mut typed: Vec<char> = lines[number - 1].chars().collect();
            typed.swap(at[place], at[place + 1]);
            let typed: String = typed.into_iter().collect();
            if typed != lines[number - 1] {
                let said = complaint(&with(&lines, number, &typed));
                let start = format!("line {number}: two characters seem to be swapped: ");
                prop_assert!(said.starts_with(&start) && said.contains(&name_of(place)), "{}", said);
            }
        }
    }
}
