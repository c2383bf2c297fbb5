//! Repeatable randomness, and the shapes in which Vaultwarden writes random bytes down.
//!
//! Invariant: a seed and a purpose determine every value drawn, on every machine. Nothing here is
//! fit for secrets; it only has to look like ciphertext to a compressor.

/// Characters of an EncString besides its ciphertext: `2.`, an IV, a MAC and two bars.
const ENC_STRING_FRAME: usize = 72;

/// A splitmix64 stream.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// Starts the stream of a seed that serves one purpose, apart from the streams of all others.
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("strongroom 2026 vaultwarden generator stream");
        hasher.update(&seed.to_le_bytes());
        hasher.update(purpose.as_bytes());
        let digest = hasher.finalize();
        let state = digest.as_bytes().iter().take(8).fold(0, |state, byte| state << 8 | u64::from(*byte));
        Self { state }
    }

    /// Draws 64 bits.
    pub(super) fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Draws a number below the bound, or zero where the bound is zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.draw()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// The same for lengths.
    pub(super) fn length_below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.below(bound)).unwrap_or(0)
    }

    /// Is true in so many of a thousand draws.
    pub(super) fn chance(&mut self, per_thousand: u64) -> bool {
        self.below(1000) < per_thousand
    }

    /// Draws one of the items.
    pub(super) fn pick<'items, T>(&mut self, items: &'items [T]) -> Option<&'items T> {
        items.get(self.length_below(items.len()))
    }

    /// Fills a buffer.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        let mut words = bytes.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.draw().to_le_bytes());
        }
        let rest = words.into_remainder();
        for (byte, drawn) in rest.iter_mut().zip(self.draw().to_le_bytes()) {
            *byte = drawn;
        }
    }

    /// Draws so many bytes.
    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes);
        bytes
    }

    /// Draws so many bytes in base64.
    pub(super) fn base64(&mut self, length: usize) -> String {
        let mut text = String::with_capacity(length.div_ceil(3) * 4);
        push_base64(&mut text, &self.bytes(length));
        text
    }

    /// Draws so many lower-case hexadecimal digits.
    pub(super) fn hex(&mut self, digits: usize) -> String {
        let mut text = String::with_capacity(digits);
        for byte in self.bytes(digits.div_ceil(2)) {
            text.push(hex_digit(byte >> 4));
            text.push(hex_digit(byte & 15));
        }
        text.truncate(digits);
        text
    }

    /// Draws a UUID of version 4.
    pub(super) fn uuid(&mut self) -> String {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        let mut text = String::with_capacity(36);
        for (place, byte) in bytes.into_iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            let byte = match place {
                6 => byte & 0x0f | 0x40,
                8 => byte & 0x3f | 0x80,
                _ => byte,
            };
            text.push(hex_digit(byte >> 4));
            text.push(hex_digit(byte & 15));
        }
        text
    }

    /// Draws an EncString of AES-256-CBC with HMAC-SHA256 around so many bytes of plain text.
    pub(super) fn enc_string(&mut self, plain_length: usize) -> String {
        let sealed_length = (plain_length / 16 + 1) * 16;
        let mut text = String::with_capacity(ENC_STRING_FRAME + sealed_length.div_ceil(3) * 4);
        text.push_str("2.");
        push_base64(&mut text, &self.bytes(16));
        text.push('|');
        push_base64(&mut text, &self.bytes(sealed_length));
        text.push('|');
        push_base64(&mut text, &self.bytes(32));
        text
    }

    /// Draws an EncString exactly as long as the one given.
    pub(super) fn enc_string_like(&mut self, model: &str) -> String {
        let sealed_length = model.len().saturating_sub(ENC_STRING_FRAME) / 4 * 3 / 16 * 16;
        self.enc_string(sealed_length.saturating_sub(1))
    }

    /// Draws an IPv4 address of a private network.
    pub(super) fn address(&mut self) -> String {
        format!("10.0.{}.{}", self.below(4), self.below(200) + 2)
    }
}

/// Appends bytes in base64 with padding.
pub(super) fn push_base64(text: &mut String, bytes: &[u8]) {
    for group in bytes.chunks(3) {
        let (first, second, third) = match group {
            [first, second, third] => (*first, *second, *third),
            [first, second] => (*first, *second, 0),
            [first] => (*first, 0, 0),
            _ => continue,
        };
        text.push(letter(first >> 2));
        text.push(letter((first & 3) << 4 | second >> 4));
        text.push(if group.len() > 1 { letter((second & 15) << 2 | third >> 6) } else { '=' });
        text.push(if group.len() > 2 { letter(third & 63) } else { '=' });
    }
}

fn letter(sextet: u8) -> char {
    char::from(match sextet {
        0..=25 => b'A' + sextet,
        26..=51 => b'a' + (sextet - 26),
        52..=61 => b'0' + (sextet - 52),
        62 => b'+',
        _ => b'/',
    })
}

fn hex_digit(nibble: u8) -> char {
    char::from(if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_follows_the_test_vectors_of_rfc_4648() {
        let pairs = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, expected) in pairs {
            let mut text = String::new();
            push_base64(&mut text, plain.as_bytes());
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn an_enc_string_has_the_lengths_of_a_real_one() {
        let mut random = Random::new(1, "test");
        assert_eq!(random.enc_string(64).len(), 180);
        assert_eq!(random.enc_string(1218).len(), 1716);
        for plain in [0, 15, 16, 31, 32, 47, 48, 200] {
            let text = random.enc_string(plain);
            let other = random.enc_string_like(&text);
            assert_eq!(text.len(), other.len());
            assert_ne!(text, other);
        }
    }

    #[test]
    fn a_seed_and_a_purpose_determine_the_stream() {
        assert_eq!(Random::new(7, "rows").uuid(), Random::new(7, "rows").uuid());
        assert_ne!(Random::new(7, "rows").uuid(), Random::new(7, "files").uuid());
        assert_ne!(Random::new(7, "rows").uuid(), Random::new(8, "rows").uuid());
    }
}
