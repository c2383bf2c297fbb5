//! Key slots: `keys/<id>`.
//!
//! Follows `format-spec/03-cryptography.md#slots`. Layout: header; length and bytes of the lock, which says
//! how to derive the key that opens the bundle; length and bytes of the label, sealed under the write secret so
//! that whoever holds another slot can list this one; the sealed bundle to the end. The bundle's seal binds
//! everything before it.

use minicbor::{Decode, Encode};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::bytes::Fields;
use super::cbor;
use super::header::{self, HeaderKind};
use super::node::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::limits;

/// What a key may do, by what its bundle holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Add snapshots and deduplicate; read nothing back.
    #[n(1)]
    Backup,
    /// Also list files, forget, prune and check structure; read no contents.
    #[n(2)]
    Maintain,
    /// Everything.
    #[n(3)]
    Full,
}

impl Role {
    /// Its name on the command line and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Maintain => "maintain",
            Self::Full => "full",
        }
    }

    /// Its number, as signatures bind it.
    pub const fn code(self) -> u8 {
        match self {
            Self::Backup => 1,
            Self::Maintain => 2,
            Self::Full => 3,
        }
    }
}

/// Length of the public key of a class: X-Wing's.
pub const PUBLIC_KEY_LEN: usize = 1216;
/// Room for an encoded bundle: two public keys of 1216 bytes, secrets and signatures.
const BUNDLE_ROOM: usize = 4 << 10;

/// How the key that opens a bundle is derived.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Method {
    /// From a password by Argon2id, version 0x13, 32 bytes.
    #[n(1)]
    Password {
        /// Memory in KiB.
        #[n(0)]
        memory_kib: u32,
        /// Passes.
        #[n(1)]
        passes: u32,
        /// Lanes.
        #[n(2)]
        lanes: u32,
    },
    /// From the 32 random bytes in a key file.
    #[n(2)]
    KeyFile,
}

/// The part of a slot that anybody can read.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Lock {
    /// The repository it belongs to.
    #[n(0)]
    pub repository: Id,
    /// How to derive the key.
    #[n(1)]
    pub method: Method,
    /// Random, for this slot alone.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub salt: [u8; 32],
    /// Commits to the derived key, for the seal alone does not.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub commitment: [u8; 32],
}

/// What the holders of other slots may know of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Label {
    /// Its role.
    #[n(0)]
    pub role: Role,
    /// Text for people.
    #[n(1)]
    pub text: String,
    /// When it was made.
    #[n(2)]
    pub created: Timestamp,
    /// The public half of its slot key.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub verifying_key: [u8; 32],
    /// The maintain key's signature over that.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub certificate: [u8; 64],
}

/// The capabilities that a slot gives.
#[derive(Clone, PartialEq, Eq, Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(map)]
pub struct Bundle {
    /// The role, by number.
    #[n(0)]
    #[zeroize(skip)]
    pub role: Role,
    /// The write secret.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub write_secret: [u8; 32],
    /// X-Wing public key of the class metadata.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub metadata_public: Vec<u8>,
    /// X-Wing public key of the class data.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub data_public: Vec<u8>,
    /// Ed25519 public key that certifies slots and signs records.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub maintain_public: [u8; 32],
    /// Ed25519 secret key of this slot.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub slot_secret: [u8; 32],
    /// The maintain key's signature over this slot's public key.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub certificate: [u8; 64],
    /// X-Wing secret key of the class metadata; roles maintain and full.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub metadata_secret: Option<[u8; 32]>,
    /// Ed25519 secret key that certifies and signs; roles maintain and full.
    #[cbor(n(8), with = "minicbor::bytes")]
    pub maintain_secret: Option<[u8; 32]>,
    /// X-Wing secret key of the class data; role full.
    #[cbor(n(9), with = "minicbor::bytes")]
    pub data_secret: Option<[u8; 32]>,
}

/// A slot taken apart.
#[derive(Clone, Debug)]
pub struct KeySlot<'a> {
    /// The part that anybody can read.
    pub lock: Lock,
    /// The sealed label.
    pub sealed_label: &'a [u8],
    /// The sealed bundle.
    pub sealed_bundle: &'a [u8],
    /// Everything before the sealed bundle, which its seal binds.
    pub bound: &'a [u8],
}

