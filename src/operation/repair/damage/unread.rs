//! What a disk still gives of a pack of which it does not give all.
//!
//! Invariant: what it does not give reads as zeros, which no seal takes for a blob.

use crate::backend::{ObjectKind, ObjectName};
use crate::error::{ErrorKind, Result};
use crate::id::Id;
use crate::limits;
use crate::repository::Repository;

/// What is read at once.
const STRETCH: u64 = 64 << 10;
/// What is read at once of a stretch that cannot be read as a whole: no disk loses less.
const SECTOR: u64 = 4 << 10;

/// The bytes of a pack, as far as they can be had.
///
/// # Errors
/// Where it vanished, or the store does not answer.
pub(in crate::operation::repair) fn what_there_is(
    repository: &Repository,
    pack: &Id,
    size: u64,
) -> Result<Vec<u8>> {
    let name = ObjectName::new(ObjectKind::Pack, *pack);
    let size = size.min(limits::PACK_MAX);
    let mut bytes = Vec::new();
    each(0, size, STRETCH, &mut |offset, length| {
        if let Some(read) = read(repository, &name, offset, length)? {
            bytes.extend(read);
            return Ok(());
        }
        each(offset, offset.saturating_add(length), SECTOR, &mut |offset, length| {
            let zeros = || vec![0; usize::try_from(length).unwrap_or_default()];
            bytes.extend(read(repository, &name, offset, length)?.unwrap_or_else(zeros));
            Ok(())
        })
    })?;
    Ok(bytes)
}

fn each(start: u64, end: u64, step: u64, visit: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<()> {
    let mut offset = start;
    while offset < end {
        let length = step.min(end.saturating_sub(offset));
        visit(offset, length)?;
        offset = offset.saturating_add(length);
    }
    Ok(())
}

/// Nothing where the disk does not give it.
fn read(repository: &Repository, name: &ObjectName, offset: u64, length: u64) -> Result<Option<Vec<u8>>> {
    match repository.backend().get_range(name, offset, length) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::Io && repository.answers() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::{Backend, Listed, MemoryBackend};
    use crate::crypto::kdf::Cost;
    use crate::crypto::secret::Secret;
    use crate::error::Error;
    use crate::format::tests::Random;
    use crate::repository::host;
    use crate::repository::keys::{Credential, NewKey};

    /// A store of which one byte of each pack lies in a bad sector.
    struct Bad(MemoryBackend, u64);

    impl Backend for Bad {
        fn put(&self, name: &ObjectName, bytes: &[u8]) -> Result<()> {
            self.0.put(name, bytes)
        }
        fn get(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>> {
            self.0.get(name, limit)
        }
        fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>> {
            if (offset..offset + length).contains(&self.1) {
                return Err(Error::new(ErrorKind::Io, "a bad sector"));
            }
            self.0.get_range(name, offset, length)
        }
        fn size(&self, name: &ObjectName) -> Result<u64> {
            self.0.size(name)
        }
        fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
            self.0.list(kind)
        }
        fn delete(&self, name: &ObjectName) -> Result<()> {
            self.0.delete(name)
        }
        fn location(&self) -> String {
            "a bad disk".into()
        }
    }

    #[test]
    fn a_bad_sector_costs_no_more_than_itself() {
        let (pack, bytes) = (Id([3; 32]), Random::new(1).bytes(300_001));
        let name = ObjectName::new(ObjectKind::Pack, pack);
        for bad in [0, 4095, 4096, 70_000, 299_999, 300_000] {
            let store = MemoryBackend::new();
            store.put(&name, &bytes).unwrap();
            let credential = Credential::KeyFile(Secret::new([7; 32]));
            let new = NewKey { credential: &credential, cost: Cost::LEAST, label: "key", time: host::now() };
            let made = MemoryBackend::new();
            drop(Repository::create(Arc::new(made.clone()), &new).unwrap());
            for object in made.objects() {
                store.put(&object, &made.get(&object, u64::MAX).unwrap()).unwrap();
            }
            let repository = Repository::open(Arc::new(Bad(store, bad)), &credential).unwrap();
            let mut expected = bytes.clone();
            let sector = usize::try_from(bad - bad % SECTOR).unwrap();
            let end = expected.len().min(sector + 4096);
            expected[sector..end].fill(0);
            assert!(what_there_is(&repository, &pack, 300_001).unwrap() == expected, "{bad}");
        }
    }
}
