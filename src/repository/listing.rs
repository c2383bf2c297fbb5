//! Listings that agree: for whoever deletes by what a listing does not show.
//!
//! Stores have shown short listings as if they were whole, and programs have deleted by them. Invariant: what one listing
//! showed and the next does not is asked for by its name before it is believed to be gone.

use std::collections::HashMap;

use super::Repository;
use crate::backend::{Listed, ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;

/// How often a store is asked again for a listing that agrees with the one before.
const LISTINGS_MAX: usize = 5;

impl Repository {
    /// All objects of a kind, as two listings that agree show them: each object of the one is in the other, unless
    /// it was added or deleted meanwhile.
    ///
    /// # Errors
    /// `Corrupt` where the store leaves an object out that is there.
    pub(crate) fn list_agreed(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        let mut before = by_id(self.backend().list(kind)?);
        for _ in 0..LISTINGS_MAX {
            let now = by_id(self.backend().list(kind)?);
            let mut short = false;
            for id in before.keys().filter(|id| !now.contains_key(id)) {
                short |= self.is_there(kind, id)?;
            }
            if !short {
                let mut listed: Vec<Listed> = now.into_values().collect();
                listed.sort_unstable_by_key(|listed| listed.id);
                return Ok(listed);
            }
            before.extend(now);
        }
        Err(left_out(kind))
    }

    fn is_there(&self, kind: ObjectKind, id: &Id) -> Result<bool> {
        match self.backend().size(&ObjectName::new(kind, *id)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The error of a listing that leaves out what is there.
pub(crate) fn left_out(kind: ObjectKind) -> Error {
    let folder = kind.folder();
    Error::corrupt(format!("the store's listing of {folder} leaves out objects that are there"))
        .hint("nothing is deleted by such a listing: find out what is wrong with the store, and try again")
}

fn by_id(listed: Vec<Listed>) -> HashMap<Id, Listed> {
    listed.into_iter().map(|listed| (listed.id, listed)).collect()
}
