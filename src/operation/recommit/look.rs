//! One look at what is stored, and what it says of single blobs.
//!
//! Invariant: a blob counts as lost only where the index that was read last names no pack for it that is there with
//! its size, whether condemned or not, and that index is still the one in the store. What merely cannot be had now is an error.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::backend::ObjectKind;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::operation::check::places::without_good_copy;
use crate::report::Reporter;
use crate::repository::Repository;
use crate::repository::index::{Index, ReadObjects};
use crate::repository::reader::{BlobReader, BlobSource};
use crate::repository::session::{self, Adopted, Usable};

use super::opened;

/// What is stored, as one look showed it.
pub(super) struct Look<'a> {
    repository: &'a Repository,
    reader: BlobReader<'a>,
    index: Arc<Index>,
    /// Blobs that the index names and of which no place is good.
    bad: HashSet<(BlobKind, Id)>,
    /// What lies in condemned packs, once that was asked for.
    condemned: OnceCell<Index>,
}

impl<'a> Look<'a> {
    /// Takes what a session may refer to; with `read_data` every pack is opened. Gives what is to be published too.
    pub(super) fn take(
        repository: &'a Repository,
        usable: Usable,
        read_data: bool,
        reporter: &dyn Reporter,
        interrupt: &Interrupt,
    ) -> Result<(Self, Adopted)> {
        let sizes: HashMap<Id, u64> = repository
            .backend()
            .list(ObjectKind::Pack)?
            .into_iter()
            .map(|listed| (listed.id, listed.size))
            .collect();
        let reader = BlobReader::with_index(repository, usable.index);
        let index = reader.index()?;
        let whole: Vec<bool> = index
            .packs()
            .iter()
            .map(|pack| sizes.get(&pack.id).is_none_or(|size| *size == pack.size))
            .collect();
        let bad = if read_data {
            opened::without_good_copy(repository, &index, &whole, reporter, interrupt)?
        } else if whole.contains(&false) {
            let is_whole = |pack: u32| usize::try_from(pack).ok().and_then(|pack| whole.get(pack)).copied();
            without_good_copy(&index, &|_, place| is_whole(place.pack).unwrap_or(false))?.0
        } else {
            HashSet::new()
        };
        let look = Self { repository, reader, index, bad, condemned: OnceCell::new() };
        Ok((look, usable.adopted))
    }

    /// The repository.
    pub(super) fn repository(&self) -> &'a Repository {
        self.repository
    }

    /// The index over every pack that counts.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// The plain length of a blob that a snapshot may refer to; nothing where it is lost.
    ///
    /// # Errors
    /// `Busy` where it is being moved or pruned.
    pub(super) fn length(&self, kind: BlobKind, id: &Id) -> Result<Option<u32>> {
        let length = self.index.plain_length(kind, id)?;
        if length.is_some() && !self.bad.contains(&(kind, *id)) {
            return Ok(length);
        }
        if self.condemned()?.contains(kind, id)? {
            let cause =
                format!("the {} {} lies in packs that a prune has condemned", kind.name(), id.short());
            return Err(Error::new(ErrorKind::Busy, cause).hint("run this again once the prune has ended"));
        }
        Ok(None)
    }

    /// The plaintext of a blob of trees or lists that a snapshot may refer to, or why it is lost.
    pub(super) fn fetch(&self, kind: BlobKind, id: &Id) -> Result<Result<Vec<u8>, String>> {
        if self.length(kind, id)?.is_none() {
            return Ok(Err(format!("the {} {} lies in no pack", kind.name(), id.short())));
        }
        match self.reader.fetch(kind, id) {
            Ok(plain) => Ok(Ok(plain)),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing) => {
                Ok(Err(error.chain()))
            }
            Err(error) => Err(error),
        }
    }

    /// What lies in packs that are condemned and still there.
    fn condemned(&self) -> Result<&Index> {
        if let Some(index) = self.condemned.get() {
            return Ok(index);
        }
        let condemned = session::condemned(self.repository)?;
        let read = ReadObjects::read(self.repository)?;
        let present: HashSet<Id> = self.repository.list_ids(ObjectKind::Pack)?.into_iter().collect();
        let index = Index::build(&read, &|pack| condemned.contains(pack) && present.contains(pack))?;
        if index.objects() != self.index.objects() {
            return Err(Error::new(ErrorKind::Busy, "the repository's index changed while it was looked at")
                .hint("run this again"));
        }
        Ok(self.condemned.get_or_init(|| index))
    }
}
