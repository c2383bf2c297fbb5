//! Authenticated encryption: ChaCha20-Poly1305 (RFC 8439), for blobs and for whole objects.
//!
//! Follows `format-spec/03-cryptography.md#sealing`. Every key here seals once: that of a blob is derived from
//! its session's content key and its id, that of an object from a fresh 256-bit salt. So the nonce is zeros.

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce, Tag};
use zeroize::Zeroize;

use super::random;
use super::secret::Secret;
use crate::error::{Error, Result};

/// Length of a nonce.
pub const NONCE_LEN: usize = 12;
/// Length of a tag.
pub const TAG_LEN: usize = 16;
/// Length of the salt of a sealed object.
pub const SALT_LEN: usize = 32;
/// What sealing adds to an object: salt and tag.
pub const OBJECT_OVERHEAD: usize = SALT_LEN + TAG_LEN;

/// A key ready for use.
#[derive(Clone)]
pub struct Sealer(ChaCha20Poly1305);

impl Sealer {
    /// Prepares a key.
    pub fn new(key: &Secret) -> Self {
        Self(ChaCha20Poly1305::new(key.expose().into()))
    }

    /// Encrypts `buffer` where it lies and gives the tag.
    pub fn seal(&self, associated: &[u8], buffer: &mut [u8]) -> Result<[u8; TAG_LEN]> {
        self.0
            .encrypt_inout_detached(&Nonce::from([0; NONCE_LEN]), associated, InOutBuf::from(buffer))
            .map(Into::into)
            .map_err(|_| Error::refused("too long to seal"))
    }

    /// Decrypts `sealed` into `plain`, of equal length; on failure its contents are not to be used.
    pub fn open_to(
        &self,
        associated: &[u8],
        sealed: &[u8],
        plain: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<()> {
        let buffer = InOutBuf::new(sealed, plain).map_err(|_| Error::refused("buffers of unequal length"))?;
        self.0
            .decrypt_inout_detached(&Nonce::from([0; NONCE_LEN]), associated, buffer, &Tag::from(*tag))
            .map_err(|_| unopened())
    }

    /// Decrypts `buffer` where it lies; on failure its contents are not to be used.
    pub fn open(&self, associated: &[u8], buffer: &mut [u8], tag: &[u8; TAG_LEN]) -> Result<()> {
        self.0
            .decrypt_inout_detached(
                &Nonce::from([0; NONCE_LEN]),
                associated,
                InOutBuf::from(buffer),
                &Tag::from(*tag),
            )
            .map_err(|_| unopened())
    }
}

fn unopened() -> Error {
    Error::corrupt("it does not open: damaged, forged, or sealed with another key")
}

/// Seals an object's plaintext: salt, ciphertext, tag.
pub fn seal_object(key: &Secret, associated: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    let salt: [u8; SALT_LEN] = random::bytes()?;
    let mut sealed = Vec::with_capacity(plaintext.len().saturating_add(OBJECT_OVERHEAD));
    sealed.extend_from_slice(&salt);
    sealed.extend_from_slice(plaintext);
    let body = sealed.get_mut(SALT_LEN..).unwrap_or_default();
    let tag = object_sealer(key, &salt).seal(associated, body)?;
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

/// Opens what [`seal_object`] made.
pub fn open_object(key: &Secret, associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    let short = || Error::corrupt("it is too short to be sealed");
    let (salt, rest) = sealed.split_first_chunk::<SALT_LEN>().ok_or_else(short)?;
    let (body, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or_else(short)?;
    let mut plaintext = body.to_vec();
    let opened = object_sealer(key, salt).open(associated, &mut plaintext, tag);
    if opened.is_err() {
        plaintext.zeroize();
    }
    opened.map(|()| plaintext)
}

fn object_sealer(key: &Secret, salt: &[u8; SALT_LEN]) -> Sealer {
    Sealer::new(&Secret::new(*blake3::keyed_hash(key.expose(), salt).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_opens_only_whole_and_in_its_place() {
        let key = Secret::new([7; 32]);
        let sealed = seal_object(&key, b"place", b"plaintext").unwrap();
        assert_eq!(sealed.len(), 9 + OBJECT_OVERHEAD);
        assert_eq!(open_object(&key, b"place", &sealed).unwrap(), b"plaintext");
        assert!(open_object(&key, b"other", &sealed).is_err());
        assert!(open_object(&Secret::new([8; 32]), b"place", &sealed).is_err());
        for index in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[index] ^= 1;
            assert!(open_object(&key, b"place", &damaged).is_err());
            assert!(open_object(&key, b"place", &sealed[..index]).is_err());
        }
    }
}
