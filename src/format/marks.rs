//! The small records with which hosts that never meet tell each other what they do: sessions, marks of
//! giving up and of forgetting, gc records.
//!
//! Follows `format-spec/11-ordering.md`. Sessions and abandoned marks are sealed under the write secret;
//! forgotten marks and gc records are also signed with the maintain key.

use minicbor::{Decode, Encode};

use super::cbor;
use super::node::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::limits;

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
    /// The number that it had; none where the snapshot could not be read or never came.
    #[n(2)]
    pub number: Option<UsedNumber>,
}

/// The number of a snapshot that is forgotten: nobody may pass off another snapshot under it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UsedNumber {
    /// The public key of the slot whose number it is.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub writer: [u8; 32],
    /// The number.
    #[n(1)]
    pub sequence: u64,
    /// The snapshot that the backup itself wrote under it.
    #[n(2)]
    pub snapshot: Id,
    /// When that one was finished, where it was in order when it was forgotten.
    #[n(3)]
    pub finished: Option<Timestamp>,
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

/// Encodes a session, which must keep the limits that readers hold it against.
pub fn encode_session(session: &Session) -> Result<Vec<u8>> {
    check_texts("session", &[&session.host, &session.program])?;
    cbor::encode(session)
}

/// Decodes a session.
pub fn decode_session(bytes: &[u8]) -> Result<Session> {
    let session: Session = cbor::decode(bytes, "session")?;
    check_texts("session", &[&session.host, &session.program])?;
    Ok(session)
}

/// Encodes an abandoned mark, which must keep the limits that readers hold it against.
pub fn encode_abandoned(mark: &Abandoned) -> Result<Vec<u8>> {
    check_texts("abandoned mark", &[&mark.host])?;
    cbor::encode(mark)
}

/// Decodes an abandoned mark.
pub fn decode_abandoned(bytes: &[u8]) -> Result<Abandoned> {
    let mark: Abandoned = cbor::decode(bytes, "abandoned mark")?;
    check_texts("abandoned mark", &[&mark.host])?;
    Ok(mark)
}

/// Decodes the record of a forgotten mark, which must name the snapshot that the mark is named after.
pub fn decode_forgotten(bytes: &[u8], snapshot: &Id) -> Result<Forgotten> {
    let mark: Forgotten = cbor::decode(bytes, "forgotten mark")?;
    if mark.snapshot == *snapshot {
        return Ok(mark);
    }
    Err(Error::corrupt("forgotten mark: it names another snapshot than it is named after"))
}

/// Encodes the record of packs condemned, which must rise.
pub fn encode_condemned(condemned: &Condemned) -> Result<Vec<u8>> {
    check_rising(condemned)?;
    cbor::encode(condemned)
}

/// Decodes the record of packs condemned.
pub fn decode_condemned(bytes: &[u8]) -> Result<Condemned> {
    let condemned: Condemned = cbor::decode(bytes, "gc record")?;
    check_rising(&condemned)?;
    Ok(condemned)
}

fn check_rising(condemned: &Condemned) -> Result<()> {
    if condemned.packs.is_sorted_by(|one, other| one < other) {
        return Ok(());
    }
    Err(Error::corrupt("gc record: its packs do not rise"))
}

fn check_texts(object: &'static str, texts: &[&String]) -> Result<()> {
    if texts.iter().all(|text| text.len() <= limits::TEXT_MAX) {
        return Ok(());
    }
    Err(Error::corrupt(format!("{object}: a text is too long")))
}
