//! Signatures: Ed25519 (RFC 8032), strictly verified.
//!
//! Follows `format-spec/03-cryptography.md#signatures`. A message is a context string of its purpose, a zero
//! byte, and parts of fixed length but the last, so that no message of one purpose is one of another.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::secret::Secret;
use crate::error::{Error, Result};

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignaturePurpose {
    /// The maintain key vouches for a slot key.
    Certificate,
    /// A slot key vouches for a manifest.
    Manifest,
    /// The maintain key forgets a snapshot.
    Forgotten,
    /// The maintain key condemns packs.
    Gc,
}

impl SignaturePurpose {
    /// Every purpose.
    pub const ALL: [Self; 4] = [Self::Certificate, Self::Manifest, Self::Forgotten, Self::Gc];

    /// The context string.
    pub const fn context(self) -> &'static str {
        match self {
            Self::Certificate => "strongroom v1 slot certificate",
            Self::Manifest => "strongroom v1 snapshot manifest",
            Self::Forgotten => "strongroom v1 forgotten mark",
            Self::Gc => "strongroom v1 gc record",
        }
    }
}

/// The public half of a signing secret.
pub fn verifying_key(secret: &Secret) -> [u8; 32] {
    SigningKey::from_bytes(secret.expose()).verifying_key().to_bytes()
}

/// Signs.
pub fn sign(secret: &Secret, purpose: SignaturePurpose, parts: &[&[u8]]) -> [u8; 64] {
    SigningKey::from_bytes(secret.expose()).sign(&message(purpose, parts)).to_bytes()
}

/// Verifies.
pub fn verify(
    key: &[u8; 32],
    purpose: SignaturePurpose,
    parts: &[&[u8]],
    signature: &[u8; 64],
) -> Result<()> {
    let fail = || Error::corrupt("a signature is not valid");
    VerifyingKey::from_bytes(key)
        .map_err(|_| fail())?
        .verify_strict(&message(purpose, parts), &Signature::from_bytes(signature))
        .map_err(|_| fail())
}

fn message(purpose: SignaturePurpose, parts: &[&[u8]]) -> Vec<u8> {
    let mut message = purpose.context().as_bytes().to_vec();
    message.push(0);
    for part in parts {
        message.extend_from_slice(part);
    }
    message
}
