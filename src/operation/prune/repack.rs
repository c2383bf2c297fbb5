//! Step 1 and step 5: copying sealed blobs out of packs into new ones, and publishing their index.
//!
//! Invariants: a pack is read whole, has to be the one that its name says, and its own table has to say what the index
//! says, before anything of it is copied. The new
//! packs and their index objects are acknowledged before this returns: only then may the old ones be condemned.

use std::collections::BTreeMap;

use rayon::prelude::{IntoParallelIterator, ParallelIterator};

use super::Options;
use super::confirm::{OpenedPack, not_there};
use super::plan::Moves;
use super::survey::Survey;
use crate::backend::{ObjectKind, ObjectName};
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;
use crate::operation::check::places::PlacesByPack;
use crate::report::Reporter;
use crate::repository::Repository;
use crate::repository::index::Place;
use crate::repository::mover::{BlobMover, Moved, SealedBlob};

/// Moves what is to be moved.
pub(super) fn repack(
    repository: &Repository,
    survey: &Survey,
    moves: &Moves,
    options: &Options,
    reporter: &dyn Reporter,
) -> Result<Moved> {
    let by_pack = sources(survey, moves)?;
    if by_pack.is_empty() {
        return Ok(Moved::default());
    }
    let bytes = by_pack
        .values()
        .flatten()
        .fold(0u64, |sum, place| sum.saturating_add(u64::from(place.stored_length)));
    reporter.progress().set_total(by_pack.len() as u64, bytes);
    let mover = BlobMover::new(repository);
    let added = by_pack.into_par_iter().try_for_each(|(number, places)| {
        options.interrupt.check()?;
        let pack = survey.index.packs().get(number).map(|pack| pack.id);
        let pack = pack.ok_or_else(|| Error::refused("a place names a pack that is not in the index"))?;
        move_out(repository, survey, &mover, &pack, &places)?;
        reporter.progress().add_files(1);
        reporter
            .progress()
            .add_bytes(places.iter().fold(0, |sum, place| sum + u64::from(place.stored_length)));
        Ok::<(), Error>(())
    });
    added.and_then(|()| mover.finish()).map_err(no_room)
}

/// Where nothing more fits, whole packs that nothing needs can go all the same.
fn no_room(error: Error) -> Error {
    if error.kind() != ErrorKind::NoSpace {
        return error;
    }
    error.hint(
        "nothing was deleted: free some space, or run `strongroom prune --max-unused unlimited`, which copies nothing \
         unless it has to",
    )
}

/// The places to be moved, by pack, in the order in which they lie there.
fn sources(survey: &Survey, moves: &Moves) -> Result<BTreeMap<usize, Vec<Place>>> {
    let mut by_pack: BTreeMap<usize, Vec<Place>> = BTreeMap::new();
    if !moves.emptied.is_empty() {
        let all = PlacesByPack::new(&survey.index)?;
        for number in &moves.emptied {
            let kept = all.of(*number).iter().filter(|place| survey.kept.contains(**place));
            let places = kept.map(|place| survey.index.place(*place)).collect::<Result<Vec<_>>>()?;
            by_pack.insert(*number, places);
        }
    }
    for number in &moves.places {
        let place = survey.index.place(*number)?;
        by_pack.entry(usize::try_from(place.pack).unwrap_or(usize::MAX)).or_default().push(place);
    }
    for places in by_pack.values_mut() {
        places.sort_by_key(|place| place.offset);
    }
    Ok(by_pack)
}

/// Moves these blobs out of one pack.
fn move_out(
    repository: &Repository,
    survey: &Survey,
    mover: &BlobMover<'_>,
    pack: &Id,
    places: &[Place],
) -> Result<()> {
    let name = ObjectName::new(ObjectKind::Pack, *pack);
    let damaged = |error: Error| {
        error
            .context(format!("{name} holds blobs that are needed and cannot be copied out of it"))
            .hint("nothing was deleted; run `strongroom repair packs`, then prune again")
    };
    let opened = match OpenedPack::read(repository, pack) {
        Err(error) if error.kind() == ErrorKind::Missing => {
            return Err(Error::new(ErrorKind::Busy, format!("{name} is gone: another prune is at work"))
                .hint("run this one again when that one is done"));
        }
        read => read.map_err(damaged)?,
    };
    for place in places {
        let envelope = survey.index.envelope(place)?;
        let frame = opened.frame(place, &envelope).ok_or_else(|| damaged(not_there()))?;
        mover.add(&SealedBlob {
            kind: place.kind,
            id: place.id,
            plain_length: place.plain_length,
            envelope: &envelope,
            frame,
        })?;
    }
    Ok(())
}
