//! The small records with which hosts that never meet tell each other what they do: sessions, marks of
//! giving up and of forgetting, gc records.
//!
//! Follows `format-spec/11-ordering.md`. Sessions and abandoned marks are sealed under the write secret;
//! forgotten marks and gc records are also signed with the maintain key.

use minicbor::{Decode, Encode};

use super::node::Timestamp;
use crate::id::Id;

/// A backup that is running, or died.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Session {
    /// Name of the host.
    #[n(0)]
    pub host: String,
    /// The host's random id, kept in its cache.
    #[n(1)]
    pub host_id: Id,
    /// When it began, by the host's clock; for people only.
    #[n(2)]
    pub started: Timestamp,
    /// Process number on the host; for people only.
    #[n(3)]
    pub process: u32,
    /// Version of the program.
    #[n(4)]
    pub program: String,
}

/// The mark that somebody gave a session up.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Abandoned {
    /// Name of the host that gave it up.
    #[n(0)]
    pub host: String,
    /// When, by that host's clock; for people only.
    #[n(1)]
    pub time: Timestamp,
}

/// The mark that a snapshot is forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Forgotten {
    /// Which snapshot.
    #[n(0)]
    pub snapshot: Id,
    /// When, by the clock of the host that forgot it; for people only.
    #[n(1)]
    pub time: Timestamp,
}

/// The packs that a prune condemned.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Condemned {
    /// Their ids, rising.
    #[n(0)]
    pub packs: Vec<Id>,
    /// When, by the pruner's clock; for people only.
    #[n(1)]
    pub time: Timestamp,
}

/// A record and its signature by the maintain key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Signed {
    /// The record, encoded.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub record: Vec<u8>,
    /// Ed25519 signature over the context of its kind, the repository's id, the object's id (zero where the
    /// object is named by its hash) and the record.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}
