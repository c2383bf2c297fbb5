//! Reading every pack and opening every blob in it, to learn which blobs have no good copy.
//!
//! Invariant: a pack that is there and cannot be read is trouble, and no loss.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use crate::backend::{ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::key_slot::Role;
use crate::id::Id;
use crate::interrupt::Interrupt;
use crate::limits;
use crate::operation::check::places::{self, PlacesByPack};
use crate::report::Reporter;
use crate::repository::Repository;
use crate::repository::blob::{OpenBuffers, open_frame};
use crate::repository::index::{Index, Place};

/// The blobs that the index names and of which no place opens; `whole` says of each pack whether it has its size.
///
/// # Errors
/// `RoleNotAllowed` where the key does not open the contents of files.
pub(super) fn without_good_copy(
    repository: &Repository,
    index: &Index,
    whole: &[bool],
    reporter: &dyn Reporter,
    interrupt: &Interrupt,
) -> Result<HashSet<(BlobKind, Id)>> {
    repository.keyring().require(Role::Full, "reading the contents of files")?;
    let good: Vec<AtomicBool> = (0..index.numbers()).map(|_| AtomicBool::new(false)).collect();
    let by_pack = PlacesByPack::new(index)?;
    let total = index.packs().iter().map(|pack| pack.size).sum();
    reporter.progress().set_stage("reading packs");
    reporter.progress().set_total(index.packs().len() as u64, total);
    (0..index.packs().len()).into_par_iter().try_for_each(|number| {
        interrupt.check()?;
        let Some(pack) = index.packs().get(number).filter(|_| whole.get(number) == Some(&true)) else {
            return Ok::<(), Error>(());
        };
        let name = ObjectName::new(ObjectKind::Pack, pack.id);
        let bytes = match repository.backend().get(&name, limits::PACK_MAX) {
            Err(error) if matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt) => return Ok(()),
            read => read?,
        };
        let mut buffers = OpenBuffers::default();
        for place in by_pack.of(number) {
            if opens(repository, index, &index.place(*place)?, &bytes, &mut buffers)
                && let Some(slot) = usize::try_from(*place).ok().and_then(|place| good.get(place))
            {
                slot.store(true, Ordering::Relaxed);
            }
        }
        reporter.progress().add_files(1);
        reporter.progress().add_bytes(pack.size);
        Ok(())
    })?;
    let is_good = |number: u32| usize::try_from(number).ok().and_then(|number| good.get(number));
    let bad = places::without_good_copy(index, &|number, _| {
        is_good(number).is_some_and(|good| good.load(Ordering::Relaxed))
    })?;
    Ok(bad.0)
}

fn opens(
    repository: &Repository,
    index: &Index,
    place: &Place,
    bytes: &[u8],
    buffers: &mut OpenBuffers,
) -> bool {
    let start = usize::try_from(place.offset).unwrap_or(usize::MAX);
    let length = usize::try_from(place.stored_length).unwrap_or(usize::MAX);
    let Some(frame) = bytes.get(start..start.saturating_add(length)) else { return false };
    let Ok(key) = index.content_key(repository, place) else { return false };
    open_frame(repository.keyring(), key, place.kind, &place.id, place.plain_length, frame, buffers).is_ok()
}