/// Everything of a slot before its sealed bundle.
pub fn encode_bound(lock: &Lock, sealed_label: &[u8]) -> Result<Vec<u8>> {
    let too_long = |_| Error::refused("the key slot is too long");
    let lock = cbor::encode(lock)?;
    let mut bytes = header::header(HeaderKind::Key).to_vec();
    bytes.extend_from_slice(&u32::try_from(lock.len()).map_err(too_long)?.to_le_bytes());
    bytes.extend_from_slice(&lock);
    bytes.extend_from_slice(&u32::try_from(sealed_label.len()).map_err(too_long)?.to_le_bytes());
    bytes.extend_from_slice(sealed_label);
    Ok(bytes)
}

/// Takes a slot apart and holds what a hostile store may have written there against the limits.
pub fn decode(bytes: &[u8]) -> Result<KeySlot<'_>> {
    let mut fields = Fields::new(header::strip(HeaderKind::Key, bytes)?, "key slot");
    let lock_length = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
    let lock: Lock = cbor::decode(fields.take(lock_length)?, "key slot")?;
    let label_length = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
    let sealed_label = fields.take(label_length)?;
    let sealed_bundle = fields.rest();
    let bound = bytes
        .len()
        .checked_sub(sealed_bundle.len())
        .and_then(|end| bytes.get(..end))
        .ok_or_else(|| Error::corrupt("key slot: it ends too early"))?;
    if let Method::Password { memory_kib, passes, lanes } = lock.method {
        let sane = memory_kib <= limits::ARGON2_MEMORY_MAX_KIB
            && (1..=limits::ARGON2_PASSES_MAX).contains(&passes)
            && (1..=limits::ARGON2_LANES_MAX).contains(&lanes)
            && memory_kib >= lanes.saturating_mul(8);
        if !sane {
            return Err(Error::corrupt("key slot: its Argon2id parameters are out of range"));
        }
    }
    Ok(KeySlot { lock, sealed_label, sealed_bundle, bound })
}

/// Encodes a label.
pub fn encode_label(label: &Label) -> Result<Vec<u8>> {
    cbor::encode(label)
}

/// Decodes a label.
pub fn decode_label(bytes: &[u8]) -> Result<Label> {
    let label: Label = cbor::decode(bytes, "key slot label")?;
    if label.text.len() > limits::TEXT_MAX {
        return Err(Error::corrupt("key slot label: its text is too long"));
    }
    Ok(label)
}

/// Encodes a bundle. The caller wipes what it gets.
pub fn encode_bundle(bundle: &Bundle) -> Result<Vec<u8>> {
    // All the room at once: a buffer that grows leaves copies of the secrets behind.
    let mut bytes = Vec::with_capacity(BUNDLE_ROOM);
    minicbor::encode(bundle, &mut bytes)
        .map_err(|error| Error::refused(format!("cannot encode the key bundle: {error}")))?;
    Ok(bytes)
}

/// Decodes a bundle, which must hold just what its role says.
pub fn decode_bundle(bytes: &[u8]) -> Result<Bundle> {
    let bundle: Bundle =
        minicbor::decode(bytes).map_err(|error| Error::corrupt(format!("key bundle: {error}")))?;
    // The rule of `cbor::decode`, with a copy that is wiped.
    if *Zeroizing::new(encode_bundle(&bundle)?) != bytes {
        return Err(Error::corrupt("key bundle: its encoding is not the deterministic one"));
    }
    if [&bundle.metadata_public, &bundle.data_public].iter().any(|key| key.len() != PUBLIC_KEY_LEN) {
        return Err(Error::corrupt("key bundle: a public key is not of its length"));
    }
    let maintain = bundle.metadata_secret.is_some() && bundle.maintain_secret.is_some();
    let none = bundle.metadata_secret.is_none() && bundle.maintain_secret.is_none();
    let fits = match bundle.role {
        Role::Backup => none && bundle.data_secret.is_none(),
        Role::Maintain => maintain && bundle.data_secret.is_none(),
        Role::Full => maintain && bundle.data_secret.is_some(),
    };
    if fits { Ok(bundle) } else { Err(Error::corrupt("key bundle: its keys do not fit its role")) }
}
