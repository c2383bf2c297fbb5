//! Looking up blobs; a copy that turns out to be damaged is replaced while it is searched.

use super::record::{Digest, too_many};
use super::run::Run;
use super::{Index, Place, View, read, stream};
use crate::crypto::secret::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::format::blob::BlobKind;
use crate::format::pack::Envelope;
use crate::id::Id;
use crate::repository::Repository;
use crate::repository::blob::open_envelope;

impl Index {
    /// Every place of a blob.
    ///
    /// # Errors
    /// As for every look-up: where this computer's copy of the index is damaged and cannot be made again.
    pub fn places(&self, kind: BlobKind, id: &Id) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for view in &self.views {
            places.extend(self.with_run(view, |run, envelopes| {
                let mut found = Vec::new();
                run.find(id, &mut |_, place| {
                    found.extend(view.translate(place, envelopes).filter(|place| place.kind == kind));
                    true
                })?;
                Ok(found)
            })?);
        }
        if places.len() > 1 {
            places.sort_unstable_by_key(stream::order);
            places.dedup();
        }
        Ok(places)
    }

    /// One place of a blob and its number: the same one every time.
    pub fn first(&self, kind: BlobKind, id: &Id) -> Result<Option<(u32, Place)>> {
        for view in &self.views {
            let found = self.with_run(view, |run, envelopes| {
                let mut found = None;
                run.find(id, &mut |number, place| {
                    let place = view.translate(place, envelopes).filter(|place| place.kind == kind);
                    found = place.map(|place| (view.base.saturating_add(number), place));
                    found.is_none()
                })?;
                Ok(found)
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The number of one place of a blob: below [`Index::numbers`], and the same one every time.
    pub fn first_place(&self, kind: BlobKind, id: &Id) -> Result<Option<u32>> {
        Ok(self.first(kind, id)?.map(|(number, _)| number))
    }

    /// Whether a blob has a place.
    pub fn contains(&self, kind: BlobKind, id: &Id) -> Result<bool> {
        Ok(self.first(kind, id)?.is_some())
    }

    /// Plain length of a blob.
    pub fn plain_length(&self, kind: BlobKind, id: &Id) -> Result<Option<u32>> {
        Ok(self.first(kind, id)?.map(|(_, place)| place.plain_length))
    }

    /// The place with this number.
    pub fn place(&self, number: u32) -> Result<Place> {
        let none = || Error::refused("there is no place of this number in the index");
        let at = self.views.partition_point(|view| view.end() <= number);
        let view = self.views.get(at).ok_or_else(none)?;
        let local = number.checked_sub(view.base).ok_or_else(none)?;
        self.with_run(view, |run, envelopes| view.translate(&run.place(local)?, envelopes).ok_or_else(none))
    }

    /// The content key of a place, opened once.
    pub(crate) fn content_key(&self, repository: &Repository, place: &Place) -> Result<&Secret> {
        let missing = || Error::corrupt("a place names an envelope that is not in the index");
        let number = usize::try_from(place.envelope).map_err(|_| missing())?;
        let slot = self.content_keys.get(number).ok_or_else(missing)?;
        if let Some(key) = slot.get() {
            return Ok(key);
        }
        let known = self.envelopes.get(number).ok_or_else(missing)?;
        let envelope = self.envelope(place)?;
        let key = open_envelope(repository.keyring(), known.digest.0, &envelope)?;
        Ok(slot.get_or_init(|| key))
    }

    /// The sealed content key of a place.
    pub(crate) fn envelope(&self, place: &Place) -> Result<Envelope> {
        let missing = || Error::corrupt("a place names an envelope that is not in the index");
        let number = usize::try_from(place.envelope).map_err(|_| missing())?;
        let known = self.envelopes.get(number).ok_or_else(missing)?;
        let view = self.views.get(known.view).ok_or_else(missing)?;
        self.with_run(view, |run, numbers| {
            // A run that was made again may count its envelopes in another order.
            let local = numbers.iter().zip(0..).find(|(known, _)| **known == place.envelope);
            run.envelope(local.map_or(known.number, |(_, local)| local))
        })
    }

    /// Looks into the run of a view, or into what stands in for it.
    pub(super) fn with_run<T>(&self, view: &View, look: impl Fn(&Run, &[u32]) -> Result<T>) -> Result<T> {
        if let Some((run, envelopes)) = view.healed.get() {
            return look(run, envelopes);
        }
        let run = &view.covered.run;
        match look(run, &view.envelopes) {
            Err(error) if may_be_healed(run, &error) => {
                let (run, envelopes) = self.heal(view, error)?;
                look(run, envelopes)
            }
            looked => looked,
        }
    }

    /// Discards a damaged copy, and reads from the repository what it held.
    pub(super) fn heal<'a>(&self, view: &'a View, error: Error) -> Result<&'a (Run, Vec<u32>)> {
        let lock = view.healing.lock();
        let _lock = lock.map_err(|_| Error::refused("another thread failed while it read the index"))?;
        if let Some(healed) = view.healed.get() {
            return Ok(healed);
        }
        view.covered.discard();
        let Some(repository) = &self.source else { return Err(error) };
        let run = read::read_again(repository, &view.covered.run)
            .map_err(|again| again.context(format!("{}, and it cannot be made again now", error.chain())))?;
        let number = |digest: &Digest| {
            let at = self.envelopes.iter().position(|known| known.digest == *digest);
            at.and_then(|at| u32::try_from(at).ok()).ok_or_else(too_many)
        };
        let envelopes = run.directory.digests.iter().map(number).collect::<Result<Vec<u32>>>()?;
        if let Ok(mut troubles) = self.troubles.lock() {
            troubles.push(error);
        }
        Ok(view.healed.get_or_init(|| (run, envelopes)))
    }
}

/// Whether an error is the fault of this computer's copy.
pub(super) fn may_be_healed(run: &Run, error: &Error) -> bool {
    !run.is_in_memory() && matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Io)
}
