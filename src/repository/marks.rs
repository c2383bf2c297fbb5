//! Reading and storing sessions and marks, one of each kind at a time.
//!
//! Follows `format-spec/11-ordering.md`. What such an object means is decided elsewhere; here it opens, verifies
//! where it is signed, and keeps to the rules of its record, or is an error.

use super::{Repository, host};
use crate::backend::ObjectKind;
use crate::crypto::sign::SignaturePurpose;
use crate::error::{Error, ErrorKind, Result};
use crate::format::key_slot::Role;
use crate::format::marks::{self as format, Abandoned, Condemned, Forgotten, Session, UsedNumber};
use crate::id::Id;

impl Repository {
    /// Reads the record of a session.
    pub fn read_session(&self, id: &Id) -> Result<Session> {
        let plaintext = self.get_object(ObjectKind::Session, id)?;
        format::decode_session(&plaintext).map_err(unusable(ObjectKind::Session, id))
    }

    /// Reads the mark that a session was given up.
    pub fn read_abandoned(&self, id: &Id) -> Result<Abandoned> {
        let plaintext = self.get_object(ObjectKind::Abandoned, id)?;
        format::decode_abandoned(&plaintext).map_err(unusable(ObjectKind::Abandoned, id))
    }

    /// Stores the mark that a session was given up. Another may do the same at the same time: a mark that is there
    /// already says the same, whatever its bytes.
    pub fn put_abandoned(&self, id: &Id, mark: &Abandoned) -> Result<()> {
        match self.put_named(ObjectKind::Abandoned, id, &format::encode_abandoned(mark)?) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.read_abandoned(id).map(|_| ()).map_err(|_| error)
            }
            stored => stored.map(|_| ()),
        }
    }

    /// Reads the mark that a snapshot is forgotten, and checks who signed it.
    pub fn read_forgotten(&self, id: &Id) -> Result<Forgotten> {
        let record = self.read_signed(ObjectKind::Forgotten, id, SignaturePurpose::Forgotten)?;
        format::decode_forgotten(&record, id).map_err(unusable(ObjectKind::Forgotten, id))
    }

    /// Stores the mark that a snapshot is forgotten, for good. Like [`Repository::put_abandoned`], this takes a mark
    /// that is there already and can be read for its own.
    ///
    /// # Errors
    /// `RoleNotAllowed` where the key does not sign marks.
    pub fn put_forgotten(&self, id: &Id, number: Option<UsedNumber>) -> Result<()> {
        self.keyring().require(Role::Maintain, "forgetting a snapshot")?;
        // One that is there stays: it may tell more.
        if self.read_forgotten(id).is_ok() {
            return Ok(());
        }
        let mark = Forgotten { snapshot: *id, time: host::now(), number };
        let signed = self.sign_record(id, SignaturePurpose::Forgotten, &mark, "forgetting a snapshot")?;
        match self.put_named(ObjectKind::Forgotten, id, &signed) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.read_forgotten(id).map(|_| ()).map_err(|_| error)
            }
            stored => stored.map(|_| ()),
        }
    }

    /// Stores the record that condemns these packs, and gives its id. Condemned is for good.
    ///
    /// # Errors
    /// `RoleNotAllowed` where the key does not sign records.
    pub fn put_condemned(&self, mut packs: Vec<Id>) -> Result<Id> {
        packs.sort_unstable();
        packs.dedup();
        let record = Condemned { packs, time: host::now() };
        format::encode_condemned(&record)?;
        let signed = self.sign_record(&Id::default(), SignaturePurpose::Gc, &record, "condemning packs")?;
        self.put_hashed(ObjectKind::Gc, &signed).map(|(id, _)| id)
    }

    /// Reads which packs a prune condemned, and checks who signed it.
    pub fn read_condemned(&self, id: &Id) -> Result<Condemned> {
        let record = self.read_signed(ObjectKind::Gc, id, SignaturePurpose::Gc)?;
        format::decode_condemned(&record).map_err(unusable(ObjectKind::Gc, id))
    }
}

fn unusable(kind: ObjectKind, id: &Id) -> impl FnOnce(Error) -> Error {
    let name = format!("{}/{id}", kind.folder());
    move |error| error.context(format!("{name} cannot be read"))
}
