//! Sealing a content key to a class's public key: HPKE base mode (RFC 9180) with X-Wing.
//!
//! Follows `format-spec/03-cryptography.md#envelopes`. KEM 0x647a, KDF HKDF-SHA256, AEAD ChaCha20-Poly1305, so
//! that what is stolen today is not read by tomorrow's quantum computer. All that binds goes into `info`; the
//! associated data is empty.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal};
use zeroize::Zeroize;

use super::secret::{SECRET_LEN, Secret};
use crate::error::{Error, Result};

/// Length of a public key.
pub const PUBLIC_LEN: usize = 1216;
/// Length of an encapsulated key.
pub const ENCAPSULATED_LEN: usize = 1120;
/// Length of an envelope: encapsulated key, sealed content key, tag.
pub const ENVELOPE_LEN: usize = ENCAPSULATED_LEN + SECRET_LEN + 16;

type PublicKey = <XWing as Kem>::PublicKey;
type SecretKey = <XWing as Kem>::PrivateKey;

/// A key pair that opens envelopes.
pub struct KeyPair {
    /// The half that seals.
    pub public: Vec<u8>,
    /// The half that opens: X-Wing's 32-byte seed.
    pub secret: Secret,
}

/// Draws a key pair.
pub fn generate() -> Result<KeyPair> {
    let secret = Secret::random()?;
    Ok(KeyPair { public: public_key(&secret)?, secret })
}

/// The half of a key pair that seals, from the half that opens.
pub fn public_key(secret: &Secret) -> Result<Vec<u8>> {
    Ok(XWing::sk_to_pk(&secret_key(secret)?).to_bytes().to_vec())
}

/// Seals a content key.
pub fn seal(public: &[u8], info: &[u8], content_key: &Secret) -> Result<[u8; ENVELOPE_LEN]> {
    let public = PublicKey::from_bytes(public).map_err(|_| Error::corrupt("a public key is malformed"))?;
    let (encapsulated, sealed) = single_shot_seal::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeS::Base,
        &public,
        info,
        content_key.expose(),
        &[],
    )
    .map_err(|error| Error::corrupt(format!("cannot seal a content key: {error}")))?;
    let mut envelope = [0; ENVELOPE_LEN];
    let parts = encapsulated.to_bytes();
    for (slot, byte) in envelope.iter_mut().zip(parts.iter().chain(&sealed)) {
        *slot = *byte;
    }
    Ok(envelope)
}

/// Opens an envelope.
pub fn open(secret: &Secret, info: &[u8], envelope: &[u8; ENVELOPE_LEN]) -> Result<Secret> {
    let fail = || Error::corrupt("a content key does not open: damaged, or sealed for other keys");
    let (encapsulated, sealed) = envelope.split_at_checked(ENCAPSULATED_LEN).ok_or_else(fail)?;
    let encapsulated = <XWing as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| fail())?;
    let mut opened = single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeR::Base,
        &secret_key(secret)?,
        &encapsulated,
        info,
        sealed,
        &[],
    )
    .map_err(|_| fail())?;
    let key = <[u8; SECRET_LEN]>::try_from(opened.as_slice()).map(Secret::new).map_err(|_| fail());
    opened.zeroize();
    key
}

fn secret_key(secret: &Secret) -> Result<SecretKey> {
    SecretKey::from_bytes(secret.expose()).map_err(|_| Error::corrupt("a secret key is malformed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_opens_for_its_key_and_purpose_alone() {
        assert_eq!(XWing::KEM_ID, 0x647a);
        let pair = generate().unwrap();
        assert_eq!(pair.public.len(), PUBLIC_LEN);
        let key = Secret::new([3; 32]);
        let envelope = seal(&pair.public, b"data", &key).unwrap();
        assert_eq!(open(&pair.secret, b"data", &envelope).unwrap(), key);
        assert!(open(&pair.secret, b"metadata", &envelope).is_err());
        assert!(open(&generate().unwrap().secret, b"data", &envelope).is_err());
    }
}
