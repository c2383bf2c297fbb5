//! Sealing, envelopes and signatures, from the primitive crates.

use std::convert::Infallible;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Nonce};
use ed25519_dalek::{Signer as _, SigningKey};
use hpke::aead::ChaCha20Poly1305 as HpkeSeal;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeS, Serializable, single_shot_seal_with_rng};

use super::{Bytes32, Forge, header};

/// Gives the bytes it was made with, and no others: the randomness of one encapsulation.
struct Given<'a>(&'a [u8]);

impl TryRng for Given<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, filled: &mut [u8]) -> Result<(), Infallible> {
        let (taken, rest) = self.0.split_at(filled.len());
        filled.copy_from_slice(taken);
        self.0 = rest;
        Ok(())
    }
}

impl TryCryptoRng for Given<'_> {}

/// The X-Wing public key of a secret key.
pub(crate) fn public_key(secret: &Bytes32) -> Vec<u8> {
    let secret = <XWing as Kem>::PrivateKey::from_bytes(secret).expect("a secret key");
    XWing::sk_to_pk(&secret).to_bytes().to_vec()
}

/// An envelope, by the 64 bytes that its encapsulation draws.
pub(crate) fn encapsulate(public: &[u8], info: &[u8], content_key: &[u8], drawn: &[u8; 64]) -> Vec<u8> {
    let public = <XWing as Kem>::PublicKey::from_bytes(public).expect("a public key");
    let mut given = Given(drawn);
    let mode = OpModeS::Base;
    let (encapsulated, sealed) = single_shot_seal_with_rng::<HpkeSeal, HkdfSha256, XWing>(
        &mode,
        &public,
        info,
        content_key,
        &[],
        &mut given,
    )
    .expect("it seals");
    assert!(given.0.is_empty(), "an encapsulation draws 64 bytes");
    [encapsulated.to_bytes().to_vec(), sealed].concat()
}

/// What a signature is made with and for.
pub(crate) struct Signer<'a> {
    pub(crate) secret: &'a Bytes32,
    pub(crate) context: &'a str,
}

/// Ed25519 over context, zero byte and parts.
pub(crate) fn sign(signer: &Signer<'_>, parts: &[&[u8]]) -> [u8; 64] {
    let message = [signer.context.as_bytes(), &[0], &parts.concat()].concat();
    SigningKey::from_bytes(signer.secret).sign(&message).to_bytes()
}

pub(crate) fn verifying_key(secret: &Bytes32) -> Bytes32 {
    SigningKey::from_bytes(secret).verifying_key().to_bytes()
}

/// ChaCha20-Poly1305 with a nonce of zeros: ciphertext, tag.
pub(crate) fn seal_with(key: &Bytes32, associated: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut bytes = plain.to_vec();
    let tag = ChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(&Nonce::from([0; 12]), associated, InOutBuf::from(bytes.as_mut_slice()))
        .expect("it seals");
    bytes.extend_from_slice(&tag);
    bytes
}

/// A sealed object with this salt.
pub(crate) fn seal_object(key: &Bytes32, salt: &Bytes32, associated: &[u8], plain: &[u8]) -> Vec<u8> {
    let key = *blake3::keyed_hash(key, salt).as_bytes();
    [salt.to_vec(), seal_with(&key, associated, plain)].concat()
}

impl Forge {
    /// What the seal of an object binds; `name` is zeros where its hash names it.
    pub(crate) fn bound(&self, kind: &[u8; 4], name: &Bytes32) -> Vec<u8> {
        [header(kind), self.repository.to_vec(), name.to_vec()].concat()
    }

    /// A sealed object under a key derived for a purpose.
    pub(crate) fn seal(&mut self, purpose: &str, associated: &[u8], plain: &[u8]) -> Vec<u8> {
        let salt = self.draw();
        seal_object(&self.derive(purpose), &salt, associated, plain)
    }

    /// A whole object: header, sealed object.
    pub(crate) fn object(&mut self, kind: &[u8; 4], purpose: &str, name: &Bytes32, plain: &[u8]) -> Vec<u8> {
        let associated = self.bound(kind, name);
        [header(kind), self.seal(purpose, &associated, plain)].concat()
    }

    /// The info of an envelope of a class.
    pub(crate) fn envelope_info(&self, class: u8) -> Vec<u8> {
        [b"strongroom v1 content key\0".as_slice(), &self.repository, &[class]].concat()
    }

    /// An envelope for a content key of a class.
    pub(crate) fn envelope(&mut self, class: u8, content_key: &Bytes32) -> Vec<u8> {
        let drawn = self.draw::<64>();
        let public = &self.classes[usize::from(class) - 1].1;
        encapsulate(public, &self.envelope_info(class), content_key, &drawn)
    }

    /// The record `signed`, by the maintain key.
    pub(crate) fn signed(&self, context: &str, name: &Bytes32, record: &[u8]) -> Vec<u8> {
        let signer = Signer { secret: &self.maintain_secret, context };
        let signature = sign(&signer, &[&self.repository, name, record]);
        let value = serde_json::json!({"record": super::hex(record), "signature": super::hex(&signature)});
        super::records::record("signed", &value).encode()
    }
}
