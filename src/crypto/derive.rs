//! From one secret to a key for each purpose, and from bytes to ids.
//!
//! Follows `format-spec/03-cryptography.md#derivation`. Derivation is BLAKE3 `derive_key`; its context strings
//! are constants, hard-coded and unique, as its paper demands.

use super::secret::Secret;
use crate::id::Id;

/// What a derived key is for; its text is the context string of the derivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Ids of chunks.
    ChunkIds,
    /// Ids of lists.
    ListIds,
    /// Ids of leaves of trees.
    LeafIds,
    /// Ids of inner nodes of trees.
    InnerIds,
    /// The gear table of the chunker.
    GearTable,
    /// Where blobs of a tree end.
    TreeBoundaries,
    /// Seals of pack tables.
    PackTables,
    /// Seals of the trailers of packs.
    PackTrailers,
    /// Seals of index objects.
    Index,
    /// Seals of snapshots.
    Snapshots,
    /// Seals of sessions.
    Sessions,
    /// Seals of abandoned marks.
    Abandoned,
    /// Seals of forgotten marks.
    Forgotten,
    /// Seals of gc records.
    Gc,
    /// Seals of the labels of key slots.
    SlotLabels,
    /// The MAC of `config`.
    ConfigMac,
    /// Seals of the local cache.
    Cache,
    /// From the key of a slot's holder: the seal of its bundle.
    SlotWrap,
    /// From the key of a slot's holder: the commitment to it.
    SlotCommitment,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 19] = [
        Self::ChunkIds,
        Self::ListIds,
        Self::LeafIds,
        Self::InnerIds,
        Self::GearTable,
        Self::TreeBoundaries,
        Self::PackTables,
        Self::PackTrailers,
        Self::Index,
        Self::Snapshots,
        Self::Sessions,
        Self::Abandoned,
        Self::Forgotten,
        Self::Gc,
        Self::SlotLabels,
        Self::ConfigMac,
        Self::Cache,
        Self::SlotWrap,
        Self::SlotCommitment,
    ];

    /// The context string.
    pub const fn context(self) -> &'static str {
        match self {
            Self::ChunkIds => "strongroom 2026-11 v1 chunk ids",
            Self::ListIds => "strongroom 2026-11 v1 list ids",
            Self::LeafIds => "strongroom 2026-11 v1 tree leaf ids",
            Self::InnerIds => "strongroom 2026-11 v1 tree node ids",
            Self::GearTable => "strongroom 2026-11 v1 gear table",
            Self::TreeBoundaries => "strongroom 2026-11 v1 tree boundaries",
            Self::PackTables => "strongroom 2026-11 v1 pack tables",
            Self::PackTrailers => "strongroom 2026-11 v1 pack trailers",
            Self::Index => "strongroom 2026-11 v1 index",
            Self::Snapshots => "strongroom 2026-11 v1 snapshots",
            Self::Sessions => "strongroom 2026-11 v1 sessions",
            Self::Abandoned => "strongroom 2026-11 v1 abandoned marks",
            Self::Forgotten => "strongroom 2026-11 v1 forgotten marks",
            Self::Gc => "strongroom 2026-11 v1 gc records",
            Self::SlotLabels => "strongroom 2026-11 v1 slot labels",
            Self::ConfigMac => "strongroom 2026-11 v1 config mac",
            Self::Cache => "strongroom 2026-11 v1 local cache",
            Self::SlotWrap => "strongroom 2026-11 v1 slot wrap",
            Self::SlotCommitment => "strongroom 2026-11 v1 slot commitment",
        }
    }
}

/// The key for a purpose.
pub fn key(secret: &Secret, purpose: Purpose) -> Secret {
    Secret::new(blake3::derive_key(purpose.context(), secret.expose()))
}

/// The key for a purpose, from a secret and a salt.
pub fn salted_key(secret: &Secret, salt: &[u8; 32], purpose: Purpose) -> Secret {
    let mut hasher = blake3::Hasher::new_derive_key(purpose.context());
    hasher.update(secret.expose());
    hasher.update(salt);
    let key = Secret::new(*hasher.finalize().as_bytes());
    zeroize::Zeroize::zeroize(&mut hasher);
    key
}

/// The keyed hash of bytes: an id, a MAC.
pub fn keyed_hash(key: &Secret, bytes: &[u8]) -> Id {
    Id(*blake3::keyed_hash(key.expose(), bytes).as_bytes())
}

/// The key of one blob: from its session's content key, what it holds, and its id. A session seals each blob
/// once, so that this key seals once and its nonce can be zeros.
pub fn blob_key(content_key: &Secret, kind: u8, id: &Id) -> Secret {
    let mut hasher = blake3::Hasher::new_keyed(content_key.expose());
    hasher.update(&[kind]);
    hasher.update(id.as_bytes());
    let key = Secret::new(*hasher.finalize().as_bytes());
    zeroize::Zeroize::zeroize(&mut hasher);
    key
}

/// The plain hash of bytes: the name of a pack, an index object, a key slot.
pub fn hash(bytes: &[u8]) -> Id {
    Id(*blake3::hash(bytes).as_bytes())
}

/// The same hash of bytes that come in parts.
#[derive(Default)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// A hash of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes behind those before.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of what was added so far; more may follow.
    pub fn id(&self) -> Id {
        Id(*self.0.finalize().as_bytes())
    }
}

/// 256 numbers drawn from a key, for the gear table.
pub fn table(key: &Secret) -> [u64; 256] {
    let mut reader = blake3::Hasher::new_keyed(key.expose()).finalize_xof();
    let mut numbers = [0; 256];
    for number in &mut numbers {
        let mut bytes = [0; 8];
        reader.fill(&mut bytes);
        *number = u64::from_le_bytes(bytes);
    }
    numbers
}

/// Compares two values of a MAC or commitment without telling where they differ.
pub fn equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    blake3::Hash::from_bytes(*one) == blake3::Hash::from_bytes(*other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_purpose_has_a_context_of_its_own() {
        let contexts: HashSet<_> = Purpose::ALL.iter().map(|purpose| purpose.context()).collect();
        assert_eq!(contexts.len(), Purpose::ALL.len());
    }

    #[test]
    fn the_hash_is_blake3() {
        assert_eq!(hash(b"").to_hex(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    }
}
