//! What a database held, in bytes, so that an unchanged one need not be copied to be proved again.
//!
//! Kept in the local cache, never in a repository. Invariant: only what was read without a complaint is
//! remembered: whatever was odd about a database is looked at and reported again.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use super::contents::{Contents, Expected, Kind};
use crate::error::Result;
use crate::format::cbor;
use crate::id::Id;

#[derive(Encode, Decode)]
#[cbor(array)]
struct Remembered {
    #[n(0)]
    fingerprint: Id,
    #[n(1)]
    schema: Option<String>,
    #[n(2)]
    tables: Vec<(String, u64)>,
    #[n(3)]
    users: u64,
    #[n(4)]
    files: Vec<File>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct File {
    #[n(0)]
    place: ByteVec,
    #[n(1)]
    size: u64,
    #[n(2)]
    sent: bool,
    #[n(3)]
    row: String,
    #[n(4)]
    changed: Option<i64>,
}

/// The bytes to keep for a database that had this fingerprint; none where its contents are odd in any way.
pub fn remember(fingerprint: Id, contents: &Contents) -> Result<Option<Vec<u8>>> {
    if !contents.unusable.is_empty() || !contents.findings.is_empty() {
        return Ok(None);
    }
    let file = |expected: &Expected| File {
        place: ByteVec::from(expected.place.clone()),
        size: expected.size,
        sent: expected.kind == Kind::Send,
        row: expected.row_id.clone(),
        changed: expected.changed,
    };
    let remembered = Remembered {
        fingerprint,
        schema: contents.schema_version.clone(),
        tables: contents.tables.clone(),
        users: contents.users,
        files: contents.expected.iter().map(file).collect(),
    };
    cbor::encode(&remembered).map(Some)
}

/// What was kept, where it is of a database with this fingerprint.
pub fn recall(bytes: &[u8], fingerprint: &Id) -> Result<Option<Contents>> {
    let remembered: Remembered = cbor::decode(bytes, "a remembered database")?;
    if remembered.fingerprint != *fingerprint {
        return Ok(None);
    }
    let expected = |file: File| Expected {
        place: file.place.into(),
        size: file.size,
        kind: if file.sent { Kind::Send } else { Kind::Attachment },
        row_id: file.row,
        changed: file.changed,
    };
    Ok(Some(Contents {
        schema_version: remembered.schema,
        tables: remembered.tables,
        users: remembered.users,
        expected: remembered.files.into_iter().map(expected).collect(),
        ..Contents::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Finding;

    fn contents() -> Contents {
        let file = |place: &[u8], kind, changed| Expected {
            place: place.to_vec(),
            size: 7,
            kind,
            row_id: "row".into(),
            changed,
        };
        Contents {
            schema_version: Some("20240101".into()),
            tables: vec![("ciphers".into(), 3), ("users".into(), 1)],
            users: 1,
            expected: vec![
                file(b"attachments/a/b", Kind::Attachment, Some(-5)),
                file(b"sends/a/b", Kind::Send, None),
            ],
            ..Contents::default()
        }
    }

    #[test]
    fn contents_come_back_for_the_same_fingerprint_only() {
        let bytes = remember(Id([1; 32]), &contents()).unwrap().unwrap();
        assert_eq!(recall(&bytes, &Id([1; 32])).unwrap(), Some(contents()));
        assert_eq!(recall(&bytes, &Id([2; 32])).unwrap(), None);
        assert!(recall(&bytes[1..], &Id([1; 32])).is_err());
    }

    #[test]
    fn what_is_odd_is_not_remembered() {
        let odd = Contents { findings: vec![Finding::warning("database", "is odd")], ..contents() };
        assert_eq!(remember(Id([1; 32]), &odd).unwrap(), None);
    }
}
